"""The examples run, and so does every block of Python in the README and the documentation."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from sktime_tlstm import datasets

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
    sys.modules.pop("_common", None)


@pytest.mark.slow
def test_the_quickstart_prints_its_scores_and_draws(run_example, short_traffic, tmp_path):
    picture = tmp_path / "fan.png"
    printed = run_example(
        "quickstart.py", "--days", "7", "--epochs", "1", "--picture", str(picture)
    )
    for line in ("repeat last week", "TransformerLSTM", "intervals hold", "7 forecasts"):
        assert line in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_speed_prints_its_figures(run_example):
    printed = run_example("benchmarks/speed.py", "--rows", "300", "--forecasts", "1")
    assert [line.split()[0] for line in printed.splitlines()] == [
        "bare",
        "skorch",
        "fit",
        "predict",
        "memory",
    ]


def test_skill_scores_a_task(run_example, monkeypatch):
    printed = run_example(
        *("benchmarks/skill.py", "traffic", "--origins", "2"),
        *("--set", "max_epochs=1", "--set", "max_windows_per_epoch=64", "--set", "d_model=8"),
    )
    assert re.fullmatch(
        r"traffic: MAE \d+\.?\d* \(.*\), pinball .*, 2 origins \d+ CPU-s\n", printed
    )


def test_skill_scores_quantiles_under_every_calibration(run_example):
    printed = run_example(
        *("benchmarks/skill.py", "traffic", "--probabilistic", "--origins", "2"),
        *("--set", "max_epochs=1", "--set", "max_windows_per_epoch=64", "--set", "d_model=8"),
    )
    title, *rows = printed.splitlines()
    assert title.startswith("traffic: mean pinball over 19 levels")
    assert [row.split()[0] for row in rows] == ["none", "conformal", "adaptive"]
    scores = r" +\w+ +pinball [\d.]+, coverage of 50 % [\d.]+%, of 90 % [\d.]+%, MAE [\d.]+"
    assert all(re.fullmatch(scores, row) for row in rows)


def test_skill_names_the_tasks_it_knows(run_example, capsys):
    for arguments in ([], ["nowhere"]):
        with pytest.raises(SystemExit):
            run_example("benchmarks/skill.py", *arguments)
        assert "name some of the tasks traffic, NP" in capsys.readouterr().err


def test_skill_says_that_it_needs_a_folder(run_example):
    with pytest.raises(SystemExit, match=r"pass --data DIR with epf_NP\.csv\.gz"):
        run_example("benchmarks/skill.py", "NP")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, short_traffic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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
        assert link.startswith("https://") or (page.parent / link).exists(), link
