"""Panels larger than memory: whole series, read a few at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    portable,
    split_index,
)
from sktime_tlstm.data.source import Piece, Source

__all__ = ["PanelDataset"]

Integers = npt.NDArray[np.int64]

#: Rows of a piece of Parquet files, at least, unless there are no more.
PIECE_ROWS = 2**18
#: Rows that scales, seasons and outliers are learnt from, of more evenly spaced series.
SAMPLE_ROWS = 2**19


class PanelDataset:
    """A panel of many series, read a few series at a time, to ``fit`` or ``pretrain`` on.

    It goes in the place of ``y``, with its covariates. The forecaster reads it twice and keeps
    what the network reads, in float32: ``4 * (targets + covariates) + targets + numeric
    covariates`` bytes a row, in memory or, with ``store_dir``, in a temporary file. All else is
    as if all series had been passed in one frame, but that of more than half a million rows
    covariates are scaled, and seasons and outliers looked for, by evenly spaced series.

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
        if not callable(pieces) and (
            isinstance(pieces, Iterator) or not hasattr(pieces, "__iter__")
        ):
            raise TypeError(
                f"Got pieces of type {type(pieces).__name__}, expected frames that can be read "
                "more than once: a list, or a function that returns a new iterator every time. "
                "Pass the function that made the iterator, and do not call it."
            )
        if store_dir is not None and not Path(store_dir).is_dir():
            raise FileNotFoundError(
                f"Got store_dir={str(store_dir)!r}, expected a folder. Make it, or pass another."
            )
        self.pieces = pieces
        self.target = [target] if isinstance(target, str) else list(target)
        self.covariates = None if covariates is None else list(covariates)
        self.store_dir = None if store_dir is None else str(store_dir)

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
        source : str, path, or list of them
            A file, a folder, or files, in the order of the names or of the list; folders may be
            named by values, as in ``store=3``.
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
            If a column is absent.
        TypeError
            If times are neither dates nor integers.
        """
        try:
            from sktime_tlstm.data.parquet import ParquetPieces
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Got Parquet files, which pyarrow reads, and it is not installed. Run "
                "`pip install pyarrow`."
            ) from error
        levels = [series] if isinstance(series, str) else list(series)
        targets = [target] if isinstance(target, str) else list(target)
        named = None if covariates is None else [*targets, *covariates]
        pieces = ParquetPieces(source, levels, time, named, PIECE_ROWS)
        return cls(pieces, targets, covariates, store_dir)

    def source(self) -> Source:
        """Read all pieces once, and return what training needs to know of them."""
        survey = _Survey()
        for y, X in self._frames():
            survey.add(y, X)
        return survey.source(self._again, self.store_dir)

    def _frames(self) -> Iterator[tuple[pd.DataFrame, pd.DataFrame | None]]:
        """Yield y and X of every piece, checked as those of a single frame are."""
        columns: list[Any] | None = None
        for frame in self.pieces() if callable(self.pieces) else self.pieces:
            _check_kind(frame)
            if columns is None:
                columns = list(frame.columns)
                self._check_names(columns)
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
            y, X = portable(frame[self.target], True), None
            if named:
                X = portable(frame[named], True)
            check_levels(y, X)
            _check_order(y.index)
            yield y, X

    def _check_names(self, columns: list[Any]) -> None:
        wanted = {"target": self.target, "covariates": self.covariates or []}
        for parameter, names in wanted.items():
            absent = [name for name in names if name not in columns]
            if absent:
                raise ValueError(
                    f"Got {parameter} with {absent}, expected columns of the pieces: {columns}. "
                    "Correct the names."
                )
        both = [name for name in wanted["covariates"] if name in self.target]
        if both or not self.target:
            raise ValueError(
                f"Got target={self.target} and covariates={self.covariates}, expected at least one "
                "target, and no column twice."
            )

    def _again(self) -> Iterator[Piece]:
        begin = 0
        for y, X in self._frames():
            number = len(split_index(y.index)[1]) - 1
            yield slice(begin, begin + number), y, X
            begin += number


class _Survey:
    """What is known of the pieces so far: every series' place in time, and some rows."""

    def __init__(self) -> None:
        self.keys: list[pd.Index] = []
        self.first: list[pd.Index] = []
        self.lengths: list[Integers] = []
        self.parts: list[_Part] = []  # of evenly spaced series
        self.longest: _Part | None = None
        self.stride, self.rows, self.series = 1, 0, 0
        self.extremes: dict[tuple[Any, int], tuple[float, _Part]] = {}
        self.kinds: dict[Any, set[str]] = {}
        self.witnesses: list[_Part] = []  # a row of every category
        self.latest: tuple[Any, _Part] | None = None

    def add(self, y: pd.DataFrame, X: pd.DataFrame | None) -> None:
        """Survey one more piece."""
        keys, bounds = split_index(y.index)
        lengths = np.diff(bounds)
        piece = _Part.of(y, X, self.rows, np.repeat(self.series + np.arange(len(lengths)), lengths))
        self.keys.append(cast(pd.Index, keys))
        self.first.append(index_times(y.index, bounds[:-1]))
        self.lengths.append(lengths)
        self.parts.append(piece.every(self.stride))
        while sum(len(part.rows) for part in self.parts) > SAMPLE_ROWS and len(self.parts) > 1:
            self.stride *= 2
            self.parts = [part.every(self.stride) for part in self.parts]
        most = int(np.argmax(lengths))
        if self.longest is None or lengths[most] > len(self.longest.rows):
            self.longest = piece.take(np.arange(bounds[most], bounds[most + 1]))
        ends = index_times(y.index, bounds[1:] - 1)
        if self.latest is None or ends.max() > self.latest[0]:
            end = bounds[1:][[int(ends.argmax())]] - 1
            self.latest = ends.max(), piece.take(end)
        for name in () if X is None else X.columns:
            self._witness(piece, cast(pd.DataFrame, X)[name])
        self.rows += len(y)
        self.series += len(lengths)

    def _witness(self, piece: _Part, column: pd.Series) -> None:
        """Keep rows that show how far the numbers of a column go, or every one of its kinds."""
        if not column.notna().any():
            return
        if is_categorical(column):
            known = self.kinds.setdefault(column.name, set())
            distinct = np.flatnonzero(column.notna().to_numpy() & ~column.duplicated().to_numpy())
            texts = [category_text(value) for value in column.iloc[distinct].astype(object)]
            new = [row for row, text in zip(distinct, texts, strict=True) if text not in known]
            known.update(texts)
            if new:
                self.witnesses.append(piece.take(np.array(new)))
            return
        values = numeric_values(column)
        for sign in (-1, 1):
            row = int(np.nanargmax(sign * values))
            value = float(sign * values[row])
            if value > self.extremes.get((column.name, sign), (-np.inf, None))[0]:
                self.extremes[column.name, sign] = value, piece.take(np.array([row]))

    def source(self, again: Callable[[], Iterator[Piece]], store_dir: str | None) -> Source:
        """Return the source of all pieces, which ``again`` reads once more."""
        if self.longest is None or self.latest is None:
            raise ValueError("Got pieces without rows, expected at least one. Pass others.")
        keys, first = (part[0].append(part[1:]) for part in (self.keys, self.first))
        if not keys.is_unique:
            key = keys[keys.duplicated()][0]
            raise ValueError(
                f"Got the series {key!r} in several places, expected all its rows one after "
                "another. Sort the rows by series and time, for instance by polars: "
                "`scan_parquet(source).sort(series, time).sink_parquet(path)`."
            )
        lengths = np.concatenate(self.lengths)
        extremes = [part for _, part in self.extremes.values()]
        y, X = _merged([*self.parts, self.longest, self.latest[1], *extremes, *self.witnesses])

        def pieces() -> Iterator[Piece]:
            begin = 0
            for series, y, X in again():
                found, bounds = split_index(y.index)
                same = keys[series].equals(found) and series.start == begin
                if not same or (np.diff(bounds) != lengths[series]).any():
                    raise _changed()
                begin = series.stop
                yield series, y, X
            if begin != len(keys):
                raise _changed()

        return Source(y, X, keys, first, lengths, pieces, store_dir)


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


def _changed() -> ValueError:
    return ValueError(
        "Got other series or rows when the pieces were read again than at first, expected the same "
        "ones every time. Do not write to the files meanwhile, and let a function that makes the "
        "frames depend on nothing that changes."
    )


class _Part:
    """Rows of a piece: their numbers in the panel, those of their series, y and X."""

    def __init__(
        self, rows: Integers, series: Integers, y: pd.DataFrame, X: pd.DataFrame | None
    ) -> None:
        self.rows, self.series, self.y, self.X = rows, series, y, X

    @classmethod
    def of(cls, y: pd.DataFrame, X: pd.DataFrame | None, begin: int, series: Integers) -> _Part:
        return cls(begin + np.arange(len(y)), series, y, X)

    def take(self, which: Integers) -> _Part:
        X = None if self.X is None else self.X.iloc[which]
        return _Part(self.rows[which], self.series[which], self.y.iloc[which], X)

    def every(self, stride: int) -> _Part:
        if not (self.series % stride).any():
            return self
        return self.take(np.flatnonzero(self.series % stride == 0))


def _merged(parts: Sequence[_Part]) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the rows of several parts, each once, in the order of the panel."""
    _, once = np.unique(np.concatenate([part.rows for part in parts]), return_index=True)
    y = pd.concat([part.y for part in parts]).iloc[once]
    y.index = cast(pd.MultiIndex, y.index).remove_unused_levels()
    if parts[0].X is None:
        return y, None
    X = pd.concat([_plain(cast(pd.DataFrame, part.X)) for part in parts]).iloc[once]
    return y, X.set_axis(y.index)


def _plain(X: pd.DataFrame) -> pd.DataFrame:
    """Return X with texts in the place of pandas' categories, which differ from piece to piece."""
    names = X.select_dtypes("category").columns
    if not len(names):
        return X
    texts = {}
    for name in names:
        kinds = [category_text(kind) for kind in X[name].cat.categories]
        texts[name] = np.array([*kinds, None], dtype=object)[X[name].cat.codes]
    return X.assign(**texts)
