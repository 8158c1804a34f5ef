"""Rows: any order of a panel's rows, steps that are known, and times too far to be true."""

import numpy as np
import pandas as pd
import pytest

from sktime_tlstm.data import rows as rows_room
from sktime_tlstm.data.rows import (
    Rows,
    check_apart,
    check_growth,
    find_timeline,
    grouped,
    portable,
)
from sktime_tlstm.data.timeline import Timeline

DAYS = pd.date_range("2021-03-05", periods=11)


def panel(keys, times=DAYS):
    index = pd.MultiIndex.from_product([keys, times], names=["shop", "day"])
    return pd.DataFrame({"y": np.arange(len(index), dtype=float)}, index=index)


def in_time_order(frame):
    return frame.sort_index(level=[-1, *range(frame.index.nlevels - 1)])


# Tables in the order of time.


def test_a_table_in_time_order_is_grouped_as_if_it_were_sorted():
    frame = panel(["q", "p", "r"])
    pd.testing.assert_frame_equal(grouped(in_time_order(frame)), frame.sort_index())


def test_a_hierarchy_in_time_order_is_grouped_as_if_it_were_sorted():
    frame = pd.concat({"south": panel(["q", "p"]), "north": panel(["q"])}, names=["region"])
    pd.testing.assert_frame_equal(grouped(in_time_order(frame)), frame.sort_index())


def test_a_frame_whose_series_lie_together_stays_as_it_is():
    for frame in (panel(["q", "p", "r"]), panel(["q"]), panel(["q"]).droplevel(0)):
        assert grouped(frame) is frame


def test_keys_without_an_order_are_grouped_in_theirs():
    frame = panel([pd.Timestamp("2021-03-05"), 7])
    order = np.arange(22).reshape(2, 11).T.ravel()  # (day, shop)
    pd.testing.assert_frame_equal(grouped(frame.iloc[order]), frame)


def test_rows_in_time_order_find_their_series_and_grid_row():
    frame = panel(["q", "p", "r"])
    mixed = in_time_order(frame)
    timeline = Timeline.from_times(DAYS)
    rows = Rows.parse(mixed.index, timeline)
    assert rows.keys[rows.series()].equals(mixed.index.droplevel(-1))
    assert rows.ordinals().tolist() == np.repeat(np.arange(11), 3).tolist()


@pytest.mark.parametrize("change", ["twice", "back"])
def test_a_table_in_time_order_keeps_each_series_in_order(change):
    mixed = in_time_order(panel(["q", "p"])).index
    order = np.arange(22)
    order[[6, 8]] = [8, 8] if change == "twice" else [8, 6]  # rows of the same shop
    with pytest.raises(ValueError, match=r"'p'.* after the row \('p'.*increasing"):
        Rows.parse(mixed[order], Timeline.from_times(DAYS))


# Steps that are known.


def test_one_row_keeps_the_step_of_data_seen_before():
    usual = find_timeline(pd.date_range("2001-01-01", periods=9, freq="20min"))
    one = pd.DatetimeIndex(["2021-03-05 10:00"])
    assert find_timeline(one, None, usual).offset == usual.offset
    index = pd.MultiIndex.from_product([["p"], one])
    assert find_timeline(index, None, usual).seasons() == (72, 504)
    assert find_timeline(one).offset is None


def test_covariates_with_holes_do_not_hide_a_step_that_is_known():
    usual = find_timeline(pd.date_range("2001-01-01", periods=9, freq="20min"))
    one = pd.DatetimeIndex(["2021-03-05 10:00"])
    holes = pd.DatetimeIndex(["2021-03-05 10:00", "2021-03-05 10:20", "2021-03-05 14:40"])
    assert find_timeline(one, holes, usual).times(np.array([14])).equals(holes[2:])
    with pytest.raises(ValueError, match="without a regular frequency"):
        find_timeline(one, holes)


def test_rows_that_tell_their_own_step_do_not_take_another():
    usual = find_timeline(pd.date_range("2001-01-01", periods=9, freq="20min"))
    assert find_timeline(DAYS, None, usual).seasons() == (7,)


def test_covariates_and_other_series_decide_between_steps():
    twice = pd.DatetimeIndex(["2021-05-21", "2021-05-24"])
    days = pd.date_range("2021-05-03", periods=40, freq="B")
    assert find_timeline(twice).times(np.array([2]))[0] == pd.Timestamp("2021-05-27")
    index = pd.MultiIndex.from_tuples(
        [("p", time) for time in twice] + [("q", time) for time in twice[:1]]
    )
    assert find_timeline(index, index).times(np.array([2]))[0] == pd.Timestamp("2021-05-27")
    whole = find_timeline(days[14:17], days)
    assert whole.ordinals(days).tolist() == list(range(-14, 26))


def test_covariates_that_end_after_the_clocks_changed_tell_24_hours():
    index = pd.date_range("2022-10-01 04:00", periods=60, tz="UTC").tz_convert("America/Denver")
    assert find_timeline(index[:20], index).times(np.arange(60)).equals(index)


# Times too far to be true.


def grown(times, first, stop, timeline=None):
    """Check times that come to a series with the grid rows ``first .. stop - 1``."""
    timeline = timeline or Timeline.from_times(DAYS)
    rows = Rows.parse(times, timeline)
    check_growth(times, rows, np.array([first]), np.array([stop]))


@pytest.fixture
def small_gaps(monkeypatch):
    """Believe 100 missing rows, and 10 more for every row."""
    monkeypatch.setattr(rows_room, "MAX_GAP", 100)


def days_after(*steps):
    return DAYS[0] + pd.to_timedelta(list(steps), unit="D")


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([332], "Got the row 2022-01-31 00:00:00 with 321 missing steps since the last known row"),
        ([-322], "321 missing steps until the first known row"),
        ([11, 343], "331 missing steps since 2021-03-16 00:00:00"),
    ],
)
def test_a_row_too_far_from_those_known_is_refused(small_gaps, steps, words):
    with pytest.raises(ValueError) as error:
        grown(days_after(*steps), 0, 11)
    assert words in str(error.value)
    assert f"expected at most {100 + 10 * (11 + len(steps))}" in str(error.value)
    assert "Check the time" in str(error.value)


@pytest.mark.parametrize("steps", [[11 + 220], [-1 - 220], [11, 12 + 230], [5]])
def test_a_long_gap_that_the_data_can_bear_is_believed(small_gaps, steps):
    grown(days_after(*steps), 0, 11)


def test_a_typing_error_of_a_century_is_refused_and_a_year_of_minutes_is_not():
    minutes = Timeline.from_times(pd.date_range("2024-02-01", periods=50_000, freq="min"))
    grown(pd.DatetimeIndex(["2025-02-01"]), 0, 50_000, minutes)
    with pytest.raises(ValueError, match="missing steps since"):
        grown(pd.DatetimeIndex(["2204-02-01"]), 0, 50_000, minutes)


def test_a_series_far_from_the_others_is_refused_in_fit(small_gaps):
    late = pd.date_range("2022-02-01", periods=11)
    begins = panel(["p"]).index[:1].append(panel(["q"], late).index[:1])
    begins = begins.append(panel(["r"]).index[:1])
    timeline, lengths = find_timeline(panel(["p"]).index), np.full(3, 11)

    def check(begins):
        first = timeline.ordinals(begins.get_level_values(-1))
        check_apart(begins.droplevel(-1), begins.get_level_values(-1), first, lengths[: len(first)])

    with pytest.raises(ValueError, match=r"'q', .* 322 missing steps since the earlier series"):
        check(begins)
    near = panel(["q"], late - pd.Timedelta(days=150)).index[:1]
    check(begins[:1].append(near))


# Frequencies that sktime cannot carry.

WEEKS = pd.date_range("2018-01-01", periods=30, freq=pd.offsets.LastWeekOfMonth(weekday=1))


def test_a_frequency_that_fits_no_single_row_is_left_to_the_dates():
    series = pd.Series(1.0, index=WEEKS)
    bare = portable(series, told=False)
    assert bare.index.freq is None
    assert Timeline.from_times(bare.index).offset == WEEKS.freq
    frame = pd.DataFrame({"y": 1.0}, index=pd.MultiIndex.from_product([["p", "q"], WEEKS]))
    assert portable(frame, told=False).index.levels[-1].freq is None
    assert portable(frame, told=False).index.equals(frame.index)
    assert (series.index.freq, frame.index.levels[-1].freq) == (WEEKS.freq, WEEKS.freq)


def test_other_data_are_returned_as_they_are():
    days = pd.Series(1.0, index=DAYS)
    for data in (days, pd.Series([1.0]), panel(["p"]), None, 3, days.to_numpy(), DAYS):
        assert portable(data, told=False) is data


def test_a_frequency_that_the_dates_do_not_tell_is_refused_unless_it_is_known():
    series = pd.Series(1.0, index=WEEKS[:3])
    with pytest.raises(ValueError, match=r"3 times with the freq 'LWOM-TUE'.*Pass more rows"):
        portable(series, told=False)
    assert portable(series, told=True).index.freq is None


def test_a_short_series_in_front_does_not_tell_the_step_of_a_longer_one():
    week = pd.bdate_range("2021-03-01", periods=4)  # Monday to Thursday: days as well
    weeks = pd.bdate_range("2021-03-01", periods=23)
    index = pd.MultiIndex.from_arrays([["a"] * 4 + ["b"] * 23, [*week, *weeks]])
    assert find_timeline(index).offset == pd.offsets.BusinessDay()
