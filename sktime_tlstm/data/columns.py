"""Columns: what one column of a frame holds, as numbers, as categories, or once a series."""

from __future__ import annotations

import numbers
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sktime_tlstm.notices import notify

__all__ = [
    "MAX_RATIO",
    "MAX_SIZE",
    "category_codes",
    "category_text",
    "find_categories",
    "is_categorical",
    "numeric_values",
    "refuse_far",
    "refuse_marks",
    "row_weights",
    "sampled",
    "sampled_values",
    "static_values",
    "trained_numbers",
    "warn_of_numbers",
    "without_objects",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Rows that statistics are computed from, evenly spaced where there are more.
MAX_STATISTIC_ROWS = 2**18
#: The largest value that float32 can square in the units of y after any sensible scaling.
MAX_SIZE = 1e30
#: A value this many times the column's small ones leaves nothing of them in float64.
MAX_RATIO = 1e15
#: The quantile of a column's sizes that the largest is compared with. Small, for a column may hold
#: more marks for missing values than observations.
SMALL_QUANTILE = 0.1

#: Texts are numbers rather than names where at least this share of them can be read as such, and
#: there are more of them than categories: than half of the rows, where these are between the two.
NUMBERS_SHARE, FEW_VALUES, MANY_VALUES = 0.9, 10, 50
#: Whole numbers may be codes: of these there are fewer, for every row and for every series.
CODES_PER_ROW = 0.1

NUMBERS = (numbers.Real, Decimal, np.bool_)
TEXTS = (str, bytes)


# Kinds.


def is_categorical(column: pd.Series) -> bool:
    """Whether a column of X holds categories: strings, or a pandas categorical of anything.

    Objects are looked at one by one: numbers (booleans, `decimal.Decimal` and
    `fractions.Fraction` are some) make a numeric column, strings a categorical one.

    Raises
    ------
    TypeError
        If objects are of both kinds, or of neither.
    """
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return True
    if not pd.api.types.is_object_dtype(kind):
        return pd.api.types.is_string_dtype(kind)
    values = _distinct(column)
    for kinds in (TEXTS, NUMBERS):
        if len(values) and _is(values[0], kinds):
            for value in values:
                if not _is(value, kinds):
                    raise _type_error(column, value)
            return kinds is TEXTS
    if len(values):
        raise _type_error(column, values[0])
    return True  # nothing tells: no number that could be scaled


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    # numpy counts its durations among the integers.
    return isinstance(value, kinds) and not isinstance(value, np.timedelta64)


def _distinct(column: pd.Series) -> npt.NDArray[np.object_]:
    """Return the distinct values of a column as objects, in order of appearance."""
    try:
        return column.drop_duplicates().dropna().astype(object).to_numpy()
    except TypeError as error:  # not hashable
        raise _type_error(column, column.dropna().iloc[0]) from error


def _type_error(column: pd.Series, value: object = None) -> TypeError:
    if value is None and column.notna().any():
        value = column[column.notna()].iloc[0]
    found = "" if value is None else f" with the value {value!r} ({type(value).__name__})"
    advice = "Convert it, for instance by `astype(float)` or `astype(str)`."
    if isinstance(value, (pd.Timestamp, pd.Period)):
        advice = (
            f"If these are the times of the rows, make them the index: `frame.set_index("
            f"{column.name!r})`; else leave the column out, the calendar is read from the index."
        )
    return TypeError(
        f"Got the column {column.name!r} of type {column.dtype}{found}, expected numbers, booleans "
        f"or categories (strings), and one kind in a column. {advice}"
    )


# Categories.


def find_categories(column: pd.Series) -> pd.Index:
    """Return the distinct values of a column of categories as text, in order of appearance."""
    return pd.Index(
        [category_text(value) for value in _category_values(column)], dtype=object
    ).unique()


def category_codes(column: pd.Series, known: pd.Index) -> tuple[pd.Index, Integers]:
    """Return the distinct values of a column, and their codes: place in ``known``, from 1.

    A value is found by its text, so that it may come in another dtype than in training: 7, 7.0,
    ``"7"`` and ``b"7"`` are one value. White space around it does not matter. Where no value of
    the column is found, numbers and booleans that are written otherwise are (``"07"``, ``True``
    for 1): then it is the dtype that changed. A value that was not in training has code 0.

    Raises
    ------
    TypeError
        If the column holds neither text nor numbers, or both.
    """
    values = _category_values(column)
    texts = [category_text(value) for value in values]
    codes = np.asarray(known.get_indexer(pd.Index(texts, dtype=object)) + 1)
    for as_written in (str.strip, _as_number):
        if as_written is _as_number and codes.any():
            break
        table = _unambiguous([as_written(text) for text in known])
        codes = np.array(
            [
                code or table.get(as_written(text), 0)
                for code, text in zip(codes.tolist(), texts, strict=True)
            ],
            dtype=np.int64,
        )
    return pd.Index(values, dtype=object), codes


def _category_values(column: pd.Series) -> npt.NDArray[np.object_]:
    kind = column.dtype
    if pd.api.types.is_object_dtype(kind):
        is_categorical(column)  # raises if it holds what it should not
    elif not (isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_string_dtype(kind)):
        _check_numeric(column)
    return _distinct(column)


def category_text(value: Any) -> str:
    """Return the text that a category is known by."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    # A missing value makes integers floats; that is no other category.
    if _is(value, NUMBERS) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _as_number(text: str) -> str:
    text = text.strip()
    text = {"True": "1", "False": "0"}.get(text, text)
    try:
        return category_text(float(text))
    except ValueError:
        return text


def warn_of_numbers(column: pd.Series, texts: pd.Index, num_series: int) -> None:
    """Warn of numbers that became categories because they were read as text.

    Parameters
    ----------
    column : pandas.Series
    texts : pandas.Index of str
        Its categories.
    num_series : int
        Series that its rows are of; a code may be that of a series.
    """
    num_rows = int(column.notna().sum())
    few = max(FEW_VALUES, min(MANY_VALUES, num_rows / 2))
    if isinstance(column.dtype, pd.CategoricalDtype) or len(texts) <= few:
        return
    numbers = {text: _written_number(text) for text in texts}
    found = [number for number in numbers.values() if number is not None]
    coded = any(len(text) > 1 and text[0] == "0" and text.isdigit() for text in texts)
    if coded or len(found) < NUMBERS_SHARE * len(texts):
        return
    whole = sum(number.is_integer() for number in found) > len(found) / 2
    if whole and len(texts) <= max(MANY_VALUES, CODES_PER_ROW * num_rows, num_series):
        return
    written = [text for text in texts if numbers[text] is not None]
    example = next((text for text in written if "," in text), written[0])
    mark = next((text for text in texts if numbers[text] is None), None)
    but = "" if mark is None else f" (but not {mark!r})"
    notify(
        f"Got X with the column {column.name!r} of text, whose {len(texts):,} values are numbers "
        f"such as {example!r}{but}: each becomes a category, which tells nothing of the others. If "
        "amounts are meant, read them as numbers, by decimal=',' and na_values of pd.read_csv (or "
        "of data.csv) or by pd.to_numeric(column, errors='coerce'); if names are meant, pass "
        "column.astype('category')."
    )


def _written_number(text: str) -> float | None:
    """Return the number that a text is, with a decimal point or comma; None if it is none."""
    for as_written in (text, text.replace(".", "").replace(",", "."), text.replace(",", "")):
        try:
            number = float(as_written)
        except ValueError:
            continue
        return number if np.isfinite(number) else None
    return None


def _unambiguous(texts: list[str]) -> dict[str, int]:
    """Return the code of each text that stands for one category alone."""
    table: dict[str, int] = {}
    for code, text in enumerate(texts, start=1):
        table[text] = 0 if text in table else code
    return table


# Numbers.


def sampled(column: pd.Series) -> pd.Series:
    """Return a column, or evenly spaced rows of it where it is long."""
    return column.iloc[:: max(1, -(-len(column) // MAX_STATISTIC_ROWS))]


def sampled_values(column: pd.Series) -> Floats:
    """Return a column as float64, NaN where missing; of evenly spaced rows where it is long."""
    return numeric_values(sampled(column))


def numeric_values(column: pd.Series) -> Floats:
    """Return a column as float64, NaN where missing.

    Raises
    ------
    TypeError
        If it is not numeric; strings of digits are not.
    ValueError
        If a value is infinite: the column and the first such row are named.
    """
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_object_dtype(kind):
        values = _numbers_of_objects(column)
    else:
        _check_numeric(column)
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"Got an infinite value in column {column.name!r} at {column.index[row]}, expected "
            "finite values or NaN. Replace it: `frame.replace([np.inf, -np.inf], np.nan)`."
        )
    return values


def trained_numbers(column: pd.Series) -> Floats:
    """Return what `numeric_values` does, of a column of X that was numeric in training.

    Raises
    ------
    TypeError
        If it is not numeric now.
    ValueError
        If a value is infinite.
    """
    try:
        return numeric_values(column)
    except TypeError as error:
        others = (value for value in column.dropna() if not _is(value, NUMBERS))
        value = next(others, None)
        kind = "text" if _is(value, TEXTS) else "value"
        found = "" if value is None else f" with the {kind} {value!r}"
        raise TypeError(
            f"Got the column {column.name!r} of type {column.dtype}{found}, expected "
            "numbers: it was numeric in training. Convert it, text by "
            f"`pandas.to_numeric(X[{column.name!r}])`."
        ) from error


def without_objects(y: Any) -> Any:
    """Return y with columns of objects that are numbers or missing as float64.

    sktime, which has y first, takes every column of objects for categories.
    """
    if isinstance(y, pd.Series):
        if not _is_numbers(y):
            return y
        return pd.Series(numeric_values(y), y.index, name=y.name)
    if not isinstance(y, pd.DataFrame) or not y.columns.is_unique:
        return y
    found = [name for name in y.columns if _is_numbers(y[name])]
    if found:
        y = y.copy()
        for name in found:
            y[name] = numeric_values(y[name])
    return y


def _is_numbers(column: pd.Series) -> bool:
    """Whether objects are numbers, where they are not missing."""
    objects = pd.api.types.is_object_dtype(column.dtype)
    return objects and all(_is(value, NUMBERS) for value in column.dropna())


def _check_numeric(column: pd.Series) -> None:
    kind = getattr(column.dtype, "kind", "")
    # numpy would count the nanoseconds of dates and drop the imaginary parts of complex numbers.
    if kind in "mMc" or not pd.api.types.is_numeric_dtype(column.dtype):
        raise _type_error(column)


def _numbers_of_objects(column: pd.Series) -> Floats:
    observed = column.notna().to_numpy()
    values = np.full(len(column), np.nan)
    found = []
    for value in column.astype(object).to_numpy()[observed]:
        if not _is(value, NUMBERS):
            raise _type_error(column, value)
        try:
            found.append(float(value))
        except OverflowError:  # an integer beyond float64 is refused as infinite
            found.append(np.inf)
    values[observed] = found
    return values


def refuse_marks(column: pd.Series, values: Floats) -> None:
    """Refuse values that mark missing ones, such as NetCDF's 9.97e36.

    Parameters
    ----------
    column : pandas.Series
    values : numpy.ndarray of float64
        Its values.

    Raises
    ------
    ValueError
        If a size is above 1e30, which overflows in float32; or above 1e15 and 1e15 times the
        small ones of the column, of which rounding would leave nothing.
    """
    size = np.abs(values)
    if not (size > MAX_RATIO).any():  # NaN compares as False
        return
    small = np.nanquantile(size[size > 0], SMALL_QUANTILE, method="lower")
    limit = min(MAX_SIZE, MAX_RATIO * max(1.0, float(small)))
    refuse_far(column, values, size > limit)


def refuse_far(column: pd.Series, values: Floats, far: npt.NDArray[np.bool_]) -> None:
    """Raise a ValueError that names the first value that is too far from the others."""
    if far.any():
        row = int(np.argmax(far))
        raise ValueError(
            f"Got the value {values[row]:.6g} in column {column.name!r} at {column.index[row]}, "
            "expected values of the size of the others: it looks like a mark for a missing value. "
            "Set it to NaN."
        )


# One value a series.


def row_weights(column: pd.Series) -> npt.NDArray[np.float32]:
    """Return the weights of a column, refusing what is none."""
    if isinstance(column.dtype, pd.CategoricalDtype) or (len(column) and is_categorical(column)):
        raise TypeError(
            f"Got the column {column.name!r} of type {column.dtype}, which weight_column names; "
            "expected numbers. Convert it, for instance by `astype(float)`."
        )
    values = numeric_values(column.replace([np.inf, -np.inf], np.nan))
    with np.errstate(over="ignore", under="ignore"):
        weights = values.astype(np.float32)
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"Got the weight {column.iloc[row]} in column {column.name!r} at {column.index[row]}, "
            "expected a finite number of at least 0. Pass 0 for a row that is not to be learnt "
            "from."
        )
    return weights


def static_values(column: pd.Series, owner: Integers) -> pd.Series:
    """Return the one value that a column has in each series; missing where it has none.

    Parameters
    ----------
    column : pandas.Series
    owner : numpy.ndarray of int64
        Number of the series of each row; the rows of one need not lie together.

    Returns
    -------
    pandas.Series of shape (num_series,)

    Raises
    ------
    ValueError
        If a series has several values: the column and two of its rows are named.
    """
    observed = np.flatnonzero(column.notna().to_numpy())
    codes: npt.NDArray[np.int64] = pd.factorize(column.iloc[observed])[0]
    owners, first, place = np.unique(owner[observed], return_index=True, return_inverse=True)
    differs = codes != codes[first][place]  # (observed row,): from the first of its series
    if differs.any():
        row = int(np.argmax(differs))
        rows = column.iloc[[observed[first[place[row]]], observed[row]]]
        values = rows.tolist()  # of Python's own types
        raise ValueError(
            f"Got static_covariates with the column {column.name!r}, which changes within a "
            f"series: {values[0]!r} at {rows.index[0]}, {values[1]!r} at {rows.index[1]}; "
            "expected one value a series. Leave it out of static_covariates: it is then known "
            "step by step."
        )
    # The first row of a series stands in where it has no value: that is missing too.
    representative = np.unique(owner, return_index=True)[1]  # (num_series,)
    representative[owners] = observed[first]
    return column.iloc[representative]
