"""Callbacks: those that every training has, and how a user's own are copied and called."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
)

from sktime_tlstm.progress import Progress

__all__ = [
    "LR_SCHEDULES",
    "OWN_CALLBACKS",
    "Schedule",
    "TrainingProgress",
    "ValidationStopping",
    "is_callback",
    "is_checkpoint",
    "is_ours",
    "live_parts",
    "missing_score",
    "own_copies",
    "schedule",
]

#: Names of the callbacks that every net may have, besides skorch's own.
OWN_CALLBACKS = ("gradient_clip", "lr_schedule", "early_stopping", "progress")

#: Learning-rate schedules by name: a function of (lr, total steps) to skorch LRScheduler options.
LR_SCHEDULES: dict[str | None, Callable[[float, int], dict[str, Any]]] = {
    "onecycle": lambda lr, steps: {
        "policy": torch.optim.lr_scheduler.OneCycleLR,
        "max_lr": lr,
        "total_steps": steps,
        "pct_start": 0.15,
        "cycle_momentum": False,
    },
    "cosine": lambda lr, steps: {
        "policy": torch.optim.lr_scheduler.CosineAnnealingLR,
        "T_max": steps,
    },
    None: lambda lr, steps: {"policy": torch.optim.lr_scheduler.ConstantLR, "factor": 1.0},
}


class ValidationStopping(EarlyStopping):
    """skorch's early stopping where there is a validation loss, else nothing."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Stop after ``patience`` epochs without a better validation loss."""
        if self.monitor in net.history[-1]:
            super().on_epoch_end(net, **kwargs)


class Schedule(LRScheduler):
    """skorch's scheduler, pickled without torch's, which would bring along all weights again."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "lr_scheduler_": None}

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin at the learning rate that is set, and not where an earlier training ended."""
        for group in net.optimizer_.param_groups:
            group.pop("initial_lr", None)
        super().on_train_begin(net, **kwargs)


def schedule(name: str | None, lr: float, steps: int) -> Schedule:
    """Return the callback that steps a learning rate, by the name of its schedule."""
    options = LR_SCHEDULES[name](lr, steps)
    return Schedule(step_every="batch", last_epoch=-1, **options).initialize()


class TrainingProgress(Callback):
    """Shows how many windows are trained on, the epoch and its losses."""

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Begin anew, and note how many epochs there were before."""
        dataset = X[0] if isinstance(X, tuple) else X
        total = net.max_epochs * dataset.windows_per_epoch
        self.progress_ = Progress(total, net.label_, "windows")
        done = net.epochs_before_  # of a training that was broken off
        self.progress_.advance(done * dataset.windows_per_epoch)
        self.before_ = len(net.history) - done

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Count the windows of a batch."""
        if training:
            self.progress_.advance(len(batch[0]["past"]))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Tell the losses of an epoch."""
        last = net.history[-1]
        words = [f"epoch {len(net.history) - self.before_}/{net.max_epochs}"]
        words += [
            f"{name} {last[name]:.4f}" for name in ("train_loss", "valid_loss") if name in last
        ]
        self.progress_.advance(0, ", ".join(words))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """End what is shown."""
        self.progress_.close()
        del self.progress_  # a bar cannot be pickled


def is_callback(value: Any) -> bool:
    """Whether skorch takes it as a callback: an object or class, or a pair of a name and one."""
    if isinstance(value, (tuple, list)):
        return len(value) == 2 and isinstance(value[0], str) and is_callback(value[1])
    return isinstance(value, Callback) or (isinstance(value, type) and issubclass(value, Callback))


def is_ours(value: Any) -> bool:
    """Whether a callback does what is the net's own business, by its name or its kind."""
    name, callback = value if isinstance(value, (tuple, list)) else (None, value)
    kind = callback if isinstance(callback, type) else type(callback)
    return name in OWN_CALLBACKS or issubclass(kind, InputShapeSetter)


def is_checkpoint(callback: Any) -> bool:
    """Whether a callback writes a net to one file, or reads it from there."""
    if isinstance(callback, (tuple, list)):
        callback = callback[-1]
    kind = callback if isinstance(callback, type) else type(callback)
    return issubclass(kind, (Checkpoint, LoadInitState))


def own_copies(callbacks: Sequence[Any] | None) -> list[Any]:
    """Return copies of a user's callbacks, which share what is live: a writer, an open file."""
    callbacks = list(callbacks or [])
    return copy.deepcopy(callbacks, {id(part): part for part in live_parts(callbacks)})


def live_parts(callbacks: Iterable[Any]) -> Iterator[Any]:
    """Yield what callbacks hold and what cannot be copied, such as a writer with its thread.

    Whole attributes: half a copy of a writer would wait for a thread that serves the other half.
    """
    for callback in callbacks:
        if isinstance(callback, (tuple, list)):
            callback = callback[-1]
        if isinstance(callback, type):
            continue
        for value in vars(callback).values():
            if isinstance(value, Callback):
                yield from live_parts([value])
            elif not _can_be_copied(value):
                yield value


def _can_be_copied(value: Any) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:  # objects may raise anything here
        return False
    return True


def missing_score(error: BaseException | None) -> str | None:
    """Return the score that a callback missed in the history, if that is what an error says.

    skorch's callbacks raise errors of several kinds for it, all from a KeyError.
    """
    while error is not None:
        if isinstance(error, KeyError) and error.args:
            words = str(error.args[0])
            if "was not found in history" in words or words.startswith("valid_"):
                return words.split("'")[1] if "'" in words else words
        error = error.__cause__ or error.__context__
    return None
