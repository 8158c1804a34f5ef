import itertools

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import (
    InterpretableMultiHeadAttention,
    MultiHeadAttention,
    TransformerBlock,
    TransformerLSTM,
)
from tests.nn.variants import shake

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
        attended = block.encoder.attention.layer(encoded, encoded, encoded)
        encoded = block.encoder.attention.gate(attended, encoded)
        both = torch.cat([encoded, decoded], 1)
        decoded = block.decoder.attention.gate(
            block.decoder.attention.layer(decoded, both, both), decoded
        )
    torch.testing.assert_close(network(past, future), network.output(decoded))


def test_without_encoder_attention_a_block_passes_the_encoder_on_unchanged():
    block = TransformerBlock(6, 3, encoder_attention=False)
    encoded, decoded = torch.randn(2, 11, 6), torch.randn(2, 7, 6)
    passed, refined = block(encoded, decoded)
    assert passed is encoded
    assert not torch.allclose(refined, decoded)


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
        assert all(type(block.encoder.attention.layer) is expected for block in blocks)
        assert all(type(block.decoder.attention.layer) is expected for block in blocks)


def test_attention_weights_reproduce_the_output():
    network = build()
    past, future = inputs()
    caught = {}
    last = network.blocks[-1]
    last.decoder.attention.layer.register_forward_hook(
        lambda module, args, output: caught.update(values=args[2], output=output)
    )
    network(past, future)
    weights = network.attention_weights(past, future).mean(1)
    attention = last.decoder.attention.layer
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
        network.blocks[0].decoder.attention.gate.gate.linear.weight += 1
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


# Options of the blocks, which tests/nn/test_blocks.py proves.


def test_the_forward_pass_with_norms_first_is_the_diagram():
    network = build(
        causal_attention=False, norm_first=True, final_norm=True, norm="rms", feedforward="silu"
    )
    past, future = inputs()
    past_in, future_in = network.encoder_input(past), network.decoder_input(future)
    encoded, decoded = network.recurrent(past_in, future_in)
    encoded, decoded = encoded + past_in, decoded + future_in
    for block in network.blocks:
        normalized = block.encoder.attention.norm(encoded)
        attended = block.encoder.attention.layer(normalized, normalized, normalized)
        encoded = encoded + block.encoder.attention.gate.gate(attended)
        fed = block.encoder.feedforward.layer(block.encoder.feedforward.norm(encoded))
        encoded = encoded + block.encoder.feedforward.gate.gate(fed)
        query = block.decoder.attention.norm(decoded)
        both = torch.cat((block.decoder.attention.norm(encoded), query), 1)
        attended = block.decoder.attention.layer(query, both, both)
        decoded = decoded + block.decoder.attention.gate.gate(attended)
        fed = block.decoder.feedforward.layer(block.decoder.feedforward.norm(decoded))
        decoded = decoded + block.decoder.feedforward.gate.gate(fed)
    expected = network.output(network.final_norm(decoded))
    torch.testing.assert_close(network(past, future), expected)


def test_the_weights_of_one_block_start_as_its_layers_do_and_those_of_two_smaller():
    one, two = build(num_transformer_blocks=1), build(num_transformer_blocks=2)
    name = "blocks.0.decoder.attention.layer.output.weight"
    torch.testing.assert_close(two.state_dict()[name], one.state_dict()[name] / 2**0.5)
    shared = build(num_transformer_blocks=2, share_layers=True)
    assert torch.equal(shared.state_dict()[name], two.state_dict()[name])


def test_shared_layers_are_one_block_applied_again_and_again():
    shared, plain = (build(share_layers=share, num_transformer_blocks=3) for share in (True, False))
    assert count(plain) - count(shared) == 2 * count(shared.blocks)
    weights = shared.state_dict()
    for name in list(weights):
        if name.startswith("blocks.0."):
            weights[name.replace("blocks.0.", "blocks.1.")] = weights[name]
            weights[name.replace("blocks.0.", "blocks.2.")] = weights[name]
    plain.load_state_dict(weights)
    assert torch.equal(shared(*inputs()), plain(*inputs()))
    for block in (0, 1, 2, -1):
        assert torch.equal(
            shared.attention_weights(*inputs(), block=block),
            plain.attention_weights(*inputs(), block=block),
        )
    with pytest.raises(ValueError, match=r"block=3 of .*num_transformer_blocks=3"):
        shared.attention_weights(*inputs(), block=3)


def train_once(network, **inputs_of_rows):
    """Return the gradients of a training pass, and the bytes that it saved for them."""
    saved = []

    def keep(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    torch.manual_seed(19)
    network.train().zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(*inputs(), **inputs_of_rows).sin().sum() + network.auxiliary_loss()
    kept = sum(saved)
    loss.backward()
    return [parameter.grad.clone() for parameter in network.parameters()], kept


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.4, "norm_first": True, "feedforward": "swiglu", "final_norm": True},
        {"feedforward": "moe", "share_layers": True},
        {"norm": "adaptive", "dropout": 0.4, "encoder_attention": False},
    ],
    ids=str,
)
def test_checkpoints_save_memory_and_change_no_gradient(options):
    memory = {}
    for checkpointing, blocks in itertools.product((False, True), (2, 5)):
        network = build(
            num_transformer_blocks=blocks, gradient_checkpointing=checkpointing, **options
        )
        gradients, memory[checkpointing, blocks] = train_once(network)
        if not checkpointing:
            expected = gradients
    for one, other in zip(gradients, expected, strict=True):  # those of five blocks
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    growth = [
        memory[checkpointing, 5] - memory[checkpointing, 2] for checkpointing in (True, False)
    ]
    assert growth[0] < 0.2 * growth[1]


def test_a_bound_on_experts_acts_in_training_only():
    options = {"feedforward": "moe", "experts_per_token": 1, "num_experts": 3, "dropout": 0.0}
    free, bounded = (build(**options, capacity_factor=factor) for factor in (None, 0.2))
    assert torch.equal(free(*inputs()), bounded(*inputs()))
    assert not torch.allclose(free.train()(*inputs()), bounded.train()(*inputs()))


def test_the_loss_of_experts_is_that_of_the_last_pass_and_handed_over_once():
    network = build(feedforward="moe").train()
    network(*inputs())
    alone = network.auxiliary_loss()
    assert alone > 0
    assert network.auxiliary_loss() == 0
    network(*inputs())
    network(*inputs())  # the first of both was read by nobody
    assert network.auxiliary_loss() < 1.5 * alone
    network.eval()(*inputs())
    assert network.auxiliary_loss() == 0
    assert build()(*inputs()).sum() != 0
    assert build().auxiliary_loss() == 0


def test_reading_the_past_forgets_the_losses_before():
    network = build(feedforward="moe").train()
    past, future = inputs()
    network.init_state(past)
    alone = network.auxiliary_loss()
    network(past, future)
    network.init_state(past)
    assert 0 < network.auxiliary_loss() < 1.5 * alone


def test_a_negative_number_of_static_features_is_an_error():
    with pytest.raises(ValueError, match="num_static_features=-1; expected 0 or more"):
        build(num_static_features=-1)


def test_the_kernel_is_that_of_every_attention():
    network = build(attention_kernel="math")
    kernels = [module.kernel for module in network.modules() if hasattr(module, "kernel")]
    assert kernels == ["math"] * 4
    torch.testing.assert_close(network(*inputs()), build()(*inputs()))
    with pytest.raises(ValueError, match="Got kernel='fast'"):
        build(attention_kernel="fast")


def test_frequency_attention_is_refused_where_causality_is_required():
    with pytest.raises(ValueError, match=r"attention='frequency' with causal_attention=True"):
        build(attention="frequency")
    with pytest.raises(ValueError, match="weights of a frequency attention"):
        build(attention="frequency", causal_attention=False).attention_weights(*inputs())


def test_an_adaptive_norm_starts_as_a_layer_norm():
    adaptive, plain = build(norm="adaptive"), build()
    weights = {name: x for name, x in adaptive.state_dict().items() if "modulation" not in name}
    plain.load_state_dict(weights)
    torch.testing.assert_close(adaptive(*inputs()), plain(*inputs()))


def test_static_features_reach_both_input_networks_and_adaptive_norms():
    past, future = inputs()
    static = torch.randn(2, 5)
    network = build(num_static_features=5, norm="adaptive")
    for name in (
        "encoder_input.context_layer.weight",
        "decoder_input.context_layer.weight",
        "blocks.1.encoder.attention.gate.add_norm.norm.modulation.weight",
    ):
        torch.nn.init.zeros_(network.get_parameter(name))
    network.encoder_input.requires_grad_(False)
    still = network(past, future, static=static)
    torch.testing.assert_close(network(past, future, static=-static), still)
    with torch.no_grad():
        network.encoder_input.context_layer.weight.normal_()
    encoded = network(past, future, static=static)
    assert not torch.allclose(network(past, future, static=-static), encoded)
    with torch.no_grad():
        network.encoder_input.context_layer.weight.zero_()
        network.decoder_input.context_layer.weight.normal_()
    decoded = network(past, future, static=static)
    assert not torch.allclose(network(past, future, static=-static), decoded)
    with torch.no_grad():
        network.decoder_input.context_layer.weight.zero_()
        network.blocks[1].encoder.attention.gate.add_norm.norm.modulation.weight[:, 6:].normal_()
    conditioned = network(past, future, static=static)
    assert not torch.allclose(network(past, future, static=-static), conditioned)


def test_adaptive_norms_follow_the_mean_of_the_past():
    network = shake(build(norm="adaptive"))
    past, future = inputs()
    seen = []
    norm = network.blocks[0].decoder.attention.gate.add_norm.norm
    norm.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    network(past, future, torch.tensor([11, 4]))
    behind = network.encoder_input(past)
    expected = torch.stack((behind[0].mean(0), behind[1, :4].mean(0)))
    torch.testing.assert_close(seen[0], expected)
