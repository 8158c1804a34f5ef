"""Models: trained networks and all that turns their outputs on windows into forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm import families
from sktime_tlstm.calibration import Bands, Calibration, calibration_windows, network_bands
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import History, SeriesStore
from sktime_tlstm.data.rows import blocks, ranges
from sktime_tlstm.data.targets import MAX_ARCSINH
from sktime_tlstm.data.windows import SEASONS_BEFORE, WindowSpec, cut_windows
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import Head
from sktime_tlstm.progress import tracked
from sktime_tlstm.series_sizes import series_sizes

__all__ = ["Forecast", "Model", "Windows"]

#: Windows in one forward pass of a forecast: on a CPU few, whose layers stay in its caches.
WINDOWS_PER_PASS = {"cpu": 128, "else": 1024}
#: Floats that the sample paths of one group of series may take.
SAMPLE_BUDGET = 2**25


@dataclass(frozen=True)
class Windows:
    """Places in a store to forecast from, and how far.

    Parameters
    ----------
    store : SeriesStore
        With rows for all steps that are forecast, if these are more than one.
    series, cutoff : numpy.ndarray of int64, shape (window,)
    num_future : int
        Steps that each window forecasts: one in-sample, else whole horizons.
    first : int or None
        Number of the store's first series among all; None where the windows are in-sample. Others
        are one for each series of the store.
    """

    store: SeriesStore
    series: np.ndarray
    cutoff: np.ndarray
    num_future: int
    first: int | None


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
    simple : Tensor of shape (3, window, horizon, num_targets) or None
        The simple forecast and its 10 % and 90 % quantiles, if the calibration asks for it.
    rows : Tensor of shape (window,), int64, or None
        Number of rows of each series before the forecast; None for a whole context.
    familiar : Tensor of shape (window, horizon, num_targets) or None
        How far the network knows covariates like those ahead; None for wholly.
    """

    parameters: Tensor
    loc: Tensor
    scale: Tensor
    unit: Tensor
    simple: Tensor | None = None
    rows: Tensor | None = None
    familiar: Tensor | None = None

    def of(self, windows: slice) -> Forecast:
        """Return the forecast of some of the windows."""
        loc, scale, unit = (part[windows] for part in (self.loc, self.scale, self.unit))
        simple = None if self.simple is None else self.simple[:, windows]
        rows = None if self.rows is None else self.rows[windows]
        familiar = None if self.familiar is None else self.familiar[windows]
        return Forecast(self.parameters[:, windows], loc, scale, unit, simple, rows, familiar)

    @property
    def familiarity(self) -> Tensor:
        """How far the network knows what is ahead, broadcastable with its points."""
        return torch.ones(()).double() if self.familiar is None else self.familiar

    def undo(self, normalised: Tensor) -> Tensor:
        """Undo the windows' normalisation of values (window, horizon, num_targets, ...)."""
        # (window, num_targets) -> (window, 1, num_targets, 1 ...), to broadcast with the values
        shape = (self.loc.shape[0], 1, self.loc.shape[1]) + (1,) * (normalised.ndim - 3)
        return self.loc.reshape(shape) + self.scale.reshape(shape) * normalised


def _joined(
    familiar: list[Tensor | None], passes: list[list[Tensor]], num_steps: int | None
) -> Tensor | None:
    """Join what is known of the windows of each pass, None for wholly; the first steps of it."""
    if all(part is None for part in familiar):
        return None
    like = next(part for part in familiar if part is not None)
    whole = [
        like.new_ones(len(parts[1]), *like.shape[1:]) if part is None else part
        for part, parts in zip(familiar, passes, strict=True)
    ]
    return torch.cat(whole)[:, :num_steps].cpu()


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
    looks_ahead : bool
        Whether the forecast of a step depends on the covariates of later ones.
    """

    members: list[ForecastNet]
    encoder: FrameEncoder
    spec: WindowSpec
    calibration: Calibration | None
    num_samples: int
    seed: int
    looks_ahead: bool

    @property
    def head(self) -> Head:
        """The head of every member."""
        return self.members[0].criterion_

    @property
    def season(self) -> int | None:
        """After how many rows a season comes round, of which gaps take values; None for none."""
        return None if self.calibration is None else self.calibration.simple.season

    def ahead(
        self,
        store: SeriesStore,
        series: np.ndarray,
        cutoff: np.ndarray,
        num_steps: int | None = None,
    ) -> Forecast:
        """Forecast the horizon behind each cutoff by one forward pass of every member.

        Parameters
        ----------
        store : SeriesStore
        series, cutoff : numpy.ndarray of int64, shape (window,)
        num_steps : int or None, default=None
            Number of steps to keep; None for the whole horizon. Of a simulation also more.
        """
        store = store.to(self.members[0].device)
        passes: list[list[Tensor]] = []
        familiar: list[Tensor | None] = []
        number = WINDOWS_PER_PASS["cpu" if store.values.device.type == "cpu" else "else"]
        spec = self.spec
        if num_steps is not None and num_steps > spec.horizon:  # a simulation
            number = max(1, number * spec.horizon // num_steps)
            spec = replace(spec, horizon=num_steps)
        begins = range(0, len(series), number)
        for begin in tracked(begins, len(begins), "forecast", "batches of windows"):
            chunk = slice(begin, begin + number)
            places = torch.from_numpy(series[chunk]), torch.from_numpy(cutoff[chunk])
            batch = cut_windows(store, spec, *places)
            parts = [self.outputs(batch.inputs, num_steps), batch.loc, batch.scale, batch.unit]
            if self.calibration is not None:
                bands = self.calibration.simple(store, spec, *places)[:, :, :num_steps]
                parts.append((bands - batch.loc[:, None]) / batch.scale[:, None])
                familiar.append(self.calibration.familiarity(store, spec, *places))
            passes.append(parts)
        parameters, loc, scale, unit, *simple = (list(part) for part in zip(*passes, strict=True))
        return Forecast(
            torch.cat(parameters, dim=1).cpu(),
            torch.cat(loc).cpu(),
            torch.cat(scale).cpu(),
            torch.cat(unit).cpu(),
            simple=torch.cat(simple[0], dim=1).cpu() if simple else None,
            rows=torch.from_numpy(cutoff),
            familiar=_joined(familiar, passes, num_steps),
        )

    def rows_read(self, history: History, cutoff: np.ndarray, earliest: np.ndarray) -> np.ndarray:
        """Return how many rows before cutoffs (num_series,) forecasts from earlier ones on read.

        A gap takes seasons of before. ``cutoff`` and ``earliest`` are the last and first cutoffs.
        """
        reach = np.minimum(cutoff, self.spec.reach + cutoff - earliest)
        if self.calibration is None or self.season is None:
            return reach
        rows = ranges(history.store.start.numpy() + cutoff - reach, reach)
        seen = history.store.observed[torch.from_numpy(rows), : self.spec.num_targets].all(dim=1)
        effects = self.calibration.simple.effects
        hides = effects is not None and effects.may_hide
        gaps = np.bincount(np.repeat(np.arange(len(reach)), reach), ~seen, len(reach)) > 0
        more = self.spec.simple_length + SEASONS_BEFORE * self.season
        return np.minimum(cutoff, reach + more * (gaps | hides))

    def outputs(self, inputs: dict[str, Tensor], num_steps: int | None = None) -> Tensor:
        """Return what each member says (member, window, num_steps, num_targets, parameter)."""
        outputs = [
            net.criterion_.unpack(net.outputs(inputs)[:, :num_steps]) for net in self.members
        ]
        return torch.stack(outputs)

    def network_bands(self, forecast: Forecast) -> Bands:
        """Return what the network says, in units of each series' scale."""
        three = network_bands(self.head, forecast.parameters, forecast.unit)
        bands = Bands.between(self._linear(self._undo_each(forecast, three)))
        widest = None if self.calibration is None else self.calibration.widest
        return bands if widest is None else bands.capped(widest)

    def observed_range(self, store: SeriesStore) -> Tensor:
        """Return how far apart a store's targets lie (num_targets,), in units of the scale."""
        targets = self.spec.num_targets
        least = torch.full((targets,), torch.inf, device=store.values.device)
        most = -least
        # in parts, so that temporary tensors stay small beside the store
        for rows in blocks(len(store.values)):
            part, seen = store.values[rows, :targets], store.observed[rows, :targets]
            least = torch.minimum(least, torch.where(seen, part, torch.inf).amin(0))
            most = torch.maximum(most, torch.where(seen, part, -torch.inf).amax(0))
        return (self._linear(most.double()) - self._linear(least.double())).cpu()

    def simple_bands(self, forecast: Forecast) -> Bands:
        """Return what the simple forecast says; its widths never vanish."""
        assert forecast.simple is not None
        return Bands.between(self._linear(self._undo_each(forecast, forecast.simple))).floored()

    def normalised(self, forecast: Forecast, target: Tensor) -> tuple[Bands, Bands, Tensor]:
        """Return network, simple forecast and targets, as windows are normalised."""
        assert forecast.simple is not None
        network = network_bands(self.head, forecast.parameters, forecast.unit)
        loc, scale = (part[:, None].double() for part in (forecast.loc, forecast.scale))
        return (
            Bands.between(network),
            Bands.between(forecast.simple).floored(),
            (self._scaled(target) - loc) / scale,
        )

    def bands(self, forecast: Forecast) -> Bands:
        """Return points and widths as a calibration blends them."""
        assert self.calibration is not None
        trusts = self.calibration.trust, self.calibration.width_trust, forecast.familiarity
        blend = self.network_bands(forecast).blended(self.simple_bands(forecast), *trusts)
        if self.calibration.short is not None and forecast.rows is not None:
            blend = blend.widened(self.calibration.shortness(forecast.rows)[:, None, None])
        factor = self.calibration.widening
        return blend if factor is None else blend.widened(factor)

    @staticmethod
    def _undo_each(forecast: Forecast, normalised: Tensor) -> Tensor:
        return torch.stack([forecast.undo(part) for part in normalised])

    def _linear(self, scaled: Tensor) -> Tensor:
        """Undo the arcsinh of scaled values, if they have one."""
        if not self.spec.arcsinh:
            return scaled
        return torch.sinh(scaled.clamp(-MAX_ARCSINH, MAX_ARCSINH))

    def _scaled(self, linear: Tensor) -> Tensor:
        """Undo `_linear`."""
        return torch.arcsinh(linear) if self.spec.arcsinh else linear

    def center(self, forecast: Forecast) -> Tensor:
        """Return the point (window, horizon, num_targets) in units of each series' scale."""
        network = self._linear(self._network_point(forecast))
        if self.calibration is None:
            return network
        assert forecast.simple is not None
        simple = self._linear(forecast.undo(forecast.simple[0]))
        trust = self.calibration.trust * forecast.familiarity
        return trust * network + (1 - trust) * simple

    def simple_share(self, forecast: Forecast) -> Tensor:
        """Return by how much the simple forecast moves the point away from each window's level."""
        assert self.calibration is not None and forecast.simple is not None
        simple, level = (
            self._linear(forecast.undo(part))
            for part in (forecast.simple[0], torch.zeros_like(forecast.simple[0]))
        )
        return (1 - self.calibration.trust * forecast.familiarity) * (simple - level)

    def point(self, forecast: Forecast) -> Tensor:
        """Return the scaled point forecast (window, horizon, num_targets)."""
        if self.calibration is None:
            return self._network_point(forecast)
        return self._scaled(self.center(forecast))

    def _network_point(self, forecast: Forecast) -> Tensor:
        return forecast.undo(self.head.point(forecast.parameters.double()).mean(0))

    def quantile(self, forecast: Forecast, level: Tensor) -> Tensor:
        """Return scaled quantiles (window, horizon, num_targets, alpha), never crossing.

        Parameters
        ----------
        forecast : Forecast
        level : Tensor of shape (alpha,), (window, alpha) or (window, horizon, num_targets, alpha)
            Levels, the same for all windows or each window's own.
        """
        level = level.double()
        if level.ndim < 4:  # -> (window, 1, 1, alpha): the same for all steps and targets
            level = level.expand(forecast.loc.shape[0], -1)[:, None, None]
        if self.calibration is None:
            parameters, unit = forecast.parameters, forecast.unit
            values = families.quantiles(self.head, parameters, level, unit).mean(0)
            values = forecast.undo(values)
        else:
            values = self._scaled(self.calibration.quantiles(self.bands(forecast), level))
        # Rounding could still swap quantiles at neighbouring levels by a last digit.
        order = level.argsort(dim=-1).expand_as(values)
        ascending = values.gather(-1, order).cummax(dim=-1).values
        return ascending.gather(-1, order.argsort(dim=-1))

    def targets(self, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray) -> Tensor:
        """Return the targets (window, horizon, num_targets) as `Bands` are, NaN if unobserved."""
        places = torch.from_numpy(series), torch.from_numpy(cutoff)
        batch = cut_windows(store, self.spec, *places)
        scaled = batch.loc[:, None].double() + batch.scale[:, None].double() * batch.target
        return self._linear(scaled.cpu())

    def scores(self, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
        """Return by how many widths targets are off (window, horizon, num_targets), float32."""
        bands = self.bands(self.ahead(store, series, cutoff))
        return self.told(bands.scores(self.targets(store, series, cutoff)), store, series, cutoff)

    def told(
        self, scores: Tensor, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray
    ) -> np.ndarray:
        """Return scores (window, horizon, num_targets), float32, NaN where series stand still."""
        own = None if self.calibration is None else self.calibration.simple.own
        if own is not None:
            places = torch.from_numpy(series), torch.from_numpy(cutoff)
            size = series_sizes(own.cpu(), store.to("cpu"), *places)
            scores = torch.where(size[:, None] > 0, scores, torch.nan)
        return scores.float().numpy()

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
        limits = self.spec.horizon, int(self.calibration.capacity)
        windows = [
            calibration_windows(length, number, *limits)
            for length, number in zip(lengths, new_rows, strict=True)
        ]
        series, cutoff, shares = (np.concatenate(part) for part in zip(*windows, strict=True))
        scores = self.scores(store, series, cutoff) if len(series) else None
        calibration, end, models = self.calibration, 0, []
        for of_update, *_ in windows:
            begin, end = end, end + len(of_update)
            if scores is not None and end > begin:
                calibration = calibration.extended(scores[begin:end], shares[begin:end])
            models.append(replace(self, calibration=calibration))
        return models

    def decoded(
        self, history: History, scaled: np.ndarray, series: np.ndarray, quantiles: bool
    ) -> np.ndarray:
        """Return scaled forecasts (window, step, target, ...) in the units of y."""
        values = self.encoder.decode(history, scaled, series)
        values = self.encoder.floored(history, values, series, quantiles)
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
        family = self.head.distribution is not None and not self.spec.arcsinh
        exact = self.calibration is None and len(self.members) == 1
        return family and exact and bool((step <= self.spec.horizon).all())

    def read(self, forecast: Forecast, alphas: list[float] | None) -> np.ndarray:
        """Return the scaled point (window, horizon, target) or quantiles (..., alpha)."""
        if alphas is None:
            return self.point(forecast).numpy()
        return self.quantile(forecast, torch.tensor(alphas, dtype=torch.float64)).numpy()

    # Any number of steps, scaled.

    def points(self, windows: Windows) -> np.ndarray:
        """Return the points (window, num_future, target), beyond the horizon by recursion."""
        if self._is_direct(windows):
            return self.read(self.first_horizon(windows), None)
        return self._roll(windows.store, windows.cutoff, windows.num_future, None)

    def quantiles(self, windows: Windows, alphas: list[float]) -> np.ndarray:
        """Return quantiles (window, num_future, target, alpha), beyond the horizon of paths."""
        direct, horizon = self.read(self.first_horizon(windows), alphas), self.spec.horizon
        if self._is_direct(windows):
            return direct
        groups = self._path_groups(windows, self.num_samples)
        beyond = [np.quantile(paths[:, :, horizon:], alphas, axis=0) for paths in groups]
        # of all groups (alpha, series, step, target) -> (series, step, target, alpha)
        return np.concatenate([direct, np.moveaxis(np.concatenate(beyond, axis=1), 0, -1)], axis=1)

    def paths(self, windows: Windows, num_samples: int) -> np.ndarray:
        """Draw paths (sample, window, num_future, target).

        In-sample windows are independent of each other, and drawn alike whichever are asked for.
        """
        if windows.first is not None:
            return np.concatenate(list(self._path_groups(windows, num_samples)), axis=1)
        places = zip(windows.series.tolist(), windows.cutoff.tolist(), strict=True)
        draws = [np.random.default_rng([self.seed, *place]) for place in places]
        level = torch.from_numpy(
            np.stack([_stratified(rng, num_samples, 1)[:, 0] for rng in draws])
        )  # (window, sample)
        # (window, 1, target, sample) -> (sample, window, 1, target)
        return np.moveaxis(self.quantile(self.first_horizon(windows), level).numpy(), -1, 0)

    def first_horizon(self, windows: Windows) -> Forecast:
        """Forecast the steps of windows that lie within the horizon."""
        num_steps = windows.num_future
        if not self._is_direct(windows):
            num_steps = self.spec.horizon
        return self.ahead(windows.store, windows.series, windows.cutoff, num_steps)

    def _is_direct(self, windows: Windows) -> bool:
        """Whether one pass says all: within the horizon, or by a state that is carried on."""
        return self.spec.simulation or windows.num_future <= self.spec.horizon

    def _path_groups(self, windows: Windows, num_samples: int) -> Iterator[np.ndarray]:
        """Yield paths (sample, series, num_future, target), those of a few series at a time.

        The quantile levels of a path's steps hang together as errors did; without a calibration
        they are the same for each horizon. Every later horizon sees the path so far. Series are
        independent. The levels are stratified over paths.
        """
        store, first = windows.store, windows.first or 0
        blocks = -(-windows.num_future // self.spec.horizon)
        floats = num_samples * int(store.length.max()) * store.values.shape[1]
        at_once = max(1, SAMPLE_BUDGET // floats)
        begins = range(0, len(store), at_once)
        for begin in tracked(begins, len(begins), "sample paths", "groups of series"):
            series = np.arange(begin, min(begin + at_once, len(store)))
            seeds = [np.random.default_rng([self.seed, first + one]) for one in series.tolist()]
            drawn = np.stack([self._levels(rng, num_samples, blocks) for rng in seeds], axis=1)
            if self.spec.simulation:
                yield self._simulated(replace(windows, series=series), drawn)
                continue
            # (sample, series, block, ...) -> (sample * series, ...), beside copies of the series
            levels = torch.from_numpy(drawn).flatten(0, 1)
            cutoff = np.tile(windows.cutoff[series], num_samples)
            copies = store.copies(series, num_samples)
            paths = self._roll(copies, cutoff, windows.num_future, levels)
            yield paths.reshape(num_samples, len(series), windows.num_future, -1)

    def _simulated(self, windows: Windows, levels: np.ndarray) -> np.ndarray:
        """Return paths (sample, series, num_future, target) at ``levels``, as `_roll` takes them.

        A simulation does not read its own outputs: all steps of a path are known at once.
        """
        forecast = self.first_horizon(replace(windows, cutoff=windows.cutoff[windows.series]))
        shape = *levels.shape[:3], self.spec.horizon, self.spec.num_targets
        # (sample, series, block, horizon, target) -> (series, step, target, sample)
        level = np.broadcast_to(levels, shape).copy().reshape(*shape[:2], -1, shape[-1])
        level = np.moveaxis(level, 0, -1)[:, : windows.num_future]
        return np.moveaxis(self.quantile(forecast, torch.from_numpy(level)).numpy(), -1, 0)

    def _levels(self, rng: np.random.Generator, number: int, blocks: int) -> np.ndarray:
        """Draw the levels (path, block, horizon or 1, num_targets or 1) of a series' paths.

        A simulation is one path from block to block: the highest at the end of one go on as the
        highest of the next. A forecast reads where its path has come.
        """
        levels: list[np.ndarray] = []
        for _ in range(blocks):  # one after the other: the first are the same for any number
            level = _stratified(rng, number, 1)[:, 0]
            if self.calibration is None:
                levels.append(level[:, None, None])
            else:
                drawn = self.calibration.drawn(rng, level)
                if self.spec.simulation and levels:
                    last, first = levels[-1][:, -1].mean(axis=-1), drawn[:, 0].mean(axis=-1)
                    rank = last.argsort(kind="stable").argsort(kind="stable")
                    drawn = drawn[first.argsort(kind="stable")[rank]]
                levels.append(drawn)
        return np.stack(levels, axis=1)

    def _roll(
        self, store: SeriesStore, cutoff: np.ndarray, num_future: int, levels: Tensor | None
    ) -> np.ndarray:
        """Forecast horizon after horizon of all series, each as if the ones before were observed.

        ``levels`` (series, block, horizon or 1, target or 1) are the quantile levels to follow;
        None for the point forecast.
        Returns an array (series, num_future, target).
        """
        targets = self.spec.num_targets
        values, observed = store.values.clone(), store.observed.clone()
        rolled = replace(store, values=values, observed=observed)
        series, blocks = np.arange(len(cutoff)), []
        begins = range(0, num_future, self.spec.horizon)
        for number, begin in enumerate(tracked(begins, len(begins), "forecast", "horizons")):
            forecast = self.ahead(rolled, series, cutoff + begin)
            if levels is None:
                block = self.point(forecast)
            else:
                # one level a step, (series, horizon, target, 1), so one quantile
                block = self.quantile(forecast, levels[:, number, ..., None])[..., 0]
            row = store.start + torch.from_numpy(cutoff + begin)
            row = row[:, None] + torch.arange(block.shape[1])  # (series, horizon), of the store
            values[row, :targets] = block.float()
            for target in range(targets):
                observed.mark(row, target)
            blocks.append(block)
        return torch.cat(blocks, dim=1).numpy()


def _stratified(rng: np.random.Generator, number: int, columns: int) -> np.ndarray:
    """Return uniform numbers (number, columns), one from every stratum in each column."""
    draws = [(rng.permutation(number) + rng.random(number)) / number for _ in range(columns)]
    return np.stack(draws, axis=1)
