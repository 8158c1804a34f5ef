"""The training record: epochs as a table, and a page about what was fitted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from sktime_tlstm.contract import unwrapped
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.inspection import batch_of
from sktime_tlstm.model import Windows
from sktime_tlstm.net import ForecastNet

__all__ = ["history", "summary"]

#: What of a net's record is a column as it is.
_RECORDED = ("stage", "epoch", "train_loss", "valid_loss", "train_mae", "valid_mae")


def history(members: Iterable[ForecastNet]) -> pd.DataFrame:
    """Return a row for every epoch of every member, as `Inspectable.history_` says."""
    rows = []
    for number, net in enumerate(members):
        for record in net.history:
            row: dict[str, Any] = {"member": number}
            row |= {name: record.get(name) for name in _RECORDED}
            row["seconds"] = record["dur"]
            rates = [batch["event_lr"] for batch in record["batches"] if "event_lr" in batch]
            row["lr"] = rates[-1] if rates else None
            windows = sum(batch.get("train_batch_size", 0) for batch in record["batches"])
            row["windows_per_second"] = windows / record["dur"]
            rows.append(row)
    if not rows:  # of a network that came with its weights
        return pd.DataFrame(columns=["member", *_RECORDED, "seconds"])
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def summary(name: str, fitted: Fitted) -> str:
    """Return a page about what was fitted, as `Inspectable.summary` says."""
    model, spec = fitted.model, fitted.model.spec
    encoder, members = model.encoder, model.members
    number = sum(weights.numel() for weights in unwrapped(members[0].module_).parameters())
    table = history(members)
    covariates: dict[str, list[Any]] = {
        "known covariates": encoder.known_columns,
        "past covariates": [one for one in encoder.columns if one not in encoder.known_columns],
        "static covariates": [*encoder.static_scaling, *encoder.static_categories],
        "calendar": list(encoder.time_features),
        "lags": list(spec.lags),
    }
    lines = {
        "targets": _listed(encoder.targets),
        "forecasts": f"{spec.horizon} steps from {spec.context_length} rows",
        "series": f"{len(fitted.seen)}, of {int(fitted.seen.sum()):,} rows",
        **{kind: _listed(names) for kind, names in covariates.items() if names},
        "trained": f"{len(table)} epochs in {table['seconds'].sum():.0f} s on {members[0].device}",
        "blend": _blend(fitted),
        "network": f"{type(unwrapped(members[0].module_)).__name__}, {number:,} parameters"
        + (f", {len(members)} members" if len(members) > 1 else ""),
    }
    page = [name, *(f"  {label:18}{text}" for label, text in lines.items()), ""]
    layers = _layers(fitted)
    widths = [max(len(row[column]) for row in layers) for column in range(3)]
    for layer, kind, shape, weights in layers:
        page.append(
            f"  {layer:{widths[0]}}  {kind:{widths[1]}}  {shape:{widths[2]}}  {weights:>10}"
        )
    return "\n".join(line.rstrip() for line in page)


def _blend(fitted: Fitted) -> str:
    calibration = fitted.model.calibration
    if calibration is None:
        return "the network alone"
    trusts = [f"{trust:.0%}" for trust in calibration.trust.tolist()]
    if len(set(trusts)) == 1:
        rest = f"{1 - float(calibration.trust[0]):.0%}"
        return f"{trusts[0]} network, {rest} simple forecasts"
    encoder = fitted.model.encoder
    targets = zip(encoder.order, encoder.targets, strict=True)
    parts = [f"{trusts[channel]} of {name}" for channel, name in targets]
    return f"the network {_listed(parts)}, the rest simple forecasts"


def _listed(names: Iterable[Any], most: int = 8) -> str:
    words = [str(name) for name in names]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if words[most:] else "")


def _layers(fitted: Fitted) -> list[tuple[str, str, str, str]]:
    """Return name, class, shape of the output and number of parameters of the outer layers."""
    net = fitted.model.members[0]
    network = unwrapped(net.module_)
    shapes: dict[str, str] = {}
    hooks = [
        layer.register_forward_hook(_recorder(shapes, name)) for name, layer in _outer(network)
    ]
    try:
        longest = np.argmax(fitted.seen, keepdims=True)
        cutoff, horizon = fitted.seen[longest], fitted.model.spec.horizon
        windows = Windows(fitted.history.store, longest, cutoff, horizon, None)
        net.outputs(batch_of(fitted.model, windows).inputs)
    finally:
        for hook in hooks:
            hook.remove()
    rows = [("layer", "class", "output", "parameters")]
    for name, layer in _outer(network):
        number = sum(weights.numel() for weights in layer.parameters())
        rows.append((name, type(layer).__name__, shapes.get(name, ""), f"{number:,}"))
    return rows


def _outer(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers of a network, and in the place of lists of layers those in them."""
    layers: list[tuple[str, nn.Module]] = []
    for name, layer in network.named_children():
        if isinstance(layer, nn.ModuleList):
            layers += [(f"{name}.{place}", own) for place, own in enumerate(layer)]
        else:
            layers.append((name, layer))
    return layers


def _recorder(shapes: dict[str, str], name: str) -> Any:
    def record(layer: nn.Module, given: Any, output: Any) -> None:
        while isinstance(output, (tuple, list)):
            output = output[0]
        if isinstance(output, Tensor):  # of any number of windows
            shapes[name] = "(" + ", ".join(["n", *(str(size) for size in output.shape[1:])]) + ")"

    return record
