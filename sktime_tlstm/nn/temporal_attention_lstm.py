"""TemporalAttentionLSTM: an LSTM whose decoder attends to the past, by a score of choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention import MultiHeadAttention
from sktime_tlstm.nn.branches import Cache
from sktime_tlstm.nn.gating import AddNorm
from sktime_tlstm.nn.inputs import prepare_inputs, prepare_past, prepare_step
from sktime_tlstm.nn.inspection import in_evaluation
from sktime_tlstm.nn.masks import decoder_mask, encoder_mask, extend_mask
from sktime_tlstm.nn.recurrent import BidirectionalLSTM, LSTMEncoderDecoder, State
from sktime_tlstm.nn.scores import SCORES, ScoreAttention


class TemporalAttentionState(NamedTuple):
    """Where a `TemporalAttentionLSTM` stands between two steps.

    Attributes
    ----------
    recurrent : tuple of two Tensors of shape (num_layers, batch, d_model)
        The decoder's ``h`` and ``c``.
    cache : Cache
        Keys and values, projected once: of the past, and with ``wiring="replace"`` of the future
        steps so far.
    mask : Tensor of shape (batch, 1, 1, time), bool, or None
        True at the steps of the cache that are real; None where nothing is padded.
    """

    recurrent: State
    cache: Cache
    mask: Tensor | None


class _Replace(nn.Module):
    """What was attended takes the place of the LSTM's output."""

    def __init__(self, d_model: int) -> None:
        super().__init__()

    def forward(self, attended: Tensor, recurrent: Tensor) -> Tensor:
        return attended


class _Concat(nn.Module):
    """Luong et al. 2015, equation 5."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * d_model, d_model)

    def forward(self, attended: Tensor, recurrent: Tensor) -> Tensor:
        # (batch, time, d_model) of each -> (batch, time, 2 * d_model)
        return torch.tanh(self.linear(torch.cat((attended, recurrent), dim=-1)))


#: How what was attended joins the output of the LSTM that asked.
WIRINGS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {"replace": _Replace, "add": AddNorm, "concat": _Concat}
)


class TemporalAttentionLSTM(nn.Module):
    r"""LSTM over the past with attention on top, which answers every step of the horizon.

    .. math::
        E, (h, c) &= \mathrm{LSTM}_e(past) \\
        D, \_ &= \mathrm{LSTM}_d(future, (h, c)) \\
        \alpha_{ij} &= \mathrm{softmax}_j(\mathrm{score}(D_i, E_j)), \qquad
        A_i = \sum_j \alpha_{ij} E_j \\
        output &= \mathrm{Linear}(\mathrm{wiring}(A, D))

    The query of future step i is the decoder's state there, so that every step has an answer of
    its own and uses the known future; the decoder reads the future in order, so the network is
    always causal. Keys and values are the real steps of the past; with the wiring ``replace``, they
    are :math:`[E; D]` up to the step itself. The score is one of

    .. math::
        \text{additive:} \quad & v^\top \tanh(W_1 E_j + W_2 D_i) \\
        \text{dot:} \quad & D_i^\top E_j \\
        \text{general:} \quad & D_i^\top W E_j

    (Bahdanau et al. 2015, appendix A.1.2; Luong et al. 2015, section 3.1), or ``"multi_head"``,
    whose heads project queries, keys and values (Vaswani et al. 2017, section 3.2.2). The wiring is

    .. math::
        \text{replace:} \quad A, \qquad
        \text{add:} \quad \mathrm{LayerNorm}(A + D), \qquad
        \text{concat:} \quad \tanh(W_c [A; D])

    (concat: Luong et al. 2015, equation 5). With ``replace`` no residual connection brings the
    future to the output: of keys of the past alone, it could act by where it makes the network look
    and by nothing else, and how well that is learnt depends on the seed. So the future is read too.

    With ``hierarchical``, another LSTM and another attention stand in front,

    .. math::
        B = \mathrm{BiLSTM}(past), \qquad S = \mathrm{wiring}(\mathrm{Attention}(B, B), B), \qquad
        E, (h, c) = \mathrm{LSTM}_e(S)

    the attention with the same score and wiring, and weights of its own: words and sentences in
    Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", section 2.2.

    Parameters
    ----------
    num_past_features, num_future_features : int
        Numbers of channels of the past and of the future.
    output_dim : int, default=1
        Numbers per future step: targets times parameters of the head.
    d_model : int, default=64
        Width of the LSTMs, of each direction where there are two, and of the attention.
    num_layers : int, default=1
        Number of layers of each LSTM.
    num_heads : int, default=4
        Number of heads, a divisor of ``d_model``; read by ``score="multi_head"`` only, for the
        other scores have one head.
    dropout : float, default=0.1
        Dropout probability, between LSTM layers and of attended values.
    score : {"multi_head", "additive", "dot", "general"}, default="multi_head"
        How keys answer queries. "additive" needs ``d_model`` times the memory of the others for
        its scores.
    wiring : {"replace", "add", "concat"}, default="add"
        How what was attended joins the LSTM's output: in its place, added and normalized, or
        concatenated and passed through a feed-forward layer.
    bidirectional : bool, default=False
        Whether the encoder :math:`\mathrm{LSTM}_e` reads the past both ways. Its outputs and its
        state pass through linear maps from ``2 * d_model`` to ``d_model``.
    hierarchical : bool, default=False
        Whether a bidirectional LSTM and attention of the past to itself stand in front of the
        encoder.

    Raises
    ------
    ValueError
        If ``score`` or ``wiring`` is unknown, ``num_heads`` does not divide ``d_model``, or a
        number is out of its range.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import TemporalAttentionLSTM
    >>> network = TemporalAttentionLSTM(3, 2, output_dim=5, d_model=8, score="general")
    >>> past, future = torch.ones(2, 11, 3), torch.ones(2, 7, 2)
    >>> network(past, future, past_lengths=torch.tensor([11, 4])).shape
    torch.Size([2, 7, 5])
    >>> network.attention_weights(past, future).shape
    torch.Size([2, 1, 7, 11])
    """

    #: Whether training in bfloat16 does as well.
    trains_in_bfloat16 = True

    def __init__(
        self,
        num_past_features: int,
        num_future_features: int,
        output_dim: int = 1,
        d_model: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.1,
        score: str = "multi_head",
        wiring: str = "add",
        bidirectional: bool = False,
        hierarchical: bool = False,
    ) -> None:
        super().__init__()
        if wiring not in WIRINGS:
            raise ValueError(
                f"Got wiring={wiring!r}; expected one of {list(WIRINGS)}. Pass one of these."
            )
        self.widths = (num_past_features, num_future_features)
        self.reads_future = wiring == "replace"
        self.front = (
            _PastAttention(
                num_past_features, d_model, num_layers, num_heads, dropout, score, wiring
            )
            if hierarchical
            else None
        )
        self.recurrent = LSTMEncoderDecoder(
            d_model if hierarchical else num_past_features,
            num_future_features,
            d_model,
            d_model,
            num_layers,
            dropout,
            bidirectional=bidirectional,
        )
        self.attention = _make_attention(score, d_model, num_heads, dropout)
        self.wiring = WIRINGS[wiring](d_model)
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
        source, decoded, mask = self._recur(past, future, past_lengths, future_lengths)
        return self._answer(decoded, Cache(*self.attention.project(source)), mask)

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
        Tensor of shape (batch, head, future_time, past_time)
            One head unless the score is "multi_head". With ``wiring="replace"``, of the past and
            then the future: (batch, head, future_time, past_time + future_time).
        """
        source, decoded, mask = self._recur(past, future, past_lengths, future_lengths)
        return self.attention.weights(decoded, source, mask)

    def init_state(
        self, past: Tensor, past_lengths: Tensor | None = None
    ) -> TemporalAttentionState:
        """Read the past and project its keys, for `step`.

        Parameters
        ----------
        past, past_lengths : Tensor
            As in `forward`.

        Returns
        -------
        TemporalAttentionState
        """
        past = prepare_past(past, past_lengths, self.widths[0])
        mask = encoder_mask(past.shape[1], past_lengths, past.device)
        encoded, recurrent = self._encode(past, past_lengths, mask)
        return TemporalAttentionState(recurrent, Cache(*self.attention.project(encoded)), mask)

    def step(
        self, state: TemporalAttentionState, future_t: Tensor
    ) -> tuple[Tensor, TemporalAttentionState]:
        """Decode one future step, as `forward` would.

        Parameters
        ----------
        state : TemporalAttentionState
            Of `init_state` or of the step before; it stays as it is.
        future_t : Tensor of shape (batch, num_future_features)
            The next step's known future.

        Returns
        -------
        output_t : Tensor of shape (batch, output_dim)
        state : TemporalAttentionState
            The state for the step after this.
        """
        future = prepare_step(future_t, state.cache.num_rows, self.widths[1])
        decoded, recurrent = self.recurrent.decode(future, state.recurrent)
        cache, mask = state.cache, state.mask
        if self.reads_future:  # the step itself too: it enters the cache first
            cache = cache.append(Cache(*self.attention.project(decoded)))
            mask = extend_mask(mask)
        output = self._answer(decoded, cache, mask)
        return output[:, 0], TemporalAttentionState(recurrent, cache, mask)

    def _recur(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what is attended to, the queries, and where they may look."""
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        mask = encoder_mask(past.shape[1], past_lengths, past.device)
        encoded, state = self._encode(past, past_lengths, mask)
        decoded, _ = self.recurrent.decode(future, state)
        if not self.reads_future:
            return encoded, decoded, mask
        times, lengths = (past.shape[1], future.shape[1]), (past_lengths, future_lengths)
        mask = decoder_mask(*times, *lengths, causal=True, device=past.device, strict=False)
        # (batch, past_time, d_model), (batch, future_time, d_model) -> their steps end to end
        return torch.cat((encoded, decoded), dim=1), decoded, mask

    def _encode(
        self, past: Tensor, lengths: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, State]:
        if self.front is not None:
            past = self.front(past, lengths, mask)
        return self.recurrent.encode(past, lengths)

    def _answer(self, decoded: Tensor, cache: Cache, mask: Tensor | None) -> Tensor:
        attended = self.attention.attend(decoded, *cache, mask)
        output: Tensor = self.output(self.wiring(attended, decoded))
        return output


class _PastAttention(nn.Module):
    """The lower half of the hierarchy: a bidirectional LSTM whose outputs attend to each other."""

    def __init__(
        self,
        in_features: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
        score: str,
        wiring: str,
    ) -> None:
        super().__init__()
        self.recurrent = BidirectionalLSTM(in_features, d_model, num_layers, dropout)
        self.project = nn.Linear(2 * d_model, d_model)
        self.attention = _make_attention(score, d_model, num_heads, dropout)
        self.wiring = WIRINGS[wiring](d_model)

    def forward(self, past: Tensor, lengths: Tensor | None, mask: Tensor | None) -> Tensor:
        """Map (batch, past_time, in_features) to (batch, past_time, d_model)."""
        encoded = self.project(self.recurrent(past, lengths)[0])
        attended = self.attention.attend(encoded, *self.attention.project(encoded), mask)
        joined: Tensor = self.wiring(attended, encoded)
        return joined


def _make_attention(
    score: str, d_model: int, num_heads: int, dropout: float
) -> MultiHeadAttention | ScoreAttention:
    scores = ("multi_head", *SCORES)
    if score not in scores:
        raise ValueError(f"Got score={score!r}; expected one of {list(scores)}. Pass one of these.")
    if score == "multi_head":
        return MultiHeadAttention(d_model, num_heads, dropout)
    return ScoreAttention(score, d_model, dropout)
