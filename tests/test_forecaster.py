"""What the forecasters promise as a whole: covariates used, defaults that adapt, no dead option."""

import functools
import inspect
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.forecasting.base import BaseForecaster

from sktime_tlstm import ForecastWarning, SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import (
    ATTENTIONS,
    FEEDFORWARDS,
    NORMS,
    AttentionLSTM,
    PointHead,
    TransformerLSTM,
)

TINY = {"d_model": 8, "num_heads": 2, "max_epochs": 1, "max_windows_per_epoch": 32}


def driven_series(num_rows: int = 600) -> tuple[pd.Series, pd.DataFrame]:
    """A series that follows a known input, which its own past does not tell."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=num_rows)
    y = 5 + 2 * u + np.roll(u, 1) + 0.05 * rng.normal(size=num_rows)
    return pd.Series(y, name="field"), pd.DataFrame({"current": u})


def hourly_series(num_rows: int = 400) -> tuple[pd.Series, pd.DataFrame]:
    rng = np.random.default_rng(1)
    index = pd.date_range("2024-01-01", periods=num_rows, freq="h")
    X = pd.DataFrame({"heat": rng.normal(size=num_rows)}, index)
    X["kind"] = np.where(index.dayofweek < 5, "work", "rest")
    X["late"] = rng.normal(size=num_rows)
    y = np.sin(2 * np.pi * index.hour / 24) + 0.3 * X["heat"] + 0.1 * rng.normal(size=num_rows)
    return y.rename("load"), X


@pytest.mark.slow
def test_known_future_covariates_lower_the_error_at_least_fivefold():
    y, X = driven_series()
    train, test = slice(0, 588), slice(588, 600)
    forecaster = TransformerLSTMForecaster(d_model=32, random_state=0, lr=5e-3)
    fh = range(1, 13)
    with_X = forecaster.clone().fit(y[train], X=X[train], fh=fh).predict(X=X[test])
    without = forecaster.clone().fit(y[train], fh=fh).predict()
    error, blind = (np.abs(p - y[test]).mean() for p in (with_X, without))
    assert blind > 5 * error


def test_permuting_the_future_covariates_changes_the_forecast():
    y, X = driven_series(120)
    forecaster = TransformerLSTMForecaster(**TINY, random_state=0)
    forecaster.fit(y[:110], X=X[:110], fh=range(1, 6))
    future = X[110:115]
    shuffled = pd.DataFrame(future.to_numpy()[::-1], future.index, future.columns)
    assert (forecaster.predict(X=future) != forecaster.predict(X=shuffled)).all()


INDICES = {
    "integers": lambda n: pd.RangeIndex(3, 3 + n),
    "hours": lambda n: pd.date_range("2024-03-01", periods=n, freq="h"),
    "months": lambda n: pd.period_range("2001-01", periods=n, freq="M"),
    "business days": lambda n: pd.date_range("2024-03-01", periods=n, freq="B"),
}


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 31])
def test_defaults_work_on_any_length_and_index(index, num_rows):
    y = pd.Series(np.arange(num_rows, dtype=float) ** 1.5, INDICES[index](num_rows))
    forecaster = TransformerLSTMForecaster(max_epochs=1, d_model=8, random_state=0)
    assert forecaster.fit(y, fh=[1, 2, 5]) is forecaster
    assert np.isfinite(forecaster.predict()).all()
    interval = forecaster.predict_interval(coverage=[0.5, 0.99])
    assert np.isfinite(interval.to_numpy()).all()
    assert forecaster.context_length_ >= 1


@pytest.mark.parametrize(
    ("freq", "num_rows", "context", "horizon"),
    [("h", 5000, 48, 24), ("h", 60, 40, 20), ("MS", 200, 48, 12), ("D", 300, 28, 7)],
)
def test_context_and_horizon_follow_the_season_and_the_length(freq, num_rows, context, horizon):
    y = pd.Series(0.0, pd.date_range("2020-01-01", periods=num_rows, freq=freq)) + 1.0
    forecaster = TransformerLSTMForecaster(**TINY).fit(y)
    assert (forecaster.context_length_, forecaster.prediction_length_) == (context, horizon)


def test_default_training_is_a_bounded_number_of_steps_on_any_data():
    def steps(num_rows: int, num_series: int) -> int:
        index = pd.MultiIndex.from_product([range(num_series), range(num_rows)])
        y = pd.DataFrame({"y": np.arange(len(index)) % 7.0}, index)
        forecaster = TransformerLSTMForecaster(context_length=2, d_model=4, max_epochs=2)
        forecaster.fit(y, fh=[1])
        return sum(epoch["train_batch_count"] for epoch in forecaster.net_.history)

    assert steps(num_rows=10, num_series=1) == 2 * 20
    assert steps(num_rows=2000, num_series=5) == 2 * 40  # 2,560 windows an epoch, 64 a batch
    assert steps(num_rows=2000, num_series=60) == 2 * 96  # 120,000 rows: 2.4 times as many


@pytest.mark.slow
def test_a_thousand_long_series_train_in_bounded_steps_and_memory():
    script = """
import numpy as np, pandas as pd, torch
from sktime_tlstm import TransformerLSTMForecaster

def kibibytes(name):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1])

torch.set_num_threads(1)
hours = pd.date_range("2024-01-01", periods=1000, freq="h")
index = pd.MultiIndex.from_product([range(1000), hours])
y = pd.DataFrame({"y": np.random.default_rng(0).normal(size=len(index))}, index)
forecaster = TransformerLSTMForecaster(max_epochs=1, random_state=0)
forecaster.clone().set_params(max_windows_per_epoch=64).fit(y.loc[:2])  # loads what it needs
before = kibibytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # forgets the peak, and that of the parent
forecaster.fit(y)
print(len(forecaster.net_.history[-1]["batches"]), (kibibytes("VmHWM") - before) / 2**10)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    steps, megabytes = map(float, ran.stdout.split())
    assert steps == 320  # eight times those of 50,000 rows
    assert megabytes < 200


def test_horizon_comes_from_fh_then_from_prediction_length():
    y, _ = driven_series(60)
    forecaster = TransformerLSTMForecaster(**TINY, prediction_length=5)
    assert forecaster.fit(y).prediction_length_ == 5
    assert forecaster.fit(y, fh=[2, 7]).prediction_length_ == 7
    assert forecaster.fit(y, fh=[-3, 0]).prediction_length_ == 1


ALTERNATIVES = {
    "mode": "simulation",
    "context_length": 7,
    "prediction_length": 9,
    "d_model": 4,
    "num_layers": 2,
    "num_transformer_blocks": 0,
    "num_heads": 4,
    "dropout": 0.3,
    "causal_attention": True,
    "attention": "interpretable",
    "num_modes": 3,
    "encoder_attention": True,
    "share_lstm_weights": True,
    "trainable_add": True,
    "norm": "rms",
    "norm_first": True,
    "final_norm": True,
    "feedforward": "gelu",
    "dim_feedforward": 5,
    "num_experts": 3,
    "experts_per_token": 1,
    "capacity_factor": 0.5,
    "expert": "swiglu",
    "share_layers": True,
    "window_sampling": "uniform",
    "max_windows_per_epoch": 16,
    "past_covariates": ["late"],
    "hidden_past": ["heat"],
    "static_covariates": ["size"],
    "series_embedding": True,
    "time_features": ("time_of_day",),
    "target_lags": (5,),
    "scaler": "standard",
    "window_norm": "mean",
    "loss": "mae",
    "quantiles": (0.2, 0.5, 0.7),
    "step_weights": (1, 1, 1, 1, 9),
    "input_noise": 0.5,
    "min_context_length": 2,
    "max_epochs": 3,  # of which two come before the training on all rows, and not one
    "batch_size": 5,
    "lr": 1e-2,
    "optimizer": "sgd",
    "weight_decay": 0.0,
    "gradient_clip": 1e-3,
    "lr_schedule": "cosine",
    "validation_fraction": 0.2,
    "validation_series": ["short"],
    "num_members": 2,
    "calibration": "none",
    "callbacks": None,  # see test_compositions
    "precision": "bf16-mixed",
    "random_state": 1,
    "net_params": {"optimizer__eps": 1e-2},
}
#: What an option needs to act.
PARTNERS = {
    "num_modes": {"attention": "frequency"},
    "dim_feedforward": {"feedforward": "swiglu"},
    "num_experts": {"feedforward": "moe"},
    "experts_per_token": {"feedforward": "moe"},
    "capacity_factor": {"feedforward": "moe"},
    "expert": {"feedforward": "moe"},
    "share_layers": {"num_transformer_blocks": 2},
}
#: Further values, each with a forecast of its own.
KINDS = {
    "attention": ["multi_head", "interpretable", "frequency"],
    "feedforward": [None, "relu", "gelu", "silu", "swiglu", "moe"],
    "norm": ["layer", "rms", "adaptive"],
}
#: Parameters that act on something else than a first fit and its forecast, tested where they do.
ELSEWHERE = {
    "attention_kernel": "below",
    "callbacks": "test_compositions",
    "checkpoint_dir": "test_checkpoints",
    "compile": "test_runtime",
    "device": "test_runtime",
    "finetune_epochs": "test_semantics",
    "gradient_checkpointing": "below",
    "num_samples": "below",
    "patience": "test_net",
    "update_epochs": "test_semantics",
    "verbose": "test_net",
    "weight_column": "test_weights",
}


def fitted_forecast(**changes) -> pd.DataFrame:
    """Forecasts of a panel of unequal series, so that every option can show."""
    y, X = hourly_series()
    long, short = ("long", slice(0, 350)), ("short", slice(300, 350))
    panel = pd.concat({name: y[rows].to_frame() for name, rows in (long, short)})
    size = {"long": 3.0, "short": 1.0}
    covariates = pd.concat({name: X[rows].assign(size=size[name]) for name, rows in (long, short)})
    future = pd.concat({name: X[350:360].assign(size=own) for name, own in size.items()})
    parameters = {**TINY, "batch_size": 8, "random_state": 0, **changes}
    forecaster = TransformerLSTMForecaster(**parameters)
    fh = None if "prediction_length" in changes else range(1, 6)
    return forecaster.fit(panel, X=covariates, fh=fh).predict(fh=range(1, 6), X=future)


def test_every_parameter_is_in_one_of_the_tables():
    parameters = set(TransformerLSTMForecaster.get_param_defaults())
    assert parameters == set(ALTERNATIVES) | set(ELSEWHERE)


@pytest.fixture(scope="module")
def forecasts():
    """Return `fitted_forecast`, which remembers its forecasts."""
    return functools.cache(fitted_forecast)


#: What options are warned of: the one series that is left to train has one size.
TOLD = {"validation_series": "'size' from 1 to 3 where training had nothing but 3"}


@pytest.mark.parametrize("name", sorted(set(ALTERNATIVES) - set(ELSEWHERE)))
def test_two_values_of_an_option_give_two_forecasts(name, forecasts):
    partners = PARTNERS.get(name, {})
    with pytest.warns(ForecastWarning, match=TOLD[name]) if name in TOLD else nullcontext():
        changed = fitted_forecast(**partners, **{name: ALTERNATIVES[name]})
    assert np.isfinite(changed.to_numpy()).all()
    assert not np.array_equal(changed, forecasts(**partners))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_a_block_gives_a_forecast_of_its_own(name, forecasts):
    results = {forecasts(**{name: kind}).to_numpy().tobytes() for kind in KINDS[name]}
    assert len(results) == len(KINDS[name])
    assert set(KINDS[name]) >= set({"attention": ATTENTIONS, "norm": NORMS}.get(name, FEEDFORWARDS))


def test_gradient_checkpointing_gives_the_same_forecast():
    options = {"dropout": 0.2, "feedforward": "moe", "num_transformer_blocks": 2}
    plain, spared = (
        fitted_forecast(**options, gradient_checkpointing=spare) for spare in (False, True)
    )
    np.testing.assert_allclose(plain, spared, rtol=1e-5)


@pytest.mark.parametrize("kernel", ["math", "flash"])
def test_kernels_of_attention_give_the_same_forecast(kernel, forecasts):
    found = fitted_forecast(attention_kernel=kernel)
    np.testing.assert_allclose(found, forecasts(), rtol=1e-4)


def test_num_samples_sets_the_paths_beyond_the_horizon():
    y, _ = driven_series(60)
    spread = [
        TransformerLSTMForecaster(**TINY, num_samples=number, random_state=0)
        .fit(y, fh=[1])
        .predict_interval(fh=[9], coverage=0.9)
        for number in (5, 50)
    ]
    assert not spread[0].equals(spread[1])


def test_flagship_is_the_general_forecaster_with_its_network():
    y, _ = driven_series(80)
    flat = TransformerLSTMForecaster(**TINY, num_layers=2, random_state=0)
    network = {"d_model": 8, "num_heads": 2, "num_layers": 2, "num_transformer_blocks": 1}
    plain = {"dropout": 0.0, "causal_attention": False, "attention": "multi_head"}
    general = SkorchForecaster(
        TransformerLSTM,
        {**network, **plain, "encoder_attention": False},
        max_epochs=1,
        max_windows_per_epoch=32,
        random_state=0,
    )
    pd.testing.assert_series_equal(
        flat.fit(y, fh=[1, 2]).predict(), general.fit(y, fh=[1, 2]).predict()
    )


def test_defaults_of_both_forecasters_agree():
    flat = TransformerLSTMForecaster.get_param_defaults()
    general = SkorchForecaster.get_param_defaults()
    shared = set(general) - {"module", "module_params"}
    assert {name: flat[name] for name in shared} == {name: general[name] for name in shared}


def test_docstrings_name_every_parameter():
    for forecaster in (SkorchForecaster, TransformerLSTMForecaster):
        own = set(forecaster.get_param_defaults())
        if forecaster is TransformerLSTMForecaster:
            own -= set(SkorchForecaster.get_param_defaults())
        documented = inspect.getdoc(forecaster)
        assert [name for name in own if f"\n{name}" not in documented] == []


def test_module_of_ones_own_in_ten_lines_forecasts():
    class Flat(torch.nn.Module):
        def __init__(self, num_past_features, num_future_features, output_dim=1):
            super().__init__()
            self.past = torch.nn.Linear(num_past_features, output_dim)
            self.future = torch.nn.Linear(num_future_features, output_dim)

        def forward(self, past, future, past_lengths=None, future_lengths=None):
            return self.future(future) + self.past(past[:, :1])

    y, X = driven_series(100)
    forecaster = SkorchForecaster(Flat, max_epochs=2, random_state=0)
    forecaster.fit(y[:90], X=X[:90], fh=[1, 2, 3])
    assert forecaster.predict(X=X[90:93]).shape == (3,)
    assert isinstance(forecaster.net_.module_, Flat)


def test_head_object_is_a_loss():
    y, _ = driven_series(60)
    named, given = (
        TransformerLSTMForecaster(**TINY, loss=loss, random_state=0).fit(y, fh=[1, 2]).predict()
        for loss in ("huber", PointHead("huber"))
    )
    pd.testing.assert_series_equal(named, given)


def test_category_columns_reach_the_network_as_embeddings():
    y, X = hourly_series()
    forecaster = SkorchForecaster(
        AttentionLSTM, {"d_model": 4, "num_heads": 2}, max_epochs=1, random_state=0
    )
    forecaster.fit(y[:300], X=X[["kind"]][:300], fh=range(1, 25))
    work, rest = (
        forecaster.predict(X=X[["kind"]][300:324].assign(kind=kind)) for kind in ("work", "rest")
    )
    assert (work != rest).all()


def test_contract_methods_are_all_public_methods_of_sktime():
    y, _ = driven_series(60)
    forecaster = TransformerLSTMForecaster(**TINY).fit(y, fh=[1, 2])
    assert isinstance(forecaster, BaseForecaster)
    assert forecaster.get_fitted_params()["net"] is forecaster.net_
    assert forecaster.predict_var().shape == (2, 1)
    distribution = forecaster.predict_proba()
    np.testing.assert_allclose(distribution.var(), forecaster.predict_var(), rtol=1e-6)
    median = forecaster.predict_quantiles(alpha=[0.5]).to_numpy()
    np.testing.assert_allclose(distribution.quantile([0.5]).to_numpy(), median, rtol=0.05)
    alone = TransformerLSTMForecaster(**TINY, calibration="none").fit(y, fh=[1, 2])
    median = alone.predict_quantiles(alpha=[0.5]).to_numpy()
    np.testing.assert_allclose(median[:, 0], alone.predict(), rtol=1e-6)
