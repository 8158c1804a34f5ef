import pytest
import torch

from sktime_tlstm.nn import AttentionLSTM, TransformerLSTM
from tests.transformertf import RUNS, reference_run


def named(name):
    return next(path for path in RUNS if path.stem == name)


def test_there_are_five_reference_runs():
    assert len(RUNS) == 5


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_our_networks_reproduce_the_reference_run(path):
    network_class, arguments, weights, inputs, stored = reference_run(path)
    network = network_class(**arguments).eval()
    network.load_transformertf_state_dict(weights)
    with torch.no_grad():
        output = network(*inputs)
    expected = torch.from_numpy(stored["output"])
    assert output.shape == expected.shape
    for row, length in enumerate(stored["decoder_lengths"]):
        torch.testing.assert_close(output[row, :length], expected[row, :length], atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_full_lengths_need_not_be_given(path):
    network_class, arguments, weights, inputs, stored = reference_run(path)
    network = network_class(**arguments).eval()
    network.load_transformertf_state_dict(weights)
    past, future, past_lengths, future_lengths = inputs
    full = (past_lengths == past.shape[1]) & (future_lengths == future.shape[1])
    expected = torch.from_numpy(stored["output"])[full]
    assert len(expected) > 0
    torch.testing.assert_close(
        network(past[full], future[full]).detach(), expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_reference_weight_matters(path):
    network_class, arguments, weights, *_ = reference_run(path)
    network = network_class(**arguments).eval()
    shared = arguments.get("share_lstm_weights", False)
    network.load_transformertf_state_dict(weights)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for name in weights:
        if shared and name.startswith(("encoder.", "decoder.")):
            continue
        changed = {**weights, name: weights[name] + 1}
        network.load_transformertf_state_dict(changed)
        after = network.state_dict()
        assert sum(not torch.equal(before[key], after[key]) for key in before) == 1, name


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_missing_and_unexpected_names_are_an_error_that_changes_nothing(path):
    network_class, arguments, weights, *_ = reference_run(path)
    network = network_class(**arguments)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lacking = {name: value for name, value in weights.items() if name != "output_head.bias"}
    with pytest.raises(
        ValueError, match=r"lacks 'output_head.bias' and has the unexpected nothing"
    ):
        network.load_transformertf_state_dict(lacking)
    with pytest.raises(ValueError, match=r"lacks nothing and has the unexpected 'surplus'"):
        network.load_transformertf_state_dict({**weights, "surplus": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'output_head.bias' of shape \(17,\)"):
        network.load_transformertf_state_dict({**weights, "output_head.bias": torch.ones(17)})
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_another_number_of_heads_is_an_error_naming_both():
    _, arguments, weights, *_ = reference_run(named("transformer_lstm_full"))
    with pytest.raises(ValueError, match=r"of 4 attention heads for a network with num_heads=2"):
        TransformerLSTM(**{**arguments, "num_heads": 2}).load_transformertf_state_dict(weights)
    _, arguments, weights, *_ = reference_run(named("attention_lstm_gated"))
    with pytest.raises(ValueError, match=r"of 4 attention heads for a network with num_heads=8"):
        AttentionLSTM(**{**arguments, "num_heads": 8}).load_transformertf_state_dict(weights)


@pytest.mark.parametrize(
    "other",
    [{"attention": "multi_head"}, {"encoder_attention": False}, {"num_transformer_blocks": 1}],
)
def test_weights_of_another_architecture_are_an_error(other):
    _, arguments, weights, *_ = reference_run(named("transformer_lstm_full"))
    with pytest.raises(ValueError, match="Build"):
        TransformerLSTM(**{**arguments, **other}).load_transformertf_state_dict(weights)


def test_unequal_weights_do_not_load_into_a_shared_lstm():
    _, arguments, weights, *_ = reference_run(named("transformer_lstm_shared_noncausal"))
    network = TransformerLSTM(**arguments)
    unequal = {**weights, "decoder.weight_hh_l1": weights["decoder.weight_hh_l1"] + 1}
    with pytest.raises(ValueError, match="share_lstm_weights=False"):
        network.load_transformertf_state_dict(unequal)


def test_trainable_residuals_and_other_widths_have_reference_names_too():
    network = AttentionLSTM(3, 2, d_model=6, num_heads=2, d_encoder=5, trainable_add=True)
    with pytest.raises(ValueError) as error:
        network.load_transformertf_state_dict({})
    assert "attention.key_layers.0.bias" in str(error.value)
    from sktime_tlstm.nn.transformertf import _reference_names

    names = {_reference_names(name, 2)[0] for name in network.state_dict()}
    assert {
        "gate_add_norm.add_norm.mask",
        "state_projection.h_proj.weight",
        "state_projection.c_proj.bias",
        "encoder_output_projection.weight",
    } <= names


@pytest.mark.parametrize("kind", ["query", "key"])
def test_heads_keep_the_order_of_the_reference(kind):
    _, arguments, weights, *_ = reference_run(named("attention_lstm_gated"))
    network = AttentionLSTM(**arguments)
    network.load_transformertf_state_dict(weights)
    ours = getattr(network.attention, kind)
    for head, (weight, bias) in enumerate(
        zip(ours.weight.split(4), ours.bias.split(4), strict=True)
    ):
        assert torch.equal(weight, weights[f"attention.{kind}_layers.{head}.weight"])
        assert torch.equal(bias, weights[f"attention.{kind}_layers.{head}.bias"])
