"""Many cutoffs in few forward passes equal the loop of updates, one by one."""

import copy
import functools

import numpy as np
import pandas as pd
import pytest
from sktime.forecasting.base import BaseForecaster, ForecastingHorizon
from sktime.forecasting.model_evaluation import evaluate
from sktime.performance_metrics.forecasting import MeanAbsoluteError, MeanAbsolutePercentageError
from sktime.performance_metrics.forecasting.probabilistic import PinballLoss
from sktime.split import ExpandingWindowSplitter, SlidingWindowSplitter

from sktime_tlstm import ForecastWarning
from sktime_tlstm.backtest import _latest_times
from sktime_tlstm.cutoffs import MovingCutoffs
from tests import setups

ROWS, SEEN = 97, 61


def make_data(freq="h"):
    rng = np.random.default_rng(0)
    index = pd.date_range("2024-02-03", periods=ROWS, freq=freq, name="when")
    X = pd.DataFrame({"heat": rng.normal(size=ROWS), "late": rng.normal(size=ROWS)}, index)
    X["sky"] = rng.choice(["clear", "rain"], ROWS)
    y = pd.DataFrame({"a": 3 + X["heat"] + rng.normal(size=ROWS)}, index)
    y["b"] = np.where(rng.random(ROWS) < 0.1, np.nan, y["a"] ** 2)
    return y, X


tiny = functools.partial(setups.tiny, batch_size=64, num_samples=200)


def fitted(y, X, **parameters):
    forecaster = tiny(**parameters)
    X = None if X is None else X[:SEEN]
    return forecaster.fit(y[:SEEN], X=X, fh=range(1, 6))


def loop(forecaster, y, cv, X):
    """Update and predict one by one, by sktime's own code."""
    copied = forecaster.clone() if not forecaster.is_fitted else forecaster
    X_inner, y_inner = copied._check_X_y(X=X, y=y)
    return BaseForecaster._predict_moving_cutoff(
        copied, y_inner, cv, X_inner, update_params=False, reset_forecaster=True
    )


SPLITTERS = {
    "one step": ExpandingWindowSplitter(fh=[1], initial_window=3, step_length=1),
    "whole horizon": ExpandingWindowSplitter(fh=range(1, 6), initial_window=1, step_length=5),
    "overlapping": SlidingWindowSplitter(fh=[1, 2, 5], window_length=4, step_length=2),
    "with gaps": SlidingWindowSplitter(fh=[2, 3], window_length=2, step_length=7),
}


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")
@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize("columns", [["a"], ["a", "b"]], ids=["one", "two"])
@pytest.mark.parametrize("with_X", [True, False], ids=["X", "no X"])
def test_update_predict_equals_the_loop_of_updates(name, columns, with_X, monkeypatch):
    y, X = make_data()
    y = y[columns] if len(columns) > 1 else y["a"]
    X = X if with_X else None
    forecaster = fitted(y, X, past_covariates=["late"] if with_X else None)
    expected = loop(forecaster, y[SEEN:], SPLITTERS[name], X)
    passes = []
    forecasts = MovingCutoffs.forecasts
    monkeypatch.setattr(
        MovingCutoffs, "forecasts", lambda *data: passes.append(1) or forecasts(*data)
    )
    found = forecaster.update_predict(y[SEEN:], SPLITTERS[name], X=X, update_params=False)
    assert passes == [1]
    same = pd.testing.assert_frame_equal
    if isinstance(expected, pd.Series):
        same = pd.testing.assert_series_equal
    same(found, expected, rtol=1e-5, check_freq=False)


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")
def test_update_predict_leaves_the_forecaster_as_it_was():
    y, X = make_data()
    forecaster = fitted(y, X)
    before = forecaster.predict(X=X)
    forecaster.update_predict(y[SEEN:], SPLITTERS["one step"], X=X, update_params=False)
    pd.testing.assert_frame_equal(forecaster.predict(X=X), before)


@pytest.mark.parametrize("case", ["training", "no reset", "beyond the horizon", "in-sample"])
def test_other_cases_take_sktimes_loop(case, monkeypatch):
    y, X = make_data()
    forecaster = fitted(y, X)
    monkeypatch.setattr(MovingCutoffs, "forecasts", None)
    fh = {"beyond the horizon": [1, 9], "in-sample": [-1, 1]}.get(case, [1, 2])
    cv = SlidingWindowSplitter(fh=fh, window_length=3, step_length=9)
    result = forecaster.update_predict(
        y[SEEN:], cv, X=X, update_params=case == "training", reset_forecaster=case != "no reset"
    )
    assert np.isfinite(result.iloc[0]).any()


def test_a_missing_row_of_covariates_is_an_error_as_in_predict():
    y, X = make_data()
    forecaster = fitted(y, X)
    cv = ExpandingWindowSplitter(fh=range(1, 6), initial_window=ROWS - SEEN - 5)
    forecaster.update_predict(y[SEEN:], cv, X=X, update_params=False)
    longer = ExpandingWindowSplitter(fh=[1], initial_window=ROWS - SEEN - 1)
    with pytest.raises((TypeError, ValueError)):
        forecaster.update_predict(y[SEEN:], longer, X=X[:-1], update_params=False)


# Panels.

LENGTHS = {"north": ROWS, "south": ROWS - 13, "west": ROWS}


def make_panel(levels=("region",)):
    y, X = make_data()
    rows = {key: slice(0, length) for key, length in LENGTHS.items()}
    if len(levels) > 1:
        rows = {("home", key): own for key, own in rows.items()}
    panel = pd.concat({key: y["a"][own].to_frame() * 2 for key, own in rows.items()}, names=levels)
    covariates = pd.concat({key: X[own] for key, own in rows.items()}, names=levels)
    return panel, covariates


def with_integers(frame):
    """Return a panel with integers for its hours: sktime's loop cannot shift others' cutoffs."""
    hours = frame.index.levels[-1]
    return frame.set_index(frame.index.set_levels(np.arange(len(hours)), level=-1))


def split_panel(frame, early=True):
    hours = frame.index.levels[-1]
    seen = frame.index.get_level_values(-1) < hours[SEEN]
    return frame[seen] if early else frame[~seen]


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")
@pytest.mark.parametrize("levels", [("region",), ("country", "region")], ids=["panel", "hierarchy"])
@pytest.mark.parametrize("fh", [[1], [1, 2, 5]], ids=["one step", "steps"])
def test_update_predict_of_panels_equals_the_loop_of_updates(levels, fh):
    y, X = map(with_integers, make_panel(levels))
    forecaster = tiny()
    forecaster.fit(split_panel(y), X=split_panel(X), fh=range(1, 6))
    cv = ExpandingWindowSplitter(fh=fh, initial_window=3, step_length=4)
    later = split_panel(y, early=False)
    expected = loop(forecaster, later, cv, X)
    found = forecaster.update_predict(later, cv, X=X, update_params=False)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5, check_freq=False)


# Backtests of a fitted forecaster.


def one_by_one(forecaster, y, X, cv, forecast, update_every=None):
    """Do what a backtest does by deep copies, updates and single forecasts."""
    follower, results, trained = copy.deepcopy(forecaster), [], None
    for number, (train, _) in enumerate(cv.split(y)):
        end = y.index[train[-1]]
        rows = y.index <= end
        # update(update_params=True) trains on the rows that it brings
        if update_every and number % update_every == 0 and number:
            follower.update(y[rows & (y.index > trained)], X=X, update_params=True)
            trained = end
        elif not update_every:
            follower.update(y[rows], X=X, update_params=False)
        if trained is None:
            trained = end
        current = copy.deepcopy(follower)
        if update_every:
            current.update(y[rows], X=X, update_params=False)
        results.append(forecast(current))
    return results


METHODS = {
    "predict": ({}, lambda f, X: f.predict(fh=FH, X=X)),
    "predict_quantiles": (
        {"alpha": [0.2, 0.5]},
        lambda f, X: f.predict_quantiles(fh=FH, X=X, alpha=[0.2, 0.5]),
    ),
    "predict_interval": (
        {"coverage": [0.5, 0.9]},
        lambda f, X: f.predict_interval(fh=FH, X=X, coverage=[0.5, 0.9]),
    ),
}
FH = [1, 2, 5]


@pytest.mark.parametrize("calibration", ["none", "adaptive"])
@pytest.mark.parametrize("method", METHODS)
def test_a_backtest_equals_updates_and_forecasts_one_by_one(method, calibration):
    y, X = make_data()
    y = y["a"]
    forecaster = fitted(y, X, calibration=calibration)
    cv = ExpandingWindowSplitter(fh=FH, initial_window=SEEN + 2, step_length=7)
    arguments, forecast = METHODS[method]
    table = forecaster.backtest(y, X, cv, method, return_data=True, **arguments)
    expected = one_by_one(forecaster, y, X, cv, lambda current: forecast(current, X))
    assert len(table) == len(expected) == cv.get_n_splits(y)
    for found, own in zip(table.iloc[:, -1], expected, strict=True):
        same = pd.testing.assert_series_equal if own.ndim == 1 else pd.testing.assert_frame_equal
        same(found, own, rtol=1e-5, atol=1e-5, check_freq=False)


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")  # at the end of X
@pytest.mark.parametrize("first", [SEEN + 2, SEEN - 13], ids=["new rows", "rows that fit saw"])
@pytest.mark.parametrize("fh", [[1, 9], [-1, 1]], ids=["beyond the horizon", "in-sample"])
def test_a_backtest_forecasts_any_step(fh, first):
    y, X = make_data()
    y = y["a"]
    forecaster = fitted(y, X)
    cv = ExpandingWindowSplitter(fh=fh, initial_window=first, step_length=9)
    table = forecaster.backtest(y, X, cv, return_data=True)
    expected = one_by_one(forecaster, y, X, cv, lambda current: current.predict(fh=fh, X=X))
    for found, own in zip(table["y_pred"], expected, strict=True):
        pd.testing.assert_series_equal(found, own, rtol=1e-5, check_freq=False)


def test_a_backtest_has_the_layout_and_the_scores_of_evaluate():
    y, X = make_data()
    y = y["a"].iloc[SEEN - 5 :]
    fh = [1, 2, 3]  # evaluate passes no X between the steps
    cv = ExpandingWindowSplitter(fh=fh, initial_window=10, step_length=9)
    metrics = [MeanAbsoluteError(), MeanAbsolutePercentageError()]
    forecaster = fitted(*make_data())
    forecaster = forecaster.clone().fit(y[:10], X=X.loc[y.index[:10]], fh=fh)
    expected = evaluate(
        forecaster, cv, y, X=X, strategy="no-update_params", scoring=metrics, return_data=True
    )
    found = forecaster.backtest(y, X, cv, scoring=metrics, return_data=True)
    assert list(found.columns) == list(expected.columns)
    for column in found.columns:
        if column.startswith("test_"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-5)
        elif column in ("cutoff", "len_train_window"):
            assert found[column].tolist() == expected[column].tolist()
        elif column in ("y_train", "y_test"):
            for ours, theirs in zip(found[column], expected[column], strict=True):
                pd.testing.assert_series_equal(ours, theirs)
    assert (found["pred_time"] > 0).all()
    assert not {"y_train", "y_test", "y_pred"} & set(forecaster.backtest(y, X, cv).columns)


def test_a_backtest_of_a_ragged_panel_forecasts_every_series():
    y, X = make_panel()
    forecaster = tiny()
    forecaster.fit(split_panel(y), X=split_panel(X), fh=range(1, 6))
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=SEEN, step_length=11)
    with pytest.warns(ForecastWarning, match="the last 23 rows of 'north' are in no window"):
        table = forecaster.backtest(y, X, cv, return_data=True)
    for cutoff, forecast in zip(table["cutoff"], table["y_pred"], strict=True):
        known = y[y.index.get_level_values(-1) <= cutoff]
        follower = copy.deepcopy(forecaster).update(known, X=X, update_params=False)
        expected = follower.predict(fh=[1, 2], X=X)
        pd.testing.assert_frame_equal(forecast, expected, rtol=1e-5)


def test_scheduled_training_equals_updates_at_these_cutoffs():
    y, X = make_data()
    y = y["a"]
    forecaster = fitted(y, X)
    cv = ExpandingWindowSplitter(fh=FH, initial_window=SEEN, step_length=5)
    steady = forecaster.backtest(y, X, cv, return_data=True)
    table = forecaster.backtest(y, X, cv, update_every=3, return_data=True)
    forecast = METHODS["predict"][1]
    expected = one_by_one(forecaster, y, X, cv, lambda current: forecast(current, X), 3)
    for found, own in zip(table["y_pred"], expected, strict=True):
        pd.testing.assert_series_equal(found, own, rtol=1e-5, check_freq=False)
    trained = np.arange(len(table)) % 3 == 0
    trained[0] = False
    assert ((table["fit_time"] > 0) == trained).all()
    differs = [  # beyond the rounding of passes of another size
        not np.allclose(ours, theirs, rtol=1e-5)
        for ours, theirs in zip(table["y_pred"], steady["y_pred"], strict=True)
    ]
    assert differs == (np.arange(len(table)) >= 3).tolist()


def test_a_backtest_leaves_the_forecaster_as_it_was():
    y, X = make_data()
    forecaster = fitted(y["a"], X, calibration="adaptive")
    before = forecaster.predict_quantiles(X=X), forecaster.cutoff
    cv = ExpandingWindowSplitter(fh=FH, initial_window=SEEN + 2, step_length=7)
    forecaster.backtest(y["a"], X, cv, "predict_interval", update_every=2)
    pd.testing.assert_frame_equal(forecaster.predict_quantiles(X=X), before[0])
    assert forecaster.cutoff.equals(before[1])


def test_rows_without_an_observation_are_not_scored():
    y, X = make_data()
    y = y["a"]
    y.iloc[SEEN + 2 :] = np.nan
    y.iloc[SEEN + 3] = 5.0
    forecaster = fitted(y, X)
    cv = SlidingWindowSplitter(fh=[1, 2], window_length=SEEN + 2, step_length=9)
    with pytest.warns(ForecastWarning, match="Got 3 of 4 windows without an observed row of y"):
        table = forecaster.backtest(y, X, cv, scoring=MeanAbsoluteError(), return_data=True)
    assert table["test_MeanAbsoluteError"].isna().tolist() == [False, True, True, True]
    error = abs(table["y_pred"][0].iloc[1] - 5.0)
    assert table["test_MeanAbsoluteError"][0] == pytest.approx(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "predict_var"}, "Got method='predict_var', expected 'predict'"),
        ({"update_every": 0}, "Got update_every=0, expected an integer of at least 1"),
        ({"method": "predict_quantiles", "alpha": 1.5}, "alpha"),
        ({"method": "predict_interval", "coverage": 1.5}, "coverage"),
    ],
)
def test_arguments_out_of_range_are_an_error(arguments, message):
    y, X = make_data()
    forecaster = fitted(y["a"], X)
    cv = ExpandingWindowSplitter(fh=FH, initial_window=SEEN + 2)
    with pytest.raises(ValueError, match=message):
        forecaster.backtest(y["a"], X, cv, **arguments)


@pytest.mark.parametrize("name", ["sales", None])
@pytest.mark.parametrize("fh", [[1], [1, 2]], ids=["one step", "two steps"])
def test_moving_the_forecaster_itself_answers_in_the_type_of_y(fh, name):
    y = make_data()[0]["a"].rename(name)
    cv = SlidingWindowSplitter(fh=fh, window_length=3)
    expected = fitted(y, None).update_predict(y[SEEN : SEEN + 8], cv, update_params=False)
    forecaster = fitted(y, None)
    found = forecaster.update_predict(
        y[SEEN : SEEN + 8], cv, update_params=False, reset_forecaster=False
    )
    assert type(found) is type(expected)
    pd.testing.assert_frame_equal(*map(pd.DataFrame, (found, expected)), rtol=1e-5)
    if len(fh) == 1:
        assert found.name == name
    assert forecaster.predict(fh=[1]).name == name
    assert forecaster.cutoff[0] == y.index[SEEN + 7 - len(fh)]


class Splitter:
    """What a backtest asks of a splitter: its fh, and the rows of every window."""

    def __init__(self, fh, windows):
        self.fh, self.windows = fh, windows

    def get_fh(self):
        return None if self.fh is None else ForecastingHorizon(self.fh)

    def split(self, y):
        return iter(self.windows)


@pytest.mark.parametrize("fh", [None, pd.DatetimeIndex(["2024-02-06"], freq="h"), [1]])
def test_a_splitter_without_windows_or_a_relative_fh_is_an_error(fh):
    y, X = make_data()
    windows = [] if fh == [1] else [(np.arange(SEEN), np.array([SEEN]))]
    with pytest.raises(
        ValueError, match="expected at least one window, rows in each, and a relative fh"
    ):
        fitted(y["a"], X).backtest(y["a"], X, Splitter(fh, windows))


# What reviews found.


def test_a_new_series_is_scaled_by_the_rows_known_when_it_appears():
    y, X = map(with_integers, make_panel())
    later = y.index.get_level_values(-1) >= SEEN + 12
    y.loc[later & (y.index.get_level_values(0) == "west"), "a"] *= 1000
    forecaster = tiny()
    early = [split_panel(frame).drop("west") for frame in (y, X)]
    forecaster.fit(early[0], X=early[1], fh=[1, 2])
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=SEEN + 2, step_length=9)
    with pytest.warns(ForecastWarning, match="the last 14 rows of 'north' are in no window"):
        table = forecaster.backtest(y, X, cv, return_data=True)
    follower = copy.deepcopy(forecaster)
    for train, forecast in zip(table["y_train"], table["y_pred"], strict=True):
        follower.update(train, X=X, update_params=False)
        pd.testing.assert_frame_equal(forecast, follower.predict(fh=[1, 2], X=X), rtol=1e-5)
    later = y[y.index.get_level_values(-1) >= SEEN]
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=3, step_length=9)
    expected = loop(forecaster, later, cv, X)
    found = forecaster.update_predict(later, cv, X=X, update_params=False)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5, check_freq=False)


@pytest.mark.parametrize("use", ["update_predict", "backtest", "failed update", "failed training"])
def test_the_room_behind_the_series_is_given_back(use, monkeypatch):
    def fail(*data):
        raise RuntimeError("in training")

    y, X = make_data()
    y = y["a"]
    forecaster = fitted(y, X).update(y[SEEN : SEEN + 1], X=X[SEEN : SEEN + 1], update_params=False)
    store, rest = forecaster._fitted.history.store, slice(SEEN + 1, SEEN + 12)
    cv = ExpandingWindowSplitter(fh=FH, initial_window=3, step_length=2)
    if use == "update_predict":
        forecaster.update_predict(y[rest], cv, X=X[rest], update_params=False)
    elif use == "backtest":
        forecaster.backtest(y[rest], X[rest], cv)
    elif use == "failed update":
        with pytest.raises(ValueError, match="infinite"):
            forecaster.update(y[rest] * np.inf, X=X[rest], update_params=False)
    else:
        monkeypatch.setattr("sktime_tlstm.forecaster.update_model", fail)
        with pytest.raises(RuntimeError, match="in training"):
            forecaster.update(y[rest], X=X[rest], update_params=True)
    forecaster.update(y[rest], X=X[rest], update_params=False)
    assert forecaster._fitted.history.store.values is store.values


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")
def test_windows_after_a_gap_are_scored_where_their_rows_agree():
    y, X = make_data()
    y, X = y["a"].drop(y.index[SEEN + 4]), X
    forecaster = fitted(y, X)
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=SEEN + 2, step_length=1)
    table = forecaster.backtest(y, X, cv, scoring=MeanAbsoluteError(), return_data=True)
    assert table["test_MeanAbsoluteError"].notna().all()
    second = table.iloc[1]  # its second step is the row that y lacks
    error = abs(second["y_pred"].iloc[0] - second["y_test"].iloc[0])
    assert second["test_MeanAbsoluteError"] == pytest.approx(error)


@pytest.mark.filterwarnings("ignore:empty y passed:UserWarning")  # sktime's own
def test_empty_first_windows_go_the_way_of_sktime_or_are_refused():
    y, X = make_data()
    y = y["a"]
    forecaster = fitted(y, X)
    cv = SlidingWindowSplitter(fh=[1, 2], window_length=3, step_length=9, start_with_window=False)
    found = forecaster.update_predict(y[SEEN:], cv, X=X, update_params=False)
    pd.testing.assert_frame_equal(found, loop(forecaster, y[SEEN:], cv, X), rtol=1e-5)
    with pytest.raises(ValueError, match="rows in each"):
        forecaster.backtest(y, X, cv)


def test_cutoffs_are_named_by_time_however_the_levels_are_sorted():
    y, X = map(with_integers, make_panel())
    forecaster = tiny()
    forecaster.fit(split_panel(y), X=split_panel(X), fh=[1, 2])
    later = y[y.index.get_level_values(-1) >= SEEN]
    codes = later.index.codes
    levels = [later.index.levels[0], later.index.levels[1][::-1]]
    codes = [codes[0], len(levels[1]) - 1 - codes[1]]
    reversed_levels = later.set_axis(pd.MultiIndex(levels, codes, names=later.index.names))
    pd.testing.assert_frame_equal(reversed_levels, later)
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=3, step_length=9)
    expected = forecaster.update_predict(later, cv, X=X, update_params=False)
    found = forecaster.update_predict(reversed_levels, cv, X=X, update_params=False)
    pd.testing.assert_frame_equal(found, expected)


def test_unobserved_rows_are_not_scored_whatever_the_metric():
    y, X = make_data()
    y = y[["a", "b"]].copy()
    forecaster = fitted(y, X)
    y.iloc[SEEN + 3, 0] = np.nan  # one of two targets
    y.iloc[SEEN + 4] = np.nan
    cv = ExpandingWindowSplitter(fh=[1, 2, 3], initial_window=SEEN + 2, step_length=40)
    table = forecaster.backtest(y, X, cv, "predict_interval", coverage=0.8, return_data=True)
    row = table.iloc[0]
    only = row["y_pred_interval"].iloc[:1], y.iloc[SEEN + 2 : SEEN + 3]
    assert row["test_PinballLoss"] == pytest.approx(PinballLoss()(only[1], only[0]))
    y.iloc[SEEN + 2] = np.nan
    with pytest.warns(ForecastWarning, match="Got 1 of 1 windows without an observed row of y"):
        table = forecaster.backtest(y, X, cv, "predict_interval", coverage=0.8)
    assert np.isnan(table["test_PinballLoss"].iloc[0])


@pytest.mark.parametrize("method", ["predict", "predict_interval"])
@pytest.mark.parametrize("columns", ["a", ["a", "b"]], ids=["one", "two"])
def test_a_window_without_a_test_row_has_no_score(method, columns):
    y, X = make_data()
    forecaster = fitted(y[columns], X)
    known, behind = np.arange(SEEN + 4), np.array([SEEN + 4])
    splitter = Splitter([1], [(known, behind), (known, behind[:0])])
    with pytest.warns(ForecastWarning, match="Got 1 of 2 windows .* cutoff 2024-02-05 16:00:00"):
        table = forecaster.backtest(y[columns], X, splitter, method)
    assert table.iloc[:, 0].isna().tolist() == [False, True]


def test_a_history_takes_back_only_the_room_of_its_latest():
    y, X = make_data()
    y = y["a"]
    forecaster = fitted(y, X).update(y[SEEN : SEEN + 1], X=X[SEEN : SEEN + 1], update_params=False)
    first = forecaster._fitted
    second = first.updated(y[SEEN + 1 : SEEN + 3].to_frame(), X[SEEN + 1 : SEEN + 3], False, None)
    third = second.updated(y[SEEN + 3 : SEEN + 5].to_frame(), X[SEEN + 3 : SEEN + 5], False, None)
    assert third.history.store.values is first.history.store.values
    first.history.give_back(second.history)  # the third still lies behind it
    again = first.updated(
        y[SEEN + 1 : SEEN + 3].to_frame() * 3, X[SEEN + 1 : SEEN + 3], False, None
    )
    assert again.history.store.values is not first.history.store.values
    foreign = fitted(y, X)._fitted.history
    first.history.give_back(foreign)
    assert first.history.room.latest is third.history.mark
    second.history.give_back(third.history)
    assert first.history.room.latest is second.history.mark


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cv": None}, "Got cv=None, expected a splitter"),
        ({"cv": 3}, "Got cv=3, expected a splitter"),
        ({"cv": ExpandingWindowSplitter}, "expected a splitter"),
        ({"y": None}, "Got y of type NoneType, expected data that sktime knows"),
        ({"y": [1.0, 2.0]}, "Got y of type list"),
        ({"X": {"a": 1}}, "Got X of type dict"),
        ({"scoring": PinballLoss()}, r"scoring=PinballLoss\(\) with method='predict'"),
        (
            {"scoring": MeanAbsoluteError},
            r"expected a metric object.*MeanAbsoluteError\(\)",
        ),
        (
            {"scoring": [MeanAbsoluteError()], "method": "predict_quantiles"},
            "kind 'pred', expected one of",
        ),
    ],
)
def test_arguments_of_a_wrong_kind_are_named(arguments, words):
    y, X = make_data()
    forecaster = fitted(y["a"], X)
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=SEEN, step_length=7)
    with pytest.raises(TypeError, match=words):
        forecaster.backtest(**{"y": y["a"], "X": X, "cv": cv, **arguments})


@pytest.mark.parametrize("call", ["fit", "update", "backtest", "update_predict"])
def test_one_x_for_a_whole_panel_is_refused_with_the_way_to_repeat_it(call):
    y, X = make_panel()
    one = X.loc[X.index[0][0]]
    forecaster = tiny()
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=5)
    if call != "fit":
        forecaster.fit(split_panel(y), X=split_panel(X), fh=[1, 2])
    more = {"fit": {"fh": [1, 2]}, "update": {}}.get(call, {"cv": cv})
    with pytest.raises(TypeError, match=r"Got X with 0 index levels.*expected 1.*pd\.concat"):
        getattr(forecaster, call)(y=y, X=one, **more)


def test_room_that_was_given_back_holds_no_trace_of_the_rows_that_used_it():
    y, X = make_data()
    y = y["a"]
    forecaster = fitted(y, X).update(y[SEEN : SEEN + 1], X=X[SEEN : SEEN + 1], update_params=False)
    first, rows = forecaster._fitted, slice(SEEN + 1, SEEN + 4)
    used = first.updated(y[rows].to_frame(), X[rows], False, None)
    first.history.give_back(used.history)
    y_none, X_none = (part[rows].mask(part[rows].notna()) for part in (y.to_frame(), X))
    with pytest.warns(UserWarning, match="X without any value"):
        missing = first.updated(y_none, X_none, False, None)
    store = missing.history.store
    assert store.values is first.history.store.values  # the same room
    assert not store.observed[SEEN + 1 : SEEN + 4].any()
    assert (store.values[SEEN + 1 : SEEN + 4, 0] == 0).all()


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")  # at the end of X
def test_adaptive_intervals_beyond_the_horizon_follow_the_errors_up_to_each_cutoff():
    y, X = make_data()
    y, fh = y["a"], [2, 6]
    forecaster = fitted(y, X, calibration="adaptive")
    cv = ExpandingWindowSplitter(fh=fh, initial_window=SEEN + 3, step_length=9)
    table = forecaster.backtest(y, X, cv, "predict_interval", coverage=0.6, return_data=True)
    expected = one_by_one(
        forecaster, y, X, cv, lambda current: current.predict_interval(fh=fh, X=X, coverage=0.6)
    )
    assert len(table) == len(expected) > 2
    for found, own in zip(table["y_pred_interval"], expected, strict=True):
        pd.testing.assert_frame_equal(found, own, rtol=1e-5, check_freq=False)


def test_a_cutoff_is_the_latest_time_of_a_window_whichever_series_comes_last():
    days = pd.date_range("2022-05-01", periods=4)
    index = pd.MultiIndex.from_arrays([list("ppppqq"), [*days, *days[:2]]])
    windows = [np.array([0, 1, 4]), np.array([0, 1, 2, 4, 5]), np.array([4, 5])]
    found = _latest_times(index, windows)
    assert found.tolist() == [days[1], days[2], days[1]]
