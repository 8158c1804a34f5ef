"""Sampling: which windows of a store are trained on, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.windows import Batch, Inputs, WindowSpec, cut_windows

__all__ = ["WindowDataset", "WindowSampler", "training_cutoffs"]


class WindowDataset(Dataset[Any]):
    """Training or validation windows of a store, each a pair (series, cutoff).

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    low, high : numpy.ndarray of int64, shape (num_series,)
        The cutoffs of series i are ``low[i] .. high[i] - 1``; none where ``high <= low``.
    season : int or None
        Half of a training epoch is drawn from cutoffs whole seasons before the series' end.
    recent : numpy.ndarray of int64, shape (num_series,), or None
        Half of a training epoch is drawn from the last ``recent[i]`` cutoffs of each series.
    by_series : bool
        Draw every series equally often, instead of every window.
    windows_per_epoch : int or None
        Number of windows a training epoch draws; None for each one once.
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
    ):
        self.store, self.spec = store, spec
        self.used = np.flatnonzero(high > low)
        self.low, self.count = low[self.used], (high - low)[self.used]
        self.length = store.length.cpu().numpy()[self.used]
        self.first = np.concatenate([[0], np.cumsum(self.count)])
        self.season, self.by_series = season, by_series
        self.recent = None if recent is None else recent[self.used]
        self.windows_per_epoch = windows_per_epoch or len(self)

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self.first[-1])

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Any]:
        """Return one window, without a batch dimension."""
        inputs, target = self.__getitems__([index])
        single = tuple(part[0] for part in target) if isinstance(target, tuple) else target[0]
        return {name: value[0] for name, value in inputs.items()}, single

    def __getitems__(self, indices: list[int]) -> tuple[Inputs, Any]:
        """Return a whole batch: the network's keyword arguments and the normalised target.

        Where the targets are counts, the second is a pair: the target and its unit.
        """
        batch = self.batch(indices)
        if self.spec.support == "count":
            return Inputs(batch), (batch.target, batch.unit)
        return Inputs(batch), batch.target

    def batch(self, indices: list[int] | np.ndarray) -> Batch:
        """Return a batch with what undoes its normalisation."""
        series, cutoff = self.place(np.asarray(indices))
        return cut_windows(
            self.store, self.spec, torch.from_numpy(series), torch.from_numpy(cutoff)
        )

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
