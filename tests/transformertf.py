"""Weights as TransformerTF has them: of a random network, and of the reference runs."""

import json
from pathlib import Path

import numpy as np
import torch

from sktime_tlstm.nn import AttentionLSTM, TransformerLSTM
from sktime_tlstm.nn.transformertf import _reference_names

NETWORKS = {"attention_lstm": AttentionLSTM, "transformer_lstm": TransformerLSTM}
RUNS = sorted((Path(__file__).parent / "parity").glob("*_lstm_*.npz"))


def reference_run(path):
    """Return the network class, its arguments, the reference's weights, and its run."""
    stored = np.load(path)
    arguments = json.loads(str(stored["config"]))
    network = NETWORKS[arguments.pop("kind")]
    weights = {
        name.removeprefix("param/"): torch.from_numpy(stored[name])
        for name in stored.files
        if name.startswith("param/")
    }
    inputs = ("past", "future", "encoder_lengths", "decoder_lengths")
    return network, arguments, weights, [torch.from_numpy(stored[name]) for name in inputs], stored


def reference_weights(network):
    """Return the weights of one of our networks under the reference's names."""
    weights = {}
    for name, tensor in network.state_dict().items():
        sources = _reference_names(name, network.num_heads)
        weights.update(zip(sources, tensor.clone().chunk(len(sources)), strict=True))
    return weights


def random_network(cls=TransformerLSTM, widths=(3, 2), outputs=1, **options):
    """Return a small network of TransformerTF with random weights, in evaluation mode."""
    settings = {"d_model": 8, "num_heads": 2, "dropout": 0.0, **options}
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        network = cls(*widths, outputs, **settings).eval()
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.7, generator=draws)
    return network


def lightning(network):
    """Return what Lightning keeps of a network in a checkpoint."""
    weights = {f"model.{name}": part for name, part in reference_weights(network).items()}
    return {"epoch": 99, "state_dict": {**weights, "criterion.weight": torch.ones(1)}}
