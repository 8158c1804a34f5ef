"""Time as integers: the regular grid on which the rows of every series lie."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.tseries.offsets import BaseOffset, BusinessDay, DateOffset, Day, Tick, Week

from sktime_tlstm.data.calendar import Counter, Even, counter_of, even_step
from sktime_tlstm.data.frequency import candidate_offsets, local_times, seasons_of

__all__ = ["TIME_FEATURES", "Timeline"]

_DAY = pd.Timedelta(days=1)

#: Rows that a frequency is read from, and those that most wrong ones already fail at.
SAMPLE, SHORT_SAMPLE = 1000, 30


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

#: By which share two mean steps may differ that are the same; and that are of one kind.
SAME_STEP, SAME_KIND = 1e-3, 0.1


@dataclass(frozen=True)
class Timeline:
    """A regular time grid; row ``k`` of it lies ``k`` steps after ``origin``.

    Days and calendar steps of a time zone are counted by its clock, so that a day has 23 to 25
    hours; steps below a day, and those of a frequency in hours such as "24h", by elapsed time.

    Parameters
    ----------
    origin : int, pandas.Period or pandas.Timestamp
        The grid's zero.
    offset : int, pandas offset or None
        The step: of integers an integer, of timestamps and periods an offset. None where only one
        integer or timestamp was seen: they count by one, and by days.
    """

    origin: Any
    offset: Any

    @classmethod
    def from_times(
        cls,
        times: pd.Index,
        usual: Timeline | None = None,
        others: pd.Index | None = None,
        name: str = "",
    ) -> Timeline:
        """Find the grid of a sorted time index.

        The frequency that an index states counts first, then the ``usual`` one, then those that
        can be read from the dates.

        Parameters
        ----------
        times : pandas.Index
            Integers, periods or timestamps of one series, sorted.
        usual : Timeline or None, default=None
            A grid of other data that is known to have the same step, for times that leave it open.
        others : pandas.Index or None, default=None
            Further times that decide between steps where ``times`` allow several.
        name : str, default=""
            Which series it is, as an error says, such as " of series 'a'".

        Raises
        ------
        TypeError
            If the times are neither integers nor dates.
        ValueError
            If they have no regular frequency: the first uneven row and a remedy are named. If a
            single time does not lie on the usual grid.
        """
        if isinstance(times, pd.PeriodIndex):
            return cls(times[0], times.freq)
        known = None if usual is None or usual._kind != _kind_of(times[0]) else usual.offset
        if isinstance(times, pd.DatetimeIndex):
            return _grid_of_dates(cls, times, known, others, name)
        if not pd.api.types.is_integer_dtype(times.dtype):
            raise TypeError(
                f"Got a time index of type {type(times).__name__} ({times.dtype}), expected dates, "
                "periods or integers. Durations become dates by adding a start, such as "
                "pd.Timestamp('2000-01-01') + index, or integers by dividing them by their step, "
                "index // index[1]."
            )
        return cls(int(times[0]), known if len(times) == 1 else _step_of_integers(times))

    @property
    def _kind(self) -> type:
        return _kind_of(self.origin)

    @property
    def is_calendar(self) -> bool:
        """Whether the grid has dates, so that calendar features exist."""
        return self._kind is not int

    @property
    def _by_clock(self) -> bool:
        """Whether steps are counted by the clock of a time zone, not by elapsed time."""
        ticks = isinstance(self.offset, Tick) and not isinstance(self.offset, Day)
        return not ticks and getattr(self.origin, "tz", None) is not None

    @cached_property
    def _unit(self) -> Literal["us", "ns"]:
        """The unit in which timestamps are counted: microseconds, which reach all years."""
        step = None if self.offset is None else even_step(self.offset)
        finest = 0 if step is None else step.nanoseconds
        return "ns" if finest or self.origin.nanosecond else "us"

    @cached_property
    def _counter(self) -> Counter:
        if not self.is_calendar:
            return Even(int(self.origin), self.offset or 1)
        if isinstance(self.origin, pd.Period):
            return Even(self.origin.ordinal, self.offset.n)
        # From an array, because pandas 2 counts an index of timestamps in nanoseconds.
        origin = pd.DatetimeIndex(np.array([_utc(self.origin).to_numpy()]))
        if self._by_clock:
            origin = local_times(origin.tz_localize("UTC").tz_convert(self.origin.tz))
        offset = Day() if self.offset is None else self.offset
        return counter_of(origin[0].as_unit(self._unit), offset)

    def ordinals(self, times: Any, fh: bool = False) -> np.ndarray:
        """Place times on the grid.

        Parameters
        ----------
        times : pandas.Index
            Times of the grid's kind, in any order.
        fh : bool, default=False
            Whether they are those of fh, which errors then speak of.

        Returns
        -------
        numpy.ndarray of int64, shape (len(times),)

        Raises
        ------
        TypeError
            If the times are of another kind than the grid's.
        ValueError
            If a time is missing (NaT) or lies off the grid.
        """
        self._check_kind(times, fh)
        if not isinstance(self.origin, pd.Timestamp):
            values = times.asi8 if self.is_calendar else np.asarray(times, dtype=np.int64)
            return self._placed(times, values, fh)
        clock = times.tz_localize(None) if self._by_clock else _utc(times)
        return self._placed(times, clock.as_unit(self._unit).asi8, fh)

    def _placed(self, times: Any, values: np.ndarray, fh: bool) -> np.ndarray:
        """Return the grid rows of values that the counter knows, refusing those between rows."""
        ordinals = self._counter.count(values)
        row = self._counter.at(ordinals)
        off = row != values
        if isinstance(self.origin, pd.Timestamp):
            if times.unit == "ns" and self._unit == "us":
                off |= times.asi8 % 1000 != 0
            if self._by_clock and off.any():  # the clock may have skipped what the grid says
                off[off] = self._dated(row[off]) != times[off]
        if off.any() and fh:
            raise ValueError(
                f"Got fh with the time {times[int(np.argmax(off))]}, which does not lie on the "
                f"regular grid of y ({self}). Pass times of its rows to come, or numbers of steps: "
                "fh=[1, 2, 3]."
            )
        if off.any():
            raise ValueError(
                f"Got the time {times[int(np.argmax(off))]}, which does not lie on the regular "
                f"grid of the data ({self}). Resample first, for instance by "
                f"`frame.resample(...).mean()` or `frame.asfreq(...)`{self._advice}."
            )
        return ordinals

    @property
    def _advice(self) -> str:
        """What else may be wrong with times off the grid."""
        days = None if self.offset is None or not self._by_clock else even_step(self.offset)
        if days is None:
            return ""
        hours = days // pd.Timedelta(hours=1)
        return (
            "; where the clocks change and every step lasts "
            f"{hours} hours all the same, set `frame.index.freq = '{hours}h'` before fit"
        )

    def times(self, ordinals: np.ndarray) -> pd.Index:
        """Return the times of grid rows, the inverse of ``ordinals``.

        Raises
        ------
        ValueError
            If a time lies beyond what the unit of the training data's dates can state.
        """
        ordinals = np.asarray(ordinals, dtype=np.int64)
        if not isinstance(self.origin, pd.Timestamp):
            values = self._counter.at(ordinals)
            if not self.is_calendar:
                return pd.Index(values)
            return pd.PeriodIndex.from_ordinals(values, freq=self.offset)  # type: ignore[attr-defined]
        try:
            return self._dated(self._counter.at(ordinals)).as_unit(self.origin.unit)
        except (OverflowError, pd.errors.OutOfBoundsDatetime) as error:
            raise ValueError(
                f"Got rows up to {ordinals.max(initial=0)} steps after {self.origin} ({self}), "
                f"whose dates cannot be stated in the unit {self.origin.unit!r} of the index. Ask "
                "for fewer steps, or pass dates in a coarser unit: frame.index.as_unit('s')."
            ) from error

    def _dated(self, values: np.ndarray) -> pd.DatetimeIndex:
        """Return the timestamps of what the counter counts."""
        times = pd.DatetimeIndex(values.view(f"datetime64[{self._unit}]"))
        if self.origin.tz is None:
            return times
        if not self._by_clock:
            return times.tz_localize("UTC").tz_convert(self.origin.tz)
        first_fold = np.ones(len(times), dtype=bool)
        local = times.tz_localize(self.origin.tz, ambiguous=first_fold, nonexistent="shift_forward")
        skipped = local.tz_localize(None) - times > pd.Timedelta(hours=12)
        if skipped.any():
            raise ValueError(
                f"Got the day {times[int(np.argmax(skipped))]:%Y-%m-%d}, which the zone "
                f"{self.origin.tz} skipped as a whole. Pass times without a zone: "
                "`frame.tz_localize(None)`."
            )
        return local

    def index(self, ordinals: np.ndarray) -> pd.Index:
        """Return the times of grid rows, with their frequency where pandas can state it."""
        times = self.times(ordinals)
        if not isinstance(times, pd.DatetimeIndex) or (np.diff(ordinals) != 1).any():
            return times
        try:
            return pd.DatetimeIndex(times, freq=self.offset)
        except Exception:  # pandas knows no days without a midnight; 2 and 3 raise other types
            return times

    def _check_kind(self, times: pd.Index, fh: bool) -> None:
        if isinstance(self.origin, pd.Period):
            matches = isinstance(times, pd.PeriodIndex) and times.freq == self.offset
        elif isinstance(self.origin, pd.Timestamp):
            matches = isinstance(times, pd.DatetimeIndex) and str(times.tz) == str(self.origin.tz)
        else:
            matches = pd.api.types.is_integer_dtype(times.dtype)
        if not matches and fh:
            raise TypeError(
                f"Got fh of type {type(times).__name__} ({times.dtype}), expected times like those "
                f"of y, of {type(self.origin).__name__} ({self}). Convert them, or pass numbers of "
                "steps: fh=[1, 2, 3]."
            )
        if not matches:
            raise TypeError(
                f"Got a time index of type {type(times).__name__} ({times.dtype}), expected one "
                f"like the training data's, of {type(self.origin).__name__} ({self}). Convert the "
                "index."
            )
        if times.hasnans:
            raise ValueError(
                f"Got a time index without a time (NaT) in row {int(np.argmax(times.isna()))}, "
                "expected one in every row. Drop the rows that have none."
            )

    def __str__(self) -> str:
        """Name the grid as error messages do."""
        if not self.is_calendar:
            step = "consecutive integers" if self.offset in (None, 1) else f"steps of {self.offset}"
            return f"{step} from {self.origin}"
        step = "no known step" if self.offset is None else f"step {self.offset.freqstr!r}"
        return f"{step} from {self.origin}"

    @cached_property
    def days_per_step(self) -> float:
        """The mean length of a step in days; NaN for integers."""
        if not self.is_calendar or self.offset is None:
            return float("nan")
        times = self._clock(np.array([0, 60]))
        return (times[1] - times[0]) / _DAY / 60

    def has_another_step(self, other: Timeline) -> bool:
        """Whether a step is longer or shorter than on another grid, as far as both are known."""
        if not self.is_calendar and not other.is_calendar:
            return (self.offset or 1) != (other.offset or 1)
        if self.offset is None or other.offset is None or self.offset == other.offset:
            return False
        # Months, holidays and open hours make steps of one kind last a little differently.
        kinds = {type(self.offset), type(other.offset)}
        same_kind = any(all(issubclass(one, kind) for one in kinds) for kind in kinds)
        alike = same_kind and DateOffset not in kinds and self.offset.n == other.offset.n
        # NaN beside integers
        share = abs(self.days_per_step / other.days_per_step - 1)
        return share > (SAME_KIND if alike else SAME_STEP)

    def check_step(self, trained: Timeline, simulation: bool = True) -> None:
        """Raise a ValueError if a step is another than the one that was trained on."""
        if not self.has_another_step(trained):
            return
        if simulation:
            raise ValueError(
                f"Got rows with {self}, expected the sampling that the simulation was trained on "
                f"({trained}): a step of another length is another system. Resample first, for "
                "instance by `frame.resample(...).mean()`."
            )
        raise ValueError(
            f"Got rows with {self}, expected the step that the forecaster was trained on "
            f"({trained}): lags, seasons and calendar count such steps. Resample first, for "
            "instance by `frame.resample(...).mean()`, or fit a forecaster to these rows alone."
        )

    def seasons(self) -> tuple[int, ...]:
        """Return the usual season lengths in steps, shortest first; empty where none is usual.

        A day and a week for steps below a day; a week for days (five business days); a year for
        weeks, months and quarters.
        """
        if not self.is_calendar or self.offset is None:
            return ()
        return seasons_of(self.offset, self.days_per_step)

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
        times = self._clock(np.arange(first, first + count))
        columns = [column for name in names for column in TIME_FEATURES[name](times)]
        return np.stack(columns, axis=1).astype(np.float32)

    def _clock(self, ordinals: np.ndarray) -> pd.DatetimeIndex:
        """Return the clock times of grid rows, of periods their start.

        In microseconds: calendars are computed further ahead than forecasts are asked for, which
        may be further than nanoseconds reach.
        """
        values = self._counter.at(ordinals)
        if isinstance(self.origin, pd.Period):
            periods = pd.PeriodIndex.from_ordinals(values, freq=self.offset)  # type: ignore[attr-defined]
            seconds = periods.asfreq("s", how="start").asi8
            return pd.DatetimeIndex(seconds.view("datetime64[s]")).as_unit("us")
        if self._by_clock or self.origin.tz is None:
            return pd.DatetimeIndex(values.view(f"datetime64[{self._unit}]"))
        return self._dated(values).tz_localize(None)


def _kind_of(time: Any) -> type:
    """Return int, pandas.Period or pandas.Timestamp."""
    return int if isinstance(time, (int, np.integer)) else type(time)


def _utc(times: Any) -> Any:
    """Return a timestamp or an index of timestamps as UTC, without its zone."""
    return times if times.tz is None else times.tz_convert(None)


def _step_of_integers(times: pd.Index) -> int:
    """Return the usual step of sorted integers, or 1 where others do not fit to it."""
    if isinstance(times, pd.RangeIndex):
        return times.step
    steps, counts = np.unique(np.diff(times.to_numpy(dtype=np.int64)), return_counts=True)
    usual = int(steps[counts.argmax()])
    return 1 if np.mod(steps, usual).any() else usual


def _grid_of_dates(
    cls: type[Timeline],
    times: pd.DatetimeIndex,
    usual: BaseOffset | None,
    others: pd.Index | None,
    name: str,
) -> Timeline:
    """Find the grid of sorted timestamps among the frequencies that they may have."""
    if len(times) == 1:
        return _grid_of_one(cls, times, usual)
    # Where clocks change decides between days and 24 hours, which may be any time.
    sample = times if times.tz is not None and times[1] - times[0] >= _DAY / 2 else times[:SAMPLE]
    # Pandas 2, whose days are ticks, lets UTC days that are shown in a zone say "D" or "W".
    days = times.tz is not None and isinstance(times.freq, (Day, Week))
    ambiguous = days and isinstance(Day(), Tick)
    known = (None if ambiguous else times.freq, usual)
    stated = (offset for offset in known if offset is not None)
    found: list[tuple[int, Timeline, np.ndarray]] = []
    fits = None
    for offset in itertools.chain(stated, candidate_offsets(sample)):
        grid = cls(times[0], offset)
        step = _steps(grid, sample)
        if step is None or (step < 1).any():
            continue
        if (step != 1).any():
            found.append((int(step.sum()), grid, step))
        elif others is None or _steps(grid, others) is not None:
            return grid
        else:
            fits = fits or grid
    if fits is not None:
        return fits
    # With more rows absent than present, the frequency is a guess.
    found = [gap for gap in found if gap[0] <= 2 * len(sample)]
    raise _uneven(sample, min(found, key=lambda gap: gap[0]) if found else None, name)


def _grid_of_one(
    cls: type[Timeline], times: pd.DatetimeIndex, usual: BaseOffset | None
) -> Timeline:
    grid = cls(times[0], times.freq or usual)
    if grid.offset is not None and not grid.offset.is_on_offset(local_times(times)[0]):
        raise ValueError(
            f"Got a single time, {times[0]}, expected one of the known frequency "
            f"{grid.offset.freqstr!r}. Pass more rows, or times of this frequency."
        )
    return grid


def _steps(grid: Timeline, times: pd.Index) -> np.ndarray | None:
    """Return the steps between times; None if they do not lie on the grid."""
    try:
        for part in (times[:SHORT_SAMPLE], times):  # most wrong grids fail early
            ordinals = grid.ordinals(part)
    except (ValueError, OverflowError):
        return None
    return np.diff(ordinals)


def _uneven(
    times: pd.DatetimeIndex, gap: tuple[int, Timeline, np.ndarray] | None, name: str
) -> ValueError:
    """Name the first row after a gap in the likeliest grid, or the first uneven step."""
    if gap is None:
        steps = pd.Series(times[1:] - times[:-1])
        usual = steps.mode()[0]
        row, step = int((steps != usual).to_numpy().argmax()), f"a step of {usual}"
        advice = "where the dates follow no rule, count the rows: `frame.reset_index(drop=True)`"
    else:
        _, grid, rows = gap
        row = int((rows != 1).argmax())
        following = grid.times(grid.ordinals(times[row : row + 1]) + 1)[0]
        step = f"a step of {_name_of(grid.offset)}, {following}"
        advice = "rows this adds may be missing (NaN)"
        if isinstance(grid.offset, BusinessDay):
            advice += (
                "; or leave days off out of the calendar: "
                "`frame.index.freq = pd.offsets.CustomBusinessDay(holidays=[...])`"
            )
    return ValueError(
        f"Got a time index without a regular frequency: after {times[row]} comes "
        f"{times[row + 1]}{name}, expected {step}. Resample first, for instance by "
        f"`frame.resample(...).mean()` or `frame.asfreq(...)`; {advice}."
    )


def _name_of(offset: BaseOffset) -> str:
    step = even_step(offset)
    return repr(offset.freqstr) if step is None else f"{step} ({offset.freqstr!r})"
