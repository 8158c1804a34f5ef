"""Source: the data of a training, in one piece or, of a panel larger than memory, in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sktime_tlstm.data.rows import find_timeline, index_times, split_index
from sktime_tlstm.data.timeline import Timeline

__all__ = ["Piece", "Source"]

#: Which series of all, their targets, and their covariates.
Piece = tuple[slice, pd.DataFrame, pd.DataFrame | None]


@dataclass(frozen=True)
class Source:
    """All series of a training, and rows to learn columns, scales and seasons from.

    Parameters
    ----------
    y, X : pandas.DataFrame
        What to learn from: all rows, or whole series and rows of a sample each. X may be None.
    keys : pandas.Index or None
        Key of each series; None for a single series.
    first : pandas.Index
        Time of each series' first row.
    lengths : numpy.ndarray of int64, shape (num_series,)
        Number of rows of each series.
    pieces : callable
        Returns an iterator of pieces, which together have all rows.
    store_dir : str or None, default=None
        Folder of a temporary file that holds what is encoded; None for memory.
    head : (pandas.DataFrame, pandas.DataFrame or None) or None, default=None
        The first rows of y and X, where these come in pieces.
    last : pandas.Index or None, default=None
        The latest time, as an index of length 1, where these come in pieces.
    is_sampled : bool, default=False
        Whether X has rows drawn at random, which are not those of y.
    """

    y: pd.DataFrame
    X: pd.DataFrame | None
    keys: pd.Index | None
    first: pd.Index
    lengths: np.ndarray
    pieces: Callable[[], Iterator[Piece]]
    store_dir: str | None = None
    head: tuple[pd.DataFrame, pd.DataFrame | None] | None = None
    last: pd.Index | None = None
    is_sampled: bool = False

    @classmethod
    def of(cls, y: pd.DataFrame, X: pd.DataFrame | None) -> Source:
        """Return frames as a source of one piece."""
        keys, bounds = split_index(y.index)
        first = index_times(y.index, bounds[:-1][: len(y)])  # without rows there is no time
        whole = slice(0, len(bounds) - 1)
        return cls(y, X, keys, first, np.diff(bounds), lambda: iter([(whole, y, X)]))

    def timeline(self, usual: Timeline | None = None) -> Timeline:
        """Return the grid of all series; ``usual`` is that of data seen before."""
        further = None if self.X is None or self.is_sampled else self.X.index
        return find_timeline(self.y.index, further, usual)
