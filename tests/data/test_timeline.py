import numpy as np
import pandas as pd
import pytest

from sktime_tlstm.data.timeline import TIME_FEATURES, Timeline

# One index of 61 rows for every kind of grid.
TIMESTAMPS = {
    "15 minutes": pd.date_range("2021-03-05 02:15", periods=61, freq="15min"),
    "hours": pd.date_range("2021-03-05 02:00", periods=61, freq="h"),
    "hours in nanoseconds": pd.date_range("2021-03-05 02:00", periods=61, freq="h", unit="ns"),
    "hours in seconds": pd.date_range("2021-03-05 02:00", periods=61, freq="h", unit="s"),
    "three hours": pd.date_range("2021-03-05 02:00", periods=61, freq="3h"),
    "days": pd.date_range("2021-03-05", periods=61, freq="D"),
    "days at seven o'clock": pd.date_range("2021-03-05 07:00", periods=61, freq="D"),
    "business days": pd.date_range("2021-03-05", periods=61, freq="B"),
    "weeks": pd.date_range("2021-03-05", periods=61, freq="W-WED"),
    "month starts": pd.date_range("2021-03-05", periods=61, freq="MS"),
    "month ends": pd.date_range("2021-03-05", periods=61, freq="ME"),
    "every second month": pd.date_range("2021-03-05", periods=61, freq="2MS"),
    "quarter starts": pd.date_range("2021-03-05", periods=61, freq="QS-FEB"),
    "quarter ends": pd.date_range("2021-03-05", periods=61, freq="QE-DEC"),
    "year starts": pd.date_range("2021-03-05", periods=61, freq="YS"),
    "year ends": pd.date_range("2021-03-05", periods=61, freq="YE"),
    # Berlin's clocks moved on 28 March and on 31 October 2021, within these rows.
    "hours in spring": pd.date_range("2021-03-27", periods=61, freq="h", tz="Europe/Berlin"),
    "15 minutes in autumn": pd.date_range(
        "2021-10-31", periods=61, freq="15min", tz="Europe/Berlin"
    ),
    "local days": pd.date_range("2021-03-05", periods=61, freq="D", tz="Europe/Berlin"),
    "local weeks": pd.date_range("2021-03-07", periods=61, freq="W", tz="Europe/Berlin"),
    "local month starts": pd.date_range("2021-03-05", periods=61, freq="MS", tz="Asia/Kolkata"),
}
PERIODS = {
    "period hours": pd.period_range("2021-03-05 02:00", periods=61, freq="h"),
    "period three hours": pd.period_range("2021-03-05 02:00", periods=61, freq="3h"),
    "period days": pd.period_range("2021-03-05", periods=61, freq="D"),
    "period weeks": pd.period_range("2021-03-05", periods=61, freq="W-WED"),
    "period months": pd.period_range("2021-03", periods=61, freq="M"),
    "period two months": pd.period_range("2021-03", periods=61, freq="2M"),
    "period quarters": pd.period_range("2021Q1", periods=61, freq="Q-NOV"),
    "period years": pd.period_range("2021", periods=61, freq="Y"),
}
INTEGERS = {
    "a range": pd.RangeIndex(7, 68),
    "integers": pd.Index(np.arange(-11, 50)),
    "small integers": pd.Index(np.arange(3, 64), dtype="int32"),
}
INDICES = {**TIMESTAMPS, **PERIODS, **INTEGERS}
EVERY_KIND = pytest.mark.parametrize("kind", INDICES)


@EVERY_KIND
def test_ordinals_and_times_are_inverse(kind):
    index = INDICES[kind]
    timeline = Timeline.from_times(index)
    assert timeline.ordinals(index).tolist() == list(range(61))
    assert timeline.times(np.arange(61)).equals(index)
    far = np.arange(-67, 131)
    assert timeline.ordinals(timeline.times(far)).tolist() == far.tolist()


@pytest.mark.parametrize("kind", TIMESTAMPS)
def test_the_grid_of_timestamps_is_found_without_their_freq_attribute(kind):
    index = TIMESTAMPS[kind]
    bare = index._with_freq(None)
    assert bare.freq is None
    timeline = Timeline.from_times(bare)
    assert timeline.ordinals(bare).tolist() == list(range(61))
    assert timeline.times(np.arange(61)).equals(index)


@EVERY_KIND
def test_the_grid_goes_on_beyond_the_rows_it_was_found_from(kind):
    index = INDICES[kind]
    assert Timeline.from_times(index[:41]).times(np.arange(61)).equals(index)
    assert Timeline.from_times(index[17:]).times(np.arange(-17, 44)).equals(index)
    assert Timeline.from_times(index[17:]).ordinals(index[:17]).tolist() == list(range(-17, 0))


@EVERY_KIND
def test_times_in_any_order_find_their_place(kind):
    index = INDICES[kind]
    order = np.random.default_rng(3).permutation(61)[:23]
    timeline = Timeline.from_times(index)
    assert timeline.ordinals(index.take(order)).tolist() == order.tolist()
    assert timeline.times(order).equals(index.take(order))


@EVERY_KIND
def test_times_keep_time_zone_and_resolution(kind):
    index = INDICES[kind]
    times = Timeline.from_times(index).times(np.array([0, 13]))
    assert type(times) is type(index) or isinstance(index, pd.RangeIndex)
    if kind != "small integers":
        assert times.dtype == index.dtype


def test_an_hour_that_the_clock_repeats_is_two_rows():
    index = pd.date_range("2021-10-31 01:00", periods=5, freq="h", tz="Europe/Berlin")
    assert index.hour.tolist() == [1, 2, 2, 3, 4]
    assert Timeline.from_times(index).ordinals(index[[1, 2]]).tolist() == [1, 2]


def test_a_local_day_of_23_hours_is_one_step():
    index = pd.date_range("2021-03-26", periods=5, freq="D", tz="Europe/Berlin")
    assert index[3] - index[2] == pd.Timedelta(hours=23)
    assert Timeline.from_times(index[:2]).ordinals(index).tolist() == [0, 1, 2, 3, 4]


def test_one_timestamp_counts_in_days_and_knows_no_season():
    timeline = Timeline.from_times(pd.DatetimeIndex(["2021-03-05 07:00"]))
    later = pd.DatetimeIndex(["2021-03-08 07:00"])
    assert timeline.ordinals(later).tolist() == [3]
    assert timeline.times(np.array([3])).equals(later)
    assert np.isnan(timeline.days_per_step)
    assert timeline.seasons() == ()
    assert timeline.default_time_features(1000) == ()
    assert "no known step" in str(timeline)


def test_one_period_or_integer_is_a_grid():
    period = Timeline.from_times(pd.PeriodIndex(["2021-11"], freq="M"))
    assert period.times(np.array([3]))[0] == pd.Period("2022-02", "M")
    assert Timeline.from_times(pd.RangeIndex(7, 8)).times(np.array([-2, 3])).tolist() == [5, 10]


def test_two_timestamps_make_a_grid():
    timeline = Timeline.from_times(pd.DatetimeIndex(["2021-03-05 07:00", "2021-03-05 09:00"]))
    assert timeline.ordinals(pd.DatetimeIndex(["2021-03-06 07:00"])).tolist() == [12]
    assert timeline.seasons() == (12, 84)


SEASONS = {
    "15min": (96, 672),
    "h": (24, 168),
    "3h": (8, 56),
    "12h": (2, 14),
    "D": (7,),
    "2D": (),
    "B": (5,),
    "W": (52,),
    "2W": (26,),
    "MS": (12,),
    "ME": (12,),
    "2MS": (6,),
    "QS": (4,),
    "QE": (4,),
    "YS": (),
    "YE": (),
}


@pytest.mark.parametrize("freq", SEASONS)
def test_seasons_are_the_usual_ones_in_whole_steps(freq):
    index = pd.date_range("2021-01-01", periods=19, freq=freq)
    assert Timeline.from_times(index).seasons() == SEASONS[freq]


@pytest.mark.parametrize(
    ("freq", "seasons"), [("h", (24, 168)), ("D", (7,)), ("M", (12,)), ("3M", (4,)), ("Y", ())]
)
def test_seasons_of_periods_are_those_of_timestamps(freq, seasons):
    index = pd.period_range("2021-01-01", periods=19, freq=freq)
    assert Timeline.from_times(index).seasons() == seasons


def test_integers_have_no_season_and_no_calendar():
    timeline = Timeline.from_times(pd.RangeIndex(31))
    assert not timeline.is_calendar
    assert timeline.seasons() == ()
    assert timeline.default_time_features(10**6) == ()
    assert timeline.features(3, 5, ()).shape == (5, 0)
    with pytest.raises(TypeError, match=r"Got a time index of integers.*time_features=\(\)"):
        timeline.features(3, 5, ("weekend",))


@pytest.mark.parametrize(
    ("freq", "num_rows", "names"),
    [
        ("h", 8759, ("time_of_day", "day_of_week", "weekend")),
        ("h", 8760, ("time_of_day", "day_of_week", "weekend", "day_of_year")),
        ("D", 364, ("day_of_week", "weekend")),
        ("D", 365, ("day_of_week", "weekend", "day_of_year")),
        ("W", 51, ()),
        ("W", 53, ("day_of_year",)),
        ("MS", 37, ("day_of_year",)),
        ("YS", 37, ()),
    ],
)
def test_default_features_fit_the_step_and_the_length(freq, num_rows, names):
    timeline = Timeline.from_times(pd.date_range("2021-01-01", periods=5, freq=freq))
    assert timeline.default_time_features(num_rows) == names


def test_calendar_features_by_hand():
    # Row 6 of the grid is Saturday 6 March 2021, 06:00: a quarter into the day, day 65 of the
    # year, and 5.25 days into a week that starts on Monday.
    timeline = Timeline.from_times(pd.date_range("2021-03-06", periods=5, freq="h"))
    row = timeline.features(6, 1, tuple(TIME_FEATURES))[0]
    week, year = 2 * np.pi * 5.25 / 7, 2 * np.pi * 65 / 365.25
    by_hand = [1, 0, np.sin(week), np.cos(week), 1, np.sin(year), np.cos(year)]
    np.testing.assert_allclose(row, by_hand, atol=1e-6)
    assert row.dtype == np.float32


def test_features_start_anywhere_on_the_grid():
    timeline = Timeline.from_times(pd.date_range("2021-03-06", periods=5, freq="h"))
    names = ("day_of_week", "time_of_day")
    long = timeline.features(-11, 41, names)
    np.testing.assert_array_equal(timeline.features(-4, 13, names), long[7:20])


def test_features_are_local_time():
    index = pd.date_range("2021-03-06 23:00", periods=5, freq="h", tz="UTC")
    local = Timeline.from_times(index.tz_convert("Europe/Berlin"))
    plain = Timeline.from_times(pd.date_range("2021-03-07", periods=5, freq="h"))
    names = tuple(TIME_FEATURES)
    np.testing.assert_array_equal(local.features(0, 5, names), plain.features(0, 5, names))


def test_periods_have_the_features_of_their_start():
    periods = Timeline.from_times(pd.period_range("2021-02", periods=5, freq="M"))
    starts = Timeline.from_times(pd.date_range("2021-02-01", periods=5, freq="MS"))
    names = ("day_of_year", "weekend")
    np.testing.assert_array_equal(periods.features(0, 5, names), starts.features(0, 5, names))


def test_an_irregular_index_names_the_first_uneven_row_and_a_remedy():
    index = pd.date_range("2021-03-05", periods=11, freq="h").delete(5)
    with pytest.raises(ValueError) as error:
        Timeline.from_times(index)
    message = str(error.value)
    assert "after 2021-03-05 04:00:00 comes 2021-03-05 06:00:00" in message
    assert "expected a step of 0 days 01:00:00" in message
    assert "resample" in message


OFF_GRID = {
    "hours": pd.DatetimeIndex(["2021-03-05 03:30"]),
    "three hours": pd.DatetimeIndex(["2021-03-05 03:00"]),
    "days": pd.DatetimeIndex(["2021-03-07 01:00"]),
    "business days": pd.DatetimeIndex(["2021-03-06"]),
    "weeks": pd.DatetimeIndex(["2021-03-11"]),
    "month starts": pd.DatetimeIndex(["2021-05-02"]),
    "every second month": pd.DatetimeIndex(["2021-05-01"]),
    "local days": pd.DatetimeIndex(["2021-04-02 01:00"], tz="Europe/Berlin"),
    "period three hours": pd.PeriodIndex(["2021-03-05 03:00"], freq="3h"),
    "period two months": pd.PeriodIndex(["2021-04"], freq="2M"),
}


@pytest.mark.parametrize("kind", OFF_GRID)
def test_a_time_off_the_grid_is_named_with_the_grid_and_a_remedy(kind):
    timeline = Timeline.from_times(INDICES[kind])
    with pytest.raises(ValueError, match=r"which does not lie on the.*grid.*Resample") as error:
        timeline.ordinals(OFF_GRID[kind])
    assert str(OFF_GRID[kind][0]) in str(error.value)


def test_a_time_before_the_origin_is_held_to_the_grid_too():
    timeline = Timeline.from_times(pd.date_range("2021-03-01", periods=5, freq="2MS"))
    assert timeline.ordinals(pd.DatetimeIndex(["2020-11-01", "2021-07-01"])).tolist() == [-2, 2]
    for off in ("2020-12-01", "2020-11-02"):
        with pytest.raises(ValueError, match=off):
            timeline.ordinals(pd.DatetimeIndex([off]))


WRONG_KIND = {
    "timestamps for periods": ("period days", TIMESTAMPS["days"]),
    "periods for timestamps": ("days", PERIODS["period days"]),
    "periods of another step": ("period months", PERIODS["period two months"]),
    "integers for timestamps": ("days", pd.RangeIndex(5)),
    "timestamps for integers": ("integers", TIMESTAMPS["days"]),
    "fractions for integers": ("integers", pd.Index([0.5, 1.5])),
    "another time zone": ("local days", TIMESTAMPS["days"].tz_localize("UTC")),
    "a time zone for none": ("days", TIMESTAMPS["local days"]),
}


@pytest.mark.parametrize("case", WRONG_KIND)
def test_times_of_another_kind_are_an_error_that_names_both(case):
    kind, times = WRONG_KIND[case]
    with pytest.raises(TypeError, match=r"Got a time index of type .*Convert") as error:
        Timeline.from_times(INDICES[kind]).ordinals(times)
    assert str(times.dtype) in str(error.value)


def test_finding_a_grid_leaves_the_index_unchanged():
    index = pd.date_range("2021-03-05", periods=5, freq="h")
    copy = index.copy()
    Timeline.from_times(index).ordinals(index)
    pd.testing.assert_index_equal(index, copy)
    assert index.freq == copy.freq
