"""A user's callbacks and optimisers: all of skorch's and torch's, in every kind of training."""

import copy
import json
import pickle
import threading

import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
import torch
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
)
from sktime.split import ExpandingWindowSplitter
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.callbacks import own_copies

DAYS = pd.date_range("2023-03-01", periods=44, freq="D")
Y = pd.Series(np.sin(np.arange(44) / 3), DAYS)
TINY = {
    "d_model": 4,
    "num_heads": 2,
    "context_length": 5,
    "prediction_length": 2,
    "calibration": "none",  # one training in fit
    "max_epochs": 2,
    "max_windows_per_epoch": 16,
    "num_samples": 4,
    "random_state": 0,
}


def make(callbacks=None, **parameters):
    return TransformerLSTMForecaster(**{**TINY, **parameters}, callbacks=callbacks)


class Writer:
    """What loggers write to: like a SummaryWriter it has a lock, which cannot be copied."""

    def __init__(self, folder=""):
        self.lock, self.written, self.config, self.dir = threading.Lock(), [], {}, folder

    def note(self, *args, **kwargs):
        self.written.append((args, kwargs))

    add_scalar = log_scalar = log = watch = note


def flat(net, X, y=None):
    return 0.5


def silent(text):
    pass


def zero(parameter):
    return torch.nn.init.zeros_(parameter)


def checkpoint(folder, **options):
    return Checkpoint(dirname=str(folder), **options)


def checkpoint_and_loader(folder):
    saving = checkpoint(folder, monitor="train_loss_best")
    return [saving, LoadInitState(saving)]


def lr(policy, **options):
    return LRScheduler(policy, **options)


# What needs no validation, by a function of a folder.
QUIET = {
    "EpochTimer": lambda folder: EpochTimer(),
    "a class": lambda folder: EpochTimer,
    "PrintLog": lambda folder: PrintLog(sink=silent),
    "ProgressBar": lambda folder: ProgressBar(),
    "GradientNormClipping": lambda folder: GradientNormClipping(1.0),
    "WarmRestartLR": lambda folder: lr("WarmRestartLR"),
    "StepLR": lambda folder: lr("StepLR", step_size=1),
    "LambdaLR": lambda folder: lr("LambdaLR", lr_lambda=lambda epoch: 0.5),
    "MultiStepLR": lambda folder: lr("MultiStepLR", milestones=[1]),
    "ExponentialLR": lambda folder: lr("ExponentialLR", gamma=0.9),
    "CosineAnnealingLR": lambda folder: lr("CosineAnnealingLR", T_max=5),
    "CyclicLR": lambda folder: lr("CyclicLR", base_lr=1e-3, max_lr=1e-2, cycle_momentum=False),
    "plateau of the training": lambda folder: lr(ReduceLROnPlateau, monitor="train_loss"),
    "EpochScoring": lambda folder: EpochScoring(flat, name="valid_flat"),
    "EpochScoring in training": lambda folder: EpochScoring(flat, on_train=True, name="flat"),
    "EpochScoring anew": lambda folder: EpochScoring(flat, use_caching=False, name="flat"),
    "BatchScoring": lambda folder: BatchScoring(flat, name="flat"),
    "BatchScoring in training": lambda folder: BatchScoring(flat, on_train=True, name="flat"),
    "PassthroughScoring": lambda folder: PassthroughScoring("valid_loss"),
    "Checkpoint of all": lambda folder: checkpoint(folder, monitor=None),
    "Checkpoint as a pickle": lambda folder: checkpoint(
        folder, monitor="train_loss_best", f_pickle="net.pkl"
    ),
    "LoadInitState": checkpoint_and_loader,
    "TrainEndCheckpoint": lambda folder: TrainEndCheckpoint(dirname=str(folder)),
    "EarlyStopping of the training": lambda folder: EarlyStopping("train_loss", patience=1),
    "Freezer": lambda folder: Freezer("*lstm*"),
    "Unfreezer": lambda folder: Unfreezer("*"),
    "Initializer": lambda folder: Initializer("*output.bias", fn=zero),
    "ParamMapper": lambda folder: ParamMapper("*", fn=silent),
    "TensorBoard": lambda folder: TensorBoard(Writer(), close_after_train=False),
    "SacredLogger": lambda folder: SacredLogger(Writer()),
    "WandbLogger": lambda folder: WandbLogger(Writer(), save_model=False),
}
# What reads the validation.
READERS = {
    "EarlyStopping": lambda folder: EarlyStopping(),
    "EarlyStopping with the best": lambda folder: EarlyStopping(load_best=True, patience=1),
    "EarlyStopping by a score": lambda folder: [
        EpochScoring(flat, name="flat_score"),
        EarlyStopping("flat_score"),
    ],
    "Checkpoint": lambda folder: checkpoint(folder),
    "Checkpoint with the best": lambda folder: checkpoint(folder, load_best=True),
    "Checkpoint by a function": lambda folder: checkpoint(
        folder, monitor=lambda net: net.history[-1, "valid_loss_best"]
    ),
    "ReduceLROnPlateau": lambda folder: lr(ReduceLROnPlateau, monitor="valid_loss"),
    "WandbLogger with its model": lambda folder: WandbLogger(Writer(folder)),
}
#: Skorch's other callbacks, and why they have no case here.
OTHERS = {
    "Callback": "the base class",
    "InputShapeSetter": "refused",
    "NeptuneLogger": "needs neptune",
    "MlflowLogger": "needs mlflow",
    "LRScheduler": "all of its policies have cases",
}


def listed(callbacks):
    return callbacks if isinstance(callbacks, list) else [callbacks]


def test_all_of_skorchs_callbacks_have_a_case():
    kinds = {
        name
        for name, value in vars(skorch.callbacks).items()
        if isinstance(value, type) and issubclass(value, Callback)
    }
    cases = {name.split()[0] for name in [*QUIET, *READERS]}
    assert kinds - cases == set(OTHERS)


PANEL = pd.concat({"a": Y[:25].to_frame("y"), "b": Y[9:].to_frame("y")})


def tuned(callbacks, **parameters):
    """Pretrain, fine-tune and update; the latter two have no validation."""
    forecaster = make(callbacks, **parameters).pretrain(PANEL).fit(Y[:36])
    return forecaster.update(Y[36:38])


# a copy of skorch's bar by an older tqdm
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function tqdm.__del__")
@pytest.mark.parametrize("name", QUIET)
def test_callbacks_run_in_every_training(name, tmp_path):
    forecaster = tuned(listed(QUIET[name](tmp_path)), validation_fraction=0.3)
    assert np.isfinite(forecaster.predict([1, 2])).all()
    assert [("valid_loss" in epoch) for epoch in forecaster.net_.history][-3:] == [False] * 3


@pytest.fixture(scope="module")
def without_callbacks():
    return tuned([]).predict([1, 2])


@pytest.mark.parametrize("name", READERS)
def test_callbacks_that_read_the_validation_do_nothing_without_it_and_say_so(
    name, tmp_path, without_callbacks
):
    words = r"Got the callback \w+, which reads '\w+', and a training without validation"
    with pytest.warns(UserWarning, match=words) as caught:
        forecaster = tuned(listed(READERS[name](tmp_path)))
    assert len(caught) == 3  # once in each training
    pd.testing.assert_series_equal(forecaster.predict([1, 2]), without_callbacks)


@pytest.mark.parametrize("name", READERS)
def test_callbacks_that_read_the_validation_act_where_there_is_some(name, tmp_path):
    callbacks = listed(READERS[name](tmp_path))
    forecaster = make(callbacks, validation_fraction=0.3).fit(Y[:36])
    assert "valid_loss" in forecaster.net_.history[-1]
    with pytest.warns(UserWarning, match="which reads .* fine-tuning and updates have none"):
        forecaster.update(Y[36:38])


@pytest.mark.parametrize("name", {**QUIET, **READERS})
def test_callbacks_take_part_in_the_training_without_the_last_rows_and_in_that_on_all(
    name, tmp_path
):
    forecaster = make(listed({**QUIET, **READERS}[name](tmp_path)), calibration="adaptive")
    if name in READERS:
        with pytest.warns(UserWarning, match="which reads .* a training without valid") as caught:
            forecaster.fit(Y[:36])
        assert len(caught) == 1
    else:
        forecaster.fit(Y[:36])
    validated = ["valid_loss" in epoch for epoch in forecaster.net_.history]
    assert validated[0] and not validated[-1]
    assert validated == sorted(validated, reverse=True)
    assert np.isfinite(forecaster.predict([1, 2])).all()


def test_a_backtest_with_updates_goes_on_without_the_validation():
    forecaster = make([EarlyStopping()], validation_fraction=0.3).fit(Y[:36])
    cv = ExpandingWindowSplitter([1, 2], initial_window=40, step_length=2)
    with pytest.warns(UserWarning, match="EarlyStopping, which reads 'valid_loss'"):
        table = forecaster.backtest(Y, None, cv, update_every=1)
    assert np.isfinite(table.iloc[:, 0]).all()


def test_another_error_of_a_callback_is_raised_as_it_is():
    class Faulty(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        make([Faulty()]).fit(Y[:36])


def test_a_missing_score_is_an_error_where_there_is_validation():
    with pytest.raises(KeyError, match="valid_rmse"):
        make([EarlyStopping("valid_rmse")], validation_fraction=0.3).fit(Y[:36])


@pytest.mark.parametrize(
    "callback", [InputShapeSetter(), InputShapeSetter, ("a", InputShapeSetter())]
)
def test_what_would_set_the_widths_is_refused(callback):
    with pytest.raises(ValueError, match="no InputShapeSetter, for networks are told their widths"):
        make([callback]).fit(Y[:36])


# Live objects.


def test_a_writer_is_shared_by_all_trainings_and_the_callback_itself_stays_as_it_was():
    writer = Writer()
    callback = TensorBoard(writer, close_after_train=False)
    before = dict(vars(callback))
    forecaster = make([callback], num_members=2).fit(Y[:36])
    assert vars(callback) == before
    written = len(writer.written)
    assert written >= 2 * TINY["max_epochs"]
    forecaster.update(Y[36:38])
    assert len(writer.written) > written
    twin = copy.deepcopy(forecaster.net_)
    held = [own for _, own in twin.callbacks_ if isinstance(own, TensorBoard)]
    assert held[0].writer is writer
    assert held[0] is not callback


def test_an_open_file_is_written_to(tmp_path):
    with open(tmp_path / "weights.pt", "wb") as file:
        saving = Checkpoint(monitor=None, f_params=file, f_optimizer=None, f_criterion=None)
        saving.f_history = str(tmp_path / "history.json")
        make([saving]).fit(Y[:36]).update(Y[36:38])
    assert (tmp_path / "weights.pt").stat().st_size > 1000
    assert len(json.loads((tmp_path / "history.json").read_text())) == TINY["max_epochs"] + 1


def test_copies_share_what_is_live_and_nothing_else():
    class Counter(Callback):
        def __init__(self, writer, calls):
            self.writer, self.calls = writer, calls

    writer, inner = Writer(), Checkpoint(monitor=None)
    callbacks = [Counter(writer, []), ("named", Counter([writer], [])), LoadInitState(inner), inner]
    copies = own_copies(callbacks)
    assert copies[0].writer is writer
    assert copies[0].calls is not callbacks[0].calls
    assert copies[1][1].writer is callbacks[1][1].writer  # whole attributes
    assert copies[2].checkpoint is copies[3] is not inner  # as they belong together
    assert own_copies(None) == []


# Optimisers.

OPTIMIZERS = [
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type)
    and issubclass(value, torch.optim.Optimizer)
    and value is not torch.optim.Optimizer
]
#: What torch's optimisers cannot train, in their own words.
REFUSED = {"SparseAdam": "does not support dense gradients", "Muon": "only supports 2D parameters"}


# LBFGS of older torch, of itself
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_all_of_torchs_optimisers_train_and_go_on_in_copies(name):
    forecaster = make(net_params={"optimizer": getattr(torch.optim, name)})
    if name in REFUSED:
        with pytest.raises((RuntimeError, ValueError), match=REFUSED[name]):
            forecaster.fit(Y[:36])
        return
    forecaster.fit(Y[:36])
    twins = [pickle.loads(pickle.dumps(forecaster)), copy.deepcopy(forecaster)]
    forecasts = [own.update(Y[36:38]).predict([1, 2]) for own in (forecaster, *twins)]
    for forecast in forecasts[1:]:
        pd.testing.assert_series_equal(forecast, forecasts[0])


def test_weight_decay_goes_to_the_optimisers_that_take_one():
    for optimizer, decay in [(torch.optim.Adagrad, 0.2), (torch.optim.Rprop, None)]:
        forecaster = make(net_params={"optimizer": optimizer}, weight_decay=0.2).fit(Y[:36])
        group = forecaster.net_.optimizer_.param_groups[0]
        assert group.get("weight_decay") == decay
    own = {"optimizer": torch.optim.Adagrad, "optimizer__weight_decay": 0.7}
    group = make(net_params=own).fit(Y[:36]).net_.optimizer_.param_groups[0]
    assert group["weight_decay"] == 0.7
