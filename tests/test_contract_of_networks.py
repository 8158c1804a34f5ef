"""The room of the network contract: what is built, called, and what must come back."""

import dataclasses

import pytest
import torch
from torch import nn

from sktime_tlstm.contract import (
    construct,
    embedded,
    looks_ahead,
    one_tensor,
    prepare,
    probe,
    takes,
)
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.nn import EmbeddedNetwork, PointHead, QuantileHead

SPEC = WindowSpec(
    context_length=11,
    horizon=5,
    num_targets=3,
    num_numeric=2,
    num_calendar=1,
    known=(1,),
    cardinalities=(),
    known_categories=(),
    lags=(7,),
    window_norm=None,
    norm_length=11,
)
QUARTERS = QuantileHead((0.25, 0.75))


class Plain(nn.Module):
    def __init__(self, num_past_features, num_future_features, output_dim, width=2):
        super().__init__()
        self.linear = nn.Linear(num_future_features, output_dim)
        self.width = width

    def forward(self, past, future, past_lengths=None):
        return self.linear(future)


class Told(Plain):
    def __init__(self, *widths, num_targets, point, num_static_features=0, **widths_by_name):
        super().__init__(*widths, **widths_by_name)
        self.told = num_targets, point, num_static_features


def test_what_the_data_decide_on_is_counted_by_hand():
    module, arguments = prepare(Plain, {"width": 13}, SPEC, QUARTERS)
    assert module is Plain
    assert arguments == {
        "width": 13,
        "num_past_features": 2 * (3 + 2) + 1,  # values and flags, the calendar
        # one known covariate and its flag, the calendar, the step, location and scale of three
        # targets, and at the lag three targets, their flags and two covariates
        "num_future_features": 2 + 1 + 1 + 2 * 3 + (3 + 3 + 2),
        "output_dim": 3 * 2,
    }


def test_networks_are_told_further_widths_if_they_ask():
    spec = dataclasses.replace(SPEC, num_static=4)
    _, arguments = prepare(Told, {}, spec, QUARTERS)
    network = construct(Told, **arguments)
    targets, point, static = network.told
    assert (targets, static) == (3, 4)
    torch.testing.assert_close(point(torch.ones(2, 5, 6)), torch.ones(2, 5, 3))
    with pytest.raises(ValueError, match="static_covariates with the module Plain"):
        prepare(Plain, {}, spec, QUARTERS)


def test_categories_bring_an_embedding_in_front():
    spec = dataclasses.replace(SPEC, cardinalities=(17,), known_categories=(0,))
    module, arguments = prepare(Plain, {"width": 13}, spec, QUARTERS)
    assert module is embedded
    network = construct(module, **arguments)
    assert isinstance(network, EmbeddedNetwork)
    assert network.network.width == 13
    _, future = network.embedding.widths(spec.num_past_features, spec.num_future_features)
    assert network.network.linear.in_features == future


def test_parameters_are_found_by_name():
    assert takes(Plain, "width")
    assert takes(Plain.forward, "past_lengths")
    assert not takes(Plain.forward, "target")


# Broken contracts.


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        (lambda **widths: "a network", TypeError, "Got a str from the module <lambda>"),
        (lambda **widths: nn.Identity(), ValueError, "<lambda> without parameters"),
        (nn.Linear, TypeError, "Linear that cannot be built with .*'output_dim'"),
    ],
)
def test_what_cannot_be_built_is_named(module, error, words):
    built, arguments = prepare(module, {}, SPEC, QUARTERS)
    with pytest.raises(error, match=words):
        construct(built, **arguments)


INPUTS = {"past": torch.zeros(2, 11, 11), "future": torch.zeros(2, 5, 18)}


def test_a_network_that_keeps_the_contract_passes_the_probe():
    network = construct(Plain, **prepare(Plain, {}, SPEC, QUARTERS)[1])
    probe(Plain, lambda inputs: network(**inputs), INPUTS, SPEC, QUARTERS)


@pytest.mark.parametrize(
    ("run", "error", "words"),
    [
        (
            lambda inputs: inputs["future"],
            ValueError,
            r"shape \(2, 5, 18\) from the module Plain, expected \(2, 5, 6\)",
        ),
        (
            lambda inputs: torch.zeros(2, 4, 6),
            ValueError,
            r"shape \(2, 4, 6\) from the module Plain, expected \(2, 5, 6\)",
        ),
        (lambda inputs: one_tensor([3]), TypeError, "Plain that cannot.*a list, expected one"),
        (lambda: None, TypeError, "Plain that cannot be called as forward"),
    ],
)
def test_an_answer_of_another_kind_or_shape_is_named(run, error, words):
    with pytest.raises(error, match=words):
        probe(Plain, run, INPUTS, SPEC, QUARTERS)


def test_the_probe_counts_the_parameters_of_the_head():
    with pytest.raises(ValueError, match=r"expected \(2, 5, 3\)"):
        probe(Plain, lambda inputs: torch.zeros(2, 5, 6), INPUTS, SPEC, PointHead("mse"))


def test_a_network_that_is_told_categories_alone_is_taken_to_look_ahead():
    codes = dataclasses.replace(SPEC, known=(), cardinalities=(4,), known_categories=(0,))

    def unused(inputs):
        raise NotImplementedError

    assert looks_ahead(unused, {}, codes)
    assert not looks_ahead(unused, {}, dataclasses.replace(codes, horizon=1))
    assert not looks_ahead(unused, {}, dataclasses.replace(codes, known_categories=()))
