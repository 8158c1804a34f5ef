"""Time as integers: the regular grid on which the rows of every series lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.offsets import BaseOffset, BusinessDay, Day, Tick, Week

__all__ = ["TIME_FEATURES", "Timeline"]

_DAY = pd.Timedelta(days=1)


def _phase(position: np.ndarray) -> list[np.ndarray]:
    """Return a cyclic position, in turns, as its sine and cosine."""
    angle = 2 * np.pi * position
    return [np.sin(angle), np.cos(angle)]


def _time_of_day(times: pd.DatetimeIndex) -> np.ndarray:
    return (times.hour * 3600 + times.minute * 60 + times.second).to_numpy() / 86400


#: Calendar features by name: a function of a DatetimeIndex (local time) to a list of columns.
TIME_FEATURES = {
    "time_of_day": lambda times: _phase(_time_of_day(times)),
    "day_of_week": lambda times: _phase((times.dayofweek.to_numpy() + _time_of_day(times)) / 7),
    "weekend": lambda times: [(times.dayofweek >= 5).astype(float)],
    "day_of_year": lambda times: _phase(times.dayofyear.to_numpy() / 365.25),
}


@dataclass(frozen=True)
class Timeline:
    """A regular time grid; row ``k`` of it lies ``k`` steps after ``origin``.

    Parameters
    ----------
    origin : int, pandas.Period or pandas.Timestamp
        The grid's zero.
    offset : pandas offset or None
        The step of a grid of timestamps or periods. None for integers, and for timestamps of
        which only one was seen.
    """

    origin: Any
    offset: Any

    @classmethod
    def from_times(cls, times: pd.Index) -> Timeline:
        """Find the grid of a sorted time index.

        Parameters
        ----------
        times : pandas.Index
            Integers, periods or timestamps of one series, sorted.

        Raises
        ------
        ValueError
            If timestamps have no regular frequency: the first uneven row and a remedy are named.
        """
        if isinstance(times, pd.PeriodIndex):
            return cls(times[0], times.freq)
        if isinstance(times, pd.DatetimeIndex):
            return cls(times[0], _offset_of(times))
        return cls(int(times[0]), None)

    @property
    def is_calendar(self) -> bool:
        """Whether the grid has dates, so that calendar features exist."""
        return not isinstance(self.origin, (int, np.integer))

    @property
    def _fixed_step(self) -> int | None:
        """The step in nanoseconds where every step lasts equally long."""
        if not isinstance(self.origin, pd.Timestamp) or self.offset is None:
            return None
        local_day = isinstance(self.offset, (Day, Week)) and self.origin.tz is not None
        if isinstance(self.offset, (Tick, Day, Week)) and not local_day:
            days = 7 if isinstance(self.offset, Week) else 1
            if isinstance(self.offset, (Day, Week)):
                return self.offset.n * days * _DAY.value
            return pd.Timedelta(self.offset).value
        return None

    def ordinals(self, times: Any) -> np.ndarray:
        """Place times on the grid.

        Parameters
        ----------
        times : pandas.Index
            Times of the grid's kind, in any order.

        Returns
        -------
        numpy.ndarray of int64, shape (len(times),)

        Raises
        ------
        TypeError
            If the times are of another kind than the grid's.
        ValueError
            If a time lies off the grid.
        """
        self._check_kind(times)
        if not self.is_calendar:
            return np.asarray(times, dtype=np.int64) - int(self.origin)
        if isinstance(self.origin, pd.Period):
            distance, step = times.asi8 - self.origin.ordinal, self.offset.n
            return self._divide(times, distance, step)
        step = self._fixed_step
        if step is not None or self.offset is None:
            distance = times.as_unit("ns").asi8 - self.origin.value
            return self._divide(times, distance, step or _DAY.value)
        first, last = min(self.origin, times.min()), max(self.origin, times.max())
        before = len(pd.date_range(first, self.origin, freq=self.offset))
        after = len(pd.date_range(self.origin, last, freq=self.offset))
        found = self.times(np.arange(-before, after)).get_indexer(times)
        self._refuse(times, found < 0)
        return found - before

    def times(self, ordinals: np.ndarray) -> pd.Index:
        """Return the times of grid rows, the inverse of ``ordinals``."""
        ordinals = np.asarray(ordinals, dtype=np.int64)
        if not self.is_calendar:
            return pd.Index(ordinals + int(self.origin))
        if isinstance(self.origin, pd.Period):
            codes = self.origin.ordinal + ordinals * self.offset.n
            return pd.PeriodIndex.from_ordinals(codes, freq=self.offset)  # type: ignore[attr-defined]
        step = self._fixed_step
        if step is not None or self.offset is None:
            nanoseconds = self.origin.value + ordinals * (step or _DAY.value)
            times = pd.DatetimeIndex(nanoseconds.astype("datetime64[ns]"))
            times = (
                times
                if self.origin.tz is None
                else times.tz_localize("UTC").tz_convert(self.origin.tz)
            )
            return times.as_unit(self.origin.unit)
        low, high = min(0, ordinals.min(initial=0)), max(0, ordinals.max(initial=0))
        before = pd.date_range(end=self.origin, periods=1 - low, freq=self.offset)
        after = pd.date_range(self.origin, periods=1 + high, freq=self.offset)
        return before.append(after[1:]).take(ordinals - low)

    def _check_kind(self, times: pd.Index) -> None:
        kind = type(self.origin)
        if isinstance(self.origin, pd.Period):
            matches = isinstance(times, pd.PeriodIndex) and times.freq == self.offset
        elif isinstance(self.origin, pd.Timestamp):
            matches = isinstance(times, pd.DatetimeIndex) and str(times.tz) == str(self.origin.tz)
        else:
            matches = pd.api.types.is_integer_dtype(times.dtype)
        if not matches:
            raise TypeError(
                f"Got a time index of type {type(times).__name__} ({times.dtype}), expected one "
                f"like the training data's, of {kind.__name__} ({self}). Convert the index."
            )

    def _divide(self, times: pd.Index, distance: np.ndarray, step: int) -> np.ndarray:
        ordinals, rest = np.divmod(distance, step)
        self._refuse(times, rest != 0)
        return ordinals

    def _refuse(self, times: pd.Index, off_grid: np.ndarray) -> None:
        if off_grid.any():
            raise ValueError(
                f"Got the time {times[int(np.argmax(off_grid))]}, which does not lie on the "
                f"regular grid of the data ({self}). Resample first, for instance by "
                "`frame.resample(...).mean()` or `frame.asfreq(...)`."
            )

    def __str__(self) -> str:
        """Name the grid as error messages do."""
        if not self.is_calendar:
            return f"consecutive integers from {self.origin}"
        step = "no known step" if self.offset is None else f"step {self.offset.freqstr!r}"
        return f"{step} from {self.origin}"

    @property
    def days_per_step(self) -> float:
        """The mean length of a step in days; NaN for integers."""
        if not self.is_calendar or self.offset is None:
            return float("nan")
        times = self.times(np.array([0, 60]))
        times = times.to_timestamp() if isinstance(times, pd.PeriodIndex) else times
        return (times[1] - times[0]) / _DAY / 60

    def seasons(self) -> tuple[int, ...]:
        """Return the usual season lengths in steps, shortest first; empty where none is usual.

        A day and a week for steps below a day; a week for days (five business days); a year for
        weeks, months and quarters.
        """
        days = self.days_per_step
        if not days > 0 or days > 200:
            return ()
        if isinstance(self.offset, BusinessDay):
            return (5,)
        if days < 0.99:
            candidates = [1 / days, 7 / days]
        else:
            candidates = [7 / days] if days < 6 else [365.25 / days]
        whole = [round(season) for season in candidates if abs(season - round(season)) < 0.2]
        return tuple(season for season in whole if season > 1)

    def default_time_features(self, num_rows: int) -> tuple[str, ...]:
        """Return the calendar features that fit the step and a history of ``num_rows`` steps.

        The position in the year needs at least a year of history to be learnt.
        """
        days = self.days_per_step
        if not days > 0:
            return ()
        names = []
        if days < 0.99:
            names.append("time_of_day")
        if days < 2:
            names.extend(["day_of_week", "weekend"])
        if days < 200 and num_rows * days >= 365:
            names.append("day_of_year")
        return tuple(names)

    def features(self, first: int, count: int, names: tuple[str, ...]) -> np.ndarray:
        """Return calendar features of ``count`` grid rows from ``first`` on.

        Returns
        -------
        numpy.ndarray of float32, shape (count, number of feature columns)

        Raises
        ------
        TypeError
            If features are asked of a grid of integers.
        """
        if not names:
            return np.zeros((count, 0), dtype=np.float32)
        if not self.is_calendar:
            raise TypeError(
                f"Got a time index of integers, expected dates for the calendar features {names}. "
                "Use a datetime or period index, or time_features=()."
            )
        times = self.times(np.arange(first, first + count))
        if isinstance(times, pd.PeriodIndex):
            times = times.to_timestamp()
        columns = [column for name in names for column in TIME_FEATURES[name](times)]
        return np.stack(columns, axis=1).astype(np.float32)


def _offset_of(times: pd.DatetimeIndex) -> BaseOffset | None:
    if times.freq is not None:
        return times.freq
    if len(times) == 1:
        return None
    if len(times) == 2:
        if 28 <= (times[1] - times[0]).days <= 31:
            for is_edge, month in ((times.is_month_start, "MS"), (times.is_month_end, "ME")):
                if is_edge.all():
                    return pd.tseries.frequencies.to_offset(month)
        return pd.tseries.frequencies.to_offset(times[1] - times[0])
    start = times[:1000]
    name = pd.infer_freq(start)
    if name is not None:
        return pd.tseries.frequencies.to_offset(name)
    steps = pd.Series(start[1:] - start[:-1])
    usual = steps.mode()[0]
    row = int((steps != usual).to_numpy().argmax())
    raise ValueError(
        f"Got a time index without a regular frequency: after {start[row]} comes {start[row + 1]}, "
        f"expected a step of {usual}. Resample first, for instance by "
        "`frame.resample(...).mean()` or `frame.asfreq(...)`; rows this adds may be missing (NaN)."
    )
