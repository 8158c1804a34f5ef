"""Progress of long calls: a bar in terminals and notebooks, now and then a line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from tqdm.auto import tqdm

__all__ = ["Progress", "shown", "tracked"]

Item = TypeVar("Item")

#: Seconds between two lines of a log, and those after which a call counts as long.
BETWEEN_LINES, LONG = 10.0, 2.0
#: Whether the call at hand, in its thread, is to show its progress.
_SHOWN: ContextVar[bool] = ContextVar("_SHOWN", default=False)


@contextmanager
def shown(verbose: bool) -> Iterator[None]:
    """Let what is `tracked` within the block show its progress, or not."""
    token = _SHOWN.set(verbose)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def tracked(items: Iterable[Item], total: int, label: str, unit: str) -> Iterator[Item]:
    """Yield items, and show how many there were, if it is asked for and takes long.

    What is tracked within the making of an item and the work on it shows nothing of its own.
    """
    if not _SHOWN.get():
        yield from items
        return
    progress = Progress(total, label, unit, delay=LONG)
    try:
        with shown(False):
            for item in items:
                yield item
                progress.advance(1)
    finally:
        progress.close()


class Progress:
    """What is done of a total, on standard error.

    Parameters
    ----------
    total : int
    label, unit : str
        What is being done, and the name of what is counted.
    delay : float, default=0.0
        Seconds before anything is shown.
    """

    def __init__(self, total: int, label: str, unit: str, delay: float = 0.0) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done, self.begin, self.words = 0, time.perf_counter(), ""
        self.due = self.begin + max(delay, BETWEEN_LINES)
        self._bar: Any = None
        if _is_live():
            self._bar = tqdm(
                total=total, desc=label, unit=f" {unit}", delay=delay, dynamic_ncols=True
            )

    def advance(self, number: int, words: str | None = None) -> None:
        """Count some more as done; ``words`` say how it goes, those before by default."""
        self.done += number
        self.words = self.words if words is None else words
        if self._bar is not None:
            if words is not None:
                self._bar.set_postfix_str(words, refresh=False)
            self._bar.update(number)
        elif time.perf_counter() >= self.due:
            self._write_line()

    def close(self) -> None:
        """End the bar, or write the last line of a log, if there was time for any."""
        if self._bar is not None:
            self._bar.close()
        elif self.words or self.due > self.begin + max(LONG, BETWEEN_LINES):
            self._write_line()

    def _write_line(self) -> None:
        seconds = max(time.perf_counter() - self.begin, 1e-9)
        left = seconds * (self.total / self.done - 1) if self.done else 0.0
        parts = [f"{self.label}: {self.done:,} of {self.total:,} {self.unit}", self.words]
        parts += [f"{self.done / seconds:,.0f} a second", f"{seconds:.0f} s"]
        parts += [f"about {left:.0f} s left"] if self.done < self.total else []
        print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)
        self.due = time.perf_counter() + BETWEEN_LINES


def _is_live() -> bool:
    """Whether a bar can be drawn over itself: in terminals and notebooks, not in files."""
    notebook = any("notebook" in kind.__module__ for kind in tqdm.__mro__)
    return notebook or sys.stderr.isatty()
