"""One network, trained by several processes: on several GPUs, or on the cores of a CPU.

    torchrun --nproc-per-node 2 examples/several_processes.py

Every process runs this file. Each step takes 64 windows in each of them, and all follow the mean of
their gradients, so that in the end they hold the same forecaster. One of them saves it.
"""

import argparse

import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.datasets import load_metro_traffic


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=17_000, help="rows to train on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--path", default="traffic.zip", help="the file to save to")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the processes share the cores
    y, X = load_metro_traffic()
    train, day = slice(options.rows), slice(options.rows, options.rows + 24)
    forecaster = TransformerLSTMForecaster(
        max_epochs=options.epochs, random_state=0, net_params={"data_parallel": True}
    )
    forecaster.fit(y[train], X=X[train], fh=range(1, 25))
    error = (forecaster.predict(X=X[day]) - y[day]).abs().mean()
    if torch.distributed.get_rank() == 0:
        forecaster.save(options.path, serialization_format="safetensors")
        number = torch.distributed.get_world_size()
        print(f"{number} processes, the next day is off by {error:.0f} vehicles an hour: saved")


if __name__ == "__main__":
    main()
