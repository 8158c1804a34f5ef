"""Seasonality: seasons are found where there are some, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from sktime_tlstm.data.seasonality import find_seasons

ROWS = 200


def wave(period, rows=ROWS, seed=0, size=10.0):
    """Return a sine with noise of deviation 1."""
    noise = np.random.default_rng(seed).normal(size=rows)
    return size * np.sin(2 * np.pi * np.arange(rows) / period) + noise


def frame(*targets):
    return pd.DataFrame({f"y{number}": values for number, values in enumerate(targets)})


def panel(*series):
    frames = {number: pd.DataFrame({"y": values}) for number, values in enumerate(series)}
    return pd.concat(frames, names=["key", "time"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("period", [5, 7, 12])
def test_the_period_of_a_sine_with_noise_is_found(period, seed):
    y = frame(wave(period, seed=seed))
    assert isinstance(y.index, pd.RangeIndex)
    assert find_seasons(y) == (period,)
    assert find_seasons(1e6 * y - 1e9) == (period,)


@pytest.mark.parametrize("period", [5, 7, 12])
def test_a_shape_repeated_on_a_trend_is_found(period):
    rng = np.random.default_rng(period)
    shape = np.tile(rng.normal(size=period), ROWS)[:ROWS]
    y = 0.3 * np.arange(ROWS) + 5 * shape + rng.normal(size=ROWS)
    assert find_seasons(frame(y)) == (period,)


@pytest.mark.parametrize("rows", [60, 200, 1000])
@pytest.mark.parametrize("walks", [False, True])
def test_noise_and_random_walks_have_no_season(rows, walks):
    draws = [np.random.default_rng(seed).normal(size=rows) for seed in range(20)]
    found = [find_seasons(frame(draw.cumsum() if walks else draw)) for draw in draws]
    assert found.count(()) >= 19


def test_most_series_of_a_panel_must_agree():
    noise = np.random.default_rng(9).normal(size=ROWS)
    sevens, twelve = [wave(7, seed=seed) for seed in range(3)], wave(12)
    assert find_seasons(panel(*sevens, noise, twelve)) == (7,)
    assert find_seasons(panel(*sevens[:2], noise, twelve)) == ()  # half are no majority
    assert find_seasons(panel(sevens[0], noise, noise)) == ()
    assert find_seasons(panel(*sevens[:2], noise, noise, noise)) == ()


def test_targets_count_as_series_do():
    sevens, twelve = [wave(7, seed=seed) for seed in range(2)], wave(12)
    assert find_seasons(frame(*sevens, twelve)) == (7,)
    assert find_seasons(frame(sevens[0], twelve)) == ()


def test_series_do_not_flow_into_each_other():
    """Each holds half a season, and all of them together would hold many."""
    half = wave(20, rows=10)
    assert find_seasons(panel(*[half] * 30)) == ()
    assert find_seasons(frame(np.tile(half, 30))) == (10,)


def test_the_longest_series_are_those_that_are_looked_at():
    shorter = [wave(7, rows=150, seed=seed) for seed in range(70)]
    longer = [wave(12, seed=seed) for seed in range(50)]
    assert find_seasons(panel(*shorter, *longer)) == (12,)


def test_some_missing_values_do_no_harm():
    values = wave(7)
    values[np.random.default_rng(1).random(ROWS) < 0.1] = np.nan
    assert find_seasons(frame(values)) == (7,)


def mostly_missing():
    values = np.full(ROWS, np.nan)
    values[:12] = wave(3, rows=12)  # eleven changes, too few
    return values


NONE = {
    "all missing": np.full(ROWS, np.nan),
    "mostly missing": mostly_missing(),
    "every other row missing": np.where(np.arange(ROWS) % 2, np.nan, wave(12)),
    "zeros": np.zeros(ROWS),
    "a constant": np.full(ROWS, 7.3),
    "a straight line": np.arange(ROWS) * 0.5,
    "one step": np.repeat([0.0, 1.0], ROWS // 2),
    "one row": np.ones(1),
    "two rows": np.array([1.0, 2.0]),
    "few rows": wave(3, rows=12, size=100.0),
    "few seasons": wave(12, rows=60, size=100.0),
}


@pytest.mark.parametrize("name", NONE)
def test_nothing_is_found_where_there_is_nothing_to_find(name):
    assert find_seasons(frame(NONE[name])) == ()


def test_a_season_must_come_round_six_times():
    rows = np.arange(30, 100)
    found = [find_seasons(frame(wave(7, rows=number, size=100.0))) for number in rows]
    assert (7,) not in [own for number, own in zip(rows, found, strict=True) if number < 6 * 7]
    assert set(found[-20:]) == {(7,)}


def test_the_frame_stays_as_it_was():
    y = frame(wave(7))
    y.iloc[[3, 50], 0] = np.nan
    before = y.copy()
    find_seasons(y)
    pd.testing.assert_frame_equal(y, before)
