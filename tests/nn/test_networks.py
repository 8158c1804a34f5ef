"""What every network must do, whatever it is made of."""

import copy
import itertools
import pickle
import subprocess
import sys

import pytest
import torch

from sktime_tlstm.nn import AttentionLSTM, QuantileHead, TransformerLSTM

PAST, FUTURE, OUTPUT = 3, 2, 5
SMALL = {"d_model": 6, "num_heads": 3, "output_dim": OUTPUT}
VARIANTS = {
    "reference": (TransformerLSTM, {}),
    "shared": (TransformerLSTM, {"share_lstm_weights": True, "num_layers": 1}),
    "multi_head": (TransformerLSTM, {"attention": "multi_head", "trainable_add": True}),
    "lean": (TransformerLSTM, {"encoder_attention": False, "num_transformer_blocks": 1}),
    "no_blocks": (TransformerLSTM, {"num_transformer_blocks": 0}),
    "attention_lstm": (AttentionLSTM, {}),
    "ungated": (AttentionLSTM, {"use_gating": False, "trainable_add": True}),
    "two_widths": (AttentionLSTM, {"d_encoder": 7, "d_decoder": 9}),
}


def build(variant, **options):
    network, own = VARIANTS[variant]
    return network(PAST, FUTURE, **{**SMALL, **own, **options})


def windows(batch, past_time, future_time, dtype=torch.float32):
    return (
        torch.randn(batch, past_time, PAST, dtype=dtype),
        torch.randn(batch, future_time, FUTURE, dtype=dtype),
    )


@pytest.fixture(params=list(VARIANTS))
def variant(request):
    return request.param


@pytest.mark.parametrize("causal", [True, False])
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
@pytest.mark.parametrize("garbage", [0.0, 1e4, 1e38, float("nan")])
def test_a_row_never_depends_on_its_batch_mates(
    variant, causal, past_lengths, future_lengths, garbage
):
    network = build(variant, causal_attention=causal).eval()
    past, future = windows(4, 13, 7)
    alone = [
        network(past[row : row + 1, :long], future[row : row + 1, :ahead])[0]
        for row, (long, ahead) in enumerate(zip(past_lengths, future_lengths, strict=True))
    ]
    for row, (long, ahead) in enumerate(zip(past_lengths, future_lengths, strict=True)):
        past[row, long:], future[row, ahead:] = garbage, -garbage
    lengths = torch.tensor(past_lengths), torch.tensor(future_lengths)
    for rows in ([0, 1, 2, 3], [2, 0], [3]):
        together = network(past[rows], future[rows], *(length[rows] for length in lengths))
        assert torch.isfinite(together).all()
        for place, row in enumerate(rows):
            result = together[place, : future_lengths[row]]
            torch.testing.assert_close(result, alone[row], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("given", list(itertools.product([True, False], repeat=2)))
def test_full_lengths_change_nothing_and_either_may_be_left_out(variant, given):
    network = build(variant).eval()
    past, future = windows(5, 11, 7)
    lengths = [
        torch.full((5,), sequence.shape[1]) if there else None
        for sequence, there in zip((past, future), given, strict=True)
    ]
    torch.testing.assert_close(
        network(past, future, *lengths), network(past, future), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("lengths", [None, (torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7]))])
@pytest.mark.parametrize("step", [0, 1, 3, 6])
def test_a_causal_network_never_looks_ahead(variant, lengths, step):
    network = build(variant, causal_attention=True).eval()
    past, future = windows(3, 11, 7)
    before = network(past, future, *(lengths or ()))
    future[:, step] += 5.0
    after = network(past, future, *(lengths or ()))
    torch.testing.assert_close(after[:, :step], before[:, :step], atol=0, rtol=0)
    for row in range(3):
        if lengths is None or step < lengths[1][row]:
            assert not torch.allclose(after[row, step], before[row, step])


@pytest.mark.parametrize("lengths", [None, (torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7]))])
def test_a_network_that_is_not_causal_sees_the_whole_future(variant, lengths):
    network = build(variant, causal_attention=False).eval()
    past, future = windows(3, 11, 7)
    before = network(past, future, *(lengths or ()))
    future[:, 4] += 5.0
    after = network(past, future, *(lengths or ()))
    differs = (after[:, :4] - before[:, :4]).abs().amax((1, 2)) > 1e-5
    assert differs.all() if variant != "no_blocks" else not differs.any()


def test_every_past_step_reaches_every_output(variant):
    network = build(variant).eval()
    past, future = windows(1, 5, 3)
    past.requires_grad_()
    for step in range(3):
        (gradient,) = torch.autograd.grad(network(past, future)[0, step].sum(), past)
        assert (gradient.abs().sum(-1) > 0).all()


def test_every_parameter_gets_a_gradient(variant):
    network = build(variant, num_layers=2)
    past, future = windows(4, 11, 7)
    network(past, future, torch.tensor([11, 3, 1, 7])).sin().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # A constant added to all keys cancels in the softmax, so a key's bias learns nothing.
        if not name.endswith("key.bias"):
            assert (parameter.grad != 0).any(), name


def test_weights_survive_a_state_dict_a_copy_and_a_pickle(variant):
    network = build(variant).eval()
    inputs = windows(2, 11, 7)
    expected = network(*inputs)
    loaded = build(variant).eval()
    assert not torch.allclose(loaded(*inputs), expected)
    loaded.load_state_dict(network.state_dict())
    for twin in (loaded, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(twin(*inputs), expected, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_run_and_agree(variant, dtype):
    network = build(variant, dropout=0.0)
    past, future = windows(4, 11, 7)
    lengths = torch.tensor([11, 3, 1, 7]), torch.tensor([7, 7, 2, 5])
    expected = network(past, future, *lengths)
    result = copy.deepcopy(network).to(dtype)(past.to(dtype), future.to(dtype), *lengths)
    assert result.dtype == dtype
    tolerance = 1e-4 if dtype is torch.float64 else 0.15
    torch.testing.assert_close(result.float(), expected, atol=tolerance, rtol=tolerance)


def test_a_network_learns_32_windows_by_heart(variant):
    network, head = (
        build(variant, d_model=12, output_dim=3, dropout=0.0),
        QuantileHead((0.1, 0.5, 0.9)),
    )
    past, future = windows(32, 9, 3)
    target = torch.randn(32, 3, 1)
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=0.01), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = head(network(past, future), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_evaluation_is_deterministic_and_training_drops_out(variant):
    network, inputs = build(variant, dropout=0.5), windows(2, 11, 7)
    assert not torch.equal(network(*inputs), network(*inputs))
    network.eval()
    assert torch.equal(network(*inputs), network(*inputs))
    steady = build(variant, dropout=0.0)
    assert torch.equal(steady(*inputs), steady(*inputs))


@pytest.mark.parametrize(("name", "place"), [("past", 0), ("future", 1)])
def test_inputs_of_another_width_are_an_error_naming_the_argument(variant, name, place):
    inputs = list(windows(2, 11, 7))
    inputs[place] = torch.randn(2, 11, 13)
    with pytest.raises(ValueError, match=f"Got {name} of shape .*num_{name}_features=13"):
        build(variant)(*inputs)


def test_batches_that_do_not_fit_are_an_error(variant):
    past, future = windows(3, 11, 7)
    with pytest.raises(ValueError, match="a past of 3 rows and a future of 2"):
        build(variant)(past, future[:2])
    with pytest.raises(ValueError, match=r"future_lengths of shape \(2,\); expected \(3,\)"):
        build(variant)(past, future, None, torch.tensor([7, 7]))
    with pytest.raises(ValueError, match="past_lengths between 0 and 11"):
        build(variant)(past, future, torch.tensor([11, 0, 3]))


def test_inputs_are_not_written_to(variant):
    past, future = windows(2, 11, 7)
    kept = past.clone(), future.clone()
    build(variant)(past, future, torch.tensor([11, 2]), torch.tensor([3, 7]))
    assert torch.equal(past, kept[0])
    assert torch.equal(future, kept[1])


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "no_blocks"])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_weights_look_only_where_they_may(variant, causal):
    network = build(variant, causal_attention=causal).eval()
    past, future = windows(3, 11, 7)
    past_lengths, future_lengths = torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7])
    weights = network.attention_weights(past, future, past_lengths, future_lengths)
    assert weights.shape == (3, 3, 7, 18)
    assert not weights.requires_grad
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3, 7))
    for row, i, key in itertools.product(range(3), range(7), range(18)):
        j = key - 11
        if key < 11:
            allowed = key < past_lengths[row]
        else:
            allowed = j < future_lengths[row] and (not causal or j < i)
        assert ((weights[row, :, i, key] > 0) == allowed).all(), (row, i, key)


def test_the_package_stands_alone():
    code = (
        "import sys, sktime_tlstm.nn; "
        "print([m for m in ('sktime', 'skorch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
