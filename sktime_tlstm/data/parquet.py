"""Parquet files as frames of whole series, a few series at a time; the room that needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

__all__ = ["ParquetPieces"]


class ParquetPieces:
    """What a `PanelDataset` reads: call it for a new iterator over the frames.

    Parameters
    ----------
    source : str, path, or list of them
    series : list of str
        Columns that name a series.
    time : str
    columns : list of str or None
        Other columns to read; None for all.
    least : int
        Rows of a frame, at least, unless there are no more.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As `PanelDataset.from_parquet` says.
    """

    def __init__(
        self, source: Any, series: list[str], time: str, columns: list[str] | None, least: int
    ) -> None:
        paths = [str(path) for path in source] if isinstance(source, Sequence) else str(source)
        self.source, self.series, self.time, self.least = (
            source if isinstance(source, str) else paths,
            series,
            time,
            least,
        )
        schema = self._dataset().schema
        index = [*series, time]
        self.columns = [*index, *(columns or [name for name in schema.names if name not in index])]
        absent = [name for name in self.columns if name not in schema.names]
        if absent:
            raise ValueError(
                f"Got the columns {absent} to read, expected some of those of {source!r}: "
                f"{schema.names}. Correct the names."
            )
        kind = schema.field(time).type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind)):
            raise TypeError(
                f"Got the column {time!r} of type {kind} as time, expected dates (timestamp or "
                "date) or integers that count steps. Convert it and write the files anew."
            )

    def _dataset(self) -> Any:
        return ds.dataset(self.source, format="parquet", partitioning="hive")

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
        scanner = self._dataset().scanner(
            self.columns, batch_size=self.least, batch_readahead=1, fragment_readahead=1
        )
        for batch in scanner.to_batches():
            if len(batch):
                yield pa.Table.from_batches([batch]).to_pandas()

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
