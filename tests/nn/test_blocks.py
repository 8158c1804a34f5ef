import copy

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import (
    AddNorm,
    DecoderBlock,
    EncoderBlock,
    GateAddNorm,
    MixtureOfExperts,
    TransformerBlock,
    make_attention,
)
from sktime_tlstm.nn.blocks import BlockStack, check_causality, describe_rows
from sktime_tlstm.nn.branches import BlockOptions, Branch
from tests.nn.variants import shake

SIZES = {"d_model": 6, "num_heads": 3}


def encoder(**options):
    torch.manual_seed(11)
    return EncoderBlock(**{**SIZES, **options}).eval()


def decoder(**options):
    torch.manual_seed(11)
    return DecoderBlock(**{**SIZES, **options}).eval()


# The mathematics of the residual branches.


def test_norms_stand_in_front_of_the_branches():
    block, x = shake(encoder(norm_first=True)), torch.randn(2, 7, 6)
    normalized = block.attention.norm(x)
    refined = x + block.attention.layer(normalized, normalized, normalized)
    expected = refined + block.feedforward.layer(block.feedforward.norm(refined))
    torch.testing.assert_close(block(x), expected)


def test_or_behind_the_sum():
    block, x = shake(encoder(norm_first=False)), torch.randn(2, 7, 6)
    refined = block.attention.gate.norm(x + block.attention.layer(x, x, x))
    expected = block.feedforward.gate.norm(refined + block.feedforward.layer(refined))
    torch.testing.assert_close(block(x), expected)


def test_keys_of_both_sequences_are_normalized_as_the_queries_are():
    block = shake(decoder(norm_first=True, feedforward=None))
    decoded, encoded = torch.randn(2, 5, 6), torch.randn(2, 7, 6)
    query, past = block.attention.norm(decoded), block.attention.norm(encoded)
    both = torch.cat((past, query), dim=1)
    expected = decoded + block.attention.layer(query, both, both)
    torch.testing.assert_close(block(decoded, encoded), expected)


def test_a_transformer_block_is_an_encoder_block_and_a_decoder_block_on_its_output():
    options = {"norm_first": True, "feedforward": "silu", "gated": True, "trainable_add": True}
    torch.manual_seed(11)
    both = shake(TransformerBlock(**SIZES, attention="multi_head", **options).eval())
    alone = encoder(**options), decoder(**options)
    for block, own in zip(alone, (both.encoder, both.decoder), strict=True):
        block.load_state_dict(own.state_dict())
    encoded, decoded = torch.randn(2, 7, 6), torch.randn(2, 5, 6)
    refined, answered = both(encoded, decoded)
    torch.testing.assert_close(refined, alone[0](encoded))
    torch.testing.assert_close(answered, alone[1](decoded, refined))
    torch.testing.assert_close(
        both.attention_weights(encoded, decoded), alone[1].attention_weights(decoded, refined)
    )


@pytest.mark.parametrize(("gated", "kind"), [(True, GateAddNorm), (False, AddNorm)])
def test_the_residual_connection_has_a_gate_or_none(gated, kind):
    block = encoder(gated=gated, dropout=0.37)
    assert type(block.attention.gate) is type(block.feedforward.gate) is kind
    rates = [module.p for module in block.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.37] * (4 if gated else 2)


@pytest.mark.parametrize("build", [encoder, decoder])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(
    "option",
    [
        {"attention": "interpretable"},
        {"norm": "rms"},
        {"norm": "adaptive", "condition_features": 4},
        {"feedforward": None},
        {"feedforward": "relu"},
        {"feedforward": "silu"},
        {"feedforward": "swiglu"},
        {"feedforward": "moe"},
        {"dim_feedforward": 7},
        {"trainable_add": True},
        {"gated": True},
    ],
    ids=str,
)
def test_every_option_changes_the_output(build, norm_first, option):
    plain, other = (shake(build(norm_first=norm_first, **own)) for own in ({}, option))
    x = torch.randn(2, 5, 6)
    inputs = {
        encoder: {"encoded": x, "condition": torch.randn(2, 4)},
        decoder: {"decoded": x, "encoded": x.flip(1), "condition": torch.randn(2, 4)},
    }[build]
    assert not torch.allclose(plain(**inputs), other(**inputs), atol=1e-3)


@pytest.mark.parametrize("norm_first", [True, False])
def test_an_adaptive_norm_follows_the_condition_in_every_branch(norm_first):
    block = encoder(norm="adaptive", condition_features=4, norm_first=norm_first)
    x, condition = torch.randn(2, 5, 6), torch.randn(2, 4)
    plain = encoder(norm_first=norm_first)
    weights = {name: x for name, x in block.state_dict().items() if "modulation" not in name}
    plain.load_state_dict(weights)
    torch.testing.assert_close(block(x, None, condition), plain(x))  # at first a layer norm
    modulations = [name for name in block.state_dict() if name.endswith("modulation.weight")]
    assert len(modulations) == 2
    before = block(x, None, condition)
    for name in modulations:
        with torch.no_grad():
            block.get_parameter(name).normal_()
        after = block(x, None, condition)
        assert not torch.allclose(after, before, atol=1e-3)
        before = after


def test_padding_is_kept_from_the_experts():
    block = encoder(feedforward="moe", num_experts=3)
    x, mask = torch.randn(2, 7, 6), torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[0, ..., 2:] = False
    seen = []
    block.feedforward.layer.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    block(x, mask)
    assert torch.equal(seen[0], mask[:, 0, 0])


def test_the_mixture_of_experts_gets_its_numbers():
    block = encoder(
        feedforward="moe",
        num_experts=5,
        experts_per_token=3,
        capacity_factor=0.4,
        dim_feedforward=7,
    )
    mixture = block.feedforward.layer
    assert isinstance(mixture, MixtureOfExperts)
    assert (len(mixture.experts), mixture.experts_per_token) == (5, 3)
    assert mixture.capacity_factor == 0.4
    assert mixture.experts[0].hidden.out_features == 7


# How the branches start.


def test_one_branch_in_all_starts_as_its_layers_do():
    block = encoder(feedforward=None)
    torch.manual_seed(11)
    attention = make_attention("multi_head", 6, 3)
    for name, value in attention.state_dict().items():
        assert torch.equal(block.attention.layer.state_dict()[name], value)


@pytest.mark.parametrize(
    "layer", [("gelu", {}), ("swiglu", {}), ("moe", {}), ("moe", {"expert": "swiglu"})], ids=str
)
def test_last_layers_start_smaller_by_the_root_of_the_number_of_branches(layer):
    feedforward, options = layer
    one, many = (encoder(feedforward=feedforward, stack_depth=depth, **options) for depth in (1, 9))
    last = 0
    for (name, value), other in zip(
        one.state_dict().items(), many.state_dict().values(), strict=True
    ):
        is_last = ".output." in name
        last += is_last
        torch.testing.assert_close(other, value / 3 if is_last else value)
    assert last == {"moe": 2 + 4 * 2}.get(feedforward, 4)
    without = encoder(feedforward=None)
    torch.testing.assert_close(
        one.attention.layer.output.weight, without.attention.layer.output.weight / 2**0.5
    )


def test_layers_say_themselves_which_maps_come_last_whatever_these_are_called():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.output, self.end = nn.Linear(6, 6), nn.Linear(6, 6)

        def last_maps(self):
            return [self.end]

    layer = Own()
    before = copy.deepcopy(layer.state_dict())
    branch = Branch(layer, BlockOptions(**SIZES), branches=25)
    torch.testing.assert_close(branch.layer.end.weight, before["end.weight"] / 5)
    torch.testing.assert_close(branch.layer.end.bias, before["end.bias"] / 5)
    assert torch.equal(branch.layer.output.weight, before["output.weight"])


def test_an_unknown_option_of_a_block_is_an_error_that_names_it():
    with pytest.raises(TypeError, match="'heads'"):
        encoder(heads=3)


def test_the_variance_of_a_deep_stack_does_not_grow():
    def added_variance(depth, shrink):
        torch.manual_seed(11)
        stack = [
            EncoderBlock(32, 4, stack_depth=depth if shrink else 1, dim_feedforward=64)
            for _ in range(depth)
        ]
        x = torch.randn(8, 13, 32)
        refined = x
        with torch.no_grad():
            for block in stack:
                refined = block(refined)
        return (refined - x).var().item()

    # The branches of one block as those of a stack of 32: their sum, not their number, counts.
    assert added_variance(32, True) < 2 * added_variance(1, True)
    assert added_variance(32, False) > 10 * added_variance(1, False)


# Stacks.


def test_a_stack_builds_and_passes_its_blocks_in_order():
    stack = BlockStack(lambda: nn.Linear(2, 2), 3)
    assert stack.passed() == list(stack)
    shared = BlockStack(lambda: nn.Linear(2, 2), 3, share_layers=True)
    assert len(shared) == 1
    assert shared.passed() == [shared[0]] * 3
    assert BlockStack(lambda: nn.Linear(2, 2), 0, share_layers=True).passed() == []


def test_a_stack_checkpoints_in_training_with_gradients_only(monkeypatch):
    from sktime_tlstm.nn import blocks

    calls = []
    monkeypatch.setattr(
        blocks,
        "checkpoint",
        lambda block, *arguments: calls.append(block) or block(*arguments),
    )
    x = torch.ones(1, 2)
    for checkpointing in (False, True):
        stack = BlockStack(lambda: nn.Linear(2, 2), 1, gradient_checkpointing=checkpointing)
        expected = stack[0](x)
        assert torch.equal(stack.run(stack[0], x), expected)
        assert len(calls) == checkpointing
        with torch.no_grad():
            stack.run(stack[0], x)
        stack.eval().run(stack[0], x)
        assert len(calls) == checkpointing


def test_rows_are_described_by_their_real_steps_and_static_features():
    x = torch.tensor([[[1.0], [3.0], [float("nan")]], [[2.0], [4.0], [9.0]]])
    described = describe_rows(x, torch.tensor([2, 3]), torch.tensor([[7.0], [8.0]]))
    assert described.tolist() == [[2.0, 7.0], [5.0, 8.0]]


def test_attention_that_sees_everything_cannot_be_causal():
    check_causality("frequency", False)
    check_causality("multi_head", True)
    with pytest.raises(ValueError, match=r"attention='frequency' with causal_attention=True"):
        check_causality("frequency", True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"d_model": 7}, r"width of 7 \(d_model\) and num_heads=3"),
        ({"attention": "fast"}, "Got attention='fast'"),
        ({"norm": "batch"}, "Got norm='batch'"),
        ({"feedforward": "elu"}, "Got feedforward='elu'"),
        ({"feedforward": "moe", "expert": "elu"}, "Got expert='elu'"),
        ({"attention_kernel": "fast"}, "Got kernel='fast'"),
    ],
    ids=str,
)
def test_impossible_options_are_an_error(option, message):
    with pytest.raises(ValueError, match=message):
        encoder(**option)


@pytest.mark.parametrize("build", [encoder, decoder])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feedforward": None, "dim_feedforward": 7}, r"dim_feedforward=7 with feedforward=None"),
        ({"feedforward": None, "num_experts": 3}, r"num_experts=3 with feedforward=None"),
        ({"num_experts": 3}, r"num_experts=3 with feedforward='gelu'; .*\['moe'\] only"),
        ({"experts_per_token": 1}, "experts_per_token=1 with feedforward='gelu'"),
        ({"capacity_factor": 0.5}, "capacity_factor=0.5 with feedforward='gelu'"),
        ({"expert": "silu"}, r"expert='silu' with feedforward='gelu'; .* default, 'gelu'"),
        ({"num_modes": 8}, "num_modes=8 with attention='multi_head'; expected the default, 32"),
    ],
    ids=str,
)
def test_an_option_that_nothing_reads_is_an_error(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_the_number_of_modes_reaches_the_attention():
    assert encoder(attention="frequency", num_modes=5).attention.layer.num_modes == 5
    assert encoder(attention="frequency").attention.layer.num_modes == 32
