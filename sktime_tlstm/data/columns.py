"""Columns: what one column of a frame holds, as numbers, as categories, or once a series."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = [
    "find_categories",
    "is_categorical",
    "numeric_values",
    "sampled_values",
    "static_values",
]

#: Rows that statistics are computed from, evenly spaced where there are more.
MAX_STATISTIC_ROWS = 2**18


def is_categorical(column: pd.Series) -> bool:
    """Whether a column of X holds categories: strings, objects or pandas categories."""
    kind = column.dtype
    return isinstance(kind, pd.CategoricalDtype) or (
        not pd.api.types.is_numeric_dtype(kind)
        and (pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind))
    )


def find_categories(column: pd.Series) -> pd.Index:
    """Return the distinct values of a column of categories, in order of appearance."""
    try:
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.drop_duplicates()
        return pd.Index(column.dropna().astype(object).unique())
    except TypeError as error:  # not hashable
        raise _type_error(column) from error


def sampled_values(column: pd.Series) -> np.ndarray:
    """Return a column as float64, NaN where missing; of evenly spaced rows where it is long."""
    return numeric_values(column.iloc[:: max(1, -(-len(column) // MAX_STATISTIC_ROWS))])


def static_values(column: pd.Series, bounds: np.ndarray) -> pd.Series:
    """Return the one value that a column has in each series; missing where it has none.

    Parameters
    ----------
    column : pandas.Series
    bounds : numpy.ndarray of int64, shape (num_series + 1,)
        First row of each series, and the number of rows.

    Raises
    ------
    ValueError
        If a series has several values: the column and two of its rows are named.
    """
    observed = np.flatnonzero(column.notna().to_numpy())
    codes, _ = pd.factorize(column.iloc[observed])
    owner = np.searchsorted(bounds, observed, side="right") - 1
    owners, first = np.unique(owner, return_index=True)
    differs = codes != np.repeat(codes[first], np.diff(first, append=len(owner)))
    if differs.any():
        row = int(np.argmax(differs))
        rows = column.iloc[[observed[first[np.searchsorted(owners, owner[row])]], observed[row]]]
        values = rows.tolist()  # of Python's own types
        raise ValueError(
            f"Got static_covariates with the column {column.name!r}, which changes within a "
            f"series: {values[0]!r} at {rows.index[0]}, {values[1]!r} at {rows.index[1]}; "
            "expected one value a series. Leave it out of static_covariates: it is then known "
            "step by step."
        )
    # The first row of a series stands in where it has no value: that is missing too.
    representative = bounds[:-1].copy()
    representative[owners] = observed[first]
    return column.iloc[representative]


def _type_error(column: pd.Series) -> TypeError:
    return TypeError(
        f"Got the column {column.name!r} of type {column.dtype}, expected numbers, booleans or "
        "categories (strings). Convert it, for instance by `astype(float)`."
    )


def numeric_values(column: pd.Series) -> np.ndarray:
    """Return a column as float64, NaN where missing.

    Raises
    ------
    TypeError
        If it is not numeric.
    ValueError
        If a value is infinite: the column and the first such row are named.
    """
    if getattr(column.dtype, "kind", "") in "mM":  # numpy would count nanoseconds
        raise _type_error(column)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise _type_error(column) from error
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"Got an infinite value in column {column.name!r} at {column.index[row]}, expected "
            "finite values or NaN. Replace it: `frame.replace([np.inf, -np.inf], np.nan)`."
        )
    return values
