"""How it runs: precision, compilation, devices, files, random state, processes, memory."""

import copy
import gc
import io
import logging
import pickle
import shutil
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed
from sktime.base import load
from sktime.forecasting.model_evaluation import evaluate
from sktime.split import ExpandingWindowSplitter
from torch import nn

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import Seq2SeqLSTM

TINY = {
    "d_model": 4,
    "num_heads": 2,
    "max_epochs": 1,
    "batch_size": 8,
    "max_windows_per_epoch": 24,
    "num_samples": 4,
    "context_length": 5,
}
DAYS = pd.date_range("2024-01-01", periods=60, freq="D", name="day")
RNG = np.random.default_rng(2)
X = pd.DataFrame({"a": RNG.normal(size=60), "b": ["red", "blue", "green"] * 20}, DAYS)
Y = pd.Series(X["a"].to_numpy() + RNG.normal(size=60), DAYS, name="y")
Y_OLD, Y_NEW = Y.iloc[:40], Y.iloc[40:50]
FH = [-1, 1, 2, 3, 7]  # in-sample, within the horizon, and beyond it


def make(**parameters):
    return TransformerLSTMForecaster(**{**TINY, "prediction_length": 3, **parameters})


def fit(**parameters):
    return make(random_state=0, **parameters).fit(Y_OLD, X=X)


def answers(forecaster):
    """Return forecasts and quantiles, bit for bit."""
    frames = [
        forecaster.predict(FH, X=X),
        forecaster.predict_quantiles(FH, X=X, alpha=[0.1, 0.9]),
    ]
    return [frame.to_csv(float_format="%.17g") for frame in frames]


# Precision and compilation.


class Small(nn.Module):
    """A network of the contract that compiles in seconds."""

    def __init__(self, num_past_features, num_future_features, output_dim=1):
        super().__init__()
        self.hidden = nn.Linear(num_past_features + num_future_features, 8)
        self.output = nn.Linear(8, output_dim)

    def forward(self, past, future, past_lengths=None):
        context = past.mean(dim=1, keepdim=True).expand(-1, future.shape[1], -1)
        return self.output(torch.tanh(self.hidden(torch.cat([context, future], dim=-1))))


class Noting(Seq2SeqLSTM):
    """Notes in which precision its output is computed, in training and otherwise."""

    seen: ClassVar[set] = set()

    def forward(self, *inputs, **more):
        output = super().forward(*inputs, **more)
        self.seen.add((self.training, output.dtype))
        return output


def test_mixed_precision_trains_in_bfloat16_and_forecasts_in_float32():
    settings = {name: TINY[name] for name in ("max_epochs", "batch_size", "context_length")}
    settings |= {"module": Noting, "module_params": {"hidden_size": 4}, "random_state": 0}
    plain = SkorchForecaster(**settings).fit(Y_OLD, fh=[1, 2])
    Noting.seen.clear()
    mixed = SkorchForecaster(**settings, precision="bf16-mixed").fit(Y_OLD, fh=[1, 2])
    at_fit = set(Noting.seen)
    Noting.seen.clear()
    one, other = plain.predict(), mixed.predict()
    assert (True, torch.bfloat16) in at_fit and (True, torch.float32) not in at_fit
    assert Noting.seen == {(False, torch.float32)}
    assert all(weight.dtype == torch.float32 for weight in mixed.net_.module_.parameters())
    assert 0 < (one - other).abs().max() < 0.1 * Y_OLD.std()


@pytest.mark.parametrize(
    ("amx", "changes", "mixed"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"batch_size": 63}, False),
        (True, {"precision": "float32"}, False),
        (False, {"precision": "bf16-mixed"}, True),
        (True, {"module": Small}, False),
    ],
)
def test_the_usual_precision_is_bfloat16_where_that_is_faster(monkeypatch, amx, changes, mixed):
    monkeypatch.setattr("sktime_tlstm.net._has_amx", lambda: amx)
    rows = 64 * 20 + 100  # so many that batches are whole
    y = pd.Series(np.sin(np.arange(rows) / 3.7), pd.RangeIndex(rows))
    parameters = {"module": Seq2SeqLSTM, "module_params": {"hidden_size": 4}, "max_epochs": 1}
    if "module" in changes:
        parameters["module_params"] = {}
    parameters |= {"context_length": 3, "max_windows_per_epoch": 64, **changes}
    net = SkorchForecaster(**parameters, random_state=0).fit(y, fh=[1, 2]).net_
    assert net.is_mixed == mixed


def test_simulations_are_trained_in_float32(monkeypatch):
    monkeypatch.setattr("sktime_tlstm.net._has_amx", lambda: True)
    rows = 64 * 100 + 50
    y = pd.Series(np.sin(np.arange(rows) / 3.7), pd.RangeIndex(rows))
    forecaster = TransformerLSTMForecaster(
        context_length=3,
        prediction_length=2,
        mode="simulation",
        d_model=4,
        max_epochs=1,
        max_windows_per_epoch=64,
        random_state=0,
    )
    assert not forecaster.fit(y, X=y.to_frame("u")).net_.is_mixed


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler"
)
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_a_compiled_network_gives_the_same_forecasts():
    parameters = {key: TINY[key] for key in TINY if key not in ("d_model", "num_heads")}
    forecasts = []
    for compiled in (False, True):
        forecaster = SkorchForecaster(Small, **parameters, compile=compiled, random_state=0)
        forecaster.fit(Y_OLD, fh=[1, 2, 3])
        assert isinstance(forecaster.net_.module_, torch._dynamo.OptimizedModule) == compiled
        forecasts.append(forecaster.predict())
    np.testing.assert_allclose(forecasts[0], forecasts[1], rtol=1e-4, atol=1e-4)
    reloaded = pickle.loads(pickle.dumps(forecaster))
    np.testing.assert_allclose(reloaded.predict(), forecasts[1], rtol=1e-6)


def complaining(graph, inputs):
    """Compile nothing, and say in the compiler's log what could not be compiled."""
    logging.getLogger("torch._dynamo.variables.tensor").warning("Graph break")
    return graph.forward


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiling_is_silent_unless_asked_for():
    found = []

    class Kept(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    logger, kept = logging.getLogger("torch._dynamo"), Kept()
    logger.addHandler(kept)
    parameters = {key: TINY[key] for key in TINY if key not in ("d_model", "num_heads")}
    backend = {"compile__backend": complaining}
    try:
        for verbose in (0, 2):
            torch._dynamo.reset()
            settings = {**parameters, "compile": True, "net_params": backend, "verbose": verbose}
            SkorchForecaster(Small, **settings, random_state=0).fit(Y_OLD, fh=[1, 2]).predict()
            assert bool(found) == (verbose > 1), found
    finally:
        logger.removeHandler(kept)


# Devices.


class TensorFinder(pickle.Pickler):
    """Pickles, and collects the tensors that it meets."""

    def __init__(self):
        super().__init__(io.BytesIO())
        self.found = []

    def reducer_override(self, value):
        if isinstance(value, torch.Tensor):
            self.found.append(value)
        return NotImplemented


def move_to_cuda_on_paper(forecaster):
    """Return a copy whose nets say that they are on CUDA, as one trained there does."""
    forecaster = copy.deepcopy(forecaster)
    for net in forecaster.members_:
        net.device = "cuda"
    return forecaster


WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
#: skorch says it when a net that was saved on CUDA is loaded without CUDA.
MOVED = "ignore:(Requested to load data to CUDA|Setting self.device = cpu)"


@WITHOUT_CUDA
@pytest.mark.filterwarnings(MOVED)
@pytest.mark.parametrize("way", ["pickle", "save and load", "save and load a file"])
def test_a_forecaster_saved_on_cuda_loads_on_the_cpu(way, tmp_path):
    forecaster = fit(device="auto", num_members=2)
    saved = move_to_cuda_on_paper(forecaster)
    if way == "pickle":
        loaded = pickle.loads(pickle.dumps(saved))
    elif way == "save and load":
        loaded = load(saved.save())
    else:
        saved.save(tmp_path / "saved")
        loaded = load(tmp_path / "saved.zip")
    assert [torch.device(net.device).type for net in loaded.members_] == ["cpu", "cpu"]
    assert answers(loaded) == answers(forecaster)
    for one in (loaded, forecaster):
        one.update(Y_NEW, X=X, update_params=True)
    assert answers(loaded) == answers(forecaster)
    loaded.fit(Y_OLD, X=X)


@WITHOUT_CUDA
@pytest.mark.filterwarnings(MOVED)
def test_a_forecaster_asked_for_cuda_loads_on_the_cpu_and_refuses_to_refit_there():
    saved = move_to_cuda_on_paper(fit())
    saved.device = "cuda"
    loaded = pickle.loads(pickle.dumps(saved))
    loaded.update(Y_NEW, X=X, update_params=True)
    assert loaded.predict(FH, X=X).notna().all()
    with pytest.raises(ValueError, match="Got device='cuda', which torch cannot use here"):
        loaded.fit(Y_OLD, X=X)


@pytest.mark.parametrize("loss", ["quantile", "mse"])
def test_every_tensor_of_a_net_is_pickled_where_skorch_can_move_it(loss):
    """A tensor elsewhere, in a callback say, would be on CUDA and could not be read without."""
    forecaster = fit(loss=loss, validation_fraction=0.3, max_epochs=2)
    state = forecaster.net_.__getstate__()  # skorch's own bytes hold weights, optimizer and head
    assert state.pop("criterion") is not forecaster.net_.criterion_  # this one never moves
    finder = TensorFinder()
    finder.dump(state)
    assert not finder.found


# Copies and files.


@pytest.mark.parametrize("parameters", [{}, {"loss": "mse", "num_members": 2}], ids=str)
def test_copies_and_files_answer_bit_for_bit_like_the_original(parameters, tmp_path):
    forecaster = fit(**parameters)
    expected = answers(forecaster)
    forecaster.save(tmp_path / "saved")
    copies = [
        copy.deepcopy(forecaster),
        pickle.loads(pickle.dumps(forecaster)),
        load(forecaster.save()),
        load(tmp_path / "saved.zip"),
    ]
    for duplicate in copies:
        assert answers(duplicate) == expected
        duplicate.update(Y_NEW, X=X, update_params=True)
    assert answers(forecaster) == expected, "copies share nothing with the original"
    forecaster.update(Y_NEW, X=X, update_params=True)
    assert [answers(duplicate) for duplicate in copies] == [answers(forecaster)] * len(copies)


# Random state.


def test_an_integer_random_state_repeats_and_none_does_not():
    assert answers(fit()) == answers(fit())
    one, other = (make(random_state=None).fit(Y_OLD, X=X).predict(FH, X=X) for _ in range(2))
    assert not one.equals(other)


def test_a_numpy_random_state_repeats_from_the_same_state():
    states = [np.random.RandomState(7), np.random.RandomState(7)]
    one, other = (make(random_state=state).fit(Y_OLD, X=X) for state in states)
    assert answers(one) == answers(other)


def test_different_integers_give_different_forecasts():
    one, other = (make(random_state=seed).fit(Y_OLD, X=X).predict(FH, X=X) for seed in (0, 1))
    assert not one.equals(other)


@pytest.mark.usefixtures("global_random_state_stays")
@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("loss", ["quantile", "mse"])
def test_the_global_random_state_is_left_alone(random_state, loss):
    panel = pd.concat({"p": Y_OLD.to_frame(), "q": Y_OLD.to_frame()}, names=["shop", "day"])
    make(loss=loss, random_state=random_state).pretrain(panel).fit(Y_OLD)
    forecaster = make(loss=loss, dropout=0.1, random_state=random_state).fit(Y_OLD, X=X)
    forecaster.predict(FH, X=X)
    forecaster.predict_quantiles([1, 9], X=X, alpha=0.1)
    forecaster.predict_var([1, 9], X=X)
    forecaster.predict_residuals()
    forecaster.update(Y_NEW, X=X, update_params=True)
    forecaster.update(Y.iloc[50:52], X=X, update_params=False)


def test_the_global_random_state_is_not_read():
    expected = answers(fit(dropout=0.1))
    before = torch.get_rng_state(), np.random.get_state()
    try:
        torch.manual_seed(99)
        np.random.seed(99)  # the global state that must not matter
        assert answers(fit(dropout=0.1)) == expected
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])


# Threads.

IN_THREADS = {
    "default": {},
    "dropout": {"dropout": 0.3, "num_layers": 2},
    "checkpoints": {"dropout": 0.3, "gradient_checkpointing": True, "feedforward": "gelu"},
    "held out": {"loss": "mse", "validation_fraction": 0.2, "max_epochs": 2},
}


@pytest.mark.parametrize("name", IN_THREADS)
def test_fits_and_updates_in_threads_equal_those_one_after_the_other(name):
    def work(seed):
        torch.set_num_threads(1)
        forecaster = make(random_state=seed, **IN_THREADS[name]).fit(Y_OLD, X=X)
        forecaster.update(Y_NEW, X=X, update_params=True)
        return answers(forecaster)

    seeds = [3, 3, 4, 5, 3, 4, 6, 3]
    serial = {seed: work(seed) for seed in set(seeds)}
    before = torch.get_rng_state()
    changed = []
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(work, seed) for seed in seeds]
        while not all(one.done() for one in found):
            changed.append(not torch.equal(torch.get_rng_state(), before))
            time.sleep(0.001)
    assert [one.result() for one in found] == [serial[seed] for seed in seeds]
    assert changed
    assert not any(changed)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threading", "dask"])
def test_evaluate_on_threads_equals_serial_in_every_run(backend):
    if backend == "dask":
        pytest.importorskip("dask")
        pytest.importorskip("pyarrow")  # which sktime's use of dask needs
    settings = {"n_jobs": 4} if backend == "threading" else {"scheduler": "threads"}
    cv = ExpandingWindowSplitter(fh=[1, 2, 3], initial_window=len(Y_OLD) - 12, step_length=3)

    def errors(backend, settings):
        forecaster = make(random_state=1, dropout=0.3)
        table = evaluate(
            forecaster, cv, Y_OLD, X[:40], backend=backend, backend_params=settings
        )  # dask has no frames within its frames
        return table.filter(like="test_").iloc[:, 0].tolist()

    serial = errors(None, {})
    before = torch.get_rng_state()
    assert [errors(backend, settings) for _ in range(20)] == [serial] * 20
    assert torch.equal(torch.get_rng_state(), before)


# Processes.

SCRIPT = """
import warnings
warnings.simplefilter("ignore")
import pandas as pd, torch
from sktime_tlstm import TransformerLSTMForecaster
torch.set_num_threads(1)
table = pd.read_pickle({path!r})
forecaster = TransformerLSTMForecaster(**{parameters!r}).fit(table[["y"]][:40], X=table[["a", "b"]])
X = table[["a", "b"]]
print(forecaster.predict({fh!r}, X=X).to_csv(float_format="%.17g"))
print(forecaster.predict_quantiles({fh!r}, X=X, alpha=[0.1, 0.9]).to_csv(float_format="%.17g"))
"""


@pytest.mark.slow
def test_processes_with_different_hash_seeds_agree_bit_for_bit(tmp_path):
    path = str(tmp_path / "table.pickle")
    X.assign(y=Y).to_pickle(path)
    parameters = {**TINY, "prediction_length": 3, "random_state": 0}
    script = SCRIPT.format(path=path, parameters=parameters, fh=FH)
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    here = make(random_state=0).fit(Y_OLD.to_frame(), X=X)
    assert printed[0] == "\n".join([*answers(here), ""])


def _fit_in_worker(forecaster):
    torch.set_num_threads(1)
    return answers(forecaster.fit(Y_OLD, X=X))


@pytest.mark.slow
def test_loky_workers_agree_bit_for_bit_with_this_process():
    found = Parallel(n_jobs=2, backend="loky")(
        delayed(_fit_in_worker)(make(random_state=0)) for _ in range(2)
    )
    assert found == [answers(fit())] * 2


# Memory.


@pytest.mark.slow
def test_memory_stays_flat_over_updates_and_forecasts():
    warmup, cycles = 110, 100  # the first hundred fill the caches of pandas and torch
    index = pd.date_range("2024-01-01", periods=100 + warmup + cycles, freq="h")
    y = pd.Series(np.sin(np.arange(len(index)) / 4), index)
    forecaster = make(random_state=0).fit(y[:100])
    sizes = []
    tracemalloc.start()
    try:
        for cycle in range(100, len(index)):
            forecaster.update(y[cycle : cycle + 1], update_params=False)
            forecaster.predict([1, 2, 3])
            if cycle in (100 + warmup, len(index) - 1):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 1000 * cycles  # bytes: a row is below 100 of them
