"""Training on a GPU, beside the bare step that it cannot do without, and beside one CPU core.

    python examples/benchmarks/gpu.py
    python examples/benchmarks/gpu.py --device cpu --batches 8 --rows 300 --steps 3 --epochs 1

Not yet run on a GPU: none was at hand when it was written, so that it states no figures. The second
command runs its logic on a CPU.

The task is that of `speed.py`, made up, with more rows, for a batch is at most a twentieth of the
windows. For batches of 64 and of 1,024, in float32 and in bfloat16 ("bf16-mixed"), it measures in
windows per second

- bare: forward, loss, backward and optimiser on a ready batch; on a GPU captured as one CUDA graph,
  which leaves the host nothing to do;
- training: the epochs of `fit` that have no validation, from the rows in the store to new weights;
- fit: the whole of ``TransformerLSTMForecaster.fit``, from pandas to a calibrated forecaster;
- core: `fit` in float32 on one CPU core, in CPU time.

They take turns, and medians of rounds are printed. The bar: training and fit at 85 % of bare, and
at batch 1,024 ten times one core. It also counts how often the host waits for the device between
the first step of an epoch and the last, which is to be never, and says where windows are cut.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from skorch.callbacks import Callback
from speed import HORIZON, bare_step, made_up, of_task, ready_batch, trained_windows

from sktime_tlstm import TransformerLSTMForecaster

PRECISIONS = ("float32", "bf16-mixed")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--rows", type=int, default=40_000, help="rows to train on")
    parser.add_argument("--steps", type=int, default=20, help="steps of an epoch, at most 20")
    parser.add_argument("--epochs", type=int, default=50, help="epochs; on the core there is one")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    on_gpu = options.device != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("Got no GPU that torch can use. Pass --device cpu to run on a CPU.")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if on_gpu else 'a CPU'}")
    data = made_up(options.rows)
    for batch in options.batches:
        sizes = {"batch_size": batch, "max_windows_per_epoch": batch * options.steps}
        core, net = timed_fit(data, device="cpu", precision="float32", max_epochs=1, **sizes)
        if net.batch_size != batch:
            raise SystemExit(f"Got {options.rows} rows, too few for batches of {batch}: pass more.")
        core = trained_windows(net) / core
        print(f"\nbatch {batch}\n{'core':28}{core:12,.0f} windows per second")
        for precision in PRECISIONS:
            settings = {"device": options.device, "precision": precision, **sizes}
            measure(data, core, options, settings)


def measure(
    data: tuple[pd.Series, pd.DataFrame],
    core: float,
    options: argparse.Namespace,
    settings: dict[str, Any],
) -> None:
    """Print the speeds of one size of batches in one precision."""
    net = watched_fit(data, settings)  # also loads what the rounds need
    batch, steps = settings["batch_size"], options.steps * options.epochs
    bare, kind = bare_run(net, batch)
    speeds: dict[str, list[float]] = {f"bare, {kind}": [], "training": [], "fit": []}
    for _ in range(options.rounds):
        began = clock(net.device)
        for _ in range(steps):
            bare()
        taken = [steps * batch / (clock(net.device) - began)]
        seconds, fitted = timed_fit(data, max_epochs=options.epochs, **settings)
        taken += [without_validation(fitted), trained_windows(fitted) / seconds]
        for values, value in zip(speeds.values(), taken, strict=True):
            values.append(value)
    first = next(iter(speeds.values()))
    for name, values in speeds.items():
        speed = statistics.median(values)
        share = statistics.median(own / of for own, of in zip(values, first, strict=True))
        name = f"{settings['precision']} {name}"
        print(f"{name:28}{speed:12,.0f}{share:8.0%} of bare{speed / core:8.1f} times the core")


def clock(device: str) -> float:
    """Return the time after all that a GPU was told to do; on a CPU the time of the process."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed_fit(data: tuple[pd.Series, pd.DataFrame], **settings: Any) -> tuple[float, Any]:
    """Return the seconds of a fit, and its net."""
    y, X = data
    forecaster: TransformerLSTMForecaster = of_task(**settings)
    began = clock(settings["device"])
    forecaster.fit(y, X=X, fh=range(1, HORIZON + 1))
    return clock(settings["device"]) - began, forecaster.net_


def without_validation(net: Any) -> float:
    """Return the windows per second of the epochs on all rows: each ends when the device does."""
    epochs = [epoch for epoch in net.history if epoch["stage"] == "fit on all rows"]
    windows = sum(part["train_batch_size"] for epoch in epochs for part in epoch["batches"])
    return windows / sum(epoch["dur"] for epoch in epochs)


def bare_run(net: Any, batch: int) -> tuple[Callable[[], None], str]:
    """Return what takes a bare step, and how: replayed from a CUDA graph where one can be made."""
    ready = ready_batch(net, batch)
    if net.device == "cpu":
        return bare_step(net, ready), "step by step"
    step = bare_step(net, ready, capturable=True)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what is chosen in the first steps is not captured
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        print(f"no CUDA graph: {str(error).splitlines()[0]}")
        return step, "step by step"
    return graph.replay, "captured"


class Watch(Callback):
    """Lets torch warn of waits from the first step of an epoch to the last, and notes devices."""

    steps = 0

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        self.stored = X[0].store.values.device
        self.last = len(net.get_iterator(X[0], training=True))

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        if not training:
            return
        self.cut = batch[0]["past"].device
        number = len(net.history[-1, "batches"])
        self.steps += number > 1
        if net.device != "cpu":
            torch.cuda.set_sync_debug_mode("warn" if number < self.last else "default")


def watched_fit(data: tuple[pd.Series, pd.DataFrame], settings: dict[str, Any]) -> Any:
    """Fit for an epoch, print how often a step waits and where windows are cut; return the net."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, net = timed_fit(data, max_epochs=1, callbacks=[Watch()], **settings)
    watch = next(one for _, one in net.callbacks_ if isinstance(one, Watch))
    waits = sum("synchronizing CUDA operation" in str(one.message) for one in caught)
    told = "waits cannot be counted on a CPU"
    if net.device != "cpu":
        told = f"{waits} waits in {watch.steps} steps"
    print(
        f"{settings['precision']}: {told}; windows are cut on {watch.cut} out of a store on "
        f"{watch.stored}"
    )
    return net


if __name__ == "__main__":
    main()
