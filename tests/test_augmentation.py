"""Noise and shortened contexts reach the steps of trainings, and nothing else."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.exceptions import NotFittedError

from sktime_tlstm import SkorchForecaster
from sktime_tlstm.nn import TransformerLSTM
from tests.setups import NETWORK, TRAINING, tiny

RNG = np.random.default_rng(2)
Y = pd.Series(RNG.normal(size=90).cumsum(), name="y")
PANEL = pd.concat({"a": Y.to_frame()})
X = pd.DataFrame({"u": RNG.normal(size=100), "day": RNG.integers(0, 2, 100)})
PANEL_X = pd.concat({"a": X[:90]})
FH = [1, 2, 3]
AUGMENTED = {"input_noise": 0.2, "min_context_length": 3}


class Watched(TransformerLSTM):
    """Keeps what it reads, in training and else."""

    read = {True: [], False: []}

    def forward(self, past, future, past_lengths=None):
        kept = {"past": past, "future": future, "past_lengths": past_lengths}
        self.read[self.training].append(kept)
        return super().forward(past, future, past_lengths)


@pytest.fixture
def read():
    for kept in Watched.read.values():
        kept.clear()
    return Watched.read


def watched(**parameters):
    usual = {"context_length": 8, "lr": 1e-9, "gradient_clip": None, **TRAINING}
    return SkorchForecaster(
        Watched, {**NETWORK, "encoder_attention": False}, **{**usual, **parameters}
    )


def taken(kept):
    """Take what was read so far."""
    found = list(kept)
    kept.clear()
    return found


def differ(some, others, name):
    pairs = zip(some, others, strict=True)
    return [not torch.equal(one[name], other[name]) for one, other in pairs]


CALLS = {
    "fit": lambda **how: watched(**how).fit(Y, X=X[:90], fh=FH),
    "held-out rows": lambda **how: watched(validation_fraction=0.2, **how).fit(Y, X=X[:90], fh=FH),
    "a simulation": lambda **how: watched(mode="simulation", prediction_length=5, **how).fit(
        Y, X=X[:90]
    ),
    "pretrain": lambda **how: watched(**how).pretrain(PANEL, X=PANEL_X, fh=FH),
    "counts": lambda **how: watched(loss="poisson", **how).fit(Y.abs().round(), X=X[:90], fh=FH),
    "workers": lambda **how: watched(net_params={"iterator_train__num_workers": 1}, **how).fit(
        Y, X=X[:90], fh=FH
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_training_steps_read_it_and_nothing_else_does(call, read):
    CALLS[call]()
    plain = {training: taken(kept) for training, kept in read.items()}
    CALLS[call](**AUGMENTED)
    assert plain[True] and len(read[True]) == len(plain[True])
    assert all(differ(read[True], plain[True], "past"))
    assert not any(differ(read[True], plain[True], "future"))
    lengths = torch.cat([step["past_lengths"] for step in read[True]])
    assert set(lengths.tolist()) == set(range(3, 9))
    assert plain[False] and not any(differ(read[False], plain[False], "past"))
    assert not any(differ(read[False], plain[False], "future"))


def test_fine_tuning_and_updates_read_it_and_forecasts_do_not(read):
    def run(**how):
        forecaster = watched(**how).pretrain(PANEL, X=PANEL_X, fh=FH)
        read[True].clear()
        forecaster.fit(Y[:80], X=X[:80], fh=FH)
        parts = [taken(read[True])]
        forecaster.update(Y[80:], X=X[80:90])
        parts.append(taken(read[True]))
        read[False].clear()
        forecaster.predict(X=X[90:])
        return [*parts, taken(read[False])]

    plain, noisy = run(), run(**AUGMENTED)
    for before, after in list(zip(plain, noisy, strict=True))[:2]:
        assert before and all(differ(before, after, "past"))
        assert all(step["past_lengths"].min() >= 3 for step in after)
    assert plain[2] and not any(differ(plain[2], noisy[2], "past"))


def test_an_optimizer_that_evaluates_a_step_again_sees_the_same(read):
    lbfgs = {"optimizer": torch.optim.LBFGS, "optimizer__max_iter": 4}
    watched(net_params=lbfgs, calibration="none", **AUGMENTED).fit(Y, X=X[:90], fh=FH)
    pasts = [step["past"] for step in read[True]]
    same = [torch.equal(one, other) for one, other in itertools.pairwise(pasts)]
    assert 0 < same.count(False) < same.count(True)  # steps, and evaluations within them


@pytest.mark.parametrize("name", AUGMENTED)
def test_each_of_both_changes_the_training_alone(name):
    plain = tiny(context_length=8).fit(Y, fh=FH)
    changed = tiny(context_length=8, **{name: AUGMENTED[name]}).fit(Y, fh=FH)
    again = tiny(context_length=8, **{name: AUGMENTED[name]}).fit(Y, fh=FH)
    assert not changed.predict().equals(plain.predict())
    pd.testing.assert_series_equal(changed.predict(), again.predict())


def test_a_shortest_context_beyond_that_of_the_rules_is_refused_before_training(read):
    forecaster = watched(context_length=None, min_context_length=90)
    with pytest.raises(ValueError, match=r"min_context_length=90 with a context of 64 rows"):
        forecaster.fit(Y, fh=FH)
    assert not read[True]
    with pytest.raises(NotFittedError):
        forecaster.predict(FH)
    forecaster = watched(context_length=None).pretrain(PANEL, fh=FH)
    forecaster.min_context_length = 90
    read[True].clear()
    with pytest.raises(ValueError, match=r"Pass a smaller min_context_length, or a context_length"):
        forecaster.fit(Y, fh=FH)
    assert not read[True]
