"""One of several processes: ``python data_parallel_worker.py fit BATCH_SIZE PATH``, and others.

The last line that it prints is its answer, as JSON.
"""

import json
import os
import sys

import numpy as np
import pandas as pd
import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.processes import joined

RANK = int(os.environ.get("RANK", "0"))


def main(what: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    ways = {"fit": fit, "weighted": weighted, "gradients": gradients, "refused": refused}
    print(json.dumps(ways[what](what, *arguments)))


def made(batch_size: int, seed: int = 3, **changes: object) -> TransformerLSTMForecaster:
    return TransformerLSTMForecaster(
        d_model=8,
        context_length=6,
        batch_size=batch_size,
        max_epochs=3,
        max_windows_per_epoch=170,
        num_members=2,
        random_state=seed,
        net_params={"data_parallel": True},
        **changes,
    )


def data(seed: int = 0) -> tuple[pd.Series, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    hours = pd.date_range("2024-01-01", periods=400, freq="h")
    X = pd.DataFrame({"a": rng.normal(size=400)}, hours)
    return X["a"].rolling(3, min_periods=1).sum() + 0.1 * rng.normal(size=400), X


def fit(what: str, batch_size: str, path: str) -> dict[str, list[float]]:
    y, X = data()
    forecaster = made(int(batch_size)).fit(y, X=X, fh=range(1, 9))
    hours = pd.date_range(y.index[-1], periods=9, freq="h")[1:]
    forecast = forecaster.predict(X=pd.DataFrame({"a": np.zeros(8)}, hours))
    history = forecaster.history_
    if RANK == 0:
        forecaster.save(path, serialization_format="safetensors")
    return {
        "forecast": forecast.tolist(),
        "train_loss": history["train_loss"].tolist(),
        "train_mae": history["train_mae"].tolist(),
    }


def weighted(what: str, batch_size: str) -> dict[str, list[float]]:
    y, X = data()
    X.insert(0, "w", np.arange(400) % 7)
    weights = {"weight_column": "w", "step_weights": [1, 2, 3]}
    forecaster = made(int(batch_size), calibration="none", **weights).fit(y, X=X, fh=[1, 2, 3])
    hours = pd.date_range(y.index[-1], periods=4, freq="h")[1:]
    forecast = forecaster.predict(X=pd.DataFrame({"a": np.zeros(3)}, hours))
    history = forecaster.history_
    return {"forecast": forecast.tolist(), "train_loss": history["train_loss"].tolist()}


def refused(what: str, folder: str) -> dict[str, str]:
    y, X = data()
    cases = {
        "seeds": (data(), {"seed": RANK}),
        "data": (data(RANK), {}),
        "weights": ((y, X.assign(w=1.0 + RANK)), {"weight_column": "w"}),
        "checkpoints": (data(), {"checkpoint_dir": folder}),
    }
    answers = {}
    for name, ((y, X), changes) in cases.items():
        try:
            made(8, **changes).fit(y, X=X, fh=[1])
        except ValueError as error:
            answers[name] = str(error)
    return answers


def gradients(what: str) -> dict[str, list[float] | None]:
    layers = torch.nn.ParameterDict(
        {"both": torch.zeros(2), "one": torch.zeros(1), "none": torch.zeros(3)}
    )
    layers["both"].grad = torch.tensor([1.0, 2.0]) * (RANK + 1)
    if RANK == 1:
        layers["one"].grad = torch.tensor([4.0])
    joined().average_gradients(layers)
    return {
        name: None if weight.grad is None else weight.grad.tolist()
        for name, weight in layers.items()
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
