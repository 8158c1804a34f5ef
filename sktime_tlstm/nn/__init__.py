"""Networks, layers and heads for forecasting, in plain torch.

This package stands alone: it imports torch and the standard library only. Every network maps
``(past, future, past_lengths=None, future_lengths=None)`` to (batch, future_time, output_dim); a
head says what those numbers mean.
"""

from sktime_tlstm.nn.attention import (
    ATTENTIONS,
    KERNELS,
    Attention,
    InterpretableMultiHeadAttention,
    MultiHeadAttention,
    make_attention,
)
from sktime_tlstm.nn.attention_lstm import AttentionLSTM, AttentionLSTMState
from sktime_tlstm.nn.blocks import DecoderBlock, EncoderBlock, TransformerBlock
from sktime_tlstm.nn.branches import Cache, SeparateCaches
from sktime_tlstm.nn.distributions import FAMILIES, Family
from sktime_tlstm.nn.embedding import EmbeddedNetwork, InputEmbedding, embedding_width
from sktime_tlstm.nn.encoder_decoder import (
    TransformerDecoder,
    TransformerDecoderState,
    TransformerEncoder,
)
from sktime_tlstm.nn.feedforward import (
    ACTIVATIONS,
    EXPERTS,
    FEEDFORWARDS,
    FeedForward,
    MixtureOfExperts,
    SwiGLU,
    auxiliary_loss,
    forget_auxiliary_loss,
    make_feedforward,
)
from sktime_tlstm.nn.frequency import FrequencyAttention
from sktime_tlstm.nn.from_transformertf import FromTransformerTF
from sktime_tlstm.nn.gating import (
    AddNorm,
    GateAddNorm,
    GatedLinearUnit,
    GatedResidualNetwork,
)
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
from sktime_tlstm.nn.masks import (
    decoder_mask,
    encoder_mask,
    extend_mask,
    padding_mask,
    real_steps,
)
from sktime_tlstm.nn.normalization import (
    NORMS,
    AdaptiveLayerNorm,
    LayerNorm,
    RMSNorm,
    make_norm,
    masked_mean,
)
from sktime_tlstm.nn.positions import LearnedPositions, rotate, sinusoidal, window_positions
from sktime_tlstm.nn.recurrent import BidirectionalLSTM, LSTMEncoderDecoder
from sktime_tlstm.nn.scores import (
    SCORES,
    AdditiveScore,
    AttentionScore,
    DotScore,
    GeneralScore,
    ScoreAttention,
    make_score,
)
from sktime_tlstm.nn.selection import VariableNetworks, VariableSelectionNetwork
from sktime_tlstm.nn.seq2seq_lstm import Seq2SeqLSTM, Seq2SeqState
from sktime_tlstm.nn.temporal_attention_lstm import TemporalAttentionLSTM, TemporalAttentionState
from sktime_tlstm.nn.temporal_fusion_transformer import (
    SelectionWeights,
    StaticContexts,
    StaticEncoder,
    TemporalFusionState,
    TemporalFusionTransformer,
)
from sktime_tlstm.nn.transformer import POSITIONS, Transformer, TransformerState
from sktime_tlstm.nn.transformer_lstm import TransformerLSTM, TransformerLSTMState

__all__ = [
    "ACTIVATIONS",
    "ATTENTIONS",
    "DEFAULT_QUANTILES",
    "EXPERTS",
    "FAMILIES",
    "FEEDFORWARDS",
    "KERNELS",
    "LOSSES",
    "NORMS",
    "POSITIONS",
    "SCORES",
    "AdaptiveLayerNorm",
    "AddNorm",
    "AdditiveScore",
    "Attention",
    "AttentionLSTM",
    "AttentionLSTMState",
    "AttentionScore",
    "BidirectionalLSTM",
    "Cache",
    "DecoderBlock",
    "DistributionHead",
    "DotScore",
    "EmbeddedNetwork",
    "EncoderBlock",
    "Family",
    "FeedForward",
    "FrequencyAttention",
    "FromTransformerTF",
    "GateAddNorm",
    "GatedLinearUnit",
    "GatedResidualNetwork",
    "GeneralScore",
    "Head",
    "InputEmbedding",
    "InterpretableMultiHeadAttention",
    "LSTMEncoderDecoder",
    "LayerNorm",
    "LearnedPositions",
    "MixtureOfExperts",
    "MultiHeadAttention",
    "PointHead",
    "QuantileHead",
    "RMSNorm",
    "ScoreAttention",
    "SelectionWeights",
    "SeparateCaches",
    "Seq2SeqLSTM",
    "Seq2SeqState",
    "StaticContexts",
    "StaticEncoder",
    "SwiGLU",
    "TemporalAttentionLSTM",
    "TemporalAttentionState",
    "TemporalFusionState",
    "TemporalFusionTransformer",
    "Transformer",
    "TransformerBlock",
    "TransformerDecoder",
    "TransformerDecoderState",
    "TransformerEncoder",
    "TransformerLSTM",
    "TransformerLSTMState",
    "TransformerState",
    "VariableNetworks",
    "VariableSelectionNetwork",
    "auxiliary_loss",
    "decoder_mask",
    "embedding_width",
    "encoder_mask",
    "extend_mask",
    "forget_auxiliary_loss",
    "make_attention",
    "make_feedforward",
    "make_head",
    "make_norm",
    "make_score",
    "masked_mean",
    "padding_mask",
    "prepare_inputs",
    "real_steps",
    "rotate",
    "sinusoidal",
    "window_positions",
]
