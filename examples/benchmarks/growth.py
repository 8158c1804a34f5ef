"""How the CPU time of `fit` and of one forecast grows with what there is more of, on one thread.

    python examples/benchmarks/growth.py
    python examples/benchmarks/growth.py horizon context --rounds 5

One thing at a time is doubled: windows of an epoch, series of a panel, members, steps of the
horizon, rows of the context. All else stays: width 64, batches of 32, context 96, horizon 24, one
series of 30,000 hours with two covariates known in the future (a panel has 200 hours a series), one
epoch of 320 windows and one on all rows.

Printed are medians of rounds in which the sizes take turns, and two exponents: the slope of the
logarithm of time over that of size, over all sizes and between the last two. 1 is linear; less says
that what does not grow still counts.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
import pandas as pd
import torch
from _common import CpuTimer

from sktime_tlstm import TransformerLSTMForecaster

#: What is doubled, and its sizes.
SIZES = {
    "windows": (320, 640, 1280, 2560, 5120),
    "series": (250, 500, 1000, 2000, 4000),
    "members": (1, 2, 4, 8),
    "horizon": (24, 48, 96, 192, 384),
    "context": (96, 192, 384, 768, 1536),
}
ROWS, PANEL_ROWS, WINDOWS = 30_000, 200, 320


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(SIZES))
    parser.add_argument("--sizes", type=int, nargs="+", help="two or more, in the place of ours")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if not set(options.parts) <= set(SIZES):
        parser.error(f"name some of {', '.join(SIZES)}")
    torch.set_num_threads(1)
    for part in options.parts or SIZES:
        measure(part, options.sizes or SIZES[part], options.width, options.rounds)


def measure(part: str, sizes: tuple[int, ...], width: int, rounds: int) -> None:
    """Print the times of every size, and how they grow."""
    once(part, sizes[0], width)  # loads what is needed
    taken = [[once(part, size, width) for size in sizes] for _ in range(rounds)]
    print(f"{part:16}" + "".join(f"{size:>9,}" for size in sizes) + " exponent at last")
    for place, name in enumerate(("fit, CPU-s", "predict, CPU-ms")):
        times = [
            statistics.median(figures[number][place] for figures in taken)
            for number in range(len(sizes))
        ]
        print(f"{name:16}" + "".join(f"{one:9.2f}" for one in times) + exponents(sizes, times))


def exponents(sizes: tuple[int, ...], times: list[float]) -> str:
    log_size, log_time = np.log(sizes), np.log(times)
    over_all = np.polyfit(log_size, log_time, 1)[0]
    at_last = (log_time[-1] - log_time[-2]) / (log_size[-1] - log_size[-2])
    return f"{over_all:9.2f}{at_last:8.2f}"


def once(part: str, size: int, width: int) -> tuple[float, float]:
    """Return the CPU-seconds of a fit, and the CPU-milliseconds of a forecast."""
    horizon = size if part == "horizon" else 24
    y, X = panel(size) if part == "series" else series()
    known = slice(None) if X is None else slice(len(y) - horizon)
    options: dict[str, Any] = {
        "context_length": size if part == "context" else 96,
        "num_members": size if part == "members" else 1,
        "max_windows_per_epoch": size if part == "windows" else WINDOWS,
    }
    forecaster = TransformerLSTMForecaster(
        d_model=width, batch_size=32, max_epochs=1, random_state=0, device="cpu", **options
    )
    with CpuTimer() as fit:
        forecaster.fit(y[known], X=None if X is None else X[known], fh=range(1, horizon + 1))
    future = None if X is None else X[-horizon:]
    forecaster.predict(X=future)
    times = []
    for _ in range(3):
        with CpuTimer() as predict:
            forecaster.predict(X=future)
        times.append(1e3 * predict.seconds)
    return fit.seconds, statistics.median(times)


def series() -> tuple[pd.Series, pd.DataFrame]:
    """Make up a daily cycle and its noise, which is half known."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=ROWS, freq="h")
    X = pd.DataFrame(rng.normal(size=(ROWS, 2)), hours, ["a", "b"])
    cycle = 3 * np.sin(2 * np.pi * np.arange(ROWS) / 24)
    return X.sum(axis=1) + cycle + rng.normal(size=ROWS), X


def panel(number: int) -> tuple[pd.DataFrame, None]:
    """Make up series without covariates."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=PANEL_ROWS, freq="h")
    index = pd.MultiIndex.from_product([range(number), hours], names=["series", "time"])
    cycle = np.tile(3 * np.sin(2 * np.pi * np.arange(PANEL_ROWS) / 24), number)
    return pd.DataFrame({"y": cycle + rng.normal(size=len(index))}, index), None


if __name__ == "__main__":
    main()
