import cmath
import math

import pytest
import torch

from sktime_tlstm.nn import LearnedPositions, rotate, sinusoidal, window_positions


def test_windows_are_counted_from_each_rows_own_cutoff():
    past, future = window_positions(5, 3, torch.tensor([5, 2, 1]))
    assert past.tolist() == [[-5, -4, -3, -2, -1], [-2, -1, -1, -1, -1], [-1] * 5]
    assert future.tolist() == [[0, 1, 2]]


def test_unpadded_windows_need_no_lengths():
    past, future = window_positions(3, 2)
    assert past.tolist() == [[-3, -2, -1]]
    assert future.tolist() == [[0, 1]]


def test_more_padding_moves_no_real_step():
    lengths = torch.tensor([2, 3])
    short, _ = window_positions(3, 1, lengths)
    long, _ = window_positions(11, 1, lengths)
    assert torch.equal(long[:, :3], short)


def test_sinusoidal_by_hand():
    # widths 2 i / 4: frequencies 1 and 1 / 100
    encoded = sinusoidal(torch.tensor([[0, 3, -2]]), 4)
    expected = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)],
        [-math.sin(2), math.cos(2), -math.sin(0.02), math.cos(0.02)],
    ]
    torch.testing.assert_close(encoded, torch.tensor([expected]))


def test_an_odd_width_lacks_the_last_cosine():
    assert sinusoidal(torch.tensor([1, 2]), 5).shape == (2, 5)
    encoded = sinusoidal(torch.tensor([7]), 3)[0]
    expected = [math.sin(7), math.cos(7), math.sin(7 / 10000 ** (2 / 3))]
    torch.testing.assert_close(encoded, torch.tensor(expected))


def test_rotation_is_a_complex_turn_of_each_pair():
    x, positions = torch.randn(2, 3, 5, 4), torch.randint(-11, 11, (2, 5))
    turned = rotate(x, positions)
    for index in torch.cartesian_prod(*[torch.arange(n) for n in (2, 3, 5, 2)]).tolist():
        row, head, step, pair = index
        k = slice(2 * pair, 2 * pair + 2)
        angle = int(positions[row, step]) / 10000 ** (2 * pair / 4)
        expected = complex(*x[row, head, step, k].tolist()) * cmath.exp(1j * angle)
        assert complex(*turned[row, head, step, k].tolist()) == pytest.approx(expected, abs=1e-5)


def test_rotation_keeps_lengths_and_position_zero():
    x = torch.randn(2, 3, 5, 6)
    turned = rotate(x, torch.tensor([[0, 1, 2, 3, 4]]))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1], x[:, :, 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_rotation_keeps_the_precision(dtype):
    x = torch.randn(1, 1, 3, 4, dtype=torch.float64)
    turned = rotate(x.to(dtype), torch.tensor([[3, 0, -7]]))
    assert turned.dtype == dtype
    angles = torch.tensor([3, 0, -7.0]).double()
    expected = x[..., 0] * angles.cos() - x[..., 1] * angles.sin()
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-12
    torch.testing.assert_close(turned[..., 0].double(), expected, atol=tolerance, rtol=0)


def test_rotation_needs_an_even_width():
    with pytest.raises(ValueError, match=r"head width of 5 .* multiple of 2 \* num_heads"):
        rotate(torch.ones(1, 1, 3, 5), torch.tensor([[0, 1, 2]]))


def test_learned_positions_look_up_either_side_of_the_cutoff():
    learned = LearnedPositions(5, max_positions=3)
    vectors = learned(torch.tensor([[-3, -1, 0], [2, 0, -3]]))
    assert vectors.shape == (2, 3, 5)
    weight = learned.table.weight
    assert torch.equal(vectors, weight[torch.tensor([[0, 2, 3], [5, 3, 0]])])
    assert len({tuple(row) for row in weight.tolist()}) == 6


def test_learned_positions_start_small():
    assert 0.018 < LearnedPositions(97, 31).table.weight.std() < 0.022


@pytest.mark.parametrize(
    ("positions", "needed"), [([-4, -3], 4), ([0, 3], 4), ([-5, 7], 8)], ids=str
)
def test_a_position_beyond_the_table_is_an_error_that_says_how_long_it_must_be(positions, needed):
    learned = LearnedPositions(5, max_positions=3)
    message = rf"from {positions[0]} to {positions[1]}; expected -3 to 2. .*max_positions={needed}"
    with pytest.raises(ValueError, match=message):
        learned(torch.tensor([positions]))


def test_padding_lies_in_any_table():
    past, _ = window_positions(11, 1, torch.tensor([2, 1]))
    assert LearnedPositions(5, max_positions=2)(past).shape == (2, 11, 5)


def test_an_empty_table_is_an_error():
    with pytest.raises(ValueError, match="max_positions=0; expected 1 or more"):
        LearnedPositions(5, 0)


def test_learned_positions_compile_without_a_graph_break():
    learned, positions = LearnedPositions(5, 3), torch.tensor([[-3, 2]])
    compiled = torch.compile(learned, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(positions), learned(positions))


def test_a_known_bound_spares_reading_the_positions(monkeypatch):
    learned, positions = LearnedPositions(5, max_positions=3), torch.tensor([[-3, 2]])
    expected = learned(positions)
    with pytest.raises(ValueError, match="max_positions=4"):
        learned(torch.tensor([[-4, 0]]), bound=4)
    assert torch.equal(learned(positions, bound=4), expected)  # the bound is but a bound
    monkeypatch.setattr(torch, "aminmax", None)
    assert torch.equal(learned(positions, bound=3), expected)


def test_sinusoidal_in_double_precision_keeps_its_digits():
    encoded = sinusoidal(torch.tensor([397]), 4, torch.float64)[0]
    assert encoded.tolist() == pytest.approx(
        [math.sin(397), math.cos(397), math.sin(3.97), math.cos(3.97)], abs=1e-12
    )
