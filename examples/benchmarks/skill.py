"""Accuracy on real data with known future covariates: one fit, then a rolling evaluation.

    python examples/benchmarks/skill.py traffic
    python examples/benchmarks/skill.py NP BE DE ETTh1 --data DIR
    python examples/benchmarks/skill.py NP --data DIR --set num_members=3

The forecaster is fitted once to the training rows, with its default parameters. Then it forecasts
a whole horizon from every origin of the test rows, seeing everything before the origin
(``update(update_params=False)``) and the covariates of the horizon. The scores take the rows whose
truth is observed. Expected MAE:

    traffic 188.9, NP 1.766, BE 6.30, DE 4.20, ETTh1 0.187, vic_elec 107.4, bike 38.7
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


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", nargs="+", choices=TASKS)
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
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for name in options.task:
        task = TASKS[name](options.data)
        print(f"{name}: {report(task, options.origins, dict(options.settings))}", flush=True)


def setting(text: str) -> tuple[str, object]:
    """Parse ``name=value``; what is no Python literal is a string."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def report(task: Task, num_origins: int | None, settings: dict[str, object]) -> str:
    forecaster = TransformerLSTMForecaster(**{"random_state": 0, **settings})
    y, X = task.y.iloc[: task.num_train], task.X.iloc[: task.num_train]
    with CpuTimer() as fit:
        forecaster.fit(y, X=X, fh=range(1, task.horizon + 1))
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
