"""Members that train side by side: the same as one after the other, and ended together."""

import itertools
import os
import pickle
import signal
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import AttentionLSTM
from sktime_tlstm.notices import ForecastWarning, notify
from sktime_tlstm.threads import side_by_side

TINY = {
    "context_length": 8,
    "d_model": 8,
    "num_heads": 2,
    "dropout": 0.2,
    "max_epochs": 2,
    "max_windows_per_epoch": 64,
    "batch_size": 16,
    "num_members": 3,
    "random_state": 5,
}
RNG = np.random.default_rng(3)
Y = pd.Series(RNG.normal(size=150).cumsum(), pd.RangeIndex(150), name="y")
FH = range(1, 5)


@pytest.fixture(params=[2, 7])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch):
    """Threads on which nets have trained."""
    found = []
    loop = ForecastNet.fit_loop

    def watched(self, *args, **kwargs):
        found.append(threading.get_ident())
        return loop(self, *args, **kwargs)

    monkeypatch.setattr(ForecastNet, "fit_loop", watched)
    return found


@pytest.fixture
def ctrl_c():
    """Let SIGINT interrupt, which jobs in the background are begun without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def weights(forecaster):
    parts = [net.module_.state_dict().values() for net in forecaster.members_]
    return torch.cat([tensor.reshape(-1).float() for part in parts for tensor in part])


def alone(**changes):
    """Return a forecaster that is fitted on a single thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return TransformerLSTMForecaster(**{**TINY, **changes}).fit(Y, fh=FH)
    finally:
        torch.set_num_threads(before)


AUGMENTED = {"dropout": 0.0, "input_noise": 0.1, "min_context_length": 2}


@pytest.mark.parametrize("changes", [{}, {"validation_fraction": 0.2, "patience": 1}, AUGMENTED])
def test_members_on_threads_are_those_of_one_after_the_other(threads, seen, changes):
    expected = alone(**changes)
    seen.clear()
    side = TransformerLSTMForecaster(**{**TINY, **changes}).fit(Y, fh=FH)
    assert threading.get_ident() not in seen
    assert torch.get_num_threads() == threads
    if threads <= TINY["num_members"]:  # each has one thread, as alone
        assert torch.equal(weights(side), weights(expected))
        pd.testing.assert_series_equal(side.predict(), expected.predict())
    timeless = ["epoch", "member", "stage", "train_loss"]
    left, right = (one.history_[timeless] for one in (side, expected))
    pd.testing.assert_frame_equal(left, right, rtol=1e-3)


def test_updates_and_fine_tuning_run_side_by_side_too(threads, seen):
    forecaster = TransformerLSTMForecaster(**TINY)
    forecaster.pretrain(pd.concat({"a": Y.to_frame(), "b": -Y.to_frame()}), fh=FH)
    forecaster.fit(Y, fh=FH)
    forecaster.update(Y.set_axis(range(150, 300))[:20])
    assert threading.get_ident() not in seen
    pickle.dumps(forecaster)


class Watching(Callback):
    """A callback of the user's, which may expect one training at a time."""


class OwnNetwork(AttentionLSTM):
    """A network of the user's."""


@pytest.mark.parametrize(
    "changes",
    [
        {"callbacks": [Watching()]},
        {"verbose": 2},
        {"net_params": {"iterator_train__num_workers": 1}},
        {"num_members": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_others_see_or_share_trains_one_after_the_other(threads, seen, changes):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork")
        TransformerLSTMForecaster(**{**TINY, **changes}).fit(Y, fh=FH)
    assert set(seen) == {threading.get_ident()}


def test_a_network_of_the_users_trains_one_after_the_other(threads, seen):
    forecaster = SkorchForecaster(
        OwnNetwork, {"d_model": 4, "num_heads": 2}, 8, max_epochs=1, num_members=2, random_state=0
    )
    forecaster.fit(Y, fh=FH)
    assert set(seen) == {threading.get_ident()}


def test_members_on_threads_train_as_torch_usually_does(threads):
    expected = alone(num_members=2)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            side = TransformerLSTMForecaster(**{**TINY, "num_members": 2}).fit(Y, fh=FH)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in side.net_.module_.parameters()} == {torch.float32}
    torch.testing.assert_close(weights(side), weights(expected), rtol=1e-3, atol=1e-4)


def test_a_failing_member_ends_all_and_is_what_is_raised(threads, monkeypatch):
    forecaster = TransformerLSTMForecaster(**TINY, calibration="none")
    last, step = forecaster.fit(Y, fh=FH).members_[-1].seed, ForecastNet.train_step_single

    def failing(self, *args, **kwargs):
        if self.seed == last:
            raise ZeroDivisionError("the third one fails")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ForecastNet, "train_step_single", failing)
    with pytest.raises(ZeroDivisionError, match="third one"):
        forecaster.fit(Y, fh=FH)
    assert torch.get_num_threads() == threads


def test_ctrl_c_ends_all_members_and_keeps_what_they_have_learnt(threads, monkeypatch, ctrl_c):
    step, lock, steps = ForecastNet.train_step_single, threading.Lock(), []

    def interrupted(self, *args, **kwargs):
        with lock:
            steps.append(self.seed)
            if len(steps) > 30 and len(set(steps)) == 2 and steps.count(None) == 0:
                steps.append(None)
                ctrl_c()
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ForecastNet, "train_step_single", interrupted)
    forecaster = TransformerLSTMForecaster(
        **{**TINY, "num_members": 2, "max_epochs": 500}, calibration="none"
    )
    with pytest.warns(ForecastWarning, match="interrupt.*of 4000 training steps") as told:
        forecaster.fit(Y, fh=FH)
    assert len(told) == 2
    assert {one.filename for one in told} == {__file__}
    assert all(net.was_interrupted_ for net in forecaster.members_)
    assert np.isfinite(forecaster.predict()).all()
    forecaster.update(Y.set_axis(range(150, 300))[:10])  # the wish to stop is over
    assert not any(net.was_interrupted_ for net in forecaster.members_)


def test_ctrl_c_before_a_member_has_begun_leaves_nothing_fitted(threads, monkeypatch, ctrl_c):
    step, told = ForecastNet.train_step_single, []

    def interrupted(self, *args, **kwargs):
        if not told:
            told.append(True)
            ctrl_c()
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ForecastNet, "train_step_single", interrupted)
    forecaster = TransformerLSTMForecaster(**{**TINY, "num_members": 9, "max_epochs": 500})
    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(Y, fh=FH)
    assert not forecaster.is_fitted


def test_ctrl_c_while_threads_begin_leaves_none_training(threads, monkeypatch):
    start, begun, trained = threading.Thread.start, [], []

    def interrupted(self):
        start(self)
        begun.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side([lambda: trained.append(True)] * 3, stop=lambda: None)
    for thread in begun:
        thread.join(10)
    assert begun and not any(thread.is_alive() for thread in begun)
    assert not trained and torch.get_num_threads() == threads


def test_warnings_of_threads_come_in_order_and_name_the_callers_line(threads):
    trainings = [lambda number=number: notify(f"the call {number}") for number in range(4)]
    with pytest.warns(ForecastWarning) as told:
        side_by_side(trainings, stop=lambda: None)
    assert [str(one.message) for one in told] == [f"the call {number}" for number in range(4)]
    assert {one.filename for one in told} == {__file__}


def test_an_interrupted_training_on_threads_resumes_to_the_same_bits(
    threads, tmp_path, monkeypatch
):
    whole = TransformerLSTMForecaster(**TINY).fit(Y, fh=FH)
    step, steps = ForecastNet.train_step_single, itertools.count(1)

    def dying(self, *args, **kwargs):
        if next(steps) == 9:  # of two threads only one can draw it
            raise MemoryError("killed")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ForecastNet, "train_step_single", dying)
    again = TransformerLSTMForecaster(**TINY, checkpoint_dir=tmp_path / "kept")
    with pytest.raises(MemoryError):
        again.fit(Y, fh=FH)
    monkeypatch.setattr(ForecastNet, "train_step_single", step)
    again.fit(Y, fh=FH)
    assert torch.equal(weights(again), weights(whole))
