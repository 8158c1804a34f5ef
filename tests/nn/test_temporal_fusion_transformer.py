import pytest
import torch
from torch import nn

from sktime_tlstm.nn import StaticContexts, TemporalFusionTransformer

SMALL = {"d_model": 6, "num_heads": 3, "output_dim": 5}
PAST, FUTURE, STATIC = 3, 4, 2


def build(past=PAST, future=FUTURE, **options):
    torch.manual_seed(11)
    network = TemporalFusionTransformer(past, future, **{**SMALL, **options}).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # those which start at zero or one too
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def inputs(batch=2, static=STATIC):
    torch.manual_seed(13)
    windows = torch.randn(batch, 11, PAST), torch.randn(batch, 7, FUTURE)
    return *windows, {"static": torch.randn(batch, static)} if static else {}


def contexts_of(network, static):
    if not static:
        return StaticContexts()
    encoder = network.static_encoder
    selected = encoder.select(static["static"])[:, None]
    return StaticContexts(
        selection=encoder.contexts["selection"](selected),
        enrichment=encoder.contexts["enrichment"](selected),
        hidden=encoder.contexts["hidden"](selected),
        cell=encoder.contexts["cell"](selected),
    )


def literal_attention(attention, theta, past_time):
    """Equations 13 to 16 and 19 by loops, of every step to itself and all before it."""
    width, value = attention.head_width, attention.value(theta)
    rows = []
    for i in range(past_time, theta.shape[1]):
        heads = []
        for h in range(attention.num_heads):
            part = slice(h * width, (h + 1) * width)
            query = attention.query(theta[:, i])[:, part]
            keys = [attention.key(theta[:, j])[:, part] for j in range(i + 1)]
            scores = torch.stack([(query * key).sum(-1) for key in keys], -1) / width**0.5
            weights = torch.softmax(scores, -1)
            heads.append(sum(weights[:, j, None] * value[:, j] for j in range(i + 1)))
        rows.append(attention.output(sum(heads) / attention.num_heads))
    return torch.stack(rows, 1)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("static", [0, STATIC])
def test_the_forward_pass_is_equations_6_to_23(num_layers, static):
    network = build(num_layers=num_layers, num_static_features=static)
    past, future, given = inputs(static=static)
    contexts = contexts_of(network, given)
    xi_past = network.past_selection(past, contexts.selection)
    xi_future = network.future_selection(future, contexts.selection)
    start = None
    if static:
        start = tuple(
            torch.cat([context.transpose(0, 1)] * num_layers)
            for context in (contexts.hidden, contexts.cell)
        )
    phi_past, state = network.recurrent.encoder(xi_past, start)
    phi_future, _ = network.recurrent.decoder(xi_future, state)
    xi, phi = torch.cat((xi_past, xi_future), 1), torch.cat((phi_past, phi_future), 1)
    local = network.local_gate.add_norm.norm(xi + network.local_gate.gate(phi))  # 17
    theta = network.enrichment(local, contexts.enrichment)  # 18
    beta = literal_attention(network.attention, theta, 11)  # 19
    local, theta = local[:, 11:], theta[:, 11:]
    delta = network.attention_gate.add_norm.norm(theta + network.attention_gate.gate(beta))  # 20
    psi = network.feedforward(delta)  # 21
    last = network.output_gate.add_norm.norm(local + network.output_gate.gate(psi))  # 22
    torch.testing.assert_close(network(past, future, **given), network.output(last))  # 23


def test_without_causality_every_step_sees_the_whole_future():
    network, other = build(), build(causal_attention=False)
    other.load_state_dict(network.state_dict())
    past, future, _ = inputs(static=0)
    assert not torch.allclose(network(past, future)[:, :-1], other(past, future)[:, :-1], atol=1e-4)
    # The last step has nothing after it.
    torch.testing.assert_close(network(past, future)[:, -1], other(past, future)[:, -1])
    assert (other.attention_weights(past, future) > 0).all()


def test_a_step_attends_to_itself_and_to_nothing_later():
    past, future, _ = inputs(static=0)
    weights = build().attention_weights(past, future)
    visible = torch.ones(7, 18, dtype=torch.bool).tril(11)
    assert weights.shape == (2, 3, 7, 18)
    assert ((weights > 0) == visible).all()


def test_attention_weights_reproduce_the_output():
    network = build(num_static_features=STATIC)
    past, future, static = inputs()
    seen = {}
    network.attention.register_forward_hook(
        lambda _, read, result: seen.update(values=read[2], result=result)
    )
    network(past, future, **static)
    mean = network.attention_weights(past, future, **static).mean(1)
    expected = network.attention.output(mean @ network.attention.value(seen["values"]))
    torch.testing.assert_close(seen["result"], expected)


@pytest.mark.parametrize("context", StaticContexts._fields)
def test_every_context_reaches_the_output(context):
    network = build(num_static_features=STATIC)
    past, future, static = inputs()
    before = network(past, future, **static)
    with torch.no_grad():
        network.static_encoder.contexts[context].norm.bias += torch.randn(6)
    assert not torch.allclose(network(past, future, **static), before, atol=1e-4)


def test_static_features_change_the_forecast_and_their_absence_is_none():
    network = build(num_static_features=STATIC)
    past, future, static = inputs()
    other = {"static": static["static"] + 1.0}
    assert not torch.allclose(
        network(past, future, **static), network(past, future, **other), atol=1e-3
    )
    assert build().static_encoder is None
    with pytest.raises(ValueError, match=r"Got static of shape .* num_static_features=0"):
        build()(past, future, **static)
    with pytest.raises(ValueError, match=r"Got static None .* num_static_features=2"):
        network(past, future)
    with pytest.raises(ValueError, match="Got num_static_features=-1"):
        build(num_static_features=-1)


@pytest.mark.parametrize(("past", "future", "static"), [(1, 1, 1), (1, 3, 2), (3, 1, 1), (3, 4, 0)])
def test_no_parameter_is_dead_however_few_the_variables(past, future, static):
    network = TemporalFusionTransformer(past, future, num_static_features=static, **SMALL).double()
    windows = torch.randn(4, 11, past).double(), torch.randn(4, 7, future).double()
    given = {"static": torch.randn(4, static).double()} if static else {}
    network(*windows, **given).sin().sum().backward()
    for name, parameter in network.named_parameters():
        # A constant added to all keys cancels in the softmax, so a key's bias learns nothing.
        if not name.endswith("key.bias"):
            assert parameter.grad is not None, name
            assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("static", [0, STATIC])
def test_selection_weights_are_those_of_the_forward_pass_and_zero_in_the_padding(static):
    network = build(num_static_features=static)
    past, future, given = inputs(batch=3, static=static)
    lengths = torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7])
    past[1, 4:], future[1, 5:] = float("nan"), float("nan")
    weights = network.selection_weights(past, future, *lengths, **given)
    contexts = contexts_of(network, given)
    expected = network.past_selection.weights(
        past[1:2, :4], *(c[1:2] for c in contexts[:1] if static)
    )
    torch.testing.assert_close(weights.past[1, :4], expected[0])
    assert not any(tensor.requires_grad for tensor in weights if tensor is not None)
    for tensor, real in zip((weights.past, weights.future), lengths, strict=True):
        for row, length in enumerate(real):
            torch.testing.assert_close(tensor[row, :length].sum(-1), torch.ones(length))
            assert (tensor[row, length:] == 0).all()
    if static:
        torch.testing.assert_close(weights.static.sum(-1), torch.ones(3))
        expected = network.static_encoder.select.weights(given["static"])
        torch.testing.assert_close(weights.static, expected)
    else:
        assert weights.static is None


@pytest.mark.parametrize(("where", "informative"), [("past", 2), ("future", 5)])
def test_the_selection_finds_the_one_informative_variable(where, informative):
    torch.manual_seed(17)
    network = TemporalFusionTransformer(5, 7, d_model=8, num_heads=2, dropout=0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(50):
        past, future = torch.randn(32, 3, 5), torch.randn(32, 3, 7)
        # Of the future, the same step's; of the past, the last step's.
        source = {"past": past[:, -1:], "future": future}[where]
        optimizer.zero_grad()
        loss = (network(past, future) - source[..., [informative]]).square().mean()
        loss.backward()
        optimizer.step()
    weights = getattr(network.eval().selection_weights(past, future), where).mean((0, 1))
    others = torch.cat((weights[:informative], weights[informative + 1 :]))
    assert weights[informative] > 5 * others.max(), weights


def test_dropout_reaches_every_place_it_should():
    network = TemporalFusionTransformer(3, 2, dropout=0.37, num_layers=2, num_static_features=2)
    rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    # three selections of two; four contexts; gates 17, 20, 22; networks 18, 21; attended values
    assert rates == [0.37] * (6 + 4 + 3 + 2 + 1)
    assert network.recurrent.encoder.dropout == network.recurrent.decoder.dropout == 0.37


def test_the_kernel_is_an_option_of_the_attention():
    past, future, _ = inputs(static=0)
    network = build(attention_kernel="math")
    assert network.attention.kernel == "math"
    torch.testing.assert_close(network(past, future), build()(past, future))
    with pytest.raises(ValueError, match="Got kernel='fast'"):
        build(attention_kernel="fast")


def test_mixed_precision_runs_and_agrees():
    network = build(num_static_features=STATIC)
    past, future, static = inputs(batch=3)
    lengths = torch.tensor([11, 4, 1]), torch.tensor([7, 5, 7])
    expected = network(past, future, *lengths, **static)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = network(past, future, *lengths, **static)
    result.float().sin().sum().backward()
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, atol=0.1, rtol=0.1)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_selection_weights_are_those_of_evaluation_in_training_too():
    network, (past, future, static) = build(dropout=0.5, num_static_features=STATIC), inputs()
    expected = network.selection_weights(past, future, **static)
    for weights, other in zip(
        network.train().selection_weights(past, future, **static), expected, strict=True
    ):
        assert torch.equal(weights, other)
    assert network.training
