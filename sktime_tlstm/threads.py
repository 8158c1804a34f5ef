"""Threads: trainings that share nothing, side by side on the cores that torch has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextvars import copy_context

import torch

from sktime_tlstm.notices import collected, notify
from sktime_tlstm.surroundings import usual_torch

__all__ = ["side_by_side"]

#: Between two looks at whether someone wants the trainings to end.
SECONDS_ASLEEP = 0.5


def side_by_side(trainings: Sequence[Callable[[], None]], stop: Callable[[], None]) -> None:
    """Run trainings on as many threads as torch uses here, at most one for each.

    They divide torch's threads among them, so that with one thread each the results are those of
    one after the other on a single thread. A step of a small network gains little from a second
    thread, a second network nearly its whole time.

    Parameters
    ----------
    trainings : sequence of callable
    stop : callable
        Lets trainings that run, or are yet to run, end by a KeyboardInterrupt. Called at Ctrl-C,
        and if one of them fails.

    Raises
    ------
    BaseException
        What the first training that failed raised.
    """
    before = torch.get_num_threads()
    workers = min(before, len(trainings))
    if workers < 2:
        for training in trainings:
            training()
        return
    notices: list[list[str]] = [[] for _ in trainings]
    share = functools.partial(torch.set_num_threads, before // workers)
    try:
        with ThreadPoolExecutor(workers, initializer=share) as pool:
            futures = [
                pool.submit(copy_context().run, _run, training, kept)
                for training, kept in zip(trainings, notices, strict=True)
            ]
            if not _are_well(futures):
                stop()
    finally:
        torch.set_num_threads(before)  # the workers' settings hold for threads that begin later
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    errors.sort(key=lambda error: isinstance(error, KeyboardInterrupt))  # stopped by another's
    if errors:
        raise errors[0]
    for message in (message for kept in notices for message in kept):
        notify(message)


def _are_well(futures: Sequence[Future[None]]) -> bool:
    """Wait for all, or for the first that fails or Ctrl-C; return whether there was none."""
    try:
        while True:  # a signal that another thread got is seen only when this one wakes up
            done, running = wait(futures, SECONDS_ASLEEP, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                return False
            if not running:
                return True
    except KeyboardInterrupt:
        return False


def _run(training: Callable[[], None], notices: list[str]) -> None:
    """Run a training in usual torch, of which a thread begins anew, and keep what it warns of."""
    with usual_torch(), collected(notices):
        training()
