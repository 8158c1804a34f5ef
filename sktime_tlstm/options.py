"""The forecasters' options: their types, their constraints, and the words of their errors."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sktime_tlstm.callbacks import (
    LR_SCHEDULES,
    OWN_CALLBACKS,
    is_callback,
    is_ours,
)
from sktime_tlstm.contract import WIDTHS
from sktime_tlstm.data.scaling import SCALERS
from sktime_tlstm.data.timeline import TIME_FEATURES
from sktime_tlstm.net import OPTIMIZERS, OWN_ARGUMENTS, PRECISIONS
from sktime_tlstm.nn import Head
from sktime_tlstm.nn.attention import ATTENTIONS, KERNELS
from sktime_tlstm.nn.feedforward import EXPERTS, FEEDFORWARDS
from sktime_tlstm.nn.heads import LOSSES
from sktime_tlstm.nn.normalization import NORMS
from sktime_tlstm.relations import broken_relations

__all__ = [
    "Options",
    "check_parameters",
    "check_pretrained",
    "plain",
    "remembered",
    "resolve_device",
]


@dataclass(frozen=True)
class Options:
    """What a forecaster is asked to do, checked, in Python's own numbers.

    One field for each parameter that both forecasters share, but for the network and its
    parameters, which travel beside (they are the network's own business), and ``random_state``,
    which is drawn from once a fit. There are no defaults: those stand in the forecasters'
    signatures. Built by `Options.checked`.
    """

    mode: str
    context_length: int | None
    prediction_length: int | None
    window_sampling: str
    max_windows_per_epoch: int | None
    past_covariates: Sequence[Hashable] | None
    hidden_past: Sequence[Hashable] | None
    static_covariates: Sequence[Hashable] | None
    series_embedding: bool
    time_features: str | Sequence[str]
    target_lags: str | Sequence[int]
    scaler: str | None
    window_norm: str | None
    loss: str | Head
    quantiles: Sequence[float] | None
    weight_column: Hashable | None
    step_weights: Sequence[float] | None
    calibration: str
    num_samples: int
    input_noise: float
    min_context_length: int | None
    max_epochs: int
    batch_size: int
    lr: float
    optimizer: str
    weight_decay: float | None
    gradient_clip: float | None
    lr_schedule: str | None
    validation_fraction: float | None
    validation_series: Sequence[Hashable] | None
    patience: int | None
    finetune_epochs: int
    update_epochs: int
    num_members: int
    callbacks: Sequence[Any] | None
    net_params: Mapping[str, Any] | None
    device: str
    precision: str
    compile: bool
    checkpoint_dir: str | Path | None
    verbose: int

    @classmethod
    def checked(cls, parameters: Mapping[str, Any]) -> Options:
        """Check all parameters of a forecaster, and return those that are options.

        Parameters
        ----------
        parameters : mapping of str to object
            Every parameter of the forecaster, the network's included.

        Raises
        ------
        TypeError, ValueError
            As `check_parameters`.
        """
        check_parameters(parameters)
        return cls(**{field.name: plain(parameters[field.name]) for field in fields(cls)})


def plain(value: Any) -> Any:
    """Return a value with Python's numbers in the place of numpy's, also within containers.

    A grid search over ``np.array([4, 8])`` hands out numpy's numbers, which torch and skorch
    refuse in many places.
    """
    if isinstance(value, (np.number, np.bool_, np.str_)):
        return value.item()
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


#: The largest context, horizon and lag: a batch of windows holds as many rows of every series.
MAX_ROWS = 100_000


@dataclass(frozen=True)
class Constraint:
    """What a parameter may be: its type, its range, and both in words."""

    words: str
    has_type: Callable[[Any], bool]
    in_range: Callable[[Any], bool] = lambda value: True


def _is_integer(value: Any) -> bool:
    # numpy counts its durations among the integers
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def _is_real(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, (float, np.floating))


def _integer(low: int) -> Constraint:
    return Constraint(f"an integer of at least {low}", _is_integer, lambda value: value >= low)


def _rows() -> Constraint:
    """Return the constraint of a number of rows that a window holds."""
    return Constraint(
        f"an integer from 1 to {MAX_ROWS}", _is_integer, lambda value: 1 <= value <= MAX_ROWS
    )


def _once(value: Any) -> bool:
    """Whether every item is there once; what cannot be hashed is no name of a column either."""
    try:
        return len(set(value)) == len(value)
    except TypeError:
        return False


def _positive() -> Constraint:
    return Constraint("a positive finite number", _is_real, lambda v: 0 < v < float("inf"))


def _not_negative() -> Constraint:
    return Constraint("a finite number of at least 0", _is_real, lambda v: 0 <= v < float("inf"))


def _fraction(words: str, high: float) -> Constraint:
    return Constraint(f"a number of at least 0 and {words}", _is_real, lambda v: 0 <= v < high)


def _one_of(options: Any) -> Constraint:
    names = [name for name in options if name is not None]
    return Constraint(
        f"one of {names}", lambda value: isinstance(value, str), lambda value: value in names
    )


def _boolean() -> Constraint:
    return Constraint("True or False", lambda value: isinstance(value, (bool, np.bool_)))


def _column_names() -> Constraint:
    return _optional(
        Constraint(
            "a list or tuple of column names, each once",
            lambda value: isinstance(value, (list, tuple)),
            _once,
        )
    )


def _optional(constraint: Constraint) -> Constraint:
    return Constraint(
        constraint.words + ", or None",
        lambda value: value is None or constraint.has_type(value),
        lambda value: value is None or constraint.in_range(value),
    )


def _sequence_or_auto(words: str, item: Constraint) -> Constraint:
    """Return the constraint of a list or tuple of items, or "auto"."""
    return Constraint(
        f"a list or tuple of {words}, each once, or 'auto'",
        lambda value: (
            isinstance(value, str)
            or (isinstance(value, (list, tuple)) and all(map(item.has_type, value)))
        ),
        lambda value: (
            value == "auto"
            if isinstance(value, str)
            else all(map(item.in_range, value)) and _once(value)
        ),
    )


def _levels(value: Any) -> bool:
    ascending = all(low < high for low, high in itertools.pairwise(value))
    return len(value) > 1 and ascending and value[0] > 0 and value[-1] < 1


#: The constraints of every parameter of the forecasters.
CONSTRAINTS: Mapping[str, Constraint] = {
    "mode": _one_of(["forecast", "simulation"]),
    "context_length": _optional(_rows()),
    "prediction_length": _optional(_rows()),
    "window_sampling": _one_of(["by_series", "uniform"]),
    "max_windows_per_epoch": _optional(_integer(1)),
    "past_covariates": _column_names(),
    "hidden_past": _column_names(),
    "static_covariates": _column_names(),
    "series_embedding": _boolean(),
    "time_features": _sequence_or_auto(
        f"names out of {list(TIME_FEATURES)}", _one_of(TIME_FEATURES)
    ),
    "target_lags": _sequence_or_auto(f"integers from 1 to {MAX_ROWS}", _rows()),
    "scaler": _optional(_one_of(["auto", *(name for name in SCALERS if name)])),
    "window_norm": _optional(_one_of(["meanstd", "mean"])),
    "loss": Constraint(
        f"one of {list(LOSSES)}, or a Head object",
        lambda value: isinstance(value, (str, Head)),
        lambda value: isinstance(value, Head) or value in LOSSES,
    ),
    "quantiles": _optional(
        Constraint(
            "two or more ascending levels strictly between 0 and 1",
            lambda value: isinstance(value, (list, tuple)) and all(map(_is_real, value)),
            _levels,
        )
    ),
    "weight_column": _optional(
        Constraint(
            "the name of a column of X",
            lambda value: isinstance(value, Hashable) and not isinstance(value, (bool, float)),
        )
    ),
    "step_weights": _optional(
        Constraint(
            "a list or tuple of finite numbers of at least 0, not all 0",
            lambda value: isinstance(value, (list, tuple)) and all(map(_is_real, value)),
            lambda value: any(value) and all(0 <= weight < float("inf") for weight in value),
        )
    ),
    "calibration": _one_of(["none", "conformal", "adaptive"]),
    "num_samples": _integer(2),
    "input_noise": _not_negative(),
    "min_context_length": _optional(_rows()),
    "max_epochs": _integer(0),
    "batch_size": _integer(1),
    "lr": _positive(),
    "optimizer": _one_of(OPTIMIZERS),
    "weight_decay": _optional(_not_negative()),
    "gradient_clip": _optional(_positive()),
    "lr_schedule": _optional(_one_of(LR_SCHEDULES)),
    "validation_fraction": _optional(_fraction("below 1", 1.0)),
    "validation_series": _optional(
        Constraint(
            "a list or tuple of keys of series, at least one, each once",
            lambda value: isinstance(value, (list, tuple)),
            lambda value: len(value) > 0 and _once(value),
        )
    ),
    "patience": _optional(_integer(1)),
    "finetune_epochs": _integer(0),
    "update_epochs": _integer(0),
    "num_members": _integer(1),
    "update_every": _optional(_integer(1)),
    "num_windows": _integer(2),
    "num_repeats": _integer(1),
    "callbacks": _optional(
        Constraint(
            "a list of skorch callbacks, or of pairs (name, callback) with other names than "
            f"{list(OWN_CALLBACKS)}; no InputShapeSetter, for networks are told their widths",
            lambda value: isinstance(value, (list, tuple)) and all(map(is_callback, value)),
            lambda value: not any(map(is_ours, value)),
        )
    ),
    "net_params": _optional(
        Constraint(
            f"a dict of skorch arguments, none of {list(OWN_ARGUMENTS)}, which have parameters",
            lambda value: isinstance(value, dict) and all(isinstance(name, str) for name in value),
            lambda value: not set(OWN_ARGUMENTS).intersection(value),
        )
    ),
    "device": Constraint(
        "'auto' or a torch device such as 'cpu' or 'cuda'", lambda value: isinstance(value, str)
    ),
    "precision": _one_of(PRECISIONS),
    "compile": _boolean(),
    "random_state": _optional(
        Constraint(
            "an integer of at least 0, or a numpy RandomState",
            lambda value: _is_integer(value) or isinstance(value, np.random.RandomState),
            lambda value: not _is_integer(value) or 0 <= value < 2**32,
        )
    ),
    "checkpoint_dir": _optional(
        Constraint(
            "the path of a folder as str or Path, no file",
            lambda value: isinstance(value, (str, Path)),
            lambda value: bool(str(value)) and not Path(value).is_file(),
        )
    ),
    "verbose": Constraint(
        "0, 1 or 2", lambda v: _is_integer(v) or isinstance(v, bool), lambda v: v in (0, 1, 2)
    ),
    "module": Constraint(
        "a torch.nn.Module class (no instance), or a function that returns a module",
        lambda value: callable(value) and not isinstance(value, torch.nn.Module),
    ),
    "module_params": _optional(
        Constraint(
            f"a dict of the module's keyword arguments, none of {list(WIDTHS)}",
            lambda value: isinstance(value, dict) and all(isinstance(name, str) for name in value),
            lambda value: not set(WIDTHS).intersection(value),
        )
    ),
    "d_model": _integer(1),
    "num_layers": _integer(1),
    "num_transformer_blocks": _integer(0),
    "num_heads": _integer(1),
    "dropout": _fraction("below 1", 1.0),
    "causal_attention": _boolean(),
    "attention": _one_of(ATTENTIONS),
    "num_modes": _integer(2),
    "encoder_attention": _boolean(),
    "share_lstm_weights": _boolean(),
    "trainable_add": _boolean(),
    "norm": _one_of(NORMS),
    "norm_first": _boolean(),
    "final_norm": _boolean(),
    "feedforward": _optional(_one_of(FEEDFORWARDS)),
    "dim_feedforward": _optional(_integer(1)),
    "num_experts": _integer(1),
    "experts_per_token": _integer(1),
    "capacity_factor": _optional(_positive()),
    "expert": _one_of(EXPERTS),
    "share_layers": _boolean(),
    "gradient_checkpointing": _boolean(),
    "attention_kernel": _one_of(KERNELS),
}


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check all parameters at once.

    Raises
    ------
    TypeError
        If some have a wrong type, and nothing else is wrong.
    ValueError
        If a value is out of range. The message has one line for every parameter at fault.
    """
    faults, kinds = [], set()
    for name, value in parameters.items():
        if name not in CONSTRAINTS:  # of a subclass
            continue
        constraint = CONSTRAINTS[name]
        typed = constraint.has_type(value)
        if not typed or not constraint.in_range(value):
            kinds.add(ValueError if typed else TypeError)
            faults.append(f"Got {name}={_shown(value)}, expected {constraint.words}.")
    if not faults:
        faults = broken_relations(parameters)
        kinds = {ValueError}
    if faults:
        raise (ValueError if ValueError in kinds else TypeError)("\n".join(faults))


#: Parameters that act when a pretrained network is trained on; all others are built into it.
ACTING_AFTER_PRETRAINING = frozenset(
    {
        "window_sampling",
        "max_windows_per_epoch",
        "num_samples",
        "step_weights",
        "input_noise",
        "min_context_length",
        "max_epochs",  # of a second pretraining
        "batch_size",
        "lr",
        "gradient_clip",
        "finetune_epochs",
        "update_epochs",
        "callbacks",
        "random_state",
        "checkpoint_dir",
        "verbose",
    }
)


#: How an object tells where it lies in memory, which tells a user nothing.
ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def _shown(value: Any) -> str:
    """Return a value as a message shows it, without addresses."""
    return ADDRESS.sub("", repr(value))


def remembered(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a pretrained network is built from, as they are now."""
    return {
        name: plain(value)
        for name, value in parameters.items()
        if name in CONSTRAINTS and name not in ACTING_AFTER_PRETRAINING
    }


def check_pretrained(before: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that were changed after pretraining and cannot act any more.

    Parameters
    ----------
    before : mapping of str to object
        What `remembered` returned in ``pretrain``.
    parameters : mapping of str to object
        The forecaster's parameters now.

    Raises
    ------
    ValueError
        If some differ. The message has one line for each.
    """
    faults = [
        f"Got {name}={parameters[name]!r}, but the network was pretrained with {old!r}, which is "
        f"built into it; expected the same. Set {name} back, or start over without pretraining: "
        f"set_params({name}=...)."
        for name, old in before.items()
        if not _acts(name, old, parameters[name]) and not _same(old, plain(parameters[name]))
    ]
    if faults:
        raise ValueError("\n".join(faults))


def _acts(name: str, old: Any, new: Any) -> bool:
    """Whether a change acts: held-out errors are kept, and updates add to them or do not."""
    return name == "calibration" and "none" not in (old, new)


def _same(old: Any, new: Any) -> bool:
    """Whether two values are equal, be they copies that know no equality, such as heads."""
    if isinstance(old, torch.nn.Module) and type(old) is type(new):
        tensors, others = old.state_dict(), new.state_dict()
        kept = {name for name in vars(old) if not name.startswith("_")}
        return (
            tensors.keys() == others.keys()
            and all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
            and all(_same(getattr(old, name), getattr(new, name, None)) for name in kept)
        )
    try:
        if old is new or bool(old == new):
            return True
    except (TypeError, ValueError, RuntimeError):  # arrays and tensors compare by element
        pass
    try:
        return type(old) is type(new) and pickle.dumps(old) == pickle.dumps(new)
    except Exception:  # what cannot be pickled cannot be told to be the same
        return False


def resolve_device(device: str) -> str:
    """Return the device to train and predict on; "auto" is CUDA where there is one.

    Raises
    ------
    ValueError
        If the name is unknown to torch, or the device is absent.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ValueError(
            f"Got device={device!r}, which torch cannot use here ({reason}). "
            "Pass device='auto' or 'cpu', or install a torch build that supports it."
        ) from error
    return device
