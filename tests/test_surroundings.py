"""What a caller has set in torch changes no forecast."""

from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.split import ExpandingWindowSplitter
from torch import nn

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.surroundings import _default_device, usual_torch

DAYS = pd.date_range("2022-06-01", periods=50, freq="D")
Y = pd.Series(np.arange(50) % 7 + 3.0, DAYS)
X = pd.DataFrame({"a": np.cos(np.arange(50)), "b": list("pqrst") * 10}, DAYS)
TINY = {"context_length": 6, "max_epochs": 1, "max_windows_per_epoch": 16, "num_samples": 4}


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SURROUNDINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "another device": lambda: default_device("meta"),
    "a device's block": lambda: torch.device("meta"),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


class Own(nn.Module):
    """A network that leaves dtypes and devices to torch, and draws."""

    def __init__(self, num_past_features, num_future_features, output_dim):
        super().__init__()
        self.linear = nn.Linear(num_future_features, output_dim)
        self.scale = nn.Parameter(torch.rand(output_dim))
        self.dropout = nn.Dropout(0.3)

    def forward(self, past, future, past_lengths=None):
        steps = torch.arange(future.shape[1]) / 3 + torch.tensor([0.5])
        noise = 0.01 * torch.randn(future.shape[1]) if self.training else torch.zeros(())
        return self.linear(self.dropout(future)) * self.scale + (steps + noise)[:, None]


def flat(**parameters):
    return TransformerLSTMForecaster(d_model=4, num_heads=2, random_state=1, **TINY, **parameters)


FORECASTERS = {
    "default": lambda: flat(dropout=0.2),
    "mse": lambda: flat(loss="mse", calibration="adaptive"),
    "counts": lambda: flat(loss="negative_binomial"),
    "checkpoints": lambda: flat(feedforward="moe", gradient_checkpointing=True, dropout=0.1),
    "own network": lambda: SkorchForecaster(Own, random_state=1, **TINY),
}


def everything(make):
    """Return all kinds of answers of a forecaster."""
    forecaster = make().fit(Y[:40], X=X, fh=[1, 2])
    cv = ExpandingWindowSplitter([1, 2], initial_window=46, step_length=2)
    answers = [
        forecaster.predict([-3, 1, 7], X=X).to_frame(),
        forecaster.predict_quantiles([1, 7], X=X, alpha=[0.2]),
        forecaster.predict_var([1, 7], X=X),
        forecaster.predict_samples([1, 7], X=X),
        forecaster.predict_residuals().to_frame(),
        forecaster.update(Y[40:43], X=X).predict([2], X=X).to_frame(),
        forecaster.backtest(Y, X, cv, update_every=1).iloc[:, :1],
    ]
    panel = pd.concat({"p": Y[:30].to_frame("y"), "q": Y.to_frame("y")})
    answers.append(make().pretrain(panel).fit(Y[:40]).predict([1, 3]).to_frame())
    return answers


def assert_same(answers, usual):
    for found, expected in zip(answers, usual, strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.fixture(scope="module")
def usual():
    return everything(FORECASTERS["default"])


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_forecasts_are_the_same_in_all_surroundings(surrounding, usual):
    with SURROUNDINGS[surrounding]():
        answers = everything(FORECASTERS["default"])
    assert_same(answers, usual)


@pytest.mark.parametrize("name", [name for name in FORECASTERS if name != "default"])
def test_forecasts_of_every_kind_are_the_same_in_another_precision_on_another_device(name):
    usual = everything(FORECASTERS[name])
    with default_dtype(torch.float64), default_device("meta"):
        answers = everything(FORECASTERS[name])
    assert_same(answers, usual)


def test_what_was_fitted_in_inference_mode_is_trained_on_outside():
    with torch.inference_mode():
        forecaster = flat().fit(Y[:40], fh=[1, 2])
    forecaster.update(Y[40:43])
    usual = flat().fit(Y[:40], fh=[1, 2]).update(Y[40:43])
    pd.testing.assert_series_equal(forecaster.predict(), usual.predict())


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_the_surroundings_are_as_before_after_a_call(surrounding):
    def seen():
        return (
            torch.get_default_dtype(),
            _default_device(),
            torch.is_inference_mode_enabled(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
        )

    with SURROUNDINGS[surrounding]():
        before = seen()
        with usual_torch():
            pass
        assert seen() == before


def test_a_dtype_that_is_asked_for_is_kept():
    with default_dtype(torch.float64), usual_torch():
        assert torch.zeros(3).dtype == torch.float32
        assert torch.zeros(3, dtype=torch.float64).dtype == torch.float64
        assert torch.ones(3).double().dtype == torch.float64
        assert torch.ones(3).to(torch.float64).dtype == torch.float64
        assert torch.as_tensor(np.ones(3)).dtype == torch.float64
        assert (torch.ones(3, dtype=torch.float64) * 2).dtype == torch.float64
        assert (torch.arange(7) / 5).dtype == torch.float32
        assert torch.arange(7).dtype == torch.int64


def test_a_default_device_that_was_taken_back_is_the_cpu(monkeypatch):
    def stumbles():
        raise AttributeError("'NoneType' object has no attribute 'device'")

    monkeypatch.setattr(torch, "get_default_device", stumbles)
    with usual_torch():
        assert torch.zeros(1).device.type == "cpu"
