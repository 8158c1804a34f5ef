"""Models: trained networks and all that turns their outputs on windows into forecasts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm import families
from sktime_tlstm.calibration import Calibration, calibration_windows
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import History, SeriesStore
from sktime_tlstm.data.windows import WindowSpec, cut_windows
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import Head, QuantileHead

__all__ = ["Forecast", "Model"]

#: Windows in one forward pass of a forecast: on a CPU few, whose layers stay in its caches.
WINDOWS_PER_PASS = {"cpu": 128, "else": 1024}


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

    def of(self, windows: slice) -> Forecast:
        """Return the forecast of some of the windows."""
        statistics = (part[windows] for part in (self.loc, self.scale, self.unit))
        return Forecast(self.parameters[:, windows], *statistics)

    def undo(self, normalised: Tensor) -> Tensor:
        """Undo the windows' normalisation of values (window, horizon, num_targets, ...)."""
        # (window, num_targets) -> (window, 1, num_targets, 1 ...), to broadcast with the values
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
            places = torch.from_numpy(series[chunk]), torch.from_numpy(cutoff[chunk])
            batch = cut_windows(store, self.spec, *places)
            outputs = [  # of every member: (window, num_steps, num_targets, parameter)
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
        # (alpha,) or (window, alpha) -> (window, 1, 1, alpha): the same for all steps and targets
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
        parameters, head = forecast.parameters.double(), self.head
        if head.has_quantiles:
            values = head.quantile_at(parameters[..., None, :], level)
        elif head.distribution is not None:
            unit = forecast.unit if head.support == "count" else torch.ones_like(forecast.unit)
            # (window, num_targets) -> (window, 1, num_targets, 1), beside (..., alpha)
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
        batch = cut_windows(store, self.spec, torch.from_numpy(series), torch.from_numpy(cutoff))
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
            calibration_windows(length, number, *limits)
            for length, number in zip(lengths, new_rows, strict=True)
        ]
        series, cutoff = (np.concatenate(part) for part in zip(*windows, strict=True))
        errors = self.errors(store, series, cutoff) if len(series) else None
        calibration, end, models = self.calibration, 0, []
        for of_update, _ in windows:
            begin, end = end, end + len(of_update)
            if errors is not None and end > begin:
                calibration = calibration.extended(errors[begin:end])
            models.append(replace(self, calibration=calibration))
        return models

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
        family = self.head.distribution is not None and self.encoder.scaler != "robust_arcsinh"
        exact = self.calibration is None and len(self.members) == 1
        return family and exact and bool((step <= self.spec.horizon).all())

    def read(self, forecast: Forecast, alphas: list[float] | None) -> np.ndarray:
        """Return the scaled point (window, horizon, target) or quantiles (..., alpha)."""
        if alphas is None:
            return self.point(forecast).numpy()
        return self.quantile(forecast, torch.tensor(alphas, dtype=torch.float64)).numpy()
