"""Targets: the scale of each series, and how values of y get into a history and out again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sktime_tlstm.data.columns import numeric_values, sampled_values
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, blocks
from sktime_tlstm.data.scaling import location_scale

__all__ = ["MAX_ARCSINH", "SUPPORTS", "Targets"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Bound of the arcsinh-scaled forecasts, so that undoing the arcsinh stays finite.
MAX_ARCSINH = 30.0
#: Supports of targets by name: the smallest value, and the words for all of them.
SUPPORTS = {
    "real": (-np.inf, "any number"),
    "positive": (float(np.nextafter(0, 1)), "positive numbers"),
    "count": (0.0, "whole numbers of at least 0"),
}


@dataclass(frozen=True)
class Targets:
    """The columns of y, which are scaled series by series.

    Parameters
    ----------
    names : list
        Columns of y.
    support : key of SUPPORTS
    scaler : key of SCALERS
    """

    names: list[Hashable]
    support: str
    scaler: str | None

    def check(self, y: pd.DataFrame) -> None:
        """Raise a ValueError if y has another number of columns than in training."""
        if len(y.columns) != len(self.names):
            raise ValueError(
                f"Got y with {len(y.columns)} columns {list(y.columns)}, expected "
                f"{len(self.names)} as in training: {self.names}. Pass the same targets."
            )

    def values(self, y: pd.DataFrame) -> Floats:
        """Return the targets of a frame (row, num_targets), NaN where missing."""
        self.check(y)
        return np.stack([numeric_values(y.iloc[:, k]) for k in range(len(self.names))], axis=1)

    def fit_scaling(
        self, history: History, y: pd.DataFrame, rows: Rows, place: Integers, which: Integers
    ) -> None:
        """Learn the scaling of the series ``which`` out of ``place``, in place.

        ``place`` are the series of the history that those of y are, shape (num_series of y,).
        """
        wanted = np.isin(place, which)
        for group in rows.groups():
            part = y.iloc[rows.bounds[group.start] : rows.bounds[group.stop]]
            for column in range(len(self.names)):
                # More rows than are sampled are those of a single series.
                values = sampled_values(part.iloc[:, column])
                bounds = np.minimum(rows.bounds - rows.bounds[group.start], len(values))
                for number in np.flatnonzero(wanted[group]) + group.start:
                    series = place[number]
                    own = values[bounds[number] : bounds[number + 1]]
                    location, scale = location_scale(own, self.scaler)
                    history.loc[series, column] = location
                    history.scale[series, column] = scale
                    history.store.traits.unit[series, column] = scale

    def fit_level(self, history: History, which: Integers) -> None:
        """Learn mean and standard deviation of the scaled targets of the series ``which``."""
        store, traits = history.store, history.store.traits
        for series in which:
            rows = slice(int(store.start[series]), int(store.start[series] + store.length[series]))
            for column in range(len(self.names)):
                value = store.values[rows, column].numpy()[store.observed[rows, column].numpy()]
                if len(value):
                    traits.level[series, column] = float(value.mean())
                    traits.spread[series, column] = float(value.std()) or 1.0
                if self.support != "real" and traits.level[series, column] == 0:
                    traits.level[series, column] = 1.0  # it is a scale: no observation, or zeros

    def write(self, history: History, y: pd.DataFrame, rows: Rows) -> None:
        """Write the observed values of y, whose rows the history has."""
        values, observed = history.store.values.numpy(), history.store.observed.numpy()
        start = history.store.start.numpy()
        for part in blocks(len(rows)):
            series, within = history.locate(rows, part)
            position = start[series] + within  # row of the store of every row of the part
            for channel in range(len(self.names)):
                column = y.iloc[part, channel]
                numbers = numeric_values(column)
                self._check_support(column, numbers)
                scaled = (numbers - history.loc[series, channel]) / history.scale[series, channel]
                if self.scaler == "robust_arcsinh":
                    scaled = np.arcsinh(scaled)
                seen = ~np.isnan(numbers)
                values[position[seen], channel] = scaled[seen]
                observed[position[seen], channel] = True

    def _check_support(self, column: pd.Series, values: Floats) -> None:
        low, words = SUPPORTS[self.support]
        outside = values < low
        if self.support == "count":
            outside |= np.mod(values, 1) > 0
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"Got the value {values[row]} in column {column.name!r} at {column.index[row]}, "
                f"expected {words} for this loss. Use loss='quantile' or 'normal' for other data."
            )

    def decode(self, history: History, scaled: npt.NDArray[Any], series: Integers) -> Floats:
        """Undo the scaling, as `FrameEncoder.decode` says."""
        scaled = np.asarray(scaled, dtype=np.float64)
        # (n, 1, num_targets, 1 ...): broadcasts over time and what follows the targets
        shape = (len(series), 1, len(self.names)) + (1,) * (scaled.ndim - 3)
        if self.scaler == "robust_arcsinh":
            scaled = np.sinh(np.clip(scaled, -MAX_ARCSINH, MAX_ARCSINH))
        decoded: Floats = (
            history.loc[series].reshape(shape) + history.scale[series].reshape(shape) * scaled
        )
        return decoded

    def observed(self, history: History, cutoff: Integers) -> list[Floats]:
        """Return each series' targets (time, num_targets) up to its cutoff, NaN where missing."""
        targets = []
        for series, start in enumerate(history.store.start.tolist()):
            rows = slice(start, start + int(cutoff[series]))
            scaled = history.store.values[rows, : len(self.names)].numpy()
            seen = history.store.observed[rows, : len(self.names)].numpy()
            values = self.decode(history, scaled[None], np.array([series]))[0]
            targets.append(np.where(seen, values, np.nan))
        return targets
