import dataclasses
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import AttentionLSTM, PointHead, TransformerLSTM
from sktime_tlstm.options import CONSTRAINTS, Options, check_parameters, plain, resolve_device

FORECASTERS = [SkorchForecaster, TransformerLSTMForecaster]
NAN, INF = math.nan, math.inf

# For every parameter values that are right, values out of range, and values of a wrong type.
CASES = {
    "mode": (["forecast", "simulation"], ["simulate"], [None, True]),
    "context_length": ([None, 1, np.int64(7), 100_000], [0, -3, 100_001], [1.0, "7", True]),
    "prediction_length": ([None, 1, 24], [0, 10**9, np.int64(10**12)], [2.5, [3]]),
    "window_sampling": (["by_series", "uniform"], ["by_window"], [None, 3]),
    "max_windows_per_epoch": ([None, 1, 2560], [0], ["2560", 1e3]),
    "past_covariates": ([None, [], ["a"], ("a", 3)], [["b", "a", "b"], (3, 3), [[]]], ["a", 3]),
    "static_covariates": ([None, [], ["a"], ("a", 3)], [("c", "c")], ["a", 3]),
    "series_embedding": ([True, False], [], [None, 1, "yes"]),
    "hidden_past": ([None, ["a"], ("a", 3)], [["a", "a"]], ["a", 3]),
    "time_features": (
        ["auto", (), ["weekend"]],
        ["weekend", "", ["noon"], ["weekend"] * 2],
        [None, 3],
    ),
    "target_lags": (
        ["auto", (), (3, 7), [np.int32(2)]],
        ["week", (0,), (3, -1), (7, 3, 7), [2, np.int64(2)], (10**9,)],
        [7, (2.5,), None],
    ),
    "scaler": ([None, "auto", "robust_arcsinh", "robust", "standard", "minmax"], ["z"], [1, False]),
    "window_norm": ([None, "mean", "meanstd"], ["std"], [1]),
    "loss": (["quantile", "mse", "mae", "huber", PointHead("mae")], ["rmse"], [None, PointHead]),
    "quantiles": (
        [None, (0.1, 0.9), [0.25, 0.5, 0.75]],
        [(), (0.5,), (0.9, 0.1), (0.5, 0.5), (0.0, 0.5), (0.5, 1), (0.1, NAN)],
        [0.5, "0.1", ("a", "b")],
    ),
    "weight_column": ([None, "w", 3, ("a", "b")], [], [["w"], {}, True, 0.5]),
    "step_weights": (
        [None, (1, 2, 3), [0, 0.5], [np.float32(2)]],
        [(), [0, 0.0], (1, -1), [1, NAN], [1, INF]],
        ["linear", 3, ["a"], [None], np.ones(3)],
    ),
    "calibration": (["none", "conformal", "adaptive"], ["split"], [None, True]),
    "num_samples": ([2, 200], [1, 0], [None, 2.0, np.timedelta64(7)]),
    "input_noise": ([0, 0.0, 0.1, np.float32(1)], [-0.1, NAN, INF], [None, True, "0.1"]),
    "min_context_length": ([None, 1, np.int64(8)], [0, -1, 10**9], [2.5, True, "8"]),
    "max_epochs": ([0, 1, 10], [-1], [None, 1.5]),
    "batch_size": ([1, 64], [0, -1], [None, "64"]),
    "lr": ([1e-9, 1, 2e-3, np.float32(0.1)], [0, -1.0, NAN, INF], [None, "fast", True]),
    "optimizer": (["adamw", "adam", "sgd"], ["lion"], [None, torch.optim.Adam]),
    "weight_decay": ([None, 0, 0.0, 0.3], [-0.1, NAN, INF], ["0", [0.1]]),
    "gradient_clip": ([None, 0.5, 1], [0, -1, NAN], ["1", False]),
    "lr_schedule": ([None, "onecycle", "cosine"], ["step"], [1]),
    "validation_fraction": ([None, 0, 0.1, 0.99], [1.0, -0.1, NAN], ["0.1", True]),
    "validation_series": ([None, ["a"], (("a", 3), "b")], [[], ["a", "a"], [["a"]]], ["a", 3]),
    "patience": ([None, 1], [0], [1.5]),
    "finetune_epochs": ([0, 3], [-1], [None, 0.5]),
    "update_epochs": ([0, 3], [-1], [None, 0.5]),
    "num_members": ([1, 3], [0], [None, 1.0]),
    "update_every": ([None, 1], [0], [1.5, "week"]),
    "num_windows": ([2, 100], [1], [None, 1.5]),
    "num_repeats": ([1, 5], [0], [None, 1.5]),
    "callbacks": (
        [None, [], [Callback()], [Callback], (("mine", Callback()),)],
        [[("progress", Callback())]],
        [Callback(), [3], [("mine", 3)], [(3, Callback())]],
    ),
    "net_params": (
        [None, {}, {"iterator_train__num_workers": 2}],
        [{"lr": 0.1}, {"callbacks": []}, {"module": None}],
        [[], 3, {3: 3}],
    ),
    "device": (["auto", "cpu", "cuda:1"], [], [None, 0]),
    "precision": (["auto", "float32", "bf16-mixed"], ["float16"], [None, 32]),
    "compile": ([True, False, np.True_], [], [None, 1, "yes"]),
    "random_state": ([None, 0, 2**32 - 1, np.random.RandomState(0)], [-1, 2**32], [0.5, "0"]),
    "checkpoint_dir": ([None, "folder", Path("folder")], ["", __file__], [3, ("a",)]),
    "verbose": ([0, 1, 2, True, False], [3, -1], [None, 1.0]),
    "module": ([AttentionLSTM, lambda **params: None], [], [None, "lstm", torch.nn.Linear(2, 3)]),
    "module_params": ([None, {}, {"d_model": 8}], [{"output_dim": 3}], [[], {3: 3}]),
    "d_model": ([1, 64], [0], [None, 64.0]),
    "num_layers": ([1], [0], [None, 1.0]),
    "num_transformer_blocks": ([0, 1], [-1], [None, 1.0]),
    "num_heads": ([1, 2], [0], [None, 2.0]),
    "dropout": ([0, 0.0, 0.9], [1.0, -0.1, NAN], [None, "0"]),
    "causal_attention": ([True, False], [], [None, 1]),
    "attention": (["interpretable", "multi_head", "frequency"], ["linear"], [None, 3]),
    "num_modes": ([2, 64], [1, 0], [None, 8.0]),
    "encoder_attention": ([True, False], [], [None, 0]),
    "share_lstm_weights": ([True, False], [], [None, "no"]),
    "trainable_add": ([True, False], [], [None, 1]),
    "norm": (["layer", "rms", "adaptive"], ["batch"], [None, True]),
    "norm_first": ([True, False], [], [None, 0]),
    "final_norm": ([True, False], [], [None, "layer"]),
    "feedforward": ([None, "relu", "gelu", "silu", "swiglu", "moe"], ["tanh"], [False, 4]),
    "dim_feedforward": ([None, 1, 64], [0], [16.0, "wide"]),
    "num_experts": ([1, 8], [0], [None, 4.0]),
    "experts_per_token": ([1, 2], [0], [None, 1.5]),
    "capacity_factor": ([None, 0.5, 2], [0, -1.0, NAN, INF], ["1", True]),
    "expert": (["relu", "gelu", "silu", "swiglu"], ["moe"], [None, 1]),
    "attention_kernel": (["auto", "flash", "memory_efficient", "math"], ["cudnn"], [None, True]),
    "share_layers": ([True, False], [], [None, 2]),
    "gradient_checkpointing": ([True, False], [], [None, 1]),
}


#: The options of mixtures of experts, and of feed-forward layers, by default.
ROUTING = {
    "dim_feedforward": None,
    "num_experts": 4,
    "experts_per_token": 2,
    "capacity_factor": None,
    "expert": "gelu",
}


def readable(value):
    """Return the representation without addresses, which differ between test workers."""
    return re.sub(" at 0x[0-9a-fA-F]+", "", repr(value))


def values(kind):
    return [
        pytest.param(name, value, id=f"{name}={readable(value):.40}")
        for name, case in CASES.items()
        for value in case[kind]
    ]


@pytest.mark.parametrize(("name", "value"), values(0))
def test_right_values_pass(name, value):
    check_parameters({name: value})


@pytest.mark.parametrize(("name", "value"), values(1))
def test_values_out_of_range_are_value_errors_that_name_what_was_expected(name, value):
    with pytest.raises(ValueError) as error:
        check_parameters({name: value})
    assert str(error.value) == f"Got {name}={readable(value)}, expected {CONSTRAINTS[name].words}."


@pytest.mark.parametrize(("name", "value"), values(2))
def test_values_of_a_wrong_type_are_type_errors_that_name_what_was_expected(name, value):
    with pytest.raises(TypeError) as error:
        check_parameters({name: value})
    assert str(error.value) == f"Got {name}={readable(value)}, expected {CONSTRAINTS[name].words}."


@pytest.mark.parametrize("forecaster", FORECASTERS)
def test_every_parameter_has_a_constraint_that_its_default_meets(forecaster):
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(forecaster).parameters.items()
        if name != "module"
    }
    assert set(defaults) <= set(CONSTRAINTS)
    check_parameters(defaults)


def test_every_constraint_is_of_a_parameter_and_has_its_cases_here():
    names = [set(inspect.signature(forecaster).parameters) for forecaster in FORECASTERS]
    of_methods = {"update_every", "num_windows", "num_repeats"}
    assert set.union(*names, of_methods) == set(CONSTRAINTS)
    assert set(CASES) == set(CONSTRAINTS)


def test_all_faults_are_named_at_once_each_on_its_line():
    with pytest.raises(ValueError) as error:
        check_parameters({"lr": -1, "batch_size": 64, "dropout": "much", "optimizer": "lion"})
    lines = str(error.value).split("\n")
    assert [line.split("=")[0] for line in lines] == ["Got lr", "Got dropout", "Got optimizer"]
    assert lines[0] == "Got lr=-1, expected a positive finite number."


def test_faults_of_type_alone_are_a_type_error():
    with pytest.raises(TypeError, match=r"Got lr='fast'(.|\n)*Got dropout='much'"):
        check_parameters({"lr": "fast", "dropout": "much"})


@pytest.mark.parametrize(
    ("d_model", "num_heads", "advice"), [(10, 4, "d_model=8"), (3, 4, "d_model=4")]
)
def test_the_width_is_a_multiple_of_the_heads(d_model, num_heads, advice):
    check_parameters({"d_model": 12, "num_heads": 4})
    with pytest.raises(
        ValueError, match=f"Got d_model={d_model} with num_heads={num_heads}.*"
    ) as e:
        check_parameters({"d_model": d_model, "num_heads": num_heads})
    assert f"Take for instance {advice}." in str(e.value)


@pytest.mark.parametrize(
    ("right", "broken", "words"),
    [
        (
            {"num_experts": 3, "experts_per_token": 3},
            {"num_experts": 3, "experts_per_token": 4},
            "Got experts_per_token=4 with num_experts=3.*instance experts_per_token=3",
        ),
        (
            {"min_context_length": 8, "context_length": 8},
            {"min_context_length": 9, "context_length": 8},
            "Got min_context_length=9 with a context of 8 rows, expected at most.*Pass a smaller",
        ),
        (
            {"hidden_past": ["a"], "past_covariates": ["b"]},
            {"hidden_past": ["a", "c"], "past_covariates": ["b", "c"]},
            r"Got the columns \['c'\] in hidden_past and in past_covariates.*Leave them out of X",
        ),
        (
            {"attention": "frequency", "causal_attention": False},
            {"attention": "frequency", "causal_attention": True},
            "Got attention='frequency' with causal_attention=True.*mixes the whole sequence.*Pass",
        ),
        (
            {"attention": "frequency", "num_modes": 8},
            {"attention": "multi_head", "num_modes": 8},
            "Got num_modes=8 with attention='multi_head'; expected the default, 32.*Pass",
        ),
        *(
            (
                {**ROUTING, "feedforward": "moe", option: value},
                {**ROUTING, "feedforward": kind, option: value},
                f"Got {option}={value} with feedforward={kind!r}; expected the default.*leave",
            )
            for kind, option, value in [
                (None, "dim_feedforward", 64),
                ("gelu", "num_experts", 3),
                ("swiglu", "experts_per_token", 1),
                (None, "capacity_factor", 0.5),
            ]
        ),
    ],
)
def test_parameters_that_exclude_one_another_are_named_together(right, broken, words):
    check_parameters(right)
    with pytest.raises(ValueError, match=words):
        check_parameters(broken)


def test_all_broken_relations_are_named_at_once_but_only_of_right_parameters():
    broken = {"d_model": 5, "num_heads": 2, "num_experts": 1, "experts_per_token": 2}
    with pytest.raises(ValueError) as error:
        check_parameters(broken)
    lines = str(error.value).split("\n")
    assert [line.split("=")[0] for line in lines] == ["Got d_model", "Got experts_per_token"]
    with pytest.raises(TypeError, match=r"^Got num_heads='2', expected an integer[^\n]*$"):
        check_parameters({**broken, "num_heads": "2"})


# Options.


def test_options_are_the_shared_parameters_but_for_network_and_random_state():
    shared = set(inspect.signature(SkorchForecaster).parameters)
    assert {field.name for field in dataclasses.fields(Options)} == shared - {
        "module",
        "module_params",
        "random_state",
    }


@pytest.mark.parametrize("forecaster", FORECASTERS)
def test_options_hold_the_parameters_and_cannot_be_written_to(forecaster):
    parameters = {**forecaster(None).get_params(), "module": AttentionLSTM, "lr": 0.013}
    options = Options.checked(parameters)
    for field in dataclasses.fields(options):
        assert getattr(options, field.name) == parameters[field.name]
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.finetune_epochs = 11


def test_options_are_refused_for_any_parameter_at_fault_the_networks_included():
    parameters = TransformerLSTMForecaster(d_model=9, num_heads=6).get_params()
    with pytest.raises(ValueError, match="Got d_model=9 with num_heads=6"):
        Options.checked(parameters)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int16(7), 7),
        (np.uint64(2**40), 2**40),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("mse"), "mse"),
        ([np.int64(3), "a", None], [3, "a", None]),
        ((np.float64(0.25), 0.75), (0.25, 0.75)),
        ({"width": np.int8(5), "sizes": [(np.int32(2),)]}, {"width": 5, "sizes": [(2,)]}),
    ],
    ids=repr,
)
def test_numbers_of_numpy_become_pythons_within_containers_too(value, expected):
    def kinds(item):
        if isinstance(item, dict):
            return {key: kinds(own) for key, own in item.items()}
        return [*map(kinds, item)] if isinstance(item, (list, tuple)) else type(item)

    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    assert kinds(found) == kinds(expected)


def test_what_is_no_number_is_the_same_object():
    values = [PointHead("mae"), AttentionLSTM, Callback(), np.arange(3), None, "auto"]
    assert all(plain(value) is value for value in values)
    assert all(one is other for one, other in zip(plain(values), values, strict=True))


def numpys(value):
    """Return a value with numpy's numbers in the place of Python's, also within containers."""
    if isinstance(value, dict):
        return {key: numpys(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(numpys, value))
    for kind, own in ((bool, np.bool_), (int, np.int64), (float, np.float64), (str, np.str_)):
        if type(value) is kind:
            return own(value)
    return value


# Every parameter that is a number, a text or holds some, with a value unlike its default.
NUMBERS = {
    "context_length": 6,
    "prediction_length": 3,
    "max_windows_per_epoch": 20,
    "series_embedding": True,
    "past_covariates": ["a"],
    "static_covariates": ["b"],
    "time_features": ("weekend",),
    "target_lags": (2, 5),
    "scaler": "standard",
    "loss": "quantile",
    "quantiles": (0.2, 0.5, 0.9),
    "weight_column": "c",
    "step_weights": (1, 2.5, 0.0),
    "calibration": "conformal",
    "num_samples": 6,
    "input_noise": 0.25,
    "min_context_length": 3,
    "max_epochs": 2,
    "batch_size": 9,
    "lr": 0.02,
    "weight_decay": 0.25,
    "gradient_clip": 0.5,
    "validation_fraction": 0.25,
    "patience": 2,
    "finetune_epochs": 2,
    "update_epochs": 2,
    "num_members": 2,
    "net_params": {"iterator_valid__batch_size": 7},
    "compile": False,
    "random_state": 3,
    "checkpoint_dir": None,
    "verbose": 0,
}
NETWORK = {
    "d_model": 6,
    "num_layers": 2,
    "num_transformer_blocks": 2,
    "num_heads": 3,
    "dropout": 0.25,
    "causal_attention": True,
    "norm_first": True,
    "feedforward": "moe",
    "dim_feedforward": 5,
    "num_experts": 3,
    "experts_per_token": 1,
    "capacity_factor": 1.5,
    "share_layers": True,
}


@pytest.mark.parametrize(
    ("forecaster", "parameters"),
    [
        (TransformerLSTMForecaster, {**NUMBERS, **NETWORK}),
        (SkorchForecaster, {**NUMBERS, "module": TransformerLSTM, "module_params": NETWORK}),
    ],
    ids=["flat", "module_params"],
)
def test_numbers_of_numpy_forecast_as_pythons_do(forecaster, parameters):
    index = pd.MultiIndex.from_product(
        [["p", "q"], pd.date_range("2023-05-01", periods=40, freq="D")], names=["shop", "day"]
    )
    waves = np.sin(np.arange(80) / 3)
    y = pd.DataFrame({"y": waves}, index)
    X = pd.DataFrame({"a": waves**2, "b": np.repeat([1.0, 2.0], 40), "c": waves + 1}, index)
    answers = []
    for own in (parameters, numpys(parameters)):
        pretrained = forecaster(**own).pretrain(y, X=X)
        fitted = pretrained.fit(y[:-10], X=X[:-10]).update(y, X=X)
        future = fitted.predict([2, 5])
        answers.append(pd.concat([future, fitted.predict_quantiles([2, 5], alpha=[0.3])], axis=1))
    pd.testing.assert_frame_equal(*answers, check_exact=True)


# Setting parameters.


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("module_params__width", "module_params"),
        ("module__width", "module_params"),
        ("net_params__batch_size", "net_params"),
        ("optimizer__momentum", "net_params"),
        ("callbacks__patience", "callbacks"),
    ],
)
def test_parts_of_a_parameter_are_set_as_a_whole(name, wanted):
    forecaster = SkorchForecaster(AttentionLSTM, {"width": 3})
    with pytest.raises(ValueError, match=rf"Got {name}=7, but .*Pass {wanted} as a whole"):
        forecaster.set_params(**{name: 7})
    assert forecaster.get_params()["module_params"] == {"width": 3}
    assert forecaster.set_params(module_params={"width": 7}).module_params == {"width": 7}
    with pytest.raises(ValueError, match="Invalid parameter keys"):
        forecaster.set_params(widht=7)


# Devices.


def test_an_automatic_device_is_one_that_works():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto") == expected
    assert torch.zeros(2, device=resolve_device("auto")).sum() == 0


def test_a_device_that_works_is_kept():
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["abacus", "cuda:97", "meta"])
def test_a_device_that_does_not_work_is_named_with_a_remedy(device):
    with pytest.raises(ValueError, match=f"Got device='{device}', which torch cannot use.*Pass"):
        resolve_device(device)
