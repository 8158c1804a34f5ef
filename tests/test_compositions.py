"""The forecasters inside sktime's compositions, tuners and evaluators, under skorch's callbacks."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, Freezer, LRScheduler
from sktime.forecasting.base import ForecastingHorizon
from sktime.forecasting.compose import (
    BaggingForecaster,
    ColumnEnsembleForecaster,
    EnsembleForecaster,
    ForecastingPipeline,
    ForecastX,
    MultiplexForecaster,
    Permute,
    TransformedTargetForecaster,
)
from sktime.forecasting.conformal import ConformalIntervals
from sktime.forecasting.model_evaluation import evaluate
from sktime.forecasting.model_selection import (
    ForecastingGridSearchCV,
    ForecastingRandomizedSearchCV,
)
from sktime.forecasting.naive import NaiveForecaster
from sktime.forecasting.reconcile import ReconcilerForecaster
from sktime.forecasting.stream import UpdateRefitsEvery
from sktime.forecasting.trend import TrendForecaster
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import (
    ExpandingWindowSplitter,
    SlidingWindowSplitter,
    temporal_train_test_split,
)
from sktime.transformations.bootstrap import MovingBlockBootstrapTransformer
from sktime.transformations.detrend import Detrender
from sktime.transformations.difference import Differencer
from sktime.transformations.exponent import ExponentTransformer
from sktime.transformations.hierarchical.aggregate import Aggregator

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import AttentionLSTM
from tests.setups import TRAINING

FH = [1, 2, 3]
ROWS = 47


def tiny(**parameters):
    return TransformerLSTMForecaster(**{"d_model": 4, "num_heads": 2, **TRAINING, **parameters})


def tiny_general(**module_params):
    module_params = {"d_model": 4, "num_heads": 2, "num_layers": 1, **module_params}
    return SkorchForecaster(AttentionLSTM, module_params, **TRAINING)


def series(rows=ROWS, seed=0, name="y", start="2020-01"):
    """Return a positive monthly series with a yearly season and a trend."""
    time = np.arange(rows)
    noise = np.random.default_rng(seed).normal(size=rows)
    values = 100 + time + 10 * np.sin(time / 12 * 2 * np.pi) + noise
    return pd.Series(values, pd.period_range(start, periods=rows, freq="M"), name=name)


def covariates(rows=ROWS, seed=1):
    return pd.DataFrame({"a": series(rows, seed), "b": series(rows, seed + 1) ** 2})


def split(rows=ROWS, test=3):
    return temporal_train_test_split(series(rows), covariates(rows), test_size=test)


def assert_equal(forecast, expected):
    """Compare two forecasts whose arithmetic may differ in the order of float64 operations."""
    if isinstance(forecast, pd.Series):
        pd.testing.assert_series_equal(forecast, expected, rtol=1e-9, check_freq=False)
    else:
        pd.testing.assert_frame_equal(forecast, expected, rtol=1e-9, check_freq=False)


# Pipelines.


def test_temporal_train_test_split_gives_the_frames_that_fit_and_predict_take():
    y_train, y_test, X_train, X_test = split()
    forecast = tiny().fit(y_train, X=X_train, fh=y_test.index).predict(X=X_test)
    assert forecast.index.equals(y_test.index)
    assert forecast.name == "y"
    assert np.isfinite(forecast).all()
    assert MeanAbsoluteError()(y_test, forecast) < 60


@pytest.mark.parametrize("spelling", ["class", "**"])
def test_forecasting_pipeline_equals_transforming_x_by_hand(spelling):
    y_train, _, X_train, X_test = split()
    root = ExponentTransformer(power=0.5)
    pipeline = root ** tiny()
    if spelling == "class":
        pipeline = ForecastingPipeline([("root", root), ("forecaster", tiny())])
    by_hand = tiny().fit(y_train, X=X_train**0.5, fh=FH)
    pipeline.fit(y_train, X=X_train, fh=FH)
    assert_equal(pipeline.predict(X=X_test), by_hand.predict(X=X_test**0.5))
    assert_equal(
        pipeline.predict_quantiles(X=X_test, alpha=[0.1, 0.9]),
        by_hand.predict_quantiles(X=X_test**0.5, alpha=[0.1, 0.9]),
    )


@pytest.mark.parametrize("spelling", ["class", "*"])
def test_transformed_target_forecaster_equals_differencing_by_hand(spelling):
    y = series()
    pipeline = Differencer() * tiny()
    if spelling == "class":
        steps = [("difference", Differencer()), ("forecaster", tiny())]
        pipeline = TransformedTargetForecaster(steps)
    forecast = pipeline.fit(y, fh=FH).predict()
    differences = tiny().fit(y.diff().fillna(0.0), fh=FH).predict()
    assert_equal(forecast, y.iloc[-1] + differences.cumsum())


def test_detrender_shifts_forecast_and_intervals_alike():
    y = series()
    pipeline = (Detrender(TrendForecaster()) * tiny()).fit(y, fh=FH)
    trend = TrendForecaster().fit(y)
    around = y - trend.predict(fh=ForecastingHorizon(y.index, is_relative=False))
    by_hand = tiny().fit(around.rename("y"), fh=FH)
    ahead = trend.predict(fh=FH)
    assert_equal(pipeline.predict(), (by_hand.predict() + ahead).rename("y"))
    interval = pipeline.predict_interval(coverage=0.8)
    assert_equal(interval, by_hand.predict_interval(coverage=0.8).add(ahead, axis=0))


def test_deseasonalizer_equals_deseasonalizing_by_hand():
    pytest.importorskip("statsmodels")
    from sktime.transformations.detrend import Deseasonalizer

    y = series()
    pipeline = (Deseasonalizer(sp=12) * tiny()).fit(y, fh=FH)
    deseasonalizer = Deseasonalizer(sp=12)
    forecast = tiny().fit(deseasonalizer.fit_transform(y), fh=FH).predict()
    assert_equal(pipeline.predict(), deseasonalizer.inverse_transform(forecast))


def test_transformers_of_x_and_of_y_nest():
    y_train, _, X_train, X_test = split()
    pipeline = ExponentTransformer(power=0.5) ** (Differencer() * tiny())
    forecast = pipeline.fit(y_train, X=X_train, fh=FH).predict(X=X_test)
    by_hand = tiny().fit(y_train.diff().fillna(0.0), X=X_train**0.5, fh=FH)
    assert_equal(forecast, y_train.iloc[-1] + by_hand.predict(X=X_test**0.5).cumsum())


def test_pipeline_updates_its_forecaster():
    y = series()
    pipeline = (Differencer() * tiny()).fit(y[:-5], fh=FH)
    stale = pipeline.predict()
    pipeline.update(y[-5:], update_params=False)
    fresh = pipeline.predict()
    assert fresh.index[0] == y.index[-1] + 1
    assert not np.allclose(fresh.diff()[1:], stale.diff()[1:])


def test_permute_equals_the_permuted_pipeline():
    y = series()
    steps = [("difference", Differencer()), ("root", ExponentTransformer()), ("net", tiny())]
    steps[1] = ("detrend", Detrender(TrendForecaster()))
    pipeline = TransformedTargetForecaster(steps)
    permuted = Permute(pipeline, permutation=["detrend", "difference", "net"]).fit(y, fh=FH)
    by_hand = TransformedTargetForecaster([steps[1], steps[0], steps[2]]).fit(y, fh=FH)
    assert_equal(permuted.predict(), by_hand.predict())


def test_forecast_x_forecasts_the_covariates_first():
    y_train, _, X_train, _ = split()
    forecast = ForecastX(tiny(), tiny(lr=0.01)).fit(y_train, X=X_train, fh=FH).predict()
    X_ahead = tiny(lr=0.01).fit(X_train, fh=FH).predict()
    assert_equal(forecast, tiny().fit(y_train, X=X_train, fh=FH).predict(X=X_ahead))


def test_forecast_x_with_known_columns_forecasts_only_the_others():
    y_train, _, X_train, X_test = split()
    composite = ForecastX(tiny(), NaiveForecaster(), columns=["b"])
    forecast = composite.fit(y_train, X=X_train, fh=FH).predict(X=X_test[["a"]])
    X_ahead = X_test.assign(b=X_train["b"].iloc[-1])
    assert_equal(forecast, tiny().fit(y_train, X=X_train, fh=FH).predict(X=X_ahead))


# Ensembles and choices.


def test_column_ensemble_gives_each_column_its_own_forecaster():
    y = pd.DataFrame({"a": series(seed=0), "b": series(seed=1)})
    ensemble = ColumnEnsembleForecaster([("one", tiny(), "a"), ("two", tiny(lr=0.01), "b")])
    forecast = ensemble.fit(y, fh=FH).predict()
    assert list(forecast.columns) == ["a", "b"]
    for name, member in {"a": tiny(), "b": tiny(lr=0.01)}.items():
        alone = member.fit(y[name], fh=FH).predict()
        np.testing.assert_allclose(forecast[name], alone, rtol=1e-9)


def test_ensemble_forecaster_is_the_mean_of_its_members():
    y = series()
    members = [("one", tiny()), ("two", tiny_general()), ("three", tiny(random_state=5))]
    forecast = EnsembleForecaster(members).fit(y, fh=FH).predict()
    alone = [member.clone().fit(y, fh=FH).predict() for _, member in members]
    np.testing.assert_allclose(forecast, np.mean(alone, axis=0), rtol=1e-9)
    assert forecast.index.equals(alone[0].index)


def test_bagging_trains_on_bootstrapped_series():
    y = series()
    bootstrap = MovingBlockBootstrapTransformer(n_series=3, block_length=7, random_state=0)
    bagging = BaggingForecaster(bootstrap, tiny(), random_state=0).fit(y, fh=FH)
    forecast = bagging.predict()
    assert forecast.index.equals(pd.period_range(y.index[-1] + 1, periods=3, freq="M"))
    assert np.isfinite(forecast).all()
    again = BaggingForecaster(bootstrap.clone(), tiny(), random_state=0).fit(y, fh=FH)
    assert_equal(again.predict(), forecast)
    interval = bagging.predict_interval(coverage=0.8)
    assert (interval.iloc[:, 0] <= interval.iloc[:, 1]).all()


def test_conformal_intervals_surround_our_point_forecast():
    y = series()
    conformal = ConformalIntervals(tiny(), method="conformal", initial_window=40)
    conformal.fit(y, fh=[1, 2])
    forecast = conformal.predict()
    assert_equal(forecast, tiny().fit(y, fh=[1, 2]).predict())
    narrow, wide = (conformal.predict_interval(coverage=level) for level in (0.5, 0.9))
    assert np.isfinite(wide).all(axis=None)
    assert (wide.iloc[:, 0] <= narrow.iloc[:, 0]).all()
    assert (narrow.iloc[:, 1] <= wide.iloc[:, 1]).all()
    assert (narrow.iloc[:, 0] < forecast).all()
    assert (forecast < narrow.iloc[:, 1]).all()


def test_multiplex_forecaster_is_the_one_selected():
    y = series()
    choices = [("naive", NaiveForecaster()), ("net", tiny())]
    multiplex = MultiplexForecaster(choices, selected_forecaster="net").fit(y, fh=FH)
    assert_equal(multiplex.predict(), tiny().fit(y, fh=FH).predict())


def hierarchy(rows=37):
    """Return the bottom level of a hierarchy: two regions of two shops."""
    shops = [(region, shop) for region in "NS" for shop in ("one", "two")]
    frames = [series(rows, seed=seed).to_frame("sales") for seed in range(len(shops))]
    return pd.concat(frames, keys=shops, names=["region", "shop", "month"])


@pytest.mark.parametrize("method", ["bu", "ols", "td_fcst"])
def test_reconciled_hierarchy_adds_up(method):
    pipeline = Aggregator() * ReconcilerForecaster(tiny(), method=method)
    forecast = pipeline.fit(hierarchy(), fh=FH).predict()
    bottom = forecast.drop("__total", level="shop")["sales"]
    regions = bottom.groupby(["region", "month"]).sum()
    assert len(forecast) == (4 + 2 + 1) * len(FH)
    for region in "NS":
        parent = forecast.loc[(region, "__total"), "sales"]
        np.testing.assert_allclose(parent, regions.loc[region], rtol=1e-9)
    total = forecast.loc[("__total", "__total"), "sales"]
    np.testing.assert_allclose(total, bottom.groupby("month").sum(), rtol=1e-9)


def test_reconciler_does_not_change_what_the_network_forecasts_at_the_bottom():
    forecast = ReconcilerForecaster(tiny(), method="bu").fit(hierarchy(), fh=FH).predict()
    plain = tiny().fit(hierarchy(), fh=FH).predict()
    np.testing.assert_allclose(forecast.loc[plain.index], plain, rtol=1e-9)


def test_update_refits_every_updates_first_and_refits_after_the_interval():
    y = series()
    stream = UpdateRefitsEvery(tiny(), refit_interval=6).fit(y[:-8], fh=FH)
    stream.update(y[-8:-5])
    updated = tiny().fit(y[:-8], fh=FH).update(y[-8:-5])
    assert_equal(stream.predict(), updated.predict())
    stream.update(y[-5:])
    assert_equal(stream.predict(), tiny().fit(y, fh=FH).predict())


# Evaluation and tuning.


def splitter(kind):
    if kind == "expanding":
        return ExpandingWindowSplitter(fh=FH, initial_window=35, step_length=4)
    return SlidingWindowSplitter(fh=FH, window_length=35, step_length=4)


@pytest.mark.parametrize("kind", ["expanding", "sliding"])
@pytest.mark.parametrize("strategy", ["refit", "update", "no-update_params"])
def test_evaluate_equals_the_loop_written_out(kind, strategy):
    y, X = series(), covariates()
    cv = splitter(kind)
    results = evaluate(tiny(), cv, y, X, strategy=strategy, return_data=True, error_score="raise")
    forecaster, expected = None, []
    for train, test in cv.split(y):
        if forecaster is None or strategy == "refit":
            forecaster = tiny().fit(y.iloc[train], X=X.iloc[train], fh=FH)
        else:
            trains = strategy == "update"
            forecaster.update(y.iloc[train], X=X.iloc[train], update_params=trains)
        expected.append(forecaster.predict(X=X.iloc[test]))
    assert len(results) == len(expected) == 3
    for forecast, other in zip(results["y_pred"], expected, strict=True):
        assert_equal(forecast, other)
    assert results["test_MeanAbsolutePercentageError"].between(0, 1).all()


def test_evaluate_strategies_differ():
    y, cv = series(), splitter("expanding")
    last = {}
    for strategy in ("refit", "update", "no-update_params"):
        results = evaluate(tiny(), cv, y, strategy=strategy, return_data=True)
        last[strategy] = results["y_pred"].iloc[-1].to_numpy()
    assert not np.allclose(last["refit"], last["update"], rtol=1e-6)
    assert not np.allclose(last["update"], last["no-update_params"], rtol=1e-6)


def mean_score(forecaster, y, cv):
    results = evaluate(forecaster, cv, y, scoring=MeanAbsoluteError(), error_score="raise")
    return results["test_MeanAbsoluteError"].mean()


def tuning_splitter():
    return ExpandingWindowSplitter(fh=FH, initial_window=ROWS - 5, step_length=2)


def test_grid_search_scores_every_setting_and_refits_the_best():
    y, cv = series(), tuning_splitter()
    grid = {"d_model": [2, 8], "lr": [1e-3, 1e-1]}
    search = ForecastingGridSearchCV(
        tiny(), cv, grid, scoring=MeanAbsoluteError(), backend="None", error_score="raise"
    ).fit(y, fh=FH)
    assert len(search.cv_results_) == 4
    for params, score in zip(
        search.cv_results_["params"],
        search.cv_results_["mean_test_MeanAbsoluteError"],
        strict=True,
    ):
        assert score == pytest.approx(mean_score(tiny(**params), y, cv), rel=1e-9)
    assert search.cv_results_["mean_test_MeanAbsoluteError"].nunique() == 4
    assert search.best_score_ == search.cv_results_["mean_test_MeanAbsoluteError"].min()
    network = search.best_forecaster_.net_.module_
    assert network.output.in_features == search.best_params_["d_model"]
    assert_equal(search.predict(), tiny(**search.best_params_).fit(y, fh=FH).predict())


def test_randomized_search_draws_from_distributions():
    y, cv = series(), tuning_splitter()
    search = ForecastingRandomizedSearchCV(
        tiny(),
        cv,
        {"lr": np.geomspace(1e-4, 1e-1, 50).tolist(), "d_model": [2, 4]},
        n_iter=3,
        random_state=0,
        scoring=MeanAbsoluteError(),
        backend="None",
        error_score="raise",
    ).fit(y, fh=FH)
    assert len(search.cv_results_) == 3
    best = tiny(**search.best_params_)
    assert search.best_score_ == pytest.approx(mean_score(best, y, cv), rel=1e-9)
    assert_equal(search.predict(), best.fit(y, fh=FH).predict())


MODULE_PARAMS = [
    {"d_model": 2, "num_heads": 2, "num_layers": 1},
    {"d_model": 6, "num_heads": 1, "num_layers": 2},
]


def test_module_params_are_tuned_as_a_list_of_dicts():
    y, cv = series(), tuning_splitter()
    search = ForecastingGridSearchCV(
        tiny_general(),
        cv,
        {"module_params": MODULE_PARAMS},
        scoring=MeanAbsoluteError(),
        backend="None",
    ).fit(y, fh=FH)
    expected = [mean_score(tiny_general(**params), y, cv) for params in MODULE_PARAMS]
    scores = search.cv_results_["mean_test_MeanAbsoluteError"]
    np.testing.assert_allclose(scores, expected, rtol=1e-9)
    assert search.best_params_ == {"module_params": MODULE_PARAMS[int(np.argmin(expected))]}
    assert search.best_forecaster_.module_params == search.best_params_["module_params"]


@pytest.mark.slow
def test_grid_search_over_loky_workers_gives_the_same_scores():
    y, cv = series(), tuning_splitter()
    scores = {}
    for backend in ("None", "loky"):
        search = ForecastingGridSearchCV(
            tiny_general(),
            cv,
            {"module_params": MODULE_PARAMS, "lr": [1e-3, 1e-1]},
            scoring=MeanAbsoluteError(),
            backend=backend,
            backend_params={"n_jobs": 2} if backend == "loky" else None,
            error_score="raise",
        ).fit(y, fh=FH)
        scores[backend] = search.cv_results_["mean_test_MeanAbsoluteError"].to_numpy()
    np.testing.assert_array_equal(scores["loky"], scores["None"])


def test_tuning_reaches_through_a_pipeline():
    y, cv = series(), tuning_splitter()
    pipeline = TransformedTargetForecaster([("difference", Differencer()), ("net", tiny())])
    grid = {"net__d_model": [2, 6]}
    search = ForecastingGridSearchCV(pipeline, cv, grid, backend="None").fit(y, fh=FH)
    fitted = search.best_forecaster_.steps_[-1][1]
    assert fitted.net_.module_.output.in_features == search.best_params_["net__d_model"]


def test_multiplex_forecaster_is_tuned():
    y, cv = series(), tuning_splitter()
    choices = [("net", tiny()), ("wide", tiny(d_model=8))]
    multiplex = MultiplexForecaster(choices)
    grid = {"selected_forecaster": ["net", "wide"]}
    search = ForecastingGridSearchCV(
        multiplex, cv, grid, scoring=MeanAbsoluteError(), backend="None"
    ).fit(y, fh=FH)
    scores = {name: mean_score(member, y, cv) for name, member in choices}
    assert search.best_params_ == {"selected_forecaster": min(scores, key=scores.get)}


# skorch: callbacks and net_params.


def test_early_stopping_callback_ends_training():
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9, sink=lambda text: None)
    training = {"max_epochs": 9, "calibration": "none"}  # one training
    forecaster = tiny(callbacks=[stop], **training).fit(series(), fh=FH)
    assert len(forecaster.net_.history) == 3  # the first, and two that are not better by 1e9
    assert len(tiny(**training).fit(series(), fh=FH).net_.history) == 9


def test_lr_scheduler_callback_sets_the_learning_rate():
    halve = LRScheduler(policy="StepLR", step_size=1, gamma=0.5, event_name="my_lr")
    training = {"max_epochs": 3, "lr": 0.08, "lr_schedule": None, "calibration": "none"}
    forecaster = tiny(callbacks=[halve], **training)
    forecaster.fit(series(), fh=FH)
    np.testing.assert_allclose(forecaster.net_.history[:, "my_lr"], [0.08, 0.04, 0.02])
    assert forecaster.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0.01)


def test_checkpoint_callback_writes_weights_that_load(tmp_path):
    keep = Checkpoint(monitor=None, dirname=tmp_path)
    forecaster = tiny(callbacks=[keep], max_epochs=2).fit(series(), fh=FH)
    stored = torch.load(tmp_path / "params.pt", weights_only=True)
    for name, value in forecaster.net_.module_.state_dict().items():
        torch.testing.assert_close(stored[name], value, rtol=0, atol=0)
    expected = forecaster.predict()
    torch.nn.init.zeros_(forecaster.net_.module_.output.weight)
    assert not forecaster.predict().equals(expected)
    forecaster.net_.load_params(checkpoint=keep)
    assert forecaster.predict().equals(expected)


def test_freezer_callback_keeps_the_frozen_weights():
    weights = {}
    for epochs in (1, 3):
        forecaster = tiny(callbacks=[Freezer("encoder*")], max_epochs=epochs)
        weights[epochs] = forecaster.fit(series(), fh=FH).net_.module_.state_dict()
    frozen = [name for name in weights[1] if name.startswith("encoder")]
    free = [name for name in weights[1] if name.startswith("output")]
    assert frozen and free
    for name in frozen:
        torch.testing.assert_close(weights[1][name], weights[3][name], rtol=0, atol=0)
    for name in free:
        assert not torch.equal(weights[1][name], weights[3][name])


def test_epoch_scoring_callback_records_its_score():
    def mean_output(net, X, y=None):
        return float(torch.cat(list(net.forward_iter(X))).detach().abs().mean())

    scoring = EpochScoring(mean_output, name="mean_output", on_train=True)
    validated = EpochScoring(mean_output, name="valid_output", on_train=False)
    forecaster = tiny(callbacks=[scoring, validated], max_epochs=2, validation_fraction=0.2)
    history = forecaster.fit(series(), fh=FH).net_.history
    assert len(history) == 2
    for name in ("mean_output", "valid_output"):
        assert np.isfinite(history[:, name]).all()
        assert len(set(history[:, name])) == 2


def test_the_callers_callbacks_are_copied():
    stop = EarlyStopping(monitor="train_loss")
    before = dict(vars(stop))
    tiny(callbacks=[stop], max_epochs=2).fit(series(), fh=FH)
    assert vars(stop) == before


def test_net_params_win_over_the_flat_parameters():
    params = {"optimizer": torch.optim.RMSprop, "optimizer__alpha": 0.5}
    forecaster = tiny(net_params=params).fit(series(), fh=FH)
    assert isinstance(forecaster.net_.optimizer_, torch.optim.RMSprop)
    assert forecaster.net_.optimizer_.defaults["alpha"] == 0.5
    assert params == {"optimizer": torch.optim.RMSprop, "optimizer__alpha": 0.5}
    assert not forecaster.predict().equals(tiny().fit(series(), fh=FH).predict())


def test_net_params_reach_the_data_loader():
    forecaster = tiny(net_params={"iterator_train__drop_last": True}, batch_size=7)
    forecaster.fit(series(), fh=FH)
    sizes = forecaster.net_.history[-1, "batches", :, "train_batch_size"]
    assert sizes == [7, 7]  # of 16 windows
