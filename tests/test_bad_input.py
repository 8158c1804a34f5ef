"""Bad input: the right error, in words that help, before any training.

An error of ours says what was got, what was expected and what to do. Where sktime, skorch or the
user's own code checks first, its error counts.
"""

import functools
import re

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping
from sktime.exceptions import NotFittedError
from sktime.forecasting.base import ForecastingHorizon
from torch import nn

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.net import ForecastNet
from sktime_tlstm.nn import AttentionLSTM
from tests.setups import TRAINING

TINY = {**TRAINING, "max_windows_per_epoch": 8, "num_samples": 4, "context_length": 5}
NETWORK = {"d_model": 4, "num_heads": 2}

DAYS = pd.date_range("2024-01-01", periods=42, freq="D", name="day")
RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=42), "b": np.arange(42) % 3.0}, DAYS)
Y = pd.Series(RNG.normal(size=30), DAYS[:30], name="y")
X_FUTURE, Y_NEW, X_NEW = X.iloc[30:], pd.Series([1.0, 2.0], DAYS[30:32], name="y"), X.iloc[30:32]
INTEGER_Y = Y.reset_index(drop=True)
FH = [1, 2, 3]


def transformer(**parameters):
    return TransformerLSTMForecaster(**{**NETWORK, **TINY, **parameters})


def general(module, module_params=None, **parameters):
    return SkorchForecaster(module, module_params, **{**TINY, **parameters})


def panel(frame, keys=("p", "q")):
    frame = frame.to_frame() if isinstance(frame, pd.Series) else frame
    return pd.concat({key: frame for key in keys}, names=["shop", "day"])


def replaced(frame, row, value, column=0):
    """Return a copy with one value changed."""
    frame = frame.copy()
    if isinstance(frame, pd.Series):
        frame.iloc[row] = value
    else:
        frame.iloc[row, column] = value
    return frame


def timeless(frame, row):
    """Return a copy with the time of one row missing."""
    return frame.set_axis(frame.index.where(np.arange(len(frame)) != row), axis=0)


def moved(frame, index):
    return frame.set_axis(index.rename(frame.index.name), axis=0)


@pytest.fixture
def epochs(monkeypatch):
    """Count the epochs of training that begin."""
    begun = []
    run_single_epoch = ForecastNet.run_single_epoch

    def counting(net, *args, **kwargs):
        begun.append(net)
        return run_single_epoch(net, *args, **kwargs)

    monkeypatch.setattr(ForecastNet, "run_single_epoch", counting)
    return begun


@functools.cache
def fitted(kind):
    """Return a fitted forecaster, shared: a failed call leaves it as it was."""
    y, covariates, params = {
        "plain": (Y, None, {}),
        "integers": (INTEGER_Y, None, {}),
        "periods": (Y.to_period("D"), None, {}),
        "covariates": (Y, X.iloc[:30], {}),
        "past covariates": (Y, X.iloc[:30], {"past_covariates": ["a"]}),
        "two targets": (pd.DataFrame({"u": Y, "v": -Y}), None, {}),
        "panel": (panel(Y), panel(X.iloc[:30]), {}),
        "plain panel": (panel(Y), None, {}),
    }[kind]
    return transformer(**params).fit(y, X=covariates, fh=FH)


def refuses(call, error, *words, epochs):
    """Check that a call fails with exactly this error, whose message has the words."""
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert not epochs, "the error came only after training had begun"
    return message


def case(*values, name):
    # Without addresses, which differ between test workers.
    return pytest.param(*values, id=re.sub("at0x[0-9a-fA-F]+", "", name))


# Parameters.

PARAMETERS = [
    ({"mode": "simulate"}, ValueError, "one of ['forecast', 'simulation']"),
    ({"mode": None}, TypeError, "one of ['forecast', 'simulation']"),
    ({"context_length": 0}, ValueError, "an integer from 1 to 100000, or None"),
    ({"context_length": 2.5}, TypeError, "an integer from 1 to 100000, or None"),
    ({"context_length": True}, TypeError, "an integer from 1 to 100000, or None"),
    ({"prediction_length": -1}, ValueError, "an integer from 1 to 100000, or None"),
    ({"prediction_length": "12"}, TypeError, "an integer from 1 to 100000, or None"),
    ({"window_sampling": "all"}, ValueError, "one of ['by_series', 'uniform']"),
    ({"window_sampling": None}, TypeError, "one of ['by_series', 'uniform']"),
    ({"max_windows_per_epoch": 0}, ValueError, "an integer of at least 1"),
    ({"max_windows_per_epoch": 2.5}, TypeError, "an integer of at least 1"),
    ({"past_covariates": "a"}, TypeError, "a list or tuple of column names, each once, or None"),
    ({"past_covariates": 3}, TypeError, "a list or tuple of column names, each once, or None"),
    ({"hidden_past": "a"}, TypeError, "a list or tuple of column names, each once, or None"),
    ({"static_covariates": "a"}, TypeError, "a list or tuple of column names, each once, or None"),
    ({"static_covariates": 3}, TypeError, "a list or tuple of column names, each once, or None"),
    ({"series_embedding": None}, TypeError, "True or False"),
    ({"series_embedding": 1}, TypeError, "True or False"),
    ({"time_features": "hour"}, ValueError, "or 'auto'"),
    ({"time_features": ("hour",)}, ValueError, "'time_of_day'"),
    ({"time_features": None}, TypeError, "or 'auto'"),
    ({"time_features": [["weekend"]]}, TypeError, "a list or tuple of names"),
    ({"target_lags": (0, 1)}, ValueError, "integers from 1 to 100000, each once, or 'auto'"),
    ({"target_lags": 7}, TypeError, "integers from 1 to 100000, each once, or 'auto'"),
    ({"target_lags": (1.5,)}, TypeError, "integers from 1 to 100000, each once, or 'auto'"),
    ({"scaler": "log"}, ValueError, "'robust_arcsinh'"),
    ({"scaler": 3}, TypeError, "'robust_arcsinh'"),
    ({"window_norm": "std"}, ValueError, "one of ['meanstd', 'mean'], or None"),
    ({"window_norm": False}, TypeError, "one of ['meanstd', 'mean'], or None"),
    ({"loss": "rmse"}, ValueError, "'quantile'"),
    ({"loss": nn.MSELoss()}, TypeError, "or a Head object"),
    ({"quantiles": (0.9, 0.1)}, ValueError, "ascending levels strictly between 0 and 1"),
    ({"quantiles": (0.1, 0.1)}, ValueError, "ascending levels"),
    ({"quantiles": (0.0, 0.5)}, ValueError, "strictly between 0 and 1"),
    ({"quantiles": (0.5, 1.0)}, ValueError, "strictly between 0 and 1"),
    ({"quantiles": (0.1, float("nan"))}, ValueError, "strictly between 0 and 1"),
    ({"quantiles": (0.5,)}, ValueError, "two or more"),
    ({"quantiles": 0.5}, TypeError, "two or more"),
    ({"quantiles": ("low", "high")}, TypeError, "two or more"),
    ({"weight_column": ["w"]}, TypeError, "the name of a column of X, or None"),
    ({"weight_column": True}, TypeError, "the name of a column of X, or None"),
    ({"step_weights": "linear"}, TypeError, "a list or tuple of finite numbers of at least 0"),
    ({"step_weights": [0, 0]}, ValueError, "finite numbers of at least 0, not all 0, or None"),
    ({"step_weights": [1, -1]}, ValueError, "finite numbers of at least 0, not all 0, or None"),
    ({"calibration": "isotonic"}, ValueError, "one of ['none', 'conformal', 'adaptive']"),
    ({"calibration": None}, TypeError, "one of ['none', 'conformal', 'adaptive']"),
    ({"calibration": "split"}, ValueError, "one of ['none', 'conformal', 'adaptive']"),
    ({"calibration": None}, TypeError, "one of ['none', 'conformal', 'adaptive']"),
    ({"num_samples": 1}, ValueError, "an integer of at least 2"),
    ({"num_samples": 2.0}, TypeError, "an integer of at least 2"),
    ({"input_noise": -0.1}, ValueError, "a finite number of at least 0"),
    ({"input_noise": True}, TypeError, "a finite number of at least 0"),
    ({"min_context_length": 0}, ValueError, "an integer from 1 to 100000, or None"),
    ({"min_context_length": True}, TypeError, "an integer from 1 to 100000, or None"),
    ({"max_epochs": -1}, ValueError, "an integer of at least 0"),
    ({"max_epochs": 1.0}, TypeError, "an integer of at least 0"),
    ({"batch_size": 0}, ValueError, "an integer of at least 1"),
    ({"batch_size": "8"}, TypeError, "an integer of at least 1"),
    ({"lr": 0}, ValueError, "a positive finite number"),
    ({"lr": float("inf")}, ValueError, "a positive finite number"),
    ({"lr": float("nan")}, ValueError, "a positive finite number"),
    ({"lr": "fast"}, TypeError, "a positive finite number"),
    ({"optimizer": "adamax"}, ValueError, "one of ['adamw', 'adam', 'sgd']"),
    ({"optimizer": torch.optim.Adam}, TypeError, "one of ['adamw', 'adam', 'sgd']"),
    ({"weight_decay": -0.1}, ValueError, "a finite number of at least 0"),
    ({"weight_decay": "0"}, TypeError, "a finite number of at least 0"),
    ({"gradient_clip": 0}, ValueError, "a positive finite number, or None"),
    ({"gradient_clip": "1"}, TypeError, "a positive finite number, or None"),
    ({"lr_schedule": "step"}, ValueError, "one of ['onecycle', 'cosine'], or None"),
    ({"lr_schedule": 1}, TypeError, "one of ['onecycle', 'cosine'], or None"),
    ({"validation_fraction": 1.0}, ValueError, "below 1"),
    ({"validation_fraction": -0.1}, ValueError, "at least 0"),
    ({"validation_fraction": "some"}, TypeError, "below 1, or None"),
    ({"validation_series": []}, ValueError, "keys of series, at least one, each once, or None"),
    ({"validation_series": "a"}, TypeError, "keys of series, at least one, each once, or None"),
    ({"patience": 0}, ValueError, "an integer of at least 1, or None"),
    ({"patience": 1.5}, TypeError, "an integer of at least 1, or None"),
    ({"finetune_epochs": -1}, ValueError, "an integer of at least 0"),
    ({"finetune_epochs": None}, TypeError, "an integer of at least 0"),
    ({"update_epochs": -1}, ValueError, "an integer of at least 0"),
    ({"update_epochs": 0.5}, TypeError, "an integer of at least 0"),
    ({"num_members": 0}, ValueError, "an integer of at least 1"),
    ({"num_members": None}, TypeError, "an integer of at least 1"),
    ({"callbacks": EarlyStopping()}, TypeError, "a list of skorch callbacks"),
    ({"callbacks": ["early"]}, TypeError, "a list of skorch callbacks"),
    ({"callbacks": [("early", "stopping")]}, TypeError, "pairs (name, callback)"),
    ({"net_params": ["train_split"]}, TypeError, "a dict of skorch arguments"),
    ({"net_params": {1: 2}}, TypeError, "a dict of skorch arguments"),
    ({"net_params": {"lr": 0.1}}, ValueError, "which have parameters"),
    ({"net_params": {"criterion": nn.MSELoss}}, ValueError, "which have parameters"),
    ({"device": 0}, TypeError, "'auto' or a torch device such as 'cpu' or 'cuda'"),
    ({"precision": "float16"}, ValueError, "one of ['auto', 'float32', 'bf16-mixed']"),
    ({"precision": torch.bfloat16}, TypeError, "one of ['auto', 'float32', 'bf16-mixed']"),
    ({"compile": "yes"}, TypeError, "True or False"),
    ({"random_state": -1}, ValueError, "an integer of at least 0"),
    ({"random_state": 2**32}, ValueError, "an integer of at least 0"),
    ({"random_state": 0.5}, TypeError, "or a numpy RandomState, or None"),
    (
        {"random_state": np.random.default_rng(7)},
        TypeError,
        "random_state=Generator(PCG64), expected an integer",
    ),
    ({"lr": iter([1e-3])}, TypeError, "Got lr=<list_iterator object>, expected"),
    ({"checkpoint_dir": ""}, ValueError, "the path of a folder"),
    ({"checkpoint_dir": 3}, TypeError, "the path of a folder"),
    ({"verbose": 3}, ValueError, "0, 1 or 2"),
    ({"verbose": "loud"}, TypeError, "0, 1 or 2"),
    ({"d_model": 0}, ValueError, "an integer of at least 1"),
    ({"d_model": 4.0}, TypeError, "an integer of at least 1"),
    ({"num_layers": 0}, ValueError, "an integer of at least 1"),
    ({"num_layers": None}, TypeError, "an integer of at least 1"),
    ({"num_transformer_blocks": -1}, ValueError, "an integer of at least 0"),
    ({"num_transformer_blocks": "2"}, TypeError, "an integer of at least 0"),
    ({"num_heads": 0}, ValueError, "an integer of at least 1"),
    ({"num_heads": 2.0}, TypeError, "an integer of at least 1"),
    ({"dropout": 1.0}, ValueError, "below 1"),
    ({"dropout": None}, TypeError, "below 1"),
    ({"causal_attention": 1}, TypeError, "True or False"),
    ({"attention": "fast"}, ValueError, "one of ['interpretable', 'multi_head'"),
    ({"attention": None}, TypeError, "one of ['interpretable', 'multi_head'"),
    ({"num_modes": 1}, ValueError, "an integer of at least 2"),
    ({"num_modes": 8.0}, TypeError, "an integer of at least 2"),
    ({"encoder_attention": None}, TypeError, "True or False"),
    ({"share_lstm_weights": "no"}, TypeError, "True or False"),
    ({"trainable_add": 1}, TypeError, "True or False"),
    ({"norm": "batch"}, ValueError, "one of ['layer', 'rms', 'adaptive']"),
    ({"norm": None}, TypeError, "one of ['layer', 'rms', 'adaptive']"),
    ({"norm_first": None}, TypeError, "True or False"),
    ({"final_norm": "rms"}, TypeError, "True or False"),
    ({"feedforward": "tanh"}, ValueError, "'swiglu', 'moe'], or None"),
    ({"feedforward": False}, TypeError, "'swiglu', 'moe'], or None"),
    ({"dim_feedforward": 0}, ValueError, "an integer of at least 1, or None"),
    ({"dim_feedforward": 8.0}, TypeError, "an integer of at least 1, or None"),
    ({"num_experts": 0}, ValueError, "an integer of at least 1"),
    ({"num_experts": None}, TypeError, "an integer of at least 1"),
    ({"experts_per_token": 0}, ValueError, "an integer of at least 1"),
    ({"experts_per_token": "all"}, TypeError, "an integer of at least 1"),
    ({"capacity_factor": 0}, ValueError, "a positive finite number, or None"),
    ({"capacity_factor": "even"}, TypeError, "a positive finite number, or None"),
    ({"expert": "moe"}, ValueError, "one of"),
    ({"attention_kernel": "fast"}, ValueError, "one of"),
    ({"share_layers": 2}, TypeError, "True or False"),
    ({"gradient_checkpointing": None}, TypeError, "True or False"),
]


@pytest.mark.parametrize(
    "parameters, error, expected",
    [case(*row, name=str(row[0]).replace(" ", "")) for row in PARAMETERS],
)
def test_a_parameter_out_of_range_or_of_a_wrong_type_is_named_with_what_it_may_be(
    parameters, error, expected, epochs
):
    ((name, value),) = parameters.items()
    forecaster = transformer(**parameters)  # no check in the constructor
    shown = re.sub(" at 0x[0-9A-Fa-f]+", "", repr(value))
    got = f"Got {name}={shown}, expected"
    refuses(lambda: forecaster.fit(Y, X=X, fh=FH), error, got, expected, epochs=epochs)


def test_every_parameter_has_a_case():
    names = {name for parameters, *_ in PARAMETERS for name in parameters}
    assert names == set(TransformerLSTMForecaster.get_param_names())


def test_all_faulty_parameters_are_named_at_once(epochs):
    forecaster = transformer(lr=-1, scaler=3, dropout=2)
    message = refuses(lambda: forecaster.fit(Y, fh=FH), ValueError, "Got lr=-1", epochs=epochs)
    faulty = [line.removeprefix("Got ").split("=")[0] for line in message.splitlines()]
    assert sorted(faulty) == ["dropout", "lr", "scaler"]


@pytest.mark.parametrize("width, heads, advice", [(5, 2, 4), (1, 2, 2), (4, 3, 3)])
def test_d_model_must_be_a_multiple_of_num_heads(width, heads, advice, epochs):
    refuses(
        lambda: transformer(d_model=width, num_heads=heads).fit(Y, fh=FH),
        ValueError,
        f"Got d_model={width} with num_heads={heads}, expected a multiple of num_heads",
        f"d_model={advice}",
        epochs=epochs,
    )


def test_more_experts_for_a_step_than_there_are_is_refused(epochs):
    forecaster = transformer(feedforward="moe", num_experts=2, experts_per_token=3)
    words = ("Got experts_per_token=3 with num_experts=2", "experts_per_token=2")
    refuses(lambda: forecaster.fit(Y, fh=FH), ValueError, *words, epochs=epochs)


def test_causal_attention_by_frequencies_is_refused_with_the_reason(epochs):
    forecaster = transformer(attention="frequency", causal_attention=True)
    words = ("Got attention='frequency' with causal_attention=True", "mixes the whole sequence")
    refuses(lambda: forecaster.fit(Y, fh=FH), ValueError, *words, epochs=epochs)


@pytest.mark.parametrize(
    ("options", "reader"),
    [
        ({"num_modes": 8}, "attention='frequency'"),
        ({"dim_feedforward": 8}, "read by ['relu'"),
        ({"feedforward": "relu", "num_experts": 3}, "read by ['moe']"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(options, reader, epochs):
    (name, value) = list(options.items())[-1]
    words = (f"Got {name}={value} with ", "expected the default", reader)
    refuses(lambda: transformer(**options).fit(Y, fh=FH), ValueError, *words, epochs=epochs)


def test_quantiles_with_a_point_loss_are_refused(epochs):
    forecaster = transformer(loss="mse", quantiles=(0.1, 0.9))
    words = ("Got quantiles=(0.1, 0.9) with loss='mse'", "Pass quantiles=None, or loss='quantile'")
    refuses(lambda: forecaster.fit(Y, fh=FH), ValueError, *words, epochs=epochs)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "tpu", "meta", "gpu"])
def test_an_absent_or_unknown_device_is_refused(device, epochs):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    words = (f"Got device='{device}', which torch cannot use here", "Pass device='auto' or 'cpu'")
    refuses(lambda: transformer(device=device).fit(Y, fh=FH), ValueError, *words, epochs=epochs)


@pytest.mark.parametrize(
    "net_params, error, words",
    [
        case({"nonsense": 1}, ValueError, "unexpected argument(s) nonsense", name="argument"),
        case({"optimizer__nonsense": 1}, TypeError, "'nonsense'", name="of the optimizer"),
        case({"module__nonsense": 1}, TypeError, "'nonsense'", name="of the module"),
        case({"iterator_train__nonsense": 1}, TypeError, "'nonsense'", name="of the loader"),
    ],
)
def test_net_params_that_skorch_does_not_know_are_refused(net_params, error, words, epochs):
    forecaster = transformer(net_params=net_params)
    refuses(lambda: forecaster.fit(Y, fh=FH), error, words, epochs=epochs)


def test_a_faulty_parameter_set_after_fit_is_refused_before_an_update_trains(epochs):
    forecaster = transformer().fit(Y, fh=FH)
    epochs.clear()
    forecaster.update_epochs = -1
    refuses(lambda: forecaster.update(Y_NEW), ValueError, "Got update_epochs=-1", epochs=epochs)


def test_pretrain_checks_parameters_as_fit_does(epochs):
    call = functools.partial(transformer(lr=-1).pretrain, panel(Y))
    refuses(call, ValueError, "Got lr=-1, expected a positive finite number", epochs=epochs)


# Networks that break the contract.


class GoodNetwork(nn.Module):
    def __init__(self, num_past_features, num_future_features, output_dim=1):
        super().__init__()
        self.linear = nn.Linear(num_future_features, output_dim)

    def forward(self, past, future, past_lengths=None):
        return self.linear(future)


class WithoutWidths(nn.Module):
    pass


class WithoutFuture(GoodNetwork):
    def forward(self, past, past_lengths=None):
        return self.linear(past)


class WithoutLengths(GoodNetwork):
    def forward(self, past, future):
        return self.linear(future)


class OneStepOnly(GoodNetwork):
    def forward(self, past, future, past_lengths=None):
        return self.linear(future)[:, -1:]


class TooWide(GoodNetwork):
    def forward(self, past, future, past_lengths=None):
        return self.linear(future).repeat(1, 1, 2)


class ReturnsPair(GoodNetwork):
    def forward(self, past, future, past_lengths=None):
        return self.linear(future), None


class ReturnsArray(GoodNetwork):
    def forward(self, past, future, past_lengths=None):
        return self.linear(future).numpy()


class WithoutParameters(nn.Module):
    def __init__(self, num_past_features, num_future_features, output_dim=1):
        super().__init__()

    def forward(self, past, future, past_lengths=None):
        return future


class FailsInForward(GoodNetwork):
    def forward(self, past, future, past_lengths=None):
        raise RuntimeError("the author's own error")


def no_network(**widths):
    return None


NETWORKS = [
    (None, TypeError, "Got module=None, expected a torch.nn.Module class"),
    ("AttentionLSTM", TypeError, "Got module='AttentionLSTM', expected a torch.nn.Module class"),
    (GoodNetwork(2, 3), TypeError, "(no instance)"),
    (no_network, TypeError, "Got a NoneType from the module no_network, expected a torch.nn.Mod"),
    (WithoutWidths, TypeError, "Pass a module that takes ['num_past_features'"),
    (WithoutFuture, TypeError, "WithoutFuture that cannot be called as forward(past, future, "),
    (WithoutLengths, TypeError, "unexpected keyword argument 'past_lengths'"),
    (OneStepOnly, ValueError, "Got an output of shape (2, 1, 9) from the module OneStepOnly"),
    (TooWide, ValueError, "expected (2, 3, 9): (batch, future_time, output_dim)"),
    (ReturnsPair, TypeError, "it returned a tuple, expected one tensor"),
    (ReturnsArray, TypeError, "it returned a ndarray, expected one tensor"),
    (WithoutParameters, ValueError, "WithoutParameters without parameters"),
    (FailsInForward, RuntimeError, "the author's own error"),
]


@pytest.mark.parametrize("categories", [False, True], ids=["numbers", "categories"])
@pytest.mark.parametrize("module, error, words", NETWORKS)
def test_a_network_without_the_contract_is_refused(module, error, words, categories, epochs):
    covariates = X.assign(c="red") if categories else None  # puts an embedding in front
    call = functools.partial(general(module).fit, Y, X=covariates, fh=FH)
    refuses(call, error, words, epochs=epochs)


def test_the_smallest_network_of_the_contract_is_enough_with_and_without_categories():
    assert len(general(GoodNetwork).fit(Y, fh=FH).predict()) == 3
    covariates = X.assign(c="red")
    assert len(general(GoodNetwork).fit(Y, X=covariates, fh=FH).predict(X=covariates)) == 3


@pytest.mark.parametrize(
    "module_params, error, words",
    [
        case("d_model", TypeError, "Got module_params='d_model', expected a dict", name="string"),
        case({3: 4}, TypeError, "expected a dict of the module's keyword", name="integer key"),
        case({"nonsense": 4}, TypeError, "unexpected keyword argument 'nonsense'", name="unknown"),
        case({"output_dim": 4}, ValueError, "none of ['num_past_features'", name="width"),
        case({"d_model": 5, "num_heads": 2}, ValueError, "num_heads divides", name="own check"),
    ],
)
def test_faulty_module_params_are_refused(module_params, error, words, epochs):
    call = functools.partial(general(AttentionLSTM, module_params).fit, Y, fh=FH)
    refuses(call, error, words, epochs=epochs)


class FailsAt(Callback):
    def __init__(self, moment):
        self.moment = moment

    def initialize(self):
        if self.moment == "initialize":
            raise ZeroDivisionError("the author's own error")
        return super().initialize()

    def on_train_begin(self, net, **kwargs):
        if self.moment == "on_train_begin":
            raise ZeroDivisionError("the author's own error")


@pytest.mark.parametrize("moment", ["initialize", "on_train_begin"])
def test_the_error_of_a_callback_passes_through(moment, epochs):
    call = functools.partial(transformer(callbacks=[FailsAt(moment)]).fit, Y, fh=FH)
    refuses(call, ZeroDivisionError, "the author's own error", epochs=epochs)


# Data at fit.

FORMAT = "must be in an sktime compatible format"
INFINITE = "expected finite values or NaN. Replace it"

FITS = [
    # what is wrong, y, X, error, words
    ("no y", None, None, AssertionError, "y cannot be None"),
    ("y is a list", [1.0, 2.0], None, TypeError, FORMAT),
    ("y is a string", "y", None, TypeError, FORMAT),
    ("y has no rows", Y.iloc[:0], None, ValueError, "Got y without rows, expected at least one"),
    ("y is infinite", replaced(Y, 3, np.inf), None, ValueError, "column 'y' at 2024-01-04"),
    ("y is -infinite", replaced(Y, 3, -np.inf), None, ValueError, INFINITE),
    ("a series is infinite", panel(replaced(Y, 3, np.inf)), None, ValueError, "at ('p', "),
    ("y has strings", Y.astype(str), None, TypeError, "in column 'y', expected numbers or NaN"),
    (
        "y has a mark for missing values",
        replaced(Y.astype(object), 3, "-"),
        None,
        TypeError,
        "Got y with the text '-' in column 'y'",
    ),
    (
        "y has decimal commas",
        Y.astype(str).str.replace(".", ","),
        None,
        TypeError,
        "`pd.read_csv(..., decimal=',')` reads decimal commas",
    ),
    (
        "y has times of text",
        moved(Y, DAYS[:30].strftime("%d.%m.%Y")),
        None,
        TypeError,
        "times that are text, such as '01.01.2024', expected dates, periods or integers",
    ),
    (
        "X has times of text",
        Y,
        moved(X[:30], DAYS[:30].strftime("%Y-%m-%d")),
        TypeError,
        "Got X with times that are text",
    ),
    (
        "X has the times as a column",
        INTEGER_Y,
        X[:30].reset_index(),
        TypeError,
        "make them the index: `frame.set_index('day')`",
    ),
    (
        "y has objects",
        replaced(Y.astype(object), 3, 1j),
        None,
        TypeError,
        "categorical features in endogeneous y",
    ),
    ("y has dates", pd.Series(DAYS, DAYS), None, TypeError, "features in endogeneous y"),
    ("y is complex", Y.astype(complex), None, TypeError, "Found dtype: complex128"),
    ("y repeats a time", pd.concat([Y[:10], Y[9:]]), None, ValueError, "increasing times without"),
    (
        "y is unsorted",
        Y.iloc[::-1],
        None,
        ValueError,
        "not in order: after 2024-01-30 00:00:00 comes 2024-01-29 00:00:00",
    ),
    ("X is unsorted", Y, X[:30].iloc[::-1], ValueError, "Got X with times that are not in order"),
    ("integers are unsorted", INTEGER_Y[::-1], None, ValueError, "order: after 29 comes 28. Sort"),
    (
        "integers of X are unsorted",
        INTEGER_Y,
        X[:30].reset_index(drop=True).iloc[[0, 2, 1, *range(3, 30)]],
        ValueError,
        "Got X with times that are not in order: after 2 comes 1. Sort them: `X.sort_index()`",
    ),
    (
        "a series of a panel is unsorted",
        pd.concat([panel(Y), panel(Y.iloc[[5, 4]], "r")]),
        None,
        ValueError,
        "Got y with times that are not in order: after ('r', Timestamp('2024-01-06 00:00:00')) "
        "comes ('r', Timestamp('2024-01-05 00:00:00')). Sort them: `y.sort_index()`",
    ),
    (
        "X of a panel is unsorted",
        panel(Y),
        panel(X).iloc[::-1],
        ValueError,
        "Got X with times that are not in order: after ('p', Timestamp('2024-02-11",
    ),
    (
        "y has a column twice",
        panel(Y)[["y", "y"]],
        None,
        ValueError,
        "y with repeated columns: ['y",
    ),
    (
        "dates of the standard library",
        moved(Y, pd.Index(DAYS.date[:30])),
        None,
        TypeError,
        "Got y with times of type date, such as 2024-01-01, expected dates, periods or integers. "
        "Convert them: `y.index = pd.to_datetime(y.index)`.",
    ),
    (
        "a panel with such dates",
        panel(moved(Y, pd.Index(DAYS.date[:30]))),
        None,
        TypeError,
        "`y.index = y.index.set_levels(pd.to_datetime(y.index.levels[-1]), level=-1)`.",
    ),
    (
        "X has floats as times",
        Y,
        moved(X, pd.Index(np.arange(42.0))),
        TypeError,
        "Got X with times of type float64, such as 0.0, expected dates, periods or integers. "
        "Convert them: `X.index = X.index.astype(int)`, where they number the steps.",
    ),
    ("y is irregular", Y.drop(DAYS[[4, 9, 17]]), None, ValueError, "Resample first"),
    ("y has a gap", Y.drop(DAYS[7]), None, ValueError, "after 2024-01-07 00:00:00 comes 2024-01-0"),
    ("integers have a gap", INTEGER_Y.drop(7), None, ValueError, "after 6 comes 8, 1 steps are"),
    (
        "periods have a gap",
        Y.to_period("D").drop(pd.Period("2024-01-08")),
        None,
        ValueError,
        "Got a gap in time: after 2024-01-07 comes 2024-01-09",
    ),
    (
        "a series has a gap",
        panel(Y).drop(("q", DAYS[7])),
        None,
        ValueError,
        "Got a gap in time: after ('q', Timestamp('2024-01-07",
    ),
    ("a float index", moved(Y, pd.Index(np.arange(30.0))), None, TypeError, "times of type flo"),
    ("a string index", moved(Y, pd.Index(list(map(str, range(30))))), None, TypeError, "text"),
    ("two columns of one name", pd.concat([Y, Y], axis=1), None, ValueError, "columns: ['y']. R"),
    ("panel repeats rows", pd.concat([panel(Y)] * 2), None, ValueError, "times that are not in"),
    ("X is a list", Y, [1], TypeError, FORMAT),
    ("X has no rows", Y, X.iloc[:0], ValueError, "01-01 00:00:00, expected all: X has no rows"),
    ("X is infinite", Y, replaced(X, 3, np.inf), ValueError, "column 'a' at 2024-01-04"),
    ("X is infinite later", Y, replaced(X, 39, -np.inf), ValueError, INFINITE),
    ("X ends early", Y, X.iloc[:20], ValueError, "X has rows from 2024-01-01 00:00:00 to 2024-01"),
    ("X begins late", Y, X.iloc[10:], ValueError, "Got X without 10 of the 30 rows of y, the"),
    ("X lacks a row", Y, X.drop(DAYS[5]), ValueError, "1 of the 30 rows of y, the first 2024-01-0"),
    (
        "X lacks a row of integers",
        INTEGER_Y,
        X.reset_index(drop=True).drop([7, 21]),
        ValueError,
        "Got X without 2 of the 30 rows of y, the first 7, expected all: X has rows from 0 to 41",
    ),
    (
        "an array lacks rows",
        Y.to_numpy(),
        X.to_numpy()[:26],
        ValueError,
        "Got X without 4 of the 30 rows of y, the first 26",
    ),
    (
        "X and y do not overlap",
        Y,
        moved(X, pd.date_range("2020", periods=42, freq="D")),
        ValueError,
        "Got X without 30 of the 30 rows of y",
    ),
    ("X has integer times", Y, X.reset_index(drop=True), ValueError, "times of X are no dates, th"),
    ("X has a time zone", Y, X.tz_localize("UTC"), ValueError, "X are dates with a time zone, tho"),
    ("X has periods", Y, X.to_period("D"), ValueError, "X are period[D], those of y dates without"),
    (
        "X has months for days",
        Y.to_period("D"),
        moved(X, pd.period_range("2024-01", periods=42, freq="M")),
        ValueError,
        "times of X are period[M], those of y period[D]. Convert one of the two indexes",
    ),
    ("y lacks a time", timeless(Y, 9), None, ValueError, "Got y without a time (NaT) in row 9, "),
    ("y lacks the last", timeless(Y, 29), None, ValueError, "drop such rows: `y[y.index.notna()]`"),
    ("X lacks a time", Y, timeless(X[:30], 4), ValueError, "Got X without a time (NaT) in row 4,"),
    ("periods lack a time", timeless(Y.to_period("D"), 2), None, ValueError, "(NaT) in row 2, cou"),
    (
        "a panel lacks a time",
        pd.concat({"p": Y, "q": timeless(Y, 3)}, names=["shop", "day"]).to_frame(),
        None,
        ValueError,
        "(NaT) in row 33, counted from 0, expected one in every row. Write it, or drop such rows: "
        "`y[y.index.get_level_values(-1).notna()]`",
    ),
    (
        "a panel lacks the code of a time",
        panel(Y).set_axis(panel(Y).index.set_codes([*range(30), -1, *range(1, 30)], level=1)),
        None,
        ValueError,
        "Got y without a time (NaT) in row 30, counted from 0",
    ),
    ("X repeats a time", Y, pd.concat([X, X.iloc[-1:]]), ValueError, "increasing times without"),
    ("X has dates", Y, X.assign(d=DAYS), TypeError, "Got the column 'd' of type datetime64"),
    ("X has durations", Y, X.assign(d=DAYS - DAYS[0]), TypeError, "expected numbers, booleans or"),
    ("X has lists", Y, X.assign(d=[[1]] * 42), TypeError, "Got the column 'd' of type object"),
    ("X is complex", Y, X.astype(complex), TypeError, "Found dtype: complex128"),
    ("X repeats a column", Y, X.set_axis(["a", "a"], axis=1), ValueError, "columns: ['a']. Rena"),
    (
        "X is a panel, y is not",
        Y,
        panel(X),
        TypeError,
        "Got X with 1 index levels in front of the time, expected 0",
    ),
    ("X lacks a series", panel(Y), panel(X, "p"), ValueError, "of series 'q', which y has (30 row"),
]


@pytest.mark.parametrize(
    "y, covariates, error, words", [case(*row, name=name) for name, *row in FITS]
)
def test_fit_refuses(y, covariates, error, words, epochs):
    forecaster = transformer()
    refuses(lambda: forecaster.fit(y, X=covariates, fh=FH), error, words, epochs=epochs)


@pytest.mark.parametrize(
    "parameters, y, covariates, error, words",
    [
        case({"past_covariates": ["z"]}, Y, X, ValueError, "no column ['z']", name="not in X"),
        case({"past_covariates": ["a"]}, Y, None, ValueError, "columns are []", name="without X"),
        case(
            {"time_features": ("weekend",)},
            INTEGER_Y,
            None,
            TypeError,
            "expected dates for the calendar features ('weekend',)",
            name="calendar of integers",
        ),
    ],
)
def test_fit_refuses_parameters_that_do_not_fit_the_data(
    parameters, y, covariates, error, words, epochs
):
    call = functools.partial(transformer(**parameters).fit, y, X=covariates, fh=FH)
    refuses(call, error, words, epochs=epochs)


HORIZONS = [
    ("empty", [], ValueError, "`fh` must not be empty"),
    ("a string", "soon", TypeError, "Invalid `fh`"),
    ("a fraction", [1.5], TypeError, "Invalid `fh`"),
    ("a repeated step", [1, 1], ValueError, "must not contain any duplicates"),
    (
        "of another kind",
        pd.period_range("2024-02", periods=1, freq="M"),
        TypeError,
        "Got fh of type PeriodIndex (period[M]), expected times like those of y, of Timestamp",
    ),
    (
        "off the grid",
        pd.DatetimeIndex(["2024-02-01 05:00"]),
        ValueError,
        "Got fh with the time 2024-02-01 05:00:00, which does not lie on the regular grid of y",
    ),
    ("in another zone", pd.DatetimeIndex(["2024-02-01"], tz="UTC"), TypeError, "fh of type Date"),
    (
        "a duration off the grid",
        ForecastingHorizon(pd.to_timedelta(["30h"]), is_relative=True),
        ValueError,
        "Got fh with the time 2024-01-31 06:00:00, which does not lie on the regular grid of y",
    ),
]


@pytest.mark.parametrize("fh, error, words", [case(*row, name=name) for name, *row in HORIZONS])
def test_fit_refuses_a_horizon(fh, error, words, epochs):
    refuses(lambda: transformer().fit(Y, fh=fh), error, words, epochs=epochs)


# Predict.


def test_durations_for_integers_are_refused_as_fh(epochs):
    forecaster = fitted("integers")
    epochs.clear()
    fh = ForecastingHorizon(pd.to_timedelta([2], unit="D"), is_relative=True)
    words = "Got fh with the duration 2 days 00:00:00, which cannot be added to the times of y"
    refuses(lambda: forecaster.predict(fh), TypeError, words, epochs=epochs)


@pytest.mark.parametrize("shape", ["array", "frame"])
def test_covariates_without_an_index_hold_the_past_too(shape, epochs):
    y, past, later = Y.to_numpy(), X.to_numpy()[:30], X.to_numpy()[30:33]
    if shape == "frame":
        y, past, later = INTEGER_Y, pd.DataFrame(past), pd.DataFrame(later)
    forecaster = transformer().fit(y, X=past, fh=FH)
    epochs.clear()
    words = "the rows 0 to 2, as data without an index are numbered: pass it with the rows of the p"
    refuses(lambda: forecaster.predict(X=later), ValueError, "row 30, wh", words, epochs=epochs)
    join = np.concatenate if shape == "array" else functools.partial(pd.concat, ignore_index=True)
    assert len(forecaster.predict(X=join([past, later]))) == 3
    with pytest.raises(ValueError, match=r"row 32, .* Pass X with every step of fh\.$"):
        forecaster.predict(X=join([past, later])[:32])


@pytest.mark.parametrize(
    "fh, error, words",
    [
        *(case(*row, name=name) for name, *row in HORIZONS),
        case([-40], ValueError, "before the first of the 30 obs", name="before the first"),
        case([-40], ValueError, "Pass steps of at least -29", name="before the first, remedy"),
        case(pd.DatetimeIndex(["2020-01-01"]), ValueError, "before the first", name="years before"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_quantiles", "predict_var"])
def test_predict_refuses_a_horizon(method, fh, error, words, epochs):
    forecaster = fitted("plain")
    epochs.clear()
    refuses(lambda: getattr(forecaster, method)(fh), error, words, epochs=epochs)


PREDICTS = [
    # what is wrong, forecaster, X, error, words
    ("no X", "covariates", None, ValueError, "Got X=None, expected the covariates ['a', 'b']"),
    ("a column is absent", "covariates", X_FUTURE[["a"]], ValueError, "the columns ['b']"),
    ("a column is renamed", "covariates", X_FUTURE.rename(columns={"a": "z"}), ValueError, "['a']"),
    ("an array", "covariates", X_FUTURE.to_numpy(), ValueError, "its columns are [0, 1]"),
    ("the first row is absent", "covariates", X_FUTURE.iloc[1:], ValueError, "row 2024-01-31"),
    ("the last row is absent", "covariates", X_FUTURE.iloc[:2], ValueError, "row 2024-02-02"),
    ("no rows", "covariates", X_FUTURE.iloc[:0], ValueError, "Pass X with every step of fh"),
    ("the past only", "covariates", X.iloc[:30], ValueError, "which is to be forecast"),
    ("infinite", "covariates", replaced(X_FUTURE, 1, np.inf), ValueError, "'a' at 2024-02-01"),
    ("a list", "covariates", [1], TypeError, FORMAT),
    ("unsorted", "covariates", X_FUTURE.iloc[::-1], ValueError, "`X.sort_index()`"),
    ("repeated rows", "covariates", pd.concat([X_FUTURE] * 2), ValueError, "not in order"),
    ("a panel unsorted", "panel", panel(X_FUTURE)[::-1], ValueError, "Got X with times that are n"),
    (
        "repeated rows of a panel",
        "panel",
        pd.concat([panel(X_FUTURE), panel(X_FUTURE[:1])]),
        ValueError,
        "Got X with times that are not in order: after ('p', Timestamp('2024-02-11",
    ),
    ("repeated columns", "covariates", X_FUTURE[["a", "b", "b"]], ValueError, "columns: ['b']"),
    ("a time is missing", "covariates", timeless(X_FUTURE, 1), ValueError, "(NaT) in row 1, count"),
    ("periods", "covariates", X_FUTURE.to_period("D"), TypeError, "type PeriodIndex"),
    ("integers", "covariates", X_FUTURE.reset_index(drop=True), TypeError, "type RangeIndex"),
    ("a time zone", "covariates", X_FUTURE.tz_localize("UTC"), TypeError, "Convert the index"),
    (
        "off the grid",
        "covariates",
        moved(X_FUTURE, X_FUTURE.index + pd.Timedelta("1h")),
        ValueError,
        "2024-01-31 01:00:00, which does not lie on the regular grid",
    ),
    ("words", "covariates", X_FUTURE.assign(a="red"), TypeError, "column 'a' of type"),
    ("dates", "covariates", X_FUTURE.assign(a=X_FUTURE.index), TypeError, "of type datetime64"),
    ("a known one is absent", "past covariates", X_FUTURE[["a"]], ValueError, "['b']"),
    ("new covariates", "plain", X_FUTURE, ValueError, "was fitted without X. Pass X to fit as"),
    ("a series is absent", "panel", panel(X_FUTURE, "p"), ValueError, "of series 'q'"),
    (
        "a row of a series is absent",
        "panel",
        panel(X_FUTURE).drop(("q", DAYS[31])),
        ValueError,
        "the row 2024-02-01 00:00:00 of series 'q', which is to be forecast",
    ),
    ("one for all series", "panel", X_FUTURE, TypeError, "Got an index with 0 levels before"),
    ("a panel for one series", "covariates", panel(X_FUTURE), TypeError, "with 1 levels before"),
]


@pytest.mark.parametrize(
    "kind, covariates, error, words", [case(*row, name=name) for name, *row in PREDICTS]
)
def test_predict_refuses_covariates(kind, covariates, error, words, epochs):
    call = functools.partial(fitted(kind).predict, X=covariates)
    epochs.clear()
    refuses(call, error, words, epochs=epochs)


@pytest.mark.parametrize(
    "method, arguments, error, words",
    [
        case("predict_quantiles", {"alpha": 0.0}, ValueError, "interval (0, 1)", name="alpha 0"),
        case("predict_quantiles", {"alpha": [0.5, 1.0]}, ValueError, "(0, 1)", name="alpha 1"),
        case("predict_quantiles", {"alpha": np.nan}, ValueError, "(0, 1)", name="alpha NaN"),
        case("predict_quantiles", {"alpha": []}, ValueError, "alpha=[], expected", name="no alpha"),
        case("predict_quantiles", {"alpha": ()}, ValueError, "alpha=()", name="no alphas"),
        case("predict_interval", {"coverage": []}, ValueError, "coverage=[]", name="no coverage"),
        case("predict_quantiles", {"alpha": "low"}, TypeError, "'low'", name="alpha a string"),
        case("predict_quantiles", {"alpha": 0}, ValueError, "alpha=0, expected", name="alpha int"),
        case("predict_quantiles", {"alpha": ["a"]}, TypeError, "list of such", name="alpha texts"),
        case("predict_interval", {"coverage": 95}, ValueError, "0.9 for 90 %", name="in per cent"),
        case("predict_interval", {"coverage": [80, 95]}, ValueError, "[80, 95]", name="coverages"),
        case("predict_interval", {"coverage": "0.8"}, TypeError, "'0.8', expec", name="a text"),
        case("predict_interval", {"coverage": None}, TypeError, "=None, expect", name="none"),
        case("predict_interval", {"coverage": (80,)}, ValueError, "(0, 1)", name="a tuple"),
        case("predict_interval", {"coverage": np.array(0.8)}, ValueError, "a float", name="0-d"),
        case("predict_quantiles", {"alpha": [0.5] * 2}, ValueError, "unique", name="alpha twice"),
        case("predict_interval", {"coverage": 1.5}, ValueError, "(0, 1)", name="coverage 1.5"),
        case("predict_interval", {"coverage": -1.0}, ValueError, "(0, 1)", name="coverage -1"),
    ],
)
def test_levels_out_of_range_are_refused(method, arguments, error, words, epochs):
    call = functools.partial(getattr(fitted("plain"), method), FH, **arguments)
    epochs.clear()
    refuses(call, error, words, epochs=epochs)


@pytest.mark.parametrize("levels", [0.8, np.float64(0.8), [0.8], (0.8,), np.array([0.8]), {0.8: 1}])
def test_levels_are_taken_in_every_form_that_sktime_takes(levels):
    forecaster = fitted("plain")
    for name, values in (("alpha", "predict_quantiles"), ("coverage", "predict_interval")):
        expected = getattr(forecaster, values)(FH, **{name: [0.8]})
        pd.testing.assert_frame_equal(getattr(forecaster, values)(FH, **{name: levels}), expected)


def test_backtest_refuses_levels_in_per_cent(epochs):
    call = functools.partial(fitted("plain").backtest, Y, None, None, "predict_interval")
    epochs.clear()
    refuses(lambda: call(coverage=80), ValueError, "Pass coverage=0.9 for 90 %", epochs=epochs)


@pytest.mark.parametrize("method", ["predict", "predict_interval", "explain", "windows"])
def test_covariates_of_the_future_alone_are_refused_for_another_past(method, epochs):
    call = functools.partial(getattr(fitted("covariates"), method), FH, X=X_FUTURE, y=Y[4:])
    epochs.clear()
    words = (
        "Got X without 26 of the 26 rows of y, the first 2024-01-05 00:00:00, expected all",
        "Pass X with the rows of y and those to forecast, in one frame.",
    )
    refuses(call, ValueError, *words, epochs=epochs)


def test_rows_to_be_explained_need_their_covariates_but_no_future(epochs):
    call = functools.partial(fitted("covariates").variable_importance, Y, X[3:20])
    epochs.clear()
    words = ("Got X without 13 of the 30 rows of y", "Pass X with every row of y; missing values")
    refuses(call, ValueError, *words, epochs=epochs)


def test_residuals_need_no_covariates_of_rows_that_are_remembered():
    residuals = fitted("covariates").predict_residuals(Y[20:], X_FUTURE)
    assert len(residuals) == 10


@pytest.mark.parametrize(
    "call",
    [
        lambda forecaster: forecaster.predict(FH),
        lambda forecaster: forecaster.predict_quantiles(FH),
        lambda forecaster: forecaster.update(Y_NEW),
        lambda forecaster: forecaster.predict_residuals(),
    ],
    ids=["predict", "predict_quantiles", "update", "predict_residuals"],
)
def test_nothing_works_before_fit(call, epochs):
    refuses(lambda: call(transformer()), NotFittedError, "call `fit` first", epochs=epochs)


# Update.

UPDATES = [
    # what is wrong, forecaster, y, X, error, words
    (
        "another number of columns",
        "plain",
        pd.DataFrame({"u": Y_NEW, "v": Y_NEW}),
        None,
        ValueError,
        "Got y with 2 columns ['u', 'v'], expected 1 as in training: ['y']",
    ),
    ("a column is absent", "two targets", Y_NEW, None, ValueError, "Pass the same targets"),
    ("infinite y", "plain", replaced(Y_NEW, 0, np.inf), None, ValueError, "'y' at 2024-01-31"),
    ("y has strings", "plain", Y_NEW.astype(str), None, TypeError, "expected numbers or NaN"),
    ("y is a list", "plain", [1.0, 2.0], None, TypeError, FORMAT),
    ("y is unsorted", "plain", Y_NEW.iloc[::-1], None, ValueError, "`y.sort_index()`"),
    ("integers", "plain", Y_NEW.reset_index(drop=True), None, TypeError, "type RangeIndex"),
    ("dates for integers", "integers", Y_NEW, None, TypeError, "type DatetimeIndex"),
    ("periods", "plain", Y_NEW.to_period("D"), None, TypeError, "type PeriodIndex (period[D])"),
    ("months for days", "periods", Y_NEW[:1].to_period("M"), None, TypeError, "(period[M])"),
    ("a time zone", "plain", Y_NEW.tz_localize("UTC"), None, TypeError, "UTC"),
    (
        "hours for days",
        "plain",
        moved(Y_NEW, pd.date_range("2024-01-31", periods=2, freq="h")),
        None,
        ValueError,
        "2024-01-31 01:00:00, which does not lie on the regular grid",
    ),
    ("X is absent", "covariates", Y_NEW, None, ValueError, "Got X=None, expected the covariates"),
    ("X is new", "plain", Y_NEW, X_NEW, ValueError, "was fitted without X"),
    ("X lacks a column", "covariates", Y_NEW, X_NEW[["a"]], ValueError, "the columns ['b']"),
    ("X lacks a row", "covariates", Y_NEW, X_NEW[1:], ValueError, "1 of the 2 rows of y, the fir"),
    ("X is of the past", "covariates", Y_NEW, X[:5], ValueError, "Pass X with every row of y; mis"),
    ("a time is missing", "plain", timeless(Y_NEW, 1), None, ValueError, "(NaT) in row 1, counted"),
    ("X is infinite", "covariates", Y_NEW, replaced(X_NEW, 0, np.inf), ValueError, INFINITE),
    ("X has dates", "covariates", Y_NEW, X_NEW.assign(a=X_NEW.index), TypeError, "datetime64"),
    ("X lacks a series", "panel", panel(Y_NEW), panel(X_NEW, "p"), ValueError, "series 'q', whi"),
    ("a series for a panel", "plain panel", Y_NEW, None, TypeError, "with 0 levels before the"),
    ("a panel for a series", "plain", panel(Y_NEW), None, TypeError, "expected 0 as in training"),
    (
        "a level more",
        "plain panel",
        pd.concat({"north": panel(Y_NEW)}, names=["region"]),
        None,
        TypeError,
        "Got an index with 2 levels before the time, expected 1 as in training",
    ),
]


@pytest.mark.parametrize("update_params", [False, True], ids=["extend", "train"])
@pytest.mark.parametrize(
    "kind, y, covariates, error, words", [case(*row, name=name) for name, *row in UPDATES]
)
def test_update_refuses(kind, y, covariates, error, words, update_params, epochs):
    update = functools.partial(fitted(kind).update, update_params=update_params)
    epochs.clear()
    refuses(lambda: update(y, X=covariates), error, words, epochs=epochs)


@pytest.mark.parametrize(
    "kind, y, error, words",
    [
        case("plain", pd.DataFrame({"u": Y, "v": Y}), ValueError, "Got y with 2", name="columns"),
        case("plain", replaced(Y, 3, np.inf), ValueError, INFINITE, name="infinite"),
        case("plain", INTEGER_Y, TypeError, "Convert the index", name="integers"),
        case(
            "plain",
            "y",
            TypeError,
            "Got y of type str, expected data that sktime knows",
            name="string",
        ),
        case("plain", Y.shift(-900, "D"), ValueError, "before the first of", name="years before"),
        case("covariates", Y_NEW, ValueError, "Got X=None, expected the cov", name="X is absent"),
        case("plain panel", panel(Y, "r"), ValueError, "series 'r', which the", name="new series"),
        case("plain panel", Y, TypeError, "Got an index with 0 levels", name="one series"),
    ],
)
def test_predict_residuals_refuses(kind, y, error, words, epochs):
    call = functools.partial(fitted(kind).predict_residuals, y)
    epochs.clear()
    refuses(call, error, words, epochs=epochs)


# Pretraining.


@pytest.mark.parametrize(
    "y, covariates, error, words",
    [
        case(pd.DataFrame({"u": Y, "v": Y}), X, ValueError, "expected 1 as in tr", name="columns"),
        case(Y, None, ValueError, "Got X=None, expected the covariates", name="X is absent"),
        case(Y, X[["b"]], ValueError, "Got X without the columns ['a']", name="X lacks a column"),
    ],
)
def test_fit_refuses_data_that_the_pretrained_network_cannot_take(
    y, covariates, error, words, epochs
):
    forecaster = transformer().pretrain(panel(Y), X=panel(X))
    epochs.clear()
    refuses(lambda: forecaster.fit(y, X=covariates, fh=FH), error, words, epochs=epochs)


def test_pretrain_refuses_a_single_series(epochs):
    refuses(lambda: transformer().pretrain(Y), TypeError, "requires Panel", epochs=epochs)
