"""Targets that are never below zero and often there: forecasts stay where values are."""

import numpy as np
import pandas as pd
import pytest
import torch

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


def gaps(*series, scaler="robust", columns=("power",)):
    """Return the encoder and the history of series, each (row,), and their gaps."""
    y = pd.concat({k: one.to_frame(columns[0]) for k, one in enumerate(series)})
    encoder = FrameEncoder("real", scaler, scaler, (), (), ()).fit(y, None)
    history = encoder.encode(y, None, HORIZON)
    return encoder, history, history.store.traits.gap.numpy()[:, 0]


@pytest.mark.parametrize("scaler", [None, "standard", "robust", "robust_arcsinh", "mean"])
def test_a_gap_is_the_smallest_value_above_zero(scaler):
    y, loud = sun(), sun(scale=50.0, seed=1)
    _, _, found = gaps(y, loud, scaler=scaler)
    np.testing.assert_allclose(found, [y[y > 0].min(), loud[loud > 0].min()], rtol=1e-4)


def test_one_value_below_zero_or_few_zeros_are_no_bound():
    y, cold = sun(), sun(seed=1)
    cold.iloc[100] = -0.5
    assert not gaps(y, cold)[2].any()
    above = y + 1.0
    above.iloc[[3, 90]] = 0.0
    assert not gaps(above)[2].any()
    assert not gaps(y * 0)[2].any()  # nothing above it
    y.iloc[:200] = np.nan
    assert gaps(y)[2].all()  # of those that are seen


def test_a_series_without_a_value_has_the_gap_of_the_others():
    nothing, y = sun() * np.nan, sun()
    found = gaps(y, nothing)[2]
    assert found[1] == found[0] > 0


def test_new_rows_and_series_move_the_gap():
    encoder, history, before = gaps(sun(), sun(seed=1))
    times = pd.date_range(sun().index[-1], periods=3, freq="h")[1:]

    def after(values, key):
        y = pd.DataFrame({"power": values}, pd.MultiIndex.from_product([[key], times]))
        merged, _ = encoder.extend(history, history.lengths, y, None, HORIZON)
        return merged.store.traits.gap.numpy()[:, 0]

    np.testing.assert_allclose(after([0.0, 2.5], 1), [before[0], 2.5], rtol=1e-6)
    np.testing.assert_array_equal(after([9e3, -1e-3], 1), [before[0], 0.0])
    np.testing.assert_array_equal(after([9e3, -1.0], 7), [*before, 0.0])
    np.testing.assert_allclose(after([0.0, 1.5], 7), [*before, 1.5], rtol=1e-6)
    np.testing.assert_array_equal(history.store.traits.gap.numpy()[:, 0], before)


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


def test_a_value_below_zero_lifts_the_bound_and_a_failed_update_does_not():
    y = sun()
    forecaster = tiny(context_length=24).fit(y[:230], fh=FH)
    kept = forecaster.predict_interval(coverage=0.99)
    broken = y[230:].copy()
    broken.iloc[1], broken.iloc[3] = -50.0, np.inf
    with pytest.raises(ValueError, match="inf"):
        forecaster.update(broken, update_params=False)
    pd.testing.assert_frame_equal(forecaster.predict_interval(coverage=0.99), kept)
    assert (kept >= 0).all().all()
    broken.iloc[3] = 0.0
    forecaster.update(broken, update_params=False)
    assert (forecaster.predict_interval(coverage=0.99).iloc[:, 0] < 0).any()


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
