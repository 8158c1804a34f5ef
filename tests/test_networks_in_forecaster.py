"""Every network through the forecaster: what it is given there, what it gives back."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import (
    AttentionLSTM,
    Seq2SeqLSTM,
    TemporalAttentionLSTM,
    TemporalFusionTransformer,
    Transformer,
    TransformerLSTM,
)

TINY = {
    "context_length": 7,
    "max_epochs": 1,
    "batch_size": 8,
    "max_windows_per_epoch": 16,
    "random_state": 0,
}
SMALL = {"d_model": 4, "num_heads": 2}
FEEDBACK = {"embedding_dim": 4, "hidden_size": 5, "decoding": "autoregressive"}
NETWORKS = {
    "TransformerLSTM": (TransformerLSTM, {**SMALL, "norm": "adaptive", "feedforward": "moe"}),
    "Transformer": (Transformer, {**SMALL, "norm_first": False}),
    "TemporalFusionTransformer": (TemporalFusionTransformer, SMALL),
    "AttentionLSTM": (AttentionLSTM, SMALL),
    "TemporalAttentionLSTM": (TemporalAttentionLSTM, {**SMALL, "score": "additive"}),
    "Seq2SeqLSTM": (Seq2SeqLSTM.small, {"embedding_dim": 4, "hidden_size": 5}),
    "autoregressive": (Seq2SeqLSTM, {**FEEDBACK, "teacher_forcing_ratio": 0.5}),
}
TAKES_STATIC = ["TransformerLSTM", "Transformer", "TemporalFusionTransformer"]


def panel(num_rows: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three series with a covariate of numbers, one of categories and two static ones."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=num_rows, freq="D", name="day")
    frames, covariates = {}, {}
    for number, shop in enumerate(["north", "south", "west"]):
        kind = np.where(rng.random(num_rows) < 0.5, "open", "sale")
        heat = rng.normal(size=num_rows)
        y = number + heat + 2 * (kind == "sale") + 0.1 * rng.normal(size=num_rows)
        frames[shop] = pd.DataFrame({"y": y}, days)
        covariates[shop] = pd.DataFrame(
            {"heat": heat, "kind": kind, "size": float(number), "region": shop[0]}, days
        )
    return pd.concat(frames, names=["shop"]), pd.concat(covariates, names=["shop"])


def days_of(frame, first, last):
    return frame.groupby(level=0, group_keys=False).apply(lambda rows: rows.iloc[first:last])


def tensors_of(net):
    return {name: tensor.clone() for name, tensor in net.module_.state_dict().items()}


@pytest.mark.filterwarnings("ignore:Got X with:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_lives_through_all_a_forecaster_does(name):
    network, options = NETWORKS[name]
    static = ["size", "region"] if name in TAKES_STATIC else None
    y, X = panel()
    X = X if static else X[["heat", "kind"]]
    forecaster = SkorchForecaster(network, options, static_covariates=static, **TINY)
    forecaster.fit(days_of(y, 0, 30), X=days_of(X, 0, 30), fh=[1, 2, 3])

    future = days_of(X, 30, 33)
    forecast = forecaster.predict(X=future)
    assert np.isfinite(forecast.to_numpy()).all()
    for column in X.columns.difference(["size"]):
        other = {"heat": 3.0, "kind": None, "region": "east"}[column]
        if column not in (static or []):  # a static covariate is that of fit
            changed = forecaster.predict(X=future.assign(**{column: other}))
            assert (changed != forecast).to_numpy().all()
    quantiles = forecaster.predict_quantiles(X=future, alpha=[0.1, 0.9]).to_numpy()
    assert (quantiles[:, 0] < quantiles[:, 1]).all()

    twins = [copy.deepcopy(forecaster), pickle.loads(pickle.dumps(forecaster)), forecaster]
    weights = tensors_of(forecaster.net_)
    later = []
    for twin in twins:
        pd.testing.assert_frame_equal(twin.predict(X=future), forecast)
        twin.update(days_of(y, 30, 36), X=days_of(X, 30, 36), update_params=True)
        assert any(not torch.equal(new, weights[k]) for k, new in tensors_of(twin.net_).items())
        later.append(twin.predict(X=days_of(X, 36, 39)))
        pd.testing.assert_frame_equal(later[-1], later[0])
    assert later[0].index.get_level_values(1).min() == pd.Timestamp("2024-02-06")


@pytest.mark.parametrize("name", TAKES_STATIC)
def test_static_covariates_reach_the_network_as_such(name):
    network, options = NETWORKS[name]
    y, X = panel()
    seen = []

    class Watched(network):
        def forward(self, *args, static=None, **keywords):
            if self.training:
                seen.append(static)
            return super().forward(*args, static=static, **keywords)

    forecaster = SkorchForecaster(Watched, options, static_covariates=["size", "region"], **TINY)
    forecaster.fit(y, X=X, fh=[1])
    width = forecaster.net_.module_.network.num_static_features
    assert width > 2  # the region as a vector
    assert {static.shape for static in seen} == {(8, width)}
    assert len(torch.cat(seen).detach().unique(dim=0)) >= 3


def straight(num_rows: int = 60) -> pd.Series:
    return pd.Series(np.arange(num_rows) % 7 + 0.25 * np.arange(num_rows), name="y")


def fit_feedback(loss, network=Seq2SeqLSTM, y=None, scaler="auto", **options):
    """Fit an autoregressive network of two targets, whose forecasts are its own."""
    y = pd.DataFrame({"a": straight(), "b": -2 * straight()}) if y is None else y
    settings = {"loss": loss, "scaler": scaler, "calibration": "none"}
    forecaster = SkorchForecaster(network, {**FEEDBACK, **options}, **settings, **TINY)
    return forecaster.fit(y, fh=[1, 2, 3])


def test_teacher_forcing_is_given_the_true_targets_in_training_alone():
    seen = []

    class Watched(Seq2SeqLSTM):
        def forward(self, past, future, past_lengths=None, future_lengths=None, *, target=None):
            seen.append((self.training, past, past_lengths, target))
            return super().forward(past, future, past_lengths, future_lengths, target=target)

    # Two straight lines: the truth goes on as the past ends, in whatever units a window has.
    lines = pd.DataFrame({"a": np.arange(60.0), "b": -2 * np.arange(60.0)})
    fit_feedback("quantile", Watched, lines, scaler="standard").predict()
    assert {(training, target is None) for training, *_, target in seen} == {
        (True, False),
        (False, True),
    }
    for past, lengths, target in [each[1:] for each in seen if each[0]]:
        assert lengths is None and target.shape == (8, 3, 2)
        before, last = past[:, -2:-1, :2], past[:, -1:, :2]
        assert ((last - before).abs() > 1e-3).all()
        ahead = last + torch.arange(1, 4)[:, None] * (last - before)
        torch.testing.assert_close(target, ahead, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_the_ratio_of_teacher_forcing_changes_what_is_learned(ratio):
    forced, mixed = (
        fit_feedback("quantile", teacher_forcing_ratio=given).predict() for given in (1.0, ratio)
    )
    assert (forced != mixed).to_numpy().all()


@pytest.mark.parametrize("loss", ["quantile", "mse", "normal", "student_t"])
def test_the_point_forecast_of_the_head_is_fed_back(loss):
    forecaster = fit_feedback(loss)
    network, head = forecaster.net_.module_.eval(), forecaster.net_.criterion_
    past, future = torch.randn(5, 6, network.widths[0]), torch.randn(5, 3, network.widths[1])
    state = network.init_state(past)
    torch.testing.assert_close(state.previous, past[:, -1, :2])
    with torch.no_grad():
        expected = network(past, future)
        for step in range(3):
            output, state = network.step(state, future[:, step])
            torch.testing.assert_close(output, expected[:, step], atol=1e-5, rtol=1e-5)
            point = head.point(head.unpack(output[:, None]))[:, 0]
            torch.testing.assert_close(state.previous, point, atol=0, rtol=0)


class Unbalanced(TransformerLSTM):
    """One whose experts are paid for being used alike, or not."""

    def __init__(self, *args, balance=1.0, **keywords):
        super().__init__(*args, **keywords)
        self.balance = balance

    def auxiliary_loss(self):
        return self.balance * super().auxiliary_loss()


def test_the_loss_of_the_experts_enters_training_and_not_validation():
    def losses(balance):
        forecaster = SkorchForecaster(
            Unbalanced,
            {**SMALL, "feedforward": "moe", "balance": balance},
            validation_fraction=0.3,
            lr=1e-9,
            weight_decay=0.0,
            **TINY,
        ).fit(straight(), fh=[1, 2])
        last = forecaster.net_.history[-1]
        return last["train_loss"], last["valid_loss"]

    (none, without), (once, with_it), (twice, _) = map(losses, (0.0, 1.0, 2.0))
    # Four experts used alike cost 0.01 each side of a block, and the router's a thousandth.
    assert 0.02 < once - none < 0.2
    assert twice - once == pytest.approx(once - none, rel=1e-3)
    assert with_it == pytest.approx(without, abs=1e-6)


def test_weights_can_be_read_from_the_fitted_network():
    y, X = panel()
    forecaster = SkorchForecaster(
        TemporalFusionTransformer, SMALL, static_covariates=["size", "region"], **TINY
    ).fit(y, X=X, fh=[1, 2, 3])
    module = forecaster.net_.module_.eval()
    spec = module.embedding
    past_width = module.network.widths[0] - spec.widths(0, 0)[0]
    future_width = module.network.widths[1] - spec.widths(0, 0)[1]
    static_width = module.network.num_static_features - spec.static_width(0)
    inputs = torch.randn(2, 6, past_width), torch.randn(2, 3, future_width)
    static = torch.randn(2, static_width)
    weights = module.attention_weights(*inputs, static=static)
    assert weights.shape == (2, 2, 3, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 3))
    selected = module.selection_weights(*inputs, static=static)
    for part, width in zip(
        selected, (*module.network.widths, module.network.num_static_features), strict=True
    ):
        assert part.shape[-1] == width
        torch.testing.assert_close(part.sum(-1), torch.ones(part.shape[:-1]))


def test_attention_weights_can_be_read_from_the_flagship():
    forecaster = TransformerLSTMForecaster(**SMALL, **TINY).fit(straight(), fh=[1, 2, 3])
    module = forecaster.net_.module_.eval()
    past, future = torch.randn(2, 6, module.widths[0]), torch.randn(2, 3, module.widths[1])
    assert module.attention_weights(past, future).shape == (2, 2, 3, 9)
