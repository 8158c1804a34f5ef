"""The command line does what the library does, and refuses what is wrong without a trace."""

import datetime
import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.performance_metrics.forecasting.probabilistic import EmpiricalCoverage, PinballLoss
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster, checkpoints
from sktime_tlstm.cli import main
from sktime_tlstm.configuration import CHECKS, SETTINGS, described, load
from tests.setups import NETWORK, TRAINING, tiny

yaml = pytest.importorskip("ruamel.yaml")

ROOT = Path(__file__).parents[1]
ROWS, SEEN, FH = 130, 100, 5
TIMES = pd.date_range("2024-01-01", periods=ROWS, freq="h", name="time")


def rows_of(seed=0):
    """Return a series with two numbers and a text beside it."""
    rng = np.random.default_rng(seed)
    temp = np.sin(np.arange(ROWS) / 3) + rng.normal(0, 0.1, ROWS)
    load = 10 + 3 * temp + rng.normal(0, 0.1, ROWS)
    kind = np.where(temp > 0, "warm", "cold")
    return pd.DataFrame(
        {"load": load, "temp": temp, "wind": rng.normal(size=ROWS), "kind": kind}, TIMES
    )


FRAME = rows_of()
PANEL = pd.concat({"001": FRAME, "NA": rows_of(1)[20:]}, names=["store", "time"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a folder with data and a configuration."""
    monkeypatch.chdir(tmp_path)
    FRAME[:SEEN].to_csv("past.csv")
    FRAME[SEEN:].drop(columns="load").to_csv("future.csv")
    FRAME.to_csv("all.csv")
    configure()
    return tmp_path


def configure(**sections):
    """Write config.yaml, with other sections or settings than usual."""
    data = {"files": "past.csv", "time": "time", "target": "load"}
    sections = {"fh": FH, "save": "model.zip", **sections}
    sections["data"] = {**data, **sections.get("data", {})}
    sections["forecaster"] = {**NETWORK, **TRAINING, **sections.get("forecaster", {})}
    with open("config.yaml", "w") as file:
        yaml.YAML().dump(sections, file)


def refused(capsys, *arguments):
    """Return what a command says that is refused, and leaves no file."""
    before = sorted(path.name for path in Path.cwd().iterdir())
    assert main(arguments) == 2
    assert sorted(path.name for path in Path.cwd().iterdir()) == before
    printed = capsys.readouterr()
    assert not printed.out and "Traceback" not in printed.err
    return printed.err


def fitted(frame=FRAME[:SEEN], covariates=("temp", "wind"), **parameters):
    return tiny(**parameters).fit(frame[["load"]], X=frame[list(covariates)], fh=range(1, FH + 1))


# What the commands do.


def test_forecasts_and_bounds_are_those_of_the_library(folder, capsys):
    assert main(["fit", "config.yaml"]) == 0
    printed = capsys.readouterr()
    assert re.fullmatch(
        r"Fitted 2 epochs on 100 rows of 1 series in [\d.]+ s: "
        r"validation MAE of the network alone [\d.]+; saved model\.zip\n",
        printed.out,
    )
    assert "['kind'] hold other things than numbers" in printed.err
    command = "predict config.yaml --future future.csv --coverage 0.5 0.995 --out forecast.csv"
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == "Wrote 5 rows to forecast.csv\n"
    found = pd.read_csv("forecast.csv", parse_dates=["time"], index_col="time")
    forecaster, X = fitted(), FRAME[["temp", "wind"]]
    expected = forecaster.predict(X=X)
    bounds = forecaster.predict_interval(X=X, coverage=[0.5, 0.995])
    names = ["load_lower_50", "load_upper_50", "load_lower_99.5", "load_upper_99.5"]
    expected[names] = bounds.to_numpy()
    pd.testing.assert_frame_equal(found, expected, check_freq=False, check_index_type=False)


def test_a_panel_of_parquet_files_keeps_its_names(folder, capsys):
    for name, rows in PANEL.groupby("store"):
        rows[:-30].reset_index().to_parquet(f"part_{name}.parquet", index=False)
    PANEL.groupby("store").tail(30).to_csv("future.csv")
    forecaster = {"past_covariates": ["kind", "wind"], "static_covariates": None}
    configure(data={"files": "part_*.parquet", "series": "store"}, forecaster=forecaster)
    assert main(["fit", "config.yaml"]) == 0
    assert "180 rows of 2 series" in capsys.readouterr().out
    assert main(["predict", "config.yaml", "--future", "future.csv", "--out", "f.parquet"]) == 0
    found = pd.read_parquet("f.parquet").set_index(["store", "time"])
    past = PANEL.groupby("store", group_keys=False).apply(lambda rows: rows[:-30])
    own = fitted(past, ["temp", "wind", "kind"], past_covariates=["kind", "wind"])
    expected = own.predict(X=PANEL[["temp", "wind", "kind"]])
    pd.testing.assert_frame_equal(found, expected, check_index_type=False, check_column_type=False)


def test_new_rows_are_seen_and_not_kept(folder, capsys):
    assert main(["fit", "config.yaml"]) == 0
    kept = Path("model.zip").read_bytes()
    FRAME[SEEN - 5 : SEEN + 10].to_csv("new.csv")  # some of them known
    command = "predict config.yaml --update new.csv --future future.csv --out forecast.csv"
    assert main(shlex.split(command)) == 0
    found = pd.read_csv("forecast.csv", parse_dates=["time"], index_col="time")
    X, forecaster = FRAME[["temp", "wind"]], fitted()
    forecaster.update(FRAME[["load"]][SEEN : SEEN + 10], X=X, update_params=False)
    pd.testing.assert_frame_equal(
        found, forecaster.predict(X=X), check_freq=False, check_index_type=False
    )
    assert Path("model.zip").read_bytes() == kept


@pytest.mark.parametrize("covariates", [["temp"], None], ids=["named", "all numbers"])
def test_rows_are_weighed_by_their_column(covariates, folder, capsys):
    weights = np.linspace(0.0, 2.0, SEEN)
    FRAME[:SEEN].drop(columns="wind").assign(weight=weights).to_csv("past.csv")
    FRAME[SEEN : SEEN + 10].assign(weight=1.0).to_csv("new.csv")
    configure(data={"covariates": covariates}, forecaster={"weight_column": "weight"})
    assert main(["fit", "config.yaml"]) == 0
    command = "predict config.yaml --update new.csv --future future.csv --out forecast.csv"
    assert main(shlex.split(command)) == 0, capsys.readouterr().err
    found = pd.read_csv("forecast.csv", parse_dates=["time"], index_col="time")
    past = FRAME[:SEEN].assign(weight=weights)
    forecaster, X = fitted(past, ["temp", "weight"], weight_column="weight"), FRAME[["temp"]]
    new = FRAME[SEEN : SEEN + 10].assign(weight=1.0)
    forecaster.update(new[["load"]], X=new[["temp", "weight"]], update_params=False)
    expected = forecaster.predict(X=X)
    pd.testing.assert_frame_equal(found, expected, check_freq=False, check_index_type=False)


@pytest.mark.parametrize("covariates", [["temp"], None], ids=["named", "all numbers"])
def test_columns_whose_past_is_hidden_are_read_targets_among_them(covariates, folder, capsys):
    hidden = {"mode": "simulation", "prediction_length": 4, "hidden_past": ["load", "kind"]}
    configure(fh=None, data={"covariates": covariates}, forecaster=hidden)
    assert main(["fit", "config.yaml"]) == 0, capsys.readouterr().err
    assert main(shlex.split("predict config.yaml --future future.csv --out forecast.csv")) == 0
    found = pd.read_csv("forecast.csv", parse_dates=["time"], index_col="time")
    columns = ["temp", "kind"] if covariates else ["temp", "wind", "kind"]
    forecaster = fitted(FRAME[:SEEN], columns, **hidden)
    expected = forecaster.predict(range(1, len(found) + 1), X=FRAME[columns])
    pd.testing.assert_frame_equal(found, expected, check_freq=False, check_index_type=False)


def test_without_fh_the_rows_of_the_future_are_forecast(folder, capsys):
    configure(fh=None, forecaster={"prediction_length": 4})
    assert main(["fit", "config.yaml"]) == 0
    capsys.readouterr()
    FRAME[SEEN - 2 : SEEN + 7].drop(columns="load").to_csv("future.csv")
    assert main(["predict", "config.yaml", "--future", "future.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    times = [line.split(",")[0] for line in lines[1:]]
    assert times == TIMES[SEEN : SEEN + 7].astype(str).tolist()
    FRAME[:SEEN].to_csv("future.csv")
    message = refused(capsys, "predict", "config.yaml", "--future", "future.csv")
    assert "expected some after the last observation" in message
    configure(fh=None, data={"covariates": []}, forecaster={"prediction_length": 4})
    assert main(["fit", "config.yaml"]) == 0
    assert main(["predict", "config.yaml"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 1 + 4


def test_a_simulation_runs_as_far_as_its_input(folder, capsys):
    configure(fh=None, data={"covariates": ["temp"]}, forecaster={"mode": "simulation"})
    assert main(["fit", "config.yaml"]) == 0
    assert main(["predict", "config.yaml", "--future", "future.csv", "--out", "f.csv"]) == 0
    assert len(pd.read_csv("f.csv")) == ROWS - SEEN


def test_rows_without_a_target_at_the_end_are_the_future(folder, capsys):
    frame = FRAME.copy()
    frame.iloc[SEEN:, 0] = np.nan
    frame.to_csv("all.csv")
    configure(data={"files": "all.csv"})
    assert main(["fit", "config.yaml"]) == 0
    assert main(["predict", "config.yaml", "--future", "all.csv", "--out", "f.csv"]) == 0
    expected = fitted().predict(X=FRAME[["temp", "wind"]])
    assert pd.read_csv("f.csv")["load"].to_numpy() == pytest.approx(expected["load"].to_numpy())


def test_a_backtest_scores_what_the_library_scores(folder, capsys):
    scoring = ["PinballLoss", "MeanAbsoluteError", "EmpiricalCoverage"]
    settings = {"cut": str(TIMES[SEEN]), "step": 4, "scoring": scoring, "coverage": 0.8}
    configure(data={"files": "all.csv"}, backtest={**settings, "update_every": 3})
    assert main(["backtest", "config.yaml", "--out", "scores.csv"]) == 0
    printed = capsys.readouterr().out
    found = pd.read_csv("scores.csv", index_col="cutoff", parse_dates=["cutoff"])
    cv = ExpandingWindowSplitter(range(1, FH + 1), initial_window=SEEN, step_length=4)
    forecaster, data = fitted(), (FRAME[["load"]], FRAME[["temp", "wind"]])
    points = forecaster.backtest(*data, cv, scoring=MeanAbsoluteError(), update_every=3)
    metrics = [PinballLoss(), EmpiricalCoverage()]
    shares = forecaster.backtest(
        *data, cv, "predict_interval", coverage=0.8, scoring=metrics, update_every=3
    )
    assert list(found) == scoring and found.index.tolist() == points["cutoff"].tolist()
    assert len(found) == 7
    for table in (points, shares):
        for name in table.filter(regex="^test_"):
            np.testing.assert_allclose(found[name.removeprefix("test_")], table[name], rtol=1e-6)
    assert f"mean of 7 cutoffs: PinballLoss {found['PinballLoss'].mean():.6g}" in printed
    assert f"on {SEEN} rows" in printed


def test_a_backtest_cuts_all_series_at_one_time(folder, capsys):
    PANEL.to_csv("all.csv")
    # a date as YAML knows it, and the default step, which is that of fh
    configure(data={"files": "all.csv", "series": ["store"]}, backtest={"cut": "2024-01-05"})
    assert main(["backtest", "config.yaml", "--out", "scores.csv"]) == 0
    seen = int((TIMES < "2024-01-05").sum())
    assert f"on {seen + seen - 20} rows of 2 series" in capsys.readouterr().out
    found = pd.read_csv("scores.csv", parse_dates=["cutoff"])
    assert found["cutoff"].tolist() == TIMES[seen - 1 : ROWS - FH : FH].tolist()


def test_a_backtest_without_fh_forecasts_as_many_steps_as_are_left(folder, capsys):
    left = 7
    settings = {"cut": str(TIMES[ROWS - left]), "scoring": ["MeanAbsoluteError"]}
    for length, steps in ((3, 3), (9, left), (None, left)):
        own = {"prediction_length": length}
        configure(fh=None, data={"files": "all.csv"}, forecaster=own, backtest=settings)
        assert main(["backtest", "config.yaml"]) == 0
        printed = capsys.readouterr()
        assert f"mean of {left // steps} cutoffs" in printed.out
        assert (f"note: forecasts of {left} steps and not of" in printed.err) == (steps == left)


REMEDIES = {
    "a gap": ("store,time,load\n", "'b'.*data.freq, such as D"),
    "irregular": ("store,time,load\n", "without a regular frequency.*data.freq, such as D"),
    "a gap in the longest": (
        "store,time,load\n",
        "comes 2024-02-10 00:00:00 of series 'b', expected .* set data.freq, .* Or resample first",
    ),
    "nothing": ("", r"No columns to parse from file\. Check the file"),
    "text": ("store,time,load\n", "Got y with the text '-'.*data.csv, such as {decimal"),
    "more values": ("store,time,load\n", "more values in a row than the 3 columns"),
    "one column": ("store;time;load\n", "with the columns .'store;time;load'., expected"),
}


@pytest.mark.parametrize("case", REMEDIES)
def test_errors_about_files_say_what_the_configuration_does(case, folder, capsys):
    text, words = REMEDIES[case]
    for store in "abc":
        for day in range(1, 29):
            if (case, store, day) == ("a gap", "b", 9) or (case, day) == ("irregular", 9):
                continue
            if case == "a gap in the longest" and (day > 25 if store != "b" else day == 9):
                continue
            if case == "nothing":
                continue
            value = {"text": "-" if day == 4 else "3.5", "more values": "3,5"}.get(case, "3.5")
            text += f"{store},2024-02-{day:02d},{value}\n"
    Path("past.csv").write_text(text.replace(",", ";") if case == "one column" else text)
    configure(data={"series": ["store"]})
    found = refused(capsys, "fit", "config.yaml")
    assert re.search(words, found, re.DOTALL), found
    assert "level_" not in found and "engine" not in found


def test_a_file_of_the_future_is_named_with_what_it_has(folder, capsys):
    past = PANEL.groupby(level=0, group_keys=False).head(SEEN - 20)
    model = tiny().fit(past[["load"]], X=past[["temp"]], fh=range(1, FH + 1))
    model.save("model.zip", "safetensors").close()
    covariates = PANEL[["temp"]]
    covariates.loc[["NA"]].rename({"NA": "north"}, level=0).to_csv("other.csv")
    covariates.groupby(level=0).tail(3).to_csv("late.csv")
    covariates.groupby(level=0).head(9).to_csv("early.csv")
    cases = [
        ("other.csv", None, r"--future other.csv with the series \['north'\], expected .*'001'"),
        ("early.csv", None, r"--future early.csv with rows from 2024-01-01 00:00:00 to .* after"),
        ("late.csv", None, r"--future late.csv, which has rows from 2024-01-06 07.* of 2 series"),
        ("other.csv", 2, r"Got X without the row .* --future other.csv, .* such as \['north'\]"),
    ]
    for name, fh, words in cases:
        configure(fh=fh, data={"series": ["store"], "covariates": ["temp"]})
        found = refused(capsys, "predict", "config.yaml", "--future", name)
        assert re.search(words, found), found


def test_null_is_left_out(folder, capsys):
    configure(data={"series": None, "csv": None}, backtest={"scoring": None, "coverage": None})
    assert main(["fit", "config.yaml"]) == 0
    assert "of 1 series" in capsys.readouterr().out


def test_a_separator_is_one_character(folder, capsys):
    configure(data={"csv": {"sep": "auto"}})
    assert "Got data.csv.sep='auto', expected one character" in refused(
        capsys, "fit", "config.yaml"
    )
    Path("past.csv").write_text(Path("past.csv").read_text().replace(",", "  "))
    configure(data={"csv": {"sep": r"\s+"}})
    assert "Got past.csv with more values in a row" in refused(capsys, "fit", "config.yaml")


def test_exact_numbers_of_parquet_are_numbers(folder, capsys):
    frame = FRAME[:SEEN].reset_index()
    frame["wind"] = [None] + [Decimal(f"{value:.3f}") for value in frame["wind"][1:]]
    frame.to_parquet("past.parquet", index=False)
    configure(data={"files": "past.parquet"})
    assert main(["fit", "config.yaml"]) == 0
    assert "the columns ['kind'] hold other things" in capsys.readouterr().err
    forecaster = TransformerLSTMForecaster.load_from_path("model.zip")
    assert forecaster._fitted.model.encoder.columns == ["temp", "wind"]


def test_settings_of_the_command_win(folder):
    settings = ["forecaster.lr=1e-3", "fh=[2, 4]", "data.csv.sep=;", "forecaster.scaler=null"]
    settings += ["data.date_format=%d.%m.%Y", "forecaster.target_lags=[1, 2]"]
    configuration = load("config.yaml", settings)
    assert configuration.fh == [2, 4]
    assert configuration.data.csv == {"sep": ";"}
    assert configuration.data.date_format == "%d.%m.%Y"
    given = {"lr": 0.001, "scaler": None, "target_lags": [1, 2]}
    assert configuration.forecaster == {**NETWORK, **TRAINING, **given}


def test_other_parameters_than_those_of_fit_are_told(folder, capsys):
    assert main(["fit", "config.yaml"]) == 0
    capsys.readouterr()
    changes = ["--set", "forecaster.lr=0.5", "--set", "forecaster.device=cpu"]
    assert main(["predict", "config.yaml", "--future", "future.csv", *changes]) == 0
    assert capsys.readouterr().err == (
        "note: model.zip was fitted with lr=0.004, not 0.5; run fit again to change it\n"
    )


def test_warnings_of_the_package_are_told_and_no_others(folder, capsys):
    configure(data={"covariates": ["kind"]})
    assert main(["fit", "config.yaml"]) == 0
    capsys.readouterr()
    FRAME.assign(kind="hot")[SEEN:].to_csv("future.csv")
    assert main(["predict", "config.yaml", "--future", "future.csv"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("warning: Got ") and "'kind'" in lines[0]


# Interrupted jobs.


def weights(path):
    """Return all weights of a saved forecaster."""
    parts = TransformerLSTMForecaster.load_from_path(path).net_.module_.state_dict().values()
    return torch.cat([part.ravel() for part in parts])


class PowerCutError(Exception):
    pass


def test_a_job_that_is_broken_off_goes_on_to_the_same_bits(folder, capsys, monkeypatch):
    configure(forecaster={"max_epochs": 4, "dropout": 0.2, "checkpoint_dir": "training"})
    assert main(["fit", "config.yaml", "--set", "save=whole.zip"]) == 0
    write, number = checkpoints.write_file, 0

    def broken_off(path, content):
        nonlocal number
        write(path, content)
        number += 1
        if number == 3:
            raise PowerCutError

    monkeypatch.setattr(checkpoints, "write_file", broken_off)
    with pytest.raises(PowerCutError):
        main(["fit", "config.yaml"])
    assert list(Path("training").iterdir()) and not Path("model.zip").exists()
    assert main(["fit", "config.yaml"]) == 0
    assert number <= 8  # states of two trainings of 4 epochs at most: none was done twice
    assert weights("model.zip").equal(weights("whole.zip"))


def broken_off(job, environment, number):
    """Start a job, send it a signal when it has written a state, and return how it ended."""

    def states():
        return {(path, path.stat().st_mtime_ns) for path in Path().glob("training/[!.]*")}

    before, deadline = states(), time.monotonic() + 120
    with subprocess.Popen(job, env=environment) as process:
        while states() <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
    return process.returncode


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="these signals are of POSIX")
def test_a_job_that_is_interrupted_and_killed_goes_on(folder):
    parameters = {"max_epochs": 20, "patience": None}
    parameters |= {"num_members": 2, "checkpoint_dir": "training"}
    configure(forecaster=parameters)
    job = [sys.executable, "-m", "sktime_tlstm.cli", "fit", "config.yaml"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "2"}
    assert broken_off(job, environment, signal.SIGINT) == 130
    assert broken_off(job, environment, signal.SIGKILL) == -signal.SIGKILL
    assert list(Path().glob("training/*")) and not Path("model.zip").exists()
    done = subprocess.run(job, env=environment, capture_output=True, text=True, check=True)
    assert re.match(r"Fitted \d+ epochs on 100 rows", done.stdout)
    assert Path("model.zip").exists() and not list(Path().glob("training/*"))
    failed = subprocess.run(
        [*job, "--set", "fh=0"], env=environment, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.startswith("sktime-tlstm fit: Got fh=0, expected")


# Settings.


def test_every_setting_is_listed_with_its_default_and_its_text(capsys):
    assert main(["params"]) == 0
    page = capsys.readouterr().out
    listed = re.findall(r"^([\w.]+) : ", page, re.MULTILINE)
    assert listed == list(described())
    parameters = TransformerLSTMForecaster.get_param_names()
    assert {f"forecaster.{name}" for name in parameters} | set(SETTINGS) == set(listed)
    assert main(["params", "lr", "data.freq"]) == 0
    some = capsys.readouterr().out
    assert re.findall(r"^([\w.]+) : ", some, re.MULTILINE) == ["data.freq", "forecaster.lr"]
    assert "forecaster.lr : float, default=0.004\n    The largest learning rate" in some


def test_every_setting_has_a_text_and_a_check():
    assert set(SETTINGS) == set(CHECKS)
    for kind, words in SETTINGS.values():
        assert kind and words.strip().endswith(".")


def test_a_name_that_is_no_setting_is_refused(capsys):
    assert main(["params", "learning_rate"]) == 2
    assert "Got 'learning_rate', which is no setting" in capsys.readouterr().err


BROKEN = {
    "an unknown section": ("forcaster: {}", "Got forcaster in config.yaml.* mean forecaster?"),
    "an unknown parameter": (
        "forecaster: {max_epoch: 3}",
        "Got forecaster.max_epoch .*mean forecaster.max_epochs?",
    ),
    "an unknown setting": ("data: {tim: t}", "Got data.tim .*Did you mean data.time?"),
    "parameters of a wrong kind": (
        "forecaster: {max_epochs: five, lr: 0}",
        "Got lr=0, expected a positive finite number.\nGot max_epochs='five', expected an integer",
    ),
    "parameters that do not fit": ("forecaster: {d_model: 5}", "Got d_model=5 with num_heads=2"),
    "no horizon": ("fh: 0", "Got fh=0, expected an integer n of at least 1"),
    "a step twice": ("fh: [1, 1]", "Got fh=.1, 1., expected"),
    "a truth value": ("fh: true", "Got fh=True, expected"),
    "another ending": ("save: model.pt", "Got save='model.pt', expected .*'.zip'"),
    "a folder that is not there": ("save: far/model.zip", "Got save 'far/model.zip' in a folder"),
    "no save": ("save: null", "Got no save, expected one, such as model.zip. Add it"),
    "no files": ("data: {files: null}", "Got no data.files, expected one, such as load.csv"),
    "a file that is not there": ("data: {files: lod.csv}", "Got 'lod.csv', expected .* a file"),
    "a pattern of nothing": ("data: {files: 'x*.csv'}", r"Got 'x\*.csv', expected"),
    "no target": ("data: {target: []}", r"Got data.target=\[\], expected the name"),
    "a column that is not there": (
        "data: {target: laod}",
        r"Got past.csv with the columns \['time', 'load', .*, expected \['laod'\] too",
    ),
    "a covariate that is not there": (
        "forecaster: {past_covariates: [rain]}",
        r"Got past.csv with the columns .* expected \['rain'\] too",
    ),
    "a column twice": (
        "data: {covariates: [load, temp]}",
        "Got the column 'load' as data.target and data.covariates, expected it in one",
    ),
    "a text as target": ("data: {target: kind}", "Got y with the text 'warm' in column 'kind'"),
    "an unknown frequency": ("data: {freq: hourly}", "Got data.freq='hourly', expected a freq"),
    "a frequency of nothing": ("data: {freq: 0h}", "Got data.freq='0h', expected a freq"),
    "another frequency": ("data: {freq: 2h}", "Got the time 2024-01-01 01:00:00, which is no step"),
    "too fine a frequency": ("data: {freq: ms}", "Got 100 of 356,400,001 steps of data.freq='ms'"),
    "a format without directives": ("data: {date_format: mixed}", "Got data.date_format='mixed'"),
    "another format": (
        "data: {date_format: '%d.%m.%Y'}",
        "Got the time '2024-01-01 00:00:00' in row 0 of the data, expected dates like",
    ),
    "an argument of read_csv": ("data: {csv: {nrows: 3}}", "Got data.csv={'nrows': 3}, expected"),
    "another separator": (
        "data: {csv: {sep: ;}}",
        "Got past.csv with .*data.csv, such as {sep: ;}",
    ),
    "no section": ("data: past.csv", "Got data='past.csv' in config.yaml, expected settings"),
    "no settings": ("- 1", r"Got config.yaml with '\[1\]', expected the settings"),
    "nothing": ("# 1", "Got config.yaml with 'None', expected the settings"),
    "no YAML": ("fh: [1", "Got config.yaml, expected YAML.*line 1, column"),
    "a setting twice": ("fh: 1\nfh: 2", 'found duplicate key "fh"'),
    "code": ("fh: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
}

#: Those that are a file by themselves; the others are changes of one that is right.
WHOLE_FILES = ("no section", "no settings", "nothing", "no YAML", "a setting twice", "code")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_configuration_is_refused_before_training(case, folder, capsys, monkeypatch):
    text, message = BROKEN[case]
    if case not in WHOLE_FILES:
        configure(**yaml.YAML(typ="safe").load(text))
    else:
        Path("config.yaml").write_text(text)
    monkeypatch.setattr("sktime_tlstm.forecaster.fit_model", None)  # no training begins
    found = refused(capsys, "fit", "config.yaml")
    assert re.search(message.replace("?", r"\?"), found, re.DOTALL), found


BROKEN_BACKTESTS = {
    "no cut": ({}, "Got no backtest.cut, expected one, such as 2024-01-01"),
    "an early cut": ({"cut": "2023-01-01"}, "Got backtest.cut='2023-01-01' with rows from 2024"),
    "a late cut": ({"cut": "2024-01-06 08:00"}, "Got 5 steps to forecast after backtest.cut="),
    "an ambiguous cut": ({"cut": "3/4/2024"}, "Got the time '3/4/2024' .* begin with the year"),
    "an integer": ({"cut": 7}, "Got the time 7 beside times such as 2024"),
    "an offset": ({"cut": "2024-01-05T00:00+02:00"}, "Got the time .* beside times such as"),
    "no step": ({"cut": "2024-01-05", "step": 0}, "Got backtest.step=0, expected an integer"),
    "all": ({"cut": "2024-01-05", "coverage": 1.0}, "Got backtest.coverage=1.0, expected"),
    "no metric": (
        {"cut": "2024-01-05", "scoring": ["MeanAbsolutError"]},
        "Got 'MeanAbsolutError' in backtest.scoring.*mean MeanAbsoluteError?",
    ),
    "a distribution": ({"cut": "2024-01-05", "scoring": ["CRPS"]}, "'CRPS' .* whole distributions"),
    "a benchmark": (
        {"cut": "2024-01-05", "scoring": ["MeanAbsoluteError", "MeanRelativeAbsoluteError"]},
        "'MeanRelativeAbsoluteError' in backtest.scoring, which needs forecasts of another",
    ),
    "a late date": ({"cut": datetime.date(2025, 1, 1)}, "Got backtest.cut='2025-01-01' with rows"),
    "a written cut": ({"cut": "01/06/2024"}, "Got the time '01/06/2024' in the configuration, exp"),
    "no update": ({"cut": "2024-01-05", "update_every": 0}, "Got backtest.update_every=0"),
}


@pytest.mark.parametrize("case", BROKEN_BACKTESTS)
def test_a_broken_backtest_is_refused_before_training(case, folder, capsys, monkeypatch):
    settings, message = BROKEN_BACKTESTS[case]
    configure(data={"files": "all.csv", "covariates": ["temp"]}, backtest=settings)
    monkeypatch.setattr("sktime_tlstm.forecaster.fit_model", None)
    found = refused(capsys, "backtest", "config.yaml", "--out", "scores.csv")
    assert re.search(message.replace("?", r"\?"), found, re.DOTALL), found


BROKEN_PREDICTIONS = {
    "no future": ("", "Got no --future, but the forecasts read the columns ['temp', 'wind'] there"),
    "a column that is absent": ("--future short.csv", "expected ['wind'] too"),
    "rows that are absent": ("--future few.csv", "2024-01-05 06:00:00"),
    "another target": ("--set data.target=wind", "but model.zip forecasts ['load']; expected the"),
    "no forecaster": ("--set save=none.zip", "Got the path 'none.zip', where no file is"),
    "a share twice": ("--coverage 0.9 0.9", "Got --coverage [0.9, 0.9], expected each share once"),
    "another ending": ("--future future.csv --out f.txt", "Got --out 'f.txt', expected a name"),
    "no folder": ("--future future.csv --out far/f.csv", "Got --out 'far/f.csv' in a folder"),
    "no new rows": ("--future future.csv --update none.csv", "Got 'none.csv', expected the path"),
    "a value without a name": ("--set 5", "Got --set '5', expected a name and a value"),
    "a setting of a value": ("--set fh.n=5", "Got --set 'fh.n=5', expected settings within 'fh'"),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "model.zip"
    fitted().save(path, "safetensors").close()
    return path


@pytest.mark.parametrize("case", BROKEN_PREDICTIONS)
def test_a_broken_prediction_is_refused(case, archive, folder, capsys):
    arguments, message = BROKEN_PREDICTIONS[case]
    Path("model.zip").write_bytes(archive.read_bytes())
    FRAME[SEEN:].drop(columns=["load", "wind"]).to_csv("short.csv")
    FRAME[SEEN : SEEN + 2].to_csv("few.csv")
    assert message in refused(capsys, "predict", "config.yaml", *shlex.split(arguments))


def test_no_configuration_and_no_reader_of_it_are_named(folder, capsys, monkeypatch):
    assert "Got 'conf.yaml', expected the path" in refused(capsys, "fit", "conf.yaml")
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    assert "pip install 'sktime-tlstm[cli]'" in refused(capsys, "fit", "config.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "the following arguments are required: config"),
        (["train", "config.yaml"], "invalid choice: 'train'"),
        (["predict", "c.yaml", "--coverage", "90"], "Got 90, expected a number between 0 and 1"),
        ([], "required: COMMAND"),
    ],
)
def test_arguments_that_are_wrong_end_with_two(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_traceback_is_shown_if_asked_for(folder, capsys):
    assert main(["fit", "config.yaml", "--set", "fh=0", "--traceback"]) == 2
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert printed.splitlines()[-1].startswith("sktime-tlstm fit: Got fh=0, expected")


def test_the_script_that_is_installed_is_main():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    module, name = re.search(r'^sktime-tlstm = "([\w.]+):(\w+)"$', project, re.MULTILINE).groups()
    assert getattr(importlib.import_module(module), name) is main


# The page.


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "command_line.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    Path("config.yaml").write_text(text)
    Path("data").mkdir()
    days = pd.date_range("2024-02-01", "2024-07-15", name="time")
    rng = np.random.default_rng(0)
    for store in ("north", "south"):
        values = rng.normal(10, 1, (len(days), 3))
        frame = pd.DataFrame(values, days, ["sales", "price", "promo"]).assign(store=store)
        frame[:-14].to_csv(f"data/{store}.csv")
        frame[-14:].drop(columns=["sales", "promo"]).to_csv(
            "future.csv", mode="a", header=store == "north"
        )
    commands = re.findall(r"^sktime-tlstm (.*)$", page, re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"fit", "predict", "backtest", "params"}
    fast = [f"--set=forecaster.{name}={value}" for name, value in {**NETWORK, **TRAINING}.items()]
    for command in commands:
        own = [] if command == "params" else fast
        assert main([*shlex.split(command), *own]) == 0, capsys.readouterr().err
    assert list(pd.read_csv("forecast.csv"))[:4] == ["store", "time", "sales", "sales_lower_50"]
    assert len(pd.read_csv("forecast.csv")) == len(pd.read_parquet("forecast.parquet")) == 28
    assert list(pd.read_csv("scores.csv")) == ["cutoff", "MeanAbsoluteError", "EmpiricalCoverage"]
    assert Path("longer.zip").exists()
