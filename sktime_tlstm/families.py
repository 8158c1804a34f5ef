"""Families of distributions beyond torch: scipy's quantiles, and skpro's distribution objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special, stats
from torch import Tensor

from sktime_tlstm.nn import FAMILIES, Head

__all__ = [
    "READINGS",
    "Parametric",
    "empirical",
    "quantile",
    "quantiles",
    "square",
    "stacked",
    "student_t",
]

#: The lowest level whose quantile is computed: below it, scipy's of Student's t are infinite.
MIN_ALPHA = 1e-100


#: Means from which on Poisson quantiles are expanded, where scipy's become slow and then NaN.
LARGE_MEAN = 1e9


class _Poisson(type(stats.poisson)):  # type: ignore[misc]
    """scipy's Poisson distribution, with finite quantiles for any mean.

    Those of large means are expanded around the normal distribution (Cornish and Fisher 1938,
    "Moments and cumulants in the specification of distributions"), with the skewness
    ``1 / sqrt(mean)``: ``mean + sqrt(mean) z + (z ** 2 - 1) / 6``, within a few counts of exact.
    """

    def _ppf(self, q: np.ndarray, mu: np.ndarray) -> np.ndarray:
        z = special.ndtri(q)
        expanded = np.ceil(mu + np.sqrt(mu) * z + (z**2 - 1) / 6)
        return np.where(mu < LARGE_MEAN, super()._ppf(q, np.minimum(mu, LARGE_MEAN)), expanded)


_poisson = _Poisson(name="poisson", longname="A Poisson")


@dataclass(frozen=True)
class Reading:
    """How scipy and skpro read the parameters of one of `sktime_tlstm.nn.FAMILIES`.

    Parameters
    ----------
    scipy : callable
        A function of the parameters (on the last axis) and the unit to a frozen distribution of
        the scaled value; for counts, of the count.
    skpro : str
        Name of skpro's class.
    arguments : callable
        A function of parameters, location and scale to the arguments of skpro's class, which is
        the distribution of the value itself.
    """

    scipy: Callable[[np.ndarray, np.ndarray], Any]
    skpro: str
    arguments: Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]


#: Readings by name of the family.
READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        "normal": Reading(
            lambda p, unit: stats.norm(p[..., 0], p[..., 1]),
            "Normal",
            lambda p, loc, scale: {"mu": loc + scale * p[..., 0], "sigma": scale * p[..., 1]},
        ),
        "student_t": Reading(
            lambda p, unit: stats.t(p[..., 0], p[..., 1], p[..., 2]),
            "TDistribution",
            lambda p, loc, scale: {
                "mu": loc + scale * p[..., 1],
                "sigma": scale * p[..., 2],
                "df": p[..., 0],
            },
        ),
        "laplace": Reading(
            lambda p, unit: stats.laplace(p[..., 0], p[..., 1]),
            "Laplace",
            lambda p, loc, scale: {"mu": loc + scale * p[..., 0], "scale": scale * p[..., 1]},
        ),
        "log_normal": Reading(
            lambda p, unit: stats.lognorm(p[..., 1], scale=np.exp(p[..., 0])),
            "LogNormal",
            lambda p, loc, scale: {"mu": np.log(scale) + p[..., 0], "sigma": p[..., 1]},
        ),
        "gamma": Reading(
            lambda p, unit: stats.gamma(p[..., 1], scale=p[..., 0] / p[..., 1]),
            "Gamma",
            lambda p, loc, scale: {"alpha": p[..., 1], "beta": p[..., 1] / (scale * p[..., 0])},
        ),
        "negative_binomial": Reading(
            lambda p, unit: stats.nbinom(1 / p[..., 1], 1 / (1 + unit * p[..., 0] * p[..., 1])),
            "NegativeBinomial",
            lambda p, loc, scale: {"mu": scale * p[..., 0], "alpha": 1 / p[..., 1]},
        ),
        "poisson": Reading(
            lambda p, unit: _poisson(unit * p[..., 0]),
            "Poisson",
            lambda p, loc, scale: {"mu": scale * p[..., 0]},
        ),
    }
)


@dataclass(frozen=True)
class Parametric:
    """Distributions of one family of values ``loc + scale * scaled``.

    Parameters
    ----------
    family : str
        Key of READINGS.
    parameters : numpy.ndarray of shape (row, target, parameter)
        Of the scaled values.
    loc, scale : numpy.ndarray of shape (row, target)
    """

    family: str
    parameters: np.ndarray
    loc: np.ndarray
    scale: np.ndarray

    def variance(self) -> np.ndarray:
        """Return the variance (row, target)."""
        values = READINGS[self.family].scipy(self.parameters, self.scale).var()
        return values if FAMILIES[self.family].support == "count" else self.scale**2 * values

    @property
    def suits_skpro(self) -> bool:
        """Whether skpro's distribution, which is scipy's, has finite quantiles."""
        mean = self.scale * self.parameters[..., 0]
        return self.family != "poisson" or bool((mean < LARGE_MEAN).all())

    def skpro(self, index: pd.Index, columns: pd.Index) -> Any:
        """Return skpro's distribution, with the labels of rows and targets."""
        reading = READINGS[self.family]
        arguments = reading.arguments(self.parameters, self.loc, self.scale)
        return getattr(_skpro(), reading.skpro)(**arguments, index=index, columns=columns)


def quantiles(head: Head, parameters: Tensor, level: Tensor, unit: Tensor) -> Tensor:
    """Return quantiles of scaled values as a head gives them; its point if it knows none.

    Parameters
    ----------
    head : Head
    parameters : Tensor of shape (..., window, step, num_targets, parameter)
    level : Tensor broadcastable with (..., window, step, num_targets, alpha)
        Levels strictly between 0 and 1.
    unit : Tensor of shape (window, num_targets)
        Factor from scaled values to counts.

    Returns
    -------
    Tensor of shape (..., window, step, num_targets, alpha), float64
    """
    parameters = parameters.double()
    # (..., num_targets, 1, parameter) beside levels (..., num_targets, alpha)
    if head.has_quantiles:
        return head.quantile_at(parameters[..., None, :], level)
    if head.distribution is None:
        return head.point(parameters)[..., None] + torch.zeros_like(level)
    factor = unit if head.support == "count" else torch.ones_like(unit)
    # (window, num_targets) -> (window, 1, num_targets, 1), beside (..., alpha)
    factor = factor[:, None, :, None].double()
    arrays = parameters[..., None, :].numpy(), level.numpy(), factor.numpy()
    return torch.from_numpy(quantile(head.distribution, *arrays))


def quantile(
    family: str, parameters: np.ndarray, alphas: np.ndarray, unit: np.ndarray
) -> np.ndarray:
    """Return quantiles of scaled values.

    Parameters
    ----------
    family : str
        Key of READINGS.
    parameters : numpy.ndarray of shape (..., parameter)
    alphas : numpy.ndarray broadcastable with (...)
        Levels strictly between 0 and 1.
    unit : numpy.ndarray broadcastable with (...)
        Factor from scaled values to counts; 1 for families that are no counts.
    """
    alphas = np.maximum(alphas, MIN_ALPHA)
    values = READINGS[family].scipy(np.asarray(parameters, dtype=np.float64), unit).ppf(alphas)
    return values / unit


def student_t(alphas: np.ndarray, degrees: float) -> np.ndarray:
    """Return quantiles of Student's t distribution with so many degrees of freedom."""
    return np.asarray(stats.t.ppf(alphas, degrees))


def empirical(values: np.ndarray, index: pd.Index, columns: pd.Index) -> Any:
    """Return skpro's empirical distribution of equally likely values (row, target, value)."""
    return _skpro().Empirical(stacked(values, index, columns), index=index, columns=columns)


def square(values: np.ndarray, index: pd.Index, columns: Any) -> pd.DataFrame:
    """Return covariances (series, target, step, step) as a frame of the rows of index by time.

    Where there are several targets the columns are (target, time). Times that are not forecast of
    a series are NaN in its rows.
    """
    series, targets, steps, _ = values.shape
    times = index.get_level_values(-1)
    distinct = times if series == 1 else times.unique().sort_values()
    place = distinct.get_indexer(times).reshape(series, 1, 1, steps)
    wide = np.full((series, steps, targets, len(distinct)), np.nan)
    np.put_along_axis(wide, place, np.moveaxis(values, 1, 2), axis=-1)
    if targets > 1:
        distinct = pd.MultiIndex.from_product([columns, distinct])
    return pd.DataFrame(wide.reshape(len(index), -1), index, distinct)


def _skpro() -> Any:
    try:
        from skpro import distributions
    except ImportError as error:
        raise ModuleNotFoundError(
            f"Got no skpro ({error}), which predict_proba answers with. Install it: pip install "
            "'sktime-tlstm[proba]'; predict_quantiles, predict_interval and predict_var need none."
        ) from error
    return distributions


def stacked(values: np.ndarray, index: pd.Index, columns: Any) -> pd.DataFrame:
    """Return values (row, target, sample) as a frame indexed by (sample, levels of index).

    The first level is "sample", or "path" if a level of the index has that name.
    """
    number = values.shape[-1]
    rows = index.append([index] * (number - 1))
    levels = [rows.get_level_values(level) for level in range(index.nlevels)]
    sample = pd.Index(np.arange(number).repeat(len(index)))
    name = "path" if "sample" in index.names else "sample"
    stack = pd.MultiIndex.from_arrays([sample, *levels], names=[name, *index.names])
    # (row, target, sample) -> (sample * row, target)
    return pd.DataFrame(np.moveaxis(values, -1, 0).reshape(len(stack), -1), stack, columns)
