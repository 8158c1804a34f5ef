"""The rules that fit a model to its data: batches, epochs, contexts, lags, learning rates."""

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback

from sktime_tlstm import calibrating
from sktime_tlstm.fitting import FINETUNE_LR
from sktime_tlstm.simple import learn_simple
from tests.setups import tiny


class Watch(Callback):
    """Notes the size and the learning rate of every training batch, and the epochs."""

    sizes: list
    rates: list

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            Watch.sizes.append(len(batch[0]["past"]))
            Watch.rates.append(net.optimizer_.param_groups[0]["lr"])


@pytest.fixture(autouse=True)
def watched():
    Watch.sizes, Watch.rates = [], []


def series(rows, freq="D"):
    values = 10 + np.sin(np.arange(rows)) + np.random.default_rng(0).normal(size=rows)
    return pd.Series(values, pd.date_range("2021-03-02", periods=rows, freq=freq), name="y")


def trained(y, fh, **parameters):
    """Train once, on all rows."""
    settings = {"callbacks": [Watch], "context_length": 4, "calibration": "none"}
    return tiny(**settings, **parameters).fit(y, fh=fh)


def test_batches_shrink_on_little_data_so_that_an_epoch_has_twenty():
    trained(series(204), [1], batch_size=64, max_windows_per_epoch=2560)
    assert Watch.sizes == [10] * 20  # 200 windows


def test_batches_shrink_no_further_than_to_eight_and_repeat_windows():
    trained(series(40), [1], batch_size=64, max_windows_per_epoch=2560)
    assert Watch.sizes == [8] * 20  # of 36 windows


def test_batches_of_much_data_are_as_large_as_asked_for():
    trained(series(1500), [1], batch_size=32, max_windows_per_epoch=320)
    assert Watch.sizes == [32] * 10


def test_no_row_is_a_target_more_than_five_times_an_epoch():
    trained(series(3000), range(1, 51), batch_size=8, max_windows_per_epoch=10_000)
    assert sum(Watch.sizes) == 300  # windows of 50 rows: 5 times 3,000 rows
    assert set(Watch.sizes) == {8, 4}


def test_an_epoch_has_twenty_batches_even_so():
    trained(series(600), range(1, 51), batch_size=8, max_windows_per_epoch=10_000)
    assert sum(Watch.sizes) == 160  # five passes would be 60 windows


@pytest.mark.parametrize(
    ("rows", "size", "steps"),
    [
        (5000, 12, 200),  # of 2,560 windows, however many there are
        (2000, 9, 200),  # of 1,800 windows
        (1000, 8, 100),  # each window once, in batches of eight
        (300, 8, 20),  # at least
    ],
)
def test_an_epoch_of_a_simulation_has_many_small_batches(rows, size, steps):
    y = series(rows, "h")
    settings = {"mode": "simulation", "prediction_length": 197, "batch_size": 64}
    watched = {"callbacks": [Watch], "context_length": 4, "calibration": "none"}
    tiny(**settings, **watched, max_windows_per_epoch=None).fit(y, X=y.to_frame("u"))
    assert max(Watch.sizes) == size
    assert len(Watch.sizes) == steps


@pytest.mark.parametrize("lr_schedule", ["onecycle", None])
def test_fine_tuning_and_updates_train_at_a_constant_share_of_the_learning_rate(lr_schedule):
    assert FINETUNE_LR == 0.15
    y = series(60)
    panel = pd.concat({key: y.to_frame() for key in "pq"}, names=["key", "time"])
    settings = {"callbacks": [Watch], "lr": 0.004, "lr_schedule": lr_schedule}
    forecaster = tiny(**settings, context_length=4, prediction_length=2).pretrain(panel)
    assert max(Watch.rates) > 0.002  # of its own training
    Watch.rates.clear()
    forecaster.fit(y)
    assert Watch.rates
    np.testing.assert_allclose(Watch.rates, 0.0006)
    Watch.rates.clear()
    later = series(70)[60:]
    forecaster.update(later, update_params=True)
    assert Watch.rates
    np.testing.assert_allclose(Watch.rates, 0.0006)


@pytest.mark.parametrize(
    ("rows", "freq", "fh", "context", "lags"),
    [
        (1000, "h", range(1, 25), 48, (24, 168)),  # two days
        (1000, "30min", range(1, 9), 96, (48,)),
        (1000, "2h", range(1, 9), 48, (12, 84)),  # of short seasons four
        (1000, "90min", range(1, 9), 48, (16, 112)),  # or 48 rows
        (1000, "h", range(1, 61), 120, (24, 168)),  # two horizons
        (300, "h", range(1, 13), 48, (24,)),  # a week is more than a third of the data
        (90, "D", [1], 28, (7,)),
        (20, "D", range(1, 6), 15, ()),  # what the data have, one horizon left
        (60, "QS", [1], 16, (4,)),
        (200, "YS", [1], 64, ()),  # no season
    ],
)
def test_context_and_lags_follow_the_season_the_horizon_and_the_data(rows, freq, fh, context, lags):
    forecaster = tiny().fit(series(rows, freq), fh=fh)
    assert forecaster.context_length_ == context
    assert forecaster._fitted.model.spec.lags == lags


@pytest.mark.parametrize(
    ("rows", "freq", "horizon"), [(500, "h", 24), (30, "h", 10), (90, "D", 7), (100, "YS", 12)]
)
def test_the_horizon_without_fh_is_a_season_or_a_third_of_the_data(rows, freq, horizon):
    forecaster = tiny().fit(series(rows, freq))
    assert forecaster.prediction_length_ == horizon


def spiked(rows, *at, size=200.0):
    y = series(rows)
    y.iloc[list(at)] += size
    return y


def panel_with(spikes, number=20):
    return pd.concat(
        {f"s{k}": spiked(40, *([7] if k < spikes else [])).to_frame() for k in range(number)}
    )


def missing(y):
    y[::3] = np.nan
    return y


@pytest.mark.parametrize(
    ("y", "parameters", "scaler"),
    [
        (series(60), {}, "robust"),
        (spiked(60, 30), {}, "robust_arcsinh"),
        (spiked(60, 30, size=-200.0), {}, "robust_arcsinh"),
        (missing(spiked(60, 31)), {}, "robust_arcsinh"),
        (missing(series(60)), {}, "robust"),
        (spiked(60, 30, size=20.0), {}, "robust"),
        (spiked(60, 30), {"loss": "mse"}, "robust"),
        (spiked(60, 30), {"loss": "normal"}, "robust"),
        (spiked(60, 30), {"loss": "gamma"}, "mean"),
        (spiked(60, 30), {"scaler": "standard"}, "standard"),
        (pd.Series(5.0, series(60).index), {}, "robust"),
        (pd.Series(np.arange(60) % 30 == 0, series(60).index).astype(float), {}, "robust"),
        (np.exp(series(60).cumsum() / 60), {}, "robust_arcsinh"),
        (panel_with(2), {}, "robust"),
        (panel_with(3), {}, "robust_arcsinh"),
    ],
)
def test_targets_are_bent_only_where_spikes_would_drown_the_rest(y, parameters, scaler):
    forecaster = trained(y, [1], **parameters)
    assert forecaster._fitted.model.encoder.scaler == scaler
    expected = scaler if "scaler" in parameters else "robust"
    assert forecaster._fitted.model.encoder.covariate_scaler == expected


def test_half_of_an_update_trains_on_the_new_rows():
    y = series(120)
    forecaster = tiny(context_length=4).fit(y[:100], fh=[1, 2])
    drawn = []

    class Cutoffs(Callback):
        def on_train_begin(self, net, X=None, **kwargs):
            dataset = X[0]
            rng = np.random.default_rng(0)
            drawn.append(dataset.place(dataset.draw(rng))[1])

    forecaster.callbacks = [Cutoffs]
    forecaster.members_[0].callbacks.append(Cutoffs())
    forecaster.members_[0].initialize_callbacks()
    forecaster.update(y[100:], update_params=True)
    cutoffs = np.concatenate(drawn)
    recent = cutoffs > 98  # their two steps end in the 20 new rows
    assert 0.45 < recent.mean() < 0.75  # half by intent, and some of the others by chance


class Cutoffs(Callback):
    """Notes the cutoffs of the windows that are trained on, and of those held out."""

    trained: list
    held_out: list

    def on_train_begin(self, net, X=None, **kwargs):
        dataset, validation = X
        Cutoffs.trained = dataset.place(np.arange(len(dataset)))[1].tolist()
        Cutoffs.held_out = [validation.dataset.place(k)[1].item() for k in validation.indices]


def test_no_window_that_is_held_out_is_trained_on():
    y = series(90)
    tiny(callbacks=[Cutoffs], context_length=4, validation_fraction=0.25).fit(y, fh=[1, 2, 3])
    assert Cutoffs.trained == list(range(4, 65))  # the last targets are the rows 64, 65 and 66
    assert Cutoffs.held_out == list(range(67, 88))  # a quarter of the 84 cutoffs


def test_an_update_draws_twice_as_many_windows_as_it_brings_rows():
    forecaster = trained(series(130)[:100], [1, 2], max_windows_per_epoch=2560)
    Watch.sizes.clear()
    forecaster.update(series(130)[100:], update_params=True)
    assert sum(Watch.sizes) == 60


@pytest.mark.parametrize(
    ("rows", "freq", "fh", "norm"),
    [
        (1000, "h", range(1, 25), 168),  # seven days
        (1000, "h", range(1, 91), 180),  # no less than the context
        (130, "h", range(1, 25), 106),  # what the data have, one horizon left
        (200, "YS", [1], 64),  # no season: the context
    ],
)
def test_targets_are_normalised_over_seven_seasons(rows, freq, fh, norm):
    forecaster = tiny().fit(series(rows, freq), fh=fh)
    assert forecaster._fitted.model.spec.norm_length == norm


def test_a_numpy_random_state_is_drawn_from_at_every_fit():
    forecaster = tiny(random_state=np.random.RandomState(7))
    twin = np.random.RandomState(7)
    expected = [int(twin.randint(2**31)) for _ in range(3)]
    assert [forecaster._draw_seed() for _ in range(3)] == expected


def test_the_future_of_past_covariates_is_not_shown_to_the_network():
    y = series(60)
    noise = np.random.default_rng(3).normal(size=(60, 2))
    X = pd.DataFrame(noise, y.index, columns=["late", "heat"])
    X["sky"], X["kind"] = np.where(noise[:, 0] > 0, "clear", "rain"), "plain"
    forecaster = tiny(past_covariates=["late", "kind"], context_length=4).fit(y, X=X, fh=[1, 2])
    spec = forecaster._fitted.model.spec
    assert spec.known == (1,)  # of late and heat
    assert spec.known_categories == (0,)  # of sky and kind


def test_x_that_nothing_can_weigh_is_not_left_unread_in_silence():
    index = pd.period_range("2020-01", periods=20, freq="M")
    X = pd.DataFrame({"x": np.arange(20.0)}, index)
    y = pd.Series(np.arange(20.0) % 7, index)
    with pytest.warns(UserWarning, match="12 rows, too few to hold some .* horizon of 6.*X is not"):
        tiny().fit(y[:12], X=X[:12], fh=range(1, 7))
    for data, settings in (((y[:12], None), {}), ((y[:12], X[:12]), {"calibration": "none"})):
        tiny(**settings).fit(data[0], X=data[1], fh=range(1, 7))
    tiny().fit(y, X=X, fh=[1, 2])


def test_simple_forecasts_learn_from_horizons_that_are_observed_in_part(monkeypatch):
    found = {}

    def learn(store, spec, series, cutoff, *arguments):
        found.update(cutoff=cutoff)
        return learn_simple(store, spec, series, cutoff, *arguments)

    monkeypatch.setattr(calibrating, "learn_simple", learn)
    tiny().fit(series(40), fh=range(1, 7))
    assert found["cutoff"].max() == 39  # one row behind it
