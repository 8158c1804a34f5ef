"""A step in parts is the step of the whole batch, whatever the parts and their targets."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import TransformerLSTM
from tests.setups import NETWORK, tiny

RNG = np.random.default_rng(4)
Y = pd.Series(RNG.normal(size=60).cumsum(), name="y")
#: Windows differ in how many targets they have: a short series, and one with gaps.
RAGGED = pd.concat(
    {"long": Y, "short": Y[:3] + 4, "gaps": Y[:30].where(Y[:30].index % 4 != 2)}
).to_frame()
WEIGHTS = pd.DataFrame({"w": RNG.integers(0, 3, len(RAGGED))}, RAGGED.index)
FH = [1, 2, 3, 4]
#: 23 windows, of which a step takes 8 and the last one 7.
TAILED = {"context_length": 6, "batch_size": 8, "max_windows_per_epoch": 23, "max_epochs": 3}
#: Rounding would decide where Adam moves a weight that has hardly any gradient.
STEADY = {"optimizer__eps": 1e-2}

CALLS = {
    "usual": {},
    "members": {"num_members": 2},
    "weights": {"weight_column": "w", "step_weights": [1, 0, 2, 5]},
    "counts": {"loss": "negative_binomial"},
    "weighted counts": {"loss": "poisson", "weight_column": "w"},
    "mean squares": {"loss": "mse", "calibration": "none", "gradient_clip": 0.01},
    "cosine": {"lr_schedule": "cosine", "optimizer": "sgd", "lr": 0.1, "net_params": {}},
    "a simulation": {"mode": "simulation", "prediction_length": 4},
    "no whole part": {"net_params": {"iterator_train__drop_last": True, **STEADY}},
}


def fitted(size, loss="quantile", net_params=None, **parameters):
    net_params = {**(STEADY if net_params is None else net_params), "micro_batch_size": size}
    forecaster = tiny(**{**TAILED, "loss": loss, "net_params": net_params, **parameters})
    y = RAGGED.abs().round() if loss in ("poisson", "negative_binomial") else RAGGED
    X = WEIGHTS if "weight_column" in parameters else None
    if "mode" in parameters:
        X = WEIGHTS.rename(columns={"w": "u"})
    return forecaster.fit(y, X=X, fh=FH)


def weights(forecaster):
    parts = [net.module_.state_dict().values() for net in forecaster.members_]
    return torch.cat([tensor.reshape(-1) for part in parts for tensor in part]).numpy()


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("call", CALLS)
def test_a_step_in_parts_is_that_of_the_whole_batch(call, size):
    whole, parts = fitted(None, **CALLS[call]), fitted(size, **CALLS[call])
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=1e-3, atol=2e-5)
    columns = ["member", "stage", "epoch", "train_loss", "train_mae", "lr"]
    left, right = (one.history_[columns] for one in (parts, whole))
    pd.testing.assert_frame_equal(left, right, rtol=1e-4)


def test_these_batches_tell_shares_of_targets_from_shares_of_windows(monkeypatch):
    whole = weights(fitted(None))
    moved = weights(fitted(3))
    everything = lambda target, weight=None: torch.ones_like(target, dtype=torch.bool)  # noqa: E731
    monkeypatch.setattr("sktime_tlstm.net.counted_targets", everything)
    wrong = weights(fitted(3))
    assert np.abs(wrong - whole).max() > 100 * np.abs(moved - whole).max()


class Sizes(TransformerLSTM):
    """Keeps how many windows go through at once in training."""

    seen = []

    def forward(self, past, future, past_lengths=None):
        if self.training:
            self.seen.append(len(past))
        return super().forward(past, future, past_lengths)


class Steps(Callback):
    """Keeps how many windows a step has, and how often gradients are ready."""

    seen = []

    def on_grad_computed(self, net, named_parameters, batch=None, training=None, **kwargs):
        self.seen.append("gradients")

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        if training:
            assert kwargs["y_pred"].shape[:2] == (len(batch[0]["past"]), len(FH))
            self.seen.append(len(batch[0]["past"]))


def test_parts_go_through_the_network_and_callbacks_see_steps():
    Sizes.seen.clear(), Steps.seen.clear()
    settings = {**TAILED, "max_epochs": 1, "calibration": "none", "random_state": 0}
    forecaster = SkorchForecaster(
        Sizes,
        NETWORK,
        callbacks=[Steps()],
        net_params={"micro_batch_size": np.int64(3)},
        **settings,
    ).fit(Y, fh=FH)
    assert Sizes.seen == [3, 3, 2, 3, 3, 2, 3, 3, 1]
    assert Steps.seen == ["gradients", 8, "gradients", 8, "gradients", 7]
    assert forecaster.net_.steps_ == 3
    assert len(forecaster.net_.optimizer_.state_dict()["state"]) > 0


def test_an_optimizer_that_evaluates_a_step_again_is_served():
    lbfgs = {"optimizer": torch.optim.LBFGS, "optimizer__max_iter": 3}
    settings = {"net_params": lbfgs, "lr": 0.1, "max_epochs": 1, "calibration": "none"}
    whole, parts = fitted(None, **settings), fitted(3, **settings)
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=1e-2, atol=1e-3)


def test_what_a_network_adds_to_its_loss_is_added_by_shares():
    class Penalised(TransformerLSTM):
        def auxiliary_loss(self):
            return 0.1 * sum(weight.square().sum() for weight in self.parameters())

    def run(size):
        settings = {**TAILED, "calibration": "none", "random_state": 0}
        net_params = {"micro_batch_size": size, **STEADY}
        network = {**NETWORK, "dropout": 0.0}
        return SkorchForecaster(Penalised, network, net_params=net_params, **settings).fit(Y, fh=FH)

    np.testing.assert_allclose(weights(run(3)), weights(run(None)), rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "8"])
def test_what_is_no_number_of_windows_is_refused_before_training(size):
    forecaster = TransformerLSTMForecaster(net_params={"micro_batch_size": size})
    with pytest.raises(ValueError, match=r"micro_batch_size=.*expected an integer of at least 1"):
        forecaster.fit(Y, fh=FH)
