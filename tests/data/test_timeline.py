import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


# Any frequency, zone and unit.

OFFSETS = {
    "B": "2021-03-05",
    "4B": "2021-03-05",
    "ME": "2021-03-31",
    "5MS": "2021-03-01",
    "QE-APR": "2021-04-30",
    "BYE-MAY": "2021-05-31",
    "SMS-9": "2021-03-09",
    "WOM-2FRI": "2021-03-12",
    "D": "2021-03-05",
    "3D": "2021-03-05",
    "2W-FRI": "2021-03-05",
    "h": "2021-03-05 02:00",
    "5h": "2021-03-05 02:00",
    "24h": "2021-03-05",
    "90min": "2021-03-05",
}
ZONES = [None, "UTC", "Europe/Lisbon", "America/Asuncion", "Asia/Amman", "Australia/Lord_Howe"]


@pytest.mark.parametrize("hour", [0, 1, 2])
def test_series_may_begin_in_an_hour_that_the_clock_shows_twice(hour):
    # at one o'clock of this night the clocks of Amman went back to midnight
    begin = pd.Timestamp("2014-10-30 21:00", tz="UTC") + pd.Timedelta(hours=hour)
    times = pd.date_range(begin, periods=50, freq="h").tz_convert("Asia/Amman")
    timeline = Timeline.from_times(times)
    assert timeline.times(np.arange(50)).equals(times)
    assert timeline.ordinals(times).tolist() == list(range(50))
    features = timeline.features(0, 50, timeline.default_time_features(50))
    usual = Timeline.from_times(times[5:])
    np.testing.assert_array_equal(
        features[5:], usual.features(0, 45, timeline.default_time_features(50))
    )


@given(
    freq=st.sampled_from(list(OFFSETS)),
    zone=st.sampled_from(ZONES),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    first=st.integers(-200, 200),
    steps=st.lists(st.integers(-200, 200), min_size=1, max_size=9),
)
@settings(max_examples=300, deadline=None)
def test_ordinals_undo_times_for_every_frequency_zone_and_unit(freq, zone, unit, first, steps):
    offset = pd.tseries.frequencies.to_offset(freq)
    start = pd.Timestamp(OFFSETS[freq]).as_unit(unit)
    timeline = Timeline(start if zone is None else start.tz_localize(zone), offset)
    steps = np.array(steps)
    times = timeline.times(steps)
    assert times.unit == unit
    assert str(times.tz) == str(zone)
    assert timeline.ordinals(times).tolist() == steps.tolist()
    moved = Timeline(timeline.times(np.array([first]))[0], offset)
    assert moved.times(steps - first).equals(times)


@given(
    freq=st.sampled_from(list(OFFSETS)),
    zone=st.sampled_from(ZONES),
    unit=st.sampled_from(["s", "us", "ns"]),
    number=st.integers(40, 90),
    states=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_the_first_dates_tell_the_grid_of_all(freq, zone, unit, number, states):
    start = pd.Timestamp(OFFSETS[freq]).as_unit(unit)
    start = start if zone is None else start.tz_localize(zone)
    whole = Timeline(start, pd.tseries.frequencies.to_offset(freq)).times(np.arange(200))
    first = whole[:number]
    if states and zone is None:
        first = pd.DatetimeIndex(first, freq=freq)
    if zone not in (None, "UTC") and freq == "24h":
        number = 200  # only the change of the clock tells 24 hours from a day
        first = whole
    timeline = Timeline.from_times(first)
    assert timeline.times(np.arange(200)).equals(whole)
    assert timeline.ordinals(whole).tolist() == list(range(200))


# Local days without a midnight: by zone, the day on which the clocks skip it.
WITHOUT_MIDNIGHT = {
    "America/Sao_Paulo": "2017-10-15",
    "America/Santiago": "2019-09-08",
    "America/Asuncion": "2016-10-02",
    "America/Havana": "2019-03-10",
    "Africa/Cairo": "2014-05-16",
    "Asia/Beirut": "2020-03-29",
    "Asia/Amman": "2016-04-01",
    "Asia/Tehran": "2018-03-22",
}


@pytest.mark.parametrize("zone", WITHOUT_MIDNIGHT)
@pytest.mark.parametrize("start", [-300, -9, -2, 0])
def test_a_day_without_a_midnight_is_one_step(zone, start):
    days = pd.date_range(WITHOUT_MIDNIGHT[zone], periods=330) + pd.Timedelta(days=start)
    folds = np.ones(len(days), dtype=bool)
    index = days.tz_localize(zone, ambiguous=folds, nonexistent="shift_forward")
    skipped = index[-start]
    assert skipped.hour == 1
    for length in (3, 20, 330):
        timeline = Timeline.from_times(index[:length])
        assert timeline.times(np.arange(330)).equals(index)
        assert timeline.ordinals(index).tolist() == list(range(330))
        assert timeline.seasons() == (7,)
    # the day itself is seen as beginning at midnight, like any other
    np.testing.assert_array_equal(
        timeline.features(-start, 1, ("time_of_day",)), np.array([[0, 1]], dtype=np.float32)
    )
    assert timeline.index(np.arange(10)).equals(index[:10])


def test_a_month_whose_first_midnight_is_skipped_is_one_step():
    index = pd.date_range("2017-07-01", periods=9, freq="MS").tz_localize(
        "America/Asuncion", nonexistent="shift_forward"
    )
    assert index[3].hour == 1
    assert Timeline.from_times(index[:4]).times(np.arange(9)).equals(index)


def test_a_midnight_that_comes_twice_is_the_same_day_either_time():
    first, second = (
        pd.DatetimeIndex(["2020-11-01"]).tz_localize("America/Havana", ambiguous=[fold])
        for fold in (True, False)
    )
    assert second[0] - first[0] == pd.Timedelta(hours=1)
    days = pd.date_range("2020-10-20", periods=5, tz="America/Havana")
    assert Timeline.from_times(days).ordinals(first.append(second)).tolist() == [12, 12]


def test_a_day_that_a_zone_left_out_is_an_error():
    days = pd.date_range("2011-12-20", periods=8, tz="Pacific/Apia")
    with pytest.raises(ValueError, match=r"day 2011-12-30, which the zone Pacific/Apia skipped"):
        Timeline.from_times(days).times(np.arange(12))


@pytest.mark.parametrize("zone", ["Europe/Athens", "America/Denver", "Australia/Adelaide"])
@pytest.mark.parametrize("freq", ["D", "2D", "W-TUE"])
def test_days_of_utc_shown_in_another_zone_last_24_hours(zone, freq):
    index = pd.date_range("2022-01-04", periods=330, freq=freq, tz="UTC").tz_convert(zone)
    assert len(set(index.hour)) == 2
    for length in (2, 5, 330):  # the first rows lie before the change
        timeline = Timeline.from_times(index[:length])
        assert timeline.times(np.arange(330)).equals(index)
        assert timeline.seasons() == Timeline.from_times(index.tz_convert("UTC")).seasons()


def test_other_rows_tell_days_from_24_hours():
    # Seven in the morning is no midnight anywhere near: only the change of clocks tells.
    index = pd.date_range("2022-03-20 06:00", periods=20, tz="UTC").tz_convert("Europe/Athens")
    assert Timeline.from_times(index[:4]).times(np.array([10]))[0] != index[10]
    assert Timeline.from_times(index[:4], others=index).times(np.arange(20)).equals(index)
    local = pd.date_range("2022-03-20 08:00", periods=20, tz="Europe/Athens")
    assert Timeline.from_times(local[:4], others=local).times(np.arange(20)).equals(local)


def test_a_day_off_the_clock_names_24_hours_as_what_may_be_meant():
    local = pd.date_range("2022-03-20", periods=5, tz="Europe/London")
    later = pd.date_range("2022-03-26", periods=5, tz="UTC").tz_convert("Europe/London")
    with pytest.raises(ValueError, match=r"2022-03-28 01:00.* set `frame.index.freq = '24h'`"):
        Timeline.from_times(local).ordinals(later)
    stated = pd.DatetimeIndex(local, freq=None)
    stated.freq = "24h"
    assert Timeline.from_times(stated).ordinals(later).tolist() == [6, 7, 8, 9, 10]


# Known frequencies.


@pytest.mark.parametrize(
    ("freq", "date", "following"),
    [
        ("h", "2022-05-05 07:00", "2022-05-05 08:00"),
        ("B", "2022-05-06", "2022-05-09"),
        ("QE-FEB", "2022-05-31", "2022-08-31"),
        ("YS-APR", "2022-04-01", "2023-04-01"),
        ("20min", "2022-05-05 07:05", "2022-05-05 07:25"),
    ],
)
def test_a_single_date_keeps_the_usual_step(freq, date, following):
    usual = Timeline.from_times(pd.date_range("2001-01-01", periods=5, freq=freq))
    timeline = Timeline.from_times(pd.DatetimeIndex([date]), usual)
    assert timeline.times(np.array([1]))[0] == pd.Timestamp(following)


def test_dates_that_leave_the_step_open_keep_the_usual_one():
    usual = Timeline.from_times(pd.date_range("2001-01-01", periods=9, freq="B"))
    wednesday = pd.DatetimeIndex(["2022-05-04", "2022-05-05", "2022-05-06"])
    assert Timeline.from_times(wednesday, usual).times(np.array([3]))[0].day == 9
    assert Timeline.from_times(wednesday).times(np.array([3]))[0].day == 7
    hours = pd.date_range("2022-05-04", periods=4, freq="h")
    assert Timeline.from_times(hours, usual).seasons() == (24, 168)


def test_a_single_date_off_the_usual_calendar_is_an_error():
    usual = Timeline.from_times(pd.date_range("2001-01-01", periods=5, freq="ME"))
    with pytest.raises(ValueError, match=r"single time, 2022-05-17.*frequency 'ME'.*more rows"):
        Timeline.from_times(pd.DatetimeIndex(["2022-05-17"]), usual)


def test_a_step_of_another_kind_is_not_taken_over():
    hours = Timeline.from_times(pd.date_range("2001-01-01", periods=5, freq="h"))
    assert Timeline.from_times(pd.RangeIndex(4, 5), hours) == Timeline(4, None)
    wide = Timeline.from_times(pd.RangeIndex(0, 50, 10))
    assert Timeline.from_times(pd.RangeIndex(40, 50, 10), wide) == Timeline(40, 10)
    assert Timeline.from_times(pd.DatetimeIndex(["2021-03-05"]), wide).offset is None


# Integers, and what is none.


@pytest.mark.parametrize(
    ("index", "step"),
    [
        (pd.RangeIndex(100, 2000, 90), 90),
        (pd.Index([-8, -1, 6, 13]), 7),
        (pd.Index([4, 9]), 5),
        (pd.Index([3, 6, 9, 15, 18]), 3),
        (pd.Index([3, 4, 5, 9]), 1),
        (pd.Index([2, 4, 7, 9, 11]), 1),
        (pd.Index([5]), None),
    ],
)
def test_a_regular_step_of_integers_is_a_frequency(index, step):
    timeline = Timeline.from_times(index)
    assert timeline.offset == step
    ahead = timeline.times(np.array([-2, 3]))
    assert ahead.tolist() == [index[0] - 2 * (step or 1), index[0] + 3 * (step or 1)]
    assert timeline.ordinals(ahead).tolist() == [-2, 3]
    assert timeline.seasons() == ()


def test_an_integer_between_two_steps_is_off_the_grid():
    timeline = Timeline.from_times(pd.RangeIndex(100, 2000, 90))
    with pytest.raises(ValueError, match=r"Got the time 191, .*steps of 90 from 100"):
        timeline.ordinals(pd.Index([190, 191]))


@pytest.mark.parametrize("index", [pd.timedelta_range("2h", periods=5), pd.Index([0.0, 1.0, 2.0])])
def test_durations_and_fractions_are_refused_with_what_to_do(index):
    with pytest.raises(
        TypeError, match=r"expected dates, periods or integers.*index // index\[1\]"
    ):
        Timeline.from_times(index)


def test_a_missing_time_is_an_error():
    timeline = Timeline.from_times(pd.date_range("2021-03-05", periods=5))
    with pytest.raises(ValueError, match=r"\(NaT\) in row 1"):
        timeline.ordinals(pd.DatetimeIndex(["2021-03-05", None]))


# The ends of time.


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("start", ["0850-02-28", "1402-02-28", "2801-02-28"])
@pytest.mark.parametrize("freq", ["D", "6h", "B", "ME", "W-WED", "QS", "SMS"])
def test_dates_beyond_nanoseconds_are_counted(unit, start, freq):
    index = pd.date_range(start, periods=80, freq=freq, unit=unit)
    timeline = Timeline.from_times(pd.DatetimeIndex(index[:50].to_numpy()))
    assert timeline.times(np.arange(80)).equals(index)
    assert timeline.ordinals(index).tolist() == list(range(80))
    assert timeline.features(60, 3, tuple(TIME_FEATURES)).shape == (3, 7)


def test_periods_beyond_nanoseconds_have_features():
    periods = Timeline.from_times(pd.period_range("1402-02-28", periods=9, freq="D"))
    days = Timeline.from_times(pd.date_range("1402-02-28", periods=9, freq="D", unit="s"))
    names = tuple(TIME_FEATURES)
    np.testing.assert_array_equal(periods.features(0, 9, names), days.features(0, 9, names))
    assert periods.seasons() == (7,)


@pytest.mark.parametrize("freq", ["D", "h", "B", "ME", "SMS"])
@pytest.mark.parametrize("zone", [None, "Europe/Lisbon"])
def test_a_date_that_the_unit_cannot_state_is_refused(freq, zone):
    index = pd.date_range("2261-10-05", periods=5, freq=freq, unit="ns", tz=zone)
    timeline = Timeline.from_times(index)
    with pytest.raises(ValueError, match=r"cannot be stated in the unit 'ns'.*as_unit\('s'\)"):
        timeline.times(np.array([1, 9000]))
    # calendars are laid out further ahead than anyone asked
    coarse = Timeline.from_times(index.as_unit("s"))
    names = ("day_of_year", "weekend")
    np.testing.assert_array_equal(timeline.features(0, 900, names), coarse.features(0, 900, names))


def test_the_last_date_that_the_unit_can_state_is_right():
    index = pd.date_range("2262-03-01", periods=5, unit="ns")
    assert str(Timeline.from_times(index).times(np.array([41]))[0]) == "2262-04-11 00:00:00"


def test_fractions_of_a_second_are_off_the_grid_in_any_unit():
    timeline = Timeline.from_times(pd.date_range("2021-03-05", periods=5, freq="s", unit="s"))
    fine = pd.DatetimeIndex(["2021-03-05 00:00:03.000000007"])
    with pytest.raises(ValueError, match=r"00:00:03.000000007"):
        timeline.ordinals(fine)
    nano = pd.date_range("2021-03-05", periods=9, freq="300ns", unit="ns")
    assert Timeline.from_times(nano[:4]).times(np.arange(9)).equals(nano)


@pytest.mark.parametrize(
    "offset",
    [
        pd.offsets.LastWeekOfMonth(weekday=3),
        pd.offsets.FY5253(weekday=3, startingMonth=4, variation="last"),
        pd.offsets.CustomBusinessDay(weekmask="1111110"),
    ],
)
def test_an_index_states_its_frequency_where_rows_follow_each_other(offset):
    timeline = Timeline.from_times(pd.date_range("2015-01-01", periods=9, freq=offset))
    assert timeline.index(np.arange(3, 8)).freq == offset
    assert timeline.index(np.array([3, 5])).freq is None
