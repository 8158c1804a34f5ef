"""Targets: names and scales of y, and series that learn their scale little by little."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.data import rows
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.scaling import SCALERS, location_scale
from sktime_tlstm.data.targets import ENOUGH_VALUES, LEARN_ALL, num_learnt
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.notices import ForecastWarning

HORIZON, ROWS = 3, 37
EVERY_SCALER = pytest.mark.parametrize("scaler", SCALERS)
TINY = {
    "d_model": 4,
    "num_heads": 2,
    "max_epochs": 1,
    "batch_size": 8,
    "max_windows_per_epoch": 16,
    "num_samples": 4,
    "context_length": 6,
    "random_state": 0,
}


def frame(values, key=None, start=0, columns=("sold",)):
    """Return daily rows of a series, with its key in front if it has one."""
    values = np.asarray(values, dtype=float)
    times = pd.date_range("2022-02-01", periods=len(values) + start, name="day")[start:]
    y = pd.DataFrame(values.reshape(len(values), -1), times, list(columns))
    return y if key is None else pd.concat({key: y}, names=["shop"])


def noise(level, rows=ROWS, seed=0):
    return level + level / 10 * np.random.default_rng(seed).normal(size=rows)


def old_panel(rows=ROWS):
    keys = {"a": 130.0, "b": 170.0, "c": 640.0}
    return pd.concat([frame(noise(v, rows, i), k) for i, (k, v) in enumerate(keys.items())])


def fit(y, scaler="robust_arcsinh", support="real"):
    encoder = FrameEncoder(support, scaler, scaler, (), (), ()).fit(y, None)
    return encoder, encoder.encode(y, None, HORIZON)


def extended(encoder, history, *parts):
    cutoff = history.lengths
    for part in parts:
        history, cutoff = encoder.extend(history, cutoff, part, None, HORIZON)
    return history


def contents(history, series):
    """Return copies of all that a history holds of a series."""
    store = history.store
    rows = slice(int(store.start[series]), int(store.start[series] + store.length[series]))
    parts = [store.values[rows], store.observed[rows]]
    parts += [getattr(store.traits, name)[series] for name in ("level", "spread", "unit")]
    arrays = [part.numpy().copy() for part in parts]
    return [*arrays, history.loc[series].copy(), history.scale[series].copy()]


def assert_same(left, right, series):
    for one, other in zip(contents(left, series), contents(right, series), strict=True):
        np.testing.assert_array_equal(one, other)


def decoded(encoder, history, series):
    return encoder.observed_targets(history, history.lengths)[series]


# New series learn.

BEGINNINGS = {
    "usual": [],
    "zero": [0.0],
    "missing": [np.nan],
    "missing long": [np.nan] * 9,
    "outlier": [1e7],
    "far outlier": [-1e13],
    "zeros and gaps": [0.0, 0.0, np.nan, 0.0],
    "tiny": [1e-9],
}


@EVERY_SCALER
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_new_series_row_by_row_equals_all_rows_at_once(beginning, scaler):
    values = noise(1200.0, seed=5)
    values[: len(BEGINNINGS[beginning])] = BEGINNINGS[beginning]
    encoder, history = fit(old_panel(), scaler)
    late = frame(values, "new")
    at_once = extended(encoder, history, late)
    row_by_row = extended(encoder, history, *(late[row : row + 1] for row in range(ROWS)))
    in_parts = extended(encoder, history, late[:5], late[5:6], late[6:30], late[30:])
    for found in (row_by_row, in_parts):
        assert_same(found, at_once, 3)
    seen = values[~np.isnan(values)]
    assert (at_once.loc[3, 0], at_once.scale[3, 0]) == location_scale(seen, scaler)
    precision = 1e-6 * at_once.scale[3, 0]
    back = decoded(encoder, row_by_row, 3).ravel()
    np.testing.assert_allclose(back, values, rtol=1e-5, atol=precision)
    for series in range(3):
        assert_same(row_by_row, history, series)


@pytest.mark.parametrize("support", ["positive", "count"])
def test_positive_values_and_counts_learn_their_scale_too(support):
    values = np.random.default_rng(1).poisson(60, 29) + 1.0
    values[0] = 1.0
    encoder, history = fit(old_panel().round(), "mean", support)
    late = frame(values, "new")
    found = extended(encoder, history, *(late[row : row + 1] for row in range(29)))
    assert found.scale[3, 0] == values.mean()
    assert_same(found, extended(encoder, history, late), 3)


def test_a_series_that_fit_saw_without_a_value_learns_from_its_first_ones():
    late = noise(55.0, seed=3)
    y = pd.concat([old_panel(), frame(np.full(11, np.nan), "empty")])
    encoder, history = fit(y)
    assert set(history.young) == {(3, 0)}
    parts = [frame(late[row : row + 1], "empty", 11 + row) for row in range(ROWS)]
    found = extended(encoder, history, *parts)
    assert (found.loc[3, 0], found.scale[3, 0]) == location_scale(late, "robust_arcsinh")
    np.testing.assert_allclose(decoded(encoder, found, 3)[11:].ravel(), late, rtol=1e-6)
    assert np.isnan(decoded(encoder, found, 3)[:11]).all()
    at_once = extended(encoder, history, frame(late, "empty", 11))
    assert_same(found, at_once, 3)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_series_of_few_values_in_fit_goes_on_learning_and_others_are_frozen(number):
    values = noise(900.0, 25, seed=2)
    values[0] = 0.0
    encoder, history = fit(frame(values[:number]))
    parts = [frame(values[row : row + 1], start=row) for row in range(number, 25)]
    found = extended(encoder, history, *parts)
    learnt = values if number < 4 else values[:number]
    assert (found.loc[0, 0], found.scale[0, 0]) == location_scale(learnt, "robust_arcsinh")
    np.testing.assert_allclose(decoded(encoder, found, 0).ravel(), values, rtol=1e-5, atol=1e-3)


def test_each_target_of_a_series_learns_by_itself():
    names = ("sold", "stock")
    y = pd.concat([frame(np.c_[noise(9.0), noise(70.0)], key, 0, names) for key in "ab"])
    encoder, history = fit(y)
    values = np.c_[noise(500.0, seed=8), np.full(ROWS, np.nan)]
    found = extended(encoder, history, frame(values, "c", 0, names))
    assert found.loc[2, 0] == np.median(values[:, 0])
    assert found.loc[2, 1] == history.loc[0, 1]
    values = np.c_[np.full(8, np.nan), noise(3.0, 8)]
    later = extended(encoder, found, frame(values, "c", ROWS, names))
    assert later.loc[2].tolist() == [found.loc[2, 0], np.median(values[:, 1])]
    np.testing.assert_allclose(decoded(encoder, later, 2)[ROWS:, 1], values[:, 1], rtol=1e-6)


def test_a_target_that_is_settled_stays_beside_one_that_learns():
    names = ("sold", "stock")
    values = np.c_[noise(9.0), np.full(ROWS, np.nan)]
    other = np.c_[noise(9.0), noise(70.0)]
    y = pd.concat([frame(values, "a", 0, names), frame(other, "b", 0, names)])
    encoder, history = fit(y)
    late = np.c_[noise(100.0, 10), noise(30.0, 10)]
    found = extended(encoder, history, frame(late, "a", ROWS, names))
    assert found.loc[0].tolist() == [history.loc[0, 0], np.median(late[:, 1])]
    assert found.store.traits.level[0, 0] == history.store.traits.level[0, 0]


def test_all_values_count_at_first_then_powers_of_two_and_at_last_no_more():
    counts = [0, 1, 5, LEARN_ALL, LEARN_ALL + 1, 127, 128, 300, 511, 512, 1023, 1024, 5000]
    learnt = [0, 1, 5, 64, 64, 64, 128, 256, 256, 512, 512, 1024, 1024]
    assert [num_learnt(count) for count in counts] == learnt
    values = noise(20.0, 1300, seed=4) * np.linspace(1, 30, 1300)
    encoder, history = fit(old_panel())
    late = frame(values, "new")
    found = history
    for end in (1, 2, 70, 127, 128, 900, 1025, 1300):
        begin = 0 if found is history else int(found.lengths[-1])
        found = extended(encoder, found, late[begin:end])
        assert (found.loc[3, 0], found.scale[3, 0]) == location_scale(
            values[: num_learnt(end)], "robust_arcsinh"
        )
        assert ((3, 0) in found.young) is (end < ENOUGH_VALUES)
        assert_same(found, extended(encoder, history, late[:end]), 3)
    np.testing.assert_allclose(decoded(encoder, found, 3).ravel(), values, rtol=1e-6)


def test_rows_that_change_no_scale_go_into_the_room():
    encoder, history = fit(old_panel())
    found = extended(encoder, history, frame(noise(8.0, 70), "new"))
    more = extended(encoder, found, frame(noise(800.0, 2), "new", 70))
    assert more.store.values.data_ptr() == found.store.values.data_ptr()
    assert len(found.young[3, 0][1]) == 70
    assert len(more.young[3, 0][1]) == 72
    last = extended(encoder, more, frame(noise(8.0, 56), "new", 72))
    assert last.store.values.data_ptr() != found.store.values.data_ptr()


def test_learning_changes_no_history_that_someone_still_holds():
    encoder, history = fit(pd.concat([old_panel(), frame([np.nan, 3.0], "few")]))
    held, before, young = [], [], []
    parts = [[700.0], noise(900.0, 4), noise(800.0, 3), noise(5.0)]
    for part in parts:
        held.append(history)
        before.append([contents(history, series) for series in range(4)])
        young.append(copy.deepcopy(history.young))
        start = int(history.lengths[-1])
        history = extended(encoder, history, frame(part, "few", start))
    extended(encoder, held[0], frame(noise(5.0), "few", 2), frame([4.0], "new"))
    for one, expected, learning in zip(held, before, young, strict=True):
        for series in range(4):
            for part, old in zip(contents(one, series), expected[series], strict=True):
                np.testing.assert_array_equal(part, old)
        assert one.young.keys() == learning.keys()
        for key, (when, values) in one.young.items():
            np.testing.assert_array_equal(when, learning[key][0])
            np.testing.assert_array_equal(values, learning[key][1])


def test_a_corrected_value_is_learnt_from_instead_of_the_first_and_missing_ones_are_not():
    encoder, history = fit(old_panel())
    values = noise(40.0, 20, seed=6)
    wrong = values.copy()
    wrong[[2, 7]] = 1e6
    first = extended(encoder, history, frame(wrong, "new"))
    gaps = np.where(np.isin(np.arange(20), [2, 7]), values, np.nan)
    assert_same(
        extended(encoder, first, frame(gaps, "new")),
        extended(encoder, history, frame(values, "new")),
        3,
    )


def test_rows_that_come_in_front_are_learnt_from_in_the_order_of_time():
    encoder, history = fit(old_panel())
    values = noise(40.0, 100) * np.linspace(1, 9, 100)
    parts = [frame(values[60:], "new", 60), frame(values[:60], "new")]
    found, at_once = (
        extended(encoder, history, *parts),
        extended(encoder, history, frame(values, "new")),
    )
    assert found.loc[3, 0] == at_once.loc[3, 0] == np.median(values[:64])
    assert_same(found, at_once, 3)


def test_young_series_keep_their_values_when_the_step_is_learnt():
    index = pd.MultiIndex.from_product([["p", "q"], [pd.Timestamp("2022-02-01")]])
    y = pd.DataFrame({"sold": [0.0, 7.0]}, index)
    encoder, history = fit(y)
    times = pd.date_range("2022-02-03", periods=5, freq="2D")
    late = pd.DataFrame({"sold": [50.0, 60.0, 55.0, 52.0, 58.0]}, times)
    found = extended(encoder, history, pd.concat({"p": late}))
    assert found.loc[0, 0] == np.median([0.0, 50, 60, 55, 52, 58])
    np.testing.assert_allclose(
        decoded(encoder, found, 0).ravel(), [0, 50, 60, 55, 52, 58], atol=1e-5
    )
    assert found.young[0, 0][0].tolist() == list(range(found.first[0], found.first[0] + 6))
    assert found.young[1, 0][1].tolist() == [7.0]
    y.iloc[0] = np.nan
    encoder, history = fit(y)
    found = extended(encoder, history, pd.concat({"p": late}))
    assert found.young[0, 0][1].tolist() == late["sold"].tolist()
    assert found.loc[0, 0] == 55.0


def test_long_series_with_few_values_are_learnt_from_all_of_them(monkeypatch):
    from sktime_tlstm.data import columns

    monkeypatch.setattr(columns, "MAX_STATISTIC_ROWS", 50)
    values = np.full(301, np.nan)
    values[[3, 5, 200]] = [4.0, 6.0, 8.0]  # none in the sample
    _, history = fit(frame(values), "standard")
    assert history.loc[0, 0] == 6.0
    assert len(history.young[0, 0][1]) == 3


# Series without a value.


@EVERY_SCALER
def test_a_series_without_a_value_is_scaled_as_the_others_are(scaler):
    empty = frame(np.full(7, np.nan), "empty")
    y = pd.concat([old_panel(), empty])
    encoder, history = fit(y, scaler)
    store = history.store
    for learnt in (
        history.loc,
        history.scale,
        store.traits.level.numpy(),
        store.traits.spread.numpy(),
    ):
        assert learnt[3, 0] == np.median(learnt[:3, 0])
    assert store.traits.unit[3, 0] == np.float32(history.scale[3, 0])
    # one that is new in an update sees those with values alone
    found = extended(encoder, history, frame(np.full(5, np.nan), "new"))
    assert_same_but_rows = [part for part in contents(found, 4)[2:]]
    for part, pooled in zip(assert_same_but_rows, contents(history, 3)[2:], strict=True):
        np.testing.assert_array_equal(part, pooled)
    level = encoder.decode(found, store.traits.level[None, [3]].numpy(), np.array([4]))
    assert 100 < level.item() < 700


def test_a_series_without_a_value_is_forecast_near_the_panel():
    keys = pd.concat([frame(noise(140.0, seed=i), f"shop {i}") for i in range(5)])
    empty = frame(np.full(ROWS, np.nan), "shop x")
    with pytest.warns(ForecastWarning, match="in 1 of 6 series, such as"):
        forecaster = TransformerLSTMForecaster(**TINY).fit(pd.concat([keys, empty]), fh=[1, 2])
    assert forecaster.predict().loc["shop x", "sold"].between(100, 180).all()
    late = frame(np.full(4, np.nan), "shop y")
    forecaster = TransformerLSTMForecaster(**TINY).fit(keys, fh=[1, 2])
    with pytest.warns(ForecastWarning, match=r"in 1 of 1 series, such as \['shop y'\]"):
        forecaster.update(late, update_params=False)
    assert forecaster.predict().loc["shop y", "sold"].between(100, 180).all()
    interval = forecaster.predict_interval().loc["shop y"]
    assert np.isfinite(interval).all(axis=None)


@pytest.mark.parametrize("support, level", [("positive", 1.0), ("count", 1.0)])
def test_the_level_of_zeros_is_one_where_it_is_a_scale(support, level):
    y = pd.concat([frame(np.full(9, np.nan), "empty"), frame(np.full(9, 6.0), "zero")])
    _, history = fit(y, "mean", support)
    assert history.store.traits.level.tolist() == [[level]] * 2
    if support == "count":
        _, history = fit(frame(np.zeros(9)), "mean", support)
        assert history.store.traits.level.tolist() == [[1.0]]


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(ForecastNet, "train_step", lambda *args, **kwargs: pytest.fail("trained"))


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("shape", ["series", "panel", "one of two targets"])
def test_a_target_without_any_value_is_refused_in_fit(shape):
    values = np.full(ROWS, np.nan)
    y = {
        "series": frame(values),
        "panel": pd.concat([frame(values, "p"), frame(values, "q")]),
        "one of two targets": frame(np.c_[noise(3.0), values], None, 0, ("sold", "stock")),
    }[shape]
    name = y.columns[-1]
    forecaster = TransformerLSTMForecaster(**TINY)
    with pytest.raises(ValueError, match=f"without any observed value in column '{name}'"):
        forecaster.fit(y, fh=[1])
    assert not forecaster.is_fitted


@pytest.mark.usefixtures("no_training")
def test_y_without_columns_is_refused():
    y = frame(noise(3.0))[[]]
    with pytest.raises(ValueError, match="y without columns, expected at least one"):
        FrameEncoder("real", None, None, (), (), ()).fit(y, None)


# Names.

TWO = ("north", "south")


def two(rows=ROWS, start=0):
    return frame(np.c_[noise(10.0, rows), noise(4000.0, rows, 1)], None, start, TWO)


def test_columns_are_matched_by_name_in_every_order():
    encoder, history = fit(two())
    late = two(5, ROWS)
    straight = extended(encoder, history, late)
    assert_same(extended(encoder, history, late[["south", "north"]]), straight, 0)
    assert_same(encoder.encode(two()[["south", "north"]], None, HORIZON), history, 0)
    np.testing.assert_array_equal(encoder.target_values(late[["south", "north"]]), late)


@pytest.mark.parametrize(
    "names", [("north", "east"), (0, 1), ("north", "north"), ("North", "south")]
)
def test_other_names_are_refused_with_both(names):
    encoder, history = fit(two())
    late = two(5, ROWS).set_axis(list(names), axis=1)
    for call in (
        lambda: extended(encoder, history, late),
        lambda: encoder.encode(late, None, HORIZON),
        lambda: encoder.target_values(late),
    ):
        with pytest.raises(ValueError, match="expected those of training") as error:
            call()
        assert str(list(names)) in str(error.value)
        assert "['north', 'south']" in str(error.value)


def test_a_single_target_may_have_any_name():
    encoder, history = fit(frame(noise(10.0)))
    late = frame(noise(10.0, 5), None, ROWS, ("other",))
    straight = extended(encoder, history, late.set_axis(["sold"], axis=1))
    assert_same(extended(encoder, history, late), straight, 0)
    series = late["other"].rename(None)
    forecaster = TransformerLSTMForecaster(**TINY).fit(frame(noise(10.0))["sold"], fh=[1])
    again = copy.deepcopy(forecaster)
    one = forecaster.update(series, update_params=False).predict()
    other = again.update(series.rename("sold"), update_params=False).predict()
    np.testing.assert_array_equal(one, other)


def test_forecasters_match_columns_by_name_in_update_backtest_and_residuals():
    y, late = two(), two(12, ROWS)
    forecaster = TransformerLSTMForecaster(**TINY).fit(y, fh=[1, 2])
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=3, step_length=2)
    swapped = late[["south", "north"]]
    table, same = (forecaster.backtest(data, None, cv) for data in (late, swapped))
    assert table.filter(like="test_").equals(same.filter(like="test_"))
    residuals, other = (forecaster.predict_residuals(d) for d in (y, y[["south", "north"]]))
    pd.testing.assert_frame_equal(other[list(TWO)], residuals)
    one, two_ = copy.deepcopy(forecaster), copy.deepcopy(forecaster)
    one.update(late, update_params=True)
    two_.update(swapped, update_params=True)
    assert one.predict().equals(two_.predict())
    with pytest.raises(ValueError, match="expected those of training"):
        forecaster.update(late.rename(columns={"south": "west"}), update_params=False)


@pytest.mark.parametrize("loss, scaler", [("quantile", "auto"), ("normal", "standard")])
def test_after_pretrain_the_same_names_are_the_same_targets_in_any_order(loss, scaler):
    training = pd.concat({"p": two(), "q": two(29)}, names=["shop"])
    options = {**TINY, "loss": loss, "scaler": scaler, "finetune_epochs": 0}
    pretrained = TransformerLSTMForecaster(**options).pretrain(training, fh=[1, 2])
    straight = pretrained.clone().fit(two(), fh=[1, 2])
    swapped = pretrained.clone().fit(two()[["south", "north"]], fh=[1, 2])
    for method in ("predict", "predict_interval", "predict_quantiles", "predict_var"):
        expected, found = (getattr(one, method)() for one in (straight, swapped))
        assert found.columns[0] in ("south", ("south", *expected.columns[0][1:]))
        pd.testing.assert_frame_equal(found[expected.columns], expected)
    samples = swapped.predict_samples()
    assert list(samples.columns) == ["south", "north"]
    pd.testing.assert_frame_equal(samples[list(TWO)], straight.predict_samples())
    means = swapped.predict_proba().mean()
    pd.testing.assert_frame_equal(means[list(TWO)], straight.predict_proba().mean())
    residuals = swapped.predict_residuals()
    assert list(residuals.columns) == ["south", "north"]
    pd.testing.assert_frame_equal(residuals[list(TWO)], straight.predict_residuals())
    # other names are matched by position
    renamed = pretrained.clone().fit(two().set_axis(["u", "v"], axis=1), fh=[1, 2])
    np.testing.assert_array_equal(renamed.predict(), straight.predict())


def test_renamed_targets_come_back_in_the_order_of_their_names():
    y = two()
    y.iloc[3:9, 1] = np.nan
    encoder, history = fit(y)
    swapped = encoder.renamed(["south", "north"])
    assert (swapped.targets, swapped.order, encoder.order) == (["south", "north"], [1, 0], [0, 1])
    again = swapped.encode(y, None, HORIZON)
    assert_same(again, history, 0)
    np.testing.assert_allclose(decoded(swapped, again, 0), y[["south", "north"]], rtol=1e-6)
    np.testing.assert_array_equal(swapped.target_values(y), y[["south", "north"]])
    assert list(swapped.aligned(y).columns) == ["south", "north"]
    assert encoder.renamed(["u", "v"]).order == [0, 1]


# Marks for missing values.

NETCDF = 9.969209968386869e36


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("loss", ["quantile", "mse", "normal", "student_t"])
@pytest.mark.parametrize("mark", [NETCDF, -NETCDF, 1e20, -3e25, 1e300, 1.7e308])
@pytest.mark.parametrize("share", [1, 3, 24])
def test_a_mark_for_a_missing_value_in_y_is_refused_in_fit_with_its_place(mark, loss, share):
    values = noise(30.0)
    values[5 : 5 + share] = mark
    forecaster = TransformerLSTMForecaster(**TINY, loss=loss)
    for y in (frame(values), pd.concat([frame(noise(7.0), "a"), frame(values, "b")])):
        with pytest.raises(ValueError, match=r"in column 'sold' at .*2022-02-06") as error:
            forecaster.fit(y, fh=[1])
        assert f"{mark:.6g}" in str(error.value)
        assert "Set it to NaN" in str(error.value)


@pytest.mark.parametrize("mark", [NETCDF, 1e20, -1e30])
def test_a_mark_for_a_missing_value_is_refused_in_update_and_nothing_changes(mark):
    y = pd.concat([frame(noise(7.0), "a"), frame(noise(800.0), "b")])
    forecaster = TransformerLSTMForecaster(**TINY).fit(y, fh=[1])
    before = forecaster.predict()
    values = noise(800.0, 6)
    values[4] = mark
    for key in ("b", "new"):
        with pytest.raises(ValueError, match=r"in column 'sold' at .*2022-03-14") as error:
            forecaster.update(frame(values, key, ROWS), update_params=False)
        assert f"{mark:.6g}" in str(error.value)
    assert forecaster.predict().equals(before)


def test_what_overflows_is_a_mark_even_beside_large_values():
    encoder, history = fit(frame(noise(1e22)))
    extended(encoder, history, frame([3e29], None, ROWS))
    with pytest.raises(ValueError, match=r"the value 3e\+30 .* at 2022-03-10"):
        extended(encoder, history, frame([3e30], None, ROWS))


def test_the_mark_is_named_and_not_an_outlier_before_it():
    values = noise(30.0) * 1e-12
    values[3], values[8] = 1e5, 1e20
    with pytest.raises(ValueError, match=r"the value 1e\+20 .* at 2022-02-09"):
        fit(frame(values), "robust")


def test_a_mark_that_came_first_is_named_when_values_tell():
    encoder, history = fit(old_panel())
    found = extended(encoder, history, frame([1e20], "new"))
    with pytest.raises(ValueError, match="the value 1e\\+20 in column 'sold' at 2022-02-01"):
        extended(encoder, found, *(frame([9.0 + row], "new", row) for row in range(1, 6)))
    corrected = extended(encoder, found, frame([8.0, 9.0, 10.0, 11.0], "new"))
    assert corrected.loc[3, 0] == 9.5


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("mark", [NETCDF, 1e20, -1e300])
def test_a_mark_for_a_missing_value_in_x_is_refused(mark):
    y, X = frame(noise(30.0)), frame(noise(2.0), columns=("wind",))
    X.iloc[4] = mark
    for scaler in SCALERS:
        for static in ((), ("wind",)):
            covariates = X.ffill() if not static else X * 0 + mark
            encoder = FrameEncoder("real", scaler, scaler, (), static, ())
            if static and abs(mark) < 1e30:
                continue  # a constant of any size is one
            with pytest.raises(ValueError, match="in column 'wind' at 2022-02"):
                encoder.fit(y, covariates)


def test_a_mark_in_later_rows_of_x_is_refused_with_its_place():
    y, X = frame(noise(30.0)), frame(noise(2.0, ROWS + 4), columns=("wind",))
    encoder = FrameEncoder("real", "robust", "robust", (), (), ()).fit(y, X[:ROWS])
    history = encoder.encode(y, X[:ROWS], HORIZON)
    X.iloc[ROWS + 1] = NETCDF
    wanted = np.ones((1, 3), dtype=bool)
    for call in (
        lambda: encoder.tail(history, history.lengths, 5, wanted, X[ROWS:]),
        lambda: encoder.extend(history, history.lengths, frame([1, 2], None, ROWS), X, HORIZON),
    ):
        with pytest.raises(ValueError, match="in column 'wind' at 2022-03-11"):
            call()
    X.iloc[ROWS + 1] = 1e14  # clipped: far, but a number
    with pytest.warns(UserWarning, match="'wind' from .* to 1e\\+14 where training had"):
        tail, _ = encoder.tail(history, history.lengths, 5, wanted, X[ROWS:])
    assert tail.store.values.abs().max() < 10


@pytest.mark.parametrize("size", [1e12, 1e-12, 1e20, 1e-20])
@pytest.mark.parametrize("loss", ["quantile", "mse"])
def test_a_series_of_any_size_is_no_mark(size, loss):
    values = noise(30.0)
    values[9] *= 1e6
    plain = TransformerLSTMForecaster(**TINY, loss=loss).fit(frame(values), fh=[1, 2])
    sized = TransformerLSTMForecaster(**TINY, loss=loss).fit(frame(values * size), fh=[1, 2])
    np.testing.assert_allclose(sized.predict() / size, plain.predict(), rtol=1e-3)


# Rows of X.


@pytest.mark.parametrize("value", [5.0, 6.0])
def test_a_row_of_x_that_is_given_twice_is_refused(value):
    y = pd.concat([frame(noise(3.0), "a"), frame(noise(3.0, 20), "b")])
    X = y.rename(columns={"sold": "heat"})
    X.iloc[-1] = 5.0
    twice = pd.concat([X, X[:1], X[-1:].assign(heat=value)])
    encoder = FrameEncoder("real", None, None, (), (), ()).fit(y, X)
    history = encoder.encode(y, X, HORIZON)
    with pytest.raises(ValueError, match=r"'a'.*(twice|without duplicates)"):
        encoder.encode(y, twice, HORIZON)
    earlier, wanted = history.lengths - 2, np.ones((2, 2), dtype=bool)
    with pytest.raises(ValueError, match=r"'b'.*2022-02-20|'a'.*without duplicates"):
        encoder.tail(history, earlier, 4, wanted, twice)


def test_a_row_of_x_that_is_given_twice_is_refused_across_blocks_too(monkeypatch):
    y = pd.concat([frame(noise(3.0, 9), "a"), frame(noise(3.0, 5), "b")])
    X = y.rename(columns={"sold": "heat"})
    encoder = FrameEncoder("real", None, None, (), (), ()).fit(y, X)
    monkeypatch.setattr(rows, "BLOCK_ROWS", 4)
    with pytest.raises(ValueError, match=r"'a'.*2022-02-03.*(twice|without duplicates)"):
        encoder.encode(y, pd.concat([X, X[2:3]]), HORIZON)


def test_far_values_are_clipped_in_units_of_the_column_whatever_its_sign():
    y = frame(noise(3.0, 9))
    X = pd.DataFrame({"outage": np.where(np.arange(9) == 4, -1e4, 0.0)}, y.index)
    encoder = FrameEncoder("real", "robust", "robust", (), (), ()).fit(y, X)
    assert encoder.encode(y, X - 1e18, HORIZON).store.values[:, 1].eq(1.0).all()


def test_static_covariates_may_come_in_the_order_of_time():
    y = pd.concat([frame(noise(3.0, 4), key) for key in "abc"])
    X = pd.DataFrame({"size": [1.0] * 4 + [5.0] * 4 + [7.0] * 4, "open": 1.0}, y.index)
    by_time = X.sort_index(level=1, sort_remaining=True)
    stores = []
    for covariates in (X, by_time):
        encoder = FrameEncoder("real", None, None, (), ("size",), ()).fit(y, covariates)
        stores.append(encoder.encode(y, covariates, HORIZON).store)
    assert torch.equal(*(store.traits.static for store in stores))
    np.testing.assert_allclose(stores[0].traits.static.ravel(), [1.0, 5.0, 7.0], atol=0.05)
    by_time.iloc[:6, 0] = np.nan
    encoder = FrameEncoder("real", None, None, (), ("size",), ()).fit(y, by_time)
    static = encoder.encode(y, by_time, HORIZON).store.traits.static
    assert torch.equal(static, stores[0].traits.static)
    by_time.iloc[-1, 0] = 9.0
    encoder = FrameEncoder("real", None, None, (), ("size",), ())
    with pytest.raises(ValueError, match=r"7.0 at \('c', .*03 00.*9.0 at \('c', .*04 00"):
        encoder.fit(y, by_time)


def test_a_missing_static_number_is_the_mean_of_the_others():
    y = pd.concat([frame(noise(3.0, 4), key) for key in "abcd"])
    X = pd.DataFrame({"mall": np.repeat([0.0, 1.0, 1.0, np.nan], 4)}, y.index)
    encoder = FrameEncoder("real", "robust", "robust", (), ("mall",), ()).fit(y, X)
    static = encoder.encode(y, X, HORIZON).store.traits.static
    np.testing.assert_allclose(static.ravel(), [0.0, 1.0, 1.0, 2 / 3], rtol=1e-6)
