"""``mode="simulation"``: free-running simulations of systems driven by a known input."""

import copy
import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import SkorchForecaster, fitting
from sktime_tlstm.calibrating import Widths, as_wide_as, usual_widths
from sktime_tlstm.epochs import divided_windows
from sktime_tlstm.nn import (
    AttentionLSTM,
    GatedResidualNetwork,
    Seq2SeqLSTM,
    TransformerLSTM,
)
from sktime_tlstm.notices import ForecastWarning
from tests.setups import tiny

CONTEXT, STEPS = 8, 24


def simulator(**parameters):
    settings = {"mode": "simulation", "context_length": CONTEXT, "prediction_length": STEPS}
    return tiny(**{**settings, **parameters})


def record(rows=300, seed=0, size=1.0):
    """Return the output of a first-order system with a saturation, and its input."""
    rng = np.random.default_rng(seed)
    u = size * np.repeat(rng.uniform(-2, 2, size=-(-rows // 5)), 5)[:rows]
    y = np.zeros(rows)
    for row in range(1, rows):
        y[row] = 0.8 * y[row - 1] + 0.2 * np.tanh(u[row])
    return pd.Series(y, name="y"), pd.DataFrame({"u": u})


@pytest.fixture(scope="module")
def trained():
    """Return a simulator that has learnt the system."""
    y, X = record(1500)
    settings = {"d_model": 16, "max_epochs": 6, "batch_size": 16, "max_windows_per_epoch": None}
    return simulator(**settings, lr=0.01).fit(y, X=X)


def test_another_record_is_simulated_from_its_input_far_beyond_the_trained_steps(trained):
    y, X = record(1000, seed=1)
    simulated = trained.predict(range(1, 1000 - CONTEXT + 1), X, y=y[:CONTEXT])
    assert simulated.index.equals(y.index[CONTEXT:])
    error = (simulated - y[CONTEXT:]).to_numpy()
    first, last = (np.sqrt(np.mean(part**2)) for part in np.array_split(error, 2))
    assert max(first, last) < 0.15 * y.std()
    assert last < 1.5 * first  # it does not drift


def test_it_reads_no_outputs_but_those_of_the_context(trained):
    y, X = record(200, seed=2)
    long = trained.predict(range(1, 101), X, y=y[:CONTEXT])
    pd.testing.assert_series_equal(trained.predict(range(1, 31), X, y=y[:CONTEXT]), long[:30])
    pd.testing.assert_series_equal(trained.predict([90, 100], X, y=y[:CONTEXT]), long[[97, 107]])
    earlier = pd.concat([y[:CONTEXT] + 9, y[:CONTEXT]], ignore_index=True)
    inputs = pd.concat([X[:CONTEXT] - 9, X], ignore_index=True)
    again = trained.predict(range(1, 101), inputs, y=earlier)
    np.testing.assert_allclose(again, long, rtol=1e-5, atol=1e-6)


def test_a_periodic_input_comes_to_a_periodic_output(trained):
    period, rows = 13, 13 * 40  # no divisor of the chunks
    X = pd.DataFrame({"u": np.resize(np.sin(2 * np.pi * np.arange(period) / period), rows)})
    y = pd.Series(0.0, X.index[:CONTEXT], name="y")
    simulated = trained.predict(range(1, rows - CONTEXT + 1), X, y=y).to_numpy()
    np.testing.assert_allclose(simulated[-period:], simulated[-6 * period : -5 * period], atol=1e-5)
    assert simulated[-period:].std() > 0.05
    assert np.abs(simulated).max() < 2


def test_it_forgets_where_it_began(trained):
    _, X = record(400, seed=3)
    ends = [
        trained.predict(range(300, 393), X, y=pd.Series(start, X.index[:CONTEXT], name="y"))
        for start in (-1.0, 1.0)
    ]
    np.testing.assert_allclose(*ends, atol=1e-3)


def test_without_any_output_the_state_comes_from_the_input_after_a_while(trained):
    y, X = record(400, seed=4)
    nothing = pd.Series(np.nan, y.index[:CONTEXT], name="y")
    with pytest.warns(ForecastWarning, match="Got a past without an output in its last 8 rows"):
        simulated = trained.predict(range(1, 393), X, y=nothing)
    error = (simulated - y[CONTEXT:])[100:]
    assert np.sqrt((error**2).mean()) < 0.15 * y.std()


def test_intervals_samples_and_variances_reach_as_far_and_hang_on_the_held_out_errors(trained):
    y, X = record(300, seed=5)
    fh, past = range(1, 300 - CONTEXT + 1), {"y": y[:CONTEXT]}
    interval = trained.predict_interval(fh, X, coverage=0.9, **past)["y"][0.9]
    held = (interval["lower"] <= y[CONTEXT:]) & (y[CONTEXT:] <= interval["upper"])
    assert 0.7 < held.mean() <= 1.0
    width = (interval["upper"] - interval["lower"]).to_numpy()
    assert width[-50:].mean() < 3 * width[:50].mean()
    quantiles = trained.predict_quantiles(fh, X, alpha=[0.05, 0.95], **past)
    np.testing.assert_allclose(quantiles, interval, rtol=1e-6)
    assert (trained.predict_var(fh, X, **past).to_numpy() > 0).all()
    samples = trained.predict_samples(fh, X, num_samples=400, **past)["y"].unstack("sample")
    assert samples.shape == (len(fh), 400)
    inside = samples.gt(interval["lower"], axis=0) & samples.lt(interval["upper"], axis=0)
    assert abs(inside.to_numpy().mean() - 0.9) < 0.03


def test_an_unseen_past_leaves_the_forecaster_as_it_was(trained):
    y, X = record(60, seed=6)
    before = copy.copy(trained.__dict__)
    own = trained.predict([1, 2], record(1502)[1][1500:])
    trained.predict([1], X, y=y[:CONTEXT])
    with pytest.raises(ValueError, match="X without the row"):
        trained.predict([1], X[:CONTEXT], y=y[:CONTEXT])
    after = trained.__dict__
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before.keys() - {"_fh"})
    pd.testing.assert_series_equal(trained.predict([1, 2], record(1502)[1][1500:]), own)


def test_updates_and_backtests_simulate_from_where_they_stand(trained):
    y, X = record(1560)
    forecaster = copy.deepcopy(trained)
    forecaster.update(y[1500:1510], X=X[1500:1510], update_params=False)
    fh = range(1, 41)
    moved = forecaster.predict(fh, X[1510:])
    stood = trained.predict(fh, X[1400:], y=y[1400:1510])
    np.testing.assert_allclose(moved, stood, rtol=1e-5, atol=1e-6)
    cv = ExpandingWindowSplitter(fh, initial_window=1510)
    table = trained.backtest(y, X, cv, return_data=True)
    np.testing.assert_allclose(table["y_pred"].iloc[0], moved, rtol=1e-5, atol=1e-6)


def test_rows_all_over_a_record_are_held_out_and_all_others_are_trained_on(monkeypatch):
    seen = []

    def divided(*arguments):
        seen.append(divided_windows(*arguments))
        return seen[-1]

    monkeypatch.setattr(fitting, "divided_windows", divided)
    y, X = records(1.0, 1.0)  # of 120 rows
    simulator().fit(y, X=X)
    (training, held_out), (whole, nothing) = seen
    assert whole.rows is None is nothing
    assert not (training.rows & held_out.rows).any()

    def targets(dataset):
        """Return how many windows have each row of the first series as a target."""
        series, cutoff = dataset.place(np.arange(len(dataset)))
        target = dataset.batch(np.arange(len(dataset))).target[..., 0]
        row, first = cutoff[:, None] + np.arange(STEPS), series == 0
        return np.bincount(row[first][~target.isnan()[first].numpy()], minlength=120)

    known, held = targets(training) > 0, targets(held_out) > 0
    assert not known[:CONTEXT].any() and not held[:CONTEXT].any()
    assert (known ^ held)[CONTEXT:].all()
    # a third of 112 rows, in three blocks of 12, each at the end of a third
    assert np.flatnonzero(np.diff(held.astype(int)) == 1).tolist() == [32, 69, 107]
    assert held.sum() == 36


def test_intervals_are_as_wide_as_held_out_errors_though_the_network_learns_the_rows_by_heart():
    y, X = record(260, seed=7)
    noise = np.random.default_rng(7).normal(0, 0.1, len(y))
    settings = {"d_model": 16, "max_epochs": 10, "lr": 0.01, "max_windows_per_epoch": None}
    forecaster = simulator(**settings).fit(y + noise, X=X)
    model = forecaster._fitted.model
    factor = model.calibration.widening.item()
    test, X_test = record(1000, seed=8)
    test += np.random.default_rng(8).normal(0, 0.1, len(test))
    steps, past = range(1, 1000 - CONTEXT + 1), {"y": test[:CONTEXT]}

    def held(one):
        interval = one.predict_interval(steps, X_test, coverage=[0.5, 0.9], **past)["y"]
        truth = test[CONTEXT:]
        return [
            ((interval[level]["lower"] <= truth) & (truth <= interval[level]["upper"])).mean()
            for level in (0.5, 0.9)
        ]

    half, most = held(forecaster)
    assert 0.38 < half < 0.62 and 0.79 < most < 0.97
    narrow = copy.copy(forecaster)
    calibration = replace(model.calibration, widening=None)
    narrow._fitted = replace(forecaster._fitted, model=replace(model, calibration=calibration))
    assert factor > 1.2 and held(narrow)[1] < most - 0.06


@pytest.mark.parametrize("horizons", [10, 90])
def test_widths_follow_what_is_done_better_on_rows_learnt_before(monkeypatch, horizons):
    y, X = record(STEPS * horizons)
    seen = []

    def divided(*arguments):
        seen.append(divided_windows(*arguments))
        return seen[-1]

    monkeypatch.setattr(fitting, "divided_windows", divided)
    model = simulator().fit(y, X=X)._fitted.model
    learnt, held_out = seen[0]
    now = usual_widths(model, held_out, learnt)

    def widened(learnt_before, error, width=1.0):
        before = Widths(width * now.usual, now.learnt * error, now.learnt * learnt_before)
        wider = as_wide_as(before, model, held_out, learnt)
        return (wider.calibration.widening / model.calibration.widening).item()

    rows = int(learnt.rows.sum())
    assert 0.6 * STEPS * horizons < rows < STEPS * horizons
    known = rows / (rows + 30 * STEPS)
    assert widened(3, 5) == pytest.approx(np.sqrt(1 - known * (9 - 1) / 25), rel=1e-4)
    assert widened(9, 5) == pytest.approx(np.sqrt(1 - known * (25 - 1) / 25), rel=1e-4)
    assert widened(0.5, 5, width=2) == pytest.approx(2, rel=1e-4)  # worse: as wide as before
    assert widened(np.nan, 5, width=2) == pytest.approx(2, rel=1e-4)  # none of them was observed
    assert as_wide_as(usual_widths(model, held_out), model, held_out).calibration.widening == (
        pytest.approx(model.calibration.widening)
    )


def test_records_shorter_than_two_horizons_are_held_out_in_part_and_tiny_ones_warned_of():
    y, X = record(40)
    assert len(simulator().fit(y, X=X)._fitted.model.calibration.scores)
    with pytest.warns(UserWarning, match="too few rows to hold some of them out"):
        simulator(prediction_length=2, context_length=2).fit(y[:6], X=X[:6])


def records(*sizes):
    """Return a panel of records."""
    parts = [record(120, seed, size) for seed, size in enumerate(sizes)]
    names = {"keys": [f"r{seed}" for seed in range(len(sizes))], "names": ["record", "time"]}
    return pd.concat([y for y, _ in parts], **names).to_frame(), pd.concat(
        [X for _, X in parts], **names
    )


def test_records_have_one_scale_whatever_their_size():
    y, X = records(1.0, 0.1)
    forecaster = simulator().fit(y, X=X)
    history = forecaster._fitted.history
    assert np.ptp(history.loc) == 0 == np.ptp(history.scale)
    assert history.scale[0, 0] == pytest.approx(y["y"].std(ddof=0))
    other = forecaster._fitted.with_past(0.5 + y.loc[["r1"]], X).history
    assert other.scale == history.scale[:1]


def test_a_new_record_of_a_panel_is_simulated_as_after_an_update():
    y, X = records(2.0, 0.5, 1.0)
    forecaster = simulator().fit(y.loc[["r0", "r1"]], X=X.loc[["r0", "r1"]])
    past = y.loc[["r2"]].iloc[:30]
    found = forecaster.predict(range(1, 91), X.loc[["r2"]], y=past)
    updated = copy.deepcopy(forecaster)
    updated.update(past, X=X.loc[["r2"]].iloc[:30], update_params=False)
    ahead = pd.DataFrame(
        0.0, pd.MultiIndex.from_product([["r0", "r1"], range(120, 210)], names=X.index.names), ["u"]
    )
    expected = updated.predict(range(1, 91), pd.concat([ahead, X.loc[["r2"]].iloc[30:]]))
    pd.testing.assert_frame_equal(found, expected.loc[["r2"]], rtol=1e-5)


def test_sample_paths_go_on_where_the_trained_horizon_ends(trained):
    y, X = record(300, seed=6)
    steps = range(1, 300 - CONTEXT + 1)
    samples = trained.predict_samples(steps, X, num_samples=200, y=y[:CONTEXT])
    paths = samples["y"].unstack("sample").to_numpy()
    off = paths - paths.mean(axis=1, keepdims=True)

    def correlation(step):
        return np.corrcoef(off[step], off[step + 1])[0, 1]

    ends = np.arange(STEPS - 1, len(paths) - 1, STEPS)
    assert len(ends) > 2
    assert min(map(correlation, ends)) > 0.8
    # the first horizon is what it is for fewer steps
    some = trained.predict_samples(range(1, STEPS + 1), X, num_samples=200, y=y[:CONTEXT])
    np.testing.assert_allclose(paths[:STEPS], some["y"].unstack("sample"), rtol=1e-6)


def test_inputs_are_not_clipped_and_those_far_beyond_training_are_warned_of():
    y, X = record()
    forecaster = simulator().fit(y, X=X)
    one, two, three = (
        X[:60].where(X.index[:60].to_series() != 20 + X["u"][20:60].argmax(), factor * X["u"].max())
        for factor in (1.0, 1.05, 3.0)
    )
    outputs = [forecaster.predict(range(1, 41), part, y=y[:20]) for part in (one, two)]
    assert not np.allclose(*outputs)
    with pytest.warns(UserWarning, match=r"'u' from .* the network extrapolates"):
        forecaster.predict(range(1, 41), three, y=y[:20])


def test_inputs_that_jump_farther_than_in_training_are_warned_of():
    rows = np.arange(400)
    slow = pd.DataFrame({"u": np.sin(rows / 20)})
    y = pd.Series(np.cos(rows / 20), name="y")
    forecaster = simulator().fit(y, X=slow)
    jump = forecaster._fitted.model.encoder._covariates.numeric["u"].jump
    assert jump == pytest.approx(np.abs(np.diff(slow["u"])).max())
    square = np.sign(slow)
    with pytest.warns(UserWarning, match=r"'u', which jumps by up to 2 from .* at most 0\.0499"):
        forecaster.predict(range(1, 300), square, y=y[:20])
    forecaster.predict(range(1, 300), slow[::-1].reset_index(drop=True), y=y[:20])


def multisine(rows, seed=0):
    rng, time = np.random.default_rng(seed), np.arange(rows)
    waves = [np.sin(0.15 * k * time + rng.uniform(0, 6.28)) for k in range(1, 8)]
    return pd.DataFrame({"u": np.sum(waves, axis=0)})


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (np.ones(300), r"'u', whose mean over 64 rows reaches 1, where training had -0.* stands"),
        (
            1.5 * np.sin(np.arange(300) / 100),
            r"'u', whose mean over \d+ rows reaches 1\.\d+, where",
        ),
        (np.repeat([1.0, -1.0, 0.5], 100), "'u', .*stands still for 32 rows or more, where train"),
    ],
    ids=["constant", "slow", "levels"],
)
def test_inputs_that_move_otherwise_than_in_training_are_warned_of(other, told):
    X = multisine(600)
    y = X["u"].ewm(alpha=0.3).mean().rename("y")
    forecaster = simulator().fit(y, X=X)
    alike = multisine(300, seed=1)
    forecaster.predict(range(1, 281), alike, y=y[:20])  # says nothing
    with pytest.warns(UserWarning, match=told):
        forecaster.predict(range(1, 281), pd.DataFrame({"u": other}), y=y[:20])


def test_inputs_that_stood_still_in_training_may_do_so_again():
    X = multisine(600)
    X.iloc[300:360] = 0.25
    y = X["u"].ewm(alpha=0.3).mean().rename("y")
    forecaster = simulator().fit(y, X=X)
    X = multisine(300, seed=1)
    X.iloc[100:160] = 0.25
    forecaster.predict(range(1, 281), X, y=y[:20])  # says nothing


def test_lstms_read_inputs_as_they_are_unless_a_network_is_told_otherwise():
    y, X = record(100)

    def network(forecaster, **fit):
        return forecaster.fit(y, X=X, **fit)._fitted.model.members[0].module_

    plain = network(simulator())
    assert plain.decoder_input is None and plain.recurrent.decoder.input_size == plain.widths[1]
    params = {"d_model": 4, "num_heads": 2, "encoder_attention": False, "gated_inputs": True}
    settings = {"context_length": CONTEXT, "prediction_length": STEPS, "max_epochs": 1}
    told = SkorchForecaster(TransformerLSTM, params, mode="simulation", **settings)
    shared = simulator(share_lstm_weights=True)  # one LSTM needs inputs of one width
    bound = functools.partial(TransformerLSTM, **params)
    for gated in (
        network(told),
        network(SkorchForecaster(bound, mode="simulation", **settings)),
        network(shared),
        network(tiny(context_length=CONTEXT), fh=[1]),
    ):
        assert type(gated.decoder_input) is GatedResidualNetwork


@pytest.mark.parametrize(
    ("given", "rows", "expected"),
    [(None, 100, (0.3, 0.3)), (None, 1000, (0.3, 0.1)), (0.0, 1000, (0.0, 0.0))],
)
def test_weights_of_simulations_decay_the_less_the_more_rows_there_are(given, rows, expected):
    y, X = record(rows)
    panel_y, panel_X = (pd.concat({"a": z[: rows // 2], "b": z[rows // 2 :]}) for z in (y, X))
    for make, decay in zip((tiny, simulator), expected, strict=True):
        forecaster = make(weight_decay=given).fit(y, X=X, fh=[1])
        loaded = type(forecaster).load_from_serial(forecaster.save(None, "safetensors")[1])
        whole = make(weight_decay=given).fit(panel_y.to_frame("y"), X=panel_X, fh=[1])
        for one in (forecaster, loaded, whole):
            net = one._fitted.model.members[0]
            assert net.get_params()["optimizer__weight_decay"] == decay
            assert net.optimizer_.param_groups[0]["weight_decay"] == decay


def test_rows_without_a_target_leave_the_weights_their_decay():
    y, X = record(1000)
    sparse = simulator().fit(y.where(y.index % 2 == 0), X=X)._fitted.model.members[0]
    assert sparse.get_params()["optimizer__weight_decay"] == 0.2
    panel, drive = (
        pd.concat({"a": z[:400], "b": z[400:]}, names=["record", "time"]) for z in (y, X)
    )
    named = simulator(validation_series=["b"]).fit(panel.to_frame("y"), X=drive)
    assert named._fitted.model.members[0].get_params()["optimizer__weight_decay"] == 0.25


def test_several_inputs_and_outputs():
    y, X = record()
    y2 = pd.DataFrame({"a": y, "b": -2 * y + 1})
    X2 = X.assign(v=X["u"] ** 2)
    forecaster = simulator().fit(y2, X=X2)
    assert forecaster.predict(range(1, 101), X2, y=y2[:20]).shape == (100, 2)


@pytest.mark.parametrize("calibration", ["none", "conformal"])
@pytest.mark.parametrize("loss", ["quantile", "mse", "normal"])
def test_losses_and_calibrations(loss, calibration):
    y, X = record(150)
    forecaster = simulator(loss=loss, calibration=calibration).fit(y, X=X)
    interval = forecaster.predict_interval(range(1, 101), X, coverage=0.8, y=y[:20])
    assert np.isfinite(interval.to_numpy()).all()
    assert (interval.iloc[:, 0] < interval.iloc[:, 1]).all()
    samples = forecaster.predict_samples(range(1, 101), X, num_samples=3, y=y[:20])
    assert samples.shape == (300, 1)


def test_what_a_simulation_cannot_have_is_refused_before_training():
    y, X = record(60)
    with pytest.raises(ValueError, match=r"target_lags=\(2,\), expected 'auto' or \(\)"):
        simulator(target_lags=(2,)).fit(y, X=X)
    with pytest.raises(ValueError, match="window_norm='mean', expected None, or the default"):
        simulator(window_norm="mean").fit(y, X=X)
    for lacking, past in ((None, None), (X, ["u"])):
        with pytest.raises(ValueError, match="without a column of X that is known in the future"):
            simulator(past_covariates=past).fit(y, X=lacking)
    with pytest.raises(ValueError, match="encoder_attention=True, which look at whole"):
        simulator(encoder_attention=True).fit(y, X=X)
    for module in (AttentionLSTM, Seq2SeqLSTM):
        with pytest.raises(ValueError, match=f"module {module.__name__}, which has no parameter"):
            SkorchForecaster(module, mode="simulation").fit(y, X=X)
    with pytest.raises(ValueError, match="without any observed value in column 'y'"):
        simulator().fit(y * np.nan, X=X)
    with pytest.raises(ValueError, match="Got y without X, but the forecaster reads"):
        simulator().fit(y, X=X).predict([1], y=y)


def test_a_module_of_ones_own_simulates_if_it_takes_a_window():
    class Free(torch.nn.Module):
        def __init__(self, num_past_features, num_future_features, output_dim, attention_window):
            super().__init__()
            assert attention_window == CONTEXT
            self.lstm = torch.nn.LSTM(num_future_features, output_dim, batch_first=True)

        def forward(self, past, future, past_lengths=None):
            return self.lstm(future)[0]

    y, X = record(100)
    settings = {"context_length": CONTEXT, "prediction_length": 10, "max_epochs": 1}
    forecaster = SkorchForecaster(Free, mode="simulation", random_state=0, **settings)
    assert len(forecaster.fit(y, X=X).predict(range(1, 81), X, y=y[:20])) == 80


def sampled(index, seed=0):
    y, X = record(len(index), seed)
    return y.set_axis(index), X.set_axis(index)


def refuses(words, call, *arguments, **named):
    with pytest.raises(ValueError, match=words):
        call(*arguments, **named)


def test_records_at_uneven_times_are_refused_with_a_pointer_to_resampling():
    even = pd.date_range("2024-01-01", periods=100, freq="100ms")
    uneven = even + pd.to_timedelta(np.random.default_rng(0).integers(0, 40, 100), unit="ms")
    y, X = sampled(even)
    other, other_X = sampled(uneven)
    words = r"[Rr]esample first, for instance by `frame.resample\(...\).mean\(\)`"
    refuses(words, simulator().fit, other, X=other_X)
    panel = {"keys": ["even", "uneven"], "names": ["record", "time"]}
    both = pd.concat([y, other], **panel).to_frame(), pd.concat([X, other_X], **panel)
    refuses(words, simulator().fit, both[0], X=both[1])
    forecaster = simulator().fit(y, X=X)
    refuses(words, forecaster.predict, range(1, 41), other_X, y=other[:CONTEXT])
    later = pd.Timedelta("10s")
    refuses(
        words, forecaster.update, other.set_axis(uneven + later), X=other_X.set_axis(uneven + later)
    )
    gap = y.drop(even[30:33])
    refuses("Got a time index without a regular freq.*" + words, simulator().fit, gap, X=X)
    counted, counted_X = sampled(pd.Index(np.cumsum(np.random.default_rng(0).integers(1, 4, 100))))
    refuses("Got a gap in time.*Insert them", simulator().fit, counted, X=counted_X)


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        (pd.date_range("2024-01-01", periods=100, freq="100ms"), "150ms"),
        (pd.date_range("2024-01-01", periods=100, freq="100ms"), "101ms"),
        (pd.period_range("2024-01-01", periods=100, freq="D"), "2D"),
        (pd.period_range("2015-01", periods=100, freq="M"), "Q"),
    ],
)
def test_another_sampling_than_in_training_is_refused(trained, asked):
    y, X = sampled(trained)
    grid = pd.period_range if isinstance(trained, pd.PeriodIndex) else pd.date_range
    words = "expected the sampling that the simulation was trained on.*Resample first"
    forecaster = simulator().fit(y, X=X)
    same, same_X = sampled(grid("2031-03-01", periods=60, freq=trained.freq), seed=1)
    other, other_X = sampled(grid("2031-03-01", periods=60, freq=asked), seed=1)
    simulated = forecaster.predict(range(1, 41), same_X, y=same[:CONTEXT])
    refuses(words, forecaster.predict, range(1, 41), other_X, y=other[:CONTEXT])
    found = forecaster.predict(range(1, 41), same_X, y=same[:CONTEXT])
    pd.testing.assert_series_equal(found, simulated, check_exact=True)
    panel = {"keys": ["one"], "names": ["record", "time"]}
    pretrained = simulator().pretrain(pd.concat([y], **panel).to_frame(), X=pd.concat([X], **panel))
    refuses(words, pretrained.fit, other, X=other_X)
    assert len(pretrained.clone().fit(same, X=same_X).predict([1], same_X, y=same[:CONTEXT])) == 1


# What nothing tells, and what tells wrongly.


def test_no_held_out_window_of_a_long_record_is_forgotten():
    y, X = record(20_000)
    forecaster = simulator(prediction_length=4).fit(y, X=X)
    calibration = forecaster._fitted.model.calibration
    assert len(calibration.scores) == 100
    assert calibration.shares.sum() > 100  # horizons


def test_an_output_that_is_never_seen_in_the_blocks_is_warned_of():
    y, X = record(300)
    both = pd.DataFrame({"a": y, "b": 2 * y})
    both.loc[40:, "b"] = np.nan
    with pytest.warns(UserWarning, match="Got no value of 'b' in the rows that are held out"):
        forecaster = simulator().fit(both, X=X)
    assert forecaster._fitted.model.calibration.widening[1] == 1
    dense, sparse = (
        simulator().fit(one, X=X)._fitted.model.calibration.shares.sum()
        for one in (y, y.where(np.arange(300) % 5 == 0))
    )
    assert sparse == pytest.approx(dense / 5, rel=0.1)


def test_nothing_held_out_as_asked_is_no_short_record():
    y, X = record(300)
    assert not len(simulator(validation_fraction=0.0).fit(y, X=X)._fitted.model.calibration.scores)


def test_weights_in_held_out_rows_alone_are_refused():
    y, X = record(300)
    X["weight"] = (np.arange(300) >= 285).astype(float)
    with pytest.raises(ValueError, match="0 in all rows that are forecast in training"):
        simulator(weight_column="weight").fit(y, X=X)


def test_fine_tuning_leaves_intervals_as_wide_as_the_errors():
    noisy = [record(260, seed) for seed in range(4)]
    noise = np.random.default_rng(0).normal(0, 0.1, size=(4, 260))
    panel = pd.concat({k: (noisy[k][0] + noise[k]).to_frame() for k in range(2)})
    inputs = pd.concat({k: noisy[k][1] for k in range(2)})
    settings = {"d_model": 8, "max_epochs": 3, "batch_size": 16, "max_windows_per_epoch": None}
    pretrained = simulator(**settings, lr=0.01).pretrain(panel, X=inputs)
    (_, X), steps = noisy[2], range(1, 253)
    widths = []
    for epochs in (0, 30):
        tuned = pretrained.clone()
        tuned.finetune_epochs = epochs
        tuned.fit(noisy[3][0] + noise[3], X=noisy[3][1])
        past = pd.Series(0.0, X.index[:CONTEXT], name="y")
        interval = tuned.predict_interval(steps, X, coverage=0.9, y=past)
        widths.append((interval.iloc[:, 1] - interval.iloc[:, 0]).mean())
    assert widths[1] > 0.8 * widths[0]


def test_inputs_of_steps_before_the_one_asked_for_are_not_made_up_in_silence(trained):
    y, X = record(100, seed=4)
    with pytest.warns(UserWarning, match=r"without 4 of the 30 steps up to the last one asked for"):
        trained.predict([30], X.drop(range(20, 24)), y=y[:CONTEXT])
    trained.predict([30], X[: CONTEXT + 30], y=y[:CONTEXT])
    fitted = simulator().fit(y[:60], X=X[:60])
    with pytest.warns(UserWarning, match="runs through all of them"):
        fitted.predict([3], X.loc[[62]])


@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.0, 0.0), (3.0, 3.0), (2.0, 5.0)], ids=str)
def test_inputs_of_few_levels_are_not_clipped_either(levels):
    y, X = record(200)
    X["u"] = np.where(X["u"] > 0, levels[1], levels[0])
    forecaster = simulator().fit(y, X=X)
    inside = forecaster.predict(range(1, 41), X[:60], y=y[:20])
    with pytest.warns(UserWarning, match="the network extrapolates"):
        beyond = forecaster.predict(range(1, 41), 3 * X[:60] + 1, y=y[:20])
    assert not np.allclose(inside, beyond)


def test_updates_at_another_step_are_refused():
    times = pd.date_range("2024-01-01", periods=400, freq="100ms")
    y, X = (part.set_axis(times) for part in record(400))
    forecaster = simulator().fit(y[:200], X=X[:200])
    with pytest.raises(ValueError, match="a step of another length is another system"):
        forecaster.update(y[200::2], X=X[200::2], update_params=False)
    gaps = [*range(200, 230), *range(240, 260)]
    forecaster.update(y.iloc[gaps], X=X[200:260], update_params=False)
    forecaster.update(y.iloc[[265]], X=X[260:266], update_params=False)
