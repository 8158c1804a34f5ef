import math

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import SCORES, MultiHeadAttention, ScoreAttention, make_score


def filled(linear, rows):
    """Give a linear map these weights."""
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(rows))
    return linear


def test_the_additive_score_by_hand():
    score = make_score("additive", 2)
    filled(score.key, [[1.0, 0.0], [0.0, 2.0]])
    filled(score.query, [[0.0, 1.0], [1.0, 0.0]])
    filled(score.energy, [[3.0, -1.0]])
    query, keys = torch.tensor([[[0.5, -0.25]]]), torch.tensor([[[1.0, 0.0], [0.0, -0.5]]])
    # W1 h = (1, 0) and (0, -1); W2 q = (-.25, .5), so that the sums are (.75, .5), (-.25, -.5).
    expected = [
        3 * math.tanh(0.75) - math.tanh(0.5),
        3 * math.tanh(-0.25) - math.tanh(-0.5),
    ]
    torch.testing.assert_close(score(query, keys), torch.tensor([[expected]]))


def test_the_dot_score_by_hand():
    query = torch.tensor([[[1.0, 2.0], [0.0, -1.0]]])
    keys = torch.tensor([[[3.0, 4.0], [5.0, 0.0], [-1.0, 1.0]]])
    assert make_score("dot", 2)(query, keys).tolist() == [[[11.0, 5.0, 1.0], [-4.0, 0.0, -1.0]]]


def test_the_general_score_by_hand():
    score = make_score("general", 2)
    filled(score.key, [[1.0, 2.0], [0.0, 3.0]])
    query, keys = torch.tensor([[[1.0, -1.0]]]), torch.tensor([[[3.0, 4.0], [5.0, 0.0]]])
    # W h = (11, 12) and (5, 0).
    assert score(query, keys).tolist() == [[[-1.0, 5.0]]]


@pytest.mark.parametrize("kind", SCORES)
def test_a_score_of_a_batch_is_that_of_every_pair(kind):
    score, query, keys = make_score(kind, 5), torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    scores = score(query, keys)
    assert scores.shape == (2, 3, 7)
    for row in range(2):
        for i in range(3):
            for j in range(7):
                pair = score(query[row, i].view(1, 1, 5), keys[row, j].view(1, 1, 5))
                torch.testing.assert_close(pair.squeeze(), scores[row, i, j], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", SCORES)
def test_equal_keys_give_uniform_weights_over_the_real_steps(kind):
    attention = ScoreAttention(kind, 5)
    query, keys = torch.randn(2, 3, 5), torch.randn(2, 1, 5).expand(2, 7, 5)
    torch.testing.assert_close(attention.weights(query, keys), torch.full((2, 1, 3, 7), 1 / 7))
    mask = torch.tensor([True] * 4 + [False] * 3)
    expected = torch.tensor([0.25] * 4 + [0.0] * 3).expand(2, 1, 3, 7)
    torch.testing.assert_close(attention.weights(query, keys, mask), expected)
    torch.testing.assert_close(attention(query, keys, keys, mask), keys[:, :3])


@pytest.mark.parametrize("kind", SCORES)
def test_attention_is_the_weighted_mean_of_its_values(kind):
    attention, query, key, value = (
        ScoreAttention(kind, 5),
        torch.randn(2, 3, 5),
        *torch.randn(2, 2, 7, 5),
    )
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[1, ..., 4:] = False
    weights = torch.softmax(attention.score(query, key).masked_fill(~mask[:, 0], -math.inf), -1)
    torch.testing.assert_close(attention(query, key, value, mask), weights @ value)
    torch.testing.assert_close(attention.weights(query, key, mask)[:, 0], weights)
    assert (weights[1, :, 4:] == 0).all()


@pytest.mark.parametrize("kind", SCORES)
def test_attending_to_what_was_projected_before_changes_nothing(kind):
    attention, query, source = ScoreAttention(kind, 5), torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    keys, values = attention.project(source)
    assert keys.shape == values.shape == (2, 1, 7, 5)
    expected = attention(query, source, source)
    torch.testing.assert_close(attention.attend(query, keys, values), expected, atol=0, rtol=0)
    pieces = [attention.project(piece) for piece in source.split([4, 3], dim=1)]
    joined = [torch.cat(parts, dim=2) for parts in zip(*pieces, strict=True)]
    torch.testing.assert_close(attention.attend(query, *joined), expected)


def test_one_head_with_unit_projections_is_the_dot_score_scaled():
    attention, dot = MultiHeadAttention(4, 1), ScoreAttention("dot", 4)
    for name in ("query", "key", "value", "output"):
        filled(getattr(attention, name), torch.eye(4).tolist())
        nn.init.zeros_(getattr(attention, name).bias)
    query, source = torch.randn(2, 3, 4), torch.randn(2, 7, 4)
    torch.testing.assert_close(dot(query / 2, source, source), attention(query, source, source))


def test_dropout_acts_on_the_attended_values():
    source = torch.randn(2, 7, 5)
    attention = ScoreAttention("dot", 5, dropout=0.5)
    dropped, steady = attention(*[source] * 3), attention.eval()(*[source] * 3)
    zero = dropped == 0
    assert zero.any()
    torch.testing.assert_close(dropped[~zero], 2 * steady[~zero])


def test_an_unknown_score_and_a_width_below_one_are_errors():
    with pytest.raises(ValueError, match=r"Got score='cosine'; expected one of .*'additive'"):
        make_score("cosine", 5)
    with pytest.raises(ValueError, match="width of 0"):
        make_score("dot", 0)
