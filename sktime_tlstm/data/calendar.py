"""Counting steps: which step of a calendar a time is, and when a step is.

Times are int64 here, in a unit that the caller chose: clock time without a zone, or UTC.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.offsets import BaseOffset, BusinessDay, BusinessHour, Day, Tick, Week

__all__ = ["Counter", "Even", "Walk", "counter_of", "even_step"]

#: Dates that are walked through at most for one question; two centuries of business hours.
MAX_WALK = 500_000

#: The lengths that a DateOffset may have and still last equally long at every step.
EVEN_KEYWORDS = {"weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds"}


class Counter(Protocol):
    """Steps of a calendar, counted from its start."""

    def count(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the last step at or before each time."""
        ...

    def at(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time of each step."""
        ...


class Even:
    """Steps that all last equally long."""

    def __init__(self, start: int, step: int) -> None:
        self.start, self.step = start, step

    def count(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the last step at or before each time."""
        return (times - self.start) // self.step

    def at(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time of each step.

        Raises
        ------
        OverflowError
            If a time does not fit into 64 bits, which numpy would let wrap around.
        """
        for step in (steps.min(initial=0), steps.max(initial=0)):
            if abs(self.start + int(step) * self.step) >= 2**63:
                raise OverflowError(f"Got the step {step}, whose time does not fit into 64 bits.")
        return self.start + steps * self.step


class BusinessDays:
    """Every n-th of the days that a week mask and holidays leave, counted by numpy alone."""

    def __init__(self, start: pd.Timestamp, offset: BusinessDay) -> None:
        self.offset = offset
        self.start = start.normalize().to_numpy().astype("datetime64[D]")
        self.day = int(pd.Timedelta(days=1).as_unit(start.unit).to_numpy().astype(np.int64))
        self.time_of_day = int(start.to_numpy().astype(np.int64)) % self.day
        self._offset_days(self.start, 0, "raise")  # the start has to be one of the days

    def count(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the last step at or before each time."""
        days = ((times - self.time_of_day) // self.day).astype("datetime64[D]")
        days = self._offset_days(days, 0, "backward")
        # numpy counts backwards over other bounds, so that the earlier day has to come first
        low, high = np.minimum(days, self.start), np.maximum(days, self.start)
        number = np.busday_count(low, high, busdaycal=self._calendar)
        return np.where(days < self.start, -number, number) // self.offset.n

    def at(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time of each step."""
        days = self._offset_days(self.start, steps * self.offset.n, "raise")
        return days.astype(np.int64) * self.day + self.time_of_day

    def _offset_days(self, days: Any, steps: Any, roll: Any) -> Any:
        return np.busday_offset(days, steps, roll=roll, busdaycal=self._calendar)

    @property
    def _calendar(self) -> np.busdaycalendar:
        # Kept by pandas' offset, because numpy's calendars can be neither copied nor pickled.
        return getattr(self.offset, "calendar", None) or np.busdaycalendar()


class Walk:
    """Steps of any pandas offset: walked once from the start, both ways, and then remembered.

    A later question costs the dates that nobody asked for before, and a search. Threads may share
    a walk: each writes the same dates to the same places, and what is known is replaced at once.

    Parameters
    ----------
    start : pandas.Timestamp
        Without a zone.
    offset : pandas offset
    """

    def __init__(self, start: pd.Timestamp, offset: BaseOffset) -> None:
        self.offset = offset
        first = np.full(1, start.to_numpy().astype(np.int64))
        # By direction: the times (a buffer with room), how many are known, and the last of them.
        self._known = {way: (first, 1, start) for way in (1, -1)}

    def count(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the last step at or before each time."""
        if not len(times):
            return np.zeros(0, dtype=np.int64)
        later = self._walked(1, until=int(times.max()))
        steps = np.searchsorted(later, times, side="right") - 1
        if times.min() < later[0]:
            earlier = self._walked(-1, until=int(times.min()))[::-1]
            before = np.searchsorted(earlier, times, side="right") - len(earlier)
            steps = np.where(times < later[0], before, steps)
        return steps

    def at(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time of each step."""
        later = self._walked(1, number=int(steps.max(initial=0)) + 1)
        earlier = self._walked(-1, number=1 - int(steps.min(initial=0)))
        return np.where(steps < 0, earlier[-np.minimum(steps, 0)], later[np.maximum(steps, 0)])

    def _walked(self, way: int, number: int = 1, until: int | None = None) -> NDArray[np.int64]:
        """Return the times of steps in one direction: ``number`` of them, up to one ``until``."""
        times, known, last = self._known[way]
        most = known + MAX_WALK
        while known < number or (until is not None and (until - int(times[known - 1])) * way > 0):
            last = self._next(last, way)
            if known == most:
                raise ValueError(
                    f"Got a time more than {MAX_WALK} steps {self.offset.freqstr!r} away from the "
                    f"data, beyond {last}. Check the time."
                )
            if known == len(times):
                times = np.concatenate([times, np.empty_like(times)])  # room for as many again
            times[known] = last.to_numpy().astype(np.int64)
            known += 1
        self._known[way] = (times, known, last)
        return times[:known]

    def _next(self, time: pd.Timestamp, way: int) -> pd.Timestamp:
        following = time + self.offset if way > 0 else time - self.offset
        if way < 0 and isinstance(self.offset, BusinessHour):
            following = self._opened(following)
        following = following.as_unit(time.unit)  # not what pandas 2 returns in every case
        if (following - time).to_numpy().astype(np.int64) * way <= 0:
            raise ValueError(
                f"Got the frequency {self.offset.freqstr!r}, which does not lead on from {time}. "
                "Set a freq that moves in time."
            )
        return following

    def _opened(self, time: pd.Timestamp) -> pd.Timestamp:
        """Return the next opening for a closing time, which pandas walks to backwards alone."""
        hours: Any = self.offset
        closes = time.time() in hours.end and time.time() not in hours.start
        return hours.rollforward(time + pd.Timedelta(microseconds=1)) if closes else time


def even_step(offset: BaseOffset) -> pd.Timedelta | None:
    """Return how long every step lasts; None where that depends on the date."""
    if isinstance(offset, Week):
        return pd.Timedelta(weeks=offset.n)
    if isinstance(offset, Day):
        return pd.Timedelta(days=offset.n)
    if isinstance(offset, Tick):
        return pd.Timedelta(offset)
    if type(offset) is pd.DateOffset and offset.kwds and set(offset.kwds) <= EVEN_KEYWORDS:
        return pd.Timedelta(**offset.kwds) * offset.n
    return None


def counter_of(start: pd.Timestamp, offset: BaseOffset) -> Counter:
    """Return how to count an offset's steps from a time without a zone, in this time's unit.

    Raises
    ------
    ValueError
        If the start is not one of the days of a business calendar.
    """
    step = even_step(offset)
    if step is not None:
        size = int(step.as_unit(start.unit).to_numpy().astype(np.int64))
        return Even(int(start.to_numpy().astype(np.int64)), size)
    if isinstance(offset, BusinessDay) and not getattr(offset, "offset", None):
        return BusinessDays(start, offset)
    return Walk(start, offset)
