"""Evaluation: fitted forecasters asked from many cutoffs, in the layouts of sktime."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sktime.datatypes import convert_to
from sktime.performance_metrics.forecasting.probabilistic import PinballLoss
from sktime.split import ExpandingWindowSplitter, SlidingWindowSplitter
from sktime.utils.validation.forecasting import check_alpha, check_scoring

from sktime_tlstm.cutoffs import Backtest, scored, shown, wide_frame
from sktime_tlstm.data.history import History
from sktime_tlstm.fitted import plain_steps, relative_steps
from sktime_tlstm.fitting import update_model

__all__ = ["INNER_MTYPES", "asked_for", "backtest", "moving_cutoffs"]

#: What the forecasters convert data to.
INNER_MTYPES = ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"]


def moving_cutoffs(forecaster: Any, y: pd.DataFrame, cv: Any, X: pd.DataFrame | None):
    """Return what sktime's ``update_predict`` does without training, from all cutoffs at once.

    None where only its loop can tell: for steps that are not within the horizon and after the
    cutoff, and where a series begins after the first cutoff.
    """
    step, mtype = plain_steps(cv.get_fh()), forecaster._y_metadata["mtype"]
    if step is None or step.max() > forecaster.prediction_length_:
        return None
    windows = [rows for rows, _ in _splits(cv, y)] if mtype in ("pd.Series", *INNER_MTYPES) else []
    if not windows or not all(map(len, windows)):
        return None
    used = np.zeros(len(y), dtype=bool)
    for rows in windows:
        used[rows] = True
    place = np.cumsum(used) - 1
    known = (forecaster._model, forecaster._history, forecaster._rows_seen, y[used], X)
    test = Backtest(*known, [place[rows] for rows in windows])
    try:
        if not test.every_series_is_known:
            return None
        values = np.stack([values for _, _, values in test.forecasts(step)])
    finally:
        forecaster._history.give_back(test.merged)
    ordinals = (test.merged.first + test.cutoffs - 1)[:, :, None] + step
    return _by_cutoff(forecaster, values, ordinals, _latest_times(y.index, windows), test.merged)


class Asked(NamedTuple):
    """What a backtest forecasts and how it scores that.

    ``name`` is sktime's for the forecasts, ``alphas`` are their quantile levels, if any,
    ``columns`` those of the frames.
    """

    name: str
    alphas: list[float] | None
    columns: Any
    metrics: list


def asked_for(forecaster: Any, method: str, alpha, coverage, scoring) -> Asked:
    """Check what a backtest is asked for.

    Raises
    ------
    ValueError
        If the method is unknown, or a level lies outside (0, 1).
    """
    if method == "predict":
        name, alphas, columns = "pred", None, forecaster._model.encoder.targets
    elif method == "predict_quantiles":
        name, alphas = "pred_quantiles", check_alpha([0.05, 0.95] if alpha is None else alpha)
        columns = forecaster._get_columns(method, alpha=alphas)
    elif method == "predict_interval":
        name, coverages = "pred_interval", check_alpha(coverage, name="coverage")
        alphas = [side for own in coverages for side in (0.5 - own / 2, 0.5 + own / 2)]
        columns = forecaster._get_columns(method, coverage=coverages)
    else:
        raise ValueError(
            f"Got method={method!r}, expected 'predict', 'predict_quantiles' or "
            "'predict_interval'. Pass one of these."
        )
    if scoring is None:
        scoring = PinballLoss() if alphas else None
    metrics = scoring if isinstance(scoring, (list, tuple)) else [scoring]
    metrics = [check_scoring(metric, obj=forecaster) for metric in metrics]
    return Asked(name, alphas, columns, metrics)


def backtest(
    forecaster: Any,
    y: pd.DataFrame | pd.Series,
    frame: pd.DataFrame,
    X: pd.DataFrame | None,
    cv: Any,
    asked: Asked,
    update_every: int | None,
    return_data: bool,
) -> pd.DataFrame:
    """Do what `SkorchForecaster.backtest` says; ``frame`` is y as a frame.

    Raises
    ------
    ValueError
        If ``cv`` has no relative fh or gives no window, and as ``update`` and ``predict`` do.
    """
    fh, splits = cv.get_fh(), _splits(cv, frame)
    if fh is None or not fh.is_relative or not splits or not all(len(rows) for rows, _ in splits):
        raise ValueError(
            f"Got a cv with {len(splits)} windows and fh={fh}, expected at least one window, rows "
            "in each, and a relative fh. Pass a splitter such as "
            "SlidingWindowSplitter(fh=range(1, 25), step_length=24)."
        )
    known = (forecaster._model, forecaster._history, forecaster._rows_seen, frame, X)
    test = Backtest(*known, [rows for rows, _ in splits])
    windows = _window_forecasts(forecaster, test, fh, asked, update_every)
    if not asked.alphas and isinstance(y, pd.Series):
        windows = ((own.iloc[:, 0].rename(y.name), seconds) for own, seconds in windows)
    if forecaster.verbose:
        windows = shown(windows, len(splits))
    try:
        return scored(windows, y, splits, asked.metrics, asked.name, return_data)
    finally:
        forecaster._history.give_back(test.merged)


def _window_forecasts(
    forecaster: Any, test: Backtest, fh, asked: Asked, update_every: int | None
) -> Iterator[tuple[Any, float]]:
    """Yield the forecast of each window, and the seconds of training before it."""
    step = relative_steps(fh, test.merged.timeline, test.merged.first[:1])[0]
    options, seconds = forecaster._checked_options(), [0.0]

    def update(*data):
        begin = time.perf_counter()
        model = update_model(options, *data)
        seconds[0] = time.perf_counter() - begin
        return model

    adapt = options.calibration == "adaptive"
    forecasts = test.forecasts(step, asked.alphas, adapt, update, update_every)
    for window, series, values in forecasts:
        frame = _window_frame(forecaster, test, window, step, series, values, asked.columns)
        yield frame, seconds[0]
        seconds[0] = 0.0


def _window_frame(
    forecaster: Any, test: Backtest, window: int, step: np.ndarray, series, values, columns
) -> pd.DataFrame:
    """Return the forecasts (series, step, target[, alpha]) of a window as a frame."""
    last = test.merged.first + test.cutoffs[window] - 1
    ordinals = (last[series][:, None] + step).ravel()
    index = forecaster._index(test.merged, np.repeat(series, len(step)), ordinals)
    return pd.DataFrame(values.reshape(len(index), -1), index=index, columns=columns)


def _by_cutoff(
    forecaster: Any, values: np.ndarray, ordinals: np.ndarray, cutoffs: pd.Index, history: History
) -> pd.DataFrame | pd.Series:
    """Lay forecasts (cutoff, series, step, target) out as sktime's update_predict does."""
    targets, mtype = forecaster._model.encoder.targets, forecaster._y_metadata["mtype"]
    windows, num_series, steps = ordinals.shape
    series = np.repeat(np.arange(num_series), steps)
    if num_series * steps == 1:
        index = forecaster._index(history, np.tile(series, windows), ordinals.ravel())
        frame = pd.DataFrame(values.reshape(windows, -1), index, targets).sort_index()
        names = forecaster._converter_store_y
        return convert_to(frame, mtype, store=names, store_behaviour="freeze")
    low, span = ordinals.min(), np.ptp(ordinals) + 1
    rows, place = np.unique(
        np.tile(series, windows) * span + ordinals.ravel() - low, return_inverse=True
    )
    index = forecaster._index(history, rows // span, rows % span + low)
    plain = mtype == "pd.Series"
    columns = cutoffs if plain else pd.MultiIndex.from_product([cutoffs, targets])
    columns = columns.set_names([None] * columns.nlevels)
    values = values.reshape(windows, num_series * steps, -1)
    wide = wide_frame(values, index, place.reshape(windows, -1), columns)
    return wide if wide.index.is_monotonic_increasing else wide.sort_index()


def _splits(cv, y: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the training and test rows of every window of a splitter.

    Where they follow from its cutoffs they are counted out: most of the time that a backtest of
    one series takes would else go into sktime's generator.
    """
    fh, expands = cv.get_fh(), type(cv) is ExpandingWindowSplitter
    plain = (
        (expands or type(cv) is SlidingWindowSplitter)
        and not isinstance(y.index, pd.MultiIndex)
        and isinstance(cv.window_length, (int, np.integer))
        and (expands or cv.initial_window is None)
        and cv.start_with_window
        and not np.isfinite(cv.max_expanding_window_length)
        and plain_steps(fh) is not None
    )
    windows = list(itertools.islice(cv.split(y), 1 if plain else None))
    if not plain or not windows:
        return windows
    (train, test), cutoffs = windows[0], cv.get_cutoffs(y)
    later = cutoffs - train[-1]
    starts = np.full_like(later, train[0]) if expands else train[0] + later
    ends = (np.arange(*bounds) for bounds in zip(starts, cutoffs + 1, strict=True))
    return list(zip(ends, test + later[:, None], strict=True))


def _latest_times(index: pd.Index, windows: list[np.ndarray]) -> pd.Index:
    """Return the latest time within each window of rows."""
    if not isinstance(index, pd.MultiIndex):
        return index[[rows[-1] for rows in windows]]
    times = index.levels[-1].sort_values()
    rank = times.get_indexer(index.levels[-1])[index.codes[-1]]
    return times.take([rank[rows].max() for rows in windows])
