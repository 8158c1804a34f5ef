"""sktime's own suite: zero failures, zero exclusions, every capability claimed."""

import pytest
from sktime.utils.estimator_checks import check_estimator, parametrize_with_checks

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import (
    AttentionLSTM,
    Seq2SeqLSTM,
    TemporalAttentionLSTM,
    TemporalFusionTransformer,
    Transformer,
)
from tests.setups import TRAINING

FORECASTERS = [SkorchForecaster, TransformerLSTMForecaster]

CAPABILITIES = [
    "categorical_in_X",
    "exogenous",
    "insample",
    "missing_values",
    "multivariate",
    "non_contiguous_X",
    "pred_int",
    "pred_int:insample",
    "pretrain",
    "random_state",
    "unequal_length",
    "update",
]

# The network and training of these sets is as small as that of `get_test_params`.
TINY = {**TRAINING, "max_windows_per_epoch": 8, "num_samples": 4}
NETWORKS = {
    "a direct Seq2SeqLSTM": (
        Seq2SeqLSTM.small,
        {"embedding_dim": 4, "hidden_size": 4, "num_layers": 2},
    ),
    "an autoregressive Seq2SeqLSTM": (
        Seq2SeqLSTM,
        {
            "embedding_dim": 4,
            "hidden_size": 4,
            "decoding": "autoregressive",
            "teacher_forcing_ratio": 0.5,
        },
    ),
    "an additive TemporalAttentionLSTM": (
        TemporalAttentionLSTM,
        {"d_model": 4, "score": "additive", "wiring": "concat", "bidirectional": True},
    ),
    "a hierarchical TemporalAttentionLSTM": (
        TemporalAttentionLSTM,
        {"d_model": 4, "score": "general", "hierarchical": True},
    ),
    "a Transformer by frequencies": (
        Transformer,
        {"d_model": 4, "num_heads": 2, "attention": "frequency", "causal_attention": False},
    ),
    "a causal Transformer with experts": (
        Transformer,
        {"d_model": 4, "num_heads": 2, "positions": "rotary", "feedforward": "moe", "norm": "rms"},
    ),
    "a TemporalFusionTransformer": (TemporalFusionTransformer, {"d_model": 4, "num_heads": 2}),
}
FURTHER = {
    "every network option": TransformerLSTMForecaster(
        d_model=4,
        num_heads=1,
        num_transformer_blocks=2,
        dropout=0.1,
        causal_attention=True,
        attention="interpretable",
        encoder_attention=True,
        context_length=1,
        **TINY,
    ),
    "one adaptive block, twice": TransformerLSTMForecaster(
        d_model=4,
        num_heads=2,
        num_transformer_blocks=2,
        share_layers=True,
        norm="adaptive",
        feedforward="swiglu",
        **TINY,
    ),
    "checkpointed experts": TransformerLSTMForecaster(
        d_model=4,
        num_heads=2,
        norm_first=True,
        final_norm=True,
        feedforward="moe",
        capacity_factor=1.5,
        trainable_add=True,
        gradient_checkpointing=True,
        **TINY,
    ),
    **{name: SkorchForecaster(*network, **TINY) for name, network in NETWORKS.items()},
    "an ensemble of means": TransformerLSTMForecaster(
        d_model=4, num_heads=2, num_members=2, loss="mse", window_sampling="uniform", **TINY
    ),
    "validation and plain scaling": SkorchForecaster(
        AttentionLSTM,
        {"d_model": 4, "num_heads": 1, "num_layers": 1, "use_gating": False},
        loss="huber",
        scaler=None,
        target_lags=(2,),
        validation_fraction=0.2,
        lr_schedule=None,
        precision="bf16-mixed",
        **TINY,
    ),
    **{
        f"a {loss} distribution": TransformerLSTMForecaster(
            d_model=4, num_heads=2, loss=loss, scaler=scaler, calibration=calibration, **TINY
        )
        for loss, scaler, calibration in [
            ("normal", "robust", "none"),
            ("student_t", "auto", "adaptive"),
            ("laplace", "standard", "conformal"),
            ("log_normal", "auto", "none"),
            ("gamma", None, "none"),
        ]
    },
}


# sktime asks for some steps and passes X for these alone, which networks that look ahead warn of.
SHORT_X = pytest.mark.filterwarnings("ignore:Got X without:UserWarning")


@pytest.mark.contract
@SHORT_X
@parametrize_with_checks(FORECASTERS)
def test_forecaster_passes_sktimes_suite(obj, test_name):
    check_estimator(obj, tests_to_run=test_name, raise_exceptions=True, verbose=False)


# The suite's y are positive, but for this one test, whose y is 0, 1, 2, ... They are no whole
# numbers, so that no set of a head of counts can pass; tests/test_probabilistic.py covers these.
ZERO_IN_Y = "test_update_with_exogenous_variables"
POSITIVE = ("a log_normal distribution", "a gamma distribution")


@pytest.mark.contract_extra
@SHORT_X
@pytest.mark.parametrize("name", FURTHER)
@parametrize_with_checks(TransformerLSTMForecaster)
def test_further_parameter_sets_pass_sktimes_suite(obj, test_name, name):
    if name in POSITIVE and test_name == ZERO_IN_Y:
        pytest.skip("its y is outside the head's support")
    check_estimator(FURTHER[name], tests_to_run=test_name, raise_exceptions=True, verbose=False)


@pytest.mark.parametrize("forecaster", FORECASTERS)
def test_every_capability_is_claimed(forecaster):
    tags = forecaster.create_test_instance().get_tags()
    claimed = {name for name, value in tags.items() if name[:11] == "capability:" and value is True}
    assert claimed >= {f"capability:{name}" for name in CAPABILITIES}
    assert tags["requires-fh-in-fit"] is False
