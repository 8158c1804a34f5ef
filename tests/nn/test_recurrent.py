import warnings

import pytest
import torch

from sktime_tlstm.nn import BidirectionalLSTM, LSTMEncoderDecoder, recurrent
from sktime_tlstm.nn.recurrent import _run_in_segments, _run_packed
from tests.nn.variants import LENGTHS


def test_rows_in_the_wrong_order_would_be_found_out():
    orders = [torch.tensor(lengths).argsort(descending=True) for lengths in LENGTHS]
    assert sum(order.tolist() != order.argsort().tolist() for order in orders) >= 3


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("run", [_run_packed, _run_in_segments])
def test_encoding_with_lengths_equals_each_row_alone(run, num_layers, lengths):
    lstm = torch.nn.LSTM(3, 7, num_layers, batch_first=True)
    past = torch.randn(4, 11, 3)
    encoded, (hidden, cell) = run(lstm, past, torch.tensor(lengths))
    assert encoded.shape == (4, 11, 7)
    for row, length in enumerate(lengths):
        alone, (hidden_alone, cell_alone) = lstm(past[row : row + 1, :length])
        torch.testing.assert_close(encoded[row, :length], alone[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(hidden[:, row], hidden_alone[:, 0], atol=1e-6, rtol=0)
        torch.testing.assert_close(cell[:, row], cell_alone[:, 0], atol=1e-6, rtol=0)
        assert (encoded[row, length:] == 0).all()


@pytest.mark.parametrize("lengths", LENGTHS)
def test_the_fast_path_has_the_gradient_of_the_packed_one(lengths):
    lstm = torch.nn.LSTM(3, 7, 2, batch_first=True)
    past, gradients = torch.randn(4, 11, 3, requires_grad=True), []
    for run in (_run_packed, _run_in_segments):
        encoded, (hidden, cell) = run(lstm, past, torch.tensor(lengths))
        loss = encoded.sin().sum() + hidden.cos().sum() + cell.exp().sum()
        gradients.append(torch.autograd.grad(loss, [past, *lstm.parameters()]))
    for packed, segments in zip(*gradients, strict=True):
        torch.testing.assert_close(segments, packed, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [None, *LENGTHS])
@pytest.mark.parametrize("run", [_run_packed, _run_in_segments])
def test_an_encoder_may_start_from_a_state_of_each_row(monkeypatch, run, lengths):
    monkeypatch.setattr(recurrent, "_run_in_segments", run)
    pair, past = LSTMEncoderDecoder(3, 2, 7, 7, num_layers=2), torch.randn(4, 11, 3)
    start = torch.randn(2, 4, 7), torch.randn(2, 4, 7)
    padded = None if lengths is None else torch.tensor(lengths)
    encoded, state = pair.encode(past, padded, start)
    for row, length in enumerate(lengths or [11] * 4):
        own = [part[:, row : row + 1].contiguous() for part in start]
        alone, ends = pair.encoder(past[row : row + 1, :length], own)
        torch.testing.assert_close(encoded[row, :length], alone[0], atol=1e-6, rtol=0)
        for end, expected in zip(state, ends, strict=True):
            torch.testing.assert_close(end[:, row], expected[:, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_decoder_continues_where_the_encoder_stopped(num_layers):
    pair = LSTMEncoderDecoder(3, 3, 7, 7, num_layers, share_weights=True)
    series = torch.randn(2, 13, 3)
    encoded, decoded = pair(series[:, :8], series[:, 8:])
    whole, _ = pair.encoder(series)
    torch.testing.assert_close(torch.cat([encoded, decoded], 1), whole, atol=1e-6, rtol=0)


def test_the_state_handed_over_is_that_of_the_last_real_step():
    pair = LSTMEncoderDecoder(3, 2, 7, 7)
    past, future = torch.randn(2, 11, 3), torch.randn(2, 5, 2)
    _, decoded = pair(past, future, torch.tensor([4, 11]))
    _, alone = pair(past[:1, :4], future[:1])
    torch.testing.assert_close(decoded[:1], alone, atol=1e-6, rtol=0)
    _, padded = pair(past[:1], future[:1])
    assert not torch.allclose(padded, alone, atol=1e-3)


def test_sharing_means_the_same_object_and_fewer_parameters():
    shared, apart = (LSTMEncoderDecoder(7, 7, 7, 7, share_weights=share) for share in (True, False))
    assert shared.encoder is shared.decoder
    assert apart.encoder is not apart.decoder
    counts = [sum(p.numel() for p in pair.parameters()) for pair in (shared, apart)]
    assert counts[1] == 2 * counts[0]


def test_sharing_between_different_shapes_is_an_error():
    with pytest.raises(ValueError, match=r"\(3, 7\) and \(2, 7\)"):
        LSTMEncoderDecoder(3, 2, 7, 7, share_weights=True)


def test_states_and_outputs_of_another_width_pass_through_linear_maps():
    pair = LSTMEncoderDecoder(3, 2, encoder_width=7, decoder_width=5, num_layers=2)
    past = torch.randn(2, 11, 3)
    encoded, (hidden, cell) = pair.encode(past, torch.tensor([11, 6]))
    raw, (raw_hidden, raw_cell) = _run_packed(pair.encoder, past, torch.tensor([11, 6]))
    torch.testing.assert_close(encoded, pair.encoded_projection(raw))
    torch.testing.assert_close(hidden, pair.hidden_projection(raw_hidden))
    torch.testing.assert_close(cell, pair.cell_projection(raw_cell))
    assert hidden.shape == (2, 2, 5)


def test_dropout_acts_between_layers_and_one_layer_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single = LSTMEncoderDecoder(3, 2, 7, 7, num_layers=1, dropout=0.5)
    past = torch.randn(2, 11, 3)
    torch.testing.assert_close(single.encode(past)[0], single.encode(past)[0])
    double = LSTMEncoderDecoder(3, 2, 7, 7, num_layers=2, dropout=0.5)
    assert not torch.allclose(double.encode(past)[0], double.encode(past)[0])


@pytest.mark.parametrize("lengths", [[0, 5], [5, 12]])
def test_lengths_out_of_range_are_an_error(lengths):
    pair = LSTMEncoderDecoder(3, 2, 7, 7)
    with pytest.raises(ValueError, match="expected lengths from 1 to 11"):
        pair(torch.randn(2, 11, 3), torch.randn(2, 5, 2), torch.tensor(lengths))


def test_decoding_step_by_step_equals_decoding_at_once():
    pair = LSTMEncoderDecoder(3, 2, 7, 7, num_layers=2)
    _, start = pair.encode(torch.randn(2, 11, 3))
    future, steps, state = torch.randn(2, 5, 2), [], start
    for step in range(5):
        decoded, state = pair.decode(future[:, step : step + 1], state)
        steps.append(decoded)
    torch.testing.assert_close(
        torch.cat(steps, 1), pair.decode(future, start)[0], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("lengths", [None, *LENGTHS])
@pytest.mark.parametrize("run", [_run_packed, _run_in_segments])
def test_an_encoder_that_starts_from_a_state_continues_each_row(run, lengths):
    pair, past = LSTMEncoderDecoder(3, 2, 7, 7, num_layers=2), torch.randn(4, 11, 3)
    _, start = pair.encode(torch.randn(4, 5, 3))
    lengths = None if lengths is None else torch.tensor(lengths)
    encoded, (hidden, cell) = pair.encode(past, lengths, start)
    for row, length in enumerate([11] * 4 if lengths is None else lengths):
        own = tuple(part[:, row : row + 1] for part in start)
        alone, (hidden_alone, cell_alone) = pair.encoder(past[row : row + 1, :length], own)
        torch.testing.assert_close(encoded[row, :length], alone[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(hidden[:, row], hidden_alone[:, 0], atol=1e-6, rtol=0)
        torch.testing.assert_close(cell[:, row], cell_alone[:, 0], atol=1e-6, rtol=0)
    if lengths is not None:
        by_run, _ = run(pair.encoder, past, lengths, start)
        torch.testing.assert_close(by_run, encoded, atol=1e-6, rtol=0)


def test_an_encoder_that_reads_both_ways_takes_no_state():
    pair, past = LSTMEncoderDecoder(3, 2, 7, 7, bidirectional=True), torch.randn(2, 11, 3)
    with pytest.raises(ValueError, match="Got a state for a bidirectional encoder"):
        pair.encode(past, None, (torch.zeros(1, 2, 7), torch.zeros(1, 2, 7)))


def torch_bidirectional(lstm, num_layers):
    """Return torch's own bidirectional LSTM with the weights of ours."""
    reads, width = lstm.forwards[0].input_size, lstm.forwards[0].hidden_size
    reference = torch.nn.LSTM(reads, width, num_layers, batch_first=True, bidirectional=True)
    weights = {}
    for layer in range(num_layers):
        for direction, suffix in ((lstm.forwards, ""), (lstm.backwards, "_reverse")):
            for name, weight in direction[layer].state_dict().items():
                weights[name.replace("_l0", f"_l{layer}{suffix}")] = weight
    reference.load_state_dict(weights)
    return reference


@pytest.mark.parametrize("lengths", [None, *LENGTHS])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_reading_both_ways_equals_torch_on_packed_rows(num_layers, lengths):
    lstm = BidirectionalLSTM(3, 5, num_layers)
    past = torch.randn(4, 11, 3, requires_grad=True)
    encoded, (hidden, cell) = lstm(past, None if lengths is None else torch.tensor(lengths))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        past, torch.tensor(lengths or [11] * 4), batch_first=True, enforce_sorted=False
    )
    reference = torch_bidirectional(lstm, num_layers)
    packed, states = reference(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, True, total_length=11)
    # (layer * direction, batch, width) -> (layer, batch, direction * width)
    states = [s.unflatten(0, (num_layers, 2)).transpose(1, 2).flatten(2) for s in states]
    results, wanted = (encoded, hidden, cell), (expected, *states)
    torch.testing.assert_close(results, wanted, atol=1e-6, rtol=1e-6)
    gradients = [
        torch.autograd.grad(sum(part.sin().sum() for part in parts), past)[0]
        for parts in (results, wanted)
    ]
    torch.testing.assert_close(*gradients, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_row_read_both_ways_is_the_same_alone_whatever_lies_in_its_padding(lengths):
    lstm = BidirectionalLSTM(3, 5, num_layers=2)
    past = torch.randn(4, 11, 3)
    for row, length in enumerate(lengths):
        past[row, length:] = 1e4
    encoded, state = lstm(past, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, state_alone = lstm(past[row : row + 1, :length])
        torch.testing.assert_close(encoded[row, :length], alone[0], atol=1e-6, rtol=0)
        for part, part_alone in zip(state, state_alone, strict=True):
            torch.testing.assert_close(part[:, row], part_alone[:, 0], atol=1e-6, rtol=0)
        assert (encoded[row, length:] == 0).all()


def test_the_first_output_read_both_ways_knows_the_last_real_step_and_no_later_one():
    lstm, past = BidirectionalLSTM(3, 5), torch.randn(1, 11, 3, requires_grad=True)
    encoded, _ = lstm(past, torch.tensor([7]))
    (gradient,) = torch.autograd.grad(encoded[0, 0].sum(), past)
    assert (gradient[0, :7] != 0).any(-1).all()
    assert (gradient[0, 7:] == 0).all()


def test_dropout_acts_between_the_layers_that_read_both_ways():
    past = torch.randn(2, 11, 3)
    for num_layers, steady in ((1, True), (2, False)):
        lstm = BidirectionalLSTM(3, 5, num_layers, dropout=0.5)
        assert torch.equal(lstm(past)[0], lstm(past)[0]) == steady


@pytest.mark.parametrize("lengths", [None, [11, 6]])
def test_an_encoder_that_reads_both_ways_hands_its_projected_state_over(lengths):
    lengths = None if lengths is None else torch.tensor(lengths)
    pair = LSTMEncoderDecoder(3, 2, encoder_width=5, decoder_width=7, bidirectional=True)
    past = torch.randn(2, 11, 3)
    encoded, (hidden, cell) = pair.encode(past, lengths)
    raw, (raw_hidden, raw_cell) = pair.encoder(past, lengths)
    assert raw.shape == (2, 11, 10)
    torch.testing.assert_close(encoded, pair.encoded_projection(raw))
    torch.testing.assert_close(hidden, pair.hidden_projection(raw_hidden))
    torch.testing.assert_close(cell, pair.cell_projection(raw_cell))


def test_impossible_bidirectional_lstms_are_errors():
    with pytest.raises(ValueError, match="share_weights=True and bidirectional=True"):
        LSTMEncoderDecoder(7, 7, 7, 7, share_weights=True, bidirectional=True)
    both = LSTMEncoderDecoder(3, 2, 7, 7, bidirectional=True)
    with pytest.raises(ValueError, match="Got a state for a bidirectional encoder"):
        both.encode(torch.randn(2, 11, 3), state=(torch.zeros(1, 2, 7), torch.zeros(1, 2, 7)))
    with pytest.raises(ValueError, match="Got num_layers=0"):
        BidirectionalLSTM(3, 5, num_layers=0)
    with pytest.raises(ValueError, match="expected lengths from 1 to 11"):
        BidirectionalLSTM(3, 5)(torch.randn(2, 11, 3), torch.tensor([0, 11]))


def test_rows_are_reversed_on_their_own_device_whatever_the_default_one():
    sequence, lengths = torch.arange(6.0).reshape(1, 6, 1), torch.tensor([4])
    with torch.device("meta"):
        turned = recurrent._reverse(sequence, lengths)
    assert turned.flatten().tolist() == [3, 2, 1, 0, 4, 5]
