"""Learned vectors for categories, put in front of any network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn


def embedding_width(cardinality: int) -> int:
    """Return the width of the vectors of ``cardinality`` categories.

    The rule is ``min(16, 1 + ceil(sqrt(cardinality)))``: wide enough to tell categories apart,
    narrow enough not to drown the other channels.

    Examples
    --------
    >>> [embedding_width(cardinality) for cardinality in (2, 7, 24, 1000)]
    [3, 4, 6, 16]
    """
    return min(16, 1 + math.ceil(math.sqrt(cardinality)))


class InputEmbedding(nn.Module):
    """Replace channels of category codes by learned vectors, appended at the end.

    Guo and Berkhahn 2016, "Entity Embeddings of Categorical Variables", equation 4: code k of a
    covariate becomes row k of its table, the same in the past and in the future. Codes travel as
    floats: 1 to the cardinality for the known categories, 0 for an unknown or missing one. Any
    other value, NaN included, counts as 0. Row 0 starts at zero, so that a category never seen in
    training is neutral.

    Parameters
    ----------
    cardinalities : sequence of int
        Number of known categories of each covariate.
    past_channels, future_channels : sequence of int or None
        Channel of each covariate's codes in the past and in the future; None where it has none.
    static_channels : sequence of int or None, optional
        Channel of each covariate's codes in the static input; by default, none has any.

    Raises
    ------
    ValueError
        If the sequences differ in length, a cardinality is negative, a covariate is in no input,
        two share a channel, or a channel is missing from the input.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import InputEmbedding
    >>> embedding = InputEmbedding([7], past_channels=[1], future_channels=[None])
    >>> past, future = embedding(torch.ones(2, 5, 3), torch.ones(2, 4, 3))
    >>> past.shape, future.shape, embedding.widths(3, 3)
    (torch.Size([2, 5, 6]), torch.Size([2, 4, 3]), (6, 3))
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        past_channels: Sequence[int | None],
        future_channels: Sequence[int | None],
        static_channels: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__()
        if static_channels is None:
            static_channels = [None] * len(cardinalities)
        _check_channels(cardinalities, past_channels, future_channels, static_channels)
        self.cardinalities = tuple(cardinalities)
        self.past_channels = tuple(past_channels)
        self.future_channels = tuple(future_channels)
        self.static_channels = tuple(static_channels)
        self.tables = nn.ModuleList(_table(cardinality) for cardinality in cardinalities)

    def forward(self, past: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        """Embed the codes in ``past`` and ``future``, each of shape (batch, time, channel)."""
        return self.embed_past(past), self.embed_future(future)

    def embed_static(self, static: Tensor) -> Tensor:
        """Embed the codes in ``static`` of shape (batch, channel)."""
        return self._embed(static, self.static_channels)

    def embed_past(self, past: Tensor) -> Tensor:
        """Embed the codes in ``past`` of shape (batch, time, channel)."""
        return self._embed(past, self.past_channels)

    def embed_future(self, future: Tensor) -> Tensor:
        """Embed the codes in ``future`` of shape (batch, time, channel) or (batch, channel)."""
        return self._embed(future, self.future_channels)

    def widths(self, num_past_features: int, num_future_features: int) -> tuple[int, int]:
        """Return the numbers of channels after embedding, from those before it."""
        return (
            num_past_features + self._added_width(self.past_channels),
            num_future_features + self._added_width(self.future_channels),
        )

    def static_width(self, num_static_features: int) -> int:
        """Return the number of static channels after embedding, from that before it."""
        return num_static_features + self._added_width(self.static_channels)

    def _added_width(self, channels: tuple[int | None, ...]) -> int:
        return sum(
            embedding_width(number) - 1
            for number, channel in zip(self.cardinalities, channels, strict=True)
            if channel is not None
        )

    def _embed(self, sequence: Tensor, channels: tuple[int | None, ...]) -> Tensor:
        removed = sorted(channel for channel in channels if channel is not None)
        if removed and removed[-1] >= sequence.shape[-1]:
            raise ValueError(
                f"Got a sequence of {sequence.shape[-1]} channels; expected codes in channel "
                f"{removed[-1]}. Pass the channels the embedding was built for."
            )
        # Slices between the removed channels: an index list would be copied to the device.
        starts, stops = [0, *(channel + 1 for channel in removed)], [*removed, sequence.shape[-1]]
        kept = [sequence[..., start:stop] for start, stop in zip(starts, stops, strict=True)]
        vectors = [
            table(_known_codes(sequence[..., channel], number)).to(sequence.dtype)
            for table, channel, number in zip(
                self.tables, channels, self.cardinalities, strict=True
            )
            if channel is not None
        ]
        # (..., channel) of each -> (..., the kept channels, then the widths of all vectors)
        return torch.cat([*kept, *vectors], dim=-1)


def _table(cardinality: int) -> nn.Embedding:
    table = nn.Embedding(cardinality + 1, embedding_width(cardinality))
    with torch.no_grad():
        table.weight[0] = 0.0
    return table


def _known_codes(codes: Tensor, cardinality: int) -> Tensor:
    # NaN compares as False, so that it maps to 0 before the cast, where it has no meaning.
    return torch.where((codes >= 0) & (codes <= cardinality), codes, 0.0).long()


def _check_channels(cardinalities: Sequence[int], *channels: Sequence[int | None]) -> None:
    names = ("past_channels", "future_channels", "static_channels")
    if any(len(own) != len(cardinalities) for own in channels):
        got = ", ".join(f"{len(own)} {name}" for name, own in zip(names, channels, strict=True))
        raise ValueError(
            f"Got {len(cardinalities)} cardinalities, {got}; expected one of each for every "
            "covariate. Pass None as the channel where a covariate is absent."
        )
    if any(cardinality < 0 for cardinality in cardinalities):
        raise ValueError(
            f"Got cardinalities={list(cardinalities)}; expected 0 or more. Pass the number of "
            "categories known from training."
        )
    for name, own in zip(names, channels, strict=True):
        present = [channel for channel in own if channel is not None]
        if len(set(present)) < len(present) or any(channel < 0 for channel in present):
            raise ValueError(
                f"Got {name}={list(own)}; expected different channels, 0 or more. Give every "
                "covariate its own channel, counted from the front."
            )
    for number, places in enumerate(zip(*channels, strict=True)):
        if all(channel is None for channel in places):
            raise ValueError(
                f"Got covariate {number} without a channel in any input; expected at "
                "least one. Leave the covariate out, or say where its codes are."
            )


#: The methods that a network may have or not, and what their first arguments are.
OPTIONAL_METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "attention_weights": ("past", "future"),
        "selection_weights": ("past", "future"),
        "init_state": ("past",),
        "step": ("state", "future_t"),
        "auxiliary_loss": (),
    }
)
#: How the arguments that hold codes are embedded.
_EMBEDDERS: Mapping[str, Callable[[InputEmbedding, Tensor], Tensor]] = MappingProxyType(
    {
        "past": InputEmbedding.embed_past,
        "future": InputEmbedding.embed_future,
        "future_t": InputEmbedding.embed_future,
        "static": InputEmbedding.embed_static,
    }
)


class EmbeddedNetwork(nn.Module):
    """A network with an `InputEmbedding` in front, itself a network.

    The optional methods of networks (``attention_weights``, ``selection_weights``, ``init_state``,
    ``step``, ``auxiliary_loss``) exist exactly where the network has them. The past, the future
    and ``static`` hold codes; all other arguments pass on as they are.

    Parameters
    ----------
    network : nn.Module
        Any network of the contract, as wide as ``embedding.widths`` says.
    embedding : InputEmbedding
        What replaces the codes.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import EmbeddedNetwork, InputEmbedding, TransformerLSTM
    >>> embedding = InputEmbedding([7, 2], past_channels=[0, 2], future_channels=[1, None])
    >>> network = TransformerLSTM(*embedding.widths(3, 2), d_model=8)
    >>> embedded = EmbeddedNetwork(network, embedding).eval()
    >>> past, future = torch.ones(2, 5, 3), torch.ones(2, 4, 2)
    >>> embedded(past, future).shape
    torch.Size([2, 4, 1])
    >>> output, state = embedded.step(embedded.init_state(past), future[:, 0])
    >>> output.shape
    torch.Size([2, 1])
    """

    def __init__(self, network: nn.Module, embedding: InputEmbedding) -> None:
        super().__init__()
        self.network = network
        self.embedding = embedding

    def forward(self, past: Tensor, future: Tensor, *args: Any, **keywords: Any) -> Tensor:
        """Embed the codes and run the network; all other arguments pass on as they are."""
        output: Tensor = self._call(
            self.network, ("past", "future"), past, future, *args, **keywords
        )
        return output

    def __getattr__(self, name: str) -> Any:
        """Offer the network's optional methods where it has them."""
        if name not in OPTIONAL_METHODS:
            return super().__getattr__(name)
        method = getattr(super().__getattr__("network"), name)
        return partial(self._call, method, OPTIONAL_METHODS[name])

    def _call(
        self, function: Callable[..., Any], names: tuple[str, ...], /, *args: Any, **keywords: Any
    ) -> Any:
        """Call a function with its codes embedded; ``names`` are those of its first arguments."""
        first = [self._embed(*argument) for argument in zip(names, args, strict=False)]
        others = {name: self._embed(name, value) for name, value in keywords.items()}
        return function(*first, *args[len(first) :], **others)

    def _embed(self, name: str, value: Any) -> Any:
        if name not in _EMBEDDERS or value is None:
            return value
        return _EMBEDDERS[name](self.embedding, value)
