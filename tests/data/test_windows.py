import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from sktime_tlstm.data.history import SeriesStore, Traits
from sktime_tlstm.data.sampling import WindowDataset, WindowSampler, training_cutoffs
from sktime_tlstm.data.windows import (
    FEW_ROWS,
    MIN_WINDOW_SCALE,
    WindowSpec,
    cut_windows,
    past_targets,
)

LENGTHS = (29, 1, 13, 7)
SPEC = WindowSpec(
    context_length=7,
    horizon=5,
    num_targets=2,
    num_numeric=3,
    num_calendar=4,
    known=(0, 2),
    cardinalities=(11, 13),
    known_categories=(1,),
    lags=(3, 11),
    window_norm="meanstd",
    norm_length=17,
)
# The same windows without lags, covariates and calendar, and with one target.
PLAIN = WindowSpec(7, 5, 1, 0, 0, (), (), (), (), "meanstd", 7)
SPECS = {
    "everything": SPEC,
    "mean": replace(SPEC, window_norm="mean"),
    "no normalisation": replace(SPEC, window_norm=None),
    "a norm shorter than the context": replace(SPEC, norm_length=2),
    "a context longer than the norm and lags": replace(SPEC, context_length=19, norm_length=3),
    "a context of one row": replace(SPEC, context_length=1),
    "a horizon of one row": replace(SPEC, horizon=1),
    "everything known": replace(SPEC, known=(0, 1, 2), known_categories=(0, 1)),
    "nothing known": replace(SPEC, known=(), known_categories=()),
    "no lags": replace(SPEC, lags=()),
    "a lag of one row": replace(SPEC, lags=(1,)),
    "plain": PLAIN,
}
EVERY_SPEC = pytest.mark.parametrize("name", SPECS)


def make_store(spec, lengths=LENGTHS, seed=0):
    """Make a store of random values, a quarter of them missing, series on their own grid rows."""
    rng = np.random.default_rng(seed)
    lengths = np.array(lengths)
    total, channels = lengths.sum(), spec.num_targets + spec.num_numeric
    observed = rng.random((total, channels)) > 0.25
    values = rng.normal(3, 2, (total, channels))
    values[:, : spec.num_targets] *= observed[:, : spec.num_targets]  # a missing target is zero
    codes = [rng.integers(0, number + 1, (total, 1)) for number in spec.cardinalities]
    calendar_start = rng.integers(0, 19, len(lengths))
    rows = (calendar_start + lengths).max() + spec.horizon
    shape = (len(lengths), spec.num_targets)
    return SeriesStore(
        values=torch.tensor(np.concatenate([values, *codes], axis=1), dtype=torch.float32),
        observed=torch.tensor(observed),
        calendar=torch.tensor(rng.normal(size=(rows, spec.num_calendar)), dtype=torch.float32),
        start=torch.tensor(np.cumsum(lengths) - lengths),
        length=torch.tensor(lengths),
        calendar_start=torch.tensor(calendar_start),
        traits=Traits(
            level=torch.tensor(rng.normal(size=shape)).float(),
            spread=torch.tensor(rng.random(shape) + 1).float(),
            unit=torch.full(shape, 3.0),
            zero=torch.zeros(shape),
            gap=torch.zeros(shape),
            static=torch.zeros(len(lengths), 0),
            identity=torch.zeros(len(lengths)),
        ),
    )


def every_window(store):
    """Return all pairs (series, cutoff), from no context to the whole series."""
    pairs = [(s, c) for s, length in enumerate(store.length.tolist()) for c in range(length + 1)]
    return [torch.tensor(column) for column in zip(*pairs, strict=True)]


class SlowWindow:
    """One window by plain loops, row by row and channel by channel, from the docstrings alone."""

    def __init__(self, store, spec, series, cutoff):
        self.store, self.spec, self.series, self.cutoff = store, spec, series, cutoff
        self.length = int(store.length[series])
        pairs = [self.statistics(target) for target in range(spec.num_targets)]
        self.loc, self.scale = [list(column) for column in zip(*pairs, strict=True)]

    def value(self, row, channel):
        return float(self.store.values[self.store.start[self.series] + row, channel])

    def seen(self, row, channel):
        return bool(self.store.observed[self.store.start[self.series] + row, channel])

    def calendar(self, row):
        return self.store.calendar[self.store.calendar_start[self.series] + row].tolist()

    def statistics(self, target):
        first = max(0, self.cutoff - self.spec.norm_length)
        rows = [row for row in range(first, self.cutoff) if self.seen(row, target)]
        values = [self.value(row, target) for row in rows]
        level = float(self.store.traits.level[self.series, target])
        spread = float(self.store.traits.spread[self.series, target])
        if self.spec.window_norm is None:
            return 0.0, 1.0
        mean = sum(values) / len(values) if values else level
        if self.spec.window_norm == "mean":
            return mean, 1.0
        squares = sum((value - mean) ** 2 for value in values)
        lacking = max(min(FEW_ROWS, self.spec.norm_length) - len(values), 0)
        deviation = math.sqrt((squares + lacking * spread**2) / (len(values) + lacking))
        return mean, max(deviation, MIN_WINDOW_SCALE * spread)

    def normalised(self, row, target):
        if not self.seen(row, target):
            return 0.0
        return (self.value(row, target) - self.loc[target]) / self.scale[target]

    def numeric(self):
        return range(self.spec.num_targets, self.spec.num_targets + self.spec.num_numeric)

    def past(self):
        rows = []
        for row in range(max(0, self.cutoff - self.spec.context_length), self.cutoff):
            features = [self.normalised(row, t) for t in range(self.spec.num_targets)]
            features += [self.value(row, channel) for channel in self.numeric()]
            flags = range(self.spec.num_targets + self.spec.num_numeric)
            features += [float(self.seen(row, channel)) for channel in flags]
            features += self.calendar(row)
            codes = range(len(self.spec.cardinalities))
            features += [self.value(row, len(flags) + code) for code in codes]
            rows.append(features)
        return rows or [[0.0] * self.spec.num_past_features]

    def future(self):
        spec, numeric, rows = self.spec, self.numeric(), []
        for step in range(spec.horizon):
            row = self.cutoff + step
            inside = row < self.length
            known = [numeric[channel] for channel in spec.known]
            features = [self.value(row, channel) if inside else 0.0 for channel in known]
            features += [float(inside and self.seen(row, channel)) for channel in known]
            features += self.calendar(row)
            features += [(step + 1) / spec.horizon]
            features += self.loc + [math.log(scale) for scale in self.scale]
            for lag in spec.lags:
                before = row - lag
                while before >= self.cutoff:
                    before -= lag
                targets = range(spec.num_targets)
                if before < 0:
                    features += [0.0] * (2 * spec.num_targets + spec.num_numeric)
                else:
                    features += [self.normalised(before, target) for target in targets]
                    features += [self.value(before, channel) for channel in numeric]
                    features += [float(self.seen(before, target)) for target in targets]
            first = spec.num_targets + spec.num_numeric
            codes = [first + code for code in spec.known_categories]
            features += [self.value(row, channel) if inside else 0.0 for channel in codes]
            rows.append(features)
        return rows

    def target(self):
        return [
            [
                self.normalised(row, target)
                if row < self.length and self.seen(row, target)
                else math.nan
                for target in range(self.spec.num_targets)
            ]
            for row in range(self.cutoff, self.cutoff + self.spec.horizon)
        ]


HIDDEN = ((), (0,), (1, 4), (3, 5), (0, 1, 2, 3, 4, 5, 6))


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
def test_hidden_channels_are_empty_before_the_cutoff_and_others_as_they_were(hidden):
    spec = replace(SPEC, window_norm=None)
    store = make_store(spec)
    places = every_window(store)
    usual = cut_windows(store, spec, *places)
    batch = cut_windows(store, replace(spec, hidden=hidden), *places)
    assert torch.equal(batch.target.nan_to_num(), usual.target.nan_to_num())
    # values and flags of 2 targets and 3 covariates, 4 of the calendar, 2 codes
    own = [channel for channel in hidden if channel < 5]
    past = [*own, *(5 + channel for channel in own), *(c + 9 for c in hidden if c >= 5)]
    # known: 2 values, 2 flags, 4 of the calendar, the step, 2 levels and 2 spreads; of each lag 5
    # values and 2 flags; a code
    begins = [13 + 7 * number for number in range(len(spec.lags))]
    lags = [begin + channel for begin in begins for channel in own]
    lags += [begin + 5 + channel for begin in begins for channel in own if channel < 2]
    for name, empty in {"past": past, "future": lags}.items():
        found, before = batch.inputs[name], usual.inputs[name]
        kept = [channel for channel in range(found.shape[-1]) if channel not in empty]
        assert not found[..., empty].any()
        assert torch.equal(found[..., kept], before[..., kept])
        assert before.flatten(0, 1)[:, empty].any(dim=0).all()  # none is empty by itself


@EVERY_SPEC
def test_a_batch_equals_windows_built_row_by_row(name):
    spec = SPECS[name]
    store = make_store(spec)
    series, cutoff = every_window(store)
    batch = cut_windows(store, spec, series, cutoff)
    lengths = batch.inputs["past_lengths"].tolist()
    assert set(batch.inputs) == {"past", "future", "past_lengths"}
    num_windows = sum(LENGTHS) + len(LENGTHS)
    past_shape = (num_windows, spec.context_length, spec.num_past_features)
    assert batch.inputs["past"].shape == past_shape
    for i, (which, rows) in enumerate(zip(series.tolist(), cutoff.tolist(), strict=True)):
        slow = SlowWindow(store, spec, which, rows)
        past = slow.past()
        assert lengths[i] == len(past)
        past += [[0.0] * spec.num_past_features] * (spec.context_length - len(past))
        expected = {
            "past": (batch.inputs["past"][i], past),
            "future": (batch.inputs["future"][i], slow.future()),
            "target": (batch.target[i], slow.target()),
            "loc": (batch.loc[i], slow.loc),
            "scale": (batch.scale[i], slow.scale),
        }
        for part, (fast, plain) in expected.items():
            torch.testing.assert_close(
                fast,
                torch.tensor(plain),
                rtol=1e-5,
                atol=1e-5,
                equal_nan=True,
                msg=lambda text, part=part, which=which, rows=rows: (
                    f"{part} of {(which, rows)}: {text}"
                ),
            )


@EVERY_SPEC
def test_a_window_does_not_depend_on_its_batch(name):
    spec = SPECS[name]
    store = make_store(spec)
    series, cutoff = every_window(store)
    batch = cut_windows(store, spec, series, cutoff)
    for i in range(len(series)):
        alone = cut_windows(store, spec, series[i : i + 1], cutoff[i : i + 1])
        for part in ("past", "future"):
            torch.testing.assert_close(alone.inputs[part][0], batch.inputs[part][i])
        torch.testing.assert_close(alone.target[0], batch.target[i], equal_nan=True)


def test_lengths_are_passed_exactly_where_a_context_is_short():
    store = make_store(SPEC)
    full = cut_windows(store, SPEC, torch.tensor([0, 2]), torch.tensor([7, 11]))
    assert "past_lengths" not in full.inputs
    short = cut_windows(store, SPEC, torch.tensor([0, 2]), torch.tensor([6, 11]))
    assert short.inputs["past_lengths"].tolist() == [6, 7]
    assert short.inputs["past_lengths"].dtype == torch.int64


def test_an_empty_context_is_one_row_of_zeros():
    batch = cut_windows(make_store(SPEC), SPEC, torch.tensor([2]), torch.tensor([0]))
    assert batch.inputs["past_lengths"].tolist() == [1]
    assert not batch.inputs["past"].any()


def test_inputs_are_never_nan():
    store = make_store(SPEC)
    store = replace(store, observed=torch.zeros_like(store.observed))
    batch = cut_windows(store, SPEC, *every_window(store))
    assert all(torch.isfinite(value).all() for value in batch.inputs.values())
    assert batch.target.isnan().all()


def worked_store(values, level=11.0, spread=2.0):
    """Make a store of one series of one target; None is a missing value."""
    return SeriesStore(
        values=torch.tensor([[0.0 if value is None else value] for value in values]),
        observed=torch.tensor([[value is not None] for value in values]),
        calendar=torch.zeros(len(values) + PLAIN.horizon, 0),
        start=torch.tensor([0]),
        length=torch.tensor([len(values)]),
        calendar_start=torch.tensor([0]),
        traits=Traits(
            level=torch.tensor([[level]]),
            spread=torch.tensor([[spread]]),
            unit=torch.tensor([[3.0]]),
            zero=torch.zeros(1, 1),
            gap=torch.zeros(1, 1),
            static=torch.zeros(1, 0),
            identity=torch.zeros(1),
        ),
    )


@pytest.mark.parametrize(
    ("values", "norm", "loc", "scale"),
    [
        ([3.0, 7.0], "meanstd", 5.0, 2.0),
        ([3.0, None, 7.0, None], "meanstd", 5.0, 2.0),
        ([3.0, 7.0], "mean", 5.0, 1.0),
        ([3.0, 7.0], None, 0.0, 1.0),
        ([None, None], "meanstd", 11.0, 2.0),
        ([None, None], "mean", 11.0, 1.0),
        (
            [3.0, None],
            "meanstd",
            3.0,
            (24 / 7) ** 0.5,
        ),  # a part of 7 nothing, the others the spread
        ([3.0, 3.0], "meanstd", 3.0, (20 / 7) ** 0.5),
        ([1.0, 9.0], "meanstd", 5.0, (52 / 7) ** 0.5),  # two parts of 7 the own variance, 16
        ([1.0, 9.0, *[5.0] * 5], "meanstd", 5.0, (32 / 7) ** 0.5),  # which a whole window tells
        ([3.0] * 7, "meanstd", 3.0, 0.1),  # a twentieth of the spread
    ],
)
def test_window_statistics_by_hand(values, norm, loc, scale):
    store = worked_store([*values, 13.0])
    spec = replace(PLAIN, window_norm=norm)
    batch = cut_windows(store, spec, torch.tensor([0]), torch.tensor([len(values)]))
    assert batch.loc.item() == pytest.approx(loc)
    assert batch.scale.item() == pytest.approx(scale)
    assert batch.target[0, 0].item() == pytest.approx((13.0 - loc) / scale)
    assert batch.target[0, 1:].isnan().all()


@pytest.mark.parametrize("support", ["positive", "count"])
@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([3.0, 7.0], 5.0),  # the mean: such windows are scaled, never shifted
        ([3.0, None], 3.0),
        ([None, None], 11.0),  # nothing observed: the level of the series
        ([0.1, 0.3], 0.55),  # at least a twentieth of the level
    ],
)
def test_the_statistics_of_positive_and_count_windows_by_hand(support, values, scale):
    store = worked_store([*values, 13.0])
    spec = replace(PLAIN, support=support)
    batch = cut_windows(store, spec, torch.tensor([0]), torch.tensor([len(values)]))
    assert batch.loc.item() == 0.0
    assert batch.scale.item() == pytest.approx(scale)
    assert batch.target[0, 0].item() == pytest.approx(13.0 / scale)
    assert batch.unit.item() == pytest.approx(3.0 * scale)


def test_loc_and_scale_undo_the_normalisation():
    store = make_store(SPEC)
    series, cutoff = torch.tensor([0, 0, 2]), torch.tensor([11, 24, 3])
    batch = cut_windows(store, SPEC, series, cutoff)
    values = batch.loc[:, None] + batch.scale[:, None] * batch.target
    for i in range(3):
        row = int(store.start[series[i]] + cutoff[i])
        raw = torch.where(
            store.observed[row : row + 5, :2], store.values[row : row + 5, :2], np.nan
        )
        torch.testing.assert_close(values[i], raw, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_a_lag_repeats_its_last_rows_before_the_cutoff():
    # Before the cutoff 0 1 2 3 4 5 6; lag 3 for five steps gives rows 4 5 6 4 5.
    store = worked_store([float(value) for value in range(12)])
    spec = replace(PLAIN, lags=(3,), window_norm=None)
    future = cut_windows(store, spec, torch.tensor([0]), torch.tensor([7])).inputs["future"][0]
    assert future[:, -2].tolist() == [4, 5, 6, 4, 5]
    assert future[:, -1].tolist() == [1] * 5


def test_a_lag_before_the_first_row_is_zero_and_flagged():
    store = worked_store([2.0, 3.0, 5.0, 7.0])
    spec = replace(PLAIN, lags=(3,), window_norm=None)
    future = cut_windows(store, spec, torch.tensor([0]), torch.tensor([2])).inputs["future"][0]
    assert future[:, -2].tolist() == [0, 2, 3, 0, 2]
    assert future[:, -1].tolist() == [0, 1, 1, 0, 1]


def known_channels(spec):
    """Return the decoder's channels of known covariates, their flags and codes."""
    return [*range(2 * len(spec.known)), *(future for _, _, future, _ in spec.codes if future)]


@EVERY_SPEC
def test_rows_at_or_after_the_cutoff_reach_the_inputs_only_as_known_covariates(name):
    spec = SPECS[name]
    store = make_store(spec)
    series, cutoff = every_window(store)
    for which, rows in zip(series[::3], cutoff[::3], strict=True):
        before = cut_windows(store, spec, which[None], rows[None])
        values, observed = store.values.clone(), store.observed.clone()
        later = slice(int(store.start[which] + rows), int(store.start[which] + store.length[which]))
        values[later] += 17.0
        observed[later] ^= True
        changed = replace(store, values=values, observed=observed)
        after = cut_windows(changed, spec, which[None], rows[None])
        assert torch.equal(before.inputs["past"], after.inputs["past"])
        assert torch.equal(before.loc, after.loc)
        assert torch.equal(before.scale, after.scale)
        differs = (before.inputs["future"] != after.inputs["future"]).any(dim=1)[0]
        assert set(differs.nonzero().flatten().tolist()) <= set(known_channels(spec))
        if rows < store.length[which]:
            assert all(differs[known_channels(spec)])


@EVERY_SPEC
def test_other_series_reach_nothing(name):
    spec = SPECS[name]
    store = make_store(spec)
    cutoff = torch.arange(14)
    series = torch.full_like(cutoff, 2)
    own = torch.zeros(len(store.values), dtype=torch.bool)
    own[int(store.start[2]) : int(store.start[2] + store.length[2])] = True
    values = torch.where(own[:, None], store.values, 19.0)
    changed = replace(store, values=values, observed=store.observed & own[:, None])
    before, after = (
        cut_windows(store, spec, series, cutoff),
        cut_windows(changed, spec, series, cutoff),
    )
    for part in before.inputs:
        assert torch.equal(before.inputs[part], after.inputs[part])
    assert torch.equal(before.target.isnan(), after.target.isnan())


def test_code_channels_hold_the_codes():
    store = make_store(SPEC)
    batch = cut_windows(store, SPEC, torch.tensor([0]), torch.tensor([11]))
    _, past_channels, future_channels, _ = zip(*SPEC.codes, strict=True)
    past = batch.inputs["past"][0][:, list(past_channels)]
    assert torch.equal(past, store.values[4:11, 5:7])
    assert future_channels[0] is None
    future = batch.inputs["future"][0][:, future_channels[1]]
    assert torch.equal(future, store.values[11:16, 6])


def test_every_code_has_its_channels():
    told = replace(SPEC, num_identities=29, num_static=2, static_cardinalities=(3, 5))
    past, future = told.num_past_features, told.num_future_features
    assert (past, future) == (SPEC.num_past_features + 1, SPEC.num_future_features + 1)
    assert told.num_static_features == 4
    assert told.codes == [
        (11, past - 3, None, None),
        (13, past - 2, future - 2, None),
        (29, past - 1, future - 1, None),  # the series itself
        (3, None, None, 2),
        (5, None, None, 3),
    ]
    assert SPEC.codes == [(11, past - 3, None, None), (13, past - 2, future - 2, None)]
    assert replace(PLAIN, num_identities=1).codes == [
        (1, PLAIN.num_past_features, PLAIN.num_future_features, None)
    ]
    assert PLAIN.codes == []


def test_windows_hold_the_identity_and_the_static_covariates_of_their_series():
    told = replace(SPEC, num_identities=29, num_static=1, static_cardinalities=(3,))
    identity = torch.tensor([7.0, 0.0, 29.0, 2.0])
    static = torch.tensor([[0.5, 1.0], [0.0, 0.0], [-2.0, 3.0], [0.25, 2.0]])
    store = make_store(SPEC)
    store = replace(store, traits=replace(store.traits, identity=identity, static=static))
    series, cutoff = torch.tensor([2, 0, 1, 0, 3]), torch.tensor([3, 29, 0, 11, 7])
    inputs = cut_windows(store, told, series, cutoff).inputs
    plain = cut_windows(store, SPEC, series, cutoff).inputs
    assert "static" not in plain
    assert torch.equal(inputs["static"], static[series])
    for part in ("past", "future"):
        assert torch.equal(inputs[part][..., :-1], plain[part])
    rows = torch.arange(SPEC.context_length) < torch.tensor([3, 7, 0, 7, 7])[:, None]
    assert torch.equal(inputs["past"][..., -1], identity[series, None] * rows)
    assert torch.equal(inputs["future"][..., -1], identity[series, None].expand(-1, SPEC.horizon))


def make_dataset(spec=SPEC, **options):
    store = make_store(spec)
    low, high = np.array([3, 1, 5, 2]), np.array([26, 1, 11, 7])  # 23, 0, 6 and 5 windows
    return WindowDataset(store, spec, low, high, **options)


def test_the_index_runs_through_series_and_cutoffs():
    dataset = make_dataset()
    assert len(dataset) == 34
    pairs = [(0, c) for c in range(3, 26)] + [(2, c) for c in range(5, 11)]
    pairs += [(3, c) for c in range(2, 7)]
    series, cutoff = [torch.tensor(column) for column in zip(*pairs, strict=True)]
    direct = cut_windows(dataset.store, SPEC, series, cutoff)
    inputs, target = dataset.__getitems__(list(range(34)))
    torch.testing.assert_close(target, direct.target, equal_nan=True, rtol=0, atol=0)
    for part in inputs:
        assert torch.equal(inputs[part], direct.inputs[part])


def test_many_items_are_single_items_stacked():
    dataset = make_dataset()
    indices = [19, 0, 33, 24, 19]
    inputs, target = dataset.__getitems__(indices)
    single = [dataset[index] for index in indices]
    for part in ("past", "future"):
        assert torch.equal(inputs[part], torch.stack([one[0][part] for one in single]))
    lengths = [one[0].get("past_lengths", torch.tensor(7)) for one in single]
    assert torch.equal(inputs["past_lengths"], torch.stack(lengths))
    stacked = torch.stack([one[1] for one in single])
    torch.testing.assert_close(target, stacked, equal_nan=True, rtol=0, atol=0)


def test_without_windows_the_dataset_is_empty():
    store = make_store(SPEC)
    assert len(WindowDataset(store, SPEC, np.arange(4), np.arange(4))) == 0


def itself(batch):
    return batch


@pytest.mark.parametrize("subset", [False, True])
def test_batches_are_the_same_with_and_without_workers(subset):
    epochs = []
    for workers in (0, 2):
        dataset = make_dataset(season=3, windows_per_epoch=29)
        if subset:
            options = {"dataset": Subset(dataset, [31, 2, 17, 3, 5, 7, 11, 13])}
        else:
            options = {"dataset": dataset, "sampler": WindowSampler(dataset, seed=5)}
        loader = DataLoader(batch_size=7, collate_fn=itself, num_workers=workers, **options)
        epochs.append([batch for _ in range(2) for batch in loader])
    assert len(epochs[0]) == len(epochs[1]) == (4 if subset else 10)
    for (inputs, target), (worker_inputs, worker_target) in zip(*epochs, strict=True):
        assert set(inputs) == set(worker_inputs)
        assert all(torch.equal(inputs[part], worker_inputs[part]) for part in inputs)
        torch.testing.assert_close(target, worker_target, equal_nan=True, rtol=0, atol=0)


def place_of(dataset, indices):
    """Return series and cutoff of windows."""
    place = np.searchsorted(dataset.first, indices, side="right") - 1
    return dataset.used[place], dataset.low[place] + indices - dataset.first[place]


def test_an_epoch_draws_every_series_equally_often():
    dataset = make_dataset(windows_per_epoch=300)
    series, cutoff = place_of(dataset, dataset.draw(np.random.default_rng(0)))
    assert np.bincount(series).tolist() == [100, 0, 100, 100]
    for which, low, high in ((0, 3, 26), (2, 5, 11), (3, 2, 7)):
        number = np.bincount(cutoff[series == which], minlength=high)[low:high]
        assert abs(number - 100 / (high - low)).max() < 2  # even over time, too
        assert number.sum() == 100


def test_an_epoch_can_draw_every_window_equally_often():
    dataset = make_dataset(by_series=False, windows_per_epoch=102)
    number = np.bincount(dataset.draw(np.random.default_rng(0)), minlength=34)
    assert (number == 3).all()


def test_an_epoch_defaults_to_as_many_draws_as_windows():
    dataset = make_dataset(by_series=False)
    assert dataset.windows_per_epoch == 34
    drawn = dataset.draw(np.random.default_rng(0))
    assert sorted(drawn) == list(range(34))
    assert drawn.tolist() != list(range(34))


@pytest.mark.parametrize("by_series", [False, True])
@pytest.mark.parametrize("windows_per_epoch", [1, 2, 31, 1009])
def test_draws_are_windows_of_the_dataset(by_series, windows_per_epoch):
    options = {"season": 4, "recent": np.array([2, 3, 0, 11])}
    dataset = make_dataset(by_series=by_series, windows_per_epoch=windows_per_epoch, **options)
    for seed in range(7):
        drawn = dataset.draw(np.random.default_rng(seed))
        assert drawn.shape == (windows_per_epoch,)
        assert drawn.dtype == np.int64
        assert ((drawn >= 0) & (drawn < 34)).all()


def test_half_of_an_epoch_lies_whole_seasons_before_the_end():
    store = make_store(SPEC, (211,))
    dataset = WindowDataset(
        store, SPEC, np.array([0]), np.array([101]), season=7, windows_per_epoch=1000
    )
    # whole seasons before the end of the data, though the last cutoff, 100, is at another phase
    ago = 211 - dataset.draw(np.random.default_rng(0))
    by_phase = np.bincount(ago % 7)
    assert by_phase.sum() == 1000
    assert 500 + 500 / 7 - 30 < by_phase[0] < 500 + 500 / 7 + 30
    assert (abs(by_phase[1:] - 500 / 7) < 30).all()
    aligned = np.bincount(ago[ago % 7 == 0] // 7 - 16)
    assert len(aligned) == 15  # the cutoffs 99, 92, ... 1
    assert aligned[1:-1].min() > 25


def test_half_of_an_epoch_can_come_from_recent_windows():
    store = make_store(SPEC, (211, 211))
    dataset = WindowDataset(
        store,
        SPEC,
        np.array([0, 0]),
        np.array([101, 101]),
        recent=np.array([5, 0]),
        windows_per_epoch=2000,
    )
    series, cutoff = place_of(dataset, dataset.draw(np.random.default_rng(0)))
    ago = 100 - cutoff
    number = np.bincount(ago[series == 0])
    assert 500 < number[:5].sum() < 575  # half, and 5 / 101 of the other half
    assert (abs(number[:5] - 105) < 25).all()
    assert np.bincount(ago[series == 1])[:5].sum() < 75


def test_the_sampler_draws_every_epoch_afresh_and_repeatably():
    dataset = make_dataset(windows_per_epoch=31)
    sampler, again = WindowSampler(dataset, 3), WindowSampler(dataset, 3)
    epochs = [list(sampler), list(sampler)]
    assert len(sampler) == len(epochs[0]) == 31
    assert epochs[0] != epochs[1]
    assert epochs == [list(again), list(again)]
    assert epochs[0] != list(WindowSampler(dataset, 4))


@pytest.mark.usefixtures("global_random_state_stays")
def test_drawing_leaves_the_global_random_state_alone():
    list(WindowSampler(make_dataset(season=3), 0))


def cutoffs(length, context, horizon, fraction):
    spec = replace(PLAIN, context_length=context, horizon=horizon)
    low, split, high = training_cutoffs(np.array([length]), spec, fraction)
    training = range(int(low[0]), int(split[0]))
    validation = range(int(split[0]) + horizon - 1, int(high[0])) if split < high else range(0)
    return training, validation


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("context", [1, 4, 23])
def test_no_validation_target_is_a_training_target(context, fraction):
    for horizon in range(1, 9):
        for length in range(1, 47):
            training, validation = cutoffs(length, context, horizon, fraction)
            case = (length, horizon)
            assert len(training) >= 1, case
            assert training[0] >= 0, case
            assert training[-1] < length, case  # something to learn from
            targets = {c + step for c in training for step in range(horizon) if c + step < length}
            held_out = {c + step for c in validation for step in range(horizon)}
            assert not targets & held_out, case
            assert not held_out or min(held_out) > max(targets), case
            if validation:
                assert validation[-1] + horizon == length, case  # the last ones, whole horizons
                assert length > 2 * horizon, case


def test_a_validation_share_is_that_of_all_cutoffs():
    # 97 rows, horizon 5: cutoffs 7 .. 92 are 86; a tenth, rounded up, is 9: 84 .. 92. The
    # targets of validation start at row 84, so that training ends at the cutoff 79.
    training, validation = cutoffs(97, 7, 5, 0.1)
    assert (training[0], training[-1]) == (7, 79)
    assert (validation[0], validation[-1]) == (84, 92)


@pytest.mark.parametrize(
    ("length", "training"),
    [
        (1, range(0, 1)),  # no context, a partial horizon
        (3, range(0, 3)),
        (5, range(0, 5)),
        (6, range(0, 2)),  # from here on whole horizons
        (9, range(2, 5)),
        (19, range(7, 15)),  # and whole contexts
    ],
)
def test_cutoffs_of_short_series_by_hand(length, training):
    assert cutoffs(length, 7, 5, 0.0)[0] == training


def test_without_validation_at_least_half_of_all_cutoffs_train():
    for horizon in range(1, 9):
        for length in range(1, 47):
            training, validation = cutoffs(length, 23, horizon, 0.0)
            assert not validation
            every = range(max(0, length - horizon) + 1) if length > horizon else range(length)
            assert len(training) >= len(every) / 2
            assert training[-1] == every[-1]


def test_series_are_split_one_by_one():
    lengths = np.array([1, 7, 29, 97])
    spec = replace(PLAIN, context_length=7, horizon=5)
    together = np.stack(training_cutoffs(lengths, spec, 0.1))
    alone = [np.stack(training_cutoffs(lengths[i : i + 1], spec, 0.1)) for i in range(4)]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))
    assert together.dtype == np.int64


def test_a_store_counts_its_series_and_moves_as_a_whole():
    store = make_store(SPEC)
    moved = vars(store.to("meta"))
    assert len(store) == 4
    tensors = [*vars(moved.pop("traits")).values(), *moved.values()]
    assert len(tensors) == 13
    assert all(tensor.device.type == "meta" for tensor in tensors)


def test_a_shorter_store_hides_the_rows_behind_and_shares_the_others():
    store = make_store(SPEC)
    shorter = store.until(np.array([17, 1, 9, 0]))
    assert shorter.values is store.values
    assert shorter.length.tolist() == [17, 1, 9, 0]
    assert store.length.tolist() == list(LENGTHS)
    series, cutoff = torch.tensor([0, 2]), torch.tensor([15, 7])
    batch = cut_windows(shorter, SPEC, series, cutoff)
    assert batch.target[:, 2:].isnan().all()
    whole = cut_windows(store, SPEC, series, cutoff)
    assert torch.equal(batch.inputs["past"], whole.inputs["past"])
    torch.testing.assert_close(batch.target[:, :2], whole.target[:, :2], equal_nan=True)


# The targets before a cutoff, with gaps filled.


def gapless(values, length=None, season=None, spec=PLAIN, **traits):
    """Return the filled targets of all rows of a series of one target; None is a gap."""
    store = worked_store(values, **traits)
    length = len(values) if length is None else length
    places = torch.tensor([0]), torch.tensor([len(values)])
    filled = past_targets(store, spec, *places, length, season)
    assert filled.shape == (1, length, 1)
    return filled[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("values", "season", "filled"),
    [
        ([2.0, 3.0, 5.0, 7.0], None, [2.0, 3.0, 5.0, 7.0]),
        ([2.0, None, None, 7.0], None, [2.0, 2.0, 2.0, 7.0]),  # the latest before
        ([2.0, 3.0, None, None], None, [2.0, 3.0, 3.0, 3.0]),
        ([None, None, 5.0, None], None, [5.0, 5.0, 5.0, 5.0]),  # at the beginning the first
        ([None, None, None], None, [11.0, 11.0, 11.0]),  # the level
        ([None, None, None], 2, [11.0, 11.0, 11.0]),
        ([2.0, 3.0, None, 7.0, None], 2, [2.0, 3.0, 2.0, 7.0, 2.0]),  # a season before, or two
        ([2.0, 3.0, 5.0, None, None, None, None], 3, [2.0, 3.0, 5.0, 2.0, 3.0, 5.0, 2.0]),
        ([None, 3.0, None, None, 5.0], 2, [3.0, 3.0, 3.0, 3.0, 5.0]),  # else the latest
        ([2.0, 3.0, None], 1, [2.0, 3.0, 3.0]),
        ([2.0, 3.0, None, 7.0], 4, [2.0, 3.0, 3.0, 7.0]),  # no season before the window
        ([2.0, 3.0, None, 7.0], 9, [2.0, 3.0, 3.0, 7.0]),
    ],
)
def test_gaps_take_the_season_before_or_the_latest_or_the_first_or_the_level(
    values, season, filled
):
    assert gapless(values, season=season, level=11.0) == filled


def test_gaps_take_seasons_from_before_the_window_and_nothing_else():
    assert gapless([2.0, 3.0, None, 7.0], length=2) == [7.0, 7.0]
    assert gapless([2.0, 3.0, None, None], length=2, season=2, level=11.0) == [2.0, 3.0]
    assert gapless([2.0, 3.0, 4.0, *[None] * 5, 9.0], length=3, season=3) == [2.0, 3.0, 9.0]
    far = [2.0, 3.0, *[None] * 80, 7.0]
    assert gapless(far, length=2, season=2, level=11.0) == [7.0, 7.0]  # too long ago
    assert gapless([2.0, None, None, 7.0], length=2, season=3) == [7.0, 7.0]


@pytest.mark.parametrize("season", [None, 1, 3, 7])
def test_without_gaps_the_filled_targets_are_the_rows_before_the_cutoff(season):
    store = make_store(SPEC)
    store = replace(store, observed=torch.ones_like(store.observed))
    series, cutoff = torch.tensor([0, 0, 2, 3]), torch.tensor([29, 11, 13, 7])
    filled = past_targets(store, SPEC, series, cutoff, 7, season)
    for one, which, end in zip(filled, series, store.start[series] + cutoff, strict=True):
        assert torch.equal(one, store.values[end - 7 : end, :2]), which


@pytest.mark.parametrize("season", [None, 1, 3, 7])
def test_gaps_of_every_window_and_target_are_filled_alone_and_the_store_stays(season):
    store = make_store(SPEC)
    before = store.values.clone(), store.observed.clone()
    series, cutoff = torch.tensor([0, 0, 2, 3]), torch.tensor([29, 11, 13, 7])
    filled = past_targets(store, SPEC, series, cutoff, 7, season)
    assert torch.equal(store.values, before[0])
    assert torch.equal(store.observed, before[1])
    ends = (store.start[series] + cutoff).tolist()
    for place, (which, end) in enumerate(zip(series.tolist(), ends, strict=True)):
        for target in range(2):
            rows = slice(int(store.start[which]), end)
            own = store.values[rows, target].tolist()
            seen = store.observed[rows, target].tolist()
            values = [value if there else None for value, there in zip(own, seen, strict=True)]
            level = store.traits.level[which, target].item()
            expected = gapless(values, length=7, season=season, level=level)
            assert filled[place, :, target].tolist() == pytest.approx(expected)
