"""Rows: a frame's index, parsed into series and rows of the time grid."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import filterfalse
from typing import Any, cast

import numpy as np
import pandas as pd

from sktime_tlstm.data.timeline import Timeline

__all__ = [
    "BLOCK_ROWS",
    "Rows",
    "blocks",
    "check_apart",
    "check_covered",
    "check_gapless",
    "check_growth",
    "check_increasing",
    "check_levels",
    "check_sampling",
    "find_timeline",
    "grouped",
    "index_times",
    "named_series",
    "numbered_from_zero",
    "portable",
    "ranges",
    "split_index",
    "spread",
    "without_series",
]

#: Rows that are worked on at once, so that temporary arrays stay small beside the store.
BLOCK_ROWS = 2**16

_HALF_DAY = pd.Timedelta(hours=12)

#: Missing rows that are believed in one place: at least so many, and so many for every known row.
MAX_GAP, GAP_PER_ROW = 50_000, 10

#: Indexes of times, beside those of integers.
KINDS = (pd.DatetimeIndex, pd.PeriodIndex, pd.TimedeltaIndex)

#: What the cells of nested panels are.
NESTED = (pd.Series, np.ndarray)

#: Frequencies that any time is a step of.
ANYWHERE = (pd.offsets.Tick, pd.offsets.Day)

#: Rows that tell a frequency by themselves.
FEW_ROWS = 4


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

        Rows of a series that lie apart, as in a table in the order of time, are placed too; a
        key and a part of the bounds then stand for each piece of a series.

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
        if keys is not None and not keys.is_unique:
            order = _by_series(index)
            check_increasing(index[order], rows._steps_in(order) > 0)
            return rows
        for begin, step in rows.steps():
            check_increasing(index, step > 0, begin)
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

    def _steps_in(self, order: np.ndarray) -> np.ndarray:
        """Return every row's step in time since the one before, of rows ordered by series.

        Where a series begins the step is one.
        """
        step = np.diff(self.ordinals()[order], prepend=0)
        series = pd.factorize(cast(pd.Index, self.keys))[0][self.series()[order]]
        step[np.flatnonzero(np.diff(series, prepend=-2))] = 1
        return step

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


def check_increasing(index: pd.Index, increases: np.ndarray, begin: int = 0) -> None:
    """Raise a ValueError that names the first row, from ``begin`` on, that does not increase."""
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


def named_series(keys: pd.Index | None, names: Sequence[Hashable] | None) -> np.ndarray:
    """Return which keys are among the names, (num_series,) of bool; a single series has none."""
    if keys is None or names is None:
        return np.zeros(1 if keys is None else len(keys), dtype=bool)
    wanted = set(names)
    return np.array([key in wanted for key in keys], dtype=bool)


def without_series(frame: pd.DataFrame, names: Sequence[Hashable]) -> pd.DataFrame:
    """Return a frame without the rows of some series."""
    keys, bounds = split_index(frame.index)
    return frame[np.repeat(~named_series(keys, names), np.diff(bounds))]


def _by_series(index: pd.Index) -> np.ndarray:
    """Return the order of rows in which each series' rows follow each other as they did."""
    keys = cast(pd.MultiIndex, index).droplevel(-1)
    try:
        series, _ = pd.factorize(keys, sort=True)
    except TypeError:  # keys of several types have no order but that of their rows
        series, _ = pd.factorize(keys)
    return np.argsort(series, kind="stable")


def grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with each series' rows together, as in a table in the order of time.

    A frame whose series are together already is returned as it is, in its order of series.
    """
    keys, _ = split_index(frame.index)
    if keys is None or keys.is_unique:
        return frame
    return frame.iloc[_by_series(frame.index)]


def check_levels(y: Any, X: Any) -> None:
    """Raise an error for what sktime refuses in words that do not help.

    Raises
    ------
    TypeError
        If X is indexed by series and y is not, or the other way round, if times or values of y
        are text, or times are neither dates, periods nor integers.
    ValueError
        If times are not in order, one is missing, or columns are repeated.
    """
    for name, data in (("y", y), ("X", X)):
        _check_times(name, data)
        if isinstance(data, pd.DataFrame) and not data.columns.is_unique:
            repeated = data.columns[data.columns.duplicated()].unique().tolist()
            raise ValueError(
                f"Got {name} with repeated columns: {repeated}. Rename or drop some of them."
            )
    _check_numbers(y)
    index, other = _row_index(y), _row_index(X)
    if index is None or other is None:
        return
    levels, expected = other.nlevels - 1, index.nlevels - 1
    if levels != expected:
        advice = "Pass X indexed as y is"
        if not levels:
            advice += (
                "; what holds for all series is repeated for each: "
                "`pd.concat({key: X for key in y.index.droplevel(-1).unique()})`"
            )
        raise TypeError(
            f"Got X with {levels} index levels in front of the time, expected {expected} as y has. "
            f"{advice}."
        )


def _row_index(data: Any) -> pd.Index | None:
    """Return the index in time of a series or frame; None of others, such as nested panels.

    The cells of these are whole series, and their index names them.
    """
    nested = isinstance(data, pd.DataFrame) and data.size and isinstance(data.iat[0, 0], NESTED)
    index = None if nested else getattr(data, "index", None)
    return index if isinstance(index, pd.Index) else None


def _check_times(name: str, data: Any) -> None:
    index = _row_index(data)
    if index is None or not len(index):
        return
    times = index.levels[-1] if isinstance(index, pd.MultiIndex) else index
    known = isinstance(times, KINDS) or pd.api.types.is_integer_dtype(times.dtype)
    if known and index.is_monotonic_increasing:
        return
    absent, own = np.asarray(times.isna()), f"{name}.index"
    if isinstance(index, pd.MultiIndex):  # of its codes, -1 is a missing time too
        absent, own = np.append(absent, True)[index.codes[-1]], f"{own}.get_level_values(-1)"
    if absent.any():
        raise ValueError(
            f"Got {name} without a time (NaT) in row {int(np.argmax(absent))}, counted from 0, "
            f"expected one in every row. Write it, or drop such rows: `{name}[{own}.notna()]`."
        )
    if not known:
        _check_convertible(name, index, times)
    _check_order(name, index, times)


def _check_convertible(name: str, index: pd.Index, times: pd.Index) -> None:
    """Raise a TypeError with the way to convert times that are of no kind that is known."""
    one, own = times[0], f"{name}.index"
    is_text, is_date = isinstance(one, str), isinstance(one, (str, date))
    what = "that are text" if is_text else f"of type {type(one).__name__}"
    place = f"{own}.levels[-1]" if isinstance(index, pd.MultiIndex) else own
    call = f"pd.to_datetime({place})" if is_date else f"{place}.astype(int)"
    if isinstance(index, pd.MultiIndex):
        call = f"{own}.set_levels({call}, level=-1)"
    further = ", with `dayfirst=True` for dates such as 31.12.2024" if is_text else ""
    further = further if is_date else ", where they number the steps"
    shown = repr(one) if is_text else one
    raise TypeError(
        f"Got {name} with times {what}, such as {shown}, expected dates, periods or integers. "
        f"Convert them: `{own} = {call}`{further}."
    )


def _check_order(name: str, index: pd.Index, times: pd.Index) -> None:
    """Raise a ValueError that names the first row of a series that is earlier than the one before.

    The rows of a series need not lie together, as in a table in the order of time.
    """
    time: Any = index
    order = np.arange(len(index))
    series = np.zeros(len(index), dtype=np.int64)
    if isinstance(index, pd.MultiIndex):
        for codes, level in zip(index.codes[:-1], index.levels[:-1], strict=True):
            series = series * (len(level) + 1) + codes
        order = np.argsort(series, kind="stable")
        series, time = series[order], np.argsort(times.argsort())[index.codes[-1]][order]
    back = (time[1:] < time[:-1]) & (series[1:] == series[:-1])
    if back.any():
        place = int(np.argmax(back))
        raise ValueError(
            f"Got {name} with times that are not in order: after {index[order[place]]} comes "
            f"{index[order[place + 1]]}. Sort them: `{name}.sort_index()`."
        )


def check_covered(y: Any, X: Any, advice: str) -> None:
    """Raise a ValueError if X lacks rows of y, of a single series.

    Those of a panel are looked for where they are laid out.

    Parameters
    ----------
    y, X : any of sktime's types, or None
    advice : str
        Which rows X must have.
    """
    needed, given = _index_of_one(y), _index_of_one(X)
    if needed is None or given is None:
        return
    absent = ~needed.isin(given)
    if not absent.any():
        return
    there = f"X has rows from {given[0]} to {given[-1]}" if len(given) else "X has no rows"
    if len(given) and _kind(given) != _kind(needed):
        advice = "Convert one of the two indexes"
        there = f"the times of X are {_kind(given)}, those of y {_kind(needed)}"
    raise ValueError(
        f"Got X without {absent.sum()} of the {len(needed)} rows of y, the first "
        f"{needed[int(np.argmax(absent))]}, expected all: {there}. {advice}."
    )


def _index_of_one(data: Any) -> pd.Index | None:
    """Return the index of a single series, an array's as sktime counts its rows; None of others."""
    if isinstance(data, np.ndarray) and data.ndim <= 2:
        return pd.RangeIndex(len(data))
    index = _row_index(data)
    return index if index is not None and index.nlevels == 1 else None


def _kind(index: pd.Index) -> str:
    """Name what must be alike for times to be comparable."""
    if isinstance(index, pd.DatetimeIndex):
        return "dates " + ("without a time zone" if index.tz is None else "with a time zone")
    return str(index.dtype) if isinstance(index, pd.PeriodIndex) else "no dates"


def _check_numbers(y: Any) -> None:
    if not isinstance(y, (pd.Series, pd.DataFrame)):
        return
    for column, values in y.items() if isinstance(y, pd.DataFrame) else [(y.name, y)]:
        if pd.api.types.is_numeric_dtype(values.dtype):
            continue
        texts = [value for value in values if isinstance(value, str)]
        if texts:
            text = next(filterfalse(_is_number, texts), texts[0])
            raise TypeError(
                f"Got y with the text {text!r} in column {column!r}, expected numbers or NaN: no "
                "categorical targets are forecast. Convert it: `pd.to_numeric(column, "
                "errors='coerce')` makes marks for missing values NaN; `pd.read_csv(..., "
                "decimal=',')` reads decimal commas."
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def portable(data: Any, told: bool) -> Any:
    """Return data whose index states no freq that pandas cannot put on a single row.

    sktime does that to find the cutoff; with weeks of months and retail years pandas fails at it.
    What is no such frame or series is returned as it is.

    Parameters
    ----------
    data : pandas.DataFrame, pandas.Series or anything
    told : bool
        Whether the frequency is known already, so that the dates need not tell it.

    Raises
    ------
    ValueError
        If the dates alone would be taken for another frequency than the one they state.
    """
    index = _row_index(data)
    times = index.levels[-1] if isinstance(index, pd.MultiIndex) else index
    if not isinstance(times, pd.DatetimeIndex) or times.freq is None or not len(times):
        return data
    if isinstance(times.freq, ANYWHERE):
        return data
    bare = pd.DatetimeIndex(times, freq=None)  # type: ignore[arg-type]
    try:
        pd.DatetimeIndex(bare[-1:], freq=times.freq)
    except ValueError:
        stated, steps = Timeline(times[0], times.freq), np.arange(2 * len(times) + 100)
        if not told and not Timeline.from_times(bare).times(steps).equals(stated.times(steps)):
            raise ValueError(
                f"Got {len(times)} times with the freq {times.freq.freqstr!r}, which pandas cannot "
                "carry through sktime, and which do not tell this frequency by themselves. Pass "
                "more rows."
            ) from None
        if not isinstance(index, pd.MultiIndex):
            return data.set_axis(bare)
        levels: list[Any] = [*index.levels[:-1], bare]
        return data.set_axis(index.set_levels(levels))
    return data


def index_times(index: pd.Index, part: slice | np.ndarray = slice(None)) -> pd.Index:
    """Return the times of rows of a sktime index."""
    if not isinstance(index, pd.MultiIndex):
        return index[part]
    return index.levels[-1].take(index.codes[-1][part])


def numbered_from_zero(index: pd.Index, timeline: Timeline, end: int) -> str:
    """Return what is wrong with rows before an end that are numbered from 0, as arrays are."""
    times = index_times(index)
    ends_early = not timeline.is_calendar and len(times) and timeline.ordinals(times).max() < end
    if not ends_early or times[0] != 0:
        return ""
    return (
        f" X has the rows 0 to {times.max()}, as data without an index are numbered: pass it with "
        "the rows of the past in front, or with an index that goes on from y."
    )


def find_timeline(
    index: pd.Index, covariates: pd.Index | None = None, usual: Timeline | None = None
) -> Timeline:
    """Find the grid that all series of an index share, from the longest one.

    Where that is a single row, all series and the index of covariates may still tell the step;
    where it leaves several steps open, they decide.

    Parameters
    ----------
    index : pandas.Index
        Of y.
    covariates : pandas.Index or None, default=None
        Of X.
    usual : Timeline or None, default=None
        The grid of data seen before, whose step is kept where the times allow it.

    Raises
    ------
    ValueError
        If there are no rows, a time is repeated, or the times have no regular frequency.
    """
    if not len(index):
        raise ValueError("Got y without rows, expected at least one. Pass a longer y.")
    keys, bounds = split_index(index)
    longest = int(np.argmax(np.diff(bounds)))
    name = "" if keys is None else f" of series {keys[longest]!r}"
    grid = index_times(index, slice(bounds[longest], bounds[longest + 1]))
    check_increasing(grid, grid[1:] > grid[:-1], 1)
    # Of days in a time zone, the change of the clock that tells their kind may lie in X alone.
    zoned = getattr(grid, "tz", None) is not None and (grid[1:2] - grid[:1] >= _HALF_DAY).all()
    if len(grid) >= FEW_ROWS and not zoned:
        return Timeline.from_times(grid, usual, name=name)
    others = index_times(index).unique().sort_values()
    if covariates is not None:
        others = others.append(index_times(covariates)).unique().sort_values()
    if len(grid) > 1:
        return Timeline.from_times(grid, usual, others, name)
    try:
        return Timeline.from_times(others, usual)
    except ValueError:
        if usual is None or usual.offset is None:
            raise
    return Timeline.from_times(grid, usual)  # X may lack steps of a frequency that is known


def check_sampling(index: pd.Index, trained: Timeline) -> None:
    """Raise a ValueError if rows that are evenly spaced have another step than a grid."""
    try:
        own = find_timeline(index)
    except ValueError:  # uneven rows are rows with gaps
        return
    own.check_step(trained)


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


def check_apart(
    keys: pd.Index | None, times: pd.Index, first: np.ndarray, lengths: np.ndarray
) -> None:
    """Refuse a series so far from the others that a wrong time is likelier: all share a calendar.

    Parameters
    ----------
    keys : pandas.Index or None
        Key of each series.
    times : pandas.Index
        Time of each series' first row.
    first, lengths : numpy.ndarray of int64, shape (num_series,)
        Its grid row, and the number of rows.
    """
    order = np.argsort(first, kind="stable")
    known = np.maximum.accumulate((first + lengths)[order])  # behind all series so far
    gap, most = first[order][1:] - known[:-1], MAX_GAP + GAP_PER_ROW * (known - first[order[0]])
    if keys is not None and (gap > most[:-1]).any():
        after = int(np.argmax(gap > most[:-1]))
        which = order[after + 1]
        key = keys[which] if keys.nlevels > 1 else (keys[which],)
        raise _too_far((*key, times[which]), gap[after], "since the earlier series", most[after])


def check_growth(index: pd.Index, rows: Rows, first: np.ndarray, stop: np.ndarray) -> None:
    """Refuse rows so far from those known that a wrong time is likelier than a gap.

    What lies between is filled with missing rows, which one wrong digit can make billions.

    Parameters
    ----------
    index : pandas.Index
    rows : Rows
        The index, parsed.
    first, stop : numpy.ndarray of int64, shape (num_series,)
        First grid row that is known of each of these series, and the one behind the last; of a
        series without any, those of all series.

    Raises
    ------
    ValueError
        If more than MAX_GAP rows, and GAP_PER_ROW for every row, would be missing in one place.
    """
    most = MAX_GAP + GAP_PER_ROW * (stop - first + rows.lengths)
    begins, ends = rows.bounds[:-1], rows.bounds[1:] - 1
    ahead, behind = rows.ordinals(begins) - stop, first - 1 - rows.ordinals(ends)
    for gap, row, side in ((ahead, begins, "since the last"), (behind, ends, "until the first")):
        if (gap > most).any():
            series = int(np.argmax(gap > most))
            place = f"{side} known row"
            raise _too_far(index[row[series]], gap[series], place, most[series])
    for begin, step in rows.steps():
        limit = most[rows.series(slice(begin, begin + len(step)))]
        if (step - 1 > limit).any():
            at = int(np.argmax(step - 1 > limit))
            place = f"since {index[begin + at - 1]}"
            raise _too_far(index[begin + at], step[at] - 1, place, limit[at])


def _too_far(row: object, gap: int, place: str, most: int) -> ValueError:
    return ValueError(
        f"Got the row {row} with {gap:,} missing steps {place}, expected at most {most:,} "
        f"({MAX_GAP:,}, and {GAP_PER_ROW} for every known row), which are filled with missing "
        "rows. Check the time; if it is right, fit to the rows on one side of the gap, or resample "
        "to a longer step."
    )


def ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return start[0] .. start[0] + length[0] - 1, start[1] .., concatenated."""
    before = np.concatenate([[0], np.cumsum(length)[:-1]])
    return np.arange(int(length.sum())) + np.repeat(start - before, length)


def spread(number: int, most: int) -> np.ndarray:
    """Return at most ``most`` of the indices below ``number``, evenly spaced."""
    return np.linspace(0, number - 1, min(number, most)).astype(np.int64)
