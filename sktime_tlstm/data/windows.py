"""Windows: (series, cutoff) pairs and the one cut that turns a batch of them into tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.nn.exporting import is_readable

__all__ = [
    "SEASONS_BEFORE",
    "SEASONS_EXPORTED",
    "Batch",
    "Inputs",
    "WindowSpec",
    "cut_windows",
    "moved_to_front",
    "observed_share",
    "past_targets",
    "sent",
]

#: The smallest window scale, as a fraction of the spread of the whole (scaled) series.
MIN_WINDOW_SCALE = 0.05
#: A gap takes the value of a season so many before the window, at most, and in exported graphs.
SEASONS_BEFORE, SEASONS_EXPORTED = 32, 2
#: Rows that tell a window's deviation, if so many are looked at.
FEW_ROWS = 16


@dataclass(frozen=True)
class WindowSpec:
    """What a window holds; fixes the channels that the network sees.

    Parameters
    ----------
    context_length, horizon : int
        Rows before and after the cutoff.
    num_targets, num_numeric, num_calendar : int
        Numbers of channels of each kind.
    known : tuple of int
        Which numeric covariates are known in the future.
    cardinalities : tuple of int
        Number of training categories of each categorical covariate.
    known_categories : tuple of int
        Which categorical covariates are known in the future.
    lags : tuple of int
        Lags, in steps, whose targets and numeric covariates the decoder sees.
    window_norm : {"meanstd", "mean"} or None
        Normalisation of the target within the window.
    norm_length : int
        Number of rows before the cutoff that the normalisation is computed from.
    support : {"real", "positive", "count"}, default="real"
        Of the targets; only real ones are shifted by the normalisation.
    num_static : int, default=0
        Number of numeric static covariates.
    static_cardinalities : tuple of int, default=()
        Number of training categories of each categorical static covariate.
    num_identities : int, default=0
        Number of series that the network can tell apart; 0 if it is not told.
    simple_length : int, default=1
        Number of rows before the cutoff that simple forecasts are made from.
    seasons : tuple of int, default=()
        Numbers of rows after which a cycle of the timeline comes round.
    simulation : bool, default=False
        Whether a step is to be treated alike however far it is: it is not told how far.
    arcsinh : bool, default=False
        Whether targets are scaled by an arcsinh.
    weighted : bool, default=False
        Whether the store has a weight of every row, behind all other channels.
    shortest : int, default=0
        Fewest rows of a past that simulations were trained to start from; 0 for not known.
    limits : tuple of (float, float), default=()
        Between which networks read each numeric covariate, scaled; none of simulations.
    hidden : tuple of int, default=()
        Channels of the store that no network reads before the cutoff: targets only of simulations,
        which have no normalisation by window; numeric covariates; codes.
    always, never : tuple of int, default=()
        Which numeric covariates training had in every row, and in none. No network has learnt what
        it means that one of these is missing, or is there: it is not told.
    """

    context_length: int
    horizon: int
    num_targets: int
    num_numeric: int
    num_calendar: int
    known: tuple[int, ...]
    cardinalities: tuple[int, ...]
    known_categories: tuple[int, ...]
    lags: tuple[int, ...]
    window_norm: str | None
    norm_length: int
    support: str = "real"
    num_static: int = 0
    static_cardinalities: tuple[int, ...] = ()
    num_identities: int = 0
    simple_length: int = 1
    seasons: tuple[int, ...] = ()
    simulation: bool = False
    arcsinh: bool = False
    weighted: bool = False
    hidden: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    never: tuple[int, ...] = ()
    shortest: int = 0
    limits: tuple[tuple[float, float], ...] = ()

    @property
    def reach(self) -> int:
        """The number of rows before the cutoff that a window reads."""
        return max(self.context_length, self.norm_length, *self.lags, self.simple_length, 1)

    @property
    def num_codes(self) -> tuple[int, int]:
        """Numbers of code channels of the encoder's and of the decoder's input."""
        told = int(self.num_identities > 0)
        return len(self.cardinalities) + told, len(self.known_categories) + told

    @property
    def num_past_features(self) -> int:
        """Width of the encoder's input, category codes included."""
        return 2 * (self.num_targets + self.num_numeric) + self.num_calendar + self.num_codes[0]

    @property
    def num_future_features(self) -> int:
        """Width of the decoder's input, category codes included."""
        per_lag = 2 * self.num_targets + self.num_numeric
        width = 2 * len(self.known) + self.num_calendar + 1 + 2 * self.num_targets
        return width + len(self.lags) * per_lag + self.num_codes[1]

    @property
    def num_static_features(self) -> int:
        """Width of the static input, category codes included."""
        return self.num_static + len(self.static_cardinalities)

    @property
    def codes(self) -> list[tuple[int, int | None, int | None, int | None]]:
        """Every code: its cardinality and its channel in the past, future and static input.

        Codes are the last channels of each input: those of the categorical covariates, that of
        the series, those of the static categories.
        """
        past, future = (
            width - number
            for width, number in zip(
                (self.num_past_features, self.num_future_features), self.num_codes, strict=True
            )
        )
        in_future = {code: future + place for place, code in enumerate(self.known_categories)}
        codes: list[tuple[int, int | None, int | None, int | None]] = [
            (cardinality, past + code, in_future.get(code), None)
            for code, cardinality in enumerate(self.cardinalities)
        ]
        if self.num_identities:
            last = self.num_past_features - 1, self.num_future_features - 1
            codes.append((self.num_identities, *last, None))
        statics = enumerate(self.static_cardinalities, start=self.num_static)
        return codes + [(number, None, None, channel) for channel, number in statics]


class Batch(NamedTuple):
    """A batch of windows.

    ``inputs`` are the keyword arguments of the network; ``target`` (batch, horizon, num_targets)
    is normalised, NaN where unobserved; ``loc`` and ``scale`` (batch, num_targets) undo the
    normalisation: ``value = loc + scale * normalised``; ``unit`` (batch, num_targets) takes
    normalised values to units of y; ``weight`` (batch, horizon) is the weight of the targets'
    rows as it was told, None where none is.
    """

    inputs: dict[str, Tensor]
    target: Tensor
    loc: Tensor
    scale: Tensor
    unit: Tensor
    weight: Tensor | None = None


class Inputs(dict[str, Tensor]):
    """Keyword arguments of the network, which know how targets become values in units of y."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.inputs)
        parts = batch.loc, batch.scale, batch.unit
        self.loc, self.scale, self.unit = (part[:, None] for part in parts)

    def absolute_errors(self, point: Tensor, target: Tensor, arcsinh: bool) -> Tensor:
        """Return how far normalised points (batch, time, num_targets) are off, in units of y."""
        loc, scale, unit, target = (
            part.to(point.device) for part in (self.loc, self.scale, self.unit, target)
        )
        if not arcsinh:
            return unit * (point - target).abs()
        off = torch.sinh(loc + scale * point) - torch.sinh(loc + scale * target)
        return unit / scale * off.abs()


def cut_windows(store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor) -> Batch:
    """Cut windows out of the store.

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    series : Tensor of shape (batch,), int64, on the CPU
        Which series.
    cutoff : Tensor of shape (batch,), int64, on the CPU
        Number of rows of the series that lie before the forecast.

    Returns
    -------
    Batch
        Sequences left-aligned; ``past_lengths`` is passed only if a context is short. An empty
        context is one row of zeros.
    """
    device, reach, targets = store.values.device, spec.reach, spec.num_targets
    # what is exported takes whole contexts alone
    shortest = int(cutoff.min()) if is_readable(cutoff) else spec.context_length
    series, cutoff = sent(series, device), sent(cutoff, device)
    offset = torch.arange(-reach, spec.horizon, device=device)
    place = cutoff[:, None] + offset  # (batch, reach + horizon), rows of the own series
    inside = (place >= 0) & (place < store.length[series, None])  # (batch, reach + horizon)
    # The rows of the store; a place outside its series reads any row, and is cleared below.
    row = (store.start[series, None] + place).clamp(0, store.values.shape[0] - 1)
    values = store.values[row] * inside[..., None]  # (batch, reach + horizon, channel)
    observed = (store.observed[row] & inside[..., None]).to(values.dtype)  # (.., targets + numeric)
    observed = _as_learnt(spec, observed, inside)
    # The calendar is known for the context and the horizon alone: (batch, context + horizon).
    calendar_row = store.calendar_start[series, None] + place[:, reach - spec.context_length :]
    calendar = store.calendar[calendar_row.clamp(0, store.calendar.shape[0] - 1)]

    loc, scale = _window_statistics(store, spec, series, values, observed)
    raw, seen = values[..., :targets], observed[..., :targets]
    # (batch, 1, num_targets) beside (batch, reach + horizon, num_targets)
    normalised = (raw - loc[:, None]) / scale[:, None] * seen
    values = torch.cat([normalised, _within_limits(spec, values[..., targets:])], dim=-1)
    if spec.hidden:  # as if nothing was observed; 0 is also the code of the unknown
        hidden = _channels_of(spec.hidden, values)
        read = ~((offset < 0)[:, None] & hidden)  # (reach + horizon, channel)
        values, observed = values * read, observed * read[:, : observed.shape[-1]]

    past = _past(spec, values, observed, calendar)
    future = _future(spec, values, observed, calendar, loc, scale)
    if spec.num_identities:
        identity = store.traits.identity[series, None, None]  # (batch, 1, 1), then every row
        past, future = (
            torch.cat([part, identity.expand(-1, part.shape[1], -1)], dim=-1)
            for part in (past, future)
        )
    inputs = {"past": past, "future": future}
    if shortest < spec.context_length:
        lengths = cutoff.clamp(1, spec.context_length)
        past = moved_to_front(past, spec.context_length - lengths, lengths)
        inputs["past"] = past * (cutoff > 0)[:, None, None]  # an empty context is all zero
        inputs["past_lengths"] = lengths
    if spec.num_static_features:
        inputs["static"] = store.traits.static[series]
    target = torch.where(seen[:, reach:] > 0, normalised[:, reach:], torch.nan)
    weight = None
    if spec.weighted:
        told = values[:, reach:, -1]  # (batch, horizon); 0 for none, of rows that no series has
        weight = torch.where(told == 0, 1.0, told.clamp(min=0))
    return Batch(inputs, target, loc, scale, scale * store.traits.unit[series], weight)


def _within_limits(spec: WindowSpec, covariates: Tensor) -> Tensor:
    """Return covariates (..., channel), of which the numeric ones come first, as networks do."""
    if not spec.limits:
        return covariates
    low, high = covariates.new_tensor(spec.limits).T
    numeric = covariates[..., : spec.num_numeric].maximum(low).minimum(high)
    return torch.cat([numeric, covariates[..., spec.num_numeric :]], dim=-1)


def _as_learnt(spec: WindowSpec, observed: Tensor, inside: Tensor) -> Tensor:
    """Return flags (batch, row, channel) of 0 and 1 as training had them, where it had one kind."""
    if not spec.always and not spec.never:
        return observed
    always, never = (
        _channels_of([spec.num_targets + number for number in numbers], observed)
        for numbers in (spec.always, spec.never)
    )
    there = inside[..., None].to(observed.dtype)
    return torch.where(always, there, observed) * ~never


def _channels_of(numbers: Sequence[int], values: Tensor) -> Tensor:
    """Return which channels of values (..., channel) have one of the numbers (channel,), bool."""
    channel = torch.arange(values.shape[-1], device=values.device)
    none = torch.zeros_like(channel, dtype=torch.bool)
    return functools.reduce(torch.logical_or, [channel == number for number in numbers], none)


def sent(places: Tensor, device: torch.device) -> Tensor:
    """Copy places to a device, which the host does not wait for if their memory is pinned."""
    if device.type == "cuda":
        places = places.pin_memory()
    # on "mps" a copy that is not waited for may come after its source is gone
    return places.to(device, non_blocking=device.type != "mps")


def past_targets(
    store: SeriesStore,
    spec: WindowSpec,
    series: Tensor,
    cutoff: Tensor,
    length: int,
    season: int | None,
    undone: Callable[[Tensor, Tensor | None], Tensor] | None = None,
) -> Tensor:
    """Return the targets before cutoffs, with gaps filled.

    A gap takes the value of the season before, or of one before that, also before the window; or
    else the latest before it; at the beginning of the window the first that there is; without any,
    the series' level.

    Parameters
    ----------
    store : SeriesStore
    spec : WindowSpec
    series, cutoff : Tensor of shape (window,), int64
        Cutoffs of at least ``length``.
    length : int
    season : int or None
    undone : callable or None, default=None
        What is done to targets before: takes these (..., num_targets) and the rows of the store
        that they are of, None for none. What it makes NaN is a gap.

    Returns
    -------
    Tensor of shape (window, length, num_targets)
    """
    place = cutoff[:, None] + torch.arange(-length, 0, device=cutoff.device)

    def at(place: Tensor) -> tuple[Tensor, Tensor]:
        row = store.start[series, None] + place
        values, seen = (part[row, : spec.num_targets] for part in (store.values, store.observed))
        values = values if undone is None else undone(values, row)
        return values, seen & ~values.isnan()

    values, seen = at(place)
    if is_readable(seen) and bool(seen.all()):
        return values
    level = store.traits.level[series, None]
    level = level if undone is None else undone(level, None)
    if season is not None:
        readable = is_readable(seen)
        before = SEASONS_BEFORE if readable else SEASONS_EXPORTED
        for number in range(1, -(-length // season) + before):
            earlier = place - number * season
            if readable and (bool(seen.all()) or not bool((earlier >= 0).any())):
                break
            other, known = at(earlier.clamp(min=0))
            values = torch.where(seen, values, other)
            seen = seen | (known & (earlier >= 0)[..., None])
    rows = torch.arange(length, device=seen.device)[None, :, None]
    latest = torch.where(seen, rows, -1).cummax(dim=1).values  # -1 in front of the first
    first = seen.to(torch.uint8).argmax(dim=1, keepdim=True)
    filled = values.gather(1, torch.where(latest < 0, first, latest))
    return torch.where(seen.any(dim=1, keepdim=True), filled, level.expand_as(filled))


def observed_share(store: SeriesStore, spec: WindowSpec, series: Tensor, cutoff: Tensor) -> Tensor:
    """Return which share of the targets in contexts is observed (window, num_targets).

    Of the rows that a series has; 1 of targets whose past is not read.
    """
    place = cutoff[:, None] + torch.arange(-spec.context_length, 0, device=cutoff.device)
    row, inside = store.start[series, None] + place.clamp(min=0), place[..., None] >= 0
    seen = (store.observed[row, : spec.num_targets] & inside).sum(dim=1)
    rows = inside.sum(dim=1)
    share = torch.where(rows > 0, seen / rows.clamp(min=1), 1.0)
    hidden = torch.tensor([k in spec.hidden for k in range(spec.num_targets)], device=share.device)
    return torch.where(hidden, 1.0, share.double())


def _window_statistics(
    store: SeriesStore, spec: WindowSpec, series: Tensor, values: Tensor, observed: Tensor
) -> tuple[Tensor, Tensor]:
    """Return location and scale (batch, num_targets) of the observed target before the cutoff."""
    level, spread = store.traits.level[series], store.traits.spread[series]
    if spec.window_norm is None:
        return torch.zeros_like(level), torch.ones_like(level)
    rows = slice(spec.reach - spec.norm_length, spec.reach)
    value, seen = values[:, rows, : spec.num_targets], observed[:, rows, : spec.num_targets]
    count = seen.sum(dim=1)
    mean = (value * seen).sum(dim=1) / count.clamp(min=1)
    if spec.support != "real":
        scale = torch.where(count > 0, mean, level)
        return torch.zeros_like(level), torch.maximum(scale, MIN_WINDOW_SCALE * level)
    loc = torch.where(count > 0, mean, level)
    if spec.window_norm == "mean":
        return loc, torch.ones_like(level)
    # over the rows before the cutoff: (batch, norm_length, num_targets) -> (batch, num_targets)
    variance = ((value - mean[:, None]).square() * seen).sum(dim=1) / count.clamp(min=1)
    # what few rows tell too small is drawn to what all tell
    lacking = (min(FEW_ROWS, spec.norm_length) - count).clamp(min=0)
    variance = (count * variance + lacking * spread.square()) / (count + lacking)
    return loc, torch.maximum(variance.sqrt(), MIN_WINDOW_SCALE * spread)


def _past(spec: WindowSpec, values: Tensor, observed: Tensor, calendar: Tensor) -> Tensor:
    """Assemble the encoder's input (batch, context_length, num_past_features)."""
    context = slice(spec.reach - spec.context_length, spec.reach)
    numeric = spec.num_targets + spec.num_numeric
    parts = [
        values[:, context, :numeric],
        observed[:, context],
        calendar[:, : spec.context_length],
        values[:, context, numeric : numeric + len(spec.cardinalities)],
    ]
    return torch.cat(parts, dim=-1)


def _future(
    spec: WindowSpec, values: Tensor, observed: Tensor, calendar: Tensor, loc: Tensor, scale: Tensor
) -> Tensor:
    """Assemble the decoder's input (batch, horizon, num_future_features)."""
    reach, horizon, targets = spec.reach, spec.horizon, spec.num_targets
    numeric = targets + spec.num_numeric
    batch = values.shape[0]
    known = [targets + channel for channel in spec.known]  # channels of the store
    codes = [numeric + code for code in spec.known_categories]
    # What is the same for all windows or all steps is repeated: (batch, horizon, ...).
    step = torch.arange(1, horizon + 1, device=values.device, dtype=values.dtype) / horizon
    if spec.simulation:
        step = torch.zeros_like(step)
    parts = [
        *_channels(values[:, reach:], known),
        *_channels(observed[:, reach:], known),
        calendar[:, spec.context_length :],
        step[None, :, None].expand(batch, -1, 1),
        loc[:, None].expand(-1, horizon, -1),
        scale.log()[:, None].expand(-1, horizon, -1),
    ]
    for lag in spec.lags:
        # The latest row before the cutoff that lies a multiple of the lag before each step.
        rows = reach - lag + torch.arange(horizon, device=values.device) % lag
        parts += [values[:, rows, :numeric], observed[:, rows, :targets]]
    return torch.cat([*parts, *_channels(values[:, reach:], codes)], dim=-1)


def _channels(rows: Tensor, numbers: list[int]) -> list[Tensor]:
    """Return some channels, in ascending order, of (batch, time, channel): neighbours together.

    A list in an index would become a tensor at every call, and a copy that a device waits for.
    """
    firsts = [number for number in numbers if number - 1 not in numbers]
    stops = [number + 1 for number in numbers if number + 1 not in numbers]
    return [rows[..., first:stop] for first, stop in zip(firsts, stops, strict=True)]


def moved_to_front(rows: Tensor, skipped: Tensor, lengths: Tensor) -> Tensor:
    """Move ``lengths`` rows behind those that are ``skipped`` to the front, and put zeros behind.

    Parameters
    ----------
    rows : Tensor of shape (batch, time, channel)
    skipped, lengths : Tensor of shape (batch,), int64
    """
    time = torch.arange(rows.shape[1], device=rows.device)
    source = (skipped[:, None] + time).clamp(max=rows.shape[1] - 1)  # (batch, time)
    # (batch, time) -> (batch, time, channel): every channel moves alike
    moved = rows.gather(1, source[..., None].expand_as(rows))
    return moved * (time < lengths[:, None])[..., None]
