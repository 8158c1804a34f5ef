"""Absences: columns of X without any value in rows that are read, where they used to have some."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import pandas as pd

from sktime_tlstm.beyond import LEAST_GAP, MAX_NAMED, RECENT_ROWS, USUAL_SHARE
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, ranges
from sktime_tlstm.model import Model
from sktime_tlstm.notices import notify

__all__ = ["warn_of_empty_columns", "warn_of_empty_rows", "without_value"]

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: What is said of rows to forecast, whose values may not be known yet.
AHEAD = "Check how X was joined to the times of fh; what is not known ahead belongs into "
#: The same of rows of y.
BESIDE_Y = "Check how X was joined to the index of y."


def without_value(
    encoder: FrameEncoder, history: History, begin: Integers, number: Integers
) -> Flags:
    """Return which series have no value at all of which column of X in some of their rows.

    Parameters
    ----------
    encoder : FrameEncoder
    history : History
    begin, number : numpy.ndarray of int64, shape (num_series,)
        The first of these rows within its series, and how many there are.

    Returns
    -------
    numpy.ndarray of bool, shape (num_series, column of ``encoder.columns``)
        False where a series has no such rows.
    """
    empty = np.zeros((len(number), len(encoder.columns)), dtype=bool)
    which = np.flatnonzero(number > 0)
    if empty.size and len(which):
        count = number[which]
        rows = ranges(history.store.start.numpy()[which] + begin[which], count)
        empty[which] = ~_seen(encoder, history, rows, np.cumsum(count) - count)
    return empty


def _seen(encoder: FrameEncoder, history: History, rows: Integers, first: Integers) -> Flags:
    """Return whether groups of rows of the store have values (group, column).

    Each reaches from its place in ``first``, among the rows, to that of the next. A category that
    is not known from training is no value.
    """
    observed, num_targets = history.store.observed, history.loc.shape[1]
    bits = np.bitwise_or.reduceat(observed.bits.numpy()[rows], first)
    flags = np.unpackbits(bits, axis=1, count=observed.number, bitorder="little")
    seen: Flags = flags[:, num_targets:] > 0
    if encoder.categories:
        kinds = slice(observed.number, observed.number + len(encoder.categories))
        codes = history.store.values.numpy()[:, kinds][rows] != 0
        seen = np.concatenate([seen, np.logical_or.reduceat(codes, first)], axis=1)
    return seen


def warn_of_empty_rows(
    model: Model,
    history: History,
    number: Integers,
    X: pd.DataFrame | None,
    before: History,
    where: str,
) -> None:
    """Warn of columns of X without any value in so many of the last rows of each series, of y.

    Single rows tell nothing: a value may be missing.

    Parameters
    ----------
    model : Model
    history : History
    number : numpy.ndarray of int64, shape (num_series,)
    X : pandas.DataFrame or None
    before : History
        What was known before.
    where : str
        What the rows are, as the warning calls them.
    """
    number = np.where(number < LEAST_GAP, 0, number)
    begin = history.lengths - number
    empty = without_value(model.encoder, history, begin, number)
    if empty.any():
        warn_of_empty_columns(model, history, begin, number, X, empty, where, before)


def warn_of_empty_columns(
    model: Model,
    history: History,
    cutoff: Integers,
    number: Integers,
    X: pd.DataFrame | None,
    empty: Flags,
    where: str,
    before: History | None = None,
) -> None:
    """Warn of columns of X without any value in the rows behind a cutoff, unless that is usual.

    It is usual where a series had as long gaps in X before, or never a value; of a series without
    earlier rows, where others that are known have no value either.

    Parameters
    ----------
    model : Model
    history : History
        With the rows before the cutoff.
    cutoff, number : numpy.ndarray of int64, shape (num_series,)
        How many rows each series has before, and how many behind it have no value.
    X : pandas.DataFrame or None
        Covariates of these rows.
    empty : numpy.ndarray of bool, shape (num_series, column of ``encoder.columns``)
        Which series have none of which columns.
    where : str
        What the rows are, as the warning calls them.
    before : History or None, default=None
        With the rows of y, if it is these that have no value; None for rows to forecast.
    """
    encoder, empty, news = model.encoder, empty.copy(), np.zeros_like(empty)
    told = _learnt(encoder) if before is not None else _learnt(encoder) & _read_ahead(model)
    for place in np.flatnonzero(empty.any(axis=0) & told).tolist():
        name = encoder.columns[place]
        if X is not None and name in encoder.categories:  # unknown ones are told of elsewhere
            empty[_series_with(history, cutoff, number, X[name]), place] = False
        which = np.flatnonzero(empty[:, place])
        news[which, place] = _is_news(encoder, history, cutoff, number, which, place)
        fresh = which[cutoff[which] == 0]
        if len(fresh) and before is not None:
            all_rows = without_value(encoder, before, np.zeros_like(before.lengths), before.lengths)
            news[fresh, place] = all_rows[:, place].mean() < USUAL_SHARE
    owners = np.flatnonzero(news.any(axis=1))
    if not len(owners):
        return
    names = [encoder.columns[place] for place in np.flatnonzero(news.any(axis=0))]
    of_series = ""
    if history.keys is not None:
        keys = [history.keys[owner] for owner in owners[:MAX_NAMED]]
        of_series = f" of {len(owners)} of {int((number > 0).sum())} series, such as {keys}"
    notify(
        f"Got X without any value in the columns {names[:MAX_NAMED]} in {where}{of_series}, where "
        f"training had some: {_instead(encoder, names, bool(cutoff[owners].any()))}. "
        + (f"{AHEAD}past_covariates." if before is None else BESIDE_Y)
    )


def _series_with(
    history: History, cutoff: Integers, number: Integers, column: pd.Series
) -> Integers:
    """Return the series of the values of a column in so many rows behind each cutoff."""
    series, within = history.locate(Rows.parse(column.index, history.timeline))
    step = within - cutoff[series]
    inside = (series >= 0) & (step >= 0) & (step < number[series])
    found: Integers = series[inside & column.notna().to_numpy()]
    return found


def _learnt(encoder: FrameEncoder) -> Flags:
    """Return of which columns of X training had values."""
    numeric = [scaling.extremes is not None for scaling in encoder.scalings]
    return np.array([*numeric, *(len(known) > 0 for known in encoder.categories.values())])


def _read_ahead(model: Model) -> Flags:
    """Return which columns of X are read ahead; inputs of simulations are told of elsewhere."""
    encoder = model.encoder
    told = encoder.numeric if model.spec.simulation else []
    return np.array(
        [name in encoder.known_columns and name not in told for name in encoder.columns]
    )


def _instead(encoder: FrameEncoder, names: list[Hashable], earlier: bool) -> str:
    """Say what is read in the place of values of columns, of which there may be earlier ones."""
    told = []
    if any(name in encoder.numeric for name in names):
        which = "the last known values stand" if earlier else "the mean of training stands"
        told.append(f"{which} in")
    if any(name in encoder.categories for name in names):
        told.append("missing categories count as unknown")
    return ", and ".join(told)


def _is_news(
    encoder: FrameEncoder,
    history: History,
    cutoff: Integers,
    number: Integers,
    which: Integers,
    place: int,
) -> Flags:
    """Return for which of some series hardly any row before the cutoff ends in as long a gap."""
    count = np.minimum(cutoff[which], RECENT_ROWS)
    rows = ranges(history.store.start.numpy()[which] + cutoff[which] - count, count)
    owner = np.repeat(np.arange(len(which)), count)
    row = np.arange(len(rows))
    seen = _seen(encoder, history, rows, row)[:, place] if len(rows) else row > 0
    latest = np.maximum.accumulate(np.where(seen, row, -1))
    known = latest >= np.repeat(np.cumsum(count) - count, count)  # behind a value of their series
    long = known & (row - latest >= number[which][owner])
    rows_known, rows_long = (
        np.bincount(owner[flags], minlength=len(which)) for flags in (known, long)
    )
    news: Flags = rows_long < USUAL_SHARE * rows_known
    return news
