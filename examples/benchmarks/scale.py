"""Many series and moving time: backtests, panels, updates and a global model, on one thread.

    python examples/benchmarks/scale.py backtest m4 --data DIR
    python examples/benchmarks/scale.py panel update

- backtest: the 2,857 hourly test windows of ETTh1 (24 hours ahead of 168) by one
  ``update_predict``, against the network's bare forward passes over windows of that shape;
- panel: 20,000 series of 500 hours with 3 covariates, 10 million rows: the CPU time and the memory
  beyond the caller's frames that encoding takes, and that ``fit`` takes (one epoch of 2,560
  windows), sktime's checks and conversions measured apart;
- larger: 20,000 series of 2,500 hours with 2 covariates, 50 million rows in Parquet files, fitted
  by a `PanelDataset` in a process of its own (one epoch): its largest resident size, with what is
  encoded in memory, and in a temporary file;
- update: ``update(update_params=False)`` by one row, with 10,000 and with 1,000,000 rows stored:
  the package's own share of it, and all of it;
- m4: one network for the 414 hourly series of the M4 competition, 48 hours ahead; and one
  pretrained on 300 series, asked about the other 114.

Expected on one core of a 2-core cloud machine:

    backtest  update_predict about 2.7 CPU-s, forward passes 2.3 CPU-s, ratio 1.2
    panel     encoding 7 CPU-s, peak 1.13 times the raw float32 size; fit with 648 steps 38 CPU-s,
              sktime's checks 2 CPU-s
    larger    58 CPU-s and at most 1,916 MiB resident, 715 of them encoded; in a file 61 CPU-s, and
              1,118 MiB that are not the file's
    update    own 2.5 CPU-ms and 8 CPU-ms in all, with 10,000 rows as with 1,000,000
    m4        sMAPE 9.53, MASE .780, OWA .422 in 194 CPU-s (seasonal naive 13.912, 1.193, .627)
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import CpuTimer, etth1
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.data.windows import cut_windows

#: Scores of the M4 competition's second naive method on its hourly series, which OWA is a ratio to.
NAIVE2_SMAPE, NAIVE2_MASE = 18.383, 2.395
#: Rows of a series of the panel of files, and series of a file.
LONG, PER_FILE = 2_500, 400
#: Fits the panel of a folder, and prints CPU-seconds, megabytes at the peak and of the store.
FIT_FILES = """
import pathlib, sys, threading, time, torch
from sktime_tlstm import PanelDataset, TransformerLSTMForecaster
torch.set_num_threads(1)
most = {"RssAnon": 0, "VmRSS": 0}
def sample():
    while True:
        lines = (line.split() for line in open("/proc/self/status"))
        now = {line[0][:-1]: int(line[1]) for line in lines if line[0][:-1] in most}
        most.update({name: max(most[name], now[name]) for name in most})
        time.sleep(0.01)
threading.Thread(target=sample, daemon=True).start()
folder, *store_dir = sys.argv[1:]
panel = PanelDataset.from_parquet(
    sorted(map(str, pathlib.Path(folder).glob("*.parquet"))), "series", "time", "y",
    store_dir=store_dir[0] if store_dir else None,
)
forecaster = TransformerLSTMForecaster(max_epochs=1, random_state=0)
forecaster.fit(panel, fh=range(1, 25))
store = forecaster._fitted.history.store
size = store.values.nbytes + store.observed.bits.nbytes
print(time.process_time(), most["VmRSS"] / 1024, most["RssAnon"] / 1024, size / 2**20)
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=PARTS, help="what to measure")
    parser.add_argument("--data", type=Path, help="folder of ETTh1.csv.gz and m4_Hourly-*.csv.gz")
    parser.add_argument("--series", type=int, default=20_000, help="series of the panel")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the updated series")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for part in options.parts:
        PARTS[part](options)


def backtest(options: argparse.Namespace) -> None:
    """Compare a batched backtest with the forward passes it cannot do without."""
    task = etth1(options.data)
    context, horizon, first = 168, task.horizon, task.first
    forecaster = TransformerLSTMForecaster(
        context_length=context, quantiles=task.levels, max_epochs=1, random_state=0
    )
    forecaster.fit(task.y[: task.num_train], X=task.X[: task.num_train], fh=range(1, horizon + 1))
    rows = slice(task.num_train, first - 1)
    forecaster.update(task.y[rows], X=task.X[rows], update_params=False)
    cv = ExpandingWindowSplitter(fh=range(1, horizon + 1), initial_window=1)
    y = task.y[first - 1 :]
    net, model = forecaster.net_, forecaster._fitted.model
    number = cv.get_n_splits(y)
    batch = cut_windows(
        forecaster._fitted.history.store,
        model.spec,
        torch.zeros(64, dtype=int),
        torch.arange(300, 364),
    )
    bare, batched = [], []
    for _ in range(3):
        with CpuTimer() as passes:
            for begin in range(0, number, 64):
                size = min(64, number - begin)
                net.outputs({name: value[:size] for name, value in batch.inputs.items()})
        with CpuTimer() as whole:
            forecaster.update_predict(y, cv, X=task.X, update_params=False)
        bare.append(passes.seconds)
        batched.append(whole.seconds)
    ratio = statistics.median(ours / theirs for ours, theirs in zip(batched, bare, strict=True))
    print(
        f"backtest  {number} windows: update_predict {min(batched):.1f} CPU-s, bare forward "
        f"passes {min(bare):.1f} CPU-s, ratio {ratio:.2f}"
    )


def panel(options: argparse.Namespace) -> None:
    """Encode and fit a large panel."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=500, freq="h")
    index = pd.MultiIndex.from_product([range(options.series), hours], names=["series", "time"])
    X = pd.DataFrame(rng.normal(size=(len(index), 3)), index, ["a", "b", "c"])
    y = (X.sum(axis=1) + rng.normal(size=len(index))).to_frame("y")
    raw = len(index) * 4 * 4 / 2**20
    parameters = {"max_epochs": 1, "random_state": 0}
    small = y.loc[:19], X.loc[:19]
    forecaster = TransformerLSTMForecaster(**parameters)
    forecaster.fit(*small, fh=range(1, 25))  # loads what it needs
    encoder = forecaster._fitted.model.encoder
    with Memory() as memory, CpuTimer() as timer:
        fresh = type(encoder)(
            encoder.support,
            encoder.scaler,
            encoder.covariate_scaler,
            (),
            (),
            encoder.time_features,
        )
        history = fresh.fit(y, X).encode(y, X, 24)
    print(
        f"panel     {len(index):,} rows, {raw:.0f} MB as float32: encoding {timer.seconds:.1f} "
        f"CPU-s, peak {memory.megabytes:.0f} MB = {memory.megabytes / raw:.2f} x"
    )
    del history
    own = CpuTimer()
    fit = TransformerLSTMForecaster._fit

    def measured(self, *data, **more):
        with own:
            return fit(self, *data, **more)

    TransformerLSTMForecaster._fit = measured
    try:
        with CpuTimer() as whole:
            forecaster = TransformerLSTMForecaster(**parameters).fit(y, X=X, fh=range(1, 25))
    finally:
        TransformerLSTMForecaster._fit = fit
    steps = sum(len(epoch["batches"]) for epoch in forecaster.net_.history)
    print(
        f"          fit ({steps} steps) {own.seconds:.1f} CPU-s, and "
        f"{whole.seconds - own.seconds:.1f} CPU-s of sktime's checks and conversions"
    )


def larger(options: argparse.Namespace) -> None:
    """Fit a panel of Parquet files, never in memory as a whole, in processes of their own."""
    rows = options.series * LONG
    with tempfile.TemporaryDirectory() as folder:
        for begin in range(0, options.series, PER_FILE):
            write_series(Path(folder), begin, min(begin + PER_FILE, options.series))
        for store in (None, folder):
            command = [sys.executable, "-c", FIT_FILES, folder, *([store] if store else [])]
            fitted = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, peak, anonymous, store_size = map(float, fitted.stdout.split())
            print(
                f"larger    {rows:,} rows, {store_size:.0f} MB encoded in "
                f"{'a file' if store else 'memory'}: fit {seconds:.0f} CPU-s, at most "
                f"{peak:.0f} MB resident, and {anonymous:.0f} MB that are not of files"
            )


def write_series(folder: Path, begin: int, end: int) -> None:
    """Write some series of hours with two covariates, one after the other."""
    rng = np.random.default_rng(begin)
    names = np.repeat([f"series {number:06d}" for number in range(begin, end)], LONG)
    table = pd.DataFrame(rng.normal(size=(len(names), 2)), columns=["a", "b"], dtype="float32")
    hours = pd.date_range("2024-01-01", periods=LONG, freq="h")
    table["y"] = table.sum(axis=1) + 3 * np.sin(np.tile(hours.hour, end - begin) / 24 * 2 * np.pi)
    table = table.assign(series=names, time=np.tile(hours, end - begin))
    table.to_parquet(folder / f"from-{begin:06d}.parquet", index=False)


def update(options: argparse.Namespace) -> None:
    """Update by one row after the other."""
    for rows in (10_000, options.rows):
        rng = np.random.default_rng(0)
        hours = pd.date_range("1900-01-01", periods=rows + 300, freq="h")
        X = pd.DataFrame(rng.normal(size=(len(hours), 3)), hours, ["a", "b", "c"])
        y = X.sum(axis=1) + rng.normal(size=len(hours))
        forecaster = TransformerLSTMForecaster(
            d_model=8, context_length=48, max_epochs=1, max_windows_per_epoch=256, random_state=0
        )
        forecaster.fit(y[:rows], X=X[:rows], fh=range(1, 25))
        inner, own, whole = forecaster._update, [], []

        def measured(*data, inner=inner, own=own, **more):
            began = time.thread_time()
            result = inner(*data, **more)
            own.append(time.thread_time() - began)
            return result

        forecaster._update = measured
        for row in range(rows, rows + 300):
            began = time.thread_time()
            forecaster.update(y[row : row + 1], X=X[row : row + 1], update_params=False)
            whole.append(time.thread_time() - began)
        own, whole = (1e3 * np.array(part) for part in (own, whole))
        print(
            f"update    {rows:>9,} rows: own {np.median(own):.1f} CPU-ms (95 % below "
            f"{np.quantile(own, 0.95):.1f}), with sktime's checks {np.median(whole):.1f} CPU-ms"
        )


def m4(options: argparse.Namespace) -> None:
    """Train one model for all hourly series of M4, and one for some of them."""
    train, test = (read_m4(options.data, part) for part in ("train", "test"))
    forecaster = TransformerLSTMForecaster(
        time_features=(),  # the hours are made up, for M4 publishes none
        finetune_epochs=0,
        random_state=0,
    )
    with CpuTimer() as fit:
        forecaster.fit(hourly(train), fh=range(1, 49))
    everything = scores(forecaster.predict(), train, test)
    print(
        f"m4        one model of {len(train)} series, {fit.seconds:.0f} CPU-s: sMAPE "
        f"{everything[0]:.3f}, MASE {everything[1]:.3f}, OWA {owa(*everything):.3f}; "
        "seasonal naive 13.912, 1.193, .627"
    )
    names = np.random.default_rng(0).permutation(list(train))
    known, new = names[:300], names[300:]
    some = forecaster.clone()
    some.pretrain(hourly({name: train[name] for name in known}), fh=range(1, 49))
    some.fit(hourly({name: train[name] for name in new}), fh=range(1, 49))
    zero_shot = scores(some.predict(), train, test, new)[1]
    reference = scores(forecaster.predict(), train, test, new)[1]
    print(
        f"          zero-shot on {len(new)} series after {len(known)}: MASE {zero_shot:.3f}, "
        f"against {reference:.3f} trained on all ({zero_shot / reference - 1:+.1%})"
    )


def read_m4(data: Path | None, part: str) -> dict[str, np.ndarray]:
    """Read the series of a file by name."""
    if data is None:
        raise SystemExit("M4 is not part of the package: pass --data DIR with m4_Hourly-*.csv.gz")
    table = pd.read_csv(data / f"m4_Hourly-{part}.csv.gz", index_col=0)
    return {name: row.dropna().to_numpy() for name, row in table.iterrows()}


def hourly(series: dict[str, np.ndarray]) -> pd.DataFrame:
    """Lay series out as a panel, under made-up hours."""
    parts = {
        name: pd.Series(values, pd.date_range("2015-01-05", periods=len(values), freq="h"))
        for name, values in series.items()
    }
    return pd.concat(parts, names=["series", "time"]).to_frame("y")


def scores(
    forecasts: pd.DataFrame,
    train: dict[str, np.ndarray],
    test: dict[str, np.ndarray],
    names: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return sMAPE (%) and MASE, with the season of a day, averaged over series."""
    smape, mase = [], []
    for name in train if names is None else names:
        forecast, truth = forecasts.loc[name].to_numpy()[:, 0], test[name]
        error = np.abs(forecast - truth)
        smape.append(200 * np.mean(error / (np.abs(forecast) + np.abs(truth))))
        mase.append(error.mean() / np.abs(train[name][24:] - train[name][:-24]).mean())
    return float(np.mean(smape)), float(np.mean(mase))


def owa(smape: float, mase: float) -> float:
    return (smape / NAIVE2_SMAPE + mase / NAIVE2_MASE) / 2


class Memory:
    """Context manager that samples the resident size; ``megabytes`` is its largest growth."""

    def __enter__(self) -> Memory:
        gc.collect()
        self.before, self.megabytes, self.running = resident(), 0.0, True
        self.sampler = threading.Thread(target=self._sample)
        self.sampler.start()
        return self

    def _sample(self) -> None:
        while self.running:
            self.megabytes = max(self.megabytes, resident() - self.before)
            time.sleep(0.002)

    def __exit__(self, *error: object) -> None:
        self.running = False
        self.sampler.join()


def resident() -> float:
    """Return the resident size of this process in MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 2**10
    raise RuntimeError("Got no VmRSS in /proc/self/status, expected Linux.")


PARTS = {"backtest": backtest, "panel": panel, "larger": larger, "update": update, "m4": m4}

if __name__ == "__main__":
    main()
