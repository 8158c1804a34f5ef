"""Many cutoffs in few forward passes equal the loop of updates, one by one."""

import numpy as np
import pandas as pd
import pytest
from sktime.forecasting.base import BaseForecaster
from sktime.split import ExpandingWindowSplitter, SlidingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster, backtesting

ROWS, SEEN = 97, 61


def make_data(freq="h"):
    rng = np.random.default_rng(0)
    index = pd.date_range("2024-02-03", periods=ROWS, freq=freq, name="when")
    X = pd.DataFrame({"heat": rng.normal(size=ROWS), "late": rng.normal(size=ROWS)}, index)
    X["sky"] = rng.choice(["clear", "rain"], ROWS)
    y = pd.DataFrame({"a": 3 + X["heat"] + rng.normal(size=ROWS)}, index)
    y["b"] = np.where(rng.random(ROWS) < 0.1, np.nan, y["a"] ** 2)
    return y, X


def fitted(y, X, **parameters):
    tiny = {"d_model": 4, "num_heads": 2, "max_epochs": 1, "max_windows_per_epoch": 16}
    forecaster = TransformerLSTMForecaster(**tiny, random_state=0, **parameters)
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
    forecast = backtesting.forecast_cutoffs
    monkeypatch.setattr(
        backtesting, "forecast_cutoffs", lambda *data: passes.append(1) or forecast(*data)
    )
    found = forecaster.update_predict(y[SEEN:], SPLITTERS[name], X=X, update_params=False)
    assert passes == [1]
    same = pd.testing.assert_frame_equal
    if isinstance(expected, pd.Series):
        same = pd.testing.assert_series_equal
    same(found, expected, rtol=1e-5, check_freq=False)


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
    monkeypatch.setattr(backtesting, "forecast_cutoffs", None)
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
