"""Plots: what is drawn, read back from the axes."""

import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.dates import date2num
from sktime.forecasting.naive import NaiveForecaster
from sktime.split import ExpandingWindowSplitter
from sktime.utils.plotting import plot_series

from sktime_tlstm import plotting
from tests.setups import tiny

HORIZON = 3
FH = range(1, HORIZON + 1)
SEEN = 40


@pytest.fixture(autouse=True)
def no_figure_stays():
    yield
    plt.close("all")


def values(rows=SEEN + 3 * HORIZON, freq="D", seed=0):
    rng = np.random.default_rng(seed)
    index = pd.date_range("2024-01-01", periods=rows, freq=freq, name="time")
    y = pd.Series(50 + rng.normal(size=rows), index, name="sales")
    return y, pd.DataFrame({"price": rng.normal(size=rows)}, index)


@pytest.fixture(scope="module")
def fitted():
    y, X = values()
    return tiny(context_length=7, max_epochs=3).fit(y[:SEEN], X=X[:SEEN], fh=FH), y, X


def line(ax, label):
    """Return the data of the line with a label."""
    (found,) = (one for one in ax.get_lines() if one.get_label() == label)
    return found.get_xdata(), found.get_ydata()


def ticks(ax):
    return ax.get_yticks(), ax.get_yticklabels()


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_a_fan_shows_forecast_bands_past_and_truth(fitted):
    forecaster, y, X = fitted
    ax = plotting.plot_forecast(forecaster, y, X[SEEN : SEEN + HORIZON])
    assert labels(ax) == [
        "90% interval",
        "60% interval",
        "30% interval",
        "past",
        "what happened",
        "forecast",
    ]
    times, drawn = line(ax, "forecast")
    forecast = forecaster.predict(X=X[SEEN : SEEN + HORIZON])
    np.testing.assert_allclose(drawn, forecast)
    assert list(times) == list(forecast.index)
    np.testing.assert_allclose(line(ax, "what happened")[1], y[SEEN : SEEN + HORIZON])
    np.testing.assert_allclose(line(ax, "past")[1], y[SEEN - 2 * HORIZON : SEEN])
    interval = forecaster.predict_interval(X=X[SEEN : SEEN + HORIZON], coverage=0.9)["sales"][0.9]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(interval["lower"].min())
    assert band[:, 1].max() == pytest.approx(interval["upper"].max())
    assert ax.get_ylabel() == "sales"


def test_a_fan_of_frames_is_that_of_the_forecaster(fitted):
    forecaster, y, X = fitted
    future = X[SEEN : SEEN + HORIZON]
    forecast = forecaster.predict(X=future)
    intervals = forecaster.predict_interval(X=future, coverage=[0.5])
    ax = plotting.plot_forecast(forecast, y, intervals=intervals, num_history=4)
    assert labels(ax) == ["50% interval", "past", "what happened", "forecast"]
    np.testing.assert_allclose(line(ax, "forecast")[1], forecast)
    assert len(line(ax, "past")[1]) == 4
    plain = plotting.plot_forecast(forecast)
    assert labels(plain) == ["forecast"]
    assert labels(plotting.plot_forecast(forecast, y, num_history=0)) == [
        "what happened",
        "forecast",
    ]


def test_without_y_the_past_is_what_the_forecaster_has_seen(fitted):
    forecaster, y, X = fitted
    ax = plotting.plot_forecast(forecaster, X=X[SEEN : SEEN + HORIZON], coverage=[])
    assert labels(ax) == ["past", "forecast"]
    np.testing.assert_allclose(line(ax, "past")[1], y[SEEN - 2 * HORIZON : SEEN], rtol=1e-6)


def test_any_forecaster_of_sktime_can_be_drawn():
    y, _ = values()
    forecaster = NaiveForecaster().fit(y[:SEEN], fh=list(FH))
    ax = plotting.plot_forecast(forecaster, y)
    np.testing.assert_allclose(line(ax, "forecast")[1], y.iloc[SEEN - 1])


@pytest.mark.parametrize("freq", ["period", "integer"])
def test_times_of_every_kind_are_drawn(freq):
    y, _ = values()
    y.index = (
        pd.RangeIndex(len(y))
        if freq == "integer"
        else pd.period_range("2020-01", periods=len(y), freq="M")
    )
    forecaster = tiny(context_length=7).fit(y[:SEEN], fh=FH)
    ax = plotting.plot_forecast(forecaster, y)
    times, _ = line(ax, "what happened")
    first = SEEN if freq == "integer" else date2num(y.index[SEEN].to_timestamp())
    assert (times[0] if freq == "integer" else date2num(times[0])) == first


def panel():
    y, _ = values()
    frames = {
        ("north", key): pd.DataFrame({"sales": y + place, "visits": y - place})
        for place, key in enumerate("abcdef")
    }
    return pd.concat(frames, names=["region", "shop"])


def test_a_few_series_of_a_panel_have_axes_each():
    y = panel()
    seen = y.groupby(level=[0, 1]).head(SEEN)
    forecaster = tiny(context_length=7).fit(seen, fh=FH)
    axes = plotting.plot_forecast(forecaster, y)
    assert [ax.get_title(loc="left") for ax in axes] == [
        f"north / {key}, {target}" for key in "abcd" for target in ("sales", "visits")
    ]
    chosen = [("north", "e")]
    axes = plotting.plot_forecast(forecaster, y, series=chosen)
    assert len(axes) == 2
    expected = y.loc[("north", "e"), "visits"].iloc[SEEN : SEEN + HORIZON]
    np.testing.assert_allclose(line(axes[1], "what happened")[1], expected)
    forecast = forecaster.predict().loc[("north", "e")]
    np.testing.assert_allclose(line(axes[1], "forecast")[1], forecast["visits"])
    with pytest.raises(KeyError, match="Got the series 'x', expected some of"):
        plotting.plot_forecast(forecaster, y, series=["x"])
    _, one = plt.subplots()
    with pytest.raises(ValueError, match="Got 1 axes for 2 pictures"):
        plotting.plot_forecast(forecaster, y, series=chosen, ax=one)


def test_what_is_no_forecast_is_refused():
    with pytest.raises(TypeError, match="Got a list, expected a fitted forecaster or its forecas"):
        plotting.plot_forecast([1, 2])


def test_own_axes_are_drawn_in(fitted):
    forecaster, *_ = fitted
    figure, axes = plt.subplots(1, 2)
    assert plotting.plot_history(forecaster, ax=axes[1]) is axes[1]
    assert not axes[0].has_data()
    assert len(plt.get_fignums()) == 1
    assert figure.axes[1] is axes[1]


def test_the_history_is_drawn_in_units_of_y(fitted):
    forecaster, *_ = fitted
    ax = plotting.plot_history(forecaster)
    np.testing.assert_allclose(line(ax, "training")[1], forecaster.history_["train_mae"])
    held_out = forecaster.history_["valid_mae"]
    np.testing.assert_allclose(line(ax, "held out")[1], held_out)
    assert [text.get_text().strip() for text in ax.texts] == ["fit", "fit on all rows"]


def test_importance_is_drawn_with_the_most_important_on_top(fitted):
    forecaster, *_ = fitted
    table = forecaster.variable_importance(num_windows=5, num_repeats=2)
    ax = plotting.plot_importance(table, num_variables=4)
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths[::-1], table["importance"][:4])
    name, variable = table.index[0]
    assert ax.get_yticklabels()[-1].get_text() == f"{variable} ({name})"
    assert "mean absolute error" in ax.get_xlabel()
    assert plotting.plot_importance(forecaster, num_variables=2).patches


@pytest.mark.parametrize("row", [1, "label"])
def test_contributions_lead_from_the_baseline_to_the_forecast(fitted, row):
    forecaster, _, X = fitted
    table = forecaster.explain(X=X[SEEN : SEEN + HORIZON])
    ax = plotting.plot_contributions(table, table.index[1] if row == "label" else row, 3)
    bars = ax.patches
    assert len(bars) == 4  # the others share one
    assert bars[0].get_x() == pytest.approx(table.iloc[1, 0])
    end = bars[-1].get_x() + bars[-1].get_width()
    assert end == pytest.approx(table.iloc[1].sum())
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[-1].startswith(f"{table.shape[1] - 4} others")
    largest = table.iloc[1, 1:].abs().idxmax()
    assert names[0].startswith(f"{largest[1]} ({largest[0]})")


def test_the_attention_map_is_the_mean_over_heads(fitted):
    forecaster, _, X = fitted
    weights = forecaster.attention_weights(X=X[SEEN : SEEN + HORIZON])
    ax = plotting.plot_attention(weights)
    drawn = ax.collections[0].get_array()
    np.testing.assert_allclose(drawn.reshape(HORIZON, -1), weights.mean(axis=1).unstack())
    both = pd.concat({"a": weights, "b": 0 * weights}, names=["key"])
    zero = plotting.plot_attention(both, series="b")
    assert zero.collections[0].get_array().max() == 0 and zero.get_title(loc="left") == "b"
    first = plotting.plot_attention(both)
    assert first.collections[0].get_array().max() > 0 and first.get_title(loc="left") == "a"


@pytest.mark.parametrize("steps", [[1, 7], [2], [1, 2, 19], list(range(1, 31))])
def test_the_attention_map_has_a_row_of_one_height_for_each_step(steps):
    levels = {"step": steps, "relative_time": [-1, 0, 1]}
    index = pd.MultiIndex.from_product(levels.values(), names=levels)
    weights = pd.DataFrame({"head": np.arange(len(index)) / len(index)}, index)
    ax = plotting.plot_attention(weights)
    rows = ax.collections[0].get_coordinates()[:, 0, 1]
    np.testing.assert_allclose(rows, np.arange(len(steps) + 1) - 0.5)
    told = {tick: label.get_text() for tick, label in zip(*ticks(ax), strict=True)}
    assert len(told) <= 12 and told[0] == str(steps[0])
    assert all(label == str(steps[int(tick)]) for tick, label in told.items())


@pytest.fixture(scope="module")
def tables(fitted):
    forecaster, y, X = fitted
    cv = ExpandingWindowSplitter(fh=list(FH), initial_window=SEEN, step_length=HORIZON)
    methods = ("predict", "predict_interval", "predict_quantiles")
    return {
        method: forecaster.backtest(y, X, cv, method=method, return_data=True) for method in methods
    }


@pytest.mark.parametrize("method", ["predict", "predict_interval", "predict_quantiles"])
def test_a_backtest_is_drawn_with_the_error_of_each_window(tables, method, fitted):
    _, y, _ = fitted
    top, bottom = plotting.plot_backtest(tables[method])
    happened = np.concatenate([one.get_ydata() for one in top.get_lines()[1::2]])
    np.testing.assert_allclose(happened, y[SEEN:])
    points = np.concatenate([one.get_ydata() for one in top.get_lines()[::2]])
    errors = np.abs(points - happened).reshape(3, HORIZON).mean(1)
    np.testing.assert_allclose([one.get_ydata()[0] for one in bottom.get_lines()[:3]], errors)
    assert len(top.collections) == (0 if method == "predict" else 3)


def test_errors_by_step_are_means_over_windows(tables):
    ax = plotting.plot_error_by_step(tables["predict"])
    table = tables["predict"]
    errors = [
        (truth - forecast).abs().to_numpy()
        for truth, forecast in zip(table["y_test"], table["y_pred"], strict=True)
    ]
    np.testing.assert_allclose(line(ax, "mean absolute error")[1], np.mean(errors, axis=0))
    with pytest.raises(ValueError, match=r"Got a table with the columns .* expected y_test and"):
        plotting.plot_error_by_step(table.drop(columns="y_test"))


def test_calibration_compares_what_is_promised_with_what_is_held():
    index = pd.RangeIndex(100)
    levels = [0.8, 0.2, 0.5]
    columns = pd.MultiIndex.from_product([["y"], levels])
    quantiles = pd.DataFrame(np.tile(levels, (100, 1)), index, columns)
    y = pd.Series(np.r_[np.full(10, 0.1), np.full(70, 0.4), np.full(20, 0.9)], index, name="y")
    left, right = plotting.plot_calibration(quantiles, y)
    curve = left.get_lines()[1]
    np.testing.assert_allclose(curve.get_xdata(), [0.2, 0.5, 0.8])
    np.testing.assert_allclose(curve.get_ydata(), [0.1, 0.8, 0.8])
    heights = [bar.get_height() for bar in right.patches]
    np.testing.assert_allclose(heights, [0.1 / 0.2, 0.7 / 0.3, 0, 0.2 / 0.2], atol=1e-12)
    assert left.get_title(loc="left") == "100 forecasts"
    with pytest.raises(ValueError, match="Got quantiles without y"):
        plotting.plot_calibration(quantiles)
    with pytest.raises(ValueError, match="Got no observed row among the forecasts"):
        plotting.plot_calibration(quantiles, np.nan * y)


@pytest.mark.parametrize("method", ["predict", "predict_interval"])
def test_calibration_of_a_backtest_without_quantiles_says_which_it_needs(tables, method):
    with pytest.raises(ValueError, match=r"y_test.* expected y_pred_quantiles.*method='predict_q"):
        plotting.plot_calibration(tables[method])


def test_the_band_of_a_backtest_is_the_widest_and_says_its_level(fitted):
    forecaster, y, X = fitted
    cv = ExpandingWindowSplitter(fh=list(FH), initial_window=SEEN, step_length=HORIZON)
    for method, levels, words in (
        ("predict_interval", {"coverage": [0.8, 0.4]}, "80% interval"),
        ("predict_quantiles", {"alpha": [0.5, 0.9, 0.2]}, "quantiles 0.2 to 0.9"),
    ):
        table = forecaster.backtest(y, X, cv, method, **levels, return_data=True)
        top, bottom = plotting.plot_backtest(table)
        assert labels(top) == ["forecast", words, "what happened"]
        assert (top.get_ylabel(), top.get_title(loc="left")) == ("sales", "")
        first = table.iloc[0]["y_pred_" + method.removeprefix("predict_")]
        drawn = top.collections[0].get_paths()[0].vertices[:, 1]
        assert drawn.min() == pytest.approx(first.min().min())
        assert drawn.max() == pytest.approx(first.max().max())
        if method == "predict_quantiles":
            np.testing.assert_allclose(top.get_lines()[0].get_ydata(), first["sales"][0.5])
        largest = max(float(np.max(one.get_ydata())) for one in bottom.get_lines())
        assert bottom.get_ylim() == pytest.approx((0, 1.08 * largest))


def test_titles_of_contributions_are_written_in_lines_and_days_without_the_hour():
    days = pd.date_range("2024-01-01", periods=2)
    key = "a plant with a name that is so long that no picture has room for it in one line"
    index = pd.MultiIndex.from_product([[key], days], names=["plant", "time"])
    columns = pd.MultiIndex.from_tuples([("baseline", "mean"), ("past values", "load")])
    table = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index, columns)
    title = plotting.plot_contributions(table, 1).get_title(loc="left").split("\n")
    assert " ".join(title[:-1]) == f"{key} / 2024-01-02" and max(map(len, title)) <= 60
    assert title[-1] == "from 3 (mean) to 7"
    hours = table.droplevel(0).set_axis(pd.date_range("2024-01-01", periods=2, freq="12h"))
    assert "2024-01-01 12:00:00" in plotting.plot_contributions(hours, 1).get_title(loc="left")


def test_calibration_of_a_backtest_counts_all_its_rows(tables):
    left, _ = plotting.plot_calibration(tables["predict_quantiles"])
    assert left.get_title(loc="left") == f"{3 * HORIZON} forecasts"


def test_backtests_of_panels_are_drawn_for_chosen_series():
    y = panel()[["sales"]]
    y["sales"] *= y.index.get_level_values("shop").map({"c": 2.0, "e": 3.0}).fillna(1.0)
    seen = y.groupby(level=[0, 1]).head(SEEN)
    forecaster = tiny(context_length=7).fit(seen, fh=FH)
    cv = ExpandingWindowSplitter(fh=list(FH), initial_window=SEEN, step_length=HORIZON)
    table = forecaster.backtest(y, None, cv, method="predict_quantiles", return_data=True)
    chosen = [("north", "c"), ("north", "e")]
    happened = y.loc[("north", "e"), "sales"].iloc[SEEN:]
    top, _ = plotting.plot_backtest(table, ("north", "e"))
    drawn = np.concatenate([one.get_ydata() for one in top.get_lines()[1::2]])
    np.testing.assert_allclose(drawn, happened)
    assert (top.get_title(loc="left"), top.get_ylabel()) == ("north / e", "sales")
    left, _ = plotting.plot_calibration(table, series=chosen)
    assert left.get_title(loc="left") == f"{2 * 3 * HORIZON} forecasts"
    every, some = plotting.plot_error_by_step(table), plotting.plot_error_by_step(table, chosen)
    assert not np.allclose(*(line(ax, "mean absolute error")[1] for ax in (every, some)))
    with pytest.raises(KeyError, match="Got the series 'x'"):
        plotting.plot_calibration(table, series=["x"])


def test_sktimes_own_plot_runs_with_the_extra_for_plots(fitted):
    forecaster, y, X = fitted
    forecast = forecaster.predict(X=X[SEEN : SEEN + HORIZON])
    _, ax = plot_series(y, forecast, labels=["y", "forecast"])
    assert labels(ax) == ["y", "forecast"]


def test_without_matplotlib_the_error_says_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import sktime_tlstm.plotting"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: Got no matplotlib" in run.stderr
    assert "pip install 'sktime-tlstm[plot]'" in run.stderr
