"""Calibration: corrections by hand, and what fit and update make of them."""

import copy
import functools

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import fitting
from sktime_tlstm.calibration import MIN_ERRORS, Calibration, quantiles
from sktime_tlstm.fitting import CALIBRATION_WINDOWS
from tests import setups

LEVELS = np.array(Calibration.levels)
HORIZON = 3


def calibration(errors, capacity=1000):
    """Return a calibration by errors (window, horizon, target), the same at all levels."""
    errors = np.asarray(errors, dtype=np.float32)
    return Calibration(np.repeat(errors[..., None], len(LEVELS), axis=-1), capacity)


def at(found, level):
    return found.corrections[..., np.argmin(np.abs(LEVELS - level))].numpy()


tiny = functools.partial(setups.tiny, num_samples=16, context_length=7)


def series(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    index = pd.date_range("2024-01-01", periods=rows, freq="h")
    values = 50 + 10 * np.sin(np.arange(rows) / 12 * np.pi) + rng.normal(size=rows)
    return pd.Series(values, index, name="y")


def errors_of(forecaster):
    return forecaster._fitted.model.calibration.errors


# The corrections.


def test_corrections_are_ranks_of_the_errors_worked_by_hand():
    errors = np.arange(1.0, 40.0)  # 39 errors: the level p is the 40 p-th smallest
    found = calibration(np.random.default_rng(0).permutation(errors)[:, None, None])
    for level, expected in [(0.05, 2), (0.25, 10), (0.5, 20), (0.75, 30), (0.95, 38), (0.975, 39)]:
        assert at(found, level).item() == pytest.approx(expected, rel=1e-6)
    assert at(found, 0.01).item() == 1  # the outermost, where there are too few


def test_between_two_ranks_corrections_are_interpolated():
    found = calibration(np.array([3.0] * 10 + [7.0] * 10 + [8.0] * 4)[:, None, None])
    # 25 * 0.4 = 10: the last of the threes; 25 * 0.45 = 11.25 a seven; 25 * 0.8 = 20
    assert at(found, 0.4).item() == pytest.approx(3.0)
    assert at(found, 0.45).item() == pytest.approx(7.0)
    assert at(found, 0.8).item() == pytest.approx(7.0)
    # 25 * 0.85 = 21.25
    assert at(found, 0.85).item() == pytest.approx(8.0)
    found = calibration(np.arange(24.0)[:, None, None])
    assert at(found, 0.75).item() == pytest.approx(25 * 0.75 - 1)


@pytest.mark.parametrize("number", [20, 39, 64])
def test_intervals_cover_a_further_error_as_often_as_they_say(number):
    """The finite-sample factor: without it 20 errors would make 90 % intervals that hold 81 %."""
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(number, 4000, 1))
    found = calibration(errors)
    further = rng.normal(size=(4000, 1))
    for low, high in [(0.05, 0.95), (0.25, 0.75), (0.1, 0.5)]:
        covered = (further > at(found, low)) & (further <= at(found, high))
        assert covered.mean() == pytest.approx(high - low, abs=0.025)


def test_every_step_and_target_has_its_own_corrections():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(41, HORIZON, 2)) * [1.0, 100.0] + np.arange(HORIZON)[:, None] * 1000
    found = calibration(errors)
    for step in range(HORIZON):
        for target in range(2):
            alone = calibration(errors[:, step : step + 1, target : target + 1])
            assert torch.equal(found.corrections[step, target], alone.corrections[0, 0])


def test_unobserved_errors_do_not_count():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(41, 1, 1))
    holes = np.insert(errors, [3, 17, 41], np.nan, axis=0)
    assert torch.equal(calibration(holes).corrections, calibration(errors).corrections)


def test_corrections_never_cross():
    rng = np.random.default_rng(0)
    for number in (1, 2, 5, MIN_ERRORS, 50):
        found = calibration(rng.standard_cauchy((number, HORIZON, 2))).corrections
        assert (found.diff(dim=-1) >= 0).all()
        assert found.isfinite().all()


def test_extending_forgets_the_oldest_beyond_the_capacity():
    errors = np.arange(7.0)[:, None, None]
    known = calibration(errors[:4], capacity=5)
    longer = known.extended(calibration(errors[4:]).errors)
    assert longer.errors[:, 0, 0, 0].tolist() == [2, 3, 4, 5, 6]
    assert longer.capacity == 5
    assert known.errors[:, 0, 0, 0].tolist() == [0, 1, 2, 3]  # left as it was


def test_extending_by_more_than_the_capacity_keeps_the_latest():
    longer = calibration([[[1.0]]], 2).extended(calibration(np.arange(5.0)[:, None, None]).errors)
    assert longer.errors[:, 0, 0, 0].tolist() == [3, 4]


def uncorrected(model, forecast, levels):
    """Return the networks' own quantiles (window, step, target, level), normalised."""
    level = torch.tensor(levels, dtype=torch.float64)
    return quantiles(model.head, forecast.parameters, level, forecast.unit, None)


# In fit.


def test_errors_come_from_windows_held_out_of_training():
    y = series()
    forecaster = tiny(calibration="conformal").fit(y, fh=[1, 2, 3])
    model, history = forecaster._fitted.model, forecaster._fitted.history
    cutoff = np.arange(298 - 30, 298)  # 291 cutoffs with a whole context: the last tenth
    expected = model.errors(history.store, np.zeros_like(cutoff), cutoff)
    np.testing.assert_allclose(errors_of(forecaster), expected, rtol=1e-5, atol=1e-6)


def test_many_held_out_windows_are_spread_evenly():
    y = series(1500)
    forecaster = tiny(calibration="conformal", validation_fraction=0.5).fit(y, fh=[1, 2, 3])
    model, history = forecaster._fitted.model, forecaster._fitted.history
    cutoff = np.linspace(1498 - 746, 1497, CALIBRATION_WINDOWS).astype(np.int64)
    expected = model.errors(history.store, np.zeros_like(cutoff), cutoff)
    np.testing.assert_allclose(errors_of(forecaster), expected, rtol=1e-5, atol=1e-6)


def test_a_panel_of_many_series_is_calibrated_by_all_of_them():
    number = CALIBRATION_WINDOWS + 9
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([range(number), range(8)], names=["key", "time"])
    y = pd.DataFrame({"y": rng.normal(size=len(index))}, index)
    forecaster = tiny(calibration="adaptive", context_length=2).fit(y, fh=[1])
    assert forecaster._fitted.model.calibration.capacity == number
    index = pd.MultiIndex.from_product([range(number), [8, 9, 10]], names=["key", "time"])
    new = pd.DataFrame({"y": rng.normal(size=len(index))}, index)
    forecaster.update(new, update_params=False)
    model, store = forecaster._fitted.model, forecaster._fitted.history.store
    # the last window of every series, and no other
    expected = model.errors(store, np.arange(number), np.full(number, 10))
    np.testing.assert_allclose(errors_of(forecaster), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["quantile", "mse", "normal", "gamma", "poisson"])
def test_a_calibrated_forecast_is_the_networks_plus_the_corrections(loss):
    y = series().round()
    forecaster = tiny(loss=loss, scaler="mean", calibration="conformal").fit(y, fh=[1, 2, 3])
    model, history = forecaster._fitted.model, forecaster._fitted.history
    forecast = model.ahead(history.store, np.zeros(1, np.int64), np.array([len(y)]))
    plain = uncorrected(model, forecast, LEVELS)
    table = np.sort((plain + model.calibration.corrections).numpy()[0, :, 0], axis=-1)
    expected = history.scale[0, 0] * (
        forecast.loc.double().numpy() + forecast.scale.double().numpy() * table
    )
    if loss == "poisson":
        expected = expected.round()
    found = forecaster.predict_quantiles(alpha=list(LEVELS)).to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0.5 if loss == "poisson" else 1e-5)


def test_calibration_none_has_no_corrections_unless_the_loss_is_a_point():
    y = series(100)
    assert tiny().fit(y, fh=[1])._fitted.model.calibration is None
    assert tiny(loss="normal").fit(y, fh=[1])._fitted.model.calibration is None
    assert tiny(loss="mse").fit(y, fh=[1])._fitted.model.calibration is not None


def test_calibration_brings_coverage_to_its_level():
    """A network after one epoch knows nothing of the spread; its errors do."""
    y = series(3000)
    kwargs = {"max_windows_per_epoch": 256, "validation_fraction": 0.4, "window_norm": "mean"}
    found = {}
    for calibration in ("none", "conformal"):
        forecaster = tiny(calibration=calibration, **kwargs).fit(y[:2500], fh=range(1, 4))
        forecaster.update(y[2500:], update_params=False)
        steps = list(range(-499, 1))
        band = forecaster.predict_interval(fh=steps, coverage=0.9).to_numpy()
        found[calibration] = np.mean((y[2500:] >= band[:, 0]) & (y[2500:] <= band[:, 1]))
    assert abs(found["conformal"] - 0.9) < 0.04
    assert abs(found["none"] - 0.9) > abs(found["conformal"] - 0.9)


# In update.


def test_conformal_stays_as_it_is_in_update():
    y = series()
    forecaster = tiny(calibration="conformal").fit(y[:280], fh=[1, 2, 3])
    before = forecaster._fitted.model.calibration
    forecaster.update(y[280:], update_params=False)
    assert forecaster._fitted.model.calibration is before


@pytest.mark.parametrize(
    ("rows", "cutoffs"), [(1, [278]), (3, [280]), (4, [278, 281]), (9, [280, 283, 286])]
)
def test_adaptive_learns_the_windows_that_end_with_the_new_rows(rows, cutoffs):
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y[:280], fh=[1, 2, 3])
    before = errors_of(forecaster)
    forecaster.update(y[280 : 280 + rows], update_params=False)
    model, history = forecaster._fitted.model, forecaster._fitted.history
    new = model.errors(history.store, np.zeros(len(cutoffs), np.int64), np.array(cutoffs))
    both = np.concatenate([before, new])[-CALIBRATION_WINDOWS:]
    np.testing.assert_allclose(errors_of(forecaster), both, rtol=1e-5, atol=1e-6)
    # by hand: the first error of the last window at the median, in units of its window
    forecast = model.ahead(history.store, np.zeros(1, np.int64), np.array(cutoffs[-1:]))
    truth = float(history.store.values[cutoffs[-1], 0])
    median = float(uncorrected(model, forecast, [0.5])[0, 0, 0, 0])
    expected = (truth - float(forecast.loc[0, 0])) / float(forecast.scale[0, 0]) - median
    assert both[-1, 0, 0, 11] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_updates_row_by_row_learn_a_window_each():
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y[:280], fh=[1, 2, 3])
    number = len(errors_of(forecaster))
    for row in range(280, 285):
        forecaster.update(y[row : row + 1], update_params=False)
    cutoffs = np.arange(278, 283)
    model, history = forecaster._fitted.model, forecaster._fitted.history
    new = model.errors(history.store, np.zeros(5, np.int64), cutoffs)
    np.testing.assert_allclose(errors_of(forecaster)[-5:], new, rtol=1e-5, atol=1e-6)
    assert len(errors_of(forecaster)) == min(number + 5, CALIBRATION_WINDOWS)


def test_an_update_longer_than_the_memory_computes_no_more_than_that(monkeypatch):
    y = series(1000)
    forecaster = tiny(calibration="adaptive").fit(y[:100], fh=[1])
    sizes = []
    errors = fitting.Model.errors
    monkeypatch.setattr(
        fitting.Model, "errors", lambda self, *a: sizes.append(len(a[1])) or errors(self, *a)
    )
    forecaster.update(y[100:], update_params=False)
    assert sizes == [CALIBRATION_WINDOWS]


def test_rows_that_were_known_teach_nothing_new():
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y, fh=[1, 2, 3])
    before = errors_of(forecaster)
    forecaster.update(y[-5:], update_params=False)
    np.testing.assert_array_equal(errors_of(forecaster), before)


def test_adaptive_intervals_widen_after_a_change_and_conformal_ones_do_not():
    y = series(700)
    y[400:] += 20 * np.random.default_rng(1).normal(size=300)
    widths = {}
    for calibration in ("conformal", "adaptive"):
        forecaster = tiny(calibration=calibration, window_norm=None).fit(y[:400], fh=[1, 2, 3])
        for row in range(400, 700, 3):
            forecaster.update(y[row : row + 3], update_params=False)
        band = forecaster.predict_interval(coverage=0.9).to_numpy()
        widths[calibration] = (band[:, 1] - band[:, 0]).mean()
    assert widths["adaptive"] > 2.5 * widths["conformal"]


@pytest.mark.parametrize("update_params", [False, True])
def test_a_failed_update_leaves_the_calibration_alone(update_params, monkeypatch):
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y[:280], fh=[1, 2, 3])
    before, expected = forecaster._fitted.model, forecaster.predict_quantiles(alpha=[0.05, 0.9])
    errors = copy.deepcopy(errors_of(forecaster))

    def fail(*args):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        # the refresh itself has happened by then, or fails at its end
        patch.setattr(Calibration, "extended", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            forecaster.update(y[280:], update_params=update_params)
    if update_params:
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "_train", fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                forecaster.update(y[280:], update_params=True)
    assert forecaster._fitted.model is before
    np.testing.assert_array_equal(errors_of(forecaster), errors)
    pd.testing.assert_frame_equal(forecaster.predict_quantiles(alpha=[0.05, 0.9]), expected)
    forecaster.update(y[280:], update_params=update_params)  # and goes on
    assert len(errors_of(forecaster)) == min(len(errors) + 7, CALIBRATION_WINDOWS)


def test_calibration_of_pretraining_goes_on_in_fit():
    panel = pd.concat({key: series(seed=key) for key in range(3)}, names=["key"]).to_frame("y")
    forecaster = tiny(calibration="adaptive", finetune_epochs=0)
    forecaster.pretrain(panel, fh=[1, 2, 3])
    y = series(60, seed=7)
    forecaster.fit(y[:50])
    known = errors_of(forecaster)
    assert forecaster.pretrained_model_.calibration is forecaster._fitted.model.calibration
    forecaster.update(y[50:], update_params=False)
    assert not np.array_equal(errors_of(forecaster)[-4:], known[-4:])
    np.testing.assert_array_equal(forecaster.pretrained_model_.calibration.errors, known)


@pytest.mark.parametrize(("number", "pooled"), [(MIN_ERRORS - 1, True), (MIN_ERRORS, False)])
def test_a_step_needs_twenty_errors_for_corrections_of_its_own(number, pooled):
    errors = np.zeros((number, 2, 1, len(LEVELS)), dtype=np.float32)
    errors[:, 1] = 6.0
    corrections = Calibration(errors, 100).corrections[:, 0, len(LEVELS) // 2]
    assert corrections.tolist() == pytest.approx([3.0, 3.0] if pooled else [0.0, 6.0])
