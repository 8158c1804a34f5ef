import math

import pytest
import torch

from sktime_tlstm.nn import (
    AddNorm,
    GateAddNorm,
    GatedLinearUnit,
    GatedResidualNetwork,
)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def fill(linear, weight, bias=None):
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(weight))
        if bias is not None:
            linear.bias.copy_(torch.tensor(bias))


def test_gated_linear_unit_scales_the_first_half_by_the_second():
    unit = GatedLinearUnit(2, 1)
    fill(unit.linear, [[1.0, 2.0], [3.0, -1.0]], [0.5, 0.25])
    # values: 1*2 + 2*3 + .5 = 8.5; gate: 3*2 - 3 + .25 = 3.25
    result = unit(torch.tensor([2.0, 3.0]))
    assert result.item() == pytest.approx(8.5 * sigmoid(3.25), rel=1e-6)


def test_gated_linear_unit_starts_xavier_uniform_with_zero_bias():
    unit = GatedLinearUnit(31, 17)
    bound = math.sqrt(6 / (31 + 34))
    assert 0.95 * bound < unit.linear.weight.abs().max() <= bound
    assert (unit.linear.bias == 0).all()


def test_dropout_acts_in_front_of_the_gate_and_only_in_training():
    unit = GatedLinearUnit(5, 3, dropout=1.0)
    x = torch.randn(2, 5)
    dropped = unit(x)
    torch.testing.assert_close(dropped, torch.zeros(2, 3))  # all dropped: bias only, and it is zero
    assert (unit.eval()(x) != 0).all()


def test_gate_add_norm_is_the_layer_norm_of_gate_plus_residual():
    layer = GateAddNorm(2)
    fill(layer.gate.linear, [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    # gate is 1/2: (2, 6) / 2 + (0, 4) = (1, 7); mean 4, standard deviation 3
    result = layer(torch.tensor([2.0, 6.0]), torch.tensor([0.0, 4.0]))
    torch.testing.assert_close(result, torch.tensor([-1.0, 1.0]), atol=1e-5, rtol=0)


def test_trainable_add_scales_the_residual_by_twice_a_sigmoid():
    layer = AddNorm(3, trainable_add=True)
    x, residual = torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close(layer(x, residual), AddNorm(3)(x, residual))  # starts as a plain sum
    with torch.no_grad():
        layer.residual_logit.fill_(1.0)
    expected = layer.norm(x + 2 * sigmoid(1.0) * residual)
    torch.testing.assert_close(layer(x, residual), expected)


@pytest.mark.parametrize("norm", ["rms", "adaptive", None])
@pytest.mark.parametrize("layer", [AddNorm, GateAddNorm])
def test_the_norm_is_that_which_was_asked_for(layer, norm):
    torch.manual_seed(3)
    plain = layer(5)
    torch.manual_seed(3)
    other = layer(5, norm=norm, condition_features=2 if norm == "adaptive" else 0)
    add_norm = other if layer is AddNorm else other.add_norm
    if norm == "adaptive":
        torch.nn.init.ones_(add_norm.norm.modulation.weight)
    x, residual, condition = torch.randn(2, 7, 5), torch.randn(2, 7, 5), torch.randn(2, 2)
    branch = x if layer is AddNorm else other.gate(x)
    expected = add_norm.norm(branch + residual, condition)
    result = other(x, residual, condition)
    assert torch.equal(result, expected)
    assert not torch.allclose(result, plain(x, residual), atol=1e-3)
    if norm is None:
        assert torch.equal(result, branch + residual)


def test_norms_keep_the_names_of_the_parameters():
    assert list(AddNorm(2).state_dict()) == ["norm.weight", "norm.bias"]
    names = list(GateAddNorm(2, trainable_add=True).state_dict())
    assert names == [
        "gate.linear.weight",
        "gate.linear.bias",
        "add_norm.residual_logit",
        "add_norm.norm.weight",
        "add_norm.norm.bias",
    ]


@pytest.mark.parametrize("layer", [AddNorm, GateAddNorm])
def test_impossible_norms_are_errors(layer):
    with pytest.raises(ValueError, match="norm='batch'"):
        layer(5, norm="batch")
    with pytest.raises(ValueError, match="condition_features=0"):
        layer(5, norm="adaptive")


def test_gated_residual_network_worked_by_hand():
    network = GatedResidualNetwork(1, 1, 2, context_features=1)
    fill(network.input_layer, [[2.0]], [1.0])
    fill(network.context_layer, [[-3.0]])
    fill(network.hidden_layer, [[5.0]], [0.5])
    fill(network.gate.linear, [[1.0], [-1.0], [0.0], [0.0]])
    fill(network.project, [[7.0], [0.0]], [0.0, 3.0])
    # 2*1 + 1 - 3*2 = -3; ELU: e^-3 - 1; hidden: 5 (e^-3 - 1) + .5; gated halves: +-hidden / 2
    hidden = 5 * (math.exp(-3) - 1) + 0.5
    sums = torch.tensor([hidden / 2 + 7, -hidden / 2 + 3])
    expected = (sums - sums.mean()) / torch.sqrt(sums.var(unbiased=False) + 1e-5)
    result = network(torch.tensor([1.0]), torch.tensor([2.0]))
    torch.testing.assert_close(result, expected)


def test_gated_residual_network_projects_only_where_widths_differ():
    assert isinstance(GatedResidualNetwork(5, 7, 5).project, torch.nn.Identity)
    assert isinstance(GatedResidualNetwork(5, 7, 3).project, torch.nn.Linear)
    assert GatedResidualNetwork(5, 7, 3, context_features=2).context_layer.bias is None


def test_gated_residual_network_drops_out_once_in_front_of_the_gate():
    network = GatedResidualNetwork(3, 5, 3, dropout=1.0)
    x = torch.randn(2, 3)
    torch.testing.assert_close(network(x), network.norm(x))
    assert not torch.allclose(network.eval()(x), network.norm(x))


@pytest.mark.parametrize(("context_features", "context"), [(2, None), (None, torch.ones(2))])
def test_a_missing_or_superfluous_context_is_an_error(context_features, context):
    network = GatedResidualNetwork(3, 5, 3, context_features=context_features)
    with pytest.raises(ValueError, match="context exactly where context_features is given"):
        network(torch.ones(3), context)
