"""Checkpoints: the trainings of one call on disk, so that a killed one goes on to the same bits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sktime_tlstm.archive import CHECKPOINT, pack, read_file, unpack, write_file
from sktime_tlstm.data.history import History
from sktime_tlstm.data.sampling import WindowDataset
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.net_state import fill_net, net_parts
from sktime_tlstm.nn.randomness import random_states, set_random_states
from sktime_tlstm.records import Reader, Writer

__all__ = ["Checkpoints", "described", "digest", "known_seed"]

#: What is known by its digest alone, and texts that are too long for an error.
DIGESTS, LONG = ("the data", "the network at its beginning"), 100
#: What begins the names of what windows hold; and of it what ``fh`` says, unless it is absent.
WINDOWS = "the windows'"
HORIZON = f"{WINDOWS} horizon"
#: Names of the files, by the number of the training.
FILES = "training-[0-9][0-9][0-9][0-9].zip"


class Checkpoints:
    """The trainings of one call of fit, pretrain or update, one file each.

    All else that such a call does follows from its arguments, and is done again.

    Parameters
    ----------
    folder : Path
    config : dict of str to str
        What the trainings follow from, by the names that errors use.
    seed : int
        Which `known_seed` finds.

    Raises
    ------
    ValueError
        If the folder has the trainings of another call.
    """

    def __init__(self, folder: Path, config: dict[str, str], seed: int) -> None:
        self.folder, self.config, self.seed = folder, config, seed
        self._number = 0
        for path in sorted(folder.glob(FILES)):
            before = _read(path)[0]["config"]
            odd = [name for name in {**before, **config} if before.get(name) != config.get(name)]
            # what windows hold follows from parameters, data and the horizon
            odd = [one for one in odd if one == HORIZON or not one.startswith(WINDOWS)] or odd
            if odd:
                words = "; ".join(_difference(n, config.get(n), before.get(n)) for n in odd)
                raise ValueError(
                    f"Got checkpoint_dir={str(folder)!r} with a training that was broken off and "
                    f"is another one: {words}. Go on with that one as it was called, delete the "
                    "folder, or pass another."
                )
        folder.mkdir(parents=True, exist_ok=True)

    def next(self) -> Checkpoint:
        """Return the checkpoint of the next training, in the order in which they come."""
        self._number += 1
        return Checkpoint(self.folder / f"training-{self._number:04d}.zip", self)

    def finish(self) -> None:
        """Remove the files, and what a process left that died while it wrote: the call is done."""
        for path in [*self.folder.glob(FILES), *self.folder.glob(f".{FILES}.*")]:
            path.unlink(missing_ok=True)


class Checkpoint:
    """One training on disk: the net as it was at the end of an epoch.

    Parameters
    ----------
    path : Path
    checkpoints : Checkpoints
    """

    def __init__(self, path: Path, checkpoints: Checkpoints) -> None:
        self.path, self._checkpoints = path, checkpoints
        self.epochs = 0
        self._running: dict[str, Any] = {}

    def load(self, net: ForecastNet) -> bool:
        """Give a net the state that is on disk, if any; return whether its training was over."""
        if not self.path.exists():
            return False
        parts = _read(self.path)[1]
        self._running, self.epochs = parts.pop("running"), parts.pop("epochs")
        self._running["optimizer"] = parts["optimizer"]
        fill_net(net, **parts)
        return bool(self._running["is_over"])

    def resume(self, net: ForecastNet) -> None:
        """Give what has just begun to train the state that is on disk, if any."""
        if not self._running:
            return
        net.steps_ = self._running["steps"]
        for name, state in self._running["callbacks"].items():
            callback = dict(net.callbacks_)[name]
            schedule = state.pop("lr_scheduler_", None)
            if schedule is not None:
                callback.lr_scheduler_.load_state_dict(schedule)
            vars(callback).update(state)
        net.optimizer_.load_state_dict(self._running["optimizer"])  # with the rate of the schedule
        set_random_states(self._running["draws"])

    def save(self, net: ForecastNet) -> None:
        """Write the state of a net after one more epoch."""
        self.epochs += 1
        running = {
            "is_over": False,
            "steps": net.steps_,
            "callbacks": _states_of_callbacks(net),
            "draws": random_states(),
        }
        self._write(net, running)

    def end(self, net: ForecastNet) -> None:
        """Write that the training is over."""
        self._write(net, {"is_over": True})

    def _write(self, net: ForecastNet, running: dict[str, Any]) -> None:
        parts = {**net_parts(net), "epochs": self.epochs, "running": running}
        writer = Writer(())
        state = {"net": writer.record(parts, "net")}
        manifest = {"config": self._checkpoints.config, "seed": self._checkpoints.seed}
        write_file(self.path, pack((manifest, state, writer.tensors), CHECKPOINT))


def _difference(name: str, now: str | None, before: str | None) -> str:
    if name == HORIZON:
        name = "the horizon (the largest step of fh, or prediction_length)"
    if name in DIGESTS or len(f"{now}{before}") > LONG:
        return f"{name} is another"
    return f"{name} is {now}, was {before}"


def _states_of_callbacks(net: ForecastNet) -> dict[str, dict[str, Any]]:
    """Return what the net's own callbacks have come to know in training, by their names."""
    states = {}
    for name, callback in net.callbacks_:
        if name == "lr_schedule":
            states[name] = {
                "batch_idx_": callback.batch_idx_,
                "lr_scheduler_": callback.lr_scheduler_.state_dict(),
            }
        elif name == "early_stopping":
            learnt = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")
            states[name] = {one: vars(callback)[one] for one in learnt if one in vars(callback)}
    return states


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the manifest of a checkpoint, and the parts of its net."""
    manifest, state, tensors = unpack(read_file(path), f"the checkpoint {str(path)!r}", CHECKPOINT)
    return manifest, Reader((), tensors).value(state["net"])


def known_seed(folder: Path) -> int | None:
    """Return the seed of the training that a folder has, if any."""
    for path in sorted(folder.glob(FILES)):
        return int(_read(path)[0]["seed"])
    return None


def described(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as texts that are the same in every process."""
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    if isinstance(value, torch.nn.Module):  # such as a head, whose repr may not tell its arguments
        own = {name: one for name, one in vars(value).items() if not name.startswith("_")}
        text += f" with {described(own)}, {_hash(value.state_dict().values())}"
    return text


def digest(
    history: History, dataset: WindowDataset, members: Iterable[ForecastNet]
) -> dict[str, str]:
    """Return what tells data, and networks before their training, from others."""
    store, traits = history.store, history.store.traits
    flags = store.observed.bits
    data = [history.first, history.loc, history.scale, store.values, flags, store.length]
    new = [] if dataset.recent is None else [dataset.recent]
    weights = [part for net in members for part in net.module_.state_dict().values()]
    # without the rows of the horizon, which is told by itself
    calendar = store.calendar[: int((history.first + history.lengths).max() - history.first.min())]
    spec = {f"{WINDOWS} {name}": repr(value) for name, value in vars(dataset.spec).items()}
    return {
        **spec,
        DIGESTS[0]: _hash([*data, *new, calendar, traits.static]),
        DIGESTS[1]: _hash(weights),
    }


def _hash(parts: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{part.shape}{part.dtype}".encode())
        if isinstance(part, torch.Tensor):  # by its bytes, for numpy has not all types
            part = part.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
        found.update(np.ascontiguousarray(part).reshape(-1).data)  # not copied
    return found.hexdigest()[:16]
