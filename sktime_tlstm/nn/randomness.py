"""Random numbers of one's own: torch's layers draw from a generator of the process, threads not."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import checkpoint as checkpointing
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "Dropout",
    "OwnRandomness",
    "active_randomness",
    "at_full_speed",
    "checkpoint",
    "dropout",
    "generator_on",
    "random_states",
    "replay",
    "seeded_globally",
    "set_random_states",
    "watched",
]

#: Held while torch's generators of the process are set, which all threads share.
_GLOBAL = threading.RLock()

#: What is active on a thread, the innermost last.
_ACTIVE = threading.local()


class OwnRandomness(TorchDispatchMode):
    """Let everything within the block, on this thread, draw from generators of its own.

    Initial weights, dropout and whatever else a network draws come from generators that begin at
    ``seed``, and are the numbers that ``torch.manual_seed(seed)`` would bring. torch's generators
    of the process are neither read nor set, so that threads do not disturb each other. torch's
    layers offer no other way: ``torch.nn.Dropout`` takes no generator.

    Every operation within the block passes through Python, which takes some microseconds.
    `suspended` is for what draws nothing, or by `drawing` as `Dropout` does, `watched` for what may
    draw within it.

    Parameters
    ----------
    seed : int

    Attributes
    ----------
    draws, watched_draws : int
        How often something has drawn, and how often of these within `watched`.

    Examples
    --------
    >>> import torch
    >>> def draw():
    ...     with OwnRandomness(7):
    ...         return torch.rand(3)
    >>> bool((draw() == draw()).all())
    True
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.draws, self.watched_draws = seed, 0, 0
        self._generators: dict[torch.device, torch.Generator] = {}
        self._is_suspended = self._is_replaying = False

    def __enter__(self) -> OwnRandomness:
        _stack().append(self)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _stack().pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation of torch; if it draws, with a generator of our own."""
        kwargs = kwargs or {}
        if not _may_draw(func) or not _draws(func, args, kwargs):
            return func(*args, **kwargs)
        device = _device(args, kwargs)
        if device.type == "meta":  # where nothing is drawn
            return func(*args, **kwargs)
        generator = self.drawing(device)
        self.draws += not self._is_replaying
        taking = _taking_a_generator(func)
        if taking is not None:
            return taking(*args, **{**kwargs, "generator": generator})
        with _GLOBAL, _set_globally(generator):
            return func(*args, **kwargs)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Run what draws nothing at full speed."""
        super().__exit__(None, None, None)
        self._is_suspended = True
        try:
            yield
        finally:
            self._is_suspended = False
            super().__enter__()

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Run what may draw within `suspended`."""
        if not self._is_suspended:
            yield
            return
        super().__enter__()
        self._is_suspended = False
        try:
            yield
        finally:
            self._is_suspended = True
            super().__exit__(None, None, None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count what a block draws; later it is resumed if it ever drew."""
        if self._is_suspended and not self.watched_draws:
            yield
            return
        with self.resumed():
            before = self.draws
            yield
            self.watched_draws += self.draws - before

    def replay(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return contexts for a pass forward and for its second run, which draws the same."""
        states = {device: own.get_state() for device, own in self._generators.items()}
        return nullcontext(), self._replaying(states)

    @contextmanager
    def _replaying(self, states: dict[torch.device, Tensor]) -> Iterator[None]:
        later = {device: own.get_state() for device, own in self._generators.items()}
        for device, own in self._generators.items():
            if device in states:
                own.set_state(states[device])
            else:  # it drew for the first time after the pass began
                own.manual_seed(self.seed)
        self._is_replaying = True
        try:
            with self.resumed():
                yield
        finally:
            self._is_replaying = False
            for device, state in later.items():
                self._generators[device].set_state(state)

    def drawing(self, device: torch.device) -> torch.Generator:
        """Return the generator of a device to draw from, also while the block is suspended."""
        if not self._is_replaying:
            _refuse_other_checkpoints()
        return self._generator(device)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]


def active_randomness() -> OwnRandomness | None:
    """Return the innermost block of this thread that draws from generators of its own."""
    stack = _stack()
    return stack[-1] if stack else None


def at_full_speed(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches of an epoch, and let few operations pass through `OwnRandomness`.

    The first batch tells: where network and loss alone draw, and not callbacks or the optimizer,
    nothing else is watched from then on, and they are only if they draw.
    """
    randomness = active_randomness()
    if randomness is None:
        yield from batches
        return
    randomness.draws = randomness.watched_draws = 0
    with ExitStack() as stack:
        for number, batch in enumerate(batches):
            yield batch
            if number == 0 and randomness.draws == randomness.watched_draws:
                stack.enter_context(randomness.suspended())


def watched() -> AbstractContextManager[None]:
    """Return the context of what is known to draw, network and loss."""
    randomness = active_randomness()
    return nullcontext() if randomness is None else randomness.watched()


def generator_on(device: torch.device) -> torch.Generator | None:
    """Return what this thread draws from on a device; None for torch's own generators."""
    randomness = active_randomness()
    if randomness is None or device.type == "meta":  # where nothing is drawn
        return None
    return randomness.drawing(device)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Do what ``torch.nn.functional.dropout`` does, and draw from own generators, if any.

    On the CPU these are the numbers that torch's would draw from one of the same state.
    """
    if not training or p == 0.0:
        return x
    randomness = None if torch.compiler.is_compiling() else active_randomness()
    if randomness is None or x.is_meta or p == 1.0:
        return functional.dropout(x, p)
    keep = torch.empty_like(x).bernoulli_(1.0 - p, generator=randomness.drawing(x.device))
    return x * keep.div_(1.0 - p)


class Dropout(nn.Dropout):
    """A dropout layer that draws from own generators, if any: fast within `OwnRandomness`.

    Parameters
    ----------
    p : float
        Probability with which an entry is dropped in training.

    Examples
    --------
    >>> import torch
    >>> with OwnRandomness(7):
    ...     Dropout(0.5)(torch.ones(4)).tolist()
    [2.0, 2.0, 0.0, 0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries of ``x``, of any shape, and scale the others up."""
        return dropout(x, self.p, self.training)


def random_states() -> dict[str, Tensor]:
    """Return the states of the generators that a training draws from, by device."""
    randomness = active_randomness()
    if randomness is not None:
        return {str(device): own.get_state() for device, own in randomness._generators.items()}
    states = {"cpu": torch.get_rng_state()}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        states[f"cuda:{number}"] = torch.cuda.get_rng_state(number)
    return states


def set_random_states(states: dict[str, Tensor]) -> None:
    """Let a training draw on from states that `random_states` returned."""
    randomness = active_randomness()
    for name, state in states.items():
        device = torch.device(name)
        if randomness is not None:
            randomness._generator(device).set_state(state)
        elif device.type == "cpu":
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)


def checkpoint(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function whose activations are computed again in the backward pass (Chen et al. 2016).

    torch's own, whose second run draws the same random numbers also from own generators.
    """
    # A compiled function, or one outside of our training, draws from torch's own generators.
    if torch.compiler.is_compiling() or active_randomness() is None:
        return checkpointing.checkpoint(function, *arguments, use_reentrant=False)
    return checkpointing.checkpoint(
        function, *arguments, use_reentrant=False, preserve_rng_state=False, context_fn=replay
    )


def replay() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts that torch's checkpoint takes as ``context_fn``."""
    randomness = active_randomness()
    return (nullcontext(), nullcontext()) if randomness is None else randomness.replay()


@contextmanager
def seeded_globally(seed: int) -> Iterator[None]:
    """Seed torch's generators of the process within the block, and put them back.

    For compiled networks, which draw from no other. One thread at a time; threads that do not come
    by here see numbers of the seed meanwhile.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with _GLOBAL, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _stack() -> list[OwnRandomness]:
    if not hasattr(_ACTIVE, "stack"):
        _ACTIVE.stack = []
    stack: list[OwnRandomness] = _ACTIVE.stack
    return stack


@functools.cache
def _may_draw(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())


def _draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call draws from torch's generators: attention without dropout does not."""
    if kwargs.get("generator") is not None:
        return False
    for place, argument in enumerate(func._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        if argument.name in ("dropout", "dropout_p") and not value:
            return False
        if argument.name == "train" and value is False:
            return False
    return True


@functools.cache
def _taking_a_generator(func: Any) -> Any:
    """Return the form of an operation that takes a generator, if there is one."""
    names = [argument.name for argument in func._schema.arguments]
    if "generator" in names:
        return func
    kinds = {argument.name: str(argument.type) for argument in func._schema.arguments}
    for overload in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, overload)
        own = {argument.name: str(argument.type) for argument in other._schema.arguments}
        if own.pop("generator", None) is not None and own == kinds:
            return other
    return None


def _device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    for value in args:
        if isinstance(value, Tensor):
            return value.device
    device = torch.device(kwargs.get("device") or "cpu")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


@contextmanager
def _set_globally(generator: torch.Generator) -> Iterator[None]:
    """Let an operation that takes no generator draw from one, by way of the process's."""
    if generator.device.type == "cpu":
        get, put = torch.get_rng_state, torch.set_rng_state
    else:
        module = torch.get_device_module(generator.device)
        get = functools.partial(module.get_rng_state, generator.device)
        put = functools.partial(module.set_rng_state, device=generator.device)
    before = get()
    put(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(get())
        put(before)


def _refuse_other_checkpoints() -> None:
    """Refuse draws in the second run of torch's own checkpoint, which would be other ones."""
    if torch._C._current_graph_task_id() == -1:  # no backward pass; torch has no public name for it
        return
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == checkpointing.__file__:
            raise RuntimeError(
                "Got a network that draws random numbers, such as dropout, within "
                "torch.utils.checkpoint, whose second run would draw other ones; expected them to "
                "be replayed. Call it as checkpoint(..., use_reentrant=False, context_fn=replay), "
                "with replay out of sktime_tlstm.nn.randomness."
            )
        frame = frame.f_back  # type: ignore[assignment]
