"""What a forecast means: the sentences of DESIGN 5 and 6, one test each."""

import copy
import functools

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback
from sktime.forecasting.base import ForecastingHorizon
from sktime.split import ExpandingWindowSplitter, SlidingWindowSplitter

from sktime_tlstm import ForecastWarning, SkorchForecaster
from sktime_tlstm.nn import QuantileHead
from tests import setups

ROWS = 61
FH = [1, 2, 3]


tiny = functools.partial(setups.tiny, num_samples=16, context_length=7)


def series(rows=ROWS, seed=0, start="2019-01"):
    time = np.arange(rows)
    noise = np.random.default_rng(seed).normal(size=rows)
    values = 50 + 10 * np.sin(time / 12 * 2 * np.pi) + noise
    return pd.Series(values, pd.period_range(start, periods=rows, freq="M"), name="y")


def covariates(rows=ROWS + 20, seed=5):
    rng = np.random.default_rng(seed)
    index = series(rows).index
    return pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows) ** 2}, index)


def panel(lengths, start="2019-01"):
    frames = {key: series(rows, seed, start) for seed, (key, rows) in enumerate(lengths.items())}
    return pd.concat(frames, names=["key", "month"]).to_frame("y")


def weights(forecaster):
    state = forecaster.net_.module_.state_dict()
    return {name: value.clone() for name, value in state.items()}


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def assert_equal(forecast, expected, rtol=1e-6):
    """Compare forecasts that may come from batches of different sizes."""
    pd.testing.assert_index_equal(forecast.index, expected.index)
    np.testing.assert_allclose(forecast, expected, rtol=rtol)


def assert_finite(forecaster, X=None, fh=(1, 3, 20)):
    fh = list(fh)
    assert np.isfinite(forecaster.predict(fh=fh, X=X)).all(axis=None)
    interval = forecaster.predict_interval(fh=fh, X=X, coverage=[0.5, 0.99])
    assert np.isfinite(interval).all(axis=None)
    lower, upper = interval.to_numpy()[:, 0::2], interval.to_numpy()[:, 1::2]
    assert (lower <= upper).all()


# The cutoff.


def test_steps_count_from_each_series_own_last_observation():
    y = panel({"long": ROWS, "short": ROWS - 7})
    forecaster = tiny().fit(y, fh=FH)
    forecast = forecaster.predict()
    ends = {"long": y.loc["long"].index[-1], "short": y.loc["short"].index[-1]}
    for key, end in ends.items():
        assert list(forecast.loc[key].index) == [end + 1, end + 2, end + 3]
    # a copy that has seen nothing of the longer series' last rows says the same of the shorter one
    same_length = copy.deepcopy(forecaster).update(y.loc[["long"]].iloc[:-7], update_params=False)
    assert_equal(same_length.predict().loc["short"], forecast.loc["short"])
    assert not same_length.predict().loc["long"].equals(forecast.loc["long"])


def test_an_absolute_horizon_is_a_time_not_a_step_in_ragged_panels():
    y = panel({"long": ROWS, "short": ROWS - 2})
    forecaster = tiny().fit(y, fh=range(1, 6))
    when = y.loc["long"].index[-1] + np.array([1, 2, 3])
    absolute = forecaster.predict(fh=ForecastingHorizon(pd.PeriodIndex(when), is_relative=False))
    relative = forecaster.predict(fh=range(1, 6))
    for key, first in {"long": 0, "short": 2}.items():
        assert list(absolute.loc[key].index) == list(when)
        assert_equal(absolute.loc[key], relative.loc[key].iloc[first : first + 3])


def test_a_context_never_sees_rows_after_the_cutoff():
    y = series()
    # adaptive intervals remember errors at rows that were seen, wherever the cutoff goes back to
    base = tiny(calibration="conformal").fit(y[:40], fh=FH)
    expected = copy.deepcopy(base).update(y[40:50], update_params=False)
    ahead = copy.deepcopy(base).update(y[40:], update_params=False)
    back = ahead.update(y[40:50], update_params=False)  # the rows after these stay stored
    assert back.cutoff == expected.cutoff
    assert_equal(back.predict(), expected.predict())
    assert_equal(
        back.predict_quantiles(fh=[1, 9], alpha=[0.1, 0.9]),
        expected.predict_quantiles(fh=[1, 9], alpha=[0.1, 0.9]),
    )


@pytest.mark.parametrize("with_X", [False, True])
@pytest.mark.parametrize("kind", ["expanding", "sliding"])
def test_moving_cutoff_forecasts_equal_those_of_refreshed_copies(kind, with_X):
    y, X = series(), covariates() if with_X else None
    forecaster = tiny().fit(y[:40], X=None if X is None else X[:40], fh=FH)
    new = y[40:]
    cv = {
        "expanding": ExpandingWindowSplitter(FH, initial_window=4, step_length=3),
        "sliding": SlidingWindowSplitter(FH, window_length=4, step_length=3),
    }[kind]
    moving = forecaster.update_predict(new, cv, X=X, update_params=False)
    assert moving.shape[1] >= 4
    for window, _ in cv.split(new):
        refreshed = copy.deepcopy(forecaster)
        seen = new.iloc[: window[-1] + 1]
        refreshed.update(seen, X=None if X is None else X.loc[seen.index], update_params=False)
        expected = refreshed.predict(X=X)
        column = moving[refreshed.cutoff[0]].dropna()
        np.testing.assert_allclose(column.to_numpy().ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize("with_X", [False, True])
def test_in_sample_steps_are_one_step_ahead_forecasts(with_X):
    y, X = series(), covariates() if with_X else None
    # Causal: the decoder would else see the covariates of the next rows, which the store knows.
    forecaster = tiny(causal_attention=True).fit(y, X=None if X is None else X[:ROWS], fh=FH)
    in_sample = forecaster.predict(fh=[-20, -3, 0])
    for time, value in in_sample.items():
        earlier = copy.deepcopy(forecaster)
        earlier.update(y[: time - 1], X=X, update_params=False)
        assert earlier.predict(fh=[1], X=X).iloc[0] == pytest.approx(value, rel=1e-5)


def test_in_sample_forecasts_take_x_from_the_store():
    y, X = series(), covariates()
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    assert_equal(forecaster.predict(fh=[-2, 0]), forecaster.predict(fh=[-2, 0], X=X))


# Horizons.


def test_the_horizon_is_that_of_fh():
    y = series()
    assert tiny().fit(y, fh=[2, 5]).prediction_length_ == 5
    assert tiny().fit(y, fh=[-3, 0]).prediction_length_ == 1
    assert tiny(prediction_length=4).fit(y).prediction_length_ == 4
    assert tiny(prediction_length=4).fit(y, fh=[6]).prediction_length_ == 6


def test_rolling_beyond_the_horizon_recurses_on_the_point_forecast():
    y = series()
    forecaster = tiny().fit(y, fh=FH)
    far = forecaster.predict(fh=range(1, 10))
    for _ in range(2):
        forecaster.update(forecaster.predict(fh=FH), update_params=False)
    np.testing.assert_allclose(forecaster.predict(fh=FH), far[6:], rtol=1e-5)


class Walk(torch.nn.Module):
    """Says of every step: the last value, and one more or less at the quantiles .1 and .9."""

    def __init__(self, num_past_features, num_future_features, output_dim):
        super().__init__()
        self.register_buffer("step", torch.tensor([-1.0, 0.0, 1.0]))
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, past, future, past_lengths=None):
        last = past[:, -1:, :1] + self.step + 0 * self.unused
        return last.expand(-1, future.shape[1], -1)


def test_beyond_the_horizon_uncertainty_grows_as_that_of_a_walk():
    settings = {"scaler": None, "window_norm": None, "quantiles": (0.1, 0.5, 0.9)}
    settings["calibration"] = "none"
    forecaster = SkorchForecaster(
        Walk, **settings, max_epochs=1, max_windows_per_epoch=8, num_samples=2000, random_state=0
    ).fit(series(), fh=[1, 2])
    interval = forecaster.predict_interval(fh=range(1, 19), coverage=0.8)
    width = (interval.iloc[:, 1] - interval.iloc[:, 0]).to_numpy()
    np.testing.assert_allclose(width[:2], 2.0, rtol=1e-6)
    # After k blocks a path is the sum of k independent draws.
    uniform = torch.rand(20_000, 9, generator=torch.Generator().manual_seed(0))
    draws = QuantileHead((0.1, 0.5, 0.9)).quantile_at(torch.tensor([-1.0, 0.0, 1.0]), uniform)
    low, high = np.quantile(draws.cumsum(dim=1), [0.1, 0.9], axis=0)
    np.testing.assert_allclose(width[::2], high - low, rtol=0.1)
    assert (np.diff(width[::2]) > 0).all()
    np.testing.assert_allclose(interval.mean(axis=1), series().iloc[-1], atol=0.4)


# Covariates.


def test_x_may_be_longer_than_y_at_both_ends():
    y, X = series()[10:], covariates()
    exact = tiny().fit(y, X=X.loc[y.index], fh=FH)
    longer = tiny().fit(y, X=X, fh=FH)
    future = X.loc[y.index[-1] + 1 :]
    expected = exact.predict(X=future[:3])
    assert longer.predict(X=future).equals(expected)
    assert exact.predict(X=X).equals(expected)
    wild = X.copy()
    wild.iloc[:10] = 1e6
    wild.iloc[-5:] = -1e6
    assert tiny().fit(y, X=wild, fh=FH).predict(X=future[:3]).equals(expected)


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")
def test_rows_of_x_between_the_requested_steps_may_be_absent():
    y, X = series(), covariates()
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    future = X[ROWS : ROWS + 3]
    missing = future.copy()
    missing.iloc[1] = np.nan
    some = forecaster.predict(fh=[1, 3], X=future.iloc[[0, 2]])
    assert some.equals(forecaster.predict(fh=[1, 3], X=missing))
    assert not some.equals(forecaster.predict(fh=[1, 3], X=future))


def test_a_requested_row_of_x_must_be_present():
    y, X = series(), covariates()
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    with pytest.raises(ValueError, match=str(X.index[ROWS + 1])):
        forecaster.predict(fh=FH, X=X.iloc[[ROWS, ROWS + 2]])


def test_steps_asked_together_do_not_change_each_other_under_covariates():
    y, X = series(), covariates()
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    full = forecaster.predict(fh=range(1, 10), X=X)
    for steps in ([1], [2, 3], [4], [5, 8]):
        some = forecaster.predict(fh=steps, X=X)
        np.testing.assert_allclose(some, full.iloc[[step - 1 for step in steps]], rtol=1e-9)


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")
def test_a_nan_first_met_at_predict_is_carried_forward():
    y, X = series(), covariates()
    assert X.notna().all(axis=None)
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    full, gappy = X[ROWS : ROWS + 3], X[ROWS : ROWS + 3].copy()
    gappy.iloc[:, 0] = np.nan
    forecast = forecaster.predict(X=gappy)
    assert np.isfinite(forecast).all()
    carried = full.assign(a=X["a"].iloc[ROWS - 1])
    assert not forecast.equals(forecaster.predict(X=full))
    assert forecast.equals(forecaster.predict(X=carried))  # training never told what a gap means
    assert_finite(forecaster, pd.DataFrame(np.nan, X.index, X.columns))


@pytest.mark.filterwarnings("ignore:Got X with the column:UserWarning")
def test_covariates_beyond_their_training_range_are_clipped():
    y, X = series(), covariates()
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    far, farther = (forecaster.predict(X=X[ROWS:].assign(a=value)) for value in (1e2, 1e9))
    assert far.equals(farther)
    assert not far.equals(forecaster.predict(X=X))


@pytest.mark.filterwarnings("ignore:Got X with the column:UserWarning")
def test_unseen_categories_share_one_code():
    y, X = series(), covariates()
    X["weather"] = np.where(np.arange(len(X)) % 3 == 0, "rain", "sun")
    forecaster = tiny().fit(y, X=X[:ROWS], fh=FH)
    future = X[ROWS : ROWS + 3]
    with pytest.warns(UserWarning, match="'weather', no value of which is known"):
        snow, hail = (forecaster.predict(X=future.assign(weather=w)) for w in ("snow", "hail"))
    rain = forecaster.predict(X=future.assign(weather="rain"))
    none = pd.Series([None] * 3, dtype=object)
    with pytest.warns(UserWarning, match="X without any value in the columns .'weather'"):
        missing = forecaster.predict(X=future.assign(weather=none))
    assert np.isfinite(snow).all()
    assert snow.equals(hail)
    assert snow.equals(missing)
    assert not snow.equals(rain)
    more = copy.deepcopy(forecaster)
    with pytest.warns(UserWarning, match="'weather'"):
        more.update(series(ROWS + 3)[ROWS:], X=future.assign(weather="snow"), update_params=True)
    assert np.isfinite(more.predict(X=X)).all()


@pytest.mark.parametrize("fh", [FH, range(1, 9)])
def test_past_covariates_are_not_needed_in_the_future(fh):
    y, X = series(), covariates()
    X["weather"] = np.where(np.arange(len(X)) % 3 == 0, "rain", "sun")
    forecaster = tiny(past_covariates=["b", "weather"]).fit(y, X=X[:ROWS], fh=FH)
    future = X[ROWS:]
    forecast = forecaster.predict(fh=fh, X=future[["a"]])
    assert forecast.equals(forecaster.predict(fh=fh, X=future))  # nor looked at
    assert_finite(forecaster, future[["a"]], fh)
    only_past = tiny(past_covariates=["a", "b", "weather"]).fit(y, X=X[:ROWS], fh=FH)
    assert np.isfinite(only_past.predict(fh=fh)).all()
    rained = X[:ROWS].assign(b=X["b"][::-1].to_numpy()[:ROWS])
    changed = copy.deepcopy(forecaster).update(y, X=rained, update_params=False)
    assert not changed.predict(fh=fh, X=future).equals(forecast)  # but they matter in the past


# Degenerate and extreme data.

DEGENERATE = {
    "zero": np.zeros(ROWS),
    "constant": np.full(ROWS, 7.0),
    "large constant": np.full(ROWS, 1e12),
    "near-constant": 1000 + 1e-10 * np.random.default_rng(0).normal(size=ROWS),
    "one spike": np.r_[np.zeros(30), 1e6, np.zeros(ROWS - 31)],
    "constant at last": np.r_[series().to_numpy()[:30], np.full(ROWS - 30, 3.0)],
    "missing at last": np.r_[series().to_numpy()[:30], np.full(ROWS - 30, np.nan)],
    "missing at first": np.r_[np.full(ROWS - 30, np.nan), series().to_numpy()[:30]],
    "one observed": np.r_[np.full(20, np.nan), 5.0, np.full(ROWS - 21, np.nan)],
    "one row": np.array([5.0]),
    "two rows": np.array([5.0, 6.0]),
    "four rows": np.array([5.0, 6.0, np.nan, 2.0]),
}


@pytest.mark.filterwarnings("ignore:Got context_length=:UserWarning")
@pytest.mark.filterwarnings("ignore:Got y without a value in its last:UserWarning")
@pytest.mark.parametrize("loss", ["quantile", "mse", "mae"])
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_series_have_finite_forecasts_and_intervals(name, loss):
    y = pd.Series(
        DEGENERATE[name], pd.period_range("2019-01", periods=len(DEGENERATE[name]), freq="M")
    )
    forecaster = tiny(loss=loss).fit(y, fh=FH)
    assert_finite(forecaster)
    if name in ("zero", "constant", "large constant"):
        assert np.ptp(forecaster.predict()) <= 3 * max(1.0, abs(y.iloc[0]))
    largest = np.nanmax(np.abs(y)) if name != "one spike" else 1e6
    assert (forecaster.predict().abs() <= 10 * max(largest, 1.0)).all()


@pytest.mark.parametrize("scaler", ["robust_arcsinh", "robust", "standard", "minmax", None])
@pytest.mark.parametrize("window_norm", ["meanstd", "mean", None])
def test_a_constant_is_no_fault_for_any_scaler(scaler, window_norm):
    y = panel({"a": ROWS, "b": 5})
    y.loc["b", "y"] = 3.0
    assert_finite(tiny(scaler=scaler, window_norm=window_norm).fit(y, fh=FH))


@pytest.mark.parametrize("loss", ["quantile", "mse"])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e12])
def test_forecasts_scale_with_the_data(scale, loss):
    y = series()
    reference = tiny(loss=loss).fit(y, fh=FH)
    scaled = tiny(loss=loss).fit(y * scale, fh=FH)
    np.testing.assert_allclose(scaled.predict(), reference.predict() * scale, rtol=1e-4)
    levels = [0.01, 0.5, 0.95]
    np.testing.assert_allclose(
        scaled.predict_quantiles(alpha=levels, fh=[1, 8]),
        reference.predict_quantiles(alpha=levels, fh=[1, 8]) * scale,
        rtol=1e-3,
    )


@pytest.mark.parametrize(("calibration", "offset"), [("none", 0.0), ("adaptive", 1e5)])
def test_a_large_offset_keeps_the_digits_of_the_series(calibration, offset):
    # Simple forecasts that multiply depend on where zero is, if it is not far away.
    y, own = series(), {"calibration": calibration}
    near = tiny(**own).fit(y + offset, fh=FH).predict() - offset
    far = tiny(**own).fit(y + 1e9, fh=FH).predict() - 1e9
    np.testing.assert_allclose(far, near, atol=1e-3)


def test_series_of_any_length_share_one_network():
    y = panel({"a": 1, "b": 2, "c": 5, "d": ROWS})
    forecaster = tiny().fit(y, fh=FH)
    assert len(forecaster.members_) == 1
    assert not hasattr(forecaster, "forecasters_")  # sktime's loop of copies
    assert_finite(forecaster)


# Missing values and rows.


def test_missing_targets_are_masked_from_the_loss():
    y = series()
    y.iloc[::5] = np.nan
    forecaster = tiny(max_epochs=2).fit(y, fh=FH)
    assert np.isfinite(forecaster.net_.history[:, "train_loss"]).all()
    assert all(torch.isfinite(value).all() for value in weights(forecaster).values())
    assert_finite(forecaster)


def test_missing_rows_in_update_are_inserted_as_unobserved():
    y = series()
    forecaster = tiny().fit(y[:40], fh=FH)
    explicit = copy.deepcopy(forecaster)
    filled = y[40:].copy()
    filled.iloc[:4] = np.nan
    explicit.update(filled, update_params=False)
    forecaster.update(y[44:], update_params=False)
    assert_equal(forecaster.predict(), explicit.predict())
    residuals = forecaster.predict_residuals()
    assert residuals.index.equals(y.index)
    assert residuals.isna().to_numpy().nonzero()[0].tolist() == [40, 41, 42, 43]


def test_missing_rows_in_update_carry_x_forward():
    y, X = series(), covariates()
    forecaster = tiny().fit(y[:40], X=X[:40], fh=FH)
    explicit = copy.deepcopy(forecaster)
    holes_y, holes_X = y[40:].copy(), X[40:ROWS].copy()
    holes_y.iloc[:4], holes_X.iloc[:4] = np.nan, np.nan
    explicit.update(holes_y, X=holes_X, update_params=False)
    with pytest.warns(ForecastWarning, match="Got y that skips 4 rows for which X has none"):
        forecaster.update(y[44:], X=X[44:ROWS], update_params=False)
    assert_equal(forecaster.predict(X=X), explicit.predict(X=X))


def test_overlapping_rows_in_update_replace_old_ones_and_nan_does_not():
    y = series()
    expected = tiny().fit(y[:40], fh=FH).update(y[40:], update_params=False).predict()
    overlapping = tiny().fit(y[:40], fh=FH).update(y[30:], update_params=False)
    assert_equal(overlapping.predict(), expected)
    with_nan = y[30:].copy()
    with_nan.iloc[:10] = np.nan
    erasing = tiny().fit(y[:40], fh=FH).update(with_nan, update_params=False)
    assert_equal(erasing.predict(), expected)
    revised = y[55:] + 5.0
    assert not overlapping.update(revised, update_params=False).predict().equals(expected)


# Update.


def test_update_without_params_moves_the_context_only():
    y = series()
    forecaster = tiny().fit(y[:50], fh=FH)
    before, stale = weights(forecaster), forecaster.predict()
    forecaster.update(y[50:], update_params=False)
    assert same_weights(before, weights(forecaster))
    forecast = forecaster.predict()
    assert list(forecast.index) == [y.index[-1] + step for step in FH]
    assert not np.allclose(forecast, stale, rtol=1e-4)


def test_update_with_params_trains():
    y = series()
    forecaster = tiny().fit(y[:50], fh=FH)
    before = weights(forecaster)
    moved = copy.deepcopy(forecaster).update(y[50:], update_params=False)
    forecaster.update(y[50:], update_params=True)
    assert not same_weights(before, weights(forecaster))
    assert not forecaster.predict().equals(moved.predict())
    still = tiny(update_epochs=0).fit(y[:50], fh=FH).update(y[50:], update_params=True)
    assert still.predict().equals(moved.predict())


@pytest.mark.filterwarnings("ignore:Got X without:UserWarning")
@pytest.mark.parametrize("update_params", [False, True])
def test_scaling_stays_frozen_in_update(update_params):
    y, X = series(), covariates()
    forecaster = tiny().fit(y[:50], X=X[:50], fh=FH)
    scaling = copy.deepcopy(
        (
            forecaster._fitted.history.loc,
            forecaster._fitted.history.scale,
            vars(forecaster._fitted.model.encoder),
        )
    )
    forecaster.update(y[50:] * 40, X=X[50:ROWS] * 40, update_params=update_params)
    assert np.array_equal(forecaster._fitted.history.loc, scaling[0])
    assert np.array_equal(forecaster._fitted.history.scale, scaling[1])
    assert str(vars(forecaster._fitted.model.encoder)) == str(scaling[2])
    assert_finite(forecaster, X)


@pytest.mark.parametrize("update_params", [False, True])
def test_new_series_may_appear_in_update(update_params):
    y = panel({"a": ROWS, "b": ROWS})
    forecaster = tiny().fit(y, fh=FH)
    old = forecaster.predict()
    new = panel({"c": 20}) * 1000
    forecaster.update(new, update_params=update_params)
    forecast = forecaster.predict()
    assert forecast.index.get_level_values("key").unique().tolist() == ["a", "b", "c"]
    assert forecast.loc["c"].index[0] == new.loc["c"].index[-1] + 1
    assert forecast.loc["c"].mean().item() == pytest.approx(new["y"].mean(), rel=0.5)
    if not update_params:
        assert_equal(forecast.loc[["a", "b"]], old)
    assert_finite(forecaster)


def test_update_with_some_series_leaves_the_others_where_they_are():
    y = panel({"a": ROWS, "b": ROWS})
    forecaster = tiny().fit(y, fh=FH)
    old = forecaster.predict()
    more = series(ROWS + 4).iloc[ROWS:]
    forecaster.update(pd.concat({"a": more}, names=["key", "month"]).to_frame("y"), None, False)
    forecast = forecaster.predict()
    assert_equal(forecast.loc["b"], old.loc["b"])
    assert forecast.loc["a"].index[0] == more.index[-1] + 1


def test_predict_residuals_without_y_reads_the_store():
    y, X = series(), covariates()
    forecaster = tiny().fit(y[:50], X=X[:50], fh=FH)
    forecaster.update(y[50:], X=X[50:ROWS], update_params=False)
    in_sample = forecaster.predict(fh=ForecastingHorizon(y.index, is_relative=False))
    residuals = forecaster.predict_residuals()
    assert residuals.index.equals(y.index)
    assert residuals.name == "y"
    np.testing.assert_allclose(residuals, y - in_sample, atol=1e-4)  # the store is float32
    np.testing.assert_allclose(forecaster.predict_residuals(y), y - in_sample, atol=1e-9)


def test_predict_residuals_of_a_panel():
    y = panel({"a": ROWS, "b": ROWS - 9})
    forecaster = tiny().fit(y, fh=FH)
    residuals = forecaster.predict_residuals()
    pd.testing.assert_index_equal(residuals.index, y.index)
    for key in "ab":
        steps = range(1 - len(y.loc[key]), 1)
        fitted = forecaster.predict(fh=list(steps)[-5:]).loc[key]
        np.testing.assert_allclose(
            residuals.loc[key].iloc[-5:], y.loc[key].iloc[-5:] - fitted, atol=1e-4
        )


# Training.


class InterruptAtEpoch(Callback):
    """Presses Ctrl-C in an epoch, and keeps the weights at the end of every epoch before."""

    weights = []

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt

    def on_epoch_end(self, net, **kwargs):
        state = net.module_.state_dict()
        self.weights.append({name: value.clone() for name, value in state.items()})


@pytest.mark.filterwarnings("ignore:Got an interrupt:UserWarning")
@pytest.mark.parametrize("loss", ["quantile", "mse"])
def test_ctrl_c_keeps_the_best_weights(loss):
    InterruptAtEpoch.weights = []
    y = series()
    forecaster = tiny(
        loss=loss,
        max_epochs=50,
        lr=4.0,
        validation_fraction=0.3,
        patience=None,
        callbacks=[InterruptAtEpoch(8)],
    ).fit(y, fh=FH)
    history = [row for row in forecaster.net_.history if "valid_loss" in row]
    assert len(history) == 7
    best = int(np.argmin([row["valid_loss"] for row in history]))
    assert best < 6  # so that the last weights are not the best ones
    assert same_weights(weights(forecaster), InterruptAtEpoch.weights[best])
    assert_finite(forecaster)
    forecaster.update(series(ROWS + 4)[ROWS:], update_params=True)
    assert_finite(forecaster)


def test_random_state_alone_decides(global_random_state_stays):
    y = series()
    forecaster = tiny(dropout=0.3).fit(y, fh=FH)
    again = tiny(dropout=0.3).fit(y, fh=FH)
    assert same_weights(weights(forecaster), weights(again))
    far = list(range(1, 12))
    assert forecaster.predict(fh=far).equals(again.predict(fh=far))
    quantiles = forecaster.predict_quantiles(fh=far, alpha=[0.2, 0.8])
    assert quantiles.equals(again.predict_quantiles(fh=far, alpha=[0.2, 0.8]))
    assert not forecaster.predict().equals(tiny(random_state=1).fit(y, fh=FH).predict())
    fresh = [tiny(random_state=None).fit(y, fh=FH).predict() for _ in range(2)]
    assert not fresh[0].equals(fresh[1])


# What a point and a quantile are.


@pytest.fixture(scope="module")
def skewed():
    """Return independent draws of an exponential distribution: mean 1, median 0.69."""
    return pd.Series(np.random.default_rng(0).exponential(size=600))


@pytest.mark.parametrize("loss", ["mse", "mae", "quantile"])
def test_the_point_is_the_mean_for_squared_errors_else_the_median(skewed, loss):
    training = {"max_epochs": 5, "max_windows_per_epoch": 128, "lr": 0.01}
    forecaster = tiny(loss=loss, context_length=20, calibration="none", **training)
    forecast = forecaster.fit(skewed, fh=FH).predict(fh=range(-299, 1))
    expected = 1.0 if loss == "mse" else np.log(2)
    assert forecast.mean() == pytest.approx(expected, abs=0.12)


def test_the_point_of_quantile_loss_is_its_median():
    forecaster = tiny(calibration="none").fit(series(), fh=FH)
    np.testing.assert_array_equal(
        forecaster.predict(), forecaster.predict_quantiles(alpha=0.5).iloc[:, 0]
    )


ALPHAS = [1e-9, 1e-4, *np.linspace(0.003, 0.997, 250).round(6).tolist(), 0.9999, 1 - 1e-9]


@pytest.mark.parametrize("loss", ["quantile", "mse", "huber"])
@pytest.mark.parametrize("num_members", [1, 2])
def test_quantiles_never_cross(loss, num_members):
    forecaster = tiny(loss=loss, num_members=num_members).fit(series(), fh=FH)
    quantiles = forecaster.predict_quantiles(fh=[-3, 0, 1, 2, 3, 4, 11], alpha=ALPHAS)
    assert np.isfinite(quantiles).all(axis=None)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    shuffled = [0.9, 0.1, 0.5]
    some = forecaster.predict_quantiles(fh=FH, alpha=shuffled)
    assert list(some.columns) == [("y", alpha) for alpha in shuffled]
    assert (some[("y", 0.1)] <= some[("y", 0.5)]).all()
    assert (some[("y", 0.5)] <= some[("y", 0.9)]).all()


def test_intervals_variances_and_distributions_agree():
    forecaster = tiny().fit(series(), fh=FH)
    interval = forecaster.predict_interval(coverage=0.8)["y"][0.8]
    quantiles = forecaster.predict_quantiles(alpha=[0.1, 0.9])["y"]
    np.testing.assert_allclose(interval, quantiles, rtol=1e-12)
    distribution = forecaster.predict_proba()
    np.testing.assert_allclose(distribution.var(), forecaster.predict_var(), rtol=1e-6)
    np.testing.assert_allclose(
        distribution.quantile([0.5]), forecaster.predict_quantiles(alpha=0.5), rtol=0.02
    )
    assert (forecaster.predict_var() > 0).all(axis=None)


# Pretraining.


def other_series(seed=3):
    return panel({"p": 50, "q": 45, "r": 40}, start="2000-01") * (1 + seed)


def test_pretraining_gives_clones_the_same_start_but_never_fine_tuned_weights():
    a, b = series(seed=7), series(seed=8) * 3
    pretrained = tiny().pretrain(other_series(), fh=FH)
    fresh = pretrained.clone().fit(b, fh=FH)
    used = pretrained.clone().fit(a, fh=FH)
    then = used.clone().fit(b, fh=FH)
    refit = used.fit(b, fh=FH)
    assert same_weights(weights(fresh), weights(then))
    assert same_weights(weights(fresh), weights(refit))
    assert fresh.predict().equals(then.predict())
    assert fresh.predict().equals(refit.predict())
    assert not same_weights(weights(fresh), weights(pretrained.clone().fit(a, fh=FH)))


def test_pretraining_writes_pretrained_attributes_only():
    forecaster = tiny()
    before = set(vars(forecaster))
    forecaster.pretrain(other_series(), fh=FH)
    written = {name for name in set(vars(forecaster)) - before if name.endswith("_")}
    listed = set(forecaster.get_tag("pretrain:fitted_params"))
    assert written == listed
    assert all(name.startswith("pretrained_") for name in written)
    state = copy.deepcopy(
        [net.module_.state_dict() for net in forecaster.pretrained_model_.members]
    )
    forecaster.fit(series(), fh=FH).update(series(ROWS + 5)[ROWS:])
    for net, old in zip(forecaster.pretrained_model_.members, state, strict=True):
        assert same_weights(net.module_.state_dict(), old)


def test_no_fine_tuning_epochs_is_zero_shot():
    pretrained = tiny(finetune_epochs=0).pretrain(other_series(), fh=FH)
    forecaster = pretrained.clone().fit(series(), fh=FH)
    state = pretrained.pretrained_model_.members[0].module_.state_dict()
    assert same_weights(weights(forecaster), state)
    assert_finite(forecaster)
    tuned = tiny(finetune_epochs=1).pretrain(other_series(), fh=FH).fit(series(), fh=FH)
    assert not same_weights(weights(tuned), state)
    assert not tuned.predict().equals(forecaster.predict())


def test_after_pretraining_x_is_matched_by_name_and_y_by_position():
    y = other_series()
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=len(y)), "b": rng.normal(size=len(y))}, y.index)
    pretrained = tiny().pretrain(y, X=X, fh=FH)
    target, known = series(), covariates()
    expected = pretrained.clone().fit(target, X=known[:ROWS], fh=FH).predict(X=known)
    swapped = known[["b", "a"]]
    forecast = pretrained.clone().fit(target, X=swapped[:ROWS], fh=FH).predict(X=swapped)
    assert forecast.equals(expected)
    renamed = pretrained.clone().fit(target.rename("load"), X=known[:ROWS], fh=FH)
    assert renamed.predict(X=known).equals(expected.rename("load"))
    with pytest.raises(ValueError, match="a"):
        pretrained.clone().fit(target, X=known[:ROWS].rename(columns={"a": "c"}), fh=FH)


def test_pretraining_further_goes_on_from_the_weights():
    once = tiny(finetune_epochs=0).pretrain(other_series(), fh=FH)
    state = once.pretrained_model_.members[0].module_.state_dict()
    twice = once.clone().pretrain(other_series(seed=4), fh=FH)
    further = twice.pretrained_model_.members[0].module_.state_dict()
    assert not same_weights(state, further)
    assert_finite(twice.fit(series(), fh=FH))


@pytest.mark.parametrize("method", ["predict_quantiles", "predict_interval", "predict_var"])
def test_an_update_with_columns_in_another_order_mixes_no_labels(method):
    y = pd.DataFrame({"small": series(), "big": series(seed=1) * 900})
    forecaster, turned = (tiny().fit(y[:50], fh=FH) for _ in range(2))
    forecaster.update(y[50:], update_params=False)
    turned.update(y[["big", "small"]][50:], update_params=False)
    pd.testing.assert_frame_equal(getattr(turned, method)(), getattr(forecaster, method)())
    pd.testing.assert_frame_equal(turned.predict(), forecaster.predict())


def test_a_series_stays_one_through_every_kind_of_update():
    y = series()
    single = tiny().fit(y[:50], fh=FH)
    assert isinstance(single.update_predict_single(y[50:53], update_params=False), pd.Series)
    assert isinstance(single.predict(), pd.Series)
    loop = tiny().fit(y[:40], fh=FH)
    cv = ExpandingWindowSplitter(fh=FH, initial_window=6, step_length=5)
    loop.update_predict(y[40:], cv, update_params=True, reset_forecaster=False)
    assert isinstance(loop.predict(), pd.Series)
    assert isinstance(loop.predict_residuals(), pd.Series)
