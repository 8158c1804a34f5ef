"""TransformerEncoder and TransformerDecoder: stacks of blocks, each usable by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.blocks import (
    BlockNetwork,
    BlockStack,
    DecoderBlock,
    EncoderBlock,
    check_causality,
    check_stepwise,
)
from sktime_tlstm.nn.branches import BlockOptions, DecoderCache
from sktime_tlstm.nn.feedforward import forget_auxiliary_loss
from sktime_tlstm.nn.inputs import check_lengths, clear_padding
from sktime_tlstm.nn.inspection import in_evaluation
from sktime_tlstm.nn.masks import decoder_mask, encoder_mask, extend_mask, real_steps
from sktime_tlstm.nn.normalization import make_norm


class TransformerEncoder(BlockNetwork):
    """A stack of encoder blocks: self-attention and feed-forward layers over the past.

    Vaswani et al. 2017, "Attention is all you need", section 3.1; the blocks are `EncoderBlock`.

    Parameters
    ----------
    d_model : int
        Width of the sequence.
    num_heads : int
        Number of attention heads.
    num_layers : int, default=2
        Number of blocks.
    final_norm : bool, default=True
        Whether the output is normalized.
    share_layers : bool, default=False
        Whether one block is applied ``num_layers`` times.
    gradient_checkpointing : bool, default=False
        Whether training keeps only what passes between blocks and computes the rest again.
    input_size : int or None, default=None
        Width of the input, which then passes a linear map to ``d_model`` first, its padding set to
        zero; None where the input is ``d_model`` wide and passes none.
    output_size : int or None, default=None
        Width of the output, the last of which is then a linear map; None for ``d_model`` and none.
    **options
        Those of `BlockOptions`.

    Raises
    ------
    ValueError
        If ``num_layers`` is negative, a size is below 1, a name is unknown, an option is not its
        default and nothing reads it, or norms are adaptive and ``condition_features`` is 0.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import TransformerEncoder
    >>> TransformerEncoder(6, num_heads=3)(torch.ones(2, 7, 6), torch.tensor([7, 4])).shape
    torch.Size([2, 7, 6])

    From features to features:

    >>> encoder = TransformerEncoder(6, num_heads=3, input_size=5, output_size=2)
    >>> encoder(torch.ones(2, 7, 5)).shape
    torch.Size([2, 7, 2])
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_layers: int = 2,
        *,
        final_norm: bool = True,
        share_layers: bool = False,
        gradient_checkpointing: bool = False,
        input_size: int | None = None,
        output_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        _check_depth("encoder", num_layers, 0)
        own = BlockOptions(d_model, num_heads, **options)
        self.input = _Input(input_size, d_model)
        self.blocks = BlockStack(
            lambda: EncoderBlock(stack_depth=num_layers, **vars(own)),
            num_layers,
            share_layers,
            gradient_checkpointing,
        )
        self.final_norm = make_norm(
            own.norm if final_norm else None, d_model, own.condition_features
        )
        self.output = _output(d_model, output_size)

    def forward(
        self,
        encoded: Tensor,
        lengths: Tensor | None = None,
        condition: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Encode the past.

        Parameters
        ----------
        encoded : Tensor of shape (batch, past_time, input_size or d_model)
            Left-aligned, padding last.
        lengths : Tensor of shape (batch,) or None
            Numbers of real steps; None where nothing is padded.
        condition : Tensor of shape (batch, condition_features) or None
            What adaptive norms follow.
        positions : Tensor of shape (batch or 1, past_time) or None
            Positions by which queries and keys are turned (rotary embedding).

        Returns
        -------
        Tensor of shape (batch, past_time, output_size or d_model)

        Raises
        ------
        ValueError
            If the input has another width, or a length is not between 1 and the number of steps.
        """
        forget_auxiliary_loss(self)
        encoded = self.input(encoded, lengths, "past")
        mask = encoder_mask(encoded.shape[1], lengths, encoded.device)
        for block in self.blocks.passed():
            encoded = self.blocks.run(block, encoded, mask, condition, positions)
        output: Tensor = self.output(self.final_norm(encoded, condition))
        return output


class TransformerDecoderState(NamedTuple):
    """What `TransformerDecoder.step` needs to know of the past and of the steps before it."""

    #: Keys and values of each block, in order.
    caches: tuple[DecoderCache, ...]
    #: (batch, 1, 1, time), bool: True at the steps of the caches that are real; None for all.
    mask: Tensor | None
    #: (batch, condition_features): what adaptive norms follow.
    condition: Tensor | None


class TransformerDecoder(BlockNetwork):
    """A stack of decoder blocks: attention to the past and the future before each step.

    Each block attends, in one attention, to the encoder's output and to the earlier steps of the
    future; a step reaches itself by the residual connection. So the first step always has a key,
    which in Vaswani et al. 2017 the start token gives it. With a ``cross_attention`` it has two, as
    there: the future attends to itself, each step included, and then to the encoder's output. The
    blocks are `DecoderBlock`.

    Parameters
    ----------
    d_model : int
        Width of both sequences.
    num_heads : int
        Number of attention heads.
    num_layers : int, default=2
        Number of blocks, at least 1.
    causal_attention : bool, default=True
        Whether a step sees only the past and the future steps before it; without, all of them.
    attention : str, default="multi_head"
        Kind of attention, one of `ATTENTIONS`.
    cross_attention : {None, "multi_head", "interpretable"}, default=None
        Kind of attention to the encoder's output; ``attention`` is then that of the future to
        itself. None for one attention that reads both.
    input_size : int or None, default=None
        Width of the future, as in `TransformerEncoder`; the encoder's output is ``d_model`` wide
        (the ``output_size`` of an encoder of another width).
    final_norm, share_layers, gradient_checkpointing, output_size, **options
        As in `TransformerEncoder`.

    Raises
    ------
    ValueError
        If the attention cannot be causal and is to be, ``num_layers`` or a size is below 1, a name
        is unknown, an option is not its default and nothing reads it, or norms are adaptive and
        ``condition_features`` is 0.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import TransformerDecoder
    >>> decoder = TransformerDecoder(6, num_heads=3).eval()
    >>> future, encoded = torch.ones(2, 5, 6), torch.ones(2, 7, 6)
    >>> decoder(future, encoded).shape
    torch.Size([2, 5, 6])
    >>> output, state = decoder.step(decoder.init_state(encoded), future[:, 0])
    >>> output.shape
    torch.Size([2, 6])
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_layers: int = 2,
        causal_attention: bool = True,
        attention: str = "multi_head",
        *,
        cross_attention: str | None = None,
        final_norm: bool = True,
        share_layers: bool = False,
        gradient_checkpointing: bool = False,
        input_size: int | None = None,
        output_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        check_causality(attention, causal_attention)
        _check_depth("decoder", num_layers, 1)
        self.causal_attention = causal_attention
        own = BlockOptions(d_model, num_heads, attention=attention, **options)
        self.separate = cross_attention is not None
        self.d_model = d_model
        self.input = _Input(input_size, d_model)
        self.blocks = BlockStack(
            lambda: DecoderBlock(
                cross_attention=cross_attention, stack_depth=num_layers, **vars(own)
            ),
            num_layers,
            share_layers,
            gradient_checkpointing,
        )
        self.final_norm = make_norm(
            own.norm if final_norm else None, d_model, own.condition_features
        )
        self.output = _output(d_model, output_size)

    def forward(
        self,
        decoded: Tensor,
        encoded: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        condition: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Decode the whole future.

        Parameters
        ----------
        decoded : Tensor of shape (batch, future_time, input_size or d_model)
        encoded : Tensor of shape (batch, past_time, d_model)
            Both left-aligned, padding last.
        past_lengths, future_lengths : Tensor of shape (batch,) or None
            Numbers of real steps; None where nothing is padded.
        condition : Tensor of shape (batch, condition_features) or None
            What adaptive norms follow.
        positions : tuple of two Tensors or None
            Positions of the past (batch or 1, past_time) and of the future (batch or 1,
            future_time), by which queries and keys are turned (rotary embedding).

        Returns
        -------
        Tensor of shape (batch, future_time, output_size or d_model)

        Raises
        ------
        ValueError
            If an input has another width, or a length is not between 1 and the number of steps.
        """
        forget_auxiliary_loss(self)
        decoded = self.input(decoded, future_lengths, "future")
        arguments = self._surround(decoded, encoded, past_lengths, future_lengths, positions)
        mask, real, positions = arguments
        for block in self.blocks.passed():
            decoded = self.blocks.run(block, decoded, encoded, mask, condition, real, positions)
        output: Tensor = self.output(self.final_norm(decoded, condition))
        return output

    def init_state(
        self,
        encoded: Tensor,
        past_lengths: Tensor | None = None,
        condition: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> TransformerDecoderState:
        """Read the encoder's output, for `step`.

        Parameters
        ----------
        encoded, past_lengths, condition
            As in `forward`.
        positions : Tensor of shape (batch or 1, past_time) or None
            Positions of the past (rotary embedding).

        Returns
        -------
        TransformerDecoderState

        Raises
        ------
        ValueError
            If the decoder is not causal, or ``encoded`` or its lengths are not as in `forward`.
        """
        check_stepwise(self.causal_attention)
        forget_auxiliary_loss(self)
        self._check_encoded(encoded, past_lengths)
        caches = tuple(block.start(encoded, condition, positions) for block in self.blocks.passed())
        mask = encoder_mask(encoded.shape[1], past_lengths, encoded.device)
        return TransformerDecoderState(caches, mask, condition)

    def step(
        self, state: TransformerDecoderState, decoded_t: Tensor, position: Tensor | None = None
    ) -> tuple[Tensor, TransformerDecoderState]:
        """Decode one future step, as `forward` would.

        Parameters
        ----------
        state : TransformerDecoderState
            Of `init_state` or of the step before; it stays as it is.
        decoded_t : Tensor of shape (batch, input_size or d_model)
        position : Tensor of shape (batch or 1, 1) or None
            The step's position (rotary embedding).

        Returns
        -------
        output_t : Tensor of shape (batch, output_size or d_model)
        state : TransformerDecoderState
            The state for the step after this.
        """
        # (batch, width) -> (batch, 1, width)
        decoded = self.input(decoded_t[:, None], None, "future")
        decoded, caches = self.blocks.step(
            decoded, state.caches, state.mask, state.condition, position
        )
        output: Tensor = self.output(self.final_norm(decoded, state.condition))
        return output[:, 0], state._replace(caches=caches, mask=extend_mask(state.mask))

    @in_evaluation
    def attention_weights(
        self,
        decoded: Tensor,
        encoded: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        condition: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
        block: int = -1,
    ) -> Tensor:
        """Return where the future steps look in one block.

        Parameters
        ----------
        decoded, encoded, past_lengths, future_lengths, condition, positions
            As in `forward`.
        block : int, default=-1
            Which block, counted from the end if negative; a shared one counts as often as it is
            applied.

        Returns
        -------
        Tensor of shape (batch, head, future_time, past_time + future_time)
            Those of the past alone, (batch, head, future_time, past_time), with a
            ``cross_attention``.

        Raises
        ------
        ValueError
            If there is no such block, or its attention has no weights.
        """
        *earlier, chosen = self.blocks.up_to(block, "num_layers")
        decoded = self.input(decoded, future_lengths, "future")
        mask, real, positions = self._surround(
            decoded, encoded, past_lengths, future_lengths, positions
        )
        for one in earlier:
            decoded = one(decoded, encoded, mask, condition, real, positions)
        weights: Tensor = chosen.attention_weights(decoded, encoded, mask, condition, positions)
        return weights

    def _surround(
        self,
        decoded: Tensor,
        encoded: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
        positions: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor | None, Tensor | None, tuple[Tensor, Tensor] | None]:
        # Where a step may look, which steps are real, and the positions of queries and keys.
        times, lengths = (encoded.shape[1], decoded.shape[1]), (past_lengths, future_lengths)
        self._check_encoded(encoded, past_lengths)
        # Of one attention, the past gives the first step its keys; of two, it is its own key.
        strict = not self.separate
        mask = decoder_mask(*times, *lengths, self.causal_attention, decoded.device, strict)
        real = real_steps(times[1], future_lengths, decoded.device)
        if positions is not None:
            past, future = positions
            rows = past.shape[0] if future.shape[0] == 1 else future.shape[0]
            # (batch or 1, past_time), (batch or 1, future_time) -> their steps end to end
            both = torch.cat((past.expand(rows, -1), future.expand(rows, -1)), dim=1)
            positions = future, both
        return mask, real, positions

    def _check_encoded(self, encoded: Tensor, lengths: Tensor | None) -> None:
        if encoded.ndim != 3 or encoded.shape[-1] != self.d_model:
            raise ValueError(
                f"Got encoded of shape {tuple(encoded.shape)}; expected (batch, time, "
                f"{self.d_model}), as wide as the decoder. Build the encoder with d_model or "
                f"output_size={self.d_model}."
            )
        check_lengths(lengths, encoded.shape[1], "past")


class _Input(nn.Module):
    """The linear map in front of a stack, where there is one, and the check of what enters."""

    def __init__(self, input_size: int | None, d_model: int) -> None:
        super().__init__()
        _check_size("input_size", input_size)
        self.width = d_model if input_size is None else input_size
        self.linear = None if input_size is None else nn.Linear(input_size, d_model)

    def forward(self, x: Tensor, lengths: Tensor | None, name: str) -> Tensor:
        """Map ``x`` (batch, time, width) to (batch, time, d_model)."""
        if x.ndim != 3 or x.shape[-1] != self.width:
            raise ValueError(
                f"Got a {name} of shape {tuple(x.shape)}; expected (batch, time, {self.width}). "
                f"Build it with input_size={x.shape[-1]}, or pass {self.width} features."
            )
        if self.linear is None:
            check_lengths(lengths, x.shape[1], name)
            return x
        # Raw features may hold anything in their padding, and zero times infinity is not zero.
        mapped: Tensor = self.linear(clear_padding(x, lengths, name))
        return mapped


def _output(d_model: int, output_size: int | None) -> nn.Module:
    _check_size("output_size", output_size)
    return nn.Identity() if output_size is None else nn.Linear(d_model, output_size)


def _check_size(name: str, size: int | None) -> None:
    if size is not None and size < 1:
        raise ValueError(
            f"Got {name}={size}; expected 1 or more, or None for no linear map. Pass a number of "
            "features."
        )


def _check_depth(part: str, num_layers: int, least: int) -> None:
    if num_layers < least:
        raise ValueError(
            f"Got num_layers={num_layers} for the {part}; expected {least} or more. An encoder may "
            "do without blocks; those of a decoder are what reads the past: pass 1 or more."
        )
