"""What the benchmarks share: the tasks, the rolling evaluation and its scores."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import SlidingWindowSplitter

from sktime_tlstm.datasets import load_metro_traffic

#: Levels of the mean pinball loss.
LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))


@dataclass(frozen=True)
class Task:
    """One series, its covariates known in the future, and how forecasts of it are judged.

    Parameters
    ----------
    y : pandas.Series
    X : pandas.DataFrame
        Known in the future.
    num_train : int
        The forecaster is fitted once, to this many rows.
    first, stride, horizon : int
        A forecast of ``horizon`` rows starts at row ``first`` and every ``stride`` rows after.
    naive : function of y to a forecast of every row
        The seasonal naive reference.
    reference : str
        What others reach.
    levels : tuple of float
        Quantiles that others forecast of it; `rolling_forecast` takes `LEVELS`.
    """

    y: pd.Series
    X: pd.DataFrame
    num_train: int
    first: int
    stride: int
    horizon: int
    naive: Callable[[pd.Series], pd.Series]
    reference: str
    levels: tuple[float, ...] = LEVELS

    @property
    def origins(self) -> range:
        """Rows at which forecasts start."""
        return range(self.first, len(self.y) - self.horizon + 1, self.stride)


def _last_days(y, X, days, per_day, naive, reference) -> Task:
    """Forecast a day from the start of each of the last days; train on everything before."""
    first = len(y) - days * per_day
    return Task(y, X, first, first, per_day, per_day, naive, reference)


def _lag(rows: int) -> Callable[[pd.Series], pd.Series]:
    return lambda y: y.shift(rows)


def _similar_day(y: pd.Series) -> pd.Series:
    """Repeat the day before, on Monday, Saturday and Sunday the week before."""
    return y.shift(24).where(~y.index.dayofweek.isin([0, 5, 6]), y.shift(168))


def _read(data: Path | None, name: str, freq: str) -> pd.DataFrame:
    if data is None:
        raise SystemExit(f"{name} is not part of the package: pass --data DIR with {name}.csv.gz")
    return pd.read_csv(data / f"{name}.csv.gz", index_col=0, parse_dates=[0]).asfreq(freq)


def traffic(data: Path | None) -> Task:
    """Metro traffic, which is in the package: the last 122 days, weather and holidays known."""
    reference = "gradient boosting with the same covariates 204.0"
    # The gauge wakes up in the test rows; that `fit` leaves it out is what is measured here.
    warnings.filterwarnings("ignore", message="Got the column 'rain_1h' of X", category=UserWarning)
    return _last_days(*load_metro_traffic(), 122, 24, _lag(168), reference)


def _prices(market: str, reference: str) -> Callable[[Path | None], Task]:
    def task(data: Path | None) -> Task:
        table = _read(data, f"epf_{market}", "h")
        return _last_days(
            table.pop("price"), table, 728, 24, _similar_day, f"trained daily: {reference}"
        )

    return task


def etth1(data: Path | None) -> Task:
    """Oil temperature, z-scored, six loads known: every hour of the last 2,880 of 14,400."""
    table = _read(data, "ETTh1", "h")[:14400]
    y = table.pop("OT")
    y = (y - y[:8640].mean()) / y[:8640].std(ddof=0)
    reference = "neuralforecast NHITS .134, pytorch-forecasting TFT .139, 1 to 2 epochs"
    return Task(y, table, 8640, 11520, 1, 24, _lag(24), reference, (0.1, 0.5, 0.9))


def vic_elec(data: Path | None) -> Task:
    """Electricity demand of Victoria: half hours of the last 182 days, temperature known."""
    table = _read(data, "vic_elec", "30min")
    y, X = table["demand"], table[["temperature", "holiday"]]
    return _last_days(y, X, 182, 48, _lag(336), "gradient boosting with the same covariates 116.1")


def bike(data: Path | None) -> Task:
    """Shared bicycles, hourly: the last 122 days, weather known."""
    table = _read(data, "bike_sharing_hourly", "h")
    X = table[["holiday", "workingday", "weather", "temp", "atemp", "hum", "windspeed"]]
    reference = "gradient boosting with the same covariates 44.2"
    return _last_days(table["users"], X, 122, 24, _lag(168), reference)


#: Tasks by name; a task reads its files from the folder it is given.
TASKS: dict[str, Callable[[Path | None], Task]] = {
    "traffic": traffic,
    "NP": _prices("NP", "LEAR ensemble 1.738, DNN ensemble 1.683"),
    "BE": _prices("BE", "LEAR ensemble 6.140, DNN ensemble 5.870"),
    "DE": _prices("DE", "LEAR ensemble 3.609, DNN ensemble 3.413"),
    "ETTh1": etth1,
    "vic_elec": vic_elec,
    "bike": bike,
}


def validation(task: Task, days: int | None = None) -> Task:
    """Return the task with its last rows before the test scored, and without the test rows.

    Parameters
    ----------
    task : Task
    days : int or None, default=None
        How many horizons are scored; None for the last fifth of the rows.
    """
    rows = days * task.horizon if days else task.first // 5 // task.stride * task.stride
    first = task.first - rows
    cut = slice(task.first)
    num_train = min(task.num_train, first)
    return replace(task, y=task.y.iloc[cut], X=task.X.iloc[cut], num_train=num_train, first=first)


def rolling_forecast(
    forecaster, task: Task, num_origins: int | None = None, update_every: int | None = None
) -> pd.DataFrame:
    """Forecast from every origin with a forecaster that is fitted to the training rows.

    Parameters
    ----------
    forecaster : SkorchForecaster
        Is updated if it learns on the way, else stays as it is.
    task : Task
    num_origins : int or None, default=None
        None for all.
    update_every : int or None, default=None
        Number of origins after which it learns, by ``update(update_params=True)`` with all rows
        that are new since it last did; None for never.

    Returns
    -------
    pandas.DataFrame
        Columns ``truth``, ``naive``, ``point`` and the levels .05, .10, .. .95; one row for every
        origin and step, as overlapping forecasts forecast a row many times.
    """
    origins, seen, parts = task.origins[:num_origins], task.num_train, []
    for begin in range(0, len(origins), update_every or len(origins)):
        block = origins[begin:][:update_every]
        if begin:
            new = slice(seen, block[0])
            forecaster.update(task.y.iloc[new], X=task.X.iloc[new], update_params=True)
            seen = block[0]
        parts += _block(forecaster, task, block, seen)
    forecasts = pd.concat(parts)
    columns = {"truth": task.y, "naive": task.naive(task.y)}
    for place, (name, values) in enumerate(columns.items()):
        forecasts.insert(place, name, values.loc[forecasts.index].to_numpy())
    return forecasts


def _block(forecaster, task: Task, origins: range, seen: int) -> list[pd.DataFrame]:
    """Forecast from origins by backtests; the forecaster knows the rows that are seen."""
    cv = SlidingWindowSplitter(
        fh=range(1, task.horizon + 1),
        window_length=origins[0] - seen + 1,
        step_length=task.stride,
    )
    rows = slice(seen - 1, origins[-1] + task.horizon)
    data = task.y.iloc[rows], task.X.iloc[rows], cv
    points = forecaster.backtest(*data, scoring=MeanAbsoluteError(), return_data=True)["y_pred"]
    table = forecaster.backtest(
        *data, method="predict_quantiles", alpha=list(LEVELS), return_data=True
    )
    parts = []
    for point, quantiles in zip(points, table["y_pred_quantiles"], strict=True):
        part = point.to_frame("point")
        part[list(LEVELS)] = quantiles.to_numpy()
        parts.append(part)
    return parts


def mean_absolute_error(forecasts: pd.DataFrame, column: str) -> float:
    """Return the error over the rows whose truth is observed."""
    return float((forecasts["truth"] - forecasts[column]).abs().mean())


def mean_pinball_loss(forecasts: pd.DataFrame, levels: tuple[float, ...]) -> float:
    """Return the pinball loss, averaged over levels and rows whose truth is observed."""
    error = (-forecasts[list(levels)]).add(forecasts["truth"], axis=0).dropna().to_numpy()
    level = np.array(levels)
    return float(np.maximum(level * error, (level - 1) * error).mean())


def coverage(forecasts: pd.DataFrame, low: float, high: float) -> float:
    """Return the share of observed truths between two levels."""
    observed = forecasts.dropna(subset=["truth"])
    return float(observed["truth"].between(observed[low], observed[high]).mean())


class CpuTimer:
    """Context manager that measures ``seconds`` of CPU time, of all threads."""

    def __enter__(self) -> CpuTimer:
        self.seconds = -time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds += time.process_time()
