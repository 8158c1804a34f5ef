import math

import pytest
import torch

from sktime_tlstm.nn import ATTENTIONS, decoder_mask, encoder_mask, make_attention, padding_mask

KINDS = sorted(ATTENTIONS)


def slow_attention(attention, query, key, mask):
    """Attend head by head and query by query, as the papers write it."""
    width, heads = attention.head_width, attention.num_heads
    rows = []
    for row in range(len(query)):
        read = torch.zeros(heads, query.shape[1], width)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            queries = query[row] @ attention.query.weight[part].T + attention.query.bias[part]
            keys = key[row] @ attention.key.weight[part].T + attention.key.bias[part]
            if attention.value.out_features == width:
                part = slice(0, width)
            values = key[row] @ attention.value.weight[part].T + attention.value.bias[part]
            for step in range(query.shape[1]):
                allowed = [j for j in range(key.shape[1]) if mask is None or mask[row, step, j]]
                scores = torch.stack([queries[step] @ keys[j] / math.sqrt(width) for j in allowed])
                weights = scores.exp() / scores.exp().sum()
                read[head, step] = sum(w * values[j] for w, j in zip(weights, allowed, strict=True))
        joined = read.mean(0) if attention.value.out_features == width else torch.cat([*read], -1)
        rows.append(attention.output(joined))
    return torch.stack(rows)


def random_mask(batch, query_time, key_time):
    mask = torch.rand(batch, query_time, key_time) < 0.6
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_the_slow_loop(kind, masked):
    attention = make_attention(kind, 15, 3)
    query, key = torch.randn(2, 5, 15), torch.randn(2, 7, 15)
    mask = random_mask(2, 5, 7) if masked else None
    fast = attention(query, key, key, None if mask is None else mask[:, None])
    torch.testing.assert_close(fast, slow_attention(attention, query, key, mask))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_sum_to_one_and_are_zero_where_masked(kind):
    attention = make_attention(kind, 15, 5)
    mask = random_mask(2, 3, 7)[:, None]
    weights = attention.weights(torch.randn(2, 3, 15), torch.randn(2, 7, 15), mask)
    assert weights.shape == (2, 5, 3, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5, 3))
    assert (weights[~mask.expand(2, 5, 3, 7)] == 0).all()
    assert (weights[mask.expand(2, 5, 3, 7)] > 0).all()


def test_interpretable_weights_reproduce_the_fused_output():
    attention = make_attention("interpretable", 15, 3)
    query, key, mask = torch.randn(2, 5, 15), torch.randn(2, 7, 15), random_mask(2, 5, 7)[:, None]
    mean_weights = attention.weights(query, key, mask).mean(1)
    from_weights = attention.output(mean_weights @ attention.value(key))
    torch.testing.assert_close(attention(query, key, key, mask), from_weights)


def test_multi_head_weights_reproduce_the_fused_output():
    attention = make_attention("multi_head", 15, 3)
    query, key, mask = torch.randn(2, 5, 15), torch.randn(2, 7, 15), random_mask(2, 5, 7)[:, None]
    weights = attention.weights(query, key, mask)
    values = attention.value(key).reshape(2, 7, 3, 5)
    read = torch.einsum("bhqk,bkhd->bqhd", weights, values).reshape(2, 5, 15)
    torch.testing.assert_close(attention(query, key, key, mask), attention.output(read))


def test_interpretable_heads_share_one_value_projection():
    attention = make_attention("interpretable", 15, 3)
    assert attention.value.weight.shape == (5, 15)
    assert attention.output.weight.shape == (15, 5)
    assert make_attention("multi_head", 15, 3).value.weight.shape == (15, 15)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_falls_on_the_attended_values_not_on_the_weights(kind):
    attention = make_attention(kind, 15, 3, dropout=1.0)
    query = torch.randn(2, 5, 15)
    torch.testing.assert_close(
        attention(query, query, query), attention.output.bias.expand(2, 5, 15)
    )
    torch.testing.assert_close(attention.weights(query, query).sum(-1), torch.ones(2, 3, 5))


@pytest.mark.parametrize(("d_model", "num_heads"), [(15, 4), (15, 0), (0, 3)])
def test_heads_that_do_not_divide_the_width_are_an_error_naming_both(d_model, num_heads):
    with pytest.raises(ValueError, match=rf"width of {d_model} .*num_heads={num_heads}"):
        make_attention("interpretable", d_model, num_heads)


def test_an_unknown_attention_is_an_error_listing_all():
    with pytest.raises(ValueError, match=r"'fast'; expected one of \['interpretable', 'multi_h"):
        make_attention("fast", 15, 3)


def test_padding_mask_is_true_at_real_steps():
    expected = [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert padding_mask(torch.tensor([1, 3, 2]), 3).int().tolist() == expected


def test_there_is_no_mask_where_nothing_is_padded_and_nothing_is_causal():
    assert encoder_mask(5, None) is None
    assert decoder_mask(5, 3, causal=False) is None
    assert decoder_mask(5, 3, causal=True) is not None
    assert decoder_mask(5, 3, torch.tensor([5]), causal=False) is not None
    assert decoder_mask(5, 3, None, torch.tensor([3]), causal=False) is not None


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("past_padded", [False, True])
@pytest.mark.parametrize("future_padded", [False, True])
def test_decoder_mask_equals_its_definition(causal, past_padded, future_padded):
    past_lengths = torch.tensor([2, 5, 3]) if past_padded else None
    future_lengths = torch.tensor([4, 1, 2]) if future_padded else None
    mask = decoder_mask(5, 4, past_lengths, future_lengths, causal)
    full = torch.ones(3, 1, 4, 9, dtype=torch.bool) if mask is None else mask.expand(3, 1, 4, 9)
    for row in range(3):
        for i in range(4):
            for key in range(9):
                j = key - 5
                if key < 5:
                    allowed = not past_padded or key < past_lengths[row]
                else:
                    allowed = not future_padded or j < future_lengths[row]
                    allowed = allowed and (not causal or j < i)
                assert bool(full[row, 0, i, key]) == bool(allowed), (row, i, key)
