"""Known events and other made-up data with covariates, where the best forecast is known.

    python examples/benchmarks/events.py
    python examples/benchmarks/events.py outages10 holidays --seeds 0 1 2
    python examples/benchmarks/events.py promotions --set calibration=none

Daily data with weekends and a year, every seed another realisation. ``TransformerLSTMForecaster``
with its defaults is fitted once, with X that tells the events; then it forecasts two weeks from
every seventh row of the next 300. Nothing is downloaded.

- promotions: three years, sales three times as high on 2 % of the days (8 % of those forecast);
- holidays: two years, eight named days a year, each with an effect of its own;
- outages3, outages10, outages30: two years, the output stops on so many days (a tenth of those
  forecast);
- heating: three years, demand grows with cold and with heat, by a temperature that is known;
- storms: 1,000 days, errors seven times as large on the 15 % of the days that are known as stormy;
- growth: four years in which a level grows to five times, 60 days ahead; no covariates.

The error is the mean absolute one over that of the best forecast, which knows the truth but for its
noise; "events" are the days that X marks. 50 and 90 % intervals should hold as much; "width" is
that of the 90 % interval over the true one. Means over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from _common import CpuTimer
from skill import setting
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster

#: Rows behind those of training.
LATER = 300
#: The 95 % quantile of a normal distribution.
UPPER = 1.6449
#: Errors of the best forecast that count as none.
NOTHING = 0.1
#: Effects of holidays: days of the year and factors.
HOLIDAYS = {1: 0.2, 100: 0.6, 130: 0.5, 185: 0.6, 240: 1.8, 330: 2.5, 358: 0.5, 359: 0.1}


@dataclass(frozen=True)
class World:
    """A series whose truth is known.

    Parameters
    ----------
    mean, deviation : numpy.ndarray of float64, shape (row,)
        Of the normal distribution that each row is drawn from.
    X : pandas.DataFrame or None
    event : numpy.ndarray of bool, shape (row,)
    horizon : int
    """

    mean: np.ndarray
    deviation: np.ndarray
    X: pd.DataFrame | None
    event: np.ndarray
    horizon: int = 14


def days(rows: int) -> pd.DatetimeIndex:
    return pd.date_range("2020-01-01", periods=rows + LATER, freq="D")


def usual(index: pd.DatetimeIndex) -> np.ndarray:
    """Return factors of weekdays and of the year."""
    weekend = np.array([1, 0.9, 0.9, 1, 1.3, 1.6, 1.2])[index.dayofweek]
    return weekend * (1 + 0.2 * np.sin(2 * np.pi * index.dayofyear / 365.25))


def marked(rng: np.random.Generator, share: float, later: float, rows: int) -> np.ndarray:
    """Return which rows are events: a share of those of training, another of those behind."""
    event = rng.random(rows) < share
    event[-LATER:] = rng.random(LATER) < later
    return event


def promotions(rng: np.random.Generator) -> World:
    index = days(1095)
    event = marked(rng, 0.02, 0.08, len(index))
    level = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, len(index))))
    mean = level * usual(index) * np.where(event, 3.0, 1.0)
    return World(mean, 0.1 * mean, pd.DataFrame({"promotion": event.astype(int)}, index), event)


def holidays(rng: np.random.Generator) -> World:
    index = days(730)
    factor = np.array([HOLIDAYS.get(day, 1.0) for day in index.dayofyear])
    event = factor != 1
    name = np.where(event, np.char.add("day ", index.dayofyear.astype(str).to_numpy(str)), "none")
    mean = 200 * usual(index) * factor
    return World(mean, 0.07 * mean, pd.DataFrame({"holiday": name.astype(object)}, index), event)


def outages(number: int) -> Callable[[np.random.Generator], World]:
    def drawn(rng: np.random.Generator) -> World:
        index = days(730)
        event = marked(rng, 0.0, 0.1, len(index))
        event[rng.choice(730, number, replace=False)] = True
        mean = np.where(event, 0.0, 80 * usual(index))
        X = pd.DataFrame({"outage": event.astype(int)}, index)
        return World(mean, np.where(event, 0.02, 5.0), X, event)

    return drawn


def heating(rng: np.random.Generator) -> World:
    index = days(1095)
    weather = np.zeros(len(index))
    for row in range(1, len(index)):
        weather[row] = 0.8 * weather[row - 1] + 2 * rng.standard_normal()
    warmth = 12 - 10 * np.cos(2 * np.pi * index.dayofyear / 365.25) + weather
    need = 8 * np.maximum(15 - warmth, 0) + 12 * np.maximum(warmth - 22, 0)
    mean = 300 * np.where(index.dayofweek < 5, 1.0, 0.85) + need
    X = pd.DataFrame({"warmth": warmth}, index)
    return World(mean, np.full(len(index), 15.0), X, warmth > 24)


def storms(rng: np.random.Generator) -> World:
    index = days(1000)
    event = marked(rng, 0.15, 0.15, len(index))
    mean = 100.0 + 10 * (index.dayofweek < 5)
    X = pd.DataFrame({"storm": event.astype(int)}, index)
    return World(mean, np.where(event, 20.0, 3.0), X, event)


def growth(rng: np.random.Generator) -> World:
    index = days(1460)
    mean = 50 * np.exp(np.arange(len(index)) * np.log(5) / 1460) * usual(index)
    return World(mean, 0.05 * mean, None, np.zeros(len(index), dtype=bool), horizon=60)


WORLDS: dict[str, Callable[[np.random.Generator], World]] = {
    "promotions": promotions,
    "holidays": holidays,
    "outages3": outages(3),
    "outages10": outages(10),
    "outages30": outages(30),
    "heating": heating,
    "storms": storms,
    "growth": growth,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(WORLDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--set", action="append", default=[], type=setting, metavar="NAME=VALUE", dest="settings"
    )
    options = parser.parse_args(arguments)
    tasks = options.tasks or list(WORLDS)
    if not set(tasks) <= set(WORLDS):
        parser.error(f"name some of the tasks {', '.join(WORLDS)}")
    torch.set_num_threads(1)
    print("task, rows | error | 50 % holds | 90 % holds | width | fit, CPU-s")
    for task in tasks:
        runs = [run(WORLDS[task], seed, dict(options.settings)) for seed in options.seeds]
        rows = pd.concat([table for table, _ in runs])
        seconds = np.mean([spent for _, spent in runs])
        parts = {"all": rows, "events": rows[rows["event"]], "others": rows[~rows["event"]]}
        for name, part in parts.items():
            if len(part) and (name == "all" or rows["event"].any()):
                print(f"{task}, {name} | {line(part)} | {seconds:.0f}", flush=True)


def run(world_of: Callable[[np.random.Generator], World], seed: int, settings: dict):
    """Return a row for every step that is forecast, and the CPU-seconds of the fit."""
    rng = np.random.default_rng(seed)
    world = world_of(rng)
    number = len(world.mean) - LATER
    index = days(number)
    y = pd.Series(world.mean + world.deviation * rng.standard_normal(len(index)), index, name="y")
    forecaster = TransformerLSTMForecaster(random_state=seed, **settings)
    fh = range(1, world.horizon + 1)
    with CpuTimer() as timer:
        known = None if world.X is None else world.X[:number]
        forecaster.fit(y[:number], X=known, fh=fh)
    cv = ExpandingWindowSplitter(fh=fh, initial_window=number, step_length=7)
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    table = forecaster.backtest(
        y, world.X, cv, method="predict_quantiles", alpha=levels, return_data=True
    )
    quantiles = pd.concat(list(table["y_pred_quantiles"])).set_axis(levels, axis=1)
    place = index.get_indexer(quantiles.index)
    point = pd.concat(list(forecaster.backtest(y, world.X, cv, return_data=True)["y_pred"]))
    rows = quantiles.assign(
        truth=y.to_numpy()[place],
        point=point.to_numpy(),
        mean=world.mean[place],
        deviation=world.deviation[place],
        event=world.event[place],
    )
    return rows, timer.seconds


def line(rows: pd.DataFrame) -> str:
    error = (rows["truth"] - rows["point"]).abs().mean()
    best = (rows["truth"] - rows["mean"]).abs().mean()
    holds = [
        ((rows[low] <= rows["truth"]) & (rows["truth"] <= rows[high])).mean()
        for low, high in ((0.25, 0.75), (0.05, 0.95))
    ]
    width = (rows[0.95] - rows[0.05]).mean() / (2 * UPPER * rows["deviation"].mean())
    ratio, wide = f"{error / best:.2f}", f"{width:.2f}"
    if best < NOTHING:  # nothing is a share of it
        ratio, wide = f"{error:.1f} where the best is {best:.2f}", "-"
    return f"{ratio} | {holds[0]:.0%} | {holds[1]:.0%} | {wide}"


if __name__ == "__main__":
    main()
