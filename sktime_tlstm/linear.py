"""Linear simulations: what a network that simulates is weighed against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import ranges, spread
from sktime_tlstm.data.sampling import WindowDataset
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.simple import TO_UPPER

__all__ = ["LinearSimulation", "learn_linear"]

Floats = npt.NDArray[np.float64]

#: Rows of the input that an output is made of, at most: in all, and of all inputs together.
MAX_LENGTH, MAX_WEIGHTS = 128, 512
#: Rows that are learnt from at most, and at a time.
MAX_ROWS, ROWS_AT_ONCE = 20_000, 2048
#: Rows after which weights have decayed to 1 / e, and strengths of the penalty, that are tried.
DECAYS, PENALTIES = (1, 2, 4, 8, 16, 32, 64, 128), tuple(10.0**k for k in range(-7, 3))
#: Degrees of freedom of the weights, as a share of the rows, at most.
MOST_KNOWN = 0.9


@dataclass(frozen=True)
class LinearSimulation:
    """A weighted sum of the last rows of the inputs: a finite impulse response.

    Parameters
    ----------
    weights : Tensor of shape (num_targets, num_inputs, length), float32
        Of scaled inputs, those of the current row last.
    offset : Tensor of shape (num_targets,), float32
    deviation : Tensor of shape (num_targets, horizon), float64
        Deviation of the errors, the same at every step.
    """

    weights: Tensor
    offset: Tensor
    deviation: Tensor

    #: What simple forecasts know besides: sizes of errors of each series, effects, a season.
    own = effects = season = None

    def familiarity(self, *_: object) -> None:
        """Return None: a network knows all inputs alike, as far as this can tell."""

    def __call__(
        self, store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor
    ) -> Tensor:
        """Simulate windows; before their contexts the inputs were as in the first row of these.

        Parameters
        ----------
        store : SeriesStore
        spec : WindowSpec
        series, cutoff : Tensor of shape (window,), int64

        Returns
        -------
        Tensor of shape (3, window, horizon, num_targets), float64
            The simulation, scaled, and its 10 % and 90 % quantile.
        """
        device = store.values.device
        series, cutoff = series.to(device)[:, None], cutoff.to(device)[:, None]
        length = max(self.weights.shape[-1], 1)
        place = cutoff + torch.arange(1 - length, spec.horizon, device=device)
        place = place.maximum(cutoff - spec.context_length).clamp(min=0)
        place = place.minimum(store.length[series] - 1)  # (window, length - 1 + horizon)
        inputs = store.values[store.start[series] + place][..., input_channels(spec)]
        offset = self.offset.to(device)
        if inputs.shape[-1]:
            weights = self.weights.to(device)
            center = torch.nn.functional.conv1d(inputs.transpose(1, 2), weights, offset)
            center = center.transpose(1, 2)  # (window, horizon, target)
        else:
            center = offset.expand(len(cutoff), spec.horizon, -1)
        center = center.double()
        width = TO_UPPER * self.deviation[:, 0].to(device)
        bands = torch.stack([center, center - width, center + width])
        return bands if spec.support == "real" else bands.clamp(min=0)


def input_channels(spec: WindowSpec) -> list[int]:
    """Return the channels of a store that hold numeric inputs known in the future."""
    return [spec.num_targets + channel for channel in spec.known]


def learn_linear(learnt: WindowDataset) -> LinearSimulation:
    """Learn a linear simulation from the rows that windows have as targets.

    Weights are drawn to an exponential decay, whose length and strength are chosen by generalised
    cross-validation (Chen, Ohlsson, Ljung 2012, "On the estimation of transfer functions,
    regularizations and Gaussian processes - revisited", Automatica 48(8), the kernel TC; Golub,
    Heath, Wahba 1979, "Generalized cross-validation as a method for choosing a good ridge
    parameter", Technometrics 21(2)).
    """
    spec, store = learnt.spec, learnt.store.to("cpu")
    longest = int(store.length[torch.from_numpy(learnt.used)].max())
    number = len(spec.known)
    length = max(1, min(MAX_LENGTH, longest // 3, MAX_WEIGHTS // number)) if number else 0
    weights = torch.zeros(spec.num_targets, number, length)
    offset, deviation = torch.zeros(spec.num_targets), torch.ones(spec.num_targets)
    first, rows = _rows(learnt, length)
    for target in range(spec.num_targets):
        seen = store.observed[rows, target].numpy()
        if spec.weighted:
            seen &= (store.values[rows, -1] >= 0).numpy()  # -1 stands for a weight of 0
        chosen = spread(int(seen.sum()), MAX_ROWS)
        if len(chosen) < 2:
            continue
        places = rows[seen][chosen], first[seen][chosen]
        found, mean, spare = _fitted(_products(store, spec, target, length, *places), number)
        weights[target] = torch.from_numpy(found[:, ::-1].copy())
        offset[target], deviation[target] = mean, spare
    spread_out = deviation.double()[:, None].expand(-1, spec.horizon).contiguous()
    return LinearSimulation(weights, offset, spread_out)


def _rows(learnt: WindowDataset, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of the series, and the row, of all that may be learnt from."""
    begin, lengths = learnt.store.start.cpu().numpy()[learnt.used], learnt.length
    low = np.maximum(learnt.low, np.minimum(length, lengths // 4))  # before it inputs are not known
    high = np.minimum(learnt.low + learnt.count - 1 + learnt.spec.horizon, lengths)
    number = np.maximum(high - low, 0)
    rows, first = ranges(begin + low, number), np.repeat(begin, number)
    if learnt.rows is not None:
        free = learnt.rows.cpu().numpy()[rows]
        rows, first = rows[free], first[free]
    return first, rows


def _products(
    store: SeriesStore,
    spec: WindowSpec,
    target: int,
    length: int,
    rows: np.ndarray,
    first: np.ndarray,
) -> tuple[int, Floats, Floats]:
    """Return the number of rows, the sums and the products of inputs, latest first, and target."""
    size = len(spec.known) * length + 1
    total, products = np.zeros(size), np.zeros((size, size))
    for part in _parts(len(rows)):
        place = np.maximum(rows[part, None] - np.arange(length), first[part, None])
        inputs = store.values[place][..., input_channels(spec)].double().numpy()
        # (row, length, input) -> (row, input * length), then the target
        flat = inputs.transpose(0, 2, 1).reshape(len(place), -1)
        goal = store.values[rows[part], target].double().numpy()
        both = np.concatenate([flat, goal[:, None]], axis=1)
        total += both.sum(axis=0)
        products += both.T @ both
    return len(rows), total, products


def _parts(number: int) -> Iterator[slice]:
    for begin in range(0, number, ROWS_AT_ONCE):
        yield slice(begin, begin + ROWS_AT_ONCE)


def _fitted(sums: tuple[int, Floats, Floats], num_inputs: int) -> tuple[Floats, float, float]:
    """Return weights (num_inputs, length), latest first, offset, and deviation of the errors."""
    number, total, products = sums
    mean = total / number
    centred = products - number * np.outer(mean, mean)
    gram, moment, power = centred[:-1, :-1], centred[:-1, -1], max(float(centred[-1, -1]), 0.0)
    length = len(moment) // max(num_inputs, 1)
    best = power / max(number - 1, 1), np.zeros(len(moment))  # the mean alone
    lag = np.arange(length)
    for decay in DECAYS if num_inputs else ():
        kernel = np.exp(-np.maximum(lag[:, None], lag) / decay)
        root = np.linalg.cholesky(kernel + 1e-10 * np.eye(length))
        shape = np.kron(np.eye(num_inputs), root)
        size, axes = np.linalg.eigh(shape.T @ gram @ shape)
        size, along = np.maximum(size, 0.0), axes.T @ (shape.T @ moment)
        for penalty in PENALTIES:
            shrunk = along / (size + penalty * number)
            known = float((size / (size + penalty * number)).sum()) + 1
            if known > MOST_KNOWN * number:
                continue
            left = max(power - 2 * float(along @ shrunk) + float(size @ shrunk**2), 0.0)
            score = left * number / (number - known) ** 2
            if score < best[0]:
                best = score, shape @ (axes @ shrunk)
    weights = best[1]
    offset = float(mean[-1] - mean[:-1] @ weights)
    return weights.reshape(num_inputs, length), offset, float(np.sqrt(best[0])) or 1e-6
