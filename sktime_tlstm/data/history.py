"""Histories: series of any sktime index laid out on their time grid, with room to grow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sktime_tlstm.data.rows import Rows, ranges
from sktime_tlstm.data.timeline import Timeline

__all__ = ["PER_SERIES", "History", "SeriesStore", "initial_room"]

#: What a store holds once for every series, apart from where its rows lie.
PER_SERIES = ("level", "spread", "unit", "static", "identity")

#: Room for new rows: a share of those there are. Untouched, the system gives it no memory; a
#: series too short for that gets none before its first update, and then at least a few rows.
ROOM_SHARE, MIN_LENGTH_WITH_ROOM, MIN_ROOM = 1 / 8, 8192, 16

#: Calendar rows that are computed ahead when an update needs new ones.
CALENDAR_AHEAD = 1024


@dataclass(frozen=True)
class SeriesStore:
    """All series end to end, scaled, in one tensor.

    Parameters
    ----------
    values : Tensor of shape (total_time, num_targets + num_numeric + num_categorical), float32
        Scaled targets, scaled numeric covariates, category codes. Never NaN: a missing target is
        zero, a missing covariate carries the last value forward.
    observed : Tensor of shape (total_time, num_targets + num_numeric), bool
        False where the value was missing.
    calendar : Tensor of shape (num_times, num_calendar), float32
        Calendar features of every grid row any series or its future touches.
    start : Tensor of shape (num_series,), int64
        First row of each series in ``values``.
    length : Tensor of shape (num_series,), int64
        Number of rows of each series.
    calendar_start : Tensor of shape (num_series,), int64
        Row of ``calendar`` at which each series starts.
    level, spread : Tensor of shape (num_series, num_targets), float32
        Mean and standard deviation of each scaled training series, for windows that hold too
        little to be normalised by themselves.
    unit : Tensor of shape (num_series, num_targets), float32
        Scale of each series, from scaled targets to units of y.
    static : Tensor of shape (num_series, num_static + number of static categories), float32
        Scaled static covariates, then codes of the static categories.
    identity : Tensor of shape (num_series,), float32
        Number of the series in training, from 1; 0 for one that was not there.
    """

    values: Tensor
    observed: Tensor
    calendar: Tensor
    start: Tensor
    length: Tensor
    calendar_start: Tensor
    level: Tensor
    spread: Tensor
    unit: Tensor
    static: Tensor
    identity: Tensor

    def to(self, device: str | torch.device) -> SeriesStore:
        """Return the store with its tensors on a device."""
        moved = {name: getattr(self, name).to(device) for name in self.__dataclass_fields__}
        return replace(self, **moved)

    def until(self, length: np.ndarray) -> SeriesStore:
        """Return the store without the rows behind the given lengths (num_series,)."""
        return replace(self, length=torch.from_numpy(length).to(self.length))

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.start)


@dataclass
class Room:
    """How much of a store's tensors is in use, known to all histories that share them."""

    lengths: np.ndarray
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
    young: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def blank(
        cls,
        timeline: Timeline,
        time_features: tuple[str, ...],
        keys: pd.Index | None,
        first: np.ndarray,
        lengths: np.ndarray,
        horizon: int,
        widths: tuple[int, int, int, int],
        room: np.ndarray,
        known: np.ndarray | None = None,
    ) -> History:
        """Lay out series of given lengths, all values missing.

        Parameters
        ----------
        horizon : int
            Number of steps after the last row that calendar features are needed for.
        widths : tuple of int
            Numbers of targets, of observed channels, of all channels and of static ones.
        room : numpy.ndarray of int64, shape (num_series,)
            Number of rows left free behind each series.
        known : numpy.ndarray of float32, shape (rows, num_calendar), or None
            Calendar features of the first rows, where these were computed before.
        """
        num_targets, num_observed, num_channels, num_static = widths
        space = lengths + room
        total, number = int(space.sum()), len(lengths)
        low, calendar_rows = int(first.min()), int((first + lengths).max() - first.min()) + horizon
        begin = 0 if known is None else min(len(known), calendar_rows)
        features = timeline.features(low + begin, calendar_rows - begin, time_features)
        if known is not None:
            features = np.concatenate([known[:begin], features])
        ahead = CALENDAR_AHEAD + int(room.max()) if room.any() else 0
        calendar = torch.zeros(calendar_rows + ahead, features.shape[1])
        calendar[:calendar_rows] = torch.from_numpy(features)
        store = SeriesStore(
            values=torch.zeros(total, num_channels),
            observed=torch.zeros(total, num_observed, dtype=torch.bool),
            calendar=calendar,
            start=torch.from_numpy(np.cumsum(space) - space),
            length=torch.from_numpy(lengths.astype(np.int64)),
            calendar_start=torch.from_numpy((first - low).astype(np.int64)),
            level=torch.zeros(number, num_targets),
            spread=torch.ones(number, num_targets),
            unit=torch.ones(number, num_targets),
            static=torch.zeros(number, num_static),
            identity=torch.zeros(number),
        )
        blank = np.zeros((number, num_targets))
        used = Room(lengths.astype(np.int64), calendar_rows)
        return cls(timeline, time_features, keys, first, blank, blank + 1, store, used)

    @property
    def lengths(self) -> np.ndarray:
        """Number of rows of each series."""
        return self.store.length.cpu().numpy()

    def locate(self, rows: Rows, part: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Return the series (-1 if unknown) and the row within it of every parsed row."""
        series = self.places(rows.keys)[rows.series(part)]
        return series, rows.ordinals(part) - self.first[series]

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

    def part(self, series: slice) -> History:
        """Return some of the series; the rows stay where they are."""
        names = ("start", "length", "calendar_start", *PER_SERIES)
        parts = {name: getattr(self.store, name)[series] for name in names}
        return replace(
            self,
            keys=None if self.keys is None else self.keys[series],
            first=self.first[series],
            loc=self.loc[series],
            scale=self.scale[series],
            store=replace(self.store, **parts),
            young={},  # known by the numbers of all series
        )

    def to(self, device: str) -> History:
        """Return the history with its store on a device."""
        return replace(self, store=self.store.to(device))

    def name(self, series: int) -> str:
        """Name a series as error messages do."""
        return "" if self.keys is None else f" of series {self.keys[series]!r}"

    def grown(
        self, first: np.ndarray, lengths: np.ndarray, keys, horizon: int, append: bool
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
        needed = int((first + lengths).max() - first.min()) + horizon
        in_place = (
            append
            and len(first) == len(self.first)
            and (first == self.first).all()
            and (self.lengths == self.room.lengths).all()  # nobody else uses the room
            and (lengths <= np.diff(self.store.start.numpy(), append=len(self.store.values))).all()
            and needed <= len(self.store.calendar)
        )
        return (
            self._appended(lengths, needed)
            if in_place
            else self._moved(first, lengths, keys, horizon)
        )

    def give_back(self, later: History) -> None:
        """Take back the room that a ``later`` history used, which nobody needs any more."""
        latest = later.room.lengths.ctypes.data == later.store.length.data_ptr()
        if later.room is self.room and latest:
            self.room.lengths = self.lengths

    def _appended(self, lengths: np.ndarray, calendar_rows: int) -> History:
        changed = np.flatnonzero(lengths > self.lengths)
        start, old = self.store.start.numpy()[changed], self.lengths[changed]
        added = ranges(start + old, lengths[changed] - old)
        self.store.values.numpy()[added] = 0.0
        self.store.observed.numpy()[added] = False
        filled = self.room.calendar_rows
        if calendar_rows > filled:
            ahead = min(calendar_rows + CALENDAR_AHEAD, len(self.store.calendar))
            low = int(self.first.min())
            features = self.timeline.features(low + filled, ahead - filled, self.time_features)
            self.store.calendar[filled:ahead] = torch.from_numpy(features)
            self.room.calendar_rows = ahead
        self.room.lengths = lengths
        return replace(self, store=replace(self.store, length=torch.from_numpy(lengths)))

    def _moved(self, first: np.ndarray, lengths: np.ndarray, keys, horizon: int) -> History:
        old, store = len(self.first), self.store
        widths = (
            self.loc.shape[1],
            store.observed.shape[1],
            store.values.shape[1],
            store.static.shape[1],
        )
        room = np.maximum((lengths * ROOM_SHARE).astype(np.int64), MIN_ROOM)
        same = first.min() == self.first.min()
        calendar = store.calendar[: self.room.calendar_rows].numpy() if same else None
        layout = (self.timeline, self.time_features, keys, first, lengths, horizon)
        moved = History.blank(*layout, widths, room, calendar)
        starts = moved.store.start.numpy()[:old] + self.first - first[:old]
        places = zip(store.start.tolist(), self.lengths.tolist(), starts.tolist(), strict=True)
        for source, length, target in places:
            for name in ("values", "observed"):
                rows = getattr(store, name)[source : source + length]
                getattr(moved.store, name)[target : target + length] = rows
        for name in PER_SERIES:
            getattr(moved.store, name)[:old] = getattr(store, name)
        moved.loc[:old], moved.scale[:old] = self.loc, self.scale
        return replace(moved, young=self.young)


def initial_room(lengths: np.ndarray) -> np.ndarray:
    """Return how many rows are left free behind each series of training data."""
    return np.where(lengths < MIN_LENGTH_WITH_ROOM, 0, lengths * ROOM_SHARE).astype(np.int64)
