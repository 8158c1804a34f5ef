"""Training windows per CPU-second beside other libraries, all in one run, on one thread.

    python -m pip install . "darts[torch]" neuralforecast pytorch-forecasting
    python examples/benchmarks/peers.py --data DIR
    python examples/benchmarks/peers.py ours "darts TFT" --rounds 3

The task is that of `speed.py`: 8,640 hours, six covariates known in the future, context 168,
horizon 24, width 64, 4 heads, one LSTM layer, batches of 64, three quantiles, and dropout 0.1, but
for our default, which is none. Measured is what a user waits for, from pandas to a trained model,
divided into the windows that this training saw, about one epoch. Contestants take turns, since
cores are shared and their speed drifts; the ratio is the median over the rounds. Every
contestant trains for one step before the first round, which imports what it needs.

"ours, float32" is what "ours" is where the CPU has no AMX, "ours, reference" the full form with
the encoder's attention, two blocks, interpretable attention and dropout 0.1. The LSTM and NHITS of
neuralforecast are much smaller networks. Libraries that are not installed are left out.

Expected on one core of a 2-core cloud machine with AMX:

                            windows per CPU-second   ours is so many times as fast
    ours                                       998                1.00
    ours, dropout 0.1                          860                1.16
    ours, float32                              543                1.84
    ours, reference                            254                3.93
    darts TFT                                  149                6.69
    neuralforecast TFT                          87               11.50
    pytorch-forecasting TFT                    109                9.21
    neuralforecast LSTM                       1591                0.65
    neuralforecast NHITS                      1234                0.81
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import CpuTimer
from speed import BATCH, CONTEXT, HORIZON, made_up, real, trained_windows

from sktime_tlstm import TransformerLSTMForecaster

QUANTILES = [0.1, 0.5, 0.9]

#: Trains on so many windows, about, and returns how many it were.
Contestant = Callable[[pd.Series, pd.DataFrame, int], int]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CONTESTANTS))
    parser.add_argument("--data", type=Path, help="folder of ETTh1.csv.gz")
    parser.add_argument("--rows", type=int, default=8640, help="rows to train on")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if not set(options.names) <= set(CONTESTANTS):
        parser.error(f"name some of {', '.join(CONTESTANTS)}")
    torch.set_num_threads(1)
    y, X = made_up(options.rows) if options.data is None else real(options.data)
    y, X = y.iloc[: options.rows].astype("float32"), X.iloc[: options.rows].astype("float32")
    names = [name for name in options.names or CONTESTANTS if is_installed(name)]
    with silence():
        speeds = measured(names, y, X, options.rounds)
    print(f"{'':24}windows per CPU-second   {names[0]} is so many times as fast")
    for name in names:
        pairs = zip(speeds[names[0]], speeds[name], strict=True)
        ratios = [first / other for first, other in pairs]
        print(f"{name:24}{statistics.median(speeds[name]):22.0f}{statistics.median(ratios):20.2f}")


def measured(
    names: list[str], y: pd.Series, X: pd.DataFrame, rounds: int
) -> dict[str, list[float]]:
    """Return the windows per CPU-second of each contestant in each round."""
    windows = len(y) - CONTEXT - HORIZON + 1
    for name in names:
        CONTESTANTS[name](y, X, BATCH)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with CpuTimer() as timer:
                trained = CONTESTANTS[name](y, X, windows)
            speeds[name].append(trained / timer.seconds)
    return speeds


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep trainers from telling what they do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def is_installed(name: str) -> bool:
    package = name.split()[0].replace("-", "_")
    return name.startswith("ours") or importlib.util.find_spec(package) is not None


def ours(y: pd.Series, X: pd.DataFrame, windows: int, **changes: object) -> int:
    forecaster = TransformerLSTMForecaster(
        context_length=CONTEXT,
        quantiles=QUANTILES,
        max_epochs=3,
        max_windows_per_epoch=max(BATCH, windows // 4),  # two epochs on most rows, two on all
        random_state=0,
        device="cpu",
        **changes,
    )
    forecaster.fit(y, X=X, fh=range(1, HORIZON + 1))
    return trained_windows(forecaster.net_)


def ours_with_dropout(y: pd.Series, X: pd.DataFrame, windows: int) -> int:
    return ours(y, X, windows, dropout=0.1)


def ours_in_float32(y: pd.Series, X: pd.DataFrame, windows: int) -> int:
    return ours(y, X, windows, precision="float32")


def ours_reference(y: pd.Series, X: pd.DataFrame, windows: int) -> int:
    full = {"attention": "interpretable", "encoder_attention": True, "num_transformer_blocks": 2}
    return ours(y, X, windows, dropout=0.1, **full)


def darts_tft(y: pd.Series, X: pd.DataFrame, windows: int) -> int:
    from darts import TimeSeries
    from darts.models import TFTModel
    from darts.utils.likelihood_models.torch import QuantileRegression

    rows = min(len(y), windows + CONTEXT + HORIZON - 1)
    model = TFTModel(
        input_chunk_length=CONTEXT,
        output_chunk_length=HORIZON,
        hidden_size=64,
        lstm_layers=1,
        num_attention_heads=4,
        dropout=0.1,
        batch_size=BATCH,
        n_epochs=1,
        likelihood=QuantileRegression(QUANTILES),
        random_state=0,
        pl_trainer_kwargs=quiet(),
    )
    target, known = (TimeSeries.from_values(part.to_numpy()[:rows]) for part in (y, X))
    model.fit(target, future_covariates=known)
    return rows - CONTEXT - HORIZON + 1


def nixtla(name: str, **settings: object) -> Contestant:
    """Return a contestant for a model of neuralforecast."""

    def train(y: pd.Series, X: pd.DataFrame, windows: int) -> int:
        from neuralforecast import NeuralForecast, models
        from neuralforecast.losses.pytorch import MQLoss

        steps = max(1, windows // BATCH)
        model = getattr(models, name)(
            h=HORIZON,
            input_size=CONTEXT,
            futr_exog_list=list(X.columns),
            loss=MQLoss(quantiles=QUANTILES),
            max_steps=steps,
            windows_batch_size=BATCH,
            batch_size=1,
            scaler_type="standard",
            random_seed=0,
            **quiet(),
            **settings,
        )
        frame = X.assign(y=y.to_numpy(), ds=X.index, unique_id="a").reset_index(drop=True)
        NeuralForecast([model], freq="h").fit(frame)
        return steps * BATCH

    return train


def pytorch_forecasting_tft(y: pd.Series, X: pd.DataFrame, windows: int) -> int:
    import lightning
    from pytorch_forecasting import QuantileLoss, TemporalFusionTransformer, TimeSeriesDataSet

    rows = min(len(y), windows + CONTEXT + HORIZON - 1)
    frame = X.iloc[:rows].assign(y=y.to_numpy()[:rows], time=np.arange(rows), series="a")
    data = TimeSeriesDataSet(
        frame.reset_index(drop=True),
        time_idx="time",
        target="y",
        group_ids=["series"],
        max_encoder_length=CONTEXT,
        min_encoder_length=CONTEXT,
        max_prediction_length=HORIZON,
        time_varying_known_reals=list(X.columns),
        time_varying_unknown_reals=["y"],
    )
    network = TemporalFusionTransformer.from_dataset(
        data,
        hidden_size=64,
        hidden_continuous_size=64,
        lstm_layers=1,
        attention_head_size=4,
        dropout=0.1,
        loss=QuantileLoss(QUANTILES),
    )
    trainer = lightning.Trainer(max_epochs=1, **quiet())
    trainer.fit(network, data.to_dataloader(train=True, batch_size=BATCH, num_workers=0))
    return rows - CONTEXT - HORIZON + 1


def quiet() -> dict[str, object]:
    return {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }


TFT = {"hidden_size": 64, "n_head": 4, "dropout": 0.1}
CONTESTANTS: dict[str, Contestant] = {
    "ours": ours,
    "ours, dropout 0.1": ours_with_dropout,
    "ours, float32": ours_in_float32,
    "ours, reference": ours_reference,
    "darts TFT": darts_tft,
    "neuralforecast TFT": nixtla("TFT", **TFT),
    "pytorch-forecasting TFT": pytorch_forecasting_tft,
    "neuralforecast LSTM": nixtla("LSTM", encoder_hidden_size=64, encoder_n_layers=1),
    "neuralforecast NHITS": nixtla("NHITS"),
}


if __name__ == "__main__":
    main()
