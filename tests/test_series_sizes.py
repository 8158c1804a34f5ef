"""Series sizes: panels of series that are not equally hard to forecast."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.series_sizes import PRIOR, learn_series_sizes, series_sizes
from tests.setups import tiny

ROWS, FH = 210, range(1, 8)


def panel(**series):
    """Return daily series of one panel."""
    index = pd.date_range("2022-02-01", periods=ROWS, freq="D", name="day")
    frames = {key: pd.DataFrame({"sold": values}, index) for key, values in series.items()}
    return pd.concat(frames, names=["shop"])


def store_of(y):
    return FrameEncoder("real", "standard", "standard", (), (), ()).fit(y, None).encode(y, None, 7)


def noisy(seed, size=1.0):
    week = 5 * np.sin(np.arange(ROWS) * 2 * np.pi / 7)
    return 30 + week + size * np.random.default_rng(seed).normal(size=ROWS)


def test_sizes_are_those_of_each_series_drawn_to_those_of_all():
    store = store_of(panel(a=noisy(0), b=noisy(1), c=np.full(ROWS, 3.0))).store
    series = torch.tensor([0] * 10 + [1] * 10 + [2] * 10)
    cutoff = torch.arange(10).repeat(3) * 7
    error = torch.ones(30, 7, 1)
    error[10:20] = 3.0
    error[3] = torch.nan
    error[20:] = 0.0
    sizes = learn_series_sizes(store, series, cutoff, error)[:, 0]
    usual = (9 * 1.0 + 10 * 3.0) / 19
    expected = [1.0, (9 / usual + PRIOR) / (9 + PRIOR), (10 * 3 / usual + PRIOR) / (10 + PRIOR), 0]
    np.testing.assert_allclose(sizes, expected, rtol=1e-6)
    # windows that overlap tell less
    close = learn_series_sizes(store, series, cutoff // 7, error)[:, 0]
    assert abs(close[2] - 1) < abs(sizes[2] - 1)


def test_series_that_are_not_known_have_the_usual_size():
    store = store_of(panel(a=noisy(0), b=noisy(1))).store
    sizes = torch.tensor([[1.0], [0.5], [2.0]])
    cutoff = torch.tensor([20, 20])
    assert series_sizes(sizes, store, torch.tensor([1, 0]), cutoff)[:, 0].tolist() == [2.0, 0.5]
    other = replace(store.traits, identity=torch.tensor([0.0, 7.0]))
    found = series_sizes(sizes, replace(store, traits=other), torch.tensor([0, 1]), cutoff)
    assert found[:, 0].tolist() == [1.0, 1.0]


def test_a_single_series_and_a_panel_of_constants_have_none():
    store = store_of(panel(a=noisy(0))).store
    places = torch.zeros(5).long(), torch.arange(5) * 7
    assert learn_series_sizes(store, *places, torch.ones(5, 7, 1)) is None
    store = store_of(panel(a=np.ones(ROWS), b=np.zeros(ROWS))).store
    sizes = learn_series_sizes(store, *places, torch.zeros(5, 7, 1))
    assert (sizes == 1).all()


def test_series_of_few_or_no_values_do_not_stand_still():
    index = pd.date_range("2022-02-01", periods=60, freq="D", name="day")
    values = {"a": noisy(0)[:60], "none": np.full(60, np.nan), "three": np.full(60, 2.0)}
    values["three"][3:] = np.nan
    frames = {key: pd.DataFrame({"sold": one}, index) for key, one in values.items()}
    store = store_of(pd.concat(frames, names=["shop"])).store
    places = torch.zeros(5).long(), torch.arange(5) * 7
    sizes = learn_series_sizes(store, *places, torch.ones(5, 7, 1))
    assert sizes[:, 0].tolist() == [1.0] * 4


def test_a_series_that_begins_to_move_has_the_usual_size():
    moving = np.concatenate([np.full(100, 4.0), noisy(2)[:110]])
    store = store_of(panel(a=noisy(0), b=moving)).store
    sizes, series = torch.tensor([[1.0], [0.5], [0.0]]), torch.tensor([1, 1, 1, 0])
    found = series_sizes(sizes, store, series, torch.tensor([50, 100, 101, 50]))
    assert found[:, 0].tolist() == [0.0, 0.0, 1.0, 0.5]


def test_what_stood_still_in_training_gets_intervals_of_what_it_does_now():
    y = panel(**{f"hard {k}": noisy(k) for k in range(3)}, still=np.full(ROWS, 30.0))
    forecaster = tiny().fit(y, fh=FH)
    later = panel(**{f"hard {k}": noisy(k + 9) for k in range(3)}, still=noisy(20))
    days = later.index.get_level_values("day") + pd.Timedelta(days=ROWS)
    later = later.set_axis(pd.MultiIndex.from_arrays([later.index.get_level_values(0), days]))
    later.index.names = y.index.names
    forecaster.update(later, update_params=False)
    band = forecaster.predict_interval(coverage=0.9)
    width = (band.iloc[:, 1] - band.iloc[:, 0]).groupby(level=0).mean()
    assert width["still"] > 0.7 * width.drop("still").mean()


def test_sizes_are_not_those_of_series_of_pretraining_with_the_same_name():
    quiet = panel(a=np.full(ROWS, 3.0), b=noisy(1), c=noisy(2, 0.2))
    loud = panel(a=noisy(5), b=noisy(6), c=noisy(7))
    forecaster = tiny().pretrain(quiet, fh=FH).fit(loud, fh=FH)
    band = forecaster.predict_interval(coverage=0.9)
    width = (band.iloc[:, 1] - band.iloc[:, 0]).groupby(level=0).mean()
    assert width.min() > 0.6 * width.max()


@pytest.mark.parametrize("companion", ["constant", "regular", "zero"])
def test_easy_companions_do_not_narrow_the_intervals_of_a_series(companion):
    easy = {
        "constant": lambda seed: np.full(ROWS, 4.0 + seed),
        "regular": lambda seed: noisy(seed, 0.02),
        "zero": lambda seed: np.zeros(ROWS),
    }[companion]
    hard = {f"hard {seed}": noisy(seed) for seed in range(3)}
    y = panel(**hard, **{f"easy {seed}": easy(seed) for seed in range(9)})
    alone, among = (tiny().fit(some, fh=FH) for some in (y.loc[[*hard]], y))
    widths = []
    for forecaster in (alone, among):
        band = forecaster.predict_interval(coverage=0.9).loc[[*hard]]
        widths.append((band.iloc[:, 1] - band.iloc[:, 0]).mean())
    assert widths[1] > 0.85 * widths[0]
    easier = among.predict_interval(coverage=0.9).loc[["easy 1"]]
    assert (easier.iloc[:, 1] - easier.iloc[:, 0]).mean() < 0.5 * widths[1]
    saved = among.save(serialization_format="safetensors")[1]
    loaded = TransformerLSTMForecaster.load_from_serial(saved)
    pd.testing.assert_frame_equal(
        loaded.predict_interval(coverage=0.9), among.predict_interval(coverage=0.9)
    )


def test_errors_of_silent_series_are_not_learnt_by_updates():
    y = panel(**{f"hard {k}": noisy(k) for k in range(2)}, still=np.full(ROWS, 4.0))
    days = y.index.get_level_values("day")
    begin, rest = days < days[-30], days >= days[-30]
    forecaster = tiny(calibration="adaptive").fit(y[begin], fh=FH)
    before = forecaster._fitted.model.calibration.scores
    forecaster.update(y[rest], update_params=False)
    scores = forecaster._fitted.model.calibration.scores
    assert len(scores) > len(before)
    for some in (before, scores):
        assert (np.nan_to_num(some, nan=1.0) != 0).any(axis=(1, 2)).all()
