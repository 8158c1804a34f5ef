"""Notices: the one class of warnings, which name the caller's line; torch's own kept quiet."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["ForecastWarning", "collected", "notify", "quiet_compiler", "quiet_loggers", "told_once"]

#: Libraries between the caller's line and ours.
_PASSED_THROUGH = ("contextlib", "skbase", "skorch", "sktime", "torch")
#: Where messages wait for a thread on which the caller can be seen; None where it is this one.
_WAITING: ContextVar[list[str] | None] = ContextVar("_WAITING", default=None)

#: Held while the levels of torch's loggers are other ones.
_LOGGERS = threading.RLock()


class ForecastWarning(UserWarning):
    """A setting does nothing, or data are such that forecasts may surprise."""


def notify(message: str) -> None:
    """Warn, and name the line outside of this package, sktime, skorch and torch that led here."""
    waiting = _WAITING.get()
    if waiting is not None:
        waiting.append(message)
        return
    own = str(Path(__file__).parent)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None:
        top = frame.f_globals.get("__name__", "").split(".")[0]
        if not frame.f_code.co_filename.startswith(own) and top not in _PASSED_THROUGH:
            break
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ForecastWarning, stacklevel=level)


@contextmanager
def collected(messages: list[str]) -> Iterator[None]:
    """Let what a block would warn of, on a thread of its own, be appended to ``messages``."""
    token = _WAITING.set(messages)
    try:
        yield
    finally:
        _WAITING.reset(token)


@contextmanager
def told_once() -> Iterator[None]:
    """Let what a block would warn of be told at its end, and what it repeats once."""
    messages: list[str] = []
    try:
        with collected(messages):
            yield
    finally:
        for message in dict.fromkeys(messages):
            notify(message)


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Keep torch's loggers from telling what no user can act on, on all threads meanwhile."""
    loggers = [logging.getLogger(name) for name in names]
    with _LOGGERS:
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def quiet_compiler() -> AbstractContextManager[None]:
    """Keep torch's compiler from logging what it could not compile."""
    return quiet_loggers("torch._dynamo")
