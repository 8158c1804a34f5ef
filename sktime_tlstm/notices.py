"""Notices: the one class of warnings, which name the line of the caller."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["ForecastWarning", "collected", "notify"]

#: Libraries between the caller's line and ours.
_PASSED_THROUGH = ("skbase", "skorch", "sktime", "torch")
#: Where messages wait for a thread on which the caller can be seen; None where it is this one.
_WAITING: ContextVar[list[str] | None] = ContextVar("_WAITING", default=None)


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
