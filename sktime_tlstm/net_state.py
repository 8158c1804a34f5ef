"""The state of a net: what a training leaves behind, as parts that have records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sktime_tlstm.contract import uncompiled
from sktime_tlstm.net import OPTIMIZERS, ForecastNet

__all__ = ["check_tensors", "fill_net", "net_parts"]

#: What is kept of a net besides its tensors: its settings, and the marks of its training.
SETTINGS = ("lr", "max_epochs", "batch_size", "seed")
MARKS = ("stage_", "label_", "was_interrupted_", "steps_", "idle_", "validates_")


def net_parts(net: ForecastNet) -> dict[str, Any]:
    """Return the state of a net by name: settings, marks, tensors, optimizer and history."""
    return {
        "settings": {
            **{name: getattr(net, name) for name in SETTINGS},
            "weight_decay": getattr(net, "optimizer__weight_decay", 0.0),
        },
        "marks": {name: getattr(net, name) for name in MARKS if hasattr(net, name)},
        "weights": dict(uncompiled(net.module_).state_dict()),
        "head": dict(net.criterion_.state_dict()),
        "optimizer": net.optimizer_.state_dict(),
        "history": [dict(epoch) for epoch in net.history],
    }


def fill_net(
    net: ForecastNet,
    settings: dict[str, Any],
    marks: dict[str, Any],
    weights: dict[str, Tensor],
    head: dict[str, Tensor],
    optimizer: dict[str, Any],
    history: list[dict[str, Any]],
) -> None:
    """Give a net that is built alike the state that `net_parts` returned.

    Raises
    ------
    ValueError
        If names, shapes or types of tensors are not those of the net, or not all are finite.
    """
    for inner, tensors in ((uncompiled(net.module_), weights), (net.criterion_, head)):
        check_tensors(inner.state_dict(), tensors)
        _check_finite(tensors)
        inner.load_state_dict(tensors)
    net.lr, net.max_epochs = float(settings["lr"]), int(settings["max_epochs"])
    net.batch_size, net.seed = int(settings["batch_size"]), int(settings["seed"])
    _load_optimizer(net.optimizer_, optimizer)
    net.history.clear()
    net.history.extend(history)
    for name, mark in marks.items():
        if name not in MARKS:
            raise ValueError(f"a net has the mark {name!r}")
        setattr(net, name, mark)


def check_tensors(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless tensors have the expected names, shapes and types."""
    if expected.keys() != got.keys():
        different = sorted(expected.keys() ^ got.keys())
        raise ValueError(f"the network and its tensors differ in {different[:5]}")
    for name, tensor in got.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ValueError(
                f"the tensor {name} is {tensor.dtype} {tuple(tensor.shape)}, expected "
                f"{wanted.dtype} {tuple(wanted.shape)}"
            )


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"the tensor {name} is not finite")


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for number, kept in state["state"].items():
        tensors = {name: part for name, part in kept.items() if isinstance(part, Tensor)}
        _check_finite(tensors)
        shapes = {tensor.shape for tensor in tensors.values() if tensor.numel() > 1}
        if isinstance(optimizer, tuple(OPTIMIZERS.values())) and not shapes <= {
            parameters[number].shape
        }:
            raise ValueError(f"the optimizer's tensors of parameter {number} have {shapes}")
    optimizer.load_state_dict(state)
