"""Training windows per CPU-second, forecast latency and memory, on one thread.

    python examples/benchmarks/speed.py --data DIR
    python examples/benchmarks/speed.py

The task is that of ETTh1 (without ``--data`` a made-up series of its shape): 8,640 hours of one
target with six covariates known in the future, context 168, horizon 24, width 64, 4 heads, one
LSTM layer, batches of 64, three quantiles, Adam at 1e-3, two epochs on most and two on all rows. It
is measured

- bare: forward, loss, backward and optimiser on a ready batch, in the same precision, nothing else;
- skorch: the same through the forecaster's skorch net and a DataLoader of ready batches;
- fit: the whole of ``TransformerLSTMForecaster.fit``, from pandas to a trained forecaster.

Expected on one core of a 2-core cloud machine:

    bare    about 1,240 windows per CPU-second (with AMX; 730 without)
    skorch  about 1,180
    fit     about 1,040
    predict about 10 ms, update about 9 ms, memory about 640 MB
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _common import etth1
from torch.utils.data import Dataset

from sktime_tlstm import TransformerLSTMForecaster

CONTEXT, HORIZON, BATCH = 168, 24, 64


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of ETTh1.csv.gz")
    parser.add_argument("--rows", type=int, default=8640, help="rows to train on")
    parser.add_argument("--forecasts", type=int, default=30, help="forecasts to time")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    y, X = made_up(options.rows + 720) if options.data is None else real(options.data)
    rows, more = slice(options.rows), slice(options.rows, options.rows + 720)
    windows = options.rows - CONTEXT - HORIZON + 1

    forecaster = of_task(max_epochs=3, max_windows_per_epoch=windows // 4, device="cpu")
    with cpu_seconds() as fit:
        forecaster.fit(y.iloc[rows], X=X.iloc[rows], fh=range(1, HORIZON + 1))
    net, batches = forecaster.net_, windows // BATCH
    trained, batch = trained_windows(net), ready_batch(net)
    step = bare_step(net, batch)
    with cpu_seconds() as bare:
        for _ in range(batches):
            step()
    with cpu_seconds() as skorch:
        net.set_params(max_epochs=1).partial_fit(ReadyBatches(batch, batches * BATCH))

    for name, count, seconds in [
        ("bare", batches * BATCH, bare[0]),
        ("skorch", batches * BATCH, skorch[0]),
        ("fit", trained, fit[0]),
    ]:
        print(f"{name:8}{count / seconds:8.0f} windows per CPU-second ({seconds:.1f} CPU-s)")
    predict, update = latencies(forecaster, y.iloc[more], X.iloc[more], options.forecasts)
    print(f"predict {predict:8.1f} ms, update(update_params=False) {update:.1f} ms")
    print(f"memory  {peak_megabytes():8.0f} MB at most, the libraries included")


def real(data: Path) -> tuple[pd.Series, pd.DataFrame]:
    task = etth1(data)
    return task.y, task.X


def made_up(rows: int) -> tuple[pd.Series, pd.DataFrame]:
    """Generate a target that follows six noisy daily cycles."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2016-07-01", periods=rows, freq="h")
    phase = 2 * np.pi * (np.arange(rows)[:, None] / 24 + np.arange(6) / 6)
    X = pd.DataFrame(np.sin(phase) + rng.normal(size=(rows, 6)), hours, [*"abcdef"])
    return X.sum(axis=1) + rng.normal(size=rows), X


def of_task(**parameters: Any) -> TransformerLSTMForecaster:
    """Return a forecaster with the settings of the task."""
    return TransformerLSTMForecaster(
        context_length=CONTEXT,
        quantiles=(0.1, 0.5, 0.9),
        optimizer="adam",
        lr=1e-3,
        lr_schedule=None,
        weight_decay=0.0,
        random_state=0,
        **parameters,
    )


@contextmanager
def cpu_seconds() -> Iterator[list[float]]:
    """Measure CPU time into the list."""
    measured: list[float] = []
    began = time.process_time()
    yield measured
    measured.append(time.process_time() - began)


def trained_windows(net) -> int:
    """Return how many windows a net has seen in all its trainings."""
    batches = [part for epoch in net.history for part in epoch["batches"]]
    return sum(part.get("train_batch_size", 0) for part in batches)


def ready_batch(net, windows: int = BATCH) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Make up a batch on the net's device, as wide as those that the net was trained on."""
    past = torch.randn(windows, CONTEXT, net.module__num_past_features, device=net.device)
    future = torch.randn(windows, HORIZON, net.module__num_future_features, device=net.device)
    target = torch.randn(windows, HORIZON, 1, device=net.device)
    return {"past": past, "future": future}, target


def bare_step(net, batch, **options: Any) -> Callable[[], None]:
    """Return an optimiser step with the net's module and head, and nothing of skorch."""
    inputs, target = batch
    module, head = net.module_.train(), net.criterion_
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True, **options)

    def step() -> None:
        optimizer.zero_grad()
        with net.autocast():
            output = module(**inputs)
        head(output.float(), target).backward()
        optimizer.step()

    return step


class ReadyBatches(Dataset):
    """A dataset that hands out the same batch again and again."""

    def __init__(self, batch, windows: int):
        self.batch, self.windows = batch, windows

    def __len__(self) -> int:
        return self.windows

    def __getitems__(self, indices: list[int]):
        return self.batch


def latencies(forecaster, y: pd.Series, X: pd.DataFrame, number: int) -> tuple[float, float]:
    """Return the median milliseconds of a forecast and of an update by one row."""
    predict, update = [], []
    for row in range(number):
        began = time.perf_counter()
        forecaster.predict(X=X.iloc[row : row + HORIZON])
        predicted = time.perf_counter()
        new = slice(row, row + 1)
        forecaster.update(y.iloc[new], X=X.iloc[new], update_params=False)
        predict.append(predicted - began)
        update.append(time.perf_counter() - predicted)
    return 1e3 * statistics.median(predict), 1e3 * statistics.median(update)


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
