"""A parameter that is assigned after ``pretrain`` acts or is refused, and is never passed over."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import AttentionLSTM, PointHead, QuantileHead, TransformerLSTM
from sktime_tlstm.options import ACTING_AFTER_PRETRAINING, CONSTRAINTS

INDEX = pd.date_range("2021-01-04", periods=40, freq="D")
Y = pd.Series(np.sin(np.arange(40) / 2), INDEX)
PANEL = pd.concat({"a": Y[:30].to_frame("y"), "b": -Y[:25].to_frame("y")})
TINY = {
    "d_model": 4,
    "num_heads": 2,
    "context_length": 5,
    "prediction_length": 3,
    "max_epochs": 1,
    "max_windows_per_epoch": 16,
    "num_samples": 4,
    "random_state": 0,
}


class Kicker(Callback):
    """Moves the weights at the end of a training."""

    def on_train_end(self, net, **kwargs):
        for parameter in net.module_.parameters():
            parameter.data += 0.1


# A value unlike the one of pretraining for every parameter of the flagship.
BUILT_IN = {
    "mode": "simulation",
    "context_length": 7,
    "prediction_length": 4,
    "past_covariates": ["a"],
    "hidden_past": ["a"],
    "static_covariates": ["a"],
    "series_embedding": True,
    "time_features": ("weekend",),
    "target_lags": (2,),
    "scaler": "minmax",
    "window_norm": "mean",
    "loss": "mse",
    "quantiles": (0.3, 0.7),
    "weight_column": "a",
    "calibration": "none",
    "optimizer": "sgd",
    "weight_decay": 0.1,
    "lr_schedule": "cosine",
    "validation_fraction": 0.2,
    "validation_series": ["a"],
    "patience": 1,
    "num_members": 2,
    "net_params": {"iterator_train__drop_last": True},
    "device": "cpu",
    "precision": "bf16-mixed",
    "compile": True,
    "d_model": 8,
    "num_layers": 2,
    "num_transformer_blocks": 2,
    "num_heads": 4,
    "dropout": 0.1,
    "causal_attention": True,
    "attention": "interpretable",
    "num_modes": 8,
    "encoder_attention": True,
    "share_lstm_weights": True,
    "trainable_add": True,
    "norm": "rms",
    "norm_first": True,
    "final_norm": True,
    "feedforward": "gelu",
    "dim_feedforward": 6,
    "num_experts": 3,
    "experts_per_token": 1,
    "capacity_factor": 1.5,
    "expert": "swiglu",
    "attention_kernel": "math",
    "share_layers": True,
    "gradient_checkpointing": True,
}
#: What else must be set for a value to be right by itself.
TOGETHER = {
    "num_modes": {"attention": "frequency"},
    "dim_feedforward": {"feedforward": "gelu"},
    "num_experts": {"feedforward": "moe"},
    "experts_per_token": {"feedforward": "moe"},
    "capacity_factor": {"feedforward": "moe"},
    "expert": {"feedforward": "moe"},
}
# Those that act, with values that change the forecast of a fit.
ACTING = {
    "window_sampling": "uniform",
    "max_windows_per_epoch": 40,
    "step_weights": (0, 0, 5),
    "input_noise": 0.5,
    "min_context_length": 2,
    "batch_size": 5,
    "lr": 0.03,
    "gradient_clip": 1e-4,
    "finetune_epochs": 3,
    "callbacks": [Kicker()],
    "random_state": 5,
}
#: And what others of them change, tested below.
ACTING_ELSEWHERE = {"checkpoint_dir", "num_samples", "update_epochs", "max_epochs", "verbose"}


def make(**parameters):
    return TransformerLSTMForecaster(**{**TINY, **parameters})


@pytest.fixture(scope="module")
def pretrained():
    return make().pretrain(PANEL)


def test_every_parameter_has_a_case():
    names = set(inspect.signature(TransformerLSTMForecaster).parameters)
    assert names == set(BUILT_IN) | set(ACTING) | ACTING_ELSEWHERE
    assert set(ACTING) | ACTING_ELSEWHERE == ACTING_AFTER_PRETRAINING
    assert set(CONSTRAINTS) >= ACTING_AFTER_PRETRAINING


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_the_network_is_built_from_is_refused_by_name(name, pretrained):
    forecaster = make(**TOGETHER.get(name, {})).pretrain(PANEL) if name in TOGETHER else None
    forecaster = forecaster or pretrained.clone()
    before = getattr(forecaster, name)
    setattr(forecaster, name, BUILT_IN[name])
    with pytest.raises(ValueError) as error:
        forecaster.fit(Y)
    line = f"Got {name}={BUILT_IN[name]!r}, but the network was pretrained with {before!r}"
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
    setattr(forecaster, name, before)
    assert forecaster.fit(Y).predict([1]).notna().all()


@pytest.mark.parametrize("name", ACTING)
def test_what_trains_on_acts(name, pretrained):
    panel = pd.concat({"c": Y.to_frame("y"), "d": Y[:12].to_frame("y") + 1})
    usual, other = pretrained.clone(), pretrained.clone()
    setattr(other, name, ACTING[name])
    forecasts = [own.fit(panel).predict([1, 2]) for own in (usual, other)]
    assert not forecasts[0].equals(forecasts[1])


def test_updates_sample_paths_and_progress_follow_what_is_assigned(pretrained, capsys):
    usual, other = pretrained.clone().fit(Y[:35]), pretrained.clone()
    other.num_samples, other.update_epochs, other.verbose = 7, 0, 1
    other.fit(Y[:35])
    assert "fine-tuning: " in capsys.readouterr().err
    assert len(other.predict_samples([1])) == 7
    before = other.predict([6])
    assert not np.isclose(usual.predict_quantiles([9], alpha=0.2).iloc[0, 0], 0)
    other.update(Y[35:])
    assert len(other.net_.history) == len(usual.net_.history)
    usual.update(Y[35:])
    assert len(usual.net_.history) == len(other.net_.history) + 1
    assert len(before) == 1


def test_a_second_pretraining_takes_its_own_number_of_epochs_and_refuses_another_network():
    forecaster = make().pretrain(PANEL)
    trained = len(forecaster.pretrained_model_.members[0].history)
    forecaster.max_epochs = 3
    forecaster.pretrain(PANEL)
    assert len(forecaster.pretrained_model_.members[0].history) == trained + 3
    forecaster.num_layers = 2
    with pytest.raises(ValueError, match="Got num_layers=2, but the network was pretrained with 1"):
        forecaster.pretrain(PANEL)


def test_all_changes_are_named_at_once(pretrained):
    forecaster = pretrained.clone()
    forecaster.d_model, forecaster.loss = 8, "mae"
    with pytest.raises(ValueError) as error:
        forecaster.fit(Y)
    lines = str(error.value).split("\n")
    assert sorted(line.split("=")[0] for line in lines) == ["Got d_model", "Got loss"]


def test_held_out_errors_serve_both_kinds_of_calibration():
    forecaster = make(calibration="conformal").pretrain(PANEL)
    forecaster.calibration = "adaptive"
    forecaster.fit(Y[:30])
    before = forecaster._fitted.model.calibration
    forecaster.update(Y[30:])
    assert forecaster._fitted.model.calibration is not before
    forecaster.calibration = "none"
    with pytest.raises(ValueError, match="Got calibration='none', but the network was pretrained"):
        forecaster.fit(Y)


def test_lists_changed_in_place_are_noticed_and_equal_values_are_the_same(pretrained):
    forecaster = make(quantiles=[0.2, 0.8]).pretrain(PANEL)
    forecaster.quantiles[0] = 0.3
    with pytest.raises(ValueError, match=r"Got quantiles=\[0.3, 0.8\].*pretrained with \[0.2, 0.8"):
        forecaster.fit(Y)
    forecaster.quantiles = [np.float64(0.2), 0.8]
    forecaster.fit(Y)


@pytest.mark.parametrize("loss", [PointHead("mae"), QuantileHead((0.3, 0.5, 0.6))])
def test_heads_are_the_same_in_clones_and_files_and_others_are_refused(loss):
    forecaster = make(loss=loss).pretrain(PANEL)
    for twin in (forecaster.clone(), pickle.loads(pickle.dumps(forecaster))):
        assert twin.loss is not loss
        twin.fit(Y)
        twin.loss = QuantileHead((0.25, 0.5, 0.6))
        with pytest.raises(ValueError, match="Got loss=QuantileHead"):
            twin.fit(Y)


def test_another_network_is_refused():
    settings = {key: value for key, value in TINY.items() if key not in ("d_model", "num_heads")}
    own = {"d_model": 4, "num_heads": 2}
    forecaster = SkorchForecaster(TransformerLSTM, own, **settings).pretrain(PANEL)
    forecaster.clone().fit(Y)
    for name, value in [("module", AttentionLSTM), ("module_params", {**own, "dropout": 0.1})]:
        twin = forecaster.clone()
        setattr(twin, name, value)
        with pytest.raises(ValueError, match=f"Got {name}=.*but the network was pretrained with"):
            twin.fit(Y)


def test_set_params_starts_over(pretrained):
    forecaster = pretrained.clone().set_params(d_model=8)
    assert forecaster.fit(Y).net_.get_params()["module__d_model"] == 8


def test_sample_paths_after_pretraining_follow_the_random_state_of_fit():
    pretrained = TransformerLSTMForecaster(**{**TINY, "finetune_epochs": 0}).pretrain(PANEL)
    drawn = []
    for seed in (11, 12, 11):
        pretrained.random_state = seed
        drawn.append(pretrained.fit(Y).predict_samples(fh=[1, 2]).to_numpy())
    assert not np.allclose(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
