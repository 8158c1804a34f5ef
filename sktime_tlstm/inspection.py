"""Inspection: what a fitted forecaster's networks read, where they look, what they heed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sktime_tlstm.contract import embedding_of, uncompiled, unwrapped
from sktime_tlstm.data.channels import channels, embedded_channels
from sktime_tlstm.data.rows import spread
from sktime_tlstm.data.sampling import training_cutoffs
from sktime_tlstm.data.windows import Batch, cut_windows
from sktime_tlstm.effects import Columns
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.forecasting import Asked, parts
from sktime_tlstm.model import Model, Windows
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import TransformerLSTM
from sktime_tlstm.simple import SimpleForecast, future_rows

__all__ = [
    "TensorWindows",
    "attention_weights",
    "batch_of",
    "check_within_horizon",
    "grouped_by_variable",
    "on_device",
    "past_windows",
    "simple_effects",
    "tensor_windows",
    "variable_importance",
]

#: Windows in one pass of a network that is looked at.
AT_ONCE = 128


@dataclass(frozen=True)
class TensorWindows:
    """Windows as the networks read them, and what every number stands for.

    Parameters
    ----------
    inputs : dict of Tensor
        Keyword arguments of the network: ``past`` (window, past_time, channel), ``future``
        (window, horizon, channel), and where there are any ``past_lengths`` (window,) and
        ``static`` (window, channel).
    target : Tensor of shape (window, horizon, num_targets)
        What happened, normalised, NaN where unobserved.
    channels : pandas.DataFrame
        A row for every channel of ``past``, ``future`` and ``static``, in their order: its
        ``part``, ``variable``, ``kind`` ("value", "observed" or "code") and ``lag`` (0: none).
    index : pandas.Index
        Of every window: the levels of y's index, the time being that of the last row before the
        forecast (NaT before the first row).
    """

    inputs: dict[str, Tensor]
    target: Tensor
    channels: pd.DataFrame
    index: pd.Index
    _fitted: Fitted
    _batch: Batch
    _series: np.ndarray

    def to_units(self, normalised: Tensor) -> np.ndarray:
        """Return values (window, time, num_targets, ...), normalised as targets, in units of y."""
        shape = (len(self.target), 1, self.target.shape[-1]) + (1,) * (normalised.ndim - 3)
        loc, scale = self._batch.loc.reshape(shape), self._batch.scale.reshape(shape)
        scaled = loc.double() + scale.double() * normalised.double()
        model, history = self._fitted.model, self._fitted.history
        return model.encoder.decode(history, scaled.detach().numpy(), self._series)


def tensor_windows(fitted: Fitted, asked: Asked) -> TensorWindows:
    """Return the windows that forecast the rows asked for."""
    found, series, cutoffs = [], [], []
    for part in parts(fitted.model, asked):
        found.append(batch_of(fitted.model, part.windows))
        series.append(part.series)
        cutoffs.append(part.cutoff)
    of_windows, cutoff = np.concatenate(series), np.concatenate(cutoffs)
    batch = _joined(found, fitted.model.spec.context_length)
    last = fitted.history.first[of_windows] + cutoff - 1
    table = channels(fitted.model.spec, fitted.model.encoder)
    index = fitted.index(of_windows, last)
    return TensorWindows(batch.inputs, batch.target, table, index, fitted, batch, of_windows)


def attention_weights(fitted: Fitted, asked: Asked) -> pd.DataFrame:
    """Do what `SkorchForecaster.attention_weights` says."""
    model, spec = fitted.model, fitted.model.spec
    check_within_horizon(asked, spec.horizon, "attention_weights")
    names = [*fitted.index_names[:-1], "step", "relative_time"]
    frames = []
    for part in parts(model, asked):
        weights, lengths = _attention(model, part.windows)
        # (window, head, step, time) -> (row, time, head)
        rows = weights[part.window, :, part.step].transpose(0, 2, 1)
        for row, length, own in zip(part.rows, lengths[part.window], rows, strict=True):
            # Contexts are left-aligned: padding lies between a short past and the future.
            kept = np.r_[0:length, spec.context_length : len(own)]
            # some networks attend to the past alone
            relative = np.r_[1 - length : 1, 1 : len(own) - spec.context_length + 1]
            key = () if fitted.history.keys is None else fitted.history.keys[asked.series[row]]
            levels = [*(key if isinstance(key, tuple) else (key,)), asked.step[row]]
            index = pd.MultiIndex.from_product([*([level] for level in levels), relative])
            frames.append(pd.DataFrame(own[kept], index))
    table = pd.concat(frames)
    table.index.names = names
    return table.set_axis(_head_names(model, table.shape[1]), axis=1)


def variable_importance(
    fitted: Fitted, method: str, num_windows: int, num_repeats: int
) -> pd.DataFrame:
    """Do what `SkorchForecaster.variable_importance` says."""
    selects = all(
        hasattr(uncompiled(net.module_), "selection_weights") for net in fitted.model.members
    )
    if method == "selection" and not selects:
        raise ValueError(
            "Got method='selection' with a network that has no selection_weights. Pass "
            "method='permutation', or fit a network that selects variables, such as "
            "sktime_tlstm.nn.TemporalFusionTransformer."
        )
    windows = past_windows(fitted, num_windows)
    if method == "selection" or (method == "auto" and selects):
        values, name = _selected(fitted.model, windows), "selection weight"
    else:
        values = _permuted(fitted.model, windows, num_repeats)
        name = "rise of the mean absolute error, as a share of it"
    # (variable, window or repeat): mean and spread
    table = pd.DataFrame({"importance": values.mean(axis=1), "std": values.std(axis=1, ddof=0)})
    table.columns.name = name
    return table.sort_values("importance", ascending=False, kind="stable")


def past_windows(fitted: Fitted, number: int) -> Windows:
    """Return at most ``number`` evenly spaced windows, whose horizons are observed.

    Raises
    ------
    ValueError
        If there are none.
    """
    spec = fitted.model.spec
    low, _, high = training_cutoffs(fitted.seen, spec, 0.0)
    whole = (high - low) * (fitted.seen > spec.horizon)
    if not whole.any():
        raise ValueError(
            f"Got series of at most {int(fitted.seen.max())} rows, expected more than the horizon "
            f"of {spec.horizon}: a window needs a past and what came after. Pass a longer y."
        )
    first = np.concatenate([[0], np.cumsum(whole)])
    place = spread(int(first[-1]), number)
    series = np.searchsorted(first, place, side="right") - 1
    cutoff = low[series] + place - first[series]
    return Windows(fitted.history.store, series, cutoff, spec.horizon, None)


def batch_of(model: Model, windows: Windows) -> Batch:
    """Cut windows, on the CPU."""
    places = torch.from_numpy(windows.series), torch.from_numpy(windows.cutoff)
    return cut_windows(windows.store.to("cpu"), model.spec, *places)


def simple_effects(
    model: Model, windows: Windows, order: Tensor | None = None
) -> dict[Hashable, Tensor]:
    """Return what known covariates add to forecasts by way of the simple ones.

    For every column (window, horizon, num_targets), in units of each series' scale. The covariates
    are those of the windows in an ``order`` (window,), of its own for None.
    """
    calibration, spec = model.calibration, model.spec
    if calibration is None or not isinstance(calibration.simple, SimpleForecast):
        return {}
    effects = calibration.simple.effects
    if effects is None:
        return {}
    store = windows.store.to("cpu")
    places = torch.from_numpy(windows.series), torch.from_numpy(windows.cutoff)
    row = future_rows(store, spec, *places)[0]
    whole, zero = calibration.simple(store, spec, *places)[0], store.traits.zero[places[0], None]
    times, plus = effects(effects.total(store, spec, row), zero)
    above = ((torch.sinh(whole) if spec.arcsinh else whole) - plus) / times - zero
    row = row if order is None else row[order]
    network = calibration.trust * effects.familiarity(effects.total(store, spec, row))
    added = (1 - network)[..., None, :] * effects.added(store, spec, row, above)
    names = [*model.encoder.targets, *model.encoder.numeric, *model.encoder.categories]
    columns = Columns.of(spec)
    chosen = [names[channel] for channel in (*columns.numbers, *columns.codes)]
    return dict(zip(chosen, added.unbind(dim=-2), strict=True))


def check_within_horizon(asked: Asked, horizon: int, method: str) -> None:
    """Raise a ValueError where one pass of the network does not forecast a step."""
    wrong = asked.step[(asked.step < 1) | (asked.step > horizon)]
    if len(wrong):
        raise ValueError(
            f"Got fh with the step {wrong[0]} in {method}, expected steps from 1 to the horizon "
            f"of {horizon} that the network was trained for. Pass these, with y= for another past."
        )


def grouped_by_variable(model: Model) -> tuple[pd.DataFrame, pd.MultiIndex]:
    """Return the channels behind an embedding with the ``group`` of each, and all groups.

    A group is one variable of one input: its value, its flag and its vector are one.
    """
    table = channels(model.spec, model.encoder)
    return _with_groups(embedded_channels(table, embedding_of(model.members[0].module_)))


def _with_groups(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.MultiIndex]:
    keys: list[tuple[str, Hashable]] = [
        (f"lag {lag}" if lag else part, variable)
        for part, variable, lag in zip(table["part"], table["variable"], table["lag"], strict=True)
    ]
    names = list(dict.fromkeys(keys))
    places = {name: place for place, name in enumerate(names)}
    index = pd.MultiIndex.from_tuples(names, names=["input", "variable"])
    return table.assign(group=[places[key] for key in keys]), index


def on_device(net: ForecastNet, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs on a net's device."""
    return {name: value.to(net.device) for name, value in inputs.items()}


def _joined(batches: list[Batch], context: int) -> Batch:
    """Return several batches as one, without the weights of its targets."""
    if len(batches) == 1:
        return batches[0]
    some_short = any("past_lengths" in batch.inputs for batch in batches)
    inputs = []
    for batch in batches:
        full = torch.full((len(batch.target),), context)
        inputs.append({"past_lengths": full, **batch.inputs} if some_short else batch.inputs)
    names = list(inputs[0])
    return Batch(
        {name: torch.cat([own[name] for own in inputs]) for name in names},
        *(torch.cat(part) for part in zip(*(batch[1:5] for batch in batches), strict=True)),
    )


def _attention(model: Model, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (window, head, horizon, time) of all members, and lengths of the past."""
    batch, weights = batch_of(model, windows), []
    for net in model.members:
        module = uncompiled(net.module_)
        if model.spec.simulation and isinstance(unwrapped(module), TransformerLSTM):
            raise ValueError(
                "Got attention_weights of a forecaster with mode='simulation', in which each step "
                f"attends to no more than the {model.spec.context_length} steps before it "
                "(context_length), and the weights are not kept. Call explain or "
                "variable_importance, which show what a simulation reads, or fit with "
                "mode='forecast'."
            )
        if not hasattr(module, "attention_weights"):
            raise ValueError(
                f"Got a network {type(module).__name__} without attention_weights. Fit a "
                "network that attends, such as sktime_tlstm.nn.TransformerLSTM, or give yours that "
                "method: (past, future, past_lengths) -> (batch, head, future_time, time)."
            )
        own = module.attention_weights(**on_device(net, batch.inputs))
        weights.append(own.cpu())
    full = torch.full((len(batch.target),), model.spec.context_length)
    lengths = batch.inputs.get("past_lengths", full)
    return torch.cat(weights, dim=1).numpy(), lengths.numpy()


def _head_names(model: Model, number: int) -> pd.Index:
    if len(model.members) == 1:
        return pd.RangeIndex(number, name="head")
    members = range(len(model.members))
    heads = range(number // len(model.members))
    return pd.MultiIndex.from_product([members, heads], names=["member", "head"])


def _selected(model: Model, windows: Windows) -> pd.DataFrame:
    """Return the mean selection weight of each variable (variable, window)."""
    table, index = grouped_by_variable(model)
    inputs, by_member = batch_of(model, windows).inputs, []
    for net in model.members:
        selected = uncompiled(net.module_).selection_weights(**on_device(net, inputs))
        values = np.zeros((len(index), len(windows.series)))
        for part in ("past", "future", "static"):
            weights = getattr(selected, part)
            if weights is None:
                continue
            weights = weights.cpu().double()
            if part != "static":  # (window, time, channel): the padding is zero
                real = (weights.sum(-1) > 0).sum(1)
                weights = weights.sum(1) / real.clamp(min=1)[:, None]
            np.add.at(values, table.loc[table["part"] == part, "group"], weights.numpy().T)
        by_member.append(values)
    return pd.DataFrame(np.mean(by_member, axis=0), index)


def _permuted(model: Model, windows: Windows, num_repeats: int) -> pd.DataFrame:
    """Return how much the error rises if a variable is taken from other windows.

    Breiman 2001, "Random forests", section 10. (variable, repeat), as a share of the error.
    """
    table, index = _with_groups(channels(model.spec, model.encoder))
    inputs = batch_of(model, windows).inputs
    forecast = model.ahead(windows.store, windows.series, windows.cutoff)
    target = model.targets(windows.store, windows.series, windows.cutoff)

    def error(changed: dict[str, Tensor], moved: Tensor | float = 0.0) -> float:
        outputs = [
            model.outputs({name: value[begin : begin + AT_ONCE] for name, value in changed.items()})
            for begin in range(0, len(target), AT_ONCE)
        ]
        parameters = torch.cat([own.cpu() for own in outputs], dim=1)
        off = model.center(replace(forecast, parameters=parameters)) + moved - target
        return float(off.abs().nanmean())

    usual = error(inputs)
    rng = np.random.default_rng(model.seed)
    orders = [torch.from_numpy(rng.permutation(len(target))) for _ in range(num_repeats)]
    effects = simple_effects(model, windows)
    others = [simple_effects(model, windows, order) for order in orders]
    values = np.zeros((len(index), num_repeats))
    for group in range(len(index)):
        part = table.loc[table["group"] == group, "part"].iloc[0]
        own = table[table["part"] == part]["group"].to_numpy()
        places = torch.from_numpy(np.flatnonzero(own == group))
        for repeat, order in enumerate(orders):
            changed = inputs[part].clone()
            changed[..., places] = inputs[part][order][..., places]
            known = index[group][0] == "future" and index[group][1] in effects
            name = index[group][1]
            moved = others[repeat][name] - effects[name] if known else 0.0
            values[group, repeat] = error({**inputs, part: changed}, moved) - usual
    # where there is no error, a share of it is all or nothing
    return pd.DataFrame(values, index) / max(usual, np.finfo(float).tiny)
