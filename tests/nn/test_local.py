"""Sliding-window attention: a future of any length, each step beside those just before it."""

import pytest
import torch

from sktime_tlstm.nn import TransformerLSTM, transformer_lstm
from sktime_tlstm.nn.local import LocalWindow, local_mask
from tests.nn.variants import shake

SMALL = {"d_model": 6, "num_heads": 3, "encoder_attention": False, "dropout": 0.0}
LENGTHS = torch.tensor([9, 4, 1])


def build(**options):
    torch.manual_seed(11)
    return shake(TransformerLSTM(3, 2, **{**SMALL, **options})).eval()


def inputs(time=17):
    torch.manual_seed(13)
    return torch.randn(3, 9, 3), torch.randn(3, time, 2)


@pytest.mark.parametrize("window", [1, 4])
def test_a_step_sees_the_window_before_it_and_not_itself(window):
    mask = local_mask(window)
    for step in range(window):
        place = window + step  # among the keys
        assert mask[step].nonzero()[:, 0].tolist() == list(range(place - window, place))


OPTIONS = [
    {},
    {"num_transformer_blocks": 0},
    {"attention": "multi_head", "norm_first": True, "final_norm": True},
    {"feedforward": "moe", "norm": "adaptive"},
    {"share_layers": True, "share_lstm_weights": False, "num_layers": 1},
    {"num_transformer_blocks": 1, "num_static_features": 2},
    {"gated_inputs": False, "share_lstm_weights": False, "num_static_features": 2},
    {"gated_inputs": False, "share_lstm_weights": False, "norm": "adaptive"},
]


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_window_over_everything_is_causal_attention(options, lengths):
    past, future = inputs()
    static = {"static": torch.randn(3, 2)} if "num_static_features" in options else {}
    full, local = build(**options), build(**options, attention_window=26)
    expected = full(past, future, lengths, **static)
    torch.testing.assert_close(local(past, future, lengths, **static), expected)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("options", OPTIONS)
def test_neither_pieces_nor_the_end_of_the_future_change_a_step(options, lengths, monkeypatch):
    past, future = inputs()
    static = {"static": torch.randn(3, 2)} if "num_static_features" in options else {}
    network = build(**options, attention_window=5)
    whole = network(past, future, lengths, **static)
    begun = network(past, future[:, :8], lengths, **static)
    torch.testing.assert_close(begun, whole[:, :8])
    for steps in (1, 3, 7):
        monkeypatch.setattr(transformer_lstm, "STEPS_AT_ONCE", steps * len(past))
        torch.testing.assert_close(network(past, future, lengths, **static), whole)


def test_attention_reaches_as_far_back_as_the_window_and_no_further():
    network = build(attention_window=4, num_transformer_blocks=1)
    blocks, condition = network.blocks, None
    before = torch.randn(1, 4, 6)
    steps = torch.randn(1, 10, 6)
    window = LocalWindow([before], None)
    refined, _ = window.refine(blocks, steps, condition)
    for changed in range(10):
        other = steps.clone()
        other[:, changed] += 1.0
        differs = (window.refine(blocks, other, condition)[0] - refined).abs().amax((0, 2)) > 1e-6
        assert differs.nonzero()[:, 0].tolist() == list(range(changed, min(changed + 5, 10)))


def test_every_weight_has_a_gradient():
    network = build(attention_window=4).train()
    network(*inputs(), LENGTHS).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attention_window": 0}, "attention_window=0; expected 1 or more"),
        (
            {"attention_window": 3, "encoder_attention": True},
            "encoder_attention=True, which look at whole sequences",
        ),
        (
            {"attention_window": 3, "attention": "frequency", "causal_attention": False},
            "attention='frequency'",
        ),
    ],
)
def test_what_cannot_be_local_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_what_needs_all_steps_is_refused_of_a_network_with_a_window():
    network, (past, future) = build(attention_window=3), inputs()
    with pytest.raises(ValueError, match="init_state of a network with attention_window=3"):
        network.init_state(past)
    with pytest.raises(ValueError, match="attention_weights of a network with attention_window=3"):
        network.attention_weights(past, future)
