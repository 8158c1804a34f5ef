"""The service of examples/serve.py, asked by real clients on loopback."""

import contextlib
import importlib.util
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import TransformerLSTMForecaster
from tests.setups import tiny

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

TIMES = pd.date_range("2024-01-01", periods=80, freq="h")
Y = pd.DataFrame({"load": 10 + np.sin(np.arange(80) / 4)}, TIMES)
X = pd.DataFrame({"heat": np.cos(np.arange(80) / 4), "day": ["a", "b"] * 40}, TIMES)


def records(frame, begin, end):
    part = frame.iloc[begin:end]
    return part.assign(time=part.index.astype(str)).to_dict("records")


def server_of():
    path = Path(__file__).parents[1] / "examples" / "serve.py"
    spec = importlib.util.spec_from_file_location("serve_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def running(forecaster, folder):
    forecaster.save(folder / "one", "safetensors").close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = torch.get_num_threads()
    app = server_of().create_app(folder / "one.zip")
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        torch.set_num_threads(threads)


def post(url, **body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_sixteen_clients_get_their_own_answers_while_some_are_refused(tmp_path):
    forecaster = tiny().fit(Y[:60], X=X[:60], fh=range(1, 5))
    expected = {
        steps: forecaster.predict(range(1, steps + 1), X[60:70])["load"].tolist()
        for steps in range(1, 9)
    }
    own = forecaster.predict(range(1, 5), X[:50], y=2 * Y[:40])["load"].tolist()
    with running(forecaster, tmp_path) as url:

        def client(number):
            for _ in range(5):
                if number % 4 == 0:
                    status, answer = post(f"{url}/forecast", steps=3, X=records(X, 65, 70))
                    assert status == 422 and answer["detail"].startswith("Got X without")
                elif number % 4 == 1:
                    past = records(2 * Y, 0, 40)
                    status, answer = post(f"{url}/forecast", steps=4, y=past, X=records(X, 0, 50))
                    assert status == 200 and answer["point"]["load"] == own
                else:
                    steps = 1 + number % 8
                    status, answer = post(f"{url}/forecast", steps=steps, X=records(X, 60, 70))
                    assert status == 200 and answer["point"]["load"] == expected[steps]
                    assert list(answer["quantiles"]) == ["load 0.05", "load 0.5", "load 0.95"]
                    assert answer["index"][0] == "2024-01-03 12:00:00"
            return True

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(client, range(16)))


def test_an_update_moves_the_cutoff_and_a_refused_one_does_not(tmp_path):
    forecaster = tiny().fit(Y[:60], X=X[:60], fh=range(1, 5))
    with running(forecaster, tmp_path) as url:
        status, answer = post(f"{url}/update", y=records(Y, 60, 64), X=records(X, 60, 64))
        assert (status, answer["cutoff"]) == (200, ["2024-01-03 15:00:00"])
        status, answer = post(f"{url}/update", y=records(X, 64, 66), X=records(X, 64, 66))
        assert status == 422 and "Got" in answer["detail"]
        status, answer = post(f"{url}/forecast", steps=2, X=records(X, 64, 70), quantiles=[0.5])
        forecaster.update(Y[60:64], X[60:64], update_params=False)
        assert answer["point"]["load"] == forecaster.predict([1, 2], X[64:70])["load"].tolist()
        for body in ({}, {"steps": 0}, {"steps": 3, "quantiles": [2.0], "X": records(X, 64, 70)}):
            assert post(f"{url}/forecast", **body)[0] == 422
        status, answer = post(f"{url}/forecast", steps=2, X=[{"heat": 1.0}])
        assert status == 422 and "X with ['heat'], expected also ['time']" in answer["detail"]
        with urllib.request.urlopen(f"{url}/about") as about:
            assert json.load(about)["forecaster"] == "TransformerLSTMForecaster"


def test_point_and_quantiles_are_of_one_state_though_an_update_comes_between(tmp_path, monkeypatch):
    forecaster = tiny().fit(Y[:60], X=X[:60], fh=range(1, 5))
    point = forecaster.predict([1, 2], X[60:70])
    low = forecaster.predict_quantiles([1, 2], X[60:70], alpha=[0.1])
    original, calls = TransformerLSTMForecaster.predict_quantiles, []

    def with_an_update_behind(self, *args, **kwargs):
        found = original(self, *args, **kwargs)
        for end, status in ((50, 422), (66, 200)) if not calls else ():
            calls.append(end)  # the first lacks rows of X
            new = {"y": records(3 * Y, 60, 66), "X": records(X, 60, end)}
            assert post(f"{url}/update", **new)[0] == status
        return found

    with running(forecaster, tmp_path) as url:
        monkeypatch.setattr(TransformerLSTMForecaster, "predict_quantiles", with_an_update_behind)
        status, answer = post(f"{url}/forecast", steps=2, X=records(X, 60, 70), quantiles=[0.1])
        assert status == 200 and calls == [50, 66]
        assert answer["index"] == point.index.astype(str).tolist()
        assert answer["point"]["load"] == point["load"].tolist()
        assert answer["quantiles"]["load 0.1"] == low["load", 0.1].tolist()
        status, answer = post(f"{url}/forecast", steps=2, X=records(X, 66, 70), quantiles=[0.1])
        assert status == 200 and answer["index"][0] == "2024-01-03 18:00:00"


def test_what_could_be_read_in_two_ways_or_not_at_all_is_refused_in_words(tmp_path):
    forecaster = tiny().fit(Y[:60], X=X[:60], fh=range(1, 5))
    good, past = records(X, 0, 30), records(Y, 0, 20)

    def with_time(value):
        return [*past[:3], {**past[3], "time": value}, *past[4:]]

    refused = {
        "'03/04/2018 00:00' in row 3 of y, expected a date that begins with the year": {
            "y": with_time("03/04/2018 00:00")
        },
        "Got the time 3 in row 3 of y": {"y": with_time(3)},
        "Got the time {'a': 1} in row 3 of y": {"y": with_time({"a": 1})},
        "Got the time 'bad' in row 3 of y": {"y": with_time("bad")},
        "Got the time '2024-13-40' in row 3 of y": {"y": with_time("2024-13-40")},
        "Got the time None in row 3 of y": {"y": with_time(None)},
        "Got the time '2024-01-02T00:00+02:00' in row 3": {
            "y": with_time("2024-01-02T00:00+02:00")
        },
        "Got levels=['time'], expected the columns that name": {"y": past, "levels": ["time"]},
        "Got X without rows, expected some": {"y": past, "X": []},
        "Got quantiles=[0.5, 0.5], expected numbers": {"y": past, "quantiles": [0.5, 0.5]},
        "Got quantiles=[2.0], expected numbers between 0 and 1": {"y": past, "quantiles": [2.0]},
        "Got y without any observed value": {"y": [{**row, "load": None} for row in past]},
    }
    with running(forecaster, tmp_path) as url:
        for words, body in refused.items():
            status, answer = post(f"{url}/forecast", **{"steps": 2, "X": good, **body})
            assert status == 422 and words in answer["detail"], answer


@pytest.mark.parametrize(
    "index",
    [
        pd.period_range("2015-01", periods=40, freq="M"),
        pd.period_range("2010Q1", periods=40, freq="Q"),
        pd.RangeIndex(40),
        pd.date_range("2024-03-30", periods=40, freq="h", tz="Europe/Berlin"),
    ],
    ids=["months", "quarters", "integers", "a time zone"],
)
def test_times_of_every_kind_are_read_as_they_are_written(index):
    written = index.tolist() if isinstance(index, pd.RangeIndex) else index.astype(str).tolist()
    found = server_of().read_times("y", written, index[-1:])
    assert found.equals(pd.Index(index.tolist()))


def test_panels_name_their_series(tmp_path):
    panel = pd.concat({"p": Y, "q": 3 * Y}, names=["plant", "time"])
    part = panel[panel.index.get_level_values(1) < TIMES[60]]
    forecaster = tiny().fit(part, fh=[1, 2])
    with running(forecaster, tmp_path) as url:
        status, answer = post(f"{url}/forecast", steps=2)
        assert status == 200 and answer["index"][2] == ["q", "2024-01-03 12:00:00"]
        rows = [{**row, "plant": "new"} for row in records(Y, 0, 50)]
        status, answer = post(f"{url}/forecast", steps=2, y=rows, levels=["plant"])
        assert status == 200 and answer["index"][0] == ["new", "2024-01-03 02:00:00"]
        assert post(f"{url}/forecast", steps=2, y=rows)[0] == 422
