import warnings

import pytest
import torch

from sktime_tlstm.nn import LSTMEncoderDecoder
from sktime_tlstm.nn.recurrent import _run_in_segments, _run_packed

LENGTHS = [[11, 11, 11, 11], [5, 11, 1, 5], [3, 3, 3, 3], [1, 2, 3, 4], [11, 11, 10, 11]]


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
