"""Data-parallel training: real processes that train one network together."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sktime_tlstm import ForecastWarning, TransformerLSTMForecaster
from sktime_tlstm.data.sampling import WindowSampler

#: What each process runs: its name is an argument, its answer a line of JSON.
WORKER = Path(__file__).with_name("data_parallel_worker.py")
EXAMPLE = Path(__file__).parents[1] / "examples" / "several_processes.py"


def launch(number, *arguments):
    """Return the answers of the worker in processes that know of each other."""
    return [json.loads(out.splitlines()[-1]) for out in printed(number, WORKER, *arguments)]


def printed(number, script, *arguments):
    """Return what a script prints in each of several processes, started as a launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(number)}
    if sys.platform == "linux":  # a machine's own name may not be known to it
        own["GLOO_SOCKET_IFNAME"] = "lo"
    running = [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={**os.environ, **own, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    try:
        results = [(*process.communicate(timeout=300), process.returncode) for process in running]
    finally:
        for process in running:
            process.kill()
    for _, errors, returncode in results:
        assert returncode == 0, errors
    return [out for out, *_ in results]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Return the answers of two processes, and where one of them has saved the forecaster."""
    path = tmp_path_factory.mktemp("together") / "two.zip"
    return launch(2, "fit", 8, path), path


def test_two_processes_train_as_one_with_twice_the_batch(together, tmp_path):
    (one,) = launch(1, "fit", 16, tmp_path / "one.zip")
    (first, second), _ = together
    assert first == second
    assert len(one["train_loss"]) == 8  # two members, each trained twice for two epochs
    for name, values in one.items():
        np.testing.assert_allclose(first[name], values, rtol=1e-4, atol=1e-5)


def test_two_processes_weigh_their_windows_as_one_does():
    (one,), (first, second) = launch(1, "weighted", 16), launch(2, "weighted", 8)
    assert first == second
    for name, values in one.items():
        np.testing.assert_allclose(first[name], values, rtol=1e-4, atol=1e-5)


def test_what_they_have_saved_once_goes_on_alone(together):
    (answer, _), path = together
    loaded = TransformerLSTMForecaster.load_from_path(path)
    hours = pd.date_range(loaded.cutoff[0], periods=9, freq="h")[1:]
    X = pd.DataFrame({"a": np.zeros(8)}, hours)
    np.testing.assert_array_equal(loaded.predict(X=X), answer["forecast"])
    before = loaded.net_.module_.output.weight.detach().clone()
    loaded.update(pd.Series(np.arange(8.0), hours), X=X, update_params=True)
    assert not np.array_equal(before, loaded.net_.module_.output.weight.detach())


def test_the_example_saves_once(tmp_path):
    path = tmp_path / "saved.zip"
    first, second = printed(2, EXAMPLE, "--rows", 300, "--epochs", 1, "--path", path)
    words = "2 processes, the next day is off by"  # older torch prints more
    assert words in first and words not in second and path.exists()


def test_processes_that_disagree_are_refused_and_none_waits(tmp_path):
    words = {
        "seeds": "2 processes that differ in their random_state",
        "data": "differ in their sum of the data",
        "weights": "differ in their sum of the data",
        "checkpoints": "Got checkpoint_dir and data_parallel in 2 processes",
    }
    for answers in launch(2, "refused", tmp_path):
        assert answers.keys() == words.keys()
        assert all(words[name] in answer for name, answer in answers.items())


def test_gradients_are_averaged_where_a_process_lacks_them():
    for answer in launch(2, "gradients"):
        assert answer == {"both": [1.5, 3.0], "one": [2.0], "none": None}


class Draws:
    """A dataset whose epochs are numbers in their order."""

    def __init__(self, windows_per_epoch):
        self.windows_per_epoch = windows_per_epoch

    def draw(self, rng):
        return np.arange(self.windows_per_epoch)


@pytest.mark.parametrize("windows", [1, 5, 6, 30, 31, 35, 36, 37])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_shares_are_equal_and_no_window_is_taken_twice(windows, number):
    shares = [WindowSampler(Draws(windows), 0, 5, rank, number) for rank in range(number)]
    taken = [list(share) for share in shares]
    assert {len(own) for own in taken} == {len(shares[0])} == {windows // number}
    joint = sorted(itertools.chain(*taken))
    assert len(set(joint)) == len(joint) and set(joint) <= set(range(windows))
    assert len(joint) > windows - number
    steps = [own[:5] for own in taken]  # together the first step is what one process would take
    if windows >= 5 * number:
        assert sorted(itertools.chain(*steps)) == list(range(5 * number))


def test_without_a_launcher_nothing_changes_and_a_warning_says_so(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    rng = np.random.default_rng(0)
    y = pd.Series(rng.normal(size=50), pd.RangeIndex(50))
    settings = {"d_model": 4, "max_epochs": 1, "context_length": 3, "random_state": 0}
    plain = TransformerLSTMForecaster(**settings).fit(y, fh=[1, 2])
    alone = TransformerLSTMForecaster(**settings, net_params={"data_parallel": True})
    with pytest.warns(ForecastWarning, match="no launcher has started: it trains alone"):
        alone.fit(y, fh=[1, 2])
    pd.testing.assert_series_equal(plain.predict(), alone.predict())
