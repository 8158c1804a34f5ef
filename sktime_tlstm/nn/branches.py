"""The residual branches that blocks are made of, their options and their caches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention import ATTENTIONS, Attention, make_attention
from sktime_tlstm.nn.feedforward import AnyFeedForward, check_feedforward, make_feedforward
from sktime_tlstm.nn.frequency import DEFAULT_MODES, FrequencyAttention
from sktime_tlstm.nn.gating import AddNorm, GateAddNorm
from sktime_tlstm.nn.normalization import make_norm


class Cache(NamedTuple):
    """Projected keys and values of all steps that a later decoder step may attend to.

    ``keys`` has the shape (batch, head, time, head_width), ``values`` (batch, head or 1, time,
    head_width).
    """

    keys: Tensor
    values: Tensor

    @property
    def num_rows(self) -> int:
        """The batch."""
        return self.keys.shape[0]

    @property
    def num_steps(self) -> int:
        """The number of steps, padding included."""
        return self.keys.shape[2]

    def append(self, later: Cache) -> Cache:
        """Return a cache that holds the steps of ``later`` too."""
        # along time, which is axis 2 of keys and values
        return Cache(*(torch.cat(pair, dim=2) for pair in zip(self, later, strict=True)))


#: Kinds of attention whose keys may be another sequence than that of the queries.
CROSS_ATTENTIONS = tuple(kind for kind, one in ATTENTIONS.items() if not one.sees_whole_sequence)


class SeparateCaches(NamedTuple):
    """The caches of a decoder which attends to the past and to the future by one attention each."""

    past: Cache
    future: Cache

    @property
    def num_rows(self) -> int:
        """The batch."""
        return self.past.num_rows

    @property
    def num_steps(self) -> int:
        """The number of steps of both, padding included."""
        return self.past.num_steps + self.future.num_steps


#: What one block of a decoder keeps between two steps.
DecoderCache = Cache | SeparateCaches


@dataclass(frozen=True)
class BlockOptions:
    """What blocks are made of: their options and the defaults of these, in one place.

    Parameters
    ----------
    d_model : int
        Width of the sequences.
    num_heads : int
        Number of attention heads.
    dropout : float, default=0.0
        Dropout probability of attended values, within feed-forward layers and in front of gates.
    attention : str, default="multi_head"
        Kind of attention, one of `ATTENTIONS`.
    num_modes : int, default=32
        Of ``attention="frequency"``: number of Fourier modes that are kept, at least 2.
    attention_kernel : str, default="auto"
        Which of torch's kernels computes attention, one of `KERNELS`. Each refuses, in use, what
        it has no code for, masks included: "flash" on CUDA takes none, and causal or padded
        sequences always have one.
    norm : str, default="layer"
        Kind of normalization, one of `NORMS`.
    norm_first : bool, default=True
        Whether the input of each branch is normalized, and not the sum.
    feedforward : str or None, default="gelu"
        Kind of the feed-forward branch after attention, one of `FEEDFORWARDS`; None for none.
    dim_feedforward : int or None, default=None
        Width within feed-forward layers; None for that of `make_feedforward`.
    num_experts, experts_per_token : int, default=4 and 2
        Of a mixture of experts (``feedforward="moe"``): how many there are, and how many see each
        step.
    capacity_factor : float or None, default=None
        Of a mixture of experts: how full an expert may get in training; None for no limit.
    expert : str, default="gelu"
        Of a mixture of experts: kind of each, one of `EXPERTS`.
    trainable_add : bool, default=False
        Whether residuals are scaled by learned factors.
    gated : bool, default=False
        Whether branches pass through a gate.
    condition_features : int, default=0
        Width of the condition that adaptive norms follow.

    Raises
    ------
    ValueError
        If an option of feed-forward layers is not its default and the chosen one does not read it,
        or no such layer has that name.

    Examples
    --------
    >>> BlockOptions(6, num_heads=3, norm="rms").feedforward
    'gelu'
    """

    d_model: int
    num_heads: int
    dropout: float = 0.0
    attention: str = "multi_head"
    num_modes: int = DEFAULT_MODES
    attention_kernel: str = "auto"
    norm: str = "layer"
    norm_first: bool = True
    feedforward: str | None = "gelu"
    dim_feedforward: int | None = None
    num_experts: int = 4
    experts_per_token: int = 2
    capacity_factor: float | None = None
    expert: str = "gelu"
    trainable_add: bool = False
    gated: bool = False
    condition_features: int = 0

    def __post_init__(self) -> None:
        """Refuse what nothing would read."""
        check_feedforward(self.feedforward, self.dim_feedforward, *self._routing)

    @classmethod
    def among(cls, arguments: Mapping[str, Any], **others: Any) -> BlockOptions:
        """Return the options among the arguments of a network, named alike, and ``others``."""
        names = (option.name for option in fields(cls) if option.name not in others)
        return cls(**{name: arguments[name] for name in names}, **others)

    def make_attention(self) -> Attention | FrequencyAttention:
        """Build the attention of one branch."""
        return make_attention(
            self.attention,
            self.d_model,
            self.num_heads,
            self.dropout,
            self.attention_kernel,
            self.num_modes,
        )

    def beside_cross_attention(self) -> BlockOptions:
        """Return the options of a self-attention beside an attention that reads the kernel."""
        # Frequency attention refuses a kernel, which it has no use for; the other one has.
        return replace(self, attention_kernel="auto") if self.attention == "frequency" else self

    def make_cross_attention(self, kind: str) -> Attention:
        """Build the attention of one branch whose keys are another sequence."""
        if kind not in CROSS_ATTENTIONS:
            raise ValueError(
                f"Got cross_attention={kind!r}; expected one of {list(CROSS_ATTENTIONS)}, or None "
                "for one attention that reads past and future together."
            )
        layer = make_attention(
            kind, self.d_model, self.num_heads, self.dropout, self.attention_kernel
        )
        return cast(Attention, layer)

    def make_feedforward(self, kind: str) -> AnyFeedForward:
        """Build the feed-forward layer of one branch, which is ``feedforward`` and not None."""
        return make_feedforward(
            kind, self.d_model, self.dim_feedforward, self.dropout, *self._routing
        )

    @property
    def _routing(self) -> tuple[int, int, float | None, str]:
        return self.num_experts, self.experts_per_token, self.capacity_factor, self.expert


class Branch(nn.Module):
    r"""One residual branch: a norm, a layer, and the gate by which its output joins the input.

    A branch whose layer is ``f`` refines a sequence ``x`` by

    .. math:: x \leftarrow \mathrm{Norm}(x + f(x)) \quad\text{or, norm first,}\quad
              x \leftarrow x + f(\mathrm{Norm}(x))

    Vaswani et al. 2017, "Attention is all you need", section 3.1, and Xiong et al. 2020, "On layer
    normalization in the transformer architecture". With ``gated``, ``GLU(f(x))`` stands for
    ``f(x)`` (`GateAddNorm`).

    The last linear maps of a layer start smaller by the square root of the number of branches that
    a sequence passes in the whole stack, so that the variance of their sum does not grow with depth
    (Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3). One
    branch in all starts as its layer does.

    Parameters
    ----------
    layer : nn.Module
        Attention or feed-forward layer, which tells its ``last_maps``.
    options : BlockOptions
        Of the block.
    branches : int
        Number of branches that a sequence passes in the whole stack.
    """

    def __init__(
        self,
        layer: Attention | FrequencyAttention | AnyFeedForward,
        options: BlockOptions,
        branches: int,
    ) -> None:
        super().__init__()
        with torch.no_grad():
            for last in layer.last_maps():
                for parameter in last.parameters():
                    parameter.mul_(branches**-0.5)
        width, condition = options.d_model, options.condition_features
        before, after = (options.norm, None) if options.norm_first else (None, options.norm)
        self.norm = make_norm(before, width, condition)
        self.layer = layer
        self.gate = (
            GateAddNorm(width, options.dropout, options.trainable_add, after, condition)
            if options.gated
            else AddNorm(width, options.trainable_add, after, condition)
        )


class FeedForwardBranch(Branch):
    """A branch that maps every step by itself; built as `Branch` is."""

    def forward(self, x: Tensor, condition: Tensor | None, real: Tensor | None) -> Tensor:
        """Refine ``x`` of shape (batch, time, d_model); ``real`` (batch, time) is its mask."""
        refined: Tensor = self.gate(self.layer(self.norm(x, condition), real), x, condition)
        return refined


class AttentionBranch(Branch):
    """A branch in which a sequence attends to what came earlier, where there is any, and itself.

    Both are read by one attention, whose keys are normalized as its queries are: a key depends on
    its own step alone, and can be cached.

    Parameters
    ----------
    options : BlockOptions
        Of the block.
    branches : int
        Number of branches that a sequence passes in the whole stack.
    """

    def __init__(self, options: BlockOptions, branches: int) -> None:
        super().__init__(options.make_attention(), options, branches)

    def forward(
        self,
        x: Tensor,
        earlier: Tensor | None,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Refine ``x``.

        Parameters
        ----------
        x : Tensor of shape (batch, time, d_model)
        earlier : Tensor of shape (batch, earlier_time, d_model) or None
            Keys in front of those of ``x``.
        mask : Tensor broadcastable to (batch, head, time, earlier_time + time), bool, or None
        condition : Tensor of shape (batch, condition_features) or None
        positions : tuple of two Tensors or None
            Of the queries and of the keys.

        Returns
        -------
        Tensor of shape (batch, time, d_model)
        """
        query, key = self._normalize(x, earlier, condition)
        attended = self.layer(query, key, key, mask, *(positions or ()))
        refined: Tensor = self.gate(attended, x, condition)
        return refined

    def weights(
        self,
        x: Tensor,
        earlier: Tensor | None,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the weights (batch, head, time, earlier_time + time) of `forward`."""
        query, key = self._normalize(x, earlier, condition)
        return self._attention.weights(query, key, mask, *(positions or ()))

    def start(self, earlier: Tensor, condition: Tensor | None, positions: Tensor | None) -> Cache:
        """Return the cache of ``earlier`` (batch, earlier_time, d_model), for `step`."""
        return Cache(*self._attention.project(self.norm(earlier, condition), positions))

    def step(
        self,
        x: Tensor,
        cache: Cache,
        mask: Tensor | None,
        condition: Tensor | None,
        position: Tensor | None,
    ) -> tuple[Tensor, Cache]:
        """Refine one step (batch, 1, d_model), and return the cache that holds it too."""
        query = self.norm(x, condition)
        attended = self._attention.attend(query, *cache, mask, position)
        later = cache.append(Cache(*self._attention.project(query, position)))
        return self.gate(attended, x, condition), later

    def _normalize(
        self, x: Tensor, earlier: Tensor | None, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # A norm acts step by step: that of both sequences, end to end, is both of their norms.
        query: Tensor = self.norm(x, condition)
        if earlier is None:
            return query, query
        # (batch, earlier_time, d_model), (batch, time, d_model) -> their steps end to end
        return query, torch.cat((self.norm(earlier, condition), query), dim=1)

    @property
    def _attention(self) -> Attention:
        # Frequency attention refuses weights, and networks with it refuse to go step by step.
        return cast(Attention, self.layer)


class SelfAttentionBranch(AttentionBranch):
    """An `AttentionBranch` of the future alone, in which a step attends to itself too.

    Otherwise a causal first step had no key.
    """

    def step(
        self,
        x: Tensor,
        cache: Cache,
        mask: Tensor | None,
        condition: Tensor | None,
        position: Tensor | None,
    ) -> tuple[Tensor, Cache]:
        """Refine one step (batch, 1, d_model), and return the cache that holds it too."""
        query = self.norm(x, condition)
        cache = cache.append(Cache(*self._attention.project(query, position)))
        attended = self._attention.attend(query, *cache, mask, position)
        return self.gate(attended, x, condition), cache


class CrossAttentionBranch(Branch):
    """A branch in which a sequence attends to the encoder's output, taken as it is.

    Parameters
    ----------
    kind : str
        Kind of attention, one of `CROSS_ATTENTIONS`.
    options : BlockOptions
        Of the block.
    branches : int
        Number of branches that a sequence passes in the whole stack.
    """

    layer: Attention

    def __init__(self, kind: str, options: BlockOptions, branches: int) -> None:
        super().__init__(options.make_cross_attention(kind), options, branches)

    def forward(
        self,
        x: Tensor,
        encoded: Tensor,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Refine ``x`` (batch, time, d_model) by ``encoded`` (batch, past_time, d_model)."""
        query = self.norm(x, condition)
        attended = self.layer(query, encoded, encoded, mask, *(positions or ()))
        refined: Tensor = self.gate(attended, x, condition)
        return refined

    def weights(
        self,
        x: Tensor,
        encoded: Tensor,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return the weights (batch, head, time, past_time) of `forward`."""
        return self.layer.weights(self.norm(x, condition), encoded, mask, *(positions or ()))

    def start(self, encoded: Tensor, positions: Tensor | None) -> Cache:
        """Return the cache of ``encoded`` (batch, past_time, d_model), for `step`."""
        return Cache(*self.layer.project(encoded, positions))

    def step(
        self,
        x: Tensor,
        cache: Cache,
        mask: Tensor | None,
        condition: Tensor | None,
        position: Tensor | None,
    ) -> Tensor:
        """Refine one step (batch, 1, d_model)."""
        attended = self.layer.attend(self.norm(x, condition), *cache, mask, position)
        refined: Tensor = self.gate(attended, x, condition)
        return refined


class SeparateAttention(nn.Module):
    """Self-attention of the future, then attention to the past: called like an `AttentionBranch`.

    Vaswani et al. 2017, "Attention is all you need", section 3.2.3. Masks and positions are those
    of past and future end to end, and are split here.

    Parameters
    ----------
    cross_attention : str
        Kind of attention to the past, one of `CROSS_ATTENTIONS`.
    options : BlockOptions
        Of the block; its ``attention`` is that of the future to itself.
    branches : int
        Number of branches that a sequence passes in the whole stack.
    """

    def __init__(self, cross_attention: str, options: BlockOptions, branches: int) -> None:
        super().__init__()
        self.own = SelfAttentionBranch(options.beside_cross_attention(), branches)
        self.cross = CrossAttentionBranch(cross_attention, options, branches)

    def forward(
        self,
        x: Tensor,
        encoded: Tensor,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Refine ``x`` (batch, time, d_model)."""
        time = encoded.shape[1]
        x = self._attend_to_itself(x, time, mask, condition, positions)
        of_past = _mask_of_past(mask, time), condition, _positions_of_past(positions, time)
        refined: Tensor = self.cross(x, encoded, *of_past)
        return refined

    def weights(
        self,
        x: Tensor,
        encoded: Tensor,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the weights of the past (batch, head, time, past_time) in `forward`."""
        time = encoded.shape[1]
        x = self._attend_to_itself(x, time, mask, condition, positions)
        of_past = _mask_of_past(mask, time), condition, _positions_of_past(positions, time)
        return self.cross.weights(x, encoded, *of_past)

    def start(
        self, encoded: Tensor, condition: Tensor | None, positions: Tensor | None
    ) -> SeparateCaches:
        """Return the caches of ``encoded`` (batch, past_time, d_model) and of no future yet."""
        nothing = None if positions is None else positions[:, :0]
        future = self.own.start(encoded[:, :0], condition, nothing)
        return SeparateCaches(self.cross.start(encoded, positions), future)

    def step(
        self,
        x: Tensor,
        cache: SeparateCaches,
        mask: Tensor | None,
        condition: Tensor | None,
        position: Tensor | None,
    ) -> tuple[Tensor, SeparateCaches]:
        """Refine one step (batch, 1, d_model), and return the caches that hold it too."""
        # All steps of a future that is decoded one by one are real.
        x, future = self.own.step(x, cache.future, None, condition, position)
        of_past = _mask_of_past(mask, cache.past.num_steps)
        x = self.cross.step(x, cache.past, of_past, condition, position)
        return x, cache._replace(future=future)

    def _attend_to_itself(
        self,
        x: Tensor,
        past_time: int,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        # (batch or 1, 1, time or 1, past_time + time) -> (batch or 1, 1, time or 1, time)
        of_future = None if mask is None else mask[..., past_time:]
        turned = None if positions is None else (positions[0], positions[0])
        refined: Tensor = self.own(x, None, of_future, condition, turned)
        return refined


def _mask_of_past(mask: Tensor | None, past_time: int) -> Tensor | None:
    # (batch or 1, 1, time or 1, past_time + ...) -> (batch or 1, 1, 1, past_time): the same past
    # for every future step
    return None if mask is None else mask[:, :, :1, :past_time]


def _positions_of_past(
    positions: tuple[Tensor, Tensor] | None, past_time: int
) -> tuple[Tensor, Tensor] | None:
    # of queries, and of past and future (batch or 1, past_time + time) -> of queries and the past
    return None if positions is None else (positions[0], positions[1][:, :past_time])


def make_feedforward_branch(options: BlockOptions, branches: int) -> FeedForwardBranch | None:
    """Build the branch that follows attention, or return None where there is none."""
    if options.feedforward is None:
        return None
    layer = options.make_feedforward(options.feedforward)
    return FeedForwardBranch(layer, options, branches)
