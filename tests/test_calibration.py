"""Calibration: blends, scores and trust by hand, and what fit and update make of them."""

import copy
import functools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sktime_tlstm import fitting, simple
from sktime_tlstm.calibrating import CALIBRATION_WINDOWS
from sktime_tlstm.calibration import (
    MIN_WIDTH,
    MIN_WINDOWS,
    Bands,
    Calibration,
    calibration_windows,
    trusted,
)
from sktime_tlstm.simple import TO_UPPER
from tests import setups

LEVELS = np.array(Calibration.levels)
HORIZON = 3


def calibration(scores, shares=None, capacity=1e6, growth=0.0):
    """Return a calibration by scores (window, horizon, target), of whole horizons.

    The simple forecast is nothing but deviations (target, horizon) that grow by a power.
    """
    scores = np.asarray(scores, dtype=np.float32)
    shares = np.ones(len(scores)) if shares is None else np.asarray(shares)
    _, horizon, targets = scores.shape
    deviation = torch.arange(1.0, horizon + 1, dtype=torch.float64).pow(growth).repeat(targets, 1)
    simple = SimpleNamespace(deviation=deviation)
    return Calibration(simple, 0.5, 0.5, scores, shares.astype(np.float32), capacity)


def at(found, level):
    return found.table[..., np.argmin(np.abs(LEVELS - level))].numpy()


def bands(center, below, above):
    """Return bands of one window, step and target each, by numbers or lists over windows."""
    parts = (torch.tensor(part, dtype=torch.float64) for part in (center, below, above))
    return Bands(*(part.reshape(-1, 1, 1) for part in parts))


def column(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


tiny = functools.partial(setups.tiny, num_samples=16, context_length=7)


def series(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    index = pd.date_range("2024-01-01", periods=rows, freq="h")
    values = 50 + 10 * np.sin(np.arange(rows) / 12 * np.pi) + rng.normal(size=rows)
    return pd.Series(values, index, name="y")


def scores_of(forecaster):
    return forecaster._fitted.model.calibration.scores


# Bands.


def test_scores_are_errors_in_widths_of_their_side():
    both = bands([10.0] * 5, [2.0] * 5, [4.0] * 5)
    found = both.scores(column(8.0, 14.0, 10.0, 7.0, torch.nan)).flatten().tolist()
    assert found[:4] == [-1.0, 1.0, 0.0, -1.5]
    assert np.isnan(found[4])


def test_blended_bands_are_weighted_means():
    found = bands(8.0, 2.0, 4.0).blended(bands(4.0, 1.0, 8.0), 0.25, 0.5)
    assert [part.item() for part in (found.center, found.below, found.above)] == [5.0, 1.5, 6.0]


def test_bands_of_what_is_unfamiliar_are_nearer_to_the_others_and_wider_where_these_are_apart():
    found = bands(8.0, 2.0, 4.0).blended(bands(4.0, 1.0, 8.0), 0.5, 0.5, 0.5)
    assert found.center.item() == 5.0  # a weight of .25
    apart = 1.2816**2 * 0.5 * 0.25 * 0.75 * 4.0**2
    assert found.below.item() == pytest.approx((1.25**2 + apart) ** 0.5, rel=1e-6)
    assert found.above.item() == pytest.approx((7.0**2 + apart) ** 0.5, rel=1e-6)


def test_a_width_of_the_network_does_not_vanish():
    found = bands(8.0, 0.0, 4.0).blended(bands(4.0, 1.0, 8.0), 1.0, 1.0)
    assert [found.center.item(), found.above.item()] == [8.0, 4.0]
    assert found.below.item() == pytest.approx(MIN_WIDTH)


# The table.


def test_many_scores_make_plain_conformal_quantiles():
    """The level p is the p (n + 1)-th smallest of n scores."""
    scores = np.random.default_rng(0).gamma(2.0, size=3999)
    table = calibration(scores[:, None, None]).table[0, 0].numpy()
    ordered = np.sort(scores)
    by_hand = [ordered[round(4000 * level) - 1] for level in LEVELS]
    np.testing.assert_allclose(table, by_hand, atol=0.015)


def test_without_scores_the_shape_is_students():
    for scores in (np.zeros((0, 2, 2)), np.full((5, 2, 2), np.nan)):
        found = calibration(scores)
        freedom = max(2 * len(scores), 4)
        by_hand = stats.t.ppf(LEVELS, freedom) / TO_UPPER
        for step in range(2):
            np.testing.assert_allclose(found.table[step], [by_hand] * 2, rtol=1e-12)


def test_the_table_of_one_score_worked_by_hand():
    found = calibration([[[2.0]]])
    # found: 20/21 of the symmetric scores -2 and 2, 1/21 of the score; it counts 2 / (2 + 10)
    # beside Student's t; then the step's own score counts 1 / (1 + 20)
    shape = (20 / 21 * 0 + 1 / 21 * 2) / 6
    assert at(found, 0.5).item() == pytest.approx(2 / 21 + 20 / 21 * shape, rel=1e-6)
    upper = stats.t.ppf(0.95, 4) / TO_UPPER
    shape = 2 / 6 + 5 / 6 * upper
    assert at(found, 0.95).item() == pytest.approx(2 / 21 + 20 / 21 * shape, rel=1e-6)


def test_few_scores_are_drawn_to_a_symmetric_shape():
    """Scores of 1 each: one window's shift the quantiles by little, those of many by 1."""
    found = [calibration(np.ones((number, 4, 1))) for number in (1, 10, 1000)]
    middle = [at(one, 0.5).mean() for one in found]
    assert 0 < middle[0] < 0.1 < middle[1] < 0.7 < 0.95 < middle[2] <= 1
    for one in found:
        width = at(one, 0.95) - at(one, 0.05)
        assert (width > 0).all()


def test_few_scores_are_pooled_over_steps():
    scores = np.zeros((1, 2, 1))
    scores[:, 1] = 6.0
    few, many = (
        calibration(np.repeat(scores, number, axis=0)).table[:, 0, 11] for number in (1, 2000)
    )
    assert 0 < few[1] - few[0] < 0.5
    assert many.tolist() == pytest.approx([0.0, 6.0], abs=0.2)


@pytest.mark.parametrize("number", [60, 200])
def test_intervals_cover_a_further_score_as_often_as_they_say(number):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(number, 1, 2000)) / TO_UPPER
    found = calibration(scores)
    further = rng.normal(size=(1, 2000)) / TO_UPPER
    for low, high in [(0.05, 0.95), (0.25, 0.75), (0.1, 0.5)]:
        covered = (further > at(found, low)) & (further <= at(found, high))
        assert covered.mean() == pytest.approx(high - low, abs=0.03)


def test_few_horizons_of_growing_errors_make_wider_quantiles_at_later_steps():
    scores = np.random.default_rng(0).normal(size=(6, 4, 2))
    flat, walk = calibration(scores).table, calibration(scores, growth=0.5).table
    factor = (walk / flat)[..., 0]  # (horizon, num_targets)
    step = torch.arange(1, 5) / 4
    torch.testing.assert_close(factor, (1 + 3 * 0.5 * step / 6)[:, None].expand(4, 2).double())
    many = np.random.default_rng(0).normal(size=(600, 4, 2))
    ratio = calibration(many, growth=0.5).table / calibration(many).table
    assert ((ratio >= 1) & (ratio < 1.003)).all()


def test_errors_of_one_step_do_not_grow():
    scores = np.random.default_rng(0).normal(size=(6, 1, 1))
    torch.testing.assert_close(calibration(scores, growth=1.0).table, calibration(scores).table)


def test_overlapping_windows_count_by_the_new_part_of_their_horizon():
    """Steps see news in every row; a later step's scores are less independent."""
    scores = np.random.default_rng(0).normal(3.0, size=(40, 8, 1))
    whole, parts = calibration(scores), calibration(scores, np.full(40, 1 / 8))
    middle = [at(one, 0.5)[:, 0] for one in (whole, parts)]
    assert (middle[0] > middle[1]).all()
    pooled, own = np.median(scores), np.median(scores[:, 7, 0])
    assert abs(own - pooled) > 0.05
    # all 40 of the first step are new, of the last step 5
    assert abs(middle[0][7] - own) < abs(middle[1][7] - own)
    assert middle[1][0] > middle[1][7]


def test_every_target_has_its_own_quantiles():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(41, HORIZON, 2)) * [1.0, 100.0] + np.arange(HORIZON)[:, None] * 1000
    found = calibration(scores)
    for target in range(2):
        alone = calibration(scores[..., target : target + 1])
        assert torch.equal(found.table[:, target], alone.table[:, 0])


def test_unobserved_scores_do_not_count():
    scores = np.random.default_rng(0).normal(size=(41, 1, 1))
    holes = np.insert(scores, [3, 17, 41], np.nan, axis=0)
    shares = np.insert(np.ones(41), [3, 17, 41], 0.0)
    torch.testing.assert_close(calibration(holes, shares).table, calibration(scores).table)


def test_the_table_is_in_order_and_finite():
    rng = np.random.default_rng(0)
    for number in (0, 1, 2, 5, 50):
        found = calibration(rng.standard_cauchy((number, HORIZON, 2))).table
        assert (found.diff(dim=-1) >= 0).all()
        assert found.isfinite().all()


# Quantiles.


def some_bands(windows=4, steps=2):
    rng = np.random.default_rng(1)
    parts = torch.from_numpy(rng.gamma(2.0, size=(3, windows, steps, 2)))
    return Bands(10 * parts[0], parts[1], parts[2])


def test_quantiles_lie_at_tabulated_scores_from_the_point():
    found = calibration(np.random.default_rng(0).normal(size=(9, HORIZON, 2)))
    some = some_bands()
    values = found.quantiles(some, torch.tensor(LEVELS))
    assert values.shape == (4, 2, 2, len(LEVELS))
    for level in range(len(LEVELS)):
        score = found.table[:2, :, level]  # the bands are of the first two steps
        by_hand = some.center + torch.where(score < 0, some.below, some.above) * score
        torch.testing.assert_close(values[..., level], by_hand)


def test_quantiles_rise_with_the_level():
    found = calibration(np.random.default_rng(0).normal(size=(9, HORIZON, 2)))
    level = torch.linspace(1e-4, 1 - 1e-4, 501, dtype=torch.float64)
    values = found.quantiles(some_bands(), level)
    assert (values.diff(dim=-1) >= 0).all()
    assert values.isfinite().all()


def test_every_step_may_have_a_level_of_its_own():
    found = calibration(np.random.default_rng(0).normal(size=(9, HORIZON, 2)))
    some = some_bands()
    level = torch.rand(4, 2, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = found.quantiles(some, level)[..., 0]
    for place in np.ndindex(4, 2, 2):
        alone = found.quantiles(some, level[place])[place]
        assert values[place].item() == pytest.approx(alone.item(), rel=1e-12)


# Extending.


def test_extending_forgets_the_oldest_beyond_the_capacity():
    scores = np.arange(7.0)[:, None, None].astype(np.float32)
    known = calibration(scores[:4], capacity=5)
    longer = known.extended(scores[4:], np.ones(3, np.float32))
    assert longer.scores[:, 0, 0].tolist() == [2, 3, 4, 5, 6]
    assert len(longer.shares) == 5
    assert longer.capacity == 5
    assert known.scores[:, 0, 0].tolist() == [0, 1, 2, 3]  # left as it was


def test_memory_counts_whole_horizons():
    scores = np.arange(12.0)[:, None, None].astype(np.float32)
    shares = np.array([1.0] * 4 + [0.25] * 8, np.float32)
    found = calibration(scores[:0], [], capacity=3).extended(scores, shares)
    # eight quarters, and one whole horizon before
    assert found.scores[:, 0, 0].tolist() == list(range(3, 12))
    found = found.extended(scores[:1], np.ones(1, np.float32))
    assert found.scores[:, 0, 0].tolist() == [*range(4, 12), 0]


def test_extending_by_more_than_the_capacity_keeps_the_latest():
    scores = np.arange(5.0)[:, None, None].astype(np.float32)
    longer = calibration([[[1.0]]], capacity=2).extended(scores, np.ones(5, np.float32))
    assert longer.scores[:, 0, 0].tolist() == [3, 4]


def test_a_longer_calibration_has_a_table_of_its_own():
    known = calibration(np.zeros((4, 1, 1)))
    before = known.table
    longer = known.extended(np.full((40, 1, 1), 5.0, np.float32), np.ones(40, np.float32))
    assert at(longer, 0.5).item() > at(known, 0.5).item() + 1
    assert known.table is before


# Trust.


def rivals(error, horizons=40):
    """Return a network with a multiple of the simple forecast's errors, and the truth.

    Errors are as large as their window is wild, which the network's widths tell.
    """
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.normal(size=(horizons, 4, 1)))
    wild = torch.from_numpy(rng.choice([0.1, 1.0], size=(horizons, 1, 1))).expand_as(target)
    off = wild * torch.from_numpy(rng.normal(size=(2, horizons, 4, 1)))
    one = torch.ones_like(target)
    return Bands(target + error * off[0], wild, wild), Bands(target + off[1], one, one), target


def first(bands, number):
    return Bands(bands.center[:number], bands.below[:number], bands.above[:number])


def test_a_network_that_is_much_better_is_trusted():
    trust, width = trusted(*rivals(0.1), horizons=40)
    assert trust > 0.97
    assert width > 0.9


def test_a_network_that_is_worse_is_not():
    trust, _ = trusted(*rivals(10.0), horizons=40)
    assert trust < 0.02


def test_equals_are_mixed():
    trust, _ = trusted(*rivals(1.0), horizons=40)
    assert 0.25 < trust < 0.6  # independent errors average out, and caution


def test_a_gain_still_to_come_raises_trust_where_there_is_something_to_learn():
    network, simple, target = rivals(1.0)
    target = target.clone()
    target[::3] = torch.nan
    before, _ = trusted(network, simple, target, horizons=40)
    after, _ = trusted(network, simple, target, horizons=40, gain=0.1)
    assert before + 0.02 < after < before + 0.5
    perfect = trusted(network, simple, network.center, horizons=40)
    again = trusted(network, simple, network.center, horizons=40, gain=0.1)
    torch.testing.assert_close(again, perfect, rtol=0, atol=0)


def test_hardly_any_evidence_is_no_trust():
    network, simple, target = rivals(0.1)
    trust, width = trusted(first(network, 1), first(simple, 1), target[:1], horizons=0.25)
    assert 0 < trust < 0.25
    assert 0 < width < 0.25
    nothing = torch.full_like(target, torch.nan)
    assert not torch.cat(trusted(network, simple, nothing, horizons=40)).any()


def test_widths_are_trusted_by_themselves_and_up_to_a_factor():
    """A network whose points are right, and its widths or the other's."""
    network, simple, target = rivals(0.1)
    wrong = replace(network, below=1 / network.below, above=1 / network.above)
    trust, width = trusted(wrong, simple, target, horizons=40)
    assert trust > 0.97
    assert width < 0.1
    wide = replace(network, below=1e3 * network.below, above=1e3 * network.above)
    assert trusted(wide, simple, target, horizons=40)[1] > 0.1  # the least beside none


def test_unobserved_targets_tell_nothing():
    network, simple, target = rivals(0.7)
    holes = target.clone()
    holes[::3] = torch.nan
    kept = ~holes.isnan()[:, 0, 0]
    some = [Bands(one.center[kept], one.below[kept], one.above[kept]) for one in (network, simple)]
    torch.testing.assert_close(
        trusted(network, simple, holes, 20), trusted(*some, target[kept], 20), rtol=1e-9, atol=0
    )


def test_each_target_weighs_the_network_by_its_own_errors():
    good, bad = rivals(0.1), rivals(10.0)

    def both(one, other):
        parts = [torch.cat([one.center, other.center], dim=-1)]
        parts += [
            torch.cat(pair, dim=-1)
            for pair in zip(*((b.below, b.above) for b in (one, other)), strict=True)
        ]
        return Bands(*parts)

    network, simple = both(good[0], bad[0]), both(good[1], bad[1])
    found = trusted(network, simple, torch.cat([good[2], bad[2]], dim=-1), horizons=40)
    alone = trusted(*good, horizons=40), trusted(*bad, horizons=40)
    for part, one, other in zip(found, *alone, strict=True):
        torch.testing.assert_close(part, torch.cat([one, other]), rtol=1e-6, atol=1e-9)
    assert found[0][0] > 0.97
    assert found[0][1] < 0.02


# The windows of an update.


def windows_of(lengths, new_rows, horizon, capacity=100):
    found = calibration_windows(np.array(lengths), np.array(new_rows), horizon, capacity)
    return [part.tolist() for part in found]


def test_updates_by_one_row_bring_a_window_each_quarter_of_the_horizon():
    found = [windows_of([rows], [1], 8) for rows in range(101, 109)]
    # 8 rows: the cutoffs that are even, each with a quarter of a horizon of news
    assert [cutoff for _, cutoff, _ in found] == [[], [94], [], [96], [], [98], [], [100]]
    assert {share for *_, shares in found for share in shares} == {0.25}


def test_of_a_short_horizon_every_row_brings_a_window():
    found = [windows_of([rows], [1], 3)[1:] for rows in (101, 102, 103)]
    assert [cutoff for cutoff, _ in found] == [[98], [99], [100]]
    assert found[0][1] == pytest.approx([1 / 3])


@pytest.mark.parametrize(
    ("rows", "cutoffs", "share"),
    [(4, [92], 0.5), (6, [92], 0.75), (8, [92], 1), (9, [84, 92], 1), (24, [76, 84, 92], 1)],
)
def test_an_update_brings_whole_horizons_that_end_with_it(rows, cutoffs, share):
    assert windows_of([100], [rows], 8) == [[0] * len(cutoffs), cutoffs, [share] * len(cutoffs)]


def test_windows_are_no_more_than_there_are_rows_or_than_are_remembered():
    assert windows_of([20], [20], 8)[1] == [4, 12]
    assert windows_of([8], [8], 8)[1] == []
    assert windows_of([100], [100], 8, capacity=2)[1] == [84, 92]
    assert windows_of([100], [0], 8)[1] == []


def test_the_latest_windows_of_all_series_come_last():
    series, cutoff, share = windows_of([100, 50, 30], [16, 8, 0], 8)
    assert series == [0, 0, 1]
    assert cutoff == [84, 92, 42]
    assert share == [1.0] * 3


# Levels of paths.


def drawn(found, number=20_000):
    rng = np.random.default_rng(0)
    level = (rng.permutation(number) + rng.random(number)) / number
    return level, found.drawn(rng, level)


def test_the_levels_of_every_step_are_uniform():
    _, levels = drawn(calibration(np.random.default_rng(1).normal(size=(25, 3, 2))))
    assert levels.shape == (20_000, 3, 2)
    for step, target in np.ndindex(3, 2):
        assert stats.kstest(levels[:, step, target], "uniform").statistic < 0.01


def test_the_levels_of_steps_hang_together_as_scores_do():
    rng = np.random.default_rng(1)
    cov = [[1.0, 0.8, -0.5], [0.8, 1.0, 0.0], [-0.5, 0.0, 1.0]]
    scores = rng.multivariate_normal(np.zeros(3), cov, size=200)
    _, levels = drawn(calibration(scores[..., None]))
    expected = stats.spearmanr(scores).statistic
    np.testing.assert_allclose(stats.spearmanr(levels[..., 0]).statistic, expected, atol=0.03)


def test_of_few_windows_all_steps_have_the_same_level():
    rng = np.random.default_rng(1)
    level, levels = drawn(calibration(rng.normal(size=(MIN_WINDOWS - 1, 3, 2))), 50)
    np.testing.assert_array_equal(levels, np.broadcast_to(level[:, None, None], (50, 3, 2)))
    _, levels = drawn(calibration(rng.normal(size=(MIN_WINDOWS, 3, 2))), 50)
    assert (levels[:, 0] != levels[:, 1]).any()


def test_unobserved_scores_leave_the_levels_uniform():
    scores = np.random.default_rng(1).normal(size=(100, 2, 1))
    scores[::5, 1] = np.nan
    _, levels = drawn(calibration(scores))
    for step in range(2):
        assert stats.kstest(levels[:, step, 0], "uniform").statistic < 0.01


def test_unobserved_scores_of_the_latest_windows_leave_the_levels_uniform():
    scores = np.random.default_rng(1).normal(size=(100, 2, 1))
    scores[80:, 1] = np.nan
    _, levels = drawn(calibration(scores))
    assert stats.kstest(levels[:, 1, 0], "uniform").statistic < 0.02


# In fit.


def test_scores_are_the_blends_held_out_and_before_the_simple_forecasts(monkeypatch):
    y = series()
    monkeypatch.setattr(simple, "learn_regression", lambda *_: None)  # it goes on to learn
    forecaster = tiny(calibration="conformal", validation_fraction=0.1).fit(y, fh=[1, 2, 3])
    model, store = forecaster._fitted.model, forecaster._fitted.history.store
    found = model.calibration
    held_out = np.arange(298 - 30, 298)  # 291 cutoffs with a whole context: the last tenth
    split = 268 - 3 + 1  # no target of training is one of those held out
    training = np.linspace(7, split - 1, CALIBRATION_WINDOWS).astype(np.int64)
    none = torch.zeros(1, dtype=torch.float64)
    alone = replace(found, trust=none, width_trust=none, widening=None)
    before = replace(model, calibration=alone)
    number, places = len(found.scores), np.zeros_like(training)
    assert number > CALIBRATION_WINDOWS
    expected = np.concatenate(
        [
            before.scores(store, places, training),
            model.scores(store, np.zeros_like(held_out), held_out),
        ]
    )
    np.testing.assert_allclose(found.scores, expected[-number:], rtol=1e-4, atol=1e-5)
    # those held out are a row apart
    assert found.shares[-29:] == pytest.approx(1 / 3)
    assert found.shares[-30] == 1
    assert 0 < found.trust < 1


def test_many_held_out_windows_are_spread_evenly(monkeypatch):
    y = series(1500)
    monkeypatch.setattr(simple, "learn_regression", lambda *_: None)
    forecaster = tiny(calibration="conformal", validation_fraction=0.5).fit(y, fh=[1, 2, 3])
    model, store = forecaster._fitted.model, forecaster._fitted.history.store
    cutoff = np.linspace(1498 - 746, 1497, CALIBRATION_WINDOWS).astype(np.int64)
    expected = model.scores(store, np.zeros_like(cutoff), cutoff)
    np.testing.assert_allclose(scores_of(forecaster), expected, rtol=1e-4, atol=1e-5)
    assert (model.calibration.shares == 1).all()


def test_a_panel_of_many_series_is_calibrated_by_all_of_them():
    number = CALIBRATION_WINDOWS + 9
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([range(number), range(8)], names=["key", "time"])
    y = pd.DataFrame({"y": rng.normal(size=len(index))}, index)
    forecaster = tiny(calibration="adaptive", context_length=2).fit(y, fh=[1])
    assert forecaster._fitted.model.calibration.capacity == number
    index = pd.MultiIndex.from_product([range(number), [8, 9, 10]], names=["key", "time"])
    new = pd.DataFrame({"y": rng.normal(size=len(index))}, index)
    forecaster.update(new, update_params=False)
    model, store = forecaster._fitted.model, forecaster._fitted.history.store
    # the last window of every series, and no other
    expected = model.scores(store, np.arange(number), np.full(number, 10))
    np.testing.assert_allclose(scores_of(forecaster), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["quantile", "mse", "normal", "gamma", "poisson"])
def test_a_calibrated_quantile_lies_scores_from_the_blend(loss):
    y = series().round()
    forecaster = tiny(loss=loss, scaler="mean", calibration="conformal").fit(y, fh=[1, 2, 3])
    model, history = forecaster._fitted.model, forecaster._fitted.history
    forecast = model.ahead(history.store, np.zeros(1, np.int64), np.array([len(y)]))
    found, blend = model.calibration, model.bands(forecast)
    width = torch.where(found.table < 0, blend.below[0, ..., None], blend.above[0, ..., None])
    table = (blend.center[0, ..., None] + width * found.table).numpy()[:, 0]
    expected = history.scale[0, 0] * table
    point = history.scale[0, 0] * blend.center.numpy()[0, :, 0]
    whole = loss == "poisson"
    expected = np.maximum(expected.round() if whole else expected, 0 if whole else -np.inf)
    quantiles = forecaster.predict_quantiles(alpha=list(LEVELS)).to_numpy()
    np.testing.assert_allclose(quantiles, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(forecaster.predict().to_numpy(), point, rtol=1e-5)


def test_scores_of_a_point_loss_without_calibration_are_those_of_the_network():
    y = series(200)
    forecaster = tiny(loss="mse", calibration="none", validation_fraction=0.2).fit(y, fh=[1, 2, 3])
    model, store = forecaster._fitted.model, forecaster._fitted.history.store
    assert model.calibration.trust == 1.0
    expected = model.scores(store, np.zeros(1, np.int64), np.array([197]))  # the last window
    np.testing.assert_allclose(scores_of(forecaster)[-1:], expected, rtol=1e-4, atol=1e-5)


def test_calibration_none_is_the_network_alone():
    y = series(100)
    assert tiny(calibration="none").fit(y, fh=[1])._fitted.model.calibration is None
    normal = tiny(loss="normal", calibration="none").fit(y, fh=[1])
    assert normal._fitted.model.calibration is None
    point = tiny(loss="mse", calibration="none").fit(y, fh=[1])._fitted.model
    assert point.calibration.trust == 1.0
    assert point.calibration.width_trust < 1.0
    assert tiny().fit(y, fh=[1])._fitted.model.calibration is not None  # by default


def test_intervals_of_a_point_loss_alone_surround_its_network():
    y = series(200)
    alone = tiny(loss="mse", calibration="none", validation_fraction=0.2).fit(y, fh=[1, 2, 3])
    model, history = alone._fitted.model, alone._fitted.history
    forecast = model.ahead(history.store, np.zeros(1, np.int64), np.array([len(y)]))
    point = forecast.undo(model.head.point(forecast.parameters.double()).mean(0))
    torch.testing.assert_close(model.point(forecast), point)
    band = alone.predict_interval(coverage=0.9).to_numpy()
    assert (band[:, 0] < alone.predict()).all()
    assert (band[:, 1] > alone.predict()).all()


def test_calibration_brings_coverage_to_its_level():
    """A network after one epoch knows nothing of the spread; its errors do."""
    y = series(3000)
    kwargs = {"max_windows_per_epoch": 256, "validation_fraction": 0.4, "window_norm": "mean"}
    found = {}
    for calibration in ("none", "conformal"):
        forecaster = tiny(calibration=calibration, **kwargs).fit(y[:2500], fh=range(1, 4))
        forecaster.update(y[2500:], update_params=False)
        steps = list(range(-499, 1))
        band = forecaster.predict_interval(fh=steps, coverage=0.9).to_numpy()
        found[calibration] = np.mean((y[2500:] >= band[:, 0]) & (y[2500:] <= band[:, 1]))
    assert abs(found["conformal"] - 0.9) < 0.04
    assert abs(found["none"] - 0.9) > abs(found["conformal"] - 0.9)


# In update.


def test_conformal_stays_as_it_is_in_update():
    y = series()
    forecaster = tiny(calibration="conformal").fit(y[:280], fh=[1, 2, 3])
    before = forecaster._fitted.model.calibration
    forecaster.update(y[280:], update_params=False)
    assert forecaster._fitted.model.calibration is before


@pytest.mark.parametrize(
    ("rows", "cutoffs", "share"),
    [(1, [278], 1 / 3), (3, [280], 1), (4, [278, 281], 1), (9, [280, 283, 286], 1)],
)
def test_adaptive_learns_the_windows_that_end_with_the_new_rows(rows, cutoffs, share):
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y[:280], fh=[1, 2, 3])
    before = scores_of(forecaster)
    forecaster.update(y[280 : 280 + rows], update_params=False)
    model, history = forecaster._fitted.model, forecaster._fitted.history
    new = model.scores(history.store, np.zeros(len(cutoffs), np.int64), np.array(cutoffs))
    number = len(scores_of(forecaster))
    both = np.concatenate([before, new])[-number:]
    np.testing.assert_allclose(scores_of(forecaster), both, rtol=1e-4, atol=1e-5)
    shares = model.calibration.shares
    assert shares[-len(cutoffs) :] == pytest.approx(share)
    assert shares.sum() < CALIBRATION_WINDOWS + 0.01
    # by hand: the first error of the last window, in widths of the blend
    forecast = model.ahead(history.store, np.zeros(1, np.int64), np.array(cutoffs[-1:]))
    blend = model.bands(forecast)
    off = float(history.store.values[cutoffs[-1], 0]) - float(blend.center[0, 0, 0])
    width = float((blend.below if off < 0 else blend.above)[0, 0, 0])
    assert both[-1, 0, 0] == pytest.approx(off / width, rel=1e-4, abs=1e-5)


def test_updates_row_by_row_learn_a_window_each():
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y[:280], fh=[1, 2, 3])
    for row in range(280, 285):
        forecaster.update(y[row : row + 1], update_params=False)
    cutoffs = np.arange(278, 283)
    model, history = forecaster._fitted.model, forecaster._fitted.history
    new = model.scores(history.store, np.zeros(5, np.int64), cutoffs)
    np.testing.assert_allclose(scores_of(forecaster)[-5:], new, rtol=1e-4, atol=1e-5)
    assert model.calibration.shares[-5:] == pytest.approx(1 / 3)


def test_of_a_long_horizon_updates_row_by_row_learn_a_window_now_and_then():
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y[:280], fh=range(1, 9))
    before = forecaster._fitted.model.calibration
    grown = []
    for row in range(280, 284):
        forecaster.update(y[row : row + 1], update_params=False)
        after = forecaster._fitted.model.calibration
        grown.append(after is not before)
        before = after
    assert grown == [False, True, False, True]


def test_an_update_longer_than_the_memory_computes_no_more_than_that(monkeypatch):
    y = series(1000)
    forecaster = tiny(calibration="adaptive").fit(y[:100], fh=[1])
    sizes = []
    scores = fitting.Model.scores
    monkeypatch.setattr(
        fitting.Model, "scores", lambda self, *a: sizes.append(len(a[1])) or scores(self, *a)
    )
    forecaster.update(y[100:], update_params=False)
    assert sizes == [CALIBRATION_WINDOWS]


def test_rows_that_were_known_teach_nothing_new():
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y, fh=[1, 2, 3])
    before = scores_of(forecaster)
    forecaster.update(y[-5:], update_params=False)
    np.testing.assert_array_equal(scores_of(forecaster), before)


def test_adaptive_intervals_widen_after_a_change_and_conformal_ones_do_not():
    y = series(700)
    y[400:] += 20 * np.random.default_rng(1).normal(size=300)
    widths = {}
    for calibration in ("conformal", "adaptive"):
        forecaster = tiny(calibration=calibration, window_norm=None).fit(y[:400], fh=[1, 2, 3])
        for row in range(400, 700, 3):
            forecaster.update(y[row : row + 3], update_params=False)
        band = forecaster.predict_interval(coverage=0.9).to_numpy()
        widths[calibration] = (band[:, 1] - band[:, 0]).mean()
    assert widths["adaptive"] > 2.5 * widths["conformal"]


def test_beyond_the_horizon_intervals_hold_after_updates():
    """A random walk: its paths spread by the root of time."""
    rng = np.random.default_rng(3)
    walk = pd.Series(np.cumsum(rng.normal(size=700)), name="y")
    forecaster = tiny(num_samples=100).fit(walk[:200], fh=[1, 2])
    held = []
    for row in range(200, 692, 8):
        band = forecaster.predict_interval(fh=[4, 8], coverage=0.8).to_numpy()
        truth = walk[[row + 3, row + 7]].to_numpy()
        held.append((band[:, 0] <= truth) & (truth <= band[:, 1]))
        forecaster.update(walk[row : row + 8], update_params=False)
    assert np.mean(held) == pytest.approx(0.8, abs=0.12)


@pytest.mark.parametrize("update_params", [False, True])
def test_a_failed_update_leaves_the_calibration_alone(update_params, monkeypatch):
    y = series()
    forecaster = tiny(calibration="adaptive").fit(y[:280], fh=[1, 2, 3])
    before, expected = forecaster._fitted.model, forecaster.predict_quantiles(alpha=[0.05, 0.9])
    scores = copy.deepcopy(scores_of(forecaster))

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        # the refresh itself has happened by then, or fails at its end
        patch.setattr(Calibration, "extended", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            forecaster.update(y[280:], update_params=update_params)
    if update_params:
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "_train", fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                forecaster.update(y[280:], update_params=True)
    assert forecaster._fitted.model is before
    np.testing.assert_array_equal(scores_of(forecaster), scores)
    pd.testing.assert_frame_equal(forecaster.predict_quantiles(alpha=[0.05, 0.9]), expected)
    forecaster.update(y[280:], update_params=update_params)  # and goes on
    assert not np.array_equal(scores_of(forecaster)[-7:], scores[-7:])


def pretrained():
    panel = pd.concat({key: series(seed=key) for key in range(3)}, names=["key"]).to_frame("y")
    forecaster = tiny(calibration="adaptive", finetune_epochs=0)
    return forecaster.pretrain(panel, fh=[1, 2, 3])


def test_calibration_of_pretraining_goes_on_in_fit():
    forecaster = pretrained()
    before = forecaster.pretrained_model_.calibration.scores.copy()
    y = series(60, seed=7)
    forecaster.fit(y[:50])
    known = scores_of(forecaster)
    forecaster.update(y[50:], update_params=False)
    assert not np.array_equal(scores_of(forecaster)[-4:], known[-4:])
    np.testing.assert_array_equal(forecaster.pretrained_model_.calibration.scores, before)


def test_larger_errors_on_other_series_are_learnt_before_the_fit_to_them():
    forecaster = pretrained()
    before = forecaster.pretrained_model_.calibration
    y = 50 + 10 * np.random.default_rng(9).normal(size=80).cumsum() + 0 * series(80)
    after = forecaster.fit(y)._fitted.model.calibration
    model, store = forecaster._fitted.model, forecaster._fitted.history.store
    model = replace(model, calibration=before)
    cutoff = np.arange(7, 78)
    new = model.scores(store, np.zeros_like(cutoff), cutoff)
    np.testing.assert_allclose(after.scores[-len(new) :], new, rtol=1e-4, atol=1e-5)
    assert len(after.scores) > len(new)  # with those of pretraining before


def test_smaller_errors_on_other_series_are_passed_over():
    forecaster = pretrained()
    model = forecaster.pretrained_model_
    known = replace(model.calibration, scores=model.calibration.scores + 9)
    forecaster.pretrained_model_ = replace(model, calibration=known)
    fitted = forecaster.fit(series(80, seed=7))._fitted
    assert fitted.model.calibration.scores is known.scores


def test_the_networks_widths_are_at_most_the_range_of_training():
    """A spike beyond training: in arcsinh units a little doubt is a thousand times the range."""
    rows = np.arange(200)
    y = pd.Series(np.where(rows % 10 == 0, 60.0, np.sin(rows)), name="y")
    forecaster = tiny(context_length=10).fit(y, fh=[1, 2, 3])
    model, store = forecaster._fitted.model, forecaster._fitted.history.store
    assert model.observed_range(store).item() == pytest.approx(
        np.ptp(y) / forecaster._fitted.history.scale[0, 0], rel=1e-5
    )
    forecast = model.ahead(store, np.array([0]), np.array([150]))
    wild = replace(forecast, parameters=forecast.parameters + 3 * (torch.arange(9.0) - 4))
    bands = model.network_bands(wild)
    uncapped = replace(model, calibration=replace(model.calibration, widest=None))
    assert (uncapped.network_bands(wild).above > 10 * model.calibration.widest).all()
    assert (bands.above <= model.calibration.widest).all()
    torch.testing.assert_close(bands.center, uncapped.network_bands(wild).center)
    usual = model.network_bands(forecast)
    torch.testing.assert_close(usual.above, uncapped.network_bands(forecast).above)
