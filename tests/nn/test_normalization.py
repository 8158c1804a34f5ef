import pytest
import torch

from sktime_tlstm.nn import NORMS, make_norm, masked_mean


def test_masked_mean_is_that_of_the_real_steps_whatever_the_padding():
    x = torch.tensor([[[2.0, -1.0], [4.0, 3.0], [torch.nan, 7.0]], [[1.0, 1.0]] * 3])
    mean = masked_mean(x, torch.tensor([2, 3]))
    torch.testing.assert_close(mean, torch.tensor([[3.0, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(masked_mean(x[1:]), torch.tensor([[1.0, 1.0]]))


def test_layer_and_rms_norms_by_hand():
    x = torch.tensor([[[1.0, 7.0]]])
    # mean 4, standard deviation 3; root of the mean square (1 + 49) / 2 is 5
    torch.testing.assert_close(make_norm("layer", 2)(x), torch.tensor([[[-1.0, 1.0]]]))
    torch.testing.assert_close(make_norm("rms", 2)(x), torch.tensor([[[0.2, 1.4]]]))
    # with a scale near the root of eps = 1e-5: 1e-3 / sqrt(25e-6 + 1e-5)
    expected = torch.tensor([[[1e-3, 7e-3]]]) / 35e-6**0.5
    torch.testing.assert_close(make_norm("rms", 2)(x / 1000), expected)


def test_no_norm_changes_nothing():
    x = torch.randn(2, 7, 5)
    assert make_norm(None, 5)(x, torch.randn(2, 3)) is x


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_layer_and_rms_norms_ignore_the_condition_and_keep_torchs_names(kind):
    norm, x = make_norm(kind, 5, condition_features=3), torch.randn(2, 7, 5)
    assert torch.equal(norm(x, torch.randn(2, 3)), norm(x))
    torchs = {"layer": torch.nn.LayerNorm, "rms": torch.nn.RMSNorm}[kind](5)
    assert list(norm.state_dict()) == list(torchs.state_dict())


def test_adaptive_norm_starts_as_layer_norm():
    adaptive, layer = make_norm("adaptive", 5, condition_features=3), make_norm("layer", 5)
    x = torch.randn(2, 7, 5)
    assert torch.equal(adaptive(x, torch.randn(2, 3)), layer(x))


def test_adaptive_norm_by_hand():
    norm = make_norm("adaptive", 2, condition_features=1)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0]))
        norm.modulation.weight.copy_(torch.tensor([[1.0], [2.0], [10.0], [0.0]]))
        norm.modulation.bias.copy_(torch.tensor([0.0, 1.0, 0.0, -4.0]))
    x = torch.tensor([[[1.0, 7.0]], [[1.0, 7.0]]])
    # layer norm gives (-.5, 3); gains are c and 2 c + 1, biases 10 c and -4
    expected = [[[-0.5 * 3 + 20, 3 * 6 - 4.0]], [[-0.5 * 0 - 10, 3 * 0 - 4.0]]]
    result = norm(x, torch.tensor([[2.0], [-1.0]]))
    torch.testing.assert_close(result, torch.tensor(expected), atol=1e-4, rtol=0)


def test_a_changed_adaptive_norm_depends_on_its_own_rows_condition_only():
    norm, x, condition = make_norm("adaptive", 5, 3), torch.randn(2, 7, 5), torch.randn(2, 3)
    torch.nn.init.normal_(norm.modulation.weight)
    before = norm(x, condition)
    condition[1] += 1
    after = norm(x, condition)
    assert torch.equal(after[0], before[0])
    assert ((after[1] - before[1]).abs() > 1e-4).all()


def test_the_adaptive_linear_layer_gets_gradients_from_the_start():
    norm = make_norm("adaptive", 5, 3)
    norm(torch.randn(2, 7, 5), torch.randn(2, 3)).square().sum().backward()
    assert all((parameter.grad != 0).all() for parameter in norm.parameters())


@pytest.mark.parametrize(
    ("condition", "got"),
    [
        (None, "of None"),
        (torch.ones(2, 4), r"of shape \(2, 4\)"),
        (torch.ones(1, 3), r"of shape \(1, 3\)"),
        (torch.ones(2, 7, 3), r"of shape \(2, 7, 3\)"),
    ],
)
def test_a_missing_or_misshapen_condition_is_an_error(condition, got):
    norm = make_norm("adaptive", 5, 3)
    with pytest.raises(ValueError, match=rf"condition {got} .* expected the shape \(2, 3\)"):
        norm(torch.ones(2, 7, 5), condition)


def test_an_adaptive_norm_needs_the_width_of_its_condition():
    with pytest.raises(
        ValueError, match=r"condition_features=0 for norm='adaptive'.* condition of"
    ):
        make_norm("adaptive", 5)


def test_an_unknown_norm_is_an_error_listing_all():
    with pytest.raises(ValueError, match=r"'batch'; expected one of \['layer', 'rms', 'adaptive'"):
        make_norm("batch", 5)


@pytest.mark.parametrize("kind", sorted(NORMS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_norms_keep_the_precision(kind, dtype):
    norm = make_norm(kind, 5, 3).to(dtype)
    assert norm(torch.randn(2, 7, 5, dtype=dtype), torch.ones(2, 3, dtype=dtype)).dtype == dtype
