"""The faults that users of other neural forecasting libraries complain of: one test each."""

import copy
import io
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback
from sktime.base import load

import sktime_tlstm.data.sampling
from sktime_tlstm import SkorchForecaster
from sktime_tlstm.nn import AttentionLSTM
from sktime_tlstm.nn.heads import PointHead
from tests.setups import tiny

FH = [1, 2, 3, 4]


def series(rows=60):
    time = np.arange(rows)
    noise = np.random.default_rng(0).normal(size=rows)
    index = pd.date_range("2024-01-01", periods=rows, freq="D")
    return pd.Series(30 + 5 * np.sin(time / 7 * 2 * np.pi) + noise, index, name="y")


def covariates(rows=70):
    return pd.DataFrame({"a": series(rows) ** 2, "b": series(rows).cumsum()})


# "update(update_params=False) changes the index, the forecast stays what it was"


@pytest.mark.parametrize("update_params", [False, True])
def test_update_is_heard_by_the_forecast(update_params):
    y = series()
    forecaster = tiny(context_length=5).fit(y[:50], fh=FH)
    stale, stale_median = forecaster.predict(), forecaster.predict_quantiles(alpha=0.5)
    forecaster.update(y[50:] + 20, update_params=update_params)
    fresh = forecaster.predict()
    assert fresh.index[0] == y.index[-1] + pd.Timedelta(days=1)
    assert fresh.mean() > stale.mean() + 2  # the rows before the cutoff rose by 4 on average
    median = forecaster.predict_quantiles(alpha=0.5)
    assert median.index.equals(fresh.index)
    assert (median.mean() > stale_median.mean() + 2).all()


# "the columns say 0.1 and 0.9, the values are other quantiles"


@pytest.mark.parametrize("loss", ["quantile", "mse"])
def test_quantiles_have_the_levels_they_are_labelled_with(loss):
    # the last 100 rows, which the quantiles come from, are about as wide as the others
    noise = pd.Series(np.random.default_rng(1).normal(100, 5, size=900))
    forecaster = tiny(
        loss=loss,
        context_length=20,
        max_epochs=5,
        max_windows_per_epoch=128,
        lr=0.01,
        validation_fraction=0.4 if loss == "mse" else None,  # many errors for its quantiles
    ).fit(noise[:600], fh=[1])
    forecaster.update(noise[600:], update_params=False)
    levels = [0.9, 0.1, 0.5, 0.25]  # not ascending, and one that is not trained
    quantiles = forecaster.predict_quantiles(fh=range(-299, 1), alpha=levels)[0]
    below = quantiles.ge(noise[600:], axis=0).mean()
    assert list(below.index) == levels
    np.testing.assert_allclose(below, levels, atol=0.08)
    expected = [100 + 5 * z for z in (1.2816, -1.2816, 0.0, -0.6745)]
    np.testing.assert_allclose(quantiles.mean(), expected, atol=1.5)


# "my callbacks are gone", "my loss is ignored"


class CountBatches(Callback):
    batches = 0

    def on_batch_end(self, net, training, **kwargs):
        CountBatches.batches += training


class HalfSquares(PointHead):
    """A user's own loss."""

    calls = 0

    def losses(self, parameters, target):
        HalfSquares.calls += 1
        return 0.5 * super().losses(parameters, target)


def test_the_users_callbacks_act():
    CountBatches.batches = 0
    training = {"callbacks": [CountBatches()], "max_epochs": 3, "calibration": "none"}
    forecaster = tiny(**training).fit(series(), fh=FH)
    assert CountBatches.batches == 3 * 2
    assert any(isinstance(callback, CountBatches) for _, callback in forecaster.net_.callbacks_)


def test_the_users_loss_trains():
    HalfSquares.calls = 0
    head = HalfSquares("mse")
    forecaster = tiny(loss=head, gradient_clip=None, optimizer="sgd").fit(series(), fh=FH)
    assert HalfSquares.calls >= 2
    assert isinstance(forecaster.net_.criterion_, HalfSquares)
    forecasts = {loss: tiny(loss=loss).fit(series(), fh=FH).predict() for loss in ("mse", "mae")}
    assert not forecasts["mse"].equals(forecasts["mae"])


# "predict without the X it was trained with returns an empty or a short frame"


@pytest.mark.parametrize("X", [None, covariates()[60:62], covariates()[:60], covariates()[["a"]]])
@pytest.mark.parametrize("method", ["predict", "predict_interval", "predict_proba"])
def test_predict_without_the_covariates_is_an_error(X, method):
    forecaster = tiny().fit(series(), X=covariates()[:60], fh=FH)
    with pytest.raises(ValueError, match="X"):
        getattr(forecaster, method)(X=X)


# "fh must be the one of fit", "a longer horizon than prediction_length is refused"


def test_any_horizon_is_served_after_fit():
    forecaster = tiny().fit(series(), fh=FH)
    full = forecaster.predict()
    np.testing.assert_array_equal(forecaster.predict(fh=[2, 3]), full[1:3])
    longer = forecaster.predict(fh=range(1, 15))
    np.testing.assert_array_equal(longer[:4], full)
    assert len(longer) == 14 and np.isfinite(longer).all()
    assert len(forecaster.predict(fh=[-5, 0, 30])) == 3


# "pickling fails", "the saved model has lost its weights"


def answers(forecaster, X):
    fh = [-1, 1, 3, 9]
    return [
        forecaster.predict(fh=fh, X=X),
        forecaster.predict_quantiles(fh=fh, X=X, alpha=[0.1, 0.7]),
        forecaster.predict_residuals(),
    ]


def copy_by_pickle(forecaster, path):
    return pickle.loads(pickle.dumps(forecaster))


def copy_by_file(forecaster, path):
    forecaster.save(path / "forecaster")
    return load(path / "forecaster.zip")


def copy_in_memory(forecaster, path):
    return load(forecaster.save())


@pytest.mark.filterwarnings("ignore:Got X with:UserWarning")
@pytest.mark.parametrize(
    "how", [copy_by_pickle, copy_by_file, copy_in_memory, lambda f, path: copy.deepcopy(f)]
)
@pytest.mark.parametrize("general", [False, True])
def test_a_copied_forecaster_answers_the_same(how, general, tmp_path):
    y, X = series(), covariates()
    X["weather"] = np.where(np.arange(len(X)) % 3, "sun", "rain")
    forecaster = tiny(num_members=2, callbacks=[CountBatches()])
    if general:
        settings = {"max_epochs": 1, "max_windows_per_epoch": 16, "loss": "mse", "random_state": 0}
        forecaster = SkorchForecaster(AttentionLSTM, {"d_model": 4, "num_heads": 2}, **settings)
    forecaster.fit(y[:50], X=X[:50], fh=FH).update(y[50:], X=X[50:60])
    expected = answers(forecaster, X)
    copied = how(forecaster, tmp_path)
    for answer, other in zip(answers(copied, X), expected, strict=True):
        assert answer.equals(other)
    more = series(65)[60:]
    for one in (forecaster, copied):
        one.update(more, X=X[60:65], update_params=True)
    assert copied.predict(fh=FH, X=X).equals(forecaster.predict(fh=FH, X=X))


# "a checkpoint of a GPU does not load without one"


def test_a_forecaster_pickled_on_cuda_loads_on_the_cpu():
    forecaster = tiny().fit(series(), fh=FH)
    expected = forecaster.predict()
    if torch.cuda.is_available():
        forecaster = tiny(device="cuda").fit(series(), fh=FH)
        expected = forecaster.predict()
    for net in forecaster.members_:  # what skorch writes of a net on a GPU
        net.device = "cuda"
    stored = pickle.dumps(forecaster)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skorch says that it moves the net to the CPU
        loaded = pickle.load(io.BytesIO(stored))
    if not torch.cuda.is_available():
        assert str(loaded.net_.device) == "cpu"
    np.testing.assert_allclose(loaded.predict(), expected, rtol=1e-5)


# "one NaN in the target, and all weights are NaN"


@pytest.mark.parametrize("loss", ["quantile", "mse", "mae", "huber"])
def test_a_nan_in_the_target_does_not_reach_the_weights(loss):
    y = series()
    y.iloc[[3, 30, 31, 58]] = np.nan
    forecaster = tiny(loss=loss, max_epochs=2).fit(y, fh=FH)
    assert np.isfinite(forecaster.net_.history[:, "train_loss"]).all()
    for value in forecaster.net_.module_.parameters():
        assert torch.isfinite(value).all()
    assert np.isfinite(forecaster.predict()).all()


# "a gap in time is accepted, and the model takes the rows for neighbours"


@pytest.mark.parametrize("dates", [True, False])
def test_a_gap_in_time_is_an_error_in_fit(dates):
    y = series() if dates else series().reset_index(drop=True)
    gappy = y.drop(y.index[[20, 21]])
    with pytest.raises(ValueError, match=r"gap|frequency") as error:
        tiny().fit(gappy, fh=FH)
    assert str(y.index[19]) in str(error.value) and str(y.index[22]) in str(error.value)


# "all windows are built before the first is sampled: out of memory"


@pytest.mark.parametrize("calibration", ["none", "adaptive"])
def test_no_window_is_built_ahead_of_its_batch(calibration, monkeypatch):
    sizes = []

    def counting(store, spec, series, cutoff):
        sizes.append(len(series))
        return cut_windows(store, spec, series, cutoff)

    cut_windows = sktime_tlstm.data.sampling.cut_windows
    monkeypatch.setattr(sktime_tlstm.data.sampling, "cut_windows", counting)
    rows = 200_000
    y = pd.Series(np.sin(np.arange(rows) / 9), name="y")
    tiny(context_length=300, calibration=calibration).fit(y, fh=FH)
    assert max(sizes) == 8  # batch_size
    most = 16 + 8  # max_windows_per_epoch, and the probe of the network
    if calibration == "adaptive":
        most += 16 + 512  # another epoch, on all rows, and the validation of the first
    assert sum(sizes) <= most


# "two fits, two results, and no seed to set"


def test_refits_with_a_seed_are_identical():
    y = series()
    forecaster = tiny(dropout=0.2, num_members=2)
    first = forecaster.fit(y, fh=FH).predict()
    torch.manual_seed(99)
    np.random.default_rng()
    assert forecaster.fit(y, fh=FH).predict().equals(first)
    assert forecaster.clone().fit(y, fh=FH).predict().equals(first)


# "my dictionaries and frames were modified"


def test_the_callers_dictionaries_stay_as_they_were():
    parameters = {
        "module_params": {"d_model": 4, "num_heads": 2},
        "net_params": {"optimizer__betas": (0.8, 0.9), "iterator_train__drop_last": False},
        "callbacks": [CountBatches()],
        "past_covariates": ["b"],
        "quantiles": [0.2, 0.5, 0.8],
        "target_lags": [2, 3],
    }
    before = copy.deepcopy({k: v for k, v in parameters.items() if k != "callbacks"})
    callback = dict(vars(parameters["callbacks"][0]))
    forecaster = SkorchForecaster(
        AttentionLSTM, **parameters, max_epochs=1, max_windows_per_epoch=16, random_state=0
    )
    y, X = series(), covariates()
    y_before, X_before = y.copy(), X.copy()
    forecaster.fit(y[:50], X=X[:50], fh=FH).update(y[50:], X=X[50:60]).predict(X=X)
    for name, value in before.items():
        assert parameters[name] == value
        assert getattr(forecaster, name) is parameters[name]
    assert len(parameters["callbacks"]) == 1
    assert vars(parameters["callbacks"][0]) == callback
    pd.testing.assert_series_equal(y, y_before)
    pd.testing.assert_frame_equal(X, X_before)


# "filters should not remove all entries", on a series shorter than the window


@pytest.mark.filterwarnings("ignore:Got context_length=30 and:UserWarning")
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
def test_a_series_shorter_than_the_window_trains_and_forecasts(rows):
    forecaster = tiny(context_length=30).fit(series(rows), fh=range(1, 13))
    assert len(forecaster.predict()) == 12
    assert np.isfinite(forecaster.predict()).all()
    assert np.isfinite(forecaster.predict_interval()).all(axis=None)


# "the frame of the future must hold a dummy target"


def test_the_future_frame_holds_covariates_only():
    frames = {key: pd.DataFrame({"y": series(), "x": covariates(60)["a"]}) for key in "pq"}
    data = pd.concat(frames, names=["key", "day"])
    known = data.index.get_level_values("day") < data.index.get_level_values("day").max()
    forecaster = tiny().fit(data.loc[known, ["y"]], X=data.loc[known, ["x"]], fh=[1])
    forecast = forecaster.predict(X=data.loc[~known, ["x"]])
    assert list(forecast.columns) == ["y"]
    assert np.isfinite(forecast).all(axis=None)
