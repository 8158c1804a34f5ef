"""Histories: series of any sktime index laid out end to end on their time grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sktime_tlstm.timeline import Timeline
from sktime_tlstm.windows import SeriesStore

__all__ = ["History", "Rows", "check_gapless", "find_timeline", "ranges", "split_index"]


@dataclass(frozen=True)
class Rows:
    """A frame's index, parsed: which series and which grid row every row belongs to."""

    keys: pd.Index | None
    bounds: np.ndarray
    ordinals: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Number of rows of each series."""
        return np.diff(self.bounds)

    @property
    def series(self) -> np.ndarray:
        """Which series each row belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @classmethod
    def parse(cls, index: pd.Index, timeline: Timeline) -> Rows:
        """Place every row of a sktime index on the grid.

        Raises
        ------
        ValueError
            If a time is repeated or out of order within a series, or lies off the grid.
        """
        keys, bounds, times = split_index(index)
        rows = cls(keys, bounds, timeline.ordinals(times))
        step = np.diff(rows.ordinals)
        step[bounds[1:-1] - 1] = 1
        _check_increasing(index, step > 0)
        return rows


def _check_increasing(index: pd.Index, increases: np.ndarray) -> None:
    if not increases.all():
        row = int(np.argmin(increases)) + 1
        raise ValueError(
            f"Got the row {index[row]} after the row {index[row - 1]}, expected increasing "
            "times without duplicates. Sort the index and drop duplicates: "
            "`frame[~frame.index.duplicated(keep='last')].sort_index()`."
        )


def split_index(index: pd.Index) -> tuple[pd.Index | None, np.ndarray, pd.Index]:
    """Split a sktime index into series keys (N,), row bounds (N + 1,) and times (rows,)."""
    if not isinstance(index, pd.MultiIndex):
        return None, np.array([0, len(index)]), index
    times = index.levels[-1].take(index.codes[-1])
    codes = np.stack([np.asarray(code) for code in index.codes[:-1]])
    starts = np.flatnonzero(np.r_[True, (codes[:, 1:] != codes[:, :-1]).any(axis=0)])
    keys = index[starts].droplevel(-1)
    return keys, np.r_[starts, len(index)], times


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
    _, bounds, times = split_index(index)
    longest = int(np.argmax(np.diff(bounds)))
    grid = times[bounds[longest] : bounds[longest + 1]]
    _check_increasing(grid, grid[1:] > grid[:-1])
    if len(grid) == 1:
        more = times if covariates is None else times.append(split_index(covariates)[2])
        grid = more.unique().sort_values()
    if getattr(times, "freq", None) is not None and len(bounds) == 2:
        grid = times
    return Timeline.from_times(grid)


@dataclass(frozen=True)
class History:
    """Series as the network sees them, and what leads back to the caller's frames.

    Parameters
    ----------
    timeline : Timeline
    keys : pandas.Index or None
        Key of each series; None for a single series.
    first : numpy.ndarray of int64, shape (num_series,)
        Grid row of each series' first row.
    loc, scale : numpy.ndarray of float64, shape (num_series, num_targets)
        Scaling of the targets, fixed when a series is first seen.
    store : SeriesStore
    """

    timeline: Timeline
    keys: pd.Index | None
    first: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    store: SeriesStore

    @property
    def lengths(self) -> np.ndarray:
        """Number of rows of each series."""
        return self.store.length.cpu().numpy()

    def locate(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return the series (-1 if unknown) and the row within it of every parsed row."""
        series = np.repeat(self.places(rows.keys), rows.lengths)
        return series, rows.ordinals - self.first[series]

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

    def to(self, device: str) -> History:
        """Return the history with its store on a device."""
        return replace(self, store=self.store.to(device))

    def name(self, series: int) -> str:
        """Name a series as error messages do."""
        return "" if self.keys is None else f" of series {self.keys[series]!r}"


def check_gapless(index: pd.Index, rows: Rows) -> None:
    """Raise a ValueError that names the first step in time that a series lacks."""
    step = np.diff(rows.ordinals)
    step[rows.bounds[1:-1] - 1] = 1
    if (step != 1).any():
        row = int(np.argmax(step != 1))
        raise ValueError(
            f"Got a gap in time: after {index[row]} comes {index[row + 1]}, "
            f"{step[row] - 1} steps are absent. Insert them, for instance by `frame.asfreq(...)` "
            "(integer indices: `frame.reindex(range(...))`); their values may be NaN."
        )


def ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return start[0] .. start[0] + length[0] - 1, start[1] .., concatenated."""
    before = np.concatenate([[0], np.cumsum(length)[:-1]])
    return np.arange(int(length.sum())) + np.repeat(start - before, length)
