"""Training: a skorch net for windows, its optimiser, schedule, budget and random state."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, cast

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sktime_tlstm.callbacks import (
    TrainingProgress,
    ValidationStopping,
    live_parts,
    missing_score,
    own_copies,
    schedule,
)
from sktime_tlstm.contract import construct, one_tensor, prepare, takes, unwrapped
from sktime_tlstm.data.augmentation import Augmentation
from sktime_tlstm.data.sampling import WindowDataset, WindowSampler, parts_of, rows_of
from sktime_tlstm.data.windows import Inputs, WindowSpec
from sktime_tlstm.nn import Head, MixtureOfExperts
from sktime_tlstm.nn.exporting import traces_all
from sktime_tlstm.nn.heads import counted_targets
from sktime_tlstm.nn.randomness import OwnRandomness, at_full_speed, seeded_globally, watched
from sktime_tlstm.notices import notify, quiet_compiler
from sktime_tlstm.processes import ALONE, Processes, joined

__all__ = [
    "OPTIMIZERS",
    "OWN_ARGUMENTS",
    "PRECISIONS",
    "ForecastNet",
    "build_net",
    "isolated_random_state",
    "renew_callbacks",
    "train",
]

OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}

PRECISIONS = ("auto", "float32", "bf16-mixed")

#: Windows of a batch from which matrix products are worth casting to bfloat16.
BFLOAT16_BATCH = 64

#: Arguments of the net that come from parameters of the forecaster alone, not from net_params.
OWN_ARGUMENTS = (
    "module",
    "criterion",
    "lr",
    "max_epochs",
    "callbacks",
    "device",
    "seed",
    "train_split",
)


class EndOfTraining(KeyboardInterrupt):
    """A callback's wish to end the training, which is no Ctrl-C."""


class ForecastNet(NeuralNet):
    """A skorch ``NeuralNet`` whose data are windows and whose criterion is a head.

    ``fit`` and ``partial_fit`` take a WindowDataset, or a pair of a training and a validation
    dataset (None for none).

    Parameters
    ----------
    module, criterion
        As in skorch: the network, and the head that is its loss.
    precision : {"auto", "float32", "bf16-mixed"}, default="float32"
        "bf16-mixed" trains the network under autocast to bfloat16; weights, loss and forecasts
        stay float32. "auto" does so where it was measured to be faster: networks that say
        ``trains_in_bfloat16``, in batches of at least 64, on CPUs with AMX.
    data_parallel : bool, default=False
        Whether the processes that a launcher (``accelerate launch``, ``torchrun``) has started
        train one network together: a step takes ``batch_size`` windows in each of them.
    micro_batch_size : int or None, default=None
        Windows that go through the network at once in a training step, whose gradients are added
        up: less memory and more time to the same step, but for rounding, for what is drawn, and
        for networks that look at a batch as a whole, as a mixture of experts does to balance them.
    seed : int, default=0
        Seed of the initial weights, the order of windows, and dropout.
    arcsinh : bool, default=False
        Whether targets are scaled by an arcsinh, for the errors in the record.
    **kwargs
        Any other argument of skorch's ``NeuralNet``.
    """

    #: Where the state of a training is kept, while there is one: a `Checkpoint`.
    checkpoint_: Any = None
    #: What is done to the inputs of this training, if anything.
    augmentation_: Augmentation | None = None
    #: Who trains together.
    processes_: Processes = ALONE
    #: Whether another thread wants this training to end, as at Ctrl-C, which reaches no thread.
    stop_asked_: bool = False

    def __init__(
        self,
        module: Callable[..., nn.Module],
        criterion: Head,
        *,
        precision: str = "float32",
        data_parallel: bool = False,
        micro_batch_size: int | None = None,
        seed: int = 0,
        arcsinh: bool = False,
        **kwargs: Any,
    ) -> None:
        self.precision = precision
        self.data_parallel = data_parallel
        self.micro_batch_size = micro_batch_size
        self.seed = seed
        self.arcsinh = arcsinh
        super().__init__(module, criterion, **kwargs)

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        """Skorch's callbacks, without its table where nobody asked for one.

        It would print wherever ``print`` has been replaced, as in the workers of Ray.
        """
        own: list[tuple[str, Callback]] = super()._default_callbacks
        return [(name, one) for name, one in own if name != "print_log" or self.verbose]

    def initialize(self) -> ForecastNet:
        """Initialise all parts under the net's own seed."""
        with isolated_random_state(self.seed, self.compile):
            return super().initialize()

    def initialize_module(self) -> ForecastNet:
        """Build the network, naming a broken contract clearly."""
        network = construct(self.module, **self.get_params_for("module"))
        # asked here once, and not at every step
        self.shows_target_ = takes(unwrapped(network).forward, "target")
        mixes = any(isinstance(layer, MixtureOfExperts) for layer in network.modules())
        if self.compile and mixes and not traces_all():
            raise ValueError(
                f"Got compile=True with a mixture of experts in torch {torch.__version__}, whose "
                "compiler loses a part of the loss; expected 2.13 or later. Pass compile=False, or "
                "upgrade torch."
            )
        self.module_ = network
        return self

    def initialize_criterion(self) -> ForecastNet:
        """Copy the head: ``criterion`` stays on the CPU, so that a pickle loads without CUDA."""
        self.criterion_ = copy.deepcopy(self.criterion)
        return self

    def get_params_for_optimizer(
        self, prefix: str, named_parameters: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Return what the optimizer is built with: one that moves all weights in one call.

        That takes a twentieth of a training's time less. It knows no complex weights.
        """
        named_parameters = list(named_parameters)
        arguments, options = super().get_params_for_optimizer(prefix, named_parameters)
        real = all(weight.is_floating_point() for _, weight in named_parameters)
        known = self.optimizer in (OPTIMIZERS["adamw"], OPTIMIZERS["adam"])
        chosen = {"fused", "foreach", "differentiable"} & set(options)
        if real and known and not chosen and torch.device(self.device).type in ("cpu", "cuda"):
            options["fused"] = True
        return arguments, options

    def __deepcopy__(self, memo: dict[int, Any]) -> ForecastNet:
        """Copy all but what is live in callbacks, such as a writer, which copies share."""
        memo.update({id(part): part for part in live_parts(self.callbacks)})
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        state: dict[str, Any] = super().__getstate__()
        twin.__setstate__(copy.deepcopy(state, memo))
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a net; optimisers that torch forgets a part of, such as LBFGS, are built anew."""
        super().__setstate__(state)
        if self.initialized_ and type(self.optimizer_) not in OPTIMIZERS.values():
            kept = self.optimizer_.state_dict()
            self.initialize_optimizer()
            self.optimizer_.load_state_dict(kept)

    def notify(self, method_name: str, **arguments: Any) -> None:
        """Call a method of all callbacks, but of those that miss the validation they need.

        A KeyboardInterrupt at the end of an epoch is a callback's way to end the training.
        """
        getattr(self, method_name)(self, **arguments)
        self._notify_callbacks(method_name, arguments)
        if self.checkpoint_ is not None and method_name == "on_train_begin":
            self.checkpoint_.resume(self)
        if self.checkpoint_ is not None and method_name == "on_epoch_end":
            self.checkpoint_.save(self)

    def _notify_callbacks(self, method_name: str, arguments: dict[str, Any]) -> None:
        for name, callback in self.callbacks_:
            if name in self.idle_:
                continue
            try:
                getattr(callback, method_name)(self, **arguments)
            except KeyboardInterrupt as stop:
                if method_name == "on_epoch_end":
                    raise EndOfTraining from stop
                raise
            except Exception as error:
                score = missing_score(error)
                if score is None or self.validates_:
                    raise
                self.idle_.add(name)
                notify(
                    f"Got the callback {type(callback).__name__}, which reads {score!r}, and a "
                    "training without validation: it does nothing there. Pass "
                    "validation_fraction=0.1 to have some in fit; fine-tuning and updates have "
                    "none.",
                )

    @property
    def epochs_before_(self) -> int:
        """Number of epochs of this training that an earlier process has done."""
        return 0 if self.checkpoint_ is None else self.checkpoint_.epochs

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Note what this training has, and that it has not come far."""
        self.idle_, self.validates_ = set[str](), isinstance(X, tuple) and X[1] is not None
        self.steps_, self.was_interrupted_ = 0, False

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> ForecastNet:
        """Train; note a Ctrl-C, which skorch would pass over in silence."""
        epochs = (self.max_epochs if epochs is None else epochs) - self.epochs_before_
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        except KeyboardInterrupt as stop:
            self.was_interrupted_ = not isinstance(stop, EndOfTraining)
            raise

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Return training and validation data, as given in a pair."""
        return X if isinstance(X, tuple) else (X, None)

    def get_iterator(self, dataset: Dataset[Any], training: bool = False) -> DataLoader[Any]:
        """Return a DataLoader; in training one that draws windows by a WindowSampler."""
        if training and isinstance(dataset, WindowDataset):
            own = self.processes_
            sampler = WindowSampler(dataset, self.seed, self.batch_size, own.rank, own.number)
            for _ in range(self.epochs_before_):
                iter(sampler)
            self.iterator_train__sampler = sampler
        try:
            return super().get_iterator(dataset, training=training)
        finally:
            self.__dict__.pop("iterator_train__sampler", None)  # it would keep the data alive

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Train on a batch, augmented once, however often the optimizer evaluates it."""
        if self.augmentation_ is not None:
            inputs, target = batch
            batch = self.augmentation_(inputs), target
        return cast(dict[str, Any], super().train_step(batch, **fit_params))

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Train on a batch, whose targets are shown to networks that take them."""
        inputs, target = batch
        if self.shows_target_:
            inputs = {**inputs, "target": parts_of(target)[0]}
        size = self.micro_batch_size
        if size is None or size >= len(inputs["past"]):
            step: dict[str, Any] = super().train_step_single((inputs, target), **fit_params)
        else:
            step = self._step_by_parts(inputs, target, size, **fit_params)
        self.processes_.average_gradients(self.module_)
        return step

    def _step_by_parts(
        self, inputs: dict[str, Tensor], told: Any, size: int, **fit_params: Any
    ) -> dict[str, Any]:
        """Add up the gradients of parts of a batch, each by its share of the targets."""
        self._set_training(True)
        target, _, weight = parts_of(told)
        counted = counted_targets(target, weight).flatten(1).sum(1)  # (batch,)
        shares = (counted / counted.sum().clamp(min=1)).to(self.device)
        losses, outputs = [], []
        for begin in range(0, len(counted), size):
            rows = slice(begin, begin + size)
            part = {name: value[rows] for name, value in inputs.items()}
            output = self.infer(part, **fit_params)
            loss = self.get_loss(output, rows_of(told, rows), part, True) * shares[rows].sum()
            loss.backward()
            losses.append(loss.detach())
            outputs.append(output.detach())
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(outputs)}

    def infer(self, x: dict[str, Tensor], **fit_params: Any) -> Tensor:
        """Run the network, in training as `precision` says, and return its output as float32."""
        precision = self.autocast() if self.module_.training else nullcontext()
        with precision, self._quietly(), watched():
            output = super().infer(x, **fit_params)
        return one_tensor(output)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return what the network is trained in."""
        if not self.is_mixed:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    @property
    def is_mixed(self) -> bool:
        """Whether the network is trained in bfloat16, as far as its matrix products."""
        if self.precision != "auto":
            return self.precision == "bf16-mixed"
        return (
            getattr(unwrapped(self.module_), "trains_in_bfloat16", False)
            and min(self.batch_size, self.micro_batch_size or math.inf) >= BFLOAT16_BATCH
            and torch.device(self.device).type == "cpu"
            and _has_amx()
        )

    @property
    def runs_beside_others(self) -> bool:
        """Whether it may train on a thread beside other nets: one of our networks, on the CPU.

        A user's network and callbacks may share what no two threads should touch, torch's compiler
        and workers of a DataLoader do.
        """
        own = type(unwrapped(self.module_)).__module__.startswith(f"{__package__}.")
        workers = self.get_params().get("iterator_train__num_workers")
        return own and self.device == "cpu" and not (self.compile or self.data_parallel or workers)

    def _quietly(self) -> AbstractContextManager[Any]:
        """Return what network and head run in, which skorch has compiled if it was asked to."""
        return quiet_compiler() if self.compile and not self.verbose else nullcontext()

    def get_loss(
        self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the head's loss; in training with the network's ``auxiliary_loss``, if any.

        ``y_true`` is what a `WindowDataset` returns beside its inputs.
        """
        target, unit, weight = parts_of(y_true)
        given = [part.to(y_pred.device) for part in (target, unit) if part is not None]
        weights = {} if weight is None else {"weight": weight.to(y_pred.device)}
        with self._quietly(), watched():
            loss = self.criterion_(y_pred, *given, **weights)
        if training and hasattr(self.module_, "auxiliary_loss"):
            loss = loss + cast(Any, self.module_).auxiliary_loss()
        return loss

    def run_single_epoch(
        self,
        iterator: DataLoader[Any] | None,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Any]],
        **fit_params: Any,
    ) -> None:
        """Run one epoch; read losses off the device once, at its end.

        Raises
        ------
        RuntimeError
            If a loss is NaN or infinite.
        """
        if iterator is None:
            return
        losses, sizes, errors = [], [], []
        for batch in at_full_speed(iter(iterator)):
            if self.stop_asked_:
                raise KeyboardInterrupt
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"].detach())
            if isinstance(batch[0], Inputs):
                errors.append(self._error(step["y_pred"], *batch))
            self.steps_ += training
            sizes.append(len(batch[0]["past"]))
            self.notify("on_batch_end", batch=batch, training=training, **step)
        joint = torch.stack(losses)
        if training:
            self.processes_.average([joint])
        values = joint.tolist()
        if not all(map(math.isfinite, values)):
            raise RuntimeError(
                f"Got a {prefix} loss that is not finite in epoch {len(self.history)}, expected a "
                f"number. Try a smaller lr (now {self.lr}), "
                "a smaller gradient_clip, precision='float32', or another scaler."
            )
        batches = self.history[-1]["batches"][-len(values) :]
        for record, loss, size in zip(batches, values, sizes, strict=True):
            record[prefix + "_loss"], record[prefix + "_batch_size"] = loss, size
        self.history.record(prefix + "_batch_count", len(values))
        if errors:
            sums = torch.stack(errors).sum(0)
            if training:
                self.processes_.average([sums])
            total, number = sums.tolist()
            self.history.record(prefix + "_mae", total / number if number else math.nan)
        if training:
            self.history.record("stage", self.stage_)

    @torch.no_grad()
    def _error(self, output: Tensor, inputs: Inputs, target: Any) -> Tensor:
        """Return the sum of the points' absolute errors in units of y, and their number."""
        target = parts_of(target)[0]
        point = self.criterion_.point(self.criterion_.unpack(one_tensor(output)))
        errors = inputs.absolute_errors(point, target, self.arcsinh)
        seen = ~errors.isnan()
        return torch.stack([torch.where(seen, errors, 0.0).sum(), seen.sum()])

    @torch.inference_mode()
    def outputs(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the network's outputs (batch, horizon, output_dim) in evaluation mode."""
        self._set_training(False)
        return self.infer(inputs)


@functools.cache
def _has_amx() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 by AMX; older torch cannot tell."""
    tells = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return tells is not None and torch.backends.mkldnn.is_available() and bool(tells())


def build_net(
    module: type[nn.Module] | Callable[..., nn.Module],
    module_params: dict[str, Any],
    head: Head,
    spec: WindowSpec,
    *,
    optimizer: str,
    weight_decay: float,
    gradient_clip: float | None,
    lr_schedule: str | None,
    patience: int | None,
    callbacks: Sequence[Any] | None,
    net_params: Mapping[str, Any] | None,
    verbose: int,
    **kwargs: Any,
) -> ForecastNet:
    """Build and initialise a net; ``net_params`` are skorch's own names and win over all others."""
    built, arguments = prepare(module, module_params, spec, head)
    net_params = dict(net_params or {})
    if takes(net_params.get("optimizer", OPTIMIZERS[optimizer]), "weight_decay"):
        net_params = {"optimizer__weight_decay": weight_decay, **net_params}
    options = {
        "module": built,
        "criterion": head,
        "optimizer": OPTIMIZERS[optimizer],
        "callbacks": [
            *_own_callbacks(gradient_clip, lr_schedule, kwargs["lr"], patience, verbose),
            *own_copies(callbacks),
        ],
        "verbose": int(verbose > 1),
        "arcsinh": spec.arcsinh,
        "iterator_train__collate_fn": _whole_batch,
        "iterator_valid__collate_fn": _whole_batch,
        **{f"module__{name}": value for name, value in arguments.items()},
        **kwargs,
        **net_params,
    }
    return ForecastNet(**options).initialize()


def renew_callbacks(
    net: ForecastNet, callbacks: Sequence[Any] | None, gradient_clip: float | None, verbose: int
) -> None:
    """Put new callbacks in the place of those that a net was built with, for fine-tuning."""
    net.callbacks = [
        *_own_callbacks(gradient_clip, None, net.lr, None, verbose),
        *own_copies(callbacks),
    ]
    net.verbose = int(verbose > 1)
    net.initialize_callbacks()


def _own_callbacks(
    gradient_clip: float | None,
    lr_schedule: str | None,
    lr: float,
    patience: int | None,
    verbose: int,
) -> list[tuple[str, Callback]]:
    """Return the callbacks of every training, by the names in OWN_CALLBACKS."""
    own: list[tuple[str, Callback]] = []
    if gradient_clip is not None:
        own.append(("gradient_clip", GradientNormClipping(gradient_clip)))
    own.append(("lr_schedule", schedule(lr_schedule, lr, 1)))
    # No relative threshold: below zero (a negative log-likelihood) skorch adds it the wrong way.
    stop = ValidationStopping(
        patience=patience or math.inf, threshold=0.0, load_best=True, sink=_silent
    )
    own.append(("early_stopping", stop))
    if verbose == 1:
        own.append(("progress", TrainingProgress()))
    return own


@contextmanager
def _together(
    net: ForecastNet, dataset: WindowDataset, seed: int, checkpoint: Any
) -> Iterator[Processes]:
    """Let a net be trained, within the block, by all processes that were started for it.

    Raises
    ------
    ValueError
        If they differ in data, seed or weights, or would write the same ``checkpoint``.
    """
    own = joined() if net.data_parallel else ALONE
    if checkpoint is not None and own.number > 1:
        raise ValueError(
            f"Got checkpoint_dir and data_parallel in {own.number} processes, which would write "
            "the same files; expected one of the two. Pass checkpoint_dir=None."
        )
    if own.number > 1:
        weights = [float(weight.detach().double().sum()) for weight in net.module_.parameters()]
        own.check_agreement(
            {
                "random_state": seed,
                "number of windows": len(dataset),
                "sum of the data": float(dataset.store.values.double().sum()),
                "sum of the weights": sum(weights),
            },
            net.device,
        )
    net.processes_ = own
    try:
        yield own
    finally:
        del net.processes_


def train(
    net: ForecastNet,
    dataset: WindowDataset,
    validation: Dataset[Any] | None,
    *,
    epochs: int,
    lr: float,
    lr_schedule: str | None,
    seed: int,
    stage: str = "fit",
    label: str | None = None,
    checkpoint: Any = None,
    augmentation: Augmentation | None = None,
) -> None:
    """Train an initialised net in place, under its own random state.

    ``stage`` is what the record calls this training, ``label`` what its progress does; None for
    the same. ``checkpoint``, a `Checkpoint` or None, is where the state after every epoch is kept:
    what is there already is not done again. ``augmentation`` changes the inputs of training steps.

    Ctrl-C ends the training early and keeps the best weights so far, with a warning.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C before the first step: there is nothing to keep.
    ValueError
        If no batch is whole.
    """
    with ExitStack() as stack:
        own = stack.enter_context(_together(net, dataset, seed, checkpoint))
        steps = epochs * len(net.get_iterator(dataset, training=True))
        if not steps:
            raise ValueError(
                f"Got no whole batch from {dataset.windows_per_epoch} windows with batches of "
                f"{net.batch_size} and drop_last. Pass a smaller batch_size, or no drop_last."
            )
        stack.enter_context(isolated_random_state(seed + (own.rank << 32), net.compile))
        stepping = schedule(lr_schedule, lr, steps)
        net.set_params(max_epochs=epochs, lr=lr, seed=seed, callbacks__lr_schedule=stepping)
        net.stage_, net.label_ = stage, label or stage
        if checkpoint is not None and checkpoint.load(net):
            return
        net.checkpoint_, net.augmentation_ = checkpoint, augmentation
        try:
            net.partial_fit((dataset, validation))
        finally:
            del net.checkpoint_, net.augmentation_
    if checkpoint is not None and not net.was_interrupted_:
        checkpoint.end(net)
    if net.was_interrupted_:
        if not net.steps_:
            raise KeyboardInterrupt
        notify(
            f"Got an interrupt (Ctrl-C) after {net.steps_} of {steps} training steps; the weights "
            "are as they were then, or the best so far where there is validation. Fit again to "
            "train to the end.",
        )


def _whole_batch(batch: Any) -> Any:
    """Collate: the dataset already returns whole batches."""
    return batch


def _silent(*args: Any, **kwargs: Any) -> None:
    """Print nothing."""


def isolated_random_state(seed: int, compiled: bool = False) -> AbstractContextManager[Any]:
    """Let torch draw from a seed within the block; its global random state stays as it is.

    Compiled networks draw from the global state alone: it is put back, one thread at a time.
    """
    return seeded_globally(seed) if compiled else OwnRandomness(seed)
