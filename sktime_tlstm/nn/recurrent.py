"""The LSTMs that the networks share: the encoder-decoder pair, and one that reads both ways."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.nn.inputs import check_lengths
from sktime_tlstm.nn.masks import padding_mask
from sktime_tlstm.nn.randomness import Dropout, dropout

State = tuple[Tensor, Tensor]

#: What added to a gate shuts it or opens it entirely, in every precision.
HOLDING = 1e4


class BidirectionalLSTM(nn.Module):
    r"""LSTM layers that read every row forwards and backwards, each over its real length.

    .. math::
        \overrightarrow{h}_t = \mathrm{LSTM}_f(x_t, \overrightarrow{h}_{t-1}), \qquad
        \overleftarrow{h}_t = \mathrm{LSTM}_b(x_t, \overleftarrow{h}_{t+1}), \qquad
        y_t = [\overrightarrow{h}_t; \overleftarrow{h}_t]

    Schuster and Paliwal 1997, "Bidirectional Recurrent Neural Networks", section II.B; the next
    layer reads ``y``. It computes what ``nn.LSTM(bidirectional=True)`` computes of a packed
    sequence. Two LSTMs a layer, the second of which reads each row reversed within its real
    length, keep the fast path of padded rows on a CPU.

    Parameters
    ----------
    in_features : int
        Width of the input.
    width : int
        Width of each direction; the output is twice as wide.
    num_layers : int, default=1
        Number of layers.
    dropout : float, default=0.0
        Dropout probability between layers; there is none after the last.

    Raises
    ------
    ValueError
        If ``num_layers`` is below 1, or a length is not between 1 and the number of steps.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import BidirectionalLSTM
    >>> lstm = BidirectionalLSTM(3, 5, num_layers=2)
    >>> encoded, (hidden, cell) = lstm(torch.ones(2, 11, 3), torch.tensor([11, 6]))
    >>> encoded.shape, hidden.shape
    (torch.Size([2, 11, 10]), torch.Size([2, 2, 10]))
    """

    def __init__(
        self, in_features: int, width: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(
                f"Got num_layers={num_layers}; expected 1 or more. Pass the number of layers."
            )
        widths = [in_features, *[2 * width] * (num_layers - 1)]
        self.forwards = nn.ModuleList(nn.LSTM(read, width, batch_first=True) for read in widths)
        self.backwards = nn.ModuleList(nn.LSTM(read, width, batch_first=True) for read in widths)
        self.dropout = Dropout(dropout)

    def forward(self, sequence: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Read ``sequence`` both ways.

        Parameters
        ----------
        sequence : Tensor of shape (batch, time, in_features)
            Left-aligned, padding last.
        lengths : Tensor of shape (batch,) or None
            Numbers of real steps.

        Returns
        -------
        encoded : Tensor of shape (batch, time, 2 * width)
            Forwards first, then backwards.
        state : tuple of two Tensors of shape (num_layers, batch, 2 * width)
            Where each direction ended: forwards at the last real step, backwards at the first.
        """
        lengths = _ragged_lengths(lengths, sequence.shape[1])
        states: list[State] = []
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            sequence = self.dropout(sequence) if states else sequence
            ahead, end = _run(forwards, sequence, lengths)
            behind, start = _run(backwards, _reverse(sequence, lengths), lengths)
            # (batch, time, width) of each direction -> (batch, time, 2 * width)
            sequence = torch.cat((ahead, _reverse(behind, lengths)), dim=-1)
            # (1, batch, width) of each direction -> (1, batch, 2 * width)
            states.append((torch.cat((end[0], start[0]), -1), torch.cat((end[1], start[1]), -1)))
        # -> (num_layers, batch, 2 * width)
        hidden, cell = (torch.cat(layers) for layers in zip(*states, strict=True))
        return sequence, (hidden, cell)


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
    bidirectional : bool, default=False
        Whether the encoder is a `BidirectionalLSTM`, ``encoder_width`` wide each way; what it
        hands over passes through linear maps from twice that width.

    Raises
    ------
    ValueError
        If weights are to be shared between LSTMs of different shapes or kinds, or a length is not
        between 1 and the number of steps.

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
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        if share_weights and bidirectional:
            raise ValueError(
                "Got share_weights=True and bidirectional=True; expected at most one, for the "
                "decoder cannot read what has not been decoded yet. Pass share_weights=False."
            )
        shapes = (past_features, encoder_width), (future_features, decoder_width)
        if share_weights and shapes[0] != shapes[1]:
            raise ValueError(
                "Got share_weights=True for LSTMs of different shapes: (input, width) = "
                f"{shapes[0]} and {shapes[1]}; expected the same. Pass share_weights=False, or "
                "equal widths."
            )
        # nn.LSTM warns of dropout that has no second layer to act on.
        between = dropout if num_layers > 1 else 0.0
        self.encoder: nn.LSTM | BidirectionalLSTM = (
            BidirectionalLSTM(*shapes[0], num_layers, dropout)
            if bidirectional
            else nn.LSTM(*shapes[0], num_layers, dropout=between, batch_first=True)
        )
        self.decoder = (
            self.encoder
            if share_weights
            else nn.LSTM(*shapes[1], num_layers, dropout=between, batch_first=True)
        )
        encoded_width = 2 * encoder_width if bidirectional else encoder_width
        self.hidden_projection = _projection(encoded_width, decoder_width)
        self.cell_projection = _projection(encoded_width, decoder_width)
        self.encoded_projection = _projection(encoded_width, decoder_width)

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

    def encode(
        self, past: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Run the encoder and hand over the state at each row's last real step.

        Parameters
        ----------
        past : Tensor of shape (batch, past_time, past_features)
            Left-aligned, padding last.
        lengths : Tensor of shape (batch,) or None
            Numbers of real steps. Kept on the host they spare a device one wait.
        state : tuple of two Tensors of shape (num_layers, batch, encoder_width) or None
            Where the encoder starts from; None is a state of zeros.

        Returns
        -------
        encoded : Tensor of shape (batch, past_time, decoder_width)
        state : tuple of two Tensors of shape (num_layers, batch, decoder_width)

        Raises
        ------
        ValueError
            If a bidirectional encoder is given a state.
        """
        if isinstance(self.encoder, BidirectionalLSTM):
            if state is not None:
                raise ValueError(
                    "Got a state for a bidirectional encoder; expected None, for it starts at "
                    "both ends. Build the pair with bidirectional=False, or leave the state out."
                )
            encoded, (hidden, cell) = self.encoder(past, lengths)
        else:
            lengths = _ragged_lengths(lengths, past.shape[1])
            encoded, (hidden, cell) = _run(self.encoder, past, lengths, state)
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


def _projection(in_features: int, out_features: int) -> nn.Module:
    return nn.Identity() if in_features == out_features else nn.Linear(in_features, out_features)


def _ragged_lengths(lengths: Tensor | None, time: int) -> Tensor | None:
    """Check ``lengths`` and bring them to the host, if they can be read; None without padding."""
    if lengths is None:
        return None
    if not is_readable(lengths):
        return lengths
    lengths = lengths.cpu()
    check_lengths(lengths, time, "past")
    return None if (lengths == time).all() else lengths


def _reverse(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse the real steps of each row; the padding stays where it is."""
    if lengths is None:
        return sequence.flip(1)
    # (time,) and (batch, 1)
    steps, lengths = torch.arange(sequence.shape[1], device=lengths.device), lengths[:, None]
    source = torch.where(steps < lengths, lengths - 1 - steps, steps).to(sequence.device)
    # (batch, time) -> (batch, time, width): each step is read from the step that source names
    return sequence.gather(1, source[:, :, None].expand_as(sequence))


def _run(
    lstm: nn.Module, sequence: Tensor, lengths: Tensor | None, state: State | None = None
) -> tuple[Tensor, State]:
    """Run ``lstm``; its state is that of each row's last real step, its padding is zero."""
    if lengths is None:
        encoded, state = lstm(sequence, state)
        return encoded, state
    if not is_readable(lengths):
        return _run_held(cast(nn.LSTM, lstm), sequence, lengths, state)
    return (_run_packed if sequence.is_cuda else _run_in_segments)(lstm, sequence, lengths, state)


def _run_packed(
    lstm: nn.Module, past: Tensor, lengths: Tensor, state: State | None = None
) -> tuple[Tensor, State]:
    """Run ``lstm`` on the real steps, as cuDNN likes it; ``lengths`` are on the host."""
    packed = pack_padded_sequence(past, lengths, batch_first=True, enforce_sorted=False)
    packed, state = lstm(packed, state)
    encoded, _ = pad_packed_sequence(packed, batch_first=True, total_length=past.shape[1])
    return encoded, state


def _run_in_segments(
    lstm: nn.Module, past: Tensor, lengths: Tensor, state: State | None = None
) -> tuple[Tensor, State]:
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
    # (batch, time, width) -> for each stretch (batch, stretch, width), longest rows first
    pieces = torch.split(past[order], [*stretches, padding], dim=1)[:-1]
    if state is not None:
        # (num_layers, batch, width), the batch in the order of the rows
        state = state[0][:, order], state[1][:, order]
    outputs, finished = [], []
    for piece, alive, remaining in zip(pieces, running, [*running[1:], 0], strict=True):
        output, (hidden, cell) = lstm(piece[:alive], state)
        # (alive, stretch, width) -> (batch, stretch, width), zero where a row has ended
        outputs.append(functional.pad(output, (0, 0, 0, 0, 0, past.shape[0] - alive)))
        finished.append((hidden[:, remaining:], cell[:, remaining:]))
        state = hidden[:, :remaining].contiguous(), cell[:, :remaining].contiguous()
    # -> (batch, time, width), zero in the padding of the longest row too
    encoded = functional.pad(torch.cat(outputs, dim=1), (0, 0, 0, padding))
    # the rows which ended last come first, as in the order
    hidden, cell = (torch.cat(parts, dim=1) for parts in zip(*reversed(finished), strict=True))
    back = order.argsort()
    return encoded[back], (hidden[:, back], cell[:, back])


def _run_held(
    lstm: nn.LSTM, sequence: Tensor, lengths: Tensor, state: State | None = None
) -> tuple[Tensor, State]:
    """Do what `_run_packed` does, without a look at any length: for `torch.export`.

    An input that is one in the padding shuts the input gates there and opens the forget gates, so
    that the cells hold what they had at the last real step. Hidden states are those of that step.
    """
    real = padding_mask(lengths, sequence.shape[1]).to(sequence.device)[:, :, None]
    padding = (~real).to(sequence.dtype)
    last = (lengths.to(sequence.device) - 1)[:, None, None]  # (batch, 1, 1)
    gates = (-HOLDING, HOLDING, 0.0, 0.0)  # added to those of input, forget, cell, output
    hidden, cell = [], []
    for layer, (input_weight, *others) in enumerate(lstm.all_weights):
        width = lstm.hidden_size
        # (4 * width, 1): one column more for the input that tells the padding
        column = torch.cat([input_weight.new_full((width, 1), gate) for gate in gates])
        if state is None:
            start = (sequence.new_zeros(1, sequence.shape[0], width),) * 2
        else:
            start = state[0][layer : layer + 1], state[1][layer : layer + 1]
        # (4 * width, in + 1), and (batch, time, in + 1) below
        weights = [torch.cat((input_weight, column), dim=1), *others]
        read = torch.cat((sequence, padding), dim=-1)
        output, _, held_cell = torch.lstm(
            read, start, weights, lstm.bias, 1, 0.0, False, False, True
        )
        # (batch, time, width) -> (batch, width), that of the last real step
        hidden.append(output.gather(1, last.expand(-1, 1, width))[:, 0])
        cell.append(held_cell[0])
        sequence = output.masked_fill(~real, 0.0)
        if layer + 1 < lstm.num_layers:
            sequence = dropout(sequence, lstm.dropout, lstm.training)
    return sequence, (torch.stack(hidden), torch.stack(cell))
