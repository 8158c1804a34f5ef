"""Simple forecasts: by hand, and what a forecaster makes of them."""

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.candidates import candidates
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.simple import (
    CHANGES,
    FIXED,
    SIZE,
    TO_UPPER,
    _ladder,
    _smooth,
    learn_simple,
)
from tests import setups


def longest(shares):
    """Return the shares of the longest windows."""
    return shares[max(shares)]


class Learnt:
    """A simple forecast learnt from all windows of series, each (row,) or (row, target)."""

    def __init__(self, *series, horizon=4, length=24, seasons=(), scaler=None, support="real"):
        series = [np.asarray(one, dtype=float).reshape(len(one), -1) for one in series]
        index = pd.MultiIndex.from_tuples(
            [(key, row) for key, one in enumerate(series) for row in range(len(one))]
        )
        columns = [f"y{k}" for k in range(series[0].shape[1])]
        y = pd.DataFrame(np.concatenate(series), index, columns)
        encoder = FrameEncoder(support, scaler, None, (), (), ()).fit(y, None)
        self.history = encoder.encode(y, None, horizon)
        self.store, self.lengths = self.history.store, np.array([len(one) for one in series])
        self.spec = WindowSpec(
            *(1, horizon, len(columns), 0, 0, (), (), (), (), None, 1, support),
            simple_length=length,
            seasons=seasons,
        )
        pairs = [
            (key, cutoff)
            for key, rows in enumerate(self.lengths)
            for cutoff in range(min(length, rows // 2), rows - horizon + 1)
        ]
        places = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        self.arcsinh = scaler == "robust_arcsinh"
        _, self.simple = learn_simple(self.store, self.spec, *places, seasons, self.arcsinh)

    def bands(self, cutoff=None, series=None):
        """Return the forecast and its quantiles (3, window, step, target), from the end."""
        series = np.arange(len(self.lengths)) if series is None else np.asarray(series)
        cutoff = self.lengths[series] if cutoff is None else np.asarray(cutoff)
        places = torch.from_numpy(series), torch.from_numpy(cutoff)
        return self.simple(self.store, self.spec, *places).numpy()

    def center(self, *places):
        return self.bands(*places)[0]


def noise(rows, seed=0):
    return np.random.default_rng(seed).normal(size=rows)


AHEAD = np.arange(1, 5)


# By hand.


def test_of_a_constant_the_forecast_is_it():
    found = Learnt(np.full(60, 7.0))
    np.testing.assert_allclose(found.center()[0, :, 0], 7.0, rtol=1e-6)
    low, high = found.bands()[1:, 0, :, 0]
    assert (high - low < 0.1).all()


def test_a_line_goes_on():
    line = 3.0 - 0.5 * np.arange(60)
    found = Learnt(line).center()[0, :, 0]
    np.testing.assert_allclose(found, line[-1] - 0.5 * AHEAD, atol=0.02)


def test_a_seasonal_pattern_comes_round():
    pattern = np.array([3.0, -1.0, 4.0, -1.0, 5.0, -9.0])
    y = np.resize(pattern, 60) + 0.3 * np.arange(60)
    found = Learnt(y, horizon=8, seasons=(6,)).center()[0, :, 0]
    expected = np.resize(pattern, 68)[60:] + 0.3 * np.arange(60, 68)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_a_pattern_that_grows_with_the_level_is_a_product():
    rows = np.arange(90)
    y = np.exp(0.02 * rows) * np.resize([10.0, 20.0, 5.0, 40.0], 90)
    found = Learnt(y[:84], horizon=6, seasons=(4,))
    np.testing.assert_allclose(found.center()[0, :, 0], y[84:], rtol=2e-3)
    assert longest(found.simple.shares)[0, 1] > 0.99  # the logarithms


def test_logarithms_are_for_targets_that_are_positive_throughout():
    """Few windows, whose forecasts all weigh in."""
    rest = 9 + noise(14)
    touching = rest.copy()
    touching[2] = 0.0
    shares = longest(Learnt(np.stack([rest, touching], axis=1), length=8).simple.shares)
    assert shares[0, 1] > 0.1
    assert shares[1, 1] < 1e-9


@pytest.mark.parametrize("scaler", ["robust", "robust_arcsinh", "mean"])
def test_a_product_is_found_whatever_the_scaling(scaler):
    rows = np.arange(90)
    y = np.exp(0.02 * rows) * np.resize([10.0, 20.0, 5.0, 40.0], 90)
    found = Learnt(y[:84], horizon=6, seasons=(4,), scaler=scaler)
    scaled = found.center()[0, :, 0]
    scaled = np.sinh(scaled) if found.arcsinh else scaled
    history = found.history
    np.testing.assert_allclose(history.loc[0, 0] + history.scale[0, 0] * scaled, y[84:], rtol=5e-3)


def test_the_shape_of_a_season_is_that_of_the_last_ones():
    """A window of two seasons: the last alone, weighted 1 to 0.7, and equally."""
    window = torch.tensor([1.0, 5.0, 3.0, 3.0], dtype=torch.float64)
    found = candidates(4, 3, (2,))
    for memory, share in [(0.0, 1.0), (0.7, 1 / 1.7), (1.0, 0.5)]:
        # means 3 and 3: no slope, and shapes (-2, 2) and (0, 0)
        forecast = found[2, memory, 0.0, 0.0] @ window
        size = 2 * (1 - share)
        assert forecast.tolist() == pytest.approx([3 - size, 3 + size, 3 - size])


def test_candidates_of_a_window_worked_by_hand():
    window = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    found = candidates(3, 2, ())
    by_hand = {  # the slope is 2.5
        (1.0, 0.0): [6.0, 6.0],
        (1.0, 1.0): [8.5, 11.0],
        (1.0, 0.5): [7.25, 8.5],
        (0.0, 0.0): [3.0, 3.0],
        (0.0, 1.0): [8.0, 10.5],
        (0.2, 0.0): [(0.64 * 1 + 0.8 * 2 + 6) / 2.44] * 2,
    }
    for (smoothing, share), expected in by_hand.items():
        forecast = found[1, 0.0, smoothing, share] @ window
        assert forecast.tolist() == pytest.approx(expected)


# Equivariance.


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.5), (3.0, 0.0), (0.25, -0.4)])
def test_a_forecast_shifts_and_scales_with_its_series(scale, shift):
    y = np.cumsum(0.2 * noise(80)) + noise(80, 1)
    plain, moved = Learnt(y), Learnt(scale * y + shift)
    assert plain.simple.kinds == moved.simple.kinds
    np.testing.assert_allclose(moved.bands(), scale * plain.bands() + shift, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_a_forecast_of_a_positive_series_scales_with_it(scale):
    y = np.exp(0.03 * np.arange(80) + 0.1 * noise(80))
    plain, moved = Learnt(y), Learnt(scale * y)
    assert longest(plain.simple.shares)[0, 1] > 0.01
    np.testing.assert_allclose(moved.bands(), scale * plain.bands(), rtol=1e-4)


# Noise, walks and zeros.


def test_of_a_random_walk_the_last_value_counts():
    found = Learnt(np.cumsum(noise(400)), horizon=9)
    weight = found.simple.maps[24][0, 0]  # (step, row)
    np.testing.assert_allclose(weight.sum(dim=1), 1.0, atol=1e-6)
    assert (weight[:, -1] > 0.6).all()
    width = np.diff(found.bands()[[1, 2], 0, :, 0], axis=0)[0]
    np.testing.assert_allclose(width, width[0] * np.sqrt(np.arange(1, 10)), rtol=0.2)
    assert width[0] == pytest.approx(2 * TO_UPPER, rel=0.25)


def test_of_noise_the_mean_counts():
    y = noise(400) - 5
    found = Learnt(y, horizon=9)
    weight = found.simple.maps[24][0, 0]
    assert (weight < 0.15).all()
    assert (weight > -0.05).all()
    low, high = found.bands()[1:, 0, :, 0]
    assert high[-1] - low[-1] == pytest.approx(high[0] - low[0], rel=0.12)
    np.testing.assert_allclose(high - low, 2 * TO_UPPER, rtol=0.15)
    assert abs(found.center()[0, :, 0] - y[-24:].mean()).max() < 0.4


def test_of_few_windows_the_weights_are_nearly_equal():
    few, many = (Learnt(np.cumsum(noise(rows, 2)), length=8) for rows in (14, 400))
    assert few.simple.maps[8][0, 0][0, -1] < many.simple.maps[8][0, 0][0, -1] - 0.1


def test_of_rare_values_the_median_counts():
    rng = np.random.default_rng(0)
    y = np.where(rng.random(300) < 0.15, 1 + rng.poisson(5, 300), 0)
    found = Learnt(y, scaler="mean", support="count")
    assert longest(found.simple.shares)[0, 2:].sum() > 0.9
    np.testing.assert_allclose(found.center()[0, :, 0], 0.0, atol=0.02 * y.mean())
    assert (found.bands() >= 0).all()


@pytest.mark.parametrize("grows", ["change", "size"])
def test_intervals_grow_with_what_errors_grow_with(grows):
    rows = np.arange(480)
    rng = np.random.default_rng(0)
    if grows == "change":  # quiet and wild weeks around a level
        y = 50 + np.where(rows // 60 % 2, 5.0, 0.5) * rng.normal(size=480)
    else:
        y = np.exp(0.01 * rows + 0.1 * rng.normal(size=480))
    found = Learnt(y, length=16)
    assert found.simple.kinds[0] in ({"change": CHANGES, "size": [SIZE]}[grows])
    early, late = (found.bands([cutoff])[:, 0, 0, 0] for cutoff in (60, 120))
    ratio = (late[2] - late[1]) / (early[2] - early[1])
    assert (ratio > 4) if grows == "change" else (1.4 < ratio < 2.4)


def test_intervals_know_loud_and_quiet_series_under_one_shape_of_the_season():
    rng, shape = np.random.default_rng(1), np.tile([0.0, 30.0, -20.0, 5.0, 9.0, -4.0, 12.0], 40)
    every = [shape + size * rng.normal(size=280) for size in (0.5, 0.5, 5.0, 5.0)]
    found = Learnt(*every, length=42, horizon=7, seasons=(7,))
    assert CHANGES[found.simple.kinds[0]][0] == 0  # changes over a season
    low, high = found.bands()[1:, :, :, 0] * found.history.scale[:, 0][:, None]
    width = (high - low).mean(axis=1) / (2 * TO_UPPER)
    np.testing.assert_allclose(width, [0.5, 0.5, 5.0, 5.0], rtol=0.4)


def test_a_change_of_size_must_be_sure_to_count():
    fixed = [Learnt(noise(40, seed), length=12, horizon=6).simple.kinds for seed in range(12)]
    assert fixed.count((FIXED,)) >= 11


# Windows.


def test_ladders_end_at_one():
    for longest in (1, 2, 5, 64, 384):
        lengths = _ladder(longest)
        assert lengths[0] == longest
        assert lengths[-1] == 1
        assert (np.diff(lengths) < 0).all()
    assert _ladder(8) == [8, 6, 5, 4, 3, 2, 1]


def test_a_window_is_the_longest_rung_that_fits():
    """Rows before it do not count; all rows of the window do."""
    found = Learnt(noise(60))
    for cutoff, length in [(60, 24), (24, 24), (23, 20), (2, 2), (1, 1)]:
        values, before = found.store.values.clone(), found.center([cutoff])
        found.store.values[: cutoff - length] += 7
        np.testing.assert_array_equal(found.center([cutoff]), before)
        found.store.values[cutoff - length] += 7
        assert (found.center([cutoff]) != before).any()
        found.store.values[:] = values


def test_without_rows_the_forecast_is_the_level():
    found = Learnt(40 + 3 * noise(60), scaler="robust")
    bands, traits = found.bands([0, 60], [0, 0]), found.store.traits
    level, spread = float(traits.level[0, 0]), float(traits.spread[0, 0])
    by_hand = np.array([level, level - TO_UPPER * spread, level + TO_UPPER * spread])
    np.testing.assert_allclose(bands[:, 0, :, 0], by_hand[:, None].repeat(4, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(bands[:, 1], found.bands([60])[:, 0])


@pytest.mark.parametrize("scaler", [None, "robust_arcsinh"])
def test_short_windows_and_gaps_have_forecasts(scaler):
    y = np.resize([3.0, 8.0, 5.0, 1.0], 70) + 0.1 * noise(70)
    y[[0, 1, 20, 40, 41, 42, 43, 44, 69]] = np.nan
    found = Learnt(y, seasons=(4,), scaler=scaler)
    bands = found.bands(np.arange(71), np.zeros(71, np.int64))
    assert np.isfinite(bands).all()
    assert (np.diff(bands[[1, 0, 2]], axis=0) >= 0).all()
    whole = bands[0, 70, :, 0]
    scale, loc = found.history.scale[0, 0], found.history.loc[0, 0]
    whole = loc + scale * (np.sinh(whole) if found.arcsinh else whole)
    np.testing.assert_allclose(whole, [5.0, 1.0, 3.0, 8.0], atol=0.25)


def test_a_series_without_observations_has_a_forecast():
    found = Learnt(noise(60) + 4, np.full(30, np.nan), scaler="robust")
    assert np.isfinite(found.bands()).all()
    nothing = Learnt(np.arange(6.0), horizon=6)  # no window with a horizon
    assert np.isfinite(nothing.bands()).all()


def test_targets_are_forecast_by_themselves():
    both = np.stack([np.cumsum(noise(80)), 9 + noise(80, 1)], axis=1)
    found = Learnt(both).bands()
    for target in range(2):
        alone = Learnt(both[:, target]).bands()
        np.testing.assert_allclose(found[..., target], alone[..., 0], rtol=1e-6)


def test_a_gap_in_one_target_leaves_the_others_alone():
    both = np.stack([np.cumsum(noise(80)), 9 + noise(80, 1)], axis=1)
    whole = Learnt(both).bands()
    both[40:44, 1] = np.nan
    found = Learnt(both).bands()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[..., 0], whole[..., 0], rtol=1e-6)


def test_series_of_a_panel_have_forecasts_from_their_own_windows():
    lines = [3.0 - 0.5 * np.arange(60), 40.0 + 2 * np.arange(50), np.full(70, -8.0)]
    found = Learnt(*lines).center()[..., 0]
    by_hand = [lines[0][-1] - 0.5 * AHEAD, lines[1][-1] + 2 * AHEAD, np.full(4, -8.0)]
    np.testing.assert_allclose(found, by_hand, atol=0.05)


def test_a_short_series_does_not_take_the_season_from_the_others():
    pattern = np.resize([3.0, -1.0, 4.0, -1.0, 5.0, -9.0], 64)
    found = Learnt(pattern[:60], noise(8), seasons=(6,)).center([60], [0])[0, :, 0]
    np.testing.assert_allclose(found, pattern[60:], atol=0.1)


# Deviations.


def test_deviations_of_few_windows_follow_a_power_of_the_step():
    step = np.arange(1.0, 9.0)
    few = np.full(8, 1e-3)
    np.testing.assert_allclose(_smooth(3 * np.sqrt(step), few), 3 * np.sqrt(step), rtol=1e-3)
    rough = 3 * np.sqrt(step) * np.exp(0.3 * noise(8))
    logs = np.log(_smooth(rough, few))
    slope = np.diff(logs) / np.diff(np.log(step))
    np.testing.assert_allclose(slope, slope[0], atol=1e-2)
    assert 0 < slope[0] < 1
    # between noise around a level and an unknown trend
    np.testing.assert_allclose(np.diff(np.log(_smooth(1 / step, few))), 0, atol=1e-2)
    steep = np.diff(np.log(_smooth(step**3, few))) / np.diff(np.log(step))
    np.testing.assert_allclose(steep, 1, atol=1e-2)


def test_deviations_of_many_windows_are_their_own():
    rough = 3 * np.exp(noise(8))
    np.testing.assert_allclose(_smooth(rough, np.full(8, 1e6)), rough, rtol=1e-3)


def test_deviations_of_steps_that_nobody_observed_are_those_of_the_others():
    step = np.arange(1.0, 7.0)
    mean, count = np.sqrt(step), np.array([50.0, 50.0, 50.0, 50.0, 0.0, 0.0])
    np.testing.assert_allclose(_smooth(np.where(count > 0, mean, 0), count), mean, rtol=1e-9)
    for found in (_smooth(np.zeros(3), np.zeros(3)), _smooth(np.zeros(3), np.full(3, 9.0))):
        assert found.tolist() == [1e-3] * 3


# In a forecaster.


@pytest.mark.parametrize("growth", [1.05, 1.2])
def test_far_forecasts_of_a_growing_series_are_finite(growth):
    y = pd.Series(10 * growth ** np.arange(60.0), name="y")
    forecaster = setups.tiny().fit(y, fh=[1, 2, 3])
    fh = range(1, 301)
    point = forecaster.predict(fh=fh)
    assert np.isfinite(point).all()
    assert point.iloc[0] > y.iloc[-4]
    assert np.isfinite(forecaster.predict_interval(fh=fh).to_numpy()).all()


def test_intervals_of_little_noise_are_about_as_wide_as_they_should_be():
    y = pd.Series(20 + 3 * noise(60, 5), name="y")
    forecaster = TransformerLSTMForecaster(d_model=8, random_state=0)
    band = forecaster.fit(y, fh=range(1, 8)).predict_interval(coverage=0.9).to_numpy()
    np.testing.assert_allclose(band[:, 1] - band[:, 0], 3.29 * 3, rtol=0.35)


def test_intervals_of_a_random_walk_grow_beyond_the_horizon():
    y = pd.Series(np.cumsum(noise(120, 5)), name="y")
    forecaster = TransformerLSTMForecaster(d_model=8, random_state=0)
    band = forecaster.fit(y, fh=range(1, 6)).predict_interval(fh=[20], coverage=0.9).to_numpy()
    assert 0.6 < (band[0, 1] - band[0, 0]) / (3.29 * np.sqrt(20)) < 1.6
