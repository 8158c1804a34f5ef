"""Regressions: a horizon from the last rows and the covariates ahead, one for each time of day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import spread
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.effects import FOLDS, Columns, Effects

__all__ = ["Inputs", "Look", "Others", "Past", "Regression", "learn_regression", "relearnt"]

#: Rows before the cutoff that are read, in seasons (or horizons), and at least.
RECENT, MIN_RECENT = 2, 14
#: What a forecast is made of at most, and windows that it is learnt from, of all phases and of one.
MAX_FEATURES, MAX_WINDOWS, MAX_OF_PHASE = 640, 24_000, 3_000
#: Windows that the regression of a phase is learnt from at least, and horizons of all.
MIN_OF_PHASE, MIN_HORIZONS = 25, 4
#: Phases of all targets at most: of more, all windows are of one.
MAX_PHASES = 96
#: Calendar features that come back after a season are those that differ by no more than this, but
#: for a share of the rows: clocks are changed.
SAME, CHANGED = 1e-3, 0.05
#: Squares of scaled features that speak half for themselves: those tried, in so many phases.
PENALTIES, TRIED_PHASES = (3.0, 30.0, 300.0, 3000.0), 4
#: Shares of the forecast that are tried, and standard errors by which errors must fall.
SHARES, SURE = tuple(k / 10 for k in range(1, 11)), 1.0
#: How far a forecast may depart from the others beyond what it did, as a share of that range.
BEYOND = 0.5


class Past(NamedTuple):
    """What is known of windows before a regression.

    Parameters
    ----------
    targets : Tensor of shape (window, length, num_targets)
        The last rows, scaled, without arcsinh and effects.
    row, time : Tensor of shape (window, horizon), int64
        Rows ahead, of the store and of its calendar.
    """

    targets: Tensor
    row: Tensor
    time: Tensor


@dataclass(frozen=True)
class Inputs:
    """What a regression reads.

    Parameters
    ----------
    recent : int
        Last rows of its target.
    earlier : int or None
        Its target so many rows before each row ahead, besides.
    numbers, effects : tuple of int
        Numeric covariates, and what effects add, so many rows before each row ahead.
    """

    recent: int
    earlier: int | None
    numbers: tuple[int, ...]
    effects: tuple[int, ...]

    @classmethod
    def of(cls, spec: WindowSpec, effects: bool, ahead: bool = True) -> Inputs | None:
        """Return those of windows, as many as there may be; None if the horizon is too long.

        Covariates ``ahead`` are those of the whole horizon, of later steps too.
        """
        season, horizon = (spec.seasons or (spec.horizon,))[0], spec.horizon
        near = season * -(-horizon // season)
        lags = [near, *(long for long in spec.seasons[1:] if long > near)]
        lags = [lag for lag in lags if lag <= spec.simple_length]
        recent = min(spec.simple_length, max(RECENT * season, MIN_RECENT))
        earlier = next((lag for lag in lags if lag - horizon >= recent), None)
        now = (0,) if ahead else ()
        every = (*now, *lags)
        for numbers, totals in ((every, every), (now, every), (now, now), ((), now), ((), ())):
            inputs = cls(recent, earlier, numbers, totals if effects else ())
            if inputs.count(spec) <= MAX_FEATURES:
                return inputs
        return None

    def count(self, spec: WindowSpec) -> int:
        """Return the number of features."""
        numbers = len(self.numbers) * len(Columns.of(spec).numbers)
        ahead = (self.earlier is not None) + numbers + len(self.effects)
        return self.recent + spec.horizon * ahead + 2 * spec.num_calendar

    @property
    def length(self) -> int:
        """Rows that a window has at least."""
        return max(self.recent, self.earlier or 0, *self.numbers, *self.effects)

    def level(self, past: Past) -> Tensor:
        """Return the mean of the last rows (window, 1, num_targets), which all is relative to."""
        return past.targets[:, -self.recent :].mean(dim=1, keepdim=True)

    def __call__(
        self, store: SeriesStore, spec: WindowSpec, past: Past, effects: Effects | None
    ) -> Tensor:
        """Return the features of windows (window, num_targets, feature), float64."""
        targets, (windows, horizon) = past.targets.transpose(1, 2), past.row.shape
        targets = targets - self.level(past).transpose(1, 2)
        parts = [targets[..., -self.recent :]]
        if self.earlier is not None:
            begin = targets.shape[-1] - self.earlier
            parts.append(targets[..., begin : begin + horizon])
        columns = Columns.of(spec).numbers
        shared = [store.values[past.row - lag][..., columns].flatten(1) for lag in self.numbers]
        shared += [store.calendar[past.time[:, step]] for step in (0, -1)]
        for part in shared:
            wide = part.shape[-1]
            parts.append(part.double()[:, None].expand(windows, spec.num_targets, wide))
        if self.effects:
            assert effects is not None
            rows = torch.cat([past.row - lag for lag in self.effects], dim=1)
            parts.append(effects.total(store, spec, rows).transpose(1, 2))
        return torch.cat(parts, dim=-1)


@dataclass(frozen=True)
class Regression:
    """Ridge regressions of every step, each target and phase of the season by itself.

    As forecasts of electricity prices are made from the days before and the day ahead (Lago,
    Marcjasz, De Schutter, Weron 2021, "Forecasting day-ahead electricity prices", Applied Energy
    293, the model LEAR), with squared weights for absolute ones.

    Parameters
    ----------
    inputs : Inputs
    weights : Tensor of shape (phase, num_targets, feature, horizon), float32
    offset : Tensor of shape (phase, num_targets, horizon), float32
    channels : tuple of int
        Features of the calendar that tell the phase of the first row ahead.
    keys : Tensor of shape (phase, channel), float32
        What they are at each.
    share : Tensor of shape (num_targets,), float64
        Of the forecast that this is blended with others to.
    bounds : Tensor of shape (num_targets, 2), float64
        How far it may depart from these.
    arcsinh : bool
        Whether arcsinhs of targets are read and forecast.
    penalties : tuple of float
        Squares of scaled features that spoke half for themselves, of each target.
    edges : Tensor of shape (part,), int64, or None, default=None
        Where parts of time end, as rows of the calendar: there are weights of all phases for each
        part, which have not learnt it. None for weights that have learnt all rows.
    """

    inputs: Inputs
    weights: Tensor
    offset: Tensor
    channels: tuple[int, ...]
    keys: Tensor
    share: Tensor
    bounds: Tensor
    arcsinh: bool
    penalties: tuple[float, ...]
    edges: Tensor | None = None

    def blended(
        self,
        store: SeriesStore,
        spec: WindowSpec,
        past: Past,
        effects: Effects | None,
        center: Tensor,
    ) -> Tensor:
        """Return a forecast (window, horizon, num_targets) that this one has its share in."""
        linked = _linked(past, self.arcsinh)
        features = self.inputs(store, spec, linked, effects)
        own = _told(features, self.weights, self.offset, self._phase(store, past))
        own = own + self.inputs.level(linked)
        return _blend(center, _unlinked(own, self.arcsinh), self.share, self.bounds)

    def _phase(self, store: SeriesStore, past: Past) -> Tensor:
        first = past.time[:, 0].contiguous()
        phase = _Phases(self.channels, self.keys)(store, first)
        if self.edges is None:
            return phase
        part = torch.bucketize(first, self.edges.to(first.device), right=True)
        return phase + len(self.keys) * part


def _linked(past: Past, arcsinh: bool) -> Past:
    return past._replace(targets=torch.arcsinh(past.targets)) if arcsinh else past


def _unlinked(values: Tensor, arcsinh: bool) -> Tensor:
    return torch.sinh(values.clamp(-50, 50)) if arcsinh else values


def _told(features: Tensor, weights: Tensor, offset: Tensor, phase: Tensor) -> Tensor:
    """Return what regressions say (window, horizon, num_targets)."""
    weights, offset = (part.to(features.device)[phase].double() for part in (weights, offset))
    return (torch.einsum("wtf,wtfh->wth", features, weights) + offset).transpose(1, 2)


def _blend(center: Tensor, own: Tensor, share: Tensor, bounds: Tensor) -> Tensor:
    low, high = bounds.to(center.device).unbind(1)
    departure = (own - center).maximum(low).minimum(high)
    return center + share.to(center.device) * departure


class Learnt(NamedTuple):
    """A regression, and what is known of it.

    Parameters
    ----------
    apart : Regression
        For windows of training, by weights that have not seen their part of time.
    whole : Regression
    blended : Tensor of shape (window, horizon, num_targets)
        Of the windows asked for: blends with what others forecast, by regressions that have not
        seen their time.
    """

    apart: Regression
    whole: Regression
    blended: Tensor


class Others(NamedTuple):
    """What others forecast of windows, to be better than.

    Parameters
    ----------
    series, cutoff : Tensor of shape (window,), int64
    center, truth, weight : Tensor of shape (window, horizon, num_targets)
        Without effects and arcsinh; by weight errors count.
    squared : bool
        Whether squared errors do.
    """

    series: Tensor
    cutoff: Tensor
    center: Tensor
    truth: Tensor
    weight: Tensor
    squared: bool


#: Returns of windows (series, cutoff, length) their past, the targets behind it without effects and
#: arcsinh (window, horizon, num_targets), and which of these tell anything.
Look = Callable[[Tensor, Tensor, int], tuple[Past, Tensor, Tensor]]


def learn_regression(
    look: Look,
    store: SeriesStore,
    spec: WindowSpec,
    effects: Effects | None,
    arcsinh: bool,
    others: Others,
    ahead: bool = True,
) -> Learnt | None:
    """Learn regressions; None where blends with them have no smaller errors.

    One for each phase, or one for all, whichever is better at parts of time that are left out.
    """
    inputs = Inputs.of(spec, effects is not None, ahead)
    if inputs is None or not len(others.cutoff):
        return None
    windows, horizons = _windows(store, spec, inputs, others.series.unique())
    if horizons < MIN_HORIZONS:
        return None
    learner = _Learner(look, store, spec, effects, arcsinh, inputs, windows)
    best: tuple[float, Learnt] | None = None
    for phases in filter(None, (_ONE, _phases(store, spec, windows))):
        error, learnt = _compared(learner, phases, others, horizons)
        if learnt is not None and (best is None or error < best[0]):
            best = error, learnt
    return None if best is None else best[1]


def relearnt(
    old: Regression,
    look: Look,
    store: SeriesStore,
    spec: WindowSpec,
    effects: Effects | None,
    series: Tensor,
) -> Regression:
    """Return regressions that have learnt all rows of series; the rest is as it was."""
    windows, _ = _windows(store, spec, old.inputs, series)
    learner = _Learner(look, store, spec, effects, old.arcsinh, old.inputs, windows)
    phases = _Phases(old.channels, old.keys)
    weights, offset = old.weights.clone(), old.offset.clone()
    for number, place in enumerate(learner.places(phases)):
        group = learner.group(place)
        for target, told in enumerate(group.told.unbind(1)):
            if int(told.sum()) >= MIN_OF_PHASE:
                sums = _Sums(group.features[told, target], group.wanted[told, :, target])
                found = sums.weights(old.penalties[target])
                weights[number, target], offset[number, target] = (part.float() for part in found)
    return replace(old, weights=weights, offset=offset)


class _Windows(NamedTuple):
    """Windows that regressions are learnt from.

    Parameters
    ----------
    series, cutoff, time : Tensor of shape (window,), int64
        The latter is the first row ahead, of the calendar.
    """

    series: Tensor
    cutoff: Tensor
    time: Tensor

    def of(self, chosen: Tensor) -> _Windows:
        return _Windows(*(part[chosen] for part in self))


class _Phases(NamedTuple):
    """How windows are told apart: `Regression.channels` and `Regression.keys`."""

    channels: tuple[int, ...]
    keys: Tensor

    def __call__(self, store: SeriesStore, time: Tensor) -> Tensor:
        """Return the phases of rows of the calendar."""
        now = store.calendar[time][..., self.channels]
        keys = self.keys.to(now.device)
        return (now[..., None, :] - keys).square().sum(dim=-1).argmin(dim=-1)


#: One phase of all windows.
_ONE = _Phases((), torch.zeros(1, 0))


def _windows(
    store: SeriesStore, spec: WindowSpec, inputs: Inputs, series: Tensor
) -> tuple[_Windows, float]:
    """Return windows of series with a whole horizon, and how many of these there are."""
    last = store.length[series] - spec.horizon
    number = (last - inputs.length + 1).clamp(min=0)
    total, first = int(number.sum()), number.cumsum(0) - number
    place = torch.arange(total)
    if total > MAX_WINDOWS:  # at random: even steps might pass over phases
        draw = np.random.default_rng(0).choice(total, MAX_WINDOWS, replace=False)
        place = torch.from_numpy(np.sort(draw))
    owner = torch.searchsorted(first, place, right=True) - 1
    cutoff = inputs.length + place - first[owner]
    owner = series[owner]
    time = store.calendar_start[owner] + cutoff
    return _Windows(owner, cutoff, time), total / spec.horizon


def _phases(store: SeriesStore, spec: WindowSpec, windows: _Windows) -> _Phases | None:
    """Return the phases of the season that the calendar tells; None where there are none."""
    if not spec.seasons or not spec.num_calendar:
        return None
    time = windows.time.unique()
    time = time[time >= spec.seasons[0]]
    moved = (store.calendar[time] - store.calendar[time - spec.seasons[0]]).abs() > SAME
    channels = ((moved.double().mean(dim=0) < CHANGED).nonzero()[:, 0]).tolist()
    if not len(time) or not channels:
        return None
    rounded = (store.calendar[windows.time][:, channels] / SAME).round()
    keys, phase, number = rounded.unique(dim=0, return_inverse=True, return_counts=True)
    some = number >= MIN_OF_PHASE
    few = bool((~some)[phase].double().mean() > CHANGED)
    if few or not 1 < int(some.sum()) <= MAX_PHASES // spec.num_targets:
        return None
    return _Phases(tuple(channels), keys[some] * SAME)


class _Sums:
    """Sums over windows, of which some can be left out.

    Parameters
    ----------
    features : Tensor of shape (window, feature)
    wanted : Tensor of shape (window, horizon)
    """

    def __init__(self, features: Tensor, wanted: Tensor):
        self.mean, size = features.mean(dim=0), features.std(dim=0, correction=0)
        self.size = torch.where(size > SAME, size, torch.inf)
        self.rows = torch.cat([(features - self.mean) / self.size, wanted], dim=1)
        self.width = features.shape[1]
        self.total, self.products = self.rows.sum(dim=0), self.rows.T @ self.rows

    def weights(self, penalty: float, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return weights (feature, horizon) and offsets, but for some windows, by number."""
        part, width = self.rows[:0] if without is None else self.rows[without], self.width
        number = max(1, len(self.rows) - len(part))
        mean = (self.total - part.sum(dim=0)) / number
        moments = self.products[:width] - part[:, :width].T @ part
        moments = moments - number * mean[:width, None] * mean
        gram = moments[:, :width] + penalty * torch.eye(width, dtype=moments.dtype)
        found = torch.cholesky_solve(moments[:, width:], torch.linalg.cholesky(gram))
        own = found / self.size[:, None]
        return own, mean[width:] - mean[:width] @ found - self.mean @ own


class _Group(NamedTuple):
    """Windows of one phase.

    Parameters
    ----------
    features : Tensor of shape (window, num_targets, feature)
    wanted : Tensor of shape (window, horizon, num_targets)
    told : Tensor of shape (window, num_targets), bool
        Whether all of a horizon is known.
    time : Tensor of shape (window,), int64
    """

    features: Tensor
    wanted: Tensor
    told: Tensor
    time: Tensor


@dataclass(frozen=True)
class _Learner:
    """What regressions are learnt from; the parts as `learn_regression` has them."""

    look: Look
    store: SeriesStore
    spec: WindowSpec
    effects: Effects | None
    arcsinh: bool
    inputs: Inputs
    windows: _Windows

    def places(self, phases: _Phases) -> list[Tensor]:
        """Return the numbers of the windows of each phase."""
        phase = phases(self.store, self.windows.time)
        of_phases = [(phase == one).nonzero()[:, 0] for one in range(len(phases.keys))]
        return [one[torch.from_numpy(spread(len(one), MAX_OF_PHASE))] for one in of_phases]

    def group(self, place: Tensor) -> _Group:
        """Return windows by number."""
        windows = self.windows.of(place)
        past, truth, told = self.look(windows.series, windows.cutoff, self.inputs.length)
        wanted = torch.arcsinh(truth) if self.arcsinh else truth
        features, level = self.features(past)
        return _Group(features, wanted - level, told.all(dim=1), windows.time)

    def features(self, past: Past) -> tuple[Tensor, Tensor]:
        """Return the features of windows, and their level."""
        linked = _linked(past, self.arcsinh)
        return self.inputs(self.store, self.spec, linked, self.effects), self.inputs.level(linked)

    def part(self, time: Tensor) -> Tensor:
        """Return the part of time that windows (window,) are of."""
        return torch.bucketize(time, self.edges, right=True)

    def near(self, time: Tensor, part: int) -> Tensor:
        """Return the numbers of the windows (window,) that share rows with a part of time."""
        horizon, edges = self.spec.horizon - 1, self.edges
        near = self.part(time + horizon) >= part
        if part < FOLDS - 1:
            near &= time < edges[part] + horizon
        return near.nonzero()[:, 0]

    @cached_property
    def edges(self) -> Tensor:
        """Where parts of time end (FOLDS - 1,), int64, in rows of the calendar."""
        parts = torch.arange(1, FOLDS).double() / FOLDS
        return self.windows.time.double().quantile(parts).ceil().long()

    def penalties(self, places: list[Tensor]) -> tuple[float, ...]:
        """Return the penalty of each target that errors in other parts of time are least with."""
        errors = torch.zeros(self.spec.num_targets, len(PENALTIES), dtype=torch.float64)
        for place in places:
            group = self.group(place)
            for target, told in enumerate(group.told.unbind(1)):
                if int(told.sum()) < MIN_OF_PHASE:
                    continue
                features, wanted = group.features[told, target], group.wanted[told, :, target]
                sums, part = _Sums(features, wanted), self.part(group.time[told])
                for fold in range(FOLDS):
                    near, inside = self.near(group.time[told], fold), part == fold
                    for number, penalty in enumerate(PENALTIES):
                        weights, offset = sums.weights(penalty, near)
                        off = features[inside] @ weights + offset - wanted[inside]
                        errors[target, number] += off.abs().sum()
        return tuple(PENALTIES[best] for best in errors.argmin(dim=1).tolist())


def _compared(
    learner: _Learner, phases: _Phases, others: Others, horizons: float
) -> tuple[float, Learnt | None]:
    """Return the error of blends with regressions of some phases, as a share, and these."""
    store, inputs, targets = learner.store, learner.inputs, learner.spec.num_targets
    places = learner.places(phases)
    penalties = learner.penalties([places[k] for k in spread(len(places), TRIED_PHASES)])
    time = store.calendar_start[others.series] + others.cutoff
    fits = others.cutoff >= inputs.length
    fits &= others.cutoff + learner.spec.horizon <= store.length[others.series]
    of_others = torch.where(fits, phases(store, time), -1)
    said = torch.full_like(others.center, torch.nan)
    shape = len(places), targets, inputs.count(learner.spec), learner.spec.horizon
    weights = torch.zeros(FOLDS + 1, *shape)  # without each part of time, and of all
    offsets = torch.zeros(FOLDS + 1, *shape[:2], shape[3])
    for number, place in enumerate(places):
        group, asked = learner.group(place), (of_others == number).nonzero()[:, 0]
        part = learner.part(time[asked])
        if len(asked):
            past, _, _ = learner.look(others.series[asked], others.cutoff[asked], inputs.length)
            features, level = learner.features(past)
        for target, told in enumerate(group.told.unbind(1)):
            if int(told.sum()) < MIN_OF_PHASE:
                continue
            sums = _Sums(group.features[told, target], group.wanted[told, :, target])
            for fold in range(FOLDS):
                own, offset = sums.weights(penalties[target], learner.near(group.time[told], fold))
                inside = part == fold
                if bool(inside.any()):
                    words = features[inside, target] @ own + offset + level[inside, :, target]
                    said[asked[inside], :, target] = _unlinked(words, learner.arcsinh)
                weights[fold, number, target], offsets[fold, number, target] = own, offset
            own, offset = sums.weights(penalties[target])
            weights[-1, number, target], offsets[-1, number, target] = own, offset
    share, bounds, error, blended = _shares(others, said, horizons)
    if not bool(share.any()):
        return error, None

    parts = *phases, share, bounds, learner.arcsinh, penalties
    whole = Regression(inputs, weights[-1].clone(), offsets[-1].clone(), *parts)
    apart = Regression(inputs, weights[:-1].flatten(0, 1), offsets[:-1].flatten(0, 1), *parts)
    return error, Learnt(replace(apart, edges=learner.edges), whole, blended)


def _shares(others: Others, said: Tensor, horizons: float) -> tuple[Tensor, Tensor, float, Tensor]:
    """Return shares of regressions, their bounds, the error of blends, and these."""
    departure = said - others.center
    known = ~departure.isnan()
    low, high = torch.where(known, departure, 0.0).flatten(0, 1).aminmax(dim=0)
    room = BEYOND * (high - low)
    bounds = torch.stack([low - room, high + room], dim=1)
    departure = torch.where(known, departure, 0.0)

    def errors(share: float) -> Tensor:  # (window, num_targets)
        off = (others.center + share * departure - others.truth).abs()
        weighed = (off**2 if others.squared else off) * others.weight
        return torch.where(others.weight > 0, weighed, 0.0).sum(dim=1)

    without = errors(0.0)
    tried = torch.stack([errors(share) for share in SHARES])  # (share, window, num_targets)
    best = tried.sum(dim=1).argmin(dim=0)
    share = torch.zeros(len(best), dtype=torch.float64)
    number = min(horizons, float(known.any(dim=1).any(dim=1).sum()))
    for target, place in enumerate(best.tolist()):
        gain = without[:, target] - tried[place, :, target]
        gain = gain[known[:, :, target].any(dim=1)]
        if len(gain) > 1 and bool(gain.mean() > SURE * gain.std() / number**0.5):
            share[target] = SHARES[place]
    chosen = torch.where(share > 0, tried.sum(dim=1).gather(0, best[None])[0], without.sum(dim=0))
    error = float((chosen / without.sum(dim=0).clamp(min=1e-12)).mean())
    return share, bounds, error, others.center + share * departure
