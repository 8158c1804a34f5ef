"""Distributions beyond torch: quantiles at any level by scipy, and skpro distribution objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sktime_tlstm.nn import FAMILIES

__all__ = ["SCIPY", "SKPRO", "empirical", "parametric", "quantile", "stacked", "variance"]

#: The lowest level whose quantile is computed: below it, scipy's of Student's t are infinite.
MIN_ALPHA = 1e-100

#: Families of `sktime_tlstm.nn.FAMILIES` as scipy distributions: a function of the parameters
#: (on the last axis) and the unit to a frozen distribution of the scaled value (counts: of the
#: count).
SCIPY: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "normal": lambda p, unit: stats.norm(p[..., 0], p[..., 1]),
    "student_t": lambda p, unit: stats.t(p[..., 0], p[..., 1], p[..., 2]),
    "laplace": lambda p, unit: stats.laplace(p[..., 0], p[..., 1]),
    "log_normal": lambda p, unit: stats.lognorm(p[..., 1], scale=np.exp(p[..., 0])),
    "gamma": lambda p, unit: stats.gamma(p[..., 1], scale=p[..., 0] / p[..., 1]),
    "negative_binomial": lambda p, unit: stats.nbinom(
        1 / p[..., 1], 1 / (1 + unit * p[..., 0] * p[..., 1])
    ),
    "poisson": lambda p, unit: stats.poisson(unit * p[..., 0]),
}

#: The same families as skpro distributions of the value itself: the name of skpro's class, and a
#: function of parameters, location and scale to its arguments.
SKPRO: dict[str, tuple[str, Callable[..., dict[str, np.ndarray]]]] = {
    "normal": (
        "Normal",
        lambda p, loc, scale: {"mu": loc + scale * p[..., 0], "sigma": scale * p[..., 1]},
    ),
    "student_t": (
        "TDistribution",
        lambda p, loc, scale: {
            "mu": loc + scale * p[..., 1],
            "sigma": scale * p[..., 2],
            "df": p[..., 0],
        },
    ),
    "laplace": (
        "Laplace",
        lambda p, loc, scale: {"mu": loc + scale * p[..., 0], "scale": scale * p[..., 1]},
    ),
    "log_normal": (
        "LogNormal",
        lambda p, loc, scale: {"mu": np.log(scale) + p[..., 0], "sigma": p[..., 1]},
    ),
    "gamma": (
        "Gamma",
        lambda p, loc, scale: {"alpha": p[..., 1], "beta": p[..., 1] / (scale * p[..., 0])},
    ),
    "negative_binomial": (
        "NegativeBinomial",
        lambda p, loc, scale: {"mu": scale * p[..., 0], "alpha": 1 / p[..., 1]},
    ),
    "poisson": ("Poisson", lambda p, loc, scale: {"mu": scale * p[..., 0]}),
}


def quantile(
    family: str, parameters: np.ndarray, alphas: np.ndarray, unit: np.ndarray
) -> np.ndarray:
    """Return quantiles of scaled values.

    Parameters
    ----------
    family : str
        Key of SCIPY.
    parameters : numpy.ndarray of shape (..., parameter)
    alphas : numpy.ndarray broadcastable with (...)
        Levels strictly between 0 and 1.
    unit : numpy.ndarray broadcastable with (...)
        Factor from scaled values to counts; 1 for families that are no counts.
    """
    alphas = np.maximum(alphas, MIN_ALPHA)
    values = SCIPY[family](np.asarray(parameters, dtype=np.float64), unit).ppf(alphas)
    return values / unit


def variance(family: str, parameters: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the variance (row, target) of values ``loc + scale * scaled``, as `parametric`."""
    values = SCIPY[family](parameters, scale).var()
    return values if FAMILIES[family].support == "count" else scale**2 * values


def parametric(
    family: str,
    parameters: np.ndarray,
    loc: np.ndarray,
    scale: np.ndarray,
    index: pd.Index,
    columns: pd.Index,
) -> Any:
    """Return skpro's distribution of values ``loc + scale * scaled``.

    Parameters
    ----------
    family : str
        Key of SKPRO.
    parameters : numpy.ndarray of shape (row, target, parameter)
    loc, scale : numpy.ndarray of shape (row, target)
    """
    from skpro import distributions

    name, arguments = SKPRO[family]
    values = arguments(parameters, loc, scale)
    return getattr(distributions, name)(**values, index=index, columns=columns)


def empirical(values: np.ndarray, index: pd.Index, columns: pd.Index) -> Any:
    """Return skpro's empirical distribution of equally likely values (row, target, value)."""
    from skpro.distributions import Empirical

    return Empirical(stacked(values, index, columns), index=index, columns=columns)


def stacked(values: np.ndarray, index: pd.Index, columns: Any) -> pd.DataFrame:
    """Return values (row, target, sample) as a frame indexed by (sample, levels of index)."""
    number = values.shape[-1]
    rows = index.append([index] * (number - 1))
    levels = [rows.get_level_values(level) for level in range(index.nlevels)]
    sample = pd.Index(np.arange(number).repeat(len(index)))
    stack = pd.MultiIndex.from_arrays([sample, *levels], names=["sample", *index.names])
    return pd.DataFrame(np.moveaxis(values, -1, 0).reshape(len(stack), -1), stack, columns)
