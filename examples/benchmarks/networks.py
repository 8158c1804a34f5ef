"""The networks of `sktime_tlstm.nn` and their options, side by side on the same task.

    python examples/benchmarks/networks.py NP DE --data DIR
    python examples/benchmarks/networks.py NP --data DIR --networks TransformerLSTM Seq2SeqLSTM
    python examples/benchmarks/networks.py --set max_epochs=1

Every network is trained by ``SkorchForecaster`` with its default training, once, with one seed, on
the training rows of a task but their last fifth. It then forecasts the horizon from every origin
of that fifth by one ``backtest``. The test rows of the task are not touched. Without a task the
series is made up. It prints a Markdown table with

- the number of parameters;
- ms: CPU time of a training step (forward, loss, backward, clipping, optimiser) on a ready batch
  of 64 windows, for each window, and the ratio to TransformerLSTM. Cores are shared and their speed
  drifts, so that steps of both alternate and the ratio is the median over the rounds;
- fit: CPU time of ``fit``, from pandas to a trained forecaster, the mean over the tasks;
- the mean absolute error on each task. ``--set random_state=1`` tells how much of a difference is
  the seed's.

Expected on one core of a 2-core cloud machine, in all about 35 CPU-minutes for NP and DE:

                                     ratio     NP    DE
    TransformerLSTM                   0.99  0.914  3.78
    TransformerLSTM:causal            1.00  0.920  3.80
    TransformerLSTM:interpretable     0.99  0.905  3.82
    TransformerLSTM:encoder_attention 1.52  0.897  3.85
    TransformerLSTM:frequency         1.29  0.893  3.86
    TransformerLSTM:gelu              1.13  0.897  3.75
    TransformerLSTM:swiglu            1.15  0.900  3.80
    TransformerLSTM:moe               1.31  0.895  3.77
    TransformerLSTM:norm_first        1.04  0.910  3.80
    TransformerLSTM:adaptive          1.04  0.924  3.79
    AttentionLSTM                     0.62  0.931  3.89
    Seq2SeqLSTM                       0.47  0.928  3.89
    Seq2SeqLSTM:autoregressive        0.47  1.003  4.15
    TemporalAttentionLSTM             0.57  0.940  3.88
    TemporalAttentionLSTM:additive    2.02  0.950  3.91
    Transformer                       2.27  0.881  3.79
    TemporalFusionTransformer         2.85  0.941  3.87

and 1.45 ms a window, 37 CPU-s for the fit of TransformerLSTM. Less than 2 % is noise: with
``random_state=1`` TransformerLSTM reaches 0.902 and 3.86, Transformer 0.880 and 3.82.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _common import TASKS, CpuTimer, Task, mean_absolute_error
from skill import setting
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import ExpandingWindowSplitter
from speed import made_up

from sktime_tlstm import SkorchForecaster
from sktime_tlstm.nn import (
    AttentionLSTM,
    Seq2SeqLSTM,
    TemporalAttentionLSTM,
    TemporalFusionTransformer,
    Transformer,
    TransformerLSTM,
)

BATCH = 64
#: Steps of each network in a round of the measurement of time.
STEPS = 5

LEAN = {"d_model": 64, "num_layers": 1, "num_heads": 4, "dropout": 0.0}
#: The network of TransformerLSTMForecaster.
DEFAULT = {
    **LEAN,
    "num_transformer_blocks": 1,
    "causal_attention": False,
    "attention": "multi_head",
    "encoder_attention": False,
}
SEQUENCE = {"embedding_dim": 64, "hidden_size": 64, "dropout": 0.0}

#: Networks by name: the class, its settings, and those that the table names.
NETWORKS: dict[str, tuple[type, dict[str, Any], dict[str, Any]]] = {
    "TransformerLSTM": (TransformerLSTM, DEFAULT, {}),
    **{
        f"TransformerLSTM:{name}": (TransformerLSTM, DEFAULT, options)
        for name, options in {
            "causal": {"causal_attention": True},
            "interpretable": {"attention": "interpretable"},
            "encoder_attention": {"encoder_attention": True},
            "frequency": {"attention": "frequency", "encoder_attention": True},
            "gelu": {"feedforward": "gelu"},
            "swiglu": {"feedforward": "swiglu"},
            "moe": {"feedforward": "moe"},
            "norm_first": {"norm_first": True, "final_norm": True},
            "adaptive": {"norm": "adaptive"},
        }.items()
    },
    "AttentionLSTM": (AttentionLSTM, LEAN, {"causal_attention": False}),
    "Seq2SeqLSTM": (Seq2SeqLSTM, SEQUENCE, {"decoding": "direct"}),
    "Seq2SeqLSTM:autoregressive": (Seq2SeqLSTM, SEQUENCE, {"decoding": "autoregressive"}),
    "TemporalAttentionLSTM": (TemporalAttentionLSTM, LEAN, {"score": "multi_head"}),
    "TemporalAttentionLSTM:additive": (TemporalAttentionLSTM, LEAN, {"score": "additive"}),
    "Transformer": (
        Transformer,
        {"d_model": 64, "dropout": 0.0},
        {"num_encoder_layers": 2, "num_decoder_layers": 2, "causal_attention": False},
    ),
    "TemporalFusionTransformer": (
        TemporalFusionTransformer,
        {**LEAN},
        {"d_model": 32, "causal_attention": False},
    ),
}
REFERENCE = "TransformerLSTM"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--data", type=Path, help="folder of the data files")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15, help="rounds that measure time")
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
    if not set(options.task) <= set(TASKS):
        parser.error(f"name some of the tasks {', '.join(TASKS)}")
    torch.set_num_threads(1)
    read: dict[str, Callable[[Path | None], Task]] = {name: TASKS[name] for name in options.task}
    tasks = {
        name: validation(task(options.data))
        for name, task in (read or {"made up": partial(made_up_task, 50)}).items()
    }
    settings = dict(options.settings)
    naive = [f"{mean_absolute_error(seasonal_naive(task), 'naive'):.4g}" for task in tasks.values()]
    print(row("network", "settings", "parameters", "ms a window", "ratio", "fit, CPU-s", *tasks))
    print(row(*["---"] * (6 + len(tasks))))
    print(row("seasonal naive", *[""] * 5, *naive), flush=True)
    reference, _ = fitted(REFERENCE, next(iter(tasks.values())), {**settings, "max_epochs": 1})
    for name in options.networks:
        print(report(name, tasks, settings, reference, options.rounds), flush=True)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def validation(task: Task) -> Task:
    """Return the task of forecasting the last fifth, in whole days, of another's training rows."""
    rows = task.num_train
    first = rows - rows // 5 // task.stride * task.stride
    return replace(task, y=task.y[:rows], X=task.X[:rows], num_train=first, first=first)


def made_up_task(days: int, data: Path | None) -> Task:
    y, X = made_up(24 * days)
    return Task(y, X, len(y), len(y), 24, 24, lambda y: y.shift(24), "")


def seasonal_naive(task: Task):
    """Return truth and seasonal naive forecast of the rows that are scored."""
    scored = slice(task.first, None)
    return task.y.to_frame("truth").assign(naive=task.naive(task.y))[scored]


def fitted(name: str, task: Task, settings: dict[str, Any]) -> tuple[SkorchForecaster, float]:
    """Return a forecaster fitted to the training rows, and the CPU-seconds that it took."""
    network, common, own = NETWORKS[name]
    parameters = {"random_state": 0, "device": "cpu", **settings}
    forecaster = SkorchForecaster(network, {**common, **own}, **parameters)
    train = slice(task.num_train)
    with CpuTimer() as timer:
        forecaster.fit(task.y[train], X=task.X[train], fh=range(1, task.horizon + 1))
    return forecaster, timer.seconds


def report(
    name: str,
    tasks: dict[str, Task],
    settings: dict[str, Any],
    reference: SkorchForecaster,
    rounds: int,
) -> str:
    """Return the network's row of the table."""
    seconds, errors = [], []
    for task in tasks.values():
        forecaster, taken = fitted(name, task, settings)
        seconds.append(taken)
        errors.append(f"{validation_error(forecaster, task):.4g}")
    network, _, own = NETWORKS[name]
    parameters = sum(value.numel() for value in forecaster.net_.module_.parameters())
    milliseconds, ratio = step_time(forecaster, reference, rounds)
    return row(
        f"`{network.__name__}`",
        ", ".join(f"`{key}={value!r}`" for key, value in own.items()),
        f"{parameters:,}",
        f"{milliseconds:.2f}",
        f"{ratio:.2f}",
        f"{statistics.mean(seconds):.0f}",
        *errors,
    )


def validation_error(forecaster: SkorchForecaster, task: Task) -> float:
    """Return the mean absolute error of the forecasts from all origins."""
    seen = task.y[task.first - task.stride :]
    cv = ExpandingWindowSplitter(
        fh=range(1, task.horizon + 1), initial_window=task.stride, step_length=task.stride
    )
    table = forecaster.backtest(seen, task.X, cv, scoring=MeanAbsoluteError())
    return float(table["test_MeanAbsoluteError"].mean())


def step_time(
    forecaster: SkorchForecaster, reference: SkorchForecaster, rounds: int
) -> tuple[float, float]:
    """Return the CPU milliseconds of a training window, and its ratio to a reference's.

    It goes on training the networks.
    """
    own, ratios = [], []
    steps = [steps_on_a_ready_batch(each) for each in (reference, forecaster)]
    for _ in range(rounds):
        theirs, ours = (seconds() for seconds in steps)
        own.append(1e3 * ours / (STEPS * BATCH))
        ratios.append(ours / theirs)
    return statistics.median(own), statistics.median(ratios)


def steps_on_a_ready_batch(forecaster: SkorchForecaster) -> Callable[[], float]:
    """Return a function that takes a few training steps and returns their CPU-seconds."""
    net = forecaster.net_
    past = torch.randn(BATCH, forecaster.context_length_, net.module__num_past_features)
    future = torch.randn(BATCH, forecaster.prediction_length_, net.module__num_future_features)
    batch = {"past": past, "future": future}, torch.randn(BATCH, future.shape[1], 1)

    def seconds() -> float:
        with CpuTimer() as timer:
            for _ in range(STEPS):
                net.train_step(batch)
        return timer.seconds

    return seconds


if __name__ == "__main__":
    main()
