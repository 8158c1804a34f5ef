"""The network beside a plain composition of the same weights, in one run, on one thread.

    python examples/benchmarks/plain.py

What is compared is `TransformerLSTM` in its full form (encoder's and decoder's interpretable
attention, two blocks, dropout 0.1, causal) at width 64, batch 32, context 96, horizon 24, and a
composition as one writes it down at first: attention head by head with its own small matrix
products, the weights of all steps as tensors, a mask made in every block, gates as separate
products. Both have the same parameters and, without dropout, the same output, which is checked.

Milliseconds of CPU time, medians of rounds in which they take turns; training is forward and
backward, evaluation a forward pass without gradients. Expected on a core with AMX:

                     training   times    evaluation   times
    plain               109.9    1.00          29.5    1.00
    ours, float32        69.1    1.59          20.3    1.46
    ours, bfloat16       63.2    1.74          19.5    1.51
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sktime_tlstm.nn import GatedResidualNetwork, InterpretableMultiHeadAttention, TransformerLSTM

WIDTHS = (10, 6, 3)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--context", type=int, default=96)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = TransformerLSTM(*WIDTHS, d_model=options.width, num_layers=1)
    past = torch.randn(options.batch, options.context, WIDTHS[0])
    future = torch.randn(options.batch, 24, WIDTHS[1])
    check(network, past, future)

    def plain() -> Tensor:
        return composed(network, past, future)

    def ours() -> Tensor:
        return network(past, future)

    def ours_in_bfloat16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(past, future).float()

    runs = {"plain": plain, "ours, float32": ours, "ours, bfloat16": ours_in_bfloat16}
    print(f"{'ms':16}{'training':>12}{'times':>8}{'evaluation':>14}{'times':>8}")
    figures = [compare(network, runs, run, options.rounds) for run in (training, evaluation)]
    for name in runs:
        columns = [(own[name], own["plain"] / own[name]) for own in figures]
        print(f"{name:16}" + "".join(f"{ms:12.1f}{ratio:8.2f}" for ms, ratio in columns))


def check(network: TransformerLSTM, past: Tensor, future: Tensor) -> None:
    """Raise an AssertionError unless both say the same."""
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(
            composed(network, past, future), network(past, future), rtol=1e-4, atol=1e-4
        )


def compare(
    network: TransformerLSTM,
    runs: dict[str, Callable[[], Tensor]],
    measure: Callable[[TransformerLSTM, Callable[[], Tensor]], None],
    rounds: int,
) -> dict[str, float]:
    """Return the median milliseconds of each, taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            began = time.process_time()
            measure(network, run)
            if number >= 2:  # the first ones warm up
                taken[name].append(1e3 * (time.process_time() - began))
    return {name: statistics.median(values) for name, values in taken.items()}


def training(network: TransformerLSTM, run: Callable[[], Tensor]) -> None:
    network.train().zero_grad()
    run().square().mean().backward()


def evaluation(network: TransformerLSTM, run: Callable[[], Tensor]) -> None:
    network.eval()
    with torch.inference_mode():
        run()


# The plain composition.


def composed(network: TransformerLSTM, past: Tensor, future: Tensor) -> Tensor:
    """Compute the network's output from its parameters, step by step as in its equations."""
    past = refined(network.encoder_input, past)
    future = refined(network.decoder_input, future)
    encoded, state = network.recurrent.encoder(past)
    decoded, _ = network.recurrent.decoder(future, state)
    encoded, decoded = encoded + past, decoded + future
    for block in network.blocks:
        attention = block.encoder.attention
        everywhere = torch.ones(encoded.shape[1], encoded.shape[1], dtype=torch.bool)
        read = attended(attention.layer, encoded, encoded, everywhere)
        encoded = gated(attention.gate, read, encoded)
        attention = block.decoder.attention
        both = torch.cat([encoded, decoded], dim=1)
        steps, times = decoded.shape[1], both.shape[1]
        causal = torch.ones(steps, times, dtype=torch.bool).tril(times - steps - 1)
        decoded = gated(attention.gate, attended(attention.layer, decoded, both, causal), decoded)
    return network.output(decoded)


def attended(
    layer: InterpretableMultiHeadAttention, query: Tensor, source: Tensor, mask: Tensor
) -> Tensor:
    """Attend head by head; all heads share their values."""
    width, heads = layer.head_width, []
    value = functional.linear(source, layer.value.weight, layer.value.bias)
    for head in range(layer.num_heads):
        rows = slice(head * width, (head + 1) * width)
        queries = functional.linear(query, layer.query.weight[rows], layer.query.bias[rows])
        keys = functional.linear(source, layer.key.weight[rows], layer.key.bias[rows])
        scores = queries @ keys.transpose(1, 2) / width**0.5
        weights = scores.masked_fill(~mask, -1e9).softmax(dim=-1)
        heads.append(layer.dropout(weights @ value))
    return layer.output(torch.stack(heads).mean(dim=0))


def gated(gate: torch.nn.Module, x: Tensor, residual: Tensor) -> Tensor:
    """Gate, add and normalise."""
    return gate.add_norm.norm(unit(gate.gate, x) + residual)


def unit(gate: torch.nn.Module, x: Tensor) -> Tensor:
    """Map values and gates by two separate products."""
    width = gate.linear.out_features // 2
    x = gate.dropout(x)
    values = functional.linear(x, gate.linear.weight[:width], gate.linear.bias[:width])
    gates = functional.linear(x, gate.linear.weight[width:], gate.linear.bias[width:])
    return values * torch.sigmoid(gates)


def refined(network: GatedResidualNetwork, x: Tensor) -> Tensor:
    """Pass an input network."""
    hidden = network.hidden_layer(functional.elu(network.input_layer(x)))
    return network.norm(unit(network.gate, hidden) + network.project(x))


if __name__ == "__main__":
    main()
