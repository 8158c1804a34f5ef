"""The examples run, and so does every block of Python in the README and the documentation."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sktime_tlstm
from sktime_tlstm import datasets, nn, plotting
from tests.transformertf import lightning, random_network

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def short_traffic(monkeypatch):
    """Let the traffic data have their last 250 hours only."""
    y, X = datasets.load_metro_traffic()
    monkeypatch.setattr(datasets, "load_metro_traffic", lambda: (y[-250:], X[-250:]))


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Return a function that runs a script with its arguments and returns what it prints."""

    def run(script: str, *arguments: str) -> str:
        path = EXAMPLES / script
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        monkeypatch.syspath_prepend(path.parent)  # as Python does for a script
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    yield run
    for name in ("_common", "scale", "skill", "speed"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_quickstart_prints_its_scores_and_draws(run_example, short_traffic, tmp_path):
    picture = tmp_path / "fan.png"
    printed = run_example(
        "quickstart.py", "--days", "7", "--epochs", "1", "--picture", str(picture)
    )
    for line in ("repeat last week", "TransformerLSTM", "intervals hold", "7 forecasts"):
        assert line in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("plot_*.py")))
def test_every_example_of_the_gallery_draws(script, run_example, monkeypatch, tmp_path):
    flagship = sktime_tlstm.TransformerLSTMForecaster
    short = {"max_epochs": 1, "max_windows_per_epoch": 64, "d_model": 4, "num_heads": 2}
    monkeypatch.setattr(
        sktime_tlstm, "TransformerLSTMForecaster", lambda **given: flagship(**{**given, **short})
    )
    monkeypatch.chdir(tmp_path)
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    try:
        run_example(script)
        assert pyplot.get_fignums()
    finally:
        pyplot.close("all")


def test_every_public_name_is_on_the_page_of_the_api():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    found = re.findall(r"^   (\w+)$", page, re.MULTILINE)
    modules = (sktime_tlstm, nn, plotting, datasets)
    assert sorted(found) == sorted(["TensorWindows", *(n for m in modules for n in m.__all__)])


@pytest.mark.slow
def test_searches_on_processes_equal_those_on_one(run_example):
    text = run_example("many_workers.py", "loky", "--folds", "2")
    assert text.count("equal to one process") == 3 and "NOT" not in text


def test_simulation_prints_its_table(run_example, tmp_path):
    rows = np.arange(600.0)
    columns = {name: np.sin(rows / 9) for name in ("y_train", "u_train", "y_test", "u_test")}
    pd.DataFrame(columns).to_csv(tmp_path / "cascaded_tanks.csv", index=False)
    tiny = ["--set", "max_epochs=1", "--set", "d_model=4", "--set", "max_windows_per_epoch=8"]
    for further in ([], ["--validate", "--seeds", "0", "1"]):
        printed = run_example(
            "benchmarks/simulation.py", "tanks", "--data", str(tmp_path), *tiny, *further
        )
        assert "tanks 0 | " in printed and "by time: " in printed
    assert "tanks: mean" in printed


def test_speed_prints_its_figures(run_example):
    printed = run_example("benchmarks/speed.py", "--rows", "300", "--forecasts", "1")
    assert [line.split()[0] for line in printed.splitlines()] == [
        "bare",
        "skorch",
        "fit",
        "predict",
        "memory",
    ]


@pytest.mark.slow
def test_peers_lets_ours_run_where_no_other_is_installed(run_example):
    printed = run_example("benchmarks/peers.py", "ours", "--rows", "300", "--rounds", "1")
    name, speed, ratio = printed.splitlines()[-1].split()
    assert name == "ours" and float(speed) > 0 and float(ratio) == 1


@pytest.mark.slow
def test_the_plain_composition_says_the_same_and_both_are_timed(run_example):
    tiny = ("--batch", "2", "--context", "5", "--width", "8", "--rounds", "2")
    lines = run_example("benchmarks/plain.py", *tiny).splitlines()
    assert [line[:16].strip() for line in lines] == [
        "ms",
        "plain",
        "ours, float32",
        "ours, bfloat16",
    ]
    assert all(float(number) > 0 for line in lines[1:] for number in line[16:].split())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read on Linux")
def test_the_bench_of_gpus_runs_on_a_cpu(run_example):
    small = ["--batches", "8", "--rows", "300", "--steps", "3", "--epochs", "1", "--rounds", "1"]
    lines = run_example("benchmarks/gpu.py", "--device", "cpu", *small).splitlines()
    figures = [line for line in lines if "of bare" in line]
    assert len(figures) == 6  # bare, training and fit in two precisions
    assert sum("waits cannot be counted on a CPU" in line for line in lines) == 2
    for line in figures:
        speed = float(line.split("%")[0].split()[-2].replace(",", ""))
        assert speed > 0


def test_growth_prints_times_and_exponents(run_example):
    for part in ("horizon", "series"):
        printed = run_example(
            "benchmarks/growth.py", part, "--sizes", "8", "16", "--width", "8", "--rounds", "1"
        )
        head, fit, predict = (line.split() for line in printed.splitlines())
        assert head[:3] == [part, "8", "16"]
        for row in (fit, predict):
            small, large, over_all, at_last = map(float, row[2:])
            assert small > 0 and large > 0
            assert over_all == at_last  # of two sizes there is one slope


def test_scale_prints_its_figures(run_example):
    printed = run_example(
        "benchmarks/scale.py", "panel", "larger", "update", "--series", "3", "--rows", "900"
    )
    lines = printed.splitlines()
    parts = ["panel", "fit", "larger", "larger", "update", "update"]
    assert [line.split()[0] for line in lines] == parts
    assert lines[0].startswith("panel     1,500 rows")
    assert lines[3].startswith("larger    7,500 rows, 0 MB encoded in a file: fit")


@pytest.mark.parametrize("part", ["backtest", "m4"])
def test_scale_says_that_it_needs_a_folder(run_example, part):
    with pytest.raises(SystemExit, match="pass --data DIR with"):
        run_example("benchmarks/scale.py", part)


def test_skill_scores_a_task(run_example):
    printed = run_example(
        *("benchmarks/skill.py", "traffic", "--origins", "2", "--seeds", "0"),
        *("--set", "max_epochs=1", "--set", "max_windows_per_epoch=64", "--set", "d_model=8"),
    )
    title, line, row = rows_of(printed)
    assert len(title) == len(line) == len(row)
    scores = dict(zip(title, row, strict=True))
    assert scores["task"] == "`traffic`"
    assert scores["seeds"] == "1"
    assert re.fullmatch(r"MAE \d+\.?\d*", scores["score"])
    assert 0 < float(scores["pinball"]) < float(scores["score"].split()[1])
    within = [float(scores[f"within {share} %"].rstrip("%")) for share in (50, 90)]
    assert 0 <= within[0] <= within[1] <= 100


def test_events_scores_days_that_are_known_apart(run_example):
    tiny = ("--set", "d_model=4", "--set", "num_heads=2", "--set", "max_epochs=1")
    printed = run_example("benchmarks/events.py", "outages3", "growth", *tiny)
    names = [line.split(" | ")[0] for line in printed.splitlines()[1:]]
    assert names == ["outages3, all", "outages3, events", "outages3, others", "growth, all"]


def test_short_scores_a_series(run_example):
    printed = run_example("benchmarks/short.py", "simulated", *TINY_UNIT)
    assert "1 units, 1 of them to run" in printed
    assert "\nsimulated: 1 units" in printed
    assert re.search(r"^all +1 ", printed, re.MULTILINE)


def test_short_knows_the_best_forecast(run_example):
    printed = run_example("benchmarks/short.py", "known", *TINY_UNIT)
    assert "\nknown: 1 units" in printed
    assert {"width", "cov90", "MAE", "pinball"} <= set(printed.split())


#: One unit of a part of short.py, with a network that trains in milliseconds.
TINY_UNIT = ("--limit", "1", "--set", "d_model=4", "--set", "num_heads=2", "--set", "max_epochs=1")

TINY_FIT = ("--set", "max_epochs=1", "--set", "max_windows_per_epoch=64", "--rounds", "1")


def rows_of(table: str) -> list[list[str]]:
    """Return the cells of every row of a Markdown table."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_networks_prints_a_table(run_example):
    printed = run_example(
        *("benchmarks/networks.py", *TINY_FIT),
        *("--networks", "TransformerLSTM", "Seq2SeqLSTM:autoregressive"),
    )
    title, line, naive, first, second = rows_of(printed)
    assert title[0] == "network" and title[-1] == "made up"
    assert set(line) == {"---"} and naive[0] == "seasonal naive"
    assert first[:2] == ["`TransformerLSTM`", ""]
    assert second[:2] == ["`Seq2SeqLSTM`", "`decoding='autoregressive'`"]
    for row in (first, second):
        assert len(row) == len(title)
        assert int(row[2].replace(",", "")) > 10_000
        assert all(float(cell) >= 0 for cell in row[3:])
        assert 0.05 * float(naive[-1]) < float(row[-1]) < 3 * float(naive[-1])


@pytest.mark.slow
def test_networks_compares_all_of_them(run_example):
    rows = rows_of(run_example("benchmarks/networks.py", *TINY_FIT))[3:]
    assert len(rows) == len({tuple(row[:2]) for row in rows}) > 12
    names = {row[0].strip("`") for row in rows}
    networks = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and "init_state" in vars(getattr(nn, name))
    }
    assert names == networks - {"TransformerDecoder"}


def test_skill_names_the_tasks_it_knows(run_example, capsys):
    with pytest.raises(SystemExit):
        run_example("benchmarks/skill.py", "nowhere")
    assert "name some of the tasks traffic, NP" in capsys.readouterr().err


def test_skill_says_that_it_needs_a_folder(run_example):
    with pytest.raises(SystemExit, match=r"pass --data DIR with epf_NP\.csv\.gz"):
        run_example("benchmarks/skill.py", "NP")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, short_traffic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(lightning(random_network()), "magnet.ckpt")  # which a page loads
    blocks = re.findall(
        r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    for link in links:
        if link.startswith("gallery/"):  # built from the examples
            assert (EXAMPLES / link.removeprefix("gallery/")).with_suffix(".py").exists(), link
        else:
            assert link.startswith("https://") or (page.parent / link).exists(), link
