"""Frequencies: read from bare dates as files bring them, with the seasons of their calendars."""

import numpy as np
import pandas as pd
import pytest
from pandas import offsets

from sktime_tlstm.data.frequency import seasons_of
from sktime_tlstm.data.timeline import Timeline


def bare(start, offset, periods=41):
    """Return dates that do not state their frequency."""
    return pd.DatetimeIndex(pd.date_range(start, periods=periods, freq=offset).to_numpy())


# What a file may hold, and the frequency that says the same.
READ = {
    "months on the 12th": ("2019-05-12", pd.DateOffset(months=1)),
    "months on the 29th": ("2019-05-29", pd.DateOffset(months=1, day=29)),
    "months on the 30th, from February": ("2019-02-28", pd.DateOffset(months=1, day=30)),
    "every seventh month, on the 3rd": ("2019-05-03", pd.DateOffset(months=7)),
    "years on 29 February": ("2020-02-29", pd.DateOffset(years=1, day=29)),
    "years on 11 October": ("2019-10-11", pd.DateOffset(years=1)),
    "four-month ends": ("2019-04-30", offsets.MonthEnd(4)),
    "fiscal half years": ("2019-05-31", offsets.QuarterEnd(2, startingMonth=5)),
    "half months": ("2019-05-15", offsets.SemiMonthBegin()),
    "half months on the 9th": ("2019-05-01", offsets.SemiMonthBegin(day_of_month=9)),
    "half months, at the end": ("2019-05-31", offsets.SemiMonthEnd()),
    "half months, at the end and the 7th": ("2019-05-07", offsets.SemiMonthEnd(day_of_month=7)),
    "every third business day": ("2019-05-16", offsets.BusinessDay(3)),
    "Monday to Saturday": ("2019-05-16", offsets.CustomBusinessDay(weekmask="1111110")),
    "Saturday to Wednesday": ("2019-05-15", offsets.CustomBusinessDay(weekmask="1110011")),
    "Tuesdays and Fridays": ("2019-05-17", offsets.CustomBusinessDay(weekmask="0100100")),
    "retail years": ("2010-01-01", offsets.FY5253(weekday=6, startingMonth=8, variation="last")),
    "retail years, nearest": (
        "2010-01-01",
        offsets.FY5253(weekday=1, startingMonth=6, variation="nearest"),
    ),
    "retail quarters": (
        "2010-01-01",
        offsets.FY5253Quarter(
            weekday=5, startingMonth=6, qtr_with_extra_week=2, variation="nearest"
        ),
    ),
    "last Wednesdays": ("2019-05-29", offsets.LastWeekOfMonth(weekday=2)),
    "last Fridays of every third month": ("2019-05-31", offsets.LastWeekOfMonth(3, weekday=4)),
    "third Saturdays": ("2019-05-18", offsets.WeekOfMonth(week=2, weekday=5)),
    "second Mondays of every fourth month": (
        "2019-05-13",
        offsets.WeekOfMonth(4, week=1, weekday=0),
    ),
    "business quarter starts": ("2019-05-01", offsets.BQuarterBegin(startingMonth=2)),
    "Thursdays": ("2019-05-16", offsets.Week(weekday=3)),
    "every fifth Thursday": ("2019-05-16", offsets.Week(5, weekday=3)),
    "eleven days": ("2019-05-16", offsets.Day(11)),
    "business hours": ("2019-05-16 09:00", offsets.BusinessHour()),
    "long hours on six days": (
        "2019-05-16 08:00",
        offsets.CustomBusinessHour(start="08:00", end="12:00", weekmask="1111110"),
    ),
    "hours with a pause": (
        "2019-05-16 08:00",
        offsets.CustomBusinessHour(
            start=["08:00", "15:00"], end=["10:00", "18:00"], weekmask="1111111"
        ),
    ),
    "every second hour of the day": (
        "2019-05-16 10:00",
        offsets.CustomBusinessHour(2, start="10:00", end="16:00", weekmask="1111111"),
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_bare_dates_go_on_as_their_calendar_does(kind):
    start, offset = READ[kind]
    whole = bare(start, offset, 120)
    timeline = Timeline.from_times(whole[:70])
    np.testing.assert_array_equal(timeline.ordinals(whole), np.arange(120))
    assert timeline.times(np.arange(120)).equals(whole)


@pytest.mark.parametrize("kind", READ)
def test_a_frequency_that_is_stated_is_kept(kind):
    start, offset = READ[kind]
    index = pd.date_range(start, periods=41, freq=offset)
    assert Timeline.from_times(index).offset is index.freq


TWO_ROWS = {
    "quarter ends": (["2018-09-30", "2018-12-31"], ["2019-03-31", "2019-06-30"], (4,)),
    "ends of fiscal quarters": (["2018-11-30", "2019-02-28"], ["2019-05-31", "2019-08-31"], (4,)),
    "quarter starts": (["2019-10-01", "2020-01-01"], ["2020-04-01", "2020-07-01"], (4,)),
    "starts of fiscal quarters": (["2019-06-01", "2019-09-01"], ["2019-12-01"], (4,)),
    "year ends": (["2018-12-31", "2019-12-31"], ["2020-12-31", "2021-12-31"], ()),
    "ends of fiscal years": (["2019-02-28", "2020-02-29"], ["2021-02-28", "2022-02-28"], ()),
    "year starts": (["2019-01-01", "2020-01-01"], ["2021-01-01", "2022-01-01"], ()),
    "starts of fiscal years": (["2019-10-01", "2020-10-01"], ["2021-10-01"], ()),
    "half-year ends": (["2019-12-31", "2020-06-30"], ["2020-12-31", "2021-06-30"], (2,)),
    "two-month starts": (["2019-11-01", "2020-01-01"], ["2020-03-01", "2020-05-01"], (6,)),
    "months on the 20th": (["2019-01-20", "2019-02-20"], ["2019-03-20", "2019-04-20"], (12,)),
    "months on the 30th": (["2020-01-30", "2020-02-29"], ["2020-03-30", "2020-04-30"], (12,)),
    "quarters on the 5th": (["2019-08-05", "2019-11-05"], ["2020-02-05"], (4,)),
    "business month ends": (["2020-02-28", "2020-03-31"], ["2020-04-30", "2020-05-29"], (12,)),
    "weeks": (["2019-05-16", "2019-05-23"], ["2019-05-30"], (52,)),
    "thirty days": (["2019-05-16", "2019-06-15"], ["2019-07-15"], (12,)),
}


@pytest.mark.parametrize("kind", TWO_ROWS)
def test_two_dates_are_taken_for_the_likeliest_calendar(kind):
    dates, following, seasons = TWO_ROWS[kind]
    timeline = Timeline.from_times(pd.DatetimeIndex(dates))
    times = timeline.times(np.arange(2, 2 + len(following)))
    assert times.astype(str).tolist() == following
    assert timeline.seasons() == seasons


@pytest.mark.parametrize(
    ("offset", "seasons"),
    [
        (offsets.CustomBusinessDay(weekmask="1111111"), (7,)),
        (offsets.CustomBusinessDay(weekmask="1111110"), (6,)),
        (offsets.CustomBusinessDay(weekmask="Sun Mon Tue Thu"), (4,)),
        (offsets.CustomBusinessDay(holidays=["2019-05-20"]), (5,)),
        (offsets.CustomBusinessDay(2, weekmask="1111110"), (3,)),
        (offsets.BusinessDay(3), ()),
        (offsets.BusinessDay(5), (52,)),
        (offsets.BusinessHour(), (8, 40)),
        (offsets.BusinessHour(start="07:00", end="19:00"), (12, 60)),
        (offsets.BusinessHour(start="22:00", end="05:00"), (7, 35)),
        (offsets.BusinessHour(2), (4, 20)),
        (offsets.BusinessHour(start="09:30", end="16:00"), ()),
        (offsets.CustomBusinessHour(start="10:00", end="21:00", weekmask="1111111"), (11, 77)),
        (
            offsets.CustomBusinessHour(
                start=["08:00", "14:00"], end=["11:00", "16:00"], weekmask="1111001"
            ),
            (5, 25),
        ),
        (offsets.SemiMonthEnd(), (24,)),
        (offsets.LastWeekOfMonth(weekday=2), (12,)),
        (pd.DateOffset(months=3), (4,)),
        (pd.DateOffset(hours=6), (4, 28)),
        (offsets.Hour(24), (7,)),
        (
            offsets.FY5253Quarter(
                weekday=5, startingMonth=6, qtr_with_extra_week=2, variation="last"
            ),
            (4,),
        ),
    ],
)
def test_seasons_are_the_days_and_hours_that_a_calendar_is_open(offset, seasons):
    index = pd.date_range("2018-01-01", periods=30, freq=offset)
    assert Timeline.from_times(index).seasons() == seasons


def test_steps_beyond_half_a_year_or_unknown_have_no_season():
    assert seasons_of(offsets.MonthEnd(7), 213.0) == ()
    assert seasons_of(offsets.Day(), float("nan")) == ()


GAPS = {
    "month": (bare("2019-02-01", "MS"), 9, "2019-11-01", "'MS'"),
    "month on the 18th": (bare("2019-02-18", pd.DateOffset(months=1)), 9, "2019-11-18", "months=1"),
    "quarter": (bare("2010-03-31", "QE"), 5, "2011-06-30", "'QE-DEC'"),
    "year": (bare("1970-12-31", "YE"), 5, "1975-12-31", "'YE-DEC'"),
    "half month": (bare("2019-02-01", "SMS"), 4, "2019-04-01", "'SMS-15'"),
    "business day": (bare("2019-02-01", "B"), 4, "2019-02-07", "'B'"),
    "second business day": (bare("2019-02-01", "2B"), 4, "2019-02-13", "'2B'"),
    "last Wednesday": (
        bare("2019-05-29", offsets.LastWeekOfMonth(weekday=2)),
        7,
        "2019-12-25",
        "'LWOM-WED'",
    ),
    "week": (bare("2019-02-07", "W-THU"), 4, "2019-03-07", "7 days"),
    "hour": (bare("2019-02-07 03:00", "h"), 4, "2019-02-07 07:00", "01:00:00"),
}


@pytest.mark.parametrize("kind", GAPS)
def test_the_row_after_a_gap_is_named_with_the_time_that_is_missing(kind):
    index, row, missing, step = GAPS[kind]
    index = index.delete([row, row + 13])
    with pytest.raises(ValueError, match="without a regular frequency") as error:
        Timeline.from_times(index)
    message = str(error.value)
    assert f"after {index[row - 1]} comes {index[row]}, expected a step of" in message
    assert f"{pd.Timestamp(missing)}." in message
    assert step in message
    assert "asfreq" in message


def test_days_off_without_a_stated_calendar_are_an_error_that_names_one():
    off = pd.to_datetime(["2019-05-01", "2019-05-30", "2019-06-10"])
    with pytest.raises(ValueError) as error:
        Timeline.from_times(pd.bdate_range("2019-03-01", "2019-09-01").difference(off))
    message = str(error.value)
    assert "after 2019-04-30 00:00:00 comes 2019-05-02 00:00:00" in message
    assert "CustomBusinessDay(holidays=[...])" in message
    stated = pd.bdate_range("2019-03-01", "2019-09-01", freq="C", holidays=list(off))
    assert Timeline.from_times(stated).times(np.array([43]))[0] == pd.Timestamp("2019-05-02")


def test_a_weekday_that_lacks_once_is_no_closed_day():
    index = pd.DatetimeIndex(["2019-05-13", "2019-05-14", "2019-05-16", "2019-05-17"])
    with pytest.raises(ValueError, match=r"after 2019-05-14 .* comes 2019-05-16"):
        Timeline.from_times(index)


@pytest.mark.parametrize(
    "index",
    [
        # retail months of four, four and five weeks
        pd.DatetimeIndex(
            np.datetime64("2019-03-02") + np.cumsum(np.tile([28, 28, 35], 7)).astype("m8[D]")
        ),
        pd.to_datetime(["2019-05-02", "2019-05-03", "2019-05-19", "2019-08-20", "2019-08-21"]),
        bare("2019-05-16 22:00", offsets.BusinessHour(start="22:00", end="05:00")),
    ],
)
def test_dates_without_a_rule_that_pandas_knows_may_be_counted(index):
    with pytest.raises(ValueError, match=r"reset_index\(drop=True\)"):
        Timeline.from_times(index)


@pytest.mark.parametrize("weekday", range(7))
@pytest.mark.parametrize("month", [1, 6, 12])
@pytest.mark.parametrize("variation", ["last", "nearest"])
def test_every_retail_year_is_read(weekday, month, variation):
    offset = offsets.FY5253(weekday=weekday, startingMonth=month, variation=variation)
    whole = bare("1990-01-01", offset, 60)
    assert Timeline.from_times(whole[:35]).times(np.arange(60)).equals(whole)
