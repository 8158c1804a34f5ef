"""Calibration: conformal corrections of quantiles, from errors on windows held out of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm import families
from sktime_tlstm.nn import Head, QuantileHead

__all__ = ["Calibration", "calibration_windows", "quantiles"]

#: Fewer errors than this at a horizon step are pooled over all steps.
MIN_ERRORS = 20


@dataclass(frozen=True)
class Calibration:
    r"""Additive corrections of quantiles, per horizon step.

    Split conformal prediction of quantiles (Romano, Patterson, Candès 2019, "Conformalized
    Quantile Regression"): at level :math:`\alpha` the correction is the
    :math:`\alpha (n + 1)`-th smallest of ``target - quantile`` over :math:`n` held-out windows
    (interpolated; the outermost where there are too few), so that a further error lies below it
    with probability :math:`\alpha`. Errors are divided by the scale of their window.

    Parameters
    ----------
    errors : numpy.ndarray of float32, shape (window, horizon, num_targets, level)
        The latest errors, oldest first, NaN where unobserved.
    capacity : int
        Number of windows that are remembered.
    """

    errors: np.ndarray
    capacity: int

    #: Levels at which quantiles are corrected; read in between and beyond as a `QuantileHead` is.
    levels: ClassVar[tuple[float, ...]] = (
        0.01,
        0.025,
        *(round(0.05 * step, 2) for step in range(1, 20)),
        0.975,
        0.99,
    )

    @cached_property
    def corrections(self) -> Tensor:
        """The corrections (horizon, num_targets, level), normalised as windows are."""
        return torch.from_numpy(_corrections(self.errors))

    def extended(self, errors: np.ndarray) -> Calibration:
        """Return a calibration that also knows newer errors, and forgets the oldest."""
        latest = np.concatenate([self.errors, errors])[-self.capacity :]
        return Calibration(latest, self.capacity)


def quantiles(
    head: Head, parameters: Tensor, level: Tensor, unit: Tensor, calibration: Calibration | None
) -> Tensor:
    """Return the quantiles of an ensemble, corrected where there is a calibration.

    Parameters
    ----------
    head : Head
    parameters : Tensor of shape (member, window, step, num_targets, parameter)
        Of the first steps of the horizon.
    level : Tensor broadcastable with (window, step, num_targets, alpha)
    unit : Tensor of shape (window, num_targets)
        Factor from normalised values to counts.
    calibration : Calibration or None

    Returns
    -------
    Tensor of shape (window, step, num_targets, alpha)
        Normalised as windows are; averaged over members.
    """
    read_at = level
    if calibration is not None:
        read_at = torch.tensor(calibration.levels, dtype=torch.float64)
    values = families.quantiles(head, parameters, read_at, unit).mean(0)
    if calibration is None:
        return values
    table = values + calibration.corrections[: values.shape[1]]
    # (window, step, num_targets, 1, level) beside (window, step, num_targets, alpha)
    return QuantileHead(calibration.levels).quantile_at(table[..., None, :], level)


def calibration_windows(
    lengths: np.ndarray, new_rows: np.ndarray, horizon: int, capacity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows whose errors tell of new rows, as series and cutoffs, oldest first.

    Their horizons end with the last new row, one horizon before, and so on: they follow the
    rhythm of the updates. The latest windows of all series come last.

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
    number = np.clip(np.minimum(-(-new_rows // horizon), -(-last // horizon)), 0, capacity)
    # A window for each of a series' number; how many horizons it lies back: 0, 1, .. per series.
    series = np.repeat(np.arange(len(number)), number)
    back = np.arange(len(series)) - np.repeat(np.cumsum(number) - number, number)
    order = np.argsort(-back, kind="stable")
    series, back = series[order], back[order]
    return series, last[series] - back * horizon


def _corrections(errors: np.ndarray) -> np.ndarray:
    _, horizon, targets, _ = errors.shape
    corrections = np.zeros(errors.shape[1:])
    for target in range(targets):
        pooled = errors[:, :, target].reshape(-1, errors.shape[-1])  # (window * step, level)
        pooled = pooled[~np.isnan(pooled[:, 0])]
        for step in range(horizon):
            of_step = errors[:, step, target]  # (window, level)
            of_step = of_step[~np.isnan(of_step[:, 0])]
            chosen = of_step if len(of_step) >= MIN_ERRORS else pooled
            corrections[step, target] = _conformal(chosen, Calibration.levels)
    return corrections


def _conformal(errors: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Return each column's quantile at its own level; without errors, a standard normal's."""
    level = np.array(levels)
    if not len(errors):
        return torch.special.ndtri(torch.tensor(level)).numpy()
    ordered = np.sort(errors.astype(np.float64), axis=0)
    # A further error is below the k-th smallest one with probability k / (n + 1).
    place = np.clip(level * (len(errors) + 1) - 1, 0, len(errors) - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, len(errors) - 1)
    column = np.arange(len(level))
    return ordered[below, column] + (place - below) * (
        ordered[above, column] - ordered[below, column]
    )
