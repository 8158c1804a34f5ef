"""Simple forecasts: level, trend and season of the last rows, weighted by their past errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.windows import WindowSpec, past_targets
from sktime_tlstm.effects import Effects, Sizes, learn_effects, learn_sizes
from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.series_sizes import LEAST, beside_sizes, learn_series_sizes, series_sizes

__all__ = ["SimpleForecast", "future_rows", "learn_simple"]

#: Share that exponential smoothing of the level gives to the latest row: 1 is the naive forecast,
#: 0 the mean.
SMOOTHING = (1.0, 0.6, 0.35, 0.2, 0.1, 0.04, 0.0)
#: Weight of a season's shape relative to that of the next: 0 repeats the last season.
SEASON_MEMORY = (0.0, 0.7, 1.0)
#: Share of the trend that goes on.
TRENDS = (0.0, 0.5, 1.0)
#: Parts of the window, from its end, whose median is a forecast.
MEDIANS = (1.0, 0.25)
#: Lengths of windows are to each other as this.
LADDER = 0.85
#: Weights are errors to the power of minus this, times the number of windows.
SHARPNESS = 0.7
#: Windows that a step needs for its own deviation to count as much as that of all steps.
STEP_WINDOWS = 8
#: Part of a series after which the errors of simple forecasts count half.
HALF_LIFE = 0.5
#: By how much errors that grow with something must be likelier than others, for a horizon.
SURE_OF_KIND = 0.5
#: What errors may grow with: changes of the window over so many rows, or over a season (0), the
#: latest ones most or all of them; the second kind is the forecast's distance from zero.
CHANGES = {1: (1, False), 3: (0, False), 4: (1, True), 5: (0, True)}
FIXED, SIZE = 0, 2
#: How sure of it one must be, as multiples of that of others.
DOUBTS = {1: 1.0, 3: 2.0, 4: 2.0, 5: 2.0}
#: Half-life of recent changes, as a share of the window.
RECENT = 0.1
#: Rows that an effect, undone, takes so many times as far from the others as they were had none.
FAR_AWAY = 3.0
#: Smallest change of a window, as a share of the usual one.
MIN_CHANGE = 0.1
#: Weight of the forecasts that a short window allows, at least; below, others take their place.
MIN_WEIGHT = 0.5
#: Share from which on forecasts of logarithms are computed.
MIN_SHARE = 1e-9
#: From the mean absolute error to a normal standard deviation, and from that to its 90 % quantile.
TO_DEVIATION, TO_UPPER = 1.2533, 1.2816


@dataclass(frozen=True)
class SimpleForecast:
    """Many simple forecasts of a window as one, and how far it is off.

    Every forecast is the sum of a level by exponential smoothing, a share of a linear trend, and
    a season's shape; or a median. Each weighs in by its
    errors at the training windows, to a power that grows with their number: where they are few,
    it is nearly an average, which is hard to beat (Makridakis, Spiliotis, Assimakopoulos 2020,
    "The M4 Competition", International Journal of Forecasting 36(1)). All but the medians are
    linear in the window, and become one matrix; those of the logarithm, which multiply, another.

    Parameters
    ----------
    maps : dict of int to Tensor of shape (num_targets, 2, horizon, length)
        For every length of a window: the linear forecasts and those of logarithms, as matrices.
    shares : dict of int to Tensor of shape (num_targets, 2 + number of medians)
        Weights of the two and of the medians, which sum to 1.
    deviation : Tensor of shape (num_targets, horizon)
        Deviation of the errors, as a multiple of ``kinds``.
    kinds : tuple of int
        Of each target, what the errors grow with: nothing (`FIXED`), the forecast's distance from
        zero (`SIZE`), or the window's changes (`CHANGES`).
    change : Tensor of shape (num_targets,)
        The usual change of a window, of the kind that errors grow with.
    season : int or None
        By which gaps are filled.
    arcsinh : bool
        Whether scaled targets are arcsinhs.
    effects : Effects or None
        What is taken off the window before, and done to the forecast: what the covariates known
        in the future do to the targets; None where they tell nothing.
    sizes : Sizes or None
        What these and the calendar multiply the deviation by; None where they tell nothing.
    own : Tensor of shape (1 + number of series, num_targets) or None
        What each series multiplies it by, after 1 for others; 0 of series that stand still, which
        tell nothing of others. None of a single series.
    """

    maps: dict[int, Tensor]
    shares: dict[int, Tensor]
    deviation: Tensor
    kinds: tuple[int, ...]
    change: Tensor
    season: int | None
    arcsinh: bool
    effects: Effects | None = None
    sizes: Sizes | None = None
    own: Tensor | None = None

    def __call__(
        self, store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor
    ) -> Tensor:
        """Forecast windows.

        Parameters
        ----------
        store : SeriesStore
        spec : WindowSpec
        series, cutoff : Tensor of shape (window,), int64

        Returns
        -------
        Tensor of shape (3, window, horizon, num_targets), float64
            The forecast, scaled, and its 10 % and 90 % quantile.
        """
        device = store.values.device
        series, cutoff = series.to(device), cutoff.to(device)
        level = store.traits.level[series].double()  # (window, num_targets)
        spread = store.traits.spread[series].double()
        out = torch.stack([level, level - TO_UPPER * spread, level + TO_UPPER * spread])
        out = out[:, :, None].repeat(1, 1, spec.horizon, 1)
        if not is_readable(cutoff):  # what is exported takes whole windows alone
            whole = store, spec, series, cutoff, max(self.maps, default=0)
            return self._of_length(*whole) if self.maps else out
        for length, chosen in _by_length(self.maps, cutoff):
            out[:, chosen] = self._of_length(store, spec, series[chosen], cutoff[chosen], length)
        return out

    def familiarity(
        self, store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor
    ) -> Tensor | None:
        """Return how far a network knows covariates like those ahead of cutoffs; None for wholly.

        (window, horizon, num_targets), by `Effects.familiarity`.
        """
        if self.effects is None:
            return None
        row, _, _ = future_rows(store, spec, series, cutoff)
        return self.effects.familiarity(self.effects.total(store, spec, row))

    def _of_length(
        self, store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor, length: int
    ) -> Tensor:
        """Forecast windows that have at least ``length`` rows, as `__call__` does."""
        past, zero = _linear_past(
            store, spec, series, cutoff, length, self.season, self.arcsinh, self.effects
        )
        center = self._center(past, zero, length)
        row, time, _ = future_rows(store, spec, series, cutoff)
        if self.effects is not None:
            total = self.effects.total(store, spec, row)
            times, plus = self.effects(total, zero[:, None])
            center = times * center + plus
        if spec.support != "real":
            center = center.clamp(min=0)
        width = TO_UPPER * self._width(past, zero, center)
        if self.own is not None:
            width = width * series_sizes(self.own, store, series, cutoff).clamp(min=LEAST)[:, None]
        if self.effects is not None:
            width = width * self.effects.doubt(total)
        if self.sizes is not None:
            width = width * self.sizes(store, spec, row, time)
        bands = torch.stack([center, center - width, center + width])
        if spec.support != "real":
            bands = bands.clamp(min=0)
        return torch.arcsinh(bands) if self.arcsinh else bands

    def _center(self, past: Tensor, zero: Tensor, length: int) -> Tensor:
        """Return the forecast (window, horizon, num_targets) of rows (window, length, target)."""
        shares = self.shares[length].to(past)
        # over the window's rows, target by target
        linear, logarithmic = (
            part.to(past) for part in self.maps[length].unbind(1)
        )  # (target, horizon, length)
        center = torch.einsum("thl,wlt->wht", linear, past)
        weight = shares[:, 0].expand(past.shape[0], -1)[:, None]  # (window, 1, target)
        total = weight * center
        if not is_readable(shares) or bool((shares[:, 1] > MIN_SHARE).any()):
            above = past - zero[:, None]
            usable = (above > 0).all(dim=1)[:, None]  # (window, 1, target)
            logs = torch.log(torch.where(usable, above, 1.0))
            product = torch.exp(torch.einsum("thl,wlt->wht", logarithmic, logs)) + zero[:, None]
            total = total + shares[:, 1] * torch.where(usable, product, center)
        for number, part in enumerate(MEDIANS, start=2):
            rows = past[:, -max(1, round(part * length)) :]
            total = total + shares[:, number] * rows.quantile(0.5, dim=1)[:, None]
        low, high = past.amin(dim=1, keepdim=True), past.amax(dim=1, keepdim=True)
        room = (high - low) * max(1.0, 2 * center.shape[1] / length)
        return total.clamp(low - room, high + room)

    def _width(self, past: Tensor, zero: Tensor, center: Tensor) -> Tensor:
        """Return the deviation (window, horizon, num_targets)."""
        measured = {
            kind: _measure(kind, past, zero, center, self.change.to(past), self.season)
            for kind in set(self.kinds)
        }
        unit = torch.stack([measured[k][..., t] for t, k in enumerate(self.kinds)], dim=-1)
        return unit * self.deviation.to(past).T


def learn_simple(
    store: SeriesStore,
    spec: WindowSpec,
    series: np.ndarray,
    cutoff: np.ndarray,
    seasons: tuple[int, ...],
    arcsinh: bool,
    mean: bool = False,
    chosen_from: int | None = None,
) -> SimpleForecast:
    """Weigh simple forecasts by their errors at every observed step of windows.

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    series, cutoff : numpy.ndarray of int64, shape (window,)
    seasons : tuple of int
        Numbers of rows after which a cycle comes round; none for no season.
    arcsinh : bool
        Whether scaled targets are arcsinhs.
    mean : bool, default=False
        Whether the mean is forecast, and not the median: squared errors count.
    chosen_from : int or None, default=None
        Number of windows that these are chosen from; None for no others.
    """
    places = torch.from_numpy(series), torch.from_numpy(cutoff)
    season = seasons[0] if seasons else None
    lengths = _ladder(spec.simple_length)
    every = {length: _candidates(length, spec.horizon, seasons) for length in lengths}
    specs = list(every[lengths[0]])
    targets = spec.num_targets
    effects = learn_effects(store, spec, np.unique(series))
    ahead = _ahead(store, spec, *places, arcsinh, effects)
    positive = torch.ones(targets, dtype=torch.bool)
    rows = []
    for length, chosen in _by_length(dict.fromkeys(lengths), places[1]):
        past, zero = _linear_past(
            store, spec, places[0][chosen], places[1][chosen], length, season, arcsinh, effects
        )
        positive &= ((past > zero[:, None]).all(dim=1)).all(dim=0)
        rows.append((length, chosen, past, zero))
    change = _usual_change(rows, targets)
    age = 1 - places[1] / store.length[places[0]].clamp(min=1)
    recent = (0.5 ** (age / HALF_LIFE))[:, None, None]
    # summed errors, in units of the window's change, of every length of window
    errors, known = torch.zeros(2, len(rows), targets, 2 * len(specs) + len(MEDIANS)).double()
    for part, (length, chosen, past, zero) in enumerate(rows):
        truth, observed = ahead.truth[chosen], ahead.telling[chosen]
        unit = torch.maximum(_change(past), MIN_CHANGE * change)[:, None]
        observed = observed * recent[chosen]
        number = observed.sum(dim=(0, 1))
        for place, forecast in _each(every[length], specs, past, zero, positive, length):
            off = ((forecast - truth) / unit).abs()
            errors[part, :, place] = ((off**2 if mean else off) * observed).sum(dim=(0, 1))
            known[part, :, place] = number
    usable = torch.ones(targets, errors.shape[-1], dtype=torch.bool)
    usable[:, len(specs) : 2 * len(specs)] &= positive[:, None]
    if mean:  # the mean of a logarithm and a median are none
        usable[:, len(specs) :] = False
    weights = _weights(errors, known, usable, len(cutoff))
    maps, shares = _combined(every, specs, *weights)
    blank = torch.ones(targets, spec.horizon, dtype=torch.float64)
    simple = SimpleForecast(maps, shares, blank, (0,) * targets, change, season, arcsinh, effects)
    if not rows:
        return simple
    sure = spec.horizon / (chosen_from or len(cutoff))
    return _with_widths(simple, store, spec, places, rows, ahead, SURE_OF_KIND * sure)


def _with_widths(
    simple: SimpleForecast,
    store: SeriesStore,
    spec: WindowSpec,
    places: tuple[Tensor, Tensor],
    rows: list[tuple[int, Tensor, Tensor, Tensor]],
    ahead: _Ahead,
    sure: float,
) -> SimpleForecast:
    """Return a forecast that knows how far it is off, and what its errors grow with."""
    kinds, change, relative = _kinds(simple, rows, ahead, sure)
    own = learn_series_sizes(store, *places, relative / _deviation(relative).T)
    relative = beside_sizes(own, store, places[0], relative)
    simple = replace(simple, kinds=kinds, change=change, own=own, deviation=_deviation(relative))
    usual = (relative / simple.deviation.T).flatten(0, 1)
    sizes = learn_sizes(store, spec, ahead.row.flatten(), ahead.time.flatten(), usual)
    if sizes is None:
        return simple
    times = sizes(store, spec, ahead.row, ahead.time)
    return replace(simple, sizes=sizes, deviation=_deviation(relative / times))


def _by_length(
    maps: dict[int, Tensor] | dict[int, None], cutoff: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Yield the lengths of windows and which cutoffs have these, the longest that they can."""
    upper = None
    for length in sorted(maps, reverse=True):
        fits = cutoff >= length
        if upper is not None:
            fits &= cutoff < upper
        upper = length
        chosen = fits.nonzero()[:, 0]
        if len(chosen):
            yield length, chosen


def _ladder(longest: int) -> list[int]:
    """Return lengths of windows, each a little shorter than the one before."""
    lengths = [longest]
    while lengths[-1] > 1:
        lengths.append(int(LADDER * lengths[-1]))
    return lengths


def _linear_past(
    store: SeriesStore,
    spec: WindowSpec,
    series: Tensor,
    cutoff: Tensor,
    length: int,
    season: int | None,
    arcsinh: bool,
    effects: Effects | None,
) -> tuple[Tensor, Tensor]:
    """Return the targets (window, length, target) before cutoffs, and zero on their scale."""
    zero = store.traits.zero[series].double()

    def undone(values: Tensor, row: Tensor | None) -> Tensor:
        values = torch.sinh(values.double()) if arcsinh else values.double()
        if effects is None or row is None:
            return values
        total = effects.total(store, spec, row)
        times, plus = effects(total, zero[:, None])
        without = _nearer((values - plus) / times, values)
        return torch.where(effects.hides(total), torch.nan, without)

    return past_targets(store, spec, series, cutoff, length, season, undone), zero


def _nearer(undone: Tensor, values: Tensor) -> Tensor:
    """Return rows (window, length, target) without effects, but where these were none.

    A wrong covariate, of a usual row, would take it far away from the others.
    """
    middle = undone.quantile(0.5, dim=1, keepdim=True)
    off = (undone - middle).abs()
    usual = off.quantile(0.5, dim=1, keepdim=True)
    return torch.where(off > FAR_AWAY * ((values - middle).abs() + usual), values, undone)


class _Ahead(NamedTuple):
    """What came after windows.

    Parameters
    ----------
    row, time : Tensor of shape (window, horizon), int64
        Of the store, and of the calendar.
    truth : Tensor of shape (window, horizon, num_targets)
        Without effects.
    observed, telling : Tensor of that shape, bool
        The second are those that tell what was without effects.
    times, plus : Tensor of that shape
        The truth with effects is so many times that without, plus something.
    """

    row: Tensor
    time: Tensor
    truth: Tensor
    observed: Tensor
    telling: Tensor
    times: Tensor
    plus: Tensor


def _ahead(
    store: SeriesStore,
    spec: WindowSpec,
    series: Tensor,
    cutoff: Tensor,
    arcsinh: bool,
    effects: Effects | None,
) -> _Ahead:
    row, time, inside = future_rows(store, spec, series, cutoff)
    values = store.values[row, : spec.num_targets].double()
    values = torch.sinh(values) if arcsinh else values
    times, plus = torch.ones_like(values), torch.zeros_like(values)
    telling = observed = store.observed[row, : spec.num_targets] & inside[..., None]
    if effects is not None:
        total = effects.total(store, spec, row)
        times, plus = effects(total, store.traits.zero[series, None].double())
        telling = observed & ~effects.hides(total)
    return _Ahead(row, time, (values - plus) / times, observed, telling, times, plus)


def future_rows(
    store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows (window, horizon) after cutoffs, and which of them the series have.

    They are those of the store and those of its calendar.
    """
    step = cutoff[:, None] + torch.arange(spec.horizon, device=cutoff.device)
    row = (store.start[series, None] + step).clamp(max=store.values.shape[0] - 1)
    time = (store.calendar_start[series, None] + step).clamp(max=store.calendar.shape[0] - 1)
    return row, time, step < store.length[series, None]


def _change(past: Tensor, lag: int = 1, recent: bool = False) -> Tensor:
    """Return the mean absolute change (window, target) over so many rows, or of the recent ones."""
    length = past.shape[1]
    if length < 2:
        return torch.zeros_like(past[:, 0])
    lag = lag if lag < length else 1
    change = (past[:, lag:] - past[:, :-lag]).abs()
    if not recent:
        return change.mean(dim=1)
    age = torch.arange(length - lag - 1, -1, -1).to(past)
    weight = 0.5 ** (age / (RECENT * length))
    return torch.einsum("wlt,l->wt", change, weight / weight.sum())


def _usual_change(
    rows: list[tuple[int, Tensor, Tensor, Tensor]],
    targets: int,
    lag: int = 1,
    recent: bool = False,
) -> Tensor:
    """Return the mean (target,) of `_change` over all windows."""
    total, number = torch.zeros(targets, dtype=torch.float64), 0
    for _, _, past, _ in rows:
        total, number = total + _change(past, lag, recent).sum(dim=0), number + len(past)
    return (total / max(1, number)).clamp(min=1e-9)


def _measure(
    kind: int, past: Tensor, zero: Tensor, center: Tensor, change: Tensor, season: int | None
) -> Tensor:
    """Return what errors may grow with (window, horizon, target)."""
    if kind == FIXED:
        return torch.ones_like(center)
    least = MIN_CHANGE * change
    if kind == SIZE:
        return (center - zero[:, None]).abs().maximum(least).clamp(min=1e-9)
    lag, recent = CHANGES[kind]
    return torch.maximum(_change(past, lag or season or 1, recent), least)[:, None].expand_as(
        center
    )


# The candidates.


def _candidates(
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


def _each(
    candidates: dict[tuple[float, ...], Tensor],
    specs: list[tuple[float, ...]],
    past: Tensor,
    zero: Tensor,
    positive: Tensor,
    length: int,
) -> Iterator[tuple[int, Tensor]]:
    """Yield every forecast (window, horizon, target) that a length allows, with its place."""
    logs = torch.log((past - zero[:, None]).clamp(min=1e-12)) if bool(positive.any()) else None
    for place, spec in enumerate(specs):
        if spec not in candidates:
            continue
        matrix = candidates[spec]
        yield place, torch.einsum("hl,wlt->wht", matrix, past)
        if logs is not None:
            product = torch.exp(torch.einsum("hl,wlt->wht", matrix, logs).clamp(max=60))
            yield len(specs) + place, product + zero[:, None]
    for number, part in enumerate(MEDIANS):
        rows = past[:, -max(1, round(part * length)) :]
        yield 2 * len(specs) + number, rows.quantile(0.5, dim=1)[:, None]


# Weights and deviations.


def _weights(errors: Tensor, known: Tensor, usable: Tensor, windows: int) -> tuple[Tensor, Tensor]:
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


def _combined(
    every: dict[int, dict[tuple[float, ...], Tensor]],
    specs: list[tuple[float, ...]],
    weights: Tensor,
    fallback: Tensor,
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return the weighted matrices of every length, and the shares of their kinds."""
    number, maps, shares = len(specs), {}, {}
    for length, candidates in every.items():
        place = [index for index, spec in enumerate(specs) if spec in candidates]
        stack = torch.stack([candidates[specs[index]] for index in place])  # (k, horizon, length)

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


def _kinds(
    simple: SimpleForecast,
    rows: list[tuple[int, Tensor, Tensor, Tensor]],
    ahead: _Ahead,
    sure: float,
) -> tuple[tuple[int, ...], Tensor, Tensor]:
    """Return what the errors of targets grow with, its usual size, and by how much they are off.

    The latter (window, horizon, target), NaN where unobserved, as multiples. Errors of one size
    are believed in unless others are likelier by more than ``sure``, for a row.
    """
    every = sorted({FIXED, SIZE, *CHANGES})
    error = torch.full_like(ahead.truth, torch.nan)
    # (kind, window, horizon, target), and of each the usual change
    unit = torch.ones(len(every), *error.shape, dtype=error.dtype)
    usual = simple.change.repeat(len(every), 1)
    for kind, (lag, recent) in CHANGES.items():
        usual[kind] = _usual_change(rows, error.shape[-1], lag or simple.season or 1, recent)
    for length, chosen, past, zero in rows:
        center = simple._center(past, zero, length)
        error[chosen] = (center - ahead.truth[chosen]).abs() * ahead.times[chosen]
        center = ahead.times[chosen] * center + ahead.plus[chosen]
        for kind in every:
            change = usual[kind]
            unit[kind, chosen] = _measure(kind, past, zero, center, change, simple.season)
    error = torch.where(ahead.observed, error, torch.nan)
    kinds = []
    for target in range(error.shape[-1]):
        off = error[..., target]
        known = torch.where(off.isnan(), torch.nan, unit[..., target].log())
        # Laplace's distribution
        size = (off / unit[..., target]).flatten(1).nanmean(dim=1)
        fits = known.flatten(1).nanmean(dim=1) + (size + 1e-12).log()
        # what is fixed is taken unless another kind is better for sure; of a product, its size
        product = float(simple.shares[max(simple.shares)][target, 1])  # weight of logarithms
        doubts = {**DOUBTS, FIXED: product, SIZE: 1 - product}
        fits += sure * torch.tensor([doubts[kind] for kind in every])
        kinds.append(int(fits.nan_to_num(nan=torch.inf).argmin()))
    places = torch.tensor(kinds)[None, None, None].expand(1, *error.shape)
    change = usual.gather(0, torch.tensor(kinds)[None])[0]
    return tuple(kinds), change, error / unit.gather(0, places)[0]


def _deviation(error: Tensor) -> Tensor:
    """Return the deviation (target, horizon) of errors (window, horizon, target), or NaN."""
    mean, count = error.nanmean(dim=0).nan_to_num(), (~error.isnan()).double().sum(dim=0)
    both = zip(mean.T.numpy(), count.T.numpy(), strict=True)
    return torch.from_numpy(np.stack([TO_DEVIATION * _smooth(*one) for one in both]))


def _smooth(mean: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return mean errors of steps (horizon,), drawn to a power of the step where they are few.

    Errors grow by powers between 0 (noise around a known level) and 1 (an unknown trend); a random
    walk's with the root. Windows overlap: of step h every h-th is new.
    """
    step = np.arange(1, len(mean) + 1)
    known = (count > 0) & (mean > 0)
    if not known.any():
        return np.full(len(mean), 1e-3)
    weight = count / step
    log, level = np.log(step), np.log(np.where(known, mean, 1.0))
    slope, use = 0.0, weight * known
    center = np.average(log, weights=use)
    middle = np.average(level, weights=use)
    variance = np.average((log - center) ** 2, weights=use)
    if variance > 0:
        slope = np.average((log - center) * (level - middle), weights=use) / variance
    fit = middle + np.clip(slope, 0.0, 1.0) * (log - center)
    own = np.where(known, weight / (weight + STEP_WINDOWS), 0.0)
    return np.exp(fit + own * (level - fit))
