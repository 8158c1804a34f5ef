"""Transformer: an encoder of the past and a decoder of the future, without recurrence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.blocks import BlockNetwork, describe_rows
from sktime_tlstm.nn.branches import BlockOptions
from sktime_tlstm.nn.encoder_decoder import (
    TransformerDecoder,
    TransformerDecoderState,
    TransformerEncoder,
)
from sktime_tlstm.nn.frequency import check_width
from sktime_tlstm.nn.inputs import (
    check_static_features,
    prepare_inputs,
    prepare_past,
    prepare_static,
    prepare_step,
)
from sktime_tlstm.nn.inspection import in_evaluation
from sktime_tlstm.nn.positions import LearnedPositions, sinusoidal, window_positions
from sktime_tlstm.nn.randomness import Dropout


class _Sinusoidal(nn.Module):
    """Positions as fixed sines and cosines, added to the inputs."""

    turns = False

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, positions: Tensor, bound: int) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        return x + sinusoidal(positions, x.shape[-1], dtype).to(x.dtype)


class _Learned(LearnedPositions):
    """Positions as learned vectors, added to the inputs."""

    turns = False

    def forward(self, x: Tensor, positions: Tensor, bound: int) -> Tensor:  # type: ignore[override]
        return x + super().forward(positions, bound)


class _Rotary(nn.Module):
    """Positions by which queries and keys are turned; the inputs stay as they are."""

    turns = True

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, positions: Tensor, bound: int) -> Tensor:
        return x


POSITIONS: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {"sinusoidal": _Sinusoidal, "learned": _Learned, "rotary": _Rotary}
)


class TransformerState(NamedTuple):
    """What `Transformer.step` needs to know of a row's past and of the steps before it."""

    decoder: TransformerDecoderState
    #: (1, 1), int64: the position of the next step, counted from the cutoff.
    position: Tensor
    #: (batch, num_static_features).
    static: Tensor | None


class Transformer(BlockNetwork):
    r"""Encoder of the past and decoder of the future, made of attention and feed-forward layers.

    .. math::
        E &= \mathrm{Encoder}(W_e \, past + p), &
        D &= \mathrm{Decoder}(W_d \, future + p, E), &
        output &= \mathrm{Linear}(D)

    Vaswani et al. 2017, "Attention is all you need", with linear maps in the place of embeddings,
    attention of the decoder as in `TransformerDecoder`, and norms in front of the branches as in
    Xiong et al. 2020 (``norm_first=False`` for the original). Positions ``p`` are counted from each
    row's cutoff, so that neither the length of a past nor padding moves anything.

    Parameters
    ----------
    num_past_features, num_future_features : int
        Numbers of channels of the past and of the future.
    output_dim : int, default=1
        Numbers per future step: targets times parameters of the head.
    d_model : int, default=64
        Width of the network.
    num_encoder_layers : int, default=2
        Number of blocks of the encoder; zero leaves the past as the linear map and the positions
        give it, normalized where ``final_norm`` says so.
    num_decoder_layers : int, default=2
        Number of blocks of the decoder, at least 1.
    num_heads : int, default=4
        Number of attention heads, a divisor of ``d_model``.
    dropout : float, default=0.1
        Dropout probability of inputs, of attended values and within feed-forward layers.
    causal_attention : bool, default=True
        Whether a future step sees only the past and the future steps before it. Without, it sees
        the whole future, which is known in advance too.
    positions : {"sinusoidal", "learned", "rotary"}, default="sinusoidal"
        How steps tell their positions: fixed sines and cosines or learned vectors are added to the
        inputs; rotary ones turn queries and keys (and need an even width of heads).
    max_positions : int, default=512
        The longest past or future that learned positions serve.
    attention : {"multi_head", "interpretable", "frequency"}, default="multi_head"
        Kind of attention. "frequency" mixes whole sequences: it needs ``causal_attention=False``
        and positions that are not rotary.
    num_modes : int, default=32
        Of ``attention="frequency"``: number of Fourier modes that are kept, at least 2.
    attention_kernel : {"auto", "flash", "memory_efficient", "math"}, default="auto"
        Which of torch's kernels computes attention. Each refuses, in use, what it has no code for:
        "flash" on CUDA takes no mask, and causal or padded networks always give one.
    norm : {"layer", "rms", "adaptive"}, default="layer"
        Kind of normalization. Gain and bias of "adaptive" follow the mean of the row's past behind
        its linear map, and its static features.
    norm_first : bool, default=True
        Whether the input of each branch is normalized, and not the sum.
    final_norm : bool, default=True
        Whether the outputs of encoder and decoder are normalized.
    feedforward : {None, "relu", "gelu", "silu", "swiglu", "moe"}, default="gelu"
        Kind of the feed-forward layer after each attention; None for none.
    dim_feedforward : int or None, default=None
        Width within feed-forward layers; None for ``4 * d_model``.
    num_experts : int, default=4
        Number of experts of a mixture (``feedforward="moe"``).
    experts_per_token : int, default=2
        Number of experts of a mixture that see each step.
    capacity_factor : float or None, default=None
        How full an expert of a mixture may get in training; None for no limit.
    trainable_add : bool, default=False
        Whether residuals are scaled by learned factors.
    share_layers : bool, default=False
        Whether encoder and decoder apply one block each as often as they have layers.
    gradient_checkpointing : bool, default=False
        Whether training keeps only what passes between blocks and computes the rest again for the
        gradient: less memory, more time, the same result.
    num_static_features : int, default=0
        Number of features that describe a row as a whole, given as ``static``: part of the
        condition of adaptive norms, and with other norms added to both inputs by a linear map.
    expert : {"relu", "gelu", "silu", "swiglu"}, default="gelu"
        Kind of each expert of a mixture.
    cross_attention : {None, "multi_head", "interpretable"}, default=None
        Kind of the decoder's attention to the past; ``attention`` is then that of past and future
        each to itself, and with causality a future step sees itself too. None for one attention
        of the decoder that reads past and future together.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, a name is unknown, a number is out of its
        range, options exclude one another, or one is not its default and nothing reads it.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import Transformer
    >>> network = Transformer(3, 2, output_dim=5, d_model=8, num_heads=2)
    >>> past, future = torch.ones(2, 11, 3), torch.ones(2, 7, 2)
    >>> network(past, future, past_lengths=torch.tensor([11, 4])).shape
    torch.Size([2, 7, 5])
    >>> network.attention_weights(past, future).shape
    torch.Size([2, 2, 7, 18])

    Step by step:

    >>> state = network.eval().init_state(past)
    >>> output, state = network.step(state, future[:, 0])
    >>> output.shape
    torch.Size([2, 5])
    """

    #: Whether training in bfloat16 does as well.
    trains_in_bfloat16 = True

    def __init__(
        self,
        num_past_features: int,
        num_future_features: int,
        output_dim: int = 1,
        d_model: int = 64,
        num_encoder_layers: int = 2,
        num_decoder_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        causal_attention: bool = True,
        positions: str = "sinusoidal",
        max_positions: int = 512,
        attention: str = "multi_head",
        num_modes: int = 32,
        attention_kernel: str = "auto",
        norm: str = "layer",
        norm_first: bool = True,
        final_norm: bool = True,
        feedforward: str | None = "gelu",
        dim_feedforward: int | None = None,
        num_experts: int = 4,
        experts_per_token: int = 2,
        capacity_factor: float | None = None,
        trainable_add: bool = False,
        share_layers: bool = False,
        gradient_checkpointing: bool = False,
        num_static_features: int = 0,
        expert: str = "gelu",
        cross_attention: str | None = None,
    ) -> None:
        given = locals()
        super().__init__()
        _check_layers(num_encoder_layers, num_decoder_layers)
        _check_positions(positions, attention, d_model, num_heads)
        check_static_features(num_static_features)
        self.widths = (num_past_features, num_future_features)
        self.num_static_features = num_static_features
        self.condition_features = d_model + num_static_features if norm == "adaptive" else 0
        self._build_inputs(d_model, positions, max_positions, dropout)
        condition = self.condition_features
        options = BlockOptions.among(given, gated=False, condition_features=condition)
        stack: dict[str, Any] = {
            "final_norm": final_norm,
            "share_layers": share_layers,
            "gradient_checkpointing": gradient_checkpointing,
        }
        own = options if cross_attention is None else options.beside_cross_attention()
        self.encoder = TransformerEncoder(num_layers=num_encoder_layers, **stack, **vars(own))
        self.decoder = TransformerDecoder(
            num_layers=num_decoder_layers,
            causal_attention=causal_attention,
            cross_attention=cross_attention,
            **stack,
            **vars(options),
        )
        self.output = nn.Linear(d_model, output_dim)

    def forward(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        *,
        static: Tensor | None = None,
    ) -> Tensor:
        """Map a past and a known future to the numbers of every future step.

        Parameters
        ----------
        past : Tensor of shape (batch, past_time, num_past_features)
        future : Tensor of shape (batch, future_time, num_future_features)
            Both left-aligned, padding last.
        past_lengths, future_lengths : Tensor of shape (batch,), int64, or None
            Numbers of real steps, at least 1; None where nothing is padded.
        static : Tensor of shape (batch, num_static_features) or None
            Given exactly where the network was built with static features.

        Returns
        -------
        Tensor of shape (batch, future_time, output_dim)
        """
        arguments = self._encode_all(past, future, past_lengths, future_lengths, static)
        output: Tensor = self.output(self.decoder(*arguments))
        return output

    def init_state(
        self,
        past: Tensor,
        past_lengths: Tensor | None = None,
        *,
        static: Tensor | None = None,
    ) -> TransformerState:
        """Read the past, for `step`.

        Parameters
        ----------
        past, past_lengths, static : Tensor
            As in `forward`.

        Returns
        -------
        TransformerState

        Raises
        ------
        ValueError
            If the network is not causal.
        """
        past = prepare_past(past, past_lengths, self.widths[0])
        static = prepare_static(static, past.shape[0], self.num_static_features)
        steps, next_step = window_positions(past.shape[1], 1, past_lengths, past.device)
        encoded, condition = self._encode(past, past_lengths, static, steps)
        decoder = self.decoder.init_state(
            encoded, past_lengths, condition, steps if self.positions.turns else None
        )
        return TransformerState(decoder, next_step, static)

    def step(self, state: TransformerState, future_t: Tensor) -> tuple[Tensor, TransformerState]:
        """Decode one future step, as `forward` would.

        Parameters
        ----------
        state : TransformerState
            Of `init_state` or of the step before; it stays as it is.
        future_t : Tensor of shape (batch, num_future_features)
            The next step's known future.

        Returns
        -------
        output_t : Tensor of shape (batch, output_dim)
        state : TransformerState
            The state for the step after this.
        """
        cache = state.decoder.caches[0]
        future = self.future_input(prepare_step(future_t, cache.num_rows, self.widths[1]))
        # The cache holds all steps before this one, so that no position lies further off.
        decoded = self._embed(future, state.static, state.position, cache.num_steps)
        output, decoder = self.decoder.step(
            state.decoder, decoded[:, 0], state.position if self.positions.turns else None
        )
        return self.output(output), TransformerState(decoder, state.position + 1, state.static)

    @in_evaluation
    def attention_weights(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        block: int = -1,
        *,
        static: Tensor | None = None,
    ) -> Tensor:
        """Return where the future steps look in one block of the decoder.

        Parameters
        ----------
        past, future, past_lengths, future_lengths, static : Tensor
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
        arguments = self._encode_all(past, future, past_lengths, future_lengths, static)
        return self.decoder.attention_weights(*arguments, block=block)

    def _build_inputs(
        self, d_model: int, positions: str, max_positions: int, dropout: float
    ) -> None:
        self.past_input, self.future_input = (nn.Linear(width, d_model) for width in self.widths)
        self.static_input = (
            nn.Linear(self.num_static_features, d_model, bias=False)
            if self.num_static_features and not self.condition_features
            else None
        )
        self.positions = POSITIONS[positions](d_model, max_positions)
        self.dropout = Dropout(dropout)

    def _encode_all(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
        static: Tensor | None,
    ) -> tuple[
        Tensor,
        Tensor,
        Tensor | None,
        Tensor | None,
        Tensor | None,
        tuple[Tensor, Tensor] | None,
    ]:
        """Return the arguments of the decoder."""
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        static = prepare_static(static, past.shape[0], self.num_static_features)
        steps = window_positions(past.shape[1], future.shape[1], past_lengths, past.device)
        encoded, condition = self._encode(past, past_lengths, static, steps[0])
        decoded = self._embed(self.future_input(future), static, steps[1], future.shape[1])
        turned = steps if self.positions.turns else None
        return decoded, encoded, past_lengths, future_lengths, condition, turned

    def _encode(
        self, past: Tensor, lengths: Tensor | None, static: Tensor | None, steps: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        past = self.past_input(past)
        condition = describe_rows(past, lengths, static) if self.condition_features else None
        turned = steps if self.positions.turns else None
        embedded = self._embed(past, static, steps, past.shape[1])
        return self.encoder(embedded, lengths, condition, turned), condition

    def _embed(self, x: Tensor, static: Tensor | None, steps: Tensor, bound: int) -> Tensor:
        if self.static_input is not None and static is not None:
            # (batch, d_model) -> (batch, 1, d_model), the same at every step
            x = x + self.static_input(static)[:, None]
        embedded: Tensor = self.dropout(self.positions(x, steps, bound))
        return embedded


def _check_layers(num_encoder_layers: int, num_decoder_layers: int) -> None:
    if num_encoder_layers < 0 or num_decoder_layers < 1:
        raise ValueError(
            f"Got num_encoder_layers={num_encoder_layers} and num_decoder_layers="
            f"{num_decoder_layers}; expected at least 0 and 1. Only the decoder's blocks read the "
            "past: pass 1 or more of them."
        )


def _check_positions(positions: str, attention: str, d_model: int, num_heads: int) -> None:
    if positions not in POSITIONS:
        raise ValueError(f"Got positions={positions!r}; expected one of {list(POSITIONS)}.")
    if positions != "rotary":
        return
    check_width(d_model, num_heads)
    if attention == "frequency":
        raise ValueError(
            "Got positions='rotary' with attention='frequency'; expected other positions, for "
            "there are no queries and keys to turn. Pass positions='sinusoidal' or 'learned'."
        )
    if d_model % (2 * num_heads):
        raise ValueError(
            f"Got d_model={d_model} and num_heads={num_heads} with positions='rotary'; expected "
            "heads of an even width, for features are turned in pairs. Pass a d_model that is a "
            "multiple of 2 * num_heads, or other positions."
        )
