"""Progress: the one line that follows a long call, for trainings and backtests alike."""

from __future__ import annotations

import sys
import time

__all__ = ["ProgressLine"]


class ProgressLine:
    """A line on standard output that is written again and again, with the seconds so far."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()

    def show(self, *parts: str) -> None:
        """Write the parts over what stood there."""
        seconds = time.perf_counter() - self.begin
        sys.stdout.write("\r" + ", ".join([*parts, f"{seconds:.1f} s"]))
        sys.stdout.flush()

    def end(self) -> None:
        """End the line, so that what comes next has its own."""
        sys.stdout.write("\n")
        sys.stdout.flush()
