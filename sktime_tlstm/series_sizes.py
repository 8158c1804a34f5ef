"""Series sizes: how large the errors of each series of a panel are, beside those of all."""

from __future__ import annotations

import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import blocks

__all__ = ["LEAST", "beside_sizes", "learn_series_sizes", "series_sizes"]

#: Whole horizons of a series whose errors count as much as those of all series.
PRIOR = 5.0
#: Size at least, and rows that a series stands still for.
LEAST, STILL_ROWS = 0.2, 8


def series_sizes(sizes: Tensor, store: SeriesStore, series: Tensor, cutoff: Tensor) -> Tensor:
    """Return those (window, num_targets) of series of a store, 1 of ones that are not known.

    Parameters
    ----------
    sizes : Tensor of shape (1 + number of series, num_targets)
        Of those that were not there, and of every series.
    store : SeriesStore
    series, cutoff : Tensor of shape (window,), int64
        A series that stood still counts as such while its last rows do.
    """
    number = store.traits.identity[series].long()
    own = sizes.to(number.device)[torch.where(number < len(sizes), number, 0)]
    place = cutoff[:, None] + torch.arange(-STILL_ROWS, 0, device=cutoff.device)
    row = store.start[series, None] + place.clamp(min=0)  # (window, STILL_ROWS)
    targets = own.shape[-1]
    values, seen = store.values[row, :targets], store.observed[row, :targets]
    low, high = (torch.where(seen, values, end * torch.inf) for end in (1, -1))
    return torch.where((own == 0) & (low.amin(dim=1) < high.amax(dim=1)), 1.0, own)


def beside_sizes(sizes: Tensor | None, store: SeriesStore, series: Tensor, error: Tensor) -> Tensor:
    """Return errors of training (window, horizon, num_targets) in sizes of their series.

    NaN of series that stand still; the errors themselves without sizes.
    """
    if sizes is None:
        return error
    each = sizes[store.traits.identity[series].long()][:, None]
    return torch.where(each > 0, error / each, torch.nan)


def learn_series_sizes(
    store: SeriesStore, series: Tensor, cutoff: Tensor, error: Tensor
) -> Tensor | None:
    """Return by how much the errors of series are larger than usual; None for a single series.

    (1 + number of series, num_targets), as `series_sizes` reads them. Few errors of a series are
    drawn to those of all. A series that stands still gets 0: it tells nothing of others.

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
    still = zero.bool()
    still[store.traits.identity.long()] = _stands_still(store, targets, max(horizon, STILL_ROWS))
    telling = (count > 0) & ~still
    usual = (total * telling).sum(dim=0) / (count * telling).sum(dim=0).clamp(min=1)
    relative = mean / usual.clamp(min=1e-12)
    sizes = ((horizons * relative + PRIOR) / (horizons + PRIOR)).clamp(min=LEAST)
    sizes = torch.where(still, 0.0, sizes)
    sizes[0] = 1.0
    return torch.where(telling.any(dim=0), sizes, 1.0)


def _stands_still(store: SeriesStore, targets: int, rows: int) -> Tensor:
    """Return which series have one value at all times, at least so many (series, target)."""
    number = torch.zeros(len(store), targets, dtype=torch.int64)
    least = torch.full((len(store), targets), torch.inf)
    most = -least
    end = store.length.cumsum(0)  # of all series end to end
    for part in blocks(int(end[-1])):  # so that temporary tensors stay small beside the store
        within = torch.arange(part.start, part.stop)
        owner = torch.searchsorted(end, within, right=True)
        row, place = (store.start + store.length - end)[owner] + within, owner[:, None]
        values, seen = store.values[row, :targets], store.observed[row, :targets]
        place = place.expand(-1, targets)
        low, high = (torch.where(seen, values, sign * torch.inf) for sign in (1, -1))
        number.index_add_(0, place[:, 0], seen.long())
        least.scatter_reduce_(0, place, low, "amin")
        most.scatter_reduce_(0, place, high, "amax")
    return (least >= most) & (number >= rows)
