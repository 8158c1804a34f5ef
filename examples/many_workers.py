"""Backtests and searches on several processes: the same results as on one.

    python examples/many_workers.py                    # all that are installed
    python examples/many_workers.py loky dask ray
    python examples/many_workers.py --folds 40 --workers 8 loky

sktime's ``evaluate`` and its grid and random search take a ``backend``; "loky" comes with joblib,
"dask" and "ray" with ``pip install dask distributed pyarrow`` or ``pip install ray``. Each starts
a local cluster of ``--workers``; to use a cluster of machines, start its client before the call
(``dask.distributed.Client``, ``ray.init(address=...)``). For Optuna (``pip install optuna``) see
``ForecastingOptunaSearchCV``, here on one process: every trial follows from those before it.

An integer ``random_state`` makes the results equal to the last bit, and each worker uses one
thread, so that workers do not fight for cores.
"""

from __future__ import annotations

import argparse
import os
import time
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers inherit it

import pandas as pd
from sktime.forecasting.model_evaluation import evaluate
from sktime.forecasting.model_selection import (
    ForecastingGridSearchCV,
    ForecastingOptunaSearchCV,
    ForecastingRandomizedSearchCV,
)
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.datasets import load_metro_traffic

BACKENDS = ("loky", "dask", "ray", "optuna")
SPACE = {"d_model": [4, 8], "lr": [1e-3, 1e-2]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare backends with one process.")
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help=f"out of {BACKENDS}")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    backends = options.backends or [name for name in BACKENDS if installed(name)]
    if unknown := set(backends) - set(BACKENDS):
        parser.error(f"got the backends {sorted(unknown)}, expected some out of {BACKENDS}")
    tasks = Tasks(options.folds)
    alone = {name: timed(task, None, {}) for name, task in tasks.all.items()}
    for backend in backends:
        if backend == "optuna":
            seconds, best = timed(tasks.optuna, None, {})
            print(f"optuna: {seconds:.1f} s, best {best}")
            continue
        settings = started(backend, options.workers)
        for name, task in tasks.all.items():
            seconds, found = timed(task, backend, settings)
            same = found.equals(alone[name][1])
            verdict = "equal to one process" if same else "NOT EQUAL to one process"
            print(f"{backend} {name}: {seconds:.1f} s, alone {alone[name][0]:.1f} s, {verdict}")


class Tasks:
    """A backtest, a grid search and a random search on some weeks of traffic."""

    def __init__(self, folds: int) -> None:
        y, X = load_metro_traffic()
        self.y, self.X = y[-1000:], X[-1000:]
        horizon = 24
        self.cv = ExpandingWindowSplitter(
            range(1, horizon + 1), initial_window=1000 - folds * horizon, step_length=horizon
        )
        self.forecaster = TransformerLSTMForecaster(
            d_model=8, max_epochs=1, max_windows_per_epoch=64, context_length=48, random_state=0
        )
        self.all = {
            "evaluate": self.evaluate,
            "grid search": self.grid,
            "random search": self.random,
        }

    def evaluate(self, backend: str | None, settings: dict[str, object]) -> pd.Series:
        scores = evaluate(
            self.forecaster,
            self.cv,
            self.y,
            self.X,
            scoring=MeanAbsoluteError(),
            backend=backend,
            backend_params=settings,
        )
        return scores["test_MeanAbsoluteError"]

    def grid(self, backend: str | None, settings: dict[str, object]) -> pd.Series:
        search = ForecastingGridSearchCV(
            self.forecaster, self.cv, SPACE, backend=backend, backend_params=settings
        )
        return self.scores(search)

    def random(self, backend: str | None, settings: dict[str, object]) -> pd.Series:
        search = ForecastingRandomizedSearchCV(
            self.forecaster,
            self.cv,
            TransformerLSTMForecaster.search_space(),
            n_iter=2,
            random_state=0,
            backend=backend,
            backend_params=settings,
        )
        return self.scores(search)

    def scores(self, search) -> pd.Series:
        found = search.fit(self.y, self.X).cv_results_
        return found[[name for name in found if name.startswith("mean_test")]].iloc[:, 0]

    def optuna(self, backend: None, settings: dict[str, object]) -> dict[str, object]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = {
            "lr": optuna.distributions.FloatDistribution(1e-3, 1e-2, log=True),
            "d_model": optuna.distributions.CategoricalDistribution([4, 8]),
        }
        search = ForecastingOptunaSearchCV(
            self.forecaster, self.cv, space, n_evals=3, sampler=optuna.samplers.TPESampler(seed=0)
        )
        return search.fit(self.y, self.X).best_params_


def installed(backend: str) -> bool:
    needs = {"loky": "joblib", "dask": "distributed", "ray": "ray", "optuna": "optuna"}
    return find_spec(needs[backend]) is not None


def started(backend: str, workers: int) -> dict[str, object]:
    """Start a local cluster, and return what sktime is to tell its backend."""
    if backend == "loky":
        return {"n_jobs": workers}
    if backend == "dask":
        from dask.distributed import Client

        Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        return {}
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    return {"ray_remote_args": {"num_cpus": 1}, "shutdown_ray": False}


def timed(task, backend: str | None, settings: dict[str, object]) -> tuple[float, object]:
    begin = time.perf_counter()
    found = task(backend, settings)
    return time.perf_counter() - begin, found


if __name__ == "__main__":
    main()
