"""Warnings: one class of our own, which names the caller's line."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sktime.transformations.series.exponent import ExponentTransformer

from sktime_tlstm import ForecastWarning, TransformerLSTMForecaster
from tests.setups import tiny


def series(rows=60, size=1.0, start="2024-01-01"):
    index = pd.date_range(start, periods=rows, freq="D")
    return pd.Series(size * (50 + np.random.default_rng(0).normal(size=rows)), index, name="y")


def behind(y, values):
    index = pd.date_range(y.index[-1] + y.index.freq, periods=len(values), freq=y.index.freq)
    return pd.Series(values, index, name=y.name)


@pytest.mark.parametrize(
    ("parameters", "rows", "message"),
    [
        ({"context_length": 61}, 60, "Got context_length=61 and a longest series of 60 rows"),
        ({"validation_fraction": 0.2}, 6, "Got validation_fraction=0.2 and a longest series of 6"),
        ({"patience": 7, "calibration": "none"}, 60, "Got patience=7 without validation"),
    ],
)
def test_settings_that_do_nothing_are_warned_of(parameters, rows, message):
    with pytest.warns(ForecastWarning, match=message) as caught:
        tiny(**parameters).fit(series(rows), fh=[1, 2, 3])
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]


@pytest.mark.parametrize(
    ("parameters", "rows"),
    [
        ({"context_length": 60}, 60),
        ({"validation_fraction": 0.2, "patience": 7}, 60),
        ({"patience": None, "calibration": "none"}, 60),
        ({"patience": 7}, 60),  # the default calibration holds rows out
        ({}, 2),
    ],
)
def test_settings_that_act_are_not(parameters, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(**parameters).fit(series(rows), fh=[1])


@pytest.mark.parametrize("scaler", ["auto", "standard", None])
@pytest.mark.parametrize("factor", [1000, -1000])
def test_an_update_beyond_belief_is_warned_of_and_taken(scaler, factor):
    y = series()
    forecaster = tiny(scaler=scaler).fit(y, fh=[1])
    new = behind(y, [51.0, 50.0 * factor, 52.0])
    with pytest.warns(ForecastWarning, match=r"Got y with .* in an update, [\d,]+ times as far"):
        forecaster.update(new, update_params=False)
    assert forecaster.cutoff[0] == new.index[-1]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("kind", ["grown", "shifted", "steady", "missing"])
def test_an_update_within_reason_is_not(size, kind):
    y = series(size=size)
    new = behind(y, y.to_numpy()[:10])
    new = {"grown": 2 * new, "shifted": new + 0.3 * new, "steady": new, "missing": new * np.nan}[
        kind
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny().fit(y, fh=[1]).update(new, update_params=False)


def test_rare_sales_that_come_are_within_reason():
    """Most days are zero: the spread of the usual says nothing of the days that are not."""
    y = series()
    y[:] = np.where(np.arange(60) % 9 == 0, 40.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny().fit(y, fh=[1]).update(behind(y, [0.0, 60.0, 0.0]), update_params=False)


def test_the_series_of_a_panel_is_named():
    ys = pd.concat({"a": series(), "b": series(size=1000)}, names=["key"]).to_frame()
    forecaster = tiny().fit(ys, fh=[1])
    new = behind(series(), [50_000.0]).to_frame()
    both = pd.concat({"a": new, "b": new}, names=["key"])
    with pytest.warns(ForecastWarning, match="of series 'a'|'a'") as caught:
        forecaster.update(both, update_params=False)
    assert len(caught) == 1  # for b it is the usual


def test_a_column_of_unknown_values_in_past_and_future_is_warned_of_once():
    y = series()
    X = pd.DataFrame({"sky": ["clear", "rain", "snow"] * 20}, y.index)
    forecaster = tiny(context_length=6).fit(y[:40], X[:40], fh=[1, 2])
    with pytest.warns(ForecastWarning, match="column 'sky', no value of which is known") as caught:
        forecaster.predict(X=X[30:46].assign(sky="hail"), y=y[30:44])
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]


def test_warnings_about_another_past_come_with_errors_too():
    y = series()
    X = pd.DataFrame({"sky": ["clear", "rain", "snow"] * 20}, y.index)
    forecaster = tiny(context_length=6).fit(y[:40], X[:40], fh=[1, 2])
    with (
        pytest.warns(ForecastWarning, match="'sky', no value of which is known"),
        pytest.raises(ValueError, match="which is to be forecast"),
    ):
        forecaster.predict(X=X[30:45].assign(sky="hail"), y=y[30:44])


def test_warnings_name_the_callers_line_through_pipelines():
    pipeline = ExponentTransformer(1) * TransformerLSTMForecaster(
        context_length=99, **{"max_epochs": 1, "d_model": 4, "num_heads": 2}
    )
    with pytest.warns(ForecastWarning) as caught:
        pipeline.fit(series(), fh=[1])
    ours = [one for one in caught if one.category is ForecastWarning]
    assert [Path(one.filename).name for one in ours] == [Path(__file__).name]
