"""The networks that the tests of networks go through, tiny, and inputs for them."""

import inspect
import zlib
from dataclasses import dataclass, field

import torch
from torch import nn

from sktime_tlstm.nn import (
    AttentionLSTM,
    Seq2SeqLSTM,
    TemporalAttentionLSTM,
    TemporalFusionTransformer,
    Transformer,
    TransformerLSTM,
)

PAST, FUTURE, OUTPUT, STATIC = 3, 2, 5, 4
SMALL = {"d_model": 6, "num_heads": 3}


#: Lengths of four rows of 11 steps. Most of these put the rows into an order that is not its own
#: inverse, so that rows which are put back by the order itself are found out.
LENGTHS = [[11, 11, 11, 11], [5, 11, 8, 1], [3, 3, 3, 3], [7, 11, 2, 9], [10, 11, 11, 10]]


@dataclass(frozen=True)
class Variant:
    """A network and its options, and what they let it do."""

    network: type[nn.Module]
    #: Arguments beside those of `SMALL` that the network has.
    options: dict = field(default_factory=dict)
    #: The values of ``causal_attention`` that it accepts; none where it has no such parameter and
    #: is always causal.
    causal: tuple[bool, ...] = (True, False)
    #: Whether it is given static features.
    static: bool = False
    #: Whether it is given the targets of the future in training (teacher forcing).
    target: bool = False
    #: Whether it has weights of attention between a future step and all steps.
    attends: bool = True
    #: Whether a future step attends to itself too, not only to those before it.
    attends_itself: bool = False
    #: Arguments with which it is wide enough to learn 32 windows by heart.
    wide: dict = field(default_factory=lambda: {"d_model": 12})
    #: The learning rate with which it does.
    lr: float = 0.01


VARIANTS = {
    "reference": Variant(TransformerLSTM),
    "shared": Variant(TransformerLSTM, {"share_lstm_weights": True, "num_layers": 1}),
    "multi_head": Variant(TransformerLSTM, {"attention": "multi_head", "trainable_add": True}),
    "lean": Variant(TransformerLSTM, {"encoder_attention": False, "num_transformer_blocks": 1}),
    "no_blocks": Variant(TransformerLSTM, {"num_transformer_blocks": 0}, attends=False),
    "rms": Variant(
        TransformerLSTM, {"norm": "rms", "norm_first": True, "feedforward": "relu", "num_layers": 1}
    ),
    "adaptive": Variant(
        TransformerLSTM,
        {"norm": "adaptive", "final_norm": True, "feedforward": "gelu", "attention_kernel": "math"},
        static=True,
    ),
    "swiglu": Variant(
        TransformerLSTM,
        {
            "attention": "multi_head",
            "norm": "adaptive",
            "norm_first": True,
            "final_norm": True,
            "feedforward": "swiglu",
            "dim_feedforward": 7,
            "gradient_checkpointing": True,
        },
        wide={"d_model": 12, "gradient_checkpointing": False},
    ),
    "silu": Variant(
        TransformerLSTM,
        {
            "encoder_attention": False,
            "share_layers": True,
            "feedforward": "silu",
            "trainable_add": True,
        },
        static=True,
    ),
    "mixture": Variant(
        TransformerLSTM,
        {"feedforward": "moe", "num_experts": 3, "dim_feedforward": 11, "share_layers": True},
    ),
    "switch": Variant(
        TransformerLSTM,
        {
            "feedforward": "moe",
            "num_experts": 2,
            "experts_per_token": 1,
            "norm_first": True,
            "norm": "rms",
            "final_norm": True,
            "gradient_checkpointing": True,
        },
        wide={"d_model": 12, "gradient_checkpointing": False},
    ),
    "frequency": Variant(
        TransformerLSTM,
        {"attention": "frequency", "feedforward": "gelu", "norm_first": True},
        causal=(False,),
        attends=False,
    ),
    "transformer": Variant(Transformer),
    "transformer_post_norm": Variant(
        Transformer,
        {
            "norm_first": False,
            "final_norm": False,
            "feedforward": "relu",
            "attention": "interpretable",
            "gradient_checkpointing": True,
        },
    ),
    "transformer_learned": Variant(
        Transformer,
        {
            "positions": "learned",
            "max_positions": 13,
            "norm": "rms",
            "feedforward": "swiglu",
            "trainable_add": True,
        },
    ),
    "transformer_rotary": Variant(
        Transformer,
        {
            "positions": "rotary",
            "norm": "adaptive",
            "feedforward": "silu",
            "share_layers": True,
            "attention_kernel": "math",
        },
    ),
    "transformer_lean": Variant(
        Transformer,
        {"num_encoder_layers": 0, "num_decoder_layers": 1, "feedforward": None},
        static=True,
    ),
    "transformer_mixture": Variant(
        Transformer,
        {
            "norm": "adaptive",
            "feedforward": "moe",
            "num_experts": 3,
            "positions": "rotary",
            "attention": "interpretable",
            "dim_feedforward": 5,
            "num_decoder_layers": 3,
            "num_encoder_layers": 1,
        },
        static=True,
    ),
    "transformer_frequency": Variant(
        Transformer, {"attention": "frequency"}, causal=(False,), attends=False
    ),
    # Their weights are of the past alone, and tested beside them.
    "transformer_cross": Variant(
        Transformer,
        {
            "attention": "interpretable",
            "cross_attention": "multi_head",
            "positions": "rotary",
            "norm": "adaptive",
            "feedforward": "moe",
            "expert": "swiglu",
            "num_experts": 3,
            "dim_feedforward": 9,
        },
        attends=False,
    ),
    "transformer_cross_frequency": Variant(
        Transformer,
        {
            "attention": "frequency",
            "cross_attention": "interpretable",
            "attention_kernel": "math",
            "norm_first": False,
        },
        causal=(False,),
        attends=False,
    ),
    "attention_lstm": Variant(AttentionLSTM),
    "ungated": Variant(AttentionLSTM, {"use_gating": False, "trainable_add": True}),
    "two_widths": Variant(AttentionLSTM, {"d_encoder": 7, "d_decoder": 9}),
    "seq2seq": Variant(
        Seq2SeqLSTM,
        {"embedding_dim": 5, "hidden_size": 7},
        causal=(),
        attends=False,
        wide={"hidden_size": 24},
    ),
    "autoregressive": Variant(
        Seq2SeqLSTM,
        {
            "embedding_dim": 5,
            "hidden_size": 7,
            "num_layers": 2,
            "decoding": "autoregressive",
            "teacher_forcing_ratio": 0.5,
        },
        causal=(),
        target=True,
        attends=False,
        wide={"hidden_size": 24, "num_layers": 1, "teacher_forcing_ratio": 1.0},
    ),
    # Their weights are of the past alone, and tested beside them.
    "temporal": Variant(TemporalAttentionLSTM, causal=(), attends=False),
    "temporal_additive": Variant(
        TemporalAttentionLSTM,
        {"score": "additive", "wiring": "replace"},
        causal=(),
        attends=False,
        wide={"d_model": 24},
        lr=0.02,
    ),
    "temporal_general": Variant(
        TemporalAttentionLSTM,
        {"score": "general", "wiring": "concat", "bidirectional": True, "num_layers": 2},
        causal=(),
        attends=False,
    ),
    "temporal_hierarchical": Variant(
        TemporalAttentionLSTM,
        {"score": "dot", "hierarchical": True, "bidirectional": True},
        causal=(),
        attends=False,
    ),
    "temporal_fusion": Variant(TemporalFusionTransformer, attends_itself=True),
    "temporal_fusion_static": Variant(
        TemporalFusionTransformer, {"num_layers": 2}, static=True, attends_itself=True
    ),
}
CASES = [
    (name, causal) for name, variant in VARIANTS.items() for causal in variant.causal or (True,)
]
CAUSAL = [name for name, causal in CASES if causal]


def build(name, causal=None, **options):
    """Build a small network; without ``causal``, by the first value that the variant accepts."""
    variant = VARIANTS[name]
    parameters = inspect.signature(variant.network).parameters
    small = {key: value for key, value in SMALL.items() if key in parameters}
    own = {"num_static_features": STATIC} if variant.static else {}
    if variant.causal:
        own["causal_attention"] = variant.causal[0] if causal is None else causal
    arguments = {"output_dim": OUTPUT, **small, **variant.options, **own, **options}
    return variant.network(PAST, FUTURE, **arguments)


def windows(name, batch, past_time, future_time):
    """Return the past, the future and the keyword arguments of a variant (its static vector)."""
    static = {"static": torch.randn(batch, STATIC)} if VARIANTS[name].static else {}
    return torch.randn(batch, past_time, PAST), torch.randn(batch, future_time, FUTURE), static


def teacher(name, batch, future_time):
    """Return what a variant is given in training only."""
    return {"target": torch.randn(batch, future_time, 1)} if VARIANTS[name].target else {}


def shake(network):
    """Give every parameter a value that follows from its name and its shape alone.

    What starts at zero then has something to say, and two networks that differ by an option differ
    in nothing else.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
            if name.endswith("norm.weight"):
                parameter.add_(1.0)
    return network


def of_rows(extras, rows):
    return {key: value[rows] for key, value in extras.items()}
