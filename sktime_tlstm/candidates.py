"""Candidates: simple forecasts of a window as matrices, and weights of them by past errors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["MEDIANS", "candidates", "combined", "each", "weighed"]

#: Share that exponential smoothing of the level gives to the latest row: 1 is the naive forecast,
#: 0 the mean.
SMOOTHING = (1.0, 0.6, 0.35, 0.2, 0.1, 0.04, 0.0)
#: Weight of a season's shape relative to that of the next: 0 repeats the last season.
SEASON_MEMORY = (0.0, 0.7, 1.0)
#: Share of the trend that goes on.
TRENDS = (0.0, 0.5, 1.0)
#: Parts of the window, from its end, whose median is a forecast.
MEDIANS = (1.0, 0.25)
#: Weights are errors to the power of minus this, times the number of windows.
SHARPNESS = 0.7
#: Weight of the forecasts that a short window allows, at least; below, others take their place.
MIN_WEIGHT = 0.5


def candidates(
    length: int, horizon: int, seasons: tuple[int, ...]
) -> dict[tuple[float, ...], Tensor]:
    """Return simple forecasts as matrices (horizon, length), by what they are."""
    found: dict[tuple[float, ...], Tensor] = {}
    cycles = [(1, 0.0)] + [
        (season, memory) for season in seasons if season <= length for memory in SEASON_MEMORY
    ]
    ahead = torch.arange(1, horizon + 1, dtype=torch.float64)[:, None]
    for season, memory in cycles:
        shape, slope = _shape(length, season, memory)
        time = torch.arange(1 - length, 1, dtype=torch.float64)[:, None]
        phase = (torch.arange(length) - length) % season
        rest = torch.eye(length, dtype=torch.float64) - shape[phase]
        coming = shape[torch.arange(horizon) % season]
        for smoothing in SMOOTHING:
            weight = (1 - smoothing) ** -time[:, 0] if smoothing < 1 else (time[:, 0] == 0).double()
            weight = weight / weight.sum()
            for share in TRENDS:
                level = weight @ (rest - time * share * slope)
                found[season, memory, smoothing, share] = level + ahead * share * slope + coming
    return found


def _shape(length: int, season: int, memory: float) -> tuple[Tensor, Tensor]:
    """Return a season's shape (season, length) and the slope (length,), linear in the window.

    The shape is what the last seasons have in common, in the order of the last season's rows. The
    slope is that of a line through the seasons' means.
    """
    eye = torch.eye(length, dtype=torch.float64)
    number = length // season
    whole = eye[length - number * season :].reshape(number, season, length)
    means = whole.mean(dim=1)  # (number, length)
    time = torch.arange(number, dtype=torch.float64) * season
    centered = time - time.mean()
    slope = centered @ means / centered.square().sum().clamp(min=1)
    if season == 1:
        return torch.zeros(1, length, dtype=torch.float64), slope
    within = torch.arange(season, dtype=torch.float64) - (season - 1) / 2
    deviation = whole - means[:, None] - within[None, :, None] * slope
    age = torch.arange(number - 1, -1, -1, dtype=torch.float64)
    weight = memory**age if memory else (age == 0).double()
    return torch.einsum("n,nsl->sl", weight / weight.sum(), deviation), slope


def each(
    matrices: dict[tuple[float, ...], Tensor],
    specs: list[tuple[float, ...]],
    past: Tensor,
    zero: Tensor,
    positive: Tensor,
    length: int,
) -> Iterator[tuple[int, Tensor]]:
    """Yield every forecast (window, horizon, target) that a length allows, with its place."""
    logs = torch.log((past - zero[:, None]).clamp(min=1e-12)) if bool(positive.any()) else None
    for place, spec in enumerate(specs):
        if spec not in matrices:
            continue
        matrix = matrices[spec]
        yield place, torch.einsum("hl,wlt->wht", matrix, past)
        if logs is not None:
            product = torch.exp(torch.einsum("hl,wlt->wht", matrix, logs).clamp(max=60))
            yield len(specs) + place, product + zero[:, None]
    for number, part in enumerate(MEDIANS):
        rows = past[:, -max(1, round(part * length)) :]
        yield 2 * len(specs) + number, rows.quantile(0.5, dim=1)[:, None]


def weighed(errors: Tensor, known: Tensor, usable: Tensor, windows: int) -> tuple[Tensor, Tensor]:
    """Return weights (target, forecast) of all forecasts, and those where only some can be made.

    Parameters
    ----------
    errors, known : Tensor of shape (length, target, forecast)
        Summed errors, and what they are to be divided by: 0 where windows are too short.
    usable : Tensor of shape (target, forecast), bool
    windows : int
    """
    number = known.sum(dim=0)
    most = number.max(dim=1, keepdim=True).values
    always = usable & (number >= most)
    mean = errors.sum(dim=0) / number.clamp(min=1e-9)
    best = torch.where(always, mean, torch.inf).argmin(dim=1, keepdim=True)  # (target, 1)
    # What some windows are too short for is held against the best other at the same windows.
    same = known > 0
    at_best = best.expand(len(errors), -1, -1)
    reference = (errors.gather(2, at_best) * same).sum(dim=0)
    reference = reference / (known.gather(2, at_best) * same).sum(dim=0).clamp(min=1e-9)
    ratio = (mean + 1e-9) / (reference + 1e-9)
    share = number / most.clamp(min=1e-9)
    relative = torch.where(always, ratio, ratio**share)
    relative = torch.where(usable & ((number > 0) | always), relative, torch.inf)

    def posterior(chosen: Tensor) -> Tensor:
        chosen = torch.where(chosen, relative, torch.inf)
        weights = (chosen.min(dim=1, keepdim=True).values / chosen) ** (SHARPNESS * windows)
        return weights / weights.sum(dim=1, keepdim=True)

    return posterior(torch.ones_like(usable)), posterior(always)


def combined(
    every: dict[int, dict[tuple[float, ...], Tensor]],
    specs: list[tuple[float, ...]],
    weights: Tensor,
    fallback: Tensor,
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return the weighted matrices of every length, and the shares of their kinds."""
    number, maps, shares = len(specs), {}, {}
    for length, matrices in every.items():
        place = [index for index, spec in enumerate(specs) if spec in matrices]
        stack = torch.stack([matrices[specs[index]] for index in place])  # (k, horizon, length)

        def possible(some: Tensor, place: list[int] = place) -> Tensor:
            parts = some[:, place], some[:, [number + k for k in place]], some[:, 2 * number :]
            return torch.cat(parts, dim=1)

        own, other = possible(weights), possible(fallback)
        own = torch.where(own.sum(dim=1, keepdim=True) < MIN_WEIGHT, other, own) + 1e-12
        own = own / own.sum(dim=1, keepdim=True)
        kinds = own[:, : len(place)], own[:, len(place) : 2 * len(place)]
        totals = [kind.sum(dim=1, keepdim=True) for kind in kinds]
        shares[length] = torch.cat([*totals, own[:, 2 * len(place) :]], dim=1)
        maps[length] = torch.stack(
            [
                torch.einsum("tk,khl->thl", kind / total, stack)
                for kind, total in zip(kinds, totals, strict=True)
            ],
            dim=1,
        )
    return maps, shares
