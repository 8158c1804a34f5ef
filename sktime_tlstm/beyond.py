"""Beyond: what is told of data that training did not prepare for, so that it surprises nobody."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import pandas as pd

from sktime_tlstm.contract import unwrapped
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, ranges
from sktime_tlstm.data.source import Source
from sktime_tlstm.model import Model
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.notices import notify

__all__ = [
    "LEAST_GAP",
    "MAX_NAMED",
    "NOTHING_NEW",
    "RECENT_ROWS",
    "USUAL_SHARE",
    "check_drives",
    "check_other_data",
    "warn_of_empty_series",
    "warn_of_far_rows",
    "warn_of_gaps_in_drives",
    "warn_of_known_rows",
    "warn_of_late_rows",
    "warn_of_no_training",
    "warn_of_skipped_rows",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: How many times as far as training data new observations may be without a warning: of forecasts,
#: which are normalised, and of simulations, whose training reaches from the middle of its range.
BEYOND_BELIEF, BEYOND_RANGE = 100.0, 3.0
#: Share of rows that end in as long a gap, from which on it is no news; rows that are looked at,
#: and series.
USUAL_SHARE, RECENT_ROWS, MAX_LOOKED = 0.01, 5000, 20
#: Share of the rows with an output whose inputs may be missing without a warning.
MOST_ABSENT = 0.02
#: Missing values at the end that are told of, at least.
LEAST_GAP = 2
#: Series and columns that a warning names.
MAX_NAMED = 3
#: What is said first of an update that is not learnt from.
NOTHING_NEW = "Got an update without a new row"
#: Share of a series' scale by which values differ that are no roundings of each other.
ROUNDED = 1e-4


# Rows in another unit.


def warn_of_far_rows(
    model: Model,
    history: History,
    number: Integers,
    before: History | None,
    where: str,
    X: pd.DataFrame | None,
) -> None:
    """Warn of observations beyond belief beside those of training, and of such inputs.

    In forecasts a series is compared with itself; new ones have scales of their own. In simulations
    all have one, that of training, and their inputs are compared too.

    Parameters
    ----------
    model : Model
    history : History
        With the rows.
    number : numpy.ndarray of int64, shape (num_series,)
        How many of the last rows of each series are looked at.
    before : History or None
        What was known before; None where nothing was but the model.
    where : str
        What the rows are, as the warning calls them.
    X : pandas.DataFrame or None
        Their covariates, if they lie row by row.
    """
    _warn_below_zero(model, history, number, where)
    place, middle, reach = _usual(model, history, before)
    hidden = () if before is None else model.spec.hidden  # of a past nothing hidden is read
    if model.spec.simulation and X is not None:
        encoder, first = model.encoder, model.spec.num_targets
        columns = [name for k, name in enumerate(encoder.columns, first) if k not in hidden]
        encoder.warn_of_far_inputs(history, X, history.lengths - number, columns)
    reach[:, [channel for channel in hidden if channel < reach.shape[1]]] = np.nan
    which = np.flatnonzero((number > 0) & ~np.isnan(reach).all(axis=1))
    rows, owner = _last_rows(history, which, number)
    if not len(rows):
        return
    sizes, seen = _sizes(model, history, rows, owner)
    distance = np.abs(sizes - middle[owner])
    most = BEYOND_RANGE if model.spec.simulation else BEYOND_BELIEF
    far = seen & (distance > most * reach[owner])
    if far.any() and before is not None and not model.spec.simulation:
        for series in np.unique(owner[far.any(axis=1)]):  # training may have been as far itself
            own = owner == series
            known = _farthest(model, before, int(place[series]), middle[series])
            far[own] &= distance[own] > known
    if not far.any():
        return
    row, channel = np.argwhere(far)[0]
    times = distance[row, channel] / reach[owner[row], channel]
    notify(
        f"Got y with {sizes[row, channel]:g} in {where}{history.name(owner[row])}, {times:,.0f} "
        "times as far from the usual as training data reach: forecasts follow it. Pass it in "
        "the unit of training; if all has changed, fit again."
    )


def _warn_below_zero(model: Model, history: History, number: Integers, where: str) -> None:
    """Warn of targets below zero, in so many of the last rows of each series, that stop there."""
    gap = history.store.traits.gap.numpy()
    which = np.flatnonzero((number > 0) & (gap > 0).any(axis=1))
    rows, owner = _last_rows(history, which, number)
    sizes, seen = _sizes(model, history, rows, owner)
    below = seen & (gap[owner] > 0) & (sizes < -ROUNDED * history.scale[owner])
    if not below.any():
        return
    row, channel = np.argwhere(below)[0]
    name = model.encoder.targets[model.encoder.order.index(channel)]
    notify(
        f"Got y with {sizes[row, channel]:g} for {name!r} in {where}{history.name(owner[row])}, "
        "where training has many zeros and nothing below: forecasts stay at zero or above. If all "
        "has changed, fit again."
    )


def _usual(
    model: Model, history: History, before: History | None
) -> tuple[Integers, Floats, Floats]:
    """Return where the series of a history were before, -1 for nowhere, and what was usual there.

    That is a middle and how far around it training reaches (num_series, num_targets), in units of
    y; NaN where nothing tells.
    """
    spec, encoder = model.spec, model.encoder
    nothing = np.full((len(history.first), spec.num_targets), np.nan)
    middle, reach, place = nothing, nothing.copy(), np.full(len(nothing), -1)
    if spec.simulation:
        if encoder.extremes is not None:  # which files of before do not hold
            low, high = np.array(encoder.extremes).T
            middle[:] = (low + high) / 2
            reach[:] = np.where(high > low, (high - low) / 2, np.maximum(np.abs(high), 1.0))
        return place, middle, reach
    if before is None or _num_levels(history) != _num_levels(before):
        return place, middle, reach
    place = before.places(history.keys)
    learning = [series for series, _ in before.young]  # their own scale
    known = np.flatnonzero((place >= 0) & ~np.isin(place, learning))
    was, traits = place[known], before.store.traits
    usual = np.abs(traits.level.numpy()[was]) + 4 * traits.spread.numpy()[was].astype(np.float64)
    if spec.arcsinh:
        usual = np.sinh(usual)
    middle[known] = before.loc[was]
    reach[known] = before.scale[was] * np.maximum(usual, 1.0)
    return place, middle, reach


def _num_levels(history: History) -> int:
    return 0 if history.keys is None else history.keys.nlevels


def _last_rows(history: History, which: Integers, number: Integers) -> tuple[Integers, Integers]:
    """Return so many of the last rows of some series, as rows of the store, and whose they are."""
    number, end = number[which], history.store.start.numpy()[which] + history.lengths[which]
    return ranges(end - number, number), np.repeat(which, number)


def _sizes(model: Model, history: History, rows: Integers, owner: Integers) -> tuple[Floats, Flags]:
    """Return targets of rows of a store in units of y (row, num_targets), and which are seen."""
    number = model.spec.num_targets
    scaled = history.store.values.numpy()[rows, :number].astype(np.float64)
    if model.spec.arcsinh:
        scaled = np.sinh(scaled)
    seen = history.store.observed[rows, :number].numpy()
    return history.loc[owner] + history.scale[owner] * scaled, seen


def _farthest(model: Model, history: History, series: int, middle: Floats) -> Floats:
    """Return how far from a middle each target (num_targets,) of a series was."""
    start = int(history.store.start[series])
    rows = np.arange(start, start + int(history.lengths[series]))
    sizes, seen = _sizes(model, history, rows, np.full(len(rows), series))
    return np.where(seen, np.abs(sizes - middle), 0.0).max(axis=0, initial=0.0)


# Series without a value, and updates without a row.


def warn_of_empty_series(history: History, columns: list[Hashable], first: int = 0) -> None:
    """Warn of the series, from the ``first`` on, that have no value at all of a column of y."""
    for channel, column in enumerate(columns):
        empty = [
            series
            for (series, target), (rows, _) in history.young.items()
            if target == channel and series >= first and not len(rows)
        ]
        if not empty:
            continue
        names = "y" if history.keys is None else [history.keys[one] for one in empty[:MAX_NAMED]]
        notify(
            f"Got y without any observed value of {column!r} in {len(empty)} of "
            f"{len(history.first) - first} series, such as {names}: nothing is known of them, and "
            "their forecasts and intervals are those of a usual series. Leave them out, or pass "
            "rows that hold values."
        )


def warn_of_known_rows(model: Model, before: History, history: History, seen: Integers) -> None:
    """Warn of an update to be learnt from that has no row behind those known.

    Parameters
    ----------
    model : Model
    before, history : History
        Without and with the rows of the update.
    seen : numpy.ndarray of int64, shape (num_series,)
        Number of rows of each series before its new cutoff.
    """
    lengths, start = before.lengths, history.store.start.numpy()[: len(before.first)]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    old, known = _sizes(model, before, ranges(before.store.start.numpy(), lengths), owner)
    shift = before.first - history.first[: len(before.first)]
    new, _ = _sizes(model, history, ranges(start + shift, lengths), owner)
    differs = (known & (np.abs(new - old) > ROUNDED * before.scale[owner])).any(axis=1)
    if not differs.any():
        notify(
            f"{NOTHING_NEW}: none of its rows lies behind those that are known, nor has another "
            "value than these. Nothing is learnt. Pass rows behind them, fit again to learn from "
            "earlier ones, or pass update_params=False."
        )
        return
    row = int(np.argmax(differs))
    series = owner[row : row + 1]
    ends = history.first[series] + seen[series] - 1
    notify(
        f"{NOTHING_NEW}: {differs.sum()} rows that are known have other values"
        f"{history.name(series[0])}. Nothing is learnt, the known rows are overwritten, and "
        f"forecasts start from {history.timeline.times(ends)[0]}. If it is another record, pass a "
        "panel whose index names the records, or predict(fh, X, y=record); to correct known rows, "
        "update(..., update_params=False)."
    )


def warn_of_skipped_rows(
    model: Model, before: History, history: History, X: pd.DataFrame | None
) -> None:
    """Warn where new rows between those of y and the known ones have no covariates."""
    if X is None or not model.encoder.columns:
        return
    # Of every series the new rows in front of those known, and behind them.
    front, behind = np.zeros((2, len(history.first)), dtype=np.int64)
    front[: len(before.first)] = before.first - history.first[: len(before.first)]
    behind[: len(before.first)] = before.lengths + front[: len(before.first)]
    series = np.tile(np.arange(len(front)), 2)
    number = np.r_[front, history.lengths - behind]
    owner, row = np.repeat(series, number), ranges(np.r_[np.zeros_like(front), behind], number)
    told, within = history.locate(Rows.parse(X.index, history.timeline))
    inside = (told >= 0) & (within >= 0) & (within < history.lengths[told])
    start = history.store.start.numpy()
    lacks = ~np.isin(start[owner] + row, start[told[inside]] + within[inside])
    if lacks.any():
        one, first = owner[lacks][0], row[lacks][0]
        when = history.timeline.times(history.first[one] + np.array([first]))[0]
        notify(
            f"Got y that skips {int(lacks.sum())} rows for which X has none, the first "
            f"{when}{history.name(one)}: the covariates of the row before stand in for theirs. "
            "Pass X with the skipped rows in the same call; rows of X beyond the y of an earlier "
            "one are not kept."
        )


def warn_of_no_training(net: ForecastNet) -> None:
    """Warn of a network that stays as it was built, unless it says that it brings its weights."""
    if not getattr(unwrapped(net.module_), "comes_trained", False):
        notify(
            "Got max_epochs=0 with a network of random weights, which has learnt nothing. Pass "
            "max_epochs=10; a network of yours that brings its weights says comes_trained = True."
        )


# Pasts that end without a value.


def warn_of_late_rows(model: Model, history: History, cutoff: Integers, asked_for: Flags) -> None:
    """Warn of a past that ends in missing values, as hardly any that it was trained on does.

    Parameters
    ----------
    model : Model
    history : History
    cutoff : numpy.ndarray of int64, shape (num_series,)
        Number of rows of each series before the forecast.
    asked_for : numpy.ndarray of bool, shape (num_series,)
    """
    read = [
        channel for channel in range(model.spec.num_targets) if channel not in model.spec.hidden
    ]
    start, observed = history.store.start.numpy(), history.store.observed
    which = np.flatnonzero(asked_for & (cutoff > 0))
    shortest = model.spec.shortest if model.spec.simulation else 0
    for series in which[cutoff[which] < shortest][:1]:
        notify(
            f"Got a past of {_rows(int(cutoff[series]))}{history.name(series)}, where the network "
            f"was trained to start from {shortest}: the first steps are off by far more than their "
            f"intervals say. Pass {shortest} rows of y, and X of these, or train with a smaller "
            "min_context_length."
        )
    late = which[~observed[start[which] + cutoff[which] - 1].numpy()[:, read].all(axis=1)]
    if len(late) and not model.spec.simulation:
        # of series without any value it was told that nothing is known of them
        empty = [series for (series, _), (rows, _) in history.young.items() if not len(rows)]
        late = np.setdiff1d(late, empty)
    for series in late[:MAX_LOOKED]:
        stop = start[series] + cutoff[series]
        rows = slice(max(start[series], stop - RECENT_ROWS), stop)
        least = 1 if model.spec.simulation else LEAST_GAP  # it starts from the last row itself
        gap = max(_unusual_gap(observed[rows, channel].numpy(), least) for channel in read)
        last = _rows(gap).removeprefix("1 ")
        if gap and model.spec.simulation:
            notify(
                f"Got a past without an output in its last {last}{history.name(series)}: the "
                "network was trained to start from measured outputs, so the first steps are off by "
                "far more than their intervals say. Pass outputs up to the first step, or train "
                "with hidden_past to let the inputs tell the state."
            )
            return
        if gap:
            notify(
                f"Got y without a value in its last {last}{history.name(series)}: intervals "
                "are as wide as right behind an observation, too narrow as a rule. Pass y up to "
                "its last value, and an fh of steps from there."
            )
            return


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def _unusual_gap(seen: Flags, least: int) -> int:
    """Return how many values are missing at the end; 0 if it is no news in the rows (row,).

    Or if they are fewer than ``least``.
    """
    row = np.arange(len(seen))
    since = row - np.maximum.accumulate(np.where(seen, row, -1))  # rows since the last value
    gap = int(since[-1])
    before = since[: len(seen) - gap]
    usual = len(before) and (before >= gap).mean() >= USUAL_SHARE
    return 0 if usual or gap < least else gap


# Data for a training.


def check_drives(encoder: FrameEncoder, source: Source) -> None:
    """Check that a simulation has inputs that are known in the future, and values of them.

    Raises
    ------
    ValueError
        If it has none.
    """
    known, X = encoder.known_columns, source.X
    if not known:
        raise ValueError(
            "Got mode='simulation' without a column of X that is known in the future, expected the "
            "input that drives the system: nothing else is read after the context. Pass it as X "
            "and leave it out of past_covariates, or pass mode='forecast'."
        )
    if X is None:
        return
    of_y = slice(None) if source.is_sampled else X.index.isin(source.y.index)
    empty = [name for name in known if name in X.columns and X[name][of_y].isna().all()]
    if empty == known:
        raise ValueError(
            f"Got mode='simulation' and X without any value in {empty} at the rows of y, expected "
            "the input that drives the system. Check how X was joined to the index of y."
        )
    if empty:
        notify(
            f"Got X without any value in the columns {empty[:MAX_NAMED]} at the rows of y: nothing "
            f"is learnt of them, and {len(empty)} of {len(known)} inputs do nothing. Check how X "
            "was joined to the index of y, or leave them out."
        )
    driven = of_y if source.is_sampled else X.index.isin(source.y.dropna(how="all").index)
    others = [name for name in known if name in X.columns and name not in empty]
    absent = X.loc[driven, others].isna()
    number = int(absent.any(axis=1).sum())
    if number > MOST_ABSENT * len(absent):
        names = [name for name in others if absent[name].any()]
        notify(
            f"Got X without a value of {names[:MAX_NAMED]} in {number} of {len(absent)} "
            "rows that have an output: the last known input stands in, and the "
            "network learns from outputs that it does not explain. Pass the input that was "
            "applied, or y as NaN in these rows and a few behind them."
        )


def check_other_data(model: Model, encoder: FrameEncoder, source: Source, history: History) -> None:
    """Check data that a pretrained model is to be fitted to, beside those that it has learnt.

    Parameters
    ----------
    model : Model
    encoder : FrameEncoder
        Its own, for the names of these data.
    source : Source
    history : History
        What these data became.

    Raises
    ------
    ValueError
        If their step is another, and as `check_drives` does.
    """
    if model.spec.simulation:
        check_drives(encoder, source)
    if encoder.timeline is not None:
        history.timeline.check_step(encoder.timeline, model.spec.simulation)
    warn_of_empty_series(history, encoder.targets)
    X = None if source.is_sampled else source.X
    warn_of_far_rows(model, history, history.lengths, None, "fit", X)


# What drives a simulation.


def warn_of_gaps_in_drives(
    encoder: FrameEncoder,
    history: History,
    cutoff: Integers,
    read: Flags,
    X: pd.DataFrame | None,
    X_rows: Rows,
    why: tuple[str, str],
) -> None:
    """Warn where inputs are missing in rows that X has and that are read: as if it lacked them.

    Parameters
    ----------
    encoder : FrameEncoder
    history : History
    cutoff : numpy.ndarray of int64, shape (num_series,)
    read : numpy.ndarray of bool, shape (num_series, num_future)
        Which steps after the cutoff are read.
    X : pandas.DataFrame or None
    X_rows : Rows
        Its index.
    why : (str, str)
        How far steps are read, and why and what to do.
    """
    # a category that is missing is a value of its own
    numeric = [name for name in encoder.known_columns if name in encoder.numeric]
    columns = [] if X is None else [name for name in numeric if X[name].hasnans]
    if X is None or not columns:
        return
    inside, series, step = history.locate_future(X_rows, cutoff, read.shape[1])
    missing = X.loc[:, columns].isna().to_numpy()[inside] & read[series, step][:, None]
    lacking = missing.any(axis=1)
    if not lacking.any():
        return
    row = int(np.argmax(lacking))
    number = int((lacking & (series == series[row])).sum())
    names = [name for name, any_ in zip(columns, missing.any(axis=0), strict=True) if any_]
    ordinal = history.first[series[row]] + cutoff[series[row]] + step[row]
    when = history.timeline.times(np.array([ordinal]))[0]
    notify(
        f"Got X with missing values (NaN) in the columns {names[:MAX_NAMED]} in {number} of the "
        f"{read.shape[1]} steps up to {why[0]}{history.name(series[row])}, the first {when}. "
        f"{why[1]}"
    )
