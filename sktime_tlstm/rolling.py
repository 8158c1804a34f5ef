"""Rolling: from trained networks and a history to forecasts at any step, point or quantile."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm.encoding import FrameEncoder, History
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import QuantileHead
from sktime_tlstm.windows import SeriesStore, WindowDataset, WindowSpec, gather

__all__ = ["RESIDUAL_LEVELS", "Model", "residual_table"]

#: Levels at which the residuals of a point forecast are kept.
RESIDUAL_LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))
#: Fewer residuals than this at a horizon step are pooled over all steps.
MIN_RESIDUALS = 20
#: Windows in one forward pass of a forecast.
WINDOWS_PER_PASS = 1024
#: Floats that the sample paths of one group of series may take.
SAMPLE_BUDGET = 2**25


@dataclass(frozen=True)
class Forecast:
    """Scaled forecasts of windows.

    Parameters
    ----------
    point : Tensor of shape (window, horizon, num_targets)
    table : Tensor of shape (window, horizon, num_targets, level)
        Quantiles at the model's levels.
    """

    point: Tensor
    table: Tensor


@dataclass(frozen=True)
class Model:
    """Everything that a forecast needs but the data.

    Parameters
    ----------
    members : list of ForecastNet
        Trained nets, whose forecasts are averaged.
    encoder : FrameEncoder
    spec : WindowSpec
    residuals : Tensor of shape (horizon, num_targets, level) or None
        Quantiles of a point forecast's normalised errors; None where the head has quantiles.
    num_samples : int
        Number of sample paths beyond the horizon.
    seed : int
        Seed of the sample paths.
    """

    members: list[ForecastNet]
    encoder: FrameEncoder
    spec: WindowSpec
    residuals: Tensor | None
    num_samples: int
    seed: int

    @property
    def reader(self) -> QuantileHead:
        """The head that reads quantiles at any level off the tables of `windows`."""
        if self.residuals is not None:
            return QuantileHead(RESIDUAL_LEVELS)
        return self.members[0].criterion_

    def windows(self, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray) -> Forecast:
        """Forecast windows by one forward pass of every member.

        Parameters
        ----------
        store : SeriesStore
        series, cutoff : numpy.ndarray of int64, shape (window,)
        """
        store = store.to(self.members[0].device)
        points, tables = [], []
        for begin in range(0, len(series), WINDOWS_PER_PASS):
            chunk = slice(begin, begin + WINDOWS_PER_PASS)
            forecast = self._pass(
                store, torch.from_numpy(series[chunk]), torch.from_numpy(cutoff[chunk])
            )
            points.append(forecast.point.cpu())
            tables.append(forecast.table.cpu())
        return Forecast(torch.cat(points), torch.cat(tables))

    def _pass(self, store: SeriesStore, series: Tensor, cutoff: Tensor) -> Forecast:
        batch = gather(store, self.spec, series, cutoff)
        loc, scale = batch.loc[:, None], batch.scale[:, None]  # (window, 1, target)
        points, tables = [], []
        for net in self.members:
            parameters = net.criterion_.unpack(net.outputs(batch.inputs))
            point = net.criterion_.point(parameters)
            points.append(point)
            if self.residuals is None:
                tables.append(parameters.sort(dim=-1).values)
            else:
                tables.append(point[..., None] + self.residuals.to(point))
        point, table = torch.stack(points).mean(0), torch.stack(tables).mean(0)
        return Forecast(loc + scale * point, loc[..., None] + scale[..., None] * table)

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
            seen = cutoff[series[past]] + step[past] - 1
            if (seen < 0).any():
                owner = series[past][int(np.argmax(seen < 0))]
                raise ValueError(
                    f"Got fh with the step {step[past].min()}, before the first of the "
                    f"{cutoff[owner]} observations{history.name(owner)}. Pass steps of at least "
                    f"{1 - cutoff[owner]}."
                )
            ahead = self.windows(history.store, series[past], seen)
            scaled[past] = self._read(ahead, alphas)[:, 0]
        if future.any():
            # Whole blocks: a step sees the same covariates and calendar whatever else is asked.
            num_future = -(-int(step.max()) // self.spec.horizon) * self.spec.horizon
            wanted = np.zeros((len(cutoff), num_future), dtype=bool)
            wanted[series[future], step[future] - 1] = True
            tail, kept = self.encoder.tail(history, cutoff, self.spec.reach, wanted, X)
            paths = self._future(tail, kept, num_future, alphas)
            scaled[future] = paths[series[future], step[future] - 1]
        return self.encoder.decode(history, scaled[:, None], series)[:, 0]

    def _read(self, forecast: Forecast, alphas: list[float] | None) -> np.ndarray:
        """Return the scaled point (window, horizon, target) or quantiles (..., alpha)."""
        if alphas is None:
            return forecast.point.numpy()
        levels = torch.tensor(alphas, dtype=torch.float64)
        return self.reader.quantile(forecast.table.double(), levels).numpy()

    def _future(
        self, tail: History, cutoff: np.ndarray, num_future: int, alphas: list[float] | None
    ) -> np.ndarray:
        """Forecast all steps 1 .. num_future of every series, scaled."""
        horizon = self.spec.horizon
        series = np.arange(len(cutoff))
        if alphas is None:
            return self._roll(tail.store, cutoff, num_future, None)
        forecast = self.windows(tail.store, series, cutoff)
        direct = self._read(forecast, alphas)[:, :num_future]
        if num_future <= horizon:
            return direct
        rows = self.num_samples * int(tail.store.length.max())
        group = max(1, SAMPLE_BUDGET // (rows * tail.store.values.shape[1]))
        beyond = [
            self._sampled_quantiles(
                tail.store, series[begin : begin + group], cutoff, num_future, alphas
            )
            for begin in range(0, len(series), group)
        ]
        return np.concatenate([direct, np.concatenate(beyond)[:, horizon:]], axis=1)

    def _sampled_quantiles(self, store, series, cutoff, num_future, alphas) -> np.ndarray:
        """Return quantiles (series, num_future, target, alpha) of sample paths."""
        paths = self.sample(store, series, cutoff, num_future)
        return np.moveaxis(np.quantile(paths, alphas, axis=0), 0, -1)

    def sample(
        self, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray, num_future: int
    ) -> np.ndarray:
        """Draw scaled sample paths (sample, series, num_future, target).

        A path takes one quantile level for each block of the horizon, so that its steps depend on
        each other; every later block sees the path so far. The levels are stratified over paths.
        """
        rng = np.random.default_rng(self.seed)
        blocks = -(-num_future // self.spec.horizon)
        number = self.num_samples
        draws = [(rng.permutation(number) + rng.random(number)) / number for _ in range(blocks)]
        level = np.stack(draws, axis=1)  # (sample, block)
        rows = store.length[series].repeat(self.num_samples)
        source = torch.cat([_rows(store, index) for index in series]).repeat(self.num_samples)
        copies = replace(
            store,
            values=store.values[source],
            observed=store.observed[source],
            start=rows.cumsum(0) - rows,
            length=rows,
            calendar_start=store.calendar_start[series].repeat(self.num_samples),
            level=store.level[series].repeat(self.num_samples, 1),
            spread=store.spread[series].repeat(self.num_samples, 1),
        )
        levels = torch.from_numpy(level).repeat_interleave(len(series), dim=0)
        paths = self._roll(copies, np.tile(cutoff[series], self.num_samples), num_future, levels)
        return paths.reshape(self.num_samples, len(series), num_future, -1)

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
                block = forecast.point
            else:
                level = levels[:, begin // horizon, None, None]
                block = self.reader.quantile_at(forecast.table.double(), level).float()
            block = block[:, : num_future - begin]
            row = store.start + torch.from_numpy(cutoff + begin)
            row = row[:, None] + torch.arange(block.shape[1])
            values[row, :targets], observed[row, :targets] = block, True
            blocks.append(block)
        return torch.cat(blocks, dim=1).numpy()


def _rows(store: SeriesStore, series: int) -> Tensor:
    start = int(store.start[series])
    return torch.arange(start, start + int(store.length[series]))


def residual_table(model: Model, dataset: WindowDataset, indices: np.ndarray) -> Tensor:
    """Return quantiles (horizon, num_targets, level) of normalised errors over windows.

    Split conformal prediction (Vovk et al. 2005; Lei et al. 2018): with held-out windows, the
    interval between two levels covers a new error with their difference as probability. A step
    with few errors takes those of all steps; without any, a standard normal stands in.
    """
    errors = []
    for begin in range(0, len(indices), WINDOWS_PER_PASS):
        batch = dataset.batch(indices[begin : begin + WINDOWS_PER_PASS])
        outputs = [net.outputs(batch.inputs) for net in model.members]
        head = model.members[0].criterion_
        point = torch.stack([head.point(head.unpack(output)) for output in outputs]).mean(0)
        errors.append((batch.target - point).cpu().double())
    error = torch.cat(errors).numpy()  # (window, horizon, target)
    table = np.zeros((*error.shape[1:], len(RESIDUAL_LEVELS)))
    for target in range(error.shape[2]):
        pooled = error[..., target][~np.isnan(error[..., target])]
        for step in range(error.shape[1]):
            own = error[:, step, target]
            own = own[~np.isnan(own)]
            table[step, target] = _conformal(own if len(own) >= MIN_RESIDUALS else pooled)
    return torch.from_numpy(table)


def _conformal(errors: np.ndarray) -> np.ndarray:
    """Return quantiles at RESIDUAL_LEVELS, wide enough for the number of errors there are."""
    levels = np.array(RESIDUAL_LEVELS)
    if not len(errors):
        return torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(levels)).numpy()
    # (n + 1) / n of the way from the middle: the finite-sample correction of both tails.
    widened = 0.5 + (levels - 0.5) * (len(errors) + 1) / len(errors)
    return np.quantile(errors, np.clip(widened, 0.0, 1.0))
