"""The network contract: what a network is built with, called with, and must return."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.nn import EmbeddedNetwork, Head, InputEmbedding

__all__ = [
    "WIDTHS",
    "construct",
    "embedded",
    "embedding_of",
    "looks_ahead",
    "one_tensor",
    "prepare",
    "probe",
    "takes",
    "uncompiled",
    "unwrapped",
    "widths",
]

#: Keyword arguments of every network that the data decide on.
WIDTHS = ("num_past_features", "num_future_features", "output_dim")

#: Those of the networks that take them.
FURTHER_WIDTHS = ("num_static_features", "num_targets", "point", "attention_window")


def widths(module: Callable[..., nn.Module], spec: WindowSpec, head: Head) -> dict[str, Any]:
    """Return the keyword arguments of a network that the data decide on."""
    numbers = (
        spec.num_past_features,
        spec.num_future_features,
        spec.num_targets * head.num_parameters,
    )
    window = spec.context_length if spec.simulation else None
    further = (spec.num_static_features, spec.num_targets, functools.partial(_point, head), window)
    given: dict[str, Any] = dict(zip(WIDTHS, numbers, strict=True))
    for name, value in zip(FURTHER_WIDTHS, further, strict=True):
        if takes(module, name):
            given[name] = value
    if spec.num_static_features and "num_static_features" not in given:
        raise ValueError(
            f"Got static_covariates with the module {_name(module)}, which has no parameter "
            "num_static_features. Pass a network that takes static covariates, such as "
            "sktime_tlstm.nn.TransformerLSTM, or leave the columns out of static_covariates: "
            "they are then known covariates like any other."
        )
    if spec.simulation and "attention_window" not in given:
        raise ValueError(
            f"Got mode='simulation' with the module {_name(module)}, which has no parameter "
            "attention_window, so is not known to take futures of any length. Pass "
            "sktime_tlstm.nn.TransformerLSTM, or give the module that parameter: the number of "
            "steps that its attention may see, None for all."
        )
    return given


def prepare(
    module: Callable[..., nn.Module], params: Mapping[str, Any], spec: WindowSpec, head: Head
) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """Return what `construct` builds: the network, behind an embedding if there are categories.

    Parameters
    ----------
    module : callable
        The user's network.
    params : mapping
        Its own keyword arguments.
    """
    arguments = {**params, **widths(module, spec, head)}
    if spec.simulation and takes(module, "gated_inputs"):  # which a shared LSTM cannot do without
        given = {**getattr(module, "keywords", {}), **arguments}  # those of a functools.partial too
        if "gated_inputs" not in given:
            arguments["gated_inputs"] = bool(given.get("share_lstm_weights"))
    if spec.codes:
        return embedded, {**arguments, "network": module, "spec": spec}
    return module, arguments


def construct(module: Callable[..., nn.Module], /, **params: Any) -> nn.Module:
    """Build a network, naming a broken contract clearly."""
    if module is embedded:
        return embedded(**params)
    name = _name(module)
    try:
        network = module(**params)
    except TypeError as error:
        raise TypeError(
            f"Got a module {name} that cannot be built with the keyword arguments {list(params)}: "
            f"{error}. Pass a module that takes {list(WIDTHS)}, and only module_params it knows."
        ) from error
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"Got a {type(network).__name__} from the module {name}, expected a torch.nn.Module. "
            "Pass a class, or a function that returns the network."
        )
    if next(network.parameters(), None) is None:
        raise ValueError(
            f"Got a module {name} without parameters, expected some to train. Register layers in "
            "its constructor."
        )
    return network


def embedded(
    network: Callable[..., nn.Module],
    spec: WindowSpec,
    num_past_features: int,
    num_future_features: int,
    **params: Any,
) -> EmbeddedNetwork:
    """Build a network behind an embedding of its categories."""
    embedding = InputEmbedding(*(list(column) for column in zip(*spec.codes, strict=True)))
    past, future = embedding.widths(num_past_features, num_future_features)
    if "num_static_features" in params:
        params["num_static_features"] = embedding.static_width(params["num_static_features"])
    built = construct(network, num_past_features=past, num_future_features=future, **params)
    return EmbeddedNetwork(built, embedding)


def probe(
    module: Callable[..., nn.Module],
    run: Callable[[dict[str, Tensor]], Tensor],
    inputs: dict[str, Tensor],
    spec: WindowSpec,
    head: Head,
) -> None:
    """Run a network once before training, to name a broken contract clearly.

    Parameters
    ----------
    module : callable
        The user's network, by whose name errors speak.
    run : callable
        Calls the network that was built.
    inputs : dict of Tensor, (batch, ...)
        A batch of windows.

    Raises
    ------
    TypeError
        If the network does not take the inputs of the contract, or returns no tensor.
    ValueError
        If its output has another shape than (batch, horizon, output_dim).
    """
    name = _name(module)
    expected = (len(inputs["past"]), spec.horizon, spec.num_targets * head.num_parameters)
    try:
        shape = tuple(run(inputs).shape)
    except TypeError as error:
        raise TypeError(
            f"Got a module {name} that cannot be called as forward(past, future, past_lengths) -> "
            f"tensor: {error}. See the network contract in the documentation."
        ) from error
    if shape != expected:
        raise ValueError(
            f"Got an output of shape {shape} from the module {name}, expected {expected}: (batch, "
            "future_time, output_dim). Return one row for every row of `future`, output_dim wide."
        )


def looks_ahead(
    run: Callable[[dict[str, Tensor]], Tensor], inputs: dict[str, Tensor], spec: WindowSpec
) -> bool:
    """Whether a network's forecast of the first step depends on a covariate of the last one.

    Parameters
    ----------
    run : callable
        Calls the trained network.
    inputs : dict of Tensor, (batch, ...)
        A batch of windows.
    spec : WindowSpec
    """
    if spec.horizon == 1 or not (spec.known or spec.known_categories):
        return False
    if not spec.known:  # codes have no neighbours to move them to
        return True
    future = inputs["future"].clone()
    future[:, -1, : len(spec.known)] += 1.0  # the first channels are the known covariates
    first, changed = run(inputs)[:, 0], run({**inputs, "future": future})[:, 0]
    return not torch.allclose(first, changed)


def one_tensor(output: Any) -> Tensor:
    """Return what a network returned as float32, if it is one tensor."""
    if not isinstance(output, Tensor):
        raise TypeError(f"it returned a {type(output).__name__}, expected one tensor")
    return output.float()


def _name(module: Callable[..., nn.Module]) -> str:
    return getattr(module, "__name__", repr(module))


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function, or the constructor of a class, has a parameter of that name."""
    return name in inspect.signature(function).parameters


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the network itself, without embedding and compilation."""
    module = uncompiled(module)
    return module.network if isinstance(module, EmbeddedNetwork) else module


def uncompiled(module: nn.Module) -> Any:
    """Return the network with its embedding, but not compiled."""
    return getattr(module, "_orig_mod", module)


def embedding_of(module: nn.Module) -> InputEmbedding | None:
    """Return the embedding in front of a network, if there is one."""
    module = uncompiled(module)
    return module.embedding if isinstance(module, EmbeddedNetwork) else None


def _point(head: Head, output: Tensor) -> Tensor:
    """Return the point forecast (batch, time, num_targets) of a network's output."""
    return head.point(head.unpack(output))
