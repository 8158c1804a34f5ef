import itertools

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import (
    MixtureOfExperts,
    Transformer,
    TransformerDecoder,
    TransformerEncoder,
    sinusoidal,
    window_positions,
)
from tests.nn.variants import shake

SMALL = {"d_model": 12, "num_heads": 3, "dim_feedforward": 7}


def build(**options):
    torch.manual_seed(11)
    return Transformer(3, 2, **{**SMALL, **options}).eval()


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def inputs():
    torch.manual_seed(13)
    return torch.randn(2, 11, 3), torch.randn(2, 7, 2)


# The network.


def test_the_forward_pass_is_the_diagram():
    network = shake(build(causal_attention=False))
    past, future = inputs()
    encoded = network.past_input(past) + sinusoidal(torch.arange(-11, 0), 12)
    decoded = network.future_input(future) + sinusoidal(torch.arange(7), 12)
    for block in network.encoder.blocks:
        encoded = block(encoded)
    encoded = network.encoder.final_norm(encoded)
    for block in network.decoder.blocks:
        decoded = block(decoded, encoded)
    expected = network.output(network.decoder.final_norm(decoded))
    torch.testing.assert_close(network(past, future), expected)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_encoder_is_that_of_torch(norm_first, activation):
    ours = shake(
        TransformerEncoder(
            12, 3, 2, norm_first=norm_first, feedforward=activation, dim_feedforward=7
        )
    ).eval()
    layer = nn.TransformerEncoderLayer(
        12, 3, 7, activation=activation, norm_first=norm_first, batch_first=True
    )
    theirs = nn.TransformerEncoder(layer, 2, nn.LayerNorm(12), enable_nested_tensor=False).eval()
    norms = ("norm1", "norm2")
    for block, twin in zip(ours.blocks, theirs.layers, strict=True):
        hand_over_attention(block.attention.layer, twin.self_attn)
        twin.linear1.load_state_dict(block.feedforward.layer.hidden.state_dict())
        twin.linear2.load_state_dict(block.feedforward.layer.output.state_dict())
        for name, branch in zip(norms, (block.attention, block.feedforward), strict=True):
            own = branch.norm if norm_first else branch.gate.norm
            getattr(twin, name).load_state_dict(own.state_dict())
    theirs.norm.load_state_dict(ours.final_norm.state_dict())
    x, lengths = torch.randn(3, 7, 12), torch.tensor([7, 4, 1])
    padding = torch.arange(7) >= lengths[:, None]
    expected = theirs(x, src_key_padding_mask=padding)
    torch.testing.assert_close(ours(x, lengths)[~padding], expected[~padding])


def hand_over_attention(attention, twin):
    """Load our attention into torch's."""
    for kind in ("weight", "bias"):
        parts = [getattr(getattr(attention, name), kind) for name in ("query", "key", "value")]
        getattr(twin, f"in_proj_{kind}").data = torch.cat(parts).detach()
    twin.out_proj.load_state_dict(attention.output.state_dict())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_the_decoder_with_an_attention_to_the_past_is_that_of_torch(norm_first, causal):
    options = {"norm_first": norm_first, "feedforward": "relu", "dim_feedforward": 7}
    ours = shake(TransformerDecoder(12, 3, 2, causal, cross_attention="multi_head", **options))
    layer = nn.TransformerDecoderLayer(12, 3, 7, norm_first=norm_first, batch_first=True)
    theirs = nn.TransformerDecoder(layer, 2, nn.LayerNorm(12)).eval()
    for block, twin in zip(ours.eval().blocks, theirs.layers, strict=True):
        hand_over_attention(block.attention.own.layer, twin.self_attn)
        hand_over_attention(block.attention.cross.layer, twin.multihead_attn)
        twin.linear1.load_state_dict(block.feedforward.layer.hidden.state_dict())
        twin.linear2.load_state_dict(block.feedforward.layer.output.state_dict())
        branches = block.attention.own, block.attention.cross, block.feedforward
        for name, branch in zip(("norm1", "norm2", "norm3"), branches, strict=True):
            own = branch.norm if norm_first else branch.gate.norm
            getattr(twin, name).load_state_dict(own.state_dict())
    theirs.norm.load_state_dict(ours.final_norm.state_dict())
    decoded, encoded = torch.randn(3, 5, 12), torch.randn(3, 7, 12)
    past_lengths, future_lengths = torch.tensor([7, 4, 1]), torch.tensor([3, 5, 1])
    past, future = (
        torch.arange(7) >= past_lengths[:, None],
        torch.arange(5) >= future_lengths[:, None],
    )
    expected = theirs(
        decoded,
        encoded,
        tgt_mask=torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None,
        tgt_key_padding_mask=future,
        memory_key_padding_mask=past,
    )
    result = ours(decoded, encoded, past_lengths, future_lengths)
    torch.testing.assert_close(result[~future], expected[~future])


def test_numbers_of_layers_are_those_of_encoder_and_decoder():
    network = build(num_encoder_layers=3, num_decoder_layers=1)
    assert (len(network.encoder.blocks), len(network.decoder.blocks)) == (3, 1)
    assert network(*inputs()).shape == (2, 7, 1)


def test_a_bound_on_experts_acts_in_training_only():
    free, bounded = (
        build(feedforward="moe", dropout=0.0, capacity_factor=factor) for factor in (None, 0.2)
    )
    assert torch.equal(free(*inputs()), bounded(*inputs()))
    assert not torch.allclose(free.train()(*inputs()), bounded.train()(*inputs()))
    assert free.auxiliary_loss() > 0
    assert free.auxiliary_loss() == 0


def test_dropout_reaches_every_place_it_should():
    network = build(dropout=0.37)
    rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    # the inputs, and in each of four blocks attention and feed-forward layer
    assert rates == [0.37] * (1 + 4 * 2)


def test_the_kernel_is_that_of_every_attention():
    network = build(attention_kernel="math")
    assert [m.kernel for m in network.modules() if hasattr(m, "kernel")] == ["math"] * 4
    torch.testing.assert_close(network(*inputs()), build()(*inputs()))


# Positions.


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_the_order_of_the_past_matters(positions):
    network = shake(build(positions=positions, max_positions=11))
    past, future = inputs()
    assert not torch.allclose(network(past, future), network(past.flip(1), future), atol=1e-3)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_positions_are_counted_from_the_cutoff(positions):
    network = build(positions=positions, max_positions=11)
    past, future = inputs()
    seen = []
    network.positions.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    network(past, future, torch.tensor([11, 2]))
    assert seen[0].tolist() == [list(range(-11, 0)), [-2] + [-1] * 10]
    assert seen[1].tolist() == [list(range(7))]


def test_rotary_positions_know_how_far_apart_steps_are_and_nothing_else():
    decoder = shake(TransformerDecoder(12, 3)).eval()
    decoded, encoded = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    past, future = window_positions(7, 5)
    expected = decoder(decoded, encoded, positions=(past, future))
    shifted = decoder(decoded, encoded, positions=(past + 31, future + 31))
    torch.testing.assert_close(shifted, expected, atol=1e-5, rtol=1e-5)
    apart = decoder(decoded, encoded, positions=(past, future + 31))
    assert not torch.allclose(apart, expected, atol=1e-3)


def test_learned_positions_are_vectors_added_to_the_inputs():
    network = build(positions="learned", max_positions=11)
    assert network.positions.table.weight.shape == (22, 12)
    with torch.no_grad():
        network.positions.table.weight.zero_()
    past, future = inputs()
    mixed = network(past.flip(1), future)
    torch.testing.assert_close(network(past, future), mixed)  # without positions, a set
    with pytest.raises(ValueError, match="max_positions=13"):
        network(torch.randn(2, 13, 3), future)


# Static features.


def test_static_features_are_added_to_both_inputs():
    network = build(num_static_features=5)
    past, future = inputs()
    static = torch.randn(2, 5)
    added = network.static_input(static)
    plain = build()
    plain.load_state_dict(
        {name: x for name, x in network.state_dict().items() if not name.startswith("static")}
    )
    # The same as a bias of each row.
    outputs = []
    for row in range(2):
        biases = plain.past_input.bias.data.clone(), plain.future_input.bias.data.clone()
        plain.past_input.bias.data += added[row].detach()
        plain.future_input.bias.data += added[row].detach()
        outputs.append(plain(past[[row]], future[[row]]))
        plain.past_input.bias.data, plain.future_input.bias.data = biases
    torch.testing.assert_close(network(past, future, static=static), torch.cat(outputs))


def test_adaptive_norms_follow_the_mean_of_the_past_and_static_features():
    network = shake(build(norm="adaptive", num_static_features=5))
    assert network.static_input is None
    past, future = inputs()
    static, seen = torch.randn(2, 5), []
    norms = network.encoder.blocks[0].attention.norm, network.decoder.final_norm
    for norm in norms:
        norm.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    network(past, future, torch.tensor([11, 4]), static=static)
    behind = network.past_input(past)
    expected = torch.stack((behind[0].mean(0), behind[1, :4].mean(0)))
    assert len(seen) == 2
    for condition in seen:
        torch.testing.assert_close(condition, torch.cat((expected, static), dim=1))


# Depth.


def test_branches_of_deeper_stacks_start_smaller():
    network = build(num_encoder_layers=2, num_decoder_layers=8, share_layers=True)
    one = build(num_encoder_layers=1, num_decoder_layers=1)
    for name, value in one.state_dict().items():
        depth = 2 if name.startswith("encoder") else 8
        shrunk = value / depth**0.5 if "blocks" in name and ".output." in name else value
        torch.testing.assert_close(network.state_dict()[name], shrunk)


def test_shared_layers_are_one_block_applied_again_and_again():
    shared, plain = (build(share_layers=share, num_encoder_layers=3) for share in (True, False))
    blocks = count(shared.encoder.blocks), count(shared.decoder.blocks)
    assert count(plain) - count(shared) == 2 * blocks[0] + blocks[1]
    weights = shared.state_dict()
    for name, block in itertools.product(list(weights), ("1", "2")):
        if name.startswith("encoder") or block == "1":  # the decoder has two
            weights[name.replace("blocks.0.", f"blocks.{block}.")] = weights[name]
    plain.load_state_dict(weights)
    assert torch.equal(shared(*inputs()), plain(*inputs()))
    assert torch.equal(
        shared.attention_weights(*inputs(), block=1), plain.attention_weights(*inputs(), block=1)
    )


def train_once(network):
    """Return the gradients of a training pass, and the bytes that it saved for them."""
    saved = []

    def keep(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    torch.manual_seed(19)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network.train()(*inputs()).sin().sum() + network.auxiliary_loss()
    kept = sum(saved)
    loss.backward()
    return [parameter.grad for parameter in network.parameters()], kept


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.4},
        {"positions": "rotary", "norm": "adaptive", "feedforward": "swiglu"},
        {"positions": "learned", "feedforward": "moe", "share_layers": True},
    ],
    ids=str,
)
def test_checkpoints_save_memory_and_change_no_gradient(options):
    plain, memory = train_once(build(**options))
    checkpointed, less_memory = train_once(build(**options, gradient_checkpointing=True))
    for one, other in zip(checkpointed, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert less_memory < 0.3 * memory


# Attention weights, and decoding step by step (see tests/nn/test_incremental.py for the network).


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_attention_weights_reproduce_the_output(positions):
    network = shake(build(positions=positions, attention="interpretable"))
    caught = {}
    attention = network.decoder.blocks[-1].attention.layer
    attention.register_forward_hook(
        lambda module, args, output: caught.update(values=args[2], output=output)
    )
    network(*inputs())
    weights = network.attention_weights(*inputs()).mean(1)
    read = attention.output(weights @ attention.value(caught["values"]))
    torch.testing.assert_close(read, caught["output"])


def test_attention_weights_of_a_block_that_is_not_there_are_an_error():
    with pytest.raises(ValueError, match=r"block=2 of a network with num_layers=2"):
        build().attention_weights(*inputs(), block=2)
    assert not torch.allclose(
        build().attention_weights(*inputs(), block=0), build().attention_weights(*inputs())
    )


def test_the_decoder_decodes_step_by_step_by_itself():
    decoder = shake(TransformerDecoder(12, 3, norm="rms", feedforward="swiglu")).eval()
    decoded, encoded = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    lengths = torch.tensor([7, 3])
    past, future = window_positions(7, 5, lengths)
    expected = decoder(decoded, encoded, lengths, positions=(past, future))
    state = decoder.init_state(encoded, lengths, positions=past)
    for step in range(5):
        output, state = decoder.step(state, decoded[:, step], future[:, [step]])
        torch.testing.assert_close(output, expected[:, step], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="causal_attention=False"):
        TransformerDecoder(12, 3, causal_attention=False).init_state(encoded)


@pytest.mark.parametrize(
    "kinds", [("interpretable", "multi_head"), ("multi_head", "interpretable")]
)
def test_two_attentions_have_kinds_and_caches_of_their_own(kinds):
    own, cross = kinds
    decoder = TransformerDecoder(12, 3, attention=own, cross_attention=cross, norm="rms")
    shake(decoder).eval()
    decoded, encoded, lengths = torch.randn(2, 5, 12), torch.randn(2, 7, 12), torch.tensor([7, 3])
    past, future = window_positions(7, 5, lengths)
    expected = decoder(decoded, encoded, lengths, positions=(past, future))
    state = decoder.init_state(encoded, lengths, positions=past)
    heads = {"interpretable": 1, "multi_head": 3}  # that have values of their own
    for step in range(5):
        output, later = decoder.step(state, decoded[:, step], future[:, [step]])
        torch.testing.assert_close(output, expected[:, step], atol=1e-5, rtol=1e-5)
        for cache, after in zip(state.caches, later.caches, strict=True):
            assert after.past is cache.past
            assert after.past.values.shape == (2, heads[cross], 7, 4)
            assert cache.future.values.shape == (2, heads[own], step, 4)
            assert after.future.values.shape == (2, heads[own], step + 1, 4)
            assert (after.num_rows, after.num_steps) == (2, 7 + step + 1)
        state = later


def test_weights_of_an_attention_to_the_past_are_of_its_real_steps_alone():
    network = shake(build(cross_attention="multi_head", num_decoder_layers=1))
    past, future = inputs()
    lengths = torch.tensor([past.shape[1], 2])
    weights = network.attention_weights(past, future, lengths)
    assert weights.shape == (2, weights.shape[1], future.shape[1], past.shape[1])
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert (weights[1, ..., :2] > 0).all()
    assert (weights[1, ..., 2:] == 0).all()
    branch, caught = network.decoder.blocks[0].attention.cross, {}
    branch.layer.register_forward_hook(
        lambda module, args, output: caught.update(values=args[2], output=output)
    )
    network(past, future, lengths)
    values = branch.layer.value(caught["values"]).unflatten(-1, (weights.shape[1], -1))
    # (batch, head, query, key), (batch, key, head, width) -> (batch, query, head, width)
    read = torch.einsum("bhqk,bkhw->bqhw", weights, values).flatten(-2)
    torch.testing.assert_close(branch.layer.output(read), caught["output"])


@pytest.mark.parametrize("kind", ["frequency", "additive"])
def test_an_attention_that_cannot_read_another_sequence_is_an_error(kind):
    with pytest.raises(ValueError, match=f"cross_attention='{kind}'; expected one of"):
        TransformerDecoder(12, 3, cross_attention=kind)
    with pytest.raises(TypeError, match="cross_attention"):
        TransformerEncoder(12, 3, cross_attention="multi_head")


def test_the_chosen_kernel_is_that_of_the_attention_that_has_kernels():
    options = {"causal_attention": False, "attention": "frequency", "attention_kernel": "math"}
    decoder = TransformerDecoder(12, 3, cross_attention="multi_head", **options)
    assert decoder.blocks[0].attention.cross.layer.kernel == "math"
    with pytest.raises(ValueError, match="kernel='math' for attention='frequency'"):
        TransformerDecoder(12, 3, **options)


# Standalone stacks map features to features.


@pytest.mark.parametrize("sizes", [(5, 2), (None, 2), (5, None)])
def test_a_standalone_encoder_maps_features_to_features(sizes):
    entering, leaving = sizes
    encoder = shake(TransformerEncoder(12, 3, input_size=entering, output_size=leaving)).eval()
    inner = TransformerEncoder(12, 3).eval()
    inner.load_state_dict(
        {k: v for k, v in encoder.state_dict().items() if not k.startswith(("input.", "output."))}
    )
    x, lengths = torch.randn(3, 7, entering or 12), torch.tensor([7, 2, 4])
    expected = inner(encoder.input.linear(x) if entering else x, lengths)
    expected = encoder.output(expected) if leaving else expected
    assert expected.shape == (3, 7, leaving or 12)
    real = torch.arange(7) < lengths[:, None]
    torch.testing.assert_close(encoder(x, lengths)[real], expected[real])


@pytest.mark.parametrize("cross", [None, "multi_head"])
def test_a_standalone_pair_reads_raw_features_whatever_lies_in_their_padding(cross):
    encoder = shake(TransformerEncoder(8, 2, input_size=5, output_size=12)).eval()
    decoder = TransformerDecoder(12, 3, input_size=4, output_size=3, cross_attention=cross)
    shake(decoder).eval()
    past, future = torch.randn(2, 7, 5), torch.randn(2, 6, 4)
    lengths = torch.tensor([7, 2]), torch.tensor([6, 3])
    expected = decoder(future[1:, :3], encoder(past[1:, :2]))[0]
    past[1, 2:], future[1, 3:] = float("nan"), float("inf")
    result = decoder(future, encoder(past, lengths[0]), *lengths)
    assert result.shape == (2, 6, 3)
    assert torch.isfinite(result[1, :3]).all()
    torch.testing.assert_close(result[1, :3], expected, atol=1e-6, rtol=1e-6)
    state = decoder.init_state(encoder(past, lengths[0]), lengths[0])
    for step in range(3):
        output, state = decoder.step(state, future[:, step])
        torch.testing.assert_close(output, result[:, step], atol=1e-5, rtol=1e-5)
    assert decoder.attention_weights(future, encoder(past, lengths[0]), *lengths).shape[2] == 6


def test_standalone_inputs_of_another_width_are_errors_that_say_what_to_do():
    encoder = TransformerEncoder(12, 3, input_size=5)
    with pytest.raises(ValueError, match=r"past of shape \(2, 7, 4\).*\(batch, time, 5\).*size=4"):
        encoder(torch.ones(2, 7, 4))
    decoder, encoded = TransformerDecoder(12, 3), torch.ones(2, 7, 12)
    with pytest.raises(ValueError, match=r"future of shape \(2, 6, 5\).*input_size=5"):
        decoder(torch.ones(2, 6, 5), encoded)
    with pytest.raises(ValueError, match=r"encoded of shape \(2, 7, 9\).*output_size=12"):
        decoder(torch.ones(2, 6, 12), encoded[..., :9])
    with pytest.raises(ValueError, match=r"encoded of shape \(2, 7, 9\)"):
        decoder.init_state(encoded[..., :9])
    for size in ("input_size", "output_size"):
        with pytest.raises(ValueError, match=f"Got {size}=0; expected 1 or more, or None"):
            TransformerEncoder(12, 3, **{size: 0})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"cross_attention": "frequency"}, "cross_attention='frequency'"),
        ({"d_model": 7}, r"width of 7 \(d_model\) and num_heads=3"),
        ({"positions": "relative"}, r"Got positions='relative'; expected one of \['sinusoidal'"),
        ({"num_encoder_layers": -1}, "num_encoder_layers=-1 and num_decoder_layers=2"),
        ({"num_decoder_layers": 0}, "num_encoder_layers=2 and num_decoder_layers=0"),
        ({"attention": "frequency"}, "attention='frequency' with causal_attention=True"),
        (
            {"attention": "frequency", "causal_attention": False, "positions": "rotary"},
            "positions='rotary' with attention='frequency'",
        ),
        ({"positions": "rotary", "d_model": 9}, "num_heads=3 with positions='rotary'"),
        ({"positions": "rotary", "num_heads": 0}, r"width of 12 \(d_model\) and num_heads=0"),
        ({"num_static_features": -1}, "num_static_features=-1; expected 0 or more"),
        ({"norm": "adaptive", "num_static_features": -1}, "num_static_features=-1; expected 0"),
        ({"norm": "batch"}, "Got norm='batch'"),
        ({"feedforward": "elu"}, "Got feedforward='elu'"),
        ({"attention_kernel": "fast"}, "Got kernel='fast'"),
    ],
    ids=str,
)
def test_impossible_options_are_an_error(option, message):
    with pytest.raises(ValueError, match=message):
        build(**option)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (TransformerEncoder, {"num_layers": -1}, "num_layers=-1 for the encoder; expected 0"),
        (TransformerDecoder, {"num_layers": 0}, "num_layers=0 for the decoder; expected 1"),
        (TransformerDecoder, {"num_layers": -1}, "num_layers=-1 for the decoder; expected 1"),
        (
            TransformerEncoder,
            {"norm": "adaptive"},
            "condition_features=0 for norm='adaptive'.*cond",
        ),
    ],
)
def test_impossible_stacks_are_an_error(network, options, message):
    with pytest.raises(ValueError, match=message):
        network(12, 3, **options)


# Stacks on their own.


def stack(kind, **options):
    """Return an encoder or a decoder, and its inputs."""
    network = kind(12, 3, **options).train()
    sequences = [torch.randn(2, 7, 12), torch.randn(2, 11, 12)]
    return network, sequences[: 1 if kind is TransformerEncoder else 2]


def kept(network):
    return [len(one._losses) for one in network.modules() if isinstance(one, MixtureOfExperts)]


@pytest.mark.parametrize("kind", [TransformerEncoder, TransformerDecoder])
def test_a_stack_alone_hands_over_the_loss_of_its_last_pass(kind):
    network, sequences = stack(kind, feedforward="moe")
    network(*sequences)
    alone = network.auxiliary_loss()
    assert alone > 0
    assert network.auxiliary_loss() == 0
    for _ in range(3):
        network(*sequences)
    assert kept(network) == [1, 1]
    torch.testing.assert_close(network.auxiliary_loss(), alone)


@pytest.mark.parametrize("build_network", [build, lambda **o: TransformerDecoder(12, 3, **o)])
def test_reading_the_past_forgets_the_losses_before(build_network):
    network = build_network(feedforward="moe").train()
    whole = inputs() if isinstance(network, Transformer) else stack(TransformerDecoder)[1]
    network(*whole)
    network.init_state(whole[0])
    decoders = getattr(network, "decoder", network)
    assert sum(kept(decoders)) == 0
    assert sum(kept(network)) == (2 if isinstance(network, Transformer) else 0)  # of the past


@pytest.mark.parametrize("bounds", [[0, 5], [5, 12]])
def test_lengths_of_a_stack_out_of_range_are_an_error(bounds):
    lengths = torch.tensor(bounds)
    encoder, x = stack(TransformerEncoder)
    with pytest.raises(ValueError, match=f"past_lengths between {bounds[0]} and {bounds[1]} for"):
        encoder(*x, lengths)
    decoder, x = stack(TransformerDecoder)
    with pytest.raises(ValueError, match=f"past_lengths between {bounds[0]} and {bounds[1]} for"):
        decoder.init_state(x[1], lengths)
    with pytest.raises(ValueError, match=r"future_lengths between .* for a future of 7 steps"):
        decoder(*x, None, lengths)


# Devices and precision.


def test_positions_within_the_table_are_not_read(monkeypatch):
    network = build(positions="learned", max_positions=18)
    past, future = inputs()
    expected = network(past, future)
    monkeypatch.setattr(torch, "aminmax", None)
    assert torch.equal(network(past, future), expected)
    state = network.init_state(past)
    for step in range(7):
        output, state = network.step(state, future[:, step])
        torch.testing.assert_close(output, expected[:, step], atol=1e-5, rtol=1e-5)


def test_a_past_padded_beyond_the_table_may_lie_in_it():
    network = build(positions="learned", max_positions=11)
    (past, future), lengths = inputs(), torch.tensor([11, 4])
    padded = nn.functional.pad(past, (0, 0, 0, 5))
    torch.testing.assert_close(network(padded, future, lengths), network(past, future, lengths))


def test_positions_of_a_double_network_are_doubles():
    network = build(feedforward=None, num_encoder_layers=0, dim_feedforward=None).double()
    steps = torch.arange(397, 400)[None]
    added = network.positions(torch.zeros(1, 3, 12).double(), steps, 400)
    angles = steps[0].double()[:, None] / 10000 ** (torch.arange(0, 12, 2).double() / 12)
    expected = torch.stack((angles.sin(), angles.cos()), -1).flatten(1)
    torch.testing.assert_close(added[0], expected, atol=1e-12, rtol=0)
