"""Scaling: the scalers of targets and covariates, which bring numbers to one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["SCALERS", "CovariateScaling", "location_scale"]

#: Outer quantiles of the training data that scaled covariates are clipped to.
CLIP_QUANTILES = (0.005, 0.995)
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
