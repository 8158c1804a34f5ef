"""Tables: CSV and Parquet files as the frames of series, and forecasts as such files."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sktime_tlstm.archive import write_file
from sktime_tlstm.data.columns import without_objects

__all__ = ["CSV_SETTINGS", "SUFFIXES", "Data", "observed", "on_grid", "read", "time_of", "write"]

#: Arguments of `pandas.read_csv` that say how a file is written, and not what is taken from it.
CSV_SETTINGS = ("sep", "decimal", "thousands", "encoding", "comment", "skiprows", "na_values")
#: Endings of names of files that are written.
SUFFIXES = (".csv", ".parquet")
#: Years first, then what a date may go on with; all else could be read in two ways.
ISO_DATE, OFFSET = r"\d{4}-\d", r"\d\d:\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$"
#: Absent steps that `on_grid` inserts at most, for every row of a series and beyond these.
ABSENT_PER_ROW, ABSENT = 10, 1_000


@dataclass(frozen=True)
class Data:
    """Where series are stored: files, what their columns are, and how they are written.

    The fields are the section ``data`` of a configuration, which says what they mean.
    """

    time: str
    target: Sequence[str]
    files: Sequence[str] = ()
    series: Sequence[str] = ()
    covariates: Sequence[str] | None = None
    freq: str | None = None
    date_format: str | None = None
    csv: Mapping[str, Any] = field(default_factory=dict)


# From files to frames.


def read(data: Data, paths: Sequence[str], needed: Sequence[str]) -> pd.DataFrame:
    """Read files as one frame.

    Parameters
    ----------
    data : Data
    paths : sequence of str
        Files; * stands for any part of a name.
    needed : sequence of str
        Columns that must be there.

    Returns
    -------
    pandas.DataFrame
        All other columns than those of the index: the names of the series, as text, and times;
        sorted by it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file cannot be read, columns or rows are absent, files have different columns, a time
        can be read in two ways or not at all, or a series has two rows of one time.
    """
    frames: list[pd.DataFrame] = []
    for path in _found(paths):
        frame = _file(data, path, needed)
        if frames and set(frame.columns) != set(frames[0].columns):
            differs = sorted(set(frame.columns) ^ set(frames[0].columns))
            raise ValueError(
                f"Got {path} and {_found(paths)[0]}, of which one alone has the columns "
                f"{differs}; expected the same columns in all files. Read the others by themselves."
            )
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True)
    if not len(frame):
        raise ValueError(f"Got {_listed(paths)} without rows, expected some. Pass other files.")
    columns = [_names(frame[name], name) for name in data.series]
    times = _times(data, frame[data.time])
    index: pd.Index = pd.Index(times, name=data.time)
    if columns:
        index = pd.MultiIndex.from_arrays([*columns, times], names=[*data.series, data.time])
    frame = frame.drop(columns=[*data.series, data.time]).set_axis(index).sort_index()
    repeated = frame.index.duplicated()
    if repeated.any():
        raise ValueError(
            f"Got two rows of {frame.index[repeated][0]} in {_listed(paths)}, expected one for "
            f"each series and time. Drop one of them, or list in data.series all columns that tell "
            "series apart."
        )
    frame = without_objects(frame)  # exact numbers of Parquet
    truths = frame.select_dtypes("bool").columns
    return frame.astype(dict.fromkeys(truths, "float64"))


def _found(paths: Sequence[str]) -> list[str]:
    """Return the files that are meant by names that may hold ``*``."""
    found = []
    for path in paths:
        some = sorted(glob.glob(path)) if glob.has_magic(path) else [path]
        if not some or not all(Path(one).is_file() for one in some):
            raise FileNotFoundError(
                f"Got {path!r}, expected the path of a file; there is none, seen from the folder "
                f"{str(Path.cwd())!r}. Check the path."
            )
        found += some
    return found


def _file(data: Data, path: str, needed: Sequence[str]) -> pd.DataFrame:
    """Return all columns of a file, which are texts; of CSV, series and times are texts too."""
    parquet = ".parquet" in Path(path).suffixes
    own = [*data.series, data.time]
    separator = data.csv.get("sep", ",")
    if not parquet and separator != r"\s+" and len(str(separator)) != 1:
        raise ValueError(
            f"Got data.csv.sep={separator!r}, expected one character, such as ';', or '\\s+' for "
            "any white space. Write the one that the file has."
        )
    try:
        if parquet:
            frame = pd.read_parquet(path)
        else:  # converters keep series of the name NA, and zeros in front of a number
            texts = dict.fromkeys(own, str.strip)
            frame = pd.read_csv(path, converters=texts, low_memory=False, **data.csv)
    except (ValueError, TypeError, LookupError, OSError) as error:
        says = str(error).strip().removesuffix(".")
        raise ValueError(
            f"Got {path}, expected a {'Parquet' if parquet else 'CSV'} file; pandas says: {says}. "
            "Check the file, and data.csv, which says how it is written."
        ) from error
    if parquet and frame.index.names != [None]:  # a frame's own index, which pandas keeps
        frame = frame.reset_index()
    frame.columns = frame.columns.map(str)
    absent = [name for name in dict.fromkeys([*own, *needed]) if name not in frame.columns]
    if absent:
        raise ValueError(
            f"Got {path} with the columns {list(frame.columns)}, expected {absent} too. Correct "
            "the names in data, or data.csv, such as {sep: ;}, if columns were not told apart."
        )
    if not isinstance(frame.index, pd.RangeIndex):  # pandas would take the first for names of rows
        raise ValueError(
            f"Got {path} with more values in a row than the {frame.shape[1]} columns that its "
            "first line names, expected as many. Name them all, or say in data.csv how the file is "
            "written, such as {sep: ;, decimal: ','}."
        )
    return frame


def _names(column: pd.Series, name: str) -> pd.Series:
    """Return the names of series as text, the same for CSV and Parquet."""
    absent = column.isna() | (column.astype(str) == "")
    if absent.any():
        raise ValueError(
            f"Got no {name} in row {int(absent.argmax())} of the data, expected the name of a "
            "series in every row. Drop the row, or name the series."
        )
    return column.astype(str)


def _times(data: Data, column: pd.Series, place: str | None = None) -> pd.Series:
    """Return times as dates or integers; text is read in one way, or refused.

    ``place`` says where they are, unless in rows of the data.
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return _complete(column, column, "a date in every row", "Drop the row")
    if data.date_format is None and pd.api.types.is_integer_dtype(column.dtype):
        return _integers(_complete(column, column, "an integer in every row", "Drop the row"))
    text = column.map(str).str.strip()
    if data.date_format is not None:
        utc = "%z" in data.date_format
        dates = pd.to_datetime(text, format=data.date_format, errors="coerce", utc=utc)
        words = f"dates like data.date_format={data.date_format!r}"
        return _complete(dates, text, words, "Correct one of the two", place)
    if text.str.fullmatch(r"-?\d+").all():
        return _integers(text.astype("int64"))
    offsets = text.str.contains(OFFSET)
    if offsets.any() and not offsets.all():
        row = int((offsets != offsets.iloc[0]).argmax())
        raise ValueError(
            f"Got the times {text.iloc[0]!r} and {text.iloc[row]!r}, one of them alone with an "
            "offset from UTC; expected all or none with one. Write them alike."
        )
    dates = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=bool(offsets.any()))
    dates = dates.where(text.str.match(ISO_DATE))
    words = "dates that begin with the year, such as '2024-12-31 10:00', or integers in all rows"
    advice = (
        "Day and month of others could be taken for each other: say how they are written by "
        "data.date_format, such as '%d.%m.%Y' or '%d.%m.%Y %H:%M'"
    )
    return _complete(dates, text, words, advice, place)


def _complete(
    times: pd.Series, given: pd.Series, expected: str, advice: str, place: str | None = None
) -> pd.Series:
    absent = times.isna()
    if absent.any():
        row = int(absent.argmax())
        raise ValueError(
            f"Got the time {given.iloc[row]!r} in {place or f'row {row} of the data'}, expected "
            f"{expected}. "
            f"{advice}."
        )
    return times


def _integers(times: pd.Series) -> pd.Series:
    """Refuse dates such as 20241231, whose steps are not those of days."""
    dates = pd.to_datetime(times.astype(str), format="%Y%m%d", errors="coerce")
    if times.between(18000101, 22001231).all() and dates.notna().all():
        raise ValueError(
            f"Got the times {times.iloc[0]}, ..., {times.iloc[-1]}, expected integers that count "
            "steps, and these look like dates. Pass data.date_format='%Y%m%d'."
        )
    return times


def time_of(data: Data, value: Any, index: pd.Index) -> Any:
    """Return a time of a configuration as one that compares with those of an index.

    Raises
    ------
    ValueError
        If it cannot be read as times of files are, or is a date beside integers, or reversely.
    """
    times = index.get_level_values(-1)
    zone = times.tz if isinstance(times, pd.DatetimeIndex) else None
    if isinstance(value, (str, int)):
        time = _times(data, pd.Series([str(value)]), "the configuration").iloc[0]
    else:  # YAML's own dates
        time = pd.Timestamp(value)
    dates = isinstance(time, pd.Timestamp)
    if dates != isinstance(times, pd.DatetimeIndex) or (dates and time.tz and not zone):
        got = repr(value if isinstance(value, int) else str(value))
        raise ValueError(
            f"Got the time {got} beside times such as {times[0]}, expected one of their kind. "
            "Write it as they are in the files."
        )
    return time.tz_localize(zone) if dates and not time.tz else time


# What is fitted.


def on_grid(data: Data, frame: pd.DataFrame) -> pd.DataFrame:
    """Insert the steps of ``data.freq`` that are absent, as rows without values.

    Raises
    ------
    ValueError
        If the frequency is unknown, times are integers or lie between its steps, or by far most
        steps are absent.
    """
    if data.freq is None:
        return frame
    levels: list[Any] = list(range(frame.index.nlevels - 1))
    if not levels:
        return _regular(data.freq, frame, "")
    groups = frame.groupby(level=levels if len(levels) > 1 else 0, sort=False)
    parts = {key: _regular(data.freq, part.droplevel(levels), f" of {key}") for key, part in groups}
    return pd.concat(parts, names=frame.index.names)


def _regular(freq: str, frame: pd.DataFrame, where: str) -> pd.DataFrame:
    times = frame.index
    if not isinstance(times, pd.DatetimeIndex):
        raise ValueError(
            f"Got data.freq={freq!r} with times that are integers, such as {times[0]}, expected "
            "dates. Leave it out, or say by data.date_format how dates are written."
        )
    most = ABSENT + (1 + ABSENT_PER_ROW) * len(times)
    try:
        offset = pd.tseries.frequencies.to_offset(freq)
        number = 0
        if isinstance(offset, pd.offsets.Tick):  # of which there might be too many to list
            span = (times[-1] - times[0]).total_seconds()
            number = 1 + int(span / pd.Timedelta(offset).total_seconds())
        grid = pd.date_range(times[0], times[-1], freq=offset) if number < most else times[:0]
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"Got data.freq={freq!r}, expected a frequency of pandas, such as 'h', 'D', '15min' or "
            f"'MS' (months by their first day); pandas says: {error}. Correct it."
        ) from error
    number = max(number, len(grid))
    if number > most:
        raise ValueError(
            f"Got {len(times):,} of {number:,} steps of data.freq={freq!r} from {times[0]} to "
            f"{times[-1]}{where}, expected more of them. Correct the frequency, or these times."
        )
    between = ~times.isin(grid)
    if between.any():
        raise ValueError(
            f"Got the time {times[between][0]}{where}, which is no step of data.freq={freq!r} from "
            f"{times[0]} on. Correct the frequency, or put such rows on its steps."
        )
    return frame.reindex(grid.as_unit(times.unit).rename(times.name))


def observed(
    data: Data, frame: pd.DataFrame, covariates: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return y and X; rows without a target at the end of a series are future rows, and in X alone.

    Raises
    ------
    ValueError
        If there is no value of a target.
    """
    y = frame[list(data.target)]
    known = y.notna().any(axis=1).iloc[::-1]
    if not known.any():
        raise ValueError(
            f"Got no value in the columns {list(data.target)}, expected some to learn from. Name "
            "other columns in data.target."
        )
    levels: list[Any] = list(range(frame.index.nlevels - 1))
    if levels:
        y = y[known.groupby(level=levels).cummax().iloc[::-1]]
    else:
        y = y.iloc[: len(y) - int(known.argmax())]
    return y, frame[list(covariates)] if covariates else None


# From frames to files.


def write(data: Data, frame: pd.DataFrame, path: str | None) -> str:
    """Write a frame with its index, as the data's files are written.

    Parameters
    ----------
    data : Data
    frame : pandas.DataFrame
    path : str or None
        A name that ends in one of ``SUFFIXES``; None for no file. Under the name is the old file
        or the new one, whole.

    Returns
    -------
    str
        The frame as CSV, where there is no path.
    """
    frame = frame.reset_index()
    if path is not None and path.endswith(".parquet"):
        write_file(Path(path), frame.to_parquet(index=False))
        return ""
    as_read = {name: data.csv[name] for name in ("sep", "decimal") if name in data.csv}
    text: str = frame.to_csv(index=False, date_format=data.date_format, **as_read)
    if path is None:
        return text
    write_file(Path(path), text.encode(data.csv.get("encoding", "utf-8")))
    return ""


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths)
