"""Seq2SeqLSTM: an LSTM encoder-decoder without attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.nn.inputs import prepare_inputs, prepare_past, prepare_step
from sktime_tlstm.nn.randomness import Dropout
from sktime_tlstm.nn.recurrent import LSTMEncoderDecoder, State

Point = Callable[[Tensor], Tensor]


class Seq2SeqState(NamedTuple):
    """Where a `Seq2SeqLSTM` stands between two steps.

    Attributes
    ----------
    recurrent : tuple of two Tensors of shape (num_layers, batch, hidden_size)
        The decoder's ``h`` and ``c``.
    previous : Tensor of shape (batch, num_targets)
        What the next step is told of the targets of the step before; of width 0 with direct
        decoding.
    """

    recurrent: State
    previous: Tensor


def _middle_parameter(output: Tensor, num_targets: int) -> Tensor:
    # (batch, time, target * parameter) -> (batch, time, target, parameter)
    parameters = output.unflatten(-1, (num_targets, -1))
    return parameters[..., (parameters.shape[-1] - 1) // 2]


def _nothing(output: Tensor) -> Tensor:
    # (batch, time, output_dim) -> (batch, time, 0)
    return output[..., :0]


#: Whether the decoder reads the known future alone, or the previous target too.
DECODINGS = ("direct", "autoregressive")


def _preset(
    name: str, *, embedding_dim: int, hidden_size: int, num_layers: int
) -> classmethod[Seq2SeqLSTM, ..., Seq2SeqLSTM]:
    """Return the constructor of networks of these sizes, a class method that is called ``name``."""
    sizes = {
        "embedding_dim": embedding_dim,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
    }

    # Written out, for whoever builds networks reads from the signature what they take.
    def build(
        cls: type[Seq2SeqLSTM],
        num_past_features: int,
        num_future_features: int,
        output_dim: int = 1,
        *,
        num_targets: int = 1,
        point: Point | None = None,
        **overrides: Any,
    ) -> Seq2SeqLSTM:
        widths = num_past_features, num_future_features, output_dim
        return cls(*widths, num_targets=num_targets, point=point, **{**sizes, **overrides})

    build.__name__, build.__qualname__ = name, f"Seq2SeqLSTM.{name}"
    build.__doc__ = f"""Build one {embedding_dim} wide in front of LSTMs of width {hidden_size}.

        Parameters
        ----------
        num_past_features, num_future_features, output_dim, num_targets, point
            As of the class.
        **overrides
            Any other parameter of the class; those that are the preset's are by default
            ``embedding_dim={embedding_dim}, hidden_size={hidden_size}, num_layers={num_layers}``.
        """
    return classmethod(build)


class Seq2SeqLSTM(nn.Module):
    r"""LSTM encoder-decoder with state handover and no attention.

    .. math::
        \_, (h, c) &= \mathrm{LSTM}_e(\mathrm{Linear}(past)) \\
        D, \_ &= \mathrm{LSTM}_d(\mathrm{Linear}(future), (h, c)) \\
        output &= \mathrm{Linear}(D)

    and with autoregressive decoding the decoder reads :math:`[future_t; \hat y_{t-1}]` at step t.
    Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 2; Cho et
    al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.2. Teacher
    forcing is that of Williams and Zipser 1989; drawing by a ratio, that of Bengio et al. 2015,
    "Scheduled Sampling". The token vocabularies of the text origin do not apply to series and are
    left out: numbers pass a linear map, and an `InputEmbedding` in front takes categories.

    With ``decoding="autoregressive"``, the previous target of the first step is that of the last
    real step of the past, whose first ``num_targets`` channels are the targets. Later it is

    - in training, where ``target`` is given: the true target of the step before, with probability
      ``teacher_forcing_ratio``, drawn for every row and step; otherwise, and where the truth is
      NaN, the network's own point forecast of the step before;
    - in evaluation: always the own one.

    Gradients flow through forecasts that are fed back. Steps between two own forecasts are one
    call of the decoder, so that with a ratio of 1 and no NaN the whole future is one.

    Parameters
    ----------
    num_past_features, num_future_features : int
        Numbers of channels of the past and of the future.
    output_dim : int, default=1
        Numbers per future step: targets times parameters of the head.
    embedding_dim : int, default=128
        Width of the linear maps in front of the LSTMs.
    hidden_size : int, default=256
        Width of the LSTMs.
    num_layers : int, default=1
        Number of layers of each LSTM.
    dropout : float, default=0.1
        Dropout probability, of what the LSTMs read and between their layers.
    decoding : {"direct", "autoregressive"}, default="direct"
        Whether the decoder reads the known future alone, or the previous target too.
    teacher_forcing_ratio : float, default=1.0
        Of autoregressive decoding: the probability with which a step reads the true previous
        target in training. 1 trains fastest and on inputs without error; less accustoms the
        network to its own errors, which it reads in evaluation.
    num_targets : int, default=1
        Of autoregressive decoding: number of targets that are fed back.
    point : callable or None, default=None
        Of autoregressive decoding: map of outputs (batch, time, output_dim) to the point forecast
        (batch, time, num_targets). None is the middle parameter of every target, the output being
        laid out (target, parameter), target outermost.

    Raises
    ------
    ValueError
        If ``decoding`` is unknown, ``teacher_forcing_ratio`` lies outside [0, 1] or is not 1 with
        direct decoding, ``num_targets`` does not divide ``output_dim`` and no ``point`` says how to
        read it, or a number is out of its range.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import Seq2SeqLSTM
    >>> network = Seq2SeqLSTM(3, 2, output_dim=5, hidden_size=8, decoding="autoregressive")
    >>> past, future = torch.ones(2, 11, 3), torch.ones(2, 7, 2)
    >>> network(past, future, past_lengths=torch.tensor([11, 4])).shape
    torch.Size([2, 7, 5])
    >>> output, state = network.step(network.init_state(past), future[:, 0])
    >>> output.shape, state.previous.shape
    (torch.Size([2, 5]), torch.Size([2, 1]))
    """

    small = _preset("small", embedding_dim=128, hidden_size=256, num_layers=1)
    medium = _preset("medium", embedding_dim=256, hidden_size=512, num_layers=2)
    large = _preset("large", embedding_dim=512, hidden_size=1024, num_layers=4)

    #: Whether training in bfloat16 does as well.
    trains_in_bfloat16 = True

    def __init__(
        self,
        num_past_features: int,
        num_future_features: int,
        output_dim: int = 1,
        embedding_dim: int = 128,
        hidden_size: int = 256,
        num_layers: int = 1,
        dropout: float = 0.1,
        decoding: str = "direct",
        teacher_forcing_ratio: float = 1.0,
        *,
        num_targets: int = 1,
        point: Point | None = None,
    ) -> None:
        super().__init__()
        _check_numbers(embedding_dim, num_targets)
        _check_decoding(decoding, teacher_forcing_ratio)
        self.widths = (num_past_features, num_future_features)
        self.teacher_forcing_ratio = teacher_forcing_ratio
        self.feedback_width = num_targets if decoding == "autoregressive" else 0
        self.point = _feedback_point(self.feedback_width, output_dim, point)
        self.past_embedding = nn.Linear(num_past_features, embedding_dim)
        self.future_embedding = nn.Linear(num_future_features + self.feedback_width, embedding_dim)
        self.dropout = Dropout(dropout)
        self.recurrent = LSTMEncoderDecoder(
            embedding_dim, embedding_dim, hidden_size, hidden_size, num_layers, dropout
        )
        self.output = nn.Linear(hidden_size, output_dim)

    def forward(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        *,
        target: Tensor | None = None,
    ) -> Tensor:
        """Map a past and a known future to the numbers of every future step.

        Parameters
        ----------
        past : Tensor of shape (batch, past_time, num_past_features)
        future : Tensor of shape (batch, future_time, num_future_features)
            Both left-aligned, padding last.
        past_lengths, future_lengths : Tensor of shape (batch,), int64, or None
            Numbers of real steps, at least 1; None where nothing is padded.
        target : Tensor of shape (batch, future_time, num_targets) or None, default=None
            The true targets for teacher forcing, NaN where missing, scaled as in ``past``. Read in
            training by autoregressive decoding only.

        Returns
        -------
        Tensor of shape (batch, future_time, output_dim)
        """
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        state = self._encode(past, past_lengths)
        truth, own = self._feedback(future, target)
        outputs = []
        for start, stop in self._stretches(own):
            # (batch, num_targets)
            first = torch.where(own[:, start], state.previous, truth[:, start])
            # (batch, 1, num_targets) and the stretch after it -> (batch, stretch, num_targets)
            previous = torch.cat((first[:, None], truth[:, start + 1 : stop]), dim=1)
            output, state = self._decode(future[:, start:stop], previous, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    def init_state(self, past: Tensor, past_lengths: Tensor | None = None) -> Seq2SeqState:
        """Read the past, for `step`.

        Parameters
        ----------
        past, past_lengths : Tensor
            As in `forward`.

        Returns
        -------
        Seq2SeqState
        """
        return self._encode(prepare_past(past, past_lengths, self.widths[0]), past_lengths)

    def step(self, state: Seq2SeqState, future_t: Tensor) -> tuple[Tensor, Seq2SeqState]:
        """Decode one future step, as `forward` would.

        Parameters
        ----------
        state : Seq2SeqState
            Of `init_state` or of the step before; it stays as it is. To tell the step another
            previous target than the own forecast, replace its ``previous``.
        future_t : Tensor of shape (batch, num_future_features)
            The next step's known future.

        Returns
        -------
        output_t : Tensor of shape (batch, output_dim)
        state : Seq2SeqState
            The state for the step after this.
        """
        future = prepare_step(future_t, state.previous.shape[0], self.widths[1])
        # (batch, num_targets) -> (batch, 1, num_targets)
        output, state = self._decode(future, state.previous[:, None], state)
        return output[:, 0], state

    def _encode(self, past: Tensor, lengths: Tensor | None) -> Seq2SeqState:
        _, recurrent = self.recurrent.encode(self.dropout(self.past_embedding(past)), lengths)
        rows = torch.arange(past.shape[0], device=past.device)
        last = -1 if lengths is None else lengths.to(past.device) - 1
        # (batch, past_time, feature) -> (batch, feedback_width), at each row's last real step
        return Seq2SeqState(recurrent, past[rows, last, : self.feedback_width])

    def _decode(
        self, future: Tensor, previous: Tensor, state: Seq2SeqState
    ) -> tuple[Tensor, Seq2SeqState]:
        read = self.dropout(self.future_embedding(torch.cat((future, previous), dim=-1)))
        decoded, recurrent = self.recurrent.decode(read, state.recurrent)
        output = self.output(decoded)
        forecast = self.point(output[:, -1:])
        expected = (future.shape[0], 1, self.feedback_width)
        if forecast.shape != expected:
            raise ValueError(
                f"Got a point forecast of shape {tuple(forecast.shape)} from an output of shape "
                f"{tuple(output[:, -1:].shape)}; expected {expected}. "
                "Pass a point that maps (batch, time, output_dim) to (batch, time, num_targets)."
            )
        return output, Seq2SeqState(recurrent, forecast[:, 0].to(previous.dtype))

    def _feedback(self, future: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the previous true targets, and where the own forecast stands in their place.

        Both are of shape (batch, future_time, feedback_width). The first step's own forecast is
        that of the state before it: the last real step of the past.
        """
        shape = (*future.shape[:2], self.feedback_width)
        if target is None or not self.training or not self.feedback_width:
            return future.new_zeros(shape), torch.ones(
                shape, dtype=torch.bool, device=future.device
            )
        if target.shape != shape:
            raise ValueError(
                f"Got a target of shape {tuple(target.shape)}; expected {shape}, (batch, "
                "future_time, num_targets). Build the network with the num_targets of the target."
            )
        truth = target.to(future).roll(1, dims=1)
        # (batch, future_time, 1): for all targets of a step at once
        chance = torch.rand(*shape[:2], 1, dtype=torch.float32, device=future.device)
        drawn = chance >= self.teacher_forcing_ratio
        own = drawn | truth.isnan()
        own[:, 0] = True
        return truth, own

    def _draws_on_device(self, own: Tensor) -> bool:
        # The host would wait for the draws, to learn that some row of a batch has one at each step.
        return own.device.type != "cpu" and self.teacher_forcing_ratio < 1

    def _stretches(self, own: Tensor) -> list[tuple[int, int]]:
        """Split the future in front of every step that reads an own forecast."""
        time = own.shape[1]
        if not self.feedback_width:
            starts = [0]
        elif not self.training or not is_readable(own) or self._draws_on_device(own):
            starts = list(range(time))
        else:
            # (batch, time, num_targets) -> the later steps at which any row reads an own forecast
            later = own[:, 1:].any(2).any(0).nonzero().flatten().tolist()
            starts = [0, *(step + 1 for step in later)]
        return list(zip(starts, [*starts[1:], time], strict=True))


def _feedback_point(feedback_width: int, output_dim: int, point: Point | None) -> Point:
    if not feedback_width:
        return _nothing
    if point is not None:
        return point
    if output_dim % feedback_width:
        raise ValueError(
            f"Got output_dim={output_dim} and num_targets={feedback_width} without a point; "
            "expected as many parameters for each target. Pass output_dim = num_targets * "
            "parameters, or the point forecast as a function of the output."
        )
    return partial(_middle_parameter, num_targets=feedback_width)


def _check_numbers(embedding_dim: int, num_targets: int) -> None:
    for name, number in (("embedding_dim", embedding_dim), ("num_targets", num_targets)):
        if number < 1:
            raise ValueError(f"Got {name}={number}; expected 1 or more. Pass a positive number.")


def _check_decoding(decoding: str, ratio: float) -> None:
    if decoding not in DECODINGS:
        raise ValueError(
            f"Got decoding={decoding!r}; expected one of {list(DECODINGS)}. Pass one of these."
        )
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(
            f"Got teacher_forcing_ratio={ratio}; expected a probability from 0 to 1. Pass 1.0 to "
            "train on true targets alone, 0.0 on own forecasts alone."
        )
    if decoding == "direct" and ratio != 1.0:
        raise ValueError(
            f"Got teacher_forcing_ratio={ratio} with decoding='direct'; expected the default, 1.0, "
            "for nothing is fed back. Pass decoding='autoregressive', or leave the ratio out."
        )
