"""A forecaster behind HTTP: load a file without code, answer in JSON.

    pip install "sktime-tlstm[serve]"
    python examples/serve.py --demo                     # fits a small one and serves it
    python examples/serve.py forecaster.zip --port 8000

    curl localhost:8000/about
    curl -X POST localhost:8000/forecast -H "Content-Type: application/json" -d @request.json

``POST /forecast`` forecasts from the end of what the forecaster has seen, or, with ``y``, any
series from its own past::

    {
        "steps": 24,
        "quantiles": [0.05, 0.95],
        "y": [{"time": "2018-09-01 00:00", "traffic": 812}, ...],
        "X": [{"time": "2018-09-02 00:00", "temp": 291.2, "holiday": "no"}, ...],
    }

``POST /update`` takes ``y`` and ``X`` in the same form, and lets the forecaster go on from there.
Rows of a panel also name their series, by the columns that ``levels`` lists. Absent values are
null. Dates begin with the year, such as 2018-09-24 or 2018-09-24 10:00: others could be read in two
ways. What is refused is answered by 422 and words.

Forecasts run side by side on a pool of threads; updates take turns. Each makes another forecaster
of a copy, so that a forecast that is under way meanwhile ends, point and quantiles, with the state
that it began with. Several processes (``uvicorn
--workers``) would each have a state of their own: send updates to all, or serve ``y`` alone.
"""

import argparse
import copy
import re
import tempfile
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.datasets import load_metro_traffic

Rows = list[dict[str, Any]]


class Update(BaseModel):
    """Rows that have come in."""

    y: Rows = Field(min_length=1)
    X: Rows | None = None
    levels: list[str] = []
    update_params: bool = False


class Forecast(BaseModel):
    """What to forecast."""

    steps: int = Field(gt=0, le=10_000)
    quantiles: list[float] = Field(default=[0.05, 0.5, 0.95], min_length=1, max_length=99)
    y: Rows | None = None
    X: Rows | None = None
    levels: list[str] = []


def create_app(path: str | Path) -> FastAPI:
    """Return the service of a saved forecaster."""
    torch.set_num_threads(1)  # requests run side by side
    forecaster = SkorchForecaster.load_from_path(path)
    app, one_update = FastAPI(title="sktime-tlstm"), threading.Lock()

    @app.get("/about")
    def about() -> dict[str, Any]:
        return {"forecaster": type(forecaster).__name__, "cutoff": texts(forecaster.cutoff)}

    @app.post("/forecast")
    def forecast(request: Forecast) -> dict[str, Any]:
        now = forecaster  # one state for both calls
        with told():
            if not is_each_once(request.quantiles):
                raise ValueError(
                    f"Got quantiles={request.quantiles}, expected numbers between 0 and 1, each "
                    "once. Pass 0.05 and 0.95 for the bounds of 90 %."
                )
            y, X = frames(request, now)
            fh = range(1, request.steps + 1)
            found = now.predict_quantiles(fh, X, alpha=request.quantiles, y=y)
            point = now.predict(fh, X, y=y)
        point = point.to_frame() if isinstance(point, pd.Series) else point
        return {
            "index": texts(point.index),
            "point": {str(name): values.tolist() for name, values in point.items()},
            "quantiles": {f"{name} {q}": values.tolist() for (name, q), values in found.items()},
        }

    @app.post("/update")
    def update(request: Update) -> dict[str, Any]:
        nonlocal forecaster
        with told(), one_update:
            y, X = frames(request, forecaster)
            newer = copy.copy(forecaster)
            newer.update(y, X, update_params=request.update_params)
            forecaster = newer
        return {"cutoff": texts(newer.cutoff)}

    return app


class told:  # noqa: N801 - reads as a sentence in a with statement
    """Answer 422 with the words of an error about the input."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (ValueError, TypeError, KeyError)):
            words = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise HTTPException(422, str(words)) from error


def is_each_once(levels: list[float]) -> bool:
    return all(0 < level < 1 for level in levels) and len(set(levels)) == len(levels)


def frames(request: Update | Forecast, forecaster: SkorchForecaster) -> Any:
    """Return y and X of a request as frames, or None where it has none."""
    if "time" in request.levels or len(set(request.levels)) < len(request.levels):
        raise ValueError(
            f"Got levels={request.levels}, expected the columns that name series, each once; the "
            "column 'time' is another. Leave it out."
        )
    given = {"y": request.y, "X": request.X}
    return [frame(name, rows, request.levels, forecaster) for name, rows in given.items()]


def frame(
    name: str, rows: Rows | None, keys: list[str], forecaster: SkorchForecaster
) -> pd.DataFrame | None:
    """Return rows of JSON as a frame with the kind of index that the forecaster knows."""
    if rows is None:
        return None
    if not rows:
        raise ValueError(f"Got {name} without rows, expected some. Pass them, or leave {name} out.")
    table = pd.DataFrame.from_records(rows)
    if absent := {"time", *keys} - {*table}:
        raise ValueError(
            f"Got {name} with {list(table)}, expected also {sorted(absent)}. Add them."
        )
    times = read_times(name, [row.get("time") for row in rows], forecaster.cutoff)
    table = table.drop(columns="time")
    if not keys:
        return table.set_index(times)
    levels = [pd.Index(table.pop(key)) for key in keys]
    return table.set_index(pd.MultiIndex.from_arrays([*levels, times], names=[*keys, times.name]))


def read_times(name: str, values: list[Any], cutoff: pd.Index) -> pd.Index:
    """Return times of JSON as an index like the cutoff, refusing what is read in two ways."""
    dates = isinstance(cutoff, (pd.DatetimeIndex, pd.PeriodIndex))
    words = f"a date that begins with the year, such as '{cutoff[0]}'" if dates else "an integer"
    zone = getattr(cutoff, "tz", None)
    found = []
    for row, value in enumerate(values):
        try:
            if not dates and type(value) is int:
                found.append(value)
                continue
            if not (dates and isinstance(value, str) and re.match(r"\d{4}(-\d|Q\d|$)", value)):
                raise ValueError
            if isinstance(cutoff, pd.PeriodIndex):
                found.append(pd.Period(value, freq=cutoff.freq))
                continue
            time = pd.Timestamp(value)
            if zone is not None:
                time = time.tz_localize(zone) if time.tz is None else time.tz_convert(zone)
            elif time.tz is not None:
                raise ValueError
            found.append(time)
        except ValueError:
            raise ValueError(
                f"Got the time {value!r} in row {row} of {name}, expected {words}. Write it so."
            ) from None
    return pd.Index(found, name="time")


def texts(index: pd.Index) -> list[Any]:
    """Return an index as JSON holds it: a text for each row, or a list of those of all levels."""
    if isinstance(index, pd.MultiIndex):
        return [[str(level) for level in row] for row in index]
    return [str(value) for value in index]


def demo() -> Path:
    """Fit a small forecaster to some weeks of traffic, and return its file."""
    y, X = load_metro_traffic()
    small = {"d_model": 16, "max_epochs": 2, "max_windows_per_epoch": 512, "random_state": 0}
    forecaster = TransformerLSTMForecaster(**small).fit(
        y[-3000:-168], X[-3000:-168], fh=range(1, 25)
    )
    path = Path(tempfile.mkdtemp()) / "traffic.zip"
    forecaster.save(path, serialization_format="safetensors", rows="needed").close()
    return path


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description="Serve a saved forecaster.")
    parser.add_argument("path", nargs="?", help="file that save(..., 'safetensors') wrote")
    parser.add_argument("--demo", action="store_true", help="fit one and serve it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    if options.demo == (options.path is not None):
        parser.error("pass the path of a file, or --demo")
    uvicorn.run(create_app(options.path or demo()), host=options.host, port=options.port)


if __name__ == "__main__":
    main()
