"""Rows: a frame's index, parsed into series and rows of the time grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sktime_tlstm.data.timeline import Timeline

__all__ = [
    "Rows",
    "blocks",
    "check_gapless",
    "find_timeline",
    "index_times",
    "ranges",
    "split_index",
]

#: Rows that are worked on at once, so that temporary arrays stay small beside the store.
BLOCK_ROWS = 2**16


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
