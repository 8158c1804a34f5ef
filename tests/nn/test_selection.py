import itertools
import math

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import GatedResidualNetwork, VariableNetworks, VariableSelectionNetwork
from sktime_tlstm.nn import selection as module

VARIABLES, WIDTH, CONTEXT = 5, 6, 3
# What the parameters of all variables are called in an ordinary network.
LAYERS = {
    "input": "input_layer",
    "hidden": "hidden_layer",
    "gate": "gate.linear",
    "norm": "norm",
}


def embeddings(variables, x):
    """The embedding of every channel: (..., variable) -> (..., variable, d_model)."""
    return x[..., None] * variables.embedding_weight + variables.embedding_bias


def one_network(variables, j):
    """An ordinary gated residual network with the weights of variable j."""
    width = variables.embedding_weight.shape[1]
    network = GatedResidualNetwork(width, width, width)
    with torch.no_grad():
        for name, layer in LAYERS.items():
            for kind in ("weight", "bias"):
                stacked = getattr(variables, f"{name}_{kind}")
                network.get_parameter(f"{layer}.{kind}").copy_(stacked[j])
    return network


def shaken(network):
    """Move every parameter, those which start at zero or one too."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def slow(selection, x, context=None):
    """Equations 6 to 8, literally: flattened embeddings, and a loop over the variables."""
    embedded = embeddings(selection.variables, x)
    weights = torch.softmax(selection.weighing(embedded.flatten(-2), context), -1)
    selected = sum(
        weights[..., j, None] * one_network(selection.variables, j)(embedded[..., j, :])
        for j in range(x.shape[-1])
    )
    return selected, weights


def test_networks_of_all_variables_at_once_are_a_loop_over_ordinary_ones():
    variables, x = shaken(VariableNetworks(VARIABLES, WIDTH)), torch.randn(11, VARIABLES)
    outputs = [one_network(variables, j)(embeddings(variables, x)[:, j]) for j in range(VARIABLES)]
    for j, only in enumerate(torch.eye(VARIABLES)):
        result = variables(x, only.expand(11, -1))
        torch.testing.assert_close(result, outputs[j], atol=1e-5, rtol=1e-5)
    weights = torch.randn(11, VARIABLES)
    expected = sum(weights[:, [j]] * outputs[j] for j in range(VARIABLES))
    torch.testing.assert_close(variables(x, weights), expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_all_variables_at_once_are_those_of_the_loop():
    variables = shaken(VariableNetworks(VARIABLES, WIDTH)).double()
    x, weights = (torch.randn(7, VARIABLES).double().requires_grad_() for _ in range(2))
    names = dict(variables.named_parameters())
    fast = torch.autograd.grad(variables(x, weights).sin().sum(), [x, weights, *names.values()])
    networks = [one_network(variables, j).double() for j in range(VARIABLES)]
    embedded = embeddings(variables, x)
    selected = sum(weights[:, [j]] * grn(embedded[:, j]) for j, grn in enumerate(networks))
    embedding = [names["embedding_weight"], names["embedding_bias"]]
    slow = torch.autograd.grad(selected.sin().sum(), [x, weights, *embedding], retain_graph=True)
    for ours, other in zip(fast, slow, strict=False):
        torch.testing.assert_close(ours, other)
    for (name, gradient), j in itertools.product(
        zip(list(names)[2:], fast[4:], strict=True), range(VARIABLES)
    ):
        layer, kind = name.split("_")
        parameter = networks[j].get_parameter(f"{LAYERS[layer]}.{kind}")
        (other,) = torch.autograd.grad(selected.sin().sum(), parameter, retain_graph=True)
        torch.testing.assert_close(gradient[j], other)


@pytest.mark.parametrize("shape", [(3,), (3, 7), (2, 3, 7)], ids=str)
@pytest.mark.parametrize("context", [None, CONTEXT])
def test_selection_is_equations_6_to_8(shape, context):
    selection = shaken(VariableSelectionNetwork(VARIABLES, WIDTH, context))
    x = torch.randn(*shape, VARIABLES)
    given = None if context is None else torch.randn(*shape, context)
    selected, weights = slow(selection, x, given)
    torch.testing.assert_close(selection(x, given), selected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(selection.weights(x, given), weights, atol=1e-5, rtol=1e-5)


def test_weights_are_positive_and_sum_to_one():
    weights = VariableSelectionNetwork(VARIABLES, WIDTH).weights(torch.randn(3, 7, VARIABLES))
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 7))


def test_an_average_of_two_variables_worked_by_hand():
    selection = VariableSelectionNetwork(2, 2)
    with torch.no_grad():
        for parameter in selection.parameters():
            parameter.zero_()
        variables = selection.variables
        # Gates are zero: each network is the layer norm of its embedding, which is (1, -1) for
        # (2 x, 0) with x > 0 and (-1, 1) for (0, 3 x). Logits are the bias of the norm.
        variables.embedding_weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        variables.norm_weight.fill_(1.0)
        selection.weighing.norm.bias.copy_(torch.tensor([math.log(3.0), 0.0]))
    result = selection(torch.tensor([5.0, 7.0]))
    # 3/4 (1, -1) + 1/4 (-1, 1)
    torch.testing.assert_close(result, torch.tensor([0.5, -0.5]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("numbers", [1, 7 * 2 * VARIABLES * WIDTH, 2**21])
def test_slices_of_rows_change_nothing(monkeypatch, numbers):
    x, selection = torch.randn(3, 11, VARIABLES), VariableSelectionNetwork(VARIABLES, WIDTH)
    expected = selection(x)
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", numbers)
    sliced = VariableSelectionNetwork(VARIABLES, WIDTH)
    sliced.load_state_dict(selection.state_dict())
    assert sliced.rows_at_once == {1: 1, 2**21: 2**21 // 60}.get(numbers, 7)
    torch.testing.assert_close(sliced(x), expected, atol=1e-6, rtol=1e-6)


def test_a_single_variable_has_weight_one_and_no_network_for_it():
    selection = VariableSelectionNetwork(1, WIDTH, CONTEXT)
    x = torch.randn(3, 7, 1)
    assert selection.weighing is None
    torch.testing.assert_close(selection(x, torch.randn(3, 1, CONTEXT)), selection(x))
    assert (selection.weights(x) == 1).all()
    expected = one_network(selection.variables, 0)(embeddings(selection.variables, x)[..., 0, :])
    torch.testing.assert_close(selection(x), expected, atol=1e-5, rtol=1e-5)


def test_a_sequence_of_no_steps_stays_one():
    assert VariableSelectionNetwork(VARIABLES, WIDTH)(torch.ones(3, 0, VARIABLES)).shape == (
        3,
        0,
        6,
    )


def test_context_changes_the_weights():
    selection, x = VariableSelectionNetwork(VARIABLES, WIDTH, CONTEXT), torch.randn(3, 7, VARIABLES)
    one, other = (selection.weights(x, torch.randn(3, 1, CONTEXT)) for _ in range(2))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("context", [None, torch.ones(3, 1, CONTEXT)], ids=["without", "with"])
def test_a_context_where_none_is_expected_is_an_error_and_the_reverse(context):
    selection = VariableSelectionNetwork(VARIABLES, WIDTH, CONTEXT if context is None else None)
    with pytest.raises(ValueError, match="Pass a context exactly where"):
        selection(torch.ones(3, 7, VARIABLES), context)


@pytest.mark.parametrize(("features", "width"), [(0, 6), (3, 1)])
def test_sizes_that_cannot_learn_are_an_error(features, width):
    with pytest.raises(ValueError, match=f"Got num_features={features} and d_model={width}"):
        VariableSelectionNetwork(features, width)


def test_dropout_falls_in_front_of_every_gate_and_only_in_training():
    selection = VariableSelectionNetwork(VARIABLES, WIDTH, dropout=0.37)
    rates = [one.p for one in selection.modules() if isinstance(one, nn.Dropout)]
    assert rates == [0.37, 0.37]
    variables, x = VariableNetworks(VARIABLES, WIDTH, dropout=1.0), torch.randn(7, VARIABLES)
    # Everything dropped: the gates read zero and, without a bias, give zero.
    norm = nn.LayerNorm(WIDTH)
    expected = norm(embeddings(variables, x)).sum(1)
    result = variables(x, torch.ones_like(x))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(variables.eval()(x, torch.ones_like(x)), expected, atol=1e-3)


def test_every_network_starts_as_ordinary_layers_do():
    variables = VariableNetworks(31, 16)
    bounds = {
        "embedding_weight": 1.0,
        "embedding_bias": 1.0,
        "input_weight": 1 / 4,
        "input_bias": 1 / 4,
        "hidden_weight": 1 / 4,
        "hidden_bias": 1 / 4,
        "gate_weight": math.sqrt(6 / (16 + 32)),  # Xavier
        "gate_bias": 0.0,
    }
    for name, bound in bounds.items():
        assert 0.95 * bound <= getattr(variables, name).abs().max() <= bound, name
    assert (variables.norm_weight == 1).all()
    assert (variables.norm_bias == 0).all()


def test_the_context_may_differ_by_step():
    selection = VariableSelectionNetwork(VARIABLES, WIDTH, CONTEXT)
    x, context = torch.randn(3, 7, VARIABLES), torch.randn(3, 7, CONTEXT)
    for step in range(7):
        torch.testing.assert_close(
            selection(x, context)[:, step],
            selection(x[:, step], context[:, step]),
            atol=1e-5,
            rtol=0,
        )
