"""What a fitted forecaster shows: windows, attention, importance, contributions, the training."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sktime_tlstm import SkorchForecaster
from sktime_tlstm.effects import KNOTS
from sktime_tlstm.nn import (
    AttentionLSTM,
    Seq2SeqLSTM,
    TemporalAttentionLSTM,
    TemporalFusionTransformer,
    TransformerLSTM,
)
from tests.setups import TRAINING, tiny

ROWS, HORIZON, CONTEXT = 120, 4, 10
FH = range(1, HORIZON + 1)


def data(rows=ROWS, seed=0, start="2024-01-01"):
    """Return y, which ``useful`` drives at once, and X with an idle and a categorical column."""
    rng = np.random.default_rng(seed)
    times = pd.date_range(start, periods=rows, freq="D", name="time")
    useful, idle = rng.normal(size=(2, rows))
    kind = pd.Categorical(rng.choice(["a", "b", "c"], size=rows))
    y = pd.Series(10 + 3 * useful + 0.1 * rng.normal(size=rows), times, name="load")
    return y, pd.DataFrame({"useful": useful, "idle": idle, "kind": kind}, times)


def panel(lengths=(ROWS, 80), targets=("load", "price")):
    """Return a panel of several targets, with a static number and a static category."""
    ys, Xs = {}, {}
    for number, rows in enumerate(lengths):
        y, X = data(rows, seed=number)
        ys[f"s{number}"] = pd.DataFrame({name: y + k for k, name in enumerate(targets)})
        Xs[f"s{number}"] = X.assign(size=float(number), place=f"p{number}")
    return pd.concat(ys, names=["key"]), pd.concat(Xs, names=["key"])


@pytest.fixture(scope="module")
def single():
    y, X = data()
    forecaster = tiny(context_length=CONTEXT, time_features=["day_of_week"], target_lags=[7])
    return forecaster.fit(y[:-HORIZON], X=X[:-HORIZON], fh=FH), y, X


@pytest.fixture(scope="module")
def many():
    y, X = panel()
    forecaster = tiny(
        context_length=CONTEXT,
        past_covariates=["idle"],
        static_covariates=["size", "place"],
        series_embedding=True,
        target_lags=[7, 14],
        num_members=2,
    )
    last = y.groupby(level=0).tail(HORIZON).index
    return forecaster.fit(y.drop(last), X=X.drop(last), fh=FH), y, X, X.loc[last]


# Windows.


def test_every_channel_of_the_windows_has_a_name(many):
    forecaster, _, _, future = many
    windows = forecaster.windows(X=future)
    widths = windows.channels.groupby("part").size()
    for part in ("past", "future", "static"):
        assert windows.inputs[part].shape[-1] == widths[part]
    assert windows.inputs["past"].shape[:2] == (2, CONTEXT)
    assert windows.inputs["future"].shape[:2] == (2, HORIZON)
    names = windows.channels.groupby("part")["variable"].agg(set)
    assert names["static"] == {"size", "place"}
    assert "idle" in names["past"]
    lagged = windows.channels.query("part == 'future' and variable == 'idle'")
    assert lagged["lag"].tolist() == [7, 14]  # known in the past alone
    assert {"load", "price", "useful", "kind", "series", "day_of_week"} <= names["past"]


def test_channels_hold_what_their_names_say(single):
    forecaster, y, X = single
    windows = forecaster.windows(X=X[-HORIZON:])
    table, inputs = windows.channels, windows.inputs

    def channel(part, variable, kind="value", lag=0):
        own = table[table["part"] == part].reset_index(drop=True)
        wanted = own.query("variable == @variable and kind == @kind and lag == @lag").index
        return inputs[part][0, :, wanted[0]].numpy()

    scaled = channel("past", "useful"), channel("future", "useful")
    raw = X["useful"].to_numpy()[-HORIZON - CONTEXT :]
    correlation = np.corrcoef(np.concatenate(scaled), raw)[0, 1]
    assert correlation > 0.98  # clipped and standardised, in its order
    assert channel("past", "load", "observed").tolist() == [1.0] * CONTEXT
    known = forecaster._fitted.model.encoder.categories["kind"]
    kinds = dict(zip(known, (1, 2, 3), strict=True))
    expected = X["kind"][-HORIZON:].map(kinds).astype(float)
    assert channel("future", "kind", "code").tolist() == expected.tolist()
    lagged = channel("future", "load", lag=7)
    given = torch.from_numpy(lagged)[None, :, None]
    np.testing.assert_allclose(windows.to_units(given)[0, :, 0], y[-HORIZON - 7 : -7], rtol=1e-5)
    past = torch.from_numpy(channel("past", "load"))[None, :, None]
    own = y[-HORIZON - CONTEXT : -HORIZON]
    np.testing.assert_allclose(windows.to_units(past)[0, :, 0], own, rtol=1e-5)
    assert list(windows.index) == [y.index[-HORIZON - 1]]
    assert torch.isnan(windows.target).all()


def test_in_sample_windows_hold_what_happened(single):
    forecaster, y, _ = single
    windows = forecaster.windows(range(-4, 1))
    seen = y[:-HORIZON]
    assert list(windows.index) == list(seen.index[-6:-1])
    np.testing.assert_allclose(windows.to_units(windows.target)[:, 0, 0], seen[-5:], rtol=1e-5)
    assert torch.isnan(windows.target[-1, 1:]).all()
    early = forecaster.windows([1 - len(seen), 0])
    assert early.inputs["past_lengths"].tolist() == [1, CONTEXT]
    assert pd.isna(early.index[0]) or early.index[0] < seen.index[0]


def test_windows_of_the_past_and_of_the_future_come_together(single):
    forecaster, _, X = single
    windows = forecaster.windows([-116 + 1, 0, 1], X[-HORIZON:])
    assert len(windows.index) == len(windows.target) == len(windows.inputs["past"]) == 3
    assert windows.inputs["past_lengths"].tolist() == [1, CONTEXT, CONTEXT]


def test_the_network_says_on_the_windows_what_is_forecast():
    y, X = data()
    forecaster = tiny(context_length=CONTEXT, loss="mse", calibration="none", scaler="standard")
    # "none" alone would hold rows out for the errors of a point loss
    forecaster.set_params(loss="quantile").fit(y[:-HORIZON], X=X[:-HORIZON], fh=FH)
    windows = forecaster.windows(X=X[-HORIZON:])
    net = forecaster.net_
    output = net.criterion_.unpack(net.outputs(windows.inputs))
    point = windows.to_units(net.criterion_.point(output))
    expected = forecaster.predict(X=X[-HORIZON:])
    np.testing.assert_allclose(point[0, :, 0], expected, rtol=1e-5)


def test_windows_of_another_past(single):
    forecaster, *_ = single
    y, X = data(seed=5, start="2030-01-01")
    windows = forecaster.windows(X=X, y=y[:-HORIZON])
    assert list(windows.index) == [y.index[-HORIZON - 1]]


# Attention.


@pytest.mark.parametrize(
    "module", [TransformerLSTM, AttentionLSTM, TemporalAttentionLSTM, TemporalFusionTransformer]
)
def test_attention_weights_of_every_step_sum_to_one(module):
    y, X = data()
    forecaster = SkorchForecaster(
        module, {"d_model": 4, "num_heads": 2}, context_length=CONTEXT, **TRAINING
    )
    forecaster.fit(y[:-HORIZON], X=X[:-HORIZON], fh=FH)
    weights = forecaster.attention_weights(X=X[-HORIZON:])
    assert weights.index.names == ["step", "relative_time"]
    assert weights.columns.name == "head"
    assert weights.index.get_level_values("step").unique().tolist() == list(FH)
    np.testing.assert_allclose(weights.groupby("step").sum(), 1.0, rtol=1e-5)
    times = weights.loc[1].index
    assert times.min() == 1 - CONTEXT
    assert times.max() == (0 if module is TemporalAttentionLSTM else HORIZON)
    assert times.is_monotonic_increasing and times.is_unique


def test_attention_weights_of_members_and_series(many):
    forecaster, _, _, future = many
    weights = forecaster.attention_weights([1, 3], X=future)
    assert weights.index.names == ["key", "step", "relative_time"]
    assert weights.columns.names == ["member", "head"]
    assert weights.shape == (2 * 2 * (CONTEXT + HORIZON), 2 * 2)
    np.testing.assert_allclose(weights.groupby(["key", "step"]).sum(), 1.0, rtol=1e-5)
    assert weights.index.get_level_values("step").unique().tolist() == [1, 3]


def test_a_short_past_has_no_weights_for_what_is_not_there(single):
    forecaster, *_ = single
    y, X = data(rows=3 + HORIZON, seed=4)
    weights = forecaster.attention_weights(X=X, y=y[:3])
    assert weights.loc[1].index.tolist() == [*range(-2, 1), *range(1, HORIZON + 1)]
    np.testing.assert_allclose(weights.groupby("step").sum(), 1.0, rtol=1e-5)


def test_causal_attention_does_not_look_ahead():
    y, X = data()
    forecaster = tiny(context_length=CONTEXT, causal_attention=True)
    forecaster.fit(y[:-HORIZON], X=X[:-HORIZON], fh=FH)
    weights = forecaster.attention_weights(X=X[-HORIZON:])
    ahead = weights.index.get_level_values("relative_time") > weights.index.get_level_values("step")
    assert (weights[ahead] == 0).all(axis=None)


def test_a_network_that_does_not_attend_says_so():
    y, _ = data()
    forecaster = SkorchForecaster(Seq2SeqLSTM, {"hidden_size": 4}, **TRAINING).fit(y, fh=FH)
    with pytest.raises(ValueError, match="Got a network Seq2SeqLSTM without attention_weights"):
        forecaster.attention_weights()


@pytest.mark.parametrize("method", ["attention_weights", "explain"])
@pytest.mark.parametrize("step", [0, -3, HORIZON + 1])
def test_steps_beyond_one_pass_are_refused(single, method, step):
    forecaster, _, X = single
    with pytest.raises(ValueError, match=f"Got fh with the step {step} in {method}, expected"):
        getattr(forecaster, method)([step], X=X[-HORIZON:].reindex(X.index).ffill())


# Importance.


def learnt(module=TransformerLSTM, **parameters):
    """Return a forecaster that has learnt what drives y, and rows that it has not seen."""
    y, X = data(600)
    settings = {**TRAINING, "max_epochs": 15, "max_windows_per_epoch": None, "batch_size": 32}
    settings |= {"context_length": CONTEXT, "lr": 0.01, "calibration": "none", **parameters}
    forecaster = SkorchForecaster(module, {"d_model": 8, "num_heads": 2}, **settings)
    return forecaster.fit(y[:500], X=X[:500], fh=FH), y[500:], X[500:]


@pytest.fixture(scope="module")
def knowing():
    return learnt()


def test_the_covariate_that_drives_y_is_the_most_important(knowing):
    forecaster, y, X = knowing
    table = forecaster.variable_importance(y, X)
    assert table.index[0] == ("future", "useful")
    assert table["importance"].iloc[0] > 1  # without it the error more than doubles
    rest = table.drop(("future", "useful"))
    assert table["importance"].iloc[0] > 4 * rest["importance"].max()
    assert table["importance"].is_monotonic_decreasing
    assert table.index.names == ["input", "variable"]
    assert "mean absolute error" in table.columns.name
    assert (table["std"] >= 0).all()


def test_importance_has_a_row_for_each_variable_of_each_input(many):
    forecaster, *_ = many
    table = forecaster.variable_importance(num_windows=8, num_repeats=1)
    assert table.index.is_unique
    expected = [
        ("past", "load"),
        ("past", "idle"),
        ("past", "kind"),
        ("future", "kind"),
        ("future", "series"),
        ("future", "day_of_week"),
        ("lag 7", "price"),
        ("lag 14", "useful"),
        ("static", "size"),
        ("static", "place"),
    ]
    assert set(expected) <= set(table.index)
    assert ("future", "idle") not in table.index
    assert (table["std"] == 0).all()  # of one repeat


def test_importance_is_the_rise_of_the_error_of_the_forecasts():
    """By hand: the future values of a column are those of another window."""
    forecaster, y, X = learnt(scaler=None)  # which would be learnt anew from every past
    table = forecaster.variable_importance(y, X, num_windows=30, num_repeats=1)
    cutoffs = np.linspace(CONTEXT, len(y) - HORIZON, 30).astype(int)
    order = np.random.default_rng(forecaster._fitted.model.seed).permutation(30)

    def error(others):
        errors = []
        for cutoff, other in zip(cutoffs, others, strict=True):
            future = X[cutoff : cutoff + HORIZON].copy()
            future["useful"] = X["useful"].to_numpy()[other : other + HORIZON]
            rows = pd.concat([X[:cutoff], future])
            forecast = forecaster.predict(FH, rows, y=y[:cutoff])
            errors.append((forecast - y.loc[forecast.index]).abs().mean())
        return np.mean(errors)

    expected = error(cutoffs[order]) / error(cutoffs) - 1
    found = table.loc[("future", "useful"), "importance"]
    # of short windows the normalisation knows of the spread of all rows that are there
    assert found == pytest.approx(expected, rel=0.02)


def test_selection_weights_sum_to_one_for_each_input():
    forecaster, y, X = learnt(TemporalFusionTransformer, max_epochs=2, num_members=2)
    table = forecaster.variable_importance(y, X)
    assert table.columns.name == "selection weight"
    sums = table["importance"].groupby(level="input").sum()
    lags = [name for name in sums.index if name.startswith("lag")]
    assert sums["past"] == pytest.approx(1, rel=1e-4)
    assert sums[["future", *lags]].sum() == pytest.approx(1, rel=1e-4)
    permuted = forecaster.variable_importance(y, X, method="permutation", num_windows=20)
    assert set(permuted.index) == set(table.index)


def test_importance_refuses_what_it_cannot_tell(single):
    forecaster, y, X = single
    with pytest.raises(ValueError, match="Got method='selection' with a network that has no"):
        forecaster.variable_importance(method="selection")
    with pytest.raises(ValueError, match="Got method='guess', expected 'auto', 'selection' or"):
        forecaster.variable_importance(method="guess")
    with pytest.raises(ValueError, match="Got X without y"):
        forecaster.variable_importance(X=X)
    with pytest.raises(ValueError, match="Got series of at most 3 rows, expected more than the"):
        forecaster.variable_importance(y[:3], X[:3])
    with pytest.raises(ValueError, match="Got num_windows=1, expected an integer of at least 2"):
        forecaster.variable_importance(num_windows=1)


# Contributions.


@pytest.mark.parametrize("calibration", ["none", "adaptive"])
@pytest.mark.parametrize("scaler", ["robust_arcsinh", "standard"])
def test_contributions_sum_to_the_forecast(calibration, scaler):
    y, X = data()
    forecaster = tiny(context_length=CONTEXT, calibration=calibration, scaler=scaler, num_members=2)
    forecaster.fit(y[:-HORIZON], X=X[:-HORIZON], fh=FH)
    table = forecaster.explain(X=X[-HORIZON:])
    forecast = forecaster.predict(X=X[-HORIZON:])
    pd.testing.assert_series_equal(
        table.sum(axis=1), forecast, check_names=False, rtol=1e-5, check_freq=False
    )
    simply = ("simple forecasts", "past values") in table.columns
    assert simply == (calibration == "adaptive")


def test_contributions_of_panels_targets_and_embeddings_sum_to_the_forecast(many):
    forecaster, _, _, future = many
    table = forecaster.explain([2, 4], X=future)
    forecast = forecaster.predict([2, 4], X=future)
    assert table.columns.names == ["target", "input", "variable"]
    assert table.index.equals(forecast.index)
    for target in ("load", "price"):
        np.testing.assert_allclose(table[target].sum(axis=1), forecast[target], rtol=1e-5)
    assert (table["load"][("static", "size")] != 0).any()
    assert (table["load"][("future", "kind")] != 0).any()


@pytest.mark.parametrize(
    "names, titles",
    [
        (pd.MultiIndex.from_tuples([("load", 7), ("price", 3)]), ["target 1", "target 2"]),
        (
            pd.MultiIndex.from_tuples([("b", "x", 1), ("a", "x", 1)]),
            ["target 1", "target 2", "target 3"],
        ),
        (pd.Index(["load", ("price", 3)], dtype=object), ["target"]),
        (pd.Index([4, 2]), ["target"]),
    ],
    ids=["two levels", "three levels", "a tuple among names", "numbers"],
)
def test_contributions_to_targets_of_any_names_have_these_in_front(names, titles):
    y, _ = data(50, seed=3)
    ys = pd.DataFrame(np.c_[y, 7 - 2 * y], y.index, columns=names)
    forecaster = tiny(context_length=CONTEXT).fit(ys, fh=[1, 3])
    table, forecast = forecaster.explain(), forecaster.predict()
    assert table.columns.names == [*titles, "input", "variable"]
    for place, own in enumerate(np.split(np.arange(len(table.columns)), 2)):
        contributions = table.iloc[:, own]
        assert list(contributions.columns.droplevel([-2, -1]).unique()) == [names[place]]
        np.testing.assert_allclose(contributions.sum(axis=1), forecast.iloc[:, place], rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, HORIZON, HORIZON + 1])
def test_contributions_to_forecasts_of_a_short_past_sum_to_these(single, rows):
    forecaster, y, X = single
    past, known = y[-HORIZON - rows : -HORIZON], X[-HORIZON - rows :]
    table = forecaster.explain(FH, known, y=past)
    forecast = forecaster.predict(FH, known, y=past)
    np.testing.assert_allclose(table.sum(axis=1), forecast, rtol=1e-5)
    if rows > 1:  # windows that differ, so that something is unusual
        assert (table[("future", "useful")] != 0).all()


def test_contributions_to_forecasts_of_short_pasts_of_a_panel_sum_to_these(many):
    forecaster, y, X, future = many
    behind = y.groupby(level=0).tail(HORIZON + 3).groupby(level=0).head(3)
    known = X.loc[behind.index.union(future.index)]
    table = forecaster.explain([1, 4], known, y=behind)
    forecast = forecaster.predict([1, 4], known, y=behind)
    for target in ("load", "price"):
        np.testing.assert_allclose(table[target].sum(axis=1), forecast[target], rtol=1e-5)


class Weighted(nn.Module):
    """A network whose contributions are known: weights times inputs."""

    def __init__(self, num_past_features, num_future_features, output_dim):
        super().__init__()
        self.layer = nn.Linear(num_future_features, output_dim, bias=False)

    def forward(self, past, future, past_lengths=None):
        return self.layer(future)


def bent(value):
    """Return what the slopes of simple forecasts belong to (..., slope)."""
    return torch.stack([value, *((value - knot).clamp(min=0) for knot in KNOTS)], dim=-1)


def test_contributions_to_a_linear_network_are_weights_times_what_is_unusual():
    y, X = data()
    # of few levels, so that networks and effects read the same
    X, seen = X[["useful", "idle"]].clip(-1.5, 1.5).round(), len(y) - HORIZON
    forecaster = SkorchForecaster(
        Weighted,
        loss="mse",
        scaler="standard",
        window_norm=None,
        context_length=CONTEXT,
        **TRAINING,
    )
    forecaster.fit(y[:seen], X=X[:seen], fh=FH)
    windows, table = (method(X=X[seen:]) for method in (forecaster.windows, forecaster.explain))
    # the windows of the past whose context and horizon are whole
    past = forecaster.windows(range(CONTEXT - seen + 1, 2 - HORIZON))
    moved = windows.inputs["future"][0] - past.inputs["future"].mean(0)  # (horizon, channel)
    calibration = forecaster._fitted.model.calibration
    weight = forecaster.net_.module_.layer.weight[0].detach() * calibration.trust
    own = windows.channels[windows.channels["part"] == "future"].reset_index(drop=True)
    for place, name in enumerate(("useful", "idle")):
        channels = own.index[(own["variable"] == name) & (own["lag"] == 0)]
        scale = forecaster._fitted.history.scale[0, 0]
        expected = (moved * weight)[:, channels].sum(1) * scale
        slopes = calibration.simple.effects.weights[0, place::2]
        now, usual = (
            bent(part.inputs["future"][..., channels[0]].double()) @ slopes
            for part in (windows, past)
        )
        expected = expected + (now[0] - usual.mean(0)) * (1 - calibration.trust) * scale
        np.testing.assert_allclose(table["future", name], expected, rtol=1e-3, atol=1e-6)
        assert (table["future", name] != 0).any()


def test_the_baseline_of_a_short_past_is_the_mean_of_the_windows_behind_its_rows():
    y, X = data()
    X, seen = X[["useful"]], len(y) - HORIZON
    forecaster = SkorchForecaster(
        Weighted, loss="mse", scaler="standard", window_norm=None, **TRAINING
    )
    forecaster.fit(y[:seen], X=X[:seen], fh=FH)
    past, known = y[seen - 3 : seen], X[seen - 3 :]
    table = forecaster.explain(X=known, y=past)
    each = [forecaster.windows(X=known, y=past[:rows]) for rows in (1, 2, 3)]
    futures = torch.cat([windows.inputs["future"] for windows in each])
    moved = futures[-1] - futures.mean(0)  # (horizon, channel)
    fitted = forecaster._with_past(past, known)._fitted
    weight = forecaster.net_.module_.layer.weight[0].detach() * fitted.model.calibration.trust
    own = each[0].channels[each[0].channels["part"] == "future"].reset_index(drop=True)
    channels = own.index[(own["variable"] == "useful") & (own["lag"] == 0)]
    expected = (moved * weight)[:, channels].sum(1) * fitted.history.scale[0, 0]
    assert fitted.model.calibration.simple.effects is not None
    slopes = fitted.model.calibration.simple.effects.weights[0]
    value = futures[..., channels[0]].double()
    effect = bent(value) @ slopes
    effect = (effect[-1] - effect.mean(0)) * (1 - fitted.model.calibration.trust)
    expected = expected + effect * fitted.history.scale[0, 0]
    np.testing.assert_allclose(table["future", "useful"], expected, rtol=1e-3, atol=1e-6)
    assert (table["future", "useful"] != 0).all()


def test_the_covariate_that_drives_y_contributes_most(knowing):
    forecaster, y, X = knowing
    table = forecaster.explain(FH, X, y=y[:-HORIZON])
    forecast = forecaster.predict(FH, X, y=y[:-HORIZON])
    off = forecast - table.iloc[:, 0]
    assert np.corrcoef(table["future", "useful"], off)[0, 1] > 0.9
    size = table.iloc[:, 1:].abs().mean()
    assert size.idxmax() == ("future", "useful")


# The training.


def test_the_history_has_a_row_for_every_epoch_of_every_member():
    y, X = data()
    forecaster = tiny(max_epochs=5, num_members=2, context_length=CONTEXT)
    with pytest.raises(AttributeError, match="Got no training yet"):
        forecaster.history_  # noqa: B018
    forecaster.fit(y, X=X, fh=FH)
    table = forecaster.history_
    assert table["member"].tolist() == [0] * 6 + [1] * 6
    assert table["stage"].tolist() == (["fit"] * 3 + ["fit on all rows"] * 3) * 2
    assert table["epoch"].tolist() == [*range(1, 7)] * 2
    assert table["lr"].between(0, 4e-3).all() and table["lr"].notna().all()
    assert (table["windows_per_second"] > 0).all()
    assert table["valid_mae"].notna().tolist() == ([True] * 3 + [False] * 3) * 2
    y_new, X_new = data(rows=3, start=str(y.index[-1] + y.index.freq))
    forecaster.update(y_new, X=X_new)
    assert forecaster.history_["stage"].tolist()[6] == "update"


def test_the_history_tells_pretraining_and_fine_tuning_apart():
    y, _ = data()
    panel = pd.concat({"a": y, "b": y}, names=["key"]).to_frame()
    forecaster = tiny(finetune_epochs=2).pretrain(panel, fh=FH).fit(y, fh=FH)
    stages = forecaster.history_["stage"].unique().tolist()
    assert stages == ["pretraining", "pretraining on all rows", "fine-tuning"]


@pytest.mark.parametrize("loss", ["quantile", "mse", "normal", "poisson", "gamma"])
@pytest.mark.parametrize("scaler", ["auto", None])
def test_errors_of_the_history_are_in_units_of_y(loss, scaler):
    y, _ = data()
    y = y.abs().round().clip(lower=1)
    ys = pd.concat({"small": y, "large": 100 * y}, names=["key"]).to_frame()
    forecaster = tiny(
        loss=loss, scaler=scaler, validation_fraction=0.3, context_length=CONTEXT, patience=None
    )
    forecaster.set_params(calibration="none", max_epochs=1)
    forecaster.fit(ys, fh=FH)
    windows = forecaster.windows(range(-50, 1))
    net = forecaster.net_
    point = net.criterion_.point(net.criterion_.unpack(net.outputs(windows.inputs)))
    happened = windows.to_units(windows.target)
    errors = np.abs(windows.to_units(point) - happened)
    # validation: the last 35 cutoffs or so of both series, of which these are the most
    found = forecaster.history_["valid_mae"].iloc[-1]
    assert found == pytest.approx(np.nanmean(errors), rel=0.25)


def test_the_summary_names_what_is_read_and_every_layer(many):
    forecaster, *_ = many
    page = forecaster.summary()
    for words in (
        "TransformerLSTMForecaster",
        "load, price",
        f"{HORIZON} steps from {CONTEXT} rows",
        "useful, kind",
        "size, place",
        "7, 14",
        "2 members",
        "network, ",
        "LSTMEncoderDecoder",
    ):
        assert words in page, words
    number = sum(weights.numel() for weights in forecaster.net_.module_.network.parameters())
    assert f"{number:,} parameters" in page
    assert all(len(line) <= 100 for line in page.splitlines())


@pytest.mark.parametrize("rows", [1, 3, HORIZON])
def test_a_series_that_is_shorter_than_the_horizon_has_a_summary(rows):
    y, _ = data(rows)
    assert "TransformerLSTM" in tiny().fit(y, fh=FH).summary()


def test_a_summary_names_the_trust_of_each_target_in_any_order():
    rng = np.random.default_rng(0)
    index = pd.date_range("2023-01-01", periods=200, freq="D")
    drive = rng.normal(size=200)
    y = pd.DataFrame({"walk": rng.normal(size=200).cumsum(), "driven": 3 * drive}, index)
    panel = pd.concat({key: y + key for key in (0, 1)}, names=["key"])
    forecaster = tiny(finetune_epochs=0).pretrain(panel, fh=FH)
    forecaster.fit(y[["driven", "walk"]])
    model = forecaster._fitted.model
    assert model.encoder.targets == ["driven", "walk"]
    walk, driven = (f"{trust:.0%}" for trust in model.calibration.trust.tolist())  # by channel
    assert walk != driven
    page = forecaster.summary()
    assert f"the network {driven} of driven, {walk} of walk, the rest simple forecasts" in page


def test_nothing_matters_where_there_is_no_error():
    y = pd.Series(5.0, data()[0].index, name="load")
    forecaster = tiny(context_length=CONTEXT).fit(y, fh=FH)
    forecaster._fitted.model.members[0].module_.output.weight.data.zero_()
    forecaster._fitted.model.members[0].module_.output.bias.data.zero_()
    table = forecaster.variable_importance(num_windows=5, num_repeats=1)
    assert (table["importance"] == 0).all()


# Whatever is looked at.


def test_looking_changes_nothing(single):
    forecaster, y, X = single
    before, frames = copy.copy(forecaster.__dict__), (y.copy(), X.copy())
    weights = copy.deepcopy(forecaster.net_.module_.state_dict())
    grads = [parameter.grad.clone() for parameter in forecaster.net_.module_.parameters()]
    forecaster.windows([1, 2], X[-HORIZON:])
    forecaster.windows([-1, 0])
    forecaster.attention_weights([2], X[-HORIZON:])
    forecaster.explain([1], X[-HORIZON:])
    forecaster.variable_importance(y, X, num_windows=4, num_repeats=1)
    forecaster.summary()
    assert forecaster.__dict__.keys() == before.keys()
    for name, value in before.items():
        assert forecaster.__dict__[name] is value, name
    for name, value in forecaster.net_.module_.state_dict().items():
        assert torch.equal(value, weights[name])
    for parameter, grad in zip(forecaster.net_.module_.parameters(), grads, strict=True):
        assert torch.equal(parameter.grad, grad)
    pd.testing.assert_series_equal(y, frames[0])
    pd.testing.assert_frame_equal(X, frames[1])


@pytest.mark.parametrize(
    "method", ["windows", "attention_weights", "explain", "variable_importance", "summary"]
)
def test_what_is_not_fitted_shows_nothing(method):
    with pytest.raises(ValueError, match="has not been fitted yet"):
        getattr(tiny(), method)()


def test_a_simulation_shows_its_windows_and_contributions():
    y, X = data()
    X = X.assign(useful=X["useful"].clip(-1, 1), idle=X["idle"].clip(-1, 1))
    forecaster = tiny(mode="simulation", context_length=CONTEXT, prediction_length=8)
    forecaster.fit(y[:-8], X=X[:-8])
    table = forecaster.explain(range(1, 9), X[-8:])
    forecast = forecaster.predict(range(1, 9), X[-8:])
    np.testing.assert_allclose(table.sum(axis=1), forecast, rtol=1e-5)
    assert ("simple forecasts", "linear simulation of inputs") in table.columns
    assert forecaster.windows([1], X[-8:]).inputs["past"].shape[1] == CONTEXT
    words = rf"with mode='simulation', in which .* the {CONTEXT} steps before .*Call explain or"
    with pytest.raises(ValueError, match=words):
        forecaster.attention_weights([1], X[-8:])


class Windowed(AttentionLSTM):
    """A network of one's own that has weights in a simulation too."""

    def __init__(self, attention_window=None, **params):
        super().__init__(**params)
        self.attention_window = attention_window


def test_a_network_of_ones_own_shows_its_weights_in_a_simulation():
    y, _ = data(60)
    X = pd.DataFrame({"drive": np.sin(np.arange(60.0))}, y.index)
    settings = {**TRAINING, "mode": "simulation", "context_length": 6, "prediction_length": 5}
    forecaster = SkorchForecaster(Windowed, {"d_model": 4, "num_heads": 2}, **settings)
    weights = forecaster.fit(y[:50], X[:50]).attention_weights([5], X[50:])
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)
