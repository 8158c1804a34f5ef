"""What every network must do, whatever it is made of."""

import copy
import itertools
import pickle
import shutil
import subprocess
import sys

import pytest
import torch

from tests.nn.variants import (
    CASES,
    CAUSAL,
    OUTPUT,
    STATIC,
    VARIANTS,
    build,
    of_rows,
    shake,
    teacher,
    windows,
)

WITHOUT = "needs a C++ compiler"


@pytest.fixture(params=list(VARIANTS))
def variant(request):
    return request.param


@pytest.mark.parametrize(("variant", "causal"), CASES)
@pytest.mark.parametrize(
    ("past_lengths", "future_lengths"),
    [
        ([13, 12, 11, 13], [7, 7, 6, 5]),  # nearly equal lengths
        ([1, 13, 2, 5], [1, 7, 3, 7]),
        ([13, 13, 13, 13], [7, 1, 7, 7]),
        ([4, 4, 4, 4], [7, 7, 7, 7]),
        ([1, 1, 1, 1], [1, 1, 1, 1]),
    ],
)
def test_a_row_never_depends_on_its_batch_mates(variant, causal, past_lengths, future_lengths):
    network = build(variant, causal).eval()
    past, future, extras = windows(variant, 4, 13, 7)
    alone = [
        network(past[[row], :long], future[[row], :ahead], **of_rows(extras, [row]))[0]
        for row, (long, ahead) in enumerate(zip(past_lengths, future_lengths, strict=True))
    ]
    garbage = (float("nan"), 1e38, 1e4, 0.0)
    for row, (long, ahead) in enumerate(zip(past_lengths, future_lengths, strict=True)):
        past[row, long:], future[row, ahead:] = garbage[row], -garbage[row]
    lengths = torch.tensor(past_lengths), torch.tensor(future_lengths)
    for rows in ([0, 1, 2, 3], [2, 0], [3]):
        few = [tensor[rows] for tensor in (past, future, *lengths)]
        together = network(*few, **of_rows(extras, rows))
        assert torch.isfinite(together).all()
        for place, row in enumerate(rows):
            result = together[place, : future_lengths[row]]
            torch.testing.assert_close(result, alone[row], atol=1e-6, rtol=1e-6)


def test_full_lengths_change_nothing_and_either_may_be_left_out(variant):
    network = build(variant).eval()
    past, future, extras = windows(variant, 5, 11, 7)
    expected = network(past, future, **extras)
    assert expected.shape == (5, 7, OUTPUT)
    for given in itertools.product([True, False], repeat=2):
        lengths = [
            torch.full((5,), sequence.shape[1]) if there else None
            for sequence, there in zip((past, future), given, strict=True)
        ]
        result = network(past, future, *lengths, **extras)
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("variant", CAUSAL)
@pytest.mark.parametrize("lengths", [None, (torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7]))])
def test_a_causal_network_never_looks_ahead(variant, lengths):
    network = build(variant, True).eval()
    past, future, extras = windows(variant, 3, 11, 7)
    before = network(past, future, *(lengths or ()), **extras)
    for step in (0, 1, 3, 6):
        changed = future.clone()
        changed[:, step] += 5.0
        after = network(past, changed, *(lengths or ()), **extras)
        torch.testing.assert_close(after[:, :step], before[:, :step], atol=1e-6, rtol=0)
        for row in range(3):
            if lengths is None or step < lengths[1][row]:
                assert not torch.allclose(after[row, step], before[row, step])


@pytest.mark.parametrize("variant", [name for name, causal in CASES if not causal])
@pytest.mark.parametrize("lengths", [None, (torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7]))])
def test_a_network_that_is_not_causal_sees_the_whole_future(variant, lengths):
    network = build(variant, False).eval()
    past, future, extras = windows(variant, 3, 11, 7)
    before = network(past, future, *(lengths or ()), **extras)
    future[:, 4] += 5.0
    after = network(past, future, *(lengths or ()), **extras)
    differs = (after[:, :4] - before[:, :4]).abs().amax((1, 2)) > 1e-5
    assert differs.all() if variant != "no_blocks" else not differs.any()


def test_every_past_step_reaches_every_output(variant):
    network = build(variant).eval()
    past, future, extras = windows(variant, 1, 5, 3)
    past.requires_grad_()
    for step in range(3):
        output = network(past, future, **extras)[0, step].sin().sum()
        (gradient,) = torch.autograd.grad(output, past)
        assert (gradient.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if VARIANTS[name].static])
def test_static_features_are_used_and_needed(variant):
    network = build(variant)
    past, future, extras = windows(variant, 2, 5, 3)
    # A layer that starts at zero, as that of an adaptive norm does, has nothing to say at first.
    shake(network)
    static = extras["static"].requires_grad_()
    network.eval()(past, future, static=static).sin().sum().backward()
    assert (static.grad != 0).all()
    with pytest.raises(ValueError, match=f"num_static_features={STATIC}"):
        network(past, future)
    with pytest.raises(ValueError, match="static"):
        network(past, future, static=static[:, 1:])


def test_every_parameter_gets_a_gradient(variant):
    network = build(variant)
    past, future, extras = windows(variant, 4, 11, 7)
    extras.update(teacher(variant, 4, 7))
    with torch.no_grad():  # what starts at zero passes no gradient on
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    loss = network(past, future, torch.tensor([11, 3, 1, 7]), **extras).sin().sum()
    if hasattr(network, "auxiliary_loss"):
        loss = loss + network.auxiliary_loss()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # A constant added to all keys cancels in the softmax, so a key's bias learns nothing.
        if not name.endswith("key.bias"):
            assert (parameter.grad != 0).any(), name


def test_weights_survive_a_state_dict_a_copy_and_a_pickle(variant):
    network = build(variant)
    past, future, extras = windows(variant, 2, 11, 7)
    # Also right after a training pass: nothing that has a graph may stay in the network.
    network(past, future, **extras, **teacher(variant, 2, 7))
    twins = [copy.deepcopy(network).eval(), pickle.loads(pickle.dumps(network)).eval()]
    expected = network.eval()(past, future, **extras)
    loaded = build(variant).eval()
    assert not torch.allclose(loaded(past, future, **extras), expected)
    loaded.load_state_dict(network.state_dict())
    for twin in (loaded, *twins):
        torch.testing.assert_close(twin(past, future, **extras), expected, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_run_and_agree(variant, dtype):
    network = build(variant).eval()
    past, future, extras = windows(variant, 4, 11, 7)
    lengths = torch.tensor([11, 3, 1, 7]), torch.tensor([7, 7, 2, 5])
    expected = network(past, future, *lengths, **extras)
    extras = {key: value.to(dtype) for key, value in extras.items()}
    other = copy.deepcopy(network).to(dtype)
    result = other(past.to(dtype), future.to(dtype), *lengths, **extras)
    assert result.dtype == dtype
    tolerance = 1e-4 if dtype is torch.float64 else 0.15
    torch.testing.assert_close(result.float(), expected, atol=tolerance, rtol=tolerance)
    other.train()(past.to(dtype), future.to(dtype), *lengths, **extras).sum().backward()


def test_mixed_precision_runs_and_agrees(variant):
    network = build(variant, dropout=0.0)
    past, future, extras = windows(variant, 4, 11, 7)
    lengths = torch.tensor([11, 3, 1, 7]), torch.tensor([7, 7, 2, 5])
    expected = network.eval()(past, future, *lengths, **extras)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(past, future, *lengths, **extras)
        torch.testing.assert_close(mixed.float(), expected, atol=0.15, rtol=0.15)
        network.train()(past, future, *lengths, **extras).float().sum().backward()
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.slow
def test_a_network_learns_32_windows_by_heart(variant):
    network = build(variant, **VARIANTS[variant].wide, output_dim=1, dropout=0.0)
    past, future, extras = windows(variant, 32, 9, 3)
    target = torch.randn(32, 3, 1)
    if VARIANTS[variant].target:
        extras["target"] = target
    optimizer, first = torch.optim.Adam(network.parameters(), VARIANTS[variant].lr), None
    for _ in range(300):
        optimizer.zero_grad()
        loss = (network(past, future, **extras) - target).square().mean()
        if first is None:
            first = loss.item()
        if loss.item() < 0.01 * first:
            return
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss fell from {first:.3g} to {loss.item():.3g} only")


def test_evaluation_is_deterministic_and_training_drops_out(variant):
    network, (past, future, extras) = build(variant, dropout=0.5), windows(variant, 2, 11, 7)
    assert not torch.equal(network(past, future, **extras), network(past, future, **extras))
    network.eval()
    assert torch.equal(network(past, future, **extras), network(past, future, **extras))
    steady = build(variant, dropout=0.0)
    assert torch.equal(steady(past, future, **extras), steady(past, future, **extras))


@pytest.mark.parametrize(("name", "place"), [("past", 0), ("future", 1)])
def test_inputs_of_another_width_are_an_error_naming_the_argument(variant, name, place):
    *inputs, extras = windows(variant, 2, 11, 7)
    inputs[place] = torch.randn(2, 11, 13)
    with pytest.raises(ValueError, match=f"Got {name} of shape .*num_{name}_features=13"):
        build(variant)(*inputs, **extras)


def test_batches_that_do_not_fit_are_an_error(variant):
    past, future, extras = windows(variant, 3, 11, 7)
    with pytest.raises(ValueError, match="a past of 3 rows and a future of 2"):
        build(variant)(past, future[:2], **extras)
    with pytest.raises(ValueError, match=r"future_lengths of shape \(2,\); expected \(3,\)"):
        build(variant)(past, future, None, torch.tensor([7, 7]), **extras)


@pytest.mark.parametrize(("place", "name"), [(0, "past"), (1, "future")])
def test_lengths_that_are_out_of_range_are_an_error(variant, place, name):
    network, (past, future, extras) = build(variant), windows(variant, 2, 11, 11)
    for shortest, longest in ((0, 11), (-1, 5), (3, 12)):
        lengths = [None, None]
        lengths[place] = torch.tensor([longest, shortest])
        message = f"{name}_lengths between {shortest} and {longest} for a {name} of 11 steps; .*row"
        with pytest.raises(ValueError, match=message):
            network(past, future, *lengths, **extras)
    if place == 0 and (not VARIANTS[variant].causal or True in VARIANTS[variant].causal):
        with pytest.raises(ValueError, match="past_lengths between 0 and 11"):
            build(variant, True).init_state(past, torch.tensor([0, 11]), **extras)


@pytest.mark.parametrize(
    "variant", [name for name in VARIANTS if VARIANTS[name].attends or "temporal" in name]
)
def test_attention_weights_are_those_of_evaluation_and_leave_no_trace(variant):
    network = build(variant, dropout=0.5)
    past, future, extras = windows(variant, 2, 11, 7)
    expected = network.eval().attention_weights(past, future, **extras)
    assert not any(module.training for module in network.modules())
    network.train()
    next(network.children()).eval()  # as of a network that is trained in part
    modes = [module.training for module in network.modules()]
    network(past, future, **extras)
    losses = [len(getattr(module, "_losses", ())) for module in network.modules()]
    assert torch.equal(network.attention_weights(past, future, **extras), expected)
    assert [module.training for module in network.modules()] == modes
    assert [len(getattr(module, "_losses", ())) for module in network.modules()] == losses


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("given", [0, 1, 2])
def test_an_empty_batch_gives_an_empty_output(variant, training, given):
    network = build(variant).train(training)
    past, future, extras = windows(variant, 0, 11, 7)
    if training:
        extras.update(teacher(variant, 0, 7))
    lengths = [torch.zeros(0, dtype=torch.long)] * given
    output = network(past, future, *lengths, **extras)
    assert output.shape == (0, 7, OUTPUT)
    loss = output.sum()
    if hasattr(network, "auxiliary_loss"):
        loss = loss + network.auxiliary_loss()
    assert loss == 0
    if training:
        loss.backward()
    elif not VARIANTS[variant].causal or True in VARIANTS[variant].causal:
        state = network.init_state(past, *lengths[:1], **extras)
        assert network.step(state, future[:, 0])[0].shape == (0, OUTPUT)


def test_inputs_are_not_written_to(variant):
    past, future, extras = windows(variant, 2, 11, 7)
    kept = past.clone(), future.clone()
    build(variant)(past, future, torch.tensor([11, 2]), torch.tensor([3, 7]), **extras)
    assert torch.equal(past, kept[0])
    assert torch.equal(future, kept[1])


@pytest.mark.parametrize(
    ("variant", "causal"), [case for case in CASES if VARIANTS[case[0]].attends]
)
def test_attention_weights_look_only_where_they_may(variant, causal):
    network = build(variant, causal).eval()
    past, future, extras = windows(variant, 3, 11, 7)
    past_lengths, future_lengths = torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7])
    weights = network.attention_weights(past, future, past_lengths, future_lengths, **extras)
    assert weights.shape == (3, weights.shape[1], 7, 18)
    assert not weights.requires_grad
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, weights.shape[1], 7))
    latest = 1 if VARIANTS[variant].attends_itself else 0
    for row, i, key in itertools.product(range(3), range(7), range(18)):
        j = key - 11
        if key < 11:
            allowed = key < past_lengths[row]
        else:
            allowed = j < future_lengths[row] and (not causal or j < i + latest)
        if i < future_lengths[row]:
            assert ((weights[row, :, i, key] > 0) == allowed).all(), (row, i, key)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize(
    "variant",
    [
        *{VARIANTS[name].network: name for name in reversed(VARIANTS)}.values(),
        "autoregressive",
        "switch",
    ],
)
def test_a_compiled_network_gives_the_same_output(variant):
    _compile_and_compare(variant, "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason=WITHOUT)
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_the_default_compiler_gives_the_same_output():
    _compile_and_compare("lean", "inductor")


def _compile_and_compare(variant, backend):
    network = build(variant).eval()
    past, future, extras = windows(variant, 2, 5, 3)
    lengths = torch.tensor([5, 2]), torch.tensor([2, 3])
    compiled = torch.compile(network, backend=backend)
    expected = network(past, future, *lengths, **extras)
    torch.testing.assert_close(
        compiled(past, future, *lengths, **extras), expected, atol=1e-5, rtol=1e-5
    )
    torch._dynamo.reset()


def test_the_package_stands_alone():
    code = (
        "import sys, sktime_tlstm.nn; "
        "print([m for m in ('sktime', 'skorch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
