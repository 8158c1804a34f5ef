"""Panels larger than memory: whole series, read a few at a time."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from sktime_tlstm.data.columns import category_text, is_categorical, numeric_values
from sktime_tlstm.data.rows import (
    check_increasing,
    check_levels,
    grouped,
    index_times,
    named_series,
    portable,
    split_index,
)
from sktime_tlstm.data.source import Piece, Source

__all__ = ["PanelDataset"]

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Rows of a piece of Parquet files, at least, unless there are no more.
PIECE_ROWS = 2**18
#: Rows that the scales of covariates are learnt from, and those of whole series that seasons and
#: outliers are looked for in: all, or of more a sample.
SAMPLE_ROWS = 2**19
#: Series of that sample, at least, however long they are.
LEAST_SERIES = 4
#: Rows that sktime looks at.
HEAD_ROWS = 1000


class PanelDataset:
    """A panel of many series, read a few series at a time, to ``fit`` or ``pretrain`` on.

    It goes in the place of ``y``, with its covariates. The forecaster reads it twice and keeps
    what the network reads, in float32: ``4 * (targets + covariates) + targets + numeric
    covariates`` bytes a row, in memory or, with ``store_dir``, in a temporary file. All else is
    as if all series had been passed in one frame, but that of more than half a million rows
    covariates are scaled by a sample of rows, and seasons and outliers looked for in a sample of
    series.

    Parameters
    ----------
    pieces : sequence of pandas.DataFrame, or callable
        Frames of whole series with sktime's index of panels or hierarchies: one level or several
        for the series, then the time. A function of no arguments returns an iterator over them,
        every time the same ones.
    target : str or sequence of str
        Columns to forecast.
    covariates : sequence of str or None, default=None
        Columns of X; None for all others, an empty list for no X.
    store_dir : str or path or None, default=None
        Folder for a temporary file that holds what is encoded, which the system brings into memory
        and drops as it needs to; deleted when the forecaster is. None for memory.

    Raises
    ------
    TypeError
        If ``pieces`` can be read once only, or are no frames of that kind.
    ValueError
        In ``fit`` and ``pretrain``, before training: if rows of a series lie in several pieces,
        pieces have other columns than the first, or differ when they are read again.

    Examples
    --------
    >>> from sktime.utils._testing.hierarchical import _make_hierarchical
    >>> from sktime_tlstm import PanelDataset, TransformerLSTMForecaster
    >>> def pieces():
    ...     for seed in range(2):
    ...         piece = _make_hierarchical((3,), 30, 30, random_state=seed)
    ...         yield piece.rename(index=f"{{}} of {seed}".format, level=0)
    >>> panel = PanelDataset(pieces, target="c0")
    >>> forecaster = TransformerLSTMForecaster(d_model=8, max_epochs=1, random_state=0)
    >>> forecaster.fit(panel, fh=[1, 2]).predict().shape
    (12, 1)
    """

    def __init__(
        self,
        pieces: Iterable[pd.DataFrame] | Callable[[], Iterator[pd.DataFrame]],
        target: str | Sequence[str],
        covariates: Sequence[str] | None = None,
        store_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(pieces, pd.DataFrame):
            pieces = [pieces]
        once = isinstance(pieces, Iterator) or not isinstance(pieces, Iterable)
        if once and not callable(pieces):
            raise TypeError(
                f"Got pieces of type {type(pieces).__name__}, expected frames that can be read "
                "more than once: a list, or a function that returns a new iterator every time. "
                "Pass the function that made the iterator, and do not call it."
            )
        self.pieces = pieces
        self.target = _names("target", target)
        self.covariates = None if covariates is None else _names("covariates", covariates)
        names = [*self.target, *(self.covariates or ())]
        if not self.target or len(set(names)) < len(names):
            raise ValueError(
                f"Got target={self.target} and covariates={self.covariates}, expected at least one "
                "target, and no column twice."
            )
        self.store_dir = None if store_dir is None else str(Path(store_dir).resolve())
        self._check_folder()

    @classmethod
    def from_parquet(
        cls,
        source: Any,
        series: str | Sequence[str],
        time: str,
        target: str | Sequence[str],
        covariates: Sequence[str] | None = None,
        store_dir: str | os.PathLike[str] | None = None,
    ) -> PanelDataset:
        """Return the panel of Parquet files, which pyarrow reads.

        The rows of a series must follow each other, in the order of time, within a file or from
        one to the next; so do those of files that were sorted by series and time.

        Parameters
        ----------
        source : str, path, or iterable of them
            A file, a folder, or files, in the order of the names or as they are given; folders may
            be named by values, as in ``store=3``; digits are numbers, so that ``store=03`` is 3.
        series : str or sequence of str
            Columns whose values together name a series.
        time : str
            Column of times: dates, or integers that count steps.
        target, covariates, store_dir
            As in the class; columns that are not named are not read.

        Raises
        ------
        ModuleNotFoundError
            If pyarrow is not installed.
        FileNotFoundError
            If there is no such file.
        ValueError
            If a file lacks a column, or a column is named twice.
        TypeError
            If times are neither dates nor integers, or a column's types in two files have nothing
            in common.
        """
        try:
            from sktime_tlstm.data.parquet import ParquetPieces
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Got Parquet files, which pyarrow reads, and it is not installed. Run "
                "`pip install pyarrow`."
            ) from error
        levels, targets = _names("series", series), _names("target", target)
        named = None if covariates is None else [*targets, *_names("covariates", covariates)]
        pieces = ParquetPieces(source, levels, time, targets, named, PIECE_ROWS)
        return cls(pieces, targets, covariates, store_dir)

    def source(self, left_out: Sequence[Hashable] | None = None) -> Source:
        """Read all pieces once, and return what training needs to know of them.

        Parameters
        ----------
        left_out : sequence or None, default=None
            Keys of series that nothing is learnt from.
        """
        self._check_folder()
        survey = _Survey(left_out)
        for y, X in self._frames(told=False):
            survey.add(y, X)
        return survey.source(self._again, self.store_dir)

    def _check_folder(self) -> None:
        """Raise an OSError if no file can be written where what is encoded is to lie."""
        if self.store_dir is None:
            return
        try:
            with tempfile.TemporaryFile(dir=self.store_dir):
                pass
        except OSError as error:
            raise type(error)(
                f"Got store_dir={self.store_dir!r}, expected a folder to write to; the system "
                f"says: {error.strerror}. Make it, or pass another."
            ) from error

    def _frames(self, told: bool) -> Iterator[tuple[pd.DataFrame, pd.DataFrame | None]]:
        """Yield y and X of every piece, checked as those of a single frame are."""
        columns: list[Any] | None = None
        times: pd.Index | None = None
        for frame in self.pieces() if callable(self.pieces) else self.pieces:
            _check_kind(frame)
            if columns is None:
                columns = list(frame.columns)
                self._check_columns(columns)
            if list(frame.columns) != columns:
                raise ValueError(
                    f"Got a piece with the columns {list(frame.columns)}, expected those of the "
                    f"first, in their order: {columns}."
                )
            if not len(frame):
                continue
            frame = grouped(frame)
            named = [name for name in columns if name not in self.target]
            named = named if self.covariates is None else self.covariates
            y, X = portable(frame[self.target], told), None
            if named:
                X = portable(frame[named], told)
            check_levels(y, X)
            _check_order(y.index)
            first = index_times(y.index, slice(0, 1))
            times = first if times is None else times
            _check_alike(times, first)
            yield y, X

    def _check_columns(self, columns: list[Any]) -> None:
        if len(set(columns)) < len(columns):
            raise ValueError(
                f"Got a piece with the columns {columns}, expected each once. Drop or rename some."
            )
        for parameter, names in (("target", self.target), ("covariates", self.covariates or [])):
            absent = [name for name in names if name not in columns]
            if absent:
                raise ValueError(
                    f"Got {parameter} with {absent}, expected columns of the pieces: {columns}. "
                    "Correct the names."
                )

    def _again(self) -> Iterator[Piece]:
        begin = 0
        for y, X in self._frames(told=True):
            number = len(split_index(y.index)[1]) - 1
            yield slice(begin, begin + number), y, X
            begin += number


class _Survey:
    """What is known of the pieces so far: every series' place in time, and samples.

    Parameters
    ----------
    left_out : sequence or None
        Keys of series that are in no sample.
    """

    def __init__(self, left_out: Sequence[Hashable] | None) -> None:
        self.left_out = left_out
        self.keys: list[pd.Index] = []
        self.first: list[pd.Index] = []
        self.lengths: list[Integers] = []
        self.digests: list[int] = []
        self.last: pd.Index | None = None
        self.head: tuple[pd.DataFrame, pd.DataFrame | None] | None = None
        self.longest: pd.DataFrame | None = None
        self.series, self.rows = _Sample(LEAST_SERIES), _Sample()
        self.extremes: dict[tuple[Any, int], tuple[float, Integers, pd.DataFrame]] = {}
        self.kinds: dict[Any, set[str]] = {}
        self.witnesses: list[tuple[Integers, pd.DataFrame]] = []  # a row of every category
        self.num_series = self.num_rows = 0

    def add(self, y: pd.DataFrame, X: pd.DataFrame | None) -> None:
        """Survey one more piece."""
        keys, bounds = split_index(y.index)
        lengths, ends = np.diff(bounds), index_times(y.index, bounds[1:] - 1)
        latest = int(ends.argmax())
        if self.last is None or ends[latest] > self.last[0]:
            self.last = ends[[latest]]
        if self.head is None:
            one = slice(0, min(int(bounds[1]), HEAD_ROWS))
            self.head = y.iloc[one], None if X is None else X.iloc[one]
        self.keys.append(cast(pd.Index, keys))
        self.first.append(index_times(y.index, bounds[:-1]))
        self.lengths.append(lengths)
        self.digests.append(_digest(y, X))
        taken = ~named_series(keys, self.left_out)
        numbers = self.num_series + np.arange(len(lengths))
        of_row = np.repeat(np.arange(len(lengths)), lengths)
        rows = self.num_rows + np.arange(len(y))
        self.series.add(y, numbers[of_row], rows, taken[of_row])
        self._keep_longest(y, bounds, taken)
        if X is not None:
            self.rows.add(X, rows, rows, taken[of_row])
            for name in X.columns:
                self._witness(X, X[name], rows, taken[of_row])
        self.num_series += len(lengths)
        self.num_rows += len(y)

    def _keep_longest(self, y: pd.DataFrame, bounds: Integers, taken: Flags) -> None:
        lengths = np.where(taken, np.diff(bounds), 0)
        most = int(np.argmax(lengths))
        if self.longest is None or lengths[most] > len(self.longest):
            self.longest = _few_levels(y.iloc[bounds[most] : bounds[most] + lengths[most]])

    def _witness(self, X: pd.DataFrame, column: pd.Series, rows: Integers, taken: Flags) -> None:
        """Keep rows that show how far the numbers of a column go, or every one of its kinds."""
        known = column.notna().to_numpy() & taken
        if not known.any():
            return
        if is_categorical(column):
            before = self.kinds.setdefault(column.name, set())
            distinct = np.flatnonzero(known)
            distinct = distinct[~column.iloc[distinct].duplicated().to_numpy()]
            texts = [category_text(value) for value in column.iloc[distinct].astype(object)]
            new = distinct[[text not in before for text in texts]]
            before.update(texts)
            if len(new):
                self.witnesses.append((rows[new], _few_levels(X.iloc[new])))
            return
        values = np.where(taken, numeric_values(column), np.nan)
        for sign in (-1, 1):
            row = int(np.nanargmax(sign * values))
            value = float(sign * values[row])
            found = self.extremes.get((column.name, sign))
            if found is None or value > found[0]:
                witness = _few_levels(X.iloc[[row]])
                self.extremes[column.name, sign] = value, rows[[row]], witness

    def source(self, again: Callable[[], Iterator[Piece]], store_dir: str | None) -> Source:
        """Return the source of all pieces, which ``again`` reads once more."""
        if self.head is None:
            raise ValueError("Got pieces without rows, expected at least one. Pass others.")
        keys, first = (part[0].append(part[1:]) for part in (self.keys, self.first))
        if not keys.is_unique:
            key = keys[keys.duplicated()][0]
            raise ValueError(
                f"Got the series {key!r} in several places, expected all its rows one after "
                "another. Sort the rows by series and time, for instance by polars: "
                "`scan_parquet(source).sort(series, time).sink_parquet(path)`."
            )
        y, X = self.series.frame(), self.head[1]
        longest = self.longest if self.longest is not None and len(self.longest) else self.head[0]
        y = longest if y is None else y
        if self.series.share < 1 and not y.index.isin(longest.index[-1:]).any():
            y = pd.concat([longest, y])  # which tells the frequency
        if X is not None:
            witnesses = [part[1:] for part in self.extremes.values()]
            rows = self.rows.frame([*witnesses, *self.witnesses])
            X = X if rows is None else rows
        lengths, sampled = np.concatenate(self.lengths), self.rows.share < 1
        read = _Again(again, keys, first, lengths, self.digests)
        return Source(y, X, keys, first, lengths, read, store_dir, self.head, self.last, sampled)


class _Again:
    """Reads the pieces once more, and refuses others than were surveyed."""

    def __init__(
        self,
        again: Callable[[], Iterator[Piece]],
        keys: pd.Index,
        first: pd.Index,
        lengths: Integers,
        digests: list[int],
    ) -> None:
        self.again, self.keys, self.first = again, keys, first
        self.lengths, self.digests = lengths, digests

    def __call__(self) -> Iterator[Piece]:
        """Yield the pieces, whose rows lie where they did: their times follow each other."""
        end, number = 0, 0
        for number, (series, y, X) in enumerate(self.again(), start=1):
            keys, bounds = split_index(y.index)
            same = (
                number <= len(self.digests)
                and self.keys[series].equals(keys)
                and self.first[series].equals(index_times(y.index, bounds[:-1]))
                and (np.diff(bounds) == self.lengths[series]).all()
                and self.digests[number - 1] == _digest(y, X)
            )
            if not same:
                raise _changed()
            end = series.stop
            yield series, y, X
        if end != len(self.keys) or number != len(self.digests):
            raise _changed()


class _Sample:
    """Rows of pieces, chosen by numbers of theirs, of which fewer and fewer are taken.

    A number is taken if its hash is small: with evenly spaced ones, a panel in the order of stores
    and items would have some of the items alone.

    Parameters
    ----------
    least : int, default=1
        How many different numbers stay, however many rows have them.
    """

    def __init__(self, least: int = 1) -> None:
        self.least, self.share, self.number = least, 1.0, 0
        self.parts: list[tuple[Integers, Integers, pd.DataFrame]] = []

    def add(self, frame: pd.DataFrame, chosen_by: Integers, rows: Integers, taken: Flags) -> None:
        """Take the rows of a piece whose number is chosen, of those that may be taken.

        Parameters
        ----------
        frame : pandas.DataFrame
        chosen_by, rows : numpy.ndarray of int64, shape (row,)
            What rows are chosen by, and their numbers in the panel.
        taken : numpy.ndarray of bool, shape (row,)
        """
        self._keep(frame, chosen_by, rows, np.flatnonzero(taken & self._chosen(chosen_by)))
        while self.number > SAMPLE_ROWS:
            kept = [part[0][self._chosen(part[0], self.share / 2)] for part in self.parts]
            if len(np.unique(np.concatenate(kept))) < self.least:
                break
            self.share /= 2
            parts, self.parts, self.number = self.parts, [], 0
            for numbers, places, part in parts:
                self._keep(part, numbers, places, np.flatnonzero(self._chosen(numbers)))

    def _chosen(self, numbers: Integers, share: float | None = None) -> Flags:
        share = self.share if share is None else share
        if share == 1:
            return np.ones(len(numbers), dtype=bool)
        return _hashed(numbers) < share * 2.0**64

    def _keep(
        self, frame: pd.DataFrame, numbers: Integers, rows: Integers, which: Integers
    ) -> None:
        if len(which):
            part = frame if len(which) == len(frame) else frame.iloc[which]
            self.parts.append((numbers[which], rows[which], _few_levels(part)))
            self.number += len(which)

    def frame(self, more: Sequence[tuple[Integers, pd.DataFrame]] = ()) -> pd.DataFrame | None:
        """Return all rows, and more of them, each once, in the order of the panel."""
        parts = [*(part[1:] for part in self.parts), *more]
        if not parts:
            return None
        _, once = np.unique(np.concatenate([rows for rows, _ in parts]), return_index=True)
        return _few_levels(pd.concat([_plain(part) for _, part in parts]).iloc[once])


def _hashed(numbers: Integers) -> npt.NDArray[np.uint64]:
    """Return numbers that are spread over all of 64 bits, the same ones always (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _digest(y: pd.DataFrame, X: pd.DataFrame | None) -> int:
    """Return a checksum of all plain numbers."""
    found = 0
    for frame in (y,) if X is None else (y, X):
        for name in frame.columns:
            column = frame[name]
            if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
                found = zlib.crc32(np.ascontiguousarray(column.to_numpy()).data, found)
    return found


def _few_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose index holds no more keys and times than it has."""
    return frame.set_axis(cast(pd.MultiIndex, frame.index).remove_unused_levels())


def _names(parameter: str, given: Any) -> list[Any]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, (list, tuple, pd.Index)):
        return list(given)
    raise TypeError(
        f"Got {parameter}={given!r}, expected the name of a column, or a list of names."
    )


def _check_kind(frame: Any) -> None:
    """Raise a TypeError unless this is a frame of several series."""
    got = type(frame).__name__
    if isinstance(frame, pd.DataFrame):
        if isinstance(frame.index, pd.MultiIndex):
            return
        got += f" with an index of type {type(frame.index).__name__}"
    raise TypeError(
        f"Got a piece of type {got}, expected a pandas.DataFrame with a MultiIndex: the series, "
        "then the time. Use `frame.set_index([series, time])`."
    )


def _check_order(index: pd.Index) -> None:
    times, begins = index_times(index), split_index(index)[1][1:-1]
    increases = times[1:] > times[:-1]
    increases[begins - 1] = True
    check_increasing(index, increases, 1)


def _check_alike(times: pd.Index, others: pd.Index) -> None:
    """Raise a TypeError if times of two pieces are of two kinds, or zones."""
    if _kind(times) != _kind(others):
        raise TypeError(
            f"Got pieces with times such as {times[0]!r} and {others[0]!r}, expected times of one "
            "kind, all in one time zone or none. Convert some, for instance by `tz_localize`."
        )


def _kind(times: pd.Index) -> str:
    if times.dtype.kind in "iu":
        return "integers"
    if isinstance(times, pd.DatetimeIndex):
        return f"dates of the zone {times.tz}"  # in any unit
    return str(times.dtype)


def _changed() -> ValueError:
    return ValueError(
        "Got other series, times or values when the pieces were read again than at first, expected "
        "the same ones every time. Do not write to the files meanwhile, and let a function that "
        "makes the frames depend on nothing that changes."
    )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with texts in the place of pandas' categories, which differ by piece."""
    names = frame.select_dtypes("category").columns
    if not len(names):
        return frame
    frame = frame.copy()
    for name in names:
        kinds = [category_text(kind) for kind in frame[name].cat.categories]
        frame[name] = np.array([*kinds, None], dtype=object)[frame[name].cat.codes]
    return frame
