"""Probabilistic forecasts: quantiles, distributions, variances and samples tell one story."""

import builtins
import functools
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sktime.forecasting.model_evaluation import evaluate
from sktime.performance_metrics.forecasting.probabilistic import (
    CRPS,
    EmpiricalCoverage,
    LogLoss,
    PinballLoss,
)
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.calibration import Calibration
from sktime_tlstm.model import Forecast, Model
from sktime_tlstm.nn import FAMILIES, DistributionHead, PointHead, QuantileHead, make_head
from tests import setups

ROWS = 60
HORIZON = 3
FAMILY = pytest.mark.parametrize("loss", FAMILIES)
COUNTS = [name for name, family in FAMILIES.items() if family.support == "count"]
LEVELS = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]
#: Steps in the sample, within the horizon, and beyond it.
STEPS = {"in-sample": [-7, -1, 0], "within": [1, 2, 3], "beyond": [4, 8]}


tiny = functools.partial(setups.tiny, num_samples=16, context_length=7)


def scaler_of(loss):
    """Return a scaler under which distributions stay in their family."""
    return "robust" if loss in FAMILIES and FAMILIES[loss].support == "real" else "auto"


def counts(rows=ROWS, seed=0):
    """Whole numbers of at least 1: within every family's support."""
    index = pd.date_range("2024-01-01", periods=rows, freq="D")
    values = 1.0 + np.random.default_rng(seed).poisson(7, rows)
    return pd.Series(values, index, name="y")


def panel():
    """Two targets in three series of unequal lengths."""
    frames = {
        key: pd.DataFrame({"a": counts(rows, seed), "b": 10 * counts(rows, seed + 7)})
        for seed, (key, rows) in enumerate({"x": 60, "y": 41, "z": 19}.items())
    }
    return pd.concat(frames, names=["key", "time"])


def fitted(loss, y=None, **parameters):
    """Fit a network alone, whose distributions are those of its head."""
    y = counts() if y is None else y
    parameters = {"scaler": scaler_of(loss), "calibration": "none", **parameters}
    return tiny(loss=loss, **parameters).fit(y, fh=range(1, HORIZON + 1))


def quantiles_of(distribution, levels):
    """Return a distribution's quantiles (row, target * level), as predict_quantiles has them."""
    parts = [distribution.quantile([level]).to_numpy() for level in levels]
    return np.stack(parts, axis=-1).reshape(len(distribution), -1)


# Crossing.


HEADS = {
    "quantile": lambda: QuantileHead(),
    "two quantiles": lambda: QuantileHead((0.3, 0.31)),
    "mse": lambda: PointHead("mse"),
    **{name: (lambda name=name: DistributionHead(name)) for name in FAMILIES},
}


#: Of the parts of a simple forecast: itself, below, above.
SIDES = np.reshape([0, -1, 1], (3, 1, 1, 1))


class Net:
    """What a Model needs of a net to read forecasts."""

    def __init__(self, head):
        self.criterion_ = head


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(HEADS)),
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([0.01, 1.0, 30.0]),
    calibrated=st.booleans(),
    members=st.integers(1, 2),
    alphas=st.lists(
        st.one_of(
            st.floats(0, 1, exclude_min=True, exclude_max=True),
            st.sampled_from([1e-300, 1e-9, 0.001, 0.5, 0.5 + 1e-16, 0.999, 1 - 1e-9, 1 - 2**-53]),
        ),
        min_size=2,
        max_size=30,
    ),
)
def test_quantiles_never_cross_whatever_the_head_the_numbers_and_the_levels(
    name, seed, size, calibrated, members, alphas
):
    head, rng = HEADS[name](), np.random.default_rng(seed)
    raw = size * rng.standard_t(2, (members, 5, HORIZON, 2 * head.num_parameters))
    parameters = torch.stack([head.unpack(torch.from_numpy(one).float()) for one in raw])
    loc, scale = (
        torch.from_numpy(rng.normal(size=(5, 2))),
        torch.from_numpy(rng.gamma(1, 1, (5, 2))),
    )
    if head.support != "real":
        loc = torch.zeros(5, 2)
    # the simple forecast, and a width below and above it
    simple = rng.normal(size=(1, 5, HORIZON, 2)) + rng.gamma(1, 1, (3, 5, HORIZON, 2)) * SIDES
    simple = torch.from_numpy(simple)
    forecast = Forecast(parameters, loc, scale, 10 * scale, simple)
    calibration = None
    if calibrated or name == "mse":
        number = int(rng.integers(0, 40))
        scores = rng.standard_t(2, (number, HORIZON, 2)).astype(np.float32)
        scores[rng.random(scores.shape) < 0.1] = np.nan
        shares = rng.random(number).astype(np.float32)
        steps = SimpleNamespace(deviation=torch.ones(scores.shape[:0:-1], dtype=torch.float64))
        calibration = Calibration(steps, rng.random(), rng.random(), scores, shares, 40)
    spec = SimpleNamespace(arcsinh=False)
    model = Model([Net(head)] * members, None, spec, calibration, 2, 0, False)
    found = model.quantile(forecast, torch.tensor(sorted(alphas), dtype=torch.float64)).numpy()
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=-1) >= 0).all()


@pytest.mark.parametrize("calibration", ["none", "adaptive"])
@pytest.mark.parametrize("loss", ["quantile", "mse", *FAMILIES])
def test_forecasts_never_cross_at_any_step(loss, calibration):
    levels = [0.0001, 0.01, 0.04, 0.05, 0.2, 0.5, 0.51, 0.9, 0.99, 0.9999]
    forecaster = fitted(loss, panel(), calibration=calibration)
    fh = [step for steps in STEPS.values() for step in steps]
    found = forecaster.predict_quantiles(fh=fh, alpha=levels).to_numpy().reshape(-1, 2, len(levels))
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=-1) >= 0).all()
    if loss in FAMILIES and FAMILIES[loss].support != "real":
        assert (found >= 0).all()
    if loss in COUNTS:
        np.testing.assert_array_equal(found, found.round())


# One story.


@pytest.mark.parametrize("where", STEPS)
@pytest.mark.parametrize("y", [counts(), panel()], ids=["series", "panel of two targets"])
@pytest.mark.parametrize("loss", ["quantile", "mse", *FAMILIES])
def test_distributions_have_the_quantiles_the_variance_and_the_mean(loss, y, where):
    forecaster = fitted(loss, y)
    fh = STEPS[where]
    found = forecaster.predict_proba(fh=fh)
    expected = forecaster.predict_quantiles(fh=fh, alpha=LEVELS)
    assert found.index.equals(expected.index)
    assert list(found.columns) == list(expected.columns.get_level_values(0).unique())
    parametric = loss in FAMILIES and where != "beyond"
    assert type(found).__name__ == (
        {
            "normal": "Normal",
            "student_t": "TDistribution",
            "laplace": "Laplace",
            "log_normal": "LogNormal",
            "gamma": "Gamma",
            "negative_binomial": "NegativeBinomial",
            "poisson": "Poisson",
        }[loss]
        if parametric
        else "Empirical"
    )
    quantiles = quantiles_of(found, LEVELS)
    if parametric:
        np.testing.assert_allclose(quantiles, expected, rtol=1e-5, atol=1e-6)
    else:  # an empirical distribution of 200 levels: quantiles half a level apart
        near = forecaster.predict_quantiles(
            fh=fh, alpha=[level + half for level in LEVELS for half in (-0.0051, 0.0051)]
        ).to_numpy()
        assert (quantiles >= near[:, 0::2] - 1e-6).all()
        assert (quantiles <= near[:, 1::2] + 1e-6).all()
    np.testing.assert_allclose(found.var(), forecaster.predict_var(fh=fh), rtol=1e-5)
    if parametric:
        np.testing.assert_allclose(
            found.mean(),
            forecaster.predict(fh=fh).to_frame() if y.ndim == 1 else forecaster.predict(fh=fh),
            rtol=1e-5,
        )


@pytest.mark.parametrize("calibration", ["none", "adaptive"])
@pytest.mark.parametrize("where", STEPS)
@pytest.mark.parametrize("loss", ["quantile", "mse", "student_t", "gamma", "poisson"])
def test_samples_have_the_quantiles_and_the_variance(loss, where, calibration):
    y = counts() if where == "beyond" else panel()
    forecaster = fitted(loss, y, num_samples=2000, calibration=calibration)
    fh = STEPS[where]
    samples = forecaster.predict_samples(fh=fh)
    levels = [0.1, 0.25, 0.5, 0.75, 0.9]
    expected = forecaster.predict_quantiles(fh=fh, alpha=levels)
    paths = samples.to_numpy().reshape(2000, *expected.shape[:1], -1)
    found = np.quantile(paths, levels, axis=0, method="inverted_cdf")
    found = np.moveaxis(found, 0, -1).reshape(expected.shape)
    deviation = np.sqrt(forecaster.predict_var(fh=fh)).to_numpy().repeat(len(levels), axis=1)
    # Stratified draws: closer than draws of chance; with a calibration, within a rank of the errors
    # these are. Counts jump by one.
    room = 0.02 if forecaster._fitted.model.calibration is None else 0.05
    near = (np.abs(found - expected) <= room * deviation + (loss == "poisson")).to_numpy()
    assert near.all()
    if loss not in ("student_t", "quantile"):  # whose samples' variance is all in the tails
        np.testing.assert_allclose(
            paths.std(axis=0), np.sqrt(forecaster.predict_var(fh=fh)), rtol=0.03
        )


@pytest.mark.parametrize("loss", ["normal", "mse"])
@pytest.mark.parametrize("fh", [[1, 2, 3, 8], [-1, 0, 2]], ids=["later", "around the end"])
def test_covariances_have_the_variances_and_the_correlations_of_paths(loss, fh):
    forecaster = fitted(loss, num_samples=500)
    found = forecaster.predict_var(fh=fh, cov=True)
    times = forecaster.predict(fh=fh).index
    assert found.index.equals(times)
    assert found.columns.equals(times)
    np.testing.assert_allclose(np.diag(found), forecaster.predict_var(fh=fh).iloc[:, 0])
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(found).min() > -1e-9
    paths = forecaster.predict_samples(fh=fh).iloc[:, 0].unstack("sample")
    size = np.sqrt(np.diag(found))
    later = np.array(fh) > 0
    correlation = (found / np.outer(size, size)).to_numpy()
    np.testing.assert_allclose(correlation[later][:, later], np.corrcoef(paths[later]), atol=1e-9)
    assert (correlation[~later] == np.eye(len(fh))[~later]).all()


def test_covariances_of_a_panel_stand_in_the_rows_of_each_series():
    forecaster = fitted("quantile", panel(), num_samples=30)
    fh = [1, 2]
    found, times = forecaster.predict_var(fh=fh, cov=True), forecaster.predict(fh=fh).index
    assert found.index.equals(times)
    assert found.columns.get_level_values(0).unique().tolist() == ["a", "b"]
    variances = forecaster.predict_var(fh=fh)
    assert found.columns.get_level_values(1).nunique() == 6  # the series end at different times
    for series, time in times:
        row = found.loc[(series, time)]
        own = times[times.get_level_values(0) == series].get_level_values(-1)
        for target in "ab":
            assert row[target].dropna().index.tolist() == own.tolist()
            assert row[target][time] == pytest.approx(variances.loc[(series, time), target])


@pytest.mark.parametrize(
    "parameters",
    [{"calibration": "conformal"}, {"num_members": 2}, {"scaler": "robust_arcsinh"}],
    ids=["calibrated", "an ensemble", "arcsinh"],
)
def test_what_is_no_distribution_of_the_family_is_empirical_and_agrees(parameters):
    forecaster = fitted("normal", **parameters)
    found = forecaster.predict_proba(fh=[0, 1, 3])
    assert type(found).__name__ == "Empirical"
    expected = forecaster.predict_quantiles(fh=[0, 1, 3], alpha=[0.2, 0.8])
    spread = np.sqrt(forecaster.predict_var(fh=[0, 1, 3])).to_numpy()
    assert (np.abs(quantiles_of(found, [0.2, 0.8]) - expected) < 0.05 * spread).all(axis=None)
    np.testing.assert_allclose(found.var(), forecaster.predict_var(fh=[0, 1, 3]), rtol=1e-5)


@pytest.mark.parametrize("loss", COUNTS)
def test_counts_are_forecast_in_original_units_as_whole_numbers(loss):
    forecaster = fitted(loss, 100 * counts())
    fh = [0, 1, 8]
    quantiles = forecaster.predict_quantiles(fh=fh, alpha=[0.01, 0.5, 0.99]).to_numpy()
    samples = forecaster.predict_samples(fh=fh).to_numpy()
    for values in (quantiles, samples):
        np.testing.assert_array_equal(values, values.round())
        assert values.min() >= 0 and values.max() > 100
    assert not np.array_equal(forecaster.predict(fh=fh), forecaster.predict(fh=fh).round())


def test_a_count_at_the_edge_of_an_interval_is_inside():
    """Scaling back and forth would turn a quantile of 3 into 3.0000001, above the 3 observed."""
    y = counts(ROWS + HORIZON)
    forecaster = fitted("poisson", y[:ROWS])
    levels = [level / 100 for level in range(1, 100)]
    found = forecaster.predict_quantiles(alpha=levels).to_numpy()
    exact = quantiles_of(forecaster.predict_proba(), levels)
    np.testing.assert_array_equal(found, exact)


# Support.


OUTSIDE = [
    ("log_normal", 0.0, "positive numbers"),
    ("gamma", -1.5, "positive numbers"),
    ("negative_binomial", -1.0, "whole numbers of at least 0"),
    ("negative_binomial", 2.5, "whole numbers of at least 0"),
    ("poisson", 0.5, "whole numbers of at least 0"),
]


@pytest.mark.parametrize(("loss", "value", "words"), OUTSIDE)
def test_y_outside_the_support_is_an_error_before_training(loss, value, words, monkeypatch):
    monkeypatch.setattr(
        "sktime_tlstm.fitting._train", lambda *args, **kwargs: pytest.fail("it trained")
    )
    y = counts()
    y.iloc[17] = value
    message = rf"Got the value {value} in column 'y' at 2024-01-18.*, expected {words}"
    with pytest.raises(ValueError, match=message):
        fitted(loss, y)


@pytest.mark.parametrize("update_params", [False, True])
@pytest.mark.parametrize(("loss", "value", "words"), OUTSIDE)
def test_y_outside_the_support_is_an_error_in_update(loss, value, words, update_params):
    y = counts()
    y.iloc[-2] = value
    forecaster = fitted(loss, y[:-HORIZON])
    before = forecaster.predict_quantiles(alpha=LEVELS)
    with pytest.raises(ValueError, match=rf"Got the value {value} .*, expected {words}"):
        forecaster.update(y[-HORIZON:], update_params=update_params)
    pd.testing.assert_frame_equal(forecaster.predict_quantiles(alpha=LEVELS), before)


@FAMILY
def test_missing_values_are_in_every_support(loss):
    y = counts()
    y.iloc[[3, 17, 59]] = np.nan
    assert np.isfinite(fitted(loss, y).predict_interval()).all(axis=None)


@pytest.mark.parametrize("scaler", ["standard", "robust", "minmax", "robust_arcsinh"])
@pytest.mark.parametrize("loss", ["log_normal", "gamma", "negative_binomial", "poisson"])
def test_a_scaler_that_shifts_does_not_go_with_positive_targets(loss, scaler, monkeypatch):
    monkeypatch.setattr(
        "sktime_tlstm.fitting._train", lambda *args, **kwargs: pytest.fail("it trained")
    )
    with pytest.raises(ValueError, match=rf"Got scaler='{scaler}' with loss='{loss}'.*'mean'"):
        fitted(loss, scaler=scaler)


@pytest.mark.parametrize("window_norm", ["meanstd", "mean", None])
@pytest.mark.parametrize("loss", ["log_normal", "gamma", "negative_binomial", "poisson"])
def test_windows_of_positive_targets_are_never_shifted(loss, window_norm):
    forecaster = fitted(loss, window_norm=window_norm)
    model, history = forecaster._fitted.model, forecaster._fitted.history
    forecast = model.ahead(history.store, np.zeros(1, np.int64), np.array([ROWS]))
    assert forecast.loc.item() == 0
    assert (history.loc == 0).all()
    assert (forecaster.predict() > 0).all()


# Sample paths.


def test_samples_are_indexed_by_sample_series_and_time():
    y = panel()
    found = fitted("quantile", y).predict_samples(fh=[1, 5], num_samples=7)
    forecast = fitted("quantile", y).predict(fh=[1, 5])
    assert found.index.names == ["sample", "key", "time"]
    assert list(found.columns) == ["a", "b"]
    for sample in range(7):
        assert found.loc[sample].index.equals(forecast.index)
    one = fitted("quantile").predict_samples(fh=[0, 2], num_samples=3)
    assert one.index.get_level_values(0).tolist() == [0, 0, 1, 1, 2, 2]
    assert one.index[:2].get_level_values(1).equals(fitted("quantile").predict(fh=[0, 2]).index)
    assert list(one.columns) == ["y"]


def test_samples_take_the_covariates_of_the_future():
    y = counts()
    X = pd.DataFrame({"x": np.arange(70.0)}, pd.date_range("2024-01-01", periods=70, freq="D"))
    forecaster = tiny().fit(y, X=X[:60], fh=[1, 2, 3])
    found = forecaster.predict_samples(fh=range(1, 10), X=X[60:])
    with pytest.warns(UserWarning, match="the column 'x' from -68 to -60"):
        other = forecaster.predict_samples(fh=range(1, 10), X=-X[60:])
    assert not found.equals(other)
    with pytest.raises(ValueError, match="Got X=None"):
        forecaster.predict_samples(fh=[1])


def test_samples_default_to_the_parameter_and_to_the_fh_of_fit():
    forecaster = fitted("quantile")
    assert len(forecaster.predict_samples()) == 16 * HORIZON
    assert len(forecaster.predict_samples(num_samples=5)) == 5 * HORIZON


@pytest.mark.parametrize(("number", "error"), [(1, ValueError), (0, ValueError), (2.5, TypeError)])
def test_a_wrong_number_of_samples_is_an_error(number, error):
    forecaster = fitted("quantile")
    with pytest.raises(error, match=f"Got num_samples={number}, expected an integer of at least 2"):
        forecaster.predict_samples(num_samples=number)


def test_an_unfitted_forecaster_has_no_samples():
    with pytest.raises(Exception, match="not been fitted"):
        tiny().predict_samples(fh=[1])


@pytest.mark.usefixtures("global_random_state_stays")
def test_samples_repeat_under_the_same_random_state():
    fh = [-1, 0, 1, 3, 9]
    forecaster = fitted("quantile")
    first = forecaster.predict_samples(fh=fh)
    pd.testing.assert_frame_equal(forecaster.predict_samples(fh=fh), first)
    pd.testing.assert_frame_equal(fitted("quantile").predict_samples(fh=fh), first)
    assert not fitted("quantile", random_state=1).predict_samples(fh=fh).equals(first)


def test_a_failed_draw_leaves_the_forecaster_as_it_was():
    forecaster = fitted("quantile")
    expected = forecaster.predict_quantiles(alpha=LEVELS)
    with pytest.raises(ValueError, match="before the first"):
        forecaster.predict_samples(fh=[-ROWS])
    pd.testing.assert_frame_equal(forecaster.predict_quantiles(alpha=LEVELS), expected)
    assert forecaster.fh.to_pandas().tolist() == [1, 2, 3]


def test_a_path_keeps_its_level_within_a_block_and_changes_it_between_blocks():
    samples = fitted("quantile").predict_samples(fh=range(1, 10), num_samples=41)
    paths = samples["y"].unstack("sample").to_numpy()
    ranks = paths.argsort(axis=1).argsort(axis=1)
    np.testing.assert_array_equal(ranks[1:3], ranks[[0, 0]])
    assert not np.array_equal(ranks[3], ranks[0])
    assert abs(np.corrcoef(ranks[0], ranks[3])[0, 1]) < 0.95


@pytest.mark.parametrize("walks", [False, True])
def test_the_steps_of_a_calibrated_path_hang_together_as_those_of_the_data(walks):
    noise = pd.Series(np.random.default_rng(0).normal(size=400))
    y = noise.cumsum() if walks else noise
    forecaster = fitted("quantile", y, calibration="adaptive")
    paths = forecaster.predict_samples(num_samples=500)[0].unstack("sample").to_numpy()
    correlation = np.corrcoef(paths)
    assert (correlation.diagonal(1) > 0.5).all() == walks
    assert (np.abs(correlation.diagonal(1)) < 0.3).all() == (not walks)


# Without skpro.


def test_without_skpro_only_predict_proba_is_missing(monkeypatch):
    forecaster = fitted("normal")
    for name in [name for name in sys.modules if name.split(".")[0] == "skpro"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "skpro":
            raise ModuleNotFoundError(f"No module named {name!r}", name="skpro")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for calibrated in (forecaster, fitted("quantile", calibration="adaptive")):
        calibrated.update(counts(ROWS + 3)[ROWS:], update_params=False)
        fh = [0, 1, 8]
        for found in (
            calibrated.predict(fh=fh),
            calibrated.predict_interval(fh=fh),
            calibrated.predict_quantiles(fh=fh),
            calibrated.predict_var(fh=fh),
            calibrated.predict_samples(fh=fh),
        ):
            assert np.isfinite(found).all(axis=None)
        with pytest.raises(ImportError, match=r"Got no skpro.*pip install 'sktime-tlstm\[proba\]'"):
            calibrated.predict_proba(fh=fh)
        assert np.isfinite(calibrated.predict(fh=fh)).all()


# sktime's scores.


@pytest.mark.filterwarnings("ignore:.*does not have a numerically exact implementation:UserWarning")
@pytest.mark.parametrize("loss", ["quantile", "mse", *FAMILIES])
def test_sktimes_scores_take_our_forecasts(loss):
    y = counts(ROWS + HORIZON)
    forecaster = fitted(loss, y[:ROWS])
    truth = y[ROWS:]
    quantiles = forecaster.predict_quantiles(alpha=[0.05, 0.5, 0.95])
    error = truth.to_numpy()[:, None] - quantiles.to_numpy()
    level = np.array([0.05, 0.5, 0.95])
    by_hand = np.maximum(level * error, (level - 1) * error).mean()
    assert PinballLoss()(truth, quantiles) == pytest.approx(by_hand)
    interval = forecaster.predict_interval(coverage=0.9)
    inside = truth.between(interval.iloc[:, 0], interval.iloc[:, 1])
    assert EmpiricalCoverage()(truth, interval) == pytest.approx(inside.mean())
    distribution = forecaster.predict_proba()
    assert 0 < CRPS()(truth, distribution) < truth.abs().sum()
    score = LogLoss()(truth, distribution)
    if loss in FAMILIES and loss not in COUNTS:
        assert np.isfinite(score)
    else:  # sktime's LogLoss asks for a density, which counts and empirical distributions lack
        assert score == np.inf


@pytest.mark.parametrize("scoring", [CRPS(), PinballLoss(), EmpiricalCoverage(), LogLoss()])
def test_evaluate_takes_sktimes_probabilistic_scores(scoring):
    cv = ExpandingWindowSplitter(fh=[1, 2, 3], initial_window=50, step_length=5)
    alone = {"loss": "normal", "scaler": "robust", "calibration": "none"}
    found = evaluate(tiny(**alone), cv, counts(), scoring=scoring)
    assert np.isfinite(found[f"test_{type(scoring).__name__}"]).all()


def test_the_continuous_ranked_probability_score_is_that_of_the_family():
    y = counts(ROWS + HORIZON)
    forecaster = fitted("normal", y[:ROWS])
    mean, deviation = forecaster.predict(), np.sqrt(forecaster.predict_var()["y"])
    z = (y[ROWS:] - mean) / deviation
    expected = deviation * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
    found = CRPS()(y[ROWS:], forecaster.predict_proba())
    assert found == pytest.approx(expected.mean(), rel=1e-4)


# Known answers.


def process(loss, rows):
    """Return y that depends on a known x, x, and the true parameters in skpro's names."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, rows)
    loc, scale, alpha = 10 + 4 * x, np.exp(0.5 * x), 4 + 2 * x
    mean = np.exp(3 + 0.5 * x)
    truth, y = {
        "normal": ({"mu": loc, "sigma": scale}, rng.normal(loc, scale)),
        "student_t": (
            {"mu": loc, "sigma": scale, "df": 3 + 0 * x},
            loc + scale * rng.standard_t(3, rows),
        ),
        "laplace": ({"mu": loc, "scale": scale}, rng.laplace(loc, scale)),
        "log_normal": (
            {"mu": 1 + 0.5 * x, "sigma": 0.4 * scale},
            rng.lognormal(1 + 0.5 * x, 0.4 * scale),
        ),
        "gamma": ({"alpha": alpha, "beta": np.exp(-0.5 * x)}, rng.gamma(alpha, np.exp(0.5 * x))),
        "negative_binomial": (
            {"mu": mean, "alpha": alpha},
            rng.negative_binomial(alpha, alpha / (alpha + mean)),
        ),
        "poisson": ({"mu": mean}, rng.poisson(mean)),
    }[loss]
    return pd.Series(y.astype(float), name="y"), pd.DataFrame({"x": x}), truth


def trained(loss, y, X, rows):
    """Train so that only x tells the parameters: no scaling by window, no lags."""
    forecaster = TransformerLSTMForecaster(
        d_model=16,
        num_heads=2,
        num_transformer_blocks=0,
        context_length=1,
        target_lags=(),
        window_norm=None,
        scaler="standard" if make_head(loss).support == "real" else "mean",
        loss=loss,
        calibration="none",
        weight_decay=0.0,
        lr=5e-3,
        max_epochs=15,
        random_state=0,
    )
    forecaster.fit(y[:rows], X=X[:rows], fh=range(1, 9))
    return forecaster.update(y[rows:], X=X[rows:], update_params=False)


@pytest.mark.slow
@FAMILY
def test_heads_recover_the_parameters_of_a_known_process(loss):
    y, X, truth = process(loss, 8500)
    found = trained(loss, y, X, 8000).predict_proba(fh=range(-499, 1))
    for name, expected in truth.items():
        estimate = np.broadcast_to(getattr(found, name), (500, 1))[:, 0]
        error = np.abs(estimate - expected[8000:])
        assert error.mean() < 0.1 * np.abs(expected).mean(), name


@pytest.mark.slow
def test_the_quantile_head_recovers_the_quantiles_of_a_known_process():
    y, X, truth = process("normal", 8500)
    levels = [0.1, 0.25, 0.5, 0.75, 0.9]
    found = trained("quantile", y, X, 8000).predict_quantiles(fh=range(-499, 1), alpha=levels)
    loc, scale = truth["mu"][8000:, None], truth["sigma"][8000:, None]
    expected = loc + scale * stats.norm.ppf(levels)
    spread = (expected[:, -1] - expected[:, 0]).mean()
    assert (np.abs(found - expected).mean() < 0.05 * spread).all()


@pytest.mark.slow
def test_the_uncertainty_of_a_random_walk_grows_with_the_root_of_time():
    """Five horizons: paths that see themselves spread as the walk does."""
    y = pd.Series(np.random.default_rng(0).normal(size=4000).cumsum())
    forecaster = TransformerLSTMForecaster(d_model=32, num_samples=1000, random_state=0)
    forecaster.fit(y, fh=range(1, 6))
    interval = forecaster.predict_interval(fh=range(1, 26), coverage=0.8).to_numpy()
    growth = (interval[:, 1] - interval[:, 0]) / np.sqrt(np.arange(1, 26))
    assert (np.abs(growth / growth.mean() - 1) < 0.2).all()


def test_the_first_step_beyond_the_horizon_is_no_distribution_of_the_family():
    y = pd.Series(np.random.default_rng(0).normal(size=40), name="y")
    parameters = {"loss": "normal", "scaler": "standard", "calibration": "none"}
    forecaster = setups.tiny(**parameters).fit(y, fh=[1, 2])
    assert type(forecaster.predict_proba(fh=[1, 2])).__name__ == "Normal"
    assert type(forecaster.predict_proba(fh=[1, 3])).__name__ == "Empirical"
    assert (forecaster.predict_var(fh=[3]) > 0).all(axis=None)
