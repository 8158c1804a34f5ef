"""TransformerLSTM: an LSTM encoder-decoder refined by gated transformer blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention import decoder_mask, encoder_mask, make_attention
from sktime_tlstm.nn.gating import GateAddNorm, GatedResidualNetwork
from sktime_tlstm.nn.inputs import prepare_inputs
from sktime_tlstm.nn.recurrent import LSTMEncoderDecoder
from sktime_tlstm.nn.transformertf import load_transformertf_state_dict


class TransformerBlock(nn.Module):
    """Encoder self-attention, then attention of the decoder to both, each behind a gate.

    The equations stand in `TransformerLSTM`.

    Parameters
    ----------
    d_model : int
        Width of both sequences.
    num_heads : int
        Number of attention heads.
    dropout : float, default=0.0
        Dropout probability of attended values and in front of the gates.
    attention : str, default="interpretable"
        Kind of attention, one of `ATTENTIONS`.
    encoder_attention : bool, default=True
        Whether the encoder attends to itself; without, it passes unchanged.
    trainable_add : bool, default=False
        Whether the residuals of the gates are scaled by learned factors.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model`` or ``attention`` is unknown.

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
    ) -> None:
        super().__init__()
        self.encoder_attention = (
            make_attention(attention, d_model, num_heads, dropout) if encoder_attention else None
        )
        self.encoder_gate = (
            GateAddNorm(d_model, dropout, trainable_add) if encoder_attention else None
        )
        self.decoder_attention = make_attention(attention, d_model, num_heads, dropout)
        self.decoder_gate = GateAddNorm(d_model, dropout, trainable_add)

    def forward(
        self,
        encoded: Tensor,
        decoded: Tensor,
        encoder_mask: Tensor | None = None,
        decoder_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Refine both sequences, ``encoded`` and ``decoded``, each (batch, time, d_model)."""
        encoded = self._refine_encoded(encoded, encoder_mask)
        both = torch.cat((encoded, decoded), dim=1)
        attended = self.decoder_attention(decoded, both, both, decoder_mask)
        return encoded, self.decoder_gate(attended, decoded)

    def attention_weights(
        self,
        encoded: Tensor,
        decoded: Tensor,
        encoder_mask: Tensor | None = None,
        decoder_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the decoder's weights (batch, head, future_time, past_time + future_time)."""
        both = torch.cat((self._refine_encoded(encoded, encoder_mask), decoded), dim=1)
        return self.decoder_attention.weights(decoded, both, decoder_mask)

    def _refine_encoded(self, encoded: Tensor, mask: Tensor | None) -> Tensor:
        if self.encoder_attention is None or self.encoder_gate is None:
            return encoded
        attended = self.encoder_attention(encoded, encoded, encoded, mask)
        refined: Tensor = self.encoder_gate(attended, encoded)
        return refined


class TransformerLSTM(nn.Module):
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
        Dropout probability, in front of gates, of attended values and between LSTM layers.
    causal_attention : bool, default=True
        Whether a future step sees only the past and the future steps before it. Without, it sees
        the whole future, which is known in advance too.
    share_lstm_weights : bool, default=False
        Whether encoder and decoder are one LSTM.
    attention : {"interpretable", "multi_head"}, default="interpretable"
        Kind of attention.
    encoder_attention : bool, default=True
        Whether blocks have the encoder's self-attention; without, ``E`` passes them unchanged.
    trainable_add : bool, default=False
        Whether residuals around attention are scaled by learned factors.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, a name is unknown, or a number is out of its
        range.

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
    """

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
        encoder_attention: bool = True,
        trainable_add: bool = False,
    ) -> None:
        super().__init__()
        if num_transformer_blocks < 0:
            raise ValueError(
                f"Got num_transformer_blocks={num_transformer_blocks}; expected 0 or more. "
                "Pass 0 for the LSTM pair alone."
            )
        self.widths = (num_past_features, num_future_features)
        self.num_heads = num_heads
        self.causal_attention = causal_attention
        self.encoder_input = GatedResidualNetwork(
            num_past_features, d_model, d_model, dropout=dropout
        )
        self.decoder_input = GatedResidualNetwork(
            num_future_features, d_model, d_model, dropout=dropout
        )
        self.recurrent = LSTMEncoderDecoder(
            d_model, d_model, d_model, d_model, num_layers, dropout, share_lstm_weights
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(
                d_model, num_heads, dropout, attention, encoder_attention, trainable_add
            )
            for _ in range(num_transformer_blocks)
        )
        self.output = nn.Linear(d_model, output_dim)

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
        masks = self._masks(past, future, past_lengths, future_lengths)
        encoded, decoded = self._recur(past, future, past_lengths, future_lengths)
        for block in self.blocks:
            encoded, decoded = block(encoded, decoded, *masks)
        output: Tensor = self.output(decoded)
        return output

    @torch.no_grad()
    def attention_weights(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        block: int = -1,
    ) -> Tensor:
        """Return where the future steps look in one block.

        Parameters
        ----------
        past, future, past_lengths, future_lengths : Tensor
            As in `forward`.
        block : int, default=-1
            Which block, counted from the end if negative.

        Returns
        -------
        Tensor of shape (batch, head, future_time, past_time + future_time)

        Raises
        ------
        ValueError
            If there is no such block.
        """
        if not -len(self.blocks) <= block < len(self.blocks):
            raise ValueError(
                f"Got block={block} of a network with num_transformer_blocks={len(self.blocks)}; "
                "expected the index of one of its blocks. Attention weights need a network with "
                "at least one."
            )
        masks = self._masks(past, future, past_lengths, future_lengths)
        encoded, decoded = self._recur(past, future, past_lengths, future_lengths)
        *earlier, chosen = list(self.blocks)[: block % len(self.blocks) + 1]
        for one in earlier:
            encoded, decoded = one(encoded, decoded, *masks)
        return cast(TransformerBlock, chosen).attention_weights(encoded, decoded, *masks)

    def load_transformertf_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of TransformerTF's network of the same architecture.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            The reference network's ``state_dict()``.

        Raises
        ------
        ValueError
            If a name is missing or unexpected, or a shape or the number of heads differs.
        """
        load_transformertf_state_dict(self, state_dict, self.num_heads)

    def _masks(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        lengths = past_lengths, future_lengths
        times = past.shape[1], future.shape[1]
        return (
            encoder_mask(times[0], past_lengths, past.device),
            decoder_mask(*times, *lengths, self.causal_attention, past.device),
        )

    def _recur(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        past, future = self.encoder_input(past), self.decoder_input(future)
        encoded, decoded = self.recurrent(past, future, past_lengths)
        return encoded + past, decoded + future
