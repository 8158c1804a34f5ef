import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

from sktime_tlstm import families
from sktime_tlstm.nn import FAMILIES
from tests.setups import tiny

COUNTS = [name for name, family in FAMILIES.items() if family.support == "count"]
FAMILY = pytest.mark.parametrize("name", FAMILIES)
INDEX = pd.Index([11, 13, 17], name="time")
COLUMNS = pd.Index(["a", "b"])
RNG = np.random.default_rng(7)
ALPHAS = np.array([0.001, 0.05, 0.3, 0.5, 0.77, 0.95, 0.999])

#: Parameters of two distributions, in the order of their family.
PARAMETERS = {
    "normal": [(0.3, 0.7), (-2.0, 0.1)],
    "student_t": [(3.1, 0.3, 0.7), (17.0, -2.0, 0.1)],
    "laplace": [(0.3, 0.7), (-2.0, 0.1)],
    "log_normal": [(0.3, 0.7), (-2.0, 0.1)],
    "gamma": [(2.6, 1.3), (0.7, 5.3)],
    "negative_binomial": [(0.6, 0.5), (1.7, 2.3)],
    "poisson": [(0.6,), (1.7,)],
}


def cases(name):
    """Return parameters (row, target, parameter), location and scale (row, target)."""
    rng = np.random.default_rng(0)
    low, high = np.array(PARAMETERS[name])
    parameters = low + (high - low) * rng.random((3, 2, 1))
    scale = rng.uniform(5, 11, (3, 2))
    real = FAMILIES[name].support == "real"
    return parameters, rng.normal(0, 3, (3, 2)) if real else np.zeros((3, 2)), scale


def in_torch(name, parameters, unit):
    return FAMILIES[name].distribution(torch.tensor(parameters), torch.tensor(unit))


def skpro(name):
    parameters, loc, scale = cases(name)
    return families.Parametric(name, parameters, loc, scale).skpro(INDEX, COLUMNS)


def test_every_family_is_known_to_scipy_and_skpro():
    assert set(families.READINGS) == set(FAMILIES)


@FAMILY
def test_scipy_has_the_likelihood_that_torch_trains(name):
    parameters, _, unit = cases(name)
    ours = families.READINGS[name].scipy(parameters, unit)
    value = np.round(ours.ppf(0.7)) if name in COUNTS else ours.ppf(0.7)
    log_density = ours.logpmf(value) if name in COUNTS else ours.logpdf(value)
    theirs = in_torch(name, parameters, unit).log_prob(torch.tensor(value))
    np.testing.assert_allclose(log_density, theirs, rtol=1e-9)


@FAMILY
def test_means_agree_with_torch_and_scipy(name):
    parameters, _, unit = cases(name)
    mean = FAMILIES[name].mean(torch.tensor(parameters)).numpy()
    factor = unit if name in COUNTS else 1.0
    np.testing.assert_allclose(
        families.READINGS[name].scipy(parameters, unit).mean(), factor * mean
    )
    np.testing.assert_allclose(in_torch(name, parameters, unit).mean, factor * mean)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - set(COUNTS)))
def test_quantiles_have_their_share_below(name):
    parameters, _, _ = cases(name)
    found = families.quantile(name, parameters[..., None, :], ALPHAS, np.ones(()))
    assert found.shape == (3, 2, len(ALPHAS))
    assert (np.diff(found) > 0).all()
    density = families.READINGS[name].scipy(parameters[0, 0], np.ones(())).pdf
    middle = found[0, 0]
    for low, high, share in zip(middle, middle[1:], np.diff(ALPHAS), strict=False):
        assert integrate.quad(density, low, high)[0] == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("name", COUNTS)
def test_quantiles_of_counts_are_the_least_counts_with_their_share(name):
    parameters, _, unit = cases(name)
    scaled = families.quantile(name, parameters[..., None, :], ALPHAS, unit[..., None])
    count = scaled * unit[..., None]
    np.testing.assert_allclose(count, count.round(), atol=1e-9)
    for place in np.ndindex(3, 2):
        up_to = np.arange(1000.0)
        chance = in_torch(name, parameters[place], unit[place]).log_prob(torch.tensor(up_to)).exp()
        expected = np.searchsorted(np.cumsum(chance.numpy()), ALPHAS)
        np.testing.assert_array_equal(count[place].round(), expected)


@FAMILY
def test_the_variance_is_that_of_torch_in_units_of_y(name):
    parameters, loc, scale = cases(name)
    theirs = in_torch(name, parameters, scale).variance.numpy()
    factor = 1.0 if name in COUNTS else scale**2
    found = families.Parametric(name, parameters, loc, scale).variance()
    np.testing.assert_allclose(found, factor * theirs, rtol=1e-9)


@FAMILY
def test_skpro_distributions_agree_with_scipy_quantiles_and_with_the_variance(name):
    parameters, loc, scale = cases(name)
    found = skpro(name)
    assert found.index.equals(INDEX) and found.columns.equals(COLUMNS)
    unit = scale if name in COUNTS else np.ones((3, 2))
    scaled = families.quantile(name, parameters[..., None, :], ALPHAS, unit[..., None])
    expected = loc[..., None] + scale[..., None] * scaled
    quantiles = found.quantile(list(ALPHAS)).to_numpy().reshape(3, 2, len(ALPHAS))
    np.testing.assert_allclose(quantiles, expected, rtol=1e-6, atol=1e-9)
    variance = families.Parametric(name, parameters, loc, scale).variance()
    np.testing.assert_allclose(found.var(), variance, rtol=1e-6)
    mean = FAMILIES[name].mean(torch.tensor(parameters)).numpy()
    np.testing.assert_allclose(found.mean(), loc + scale * mean, rtol=1e-6)


@FAMILY
def test_skpro_distributions_have_the_likelihood_of_y(name):
    parameters, loc, scale = cases(name)
    ours = families.READINGS[name].scipy(parameters, scale)
    found = skpro(name)
    if name in COUNTS:
        count = ours.ppf(0.7)
        log_density = found.log_pmf(pd.DataFrame(count, INDEX, COLUMNS))
        expected = ours.logpmf(count)
    else:
        value = pd.DataFrame(loc + scale * ours.ppf(0.7), INDEX, COLUMNS)
        log_density = found.log_pdf(value)
        expected = ours.logpdf(ours.ppf(0.7)) - np.log(scale)  # the density of a scaled variable
    np.testing.assert_allclose(log_density, expected, rtol=1e-6)


def test_the_negative_binomial_is_overdispersed_as_documented():
    parameters = np.array([[[0.6, 0.5]]])
    # mean 5 * 0.6 = 3, variance 3 + 0.5 * 9
    variance = families.Parametric(
        "negative_binomial", parameters, np.zeros(1), np.array([5.0])
    ).variance()
    assert variance.item() == pytest.approx(7.5)


@pytest.mark.parametrize("names", [["sample", "time"], ["key", "sample"], ["sample"]])
def test_a_level_named_sample_keeps_its_name_and_the_draws_are_paths(names):
    levels = [["p", "q"], [3, 5, 7]][-len(names) :]
    index = pd.MultiIndex.from_product(levels, names=names)
    index = index if len(names) > 1 else pd.Index(levels[0], name="sample")
    values = RNG.normal(size=(len(index), 2, 4))
    frame = families.stacked(values, index, COLUMNS)
    assert frame.index.names == ["path", *names]
    np.testing.assert_array_equal(frame.xs(3, level="path"), values[..., 3])


def test_stacked_puts_the_sample_in_front_of_all_levels():
    index = pd.MultiIndex.from_product([["x", "y"], [5, 7, 11]], names=["key", "time"])
    values = np.arange(6 * 2 * 4.0).reshape(6, 2, 4)
    frame = families.stacked(values, index, COLUMNS)
    assert frame.index.names == ["sample", "key", "time"]
    assert list(frame.columns) == ["a", "b"]
    assert frame.loc[(3, "y", 7), "b"] == values[4, 1, 3]
    assert frame.index.get_level_values("sample").tolist() == np.repeat(range(4), 6).tolist()
    for sample in range(4):
        pd.testing.assert_frame_equal(
            frame.loc[sample], pd.DataFrame(values[..., sample], index, COLUMNS)
        )


def test_empirical_distributions_have_the_moments_of_their_values():
    values = np.random.default_rng(0).normal(size=(3, 2, 101))
    found = families.empirical(values, INDEX, COLUMNS)
    np.testing.assert_allclose(found.mean(), values.mean(axis=-1))
    np.testing.assert_allclose(found.var(), values.var(axis=-1))
    np.testing.assert_allclose(found.quantile([0.5]), np.median(values, axis=-1))


@pytest.mark.parametrize("mean", [3e8, 4e10, 7e13, 2e17])
def test_quantiles_of_large_counts_are_finite_and_right(mean):
    levels = np.array([1e-4, 0.05, 0.5, 0.95, 1 - 1e-4])
    found = families.quantile("poisson", np.array([[mean]]), levels, np.ones(()))
    deviations = (found - mean) / np.sqrt(mean)
    np.testing.assert_allclose(deviations, stats.norm.ppf(levels), atol=3e-3)


def test_quantiles_of_counts_do_not_jump_where_they_become_an_expansion():
    below, above = families.LARGE_MEAN * (1 - 1e-12), families.LARGE_MEAN * (1 + 1e-12)
    levels = np.array([0.01, 0.3, 0.7, 0.99])
    both = [
        families.quantile("poisson", np.array([[mean]]), levels, np.ones(()))
        for mean in (below, above)
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=0, atol=3)


@pytest.mark.parametrize("loss", sorted(COUNTS))
def test_forecasts_of_large_counts_are_finite(loss):
    rng = np.random.default_rng(0)
    y = pd.Series(np.round(3e11 * (1 + 0.2 * rng.random(60))))
    forecaster = tiny(loss=loss, num_samples=5)
    forecaster.fit(y, fh=[1, 2])
    assert np.isfinite(forecaster.predict_interval(coverage=0.9)).all(axis=None)
    assert np.isfinite(forecaster.predict_samples(fh=[1, 2, 5])).all(axis=None)
    assert forecaster.predict().between(1e11, 1e12).all()
    assert np.isfinite(forecaster.predict_proba().quantile([0.05, 0.5])).all(axis=None)


def test_the_expansion_of_large_counts_is_within_two_of_the_exact_quantiles():
    levels = np.array([1e-4, 0.05, 0.5, 0.95, 1 - 1e-4])
    exact = stats.poisson.ppf(levels, 5e9)
    found = families.quantile("poisson", np.array([[5e9]]), levels, np.ones(()))
    np.testing.assert_allclose(found, exact, rtol=0, atol=2)
