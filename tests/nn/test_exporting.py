"""Networks leave Python: exported with a free batch, they say what they say here."""

import pytest
import torch
from torch.export import Dim, export

from sktime_tlstm.nn import (
    BidirectionalLSTM,
    EmbeddedNetwork,
    InputEmbedding,
    LSTMEncoderDecoder,
    MixtureOfExperts,
    TransformerDecoder,
    TransformerEncoder,
    TransformerLSTM,
)
from sktime_tlstm.nn.exporting import traces_all
from sktime_tlstm.nn.recurrent import _run_held, _run_packed
from tests.nn.variants import LENGTHS, VARIANTS, build, of_rows, windows

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # torch's own, while it exports
    pytest.mark.skipif(not traces_all(), reason="older torch exports no LSTM"),
]

#: One variant of each network, and what reads values on the usual path.
FEW = ["lean", "transformer_cross", "temporal_fusion_static", "autoregressive", "temporal_general"]


def check_export(network, inputs, extras, other_inputs, other_extras, strict):
    """Export a network with a free batch, and compare it on batches of other sizes."""
    rows = Dim("rows")
    names = ("past", "future", "past_lengths", "future_lengths")
    shapes = {name: {0: rows} for name in (*names[: len(inputs)], *extras)}
    exported = export(network, inputs, extras, dynamic_shapes=shapes, strict=strict).module()
    for few in (slice(None), slice(2, 3)):
        given, own = [one[few] for one in other_inputs], of_rows(other_extras, few)
        expected = network(*given, **own)
        torch.testing.assert_close(exported(*given, **own), expected, atol=1e-5, rtol=1e-5)


def export_variant(name, lengths, strict):
    network = build(name).eval()
    few, many = windows(name, 3, 7, 4), windows(name, 5, 7, 4)
    # The rows of the example are not padded, those of the comparison are.
    padded = (torch.tensor([7, 7, 7]), torch.tensor([4, 4, 4]))[:lengths]
    others = (torch.tensor([7, 2, 1, 5, 3]), torch.tensor([4, 1, 3, 4, 2]))[:lengths]
    check_export(network, (*few[:2], *padded), few[2], (*many[:2], *others), many[2], strict)


@pytest.mark.parametrize("lengths", [0, 1])
@pytest.mark.parametrize("name", FEW)
def test_a_network_exports_with_a_free_batch(name, lengths):
    export_variant(name, lengths, strict=False)


def test_a_network_exports_strictly_too():
    export_variant("mixture", 1, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(("lengths", "strict"), [(0, True), (2, False)])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_network_exports_with_a_free_batch(name, lengths, strict):
    export_variant(name, lengths, strict)


def test_a_network_behind_an_embedding_exports():
    embedding = InputEmbedding([5], past_channels=[1], future_channels=[0])
    network = EmbeddedNetwork(
        TransformerLSTM(*embedding.widths(3, 2), d_model=6, num_heads=3), embedding
    ).eval()
    few, many = [
        (
            torch.randint(0, 6, (rows, 7, 3)).float(),
            torch.randint(0, 6, (rows, 4, 2)).float(),
            torch.arange(rows) + 1,
        )
        for rows in (3, 5)
    ]
    rows = Dim("rows")
    shapes = {"past": {0: rows}, "future": {0: rows}, "args": ({0: rows},)}
    exported = export(network, few, dynamic_shapes=shapes, strict=False).module()
    torch.testing.assert_close(exported(*many), network(*many), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strict", [False, True])
def test_standalone_encoders_and_decoders_export(strict):
    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = TransformerEncoder(6, 3, input_size=5)
            self.decoder = TransformerDecoder(6, 3, input_size=2, output_size=1)

        def forward(self, past, future, past_lengths):
            return self.decoder(future, self.encoder(past, past_lengths), past_lengths)

    few, many = [
        (torch.randn(rows, 7, 5), torch.randn(rows, 4, 2), torch.arange(rows) + 1)
        for rows in (3, 5)
    ]
    check_export(Pair().eval(), few, {}, many, {}, strict)


# The forms that read no value.


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("started", [True, False])
def test_held_states_are_those_of_packed_rows(lengths, bias, started):
    lstm, past = torch.nn.LSTM(3, 7, 3, bias=bias, batch_first=True), torch.randn(4, 11, 3)
    state = (torch.randn(3, 4, 7), torch.randn(3, 4, 7)) if started else None
    for row, length in enumerate(lengths):
        past[row, length:] = 50.0
    expected = _run_packed(lstm, past, torch.tensor(lengths), state)
    result = _run_held(lstm, past, torch.tensor(lengths), state)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_held_states_stay_exact_in_other_precisions(dtype):
    lstm = torch.nn.LSTM(3, 7, batch_first=True).to(dtype)
    past, lengths = torch.randn(2, 40, 3, dtype=dtype), torch.tensor([2, 40])
    encoded, (hidden, cell) = _run_held(lstm, past, lengths)
    alone, (hidden_alone, cell_alone) = lstm(past[:1, :2])
    tolerance = 1e-12 if dtype is torch.float64 else 0.02
    torch.testing.assert_close(encoded[0, :2], alone[0], atol=tolerance, rtol=0)
    torch.testing.assert_close(hidden[:, 0], hidden_alone[:, 0], atol=tolerance, rtol=0)
    torch.testing.assert_close(cell[:, 0], cell_alone[:, 0], atol=tolerance, rtol=0)


def test_held_layers_drop_out_between_them_in_training_only():
    lstm, past = torch.nn.LSTM(3, 7, 2, dropout=0.5, batch_first=True), torch.randn(4, 11, 3)
    first, second = (_run_held(lstm, past, torch.tensor([11, 3, 5, 1]))[0] for _ in range(2))
    assert not torch.equal(first, second)
    lstm.eval()
    first, second = (_run_held(lstm, past, torch.tensor([11, 3, 5, 1]))[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("expert", ["gelu", "swiglu"])
@pytest.mark.parametrize(("num_experts", "chosen"), [(5, 2), (3, 1), (3, 3)])
def test_a_mixture_of_all_experts_is_that_of_the_chosen_ones(num_experts, chosen, expert):
    mixture = MixtureOfExperts(
        6, 7, num_experts=num_experts, experts_per_token=chosen, capacity_factor=0.1, expert=expert
    ).eval()
    x, mask = torch.randn(3, 9, 6), torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    for one in (None, mask):
        torch.testing.assert_close(mixture._mix_all(x, one), mixture(x, one), atol=1e-6, rtol=1e-5)


def test_a_mixture_with_a_capacity_is_not_exported_from_training():
    mixture, x = MixtureOfExperts(6, capacity_factor=1.5), torch.randn(3, 9, 6)
    with pytest.raises(ValueError, match=r"capacity_factor=1.5 in a training pass.*eval\(\)"):
        export(mixture, (x,), strict=False)


def test_parts_of_networks_export_by_themselves():
    rows = Dim("rows")
    for part in (LSTMEncoderDecoder(3, 2, 7, 5, num_layers=2), BidirectionalLSTM(3, 5, 2)):
        pair = isinstance(part, LSTMEncoderDecoder)
        inputs = [(torch.randn(n, 7, 3), torch.randn(n, 4, 2), torch.arange(n) + 1) for n in (2, 6)]
        few, many = [one if pair else (one[0], one[2]) for one in inputs]
        shapes = tuple({0: rows} for _ in few)
        exported = export(part.eval(), few, dynamic_shapes=shapes, strict=False).module()
        torch.testing.assert_close(exported(*many), part(*many), atol=1e-6, rtol=1e-5)
