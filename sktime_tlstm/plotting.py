"""Plots of forecasts, trainings and what a forecaster has learnt; they need matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ImportError as error:
    raise ImportError(
        "Got no matplotlib, which sktime_tlstm.plotting draws with. Install it: "
        "pip install 'sktime-tlstm[plot]'."
    ) from error

__all__ = [
    "plot_attention",
    "plot_backtest",
    "plot_calibration",
    "plot_contributions",
    "plot_error_by_step",
    "plot_forecast",
    "plot_history",
    "plot_importance",
]

#: Shares of the truth that the bands of a fan are to hold.
FAN = (0.3, 0.6, 0.9)
#: Series of a panel that are drawn unless they are named.
FEW = 4
#: Labels of an axis of steps at most.
MOST_LABELS = 12
#: Letters of a line of a title at most.
MOST_LETTERS = 60
#: Colours that differ in brightness too, for the colour-blind and for print.
FORECAST, TRUTH, PAST, FAINT = "#0b4f94", "#d1495b", "#555555", "#c4c4c4"
BANDS = ("#dbe9f6", "#aed0ea", "#74afdb", "#4a90c8")
#: Of the inputs of a network: past, future, lags, static, and what is no input.
INPUTS = {"past": "#555555", "future": "#0b4f94", "lag": "#74afdb", "static": "#e9a23b"}

Frame: TypeAlias = "pd.DataFrame | pd.Series"


def plot_forecast(
    source: Any,
    y: Frame | None = None,
    X: Any = None,
    fh: Any = None,
    *,
    intervals: pd.DataFrame | None = None,
    coverage: Sequence[float] = FAN,
    series: Sequence[Hashable] | None = None,
    num_history: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw forecasts as a fan over the past and over what happened.

    Parameters
    ----------
    source : fitted forecaster, or pandas.Series or pandas.DataFrame
        What forecasts, with ``fh`` and ``X``; or forecasts, as ``predict`` returns them.
    y : pandas.Series or pandas.DataFrame, optional
        Observations: rows before the first forecast are drawn as the past, rows at the times of
        forecasts as the truth. By default those that a forecaster of this package has seen.
    X : as in ``predict``
    fh : as in ``predict``
    intervals : pandas.DataFrame, optional
        Of forecasts that are given: what ``predict_interval`` returned.
    coverage : sequence of float, default=(0.3, 0.6, 0.9)
        What share of the truth each band is to hold, if ``source`` forecasts.
    series : sequence, optional
        Keys of the series of a panel or hierarchy to draw; by default the first four.
    num_history : int, optional
        Rows of the past that are drawn; by default twice the number of forecast steps.
    ax : matplotlib.axes.Axes, or array of them, optional
        Where to draw, one for every series and target; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes, or numpy.ndarray of them if there are several

    Raises
    ------
    KeyError
        If a series is not among the forecasts.
    TypeError, ValueError
        If ``source`` is neither forecaster nor frame, or there are fewer axes than pictures.
    """
    if hasattr(source, "predict_interval"):
        forecast = source.predict(fh, X=X)
        wanted = sorted(coverage)
        intervals = source.predict_interval(fh, X=X, coverage=wanted) if wanted else None
        if y is None and hasattr(source, "_fitted"):
            y = source._fitted.seen_targets()
    elif isinstance(source, (pd.Series, pd.DataFrame)):
        forecast = source
    else:
        raise TypeError(
            f"Got a {type(source).__name__}, expected a fitted forecaster or its forecasts, a "
            "pandas Series or DataFrame. Pass one of these."
        )
    frame = _frame(forecast)
    pictures: list[tuple[Any, Any]] = [
        (key, target) for key in _keys(frame, series) for target in frame.columns
    ]
    axes = _axes(ax, len(pictures))
    for one, (key, target) in zip(axes, pictures, strict=True):
        own = _of_series(frame, key)[target]
        bands = None if intervals is None else _of_series(intervals, key)
        if bands is not None:
            names = bands.columns.get_level_values(0).unique()
            bands = bands[names[list(frame.columns).index(target)]]
        known = None if y is None else _column(_of_series(_frame(y), key), target, frame)
        _draw_fan(one, own, bands, known, num_history)
        title = [] if key is None else [_text(key)]
        title += [str(target)] if len(frame.columns) > 1 else []
        one.set_title(", ".join(title), loc="left", fontsize=10)
        if len(frame.columns) == 1:
            one.set_ylabel("" if target == 0 or target is None else str(target), color=PAST)
    _legend(axes[0], ax)
    return _result(axes)


def plot_history(forecaster: Any, ax: Axes | None = None) -> Axes:
    """Draw the error of every epoch of the training, in units of y.

    Parameters
    ----------
    forecaster : fitted forecaster
        Or its ``history_``.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    table = getattr(forecaster, "history_", forecaster)
    (one,) = _axes(ax, 1)
    for number, own in table.groupby("member"):
        first = number == table["member"].iloc[0]
        for column, label, colour in (
            ("train_mae", "training", FORECAST),
            ("valid_mae", "held out", TRUTH),
        ):
            if column in own:
                label = label if first else ""
                one.plot(own["epoch"], own[column], "o-", color=colour, ms=3, lw=1.2, label=label)
    own = table[table["member"] == table["member"].iloc[0]]
    for stage in own["stage"].unique():
        begin = own.loc[own["stage"] == stage, "epoch"].iloc[0] - 0.5
        one.axvline(begin, color=FAINT, lw=0.7, zorder=0)
        transform = one.get_xaxis_transform()
        one.text(begin, 1.0, f" {stage}", color=PAST, fontsize=8, va="bottom", transform=transform)
    one.xaxis.set_major_locator(MaxNLocator(integer=True))
    _from_zero(one)
    one.set_xlabel("epoch", color=PAST)
    one.set_ylabel("mean absolute error", color=PAST)
    one.legend(frameon=False)
    return one


def plot_importance(importance: Any, num_variables: int = 15, ax: Axes | None = None) -> Axes:
    """Draw the most important variables as bars, with their spread.

    Parameters
    ----------
    importance : pandas.DataFrame or fitted forecaster
        What ``variable_importance`` returned, or a forecaster that is asked for it.
    num_variables : int, default=15
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    if hasattr(importance, "variable_importance"):
        importance = importance.variable_importance()
    top = importance.iloc[:num_variables][::-1]
    (one,) = _axes(ax, 1, height=1.0 + 0.27 * len(top))
    colours = [_colour(name) for name, _ in top.index]
    places = np.arange(len(top))
    one.barh(places, top["importance"], xerr=top["std"], color=colours, ecolor=PAST)
    one.set_yticks(places, [f"{variable} ({name})" for name, variable in top.index])
    one.set_xlabel(str(top.columns.name or "importance"), color=PAST)
    if "share" in str(top.columns.name):
        one.xaxis.set_major_formatter(PercentFormatter(1.0))
    one.axvline(0, color=PAST, lw=0.7)
    return one


def plot_contributions(
    contributions: pd.DataFrame, row: Any = 0, num_variables: int = 12, ax: Axes | None = None
) -> Axes:
    """Draw what each variable contributes to one forecast, from the baseline to the forecast.

    Parameters
    ----------
    contributions : pandas.DataFrame
        What ``explain`` returned; of several targets, of one of them.
    row : int or label, default=0
        Which forecast: its number, or its label in the index.
    num_variables : int, default=12
        How many contributions have a bar; the others share one.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    number: Any = row if isinstance(row, (int, np.integer)) else contributions.index.get_loc(row)
    values = contributions.iloc[number]
    begin, parts = values.iloc[0], values.iloc[1:]
    order = parts.abs().sort_values(ascending=False, kind="stable").index
    shown, rest = order[:num_variables], order[num_variables:]
    bars = [(f"{variable} ({name})", parts[name, variable]) for name, variable in shown]
    if len(rest):
        bars.append((f"{len(rest)} others", parts[rest].sum()))
    (one,) = _axes(ax, 1, height=1.2 + 0.27 * len(bars))
    level = begin
    for place, (_, value) in enumerate(bars):
        one.barh(place, value, left=level, color=FORECAST if value > 0 else TRUTH)
        level += value
        end = place + (1.4 if place + 1 < len(bars) else 0.4)
        one.plot([level, level], [place - 0.4, end], color=FAINT, lw=0.7, zorder=0)
    one.set_yticks(range(len(bars)), [f"{name}  {value:+,.4g}" for name, value in bars])
    one.invert_yaxis()
    one.axvline(begin, color=PAST, lw=0.8, ls=":")
    one.axvline(level, color=PAST, lw=0.8)
    own = textwrap.wrap(_text(_as_days(contributions.index)[number]), MOST_LETTERS)
    title = [*own, f"from {begin:,.4g} (mean) to {level:,.4g}"]
    one.set_title("\n".join(title), loc="left", fontsize=10)
    return one


def plot_attention(weights: Any, series: Hashable = None, ax: Axes | None = None) -> Axes:
    """Draw where the steps of a forecast look, as a map, the mean over heads.

    Parameters
    ----------
    weights : pandas.DataFrame or fitted forecaster
        What ``attention_weights`` returned, or a forecaster that is asked for it, of ``fh`` and X
        as in ``fit``.
    series : hashable, optional
        Key of the series of a panel; by default the first.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    if hasattr(weights, "attention_weights"):
        weights = weights.attention_weights()
    mean, key = weights.mean(axis=1), None
    if mean.index.nlevels > 2:
        keys = mean.index.droplevel(["step", "relative_time"])
        key = keys[0] if series is None else series
        mean = mean[keys == key]
    wide = mean.droplevel(list(range(mean.index.nlevels - 2))).unstack("relative_time")
    (one,) = _axes(ax, 1)
    rows = np.arange(len(wide))  # of steps, which need not follow each other
    times = wide.columns.to_numpy()
    edges = (np.append(places, places[-1] + 1) - 0.5 for places in (times, rows))
    image = one.pcolormesh(*edges, wide.to_numpy(), cmap="Blues", vmin=0)
    labelled = rows[:: -(-len(rows) // MOST_LABELS)]
    one.set_yticks(labelled, wide.index[labelled].astype(str))
    if key is not None:
        one.set_title(_text(key), loc="left", fontsize=10)
    one.figure.colorbar(image, ax=one, label="weight", pad=0.01)
    one.axvline(0.5, color=TRUTH, lw=1)
    one.set_xlabel("step looked at, from the last one before the forecast", color=PAST)
    one.set_ylabel("step forecast", color=PAST)
    one.grid(False)
    return one


def plot_backtest(table: pd.DataFrame, series: Hashable = None, ax: Any = None) -> np.ndarray:
    """Draw the forecasts of all windows of a backtest over what happened, and the error of each.

    Parameters
    ----------
    table : pandas.DataFrame
        What ``backtest(..., return_data=True)``, or sktime's ``evaluate`` with that, returned.
    series : hashable, optional
        Key of the series of a panel to draw; by default the first.
    ax : pair of matplotlib.axes.Axes, optional

    Returns
    -------
    numpy.ndarray of two matplotlib.axes.Axes
    """
    top, bottom = _axes(ax, 2, sharex=True, ratios=(3, 1))
    errors = []
    chosen = None if series is None else [series]
    for number, window in enumerate(_scored(table, chosen, 1)):
        label = "" if number else "forecast"
        top.plot(_times(window.point.index), window.point, color=FORECAST, lw=1.2, label=label)
        if not number and window.key is not None:
            top.set_title(_text(window.key), loc="left", fontsize=10)
        if not number and window.truth.name not in (None, 0):
            top.set_ylabel(str(window.truth.name), color=PAST)
        if window.outer is not None:
            low, high = (window.outer.iloc[:, place] for place in (0, 1))
            label = "" if number else window.band
            top.fill_between(
                _times(low.index), low, high, color=BANDS[1], lw=0, label=label, zorder=1
            )
        label = "" if number else "what happened"
        top.plot(_times(window.truth.index), window.truth, "o", color=TRUTH, ms=2.5, label=label)
        errors.append((window.truth - window.point).abs().mean())
        middle = _times(window.point.index)[len(window.point) // 2]
        bottom.plot([middle], errors[-1:], "o", color=FORECAST, ms=4)
    bottom.axhline(float(np.nanmean(errors)), color=PAST, lw=0.8, ls=":")
    _from_zero(bottom)
    bottom.set_ylabel("mean absolute\nerror", color=PAST)
    _date_axis(bottom)
    _legend(top, ax)
    return np.array([top, bottom])


def plot_error_by_step(
    table: pd.DataFrame, series: Sequence[Hashable] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the mean absolute error of a backtest by the step that is forecast.

    Parameters
    ----------
    table : pandas.DataFrame
        As in `plot_backtest`.
    series : sequence, optional
        Keys of the series of a panel that the mean is over; by default all.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    rows = []
    for window in _scored(table, series):
        step = np.arange(1, len(window.point) + 1)
        rows.append(pd.Series((window.truth - window.point).abs().to_numpy(), index=step))
    errors = pd.concat(rows).groupby(level=0)
    mean, low, high = errors.mean(), errors.quantile(0.1), errors.quantile(0.9)
    (one,) = _axes(ax, 1)
    one.fill_between(mean.index, low, high, color=BANDS[0], lw=0, label="10 to 90 % of errors")
    one.plot(mean.index, mean, "o-", color=FORECAST, ms=3, label="mean absolute error")
    _from_zero(one)
    one.set_xlabel("forecast step", color=PAST)
    one.set_ylabel("absolute error", color=PAST)
    one.legend(frameon=False, loc="upper left")
    return one


def plot_calibration(
    source: Any,
    y: Frame | None = None,
    series: Sequence[Hashable] | None = None,
    ax: Any = None,
) -> np.ndarray:
    """Draw whether quantiles hold what they promise: the calibration curve and the PIT.

    The second picture is the histogram of the probability integral transform between the
    forecast quantiles, 1 everywhere if they are right: a hump means that intervals are too wide, a
    bowl that they are too narrow (Gneiting, Balabdaoui, Raftery 2007, "Probabilistic forecasts,
    calibration and sharpness", JRSS B 69).

    Parameters
    ----------
    source : pandas.DataFrame
        What ``predict_quantiles`` returned; or the table of
        ``backtest(..., method="predict_quantiles", return_data=True)``.
    y : pandas.Series or pandas.DataFrame, optional
        What happened, if ``source`` is not a backtest.
    series : sequence, optional
        Keys of the series of a panel to count; by default all.
    ax : pair of matplotlib.axes.Axes, optional

    Returns
    -------
    numpy.ndarray of two matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If ``source`` are quantiles and there is no ``y``, or no forecast row was observed.
    """
    levels, below = _below(source, y, series)
    share = below.mean(axis=0)  # (level,)
    left, right = _axes(ax, 2, columns=2)
    left.plot([0, 1], [0, 1], color=FAINT, lw=1)
    left.plot(levels, share, "o-", color=FORECAST, ms=4)
    left.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    left.set_xlabel("promised: quantile level", color=PAST)
    left.set_ylabel("held: share of the truth below", color=PAST)
    edges, held = np.r_[0, levels, 1], np.diff(np.r_[0, share, 1])
    widths = np.diff(edges)
    right.bar(edges[:-1], held / widths, widths, align="edge", color=BANDS[2], edgecolor="white")
    right.axhline(1, color=PAST, lw=0.8, ls=":")
    right.set(xlim=(0, 1))
    right.set_xlabel("where in the forecast distribution the truth lay", color=PAST)
    right.set_ylabel("density", color=PAST)
    left.set_title(f"{len(below):,} forecasts", loc="left", fontsize=10)
    return np.array([left, right])


# What plots share.


@dataclass(frozen=True)
class _Window:
    """A series of one window of a backtest: truth, point, and the outermost bounds if any."""

    key: Any
    truth: pd.Series
    point: pd.Series
    outer: pd.DataFrame | None = None
    band: str = ""


def _scored(
    table: pd.DataFrame, series: Sequence[Hashable] | None, most: int | None = None
) -> Iterator[_Window]:
    """Yield the chosen series of every window of a backtest's table, else the first or all."""
    names = [name for name in ("y_pred", "y_pred_interval", "y_pred_quantiles") if name in table]
    if not names or "y_test" not in table:
        raise ValueError(
            f"Got a table with the columns {list(table.columns)}, expected y_test and y_pred. Pass "
            "what backtest(..., return_data=True) returned."
        )
    for truth, forecast in zip(table["y_test"], table[names[0]], strict=True):
        truth, forecast = _frame(truth), _frame(forecast)
        for key in _keys(forecast, series, most):
            own, known = _of_series(forecast, key), _of_series(truth, key).iloc[:, 0]
            known = known.reindex(own.index)
            if own.columns.nlevels == 1:
                yield _Window(key, known, own.iloc[:, 0])
                continue
            first = own.columns.get_level_values(0) == own.columns[0][0]  # of the targets
            own = own.loc[:, first].sort_index(axis=1)
            levels = own.columns.get_level_values(1)
            # the quantile next to the median, or the middle of the interval
            middle = own.shape[1] // 2
            point = own.iloc[:, middle] if own.shape[1] % 2 else own.mean(axis=1)
            band = f"quantiles {levels[0]:g} to {levels[-1]:g}"
            if own.columns.nlevels > 2:  # of intervals the widest is the last
                band = f"{100 * levels[-1]:g}% interval"
            bounds = [-2, -1] if own.columns.nlevels > 2 else [0, -1]
            yield _Window(key, known, point, own.iloc[:, bounds], band)


def _below(
    source: pd.DataFrame, y: Frame | None, series: Sequence[Hashable] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return levels (level,) and whether each truth lies below its quantiles (row, level)."""
    if "y_pred_quantiles" in source:
        pairs = list(zip(source["y_test"], source["y_pred_quantiles"], strict=True))
    elif "y_test" in source:
        raise ValueError(
            f"Got a table with the columns {list(source.columns)}, expected y_pred_quantiles: only "
            "quantiles can be held against their levels. Pass what backtest(..., "
            "method='predict_quantiles', return_data=True) returned."
        )
    elif y is None:
        raise ValueError(
            "Got quantiles without y, expected what happened too. Pass y, or a table of "
            "backtest(..., method='predict_quantiles', return_data=True)."
        )
    else:
        pairs = [(y, source)]
    rows, levels = [], np.zeros(0)
    for truth, quantiles in pairs:
        if series is not None:
            keys = _keys(quantiles, series)
            quantiles = quantiles[quantiles.index.droplevel(-1).isin(keys)]
        truth = _frame(truth).reindex(quantiles.index)
        levels = quantiles.columns.get_level_values(1).unique().to_numpy(dtype=float)
        targets = quantiles.columns.get_level_values(0).unique()
        for place, target in enumerate(targets):
            known = truth.iloc[:, place].to_numpy(dtype=float)
            seen = ~np.isnan(known)
            values = quantiles[target].to_numpy()[seen]
            # half of those that are met exactly lie below, as counts do
            equal = (known[seen, None] == values) / 2
            rows.append((known[seen, None] < values) + equal)
    below = np.concatenate(rows)
    if not len(below):
        raise ValueError("Got no observed row among the forecasts. Pass the y of their times.")
    order = np.argsort(levels)
    return levels[order], below[:, order]


def _draw_fan(
    ax: Axes, point: pd.Series, bands: Any, known: pd.Series | None, num_history: int | None
) -> None:
    times = _times(point.index)
    if bands is not None:
        shares = sorted(bands.columns.get_level_values(0).unique(), reverse=True)
        for share, colour in zip(shares, _shades(len(shares)), strict=True):
            low, high = bands[share]["lower"], bands[share]["upper"]
            ax.fill_between(times, low, high, color=colour, lw=0, label=f"{share:.0%} interval")
    if known is not None:
        past = known[known.index < point.index[0]].iloc[-(num_history or 2 * len(point)) :]
        if len(past) and num_history != 0:
            ax.plot(_times(past.index), past, color=PAST, lw=1, label="past")
        truth = known[known.index.isin(point.index)]
        if truth.notna().any():
            ax.plot(_times(truth.index), truth, "o", color=TRUTH, ms=3, label="what happened")
    ax.plot(times, point, color=FORECAST, lw=1.5, label="forecast")
    ax.margins(x=0.01)
    _date_axis(ax)


def _frame(data: Frame) -> pd.DataFrame:
    return data.to_frame() if isinstance(data, pd.Series) else data


def _column(frame: pd.DataFrame, target: Hashable, forecast: pd.DataFrame) -> pd.Series:
    """Return a target's column: by its name, or by its place if it has another."""
    place: Any = (frame if target in frame.columns else forecast).columns.get_loc(target)
    column: pd.Series = frame.iloc[:, place]
    return column


def _keys(
    frame: pd.DataFrame, series: Sequence[Hashable] | None, most: int | None = FEW
) -> list[Any]:
    """Return the keys of the series to draw; [None] if there is but one, without a name."""
    if not isinstance(frame.index, pd.MultiIndex):
        return [None]
    keys = frame.index.droplevel(-1).unique()
    if series is None:
        return list(keys[:most])
    for key in series:
        if key not in keys:
            raise KeyError(f"Got the series {key!r}, expected some of {list(keys[:10])}.")
    return list(series)


def _of_series(frame: pd.DataFrame, key: Any) -> pd.DataFrame:
    if key is None:
        return frame
    keys: Any = frame.index
    own = frame[keys.droplevel(-1) == key]
    return own.set_axis(own.index.get_level_values(-1))


def _times(index: pd.Index) -> Any:
    """Return what matplotlib can place: periods as their start."""
    return index.to_timestamp() if isinstance(index, pd.PeriodIndex) else index


def _as_days(index: pd.Index) -> pd.Index:
    """Return an index whose times are written without the hour, where all are midnights."""
    times = index.get_level_values(-1)
    if not isinstance(times, pd.DatetimeIndex) or (times != times.normalize()).any():
        return index
    days = times.strftime("%Y-%m-%d")
    levels = [index.get_level_values(level) for level in range(index.nlevels - 1)]
    return pd.MultiIndex.from_arrays([*levels, days]) if levels else days


def _text(key: Any) -> str:
    return " / ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _shades(number: int) -> list[str]:
    """Return colours from faint to strong."""
    places = np.linspace(0, len(BANDS) - 1, number) if number > 1 else [1]
    return [BANDS[round(place)] for place in places]


def _colour(name: str) -> str:
    return INPUTS.get(name.split()[0], FAINT)


def _date_axis(ax: Axes) -> None:
    """Write dates as briefly as they can be read."""
    converter = ax.xaxis.get_converter()
    if converter is not None and "Date" in type(converter).__name__:
        locator = AutoDateLocator(minticks=3, maxticks=9)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _from_zero(ax: Axes) -> None:
    """Let the axis of errors begin at zero, with room above the largest."""
    top = float(ax.dataLim.y1)
    ax.set_ylim(0, 1.08 * top if 0 < top < np.inf else 1.0)


def _axes(
    given: Any,
    number: int,
    columns: int = 1,
    height: float | None = None,
    sharex: bool = False,
    ratios: Sequence[float] | None = None,
) -> list[Axes]:
    """Return axes to draw in, in the one look of all plots."""
    if given is None:
        rows = -(-number // columns)
        height = height or (3.6 if rows == 1 else 2.4 * rows)
        ratio = {"height_ratios": ratios} if ratios else {}
        _, new = plt.subplots(
            rows,
            columns,
            figsize=(9, height + 0.4),
            layout="constrained",
            squeeze=False,
            sharex=sharex,
            gridspec_kw=ratio,
        )
        given = new
    axes = list(np.ravel(given))
    if len(axes) < number:
        raise ValueError(
            f"Got {len(axes)} axes for {number} pictures. Pass as many, or none to have them made."
        )
    for one in axes[:number]:
        one.spines[:].set_visible(False)
        one.tick_params(length=0, labelcolor=PAST)
        one.grid(True, color="#eeeeee", lw=0.8)
        one.set_axisbelow(True)
    return axes[:number]


def _legend(one: Axes, given: Any) -> None:
    """Put the legend above all pictures of a new figure, or into axes of the caller's."""
    handles, names = one.get_legend_handles_labels()
    if given is not None:
        one.legend(handles, names, frameon=False, fontsize=8)
    elif one.figure is not None:
        figure: Any = one.figure
        place = "outside upper left"
        figure.legend(handles, names, loc=place, ncols=len(names), frameon=False, fontsize=9)


def _result(axes: list[Axes]) -> Any:
    return axes[0] if len(axes) == 1 else np.array(axes)
