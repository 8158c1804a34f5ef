"""Step by step, every causal network says what it says of the whole future at once."""

import itertools

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import Transformer, TransformerLSTM
from tests.nn.variants import CASES, CAUSAL, STATIC, build, windows

# What may be combined: every two values of two options meet in one of `COMBINATIONS`.
OPTIONS = {
    "attention": ["interpretable", "multi_head"],
    "norm": ["layer", "rms", "adaptive"],
    "norm_first": [True, False],
    "feedforward": [None, "relu", "gelu", "silu", "swiglu", "moe"],
    "share_layers": [True, False],
    "trainable_add": [True, False],
    "final_norm": [True, False],
    "num_static_features": [0, STATIC],
}
OPTIONS_OF = {
    TransformerLSTM: {**OPTIONS, "encoder_attention": [True, False], "num_layers": [1, 2]},
    Transformer: {
        **OPTIONS,
        "positions": ["sinusoidal", "learned", "rotary"],
        "num_encoder_layers": [0, 2],
        "cross_attention": [None, "multi_head", "interpretable"],
    },
}


def pairs(combination):
    return set(itertools.combinations(combination, 2))


def combine(options):
    """Return few combinations of options in which every pair of values occurs, greedily."""
    choices = [[(name, value) for value in values] for name, values in options.items()]
    missing = sorted({pair for one in itertools.product(*choices) for pair in pairs(one)}, key=str)
    combinations = []
    while missing:
        chosen = list(missing[0])
        for values in choices:
            if not any(name == values[0][0] for name, _ in chosen):
                chosen.append(max(values, key=lambda value: _count_new(value, chosen, missing)))
        ordered = sorted(chosen, key=lambda choice: list(options).index(choice[0]))
        missing = [pair for pair in missing if pair not in pairs(ordered)]
        combinations.append(dict(ordered))
    return combinations


def _count_new(value, chosen, missing):
    return sum((value, one) in missing or (one, value) in missing for one in chosen)


COMBINATIONS = [
    (network, combination)
    for network, options in OPTIONS_OF.items()
    for combination in combine(options)
]


def assemble(network, combination):
    small = {"d_model": 12, "num_heads": 3, "output_dim": 5}
    if combination["feedforward"] is not None:
        small["dim_feedforward"] = 7
    return network(3, 2, **small, **combination).eval()


def decode(network, state, future):
    """Return the outputs of one step after the other, and the last state."""
    outputs = []
    for step in range(future.shape[1]):
        output, state = network.step(state, future[:, step])
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def check_steps(network, past, future, past_lengths, extras):
    """Compare with the whole forward pass, from every split point, continuing states twice."""
    expected = network(past, future, past_lengths, **extras)
    state = network.init_state(past, past_lengths, **extras)
    for split in range(future.shape[1]):
        # The first steps at once: what remains must not depend on whether there is more to come.
        at_once = network(past, future[:, : split + 1], past_lengths, **extras)
        torch.testing.assert_close(at_once, expected[:, : split + 1], atol=1e-5, rtol=1e-5)
        first, _ = decode(network, state, future[:, split:])
        torch.testing.assert_close(first, expected[:, split:], atol=1e-5, rtol=1e-5)
        again, _ = decode(network, state, future[:, split:])
        torch.testing.assert_close(again, first, atol=0, rtol=0)
        _, state = network.step(state, future[:, split])


@pytest.mark.parametrize("past_lengths", [None, [11, 4, 1]], ids=["full", "padded"])
@pytest.mark.parametrize("variant", CAUSAL)
def test_step_by_step_equals_the_whole_from_any_split_point(variant, past_lengths):
    network = build(variant, True).eval()
    past, future, extras = windows(variant, 3, 11, 4)
    if past_lengths is not None:
        past_lengths = torch.tensor(past_lengths)
        past[1, 4:], past[2, 1:] = float("nan"), 1e38
    with torch.no_grad():
        check_steps(network, past, future, past_lengths, extras)


@pytest.mark.parametrize(
    ("network", "combination"),
    COMBINATIONS,
    ids=[f"{network.__name__}-{number}" for number, (network, _) in enumerate(COMBINATIONS)],
)
def test_it_does_so_for_every_pair_of_options(network, combination):
    network = assemble(network, combination)
    with torch.no_grad():
        for parameter in network.parameters():  # what starts at zero shall say something
            parameter.add_(0.1 * torch.randn_like(parameter))
        extras = {}
        if combination["num_static_features"]:
            extras["static"] = torch.randn(3, STATIC)
        past, future = torch.randn(3, 7, 3), torch.randn(3, 3, 2)
        for past_lengths in (None, torch.tensor([7, 3, 1])):
            check_steps(network, past, future, past_lengths, extras)


def test_the_combinations_hold_every_pair_of_values():
    for network, options in OPTIONS_OF.items():
        held = set().union(*(pairs(one.items()) for kind, one in COMBINATIONS if kind is network))
        for (one, values), (other, others) in itertools.combinations(options.items(), 2):
            for pair in itertools.product(values, others):
                assert ((one, pair[0]), (other, pair[1])) in held
    assert len(COMBINATIONS) < 50


@pytest.mark.parametrize("variant", CAUSAL)
def test_each_step_projects_one_position_only(variant):
    network = build(variant, True).eval()
    past, future, extras = windows(variant, 2, 11, 3)
    state = network.init_state(past, **extras)
    seen = []

    def watch(module, arguments, output):
        # (batch, time, ..., width), or (row, width) within a mixture of experts
        x = arguments[0]
        seen.append(x.shape[1] if x.ndim > 2 else len(x) / 2)

    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.LSTM)):
            module.register_forward_hook(watch)
    for step in range(3):
        seen.clear()
        _, state = network.step(state, future[:, step])
        assert max(seen) == 1


@pytest.mark.parametrize("variant", CAUSAL)
def test_a_step_of_another_shape_is_an_error(variant):
    network = build(variant, True).eval()
    past, future, extras = windows(variant, 3, 7, 2)
    state = network.init_state(past, **extras)
    with pytest.raises(ValueError, match=r"Got a step of shape \(2, 2\); expected \(3, 2\)"):
        network.step(state, future[:2, 0])
    with pytest.raises(ValueError, match=r"Got a step of shape \(3, 1\); expected \(3, 2\)"):
        network.step(state, future[:, 0, :1])
    with pytest.raises(ValueError, match="num_past_features=2"):
        network.init_state(past[:, :, :2], **extras)


@pytest.mark.parametrize("variant", CAUSAL)
def test_a_step_writes_into_no_tensor_of_its_state(variant):
    network = build(variant, True).eval()
    past, future, extras = windows(variant, 2, 7, 2)
    state = network.init_state(past, torch.tensor([7, 3]), **extras)
    kept = [tensor.clone() for tensor in tensors(state)]
    _, later = network.step(state, future[:, 0])
    assert type(later) is type(state)
    for tensor, before in zip(tensors(state), kept, strict=True):
        torch.testing.assert_close(tensor, before, atol=0, rtol=0)


def tensors(state):
    if isinstance(state, torch.Tensor):
        return [state]
    assert state is None or isinstance(state, tuple)
    return [tensor for part in state or () for tensor in tensors(part)]


@pytest.mark.parametrize("variant", [name for name, causal in CASES if not causal])
def test_a_network_that_is_not_causal_cannot_decode_step_by_step(variant):
    past, _, extras = windows(variant, 2, 7, 3)
    with pytest.raises(ValueError, match=r"causal_attention=False .* step by step"):
        build(variant, False).init_state(past, **extras)
