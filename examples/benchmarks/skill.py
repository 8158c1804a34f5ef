"""Accuracy on real data with known future covariates: one fit, then a rolling evaluation.

    python examples/benchmarks/skill.py traffic
    python examples/benchmarks/skill.py NP BE DE ETTh1 --data DIR
    python examples/benchmarks/skill.py NP --data DIR --set num_members=3
    python examples/benchmarks/skill.py --probabilistic --data DIR

The forecaster is fitted once to the training rows, with its default parameters. Then it forecasts
a whole horizon from every origin of the test rows, seeing everything before the origin
(``update(update_params=False)``) and the covariates of the horizon. The scores take the rows whose
truth is observed. Expected MAE:

    traffic 188.9, NP 1.766, BE 6.30, DE 4.20, ETTh1 0.154, vic_elec 107.4, bike 38.7

``--probabilistic`` fits anew for each ``calibration`` and scores the quantiles .05, .10, .. .95.
Expected with "adaptive", as pinball and coverage of the central 50 % and 90 %:

    NP 0.699, 49.4 %, 89.3 %; BE 2.52, 48.7 %, 89.0 %; DE 1.612, 48.7 %, 89.5 %;
    bike 16.8, 48.0 %, 89.0 %
"""

import argparse
import ast
from pathlib import Path

import torch
from _common import (
    TASKS,
    CpuTimer,
    Task,
    coverage,
    mean_absolute_error,
    mean_pinball_loss,
    rolling_forecast,
)

from sktime_tlstm import TransformerLSTMForecaster

CALIBRATIONS = ("none", "conformal", "adaptive")

#: Tasks of ``--probabilistic``, and what a ridge regression with residual quantiles reaches.
RIDGE = {
    "NP": "ridge 0.808, coverage of 90 % 79.4 %",
    "BE": "ridge 2.670, coverage of 90 % 86.4 %",
    "DE": "ridge 1.754, coverage of 90 % 84.5 %",
    "bike": "no reference",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--data", type=Path, help="folder of the data files")
    parser.add_argument("--origins", type=int, help="forecast from the first ones only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="NAME=VALUE",
        dest="settings",
        help="a parameter of the forecaster",
    )
    parser.add_argument(
        "--probabilistic", action="store_true", help="score quantiles under every calibration"
    )
    options = parser.parse_args(arguments)
    names = options.task or (list(RIDGE) if options.probabilistic else [])
    if not names or not set(names) <= set(TASKS):
        parser.error(f"name some of the tasks {', '.join(TASKS)}")
    torch.set_num_threads(options.threads)
    for name in names:
        task, settings = TASKS[name](options.data), dict(options.settings)
        if options.probabilistic:
            print(f"{name}: mean pinball over {len(task.levels)} levels, {RIDGE.get(name, '')}")
            for calibration in CALIBRATIONS:
                scores = probabilistic(task, options.origins, calibration, settings)
                print(f"  {calibration:<10} {scores}", flush=True)
        else:
            print(f"{name}: {report(task, options.origins, settings)}", flush=True)


def setting(text: str) -> tuple[str, object]:
    """Parse ``name=value``; what is no Python literal is a string."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def probabilistic(
    task: Task, num_origins: int | None, calibration: str, settings: dict[str, object]
) -> str:
    forecaster = fitted(task, {"calibration": calibration, **settings})
    forecasts = rolling_forecast(forecaster, task, num_origins)
    return (
        f"pinball {mean_pinball_loss(forecasts, task.levels):.4g}, "
        f"coverage of 50 % {coverage(forecasts, 0.25, 0.75):.1%}, "
        f"of 90 % {coverage(forecasts, 0.05, 0.95):.1%}, "
        f"MAE {mean_absolute_error(forecasts, 'point'):.4g}"
    )


def fitted(task: Task, settings: dict[str, object]) -> TransformerLSTMForecaster:
    forecaster = TransformerLSTMForecaster(**{"random_state": 0, **settings})
    y, X = task.y.iloc[: task.num_train], task.X.iloc[: task.num_train]
    return forecaster.fit(y, X=X, fh=range(1, task.horizon + 1))


def report(task: Task, num_origins: int | None, settings: dict[str, object]) -> str:
    with CpuTimer() as fit:
        forecaster = fitted(task, settings)
    with CpuTimer() as roll:
        forecasts = rolling_forecast(forecaster, task, num_origins)
    low, high = task.levels[0], task.levels[-1]
    origins = len(forecasts) // task.horizon
    return (
        f"MAE {mean_absolute_error(forecasts, 'point'):.4g} "
        f"(seasonal naive {mean_absolute_error(forecasts, 'naive'):.4g}; {task.reference}), "
        f"pinball {mean_pinball_loss(forecasts, task.levels):.4g}, "
        f"coverage of {high - low:.0%} {coverage(forecasts, low, high):.1%}, "
        f"fit {fit.seconds:.0f} CPU-s, {origins} origins {roll.seconds:.0f} CPU-s"
    )


if __name__ == "__main__":
    main()
