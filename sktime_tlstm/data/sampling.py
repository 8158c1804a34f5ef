"""Sampling: which windows of a store are trained on, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import ranges
from sktime_tlstm.data.windows import Batch, Inputs, WindowSpec, cut_windows, sent

__all__ = ["WindowDataset", "WindowSampler", "parts_of", "rows_of", "training_cutoffs"]


class WindowDataset(Dataset[Any]):
    """Training or validation windows of a store, each a pair (series, cutoff).

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    low, high : numpy.ndarray of int64, shape (num_series,)
        The cutoffs of series i are ``low[i] .. high[i] - 1``; none where ``high <= low``.
        Where ``series`` are named, of those: (part,), one after the other.
    season : int or None
        Half of a training epoch is drawn from cutoffs whole seasons before the series' end.
    recent : numpy.ndarray of int64, shape (num_series,), or None
        Half of a training epoch is drawn from the last ``recent[i]`` cutoffs of each series.
    by_series : bool
        Draw every series equally often, instead of every window.
    windows_per_epoch : int or None
        Number of windows a training epoch draws; None for each one once.
    step_weights : sequence of float, of length horizon, or None
        Weights of the steps in the loss, divided here by their mean. Those of the rows, if the
        store has any, are divided by the mean over all its rows.
    rows : Tensor of shape (total_time,), bool, or None
        Which rows of the store may be targets; None for all.
    series : numpy.ndarray of int64, shape (part,), or None
        Which series each of ``low`` and ``high`` belongs to; None for all in order.

    Raises
    ------
    ValueError
        If ``step_weights`` are of another length.
    """

    def __init__(
        self,
        store: SeriesStore,
        spec: WindowSpec,
        low: np.ndarray,
        high: np.ndarray,
        season: int | None = None,
        recent: np.ndarray | None = None,
        by_series: bool = True,
        windows_per_epoch: int | None = None,
        step_weights: Sequence[float] | None = None,
        rows: Tensor | None = None,
        series: np.ndarray | None = None,
    ):
        self.store, self.spec, self.rows = store, spec, rows
        some = np.flatnonzero(high > low)
        self.used = some if series is None else series[some]
        self.low, self.count = low[some], (high - low)[some]
        self.length = store.length.cpu().numpy()[self.used]
        self.first = np.concatenate([[0], np.cumsum(self.count)])
        self.season, self.by_series = season, by_series
        self.recent = None if recent is None else recent[some]
        self.windows_per_epoch = windows_per_epoch or len(self)
        self.mean_weight = _mean_weight(store) if spec.weighted else 1.0
        self.step_weights = None
        if step_weights is not None:
            if len(step_weights) != spec.horizon:
                raise ValueError(
                    f"Got step_weights of {len(step_weights)} steps, expected {spec.horizon}, one "
                    "for each step of the trained horizon (the largest step of fh, or "
                    "prediction_length). Pass as many."
                )
            steps = np.asarray(step_weights, dtype=np.float64)
            self.step_weights = torch.from_numpy(steps / _mean(steps)).to(store.values)

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self.first[-1])

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Any]:
        """Return one window, without a batch dimension."""
        inputs, target = self.__getitems__([index])
        return {name: value[0] for name, value in inputs.items()}, rows_of(target, 0)

    def __getitems__(self, indices: list[int]) -> tuple[Inputs, Any]:
        """Return a whole batch: the network's keyword arguments and the normalised target.

        Where the targets are counts, the second is a pair: the target and its unit. Where they
        have weights, it is a triple: the target, the unit of counts or None, and the weights
        (batch, horizon).
        """
        batch = self.batch(indices)
        unit, weight = batch.unit if self.spec.support == "count" else None, self._weight(batch)
        if weight is not None:
            return Inputs(batch), (batch.target, unit, weight)
        return Inputs(batch), batch.target if unit is None else (batch.target, unit)

    def _weight(self, batch: Batch) -> Tensor | None:
        """Return the weights (batch, horizon) of a batch's targets, 1 in the mean of all rows."""
        weight = None if batch.weight is None else batch.weight / self.mean_weight
        if self.step_weights is None:
            return weight
        ones = torch.ones_like(batch.target[..., 0]) if weight is None else weight
        return ones * self.step_weights

    def check_weights(self) -> None:
        """Raise a ValueError if no row that is a target of a window has a weight above 0."""
        if not self.spec.weighted:
            return
        start = self.store.start.cpu().numpy()[self.used] + self.low
        number = np.minimum(self.count - 1 + self.spec.horizon, self.length - self.low)
        rows = torch.from_numpy(ranges(start, number)).to(self.store.values.device)
        if self.rows is not None:
            rows = rows[self.rows[rows]]
        if not bool((self.store.values[rows, -1] > 0).any()):
            raise ValueError(
                "Got a weight_column that is 0 in all rows that are forecast in training, expected "
                "some above 0: nothing would be learnt. Raise some that lie behind a context and "
                "are not held out, or pass weight_column=None."
            )

    def batch(self, indices: list[int] | np.ndarray) -> Batch:
        """Return a batch with what undoes its normalisation."""
        series, cutoff = self.place(np.asarray(indices))
        batch = cut_windows(
            self.store, self.spec, torch.from_numpy(series), torch.from_numpy(cutoff)
        )
        if self.rows is None:
            return batch
        target = torch.where(self.are_targets(series, cutoff)[..., None], batch.target, torch.nan)
        return batch._replace(target=target)

    def are_targets(self, series: np.ndarray, cutoff: np.ndarray) -> Tensor:
        """Return which rows behind cutoffs (window,) may be targets: (window, horizon), bool."""
        assert self.rows is not None
        device = self.store.values.device
        owner, begin = (sent(torch.from_numpy(part), device) for part in (series, cutoff))
        first = self.store.start[owner] + begin
        row = first[:, None] + torch.arange(self.spec.horizon, device=first.device)
        return self.rows[row.clamp(max=len(self.rows) - 1)]

    def place(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the series and the cutoff of each window."""
        place = np.searchsorted(self.first, index, side="right") - 1
        return self.used[place], self.low[place] + index - self.first[place]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the windows of one epoch, spread evenly over series and time.

        Returns
        -------
        numpy.ndarray of int64, shape (windows_per_epoch,)
        """
        num_windows = self.windows_per_epoch
        strata = rng.permutation(num_windows)
        uniform = (strata + rng.random(num_windows)) / num_windows  # one draw from every stratum
        if self.by_series:
            place, fraction = np.divmod(uniform * len(self.count), 1.0)
            place = np.minimum(place.astype(np.int64), len(self.count) - 1)
            within = (fraction * self.count[place]).astype(np.int64)
        else:
            index = np.minimum((uniform * len(self)).astype(np.int64), len(self) - 1)
            place = np.searchsorted(self.first, index, side="right") - 1
            within = index - self.first[place]
        half = rng.permutation(num_windows) % 2 == 0
        last = self.count[place] - 1
        if self.season is not None:
            to_end = self.length[place] - self.low[place] - within
            aligned = within + to_end % self.season
            aligned = np.where(aligned > last, aligned - self.season, aligned)
            within = np.where(half & (aligned >= 0), aligned, within)
        if self.recent is not None:
            number = self.recent[place]
            late = last - (last - within) * number // self.count[place]
            within = np.where(half & (number > 0), late, within)
        return self.first[place] + within


def parts_of(told: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return target, unit of counts and weights, as a `WindowDataset` says beside its inputs."""
    parts = told if isinstance(told, (tuple, list)) else (told,)
    target, unit, weight = (*parts, None, None)[:3]
    return target, unit, weight


def rows_of(told: Any, rows: int | slice) -> Any:
    """Return what a `WindowDataset` says beside its inputs, of some windows of a batch."""
    if isinstance(told, (tuple, list)):
        return tuple(None if part is None else part[rows] for part in told)
    return told[rows]


def _mean_weight(store: SeriesStore) -> float:
    """Return the mean weight of all rows of a store that were told one; 1 if all are 0."""
    rows = torch.from_numpy(ranges(store.start.cpu().numpy(), store.length.cpu().numpy()))
    told = store.values[rows.to(store.values.device), -1].double().cpu().numpy()
    return _mean(told[told != 0].clip(min=0)) or 1.0


def _mean(weights: np.ndarray) -> float:
    """Return a mean that is exact where all are equal."""
    most = float(weights.max(initial=0.0))
    return most * float((weights / most).mean()) if most else 0.0


class WindowSampler(Sampler[int]):
    """Draws the windows of each epoch afresh from a WindowDataset.

    Parameters
    ----------
    dataset : WindowDataset
    seed : int
    batch_size, rank, number : int
        Of ``number`` processes that train together the one of that rank takes its own batch of
        every ``number`` batches that are drawn, and of the rest an equal share.
    """

    def __init__(
        self,
        dataset: WindowDataset,
        seed: int,
        batch_size: int = 1,
        rank: int = 0,
        number: int = 1,
    ):
        self.dataset, self.rng = dataset, np.random.default_rng(seed)
        self.batch_size, self.rank, self.number = batch_size, rank, number

    def __len__(self) -> int:
        """Return the number of windows of an epoch, in this process."""
        return self.dataset.windows_per_epoch // self.number

    def __iter__(self) -> Iterator[int]:
        """Yield the windows of the next epoch."""
        windows = self.dataset.draw(self.rng)
        together = self.batch_size * self.number
        whole = len(windows) // together * together
        own = windows[:whole].reshape(-1, self.number, self.batch_size)[:, self.rank].ravel()
        share = (len(windows) - whole) // self.number
        rest = windows[whole + self.rank * share :][:share]
        return iter([*own.tolist(), *rest.tolist()])


def training_cutoffs(
    length: np.ndarray, spec: WindowSpec, validation_fraction: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split the cutoffs of every series into training and validation, in the order of time.

    A series trains at cutoffs that leave a whole horizon behind them and, if it is long enough, a
    whole context before them (at least half of all cutoffs are used); one of at most ``horizon``
    rows trains at all its rows, with partial horizons. Validation takes the last cutoffs, and no
    validation target is a training target. A series of at most twice the horizon has none.

    Returns
    -------
    low, split, high : numpy.ndarray of int64, shape (num_series,)
        Training cutoffs are ``low .. split - 1``, validation cutoffs
        ``split + horizon - 1 .. high - 1``.
    """
    horizon = spec.horizon
    whole = length - horizon
    low = np.clip(np.minimum(spec.context_length, whole // 2), 0, None)
    high = np.where(whole > 0, whole + 1, length)
    number = np.ceil(validation_fraction * (high - low)).astype(np.int64)
    most = np.where(length > 2 * horizon, high - low - horizon, 0)  # one cutoff stays to train
    number = np.clip(number, 0, np.clip(most, 0, None))
    split = np.where(number > 0, high - number - horizon + 1, high)
    return low.astype(np.int64), split.astype(np.int64), high.astype(np.int64)
