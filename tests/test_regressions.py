"""Faults that a review found, each with the test that would have shown it."""

import numpy as np
import pandas as pd
import pytest

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import TransformerLSTM

TINY = {"d_model": 4, "num_heads": 2, "max_epochs": 1, "random_state": 0}


def panel(lengths, freq="D", make=lambda rng, n: rng.poisson(4, n).astype(float)):
    rng = np.random.default_rng(0)
    parts = {
        f"series {key}": pd.DataFrame(
            {"y": make(rng, length)}, pd.date_range("2024-01-01", periods=length, freq=freq)
        )
        for key, length in enumerate(lengths)
    }
    return pd.concat(parts)


@pytest.mark.parametrize("loss", ["poisson", "negative_binomial"])
def test_series_of_zeros_are_ordinary_counts(loss):
    y = panel((60, 60))
    y.loc["series 1"] = 0.0
    forecaster = TransformerLSTMForecaster(**TINY, loss=loss).fit(y, fh=[1, 2])
    assert np.isfinite(forecaster.predict().to_numpy()).all()
    assert np.isfinite(forecaster.predict_interval().to_numpy()).all()
    new = panel((9,)).rename(index={"series 0": "series 9"}) * 0.0
    forecaster.update(new, update_params=False)
    assert np.isfinite(forecaster.predict().loc["series 9"].to_numpy()).all()


@pytest.mark.parametrize("loss", ["poisson", "gamma", "log_normal"])
def test_series_without_any_observation_are_forecast(loss):
    y = panel((60, 60), make=lambda rng, n: rng.poisson(4, n) + 1.0)
    y.loc["series 1"] = np.nan
    with pytest.warns(UserWarning, match=r"in 1 of 2 series, such as \['series 1'\]: nothing is k"):
        forecaster = TransformerLSTMForecaster(**TINY, loss=loss).fit(y, fh=[1, 2])
    assert np.isfinite(forecaster.predict().to_numpy()).all()


def test_horizon_by_rule_stays_small_on_fine_steps():
    minutes = pd.date_range("2024-01-01", periods=9000, freq="min")
    y = pd.Series(np.arange(9000) % 60.0, minutes)
    forecaster = TransformerLSTMForecaster(**TINY, max_windows_per_epoch=16).fit(y)
    assert (forecaster.prediction_length_, forecaster.context_length_) == (96, 384)


def test_fine_tuning_adapts_its_batches_as_training_does():
    forecaster = TransformerLSTMForecaster(**TINY, finetune_epochs=1)
    forecaster.pretrain(panel((400, 400)), fh=[1, 2])
    assert forecaster.pretrained_model_.members[0].batch_size > 8
    forecaster.fit(panel((30,)), fh=[1, 2])
    assert len(forecaster.net_.history[-1]["batches"]) == 20


def test_covariates_that_pretraining_did_not_see_are_an_error():
    y = panel((40, 40))
    forecaster = TransformerLSTMForecaster(**TINY).pretrain(y, fh=[1])
    with pytest.raises(ValueError, match="pretrained without X"):
        forecaster.fit(y, X=y.rename(columns={"y": "x"}))


def test_a_subclass_may_have_its_own_parameters():
    class Wide(SkorchForecaster):
        def __init__(self, width=4):
            self.width = width
            super().__init__(
                TransformerLSTM, {"d_model": width, "num_heads": 2}, max_epochs=1, random_state=0
            )

    y = pd.Series(np.arange(30.0))
    forecast = Wide(8).fit(y, fh=[1, 2]).predict()
    assert len(forecast) == 2
    assert Wide(8).get_params() == {"width": 8}


def test_smaller_batches_by_net_params_are_counted_by_the_schedule():
    y = pd.Series(np.arange(60.0))
    net_params = {"iterator_train__batch_size": 4}
    parameters = {**TINY, "max_epochs": 3, "net_params": net_params}
    assert np.isfinite(TransformerLSTMForecaster(**parameters).fit(y, fh=[1]).predict()).all()


def test_dropping_every_batch_is_an_error():
    y = pd.Series(np.arange(60.0))
    net_params = {"iterator_train__drop_last": True, "iterator_train__batch_size": 5000}
    with pytest.raises(ValueError, match="no whole batch"):
        TransformerLSTMForecaster(**TINY, net_params=net_params).fit(y, fh=[1])


def test_two_months_are_a_monthly_step():
    y = pd.Series([1.0, 2.0], pd.DatetimeIndex(["2020-01-01", "2020-02-01"]))
    forecast = TransformerLSTMForecaster(**TINY).fit(y).predict(fh=pd.DatetimeIndex(["2020-03-01"]))
    assert len(forecast) == 1


@pytest.mark.parametrize("fraction", [0.5, 0.97])
def test_a_large_validation_share_leaves_training_something(fraction):
    y = pd.Series(np.arange(60.0))
    forecaster = TransformerLSTMForecaster(**TINY, validation_fraction=fraction)
    forecaster.fit(y, fh=range(1, 6))
    assert "valid_loss" in forecaster.net_.history[-1]


def test_a_head_without_quantiles_learns_its_intervals_from_errors():
    from sktime_tlstm.nn import Head

    class Middle(Head):
        num_parameters, point_statistic = 1, "median"

        def losses(self, parameters, target, *unit):
            return (parameters.squeeze(-1) - target).abs()

        def point(self, parameters):
            return parameters.squeeze(-1)

        def quantile(self, parameters, alphas):
            return parameters

    y = pd.Series(np.random.default_rng(0).normal(size=80))
    interval = TransformerLSTMForecaster(**TINY, loss=Middle()).fit(y, fh=[1]).predict_interval()
    assert (interval.iloc[:, 1] > interval.iloc[:, 0]).all()


def test_samples_of_different_series_are_independent():
    y = panel((80, 80), make=lambda rng, n: rng.normal(size=n))
    forecaster = TransformerLSTMForecaster(**TINY).fit(y, fh=[1])
    draws = forecaster.predict_samples(num_samples=400)["y"].unstack([1, 2]).to_numpy()
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.2
