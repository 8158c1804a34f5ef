"""AttentionLSTM: an LSTM encoder-decoder whose decoder looks back once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention import InterpretableMultiHeadAttention
from sktime_tlstm.nn.blocks import check_stepwise
from sktime_tlstm.nn.branches import Cache
from sktime_tlstm.nn.gating import AddNorm, GateAddNorm
from sktime_tlstm.nn.inputs import prepare_inputs, prepare_past, prepare_step
from sktime_tlstm.nn.inspection import in_evaluation
from sktime_tlstm.nn.masks import decoder_mask, encoder_mask, extend_mask
from sktime_tlstm.nn.recurrent import LSTMEncoderDecoder, State
from sktime_tlstm.nn.transformertf import load_transformertf_state_dict


class AttentionLSTMState(NamedTuple):
    """What `AttentionLSTM.step` needs to know of a row's past and of the steps before it."""

    #: ``h`` and ``c`` of the decoder, each (num_layers, batch, decoder_width).
    recurrent: State
    #: Keys and values of the past and of the future steps so far.
    cache: Cache
    #: (batch, 1, 1, time), bool: True at the steps of the cache that are real; None for all.
    mask: Tensor | None


class AttentionLSTM(nn.Module):
    r"""LSTM encoder-decoder with interpretable attention on top.

    .. math::
        E, (h, c) &= \mathrm{LSTM}_e(past), \qquad D, \_ = \mathrm{LSTM}_d(future, (h, c)) \\
        Z &= [E; D], \qquad A = \mathrm{Attention}(D, Z, Z) \\
        output &= \mathrm{Linear}(\mathrm{GateAddNorm}(A, D))

    or ``Linear(LayerNorm(A + D))`` without gating. The attention and the gate are those of Lim et
    al. 2021, "Temporal Fusion Transformers" (equations 5 and 13 to 16); the network is that of
    TransformerTF, whose weights `load_transformertf_state_dict` reads.

    Parameters
    ----------
    num_past_features, num_future_features : int
        Numbers of channels of the past and of the future.
    output_dim : int, default=1
        Numbers per future step: targets times parameters of the head.
    d_model : int, default=128
        Width of each LSTM whose own width is not given. Attention and gate are as wide as the
        decoder.
    num_layers : int, default=2
        Number of layers of each LSTM.
    dropout : float, default=0.1
        Dropout probability, between LSTM layers, of attended values and in front of the gate.
    num_heads : int, default=4
        Number of attention heads, a divisor of the decoder's width.
    use_gating : bool, default=True
        Whether a gate stands in front of the residual connection.
    trainable_add : bool, default=False
        Whether the residual is scaled by learned factors.
    causal_attention : bool, default=True
        Whether a future step sees only the past and the future steps before it.
    d_encoder, d_decoder : int or None, default=None
        Widths of the LSTMs; None means ``d_model``. Where they differ, the encoder's state and
        output pass through linear maps to the decoder's width.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide the decoder's width, or a number is out of its range.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import AttentionLSTM
    >>> network = AttentionLSTM(3, 2, output_dim=5, d_model=8, num_heads=2, d_encoder=7)
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
        d_model: int = 128,
        num_layers: int = 2,
        dropout: float = 0.1,
        num_heads: int = 4,
        use_gating: bool = True,
        trainable_add: bool = False,
        causal_attention: bool = True,
        d_encoder: int | None = None,
        d_decoder: int | None = None,
    ) -> None:
        super().__init__()
        encoder_width = d_model if d_encoder is None else d_encoder
        decoder_width = d_model if d_decoder is None else d_decoder
        self.widths = (num_past_features, num_future_features)
        self.num_heads = num_heads
        self.causal_attention = causal_attention
        self.recurrent = LSTMEncoderDecoder(
            num_past_features,
            num_future_features,
            encoder_width,
            decoder_width,
            num_layers,
            dropout,
        )
        self.attention = InterpretableMultiHeadAttention(decoder_width, num_heads, dropout)
        self.combine = (
            GateAddNorm(decoder_width, dropout, trainable_add)
            if use_gating
            else AddNorm(decoder_width, trainable_add)
        )
        self.output = nn.Linear(decoder_width, output_dim)

    def forward(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
    ) -> Tensor:
        """Map a past and a known future to the numbers of every future step.

        Parameters
        ----------
        past : Tensor of shape (batch, past_time, num_past_features)
        future : Tensor of shape (batch, future_time, num_future_features)
            Both left-aligned, padding last.
        past_lengths, future_lengths : Tensor of shape (batch,), int64, or None
            Numbers of real steps, at least 1; None where nothing is padded.

        Returns
        -------
        Tensor of shape (batch, future_time, output_dim)
        """
        both, decoded, mask = self._recur(past, future, past_lengths, future_lengths)
        attended = self.attention(decoded, both, both, mask)
        output: Tensor = self.output(self.combine(attended, decoded))
        return output

    def init_state(self, past: Tensor, past_lengths: Tensor | None = None) -> AttentionLSTMState:
        """Read the past, for `step`.

        Parameters
        ----------
        past, past_lengths : Tensor
            As in `forward`.

        Returns
        -------
        AttentionLSTMState

        Raises
        ------
        ValueError
            If the network is not causal.
        """
        check_stepwise(self.causal_attention)
        past = prepare_past(past, past_lengths, self.widths[0])
        encoded, recurrent = self.recurrent.encode(past, past_lengths)
        mask = encoder_mask(past.shape[1], past_lengths, past.device)
        return AttentionLSTMState(recurrent, Cache(*self.attention.project(encoded)), mask)

    def step(
        self, state: AttentionLSTMState, future_t: Tensor
    ) -> tuple[Tensor, AttentionLSTMState]:
        """Decode one future step, as `forward` would.

        Parameters
        ----------
        state : AttentionLSTMState
            Of `init_state` or of the step before; it stays as it is.
        future_t : Tensor of shape (batch, num_future_features)
            The next step's known future.

        Returns
        -------
        output_t : Tensor of shape (batch, output_dim)
        state : AttentionLSTMState
            The state for the step after this.
        """
        future = prepare_step(future_t, state.recurrent[0].shape[1], self.widths[1])
        decoded, recurrent = self.recurrent.decode(future, state.recurrent)
        attended = self.attention.attend(decoded, *state.cache, state.mask)
        output: Tensor = self.output(self.combine(attended, decoded))
        cache = state.cache.append(Cache(*self.attention.project(decoded)))
        return output[:, 0], AttentionLSTMState(recurrent, cache, extend_mask(state.mask))

    @in_evaluation
    def attention_weights(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
    ) -> Tensor:
        """Return where the future steps look.

        Parameters
        ----------
        past, future, past_lengths, future_lengths : Tensor
            As in `forward`.

        Returns
        -------
        Tensor of shape (batch, head, future_time, past_time + future_time)
        """
        both, decoded, mask = self._recur(past, future, past_lengths, future_lengths)
        return self.attention.weights(decoded, both, mask)

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

    def _recur(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        encoded, decoded = self.recurrent(past, future, past_lengths)
        mask = decoder_mask(
            past.shape[1],
            future.shape[1],
            past_lengths,
            future_lengths,
            self.causal_attention,
            past.device,
        )
        # (batch, past_time, width), (batch, future_time, width) -> their steps end to end
        return torch.cat((encoded, decoded), dim=1), decoded, mask
