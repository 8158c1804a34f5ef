import copy
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm.data.columns import is_categorical, numeric_values
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.rows import Rows, find_timeline, ranges
from sktime_tlstm.data.scaling import SCALERS, location_scale
from sktime_tlstm.data.targets import MAX_ARCSINH
from sktime_tlstm.data.timeline import Timeline
from sktime_tlstm.data.windows import WindowSpec, cut_windows
from sktime_tlstm.notices import ForecastWarning

HORIZON = 5
EVERY_SCALER = pytest.mark.parametrize("scaler", SCALERS)


def make_frames(lengths=(29,), seed=0):
    """Make y (2 columns) and X (numeric, binary and categorical) of one or more hourly series."""
    rng = np.random.default_rng(seed)
    blocks = [pd.date_range("2021-03-05", periods=length, freq="h") for length in lengths]
    keys = [f"series {i}" for i in range(len(lengths))]
    if len(lengths) == 1:
        index = blocks[0]
    else:
        pairs = [(key, time) for key, times in zip(keys, blocks, strict=True) for time in times]
        index = pd.MultiIndex.from_tuples(pairs, names=["series", "time"])
    rows = len(index)
    y = pd.DataFrame(rng.normal(100, 7, (rows, 2)), index=index, columns=["a", "b"])
    X = pd.DataFrame(
        {
            "temperature": rng.normal(11, 3, rows),
            "sky": rng.choice(["clear", "rain", "snow"], rows),
            "holiday": rng.integers(0, 2, rows),
            "wind": rng.gamma(2, 5, rows),
        },
        index=index,
    )
    return y, X


def fit_encoder(y, X=None, scaler="robust_arcsinh", past=(), time_features=("time_of_day",)):
    return FrameEncoder("real", scaler, scaler, past, (), time_features).fit(y, X)


def with_gaps(frame, seed=0, share=0.3):
    """Return a copy in which a share of the values is missing."""
    holes = np.random.default_rng(seed).random(frame.shape) < share
    return frame.mask(pd.DataFrame(holes, index=frame.index, columns=frame.columns))


def decoded(encoder, history):
    """Return all targets of all series, NaN where missing."""
    return np.concatenate(encoder.observed_targets(history, history.lengths))


def compact(history):
    """Return a history's store without the room behind its series and its calendar."""
    store = history.store
    rows = torch.from_numpy(ranges(store.start.numpy(), history.lengths))
    times = int((store.calendar_start + store.length).max()) + HORIZON
    return replace(
        store,
        values=store.values[rows],
        observed=store.observed[rows],
        calendar=store.calendar[:times],
        start=store.length.cumsum(0) - store.length,
    )


def assert_same_history(left, right, rtol=0.0):
    assert left.timeline == right.timeline
    assert (left.keys is None and right.keys is None) or left.keys.equals(right.keys)
    np.testing.assert_array_equal(left.first, right.first)
    np.testing.assert_allclose(left.loc, right.loc, rtol=rtol)
    np.testing.assert_allclose(left.scale, right.scale, rtol=rtol)
    ours, theirs = (asdict(compact(history)) for history in (left, right))
    ours, theirs = ({**own, **own.pop("traits")} for own in (ours, theirs))
    for name, tensor in ours.items():
        torch.testing.assert_close(
            tensor, theirs[name], rtol=rtol, atol=0, msg=lambda m, n=name: n + m
        )


# Scaling.


@pytest.mark.parametrize(
    ("scaler", "location", "scale"),
    [
        ("standard", 4.0, np.sqrt(10)),
        ("minmax", 1.0, 9.0),
        ("robust", 3.0, 1.4826),
        ("robust_arcsinh", 3.0, 1.4826),
        (None, 0.0, 1.0),
    ],
)
def test_location_and_scale_by_hand(scaler, location, scale):
    values = np.array([1.0, 2.0, np.nan, 3.0, 4.0, 10.0])
    # Distances to the mean 4 are 3 2 1 0 6, their squares 9 4 1 0 36; to the median 3, 2 1 0 1 7.
    assert location_scale(values, scaler) == pytest.approx((location, scale))


def test_a_column_that_is_mostly_one_value_is_scaled_by_its_standard_deviation():
    values = np.array([5.0] * 9 + [15.0])
    assert location_scale(values, "robust") == pytest.approx((5.0, 3.0))  # 10 * sqrt(.1 * .9)


@EVERY_SCALER
def test_a_constant_is_scaled_by_its_size_and_zero_by_one(scaler):
    expected = {None: (0.0, 1.0), "mean": (0.0, 3.0)}.get(scaler, (-3.0, 3.0))
    assert location_scale(np.full(7, -3.0), scaler) == expected
    assert location_scale(np.zeros(7), scaler) == (0.0, 1.0)
    assert location_scale(np.full(7, np.nan), scaler) == (0.0, 1.0)
    assert location_scale(np.array([]), scaler) == (0.0, 1.0)


@EVERY_SCALER
def test_rounding_errors_do_not_count_as_a_scale(scaler):
    values = 0.1 + np.array([0.1, 0.2, 0.3]) - np.array([0.1, 0.2, 0.3])
    assert location_scale(values, scaler)[1] == pytest.approx(1.0 if scaler is None else 0.1)


@EVERY_SCALER
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_targets_come_back_from_encoding(scaler, size):
    y, _ = make_frames((29, 7, 1))
    y = with_gaps(y) * size
    encoder = fit_encoder(y, scaler=scaler)
    history = encoder.encode(y, None, HORIZON)
    back = decoded(encoder, history)
    np.testing.assert_array_equal(np.isnan(back), y.isna())
    np.testing.assert_allclose(back, y, rtol=1e-6)
    assert back.dtype == np.float64


@EVERY_SCALER
def test_decoding_inverts_the_scaling_in_float64(scaler):
    y, _ = make_frames((29, 7))
    encoder = fit_encoder(y, scaler=scaler)
    history = encoder.encode(y, None, HORIZON)
    for series in range(2):
        for target in range(2):
            loc, scale = history.loc[series, target], history.scale[series, target]
            values = np.linspace(loc - 11 * scale, loc + 13 * scale, 17)
            scaled = (values - loc) / scale
            scaled = np.arcsinh(scaled) if scaler == "robust_arcsinh" else scaled
            block = np.zeros((1, 17, 2, 3))
            block[0, :, target] = scaled[:, None]
            back = encoder.decode(history, block, np.array([series]))
            assert back.shape == (1, 17, 2, 3)
            by_alpha = np.repeat(values[:, None], 3, axis=1)
            np.testing.assert_allclose(back[0, :, target], by_alpha, rtol=1e-13, atol=1e-12)


def test_every_series_and_target_has_its_own_scale():
    y, _ = make_frames((29, 31))
    y.iloc[29:, 1] *= 1000
    encoder = fit_encoder(y, scaler="standard")
    history = encoder.encode(y, None, HORIZON)
    for series, rows in enumerate((slice(0, 29), slice(29, 60))):
        np.testing.assert_allclose(history.loc[series], y.iloc[rows].mean())
        np.testing.assert_allclose(history.scale[series], y.iloc[rows].std(ddof=0))


def test_the_arcsinh_stays_finite():
    y, _ = make_frames()
    encoder = fit_encoder(y)
    history = encoder.encode(y, None, HORIZON)
    far = encoder.decode(history, np.full((1, 1, 2), 1e6), np.array([0]))
    edge = encoder.decode(history, np.full((1, 1, 2), MAX_ARCSINH), np.array([0]))
    assert np.isfinite(far).all()
    np.testing.assert_array_equal(far, edge)


def test_level_and_spread_are_those_of_the_observed_scaled_targets():
    y, _ = make_frames((29, 7))
    y = with_gaps(y)
    y.iloc[29:, 0] = np.nan  # a series of which nothing was observed is like the others
    y.iloc[29:, 1] = 3.0  # and one without spread
    history = fit_encoder(y).encode(y, None, HORIZON)
    scaled = np.where(y.notna(), history.store.values[:, :2], np.nan)
    traits = history.store.traits
    np.testing.assert_allclose(traits.level[0], np.nanmean(scaled[:29], axis=0), rtol=1e-5)
    np.testing.assert_allclose(traits.spread[0], np.nanstd(scaled[:29], axis=0), rtol=1e-5)
    assert traits.level[1].tolist() == [traits.level[0, 0], 0.0]
    assert traits.spread[1].tolist() == [traits.spread[0, 0], 1.0]


# Covariates.


def covariate(encoder, history, name):
    """Return the scaled values and the flags of a numeric covariate."""
    channel = len(encoder.targets) + encoder.numeric.index(name)
    store = compact(history)
    return store.values[:, channel].numpy(), store.observed[:, channel].numpy()


def codes(encoder, history, name):
    first = len(encoder.targets) + len(encoder.numeric)
    channel = first + list(encoder.categories).index(name)
    return compact(history).values[:, channel].tolist()


def test_columns_are_sorted_into_kinds():
    y, X = make_frames()
    encoder = fit_encoder(y, X, past=("wind", "sky"))
    assert encoder.targets == ["a", "b"]
    assert encoder.numeric == ["temperature", "holiday", "wind"]
    assert list(encoder.categories) == ["sky"]
    assert encoder.columns == ["temperature", "holiday", "wind", "sky"]
    assert encoder.known_columns == ["temperature", "holiday"]


def test_covariates_are_scaled_over_all_series():
    y, X = make_frames((29, 31))
    encoder = fit_encoder(y, X, scaler="standard")
    values, observed = covariate(encoder, encoder.encode(y, X, HORIZON), "temperature")
    raw = X["temperature"]  # none lies further beyond the outer quantiles than these are apart
    by_hand = (raw - X["temperature"].mean()) / X["temperature"].std(ddof=0)
    np.testing.assert_allclose(values, by_hand, rtol=1e-5, atol=1e-6)
    assert observed.all()


def test_covariates_are_clipped_to_the_outer_quantiles_of_training():
    y, X = make_frames((211,))
    encoder = fit_encoder(y, X)
    low, high = X["wind"].quantile([0.005, 0.995])
    low, high = 2 * low - high, 2 * high - low  # for simple forecasts; networks read less
    loc, scale = location_scale(X["wind"].to_numpy(), "robust")
    extreme = X.assign(wind=np.resize([-1e9, 1e9, loc], 211))
    values, _ = covariate(encoder, encoder.encode(y, extreme, HORIZON), "wind")
    by_hand = np.arcsinh((np.array([low, high, loc]) - loc) / scale)
    np.testing.assert_allclose(values, np.resize(by_hand, 211), rtol=1e-6)


@pytest.mark.parametrize("kind", ["int64", "float64", "bool", "boolean", "Int8", "Float64"])
def test_binary_columns_are_left_as_they_are(kind):
    y, X = make_frames()
    X = X.assign(holiday=X["holiday"].astype(kind))
    encoder = fit_encoder(y, X)
    values, observed = covariate(encoder, encoder.encode(y, X, HORIZON), "holiday")
    np.testing.assert_array_equal(values, X["holiday"].to_numpy(dtype=float))
    assert observed.all()


def test_missing_covariates_are_carried_forward_and_flagged():
    y, X = make_frames((5, 3))
    X["holiday"] = [np.nan, 1, np.nan, 0, 1, np.nan, np.nan, 1]
    encoder = fit_encoder(y, X)
    values, observed = covariate(encoder, encoder.encode(y, X, HORIZON), "holiday")
    # the rows before a series' first value take the training mean, not the series before
    assert values.tolist() == [0.75, 1, 1, 0, 1, 0.75, 0.75, 1]
    assert observed.tolist() == [False, True, False, True, True, False, False, True]


def test_a_covariate_that_is_always_missing_is_zero_and_flagged():
    y, X = make_frames()
    X["wind"] = np.nan
    with pytest.warns(ForecastWarning, match=r"X without any value in the columns \['wind'\]"):
        encoder = fit_encoder(y, X)
    values, observed = covariate(encoder, encoder.encode(y, X, HORIZON), "wind")
    assert not values.any()
    assert not observed.any()


@pytest.mark.parametrize("kind", ["object", "str", "category", "string"])
def test_categories_are_numbered_from_one_and_unknown_ones_are_zero(kind):
    y, X = make_frames((7,))
    X["sky"] = pd.Series(["b", "a", None, "b", "c", "a", "b"], dtype=kind, index=X.index)
    encoder = fit_encoder(y, X)
    assert encoder.categories["sky"].tolist() == ["b", "a", "c"]
    assert codes(encoder, encoder.encode(y, X, HORIZON), "sky") == [1, 2, 0, 1, 3, 2, 1]
    X["sky"] = pd.Series(["c", "new", None, "a", "b", "b", "b"], dtype=kind, index=X.index)
    assert codes(encoder, encoder.encode(y, X, HORIZON), "sky") == [3, 0, 0, 2, 1, 1, 1]


def test_categories_may_be_numbers():
    y, X = make_frames((5,))
    X["sky"] = pd.Categorical([7, 3, 3, None, 7])
    encoder = fit_encoder(y, X)
    assert codes(encoder, encoder.encode(y, X, HORIZON), "sky") == [1, 2, 2, 0, 1]


def test_kinds_of_missing_values_do_not_matter_to_codes():
    y, X = make_frames((5,))
    X["sky"] = pd.Series(["b", None, "a", np.nan, "b"], dtype=object, index=X.index)
    encoder = fit_encoder(y, X)
    assert encoder.categories["sky"].tolist() == ["b", "a"]
    assert codes(encoder, encoder.encode(y, X, HORIZON), "sky") == [1, 0, 2, 0, 1]


def category_frames(trained, later):
    """Return an encoder trained on a category column, and the codes of the same rows later."""
    y, X = make_frames((len(trained),))
    X["sky"] = pd.Series(trained, index=X.index)
    encoder = fit_encoder(y, X)
    X["sky"] = pd.Series(later, index=X.index)
    return codes(encoder, encoder.encode(y, X, HORIZON), "sky")


DIGITS = np.array(["4", "11", "4", "305"], dtype=object)


@pytest.mark.parametrize(
    "later",
    [
        [4, 11, 4, 305],
        [4.0, 11.0, 4.0, 305.0],
        np.array([4, 11, 4, 305], dtype="uint16"),
        np.array([4, 11, 4, 305], dtype=object),
        np.array([Decimal("4"), Decimal("11.0"), 4, Fraction(610, 2)], dtype=object),
        [b"4", b"11", b"4", b"305"],
        list(np.array(["4", "11", "4", "305"])),
        [" 4", "11 ", " 4", "305\n"],
        ["004", "0011", "004", "305.0"],
        pd.Categorical([4, 11, 4, 305]),
        pd.Categorical(["4", "11", "4", "305"]),
        pd.array([4, 11, 4, 305], dtype="Int64"),
        pd.array(["4", "11", "4", "305"], dtype="string"),
    ],
    ids=lambda later: f"{type(later).__name__} of {type(later[0]).__name__}",
)
def test_categories_of_another_dtype_are_the_same_values(later):
    assert category_frames(DIGITS, later) == [1, 2, 1, 3]
    assert category_frames(pd.Categorical(later), DIGITS) == [1, 2, 1, 3]


def test_booleans_and_their_numbers_are_the_same_categories():
    flags = pd.Categorical([1, 0, 0, 1])
    assert category_frames(flags, [True, False, False, True]) == [1, 2, 2, 1]
    assert category_frames(["True", "False", "True"], [True, False, True]) == [1, 2, 1]
    assert category_frames(["True", "False", "True"], [1, 0, 1]) == [1, 2, 1]
    assert category_frames(["1", "0", "1"], [True, False, True]) == [1, 2, 1]


def test_categories_that_differ_in_white_space_alone_stay_apart():
    assert category_frames(["up", " up", "down"], ["up", " up", "down "]) == [1, 2, 3]
    assert category_frames(["up", " up", "down"], ["up  ", "up", "down"]) == [0, 1, 3]


def test_numbers_with_leading_zeros_are_matched_only_where_the_dtype_changed():
    assert category_frames(["01", "1", "20"], [1, 1, 20]) == [2, 2, 3]
    assert category_frames(["01", "007", "20"], [1, 7, 19]) == [1, 2, 0]
    assert category_frames(["7", "8", "9"], ["7", "08", "9"]) == [1, 0, 3]


@pytest.mark.parametrize("later", [["hail", "fog", "hail"], [7, 8, 9], [True, True, False]])
def test_a_column_without_a_known_category_warns_with_its_values(later):
    y, X = make_frames((3,))
    X["sky"] = ["clear", "rain", "clear"]
    encoder = fit_encoder(y, X)
    history = encoder.encode(y, X, HORIZON)
    other = X.assign(sky=later)
    with pytest.warns(UserWarning, match="column 'sky'") as caught:
        encoder.encode(y, other, HORIZON)
    message = str(caught[0].message)
    assert str(list(dict.fromkeys(later))) in message
    assert "['clear', 'rain']" in message
    with pytest.warns(UserWarning, match="column 'sky'") as caught:
        encoder.parse_future(history, other)
    assert len(caught) == 1
    encoder.encode(y, X.assign(sky=["hail", None, "rain"]), HORIZON)  # one is known
    encoder.encode(y, X.assign(sky=None), HORIZON)  # nothing to know


@pytest.mark.parametrize("later", [["5", "7", "6"], pd.Categorical(["5", "7", "6"]), [b"5"] * 3])
def test_a_numeric_column_that_comes_as_text_is_refused(later):
    y, X = make_frames((3,))
    encoder = fit_encoder(y, X)
    message = error_of(lambda: encoder.encode(y, X.assign(wind=later), HORIZON), TypeError)
    assert f"the column 'wind' of type {pd.Series(later).dtype}" in message
    assert repr(next(iter(later))) in message


def test_a_numeric_column_may_come_as_objects():
    y, X = make_frames((7,))
    encoder = fit_encoder(y, X)
    expected = covariate(encoder, encoder.encode(y, X, HORIZON), "wind")[0]
    for kind in (Decimal, Fraction, float, np.float64):
        objects = pd.Series([kind(value) for value in X["wind"]], dtype=object, index=X.index)
        values, seen = covariate(
            encoder, encoder.encode(y, X.assign(wind=objects), HORIZON), "wind"
        )
        np.testing.assert_array_equal(values, expected)
        assert seen.all()


@pytest.mark.parametrize(
    ("values", "categorical"),
    [
        (np.array([Decimal("1.5"), None, Decimal("2")], dtype=object), False),
        (np.array([Fraction(1, 3), 2, 0.5], dtype=object), False),
        (np.array([0.25, None, np.nan], dtype=object), False),
        (np.array([1, 2, None], dtype=object), False),
        (np.array([True, None, False], dtype=object), False),
        (np.array([None, "a"], dtype=object), True),
        (np.array([b"a", "b"], dtype=object), True),
        (np.array([None, np.nan], dtype=object), True),
        (["a", "b"], True),
        (pd.Categorical([1, 2]), True),
        (pd.array(["a", None], dtype="string"), True),
        ([1, 2], False),
        ([0.5, np.nan], False),
        ([True, False], False),
        (pd.array([True, None], dtype="boolean"), False),
        (pd.to_datetime(["2021-03-05", "2021-03-07"]), False),
    ],
)
def test_strings_objects_and_categories_are_categorical(values, categorical):
    assert is_categorical(pd.Series(values)) is categorical


def test_covariates_are_found_by_name_and_others_ignored():
    y, X = make_frames()
    encoder = fit_encoder(y, X)
    shuffled = X[["wind", "sky", "temperature", "holiday"]].assign(other=3.0)
    assert_same_history(encoder.encode(y, shuffled, HORIZON), encoder.encode(y, X, HORIZON))


def test_rows_of_x_beyond_those_of_y_are_ignored():
    y, X = make_frames((31, 31))
    inner = y.groupby(level=0, group_keys=False).apply(lambda series: series.iloc[3:-5])
    encoder = fit_encoder(inner, X)
    history = encoder.encode(inner, X, HORIZON)
    assert_same_history(history, encoder.encode(inner, X.loc[inner.index], HORIZON))


def test_the_calendar_reaches_a_horizon_beyond_every_series():
    y, X = make_frames((29, 7))
    y, X = y.iloc[5:], X.iloc[5:]  # ragged at both ends
    encoder = fit_encoder(y, X, time_features=("time_of_day", "weekend"))
    history = encoder.encode(y, X, HORIZON)
    assert history.lengths.tolist() == [24, 7]
    for series, key in enumerate(history.keys):
        times = y.loc[key].index
        times = pd.date_range(times[0], periods=len(times) + HORIZON, freq="h")
        direct = Timeline.from_times(times).features(0, len(times), encoder.time_features)
        start = int(history.store.calendar_start[series])
        np.testing.assert_array_equal(history.store.calendar[start : start + len(times)], direct)


def test_the_callers_frames_stay_as_they_are():
    y, X = make_frames((29, 7))
    y, X = with_gaps(y), X.assign(wind=with_gaps(X[["wind"]])["wind"])
    y_before, X_before = y.copy(), X.copy()
    encoder = fit_encoder(y, X)
    history = encoder.encode(y, X, HORIZON)
    history, seen = encoder.extend(history, history.lengths, y, X, HORIZON)
    encoder.tail(history, seen - 3, 11, np.ones((2, 3), dtype=bool), X)
    pd.testing.assert_frame_equal(y, y_before)
    pd.testing.assert_frame_equal(X, X_before)


# Errors.


def error_of(call, kind=ValueError):
    with pytest.raises(kind) as error:
        call()
    return str(error.value)


def test_a_gap_in_time_names_its_rows_and_a_remedy():
    y, _ = make_frames((11, 11))
    y = y.drop(y.index[[14, 15, 16]])
    message = error_of(lambda: fit_encoder(y).encode(y, None, HORIZON))
    assert "2021-03-05 02:00" in message
    assert "2021-03-05 06:00" in message
    assert "3 steps are absent" in message
    assert "asfreq" in message


def test_a_gap_in_integers_is_an_error_too():
    y = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=[3, 4, 7])
    message = error_of(lambda: fit_encoder(y, time_features=()).encode(y, None, HORIZON))
    assert "after 4 comes 7, 2 steps" in message
    assert "reindex" in message


@pytest.mark.parametrize("order", [[0, 1, 1, 2], [0, 2, 1, 3]])
def test_repeated_and_unsorted_times_are_an_error(order):
    y, _ = make_frames((11,))
    timeline = find_timeline(y.index)
    message = error_of(lambda: Rows.parse(y.index[order], timeline))
    assert "2021-03-05 01:00" in message
    assert "duplicated(keep='last')].sort_index()" in message


@pytest.mark.parametrize("column", ["a", "temperature"])
def test_an_infinite_value_is_named(column):
    y, X = make_frames()
    frame = y if column in y else X
    frame.loc[frame.index[[7, 9]], column] = [-np.inf, np.inf]
    message = error_of(lambda: fit_encoder(y, X).encode(y, X, HORIZON))
    assert f"infinite value in column {column!r} at 2021-03-05 07:00" in message
    assert "replace" in message


def test_a_column_that_is_neither_number_nor_category_is_named():
    y, X = make_frames((5,))
    X["when"] = pd.date_range("2021-03-05", periods=5)
    message = error_of(lambda: fit_encoder(y, X), TypeError)
    assert "'when' of type datetime64" in message
    assert "make them the index: `frame.set_index('when')`" in message


@pytest.mark.parametrize(
    "values",
    [
        [date(2023, 5, 7), date(2023, 5, 11)],
        [None, datetime(2023, 5, 7)],
        [timedelta(hours=3), timedelta(hours=5)],
        [np.timedelta64(3, "h"), np.timedelta64(5, "h")],
        [pd.Period("2023-05"), pd.Period("2023-07")],
        [pd.Timestamp("2023-05-07", tz="UTC"), None],
        [3.5, "7"],
        ["7", 3.5],
        [Decimal(3), "b"],
        [2 + 3j, 5],
        [(1, 2), (3, 4)],
        [[1, 2], [3]],
    ],
    ids=str,
)
@pytest.mark.parametrize("static", [False, True])
def test_objects_that_are_no_numbers_nor_text_or_both_are_refused_with_the_first(values, static):
    y, X = make_frames((2,))
    objects = pd.Series(index=X.index, dtype=object)
    objects[:] = values
    X["thing"] = objects
    first = next(value for value in values if value is not None)
    if isinstance(first, (float, str, Decimal)):
        first = values[1]  # the first of another kind
    encoder = FrameEncoder("real", None, None, (), ("thing",) if static else (), ())
    if static and isinstance(first, list):
        X["thing"] = [[1, 2]] * 2
    message = error_of(lambda: encoder.fit(y, X), TypeError)
    assert "the column 'thing' of type object" in message
    assert repr(first) in message


@pytest.mark.parametrize(
    "values",
    [
        pd.period_range("2023-05", periods=3, freq="M"),
        pd.to_timedelta([1, 2, 3], unit="h"),
        pd.date_range("2023-05-07", periods=3, tz="Europe/Rome"),
        pd.interval_range(0, 3),
        np.array([1j, 2j, 3j]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_a_dtype_that_is_no_number_nor_category_is_refused_in_fit_and_later(values):
    y, X = make_frames((3,))
    encoder = fit_encoder(y, X)
    for column in ("thing", "wind", "sky"):
        other = X.assign(**{column: values})
        calls = [lambda other=other: fit_encoder(y, other)]
        if column != "thing":
            calls.append(lambda other=other: encoder.encode(y, other, HORIZON))
        for call in calls:
            message = error_of(call, TypeError)
            assert f"the column {column!r} of type {values.dtype}" in message
            value = pd.Series(values).iloc[0]
            assert repr(value) in message or repr(values.tolist()[0]) in message


def test_an_integer_beyond_float64_is_refused_as_infinite():
    column = pd.Series([3, 10**400], dtype=object, name="huge")
    assert "'huge' at 1" in error_of(lambda: numeric_values(column))


def test_numbers_come_as_float64_with_nan():
    column = pd.Series(pd.array([3, None, 5], dtype="Int64"))
    np.testing.assert_array_equal(numeric_values(column), [3.0, np.nan, 5.0])
    assert numeric_values(column).dtype == np.float64


def test_missing_columns_and_rows_of_x_are_named():
    y, X = make_frames((29, 7))
    encoder = fit_encoder(y, X)
    message = error_of(lambda: encoder.encode(y, X.drop(columns=["sky", "wind"]), HORIZON))
    assert "without the columns ['wind', 'sky']" in message
    message = error_of(lambda: encoder.encode(y, None, HORIZON))
    assert "Got X=None, expected the covariates" in message
    message = error_of(lambda: encoder.encode(y, X.drop(X.index[[31, 34]]), HORIZON))
    assert "without the row 2021-03-05 02:00:00 of series 'series 1'" in message
    assert "2 rows are absent" in message


def test_other_targets_than_in_training_are_an_error():
    y, _ = make_frames()
    message = error_of(lambda: fit_encoder(y).encode(y[["a"]], None, HORIZON))
    assert "Got y with 1 columns ['a'], expected 2" in message


def test_covariates_that_do_not_exist_or_repeat_are_an_error():
    y, X = make_frames()
    message = error_of(lambda: fit_encoder(y, X, past=("gusts",)))
    assert "past_covariates=['gusts']" in message
    assert "['temperature', 'sky', 'holiday', 'wind']" in message
    message = error_of(lambda: fit_encoder(y, X[["wind", "wind"]]))
    assert "repeated columns" in message
    message = error_of(lambda: fit_encoder(y, X, past=("wind", "sky", "wind")))
    assert "past_covariates=['wind', 'sky', 'wind'], expected each column once" in message
    encoder = FrameEncoder("real", None, None, (), ("sky", "sky"), ())
    assert "static_covariates=['sky', 'sky']" in error_of(lambda: encoder.fit(y, X))


# Extending.


def split_frames(lengths=(29, 23), cut=(17, 11)):
    """Return y and X of a panel, and which rows come first."""
    y, X = make_frames(lengths)
    y, X = with_gaps(y), X.assign(wind=with_gaps(X[["wind"]])["wind"])
    X["sky"] = X["sky"].mask(np.arange(len(X)) % 5 == 0)
    within = y.groupby(level=0).cumcount().to_numpy()
    limit = np.repeat(cut, lengths)
    return y, X, within < limit


def test_extending_equals_encoding_everything_at_once():
    y, X, early = split_frames()
    encoder = fit_encoder(y[early], X[early])
    history = encoder.encode(y[early], X[early], HORIZON)
    extended, cutoff = encoder.extend(history, history.lengths, y[~early], X[~early], HORIZON)
    assert cutoff.tolist() == [29, 23]
    whole = encoder.encode(y, X, HORIZON)
    assert extended.lengths.tolist() == [29, 23]
    # The scaling of targets is that of the first rows; all else is as if seen at once.
    np.testing.assert_array_equal(extended.loc, history.loc)
    np.testing.assert_array_equal(extended.scale, history.scale)
    for name in ("level", "spread"):
        assert torch.equal(
            getattr(extended.store.traits, name), getattr(history.store.traits, name)
        )
    ours, theirs = compact(extended), compact(whole)
    for name in ("observed", "calendar", "start", "length", "calendar_start"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.values[:, 2:], theirs.values[:, 2:])
    np.testing.assert_allclose(decoded(encoder, extended), y, rtol=1e-6)


def test_extending_row_by_row_equals_extending_at_once():
    y, X = make_frames((13,))
    y = with_gaps(y)
    encoder = fit_encoder(y[:7], X[:7])
    first = encoder.encode(y[:7], X[:7], HORIZON)
    at_once, _ = encoder.extend(first, first.lengths, y[7:], X[7:], HORIZON)
    history, cutoff = first, first.lengths
    for row in range(7, 13):
        rows = slice(row, row + 1)
        history, cutoff = encoder.extend(history, cutoff, y.iloc[rows], X.iloc[rows], HORIZON)
        assert cutoff.tolist() == [row + 1]
    assert_same_history(history, at_once)


def test_extending_leaves_the_given_history_unchanged():
    y, X, early = split_frames()
    encoder = fit_encoder(y[early], X[early])
    history = encoder.encode(y[early], X[early], HORIZON)
    before, cutoff = copy.deepcopy(history), history.lengths.copy()
    encoder.extend(history, cutoff, y * 3, X.assign(wind=1.0), HORIZON)
    assert_same_history(history, before)
    assert cutoff.tolist() == [17, 11]


def test_newer_values_win_and_missing_ones_never_erase():
    y, X = make_frames((7,))
    encoder = fit_encoder(y, X, scaler=None)
    history = encoder.encode(y, X, HORIZON)
    newer_y, newer_X = y.iloc[3:] + 1, X.iloc[3:].assign(wind=0.0, sky="snow")
    newer_y.iloc[1, 0] = newer_X.loc[newer_X.index[1], "wind"] = np.nan
    newer_X.loc[newer_X.index[1], "sky"] = None
    merged, cutoff = encoder.extend(history, history.lengths, newer_y, newer_X, HORIZON)
    assert cutoff.tolist() == [7]
    expected = newer_y.combine_first(y)
    np.testing.assert_allclose(decoded(encoder, merged), expected, rtol=1e-6)
    wind, seen = covariate(encoder, merged, "wind")
    by_hand = X["wind"].where(np.isin(np.arange(7), [0, 1, 2, 4]), 0.0)
    np.testing.assert_allclose(wind, by_hand, rtol=1e-6)
    assert seen.all()
    sky = X["sky"].where(np.isin(np.arange(7), [0, 1, 2, 4]), "snow")
    known = encoder.categories["sky"]
    assert codes(encoder, merged, "sky") == [known.get_loc(value) + 1 for value in sky]


def test_rows_between_old_and_new_ones_are_unobserved():
    y, X = make_frames((29,))
    encoder = fit_encoder(y[:17], X[:17])
    history = encoder.encode(y[:17], X[:17], HORIZON)
    merged, cutoff = encoder.extend(history, history.lengths, y[23:], X[23:], HORIZON)
    assert cutoff.tolist() == [29]
    seen = compact(merged).observed.numpy()
    between = np.isin(np.arange(29), range(17, 23))
    np.testing.assert_array_equal(seen.all(axis=1), ~between)
    np.testing.assert_array_equal(seen.any(axis=1), ~between)
    wind, _ = covariate(encoder, merged, "wind")
    assert (wind[17:23] == wind[16]).all()
    expected = y.copy()
    expected.iloc[17:23] = np.nan
    np.testing.assert_allclose(decoded(encoder, merged), expected, rtol=1e-6)


def test_x_alone_may_fill_the_rows_between():
    y, X = make_frames((29,))
    encoder = fit_encoder(y[:17], X[:17])
    history = encoder.encode(y[:17], X[:17], HORIZON)
    merged, _ = encoder.extend(history, history.lengths, y[23:], X[17:], HORIZON)
    _, seen = covariate(encoder, merged, "wind")
    assert seen.all()
    assert compact(merged).observed[:, 0].sum() == 17 + 6


def test_earlier_rows_go_in_front():
    y, X = make_frames((29,))
    encoder = fit_encoder(y[11:], X[11:])
    history = encoder.encode(y[11:], X[11:], HORIZON)
    merged, cutoff = encoder.extend(history, history.lengths, y[:7], X[:7], HORIZON)
    assert merged.first.tolist() == [-11]
    assert merged.lengths.tolist() == [29]
    assert cutoff.tolist() == [7]  # the cutoff is at the last row of the new y
    expected = y.copy()
    expected.iloc[7:11] = np.nan
    np.testing.assert_allclose(decoded(encoder, merged), expected, rtol=1e-6)
    whole = encoder.encode(y, X, HORIZON)
    assert torch.equal(compact(merged).calendar, compact(whole).calendar)


def test_earlier_rows_come_before_covariates_are_carried_forward():
    y, X = make_frames((7,))
    X["holiday"] = [1.0, np.nan, np.nan, np.nan, 0.0, 1.0, 1.0]
    encoder = fit_encoder(y[2:], X[2:])
    history = encoder.encode(y[2:], X[2:], HORIZON)
    assert covariate(encoder, history, "holiday")[0].tolist() == pytest.approx(
        [2 / 3, 2 / 3, 0, 1, 1]
    )
    merged, _ = encoder.extend(history, history.lengths, y[:2], X[:2], HORIZON)
    assert covariate(encoder, merged, "holiday")[0].tolist() == [1, 1, 1, 1, 0, 1, 1]


def test_new_series_join_with_their_own_scale_and_others_stay():
    y, X = make_frames((13, 11, 7, 5))
    y.iloc[13:24] *= 1000  # series 1
    keys = y.index.get_level_values(0)
    old = keys.isin(["series 0", "series 2"])
    encoder = fit_encoder(y[old], X[old], scaler="standard")
    history = encoder.encode(y[old], X[old], HORIZON)
    new = keys.isin(["series 1", "series 3"])
    merged, cutoff = encoder.extend(history, history.lengths, y[new], X[new], HORIZON)
    assert merged.keys.tolist() == ["series 0", "series 2", "series 1", "series 3"]
    assert cutoff.tolist() == merged.lengths.tolist() == [13, 7, 11, 5]
    for place, key in enumerate(merged.keys):
        np.testing.assert_allclose(merged.loc[place], y.loc[key].mean())
        np.testing.assert_allclose(merged.scale[place], y.loc[key].std(ddof=0))
        np.testing.assert_allclose(merged.store.traits.level[place], 0.0, atol=1e-6)
        np.testing.assert_allclose(merged.store.traits.spread[place], 1.0, rtol=1e-5)
    expected = pd.concat([y.loc[[key]] for key in merged.keys])
    np.testing.assert_allclose(decoded(encoder, merged), expected, rtol=1e-6)


def test_series_that_are_absent_keep_their_cutoff_and_rows():
    y, X, early = split_frames()
    encoder = fit_encoder(y[early], X[early])
    history = encoder.encode(y[early], X[early], HORIZON)
    late = ~early & (y.index.get_level_values(0) == "series 1")
    merged, cutoff = encoder.extend(history, np.array([13, 11]), y[late], X[late], HORIZON)
    assert cutoff.tolist() == [13, 23]
    assert merged.lengths.tolist() == [17, 23]
    np.testing.assert_allclose(decoded(encoder, merged)[:17], y[early].iloc[:17], rtol=1e-6)


def test_series_are_matched_by_key_not_by_position():
    y, X, early = split_frames()
    encoder = fit_encoder(y[early], X[early])
    history = encoder.encode(y[early], X[early], HORIZON)
    late_y = pd.concat([y[~early].loc[["series 1"]], y[~early].loc[["series 0"]]])
    late_X = X.loc[late_y.index]
    swapped, cutoff = encoder.extend(history, history.lengths, late_y, late_X, HORIZON)
    straight, _ = encoder.extend(history, history.lengths, y[~early], X[~early], HORIZON)
    assert cutoff.tolist() == [29, 23]
    assert_same_history(swapped, straight)


def test_a_single_observation_learns_its_step_later():
    y, _ = make_frames((11,))
    encoder = fit_encoder(y[:1], time_features=())
    history = encoder.encode(y[:1], None, HORIZON)
    merged, cutoff = encoder.extend(history, history.lengths, y[1:], None, HORIZON)
    assert cutoff.tolist() == [11]
    assert merged.timeline.seasons() == (24, 168)
    np.testing.assert_allclose(decoded(encoder, merged), y, rtol=1e-6)


def test_a_step_that_is_learnt_late_changes_the_calendar_of_rows_with_room_behind_them():
    y, _ = make_frames((5, 1, 1))
    one = y.groupby(level=0).head(1)
    encoder = fit_encoder(one[:2])
    history = encoder.encode(one[:2], None, HORIZON)
    roomy, _ = encoder.extend(history, history.lengths, one[2:], None, HORIZON)
    assert len(roomy.store.values) > 3
    merged, _ = encoder.extend(roomy, roomy.lengths, y[1:5], None, HORIZON)
    whole = encoder.encode(y, None, HORIZON)
    for series, length in enumerate([5, 1, 1]):
        found, expected = (
            known.store.calendar[int(known.store.calendar_start[series]) :][: length + HORIZON]
            for known in (merged, whole)
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize("trained, given", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_series_have_the_number_that_they_had_in_training(trained, given):
    frames = {number: make_frames((9,) * number)[0] for number in (1, 2)}
    history = fit_encoder(frames[trained]).encode(frames[given], None, HORIZON)
    expected = {(1, 1): [1], (2, 2): [1, 2]}.get((trained, given), [0] * given)
    assert history.store.traits.identity.tolist() == expected


def test_series_of_one_observation_tell_the_step_together():
    index = pd.MultiIndex.from_tuples(
        [(key, pd.Timestamp("2021-03-05") + pd.Timedelta(hours=key)) for key in range(3)]
    )
    assert find_timeline(index).seasons() == (24, 168)


def test_the_longest_series_tells_the_step():
    y, _ = make_frames((2, 11))
    y = y.drop(y.index[0])
    assert find_timeline(y.index).seasons() == (24, 168)


# Tails.

SPEC = WindowSpec(7, HORIZON, 2, 3, 2, (0, 1), (3,), (0,), (3, 11), "meanstd", 13)


@pytest.mark.parametrize("past", [(), ("wind",)])
def test_a_tail_is_the_end_of_the_history_with_the_future_behind(past):
    y, X, _ = split_frames((31, 19))
    encoder = fit_encoder(y, X, past=past)
    spec = SPEC if past else WindowSpec(**{**vars(SPEC), "known": (0, 1, 2)})
    whole = encoder.encode(y, X, HORIZON)
    for cutoff in ([23, 11], [26, 14], [19, 1], [26, 0]):
        cutoff = np.array(cutoff)
        wanted = np.ones((2, HORIZON), dtype=bool)
        tail, kept = encoder.tail(whole, cutoff, spec.reach, wanted, X.drop(columns=list(past)))
        assert kept.tolist() == np.minimum(cutoff, spec.reach).tolist()
        assert tail.lengths.tolist() == (kept + HORIZON).tolist()
        series = torch.arange(2)
        ours = cut_windows(tail.store, spec, series, torch.tensor(kept))
        direct = cut_windows(whole.store, spec, series, torch.tensor(cutoff))
        for part in direct.inputs:
            torch.testing.assert_close(ours.inputs[part], direct.inputs[part], rtol=0, atol=0)
        assert torch.equal(ours.loc, direct.loc)
        assert torch.equal(ours.scale, direct.scale)
        assert ours.target.isnan().all()


def test_a_tail_hides_rows_after_the_cutoff():
    y, X = make_frames((29,))
    encoder = fit_encoder(y, X, past=("wind",))
    history = encoder.encode(y, X, HORIZON)
    changed = copy.deepcopy(history)
    changed.store.values[17:] = 5.0
    changed.store.observed[17:] = ~changed.store.observed[17:]
    wanted = np.ones((1, 3), dtype=bool)
    ours, theirs = [
        encoder.tail(some, np.array([17]), 11, wanted, X)[0] for some in (history, changed)
    ]
    assert torch.equal(ours.store.values, theirs.store.values)
    assert not ours.store.observed[11:, :2].any()


def test_covariates_are_carried_across_the_cutoff_and_flagged():
    y, X = make_frames((17,))
    X["holiday"] = 0.0
    X.iloc[13:, X.columns.get_loc("holiday")] = [1.0, np.nan, np.nan, 0.0]
    encoder = fit_encoder(y[:14], X[:14])
    history = encoder.encode(y[:14], X[:14], HORIZON)
    tail, _ = encoder.tail(history, np.array([14]), 5, np.ones((1, 3), dtype=bool), X[14:])
    values, observed = covariate(encoder, tail, "holiday")
    assert values.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert observed.tolist() == [True] * 5 + [False, False, True]


def test_a_carried_value_is_carried_on_although_its_row_is_flagged():
    y, X = make_frames((17,))
    X["holiday"] = [0.0, 1.0] + [np.nan] * 15
    encoder = fit_encoder(y[:14], X[:14])
    history = encoder.encode(y[:14], X[:14], HORIZON)
    tail, _ = encoder.tail(history, np.array([14]), 5, np.ones((1, 3), dtype=bool), X[14:])
    values, observed = covariate(encoder, tail, "holiday")
    assert values.tolist() == [1] * 8
    assert not observed.any()


def test_future_rows_that_are_not_wanted_may_be_absent():
    y, X = make_frames((29,))
    encoder = fit_encoder(y[:23], X[:23], scaler=None)
    history = encoder.encode(y[:23], X[:23], HORIZON)
    wanted = np.array([[False, True, False, False, True]])
    tail, _ = encoder.tail(history, np.array([23]), 7, wanted, X.iloc[[24, 27]])
    values, observed = covariate(encoder, tail, "holiday")
    raw = X["holiday"].to_numpy()
    assert observed[7:].tolist() == [False, True, False, False, True]
    assert values[7:].tolist() == [raw[22], raw[24], raw[24], raw[24], raw[27]]


def test_wanted_rows_that_are_absent_are_named():
    y, X = make_frames((29, 29))
    encoder = fit_encoder(y, X)
    history = encoder.encode(y, X, HORIZON)
    cutoff, wanted = np.array([23, 17]), np.ones((2, 3), dtype=bool)
    absent = X.index[29 + 18]
    message = error_of(lambda: encoder.tail(history, cutoff, 7, wanted, X.drop(absent)))
    assert "without the row 2021-03-05 18:00:00 of series 'series 1'" in message
    assert "Got X=None" in error_of(lambda: encoder.tail(history, cutoff, 7, wanted, None))
    some = X.drop(columns="holiday")
    message = error_of(lambda: encoder.tail(history, cutoff, 7, wanted, some))
    assert "without the columns ['holiday']" in message


def test_without_known_covariates_a_tail_needs_no_x():
    y, X = make_frames((29,))
    encoder = fit_encoder(y, X, past=("temperature", "sky", "holiday", "wind"))
    history = encoder.encode(y, X, HORIZON)
    tail, _ = encoder.tail(history, np.array([29]), 7, np.ones((1, 3), dtype=bool), None)
    assert not tail.store.observed[7:].any()
    wind, _ = covariate(encoder, tail, "wind")
    assert (wind[7:] == wind[6]).all()


def test_a_tail_leaves_the_history_unchanged():
    y, X = make_frames((29,))
    encoder = fit_encoder(y, X)
    history = encoder.encode(y, X, HORIZON)
    before = copy.deepcopy(history)
    tail, _ = encoder.tail(history, np.array([17]), 7, np.ones((1, 3), dtype=bool), X)
    tail.store.values[:] = 1.0
    assert_same_history(history, before)


def test_scaling_is_learnt_from_training_rows_alone():
    y, X = make_frames((29,))
    encoder = fit_encoder(y[:17], X[:17])
    learnt = copy.deepcopy(vars(encoder))
    history = encoder.encode(y[:17], X[:17], HORIZON)
    late_X = X.iloc[17:].assign(wind=1e6, sky="hail")
    with pytest.warns(UserWarning, match=r"'sky', no value of which is known.*\['hail'\]"):
        merged, _ = encoder.extend(history, history.lengths, y.iloc[17:] * 1e6, late_X, HORIZON)
    with pytest.warns(UserWarning, match="'sky'"):
        encoder.tail(merged, np.array([29]), 7, np.zeros((1, 3), dtype=bool), late_X)
    assert str(vars(encoder)) == str(learnt)
    np.testing.assert_array_equal(merged.loc, history.loc)
    assert set(codes(encoder, merged, "sky")[17:]) == {0.0}


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_the_size_of_the_data_does_not_matter(size):
    y, X = make_frames((29,))
    X = X.drop(columns=["sky", "holiday"])
    plain = fit_encoder(y, X).encode(y, X, HORIZON)
    sized = fit_encoder(y * size, X * size).encode(y * size, X * size, HORIZON)
    torch.testing.assert_close(sized.store.values, plain.store.values)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(7, 36),
        pd.period_range("2021-03", periods=29, freq="M"),
        pd.date_range("2021-03-27", periods=29, freq="h", tz="Europe/Berlin"),
        pd.date_range("2021-03-05", periods=29, freq="B"),
    ],
    ids=["integers", "periods", "local hours", "business days"],
)
def test_every_kind_of_index_is_encoded_and_extended(index):
    y, X = make_frames((29,))
    y.index = X.index = index
    encoder = fit_encoder(y[:17], X[:17], time_features=())
    history = encoder.encode(y[:17], X[:17], HORIZON)
    merged, cutoff = encoder.extend(history, history.lengths, y[17:], X[17:], HORIZON)
    np.testing.assert_allclose(decoded(encoder, merged), y, rtol=1e-6)
    assert cutoff.tolist() == [29]
    assert merged.timeline.times(np.arange(29)).equals(index)


def test_rows_of_x_beyond_those_of_y_teach_no_scale_and_no_category():
    y, X = make_frames((40,))
    X.loc[X.index[25:], "wind"] *= 100
    X.loc[X.index[25:], "sky"] = "hail"
    encoder, expected = (fit_encoder(y[:25], known) for known in (X, X[:25]))
    assert encoder._covariates.numeric["wind"] == expected._covariates.numeric["wind"]
    assert "hail" not in encoder.categories["sky"]
