"""The residual blocks that transformers are made of: of the encoder, of the decoder, of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention import ATTENTIONS, Attention, make_attention
from sktime_tlstm.nn.feedforward import check_feedforward, make_feedforward
from sktime_tlstm.nn.frequency import DEFAULT_MODES
from sktime_tlstm.nn.gating import AddNorm, GateAddNorm
from sktime_tlstm.nn.normalization import make_norm, masked_mean
from sktime_tlstm.nn.randomness import checkpoint


class Cache(NamedTuple):
    """Projected keys and values of all steps that a later decoder step may attend to.

    ``keys`` has the shape (batch, head, time, head_width), ``values`` (batch, head or 1, time,
    head_width).
    """

    keys: Tensor
    values: Tensor

    def append(self, later: Cache) -> Cache:
        """Return a cache that holds the steps of ``later`` too."""
        return Cache(*(torch.cat(pair, dim=2) for pair in zip(self, later, strict=True)))


class ResidualBlock(nn.Module):
    r"""What all blocks share: residual branches of attention and of feed-forward layers.

    A branch ``f`` refines a sequence ``x`` by

    .. math:: x \leftarrow \mathrm{Norm}(x + f(x)) \quad\text{or, norm first,}\quad
              x \leftarrow x + f(\mathrm{Norm}(x))

    Vaswani et al. 2017, "Attention is all you need", section 3.1, and Xiong et al. 2020, "On layer
    normalization in the transformer architecture". With ``gated``, ``GLU(f(x))`` stands for
    ``f(x)`` (`GateAddNorm`).

    The last linear layers of attention and of feed-forward layers start smaller by the square root
    of the number of branches that a sequence passes in the whole stack, so that the variance of
    their sum does not grow with depth (Radford et al. 2019, "Language models are unsupervised
    multitask learners", section 2.3). One branch in all starts as its layers do.

    Parameters
    ----------
    sides : tuple of str
        The sequences that the block refines, given by the subclass: they begin the names of its
        layers.
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
    trainable_add : bool, default=False
        Whether residuals are scaled by learned factors.
    gated : bool, default=False
        Whether branches pass through a gate.
    condition_features : int, default=0
        Width of the condition that adaptive norms follow.
    stack_depth : int, default=1
        Number of blocks that a sequence passes in the whole stack; sets how small branches start.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, a name is unknown, or an option is not its
        default and the chosen attention or feed-forward layer does not read it.
    """

    def __init__(
        self,
        sides: tuple[str, ...],
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        attention: str = "multi_head",
        *,
        num_modes: int = DEFAULT_MODES,
        attention_kernel: str = "auto",
        norm: str = "layer",
        norm_first: bool = True,
        feedforward: str | None = "gelu",
        dim_feedforward: int | None = None,
        num_experts: int = 4,
        experts_per_token: int = 2,
        capacity_factor: float | None = None,
        trainable_add: bool = False,
        gated: bool = False,
        condition_features: int = 0,
        stack_depth: int = 1,
    ) -> None:
        super().__init__()
        routing = num_experts, experts_per_token, capacity_factor
        check_feedforward(feedforward, dim_feedforward, *routing)
        before, after = (norm, None) if norm_first else (None, norm)
        branches = stack_depth * (1 if feedforward is None else 2)

        def add_branch(name: str, prefix: str, layer: nn.Module) -> None:
            _shrink(layer, branches**-0.5)
            setattr(self, f"{prefix}_norm", make_norm(before, d_model, condition_features))
            setattr(self, name, layer)
            gate = (
                GateAddNorm(d_model, dropout, trainable_add, after, condition_features)
                if gated
                else AddNorm(d_model, trainable_add, after, condition_features)
            )
            setattr(self, f"{prefix}_gate", gate)

        for side in sides:
            attends = make_attention(
                attention, d_model, num_heads, dropout, attention_kernel, num_modes
            )
            add_branch(f"{side}_attention", side, attends)
            if feedforward is None:
                continue
            feeds = make_feedforward(feedforward, d_model, dim_feedforward, dropout, *routing)
            add_branch(f"{side}_feedforward", f"{side}_feedforward", feeds)

    def _refine(
        self,
        side: str,
        x: Tensor,
        earlier: Tensor | None = None,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        real: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Let ``x`` attend to ``earlier``, where there is any, and itself; then feed forward."""
        query, key = self._normalize(side, x, earlier, condition)
        attended = self._layer(f"{side}_attention")(query, key, key, mask, *(positions or ()))
        return self._finish(side, attended, x, condition, real)

    def _normalize(
        self, side: str, x: Tensor, earlier: Tensor | None, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # A norm acts step by step: that of both sequences, end to end, is both of their norms.
        norm = self._layer(f"{side}_norm")
        query: Tensor = norm(x, condition)
        if earlier is None:
            return query, query
        return query, torch.cat((norm(earlier, condition), query), dim=1)

    def _finish(
        self,
        side: str,
        attended: Tensor,
        x: Tensor,
        condition: Tensor | None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Add what ``x`` attended to, and the feed-forward branch where there is one."""
        x = self._layer(f"{side}_gate")(attended, x, condition)
        prefix = f"{side}_feedforward"
        if hasattr(self, prefix):
            fed = self._layer(prefix)(self._layer(f"{prefix}_norm")(x, condition), real)
            x = self._layer(f"{prefix}_gate")(fed, x, condition)
        return x

    def _layer(self, name: str) -> nn.Module:
        return cast(nn.Module, getattr(self, name))


class EncoderBlock(ResidualBlock):
    """Self-attention of the encoder, then an optional feed-forward layer.

    Parameters
    ----------
    d_model : int
        Width of the sequence.
    num_heads : int
        Number of attention heads.
    **options
        Further ones of `ResidualBlock`.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import EncoderBlock
    >>> EncoderBlock(6, num_heads=3, feedforward="relu")(torch.ones(2, 7, 6)).shape
    torch.Size([2, 7, 6])
    """

    def __init__(self, d_model: int, num_heads: int, **options: Any) -> None:
        super().__init__(("encoder",), d_model, num_heads, **options)

    def forward(
        self,
        encoded: Tensor,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Refine the past.

        Parameters
        ----------
        encoded : Tensor of shape (batch, past_time, d_model)
        mask : Tensor of shape (batch, 1, 1, past_time), bool, or None
            True at real steps.
        condition : Tensor of shape (batch, condition_features) or None
            What adaptive norms follow.
        positions : Tensor of shape (batch or 1, past_time) or None
            Positions by which queries and keys are turned (rotary embedding).

        Returns
        -------
        Tensor of shape (batch, past_time, d_model)
        """
        return self._refine(
            "encoder",
            encoded,
            mask=mask,
            condition=condition,
            real=_real_steps(mask),
            positions=None if positions is None else (positions, positions),
        )


class _CachingBlock(ResidualBlock):
    """The step-by-step side of blocks that have a decoder."""

    def start(
        self, encoded: Tensor, condition: Tensor | None = None, positions: Tensor | None = None
    ) -> Cache:
        """Return the cache of the encoder's output (batch, past_time, d_model), for `step`."""
        return self._project(self._normalize("decoder", encoded, None, condition)[0], positions)

    def step(
        self,
        decoded: Tensor,
        cache: Cache,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        position: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """Refine one future step, as a causal `forward` does.

        Parameters
        ----------
        decoded : Tensor of shape (batch, 1, d_model)
        cache : Cache
            The past and the future steps before this one; it stays as it is.
        mask : Tensor of shape (batch, 1, 1, time), bool, or None
            True at the steps of the cache that are real.
        condition : Tensor of shape (batch, condition_features) or None
            What adaptive norms follow.
        position : Tensor of shape (batch or 1, 1) or None
            The step's position (rotary embedding).

        Returns
        -------
        decoded : Tensor of shape (batch, 1, d_model)
        cache : Cache
            The cache of the next step. It holds this step too, which did not attend to itself.
        """
        query, _ = self._normalize("decoder", decoded, None, condition)
        attended = self._attention.attend(query, *cache, mask, position)
        later = cache.append(self._project(query, position))
        return self._finish("decoder", attended, decoded, condition), later

    def _weights(
        self,
        decoded: Tensor,
        encoded: Tensor,
        mask: Tensor | None,
        condition: Tensor | None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        query, key = self._normalize("decoder", decoded, encoded, condition)
        return self._attention.weights(query, key, mask, *(positions or ()))

    def _project(self, normalized: Tensor, positions: Tensor | None) -> Cache:
        return Cache(*self._attention.project(normalized, positions))

    @property
    def _attention(self) -> Attention:
        return cast(Attention, self.decoder_attention)


class DecoderBlock(_CachingBlock):
    """Attention of the decoder to the encoder and itself, then an optional feed-forward layer.

    Both are read by one attention, whose keys are normalized as its queries are: a key depends on
    its own step alone, and can be cached.

    Parameters
    ----------
    d_model : int
        Width of both sequences.
    num_heads : int
        Number of attention heads.
    **options
        Further ones of `ResidualBlock`.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import DecoderBlock
    >>> DecoderBlock(6, num_heads=3)(torch.ones(2, 5, 6), torch.ones(2, 7, 6)).shape
    torch.Size([2, 5, 6])
    """

    def __init__(self, d_model: int, num_heads: int, **options: Any) -> None:
        super().__init__(("decoder",), d_model, num_heads, **options)

    def forward(
        self,
        decoded: Tensor,
        encoded: Tensor,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        real: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Refine the future.

        Parameters
        ----------
        decoded : Tensor of shape (batch, future_time, d_model)
        encoded : Tensor of shape (batch, past_time, d_model)
        mask : Tensor broadcastable to (batch, 1, future_time, past_time + future_time), or None
            True where a step may be attended.
        condition : Tensor of shape (batch, condition_features) or None
            What adaptive norms follow.
        real : Tensor of shape (batch, future_time), bool, or None
            True at real future steps; a mixture of experts leaves out the others.
        positions : tuple of two Tensors or None
            Positions of the future (batch or 1, future_time), and of past and future end to end,
            by which queries and keys are turned (rotary embedding).

        Returns
        -------
        Tensor of shape (batch, future_time, d_model)
        """
        return self._refine("decoder", decoded, encoded, mask, condition, real, positions)

    def attention_weights(
        self,
        decoded: Tensor,
        encoded: Tensor,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the weights (batch, head, future_time, past_time + future_time) of `forward`."""
        return self._weights(decoded, encoded, mask, condition, positions)


class TransformerBlock(_CachingBlock):
    """An encoder block, and a decoder block which attends to its output.

    The equations stand in `TransformerLSTM`.

    Parameters
    ----------
    d_model : int
        Width of both sequences.
    num_heads : int
        Number of attention heads.
    dropout : float, default=0.0
        Dropout probability of attended values, within feed-forward layers and in front of gates.
    attention : str, default="interpretable"
        Kind of attention, one of `ATTENTIONS`.
    encoder_attention : bool, default=True
        Whether there is an encoder block; without, the encoder passes unchanged.
    trainable_add : bool, default=False
        Whether the residuals are scaled by learned factors.
    norm_first : bool, default=False
        Whether the input of each branch is normalized, and not the sum.
    feedforward : str or None, default=None
        Kind of the feed-forward branch after attention, one of `FEEDFORWARDS`; None for none.
    gated : bool, default=True
        Whether branches pass through a gate.
    **options
        Further ones of `ResidualBlock`.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, or a name is unknown.

    Examples
    --------
    >>> import torch
    >>> block = TransformerBlock(6, num_heads=3)
    >>> encoded, decoded = block(torch.ones(2, 7, 6), torch.ones(2, 5, 6))
    >>> encoded.shape, decoded.shape
    (torch.Size([2, 7, 6]), torch.Size([2, 5, 6]))
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        attention: str = "interpretable",
        encoder_attention: bool = True,
        trainable_add: bool = False,
        norm_first: bool = False,
        feedforward: str | None = None,
        gated: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            ("encoder", "decoder") if encoder_attention else ("decoder",),
            d_model,
            num_heads,
            dropout,
            attention,
            trainable_add=trainable_add,
            norm_first=norm_first,
            feedforward=feedforward,
            gated=gated,
            **options,
        )
        self.encodes = encoder_attention

    def forward(
        self,
        encoded: Tensor,
        decoded: Tensor,
        encoder_mask: Tensor | None = None,
        decoder_mask: Tensor | None = None,
        real: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Refine both sequences.

        Parameters
        ----------
        encoded : Tensor of shape (batch, past_time, d_model)
        decoded : Tensor of shape (batch, future_time, d_model)
        encoder_mask : Tensor of shape (batch, 1, 1, past_time), bool, or None
            True at real past steps.
        decoder_mask : Tensor broadcastable to (batch, 1, future_time, past_time + future_time)
            True where a future step may look; None for everywhere.
        real : Tensor of shape (batch, future_time), bool, or None
            True at real future steps; a mixture of experts leaves out the others.
        condition : Tensor of shape (batch, condition_features) or None
            What adaptive norms follow.

        Returns
        -------
        encoded : Tensor of shape (batch, past_time, d_model)
        decoded : Tensor of shape (batch, future_time, d_model)
        """
        encoded = self.encode(encoded, encoder_mask, condition)
        decoded = self._refine("decoder", decoded, encoded, decoder_mask, condition, real)
        return encoded, decoded

    def encode(
        self, encoded: Tensor, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """Refine the past alone: the first half of `forward`."""
        if not self.encodes:
            return encoded
        return self._refine("encoder", encoded, None, mask, condition, _real_steps(mask))

    def attention_weights(
        self,
        encoded: Tensor,
        decoded: Tensor,
        encoder_mask: Tensor | None = None,
        decoder_mask: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """Return the weights (batch, head, future_time, past_time + future_time) of `forward`."""
        encoded = self.encode(encoded, encoder_mask, condition)
        return self._weights(decoded, encoded, decoder_mask, condition)


class BlockStack(nn.ModuleList):
    """Blocks in the order in which a sequence passes them.

    Parameters
    ----------
    build : callable
        Builds one block.
    num_blocks : int
        Number of blocks that a sequence passes.
    share_layers : bool, default=False
        Whether these are one block, applied ``num_blocks`` times (Lan et al. 2020, "ALBERT",
        section 3.1).
    gradient_checkpointing : bool, default=False
        Whether training keeps only what passes between blocks and computes the rest again for the
        gradient (Chen et al. 2016, "Training deep nets with sublinear memory cost").

    Examples
    --------
    >>> import torch
    >>> stack = BlockStack(lambda: EncoderBlock(6, num_heads=3), 4, share_layers=True)
    >>> len(stack), len(stack.passed())
    (1, 4)
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        num_blocks: int,
        share_layers: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(build() for _ in range(min(num_blocks, 1) if share_layers else num_blocks))
        self.repetitions = num_blocks if share_layers else 1
        self.gradient_checkpointing = gradient_checkpointing

    def passed(self) -> list[Any]:
        """Return the blocks in their order, a shared one as often as it is applied."""
        return list(self) * self.repetitions

    def up_to(self, block: int, name: str) -> list[Any]:
        """Return the blocks in their order up to ``block``, an index that may be negative.

        Raises
        ------
        ValueError
            If there is no such block; ``name`` is the parameter that says how many there are.
        """
        blocks = self.passed()
        if not -len(blocks) <= block < len(blocks):
            raise ValueError(
                f"Got block={block} of a network with {name}={len(blocks)}; expected the index of "
                "one of its blocks. Attention weights need a network with at least one."
            )
        return blocks[: block % len(blocks) + 1]

    def step(
        self, decoded: Tensor, caches: tuple[Cache, ...], *arguments: Tensor | None
    ) -> tuple[Tensor, tuple[Cache, ...]]:
        """Pass one step through all blocks; ``caches`` and what is returned are one for each."""
        later = []
        for block, cache in zip(self.passed(), caches, strict=True):
            decoded, cache = block.step(decoded, cache, *arguments)
            later.append(cache)
        return decoded, tuple(later)

    def run(self, block: nn.Module, *arguments: Tensor | tuple[Tensor, Tensor] | None) -> Any:
        """Call ``block``, one of `passed`, with a checkpoint where that spares memory."""
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, *arguments)
        return block(*arguments)


def describe_rows(x: Tensor, lengths: Tensor | None, static: Tensor | None) -> Tensor:
    """Return the condition of adaptive norms: each row's masked mean, then its static features.

    Parameters
    ----------
    x : Tensor of shape (batch, past_time, d_model)
        The past, and nothing of the future, so that it breaks no causality.
    lengths : Tensor of shape (batch,) or None
        Numbers of real steps.
    static : Tensor of shape (batch, num_static_features) or None

    Returns
    -------
    Tensor of shape (batch, d_model + num_static_features)

    Examples
    --------
    >>> import torch
    >>> describe_rows(torch.tensor([[[1.0], [3.0]]]), None, torch.tensor([[7.0]])).tolist()
    [[2.0, 7.0]]
    """
    mean = masked_mean(x, lengths)
    return mean if static is None else torch.cat((mean, static), dim=-1)


def check_causality(attention: str, causal: bool) -> None:
    """Raise a ValueError if a decoder is to be causal by an attention that cannot be."""
    if causal and getattr(ATTENTIONS.get(attention), "sees_whole_sequence", False):
        raise ValueError(
            f"Got attention={attention!r} with causal_attention=True; expected "
            "causal_attention=False, for this attention mixes the whole sequence into every step. "
            "Pass causal_attention=False, or attention='multi_head' or 'interpretable'."
        )


def check_stepwise(causal: bool) -> None:
    """Raise a ValueError if a network is to decode step by step which is not causal."""
    if not causal:
        raise ValueError(
            "Got causal_attention=False in a network that is to decode step by step; expected "
            "True, for otherwise each step attends to later ones. Build the network with "
            "causal_attention=True, or call it on the whole future."
        )


def _real_steps(mask: Tensor | None) -> Tensor | None:
    # (batch, 1, 1, time) -> (batch, time)
    return None if mask is None else mask[:, 0, 0]


def _shrink(layer: nn.Module, factor: float) -> None:
    """Scale the last linear layer of a branch (those of all experts): all are named ``output``."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "output" in name.split("."):
                parameter.mul_(factor)
