from dataclasses import replace

import pytest
import torch

from sktime_tlstm.data.augmentation import Augmentation
from sktime_tlstm.data.windows import cut_windows
from sktime_tlstm.nn.randomness import OwnRandomness, random_states, seeded_globally
from tests.data.test_windows import EVERY_SPEC, SPEC, SPECS, every_window, make_store

#: Without what a shortened context leaves as it is, normalisation and lags.
ABSOLUTE = replace(SPEC, window_norm=None, lags=())


def windows(spec, number=1, seed=0):
    store = make_store(spec, seed=seed)
    places = [part.repeat(number) for part in every_window(store)]
    return store, places, cut_windows(store, spec, *places).inputs


def augmented(inputs, spec, noise=0.0, shortest=None, seed=0):
    with OwnRandomness(seed):
        return Augmentation(spec, noise, shortest)(inputs)


@EVERY_SPEC
def test_noise_is_added_to_observed_numbers_of_the_context_and_to_nothing_else(name):
    spec = SPECS[name]
    _, _, inputs = windows(spec, number=40)
    before = {key: value.clone() for key, value in inputs.items()}
    noisy = augmented(inputs, spec, noise=0.3)
    assert all(torch.equal(value, before[key]) for key, value in inputs.items())
    assert noisy.keys() == inputs.keys()
    assert all(noisy[key] is inputs[key] for key in inputs.keys() - {"past"})
    number = spec.num_targets + spec.num_numeric
    assert noisy["past"].shape == inputs["past"].shape
    assert torch.equal(noisy["past"][..., number:], inputs["past"][..., number:])
    added = (noisy["past"] - inputs["past"])[..., :number]
    seen = inputs["past"][..., number : 2 * number] > 0
    assert not added[~seen].any()
    assert abs(float(added[seen].std()) - 0.3) < 0.01
    assert abs(float(added[seen].mean())) < 0.01


def test_every_value_has_noise_of_its_own():
    _, _, inputs = windows(ABSOLUTE)
    noisy = augmented(inputs, ABSOLUTE, noise=1.0)
    added = (noisy["past"] - inputs["past"])[..., :5][inputs["past"][..., 5:10] > 0]
    # what is added is rounded, and so are two draws in a few thousand alike
    assert len(added.unique()) > 0.99 * len(added) > 100


def test_a_shortened_context_is_that_of_a_series_that_begins_there():
    store, (series, cutoff), inputs = windows(ABSOLUTE)
    short = augmented(inputs, ABSOLUTE, shortest=2)
    assert torch.equal(short["future"], inputs["future"])
    kept = short["past_lengths"]
    assert not torch.equal(kept, inputs["past_lengths"])
    for window in range(len(series)):
        place, rows = series[window : window + 1], cutoff[window : window + 1]
        # an empty context is a row of zeros
        number = torch.minimum(kept[window : window + 1], rows)
        hidden = rows - number
        later = replace(
            store,
            start=store.start + hidden,
            length=store.length - hidden,
            calendar_start=store.calendar_start + hidden,
        )
        alone = cut_windows(later, ABSOLUTE, place, number).inputs
        assert torch.equal(short["past"][window], alone["past"][0])
        assert kept[window] == alone.get("past_lengths", torch.tensor([7]))[0]


def test_lengths_are_drawn_evenly_and_never_longer_than_what_there_is():
    _, (_, cutoff), inputs = windows(ABSOLUTE, number=200)
    kept = augmented(inputs, ABSOLUTE, shortest=3)["past_lengths"]
    assert bool((kept <= inputs["past_lengths"]).all())
    short = cutoff.clamp(1, 7) <= 3
    assert torch.equal(kept[short], inputs["past_lengths"][short])
    whole = kept[cutoff >= 7]
    shares = torch.bincount(whole, minlength=8)[3:] / len(whole)
    assert len(whole) > 5_000 and float((shares - 0.2).abs().max()) < 0.02
    assert kept.min() == 1 and whole.min() == 3


def test_whole_contexts_are_cut_as_well_and_their_lengths_told():
    store = make_store(ABSOLUTE)
    places = torch.zeros(50, dtype=torch.int64), torch.arange(50) % 22 + 7
    inputs = cut_windows(store, ABSOLUTE, *places).inputs
    assert "past_lengths" not in inputs
    short = augmented(inputs, ABSOLUTE, shortest=1)
    assert set(short["past_lengths"].tolist()) == set(range(1, 8))
    assert "past_lengths" not in inputs


@pytest.mark.parametrize("shortest", [None, 7])
def test_without_noise_and_with_whole_contexts_nothing_changes(shortest):
    _, _, inputs = windows(SPEC)
    with OwnRandomness(0):
        assert Augmentation(SPEC, 0.0, shortest)(inputs) is inputs
        assert not random_states()  # nothing was drawn


def test_draws_follow_from_the_training_s_seed_and_are_in_its_state():
    _, _, inputs = windows(SPEC)
    first, again, other = (augmented(inputs, SPEC, 0.1, 2, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["past_lengths"], other["past_lengths"])
    with OwnRandomness(0):
        Augmentation(SPEC, 0.1, 2)(inputs)
        assert set(random_states()) == {"cpu"}
    for _ in range(2):  # as compiled networks are trained
        with seeded_globally(3):
            first, again = Augmentation(SPEC, 0.1, 2)(inputs), first
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_shortest_context_beyond_the_whole_is_refused():
    with pytest.raises(
        ValueError, match=r"min_context_length=8 with a context of 7 rows, expected"
    ):
        Augmentation(SPEC, 0.0, 8)
