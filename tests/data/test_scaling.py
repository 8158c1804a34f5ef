"""Scaling of covariates: rare events stay, faults of sensors do not, units do not matter."""

import numpy as np
import pandas as pd
import pytest

from sktime_tlstm.data import columns
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.scaling import (
    MAX_RARE,
    SCALERS,
    CovariateScaling,
    location_scale,
)

ROWS = 1460  # four years of days
EVENTS = np.array([11, 376, 741, 1106])  # one day in each
EVERY_SCALER = pytest.mark.parametrize("scaler", [name for name in SCALERS if name])


def column(values, usual=0.0, rows=ROWS, events=EVENTS):
    """Return a column of one value but at some events."""
    full = np.full(rows, float(usual))
    full[events] = values
    return full


def scaled(values, scaler="robust_arcsinh"):
    return CovariateScaling.fit(values, scaler)(values)


# Rare events.


@EVERY_SCALER
@pytest.mark.parametrize("coding", [1.0, 65.0, 0.02, -1.0, -7.5, 1e9, 1e-9])
def test_two_values_are_zeros_and_ones_in_any_unit(coding, scaler):
    expected = column(1.0)
    np.testing.assert_array_equal(scaled(column(coding), scaler), expected)
    few = column(coding, rows=24, events=[5])
    np.testing.assert_array_equal(scaled(few, scaler), column(1.0, rows=24, events=[5]))


@EVERY_SCALER
def test_two_values_without_a_zero_are_the_lower_and_the_higher(scaler):
    np.testing.assert_array_equal(scaled(column(12.0, 3.0), scaler), column(1.0))
    np.testing.assert_array_equal(scaled(column(-2.0, 3.0), scaler), column(0.0, 1.0))
    np.testing.assert_array_equal(scaled(column(0.0, 88.0), scaler), column(0.0, 1.0))


@EVERY_SCALER
@pytest.mark.parametrize("unit", [1.0, 1000.0, 0.25, -3.0])
@pytest.mark.parametrize("amounts", [(1, 2, 3, 4), (20.5, 33.0, 47.0, 81.0), (-2, 5, -2, 9)])
def test_rare_amounts_stay_apart_and_are_about_one_in_any_unit(amounts, unit, scaler):
    values = column(amounts)
    found = scaled(values * unit, scaler)
    np.testing.assert_allclose(np.sign(unit) * found, scaled(values, scaler), rtol=1e-12)
    assert not found[values == 0].any()
    order = np.argsort(amounts)
    assert (np.diff(np.sign(unit) * found[EVENTS[order]]) >= 0).all()
    assert len(np.unique(found)) == len(np.unique(values))
    assert 0.1 < np.abs(found[EVENTS]).min() <= np.abs(found).max() < 5


@EVERY_SCALER
def test_the_usual_value_need_not_be_zero(scaler):
    amounts = np.array([23.0, 25.0, 30.0, 14.0])
    base = scaled(column(amounts - 20), scaler)
    np.testing.assert_allclose(scaled(column(amounts, 20.0), scaler), base, rtol=1e-12)


def test_rare_amounts_by_hand():
    amounts = np.array([4.0, 6.0, 8.0, 10.0, 14.0])
    values = column(amounts, usual=-2.0, rows=1200, events=np.arange(5) * 200)
    scaling = CovariateScaling.fit(values, "robust")
    # distances from -2 are 6 8 10 12 16, and 16 once more as the largest of the column
    assert (scaling.location, scaling.scale) == (-2.0, 11.0)
    assert (scaling.low, scaling.high) == (-2.0, 14.0)
    np.testing.assert_allclose(scaling(amounts), np.array([6, 8, 10, 12, 16]) / 11)
    assert scaling.mean == pytest.approx((6 + 8 + 10 + 12 + 16) / 11 / 1200)


def test_events_on_one_side_stay_where_the_other_is_frequent():
    values = np.zeros(1000)
    values[:100] = np.linspace(1, 5, 100)  # a tenth of the rows
    values[500:504] = [-2.0, -3.0, -2.5, -2.0]
    scaling = CovariateScaling.fit(values, "standard")
    assert scaling.low == -3.0
    assert scaling.high == pytest.approx(np.quantile(values, 0.995))


def test_an_outlier_among_rare_amounts_is_bounded():
    values = column([2.0, 3.0, 2.0, 5000.0])
    for scaler in filter(None, SCALERS):
        assert np.abs(scaled(values, scaler)).max() <= MAX_RARE
    assert CovariateScaling.fit(values, "robust").high < 50


def test_rare_levels_stay_in_a_column_of_few():
    values = np.resize([0.0, 0.0, 0.0, 10.0, 10.0], 2000)
    values[[100, 900]] = 40.0
    assert CovariateScaling.fit(values, "robust").high == 40.0
    assert len(np.unique(scaled(values))) == 3
    # without levels, what is this rare is an outlier
    rng = np.random.default_rng(3)
    smooth = rng.normal(size=2000)
    smooth[[100, 900]] = 40.0
    assert CovariateScaling.fit(smooth, "robust").high == np.quantile(smooth, 0.995)


@pytest.mark.parametrize("extra", [0, 1])
def test_few_levels_are_a_dozen_with_twenty_rows_each(extra):
    levels = np.arange(12.0 + extra)
    values = np.resize(levels, 12000)
    values[values == levels[-1]] = 0.0
    values[:3] = levels[-1]
    high = CovariateScaling.fit(values, "robust").high
    assert high == (levels[-1] if extra == 0 else np.quantile(values, 0.995))
    short = np.resize(np.arange(5.0), 5 * 20 - extra)
    short[short == 4.0] = 0.0
    short[-1] = 4.0
    assert (CovariateScaling.fit(short, "robust").high == 4.0) is (extra == 0)


def test_amounts_too_few_to_learn_from_are_left_out_with_a_warning():
    y = pd.DataFrame({"y": np.arange(4000.0)}, pd.RangeIndex(4000))
    rain = column([0.5, 1.25, 7.0], rows=4000, events=[3, 4, 5])
    X = pd.DataFrame({"gauge": rain}, y.index)
    with pytest.warns(UserWarning, match=r"'gauge' of X, which is 0 but in a few.*0 \.\. 7:"):
        encoder = FrameEncoder("real", "robust", "robust", (), (), ()).fit(y, X)
    values = encoder.encode(y, X.assign(gauge=np.arange(4000.0)), 1).store.values[:, 1]
    assert not values.any()
    # repeated amounts, or one row in a thousand, are events
    for kept in (np.repeat([2.0], 3), [0.5, 1.25, 7.0, 2.0]):
        X["gauge"] = column(kept, rows=4000, events=np.arange(len(kept)))
        encoder.fit(y, X)
        assert encoder.encode(y, X, 1).store.values[: len(kept), 1].all()


@EVERY_SCALER
@pytest.mark.parametrize("amounts", [[3.0] * 4, [1.0, 2.0, 3.0, 5.0]])
def test_a_value_far_outside_training_does_not_explode(amounts, scaler):
    scaling = CovariateScaling.fit(column(amounts), scaler)
    far = np.abs(scaling(np.array([-1e14, 1e14])))
    assert far.max() == np.abs(scaling(np.array(amounts))).max() < 5
    assert far.min() == 0.0


@EVERY_SCALER
def test_a_continuous_column_is_clipped_to_its_outer_quantiles(scaler):
    rng = np.random.default_rng(7)
    for values in (rng.normal(50, 9, 3000), rng.gamma(2, 5, 301), rng.normal(size=17).round(1)):
        scaling = CovariateScaling.fit(values, scaler)
        assert (scaling.location, scaling.scale) == location_scale(values, scaler)
        assert (scaling.low, scaling.high) == tuple(np.quantile(values, [0.005, 0.995]))
        assert scaling.arcsinh is (scaler == "robust_arcsinh")
        room = scaling.high - scaling.low
        by_hand = np.clip(values, scaling.low - room, scaling.high + room)
        by_hand = (by_hand - scaling.location) / scaling.scale
        by_hand = np.arcsinh(by_hand) if scaling.arcsinh else by_hand
        np.testing.assert_array_equal(scaling(values), by_hand)
        assert scaling.mean == by_hand.mean()


def test_a_column_often_at_one_value_keeps_the_standard_deviation():
    values = np.zeros(1000)
    values[:70] = np.random.default_rng(0).gamma(2, 1, 70)
    scaling = CovariateScaling.fit(values, "robust")
    assert (scaling.location, scaling.scale) == (0.0, values.std())
    assert scaling.high == np.quantile(values, 0.995)


@EVERY_SCALER
def test_a_constant_is_one_and_zero_is_zero(scaler):
    np.testing.assert_array_equal(scaled(np.full(9, -45.0), scaler), np.ones(9))
    np.testing.assert_array_equal(scaled(np.zeros(9), scaler), np.zeros(9))
    later = np.array([-80.0, 0.5, 80.0])
    np.testing.assert_array_equal(CovariateScaling.fit(np.zeros(9), scaler)(later), [-1, 0.5, 1])
    np.testing.assert_array_equal(
        CovariateScaling.fit(np.full(9, -45.0), scaler)(np.array([-90.0, -9.0, 70.0])), [1, 0.2, 0]
    )
    noisy = 0.3 + 1e-17 * np.arange(9)
    np.testing.assert_allclose(scaled(noisy, scaler), 1.0, rtol=1e-12)


def test_without_a_scaler_numbers_stay_as_they_are_within_their_bounds():
    for values in (column(50.0), column([1.0, 2.0, 3.0, 7.0]), np.full(5, 6.0), np.array([2.0, 4])):
        scaling = CovariateScaling.fit(values, None)
        assert (scaling.location, scaling.scale, scaling.arcsinh) == (0.0, 1.0, False)
        if len(values) > 2:
            np.testing.assert_array_equal(scaling(values), values)
        assert scaling(np.array([1e6]))[0] <= values.max() + np.ptp(values) * (len(values) == 2)


def test_missing_values_do_not_count():
    values = column([2.0, 4.0, 5.0, 6.0])
    gappy = np.insert(values, np.arange(0, ROWS, 3), np.nan)
    assert CovariateScaling.fit(gappy, "robust") == CovariateScaling.fit(values, "robust")


def test_an_event_that_a_sample_misses_is_found(monkeypatch):
    monkeypatch.setattr(columns, "MAX_STATISTIC_ROWS", 100)
    y = pd.DataFrame({"y": np.arange(999.0)}, pd.RangeIndex(999))
    X = pd.DataFrame({"flag": column(30.0, rows=999, events=[7])}, y.index)
    assert not columns.sampled_values(X["flag"]).any()
    encoder = FrameEncoder("real", "robust", "robust", (), (), ()).fit(y, X)
    values = encoder.encode(y, X, 1).store.values[:, 1]
    assert values.nonzero().ravel().tolist() == [7]
    assert values[7] == 1.0


def test_windows_of_a_flag_do_not_depend_on_its_coding():
    rng = np.random.default_rng(5)
    y = pd.DataFrame({"y": rng.normal(size=700)}, pd.RangeIndex(700))
    stores = []
    for coding in (1.0, 80.0, -4.0):
        flag = pd.DataFrame({"flag": column(coding, rows=700, events=[300, 660])}, y.index)
        flag.iloc[40] = np.nan
        encoder = FrameEncoder("real", "robust", "robust_arcsinh", (), (), ()).fit(y, flag)
        stores.append(encoder.encode(y, flag, 1).store)
    for store in stores[1:]:
        assert store.values.equal(stores[0].values)
        assert store.observed[:].equal(stores[0].observed[:])


# Scales.


@pytest.mark.parametrize("scaler", ["robust", "robust_arcsinh"])
def test_residues_of_rounding_are_no_scale_beside_real_values(scaler):
    rng = np.random.default_rng(1)
    night = 1e-17 * rng.normal(size=600)
    values = np.concatenate([night, rng.gamma(3, 20, 400)])
    assert location_scale(values, scaler)[1] == values.std()


def test_a_single_outlier_is_no_size_to_measure_rounding_by():
    values = np.r_[np.random.default_rng(1).normal(size=99), 1e12]
    assert location_scale(values, "robust")[1] < 2


def test_outliers_in_a_tenth_of_the_rows_are_no_size_to_measure_rounding_by():
    values = np.r_[np.random.default_rng(1).normal(size=46), np.full(4, 1e12)]
    assert location_scale(values, "robust")[1] < 2


def test_repeated_amounts_are_learnt_from_however_rare():
    values = column([2.0, 2.0, 2.0, 5.0, 5.0, 5.0], rows=10000, events=np.arange(6))
    assert CovariateScaling.fit(values, "robust").high == 5.0
    values = column([2.0, 2.0, 2.0, 5.0, 5.0], rows=10000, events=np.arange(5))
    assert CovariateScaling.fit(values, "robust").high == 0.0


def test_a_value_that_is_frequent_but_not_usual_bounds_a_column():
    rng = np.random.default_rng(2)
    values = np.r_[rng.uniform(0, 10, 600), np.full(400, 10.0), [30.0, 31.0, 33.0]]
    scaling = CovariateScaling.fit(values, "robust")
    assert scaling.high == 10.0
    assert (scaling.location, scaling.scale) == location_scale(values, "robust")


@pytest.mark.parametrize("sign", [1, -1])
def test_what_lies_behind_a_kept_amount_is_clipped_to_it(sign):
    values = np.zeros(2000)
    values[:30] = 1.0
    values[30:34] = [9.0, 8.0, 7.5, 9.0]
    values[100:140] = -np.linspace(1, 3, 40)  # too many levels to keep them all
    scaling = CovariateScaling.fit(sign * values, "robust")
    assert max(scaling.high * sign, scaling.low * sign) == 1.0


def test_two_rows_without_a_zero_are_numbers():
    scaling = CovariateScaling.fit(np.array([2.0, 4.0]), "standard")
    assert (scaling.location, scaling.scale) == (3.0, 1.0)
    assert CovariateScaling.fit(np.array([0.0, 4.0]), "standard").scale == 4.0
    assert CovariateScaling.fit(np.array([2.0, 4.0, 4.0]), "standard").location == 2.0


def test_whatever_comes_later_in_a_column_without_a_value_is_zero():
    empty = CovariateScaling.fit(np.full(5, np.nan), "robust")
    assert empty.mean == 0.0
    np.testing.assert_array_equal(empty(np.array([-80.0, 0.5, 80.0])), [0, 0, 0])


def test_one_outlier_among_ten_values_is_no_size_to_measure_rounding_by():
    values = np.append(np.arange(1, 10) / 1000, 1e9)
    location, scale = location_scale(values, "robust")
    assert location == pytest.approx(0.0055)
    assert scale == pytest.approx(1.4826 * 0.0025)


@pytest.mark.parametrize("offset", [0.0, 3e8, -5e9, 2e11])
def test_a_counter_far_from_zero_varies_all_the_same(offset):
    values = offset + np.random.default_rng(4).normal(size=200)
    location, scale = location_scale(values, "standard")
    assert location == pytest.approx(offset, abs=0.3)
    assert scale == pytest.approx(1.0, rel=0.15)
    scaling = CovariateScaling.fit(values, "standard")
    assert np.ptp(scaling(values)) > 3


def test_rounding_errors_are_no_variation():
    values = 1e9 * (1 + 1e-15 * np.random.default_rng(4).normal(size=200))
    assert location_scale(values, "standard")[1] > 1e8
