"""Forecasting horizons: sktime's fh as numbers of steps on a timeline."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sktime.forecasting.base import ForecastingHorizon

from sktime_tlstm.data.timeline import Timeline

__all__ = ["plain_steps", "relative_steps"]

#: The largest step that can be forecast.
MAX_STEP = 100_000


def relative_steps(fh: ForecastingHorizon, timeline: Timeline, last: np.ndarray) -> np.ndarray:
    """Return fh as steps (series, step) after the grid rows ``last`` (series,)."""
    values = fh.to_pandas()
    if not fh.is_relative:
        return _bounded(timeline.ordinals(values) - last[:, None])
    if not pd.api.types.is_integer_dtype(values.dtype):  # durations or offsets
        origin = timeline.times(last[:1])[0]
        values = timeline.ordinals(pd.Index([origin + value for value in values])) - last[0]
    return _bounded(np.tile(np.asarray(values, dtype=np.int64), (len(last), 1)))


def _bounded(steps: np.ndarray) -> np.ndarray:
    if steps.max() > MAX_STEP:
        raise ValueError(
            f"Got fh with the step {steps.max()}, expected at most {MAX_STEP}: a longer forecast "
            "would exhaust the memory. Check fh, which counts steps (pass times as "
            "ForecastingHorizon(times, is_relative=False)), or resample y to a longer step."
        )
    return steps


def plain_steps(fh: ForecastingHorizon | None) -> np.ndarray | None:
    """Return fh as integers, if it is relative, of integers, and all after the cutoff."""
    if fh is None or not fh.is_relative:
        return None
    steps = fh.to_pandas()
    plain = pd.api.types.is_integer_dtype(steps.dtype) and steps.min() > 0
    return steps.to_numpy(dtype=np.int64) if plain else None
