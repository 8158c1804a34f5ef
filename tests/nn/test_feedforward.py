import copy
import gc
import math
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sktime_tlstm.nn import (
    EXPERTS,
    FEEDFORWARDS,
    FeedForward,
    MixtureOfExperts,
    SwiGLU,
    auxiliary_loss,
    forget_auxiliary_loss,
    make_feedforward,
    padding_mask,
)
from sktime_tlstm.nn.exporting import traces_all


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


@torch.no_grad()
def slow_mixture(network, x, mask=None):
    """Route and mix token by token, as the paper writes it, without a capacity."""
    output = torch.zeros_like(x)
    for row in range(x.shape[0]):
        for step in range(x.shape[1]):
            if mask is not None and not mask[row, step]:
                continue
            token = x[row, step]
            scores = [math.exp(token @ weight) for weight in network.router.weight]
            probabilities = [score / sum(scores) for score in scores]
            best = sorted(range(len(scores)), key=lambda e: -scores[e])[: network.experts_per_token]
            total = sum(probabilities[e] for e in best) if len(best) > 1 else 1.0
            for e in best:
                output[row, step] += probabilities[e] / total * network.experts[e](token)
    return output


def identical_experts(num_experts, experts_per_token, **options):
    """Build a mixture whose expert e returns its input times e + 1."""
    network = MixtureOfExperts(2, 2, 0.0, num_experts, experts_per_token, **options)
    for e, expert in enumerate(network.experts):
        expert.activation = nn.Identity()
        with torch.no_grad():
            for linear, factor in ((expert.hidden, 1), (expert.output, e + 1)):
                linear.weight.copy_(factor * torch.eye(2))
                linear.bias.zero_()
    return network


@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        ("relu", lambda x: max(x, 0.0)),
        ("gelu", gelu),
        ("silu", lambda x: x / (1 + math.exp(-x))),
    ],
)
def test_plain_networks_by_hand(kind, activation):
    network = make_feedforward(kind, 1, 2)
    with torch.no_grad():
        network.hidden.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        network.hidden.bias.copy_(torch.tensor([0.5, 0.0]))
        network.output.weight.copy_(torch.tensor([[3.0, 5.0]]))
        network.output.bias.fill_(-1.0)
    # x = 1: hidden 1.5 and -2
    expected = 3 * activation(1.5) + 5 * activation(-2.0) - 1
    assert network(torch.ones(1, 1, 1)).item() == pytest.approx(expected, rel=1e-5)


def test_swiglu_by_hand():
    network = SwiGLU(1, 3)
    assert network.output.in_features == 2
    with torch.no_grad():
        network.hidden.weight.copy_(torch.tensor([[1.0], [-2.0], [5.0], [7.0]]))
        network.hidden.bias.copy_(torch.tensor([0.5, 0.0, 0.0, 1.0]))
        network.output.weight.copy_(torch.tensor([[3.0, 11.0]]))
        network.output.bias.fill_(-1.0)
    # x = 1: gates SiLU(1.5) and SiLU(-2), values 5 and 8
    gates = [1.5 / (1 + math.exp(-1.5)), -2 / (1 + math.exp(2))]
    expected = 3 * gates[0] * 5 + 11 * gates[1] * 8 - 1
    assert network(torch.ones(1, 1, 1)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("d_model", "dim_feedforward"), [(32, None), (64, 128), (128, None)])
def test_swiglu_has_as_many_parameters_as_the_plain_network(d_model, dim_feedforward):
    plain = count(make_feedforward("gelu", d_model, dim_feedforward))
    assert abs(count(make_feedforward("swiglu", d_model, dim_feedforward)) / plain - 1) < 0.015


@pytest.mark.parametrize("kind", sorted(FEEDFORWARDS))
def test_the_hidden_width_is_four_times_d_model_or_what_is_given(kind):
    assert count(make_feedforward(kind, 6)) == count(make_feedforward(kind, 6, 24))
    assert count(make_feedforward(kind, 6, 25)) > count(make_feedforward(kind, 6))
    with pytest.raises(ValueError, match="dim_feedforward=0; expected 1 or more"):
        make_feedforward(kind, 6, 0)


@pytest.mark.parametrize("kind", sorted(FEEDFORWARDS))
def test_dropout_falls_on_the_hidden_layer_and_only_in_training(kind):
    network, x = make_feedforward(kind, 6, dropout=1.0), torch.randn(2, 7, 6)
    if kind == "moe":
        for expert in network.experts:
            nn.init.ones_(expert.output.bias)  # of gates that sum to one
        expected = torch.ones(6)
    else:
        expected = network.output.bias
    torch.testing.assert_close(network(x), expected.expand(2, 7, 6))
    assert not torch.allclose(network.eval()(x), expected)


@pytest.mark.parametrize("kind", sorted(FEEDFORWARDS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_run(kind, dtype):
    network, x = make_feedforward(kind, 6).to(dtype), torch.randn(2, 7, 6, dtype=dtype)
    output = network(x, padding_mask(torch.tensor([7, 3]), 7))
    assert output.dtype == dtype
    (output.sum() + auxiliary_loss(network)).backward()


@pytest.mark.parametrize("kind", sorted(FEEDFORWARDS))
def test_a_step_depends_on_itself_alone(kind):
    network, x = make_feedforward(kind, 6).eval(), torch.randn(2, 7, 6)
    mask = padding_mask(torch.tensor([7, 3]), 7)
    whole = network(x, mask)
    torch.testing.assert_close(whole[1:, :3], network(x[1:, :3]), atol=1e-6, rtol=0)
    torch.testing.assert_close(whole[:1, 4:5], network(x[:1, 4:5]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("num_experts", "chosen"), [(1, 1), (3, 1), (5, 2), (5, 3), (3, 3)])
def test_a_mixture_equals_the_slow_loop(num_experts, chosen, masked):
    network = MixtureOfExperts(6, 7, num_experts=num_experts, experts_per_token=chosen)
    nn.init.normal_(network.router.weight)
    x = torch.randn(2, 11, 6)
    mask = padding_mask(torch.tensor([11, 3]), 11) if masked else None
    torch.testing.assert_close(network(x, mask), slow_mixture(network, x, mask))


@pytest.mark.parametrize("expert", EXPERTS)
def test_a_mixture_of_any_kind_of_experts_equals_the_slow_loop(expert):
    network = MixtureOfExperts(6, 9, num_experts=3, expert=expert)
    kind, width = (SwiGLU, 6) if expert == "swiglu" else (FeedForward, 9)  # 6 is 2/3 of 9
    assert all(type(one) is kind and one.output.in_features == width for one in network.experts)
    nn.init.normal_(network.router.weight)
    x = torch.randn(2, 7, 6)
    torch.testing.assert_close(network(x), slow_mixture(network, x))
    assert [type(last) for last in network.last_maps()] == [nn.Linear] * 3


def test_one_expert_is_the_plain_network():
    mixture = MixtureOfExperts(6, 7, num_experts=1, experts_per_token=1)
    plain = FeedForward(6, 7, activation="gelu")
    plain.load_state_dict(mixture.experts[0].state_dict())
    x = torch.randn(2, 11, 6)
    torch.testing.assert_close(mixture(x), plain(x))


def test_gates_weigh_the_outputs_of_the_experts_and_sum_to_one():
    network = identical_experts(3, 2)
    with torch.no_grad():  # logits log 1, log 2, log 5 of the token (1, 1)
        network.router.weight.copy_(torch.tensor([[0.0], [2.0], [5.0]]).clamp(min=1).log() / 2)
    # experts 2 and 1 give 3 and 2 times the input; gates 5/7 and 2/7
    expected = torch.full((1, 1, 2), (5 * 3 + 2 * 2) / 7)
    torch.testing.assert_close(network(torch.ones(1, 1, 2)), expected)


def test_a_single_gate_is_the_probability_itself():
    network = identical_experts(3, 1)
    with torch.no_grad():
        network.router.weight.copy_(torch.tensor([[1.0], [2.0], [5.0]]).log() / 2)
    torch.testing.assert_close(network(torch.ones(1, 1, 2)), torch.full((1, 1, 2), 3 * 5 / 8))


@pytest.mark.parametrize("chosen", [1, 2])
def test_the_router_and_every_expert_that_is_routed_to_get_gradients(chosen):
    network = MixtureOfExperts(6, 7, num_experts=5, experts_per_token=chosen)
    network(torch.randn(2, 13, 6)).square().sum().backward()  # the outputs alone
    assert (network.router.weight.grad != 0).any()
    routed = network.expert_load > 0
    assert routed.sum() > 1
    for expert, used in zip(network.experts, routed, strict=True):
        for parameter in expert.parameters():
            assert bool((parameter.grad != 0).any()) == bool(used)


def test_an_expert_without_steps_gets_a_zero_gradient():
    network = MixtureOfExperts(6, 7, num_experts=5, experts_per_token=1)
    network(torch.randn(1, 1, 6)).sum().backward()
    assert sum((expert.hidden.weight.grad == 0).all() for expert in network.experts) == 4


def test_an_expert_computes_only_the_steps_that_are_routed_to_it():
    network, sizes = MixtureOfExperts(6, 7, num_experts=5, experts_per_token=2), []
    for expert in network.experts:
        expert.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    network(torch.randn(2, 11, 6), padding_mask(torch.tensor([11, 3]), 11))
    assert sum(sizes) == 2 * 14
    torch.testing.assert_close(network.expert_load, torch.tensor(sizes) / 28)


def test_losses_of_uniform_routing_are_known_numbers():
    network = MixtureOfExperts(2, num_experts=4, experts_per_token=2, z_weight=0.0)
    with torch.no_grad():  # tokens +-e_i choose expert pairs (0, 1) and (2, 3) alike
        network.router.weight.copy_(torch.tensor([[1.0, 0.5], [0.5, 1.0], [-1, -0.5], [-0.5, -1]]))
    x = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]])
    network(x)
    torch.testing.assert_close(network.expert_load, torch.full((4,), 0.25))
    assert auxiliary_loss(network).item() == pytest.approx(0.01 * 1.0, rel=1e-6)
    equal = MixtureOfExperts(2, num_experts=4, balance_weight=0.0)
    nn.init.zeros_(equal.router.weight)
    equal(x)
    assert auxiliary_loss(equal).item() == pytest.approx(0.001 * math.log(4) ** 2, rel=1e-6)


def test_losses_of_one_sided_routing_by_hand():
    network = MixtureOfExperts(
        1, num_experts=2, experts_per_token=1, balance_weight=3.0, z_weight=7.0
    )
    with torch.no_grad():
        network.router.weight.copy_(torch.tensor([[math.log(3)], [0.0]]))
    network(torch.ones(1, 5, 1))
    # all choose expert 0, whose probability is 3/4: 2 * 1 * 3/4; logsumexp is log 4
    expected = 3 * 1.5 + 7 * math.log(4) ** 2
    assert auxiliary_loss(network).item() == pytest.approx(expected, rel=1e-6)


def test_the_balance_loss_falls_where_the_load_evens_out():
    network = MixtureOfExperts(5, num_experts=4, experts_per_token=1, z_weight=0.0)
    nn.init.normal_(network.router.weight)
    x = torch.randn(1, 97, 5) + 1.0
    optimizer = torch.optim.SGD(network.router.parameters(), lr=30.0)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        network(x)
        loss = auxiliary_loss(network)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.0115
    assert losses[-1] < 0.0105


def test_padding_counts_in_no_loss_and_no_load():
    network, x = MixtureOfExperts(6, num_experts=5), torch.randn(2, 11, 6)
    mask = padding_mask(torch.tensor([11, 3]), 11)
    x[~mask] = torch.nan
    output = network(x, mask)
    loss, load = auxiliary_loss(network), network.expert_load
    assert (output[~mask] == 0).all()
    network(x[mask][None])
    torch.testing.assert_close(auxiliary_loss(network), loss)
    torch.testing.assert_close(network.expert_load, load)
    assert load.sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chosen", [1, 2])
def test_trained_without_a_look_at_choices_it_learns_the_same(chosen, masked):
    network = MixtureOfExperts(6, num_experts=5, experts_per_token=chosen, z_weight=0.5)
    blind, x = copy.deepcopy(network), torch.randn(2, 11, 6)
    mask = padding_mask(torch.tensor([11, 3]), 11) if masked else None
    if masked:
        x[~mask] = torch.nan
    answers = []
    for mixture, run in ((network, network.forward), (blind, blind._mix_all)):
        output = run(x, mask)
        loss = auxiliary_loss(mixture)
        (output.square().sum() + loss).backward()
        gradients = [parameter.grad for parameter in mixture.parameters()]
        answers.append([output, loss, mixture.expert_load, *gradients])
    torch.testing.assert_close(*answers)


def test_expert_load_is_that_of_the_last_pass_and_not_saved():
    network = MixtureOfExperts(6, num_experts=5).eval()
    assert "expert_load" not in network.state_dict()
    network(torch.randn(2, 11, 6))
    before = network.expert_load
    network(torch.randn(1, 1, 6))
    assert sorted(network.expert_load.tolist()) == [0, 0, 0, 0.5, 0.5]
    assert not torch.equal(network.expert_load, before)
    assert not network.expert_load.requires_grad


def test_steps_beyond_the_capacity_are_dropped_in_training_only():
    network = identical_experts(2, 1, capacity_factor=0.75)
    with torch.no_grad():
        network.router.weight.copy_(torch.tensor([[5.0, 0.0], [0.0, 5.0]]))
    to_first, to_second = [1.0, 0.0], [0.0, 1.0]
    x = torch.tensor([[to_first, to_first, to_second, to_first], [to_first] * 4])
    output = network(x)  # each takes at most .75 * 8 / 2 = 3
    dropped = (output == 0).all(-1)
    assert dropped.tolist() == [[False] * 4, [True] * 4]
    torch.testing.assert_close(network.expert_load, torch.tensor([7 / 8, 1 / 8]))
    unbound = identical_experts(2, 1)
    unbound.load_state_dict(network.state_dict())
    torch.testing.assert_close(network.eval()(x), unbound(x))
    torch.testing.assert_close(unbound(x)[~dropped], output[~dropped])


def test_first_choices_come_before_second_ones():
    network = identical_experts(3, 2, capacity_factor=0.75)
    with torch.no_grad():
        network.router.weight.copy_(torch.tensor([[2.0, 1.0], [1.0, 2.0], [-9.0, -9.0]]))
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    # each expert takes ceil(.75 * 4 / 3) = 1: its own first choice, not the other's second
    gate = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(network(x), torch.tensor([[[gate, 0.0], [0.0, 2 * gate]]]))


def test_a_wide_capacity_drops_nothing():
    wide, none = (MixtureOfExperts(6, 7, capacity_factor=factor) for factor in (4.0, None))
    none.load_state_dict(wide.state_dict())
    x = torch.randn(2, 11, 6)
    torch.testing.assert_close(wide(x), none(x))


def test_the_auxiliary_loss_is_handed_over_once_and_summed_over_layers_and_calls():
    first, second = MixtureOfExperts(6), MixtureOfExperts(6)
    network = nn.Sequential(first, nn.Linear(6, 6), second, first)
    start = x = torch.randn(2, 7, 6)
    parts = []
    for module in network:
        x = module(x)
        parts.append(auxiliary_loss(module))
    assert [bool(part > 0) for part in parts] == [True, False, True, True]
    network(start)
    torch.testing.assert_close(auxiliary_loss(network), sum(parts))
    assert auxiliary_loss(network) == 0


def test_evaluation_keeps_no_loss():
    network = MixtureOfExperts(6).eval()
    network(torch.randn(2, 7, 6))
    assert auxiliary_loss(network) == 0


def test_a_forgotten_loss_adds_nothing_to_the_next():
    network, x = nn.Sequential(MixtureOfExperts(6)), torch.randn(2, 7, 6)
    network(x)
    once = auxiliary_loss(network)
    network(x)
    forget_auxiliary_loss(network)
    network(x)
    torch.testing.assert_close(auxiliary_loss(network), once)


class Checkpointed(nn.Module):
    """One mixture applied twice, checkpointed or not."""

    def __init__(self, checkpointed):
        super().__init__()
        self.mixture = MixtureOfExperts(6, 7, num_experts=5, balance_weight=3.0, z_weight=2.0)
        self.checkpointed = checkpointed

    def forward(self, x):
        for _ in range(2):
            if self.checkpointed:
                x = x + checkpoint(self.mixture, x, use_reentrant=False)
            else:
                x = x + self.mixture(x)
        return x


def test_checkpointed_losses_count_once_and_give_the_same_gradients():
    plain, other = Checkpointed(False), Checkpointed(True)
    other.load_state_dict(plain.state_dict())
    x, losses = torch.randn(2, 7, 6), []
    for network in (plain, other):
        output = network(x)
        losses.append(auxiliary_loss(network))
        (output.square().mean() + losses[-1]).backward()
    assert torch.equal(*losses)
    for ours, theirs in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert auxiliary_loss(other) == 0  # the recomputation has left nothing


def test_no_graph_stays_in_the_module_after_a_training_step():
    network = Checkpointed(True)
    x = torch.randn(2, 7, 6, requires_grad=True)
    hidden = x * 2
    alive = weakref.ref(hidden)
    (network(hidden).sum() + auxiliary_loss(network)).backward()
    del hidden
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_work_right_after_a_training_forward_pass(copied):
    network, x = MixtureOfExperts(6), torch.randn(2, 7, 6)
    output = network(x)
    other = copied(network)
    assert auxiliary_loss(other) == 0
    assert auxiliary_loss(network) > 0  # and the original keeps its own
    assert torch.equal(other(x), output)
    assert auxiliary_loss(other) > 0


# torch hides this warning of its own compiler, but not where warnings are errors
@pytest.mark.skipif(not traces_all(), reason="older torch loses the gradient of the mixture")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_compiled_mixture_gives_the_same_losses_and_gradients(checkpointed):
    network, x = Checkpointed(checkpointed), torch.randn(2, 7, 6)
    results = []
    for run in (network, torch.compile(network, backend="aot_eager")):
        output = run(x)
        loss = auxiliary_loss(network)
        (output.square().mean() + loss).backward()
        results.append([output, loss, *[p.grad for p in network.parameters()]])
        network.zero_grad()
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain)
    assert auxiliary_loss(network) == 0


@pytest.mark.parametrize(("experts", "chosen"), [(3, 4), (3, 0), (0, 1)])
def test_more_choices_than_experts_are_an_error(experts, chosen):
    with pytest.raises(ValueError, match=f"experts_per_token={chosen} and num_experts={experts}"):
        MixtureOfExperts(6, num_experts=experts, experts_per_token=chosen)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan])
def test_a_capacity_of_nothing_is_an_error(factor):
    with pytest.raises(ValueError, match=r"capacity_factor=.*expected a number above 0"):
        MixtureOfExperts(6, capacity_factor=factor)


def test_unknown_names_are_errors_listing_all():
    with pytest.raises(ValueError, match=r"'mlp'; expected one of \['relu', 'gelu', 'silu', 'sw"):
        make_feedforward("mlp", 6)
    with pytest.raises(ValueError, match=r"'tanh'; expected one of \['relu', 'gelu', 'silu'\]"):
        FeedForward(6, activation="tanh")
    with pytest.raises(ValueError, match=r"expert='moe'; expected one of .*'silu', 'swiglu'"):
        MixtureOfExperts(6, expert="moe")


def test_the_options_of_routing_reach_the_mixture():
    network = make_feedforward("moe", 6, 7, 0.25, 5, 3, 1.5, "relu")
    assert type(network.experts[0].activation) is nn.ReLU
    assert len(network.experts) == 5
    assert network.experts_per_token == 3
    assert network.capacity_factor == 1.5
    assert network.experts[0].hidden.out_features == 7
    assert network.experts[0].dropout.p == 0.25


def test_mixed_precision_chooses_the_experts_that_float32_chooses():
    network, x = MixtureOfExperts(16, num_experts=8).eval(), torch.randn(64, 32, 16)
    seen = []
    network._choose = lambda p: seen.append(p) or MixtureOfExperts._choose(network, p)
    network(x)
    with torch.autocast("cpu", torch.bfloat16):
        network(x)
    assert seen[1].dtype == torch.float32
    assert torch.equal(seen[1], seen[0])


def test_a_training_pass_without_gradients_keeps_no_loss():
    network = MixtureOfExperts(6)
    with torch.no_grad():
        network(torch.randn(2, 7, 6))
    assert network.expert_load.sum() > 0
    assert auxiliary_loss(network) == 0


def test_a_recomputation_leaves_the_load_of_the_last_pass():
    network = Checkpointed(True)
    output = network(torch.randn(2, 7, 6) * 3)
    load = network.mixture.expert_load.clone()
    output.sum().backward()  # computes the first application last
    assert torch.equal(network.mixture.expert_load, load)
    network.mixture(torch.randn(1, 1, 6))
    assert not torch.equal(network.mixture.expert_load, load)
