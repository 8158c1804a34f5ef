"""Networks, layers and heads for forecasting, in plain torch.

This package stands alone: it imports torch and the standard library only. Every network maps
``(past, future, past_lengths=None, future_lengths=None)`` to (batch, future_time, output_dim); a
head says what those numbers mean.
"""

from sktime_tlstm.nn.attention import (
    ATTENTIONS,
    Attention,
    InterpretableMultiHeadAttention,
    MultiHeadAttention,
    decoder_mask,
    encoder_mask,
    make_attention,
    padding_mask,
)
from sktime_tlstm.nn.attention_lstm import AttentionLSTM
from sktime_tlstm.nn.distributions import FAMILIES, Family
from sktime_tlstm.nn.embedding import EmbeddedNetwork, InputEmbedding, embedding_width
from sktime_tlstm.nn.gating import AddNorm, GateAddNorm, GatedLinearUnit, GatedResidualNetwork
from sktime_tlstm.nn.heads import (
    DEFAULT_QUANTILES,
    LOSSES,
    DistributionHead,
    Head,
    PointHead,
    QuantileHead,
    make_head,
)
from sktime_tlstm.nn.inputs import prepare_inputs
from sktime_tlstm.nn.recurrent import LSTMEncoderDecoder
from sktime_tlstm.nn.transformer_lstm import TransformerBlock, TransformerLSTM

__all__ = [
    "ATTENTIONS",
    "DEFAULT_QUANTILES",
    "FAMILIES",
    "LOSSES",
    "AddNorm",
    "Attention",
    "AttentionLSTM",
    "DistributionHead",
    "EmbeddedNetwork",
    "Family",
    "GateAddNorm",
    "GatedLinearUnit",
    "GatedResidualNetwork",
    "Head",
    "InputEmbedding",
    "InterpretableMultiHeadAttention",
    "LSTMEncoderDecoder",
    "MultiHeadAttention",
    "PointHead",
    "QuantileHead",
    "TransformerBlock",
    "TransformerLSTM",
    "decoder_mask",
    "embedding_width",
    "encoder_mask",
    "make_attention",
    "make_head",
    "padding_mask",
    "prepare_inputs",
]
