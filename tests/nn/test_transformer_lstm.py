import pytest
import torch
from torch import nn

from sktime_tlstm.nn import (
    InterpretableMultiHeadAttention,
    MultiHeadAttention,
    TransformerBlock,
    TransformerLSTM,
)

SMALL = {"d_model": 6, "num_heads": 3}


def build(**options):
    torch.manual_seed(11)
    return TransformerLSTM(3, 2, **{**SMALL, **options}).eval()


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def inputs():
    torch.manual_seed(13)
    return torch.randn(2, 11, 3), torch.randn(2, 7, 2)


def test_the_forward_pass_is_the_diagram():
    network = build(causal_attention=False)
    past, future = inputs()
    past_in, future_in = network.encoder_input(past), network.decoder_input(future)
    encoded, state = network.recurrent.encoder(past_in)
    decoded, _ = network.recurrent.decoder(future_in, state)
    encoded, decoded = encoded + past_in, decoded + future_in
    for block in network.blocks:
        attended = block.encoder_attention(encoded, encoded, encoded)
        encoded = block.encoder_gate(attended, encoded)
        both = torch.cat([encoded, decoded], 1)
        decoded = block.decoder_gate(block.decoder_attention(decoded, both, both), decoded)
    torch.testing.assert_close(network(past, future), network.output(decoded))


def test_without_encoder_attention_a_block_passes_the_encoder_on_unchanged():
    block = TransformerBlock(6, 3, encoder_attention=False)
    encoded, decoded = torch.randn(2, 11, 6), torch.randn(2, 7, 6)
    passed, refined = block(encoded, decoded)
    assert passed is encoded
    assert not torch.allclose(refined, decoded)


@pytest.mark.parametrize(
    "option",
    [
        {"output_dim": 5},
        {"d_model": 9},
        {"num_layers": 1},
        {"num_transformer_blocks": 1},
        {"num_transformer_blocks": 0},
        {"share_lstm_weights": True},
        {"attention": "multi_head"},
        {"encoder_attention": False},
        {"trainable_add": True},
        {"num_heads": 2},
    ],
    ids=str,
)
def test_an_option_of_structure_changes_the_number_of_parameters(option):
    assert count(build(**option)) != count(build())


@pytest.mark.parametrize("option", [{"num_heads": 2}, {"causal_attention": False}], ids=str)
def test_an_option_of_connection_changes_the_output_of_equal_weights(option):
    # Ordinary attention, whose weights have the same shapes for any number of heads.
    network, other = build(attention="multi_head"), build(attention="multi_head", **option)
    other.load_state_dict(network.state_dict())
    assert not torch.allclose(network(*inputs()), other(*inputs()), atol=1e-4)


def test_dropout_reaches_every_place_it_should():
    network = TransformerLSTM(3, 2, **SMALL, dropout=0.37)
    rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    # two input networks, and in each of two blocks two attentions and two gates
    assert rates == [0.37] * (2 + 2 * 4)
    assert network.recurrent.encoder.dropout == network.recurrent.decoder.dropout == 0.37


def test_trainable_residuals_act_on_every_gate():
    network = build(trainable_add=True)
    assert torch.allclose(network(*inputs()), build()(*inputs()))  # at first nothing is scaled
    logits = [name for name, _ in network.named_parameters() if name.endswith("residual_logit")]
    assert len(logits) == 4
    expected = network(*inputs())
    for name in logits:
        with torch.no_grad():
            network.get_parameter(name).fill_(2.0)
        changed = network(*inputs())
        assert not torch.allclose(changed, expected)
        expected = changed


def test_sharing_the_lstm_shares_nothing_else():
    network = build(share_lstm_weights=True)
    assert network.recurrent.encoder is network.recurrent.decoder
    assert network.encoder_input is not network.decoder_input
    assert count(build()) - count(network) == count(network.recurrent.encoder)


def test_the_kind_of_attention_is_that_of_every_block():
    for kind, expected in (
        ("interpretable", InterpretableMultiHeadAttention),
        ("multi_head", MultiHeadAttention),
    ):
        blocks = build(attention=kind).blocks
        assert all(type(block.encoder_attention) is expected for block in blocks)
        assert all(type(block.decoder_attention) is expected for block in blocks)


def test_attention_weights_reproduce_the_output():
    network = build()
    past, future = inputs()
    caught = {}
    last = network.blocks[-1]
    last.decoder_attention.register_forward_hook(
        lambda module, args, output: caught.update(values=args[2], output=output)
    )
    network(past, future)
    weights = network.attention_weights(past, future).mean(1)
    attention = last.decoder_attention
    read = attention.output(weights @ attention.value(caught["values"]))
    torch.testing.assert_close(read, caught["output"])


def test_attention_weights_of_a_block_depend_on_the_blocks_before_it():
    network = build(num_transformer_blocks=3)
    weights = [network.attention_weights(*inputs(), block=block) for block in (0, 1, 2)]
    assert not torch.allclose(weights[0], weights[1])
    assert not torch.allclose(weights[1], weights[2])
    for block in (-3, -2, -1):
        again = network.attention_weights(*inputs(), block=block)
        torch.testing.assert_close(again, weights[block], atol=0, rtol=0)
    with torch.no_grad():
        network.blocks[0].decoder_gate.gate.linear.weight += 1
    assert torch.equal(network.attention_weights(*inputs(), block=0), weights[0])
    assert not torch.allclose(network.attention_weights(*inputs(), block=1), weights[1])


@pytest.mark.parametrize(("blocks", "block"), [(0, -1), (2, 2), (2, -3)])
def test_attention_weights_of_a_block_that_is_not_there_are_an_error(blocks, block):
    network = build(num_transformer_blocks=blocks)
    with pytest.raises(ValueError, match=f"block={block} .*num_transformer_blocks={blocks}"):
        network.attention_weights(*inputs(), block=block)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"d_model": 7}, r"width of 7 \(d_model\) and num_heads=3"),
        ({"attention": "fast"}, "Got attention='fast'"),
        ({"num_transformer_blocks": -1}, "num_transformer_blocks=-1; expected 0 or more"),
    ],
)
def test_impossible_options_are_an_error(option, message):
    with pytest.raises(ValueError, match=message):
        build(**option)


def test_masks_are_built_once_for_all_blocks(monkeypatch):
    from sktime_tlstm.nn import transformer_lstm

    calls = []
    build_mask = transformer_lstm.decoder_mask
    monkeypatch.setattr(
        transformer_lstm, "decoder_mask", lambda *args: calls.append(args) or build_mask(*args)
    )
    build(num_transformer_blocks=3)(*inputs())
    assert len(calls) == 1
