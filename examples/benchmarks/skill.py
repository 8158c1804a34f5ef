"""Accuracy and intervals on real data with known future covariates, and on M4: one table.

    python examples/benchmarks/skill.py traffic
    python examples/benchmarks/skill.py --data DIR
    python examples/benchmarks/skill.py --data DIR --jobs 2 --results skill.jsonl
    python examples/benchmarks/skill.py NP BE DE --data DIR --protocol service
    python examples/benchmarks/skill.py NP --data DIR --set num_members=3 --validate

The forecaster has its default parameters, but for what ``--set`` says. Every task is run once a
seed; the table shows means over the seeds, and by how much they differ (largest minus smallest
score). The scores take the rows whose truth is observed: MAE, the pinball loss averaged over the
levels .05, .10, .. .95, and the share of truths within the central 50 % and 90 %. CPU-seconds are
of ``fit``, and of all forecasts, points and quantiles.

- ``--protocol once`` fits once to the training rows. Then a whole horizon is forecast from every
  origin of the test rows, by ``backtest``: everything before the origin is seen, and the covariates
  of the horizon.
- ``--protocol service`` is how a forecaster runs: ``num_members=4``, and every 28 days
  ``update(update_params=True)`` lets it learn from the days since. Its CPU-seconds of forecasts
  include the learning.
- m4: one network for the 414 hourly series, 48 hours ahead from their ends with either protocol,
  and no calendar (M4 publishes no dates). The score is MASE; the pinball loss is scaled as MASE is.

``--validate`` is for choosing settings without a look at the test rows: the task ends before its
first test row, and the last fifth of the rows left is scored (prices: the last 364 days; m4: the
last 48 hours of each training series).

For the prices the test of Diebold and Mariano tells whether ours differ from the published
forecasts of the LEAR and DNN ensembles, which were trained anew every day. It is the multivariate
one of Lago et al. (2021): a day's loss is the sum of its 24 absolute errors, d is our loss minus
theirs, and mean(d) / sqrt(var(d) / days) is standard normal if both are equally good; one p-value
for each side. Our forecasts are those of the first of ``--seeds``.

``--results`` takes a line of JSON for every finished task and seed; those it has are not run again.
It does not know the version of the package: take a new file when the code changes.

Expected MAE, mean of the seeds 0, 1 and 2:

    traffic 169, NP 1.65, BE 6.22, DE 4.24, vic_elec 99, bike 34.1, ETTh1 0.135
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import (
    LEVELS,
    TASKS,
    CpuTimer,
    coverage,
    mean_absolute_error,
    mean_pinball_loss,
    rolling_forecast,
    validation,
)
from scale import hourly, owa, read_m4, scores
from scipy.stats import norm

from sktime_tlstm import TransformerLSTMForecaster

NAMES = (*TASKS, "m4")
PRICES = ("NP", "BE", "DE")
M4_HORIZON = 48
M4_REFERENCE = "Smyl MASE 0.893, OWA 0.440"

#: Columns of the table: what a record calls them, and how they are shown.
COLUMNS = {
    "naive": ("seasonal naive", ".4g"),
    "pinball": ("pinball", ".4g"),
    "in_50": ("within 50 %", ".1%"),
    "in_90": ("within 90 %", ".1%"),
    "fit": ("fit, CPU-s", ".3g"),
    "forecast": ("forecasts, CPU-s", ".3g"),
}


@dataclass(frozen=True)
class Unit:
    """One task with one seed: what is run, and stored, at once.

    Parameters
    ----------
    task : str
    seed : int
    settings : tuple of (name, value)
        Of ``--set``.
    protocol : {"once", "service"}
    validate : bool
    origins : int or None
        How many are forecast from; None for all.
    data : Path or None
    threads : int
    """

    task: str
    seed: int
    settings: tuple[tuple[str, object], ...]
    protocol: str
    validate: bool
    origins: int | None
    data: Path | None
    threads: int

    @property
    def key(self) -> dict[str, object]:
        """What tells its record from others."""
        names = ("task", "seed", "protocol", "validate", "origins")
        key = {name: getattr(self, name) for name in names}
        return key | {"settings": {name: repr(value) for name, value in self.settings}}

    def forecaster(self, **defaults: object) -> TransformerLSTMForecaster:
        if self.protocol == "service":
            defaults["num_members"] = 4
        return TransformerLSTMForecaster(
            **{"random_state": self.seed, **defaults, **dict(self.settings)}
        )


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    names = options.task or list(NAMES)
    if not options.task and options.data is None:
        names = ["traffic"]
        print("Skipped without --data: all tasks but traffic.", file=sys.stderr)
    settings = tuple(dict(options.settings).items())
    more = (settings, options.protocol, options.validate, options.origins)
    units = [
        Unit(name, seed, *more, options.data, options.threads)
        for name in names
        for seed in options.seeds
    ]
    records = finished(units, options.results, options.jobs)
    print(table(names, records))
    for name in names if not options.validate else ():
        if name in PRICES:
            print(comparison(options.data, records[name][0]))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("task", nargs="*", metavar="TASK", help=", ".join(NAMES) + "; default: all")
    add("--data", type=Path, help="folder of the data files")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--origins", type=int, help="forecast from the first ones only")
    add("--threads", type=int, default=1, help="of each process")
    add("--jobs", type=int, default=1, help="processes")
    add("--protocol", choices=["once", "service"], default="once")
    add("--validate", action="store_true", help="score rows before the test rows")
    add("--results", type=Path, help="file of JSON lines, to go on with")
    add(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="NAME=VALUE",
        dest="settings",
        help="a parameter of the forecaster",
    )
    options = parser.parse_args(arguments)
    if not set(options.task) <= set(NAMES):
        parser.error(f"name some of the tasks {', '.join(NAMES)}")
    return options


def setting(text: str) -> tuple[str, object]:
    """Parse ``name=value``; what is no Python literal is a string."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


# Running units.


def finished(units: list[Unit], file: Path | None, jobs: int) -> dict[str, list[dict]]:
    """Return the records of every task, in the order of the units; run those that are missing."""
    lines = file.read_text().splitlines() if file is not None and file.exists() else []
    known = [json.loads(line) for line in lines]
    found = {id(unit): record for unit in units for record in known if unit.key == record["key"]}
    for unit, record in run_all([unit for unit in units if id(unit) not in found], jobs):
        found[id(unit)] = record
        if file is not None:
            with file.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
        print(f"{unit.task}, seed {unit.seed}: {shown(record['scores'])}", file=sys.stderr)
    records: dict[str, list[dict]] = {}
    for unit in units:
        records.setdefault(unit.task, []).append(found[id(unit)])
    return records


def run_all(units: list[Unit], jobs: int) -> Iterator[tuple[Unit, dict]]:
    """Yield every unit and its record, as they are ready."""
    if jobs == 1:
        yield from ((unit, run(unit)) for unit in units)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(run, unit): unit for unit in units}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run(unit: Unit) -> dict[str, object]:
    """Run a unit; its record has JSON's types only."""
    torch.set_num_threads(unit.threads)
    measured = run_m4(unit) if unit.task == "m4" else run_task(unit)
    return {"key": unit.key, **measured}


def run_task(unit: Unit) -> dict[str, object]:
    task = TASKS[unit.task](unit.data)
    if unit.validate:
        task = validation(task, 364 if unit.task in PRICES else None)
    # A horizon is a day.
    update_every = 28 * task.horizon // task.stride if unit.protocol == "service" else None
    train = slice(task.num_train)
    forecaster = unit.forecaster()
    with CpuTimer() as fit:
        forecaster.fit(task.y.iloc[train], X=task.X.iloc[train], fh=range(1, task.horizon + 1))
    with CpuTimer() as forecast:
        forecasts = rolling_forecast(forecaster, task, unit.origins, update_every)
    measured = {
        "scores": {
            "MAE": mean_absolute_error(forecasts, "point"),
            "naive": mean_absolute_error(forecasts, "naive"),
            **quantile_scores(forecasts),
            "fit": fit.seconds,
            "forecast": forecast.seconds,
        },
        "others": "" if unit.validate else task.reference,
    }
    if unit.task in PRICES:
        errors = (forecasts["truth"] - forecasts["point"]).abs()
        daily = errors.to_numpy().reshape(-1, task.horizon).sum(axis=1)
        measured["first_day"] = str(forecasts.index[0].date())
        measured["daily_errors"] = daily.round(6).tolist()
    return measured


def run_m4(unit: Unit) -> dict[str, object]:
    train, test = (read_m4(unit.data, part) for part in ("train", "test"))
    if unit.validate:
        test = {name: values[-M4_HORIZON:] for name, values in train.items()}
        train = {name: values[:-M4_HORIZON] for name, values in train.items()}
    forecaster = unit.forecaster(time_features=())  # M4 publishes no hours
    with CpuTimer() as fit:
        forecaster.fit(hourly(train), fh=range(1, M4_HORIZON + 1))
    with CpuTimer() as forecast:
        points = forecaster.predict()
        quantiles = forecaster.predict_quantiles(alpha=list(LEVELS))
    parts = []
    for name, values in train.items():
        part = pd.DataFrame(quantiles.loc[name].to_numpy(), columns=list(LEVELS))
        part["truth"] = test[name]
        parts.append(part / np.abs(values[24:] - values[:-24]).mean())
    naive = hourly({name: np.tile(values[-24:], 2) for name, values in train.items()})
    smape, mase = scores(points, train, test)
    naive_smape, naive_mase = scores(naive, train, test)
    others = f"naive {naive_smape:.3f}, {owa(naive_smape, naive_mase):.3f}"
    return {
        "scores": {
            "MASE": mase,
            "naive": naive_mase,
            **quantile_scores(pd.concat(parts)),
            "fit": fit.seconds,
            "forecast": forecast.seconds,
            "sMAPE": smape,
            "OWA": owa(smape, mase),
        },
        "others": others if unit.validate else f"{others}; {M4_REFERENCE}",
    }


def quantile_scores(forecasts: pd.DataFrame) -> dict[str, float]:
    return {
        "pinball": mean_pinball_loss(forecasts, LEVELS),
        "in_50": coverage(forecasts, 0.25, 0.75),
        "in_90": coverage(forecasts, 0.05, 0.95),
    }


# Showing them.


def table(names: Iterable[str], records: dict[str, list[dict]]) -> str:
    """Return a Markdown table with a row for every task."""
    titles = ["task", "seeds", "score", "spread", *(title for title, _ in COLUMNS.values())]
    rows = [[*titles, "others"], ["---"] * (len(titles) + 1)]
    for name in dict.fromkeys(names):
        frame = pd.DataFrame([record["scores"] for record in records[name]])
        mean, score = frame.mean(), frame.columns[0]
        others = records[name][0]["others"]
        if name == "m4":
            others = f"sMAPE {mean['sMAPE']:.3f}, OWA {mean['OWA']:.3f} ({others})"
        rows.append(
            [
                f"`{name}`",
                str(len(frame)),
                f"{score} {mean[score]:.4g}",
                f"{np.ptp(frame[score]):.2g}",
                *(format(mean[column], form) for column, (_, form) in COLUMNS.items()),
                others,
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shown(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def comparison(data: Path, record: dict) -> str:
    """Compare the days of a record with the published forecasts by Diebold and Mariano's test."""
    key, ours = record["key"], np.array(record["daily_errors"])
    losses = published(data, key["task"]).loc[record["first_day"] :].iloc[: len(ours)]
    parts = []
    for model in losses:
        better, worse = diebold_mariano(ours, losses[model].to_numpy())
        daily = losses[model].mean() / 24
        parts.append(f"{model} {daily:.4g} (ours better p = {better:.2g}, worse p = {worse:.2g})")
    return (
        f"{key['task']}, seed {key['seed']}, {len(ours)} days: MAE {ours.mean() / 24:.4g}, "
        + ", ".join(parts)
    )


@functools.cache
def published(data: Path, market: str) -> pd.DataFrame:
    """Return the sum of the absolute errors of every day, for LEAR and for DNN."""
    path = data / f"epf_forecasts_{market}.csv.gz"
    hours = pd.read_csv(path, index_col=0, parse_dates=[0])
    errors = hours[["lear_ensemble", "dnn_ensemble"]].sub(hours["real_price"], axis=0).abs()
    return errors.set_axis(["LEAR", "DNN"], axis=1).groupby(hours.index.normalize()).sum()


def diebold_mariano(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Return the p-values of ours being better, and worse, by daily losses (day,).

    A small one refutes that it is not so.
    """
    difference = ours - theirs
    statistic = difference.mean() / np.sqrt(difference.var() / len(difference))
    return float(norm.cdf(statistic)), float(norm.sf(statistic))


if __name__ == "__main__":
    main()
