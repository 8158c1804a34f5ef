"""Scaling: the columns of frames as numbers, and the scalers that bring them to one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

__all__ = [
    "SCALERS",
    "CovariateScaling",
    "find_categories",
    "is_categorical",
    "location_scale",
    "numeric_values",
    "sampled_values",
    "static_values",
]

#: Outer quantiles of the training data that scaled covariates are clipped to.
CLIP_QUANTILES = (0.005, 0.995)
#: Rows that statistics are computed from, evenly spaced where there are more.
MAX_STATISTIC_ROWS = 2**18
#: Factor that makes the median absolute deviation estimate a normal standard deviation.
MAD_TO_STD = 1.4826


def _median_mad(values: np.ndarray) -> tuple[float, float]:
    median = float(np.median(values))
    return median, MAD_TO_STD * float(np.median(np.abs(values - median)))


def _min_range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max() - values.min())


#: Scalers by name: a function of the observed values to (location, scale).
SCALERS: dict[str | None, Callable[[np.ndarray], tuple[float, float]]] = {
    "robust_arcsinh": _median_mad,
    "robust": _median_mad,
    "standard": lambda values: (float(values.mean()), float(values.std())),
    "minmax": _min_range,
    "mean": lambda values: (0.0, float(np.abs(values).mean())),
    None: lambda values: (0.0, 1.0),
}


def location_scale(values: np.ndarray, scaler: str | None) -> tuple[float, float]:
    """Return the location and the positive scale of a scaler.

    Where the scale vanishes (a column that is mostly one value has no median deviation) the
    standard deviation stands in; for a constant its size; for zero, one.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 1.0
    location, scale = SCALERS[scaler](values)
    smallest = 1e-9 * abs(location)  # below this, differences are rounding errors
    for candidate in (scale, float(values.std()), abs(location)):
        if candidate > smallest and np.isfinite(candidate):
            return location, candidate
    return location, 1.0


@dataclass(frozen=True)
class CovariateScaling:
    """Clips and scales a covariate; a column of zeros and ones stays as it is.

    Parameters
    ----------
    location, scale : float
    low, high : float
        Bounds of the values.
    arcsinh : bool
        Whether the arcsinh is taken after scaling.
    mean : float
        Mean of the scaled training values.
    """

    location: float
    scale: float
    low: float
    high: float
    arcsinh: bool
    mean: float = 0.0

    @classmethod
    def fit(cls, values: np.ndarray, scaler: str | None) -> CovariateScaling:
        """Learn the scaling from training values, which may be NaN."""
        values = values[~np.isnan(values)]
        if np.isin(values, (0.0, 1.0)).all():
            scaling = cls(0.0, 1.0, 0.0, 1.0, False)
        else:
            location, scale = location_scale(values, scaler)
            low, high = np.quantile(values, CLIP_QUANTILES)
            scaling = cls(location, scale, low, high, scaler == "robust_arcsinh")
        return replace(scaling, mean=float(scaling(values).mean()) if len(values) else 0.0)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values."""
        scaled = (np.clip(values, self.low, self.high) - self.location) / self.scale
        return np.arcsinh(scaled) if self.arcsinh else scaled


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
