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
    futures: list[Future[None]] = []
    may_begin: Future[bool] = Future()
    try:
        with ThreadPoolExecutor(workers, initializer=share) as pool:
            try:
                for training, kept in zip(trainings, notices, strict=True):
                    job = functools.partial(_run, training, kept, may_begin)
                    futures.append(pool.submit(copy_context().run, job))
                may_begin.set_result(True)
                is_well = _are_well(futures)
            except KeyboardInterrupt:
                is_well = False
            if not may_begin.done():  # a thread that was just starting is not in the pool: end it
                may_begin.set_result(False)
                raise KeyboardInterrupt
            if not is_well:
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
    """Wait for all, or for the first that fails; return whether there was none."""
    while True:  # a signal that another thread got is seen only when this one wakes up
        done, running = wait(futures, SECONDS_ASLEEP, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in done):
            return False
        if not running:
            return True


def _run(training: Callable[[], None], notices: list[str], may_begin: Future[bool]) -> None:
    """Run a training in usual torch, of which a thread begins anew, and keep what it warns of."""
    if not may_begin.result():
        raise KeyboardInterrupt
    with usual_torch(), collected(notices):
        training()
