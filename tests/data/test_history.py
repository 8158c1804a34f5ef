"""Histories: the same rows in blocks of any size, and growth that disturbs nobody."""

import copy
import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.split import SlidingWindowSplitter

from sktime_tlstm import SkorchForecaster
from sktime_tlstm.data import history
from sktime_tlstm.data import rows as rows_room
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import CALENDAR_AHEAD, MIN_ROOM
from sktime_tlstm.data.rows import Rows, find_timeline, ranges
from sktime_tlstm.data.timeline import Timeline
from sktime_tlstm.nn import AttentionLSTM

HORIZON = 3
BLOCK = 7
SINGLE, RAGGED = {"only": 29}, {"p": 29, "q": 1, "r": 7, "s": 23}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(rows_room, "BLOCK_ROWS", BLOCK)


@pytest.fixture
def small_room(monkeypatch):
    """Give every series room for an eighth more rows, and the calendar for a few."""
    monkeypatch.setattr(history, "MIN_LENGTH_WITH_ROOM", 1)
    monkeypatch.setattr(history, "MIN_ROOM", 2)
    monkeypatch.setattr(history, "CALENDAR_AHEAD", 3)


def make_frames(lengths, seed=0, gaps=True):
    """Make hourly y (two columns) and X (a number, a flag, a category), with missing values."""
    rng = np.random.default_rng(seed)
    y, X = {}, {}
    for place, (key, rows) in enumerate(lengths.items()):
        times = pd.date_range("2021-03-05", periods=rows, freq="h") + pd.Timedelta(hours=place)
        y[key] = pd.DataFrame(rng.normal(100, 7, (rows, 2)), times, columns=["a", "b"])
        X[key] = pd.DataFrame({"heat": rng.normal(size=rows)}, times)
        X[key]["holiday"] = rng.integers(0, 2, rows).astype(float)
        X[key]["sky"] = rng.choice(["clear", "rain", "snow"], rows)
        if gaps:
            y[key] = y[key].mask(rng.random((rows, 2)) < 0.3)
            X[key] = X[key].mask(rng.random((rows, 3)) < 0.4)
    if len(lengths) == 1:
        return y[key], X[key]
    return tuple(pd.concat(frames, names=["series", "time"]) for frames in (y, X))


def part(frame, within):
    """Return the rows of each series that a slice takes."""
    if not isinstance(frame.index, pd.MultiIndex):
        return frame.iloc[within]
    return frame.groupby(level=0, group_keys=False).apply(lambda series: series.iloc[within])


def fit_encoder(y, X=None, scaler=None):
    """Fit an encoder; without a scaler for targets, so that more rows change none before them."""
    return FrameEncoder("real", scaler, "robust", (), (), ("time_of_day", "weekend")).fit(y, X)


def contents(known):
    """Return copies of all that a history says of its series, without the room between them."""
    store = known.store
    rows = torch.from_numpy(ranges(store.start.numpy(), known.lengths))
    own = known.lengths + HORIZON
    calendar = torch.from_numpy(ranges(store.calendar_start.numpy(), own))
    found = {
        "values": store.values[rows],
        "observed": store.observed[rows],
        "calendar": store.calendar[calendar],
        "length": store.length,
        "first": torch.from_numpy(known.first),
        "loc": torch.from_numpy(known.loc),
        "scale": torch.from_numpy(known.scale),
        "level": store.traits.level,
        "spread": store.traits.spread,
        "unit": store.traits.unit,
        "identity": store.traits.identity,
    }
    return {name: value.clone() for name, value in found.items()}


#: What is learnt from the rows of a series when it is first seen, and stays.
LEARNT = ("loc", "scale", "level", "spread", "unit")


def assert_same(left, right, but=()):
    for name in left:
        if name not in but:
            torch.testing.assert_close(left[name], right[name], rtol=0, atol=0, msg=name)


def shares_memory(one, other):
    held = [
        [known.store.values, known.store.observed.bits, known.store.calendar]
        for known in (one, other)
    ]
    same = {left.data_ptr() == right.data_ptr() for left, right in zip(*held, strict=True)}
    assert len(same) == 1
    return same.pop()


# Rows in blocks.


@pytest.mark.parametrize("scaler", [None, "robust_arcsinh", "standard"])
@pytest.mark.parametrize("lengths", [SINGLE, RAGGED], ids=["single", "ragged panel"])
def test_blocks_of_any_size_encode_the_same(lengths, scaler, monkeypatch):
    y, X = make_frames(lengths)
    encoder = fit_encoder(y, X, scaler)
    expected = contents(encoder.encode(y, X, HORIZON))
    for rows in (1, 2, BLOCK, 29, 60):
        monkeypatch.setattr(rows_room, "BLOCK_ROWS", rows)
        assert_same(contents(fit_encoder(y, X, scaler).encode(y, X, HORIZON)), expected)


@pytest.mark.parametrize("lengths", [SINGLE, RAGGED], ids=["single", "ragged panel"])
def test_blocks_of_any_size_extend_the_same(lengths, monkeypatch):
    y, X = make_frames(lengths)
    early_y, early_X, late_y, late_X = (
        part(frame, rows) for rows in (slice(0, 13), slice(9, None)) for frame in (y, X)
    )
    encoder = fit_encoder(early_y, early_X, "robust")
    known = encoder.encode(early_y, early_X, HORIZON)
    expected, cutoff = encoder.extend(known, known.lengths, late_y + 1, late_X, HORIZON)
    for rows in (1, 2, BLOCK):
        monkeypatch.setattr(rows_room, "BLOCK_ROWS", rows)
        merged, own = encoder.extend(known, known.lengths, late_y + 1, late_X, HORIZON)
        assert own.tolist() == cutoff.tolist()
        assert_same(contents(merged), contents(expected))


def test_parsed_rows_answer_alike_in_blocks_of_any_size(monkeypatch):
    y, _ = make_frames(RAGGED)
    timeline = find_timeline(y.index)
    whole = Rows.parse(y.index, timeline)
    series, ordinals = whole.series(), whole.ordinals()
    assert series.tolist() == np.repeat(range(4), whole.lengths).tolist()
    expected = [np.arange(place, place + rows) for place, rows in enumerate(RAGGED.values())]
    assert ordinals.tolist() == np.concatenate(expected).tolist()
    for block in (1, 2, BLOCK, 29, 60, 61):
        monkeypatch.setattr(rows_room, "BLOCK_ROWS", block)
        rows = Rows.parse(y.index, timeline)
        slices = list(rows_room.blocks(len(rows)))
        assert [piece.stop - piece.start for piece in slices[:-1]] == [block] * (len(slices) - 1)
        assert np.concatenate([rows.series(piece) for piece in slices]).tolist() == series.tolist()
        joined = np.concatenate([rows.ordinals(piece) for piece in slices])
        assert joined.tolist() == ordinals.tolist()
        groups = list(rows.groups())
        assert [groups[0].start, groups[-1].stop] == [0, 4]
        assert all(one.stop == other.start for one, other in pairwise(groups))
        for group in groups:
            assert group.stop - group.start == 1 or whole.lengths[group].sum() <= block


@pytest.mark.usefixtures("small_blocks")
def test_times_out_of_order_are_named_within_and_across_blocks():
    y, _ = make_frames(SINGLE)
    timeline = find_timeline(y.index)
    for row in (1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK):
        for order in ([*range(row), row - 1, *range(row, 29)], [*range(row - 1), row, row - 1]):
            index = y.index[order]
            with pytest.raises(ValueError, match="expected increasing times") as error:
                Rows.parse(index, timeline)
            assert f"Got the row {index[row]} after the row {index[row - 1]}," in str(error.value)


@pytest.mark.usefixtures("small_blocks")
def test_times_out_of_order_in_a_panel_are_named_with_their_series():
    y, _ = make_frames({"p": 5, "q": 16})
    timeline = find_timeline(y.index)
    for row in (6, 7, 13, 14, 20):  # rows 7 and 14 begin a block, row 5 a series
        order = np.arange(21)
        order[[row - 1, row]] = row, row - 1
        index = y.index[order]
        with pytest.raises(ValueError, match="expected increasing times") as error:
            Rows.parse(index, timeline)
        assert f"Got the row {index[row]} after the row {index[row - 1]}" in str(error.value)


@pytest.mark.usefixtures("small_blocks")
def test_a_gap_is_named_within_and_across_blocks():
    integers, _ = make_frames(SINGLE)
    panel, _ = make_frames({"p": 32, "q": 25})  # the longest series is whole
    cases = (
        (integers.reset_index(drop=True), (1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK)),
        (panel, (33, 5 * BLOCK - 1, 5 * BLOCK, 5 * BLOCK + 1, 7 * BLOCK)),
    )
    for y, rows in cases:
        encoder = FrameEncoder("real", None, None, (), (), ()).fit(y, None)
        for row in rows:
            gappy = y.drop(y.index[[row, row + 1]])
            with pytest.raises(ValueError, match="2 steps are absent") as error:
                encoder.encode(gappy, None, HORIZON)
            assert f"after {y.index[row - 1]} comes {y.index[row + 2]}" in str(error.value)


@pytest.mark.usefixtures("small_blocks")
def test_a_series_may_begin_at_any_row_of_a_block():
    for rows in range(1, 2 * BLOCK + 2):
        y, _ = make_frames({"p": rows, "q": 9, "r": 2 * BLOCK - 9})
        assert fit_encoder(y).encode(y, None, HORIZON).lengths.tolist() == [rows, 9, 5]


@pytest.mark.usefixtures("small_blocks")
def test_missing_rows_of_x_are_counted_over_blocks_and_the_first_is_named():
    y, X = make_frames(RAGGED)
    encoder = fit_encoder(y, X)
    for lost in ([0], [6], [7], [13, 14], [28, 29, 30], [5, 20, 36, 59], list(range(60))[3:]):
        with pytest.raises(ValueError, match="which y has") as error:
            encoder.encode(y, X.drop(X.index[lost]), HORIZON)
        key, time = y.index[lost[0]]
        assert f"without the row {time} of series {key!r}" in str(error.value)
        assert f"({len(lost)} rows are absent)" in str(error.value)


@pytest.mark.usefixtures("small_blocks")
def test_covariates_are_carried_over_many_blocks_but_not_into_the_next_series():
    y, X = make_frames({"p": 3 * BLOCK + 2, "q": 2 * BLOCK, "r": 2}, gaps=False)
    X["holiday"] = np.nan
    X.iloc[1, X.columns.get_loc("holiday")] = 1.0
    X.iloc[3 * BLOCK + 5, X.columns.get_loc("holiday")] = 0.0
    known = fit_encoder(y, X).encode(y, X, HORIZON)
    found = contents(known)["values"][:, 3]
    first, second = 3 * BLOCK + 2, 2 * BLOCK
    mean = 0.5  # of the values that were observed
    expected = [mean] + [1.0] * (first - 1) + [mean] * 3 + [0.0] * (second - 3) + [mean] * 2
    assert found.tolist() == expected


@pytest.mark.usefixtures("small_blocks")
def test_unused_times_of_the_index_may_lie_off_the_grid():
    y, X = make_frames(RAGGED)
    odd = pd.MultiIndex.from_tuples([("r", pd.Timestamp("2021-03-05 05:30"))], names=y.index.names)
    more_y, more_X = (
        pd.concat([frame, frame.iloc[:1].set_axis(odd)]).sort_index() for frame in (y, X)
    )
    kept_y, kept_X = more_y[more_y.index != odd[0]], more_X[more_X.index != odd[0]]
    assert odd[0][1] in kept_y.index.levels[-1]
    encoder = fit_encoder(y, X)
    assert_same(
        contents(encoder.encode(kept_y, kept_X, HORIZON)), contents(encoder.encode(y, X, HORIZON))
    )
    with pytest.raises(ValueError, match="2021-03-05 05:30:00, which does not lie on the regular"):
        encoder.encode(more_y, more_X, HORIZON)


# Room to grow.


@pytest.mark.usefixtures("small_room")
def test_new_rows_go_behind_the_old_ones_which_stay_as_they_are():
    y, X = make_frames({"p": 40, "q": 32})
    early_y, early_X = part(y, slice(0, 24)), part(X, slice(0, 24))
    encoder = fit_encoder(early_y, early_X)
    known = encoder.encode(early_y, early_X, HORIZON)
    before = contents(known)
    merged, cutoff = encoder.extend(
        known, known.lengths, part(y, slice(24, 27)), part(X, slice(24, 27)), HORIZON
    )
    assert cutoff.tolist() == [27, 27]
    assert shares_memory(known, merged)
    assert known.lengths.tolist() == [24, 24]
    assert_same(contents(known), before)
    whole = encoder.encode(part(y, slice(0, 27)), part(X, slice(0, 27)), HORIZON)
    assert_same(contents(merged), contents(whole), but=LEARNT)


@pytest.mark.usefixtures("small_room")
def test_a_second_extension_of_the_same_history_does_not_disturb_the_first():
    y, X = make_frames(SINGLE)
    encoder = fit_encoder(y[:24], X[:24])
    known = encoder.encode(y[:24], X[:24], HORIZON)
    one, _ = encoder.extend(known, known.lengths, y[24:27], X[24:27], HORIZON)
    first = contents(one)
    other, _ = encoder.extend(known, known.lengths, y[24:26] * 3, X[24:26], HORIZON)
    assert shares_memory(known, one)
    assert not shares_memory(known, other)
    assert_same(contents(one), first)
    np.testing.assert_allclose(
        encoder.observed_targets(other, other.lengths)[0][24:], y[24:26] * 3, rtol=1e-6
    )
    # The first goes on in its own room, the second in the room that it got.
    on, _ = encoder.extend(other, other.lengths, y[26:27], X[26:27], HORIZON)
    assert shares_memory(other, on)
    assert_same(contents(one), first)


@pytest.mark.usefixtures("small_room")
def test_the_latest_history_still_owns_the_room_after_an_older_one_was_asked():
    y, X = make_frames(SINGLE)
    encoder = fit_encoder(y[:24], X[:24])
    known = encoder.encode(y[:24], X[:24], HORIZON)
    one, _ = encoder.extend(known, known.lengths, y[24:25], X[24:25], HORIZON)
    encoder.extend(known, known.lengths, y[24:26] * 3, X[24:26], HORIZON)  # moves
    two, _ = encoder.extend(one, one.lengths, y[25:26], X[25:26], HORIZON)
    assert shares_memory(one, two)
    assert_same(contents(two), contents(encoder.encode(y[:26], X[:26], HORIZON)), but=LEARNT)


@pytest.mark.usefixtures("small_room")
def test_an_extension_that_fails_leaves_no_trace():
    y, X = make_frames(SINGLE)
    encoder = fit_encoder(y[:24], X[:24])
    known = encoder.encode(y[:24], X[:24], HORIZON)
    before = contents(known)
    faulty = y[24:26].copy()
    faulty.iloc[1, 1] = np.inf
    for new_y, new_X in ((faulty, X[24:26]), (y[24:26], X[25:26])):
        with pytest.raises(ValueError, match=r"infinite value|without the row"):
            encoder.extend(known, known.lengths, new_y, new_X, HORIZON)
        assert_same(contents(known), before)
    merged, _ = encoder.extend(known, known.lengths, y[24:27], X[24:27], HORIZON)
    whole = encoder.encode(y[:27], X[:27], HORIZON)
    assert_same(contents(merged), contents(whole), but=LEARNT)


@pytest.mark.usefixtures("small_room")
def test_rows_that_are_not_all_new_move_the_history():
    y, X = make_frames({"only": 29}, gaps=False)
    encoder = fit_encoder(y[:24], X[:24])
    known = encoder.encode(y[:24], X[:24], HORIZON)
    before = contents(known)
    cases = {
        "late": (y[5:8] + 1, X[5:8]),
        "overlapping": (y[22:25] + 1, X[22:25]),
        "before the first": (y[:2].shift(-5, freq="h"), X[:2].shift(-5, freq="h")),
        "old covariates": (y[24:25], X[20:25].assign(heat=2.0)),
    }
    for name, (new_y, new_X) in cases.items():
        merged, _ = encoder.extend(known, known.lengths, new_y, new_X, HORIZON)
        assert not shares_memory(known, merged), name
        assert_same(contents(known), before)
        times = merged.timeline.times(merged.first[0] + np.arange(merged.lengths[0]))
        (found,) = encoder.observed_targets(merged, merged.lengths)
        found = pd.DataFrame(found, times, y.columns)
        expected = new_y.combine_first(y[:24])
        np.testing.assert_allclose(found.loc[expected.index], expected, rtol=1e-6, err_msg=name)


@pytest.mark.usefixtures("small_room")
@pytest.mark.parametrize("lengths", [{"only": 90}, {"p": 90, "q": 61}], ids=["single", "panel"])
def test_rows_one_by_one_outgrow_the_room_and_equal_encoding_at_once(lengths):
    y, X = make_frames(lengths)
    early = slice(0, 24)
    encoder = fit_encoder(part(y, early), part(X, early))
    grown = encoder.encode(part(y, early), part(X, early), HORIZON)
    cutoff, moves, appends = grown.lengths, 0, 0
    for row in range(24, 90):
        rows = slice(row, row + 1)
        before = grown
        grown, cutoff = encoder.extend(grown, cutoff, part(y, rows), part(X, rows), HORIZON)
        shared = shares_memory(before, grown)
        moves, appends = moves + (not shared), appends + shared
    assert cutoff.tolist() == list(lengths.values())
    assert moves >= 3
    assert appends > moves
    assert_same(contents(grown), contents(encoder.encode(y, X, HORIZON)), but=LEARNT)


@pytest.mark.usefixtures("small_room")
def test_new_series_join_rows_one_by_one():
    y, X = make_frames({"p": 60, "q": 60, "r": 60})
    old, new = ["p", "r"], ["q"]
    encoder = fit_encoder(y, X)
    grown = encoder.encode(part(y.loc[old], slice(0, 24)), part(X.loc[old], slice(0, 24)), HORIZON)
    cutoff = grown.lengths
    for row in range(24, 60):
        keys = [*old, *new] if row >= 40 else old
        rows = slice(row, row + 1)
        grown, cutoff = encoder.extend(
            grown, cutoff, part(y.loc[keys], rows), part(X.loc[keys], rows), HORIZON
        )
    assert grown.keys.tolist() == ["p", "r", "q"]
    assert grown.lengths.tolist() == [60, 60, 20]
    expected_y = pd.concat([y.loc[old], part(y.loc[new], slice(40, 60))])
    expected_X = pd.concat([X.loc[old], part(X.loc[new], slice(40, 60))])
    whole = encoder.encode(expected_y, expected_X, HORIZON)
    assert_same(contents(grown), contents(whole), but=LEARNT)


def test_a_short_series_gets_room_at_its_first_update():
    y, X = make_frames(SINGLE)
    encoder = fit_encoder(y[:9], X[:9])
    known = encoder.encode(y[:9], X[:9], HORIZON)
    assert len(known.store.values) == 9
    assert len(known.store.calendar) == 9 + HORIZON
    once, _ = encoder.extend(known, known.lengths, y[9:10], X[9:10], HORIZON)
    assert not shares_memory(known, once)
    assert len(once.store.values) == 10 + MIN_ROOM
    twice, _ = encoder.extend(once, once.lengths, y[10:12], X[10:12], HORIZON)
    assert shares_memory(once, twice)
    assert_same(contents(twice), contents(encoder.encode(y[:12], X[:12], HORIZON)), but=LEARNT)


def test_the_step_learnt_by_an_update_changes_the_calendar_of_old_rows():
    y, _ = make_frames(SINGLE)
    y.index = pd.DatetimeIndex(y.index, freq=None)  # else one row would tell the step
    encoder = fit_encoder(y[7:8])
    single = encoder.encode(y[7:8], None, HORIZON)
    again, _ = encoder.extend(single, single.lengths, y[7:8], None, HORIZON)  # now with room
    merged, _ = encoder.extend(again, again.lengths, y[8:10], None, HORIZON)
    at_once = encoder.encode(y[7:10], None, HORIZON)
    assert_same(contents(merged), contents(at_once), but=(*LEARNT, "first"))


# Room under forecasters.


def tiny(**parameters):
    settings = {
        "max_epochs": 1,
        "batch_size": 8,
        "max_windows_per_epoch": 8,
        "context_length": 5,
        "target_lags": (),
        "random_state": 0,
    }
    return SkorchForecaster(
        AttentionLSTM, {"d_model": 4, "num_heads": 2}, **{**settings, **parameters}
    )


def long_series(rows=40, seed=0):
    times = pd.date_range("2021-03-05", periods=rows, freq="h")
    return pd.Series(np.random.default_rng(seed).normal(100, 7, rows), times, name="y")


@pytest.mark.usefixtures("small_room")
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=["deepcopy", "pickle"],
)
def test_copies_before_and_after_updates_go_their_own_way(copied):
    y, other = long_series(), long_series(seed=1)
    forecaster = tiny().fit(y[:24], fh=[1, 2, 3])
    stale, in_sample = forecaster.predict(), forecaster.predict_residuals()
    first = copied(forecaster)
    forecaster.update(y[24:26], update_params=False)
    middle = forecaster.predict()
    second = copied(forecaster)
    assert first.predict().equals(stale)
    assert second.predict().equals(middle)
    first.update(other[24:27], update_params=False)
    second.update(other[26:27], update_params=False)
    assert forecaster.predict().equals(middle)
    forecaster.update(y[26:27], update_params=False)
    fresh = tiny().fit(y[:24], fh=[1, 2, 3])
    assert fresh.predict_residuals().equals(in_sample)
    assert forecaster.predict().equals(fresh.update(y[24:27], update_params=False).predict())
    assert not second.predict().equals(forecaster.predict())
    assert not first.predict().equals(second.predict())


@pytest.mark.usefixtures("small_room")
def test_an_update_after_backtests_equals_one_without():
    y = long_series()
    forecaster = tiny().fit(y[:24], fh=[1, 2, 3])
    expected = copy.deepcopy(forecaster).update(y[24:27], update_params=False).predict()
    before = forecaster._fitted.history
    cv = SlidingWindowSplitter(fh=[1, 2, 3], window_length=2, step_length=2)
    forecaster.update_predict(y[24:], cv, update_params=False)
    forecaster.backtest(y[24:], None, cv)
    forecaster.backtest(y[24:], None, cv, update_every=3)
    assert forecaster._fitted.history is before
    assert forecaster.update(y[24:27], update_params=False).predict().equals(expected)
    assert forecaster.update_predict(y[27:], cv, update_params=False).shape[1] == 5


@pytest.mark.usefixtures("small_room")
def test_an_update_after_a_failed_one_equals_one_without():
    y = long_series()
    forecaster = tiny().fit(y[:24], fh=[1, 2, 3])
    expected = copy.deepcopy(forecaster).update(y[24:27], update_params=False).predict()
    stale = forecaster.predict()
    with pytest.raises(ValueError, match="infinite value"):
        forecaster.update(y[24:26].replace(y.iloc[25], np.inf), update_params=False)
    assert forecaster.predict().equals(stale)
    assert forecaster.update(y[24:27], update_params=False).predict().equals(expected)


def test_an_update_of_a_long_history_reads_and_writes_its_new_rows_alone(monkeypatch):
    y = long_series(200_010)
    forecaster = tiny().fit(y[:200_000], fh=[1, 2, 3])
    asked, made = [], []
    ordinals, features = Timeline.ordinals, Timeline.features

    def counted_ordinals(self, times):
        asked.append(len(times))
        return ordinals(self, times)

    def counted_features(self, start, number, names):
        made.append(number)
        return features(self, start, number, names)

    monkeypatch.setattr(Timeline, "ordinals", counted_ordinals)
    monkeypatch.setattr(Timeline, "features", counted_features)
    before = forecaster._fitted.history.store
    for row in range(200_000, 200_010):
        forecaster.update(y[row : row + 1], update_params=False)
    after = forecaster._fitted.history.store
    for name in ("values", "observed", "calendar"):
        assert getattr(after, name) is getattr(before, name)
    assert max(asked) <= 4
    assert made == [1 + CALENDAR_AHEAD]  # once for all ten rows
    assert int(after.length) == 200_010
    np.testing.assert_allclose(
        forecaster.predict_residuals(y[-3:]), y[-3:] - forecaster.predict(fh=[-2, -1, 0]), atol=1e-9
    )


@pytest.mark.slow
def test_encoding_a_panel_takes_less_than_twice_its_size():
    script = """
import numpy as np, pandas as pd, torch
from sktime_tlstm.data.encoder import FrameEncoder

def encode(y, X):
    encoder = FrameEncoder("real", "robust", "robust", (), (), ("day_of_week",)).fit(y, X)
    return encoder.encode(y, X, 7)

def kibibytes(name):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1])

torch.set_num_threads(1)
days = pd.date_range("2020-01-01", periods=500)
index = pd.MultiIndex.from_product([np.arange(2000), days])
rng = np.random.default_rng(0)
y = pd.DataFrame({"y": rng.normal(size=len(index))}, index)
X = pd.DataFrame(rng.normal(size=(len(index), 3)), index, columns=list("abc"))
encode(y.iloc[:5000], X.iloc[:5000])  # loads what it needs
before = kibibytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # forgets the peak
history = encode(y, X)
print((kibibytes("VmHWM") - before) * 1024 / (4 * 4 * len(index)))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 1.9
