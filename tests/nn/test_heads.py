import functools
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sktime_tlstm.nn import (
    DEFAULT_QUANTILES,
    FAMILIES,
    LOSSES,
    DistributionHead,
    Head,
    PointHead,
    QuantileHead,
    make_head,
)

NAN = float("nan")
HEADS = [make_head(name) for name in LOSSES]
IDS = list(LOSSES)


class ScaleHead(Head):
    """A head of two parameters, the second positive: log-likelihood of a Laplace distribution."""

    num_parameters = 2
    point_statistic = "median"

    def domain_map(self, parameters):
        location, scale = parameters.unbind(-1)
        return torch.stack([location, scale.exp()], -1)

    def losses(self, parameters, target):
        location, scale = parameters.unbind(-1)
        return (target - location).abs() / scale + torch.log(2 * scale)

    def point(self, parameters):
        return parameters[..., 0]


def tensor(*values):
    """Return a (1, time, 1) tensor."""
    return torch.tensor(values).reshape(1, -1, 1)


@pytest.mark.parametrize(
    ("loss", "expected", "statistic"),
    [
        ("mse", (9 + 0.25) / 2, "mean"),
        ("mae", (3 + 0.5) / 2, "median"),
        ("huber", (2.5 + 0.125) / 2, "median"),
    ],
)
def test_point_losses_worked_by_hand(loss, expected, statistic):
    head = PointHead(loss)
    assert head(tensor(5.0, 1.0), tensor(2.0, 1.5)).item() == pytest.approx(expected)
    assert head.point_statistic == statistic


def test_pinball_loss_worked_by_hand():
    head = QuantileHead((0.2, 0.7))
    output = torch.tensor([[[1.0, 4.0]]])
    # y = 3: .2 * (3 - 1) = .4 and (1 - .7) * (4 - 3) = .3
    assert head(output, torch.tensor([[[3.0]]])).item() == pytest.approx(0.35)


def test_the_loss_sees_crossed_quantiles_as_they_are():
    head = QuantileHead((0.2, 0.7))
    # y = 3: (1 - .2) * (4 - 3) = .8 and .7 * (3 - 1) = 1.4
    assert head(torch.tensor([[[4.0, 1.0]]]), torch.tensor([[[3.0]]])).item() == pytest.approx(1.1)


@pytest.mark.parametrize("head", [*HEADS, ScaleHead()], ids=[*IDS, "own"])
def test_the_loss_is_the_mean_over_observed_targets(head):
    output, target = torch.randn(5, 3, 2 * head.num_parameters), torch.randn(5, 3, 2)
    if head.support != "real":
        target = (4 * target.abs()).ceil()
    target[torch.rand(5, 3, 2) < 0.4] = NAN
    losses = [
        head(output[b, t].reshape(2, -1)[k].reshape(1, 1, -1), target[b, t, k].reshape(1, 1, 1))
        for b, t, k in itertools.product(range(5), range(3), range(2))
        if not target[b, t, k].isnan()
    ]
    assert 0 < len(losses) < 30
    torch.testing.assert_close(head(output, target), torch.stack(losses).mean())


@pytest.mark.parametrize("head", [*HEADS, ScaleHead()], ids=[*IDS, "own"])
def test_missing_targets_leave_finite_gradients_that_are_zero_there(head):
    output = torch.randn(1, 2, head.num_parameters, requires_grad=True)
    head(output, tensor(0.5, NAN)).backward()
    assert torch.isfinite(output.grad).all()
    assert (output.grad[:, 0] != 0).any()
    assert (output.grad[:, 1] == 0).all()


@pytest.mark.parametrize("head", [*HEADS, ScaleHead()], ids=[*IDS, "own"])
def test_without_any_observed_target_the_loss_is_zero_and_still_on_the_graph(head):
    output = torch.randn(1, 2, head.num_parameters, requires_grad=True)
    loss = head(output, tensor(NAN, NAN))
    assert loss.item() == 0
    loss.backward()
    assert (output.grad == 0).all()


def test_unpack_puts_the_target_outermost_and_maps_into_the_domain():
    output = torch.arange(12.0).reshape(1, 2, 6)
    parameters = QuantileHead((0.1, 0.5, 0.9)).unpack(output)
    assert parameters.tolist() == [[[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]]
    assert ScaleHead().unpack(torch.zeros(1, 1, 4)).tolist() == [[[[0, 1], [0, 1]]]]


def test_an_output_of_another_width_is_an_error():
    with pytest.raises(ValueError, match="width 7 for QuantileHead; expected a multiple of its 9"):
        QuantileHead().unpack(torch.zeros(1, 1, 7))


def test_quantiles_between_trained_levels_are_linear():
    head = QuantileHead((0.2, 0.4, 0.8))
    parameters = torch.tensor([1.0, 3.0, 11.0])
    result = head.quantile(parameters, torch.tensor([0.2, 0.25, 0.4, 0.5, 0.8]))
    torch.testing.assert_close(result, torch.tensor([1.0, 1.5, 3.0, 5.0, 11.0]))


def test_tails_worked_by_hand():
    head = QuantileHead((0.1, 0.2, 0.6, 0.9))
    parameters = torch.tensor([1.0, 3.0, 5.0, 9.0], dtype=torch.float64)
    result = head.quantile(parameters, torch.tensor([0.05, 0.025, 0.95], dtype=torch.float64))
    # below: beta = 2 / log 2, and halving alpha once costs beta log 2 = 2
    # above: beta = 4 / log(.4 / .1) = 4 / log 4, and halving 1 - alpha costs beta log 2 = 2
    expected = torch.tensor([1.0 - 2.0, 1.0 - 4.0, 9.0 + 2.0], dtype=torch.float64)
    torch.testing.assert_close(result, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=9, max_size=9),
    st.lists(st.floats(1e-6, 1 - 1e-6), min_size=2, max_size=30),
)
def test_quantiles_never_cross(parameters, alphas):
    head = QuantileHead()
    alphas = torch.tensor(sorted(alphas))
    result = head.quantile(torch.tensor(parameters), alphas)
    assert torch.isfinite(result).all()
    assert (result.diff() >= 0).all()
    order = torch.randperm(len(alphas))
    assert torch.equal(head.quantile(torch.tensor(parameters), alphas[order]), result[order])


def test_trained_levels_give_the_sorted_outputs_exactly():
    head = QuantileHead()
    parameters = torch.randn(5, 3, 2, 9)
    result = head.quantile(parameters, torch.tensor(DEFAULT_QUANTILES))
    torch.testing.assert_close(result, parameters.sort(-1).values, atol=0, rtol=0)


def test_the_point_is_the_median_trained_or_not():
    parameters = torch.randn(5, 3, 2, 9)
    torch.testing.assert_close(
        QuantileHead().point(parameters), parameters.median(-1).values, atol=0, rtol=0
    )
    pair = torch.tensor([[[[7.0, 1.0]]]])
    torch.testing.assert_close(QuantileHead((0.1, 0.9)).point(pair), torch.tensor([[[4.0]]]))
    assert QuantileHead().point_statistic == "median"


def test_quantile_at_reads_each_distribution_at_its_own_level():
    head = QuantileHead((0.1, 0.3, 0.5))
    parameters, alpha = torch.randn(7, 3, 2, 3), torch.rand(7, 3, 2)
    result = head.quantile_at(parameters, alpha)
    for place in itertools.product(range(7), range(3), range(2)):
        one = head.quantile(parameters[place], alpha[place].reshape(1))
        torch.testing.assert_close(result[place], one[0])


def test_quantile_at_draws_whole_sample_paths():
    head = QuantileHead()
    parameters, uniform = torch.randn(5, 3, 2, 9), torch.rand(11, 5, 1, 1)
    paths = head.quantile_at(parameters, uniform)
    assert paths.shape == (11, 5, 3, 2)
    one = head.quantile(parameters[4], uniform[7, 4].flatten())[..., 0]
    torch.testing.assert_close(paths[7, 4], one)


def test_draws_of_zero_and_one_stay_finite():
    result = QuantileHead().quantile_at(torch.randn(2, 9), torch.tensor([0.0, 1.0]))
    assert torch.isfinite(result).all()


def test_a_sample_has_the_distribution_it_is_drawn_from():
    head = QuantileHead((0.25, 0.5, 0.75))
    # of an exponential distribution the upper tail is exact: Q(alpha) = -log(1 - alpha)
    parameters = -torch.log(1 - torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    alphas = torch.tensor([0.9, 0.99, 0.999], dtype=torch.float64)
    torch.testing.assert_close(head.quantile(parameters, alphas), -torch.log(1 - alphas))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, NAN])
def test_levels_outside_the_open_interval_are_an_error(alpha):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        QuantileHead().quantile(torch.zeros(9), torch.tensor([0.5, alpha]))


def test_half_precision_parameters_are_read_in_single_precision():
    result = QuantileHead().quantile(torch.randn(9).bfloat16(), torch.tensor([0.1, 0.5]))
    assert result.dtype == torch.float32
    exact = QuantileHead().quantile(torch.randn(9).double(), torch.tensor([0.1, 0.5]))
    assert exact.dtype == torch.float64


@pytest.mark.parametrize(
    "quantiles", [(), (0.5,), (0.5, 0.5), (0.9, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, NAN)]
)
def test_impossible_quantiles_are_an_error(quantiles):
    with pytest.raises(ValueError, match="two or more levels, distinct and ascending"):
        QuantileHead(quantiles)


def test_make_head_knows_every_loss_and_takes_heads():
    assert set(LOSSES) == {"quantile", "mse", "mae", "huber", *FAMILIES}
    assert isinstance(make_head("quantile"), QuantileHead)
    assert make_head("quantile").quantiles == DEFAULT_QUANTILES
    assert make_head("quantile", [0.3, 0.7]).quantiles == (0.3, 0.7)
    assert [make_head(name).loss for name in ("mse", "mae", "huber")] == ["mse", "mae", "huber"]
    own = ScaleHead()
    assert make_head(own) is own


@pytest.mark.parametrize("loss", ["pinball", None, 3])
def test_an_unknown_loss_is_an_error_listing_all(loss):
    with pytest.raises(ValueError, match=r"\['quantile', 'mse', .* 'poisson'\], or a Head"):
        make_head(loss)


#: Parameters, target and unit by hand, and scipy's (log-)density of the same.
WORKED = {
    "normal": ((0.3, 0.7), 1.1, 1.0, lambda: stats.norm(0.3, 0.7).logpdf(1.1)),
    "student_t": ((3.1, 0.3, 0.7), 1.1, 1.0, lambda: stats.t(3.1, 0.3, 0.7).logpdf(1.1)),
    "laplace": ((0.3, 0.7), 1.1, 1.0, lambda: stats.laplace(0.3, 0.7).logpdf(1.1)),
    "log_normal": ((0.3, 0.7), 1.1, 1.0, lambda: stats.lognorm(0.7, scale=np.exp(0.3)).logpdf(1.1)),
    "gamma": ((2.6, 1.3), 1.1, 1.0, lambda: stats.gamma(1.3, scale=2.0).logpdf(1.1)),
    # mean 5 * 0.6 = 3, variance 3 + 0.5 * 9 = 7.5: n = 2, p = 3 / 7.5
    "negative_binomial": ((0.6, 0.5), 0.8, 5.0, lambda: stats.nbinom(2, 0.4).logpmf(4)),
    "poisson": ((0.6,), 0.8, 5.0, lambda: stats.poisson(3).logpmf(4)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_distribution_losses_are_scipys_negative_log_density(name):
    parameters, target, unit, log_density = WORKED[name]
    head = DistributionHead(name)
    units = (torch.tensor([[[unit]]]),) if head.support == "count" else ()
    loss = head.losses(torch.tensor([[[parameters]]]), torch.tensor([[[target]]]), *units)
    assert loss.item() == pytest.approx(-log_density(), rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_distribution_parameters_stay_in_their_domain_and_finite(name):
    head = DistributionHead(name)
    raw = torch.tensor([-1e4, 0.0, 1e4])[:, None].expand(-1, head.num_parameters)
    mapped = head.domain_map(raw)
    assert mapped.isfinite().all()
    for column, parameter in enumerate(head.family.parameters):
        if parameter not in ("loc", "mu"):
            assert (mapped[:, column] > (2 if parameter == "df" else 0)).all()


def test_distribution_point_is_the_mean():
    parameters = torch.tensor([0.3, 0.8])
    expected = stats.lognorm(0.8, scale=np.exp(0.3)).mean()
    assert DistributionHead("log_normal").point(parameters).item() == pytest.approx(expected)
    assert DistributionHead("gamma").point(parameters).item() == pytest.approx(0.3)


def test_distribution_heads_pickle():
    head = pickle.loads(pickle.dumps(DistributionHead("gamma")))
    assert head.family is FAMILIES["gamma"]


def test_an_unknown_distribution_is_an_error():
    with pytest.raises(ValueError, match="'cauchy'; expected one of"):
        DistributionHead("cauchy")


def test_an_unknown_point_loss_is_an_error():
    with pytest.raises(ValueError, match="Got loss='quantile'"):
        PointHead("quantile")


@pytest.mark.parametrize("loss", ["mse", ScaleHead()])
def test_quantiles_for_a_loss_without_them_are_an_error(loss):
    with pytest.raises(ValueError, match="Pass quantiles=None, or loss='quantile'"):
        make_head(loss, (0.1, 0.9))


def test_a_quantile_head_learns_the_quantiles_of_what_it_sees():
    head, output = QuantileHead((0.25, 0.75)), torch.zeros(1, 1, 2, requires_grad=True)
    target = -torch.log(1 - (torch.arange(200) + 0.5) / 200).reshape(200, 1, 1)
    optimizer = torch.optim.SGD([output], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        head(output.expand(200, 1, 2), target).backward()
        optimizer.step()
    expected = [math.log(4 / 3), math.log(4)]
    assert output.flatten().tolist() == pytest.approx(expected, abs=0.03)


def test_a_head_has_nothing_in_its_state_dict_and_moves_with_its_dtype():
    head = QuantileHead()
    assert head.state_dict() == {}
    assert head.double()(torch.randn(1, 1, 9).double(), torch.randn(1, 1, 1).double()).isfinite()


class WidthHead(ScaleHead):
    """`ScaleHead` with the quantiles of its Laplace distribution."""

    def quantile_at(self, parameters, alpha):
        location, scale = parameters.unbind(-1)
        return location - scale * (alpha - 0.5).sign() * torch.log1p(-2 * (alpha - 0.5).abs())


class NarrowHead(WidthHead):
    """A head that inherits its quantiles."""


def test_a_head_says_itself_whether_it_has_quantiles_and_a_family():
    with_quantiles = {type(head) for head in HEADS if head.has_quantiles}
    assert with_quantiles == {QuantileHead}
    assert not ScaleHead().has_quantiles
    assert WidthHead().has_quantiles
    assert NarrowHead().has_quantiles
    borrowed = ScaleHead()
    borrowed.quantile_at = WidthHead().quantile_at
    assert borrowed.has_quantiles
    families = {name: head.distribution for name, head in zip(IDS, HEADS, strict=True)}
    assert families == {name: name if name in FAMILIES else None for name in IDS}
    assert ScaleHead().distribution is None


@pytest.mark.parametrize("head", [PointHead("mae"), DistributionHead("gamma"), ScaleHead()])
def test_quantiles_of_a_head_without_any_are_an_error_that_says_what_to_do(head):
    with pytest.raises(NotImplementedError, match=f"{type(head).__name__}.*define quantile_at"):
        head.quantile_at(torch.ones(2, 2), torch.tensor(0.3))


@pytest.mark.parametrize(
    "loss",
    [
        torch.nn.SmoothL1Loss(beta=0.5),
        functools.partial(torch.nn.functional.smooth_l1_loss, beta=0.5),
        lambda point, target: torch.nn.functional.smooth_l1_loss(
            point, target, reduction="none", beta=0.5
        ),
    ],
    ids=["module", "function of torch", "own function"],
)
def test_a_loss_of_ones_own_is_the_mean_over_what_was_observed(loss):
    output, target = torch.tensor([[[3.0], [0.25]]]), torch.tensor([[[1.0], [0.0]]])
    head = PointHead(loss)
    assert head.point_statistic == "median"
    expected = ((2.0 - 0.25) + 0.25**2 / 2 / 0.5) / 2
    assert head(output, target).item() == pytest.approx(expected)
    missing = torch.tensor([[[1.0], [float("nan")]]])
    assert head(output, missing).item() == pytest.approx(2.0 - 0.25)
    assert getattr(loss, "reduction", "mean") == "mean"  # the caller's own stays as it is


@pytest.mark.parametrize("loss", [torch.nn.MSELoss(), torch.nn.functional.mse_loss])
def test_the_best_forecast_of_torchs_squared_error_is_the_mean(loss):
    assert PointHead(loss).point_statistic == "mean"


def test_a_loss_that_returns_its_mean_is_refused():
    head = PointHead(lambda point, target: (point - target).abs().mean())
    with pytest.raises(ValueError, match=r"Got losses of shape \(\) from .* one loss for each el"):
        head(torch.ones(2, 3, 1), torch.ones(2, 3, 1))
