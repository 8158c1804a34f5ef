"""Simple forecasts: level, trend and season of the last rows, weighted by their past errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm.candidates import MEDIANS, candidates, combined, each, weighed
from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.windows import WindowSpec, past_targets
from sktime_tlstm.effects import Effects, Remembered, Sizes, learn_effects, learn_sizes
from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.regression import Look, Others, Past, Regression, learn_regression, relearnt
from sktime_tlstm.series_sizes import LEAST, beside_sizes, learn_series_sizes, series_sizes

__all__ = ["SimpleForecast", "future_rows", "learn_simple"]

#: Lengths of windows are to each other as this.
LADDER = 0.85
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
#: Rows before the cutoff whose covariates are usual, at most.
USUAL_ROWS = 24
#: Rows that an effect, undone, takes so many times as far from the others as they were had none.
FAR_AWAY = 3.0
#: Smallest change of a window, as a share of the usual one.
MIN_CHANGE = 0.1
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
    regression : Regression or None
        What has a share of the forecast of windows that are long enough; None where it does not
        lower errors.
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
    regression: Regression | None = None

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

    def looked(self, store: SeriesStore, spec: WindowSpec, effects: Effects | None) -> Look:
        """Return what regressions learn from, on the scale that simple forecasts have."""

        def look(series: Tensor, cutoff: Tensor, length: int) -> tuple[Past, Tensor, Tensor]:
            more = self.season, self.arcsinh, effects
            past, _ = _linear_past(store, spec, series, cutoff, length, *more)
            ahead = _ahead(store, spec, series, cutoff, self.arcsinh, effects)
            return Past(past, ahead.row, ahead.time), ahead.truth, ahead.telling

        return look

    def relearnt(self, store: SeriesStore, spec: WindowSpec, series: np.ndarray) -> SimpleForecast:
        """Return the same with regressions that have learnt all rows of series."""
        if self.regression is None:
            return self
        effects = Remembered.of(self.effects, store, spec)
        parts = self.looked(store, spec, effects), store, spec, effects, torch.from_numpy(series)
        return replace(self, regression=relearnt(self.regression, *parts))

    def _of_length(
        self, store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor, length: int
    ) -> Tensor:
        """Forecast windows that have at least ``length`` rows, as `__call__` does."""
        past, zero = _linear_past(
            store, spec, series, cutoff, length, self.season, self.arcsinh, self.effects
        )
        center = self._center(past, zero, length)
        row, time, _ = future_rows(store, spec, series, cutoff)
        if self.regression is not None and length >= self.regression.inputs.length:
            known = Past(past, row, time)
            center = self.regression.blended(store, spec, known, self.effects, center)
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
            spare = self.effects.spread(store, spec, row, min(length, USUAL_ROWS))
            multiplies = torch.tensor(self.effects.multiplies, device=spare.device)
            spare = torch.where(multiplies, (center - zero[:, None]).abs() * spare, spare)
            width = (width**2 + (TO_UPPER * spare) ** 2).sqrt()
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
    looks_ahead: bool = True,
) -> tuple[SimpleForecast, SimpleForecast]:
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
    looks_ahead : bool, default=True
        Whether a step may depend on covariates of later ones.

    Returns
    -------
    SimpleForecast
        For windows of these series: regressions have not seen the part of time that these are of.
    SimpleForecast
        Whose regressions have learnt all rows.
    """
    places = torch.from_numpy(series), torch.from_numpy(cutoff)
    season = seasons[0] if seasons else None
    effects = learn_effects(store, spec, np.unique(series))
    known = Remembered.of(effects, store, spec)
    ahead = _ahead(store, spec, *places, arcsinh, known)
    rows = []
    for length, chosen in _by_length(dict.fromkeys(_ladder(spec.simple_length)), places[1]):
        part = places[0][chosen], places[1][chosen], length, season, arcsinh, known
        rows.append((length, chosen, *_linear_past(store, spec, *part)))
    targets = spec.num_targets
    change = _usual_change(rows, targets)
    age = 1 - places[1] / store.length[places[0]].clamp(min=1)
    counts = ahead.telling * (0.5 ** (age / HALF_LIFE))[:, None, None]
    weight = counts.clone()
    for _, chosen, past, _ in rows:  # in units of the window's change
        unit = torch.maximum(_change(past), MIN_CHANGE * change)[:, None]
        weight[chosen] /= unit ** (2 if mean else 1)
    maps, shares = _weighed(spec, rows, ahead, (weight, counts), seasons, mean)
    blank = torch.ones(targets, spec.horizon, dtype=torch.float64)
    simple = SimpleForecast(maps, shares, blank, (0,) * targets, change, season, arcsinh, effects)
    if not rows:
        return simple, simple
    center = torch.zeros_like(ahead.truth)
    for length, chosen, past, zero in rows:
        center[chosen] = simple._center(past, zero, length)
    others = Others(*places, center, ahead.truth, weight, mean)
    look = simple.looked(store, spec, known)
    learnt = learn_regression(look, store, spec, known, arcsinh, others, looks_ahead)
    sure = SURE_OF_KIND * spec.horizon / (chosen_from or len(cutoff))
    center = center if learnt is None else learnt.blended
    simple = _with_widths(simple, store, spec, places, rows, ahead, center, sure)
    if learnt is None:
        return simple, simple
    return replace(simple, regression=learnt.apart), replace(simple, regression=learnt.whole)


def _weighed(
    spec: WindowSpec,
    rows: list[tuple[int, Tensor, Tensor, Tensor]],
    ahead: _Ahead,
    weights: tuple[Tensor, Tensor],
    seasons: tuple[int, ...],
    mean: bool,
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return `SimpleForecast.maps` and `SimpleForecast.shares`.

    ``weights`` (window, horizon, num_targets) of errors are those to multiply with, and to divide
    the sums by.
    """
    lengths = _ladder(spec.simple_length)
    every = {length: candidates(length, spec.horizon, seasons) for length in lengths}
    specs, targets = list(every[lengths[0]]), spec.num_targets
    positive = torch.ones(targets, dtype=torch.bool)
    for _, _, past, zero in rows:
        positive &= ((past > zero[:, None]).all(dim=1)).all(dim=0)
    # summed errors and weights, of every length of window
    errors, known = torch.zeros(2, len(rows), targets, 2 * len(specs) + len(MEDIANS)).double()
    for part, (length, chosen, past, zero) in enumerate(rows):
        truth, weight, counts = ahead.truth[chosen], *(one[chosen] for one in weights)
        for place, forecast in each(every[length], specs, past, zero, positive, length):
            off = (forecast - truth).abs()
            errors[part, :, place] = ((off**2 if mean else off) * weight).sum(dim=(0, 1))
            known[part, :, place] = counts.sum(dim=(0, 1))
    usable = torch.ones(targets, errors.shape[-1], dtype=torch.bool)
    usable[:, len(specs) : 2 * len(specs)] &= positive[:, None]
    if mean:  # the mean of a logarithm and a median are none
        usable[:, len(specs) :] = False
    return combined(every, specs, *weighed(errors, known, usable, len(ahead.truth)))


def _with_widths(
    simple: SimpleForecast,
    store: SeriesStore,
    spec: WindowSpec,
    places: tuple[Tensor, Tensor],
    rows: list[tuple[int, Tensor, Tensor, Tensor]],
    ahead: _Ahead,
    center: Tensor,
    sure: float,
) -> SimpleForecast:
    """Return a forecast that knows how far it is off, and what its errors grow with."""
    kinds, change, relative = _kinds(simple, rows, ahead, center, sure)
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


def _kinds(
    simple: SimpleForecast,
    rows: list[tuple[int, Tensor, Tensor, Tensor]],
    ahead: _Ahead,
    forecast: Tensor,
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
    for _, chosen, past, zero in rows:
        center = forecast[chosen]
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
