"""Every option of every network acts: no two of its values give the same output."""

import inspect
import itertools

import pytest
import torch

from sktime_tlstm.nn import (
    ATTENTIONS,
    EXPERTS,
    FEEDFORWARDS,
    NORMS,
    POSITIONS,
    SCORES,
    AttentionLSTM,
    Seq2SeqLSTM,
    TemporalAttentionLSTM,
    TemporalFusionTransformer,
    Transformer,
    TransformerLSTM,
)
from sktime_tlstm.nn.branches import CROSS_ATTENTIONS
from sktime_tlstm.nn.seq2seq_lstm import DECODINGS
from sktime_tlstm.nn.temporal_attention_lstm import WIRINGS
from tests.nn.variants import shake


def first_parameters(output):
    return output[..., :1]


BOTH = [False, True]
SIZES = {"d_model": [4, 8], "num_heads": [1, 2, 4], "dropout": [0.0, 0.3], "num_layers": [1, 2]}
BLOCKS = {
    "causal_attention": BOTH,
    "attention": ATTENTIONS,
    "num_modes": [2, 3, 5],
    "trainable_add": BOTH,
    "norm": NORMS,
    "norm_first": BOTH,
    "final_norm": BOTH,
    "feedforward": [None, *FEEDFORWARDS],
    "dim_feedforward": [None, 7, 11],
    "num_experts": [3, 4, 5],
    "experts_per_token": [1, 2, 3],
    "capacity_factor": [None, 0.2, 0.6],
    "expert": EXPERTS,
    "share_layers": BOTH,
}
#: The values of every option, all of which are to give different outputs.
OPTIONS = {
    TransformerLSTM: {
        **SIZES,
        **BLOCKS,
        "num_transformer_blocks": [0, 1, 2],
        "share_lstm_weights": BOTH,
        "encoder_attention": BOTH,
        "gated_inputs": BOTH,
    },
    Transformer: {
        **{name: values for name, values in SIZES.items() if name != "num_layers"},
        **BLOCKS,
        "num_encoder_layers": [0, 1, 2],
        "num_decoder_layers": [1, 2],
        "positions": POSITIONS,
        "cross_attention": [None, *CROSS_ATTENTIONS],
    },
    AttentionLSTM: {
        **SIZES,
        "use_gating": BOTH,
        "trainable_add": BOTH,
        "causal_attention": BOTH,
        "d_encoder": [None, 7],
        "d_decoder": [None, 12],
    },
    Seq2SeqLSTM: {
        "embedding_dim": [5, 7],
        "hidden_size": [6, 9],
        "num_layers": [1, 2],
        "dropout": [0.0, 0.3],
        "decoding": DECODINGS,
        "teacher_forcing_ratio": [0.0, 0.5, 1.0],
        "num_targets": [1, 2, 3],
        "point": [None, first_parameters],
    },
    TemporalAttentionLSTM: {
        **SIZES,
        "score": ["multi_head", *SCORES],
        "wiring": WIRINGS,
        "bidirectional": BOTH,
        "hierarchical": BOTH,
    },
    TemporalFusionTransformer: {**SIZES, "causal_attention": BOTH},
}
#: What an option needs to act.
PARTNERS = {
    "attention": {"causal_attention": False},
    "num_modes": {"attention": "frequency", "causal_attention": False},
    "dim_feedforward": {"feedforward": "swiglu"},
    "num_experts": {"feedforward": "moe"},
    "experts_per_token": {"feedforward": "moe"},
    "capacity_factor": {"feedforward": "moe"},
    "expert": {"feedforward": "moe"},
    "teacher_forcing_ratio": {"decoding": "autoregressive"},
    "num_targets": {"decoding": "autoregressive"},
    "point": {"decoding": "autoregressive"},
}
#: Options that act in training alone.
IN_TRAINING = ("dropout", "capacity_factor", "teacher_forcing_ratio")
#: Options that set shapes or costs, not numbers, and where they are tested.
ELSEWHERE = {
    "num_past_features": "test_networks",
    "num_future_features": "test_networks",
    "output_dim": "test_networks",
    "num_static_features": "test_networks",
    "max_positions": "test_positions",
    "attention_kernel": "test_attention",
    "attention_window": "test_local",
    "gradient_checkpointing": "test_blocks",
}
SMALL = {"d_model": 8, "num_heads": 2, "dropout": 0.0, "output_dim": 6}


def build(network, **options):
    parameters = inspect.signature(network).parameters
    small = {name: value for name, value in SMALL.items() if name in parameters}
    return shake(network(3, 2, **{**small, **options}))


@pytest.mark.parametrize(
    ("network", "name"), [(network, name) for network in OPTIONS for name in OPTIONS[network]]
)
def test_every_value_of_an_option_gives_an_output_of_its_own(network, name):
    partners = PARTNERS.get(name, {})
    networks = [build(network, **partners, **{name: value}) for value in OPTIONS[network][name]]
    past, future = torch.randn(5, 9, 3), torch.randn(5, 4, 2)
    evaluated = [one.eval()(past, future) for one in networks]
    for one, other in itertools.combinations(evaluated, 2):
        assert torch.allclose(one, other, atol=1e-3) == (name in IN_TRAINING)
    if name not in IN_TRAINING:
        return
    shown = {"target": torch.randn(5, 4, 1)} if "decoding" in partners else {}
    trained = []
    for one in networks:
        torch.manual_seed(0)
        trained.append(one.train()(past, future, **shown))
    for one, other in itertools.combinations(trained, 2):
        assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("network", OPTIONS)
def test_every_option_is_in_one_of_the_tables(network):
    parameters = set(inspect.signature(network).parameters)
    assert parameters == set(OPTIONS[network]) | (set(ELSEWHERE) & parameters)
    assert not set(OPTIONS[network]) & set(ELSEWHERE)
