"""Every index, container, dtype and horizon that sktime takes, in and out of the forecasters."""

import contextlib
import copy
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sktime.datatypes import convert_to
from sktime.forecasting.base import ForecastingHorizon
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import ForecastWarning, TransformerLSTMForecaster
from tests.setups import tiny

ROWS = 53
FH = [1, 2, 3]
QUANTILES = [0.1, 0.5, 0.9]


def values(rows=ROWS, seed=0):
    time = np.arange(rows)
    noise = np.random.default_rng(seed).normal(size=rows)
    return 50 + 10 * np.sin(time / 7 * 2 * np.pi) + noise


def monthly(rows=ROWS, seed=0):
    return pd.Series(values(rows, seed), pd.period_range("2019-01", periods=rows, freq="M"))


# Indices.

DATES = {
    "hourly": pd.date_range("2024-01-01", periods=ROWS + 3, freq="h"),
    "half-hourly": pd.date_range("2024-01-01 00:30", periods=ROWS + 3, freq="30min"),
    "daily": pd.date_range("2024-01-01", periods=ROWS + 3, freq="D"),
    "business days": pd.date_range("2024-01-01", periods=ROWS + 3, freq="B"),
    "weeks that end on Wednesday": pd.date_range("2024-01-03", periods=ROWS + 3, freq="W-WED"),
    "month ends": pd.date_range("2020-01-31", periods=ROWS + 3, freq="ME"),
    "month starts": pd.date_range("2020-01-01", periods=ROWS + 3, freq="MS"),
    "quarters": pd.date_range("2000-03-31", periods=ROWS + 3, freq="QE"),
    "years": pd.date_range("1950-12-31", periods=ROWS + 3, freq="YE"),
    "four seconds": pd.date_range("2024-01-01", periods=ROWS + 3, freq="4s"),
    "milliseconds": pd.date_range("2024-01-01", periods=ROWS + 3, freq="5ms"),
    "UTC": pd.date_range("2024-01-01", periods=ROWS + 3, freq="h", tz="UTC"),
    "hourly in spring": pd.date_range("2024-03-30", periods=ROWS + 3, freq="h", tz="Europe/Berlin"),
    "hourly in autumn": pd.date_range("2024-10-26", periods=ROWS + 3, freq="h", tz="Europe/Berlin"),
    "local days": pd.date_range("2024-02-20", periods=ROWS + 3, freq="D", tz="Europe/Berlin"),
}
PERIODS = {
    f"periods of {freq}": pd.period_range("2020-01-01", periods=ROWS + 3, freq=freq)
    for freq in ("h", "D", "W", "M", "Q", "Y")
}
NUMBERS = {
    "range": pd.RangeIndex(ROWS + 3),
    "range from 100": pd.RangeIndex(100, 100 + ROWS + 3),
    "negative range": pd.RangeIndex(-20, ROWS + 3 - 20),
    "integers": pd.Index(np.arange(5, ROWS + 8), dtype="int64"),
    "int32": pd.Index(np.arange(5, ROWS + 8), dtype="int32"),
}
INDICES = {**DATES, **PERIODS, **NUMBERS}


@pytest.mark.parametrize("name", INDICES)
def test_forecast_continues_the_index(name):
    index = INDICES[name]
    y = pd.Series(values(), index[:ROWS], name="load")
    X = pd.DataFrame({"x": values(ROWS + 3, seed=1)}, index)
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    forecast = forecaster.predict(X=X[ROWS:])
    assert forecast.index.equals(index[ROWS:])
    assert forecast.index.dtype == index.dtype or name == "int32"  # sktime makes them int64
    assert forecast.name == "load"
    assert np.isfinite(forecast).all()
    absolute = ForecastingHorizon(index[ROWS:], is_relative=False)
    assert forecaster.predict(fh=absolute, X=X[ROWS:]).equals(forecast)
    seen = forecaster.predict(fh=ForecastingHorizon(index[10:13], is_relative=False))
    assert seen.index.equals(index[10:13])
    assert np.isfinite(seen).all()


@pytest.mark.parametrize("name", INDICES)
def test_update_continues_the_index(name):
    index = INDICES[name]
    y = pd.Series(values(ROWS + 3), index)
    forecaster = tiny().fit(y[: ROWS - 4], fh=FH).update(y[ROWS - 4 : ROWS], update_params=False)
    forecast = forecaster.predict()
    assert forecast.index.equals(index[ROWS:])
    assert np.isfinite(forecast).all()
    residuals = forecaster.predict_residuals()
    assert residuals.index.equals(index[:ROWS])


@pytest.mark.parametrize("name", ["hourly in spring", "hourly in autumn", "local days"])
def test_clock_change_within_the_horizon(name):
    index = DATES[name]
    change = int(np.argmax([time.dst() != index[0].dst() for time in index]))
    assert 0 < change < ROWS
    seen = change - 1  # the forecast crosses the change
    y = pd.Series(values(ROWS + 3), index)
    forecast = tiny(context_length=5).fit(y[:seen], fh=[1, 2, 3, 4]).predict()
    assert forecast.index.equals(index[seen : seen + 4])


def test_index_without_a_freq_gives_the_same_forecast():
    index = DATES["hourly"]
    with_freq = pd.Series(values(), index[:ROWS])
    without = pd.Series(values(), pd.DatetimeIndex(index[:ROWS].to_numpy()))
    assert with_freq.index.freq is not None and without.index.freq is None
    expected = tiny().fit(with_freq, fh=FH).predict()
    pd.testing.assert_series_equal(tiny().fit(without, fh=FH).predict(), expected, check_freq=False)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_resolution_of_the_timestamps_stays(unit):
    index = DATES["hourly"].as_unit(unit)
    forecaster = tiny().fit(pd.Series(values(), index[:ROWS]), fh=FH)
    assert forecaster.predict().index.dtype == f"datetime64[{unit}]"
    reference = tiny().fit(pd.Series(values(), DATES["hourly"][:ROWS]), fh=FH)
    np.testing.assert_array_equal(forecaster.predict(), reference.predict())


# Containers.


def test_every_container_of_one_series_gives_the_same_numbers():
    numbers = values()
    expected = tiny().fit(pd.Series(numbers), fh=FH).predict()
    assert isinstance(expected, pd.Series)
    named = tiny().fit(pd.Series(numbers, name="load"), fh=FH).predict()
    assert (expected.name, named.name) == (None, "load")
    frame = tiny().fit(pd.DataFrame({"load": numbers}), fh=FH).predict()
    assert list(frame.columns) == ["load"]
    for array in (numbers, numbers[:, None]):
        forecast = tiny().fit(array, fh=FH).predict()
        assert forecast.ndim == array.ndim or array.ndim == 1
        np.testing.assert_array_equal(np.ravel(forecast), expected)
    for forecast in (named, frame):
        np.testing.assert_array_equal(np.ravel(forecast), expected)


def test_multivariate_series_keep_their_columns():
    y = pd.DataFrame({"b": values(seed=0), "a": values(seed=1), 7: values(seed=2)})
    forecaster = tiny(calibration="none").fit(y, fh=FH)  # whose points are its medians
    forecast = forecaster.predict()
    assert list(forecast.columns) == ["b", "a", 7]
    quantiles = forecaster.predict_quantiles(alpha=QUANTILES)
    assert list(quantiles.columns) == [(name, a) for name in y.columns for a in QUANTILES]
    for name in y.columns:
        np.testing.assert_array_equal(quantiles[name][0.5], forecast[name])


@pytest.mark.parametrize("kind", ["series", "frame", "panel"])
def test_a_target_of_objects_is_numbers_or_has_no_value_as_one_of_floats(kind):
    y = pd.Series(values(), name="load")
    y[5] = np.nan
    exact = [None if np.isnan(value) else Decimal(value) for value in y]
    objects = pd.Series(exact, dtype=object, name="load")
    absent = pd.Series([None] * 9, dtype=object, name="load")
    if kind != "series":
        y, objects, absent = (one.to_frame() for one in (y, objects, absent))
    if kind == "panel":
        y, objects, absent = (pd.concat({"p": one, "q": one}) for one in (y, objects, absent))
    before = objects.copy()
    forecaster, expected = tiny().fit(objects, fh=FH), tiny().fit(y, fh=FH)
    np.testing.assert_array_equal(forecaster.predict(), expected.predict())
    np.testing.assert_array_equal(forecaster.predict(y=objects), expected.predict(y=y))
    assert objects.equals(before)
    with pytest.raises(ValueError, match="Got y without any observed value"):
        tiny().fit(absent, fh=FH)
    with pytest.raises(ValueError, match="Got y without any observed value"):
        forecaster.predict(y=absent)


def test_a_frame_whose_target_has_another_name_is_refused_as_with_several_targets():
    load = pd.DataFrame({"load": values()})
    other, cv = load.set_axis(["price"], axis=1), ExpandingWindowSplitter(FH, 20, 9)
    forecaster = tiny().fit(load[:40], fh=FH)
    before = forecaster.predict()
    calls = {
        "predict": lambda: forecaster.predict(y=other[:30]),
        "predict_interval": lambda: forecaster.predict_interval(y=other[:30]),
        "predict_samples": lambda: forecaster.predict_samples(y=other[:30]),
        "update": lambda: forecaster.update(other[40:]),
        "update_predict": lambda: forecaster.update_predict(other[40:], cv),
        "backtest": lambda: forecaster.backtest(other, None, cv),
        "predict_residuals": lambda: forecaster.predict_residuals(other[:30]),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match="column 'price', expected that of training: 'load'"):
            call()
    pd.testing.assert_frame_equal(forecaster.predict(), before)
    assert list(forecaster.fit(other[:40], fh=FH).predict().columns) == ["price"]


@pytest.mark.parametrize("trained", ["load", None])
@pytest.mark.parametrize("name", ["load", "price", None])
def test_a_series_has_any_name_and_all_forecasts_have_it(trained, name):
    y = pd.Series(values(), name=trained)
    forecaster = tiny().fit(y[:30], fh=FH)
    later = y[30:40].rename(name)
    assert forecaster.predict(y=later).name == name
    label = 0 if name is None else name
    assert forecaster.predict_interval(y=later).columns[0] == (label, 0.9, "lower")
    for update_params in (False, True):  # at once, and by sktime's loop
        splitter = ExpandingWindowSplitter(FH, 3, 3)
        found = forecaster.update_predict(later, splitter, update_params=update_params)
        assert found.index.tolist() == list(range(33, 39))
    assert forecaster.update(later).predict().name == name
    if trained is None:  # frames may have any name too
        frame = y.to_frame("load")
        assert list(forecaster.predict(y=frame).columns) == ["load"]
        assert forecaster.predict_quantiles(y=frame, alpha=[0.5]).columns[0] == ("load", 0.5)


def panel(keys, names, rows=ROWS, columns=("y",)):
    frames = [
        pd.DataFrame({c: values(rows, seed=10 * i + j) for j, c in enumerate(columns)})
        for i in range(len(keys))
    ]
    for frame in frames:
        frame.index = pd.period_range("2019-01", periods=rows, freq="M")
    return pd.concat(frames, keys=keys, names=names)


DEPTHS = {
    2: (["c", "a", "b"], ["shop", "month"]),
    3: ([("N", 1), ("N", 2), ("S", 1)], ["region", "shop", "month"]),
    4: ([("N", 1, "x"), ("N", 1, "y"), ("S", 3, "x")], ["region", "shop", "item", "month"]),
    5: ([("N", 1, "x", 0), ("N", 1, "y", 0)], [None, None, None, None, None]),
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_multiindex_of_any_depth(depth):
    keys, names = DEPTHS[depth]
    y = panel(keys, names).sort_index()
    X = y.rename(columns={"y": "x"}) * 2
    last = y.index.get_level_values(-1).max()
    known = y.index.get_level_values(-1) <= last - 3
    forecaster = tiny().fit(y[known], X=X[known], fh=FH)
    forecast = forecaster.predict(X=X[~known])
    pd.testing.assert_index_equal(forecast.index, y[~known].index)
    assert forecast.index.names == names
    assert np.isfinite(forecast).all(axis=None)
    levels = list(range(depth - 1)) if depth > 2 else 0
    shuffled = X[~known].groupby(level=levels, sort=False, group_keys=False)
    backwards = pd.concat([frame for _, frame in shuffled][::-1])
    if depth > 2:  # sktime wants panels (two levels) sorted
        return
    assert forecaster.predict(X=backwards.sort_index()).equals(forecast)


@pytest.mark.parametrize("name", INDICES)
def test_panels_have_every_index(name):
    index = INDICES[name]
    frames = {
        key: pd.DataFrame({"y": values(ROWS, seed)}, index[:ROWS]) for seed, key in enumerate("ab")
    }
    y = pd.concat(frames, names=["key", "time"])
    forecast = tiny().fit(y, fh=FH).predict()
    for key in "ab":
        assert list(forecast.loc[key].index) == list(index[ROWS:])
    kept = forecast.index.levels[1].dtype == index.dtype
    assert kept or name == "int32"  # integers are int64 in forecasts
    assert np.isfinite(forecast).all(axis=None)


def test_ragged_panel_forecasts_after_each_own_last_row():
    long, short = monthly(ROWS), monthly(ROWS - 6, seed=1)
    y = pd.concat([long, short], keys=["long", "short"], names=["key", "month"]).to_frame("y")
    forecast = tiny().fit(y, fh=FH).predict()
    assert forecast.loc["long"].index.equals(pd.period_range(long.index[-1] + 1, periods=3))
    assert forecast.loc["short"].index.equals(pd.period_range(short.index[-1] + 1, periods=3))


def test_one_series_of_a_panel_is_forecast_as_in_the_panel():
    y = panel(["a", "b", "c"], ["key", "month"])
    whole = tiny().fit(y, fh=FH)
    from_panel = whole.predict()
    batch = whole.predict_quantiles(alpha=QUANTILES)
    for key in "abc":
        # the same network on one series alone: only the batch differs
        alone = copy.deepcopy(whole)
        alone.update(y.loc[[key]], update_params=False)
        np.testing.assert_allclose(alone.predict().loc[key], from_panel.loc[key], rtol=1e-6)
        quantiles = alone.predict_quantiles(alpha=QUANTILES)
        np.testing.assert_allclose(quantiles.loc[key], batch.loc[key], rtol=1e-6)


# Dtypes.


@pytest.mark.parametrize("dtype", ["int64", "int16", "uint8", "float32", "float16", "bool"])
def test_dtype_of_y(dtype):
    y = monthly().round().clip(1, 200)
    typed = (y > 50 if dtype == "bool" else y).astype(dtype)
    forecast = tiny().fit(typed, fh=FH).predict()
    assert forecast.dtype == np.float64
    expected = tiny().fit(typed.astype("float64"), fh=FH).predict()
    np.testing.assert_array_equal(forecast, expected)


@pytest.mark.parametrize("dtype", ["Int64", "Int8", "Float32", "Float64"])
def test_nullable_dtypes_with_missing_values(dtype):
    y, x = monthly().round(), monthly(ROWS + 3, seed=1).round()
    y.iloc[[5, 17]] = np.nan
    x.iloc[[3, 40]] = np.nan
    expected = tiny().fit(y.to_frame("y"), X=x[:ROWS].to_frame("x"), fh=FH)
    typed = tiny().fit(y.astype(dtype).to_frame("y"), X=x[:ROWS].astype(dtype).to_frame("x"), fh=FH)
    np.testing.assert_array_equal(
        typed.predict(X=x[ROWS:].astype(dtype).to_frame("x")),
        expected.predict(X=x[ROWS:].to_frame("x")),
    )


def test_covariates_of_every_kind_together():
    index = pd.period_range("2019-01", periods=ROWS + 3, freq="M")
    time = np.arange(ROWS + 3)
    X = pd.DataFrame(
        {
            "float": values(ROWS + 3, 1),
            "integer": time % 5,
            "flag": time % 2 == 0,
            "nullable": pd.array(time % 3, dtype="Int64"),
            "maybe": pd.array(time % 2 == 0, dtype="boolean"),
            "category": pd.Categorical(np.where(time % 4 == 0, "high", "low")),
            "text": np.where(time % 7 == 0, "rain", "sun"),
            "object": pd.Series(np.where(time % 7 == 0, "rain", "sun"), dtype=object),
        }
    ).set_index(index)
    y = monthly()
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    forecast = forecaster.predict(X=X[ROWS:])
    assert np.isfinite(forecast).all()
    for name in X.columns:
        changed = X[ROWS:].copy()
        changed[name] = X[name].iloc[[0, 1, 7]].to_numpy()
        if changed[name].astype(object).equals(X[ROWS:][name].astype(object)):
            changed[name] = X[name].iloc[[1, 3, 1]].to_numpy()
        assert not forecaster.predict(X=changed.astype(X.dtypes)).equals(forecast), name
    reordered = forecaster.predict(X=X[ROWS:][X.columns[::-1]])
    assert reordered.equals(forecast)  # by name, not by position


# Horizons.


@pytest.fixture(scope="module")
def fitted():
    """A forecaster of daily data with a horizon of 7, and its full forecast."""
    y = pd.Series(values(), DATES["daily"][:ROWS], name="y")
    forecaster = tiny().fit(y, fh=range(1, 8))
    return forecaster, forecaster.predict(fh=range(1, 8))


AMOUNTS = pd.Series(np.round(values(120) / 3, 2), pd.RangeIndex(120), name="amount")
TEXTS = {
    "a mark": (AMOUNTS.astype(str).where(AMOUNTS.index != 7, "n.a."), "but not 'n.a.'"),
    "commas": (AMOUNTS.astype(str).str.replace(".", ","), r"such as '\d+,\d+'"),
    "thousands": ((1000 * AMOUNTS).map("{:,.2f}".format), r"such as '\d+,\d{3}\.\d\d'"),
    "whole": ((100 * AMOUNTS).astype(int).astype("string"), r"such as '\d+'"),
    "codes": ((100 * AMOUNTS).astype(int).map("{:06d}".format), None),
    "months": (AMOUNTS.index.to_series().mod(12).add(1).astype(str), None),
    "sizes": (AMOUNTS.index.to_series().mod(9).div(2).astype(str), None),
    "names": ("m" + AMOUNTS.astype(str), None),
    "said to be names": (AMOUNTS.astype(str).astype("category"), None),
}


@pytest.mark.parametrize("column, words", TEXTS.values(), ids=TEXTS)
def test_numbers_read_as_text_are_warned_of_and_names_are_not(column, words):
    y, X = pd.Series(values(120)), column.to_frame("amount")
    warned = contextlib.nullcontext()
    if words is not None:
        warned = pytest.warns(ForecastWarning, match=f"'amount' of text, whose .*{words}")
    with warned:
        forecaster = tiny().fit(y, X=X, fh=FH)
    assert list(forecaster._fitted.model.encoder.categories) == ["amount"]


def test_codes_of_series_are_names_and_their_sizes_read_as_text_are_warned_of():
    keys = [f"s{number}" for number in range(60)]
    y = pd.concat({key: pd.DataFrame({"y": values(8)}) for key in keys}, names=["key", "time"])
    number = y.index.get_level_values(0).str[1:].astype(int)
    X = pd.DataFrame({"code": (number + 70).astype(str)}, y.index)
    for static in (None, ["code"]):
        tiny(static_covariates=static).fit(y, X=X, fh=FH)
    X["size"] = (number * 1.25).astype(str)
    with pytest.warns(ForecastWarning, match="'size' of text, whose 60 values are numbers"):
        tiny(static_covariates=["code", "size"]).fit(y, X=X, fh=FH)


@pytest.mark.parametrize("steps", [[1], [7], [2, 5], [3, 4, 5, 6, 7], [1, 7]])
def test_any_subset_of_the_horizon_equals_the_full_forecasts_rows(fitted, steps):
    forecaster, full = fitted
    rows = [step - 1 for step in steps]
    pd.testing.assert_series_equal(forecaster.predict(fh=steps), full.iloc[rows], check_freq=False)
    alphas = [0.05, 0.5, 0.77]
    quantiles = forecaster.predict_quantiles(fh=range(1, 8), alpha=alphas)
    some = forecaster.predict_quantiles(fh=steps, alpha=alphas)
    pd.testing.assert_frame_equal(some, quantiles.iloc[rows], check_freq=False)


def test_a_subset_does_not_depend_on_how_far_beyond_the_horizon_it_goes(fitted):
    forecaster, full = fitted
    far = forecaster.predict(fh=range(1, 25))
    np.testing.assert_allclose(far[:7], full, rtol=1e-12)
    np.testing.assert_allclose(forecaster.predict(fh=[9, 20]), far.iloc[[8, 19]], rtol=1e-12)
    everything = forecaster.predict(fh=range(-10, 25))
    np.testing.assert_allclose(everything[11:], far, rtol=1e-12)
    np.testing.assert_allclose(forecaster.predict(fh=[-4, 0]), everything.iloc[[6, 10]], rtol=1e-12)


@pytest.mark.parametrize(
    "names",
    [["p", "q"], [4, 2], pd.date_range("2024-01-01", periods=2)],
    ids=["text", "integers", "dates"],
)
def test_nested_panels_are_fitted_whatever_their_series_are_called(names):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"y": rng.normal(size=50), "x": rng.normal(size=50)})
    frame.index = pd.MultiIndex.from_product([names, range(25)], names=["name", "time"])
    early = frame.index.get_level_values(1) < 23
    forecaster, flat = tiny(), tiny()
    y, X, later = (
        convert_to(part, "nested_univ")
        for part in (frame.loc[early, ["y"]], frame.loc[early, ["x"]], frame.loc[~early, ["x"]])
    )
    found = forecaster.fit(y, X, fh=[1, 2]).predict(X=later)
    assert found.index.tolist() == list(names)
    expected = flat.fit(frame.loc[early, ["y"]], frame.loc[early, ["x"]], fh=[1, 2])
    expected = expected.predict(X=frame.loc[~early, ["x"]])
    for name in names:
        np.testing.assert_allclose(found.loc[name, "y"], expected.loc[name, "y"], rtol=1e-6)


HORIZONS = {
    "list": [2],
    "array": np.array([2]),
    "range": range(2, 3),
    "Index": pd.Index([2]),
    "ForecastingHorizon": ForecastingHorizon([2]),
    "absolute DatetimeIndex": pd.DatetimeIndex(["2024-02-24"], freq="D"),
    "absolute ForecastingHorizon": ForecastingHorizon(
        pd.DatetimeIndex(["2024-02-24"], freq="D"), is_relative=False
    ),
    "timedelta": ForecastingHorizon(pd.to_timedelta([2], unit="D"), is_relative=True, freq="D"),
    "TimedeltaIndex": pd.to_timedelta([2], unit="D"),
    "Timedelta": [pd.Timedelta(2, "D")],
    "timedelta64": np.array([2], dtype="timedelta64[D]"),
}


@pytest.mark.parametrize("kind", HORIZONS)
def test_every_way_to_say_two_steps_ahead(fitted, kind):
    forecaster, full = fitted
    forecast = forecaster.predict(fh=HORIZONS[kind])
    assert list(forecast.index) == [pd.Timestamp("2024-02-24")]
    assert forecast.iloc[0] == full.iloc[1]


@pytest.mark.parametrize("kind", HORIZONS)
def test_every_way_to_say_it_in_fit(kind):
    y = pd.Series(values(), DATES["daily"][:ROWS], name="y")
    forecaster = tiny().fit(y, fh=HORIZONS[kind])
    assert forecaster.prediction_length_ == 2
    assert forecaster.predict().index.equals(DATES["daily"][ROWS + 1 : ROWS + 2])


def test_an_integer_is_all_steps_up_to_it(fitted):
    forecaster, full = fitted
    assert forecaster.predict(fh=2).equals(full[:2])


def test_unsorted_horizon(fitted):
    forecaster, full = fitted
    # sktime sorts every horizon
    pd.testing.assert_series_equal(
        forecaster.predict(fh=[5, -1, 2])[1:], full.iloc[[1, 4]], check_freq=False
    )


# What the caller passes stays as it is.


def test_the_callers_objects_stay_as_they_were():
    y = panel(["a", "b"], ["key", "month"]).astype("float32")
    X = y.rename(columns={"y": "x"}).assign(weather="sun")
    X.iloc[3, 0] = np.nan
    y.iloc[4, 0] = np.nan
    last = y.index.get_level_values(-1).max()
    time = y.index.get_level_values(-1)
    pieces = {
        "fit": (y[time <= last - 6], X[time <= last - 6]),
        "update": (y[(time > last - 6) & (time <= last - 3)], X[time <= last - 3]),
        "predict": (y[time > last - 3], X[time > last - 3]),
    }
    before = copy.deepcopy(pieces)
    fh = ForecastingHorizon([1, 2, 3])
    forecaster = tiny().fit(*pieces["fit"], fh=fh)
    forecaster.update(*pieces["update"])
    future = pieces["predict"][1]
    forecaster.predict(X=future)
    forecaster.predict_interval(X=future)
    forecaster.predict_proba(X=future)
    forecaster.predict_var(X=future)
    forecaster.predict_residuals()
    forecaster.predict_residuals(*pieces["predict"])
    tiny().pretrain(*pieces["fit"]).fit(*pieces["fit"], fh=fh)
    for name, frames in pieces.items():
        for frame, copied in zip(frames, before[name], strict=True):
            pd.testing.assert_frame_equal(frame, copied)
            pd.testing.assert_index_equal(frame.index, copied.index, exact=True)
    assert list(fh) == [1, 2, 3]


def test_forecasts_are_the_callers_to_change():
    y = monthly()
    forecaster = tiny().fit(y, fh=FH)
    expected = forecaster.predict()
    forecast = forecaster.predict()
    forecast.iloc[:] = 0.0
    y.iloc[:] = 0.0
    assert forecaster.predict().equals(expected)


def test_covariates_tell_the_step_where_every_series_has_one_row():
    hours = pd.date_range("2024-01-01", periods=6, freq="h")
    keys = ["a", "b"]
    X = pd.concat({key: pd.DataFrame({"x": np.arange(6.0)}, hours) for key in keys})
    y = pd.DataFrame({"y": [1.0, 2.0]}, pd.MultiIndex.from_product([keys, hours[:1]]))
    settings = {"d_model": 4, "num_heads": 2, "max_epochs": 1, "calibration": "none"}
    forecaster = TransformerLSTMForecaster(**settings, random_state=0)
    forecaster.fit(y, X=X, fh=[1, 2])
    with pytest.warns(ForecastWarning, match="from 1 to 2 where training had nothing but 0"):
        forecast = forecaster.predict(X=X)
    assert list(forecast.loc["b"].index) == list(hours[1:3])


def test_a_step_beyond_all_bounds_is_an_error_instead_of_a_lack_of_memory():
    forecaster = TransformerLSTMForecaster(d_model=4, num_heads=2, max_epochs=1)
    y = pd.Series(np.arange(9.0))
    with pytest.raises(ValueError, match="step 1000000000, expected at most 100000"):
        forecaster.fit(y, fh=[10**9])


def with_a_number_and_a_kind(rows=ROWS + 3):
    y = monthly(rows)
    kinds = np.where(np.arange(rows) % 3, "closed", "open")
    return y, pd.DataFrame({"price": values(rows, seed=8), "state": kinds}, y.index)


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (lambda price: price.astype(str), r"with the text '\d\d\.\d+'"),
        (lambda price: price.map("{:.2f}".format).astype("category"), r"with the text '"),
        (lambda price: [1.5, "n/a", 2.5], "with the text 'n/a'"),
        (lambda price: pd.Timestamp("2024-02-02"), r"with the value Timestamp\('2024-02-02"),
        (lambda price: pd.DatetimeIndex([None] * 3), "of type datetime64"),
    ],
)
def test_what_was_numeric_in_training_is_expected_as_numbers(price, words):
    y, X = with_a_number_and_a_kind()
    forecaster = tiny().fit(y[:ROWS], X=X[:ROWS], fh=FH)
    later = X[ROWS:].assign(price=price(X["price"][ROWS:]))
    words = rf"column 'price' .*{words}.* numeric in training.*pandas\.to_numeric\(X\['price'\]\)"
    with pytest.raises(TypeError, match=words):
        forecaster.predict(X=later)
    with pytest.raises(TypeError, match=words):
        forecaster.update(y[ROWS:], X=later)
    text = X.assign(price=X["price"].astype(str))
    with pytest.raises(TypeError, match=r"'price' .* with the text"):
        forecaster.predict(FH, X=text, y=y[:ROWS])


def test_static_numbers_are_expected_as_numbers_too():
    y, X = with_a_number_and_a_kind()
    keys = {"names": ["shop", "month"]}
    y = pd.concat({shop: y.to_frame("sales") for shop in "ab"}, **keys)
    X = pd.concat({shop: X[["state"]].assign(area=float(ord(shop))) for shop in "ab"}, **keys)
    known = y.index.get_level_values(1) < y.index[ROWS][1]
    forecaster = tiny(static_covariates=["area"]).fit(y[known], X=X[known], fh=FH)
    with pytest.raises(TypeError, match=r"column 'area' .* with the text '97\.0'.*to_numeric"):
        forecaster.predict(X=X[~known].astype(str))


def test_numbers_in_the_place_of_categories_are_categories_that_are_found_or_warned_of():
    y, X = with_a_number_and_a_kind()
    forecaster = tiny().fit(y[:ROWS], X=X[:ROWS], fh=FH)
    with pytest.warns(ForecastWarning, match=r"'state', no value of which is known.*\[2\.5\]"):
        forecaster.predict(X=X[ROWS:].assign(state=2.5))
    X["state"] = X["state"].map({"closed": 3, "open": 4})
    forecaster = tiny().fit(y[:ROWS], X=X[:ROWS].astype({"state": str}), fh=FH)
    numbers, text = (forecaster.predict(X=X[ROWS:].astype({"state": one})) for one in (float, str))
    assert numbers.equals(text)
