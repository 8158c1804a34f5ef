"""Histories: series of any sktime index laid out on their time grid, with room to grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from sktime_tlstm.timeline import Timeline
from sktime_tlstm.windows import PER_SERIES, SeriesStore

__all__ = ["History", "Rows", "check_gapless", "find_timeline", "ranges", "split_index"]

#: Rows that are worked on at once, so that temporary arrays stay small beside the store.
BLOCK_ROWS = 2**16
#: Room for new rows: a share of those there are. Untouched, the system gives it no memory; a
#: series too short for that gets none before its first update, and then at least a few rows.
ROOM_SHARE, MIN_LENGTH_WITH_ROOM, MIN_ROOM = 1 / 8, 8192, 16
#: Calendar rows that are computed ahead when an update needs new ones.
CALENDAR_AHEAD = 1024


def blocks(number: int, start: int = 0) -> Iterator[slice]:
    """Yield slices of at most BLOCK_ROWS that cover ``start .. number - 1``."""
    for begin in range(start, number, BLOCK_ROWS):
        yield slice(begin, min(begin + BLOCK_ROWS, number))


@dataclass(frozen=True)
class Rows:
    """A frame's index, parsed: which series and which grid row every row belongs to.

    Parameters
    ----------
    keys : pandas.Index or None
        Key of each series; None for a single series.
    bounds : numpy.ndarray of int64, shape (num_series + 1,)
        First row of each series, and the number of rows.
    timeline : Timeline
    times : pandas.Index
        Time of every code, or of every row where there are no codes.
    codes : numpy.ndarray or None
        Code of every row's time, of a frame with several series.
    grid : numpy.ndarray of int64 or None
        Grid row of every code; without codes that of every row, unless there are many.
    """

    keys: pd.Index | None
    bounds: np.ndarray
    timeline: Timeline
    times: pd.Index
    codes: np.ndarray | None
    grid: np.ndarray | None

    @classmethod
    def parse(cls, index: pd.Index, timeline: Timeline) -> Rows:
        """Place every row of a sktime index on the grid.

        Raises
        ------
        ValueError
            If a time is repeated or out of order within a series, or lies off the grid.
        """
        keys, bounds = split_index(index)
        if isinstance(index, pd.MultiIndex):
            times, codes = index.levels[-1], index.codes[-1]
            used = np.zeros(len(times), dtype=bool)
            used[codes] = True
            grid = np.zeros(len(times), dtype=np.int64)
            grid[used] = timeline.ordinals(times[used])
            rows = cls(keys, bounds, timeline, times, codes, grid)
        else:
            short = len(index) <= BLOCK_ROWS
            rows = cls(
                keys, bounds, timeline, index, None, timeline.ordinals(index) if short else None
            )
        for begin, step in rows.steps():
            _check_increasing(index, step > 0, begin)
        return rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.bounds[-1])

    @property
    def lengths(self) -> np.ndarray:
        """Number of rows of each series."""
        return np.diff(self.bounds)

    def ordinals(self, part: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Return the grid row of every row of a part."""
        if self.grid is None:
            return self.timeline.ordinals(self.times[part])
        return self.grid[part if self.codes is None else self.codes[part]]

    def series(self, part: slice = slice(None)) -> np.ndarray:
        """Return which series every row of a part belongs to."""
        begin, end, _ = part.indices(len(self))
        if len(self.bounds) == 2:
            return np.zeros(end - begin, dtype=np.int64)
        return np.searchsorted(self.bounds, np.arange(begin, end), side="right") - 1

    def groups(self) -> Iterator[slice]:
        """Yield series that together have at most BLOCK_ROWS rows, or a single longer one."""
        begin, number = 0, len(self.lengths)
        while begin < number:
            most = np.searchsorted(self.bounds, self.bounds[begin] + BLOCK_ROWS, side="right") - 1
            end = min(max(int(most), begin + 1), number)
            yield slice(begin, end)
            begin = end

    def steps(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield blocks of rows: the first row, and every row's step in time since the one before.

        Where a series begins the step is one.
        """
        for part in blocks(len(self)):
            before = min(part.start, 1)
            ordinals = self.ordinals(slice(part.start - before, part.stop))
            step = np.diff(ordinals, prepend=0)[before:]
            begins = self.bounds[slice(*np.searchsorted(self.bounds, [part.start, part.stop]))]
            step[begins - part.start] = 1
            yield part.start, step


def _check_increasing(index: pd.Index, increases: np.ndarray, begin: int = 0) -> None:
    if not increases.all():
        row = begin + int(np.argmin(increases))
        raise ValueError(
            f"Got the row {index[row]} after the row {index[row - 1]}, expected increasing "
            "times without duplicates. Sort the index and drop duplicates: "
            "`frame[~frame.index.duplicated(keep='last')].sort_index()`."
        )


def split_index(index: pd.Index) -> tuple[pd.Index | None, np.ndarray]:
    """Split a sktime index into series keys (num_series,) and row bounds (num_series + 1,)."""
    if not isinstance(index, pd.MultiIndex):
        return None, np.array([0, len(index)])
    begins = np.zeros(len(index), dtype=bool)
    begins[:1] = True
    for codes in index.codes[:-1]:
        begins[1:] |= codes[1:] != codes[:-1]
    starts = np.flatnonzero(begins)
    return index[starts].droplevel(-1), np.r_[starts, len(index)]


def index_times(index: pd.Index, part: slice = slice(None)) -> pd.Index:
    """Return the times of rows of a sktime index."""
    if not isinstance(index, pd.MultiIndex):
        return index[part]
    return index.levels[-1].take(index.codes[-1][part])


def find_timeline(index: pd.Index, covariates: pd.Index | None = None) -> Timeline:
    """Find the grid that all series of an index share, from the longest one.

    Where that is a single row, all series and the index of covariates may still tell the step.

    Raises
    ------
    ValueError
        If there are no rows, a time is repeated, or the times have no regular frequency.
    """
    if not len(index):
        raise ValueError("Got y without rows, expected at least one. Pass a longer y.")
    _, bounds = split_index(index)
    longest = int(np.argmax(np.diff(bounds)))
    grid = index_times(index, slice(bounds[longest], bounds[longest + 1]))
    _check_increasing(grid, grid[1:] > grid[:-1], 1)
    if len(grid) == 1:
        times = index_times(index)
        more = times if covariates is None else times.append(index_times(covariates))
        grid = more.unique().sort_values()
    return Timeline.from_times(grid)


def check_gapless(index: pd.Index, rows: Rows) -> None:
    """Raise a ValueError that names the first step in time that a series lacks."""
    for begin, step in rows.steps():
        if (step != 1).any():
            row = begin + int(np.argmax(step != 1))
            raise ValueError(
                f"Got a gap in time: after {index[row - 1]} comes {index[row]}, "
                f"{step[row - begin] - 1} steps are absent. Insert them, for instance by "
                "`frame.asfreq(...)` (integer indices: `frame.reindex(range(...))`); their values "
                "may be NaN."
            )


def ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return start[0] .. start[0] + length[0] - 1, start[1] .., concatenated."""
    before = np.concatenate([[0], np.cumsum(length)[:-1]])
    return np.arange(int(length.sum())) + np.repeat(start - before, length)


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
        Scaling of the targets, fixed when a series is first seen.
    store : SeriesStore
    room : Room
    """

    timeline: Timeline
    time_features: tuple[str, ...]
    keys: pd.Index | None
    first: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    store: SeriesStore
    room: Room

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
        return moved


def initial_room(lengths: np.ndarray) -> np.ndarray:
    """Return how many rows are left free behind each series of training data."""
    return np.where(lengths < MIN_LENGTH_WITH_ROOM, 0, lengths * ROOM_SHARE).astype(np.int64)
