"""A training that is killed goes on to the same bits; another one is refused by name."""

import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Checkpoint, LoadInitState

from sktime_tlstm import SkorchForecaster, checkpoints, nn
from tests.setups import TRAINING, tiny

Y = pd.Series(np.sin(np.arange(120) / 4) + np.random.default_rng(0).normal(0, 0.1, 120))
PANEL = pd.concat({"a": Y[:60], "b": 3 * Y[60:]}, names=["series", "time"]).to_frame("y")
WEIGHTS = pd.DataFrame({"w": np.arange(120) % 5})
FH = [1, 2, 3]
LEARNING = {"max_epochs": 4, "dropout": 0.2, "lr": 0.05}


class PowerCutError(Exception):
    pass


class Cut:
    """Breaks a process off at the n-th state that is written; 0 for never."""

    def __init__(self, monkeypatch):
        self.at = self.number = 0
        monkeypatch.setattr(checkpoints, "write_file", self.write)
        self._write = checkpoints.Path.write_bytes

    def write(self, path, content):
        self._write(path, content)
        self.number += 1
        if self.number == self.at:
            raise PowerCutError


@pytest.fixture
def cut(monkeypatch):
    return Cut(monkeypatch)


def weights(forecaster):
    members = getattr(forecaster, "members_", None) or forecaster.pretrained_model_.members
    tensors = [part for net in members for part in net.module_.state_dict().values()]
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in tensors)).hexdigest()


def fit(folder, **parameters):
    return tiny(checkpoint_dir=folder, **{**LEARNING, **parameters}).fit(Y[:100], fh=FH)


def fine_tuned(folder):
    forecaster = tiny(finetune_epochs=3, **LEARNING).pretrain(PANEL, fh=FH)
    forecaster.checkpoint_dir = folder
    return forecaster.fit(Y[:100], fh=FH)


def updated(folder, end=120):
    forecaster = tiny(update_epochs=3, num_members=2, **LEARNING).fit(Y[:100], fh=FH)
    forecaster.checkpoint_dir = folder
    return forecaster.update(Y[100:end])


CALLS = {
    "fit": fit,
    "without held-out rows": lambda folder: fit(folder, calibration="none"),
    "members that stop early": lambda folder: fit(
        folder, num_members=2, validation_fraction=0.2, patience=1, max_epochs=8, lr=0.3
    ),
    "cosine": lambda folder: fit(folder, lr_schedule="cosine", optimizer="sgd"),
    "experts": lambda folder: fit(folder, feedforward="moe", num_experts=2),
    "own network": lambda folder: SkorchForecaster(
        nn.AttentionLSTM, {"d_model": 4}, checkpoint_dir=folder, **TRAINING
    ).fit(PANEL, fh=FH),
    "pretrain": lambda folder: tiny(checkpoint_dir=folder, **LEARNING).pretrain(PANEL, fh=FH),
    "fine-tuning": fine_tuned,
    "update": updated,
    "weights": lambda folder: tiny(
        checkpoint_dir=folder, weight_column="w", step_weights=[1, 2, 3], **LEARNING
    ).fit(Y[:100], X=WEIGHTS[:100], fh=FH),
    "augmentation": lambda folder: fit(
        folder, input_noise=0.1, min_context_length=3, context_length=8, num_members=2
    ),
    "optimizer": lambda folder: fit(folder, net_params={"optimizer": torch.optim.RMSprop}),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_breaks_off_anywhere_goes_on_to_the_same_bits(call, cut, tmp_path):
    unbroken = weights(CALLS[call](None))
    assert not cut.number
    assert weights(CALLS[call](tmp_path)) == unbroken
    written = cut.number
    assert written > 2 and not list(tmp_path.iterdir())
    for at in sorted({1, 2, written // 2, written - 1, written}):
        cut.number, cut.at = 0, at
        with pytest.raises(PowerCutError):
            CALLS[call](tmp_path)
        before, cut.at = cut.number, 0
        whole = CALLS[call](tmp_path)
        assert weights(whole) == unbroken
        assert cut.number == written  # nothing was done twice
        assert before == at and not list(tmp_path.iterdir())


def test_what_a_process_left_that_died_while_it_wrote_is_removed(tmp_path, monkeypatch):
    class KilledError(BaseException):
        pass

    def die(path, content):
        path.with_name(f".{path.name}.0123abcd").write_bytes(content[:100])
        raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(checkpoints, "write_file", die)
        fit(tmp_path)
    assert list(tmp_path.iterdir())
    fit(tmp_path)
    assert not list(tmp_path.iterdir())


def test_members_stop_early_in_these_tests():
    forecaster = CALLS["members that stop early"](None)
    assert forecaster.history_.groupby("member").size().min() < 8


def test_what_goes_on_has_the_same_history_and_intervals(cut, tmp_path):
    unbroken = fit(None)
    cut.at = 3
    with pytest.raises(PowerCutError):
        fit(tmp_path)
    whole = fit(tmp_path)
    steady = ["member", "stage", "epoch", "train_loss", "valid_loss", "train_mae", "lr"]
    pd.testing.assert_frame_equal(whole.history_[steady], unbroken.history_[steady])
    intervals = [one.predict_interval(coverage=0.8) for one in (whole, unbroken)]
    pd.testing.assert_frame_equal(*intervals, check_exact=True)


def test_without_a_random_state_the_seed_is_that_of_the_broken_call(cut, tmp_path):
    cut.at = 2
    with pytest.raises(PowerCutError):
        fit(tmp_path, random_state=None)
    cut.at, seed = 0, checkpoints.known_seed(tmp_path)
    assert weights(fit(tmp_path, random_state=None)) == weights(fit(None, random_state=seed))
    assert checkpoints.known_seed(tmp_path) is None


@pytest.mark.parametrize(
    ("words", "changes", "y"),
    [
        (r"lr is 0.01, was 0.05", {"lr": 0.01}, Y[:100]),
        (r"dropout is 0.1, was 0.2", {"dropout": 0.1}, Y[:100]),
        (r"the seed is 1, was 0", {"random_state": 1}, Y[:100]),
        (r"the data is another", {}, Y[:99]),
        (r"the data is another", {}, Y[:100] + 1e-3),
        (r"loss is 'mae', was 'quantile'", {"loss": "mae"}, Y[:100]),
        (r"loss is another", {"loss": nn.QuantileHead((0.1, 0.9))}, Y[:100]),
    ],
)
def test_the_checkpoint_of_another_call_is_refused_by_name(words, changes, y, cut, tmp_path):
    cut.at = 2
    with pytest.raises(PowerCutError):
        fit(tmp_path)
    files = sorted(tmp_path.iterdir())
    other = tiny(checkpoint_dir=str(tmp_path), **{**LEARNING, **changes})
    with pytest.raises(ValueError, match=f"broken off and is another one: .*{words}"):
        other.fit(y, fh=FH)
    assert sorted(tmp_path.iterdir()) == files
    assert weights(fit(tmp_path)) == weights(fit(None))


@pytest.mark.parametrize(
    ("y", "others"), [(Y[:100], ""), (Y[:100] + 1e-3, "; the data is another")]
)
def test_another_horizon_is_told_and_not_what_follows_from_it(y, others, cut, tmp_path):
    y, other = (one.set_axis(pd.date_range("2024-01-01", periods=100)) for one in (Y[:100], y))
    cut.at = 1
    with pytest.raises(PowerCutError):
        tiny(checkpoint_dir=tmp_path, **LEARNING).fit(y, fh=FH)
    horizon = r"the horizon \(the largest step of fh, or prediction_length\) is 40, was 3"
    with pytest.raises(ValueError, match=f"is another one: {horizon}{others}. Go on"):
        tiny(checkpoint_dir=tmp_path, **LEARNING).fit(other, fh=[2, 40])
    words = r"is another one: window_norm is 'mean', was 'meanstd'. Go on"
    with pytest.raises(ValueError, match=words):
        tiny(checkpoint_dir=tmp_path, window_norm="mean", **LEARNING).fit(y, fh=FH)


@pytest.mark.parametrize(
    ("words", "X", "steps"),
    [
        ("the data is another", WEIGHTS + 1, [1, 2, 3]),
        (r"step_weights is \[1, 2, 4\], was \[1, 2, 3\]", WEIGHTS, [1, 2, 4]),
    ],
)
def test_a_checkpoint_knows_its_weights(words, X, steps, cut, tmp_path):
    cut.at = 2
    with pytest.raises(PowerCutError):
        CALLS["weights"](tmp_path)
    other = tiny(checkpoint_dir=tmp_path, weight_column="w", step_weights=steps, **LEARNING)
    with pytest.raises(ValueError, match=words):
        other.fit(Y[:100], X=X[:100], fh=FH)


def test_an_update_by_other_rows_is_refused(cut, tmp_path):
    cut.at = 1
    with pytest.raises(PowerCutError):
        updated(tmp_path)
    with pytest.raises(ValueError, match="the data is another"):
        updated(tmp_path, end=115)
    cut.at, forecaster = 0, tiny(**LEARNING).fit(Y[:100], fh=FH)
    forecaster.checkpoint_dir = tmp_path
    with pytest.raises(ValueError, match="update_epochs is 1, was 3"):
        forecaster.update(Y[100:])
    assert forecaster.cutoff[0] == 99


def test_a_damaged_checkpoint_is_refused(cut, tmp_path):
    cut.at = 2
    with pytest.raises(PowerCutError):
        fit(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"Got the checkpoint.*cut off, damaged or edited"):
        fit(tmp_path)
    path.write_bytes(tiny().save(None, "safetensors")[1])
    with pytest.raises(ValueError, match="of a forecaster, expected a checkpoint"):
        fit(tmp_path)


def test_ctrl_c_keeps_the_state_and_the_next_call_goes_on(tmp_path, monkeypatch):
    unbroken = weights(fit(None))
    steps, step = [0], checkpoints.ForecastNet.train_step_single

    def stop_in_the_middle(self, *args, **kwargs):
        steps[0] += 1
        if steps[0] == 6:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(checkpoints.ForecastNet, "train_step_single", stop_in_the_middle)
    with pytest.warns(UserWarning, match="Got an interrupt"):
        fit(tmp_path)
    assert list(tmp_path.iterdir())
    assert weights(fit(tmp_path)) == unbroken


def test_backtests_with_learning_write_nothing(cut, tmp_path):
    from sktime.split import ExpandingWindowSplitter

    forecaster = fit(tmp_path)
    before = cut.number
    cv = ExpandingWindowSplitter(FH, initial_window=100, step_length=5)
    forecaster.backtest(Y, None, cv, update_every=1)
    assert cut.number == before


@pytest.mark.parametrize("kind", [Checkpoint, LoadInitState])
def test_skorchs_checkpoints_of_several_members_are_refused(kind, tmp_path):
    saving = Checkpoint(dirname=str(tmp_path))
    callback = saving if kind is Checkpoint else LoadInitState(saving)
    for one in (callback, ("named", callback)):
        with pytest.raises(
            ValueError, match=r"num_members=3, expected a single member.*checkpoint"
        ):
            tiny(num_members=3, callbacks=[one]).fit(Y)
    with pytest.raises(ValueError, match=r"Got checkpoint_dir=.*with callbacks=.*Leave one out"):
        tiny(checkpoint_dir=tmp_path, callbacks=[saving]).fit(Y)


CHILD = """
    import os, sys
    sys.path.insert(0, sys.argv[1])
    from sktime_tlstm import checkpoints
    from tests import test_checkpoints
    write = checkpoints.write_file
    def told(path, content):
        print("writes", flush=True)
        input()
        write(path, content)
        print("wrote", flush=True)
        input()
    checkpoints.write_file = told
    print(test_checkpoints.weights(test_checkpoints.CALLS["members that stop early"](sys.argv[2])))
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bits(tmp_path):
    unbroken = weights(CALLS["members that stop early"](None))
    run = [sys.executable, "-c", textwrap.dedent(CHILD), str(Path(__file__).parents[1])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    # One after the other, in one folder: each goes on where the one before was killed. A process
    # waits at each line it tells, so that a busy machine cannot let it run on to its end; one that
    # is killed at "writes" may begin to write.
    for lines in (1, 2, 1, 2, 3):
        with subprocess.Popen(
            [*run, str(tmp_path)], stdin=PIPE, stdout=PIPE, text=True, env=environment
        ) as process:
            for line in range(lines):
                assert process.stdout.readline() == ("wrote\n" if line % 2 else "writes\n")
                if line < lines - 1 or line % 2 == 0:
                    process.stdin.write("go on\n")
                    process.stdin.flush()
            process.kill()
        assert process.returncode < 0
    said = subprocess.run(
        [*run, str(tmp_path)],
        input="go on\n" * 100,
        stdout=PIPE,
        text=True,
        env=environment,
        check=True,
    ).stdout
    assert said.splitlines()[-1] == unbroken
