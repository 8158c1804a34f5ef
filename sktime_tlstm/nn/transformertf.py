"""Weights trained in TransformerTF, loaded into our networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Our names -> the reference's, applied in this order. A star stands for one linear map per head.
_RENAMINGS = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"^recurrent\.hidden_projection\.", "state_projection.h_proj."),
        (r"^recurrent\.cell_projection\.", "state_projection.c_proj."),
        (r"^recurrent\.encoded_projection\.", "encoder_output_projection."),
        (r"^recurrent\.", ""),
        (r"^(en|de)coder_input\.gate\.linear\.", r"\1coder_grn.glu1.fc1."),
        (r"^(en|de)coder_input\.input_layer\.", r"\1coder_grn.fc1."),
        (r"^(en|de)coder_input\.hidden_layer\.", r"\1coder_grn.fc2."),
        (r"^(en|de)coder_input\.", r"\1coder_grn."),
        (r"^blocks\.", "transformer_blocks."),
        (r"\bencoder\.attention\.layer\.", "encoder_self_attention."),
        (r"\bdecoder\.attention\.layer\.", "cross_attention."),
        (r"\b(\w*attention)\.(query|key)\.", r"\1.\2_layers.*."),
        (r"\b(\w*attention)\.(value|output)\.", r"\1.\2_layer."),
        (r"^combine\.norm\.", "layer_norm."),
        (r"^combine\.", "gate_add_norm."),
        (r"\bgate\.linear\.", "glu.fc1."),
        (r"\b((?:en|de)coder)\.attention\.gate\.", r"\1_gate_add_norm."),
        (r"\bresidual_logit$", "mask"),
        (r"^output\.", "output_head."),
    )
)


#: What Lightning and torch.compile put in front of the network's names.
_PREFIXES = ("model.", "_orig_mod.")


def bare_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of TransformerTF's bare network.

    Parameters
    ----------
    state_dict : mapping
        These weights; those of its Lightning module, in which the network is ``model`` and whose
        other parts are left out; or the content of a Lightning checkpoint.
    """
    inner = state_dict.get("state_dict", state_dict)
    weights = dict(inner if isinstance(inner, Mapping) else state_dict)
    for prefix in _PREFIXES:
        own = {name: part for name, part in weights.items() if name.startswith(prefix)}
        if own:
            weights = {name.removeprefix(prefix): part for name, part in own.items()}
    return weights


def load_transformertf_state_dict(
    network: nn.Module, state_dict: Mapping[str, Any], num_heads: int
) -> None:
    """Load TransformerTF's weights of the same architecture into ``network``.

    The reference keeps one linear map per head for queries and keys; ours are their concatenation
    in head order. Every other weight maps one to one.

    Parameters
    ----------
    network : nn.Module
        A `TransformerLSTM` or `AttentionLSTM`, changed only if everything fits.
    state_dict : mapping of str to Tensor
        The reference network's ``state_dict()``, or what `bare_state_dict` takes.
    num_heads : int
        Number of heads of ``network``.

    Raises
    ------
    ValueError
        If a name is missing or unexpected, if a shape or the number of heads differs, or if shared
        LSTM weights are not equal.
    """
    state_dict = bare_state_dict(state_dict)
    sources = {name: _reference_names(name, num_heads) for name in network.state_dict()}
    _check_names({source for names in sources.values() for source in names}, state_dict, num_heads)
    weights = {
        name: torch.cat([state_dict[source].detach() for source in names])
        for name, names in sources.items()
    }
    _check_shapes(network.state_dict(), weights, sources)
    _check_shared(network, weights, sources)
    network.load_state_dict(weights)


def _reference_names(name: str, num_heads: int) -> list[str]:
    for pattern, replacement in _RENAMINGS:
        name = pattern.sub(replacement, name)
    if "*" not in name:
        return [name]
    return [name.replace("*", str(head)) for head in range(num_heads)]


def _check_names(expected: set[str], state_dict: Mapping[str, Tensor], num_heads: int) -> None:
    missing, unexpected = sorted(expected - set(state_dict)), sorted(set(state_dict) - expected)
    if not missing and not unexpected:
        return
    heads = {int(found[1]) for name in state_dict if (found := re.search(r"_layers\.(\d+)", name))}
    if heads and len(heads) != num_heads:
        raise ValueError(
            f"Got weights of {len(heads)} attention heads for a network with num_heads={num_heads};"
            f" expected as many. Build the network with num_heads={len(heads)}."
        )
    raise ValueError(
        f"Got a TransformerTF state dict that lacks {_some(missing)} and has the unexpected "
        f"{_some(unexpected)}; expected the bare network's names, such as 'encoder.weight_ih_l0'. "
        "Build this network with the arguments the reference was "
        "trained with (and attention='interpretable' and gated inputs)."
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(map(repr, names[:3])) or "nothing") + more


def _check_shapes(
    ours: Mapping[str, Tensor], weights: Mapping[str, Tensor], sources: Mapping[str, list[str]]
) -> None:
    for name, weight in weights.items():
        if weight.shape != ours[name].shape:
            raise ValueError(
                f"Got {' + '.join(map(repr, sources[name]))} of shape {tuple(weight.shape)}; "
                f"expected {tuple(ours[name].shape)} for {name!r}. Build the network with the "
                "widths the reference was trained with."
            )


def _check_shared(
    network: nn.Module, weights: Mapping[str, Tensor], sources: Mapping[str, list[str]]
) -> None:
    first: dict[int, str] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        other = first.setdefault(id(tensor), name)
        if not torch.equal(weights[name], weights[other]):
            raise ValueError(
                f"Got different values for {sources[other][0]!r} and {sources[name][0]!r}, which "
                "this network shares. Build it with share_lstm_weights=False."
            )
