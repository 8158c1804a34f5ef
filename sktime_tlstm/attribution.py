"""Attribution: how much each variable contributes to one forecast."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sktime_tlstm.contract import embedding_of, one_tensor, unwrapped
from sktime_tlstm.data.rows import ranges, spread
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.forecasting import Asked, Part, parts
from sktime_tlstm.inspection import (
    batch_of,
    check_within_horizon,
    grouped_by_variable,
    on_device,
    past_windows,
    simple_effects,
)
from sktime_tlstm.model import Forecast, Model, Windows
from sktime_tlstm.net import ForecastNet

__all__ = ["by_target", "explain"]

#: Points of the quadrature along the path from the baseline to the window.
NUM_NODES = 64
#: Windows of the past whose mean is the baseline.
NUM_REFERENCES = 256

Inputs = dict[str, Tensor]


def explain(fitted: Fitted, asked: Asked) -> tuple[np.ndarray, pd.MultiIndex]:
    """Return what variables contribute to rows, in units of y, and the names of these.

    Integrated gradients (Sundararajan, Taly, Yan 2017, "Axiomatic attribution for deep networks",
    equation 1), by Gauss-Legendre quadrature, from the mean of windows of the past. What the
    quadrature misses is spread over the contributions in proportion to their size.

    Where no past is longer than the horizon, the windows of the mean reach into the future, of
    which they read what the forecasts do.

    Returns
    -------
    contributions : numpy.ndarray of shape (row, num_targets, contribution)
        The first is the baseline; the sum over all is the forecast.
    names : pandas.MultiIndex

    Raises
    ------
    ValueError
        If a step is not within the horizon.
    """
    model, history = fitted.model, fitted.history
    check_within_horizon(asked, model.spec.horizon, "explain")
    table, names = grouped_by_variable(model)
    simply = "linear simulation of inputs" if model.spec.simulation else "past values"
    own = [("baseline", "mean of the past"), ("simple forecasts", simply)]
    own = own if model.calibration is not None else own[:1]
    groups = {str(part): rows["group"].to_numpy() for part, rows in table.groupby("part")}
    own_parts = list(parts(model, asked))
    if (fitted.seen > model.spec.horizon).any():
        references = past_windows(fitted, NUM_REFERENCES)
    else:
        references = _earlier_windows(own_parts[0])
    inputs = batch_of(model, references).inputs
    baseline = [_mean(_embedded(net, inputs)) for net in model.members]
    usual = {name: added.mean(0) for name, added in simple_effects(model, references).items()}
    values = np.zeros((len(asked.step), model.spec.num_targets, len(own) + len(names)))
    for part in own_parts:
        for window in np.unique(part.window):
            rows = np.flatnonzero(part.window == window)
            chosen = values[part.rows[rows]]
            _explain(model, part, int(window), part.step[rows], baseline, groups, chosen)
            values[part.rows[rows]] = chosen
        for name, added in simple_effects(model, part.windows).items():
            moved = (added - usual[name])[part.window, part.step].numpy()  # (row, target)
            values[part.rows, :, len(own) - 1] -= moved
            values[part.rows, :, len(own) + list(names).index(("future", name))] += moved
    loc, scale = history.loc[asked.series], history.scale[asked.series]  # (row, target)
    values = values * scale[..., None]
    values[..., 0] += loc
    order = model.encoder.order  # (row, num_targets, contribution)
    values, whole = values[:, order], values[:, order].sum(axis=-1)
    kept = model.encoder.floored(history, whole[:, None], asked.series)[:, 0]
    values[..., 0] += kept - whole
    named = pd.MultiIndex.from_tuples([*own, *names], names=["input", "variable"])
    return values, named


def by_target(targets: list[Hashable], names: pd.MultiIndex) -> pd.MultiIndex:
    """Return the columns of contributions, the target in front where there are several."""
    if len(targets) == 1:
        return names
    front = pd.Index(targets)  # of tuples, which are names of several levels, a MultiIndex
    titles = [f"target {level}" for level in range(1, front.nlevels + 1)]
    front = front.set_names(["target"] if front.nlevels == 1 else titles)
    place = np.repeat(np.arange(len(targets)), len(names))
    behind = names.take(np.tile(np.arange(len(names)), len(targets)))
    indexes = (front.take(place), behind)
    levels = [one.get_level_values(level) for one in indexes for level in range(one.nlevels)]
    return pd.MultiIndex.from_arrays(levels)


def _earlier_windows(part: Part) -> Windows:
    """Return windows that forecast from each row of a part's pasts, evenly spaced."""
    windows = part.windows
    place = spread(int(windows.cutoff.sum()), NUM_REFERENCES)
    series = np.repeat(windows.series, windows.cutoff)[place]
    cutoff = 1 + ranges(np.zeros_like(windows.cutoff), windows.cutoff)[place]
    return replace(windows, series=series, cutoff=cutoff)


def _explain(
    model: Model,
    part: Part,
    window: int,
    steps: np.ndarray,
    baseline: list[Inputs],
    groups: dict[str, np.ndarray],
    values: np.ndarray,
) -> None:
    """Write contributions (step, target, contribution) in units of the series' scale."""
    chosen = slice(window, window + 1)
    windows = replace(
        part.windows,
        series=part.windows.series[chosen],
        cutoff=part.windows.cutoff[chosen],
        num_future=model.spec.horizon,
    )
    forecast = model.ahead(windows.store, windows.series, windows.cutoff)
    nodes, weights = np.polynomial.legendre.leggauss(NUM_NODES)
    # on [0, 1]; the ends of the path come first and last, without weight
    along = torch.tensor(np.r_[0.0, (nodes + 1) / 2, 1.0], dtype=torch.float32)
    weight = torch.tensor(np.r_[0.0, weights / 2, 0.0])
    center, leaves = _along(model, windows, forecast, baseline, along)
    extra = 1 if model.calibration is None else 2  # contributions that are no variables
    for row, step in enumerate(steps):
        for target in range(model.spec.num_targets):
            total = (weight * center[:, step, target]).sum()
            grads = torch.autograd.grad(
                total, [leaf for leaf, _ in leaves.values()], retain_graph=True, allow_unused=True
            )
            own = values[row, target]
            for (_, name), (_, way), grad in zip(leaves, leaves.values(), grads, strict=True):
                if grad is not None:  # (node, [time,] channel), summed over nodes and time
                    moved = (grad.double().sum(0) * way.double()).reshape(-1, way.shape[-1]).sum(0)
                    np.add.at(own, extra + groups[name], moved.cpu().numpy())
            own[0] = center[0, step, target].item()
            # what the quadrature misses is spread over the contributions by their size
            missed = center[-1, step, target].item() - own.sum()
            size = np.abs(own[extra:])
            own[extra:] += missed * size / max(size.sum(), np.finfo(float).tiny)
    if model.calibration is not None:
        simply = model.simple_share(forecast)[0].numpy()[steps]
        values[..., 1] = simply
        values[..., 0] -= simply


def _along(
    model: Model, windows: Windows, forecast: Forecast, baseline: list[Inputs], along: Tensor
) -> tuple[Tensor, dict[tuple[int, str], tuple[Tensor, Tensor]]]:
    """Return the points along the path, and for every input its nodes and its way.

    Returns
    -------
    center : Tensor of shape (node, horizon, num_targets)
    leaves : dict of (member, name of the input) to (Tensor (node, ...), Tensor (...))
    """
    inputs = batch_of(model, windows).inputs
    leaves: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
    outputs = []
    for number, (net, start) in enumerate(zip(model.members, baseline, strict=True)):
        embedded, given = _embedded(net, inputs), {}
        for name, value in embedded.items():
            if name == "past_lengths":
                given[name] = value.expand(len(along))
                continue
            way = value[0] - start[name]
            share = along.to(way.device).reshape(-1, *(1,) * way.ndim)
            nodes = (start[name] + share * way).detach().requires_grad_()
            leaves[number, name], given[name] = (nodes, way.detach()), nodes
        net._set_training(False)
        # cuDNN's recurrent layers have no backward pass in evaluation
        with torch.backends.cudnn.flags(enabled=False):
            output = one_tensor(unwrapped(net.module_)(**given))
        outputs.append(net.criterion_.unpack(output).cpu())
    number = len(along)
    loc, scale, unit = (
        part.expand(number, -1) for part in (forecast.loc, forecast.scale, forecast.unit)
    )
    simple = None if forecast.simple is None else forecast.simple.expand(-1, number, -1, -1)
    parts = torch.stack(outputs), loc, scale, unit, simple
    return model.center(Forecast(*parts, familiar=forecast.familiar)), leaves


def _embedded(net: ForecastNet, inputs: Inputs) -> Inputs:
    """Return the inputs behind the embedding of categories, on the net's device."""
    embedding, inputs = embedding_of(net.module_), on_device(net, inputs)
    if embedding is None:
        return inputs
    with torch.no_grad():
        inputs["past"], inputs["future"] = embedding(inputs["past"], inputs["future"])
        if "static" in inputs:
            inputs["static"] = embedding.embed_static(inputs["static"])
    return inputs


def _mean(inputs: Inputs) -> Inputs:
    """Return the mean over windows of every input that a network reads numbers of."""
    return {name: value.mean(0) for name, value in inputs.items() if name != "past_lengths"}
