"""Forecasting: rows asked of a model, at any step, as points, quantiles, samples, distributions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sktime_tlstm.absences import warn_of_empty_columns, without_value
from sktime_tlstm.beyond import warn_of_gaps_in_drives, warn_of_late_rows
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows
from sktime_tlstm.families import Parametric
from sktime_tlstm.model import Model, Windows
from sktime_tlstm.notices import collected, notify

__all__ = [
    "LOOKS_AHEAD",
    "Asked",
    "covariances",
    "forecast",
    "parametric",
    "parts",
    "sample",
    "warn_of_absent",
]

#: Rows of history and future that are laid out at once.
ROWS_AT_ONCE = 2**20


#: How far the covariates of the future are read, why, and what to do where some are absent.
LOOKS_AHEAD = (
    "the end of the horizon",
    "The network reads the covariates of all these steps for each of its forecasts; the last known "
    "ones stand in. Pass X for every step up to the end of the horizon, or fit with the fh that "
    "you forecast.",
)
RUNS_THROUGH = (
    "the last one asked for",
    "A simulation runs through all of them; the last known inputs stand in. Pass X for every step "
    "from the first on.",
)


@dataclass(frozen=True)
class Asked:
    """Rows to forecast, each a series and a step after the series' own cutoff.

    Parameters
    ----------
    history : History
    cutoff : numpy.ndarray of int64, shape (num_series,)
        Number of rows of each series that are seen.
    series, step : numpy.ndarray of int64, shape (row,)
        In-sample steps (of 0 and less) are forecast one step ahead.
    X : pandas.DataFrame or None
        Covariates of the future.
    """

    history: History
    cutoff: np.ndarray
    series: np.ndarray
    step: np.ndarray
    X: pd.DataFrame | None


@dataclass(frozen=True)
class Part:
    """Some of the rows asked for, and the windows that forecast them.

    Parameters
    ----------
    rows : numpy.ndarray of int64, shape (row,)
        Which of the rows asked for.
    window, step : numpy.ndarray of int64, shape (row,)
        Of each row: its window, and its step within the window, from 0.
    windows : Windows
    series, cutoff : numpy.ndarray of int64, shape (window,)
        Of each window: its series among all, and how many rows of it lie before.
    """

    rows: np.ndarray
    window: np.ndarray
    step: np.ndarray
    windows: Windows
    series: np.ndarray
    cutoff: np.ndarray


def forecast(model: Model, asked: Asked, alphas: list[float] | None = None) -> np.ndarray:
    """Forecast rows.

    Steps beyond the horizon come from rolling forward: point forecasts on themselves, quantiles
    on sample paths.

    Parameters
    ----------
    model : Model
    asked : Asked
    alphas : list of float or None, default=None
        Quantile levels; None for the point forecast.

    Returns
    -------
    numpy.ndarray of float64, shape (row, num_targets) or (row, num_targets, alpha)
        In the units of y.

    Raises
    ------
    ValueError
        If a step lies before the first observation, or X lacks what is to be forecast.
    """
    levels = () if alphas is None else (len(alphas),)
    scaled = np.zeros((len(asked.step), model.spec.num_targets, *levels))
    for part in parts(model, asked):
        if alphas is None:
            values = model.points(part.windows)
        else:
            values = model.quantiles(part.windows, alphas)
        scaled[part.rows] = values[part.window, part.step]
    # each row as a window of one step: (row, 1, target[, alpha])
    return model.decoded(asked.history, scaled[:, None], asked.series, alphas is not None)[:, 0]


def sample(model: Model, asked: Asked, num_samples: int) -> np.ndarray:
    """Draw sample paths of rows; in-sample steps are drawn independently of each other.

    Returns
    -------
    numpy.ndarray of float64, shape (sample, row, num_targets)
        In the units of y.

    Raises
    ------
    ValueError
        As `forecast` does.
    """
    scaled = np.zeros((num_samples, len(asked.step), model.spec.num_targets))
    for part in parts(model, asked):
        paths = model.paths(part.windows, num_samples)
        scaled[:, part.rows] = paths[:, part.window, part.step]
    # (sample, row, num_targets) -> (sample * row, 1, num_targets): windows of one step
    flat = scaled.reshape(-1, 1, model.spec.num_targets)
    series = np.tile(asked.series, num_samples)
    return model.decoded(asked.history, flat, series, True).reshape(scaled.shape)


def covariances(model: Model, asked: Asked, variances: np.ndarray, num_samples: int) -> np.ndarray:
    """Return the covariances between the steps of each series, from those of sample paths.

    In-sample steps are forecast each on its own, so that theirs are zero.

    Parameters
    ----------
    model : Model
    asked : Asked
        The same number of steps of every series, series outermost.
    variances : numpy.ndarray of shape (row, num_targets)
        Which the diagonals have.
    num_samples : int
        Number of paths that correlations are taken from.

    Returns
    -------
    numpy.ndarray of float64, shape (series, num_targets, step, step)
    """
    with collected([]):  # the variances have warned of the same rows
        paths = sample(model, asked, num_samples)
    series = len(asked.cutoff)
    paths = paths.reshape(num_samples, series, -1, paths.shape[-1])
    paths = paths - paths.mean(axis=0)
    found = np.einsum("nsit,nsjt->stij", paths, paths)  # (series, target, step, step)
    size = np.sqrt(np.diagonal(found, axis1=2, axis2=3))
    size[size == 0] = 1.0
    found /= size[..., :, None] * size[..., None, :]
    past = asked.step.reshape(series, -1) <= 0
    found[np.broadcast_to((past[:, None, :, None] | past[:, None, None, :]), found.shape)] = 0.0
    own = np.arange(found.shape[-1])
    found[..., own, own] = 1.0
    deviation = np.sqrt(np.moveaxis(variances.reshape(series, len(own), -1), 2, 1))
    return found * (deviation[..., :, None] * deviation[..., None, :])


def parametric(model: Model, asked: Asked) -> Parametric | None:
    """Return the distributions of rows, in the units of y, where they have the head's family."""
    head, history = model.head, asked.history
    if not model.is_parametric(asked.step):
        return None
    if bool(history.store.traits.gap[np.unique(asked.series)].any()):
        return None  # the family knows no zero that a target stops at
    parameters = np.zeros((len(asked.step), model.spec.num_targets, head.num_parameters))
    loc, scale = np.zeros((2, *parameters.shape[:2]))
    for part in parts(model, asked):
        ahead = model.first_horizon(part.windows)
        parameters[part.rows] = ahead.parameters[0, part.window, part.step]
        loc[part.rows], scale[part.rows] = ahead.loc[part.window], ahead.scale[part.window]
    loc = history.loc[asked.series] + history.scale[asked.series] * loc
    scale, order = history.scale[asked.series] * scale, model.encoder.order
    family = str(head.distribution)
    return Parametric(family, parameters[:, order], loc[:, order], scale[:, order])


def warn_of_absent(
    history: History, cutoff: np.ndarray, read: np.ndarray, X_rows: Rows, why: tuple[str, str]
) -> None:
    """Warn where X lacks rows that the network reads besides those that are asked for.

    Parameters
    ----------
    history : History
    cutoff : numpy.ndarray of int64, shape (num_series,)
    read : numpy.ndarray of bool, shape (num_series, num_future)
        Which steps after the cutoff are read.
    X_rows : Rows
        The index of X.
    why : (str, str)
        How far steps are read, and why and what to do.
    """
    _, series, step = history.locate_future(X_rows, cutoff, read.shape[1])
    absent = read.copy()
    absent[series, step] = False
    if not absent.any():
        return
    owners, steps = np.nonzero(absent)
    owner, lacking = owners[0], int((owners == owners[0]).sum())
    when = history.timeline.times(history.first[[owner]] + cutoff[[owner]] + steps[:1])[0]
    notify(
        f"Got X without {lacking} of the {read.shape[1]} steps up to {why[0]}"
        f"{history.name(owner)}, the first {when}. {why[1]}",
    )


# From rows to windows.


def parts(model: Model, asked: Asked) -> Iterator[Part]:
    """Yield the windows that forecast the rows, those of the past and then of the future."""
    past = np.flatnonzero(asked.step <= 0)
    if len(past):
        yield _in_sample(asked, past)
    if len(past) < len(asked.step):
        yield from _out_of_sample(model, asked)


def _in_sample(asked: Asked, rows: np.ndarray) -> Part:
    """Return windows whose first step is the row asked for, one a row."""
    series, step = asked.series[rows], asked.step[rows]
    cutoff = asked.cutoff[series] + step - 1
    if (cutoff < 0).any():
        row = int(np.argmax(cutoff < 0))
        seen, name = asked.cutoff[series[row]], asked.history.name(series[row])
        raise ValueError(
            f"Got fh with the step {step[row]}, before the first of the {seen} "
            f"observations{name}. Pass steps of at least {1 - seen}."
        )
    window = np.arange(len(rows))
    windows = Windows(asked.history.store, series, cutoff, 1, None)
    return Part(rows, window, np.zeros_like(window), windows, series, cutoff)


def _out_of_sample(model: Model, asked: Asked) -> Iterator[Part]:
    """Yield windows behind each cutoff, of some of the series at a time, with X in its place."""
    future = asked.step > 0
    # Whole horizons: a step sees the same covariates and calendar whatever else is asked.
    horizon = model.spec.horizon
    num_future = -(-int(asked.step.max()) // horizon) * horizon
    wanted = np.zeros((len(asked.cutoff), num_future), dtype=bool)
    wanted[asked.series[future], asked.step[future] - 1] = True
    parsed = model.encoder.parse_future(asked.history, asked.X)
    last = np.zeros(len(asked.cutoff), dtype=np.int64)
    np.maximum.at(last, asked.series[future], asked.step[future])
    empty = np.zeros((len(asked.cutoff), len(model.encoder.columns)), dtype=bool)
    at_once = max(1, ROWS_AT_ONCE // (model.spec.reach + num_future))
    for begin in range(0, len(asked.cutoff), at_once):
        group = slice(begin, begin + at_once)
        rows = np.flatnonzero(future & (asked.series >= begin) & (asked.series < group.stop))
        history, cutoff = asked.history.part(group), asked.cutoff[group]
        tail, cutoff = model.encoder.tail(
            history,
            cutoff,
            int(model.rows_read(history, cutoff, cutoff).max(initial=0)),
            wanted[group],
            asked.X,
            parsed,
        )
        if parsed is not None:
            empty[group] = without_value(model.encoder, tail, cutoff, last[group])
        if begin == 0:  # after errors
            warn_of_late_rows(
                model,
                asked.history,
                asked.cutoff,
                np.bincount(asked.series[future], minlength=len(asked.cutoff)) > 0,
            )
        if parsed is not None and begin == 0:
            if model.spec.simulation:  # all steps up to the last one asked for
                asked_for = wanted[:, : int(asked.step.max())]
                read = np.maximum.accumulate(asked_for[:, ::-1], axis=1)[:, ::-1]
                data = asked.history, asked.cutoff, read
                warn_of_absent(*data, parsed.rows, RUNS_THROUGH)
                warn_of_gaps_in_drives(model.encoder, *data, asked.X, parsed.rows, RUNS_THROUGH)
            elif model.looks_ahead:
                read = np.broadcast_to(wanted.any(axis=1, keepdims=True), wanted.shape)
                warn_of_absent(asked.history, asked.cutoff, read, parsed.rows, LOOKS_AHEAD)
        window, step = asked.series[rows] - begin, asked.step[rows] - 1
        windows = Windows(tail.store, np.arange(len(cutoff)), cutoff, num_future, begin)
        yield Part(rows, window, step, windows, begin + windows.series, asked.cutoff[group])
    if empty.any():
        of_rows = asked.cutoff, last, asked.X, empty
        warn_of_empty_columns(model, asked.history, *of_rows, "the rows to forecast")
