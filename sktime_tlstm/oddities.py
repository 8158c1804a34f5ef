"""Oddities: values of y that training takes for true, and most likely are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import spread
from sktime_tlstm.notices import notify

__all__ = ["warn_of_oddities"]

Floats = npt.NDArray[np.float64]

#: Series that are looked at, at most, and named.
MAX_SERIES, MAX_NAMED = 1000, 3
#: Equal values at the end that are told of, at least, and how unlikely they are to be chance.
STANDING, CHANCE = 6, 1e-4
#: Share of a series that its end is, at most; rows of it at least, and stretches before it.
END, MIN_END, MIN_BEFORE = 0.1, 8, 4
#: Times as large or small as in any stretch before that values of an end are of another size.
OTHER_SIZE = 20.0
#: What stands for a missing value in many files, and how far from all others it is then, in ranges
#: of their middle 90 %, or deviations.
MARKS, FAR = (-99.0, -999.0, -9999.0, -99999.0), 5.0
#: Of the size of a value: numbers that are that close to a mark are one.
CLOSE = 1e-5
#: Of location and scale together: smaller values are zeros but for rounding.
ROUNDING = 1e-6


def warn_of_oddities(encoder: FrameEncoder, history: History) -> None:
    """Warn of ends that stand still or are of another size, and of marks of missing values."""
    if encoder.absolute:  # a system that is driven may rest
        return
    arcsinh = encoder.scaler == "robust_arcsinh"
    for channel, name in enumerate(encoder.targets):
        still, other, marked = [], [], []
        for series, values in _series(history, channel, arcsinh):
            place = history.name(series)
            mark, run = _mark(values), _standing(values)
            if mark:
                marked.append(f"{mark[0]:g} in {mark[1]} rows{place}")
            elif run:
                still.append(f"{run} times {values[-1]:g}{place}")
            elif sizes := _other_size(values):
                rows, now, low, high = sizes
                other.append(
                    f"{rows} rows of about {now:.3g} behind {low:.3g} to {high:.3g}{place}"
                )
        if still:
            notify(
                f"Got y that ends with equal values in {name!r}, {_listed(still)}, where it never "
                "stood still as long: forecasts take them for true. If a sensor sticks or a file "
                "was filled, pass NaN for them; leave out what has ended."
            )
        if other:
            notify(
                f"Got y that ends in another size in {name!r}, {_listed(other)}: forecasts mix the "
                "two. If the unit has changed, convert the rows before, or leave them out."
            )
        if marked:
            notify(
                f"Got y with what looks like marks of missing values in {name!r}, "
                f"{_listed(marked)}, far from all others: they are learnt as values. Pass NaN for "
                "them."
            )


def _listed(some: list[str]) -> str:
    more = len(some) - MAX_NAMED
    return "; ".join(some[:MAX_NAMED]) + (f"; and in {more} more series" if more > 0 else "")


def _series(history: History, channel: int, arcsinh: bool) -> Iterator[tuple[int, Floats]]:
    """Yield series, evenly spaced ones of many, and their observed values in units of y."""
    store = history.store.to("cpu")
    for series in spread(len(history.lengths), MAX_SERIES).tolist():
        rows = slice(int(store.start[series]), int(store.start[series] + store.length[series]))
        scaled = store.values[rows, channel].double().numpy()
        scaled = scaled[store.observed[rows, channel].numpy()]
        scaled = np.sinh(scaled) if arcsinh else scaled
        loc, scale = history.loc[series, channel], history.scale[series, channel]
        values, least = loc + scale * scaled, ROUNDING * (abs(loc) + scale)
        yield series, np.where(np.abs(values) < least, 0.0, values)


def _standing(values: Floats) -> int:
    """Return how many equal values are at the end, if these are no chance; else 0."""
    same = np.diff(values) == 0
    ends = np.flatnonzero(np.append(~same, True))
    runs = np.diff(np.append(-1, ends))
    if len(runs) < 2 or not STANDING <= runs[-1] <= len(values) / 2:  # what is mostly so is usual
        return 0
    before = same[: len(same) - int(runs[-1])]
    share = (before.sum() + 1) / (len(before) + 2)
    chance = share ** (runs[-1] - 1)
    return int(runs[-1]) if runs[-1] > runs[:-1].max() and chance < CHANCE else 0


def _other_size(values: Floats) -> tuple[int, float, float, float] | None:
    """Return how many rows at the end are of another size, which, and those before."""
    size = np.abs(values)
    for share in (END, END / 2, END / 4):
        rows = int(share * len(size))
        if rows < MIN_END:
            return None
        before = len(size) // rows - 1
        stretches = size[len(size) - (before + 1) * rows :].reshape(before + 1, rows)
        medians = np.median(stretches, axis=1)
        low, high, now = medians[:-1].min(), medians[:-1].max(), medians[-1]
        if low > 0 and now > 0 and not low / OTHER_SIZE < now < high * OTHER_SIZE:
            return rows, float(now), float(low), float(high)
    return None


def _mark(values: Floats) -> tuple[float, int] | None:
    """Return a mark of missing values, and how often it is there."""
    for mark in MARKS:
        found = np.abs(values - mark) <= CLOSE * abs(mark)
        others = values[~found]
        if not found.any() or not len(others):
            continue
        low, middle, high = np.quantile(others, (0.05, 0.5, 0.95))
        size = max(high - low, float(others.std()), CLOSE * abs(middle))
        if abs(mark - middle) > FAR * size and (mark < others.min() or mark > others.max()):
            return mark, int(found.sum())
    return None
