"""Backtesting: forecasts from many cutoffs of many series in a few forward passes."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, split_index
from sktime_tlstm.data.targets import num_learnt
from sktime_tlstm.model import Model

__all__ = ["Backtest", "scored", "shown", "wide_frame"]

#: Windows whose forecasts are held at once.
WINDOWS_AT_ONCE = 2**14


class Backtest:
    """Series with rows that become known little by little, and the cutoffs to forecast from.

    Parameters
    ----------
    model : Model
        Of the fitted forecaster; neither it nor the history is changed.
    history : History
    seen : numpy.ndarray of int64, shape (num_series,)
        Number of rows of each series that the forecaster has seen.
    y, X : pandas.DataFrame
        All rows that become known; X also holds the covariates of the future.
    windows : list of numpy.ndarray of int64
        Rows of y that have become known by each cutoff, in the order of time.
    """

    def __init__(
        self,
        model: Model,
        history: History,
        seen: np.ndarray,
        y: pd.DataFrame,
        X: pd.DataFrame | None,
        windows: list[np.ndarray],
    ):
        self.model, self.X = model, X
        #: The window from which on each way to scale the series holds, and the rows it sees.
        self.scalings = self._scalings(history, y, windows)
        self._merge = functools.partial(self._merged, history, seen, y)
        self.merged = self.scaled = self._merge(0)
        rows = Rows.parse(y.index, self.merged.timeline)
        series, within = self.merged.locate(rows)
        known, old = np.full(len(self.merged.first), -1), len(history.first)
        known[:old] = seen + history.first - self.merged.first[:old]
        end = np.zeros_like(known)
        end[:old] = history.first + history.lengths - self.merged.first[:old]
        self.before = end.copy()
        cutoffs, ends = [], []
        for window in windows:
            known[series[window]] = within[window] + 1
            np.maximum(end, known, out=end)
            cutoffs.append(known.copy())
            ends.append(end.copy())
        #: Rows of each series (window, series) before the cutoff, -1 where there is none yet; and
        #: the rows that are known at all, where a cutoff steps back.
        self.cutoffs, self.ends = np.array(cutoffs), np.array(ends)

    def _merged(self, history: History, seen: np.ndarray, y: pd.DataFrame, window: int) -> History:
        """Merge all rows of y, scaled as by an update with what is known at a window."""
        horizon, extend = self.model.spec.horizon, self.model.encoder.extend
        early = next(rows for first, rows in reversed(self.scalings) if first <= window)
        if early.any():
            history, seen = extend(history, seen, y[early], self.X, horizon)
        # The rows to come are not to be learnt from.
        return extend(replace(history, young={}), seen, y, self.X, horizon)[0]

    @staticmethod
    def _scalings(
        history: History, y: pd.DataFrame, windows: list[np.ndarray]
    ) -> list[tuple[int, np.ndarray]]:
        """Return from which windows on scales are learnt from more rows (row,), and which.

        New and young series learn: from what a window knows, but at least from their first rows.
        """
        keys, bounds = split_index(y.index)
        place = history.places(keys)
        young = np.isin(place, [series for series, _ in history.young])
        owner = np.repeat(np.arange(len(place)), np.diff(bounds))
        unknown, early = place < 0, np.zeros(len(y), dtype=bool)
        learning = (unknown | young)[owner]
        for window in windows if learning.any() else ():
            begun = window[unknown[owner[window]]]
            early[begun] = True
            unknown[owner[begun]] = False
        observed, before = y.notna().to_numpy(), np.zeros(len(place), dtype=np.int64)
        before[young] = max((len(rows) for rows, _ in history.young.values()), default=0)
        scalings: list[tuple[int, np.ndarray]] = []
        known, latest = np.zeros(len(y), dtype=bool), None
        for number, window in enumerate(windows if learning.any() else windows[:1]):
            known[window] = True
            rows = known & learning
            count = np.zeros((len(place), observed.shape[1]), dtype=np.int64)
            np.add.at(count, owner[rows], observed[rows])
            learnt = [num_learnt(n) for n in (*count.flat, *(count + before[:, None]).flat)]
            if learnt != latest:
                scalings.append((number, early | rows))
                latest = learnt
        return scalings

    @property
    def every_series_is_known(self) -> bool:
        """Whether every series has rows at every cutoff."""
        return bool((self.cutoffs >= 0).all())

    def forecasts(
        self,
        step: np.ndarray,
        alphas: list[float] | None = None,
        adapt: bool = False,
        update: Callable[[Model, History, np.ndarray], Model] | None = None,
        update_every: int | None = None,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Forecast from one cutoff after the other, as updates of the forecaster would.

        Parameters
        ----------
        step : numpy.ndarray of int64
            Steps after the cutoff.
        alphas : list of float or None
            Quantile levels; None for the point forecast.
        adapt : bool
            Whether every cutoff's new rows extend the calibration.
        update : callable or None
            Trains a copy of a model: a function of the model, the history and the number of new
            rows of each series.
        update_every : int or None
            Number of cutoffs between updates.

        Yields
        ------
        window : int
        series : numpy.ndarray of int64
            Which series have a forecast.
        values : numpy.ndarray of float64, shape (series, step, num_targets[, alpha])
        """
        model, trained, self.scaled = self.model, self.before, self.merged
        size = update_every or len(self.cutoffs)
        for begin in range(0, len(self.cutoffs), size):
            end = min(begin + size, len(self.cutoffs))
            self._scale(begin)
            models = self._adapted(model, begin, begin + 1) if adapt else [model]
            if begin and update is not None:
                known = replace(self.scaled, store=self.scaled.store.until(self.ends[begin]))
                new_rows = np.maximum(self.ends[begin] - trained, 0)
                models, trained = [update(models[0], known, new_rows)], self.ends[begin]
            if adapt:
                models += self._adapted(models[0], begin + 1, end)
            model = models[-1]
            inner = [first for first, _ in self.scalings if begin < first < end]
            for first, last in pairwise([begin, *inner, end]):
                self._scale(first)
                some = models if len(models) == 1 else models[first - begin : last - begin]
                yield from self._segment(some, first, last, step, alphas)

    def _scale(self, window: int) -> None:
        """Scale the series as they are from a window on."""
        if any(first == window > 0 for first, _ in self.scalings):
            self.scaled = self._merge(window)

    def _adapted(self, model: Model, begin: int, end: int) -> list[Model]:
        """Return the model with its calibration extended by the new rows of each window."""
        before = np.concatenate([self.before[None], self.ends])[begin:end]
        ends = self.ends[begin:end]
        return model.adapted(self.scaled.store, ends, np.maximum(ends - before, 0))

    def _segment(
        self, models: list[Model], begin: int, end: int, step: np.ndarray, alphas
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Forecast windows with the same networks; one model a window, or one for all."""
        model, horizon = models[0], self.model.spec.horizon
        if step.min() < 1 or step.max() > horizon:
            for window in range(begin, end):
                own = models[min(window - begin, len(models) - 1)]
                yield window, *self._one(own, window, step, alphas)
            return
        whole, kept = self._whole(self.cutoffs[begin:end], step)
        dropped = self.scaled.lengths - kept
        at_once = max(1, WINDOWS_AT_ONCE // len(kept))
        for first in range(begin, end, at_once):
            part = range(first, min(first + at_once, end))
            row, series = np.nonzero(self.cutoffs[part.start : part.stop] >= 0)
            place = self.cutoffs[part.start + row, series] - dropped[series]
            forecast = model.windows(whole.store, series, place)
            bounds = np.searchsorted(row, np.arange(len(part) + 1))
            alike = [part] if len(models) == 1 else [range(number, number + 1) for number in part]
            for group in alike:
                own = models[min(group.start - begin, len(models) - 1)]
                rows = slice(bounds[group.start - first], bounds[group.stop - first])
                scaled = own.read(forecast.part(rows), alphas)[:, step - 1]
                values = own.decoded(self.scaled, scaled, series[rows], alphas is not None)
                for number in group:
                    within = slice(*(bounds[number - first : number - first + 2]))
                    shifted = slice(within.start - rows.start, within.stop - rows.start)
                    yield number, series[within], values[shifted]

    def _one(self, model: Model, window: int, step: np.ndarray, alphas):
        """Forecast one window at any steps."""
        seen = self.cutoffs[window]
        series = np.flatnonzero(seen >= 0)
        rows = np.repeat(series, len(step)), np.tile(step, len(series))
        known = replace(self.scaled, store=self.scaled.store.until(self.ends[window]))
        values = model.forecast(known, np.maximum(seen, 0), *rows, self.X, alphas)
        return series, values.reshape(len(series), len(step), *values.shape[1:])

    def _whole(self, cutoffs: np.ndarray, step: np.ndarray) -> tuple[History, np.ndarray]:
        """Return all rows that the windows see, with the rows of X behind the last of y."""
        lengths, horizon = self.scaled.lengths, self.model.spec.horizon
        wanted = np.zeros((len(lengths), horizon), dtype=bool)
        window, series = np.nonzero(cutoffs >= 0)
        beyond = (cutoffs[window, series] - lengths[series])[:, None] + step - 1
        owner = np.broadcast_to(series[:, None], beyond.shape)
        wanted[owner[beyond >= 0], beyond[beyond >= 0]] = True
        earliest = np.where(cutoffs < 0, lengths, cutoffs).min(axis=0)
        reach = self.model.spec.reach + int((lengths - earliest).max())
        return self.model.encoder.tail(self.scaled, lengths, reach, wanted, self.X)


def wide_frame(
    values: np.ndarray, times: pd.DatetimeIndex | pd.Index, place: np.ndarray, columns: pd.Index
) -> pd.DataFrame:
    """Lay forecasts out by time and cutoff, NaN where nothing was forecast.

    Parameters
    ----------
    values : numpy.ndarray of shape (cutoff, row, num_targets)
    times : pandas.Index
        Of all forecast rows.
    place : numpy.ndarray of int64, shape (cutoff, row)
        Row of each forecast in ``times``.
    columns : pandas.Index
        One a cutoff and target, target innermost.
    """
    num_cutoffs, _, num_targets = values.shape
    wide = np.full((len(times), num_cutoffs, num_targets), np.nan)
    wide[place, np.arange(num_cutoffs)[:, None]] = values
    return pd.DataFrame(wide.reshape(len(times), -1), index=times, columns=columns)


def scored(
    forecasts: Iterable[tuple[pd.DataFrame | pd.Series, float]],
    y: pd.DataFrame | pd.Series,
    splits: list[tuple[np.ndarray, np.ndarray]],
    metrics: Sequence[Any],
    name: str,
    return_data: bool,
) -> pd.DataFrame:
    """Score forecasts and tabulate them as sktime's ``evaluate`` does.

    Parameters
    ----------
    forecasts : iterable of (frame, float)
        The forecast of each window, and the seconds that training took before it.
    y : pandas.DataFrame or pandas.Series
    splits : list of (training rows, test rows)
    metrics : sequence of sktime metrics
    name : str
        What is forecast, as ``evaluate`` names it: "pred", "pred_quantiles" or "pred_interval".
    return_data : bool
        Whether the training, test and forecast rows are columns of the table.
    """
    table, begin = [], time.perf_counter()
    for (train, test), (forecast, seconds) in zip(splits, forecasts, strict=True):
        end = time.perf_counter()
        y_train, y_test = y.iloc[train], y.iloc[test]
        row: dict[str, Any] = {
            f"test_{metric.name}": _score(metric, y_test, forecast, y_train) for metric in metrics
        }
        times = y_train.index.get_level_values(-1)
        row |= {"fit_time": seconds, f"{name}_time": end - begin - seconds}
        row |= {"len_train_window": times.nunique(), "cutoff": times.max()}
        data = {"y_train": y_train, "y_test": y_test, f"y_{name}": forecast}
        table.append(row | data if return_data else row)
        begin = time.perf_counter()
    columns = {column: [row[column] for row in table] for column in table[0]}
    return pd.DataFrame(columns)


def _score(metric: Any, y_test, forecast, y_train) -> float:
    """Score the observed rows that were forecast; NaN where there are none."""
    observed = y_test.notna() if y_test.ndim == 1 else y_test.notna().all(axis=1)
    # Splitters count rows, forecasts time: after a gap their rows may differ.
    actual = y_test[observed & y_test.index.isin(forecast.index)]
    if not len(actual):
        return float("nan")
    return metric(actual, forecast.loc[actual.index], y_train=y_train)


def shown(windows: Iterable, number: int) -> Iterator:
    """Yield windows, and write one line that follows them."""
    begin = time.perf_counter()
    for count, window in enumerate(windows, start=1):
        yield window
        sys.stdout.write(f"\rwindow {count}/{number}, {time.perf_counter() - begin:.1f} s")
        sys.stdout.flush()
    sys.stdout.write("\n")
