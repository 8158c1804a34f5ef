"""Forecasting: rows asked of a model, at any step, as points, quantiles, samples, distributions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sktime_tlstm.data.history import PER_SERIES, History, SeriesStore
from sktime_tlstm.families import Parametric
from sktime_tlstm.model import Forecast, Model

__all__ = ["Asked", "forecast", "parametric", "sample"]

#: Rows of history and future that are laid out at once.
ROWS_AT_ONCE = 2**20
#: Floats that the sample paths of one group of series may take.
SAMPLE_BUDGET = 2**25


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
class _Windows:
    """Windows of a store that forecast some of the rows asked for.

    Parameters
    ----------
    rows : numpy.ndarray of int64, shape (row,)
        Which of the rows asked for.
    window, step : numpy.ndarray of int64, shape (row,)
        Of each row: its window, and its step within the window, from 0.
    store : SeriesStore
    series, cutoff : numpy.ndarray of int64, shape (window,)
    num_future : int
        Steps that each window forecasts: one where they are in-sample, else whole horizons.
    first : int or None
        Number in the history of the store's first series; None where the windows are in-sample.
    """

    rows: np.ndarray
    window: np.ndarray
    step: np.ndarray
    store: SeriesStore
    series: np.ndarray
    cutoff: np.ndarray
    num_future: int
    first: int | None


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
    for part in _parts(model, asked):
        steps = _points(model, part) if alphas is None else _quantiles(model, part, alphas)
        scaled[part.rows] = steps[part.window, part.step]
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
    for part in _parts(model, asked):
        paths = _paths(model, part, num_samples)
        scaled[:, part.rows] = paths[:, part.window, part.step]
    # (sample, row, num_targets) -> (sample * row, 1, num_targets): windows of one step
    flat = scaled.reshape(-1, 1, model.spec.num_targets)
    series = np.tile(asked.series, num_samples)
    return model.decoded(asked.history, flat, series, True).reshape(scaled.shape)


def parametric(model: Model, asked: Asked) -> Parametric | None:
    """Return the distributions of rows, in the units of y, where they have the head's family."""
    if not model.is_parametric(asked.step):
        return None
    head, history = model.head, asked.history
    parameters = np.zeros((len(asked.step), model.spec.num_targets, head.num_parameters))
    loc, scale = np.zeros((2, *parameters.shape[:2]))
    for part in _parts(model, asked):
        ahead = _ahead(model, part)
        parameters[part.rows] = ahead.parameters[0, part.window, part.step]
        loc[part.rows], scale[part.rows] = ahead.loc[part.window], ahead.scale[part.window]
    loc = history.loc[asked.series] + history.scale[asked.series] * loc
    scale = history.scale[asked.series] * scale
    return Parametric(str(head.distribution), parameters, loc, scale)


# From rows to windows.


def _parts(model: Model, asked: Asked) -> Iterator[_Windows]:
    """Yield the windows that forecast the rows, those of the past and then of the future."""
    past = np.flatnonzero(asked.step <= 0)
    if len(past):
        yield _in_sample(asked, past)
    if len(past) < len(asked.step):
        yield from _out_of_sample(model, asked)


def _in_sample(asked: Asked, rows: np.ndarray) -> _Windows:
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
    store = asked.history.store
    return _Windows(rows, window, np.zeros_like(window), store, series, cutoff, 1, None)


def _out_of_sample(model: Model, asked: Asked) -> Iterator[_Windows]:
    """Yield windows behind each cutoff, of some of the series at a time, with X in its place."""
    future = asked.step > 0
    # Whole horizons: a step sees the same covariates and calendar whatever else is asked.
    horizon = model.spec.horizon
    num_future = -(-int(asked.step.max()) // horizon) * horizon
    wanted = np.zeros((len(asked.cutoff), num_future), dtype=bool)
    wanted[asked.series[future], asked.step[future] - 1] = True
    X_rows = model.encoder.future_rows(asked.history, asked.X)
    at_once = max(1, ROWS_AT_ONCE // (model.spec.reach + num_future))
    for begin in range(0, len(asked.cutoff), at_once):
        group = slice(begin, begin + at_once)
        rows = np.flatnonzero(future & (asked.series >= begin) & (asked.series < group.stop))
        tail, cutoff = model.encoder.tail(
            asked.history.part(group),
            asked.cutoff[group],
            model.spec.reach,
            wanted[group],
            asked.X,
            X_rows,
        )
        window, step = asked.series[rows] - begin, asked.step[rows] - 1
        every = np.arange(len(cutoff))
        yield _Windows(rows, window, step, tail.store, every, cutoff, num_future, begin)


# From windows to scaled forecasts of all their steps.


def _ahead(model: Model, part: _Windows) -> Forecast:
    """Forecast the first horizon of every window; in-sample its first step alone."""
    num_steps = min(part.num_future, model.spec.horizon)
    return model.windows(part.store, part.series, part.cutoff, num_steps)


def _points(model: Model, part: _Windows) -> np.ndarray:
    """Return the points (window, num_future, target)."""
    if part.num_future <= model.spec.horizon:
        return model.read(_ahead(model, part), None)
    return _roll(model, part.store, part.cutoff, part.num_future, None)


def _quantiles(model: Model, part: _Windows, alphas: list[float]) -> np.ndarray:
    """Return quantiles (window, num_future, target, alpha), beyond the horizon those of paths."""
    direct, horizon = model.read(_ahead(model, part), alphas), model.spec.horizon
    if part.num_future <= horizon:
        return direct
    groups = _path_groups(model, part, model.num_samples)
    beyond = [np.quantile(paths[:, :, horizon:], alphas, axis=0) for paths in groups]
    # of every group (alpha, series, step, target) -> (series, step, target, alpha)
    return np.concatenate([direct, np.moveaxis(np.concatenate(beyond, axis=1), 0, -1)], axis=1)


def _paths(model: Model, part: _Windows, num_samples: int) -> np.ndarray:
    """Draw paths (sample, window, num_future, target)."""
    if part.first is not None:
        return np.concatenate(list(_path_groups(model, part, num_samples)), axis=1)
    rng = np.random.default_rng([model.seed, len(part.store)])
    level = torch.from_numpy(_stratified(rng, num_samples, len(part.series)).T)
    # (window, 1, target, sample) -> (sample, window, 1, target)
    return np.moveaxis(model.quantile(_ahead(model, part), level).numpy(), -1, 0)


def _path_groups(model: Model, part: _Windows, num_samples: int) -> Iterator[np.ndarray]:
    """Yield paths (sample, series, num_future, target), those of a few series at a time.

    A path takes one quantile level for each horizon, the same for all targets of a series, so
    that its steps depend on each other; every later horizon sees the path so far. Series are
    independent. The levels are stratified over paths.
    """
    store, first = part.store, part.first or 0
    blocks = -(-part.num_future // model.spec.horizon)
    floats = num_samples * int(store.length.max()) * store.values.shape[1]
    at_once = max(1, SAMPLE_BUDGET // floats)
    for begin in range(0, len(store), at_once):
        series = np.arange(begin, min(begin + at_once, len(store)))
        seeds = [np.random.default_rng([model.seed, first + number]) for number in series.tolist()]
        drawn = np.stack([_stratified(rng, num_samples, blocks) for rng in seeds], axis=1)
        # (sample, series, block) -> (sample * series, block), beside the copies of the series
        levels = torch.from_numpy(drawn).flatten(0, 1)
        cutoff = np.tile(part.cutoff[series], num_samples)
        copies = _copies(store, series, num_samples)
        paths = _roll(model, copies, cutoff, part.num_future, levels)
        yield paths.reshape(num_samples, len(series), part.num_future, -1)


def _copies(store: SeriesStore, series: np.ndarray, number: int) -> SeriesStore:
    """Return a store that holds some of the series several times, one copy after the other."""
    length = store.length[series].repeat(number)
    source = torch.cat([_rows(store, which) for which in series.tolist()]).repeat(number)
    single = {name: getattr(store, name) for name in ("calendar_start", *PER_SERIES)}
    return replace(
        store,
        values=store.values[source],
        observed=store.observed[source],
        start=length.cumsum(0) - length,
        length=length,
        **{name: torch.cat([values[series]] * number) for name, values in single.items()},
    )


def _roll(
    model: Model, store: SeriesStore, cutoff: np.ndarray, num_future: int, levels: Tensor | None
) -> np.ndarray:
    """Forecast horizon after horizon of all series, each seeing the ones before as if observed.

    ``levels`` (series, block) are the quantile levels to follow; None for the point forecast.
    Returns an array (series, num_future, target).
    """
    targets = model.spec.num_targets
    values, observed = store.values.clone(), store.observed.clone()
    rolled = replace(store, values=values, observed=observed)
    series, blocks = np.arange(len(cutoff)), []
    for number, begin in enumerate(range(0, num_future, model.spec.horizon)):
        ahead = model.windows(rolled, series, cutoff + begin)
        if levels is None:
            block = model.point(ahead)
        else:
            block = model.quantile(ahead, levels[:, number, None])[..., 0]
        row = store.start + torch.from_numpy(cutoff + begin)
        row = row[:, None] + torch.arange(block.shape[1])  # (series, horizon), rows of the store
        values[row, :targets], observed[row, :targets] = block.float(), True
        blocks.append(block)
    return torch.cat(blocks, dim=1).numpy()


def _stratified(rng: np.random.Generator, number: int, columns: int) -> np.ndarray:
    """Return uniform numbers (number, columns), one from every stratum in each column."""
    draws = [(rng.permutation(number) + rng.random(number)) / number for _ in range(columns)]
    return np.stack(draws, axis=1)


def _rows(store: SeriesStore, series: int) -> Tensor:
    start = int(store.start[series])
    return torch.arange(start, start + int(store.length[series]))
