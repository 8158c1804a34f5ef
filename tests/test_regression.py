"""Regressions in simple forecasts: what they read, what they find, and what judges them."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.regression import MAX_FEATURES, Inputs, Others, learn_regression

TINY = {"d_model": 8, "num_heads": 2, "max_epochs": 1, "max_windows_per_epoch": 32}


def tiny(**settings):
    return TransformerLSTMForecaster(**{**TINY, "random_state": 0, **settings})


def hours(number, tz=None, start="2023-11-01"):
    return pd.date_range(start, periods=number, freq="h", tz=tz)


def by_the_hour(number, seed=0, tz=None):
    """Return a demand that a covariate raises by another amount at every hour."""
    rng, index = np.random.default_rng(seed), hours(number, tz)
    slope = 3 * np.sin(2 * np.pi * index.hour.to_numpy() / 24)
    X = pd.DataFrame({"heat": rng.normal(size=number)}, index)
    return pd.Series(50 + slope * X["heat"] + rng.normal(size=number) / 2, index), X


@pytest.fixture(scope="module")
def hourly():
    y, X = by_the_hour(24 * 160)
    return tiny().fit(y[:-48], X=X[:-48], fh=range(1, 25)), y, X


def regression_of(forecaster):
    return forecaster._fitted.model.calibration.simple.regression


def simple_alone(forecaster, regression=True):
    """Return a forecaster that trusts its simple forecast alone, with regressions or without."""
    twin = copy.deepcopy(forecaster)
    fitted = twin._fitted
    calibration = fitted.model.calibration
    none = torch.zeros_like(calibration.trust)
    simple = calibration.simple if regression else replace(calibration.simple, regression=None)
    calibration = replace(calibration, simple=simple, trust=none, width_trust=none)
    twin._fitted = replace(fitted, model=replace(fitted.model, calibration=calibration))
    return twin


def test_what_a_covariate_does_at_each_hour_is_found(hourly):
    forecaster, y, X = hourly
    found = regression_of(forecaster)
    assert found.weights.shape[0] == 24
    assert float(found.share) > 0.5
    truth = y[-48:-24]
    errors = [
        float((simple_alone(forecaster, which).predict(X=X[-48:]) - truth).abs().mean())
        for which in (True, False)
    ]
    assert errors[0] < 0.6 * errors[1]


def test_effects_of_earlier_rows_are_found():
    rng, index = np.random.default_rng(3), pd.period_range("2010-01", periods=156, freq="M")
    X = pd.DataFrame({"spent": rng.normal(size=156)}, index)
    y = 20 + 6 * X["spent"].shift(3).fillna(0) + rng.normal(size=156)
    forecaster = tiny().fit(y[:144], X=X[:144], fh=range(1, 13))
    off = (forecaster.predict(X=X[144:]) - y[144:]).abs().mean()
    assert off < 2.5  # noise alone 0.8, the mean of all 5


def test_noise_has_no_regression_or_one_that_does_no_harm():
    worse = []
    for seed in range(4):
        rng, index = np.random.default_rng(seed), pd.date_range("2024-01-01", periods=260)
        y = pd.Series(10 + rng.normal(size=260), index)
        X = pd.DataFrame({"idle": rng.normal(size=260)}, index)
        forecaster = tiny().fit(y[:246], X=X[:246], fh=range(1, 15))
        point = simple_alone(forecaster).predict(X=X[246:])
        worse.append(float((point - 10).abs().mean()))
    assert np.mean(worse) < 0.35


def test_phases_follow_the_clock_of_a_time_zone():
    y, X = by_the_hour(24 * 149, tz="Europe/Berlin")  # to the end of March: no change
    late, later = by_the_hour(24 * 165, seed=1, tz="Europe/Berlin")  # over the change
    forecaster = tiny().fit(y, X=X, fh=range(1, 25))
    assert regression_of(forecaster).weights.shape[0] == 24
    cut = 24 * 160  # days behind the change
    alone = simple_alone(forecaster)
    point = alone.predict(range(1, 25), X=later[: cut + 24], y=late[:cut])
    assert float((point - late[cut : cut + 24]).abs().mean()) < 1.3


def learnt(forecaster, change):
    """Learn regressions from a forecaster's rows, of which ``change`` alters some."""
    fitted = forecaster._fitted
    simple, spec, store = fitted.model.calibration.simple, fitted.model.spec, fitted.history.store
    values = store.values.clone()
    change(values[:, 0])
    store = replace(store, values=values)
    cutoff = torch.arange(200, int(store.length[0]) - 24, 24)
    series, look = torch.zeros_like(cutoff), simple.looked(store, spec, simple.effects)
    _, truth, told = look(series, cutoff, simple.regression.inputs.length)
    center = torch.zeros_like(truth)
    others = Others(series, cutoff, center, truth, told.double(), False)
    return learn_regression(look, store, spec, simple.effects, False, others)


def test_what_judges_has_not_seen_the_last_part_of_time(hourly):
    forecaster, _, _ = hourly
    first = learnt(forecaster, lambda target: None)
    second = learnt(forecaster, lambda target: target[-400:].add_(0.3))
    assert first.whole.penalties == second.whole.penalties
    moved = [
        float((getattr(second, which).offset - getattr(first, which).offset)[-24:].abs().mean())
        for which in ("apart", "whole")
    ]
    assert moved[0] < 0.2 * moved[1]


def test_a_window_is_judged_by_regressions_that_have_not_seen_it(hourly):
    forecaster, _, _ = hourly
    rows = int(forecaster._fitted.history.store.length[0])
    row = 200 + 24 * ((rows // 2 - 200) // 24) + 5  # of the window that begins 5 rows before
    first = learnt(forecaster, lambda target: None)
    second = learnt(forecaster, lambda target: target[row].add_(0.5))
    window = (row - 5 - 200) // 24
    torch.testing.assert_close(second.blended[window], first.blended[window], rtol=0, atol=5e-3)
    # others of another part of time have learnt it
    far = (second.blended[0] - first.blended[0]).abs().max()
    assert float(far) > 1e-4


def test_an_update_that_learns_teaches_regressions(hourly):
    forecaster, y, X = hourly
    twin = copy.deepcopy(forecaster)
    before = regression_of(forecaster).weights.clone()
    twin.update(y[-48:], X=X[-48:], update_params=False)
    assert torch.equal(regression_of(twin).weights, before)
    twin = copy.deepcopy(forecaster)
    twin.update(y[-48:], X=X[-48:], update_params=True)
    assert not torch.equal(regression_of(twin).weights, before)
    assert torch.equal(regression_of(forecaster).weights, before)
    assert torch.equal(regression_of(twin).share, regression_of(forecaster).share)


def test_files_keep_regressions(hourly):
    forecaster, _, X = hourly
    saved = forecaster.save(serialization_format="safetensors")[1]
    loaded = TransformerLSTMForecaster.load_from_serial(saved)
    pd.testing.assert_series_equal(loaded.predict(X=X[-48:]), forecaster.predict(X=X[-48:]))


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        ({"weights": torch.zeros(24, 1, 3, 24)}, "regressions has"),
        ({"channels": (99,)}, "calendar"),
        ({"share": torch.full((1,), torch.nan).double()}, "share is not finite"),
        ({"inputs": Inputs(10**6, None, (0,), (0,))}, "read rows"),
    ],
)
def test_edited_files_are_refused(hourly, edited, words):
    forecaster, _, _ = hourly
    twin = copy.deepcopy(forecaster)
    fitted = twin._fitted
    calibration = fitted.model.calibration
    regression = replace(calibration.simple.regression, **edited)
    simple = replace(calibration.simple, regression=regression)
    model = replace(fitted.model, calibration=replace(calibration, simple=simple))
    twin._fitted = replace(fitted, model=model)
    saved = twin.save(serialization_format="safetensors")[1]
    with pytest.raises(ValueError, match=words):
        TransformerLSTMForecaster.load_from_serial(saved)


def spec_of(horizon, numeric, seasons=(24, 168), length=168):
    return WindowSpec(
        context_length=48,
        horizon=horizon,
        num_targets=1,
        num_numeric=numeric,
        num_calendar=7,
        known=tuple(range(numeric)),
        cardinalities=(),
        known_categories=(),
        lags=(),
        window_norm="meanstd",
        norm_length=48,
        simple_length=length,
        seasons=seasons,
    )


@pytest.mark.parametrize(
    ("horizon", "numeric", "numbers", "totals"),
    [
        (24, 3, (0, 24, 168), (0, 24, 168)),
        (24, 9, (0,), (0, 24, 168)),
        (24, 40, (), (0,)),
        (168, 1, (0,), (0, 168)),
        (600, 1, (), ()),
    ],
)
def test_a_regression_reads_as_much_as_it_can_learn(horizon, numeric, numbers, totals):
    spec = spec_of(horizon, numeric)
    inputs = Inputs.of(spec, effects=True)
    assert (inputs.numbers, inputs.effects) == (numbers, totals)
    assert inputs.count(spec) <= MAX_FEATURES
    assert inputs.length <= spec.simple_length


def test_a_forecast_follows_its_level(hourly):
    forecaster, y, X = hourly
    alone, past = simple_alone(forecaster), y[:-48]
    moved = alone.predict(range(1, 25), X=X, y=past + 300.0)
    kept = alone.predict(range(1, 25), X=X, y=past)
    np.testing.assert_allclose(moved - 300.0, kept, rtol=0, atol=0.5)


def test_windows_of_training_are_told_by_weights_that_have_not_seen_their_time(hourly):
    forecaster, _, _ = hourly
    fitted = forecaster._fitted
    simple, spec, store = fitted.model.calibration.simple, fitted.model.spec, fitted.history.store
    found = learnt(forecaster, lambda target: None)
    assert found.whole.edges is None
    cutoff = torch.arange(200, int(store.length[0]) - 24, 24)
    series = torch.zeros_like(cutoff)
    past, _, _ = simple.looked(store, spec, simple.effects)(series, cutoff, 168)
    center = torch.zeros(len(cutoff), 24, 1, dtype=torch.float64)
    own = found.apart.blended(store, spec, past, simple.effects, center)
    torch.testing.assert_close(own, found.blended, rtol=1e-3, atol=1e-3)
    whole = found.whole.blended(store, spec, past, simple.effects, center)
    assert float((whole - own).abs().max()) > 0.01


def test_intervals_hold_where_a_regression_has_much_to_learn_by_heart():
    held = []
    for seed in range(3):
        rng, index = np.random.default_rng(seed), hours(24 * 60)
        slope = 3 * np.sin(2 * np.pi * index.hour.to_numpy() / 24)
        X = pd.DataFrame(rng.normal(size=(24 * 60, 4)), index, columns=list("abcd"))
        y = 50 + slope * X["a"] + rng.normal(size=24 * 60)
        forecaster = tiny().fit(y[:-120], X=X[:-120], fh=range(1, 25))
        for begin in range(24 * 55, 24 * 60, 24):
            known = {"X": X[: begin + 24], "y": y[:begin]}
            bounds = forecaster.predict_interval(range(1, 25), **known).to_numpy()
            truth = y[begin : begin + 24]
            held.append(((truth > bounds[:, 0]) & (truth < bounds[:, 1])).mean())
    assert 0.84 < np.mean(held) < 0.97


def test_a_pretrained_regression_is_left_where_effects_are_others():
    panels = {key: by_the_hour(24 * 60, seed=seed) for seed, key in enumerate("ab")}
    y = pd.concat({key: part.to_frame("y") for key, (part, _) in panels.items()})
    X = pd.concat({key: part for key, (_, part) in panels.items()})
    forecaster = tiny(finetune_epochs=1).pretrain(y, X=X, fh=range(1, 25))
    rng, index = np.random.default_rng(8), hours(24 * 40)
    idle = pd.DataFrame({"heat": rng.normal(size=len(index))}, index)
    other = pd.Series(rng.normal(size=len(index)), index)
    forecaster.fit(other[:-24], X=idle[:-24], fh=range(1, 25))
    assert regression_of(forecaster) is None
    assert forecaster.predict(X=idle).abs().max() < 3
