import copy
import itertools

import pytest
import torch

from sktime_tlstm.nn import TemporalAttentionLSTM

PAST, FUTURE, OUTPUT, WIDTH = 3, 2, 5, 6
LENGTHS = torch.tensor([11, 4, 1])
SCORES = ["multi_head", "additive", "dot", "general"]
WIRINGS = ["replace", "add", "concat"]
COMBINATIONS = list(itertools.product(SCORES, WIRINGS, [False, True], [False, True]))


def build(score="multi_head", wiring="add", bidirectional=False, hierarchical=False, **options):
    own = {"d_model": WIDTH, "num_heads": 3, "dropout": 0.0}
    return TemporalAttentionLSTM(
        PAST,
        FUTURE,
        OUTPUT,
        score=score,
        wiring=wiring,
        bidirectional=bidirectional,
        hierarchical=hierarchical,
        **{**own, **options},
    )


def windows(batch=3, past_time=11, future_time=7):
    return torch.randn(batch, past_time, PAST), torch.randn(batch, future_time, FUTURE)


def joined(network, wiring, attended, recurrent):
    """Wire what was attended with the LSTM's output, formula by formula."""
    if wiring == "replace":
        return attended
    if wiring == "concat":
        weight, bias = network.wiring.linear.weight, network.wiring.linear.bias
        return torch.tanh(torch.cat((attended, recurrent), -1) @ weight.T + bias)
    total = attended + recurrent
    centred = total - total.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def scores_by_hand(network, score, query, keys):
    """Score every pair of steps of one row, in a loop."""
    if score == "dot":
        return torch.stack([keys @ one for one in query])
    if score == "general":
        return torch.stack([keys @ network.score.key.weight.T @ one for one in query])
    hidden = [network.score.key(keys) + network.score.query(one) for one in query]
    return torch.stack([network.score.energy(torch.tanh(one))[:, 0] for one in hidden])


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("score", ["additive", "dot", "general"])
def test_the_network_is_its_equations_row_by_row(score, wiring):
    network, (past, future) = build(score, wiring, num_layers=2), windows()
    output = network(past, future, LENGTHS)
    weights = network.attention_weights(past, future, LENGTHS)
    keys = 18 if wiring == "replace" else 11
    assert weights.shape == (3, 1, 7, keys)
    for row, length in enumerate(LENGTHS):
        encoded, state = network.recurrent.encoder(past[row : row + 1, :length])
        decoded, _ = network.recurrent.decoder(future[row : row + 1], state)
        for step in range(7):
            read = encoded[0]
            if wiring == "replace":  # the future up to the step itself
                read = torch.cat((read, decoded[0, : step + 1]))
            query = decoded[0, step : step + 1]
            alpha = scores_by_hand(network.attention, score, query, read).softmax(-1)
            answer = network.output(joined(network, wiring, alpha @ read, query))
            torch.testing.assert_close(output[row, [step]], answer, atol=1e-5, rtol=1e-5)
            own = weights[row, 0, step]
            seen = torch.cat((own[:length], own[11 : 11 + len(read) - length]))
            torch.testing.assert_close(seen, alpha[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(own.sum(), torch.tensor(1.0))


def test_several_heads_attend_with_their_own_weights():
    network, (past, future) = build("multi_head", "replace"), windows()
    weights = network.attention_weights(past, future, LENGTHS)
    assert weights.shape == (3, 3, 7, 18)
    assert not weights.requires_grad
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3, 7))
    assert (weights[1, :, :, 4:11] == 0).all()
    assert not torch.allclose(weights[0, 0], weights[0, 1], atol=1e-4)
    both = torch.cat(network.recurrent(past[:1], future[:1]), dim=1)
    # (1, 18, head * width) -> (head, 18, width)
    values = network.attention.value(both)[0].unflatten(-1, (3, 2)).transpose(0, 1)
    attended = (weights[0] @ values).transpose(0, 1).flatten(1)
    expected = network.output(network.attention.output(attended))
    torch.testing.assert_close(network(past, future)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_the_hierarchy_is_lstm_attention_lstm_attention(wiring, bidirectional):
    network, (past, future) = build("dot", wiring, bidirectional, hierarchical=True), windows(1, 5)
    front = network.front
    lower = front.project(front.recurrent(past)[0])[0]
    attended = (lower @ lower.T).softmax(-1) @ lower
    middle = joined(front, wiring, attended, lower)
    encoded, state = network.recurrent.encode(middle[None])
    decoded = network.recurrent.decode(future, state)[0][0]
    read, allowed = encoded[0], torch.ones(7, 5, dtype=torch.bool)
    if wiring == "replace":
        read = torch.cat((read, decoded))
        allowed = torch.cat((allowed, torch.ones(7, 7, dtype=torch.bool).tril()), dim=1)
    alpha = (decoded @ read.T).masked_fill(~allowed, -torch.inf).softmax(-1)
    expected = network.output(joined(network, wiring, alpha @ read, decoded))
    torch.testing.assert_close(network(past, future)[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("options", COMBINATIONS)
def test_padded_rows_are_as_alone_and_step_by_step_equals_the_full_pass(options):
    network, (past, future) = build(*options, num_layers=2).eval(), windows()
    for row, length in enumerate(LENGTHS):
        past[row, length:] = torch.nan
    expected = network(past, future, LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = network(past[row : row + 1, :length], future[row : row + 1])
        torch.testing.assert_close(expected[row], alone[0], atol=1e-6, rtol=1e-6)
    start = network.init_state(past, LENGTHS)
    kept = copy.deepcopy(start)
    for _ in range(2):
        state = start
        for step in range(7):
            output, state = network.step(state, future[:, step])
            torch.testing.assert_close(output, expected[:, step], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(start, kept, atol=0, rtol=0)


@pytest.mark.parametrize("score", SCORES)
def test_steps_without_lengths_equal_the_full_pass_and_project_no_key_again(score):
    network, (past, future) = build(score, hierarchical=True).eval(), windows()
    expected, state, calls = network(past, future), network.init_state(past), []
    projection = network.attention.key if score == "multi_head" else network.attention.score
    for name in ("project", "forward"):
        plain = getattr(projection, name, None)
        if plain is not None:
            setattr(projection, name, lambda *given, plain=plain: calls.append(1) or plain(*given))
    for step in range(7):
        output, state = network.step(state, future[:, step])
        torch.testing.assert_close(output, expected[:, step], atol=1e-6, rtol=1e-6)
    assert not calls
    network.init_state(past)
    assert calls


@pytest.mark.parametrize("score", SCORES)
def test_equal_past_steps_are_weighed_equally(score):
    network, (_, future) = build(score), windows()
    # A decoder that starts from a resting encoder: with all weights zero, every key is zero.
    for parameter in network.recurrent.encoder.parameters():
        torch.nn.init.zeros_(parameter)
    weights = network.attention_weights(torch.ones(3, 11, PAST), future, LENGTHS)
    for row, length in enumerate(LENGTHS):
        expected = torch.full_like(weights[row, ..., :length], 1 / length.item())
        torch.testing.assert_close(weights[row, ..., :length], expected)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("hierarchical", [False, True])
def test_no_step_looks_ahead_though_the_past_is_read_both_ways(bidirectional, hierarchical):
    network = build("additive", "concat", bidirectional, hierarchical)
    past, future = windows()
    before = network(past, future, LENGTHS)
    changed = future.clone()
    changed[:, 3] += 5.0
    after = network(past, changed, LENGTHS)
    assert torch.equal(after[:, :3], before[:, :3])
    assert ((after[:, 3:] - before[:, 3:]).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("score", SCORES)
def test_replacing_still_lets_the_future_act_where_the_past_has_one_step(score):
    network, (past, future) = build(score, "replace"), windows(past_time=1)
    before = network(past, future)
    assert not torch.allclose(before, before[:, :1].expand_as(before), atol=1e-4)
    changed = future.clone()
    changed[:, 4] += 5.0
    after = network(past, changed)
    torch.testing.assert_close(after[:, :4], before[:, :4], atol=1e-6, rtol=0)
    assert ((after[:, 4] - before[:, 4]).abs().amax(-1) > 1e-4).all()


def test_replacing_never_reads_a_step_beyond_the_real_future():
    network, (past, future) = build("general", "replace"), windows()
    lengths = torch.tensor([7, 3, 5])
    weights = network.attention_weights(past, future, LENGTHS, lengths)
    for row, ahead in enumerate(lengths):
        assert (weights[row, :, :, 11 + ahead :] == 0).all()


@pytest.mark.parametrize(("hierarchical", "places"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("score", SCORES)
def test_dropout_acts_on_what_was_attended_everywhere(score, hierarchical, places):
    network = build(score, hierarchical=hierarchical, dropout=0.5)
    rates = [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout) and m.p]
    # The lower LSTM's own, between its layers, beside one for each attention.
    assert len(rates) == places + hierarchical
    inputs = windows()
    assert not torch.equal(network(*inputs), network(*inputs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "cosine"}, "Got score='cosine'; expected one of .*multi_head.*additive"),
        ({"wiring": "gate"}, "Got wiring='gate'; expected one of .*replace"),
        ({"num_heads": 4}, r"width of 6 \(d_model\) and num_heads=4"),
        ({"d_model": 0, "score": "dot"}, "hidden_size|width of 0"),
    ],
)
def test_parameters_that_make_no_sense_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
