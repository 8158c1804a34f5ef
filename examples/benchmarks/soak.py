"""Soak: 2,000 cycles of `update` (without training) and `predict` on one forecaster.

Each cycle brings one new hour and forecasts the next day. Printed for every tenth of the run: the
median time of an update and of a forecast, and by how much the memory of the process has grown.

    python examples/benchmarks/soak.py [cycles]

On one thread: 8 to 10 ms an update and 11 to 13 ms a forecast from the first tenth to the last,
without a trend, and 0.1 MB more memory at the end than after 200 cycles.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sktime_tlstm import TransformerLSTMForecaster

HISTORY, HORIZON = 500, 24


def memory_mb() -> float:
    """Return the resident memory of this process; its peak where there is no /proc."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main(cycles: int) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = HISTORY + cycles + HORIZON
    index = pd.date_range("2024-01-01", periods=rows, freq="h")
    daily = np.sin(np.arange(rows) * 2 * np.pi / 24)
    X = pd.DataFrame({"temperature": daily + rng.normal(size=rows)}, index)
    y = pd.Series(daily + 0.3 * rng.normal(size=rows), index, name="load")

    forecaster = TransformerLSTMForecaster(d_model=8, max_epochs=1, random_state=0)
    forecaster.fit(y[:HISTORY], X=X[:HISTORY], fh=range(1, HORIZON + 1))
    block = max(1, cycles // 10)
    seconds = np.zeros((cycles, 2))
    print(f"{'cycles':>12} {'update':>10} {'predict':>10} {'memory':>11}")
    for cycle in range(cycles):
        now = HISTORY + cycle
        begin = time.perf_counter()
        forecaster.update(y[now : now + 1], X=X[now : now + 1], update_params=False)
        between = time.perf_counter()
        y_pred = forecaster.predict(X=X[now + 1 : now + 1 + HORIZON])
        seconds[cycle] = between - begin, time.perf_counter() - between
        if cycle == block - 1:
            start = memory_mb()
        if (cycle + 1) % block == 0:
            update, predict = 1e3 * np.median(seconds[cycle + 1 - block : cycle + 1], axis=0)
            print(
                f"{cycle + 1:12,} {update:7.2f} ms {predict:7.2f} ms {memory_mb() - start:+8.2f} MB"
            )
    assert y_pred.index[0] == index[now + 1]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
