"""Targets that are never below zero and often there: forecasts stay where values are."""

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.data.encoder import FrameEncoder
from tests.setups import tiny

HORIZON = 6
FH = range(1, HORIZON + 1)


def sun(rows=240, seed=0, scale=1.0):
    """Return an output that nights stop: nothing, or at least 40 W."""
    rng = np.random.default_rng(seed)
    day = np.maximum(np.sin(np.arange(rows) / 12 * np.pi), 0) > 0.1
    values = np.where(day, 40 + 200 * rng.random(rows), 0.0) * scale
    return pd.Series(values, pd.date_range("2023-04-01", periods=rows, freq="h"), name="power")


def gaps(*series, scaler="robust"):
    """Return the encoder and the history of series, each (row,), and their gaps."""
    y = pd.concat({k: one.to_frame("power") for k, one in enumerate(series)})
    encoder = FrameEncoder("real", scaler, scaler, (), (), ()).fit(y, None)
    history = encoder.encode(y, None, HORIZON)
    return encoder, history, history.store.traits.gap.numpy()[:, 0]


@pytest.mark.parametrize("scaler", [None, "standard", "robust", "robust_arcsinh", "mean"])
@pytest.mark.parametrize("level", [0.0, 1e5])
def test_a_gap_is_the_smallest_value_above_zero(scaler, level):
    y, loud = sun(), sun(scale=50.0, seed=1)
    y[y > 0] += level
    _, _, found = gaps(y, loud, scaler=scaler)
    np.testing.assert_allclose(found, [y[y > 0].min(), loud[loud > 0].min()], rtol=1e-6)


def test_a_value_below_zero_or_few_zeros_are_no_bound():
    cold = sun(seed=1)
    cold.iloc[100] = -0.5
    assert not gaps(cold)[2].any()
    above = sun() + 1.0
    above.iloc[[3, 90]] = 0.0
    assert not gaps(above)[2].any()
    seen = sun()
    seen.iloc[:200] = np.nan
    assert gaps(seen)[2].all()


def test_rounding_errors_are_zeros():
    dust = sun()
    dust.iloc[0], dust.iloc[24] = -1e-12, 1e-12
    assert gaps(dust)[2][0] >= 40


def test_one_series_of_many_may_be_below_zero_and_has_no_bound_then():
    every = [sun(seed=seed) for seed in range(12)]
    every[4] = every[4] - 20
    found = gaps(*every)[2]
    assert found[4] == 0
    assert (np.delete(found, 4) >= 40).all()
    assert not gaps(*every[3:6])[2].any()  # a third of them


def test_zeros_alone_are_bounded_by_zero():
    np.testing.assert_array_equal(gaps(sun(), sun() * np.nan, sun() * 0)[2][1:], np.inf)


def test_series_that_come_later_stop_at_zero_and_nothing_else_moves():
    encoder, history, before = gaps(sun(), sun(seed=1))
    times = pd.date_range(sun().index[-1], periods=3, freq="h")[1:]
    for key, values in [(1, [0.0, 2.5]), (1, [9.0, -3.0]), (7, [9e3, 0.0])]:
        y = pd.DataFrame({"power": values}, pd.MultiIndex.from_product([[key], times]))
        merged, _ = encoder.extend(history, history.lengths, y, None, HORIZON)
        found = merged.store.traits.gap.numpy()[:, 0]
        np.testing.assert_array_equal(found, [*before, np.inf] if key == 7 else before)


# In a forecaster.


@pytest.fixture(scope="module")
def fitted():
    return tiny(context_length=24).fit(sun(), fh=FH)


def test_forecasts_are_zero_or_where_values_are(fitted):
    fh = range(1, 31)  # beyond the horizon, too
    point = fitted.predict(fh)
    assert (point >= 0).all()
    levels = fitted.predict_quantiles(fh, alpha=[0.05, 0.25, 0.5, 0.75, 0.95]).to_numpy()
    assert ((levels == 0) | (levels > 20)).all()  # half of the smallest value
    assert (levels == 0).any()
    bounds = fitted.predict_interval(fh, coverage=0.5)
    assert (bounds.iloc[:, 0] >= 0).all()
    paths = fitted.predict_samples(fh, num_samples=30).to_numpy()
    assert ((paths == 0) | (paths > 20)).all()
    assert (fitted.predict(range(-40, 1)) >= 0).all()


def test_a_value_below_zero_is_warned_of_where_there_was_none():
    y = sun()
    forecaster = tiny(context_length=24).fit(y[:230], fh=FH)
    later = y[230:].copy()
    later.iloc[3] = -50.0
    cv = ExpandingWindowSplitter(fh=[*FH], initial_window=230, step_length=4)
    told = {"method": "predict_interval", "coverage": 0.99, "return_data": True}
    with pytest.warns(UserWarning, match="-50 for 'power' in a backtest, where training has many"):
        table = forecaster.backtest(pd.concat([y[:230], later]), None, cv, **told)
    with pytest.warns(UserWarning, match="-50 for 'power' in an update, where training has many"):
        forecaster.update(later[:4], update_params=False)
    bounds = forecaster.predict_interval(coverage=0.99)
    assert (bounds >= 0).all().all()
    pd.testing.assert_frame_equal(table["y_pred_interval"].iloc[1], bounds)


def test_a_past_is_bounded_as_training_was():
    rng = np.random.default_rng(0)
    forecaster = tiny(context_length=24).fit(sun(), fh=FH)
    quiet = pd.Series(0.0, sun().index[:30])
    assert (forecaster.predict_interval(FH, y=quiet, coverage=0.99) >= 0).all().all()
    free = tiny(context_length=24).fit(pd.Series(rng.normal(size=200), sun(200).index), fh=FH)
    low = free.predict_interval(FH, y=quiet + rng.integers(0, 2, 30), coverage=0.99)
    assert (low.iloc[:, 0] < 0).any()


def test_distributions_are_no_others_than_quantiles():
    forecaster = tiny(context_length=24, loss="student_t", calibration="none").fit(sun(), fh=FH)
    found = forecaster.predict_proba().quantile([0.05])
    assert (found >= 0).all().all()


def test_contributions_sum_to_forecasts_that_are_raised_to_zero(fitted):
    told, point = fitted.explain(fh=FH), fitted.predict(FH)
    np.testing.assert_allclose(told.sum(axis=1), point, atol=1e-3)


def test_files_keep_the_bound(fitted):
    saved = fitted.save(serialization_format="safetensors")[1]
    loaded = TransformerLSTMForecaster.load_from_serial(saved)
    pd.testing.assert_frame_equal(loaded.predict_interval(FH), fitted.predict_interval(FH))


def test_a_fit_after_pretraining_learns_it_of_its_own_rows():
    panel = pd.concat({key: sun(seed=key) for key in range(3)}, names=["plant"]).to_frame()
    forecaster = tiny(context_length=24, finetune_epochs=0).pretrain(panel, fh=FH)
    below = sun(seed=9) - 100.0
    wide = forecaster.fit(below).predict_interval(FH, coverage=0.99)
    assert (wide < 0).any().any()
    again = forecaster.fit(sun(seed=9)).predict_interval(FH, coverage=0.99)
    assert (again >= 0).all().all()


def test_targets_are_bounded_each_by_itself_and_in_any_order():
    y = pd.DataFrame({"power": sun(), "warmth": sun(seed=3) - 30.0})
    forecaster = tiny(context_length=24).fit(y, fh=FH)
    gap = forecaster._fitted.history.store.traits.gap[0]
    assert torch.equal(gap > 0, torch.tensor([True, False]))
    backwards = y[["warmth", "power"]]
    forecaster.update(backwards[-5:], update_params=False)
    levels = forecaster.predict_quantiles(FH, alpha=[0.01])
    assert (levels["power"] >= 0).all().all()
    assert (levels["warmth"] < 0).any().any()
