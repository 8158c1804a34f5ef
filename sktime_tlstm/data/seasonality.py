"""Seasonality: finding a season in values whose index tells of none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from sktime_tlstm.data.columns import numeric_values
from sktime_tlstm.data.rows import split_index

__all__ = ["find_seasons"]

Floats = npt.NDArray[np.float64]

#: Series that are looked at, and rows of each, the last ones.
MAX_SERIES, MAX_ROWS = 50, 4096
#: Seasons that a series must hold, and changes that it must have.
MIN_SEASONS, MIN_CHANGES = 6, 12
#: Autocorrelation of the changes at the season, at least: this, and so many of its deviations.
MIN_CORRELATION, MIN_DEVIATIONS = 0.3, 3.5
#: A shorter season is taken that correlates this much as well as the best.
NEARLY = 0.85
#: Share of that correlation at two seasons, at least.
AGAIN = 0.6
#: Bound of the changes, in typical ones.
MAX_CHANGE = 5.0


def find_seasons(y: pd.DataFrame) -> tuple[int, ...]:
    """Return the season that most series of a frame have, if they agree on one.

    A season is a peak of the autocorrelation of the changes from row to row, far above what chance
    makes, as there is none in noise or in a random walk.

    Parameters
    ----------
    y : pandas.DataFrame
        Rows of a series behind each other.

    Returns
    -------
    tuple of int
        The number of rows; empty where there is no season.
    """
    _, bounds = split_index(y.index)
    longest = np.argsort(-np.diff(bounds), kind="stable")[:MAX_SERIES]
    found = []
    for series in longest.tolist():
        rows = slice(max(bounds[series], bounds[series + 1] - MAX_ROWS), bounds[series + 1])
        found += [_season(numeric_values(y.iloc[rows, k])) for k in range(y.shape[1])]
    seasons, counts = np.unique(found, return_counts=True)
    most = int(np.argmax(counts))
    return (int(seasons[most]),) if seasons[most] and 2 * counts[most] > len(found) else ()


def _season(values: Floats) -> int:
    """Return the season of values, NaN where missing; 0 if they have none."""
    changes = np.diff(values)
    known = ~np.isnan(changes)
    longest = len(changes) // MIN_SEASONS
    if known.sum() < MIN_CHANGES or longest < 2:
        return 0
    center = np.median(changes[known])
    typical = np.median(np.abs(changes[known] - center)) or np.std(changes[known])
    if not typical > 0:
        return 0
    bounded = np.clip((changes - center) / typical, -MAX_CHANGE, MAX_CHANGE)
    bounded = np.where(known, bounded - bounded[known].mean(), 0.0)
    power = np.abs(np.fft.rfft(bounded, 2 * len(bounded))) ** 2
    correlation = np.fft.irfft(power)[: 2 * longest + 2]
    correlation /= correlation[0]
    inner, before, after = (correlation[k : longest + k - 1] for k in (2, 1, 3))
    peaks = np.flatnonzero((inner >= before) & (inner >= after)) + 2
    least = max(MIN_CORRELATION, MIN_DEVIATIONS / np.sqrt(known.sum()))
    if not len(peaks) or correlation[peaks].max() <= least:
        return 0
    best = correlation[peaks].max()
    season = int(peaks[correlation[peaks] >= max(NEARLY * best, least)][0])
    comes_again = correlation[2 * season] >= AGAIN * correlation[season]
    return season if comes_again and correlation[1:season].min() < 0 else 0
