import builtins
import copy
import dataclasses
import gc
import logging
import math
import pickle
import weakref

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import Subset

from sktime_tlstm import net as net_module
from sktime_tlstm.contract import takes, unwrapped
from sktime_tlstm.data.history import SeriesStore, Traits
from sktime_tlstm.data.sampling import WindowDataset
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.net import OPTIMIZERS, build_net, quiet_compiler, renew_callbacks, train
from sktime_tlstm.nn import (
    AttentionLSTM,
    EmbeddedNetwork,
    InputEmbedding,
    PointHead,
    QuantileHead,
    TransformerLSTM,
    make_head,
)

SPEC = WindowSpec(
    context_length=7,
    horizon=3,
    num_targets=2,
    num_numeric=0,
    num_calendar=0,
    known=(),
    cardinalities=(),
    known_categories=(),
    lags=(),
    window_norm=None,
    norm_length=7,
)
# An epoch is 23 windows in 3 batches.
WINDOWS, BATCH_SIZE, BATCHES = 23, 8, 3


class LastRow(nn.Module):
    """A linear network of the contract that sees the last row before the cutoff."""

    def __init__(self, num_past_features, num_future_features, output_dim=1, dropout=0.0):
        super().__init__()
        self.linear = nn.Linear(num_past_features + num_future_features, output_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, past, future, past_lengths=None, future_lengths=None):
        last = past[:, -1:].expand(-1, future.shape[1], -1)
        return self.linear(self.dropout(torch.cat([last, future], dim=-1)))


class Costly(LastRow):
    """The same with an auxiliary loss."""

    def auxiliary_loss(self):
        return 1000.0 + 0.0 * self.linear.bias.sum()


def make_data(rows=97, low=7, high=60, windows_per_epoch=WINDOWS):
    """Make windows of two waves; those from row 67 on are for validation."""
    time = torch.arange(rows)
    values = torch.stack([torch.sin(time / 3), torch.cos(time / 5)], dim=1)
    store = SeriesStore(
        values=values,
        observed=torch.ones(rows, 2, dtype=torch.bool),
        calendar=torch.zeros(rows + SPEC.horizon, 0),
        start=torch.tensor([0]),
        length=torch.tensor([rows]),
        calendar_start=torch.tensor([0]),
        traits=Traits(
            level=torch.zeros(1, 2),
            spread=torch.ones(1, 2),
            unit=torch.ones(1, 2),
            zero=torch.zeros(1, 2),
            gap=torch.zeros(1, 2),
            static=torch.zeros(1, 0),
            identity=torch.ones(1),
        ),
    )
    ends = [np.array([value]) for value in (low, high)]
    training = WindowDataset(store, SPEC, *ends, windows_per_epoch=windows_per_epoch)
    validation = WindowDataset(store, SPEC, np.array([67]), np.array([rows - SPEC.horizon + 1]))
    return training, Subset(validation, list(range(0, 28, 2)))


def make_net(module=LastRow, module_params=None, head=None, spec=SPEC, **options):
    defaults = {
        "optimizer": "adam",
        "weight_decay": 0.0,
        "gradient_clip": None,
        "lr_schedule": None,
        "patience": None,
        "callbacks": None,
        "net_params": None,
        "verbose": 0,
        "lr": 0.01,
        "batch_size": BATCH_SIZE,
        "max_epochs": 1,
        "device": "cpu",
        "precision": "float32",
        "seed": 0,
    }
    head = head or PointHead("mse")
    return build_net(module, module_params or {}, head, spec, **{**defaults, **options})


def fit(net, data=None, validation=None, epochs=2, lr=0.01, lr_schedule=None, seed=0):
    data = data or make_data()[0]
    train(net, data, validation, epochs=epochs, lr=lr, lr_schedule=lr_schedule, seed=seed)
    return net


def weights(net):
    return torch.cat([value.detach().flatten() for value in net.module_.parameters()]).clone()


class Recorder(Callback):
    """Remembers the weights after every epoch."""

    def __init__(self):
        self.weights = []

    def on_epoch_end(self, net, **kwargs):
        self.weights.append(weights(net))


def own(net, kind):
    """Return the net's own copy of a callback."""
    return next(callback for _, callback in net.callbacks_ if isinstance(callback, kind))


class Spoiler(Callback):
    """Spoils the weights after an epoch by adding a number."""

    def __init__(self, epoch, number):
        self.epoch, self.number = epoch, number

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                for value in net.module_.parameters():
                    value += self.number


class CtrlC(Callback):
    """Interrupts the training after a batch of an epoch, and remembers the weights."""

    def __init__(self, epoch, batch):
        self.epoch, self.batch = epoch, batch

    def on_batch_end(self, net, training, **kwargs):
        if training and (len(net.history), len(net.history[-1]["batches"])) == (
            self.epoch,
            self.batch,
        ):
            self.weights = weights(net)
            raise KeyboardInterrupt


# Random state.


@pytest.mark.usefixtures("global_random_state_stays")
def test_building_training_and_forecasting_leave_the_global_random_state_alone():
    net = fit(make_net(AttentionLSTM, {"d_model": 4, "dropout": 0.5}), validation=make_data()[1])
    net.outputs(make_data()[0].batch([0, 1]).inputs)


def test_the_global_random_state_is_not_read():
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)
        results.append(weights(fit(make_net(AttentionLSTM, {"d_model": 4, "dropout": 0.5}))))
    assert torch.equal(*results)


def test_seeds_decide_on_weights_and_on_training():
    assert torch.equal(weights(make_net(seed=3)), weights(make_net(seed=3)))
    assert not torch.equal(weights(make_net(seed=3)), weights(make_net(seed=4)))
    same = [weights(fit(make_net(seed=3), seed=seed)) for seed in (5, 5, 6)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


def test_dropout_is_seeded_and_acts_in_training_alone():
    dropout = {"module_params": {"dropout": 0.5}}
    trained = [fit(make_net(**options)) for options in (dropout, dropout, {})]
    assert torch.equal(weights(trained[0]), weights(trained[1]))
    assert not torch.equal(weights(trained[0]), weights(trained[2]))
    inputs = make_data()[0].batch([0, 1]).inputs
    assert torch.equal(trained[0].outputs(inputs), trained[0].outputs(inputs))


class Noisy(Callback):
    """Draws at a moment of every batch."""

    def __init__(self, moment):
        self.moment, self.drawn = moment, []

    def draw(self, moment):
        if moment == self.moment:
            self.drawn.append(torch.rand(1).item())

    def on_batch_begin(self, net, **kwargs):
        self.draw("begin")

    def on_grad_computed(self, net, **kwargs):
        self.draw("gradient")

    def on_epoch_end(self, net, **kwargs):
        self.draw("epoch")


@pytest.mark.usefixtures("global_random_state_stays")
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("moment", ["begin", "gradient", "epoch"])
def test_what_callbacks_draw_is_seeded_too(moment, dropout):
    nets = [
        fit(make_net(module_params={"dropout": dropout}, callbacks=[Noisy(moment)]), seed=seed)
        for seed in (3, 3, 4)
    ]
    drawn = [own(net, Noisy).drawn for net in nets]
    assert len(set(drawn[0])) == len(drawn[0]) == (2 if moment == "epoch" else 2 * BATCHES)
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(weights(nets[0]), weights(nets[1]))


def test_workers_change_nothing():
    workers = {"net_params": {"iterator_train__num_workers": 2}}
    assert torch.equal(weights(fit(make_net(**workers))), weights(fit(make_net())))


# Training.


def test_training_learns():
    net = fit(make_net(), epochs=31)
    losses = net.history[:, "train_loss"]
    assert losses[-1] < losses[0] / 5


def test_losses_in_the_history_are_those_of_the_head():
    data, validation = make_data()
    net = fit(make_net(), data, validation, epochs=2)
    batches = net.history[-1]["batches"]
    train_batches = [batch for batch in batches if "train_loss" in batch]
    assert [batch["train_batch_size"] for batch in train_batches] == [8, 8, 7]
    mean = sum(b["train_loss"] * b["train_batch_size"] for b in train_batches) / WINDOWS
    assert net.history[-1, "train_loss"] == pytest.approx(mean)
    assert net.history[-1, "train_batch_count"] == BATCHES
    inputs, target = validation.__getitems__(list(range(len(validation))))
    direct = (net.outputs(inputs) - target).square().mean()
    assert net.history[-1, "valid_loss"] == pytest.approx(direct.item(), rel=1e-5)
    assert net.history[:, "valid_loss_best"][-1]


def test_an_auxiliary_loss_counts_in_training_alone():
    data, validation = make_data()
    net = fit(make_net(Costly), data, validation, epochs=1)
    assert net.history[-1, "train_loss"] > 999
    assert net.history[-1, "valid_loss"] < 99


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_with_its_weight_decay(name):
    net = make_net(optimizer=name, weight_decay=0.7)
    before = weights(net)
    assert type(net.optimizer_) is OPTIMIZERS[name]
    assert net.optimizer_.param_groups[0]["weight_decay"] == 0.7
    assert not torch.equal(weights(fit(net)), before)


def test_a_second_training_goes_on_with_its_own_lr():
    net = fit(make_net(), epochs=2, lr=0.01)
    before = weights(net)
    fit(net, epochs=3, lr=0.003)
    assert len(net.history) == 5
    assert rates(net)[: 2 * BATCHES] == pytest.approx([0.01] * 2 * BATCHES)
    assert rates(net)[2 * BATCHES :] == pytest.approx([0.003] * 3 * BATCHES)
    assert not torch.equal(weights(net), before)


def test_networks_see_categories_through_an_embedding():
    spec = WindowSpec(**{**vars(SPEC), "cardinalities": (11,), "known_categories": (0,)})
    net = make_net(spec=spec, head=QuantileHead((0.1, 0.5, 0.9)))
    network = net.module_
    assert isinstance(network, EmbeddedNetwork)
    past, future = network.embedding.widths(spec.num_past_features, spec.num_future_features)
    assert network.network.linear.weight.shape == (2 * 3, past + future)


# The gradient and the learning rate.


def step_length(gradient_clip):
    """Return how far one step of gradient descent with lr 1 moves the weights."""
    data = make_data(windows_per_epoch=BATCH_SIZE)[0]
    net = make_net(optimizer="sgd", gradient_clip=gradient_clip)
    before = weights(net)
    fit(net, data, epochs=1, lr=1.0)
    return (weights(net) - before).norm().item()


def test_the_gradient_is_clipped_to_its_norm():
    free = step_length(None)
    assert free > 0.1
    assert step_length(0.07) == pytest.approx(0.07, rel=1e-3)
    assert step_length(100.0) == pytest.approx(free)


def rates(net):
    """Return the learning rate of every training batch."""
    batches = [batch for epoch in net.history for batch in epoch["batches"]]
    return [batch["event_lr"] for batch in batches if "event_lr" in batch]


@pytest.mark.parametrize("schedule", [None, "cosine", "onecycle"])
def test_every_schedule_acts_over_the_whole_training(schedule):
    net = fit(make_net(lr_schedule=schedule), epochs=13, lr=0.02, lr_schedule=schedule)
    steps = 13 * BATCHES
    found = rates(net)
    assert len(found) == steps
    if schedule is None:
        assert found == pytest.approx([0.02] * steps)
    elif schedule == "cosine":
        by_hand = [0.01 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
        assert found == pytest.approx(by_hand, abs=1e-9)
    else:
        peak = 0.15 * steps - 1  # a fraction of a step: the nearest is within 1 % of the peak
        assert abs(found.index(max(found)) - peak) <= 1
        assert max(found) == pytest.approx(0.02, rel=0.01)
        assert found[0] == pytest.approx(0.02 / 25)
        assert found[-1] == pytest.approx(0.02 / 25 / 1e4)
        top = found.index(max(found))
        assert sorted(found[: top + 1]) == found[: top + 1]
        assert sorted(found[top:], reverse=True) == found[top:]


def test_schedules_give_different_weights():
    names = (None, "cosine", "onecycle")
    found = [weights(fit(make_net(), epochs=3, lr_schedule=name)) for name in names]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[2])


# Stopping.


def test_training_stops_after_patience_and_restores_the_best_weights():
    data, validation = make_data()
    net = make_net(patience=2, callbacks=[Recorder(), Spoiler(4, 10.0)])
    fit(net, data, validation, epochs=50)
    assert len(net.history) == 6
    losses = net.history[:, "valid_loss"]
    assert min(losses) == losses[3]
    assert torch.equal(weights(net), own(net, Recorder).weights[3])


class Shifted(PointHead):
    """The squared error less 1000, below zero as a negative log-likelihood may be."""

    def losses(self, parameters, target):
        return super().losses(parameters, target) - 1000.0


def test_a_loss_below_zero_stops_training_and_picks_weights_as_one_above_does():
    data, validation = make_data()
    nets = []
    for head in (PointHead("mse"), Shifted("mse")):
        worse = [Spoiler(epoch, 0.03) for epoch in range(4, 29)]
        net = make_net(head=head, patience=3, callbacks=worse, optimizer="sgd")
        nets.append(fit(net, data, validation, epochs=29))
    above, below = nets
    assert 4 < len(above.history) < 29
    assert len(above.history) == len(below.history)
    torch.testing.assert_close(weights(above), weights(below))


def test_without_patience_training_goes_on_but_the_best_weights_win():
    data, validation = make_data()
    net = make_net(patience=None, callbacks=[Recorder(), Spoiler(4, 10.0)])
    fit(net, data, validation, epochs=11)
    assert len(net.history) == 11
    assert torch.equal(weights(net), own(net, Recorder).weights[3])


def test_without_validation_the_last_weights_stay():
    net = make_net(patience=1, callbacks=[Recorder(), Spoiler(4, 10.0)])
    fit(net, epochs=7)
    assert len(net.history) == 7
    assert torch.equal(weights(net), own(net, Recorder).weights[-1])


def test_a_later_training_does_not_restore_weights_of_an_earlier_one():
    data, validation = make_data()
    net = fit(make_net(patience=2, callbacks=[Recorder()]), data, validation, epochs=2)
    fit(net, data, None, epochs=2)
    assert torch.equal(weights(net), own(net, Recorder).weights[-1])


INTERRUPTED = r"Got an interrupt \(Ctrl-C\) after {} of {} training steps"


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_ctrl_c_keeps_the_weights_so_far_and_warns(batch):
    ctrl_c = CtrlC(2, batch)
    with pytest.warns(UserWarning, match=INTERRUPTED.format(BATCHES + batch, 7 * BATCHES)):
        net = fit(make_net(callbacks=[ctrl_c]), epochs=7)
    assert len(net.history) == 2
    assert torch.equal(weights(net), own(net, CtrlC).weights)


def test_ctrl_c_keeps_the_best_weights_where_there_is_validation():
    data, validation = make_data()
    net = make_net(callbacks=[Recorder(), Spoiler(3, 10.0), CtrlC(5, 2)])
    with pytest.warns(UserWarning, match=INTERRUPTED.format(4 * BATCHES + 2, 7 * BATCHES)):
        fit(net, data, validation, epochs=7)
    assert len(net.history) == 5
    assert torch.equal(weights(net), own(net, Recorder).weights[2])


def test_ctrl_c_in_the_first_epoch_keeps_the_weights_so_far():
    data, validation = make_data()
    net = make_net(callbacks=[CtrlC(1, 1)])
    with pytest.warns(UserWarning, match=INTERRUPTED.format(1, 7 * BATCHES)):
        fit(net, data, validation, epochs=7)
    assert torch.equal(weights(net), own(net, CtrlC).weights)


class Impatient(Callback):
    """Interrupts at a moment before the first step of a training."""

    def __init__(self, moment):
        self.moment = moment

    def notify(self, moment):
        if moment == self.moment:
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self.notify("epoch")

    def on_batch_begin(self, net, **kwargs):
        self.notify("batch")

    def on_grad_computed(self, net, **kwargs):
        self.notify("gradient")


@pytest.mark.parametrize("moment", ["epoch", "batch", "gradient"])
def test_ctrl_c_before_the_first_step_is_raised_since_nothing_is_trained(moment):
    net = make_net(callbacks=[Impatient(moment)])
    before = weights(net)
    with pytest.raises(KeyboardInterrupt):
        fit(net)
    assert torch.equal(weights(net), before)


def test_ctrl_c_in_a_second_training_counts_its_own_steps():
    net = fit(make_net())
    renew_callbacks(net, [CtrlC(3, 2)], None, 0)
    with pytest.warns(UserWarning, match=INTERRUPTED.format(2, BATCHES)):
        fit(net, epochs=1)
    fit(net, epochs=1)  # and the next one is whole, without a warning
    assert len(net.history) == 4


def test_a_callback_that_ends_the_training_after_an_epoch_is_no_ctrl_c():
    class Enough(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    assert len(fit(make_net(callbacks=[Enough()]), epochs=7).history) == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_epoch_and_remedies(number):
    net = make_net(callbacks=[Spoiler(2, number)])
    with pytest.raises(RuntimeError) as error:
        fit(net, epochs=7, lr=0.013)
    message = str(error.value)
    assert "Got a train loss that is not finite in epoch 3" in message
    assert "a smaller lr (now 0.013)" in message
    assert "gradient_clip" in message


# Output.


def test_training_is_silent_by_default(capsys):
    data, validation = make_data()
    fit(make_net(patience=1, callbacks=[Spoiler(1, 10.0)]), data, validation, epochs=5)
    assert capsys.readouterr() == ("", "")


def test_training_is_silent_where_print_is_not_pythons_own(capsys, monkeypatch):
    """Ray's workers replace it, and skorch takes what it does not know for a log."""
    real = builtins.print
    monkeypatch.setattr(builtins, "print", lambda *args, **kwargs: real(*args, **kwargs))
    net = fit(make_net())
    renew_callbacks(net, None, None, 0)
    fit(net)
    assert capsys.readouterr() == ("", "")
    renew_callbacks(net, None, None, 2)
    fit(net)
    assert "train_loss" in capsys.readouterr().out


def test_the_compilers_log_is_silent_and_is_as_before_afterwards():
    logger = logging.getLogger("torch._dynamo")
    before = logger.level
    with quiet_compiler():
        assert not logger.getChild("variables.tensor").isEnabledFor(logging.WARNING)
        with quiet_compiler():
            pass
        assert logger.isEnabledFor(logging.ERROR)
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.level == before


def test_verbose_1_tells_epoch_and_losses(capsys):
    data, validation = make_data()
    net = fit(make_net(verbose=1), data, validation, epochs=3)
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"fit: {3 * WINDOWS} of {3 * WINDOWS} windows, epoch 3/3, ")
    assert f"train_loss {net.history[-1, 'train_loss']:.4f}" in line
    assert f"valid_loss {net.history[-1, 'valid_loss']:.4f}" in line
    pickle.dumps(net)


def test_the_progress_of_a_second_training_counts_its_own_epochs(capsys):
    net = fit(make_net(verbose=1), epochs=2)
    capsys.readouterr()
    fit(net, epochs=3)
    err = capsys.readouterr().err
    assert "epoch 3/3" in err
    assert "valid_loss" not in err


def test_verbose_2_is_skorchs_table(capsys):
    fit(make_net(verbose=2), epochs=3)
    out = capsys.readouterr().out
    assert "epoch" in out.splitlines()[0]
    assert "train_loss" in out.splitlines()[0]
    assert "\r" not in out
    assert len(out.splitlines()) == 2 + 3


# skorch's arguments, and what is kept.


def test_net_params_are_skorchs_arguments_and_win():
    net_params = {"batch_size": 23, "optimizer": torch.optim.SGD, "optimizer__momentum": 0.5}
    net = fit(make_net(net_params=net_params), epochs=2)
    assert type(net.optimizer_) is torch.optim.SGD
    assert net.optimizer_.param_groups[0]["momentum"] == 0.5
    assert len(net.history[-1]["batches"]) == 1


def test_callbacks_come_after_our_own():
    class Named(Callback):
        pass

    net = make_net(callbacks=[("mine", Named())], gradient_clip=1.0, verbose=1)
    names = [name for name, _ in net.callbacks_]
    own = ["gradient_clip", "lr_schedule", "early_stopping", "progress", "mine"]
    assert [name for name in names if name in own] == own


def test_a_net_survives_pickling_and_copying():
    data, validation = make_data()
    net = make_net(AttentionLSTM, {"d_model": 4}, gradient_clip=1.0, lr_schedule="onecycle")
    fit(net, data, validation, lr_schedule="onecycle")
    inputs = data.batch([0, 13]).inputs
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert torch.equal(twin.outputs(inputs), net.outputs(inputs))
        assert twin.history == net.history
        assert torch.equal(weights(fit(twin)), weights(fit(copy.deepcopy(net))))
    assert torch.equal(weights(net), weights(pickle.loads(pickle.dumps(net))))


def test_training_a_copy_leaves_the_net_unchanged():
    net = fit(make_net())
    before = weights(net)
    fit(copy.deepcopy(net))
    assert torch.equal(weights(net), before)
    assert len(net.history) == 2


def test_a_trained_net_keeps_no_data():
    data, validation = make_data(rows=100_003)
    net = fit(make_net(AttentionLSTM, {"d_model": 4}), data, validation)
    alive = [weakref.ref(thing) for thing in (data, data.store, validation, validation.dataset)]
    small = fit(make_net(AttentionLSTM, {"d_model": 4}), *make_data())
    assert abs(len(pickle.dumps(net)) - len(pickle.dumps(small))) < 1000
    del data, validation
    gc.collect()
    assert [ref() for ref in alive] == [None] * 4


def test_the_head_that_was_given_is_not_the_nets_own():
    head = PointHead("mse")
    assert make_net(head=head).criterion_ is not head


def test_bfloat16_is_close_to_float32_and_comes_back_as_float32():
    inputs = make_data()[0].batch(list(range(23))).inputs
    params = {"d_model": 8, "dropout": 0.0}
    nets = [make_net(AttentionLSTM, params, precision=p) for p in ("float32", "bf16-mixed")]
    for net in nets:
        net.module_.train()
    plain, mixed = [net.infer(inputs) for net in nets]
    assert plain.dtype == mixed.dtype == torch.float32
    assert not torch.equal(plain, mixed)
    torch.testing.assert_close(plain, mixed, rtol=0.05, atol=0.03)
    assert all(value.dtype == torch.float32 for value in nets[1].module_.parameters())
    torch.testing.assert_close(*[net.outputs(inputs) for net in nets], rtol=0, atol=0)


def test_bfloat16_trains():
    losses = [
        fit(make_net(precision=precision), epochs=11).history[:, "train_loss"]
        for precision in ("float32", "bf16-mixed")
    ]
    np.testing.assert_allclose(*losses, rtol=0.05)
    assert losses[1][-1] < losses[1][0]


def test_outputs_need_no_gradient_and_have_the_width_of_the_head():
    net = make_net(head=QuantileHead((0.1, 0.5, 0.9)))
    output = net.outputs(make_data()[0].batch([0, 1, 2, 3, 5]).inputs)
    assert output.shape == (5, 3, 2 * 3)
    assert not output.requires_grad


# What only some networks take.


class Pupil(LastRow):
    """A network that is shown the targets in training, and remembers what it was shown."""

    shown = []

    def forward(self, past, future, past_lengths=None, future_lengths=None, *, target=None):
        self.shown.append((self.training, None if target is None else target.clone()))
        output = super().forward(past, future)
        return output if target is None else output + 0.0 * target.nan_to_num().sum()


def with_holes(data):
    """Return the data with every fifth row of the first target missing."""
    data.store.observed[::5, 0] = False
    return data


def test_targets_are_shown_in_training_alone_and_nan_where_missing():
    Pupil.shown = []
    data, validation = make_data()
    with_holes(data)
    net = fit(make_net(Pupil), data, validation, epochs=2)
    trained = [target for training, target in Pupil.shown if training]
    assert len(trained) == 2 * BATCHES
    assert all(target.shape[1:] == (SPEC.horizon, SPEC.num_targets) for target in trained)
    missing = torch.cat(trained).isnan()
    assert missing[..., 0].any()
    assert not missing[..., 1].any()
    assert not missing.all(dim=1)[..., 0].any()
    evaluated = [target for training, target in Pupil.shown if not training]
    assert evaluated
    assert all(target is None for target in evaluated)
    Pupil.shown = []
    net.outputs(data.batch([0, 1]).inputs)
    assert Pupil.shown == [(False, None)]


def test_the_targets_shown_are_those_of_the_loss():
    Pupil.shown, pairs = [], []

    class Watched(PointHead):
        def forward(self, output, target, *unit):
            pairs.append(target.clone())
            return super().forward(output, target, *unit)

    fit(make_net(Pupil, head=Watched("mse")), with_holes(make_data()[0]), epochs=1)
    assert len(pairs) == len(Pupil.shown) == BATCHES
    for (_, shown), target in zip(Pupil.shown, pairs, strict=True):
        torch.testing.assert_close(shown, target, equal_nan=True)


def test_targets_that_are_counts_are_shown_without_their_unit():
    Pupil.shown = []
    spec = dataclasses.replace(SPEC, support="count")
    data, _ = make_data()
    data.spec = spec
    data.store.values.abs_().mul_(7).round_()
    fit(make_net(Pupil, head=make_head("poisson", None), spec=spec), data, epochs=1)
    assert all(target.shape == (len(target), 3, 2) for _, target in Pupil.shown)


def test_whether_a_network_takes_targets_is_asked_once_and_not_at_every_step(monkeypatch):
    asked = []
    monkeypatch.setattr(net_module, "takes", lambda *args: asked.append(args) or takes(*args))
    net = make_net(Pupil)
    fit(net, epochs=3)
    assert [name for _, name in asked].count("target") == 1
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        Pupil.shown = []
        fit(twin, epochs=1)
        assert all(target is not None for _, target in Pupil.shown)


def test_networks_that_do_not_take_targets_are_not_shown_any():
    fit(make_net(LastRow), epochs=1)  # its forward would refuse the keyword


CODES = dataclasses.replace(SPEC, num_identities=1)


def test_an_embedding_in_front_does_not_hide_the_targets():
    Pupil.shown = []
    data, _ = make_data()
    data.spec = CODES
    net = fit(make_net(Pupil, spec=CODES), data, epochs=1)
    assert isinstance(net.module_, EmbeddedNetwork)
    assert [target is not None for _, target in Pupil.shown] == [True] * BATCHES


def test_compilation_does_not_hide_the_targets():
    module = EmbeddedNetwork(Pupil(9, 4), InputEmbedding([1], [5], [3]))
    for wrapped in (module, torch.compile(module, backend="eager")):
        assert unwrapped(wrapped) is module.network
        assert takes(unwrapped(wrapped).forward, "target")
    plain = LastRow(9, 4)
    assert unwrapped(torch.compile(plain, backend="eager")) is plain
    assert not takes(unwrapped(plain).forward, "target")


class Rolling(LastRow):
    """A network that is told how many targets there are and what its output says of them."""

    def __init__(
        self, num_past_features, num_future_features, output_dim=1, num_targets=None, point=None
    ):
        super().__init__(num_past_features, num_future_features, output_dim)
        self.num_targets, self.point = num_targets, point


HEADS = {
    "mse": (PointHead("mse"), 1),
    "quantile": (QuantileHead((0.1, 0.5, 0.9)), 3),
    "even quantiles": (QuantileHead((0.2, 0.4, 0.6, 0.8)), 4),
    "normal": (make_head("normal", None), 2),
}


@pytest.mark.parametrize("spec", [SPEC, CODES], ids=["plain", "embedded"])
@pytest.mark.parametrize("name", HEADS)
def test_networks_that_ask_are_told_the_targets_and_the_point_of_an_output(name, spec):
    head, parameters = HEADS[name]
    net = make_net(Rolling, head=head, spec=spec)
    network = unwrapped(net.module_)
    assert network.num_targets == SPEC.num_targets
    output = torch.randn(5, 3, SPEC.num_targets * parameters)
    expected = net.criterion_.point(net.criterion_.unpack(output))
    assert expected.shape == (5, 3, SPEC.num_targets)
    torch.testing.assert_close(network.point(output), expected)
    one = torch.randn(5, 1, SPEC.num_targets * parameters, requires_grad=True)
    network.point(one).sum().backward()
    assert one.grad.any()  # a network may learn through it
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.initialize()):
        torch.testing.assert_close(unwrapped(twin.module_).point(output), expected)


STATIC = dataclasses.replace(SPEC, num_static=2, static_cardinalities=(7,))


class Placed(LastRow):
    """A network that takes static covariates."""

    def __init__(self, num_past_features, num_future_features, output_dim, num_static_features):
        super().__init__(num_past_features, num_future_features, output_dim)
        self.static = nn.Linear(num_static_features, output_dim)

    def forward(self, past, future, past_lengths=None, static=None):
        return super().forward(past, future) + self.static(static)[:, None]


def test_static_covariates_reach_networks_that_take_them_alone():
    net = make_net(Placed, spec=STATIC)
    assert unwrapped(net.module_).static.in_features == 2 + 4  # seven categories, a vector of four
    assert isinstance(unwrapped(make_net(Rolling).module_), Rolling)
    with pytest.raises(ValueError, match="static_covariates with the module LastRow"):
        make_net(LastRow, spec=STATIC)
    numeric = dataclasses.replace(SPEC, num_static=2)
    assert isinstance(make_net(Placed, spec=numeric).module_, Placed)


def test_what_an_older_torch_would_compute_wrongly_is_refused(monkeypatch):
    monkeypatch.setattr("sktime_tlstm.net.traces_all", lambda: False)
    params = {"d_model": 4, "num_heads": 2, "feedforward": "moe"}
    with pytest.raises(ValueError, match="Got compile=True with a mixture of experts in torch"):
        make_net(TransformerLSTM, params, compile=True)
    make_net(TransformerLSTM, params)


class ComplexRow(LastRow):
    """A network with a complex weight."""

    def __init__(self, *widths, **more):
        super().__init__(*widths, **more)
        self.turn = nn.Parameter(torch.ones((), dtype=torch.complex64))

    def forward(self, past, future, past_lengths=None):
        return super().forward(past, future, past_lengths) * self.turn.abs()


@pytest.mark.parametrize(
    ("module", "net_params", "fused"),
    [
        (LastRow, {}, True),
        (ComplexRow, {}, None),
        (LastRow, {"optimizer__foreach": True}, None),
        (LastRow, {"optimizer__fused": False}, False),
        (LastRow, {"optimizer": torch.optim.RMSprop}, None),
    ],
)
def test_the_optimizer_moves_all_weights_in_one_call_where_it_can(module, net_params, fused):
    net = fit(make_net(module, net_params=net_params), epochs=2)
    assert net.optimizer_.defaults.get("fused") is fused
    assert np.isfinite(net.history[:, "train_loss"]).all()
