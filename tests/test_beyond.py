"""What training did not prepare for is refused or warned of; what it did prepare for is silent."""

import copy

import numpy as np
import pandas as pd
import pytest
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm.notices import ForecastWarning
from tests.setups import tiny

FAR = r"Got y with .* in {}.*, [\d,]+ times as far from the usual as training data reach"
DAYS = pd.date_range("2024-01-01", periods=90, freq="D")
CV = ExpandingWindowSplitter([1, 2], initial_window=60, step_length=10)


def daily(seed=0, index=DAYS):
    rng = np.random.default_rng(seed)
    values = 20 + 5 * np.sin(2 * np.pi * np.arange(len(index)) / 7) + rng.normal(size=len(index))
    return pd.Series(values, index, name="y")


def panel(**series):
    frames = {key: one.to_frame("y") for key, one in series.items()}
    return pd.concat(frames, names=["key", "time"])


def record(rows=200, seed=0, size=1.0):
    """Return the output of a system of first order, and its input."""
    u = size * np.repeat(np.random.default_rng(seed).uniform(-2, 2, -(-rows // 5)), 5)[:rows]
    y = np.zeros(rows)
    for row in range(1, rows):
        y[row] = 0.8 * y[row - 1] + 0.2 * u[row]
    return pd.Series(y, name="y"), pd.DataFrame({"u": u})


def simulator(**parameters):
    settings = {"mode": "simulation", "context_length": 8, "prediction_length": 24}
    return tiny(**{**settings, **parameters})


def messages(call):
    """Return what a call warns of."""
    with pytest.warns(ForecastWarning) as caught:
        call()
    return [str(one.message) for one in caught]


@pytest.fixture(scope="module")
def forecaster():
    return tiny().fit(daily(), fh=[1, 2])


def heat(index=DAYS):
    return pd.DataFrame({"heat": np.random.default_rng(5).normal(size=len(index))}, index)


def test_an_update_that_skips_rows_of_x_is_warned_of():
    y, X = daily(), heat()
    heated = tiny().fit(y[:60], X[:60], fh=[1, 2])
    heated.update(y[60:63], X[60:68], update_params=False)  # five rows of X beyond y
    skips = messages(lambda: heated.update(y[68:72], X[66:72], update_params=False))
    assert len(skips) == 1
    assert skips[0].startswith(
        f"Got y that skips 3 rows for which X has none, the first {DAYS[63]}: the covariates of "
        "the row before stand in for theirs. Pass X with the skipped rows in the same call; rows "
        "of X beyond the y of an earlier one are not kept."
    )
    told = tiny().fit(y[:60], X[:60], fh=[1, 2]).update(y[60:63], X[60:63], update_params=False)
    told.update(y[68:72], X[63:72], update_params=False)  # silent
    told.update(y[60:66], X[60:66], update_params=False)


def test_skipped_rows_of_a_panel_are_named_by_their_series():
    y, frames = panel(a=daily(1), b=daily(2)), {"a": heat(), "b": heat()}
    X = pd.concat(frames, names=["key", "time"])
    time = y.index.get_level_values(-1)
    early = time < DAYS[60]
    heated = tiny().fit(y[early], X[early], fh=[1, 2])
    new = time >= np.where(y.index.get_level_values(0) == "b", DAYS[62], DAYS[60])
    message = f"skips 2 rows for which X has none, the first {DAYS[60]} of series 'b'"
    with pytest.warns(ForecastWarning, match=message):
        heated.update(y[new], X[new], update_params=False)
    left = "the last 10 rows of 'a' are in no window"
    with pytest.warns(ForecastWarning, match=message), pytest.warns(ForecastWarning, match=left):
        cv = ExpandingWindowSplitter([1, 2], initial_window=8, step_length=10)
        tiny().fit(y[early], X[early], fh=[1, 2]).backtest(y[new], X[new], cv)


@pytest.fixture(scope="module")
def simulating():
    y, X = record()
    return simulator().fit(y, X=X)


# Another unit of y.


@pytest.mark.parametrize(
    "method", ["predict", "predict_interval", "predict_quantiles", "predict_var", "predict_samples"]
)
def test_a_past_in_another_unit_is_warned_of_once_whatever_is_asked(forecaster, method):
    past = daily(1)[:40]
    forecast = getattr(forecaster, method)
    forecast([1, 2], y=past)
    (told,) = messages(lambda: forecast([1, 2], y=past * 1e4))
    assert "in the given past, " in told and "times as far from the usual" in told


def test_a_backtest_in_another_unit_is_warned_of_once(forecaster):
    y = daily(1)
    forecaster.backtest(y, None, CV)
    (told,) = messages(lambda: forecaster.backtest(y * 1e4, None, CV))
    assert "in a backtest, " in told


def test_a_series_of_a_panel_is_compared_with_itself_and_a_new_one_with_none():
    y = panel(a=daily(), b=1e5 * daily(1))
    forecaster = tiny().fit(y, fh=[1])
    forecaster.predict([1], y=panel(b=1e5 * daily(2)[:30], new=1e9 * daily(3)[:30]))
    with pytest.warns(ForecastWarning, match=FAR.format("the given past of series 'a'")):
        forecaster.predict([1], y=panel(a=1e5 * daily(2)[:30]))
    single = tiny().fit(panel(a=daily()).droplevel(0), fh=[1])
    single.predict([1], y=panel(a=1e9 * daily(3)[:30]))  # whose name tells nothing


def test_what_training_had_itself_is_no_other_unit():
    y = panel(a=daily(), b=daily(1))
    y.iloc[[20, 130]] = 3e7
    forecaster = tiny(scaler="robust_arcsinh").fit(y, fh=[1])
    forecaster.predict([1], y=y)
    with pytest.warns(ForecastWarning, match="times as far"):
        forecaster.predict([1], y=y * 1e4)


def test_a_series_that_learns_its_scale_still_tells_of_no_unit():
    forecaster = tiny().fit(panel(a=daily(), b=daily()[:3]), fh=[1])
    forecaster.predict([1], y=panel(b=1e5 * daily()[:30]))


@pytest.mark.parametrize("factor", [20, 1000, -1000])
def test_a_simulation_from_outputs_in_another_unit_is_warned_of(simulating, factor):
    y, X = record(seed=1)
    with pytest.warns(ForecastWarning, match=FAR.format("the given past")):
        simulating.predict([1, 2], X, y=factor * (y[:30] + 0.5))
    updated = copy.deepcopy(simulating)
    later = y.index + 200
    new = factor * (y.set_axis(later)[:30] + 0.5), X.set_axis(later)[:30]
    with pytest.warns(ForecastWarning, match=FAR.format("an update")):
        updated.update(new[0], X=new[1], update_params=False)
    with pytest.warns(ForecastWarning, match=FAR.format("a backtest")):
        simulating.backtest(factor * y, X, CV)


@pytest.mark.parametrize("factor", [-1.0, 0.1, 2.0])
def test_a_simulation_from_outputs_of_the_size_of_training_is_silent(simulating, factor):
    y, X = record(seed=1)
    simulating.predict([1, 2], X, y=factor * y[:30])
    simulating.backtest(factor * y, X, CV)
    later = y.index + 200
    new = factor * y.set_axis(later)[:30], X.set_axis(later)[:30]
    copy.deepcopy(simulating).update(new[0], X=new[1], update_params=False)


def test_only_rows_that_a_simulation_reads_are_compared(simulating):
    y, X = record(seed=1)
    simulating.predict([1, 2], X, y=y[:30].where(y.index[:30] > 2, 500.0))
    with pytest.warns(ForecastWarning, match="the given past"):
        simulating.predict([1, 2], X, y=y[:30].where(y.index[:30] != 22, 500.0))


def test_fine_tuning_a_simulation_to_another_unit_is_warned_of():
    y, X = record()
    pretrained = simulator(finetune_epochs=1).pretrain(panel(a=y), X=pd.concat({"a": X}))
    pretrained.clone().fit(y, X=X)
    told = messages(lambda: pretrained.clone().fit(1000 * y, X=X))
    assert len(told) == 1 and "in fit, " in told[0]
    told = messages(lambda: pretrained.clone().fit(y, X=1000 * X))
    assert all("'u'" in one and "the network extrapolates" in one for one in told)


@pytest.mark.parametrize("serialization_format", ["pickle", "safetensors"])
def test_a_loaded_simulator_knows_how_far_training_reached(simulating, serialization_format):
    y, X = record(seed=1)
    saved = simulating.save(None, serialization_format)
    loaded = type(simulating).load_from_serial(saved[1])
    with pytest.warns(ForecastWarning, match=FAR.format("the given past")):
        loaded.predict([1], X, y=1000 * y[:30])


# Inputs beyond training, in the context and in updates.


def test_inputs_of_the_context_and_of_updates_are_compared_too(simulating):
    y, X = record(seed=1)
    beyond = X.where(X.index.to_series() >= 30, 7.0)
    earlier = X.where(X.index.to_series() >= 20, 7.0)  # than the context
    with pytest.warns(ForecastWarning, match=r"'u' from .* to 7 in the rows of y where training"):
        simulating.predict([1], beyond, y=y[:30])
    simulating.predict([1], earlier, y=y[:30])
    later = y.index + 200
    with pytest.warns(ForecastWarning, match="in the rows of y where training"):
        copy.deepcopy(simulating).update(
            y.set_axis(later)[:30], X=beyond.set_axis(later)[:30], update_params=False
        )


def test_inputs_that_are_missing_where_there_are_outputs_are_warned_of():
    y, X = record()
    X = X.assign(other=X["u"].shift(1).fillna(0.0))
    few = X.copy()
    few.iloc[50, 0] = np.nan
    simulator().fit(y, X=few)  # says nothing
    X.iloc[50:80, 0] = np.nan
    with pytest.warns(ForecastWarning, match=r"without a value of \['u'\] in 30 of 200 rows that"):
        simulator().fit(y, X=X)
    y[50:90] = np.nan
    simulator().fit(y, X=X)  # says nothing: they explain none


def test_a_simulation_from_fewer_rows_than_in_training_is_warned_of(simulating):
    y, X = record(seed=1)
    context = simulating._fitted.model.spec.context_length
    simulating.predict([1, 2], X, y=y[:context])
    with pytest.warns(
        ForecastWarning, match=rf"a past of 1 row, where.* trained to start from {context}"
    ):
        simulating.predict([1, 2], X, y=y[:1])
    short = simulator(min_context_length=2).fit(y, X=X)
    short.predict([1, 2], X, y=y[:2])
    late = y[:context].copy()
    late.iloc[-1] = np.nan
    with pytest.warns(ForecastWarning, match="without an output in its last row: the network"):
        simulating.predict([1, 2], X, y=late)


def with_gear(gears, rows=200, seed=0):
    y, X = record(rows, seed)
    return y, X.assign(gear=np.resize(gears, rows))


def test_categories_that_a_simulation_was_not_trained_on_are_warned_of():
    y, X = with_gear(["low", "high"])
    forecaster = simulator().fit(y, X=X)
    forecaster.predict(range(1, 60), X, y=y[:30])
    strange = X.copy()
    strange.loc[40:44, "gear"] = ["w", "x", "y", "z", "x"]
    words = r"'gear', which has values that training did .* \['w', 'x', 'y'\] \(4 in 5 rows\)"
    with pytest.warns(ForecastWarning, match=words):
        forecaster.predict(range(1, 60), strange, y=y[:30])
    with pytest.warns(ForecastWarning, match=r"values in the rows of y that training did not"):
        forecaster.predict([1], strange, y=y[:46])
    forecaster.predict([1], strange, y=y[:60])  # whose context has none of them
    tiny().fit(y, X=X, fh=[1, 2]).predict([1, 2], X=strange[39:41].set_axis([200, 201]))


def without(X, rows):
    X = X.copy()
    X.loc[rows] = np.nan
    return X


def test_missing_inputs_are_warned_of_as_absent_rows_are(simulating):
    y, X = record(seed=1)
    words = r"missing values \(NaN\) in the columns \['u'\] in 3 of the 60 steps up to the last one"
    with pytest.warns(ForecastWarning, match=words + r".* the last known inputs stand in"):
        simulating.predict([60], without(X, [40, 41, 42]), y=y[:30])
    simulating.predict([10], without(X, range(40, 200)), y=y[:30])  # which are not read
    simulating.predict([10], without(X, [12]), y=y[:30])
    with pytest.warns(ForecastWarning, match=r"missing values \(NaN\) in the columns \['u'\]"):
        simulating.backtest(y, without(X, [100]), CV)
    simulating.backtest(y, without(X, [20]), CV)


def test_an_input_without_any_value_is_refused_or_warned_of():
    y, X = record()
    with pytest.raises(ValueError, match=r"X without any value in \['u'\] at the rows of y"):
        simulator().fit(y, X=X * np.nan)
    with pytest.warns(ForecastWarning, match=r"columns \['v'\] .* 1 of 2 inputs do nothing"):
        simulator().fit(y, X=X.assign(v=np.nan))
    with pytest.warns(ForecastWarning, match=r"without a value of \['v'\] in 51 of 200 rows"):
        simulator().fit(y, X=X.assign(v=X["u"].where(X.index > 50)))


# Another step.


@pytest.mark.parametrize("asked", ["h", "W", "MS", "12h"])
def test_a_past_of_another_step_is_refused(forecaster, asked):
    past = daily(1, pd.date_range("2024-01-01", periods=60, freq=asked))
    before = forecaster._fitted
    with pytest.raises(ValueError, match="expected the step that the forecaster was trained on"):
        forecaster.predict([1, 2], y=past)
    assert forecaster._fitted is before
    forecaster.predict([1, 2], y=daily(1, DAYS[:60] + pd.Timedelta("400D")))


def test_fine_tuning_to_another_step_is_refused():
    pretrained = tiny().pretrain(panel(a=daily()), fh=[1])
    years = pd.date_range("1950-12-31", periods=60, freq="YE")
    with pytest.raises(ValueError, match="expected the step that the forecaster was trained on"):
        pretrained.clone().fit(daily(1, years), fh=[1])
    pretrained.clone().fit(daily(1), fh=[1])


def test_counted_rows_of_another_step_are_refused():
    forecaster = tiny().fit(daily(index=pd.RangeIndex(60)), fh=[1])
    with pytest.raises(ValueError, match="Got rows with steps of 5 from 0, expected the step"):
        forecaster.predict([1], y=daily(index=pd.RangeIndex(0, 200, 5)))
    forecaster.predict([1], y=daily(index=pd.RangeIndex(900, 940)))
    forecaster.predict([1], y=daily(index=pd.RangeIndex(900, 901)))


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        (pd.offsets.CustomBusinessDay(holidays=["2024-03-04", "2024-03-05"]), "B"),
        ("WOM-1MON", "WOM-3MON"),
        ("ME", "MS"),
        ("bh", "bh"),
        ("SME", "SME"),
        (pd.offsets.CustomBusinessDay(weekmask="Sun Mon Tue Wed Thu"), "B"),
    ],
    ids=str,
)
def test_steps_of_one_kind_are_the_same_wherever_they_begin(trained, asked):
    forecaster = tiny().fit(daily(index=pd.date_range("2024-01-01", periods=60, freq=trained)))
    forecaster.predict([1], y=daily(1, pd.date_range("2025-05-09", periods=40, freq=asked)))


def test_a_backtest_of_a_simulation_at_another_step_is_refused():
    times = pd.date_range("2024-01-01", periods=200, freq="100ms")
    y, X = (part.set_axis(times) for part in record())
    forecaster = simulator().fit(y, X=X)
    with pytest.raises(ValueError, match="a step of another length is another system"):
        forecaster.backtest(y[::2], X[::2], CV)
    forecaster.backtest(y, X, CV)


# Nothing known of a series.


def test_series_without_a_value_are_named_in_fit_update_and_predict():
    nothing = daily() * np.nan
    empty = {key: nothing for key in "cdef"}
    words = r"observed value of 'y' in 4 of 5 series, such as \['c', 'd', 'e'\]: nothing is known"
    with pytest.warns(ForecastWarning, match=words):
        tiny().fit(panel(a=daily(), **empty), fh=[1])
    forecaster = tiny().fit(panel(a=daily(), b=daily(1)), fh=[1])
    with pytest.warns(ForecastWarning, match=r"in 1 of 2 series, such as \['c'\]"):
        forecaster.predict([1], y=panel(a=daily(), c=nothing))
    with pytest.warns(ForecastWarning, match=r"in 1 of 1 series, such as \['c'\]"):
        forecaster.update(panel(a=daily(), c=nothing), update_params=False)
    forecaster.update(panel(a=daily() * np.nan, new=daily()), update_params=False)


# Static covariates that change.


def test_static_covariates_that_change_are_named_and_kept():
    y = panel(a=daily(), b=daily(1))
    X = pd.DataFrame({"size": 3.0, "kind": "shop"}, y.index)
    X.loc["b"] = [8.0, "mall"]
    early = y.index.get_level_values(1) < DAYS[80]
    forecaster = tiny(static_covariates=["size", "kind"]).fit(y[early], X=X[early], fh=[1, 2])
    forecast = forecaster.predict(X=X[~early])
    changed = X.copy()
    changed.loc["b", "size"] = 5.5
    told = []
    words = (
        r"'size' as 5.5 of series 'b', which was about 7.9\d in fit.* is kept \(1 series differ\)"
    )
    with pytest.warns(ForecastWarning, match=words):
        told.append(forecaster.predict(X=changed[~early]))
    pd.testing.assert_frame_equal(told[0], forecast)
    other = X.assign(kind="kiosk")
    with pytest.warns(ForecastWarning, match=r"'kind' as 'kiosk' of series 'a', which was 'shop'"):
        copy.deepcopy(forecaster).update(y[~early], X=other[~early], update_params=False)
    copy.deepcopy(forecaster).update(y[~early], X=X[~early], update_params=False)
    new = pd.concat([X[~early], X.loc[["b"]].rename(index={"b": "new"}, level=0)[-10:]])
    more = pd.concat([y[~early], y.loc[["b"]].rename(index={"b": "new"}, level=0)[-10:]])
    copy.deepcopy(forecaster).update(more, X=new, update_params=False)


# Updates without a new row.


def test_an_update_that_learns_nothing_but_overwrites_is_warned_of():
    y, X = record(60)
    other, other_X = record(60, seed=1)
    words = (
        r"update without a new row: 40 rows .* other values\. .* forecasts start from 49.*record"
    )
    with pytest.warns(ForecastWarning, match=words):
        simulator().fit(y, X=X).update(other[10:50], X=other_X[10:50])
    forecaster = simulator().fit(y, X=X)
    forecaster.update(y[10:50], X=X[10:50], update_params=False)  # the same values
    with pytest.warns(ForecastWarning, match=r"without a new row: none of .* Nothing is learnt"):
        forecaster.update(y[10:50], X=X[10:50])
    forecaster.update(other[10:50], X=other_X[10:50], update_params=False)  # corrections
    longer = (part.set_axis(part.index + 30) for part in (other, other_X))
    forecaster.update(next(longer), X=next(longer))


def test_values_that_come_late_are_no_other_values():
    y = daily().where(np.arange(90) != 50)
    forecaster = tiny().fit(y, fh=[1])
    with pytest.warns(ForecastWarning, match="without a new row: none of its rows"):
        forecaster.update(daily()[45:60])


def test_rows_before_those_known_are_not_learnt_from():
    forecaster = tiny().fit(daily()[20:], fh=[1])
    with pytest.warns(ForecastWarning, match="without a new row: .* fit again to learn"):
        forecaster.update(daily()[:30])
    with pytest.warns(ForecastWarning, match="without a new row: 2 rows that are known"):
        tiny().fit(daily()[20:], fh=[1]).update(daily()[:22] + 50)


def test_windows_of_update_predict_that_hold_nothing_new_are_told_of_once():
    y = daily()
    forecaster = tiny().fit(y[:60], fh=[1, 2])
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=5, step_length=3)
    with pytest.warns(ForecastWarning, match="without a new row") as found:
        forecaster.update_predict(y[40:60], cv)
    assert [one.filename for one in found] == [__file__]
    forecaster.update_predict(y[60:75], cv)
    forecaster.update_predict(y[40:60], cv, update_params=False)


@pytest.mark.parametrize(("missing", "warned"), [(0, None), (1, None), (2, 2), (9, 9)])
def test_a_past_that_ends_without_values_is_warned_of(missing, warned):
    y = daily(seed=5)
    y[len(y) - missing :] = np.nan
    late = tiny().fit(y, fh=[1, 2])
    for call in (late.predict, late.predict_interval):
        if warned is None:
            call()
        else:
            assert messages(call)[0].startswith(f"Got y without a value in its last {warned} rows")
    others = panel(a=daily(1), b=y, c=daily(2))
    found = [] if warned is None else messages(tiny().fit(others, fh=[1]).predict)
    assert len(found) == (warned is not None)
    assert all("of series 'b'" in one for one in found)


def test_gaps_that_come_every_week_are_no_news():
    y = daily(seed=6)
    y[y.index.dayofweek >= 5] = np.nan
    end = int(np.flatnonzero(y.index.dayofweek == 6)[-1]) + 1
    tiny().fit(y[:end], fh=[1, 2]).predict()  # a Sunday
    strange = y[: end - 1].copy()
    strange[-5:] = np.nan
    assert "its last 5 rows" in messages(tiny().fit(strange, fh=[1]).predict)[0]


def test_a_simulation_without_outputs_to_start_from_is_warned_of_unless_trained_so():
    y, X = record(seed=7)
    new, inputs = record(seed=8)
    for past in (new[:8] * np.nan, new[:8].where(new.index[:8] < 3)):
        found = messages(lambda past=past: simulator().fit(y, X=X).predict([1, 5], inputs, y=past))
        assert "hidden_past" in found[0]
    simulator(hidden_past=["y"]).fit(y, X=X).predict([1, 5], inputs, y=new[:8] * np.nan)


def test_the_network_is_not_told_what_training_had_always_or_never():
    rng = np.random.default_rng(9)
    y = daily(seed=9)
    X = pd.DataFrame({"whole": rng.normal(size=90), "gaps": rng.normal(size=90)}, DAYS)
    X.loc[DAYS[::4], "gaps"] = np.nan
    X["empty"] = np.nan
    with pytest.warns(ForecastWarning, match=r"X without any value in the columns \['empty'\]"):
        forecaster = tiny(calibration="none").fit(y[:80], X=X[:80], fh=[1, 2, 3])
    future = X[80:83].assign(gaps=0.5)
    before = forecaster.predict(X=future)

    def moved(**columns):
        return float((forecaster.predict(X=future.assign(**columns)) - before).abs().max())

    assert moved(empty=7.0) == 0.0
    last = X["whole"].iloc[79]
    with pytest.warns(ForecastWarning, match=r"\['whole'\] in the rows to forecast"):
        missing = forecaster.predict(X=future.assign(whole=np.nan))
    pd.testing.assert_series_equal(missing, forecaster.predict(X=future.assign(whole=last)))
    with pytest.warns(ForecastWarning, match=r"\['gaps'\] in the rows to forecast"):
        missing = forecaster.predict(X=future.assign(gaps=np.nan))
    assert not missing.equals(before)
    repeated = future.assign(gaps=X["gaps"][:80].ffill().iloc[-1])
    # training had gaps: that one is missing is known
    assert not missing.equals(forecaster.predict(X=repeated))
