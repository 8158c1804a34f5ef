"""Cutoffs: forecasts of one model from many cutoffs of many series, in a few forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from sktime_tlstm.absences import warn_of_empty_columns, warn_of_empty_rows, without_value
from sktime_tlstm.beyond import (
    warn_of_far_rows,
    warn_of_gaps_in_drives,
    warn_of_skipped_rows,
)
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, check_sampling, split_index
from sktime_tlstm.data.targets import num_learnt
from sktime_tlstm.fitted import Fitted, Learn
from sktime_tlstm.forecasting import (
    LOOKS_AHEAD,
    RUNS_THROUGH,
    Asked,
    forecast,
    warn_of_absent,
)
from sktime_tlstm.model import Model

__all__ = ["MovingCutoffs"]

#: Windows whose forecasts are held at once.
WINDOWS_AT_ONCE = 2**14


class MovingCutoffs:
    """Series with rows that become known little by little, and the cutoffs to forecast from.

    Parameters
    ----------
    fitted : Fitted
        Neither it nor its history is changed.
    y, X : pandas.DataFrame
        All rows that become known; X also holds the covariates of the future.
    windows : list of numpy.ndarray of int64
        Rows of y that have become known by each cutoff, in the order of time.
    """

    def __init__(
        self,
        fitted: Fitted,
        y: pd.DataFrame,
        X: pd.DataFrame | None,
        windows: list[np.ndarray],
    ):
        self.fitted, self.model, self.y, self.X = fitted, fitted.model, y, X
        history = fitted.history
        if fitted.model.spec.simulation:
            check_sampling(y.index, history.timeline)
        #: The window from which on each way to scale the series holds, and the rows it sees.
        self.scalings = _scalings(history, y, windows)
        #: All rows, scaled as is known at the first window; and as at the latest one forecast.
        self.merged = self.scaled = self._merge(0)
        rows = Rows.parse(y.index, self.merged.timeline)
        series, within = self.merged.locate(rows)
        shift = history.first - self.merged.first[: len(history.first)]
        # Of each series: the rows before the cutoff (-1 for none yet), and those known at all.
        cutoff = np.full(len(self.merged.first), -1)
        end = np.zeros_like(cutoff)
        cutoff[: len(shift)] = fitted.seen + shift
        end[: len(shift)] = history.lengths + shift
        self.before = end.copy()
        cutoffs, ends = [], []
        for window in windows:
            cutoff[series[window]] = within[window] + 1
            np.maximum(end, cutoff, out=end)
            cutoffs.append(cutoff.copy())
            ends.append(end.copy())
        #: Rows of each series (window, series) before the cutoff, -1 where there is none yet; and
        #: the rows that are known at all, where a cutoff steps back.
        self.cutoffs, self.ends = np.array(cutoffs), np.array(ends)
        last = self.merged.first + self.cutoffs - 1
        #: The grid row before each cutoff (window, series), of any other where there is none yet.
        self.last = np.where(self.cutoffs < 0, last[self.cutoffs >= 0][0], last)
        #: How many of the last rows of each series y tells.
        self.told = np.zeros_like(end)
        np.maximum.at(self.told, series, self.merged.lengths[series] - within)

    def warn(self) -> None:
        """Warn of rows that training did not prepare for."""
        history = self.fitted.history
        warn_of_far_rows(self.model, self.merged, self.told, history, "a backtest", self.X)
        warn_of_skipped_rows(self.model, history, self.merged, self.X)
        warn_of_empty_rows(self.model, self.merged, self.told, self.X, history, "the rows of y")

    def _merge(self, window: int) -> History:
        """Merge all rows of y, scaled as by an update with what is known at a window."""
        horizon, extend = self.model.spec.horizon, self.model.encoder.extend
        history, seen = self.fitted.history, self.fitted.seen
        early = next(rows for first, rows in reversed(self.scalings) if first <= window)
        if early.any():
            history, seen = extend(history, seen, self.y[early], self.X, horizon)
        # The rows to come are not to be learnt from.
        return extend(replace(history, young={}), seen, self.y, self.X, horizon)[0]

    def _scale(self, window: int) -> None:
        """Scale the series as they are from a window on."""
        if any(first == window > 0 for first, _ in self.scalings):
            self.scaled = self._merge(window)

    def give_back(self) -> None:
        """Give the room that the merged rows took back to the history; no forecasts afterwards."""
        self.fitted.history.give_back(self.merged)

    @property
    def every_series_is_known(self) -> bool:
        """Whether every series has rows at every cutoff."""
        return bool((self.cutoffs >= 0).all())

    def forecasts(
        self,
        step: np.ndarray,
        alphas: list[float] | None = None,
        adapt: bool = False,
        learn: Learn | None = None,
        update_every: int | None = None,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Forecast from one cutoff after the other, as updates of the forecaster would.

        Parameters
        ----------
        step : numpy.ndarray of int64, shape (step,) or (window, num_series, step)
            Steps after the cutoff, of all alike or of each.
        alphas : list of float or None
            Quantile levels; None for the point forecast.
        adapt : bool
            Whether every cutoff's new rows extend the calibration.
        learn : callable or None
            Trains a copy of a model on the rows that are new since it last was.
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
        step = np.broadcast_to(step, (*self.cutoffs.shape, step.shape[-1]))
        size = update_every or len(self.cutoffs)
        for begin in range(0, len(self.cutoffs), size):
            end = min(begin + size, len(self.cutoffs))
            self._scale(begin)
            models = self._adapted(model, begin, begin + 1) if adapt else [model]
            if begin and learn is not None:
                then = replace(self.scaled, store=self.scaled.store.until(self.ends[begin]))
                new_rows = np.maximum(self.ends[begin] - trained, 0)
                models, trained = [learn(models[0], then, new_rows)], self.ends[begin]
            if adapt:
                models += self._adapted(models[0], begin + 1, end)
            model = models[-1]
            inner = [first for first, _ in self.scalings if begin < first < end]
            for first, last in pairwise([begin, *inner, end]):
                self._scale(first)
                some = models if len(models) == 1 else models[first - begin : last - begin]
                yield from self._segment(some, first, last, step, alphas)

    def _adapted(self, model: Model, begin: int, end: int) -> list[Model]:
        """Return the model with its calibration extended by the new rows of each window."""
        # (window, num_series): the end of the window before each
        before = np.concatenate([self.before[None], self.ends])[begin:end]
        ends = self.ends[begin:end]
        return model.adapted(self.scaled.store, ends, np.maximum(ends - before, 0))

    def _segment(
        self,
        models: list[Model],
        begin: int,
        end: int,
        step: np.ndarray,
        alphas: list[float] | None,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Forecast windows with the same networks; one model a window, or one for all."""
        if step[begin:end].min() < 1 or step[begin:end].max() > self.model.spec.horizon:
            for window in range(begin, end):
                model = models[min(window - begin, len(models) - 1)]
                yield window, *self._alone(model, window, step[window], alphas)
            return
        whole, kept = self._whole(self.cutoffs[begin:end], step[begin:end])
        dropped = self.scaled.lengths - kept
        at_once = max(1, WINDOWS_AT_ONCE // len(kept))
        for first in range(begin, end, at_once):
            part = range(first, min(first + at_once, end))
            # A pair for every window and series that has rows by then, ordered by window.
            place, series = np.nonzero(self.cutoffs[part.start : part.stop] >= 0)
            cutoff = self.cutoffs[part.start + place, series] - dropped[series]
            asked = step[part.start + place, series] - 1  # (pair, step)
            ahead = models[0].ahead(whole.store, series, cutoff)
            bounds = np.searchsorted(place, np.arange(len(part) + 1))
            alike = [part] if len(models) == 1 else [range(number, number + 1) for number in part]
            for group in alike:
                model = models[min(group.start - begin, len(models) - 1)]
                pairs = slice(bounds[group.start - first], bounds[group.stop - first])
                scaled = model.read(ahead.of(pairs), alphas)
                scaled = scaled[np.arange(len(scaled))[:, None], asked[pairs]]
                values = model.decoded(self.scaled, scaled, series[pairs], alphas is not None)
                for number in group:
                    low, high = bounds[number - first : number - first + 2] - pairs.start
                    yield number, series[pairs][low:high], values[low:high]

    def _alone(
        self, model: Model, window: int, step: np.ndarray, alphas: list[float] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Forecast one window at any steps (num_series, step) after its cutoffs.

        Returns the series, and values (series, step, target[, alpha]).
        """
        cutoff = self.cutoffs[window]
        series = np.flatnonzero(cutoff >= 0)
        then = replace(self.scaled, store=self.scaled.store.until(self.ends[window]))
        rows = np.repeat(series, step.shape[1]), step[series].ravel()  # series outermost
        values = forecast(model, Asked(then, np.maximum(cutoff, 0), *rows, self.X), alphas)
        return series, values.reshape(len(series), step.shape[1], *values.shape[1:])

    def _whole(self, cutoffs: np.ndarray, step: np.ndarray) -> tuple[History, np.ndarray]:
        """Return all rows that the windows see, with the rows of X behind the last of y.

        ``cutoffs`` is (window, num_series), ``step`` (window, num_series, step).
        """
        lengths, horizon = self.scaled.lengths, self.model.spec.horizon
        window, series = np.nonzero(cutoffs >= 0)

        def behind(step: np.ndarray) -> np.ndarray:
            """Return which rows behind the last of y are these steps of a window and series."""
            rows = np.zeros((len(lengths), horizon), dtype=bool)
            # (window and series, step): how far each of them lies behind the last row of y
            beyond = (cutoffs[window, series] - lengths[series])[:, None] + step - 1
            of_series = np.broadcast_to(series[:, None], beyond.shape)
            rows[of_series[beyond >= 0], beyond[beyond >= 0]] = True
            return rows

        earliest = np.where(cutoffs < 0, lengths, cutoffs).min(axis=0)
        parsed = self.model.encoder.parse_future(self.scaled, self.X)
        if parsed is not None and self.model.spec.simulation:
            ahead = behind(np.arange(1, int(step.max()) + 1))
            warn_of_absent(self.scaled, lengths, ahead, parsed.rows, RUNS_THROUGH)
            # rows of y behind the first cutoff are simulated too
            far = cutoffs.max(axis=0) - earliest + int(step.max())
            read = np.arange(int(far.max())) < far[:, None]
            data = self.scaled, earliest, read, self.X, parsed.rows
            warn_of_gaps_in_drives(self.model.encoder, *data, RUNS_THROUGH)
        elif parsed is not None and self.model.looks_ahead:
            ahead = behind(np.arange(1, horizon + 1))
            warn_of_absent(self.scaled, lengths, ahead, parsed.rows, LOOKS_AHEAD)
        reach = int(self.model.rows_read(self.scaled, lengths, earliest).max())
        wanted = behind(step[window, series])
        encoder = self.model.encoder
        whole, kept = encoder.tail(self.scaled, lengths, reach, wanted, self.X, parsed)
        last = np.max(wanted * np.arange(1, horizon + 1), axis=1)
        empty = without_value(encoder, whole, kept, last if parsed is not None else last * 0)
        if empty.any():
            rows = lengths, last, self.X, empty
            warn_of_empty_columns(self.model, self.scaled, *rows, "the rows behind y")
        return whole, kept


def _scalings(
    history: History, y: pd.DataFrame, windows: list[np.ndarray]
) -> list[tuple[int, np.ndarray]]:
    """Return from which windows on scales are learnt from more rows (row,), and which.

    New and young series learn: from what a window knows, but at least from their first rows.
    """
    keys, bounds = split_index(y.index)
    place = history.places(keys)
    young = np.isin(place, [series for series, _ in history.young])
    series = np.repeat(np.arange(len(place)), np.diff(bounds))  # of y, of every row
    unknown, early = place < 0, np.zeros(len(y), dtype=bool)
    learning = (unknown | young)[series]
    for window in windows if learning.any() else ():
        begun = window[unknown[series[window]]]
        early[begun] = True
        unknown[series[begun]] = False
    observed, before = y.notna().to_numpy(), np.zeros(len(place), dtype=np.int64)
    before[young] = max((len(rows) for rows, _ in history.young.values()), default=0)
    scalings: list[tuple[int, np.ndarray]] = []
    reached, latest = np.zeros(len(y), dtype=bool), None
    for number, window in enumerate(windows if learning.any() else windows[:1]):
        reached[window] = True
        rows = reached & learning
        count = np.zeros((len(place), observed.shape[1]), dtype=np.int64)  # observed so far
        np.add.at(count, series[rows], observed[rows])
        learnt = [num_learnt(n) for n in (*count.flat, *(count + before[:, None]).flat)]
        if learnt != latest:
            scalings.append((number, early | rows))
            latest = learnt
    return scalings
