"""Relations: what must hold between the forecasters' parameters, each right by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sktime_tlstm.callbacks import is_checkpoint
from sktime_tlstm.contract import takes
from sktime_tlstm.data.augmentation import check_shortest_context
from sktime_tlstm.nn import Head
from sktime_tlstm.nn.attention import check_modes
from sktime_tlstm.nn.blocks import check_causality
from sktime_tlstm.nn.feedforward import check_feedforward

__all__ = ["broken_relations"]


def _heads_divide_the_width(d_model: int, num_heads: int) -> str | None:
    if not d_model % num_heads:
        return None
    return (
        f"Got d_model={d_model} with num_heads={num_heads}, expected a multiple of num_heads. "
        f"Take for instance d_model={d_model // num_heads * num_heads or num_heads}."
    )


def _the_shortest_context_is_one(
    min_context_length: int | None, context_length: int | None
) -> str | None:
    return _fault(check_shortest_context, min_context_length, context_length)


def _simulation_is_local(mode: str, attention: str, encoder_attention: bool) -> str | None:
    if mode == "forecast" or (attention != "frequency" and not encoder_attention):
        return None
    return (
        f"Got mode='simulation' with attention={attention!r} and encoder_attention="
        f"{encoder_attention}, which look at whole sequences; expected neither, for a simulation "
        "goes on. Pass attention='multi_head' or 'interpretable' and encoder_attention=False."
    )


def _simulation_has_no_lags(mode: str, target_lags: str | Sequence[int]) -> str | None:
    if mode == "forecast" or isinstance(target_lags, str) or not len(target_lags):
        return None
    return (
        f"Got mode='simulation' with target_lags={target_lags!r}, expected 'auto' or (): a "
        "simulation reads no outputs after its beginning. Pass lagged inputs as columns of X."
    )


def _simulation_is_absolute(mode: str, window_norm: str | None) -> str | None:
    if mode == "forecast" or window_norm != "mean":
        return None
    return (
        "Got mode='simulation' with window_norm='mean', expected None, or the default, which "
        "stands for None there: the sizes of outputs mean the same everywhere. Leave it out."
    )


def _hidden_columns_are_read_elsewhere(
    hidden_past: Sequence[Hashable] | None, past_covariates: Sequence[Hashable] | None
) -> str | None:
    both = [name for name in hidden_past or () if name in (past_covariates or ())]
    if not both:
        return None
    return (
        f"Got the columns {both} in hidden_past and in past_covariates, expected each in one: "
        "neither their past nor their future would be read. Leave them out of X."
    )


def _validation_is_on_rows_or_on_series(
    validation_fraction: float | None, validation_series: Sequence[Hashable] | None
) -> str | None:
    if validation_fraction is None or validation_series is None:
        return None
    return (
        f"Got validation_fraction={validation_fraction} with validation_series="
        f"{validation_series!r}, expected one of the two: what is validated are the last rows of "
        "each series, or whole series. Pass validation_fraction=None, or validation_series=None."
    )


def _parts_of_a_batch_are_whole(net_params: Mapping[str, Any] | None) -> str | None:
    size = (net_params or {}).get("micro_batch_size")
    if size is None or (isinstance(size, (int, np.integer)) and size is not True and size >= 1):
        return None
    return (
        f"Got net_params with micro_batch_size={size!r}, expected an integer of at least 1: how "
        "many windows of a batch go through the network at once. Leave it out for all."
    )


def _experts_are_enough(num_experts: int, experts_per_token: int) -> str | None:
    if experts_per_token <= num_experts:
        return None
    return (
        f"Got experts_per_token={experts_per_token} with num_experts={num_experts}, expected at "
        f"most as many. Take for instance experts_per_token={num_experts}."
    )


def _the_head_takes_weights(
    loss: str | Head, weight_column: Hashable | None, step_weights: Sequence[float] | None
) -> str | None:
    given = {"weight_column": weight_column, "step_weights": step_weights}
    names = [name for name, value in given.items() if value is not None]
    if not names or isinstance(loss, str) or takes(loss.forward, "weight"):
        return None
    return (
        f"Got {' and '.join(names)} with the head {type(loss).__name__}, whose forward takes no "
        "weight, expected forward(output, target, unit=None, weight=None). Define losses and leave "
        "forward to Head, or leave the weights out."
    )


def _checkpoints_hold_all(
    callbacks: Sequence[Any] | None, checkpoint_dir: str | Path | None, num_members: int
) -> str | None:
    if checkpoint_dir is not None and callbacks:
        return (
            f"Got checkpoint_dir={str(checkpoint_dir)!r} with callbacks={callbacks!r}, expected "
            "none: what they know in the middle of a training is in no checkpoint. Leave one out."
        )
    if num_members > 1 and any(map(is_checkpoint, callbacks or ())):
        return (
            f"Got a skorch Checkpoint or LoadInitState with num_members={num_members}, expected a "
            "single member: all would write one file and begin alike. Pass checkpoint_dir instead."
        )
    return None


def _attention_can_be_causal(attention: str, causal_attention: bool) -> str | None:
    return _fault(check_causality, attention, causal_attention)


def _modes_are_read(attention: str, num_modes: int) -> str | None:
    return _fault(check_modes, attention, num_modes)


def _feedforward_options_are_read(
    feedforward: str | None,
    dim_feedforward: int | None,
    num_experts: int,
    experts_per_token: int,
    capacity_factor: float | None,
    expert: str,
) -> str | None:
    routing = num_experts, experts_per_token, capacity_factor, expert
    return _fault(check_feedforward, feedforward, dim_feedforward, *routing)


def _fault(check: Callable[..., None], *values: Any) -> str | None:
    """Return the message of the ValueError that a network's own check raises, if any."""
    try:
        check(*values)
    except ValueError as error:
        return str(error)
    return None


#: What must hold between parameters: functions of them that return the fault in words, if any.
RELATIONS: tuple[Callable[..., str | None], ...] = (
    _heads_divide_the_width,
    _the_shortest_context_is_one,
    _simulation_is_local,
    _simulation_has_no_lags,
    _simulation_is_absolute,
    _hidden_columns_are_read_elsewhere,
    _validation_is_on_rows_or_on_series,
    _parts_of_a_batch_are_whole,
    _experts_are_enough,
    _the_head_takes_weights,
    _checkpoints_hold_all,
    _attention_can_be_causal,
    _modes_are_read,
    _feedforward_options_are_read,
)


def broken_relations(parameters: Mapping[str, Any]) -> list[str]:
    """Return the faults between parameters, each of which is right by itself, in words."""
    faults = []
    for relation in RELATIONS:
        names = inspect.signature(relation).parameters
        if parameters.keys() >= names.keys():
            faults.append(relation(**{name: parameters[name] for name in names}))
    return [fault for fault in faults if fault is not None]
