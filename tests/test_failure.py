"""A failed call leaves no trace: in the forecaster, and in what the caller passed.

After a failed predict or update the forecaster answers bit for bit as before; after a failed fit it
is cleanly unfitted. The caller's frames, lists and dicts stay as they were in every call.
"""

import contextlib
import copy
import functools
import threading

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback
from sktime.exceptions import NotFittedError
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import SkorchForecaster
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import AttentionLSTM
from tests.setups import tiny

DAYS = pd.date_range("2024-01-01", periods=60, freq="D", name="day")
RNG = np.random.default_rng(1)
X = pd.DataFrame({"a": RNG.normal(size=60), "b": ["red", "blue", "green"] * 20}, DAYS)
Y = pd.Series(X["a"].to_numpy() + RNG.normal(size=60), DAYS, name="y")
Y_OLD, Y_NEW = Y.iloc[:30], Y.iloc[30:40]
X_OLD, X_NEW, X_LATER = X.iloc[:30], X.iloc[30:40], X.iloc[30:]
FH = [1, 3]
EXTRA_FH = [-2, 0, 1, 2, 3, 5]  # in-sample, within the horizon and beyond it


class Fault(Callback):
    """Does something to the net at the second batch of a training, where it is armed."""

    armed = None

    def on_train_begin(self, net, **kwargs):
        self.batch_ = 0

    def on_batch_begin(self, net, training=False, **kwargs):
        self.batch_ += training
        if training and self.batch_ == 2 and Fault.armed is not None:
            Fault.armed(net)


def raise_error(net):
    raise ZeroDivisionError("the author's own error")


def spoil_weights(net):
    for parameter in net.module_.parameters():
        parameter.data.fill_(np.nan)


def exit_python(net):
    raise SystemExit


TRAINING_FAULTS = [
    pytest.param(raise_error, ZeroDivisionError, id="a callback raises"),
    pytest.param(spoil_weights, RuntimeError, id="the loss is NaN"),
    pytest.param(exit_python, SystemExit, id="exit"),
]


def make(**parameters):
    defaults = {
        "module": AttentionLSTM,
        "module_params": {"d_model": 4, "num_heads": 2},
        "context_length": 5,
        "max_epochs": 1,
        "batch_size": 8,
        "max_windows_per_epoch": 24,
        "num_samples": 4,
        "callbacks": [Fault()],
        "random_state": 0,
    }
    return SkorchForecaster(**{**defaults, **parameters})


def panel(frame):
    frame = frame.to_frame() if isinstance(frame, pd.Series) else frame
    return pd.concat({"p": frame, "q": frame}, names=["shop", "day"])


@functools.cache
def fitted(loss="quantile"):
    return make(loss=loss).fit(Y_OLD, X=X_OLD, fh=FH)


@pytest.fixture(params=["quantile", "mse"])
def forecaster(request):
    return copy.copy(fitted(request.param))


def answers(forecaster):
    """Return everything that a forecaster answers, as comparable values."""
    probe = copy.copy(forecaster)  # predict(fh) stores fh
    frames = [
        probe.predict(X=X_LATER),
        probe.predict(EXTRA_FH, X=X_LATER),
        probe.predict_quantiles(EXTRA_FH, X=X_LATER, alpha=[0.05, 0.5, 0.9]),
        probe.predict_residuals(),
    ]
    weights = [parameter.tolist() for parameter in probe.net_.module_.parameters()]
    known = {name: value for name, value in vars(forecaster).items() if name.endswith("_metadata")}
    return {
        "cutoff": (forecaster.cutoff, forecaster.cutoff.freq),
        "fh": (forecaster.fh.to_numpy().tolist(), forecaster.fh.is_relative),
        "frames": [frame.to_csv(float_format="%.17g") for frame in frames],
        "types": [type(frame) for frame in frames],
        "weights": weights,
        "attributes": sorted(vars(forecaster)),
        "metadata": str(known),
        "history": len(forecaster.net_.history),
    }


def assert_same_answers(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        if name == "cutoff":
            assert value[0].equals(after[name][0]) and value[1] == after[name][1]
        else:
            assert value == after[name], name


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


# Predict.

WITHOUT_A_ROW = X_LATER.drop(DAYS[32])
PREDICTS = {
    "predict": lambda f: f.predict([1, 2, 3], X=WITHOUT_A_ROW),
    "predict too early": lambda f: f.predict([-99], X=X_LATER),
    "predict with a faulty fh": lambda f: f.predict([1.5], X=X_LATER),
    "predict_quantiles": lambda f: f.predict_quantiles([3], X=WITHOUT_A_ROW, alpha=0.1),
    "predict_quantiles with a faulty alpha": lambda f: f.predict_quantiles([9], X_LATER, alpha=2.0),
    "predict_interval": lambda f: f.predict_interval([3], X=WITHOUT_A_ROW),
    "predict_var": lambda f: f.predict_var([3], X=WITHOUT_A_ROW),
    "predict_proba": lambda f: f.predict_proba([3], X=WITHOUT_A_ROW),
    "predict_residuals": lambda f: f.predict_residuals(Y_NEW, X=X_NEW.iloc[3:]),
    "predict_residuals of infinity": lambda f: f.predict_residuals(Y_OLD * np.inf),
    "score": lambda f: f.score(Y_NEW, X=WITHOUT_A_ROW, fh=[3]),
}


@pytest.mark.parametrize("name", PREDICTS)
def test_a_failed_prediction_changes_nothing(name, forecaster):
    before = answers(forecaster)
    with pytest.raises((TypeError, ValueError)):
        PREDICTS[name](forecaster)
    assert_same_answers(before, answers(forecaster))


@pytest.mark.parametrize(
    "method", ["predict", "predict_quantiles", "predict_interval", "predict_var", "predict_proba"]
)
def test_ctrl_c_in_a_prediction_changes_nothing(method, forecaster, monkeypatch):
    before = answers(forecaster)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ForecastNet, "outputs", interrupt)
        getattr(forecaster, method)([1, 2, 7], X=X_LATER)
    assert_same_answers(before, answers(forecaster))


# Update.

UPDATES = {
    "without X": lambda f, **k: f.update(Y_NEW, **k),
    "X lacks a column": lambda f, **k: f.update(Y_NEW, X=X_NEW[["a"]], **k),
    "y is infinite": lambda f, **k: f.update(Y_NEW * np.inf, X=X_NEW, **k),
    "y has another index": lambda f, **k: f.update(Y_NEW.to_period("D"), X=X_NEW, **k),
    "y is off the grid": lambda f, **k: f.update(
        Y_NEW.shift(1, "h"), X=X_NEW.set_axis(X_NEW.index + pd.Timedelta("1h")), **k
    ),
    "y is a panel": lambda f, **k: f.update(panel(Y_NEW), X=panel(X_NEW), **k),
    "update_predict_single": lambda f, **k: f.update_predict_single(
        Y_NEW, fh=[1, 2], X=WITHOUT_A_ROW.iloc[:9], **k
    ),
    "update_predict": lambda f, **k: f.update_predict(
        Y_NEW, ExpandingWindowSplitter([1], 2, 2), X=X_NEW.iloc[:5], **k
    ),
}


@pytest.mark.parametrize("update_params", [False, True], ids=["extend", "train"])
@pytest.mark.parametrize("name", UPDATES)
def test_a_failed_update_changes_nothing(name, update_params, forecaster):
    before = answers(forecaster)
    with pytest.raises((TypeError, ValueError)):
        UPDATES[name](forecaster, update_params=update_params)
    assert_same_answers(before, answers(forecaster))


@pytest.mark.parametrize("fault, error", TRAINING_FAULTS)
def test_an_update_whose_training_fails_changes_nothing(fault, error, forecaster, monkeypatch):
    before = answers(forecaster)
    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(Fault, "armed", staticmethod(fault))
        forecaster.update(Y_NEW, X=X_NEW, update_params=True)
    assert_same_answers(before, answers(forecaster))
    forecaster.update(Y_NEW, X=X_NEW, update_params=True)
    assert forecaster.cutoff[0] == Y_NEW.index[-1]
    assert forecaster.predict(FH, X=X_LATER).notna().all()


def test_ctrl_c_outside_training_undoes_an_update(forecaster, monkeypatch):
    before = answers(forecaster)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sktime_tlstm.forecaster.update_model", interrupt)
        forecaster.update(Y_NEW, X=X_NEW, update_params=True)
    assert_same_answers(before, answers(forecaster))


def test_ctrl_c_in_training_ends_an_update_early(forecaster, monkeypatch):
    monkeypatch.setattr(Fault, "armed", staticmethod(interrupt))
    with pytest.warns(UserWarning, match=r"Got an interrupt \(Ctrl-C\) after 1 of"):
        forecaster.update(Y_NEW, X=X_NEW, update_params=True)
    assert forecaster.cutoff[0] == Y_NEW.index[-1]
    assert forecaster.predict(FH, X=X_LATER).notna().all()


def test_a_second_failure_changes_nothing_either(forecaster):
    before = answers(forecaster)
    for call in [*PREDICTS.values(), *UPDATES.values()] * 2:
        with pytest.raises((TypeError, ValueError)):
            call(forecaster)
    assert_same_answers(before, answers(forecaster))


# Fit.


def assert_unfitted(forecaster):
    fresh = vars(forecaster.clone())
    left = {name for name in vars(forecaster) if name not in fresh}
    assert not {name for name in left if not name.startswith("pretrained")}, left
    assert not forecaster.is_fitted
    for call in (
        lambda: forecaster.predict(FH, X=X_LATER),
        lambda: forecaster.update(Y_NEW, X=X_NEW),
        lambda: forecaster.predict_residuals(),
    ):
        with pytest.raises(NotFittedError):
            call()


FAULTY_FITS = {
    "infinite y": (Y_OLD * np.inf, X_OLD),
    "X lacks rows": (Y_OLD, X_OLD.iloc[:5]),
    "no y": (None, X_OLD),
    "dates in X": (Y_OLD, X_OLD.assign(d=X_OLD.index)),
}


@pytest.mark.parametrize("name", FAULTY_FITS)
@pytest.mark.parametrize("start", ["new", "fitted"])
def test_after_a_failed_fit_the_forecaster_is_unfitted_and_can_be_fitted(start, name):
    forecaster = make() if start == "new" else copy.copy(fitted())
    y, covariates = FAULTY_FITS[name]
    with pytest.raises((TypeError, ValueError, AssertionError)):
        forecaster.fit(y, X=covariates, fh=FH)
    assert_unfitted(forecaster)
    forecaster.fit(Y_OLD, X=X_OLD, fh=FH)
    assert_same_answers(answers(fitted()), answers(forecaster))


@pytest.mark.parametrize("fault, error", TRAINING_FAULTS)
@pytest.mark.parametrize("start", ["new", "fitted"])
def test_after_a_failed_training_the_forecaster_is_unfitted(start, fault, error, monkeypatch):
    forecaster = make() if start == "new" else copy.copy(fitted())
    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(Fault, "armed", staticmethod(fault))
        forecaster.fit(Y_OLD, X=X_OLD, fh=FH)
    assert_unfitted(forecaster)
    forecaster.fit(Y_OLD, X=X_OLD, fh=FH)
    assert_same_answers(answers(fitted()), answers(forecaster))


def test_a_loss_that_is_not_finite_is_named_with_a_remedy(monkeypatch):
    monkeypatch.setattr(Fault, "armed", staticmethod(spoil_weights))
    words = r"train loss that is not finite in epoch 1, expected a number. Try a smaller lr \(now 0"
    with pytest.raises(RuntimeError, match=words):
        make().fit(Y_OLD, X=X_OLD, fh=FH)


def test_ctrl_c_outside_training_leaves_the_forecaster_unfitted(monkeypatch):
    forecaster = make()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sktime_tlstm.forecaster.fit_model", interrupt)
        forecaster.fit(Y_OLD, X=X_OLD, fh=FH)
    assert_unfitted(forecaster)


def test_ctrl_c_in_training_ends_fit_early(monkeypatch):
    monkeypatch.setattr(Fault, "armed", staticmethod(interrupt))
    with pytest.warns(UserWarning, match=r"Got an interrupt \(Ctrl-C\) after 1 of 9"):
        forecaster = make(max_epochs=3, calibration="none").fit(Y_OLD, X=X_OLD, fh=FH)
    assert len(forecaster.net_.history) == 1
    assert forecaster.predict(X=X_LATER).notna().all()


class CtrlCAtOnce(Callback):
    """Interrupts before the first batch."""

    def on_batch_begin(self, net, **kwargs):
        raise KeyboardInterrupt


def test_ctrl_c_before_anything_is_trained_leaves_the_forecaster_unfitted():
    forecaster = make(callbacks=[CtrlCAtOnce()])
    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(Y_OLD, X=X_OLD, fh=FH)
    assert_unfitted(forecaster)


# Pretraining.


def weights_of(nets):
    return [parameter.tolist() for net in nets for parameter in net.module_.parameters()]


@pytest.mark.parametrize("fault, error", TRAINING_FAULTS)
def test_after_a_failed_fit_a_pretrained_forecaster_is_still_pretrained(fault, error, monkeypatch):
    forecaster = make().pretrain(panel(Y), X=panel(X))
    expected = copy.copy(forecaster).fit(Y_OLD, X=X_OLD, fh=FH)
    before = weights_of(forecaster.pretrained_model_.members)
    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(Fault, "armed", staticmethod(fault))
        forecaster.fit(Y_OLD, X=X_OLD, fh=FH)
    with pytest.raises(ValueError, match="infinite"):
        forecaster.fit(Y_OLD * np.inf, X=X_OLD, fh=FH)
    assert_unfitted(forecaster)
    assert forecaster.state == "pretrained"
    assert weights_of(forecaster.pretrained_model_.members) == before
    forecaster.fit(Y_OLD, X=X_OLD, fh=FH)
    assert_same_answers(answers(expected), answers(forecaster))


@pytest.mark.parametrize("fault, error", TRAINING_FAULTS)
def test_a_failed_pretraining_changes_nothing(fault, error, monkeypatch):
    new, pretrained = make(), make().pretrain(panel(Y), X=panel(X))
    before = weights_of(pretrained.pretrained_model_.members)
    monkeypatch.setattr(Fault, "armed", staticmethod(fault))
    for forecaster in (new, pretrained):
        with pytest.raises(error):
            forecaster.pretrain(panel(Y), X=panel(X))
    assert vars(new).keys() == vars(make()).keys()
    assert new.state == "new" and pretrained.state == "pretrained"
    assert weights_of(pretrained.pretrained_model_.members) == before


# What the caller passes.


def snapshot(value):
    """Return a deep copy of arguments that `assert_same` can compare."""
    return copy.deepcopy(value)


def assert_same(now, before, where=""):
    """Compare arguments deeply; frames with index, types, names, freq and attrs."""
    assert type(now) is type(before), where
    if isinstance(now, pd.DataFrame):
        pd.testing.assert_frame_equal(now, before, check_freq=True, check_exact=True)
        assert now.attrs == before.attrs
    elif isinstance(now, pd.Series):
        pd.testing.assert_series_equal(now, before, check_freq=True, check_exact=True)
        assert now.attrs == before.attrs
    elif isinstance(now, dict):
        assert list(now) == list(before), where
        for name in now:
            assert_same(now[name], before[name], f"{where}.{name}")
    elif isinstance(now, (list, tuple)):
        assert len(now) == len(before), where
        for k, (one, other) in enumerate(zip(now, before, strict=True)):
            assert_same(one, other, f"{where}[{k}]")
    elif isinstance(now, Callback):
        assert_same(vars(now), vars(before), f"{where}.__dict__")
    elif isinstance(now, np.ndarray):
        np.testing.assert_array_equal(now, before)
    else:
        assert now == before, where


def holes(frame):
    """Return a copy with missing values, attrs, and columns that a sloppy library would sort."""
    frame = frame.copy()
    frame.iloc[[3, 7], 0] = np.nan
    frame.attrs["source"] = "till"
    return frame[frame.columns[::-1]]


CALLS = {
    "fit": lambda f, c: f.fit(c["y"], X=c["X"], fh=c["fh"]),
    "fit_predict": lambda f, c: f.fit_predict(c["y"], X=c["X"], fh=c["fh"], X_pred=c["X_later"]),
    "failing fit": lambda f, c: f.fit(c["bad_y"], X=c["X"], fh=c["fh"]),
    "pretrain": lambda f, c: f.pretrain(panel(c["y"]), X=panel(c["X"])),
    "predict": lambda f, c: f.predict(c["fh"], X=c["X_later"]),
    "predict beyond": lambda f, c: f.predict_quantiles(c["long_fh"], X=c["X_later"], alpha=0.1),
    "predict_interval": lambda f, c: f.predict_interval(
        c["fh"], X=c["X_later"], coverage=c["alpha"]
    ),
    "predict_quantiles": lambda f, c: f.predict_quantiles(
        c["fh"], X=c["X_later"], alpha=c["alpha"]
    ),
    "predict_var": lambda f, c: f.predict_var(c["fh"], X=c["X_later"]),
    "predict_proba": lambda f, c: f.predict_proba(c["fh"], X=c["X_later"]),
    "predict_residuals": lambda f, c: f.predict_residuals(c["y"], X=c["X"]),
    "failing predict": lambda f, c: f.predict(c["fh"], X=c["X_short"]),
    "update": lambda f, c: f.update(c["y_new"], X=c["X_later"], update_params=False),
    "training update": lambda f, c: f.update(c["y_new"], X=c["X_later"], update_params=True),
    "failing update": lambda f, c: f.update(c["y_new"], X=c["X_short"]),
    "update_predict": lambda f, c: f.update_predict(
        c["y_new"], ExpandingWindowSplitter([1], 4, 4), X=c["X_later"]
    ),
    "score": lambda f, c: f.score(c["y_full"], X=c["X_later"], fh=c["score_fh"]),
    "clone": lambda f, c: f.clone(),
    "get_params": lambda f, c: f.get_params(),
    "get_fitted_params": lambda f, c: f.get_fitted_params(),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_the_caller_passes_stays_as_it_was(name):
    given = {
        "y": holes(Y_OLD.to_frame()),
        "X": holes(X_OLD.assign(c=np.arange(30))),
        "bad_y": Y_OLD.to_frame() * np.inf,
        "y_new": holes(Y_NEW.to_frame()),
        "y_full": Y_NEW.to_frame(),
        "X_later": holes(X_LATER.assign(c=np.arange(30))),
        "X_short": X_LATER.iloc[1:],
        "fh": np.array([2, 1]),
        "long_fh": [5, 1, 9],
        "score_fh": list(range(1, 11)),
        "alpha": [0.9, 0.1],
        "parameters": {
            "module_params": {"d_model": 4, "num_heads": 2},
            "callbacks": [Fault(), ("named", Fault())],
            "net_params": {"iterator_train__num_workers": 0, "optimizer__betas": [0.8, 0.9]},
            "past_covariates": ["c"],
            "quantiles": [0.1, 0.5, 0.9],
            "target_lags": [1, 7],
            "time_features": ["weekend"],
        },
    }
    forecaster = make(**given["parameters"]).fit(given["y"], X=given["X"], fh=[1, 2])
    parameters = {name: getattr(forecaster, name) for name in given["parameters"]}
    before = snapshot(given)
    if name.startswith("failing"):
        with pytest.raises(ValueError):
            CALLS[name](forecaster, given)
    else:
        CALLS[name](forecaster, given)
    assert_same(given, before)
    for name, value in parameters.items():
        assert getattr(forecaster, name) is value, "parameters are stored unmodified"


def test_threads_get_their_own_answers_while_one_of_them_fails_all_the_time():
    y = pd.Series(np.sin(np.arange(70.0)), name="y")
    forecaster = tiny().fit(y, fh=[1, 2, 3])
    horizons = [list(range(1, number)) for number in range(2, 16)]  # 14 threads, and 2 that fail
    expected = [forecaster.predict(fh=fh) for fh in horizons]
    wrong = []

    def ask(fh, answer):
        for _ in range(15):
            try:
                if not forecaster.predict(fh=fh).equals(answer):
                    wrong.append(fh)
            except Exception as error:
                wrong.append(error)

    def fail():
        for _ in range(40):
            with contextlib.suppress(ValueError):
                forecaster.predict(fh=[-500])

    pairs = zip(horizons, expected, strict=True)
    threads = [threading.Thread(target=ask, args=pair) for pair in pairs]
    threads += [threading.Thread(target=fail) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forecast_that_fails_does_not_undo_an_update_made_meanwhile(monkeypatch):
    y = pd.Series(np.sin(np.arange(70.0)), name="y")
    forecaster = tiny().fit(y[:60], fh=[1, 2])
    asked = Fitted.asked

    def update_first(self, fh, X):  # as another thread may, in the middle of a forecast
        monkeypatch.setattr(Fitted, "asked", asked)
        forecaster.update(y[60:65], update_params=False)
        raise ValueError("no")

    monkeypatch.setattr(Fitted, "asked", update_first)
    with pytest.raises(ValueError, match="no"):
        forecaster.predict()
    assert forecaster.cutoff[0] == 64
    assert forecaster.predict().index.tolist() == [65, 66]


def test_an_update_of_a_copy_does_not_reach_the_forecaster_that_it_was_made_of():
    y = pd.Series(np.sin(np.arange(70.0)), name="y")
    forecaster = tiny().fit(y[:60], fh=[1, 2])
    before = forecaster.predict()
    newer = copy.copy(forecaster).update(y[60:65].rename("other"), update_params=True)
    pd.testing.assert_series_equal(forecaster.predict(), before)
    assert newer.predict().name == "other" and newer.predict().index.tolist() == [65, 66]
