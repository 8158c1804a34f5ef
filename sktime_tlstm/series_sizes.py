"""Series sizes: how large the errors of each series of a panel are, beside those of all."""

from __future__ import annotations

import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import blocks

__all__ = ["LEAST", "learn_series_sizes", "series_sizes"]

#: Whole horizons of a series whose errors count as much as those of all series.
PRIOR = 5.0
#: Size at least; errors below so much of the usual ones at so many horizons are none.
LEAST, NOTHING, ENOUGH = 0.2, 1e-4, 3


def series_sizes(sizes: Tensor, store: SeriesStore, series: Tensor) -> Tensor:
    """Return those (window, num_targets) of series of a store, 1 of ones that are not known.

    Parameters
    ----------
    sizes : Tensor of shape (1 + number of series, num_targets)
        Of those that were not there, and of every series.
    store : SeriesStore
    series : Tensor of shape (window,), int64
    """
    number = store.traits.identity[series].long()
    return sizes.to(number.device)[torch.where(number < len(sizes), number, 0)]


def learn_series_sizes(
    store: SeriesStore, series: Tensor, cutoff: Tensor, error: Tensor
) -> Tensor | None:
    """Return by how much the errors of series are larger than usual; None for a single series.

    (1 + number of series, num_targets), as `series_sizes` reads them. Few errors of a series are
    drawn to those of all. A series that never changes, or whose errors are none, gets 0: it tells
    nothing of others.

    Parameters
    ----------
    store : SeriesStore
    series, cutoff : Tensor of shape (window,), int64
    error : Tensor of shape (window, horizon, num_targets)
        Sizes of errors, NaN where unobserved.
    """
    number, horizon = int(store.traits.identity.max()), error.shape[1]
    if number < 2:
        return None
    owner = store.traits.identity[series].long()
    targets = error.shape[-1]
    size = error.nanmean(dim=1).double()  # (window, num_targets)
    known = ~size.isnan()
    zero = torch.zeros(1 + number, targets, dtype=torch.float64)
    count = zero.index_add(0, owner, known.double())
    total = zero.index_add(0, owner, size.nan_to_num())
    place = owner[:, None].expand(-1, 1)
    ends = [
        torch.zeros(1 + number, 1, dtype=cutoff.dtype).scatter_reduce(
            0, place, cutoff[:, None], way, include_self=False
        )
        for way in ("amin", "amax")
    ]
    horizons = torch.minimum(count, (ends[1] - ends[0]) / horizon + 1)
    mean = total / count.clamp(min=1)
    silent = zero.bool()
    silent[store.traits.identity.long()] = _is_constant(store, targets)
    telling = (count > 0) & ~silent
    usual = (total * telling).sum(dim=0) / (count * telling).sum(dim=0).clamp(min=1)
    silent |= (horizons >= ENOUGH) & (mean < NOTHING * usual)
    telling &= ~silent
    usual = (total * telling).sum(dim=0) / (count * telling).sum(dim=0).clamp(min=1)
    relative = mean / usual.clamp(min=1e-12)
    sizes = ((horizons * relative + PRIOR) / (horizons + PRIOR)).clamp(min=LEAST)
    sizes = torch.where(silent, 0.0, sizes)
    sizes[0] = 1.0
    return torch.where(telling.any(dim=0), sizes, 1.0)


def _is_constant(store: SeriesStore, targets: int) -> Tensor:
    """Return which series have one value at all times (series, target)."""
    least = torch.full((len(store), targets), torch.inf)
    most = -least
    owner = torch.repeat_interleave(torch.arange(len(store)), store.length)
    first = torch.repeat_interleave(
        store.start - store.length.cumsum(0) + store.length, store.length
    )
    for part in blocks(len(owner)):
        row, place = first[part] + torch.arange(part.start, part.stop), owner[part, None]
        values, seen = store.values[row, :targets], store.observed[row, :targets]
        place = place.expand(-1, targets)
        low, high = (torch.where(seen, values, sign * torch.inf) for sign in (1, -1))
        least.scatter_reduce_(0, place, low, "amin")
        most.scatter_reduce_(0, place, high, "amax")
    return least >= most
