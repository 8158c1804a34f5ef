"""The LSTM encoder-decoder pair that every LSTM network shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

State = tuple[Tensor, Tensor]


class LSTMEncoderDecoder(nn.Module):
    r"""Encoder LSTM over the past, decoder LSTM over the future, started from the encoder's state.

    .. math:: E, (h, c) = \mathrm{LSTM}_e(past), \qquad D, \_ = \mathrm{LSTM}_d(future, (h, c))

    Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 2. The
    state of every layer passes from the encoder to the decoder. Where their widths differ, ``h``,
    ``c`` and ``E`` pass through linear maps to the decoder's width.

    Parameters
    ----------
    past_features, future_features : int
        Widths of the two inputs.
    encoder_width, decoder_width : int
        Widths of the two LSTMs.
    num_layers : int, default=1
        Number of layers of each LSTM.
    dropout : float, default=0.0
        Dropout probability between layers; there is none after the last.
    share_weights : bool, default=False
        Whether both are the same ``nn.LSTM`` object.

    Raises
    ------
    ValueError
        If weights are to be shared between LSTMs of different shapes, or a length is not between
        1 and the number of steps.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import LSTMEncoderDecoder
    >>> pair = LSTMEncoderDecoder(3, 2, encoder_width=7, decoder_width=5)
    >>> encoded, decoded = pair(torch.ones(2, 11, 3), torch.ones(2, 4, 2), torch.tensor([11, 6]))
    >>> encoded.shape, decoded.shape
    (torch.Size([2, 11, 5]), torch.Size([2, 4, 5]))
    """

    def __init__(
        self,
        past_features: int,
        future_features: int,
        encoder_width: int,
        decoder_width: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        share_weights: bool = False,
    ) -> None:
        super().__init__()
        shapes = (past_features, encoder_width), (future_features, decoder_width)
        if share_weights and shapes[0] != shapes[1]:
            raise ValueError(
                "Got share_weights=True for LSTMs of different shapes: (input, width) = "
                f"{shapes[0]} and {shapes[1]}; expected the same. Pass share_weights=False, or "
                "equal widths."
            )
        # nn.LSTM warns of dropout that has no second layer to act on.
        between = dropout if num_layers > 1 else 0.0
        self.encoder = nn.LSTM(*shapes[0], num_layers, dropout=between, batch_first=True)
        self.decoder = (
            self.encoder
            if share_weights
            else nn.LSTM(*shapes[1], num_layers, dropout=between, batch_first=True)
        )
        self.hidden_projection = _projection(encoder_width, decoder_width)
        self.cell_projection = _projection(encoder_width, decoder_width)
        self.encoded_projection = _projection(encoder_width, decoder_width)

    def forward(
        self, past: Tensor, future: Tensor, past_lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode the past and decode the future.

        Returns
        -------
        encoded : Tensor of shape (batch, past_time, decoder_width)
        decoded : Tensor of shape (batch, future_time, decoder_width)
        """
        encoded, state = self.encode(past, past_lengths)
        decoded, _ = self.decode(future, state)
        return encoded, decoded

    def encode(self, past: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run the encoder and hand over the state at each row's last real step.

        Parameters
        ----------
        past : Tensor of shape (batch, past_time, past_features)
            Left-aligned, padding last.
        lengths : Tensor of shape (batch,) or None
            Numbers of real steps. Kept on the host they spare a device one wait.

        Returns
        -------
        encoded : Tensor of shape (batch, past_time, decoder_width)
        state : tuple of two Tensors of shape (num_layers, batch, decoder_width)
        """
        encoded, (hidden, cell) = self._encode(past, None if lengths is None else lengths.cpu())
        state = self.hidden_projection(hidden), self.cell_projection(cell)
        return self.encoded_projection(encoded), state

    def decode(self, future: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the decoder from ``state``; needs no lengths, for padding comes last.

        Returns
        -------
        decoded : Tensor of shape (batch, future_time, decoder_width)
        state : tuple of two Tensors of shape (num_layers, batch, decoder_width)
        """
        decoded, state = self.decoder(future, state)
        return decoded, state

    def _encode(self, past: Tensor, lengths: Tensor | None) -> tuple[Tensor, State]:
        time = past.shape[1]
        if lengths is None:
            encoded, state = self.encoder(past)
            return encoded, state
        if int(lengths.min()) < 1 or int(lengths.max()) > time:
            raise ValueError(
                f"Got past_lengths between {int(lengths.min())} and {int(lengths.max())} for a "
                f"past of {time} steps; expected lengths from 1 to {time}. Give an empty past one "
                "row of zeros."
            )
        if int(lengths.min()) == time:
            return self._encode(past, None)
        return (_run_packed if past.is_cuda else _run_in_segments)(self.encoder, past, lengths)


def _projection(in_features: int, out_features: int) -> nn.Module:
    return nn.Identity() if in_features == out_features else nn.Linear(in_features, out_features)


def _run_packed(lstm: nn.LSTM, past: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
    """Run ``lstm`` on the real steps, as cuDNN likes it; ``lengths`` are on the host."""
    packed = pack_padded_sequence(past, lengths, batch_first=True, enforce_sorted=False)
    packed, state = lstm(packed)
    encoded, _ = pad_packed_sequence(packed, batch_first=True, total_length=past.shape[1])
    return encoded, state


def _run_in_segments(lstm: nn.LSTM, past: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
    """Do what `_run_packed` does, several times faster on a CPU.

    There, the gradient of a packed sequence costs time quadratic in its steps. Instead the longest
    rows come first, and each stretch of time between two lengths is one ordinary call on the rows
    that are still running.
    """
    order = lengths.argsort(descending=True)
    stops, rows = torch.unique(lengths, return_counts=True)
    running = rows.flip(0).cumsum(0).flip(0).tolist()  # rows which reach each stop
    stretches = torch.diff(stops, prepend=stops.new_zeros(1)).tolist()
    padding = past.shape[1] - sum(stretches)
    pieces = torch.split(past[order], [*stretches, padding], dim=1)[:-1]
    state: State | None = None
    outputs, finished = [], []
    for piece, alive, remaining in zip(pieces, running, [*running[1:], 0], strict=True):
        output, (hidden, cell) = lstm(piece[:alive], state)
        outputs.append(functional.pad(output, (0, 0, 0, 0, 0, len(past) - alive)))
        finished.append((hidden[:, remaining:], cell[:, remaining:]))
        state = hidden[:, :remaining].contiguous(), cell[:, :remaining].contiguous()
    encoded = functional.pad(torch.cat(outputs, dim=1), (0, 0, 0, padding))
    hidden, cell = (torch.cat(parts, dim=1) for parts in zip(*reversed(finished), strict=True))
    back = order.argsort()
    return encoded[back], (hidden[:, back], cell[:, back])
