"""Time as files bring it, through the forecaster: steps, zones, orders and typing errors."""

import numpy as np
import pandas as pd
import pytest
from pandas import offsets
from sktime.forecasting.base import ForecastingHorizon
from sktime.forecasting.model_evaluation import evaluate
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import CutoffSplitter, ExpandingWindowSplitter, SlidingWindowSplitter

from sktime_tlstm import SkorchForecaster
from sktime_tlstm.data import history
from sktime_tlstm.data.calendar import Walk
from sktime_tlstm.nn import AttentionLSTM


def tiny(**parameters):
    module = {"module": AttentionLSTM, "module_params": {"d_model": 4, "num_heads": 2}}
    budget = {"max_epochs": 1, "max_windows_per_epoch": 16, "batch_size": 8, "random_state": 3}
    return SkorchForecaster(**module, **budget, **parameters)


def series(index):
    return pd.Series(20 + 5 * np.sin(np.arange(len(index)) / 3), index=index, name="y")


def forecast_times(index, steps=3, **parameters):
    return tiny(**parameters).fit(series(index), fh=range(1, steps + 1)).predict().index


# Steps that are known.


def test_a_row_after_pretraining_is_forecast_in_the_step_of_pretraining():
    index = pd.date_range("2021-03-05", periods=30, freq="30min")
    panel = pd.concat({key: series(index).to_frame() for key in "pq"})
    forecaster = tiny().pretrain(panel, fh=[1, 2])
    one = series(pd.DatetimeIndex(["2023-08-07 06:30"]))
    times = forecaster.fit(one).predict(fh=[1, 2]).index
    assert times.astype(str).tolist() == ["2023-08-07 07:00:00", "2023-08-07 07:30:00"]


@pytest.mark.parametrize(
    "offset",
    [
        offsets.LastWeekOfMonth(weekday=1),
        offsets.FY5253(weekday=1, startingMonth=9, variation="nearest"),
        offsets.CustomBusinessDay(weekmask="1110111"),
        pd.DateOffset(months=1, day=30),
    ],
)
def test_a_stated_calendar_is_forecast_and_updated(offset):
    index = pd.date_range("1990-01-30", periods=40, freq=offset)
    y, X = series(index), pd.DataFrame({"x": np.arange(40.0)}, index=index)
    forecaster = tiny().fit(y[:34], X[:34], fh=[1, 2])
    assert forecaster.predict(X=X[34:36]).index.equals(index[34:36])
    forecaster.update(y[34:36], X[34:36], update_params=False)
    assert forecaster.predict(X=X[36:38]).index.equals(index[36:38])
    assert (y.index.freq, X.index.freq) == (offset, offset)


def test_days_without_a_midnight_are_forecast():
    days = pd.date_range("2019-08-20", periods=30)
    index = days.tz_localize(
        "America/Santiago", ambiguous=np.ones(30, dtype=bool), nonexistent="shift_forward"
    )
    assert index[19].hour == 1
    assert forecast_times(index[:17], steps=5).equals(index[17:22])
    y, X = series(index), pd.DataFrame({"x": np.arange(30.0)}, index=index)
    forecaster = tiny().fit(y[:17], X[:17], fh=range(1, 6))
    assert forecaster.predict(X=X[17:]).index.equals(index[17:22])
    assert forecaster.update(y[17:20], X[17:20]).predict(X=X[20:]).index.equals(index[20:25])


# Integers.


@pytest.mark.parametrize("index", [pd.RangeIndex(900, 900 + 60 * 50, 50), pd.Index(np.r_[:60] * 7)])
def test_a_step_of_integers_goes_on(index):
    y = series(index)
    forecaster = tiny().fit(y[:50], fh=[1, 2, 3])
    assert forecaster.predict().index.tolist() == index[50:53].tolist()
    absolute = ForecastingHorizon(index[51:53], is_relative=False)
    assert forecaster.predict(absolute).index.tolist() == index[51:53].tolist()
    assert forecaster.predict([-1, 0, 1]).index.tolist() == index[48:51].tolist()
    forecaster.update(y[50:55], update_params=False)
    assert forecaster.predict([2]).index.tolist() == index[56:57].tolist()


@pytest.mark.parametrize("splitter", [ExpandingWindowSplitter, SlidingWindowSplitter])
def test_a_step_of_integers_is_evaluated_on_the_rows_of_y(splitter):
    y = series(pd.RangeIndex(0, 60 * 25, 25))
    window = {"initial_window": 50} if splitter is ExpandingWindowSplitter else {}
    cv = splitter(fh=[1, 2, 3], step_length=4, **(window or {"window_length": 50}))
    by_sktime = evaluate(tiny(), cv, y, return_data=True)
    ours = tiny().fit(y[:50], fh=[1, 2, 3]).backtest(y, None, cv, return_data=True)
    for table in (by_sktime, ours):
        for actual, forecast in zip(table["y_test"], table["y_pred"], strict=True):
            assert forecast.index.tolist() == actual.index.tolist()


def test_times_passed_as_steps_are_refused_with_the_way_to_pass_them():
    y = series(pd.RangeIndex(0, 60 * 9000, 9000))
    with pytest.raises(ValueError, match=r"ForecastingHorizon\(times, is_relative=False\)"):
        tiny().fit(y[:50], fh=[1, 2, 3]).predict(y.index[50:53])


def test_durations_are_refused_with_what_to_do():
    with pytest.raises(TypeError, match=r"pd.Timestamp\('2000-01-01'\) \+ index"):
        tiny().fit(series(pd.timedelta_range("3h", periods=30, freq="3h")), fh=[1])


# Durations as fh: how many steps they last depends on the date that they are counted from.


def lasting(days):
    return ForecastingHorizon(pd.to_timedelta(days, unit="D"), is_relative=True)


def test_durations_are_counted_from_the_end_of_each_series():
    ends = {"to Thursday": "2022-09-15", "to Monday": "2022-09-19"}
    index = {key: pd.date_range(end=end, periods=30, freq="B") for key, end in ends.items()}
    y = pd.concat({key: series(times).to_frame() for key, times in index.items()})
    fh = lasting([1, 4])
    forecaster = tiny().fit(y, fh=fh)
    expected = ["2022-09-16", "2022-09-19", "2022-09-20", "2022-09-23"]
    assert forecaster.predict().index.get_level_values(-1).astype(str).tolist() == expected
    assert forecaster.prediction_length_ == 4
    in_steps = forecaster.predict(fh=range(1, 5))
    pd.testing.assert_frame_equal(forecaster.predict(), in_steps.loc[forecaster.predict().index])
    assert tiny().pretrain(y, fh=fh).fit(y).prediction_length_ == 4


def test_a_duration_that_ends_between_the_rows_of_a_series_is_refused():
    ends = {"p": "2023-12-31", "q": "2024-01-31"}
    index = {key: pd.date_range(end=end, periods=24, freq="ME") for key, end in ends.items()}
    y = pd.concat({key: series(times).to_frame() for key, times in index.items()})
    with pytest.raises(ValueError, match="Got fh with the time 2024-03-02 00:00:00, which"):
        tiny().fit(y).predict(fh=lasting([31]))


@pytest.mark.parametrize("horizon", [5, 2], ids=["within the horizon", "beyond it"])
def test_a_backtest_counts_durations_from_each_cutoff(horizon):
    times = pd.date_range("2022-06-01", periods=80, freq="B")
    y, X = series(times), pd.DataFrame({"x": np.cos(np.arange(80.0))}, times)
    ends = pd.DatetimeIndex(["2022-08-15", "2022-08-18", "2022-08-22", "2022-08-25"])
    cv = CutoffSplitter(ends, fh=lasting([4]), window_length=pd.Timedelta("20D"))
    tests = pd.DatetimeIndex(["2022-08-19", "2022-08-22", "2022-08-26", "2022-08-29"])
    forecaster = tiny().fit(y[:50], X[:50], fh=range(1, horizon + 1))
    y, X = y[: tests[-1]], X[: tests[-1]]  # two steps behind the last cutoff, four behind others
    table = forecaster.backtest(y, X, cv, scoring=MeanAbsoluteError(), return_data=True)
    assert [one.index.tolist() for one in table["y_pred"]] == [[time] for time in tests]
    assert table["test_MeanAbsoluteError"].notna().all()
    for end, forecast in zip(ends, table["y_pred"], strict=True):
        forecaster.update(y[:end], X[:end], update_params=False)
        known = X[end + times.freq : end + pd.Timedelta("4D")]
        expected = forecaster.predict(fh=lasting([4]), X=known)
        pd.testing.assert_series_equal(forecast, expected, rtol=1e-5)


# Tables in the order of time.

TIMES = pd.date_range("2021-03-05", periods=40)


@pytest.fixture(scope="module")
def table():
    """Return rows of three shops, sorted by shop."""
    draws = np.random.default_rng(11)
    index = pd.MultiIndex.from_product([["north", "east", "south"], TIMES], names=["shop", "day"])
    columns = {"y": draws.normal(20, 3, 120), "x": draws.normal(size=120)}
    return pd.DataFrame(columns, index=index).sort_index()


def part(table, begin, end, shops):
    days = table.index.get_level_values("day")
    chosen = (days >= TIMES[begin]) & (days < TIMES[end])
    return table[chosen & table.index.get_level_values("shop").isin(shops)]


def all_answers(table):
    """Return what a forecaster says of rows in the order of a table."""
    two, three = ["north", "south"], ["north", "south", "east"]
    train, late = part(table, 0, 30, two), part(table, 30, 34, three)
    forecaster = tiny().fit(train[["y"]], train[["x"]], fh=[1, 2])
    answers = {
        "predict": forecaster.predict(X=part(table, 30, 32, two)[["x"]]),
        "samples": forecaster.predict_samples(X=part(table, 30, 32, two)[["x"]], num_samples=3),
        "residuals": forecaster.predict_residuals(train[["y"]], train[["x"]]).sort_index(),
    }
    moving, cv = part(table, 30, 39, two), ExpandingWindowSplitter(fh=[1], initial_window=3)
    answers["update_predict"] = forecaster.update_predict(
        moving[["y"]], cv, moving[["x"]], update_params=False
    )
    forecaster.update(late[["y"]], late[["x"]])
    answers["update"] = forecaster.predict(X=part(table, 34, 36, three)[["x"]])
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=33, step_length=2)
    scores = forecaster.backtest(table[["y"]], table[["x"]], cv)
    return answers | {"backtest": scores.filter(like="test_")}


def test_a_table_in_time_order_is_answered_as_the_sorted_one(table):
    mixed = table.sort_index(level=["day", "shop"])
    before = mixed.copy()
    by_shop, by_time = all_answers(table), all_answers(mixed)
    for name, answer in by_shop.items():
        pd.testing.assert_frame_equal(by_time[name], answer, obj=name)
    pd.testing.assert_frame_equal(mixed, before)


# Times too far to be true, and the ends of time.


def test_an_update_with_a_typing_error_in_the_year_is_refused_and_undone():
    y = series(pd.date_range("2024-02-01", periods=50, freq="5min"))
    forecaster = tiny().fit(y, fh=[1, 2])
    before = forecaster.predict()
    with pytest.raises(ValueError, match=r"2204-02-01 .*missing steps since.*Check the time"):
        forecaster.update(pd.Series([21.0], index=pd.DatetimeIndex(["2204-02-01"]), name="y"))
    pd.testing.assert_series_equal(forecaster.predict(), before)
    assert forecaster.cutoff[0] == y.index[-1]


def test_a_pause_of_a_season_is_believed():
    y = series(pd.date_range("2024-02-01", periods=50, freq="5min"))
    late = pd.Series([21.0, 22.0], index=pd.date_range("2024-07-01", periods=2, freq="5min"))
    forecast = tiny().fit(y, fh=[1, 2]).update(late.rename("y")).predict()
    assert forecast.index.astype(str).tolist() == ["2024-07-01 00:10:00", "2024-07-01 00:15:00"]
    assert forecast.notna().all()


def test_forecasts_beyond_nanoseconds_are_right_or_refused():
    index = pd.date_range("2262-02-01", periods=40, unit="ns")
    forecaster = tiny().fit(series(index), fh=[1, 2])
    assert str(forecaster.predict([30]).index[0]) == "2262-04-11 00:00:00"
    with pytest.raises(ValueError, match=r"unit 'ns' of the index.*as_unit\('s'\)"):
        forecaster.predict([31])
    forecaster.update(series(pd.date_range("2262-03-13", periods=3, unit="ns")))
    coarse = tiny().fit(series(index.as_unit("s")), fh=[1, 2])
    assert str(coarse.predict([31]).index[0]) == "2262-04-12 00:00:00"


# Work.


@pytest.mark.parametrize(
    "offset", [offsets.BusinessDay(2), offsets.BusinessHour(), offsets.SemiMonthEnd()]
)
def test_an_update_generates_the_new_dates_alone(offset, monkeypatch):
    walked, business = [], []
    following, offset_days = Walk._next, np.busday_offset

    def counted(self, time, way):
        walked.append(time)
        return following(self, time, way)

    def counted_days(days, steps, **options):
        business.append(np.broadcast(days, steps).size)
        return offset_days(days, steps, **options)

    index = pd.date_range("2001-03-05", periods=860, freq=offset)
    y = series(index)
    forecaster = tiny(context_length=8).fit(y[:800], fh=[1, 2])
    forecaster.update(y[800:820], update_params=False).predict()
    monkeypatch.setattr(history, "CALENDAR_AHEAD", 5)  # calendars are laid out ahead
    monkeypatch.setattr(Walk, "_next", counted)
    monkeypatch.setattr(np, "busday_offset", counted_days)
    for row in range(820, 860):
        forecaster.update(y[row : row + 1], update_params=False).predict()
    assert len(walked) <= 40 + 5
    # twice the 64 rows that simple forecasts are made from, and a few
    assert max(business, default=0) <= 2 * 64 + 20
