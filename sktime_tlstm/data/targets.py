"""Targets: the scale of each series, and how values of y get into a history and out again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from sktime_tlstm.data.columns import (
    MAX_RATIO,
    MAX_SIZE,
    numeric_values,
    refuse_far,
    refuse_marks,
    sampled,
)
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, blocks, split_index, spread
from sktime_tlstm.data.scaling import location_scale

__all__ = [
    "MAX_ARCSINH",
    "SUPPORTS",
    "Targets",
    "UsualScale",
    "has_outliers",
    "num_learnt",
    "stops_at_zero",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Bound of the arcsinh-scaled forecasts, so that undoing the arcsinh stays finite.
MAX_ARCSINH = 30.0
#: Supports of targets by name: the smallest value, and the words for all of them.
SUPPORTS = {
    "real": (-np.inf, "any number"),
    "positive": (float(np.nextafter(0, 1)), "positive numbers"),
    "count": (0.0, "whole numbers of at least 0"),
}


#: Distance from the median, in robust deviations, of an outlier; the series that are looked at, and
#: the share of them that may have some before all are scaled by an arcsinh.
OUTLYING, OUTLIER_SERIES, OUTLIER_SHARE = 50.0, 200, 0.1
#: A series that `fit` saw with fewer values than this goes on learning its scale, as new ones do.
FEW_VALUES = 4
#: New series learn their scale from all values up to so many, then at every doubling, so that the
#: rows that were scaled before are scaled anew a few times only; and from so many it stays.
LEARN_ALL, ENOUGH_VALUES = 64, 1024

#: The scale of a series with fewer values than this is drawn to that of the others, where so many
#: have as many values as tell theirs. (A window's is drawn to its series', see data.windows.)
SHORT_VALUES, TELLING_SERIES, TELLING_VALUES = 16, 5, 32
#: Zeros, and their share, from which on a target that is never below stops there; the share of
#: series that may be below; and values that are rounding errors, as a share of the largest.
MIN_ZEROS, MIN_ZERO_SHARE, MAX_BELOW, ROUNDING = 3, 0.02, 0.1, 1e-9
#: Scalers whose scale is a deviation, which few values tell too small.
DEVIATIONS = ("robust_arcsinh", "robust", "standard")

#: Grid rows, ascending, and values: what a target of a young series was observed at.
Observed = tuple[Integers, Floats]


@dataclass(frozen=True)
class UsualScale:
    """The scale that series have, which a short one cannot tell by itself.

    Parameters
    ----------
    relative : bool
        Whether it is in units of a series' distance from zero, where these differ less.
    scale, spread : float
        Medians of the scale, and of the deviation of scaled values.
    """

    relative: bool
    scale: float
    spread: float

    @classmethod
    def of(cls, column: pd.Series, bounds: Integers, scaler: str | None) -> UsualScale | None:
        """Learn it from the series of a column, between ``bounds``; None where these are few."""
        if scaler not in DEVIATIONS:
            return None
        found = []
        for series in spread(len(bounds) - 1, OUTLIER_SERIES):
            values = numeric_values(column.iloc[bounds[series] : bounds[series + 1]])
            values = values[~np.isnan(values)]
            if len(values) < TELLING_VALUES or np.abs(values).max() > MAX_SIZE or not values.std():
                continue
            location, scale = location_scale(values, scaler)
            deviation = float(((values - location) / scale).std())
            found.append((scale, scale / (abs(location) or np.inf), deviation))
        if len(found) < TELLING_SERIES:
            return None
        scales, ratios, deviations = np.array(found).T
        relative = bool((ratios > 0).all() and np.log(ratios).std() < np.log(scales).std())
        if scaler == "robust_arcsinh":  # whose scaled values are no multiples
            deviations = np.ones(1)
        size = ratios if relative else scales
        return cls(relative, float(np.median(size)), float(np.median(deviations)))

    def drawn(self, location: float, scale: float, number: int) -> float:
        """Return the scale of a series with so many values."""
        usual = self.scale * (abs(location) if self.relative else 1.0)
        return _mixed(scale, usual, number) if usual > 0 else scale


@dataclass(frozen=True)
class Targets:
    """The columns of y, which are scaled series by series.

    Parameters
    ----------
    names : list
        Columns of y, in the order of forecasts.
    channels : list
        The same names in the order of a history's channels, which is that of the training data.
    support : key of SUPPORTS
    scaler : key of SCALERS
    shared : tuple of (location, scale), one for each channel, or None, default=None
        Scaling that all series have; None where each learns its own.
    extremes : tuple of (smallest, largest), one for each channel, or None, default=None
        Of the values of training, where all series share a scale.
    usual : tuple of UsualScale or None, one for each channel, or None, default=None
        Of the series of training, where there are enough.
    stops_at_zero : tuple of bool, one for each channel, or None, default=None
        Whether it is never below zero, and often there.
    """

    names: list[Hashable]
    channels: list[Hashable]
    support: str
    scaler: str | None
    shared: tuple[tuple[float, float], ...] | None = None
    extremes: tuple[tuple[float, float], ...] | None = None
    usual: tuple[UsualScale | None, ...] | None = None
    stops_at_zero: tuple[bool, ...] | None = None

    def renamed(self, names: list[Hashable]) -> Targets:
        """Return the targets of data with other columns, or with these in another order.

        The same names are the same targets; others are matched by position.
        """
        same = len(names) == len(self.channels) and set(names) == set(self.channels)
        return replace(self, names=names, channels=self.channels if same else names)

    @property
    def order(self) -> list[int]:
        """Channel of each target."""
        return [self.channels.index(name) for name in self.names]

    def aligned(self, y: pd.DataFrame, names: list[Hashable] | None = None) -> pd.DataFrame:
        """Return y with its columns in the order of ``names``; None for that of the channels.

        The column of a single target may have any name: a pandas.Series may have none.

        Raises
        ------
        ValueError
            If y has another number of columns than in training, or others.
        """
        names, got = self.channels if names is None else names, list(y.columns)
        if len(got) != len(names):
            raise ValueError(
                f"Got y with {len(got)} columns {got}, expected {len(names)} as in training: "
                f"{self.names}. Pass the same targets."
            )
        if len(got) == 1 or got == names:
            return y
        if set(got) != set(names):
            raise ValueError(
                f"Got y with the columns {got}, expected those of training: {self.names}. Rename "
                "them; their order does not matter."
            )
        return y[names]

    def check_name(self, y: object) -> None:
        """Refuse a frame whose single column has another name than in training.

        A pandas.Series may have any name, or none, which makes the column 0.
        """
        if not isinstance(y, pd.DataFrame) or len(self.names) != 1 or y.shape[1] != 1:
            return
        got, name = y.columns[0], self.names[0]
        if got != name and not {got, name} & {0, None}:
            raise ValueError(
                f"Got y with the column {got!r}, expected that of training: {name!r}. Rename it: "
                f"`y.rename(columns={{{got!r}: {name!r}}})`."
            )

    def values(self, y: pd.DataFrame) -> Floats:
        """Return the targets of a frame (row, num_targets), NaN where missing."""
        y = self.aligned(y, self.names)
        return np.stack([numeric_values(y.iloc[:, k]) for k in range(len(self.names))], axis=1)

    # Scaling.

    def fit_scaling(
        self, history: History, y: pd.DataFrame, rows: Rows
    ) -> tuple[dict[tuple[int, int], Observed], Flags]:
        """Learn the scaling of all series of a history, which are those of y, in place.

        Returns
        -------
        young : dict of (series, channel) to (grid rows, values)
            Of series that have not enough of them yet.
        observed : numpy.ndarray of bool, shape (num_series, num_targets)
            Of what there is any value.

        Raises
        ------
        ValueError
            If a value is a mark for a missing one.
        """
        young: dict[tuple[int, int], Observed] = {}
        observed = np.zeros(history.loc.shape, dtype=bool)
        for group in rows.groups():
            part = y.iloc[rows.bounds[group.start] : rows.bounds[group.stop]]
            for channel in range(len(self.channels)):
                # More rows than are sampled are those of a single series.
                column = sampled(part.iloc[:, channel])
                values = numeric_values(column)
                if len(column) < len(part) and np.isfinite(values).sum() < FEW_VALUES:
                    column = part.iloc[:, channel]
                    values = numeric_values(column)
                bounds = np.minimum(rows.bounds - rows.bounds[group.start], len(values))
                seen = ~np.isnan(values)
                # Number of values before each series of the group, and of each.
                before = np.append(0, np.cumsum(seen))[bounds[group.start : group.stop + 1]]
                number = np.diff(before)
                observed[group, channel] = number > 0
                marked = (np.abs(values) > MAX_RATIO).any()
                for series in range(group.start, group.stop):
                    place = slice(bounds[series], bounds[series + 1])
                    if marked:
                        refuse_marks(column.iloc[place], values[place])
                    self._set_scaling(history, series, channel, values[place])
                for series in np.flatnonzero(number < FEW_VALUES) + group.start:
                    which = np.flatnonzero(seen[bounds[series] : bounds[series + 1]])
                    when = rows.ordinals(which + rows.bounds[series])
                    young[int(series), channel] = when, values[which + bounds[series]]
        return young, observed

    def fit_level(self, history: History) -> None:
        """Learn mean and standard deviation of the scaled targets of all series, in place."""
        store = history.store
        for series in range(len(store)):
            rows = slice(int(store.start[series]), int(store.start[series] + store.length[series]))
            for channel in range(len(self.channels)):
                value = store.values[rows, channel].numpy()[store.observed[rows, channel].numpy()]
                self._set_level(history, series, channel, value)

    def pool(self, history: History, observed: Flags) -> None:
        """Describe series without any value as the others are, in place, once these are.

        Parameters
        ----------
        history : History
        observed : numpy.ndarray of bool, shape (num_series, num_targets)

        Raises
        ------
        ValueError
            If a target is not observed at all.
        """
        for channel, name in enumerate(self.channels):
            if observed[:, channel].any():
                self._pool_level(history, observed[:, channel], channel)
            elif self.shared is None:  # the past of a simulation may hold inputs alone
                raise ValueError(
                    f"Got y without any observed value in column {name!r}, expected at least one. "
                    "Pass a y that has some, or leave the column out."
                )
            if self.shared is None:
                self._pool_scaling(history, observed[:, channel], channel)
        self._set_zero(history)

    def _set_scaling(self, history: History, series: int, channel: int, values: Floats) -> None:
        if self.shared is None:
            location, scale = location_scale(values, self.scaler)
            number, usual = int((~np.isnan(values)).sum()), self._usual(channel)
            if usual is not None and 0 < number < SHORT_VALUES:
                scale = usual.drawn(location, scale, number)
        else:
            location, scale = self.shared[channel]
        history.loc[series, channel] = location
        history.scale[series, channel] = scale
        history.store.traits.unit[series, channel] = scale

    def _set_level(
        self, history: History, series: int, channel: int, scaled: npt.NDArray[Any]
    ) -> None:
        store = history.store
        if len(scaled):
            store.traits.level[series, channel] = float(scaled.mean())
            deviation, usual = float(scaled.std()) or 1.0, self._usual(channel)
            if usual is not None and len(scaled) < SHORT_VALUES:
                deviation = _mixed(float(scaled.std()), usual.spread, len(scaled))
            store.traits.spread[series, channel] = deviation
        if self.support != "real" and store.traits.level[series, channel] == 0:
            store.traits.level[series, channel] = 1.0  # it is a scale: no observation, or zeros

    def _usual(self, channel: int) -> UsualScale | None:
        return None if self.usual is None else self.usual[channel]

    @staticmethod
    def _set_zero(history: History) -> None:
        """Write where zero lies on the scale of every series, in place, once these are set."""
        history.store.traits.zero.copy_(torch.from_numpy(-history.loc / history.scale))

    @staticmethod
    def _pool_scaling(history: History, observed: Flags, channel: int) -> None:
        """Scale series of which nothing is observed as the others are, flags (num_series,)."""
        if not observed.all():
            for kept in (history.loc, history.scale):
                kept[~observed, channel] = np.median(kept[observed, channel])
            scale = torch.from_numpy(history.scale[~observed, channel])
            history.store.traits.unit[torch.from_numpy(~observed), channel] = scale.float()

    @staticmethod
    def _pool_level(history: History, observed: Flags, channel: int) -> None:
        if not observed.all():
            for kept in (history.store.traits.level.numpy(), history.store.traits.spread.numpy()):
                kept[~observed, channel] = np.median(kept[observed, channel])

    # What is never below zero.

    def fit_gaps(self, history: History, y: pd.DataFrame, rows: Rows) -> None:
        """Learn the smallest value above zero of every series, of targets that stop at zero.

        In place. It is infinite for none, and zero for a series that has values below.
        """
        for channel in np.flatnonzero(self.stops_at_zero or ()).tolist():
            gap = history.store.traits.gap[:, channel].numpy()
            gap[:] = np.inf
            for part in blocks(len(rows)):
                series, _ = history.locate(rows, part)
                values = _without_dust(numeric_values(y.iloc[part, channel]))
                above = values > 0
                np.minimum.at(gap, series[above], values[above])
                gap[series[values < 0]] = 0.0

    def open_gaps(self, history: History, old: int) -> None:
        """Let series behind the ``old`` ones stop at zero where others do, in place."""
        for channel in np.flatnonzero(self.stops_at_zero or ()):
            history.store.traits.gap[old:, channel] = np.inf

    def floored(self, history: History, values: Floats, series: Integers, snapped: bool) -> Floats:
        """Return forecasts (n, time, num_targets, ...) in units of y that are not below zero.

        Where the target never is; and, if they are to be ``snapped``, that are zero where they are
        nearer to it than to the smallest value above.
        """
        gap = history.store.traits.gap[torch.from_numpy(series)].numpy()[:, self.order]
        if not gap.any():
            return values
        gap = gap.reshape(len(series), 1, len(self.names), *(1,) * (values.ndim - 3))
        least = np.where(np.isfinite(gap), gap / 2, 0.0) if snapped else 0.0
        return np.where((gap > 0) & (values < least), 0.0, values)

    # Series that still learn their scale.

    def gathered(
        self, history: History, y: pd.DataFrame, rows: Rows, place: Integers
    ) -> dict[tuple[int, int], Observed]:
        """Return all values of the series of y that are new, or young still.

        Parameters
        ----------
        history : History
        y : pandas.DataFrame
        rows : Rows
        place : numpy.ndarray of int64, shape (num_series of y,)
            Series of the history that those of y are; new ones lie behind the old.

        Returns
        -------
        dict of (series, channel) to (grid rows, values)
        """
        old, found = len(history.first), {}
        learning = (place >= old) | np.isin(place, [series for series, _ in history.young])
        nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
        for group in rows.groups() if learning.any() else ():
            part = y.iloc[rows.bounds[group.start] : rows.bounds[group.stop]]
            for channel in range(len(self.channels)):
                column = part.iloc[:, channel]
                values = numeric_values(column)
                bounds = rows.bounds - rows.bounds[group.start]
                for number in np.flatnonzero(learning[group]) + group.start:
                    key = int(place[number]), channel
                    if key[0] < old and key not in history.young:
                        continue
                    own = values[bounds[number] : bounds[number + 1]]
                    refuse_marks(column.iloc[bounds[number] : bounds[number + 1]], own)
                    seen = np.flatnonzero(~np.isnan(own))
                    when = rows.ordinals(seen + rows.bounds[number])
                    found[key] = _merged(history.young.get(key, nothing), (when, own[seen]))
        return found

    def changed(
        self, history: History, found: dict[tuple[int, int], Observed]
    ) -> list[tuple[int, int]]:
        """Return of which (series, channel) the values that were `gathered` change the scaling."""
        return [
            key
            for key, (_, values) in found.items()
            if key not in history.young
            or not np.array_equal(_learnt(values), _learnt(history.young[key][1]))
        ]

    def learn(
        self, merged: History, before: History, found: dict[tuple[int, int], Observed]
    ) -> History:
        """Learn the scaling of new and young series from all that is known of them, in place.

        What is learnt depends on the values alone, not on the updates that brought them; the rows
        that were scaled before are scaled anew from the values, so that nothing is rounded twice.

        Parameters
        ----------
        merged : History
            With the new rows and series; of tensors that no other history shares, if any scaling
            is `changed`.
        before : History
            The history without them.
        found : dict
            What was `gathered`.

        Returns
        -------
        history : History
            Which knows the series that are young still.
        """
        values_of_store = merged.store.values.numpy()
        changed = self.changed(before, found)
        for series, channel in changed:
            when, values = found[series, channel]
            if not len(values):  # a new series
                self._pool(merged, before, series, channel)
                continue
            learnt = _learnt(values)
            self._set_scaling(merged, series, channel, learnt)
            place = np.full(len(values), series)
            times = merged.timeline.times(when)
            column = pd.Series(values, times, name=self.channels[channel])
            scaled = self._scaled(merged, column, values, place, channel)
            self._set_level(merged, series, channel, scaled[: len(learnt)])
            # Rows of the store, one for every value.
            position = int(merged.store.start[series]) + when - merged.first[series]
            values_of_store[position, channel] = scaled
        if changed:
            self._set_zero(merged)
        young = {**before.young, **found}
        young = {key: own for key, own in young.items() if len(own[1]) < ENOUGH_VALUES}
        return replace(merged, young=young)

    def _pool(self, merged: History, before: History, series: int, channel: int) -> None:
        """Scale a new series of which nothing is observed as those before are."""
        store, level = merged.store, before.store.traits.level.numpy()[:, channel]
        spread = before.store.traits.spread.numpy()[:, channel]
        merged.loc[series, channel] = np.median(before.loc[:, channel])
        merged.scale[series, channel] = np.median(before.scale[:, channel])
        store.traits.unit[series, channel] = float(merged.scale[series, channel])
        store.traits.level[series, channel] = float(np.median(level))
        store.traits.spread[series, channel] = float(np.median(spread))

    # Into histories and out again.

    def write(self, history: History, y: pd.DataFrame, rows: Rows) -> None:
        """Write the observed values of y, whose rows the history has."""
        values, observed = history.store.values.numpy(), history.store.observed
        start = history.store.start.numpy()
        for part in blocks(len(rows)):
            series, within = history.locate(rows, part)
            position = start[series] + within  # row of the store of every row of the part
            for channel in range(len(self.channels)):
                column = y.iloc[part, channel]
                numbers = numeric_values(column)
                self._check_support(column, numbers)
                scaled = self._scaled(history, column, numbers, series, channel)
                seen = ~np.isnan(numbers)
                values[position[seen], channel] = scaled[seen]
                observed.mark(position[seen], channel)

    def _scaled(
        self, history: History, column: pd.Series, values: Floats, series: Integers, channel: int
    ) -> Floats:
        """Return values of a column scaled, each as its series is: shape (row,)."""
        scaled = (values - history.loc[series, channel]) / history.scale[series, channel]
        refuse_far(column, values, (np.abs(scaled) > MAX_RATIO) | (np.abs(values) > MAX_SIZE))
        scaled = np.asarray(scaled, dtype=np.float64)
        return np.arcsinh(scaled) if self.scaler == "robust_arcsinh" else scaled

    def _check_support(self, column: pd.Series, values: Floats) -> None:
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

    def decode(self, history: History, scaled: npt.NDArray[Any], series: Integers) -> Floats:
        """Undo the scaling, as `FrameEncoder.decode` says."""
        scaled = np.asarray(scaled, dtype=np.float64)
        # (n, 1, num_targets, 1 ...): broadcasts over time and what follows the targets
        shape = (len(series), 1, len(self.names)) + (1,) * (scaled.ndim - 3)
        if self.scaler == "robust_arcsinh":
            scaled = np.sinh(np.clip(scaled, -MAX_ARCSINH, MAX_ARCSINH))
        decoded: Floats = (
            history.loc[series].reshape(shape) + history.scale[series].reshape(shape) * scaled
        )
        return decoded if self.names == self.channels else decoded[:, :, self.order]

    def observed(self, history: History, cutoff: Integers) -> list[Floats]:
        """Return each series' targets (time, num_targets) up to its cutoff, NaN where missing."""
        targets = []
        for series, start in enumerate(history.store.start.tolist()):
            rows = slice(start, start + int(cutoff[series]))
            scaled = history.store.values[rows, : len(self.names)].numpy()
            seen = history.store.observed[rows, : len(self.names)].numpy()[:, self.order]
            values = self.decode(history, scaled[None], np.array([series]))[0]
            targets.append(np.where(seen, values, np.nan))
        return targets


def stops_at_zero(column: pd.Series, bounds: Integers) -> bool:
    """Return whether a target is never below zero in nearly all series, and often there.

    ``bounds`` (num_series + 1,) are the rows between which these lie.
    """
    zeros = number = 0
    below = np.zeros(len(bounds) - 1, dtype=bool)
    for part in blocks(len(column)):
        values = _without_dust(numeric_values(column.iloc[part]))
        zeros += int((values == 0).sum())
        number += int((~np.isnan(values)).sum())
        low = np.flatnonzero(values < 0) + part.start
        below[np.searchsorted(bounds, low, side="right") - 1] = True
    often = zeros >= max(MIN_ZEROS, MIN_ZERO_SHARE * number)
    return often and float(below.mean()) <= MAX_BELOW


def _without_dust(values: Floats) -> Floats:
    """Return values with zeros in the place of rounding errors."""
    sizes = np.abs(values)
    return np.where(sizes <= ROUNDING * np.fmax.reduce(sizes, initial=0.0), 0.0, values)


def _mixed(own: float, usual: float, number: int) -> float:
    """Return a deviation told by so many values, with the usual one in the place of the others."""
    return float(np.sqrt((number * own**2 + (SHORT_VALUES - number) * usual**2) / SHORT_VALUES))


def num_learnt(number: int) -> int:
    """Return how many of so many values, the first, a series learns its scale from."""
    number = min(number, ENOUGH_VALUES)
    return number if number <= LEARN_ALL else 2 ** (int(number).bit_length() - 1)


def _learnt(values: Floats) -> Floats:
    return values[: num_learnt(len(values))]


def _merged(old: Observed, new: Observed) -> Observed:
    """Merge observed values in the order of time; a newer value of the same row wins."""
    rows, values = (np.concatenate(pair) for pair in zip(new, old, strict=True))
    rows, first = np.unique(rows, return_index=True)
    return rows, values[first]


def has_outliers(y: pd.DataFrame) -> bool:
    """Whether more than a few series have values that would drown all others."""
    bounds = split_index(y.index)[1]
    chosen = spread(len(bounds) - 1, OUTLIER_SERIES)
    found = 0
    for name in range(y.shape[1]):
        values = numeric_values(y.iloc[:, name])
        for begin, end in zip(bounds[chosen], bounds[chosen + 1], strict=True):
            with np.errstate(over="ignore"):  # of marks such as 1e300, which are refused later
                location, scale = location_scale(values[begin:end], "robust")
                farthest = np.fmax.reduce(np.abs(values[begin:end] - location), initial=0.0)
                found += bool(farthest > OUTLYING * scale)
    return found > OUTLIER_SHARE * len(chosen) * y.shape[1]
