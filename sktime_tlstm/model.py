"""Rolling: from trained networks and a history to forecasts at any step, point or quantile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm import families
from sktime_tlstm.calibration import Calibration, calibration_windows
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import PER_SERIES, History, SeriesStore
from sktime_tlstm.data.windows import WindowSpec, gather
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import DistributionHead, Head, QuantileHead

__all__ = ["Forecast", "Model"]

#: Windows in one forward pass of a forecast: on a CPU few, whose layers stay in its caches.
WINDOWS_PER_PASS = {"cpu": 128, "else": 1024}
#: Rows of history and future that are laid out at once.
ROWS_AT_ONCE = 2**20
#: Floats that the sample paths of one group of series may take.
SAMPLE_BUDGET = 2**25


@dataclass(frozen=True)
class Forecast:
    """What the networks say of windows, normalised as the windows are.

    Parameters
    ----------
    parameters : Tensor of shape (member, window, horizon, num_targets, parameter)
        Of each member's head.
    loc, scale : Tensor of shape (window, num_targets)
        Normalisation of each window.
    unit : Tensor of shape (window, num_targets)
        Factor from normalised values to counts.
    """

    parameters: Tensor
    loc: Tensor
    scale: Tensor
    unit: Tensor

    def part(self, windows: slice) -> Forecast:
        """Return some of the windows."""
        rest = (self.loc[windows], self.scale[windows], self.unit[windows])
        return Forecast(self.parameters[:, windows], *rest)

    def undo(self, normalised: Tensor) -> Tensor:
        """Undo the windows' normalisation of values (window, horizon, num_targets, ...)."""
        shape = (len(self.loc), 1, self.loc.shape[1]) + (1,) * (normalised.ndim - 3)
        return self.loc.reshape(shape) + self.scale.reshape(shape) * normalised


@dataclass(frozen=True)
class Model:
    """Everything that a forecast needs but the data.

    Parameters
    ----------
    members : list of ForecastNet
        Trained nets, whose forecasts are averaged.
    encoder : FrameEncoder
    spec : WindowSpec
    calibration : Calibration or None
        Corrections of the quantiles; a point forecast's only quantiles.
    num_samples : int
        Number of sample paths beyond the horizon.
    seed : int
        Seed of the sample paths.
    """

    members: list[ForecastNet]
    encoder: FrameEncoder
    spec: WindowSpec
    calibration: Calibration | None
    num_samples: int
    seed: int

    @property
    def head(self) -> Head:
        """The head of every member."""
        return self.members[0].criterion_

    def windows(
        self,
        store: SeriesStore,
        series: np.ndarray,
        cutoff: np.ndarray,
        num_steps: int | None = None,
    ) -> Forecast:
        """Forecast windows by one forward pass of every member.

        Parameters
        ----------
        store : SeriesStore
        series, cutoff : numpy.ndarray of int64, shape (window,)
        num_steps : int or None, default=None
            Number of steps to keep; None for the whole horizon.
        """
        store = store.to(self.members[0].device)
        passes = []
        number = WINDOWS_PER_PASS["cpu" if store.values.device.type == "cpu" else "else"]
        for begin in range(0, len(series), number):
            chunk = slice(begin, begin + number)
            which, when = torch.from_numpy(series[chunk]), torch.from_numpy(cutoff[chunk])
            batch = gather(store, self.spec, which, when)
            outputs = [
                net.criterion_.unpack(net.outputs(batch.inputs)[:, :num_steps])
                for net in self.members
            ]
            passes.append((torch.stack(outputs), batch.loc, batch.scale, batch.unit))
        parameters, *statistics = (list(part) for part in zip(*passes, strict=True))
        return Forecast(
            torch.cat(parameters, dim=1).cpu(), *(torch.cat(part).cpu() for part in statistics)
        )

    def point(self, forecast: Forecast) -> Tensor:
        """Return the scaled point forecast (window, horizon, num_targets)."""
        return forecast.undo(self.head.point(forecast.parameters.double()).mean(0))

    def quantile(self, forecast: Forecast, level: Tensor) -> Tensor:
        """Return scaled quantiles (window, horizon, num_targets, alpha), never crossing.

        Parameters
        ----------
        forecast : Forecast
        level : Tensor of shape (alpha,) or (window, alpha)
            Levels, the same for all windows or each window's own.
        """
        level = level.double().expand(len(forecast.loc), -1)[:, None, None]
        if self.calibration is None:
            values = self._normalised(forecast, level)
        else:
            grid = torch.tensor(self.calibration.levels, dtype=torch.float64)
            corrections = self.calibration.corrections[: forecast.parameters.shape[2]]
            table = self._normalised(forecast, grid) + corrections
            values = QuantileHead(self.calibration.levels).quantile_at(table[..., None, :], level)
        # Rounding could still swap quantiles at neighbouring levels by a last digit.
        order = level.argsort(dim=-1).expand_as(values)
        ascending = values.gather(-1, order).cummax(dim=-1).values
        return forecast.undo(ascending.gather(-1, order.argsort(dim=-1)))

    def _normalised(self, forecast: Forecast, level: Tensor) -> Tensor:
        """Return the networks' own quantiles, averaged over members.

        ``level`` broadcasts with (window, horizon, num_targets, alpha). A point forecast is its
        own quantile at every level, to be corrected by its calibration.
        """
        parameters, head = forecast.parameters.double(), cast(Any, self.head)
        if hasattr(head, "quantile_at"):
            values = head.quantile_at(parameters[..., None, :], level)
        elif isinstance(head, DistributionHead):
            unit = forecast.unit if head.support == "count" else torch.ones_like(forecast.unit)
            unit = unit[:, None, :, None].double()
            values = torch.from_numpy(
                families.quantile(
                    head.distribution, parameters[..., None, :].numpy(), level.numpy(), unit.numpy()
                )
            )
        else:
            values = head.point(parameters)[..., None] + torch.zeros_like(level)
        return values.mean(0)

    def errors(self, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
        """Return ``target - quantile``, normalised, at the levels of calibrations.

        Returns
        -------
        numpy.ndarray of float32, shape (window, horizon, num_targets, level)
            NaN where the target is not observed.
        """
        forecast = self.windows(store, series, cutoff)
        batch = gather(store, self.spec, torch.from_numpy(series), torch.from_numpy(cutoff))
        quantiles = self._normalised(forecast, torch.tensor(Calibration.levels).double())
        return (batch.target.cpu()[..., None] - quantiles).float().numpy()

    def adapted(self, store: SeriesStore, lengths: np.ndarray, new_rows: np.ndarray) -> list[Model]:
        """Return the model after each of several updates, its calibration extended by the errors.

        Parameters
        ----------
        store : SeriesStore
        lengths, new_rows : numpy.ndarray of int64, shape (update, num_series)
            Number of rows of each series after an update, and how many of them it brought.
        """
        if self.calibration is None or not len(lengths):
            return [self] * len(lengths)
        limits = self.spec.horizon, self.calibration.capacity
        windows = [
            calibration_windows(*own, *limits) for own in zip(lengths, new_rows, strict=True)
        ]
        series, cutoff = (np.concatenate(part) for part in zip(*windows, strict=True))
        errors = self.errors(store, series, cutoff) if len(series) else None
        calibration, end, models = self.calibration, 0, []
        for own, _ in windows:
            begin, end = end, end + len(own)
            if errors is not None and end > begin:
                calibration = calibration.extended(errors[begin:end])
            models.append(replace(self, calibration=calibration))
        return models

    def forecast(
        self,
        history: History,
        cutoff: np.ndarray,
        series: np.ndarray,
        step: np.ndarray,
        X,
        alphas: list[float] | None = None,
    ) -> np.ndarray:
        """Forecast rows, each a series and a step relative to the series' own cutoff.

        In-sample steps (of 0 and less) are forecast one step ahead. Steps beyond the horizon come
        from rolling forward: point forecasts on themselves, quantiles on sample paths.

        Parameters
        ----------
        history : History
        cutoff : numpy.ndarray of int64, shape (num_series,)
            Number of rows of each series that are seen.
        series, step : numpy.ndarray of int64, shape (row,)
        X : pandas.DataFrame or None
            Covariates of the future.
        alphas : list of float or None
            Quantile levels; None for the point forecast.

        Returns
        -------
        numpy.ndarray of float64, shape (row, num_targets) or (row, num_targets, alpha)
            In the units of y.

        Raises
        ------
        ValueError
            If a step lies before the first observation, or X lacks what is to be forecast.
        """
        levels = () if alphas is None else (len(alphas),)
        scaled = np.zeros((len(step), self.spec.num_targets, *levels))
        past, future = step <= 0, step > 0
        if past.any():
            ahead = self._insample(history, cutoff, series[past], step[past])
            scaled[past] = self.read(ahead, alphas)[:, 0]
        if future.any():
            for own, rows, tail, kept, num_future in self._tails(history, cutoff, series, step, X):
                paths = self._future(tail.store, kept, num_future, alphas, own.start)
                scaled[rows] = paths[series[rows] - own.start, step[rows] - 1]
        return self.decoded(history, scaled[:, None], series, alphas is not None)[:, 0]

    def samples(
        self,
        history: History,
        cutoff: np.ndarray,
        series: np.ndarray,
        step: np.ndarray,
        X,
        num_samples: int,
    ) -> np.ndarray:
        """Draw sample paths of rows, as `forecast` takes them.

        In-sample steps are drawn independently of each other.

        Returns
        -------
        numpy.ndarray of float64, shape (sample, row, num_targets)
        """
        scaled = np.zeros((num_samples, len(step), self.spec.num_targets))
        past, future = step <= 0, step > 0
        if past.any():
            ahead = self._insample(history, cutoff, series[past], step[past])
            rng = np.random.default_rng([self.seed, len(cutoff)])
            level = torch.from_numpy(_stratified(rng, num_samples, int(past.sum())).T)
            scaled[:, past] = np.moveaxis(self.quantile(ahead, level).numpy()[:, 0], -1, 0)
        if future.any():
            for own, rows, tail, kept, num_future in self._tails(history, cutoff, series, step, X):
                groups = self._sample_groups(tail.store, kept, num_future, num_samples, own.start)
                paths = np.concatenate(list(groups), axis=1)
                scaled[:, rows] = paths[:, series[rows] - own.start, step[rows] - 1]
        flat = scaled.reshape(-1, 1, self.spec.num_targets)
        return self.decoded(history, flat, np.tile(series, num_samples), True).reshape(scaled.shape)

    def decoded(
        self, history: History, scaled: np.ndarray, series: np.ndarray, quantiles: bool
    ) -> np.ndarray:
        """Return scaled forecasts (window, step, target, ...) in the units of y."""
        values = self.encoder.decode(history, scaled, series)
        return self._supported(values) if quantiles else values

    def _supported(self, values: np.ndarray) -> np.ndarray:
        """Move quantiles, in the units of y, to where the head's distribution has values.

        Those of counts are whole numbers but for rounding, which would count as a miss; corrected
        ones of counts and positive values may lie below zero.
        """
        if self.head.support == "count":
            values = values.round()
        return values if self.head.support == "real" else np.maximum(values, 0.0)

    def is_parametric(self, step: np.ndarray) -> bool:
        """Whether forecasts of these steps are distributions of the head's family."""
        family = isinstance(self.head, DistributionHead) and self.encoder.scaler != "robust_arcsinh"
        exact = self.calibration is None and len(self.members) == 1
        return family and exact and bool((step <= self.spec.horizon).all())

    def parameters(
        self, history: History, cutoff: np.ndarray, series: np.ndarray, step: np.ndarray, X
    ) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
        """Return the distributions of rows, as `forecast` takes them, where `is_parametric`.

        Returns
        -------
        family : str
        parameters : numpy.ndarray of shape (row, num_targets, parameter)
        loc, scale : numpy.ndarray of shape (row, num_targets)
            ``value = loc + scale * scaled``, in units of y.
        """
        parameters = np.zeros((len(step), self.spec.num_targets, self.head.num_parameters))
        loc, scale = np.zeros((2, *parameters.shape[:2]))
        past, future = step <= 0, step > 0
        if past.any():
            ahead = self._insample(history, cutoff, series[past], step[past])
            parameters[past] = ahead.parameters[0, :, 0]
            loc[past], scale[past] = ahead.loc, ahead.scale
        if future.any():
            for own, rows, tail, kept, _ in self._tails(history, cutoff, series, step, X):
                ahead = self.windows(tail.store, np.arange(len(kept)), kept)
                which = series[rows] - own.start
                parameters[rows] = ahead.parameters[0, which, step[rows] - 1]
                loc[rows], scale[rows] = ahead.loc[which], ahead.scale[which]
        loc = history.loc[series] + history.scale[series] * loc
        scale, order = history.scale[series] * scale, self.encoder.order
        family = cast(Any, self.head).distribution
        return family, parameters[:, order], loc[:, order], scale[:, order]

    def _insample(
        self, history: History, cutoff: np.ndarray, series: np.ndarray, step: np.ndarray
    ) -> Forecast:
        """Forecast windows whose first step is the row asked for."""
        seen = cutoff[series] + step - 1
        if (seen < 0).any():
            owner = series[int(np.argmax(seen < 0))]
            raise ValueError(
                f"Got fh with the step {step[seen < 0][0]}, before the first of the "
                f"{cutoff[owner]} observations{history.name(owner)}. Pass steps of at least "
                f"{1 - cutoff[owner]}."
            )
        return self.windows(history.store, series, seen, num_steps=1)

    def _tails(
        self, history: History, cutoff: np.ndarray, series: np.ndarray, step: np.ndarray, X
    ) -> Iterator[tuple[slice, np.ndarray, History, np.ndarray, int]]:
        """Yield what forecasts of the future need, for some of the series at a time.

        Yields
        ------
        own : slice
            Which series.
        rows : numpy.ndarray of int64
            Which of the rows asked for are theirs, those of the future.
        tail : History
        kept : numpy.ndarray of int64, shape (series,)
            Number of rows before the cutoff.
        num_future : int
            Number of rows after it.
        """
        future = step > 0
        # Whole blocks: a step sees the same covariates and calendar whatever else is asked.
        num_future = -(-int(step.max()) // self.spec.horizon) * self.spec.horizon
        wanted = np.zeros((len(cutoff), num_future), dtype=bool)
        wanted[series[future], step[future] - 1] = True
        reach, number = self.spec.reach, len(cutoff)
        X_rows = self.encoder.future_rows(history, X)
        at_once = max(1, ROWS_AT_ONCE // (reach + num_future))
        for begin in range(0, number, at_once):
            own = slice(begin, min(begin + at_once, number))
            data = (history.part(own), cutoff[own], reach, wanted[own], X, X_rows)
            rows = np.flatnonzero(future & (series >= own.start) & (series < own.stop))
            yield own, rows, *self.encoder.tail(*data), num_future

    def read(self, forecast: Forecast, alphas: list[float] | None) -> np.ndarray:
        """Return the scaled point (window, horizon, target) or quantiles (..., alpha)."""
        if alphas is None:
            return self.point(forecast).numpy()
        return self.quantile(forecast, torch.tensor(alphas, dtype=torch.float64)).numpy()

    def _future(
        self,
        store: SeriesStore,
        cutoff: np.ndarray,
        num_future: int,
        alphas: list[float] | None,
        first: int,
    ) -> np.ndarray:
        """Forecast all steps 1 .. num_future of every series, scaled; they count from ``first``."""
        if alphas is None:
            return self._roll(store, cutoff, num_future, None)
        horizon = self.spec.horizon
        direct = self.read(self.windows(store, np.arange(len(cutoff)), cutoff), alphas)
        if num_future == horizon:
            return direct
        groups = self._sample_groups(store, cutoff, num_future, self.num_samples, first)
        beyond = [np.quantile(paths[:, :, horizon:], alphas, axis=0) for paths in groups]
        return np.concatenate([direct, np.moveaxis(np.concatenate(beyond, axis=1), 0, -1)], axis=1)

    def _sample_groups(
        self, store: SeriesStore, cutoff: np.ndarray, num_future: int, num_samples: int, first: int
    ) -> Iterator[np.ndarray]:
        """Yield sample paths of a few series at a time, so that memory stays bounded."""
        floats = num_samples * int(store.length.max()) * store.values.shape[1]
        group = max(1, SAMPLE_BUDGET // floats)
        for begin in range(0, len(cutoff), group):
            series = np.arange(begin, min(begin + group, len(cutoff)))
            yield self.sample(store, series, cutoff, num_future, num_samples, first)

    def sample(
        self,
        store: SeriesStore,
        series: np.ndarray,
        cutoff: np.ndarray,
        num_future: int,
        num_samples: int,
        first: int = 0,
    ) -> np.ndarray:
        """Draw scaled sample paths (sample, series, num_future, target).

        A path takes one quantile level for each block of the horizon, the same for all targets of
        a series, so that its steps depend on each other; every later block sees the path so far.
        Series are independent. The levels are stratified over paths.
        """
        blocks = -(-num_future // self.spec.horizon)
        seeds = [np.random.default_rng([self.seed, first + index]) for index in series.tolist()]
        drawn = np.stack([_stratified(rng, num_samples, blocks) for rng in seeds], axis=1)
        levels = torch.from_numpy(drawn).flatten(0, 1)  # (sample * series, block)
        rows = store.length[series].repeat(num_samples)
        source = torch.cat([_rows(store, index) for index in series]).repeat(num_samples)
        single = {name: getattr(store, name) for name in ("calendar_start", *PER_SERIES)}
        copies = replace(
            store,
            values=store.values[source],
            observed=store.observed[source],
            start=rows.cumsum(0) - rows,
            length=rows,
            **{name: torch.cat([own[series]] * num_samples) for name, own in single.items()},
        )
        paths = self._roll(copies, np.tile(cutoff[series], num_samples), num_future, levels)
        return paths.reshape(num_samples, len(series), num_future, -1)

    def _roll(
        self, store: SeriesStore, cutoff: np.ndarray, num_future: int, levels: Tensor | None
    ) -> np.ndarray:
        """Forecast block after block, each seeing the ones before as if observed.

        ``levels`` (series, block) are the quantile levels to follow; None for the point forecast.
        """
        horizon, targets = self.spec.horizon, self.spec.num_targets
        values, observed = store.values.clone(), store.observed.clone()
        rolled = replace(store, values=values, observed=observed)
        series, blocks = np.arange(len(cutoff)), []
        for begin in range(0, num_future, horizon):
            forecast = self.windows(rolled, series, cutoff + begin)
            if levels is None:
                block = self.point(forecast)
            else:
                level = levels[:, begin // horizon, None]
                block = self.quantile(forecast, level)[..., 0]
            row = store.start + torch.from_numpy(cutoff + begin)
            row = row[:, None] + torch.arange(block.shape[1])
            values[row, :targets], observed[row, :targets] = block.float(), True
            blocks.append(block)
        return torch.cat(blocks, dim=1).numpy()


def _stratified(rng: np.random.Generator, number: int, columns: int) -> np.ndarray:
    """Return uniform numbers (number, columns), one from every stratum in each column."""
    draws = [(rng.permutation(number) + rng.random(number)) / number for _ in range(columns)]
    return np.stack(draws, axis=1)


def _rows(store: SeriesStore, series: int) -> Tensor:
    start = int(store.start[series])
    return torch.arange(start, start + int(store.length[series]))
