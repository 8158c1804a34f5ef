import copy
import inspect
import pickle

import pytest
import torch

from sktime_tlstm.nn import QuantileHead, Seq2SeqLSTM

PAST, FUTURE = 5, 2
LENGTHS = torch.tensor([11, 4, 1])


def build(decoding="autoregressive", **options):
    sizes = {"embedding_dim": 3, "hidden_size": 7, "dropout": 0.0, "decoding": decoding}
    return Seq2SeqLSTM(PAST, FUTURE, **{**sizes, **options})


def windows(batch=3, past_time=11, future_time=7):
    return torch.randn(batch, past_time, PAST), torch.randn(batch, future_time, FUTURE)


def middle(output, num_targets):
    """Return the middle of an odd number of parameters of every target."""
    return output.reshape(*output.shape[:-1], num_targets, -1).median(-1).values


def loop(network, past, future, fed_back, first):
    """Decode one row step by step; ``fed_back(step, output)`` says what the next step is told."""
    _, state = network.recurrent.encoder(network.past_embedding(past))
    outputs, previous = [], first
    for step in range(future.shape[1]):
        read = network.future_embedding(torch.cat((future[:, step], previous), -1))
        decoded, state = network.recurrent.decoder(read[:, None], state)
        outputs.append(network.output(decoded)[:, 0])
        previous = fed_back(step, outputs[-1])
    return torch.stack(outputs, 1)


class Calls:
    """Count the calls of a module and keep what it was given."""

    def __init__(self, module):
        self.given = []
        module.register_forward_pre_hook(lambda _, inputs: self.given.append(inputs[0]))

    def __len__(self):
        return len(self.given)


def test_direct_decoding_is_one_pass_over_the_future_from_the_handed_over_state():
    network = build("direct", num_layers=2, output_dim=3)
    past, future = windows()
    calls = Calls(network.recurrent.decoder)
    output = network(past, future, LENGTHS)
    assert len(calls) == 1
    for row, length in enumerate(LENGTHS):
        embedded = network.past_embedding(past[row : row + 1, :length])
        _, state = network.recurrent.encoder(embedded)
        read = network.future_embedding(future[row : row + 1])
        expected = network.output(network.recurrent.decoder(read, state)[0])
        torch.testing.assert_close(output[row : row + 1], expected, atol=1e-6, rtol=0)


def test_direct_decoding_does_not_read_the_target():
    network, (past, future) = build("direct"), windows()
    expected = network(past, future)
    assert torch.equal(network(past, future, target=torch.full((3, 7, 1), torch.nan)), expected)


def test_teacher_forcing_of_all_steps_is_one_call_and_equals_the_loop():
    network, (past, future) = build(num_targets=2, output_dim=6), windows()
    target = torch.randn(3, 7, 2)
    calls = Calls(network.recurrent.decoder)
    output = network(past, future, LENGTHS, target=target)
    assert len(calls) == 1
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        expected = loop(
            network,
            past[one, :length],
            future[one],
            lambda step, _, one=one: target[one, step],
            past[one, length - 1, :2],
        )
        torch.testing.assert_close(output[one], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_evaluation_feeds_back_the_middle_parameter_of_every_target(num_layers):
    network = build(num_targets=2, output_dim=6, num_layers=num_layers).eval()
    # Parameters in ascending order, so that the middle one is the median.
    with torch.no_grad():
        network.output.weight.view(2, 3, -1)[:] = network.output.weight.view(2, 3, -1)[:, :1]
        network.output.bias.view(2, 3)[:] = torch.tensor([-1.0, 0.0, 2.0])
    past, future = windows()
    calls = Calls(network.recurrent.decoder)
    output = network(past, future, LENGTHS, target=torch.randn(3, 7, 2))
    assert len(calls) == 7
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        expected = loop(
            network,
            past[one, :length],
            future[one],
            lambda _, output: middle(output, 2),
            past[one, length - 1, :2],
        )
        torch.testing.assert_close(output[one], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("output_dim", [2, 4])
def test_of_an_even_number_of_parameters_the_lower_middle_one_is_fed_back(output_dim):
    network = build(output_dim=output_dim)
    output, state = network.step(network.init_state(windows()[0]), torch.randn(3, FUTURE))
    assert torch.equal(state.previous[:, 0], output[:, output_dim // 2 - 1])


def test_a_ratio_of_zero_trains_on_own_forecasts_as_in_evaluation():
    network, (past, future) = build(teacher_forcing_ratio=0.0), windows()
    trained = network(past, future, target=torch.randn(3, 7, 1))
    torch.testing.assert_close(trained, network.eval()(past, future), atol=1e-6, rtol=0)
    assert not torch.allclose(trained, build().eval()(past, future), atol=1e-3)


def test_truth_is_drawn_for_every_row_and_step_with_the_given_probability():
    network, (past, future) = build(teacher_forcing_ratio=0.7), windows(40, 5, 26)
    target = torch.randn(40, 26, 1)
    calls = Calls(network.future_embedding)
    output = network(past, future, target=target)
    fed_back = torch.cat(calls.given, 1)[..., FUTURE:]
    assert torch.equal(fed_back[:, 0], past[:, -1, :1])
    forced = (fed_back[:, 1:] == target[:, :-1])[..., 0]
    own = torch.isclose(fed_back[:, 1:], output[:, :-1])[..., 0]
    assert (forced ^ own).all()
    assert 0.65 < forced.float().mean() < 0.75
    for axis in (0, 1):
        assert (forced.any(axis) & own.any(axis)).all()


def test_a_missing_target_is_replaced_by_the_own_forecast():
    network, (past, future) = build(num_targets=2, output_dim=2), windows()
    target = torch.randn(3, 7, 2)
    target[0, 3, 1] = target[2, 3, 0] = target[1, 0] = torch.nan
    calls = Calls(network.recurrent.decoder)
    output = network(past, future, target=target)
    assert len(calls) == 3  # the start, and one after each step with missing targets
    for row in range(3):
        one = slice(row, row + 1)
        expected = loop(
            network,
            past[one],
            future[one],
            lambda step, output, one=one: torch.where(
                target[one, step].isnan(), output, target[one, step]
            ),
            past[one, -1, :2],
        )
        torch.testing.assert_close(output[one], expected, atol=1e-6, rtol=0)
    output.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_gradients_flow_through_forecasts_that_are_fed_back(ratio):
    network, (past, future) = build(teacher_forcing_ratio=ratio), windows()
    output = network(past, future, target=torch.randn(3, 7, 1))
    (gradient,) = torch.autograd.grad(output[0, 1, 0], network.output.bias)
    # The bias itself contributes 1; anything else came through the forecast of step 0.
    assert (abs(gradient.item() - 1) > 1e-4) == (ratio == 0.0)


def test_the_point_decides_what_is_fed_back():
    past, future = windows()
    head = QuantileHead((0.1, 0.5, 0.9))
    networks = [
        build(output_dim=3, point=point).eval()
        for point in (None, lambda output: head.point(head.unpack(output)), lambda o: o[..., :1])
    ]
    for other in networks[1:]:
        other.load_state_dict(networks[0].state_dict())
    default, by_head, first = (network(past, future) for network in networks)
    assert torch.equal(default[:, 0], first[:, 0])
    assert not torch.allclose(default[:, 1:], first[:, 1:], atol=1e-3)
    assert not torch.allclose(by_head[:, 1:], first[:, 1:], atol=1e-3)


def test_a_network_with_a_point_of_its_own_is_pickled_after_training():
    network, (past, future) = build(point=first_parameter), windows()
    network(past, future, target=torch.randn(3, 7, 1)).sum().backward()
    expected = network.eval()(past, future)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(past, future), expected)


def test_a_point_of_another_shape_is_an_error():
    network = build(output_dim=3, point=lambda output: output)
    with pytest.raises(ValueError, match=r"point forecast of shape \(3, 1, 3\).*\(3, 1, 1\)"):
        network(*windows())


@torch.no_grad()
@pytest.mark.parametrize("decoding", ["direct", "autoregressive"])
def test_step_by_step_equals_the_full_pass_and_writes_no_state(decoding):
    network = build(decoding, num_layers=2, num_targets=2, output_dim=6).eval()
    past, future = windows()
    expected = network(past, future, LENGTHS)
    start = network.init_state(past, LENGTHS)
    kept = copy.deepcopy(start)
    for _ in range(2):
        state = start
        for step in range(7):
            output, state = network.step(state, future[:, step])
            torch.testing.assert_close(output, expected[:, step], atol=1e-6, rtol=0)
    torch.testing.assert_close(start, kept, atol=0, rtol=0)
    assert state.previous.shape == (3, 2 if decoding == "autoregressive" else 0)


def test_a_step_may_be_told_another_previous_target():
    network, (past, future) = build().eval(), windows()
    target = torch.randn(3, 7, 1)
    expected = network.train()(past, future, target=target)
    state = network.init_state(past)
    for step in range(7):
        output, state = network.step(state, future[:, step])
        torch.testing.assert_close(output, expected[:, step], atol=1e-6, rtol=0)
        state = state._replace(previous=target[:, step])


@pytest.mark.parametrize("decoding", ["direct", "autoregressive"])
def test_what_both_lstms_read_is_dropped_out(decoding):
    network, (past, future) = build(decoding, dropout=0.5), windows()
    read = Calls(network.recurrent.encoder), Calls(network.recurrent.decoder)
    network(past, future)
    for calls in read:
        share = (torch.cat(calls.given, 1) == 0).float().mean()
        assert 0.3 < share < 0.7


def test_the_presets_have_their_sizes_and_take_overrides():
    sizes = {"small": (128, 256, 1), "medium": (256, 512, 2), "large": (512, 1024, 4)}
    for name, (embedding, hidden, layers) in sizes.items():
        with torch.device("meta"):
            network = getattr(Seq2SeqLSTM, name)(PAST, FUTURE, 3)
            changed = getattr(Seq2SeqLSTM, name)(
                PAST, FUTURE, 4, num_targets=2, hidden_size=11, decoding="autoregressive"
            )
        assert network.past_embedding.weight.shape == (embedding, PAST)
        assert network.output.weight.shape == (3, hidden)
        assert network.recurrent.decoder.num_layers == layers
        assert changed.output.weight.shape == (4, 11)
        assert changed.future_embedding.weight.shape == (embedding, FUTURE + 2)


def test_a_preset_passes_its_point_on():
    network = Seq2SeqLSTM.small(PAST, FUTURE, 3, point=first_parameter, decoding="autoregressive")
    assert network.point is first_parameter


def first_parameter(output):
    return output[..., :1]


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_that_is_no_probability_is_an_error(ratio):
    with pytest.raises(ValueError, match=r"Got teacher_forcing_ratio=.*from 0 to 1"):
        build(teacher_forcing_ratio=ratio)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": "beam"}, "Got decoding='beam'; expected one of"),
        ({"decoding": "direct", "teacher_forcing_ratio": 0.5}, "nothing is fed back"),
        ({"num_targets": 2, "output_dim": 3}, "as many parameters for each target"),
        ({"num_targets": 0}, "Got num_targets=0"),
        ({"embedding_dim": 0}, "Got embedding_dim=0"),
    ],
)
def test_parameters_that_make_no_sense_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_step_of_another_shape_is_an_error():
    network, (past, future) = build(), windows()
    with pytest.raises(ValueError, match=r"Got a step of shape \(3, 7, 2\); expected \(3, 2\)"):
        network.step(network.init_state(past), future)


def test_a_target_of_another_shape_is_an_error():
    network, (past, future) = build(), windows()
    for shape in ((3, 6, 1), (3, 7, 2), (2, 7, 1)):
        with pytest.raises(ValueError, match=r"Got a target of shape .*expected \(3, 7, 1\)"):
            network(past, future, target=torch.randn(shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_targets_of_another_precision_are_taken(dtype):
    network, (past, future) = build(teacher_forcing_ratio=0.5).to(dtype), windows()
    output = network(past.to(dtype), future.to(dtype), target=torch.randn(3, 7, 1))
    assert output.dtype == dtype
    assert output.isfinite().all()


def test_evaluation_does_not_ask_which_steps_read_own_forecasts(monkeypatch):
    network, inputs = build(), windows()
    expected = network.eval()(*inputs)

    def wait(tensor):
        raise AssertionError("a device would have to wait")

    monkeypatch.setattr(torch.Tensor, "nonzero", wait)
    assert torch.equal(network(*inputs), expected)


@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_a_preset_is_a_class_method_that_says_what_it_takes_and_pickles(name):
    preset = getattr(Seq2SeqLSTM, name)
    assert preset.__name__ == name
    parameters = inspect.signature(preset).parameters
    assert {"num_past_features", "num_targets", "point", "overrides"} <= set(parameters)
    assert "num_static_features" not in parameters
    assert pickle.loads(pickle.dumps(preset)) == preset

    class Own(Seq2SeqLSTM):
        pass

    small = {"embedding_dim": 3, "hidden_size": 4, "num_layers": 1}
    assert type(getattr(Own, name)(PAST, FUTURE, **small)) is Own
