"""The command line: fit, predict and backtest by a configuration file."""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sktime_tlstm import __version__
from sktime_tlstm.notices import ForecastWarning

if TYPE_CHECKING:
    import pandas as pd

    from sktime_tlstm.configuration import Configuration
    from sktime_tlstm.flagship import TransformerLSTMForecaster

# torch and sktime take seconds to load: they are imported in functions, so that --help and
# a mistyped command are answered at once.

__all__ = ["main"]

#: Exit statuses: something asked for is wrong; Ctrl-C.
WRONG, INTERRUPTED = 2, 128 + signal.SIGINT
#: What a configuration does about errors of the library, which speak of frames; and the words of
#: the error that it stands in front of, if any.
_ABSENT = (
    "In the configuration set data.freq, such as D, which makes absent rows rows without values. "
    "Or "
)
REMEDIES = {
    "Got a gap in time": (_ABSENT, "Insert them"),
    "Got a time index without a regular frequency": (_ABSENT, "Resample first"),
    "Got y with the text": (
        "In the configuration data.csv, such as {decimal: ',', na_values: ['-']}, says how numbers "
        "are written.",
        None,
    ),
}
#: Parameters that say how a forecaster runs, and not what it has learnt.
RUNNING = ("device", "verbose", "checkpoint_dir")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        None for those of the process.

    Returns
    -------
    int
        The exit status: 0, or 2 where a setting, a file or an argument is wrong. Standard error
        then says what, and nothing has been written.
    """
    asked = _parser().parse_args(arguments)
    with warnings.catch_warnings(), _ended_by_interrupts():
        warnings.simplefilter("ignore")  # of libraries, which no user of a command can act on
        warnings.simplefilter("always", ForecastWarning)
        warnings.showwarning = lambda message, *_: _note(f"warning: {message}")
        try:
            asked.run(asked)
        except (ValueError, TypeError, OSError, ImportError) as error:
            if asked.traceback:
                traceback.print_exc()
            print(f"sktime-tlstm {asked.command}:", _with_remedy(str(error)), file=sys.stderr)
            return WRONG
    return 0


def _with_remedy(text: str) -> str:
    """Return the text of an error with what a configuration does about it."""
    for start, (words, advice) in REMEDIES.items():
        if text.startswith(start):
            if advice is None or advice not in text:
                return f"{text} {words}"
            said, _, rest = text.partition(advice)
            return f"{said}{words}{advice[0].lower()}{advice[1:]}{rest}"
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sktime-tlstm", description="Train, use and score forecasters by a configuration file."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        own = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        own.set_defaults(run=run)
        own.add_argument("--traceback", action="store_true", help="show where an error came from")
        return own

    fit = command("fit", _fit, "train a forecaster and save it")
    predict = command("predict", _predict, "forecast by the forecaster that fit has saved")
    backtest = command("backtest", _backtest, "train on the rows before a cut, score the rest")
    for own in (fit, predict, backtest):
        own.add_argument("config", help="YAML file; `sktime-tlstm params` lists its settings")
        own.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="one setting in the place of the file's, such as forecaster.max_epochs=5",
        )
    predict.add_argument("--future", metavar="FILE", help="rows to forecast, with the covariates")
    predict.add_argument("--update", metavar="FILE", help="rows observed since fit; not kept")
    predict.add_argument(
        "--coverage",
        nargs="+",
        type=_share,
        default=[],
        metavar="SHARE",
        help="also write the bounds of intervals that hold such shares, such as 0.9",
    )
    for own in (predict, backtest):
        own.add_argument("--out", metavar="FILE", help="CSV or Parquet file for the result")
    params = command("params", _params, "list the settings of a configuration")
    params.add_argument("names", nargs="*", metavar="NAME", help="such as lr; all by default")
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"Got {text}, expected a number between 0 and 1.")
    return share


@contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Let Ctrl-C end the process at once; a fit would end early, and what it has learnt be saved.

    Members that train in threads would keep an exception waiting. Nothing is lost that a killed
    process keeps: files are written whole.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# Commands.


def _fit(asked: argparse.Namespace) -> None:
    configuration = _loaded(asked)
    save = _needed(configuration.save, "save", "model.zip")
    _check_folder("save", save)
    y, X = _training_data(configuration)
    forecaster, line = _fitted(configuration, y, X)
    forecaster.save(save, serialization_format="safetensors").close()
    print(f"{line}; saved {save}")


def _predict(asked: argparse.Namespace) -> None:
    from sktime_tlstm.flagship import TransformerLSTMForecaster
    from sktime_tlstm.tables import write

    configuration = _loaded(asked)
    save = _needed(configuration.save, "save", "model.zip")
    _check_out(asked.out)
    if len(set(asked.coverage)) < len(asked.coverage):
        raise ValueError(f"Got --coverage {asked.coverage}, expected each share once. Drop one.")
    own = configuration.forecaster
    device = {"device": own["device"]} if "device" in own else {}
    forecaster = TransformerLSTMForecaster.load_from_path(save, **device)
    forecaster.check_is_fitted()
    _compare(configuration, forecaster, save)
    if asked.update is not None:
        y, X = _new_data(configuration, forecaster, asked.update)
        forecaster.update(y, X=X, update_params=False)
    fh, X, rows = _future(configuration, forecaster, asked.future)
    with _naming_future(asked.future, X):
        table = forecaster.predict(fh, X=X)
    if asked.coverage:
        bounds = forecaster.predict_interval(fh, X=X, coverage=asked.coverage)
        for target, share, side in bounds.columns:
            table[f"{target}_{side}_{100 * share:g}"] = bounds[target, share, side]
    table = table if rows is None else table[table.index.isin(rows)]
    text = write(configuration.data, table, asked.out)
    print(text if asked.out is None else f"Wrote {len(table):,} rows to {asked.out}\n", end="")


def _backtest(asked: argparse.Namespace) -> None:
    import pandas as pd

    from sktime_tlstm.tables import time_of, write

    configuration = _loaded(asked)
    settings = configuration.backtest
    metrics = _metrics(settings.scoring)
    _needed(settings.cut, "backtest.cut", "2024-01-01")
    _check_out(asked.out)
    y, X = _training_data(configuration)
    cut = time_of(configuration.data, settings.cut, y.index)
    early, times = (y.index.get_level_values(-1) < cut), y.index.get_level_values(-1)
    if not 0 < early.sum() < len(y):
        raise ValueError(
            f"Got backtest.cut={str(settings.cut)!r} with rows from {times.min()} to "
            f"{times.max()}, expected rows before it and from it on. Move it."
        )
    if configuration.fh is not None:
        _Cutoffs(configuration.fh, cut, settings.step).check(y)
    late = times[~early].nunique()
    X_early = None if X is None else X[X.index.get_level_values(-1) < cut]
    forecaster, line = _fitted(configuration, y[early], X_early)
    print(line)
    steps: Iterable[int] | None = configuration.fh
    if steps is None:
        most = forecaster.prediction_length_
        steps = range(1, min(most, late) + 1)
        if late < most:
            _note(f"note: forecasts of {late} steps and not of {most}: no more rows are left")
    cv = _Cutoffs(steps, cut, settings.step)
    parts = []
    for method, own in metrics.items():
        part = forecaster.backtest(
            y,
            X,
            cv,
            method,
            coverage=settings.coverage,
            scoring=own,
            update_every=settings.update_every,
        )
        parts.append(part.set_index("cutoff").filter(regex="^test_"))
    table = pd.concat(parts, axis=1).rename(columns=lambda name: name.removeprefix("test_"))
    table = table[list(settings.scoring)]
    print(table.to_string())
    print(
        f"mean of {len(table)} cutoffs: "
        + ", ".join(f"{name} {value:.6g}" for name, value in table.mean().items())
    )
    if asked.out is not None:
        write(configuration.data, table, asked.out)


def _params(asked: argparse.Namespace) -> None:
    from sktime_tlstm.configuration import described

    settings = described()
    short = {name.rpartition(".")[2]: name for name in settings}
    for name in asked.names:
        if name not in settings and name not in short:
            near = difflib.get_close_matches(name, short, n=1)
            raise ValueError(
                f"Got {name!r}, which is no setting."
                + (f" Did you mean {near[0]}?" if near else " Leave it out for all of them.")
            )
    wanted = [short.get(name, name) for name in asked.names]
    group = None
    for name, (own, kind, words) in settings.items():
        if wanted and name not in wanted:
            continue
        if not wanted and own != group:
            print(f"# {own}\n")
            group = own
        print(f"{name} : {kind}\n{textwrap.indent(textwrap.dedent(words), '    ')}\n")


# Their parts.


def _loaded(asked: argparse.Namespace) -> Configuration:
    from sktime_tlstm.configuration import load

    return load(asked.config, asked.set)


def _needed(value: Any, name: str, example: str) -> Any:
    if value is None or value == ():
        raise ValueError(f"Got no {name}, expected one, such as {example}. Add it to the file.")
    return value


def _check_folder(name: str, path: str) -> None:
    if not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(
            f"Got {name} {path!r} in a folder that is not there. Make the folder, or correct it."
        )


def _check_out(path: str | None) -> None:
    from sktime_tlstm.tables import SUFFIXES

    if path is None:
        return
    if not path.endswith(SUFFIXES):
        raise ValueError(f"Got --out {path!r}, expected a name that ends in one of {SUFFIXES}.")
    _check_folder("--out", path)


def _training_data(configuration: Configuration) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return y and X of all files."""
    from sktime_tlstm.tables import observed, on_grid, read

    data, parameters = configuration.data, configuration.forecaster
    files = _needed(data.files, "data.files", "load.csv")
    named = [
        name
        for kind in ("past_covariates", "static_covariates", "hidden_past")
        for name in parameters.get(kind) or ()
        if name not in data.target or kind != "hidden_past"
    ]
    named += [parameters["weight_column"]] if parameters.get("weight_column") else []
    frame = on_grid(data, read(data, files, [*data.target, *(data.covariates or ()), *named]))
    covariates = data.covariates
    if covariates is None:
        numbers = frame.select_dtypes("number").columns
        others = [name for name in frame.columns if name not in data.target]
        covariates = [name for name in others if name in numbers or name in named]
        left_out = [name for name in others if name not in covariates]
        if left_out:
            _note(
                f"note: the columns {left_out} hold other things than numbers, and are not read; "
                "name them in data.covariates to read them as categories, or say in data.csv how "
                "numbers are written, such as {decimal: ',', na_values: ['-']}"
            )
    return observed(data, frame, list(dict.fromkeys([*covariates, *named])))


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _fitted(
    configuration: Configuration, y: pd.DataFrame, X: pd.DataFrame | None
) -> tuple[TransformerLSTMForecaster, str]:
    """Return a forecaster that was trained, and a line about that."""
    from sktime_tlstm.flagship import TransformerLSTMForecaster

    begin = time.perf_counter()
    forecaster: Any = TransformerLSTMForecaster(**configuration.forecaster)
    forecaster.fit(y, X=X, fh=configuration.fh)
    seconds = time.perf_counter() - begin
    epochs = forecaster.history_
    error = "no rows held out for validation"
    if "valid_mae" in epochs:
        best = epochs.dropna(subset="valid_loss").groupby("member")["valid_loss"].idxmin()
        error = f"validation MAE of the network alone {epochs.loc[best, 'valid_mae'].mean():.6g}"
    series = len(forecaster._fitted.seen)
    return forecaster, (
        f"Fitted {len(epochs)} epochs on {len(y):,} rows of {series:,} series in {seconds:.1f} s: "
        f"{error}"
    )


def _compare(
    configuration: Configuration, forecaster: TransformerLSTMForecaster, save: str
) -> None:
    """Refuse other targets than the file's, and tell of other parameters, which are the file's."""
    from sktime_tlstm.options import plain

    targets = forecaster._fitted.model.encoder.targets
    if set(targets) != set(configuration.data.target):
        raise ValueError(
            f"Got data.target={list(configuration.data.target)}, but {save} forecasts {targets}; "
            "expected the same. Run fit again, or correct data.target or save."
        )
    parameters = forecaster.get_params(deep=False)
    differs = [
        f"{name}={_listed(plain(parameters[name]))!r}, not {value!r}"
        for name, value in configuration.forecaster.items()
        if name not in RUNNING and _listed(plain(parameters[name])) != value
    ]
    if differs:
        _note(f"note: {save} was fitted with {', '.join(differs)}; run fit again to change it")


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _new_data(
    configuration: Configuration, forecaster: TransformerLSTMForecaster, path: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return y and X of observations since fit."""
    from sktime_tlstm.tables import observed, read

    encoder = forecaster._fitted.model.encoder
    needed = [*encoder.targets, *encoder.columns, encoder.weight_column]
    frame = read(configuration.data, [path], [str(name) for name in needed if name is not None])
    return observed(configuration.data, frame, _covariates(forecaster, frame))


def _covariates(forecaster: TransformerLSTMForecaster, frame: pd.DataFrame) -> list[str]:
    """Return the columns of a frame that were covariates in fit."""
    encoder = forecaster._fitted.model.encoder
    others = [*encoder.static_scaling, *encoder.static_categories, encoder.weight_column]
    return [str(name) for name in (*encoder.columns, *others) if name in frame.columns]


def _future(
    configuration: Configuration, forecaster: TransformerLSTMForecaster, path: str | None
) -> tuple[Iterable[int], pd.DataFrame | None, pd.Index | None]:
    """Return fh, X, and the rows to write, where not all of these."""
    from sktime_tlstm.tables import read

    fitted, fh = forecaster._fitted, configuration.fh
    known = fitted.model.encoder.known_columns
    if path is None:
        if known:
            raise ValueError(
                f"Got no --future, but the forecasts read the columns {known} there. Pass a file "
                "with them and the times to forecast, or train with past_covariates."
            )
        return fh or range(1, forecaster.prediction_length_ + 1), None, None
    frame = read(configuration.data, [path], [str(name) for name in known])
    columns = _covariates(forecaster, frame)
    X = frame[columns] if columns else None
    if fh is not None:
        return fh, X, None
    keys = fitted.history.keys
    if keys is not None and keys.nlevels == frame.index.nlevels - 1:
        others = [key for key in _keys(frame.index) if key not in keys]
        if others:
            raise ValueError(
                f"Got --future {path} with the series {others[:3]}, expected those that the "
                f"forecaster has seen, such as {keys[:3].tolist()}. Leave the others out, or pass "
                "their observations by --update."
            )
    steps = fitted.asked_at(frame, None).step
    if steps.max() < 1:
        raise ValueError(
            f"Got --future {path} with {_extent(frame.index)}, expected some after the last "
            "observation. Pass rows of the future, or set fh."
        )
    return range(1, int(steps.max()) + 1), X, frame.index


@contextmanager
def _naming_future(path: str | None, X: pd.DataFrame | None) -> Iterator[None]:
    """Let an error about rows that X lacks name the file, and what it has."""
    try:
        yield
    except ValueError as error:
        if X is None or not str(error).startswith("Got X without the row"):
            raise
        text = f"{error} Here X is --future {path}, which has {_extent(X.index)}."
        raise ValueError(text) from error


def _extent(index: pd.Index) -> str:
    times = index.get_level_values(-1)
    text = f"rows from {times.min()} to {times.max()}"
    if index.nlevels == 1:
        return text
    keys = _keys(index)
    return f"{text} of {len(keys)} series, such as {keys[:3].tolist()}"


def _keys(index: pd.Index) -> pd.Index:
    """Return the keys of the series of an index."""
    time: list[Any] = [index.nlevels - 1]
    return index.droplevel(time).unique()


def _metrics(names: Sequence[str]) -> dict[str, list[Any]]:
    """Return sktime's metrics by what they score."""
    from sktime.performance_metrics import forecasting
    from sktime.performance_metrics.forecasting import probabilistic

    found: dict[str, list[Any]] = {}
    for name in names:
        cls = getattr(forecasting, name, None) or getattr(probabilistic, name, None)
        known = [*forecasting.__all__, *probabilistic.__all__]
        if name not in known or name.startswith("_") or not isinstance(cls, type):
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"Got {name!r} in backtest.scoring, expected a class of "
                "sktime.performance_metrics.forecasting, such as MeanAbsoluteError."
                + (f" Did you mean {near[0]}?" if near else "")
            )
        metric = cls()
        kind = metric.get_tag("scitype:y_pred", "pred", raise_error=False)
        beside = metric.get_tag("requires-y-pred-benchmark", False, raise_error=False)
        if kind == "pred_proba" or beside:
            other = "forecasts of another forecaster" if beside else "whole distributions"
            raise ValueError(
                f"Got {name!r} in backtest.scoring, which needs {other}, expected a metric of "
                "points, quantiles or intervals. Take one such as MeanAbsoluteScaledError or "
                "PinballLoss."
            )
        found.setdefault("predict" if kind == "pred" else "predict_interval", []).append(metric)
    return found


class _Cutoffs:
    """A splitter as sktime's: windows that grow by time, the same for all series of a panel.

    Parameters
    ----------
    fh : iterable of int
        Steps to forecast.
    cut : time
        The first cutoff is the last time before it.
    step : int or None
        Rows between cutoffs; None for the largest step of fh.
    """

    def __init__(self, fh: Iterable[int], cut: Any, step: int | None) -> None:
        self.steps, self.cut = np.array(list(fh)), cut
        self.step = max(1, int(self.steps.max())) if step is None else step

    def get_fh(self) -> Any:
        """Return the steps as sktime has them."""
        from sktime.forecasting.base import ForecastingHorizon

        return ForecastingHorizon(self.steps, is_relative=True)

    def split(self, y: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows up to every cutoff, and those to forecast."""
        times = y.index.get_level_values(-1)
        all_times = times.unique().sort_values()
        place = all_times.get_indexer(times)  # of each row, among all times
        first = int(all_times.searchsorted(self.cut)) - 1
        for cutoff in range(first, len(all_times) - int(self.steps.max()), self.step):
            rows = np.flatnonzero(np.isin(place, cutoff + self.steps))
            yield np.flatnonzero(place <= cutoff), rows

    def check(self, y: pd.DataFrame) -> None:
        """Raise a ValueError if there is no window."""
        if next(self.split(y), None) is None:
            raise ValueError(
                f"Got {self.steps.max()} steps to forecast after backtest.cut={self.cut}, expected "
                f"as many rows from there on. Move the cut, or forecast fewer steps by fh."
            )


if __name__ == "__main__":
    sys.exit(main())
