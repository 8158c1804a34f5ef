"""Counting steps: every calendar of pandas, both ways, at the cost of the new dates alone."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import offsets

from sktime_tlstm.data.calendar import BusinessDays, Even, Walk, counter_of, even_step

DAY = 86_400_000_000

# Offsets that cannot be counted evenly, and a start that lies on each.
CALENDARS = {
    "month ends": (offsets.MonthEnd(), "2019-05-31"),
    "every fifth month start": (offsets.MonthBegin(5), "2019-05-01"),
    "quarter ends": (offsets.QuarterEnd(startingMonth=2), "2019-05-31"),
    "business year ends": (offsets.BYearEnd(month=6), "2019-06-28"),
    "half months": (offsets.SemiMonthBegin(day_of_month=11), "2019-05-11"),
    "half months, at the end": (offsets.SemiMonthEnd(day_of_month=11), "2019-05-31"),
    "third Thursdays": (offsets.WeekOfMonth(week=2, weekday=3), "2019-05-16"),
    "last Mondays": (offsets.LastWeekOfMonth(weekday=0), "2019-05-27"),
    "retail years": (offsets.FY5253(weekday=2, startingMonth=7, variation="last"), "2019-07-31"),
    "retail quarters": (
        offsets.FY5253Quarter(
            weekday=4, startingMonth=9, qtr_with_extra_week=3, variation="nearest"
        ),
        "2019-06-28",
    ),
    "Easter": (offsets.Easter(), "2019-04-21"),
    "the 30th of a month": (pd.DateOffset(months=1, day=30), "2019-05-30"),
    "business hours": (offsets.BusinessHour(), "2019-05-16 09:00"),
    "hours at night": (offsets.BusinessHour(start="21:00", end="04:00"), "2019-05-16 21:00"),
    "hours with a pause": (
        offsets.CustomBusinessHour(
            start=["08:00", "13:00"], end=["11:00", "17:00"], weekmask="1110010"
        ),
        "2019-05-15 13:00",
    ),
    "business days": (offsets.BusinessDay(), "2019-05-16"),
    "every third business day": (offsets.BusinessDay(3), "2019-05-16"),
    "six days a week": (
        offsets.CustomBusinessDay(weekmask="1101111", holidays=["2019-05-20", "2019-02-04"]),
        "2019-05-16",
    ),
}
EVERY_CALENDAR = pytest.mark.parametrize("name", CALENDARS)


def counter_and_dates(name, steps=90):
    """Return a counter that starts in the middle of dates, and these as pandas walks them."""
    offset, start = CALENDARS[name]
    start = pd.Timestamp(start).as_unit("us")
    later = [start]
    while len(later) <= steps:
        later.append(later[-1] + offset)
    return counter_of(start, offset), np.array([time.to_numpy() for time in later]).astype(int)


@EVERY_CALENDAR
def test_steps_are_those_that_pandas_walks(name):
    counter, dates = counter_and_dates(name)
    np.testing.assert_array_equal(counter.at(np.arange(91)), dates)


@EVERY_CALENDAR
def test_steps_before_the_start_lead_back_to_it(name):
    counter, dates = counter_and_dates(name)
    back = counter.at(np.arange(-40, 0))
    first = pd.DatetimeIndex(back[:1].view("datetime64[us]"))[0]
    again = counter_of(first.as_unit("us"), CALENDARS[name][0])
    np.testing.assert_array_equal(again.at(np.arange(40, 81)), dates[:41])


@EVERY_CALENDAR
def test_a_time_between_two_steps_counts_as_the_earlier(name):
    counter, _ = counter_and_dates(name)
    steps = np.arange(-40, 41)
    dates = counter.at(steps)
    np.testing.assert_array_equal(counter.count(dates), steps)
    np.testing.assert_array_equal(counter.count(dates + 1), steps)
    np.testing.assert_array_equal(counter.count(dates - 1), steps - 1)


@EVERY_CALENDAR
def test_times_in_any_order_find_their_step(name):
    counter, dates = counter_and_dates(name)
    order = np.random.default_rng(5).permutation(91)[:37]
    np.testing.assert_array_equal(counter.count(dates[order]), order)
    np.testing.assert_array_equal(counter.at(order), dates[order])


@EVERY_CALENDAR
def test_a_counter_can_be_copied_and_pickled(name):
    counter, dates = counter_and_dates(name)
    counter.at(np.arange(-7, 13))
    for other in (copy.deepcopy(counter), pickle.loads(pickle.dumps(counter))):
        np.testing.assert_array_equal(other.at(np.arange(91)), dates)


@given(
    start=st.integers(-30_000, 30_000),
    step=st.integers(1, 23),
    steps=st.lists(st.integers(-2000, 2000), min_size=1, max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_business_days_are_counted_in_closed_form(start, step, steps):
    day = np.busday_offset(np.datetime64(start, "D"), 0, roll="forward")
    counter = BusinessDays(pd.Timestamp(day).as_unit("us"), offsets.BusinessDay(step))
    steps = np.array(steps)
    by_hand = np.busday_offset(day, steps * step).astype("datetime64[us]").astype(int)
    np.testing.assert_array_equal(counter.at(steps), by_hand)
    np.testing.assert_array_equal(counter.count(by_hand), steps)
    np.testing.assert_array_equal(counter.count(by_hand + DAY // 2), steps)


def test_business_days_keep_their_time_of_day():
    counter = counter_of(pd.Timestamp("2019-05-17 16:45").as_unit("us"), offsets.BusinessDay(2))
    times = pd.DatetimeIndex(counter.at(np.array([-1, 1])).view("datetime64[us]"))
    assert times.astype(str).tolist() == ["2019-05-15 16:45:00", "2019-05-21 16:45:00"]


def test_a_start_off_the_business_calendar_is_refused():
    with pytest.raises(ValueError, match="business day"):
        counter_of(pd.Timestamp("2019-05-18"), offsets.BusinessDay())


class Counted(pd.DateOffset):
    """A month that counts how often it is added."""

    added = 0

    def __radd__(self, other):
        Counted.added += 1
        return other + offsets.MonthEnd()

    def __rsub__(self, other):
        Counted.added += 1
        return other - offsets.MonthEnd()


def test_a_walk_generates_no_date_twice():
    Counted.added = 0
    walk = Walk(pd.Timestamp("2019-05-31").as_unit("us"), Counted(months=1))
    walk.at(np.array([1200]))
    assert Counted.added == 1200
    for step in range(1201, 1231):  # updates, a row each
        date = walk.at(np.array([step]))
        assert walk.count(date).tolist() == [step]
    assert Counted.added == 1230
    walk.at(np.array([-17, 1230]))
    assert Counted.added == 1247


def test_business_days_generate_no_dates_at_all(monkeypatch):
    start = pd.Timestamp("2019-05-17").as_unit("us")
    counters = [
        counter_of(start, offsets.BusinessDay(4)),
        counter_of(start, offsets.CustomBusinessDay(weekmask="1111100", holidays=["2019-05-20"])),
    ]
    assert all(type(counter) is BusinessDays for counter in counters)
    sizes = []
    offset_days, count_days = np.busday_offset, np.busday_count

    def offset(days, steps, **options):
        sizes.append(np.broadcast(days, steps).size)
        return offset_days(days, steps, **options)

    def count(low, high, **options):
        sizes.append(np.broadcast(low, high).size)
        return count_days(low, high, **options)

    monkeypatch.setattr(np, "busday_offset", offset)
    monkeypatch.setattr(np, "busday_count", count)
    for counter in counters:
        far = counter.at(np.array([100_000, 100_001]))
        assert counter.count(far).tolist() == [100_000, 100_001]
    assert max(sizes) == 2


def test_a_walk_refuses_a_date_that_only_a_typing_error_reaches(monkeypatch):
    monkeypatch.setattr("sktime_tlstm.data.calendar.MAX_WALK", 50)
    walk = Walk(pd.Timestamp("2019-05-31").as_unit("us"), offsets.MonthEnd())
    assert walk.at(np.array([50])).shape == (1,)
    far = np.array([np.datetime64("9019-05-31", "us").astype(int)])
    with pytest.raises(ValueError, match=r"more than 50 steps 'ME' away .* Check the time"):
        walk.count(far)
    with pytest.raises(ValueError, match="more than 50 steps"):
        walk.count(-far)
    assert walk.at(np.array([50])).shape == (1,)  # it goes on working


def test_a_frequency_that_stands_still_is_refused():
    walk = Walk(pd.Timestamp("2019-05-11").as_unit("us"), pd.DateOffset(day=11))
    with pytest.raises(ValueError, match="does not lead on from 2019-05-11"):
        walk.at(np.array([1]))


def test_even_steps_that_leave_64_bits_are_an_error():
    counter = Even(5, 3600)
    assert counter.at(np.array([-2, 7])).tolist() == [-7195, 25205]
    with pytest.raises(OverflowError, match="does not fit into 64 bits"):
        counter.at(np.array([2**61]))


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (offsets.Day(3), "3D"),
        (offsets.Week(2, weekday=4), "14D"),
        (offsets.Minute(7), "7min"),
        (pd.DateOffset(days=1, hours=6), "30h"),
        (pd.DateOffset(2, weeks=1), "14D"),
        (pd.DateOffset(months=1), None),
        (pd.DateOffset(hour=6), None),
        (offsets.MonthBegin(), None),
        (offsets.BusinessDay(), None),
    ],
)
def test_which_offsets_last_equally_long(offset, length):
    assert even_step(offset) == (None if length is None else pd.Timedelta(length))
