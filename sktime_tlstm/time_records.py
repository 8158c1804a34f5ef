"""Time records: the kinds of pandas' indexes, times and frequencies."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries import offsets

from sktime_tlstm.records import Kind

__all__ = ["TIME_KINDS"]


def _zone_text(zone: datetime.tzinfo | None) -> str | None:
    """Return the name of a time zone, with the library that it is of, as pandas reads it."""
    if zone is None:
        return None
    library = type(zone).__module__.split(".")[0]
    if library == "dateutil" and hasattr(zone, "_filename"):
        return f"dateutil/{zone._filename}"
    offset = zone.utcoffset(None)
    if offset is not None:
        return f"fixed/{offset // datetime.timedelta(microseconds=1)}"
    return str(zone)


def _zone(text: str | None) -> Any:
    """Undo `_zone_text`."""
    if text is None:
        return None
    library, _, name = text.partition("/")
    if library == "fixed":
        offset = datetime.timedelta(microseconds=int(name))
        return datetime.timezone(offset) if offset else datetime.timezone.utc
    return text


def _dates(values: np.ndarray, unit: str, zone: str | None, freq: Any, name: Any) -> Any:
    index = pd.DatetimeIndex(values.view(f"M8[{unit}]"), name=name)
    if zone is not None:
        index = index.tz_localize("UTC").tz_convert(_zone(zone))
    return pd.DatetimeIndex(index, freq=freq)


def _parts_of_dates(index: pd.DatetimeIndex) -> dict[str, Any]:
    return {
        "values": index.asi8,
        "unit": index.unit,
        "zone": _zone_text(index.tz),
        "freq": index.freq,
        "name": index.name,
    }


def _timestamp(value: int, unit: str, zone: str | None) -> Any:
    moment = pd.Timestamp(np.int64(value).view(f"M8[{unit}]"))
    return moment if zone is None else moment.tz_localize("UTC").tz_convert(_zone(zone))


def _parts_of_timestamp(moment: pd.Timestamp) -> dict[str, Any]:
    value = moment.asm8 if moment.tz is None else moment.tz_convert("UTC").tz_localize(None).asm8
    return {
        "value": int(value.astype(np.int64)),
        "unit": moment.unit,
        "zone": _zone_text(moment.tz),
    }


def _periods(ordinals: np.ndarray, freq: str, name: Any) -> Any:
    make: Any = pd.PeriodIndex  # whose stubs lack the method
    return make.from_ordinals(ordinals, freq=freq, name=name)


def _index(values: np.ndarray, dtype: str, name: Any) -> Any:
    return pd.Index(values, dtype=dtype, name=name)


def _parts_of_index(index: pd.Index) -> dict[str, Any]:
    # of text and of extension types: their items, missing ones included
    numeric = isinstance(index.dtype, np.dtype) and index.dtype.kind != "O"
    values = index.to_numpy() if numeric else np.asarray(index, dtype=object)
    return {"values": values, "dtype": _dtype_text(index.dtype), "name": index.name}


def _dtype_text(dtype: Any) -> str:
    """Return a name of a type that pandas takes; two of its kinds of text share one."""
    if isinstance(dtype, pd.StringDtype):
        return "str" if dtype.na_value is not pd.NA else f"string[{dtype.storage}]"
    return str(dtype)


def _parts_of_offset(offset: Any) -> dict[str, Any]:
    # the calendar of numpy follows from the week and the holidays
    details = {name: part for name, part in offset.kwds.items() if name != "calendar"}
    return {"n": offset.n, "normalize": offset.normalize, "details": details}


def _kind_of_offset(cls: Any) -> Kind:
    def whole(n: int, normalize: bool, details: dict[str, Any]) -> Any:
        return cls(n, normalize=normalize, **details)

    return Kind(cls, _parts_of_offset, whole, f"offset {cls.__name__}")


_NAT = Kind(type(pd.NaT), lambda value: {}, lambda: pd.NaT, "NaT")
_NA = Kind(type(pd.NA), lambda value: {}, lambda: pd.NA, "NA")

_OFFSETS = {cls for cls in vars(offsets).values() if isinstance(cls, type)} - {offsets.BaseOffset}

#: Kinds of times, indexes and frequencies.
TIME_KINDS: list[Kind] = [
    _NAT,
    _NA,
    Kind(pd.DatetimeIndex, _parts_of_dates, _dates),
    Kind(pd.Timestamp, _parts_of_timestamp, _timestamp),
    Kind(
        pd.PeriodIndex,
        lambda index: {"ordinals": index.asi8, "freq": index.freqstr, "name": index.name},
        _periods,
    ),
    Kind(
        pd.Period,
        lambda period: {"ordinal": period.ordinal, "freq": period.freqstr},
        lambda ordinal, freq: pd.Period(ordinal=ordinal, freq=freq),
    ),
    Kind(
        pd.TimedeltaIndex,
        lambda index: {
            "values": index.asi8,
            "unit": index.unit,
            "freq": index.freq,
            "name": index.name,
        },
        lambda values, unit, freq, name: pd.TimedeltaIndex(
            values.view(f"m8[{unit}]"), freq=freq, name=name
        ),
    ),
    Kind(
        pd.Timedelta,
        lambda span: {"value": int(span.asm8.astype(np.int64)), "unit": span.unit},
        lambda value, unit: pd.Timedelta(np.timedelta64(value, unit)),
    ),
    Kind(
        datetime.timedelta,
        lambda span: {"microseconds": span // datetime.timedelta(microseconds=1)},
        lambda microseconds: datetime.timedelta(microseconds=microseconds),
    ),
    Kind(
        pd.RangeIndex,
        lambda index: {
            "start": index.start,
            "stop": index.stop,
            "step": index.step,
            "name": index.name,
        },
        lambda start, stop, step, name: pd.RangeIndex(start, stop, step, name=name),
    ),
    Kind(
        pd.CategoricalIndex,
        lambda index: {
            "codes": index.codes,
            "categories": index.categories,
            "ordered": index.ordered,
            "name": index.name,
        },
        lambda codes, categories, ordered, name: pd.CategoricalIndex(
            pd.Categorical.from_codes(codes, categories=categories, ordered=ordered), name=name
        ),
    ),
    Kind(
        pd.MultiIndex,
        lambda index: {
            "levels": list(index.levels),
            "codes": [np.asarray(codes) for codes in index.codes],
            "names": list(index.names),
        },
        lambda levels, codes, names: pd.MultiIndex(levels=levels, codes=codes, names=names),
    ),
    Kind(pd.Index, _parts_of_index, _index),
    *map(_kind_of_offset, _OFFSETS),
]
