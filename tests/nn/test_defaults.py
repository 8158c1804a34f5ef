"""Whatever torch's defaults are when it runs, a network says what it was built to say."""

import pytest
import torch

from sktime_tlstm.nn import LOSSES, make_head
from tests.nn.variants import VARIANTS, build, teacher, windows


@pytest.fixture(params=["dtype", "device"])
def other_default(request):
    """Return a function that changes torch's default dtype or device until the test ends."""

    def change():
        if request.param == "dtype":
            torch.set_default_dtype(torch.float64)
        else:
            torch.set_default_device("meta")

    yield change
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def answers(name, network, inputs, extras, shown):
    """Return all that a network says, in evaluation and in training."""
    past, future, *lengths = inputs
    network.eval()
    said = [network(past, future, **extras), network(*inputs, **extras)]
    if VARIANTS[name].attends:
        said.append(network.attention_weights(*inputs, **extras))
    if not VARIANTS[name].causal or True in VARIANTS[name].causal:
        output, state = network.step(network.init_state(past, lengths[0], **extras), future[:, 0])
        said += [output, network.step(state, future[:, 1])[0]]
    output = network.train()(*inputs, **extras, **shown)
    said += [output, *([network.auxiliary_loss()] if hasattr(network, "auxiliary_loss") else [])]
    output.sum().backward()
    return said


@pytest.mark.parametrize("name", VARIANTS)
def test_a_network_does_not_depend_on_the_defaults_of_torch(name, other_default):
    network = build(name, dropout=0.0)
    past, future, extras = windows(name, 3, 8, 4)
    inputs = past, future, torch.tensor([8, 3, 1]), torch.tensor([4, 2, 4])
    shown, drawn = teacher(name, 3, 4), torch.get_rng_state()
    expected = answers(name, network, inputs, extras, shown)
    torch.set_rng_state(drawn)
    other_default()
    result = answers(name, network, inputs, extras, shown)
    for one, other in zip(result, expected, strict=True):
        assert (one.dtype, one.device) == (other.dtype, other.device)
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_network_without_values_has_the_right_shapes(name):
    with torch.device("meta"):
        network, (past, future, extras) = build(name), windows(name, 3, 8, 4)
        lengths = torch.tensor([8, 3, 1]), torch.tensor([4, 2, 4])
        for training in (False, True):
            shown = teacher(name, 3, 4) if training else {}
            output = network.train(training)(past, future, *lengths, **extras, **shown)
            assert output.is_meta
            assert output.shape == network(past, future, **extras, **shown).shape == (3, 4, 5)
        output.sum().backward()


@pytest.mark.parametrize("built_late", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_does_not_depend_on_the_defaults_of_torch(loss, built_late, other_default):
    head = make_head(loss)
    output, target = (
        torch.randn(3, 4, 2 * head.num_parameters),
        torch.randint(1, 9, (3, 4, 2)) * 1.0,
    )
    target[1, 2, 0] = torch.nan
    unit, levels = torch.tensor([[2.0, 3.0]] * 3), torch.tensor([0.3, 0.95])

    def read(head):
        parameters = head.unpack(output)
        said = [head(output, target, unit if head.support == "count" else None)]
        said.append(head.point(parameters))
        return [*said, head.quantile(parameters, levels)] if loss == "quantile" else said

    expected = read(head)
    other_default()
    for one, other in zip(read(make_head(loss) if built_late else head), expected, strict=True):
        assert (one.dtype, one.device) == (other.dtype, other.device)
        assert torch.equal(one, other)
