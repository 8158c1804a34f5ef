import copy
import math
import pickle
import warnings

import pytest
import torch
from torch.profiler import profile

from sktime_tlstm.nn import (
    ATTENTIONS,
    KERNELS,
    FrequencyAttention,
    make_attention,
)

# Frequency attention has its own file.
KINDS = sorted(set(ATTENTIONS) - {"frequency"})
ON_CPU = sorted(set(KERNELS) - {"memory_efficient"})


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ON_CPU)
@pytest.mark.parametrize("masked", [False, True])
def test_every_kernel_that_runs_here_equals_the_slow_loop(kind, kernel, masked):
    attention = make_attention(kind, 15, 3, kernel=kernel).double()
    query, key = torch.randn(2, 5, 15).double(), torch.randn(2, 7, 15).double()
    mask = random_mask(2, 5, 7) if masked else None
    fast = attention(query, key, key, None if mask is None else mask[:, None])
    # the loop joins its heads in float32
    slow = slow_attention(attention.float(), query.float(), key.float(), mask)
    torch.testing.assert_close(fast.float(), slow, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "operation"),
    [
        ("flash", "aten::_scaled_dot_product_flash_attention_for_cpu"),
        ("math", "aten::_scaled_dot_product_attention_math"),
    ],
)
def test_the_choice_of_a_kernel_reaches_torch(kernel, operation):
    x = torch.randn(2, 5, 15)
    ran = {}
    for name in ("flash", "math"):
        attention = make_attention("multi_head", 15, 3, kernel=name)
        with profile() as profiler:
            attention(x, x, x)
        ran[name] = {event.key for event in profiler.key_averages()}
    assert operation in ran.pop(kernel)
    assert operation not in ran.popitem()[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("mask", "named"), [(None, "no mask"), (torch.ones(5, 5) > 0, "a mask")])
def test_a_kernel_that_cannot_run_is_an_error_that_says_why_and_what_to_do(dtype, mask, named):
    attention = make_attention("multi_head", 15, 3, kernel="memory_efficient").to(dtype)
    x = torch.randn(2, 5, 15, dtype=dtype)
    message = rf"'memory_efficient', .* device 'cpu' with {dtype}, .* {named}; .* Pass 'auto'.*CUDA"
    with pytest.raises(RuntimeError, match=message):
        attention(x, x, x, mask)


def test_a_kernel_refused_with_warnings_is_our_error_and_no_warning(monkeypatch):
    # No CPU kernel warns today when it is refused for the device; one refused for shapes does.
    attention = make_attention("multi_head", 15, 3, kernel="flash")
    monkeypatch.setattr(attention, "_turn", lambda x, positions: attention._split(x)[..., :4])
    x = torch.randn(2, 5, 15)  # keys 4 wide, values 5: flash attention wants the same
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="Got kernel='flash', which torch cannot run"):
            attention(x, x, x)
    assert caught == []


@pytest.mark.parametrize("kernel", ON_CPU)
def test_a_chosen_kernel_compiles_without_a_graph_break(kernel):
    attention, x = make_attention("multi_head", 15, 3, kernel=kernel), torch.randn(2, 5, 15)
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, x, x), attention(x, x, x))


def test_other_errors_of_torch_pass_through_a_chosen_kernel():
    attention = make_attention("multi_head", 15, 3, kernel="math")
    with pytest.raises(RuntimeError, match=r"\b7\b.*\b11\b") as error:
        attention(torch.randn(2, 5, 15), torch.randn(2, 7, 15), torch.randn(2, 11, 15))
    assert "kernel" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_kernel_is_an_error_at_construction(kind):
    with pytest.raises(ValueError, match=r"kernel='fast'; expected one of \['auto', 'flash'"):
        make_attention(kind, 15, 3, kernel="fast")


def test_frequency_attention_has_no_kernels():
    with pytest.raises(ValueError, match="kernel='math' for attention='frequency'"):
        make_attention("frequency", 15, 3, kernel="math")


@pytest.mark.parametrize("kind", KINDS)
def test_a_chosen_kernel_survives_copies(kind):
    attention = make_attention(kind, 15, 3, kernel="memory_efficient")
    for other in (copy.deepcopy(attention), pickle.loads(pickle.dumps(attention))):
        assert other.kernel == "memory_efficient"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positioned", [False, True])
def test_attending_to_a_cache_equals_the_forward_pass(kind, positioned):
    attention = make_attention(kind, 12, 3)
    query, source, mask = torch.randn(2, 5, 12), torch.randn(2, 7, 12), random_mask(2, 5, 7)
    at_query = torch.tensor([[0, 1, 2, 3, 4]]) if positioned else None
    at_source = torch.arange(-7, 0)[None] if positioned else None
    whole = attention(query, source, source, mask[:, None], at_query, at_source)
    pieces = [
        attention.project(
            source[:, start:stop], None if at_source is None else at_source[:, start:stop]
        )
        for start, stop in ((0, 4), (4, 7))
    ]
    keys, values = (torch.cat(parts, dim=2) for parts in zip(*pieces, strict=True))
    assert keys.shape == (2, 3, 7, 4)
    assert values.shape == (2, 3 if kind == "multi_head" else 1, 7, 4)
    cached = attention.attend(query, keys, values, mask[:, None], at_query)
    torch.testing.assert_close(cached, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_rotary_scores_equal_the_slow_complex_loop(kind):
    attention = make_attention(kind, 12, 3)
    query, key = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    at_query, at_key = torch.randint(-11, 11, (2, 5)), torch.randint(-11, 11, (2, 7))
    queries, keys = attention.query(query), attention.key(key)
    expected = torch.empty(2, 3, 5, 7)
    for row in range(2):
        for head in range(3):
            for i in range(5):
                for j in range(7):
                    score = 0j
                    for pair in range(2):
                        k = 4 * head + 2 * pair
                        turn = int(at_query[row, i] - at_key[row, j]) / 10000 ** (2 * pair / 4)
                        # Re(q e^{i m t} conj(k e^{i n t})) is the dot product of the turned pairs
                        score += (
                            complex(*queries[row, i, k : k + 2].tolist())
                            * complex(*keys[row, j, k : k + 2].tolist()).conjugate()
                            * complex(math.cos(turn), math.sin(turn))
                        )
                    expected[row, head, i, j] = score.real / 2
    weights = attention.weights(query, key, None, at_query, at_key)
    torch.testing.assert_close(weights, expected.softmax(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_rotary_attention_depends_on_differences_of_positions_only(kind):
    attention = make_attention(kind, 12, 3)
    query, key = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    at_query, at_key = torch.arange(5)[None], torch.arange(-7, 0)[None]
    outputs = [
        attention(query, key, key, None, at_query + shift, at_key + other)
        for shift, other in ((0, 0), (97, 97), (-31, -31), (1, 0))
    ]
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs[2], outputs[0], atol=1e-5, rtol=0)
    assert not torch.allclose(outputs[3], outputs[0], atol=1e-4)
    assert not torch.allclose(attention(query, key, key), outputs[0], atol=1e-4)


def test_equal_positions_turn_nothing():
    attention = make_attention("multi_head", 12, 3)
    query, key = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    turned = attention(query, key, key, None, torch.full((1, 5), 3), torch.full((1, 7), 3))
    torch.testing.assert_close(turned, attention(query, key, key))


def test_rotary_positions_need_an_even_head_width():
    attention, x, steps = (
        make_attention("multi_head", 15, 3),
        torch.ones(2, 5, 15),
        torch.ones(1, 5),
    )
    with pytest.raises(ValueError, match="head width of 5 for rotary positions; expected an even"):
        attention(x, x, x, None, steps, steps)


@pytest.mark.parametrize("lacking", ["query", "key"])
def test_half_the_positions_are_an_error(lacking):
    attention, x = make_attention("multi_head", 12, 3), torch.ones(2, 5, 12)
    other = {"query": "key_positions", "key": "query_positions"}[lacking]
    positions = {other: torch.arange(5)[None]}
    with pytest.raises(ValueError, match=f"no {lacking}_positions but the others"):
        attention(x, x, x, **positions)
    with pytest.raises(ValueError, match=f"no {lacking}_positions but the others"):
        attention.weights(x, x, **positions)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_keys_give_uniform_weights(kind):
    attention = make_attention(kind, 15, 5)
    key = torch.randn(2, 1, 15).expand(2, 7, 15)
    weights = attention.weights(torch.randn(2, 3, 15), key)
    torch.testing.assert_close(weights, torch.full((2, 5, 3, 7), 1 / 7))
    mask = torch.arange(7) < 4
    masked = attention.weights(torch.randn(2, 3, 15), key, mask)
    torch.testing.assert_close(masked[..., :4], torch.full((2, 5, 3, 4), 1 / 4))


def test_only_frequency_attention_sees_the_whole_sequence():
    whole = {kind for kind in ATTENTIONS if make_attention(kind, 12, 3).sees_whole_sequence}
    assert whole == {"frequency"}
    assert isinstance(make_attention("frequency", 12, 3, num_modes=5), FrequencyAttention)
    assert make_attention("frequency", 12, 3, num_modes=5).num_modes == 5
