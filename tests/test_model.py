from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sktime_tlstm import forecasting
from sktime_tlstm import model as models
from sktime_tlstm.calibration import Calibration
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.sampling import WindowDataset
from sktime_tlstm.data.windows import WindowSpec, cut_windows
from sktime_tlstm.forecasting import Asked, forecast, sample
from sktime_tlstm.model import Model
from sktime_tlstm.net import build_net
from sktime_tlstm.nn import AttentionLSTM, PointHead, QuantileHead
from sktime_tlstm.simple import TO_UPPER, SimpleForecast

HORIZON, LENGTHS = 5, (31, 23, 2)
FUTURE = 4 * HORIZON  # rows of X after the last row of y


class Mixer(nn.Module):
    """A network whose every step depends on all rows of the past and the future."""

    def __init__(self, num_past_features, num_future_features, output_dim=1):
        super().__init__()
        self.past = nn.Linear(num_past_features, output_dim)
        self.future = nn.Linear(num_future_features, output_dim)
        self.pooled = nn.Linear(num_future_features, output_dim)

    def forward(self, past, future, past_lengths=None, future_lengths=None):
        context = self.past(past).mean(dim=1, keepdim=True)
        return context + self.future(future) + self.pooled(future.square()).mean(1, keepdim=True)


class Walk(nn.Module):
    """Quantiles -1, 0 and 1 around the last value: of one target, without window_norm."""

    def __init__(self, num_past_features, num_future_features, output_dim=1):
        super().__init__()
        self.offsets = nn.Parameter(torch.linspace(-1, 1, output_dim))

    def forward(self, past, future, past_lengths=None, future_lengths=None):
        return past[:, -1:, :1] + self.offsets.expand(*future.shape[:2], -1)


class Zero(nn.Module):
    """Always forecasts zero."""

    def __init__(self, num_past_features, num_future_features, output_dim=1):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(output_dim))

    def forward(self, past, future, past_lengths=None, future_lengths=None):
        return self.zero + torch.zeros(*future.shape[:2], 1)


def make_frames(lengths=LENGTHS):
    """Make y and X of series that go on in X, and which rows y has."""
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2021-03-05")
    pairs = [
        (f"series {key}", start + pd.Timedelta(hours=7 * key + row))
        for key, length in enumerate(lengths)
        for row in range(length + FUTURE)
    ]
    index = pd.MultiIndex.from_tuples(pairs, names=["series", "time"])
    y = pd.DataFrame(rng.normal(100, 7, (len(index), 2)), index=index, columns=["a", "b"])
    X = pd.DataFrame({"wind": rng.gamma(2, 5, len(index))}, index=index)
    X["holiday"] = rng.integers(0, 2, len(index))
    X["sky"] = rng.choice(["clear", "rain"], len(index))
    X["gusts"] = rng.gamma(2, 5, len(index))  # not known in the future
    within = y.groupby(level=0).cumcount().to_numpy()
    seen = within < np.repeat(lengths, np.array(lengths) + FUTURE)
    y = y.mask(rng.random(y.shape) < 0.1)
    return y, X, seen


SPEC = WindowSpec(
    context_length=11,
    horizon=HORIZON,
    num_targets=2,
    num_numeric=3,
    num_calendar=2,
    known=(0, 1),
    cardinalities=(2,),
    known_categories=(0,),
    lags=(3, 13),
    window_norm="meanstd",
    norm_length=7,
)


class World:
    """A model with random weights, the history of its data, and the data."""

    def __init__(
        self, head=None, module=Mixer, scaler="robust_arcsinh", members=1, trusts=None, **options
    ):
        self.y, self.X, self.seen = make_frames()
        self.encoder = FrameEncoder("real", scaler, scaler, ("gusts",), (), ("time_of_day",))
        self.encoder.fit(self.y[self.seen], self.X[self.seen])
        self.history = self.encoder.encode(self.y[self.seen], self.X[self.seen], HORIZON)
        head = head or QuantileHead((0.1, 0.3, 0.5, 0.7, 0.9))
        self.nets = [make_net(head, module, SPEC, seed) for seed in range(members)]
        calibration = None
        if trusts is not None or not hasattr(head, "quantile"):
            scores = np.random.default_rng(1).normal(size=(31, HORIZON, 2)).astype(np.float32)
            calibration = calibrated(scores, *(trusts or (1.0, 0.0)))
        options = {"num_samples": 7, "seed": 3, "looks_ahead": False, **options}
        self.model = Model(self.nets, self.encoder, SPEC, calibration, **options)
        self.cutoff = self.history.lengths

    def rows(self, steps):
        """Return series and steps of the forecast rows."""
        series = np.repeat(np.arange(len(LENGTHS)), len(steps))
        return series, np.tile(steps, len(LENGTHS))

    def asked(self, series, step, X):
        return Asked(self.history, self.cutoff, series, step, X)

    def paths(self, num_future, num_samples):
        """Draw paths of every series: (sample, series, step, target)."""
        rows = self.rows(range(1, num_future + 1))
        paths = sample(self.model, self.asked(*rows, self.X), num_samples)
        return paths.reshape(num_samples, len(LENGTHS), num_future, -1)

    def forecast(self, steps, alphas=None, X=None):
        """Forecast steps of every series: (series, step, target[, alpha])."""
        X = self.X if X is None else X
        series, step = self.rows(steps)
        values = forecast(self.model, self.asked(series, step, X), alphas)
        return values.reshape(len(LENGTHS), len(steps), *values.shape[1:])

    def whole(self):
        """Return a history with all rows of X and no target after the last one seen."""
        y = self.y.copy()
        y[~self.seen] = np.nan
        X = self.X.copy()
        X.loc[~self.seen, "gusts"] = np.nan
        return self.encoder.encode(y, X, HORIZON)


def calibrated(scores, trust, width_trust):
    """Return a calibration beside the naive forecast with a deviation of 1."""
    _, horizon, targets = scores.shape
    simple = SimpleForecast(
        maps={1: torch.ones(targets, 2, horizon, 1, dtype=torch.float64)},
        shares={1: torch.tensor([[1.0, 0.0, 0.0, 0.0]] * targets, dtype=torch.float64)},
        deviation=torch.ones(targets, horizon, dtype=torch.float64),
        kinds=(0,) * targets,
        change=torch.ones(targets, dtype=torch.float64),
        season=None,
        arcsinh=False,
    )
    shares = np.ones(len(scores), np.float32)
    trusts = (torch.full((targets,), one, dtype=torch.float64) for one in (trust, width_trust))
    return Calibration(simple, *trusts, scores, shares, len(scores))


def make_net(head, module=Mixer, spec=SPEC, seed=0):
    options = {"optimizer": "adam", "weight_decay": 0.0, "gradient_clip": None, "patience": None}
    options |= {"lr_schedule": None, "callbacks": None, "net_params": None, "verbose": 0}
    return build_net(
        module, {}, head, spec, **options, lr=0.01, batch_size=8, device="cpu", seed=seed
    )


def parameters_of(net, store, series, cutoff):
    """Return the head's parameters of one window, and its location and scale."""
    batch = cut_windows(store, SPEC, torch.tensor([series]), torch.tensor([cutoff]))
    parameters = net.criterion_.unpack(net.outputs(batch.inputs))[0]  # (time, target, parameter)
    return parameters, batch.loc, batch.scale


ALPHAS = [0.02, 0.1, 0.4, 0.5, 0.97]
EVERY_HEAD = pytest.mark.parametrize("head", [QuantileHead((0.1, 0.5, 0.8)), PointHead("mse")])


# Within the horizon.


@EVERY_HEAD
def test_a_step_within_the_horizon_is_read_off_one_window(head):
    world = World(head)
    whole = world.whole()
    found = world.forecast(list(range(1, HORIZON + 1)))
    for series in range(len(LENGTHS)):
        parameters, loc, scale = parameters_of(
            world.nets[0], whole.store, series, int(world.cutoff[series])
        )
        scaled = loc + scale * world.nets[0].criterion_.point(parameters)
        direct = world.encoder.decode(world.history, scaled[None], np.array([series]))[0]
        np.testing.assert_allclose(found[series], direct, rtol=1e-5)


def test_quantiles_within_the_horizon_are_read_off_one_window():
    world = World(QuantileHead((0.1, 0.5, 0.8)))
    whole = world.whole()
    found = world.forecast(list(range(1, HORIZON + 1)), ALPHAS)
    for series in range(len(LENGTHS)):
        parameters, loc, scale = parameters_of(
            world.nets[0], whole.store, series, int(world.cutoff[series])
        )
        quantiles = world.nets[0].criterion_.quantile(parameters.double(), torch.tensor(ALPHAS))
        scaled = loc[..., None] + scale[..., None] * quantiles
        direct = world.encoder.decode(world.history, scaled[None], np.array([series]))[0]
        np.testing.assert_allclose(found[series], direct, rtol=1e-4)


def test_quantiles_of_a_point_loss_are_the_point_and_scores_in_simple_widths():
    world = World(PointHead("mse"), scaler="standard")
    found = world.forecast([1, 4], list(Calibration.levels))
    point = world.forecast([1, 4])
    for series in range(len(LENGTHS)):
        width = TO_UPPER * world.history.scale[series][:, None]
        by_hand = point[series][..., None] + width * world.model.calibration.table[[0, 3]].numpy()
        np.testing.assert_allclose(found[series], by_hand, rtol=1e-5)


def test_a_calibrated_forecast_is_a_blend_with_the_simple_one():
    """The naive forecast with a deviation of 1, weighted as the calibration says."""
    head = QuantileHead((0.1, 0.5, 0.8))
    world = World(head, scaler="standard", trusts=(0.3, 0.6))
    store, calibration = world.whole().store, world.model.calibration
    steps, levels = [1, 4], list(Calibration.levels)
    point, found = world.forecast(steps), world.forecast(steps, levels)
    outer = torch.tensor([0.1, 0.9], dtype=torch.float64)
    for series in range(len(LENGTHS)):
        cutoff = int(world.cutoff[series])
        parameters, loc, scale = parameters_of(world.nets[0], store, series, cutoff)
        row = int(store.start[series]) + cutoff - 1
        last = torch.where(store.observed[row, :2], store.values[row, :2], 0)
        last = torch.where(store.observed[row, :2], last, store.traits.level[series]).numpy()
        network = (loc + scale * head.point(parameters)).numpy()
        low, high = (loc[..., None] + scale[..., None] * head.quantile(parameters, outer)).unbind(
            -1
        )
        below, above = (
            0.6 * np.maximum(width, 0) + 0.4 * TO_UPPER
            for width in (network - low.numpy(), high.numpy() - network)
        )
        center = (0.3 * network + 0.7 * last)[[0, 3]]
        table = calibration.table[[0, 3]].numpy()
        width = np.where(table < 0, below[[0, 3], :, None], above[[0, 3], :, None])
        scaled = center[..., None] + width * table
        loc, scale = world.history.loc[series], world.history.scale[series]
        np.testing.assert_allclose(point[series], loc + scale * center, rtol=1e-5)
        by_hand = loc[:, None] + scale[:, None] * scaled
        np.testing.assert_allclose(found[series], by_hand, rtol=1e-5)


@EVERY_HEAD
@pytest.mark.parametrize("alphas", [None, ALPHAS])
def test_a_step_does_not_depend_on_the_other_steps_asked_for(head, alphas):
    world = World(head)
    steps = list(range(-1, 2 * HORIZON + 3))
    together = world.forecast(steps, alphas)
    for number, step in enumerate(steps):
        alone = world.forecast([step], alphas)
        np.testing.assert_allclose(alone[:, 0], together[:, number], rtol=1e-6, err_msg=str(step))


@pytest.mark.parametrize("alphas", [None, ALPHAS])
def test_rows_come_in_the_order_asked_for(alphas):
    world = World()
    series = np.array([1, 0, 2, 1, 0, 1, 0])
    step = np.array([4, -2, 13, -7, 1, 4, 9])
    found = forecast(world.model, world.asked(series, step, world.X), alphas)
    for row in range(len(step)):
        alone = world.asked(series[row:][:1], step[row:][:1], world.X)
        alone = forecast(world.model, alone, alphas)
        np.testing.assert_allclose(found[row], alone[0], rtol=1e-6)


@pytest.mark.parametrize("alphas", [None, ALPHAS])
def test_earlier_cutoffs_see_no_later_rows(alphas):
    world = World()
    world.cutoff = np.array([19, 11, 1])
    found = world.forecast([1, 3, 9], alphas)
    within = world.y.groupby(level=0).cumcount().to_numpy()
    late = within >= np.repeat(world.cutoff, np.array(LENGTHS) + FUTURE)
    values = world.history.store.values.clone()
    values[torch.tensor(late[world.seen])] = 17.0
    world.history = replace(world.history, store=replace(world.history.store, values=values))
    np.testing.assert_array_equal(world.forecast([1, 3, 9], alphas), found)


# In-sample.


@EVERY_HEAD
def test_in_sample_steps_are_one_step_windows(head):
    world = World(head)
    series, step = np.array([0, 0, 0, 1, 0, 2]), np.array([0, -1, -4, -22, -30, -1])
    found = forecast(world.model, world.asked(series, step, None))
    for row in range(len(step)):
        cutoff = int(world.cutoff[series[row]] + step[row] - 1)
        parameters, loc, scale = parameters_of(
            world.nets[0], world.history.store, int(series[row]), cutoff
        )
        scaled = (loc + scale * world.nets[0].criterion_.point(parameters))[:1]
        direct = world.encoder.decode(world.history, scaled[None], series[row : row + 1])
        np.testing.assert_allclose(found[row], direct[0, 0], rtol=1e-5)


def test_a_step_before_the_first_observation_is_an_error():
    world = World()
    with pytest.raises(ValueError, match="the step -2, before the first of the 2 observations"):
        forecast(world.model, world.asked(np.array([2]), np.array([-2]), None))


# Beyond the horizon.


@EVERY_HEAD
def test_points_beyond_the_horizon_come_from_a_loop_over_blocks(head):
    world = World(head)
    whole = world.whole()
    found = world.forecast(list(range(1, 18)))
    net = world.nets[0]
    for series in range(len(LENGTHS)):
        values, observed = whole.store.values.clone(), whole.store.observed.clone()
        store = replace(whole.store, values=values, observed=observed)
        first, scaled = int(whole.store.start[series]), []
        for cutoff in range(LENGTHS[series], LENGTHS[series] + FUTURE, HORIZON):
            parameters, loc, scale = parameters_of(net, store, series, cutoff)
            for point in loc + scale * net.criterion_.point(parameters):
                row = first + LENGTHS[series] + len(scaled)
                values[row, :2] = point
                observed.mark(row, 0)
                observed.mark(row, 1)
                scaled.append(point)
        scaled = torch.stack(scaled[:17])
        direct = world.encoder.decode(world.history, scaled[None], np.array([series]))[0]
        np.testing.assert_allclose(found[series], direct, rtol=1e-4, atol=1e-3)


@EVERY_HEAD
def test_the_quantiles_of_sample_paths_agree_with_those_of_the_first_block(head):
    world = World(head, num_samples=4001)
    paths, levels = world.paths(2 * HORIZON, 4001), [0.1, 0.3, 0.5, 0.8]
    expected = world.forecast(range(1, HORIZON + 1), levels)
    below = (paths[:, :, :HORIZON, :, None] <= expected).mean(axis=0)
    np.testing.assert_allclose(below, np.broadcast_to(levels, below.shape), atol=5e-3)


def test_a_path_follows_one_level_within_a_block():
    world = World(num_samples=11)
    order = world.paths(HORIZON, 11).argsort(axis=0)  # (sample, series, step, target)
    assert (order == order[:, :, :1, :1]).all()
    assert (order[:, 0] != order[:, 1]).any()  # series are independent


def test_with_scores_the_steps_of_a_path_follow_levels_of_their_own():
    world = World(trusts=(0.3, 0.6))
    order = world.paths(HORIZON, 11).argsort(axis=0)
    assert (order[:, :, 0] != order[:, :, 1]).any()
    assert (order[:, 0] != order[:, 1]).any()


def test_beyond_the_horizon_quantiles_are_those_of_sample_paths():
    world = World(num_samples=101)
    found = world.forecast(list(range(1, 13)), ALPHAS)
    direct = np.moveaxis(np.quantile(world.paths(12, 101), ALPHAS, axis=0), 0, -1)
    np.testing.assert_allclose(found[:, HORIZON:], direct[:, HORIZON:], rtol=1e-4)
    first = slice(0, HORIZON)  # the first block is read off directly
    assert not np.allclose(found[:, first], direct[:, first], rtol=1e-4)


def random_walk(num_samples, seed=3):
    """Return the model of a random walk that forecasts one step at a time, and its history."""
    y = pd.DataFrame({"a": np.linspace(3.0, 7.0, 13)})
    encoder = FrameEncoder("real", None, None, (), (), ()).fit(y, None)
    spec = WindowSpec(2, 1, 1, 0, 0, (), (), (), (), None, 2)
    net = make_net(QuantileHead((0.25, 0.5, 0.75)), Walk, spec)
    model = Model([net], encoder, spec, None, num_samples, seed, False)
    return model, encoder.encode(y, None, 1)


def test_the_spread_of_a_random_walk_grows_with_the_root_of_time():
    model, history = random_walk(4001)
    paths = paths_of(model, history, 16, 4001)
    spread = paths.std(axis=0)
    np.testing.assert_allclose(spread[[3, 8, 15]] / spread[0], [2, 3, 4], rtol=0.06)
    np.testing.assert_allclose(paths.mean(axis=0), 7.0, atol=0.2)
    steps = np.diff(paths, axis=1)
    assert abs(np.corrcoef(steps.T) - np.eye(15)).max() < 0.07  # levels are drawn afresh


def paths_of(model, history, num_future, num_samples):
    """Draw paths (sample, step) of the only target of a single series."""
    step = np.arange(1, num_future + 1)
    asked = Asked(history, history.lengths, np.zeros_like(step), step, None)
    return sample(model, asked, num_samples)[..., 0]


def test_paths_are_repeatable_and_differ_between_seeds():
    stores = []
    for seed in (3, 3, 5):
        model, history = random_walk(13, seed)
        stores.append(paths_of(model, history, 7, 13))
    np.testing.assert_array_equal(stores[0], stores[1])
    assert not np.array_equal(stores[0], stores[2])


@pytest.mark.usefixtures("global_random_state_stays")
def test_forecasting_leaves_the_global_random_state_alone():
    World().forecast([1, 13], ALPHAS)


@pytest.mark.parametrize("alphas", [None, ALPHAS])
def test_the_size_of_passes_and_groups_changes_nothing(monkeypatch, alphas):
    world = World()
    found = world.forecast([-1, 0, 1, 4, 12], alphas)
    monkeypatch.setattr(models, "WINDOWS_PER_PASS", {"cpu": 2})
    monkeypatch.setattr(models, "SAMPLE_BUDGET", 1)
    monkeypatch.setattr(forecasting, "ROWS_AT_ONCE", 1)
    again = world.forecast([-1, 0, 1, 4, 12], alphas)
    np.testing.assert_allclose(again, found, rtol=1e-6, atol=1e-4)  # of values about 100


@pytest.mark.parametrize("alphas", [None, ALPHAS])
def test_forecasting_changes_neither_history_nor_frames(alphas):
    world = World()
    values, observed = world.history.store.values.clone(), world.history.store.observed.clone()
    X = world.X.copy()
    world.forecast([-1, 1, 12], alphas)
    assert torch.equal(world.history.store.values, values)
    assert torch.equal(world.history.store.observed[:], observed[:])
    pd.testing.assert_frame_equal(world.X, X)


@EVERY_HEAD
def test_quantiles_never_cross(head):
    world = World(head, num_samples=101)
    alphas = [0.001, 0.02, 0.1, 0.11, 0.5, 0.51, 0.9, 0.98, 0.999]
    found = world.forecast(list(range(-1, 13)), alphas)
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=-1) >= 0).all()


def test_past_covariates_are_not_asked_for_in_the_future():
    world = World()
    found = world.forecast([1, 4, 12])
    X = world.X.drop(columns="gusts")
    np.testing.assert_array_equal(world.forecast([1, 4, 12], X=X), found)


# Ensembles.


def test_an_ensemble_averages_points_and_quantiles():
    both = World(members=2, scaler="standard")
    assert both.model.members == both.nets
    for alphas in (None, [0.1, 0.3, 0.5, 0.7, 0.9]):
        steps = [-1, 0, 1, HORIZON]
        together = both.forecast(steps, alphas)
        parts = []
        for net in both.nets:
            one = World(scaler="standard")
            one.model = replace(one.model, members=[net])
            parts.append(one.forecast(steps, alphas))
        assert not np.allclose(parts[0], parts[1])
        np.testing.assert_allclose(together, (parts[0] + parts[1]) / 2, rtol=1e-5)


# Errors on held-out windows.


def zero_model(rows, horizon=2):
    """Return a model that always forecasts zero, and the windows of a series of random values.

    Its widths are those of a deviation of 1.
    """
    rng = np.random.default_rng(0)
    y = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    y.iloc[3, 0] = np.nan
    encoder = FrameEncoder("real", None, None, (), (), ()).fit(y, None)
    spec = WindowSpec(2, horizon, 2, 0, 0, (), (), (), (), None, 2)
    calibration = calibrated(np.zeros((0, horizon, 2), np.float32), 1.0, 0.0)
    calibration = replace(calibration, capacity=100)
    net = make_net(PointHead("mse"), Zero, spec)
    model = Model([net], encoder, spec, calibration, 2, 0, False)
    store = encoder.encode(y, None, horizon).store
    dataset = WindowDataset(store, spec, np.array([0]), np.array([rows - horizon + 1]))
    return model, dataset, y.to_numpy()


def test_scores_are_errors_in_widths_of_the_windows_asked_for(monkeypatch):
    model, dataset, y = zero_model(97)
    places = dataset.place(np.arange(3, 96, 3))
    scores = model.scores(dataset.store, *places)
    by_hand = np.stack([y[places[1]], y[places[1] + 1]], axis=1) / TO_UPPER
    np.testing.assert_allclose(scores, by_hand, rtol=1e-5)
    assert np.isnan(scores[0, 0, 0])
    monkeypatch.setattr(models, "WINDOWS_PER_PASS", {"cpu": 5})
    np.testing.assert_array_equal(model.scores(dataset.store, *places), scores)


def test_scores_of_an_ensemble_are_those_of_its_mean():
    model, dataset, y = zero_model(41)
    nets = [make_net(PointHead("mse"), Zero, model.spec) for _ in range(2)]
    for net, value in zip(nets, (3.0, 7.0), strict=True):
        nn.init.constant_(net.module_.zero, value)
    places = dataset.place(np.arange(1, 40))
    scores = replace(model, members=nets).scores(dataset.store, *places)
    np.testing.assert_allclose(scores[:, 1], (y[2:] - 5) / TO_UPPER, rtol=1e-4, atol=1e-5)


def test_every_update_extends_the_calibration_of_the_one_before():
    model, dataset, y = zero_model(41)
    lengths, new = np.array([[20], [21], [30]]), np.array([[4], [1], [9]])
    found = model.adapted(dataset.store, lengths, new)
    # the cutoffs of the last updates: 19, and five windows of two rows that end with row 30
    cutoffs = [16, 18, 19, 20, 22, 24, 26, 28]
    by_hand = np.stack([y[cutoffs], y[np.array(cutoffs) + 1]], axis=1) / TO_UPPER
    for one, number in zip(found, (2, 3, 8), strict=True):
        np.testing.assert_allclose(one.calibration.scores, by_hand[:number], rtol=1e-5)
    assert found[-1].calibration.shares.tolist() == [1, 1, 0.5] + [1] * 5
    assert len(model.calibration.scores) == 0
    assert found[0].members is model.members


def test_without_a_calibration_updates_change_nothing():
    model, dataset, _ = zero_model(41)
    model = replace(model, calibration=None)
    assert model.adapted(dataset.store, np.array([[20]]), np.array([[4]]))[0] is model


def test_a_trained_network_of_the_package_forecasts_too():
    world = World(module=AttentionLSTM)
    assert world.forecast([-1, 1, 12], ALPHAS).shape == (3, 3, 2, len(ALPHAS))


def test_in_sample_draws_do_not_depend_on_the_other_rows_asked_for():
    world = World()
    series, step = np.array([1, 0, 1, 0]), np.array([-3, 0, -8, -11])
    together = sample(world.model, world.asked(series, step, None), 13)
    for row in range(len(step)):
        asked = world.asked(series[row : row + 1], step[row : row + 1], None)
        alone = sample(world.model, asked, 13)
        np.testing.assert_allclose(together[:, row], alone[:, 0], rtol=1e-6)
    order = together[..., 0].argsort(axis=0)
    assert (order[:, 0] != order[:, 1]).any()  # series are independent
    assert (order[:, 0] != order[:, 2]).any()  # and so are the rows of one


@pytest.mark.parametrize("support", ["positive", "count"])
def test_calibrated_quantiles_of_counts_and_positive_values_are_never_below_zero(support):
    world = World()
    world.model.members[0].criterion_.support = support
    values = np.array([[[[-3.4, 0.2], [2.6, 7.0]]]])  # (window, step, target, alpha)
    world.model.encoder.decode = lambda history, scaled, series: scaled
    found = world.model.decoded(world.history, values, np.zeros(1, np.int64), True)
    whole = [[0.0, 0.0], [3.0, 7.0]]
    assert found[0, 0].tolist() == (whole if support == "count" else [[0.0, 0.2], [2.6, 7.0]])
    plain = world.model.decoded(world.history, values, np.zeros(1, np.int64), False)
    np.testing.assert_array_equal(plain, values)  # points are not quantiles


def test_quantiles_that_cross_by_rounding_are_put_in_order(monkeypatch):
    crossing = torch.tensor([1.0, 4.0, 3.0, 7.0], dtype=torch.float64).reshape(1, 1, 1, 1, 4)
    monkeypatch.setattr(models.families, "quantiles", lambda *data: crossing)
    model = Model([SimpleNamespace(criterion_=None)], None, None, None, 2, 0, False)
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    said = models.Forecast(torch.zeros(1, 1, 1, 1, 1), zero, one, one)
    found = model.quantile(said, torch.tensor([0.2, 0.4, 0.6, 0.8]))
    assert found.flatten().tolist() == [1.0, 4.0, 4.0, 7.0]
