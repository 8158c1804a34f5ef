"""Calibration: how far a network is trusted, and how wide intervals are, from held-out errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm import families
from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.windows import WindowSpec, observed_share
from sktime_tlstm.linear import LinearSimulation
from sktime_tlstm.nn import Head, QuantileHead
from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.simple import TO_UPPER, SimpleForecast

__all__ = [
    "SHORT_CONTEXTS",
    "Bands",
    "Calibration",
    "calibration_windows",
    "network_bands",
    "trusted",
    "update_stride",
]

#: Weights of the network beside the simple forecast that are tried.
TRUSTS = tuple(k / 10 for k in range(11))
#: How much a whole horizon of held-out errors tells, and how much likelier no trust is than full
#: trust beforehand, as a logarithm.
EVIDENCE, CAUTION = 4.0, 10.0
#: Whole horizons of errors that count as much as what is assumed without any: the normal shape,
#: one shape for all steps, symmetry.
SHAPE_PRIOR, STEP_PRIOR, SYMMETRY_PRIOR = 10.0, 20.0, 20.0
#: Quantiles of the last step are wider by this over the number of horizons, where errors grow in
#: proportion to the step.
CARE = 3.0
#: Smallest width of a network's interval, as a share of that of the simple forecast.
MIN_WIDTH = 1e-3
#: Windows whose errors tell how the steps of a path hang together, at least.
MIN_WINDOWS = 20
#: Rows of a series, fewer than those of a context, at which it is known how much wider widths are;
#: the last are enough.
SHORT_CONTEXTS = (*range(1, 9), *range(10, 17, 2), *range(20, 33, 4), *range(40, 65, 8), 96, 128)
#: A horizon's part between two windows whose errors are both kept.
MIN_SHARE = 0.25


@dataclass(frozen=True)
class Bands:
    """Points and the widths of what is below and above them, each (window, step, num_targets).

    They are in units of each series' scale, without arcsinh: widths are to mean the same
    wherever the point lies.
    """

    center: Tensor
    below: Tensor
    above: Tensor

    @classmethod
    def between(cls, three: Tensor) -> Bands:
        """Return those from points, lower and upper bounds (3, window, step, num_targets)."""
        center, low, high = three
        return cls(center, (center - low).clamp(min=0), (high - center).clamp(min=0))

    def floored(self) -> Bands:
        """Return the same with widths that never vanish."""
        least = torch.finfo(torch.float32).eps * (1 + self.center.abs())
        return Bands(self.center, self.below.maximum(least), self.above.maximum(least))

    def capped(self, widest: Tensor) -> Bands:
        """Return the same with widths of at most ``widest`` (num_targets,)."""
        return Bands(self.center, self.below.minimum(widest), self.above.minimum(widest))

    def widened(self, factor: Tensor) -> Bands:
        """Return the same with widths multiplied by a ``factor`` (num_targets,)."""
        return Bands(self.center, self.below * factor, self.above * factor)

    def scores(self, target: Tensor) -> Tensor:
        """Return by how many widths a target is off; NaN where it is NaN."""
        off = target - self.center
        return off / torch.where(off < 0, self.below, self.above)

    def blended(
        self,
        other: Bands,
        trust: Tensor | float,
        width_trust: Tensor | float,
        familiar: Tensor | float = 1.0,
    ) -> Bands:
        """Return the weighted mean with others, of whose widths none vanishes.

        Weights are those of each target (num_targets,), or of all, by how ``familiar`` a step is.
        Where it is not, either may be right: the deviation of such a mixture grows with how far
        the two are apart.
        """
        trust, width_trust = trust * familiar, width_trust * familiar
        apart = (1 - familiar) * trust * (1 - trust) * (self.center - other.center) ** 2
        below, above = (
            width_trust * own.maximum(MIN_WIDTH * theirs) + (1 - width_trust) * theirs
            for own, theirs in ((self.below, other.below), (self.above, other.above))
        )
        below, above = ((one**2 + TO_UPPER**2 * apart).sqrt() for one in (below, above))
        return Bands(trust * self.center + (1 - trust) * other.center, below, above)


def network_bands(head: Head, parameters: Tensor, unit: Tensor) -> Tensor:
    """Return an ensemble's points and 10 % and 90 % quantiles: the point where it knows none.

    Parameters
    ----------
    head : Head
    parameters : Tensor of shape (member, window, step, num_targets, parameter)
    unit : Tensor of shape (window, num_targets)
        Factor from normalised values to counts.

    Returns
    -------
    Tensor of shape (3, window, step, num_targets), float64
        Normalised as windows are.
    """
    center = head.point(parameters.double()).mean(0)
    outer = torch.tensor([0.1, 0.9], dtype=torch.float64)
    low, high = families.quantiles(head, parameters, outer, unit).mean(0).unbind(-1)
    return torch.stack([center, low, high])


@dataclass(frozen=True)
class Calibration:
    r"""What held-out errors say of a network beside a simple forecast.

    The point is a weighted mean of the two. A quantile lies :math:`R_\alpha` widths from it, those
    being a weighted mean too, where :math:`R_\alpha` is the :math:`\alpha (n + 1)`-th smallest of
    the errors, in widths, at the latest :math:`n` windows: split conformal prediction with
    normalised scores (Lei, G'Sell, Rinaldo, Tibshirani, Wasserman 2018, "Distribution-free
    predictive inference for regression", JASA 113). Few errors are drawn to a symmetric shape, the
    same for all steps, and that to Student's t.

    Parameters
    ----------
    simple : SimpleForecast or LinearSimulation
    trust, width_trust : Tensor of shape (num_targets,)
        Weights of the network's points and widths.
    scores : numpy.ndarray of float32, shape (window, horizon, num_targets)
        The latest errors in widths, oldest first, NaN where unobserved.
    shares : numpy.ndarray of float32, shape (window,)
        Part of each window's horizon that is no part of that before.
    capacity : float
        Number of whole horizons that are remembered.
    widest : Tensor of shape (num_targets,), or None
        Largest width of the network's, in units of each series' scale; None for no bound. Beyond
        the range of training the arcsinh lets a little doubt grow to a thousand times that range.
    widening : Tensor of shape (num_targets,), or None
        What widths are multiplied by; None for nothing. That of a forecast makes the errors of
        the blend, in widths, as large as those of the simple forecast. A simulation has learnt few
        records, some of them nearly by heart: that tells it nothing of how far it is off.
    short : Tensor of shape (number of `SHORT_CONTEXTS`,), or None
        How much wider widths are where a series has so few rows; None where it is not known.
    share : Tensor of shape (num_targets,), or None
        Observed share of contexts, at least, that training had as a rule; None where a network is
        trusted whatever it knows.
    """

    simple: SimpleForecast | LinearSimulation
    trust: Tensor
    width_trust: Tensor
    scores: np.ndarray
    shares: np.ndarray
    capacity: float
    widest: Tensor | None = None
    widening: Tensor | None = None
    short: Tensor | None = None
    share: Tensor | None = None

    #: Levels at which quantiles are corrected; read in between and beyond as a `QuantileHead` is.
    levels: ClassVar[tuple[float, ...]] = (
        0.01,
        0.025,
        *(round(0.05 * step, 2) for step in range(1, 20)),
        0.975,
        0.99,
    )

    @property
    def of_errors(self) -> bool:
        """Whether errors alone say how wide the widths are, as of simulations."""
        return isinstance(self.simple, LinearSimulation)

    @cached_property
    def table(self) -> Tensor:
        """The quantiles (horizon, num_targets, level) of the scores."""
        _, horizon, targets = self.scores.shape
        level = np.array(self.levels)
        horizons = float(self.shares.sum())
        degrees = max(2 * horizons, 4.0)
        # a width is that of the normal 90 % quantile, or was made that of the errors' own
        unit = families.student_t(np.array(0.9), degrees) if self.of_errors else TO_UPPER
        shape = np.tile(families.student_t(level, degrees) / unit, (targets, 1))  # (.., level)
        # all steps as one: (window * horizon, num_targets)
        pooled = self.scores.astype(np.float64).reshape(-1, targets)
        if len(pooled):
            both = _conformal(np.concatenate([pooled, -pooled]), level)
            even = 1 / (1 + horizons / SYMMETRY_PRIOR)
            found = even * both + (1 - even) * _conformal(pooled, level)
            known = 2 * horizons / (2 * horizons + SHAPE_PRIOR)
            shape = np.where(np.isnan(found), shape, known * found + (1 - known) * shape)
        # A step sees news in every row, but of step h every h-th row alone is independent.
        step = np.arange(1, horizon + 1)
        news = np.minimum(self.shares[:, None] * horizon / step, 1.0)  # (window, horizon)
        news = (news[..., None] * ~np.isnan(self.scores)).sum(axis=0)  # (horizon, num_targets)
        weight = (news / (news + STEP_PRIOR))[..., None]
        own = _conformal(self.scores.astype(np.float64), level)  # (horizon, num_targets, level)
        table = np.where(weight > 0, weight * own + (1 - weight) * shape, shape)
        return torch.from_numpy(table * self._care(horizons)[..., None])

    def _care(self, horizons: float) -> np.ndarray:
        """Return factors (horizon, num_targets) for what few horizons cannot tell.

        Errors that grow with the step add up from row to row: in few horizons they have gone few
        ways, by whose errors the simple forecasts were chosen besides. Errors of the same size at
        every step are known from every row.

        Where the errors alone say how wide the widths are, of n horizons, taken as normal errors,
        that size is known but for a share of the square root of 1 / 2n.
        """
        deviation = self.simple.deviation.numpy().T  # (horizon, num_targets)
        step = np.arange(1, len(deviation) + 1)
        growth = np.log(deviation[-1] / deviation[0]) / np.log(max(len(step), 2))
        factors: np.ndarray = 1 + CARE * np.clip(growth, 0, 1) * (step / len(step))[:, None] / (
            max(horizons, 1.0)
        )
        if self.of_errors:
            factors *= np.sqrt(1 + 0.5 / max(horizons, 0.5))
        return factors

    def familiarity(
        self, store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor
    ) -> Tensor | None:
        """Return how far a network knows windows (window, horizon, num_targets); None for wholly.

        It knows covariates like those of training, and contexts with no more gaps than there.
        """
        if self.share is None:
            return None
        series, cutoff = (places.to(store.values.device) for places in (series, cutoff))
        known = self.simple.familiarity(store, spec, series, cutoff)
        share = observed_share(store, spec, series, cutoff) / self.share.to(cutoff.device)
        if is_readable(share) and bool((share >= 1).all()):
            return known
        share = share.clamp(max=1)[:, None].expand(-1, spec.horizon, -1)
        return share if known is None else known * share

    def quantiles(self, bands: Bands, level: Tensor) -> Tensor:
        """Return quantiles (window, step, num_targets, alpha).

        Parameters
        ----------
        bands : Bands
            Of the first steps of the horizon.
        level : Tensor broadcastable with (window, step, num_targets, alpha)
        """
        steps = torch.arange(bands.center.shape[1])  # of a simulation more than were held out
        table = self.table[steps.clamp(max=len(self.table) - 1)]
        # (step, num_targets, 1, level) beside (window, step, num_targets, alpha)
        scores = QuantileHead(self.levels).quantile_at(table[..., None, :], level)
        width = torch.where(scores < 0, bands.below[..., None], bands.above[..., None])
        return bands.center[..., None] + width * scores

    def shortness(self, rows: Tensor) -> Tensor:
        """Return how much wider widths are (window,) where a series has so many rows (window,)."""
        assert self.short is not None
        known = torch.tensor(SHORT_CONTEXTS)
        return self.short[torch.searchsorted(known, rows.clamp(min=1), right=True) - 1]

    def drawn(self, rng: np.random.Generator, level: np.ndarray) -> np.ndarray:
        """Turn levels of whole paths into levels of their steps, which vary as errors did.

        Each path takes the ranks that the errors of one window have at every step and target
        among those of all windows: so steps hang together as they do in the data (Schefzik,
        Thorarinsdottir, Gneiting 2013, "Uncertainty quantification in complex simulation models
        using ensemble copula coupling", Statistical Science 28).

        Parameters
        ----------
        rng : numpy.random.Generator
        level : numpy.ndarray of shape (path,)
            Uniform numbers.

        Returns
        -------
        numpy.ndarray of shape (path, horizon, num_targets)
        """
        number, horizon, targets = self.scores.shape
        shape = len(level), horizon, targets
        if number < MIN_WINDOWS:
            return np.broadcast_to(level[:, None, None], shape)
        window = np.minimum((level * number).astype(np.int64), number - 1)
        valid = ~np.isnan(self.scores)
        rank = np.argsort(np.argsort(np.where(valid, self.scores, np.inf), axis=0), axis=0)
        place = rank[window] + rng.random(shape)  # within the rank, any level is as likely
        other = rng.random((len(level), 1, 1))  # where the window has no error
        return np.where(valid[window], place / np.maximum(valid.sum(axis=0), 1), other)

    def extended(self, scores: np.ndarray, shares: np.ndarray) -> Calibration:
        """Return a calibration that also knows newer errors, and forgets the oldest.

        Windows without any take no place: a gap in y makes nothing forgotten.
        """
        some = ~np.isnan(scores).all(axis=(1, 2))
        scores, shares = scores[some], shares[some]
        scores = np.concatenate([self.scores, scores])
        shares = np.concatenate([self.shares, shares])
        # whole horizons from each window to the latest
        behind = np.cumsum(shares[::-1])[::-1]
        kept = behind <= self.capacity + 1e-3
        return replace(self, scores=scores[kept], shares=shares[kept])


def trusted(
    network: Bands,
    simple: Bands,
    target: Tensor,
    horizons: float,
    mean: bool = False,
    gain: float = 0.0,
    caution: float = CAUTION,
    familiar: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Weigh a network's points and widths by held-out errors.

    Every weight of a target (num_targets,) is as likely as its error to the power of minus the
    number of horizons, less likely the more it trusts; the mean over all is taken.

    Parameters
    ----------
    network, simple : Bands
    target : Tensor of shape (window, horizon, num_targets)
        NaN where unobserved.
    horizons : float
        Number of whole horizons that the windows cover.
    mean : bool, default=False
        Whether points are means, and not medians: the root of squared errors counts.
    gain : float, default=0.0
        Share by which the network's errors will be smaller than those at the windows, as it goes
        on to learn from them and from more steps.
    caution : float, default=10.0
        By how much no trust is likelier beforehand than full trust, as a logarithm.
    familiar : Tensor of shape (window, horizon, num_targets), or 1.0
        What weights are multiplied by.
    """
    better = network.center + gain * torch.nan_to_num(target - network.center)
    expected = replace(network, center=better)
    power = 2 if mean else 1
    prior = -caution * torch.tensor(TRUSTS, dtype=torch.float64)
    losses = [
        _mean((target - expected.blended(simple, one, 0.0, familiar).center).abs().pow(power))
        for one in TRUSTS
    ]
    log_loss = (torch.stack(losses) + 1e-12).log() / power
    trust = _posterior_mean(log_loss, prior, horizons)
    fits = []
    for one in TRUSTS:
        bands = network.blended(simple, trust, one, familiar)
        off = target - bands.center
        width = torch.where(off < 0, bands.below, bands.above)
        width = torch.where(target.isnan(), torch.nan, width)
        # of Laplace's distribution with this width, up to a factor
        fits.append(_mean(width.log()) + _mean((off / width).abs()).log())
    return trust, _posterior_mean(torch.stack(fits), prior, horizons)


def _mean(values: Tensor) -> Tensor:
    """Return the mean of each target (num_targets,) of those that are known."""
    return values.double().flatten(0, 1).nanmean(dim=0)


def _posterior_mean(log_loss: Tensor, prior: Tensor, horizons: float) -> Tensor:
    """Return the mean weight (num_targets,) by the losses (weight, num_targets) of all."""
    log = prior[:, None] - EVIDENCE * horizons * log_loss
    mean = torch.tensor(TRUSTS, dtype=torch.float64) @ log.softmax(dim=0)
    return torch.where(log_loss.isfinite().all(dim=0), mean, 0.0)


def update_stride(horizon: int) -> int:
    """Return the rows whose multiples an update must pass for its errors to count."""
    return max(1, int(MIN_SHARE * horizon))


def calibration_windows(
    lengths: np.ndarray, new_rows: np.ndarray, horizon: int, capacity: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the windows whose errors tell of new rows, as series, cutoffs and shares.

    Their horizons end with the last new row, one horizon before, and so on: they follow the
    rhythm of the updates. Of updates by a few rows those that pass a part of the horizon count.
    The latest windows of all series come last.

    Parameters
    ----------
    lengths : numpy.ndarray of int64, shape (num_series,)
        Number of rows of each series.
    new_rows : numpy.ndarray of int64, shape (num_series,)
        How many of these, at the end, are new.
    horizon : int
    capacity : int
        Number of windows of a series that are of use.
    """
    last = lengths - horizon
    stride = update_stride(horizon)
    passes = last // stride > (last - new_rows) // stride
    number = np.clip(np.minimum(-(-new_rows // horizon), -(-last // horizon)), 0, capacity)
    number = np.where(passes, number, 0)
    # A window for each of a series' number; how many horizons it lies back: 0, 1, .. per series.
    series = np.repeat(np.arange(len(number)), number)
    back = np.arange(len(series)) - np.repeat(np.cumsum(number) - number, number)
    order = np.argsort(-back, kind="stable")
    series, back = series[order], back[order]
    share = np.clip(np.maximum(new_rows, stride) / horizon, 0.0, 1.0)[series]
    return series, last[series] - back * horizon, share.astype(np.float32)


def _conformal(scores: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return quantiles (..., level) of scores (n, ...) such that a further one is below.

    It is with the probability of the level; NaN are no scores, and without any the quantile is NaN.
    """
    if not len(scores):
        return np.full((*scores.shape[1:], len(level)), np.nan)
    ordered = np.sort(scores, axis=0)  # NaN last
    number = (~np.isnan(scores)).sum(axis=0)[..., None]
    # A further score is below the k-th smallest one with probability k / (n + 1).
    place = np.clip(level * (number + 1) - 1, 0, np.maximum(number - 1, 0))
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(number - 1, 0))
    ordered = np.moveaxis(ordered, 0, -1)
    low, high = (np.take_along_axis(ordered, one, axis=-1) for one in (below, above))
    quantiles: np.ndarray = low + (place - below) * (high - low)
    return quantiles
