"""Encoding: pandas frames to scaled tensors, and scaled forecasts back to the units of y."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from sktime_tlstm.data.history import PER_SERIES, History, initial_room
from sktime_tlstm.data.rows import (
    Rows,
    blocks,
    check_gapless,
    check_growth,
    find_timeline,
    grouped,
    index_times,
    ranges,
    split_index,
)
from sktime_tlstm.data.scaling import (
    CovariateScaling,
    find_categories,
    is_categorical,
    location_scale,
    numeric_values,
    sampled_values,
    static_values,
)
from sktime_tlstm.data.timeline import Timeline

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
    static_covariates : sequence of str
        Columns of X that are constant within each series.
    time_features : tuple of str
        Names of calendar features.
    """

    def __init__(
        self,
        support: str,
        scaler: str | None,
        covariate_scaler: str | None,
        past_covariates: tuple,
        static_covariates: tuple,
        time_features: tuple[str, ...],
    ):
        self.support = support
        self.scaler, self.covariate_scaler = scaler, covariate_scaler
        self.past_covariates, self.static_covariates = past_covariates, static_covariates
        self.time_features = time_features
        self.targets: list = []
        self.numeric: list = []
        self.categories: dict = {}
        self.covariate_scaling: list[CovariateScaling] = []
        self.static_scaling: dict = {}
        self.static_categories: dict = {}
        self.identities: pd.Index | None = None
        self.timeline: Timeline | None = None

    def fit(self, y: pd.DataFrame, X: pd.DataFrame | None) -> FrameEncoder:
        """Learn columns, categories, the names of series and the scaling of covariates.

        Raises
        ------
        ValueError
            If ``past_covariates`` or ``static_covariates`` names a column that X lacks, a static
            column varies within a series, or X holds infinite values.
        TypeError
            If a column of X is neither numeric nor categorical.
        """
        self.targets = list(y.columns)
        self.identities, _ = split_index(y.index)
        self.timeline = find_timeline(y.index, None if X is None else X.index)
        covariates = pd.DataFrame(index=y.index) if X is None else X
        self._check_names(list(covariates.columns))
        self._fit_static(covariates)
        if len(covariates) > len(y):  # rows beyond y are no training data
            covariates = covariates[covariates.index.isin(y.index)]
        for name in covariates.columns:
            if name in self.static_covariates:
                continue
            if is_categorical(covariates[name]):
                self.categories[name] = find_categories(covariates[name])
            else:
                values = sampled_values(covariates[name])
                self.numeric.append(name)
                self.covariate_scaling.append(CovariateScaling.fit(values, self.covariate_scaler))
        return self

    def _check_names(self, columns: list) -> None:
        if len(set(columns)) < len(columns):
            raise ValueError(f"Got X with repeated columns: {columns}. Rename or drop some.")
        for parameter in ("past_covariates", "static_covariates"):
            names = getattr(self, parameter)
            unknown = [name for name in names if name not in columns]
            if unknown:
                raise ValueError(
                    f"Got {parameter}={list(names)}, but X has no column {unknown}; "
                    f"its columns are {columns}. Name columns of X."
                )
        both = [name for name in self.static_covariates if name in self.past_covariates]
        if both:
            raise ValueError(
                f"Got the columns {both} in past_covariates and in static_covariates, expected "
                "each in one. What never changes is known in the future too: drop them from "
                "past_covariates."
            )

    def _fit_static(self, X: pd.DataFrame) -> None:
        bounds = split_index(X.index)[1]
        for name in self.static_covariates:
            values = static_values(X[name], bounds)
            if is_categorical(X[name]):
                self.static_categories[name] = find_categories(values)
            else:
                numbers = numeric_values(values)
                self.static_scaling[name] = CovariateScaling.fit(numbers, self.covariate_scaler)

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
        self._check_columns(y, X, self.static_covariates)
        # A later fit may have too few rows to tell the step that this was trained on.
        timeline = find_timeline(y.index, None if X is None else X.index, self.timeline)
        rows = Rows.parse(y.index, timeline)
        check_gapless(y.index, rows)
        place = np.arange(len(rows.lengths))
        first, room = rows.ordinals(rows.bounds[:-1]), initial_room(rows.lengths)
        history = self._blank(timeline, rows.keys, first, rows.lengths, horizon, room)
        self._fit_scaling(history, y, rows, place, place)
        self._write_targets(history, y, rows)
        if X is not None:
            self._write_covariates(history, X, Rows.parse(X.index, timeline), rows)
        self._fill_all(history)
        self._describe(history, X, place)
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
        y, X = grouped(y), None if X is None else grouped(X)
        timeline = given = history.timeline
        if timeline.offset is None and timeline.is_calendar:
            seen = timeline.times(history.first)
            timeline = find_timeline(seen.append(index_times(y.index)).unique().sort_values())
            stale = replace(history.room, calendar_rows=0)
            first = timeline.ordinals(seen)
            history = replace(history, timeline=timeline, first=first, room=stale)
        rows = Rows.parse(y.index, timeline)
        place, old = history.places(rows.keys), len(history.first)
        new = old + np.arange((place < 0).sum())
        self._check_columns(y, X, self.static_covariates if len(new) else ())
        X_rows = None if X is None or not self.columns else Rows.parse(X.index, timeline)
        keys = history.keys
        if keys is not None and rows.keys is not None:
            keys = keys.append(rows.keys[place < 0])
        place = np.where(place < 0, old + np.cumsum(place < 0) - 1, place)
        begin, end = rows.ordinals(rows.bounds[:-1]), rows.ordinals(rows.bounds[1:] - 1) + 1
        check_growth(y.index, rows, *history.spans(place))
        # A step that was just learnt changes the calendar of the old rows.
        append = timeline is given and _follow(history, place, begin, X_rows)
        first, stop = _bounds(history, place, begin, end)
        merged = history.grown(first, stop - first, keys, horizon, append)
        shift = np.zeros(len(first), dtype=np.int64)
        shift[:old] = cutoff + history.first - first[:old]
        shift[place] = end - first[place]
        try:
            if len(new):
                self._fit_scaling(merged, y, rows, place, new)
            self._write_targets(merged, y, rows)
            if X is not None and X_rows is not None:
                self._write_covariates(merged, X, X_rows, rows)
            self._fill_new(merged, history)
            if len(new):
                self._describe(merged, X, new)
        except BaseException:
            history.give_back(merged)
            raise
        return merged, shift

    def tail(
        self,
        history: History,
        cutoff: np.ndarray,
        reach: int,
        wanted: np.ndarray,
        X: pd.DataFrame | None,
        X_rows: Rows | None = None,
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
        X_rows : Rows or None, default=None
            The index of X, where it was parsed before.

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
        first, none = history.first + cutoff - kept, np.zeros_like(kept)
        tail = self._blank(history.timeline, history.keys, first, kept + num_future, 0, none)
        source = ranges(history.store.start.numpy() + cutoff - kept, kept)
        target = ranges(tail.store.start.numpy(), kept)
        tail.store.values.numpy()[target] = history.store.values.numpy()[source]
        tail.store.observed.numpy()[target] = history.store.observed.numpy()[source]
        old = history.store
        own = {name: getattr(old, name) for name in PER_SERIES}
        store = replace(tail.store, **own)
        tail = replace(tail, store=store, loc=history.loc, scale=history.scale)
        if self.known_columns:
            self._write_future(tail, kept, wanted, X, X_rows)
        carried = np.zeros(len(tail.store.values), dtype=bool)
        carried[target] = True
        self._fill(tail, np.arange(len(carried)), carried)
        return tail, kept

    def future_rows(self, history: History, X: pd.DataFrame | None) -> Rows | None:
        """Parse the index of X, for `tail`; None where no covariate is known in the future.

        Raises
        ------
        ValueError
            If X or one of its columns is absent, or a time is not on the history's grid.
        """
        if not self.known_columns:
            return None
        self._check_covariates(X, self.known_columns)
        return None if X is None else Rows.parse(X.index, history.timeline)

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

    def _check_columns(self, y: pd.DataFrame, X: pd.DataFrame | None, static: tuple) -> None:
        self._check_targets(y)
        self._check_covariates(X, [*self.columns, *static])

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

    def _blank(self, timeline, keys, first, lengths, horizon, room) -> History:
        """Lay out series of given lengths, all values missing."""
        observed = len(self.targets) + len(self.numeric)
        static = len(self.static_scaling) + len(self.static_categories)
        widths = (len(self.targets), observed, observed + len(self.categories), static)
        layout = (timeline, self.time_features, keys, first, lengths, horizon)
        return History.blank(*layout, widths, room)

    def _identity(self, keys: pd.Index | None) -> np.ndarray:
        """Return the number of each series in training, from 1; 0 for one that was not there."""
        if keys is None or self.identities is None:
            return np.full(1 if keys is None else len(keys), keys is self.identities, dtype=float)
        if keys.nlevels != self.identities.nlevels:
            return np.zeros(len(keys))
        return self.identities.get_indexer(keys) + 1.0

    def _fit_scaling(self, history: History, y: pd.DataFrame, rows: Rows, place, which) -> None:
        """Learn the targets' scaling of the series ``which`` out of ``place``, in place."""
        wanted = np.isin(place, which)
        for group in rows.groups():
            part = y.iloc[rows.bounds[group.start] : rows.bounds[group.stop]]
            for column in range(len(self.targets)):
                # More rows than are sampled are those of a single series.
                values = sampled_values(part.iloc[:, column])
                bounds = np.minimum(rows.bounds - rows.bounds[group.start], len(values))
                for own in np.flatnonzero(wanted[group]) + group.start:
                    series, own_values = place[own], values[bounds[own] : bounds[own + 1]]
                    location, scale = location_scale(own_values, self.scaler)
                    history.loc[series, column] = location
                    history.scale[series, column] = scale
                    history.store.unit[series, column] = scale

    def _write_targets(self, history: History, y: pd.DataFrame, rows: Rows) -> None:
        values, observed = history.store.values.numpy(), history.store.observed.numpy()
        start = history.store.start.numpy()
        for part in blocks(len(rows)):
            series, within = history.locate(rows, part)
            position = start[series] + within
            for column in range(len(self.targets)):
                own = y.iloc[part, column]
                raw = numeric_values(own)
                self._check_support(own, raw)
                scaled = (raw - history.loc[series, column]) / history.scale[series, column]
                if self.scaler == "robust_arcsinh":
                    scaled = np.arcsinh(scaled)
                seen = ~np.isnan(raw)
                values[position[seen], column] = scaled[seen]
                observed[position[seen], column] = True

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

    def _write_covariates(
        self, history: History, X: pd.DataFrame, X_rows: Rows, y_rows: Rows
    ) -> None:
        """Write the rows of X that the history has, refusing if one of y's rows is absent."""
        start, lengths = history.store.start.numpy(), history.lengths
        present = np.zeros(len(history.store.values), dtype=bool)
        for part in blocks(len(X_rows)):
            series, within = history.locate(X_rows, part)
            inside = (series >= 0) & (within >= 0) & (within < lengths[series])
            position = start[series[inside]] + within[inside]
            present[position] = True
            self._write_columns(history, position, X.iloc[part], inside, self.columns)
        absent = 0
        for part in blocks(len(y_rows)):
            series, within = history.locate(y_rows, part)
            lacks = ~present[start[series] + within]
            if lacks.any() and not absent:
                row = int(np.argmax(lacks))
                when = history.timeline.times(history.first[series[row : row + 1]] + within[row])[0]
                first = f"{when}{history.name(series[row])}"
            absent += int(lacks.sum())
        if absent:
            raise ValueError(
                f"Got X without the row {first}, which y has ({absent} rows are absent). Pass X "
                "with every row of y; missing values may be NaN."
            )

    def _write_static(self, history: History, X: pd.DataFrame, which: np.ndarray) -> None:
        """Write the static covariates of the series ``which``, refusing if one is absent."""
        keys, bounds = split_index(X.index)
        place = history.places(keys)
        absent = np.setdiff1d(which, place)
        if self.static_covariates and len(absent):
            raise ValueError(
                f"Got X without a row{history.name(absent[0])}, expected one that tells its static "
                f"covariates {list(self.static_covariates)}. Pass X with every row of y."
            )
        wanted = np.isin(place, which)
        for channel, (name, scaling) in enumerate(self.static_scaling.items()):
            values = numeric_values(static_values(X[name], bounds))
            scaled = np.where(np.isnan(values), scaling.mean, scaling(values))[wanted]
            history.store.static[place[wanted], channel] = torch.from_numpy(scaled).float()
        first = len(self.static_scaling)
        for channel, (name, known) in enumerate(self.static_categories.items(), start=first):
            names = static_values(X[name], bounds).astype(object)
            codes = np.where(names.notna(), known.get_indexer(names) + 1, 0)[wanted]
            history.store.static[place[wanted], channel] = torch.from_numpy(codes).float()

    def _write_future(
        self, tail: History, kept: np.ndarray, wanted: np.ndarray, X, rows: Rows | None
    ) -> None:
        """Write the rows of X after each cutoff, refusing if a wanted one is absent."""
        self._check_covariates(X, self.known_columns if wanted.any() else [])
        if X is None:
            return
        rows = Rows.parse(X.index, tail.timeline) if rows is None else rows
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

    def _fill_all(self, history: History) -> None:
        """Carry covariates forward in all series."""
        start = history.store.start.numpy()
        bounds = np.concatenate([[0], np.cumsum(history.lengths)])
        for part in blocks(int(bounds[-1])):
            # The row before the block was filled with the block before.
            row = np.arange(max(part.start - 1, 0), part.stop)
            owner = np.searchsorted(bounds, row, side="right") - 1
            self._fill(history, start[owner] + row - bounds[owner], row < part.start)

    def _fill_new(self, history: History, before: History) -> None:
        """Carry covariates forward in the rows that were not in the history ``before``."""
        if history.store.values is not before.store.values:
            self._fill_all(history)
            return
        start, old, new = history.store.start.numpy(), before.lengths, history.lengths
        changed = np.flatnonzero(new > old)
        begin = np.maximum(old[changed] - 1, 0)  # the last old row counts as a value
        rows = ranges(start[changed] + begin, new[changed] - begin)
        owner = np.repeat(changed, new[changed] - begin)
        self._fill(history, rows, rows < start[owner] + old[owner])

    def _fill(self, history: History, rows: np.ndarray, carried: np.ndarray) -> None:
        """Carry covariates forward over missing values, and fill in their mean before the first.

        Parameters
        ----------
        history : History
            Changed in place.
        rows : numpy.ndarray of int64
            Rows of the store, ascending.
        carried : numpy.ndarray of bool
            Which rows count as values, whether or not they were observed.
        """
        values, observed = history.store.values.numpy(), history.store.observed.numpy()
        start = history.store.start.numpy()
        for channel, scaling in enumerate(self.covariate_scaling, start=len(self.targets)):
            valid = observed[rows, channel] | carried
            if not valid.all():
                begin = start[np.searchsorted(start, rows, side="right") - 1]
                source = np.maximum.accumulate(np.where(valid, rows, -1))
                values[rows, channel] = np.where(
                    source < begin, scaling.mean, values[source, channel]
                )

    def _describe(self, history: History, X: pd.DataFrame | None, which: np.ndarray) -> None:
        """Write what there is once for each of the series ``which``, but for their scaling."""
        identity = torch.from_numpy(self._identity(history.keys)).float()
        history.store.identity[which] = identity[which]
        if X is not None:
            self._write_static(history, X, which)
        self._fit_level(history, which)

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


def _follow(history: History, place: np.ndarray, begin: np.ndarray, X_rows: Rows | None) -> bool:
    """Whether all rows lie behind those of the history: y's, from ``begin`` on, and X's."""
    known = place < len(history.first)
    if (begin[known] < (history.first + history.lengths)[place[known]]).any():
        return False
    if X_rows is None:
        return True
    series, within = history.locate(X_rows)
    return not ((series >= 0) & (within >= 0) & (within < history.lengths[series])).any()


def _bounds(
    history: History, place: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first grid row of every series, old or new, and the one behind its last."""
    known = place < len(history.first)
    first = np.concatenate([history.first, begin[~known]])
    stop = np.concatenate([history.first + history.lengths, end[~known]])
    first[place] = np.minimum(first[place], begin)
    stop[place] = np.maximum(stop[place], end)
    return first, stop
