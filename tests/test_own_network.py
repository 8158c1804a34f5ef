"""The network of docs/own_network.md, taken from the page, does all that a network must."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import SkorchForecaster

PAGE = Path(__file__).parents[1] / "docs" / "own_network.md"
FH = [1, 2, 3]
TINY = {"max_epochs": 1, "max_windows_per_epoch": 32, "context_length": 7, "random_state": 0}


def blocks():
    """Return the blocks of Python of the page."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def page():
    """Return the page's code as a module, run to its end."""
    module = ModuleType("own_network")
    sys.modules[module.__name__] = module  # a net is copied by way of a pickle
    for block in blocks():
        exec(compile(block, PAGE.name, "exec"), vars(module))
    yield module
    del sys.modules[module.__name__]


def series(rows, seed=0):
    values = 50 + 10 * np.sin(np.arange(rows) * np.pi / 6)
    values = values + np.random.default_rng(seed).normal(size=rows)
    return pd.Series(values, pd.period_range("2010-01", periods=rows, freq="M"), name="sales")


def test_the_network_is_ten_lines_long():
    _, _, network = blocks()[0].partition("import torch\n")
    assert len([line for line in network.splitlines() if line]) == 10


def test_its_forecasts_are_far_better_than_repeating_the_last_value(page):
    y = series(180)
    forecaster = SkorchForecaster(page.GRUPair, max_epochs=3, random_state=0)
    forecaster.fit(y[:-12], fh=range(1, 13))
    error = (forecaster.predict() - y[-12:]).abs().mean()
    naive = (y[-12:] - y.iloc[-13]).abs().mean()
    assert error < 0.4 * naive
    interval = forecaster.predict_interval(coverage=0.9)["sales"][0.9]
    held = (interval["lower"] <= y[-12:]) & (y[-12:] <= interval["upper"])
    assert held.mean() > 0.5


@pytest.mark.parametrize("length", [1, 4, 6])
def test_rows_do_not_depend_on_their_batch(page, length):
    network = page.GRUPair(3, 2, output_dim=5).eval()
    past, future = torch.randn(4, 7, 3), torch.randn(4, 3, 2)
    lengths = torch.tensor([7, length, 2, 5])
    padded = network(past, future, past_lengths=lengths)
    assert padded.shape == (4, 3, 5)
    alone = network(past[1:2, :length], future[1:2])
    torch.testing.assert_close(padded[1:2], alone, rtol=0, atol=1e-6)


def test_it_takes_panels_covariates_and_updates(page):
    y = pd.concat({"a": series(40), "b": series(5, seed=1)}).to_frame("sales")
    noise = np.random.default_rng(2).normal(size=len(y))
    X = pd.DataFrame({"heat": noise, "kind": ["x", "y", "z"] * 15}, y.index)
    early = y.groupby(level=0, group_keys=False).head(-3)
    forecaster = SkorchForecaster(page.GRUPair, {"width": 4}, **TINY)
    forecaster.fit(early, X=X.loc[early.index], fh=FH)
    forecast = forecaster.predict(X=X.drop(early.index))
    assert forecast.index.equals(y.index.drop(early.index))
    assert np.isfinite(forecast).all(axis=None)
    before = forecaster.net_.module_.network.output.weight.clone()
    forecaster.update(y.drop(early.index), X=X.drop(early.index), update_params=True)
    assert not torch.equal(forecaster.net_.module_.network.output.weight, before)


def test_static_covariates_reach_the_network_of_the_page(page):
    y = pd.concat({"a": series(40), "b": series(40)}).to_frame("sales")
    X = pd.DataFrame({"region": ["north"] * 40 + ["south"] * 40}, y.index)
    settings = {**TINY, "max_epochs": 3, "static_covariates": ["region"], "calibration": "none"}
    forecaster = SkorchForecaster(page.RegionalGRU, **settings).fit(y, X=X, fh=FH)
    forecast = forecaster.predict()
    assert not np.allclose(forecast.loc["a"], forecast.loc["b"])  # which differ in nothing else
