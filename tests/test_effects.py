"""Effects: what known covariates add to simple forecasts, by hand and in a forecaster."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import TransformerLSTMForecaster, storing
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.effects import FAMILIAR, KNOTS, Columns, learn_effects, learn_sizes
from tests.setups import tiny

HORIZON = 14
FH = range(1, HORIZON + 1)


def learn(y, X, season=7, scaler=None, hidden=(), old=None):
    """Learn the effects of a series, or of several (key, time) of one column or more."""
    encoder = FrameEncoder("real", scaler, "standard", (), (), ()).fit(y, X)
    history = encoder.encode(y, X, HORIZON)
    numeric, categories = len(encoder.numeric), list(encoder.categories.values())
    spec = WindowSpec(
        *(1, HORIZON, y.shape[1], numeric, 0, tuple(range(numeric))),
        tuple(map(len, categories)),
        tuple(range(len(categories))),
        *((), None, 1, "real"),
        hidden=hidden,
        seasons=(season,),
    )
    series = np.arange(len(history.lengths))
    return learn_effects(history.store, spec, series, old), history.store, spec


def plus(effects, store, spec, rows):
    """Return what effects add (row, target) to so many rows."""
    assert not any(effects.multiplies)
    times, added = effects(effects.total(store, spec, torch.arange(rows)), torch.zeros(rows, 1))
    assert (times == 1).all()
    return added.numpy()


def days(rows):
    return pd.date_range("2021-03-05", periods=rows, freq="D")


def drawn(rows, seed=0):
    """Return a level that wanders, with weekends, and covariates that add to it."""
    rng, index = np.random.default_rng(seed), days(rows)
    X = pd.DataFrame({"heat": rng.normal(20, 5, rows)}, index)
    X["event"] = (rng.random(rows) < 0.05).astype(int)
    X["kind"] = rng.choice(["low", "mid", "top"], rows)
    level = 100 + rng.normal(size=rows).cumsum() + 12 * (index.dayofweek > 4)
    kind = X["kind"].map({"low": 0.0, "mid": 3.0, "top": -4.0})
    added = 2.0 * X["heat"] + 30 * X["event"] + kind
    return (level + added).to_frame("load"), X, added


def test_slopes_events_and_categories_are_found_under_a_level_that_wanders():
    y, X, added = drawn(500)
    effects, store, spec = learn(y, X)
    found = plus(effects, store, spec, 500)[:, 0]
    away = (found - found.mean()) - (added - added.mean()).to_numpy()
    assert np.quantile(np.abs(away), 0.98) < 1.5  # the rest is clipped
    by_column = effects.by_column(store, spec, torch.arange(500))
    assert by_column.shape == (500, 3, 1)
    event = by_column[:, 1, 0].numpy()
    assert event[X["event"] == 1].mean() - event[X["event"] == 0].mean() == pytest.approx(30, abs=1)


def test_a_slope_may_change_on_the_way():
    rng = np.random.default_rng(4)
    X = pd.DataFrame({"degrees": rng.normal(15, 8, size=400)}, days(400))
    need = 2 * np.maximum(10 - X["degrees"], 0) + 3 * np.maximum(X["degrees"] - 20, 0)
    y = (need + rng.normal(size=400)).to_frame("load")
    effects, store, spec = learn(y, X)
    found = plus(effects, store, spec, 400)[:, 0]
    assert np.corrcoef(found, need)[0, 1] > 0.98


@pytest.mark.parametrize("seed", range(4))
def test_of_noise_nothing_is_learnt(seed):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=300), "b": rng.choice(list("uvw"), 300)}, days(300))
    y = pd.DataFrame({"y": rng.normal(size=300).cumsum()}, days(300))
    assert learn(y, X)[0] is None
    assert learn(y, X[[]])[0] is None


def test_far_values_of_the_target_do_not_spoil_it():
    y, X, _ = drawn(600, seed=2)
    clean, store, spec = learn(y, X)
    y.iloc[[50, 51, 333, 500], 0] = 9_000.0
    spoilt, *_ = learn(y, X)
    np.testing.assert_allclose(
        plus(spoilt, store, spec, 600), plus(clean, store, spec, 600), rtol=0, atol=2
    )


def test_each_target_has_its_own_and_missing_rows_are_passed_over():
    y, X, added = drawn(400, seed=3)
    y["noise"] = np.random.default_rng(8).normal(size=400)
    y.iloc[100:140, 0] = np.nan
    effects, store, spec = learn(y, X)
    found = plus(effects, store, spec, 400)
    assert np.corrcoef(found[:, 0], added)[0, 1] > 0.99
    assert not found[:, 1].any()


def test_of_many_series_they_are_what_these_have_in_common():
    frames = [pd.concat(drawn(90, seed)[:2], axis=1) for seed in range(5)]
    frame = pd.concat(dict(zip("abcde", frames, strict=True)))
    effects, store, spec = learn(frame[["load"]], frame.drop(columns="load"))
    event = effects.by_column(store, spec, torch.arange(450))[:, 1, 0].numpy()
    flag = frame["event"].to_numpy() == 1
    assert event[flag].mean() - event[~flag].mean() == pytest.approx(30, abs=3)


def test_what_is_hidden_before_a_cutoff_has_none():
    y, X, _ = drawn(200)
    channel = 1  # of the heat, behind the target
    effects, _, spec = learn(y, X, hidden=(channel,))
    assert Columns.of(spec).numbers == (2,)
    assert effects.weights.shape == (1, 1 + len(KNOTS) + 4)


def test_a_target_that_is_seen_late_is_tested_all_the_same():
    rng = np.random.default_rng(6)
    X = pd.DataFrame({"a": rng.normal(size=600)}, days(600))
    y = pd.DataFrame({"y": rng.normal(size=600)}, days(600))
    y.iloc[:520] = np.nan
    assert learn(y, X)[0] is None


def test_events_are_found_where_most_rows_do_not_change_at_all():
    rng = np.random.default_rng(7)
    X = pd.DataFrame({"order": (rng.random(400) < 0.1).astype(int)}, days(400))
    y = (X["order"] * (20 + rng.normal(size=400))).to_frame("sold")
    effects, store, spec = learn(y, X)
    found = plus(effects, store, spec, 400)[:, 0]
    assert np.ptp(found) == pytest.approx(20, abs=1)


def test_names_and_very_many_columns_have_none():
    y, X, _ = drawn(300)
    X["shop"] = [f"number {row % 80}" for row in range(300)]
    effects, _, spec = learn(y, X)
    assert effects is not None
    assert len(Columns.of(spec).codes) == 1  # that of the three kinds
    many = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 60)), X.index).add_prefix("c")
    assert learn(y, X.join(many))[0] is None


def test_one_row_too_few_to_tell_is_none():
    y, X, _ = drawn(20)
    assert learn(y, X)[0] is None


def test_rows_of_weight_zero_are_not_learnt_from():
    y, X, _ = drawn(400, seed=5)
    y.iloc[:250, 0] -= 60 * X["event"].iloc[:250]  # -30 then, 30 later
    _, store, spec = learn(y, X)
    weight = np.where(np.arange(400) < 250, -1.0, 0.0)[:, None]  # -1 stands for none
    values = torch.cat([store.values, torch.from_numpy(weight).float()], dim=1)
    weighted = learn_effects(
        replace(store, values=values), replace(spec, weighted=True), np.array([0])
    )
    event = weighted.by_column(store, spec, torch.arange(400))[:, 1, 0].numpy()
    flag = X["event"].to_numpy() == 1
    assert event[flag].mean() - event[~flag].mean() == pytest.approx(30, abs=3)


def test_what_goes_with_time_is_left_to_the_trend():
    rng, index = np.random.default_rng(1), days(400)
    X = pd.DataFrame({"people": 1000 + 3.0 * np.arange(400), "heat": rng.normal(size=400)}, index)
    y = (0.5 * X["people"] + 6 * X["heat"] + rng.normal(size=400)).to_frame("load")
    effects, store, spec = learn(y, X)
    by_column = effects.by_column(store, spec, torch.arange(400))[..., 0].numpy()
    assert not by_column[:, 0].any()
    assert np.corrcoef(by_column[:, 1], X["heat"])[0, 1] > 0.99


def test_unknown_categories_add_what_is_usual():
    rng, index = np.random.default_rng(2), days(400)
    X = pd.DataFrame({"kind": np.where(rng.random(400) < 0.05, "sale", "none")}, index)
    y = (30.0 * (X["kind"] == "sale") + rng.normal(size=400)).to_frame("sold")
    effects, store, spec = learn(y, X)
    values = store.values.clone()
    values[0, -1] = 0.0  # unknown
    found = plus(effects, replace(store, values=values), spec, 400)[:, 0]
    sale = X["kind"].to_numpy()[1:] == "sale"
    assert found[0] == pytest.approx(found.mean(), abs=0.1)
    assert found[1:][sale].mean() - found[1:][~sale].mean() == pytest.approx(30, abs=1)


def test_shocks_that_series_share_are_no_effect():
    accepted = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shared, shock = rng.normal(size=(2, 60))
        X = pd.concat({k: pd.DataFrame({"a": shared}, days(60)) for k in range(30)})
        y = pd.DataFrame({"y": np.tile(shock, 30) + rng.normal(size=1800)}, X.index)
        accepted += learn(y, X)[0] is not None
    assert accepted <= 1


def test_other_series_keep_old_effects_only_where_these_help():
    y, X, _ = drawn(400)
    old, *_ = learn(y, X)
    other, more, _ = drawn(400, seed=9)
    changed, store, spec = learn(other - 2 * 30 * more[["event"]].to_numpy(), more, old=old)
    event = changed.by_column(store, spec, torch.arange(400))[:, 1, 0].numpy()
    flag = more["event"].to_numpy() == 1
    assert event[flag].mean() - event[~flag].mean() == pytest.approx(-30, abs=2)
    noise = pd.DataFrame({"load": np.random.default_rng(3).normal(size=400)}, more.index)
    assert learn(noise, more, old=old)[0] is None
    few, *_ = learn(other[:15], more[:15], old=old)
    assert few.weights.equal(old.weights)


# Effects that multiply, and sizes of errors.


def sales(rows, seed=0):
    """Return sales that a promotion multiplies by 3, and a price to the power of minus 2."""
    rng, index = np.random.default_rng(seed), days(rows)
    X = pd.DataFrame({"promotion": (rng.random(rows) < 0.04).astype(int)}, index)
    X["price"] = rng.uniform(0.8, 1.25, rows)
    level = 80 * np.exp(0.02 * rng.normal(size=rows).cumsum()) * (1 + 0.5 * (index.dayofweek > 4))
    times = np.where(X["promotion"] == 1, 3.0, 1.0) * X["price"] ** -2
    return (level * times * np.exp(0.05 * rng.normal(size=rows))).to_frame("sold"), X, times


def test_effects_multiply_where_that_is_likelier():
    y, X, times = sales(600)
    effects, store, spec = learn(y, X)
    assert effects.multiplies == (True,)
    zero = torch.full((600, 1), float(store.traits.zero[0, 0]))
    found, added = (
        part[:, 0].numpy() for part in effects(effects.total(store, spec, torch.arange(600)), zero)
    )
    # up to what all rows have in common
    assert np.std(np.log(found) - np.log(times)) < 0.06
    np.testing.assert_allclose(zero[:, 0].numpy() * found + added, zero[:, 0], atol=1e-9)


def test_what_columns_add_sums_to_what_they_multiply_by():
    y, X, _ = sales(300)
    effects, store, spec = learn(y, X)
    rows, above = torch.arange(300), torch.full((300, 1), 4.0)
    times, _ = effects(effects.total(store, spec, rows), torch.zeros(300, 1))
    columns = effects.added(store, spec, rows, above)
    assert columns.shape == (300, 2, 1)
    torch.testing.assert_close(columns.sum(dim=1), 4.0 * (times - 1))
    blank = {name: torch.zeros_like(getattr(effects, name)) for name in ("weights", "usual")}
    nothing = replace(effects, **blank)
    assert not nothing.added(store, spec, rows, above).any()


def test_effects_multiply_in_spite_of_a_few_zeros_but_not_of_many():
    y, X, _ = sales(400)
    y.iloc[77, 0] = 0.0
    assert learn(y, X)[0].multiplies == (True,)
    y.iloc[::3, 0] = 0.0
    effects = learn(y, X)[0]
    assert effects is None or effects.multiplies == (False,)


def pumped(rows=500, stops=6, seed=0):
    """Return what a pump gives, more at weekends, and the few days on which it stands still."""
    rng, index = np.random.default_rng(seed), days(rows)
    X = pd.DataFrame({"still": 0.0}, index)
    X.iloc[rng.choice(rows, stops, replace=False)] = 1
    usual = 50.0 * np.where(index.dayofweek > 4, 2.0, 1.0) + 2 * rng.normal(size=rows)
    y = np.where(X["still"] == 1, 0.01 * rng.normal(size=rows), usual)
    return pd.DataFrame({"flow": y}, index), X


def test_an_output_that_stops_is_multiplied_by_nearly_nothing():
    y, X = pumped()
    effects, store, spec = learn(y, X)
    assert effects.multiplies == (True,)
    zero = torch.full((500, 1), float(store.traits.zero[0, 0]))
    times = effects(effects.total(store, spec, torch.arange(500)), zero)[0][:, 0].numpy()
    still = X["still"].to_numpy() == 1
    np.testing.assert_allclose(times[still], 0.01, atol=0.01)
    np.testing.assert_allclose(times[~still], 1.0)
    assert (
        effects.hides(effects.total(store, spec, torch.arange(500)))[:, 0].tolist()
        == still.tolist()
    )


def test_few_rows_with_an_effect_apart_make_a_network_unfamiliar_and_errors_wider():
    y, X = pumped(stops=6)
    X.iloc[3] = 0.5  # a number that training has once
    effects, store, spec = learn(y, X)
    rows = torch.arange(500)
    known = effects.familiarity(effects.total(store, spec, rows))[:, 0].numpy()
    doubt = effects.doubt(effects.total(store, spec, rows))[:, 0].numpy()
    still, half = X["still"].to_numpy() == 1, X["still"].to_numpy() == 0.5
    np.testing.assert_allclose(known[still], 6 / (6 + FAMILIAR))
    np.testing.assert_allclose(doubt[still], np.sqrt(1 + 4 / 6))
    np.testing.assert_allclose(known[half], 6 / (6 + FAMILIAR))  # as large as one or larger
    assert (known[~still & ~half] == 1).all() and (doubt[~still & ~half] == 1).all()
    more = replace(store, values=store.values.clone())
    more.values[:, 1] *= 2  # beyond all of training
    np.testing.assert_allclose(effects.familiarity(effects.total(more, spec, rows))[still, 0], 0.0)
    np.testing.assert_allclose(effects.doubt(effects.total(more, spec, rows))[still, 0], 3.0)


def test_rows_of_training_are_never_rarer_than_they_were():
    for seed in range(4):
        y, X = pumped(stops=5, seed=seed)
        rng = np.random.default_rng(seed)
        X["heat"], X["wind"] = rng.normal(size=500), rng.normal(size=500)
        effects, store, spec = learn(y, X)
        rows = torch.from_numpy(np.flatnonzero(X["still"] == 1))
        known = effects.familiarity(effects.total(store, spec, rows))
        assert float(known.min()) > 0.5 / (0.5 + FAMILIAR)  # one at least


def test_events_without_an_observation_teach_nothing():
    y, X = pumped(stops=18)
    still = np.flatnonzero(X["still"] == 1)
    y.iloc[still[8:]] = np.nan
    effects, store, spec = learn(y, X)
    known = effects.familiarity(effects.total(store, spec, torch.from_numpy(still)))
    assert float(known.max()) <= 8 / (8 + FAMILIAR) + 1e-9


def test_the_ends_of_a_usual_range_and_frequent_events_are_familiar():
    y, X, _ = drawn(700)
    effects, store, spec = learn(y, X)
    known = effects.familiarity(effects.total(store, spec, torch.arange(700)))
    assert float(known.mean()) > 0.99
    y, X = pumped(stops=60)
    effects, store, spec = learn(y, X)
    assert (effects.familiarity(effects.total(store, spec, torch.arange(500))) == 1).all()


def test_old_effects_that_multiply_stay_so():
    y, X, _ = sales(500)
    old, *_ = learn(y, X)
    few, *_ = learn(y[:15], X[:15], old=old)
    assert few.multiplies == (True,)
    assert few.weights.equal(old.weights)
    below = y - 500  # of no logarithm: whether they help is not known
    kept, *_ = learn(below, X, old=old)
    assert kept.multiplies == (False,)


def test_old_effects_are_dropped_where_nothing_tells_whether_they_help():
    y, X, _ = sales(500)
    old, *_ = learn(y, X)
    noise = pd.DataFrame({"sold": np.random.default_rng(1).normal(size=500)}, y.index)
    assert learn(noise, X, old=old)[0] is None


def test_what_multiplies_stays_about_the_range_of_training():
    y, X, _ = sales(600)
    effects, store, spec = learn(y, X)
    rows, zero = torch.arange(600), torch.zeros(600, 1)
    seen = effects(effects.total(store, spec, rows), zero)[0].log()
    far = replace(store, values=store.values * 10)
    times = effects(effects.total(far, spec, rows), zero)[0].log()
    reach = float(seen.max() - seen.min())
    assert float(times.max()) <= float(seen.max()) + 0.5 * reach + 1e-6
    assert float(times.min()) >= float(seen.min()) - 0.5 * reach - 1e-6


def test_covariates_tell_the_size_of_errors():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"storm": (rng.random(900) < 0.2).astype(int)}, days(900))
    X["other"] = rng.normal(size=900)
    y = pd.DataFrame({"y": rng.normal(size=900), "z": rng.normal(size=900)}, days(900))
    _, store, spec = learn(y, X)
    storm = X["storm"].to_numpy() == 1
    error = np.abs(rng.normal(size=(900, 2))) * np.where(storm, 6.0, 1.0)[:, None]
    error[:, 1] = np.abs(rng.normal(size=900))
    error[50:80] = np.nan
    rows = torch.arange(900)
    sizes = learn_sizes(store, spec, rows, rows, torch.from_numpy(error))
    times = sizes(store, spec, rows, rows).numpy()
    assert times[storm, 0].mean() / times[~storm, 0].mean() == pytest.approx(6, rel=0.2)
    assert (times[:, 1] == 1).all()
    even = torch.from_numpy(np.abs(rng.normal(size=(900, 2))))
    assert learn_sizes(store, spec, rows, rows, even) is None


# In a forecaster.


def flagged(rows, share, seed=0):
    """Return an output that stops on known days, and these."""
    rng, index = np.random.default_rng(seed), days(rows)
    stop = rng.random(rows) < share
    y = np.where(stop, 0.0, 60 + 8 * (index.dayofweek < 5) + 2 * rng.normal(size=rows))
    return pd.Series(y, index, name="output"), pd.DataFrame({"stop": stop.astype(int)}, index)


@pytest.fixture(scope="module")
def stopping():
    y, X = flagged(414, 0.03)
    X.iloc[-5, 0], y.iloc[-5] = 1, 0.0
    return tiny().fit(y[:400], X=X[:400], fh=FH), y[400:], X[400:]


def test_rare_known_events_are_forecast_even_by_a_network_that_knows_nothing(stopping):
    forecaster, y, X = stopping
    assert forecaster._fitted.model.calibration.trust < 0.5
    point, bands = forecaster.predict(FH, X), forecaster.predict_interval(FH, X, coverage=0.9)
    stop = X["stop"] == 1
    assert (point[stop].abs() < 20).all()
    assert (point[~stop] > 40).all()
    inside = (bands.iloc[:, 0] <= y) & (y <= bands.iloc[:, 1])
    assert inside.mean() > 0.8


def test_what_they_add_is_said_of_the_column(stopping):
    forecaster, _, X = stopping
    told = forecaster.explain(fh=[10, 11], X=X)
    np.testing.assert_allclose(told.sum(axis=1), forecaster.predict(fh=[10, 11], X=X), atol=1e-4)
    assert told["future", "stop"].iloc[0] < -25
    assert abs(told["future", "stop"].iloc[1]) < 5
    table = forecaster.variable_importance(num_windows=64, num_repeats=2)["importance"]
    assert table.idxmax() == ("future", "stop")
    assert table.max() > 5 * table.drop(("future", "stop")).abs().max()


def test_a_file_keeps_them_and_one_that_does_not_fit_is_refused(stopping):
    forecaster, _, X = stopping
    saved = forecaster.save(serialization_format="safetensors")[1]
    loaded = TransformerLSTMForecaster.load_from_serial(saved)
    pd.testing.assert_series_equal(loaded.predict(FH, X), forecaster.predict(FH, X))
    simple = forecaster._fitted.model.calibration.simple
    kept = simple.effects
    object.__setattr__(simple, "effects", replace(kept, weights=kept.weights[:, :1]))
    try:
        edited = forecaster.save(serialization_format="safetensors")[1]
    finally:
        object.__setattr__(simple, "effects", kept)
    with pytest.raises(ValueError, match="the calibration's effects has"):
        TransformerLSTMForecaster.load_from_serial(edited)


def test_points_do_not_hang_on_which_steps_or_rows_are_asked(stopping):
    forecaster, _, X = stopping
    whole = forecaster.predict(FH, X)
    some = forecaster.predict(fh=[3, 10], X=X)
    np.testing.assert_allclose(some, whole.iloc[[2, 9]], rtol=1e-6)


def test_x_beyond_training_is_warned_of_though_it_is_clipped():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"depth": rng.choice([0.0, 0.1, 0.2, 0.4], 214)}, days(214))
    y = 10 * X["depth"] + rng.normal(size=214)
    forecaster = tiny().fit(y[:200], X=X[:200], fh=FH)
    later = X[200:].copy()
    forecaster.predict(X=later)  # says nothing
    later.iloc[4, 0] = 0.43  # hardly beyond
    forecaster.predict(X=later)
    later.iloc[4, 0] = 0.55
    with pytest.warns(UserWarning, match=r"'depth' from .* to 0.55 where training had 0 to 0.4"):
        forecaster.predict(X=later)


def test_the_range_of_few_rows_is_left_by_several_times_itself_before_a_warning():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"depth": rng.normal(size=50)}, days(50))
    forecaster = tiny().fit(X["depth"][:36] + 5, X=X[:36], fh=FH)
    later = X[36:].copy()
    span = X["depth"][:36].max() - X["depth"][:36].min()
    later.iloc[3, 0] = X["depth"][:36].max() + 2.5 * span
    forecaster.predict(X=later)  # says nothing: 36 rows tell little of the range
    later.iloc[3, 0] = -1e6
    with pytest.warns(UserWarning, match=r"'depth' from -1e\+06 to .* in straight lines"):
        forecaster.predict(X=later)


def test_a_day_that_is_not_known_yet_does_not_move_the_level():
    rng, index = np.random.default_rng(5), days(314)
    X = pd.DataFrame({"event": (rng.random(314) < 0.06).astype(int)}, index)
    X.iloc[299] = 1
    X.iloc[300:] = 0
    y = 50 + rng.normal(size=314).cumsum() / 3 + 40 * X["event"]
    forecaster = tiny().fit(y[:290], X=X[:290], fh=FH)
    assert forecaster._fitted.model.calibration.simple.effects is not None
    known = forecaster.predict(FH, X, y=y[:300])
    late = y[:300].copy()
    late.iloc[299] = np.nan
    assert np.abs(forecaster.predict(FH, X, y=late) - known).max() < 8


def test_effects_of_files_of_before_are_as_they_were(stopping):
    forecaster = stopping[0]
    effects = forecaster._fitted.model.calibration.simple.effects
    made = storing._effects(effects.weights, bounds=effects.bounds)
    assert made.multiplies == (False,)
    store, spec = forecaster._fitted.history.store, forecaster._fitted.model.spec
    rows = torch.arange(200)
    assert (made.familiarity(made.total(store, spec, rows)) == 1).all()
    assert (made.doubt(made.total(store, spec, rows)) == 1).all()
    torch.testing.assert_close(
        made.by_column(store, spec, rows), effects.by_column(store, spec, rows) + effects.usual.T
    )


def test_few_stops_are_forecast_and_do_not_move_what_comes_after():
    y, X = pumped(440, stops=0, seed=4)
    still = [*np.random.default_rng(1).choice(390, 5, replace=False), 424, 430]
    y.iloc[still], X.iloc[still] = 0.0, 1.0  # one is the last row that is seen
    forecaster = tiny(max_epochs=4).fit(y["flow"][:400], X=X[:400], fh=FH)
    past = y["flow"][:425]
    bands = forecaster.predict_interval(range(1, 15), X, coverage=0.9, y=past)
    point = forecaster.predict(range(1, 15), X, y=past)
    still = X["still"].loc[point.index].to_numpy() == 1
    assert still.sum() == 1
    assert abs(point[still].iloc[0]) < 8
    usual = np.where(point.index.dayofweek > 4, 100.0, 50.0)
    assert np.abs(point - usual)[~still].max() < 12
    inside = (bands.iloc[:, 0] <= 0) & (bands.iloc[:, 1] >= 0)
    assert bool(inside[still].all())
    told = forecaster.explain(range(1, 15), X, y=past)
    np.testing.assert_allclose(told.sum(axis=1), point, atol=1e-3)
    saved = forecaster.save(serialization_format="safetensors")[1]
    loaded = TransformerLSTMForecaster.load_from_serial(saved)
    pd.testing.assert_series_equal(loaded.predict(FH, X, y=past), point)


def test_counts_that_fall_to_nothing_keep_intervals_of_their_size():
    rng, index = np.random.default_rng(0), days(400)
    X = pd.DataFrame({"event": (rng.random(400) < 0.1).astype(int)}, index)
    rate = np.where(np.arange(400) < 290, 60.0, 12.0) * np.where(X["event"] == 1, 0.2, 1.0)
    y = pd.Series(rng.poisson(rate), index, dtype=float)
    forecaster = tiny(loss="negative_binomial").fit(y[:386], X=X[:386], fh=FH)
    upper = forecaster.predict_quantiles(FH, X[386:], alpha=[0.99]).to_numpy()
    assert upper.max() < 120


def test_a_few_promotions_are_forecast_in_proportion_to_the_level():
    rng, index = np.random.default_rng(2), days(428)
    X = pd.DataFrame({"promotion": (rng.random(428) < 0.05).astype(int)}, index)
    X.iloc[-6, 0] = 1
    level = np.where(np.arange(428) < 300, 20.0, 60.0)
    times = np.where(X["promotion"] == 1, 2.5, 1.0)
    y = pd.Series(level * times * np.exp(0.05 * rng.normal(size=428)), index, name="sold")
    forecaster = tiny().fit(y[:380], X=X[:380], fh=FH)
    assert forecaster._fitted.model.calibration.simple.effects.multiplies == (True,)
    forecaster.update(y[380:414], X=X[380:414], update_params=False)
    point = forecaster.predict(FH, X[414:])
    usual = point[X["promotion"][414:] == 0].mean()
    assert point.iloc[-6] > 1.75 * usual  # what is added, 50, and not trusted in full: 1.5
    told = forecaster.explain(fh=[9], X=X[414:])
    assert told.sum(axis=1).iloc[0] == pytest.approx(point.iloc[-6], rel=1e-4)
    assert told["future", "promotion"].iloc[0] == pytest.approx(point.iloc[-6] - usual, rel=0.2)
    saved = forecaster.save(serialization_format="safetensors")[1]
    loaded = TransformerLSTMForecaster.load_from_serial(saved)
    pd.testing.assert_series_equal(loaded.predict(FH, X[414:]), point)
    effects = forecaster._fitted.model.calibration.simple.effects
    object.__setattr__(effects, "multiplies", (True, False))
    edited = forecaster.save(serialization_format="safetensors")[1]
    with pytest.raises(ValueError, match="effects are of 2 targets"):
        TransformerLSTMForecaster.load_from_serial(edited)


def test_intervals_are_wide_on_the_days_that_covariates_call_uncertain():
    rng, index = np.random.default_rng(3), days(614)
    X = pd.DataFrame({"storm": (rng.random(614) < 0.2).astype(int)}, index)
    size = np.where(X["storm"] == 1, 10.0, 1.0)
    y = pd.Series(40 + size * rng.normal(size=614), index, name="y")
    forecaster = tiny().fit(y[:600], X=X[:600], fh=FH)
    assert forecaster._fitted.model.calibration.simple.sizes is not None
    X.iloc[600:, 0] = [0, 1] * 7
    bounds = forecaster.predict_interval(FH, X[600:], coverage=0.9).to_numpy()
    width = bounds[:, 1] - bounds[:, 0]
    assert width[1::2].mean() / (3.29 * 10) == pytest.approx(1, abs=0.4)
    assert width[::2].mean() / 3.29 == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("wrong", [1, 7])
def test_wrong_covariates_of_usual_rows_do_not_take_forecasts_away(wrong):
    rng, index = np.random.default_rng(3), days(707)
    season = 1 + 0.3 * np.sin(np.arange(707) / 7 * 2 * np.pi)
    price = np.exp(rng.normal(0, 0.25, 707))
    y = pd.Series(100 * season * price**-2.5 * np.exp(rng.normal(0, 0.1, 707)), index, name="sold")
    price[700:] = 1.0
    price[700 - wrong : 700] = 4.0
    y.iloc[700 - wrong : 700] = 100 * season[700 - wrong : 700]
    X = pd.DataFrame({"price": price}, index)
    forecaster = tiny(context_length=28).fit(y[:700], X=X[:700], fh=range(1, 8))
    assert forecaster._fitted.model.calibration.simple.effects.multiplies == (True,)
    assert forecaster.predict(X=X[700:]).max() < 170  # 100 times a season of at most 1.3


def test_what_is_missing_ahead_widens_intervals():
    rng, index = np.random.default_rng(9), days(330)
    X = pd.DataFrame(rng.normal(size=(330, 2)), index, columns=["heat", "wind"])
    y = 40 + 4 * X["heat"] + 0.5 * X["wind"] + rng.normal(size=330)
    forecaster = tiny().fit(y[:300], X=X[:300], fh=FH)

    def widths(**columns):
        bounds = forecaster.predict_interval(X=X[300:].assign(**columns)).to_numpy()
        return bounds[:, 1] - bounds[:, 0]

    whole = widths()
    with pytest.warns(UserWarning, match="without any value"):
        unknown = widths(heat=np.nan)
    assert (unknown > 2 * whole).all()
    with pytest.warns(UserWarning, match="without any value"):
        faint = widths(wind=np.nan)
    assert (faint < 1.6 * whole).all()
    late = X["heat"].copy()
    late.iloc[302:] = np.nan
    some = widths(heat=late) / whole
    assert some[0] < 1.5 < some[-1]


def test_a_driver_that_wanders_is_followed_beyond_what_training_had():
    errors, held = [], []
    for seed in range(4):
        rng, index = np.random.default_rng(seed), days(214)
        driver = rng.normal(size=214).cumsum()
        driver[200:] = driver[199] + 4 + rng.normal(size=14).cumsum()
        X = pd.DataFrame({"driver": driver}, index)
        truth = pd.Series(10 - 2 * driver, index)
        y = truth + rng.normal(size=214)
        forecaster = tiny().fit(y[:200], X=X[:200], fh=range(1, 15))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            point = forecaster.predict(X=X[200:])
            bounds = forecaster.predict_interval(X=X[200:]).to_numpy()
        errors.append((point - truth[200:]).abs().mean())
        held.append(((y[200:] > bounds[:, 0]) & (y[200:] < bounds[:, 1])).mean())
    assert np.mean(errors) < 1.2
    assert np.mean(held) > 0.75


def test_a_column_that_never_moved_is_told_when_it_does():
    rng, index = np.random.default_rng(4), days(200)
    X = pd.DataFrame({"heat": rng.normal(size=200), "strike": 0.0}, index)
    y = 20 + 3 * X["heat"] + rng.normal(size=200)
    forecaster = tiny().fit(y[:186], X=X[:186], fh=FH)
    forecaster.predict(X=X[186:])
    moved = X[186:].assign(strike=[0.0] * 5 + [1.0] * 9)
    with pytest.warns(UserWarning, match="'strike' from 0 to 1 where training had nothing but 0"):
        forecaster.predict(X=moved)
