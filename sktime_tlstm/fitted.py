"""Fitted: what a forecaster knows after ``fit``, and how its answers are laid out."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from sktime.forecasting.base import ForecastingHorizon

from sktime_tlstm.absences import warn_of_empty_rows
from sktime_tlstm.beyond import (
    warn_of_empty_series,
    warn_of_far_rows,
    warn_of_known_rows,
    warn_of_skipped_rows,
)
from sktime_tlstm.calibration import update_stride
from sktime_tlstm.data.flags import Flags
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, check_sampling
from sktime_tlstm.data.timeline import Timeline
from sktime_tlstm.forecasting import Asked
from sktime_tlstm.model import Model

__all__ = ["INNER_MTYPES", "Fitted", "Learn", "plain_steps", "relative_steps"]

#: What the forecasters convert data to.
INNER_MTYPES = ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"]
#: The largest step that can be forecast.
MAX_STEP = 100_000

#: Trains a copy of a model on a history, given the number of new rows of each series.
Learn: TypeAlias = Callable[[Model, History, np.ndarray], Model]


@dataclass(frozen=True)
class Fitted:
    """A model, the rows it has seen, and how the caller's frames are laid out.

    It never changes: an update makes another one.

    Parameters
    ----------
    model : Model
    history : History
    seen : numpy.ndarray of int64, shape (num_series,)
        Number of rows of each series before its cutoff.
    index_names : list
        Names of the levels of the index of y.
    has_covariates : bool
        Whether there was X in ``fit``.
    """

    model: Model
    history: History
    seen: np.ndarray
    index_names: list[Hashable]
    has_covariates: bool

    def asked(self, fh: ForecastingHorizon, X: pd.DataFrame | None) -> tuple[Asked, pd.Index]:
        """Return the rows that fh asks for of every series, and their index.

        Raises
        ------
        ValueError
            If there is X, but was none in ``fit``, or fh is off the grid or too long.
        """
        self.check_covariates(X)
        if X is not None:
            self.model.encoder.warn_of_changed_traits(self.history, X)
        last = self.history.first + self.seen - 1  # grid row of each last observation
        step = relative_steps(fh, self.history.timeline, last)  # (num_series, step)
        series = np.repeat(np.arange(len(last)), step.shape[1])
        index = self.index(series, (last[:, None] + step).ravel())  # series outermost
        return Asked(self.history, self.seen, series, step.ravel(), X), index

    def asked_at(self, frame: pd.DataFrame, X: pd.DataFrame | None) -> Asked:
        """Return the rows of a frame, as steps from the cutoff of their series.

        Raises
        ------
        ValueError
            If a series is unknown, and as `asked` does.
        """
        self.check_covariates(X)
        rows = Rows.parse(frame.index, self.history.timeline)
        series, within = self.history.locate(rows)
        if (series < 0).any() and rows.keys is not None:
            unknown = rows.keys[rows.series()[int(np.argmax(series < 0))]]
            raise ValueError(
                f"Got y with the series {unknown!r}, which the forecaster has not seen. Pass "
                "series seen in fit or update."
            )
        step = within - self.seen[series] + 1
        return Asked(self.history, self.seen, series, step, X)

    def check_covariates(self, X: pd.DataFrame | None) -> None:
        """Raise a ValueError if there is X, but was none in ``fit``."""
        if X is not None and not self.has_covariates:
            raise ValueError(
                f"Got X with the columns {list(X.columns)}, but the forecaster was fitted without "
                "X. Pass X to fit as well, or X=None."
            )

    def index(self, series: np.ndarray, ordinals: np.ndarray) -> pd.Index:
        """Return the caller's kind of index for rows given by series and grid row."""
        timeline, keys = self.history.timeline, self.history.keys
        if keys is None:
            return timeline.index(ordinals).rename(self.index_names[-1])
        times = timeline.times(ordinals)
        of_rows = keys.take(series)
        levels = [of_rows.get_level_values(level) for level in range(of_rows.nlevels)]
        return pd.MultiIndex.from_arrays([*levels, times], names=self.index_names)

    def seen_targets(self) -> pd.DataFrame:
        """Return the targets up to each cutoff, in the layout of ``fit``."""
        targets = self.model.encoder.observed_targets(self.history, self.seen)
        series = np.repeat(np.arange(len(targets)), self.seen)
        within = np.concatenate([np.arange(length) for length in self.seen])
        index = self.index(series, self.history.first[series] + within)
        return pd.DataFrame(np.concatenate(targets), index, self.model.encoder.targets)

    def compact(self, needed: bool) -> Fitted:
        """Return what is known, on as little memory as holds it.

        If ``needed``, without the rows of each series that lie before all that forecasts read, and
        the latest forecasts whose errors an update will know.
        """
        spec, cut = self.model.spec, np.zeros_like(self.seen)
        if needed:
            stride = update_stride(spec.horizon)  # so that updates keep their rhythm
            earliest = np.maximum(self.seen - spec.horizon, 0)
            read = self.model.rows_read(self.history, self.seen, earliest)
            cut = (self.seen - read) // stride * stride
        return replace(self, history=self.history.compact(cut), seen=self.seen - cut)

    def check(self) -> None:
        """Raise a ValueError unless all parts fit together, as those of a file might not."""
        spec, history = self.model.spec, self.history
        store, traits, number = history.store, history.store.traits, len(self.seen)
        targets, observed = spec.num_targets, spec.num_targets + spec.num_numeric
        channels = observed + len(spec.cardinalities) + spec.weighted
        rows, each = len(store.values), (number, targets)
        expected: dict[str, tuple[Any, tuple[int, ...], Any]] = {
            "values": (store.values, (rows, channels), torch.float32),
            "observed": (store.observed.bits, (rows, Flags.width(observed)), torch.uint8),
            "calendar": (store.calendar, (len(store.calendar), spec.num_calendar), torch.float32),
            "start": (store.start, (number,), torch.int64),
            "length": (store.length, (number,), torch.int64),
            "calendar_start": (store.calendar_start, (number,), torch.int64),
            "level": (traits.level, each, torch.float32),
            "spread": (traits.spread, each, torch.float32),
            "unit": (traits.unit, each, torch.float32),
            "zero": (traits.zero, each, torch.float32),
            "gap": (traits.gap, each, torch.float32),
            "static": (traits.static, (number, spec.num_static_features), torch.float32),
            "identity": (traits.identity, (number,), torch.float32),
            "seen": (self.seen, (number,), np.int64),
            "first": (history.first, (number,), np.int64),
            "loc": (history.loc, each, np.float64),
            "scale": (history.scale, each, np.float64),
        }
        for name, (got, shape, dtype) in expected.items():
            if tuple(got.shape) != shape or got.dtype != dtype:
                raise ValueError(
                    f"{name} is {got.dtype} {tuple(got.shape)}, expected {dtype} {shape}"
                )
            wrong = np.isnan if name == "gap" else lambda some: ~np.isfinite(some)  # of no value
            if wrong(np.asarray(got)).any():
                raise ValueError(f"{name} is not finite")
        start, length = store.start.numpy(), store.length.numpy()
        within = (start >= 0) & (length > 0) & (start + length <= rows)
        if not (within & (self.seen >= 0) & (self.seen <= length)).all():
            raise ValueError(f"series of {length} rows at {start}, seen {self.seen}, of {rows}")
        if history.keys is not None and len(history.keys) != number:
            raise ValueError(f"{number} series with {len(history.keys)} keys")
        if len(self.model.encoder.targets) != targets:
            raise ValueError(f"{targets} targets with the names {self.model.encoder.targets}")

    def with_past(self, y: pd.DataFrame, X: pd.DataFrame | None) -> Fitted:
        """Return what would be known if y was all that was ever seen after training.

        Raises
        ------
        ValueError
            If y has gaps, another step or other columns than in training, X lacks a row of y, and
            as `check_covariates` does.
        """
        self.check_covariates(X)
        if X is None and self.model.encoder.columns:
            raise ValueError(
                f"Got y without X, but the forecaster reads the columns "
                f"{self.model.encoder.columns} of X. Pass X with the rows of y and of fh."
            )
        encoder, spec = self.model.encoder, self.model.spec
        history = encoder.encode(y, X, spec.horizon)
        if encoder.timeline is not None:
            history.timeline.check_step(encoder.timeline, spec.simulation)
        read = np.minimum(history.lengths, spec.reach) if spec.simulation else history.lengths
        warn_of_far_rows(self.model, history, read, self.history, "the given past", X)
        if not spec.simulation:  # which needs no output
            warn_of_empty_series(history, encoder.targets)
        rows = history.lengths, X, self.history
        warn_of_empty_rows(self.model, history, *rows, "the given past")
        return replace(self, history=history, seen=history.lengths, index_names=list(y.index.names))

    def updated(
        self, y: pd.DataFrame, X: pd.DataFrame | None, adapt: bool, learn: Learn | None
    ) -> Fitted:
        """Return what is known with new rows.

        Parameters
        ----------
        y, X : pandas.DataFrame
        adapt : bool
            Whether the calibration is extended by the errors on the new rows.
        learn : callable or None
            Trains a copy of the model on the new rows; None for the model as it is.
        """
        self.check_covariates(X)
        model, before = self.model, self.history
        if model.spec.simulation:
            check_sampling(y.index, before.timeline)
        history, seen = model.encoder.extend(before, self.seen, y, X, model.spec.horizon)
        end = history.first.copy()  # of a new series every row is new, wherever it begins
        end[: len(before.first)] = before.first + before.lengths
        new_rows = np.maximum(history.first + history.lengths - end, 0)
        try:
            warn_of_far_rows(model, history, new_rows, before, "an update", X)
            if not model.spec.simulation:
                warn_of_empty_series(history, model.encoder.targets, len(before.first))
            warn_of_skipped_rows(model, before, history, X)
            warn_of_empty_rows(model, history, new_rows, X, before, "the new rows of y")
            if X is not None:
                model.encoder.warn_of_changed_traits(before, X)
            if learn is not None and not new_rows.any():
                warn_of_known_rows(model, before, history, seen)
            if adapt:
                # one update: (1, num_series)
                (model,) = model.adapted(history.store, history.lengths[None], new_rows[None])
            if learn is not None:
                model = learn(model, history, new_rows)
        except BaseException:
            before.give_back(history)
            raise
        return replace(self, model=model, history=history, seen=seen)


def relative_steps(fh: ForecastingHorizon, timeline: Timeline, last: np.ndarray) -> np.ndarray:
    """Return fh as steps (..., step) after the grid rows ``last`` (...,)."""
    values = fh.to_pandas()
    if not fh.is_relative:
        return _bounded(timeline.ordinals(values, fh=True) - last[..., None])
    if pd.api.types.is_integer_dtype(values.dtype):
        steps = values.to_numpy(dtype=np.int64)
        return _bounded(np.broadcast_to(steps, (*last.shape, len(steps))))
    # Durations or offsets: how many steps they last depends on where they begin.
    rows, place = np.unique(last, return_inverse=True)
    try:
        ends = pd.Index([begin + value for begin in timeline.times(rows) for value in values])
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Got fh with the duration {values[0]}, which cannot be added to the times of y "
            f"({timeline}). Pass numbers of steps: fh=[1, 2, 3]."
        ) from error
    steps = timeline.ordinals(ends, fh=True).reshape(len(rows), -1) - rows[:, None]
    return _bounded(steps[place.reshape(last.shape)])


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
