"""One network for many series: what tells them apart, and what they learn from each other."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback, Freezer
from sktime.forecasting.reconcile import ReconcilerForecaster
from sktime.split import SlidingWindowSplitter
from sktime.transformations.hierarchical.aggregate import Aggregator
from torch import nn

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm import model as models
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import EmbeddedNetwork
from sktime_tlstm.notices import ForecastWarning
from tests.setups import TRAINING

ROWS, FH = 41, [1, 2, 3]
TINY = {**TRAINING, "context_length": 7}


class Plain(nn.Module):
    """A linear network of the contract: the last row before the cutoff, and the future."""

    def __init__(self, num_past_features, num_future_features, output_dim=1):
        super().__init__()
        self.past = nn.Linear(num_past_features, output_dim)
        self.future = nn.Linear(num_future_features, output_dim)

    def forward(self, past, future, past_lengths=None):
        return self.past(past[:, -1:]) + self.future(future)


class Told(Plain):
    """The same, with the static covariates added."""

    def __init__(self, num_past_features, num_future_features, output_dim, num_static_features=0):
        super().__init__(num_past_features, num_future_features, output_dim)
        self.static = nn.Linear(num_static_features, output_dim) if num_static_features else None

    def forward(self, past, future, past_lengths=None, static=None):
        output = super().forward(past, future)
        return output if self.static is None else output + self.static(static)[:, None]


def tiny(**parameters):
    return TransformerLSTMForecaster(**{**TINY, "d_model": 4, "num_heads": 2, **parameters})


def traits_of(forecaster):
    return forecaster._fitted.history.store.traits


def told(**parameters):
    return SkorchForecaster(Told, **{**TINY, **parameters})


def series(rows=ROWS, seed=0):
    values = 50 + 10 * np.sin(np.arange(rows) / 6 * np.pi)
    values = values + np.random.default_rng(seed).normal(size=rows)
    return pd.Series(values, pd.period_range("2019-01", periods=rows, freq="M"), name="y")


def panel(lengths, seed=0):
    frames = {key: series(rows, seed + place) for place, (key, rows) in enumerate(lengths.items())}
    return pd.concat(frames, names=["key", "month"]).to_frame("y")


def hierarchy(rows=ROWS):
    """Return the bottom level of a hierarchy, its keys not in the order of the alphabet."""
    shops = [(region, shop) for region in ("north", "east") for shop in ("two", "one")]
    frames = [series(rows, seed=seed).to_frame("sales") for seed in range(len(shops))]
    return pd.concat(frames, keys=shops, names=["region", "shop", "month"])


def by_series(y, **columns):
    """Return covariates that are constant within each series: a dict of its keys for each."""
    keys = y.index.get_level_values(0)
    frame = {name: [values[key] for key in keys] for name, values in columns.items()}
    return pd.DataFrame(frame, y.index)


def close(one, other, rtol=1e-5):
    pd.testing.assert_index_equal(one.index, other.index)
    np.testing.assert_allclose(one, other, rtol=rtol)


def weights(net):
    return {name: value.clone() for name, value in net.module_.state_dict().items()}


def changed(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


# Static covariates.

PAIR = panel({"a": ROWS, "b": ROWS})


@pytest.mark.parametrize("with_category", [False, True])
def test_static_covariates_need_a_network_that_takes_them(with_category, monkeypatch):
    X = by_series(PAIR, size={"a": 1.0, "b": 2.0}, kind={"a": "x", "b": "y"})
    X = X[["size", "kind"]] if with_category else X[["size"]]
    monkeypatch.setattr(ForecastNet, "train_step", lambda *args, **kwargs: pytest.fail("trained"))
    forecaster = SkorchForecaster(Plain, static_covariates=list(X.columns), **TINY)
    with pytest.raises(ValueError, match="static_covariates with the module Plain") as error:
        forecaster.fit(PAIR, X=X, fh=FH)
    assert "Pass a network that takes static covariates" in str(error.value)
    assert "leave the columns out" in str(error.value)
    assert not forecaster.is_fitted


@pytest.mark.parametrize("dtype", ["float64", "int64", "bool", "boolean", "Float64"])
def test_numeric_and_boolean_statics_reach_the_network_scaled(dtype):
    y = panel({"a": ROWS, "b": ROWS, "c": ROWS})
    X = by_series(y, size={"a": 0, "b": 1, "c": 1}).astype(dtype)
    forecaster = told(static_covariates=["size"]).fit(y, X=X, fh=FH)
    assert traits_of(forecaster).static.tolist() == [
        [0.0],
        [1.0],
        [1.0],
    ]  # as binary ones are
    assert forecaster.net_.module_.static.in_features == 1
    assert forecaster._fitted.model.encoder.columns == []
    assert forecaster._fitted.model.spec.num_numeric == 0


def test_numeric_statics_are_scaled_over_series_not_rows():
    y = panel({"a": 2, "b": ROWS, "c": 7})
    X = by_series(y, size={"a": 2.0, "b": 4.0, "c": 9.0})
    forecaster = told(static_covariates=["size"], scaler="standard").fit(y, X=X, fh=FH)
    mean, deviation = 5.0, np.std([2.0, 4.0, 9.0])
    low, high = np.quantile([2.0, 4.0, 9.0], [0.005, 0.995])
    expected = (np.clip([2.0, 4.0, 9.0], low, high) - mean) / deviation
    np.testing.assert_allclose(traits_of(forecaster).static[:, 0], expected, rtol=1e-6)


def test_categorical_statics_are_embedded_one_vector_a_series():
    y = panel({"a": ROWS, "b": ROWS, "c": ROWS})
    X = by_series(
        y, size={"a": 0.0, "b": 1.0, "c": 1.0}, kind={"a": "shop", "b": "mall", "c": "shop"}
    )
    forecaster = told(static_covariates=["kind", "size"]).fit(y, X=X, fh=FH)
    assert traits_of(forecaster).static.tolist() == [
        [0.0, 1.0],
        [1.0, 2.0],
        [1.0, 1.0],
    ]
    module = forecaster.net_.module_
    assert isinstance(module, EmbeddedNetwork)
    assert module.embedding.cardinalities == (2,)
    assert module.embedding.static_channels == (1,)
    assert module.network.static.in_features == 1 + 3
    seen = []
    module.network.static.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    forecaster.predict()
    table = module.embedding.tables[0].weight.detach()
    assert torch.equal(seen[0][:, :1], torch.tensor([[0.0], [1.0], [1.0]]))
    assert torch.equal(seen[0][:, 1:], table[[1, 2, 1]])


def test_missing_statics_are_the_mean_and_the_reserved_code():
    y = panel({"a": ROWS, "b": ROWS, "c": ROWS})
    X = by_series(
        y, size={"a": 2.0, "b": 4.0, "c": np.nan}, kind={"a": "shop", "b": None, "c": "mall"}
    )
    X.iloc[: ROWS - 1, 0] = np.nan  # one row of a series is enough
    X.iloc[1:ROWS, 1] = None
    forecaster = told(static_covariates=["size", "kind"], scaler="standard")
    static = traits_of(forecaster.fit(y, X=X, fh=FH)).static
    np.testing.assert_allclose(static[:, 0], [-0.99, 0.99, 0.0], atol=1e-6)  # outer quantiles
    assert static[:, 1].tolist() == [1.0, 0.0, 2.0]
    empty = X[["size"]].assign(size=np.nan)
    with pytest.warns(ForecastWarning, match=r"X without any value in the columns \['size'\]"):
        nothing = told(static_covariates=["size"]).fit(y, X=empty, fh=FH)
    assert traits_of(nothing).static.tolist() == [[0.0]] * 3
    assert np.isfinite(nothing.predict()).all(axis=None)


def test_a_static_column_that_changes_is_named_with_rows_and_values():
    X = by_series(PAIR, size={"a": 1.0, "b": 2.0}, kind={"a": "x", "b": "y"})
    first, row = PAIR.index[ROWS], PAIR.index[ROWS + 5]
    for name, old, new in (("size", 2.0, 7.0), ("kind", "y", "z")):
        varying = X.copy()
        varying.iloc[ROWS + 5, X.columns.get_loc(name)] = new
        with pytest.raises(ValueError, match=f"the column '{name}', which changes") as error:
            told(static_covariates=[name]).fit(PAIR, X=varying, fh=FH)
        assert f"{old!r} at {first}, {new!r} at {row};" in str(error.value)


def test_a_static_column_is_no_past_covariate_and_must_exist():
    X = by_series(PAIR, size={"a": 1.0, "b": 2.0})
    both = told(static_covariates=["size"], past_covariates=["size"])
    with pytest.raises(ValueError, match=r"\['size'\] in past_covariates and in static_cov"):
        both.fit(PAIR, X=X, fh=FH)
    for covariates in (X, None):
        with pytest.raises(ValueError, match=r"X has no column \['area'\]"):
            told(static_covariates=["area"]).fit(PAIR, X=covariates, fh=FH)


def test_a_static_value_matters_at_fit_alone():
    X = by_series(PAIR, size={"a": 1.0, "b": 0.0})
    forecaster = told(static_covariates=["size"], lr=0.05).fit(PAIR, X=X, fh=FH)
    forecast = forecaster.predict()
    other = told(static_covariates=["size"], lr=0.05).fit(PAIR, X=1 - X, fh=FH)
    assert not np.allclose(other.predict(), forecast)
    future = pd.MultiIndex.from_product(
        [["a", "b"], pd.period_range("2022-06", periods=9, freq="M")], names=PAIR.index.names
    )
    given = pd.DataFrame({"size": 77.0}, future)
    with pytest.warns(UserWarning, match="'size' as 77.0 of series 'b'.* that is kept"):
        assert forecaster.predict(X=given).equals(forecast)
    assert np.isfinite(forecaster.predict_interval(fh=[1, 3, 20])).all(axis=None)
    assert forecaster.predict_samples(fh=[1, 20]).shape == (8 * 4, 1)
    assert forecaster.predict_residuals().shape == PAIR.shape


def test_static_covariates_are_needed_for_new_series_alone():
    early = PAIR.groupby(level=0, group_keys=False).head(ROWS - 4)
    late = PAIR.drop(early.index)
    rng = np.random.default_rng(3)
    X = by_series(PAIR, size={"a": 1.0, "b": 0.0}).assign(heat=rng.normal(size=len(PAIR)))
    forecaster = told(static_covariates=["size"], past_covariates=["heat"])
    forecaster.fit(early, X=X.loc[early.index], fh=FH)
    whole = copy.deepcopy(forecaster).update(late, X=X.loc[late.index], update_params=False)
    forecaster.update(late, X=X.loc[late.index, ["heat"]], update_params=False)
    assert forecaster.predict().equals(whole.predict())
    new = panel({"c": 20}, seed=5)
    more = by_series(new, size={"c": 1.0}).assign(heat=0.0)
    with pytest.raises(ValueError, match=r"without the columns \['size'\]"):
        forecaster.update(new, X=more[["heat"]], update_params=False)
    assert forecaster.predict().equals(whole.predict())
    forecaster.update(new, X=more, update_params=False)
    assert traits_of(forecaster).static.ravel().tolist() == [1.0, 0.0, 1.0]
    assert np.isfinite(forecaster.predict()).all(axis=None)


def test_where_all_covariates_are_static_updates_need_x_for_new_series_alone():
    early = PAIR.groupby(level=0, group_keys=False).head(ROWS - 4)
    X = by_series(PAIR, size={"a": 1.0, "b": 0.0})
    forecaster = told(static_covariates=["size"]).fit(early, X=X.loc[early.index], fh=FH)
    forecaster.update(PAIR.drop(early.index), update_params=False)
    new, absent = panel({"c": 20}), panel({"d": 20})
    with pytest.raises(ValueError, match=r"expected the covariates \['size'\]"):
        forecaster.update(new, update_params=False)
    with pytest.raises(ValueError, match="without a row of series 'c'"):
        forecaster.update(new, X=by_series(absent, size={"d": 1.0}), update_params=False)
    forecaster.update(new, X=by_series(new, size={"c": 1.0}), update_params=True)
    assert traits_of(forecaster).static.ravel().tolist() == [1.0, 0.0, 1.0]


def test_a_single_series_may_have_static_covariates():
    y = series()
    X = pd.DataFrame({"size": 3.0, "kind": "shop"}, y.index)
    forecaster = told(static_covariates=["size", "kind"]).fit(y, X=X, fh=FH)
    assert traits_of(forecaster).static.shape == (1, 2)
    assert np.isfinite(forecaster.predict(fh=[-3, 1, 9])).all()
    forecaster.update(series(ROWS + 2)[ROWS:], update_params=True)
    assert np.isfinite(forecaster.predict()).all()


def test_rows_of_x_beyond_y_change_no_static_covariate():
    X = by_series(PAIR, size={"a": 3.0, "b": 5.0}, kind={"a": "x", "b": "y"})
    short = PAIR.groupby(level=0, group_keys=False).apply(lambda own: own.iloc[3:-4])
    names = ["size", "kind"]
    longer = told(static_covariates=names).fit(short, X=X, fh=FH)
    exact = told(static_covariates=names).fit(short, X=X.loc[short.index], fh=FH)
    assert torch.equal(traits_of(longer).static, traits_of(exact).static)
    assert longer.predict().equals(exact.predict())


def test_static_covariates_that_were_pretrained_with_fit_other_series():
    X = by_series(PAIR, size={"a": 3.0, "b": 5.0}, kind={"a": "x", "b": "y"})
    pretrained = told(static_covariates=["size", "kind"]).pretrain(PAIR, X=X, fh=FH)
    y = panel({"p": 30, "q": 9}, seed=4)
    own = by_series(y, size={"p": 3.0, "q": 5.0}, kind={"p": "y", "q": "unknown"})
    forecaster = pretrained.clone().fit(y, X=own, fh=FH)
    scaled = pretrained.pretrained_model_.encoder.static_scaling["size"](np.array([3.0, 5.0]))
    np.testing.assert_allclose(traits_of(forecaster).static[:, 0], scaled, rtol=1e-6)
    assert traits_of(forecaster).static[:, 1].tolist() == [2.0, 0.0]
    with pytest.raises(ValueError, match="size"):
        pretrained.clone().fit(y, fh=FH)


# The identity of a series.

AS_IT_IS = {"scaler": None, "window_norm": None, "target_lags": (), "time_features": ()}


def two_levels(embedding):
    """Train on a series of zeros and one of fives, then let both go on alike."""
    months = pd.period_range("2019-01", periods=ROWS, freq="M")
    rng = np.random.default_rng(0)
    own = {key: pd.Series(value + rng.normal(size=ROWS), months) for key, value in LEVELS.items()}
    y = pd.concat(own, names=["key", "month"]).to_frame("y")
    parameters = {**TINY, "max_epochs": 10, "lr": 0.03, "calibration": "none", **AS_IT_IS}
    forecaster = SkorchForecaster(Plain, **parameters, series_embedding=embedding).fit(y, fh=FH)
    new = pd.Series(2.5, pd.period_range(months[-1] + 1, periods=9, freq="M"))
    both = pd.concat({key: new for key in LEVELS}, names=["key", "month"]).to_frame("y")
    return forecaster.update(both, update_params=False)


LEVELS = {"zeros": 0.0, "fives": 5.0}


def test_an_embedding_tells_series_of_the_same_history_apart():
    without, told_apart = (two_levels(embedding).predict() for embedding in (False, True))
    np.testing.assert_array_equal(without.loc["zeros"], without.loc["fives"])
    difference = told_apart.loc["fives"] - told_apart.loc["zeros"]
    assert (difference["y"] > 1.0).all()


def test_a_new_series_has_the_neutral_vector_and_is_forecast():
    forecaster = tiny(series_embedding=True).fit(PAIR, fh=FH)
    old = forecaster.predict()
    forecaster.update(panel({"new": 20}, seed=7), update_params=False)
    assert traits_of(forecaster).identity.tolist() == [1.0, 2.0, 0.0]
    close(forecaster.predict().loc[["a", "b"]], old)
    assert np.isfinite(forecaster.predict_interval(fh=[-3, 1, 9])).all(axis=None)
    table = forecaster.net_.module_.embedding.tables[0].weight
    before = forecaster.predict()
    with torch.no_grad():
        table[1:] += 1.0
    assert forecaster.predict().loc["new"].equals(before.loc["new"])
    assert not forecaster.predict().loc["a"].equals(before.loc["a"])
    forecaster.update(panel({"newer": 20}, seed=8), update_params=True)
    assert traits_of(forecaster).identity.tolist() == [1.0, 2.0, 0.0, 0.0]


def test_every_node_of_a_hierarchy_has_its_own_vector():
    y = Aggregator().fit_transform(hierarchy())
    forecaster = tiny(series_embedding=True).fit(y, fh=FH)
    number = len(forecaster._fitted.history.keys)
    assert number == 7
    assert traits_of(forecaster).identity.tolist() == list(range(1, 8))
    assert forecaster.net_.module_.embedding.cardinalities == (7,)
    forecaster.update(hierarchy(ROWS + 2).groupby(level=[0, 1]).tail(2), update_params=False)
    assert traits_of(forecaster).identity.tolist() == list(range(1, 8))
    assert len(forecaster.predict()) == 7 * len(FH)


def test_after_pretraining_known_series_keep_their_vectors():
    y = panel({"a": ROWS, "b": ROWS, "c": ROWS})
    pretrained = tiny(series_embedding=True, finetune_epochs=0).pretrain(y, fh=FH)
    some = panel({"b": 20, "other": 30, "a": 7}, seed=4)
    forecaster = pretrained.clone().fit(some, fh=FH)
    assert traits_of(forecaster).identity.tolist() == [2.0, 0.0, 1.0]
    single = pretrained.clone().fit(series(), fh=FH)
    assert traits_of(single).identity.tolist() == [0.0]
    deeper = pretrained.clone().fit(hierarchy().rename(columns={"sales": "y"}), fh=FH)
    assert traits_of(deeper).identity.tolist() == [0.0] * 4
    for fitted in (forecaster, single, deeper):
        assert np.isfinite(fitted.predict()).all(axis=None)


def test_an_embedding_does_a_single_series_no_harm():
    forecaster = tiny(series_embedding=True).fit(series(), fh=FH)
    assert traits_of(forecaster).identity.tolist() == [1.0]
    assert forecaster.net_.module_.embedding.cardinalities == (1,)
    assert np.isfinite(forecaster.predict(fh=[-3, 1, 9])).all()
    forecaster.update(series(ROWS + 2)[ROWS:], update_params=True)
    assert traits_of(forecaster).identity.tolist() == [1.0]


# Many series in one pass.


def count_passes(monkeypatch):
    """Return a list that gets the number of windows of every forward pass."""
    sizes, outputs = [], ForecastNet.outputs

    def counted(net, inputs):
        sizes.append(len(inputs["past"]))
        return outputs(net, inputs)

    monkeypatch.setattr(ForecastNet, "outputs", counted)
    return sizes


def test_a_panel_is_forecast_in_one_pass_and_the_past_in_full_ones(monkeypatch):
    y = panel({f"s{number}": 40 + number for number in range(7)})
    monkeypatch.setattr(models, "WINDOWS_PER_PASS", {"cpu": 100})
    forecaster = tiny(device="cpu").fit(y, fh=FH)
    passes = count_passes(monkeypatch)
    assert len(y) == 301
    every, steps = [100, 100, 100, 1], range(-39, 1)
    calls = {
        "predict": (lambda: forecaster.predict(fh=FH), [7]),
        "intervals": (lambda: forecaster.predict_interval(fh=FH), [7]),
        "residuals": (forecaster.predict_residuals, every),
        "residuals of y": (lambda: forecaster.predict_residuals(y), every),
        "past": (lambda: forecaster.predict(fh=steps), [100, 100, 80]),
        "past intervals": (lambda: forecaster.predict_interval(fh=steps), [100, 100, 80]),
        "both": (lambda: forecaster.predict(fh=[-1, 0, *FH]), [14, 7]),
    }
    for name, (call, expected) in calls.items():
        passes.clear()
        call()
        assert passes == expected, name


@pytest.mark.parametrize("embedding", [False, True])
def test_a_series_is_forecast_alone_as_among_others(embedding, monkeypatch):
    y = panel({"a": 41, "b": 1, "c": 5, "d": 33, "e": 12})
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"heat": rng.normal(size=len(y))}, y.index)
    own = {"past_covariates": ["heat"], "series_embedding": embedding}
    forecaster = tiny(**own, device="cpu").fit(y, X=X, fh=FH)
    alphas = [0.05, 0.5, 0.95]
    answers = {
        "points": lambda: forecaster.predict(fh=[0, 1, 2, 3, 8]),
        "quantiles": lambda: forecaster.predict_quantiles(fh=[0, 1, 3], alpha=alphas),
        "paths": lambda: forecaster.predict_quantiles(fh=[8], alpha=alphas),
        "residuals": forecaster.predict_residuals,
    }
    together = {name: answer() for name, answer in answers.items()}
    monkeypatch.setattr(models, "WINDOWS_PER_PASS", {"cpu": 1})
    monkeypatch.setattr(models, "SAMPLE_BUDGET", 1)
    passes = count_passes(monkeypatch)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer(), together[name], rtol=1e-4, atol=1e-4, err_msg=name)
    assert set(passes) == {1}


# Hierarchies.


def names_of(frame):
    return list(frame.index.names), frame.index.droplevel(-1).unique().tolist()


def test_names_and_order_of_levels_stay_everywhere():
    y = Aggregator().fit_transform(hierarchy())
    early = y.groupby(level=[0, 1], group_keys=False).head(ROWS - 9)
    late = y.drop(early.index)
    expected = names_of(early)
    assert expected[0] == ["region", "shop", "month"]
    assert ("north", "one") in expected[1] and ("__total", "__total") in expected[1]
    forecaster = tiny().fit(early, fh=FH)
    cv = SlidingWindowSplitter(fh=FH, window_length=2, step_length=3)
    answers = {
        "predict": forecaster.predict(),
        "in-sample": forecaster.predict(fh=[-1, 0]),
        "predict_interval": forecaster.predict_interval(),
        "predict_quantiles": forecaster.predict_quantiles(fh=[-1, 2, 9]),
        "predict_residuals": forecaster.predict_residuals(),
        "update_predict": forecaster.update_predict(late, cv, update_params=False),
        "update_predict_single": forecaster.update_predict_single(late, update_params=False),
        "backtest": forecaster.backtest(y, None, cv, return_data=True)["y_pred"].iloc[-1],
    }
    for name, answer in answers.items():
        assert names_of(answer) == expected, name


@pytest.mark.parametrize("method", ["bu", "td_fcst"])
def test_reconciled_totals_still_add_up_after_updates(method):
    early = hierarchy().groupby(level=[0, 1], group_keys=False).head(ROWS - 5)
    pipeline = Aggregator() * ReconcilerForecaster(tiny(series_embedding=True), method=method)
    pipeline.fit(early, fh=FH).update(hierarchy().drop(early.index), update_params=False)
    forecast = pipeline.predict()
    assert list(forecast.index.names) == ["region", "shop", "month"]
    bottom = forecast.drop("__total", level="shop")
    for region in ("north", "east"):
        parent = forecast.loc[(region, "__total")]
        np.testing.assert_allclose(parent, bottom.loc[region].groupby("month").sum(), rtol=1e-9)
    total = forecast.loc[("__total", "__total")]
    np.testing.assert_allclose(total, bottom.groupby("month").sum(), rtol=1e-9)


# Pretraining.


@pytest.mark.parametrize("loss", ["quantile", "mse", "normal"])
def test_zero_shot_forecasts_follow_the_scale_of_other_series(loss):
    pretrained = tiny(finetune_epochs=0, loss=loss).pretrain(PAIR, fh=FH)
    y = series(30, seed=9)
    forecaster = pretrained.clone().fit(y, fh=FH)
    large = pretrained.clone().fit((1000 * y).rename("load"), fh=FH)
    steps = [-5, 0, 1, 3, 9]
    close(large.predict(fh=steps), 1000 * forecaster.predict(fh=steps), rtol=1e-4)
    assert large.predict().name == "load"
    one, other = (own.predict_quantiles(fh=steps, alpha=[0.1, 0.9]) for own in (forecaster, large))
    np.testing.assert_allclose(other, 1000 * one, rtol=1e-4)
    assert other.columns.get_level_values(0).unique().tolist() == ["load"]


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("rows", [1, 2, 5, 300])
def test_a_pretrained_network_takes_series_of_any_length(rows, epochs):
    pretrained = tiny(finetune_epochs=epochs).pretrain(PAIR, fh=FH)
    forecaster = pretrained.fit(series(rows, seed=3), fh=FH)
    assert forecaster.context_length_ == 7
    assert np.isfinite(forecaster.predict(fh=[1, 3, 9])).all()
    assert np.isfinite(forecaster.predict_interval(fh=[1, 3, 9])).all(axis=None)
    panels = pretrained.clone().fit(panel({"x": rows, "y": 1, "z": 50}), fh=FH)
    assert np.isfinite(panels.predict()).all(axis=None)


class FirstWeights(Callback):
    """Keeps the weights at every begin of a training."""

    seen = []

    def on_train_begin(self, net, **kwargs):
        self.seen.append(weights(net))


def test_a_second_pretraining_begins_where_the_first_ended():
    FirstWeights.seen = []
    training = {"max_epochs": 2, "calibration": "none"}  # one training in each pretraining
    forecaster = tiny(**training, callbacks=[FirstWeights()]).pretrain(PAIR, fh=FH)
    once = weights(forecaster.pretrained_model_.members[0])
    forecaster.pretrain(panel({"p": 30, "q": 35}, seed=5), fh=FH)
    (net,) = forecaster.pretrained_model_.members
    assert len(FirstWeights.seen) == 2
    assert not changed(FirstWeights.seen[1], once)
    assert changed(weights(net), once)
    assert net.history[:, "epoch"] == [1, 2, 3, 4]
    forecaster.fit(series(), fh=FH)
    assert not changed(FirstWeights.seen[2], weights(net))
    assert forecaster.net_.history[:, "epoch"] == [1, 2, 3, 4, 5, 6]


def test_a_freezer_after_the_epochs_of_pretraining_freezes_in_fine_tuning_alone():
    def fitted(**parameters):
        forecaster = tiny(max_epochs=2, calibration="none", **parameters).pretrain(PAIR, fh=FH)
        before = weights(forecaster.pretrained_model_.members[0])
        forecaster.fit(series(seed=6), fh=FH)
        return before, weights(forecaster.net_), forecaster

    freezer = Freezer(["encoder*", "recurrent.encoder*"], at=3)
    before, after, forecaster = fitted(callbacks=[freezer])
    plain, tuned, _ = fitted()
    assert not changed(before, plain)
    frozen = {name for name in before if name.startswith(("encoder", "recurrent.encoder"))}
    assert len(frozen) > 4
    assert not changed(before, after) & frozen
    assert changed(plain, tuned) & frozen
    assert changed(before, after) >= {"output.weight", "output.bias"}
    forecaster.update(series(ROWS + 5, seed=6)[ROWS:], update_params=True)
    assert not changed(before, weights(forecaster.net_)) & frozen  # they stay so in updates


def test_callbacks_set_after_pretraining_take_part_in_fine_tuning():
    forecaster = tiny(max_epochs=2, calibration="none").pretrain(PAIR, fh=FH)
    before = weights(forecaster.pretrained_model_.members[0])
    forecaster.callbacks = [Freezer("encoder*", at=3)]
    moved = changed(before, weights(forecaster.fit(series(seed=6), fh=FH).net_))
    assert moved
    assert not any(name.startswith("encoder") for name in moved)
    forecaster.callbacks = None
    moved = changed(before, weights(forecaster.fit(series(seed=6), fh=FH).net_))
    assert any(name.startswith("encoder") for name in moved)


def test_parameters_frozen_by_hand_stay_so_in_fine_tuning():
    pretrained = tiny().pretrain(PAIR, fh=FH)
    for name, parameter in pretrained.pretrained_model_.members[0].module_.named_parameters():
        parameter.requires_grad_(not name.startswith("encoder"))
    before = weights(pretrained.pretrained_model_.members[0])
    moved = changed(before, weights(pretrained.clone().fit(series(), fh=FH).net_))
    assert moved
    assert not any(name.startswith("encoder") for name in moved)


# Updates that train.


def moments(net):
    """Return the optimiser's state for every parameter by name: steps and first moments."""
    state = net.optimizer_.state
    return {
        name: (int(state[value]["step"]), state[value]["exp_avg"].clone())
        for name, value in net.module_.named_parameters()
        if value in state
    }


class MomentsAtBegin(Callback):
    """Keeps the optimiser's state at the begin of every training."""

    seen = []

    def on_train_begin(self, net, **kwargs):
        self.seen.append(moments(net))


def test_an_update_goes_on_with_the_state_of_the_optimiser():
    MomentsAtBegin.seen = []
    forecaster = tiny(callbacks=[MomentsAtBegin()], calibration="none").fit(series(), fh=FH)
    trained, steps = moments(forecaster.net_), len(forecaster.net_.history[-1]["batches"])
    assert len(trained) > 10
    assert {number for number, _ in trained.values()} == {steps}
    forecaster.update(series(ROWS + 6)[ROWS:], update_params=True)
    begun, ended = MomentsAtBegin.seen[-1], moments(forecaster.net_)
    more = len(forecaster.net_.history[-1]["batches"])
    for name, (_, moment) in trained.items():
        assert torch.equal(begun[name][1], moment)
        assert ended[name][0] == steps + more
        assert not torch.equal(ended[name][1], moment) or not moment.any()


def test_late_rows_are_merged_before_training():
    y = panel({"a": ROWS, "b": ROWS})
    early = y.groupby(level=0, group_keys=False).head(ROWS - 5)
    forecaster = tiny().fit(early, fh=FH)
    scaling = forecaster._fitted.history.loc.copy(), forecaster._fitted.history.scale.copy()
    before = weights(forecaster.net_)
    revised = y.groupby(level=0, group_keys=False).tail(9) + 3.0  # four rows old, five new
    forecaster.update(revised, update_params=True)
    assert changed(before, weights(forecaster.net_))
    np.testing.assert_array_equal(forecaster._fitted.history.loc, scaling[0])
    np.testing.assert_array_equal(forecaster._fitted.history.scale, scaling[1])
    seen = forecaster.predict_residuals() + forecaster.predict(fh=range(1 - ROWS, 1))
    np.testing.assert_allclose(seen, revised.combine_first(y), rtol=1e-5)


def test_corrections_of_old_rows_alone_are_no_reason_to_train():
    y = series()
    forecaster = tiny().fit(y, fh=FH)
    before, stale = weights(forecaster.net_), forecaster.predict()
    with pytest.warns(UserWarning, match="without a new row: 3 rows .* Nothing is learnt"):
        forecaster.update(y[-3:] + 5.0, update_params=True)
    assert not changed(before, weights(forecaster.net_))
    assert not forecaster.predict().equals(stale)


def test_a_missing_static_number_is_the_mean_of_the_scaled_ones():
    y = panel({"a": ROWS, "b": ROWS, "c": ROWS, "d": ROWS})
    X = by_series(y, size={"a": 3.0, "b": 5.0, "c": np.nan, "d": 13.0})
    forecaster = told(static_covariates=["size"], scaler=None).fit(y, X=X, fh=FH)
    static = traits_of(forecaster).static[:, 0].numpy()
    assert static[0] < static[1] < static[3]
    np.testing.assert_allclose(static[2], static[[0, 1, 3]].mean(), rtol=1e-6)
    assert static[2] > 6


def test_all_rows_of_a_new_series_are_new_also_where_it_begins_before_the_others():
    y = panel({"a": ROWS, "b": ROWS})
    forecaster = told().fit(y, fh=FH)
    times = y.index.levels[-1]
    early = times[0] - np.arange(60, 40, -1) * (times[1] - times[0])  # twenty rows
    later = y.loc[["a"]].iloc[:20].set_axis(pd.MultiIndex.from_product([["c"], early]))
    found = []
    forecaster._fitted.updated(later, None, False, lambda *data: found.append(data[-1]) or data[0])
    assert found[0].tolist() == [0, 0, 20]
