"""Accuracy and intervals with the defaults on little data, and where the truth is known.

    python examples/benchmarks/short.py
    python examples/benchmarks/short.py shipped --seeds 0 1 2 --jobs 2 --results short.jsonl
    python examples/benchmarks/short.py shipped simulated --limit 30 --validate
    python examples/benchmarks/short.py known --set calibration=none

The forecaster is ``TransformerLSTMForecaster(random_state=seed)``, with nothing else but what
``--set`` says. Nothing is downloaded.

- shipped: the regular series of 30 to 800 rows that sktime and statsmodels ship; with ``--data``
  also the first 12 series, by name, of Australian tourism. 4 forecasts of a series, 3 where it has
  fewer than 60 rows and fewer where the first fit would have less than two horizons, each by a
  fresh fit on all rows before. The origins are one horizon apart and
  the last forecast ends with the series.
- simulated: 200 made-up series like M4's, monthly, quarterly and yearly, with 40 to 300 rows
  (yearly 30 to 80) before the first of 2 forecasts, and the same protocol.
- known: processes whose best forecast is known. One fit, to 60 .. 9,000 rows, then 20 forecasts
  one horizon apart, with ``update(update_params=False)`` in between; 4 realisations of the two
  smallest sizes, 2 of the others, and other ones for every seed. For "shifts" the best forecast
  knows the true level (and its intervals, by simulation, that it may jump), for "variance" the true
  standard deviation. For "walk" also the 90 % interval beyond the horizon that was fitted.

``ratio`` is our MAE over that of the best of naive, seasonal naive, drift and theta, where the best
is the one that did best within the rows of the first fit (up to 6 forecasts, half a horizon apart).
``pinball`` is the mean over the levels .05, .10, .. .95, over the in-sample MAE of the seasonal
naive (shipped, simulated) or the pinball of the best forecast (known). ``width`` is that of the
90 % interval over the true one, at the first step, at the last step and where it is furthest off.

``--validate`` is for choosing defaults without a look at the test rows: shipped series first lose
the rows that the test scores (what is too short then is left out, or gets fewer forecasts), and
the other parts draw other series.
``--results`` takes a line of JSON for every finished unit of work; units that it has are not run
again. It does not know the version of the package: take a new file when the code changes.

Expected with the defaults, seed 0: (see docs/benchmarks.md)
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import sktime.datasets
import torch
from _common import LEVELS, CpuTimer, coverage, mean_absolute_error, mean_pinball_loss
from scipy.stats import norm
from skill import setting
from statsmodels.tsa.forecasting.theta import ThetaModel

from sktime_tlstm import TransformerLSTMForecaster

#: Simple methods that a forecast is held against.
REFERENCES = ("naive", "seasonal", "drift", "theta")

#: Rows of a season, by frequency; a series may name another.
SEASONS = {"M": 12, "Q": 4, "Y": 1}

#: Tables of quarterly series that are shipped: their first quarter and the columns.
QUARTERS = {
    "uschange": ("1970Q1", "Consumption Income Production Savings Unemployment"),
    "macrodata": ("1959Q1", "realgdp unemp cpi realcons realinv infl tbilrate"),
    "danish_data": ("1974Q1", "lrm lry lpy ibo ide"),
    "interest_inflation": ("1972Q2", "Dp R"),
}

NUM_SIMULATED = 200
SIMULATED_HORIZONS = {"M": 12, "Q": 8, "Y": 6}

#: Rows of the fit and frequency of the known processes, and the horizon (and season) of each.
SIZES = ((60, "D"), (200, "D"), (1000, "D"), (4000, "D"), (2000, "h"), (9000, "h"))
KNOWN_HORIZONS = {"D": 7, "h": 24}
NUM_KNOWN_ORIGINS = 20

#: Steps beyond the fitted horizon at which intervals of the random walk are measured.
FAR_STEPS = (1, 4, 16, 64, 256)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, help="folder of australian_tourism.csv")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--set", action="append", default=[], type=setting, metavar="NAME=VALUE", dest="settings"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, help="file to keep results in and to resume from")
    parser.add_argument("--limit", type=int, help="the first units of each part and seed only")
    parser.add_argument("--validate", action="store_true", help="keep off the test rows")
    options = parser.parse_args(arguments)
    parts = options.parts or list(PARTS)
    if not set(parts) <= set(PARTS):
        parser.error(f"name some of the parts {', '.join(PARTS)}")
    units = [
        Unit(part, name, seed, tuple(sorted(options.settings)), options.validate, options.data)
        for part in parts
        for seed in options.seeds
        for name in PARTS[part][0](options)[: options.limit]
    ]
    results = run(units, options.jobs, options.results)
    for part in parts:
        rows = [results[unit.key] for unit in units if unit.part == part and unit.key in results]
        if rows:
            print(f"\n{part}: {len(rows)} units")
            PARTS[part][2](pd.DataFrame(rows))


@dataclass(frozen=True)
class Unit:
    """What is run in one go: a series, or one realisation of a process, under one seed."""

    part: str
    name: str
    seed: int
    settings: tuple[tuple[str, object], ...]
    validate: bool
    data: Path | None

    @property
    def key(self) -> str:
        """What tells its result from others in a file."""
        return json.dumps([self.part, self.name, self.seed, self.settings, self.validate])

    @property
    def forecaster(self) -> TransformerLSTMForecaster:
        return TransformerLSTMForecaster(**{"random_state": self.seed, **dict(self.settings)})


def run(units: list[Unit], jobs: int, path: Path | None) -> dict[str, dict]:
    """Return results by key, those of the file and those of the units that it lacks."""
    results = read_results(path)
    missing = [unit for unit in units if unit.key not in results]
    print(f"{len(units)} units, {len(missing)} of them to run", flush=True)
    if not missing:
        return results
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(run_unit, unit): unit for unit in missing}
        for number, future in enumerate(as_completed(futures), start=1):
            unit, result = futures[future], future.result()
            outcome = result.get("error") or f"{result['cpu']:.1f} CPU-s a fit"
            print(
                f"{number}/{len(missing)} {unit.part} {unit.name} {unit.seed}: {outcome}",
                flush=True,
            )
            if "error" in result:
                continue
            results[unit.key] = result
            if path is not None:
                with path.open("a") as file:
                    file.write(json.dumps({"key": unit.key, **result}) + "\n")
    return results


def run_unit(unit: Unit) -> dict:
    """Return the scores of a unit; of a failure, what it was, for the others to go on."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="sktime")
    try:
        scores = PARTS[unit.part][1](unit)
    except Exception:
        return {"error": "failed: " + traceback.format_exc()}
    return {"part": unit.part, "name": unit.name, "seed": unit.seed, **scores}


def read_results(path: Path | None) -> dict[str, dict]:
    """Read results by key, dropping a line that an interruption cut short."""
    if path is None or not path.exists():
        return {}
    whole, newline, _ = path.read_text().rpartition("\n")
    path.write_text(whole + newline)
    return {result.pop("key"): result for result in map(json.loads, whole.splitlines())}


@dataclass(frozen=True)
class Series:
    """A series and how forecasts of it are judged."""

    y: pd.Series
    horizon: int
    season: int
    num_origins: int
    kind: str


def series(y, horizon: int, freq: str, start: str, season: int | None = None) -> Series:
    """Index values by periods of a frequency "M", "Q" or "Y"."""
    index = pd.period_range(start, periods=len(y), freq=freq)
    y = pd.Series(np.asarray(y, dtype=float), index, name="y")
    return Series(y, horizon, season or SEASONS[freq], num_origins(len(y), horizon), freq)


def num_origins(rows: int, horizon: int) -> int:
    """Return how many horizons are tested: so many that the first fit has two, or 12 rows."""
    return min(3 if rows < 60 else 4, (rows - max(2 * horizon, 12)) // horizon)


@functools.cache
def shipped_series(data: Path | None, validate: bool) -> dict[str, Series]:
    """Return the series that the two packages ship, and those of Australian tourism."""
    found = {
        "airline": series(sktime.datasets.load_airline(), 12, "M", "1949-01"),
        "shampoo_sales": series(sktime.datasets.load_shampoo_sales(), 6, "M", "1991-01"),
        "PBS": series(sktime.datasets.load_PBS_dataset(), 12, "M", "1991-07"),
        "lynx": series(sktime.datasets.load_lynx(), 10, "Y", "1821"),
    }
    uschange = pd.concat(sktime.datasets.load_uschange(), axis=1)
    for table, (start, columns) in QUARTERS.items():
        frame = uschange if table == "uschange" else shipped_table(table)
        for name in columns.split():
            found[f"{table} {name}"] = series(frame[name], 8, "Q", start)
    found["sunspots"] = series(shipped_table("sunspots")["SUNACTIVITY"], 11, "Y", "1700", season=11)
    found["nile"] = series(shipped_table("nile")["volume"], 10, "Y", "1871")
    co2 = shipped_table("co2")["co2"].resample("MS").mean().interpolate()
    found["co2"] = series(co2, 12, "M", "1958-03")
    months = shipped_table("elnino").set_index("YEAR").to_numpy().ravel()
    found["elnino"] = series(months, 12, "M", "1950-01")
    found["elec_equip"] = series(shipped_table("elec_equip").iloc[:, 0], 12, "M", "1995-01")
    sales = sktime.datasets.load_hierarchical_sales_toydata().iloc[:, 0]
    for group, y in sales.groupby(level=[0, 1]):
        found[f"sales {group[1]}"] = series(y, 12, "M", "2000-01")
    if data is not None:
        tourism = pd.read_csv(data / "australian_tourism.csv")
        for name in sorted(tourism)[:12]:
            found[f"tourism {name}"] = series(tourism[name], 8, "Q", "1998Q1")
    if validate:
        found = {name: before_test(whole) for name, whole in found.items()}
    return {name: part for name, part in found.items() if part.num_origins > 0}


def shipped_table(name: str) -> pd.DataFrame:
    return import_module(f"statsmodels.datasets.{name}").load_pandas().data


def before_test(whole: Series) -> Series:
    """Cut off the rows that are tested; of the rest, test the last ones likewise."""
    y = whole.y[: -whole.num_origins * whole.horizon]
    return replace(whole, y=y, num_origins=num_origins(len(y), whole.horizon))


def simulated_series(number: int, validate: bool) -> Series:
    """Draw one of the series, always the same one for a number."""
    rng = np.random.default_rng([2024, number, validate])
    freq = str(rng.choice(["M", "Q", "Y"], p=[0.6, 0.25, 0.15]))
    horizon, season = SIMULATED_HORIZONS[freq], SEASONS[freq]
    shortest, longest = (30, 80) if freq == "Y" else (40, 300)
    rows = int(log_uniform(rng, shortest, longest)) + 2 * horizon
    level = log_uniform(rng, 50, 10_000)
    y = 1 + trend(rng, rows)
    if number % 6 == 5:  # a level shift
        size = rng.choice([-1, 1]) * rng.uniform(0.1, 0.4)
        y[int(rng.integers(rows // 3, rows)) :] += size
    if season > 1:
        pattern = log_uniform(rng, 0.02, 0.3) * seasonal_pattern(rng, season)
        pattern = np.resize(pattern, rows)
        y = (y, y + pattern, y * (1 + pattern))[rng.integers(3)]
    y = y + log_uniform(rng, 0.01, 0.12) * noise(rng, rows, changing=number % 10 == 9)
    start = f"{rng.integers(1970, 2000)}-01"
    indexed = series(level * np.maximum(y, 0.02), horizon, freq, start).y
    return Series(indexed, horizon, season, 2, freq + (" shift" if number % 6 == 5 else ""))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def trend(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Draw no trend, a linear one, a damped one or a random walk, around zero."""
    total, time = rng.uniform(-0.5, 1.5), np.arange(rows)
    damped = 1 - rng.uniform(0.9, 0.99) ** time
    walk = np.cumsum(rng.normal(scale=rng.uniform(0.003, 0.02), size=rows))
    kinds = (0.0 * time, total * time / rows, total * damped, walk)
    return kinds[rng.integers(4)]


def seasonal_pattern(rng: np.random.Generator, season: int) -> np.ndarray:
    """Draw a smooth or a spiky pattern with mean 0 and largest value 1."""
    angle = 2 * np.pi * np.arange(season) / season
    if rng.random() < 0.5:
        pattern = np.sin(angle + rng.uniform(0, 7)) + rng.random() * np.sin(
            2 * angle + rng.uniform(0, 7)
        )
    else:
        pattern = 0.2 * rng.normal(size=season)
        spikes = rng.choice(season, size=rng.integers(1, 3), replace=False)
        pattern[spikes] += rng.choice([-1, 1], size=len(spikes)) * rng.uniform(1, 3)
    pattern = pattern - pattern.mean()
    return pattern / np.abs(pattern).max()


def noise(rng: np.random.Generator, rows: int, changing: bool) -> np.ndarray:
    """Draw noise with a variance of 1: independent, AR(1), or heavy-tailed."""
    kind = rng.choice(["normal", "AR", "t"], p=[0.5, 0.25, 0.25])
    if kind == "t":
        drawn = rng.standard_t(4, size=rows) / np.sqrt(2)
    else:
        phi = rng.uniform(0.4, 0.8) if kind == "AR" else 0.0
        drawn = autoregression(rng.normal(size=rows + 50), phi)[50:] * np.sqrt(1 - phi**2)
    if changing:  # from half to twice the noise, or the other way round
        drawn = drawn * np.geomspace(*rng.permutation([0.5, 2.0]), rows)
    return drawn


def autoregression(innovations: np.ndarray, phi: float) -> np.ndarray:
    values = innovations.copy()
    for row in range(1, len(values)):
        values[row] += phi * values[row - 1]
    return values


def evaluate_shipped(unit: Unit) -> dict:
    return evaluate(unit, shipped_series(unit.data, unit.validate)[unit.name])


def evaluate_simulated(unit: Unit) -> dict:
    return evaluate(unit, simulated_series(int(unit.name), unit.validate))


def evaluate(unit: Unit, found: Series) -> dict:
    """Forecast a series from its last origins, each by a fresh fit, and score the forecasts."""
    y, horizon, values = found.y, found.horizon, found.y.to_numpy()
    first = len(y) - found.num_origins * horizon
    season = found.season if found.season < first / 2 else 1
    parts, fit_seconds = [], 0.0
    for origin in range(first, len(y), horizon):
        forecaster = unit.forecaster
        with CpuTimer() as fit:
            forecaster.fit(y[:origin], fh=range(1, horizon + 1))
        fit_seconds += fit.seconds
        part = forecast_table(forecaster, y[origin : origin + horizon])
        parts.append(part.assign(**reference_forecasts(values[:origin], horizon, season)))
    forecasts = pd.concat(parts)
    forecasts = forecasts.rename(columns={"point": "ours"})
    mae = {name: mean_absolute_error(forecasts, name) for name in ("ours", *REFERENCES)}
    best = best_reference(values[:first], horizon, season)
    scale = np.abs(values[season:first] - values[: first - season]).mean()
    return {
        "kind": found.kind,
        "rows": len(y),
        "fh": horizon,
        **mae,
        "best": best,
        "ratio": mae["ours"] / mae[best],
        "cov50": coverage(forecasts, 0.25, 0.75),
        "cov90": coverage(forecasts, 0.05, 0.95),
        "pinball": mean_pinball_loss(forecasts, LEVELS) / scale,
        "cpu": fit_seconds / found.num_origins,
        "forecasts": len(forecasts),
    }


def forecast_table(forecaster: TransformerLSTMForecaster, truth: pd.Series) -> pd.DataFrame:
    """Forecast the rows after the cutoff: columns ``truth``, ``point`` and the levels."""
    fh = range(1, len(truth) + 1)
    table = pd.DataFrame({"truth": truth, "point": forecaster.predict(fh=fh)})
    table[list(LEVELS)] = forecaster.predict_quantiles(fh=fh, alpha=list(LEVELS)).to_numpy()
    return table


def reference_forecasts(values: np.ndarray, horizon: int, season: int) -> dict[str, np.ndarray]:
    """Forecast by the simple methods; what does not apply or fails is missing."""
    steps, last = np.arange(1, horizon + 1), values[-1]
    missing = np.full(horizon, np.nan)
    found = {
        "naive": np.full(horizon, last),
        "seasonal": np.resize(values[-season:], horizon) if season > 1 else missing,
        "drift": last + steps * (last - values[0]) / (len(values) - 1),
        "theta": missing,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = ThetaModel(values, period=season, deseasonalize=season > 1)
            found["theta"] = np.asarray(model.fit().forecast(horizon))
        except Exception:  # too short for its season, or an optimiser that gives up
            pass
    return found


def best_reference(values: np.ndarray, horizon: int, season: int) -> str:
    """Return the simple method that forecast the last of these rows best."""
    shortest = max(2 * season, 4)
    origins = range(len(values) - horizon, shortest - 1, -max(horizon // 2, 1))[:6]
    errors = {name: [] for name in REFERENCES}
    for origin in origins or [len(values) - horizon]:
        truth = values[origin : origin + horizon]
        for name, forecast in reference_forecasts(values[:origin], horizon, season).items():
            errors[name].append(np.abs(forecast - truth).mean())
    means = {name: np.mean(error) for name, error in errors.items()}
    return min(REFERENCES, key=lambda name: np.nan_to_num(means[name], nan=np.inf))


@dataclass(frozen=True)
class Truth:
    """A realisation of a process, and the true quantiles (step, level) of what comes at a row."""

    y: np.ndarray
    quantiles: Callable[[int, int], np.ndarray]


def normal_quantiles(mean, sd) -> np.ndarray:
    """Return the quantiles (step, level) of normal distributions."""
    return norm.ppf(LEVELS, np.asarray(mean)[:, None], np.asarray(sd)[:, None])


def around(rng: np.random.Generator, mean: np.ndarray, sd: np.ndarray) -> Truth:
    """Draw independent rows of a known mean and standard deviation."""
    y = mean + sd * rng.normal(size=len(mean))

    def quantiles(origin: int, horizon: int) -> np.ndarray:
        return normal_quantiles(mean[origin : origin + horizon], sd[origin : origin + horizon])

    return Truth(y, quantiles)


def white_noise(rng: np.random.Generator, rows: int, season: int) -> Truth:
    return around(rng, np.full(rows, 20.0), np.ones(rows))


def random_walk(rng: np.random.Generator, rows: int, season: int) -> Truth:
    y = rng.normal(size=rows).cumsum()
    sd = np.sqrt(np.arange(1, 400))
    return Truth(y, lambda row, h: normal_quantiles(np.full(h, y[row - 1]), sd[:h]))


def ar1(rng: np.random.Generator, rows: int, season: int) -> Truth:
    """Innovations with a standard deviation of 1."""
    phi, mean = 0.8, 20
    y = mean + autoregression(rng.normal(size=rows + 100), phi)[100:]

    def quantiles(origin: int, horizon: int) -> np.ndarray:
        decay = phi ** np.arange(1, horizon + 1)
        sd = np.sqrt((1 - decay**2) / (1 - phi**2))
        return normal_quantiles(mean + decay * (y[origin - 1] - mean), sd)

    return Truth(y, quantiles)


def trend_and_season(rng: np.random.Generator, rows: int, season: int) -> Truth:
    """A slope, a sine and one step of the season that stands out."""
    time = np.arange(rows)
    spike = 4.0 * (time % season == season * 3 // 4)
    mean = 20 + 0.02 * time + 3 * np.sin(2 * np.pi * time / season) + spike
    return around(rng, mean, np.ones(rows))


def level_shifts(rng: np.random.Generator, rows: int, season: int) -> Truth:
    """White noise around a level that jumps once in 60 steps, on average."""
    level = 20 + jumps(rng, (rows,)).cumsum()
    y = level + rng.normal(size=rows)
    return Truth(y, lambda origin, h: level[origin - 1] + shift_quantiles(h))


def jumps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, 5, shape) * (rng.random(shape) < 1 / 60)


@functools.cache
def shift_quantiles(horizon: int) -> np.ndarray:
    """Simulate what follows a level of zero."""
    rng = np.random.default_rng(0)
    shape = 100_000, horizon
    y = jumps(rng, shape).cumsum(axis=1) + rng.normal(size=shape)
    y = np.concatenate([y, -y])  # the process is symmetric
    return np.quantile(y, LEVELS, axis=0).T


def changing_variance(rng: np.random.Generator, rows: int, season: int) -> Truth:
    """A standard deviation between .5 and 2 that comes back after 200 steps."""
    sd = 2 ** np.sin(2 * np.pi * np.arange(rows) / 200)
    return around(rng, np.full(rows, 20.0), sd)


PROCESSES = {
    "noise": white_noise,
    "walk": random_walk,
    "ar1": ar1,
    "season": trend_and_season,
    "shifts": level_shifts,
    "variance": changing_variance,
}


def known_names(options: argparse.Namespace) -> list[str]:
    return [
        f"{process} {rows} {freq} {number}"
        for rows, freq in SIZES
        for number in range(4 if rows <= 200 else 2)
        for process in PROCESSES
    ]


def evaluate_known(unit: Unit) -> dict:
    """Fit once, forecast 20 times, and compare with the best forecasts there are."""
    process, size, freq, number = unit.name.split()
    rows, horizon = int(size), KNOWN_HORIZONS[freq]
    rng = np.random.default_rng(
        [list(PROCESSES).index(process), rows, int(number), unit.seed, unit.validate]
    )
    total = rows + NUM_KNOWN_ORIGINS * horizon
    truth = PROCESSES[process](rng, total, horizon)
    y = pd.Series(truth.y, pd.date_range("2015-01-05", periods=total, freq=freq), name="y")
    forecaster, fh = unit.forecaster, range(1, horizon + 1)
    with CpuTimer() as fit:
        forecaster.fit(y[:rows], fh=fh)
    ours, optimal, far = [], [], []
    for position, origin in enumerate(range(rows, total, horizon)):
        if position:
            forecaster.update(y[origin - horizon : origin], update_params=False)
        ours.append(forecast_table(forecaster, y[origin : origin + horizon]))
        best = pd.DataFrame(truth.quantiles(origin, horizon), ours[-1].index, list(LEVELS))
        optimal.append(best.assign(truth=ours[-1]["truth"], point=best[0.5]))
        if process == "walk" and position % 5 == 4:
            interval = forecaster.predict_interval(
                fh=[horizon + step for step in FAR_STEPS], coverage=0.9
            )
            far.append(interval.iloc[:, 1] - interval.iloc[:, 0])
    ours, optimal = pd.concat(ours), pd.concat(optimal)
    steps = horizon + np.array(FAR_STEPS)
    return {
        "process": process,
        "size": size + freq,
        "cov50": coverage(ours, 0.25, 0.75),
        "cov90": coverage(ours, 0.05, 0.95),
        "mae": mean_absolute_error(ours, "point"),
        "best_mae": mean_absolute_error(optimal, "point"),
        "pinball": mean_pinball_loss(ours, LEVELS),
        "best_pinball": mean_pinball_loss(optimal, LEVELS),
        "width": mean_width(ours, horizon),
        "best_width": mean_width(optimal, horizon),
        "far": list(np.mean(far, axis=0) / (2 * 1.6449 * np.sqrt(steps))) if far else None,
        "cpu": fit.seconds,
    }


def mean_width(forecasts: pd.DataFrame, horizon: int) -> list[float]:
    """Return the mean width of the 90 % interval at every step."""
    width = (forecasts[0.95] - forecasts[0.05]).to_numpy()
    return list(width.reshape(-1, horizon).mean(axis=0))


def show_series(results: pd.DataFrame) -> None:
    """Print a line for every series, averaged over seeds."""
    table = results.drop(columns=["part", "seed", "forecasts"])
    print_table(table.groupby(["name", "kind", "best"], sort=False).mean())
    show_summary(results)


def show_summary(results: pd.DataFrame) -> None:
    """Print the scores of all series and of every kind."""
    groups = {"all": results, **dict(iter(results.groupby("kind")))}
    print_table(
        pd.DataFrame(
            {
                name: {
                    "series": group["name"].nunique(),
                    "geometric mean ratio": np.exp(np.log(group["ratio"]).mean()),
                    "largest ratio": group["ratio"].max(),
                    "of": group.loc[group["ratio"].idxmax(), "name"],
                    "cov50": np.average(group["cov50"], weights=group["forecasts"]),
                    "cov90": np.average(group["cov90"], weights=group["forecasts"]),
                    "smallest cov90": group["cov90"].min(),
                    "pinball": group["pinball"].mean(),
                    "cpu": group["cpu"].mean(),
                }
                for name, group in groups.items()
            }
        ).T
    )


def show_known(results: pd.DataFrame) -> None:
    """Print a line for every process and size, over its realisations."""
    lines = []
    for (process, size), group in results.groupby(["process", "size"], sort=False):
        width = np.mean(group["width"].tolist(), axis=0)
        width = width / np.mean(group["best_width"].tolist(), axis=0)
        line = {
            "process": process,
            "size": size,
            "units": len(group),
            "cov50": group["cov50"].mean(),
            "cov90": group["cov90"].mean(),
            "width first": width[0],
            "width last": width[-1],
            "furthest off": np.abs(width - 1).max(),
            "MAE": group["mae"].mean() / group["best_mae"].mean(),
            "pinball": group["pinball"].mean() / group["best_pinball"].mean(),
            "cpu": group["cpu"].mean(),
        }
        if process == "walk":
            far = np.mean(group["far"].tolist(), axis=0)
            line |= {f"h+{step}": value for step, value in zip(FAR_STEPS, far, strict=True)}
        lines.append(line)
    print_table(pd.DataFrame(lines).set_index(["process", "size"]))


def print_table(table: pd.DataFrame) -> None:
    def shown(value: object) -> str:
        if isinstance(value, str):
            return value
        return "" if pd.isna(value) else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.3g}"

    print(table.map(shown).to_string())


def shipped_names(options: argparse.Namespace) -> list[str]:
    return list(shipped_series(options.data, options.validate))


def simulated_names(options: argparse.Namespace) -> list[str]:
    return [f"{number:03d}" for number in range(NUM_SIMULATED)]


#: What there is to run, how, and how the results are printed.
PARTS = {
    "shipped": (shipped_names, evaluate_shipped, show_series),
    "simulated": (simulated_names, evaluate_simulated, show_summary),
    "known": (known_names, evaluate_known, show_known),
}

if __name__ == "__main__":
    main()
