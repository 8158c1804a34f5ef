"""Histories: series of any sktime index laid out on their time grid, with room to grow."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sktime_tlstm.data.flags import Flags
from sktime_tlstm.data.rows import Rows, ranges
from sktime_tlstm.data.timeline import Timeline

__all__ = [
    "History",
    "Layout",
    "Room",
    "SeriesStore",
    "Traits",
    "Widths",
    "initial_room",
    "whole_room",
]

#: Room for new rows: a share of those there are. Untouched, the system gives it no memory; a
#: series too short for that gets none before its first update, and then at least a few rows.
ROOM_SHARE, MIN_LENGTH_WITH_ROOM, MIN_ROOM = 1 / 8, 8192, 16

#: Calendar rows that are computed ahead when an update needs new ones.
CALENDAR_AHEAD = 1024


@dataclass(frozen=True)
class Traits:
    """What a store holds once for every series, apart from where its rows lie.

    Parameters
    ----------
    level, spread : Tensor of shape (num_series, num_targets), float32
        Mean and standard deviation of each scaled training series, for windows that hold too
        little to be normalised by themselves.
    unit : Tensor of shape (num_series, num_targets), float32
        Scale of each series, from scaled targets to units of y.
    zero : Tensor of shape (num_series, num_targets), float32
        What zero becomes when location and scale of each series are taken off.
    gap : Tensor of shape (num_series, num_targets), float32
        Smallest value above zero of each series, in units of y, where the target stops at zero:
        forecasts keep out of what is between. Infinite where none is known, 0 where it does not
        stop.
    static : Tensor of shape (num_series, num_static + number of static categories), float32
        Scaled static covariates, then codes of the static categories.
    identity : Tensor of shape (num_series,), float32
        Number of the series in training, from 1; 0 for one that was not there.
    """

    level: Tensor
    spread: Tensor
    unit: Tensor
    zero: Tensor
    gap: Tensor
    static: Tensor
    identity: Tensor

    @classmethod
    def blank(cls, number: int, num_targets: int, num_static: int) -> Traits:
        """Return those of series of which nothing is known."""
        return cls(
            level=torch.zeros(number, num_targets),
            spread=torch.ones(number, num_targets),
            unit=torch.ones(number, num_targets),
            zero=torch.zeros(number, num_targets),
            gap=torch.zeros(number, num_targets),
            static=torch.zeros(number, num_static),
            identity=torch.zeros(number),
        )

    def each(self, function: Callable[[Tensor], Tensor]) -> Traits:
        """Return the traits with a function applied to every tensor."""
        return Traits(*(function(getattr(self, trait.name)) for trait in fields(self)))

    def write(self, earlier: Traits) -> None:
        """Overwrite, in place, those of the first series."""
        for trait in fields(self):
            tensor = getattr(earlier, trait.name)
            getattr(self, trait.name)[: len(tensor)] = tensor


@dataclass(frozen=True)
class SeriesStore:
    """All series end to end, scaled, in one tensor.

    Parameters
    ----------
    values : Tensor of shape (total_time, num_targets + num_numeric + num_categorical), float32
        Scaled targets, scaled numeric covariates, category codes. Never NaN: a missing target is
        zero, a missing covariate carries the last value forward. Where rows have weights, these
        are one channel more: -1 stands for a weight of 0, and 0 for a row that was told none.
    observed : Flags of shape (total_time, num_targets + num_numeric)
        False where the value was missing.
    calendar : Tensor of shape (num_times, num_calendar), float32
        Calendar features of every grid row any series or its future touches.
    start : Tensor of shape (num_series,), int64
        First row of each series in ``values``.
    length : Tensor of shape (num_series,), int64
        Number of rows of each series.
    calendar_start : Tensor of shape (num_series,), int64
        Row of ``calendar`` at which each series starts.
    traits : Traits
    """

    values: Tensor
    observed: Flags
    calendar: Tensor
    start: Tensor
    length: Tensor
    calendar_start: Tensor
    traits: Traits

    def to(self, device: str | torch.device) -> SeriesStore:
        """Return the store with its tensors on a device."""
        return SeriesStore(
            self.values.to(device),
            self.observed.to(device),
            self.calendar.to(device),
            self.start.to(device),
            self.length.to(device),
            self.calendar_start.to(device),
            self.traits.each(lambda tensor: tensor.to(device)),
        )

    def part(self, series: slice) -> SeriesStore:
        """Return some of the series; the rows stay where they are."""
        return replace(
            self,
            start=self.start[series],
            length=self.length[series],
            calendar_start=self.calendar_start[series],
            traits=self.traits.each(lambda tensor: tensor[series]),
        )

    def shortened(
        self, series: np.ndarray, cutoff: np.ndarray, rows: int, horizon: int
    ) -> SeriesStore:
        """Return a store of a series for each cutoff, which begins but so many rows before it."""
        chosen, before = torch.from_numpy(series), torch.from_numpy(cutoff) - rows
        return replace(
            self,
            start=self.start[chosen] + before,
            length=(self.length[chosen] - before).clamp(max=rows + horizon),
            calendar_start=self.calendar_start[chosen] + before,
            traits=self.traits.each(lambda tensor: tensor[chosen]),
        )

    def copies(self, series: np.ndarray, number: int) -> SeriesStore:
        """Return a store that holds some of the series several times, copy after copy."""
        # The rows of one copy, as rows of this store; then of all copies, end to end.
        chosen, length = torch.from_numpy(series), self.length[series]
        rows = ranges(self.start[chosen].cpu().numpy(), length.cpu().numpy())
        source = torch.from_numpy(rows).repeat(number)
        lengths = length.repeat(number)
        return replace(
            self,
            values=self.values[source],
            observed=self.observed.at(source),
            start=lengths.cumsum(0) - lengths,
            length=lengths,
            calendar_start=self.calendar_start[chosen].repeat(number),
            traits=self.traits.each(lambda tensor: torch.cat([tensor[chosen]] * number)),
        )

    def until(self, length: np.ndarray) -> SeriesStore:
        """Return the store without the rows behind the given lengths (num_series,)."""
        return replace(self, length=torch.from_numpy(length).to(self.length))

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.start)


class Widths(NamedTuple):
    """Numbers of channels of a store: targets, all that are observed, all, and static ones."""

    targets: int
    observed: int
    channels: int
    static: int


@dataclass(frozen=True)
class Layout:
    """Where series lie in time, and how many channels they have.

    Parameters
    ----------
    timeline : Timeline
    time_features : tuple of str
        Names of the calendar features.
    keys : pandas.Index or None
        Key of each series; None for a single series.
    first, lengths : numpy.ndarray of int64, shape (num_series,)
        Grid row of each series' first row, and its number of rows.
    horizon : int
        Number of steps after the last row that calendar features are needed for.
    widths : Widths
    """

    timeline: Timeline
    time_features: tuple[str, ...]
    keys: pd.Index | None
    first: np.ndarray
    lengths: np.ndarray
    horizon: int
    widths: Widths

    @property
    def calendar_rows(self) -> int:
        """Number of grid rows from the first of all series to the last that is needed."""
        return int((self.first + self.lengths).max() - self.first.min()) + self.horizon

    def calendar(self, computed: np.ndarray | None = None) -> np.ndarray:
        """Return the calendar features (calendar_rows, num_calendar), the first as computed."""
        begin = 0 if computed is None else min(len(computed), self.calendar_rows)
        low, number = int(self.first.min()) + begin, self.calendar_rows - begin
        if computed is not None and not number:
            return computed[:begin]
        features = self.timeline.features(low, number, self.time_features)
        return features if computed is None else np.concatenate([computed[:begin], features])


@dataclass
class Room:
    """How much of a store's tensors is in use, known to all histories that share them.

    Parameters
    ----------
    latest : object
        The mark of the history whose rows are the latest: only behind these there is room.
    calendar_rows : int
        Number of calendar rows that are computed.
    """

    latest: object
    calendar_rows: int


@dataclass(frozen=True)
class History:
    """Series as the network sees them, and what leads back to the caller's frames.

    A history never changes, but the one that `grown` returns may share its tensors, the new rows
    lying behind those of the old.

    Parameters
    ----------
    timeline : Timeline
    time_features : tuple of str
        Names of the calendar features.
    keys : pandas.Index or None
        Key of each series; None for a single series.
    first : numpy.ndarray of int64, shape (num_series,)
        Grid row of each series' first row.
    loc, scale : numpy.ndarray of float64, shape (num_series, num_targets)
        Scaling of the targets.
    store : SeriesStore
    room : Room
    mark : object
        Tells it from the other histories that share the room.
    young : dict of (series, target) to (grid rows, values)
        All observed values, in the units of y, of the series that still learn their scaling.
    """

    timeline: Timeline
    time_features: tuple[str, ...]
    keys: pd.Index | None
    first: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    store: SeriesStore
    room: Room
    mark: object
    young: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def blank(
        cls,
        layout: Layout,
        room: np.ndarray,
        computed: np.ndarray | None = None,
        folder: str | None = None,
    ) -> History:
        """Lay series out, all values missing.

        Parameters
        ----------
        layout : Layout
        room : numpy.ndarray of int64, shape (num_series,)
            Number of rows left free behind each series.
        computed : numpy.ndarray of float32, shape (rows, num_calendar), or None
            Calendar features of the first rows, where these were computed before.
        folder : str or None, default=None
            Where a temporary file holds the rows, which the system reads and forgets as memory
            allows; None for memory.
        """
        widths, space = layout.widths, layout.lengths + room
        total, number = int(space.sum()), len(layout.lengths)
        features, ahead = layout.calendar(computed), 0
        if room.any():
            ahead = CALENDAR_AHEAD + int(room.max())
        calendar = torch.zeros(len(features) + ahead, features.shape[1])
        calendar[: len(features)] = torch.from_numpy(features)
        first = layout.first - layout.first.min()
        store = SeriesStore(
            values=_zeros((total, widths.channels), torch.float32, folder),
            observed=Flags(
                _zeros((total, Flags.width(widths.observed)), torch.uint8, folder), widths.observed
            ),
            calendar=calendar,
            start=torch.from_numpy(np.cumsum(space) - space),
            length=torch.from_numpy(layout.lengths.astype(np.int64)),
            calendar_start=torch.from_numpy(first.astype(np.int64)),
            traits=Traits.blank(number, widths.targets, widths.static),
        )
        used = Room(object(), layout.calendar_rows)
        return cls(
            layout.timeline,
            layout.time_features,
            layout.keys,
            layout.first,
            loc=np.zeros((number, widths.targets)),
            scale=np.ones((number, widths.targets)),
            store=store,
            room=used,
            mark=used.latest,
        )

    @property
    def lengths(self) -> np.ndarray:
        """Number of rows of each series."""
        return self.store.length.cpu().numpy()

    def there(self) -> np.ndarray:
        """Return how many rows have a value of each numeric covariate (num_numeric,)."""
        observed = self.store.observed[:, self.loc.shape[1] :]
        return observed.sum(dim=0).cpu().numpy()

    def locate(self, rows: Rows, part: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Return the series (-1 if unknown) and the row within it of every parsed row."""
        series = self.places(rows.keys)[rows.series(part)]
        return series, rows.ordinals(part) - self.first[series]

    def locate_future(
        self, rows: Rows, cutoff: np.ndarray, num_future: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which parsed rows lie within the steps behind the cutoff of their series.

        Returns
        -------
        inside : numpy.ndarray of bool, shape (row,)
        series, step : numpy.ndarray of int64
            Of the rows inside; the first step behind a cutoff is 0.
        """
        series, within = self.locate(rows)
        step = within - cutoff[series]
        inside = (series >= 0) & (step >= 0) & (step < num_future)
        return inside, series[inside], step[inside]

    def places(self, keys: pd.Index | None) -> np.ndarray:
        """Return which series each key is; -1 if unknown.

        Raises
        ------
        TypeError
            If the keys have another number of levels than the training data's.
        """
        got, expected = (0 if index is None else index.nlevels for index in (keys, self.keys))
        if got != expected:
            raise TypeError(
                f"Got an index with {got} levels before the time, expected {expected} as in "
                "training. Pass a frame with the index levels of the training data."
            )
        if keys is None or self.keys is None:
            return np.zeros(1, dtype=np.int64)
        return self.keys.get_indexer(keys)

    def spans(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first grid row of series, and the one behind the last; of new ones, of all."""
        first = np.append(self.first, self.first.min())
        stop = self.first + self.lengths
        which = np.minimum(place, len(self.first))
        return first[which], np.append(stop, stop.max())[which]

    def part(self, series: slice) -> History:
        """Return some of the series; the rows stay where they are."""
        return replace(
            self,
            keys=None if self.keys is None else self.keys[series],
            first=self.first[series],
            loc=self.loc[series],
            scale=self.scale[series],
            store=self.store.part(series),
            young={},  # known by the numbers of all series
        )

    def to(self, device: str) -> History:
        """Return the history with its store on a device."""
        return replace(self, store=self.store.to(device))

    def compact(self, cut: np.ndarray) -> History:
        """Return the history without the first rows of each series (num_series,), nor any room."""
        store, length = self.store.to("cpu"), self.lengths - cut
        rows = torch.from_numpy(ranges(store.start.numpy() + cut, length))
        first = self.first + cut
        offset = int(first.min() - self.first.min())
        mark = object()
        lengths = torch.from_numpy(length)
        moved = replace(
            store,
            values=store.values[rows],
            observed=store.observed.at(rows),
            calendar=store.calendar[offset : self.room.calendar_rows],
            start=lengths.cumsum(0) - lengths,
            length=lengths,
            calendar_start=torch.from_numpy(first - first.min()),
        )
        room = Room(mark, len(moved.calendar))
        return replace(self, first=first, store=moved, room=room, mark=mark)

    def name(self, series: int) -> str:
        """Name a series as error messages do."""
        if self.keys is None:
            return ""
        return f" of series {self.keys[[series]].tolist()[0]!r}"  # as numbers of Python

    def grown(
        self,
        first: np.ndarray,
        lengths: np.ndarray,
        keys: pd.Index | None,
        horizon: int,
        append: bool,
    ) -> History:
        """Return a history with more rows, or more series behind the old ones.

        The new rows are missing. To ``append`` rows means that the old ones will not be written
        to: new ones then go into the room behind them, where there is some, in a time that does
        not depend on the number of old rows.

        Parameters
        ----------
        first, lengths : numpy.ndarray of int64, shape (num_series,)
            First grid row and number of rows of each series; no old row may be left out.
        keys : pandas.Index or None
            Key of each series.
        horizon : int
            Number of steps after the last row that calendar features are needed for.
        append : bool
            Whether all rows to be written lie behind the old ones.
        """
        widths = Widths(
            self.loc.shape[1],
            self.store.observed.shape[1],
            self.store.values.shape[1],
            self.store.traits.static.shape[1],
        )
        layout = Layout(self.timeline, self.time_features, keys, first, lengths, horizon, widths)
        space = np.diff(self.store.start.numpy(), append=len(self.store.values))
        in_place = (
            append
            and len(first) == len(self.first)
            and (first == self.first).all()
            and self.mark is self.room.latest  # nobody else uses the room
            and (lengths <= space).all()
            and layout.calendar_rows <= len(self.store.calendar)
        )
        return self._appended(layout) if in_place else self._moved(layout)

    def give_back(self, later: History) -> None:
        """Take back the room that a ``later`` history used, which nobody needs any more."""
        if later.room is self.room and later.mark is self.room.latest:
            self.room.latest = self.mark

    def _appended(self, layout: Layout) -> History:
        lengths = layout.lengths
        changed = np.flatnonzero(lengths > self.lengths)
        start, old = self.store.start.numpy()[changed], self.lengths[changed]
        added = ranges(start + old, lengths[changed] - old)  # rows of the store
        self.store.values.numpy()[added] = 0.0
        self.store.observed[added] = False
        filled = self.room.calendar_rows
        if layout.calendar_rows > filled:
            ahead = min(layout.calendar_rows + CALENDAR_AHEAD, len(self.store.calendar))
            low = int(self.first.min())
            features = self.timeline.features(low + filled, ahead - filled, self.time_features)
            self.store.calendar[filled:ahead] = torch.from_numpy(features)
            self.room.calendar_rows = ahead
        self.room.latest = object()
        store = replace(self.store, length=torch.from_numpy(lengths))
        return replace(self, store=store, mark=self.room.latest)

    def _moved(self, layout: Layout) -> History:
        number, store, first = len(self.first), self.store, layout.first
        room = whole_room(layout.lengths)
        same = first.min() == self.first.min()
        calendar = store.calendar[: self.room.calendar_rows].numpy() if same else None
        moved = History.blank(layout, room, calendar)
        starts = moved.store.start.numpy()[:number] + self.first - first[:number]
        places = zip(store.start.tolist(), self.lengths.tolist(), starts.tolist(), strict=True)
        for source, length, target in places:
            old, new = slice(source, source + length), slice(target, target + length)
            moved.store.values[new] = store.values[old]
            moved.store.observed[new] = store.observed[old]
        moved.store.traits.write(store.traits)
        moved.loc[:number], moved.scale[:number] = self.loc, self.scale
        return replace(moved, young=self.young)


def whole_room(lengths: np.ndarray) -> np.ndarray:
    """Return how many rows are left free behind each series that will have updates."""
    return np.maximum((lengths * ROOM_SHARE).astype(np.int64), MIN_ROOM)


def initial_room(lengths: np.ndarray) -> np.ndarray:
    """Return how many rows are left free behind each series of training data."""
    return np.where(lengths < MIN_LENGTH_WITH_ROOM, 0, lengths * ROOM_SHARE).astype(np.int64)


def _zeros(shape: tuple[int, int], dtype: torch.dtype, folder: str | None) -> Tensor:
    if folder is None or not all(shape):
        return torch.zeros(shape, dtype=dtype)
    kind = torch.zeros(0, dtype=dtype).numpy().dtype
    size = math.prod(shape) * kind.itemsize
    with tempfile.TemporaryFile(dir=folder) as file:  # which is gone with the tensor
        try:
            if hasattr(os, "posix_fallocate"):  # a disk that is full later on ends the process
                os.posix_fallocate(file.fileno(), 0, size)
            return torch.from_numpy(np.memmap(file, kind, "r+", shape=shape))
        except OSError as error:
            raise type(error)(
                f"Got store_dir={folder!r}, where the system has no room for {size / 2**20:,.0f} "
                f"MiB ({error.strerror}). Pass another folder, or fewer series."
            ) from error
