"""In a training step the host never waits for a device.

A tensor on the meta device has no values: whoever reads one fails here, as whoever reads one on a
GPU waits there. Networks are told that it can be read all the same, so that they do what they do on
a GPU. What happens within torch's own kernels cannot be seen here.
"""

import dataclasses
import inspect
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sktime_tlstm.data.augmentation import Augmentation
from sktime_tlstm.data.sampling import WindowDataset
from sktime_tlstm.net import build_net, train
from sktime_tlstm.nn import LOSSES, Seq2SeqLSTM, TransformerLSTM, make_head
from tests.data.test_windows import SPEC, make_store
from tests.nn.variants import SMALL, VARIANTS

#: All that a window may hold, but short contexts: only where these are in a batch, it is waited.
EVERYTHING = dataclasses.replace(SPEC, num_identities=2)
STATIC = dataclasses.replace(EVERYTHING, num_static=2, static_cardinalities=(7,))
WINDOWS, BATCH_SIZE, BATCHES = 23, 8, 3

ITEMS = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
FROM_DATA = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)
COPIES = {torch.ops.aten._to_copy.default: 0, torch.ops.aten.copy_.default: 1}


class HostValues(TorchFunctionMode):
    """Fails where values of the host, such as a list of columns, become a tensor of a device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in FROM_DATA and result.is_meta:
            refuse_values(args[:1] if func is not torch.Tensor.new_tensor else args[1:2])
        if func in ITEMS and args[0].is_meta:
            refuse_values(args[1] if isinstance(args[1], tuple) else (args[1],))
        return result


def refuse_values(parts):
    """Fail unless every part is on the device, or is a number or a slice of an index."""
    for part in parts:
        if isinstance(part, torch.Tensor) and part.is_meta:
            continue
        if not (part is None or part is Ellipsis or isinstance(part, (int, slice))):
            raise AssertionError(f"{part!r} is copied to the device, and waited for")


class Copies(TorchDispatchMode):
    """Fails where the host waits for the end of a copy."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in COPIES:
            moved = args[COPIES[func]].device != result.device
            if moved and not (kwargs.get("non_blocking") or args[2:3] == (True,)):
                raise AssertionError(f"{func} to {result.device} is waited for")
        return result


@pytest.fixture(autouse=True)
def told_to_read(monkeypatch):
    """Tell networks that they can read what is on the meta device."""
    modules = [one for name, one in list(sys.modules.items()) if name.startswith("sktime_tlstm.")]
    for module in modules:
        if hasattr(module, "is_readable"):
            monkeypatch.setattr(module, "is_readable", lambda values: True)


class LastRow(nn.Module):
    """A linear network that sees the last row before the cutoff."""

    def __init__(self, num_past_features, num_future_features, output_dim):
        super().__init__()
        self.linear = nn.Linear(num_past_features + num_future_features, output_dim)

    def forward(self, past, future, past_lengths=None):
        last = past[:, -1:].expand(-1, future.shape[1], -1)
        return self.linear(torch.cat([last, future], dim=-1))


def train_on_device(
    network=LastRow,
    options=None,
    spec=EVERYTHING,
    head=None,
    shortest=17,
    augmentation=None,
    net_params=None,
    blocks=False,
):
    """Train for an epoch; its losses are read at the end, after all of its steps."""
    net = build_net(
        network,
        options or {},
        head or make_head("mse"),
        spec,
        optimizer="adamw",
        weight_decay=0.1,
        gradient_clip=1.0,
        lr_schedule="onecycle",
        patience=None,
        callbacks=None,
        net_params=net_params,
        verbose=0,
        lr=0.01,
        batch_size=BATCH_SIZE,
        max_epochs=1,
        device="meta",
        seed=0,
    )
    store = make_store(spec, lengths=(60, 50))
    static = torch.zeros(2, spec.num_static_features)
    store = dataclasses.replace(store, traits=dataclasses.replace(store.traits, static=static))
    cutoffs = np.array([shortest, shortest]), np.array([55, 45])
    data = WindowDataset(store, spec, *cutoffs, windows_per_epoch=WINDOWS)
    data.store = store.to("meta")
    if blocks:  # rows of which are no targets
        data.rows = torch.empty(len(store.values), dtype=torch.bool, device="meta")
    with HostValues(), Copies(), pytest.raises(NotImplementedError, match="out of meta"):
        how = {"epochs": 1, "lr": 0.01, "lr_schedule": "onecycle", "seed": 0}
        train(net, data, None, **how, augmentation=augmentation)
    return net.steps_


@pytest.mark.parametrize("name", VARIANTS)
def test_no_network_waits_for_the_device(name):
    variant = VARIANTS[name]
    parameters = inspect.signature(variant.network).parameters
    options = {key: value for key, value in SMALL.items() if key in parameters}
    if variant.causal:
        options["causal_attention"] = variant.causal[0]
    options |= variant.options
    spec = STATIC if variant.static else EVERYTHING
    assert train_on_device(variant.network, options, spec) == BATCHES


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_waits_for_the_device(loss):
    head = make_head(loss)
    spec = dataclasses.replace(SPEC, support=head.support)
    assert train_on_device(spec=spec, head=head) == BATCHES


@pytest.mark.parametrize(
    "changed",
    [
        {"arcsinh": True},
        {"window_norm": None},
        {"window_norm": None, "hidden": (0, 3, 5)},
        {"window_norm": "mean"},
        {"known": (0, 1, 2), "known_categories": (0, 1)},
        {"known": (), "known_categories": (), "lags": ()},
    ],
    ids=str,
)
def test_no_kind_of_window_waits_for_the_device(changed):
    assert train_on_device(spec=dataclasses.replace(SPEC, **changed)) == BATCHES


def test_no_simulation_waits_for_the_device():
    spec = dataclasses.replace(SPEC, simulation=True)
    options = {**SMALL, "encoder_attention": False, "attention": "multi_head"}
    assert train_on_device(TransformerLSTM, options, spec) == BATCHES
    assert train_on_device(TransformerLSTM, options, spec, blocks=True) == BATCHES


@pytest.mark.parametrize("shortest", [2, 17])
def test_no_augmentation_waits_for_the_device(shortest):
    augmentation = Augmentation(EVERYTHING, 0.1, 3)
    assert train_on_device(shortest=shortest, augmentation=augmentation) == BATCHES


@pytest.mark.parametrize("network", [LastRow, TransformerLSTM])
def test_no_step_in_parts_waits_for_the_device(network):
    options = SMALL if network is TransformerLSTM else {}
    assert train_on_device(network, options, net_params={"micro_batch_size": 3}) == BATCHES


class Reading(LastRow):
    """A network that reads a number of the device at every step."""

    def forward(self, past, future, past_lengths=None):
        return super().forward(past, future) * past.sum().item()


class Listing(LastRow):
    """A network with a list in an index."""

    def forward(self, past, future, past_lengths=None):
        return super().forward(past[:, :, list(range(past.shape[-1]))], future)


class Copying(LastRow):
    """A network that copies a tensor to the device at every step."""

    def forward(self, past, future, past_lengths=None):
        return super().forward(past, future) + torch.zeros(1).to(past.device)


class Making(LastRow):
    """A network that makes a tensor from a list at every step."""

    def forward(self, past, future, past_lengths=None):
        return super().forward(past, future) + torch.tensor([0.0], device=past.device)


class Choosing(LastRow):
    """A network whose shapes depend on values."""

    def forward(self, past, future, past_lengths=None):
        return super().forward(past, future) + past[past > 0].sum()


@pytest.mark.parametrize("network", [Reading, Listing, Copying, Making, Choosing])
def test_one_that_waits_would_be_found_out(network):
    with pytest.raises((AssertionError, RuntimeError)):
        assert train_on_device(network) == BATCHES


def test_what_is_said_to_wait_does():
    # in the documentation: short contexts, also drawn ones, a capacity, and a teacher who is right
    bounded = {"feedforward": "moe", "capacity_factor": 1.5}
    always = {"decoding": "autoregressive", "teacher_forcing_ratio": 1.0}
    for network, options, how in [
        (TransformerLSTM, SMALL, {"shortest": 2}),
        (TransformerLSTM, SMALL, {"augmentation": Augmentation(EVERYTHING, 0.0, 3)}),
        (TransformerLSTM, {**SMALL, **bounded}, {}),
        (Seq2SeqLSTM, {"embedding_dim": 5, "hidden_size": 7, **always}, {}),
    ]:
        with pytest.raises((AssertionError, RuntimeError)):
            assert train_on_device(network, options, **how) == BATCHES
