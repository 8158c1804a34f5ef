"""Encoding: pandas frames to scaled tensors, and scaled forecasts back to the units of y."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from sktime_tlstm.data.columns import numeric_values, sampled_values
from sktime_tlstm.data.covariates import Codes, Covariates
from sktime_tlstm.data.history import History, Layout, Widths, initial_room, whole_room
from sktime_tlstm.data.rows import (
    Rows,
    check_apart,
    check_gapless,
    check_growth,
    find_timeline,
    grouped,
    index_times,
    ranges,
    split_index,
)
from sktime_tlstm.data.scaling import CovariateScaling, location_scale
from sktime_tlstm.data.source import Source
from sktime_tlstm.data.targets import Observed, Targets, UsualScale, stops_at_zero
from sktime_tlstm.data.timeline import Timeline

__all__ = ["FrameEncoder"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class ParsedX(NamedTuple):
    """Covariates of the future: their index, and the codes of the values of categories."""

    rows: Rows
    tables: dict[Hashable, Codes]


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
    absolute : bool, default=False
        Whether the size of targets and covariates means the same everywhere: all series have one
        scale, and covariates are not clipped.
    weight_column : str or None, default=None
        Column of X that holds the weights of rows, and is no covariate.
    """

    def __init__(
        self,
        support: str,
        scaler: str | None,
        covariate_scaler: str | None,
        past_covariates: tuple[Hashable, ...],
        static_covariates: tuple[Hashable, ...],
        time_features: tuple[str, ...],
        absolute: bool = False,
        weight_column: Hashable | None = None,
    ):
        self.support = support
        self.scaler, self.covariate_scaler = scaler, covariate_scaler
        self.past_covariates, self.static_covariates = past_covariates, static_covariates
        self.time_features, self.absolute = time_features, absolute
        self.weight_column = weight_column
        self.identities: pd.Index | None = None
        self.timeline: Timeline | None = None
        self._targets = Targets([], [], support, scaler)
        self._covariates = Covariates(past_covariates, static_covariates, {}, {}, {}, {})

    def fit(
        self,
        y: pd.DataFrame,
        X: pd.DataFrame | None,
        keys: pd.Index | None = None,
        sampled: bool = False,
    ) -> FrameEncoder:
        """Learn columns, categories, the names of series and the scaling of covariates.

        Parameters
        ----------
        y, X : pandas.DataFrame
        keys : pandas.Index or None, default=None
            Keys of all series, where y has not all of them.
        sampled : bool, default=False
            Whether X holds rows drawn at random, of all series.

        Raises
        ------
        ValueError
            If ``past_covariates`` or ``static_covariates`` names a column that X lacks, a static
            column varies within a series, or X holds infinite values.
        TypeError
            If a column of X is neither numeric nor categorical.
        """
        names: list[Hashable] = list(y.columns)
        if not names:
            raise ValueError("Got y without columns, expected at least one. Pass what to forecast.")
        keys_of_y, bounds = split_index(y.index)
        shared = extremes = usual = None
        if self.absolute:
            samples = [sampled_values(y.iloc[:, k]) for k in range(len(names))]
            for name, values in zip(names, samples, strict=True):
                if np.isnan(values).all():
                    raise ValueError(
                        f"Got y without any observed value in column {name!r}, expected some to "
                        "learn from. Pass a y that has some, or leave the column out."
                    )
            shared = tuple(location_scale(values, self.scaler) for values in samples)
            extremes = tuple(_extremes(y.iloc[:, k]) for k in range(len(names)))
        else:
            columns = [y.iloc[:, k] for k in range(len(names))]
            usual = tuple(UsualScale.of(column, bounds, self.scaler) for column in columns)
        stops = tuple(
            self.support == "real" and stops_at_zero(y.iloc[:, k], bounds)
            for k in range(len(names))
        )
        self._targets = Targets(
            names, names, self.support, self.scaler, shared, extremes, usual, stops
        )
        self.identities = keys_of_y if keys is None else keys
        self.timeline = find_timeline(y.index, None if X is None or sampled else X.index)
        past, static = self.past_covariates, self.static_covariates
        covariates = pd.DataFrame(index=y.index) if X is None else X
        self._covariates = Covariates.fit(
            past,
            static,
            self.covariate_scaler,
            covariates,
            y.index,
            clip=not self.absolute,
            weight=self.weight_column,
            sampled=sampled,
        )
        return self

    def renamed(self, targets: Sequence[Hashable]) -> FrameEncoder:
        """Return the encoder for data whose targets have other names, or another order."""
        encoder = copy.copy(self)
        encoder._targets = self._targets.renamed(list(targets))
        return encoder

    # What was learnt.

    @property
    def targets(self) -> list[Hashable]:
        """Columns of y, in the order of forecasts."""
        return self._targets.names

    @property
    def order(self) -> list[int]:
        """Channel of each target in a history and in what the networks say."""
        return self._targets.order

    @property
    def extremes(self) -> tuple[tuple[float, float], ...] | None:
        """Smallest and largest value of each channel in training, where all share a scale."""
        return self._targets.extremes

    @property
    def numeric(self) -> list[Hashable]:
        """Numeric columns of X that vary in time."""
        return list(self._covariates.numeric)

    @property
    def scalings(self) -> list[CovariateScaling]:
        """Scaling of each numeric column of X that varies in time."""
        return list(self._covariates.numeric.values())

    @property
    def categories(self) -> dict[Hashable, pd.Index]:
        """Values of each categorical column of X that varies in time; codes count from 1."""
        return self._covariates.categories

    @property
    def static_scaling(self) -> dict[Hashable, CovariateScaling]:
        """Scaling of each numeric static covariate."""
        return self._covariates.static_scaling

    @property
    def static_categories(self) -> dict[Hashable, pd.Index]:
        """Values of each categorical static covariate; codes count from 1."""
        return self._covariates.static_categories

    @property
    def columns(self) -> list[Hashable]:
        """Columns of X that were seen in training and vary in time."""
        return self._covariates.columns

    @property
    def known_columns(self) -> list[Hashable]:
        """Columns of X that a forecast needs."""
        return self._covariates.known

    # From frames to histories.

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
            If a time step is missing or repeated, X lacks a row of y or a column, y has other
            columns than in training or one without a value, or a value is infinite or a mark for
            a missing one.
        """
        return self.encode_source(Source.of(y, X), horizon)

    def encode_source(self, source: Source, horizon: int, weigh: bool = False) -> History:
        """Do the same, of series that may come in pieces; ``weigh`` writes their weights as well.

        A piece is encoded where its series lie in the store of all, as it would be alone. What is
        learnt across series, of those without any value, is learnt at the end.
        """
        # A later fit may have too few rows to tell the step that this was trained on.
        timeline = source.timeline(self.timeline)
        first = timeline.ordinals(source.first)
        check_apart(source.keys, source.first, first, source.lengths)
        in_memory = source.store_dir is None  # room in a file costs little
        room = (initial_room if in_memory else whole_room)(source.lengths)
        layout = self._layout(timeline, source.keys, first, source.lengths, horizon)
        history = History.blank(layout, room, folder=source.store_dir)
        observed = np.zeros(history.loc.shape, dtype=bool)
        young: dict[tuple[int, int], Observed] = {}
        for series, y, X in source.pieces():
            part = history.part(series)
            own, observed[series] = self._encode(part, y, X)
            young |= {(series.start + number, k): values for (number, k), values in own.items()}
            if weigh:
                self.weigh(part, X)
        self._targets.pool(history, observed)
        return replace(history, young=young)

    def _encode(
        self, part: History, y: pd.DataFrame, X: pd.DataFrame | None
    ) -> tuple[dict[tuple[int, int], Observed], Flags]:
        """Write series where a history has room for them, and return what `fit_scaling` does."""
        y = self._checked(y, X, self.static_covariates)
        rows = Rows.parse(y.index, part.timeline)
        check_gapless(y.index, rows)
        young, observed = self._targets.fit_scaling(part, y, rows)
        self._targets.write(part, y, rows)
        self._targets.fit_gaps(part, y, rows)
        self._targets.fit_level(part)
        if X is not None:
            self._covariates.write(part, X, Rows.parse(X.index, part.timeline), rows)
        self._covariates.fill(part)
        self._describe(part, X, np.arange(len(part.first)))
        return young, observed

    def weigh(self, history: History, X: pd.DataFrame | None) -> None:
        """Write the weights of all rows, which only training reads, into what `encode` returned.

        Raises
        ------
        TypeError, ValueError
            If X lacks the column of weights, or one is no finite number of at least 0.
        """
        self._covariates.check_weights(X)
        if self.weight_column is not None and X is not None:
            self._covariates.write_weights(history, X, Rows.parse(X.index, history.timeline))

    def extend(
        self,
        history: History,
        cutoff: Integers,
        y: pd.DataFrame,
        X: pd.DataFrame | None,
        horizon: int,
    ) -> tuple[History, Integers]:
        """Merge new rows into a history, without changing the one given.

        Rows may overlap old ones (a newer observation wins, a missing one never erases) or leave
        a gap (its rows are unobserved); series may be new. Scaling stays as it was, but of the
        series that are new or had few values: they learn it until they have enough, from the same
        values, however many updates bring them. Rows that have weights need them here.

        Returns
        -------
        history : History
        cutoff : numpy.ndarray of int64, shape (num_series,)
            Number of rows up to the last one of each series in y; unchanged for absent series.
        """
        y, X = grouped(y), None if X is None else grouped(X)
        timeline = given = history.timeline
        if timeline.offset is None and timeline.is_calendar:
            history = _with_step(history, y.index)
            timeline = history.timeline
        rows = Rows.parse(y.index, timeline)
        place, old = history.places(rows.keys), len(history.first)
        new = old + np.arange((place < 0).sum())
        y = self._checked(y, X, self.static_covariates if len(new) else ())
        self._covariates.check_weights(X)
        is_read = bool(self.columns) or self.weight_column is not None
        X_rows = Rows.parse(X.index, timeline) if X is not None and is_read else None
        keys = history.keys
        if keys is not None and rows.keys is not None:
            keys = keys.append(rows.keys[place < 0])
        place = np.where(place < 0, old + np.cumsum(place < 0) - 1, place)
        begin, end = rows.ordinals(rows.bounds[:-1]), rows.ordinals(rows.bounds[1:] - 1) + 1
        check_growth(y.index, rows, *history.spans(place))
        # A step that was just learnt changes the calendar of the old rows.
        append = timeline is given and _follow(history, place, begin, X_rows)
        # Rows of other scaling are old rows that will be written to.
        values = self._targets.gathered(history, y, rows, place)
        append = append and not self._targets.changed(history, values)
        first, stop = _bounds(history, place, begin, end)
        merged = history.grown(first, stop - first, keys, horizon, append)
        shift = np.zeros(len(first), dtype=np.int64)
        shift[:old] = cutoff + history.first - first[:old]
        shift[place] = end - first[place]
        try:
            merged = self._targets.learn(merged, history, values)
            self._targets.write(merged, y, rows)
            if X is not None and X_rows is not None:
                self._covariates.write(merged, X, X_rows, rows)
                if self.weight_column is not None:
                    self._covariates.write_weights(merged, X, X_rows)
            self._covariates.fill_new(merged, history)
            if len(new):
                self._targets.open_gaps(merged, old)
                self._describe(merged, X, new)
        except BaseException:
            history.give_back(merged)
            raise
        return merged, shift

    def tail(
        self,
        history: History,
        cutoff: Integers,
        reach: int,
        wanted: Flags,
        X: pd.DataFrame | None,
        parsed: ParsedX | None = None,
    ) -> tuple[History, Integers]:
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
        parsed : ParsedX or None, default=None
            What `parse_future` returned, where it was called before.

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
        first = history.first + cutoff - kept
        layout = self._layout(history.timeline, history.keys, first, kept + num_future, 0)
        # the calendar of the steps up to the horizon is known already
        begin = int((history.store.calendar_start.numpy() + cutoff - kept).min())
        calendar = history.store.calendar[begin : history.room.calendar_rows].numpy()
        tail = History.blank(layout, np.zeros_like(kept), calendar)
        # The rows kept of all series, end to end: where they lie and where they go.
        source = ranges(history.store.start.numpy() + cutoff - kept, kept)
        target = ranges(tail.store.start.numpy(), kept)
        tail.store.values.numpy()[target] = history.store.values.numpy()[source]
        tail.store.observed[target] = history.store.observed[source]
        store = replace(tail.store, traits=history.store.traits)
        tail = replace(tail, store=store, loc=history.loc, scale=history.scale)
        if self.known_columns:
            if parsed is None:
                parsed = self._parsed(history, X, self.known_columns if wanted.any() else [])
            if X is not None and parsed is not None:
                self._covariates.write_future(tail, kept, wanted, X, *parsed)
        carried = np.zeros(len(tail.store.values), dtype=bool)
        carried[target] = True
        self._covariates.fill_rows(tail, np.arange(len(carried)), carried)
        return tail, kept

    def parse_future(self, history: History, X: pd.DataFrame | None) -> ParsedX | None:
        """Parse X, for `tail`; None where no covariate is known in the future.

        Raises
        ------
        ValueError
            If X or one of its columns is absent, or a time is not on the history's grid.

        Warns
        -----
        UserWarning
            If none of the values of a categorical column is known from training.
        """
        if not self.known_columns:
            return None
        return self._parsed(history, X, self.known_columns)

    def _parsed(
        self, history: History, X: pd.DataFrame | None, needed: list[Hashable]
    ) -> ParsedX | None:
        self._covariates.check(X, needed)
        if X is None:
            return None
        columns = [name for name in self.known_columns if name in X.columns]
        tables = self._covariates.codes(X, columns)
        return ParsedX(Rows.parse(X.index, history.timeline), tables)

    def warn_of_far_inputs(
        self, history: History, X: pd.DataFrame, begin: Integers, columns: list[Hashable]
    ) -> None:
        """Warn of rows of X, of those that a history has, which are beyond training.

        Parameters
        ----------
        history : History
        X : pandas.DataFrame
            Which was written into it.
        begin : numpy.ndarray of int64, shape (num_series,)
            The row from which on each series is looked at.
        columns : list
            Which of the columns of X are.
        """
        series, within = history.locate(Rows.parse(X.index, history.timeline))
        inside = (series >= 0) & (within >= begin[series]) & (within < history.lengths[series])
        covariates = self._covariates
        tables = covariates.tables(X, columns)
        place = " in the rows of y"
        covariates.warn_of_extrapolation(X, inside, columns, series[inside], tables, place)

    def warn_of_changed_traits(self, history: History, X: pd.DataFrame) -> None:
        """Warn of static covariates that are others than those that a history knows."""
        if self.static_covariates:
            self._covariates.warn_of_changed_traits(history, X)

    # Back to the units of y.

    def decode(self, history: History, scaled: npt.NDArray[Any], series: Integers) -> Floats:
        """Undo the scaling of targets, in float64.

        Parameters
        ----------
        scaled : numpy.ndarray of shape (n, time, num_targets, ...)
        series : numpy.ndarray of int64, shape (n,)
        """
        return self._targets.decode(history, scaled, series)

    def floored(
        self, history: History, values: Floats, series: Integers, snapped: bool = False
    ) -> Floats:
        """Return forecasts in units of y that are at least zero where y always was, and often is.

        Parameters
        ----------
        history : History
        values : numpy.ndarray of shape (n, time, num_targets, ...)
        series : numpy.ndarray of int64, shape (n,)
        snapped : bool, default=False
            Whether what is nearer to zero than to the smallest value above it becomes zero.
        """
        return self._targets.floored(history, values, series, snapped)

    def aligned(self, y: pd.DataFrame) -> pd.DataFrame:
        """Return y with its columns in the order of forecasts.

        Raises
        ------
        ValueError
            If y has other columns than in training.
        """
        self._targets.check_name(y)
        return self._targets.aligned(y, self.targets)

    def check_target_name(self, y: object) -> None:
        """Raise a ValueError if y is a frame of one column, with another name than in training."""
        self._targets.check_name(y)

    def target_values(self, y: pd.DataFrame) -> Floats:
        """Return the targets of a frame (row, num_targets), by name, NaN where missing."""
        return self._targets.values(y)

    def observed_targets(self, history: History, cutoff: Integers) -> list[Floats]:
        """Return each series' targets (time, num_targets) up to its cutoff, NaN where missing."""
        return self._targets.observed(history, cutoff)

    # What encode and extend share.

    def _checked(
        self, y: pd.DataFrame, X: pd.DataFrame | None, static: tuple[Hashable, ...]
    ) -> pd.DataFrame:
        """Check the columns of y and X, and return y in the order of the history's channels."""
        y = self._targets.aligned(y)
        self._covariates.check(X, [*self.columns, *static])
        return y

    def _layout(
        self,
        timeline: Timeline,
        keys: pd.Index | None,
        first: Integers,
        lengths: Integers,
        horizon: int,
    ) -> Layout:
        """Lay out series of given lengths."""
        observed = len(self.targets) + len(self.numeric)
        channels = observed + len(self.categories) + (self.weight_column is not None)
        widths = Widths(len(self.targets), observed, channels, self._covariates.num_static)
        return Layout(timeline, self.time_features, keys, first, lengths, horizon, widths)

    def _describe(self, history: History, X: pd.DataFrame | None, which: Integers) -> None:
        """Write what there is once for each of the series ``which``, but for their targets."""
        identity = torch.from_numpy(self._identity(history.keys)).float()
        history.store.traits.identity[which] = identity[which]
        if X is not None:
            self._covariates.write_static(history, X, which)

    def _identity(self, keys: pd.Index | None) -> Floats:
        """Return the number of each series in training, from 1; 0 for one that was not there."""
        if keys is None or self.identities is None:
            # A single series is told from others by nothing but that training had one as well.
            number = 1 if keys is None else len(keys)
            return np.full(number, float(keys is self.identities))
        if keys.nlevels != self.identities.nlevels:
            return np.zeros(len(keys))
        return np.asarray(self.identities.get_indexer(keys) + 1.0)


def _extremes(column: pd.Series) -> tuple[float, float]:
    """Return the smallest and the largest value of a column."""
    values = numeric_values(column)
    return float(np.fmin.reduce(values)), float(np.fmax.reduce(values))


def _with_step(history: History, index: pd.Index) -> History:
    """Return a history of single rows on a grid whose step later rows tell."""
    seen = history.timeline.times(history.first)
    timeline = find_timeline(seen.append(index_times(index)).unique().sort_values())
    stale = replace(history.room, calendar_rows=0)
    young = {
        # A young series has the row of the history, or no value.
        key: (timeline.ordinals(seen[[key[0]]])[: len(rows)], values)
        for key, (rows, values) in history.young.items()
    }
    first = timeline.ordinals(seen)
    return replace(history, timeline=timeline, first=first, room=stale, young=young)


def _follow(history: History, place: Integers, begin: Integers, X_rows: Rows | None) -> bool:
    """Whether all rows lie behind those of the history: y's, from ``begin`` on, and X's."""
    known = place < len(history.first)
    if (begin[known] < (history.first + history.lengths)[place[known]]).any():
        return False
    if X_rows is None:
        return True
    series, within = history.locate(X_rows)
    return not ((series >= 0) & (within >= 0) & (within < history.lengths[series])).any()


def _bounds(
    history: History, place: Integers, begin: Integers, end: Integers
) -> tuple[Integers, Integers]:
    """Return the first grid row of every series, old or new, and the one behind its last."""
    known = place < len(history.first)
    first = np.concatenate([history.first, begin[~known]])
    stop = np.concatenate([history.first + history.lengths, end[~known]])
    first[place] = np.minimum(first[place], begin)
    stop[place] = np.maximum(stop[place], end)
    return first, stop
