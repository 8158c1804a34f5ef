"""Simulate driven systems: the whole output of another record from its input alone.

    python examples/benchmarks/simulation.py --data DIR
    python examples/benchmarks/simulation.py tanks --data DIR --seeds 0 1 2 --set max_epochs=40
    python examples/benchmarks/simulation.py --data DIR --validate
    python examples/benchmarks/simulation.py two_tanks saturation hysteresis resonance --defaults

DIR holds silverbox.csv.gz, boucwen.csv.gz and cascaded_tanks.csv, of the benchmarks for nonlinear
system identification (nonlinearbenchmark.org). One forecaster, with the same settings for all three
but ``prediction_length``, is fitted to the training record; then it sees the first 64 rows of the
test record and its whole input, and simulates the rest in one ``predict``. The last command's
systems are made up (`_systems.py`), every seed another record: one is excited as in training, one
otherwise. ``--defaults`` takes the defaults of the forecaster.

Errors are root mean squares over all steps after the first 64, in V, m, V and the units of made-up
systems; "by time" are those of ten equal parts, which must not grow. ``--validate`` leaves the test
record alone: the last fifth of the training record is simulated, by a forecaster that was fitted to
the rest. ``--blind`` gives the input of the first 64 rows and no output.

Expected, seed 0: silverbox 3.9 mV, boucwen 1.9e-5 m, tanks .37 V (.50 and .54 with seeds 1 and 2);
see docs/simulation.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import CpuTimer
from _systems import EXCITATIONS, SYSTEMS, Record, made_up
from skill import setting

from sktime_tlstm import TransformerLSTMForecaster

CONTEXT = 64
#: Rows of silverbox before its training multisines.
ARROW = 40_400
#: Settings of all tasks, and the steps that each is trained on at once.
SETTINGS = {
    "d_model": 32,
    "num_transformer_blocks": 0,
    "batch_size": 32,
    "lr": 6e-3,
    "max_epochs": 20,
    "num_members": 3,
}
LENGTHS = {"silverbox": 128, "boucwen": 256, "tanks": 128}
LENGTHS |= dict.fromkeys(SYSTEMS, 128)
#: Errors of a linear model: of the input's last rows, by least squares (tanks: as published).
LINEAR = {"silverbox": 14.3e-3, "boucwen": 1.50e-4, "tanks": 0.757}
#: Rows of the input that a linear model of made-up systems reads.
LINEAR_ROWS = 128


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(LENGTHS))
    parser.add_argument("--data", type=Path, help="folder of the data files")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--validate", action="store_true", help="keep off the test records")
    parser.add_argument("--blind", action="store_true", help="tell no output")
    parser.add_argument("--defaults", action="store_true", help="the forecaster's own settings")
    parser.add_argument(
        "--set", action="append", default=[], type=setting, metavar="NAME=VALUE", dest="settings"
    )
    options = parser.parse_args(arguments)
    tasks = options.tasks or list(LINEAR)
    if not set(tasks) <= set(LENGTHS):
        parser.error(f"name some of the tasks {', '.join(LENGTHS)}")
    if options.data is None and not set(tasks) <= set(SYSTEMS):
        parser.error(f"pass --data DIR, or name made-up systems: {', '.join(SYSTEMS)}")
    torch.set_num_threads(1)
    usual = {} if options.defaults else SETTINGS
    known = 0 if options.blind else CONTEXT
    print("task seed | RMSE, deviation, linear | 50 % holds, 90 % holds | fit, simulate in CPU-s")
    for task in tasks:
        length = {} if options.defaults else {"prediction_length": LENGTHS[task]}
        settings = usual | length | dict(options.settings)
        errors = []
        for seed in options.seeds:
            train, tests = read(task, seed, options.data, options.validate)
            forecaster = TransformerLSTMForecaster(
                mode="simulation", random_state=seed, **{"context_length": CONTEXT, **settings}
            )
            with CpuTimer() as fit:
                forecaster.fit(train[0], X=train[1])
            for name, test in tests.items():
                linear = LINEAR[task] if task in LINEAR else linear_error(train, test)
                print(f"{task}{name} {seed} | ", end="")
                errors.append(evaluate(forecaster, test, known, linear, fit.seconds))
        if len(errors) > 1:
            spread = max(errors) - min(errors)
            print(f"{task}: mean {np.mean(errors):.4g}, spread {spread:.2g}", flush=True)


def read(
    task: str, seed: int, folder: Path | None, validate: bool
) -> tuple[Record, dict[str, Record]]:
    """Return the training record and those to simulate, by what to call them."""
    if task in SYSTEMS:
        train = made_up(task, 2 * seed, "noise")
        return train, {f", {kind}": made_up(task, 2 * seed + 1, kind) for kind in EXCITATIONS}
    assert folder is not None
    if task == "tanks":
        table = pd.read_csv(folder / "cascaded_tanks.csv")
        parts = [record(table[f"y_{part}"], table[f"u_{part}"]) for part in ("train", "test")]
    else:
        table = pd.read_csv(folder / f"{task}.csv.gz")
        test = table.index < ARROW if task == "silverbox" else table["set"] == "test_multisine"
        parts = [record(part["y"], part["u"]) for part in (table[~test], table[test])]
    train, last = split(parts[0]) if validate else parts
    return train, {"": last}


def record(y: pd.Series, u: pd.Series) -> Record:
    y = y.rename("y").reset_index(drop=True)
    return y, u.rename("u").reset_index(drop=True).to_frame()


def split(whole: Record) -> tuple[Record, Record]:
    """Return all but the last fifth of a record, and that."""
    y, u = whole
    first = int(0.8 * len(y))
    return (y[:first], u[:first]), record(y[first:], u["u"][first:])


def evaluate(
    forecaster: TransformerLSTMForecaster, test: Record, known: int, linear: float, fit: float
) -> float:
    """Simulate a record, print what came of it, and return the error."""
    y, u = test
    seen, truth = y[:CONTEXT].where(y.index[:CONTEXT] < known), y[CONTEXT:]
    fh = range(1, len(truth) + 1)
    with CpuTimer() as simulate:
        simulated = forecaster.predict(fh, u, y=seen)
    interval = forecaster.predict_interval(fh, u, coverage=[0.5, 0.9], y=seen)["y"]
    held = [
        ((interval[level]["lower"] <= truth) & (truth <= interval[level]["upper"])).mean()
        for level in (0.5, 0.9)
    ]
    error = (simulated - truth).to_numpy()
    parts = [rms(part) for part in np.array_split(error, 10)]
    print(
        f"{rms(error):.4g}, {truth.std():.4g}, {linear:.4g} | "
        f"{held[0]:.1%}, {held[1]:.1%} | {fit:.0f}, {simulate.seconds:.2f}\n"
        f"    by time: {', '.join(f'{part:.3g}' for part in parts)}",
        flush=True,
    )
    return rms(error)


def linear_error(train: Record, test: Record) -> float:
    """Return the error of a linear model of the input's last rows."""
    (known, past), (truth, u) = (
        (y, np.column_stack([X["u"].shift(k, fill_value=0.0) for k in range(LINEAR_ROWS)]))
        for y, X in (train, test)
    )
    weights = np.linalg.lstsq(past, known - known.mean())[0]
    return rms((u @ weights + known.mean() - truth).to_numpy()[CONTEXT:])


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error**2)))


if __name__ == "__main__":
    main()
