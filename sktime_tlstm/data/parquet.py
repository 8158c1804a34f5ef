"""Parquet files as frames of whole series, a few series at a time; the room that needs pyarrow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

__all__ = ["ParquetPieces"]

#: Columns in which pandas keeps an index without a name.
UNNAMED = "__index_level_"


class ParquetPieces:
    """What a `PanelDataset` reads: call it for a new iterator over the frames.

    Parameters
    ----------
    source : str, path, or iterable of them
    series : list of str
        Columns that name a series.
    time : str
    target : list of str
    columns : list of str or None
        Columns to read besides those of the index; None for all.
    least : int
        Rows of a frame, at least, unless there are no more.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As `PanelDataset.from_parquet` says.
    """

    def __init__(
        self,
        source: Any,
        series: list[str],
        time: str,
        target: list[str],
        columns: list[str] | None,
        least: int,
    ) -> None:
        single = isinstance(source, (str, os.PathLike))
        self.source = os.fspath(source) if single else [os.fspath(path) for path in source]
        self.series, self.time, self.least = series, time, least
        self.schema = self._common_schema()
        index = [*series, time]
        if columns is None:
            others = [name for name in self.schema.names if not name.startswith(UNNAMED)]
            columns = [name for name in others if name not in index]
        twice = [name for name in index if name in [*target, *columns]]
        if twice or len({*index}) < len(index):
            raise ValueError(
                f"Got series={series} and time={time!r}, expected columns that are named once and "
                f"are neither target nor covariate. Drop {twice or index} from one of them."
            )
        self.columns = [*index, *columns]
        absent = [name for name in self.columns if name not in self.schema.names]
        if absent:
            raise ValueError(
                f"Got the columns {absent} to read, expected some of those of {source!r}: "
                f"{self.schema.names}. Correct the names."
            )
        kind = self.schema.field(time).type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind)):
            raise TypeError(
                f"Got the column {time!r} of type {kind} as time, expected dates (timestamp or "
                "date) or integers that count steps. Convert it and write the files anew."
            )

    def _dataset(self, schema: Any = None) -> Any:
        return ds.dataset(self.source, schema, format="parquet", partitioning="hive")

    def _common_schema(self) -> Any:
        """Return the columns of all files, in types that lose nothing of any."""
        dataset = self._dataset()
        whole, first = dataset.schema, None
        for fragment in dataset.get_fragments():
            own = fragment.physical_schema
            first = own if first is None else first
            differs = sorted(set(own.names) ^ set(first.names))
            if differs:
                raise ValueError(
                    f"Got the file {fragment.path} and others, of which one alone has the columns "
                    f"{differs}; expected the same columns in all files. Read the others by "
                    "themselves."
                )
            try:
                _check_zones(own, first)
                whole = pa.unify_schemas([whole, own], promote_options="permissive")
            except pa.ArrowException as error:
                raise TypeError(
                    f"Got the file {fragment.path} with columns of other types than the first has, "
                    f"expected types that go together; pyarrow says: {error} Write it anew."
                ) from error
        if first is None:
            raise FileNotFoundError(
                f"Got {self.source!r}, where there is no Parquet file, expected some."
            )
        return whole

    def __call__(self) -> Iterator[pd.DataFrame]:
        """Yield frames of whole series, read anew."""
        pending: list[pd.DataFrame] = []
        for frame in self._batches():
            cut = self._last_begin(pending, frame)
            if cut is not None and sum(map(len, pending)) + cut >= self.least:
                yield self._indexed([*pending, frame[:cut]])
                pending = []
                frame = frame[cut:]
            pending.append(frame)
        if pending:
            yield self._indexed(pending)

    def _batches(self) -> Iterator[pd.DataFrame]:
        # one batch ahead, so that memory holds few rows
        scanner = self._dataset(self.schema).scanner(
            self.columns, batch_size=self.least, batch_readahead=1, fragment_readahead=1
        )
        for batch in scanner.to_batches():
            if len(batch):
                # pandas' own notes in a file would make an index of some columns
                yield pa.Table.from_batches([batch]).to_pandas(ignore_metadata=True)

    def _last_begin(self, pending: list[pd.DataFrame], frame: pd.DataFrame) -> int | None:
        """Return the row at which the last series of a frame begins; None if it did before."""
        keys = frame[self.series]
        before = pending[-1][self.series].iloc[-1:] if pending else keys.iloc[:1]
        rows = pd.concat([before, keys], ignore_index=True)
        begins = np.zeros(len(keys), dtype=bool)
        for name in self.series:
            values = pd.factorize(rows[name], use_na_sentinel=False)[0]
            begins |= np.diff(values) != 0
        found = np.flatnonzero(begins)
        return int(found[-1]) if len(found) else None

    def _indexed(self, frames: list[pd.DataFrame]) -> pd.DataFrame:
        frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        index = [*self.series, self.time]
        for name in index:
            absent = frame[name].isna().to_numpy()
            if absent.any():
                row = frame.iloc[int(absent.argmax())].to_dict()
                raise ValueError(
                    f"Got a row without {name!r}: {row}; expected the series and the time of every "
                    "row. Drop it, or fill it in."
                )
        if pd.api.types.is_object_dtype(frame[self.time].dtype):  # dates without a time of day
            frame = frame.assign(**{self.time: pd.to_datetime(frame[self.time])})
        return frame.set_index(index)


def _check_zones(schema: Any, first: Any) -> None:
    """Raise an ArrowInvalid if a column has times in a zone in one file, and in none in another."""
    for field in schema:
        kinds = field.type, first.field(field.name).type
        if all(map(pa.types.is_timestamp, kinds)) and kinds[0].tz != kinds[1].tz:
            raise pa.ArrowInvalid(f"{field.name} is {kinds[0]} here and {kinds[1]} there.")
