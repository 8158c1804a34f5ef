"""Values of y that training takes for true, and most likely are not."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sktime_tlstm import ForecastWarning, TransformerLSTMForecaster


def tiny(**settings):
    parameters = {"d_model": 8, "num_heads": 2, "max_epochs": 1, "max_windows_per_epoch": 16}
    return TransformerLSTMForecaster(**parameters, random_state=0, **settings)


def daily(number=160, seed=0):
    index = pd.date_range("2024-01-01", periods=number)
    return pd.Series(30 + np.random.default_rng(seed).normal(size=number), index, name="load")


def told(y, **settings):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ForecastWarning)
        tiny(**settings).fit(y, fh=[1, 2, 3])
    return [str(one.message) for one in found if issubclass(one.category, ForecastWarning)]


@pytest.mark.parametrize("value", [0.0, None, 31.5])
def test_an_end_that_stands_still_is_told(value):
    y = daily()
    y.iloc[-9:] = y.iloc[-10] if value is None else value
    (words,) = told(y)
    assert "ends with equal values in 'load'" in words
    assert ("10 times" if value is None else f"9 times {value:g}") in words
    assert "pass NaN" in words


@pytest.mark.parametrize("scaler", ["robust_arcsinh", "standard", None])
def test_another_unit_at_the_end_is_told_whatever_the_scaling(scaler):
    y = daily(300)
    y.iloc[-28:] /= 1000
    words = " ".join(told(y, scaler=scaler))
    assert "another size in 'load', " in words
    assert "convert the rows before" in words


@pytest.mark.parametrize(("mark", "rows"), [(-999.0, [40, 41, 90]), (-9999.0, [159]), (-99.0, [3])])
def test_marks_of_missing_values_are_told(mark, rows):
    y = daily()
    y.iloc[rows] = mark
    (words,) = told(y)
    assert f"marks of missing values in 'load', {mark:g} in {len(rows)} rows" in words


def test_series_of_a_panel_are_named():
    frames = {key: daily(seed=seed).to_frame() for seed, key in enumerate("abcdef")}
    for key in "bcdef":
        frames[key].iloc[-8:] = 7.0
    (words,) = told(pd.concat(frames))
    assert "8 times 7 of series 'b'" in words
    assert "and in 2 more series" in words


def sparse():
    rng, y = np.random.default_rng(1), daily(240)
    y[:] = np.where(rng.random(240) < 0.08, rng.integers(1, 9, 240), 0)
    y.iloc[-9:] = 0
    return y


def slow():
    rng, y = np.random.default_rng(5), daily(60)
    y[:] = np.where(rng.random(60) < 0.1, 1.0, 0.0)
    y.iloc[-14:], y.iloc[-15] = 0.0, 1.0
    return y


def pressure():
    y = daily(200)
    y[:] = (
        101325 + np.random.default_rng(6).normal(size=200) * np.r_[np.ones(170), np.full(30, 0.02)]
    )
    return y


def promotions():
    y = daily(200)
    y[:] = np.resize([9.99] * 10 + [7.99] * 4, 200)
    y.iloc[-16:] = 9.99
    return y


def growing():
    y = daily(300)
    y *= np.exp(np.arange(300) / 40)
    return y


def of_seasons():
    y = daily(900)
    y *= 1 + np.exp(6 * np.cos(2 * np.pi * np.arange(900) / 300))
    return y


def in_steps():
    y = daily(240)
    y[:] = np.repeat(np.random.default_rng(2).normal(size=12), 20)
    return y


def around_a_mark():
    y = daily(200, seed=3)
    y += 969
    y.iloc[20] = 999.0
    return y


@pytest.mark.parametrize(
    "data",
    [daily, sparse, slow, pressure, promotions, growing, of_seasons, in_steps, around_a_mark],
)
def test_what_is_usual_is_not_told(data):
    assert not told(data())
