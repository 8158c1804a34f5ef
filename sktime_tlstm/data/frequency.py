"""Frequencies: the pandas offsets that dates may have, and their usual seasons."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import BaseOffset, BusinessDay, BusinessHour

__all__ = ["candidate_offsets", "local_times", "seasons_of"]

_DAY = pd.Timedelta(days=1)

#: Untyped: pandas' stubs lack some of these classes' arguments.
offsets: Any = pd.offsets

#: Days that dates must span before weekdays without any of them count as closed.
MIN_SPAN_OF_CLOSED_DAYS = 14

#: Families of months, by where in the month their dates lie: every month, quarter and year.
MONTHS = {
    "start": (offsets.MonthBegin, offsets.QuarterBegin, offsets.YearBegin),
    "end": (offsets.MonthEnd, offsets.QuarterEnd, offsets.YearEnd),
    "business start": (offsets.BMonthBegin, offsets.BQuarterBegin, offsets.BYearBegin),
    "business end": (offsets.BMonthEnd, offsets.BQuarterEnd, offsets.BYearEnd),
}
#: The month that names a family of quarters, by a month of it: as `pandas.infer_freq` has it.
QUARTER_NAMES = {0: 12, 2: 11, 1: 10}


def local_times(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return the clock times of dates, with a midnight that the clocks skipped put back.

    Where they move at midnight, a day begins at one o'clock: it is the same step as other days.
    """
    if times.tz is None:
        return times
    clock = times.tz_localize(None)
    midnight = clock.normalize()
    # Only the first hours of a day can stand for a midnight that is not there.
    late = np.flatnonzero((clock != midnight) & (clock - midnight <= pd.Timedelta(hours=3)))
    if not len(late):
        return clock
    first_fold = np.ones(len(late), dtype=bool)
    begins = midnight[late].tz_localize(times.tz, ambiguous=first_fold, nonexistent="shift_forward")
    skipped = late[begins == times[late]]
    values = clock.to_numpy().copy()
    values[skipped] = midnight.to_numpy()[skipped]
    return pd.DatetimeIndex(values)


def candidate_offsets(times: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield the frequencies that at least two sorted dates may have, the likely ones first.

    Most are read from what the dates share and how far they usually lie apart, so that some dates
    may be missing; whether all dates lie on such a grid is for the caller to try.
    """
    clock = local_times(times)
    days, same_time = clock.normalize(), bool(len((clock - clock.normalize()).unique()) == 1)
    if same_time:
        yield from _months(days)
    yield from _even(times, clock)
    yield from _inferred(clock)
    if same_time:
        yield from _business_days(days)
        yield from _half_months(days)
        yield from _weeks_of_months(days)
        yield from _retail_years(days)
    else:
        yield from _business_hours(clock)


def _usual(steps: NDArray[np.int64]) -> int:
    """Return the most frequent step, the smallest of these."""
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])


def _usual_months(days: pd.DatetimeIndex) -> int:
    """Return how many months usually lie between two dates; 0 for dates that lie closer."""
    if (days[1:] - days[:-1]).min() < 28 * _DAY:
        return 0
    return _usual(np.diff(days.year.to_numpy(np.int64) * 12 + days.month.to_numpy(np.int64)))


def _months(days: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield every n-th month, at its start, its end, or on one day of it."""
    number = _usual_months(days)
    if not number:
        return
    month = days.to_numpy().astype("datetime64[M]")
    first, last = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]") - 1
    date = days.to_numpy().astype("datetime64[D]")
    if (date == first).all():
        yield _month_offset("start", number, days[0].month)
    if (date == last).all():
        yield _month_offset("end", number, days[0].month)
    day = int(days.day.max())
    if (days.day == np.minimum(day, days.days_in_month)).all():
        # The day is stated where a short month cuts it, so that it comes back after that month.
        stated = {"day": day} if day > 28 else {}
        step = {"years": number // 12} if number % 12 == 0 else {"months": number}
        yield offsets.DateOffset(**step, **stated)
    if (date == np.busday_offset(first, 0, roll="forward")).all():
        yield _month_offset("business start", number, days[0].month)
    if (date == np.busday_offset(last, 0, roll="backward")).all():
        yield _month_offset("business end", number, days[0].month)


def _month_offset(place: str, number: int, month: int) -> BaseOffset:
    """Return every ``number`` months as years or quarters where these are whole."""
    months, quarters, years = MONTHS[place]
    if number % 12 == 0:
        return years(number // 12, month=month)
    if number % 3 == 0:
        return quarters(number // 3, startingMonth=QUARTER_NAMES[month % 3])
    return months(number)


def _even(times: pd.DatetimeIndex, clock: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield steps that last equally long, by the clock for days and weeks."""
    step = pd.Timedelta(_usual(np.diff(clock.asi8)), unit=clock.unit)
    if step % _DAY != pd.Timedelta(0):
        yield to_offset(pd.Timedelta(_usual(np.diff(times.asi8)), unit=times.unit))
        return
    number = step // _DAY
    if not number:
        return
    even = [offsets.Day(number)]
    if number % 7 == 0:
        even = [offsets.Week(number // 7, weekday=clock[0].dayofweek)]
    if times.tz is not None:
        even.append(offsets.Hour(24 * number))
        utc = times.tz_convert("UTC")
        if (utc == utc.normalize()).all() and (clock != clock.normalize()).any():
            even.reverse()  # days of UTC, shown in another zone
    yield from even


def _inferred(clock: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield what pandas reads: business days and hours, weeks of months."""
    name = pd.infer_freq(clock) if len(clock) > 2 else None
    if name is not None:
        yield to_offset(name)


def _weekdays(days: pd.DatetimeIndex) -> NDArray[np.bool_] | None:
    """Return which weekdays are open, Monday first; None where the dates do not tell."""
    present = np.isin(np.arange(7), days.dayofweek)
    if days[-1] - days[0] >= MIN_SPAN_OF_CLOSED_DAYS * _DAY:
        return present
    return None if present[5:].any() else np.arange(7) < 5


def _business_days(days: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield every n-th of the weekdays that the dates have."""
    if not days.dayofweek.isin([5, 6]).any():
        date = days.to_numpy().astype("datetime64[D]")
        yield offsets.BusinessDay(_usual(np.busday_count(date[:-1], date[1:])))
    open_days = _weekdays(days)
    if open_days is not None:
        yield offsets.CustomBusinessDay(weekmask=_mask(open_days))


def _mask(open_days: NDArray[np.bool_]) -> str:
    return "".join("1" if is_open else "0" for is_open in open_days)


def _business_hours(clock: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield every n-th of the hours that all days share, on the weekdays that have them."""
    step = pd.Timedelta(_usual(np.diff(clock.asi8)), unit=clock.unit)
    hour, days = pd.Timedelta(hours=1), clock.normalize().unique()
    within = (clock - clock.normalize()).unique().sort_values()
    if step % hour != pd.Timedelta(0) or len(days) < 2 or len(within) * step >= _DAY:
        return
    open_days = np.ones(7, dtype=bool)
    if (days[1:] - days[:-1]).max() > _DAY:
        weekdays = _weekdays(days)
        if weekdays is None:
            return
        open_days = weekdays
    pauses = np.flatnonzero(within[1:] - within[:-1] > step)
    opens, closes = within[np.r_[0, pauses + 1]], within[np.r_[pauses, -1]] + step
    # Hours that run on past midnight belong to two weekdays, and pandas takes no such pair.
    if closes[-1] <= _DAY and closes[-1] - opens[0] < _DAY:
        start, end = [_hours_of(opens), _hours_of(closes)]
        yield offsets.CustomBusinessHour(
            step // hour, weekmask=_mask(open_days), start=start, end=end
        )


def _hours_of(times: pd.TimedeltaIndex) -> list[str]:
    parts = (time.components for time in times)
    return [f"{part.hours:02d}:{part.minutes:02d}" for part in parts]


def _half_months(days: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield two dates a month: one of them its first or its last day."""
    for at_edge, offset in (
        (days.is_month_start, offsets.SemiMonthBegin),
        (days.is_month_end, offsets.SemiMonthEnd),
    ):
        others = days.day[~at_edge].unique()
        if len(others) == 1 and at_edge.any() and 2 <= others[0] <= 27:
            yield offset(day_of_month=int(others[0]))


def _weeks_of_months(days: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield the n-th or last of a weekday in every, or every n-th, month."""
    number = _usual_months(days)
    if not number or days.dayofweek.nunique() > 1:
        return
    weekday, weeks = days[0].dayofweek, np.unique((days.day - 1) // 7)
    if len(weeks) == 1 and weeks[0] < 4:
        yield offsets.WeekOfMonth(number, week=int(weeks[0]), weekday=weekday)
    if (days.day + 7 > days.days_in_month).all():
        yield offsets.LastWeekOfMonth(number, weekday=weekday)


def _retail_years(days: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield years and quarters of 52 or 53 weeks, which end on or near the end of a month."""
    weeks = _usual(np.diff(days.asi8)) / (7 * _DAY.as_unit(days.unit).to_numpy().astype(np.int64))
    if days.dayofweek.nunique() > 1 or weeks not in (13, 14, 52, 53):
        return
    weekday = days[0].dayofweek
    # The end of a month that lies nearest to a date is the one of the date four days before.
    months = [int(month) for month in (days - 4 * _DAY).month.unique()]
    for variation, month in itertools.product(("last", "nearest"), months):
        year = {"weekday": weekday, "startingMonth": month, "variation": variation}
        if weeks > 50:
            yield offsets.FY5253(**year)
            continue
        for quarter in (4, 1, 2, 3):
            yield offsets.FY5253Quarter(qtr_with_extra_week=quarter, **year)


def seasons_of(offset: BaseOffset, days: float) -> tuple[int, ...]:
    """Return the usual season lengths of a frequency in steps, shortest first.

    A day and a week for steps below a day, a week for days, a year for longer steps; business
    calendars have the days and the hours that they are open.

    Parameters
    ----------
    offset : pandas offset
    days : float
        Mean length of a step in days.
    """
    if not 0 < days <= 200:
        return ()
    year = [365.25 / days]
    open_days = _open_days(offset)
    if isinstance(offset, BusinessHour):
        hours = _open_hours(offset) / offset.n
        candidates = [hours, open_days * hours]
    elif isinstance(offset, BusinessDay):
        candidates = year if offset.n % open_days == 0 else [open_days / offset.n]
    elif days < 0.99:
        candidates = [1 / days, 7 / days]
    else:
        candidates = [7 / days] if days < 6 else year
    whole = [round(season) for season in candidates if abs(season - round(season)) < 0.2]
    return tuple(season for season in dict.fromkeys(whole) if season > 1)


def _open_days(offset: BaseOffset) -> int:
    """Return the number of open weekdays of a business calendar."""
    calendar = getattr(offset, "calendar", None)
    return 5 if calendar is None else int(calendar.weekmask.sum())


def _open_hours(offset: BusinessHour) -> float:
    """Return how many hours a day a calendar is open; a span that ends earlier ends next day."""
    minutes = 0
    calendar: Any = offset
    for start, end in zip(calendar.start, calendar.end, strict=True):
        open_minutes = (end.hour - start.hour) * 60 + end.minute - start.minute
        minutes += open_minutes if open_minutes > 0 else open_minutes + 24 * 60
    return minutes / 60
