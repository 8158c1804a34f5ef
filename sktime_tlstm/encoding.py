"""Encoding: pandas frames to scaled tensors, and scaled forecasts back to the units of y."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from sktime_tlstm.history import History, Rows, check_gapless, find_timeline, ranges, split_index
from sktime_tlstm.scaling import (
    CovariateScaling,
    find_categories,
    is_categorical,
    location_scale,
    numeric_values,
)
from sktime_tlstm.windows import SeriesStore

__all__ = ["SUPPORTS", "FrameEncoder"]

#: Bound of the arcsinh-scaled forecasts, so that undoing the arcsinh stays finite.
MAX_ARCSINH = 30.0
#: Supports of targets by name: the smallest value, and the words for all of them.
SUPPORTS = {
    "real": (-np.inf, "any number"),
    "positive": (np.nextafter(0, 1), "positive numbers"),
    "count": (0.0, "whole numbers of at least 0"),
}


class FrameEncoder:
    """Learns from training frames how to turn frames into tensors; frozen afterwards.

    Parameters
    ----------
    support : {"real", "positive", "count"}
        Which targets the head can be trained on.
    scaler, covariate_scaler : key of SCALERS
        Scaling of each series' targets, and of each covariate over all series.
    past_covariates : sequence of str
        Columns of X that are not known in the future.
    time_features : tuple of str
        Names of calendar features.
    """

    def __init__(
        self,
        support: str,
        scaler: str | None,
        covariate_scaler: str | None,
        past_covariates: tuple,
        time_features: tuple[str, ...],
    ):
        self.support = support
        self.scaler, self.covariate_scaler = scaler, covariate_scaler
        self.past_covariates, self.time_features = past_covariates, time_features
        self.targets: list = []
        self.numeric: list = []
        self.categories: dict = {}
        self.covariate_scaling: list[CovariateScaling] = []

    def fit(self, y: pd.DataFrame, X: pd.DataFrame | None) -> FrameEncoder:
        """Learn columns, categories and the scaling of covariates.

        Raises
        ------
        ValueError
            If ``past_covariates`` names a column that X lacks, or X holds infinite values.
        TypeError
            If a column of X is neither numeric nor categorical.
        """
        self.targets = list(y.columns)
        covariates = pd.DataFrame(index=y.index) if X is None else X
        if len(covariates) > len(y):  # rows beyond y are no training data
            covariates = covariates[covariates.index.isin(y.index)]
        columns = list(covariates.columns)
        if len(set(columns)) < len(columns):
            raise ValueError(f"Got X with repeated columns: {columns}. Rename or drop some.")
        unknown = [name for name in self.past_covariates if name not in columns]
        if unknown:
            raise ValueError(
                f"Got past_covariates={list(self.past_covariates)}, but X has no column {unknown}; "
                f"its columns are {columns}. Name columns of X."
            )
        for name in columns:
            if is_categorical(covariates[name]):
                self.categories[name] = find_categories(covariates[name])
            else:
                values = numeric_values(covariates[name])
                self.numeric.append(name)
                self.covariate_scaling.append(CovariateScaling.fit(values, self.covariate_scaler))
        return self

    @property
    def columns(self) -> list:
        """Columns of X that were seen in training."""
        return [*self.numeric, *self.categories]

    @property
    def known_columns(self) -> list:
        """Columns of X that a forecast needs."""
        return [name for name in self.columns if name not in self.past_covariates]

    def encode(self, y: pd.DataFrame, X: pd.DataFrame | None, horizon: int) -> History:
        """Encode whole series.

        Parameters
        ----------
        y : pandas.DataFrame
            Targets; one series, or several under a MultiIndex.
        X : pandas.DataFrame or None
            Covariates; every row of y, and any other rows.
        horizon : int
            Number of steps after the last row that calendar features are needed for.

        Raises
        ------
        ValueError
            If a time step is missing or repeated, X lacks a row of y or a column, or a value is
            infinite.
        """
        self._check_columns(y, X)
        timeline = find_timeline(y.index, None if X is None else X.index)
        rows = Rows.parse(y.index, timeline)
        check_gapless(y.index, rows)
        first, lengths = rows.ordinals[rows.bounds[:-1]], rows.lengths
        history = self._blank(timeline, rows.keys, first, lengths, lengths, horizon)
        self._fit_scaling(history, np.arange(len(lengths)), y, rows)
        self._write_targets(history, slice(None), y, rows.series)
        if X is not None:
            self._write_covariates(history, X, np.arange(len(history.store.values)))
        self._finish(history)
        self._fit_level(history, np.arange(len(lengths)))
        return history

    def extend(
        self, history: History, cutoff: np.ndarray, y: pd.DataFrame, X, horizon: int
    ) -> tuple[History, np.ndarray]:
        """Merge new rows into a history, without changing the one given.

        Rows may overlap old ones (a newer observation wins, a missing one never erases) or leave
        a gap (its rows are unobserved); series may be new. Scaling stays as it was.

        Returns
        -------
        history : History
        cutoff : numpy.ndarray of int64, shape (num_series,)
            Number of rows up to the last one of each series in y; unchanged for absent series.
        """
        self._check_columns(y, X)
        timeline = history.timeline
        if timeline.offset is None and timeline.is_calendar:
            seen = timeline.times(history.first)
            timeline = find_timeline(seen.append(split_index(y.index)[2]).unique().sort_values())
            history = replace(history, timeline=timeline, first=timeline.ordinals(seen))
        rows = Rows.parse(y.index, timeline)
        merged, cutoff, place, new = self._enlarge(history, cutoff, rows, horizon)
        if len(new):
            self._fit_scaling(merged, new, y, rows, place)
        series = np.repeat(place, rows.lengths)
        position = merged.store.start.numpy()[series] + rows.ordinals - merged.first[series]
        self._write_targets(merged, position, y, series)
        if X is not None:
            self._write_covariates(merged, X, position)
        self._finish(merged)
        if len(new):
            self._fit_level(merged, new)
        return merged, cutoff

    def tail(
        self, history: History, cutoff: np.ndarray, reach: int, wanted: np.ndarray, X
    ) -> tuple[History, np.ndarray]:
        """Cut the last rows before each cutoff and put rows for the future behind them.

        Parameters
        ----------
        history : History
        cutoff : numpy.ndarray of int64, shape (num_series,)
        reach : int
            Number of rows before the cutoff to keep.
        wanted : numpy.ndarray of bool, shape (num_series, num_future)
            Which future rows X must have; the others carry forward what is absent.
        X : pandas.DataFrame or None
            Covariates of the future.

        Returns
        -------
        tail : History
        cutoff : numpy.ndarray of int64, shape (num_series,)
            Number of rows kept of each series.

        Raises
        ------
        ValueError
            If X, one of its columns or a wanted row is absent, or a value is infinite.
        """
        kept, num_future = np.minimum(cutoff, reach), wanted.shape[1]
        tail = self._blank(
            history.timeline,
            history.keys,
            history.first + cutoff - kept,
            kept,
            kept + num_future,
            0,
        )
        source = ranges(history.store.start.numpy() + cutoff - kept, kept)
        target = ranges(tail.store.start.numpy(), kept)
        tail.store.values.numpy()[target] = history.store.values.numpy()[source]
        tail.store.observed.numpy()[target] = history.store.observed.numpy()[source]
        old = history.store
        store = replace(tail.store, level=old.level, spread=old.spread, unit=old.unit)
        tail = replace(tail, store=store, loc=history.loc, scale=history.scale)
        if self.known_columns:
            self._write_future(tail, kept, wanted, X)
        carried = np.zeros(len(tail.store.values), dtype=bool)
        carried[target] = True
        self._finish(tail, carried)
        return tail, kept

    def decode(self, history: History, scaled: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Undo the scaling of targets, in float64.

        Parameters
        ----------
        scaled : numpy.ndarray of shape (n, time, num_targets, ...)
        series : numpy.ndarray of int64, shape (n,)
        """
        scaled = np.asarray(scaled, dtype=np.float64)
        shape = (len(series), 1, len(self.targets)) + (1,) * (scaled.ndim - 3)
        if self.scaler == "robust_arcsinh":
            scaled = np.sinh(np.clip(scaled, -MAX_ARCSINH, MAX_ARCSINH))
        return history.loc[series].reshape(shape) + history.scale[series].reshape(shape) * scaled

    def target_values(self, y: pd.DataFrame) -> np.ndarray:
        """Return the targets of a frame as float64 (row, num_targets), NaN where missing."""
        self._check_targets(y)
        return np.stack([numeric_values(y.iloc[:, k]) for k in range(len(self.targets))], axis=1)

    def observed_targets(self, history: History, cutoff: np.ndarray) -> list[np.ndarray]:
        """Return each series' targets (time, num_targets) up to its cutoff, NaN where missing."""
        targets = []
        for series, start in enumerate(history.store.start.tolist()):
            rows = slice(start, start + int(cutoff[series]))
            scaled = history.store.values[rows, : len(self.targets)].numpy()
            seen = history.store.observed[rows, : len(self.targets)].numpy()
            values = self.decode(history, scaled[None], np.array([series]))[0]
            targets.append(np.where(seen, values, np.nan))
        return targets

    # Building blocks, in the order in which encode calls them.

    def _check_columns(self, y: pd.DataFrame, X: pd.DataFrame | None) -> None:
        self._check_targets(y)
        self._check_covariates(X, self.columns)

    def _check_targets(self, y: pd.DataFrame) -> None:
        if len(y.columns) != len(self.targets):
            raise ValueError(
                f"Got y with {len(y.columns)} columns {list(y.columns)}, expected "
                f"{len(self.targets)} as in training: {self.targets}. Pass the same targets."
            )

    def _check_covariates(self, X: pd.DataFrame | None, needed: list) -> None:
        if not needed:
            return
        if X is None:
            raise ValueError(
                f"Got X=None, expected the covariates {needed} that the forecaster was fitted "
                "with. Pass X with these columns, or fit without X."
            )
        missing = [name for name in needed if name not in X.columns]
        if missing:
            raise ValueError(
                f"Got X without the columns {missing}; its columns are {list(X.columns)}. Pass all "
                f"covariates the forecaster was fitted with: {needed}."
            )

    def _blank(self, timeline, keys, first, known, lengths, horizon) -> History:
        """Lay out series of given lengths, all values missing."""
        total, num_series = int(lengths.sum()), len(lengths)
        num_observed = len(self.targets) + len(self.numeric)
        low, high = int(first.min()), int((first + lengths).max()) + horizon
        calendar = timeline.features(low, high - low, self.time_features)
        blank = np.zeros((num_series, len(self.targets)))
        start = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        store = SeriesStore(
            values=torch.zeros(total, num_observed + len(self.categories)),
            observed=torch.zeros(total, num_observed, dtype=torch.bool),
            calendar=torch.from_numpy(calendar),
            start=torch.from_numpy(start),
            length=torch.from_numpy(np.asarray(lengths, dtype=np.int64)),
            calendar_start=torch.from_numpy(np.asarray(first - low, dtype=np.int64)),
            level=torch.zeros(num_series, len(self.targets)),
            spread=torch.ones(num_series, len(self.targets)),
            unit=torch.ones(num_series, len(self.targets)),
        )
        return History(timeline, keys, first, blank.copy(), blank + 1, store)

    def _enlarge(self, history, cutoff, rows, horizon):
        """Lay out old and new rows together and copy the old ones.

        Returns the layout, the new cutoffs, the place of each series of ``rows``, and the places
        of series not seen before.
        """
        place, old = history.places(rows.keys), len(history.first)
        new = old + np.arange((place < 0).sum())
        keys = history.keys.append(rows.keys[place < 0]) if len(new) else history.keys
        place = np.where(place < 0, old + np.cumsum(place < 0) - 1, place)
        begin, end = rows.ordinals[rows.bounds[:-1]], rows.ordinals[rows.bounds[1:] - 1] + 1
        first = np.concatenate([history.first, begin[len(begin) - len(new) :]]).astype(np.int64)
        stop = np.concatenate([history.first + history.lengths, np.zeros(len(new), np.int64)])
        first[place] = np.where(place < old, np.minimum(first[place], begin), begin)
        stop[place] = np.where(place < old, np.maximum(stop[place], end), end)
        merged = self._blank(history.timeline, keys, first, stop - first, stop - first, horizon)
        shift = history.first - first[:old]
        source = ranges(history.store.start.numpy(), history.lengths)
        target = ranges(merged.store.start.numpy()[:old] + shift, history.lengths)
        for name in ("values", "observed"):
            getattr(merged.store, name).numpy()[target] = getattr(history.store, name)[source]
        for name in ("level", "spread", "unit"):
            getattr(merged.store, name)[:old] = getattr(history.store, name)
        merged.loc[:old], merged.scale[:old] = history.loc, history.scale
        cutoff = np.concatenate([cutoff + shift, np.zeros(len(new), np.int64)])
        cutoff[place] = end - first[place]
        return merged, cutoff, place, new

    def _fit_scaling(self, history: History, which, y: pd.DataFrame, rows: Rows, place=None):
        """Learn the targets' scaling of the series ``which``, in place."""
        place = np.arange(len(rows.lengths)) if place is None else place
        wanted = np.isin(place, which)
        for column in range(len(self.targets)):
            values = numeric_values(y.iloc[:, column])
            for series in np.flatnonzero(wanted):
                own = values[rows.bounds[series] : rows.bounds[series + 1]]
                location, scale = location_scale(own, self.scaler)
                history.loc[place[series], column] = location
                history.scale[place[series], column] = scale
                history.store.unit[place[series], column] = scale

    def _write_targets(self, history: History, position, y: pd.DataFrame, series) -> None:
        values, observed = history.store.values.numpy(), history.store.observed.numpy()
        for column in range(len(self.targets)):
            raw = numeric_values(y.iloc[:, column])
            self._check_support(y.iloc[:, column], raw)
            scaled = (raw - history.loc[series, column]) / history.scale[series, column]
            if self.scaler == "robust_arcsinh":
                scaled = np.arcsinh(scaled)
            seen = ~np.isnan(raw)
            rows = np.arange(len(values))[position][seen]
            values[rows, column] = scaled[seen]
            observed[rows, column] = True

    def _check_support(self, column: pd.Series, values: np.ndarray) -> None:
        low, words = SUPPORTS[self.support]
        outside = values < low
        if self.support == "count":
            outside |= np.mod(values, 1) > 0
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"Got the value {values[row]} in column {column.name!r} at {column.index[row]}, "
                f"expected {words} for this loss. Use loss='quantile' or 'normal' for other data."
            )

    def _write_covariates(self, history: History, X: pd.DataFrame, wanted: np.ndarray) -> None:
        """Write the rows of X that the history has, refusing if one of ``wanted`` is absent."""
        rows = Rows.parse(X.index, history.timeline)
        series, within = history.locate(rows)
        inside = (series >= 0) & (within >= 0) & (within < history.lengths[series])
        position = history.store.start.numpy()[series[inside]] + within[inside]
        absent = np.ones(len(history.store.values), dtype=bool)
        absent[position] = False
        absent = absent[wanted]
        if absent.any():
            where = int(wanted[np.argmax(absent)])
            owner = int(np.searchsorted(history.store.start.numpy(), where, side="right")) - 1
            when = history.first[owner] + where - int(history.store.start[owner])
            raise ValueError(
                f"Got X without the row {history.timeline.times(np.array([when]))[0]}"
                f"{history.name(owner)}, which y has ({absent.sum()} rows are absent). Pass X with "
                "every row of y; missing values may be NaN."
            )
        self._write_columns(history, position, X, inside, self.columns)

    def _write_future(self, tail: History, kept: np.ndarray, wanted: np.ndarray, X) -> None:
        """Write the rows of X after each cutoff, refusing if a wanted one is absent."""
        self._check_covariates(X, self.known_columns if wanted.any() else [])
        if X is None:
            return
        rows = Rows.parse(X.index, tail.timeline)
        series, within = tail.locate(rows)
        step = within - kept[series]
        inside = (series >= 0) & (step >= 0) & (step < wanted.shape[1])
        present = np.zeros(wanted.shape, dtype=bool)
        present[series[inside], step[inside]] = True
        if (wanted & ~present).any():
            owner, first = np.argwhere(wanted & ~present)[0]
            when = tail.first[owner] + kept[owner] + first
            raise ValueError(
                f"Got X without the row {tail.timeline.times(np.array([when]))[0]}"
                f"{tail.name(owner)}, which is to be forecast. Pass X with every step of fh."
            )
        position = tail.store.start.numpy()[series[inside]] + within[inside]
        columns = [name for name in self.known_columns if name in X.columns]
        self._write_columns(tail, position, X, inside, columns)

    def _write_columns(self, history: History, position, X, inside, columns: list) -> None:
        values, observed = history.store.values.numpy(), history.store.observed.numpy()
        for name in columns:
            if name in self.categories:
                channel = observed.shape[1] + list(self.categories).index(name)
                codes = self.categories[name].get_indexer(X[name].astype(object))[inside] + 1
                seen = X[name].notna().to_numpy()[inside]
                values[position[seen], channel] = codes[seen]
                continue
            column = self.numeric.index(name)
            raw = numeric_values(X[name])[inside]
            seen = ~np.isnan(raw)
            channel = len(self.targets) + column
            values[position[seen], channel] = self.covariate_scaling[column](raw[seen])
            observed[position[seen], channel] = True

    def _finish(self, history: History, carried: np.ndarray | None = None) -> None:
        """Carry covariates forward over missing values, and fill in their mean before the first.

        ``carried`` rows count as values.
        """
        values, observed = history.store.values.numpy(), history.store.observed.numpy()
        begin = np.repeat(history.store.start.numpy(), history.lengths)
        row = np.arange(len(values))
        for channel, scaling in enumerate(self.covariate_scaling, start=len(self.targets)):
            valid = observed[:, channel] if carried is None else observed[:, channel] | carried
            if not valid.all():
                source = np.maximum.accumulate(np.where(valid, row, -1))
                values[:, channel] = np.where(source < begin, scaling.mean, values[source, channel])

    def _fit_level(self, history: History, which: np.ndarray) -> None:
        """Learn mean and standard deviation of the scaled targets of the series ``which``."""
        store, targets = history.store, len(self.targets)
        for series in which:
            rows = slice(int(store.start[series]), int(store.start[series] + store.length[series]))
            for column in range(targets):
                value = store.values[rows, column].numpy()[store.observed[rows, column].numpy()]
                if len(value):
                    store.level[series, column] = float(value.mean())
                    store.spread[series, column] = float(value.std()) or 1.0
                if self.support != "real" and store.level[series, column] == 0:
                    store.level[series, column] = 1.0  # it is a scale: no observation, or zeros
