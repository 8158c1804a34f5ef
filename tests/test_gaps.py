"""Gaps in y: what is known of seasons before, and what a network has not seen in training."""

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm import model as models
from tests.setups import tiny

SEASON, FH = 7, range(1, 8)


def weekly(rows, seed=0):
    index = pd.date_range("2022-04-04", periods=rows, freq="D")
    week = 6 * np.sin(np.arange(rows) * 2 * np.pi / SEASON)
    noise = np.random.default_rng(seed).normal(size=rows)
    return pd.Series(40 + week + 0.5 * noise, index, name="load")


@pytest.fixture(scope="module")
def fitted():
    return tiny(max_epochs=3).fit(weekly(300), fh=FH)


@pytest.mark.parametrize("gap", [30, 90])
def test_behind_a_long_gap_a_forecast_knows_the_season_before_it(fitted, gap):
    y = weekly(300 + gap + 12, seed=3)
    past = y[: 300 + gap + 5].copy()
    past.iloc[300 : 300 + gap] = np.nan
    truth = y[-7:]
    point, band = fitted.predict(y=past), fitted.predict_interval(coverage=0.9, y=past)
    assert (point - truth).abs().mean() < 1.5  # the week's deviation is 4.2
    inside = (band.iloc[:, 0] <= truth) & (truth <= band.iloc[:, 1])
    assert inside.mean() > 0.5
    assert (band.iloc[:, 1] - band.iloc[:, 0]).mean() < 5  # right: 1.6


def test_a_gap_makes_no_errors_forgotten(fitted):
    more = pd.Series(np.nan, pd.date_range("2023-01-29", periods=400, freq="D"), name="load")
    twin = tiny(max_epochs=3, calibration="adaptive").fit(weekly(300), fh=FH)
    before = twin._fitted.model.calibration
    twin.update(more, update_params=False)
    after = twin._fitted.model.calibration
    assert len(after.scores) <= len(before.scores) + 1  # of rows that were seen before
    np.testing.assert_array_equal(after.scores[: len(before.scores)], before.scores)


def test_what_is_kept_in_a_file_and_a_backtest_forecast_alike_behind_a_gap(fitted):
    y = weekly(360, seed=5)
    y.iloc[300:335] = np.nan
    y.iloc[340:342] = np.nan
    twin = TransformerLSTMForecaster.load_from_serial(
        fitted.save(serialization_format="safetensors")[1]
    )
    cv = ExpandingWindowSplitter(fh=FH, initial_window=336, step_length=4)
    rows = fitted.backtest(y, None, cv, return_data=True)
    for point in rows["y_pred"]:
        past = y[: point.index[0] - pd.Timedelta(days=1)]
        # a past has its own scale, which regressions are not quite indifferent to
        pd.testing.assert_series_equal(fitted.predict(FH, y=past), point, rtol=2e-3)
    twin.update(y[300:345], update_params=False)
    saved = twin.save(serialization_format="safetensors")[1]
    loaded = TransformerLSTMForecaster.load_from_serial(saved)
    pd.testing.assert_series_equal(loaded.predict(), twin.predict(), rtol=1e-6)


def test_a_network_is_trusted_by_the_share_of_its_context_that_is_observed(fitted):
    model, history = fitted._fitted.model, fitted._fitted.history
    assert model.calibration.share.tolist() == [1.0]
    context = model.spec.context_length
    y = weekly(300)
    y.iloc[-context:-2] = np.nan
    windows = fitted._fitted.with_past(y.to_frame(), None).history.store
    places = torch.tensor([0]), torch.tensor([300])
    known = model.calibration.familiarity(windows, model.spec, *places)
    np.testing.assert_allclose(known, 2 / context)
    assert model.calibration.familiarity(history.store, model.spec, *places) is None


def test_some_of_many_windows_may_have_gaps(fitted, monkeypatch):
    y = weekly(345, seed=6)
    y.iloc[310:330] = np.nan
    cv = ExpandingWindowSplitter(fh=FH, initial_window=300, step_length=35)
    whole = fitted.backtest(y, None, cv, return_data=True)["y_pred"]
    monkeypatch.setitem(models.WINDOWS_PER_PASS, "cpu", 1)
    for one, other in zip(
        fitted.backtest(y, None, cv, return_data=True)["y_pred"], whole, strict=True
    ):
        pd.testing.assert_series_equal(one, other, rtol=1e-6)


def test_gaps_as_in_training_are_familiar():
    y = weekly(300)
    y[np.random.default_rng(1).random(300) < 0.4] = np.nan
    forecaster = tiny().fit(y, fh=FH)
    calibration = forecaster._fitted.model.calibration
    assert 0.1 <= float(calibration.share) < 0.6
    network = tiny(calibration="none", loss="mae").fit(y, fh=FH)._fitted.model.calibration
    assert network.share is None  # its point is the network's whatever it knows
