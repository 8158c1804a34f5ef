"""TransformerLSTM: an LSTM encoder-decoder refined by gated transformer blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.blocks import (
    BlockNetwork,
    BlockStack,
    TransformerBlock,
    check_causality,
    check_stepwise,
    describe_rows,
)
from sktime_tlstm.nn.branches import BlockOptions, DecoderCache
from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.nn.feedforward import forget_auxiliary_loss
from sktime_tlstm.nn.gating import GatedResidualNetwork
from sktime_tlstm.nn.inputs import (
    check_static_features,
    prepare_inputs,
    prepare_past,
    prepare_static,
    prepare_step,
)
from sktime_tlstm.nn.inspection import in_evaluation
from sktime_tlstm.nn.local import LocalWindow
from sktime_tlstm.nn.masks import decoder_mask, encoder_mask, extend_mask, real_steps
from sktime_tlstm.nn.normalization import make_norm
from sktime_tlstm.nn.recurrent import LSTMEncoderDecoder, State
from sktime_tlstm.nn.transformertf import load_transformertf_state_dict

#: Future steps of all rows that a network with a window decodes at once.
STEPS_AT_ONCE = 2**15


class TransformerLSTMState(NamedTuple):
    """What `TransformerLSTM.step` needs to know of a row's past and of the steps before it."""

    #: ``h`` and ``c`` of the decoder, each (num_layers, batch, d_model).
    recurrent: State
    #: Keys and values of each block, in order.
    caches: tuple[DecoderCache, ...]
    #: (batch, 1, 1, time), bool: True at the steps of the caches that are real; None for all.
    mask: Tensor | None
    #: (batch, condition_features): what adaptive norms follow.
    condition: Tensor | None
    #: (batch, num_static_features).
    static: Tensor | None


class TransformerLSTM(BlockNetwork):
    r"""LSTM encoder-decoder refined by gated transformer blocks.

    .. math::
        G_e &= \mathrm{GRN}(past), &
        E, (h, c) &= \mathrm{LSTM}_e(G_e), & E &\leftarrow E + G_e \\
        G_d &= \mathrm{GRN}(future), &
        D, \_ &= \mathrm{LSTM}_d(G_d, (h, c)), & D &\leftarrow D + G_d

    then, in each block,

    .. math::
        E &\leftarrow \mathrm{GateAddNorm}(\mathrm{Attention}(E, E, E), E) \\
        Z &= [E; D] \\
        D &\leftarrow \mathrm{GateAddNorm}(\mathrm{Attention}(D, Z, Z), D)

    and ``output = Linear(D)``. The gates and the interpretable attention are those of Lim et al.
    2021, "Temporal Fusion Transformers" (equations 2 to 5 and 13 to 16); the network is that of
    TransformerTF, whose weights `load_transformertf_state_dict` reads.

    With a feed-forward layer, ``GateAddNorm(FeedForward(E), E)`` follows each attention, and so for
    ``D``; with ``norm_first``, a branch reads ``Norm(x)`` and the sum is not normalized. One block
    without feed-forward layers starts as its layers do; of more branches each starts smaller
    (`Branch`), in the default network by the square root of two.

    Parameters
    ----------
    num_past_features, num_future_features : int
        Numbers of channels of the past and of the future.
    output_dim : int, default=1
        Numbers per future step: targets times parameters of the head.
    d_model : int, default=128
        Width of the network.
    num_layers : int, default=2
        Number of layers of each LSTM.
    num_transformer_blocks : int, default=2
        Number of blocks; zero leaves the LSTM pair.
    num_heads : int, default=4
        Number of attention heads, a divisor of ``d_model``.
    dropout : float, default=0.1
        Dropout probability, in front of gates, of attended values, within feed-forward layers and
        between LSTM layers.
    causal_attention : bool, default=True
        Whether a future step sees only the past and the future steps before it. Without, it sees
        the whole future, which is known in advance too.
    share_lstm_weights : bool, default=False
        Whether encoder and decoder are one LSTM.
    attention : {"interpretable", "multi_head", "frequency"}, default="interpretable"
        Kind of attention. "frequency" mixes whole sequences, and needs ``causal_attention=False``.
    num_modes : int, default=32
        Of ``attention="frequency"``: number of Fourier modes that are kept, at least 2.
    encoder_attention : bool, default=True
        Whether blocks have the encoder's self-attention (and its feed-forward layer); without,
        ``E`` passes them unchanged.
    trainable_add : bool, default=False
        Whether residuals within blocks are scaled by learned factors.
    norm : {"layer", "rms", "adaptive"}, default="layer"
        Kind of normalization within blocks. Gain and bias of "adaptive" follow the mean of the
        row's past behind its input network, if it has one, and its static features.
    norm_first : bool, default=False
        Whether the input of each branch is normalized, and not the sum.
    final_norm : bool, default=False
        Whether ``D`` is normalized in front of the output.
    feedforward : {None, "relu", "gelu", "silu", "swiglu", "moe"}, default=None
        Kind of the feed-forward layer after each attention; None for none.
    dim_feedforward : int or None, default=None
        Width within feed-forward layers; None for ``4 * d_model``.
    num_experts : int, default=4
        Number of experts of a mixture (``feedforward="moe"``).
    experts_per_token : int, default=2
        Number of experts of a mixture that see each step.
    capacity_factor : float or None, default=None
        How full an expert of a mixture may get in training; None for no limit.
    share_layers : bool, default=False
        Whether one block is applied ``num_transformer_blocks`` times.
    gradient_checkpointing : bool, default=False
        Whether training keeps only what passes between blocks and computes the rest again for the
        gradient: less memory, more time, the same result.
    attention_kernel : {"auto", "flash", "memory_efficient", "math"}, default="auto"
        Which of torch's kernels computes attention. Each refuses, in use, what it has no code for:
        "flash" on CUDA takes no mask, and causal or padded networks always give one.
    num_static_features : int, default=0
        Number of features that describe a row as a whole, given as ``static``. They are the context
        of both input networks, or beside both inputs without these.
    expert : {"relu", "gelu", "silu", "swiglu"}, default="gelu"
        Kind of each expert of a mixture.
    attention_window : int or None, default=None
        Number of steps just before it that each future step attends to, past or future, whatever
        ``causal_attention`` says; None for all. With a window the network takes futures of any
        length, at a cost that is linear in it: the LSTM's state and the window are carried on. It
        needs ``encoder_attention=False``.
    gated_inputs : bool, default=True
        Whether past and future pass a gated residual network each. Without, the LSTMs read them as
        they are, static features beside them, and nothing is added to what the LSTMs make of them:
        :math:`G_e` and :math:`G_d` are the inputs themselves.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, a name is unknown, a number is out of its
        range, the attention cannot be causal or local and is to be, or an option is not its default
        and nothing reads it.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import TransformerLSTM
    >>> network = TransformerLSTM(3, 2, output_dim=5, d_model=8, num_heads=2)
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

    encoder_input: GatedResidualNetwork | None
    decoder_input: GatedResidualNetwork | None

    def __init__(
        self,
        num_past_features: int,
        num_future_features: int,
        output_dim: int = 1,
        d_model: int = 128,
        num_layers: int = 2,
        num_transformer_blocks: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        causal_attention: bool = True,
        share_lstm_weights: bool = False,
        attention: str = "interpretable",
        num_modes: int = 32,
        encoder_attention: bool = True,
        trainable_add: bool = False,
        norm: str = "layer",
        norm_first: bool = False,
        final_norm: bool = False,
        feedforward: str | None = None,
        dim_feedforward: int | None = None,
        num_experts: int = 4,
        experts_per_token: int = 2,
        capacity_factor: float | None = None,
        share_layers: bool = False,
        gradient_checkpointing: bool = False,
        attention_kernel: str = "auto",
        num_static_features: int = 0,
        expert: str = "gelu",
        attention_window: int | None = None,
        gated_inputs: bool = True,
    ) -> None:
        given = locals()
        super().__init__()
        _check_numbers(num_transformer_blocks, num_static_features)
        _check_window(attention_window, attention, encoder_attention)
        check_causality(attention, causal_attention)
        self.attention_window = attention_window
        self.widths = (num_past_features, num_future_features)
        self.num_heads, self.causal_attention = num_heads, causal_attention
        self.num_static_features = num_static_features
        self.gated_inputs = gated_inputs
        described = (d_model if gated_inputs else num_past_features) + num_static_features
        self.condition_features = described if norm == "adaptive" else 0
        self._build_lstm_pair(d_model, num_layers, dropout, share_lstm_weights)
        condition = self.condition_features
        options = BlockOptions.among(given, gated=True, condition_features=condition)
        self.blocks = BlockStack(
            lambda: TransformerBlock(
                **vars(options),
                encoder_attention=encoder_attention,
                stack_depth=num_transformer_blocks,
            ),
            num_transformer_blocks,
            share_layers,
            gradient_checkpointing,
        )
        self.final_norm = make_norm(norm if final_norm else None, d_model, self.condition_features)
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
        forget_auxiliary_loss(self)
        if self.attention_window is not None:
            return self._carried_on(past, future, past_lengths, future_lengths, static)
        masks = self._masks(past, future, past_lengths, future_lengths)
        encoded, decoded, condition = self._recur(
            past, future, past_lengths, future_lengths, static
        )
        for block in self.blocks.passed():
            encoded, decoded = self.blocks.run(block, encoded, decoded, *masks, condition)
        output: Tensor = self.output(self.final_norm(decoded, condition))
        return output

    def init_state(
        self,
        past: Tensor,
        past_lengths: Tensor | None = None,
        *,
        static: Tensor | None = None,
    ) -> TransformerLSTMState:
        """Read the past, for `step`.

        Parameters
        ----------
        past, past_lengths, static : Tensor
            As in `forward`.

        Returns
        -------
        TransformerLSTMState

        Raises
        ------
        ValueError
            If the network is not causal, or has an ``attention_window``.
        """
        self._refuse_window("init_state")
        check_stepwise(self.causal_attention)
        forget_auxiliary_loss(self)
        past = prepare_past(past, past_lengths, self.widths[0])
        static = prepare_static(static, past.shape[0], self.num_static_features)
        past = self._enter(self.encoder_input, past, static)
        encoded, recurrent = self.recurrent.encode(past, past_lengths)
        mask = encoder_mask(past.shape[1], past_lengths, past.device)
        condition = self._describe(past, past_lengths, static)
        encoded, caches = self._added(encoded, past), []
        for block in self.blocks.passed():
            encoded = block.encode(encoded, mask, condition)
            caches.append(block.start(encoded, condition))
        return TransformerLSTMState(recurrent, tuple(caches), mask, condition, static)

    def step(
        self, state: TransformerLSTMState, future_t: Tensor
    ) -> tuple[Tensor, TransformerLSTMState]:
        """Decode one future step, as `forward` would.

        Parameters
        ----------
        state : TransformerLSTMState
            Of `init_state` or of the step before; it stays as it is.
        future_t : Tensor of shape (batch, num_future_features)
            The next step's known future.

        Returns
        -------
        output_t : Tensor of shape (batch, output_dim)
        state : TransformerLSTMState
            The state for the step after this.
        """
        future = prepare_step(future_t, state.recurrent[0].shape[1], self.widths[1])
        future = self._enter(self.decoder_input, future, state.static)
        decoded, recurrent = self.recurrent.decode(future, state.recurrent)
        decoded, caches = self.blocks.step(
            self._added(decoded, future), state.caches, state.mask, state.condition
        )
        output: Tensor = self.output(self.final_norm(decoded, state.condition))
        mask = extend_mask(state.mask)
        return output[:, 0], state._replace(recurrent=recurrent, caches=caches, mask=mask)

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
        """Return where the future steps look in one block.

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

        Raises
        ------
        ValueError
            If there is no such block, its attention has no weights, or there is an
            ``attention_window``.
        """
        self._refuse_window("attention_weights")
        *earlier, chosen = self.blocks.up_to(block, "num_transformer_blocks")
        masks = self._masks(past, future, past_lengths, future_lengths)
        encoded, decoded, condition = self._recur(
            past, future, past_lengths, future_lengths, static
        )
        for one in earlier:
            encoded, decoded = one(encoded, decoded, *masks, condition)
        weights: Tensor = chosen.attention_weights(encoded, decoded, *masks[:2], condition)
        return weights

    def load_transformertf_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the weights of TransformerTF's network of the same architecture.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            The reference network's ``state_dict()``, or that of its Lightning module, whose prefix
            ``model.`` is stripped, or a Lightning checkpoint.

        Raises
        ------
        ValueError
            If a name is missing or unexpected, or a shape or the number of heads differs.
        """
        load_transformertf_state_dict(self, state_dict, self.num_heads)

    def _refuse_window(self, method: str) -> None:
        if self.attention_window is not None:
            raise ValueError(
                f"Got a call of {method} of a network with attention_window="
                f"{self.attention_window}; expected one without. Call forward, which takes futures "
                "of any length, or build the network with attention_window=None."
            )

    def _build_lstm_pair(
        self, d_model: int, num_layers: int, dropout: float, share_weights: bool
    ) -> None:
        past, future = (width + self.num_static_features for width in self.widths)
        if not self.gated_inputs and share_weights and past != future:
            raise ValueError(
                f"Got share_lstm_weights=True and gated_inputs=False with inputs of {past} and "
                f"{future} features; expected as many, for one LSTM reads both. Pass "
                "gated_inputs=True, which brings them to one width, or share_lstm_weights=False."
            )
        self.encoder_input = self.decoder_input = None
        if self.gated_inputs:
            context_features = self.num_static_features or None
            self.encoder_input, self.decoder_input = (
                GatedResidualNetwork(width, d_model, d_model, context_features, dropout)
                for width in self.widths
            )
            past = future = d_model
        self.recurrent = LSTMEncoderDecoder(
            past, future, d_model, d_model, num_layers, dropout, share_weights
        )

    def _enter(
        self, network: GatedResidualNetwork | None, sequence: Tensor, static: Tensor | None
    ) -> Tensor:
        """Return what an LSTM reads of a past or a future."""
        context = _as_context(static)
        if network is not None:
            entered: Tensor = network(sequence, context)
            return entered
        if context is None:
            return sequence
        return torch.cat([sequence, context.expand(-1, sequence.shape[1], -1)], dim=-1)

    def _added(self, recurrent: Tensor, entered: Tensor) -> Tensor:
        """Return what an LSTM makes of its input, with that where it is as wide."""
        return recurrent + entered if self.gated_inputs else recurrent

    def _carried_on(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
        static: Tensor | None,
    ) -> Tensor:
        """Do what `forward` does, piece by piece of the future: what lies between is forgotten."""
        assert self.attention_window is not None
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        static = prepare_static(static, past.shape[0], self.num_static_features)
        past = self._enter(self.encoder_input, past, static)
        encoded, recurrent = self.recurrent.encode(past, past_lengths)
        condition = self._describe(past, past_lengths, static)
        window = LocalWindow.after(
            self._added(encoded, past),
            past_lengths,
            self.attention_window,
            len(self.blocks.passed()),
        )
        outputs, steps = [], future.shape[1]
        if is_readable(past):  # while it is exported, the batch has no number
            steps = max(1, STEPS_AT_ONCE // len(past))
        for piece in future.split(steps, dim=1):
            piece = self._enter(self.decoder_input, piece, static)
            decoded, recurrent = self.recurrent.decode(piece, recurrent)
            decoded, window = window.refine(self.blocks, self._added(decoded, piece), condition)
            outputs.append(self.output(self.final_norm(decoded, condition)))
        return torch.cat(outputs, dim=1)

    def _masks(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        # Where the encoder and the decoder may look, and which future steps are real.
        times, lengths = (past.shape[1], future.shape[1]), (past_lengths, future_lengths)
        return (
            encoder_mask(times[0], past_lengths, past.device),
            decoder_mask(*times, *lengths, self.causal_attention, past.device),
            real_steps(times[1], future_lengths, past.device),
        )

    def _recur(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
        static: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        static = prepare_static(static, past.shape[0], self.num_static_features)
        past = self._enter(self.encoder_input, past, static)
        future = self._enter(self.decoder_input, future, static)
        encoded, decoded = self.recurrent(past, future, past_lengths)
        condition = self._describe(past, past_lengths, static)
        return self._added(encoded, past), self._added(decoded, future), condition

    def _describe(
        self, past: Tensor, lengths: Tensor | None, static: Tensor | None
    ) -> Tensor | None:
        if not self.condition_features:
            return None
        past = past if self.gated_inputs else past[..., : self.widths[0]]  # static ones lie behind
        return describe_rows(past, lengths, static)


def _check_window(window: int | None, attention: str, encoder_attention: bool) -> None:
    if window is None:
        return
    if window < 1:
        raise ValueError(
            f"Got attention_window={window}; expected 1 or more, or None for attention to all "
            "steps. Pass a number of steps."
        )
    if attention == "frequency" or encoder_attention:
        raise ValueError(
            f"Got attention_window={window} with attention={attention!r} and "
            f"encoder_attention={encoder_attention}, which look at whole sequences; expected "
            "neither. Pass attention='multi_head' or 'interpretable' and encoder_attention=False."
        )


def _check_numbers(num_transformer_blocks: int, num_static_features: int) -> None:
    check_static_features(num_static_features)
    if num_transformer_blocks < 0:
        raise ValueError(
            f"Got num_transformer_blocks={num_transformer_blocks}; expected 0 or more. "
            "Pass 0 for the LSTM pair alone."
        )


def _as_context(static: Tensor | None) -> Tensor | None:
    # (batch, num_static_features) -> (batch, 1, num_static_features), the same at every step
    return None if static is None else static[:, None]
