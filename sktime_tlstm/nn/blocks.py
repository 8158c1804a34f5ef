"""The residual blocks that transformers are made of: of the encoder, of the decoder, of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention import ATTENTIONS
from sktime_tlstm.nn.branches import (
    AttentionBranch,
    BlockOptions,
    DecoderCache,
    SeparateAttention,
    make_feedforward_branch,
)
from sktime_tlstm.nn.feedforward import (
    auxiliary_loss,
)
from sktime_tlstm.nn.normalization import masked_mean
from sktime_tlstm.nn.randomness import checkpoint


class EncoderBlock(nn.Module):
    """Self-attention of the encoder, then an optional feed-forward layer.

    Parameters
    ----------
    d_model : int
        Width of the sequence.
    num_heads : int
        Number of attention heads.
    stack_depth : int, default=1
        Number of blocks that a sequence passes in the whole stack; sets how small branches start.
    **options
        Further ones of `BlockOptions`.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, a name is unknown, or an option is not its
        default and the chosen attention or feed-forward layer does not read it.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import EncoderBlock
    >>> EncoderBlock(6, num_heads=3, feedforward="relu")(torch.ones(2, 7, 6)).shape
    torch.Size([2, 7, 6])
    """

    def __init__(
        self, d_model: int, num_heads: int, *, stack_depth: int = 1, **options: Any
    ) -> None:
        super().__init__()
        own = BlockOptions(d_model, num_heads, **options)
        branches = stack_depth * (1 if own.feedforward is None else 2)
        self.attention = AttentionBranch(own, branches)
        self.feedforward = make_feedforward_branch(own, branches)

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
        both = None if positions is None else (positions, positions)
        encoded = self.attention(encoded, None, mask, condition, both)
        if self.feedforward is not None:
            # (batch, 1, 1, past_time) -> (batch, past_time)
            real = None if mask is None else mask[:, 0, 0]
            encoded = self.feedforward(encoded, condition, real)
        return encoded


class DecoderBlock(nn.Module):
    """Attention of the decoder to the encoder and itself, then an optional feed-forward layer.

    Both are read by one attention (`AttentionBranch`), unless ``cross_attention`` names one for the
    encoder's output: then ``attention`` is that of the decoder to itself (`SeparateAttention`).

    Parameters
    ----------
    d_model : int
        Width of both sequences.
    num_heads : int
        Number of attention heads.
    cross_attention : str or None, default=None
        Kind of attention to the encoder's output, one of `CROSS_ATTENTIONS`; None for one attention
        that reads past and future together.
    stack_depth, **options
        As in `EncoderBlock`.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, a name is unknown, or an option is not its
        default and the chosen attention or feed-forward layer does not read it.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import DecoderBlock
    >>> DecoderBlock(6, num_heads=3)(torch.ones(2, 5, 6), torch.ones(2, 7, 6)).shape
    torch.Size([2, 5, 6])
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        cross_attention: str | None = None,
        stack_depth: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        own = BlockOptions(d_model, num_heads, **options)
        attentions = 1 if cross_attention is None else 2
        branches = stack_depth * (attentions + (0 if own.feedforward is None else 1))
        self.attention = (
            AttentionBranch(own, branches)
            if cross_attention is None
            else SeparateAttention(cross_attention, own, branches)
        )
        self.feedforward = make_feedforward_branch(own, branches)

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
            True where a step may be attended. With a ``cross_attention``, a step must see itself.
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
        decoded = self.attention(decoded, encoded, mask, condition, positions)
        return self._feed_forward(decoded, condition, real)

    def start(
        self, encoded: Tensor, condition: Tensor | None = None, positions: Tensor | None = None
    ) -> DecoderCache:
        """Return the cache of the encoder's output (batch, past_time, d_model), for `step`."""
        return self.attention.start(encoded, condition, positions)

    def step(
        self,
        decoded: Tensor,
        cache: DecoderCache,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        position: Tensor | None = None,
    ) -> tuple[Tensor, DecoderCache]:
        """Refine one future step, as a causal `forward` does.

        Parameters
        ----------
        decoded : Tensor of shape (batch, 1, d_model)
        cache : Cache or SeparateCaches
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
        cache : Cache or SeparateCaches
            The cache of the next step, which holds this step too.
        """
        decoded, cache = self.attention.step(decoded, cast(Any, cache), mask, condition, position)
        return self._feed_forward(decoded, condition, None), cache

    def attention_weights(
        self,
        decoded: Tensor,
        encoded: Tensor,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the weights (batch, head, future_time, past_time + future_time) of `forward`.

        With a ``cross_attention``, they are those of the past alone.
        """
        return self.attention.weights(decoded, encoded, mask, condition, positions)

    def _feed_forward(
        self, decoded: Tensor, condition: Tensor | None, real: Tensor | None
    ) -> Tensor:
        if self.feedforward is not None:
            decoded = self.feedforward(decoded, condition, real)
        return decoded


class TransformerBlock(nn.Module):
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
    stack_depth, **options
        As in `EncoderBlock`.

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
        *,
        stack_depth: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        own = BlockOptions(
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
        self.encoder = (
            EncoderBlock(**vars(own), stack_depth=stack_depth) if encoder_attention else None
        )
        self.decoder = DecoderBlock(**vars(own), stack_depth=stack_depth)

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
        return encoded, self.decoder(decoded, encoded, decoder_mask, condition, real)

    def encode(
        self, encoded: Tensor, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """Refine the past alone: the first half of `forward`."""
        if self.encoder is not None:
            encoded = self.encoder(encoded, mask, condition)
        return encoded

    def start(self, encoded: Tensor, condition: Tensor | None = None) -> DecoderCache:
        """Do what `DecoderBlock.start` does with the output of `encode`."""
        return self.decoder.start(encoded, condition)

    def step(
        self,
        decoded: Tensor,
        cache: DecoderCache,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, DecoderCache]:
        """Do what `DecoderBlock.step` does."""
        return self.decoder.step(decoded, cache, mask, condition)

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
        return self.decoder.attention_weights(decoded, encoded, decoder_mask, condition)


class BlockNetwork(nn.Module):
    """A network of blocks, some of whose layers may add to the training loss."""

    def auxiliary_loss(self) -> Tensor:
        """Return what mixtures of experts add to the training loss of the last `forward`.

        Returns
        -------
        Tensor of shape ()
            Zero without any. It is handed over once: a second call returns zero.
        """
        return auxiliary_loss(self)


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
        self, decoded: Tensor, caches: tuple[DecoderCache, ...], *arguments: Tensor | None
    ) -> tuple[Tensor, tuple[DecoderCache, ...]]:
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
    # (batch, d_model), (batch, num_static_features) -> their features side by side
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
