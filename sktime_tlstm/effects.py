"""Effects: what known covariates add to the targets, for forecasts that read none otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import spread
from sktime_tlstm.data.windows import WindowSpec

__all__ = ["KNOTS", "Columns", "Effects", "learn_effects"]

#: Rows of a category, or squares of a scaled number, that speak half for themselves: those tried.
PRIORS = (0.3, 3.0, 30.0, 300.0)
#: Where the slope of a scaled number may change: about the quartiles.
KNOTS = (-0.7, 0.0, 0.7)
#: Parts of time, each of which tells how well effects fit that were learnt of the others.
FOLDS = 5
#: Effects count if errors fall by so many standard errors.
SURE = 2.0
#: Kinds of a category, and weights of a target, at most.
MAX_CODES, MAX_FEATURES = 64, 200
#: Rows that effects are learnt from, at least; of many so many, and multiplications of one sum over
#: rows at most.
MIN_ROWS, MIN_SAMPLE, MAX_PRODUCTS = 20, 1000, 4_000_000
#: Residuals of more than so many usual ones count less (Huber); so many iterations find weights.
FAR, ITERATIONS = 3.0, 4


class Columns(NamedTuple):
    """Channels of a store that hold known covariates.

    But what is hidden before a cutoff, and categories of so many kinds that they are names.

    Parameters
    ----------
    numbers : tuple of int
        Of numbers.
    codes : tuple of int
        Of the codes of categories, from 0, which is unknown.
    sizes : tuple of int
        Number of codes of each category.
    """

    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, spec: WindowSpec) -> Columns:
        """Return those of a specification."""
        first = spec.num_targets + spec.num_numeric
        numbers = [spec.num_targets + channel for channel in spec.known]
        codes = [first + code for code in spec.known_categories]
        numbers, codes = (
            [channel for channel in some if channel not in spec.hidden] for some in (numbers, codes)
        )
        codes = [code for code in codes if spec.cardinalities[code - first] < MAX_CODES]
        sizes = [spec.cardinalities[code - first] + 1 for code in codes]
        return cls(tuple(numbers), tuple(codes), tuple(sizes))

    @property
    def features(self) -> int:
        """Number of weights of a target: several of each number, one of each code."""
        return (1 + len(KNOTS)) * len(self.numbers) + sum(self.sizes)


@dataclass(frozen=True)
class Effects:
    """What the known covariates of a row add to its targets, scaled, without arcsinh.

    Every number acts by a line that may bend at the knots; every category adds something.

    Parameters
    ----------
    weights : Tensor of shape (num_targets, `Columns.features`), float64
        Of numbers, of what they are above each knot, and of codes.
    """

    weights: Tensor

    def __call__(self, store: SeriesStore, spec: WindowSpec, row: Tensor) -> Tensor:
        """Return what the covariates add at rows of a store (..., num_targets), float64."""
        return self.by_column(store, spec, row).sum(dim=-2)

    def by_column(self, store: SeriesStore, spec: WindowSpec, row: Tensor) -> Tensor:
        """Return what each adds (..., column, num_targets), numbers and then categories."""
        values, columns = store.values[row], Columns.of(spec)
        number = len(columns.numbers)
        weights = self.weights.to(values.device).T  # (feature, target)
        chosen = [values[..., channel, None] for channel in columns.numbers]
        numbers = torch.cat([values[..., :0], *chosen], dim=-1).double()[..., None]
        added = numbers * weights[:number]
        for place, knot in enumerate(KNOTS, start=1):
            own = weights[place * number : (place + 1) * number]
            added = added + (numbers - knot).clamp(min=0) * own
        parts, begin = [added], (1 + len(KNOTS)) * number
        for channel, size in zip(columns.codes, columns.sizes, strict=True):
            own = weights[begin : begin + size][values[..., channel].long()]
            parts.append(own[..., None, :])
            begin += size
        return torch.cat(parts, dim=-2)


def learn_effects(
    store: SeriesStore, spec: WindowSpec, series: np.ndarray, seasons: tuple[int, ...]
) -> Effects | None:
    """Learn from changes from season to season; None where covariates explain none of them.

    Differences have no level, slow trend or season that could pass for an effect. What a
    coefficient is drawn to zero by is chosen by errors in parts of time that were left out, and
    these must be smaller than without any effect. Few far residuals hardly count.

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    series : numpy.ndarray of int64
        The series to learn from.
    seasons : tuple of int
        Numbers of rows after which a cycle comes round; none for no season.
    """
    columns = Columns.of(spec)
    if not 0 < columns.features <= MAX_FEATURES:
        return None
    start, length = store.start.numpy()[series], store.length.numpy()[series]
    usual = float(np.median(length)) if len(length) else 0.0
    lag = next((season for season in seasons if 3 * season <= usual), 1)
    long = length > lag
    start, length = start[long] + lag, length[long] - lag
    most = max(MIN_SAMPLE, MAX_PRODUCTS // columns.features**2)
    chosen, first = spread(int(length.sum()), most), np.cumsum(length) - length
    owner = np.searchsorted(first, chosen, side="right") - 1
    row, time = start[owner] + chosen - first[owner], (chosen - first[owner]) / length[owner]
    now, before = torch.from_numpy(row), torch.from_numpy(row - lag)
    change = _features(store, columns, now) - _features(store, columns, before)
    weights = np.zeros((spec.num_targets, columns.features))
    for target in range(spec.num_targets):
        later, earlier = (store.values[rows, target].double() for rows in (now, before))
        if spec.arcsinh:
            later, earlier = torch.sinh(later), torch.sinh(earlier)
        seen = (store.observed[now, target] & store.observed[before, target]).numpy()
        wanted = (later - earlier).numpy()[seen]
        if len(wanted) >= MIN_ROWS:
            weights[target] = _fitted(change[seen], wanted, time[seen])
    return Effects(torch.from_numpy(weights)) if weights.any() else None


def _features(store: SeriesStore, columns: Columns, row: Tensor) -> np.ndarray:
    """Return what the weights belong to (row, feature)."""
    values = store.values[row].double().numpy()
    numbers = values[:, columns.numbers]
    parts = [numbers, *(np.maximum(numbers - knot, 0.0) for knot in KNOTS)]
    for channel, size in zip(columns.codes, columns.sizes, strict=True):
        parts.append((values[:, channel, None] == np.arange(size)).astype(float))
    return np.concatenate(parts, axis=1)


def _fitted(change: np.ndarray, wanted: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return weights (feature,) that explain the changes wanted (row,); zero if none does."""
    errors = np.zeros((len(PRIORS), len(wanted)))
    for inside in np.array_split(np.argsort(time, kind="stable"), FOLDS):
        others = np.delete(np.arange(len(wanted)), inside)
        for place, prior in enumerate(PRIORS):
            weights = _robust(change[others], wanted[others], prior)
            errors[place, inside] = np.abs(wanted[inside] - change[inside] @ weights)
    best = int(errors.mean(axis=1).argmin())
    gain = np.abs(wanted) - errors[best]
    if not gain.mean() > SURE * gain.std() / np.sqrt(len(gain)):
        return np.zeros(change.shape[1])
    return _robust(change, wanted, PRIORS[best])


def _robust(change: np.ndarray, wanted: np.ndarray, prior: float) -> np.ndarray:
    """Return ridge regression's weights, of Huber's loss."""
    importance = np.ones(len(wanted))
    penalty = prior * np.eye(change.shape[1])
    for _ in range(ITERATIONS):
        weighted = change.T * importance
        weights: np.ndarray = np.linalg.solve(weighted @ change + penalty, weighted @ wanted)
        off = np.abs(wanted - change @ weights)
        some = off > np.finfo(np.float32).eps * off.max(initial=0.0)
        if not some.any():
            break
        # where most changes are none, the others say what is usual
        importance = np.minimum(1.0, FAR * np.median(off[some]) / np.maximum(off, 1e-300))
    return weights
