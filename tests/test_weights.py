"""Weights of rows and steps: what they do to the loss, and what they leave alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.data.sampling import WindowDataset
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import Head, PointHead, QuantileHead
from sktime_tlstm.nn.heads import LOSSES
from tests.setups import tiny

ROWS, FH = 60, [1, 2, 3]
INDEX = pd.date_range("2023-01-02", periods=ROWS, freq="D")
Y = pd.Series(np.sin(np.arange(ROWS) / 3) + np.arange(ROWS) / 50, INDEX, name="y")
X = pd.DataFrame({"a": np.cos(np.arange(ROWS) / 5)}, INDEX)
#: Nothing of a row's target reaches any input but as context of later windows.
BARE = {
    "scaler": None,
    "window_norm": None,
    "target_lags": (),
    "calibration": "none",
    "context_length": 5,
    "lr": 0.02,
    "max_epochs": 2,
    "max_windows_per_epoch": None,
    "loss": "mse",
}


def weighed(weights, covariates=X):
    """Return covariates with a column of weights, in the middle of them."""
    frame = covariates.copy()
    frame.insert(0, "w", weights)
    return frame


def parameters_of(forecaster):
    return [
        part.clone() for net in forecaster.members_ for part in net.module_.state_dict().values()
    ]


def same(one, other):
    pairs = zip(parameters_of(one), parameters_of(other), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def trained(y=Y, covariates=None, **parameters):
    forecaster = tiny(**{**BARE, "weight_column": "w", **parameters})
    return forecaster.fit(y, X=covariates, fh=FH)


def ends(*last):
    """Return weights that are 1 but in the last rows."""
    return np.append(np.ones(ROWS - len(last)), last)


#: Of the first 50 rows some are heavier.
EARLY = 1.0 + (np.arange(ROWS) % 7)


def changed(y, *rows, by=1e6):
    other = y.copy()
    other.iloc[list(rows)] += by
    return other


# The loss.


def outputs_of(head, windows=4, steps=3, targets=2):
    rng = torch.Generator().manual_seed(5)
    output = torch.randn(windows, steps, targets * head.num_parameters, generator=rng)
    target = torch.rand(windows, steps, targets, generator=rng) + 0.1
    units = (torch.full((windows, targets), 7.0),) if head.support == "count" else ()
    return output, target, units


@pytest.mark.parametrize("loss", LOSSES)
def test_whole_weights_are_repetitions_of_windows(loss):
    head = LOSSES[loss]()
    output, target, units = outputs_of(head)
    number = torch.tensor([2, 1, 0, 1])  # one in the mean
    weight = number[:, None].expand(-1, 3).float()
    repeated = [part.repeat_interleave(number, dim=0) for part in (output, target, *units)]
    expected = head(*repeated)
    torch.testing.assert_close(head(output, target, *units, weight=weight), expected)
    assert not torch.isclose(head(output, target, *units), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_target_of_weight_0_has_no_influence_on_loss_and_gradient(loss):
    head = LOSSES[loss]()
    output, target, units = outputs_of(head)
    weight = torch.ones(4, 3)
    weight[1, 2] = weight[3, 0] = 0.0
    results = []
    for value in (0.5, 1e30, torch.nan):
        wild = target.clone()
        wild[1, 2], wild[3, 0] = value, value
        leaf = output.clone().requires_grad_()
        loss_of_all = head(leaf, wild, *units, weight=weight)
        loss_of_all.backward()
        assert not leaf.grad[1, 2].any() and leaf.grad[1, 1].any()
        results.append((loss_of_all.detach(), leaf.grad))
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0]) and torch.equal(gradient, results[0][1])


def test_weights_of_1_leave_every_bit_and_gaps_do_not_count():
    head = QuantileHead()
    output, target, _ = outputs_of(head)
    target[0, 1:, 0] = torch.nan
    assert torch.equal(head(output, target), head(output, target, weight=torch.ones(4, 3)))
    nothing = head(output, target * torch.nan, weight=torch.ones(4, 3))
    assert nothing == 0


def test_halves_of_a_batch_have_the_mean_of_their_losses():
    """What processes that train together average is the loss of all their windows."""
    head = PointHead("huber")
    output, target, _ = outputs_of(head)
    weight = torch.tensor([[0.0, 0.2, 3.0]] * 3 + [[5.0, 1.0, 0.0]])
    halves = [
        head(*(part[rows] for part in (output, target)), weight=weight[rows])
        for rows in (slice(2), slice(2, 4))
    ]
    torch.testing.assert_close(sum(halves) / 2, head(output, target, weight=weight))


# Weights of rows in training.


def test_the_target_of_a_row_of_weight_0_is_not_learnt_from():
    weights = ends(0.0, 0.0, 0.0)  # targets alone: no window begins behind them
    before = trained(Y, weighed(weights), num_members=2)
    for by in (1e6, np.nan):
        assert same(before, trained(changed(Y, -3, -2, -1, by=by), weighed(weights), num_members=2))
    assert not same(before, trained(changed(Y, -4), weighed(weights), num_members=2))
    ones = trained(Y, weighed(1.0), num_members=2)
    assert not same(before, ones)
    assert not same(ones, trained(changed(Y, -1), weighed(1.0), num_members=2))


def test_a_series_of_weight_0_is_not_learnt_from_at_all():
    panel = pd.concat({"a": Y, "b": -Y}, names=["series", "day"]).to_frame()
    covariates = pd.concat({"a": weighed(0.5), "b": weighed(0.0)}, names=["series", "day"])
    other = panel.copy()
    other.loc["b"] = np.random.default_rng(0).normal(size=(ROWS, 1)) ** 3
    settings = {"scaler": "standard", "window_norm": "meanstd"}
    forecasters = [trained(y, covariates, **settings) for y in (panel, other)]
    assert same(*forecasters)
    equal = trained(panel, covariates.assign(w=1.0), **settings)
    assert not same(forecasters[0], equal)


@pytest.mark.parametrize("constant", [1.0, 2.0, 0.1, True])
def test_equal_weights_are_no_weights(constant):
    usual = tiny(num_members=2, max_epochs=3).fit(Y, X=X, fh=FH)
    alike = tiny(num_members=2, max_epochs=3, weight_column="w", step_weights=[constant * 3] * 3)
    alike.fit(Y, X=weighed(constant), fh=FH)
    assert same(usual, alike)
    future = pd.DataFrame({"a": [0.1, 0.2, 0.3]}, pd.date_range("2023-03-03", periods=3))
    expected = usual.predict_quantiles(X=future, alpha=[0.1, 0.7])
    for covariates in (future, weighed(np.nan, future), weighed(-1.0, future)):
        got = alike.predict_quantiles(X=covariates, alpha=[0.1, 0.7])
        pd.testing.assert_frame_equal(got, expected, check_exact=True)
    losses = [one.history_[["train_loss", "valid_loss", "valid_mae"]] for one in (usual, alike)]
    pd.testing.assert_frame_equal(*losses, check_exact=True)


def test_only_ratios_of_weights_count():
    weights = np.random.default_rng(3).uniform(0, 2, size=ROWS)
    assert same(trained(Y, weighed(weights)), trained(Y, weighed(4 * weights)))


def test_a_column_of_weights_may_be_all_there_is():
    alone = weighed(1.0)[["w"]]
    forecaster = tiny(weight_column="w").fit(Y, X=alone, fh=FH)
    assert same(forecaster, tiny().fit(Y, fh=FH))
    forecasts = [
        forecaster.predict(),
        forecaster.predict(X=alone),
        forecaster.predict(FH, alone, y=Y),
        forecaster.predict(FH, y=Y),
    ]
    for forecast in forecasts[1:]:
        pd.testing.assert_series_equal(forecast, forecasts[0], check_names=False)


def test_validation_is_weighted_and_reported_errors_are_not():
    weights = np.where(np.arange(ROWS) < 45, 1.0, 5.0)
    settings = {"validation_fraction": 0.2, "max_epochs": 1}
    ones, more = (trained(Y, weighed(w), **settings) for w in (1.0, weights))
    rows = [one.history_.iloc[0] for one in (ones, more)]
    assert rows[1]["valid_loss"] > 1.5 * rows[0]["valid_loss"]
    assert rows[1]["valid_mae"] < 1.5 * rows[0]["valid_mae"]


@pytest.mark.parametrize("loss", ["negative_binomial", "mse", "log_normal"])
def test_all_kinds_of_losses_take_weights(loss):
    y = np.round(np.exp(Y) * 3) + 1
    settings = {"scaler": "auto", "loss": loss, "step_weights": [1, 2, 3]}
    ones, more = (trained(y, weighed(w), **settings) for w in (1.0, ends(9.0)))
    assert not same(ones, more)
    assert np.isfinite(
        more.predict(X=X[:3].set_index(pd.date_range("2023-03-03", periods=3)))
    ).all()


def test_a_simulation_takes_weights():
    settings = {"mode": "simulation", "prediction_length": 6, "max_epochs": 1, "context_length": 5}
    heavy = [1e-9] * 2 + [1.0] * 4  # the transient at the beginning does not count
    forecasters = [
        tiny(weight_column="w", step_weights=steps, **settings).fit(Y, X=weighed(weights))
        for weights, steps in ((1.0, None), (1.0, [1] * 6), (1.0, heavy), (ends(0.0, 0.0), None))
    ]
    assert same(*forecasters[:2])
    assert not same(forecasters[0], forecasters[2]) and not same(forecasters[0], forecasters[3])


# Weights of steps.


def test_steps_of_weight_0_are_not_learnt_from():
    settings = {"step_weights": (1, 0, 0), "weight_column": None}
    before = trained(Y, X, **settings)
    assert same(before, trained(changed(Y, -2, -1), X, **settings))
    assert not same(before, trained(changed(Y, -3), X, **settings))
    assert not same(before, trained(Y, X, weight_column=None))
    assert same(before, trained(Y, X, **{**settings, "step_weights": [0.25, 0.0, 0.0]}))


def test_weights_of_rows_and_steps_are_multiplied():
    weights = np.arange(ROWS, dtype=float)
    forecaster = trained(Y, weighed(weights), step_weights=[1, 2, 6])
    history = forecaster._fitted.history
    spec = forecaster._fitted.model.spec
    dataset = WindowDataset(
        history.store, spec, np.array([5]), np.array([ROWS - 2]), step_weights=[1, 2, 6]
    )
    _, (target, unit, weight) = dataset.__getitems__([0, 7])
    assert unit is None and weight.shape == target.shape[:2]
    rows = np.array([[5, 6, 7], [12, 13, 14]])
    expected = rows / weights.mean() * np.array([1, 2, 6]) / 3
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    _, (_, none, one) = dataset[7]
    assert none is None and torch.equal(one, weight[1])


def test_step_weights_of_another_horizon_are_refused(monkeypatch):
    monkeypatch.setattr(ForecastNet, "train_step", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"Got step_weights of 2 steps, expected 3.*Pass as many"):
        tiny(step_weights=[1, 2]).fit(Y, fh=FH)
    with pytest.raises(ValueError, match=r"Got step_weights of 3 steps, expected 7"):
        tiny(step_weights=[1, 2, 3]).fit(Y)  # a week by rule


# What is refused.


def labelled(value, row=17):
    weights = np.ones(ROWS)
    weights[row] = value
    return weighed(weights)


WRONG = {
    "missing": (labelled(np.nan), ValueError, r"Got the weight nan in column 'w' at 2023-01-19"),
    "infinite": (labelled(np.inf), ValueError, r"Got the weight inf in column 'w' at 2023-01-19"),
    "negative": (labelled(-0.5), ValueError, r"-0.5 in column 'w' at 2023-01-19.*at least 0"),
    "too large": (labelled(1e300), ValueError, r"1e\+300 in column 'w' at 2023-01-19.*finite"),
    "text": (weighed("heavy"), TypeError, r"column 'w' of type.*expected numbers"),
    "all zero": (weighed(0.0), ValueError, r"weight_column that is 0 in all rows.*nothing would"),
    "zero targets": (weighed([1.0] * 5 + [0.0] * 55), ValueError, r"weight_column that is 0 in"),
    "absent": (X, ValueError, r"Got weight_column='w', but X has no such column.*\['a'\]"),
    "no X": (None, ValueError, r"Got weight_column='w', but X has no such column"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_weight_is_refused_before_training(name, monkeypatch):
    monkeypatch.setattr(ForecastNet, "train_step", lambda *args, **kwargs: pytest.fail("trained"))
    covariates, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        trained(Y, covariates)


@pytest.mark.parametrize("parameter", ["past_covariates", "static_covariates"])
def test_weights_are_no_covariates(parameter):
    with pytest.raises(ValueError, match=r"'w' as weight_column and in past_covariates or static"):
        trained(Y, weighed(1.0), **{parameter: ["w"]})


class Unweighted(PointHead):
    """A head with a forward of its own."""

    def forward(self, output, target, unit=None):
        return super().forward(output, target, unit)


class Own(Head):
    """A head of the documentation's kind."""

    num_parameters, point_statistic = 1, "median"

    def losses(self, parameters, target, *unit):
        return (parameters.squeeze(-1) - target).abs()

    def point(self, parameters):
        return parameters.squeeze(-1)


def test_heads_without_weights_are_refused_and_others_are_not():
    for given in ({"weight_column": "w"}, {"step_weights": [1, 2, 3]}):
        with pytest.raises(ValueError, match=rf"{next(iter(given))} with the head Unweighted, who"):
            tiny(loss=Unweighted("mae"), **given).fit(Y, X=weighed(1.0), fh=FH)
    tiny(loss=Unweighted("mae")).fit(Y, fh=FH)
    weights = weighed(ends(0.0))
    own, ours = (trained(Y, weights, loss=loss) for loss in (Own(), "mae"))
    assert same(own, ours)


# After fit.


@pytest.fixture(scope="module")
def early():
    return trained(Y[:50], weighed(EARLY)[:50], update_epochs=3)


def test_an_update_needs_weights_and_says_so(early):
    for covariates, got in ((None, "X=None"), (X[50:], "X with the columns")):
        forecaster = early.clone().fit(Y[:50], X=weighed(1.0)[:50], fh=FH)
        before = parameters_of(forecaster)
        with pytest.raises(ValueError, match=rf"Got (X=None|{got}).*"):
            forecaster.update(Y[50:], X=covariates)
        assert forecaster.cutoff[0] == INDEX[49]
        assert all(map(torch.equal, before, parameters_of(forecaster)))
    alone = tiny(weight_column="w").fit(Y[:50], X=weighed(1.0)[["w"]][:50], fh=FH)
    with pytest.raises(ValueError, match=r"X=None, expected the column 'w' too, which weight_col"):
        alone.update(Y[50:], update_params=False)
    with pytest.raises(ValueError, match=r"Got the weight nan in column 'w' at 2023-02-2[0-9]"):
        alone.update(Y[50:], X=weighed(np.nan)[50:])
    alone.update(Y[50:], X=weighed(1.0)[["w"]][50:])


def test_an_update_does_not_learn_from_rows_of_weight_0():
    settings = {"update_epochs": 3}
    forecasters = []
    for weights, y in [
        (ends(0, 0, 0), Y),
        (ends(0, 0, 0), changed(Y, -3, -2, -1, by=20)),
        (np.ones(ROWS), Y),
    ]:
        one = trained(Y[:57], weighed(1.0)[:57], **settings)
        forecasters.append(one.update(y[57:], X=weighed(weights)[57:]))
    assert same(*forecasters[:2])
    assert not same(forecasters[0], forecasters[2])


def test_an_update_does_not_learn_from_steps_of_weight_0():
    settings = {"step_weights": (1, 0, 0), "weight_column": None}
    forecasters = [
        trained(Y[:57], X[:57], **settings).update(y[57:], X=X[57:])
        for y in (Y, changed(Y, -2, -1, by=20), changed(Y, -3, by=20))
    ]
    assert same(*forecasters[:2])
    assert not same(forecasters[0], forecasters[2])


@pytest.mark.filterwarnings("ignore:Got y that skips 4 rows:sktime_tlstm.ForecastWarning")
def test_updates_with_equal_weights_and_gaps_are_updates_without():
    usual = tiny(**BARE).fit(Y[:40], X=X[:40], fh=FH)
    alike = trained(Y[:40], weighed(3.0)[:40])
    for rows in (slice(40, 45), slice(49, 60)):  # four rows are missing between
        usual.update(Y[rows], X=X[rows])
        alike.update(Y[rows], X=weighed(3.0)[rows])
    assert same(usual, alike)


def test_a_pretrained_network_is_tuned_with_weights():
    panel = pd.concat({"a": Y, "b": 2 * Y}, names=["series", "day"]).to_frame()
    covariates = pd.concat({"a": weighed(1.0), "b": weighed(0.25)}, names=["series", "day"])
    forecasts = []
    for weights in (1.0, ends(9.0, 9.0)):
        pretrained = tiny(weight_column="w", finetune_epochs=3, lr=0.05)
        pretrained.pretrain(panel, X=covariates, fh=FH)
        with pytest.raises(ValueError, match="expected the column 'w' too"):
            pretrained.clone().fit(Y, X=X)
        forecasts.append(pretrained.fit(Y, X=weighed(weights)))
    assert not same(*forecasts)
    alone = tiny(weight_column="w").pretrain(panel, X=covariates[["w"]], fh=FH)
    alone.fit(Y, X=weighed(1.0)[["w"]])


def test_step_weights_act_in_fine_tuning_alone_too():
    panel = pd.concat({"a": Y, "b": 2 * Y}, names=["series", "day"]).to_frame()
    pretrained = tiny(finetune_epochs=2, lr=0.05).pretrain(panel, fh=FH)
    usual, other = pretrained.clone().fit(Y), pretrained.clone()
    other.step_weights = [1, 0, 0]
    assert not same(usual, other.fit(Y))
    other = pretrained.clone()
    other.step_weights = [1, 0]
    with pytest.raises(ValueError, match="Got step_weights of 2 steps, expected 3"):
        other.fit(Y)


def test_files_hold_weights(early):
    cls, content = early.save(serialization_format="safetensors")
    loaded = cls.load_from_serial(content)
    rows = weighed(ends(0.5, 3.0))[50:]
    assert same(
        loaded.update(Y[50:], X=rows),
        early.clone().fit(Y[:50], X=weighed(EARLY)[:50], fh=FH).update(Y[50:], X=rows),
    )
    cls, content = early.save(serialization_format="safetensors", rows="needed")
    short = cls.load_from_serial(content)
    future = weighed(1.0)[50:53]
    pd.testing.assert_series_equal(short.predict(X=future), early.predict(X=future))
    short.update(Y[50:], X=rows)


def test_a_backtest_that_learns_has_the_weights_of_updates(early):
    late = np.random.default_rng(2).uniform(size=10)
    rows = weighed(np.concatenate([EARLY[:50], late]))
    cv = ExpandingWindowSplitter(FH, initial_window=50, step_length=3)
    table = early.backtest(Y, rows, cv, update_every=1, return_data=True)
    forecaster = early.clone().fit(Y[:50], X=rows[:50], fh=FH)
    last = len(table) - 1
    for window in range(1, last + 1):
        new = slice(50 + 3 * (window - 1), 50 + 3 * window)
        forecaster.update(Y[new], X=rows[new])
    begin = 50 + 3 * last
    expected = forecaster.predict(X=rows[begin : begin + 3])
    got = table["y_pred"].iloc[last]
    np.testing.assert_allclose(np.ravel(got), expected, rtol=1e-5)
    ones = early.backtest(Y, rows.assign(w=1.0), cv, update_every=1, return_data=True)
    assert not np.allclose(np.ravel(ones["y_pred"].iloc[last]), expected, rtol=1e-5)


def test_weights_reach_no_input():
    forecaster = trained(Y, weighed(np.arange(ROWS) + 1.0))
    assert list(forecaster.variable_importance(num_windows=4).index).count("w") == 0
    future = X[:3].set_index(pd.date_range("2023-03-03", periods=3))
    windows = forecaster.windows([-2, 1], future)  # of the past and of the future together
    assert len(windows.target) == 2 and "w" not in set(windows.channels["variable"])
    plain = tiny(**BARE).fit(Y, X=X, fh=FH)
    for own, other in zip(forecaster.members_, plain.members_, strict=True):
        shapes = [[part.shape for part in net.module_.parameters()] for net in (own, other)]
        assert shapes[0] == shapes[1]


def test_the_callers_frames_stay_as_they_are():
    y, covariates = Y.copy(), weighed(ends(0.0))
    before = covariates.copy()
    trained(y[:50], covariates[:50]).update(y[50:], X=covariates[50:])
    pd.testing.assert_frame_equal(covariates, before)
    pd.testing.assert_series_equal(y, Y)


def test_categories_and_weights_do_not_mix():
    kinds = X.assign(kind=np.where(np.arange(ROWS) % 3, "u", "v"))
    usual = TransformerLSTMForecaster(**tiny().get_params(deep=False)).fit(Y, X=kinds, fh=FH)
    alike = tiny(weight_column="w").fit(Y, X=weighed(2.0, kinds), fh=FH)
    assert same(usual, alike)
    future = kinds[:3].set_index(pd.date_range("2023-03-03", periods=3))
    pd.testing.assert_series_equal(usual.predict(X=future), alike.predict(X=future))
