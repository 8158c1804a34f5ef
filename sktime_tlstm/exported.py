"""Exported: a fitted forecaster as one graph, from rows in units of y to forecasts in them."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sktime_tlstm.contract import one_tensor, uncompiled
from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.targets import MAX_ARCSINH
from sktime_tlstm.data.windows import SEASONS_EXPORTED, cut_windows
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.model import Forecast, Model
from sktime_tlstm.nn.exporting import traces_all
from sktime_tlstm.notices import quiet_loggers

__all__ = ["Graph", "checked_levels", "onnx_bytes", "program_bytes"]
#: Name of the description in the files.
DESCRIPTION = "sktime_tlstm"
#: Windows of the example that is traced.
EXAMPLES = 3


class Graph(nn.Module):
    """A fitted forecaster on whole windows.

    Parameters
    ----------
    fitted : Fitted
    levels : list of float
        Quantiles to forecast, ascending.
    """

    loc: Tensor
    scale: Tensor
    level: Tensor

    def __init__(self, fitted: Fitted, levels: list[float]) -> None:
        super().__init__()
        model, history = fitted.model, fitted.history
        self.networks = nn.ModuleList(
            copy.deepcopy(uncompiled(net.module_)).cpu().eval() for net in model.members
        )
        self.model, self.encoder = model, model.encoder
        self.traits = history.store.traits.each(lambda trait: trait.detach().cpu().clone())
        self.floored = bool(self.traits.gap.any())
        self.register_buffer("loc", torch.from_numpy(history.loc), persistent=False)
        self.register_buffer("scale", torch.from_numpy(history.scale), persistent=False)
        level = torch.tensor(levels, dtype=torch.float64)
        self.register_buffer("level", level, persistent=False)
        if model.calibration is not None:
            _ = model.calibration.table  # by numpy, which no graph holds

    def forward(
        self,
        series: Tensor,
        y: Tensor,
        covariates: Tensor | None = None,
        calendar: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Forecast windows, which `description` describes.

        Parameters
        ----------
        series : Tensor of shape (batch,), int64
        y : Tensor of shape (batch, reach, num_targets), float64
        covariates : Tensor of shape (batch, reach + horizon, num_columns), float64
        calendar : Tensor of shape (batch, context + horizon, num_calendar), float32

        Returns
        -------
        Tensor of shape (batch, horizon, num_targets), float64
            The point forecast.
        Tensor of shape (batch, horizon, num_targets, level), float64
        """
        forecast = self._forecast(self._store(series, y, covariates, calendar), series.shape[0])
        point = self.model.point(forecast)
        quantiles = self.model.quantile(forecast, self.level)
        return self._decoded(point, series), self._decoded(quantiles, series)

    def _store(
        self,
        series: Tensor,
        y: Tensor,
        covariates: Tensor | None,
        calendar: Tensor | None,
    ) -> SeriesStore:
        """Return a store with the windows end to end, one series each."""
        spec, batch = self.model.spec, series.shape[0]
        reach, horizon = rows_before(self.model), spec.horizon
        # (batch, reach, target), in the order of channels
        place = [self.encoder.order.index(channel) for channel in range(spec.num_targets)]
        target, seen = self._scaled(y[:, :, place], series)
        later = target.new_zeros(batch, horizon, spec.num_targets)
        parts, observed = [torch.cat([target, later], 1)], [torch.cat([seen, later.bool()], 1)]
        if covariates is not None:
            numeric, known = self._covariates(covariates[..., : spec.num_numeric])
            parts += [numeric, torch.nan_to_num(covariates[..., spec.num_numeric :]).float()]
            observed.append(known)
        values, flags = torch.cat(parts, -1), torch.cat(observed, -1)
        if calendar is None:
            calendar = values.new_zeros(batch, spec.context_length + horizon, 0)
        number = torch.arange(batch)
        return SeriesStore(
            values=values.flatten(0, 1),
            # read as flags in bits are, which a graph has no use for
            observed=flags.flatten(0, 1),  # type: ignore[arg-type]
            calendar=calendar.flatten(0, 1),
            start=number * (reach + horizon),
            length=torch.full_like(number, reach + horizon),
            calendar_start=number * calendar.shape[1] - (reach - spec.context_length),
            traits=self.traits.each(lambda trait: trait[series]),
        )

    def _scaled(self, y: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        """Return targets as a store holds them, and which are observed."""
        scaled = (y - self.loc[series][:, None]) / self.scale[series][:, None]
        scaled = torch.arcsinh(scaled) if self.model.spec.arcsinh else scaled
        seen = ~torch.isnan(y)
        return torch.where(seen, scaled, 0.0).float(), seen

    def _covariates(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return numeric covariates as a store holds them, and which are observed."""
        scaled = []
        for column, scaling in enumerate(self.encoder.scalings):
            values = columns[..., column]
            if scaling.clip:
                values = values.clamp(scaling.low - scaling.room, scaling.high + scaling.room)
            values = (values - scaling.location) / scaling.scale
            values = torch.arcsinh(values) if scaling.arcsinh else values
            scaled.append(_carried_forward(values, scaling.mean))
        if not scaled:
            return columns.float(), columns.bool()
        return torch.stack(scaled, -1).float(), ~torch.isnan(columns)

    def _forecast(self, store: SeriesStore, batch: int) -> Forecast:
        model, spec = self.model, replace(self.model.spec, weighted=False)
        places = torch.arange(batch), torch.full((batch,), rows_before(model))
        windows = cut_windows(store, spec, *places)
        outputs = [one_tensor(network(**windows.inputs)).float() for network in self.networks]
        parameters = torch.stack([model.head.unpack(output) for output in outputs])
        simple = familiar = None
        if model.calibration is not None:
            bands = model.calibration.simple(store, spec, *places)
            simple = (bands - windows.loc[:, None]) / windows.scale[:, None]
            familiar = model.calibration.familiarity(store, spec, *places)
        parts = windows.loc, windows.scale, windows.unit
        return Forecast(parameters, *parts, simple, familiar=familiar)

    def _decoded(self, scaled: Tensor, series: Tensor) -> Tensor:
        """Return scaled forecasts (batch, horizon, target, ...) in units and in the order of y."""
        if self.model.spec.arcsinh:
            scaled = torch.sinh(scaled.clamp(-MAX_ARCSINH, MAX_ARCSINH))
        # (batch, target) -> (batch, 1, target, 1 ...)
        shape = (-1, 1, self.model.spec.num_targets) + (1,) * (scaled.ndim - 3)
        loc, scale = (part[series].reshape(shape) for part in (self.loc, self.scale))
        values = loc + scale * scaled
        if self.model.head.support != "real" and scaled.ndim == 4:
            values = values.clamp(min=0)
        if self.floored:
            gap = self.traits.gap[series].reshape(shape).double()
            least = torch.zeros_like(gap)
            if scaled.ndim == 4:
                least = torch.where(gap.isinf(), least, gap / 2)
            values = torch.where((gap > 0) & (values < least), 0.0, values)
        return values[:, :, self.encoder.order]


def _carried_forward(values: Tensor, first: float) -> Tensor:
    """Return values (batch, time) with each NaN replaced by the last number, or by ``first``."""
    step = 1
    while step < values.shape[1]:  # all numbers within so many rows are carried already
        before = torch.cat([values[:, :step] * torch.nan, values[:, :-step]], dim=1)
        values = torch.where(torch.isnan(values), before, values)
        step *= 2
    return torch.where(torch.isnan(values), first, values)


def rows_before(model: Model) -> int:
    """Return how many rows before a cutoff a graph reads: some seasons more, which fill gaps."""
    return model.spec.reach + SEASONS_EXPORTED * (model.season or 0)


def description(fitted: Fitted, levels: list[float]) -> dict[str, Any]:
    """Return what the inputs and outputs of a graph mean, as JSON holds it."""
    spec, encoder, history = fitted.model.spec, fitted.model.encoder, fitted.history
    keys = [None] if history.keys is None else history.keys.tolist()
    return {
        "context": spec.context_length,
        "reach": rows_before(fitted.model),
        "horizon": spec.horizon,
        "series": [str(key) for key in keys],
        "targets": [str(name) for name in encoder.targets],
        "numeric": [str(name) for name in encoder.numeric],
        "categorical": {str(name): list(kinds) for name, kinds in encoder.categories.items()},
        "known_in_future": [str(name) for name in encoder.known_columns],
        "calendar": list(history.time_features),
        "levels": levels,
    }


def export_graph(fitted: Fitted, levels: list[float]) -> ExportedProgram:
    """Trace a graph with a free batch.

    Raises
    ------
    ValueError
        If the head's quantiles are computed by another library.
    RuntimeError
        If torch is too old.
    """
    if not traces_all():
        raise RuntimeError(
            f"Got torch {torch.__version__}, which cannot trace LSTMs of any batch; expected 2.13 "
            "or later for an export. Upgrade torch."
        )
    model, spec = fitted.model, fitted.model.spec
    if model.head.distribution is not None:
        raise ValueError(
            f"Got a forecaster with loss={model.head.distribution!r}, whose quantiles scipy "
            "computes and no graph can; expected loss='quantile' or a point loss. Fit again."
        )
    reach = rows_before(model)
    rows, columns = reach + spec.horizon, spec.num_numeric + len(spec.cardinalities)
    examples = {
        "series": torch.zeros(EXAMPLES, dtype=torch.int64),
        "y": torch.zeros(EXAMPLES, reach, spec.num_targets, dtype=torch.float64),
        "covariates": torch.zeros(EXAMPLES, rows, columns, dtype=torch.float64),
        "calendar": torch.zeros(EXAMPLES, spec.context_length + spec.horizon, spec.num_calendar),
    }
    given = {name: part for name, part in examples.items() if part.numel()}
    batch = Dim("batch", min=1, max=2**20)
    free = {name: {0: batch} for name in given}
    graph = Graph(fitted, levels).eval()
    with torch.no_grad(), _quiet():
        return torch.export.export(graph, (), given, dynamic_shapes=free, strict=False)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Return what operations become that no runtime of ONNX knows, at least of float64."""
    aten = torch.ops.aten
    own = {
        aten.asinh.default: lambda x: torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1)),
        aten.sinh.default: lambda x: (torch.exp(x) - torch.exp(-x)) / 2,
        aten.searchsorted.Tensor: _searchsorted,
        aten.cummax.default: _cummax,
    }
    table = torch.export.default_decompositions()
    table.update(own)
    table.pop(aten.lstm.input, None)  # one operation of ONNX
    return table


def _searchsorted(ascending: Tensor, values: Tensor, **options: Any) -> Tensor:
    return (ascending < values.unsqueeze(-1)).sum(-1)


def _cummax(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the largest values so far, and no places: nothing here asks for them."""
    parts = list(values.unbind(dim))
    for number in range(1, len(parts)):
        parts[number] = torch.maximum(parts[number - 1], parts[number])
    largest = torch.stack(parts, dim)
    return largest, torch.zeros_like(largest, dtype=torch.int64)


def program_bytes(fitted: Fitted, levels: list[float]) -> tuple[bytes, dict[str, Any]]:
    """Return a graph for `torch.export.load`, which holds its description, and that."""
    words, buffer = description(fitted, levels), io.BytesIO()
    extra = {f"{DESCRIPTION}.json": json.dumps(words)}
    torch.export.save(export_graph(fitted, levels), buffer, extra_files=extra)
    return buffer.getvalue(), words


def onnx_bytes(fitted: Fitted, levels: list[float]) -> tuple[bytes, dict[str, Any]]:
    """Return a graph as ONNX, with its description in the metadata, and that.

    Raises
    ------
    ModuleNotFoundError
        If onnx or onnxscript is not installed.
    """
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(
                f"Got no {name}, which torch writes ONNX with. Install it: pip install "
                "'sktime-tlstm[onnx]'; to_torch_export needs neither."
            )
    words = description(fitted, levels)
    with _quiet():
        program = torch.onnx.export(
            export_graph(fitted, levels).run_decompositions(_decompositions()),
            output_names=["point", "quantiles"],
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # as it is only where torch writes the file itself
    program.model.metadata_props[DESCRIPTION] = json.dumps(words)
    return program.model_proto.SerializeToString(), words


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from telling, by warnings and loggers, what no user can act on."""
    with warnings.catch_warnings(), quiet_loggers("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")
        yield


def checked_levels(levels: Any) -> list[float]:
    """Return quantile levels as ascending numbers.

    Raises
    ------
    ValueError
        If they are none, or not ascending between 0 and 1.
    """
    found = np.atleast_1d(np.asarray(levels, dtype=np.float64))
    if not len(found) or (np.diff(found) <= 0).any() or found[0] <= 0 or found[-1] >= 1:
        raise ValueError(
            f"Got quantiles={levels!r}, expected ascending levels strictly between 0 and 1, such "
            "as (0.05, 0.5, 0.95)."
        )
    return found.tolist()
