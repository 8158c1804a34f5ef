import copy
import pickle

import pytest
import torch
from torch import nn

from sktime_tlstm.nn import (
    AttentionLSTM,
    EmbeddedNetwork,
    InputEmbedding,
    TransformerLSTM,
    embedding_width,
)


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
        (([7], [None], [None]), "neither a past nor a future channel"),
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
    assert embedded(torch.zeros(3, 5, 6), torch.zeros(3, 4, 2), static=static) is static
    assert embedded.auxiliary_loss() == 11
    assert not hasattr(embedded, "attention_weights")
    plain = EmbeddedNetwork(TransformerLSTM(9, 5, d_model=8), embedding)
    assert hasattr(plain, "attention_weights")
    assert not hasattr(plain, "auxiliary_loss")


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
