import copy
import pickle

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import (
    AttentionLSTM,
    EmbeddedNetwork,
    InputEmbedding,
    Seq2SeqLSTM,
    TemporalFusionTransformer,
    Transformer,
    TransformerLSTM,
    embedding_width,
)
from sktime_tlstm.nn.embedding import OPTIONAL_METHODS


class WithLoss(nn.Module):
    """A network of the contract with an auxiliary loss and a keyword of its own."""

    def forward(self, past, future, past_lengths=None, future_lengths=None, *, static=None):
        return future.sum(-1, keepdim=True) if static is None else static

    def auxiliary_loss(self):
        return torch.tensor(11.0)


@pytest.fixture
def embedding():
    return InputEmbedding([7, 2], past_channels=[1, 4], future_channels=[0, None])


def test_the_width_rule_grows_with_the_root_up_to_16():
    assert [embedding_width(n) for n in (0, 1, 2, 5, 24, 226, 10**6)] == [1, 2, 3, 4, 6, 16, 16]


def test_code_channels_are_removed_and_vectors_appended(embedding):
    past, future = torch.randn(3, 5, 6), torch.randn(3, 4, 2)
    past[..., 1], past[..., 4], future[..., 0] = 5.0, 2.0, 3.0
    embedded_past, embedded_future = embedding(past, future)
    assert (embedded_past.shape[-1], embedded_future.shape[-1]) == embedding.widths(6, 2)
    torch.testing.assert_close(embedded_past[..., :4], past[..., [0, 2, 3, 5]])
    vectors = torch.cat([embedding.tables[0].weight[5], embedding.tables[1].weight[2]])
    torch.testing.assert_close(embedded_past[..., 4:], vectors.expand(3, 5, -1))
    torch.testing.assert_close(embedded_future[..., :1], future[..., 1:])
    torch.testing.assert_close(
        embedded_future[..., 1:], embedding.tables[0].weight[3].expand(3, 4, -1)
    )


@pytest.mark.parametrize("code", [0.0, -1.0, 8.0, 1e30, float("nan"), float("inf"), -float("inf")])
def test_unknown_and_missing_codes_share_the_reserved_vector_which_starts_at_zero(embedding, code):
    past = torch.zeros(1, 1, 6)
    past[..., 1] = code
    vector = embedding(past, torch.zeros(1, 1, 2))[0][0, 0, 4:8]
    torch.testing.assert_close(vector, embedding.tables[0].weight[0])
    assert (vector == 0).all()
    with torch.no_grad():
        embedding.tables[0].weight[0] = 3.0
    assert (embedding(past, torch.zeros(1, 1, 2))[0][0, 0, 4:8] == 3).all()


def test_the_last_known_code_is_not_unknown(embedding):
    past = torch.zeros(1, 1, 6)
    past[..., 1] = 7.0
    vector = embedding(past, torch.zeros(1, 1, 2))[0][0, 0, 4:8]
    torch.testing.assert_close(vector, embedding.tables[0].weight[7])


def test_without_covariates_nothing_changes():
    past, future = torch.randn(2, 3, 5), torch.randn(2, 4, 1)
    embedding = InputEmbedding([], [], [])
    assert embedding.widths(5, 1) == (5, 1)
    assert all(map(torch.equal, embedding(past, future), (past, future)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([7], [1], []), "one of each for every covariate"),
        (([-1], [1], [1]), "0 or more"),
        (([7, 3], [1, 1], [0, 2]), "different channels"),
        (([7], [-1], [0]), "different channels"),
        (([7], [None], [None]), "without a channel in any input"),
        (([7], [None], [None], [None]), "without a channel in any input"),
        (([7], [1], [None], []), "one of each for every covariate"),
        (([7, 3], [1, 2], [0, 1], [4, 4]), "different channels"),
        (([7], [1], [0], [-1]), "different channels"),
    ],
)
def test_impossible_channels_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        InputEmbedding(*arguments)


def test_a_channel_beyond_the_input_is_an_error(embedding):
    with pytest.raises(ValueError, match="3 channels; expected codes in channel 4"):
        embedding(torch.zeros(1, 1, 3), torch.zeros(1, 1, 2))


@pytest.mark.parametrize("network_class", [TransformerLSTM, AttentionLSTM])
def test_an_embedded_network_is_the_network_behind_the_embedding(embedding, network_class):
    network = network_class(*embedding.widths(6, 2), output_dim=3, d_model=8, num_heads=2).eval()
    embedded = EmbeddedNetwork(network, embedding)
    past, future = torch.randint(0, 8, (3, 5, 6)).float(), torch.randint(0, 8, (3, 4, 2)).float()
    lengths = torch.tensor([5, 2, 3]), torch.tensor([1, 4, 2])
    torch.testing.assert_close(
        embedded(past, future, *lengths), network(*embedding(past, future), *lengths)
    )
    weights = embedded.attention_weights(past, future, *lengths)
    torch.testing.assert_close(
        weights, network.attention_weights(*embedding(past, future), *lengths)
    )


def test_garbage_codes_in_the_padding_do_not_matter(embedding):
    network = TransformerLSTM(*embedding.widths(6, 2), d_model=8, num_heads=2).eval()
    embedded = EmbeddedNetwork(network, embedding)
    past, future = torch.ones(1, 5, 6), torch.ones(1, 4, 2)
    lengths = torch.tensor([3]), torch.tensor([4])
    expected = embedded(past, future, *lengths)
    past[:, 3:] = float("nan")
    torch.testing.assert_close(embedded(past, future, *lengths), expected, atol=0, rtol=0)


def test_keywords_pass_on_and_optional_methods_exist_where_the_network_has_them(embedding):
    embedded = EmbeddedNetwork(WithLoss(), embedding)
    static = torch.randn(3, 2)
    passed = embedded(torch.zeros(3, 5, 6), torch.zeros(3, 4, 2), static=static)
    torch.testing.assert_close(passed, static, atol=0, rtol=0)
    assert embedded.auxiliary_loss() == 11
    fusion = TemporalFusionTransformer(9, 5, d_model=8)
    for network in (WithLoss(), TransformerLSTM(9, 5, d_model=8), Seq2SeqLSTM(9, 5), fusion):
        embedded = EmbeddedNetwork(network, embedding)
        for name in OPTIONAL_METHODS:
            assert hasattr(embedded, name) == hasattr(network, name)
    assert not hasattr(EmbeddedNetwork(WithLoss(), embedding), "attention_weights")
    assert hasattr(EmbeddedNetwork(fusion, embedding), "selection_weights")


CODES = {"past_channels": [1, None], "future_channels": [0, None], "static_channels": [None, 2]}


@pytest.fixture(params=[TransformerLSTM, Transformer, TemporalFusionTransformer])
def coded(request):
    """Return a network behind codes in its past, its future and its static features; and these."""
    embedding = InputEmbedding([7, 3], **CODES)
    widths = {"output_dim": 3, "num_static_features": embedding.static_width(4)}
    network = request.param(*embedding.widths(3, 2), **widths, d_model=8, num_heads=2)
    past, future, static = torch.randn(5, 7, 3), torch.randn(5, 4, 2), torch.randn(5, 4)
    past[..., 1], future[..., 0] = torch.randint(8, (5, 7)), torch.randint(8, (5, 4))
    static[:, 2] = torch.arange(5) % 4
    return EmbeddedNetwork(network, embedding).eval(), past, future, static


def test_codes_act_in_the_past_the_future_and_the_static_features(coded):
    embedded, past, future, static = coded
    with torch.no_grad():
        for parameter in embedded.parameters():  # what starts at zero shall say something
            parameter.add_(0.1 * torch.randn_like(parameter))
    expected = embedded(past, future, static=static)
    for number, channel in ((0, 1), (1, 0), (2, 2)):
        inputs = [past.clone(), future.clone(), static.clone()]
        inputs[number][..., channel] = (inputs[number][..., channel] + 1) % 4
        changed = embedded(*inputs[:2], static=inputs[2])
        assert ((changed - expected).abs().amax((1, 2)) > 1e-5).all()


def test_step_by_step_behind_an_embedding_equals_the_whole(coded):
    embedded, past, future, static = coded
    lengths = torch.tensor([7, 4, 1, 7, 2])
    state = embedded.init_state(past, lengths, static=static)
    outputs = []
    for step in range(4):
        output, state = embedded.step(state, future[:, step])
        outputs.append(output)
    torch.testing.assert_close(
        torch.stack(outputs, dim=1),
        embedded(past, future, lengths, static=static),
        atol=1e-5,
        rtol=1e-5,
    )


def test_weights_behind_an_embedding_are_those_of_the_embedded_inputs(coded):
    embedded, past, future, static = coded
    inner = (*embedded.embedding(past, future), torch.tensor([7, 4, 1, 7, 2]))
    for name in {"attention_weights", "selection_weights"} & set(dir(embedded.network)):
        expected = getattr(embedded.network, name)(
            *inner, static=embedded.embedding.embed_static(static)
        )
        result = getattr(embedded, name)(past, future, inner[2], static=static)
        assert not any(part.requires_grad for part in result)
        torch.testing.assert_close(result, expected)
        named = {"future": future, "past": past, "past_lengths": inner[2], "static": static}
        torch.testing.assert_close(getattr(embedded, name)(**named), expected)


def test_an_embedded_network_hands_over_the_loss_of_its_experts_once(embedding):
    network = TransformerLSTM(*embedding.widths(6, 2), d_model=8, feedforward="moe")
    embedded = EmbeddedNetwork(network, embedding)
    embedded(torch.ones(1, 5, 6), torch.ones(1, 4, 2))
    assert embedded.auxiliary_loss() > 0
    assert embedded.auxiliary_loss() == 0


def test_an_embedded_network_survives_copy_and_pickle(embedding):
    embedded = EmbeddedNetwork(
        TransformerLSTM(*embedding.widths(6, 2), d_model=8), embedding
    ).eval()
    past, future = torch.ones(1, 5, 6), torch.ones(1, 4, 2)
    for twin in (copy.deepcopy(embedded), pickle.loads(pickle.dumps(embedded))):
        torch.testing.assert_close(twin(past, future), embedded(past, future))


def test_every_vector_learns_the_reserved_one_too(embedding):
    past = torch.zeros(1, 8, 6)
    past[0, :, 1] = torch.arange(8.0)
    embedding(past, torch.zeros(1, 1, 2))[0].sum().backward()
    assert (embedding.tables[0].weight.grad == 1).all()


@pytest.fixture
def static_embedding():
    """Embed a covariate of the past and the future, and two static ones."""
    return InputEmbedding([7, 2, 5], [1, None, None], [0, None, None], [None, 3, 0])


def test_static_codes_become_vectors_behind_the_numbers(static_embedding):
    static = torch.tensor([[5.0, 0.3, 0.7, 2.0], [0.0, 0.1, 0.2, 9.0]])
    found = static_embedding.embed_static(static)
    assert found.shape[-1] == static_embedding.static_width(4) == 2 + 3 + 4
    torch.testing.assert_close(found[:, :2], static[:, 1:3])
    tables = static_embedding.tables
    torch.testing.assert_close(found[0, 2:5], tables[1].weight[2])
    torch.testing.assert_close(found[0, 5:], tables[2].weight[5])
    assert not found[1, 2:].any()  # unknown and missing
    assert static_embedding.widths(6, 2) == (6 + 3, 2 + 3)
    past, future = static_embedding(torch.ones(2, 5, 6), torch.ones(2, 4, 2))
    assert (past.shape[-1], future.shape[-1]) == (9, 5)
    with pytest.raises(ValueError, match="3 channels; expected codes in channel 3"):
        static_embedding.embed_static(torch.zeros(2, 3))


def test_an_embedded_network_sees_embedded_statics_in_every_method(static_embedding):
    class Weighing(WithLoss):
        def attention_weights(self, past, future, *, static=None):
            return static

    embedded = EmbeddedNetwork(Weighing(), static_embedding)
    past, future, static = torch.ones(3, 5, 6), torch.ones(3, 4, 2), torch.ones(3, 4)
    expected = static_embedding.embed_static(static)
    torch.testing.assert_close(embedded(past, future, static=static), expected)
    torch.testing.assert_close(embedded.attention_weights(past, future, static=static), expected)
    assert torch.equal(static, torch.ones(3, 4))


def test_one_vector_may_serve_all_three_inputs():
    embedding = InputEmbedding([4], [0], [1], [2])
    past, future, static = torch.full((1, 1, 1), 3.0), torch.full((1, 1, 2), 3.0), torch.ones(1, 3)
    static[0, 2] = 3.0
    in_past, in_future = embedding(past, future)
    vector = embedding.tables[0].weight[3]
    torch.testing.assert_close(in_past[0, 0], vector)
    torch.testing.assert_close(in_future[0, 0, 1:], vector)
    torch.testing.assert_close(embedding.embed_static(static)[0, 2:], vector)
