"""Distribution families: parameters, domain maps and log-likelihoods, in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributions as td
from torch.nn.functional import softplus

#: Smallest scale, mean or shape, so that likelihoods stay finite.
MIN_POSITIVE = 1e-4
#: Bounds of the log-normal's mu and sigma, so that its mean and quantiles stay finite.
MAX_MU, MAX_SIGMA = 20.0, 5.0


class Family(NamedTuple):
    """A family of distributions of one target.

    ``parameters`` are its names, in the order of the last axis; ``support`` is "real", "positive"
    or "count"; ``domain_map`` takes raw numbers (..., parameter) to parameters; ``distribution``
    takes parameters and a unit to a torch distribution, and ``mean`` to its mean. The unit (...)
    is the factor from the network's scaled values to counts; other families are scaled
    themselves and ignore it.
    """

    parameters: tuple[str, ...]
    support: str
    domain_map: Callable[[Tensor], Tensor]
    distribution: Callable[[Tensor, Tensor], td.Distribution]
    mean: Callable[[Tensor], Tensor]


def positive(raw: Tensor) -> Tensor:
    """Map real numbers to positive ones, by softplus and a floor."""
    return softplus(raw) + MIN_POSITIVE


def _location_scale(raw: Tensor) -> Tensor:
    # (..., parameter), the parameters in the order of the family, here and below
    return torch.stack([raw[..., 0], positive(raw[..., 1])], dim=-1)


def _log_normal(raw: Tensor) -> Tensor:
    mu, sigma = _location_scale(raw).unbind(-1)
    return torch.stack(
        [MAX_MU * torch.tanh(mu / MAX_MU), MAX_SIGMA * torch.tanh(sigma / MAX_SIGMA)], dim=-1
    )


def _student_t(raw: Tensor) -> Tensor:
    return torch.stack([2 + positive(raw[..., 0]), raw[..., 1], positive(raw[..., 2])], dim=-1)


class _StudentT(td.StudentT):
    """torch's, without what it samples by: for a constant in that a device is waited for."""

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.df, self.loc, self.scale = df, loc, scale
        td.Distribution.__init__(self, df.shape, validate_args=False)


def _gamma(parameters: Tensor, unit: Tensor) -> td.Distribution:
    mean, shape = parameters.unbind(-1)
    return td.Gamma(shape, shape / mean, validate_args=False)


def _negative_binomial(parameters: Tensor, unit: Tensor) -> td.Distribution:
    mean, dispersion = parameters.unbind(-1)
    logits = torch.log(unit * mean * dispersion)
    return td.NegativeBinomial(1 / dispersion, logits=logits, validate_args=False)


#: Distribution families by the name that `loss` gives them.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "normal": Family(
            ("loc", "scale"),
            "real",
            _location_scale,
            lambda p, unit: td.Normal(p[..., 0], p[..., 1], validate_args=False),
            lambda parameters: parameters[..., 0],
        ),
        "student_t": Family(
            ("df", "loc", "scale"),
            "real",
            _student_t,
            lambda p, unit: _StudentT(p[..., 0], p[..., 1], p[..., 2]),
            lambda parameters: parameters[..., 1],
        ),
        "laplace": Family(
            ("loc", "scale"),
            "real",
            _location_scale,
            lambda p, unit: td.Laplace(p[..., 0], p[..., 1], validate_args=False),
            lambda parameters: parameters[..., 0],
        ),
        "log_normal": Family(
            ("mu", "sigma"),
            "positive",
            _log_normal,
            lambda p, unit: td.LogNormal(p[..., 0], p[..., 1], validate_args=False),
            lambda parameters: torch.exp(parameters[..., 0] + parameters[..., 1].square() / 2),
        ),
        "gamma": Family(
            ("mean", "shape"),
            "positive",
            positive,
            _gamma,
            lambda parameters: parameters[..., 0],
        ),
        "negative_binomial": Family(
            ("mean", "dispersion"),
            "count",
            positive,
            _negative_binomial,
            lambda parameters: parameters[..., 0],
        ),
        "poisson": Family(
            ("mean",),
            "count",
            positive,
            lambda parameters, unit: td.Poisson(unit * parameters[..., 0], validate_args=False),
            lambda parameters: parameters[..., 0],
        ),
    }
)
