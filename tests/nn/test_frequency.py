import cmath
import copy
import math
import pickle

import pytest
import torch

from sktime_tlstm.nn import FrequencyAttention, padding_mask


def slow_frequency_attention(attention, x):
    """Mix one row (time, d_model) mode by mode, head by head, as the paper writes it."""
    time, heads = len(x), attention.num_heads
    width = x.shape[1] // heads
    q = (x @ attention.query.weight.T + attention.query.bias).tolist()
    mixed = [[0.0] * (heads * width) for _ in range(time)]
    for k in range(min(attention.num_modes, time // 2 + 1)):
        real = attention.mixing_real[k].tolist()
        imaginary = attention.mixing_imaginary[k - 1].tolist() if k else None
        for head in range(heads):
            columns = range(head * width, (head + 1) * width)
            spectrum = [
                sum(q[n][c] * cmath.exp(-2j * math.pi * k * n / time) for n in range(time))
                for c in columns
            ]
            for j in range(width):
                y = 0j
                for i in range(width):
                    weight = complex(real[head][i][j], imaginary[head][i][j] if k else 0.0)
                    y += spectrum[i] * weight
                for n in range(time):
                    turn = cmath.exp(2j * math.pi * k * n / time)
                    # mode -k is the conjugate; mode 0 and L / 2 are their own
                    both = 1 if k == 0 or 2 * k == time else 2
                    mixed[n][columns[j]] += both * (y * turn).real / time
    return attention.output(torch.tensor(mixed, dtype=x.dtype))


def build(num_modes=4, **options):
    return FrequencyAttention(6, 3, num_modes=num_modes, **options).eval()


@pytest.mark.parametrize("num_modes", [2, 4, 11])
@pytest.mark.parametrize("time", [1, 2, 3, 7, 8, 11])
def test_frequency_attention_equals_the_slow_loop(num_modes, time):
    attention, x = build(num_modes), torch.randn(2, time, 6)
    fast = attention(x, x, x)
    for row in range(2):
        slow = slow_frequency_attention(attention, x[row])
        torch.testing.assert_close(fast[row], slow, atol=1e-5, rtol=1e-5)


def test_it_equals_torchs_own_fourier_transform():
    attention, x = build(num_modes=5).double(), torch.randn(2, 13, 6).double()
    spectrum = torch.fft.rfft(attention.query(x), dim=1)[:, :5].unflatten(-1, (3, 2))
    imaginary = torch.cat((torch.zeros_like(attention.mixing_real[:1]), attention.mixing_imaginary))
    matrix = torch.complex(attention.mixing_real, imaginary)
    mixed = torch.einsum("bkhi,khij->bkhj", spectrum, matrix).flatten(-2)
    expected = attention.output(torch.fft.irfft(mixed, n=13, dim=1))
    torch.testing.assert_close(attention(x, x, x), expected)


def test_ragged_rows_equal_the_slow_loop_over_their_real_length():
    attention, x, lengths = build(), torch.randn(5, 11, 6), torch.tensor([1, 2, 6, 7, 11])
    mask = padding_mask(lengths, 11)
    x[~mask] = torch.nan
    output = attention(x, x, x, mask[:, None, None])
    for row, length in enumerate(lengths):
        slow = slow_frequency_attention(attention, x[row, :length])
        torch.testing.assert_close(output[row, :length], slow, atol=1e-5, rtol=1e-5)


def test_real_steps_need_not_be_contiguous_and_the_queries_are_the_last():
    attention = build()
    past, future = torch.randn(3, 7, 6), torch.randn(3, 5, 6)
    past_lengths, future_lengths = torch.tensor([7, 2, 4]), torch.tensor([3, 5, 1])
    both = torch.cat((past, future), 1)
    mask = torch.cat((padding_mask(past_lengths, 7), padding_mask(future_lengths, 5)), 1)
    output = attention(future, both, both, mask[:, None, None])
    assert output.shape == (3, 5, 6)
    for row in range(3):
        p, f = past_lengths[row], future_lengths[row]
        alone = torch.cat((past[row, :p], future[row, :f]))
        slow = slow_frequency_attention(attention, alone)[-f:]
        torch.testing.assert_close(output[row, :f], slow, atol=1e-5, rtol=1e-5)


def test_a_row_does_not_depend_on_its_batch_or_padding():
    attention, x = build(), torch.randn(3, 11, 6)
    mask = padding_mask(torch.tensor([5, 11, 8]), 11)[:, None, None]
    batch = attention(x, x, x, mask)
    alone = attention(x[:1, :5], x[:1, :5], x[:1, :5])
    torch.testing.assert_close(batch[:1, :5], alone, atol=1e-6, rtol=0)
    same = attention(x, x, x, torch.ones(1, 1, 1, 11, dtype=torch.bool))
    torch.testing.assert_close(same, attention(x, x, x), atol=1e-6, rtol=0)


def test_a_sine_of_a_kept_mode_passes_and_one_of_a_higher_mode_is_lost():
    attention = FrequencyAttention(2, 1, num_modes=3)
    with torch.no_grad():
        for linear in (attention.query, attention.output):
            linear.weight.copy_(torch.eye(2))
            linear.bias.zero_()
        attention.mixing_real.copy_(torch.eye(2).expand(3, 1, 2, 2))
        attention.mixing_imaginary.zero_()
    angles = 2 * math.pi * torch.arange(12) / 12
    x = torch.stack((torch.sin(2 * angles), torch.sin(3 * angles)), -1)[None]
    expected = torch.stack((torch.sin(2 * angles), torch.zeros(12)), -1)[None]
    torch.testing.assert_close(attention(x, x, x), expected, atol=1e-6, rtol=0)


def test_a_mixing_of_one_imaginary_unit_shifts_a_sine_by_a_quarter():
    attention = FrequencyAttention(1, 1, num_modes=2)
    with torch.no_grad():
        for linear in (attention.query, attention.output):
            linear.weight.fill_(1.0)
            linear.bias.zero_()
        attention.mixing_real.zero_()
        attention.mixing_imaginary.fill_(1.0)
    angles = 2 * math.pi * torch.arange(12) / 12
    x = torch.sin(angles)[None, :, None]
    expected = torch.cos(angles)[None, :, None]
    torch.testing.assert_close(attention(x, x, x), expected, atol=1e-6, rtol=0)


def test_the_number_of_modes_matters():
    few, many, x = build(2), build(5), torch.randn(2, 11, 6)
    with torch.no_grad():
        for name in ("query", "output"):
            getattr(few, name).load_state_dict(getattr(many, name).state_dict())
        few.mixing_real.copy_(many.mixing_real[:2])
        few.mixing_imaginary.copy_(many.mixing_imaginary[:1])
    assert not torch.allclose(few(x, x, x), many(x, x, x), atol=1e-3)


def test_every_mode_and_head_gets_gradients():
    attention, x = build(), torch.randn(2, 11, 6)
    attention(x, x, x).square().sum().backward()
    for parameter in attention.parameters():
        flat = parameter.grad if parameter.ndim < 4 else parameter.grad.flatten(2).norm(dim=2)
        assert (flat != 0).any(-1).all()
        assert parameter.ndim < 4 or (flat > 1e-6).all()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float64, 1e-5)], ids=str
)
def test_other_precisions_run(dtype, tolerance):
    attention, x = build(), torch.randn(2, 11, 6)
    mask = padding_mask(torch.tensor([11, 7]), 11)[:, None, None]
    expected = attention(x, x, x, mask)
    other, x = attention.to(dtype), x.to(dtype)
    output = other(x, x, x, mask)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, atol=tolerance, rtol=0)


def test_long_sequences_keep_their_digits():
    attention, x = build(num_modes=997), torch.randn(1, 2003, 6)
    double = copy.deepcopy(attention).double()
    expected = double(*[x.double()] * 3).float()
    torch.testing.assert_close(attention(x, x, x), expected, atol=3e-6, rtol=0)


def test_dropout_acts_in_front_of_the_output_and_only_in_training():
    attention, x = FrequencyAttention(6, 3, dropout=1.0), torch.randn(2, 11, 6)
    torch.testing.assert_close(attention(x, x, x), attention.output.bias.expand(2, 11, 6))
    assert not torch.allclose(attention.eval()(x, x, x), attention.output.bias)


def test_a_mask_that_differs_between_queries_is_refused_with_the_reason():
    attention, x = build(), torch.randn(2, 7, 6)
    causal = torch.ones(7, 7, dtype=torch.bool).tril()[None, None]
    with pytest.raises(ValueError, match=r"\(1, 1, 7, 7\) .* sees the whole .* cannot be causal"):
        attention(x, x, x, causal)


def test_there_are_no_weights_no_positions_and_no_cache():
    attention, x = build(), torch.randn(2, 7, 6)
    with pytest.raises(ValueError, match="which has none"):
        attention.weights(x, x)
    with pytest.raises(ValueError, match="rotary positions for a frequency attention"):
        attention(x, x, x, None, torch.arange(7)[None], torch.arange(7)[None])
    assert not hasattr(attention, "project")
    assert not hasattr(attention, "attend")


def test_more_queries_than_steps_are_an_error():
    attention, x = build(), torch.randn(2, 7, 6)
    with pytest.raises(ValueError, match="Got 7 queries and 5 steps"):
        attention(x, x[:, :5], x[:, :5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6, 4), r"width of 6 \(d_model\) and num_heads=4"),
        ((6, 3, 0.0, 1), "num_modes=1; expected 2 or more"),
    ],
)
def test_impossible_widths_and_modes_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrequencyAttention(*arguments)


def test_copies_give_the_same_numbers():
    attention, x = build(), torch.randn(2, 7, 6)
    for other in (copy.deepcopy(attention), pickle.loads(pickle.dumps(attention))):
        assert torch.equal(other(x, x, x), attention(x, x, x))


@pytest.mark.parametrize("length", [168, 192, 336])
def test_a_daily_cycle_in_one_or_two_weeks_of_hours_is_held(length):
    attention = FrequencyAttention(6, 3)
    x = torch.sin(2 * math.pi * torch.arange(length) / 24)[None, :, None].expand(1, -1, 6)
    assert (attention(x, x, x).std(1) > 1e-3).any()
    assert (build(num_modes=7)(x, x, x).std(1) < 1e-5).all()  # the day is mode 7, 8 or 14
