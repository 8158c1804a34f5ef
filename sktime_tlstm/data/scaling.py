"""Scaling: the scalers of targets and covariates, which bring numbers to one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["SCALERS", "CovariateScaling", "location_scale"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Outer quantiles of the training data that networks read covariates within, and how much further
#: these are kept for simple forecasts, as a share of the distance of the two.
CLIP_QUANTILES, ROOM = (0.005, 0.995), 1.0
#: A numeric covariate of at most this many values, each there this often on average, has levels.
MAX_LEVELS, MIN_ROWS_PER_LEVEL = 12, 20
#: Amounts that differ from the usual value in a smaller share of rows, and repeat less often than
#: this, are too few to learn from.
MIN_SHARE, MIN_REPEATS = 0.001, 3
#: Bounds of what clipping would lose, in typical distances from the usual value.
MAX_RARE = 10.0
#: How far beyond the range of training numbers may go without a warning, as a share of it: where
#: they are not clipped, where they are, and where fewer than 50 values tell the range.
BEYOND, BEYOND_CLIPPED, BEYOND_FEW, ENOUGH_FOR_RANGE = 0.1, 0.25, 3.0, 50
#: Times that values may jump as far as in training without a warning.
FARTHER = 2.0
#: Numbers of rows over which means are known, of training that is so many times as long, and has so
#: many rows; and how far beyond them means may go without a warning, as a share of their range.
MEAN_ROWS, MEANS_APART, MEANS_FROM, BEYOND_MEANS = (16, 32, 64, 128, 256), 8, 256, 0.75
#: Rows over which values stand still, if they change on average by less than such shares of the
#: least change over so many rows of training, and of its largest change.
STILL_ROWS, STILL, STILL_BESIDE_JUMP = 32, 0.1, 1e-3
#: Differences below this share of a column's size are rounding errors.
ROUNDING = 1e-12
#: Factor that makes the median absolute deviation estimate a normal standard deviation.
MAD_TO_STD = 1.4826


def _median_mad(values: Floats) -> tuple[float, float]:
    median = float(np.median(values))
    return median, MAD_TO_STD * float(np.median(np.abs(values - median)))


def _min_range(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max() - values.min())


#: Scalers by name: a function of the observed values to (location, scale).
SCALERS: dict[str | None, Callable[[Floats], tuple[float, float]]] = {
    "robust_arcsinh": _median_mad,
    "robust": _median_mad,
    "standard": lambda values: (float(values.mean()), float(values.std())),
    "minmax": _min_range,
    "mean": lambda values: (0.0, float(np.abs(values).mean())),
    None: lambda values: (0.0, 1.0),
}


def location_scale(values: Floats, scaler: str | None) -> tuple[float, float]:
    """Return the location and the positive scale of a scaler.

    Where the scale vanishes (a column that is mostly one value has no median deviation) the
    standard deviation stands in; for a constant its size; for zero, one.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 1.0
    location, scale = SCALERS[scaler](values)
    smallest = ROUNDING * abs(location)
    if scale <= ROUNDING * float(np.abs(values).max()):
        # Residues of 1e-16 at night are no scale for the days, but one outlier is no size.
        size = float(np.quantile(np.abs(values), 0.9, method="lower"))
        smallest = ROUNDING * max(abs(location), size)
    for candidate in (scale, float(values.std()), abs(location)):
        if candidate > smallest and np.isfinite(candidate):
            return location, candidate
    return location, 1.0


def _changes(values: Floats, series: Integers) -> Floats:
    """Return how far values move from one row to the next, NaN from a series to the next."""
    within = series[1:] == series[:-1]
    return np.where(within, np.abs(np.diff(values)), np.nan)


def _largest_jump(values: Floats, series: Integers) -> float:
    """Return the largest change from one row to the next of its series; NaN are passed over."""
    return float(np.fmax.reduce(_changes(values, series), initial=0.0))


def _means(values: Floats, series: Integers, rows: int) -> Floats:
    """Return the means over so many rows of one series without NaN."""
    if len(values) < rows:
        return values[:0]
    unknown = np.isnan(values)
    total = np.append(0.0, np.cumsum(np.where(unknown, 0.0, values)))
    absent = np.append(0, np.cumsum(unknown))
    whole = (series[rows - 1 :] == series[: len(series) - rows + 1]) & (
        absent[rows:] == absent[:-rows]
    )
    means: Floats = (total[rows:] - total[:-rows])[whole] / rows
    return means


def _mean_changes(values: Floats, series: Integers) -> Floats:
    """Return the mean sizes of changes over `STILL_ROWS` of one series without NaN."""
    return _means(_changes(values, series), series[1:], STILL_ROWS)


@dataclass(frozen=True)
class CovariateScaling:
    """Clips and scales a covariate: ``(clip(value, low, high) - location) / scale``.

    Clipping keeps a sensor that changes its habits from wrecking a forecast: bounds are the outer
    quantiles of training. Networks read nothing beyond these; what simple forecasts read may go
    on, for a trend does, by once the distance of the bounds. But these are the extremes where the
    quantiles would leave out all that
    differs from the usual value on one side, for rare events are what such a column is for, and
    where a column has few levels, each of which training has seen. Amounts in less than one row of
    a thousand, hardly any of which repeats, are left out all the same: what a network makes of
    them is worse than nothing (traffic's rain gauge, which wakes up in the test period: MAE 235
    with its 12 rows, 189 without). A column of two values becomes zeros and ones, whatever its
    unit: zero stays zero.

    Parameters
    ----------
    location, scale : float
        The scale may be negative, of a column of 0 and -1.
    low, high : float
        Bounds of the values, or the extremes of training where nothing is clipped.
    arcsinh : bool
        Whether the arcsinh is taken after scaling.
    mean : float
        Mean of the scaled training values.
    clip : bool, default=True
        Whether values are clipped.
    jump : float or None, default=None
        Largest change from one row of training to the next; None where it was not asked for.
    means : tuple of (int, float, float), default=()
        For so many rows, the smallest and the largest mean that training had over them.
    least_change : float, default=0.0
        Smallest mean change, without sign, that training had over `STILL_ROWS`; 0 for not known.
    extremes : (float, float) or None, default=None
        Smallest and largest value of training.
    beyond : float, default=BEYOND_CLIPPED
        How far beyond them values may go without a warning, as a share of their distance.
    room : float, default=0.0
        How far beyond the bounds values are clipped, for all that is no network.
    """

    location: float
    scale: float
    low: float
    high: float
    arcsinh: bool
    mean: float = 0.0
    clip: bool = True
    jump: float | None = None
    means: tuple[tuple[int, float, float], ...] = ()
    least_change: float = 0.0
    extremes: tuple[float, float] | None = None
    beyond: float = BEYOND_CLIPPED
    room: float = 0.0

    @classmethod
    def fit(
        cls,
        values: Floats,
        scaler: str | None,
        extremes: tuple[float, float] | None = None,
        clip: bool = True,
        static: bool = False,
    ) -> CovariateScaling:
        """Learn the scaling from training values, which may be NaN.

        Parameters
        ----------
        values : numpy.ndarray of float64
        scaler : key of SCALERS
        extremes : (float, float) or None, default=None
            Smallest and largest value of the column, of which ``values`` may be a sample.
        clip : bool, default=True
            Whether values are clipped.
        static : bool, default=False
            Whether networks alone read it: there is no room.
        """
        values = values[~np.isnan(values)]
        if not len(values):  # whatever comes later, nothing is learnt of it
            return cls(0.0, 1.0, 0.0, 0.0, False)
        extremes = extremes or (float(values.min()), float(values.max()))
        # The extremes count once more: a sample may have missed all that is rare.
        levels, counts = np.unique(np.append(values, extremes), return_counts=True)
        # Two rows without a zero are two numbers rather than two levels.
        if len(levels) == 1 or (len(levels) == 2 and (len(values) > 2 or not levels.all())):
            scaling = cls._of_flags(levels)
            if scaler is None:
                scaling = replace(scaling, location=0.0, scale=1.0)
        else:
            scaling = cls._of_numbers(values, scaler, levels, counts)
        if static:
            scaling = replace(scaling, room=0.0)
        if not clip:
            scaling = replace(scaling, low=extremes[0], high=extremes[1], clip=False, room=0.0)
        beyond = BEYOND_CLIPPED if len(values) >= ENOUGH_FOR_RANGE else BEYOND_FEW
        return replace(
            scaling,
            mean=float(scaling(values).mean()),
            extremes=extremes,
            beyond=beyond if clip else BEYOND,
        )

    def with_motion(self, values: Floats, series: Integers) -> CovariateScaling:
        """Return the same with what is known of how values (row,) of series (row,) move."""
        means = []
        for rows in MEAN_ROWS if len(values) >= MEANS_FROM else ():
            found = _means(values, series, rows)
            if len(found) >= (MEANS_APART - 1) * rows:
                means.append((rows, float(found.min()), float(found.max())))
        change = _mean_changes(values, series)
        least = float(change.min()) if len(change) >= (MEANS_APART - 1) * STILL_ROWS else 0.0
        jump = _largest_jump(values, series)
        return replace(self, jump=jump, means=tuple(means), least_change=least)

    def unusual_motion(self, values: Floats, series: Integers) -> list[str]:
        """Return in words how values (row,) of series (row,) move otherwise than in training."""
        told = []
        jump = _largest_jump(values, series)
        if self.jump is not None and jump > FARTHER * self.jump:
            told.append(
                f"which jumps by up to {jump:g} from one row to the next, where training had at "
                f"most {self.jump:g}"
            )
        for rows, low, high in self.means:
            found = _means(values, series, rows)
            off = np.maximum(low - found, found - high)
            if len(found) and off.max() > BEYOND_MEANS * (high - low):
                told.append(
                    f"whose mean over {rows} rows reaches {found[off.argmax()]:.3g}, where "
                    f"training had {low:.3g} to {high:.3g}"
                )
                break
        change = _mean_changes(values, series)
        still = min(STILL * self.least_change, STILL_BESIDE_JUMP * (self.jump or 0.0))
        if len(change) and change.min() < still:
            told.append(
                f"which stands still for {STILL_ROWS} rows or more, where training always moved"
            )
        return told

    @classmethod
    def _of_flags(cls, levels: Floats) -> CovariateScaling:
        """Return the scaling of one or two values to zeros and ones."""
        low, high = float(levels[0]), float(levels[-1])
        if high - low <= ROUNDING * max(abs(low), abs(high)):  # one value
            if low == 0:  # which way it will ever move is not known
                return cls(0.0, 1.0, -1.0, 1.0, False)
            return cls(0.0, high, min(high, 0.0), max(high, 0.0), False)
        location = 0.0 if low == 0 or high == 0 else low
        other = low if high == 0 else high
        return cls(location, other - location, low, high, False)

    @classmethod
    def _of_numbers(
        cls, values: Floats, scaler: str | None, levels: Floats, counts: Integers
    ) -> CovariateScaling:
        """Return the scaling of a column with the distinct values ``levels`` (level,)."""
        location, scale = location_scale(values, scaler)
        low, high = (float(bound) for bound in np.quantile(values, CLIP_QUANTILES))
        usual = float(levels[np.argmax(counts)])
        mostly = 2 * counts.max() > counts.sum()
        distance = np.abs(np.append(values, levels[[0, -1]]) - usual)
        typical = float(np.median(distance[distance > 0]))
        few = len(levels) <= min(MAX_LEVELS, len(values) / MIN_ROWS_PER_LEVEL)
        others = values[values != usual]
        faint = len(others) < min(MIN_SHARE * len(values), MIN_REPEATS * len(np.unique(others)))
        # Whether the quantiles leave out every value below the usual one, or above it.
        below, above = levels[levels < usual], levels[levels > usual]
        lost_below = mostly and not faint and len(below) > 0 and low > below[-1]
        lost_above = mostly and not faint and len(above) > 0 and high < above[0]
        if lost_below or (few and not faint):
            low = min(low, max(float(levels[0]), usual - MAX_RARE * typical))
        if lost_above or (few and not faint):
            high = max(high, min(float(levels[-1]), usual + MAX_RARE * typical))
        if (lost_below or lost_above) and scaler is not None:
            # Deviations vanish where events are rare: an event is to be about one, as a flag is.
            location, scale = usual, typical
        room = 0.0 if lost_below or lost_above else ROOM * (high - low)
        return cls(location, scale, low, high, scaler == "robust_arcsinh", room=room)

    @property
    def limits(self) -> tuple[float, float]:
        """The scaled values between which networks read them."""
        if not self.clip:
            return -np.inf, np.inf
        low, high = np.sort(replace(self, room=0.0)(np.array([self.low, self.high])))
        return float(low), float(high)

    def __call__(self, values: Floats) -> Floats:
        """Return scaled values."""
        if self.clip:
            values = np.clip(values, self.low - self.room, self.high + self.room)
        scaled: Floats = (values - self.location) / self.scale
        return np.arcsinh(scaled) if self.arcsinh else scaled
