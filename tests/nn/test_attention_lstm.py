import pytest
import torch
from torch import nn

from sktime_tlstm.nn import AddNorm, AttentionLSTM, GateAddNorm

SMALL = {"d_model": 6, "num_heads": 3}


def build(**options):
    torch.manual_seed(11)
    return AttentionLSTM(3, 2, **{**SMALL, **options}).eval()


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def inputs():
    torch.manual_seed(13)
    return torch.randn(2, 11, 3), torch.randn(2, 7, 2)


@pytest.mark.parametrize("use_gating", [True, False])
def test_the_forward_pass_is_the_diagram(use_gating):
    network = build(causal_attention=False, use_gating=use_gating)
    past, future = inputs()
    encoded, state = network.recurrent.encoder(past)
    decoded, _ = network.recurrent.decoder(future, state)
    both = torch.cat([encoded, decoded], 1)
    attended = network.attention(decoded, both, both)
    branch = network.combine.gate(attended) if use_gating else attended
    norm = network.combine.add_norm.norm if use_gating else network.combine.norm
    torch.testing.assert_close(network(past, future), network.output(norm(branch + decoded)))


def test_encoder_and_decoder_may_have_widths_of_their_own():
    network = build(d_encoder=7, d_decoder=9)
    assert network.recurrent.encoder.hidden_size == 7
    assert network.recurrent.decoder.hidden_size == 9
    assert network.attention.query.in_features == network.output.in_features == 9
    assert network(*inputs()).shape == (2, 7, 1)


def test_d_model_is_the_width_of_whatever_has_none_of_its_own():
    assert build(d_encoder=7).recurrent.decoder.hidden_size == 6
    assert build(d_decoder=9).recurrent.encoder.hidden_size == 6
    equal = build(d_model=31, d_encoder=9, d_decoder=9)
    assert isinstance(equal.recurrent.encoded_projection, nn.Identity)
    assert count(equal) == count(build(d_model=9))


@pytest.mark.parametrize(("use_gating", "kind"), [(True, GateAddNorm), (False, AddNorm)])
def test_trainable_residuals_act_with_and_without_the_gate(use_gating, kind):
    network = build(use_gating=use_gating, trainable_add=True)
    assert type(network.combine) is kind
    before = network(*inputs())
    with torch.no_grad():
        next(p for n, p in network.named_parameters() if n.endswith("residual_logit")).fill_(2.0)
    assert not torch.allclose(network(*inputs()), before)


def test_dropout_reaches_every_place_it_should():
    network = AttentionLSTM(3, 2, **SMALL, dropout=0.37)
    rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.37, 0.37]  # attended values and gate
    assert network.recurrent.encoder.dropout == network.recurrent.decoder.dropout == 0.37


def test_attention_weights_reproduce_the_output():
    network = build()
    past, future = inputs()
    encoded, decoded = network.recurrent(past, future)
    both = torch.cat([encoded, decoded], 1)
    weights = network.attention_weights(past, future).mean(1)
    read = network.attention.output(weights @ network.attention.value(both))
    expected = network.output(network.combine(read, decoded))
    torch.testing.assert_close(network(past, future), expected)


@pytest.mark.parametrize("option", [{"d_model": 7}, {"d_decoder": 7}], ids=str)
def test_heads_that_do_not_divide_the_decoder_are_an_error(option):
    with pytest.raises(ValueError, match=r"width of 7 \(d_model\) and num_heads=3"):
        build(**option)
