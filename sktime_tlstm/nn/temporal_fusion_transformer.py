"""TemporalFusionTransformer: variable selection, an LSTM, and attention that can be read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention import InterpretableMultiHeadAttention
from sktime_tlstm.nn.blocks import check_stepwise
from sktime_tlstm.nn.branches import Cache
from sktime_tlstm.nn.gating import GateAddNorm, GatedResidualNetwork
from sktime_tlstm.nn.inputs import (
    check_static_features,
    prepare_inputs,
    prepare_past,
    prepare_static,
    prepare_step,
)
from sktime_tlstm.nn.inspection import in_evaluation
from sktime_tlstm.nn.masks import decoder_mask, encoder_mask, extend_mask
from sktime_tlstm.nn.recurrent import LSTMEncoderDecoder, State
from sktime_tlstm.nn.selection import VariableSelectionNetwork


class StaticContexts(NamedTuple):
    """What the static features say to the parts of the network, each (batch, 1, d_model) or None.

    ``selection`` weighs variables, ``enrichment`` enriches steps, ``hidden`` and ``cell`` start
    the LSTM: c_s, c_e, c_h and c_c of the paper. None stands for a context that does not exist.
    """

    selection: Tensor | None = None
    enrichment: Tensor | None = None
    hidden: Tensor | None = None
    cell: Tensor | None = None


class SelectionWeights(NamedTuple):
    """How much of every variable is used; each row sums to one, or to zero in the padding.

    ``past`` has the shape (batch, past_time, num_past_features), ``future`` (batch, future_time,
    num_future_features), ``static`` (batch, num_static_features), or is None without any.
    """

    past: Tensor
    future: Tensor
    static: Tensor | None


class TemporalFusionState(NamedTuple):
    """Where incremental decoding stands."""

    #: ``h`` and ``c`` of the decoder, each (num_layers, batch, d_model).
    recurrent: State
    #: Keys and values of the past and of the future steps so far.
    cache: Cache
    #: (batch, 1, 1, time), bool: True at the steps of the cache that are real; None for all.
    mask: Tensor | None
    #: What the static features say.
    contexts: StaticContexts


class StaticEncoder(nn.Module):
    r"""Turn static features into the contexts that the parts of the network read.

    .. math:: \zeta = \mathrm{VariableSelection}(static), \qquad
              c_s, c_e, c_h, c_c = \mathrm{GRN}_s(\zeta), \dots, \mathrm{GRN}_c(\zeta)

    Lim et al. 2021, section 4.3.

    Parameters
    ----------
    num_static_features : int
        Number of static features.
    d_model : int
        Width of the contexts.
    dropout : float, default=0.0
        Dropout probability in front of the gates.
    selects : bool, default=True
        Whether there is variable selection to read the context ``c_s``.

    Examples
    --------
    >>> import torch
    >>> contexts = StaticEncoder(3, 8)(torch.ones(2, 3))
    >>> contexts.enrichment.shape
    torch.Size([2, 1, 8])
    """

    def __init__(
        self, num_static_features: int, d_model: int, dropout: float = 0.0, selects: bool = True
    ) -> None:
        super().__init__()
        self.select = VariableSelectionNetwork(num_static_features, d_model, dropout=dropout)
        names = StaticContexts._fields if selects else StaticContexts._fields[1:]
        self.contexts = nn.ModuleDict(
            {
                name: GatedResidualNetwork(d_model, d_model, d_model, dropout=dropout)
                for name in names
            }
        )

    def forward(self, static: Tensor) -> StaticContexts:
        """Map ``static`` of shape (batch, num_static_features) to its contexts."""
        # (batch, d_model) -> (batch, 1, d_model), the same at every step
        selected = self.select(static)[:, None]
        return StaticContexts(**{name: grn(selected) for name, grn in self.contexts.items()})


class TemporalFusionTransformer(nn.Module):
    r"""Variable selection, an LSTM encoder-decoder and interpretable attention, all gated.

    .. math::
        \tilde\xi &= \mathrm{VariableSelection}(past \text{ or } future, c_s) & (6\text{-}8) \\
        \phi &= \mathrm{LSTM}(\tilde\xi) \text{ from } (c_h, c_c) & \\
        \tilde\phi &= \mathrm{GateAddNorm}(\phi, \tilde\xi) & (17) \\
        \theta &= \mathrm{GRN}(\tilde\phi, c_e) & (18) \\
        \beta &= \mathrm{InterpretableAttention}(\theta_{future}, \theta, \theta) & (19) \\
        \delta &= \mathrm{GateAddNorm}(\beta, \theta_{future}) & (20) \\
        \psi &= \mathrm{GRN}(\delta) & (21) \\
        \tilde\psi &= \mathrm{GateAddNorm}(\psi, \tilde\phi_{future}) & (22)

    and ``output = Linear(psi~)`` (23): Lim, Arik, Loeff and Pfister 2021, "Temporal Fusion
    Transformers for interpretable multi-horizon time series forecasting", whose equations the
    numbers name. The contexts ``c`` come from the static features (`StaticEncoder`); without any,
    the networks that would read them have no context and the LSTM starts at zero.

    Every input channel is one variable, numbers all of them: categories pass an `InputEmbedding`
    in front. Past steps are keys and values of the attention but no queries, because only the
    future is read out: the same output at less cost. The LSTM has ``num_layers`` layers, all
    started by the same contexts.

    Parameters
    ----------
    num_past_features, num_future_features : int
        Numbers of channels of the past and of the future.
    output_dim : int, default=1
        Numbers per future step: targets times parameters of the head.
    d_model : int, default=64
        Width of the network, at least 2.
    num_layers : int, default=1
        Number of layers of each LSTM.
    num_heads : int, default=4
        Number of attention heads, a divisor of ``d_model``.
    dropout : float, default=0.1
        Dropout probability, in front of gates, of attended values and between LSTM layers.
    causal_attention : bool, default=True
        Whether a future step sees only the past, itself and the future steps before it. Without,
        it sees the whole future, which is known in advance too.
    num_static_features : int, default=0
        Number of static features; 0 for a network without.
    attention_kernel : str, default="auto"
        Which of torch's kernels computes the attention, one of `KERNELS`. "flash" on CUDA takes no
        mask, and causal or padded networks always give one.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``d_model``, a name is unknown, or a number is out of its
        range.

    Notes
    -----
    The logits of the selection weights are layer normalized (equations 2 and 6). Of two variables
    that leaves little but the sign of their difference, so that their weights are nearly the same
    at all steps; the more variables, the freer the weights.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import TemporalFusionTransformer
    >>> network = TemporalFusionTransformer(3, 2, output_dim=5, d_model=8, num_static_features=4)
    >>> past, future, static = torch.ones(2, 11, 3), torch.ones(2, 7, 2), torch.ones(2, 4)
    >>> network(past, future, past_lengths=torch.tensor([11, 4]), static=static).shape
    torch.Size([2, 7, 5])
    >>> network.attention_weights(past, future, static=static).shape
    torch.Size([2, 4, 7, 18])
    >>> network.selection_weights(past, future, static=static).past.shape
    torch.Size([2, 11, 3])
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
        causal_attention: bool = True,
        num_static_features: int = 0,
        attention_kernel: str = "auto",
    ) -> None:
        super().__init__()
        check_static_features(num_static_features)
        context = d_model if num_static_features else None
        self.widths = (num_past_features, num_future_features)
        self.num_layers = num_layers
        self.num_static_features = num_static_features
        self.causal_attention = causal_attention
        self.static_encoder = (
            StaticEncoder(num_static_features, d_model, dropout, selects=max(self.widths) > 1)
            if num_static_features
            else None
        )
        self.past_selection, self.future_selection = (
            VariableSelectionNetwork(width, d_model, context, dropout) for width in self.widths
        )
        self.recurrent = LSTMEncoderDecoder(d_model, d_model, d_model, d_model, num_layers, dropout)
        self.local_gate = GateAddNorm(d_model, dropout)
        self.enrichment = GatedResidualNetwork(d_model, d_model, d_model, context, dropout)
        self.attention = InterpretableMultiHeadAttention(
            d_model, num_heads, dropout, attention_kernel
        )
        self.attention_gate = GateAddNorm(d_model, dropout)
        self.feedforward = GatedResidualNetwork(d_model, d_model, d_model, dropout=dropout)
        self.output_gate = GateAddNorm(d_model, dropout)
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
            Features of the rows that do not change; None exactly without static features.

        Returns
        -------
        Tensor of shape (batch, future_time, output_dim)
        """
        mask = self._mask(past, future, past_lengths, future_lengths)
        local, enriched = self._enrich(past, future, past_lengths, future_lengths, static)
        query = enriched[:, past.shape[1] :]
        return self._read_out(self.attention(query, enriched, enriched, mask), query, local)

    @in_evaluation
    def attention_weights(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        *,
        static: Tensor | None = None,
    ) -> Tensor:
        """Return where the future steps look.

        Parameters
        ----------
        past, future, past_lengths, future_lengths, static : Tensor
            As in `forward`.

        Returns
        -------
        Tensor of shape (batch, head, future_time, past_time + future_time)
        """
        mask = self._mask(past, future, past_lengths, future_lengths)
        _, enriched = self._enrich(past, future, past_lengths, future_lengths, static)
        return self.attention.weights(enriched[:, past.shape[1] :], enriched, mask)

    @in_evaluation
    def selection_weights(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
        *,
        static: Tensor | None = None,
    ) -> SelectionWeights:
        """Return how much of every variable is used at every step.

        Parameters
        ----------
        past, future, past_lengths, future_lengths, static : Tensor
            As in `forward`.

        Returns
        -------
        SelectionWeights
            Of the past, of the future and of the static features, zero in the padding.
        """
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        contexts = self._contexts(static, past.shape[0])
        by_past = self.past_selection.weights(past, contexts.selection)
        by_future = self.future_selection.weights(future, contexts.selection)
        return SelectionWeights(
            # Again, because the padding of the weights is to be zero too.
            *prepare_inputs(by_past, by_future, past_lengths, future_lengths, self.widths),
            None
            if self.static_encoder is None or static is None
            else self.static_encoder.select.weights(static),
        )

    def init_state(
        self,
        past: Tensor,
        past_lengths: Tensor | None = None,
        *,
        static: Tensor | None = None,
    ) -> TemporalFusionState:
        """Read the past and project its keys and values once, to decode step by step from there.

        Parameters
        ----------
        past, past_lengths, static : Tensor
            As in `forward`.

        Returns
        -------
        TemporalFusionState

        Raises
        ------
        ValueError
            If the network is not causal.
        """
        check_stepwise(self.causal_attention)
        past = prepare_past(past, past_lengths, self.widths[0])
        contexts = self._contexts(static, past.shape[0])
        enriched, recurrent = self._encode(past, past_lengths, contexts)
        mask = encoder_mask(past.shape[1], past_lengths, past.device)
        cache = Cache(*self.attention.project(enriched))
        return TemporalFusionState(recurrent, cache, mask, contexts)

    def step(
        self, state: TemporalFusionState, future_t: Tensor
    ) -> tuple[Tensor, TemporalFusionState]:
        """Decode one step.

        Parameters
        ----------
        state : TemporalFusionState
            Not written to, so that it can be continued more than once.
        future_t : Tensor of shape (batch, num_future_features)

        Returns
        -------
        output : Tensor of shape (batch, output_dim)
        state : TemporalFusionState
        """
        future = prepare_step(future_t, state.recurrent[0].shape[1], self.widths[1])
        local, enriched, recurrent = self._decode(future, state.recurrent, state.contexts)
        # A step attends to itself: it enters the cache first.
        cache = state.cache.append(Cache(*self.attention.project(enriched)))
        mask = extend_mask(state.mask)
        attended = self.attention.attend(enriched, *cache, mask)
        output = self._read_out(attended, enriched, local)[:, 0]
        return output, state._replace(recurrent=recurrent, cache=cache, mask=mask)

    def _mask(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
    ) -> Tensor | None:
        times, lengths = (past.shape[1], future.shape[1]), (past_lengths, future_lengths)
        return decoder_mask(*times, *lengths, self.causal_attention, past.device, strict=False)

    def _contexts(self, static: Tensor | None, batch: int) -> StaticContexts:
        static = prepare_static(static, batch, self.num_static_features)
        if self.static_encoder is None or static is None:
            return StaticContexts()
        contexts: StaticContexts = self.static_encoder(static)
        return contexts

    def _enrich(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None,
        future_lengths: Tensor | None,
        static: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the local features of the future, and the enriched ones of past and future."""
        past, future = prepare_inputs(past, future, past_lengths, future_lengths, self.widths)
        contexts = self._contexts(static, past.shape[0])
        before, state = self._encode(past, past_lengths, contexts)
        local, after, _ = self._decode(future, state, contexts)
        # (batch, past_time, d_model), (batch, future_time, d_model) -> their steps end to end
        return local, torch.cat((before, after), dim=1)

    def _encode(
        self, past: Tensor, lengths: Tensor | None, contexts: StaticContexts
    ) -> tuple[Tensor, State]:
        """Run equations 6 to 18 over the past: the enriched features and the LSTM's state."""
        selected = self.past_selection(past, contexts.selection)
        encoded, state = self.recurrent.encode(selected, lengths, self._initial_state(contexts))
        local = self.local_gate(encoded, selected)
        return self.enrichment(local, contexts.enrichment), state

    def _decode(
        self, future: Tensor, state: State, contexts: StaticContexts
    ) -> tuple[Tensor, Tensor, State]:
        """Run equations 6 to 18 over the future: local and enriched features, and the state."""
        selected = self.future_selection(future, contexts.selection)
        decoded, state = self.recurrent.decode(selected, state)
        local = self.local_gate(decoded, selected)
        return local, self.enrichment(local, contexts.enrichment), state

    def _initial_state(self, contexts: StaticContexts) -> State | None:
        if contexts.hidden is None or contexts.cell is None:
            return None
        hidden, cell = (
            # (batch, 1, d_model) -> (num_layers, batch, d_model)
            context.transpose(0, 1).expand(self.num_layers, -1, -1).contiguous()
            for context in (contexts.hidden, contexts.cell)
        )
        return hidden, cell

    def _read_out(self, attended: Tensor, enriched: Tensor, local: Tensor) -> Tensor:
        """Run equations 20 to 23."""
        refined = self.attention_gate(attended, enriched)
        output: Tensor = self.output(self.output_gate(self.feedforward(refined), local))
        return output
