import threading

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint as torchs_checkpoint

from sktime_tlstm.nn.randomness import (
    Dropout,
    OwnRandomness,
    active_randomness,
    checkpoint,
    replay,
    seeded_globally,
)


class Draws(nn.Module):
    """Every kind of layer that draws, at sizes that differ."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, num_layers=3, dropout=0.4, batch_first=True)
        self.linear = nn.Linear(5, 7)
        self.drops = nn.ModuleList([nn.Dropout(0.3), nn.AlphaDropout(0.2), nn.Dropout1d(0.5)])
        self.leaky = nn.RReLU()
        self.attention = nn.MultiheadAttention(7, 1, dropout=0.6, batch_first=True)

    def forward(self, x):
        x = self.linear(self.lstm(x)[0])
        for layer in self.drops:
            x = layer(x)
        x = self.leaky(x)
        x = self.attention(x, x, x, need_weights=False)[0]
        return functional.gumbel_softmax(x + torch.randn_like(x) + torch.rand(7), dim=-1)


DRAWS = {
    "rand": lambda: torch.rand(11),
    "randn": lambda: torch.randn(3, 5),
    "randint": lambda: torch.randint(2, 97, (13,)),
    "randperm": lambda: torch.randperm(17),
    "normal": lambda: torch.normal(torch.zeros(7), 2.0),
    "bernoulli": lambda: torch.bernoulli(torch.full((29,), 0.4)),
    "multinomial": lambda: torch.multinomial(torch.ones(19), 7),
    "poisson": lambda: torch.poisson(torch.full((7,), 3.0)),
    "in place": lambda: torch.empty(7).exponential_() + torch.empty(7).cauchy_(),
    "like": lambda: torch.rand_like(torch.ones(7)) + torch.randn_like(torch.ones(7)),
    "integers like": lambda: torch.randint_like(torch.ones(23), 3, 41),
    "initial weights": lambda: nn.init.orthogonal_(nn.Linear(5, 7).weight).detach(),
    "a distribution": lambda: torch.distributions.Gamma(torch.ones(5), 2.0).sample(),
    "layers": lambda: Draws()(torch.ones(2, 11, 3)).detach(),
}


@pytest.mark.usefixtures("global_random_state_stays")
@pytest.mark.parametrize("name", DRAWS)
def test_own_numbers_are_those_of_the_seed_and_the_process_keeps_its_state(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(13)
        expected = [DRAWS[name](), DRAWS[name]()]
    assert not torch.equal(*expected)
    with OwnRandomness(13) as own:
        assert not own.draws
        found = [DRAWS[name](), DRAWS[name]()]
    assert own.draws
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_another_thread_sees_its_own_numbers_and_an_untouched_state():
    before, begun, seen = torch.get_rng_state(), threading.Event(), []

    def watch():
        begun.wait(10)
        seen.append((active_randomness(), torch.get_rng_state()))

    thread = threading.Thread(target=watch)
    thread.start()
    with OwnRandomness(0) as own:
        torch.rand(3)
        begun.set()
        thread.join()
        assert active_randomness() is own
    assert seen[0][0] is None
    assert torch.equal(seen[0][1], before)


def test_a_generator_of_ones_own_stays_in_use():
    with OwnRandomness(0) as own:
        found = torch.rand(5, generator=torch.Generator().manual_seed(3))
        assert not own.draws
    assert torch.equal(found, torch.rand(5, generator=torch.Generator().manual_seed(3)))


def test_attention_without_dropout_draws_nothing():
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    x = torch.ones(3, 5, 4)
    with OwnRandomness(0) as own:
        layer(x, x, x, need_weights=False)
        nn.LSTM(4, 2, num_layers=2, dropout=0.5).eval().flatten_parameters()
        own.draws = 0  # the LSTM's initial weights
        functional.dropout(x, 0.7, training=False)
        functional.dropout(x, 0.0, training=True)
    assert not own.draws


def test_blocks_nest_and_the_outer_one_goes_on():
    with OwnRandomness(1):
        expected = torch.rand(6)
    with OwnRandomness(1) as outer:
        first = torch.rand(3)
        with OwnRandomness(2):
            torch.rand(5)
        assert active_randomness() is outer
        assert torch.equal(torch.cat([first, torch.rand(3)]), expected)
    assert active_randomness() is None


def test_suspended_operations_do_not_pass_by_and_later_ones_do():
    with OwnRandomness(1) as own:
        with torch.random.fork_rng(devices=[]), own.suspended():
            torch.rand(3)
        assert not own.draws
        torch.rand(3)
        assert own.draws


def test_what_drew_while_it_was_watched_is_resumed_and_nothing_else():
    with OwnRandomness(1):
        expected = [torch.rand(3), torch.rand(3)]
    with OwnRandomness(1) as own:
        with own.watched():
            first = torch.rand(3)
        with own.watched():
            torch.ones(3) + 1
        assert (own.draws, own.watched_draws) == (1, 1)
        with torch.random.fork_rng(devices=[]), own.suspended():
            torch.rand(5)  # unseen
            with own.watched():
                second = torch.rand(3)
            torch.rand(5)
        assert (own.draws, own.watched_draws) == (2, 2)
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])


# Second runs.


def gradient(run, seed=5, again=2):
    """Return the gradient of layers with dropout, which draw in several passes."""
    with OwnRandomness(seed):
        layers = [nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)) for _ in range(3)]
        for _ in range(again):
            x = torch.linspace(0, 1, 24).reshape(4, 6).requires_grad_()
            for layer in layers:
                x = run(layer, x)
            x.square().sum().backward()
        after = torch.rand(3)
    weights = [value.grad.flatten() for layer in layers for value in layer.parameters()]
    return torch.cat([*weights, after])


@pytest.mark.usefixtures("global_random_state_stays")
def test_a_second_run_draws_the_same_while_the_backward_pass_is_suspended():
    def run(checkpointed):
        with OwnRandomness(5) as own:
            layer = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))
            for _ in range(2):
                with own.watched():
                    loss = checkpointed(layer, torch.ones(4, 6)).square().sum()
                with own.suspended():
                    loss.backward()
            assert own.draws == own.watched_draws + 2  # the initial weights, none of a second run
            return torch.cat([layer[0].weight.grad.flatten(), torch.rand(3)])

    torch.testing.assert_close(run(checkpoint), run(lambda layer, x: layer(x)))


@pytest.mark.usefixtures("global_random_state_stays")
def test_a_second_run_draws_what_the_first_did():
    plain = gradient(lambda layer, x: layer(x))
    torch.testing.assert_close(gradient(checkpoint), plain)
    assert torch.equal(gradient(checkpoint)[-3:], plain[-3:])  # and what comes after is the same


def test_torchs_own_checkpoint_is_refused_where_it_would_draw_other_numbers():
    with pytest.raises(RuntimeError, match=r"within torch.utils.checkpoint.*context_fn=replay"):
        gradient(lambda layer, x: torchs_checkpoint(layer, x, use_reentrant=False))
    with_replay = {"use_reentrant": False, "context_fn": replay}
    torch.testing.assert_close(
        gradient(lambda layer, x: torchs_checkpoint(layer, x, **with_replay)),
        gradient(lambda layer, x: layer(x)),
    )


def test_outside_of_a_block_a_checkpoint_is_torchs_own():
    layer = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))
    grads = []
    for run in (lambda x: layer(x), lambda x: checkpoint(layer, x)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            layer.zero_grad()
            run(torch.ones(4, 6)).square().sum().backward()
            grads.append(layer[0].weight.grad.clone())
    torch.testing.assert_close(*grads)


# The state of the process, where there is no other.


@pytest.mark.usefixtures("global_random_state_stays")
def test_a_seed_for_the_process_is_put_back():
    found = []
    for _ in range(2):
        with seeded_globally(3):
            found.append(torch.rand(3))
    assert torch.equal(*found)


def test_threads_wait_for_each_other_where_the_state_is_the_processs():
    with seeded_globally(7):
        expected = torch.rand(500)
    found = []

    def draw():
        with seeded_globally(7):
            found.append(torch.cat([torch.rand(1) for _ in range(500)]))

    threads = [threading.Thread(target=draw) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, expected) for one in found)
    assert len(found) == 5


# Our own layer.


@pytest.mark.parametrize("p", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_own_dropout_is_torchs_within_the_block_and_outside(p, dtype):
    x = torch.linspace(-3, 7, 31, dtype=dtype)
    drawn = []
    for layer in (nn.Dropout(p), Dropout(p)):
        with OwnRandomness(5):
            drawn.append([layer(x), layer(x)])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            drawn.append([layer(x), layer(x)])
        assert torch.equal(layer.eval()(x), x)
    for other in drawn[1:]:
        for one, same in zip(drawn[0], other, strict=True):
            assert torch.equal(one, same) and one.dtype == dtype


@pytest.mark.usefixtures("global_random_state_stays")
def test_own_dropout_needs_not_be_watched():
    x = torch.ones(23)
    with OwnRandomness(5) as randomness:
        first = Dropout(0.3)(x)
        with randomness.suspended(), randomness.watched():
            second = Dropout(0.3)(x)
    with OwnRandomness(5) as other:
        watched = [nn.Dropout(0.3)(x), nn.Dropout(0.3)(x)]
    assert torch.equal(first, watched[0]) and torch.equal(second, watched[1])
    assert (randomness.draws, other.draws) == (0, 2)


def test_own_dropout_keeps_its_gradient():
    x = torch.ones(17, requires_grad=True)
    with OwnRandomness(3):
        y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize(("checkpointing", "refused"), [(checkpoint, False), (None, True)])
def test_own_dropout_is_replayed_or_refused_in_checkpoints(checkpointing, refused):
    layer = nn.Sequential(nn.Linear(6, 6), Dropout(0.5))
    x = torch.ones(4, 6)
    with OwnRandomness(3) as randomness, randomness.suspended():
        if refused:
            y = torchs_checkpoint(layer, x, use_reentrant=False, preserve_rng_state=False)
            with pytest.raises(RuntimeError, match="Got a network that draws random numbers"):
                y.sum().backward()
            return
        checkpointing(layer, x).sum().backward()
    again = nn.Sequential(nn.Linear(6, 6), Dropout(0.5))
    again.load_state_dict(layer.state_dict())
    with OwnRandomness(3):
        again(x).sum().backward()
    assert torch.equal(layer[0].weight.grad, again[0].weight.grad)
