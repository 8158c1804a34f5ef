"""Effects: what known covariates do to targets, and to errors, of forecasts that read none."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import blocks, spread
from sktime_tlstm.data.windows import WindowSpec

__all__ = [
    "AS_LARGE",
    "FOLDS",
    "KNOTS",
    "Columns",
    "Effects",
    "Sizes",
    "learn_effects",
    "learn_sizes",
]

#: Rows of a category, or squares of a scaled number, that speak half for themselves: those tried.
PRIORS = (0.06, 0.6, 6.0, 60.0)
#: Where the slope of a scaled number may change: about the quartiles; and how much more than the
#: slope its changes are drawn to zero: those tried.
KNOTS, BENDS = (-0.7, 0.0, 0.7), (3.0, 1e4)
#: Parts of time, each of which tells how well effects fit that were learnt of the others.
FOLDS = 5
#: Share of the variance of a number that its changes have, at least: of less, it goes with time.
LEAST_MOVED = 1e-4
#: Effects count if errors fall by so many standard errors.
SURE = 2.0
#: Kinds of a category, and weights of a target, at most.
MAX_CODES, MAX_FEATURES = 64, 200
#: Rows that effects are learnt from, at least; of many so many, and multiplications of one sum over
#: rows at most.
MIN_ROWS, MIN_SAMPLE, MAX_SAMPLE, MAX_PRODUCTS = 20, 1000, 50_000, 4_000_000
#: Share of a number's variance that goes with time, at most.
MAX_TREND = 0.8
#: Share of their median that errors are taken for at least.
LEAST_ERROR = 0.05
#: An output that stops counts as so much of that a season before, or after; if more than such a
#: share of the rows are not above zero, nothing multiplies.
LEAST_LEFT, MOST_STOPS = 0.01, 0.2
#: Rows of which an effect left less than such a share do not tell what they were without.
LEAST_TOLD = 0.03
#: Share of rows at each end that are no usual ones, and the numbers of rows that are told apart.
USUAL_SHARE, AS_LARGE = 0.05, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)
#: Rows of training with as large an effect at which a network counts half.
FAMILIAR = 100.0
#: Errors that an effect is off by, over the rows that tell it; none count as so many.
DOUBT, NO_ROWS = 4.0, 0.5
#: How far logarithms of what multiplies go beyond those of training, as a share of their range.
BEYOND_LOGS = 0.5
#: Residuals of more than so many usual ones count less (Huber); so many iterations find weights.
FAR, ITERATIONS = 3.0, 4
#: No error counts for more than so many usual ones, where two kinds of effects are compared.
FARTHEST = 10.0


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
    calendar : int
        Number of channels of the calendar that count as numbers, behind these.
    """

    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    sizes: tuple[int, ...]
    calendar: int = 0

    @classmethod
    def of(cls, spec: WindowSpec, calendar: bool = False) -> Columns:
        """Return those of a specification, with the calendar or without."""
        first = spec.num_targets + spec.num_numeric
        numbers = [spec.num_targets + channel for channel in spec.known]
        codes = [first + code for code in spec.known_categories]
        numbers, codes = (
            [channel for channel in some if channel not in spec.hidden] for some in (numbers, codes)
        )
        codes = [code for code in codes if spec.cardinalities[code - first] < MAX_CODES]
        sizes = [spec.cardinalities[code - first] + 1 for code in codes]
        number = spec.num_calendar if calendar else 0
        return cls(tuple(numbers), tuple(codes), tuple(sizes), number)

    @property
    def features(self) -> int:
        """Number of weights of a target: several of each number, one of each code."""
        return self.bent + sum(self.sizes)

    @property
    def of_calendar(self) -> np.ndarray:
        """Which weights of a target are of the calendar."""
        numbers = np.arange(len(self.numbers) + self.calendar) >= len(self.numbers)
        return np.append(np.tile(numbers, 1 + len(KNOTS)), np.zeros(sum(self.sizes), dtype=bool))

    @property
    def weak(self) -> np.ndarray:
        """How much more than others weights are drawn to zero, by each of `BENDS`."""
        weak = np.ones((len(BENDS), self.features))
        weak[:, len(self.numbers) + self.calendar : self.bent] = np.array(BENDS)[:, None]
        return weak

    @property
    def bent(self) -> int:
        """Number of weights of all numbers."""
        return (1 + len(KNOTS)) * (len(self.numbers) + self.calendar)


@dataclass(frozen=True)
class Effects:
    """What the known covariates of a row add to its targets, scaled, without arcsinh.

    Or to the logarithms of these, above zero. Every number acts by a line that may bend at the
    knots; every category adds something. What is usual adds nothing.

    Parameters
    ----------
    weights : Tensor of shape (num_targets, `Columns.features`), float64
        Of numbers, of what they are above each knot, and of codes.
    multiplies : tuple of bool
        Of which targets the logarithms are added to.
    bounds : Tensor of shape (num_targets, 2), float64
        Between which the sums of what is added to logarithms are.
    usual : Tensor of shape (num_targets, column), float64
        What a number adds as a rule, which is taken off; 0 of categories.
    tails : Tensor of shape (num_targets, 2, number of `AS_LARGE`), float64
        Sums that so many rows of training have at most, and at least.
    moves : Tensor of shape (num_targets, number), float64
        Deviation of what each number adds, which is not known where it is missing.
    spare : Tensor of shape (num_targets, FOLDS, `Columns.features`), float64
        By how much weights differ without each part of time, such that the sum of their squares is
        a variance (the jackknife of Quenouille and Tukey, for parts: Efron and Tibshirani 1993, "An
        introduction to the bootstrap", chapter 11).
    """

    weights: Tensor
    multiplies: tuple[bool, ...]
    bounds: Tensor
    usual: Tensor
    tails: Tensor
    moves: Tensor
    spare: Tensor

    def total(self, store: SeriesStore, spec: WindowSpec, row: Tensor) -> Tensor:
        """Return what all columns add together (..., num_targets), at rows of a store."""
        return self.by_column(store, spec, row).sum(dim=-2)

    def __call__(self, total: Tensor, zero: Tensor) -> tuple[Tensor, Tensor]:
        """Return what targets are multiplied by, and what is added then, each (..., num_targets).

        By a `total` of that shape, where ``zero``, broadcastable, is zero on the targets' scale.
        """
        log = _bounded(total, self.bounds)
        multiplies = torch.tensor(self.multiplies, device=total.device)
        times = torch.where(multiplies, log.exp(), 1.0)
        return times, torch.where(multiplies, zero * (1 - times), total)

    @property
    def may_hide(self) -> bool:
        """Whether any total may be one that `hides`."""
        low = self.bounds[torch.tensor(self.multiplies), 0]
        return bool((low < math.log(LEAST_TOLD)).any())

    def hides(self, total: Tensor) -> Tensor:
        """Return whether so little is left of targets (..., num_targets), bool.

        That nothing tells what they were without effects.
        """
        multiplies = torch.tensor(self.multiplies, device=total.device)
        return multiplies & (_bounded(total, self.bounds) < math.log(LEAST_TOLD))

    def familiarity(self, total: Tensor) -> Tensor:
        """Return how far a network knows totals (..., num_targets), by how many rows had such."""
        apart, rows = self._apart(total)
        return 1 - apart * FAMILIAR / (FAMILIAR + rows)

    def doubt(self, total: Tensor) -> Tensor:
        """Return how much wider errors are (..., num_targets) for totals that few rows tell.

        An effect is the mean of so many changes, of two errors each; about half of these rows may
        be of another kind that has one as large.
        """
        apart, rows = self._apart(total)
        return (1 + apart * DOUBT / rows.clamp(min=NO_ROWS)).sqrt()

    def spread(self, store: SeriesStore, spec: WindowSpec, row: Tensor, length: int) -> Tensor:
        """Return deviations of totals (window, horizon, num_targets), beside those of before.

        For weights are not known exactly, nor are numbers that are missing. ``row`` (window,
        horizon) are rows of the store, and the ``length`` rows before the first tell what is usual.
        """
        weights, columns = self.spare.flatten(0, 1), Columns.of(spec)
        before = row[:, :1] + torch.arange(-length, 0, device=row.device)
        rows = torch.cat([before, row], dim=1)
        total = _by_column(weights, store, columns, rows).sum(dim=-2)
        moved = total[:, length:] - total[:, :length].mean(dim=1, keepdim=True)
        variance = moved.unflatten(-1, self.spare.shape[:2]).square().sum(dim=-1)
        if columns.numbers:
            missing = ~store.observed[row][..., list(columns.numbers)]
            unknown = missing[..., None, :] * self.moves.to(variance).square()
            variance = variance + unknown.sum(dim=-1)
        return variance.sqrt()

    def _apart(self, total: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far totals are apart from usual ones, from 0 to 1, and how rare they are.

        The latter is the number of rows of training, of `AS_LARGE` or 0, that had as large ones.
        Each (..., num_targets).
        """
        tails = self.tails.to(total.device)
        low, high = tails.unbind(1)  # (num_targets, number)
        least, most = low[:, -1], high[:, -1]
        beyond = torch.maximum(least - total, total - most)
        # apart from half their range on, wholly from all of it on
        apart = (2 * beyond / (most - least).clamp(min=1e-9) - 1).clamp(0, 1)
        slack = 1e-9 * (1 + total.abs())  # of sums in another order
        low, high, total = low - slack[..., None], high + slack[..., None], total[..., None]
        place = torch.minimum((total >= low).sum(dim=-1), (total <= high).sum(dim=-1))
        return apart, total.new_tensor((0, *AS_LARGE))[place]

    def added(self, store: SeriesStore, spec: WindowSpec, row: Tensor, above: Tensor) -> Tensor:
        """Return what each column adds (..., column, num_targets) to targets at rows.

        ``above`` (..., num_targets) is by how much these are above zero without effects.
        """
        log = self.by_column(store, spec, row)
        total = log.sum(dim=-2)
        # all add together what they multiply by, and each its share of the logarithm
        times = torch.expm1(_bounded(total, self.bounds))
        share = torch.where(total == 0, 1.0, times / torch.where(total == 0, 1.0, total))
        product = log * (above * share)[..., None, :]
        return torch.where(torch.tensor(self.multiplies), product, log)

    def by_column(self, store: SeriesStore, spec: WindowSpec, row: Tensor) -> Tensor:
        """Return what each adds (..., column, num_targets), numbers and then categories."""
        added = _by_column(self.weights, store, Columns.of(spec), row)
        return added - self.usual.to(added.device).T


@dataclass(frozen=True)
class Remembered(Effects):
    """Effects that know the totals of all rows of a store, for those who ask of many windows.

    Parameters
    ----------
    totals : Tensor of shape (row, num_targets)
    """

    totals: Tensor

    @classmethod
    def of(cls, effects: Effects | None, store: SeriesStore, spec: WindowSpec) -> Effects | None:
        """Return effects that know those of a store; None without any."""
        if effects is None:
            return None
        rows = torch.arange(len(store.values))
        totals = [effects.total(store, spec, rows[part]) for part in blocks(len(rows))]
        parts = {one.name: getattr(effects, one.name) for one in fields(effects)}
        return cls(totals=torch.cat(totals), **parts)

    def total(self, store: SeriesStore, spec: WindowSpec, row: Tensor) -> Tensor:
        """Return what all columns add together (..., num_targets), at rows of the store."""
        return self.totals[row]


@dataclass(frozen=True)
class Sizes:
    """What known covariates and the calendar of a row multiply the size of errors by.

    Parameters
    ----------
    weights : Tensor of shape (num_targets, `Columns.features`), float64
        Of logarithms, as those of `Effects`; columns of the calendar are numbers.
    bounds : Tensor of shape (num_targets, 2), float64
        Between which the logarithms are.
    """

    weights: Tensor
    bounds: Tensor

    def __call__(self, store: SeriesStore, spec: WindowSpec, row: Tensor, time: Tensor) -> Tensor:
        """Return factors (..., num_targets) at rows of a store and of its calendar."""
        columns = Columns.of(spec, calendar=True)
        log = _by_column(self.weights, store, columns, row, time).sum(dim=-2)
        return _bounded(log, self.bounds).exp()


def _bounded(log: Tensor, bounds: Tensor) -> Tensor:
    low, high = bounds.to(log.device).T
    return log.maximum(low).minimum(high)


def _bounds(logs: np.ndarray) -> np.ndarray:
    """Return what logarithms (row,) may be: a part of their range beyond those of training."""
    low, high = logs.min(initial=0.0), logs.max(initial=0.0)
    return np.array([low, high]) + BEYOND_LOGS * (high - low) * np.array([-1, 1])


def _by_column(
    weights: Tensor, store: SeriesStore, columns: Columns, row: Tensor, time: Tensor | None = None
) -> Tensor:
    values, weights = store.values[row], weights.to(store.values.device).T  # (feature, target)
    chosen = [values[..., channel, None] for channel in columns.numbers]
    numbers = torch.cat([values[..., :0], *chosen], dim=-1)
    if time is not None:
        numbers = torch.cat([numbers, store.calendar[time]], dim=-1)
    numbers = numbers.double()[..., None]
    number = numbers.shape[-2]
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


class _Changes(NamedTuple):
    """Changes of rows since a season before, but for the usual one.

    Parameters
    ----------
    features : numpy.ndarray of shape (row, feature)
    wanted : numpy.ndarray of shape (row,)
        Of a target.
    time : numpy.ndarray of int64, shape (row,)
        Rows of the calendar.
    mean : numpy.ndarray of shape (feature,)
        Of the rows themselves.
    weak : numpy.ndarray of shape (number of `BENDS`, feature)
        How much more than others weights are drawn to zero, by what is tried.
    """

    features: np.ndarray
    wanted: np.ndarray
    time: np.ndarray
    mean: np.ndarray
    weak: np.ndarray


class _Pairs(NamedTuple):
    """Rows of a store, evenly spaced, and the rows a season before them.

    Parameters
    ----------
    now, before : Tensor of shape (row,), int64
    series, time : numpy.ndarray of int64, shape (row,)
        Of the rows; time is that of the calendar.
    features, change : numpy.ndarray of shape (row, feature)
        What weights belong to, and how that differs between the two rows.
    rows : int
        How many rows there are, of which these are evenly spaced ones.
    """

    now: Tensor
    before: Tensor
    series: np.ndarray
    time: np.ndarray
    features: np.ndarray
    change: np.ndarray
    rows: int


def learn_effects(
    store: SeriesStore, spec: WindowSpec, series: np.ndarray, old: Effects | None = None
) -> Effects | None:
    """Learn from changes from season to season; None where covariates explain none of them.

    Differences have no level, trend or season that could pass for an effect. What a coefficient is
    drawn to zero by is chosen by errors in parts of time that were left out, and these must be
    smaller than without any effect. Few far residuals hardly count. Effects add to a target, or to
    its logarithm where it is positive and that makes the errors likelier.

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    series : numpy.ndarray of int64
        The series to learn from.
    old : Effects or None, default=None
        Those of other series, which are kept where these series have none of their own but the old
        ones lower errors, or too few rows to tell.
    """
    columns = Columns.of(spec)
    if not 0 < columns.features <= MAX_FEATURES:
        return None
    weights, multiplies = np.zeros((spec.num_targets, columns.features)), [False] * spec.num_targets
    bounds = np.zeros((spec.num_targets, 2))
    usual = np.zeros((spec.num_targets, len(columns.numbers) + len(columns.codes)))
    tails = np.zeros((spec.num_targets, 2, len(AS_LARGE)))
    moves = np.zeros((spec.num_targets, len(columns.numbers)))
    spare = np.zeros((spec.num_targets, FOLDS, columns.features))
    pairs = _pairs(store, spec, columns, series)
    for target in range(spec.num_targets):
        changes, logs, above = _changes(store, spec, columns, pairs, target)
        if len(changes.wanted) >= MIN_ROWS:
            found, off, spare[target] = _fitted(changes)
            if logs is not None:
                other, relative, doubt = _fitted(logs)
                if other.any() and _is_nearer(relative, off, above):
                    found, spare[target], multiplies[target], changes = other, doubt, True, logs
            weights[target] = _centered(found, changes.mean, columns)
            bent = (pairs.features * weights[target])[:, : columns.bent]
            for place in range(len(columns.numbers)):
                added = bent[:, place :: len(columns.numbers)].sum(axis=1)
                usual[target, place], moves[target, place] = np.median(added), added.std()
            total = pairs.features @ weights[target] - usual[target].sum()
            bounds[target] = _bounds(total)
            seen = _counts(store, spec, pairs.now, target).numpy()
            tails[target] = _tails(total[seen], pairs.rows * seen.mean())
        if old is None or weights[target].any():
            continue
        kept = old.weights[target].numpy()
        known = logs if old.multiplies[target] else changes
        few = len(changes.wanted) < MIN_ROWS
        if few or (known is not None and _gain(known, kept).mean() > 0):
            weights[target], multiplies[target] = kept, old.multiplies[target]
            bounds[target] = old.bounds[target].numpy()
            usual[target], tails[target] = old.usual[target].numpy(), old.tails[target].numpy()
            moves[target], spare[target] = old.moves[target].numpy(), old.spare[target].numpy()
    if not weights.any():
        return None
    parts = map(torch.from_numpy, (bounds, usual, tails, moves, spare))
    return Effects(torch.from_numpy(weights), tuple(multiplies), *parts)


def learn_sizes(
    store: SeriesStore, spec: WindowSpec, row: Tensor, time: Tensor, error: Tensor
) -> Sizes | None:
    """Learn what covariates and the calendar multiply errors by; None where they tell nothing.

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    row, time : Tensor of shape (row,), int64
        Of the store, and of its calendar.
    error : Tensor of shape (row, num_targets)
        Sizes of errors, NaN where unobserved.
    """
    columns = Columns.of(spec, calendar=True)
    if not 0 < columns.features <= MAX_FEATURES:
        return None
    weights, bounds = (
        np.zeros((spec.num_targets, columns.features)),
        np.zeros((spec.num_targets, 2)),
    )
    for target in range(spec.num_targets):
        known = (~error[:, target].isnan()).nonzero()[:, 0]
        known = known[torch.from_numpy(spread(len(known), _most_rows(columns)))]
        size, when = error[known, target], time[known].numpy()
        if len(known) < MIN_ROWS or not bool((size > 0).any()):
            continue
        wanted = size.maximum(LEAST_ERROR * size[size > 0].median()).log().numpy()
        features = _features(store, columns, row[known], time[known])
        mean = features.mean(axis=0)
        change = _without_trends(features, features - mean, when, columns)
        found = np.zeros(columns.features)
        for chosen in (~columns.of_calendar, columns.of_calendar):  # drawn to zero by themselves
            left = wanted - change @ found
            left = left - np.median(left)
            part = _Changes(change[:, chosen], left, when, mean[chosen], columns.weak[:, chosen])
            found[chosen] = _fitted(part)[0] if chosen.any() else 0.0
        weights[target] = _centered(found, mean, columns)
        bounds[target] = _bounds(features @ weights[target])
    return Sizes(*map(torch.from_numpy, (weights, bounds))) if weights.any() else None


def _most_rows(columns: Columns) -> int:
    return min(MAX_SAMPLE, max(MIN_SAMPLE, MAX_PRODUCTS // columns.features**2))


def _pairs(store: SeriesStore, spec: WindowSpec, columns: Columns, series: np.ndarray) -> _Pairs:
    start, length = store.start.numpy()[series], store.length.numpy()[series]
    begin = store.calendar_start.numpy()[series]
    usual = float(np.median(length)) if len(length) else 0.0
    lag = next((season for season in spec.seasons if 3 * season <= usual), 1)
    long = length > lag
    start, length, begin = start[long] + lag, length[long] - lag, begin[long] + lag
    rows = int(length.sum())
    chosen, first = spread(rows, _most_rows(columns)), np.cumsum(length) - length
    owner = np.searchsorted(first, chosen, side="right") - 1
    within = chosen - first[owner]
    now = torch.from_numpy(start[owner] + within)
    features = _features(store, columns, now)
    change = features - _features(store, columns, now - lag)
    time = begin[owner] + within
    return _Pairs(now, now - lag, series[long][owner], time, features, change, rows)


def _changes(
    store: SeriesStore, spec: WindowSpec, columns: Columns, pairs: _Pairs, target: int
) -> tuple[_Changes, _Changes | None, np.ndarray]:
    """Return changes of a target, those of its logarithms, and by how much it is above zero (row,).

    The second are None where the target is not above zero but for a few rows, as of an output that
    stops. The last is NaN a season after these.
    """
    seen = _counts(store, spec, pairs.now, target) & _counts(store, spec, pairs.before, target)
    later, earlier = (
        store.values[rows[seen], target].double() for rows in (pairs.now, pairs.before)
    )
    if spec.arcsinh:
        later, earlier = torch.sinh(later), torch.sinh(earlier)
    chosen = seen.numpy()
    time, features = pairs.time[chosen], pairs.features[chosen]
    change = pairs.change[chosen]
    change = change - change.sum(axis=0) / max(len(change), 1)
    mean = features.sum(axis=0) / max(len(features), 1)
    weak = columns.weak
    if len(features):  # what changes little from season to season is no less sure for that
        bent, moved = columns.bent, np.square(change).mean(axis=0)
        part = (moved / np.maximum(2 * features.var(axis=0), 1e-12))[:bent]
        weak[:, :bent] *= np.clip(part, LEAST_MOVED, 1.0)
        lines = part[: bent // (1 + len(KNOTS))]
        change[:, :bent][:, np.tile(lines < LEAST_MOVED, 1 + len(KNOTS))] = 0.0

    def of(wanted: Tensor) -> _Changes:
        return _Changes(change, (wanted - wanted.median()).numpy(), time, mean, weak)

    if not len(later):
        return _Changes(change, later.numpy(), time, mean, weak), None, later.numpy()
    zero = store.traits.zero[torch.from_numpy(pairs.series[chosen]), target].double()
    later_above, earlier_above = later - zero, earlier - zero
    stops = (torch.stack([later_above, earlier_above]) <= 0).double().mean()
    if not bool(stops <= MOST_STOPS):
        return of(later - earlier), None, later_above.numpy()
    least = LEAST_LEFT * torch.maximum(later_above, earlier_above).clamp(min=1e-12)
    logs = of(later_above.maximum(least).log() - earlier_above.maximum(least).log())
    # what nothing was a season before does not tell how much it would have been
    above = torch.where(earlier_above <= least, torch.nan, later_above.maximum(least))
    return of(later - earlier), logs, above.numpy()


def _counts(store: SeriesStore, spec: WindowSpec, row: Tensor, target: int) -> Tensor:
    """Return at which rows (row,) a target is observed and has a weight."""
    seen = store.observed[row, target]
    return seen & (store.values[row, -1] >= 0) if spec.weighted else seen  # -1 for a weight of 0


def _is_nearer(relative: np.ndarray, off: np.ndarray, above: np.ndarray) -> bool:
    """Whether errors of logarithms are better than those of values, each (row,).

    They are likelier; or else, if any output stops, smaller by what they come to.
    """
    known = ~np.isnan(above)
    relative, off, above = relative[known], off[known], above[known]
    if not known.all():
        return bool(_usual(above * -np.expm1(-relative)) < _usual(off))
    return bool(np.log(_usual(relative)) + np.log(above).mean() < np.log(_usual(off)))


def _tails(total: np.ndarray, rows: float) -> np.ndarray:
    """Return tails (2, number), as `Effects` has them, of sums (row,) at some of so many rows.

    Among usual sums no numbers are told apart.
    """
    ordered = np.sort(total)
    place = np.minimum(AS_LARGE, max(1.0, USUAL_SHARE * rows)) * len(total) / rows
    place = np.maximum(place.astype(np.int64), 1) - 1
    return np.stack([ordered[place], ordered[::-1][place]])


def _without_trends(
    features: np.ndarray, change: np.ndarray, time: np.ndarray, columns: Columns
) -> np.ndarray:
    """Return changes that are none of features that go with time."""
    number, change = columns.bent // (1 + len(KNOTS)), change.copy()
    if len(features):
        change[:, : columns.bent][:, _trends(features[:, :number], time)] = 0.0
    return change


def _trends(numbers: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return which features of numbers (row, number) belong to such as go with time.

    They leave the range of training, are clipped, and what grows with them would stop to grow.
    """
    moved, passed = numbers - numbers.mean(axis=0), time - time.mean()
    shared = (moved * passed[:, None]).mean(axis=0) ** 2
    whole = (moved**2).mean(axis=0) * (passed**2).mean()
    return np.tile(shared > MAX_TREND * whole, 1 + len(KNOTS))


def _centered(weights: np.ndarray, mean: np.ndarray, columns: Columns) -> np.ndarray:
    """Return weights (feature,) with which the usual category adds nothing, nor does an unknown.

    Changes tell nothing of what all categories have in common.
    """
    weights, begin = weights.copy(), columns.bent
    for size in columns.sizes:
        part = slice(begin, begin + size)
        weights[part] = np.where(mean[part] > 0, weights[part] - mean[part] @ weights[part], 0.0)
        begin += size
    return weights


def _features(
    store: SeriesStore, columns: Columns, row: Tensor, time: Tensor | None = None
) -> np.ndarray:
    """Return what the weights belong to (row, feature)."""
    values = store.values[row].double().numpy()
    numbers = values[:, columns.numbers]
    if time is not None:
        numbers = np.concatenate([numbers, store.calendar[time].double().numpy()], axis=1)
    parts = [numbers, *(np.maximum(numbers - knot, 0.0) for knot in KNOTS)]
    for channel, size in zip(columns.codes, columns.sizes, strict=True):
        parts.append((values[:, channel, None] == np.arange(size)).astype(float))
    return np.concatenate(parts, axis=1)


def _fitted(changes: _Changes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights (feature,) that explain changes; zero if none does.

    The second are the errors (row,), with their signs, that they leave in parts of time that they
    have not seen, and the third (FOLDS, feature) as `Effects.spare`.
    """
    features, wanted = changes.features, changes.wanted
    # rows of one time share their shocks: they are in one part, and together tell as much as one
    moments, moment = np.unique(changes.time, return_inverse=True)
    parts = np.array_split(np.arange(len(moments)), FOLDS)
    priors = [prior * weak for weak in np.unique(changes.weak, axis=0) for prior in PRIORS]
    errors = np.zeros((len(priors), len(wanted)))
    without = np.zeros((len(priors), FOLDS, features.shape[1]))
    for fold, part in enumerate(parts):
        inside = np.isin(moment, part)
        for place, prior in enumerate(priors):
            weights = _robust(features[~inside], wanted[~inside], prior)
            errors[place, inside] = wanted[inside] - features[inside] @ weights
            without[place, fold] = weights
    best = int(np.abs(errors).mean(axis=1).argmin())
    gain = np.bincount(moment, np.abs(wanted) - np.abs(errors[best])) / np.bincount(moment)
    if not gain.mean() > SURE * gain.std() / np.sqrt(len(gain)):
        return np.zeros(features.shape[1]), wanted, np.zeros_like(without[best])
    weights = _robust(features, wanted, priors[best])
    spare = (without[best] - without[best].mean(axis=0)) * np.sqrt((FOLDS - 1) / FOLDS)
    return weights, errors[best], spare


def _usual(error: np.ndarray) -> float:
    """Return the mean size of errors, but for what far ones exceed the others by."""
    error = np.abs(error)
    middle = float(np.median(error))
    return float(np.minimum(error, FARTHEST * middle).mean() if middle else error.mean())


def _gain(changes: _Changes, weights: np.ndarray) -> np.ndarray:
    """Return by how much weights lower the errors of changes (row,)."""
    off = changes.wanted - changes.features @ weights
    gain: np.ndarray = np.abs(changes.wanted) - np.abs(off)
    return gain


def _robust(change: np.ndarray, wanted: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return ridge regression's weights (feature,), of Huber's loss."""
    importance = np.ones(len(wanted))
    penalty = np.diag(prior)
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
