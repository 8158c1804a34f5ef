"""Forecasts of series that are shorter than the context, beside long ones that were learnt."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.calibration import SHORT_CONTEXTS
from sktime_tlstm.data.targets import SHORT_VALUES, UsualScale

HORIZON = 5


def shops(number, rows, seed):
    """Return sales around a level of their own, with a weekly cycle of a fifth of it."""
    rng = np.random.default_rng(seed)
    parts = {}
    for shop in range(number):
        day = np.arange(rows) + rng.uniform(0, 7)
        cycle = 1 + 0.2 * np.sin(2 * np.pi * day / 7) + 0.05 * rng.normal(size=rows)
        times = pd.date_range("2023-05-01", periods=rows)
        parts[f"{seed}-{shop}"] = pd.DataFrame({"sold": np.exp(rng.normal(4, 1)) * cycle}, times)
    return pd.concat(parts, names=["shop", "day"])


@pytest.fixture(scope="module")
def fitted():
    settings = {"d_model": 16, "max_epochs": 4, "batch_size": 32, "random_state": 0}
    return TransformerLSTMForecaster(**settings).fit(shops(30, 100, 1), fh=range(1, HORIZON + 1))


def part(y, begin, end):
    day = y.index.get_level_values("day")
    first = day.min()
    return y[(day >= first + pd.Timedelta(days=begin)) & (day < first + pd.Timedelta(days=end))]


@pytest.mark.parametrize("rows", [1, 2, 4, 6])
def test_intervals_of_series_of_few_rows_hold_what_they_say(fitted, rows):
    new = shops(60, 60, 2)
    later = copy.deepcopy(fitted)
    known = part(new, 40 - rows, 40)
    known.index = known.index.set_levels(known.index.levels[1] + pd.Timedelta(days=60), level=1)
    interval = later.update(known, update_params=False).predict_interval(coverage=0.9)["sold"][0.9]
    own = interval[interval.index.get_level_values("shop").str.startswith("2-")]
    truth = part(new, 40, 40 + HORIZON)["sold"].to_numpy()
    held = (own["lower"].to_numpy() <= truth) & (truth <= own["upper"].to_numpy())
    assert held.mean() > 0.75  # without a wider one 6 to 30 %
    before = fitted.predict_interval(coverage=0.9)["sold"][0.9]
    others = interval.loc[before.index.get_level_values("shop").unique()]
    ratio = np.ptp(others.to_numpy(), axis=1) / np.ptp(before.to_numpy(), axis=1)
    assert 0.7 < ratio.mean() < 1.4  # of series of which nothing new is known


def test_fewer_rows_are_never_surer(fitted):
    calibration = fitted._fitted.model.calibration
    factors = calibration.short.numpy()
    assert len(factors) == len(SHORT_CONTEXTS)
    assert factors[0] > 1.5 and factors[-1] == 1.0
    assert (np.diff(factors) <= 0).all()


def test_a_long_context_is_whole_from_many_rows_on():
    hours = pd.date_range("2024-02-01", periods=700, freq="h")
    y = pd.Series(np.random.default_rng(5).normal(size=700).cumsum(), hours)
    settings = {"d_model": 4, "max_epochs": 1, "max_windows_per_epoch": 64, "random_state": 0}
    long = TransformerLSTMForecaster(context_length=200, **settings).fit(y, fh=[1, 2, 3])
    rows = torch.tensor([1, 3, 127, 128, 200, 700])
    factors = long._fitted.model.calibration.shortness(rows)
    assert (factors[:3] >= 1.0).all() and (factors[3:] == 1.0).all()


def test_the_scale_of_few_values_is_drawn_to_that_of_other_series():
    y = shops(12, 60, 3)
    bounds = np.arange(0, len(y) + 1, 60)
    usual = UsualScale.of(y["sold"], bounds, "standard")
    assert usual.relative  # shops of all sizes sell in proportion
    assert usual.scale == pytest.approx(0.15, rel=0.1)
    flat = usual.drawn(200.0, 0.0, 2)  # two equal values
    assert flat == pytest.approx(200 * usual.scale * ((SHORT_VALUES - 2) / SHORT_VALUES) ** 0.5)
    apart = np.repeat(np.linspace(-900, 700, 12), 60)
    even = pd.Series(np.random.default_rng(4).normal(size=720) + apart, y.index)
    assert not UsualScale.of(even, bounds, "robust").relative  # of one size, wherever they lie
    assert UsualScale.of(y["sold"], bounds, "mean") is None  # whose scale is the level
    assert UsualScale.of(y["sold"][:240], bounds[:5], "standard") is None  # of four series
