"""Backtests: a fitted forecaster asked from many cutoffs, in the layouts of sktime."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from sktime.datatypes import convert_to
from sktime.performance_metrics.forecasting.probabilistic import PinballLoss
from sktime.split import ExpandingWindowSplitter, SlidingWindowSplitter
from sktime.split.base import BaseSplitter
from sktime.utils.validation.forecasting import check_alpha, check_scoring

from sktime_tlstm.cutoffs import MovingCutoffs
from sktime_tlstm.data.rows import split_index
from sktime_tlstm.fitted import INNER_MTYPES, Fitted, Learn, plain_steps, relative_steps
from sktime_tlstm.notices import notify
from sktime_tlstm.progress import tracked

__all__ = ["Layout", "Wanted", "backtest", "moving_cutoffs", "wanted"]

Frame: TypeAlias = "pd.DataFrame | pd.Series"
#: The rows of y that a splitter trains on, and those that it tests.
Split: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """How sktime hands forecasts back.

    Parameters
    ----------
    mtype : str
        sktime's name for the type of y.
    names : dict
        What sktime's converters keep of y, such as the name of a series.
    """

    mtype: str
    names: dict[str, Any]

    def of(self, frame: pd.DataFrame) -> Frame:
        """Return a frame in the type of y."""
        return convert_to(frame, self.mtype, store=self.names, store_behaviour="freeze")


def moving_cutoffs(
    fitted: Fitted, layout: Layout, y: pd.DataFrame, cv: BaseSplitter, X: pd.DataFrame | None
) -> Frame | None:
    """Return what sktime's ``update_predict`` does without training, from all cutoffs at once.

    None where only its loop can tell: for steps that are not within the horizon and after the
    cutoff, and where a series begins after the first cutoff.
    """
    step = plain_steps(cv.get_fh())
    if step is None or step.max() > fitted.model.spec.horizon:
        return None
    if layout.mtype not in ("pd.Series", *INNER_MTYPES):
        return None
    windows = [rows for rows, _ in _splits(cv, y)]
    if not windows or not all(map(len, windows)):
        return None
    used = np.zeros(len(y), dtype=bool)
    for rows in windows:
        used[rows] = True
    place = np.cumsum(used) - 1  # of the used rows, among themselves
    test = MovingCutoffs(fitted, y[used], X, [place[rows] for rows in windows])
    try:
        if not test.every_series_is_known:
            return None
        test.warn()
        forecasts = tracked(test.forecasts(step), len(windows), "update_predict", "windows")
        values = np.stack([values for _, _, values in forecasts])
    finally:
        test.give_back()
    ordinals = test.last[:, :, None] + step  # (window, series, step)
    merged = replace(fitted, history=test.merged)
    return _by_cutoff(merged, layout, values, ordinals, _latest_times(y.index, windows))


@dataclass(frozen=True)
class Wanted:
    """What a backtest forecasts and how it scores that.

    Parameters
    ----------
    name : str
        sktime's for the forecasts: "pred", "pred_quantiles" or "pred_interval".
    alphas : list of float or None
        Their quantile levels, if any.
    columns : pandas.Index or list
        Those of the frames of forecasts.
    metrics : list of sktime metrics
    """

    name: str
    alphas: list[float] | None
    columns: Any
    metrics: list[Any]


def wanted(
    method: str, alpha: Any, coverage: Any, scoring: Any, columns: Callable[..., Any]
) -> Wanted:
    """Check what a backtest is asked for.

    Parameters
    ----------
    method, alpha, coverage, scoring
        As in `SkorchForecaster.backtest`.
    columns : callable
        sktime's ``_get_columns`` of the forecaster.

    Raises
    ------
    ValueError
        If the method is unknown, or a level lies outside (0, 1).
    """
    alphas: list[float] | None = None
    if method == "predict":
        name, labels = "pred", columns(method)
    elif method == "predict_quantiles":
        name, alphas = "pred_quantiles", check_alpha([0.05, 0.95] if alpha is None else alpha)
        labels = columns(method, alpha=alphas)
    elif method == "predict_interval":
        name, coverages = "pred_interval", check_alpha(coverage, name="coverage")
        alphas = [side for share in coverages for side in (0.5 - share / 2, 0.5 + share / 2)]
        labels = columns(method, coverage=coverages)
    else:
        raise ValueError(
            f"Got method={method!r}, expected 'predict', 'predict_quantiles' or "
            "'predict_interval'. Pass one of these."
        )
    if scoring is None:
        scoring = PinballLoss() if alphas else None
    metrics = scoring if isinstance(scoring, (list, tuple)) else [scoring]
    return Wanted(name, alphas, labels, [_metric(metric, method) for metric in metrics])


def _metric(metric: Any, method: str) -> Any:
    """Return a metric as sktime's object, refusing one that cannot score the method's forecasts."""
    if isinstance(metric, type):
        raise TypeError(
            f"Got scoring={metric.__name__}, a class, expected a metric object. Pass "
            f"{metric.__name__}()."
        )
    metric = check_scoring(metric)
    scores = metric.get_tag("scitype:y_pred", "pred", raise_error=False)
    fitting = ("pred",) if method == "predict" else ("pred_quantiles", "pred_interval")
    if scores not in fitting:
        raise TypeError(
            f"Got scoring={type(metric).__name__}() with method={method!r}: it scores forecasts of "
            f"the kind {scores!r}, expected one of {list(fitting)}. Pass a metric for these, such "
            f"as {'MeanAbsoluteError()' if method == 'predict' else 'PinballLoss()'}, or another "
            "method."
        )
    return metric


def check_splitter(cv: Any) -> None:
    """Raise a TypeError if it is no splitter of sktime."""
    if isinstance(cv, type) or not (hasattr(cv, "split") and hasattr(cv, "get_fh")):
        raise TypeError(
            f"Got cv={cv!r}, expected a splitter of sktime. Pass one such as "
            "ExpandingWindowSplitter(fh=range(1, 25), initial_window=1000, step_length=24)."
        )


def backtest(
    fitted: Fitted,
    y: Frame,
    X: pd.DataFrame | None,
    cv: BaseSplitter,
    wanted: Wanted,
    adapt: bool,
    learn: Learn,
    update_every: int | None,
    return_data: bool,
) -> pd.DataFrame:
    """Do what `SkorchForecaster.backtest` says.

    Parameters
    ----------
    fitted : Fitted
    y, X : pandas.DataFrame, y possibly a pandas.Series
    cv : sktime splitter
    wanted : Wanted
    adapt : bool
        Whether every cutoff's new rows extend the calibration.
    learn : callable
        Trains a copy of the model, every ``update_every`` cutoffs.
    update_every, return_data
        As of the forecaster.

    Raises
    ------
    ValueError
        If ``cv`` has no relative fh or gives no window, and as ``update`` and ``predict`` do.
    """
    check_splitter(cv)
    frame = y.to_frame() if isinstance(y, pd.Series) else y
    fh, splits = cv.get_fh(), _splits(cv, frame)
    if fh is None or not fh.is_relative or not splits or not all(len(rows) for rows, _ in splits):
        raise ValueError(
            f"Got a cv with {len(splits)} windows and fh={fh}, expected at least one window, rows "
            "in each, and a relative fh. Pass a splitter such as "
            "SlidingWindowSplitter(fh=range(1, 25), step_length=24)."
        )
    test = MovingCutoffs(fitted, frame, X, [rows for rows, _ in splits])
    try:
        step = relative_steps(fh, test.merged.timeline, test.last)
        windows: Iterator[tuple[Frame, float]]
        windows = frames = _frames(test, step, wanted, adapt, learn, update_every)
        if not wanted.alphas and isinstance(y, pd.Series):
            name = y.name
            windows = ((pd.Series(one.iloc[:, 0], name=name), seconds) for one, seconds in frames)
        windows = tracked(windows, len(splits), "backtest", "windows")
        test.warn()
        _warn_of_rows_left(frame.index, splits[-1])
        return _scored(windows, y, splits, wanted, return_data)
    finally:
        test.give_back()


def _frames(
    test: MovingCutoffs,
    step: np.ndarray,
    wanted: Wanted,
    adapt: bool,
    learn: Learn,
    update_every: int | None,
) -> Iterator[tuple[pd.DataFrame, float]]:
    """Yield the forecast of each window, and the seconds of training before it.

    ``step`` is (window, num_series, step).
    """
    seconds = 0.0

    def timed(*data: Any) -> Any:
        nonlocal seconds
        begin = time.perf_counter()
        model = learn(*data)
        seconds = time.perf_counter() - begin
        return model

    merged = replace(test.fitted, history=test.merged)
    for window, series, values in test.forecasts(step, wanted.alphas, adapt, timed, update_every):
        ordinals = test.last[window, series][:, None] + step[window, series]  # (series, step)
        index = merged.index(np.repeat(series, step.shape[-1]), ordinals.ravel())
        # (series, step, target[, alpha]) -> (row, column)
        yield pd.DataFrame(values.reshape(len(index), -1), index, wanted.columns), seconds
        seconds = 0.0


def _by_cutoff(
    merged: Fitted, layout: Layout, values: np.ndarray, ordinals: np.ndarray, cutoffs: pd.Index
) -> Frame:
    """Lay forecasts (cutoff, series, step, target) out as sktime's update_predict does."""
    targets = merged.model.encoder.targets
    windows, num_series, steps = ordinals.shape
    series = np.repeat(np.arange(num_series), steps)  # of every row of a cutoff
    if num_series * steps == 1:
        index = merged.index(np.tile(series, windows), ordinals.ravel())
        # (cutoff, 1, 1, target) -> (cutoff, target): a row for every cutoff
        return layout.of(pd.DataFrame(values.reshape(windows, -1), index, targets).sort_index())
    # A row of the frame for every series and time; each pair is one number, to be found again.
    low, span = ordinals.min(), np.ptp(ordinals) + 1
    rows, place = np.unique(
        np.tile(series, windows) * span + ordinals.ravel() - low, return_inverse=True
    )
    index = merged.index(rows // span, rows % span + low)
    plain = layout.mtype == "pd.Series"
    columns = cutoffs if plain else pd.MultiIndex.from_product([cutoffs, targets])
    columns = columns.set_names([None] * columns.nlevels)
    # (cutoff, series, step, target) -> (cutoff, row, target)
    values = values.reshape(windows, num_series * steps, -1)
    wide = _wide_frame(values, index, place.reshape(windows, -1), columns)
    return wide if wide.index.is_monotonic_increasing else wide.sort_index()


def _splits(cv: BaseSplitter, y: pd.DataFrame) -> list[Split]:
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
    # Later windows are the first one, moved: its test rows (step,) beside the moves (window, 1).
    (train, test), cutoffs = windows[0], cv.get_cutoffs(y)
    later = cutoffs - train[-1]
    starts = np.full_like(later, train[0]) if expands else train[0] + later
    ends = (np.arange(*bounds) for bounds in zip(starts, cutoffs + 1, strict=True))
    return list(zip(ends, test + later[:, None], strict=True))


def _warn_of_rows_left(index: pd.Index, last: Split) -> None:
    """Warn where a splitter leaves out more rows at the end of some series than of others."""
    keys, bounds = split_index(index)
    if keys is None:
        return
    owner = np.repeat(np.arange(len(keys)), np.diff(bounds))
    used = np.concatenate(last)
    end = np.zeros(len(keys), dtype=np.int64)
    np.maximum.at(end, owner[used], used + 1)
    left = np.where(end > 0, bounds[1:] - end, 0)
    if left.max(initial=0) > left[end > 0].min(initial=left.max(initial=0)):
        most = int(left.argmax())
        notify(
            "Got a panel of series of several lengths, which a splitter cuts each by its own rows, "
            f"and no more often than the shortest allows: the last {left[most]} rows of "
            f"{keys[most]!r} are in no window, and a row of the table is of other times in each "
            "series. Pass series that begin together, or one after the other."
        )


def _latest_times(index: pd.Index, windows: list[np.ndarray]) -> pd.Index:
    """Return the latest time within each window of rows."""
    if not isinstance(index, pd.MultiIndex):
        return index[[rows[-1] for rows in windows]]
    times = index.levels[-1].sort_values()
    rank = times.get_indexer(index.levels[-1])[index.codes[-1]]
    return times.take([rank[rows].max() for rows in windows])


def _wide_frame(
    values: np.ndarray, times: pd.DatetimeIndex | pd.Index, place: np.ndarray, columns: pd.Index
) -> pd.DataFrame:
    """Lay forecasts out by time and cutoff, NaN where nothing was forecast.

    Parameters
    ----------
    values : numpy.ndarray of shape (cutoff, row, num_targets)
    times : pandas.Index
        Of all forecast rows.
    place : numpy.ndarray of int64, shape (cutoff, row)
        Row of each forecast in ``times``.
    columns : pandas.Index
        One a cutoff and target, target innermost.
    """
    num_cutoffs, _, num_targets = values.shape
    wide = np.full((len(times), num_cutoffs, num_targets), np.nan)
    # place (cutoff, row) beside the cutoffs (cutoff, 1): one cell for every forecast
    wide[place, np.arange(num_cutoffs)[:, None]] = values
    return pd.DataFrame(wide.reshape(len(times), -1), index=times, columns=columns)


def _scored(
    forecasts: Iterable[tuple[Frame, float]],
    y: Frame,
    splits: Sequence[Split],
    wanted: Wanted,
    return_data: bool,
) -> pd.DataFrame:
    """Score forecasts and tabulate them as sktime's ``evaluate`` does.

    Parameters
    ----------
    forecasts : iterable of (frame, float)
        The forecast of each window, and the seconds that training took before it.
    y : pandas.DataFrame or pandas.Series
    splits : sequence of (training rows, test rows)
    wanted : Wanted
    return_data : bool
        Whether the training, test and forecast rows are columns of the table.
    """
    table, empty, begin = [], [], time.perf_counter()
    for (train, test), (forecast, seconds) in zip(splits, forecasts, strict=True):
        end = time.perf_counter()
        y_train, y_test = y.iloc[train], y.iloc[test]
        actual = _observed(y_test, forecast)
        scored = forecast.loc[actual.index]
        row: dict[str, Any] = {
            f"test_{metric.name}": float(metric(actual, scored, y_train=y_train))
            if len(actual)
            else float("nan")
            for metric in wanted.metrics
        }
        times = y_train.index.get_level_values(-1)
        if not len(actual):
            empty.append(times.max())
        row |= {"fit_time": seconds, f"{wanted.name}_time": end - begin - seconds}
        row |= {"len_train_window": times.nunique(), "cutoff": times.max()}
        data = {"y_train": y_train, "y_test": y_test, f"y_{wanted.name}": forecast}
        table.append(row | data if return_data else row)
        begin = time.perf_counter()
    if empty:
        notify(
            f"Got {len(empty)} of {len(table)} windows without an observed row of y among those "
            f"that are forecast, the first with the cutoff {empty[0]}: their scores are NaN. Check "
            "the fh of cv, and whether y has its rows behind each cutoff."
        )
    columns = {column: [row[column] for row in table] for column in table[0]}
    return pd.DataFrame(columns)


def _observed(y_test: Frame, forecast: Frame) -> Frame:
    """Return the test rows that are scored: that were forecast, with all targets observed."""
    observed = (y_test.to_frame() if isinstance(y_test, pd.Series) else y_test).notna().all(axis=1)
    # Splitters count rows, forecasts time: after a gap their rows may differ.
    return y_test[observed & y_test.index.isin(forecast.index)]
