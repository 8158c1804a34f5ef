"""Heads: what the numbers a network puts out mean, and how they are trained and read."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from sktime_tlstm.nn.distributions import FAMILIES, Family

DEFAULT_QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Head(nn.Module):
    """Meaning of a network's output: parameters per target, domain, loss and read-out.

    A head is a criterion: ``head(output, target)`` is the training loss. Subclasses set
    ``num_parameters`` (numbers per target) and ``point_statistic`` ("mean" or "median", what
    `point` estimates), and define `losses` and `point`; a parameter with a domain, such as a
    positive scale, also has a `domain_map`. ``support`` ("real", "positive" or "count") says which
    targets it can be trained on. A head that knows quantiles also defines `quantile_at`, as
    `QuantileHead` does, or names the family of its ``distribution``; of others, forecasters learn
    the quantiles from errors.

    Attributes
    ----------
    distribution : str or None
        Name of the family, one of `FAMILIES`, whose parameters `unpack` gives; None for none.
    """

    num_parameters: int
    point_statistic: str
    support: str = "real"
    distribution: str | None = None

    @property
    def has_quantiles(self) -> bool:
        """Whether the head defines `quantile_at`, its own or that of a class it derives from."""
        method = self.quantile_at
        return getattr(method, "__func__", method) is not Head.quantile_at

    def forward(
        self,
        output: Tensor,
        target: Tensor,
        unit: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss over the observed targets, weighted or not.

        The mean is over targets, not over weights: weights whose mean is 1 leave the size of the
        loss as it is, and that of a few targets is as far off as their weights are.

        Parameters
        ----------
        output : Tensor of shape (batch, time, target * parameter)
            A network's output, target outermost.
        target : Tensor of shape (batch, time, num_targets)
            NaN where nothing was observed.
        unit : Tensor of shape (batch, num_targets) or None, default=None
            Factor from scaled targets to counts; passed to heads whose support is "count".
        weight : Tensor of shape (batch, time) or None, default=None
            Weight of the losses of each step, at least 0; None for 1. A target of weight 0 has no
            influence at all, but counts in the mean as if it was observed.

        Returns
        -------
        Tensor of shape ()
            Zero, but still part of the graph, where nothing was observed.
        """
        observed, counted = ~torch.isnan(target), counted_targets(target, weight)
        if weight is not None:
            weight = weight.unsqueeze(-1)  # (batch, time) -> (batch, time, 1)
            observed = observed & (weight > 0)
        # Not NaN * 0: the gradient of a masked NaN would still be NaN.
        filled = torch.where(observed, target, float(self.support == "positive"))
        # (batch, target) -> (batch, 1, target)
        units = () if unit is None else (unit.unsqueeze(1),)
        losses = self.losses(self.unpack(output), filled, *units)
        if weight is not None:
            losses = losses * weight
        return torch.where(observed, losses, 0.0).sum() / counted.sum().clamp(min=1)

    def unpack(self, output: Tensor) -> Tensor:
        """Split a network's output into parameters within their domain.

        Parameters
        ----------
        output : Tensor of shape (batch, time, target * parameter)

        Returns
        -------
        Tensor of shape (batch, time, target, parameter)

        Raises
        ------
        ValueError
            If the width is no multiple of ``num_parameters``.
        """
        if output.shape[-1] % self.num_parameters:
            raise ValueError(
                f"Got an output of width {output.shape[-1]} for {type(self).__name__}; expected a "
                f"multiple of its {self.num_parameters} parameters per target. Build the network "
                "with output_dim = number of targets * head.num_parameters."
            )
        # (batch, time, target * parameter) -> (batch, time, target, parameter)
        return self.domain_map(output.reshape(*output.shape[:-1], -1, self.num_parameters))

    def domain_map(self, parameters: Tensor) -> Tensor:
        """Map raw numbers (..., parameter) into their domain; the identity unless overridden."""
        return parameters

    @abstractmethod
    def losses(self, parameters: Tensor, target: Tensor, *unit: Tensor) -> Tensor:
        """Return the loss of every target.

        Parameters
        ----------
        parameters : Tensor of shape (batch, time, target, parameter)
        target : Tensor of shape (batch, time, target)
            Without NaN.
        *unit : Tensor of shape (batch, 1, target)
            Where the support is "count".

        Returns
        -------
        Tensor of shape (batch, time, target)
        """

    @abstractmethod
    def point(self, parameters: Tensor) -> Tensor:
        """Return the point forecast (batch, time, target) of ``parameters``, as `unpack` gives."""

    def quantile_at(self, parameters: Tensor, alpha: Tensor) -> Tensor:
        """Return one quantile of every distribution, each at its own level.

        Parameters
        ----------
        parameters : Tensor of shape (..., parameter)
            As `unpack` gives them.
        alpha : Tensor broadcastable with (...)
            Levels between 0 and 1.

        Returns
        -------
        Tensor of the broadcast shape of (...) and ``alpha``

        Raises
        ------
        NotImplementedError
            Unless the head defines it (`has_quantiles`).
        """
        raise NotImplementedError(
            f"Got a request for quantiles of {type(self).__name__}, which defines none; expected a "
            "head whose has_quantiles is True. Use QuantileHead, or define quantile_at(parameters, "
            "alpha) in the head."
        )


def counted_targets(target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return which targets (batch, time, num_targets) a head's mean counts; arguments as there."""
    counted = ~torch.isnan(target)
    # (batch, time) -> (batch, time, 1)
    return counted if weight is None else counted | (weight.unsqueeze(-1) == 0)


_POINT_LOSSES: Mapping[str, tuple[Callable[..., Tensor], str]] = MappingProxyType(
    {
        "mse": (functional.mse_loss, "mean"),
        "mae": (functional.l1_loss, "median"),
        "huber": (functional.huber_loss, "median"),
    }
)


class PointHead(Head):
    r"""One number per target, the point forecast.

    With the error ``e``: "mse" is :math:`e^2`, whose best forecast is the mean; "mae" is
    :math:`|e|`, whose best is the median; "huber" is :math:`e^2 / 2` up to 1 and
    :math:`|e| - 1/2` beyond (Huber 1964, "Robust estimation of a location parameter", with
    delta 1), near the median for large errors.

    Parameters
    ----------
    loss : {"mse", "mae", "huber"} or callable, default="mse"
        Name of the loss; or any loss of torch, or function of (prediction, target) to one loss for
        each element. Its best forecast counts as a median, but that of torch's squared error.

    Raises
    ------
    ValueError
        If ``loss`` is none of these, or returns another shape than that of the target.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import PointHead
    >>> head = PointHead("huber")
    >>> output = torch.tensor([[[3.0], [0.5], [7.0]]])
    >>> head(output, torch.tensor([[[0.0], [0.0], [float("nan")]]])).item()
    1.3125
    """

    num_parameters = 1

    def __init__(self, loss: str | Callable[[Tensor, Tensor], Tensor] = "mse") -> None:
        super().__init__()
        if isinstance(loss, str):
            if loss not in _POINT_LOSSES:
                raise ValueError(
                    f"Got loss={loss!r}; expected one of {list(_POINT_LOSSES)}, or a function."
                )
            function, self.point_statistic = _POINT_LOSSES[loss]
        else:
            function = loss
            squares = isinstance(loss, nn.MSELoss) or loss is functional.mse_loss
            self.point_statistic = "mean" if squares else "median"
            if hasattr(function, "reduction"):  # a module of torch
                function = copy.copy(function)
                function.reduction = "none"
        self.loss, self._function = loss, function

    def losses(self, parameters: Tensor, target: Tensor, *unit: Tensor) -> Tensor:
        """Return the loss (batch, time, target) of every target."""
        function, each = self._function, {}
        if not hasattr(function, "reduction") and _reduces(function):
            each = {"reduction": "none"}
        # (batch, time, target, 1) -> (batch, time, target)
        losses = function(parameters.squeeze(-1), target, **each)
        if losses.shape != target.shape:
            raise ValueError(
                f"Got losses of shape {tuple(losses.shape)} from {self.loss!r}; expected those of "
                f"the target, {tuple(target.shape)}. Return one loss for each element, no mean."
            )
        return losses

    def point(self, parameters: Tensor) -> Tensor:
        """Return the point forecast (batch, time, target)."""
        # (batch, time, target, 1) -> (batch, time, target)
        return parameters.squeeze(-1)


class QuantileHead(Head):
    r"""Quantiles of every target at fixed levels.

    Trained by the pinball loss, the mean over levels of

    .. math:: \rho_q(y, \hat y) = \max(q (y - \hat y), (q - 1) (y - \hat y))

    (Koenker and Bassett 1978, "Regression Quantiles"). Read at any level by linear interpolation
    between the trained ones, sorted, with exponential tails outside them.

    Parameters
    ----------
    quantiles : sequence of float, default=(0.1, 0.2, ..., 0.9)
        The trained levels, two or more, ascending, strictly between 0 and 1.

    Raises
    ------
    ValueError
        If ``quantiles`` are fewer than two, not ascending and distinct, or not within (0, 1).

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import QuantileHead
    >>> head = QuantileHead((0.25, 0.5, 0.75))
    >>> parameters = torch.tensor([3.0, 1.0, 2.0])
    >>> head.quantile(parameters, torch.tensor([0.25, 0.375, 0.75])).tolist()
    [1.0, 1.5, 3.0]
    """

    point_statistic = "median"
    levels: Tensor

    def __init__(self, quantiles: Sequence[float] = DEFAULT_QUANTILES) -> None:
        super().__init__()
        self.quantiles = _checked_quantiles(quantiles)
        self.num_parameters = len(self.quantiles)
        # Not part of a state dict: the levels are an argument, not something learned.
        levels = torch.tensor(self.quantiles, dtype=torch.float32, device="cpu")
        self.register_buffer("levels", levels, persistent=False)

    def losses(self, parameters: Tensor, target: Tensor, *unit: Tensor) -> Tensor:
        """Return the pinball loss (batch, time, target), averaged over levels."""
        # (batch, time, target, 1) and (batch, time, target, parameter)
        error = target.unsqueeze(-1) - parameters
        levels = self.levels.to(error.device)
        return torch.maximum(levels * error, (levels - 1) * error).mean(dim=-1)

    def point(self, parameters: Tensor) -> Tensor:
        """Return the median (batch, time, target)."""
        return self.quantile_at(parameters, parameters.new_full((), 0.5))

    def quantile(self, parameters: Tensor, alphas: Tensor) -> Tensor:
        """Return quantiles at the levels ``alphas``, the same for every target.

        They never cross: a higher level never gives a lower value.

        Parameters
        ----------
        parameters : Tensor of shape (..., parameter)
            As `unpack` gives them; sorted here.
        alphas : Tensor of shape (alpha,)
            Levels strictly between 0 and 1, in any order.

        Returns
        -------
        Tensor of shape (..., alpha)

        Raises
        ------
        ValueError
            If a level is not strictly between 0 and 1.
        """
        if not bool(((alphas > 0) & (alphas < 1)).all()):
            raise ValueError(
                f"Got alphas={alphas.tolist()}; expected levels strictly between 0 and 1. The "
                "tails are unbounded: pass 0.001 for a very low quantile."
            )
        ascending, order = torch.sort(alphas)
        # (..., 1, parameter) and (alpha,) -> (..., alpha)
        values = self.quantile_at(parameters.unsqueeze(-2), ascending)
        # Rounding within one segment could still swap two neighbours by a last digit.
        return values.cummax(dim=-1).values[..., order.argsort()]

    def quantile_at(self, parameters: Tensor, alpha: Tensor) -> Tensor:
        r"""Return one quantile of every distribution, each at its own level.

        Between trained levels the quantile is linear in the level. Below the lowest level
        :math:`q_1` it is that of an exponential tail through the two lowest,

        .. math:: Q(\alpha) = Q(q_1) - \beta \log(q_1 / \alpha), \qquad
                  \beta = \frac{Q(q_2) - Q(q_1)}{\log(q_2 / q_1)}

        and above the highest symmetrically. With a uniform random ``alpha`` this draws a sample:
        parameters (batch, time, target, parameter) and one uniform per path of shape
        (path, batch, 1, 1) give samples (path, batch, time, target).

        Parameters
        ----------
        parameters : Tensor of shape (..., parameter)
            As `unpack` gives them; sorted here.
        alpha : Tensor broadcastable with (...)
            Levels; 0 and 1 are moved inwards by the smallest step, so that draws stay finite.

        Returns
        -------
        Tensor of the broadcast shape of (...) and ``alpha``
        """
        dtype = torch.promote_types(parameters.dtype, torch.float32)
        if dtype == self.levels.dtype == torch.float32:  # a device that has them need not wait
            levels = self.levels.to(parameters.device)
        else:
            levels = torch.tensor(self.quantiles, dtype=dtype, device=parameters.device)
        limits = torch.finfo(dtype)
        alpha = alpha.to(levels).clamp(limits.tiny, 1 - limits.eps)
        values = parameters.to(dtype).sort(dim=-1).values
        # (...) of the parameters and of the levels, broadcast
        alpha = (alpha + torch.zeros_like(values[..., 0])).contiguous()
        # -> (..., parameter)
        values = values.expand(*alpha.shape, -1)
        upper = torch.searchsorted(levels, alpha).clamp(1, len(levels) - 1)
        low, high = _take(values, upper - 1), _take(values, upper)
        weight = (alpha - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
        inside = torch.lerp(low, high, weight.clamp(0, 1))
        below = _tail(levels[0], levels[1], alpha) * (values[..., 1] - values[..., 0])
        above = _tail(1 - levels[-1], 1 - levels[-2], 1 - alpha) * (
            values[..., -1] - values[..., -2]
        )
        return inside - below + above


class DistributionHead(Head):
    r"""Parameters of a distribution of every target, trained by its negative log-likelihood.

    Real targets (normal, student_t with more than 2 degrees of freedom, laplace) and positive
    ones (log_normal, gamma) are modelled as scaled. Counts (negative_binomial, poisson) are
    modelled in original units: the network gives the mean divided by the unit; the dispersion
    :math:`\alpha` of the negative binomial has :math:`\mathrm{var} = m + \alpha m^2`
    (Salinas et al. 2020, "DeepAR", section 3.1). The point forecast is the mean.

    Parameters
    ----------
    distribution : str
        One of `FAMILIES`.

    Raises
    ------
    ValueError
        If ``distribution`` is unknown.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import DistributionHead
    >>> head = DistributionHead("normal")
    >>> head.num_parameters, head.support
    (2, 'real')
    """

    point_statistic = "mean"
    distribution: str

    def __init__(self, distribution: str) -> None:
        super().__init__()
        if distribution not in FAMILIES:
            raise ValueError(
                f"Got distribution={distribution!r}; expected one of {list(FAMILIES)}."
            )
        self.distribution = distribution
        self.num_parameters = len(self.family.parameters)
        self.support = self.family.support

    @property
    def family(self) -> Family:
        """The family of distributions."""
        return FAMILIES[self.distribution]

    def domain_map(self, parameters: Tensor) -> Tensor:
        """Map raw numbers (..., parameter) into the family's domain."""
        return self.family.domain_map(parameters)

    def losses(self, parameters: Tensor, target: Tensor, *unit: Tensor) -> Tensor:
        """Return the negative log-likelihood (batch, time, target) of every target."""
        factor = unit[0] if unit else torch.ones_like(target)
        if self.support == "count":
            target = (target * factor).round()
        log_prob: Tensor = self.family.distribution(parameters, factor).log_prob(target)
        return -log_prob

    def point(self, parameters: Tensor) -> Tensor:
        """Return the mean (batch, time, target)."""
        return self.family.mean(parameters)


@functools.cache
def _reduces(function: Callable[..., Tensor]) -> bool:
    """Whether a function of torch takes the mean unless it is told not to."""
    try:
        return "reduction" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in
        return False


def _take(values: Tensor, index: Tensor) -> Tensor:
    # values (..., parameter), index (...) -> (...)
    return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _tail(outer: Tensor, inner: Tensor, alpha: Tensor) -> Tensor:
    """Return the distance beyond the outer level per distance between it and the inner one."""
    return (torch.log(outer / alpha) / torch.log(inner / outer)).clamp(min=0)


def _checked_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(float(level) for level in quantiles)
    ascending = all(low < high for low, high in itertools.pairwise(levels))
    if len(levels) < 2 or not ascending or not all(0 < level < 1 for level in levels):
        raise ValueError(
            f"Got quantiles={levels}; expected two or more levels, distinct and ascending, "
            "strictly between 0 and 1, such as (0.1, 0.5, 0.9)."
        )
    return levels


LOSSES: Mapping[str, Callable[[], Head]] = MappingProxyType(
    {
        "quantile": QuantileHead,
        **{name: partial(PointHead, name) for name in _POINT_LOSSES},
        **{name: partial(DistributionHead, name) for name in FAMILIES},
    }
)


def make_head(loss: str | Head, quantiles: Sequence[float] | None = None) -> Head:
    """Return the head of a loss.

    Parameters
    ----------
    loss : str or Head
        One of `LOSSES`, or a head, returned as it is.
    quantiles : sequence of float or None, default=None
        Levels of the loss "quantile"; None for its default.

    Raises
    ------
    ValueError
        If ``loss`` is unknown, or ``quantiles`` are given to a loss that has none.

    Examples
    --------
    >>> make_head("quantile", (0.1, 0.9)).num_parameters
    2
    """
    if not isinstance(loss, Head) and (not isinstance(loss, str) or loss not in LOSSES):
        raise ValueError(f"Got loss={loss!r}; expected one of {list(LOSSES)}, or a Head object.")
    if quantiles is not None:
        if loss != "quantile":
            raise ValueError(
                f"Got quantiles={tuple(quantiles)} with loss={loss!r}; only loss='quantile' is "
                "trained on quantiles. Pass quantiles=None, or loss='quantile'."
            )
        return QuantileHead(quantiles)
    return loss if isinstance(loss, Head) else LOSSES[loss]()
