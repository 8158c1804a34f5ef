"""Progress: bars where they can be drawn over, lines in logs, nothing where nobody asked."""

import io
import re
import sys
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import progress
from sktime_tlstm.progress import Progress, shown, tracked
from tests.setups import tiny


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@contextmanager
def in_a_terminal():
    """Let standard error be a terminal; not in a fixture, after which pytest puts its own back."""
    before, sys.stderr = sys.stderr, Terminal()
    try:
        yield sys.stderr
    finally:
        sys.stderr = before


@pytest.fixture
def impatient(monkeypatch):
    """Let every call count as long, and write a line of a log each time."""
    monkeypatch.setattr(progress, "BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "LONG", 0.0)


def test_a_log_has_whole_lines_with_what_is_done_and_what_is_left(capsys, impatient):
    bar = Progress(20, "work", "parts")
    bar.advance(5)
    bar.advance(5, "loss 0.25")
    bar.advance(10)
    bar.close()
    out, err = capsys.readouterr()
    assert out == "" and "\r" not in err
    lines = err.splitlines()
    assert re.fullmatch(r"work: 5 of 20 parts, .* a second, \d+ s, about \d+ s left", lines[0])
    assert lines[1].startswith("work: 10 of 20 parts, loss 0.25, ")
    assert re.fullmatch(r"work: 20 of 20 parts, loss 0\.25, [\d,]+ a second, \d+ s", lines[-1])


def test_a_log_is_not_flooded(capsys):
    bar = Progress(1000, "work", "parts")
    for _ in range(1000):
        bar.advance(1)
    bar.close()
    assert capsys.readouterr().err == ""


def test_a_terminal_has_one_line_that_is_drawn_over_and_ended():
    with in_a_terminal() as terminal:
        bar = Progress(4, "work", "parts")
        for _ in range(4):
            time.sleep(0.12)  # a bar is drawn ten times a second at most
            bar.advance(1, "loss 0.25")
        bar.close()
    drawn = terminal.getvalue()
    assert drawn.count("\n") == 1 and drawn.endswith("\n")
    assert "work: 100%" in drawn and "4/4" in drawn and "loss 0.25" in drawn


def test_nothing_is_shown_unless_it_is_asked_for(capsys, impatient):
    assert list(tracked(range(3), 3, "work", "parts")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    with shown(True):
        assert list(tracked(range(3), 3, "work", "parts")) == [0, 1, 2]
    assert "work: 3 of 3 parts" in capsys.readouterr().err
    assert list(tracked(range(3), 3, "work", "parts")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_what_is_within_shows_nothing_of_its_own(capsys, impatient):
    with shown(True):
        for _ in tracked(range(2), 2, "outer", "parts"):
            list(tracked(range(2), 2, "inner", "parts"))
        list(tracked(range(2), 2, "after", "parts"))
    err = capsys.readouterr().err
    assert "outer: 2 of 2" in err and "after: 2 of 2" in err
    assert "inner" not in err


def test_short_work_shows_nothing(capsys):
    with shown(True):
        list(tracked(range(3), 3, "work", "parts"))
    assert capsys.readouterr().err == ""


def test_progress_ends_where_the_work_fails():
    with in_a_terminal(), pytest.raises(RuntimeError), shown(True):
        for item in tracked(range(3), 3, "work", "parts"):
            if item:
                raise RuntimeError
    with shown(True):
        assert list(tracked(range(3), 3, "work", "parts")) == [0, 1, 2]


# What a forecaster shows.


def series(rows=60):
    index = pd.date_range("2024-01-01", periods=rows, freq="D")
    return pd.Series(np.sin(np.arange(rows)), index, name="y")


def test_trainings_are_numbered_and_told_apart(capsys):
    tiny(verbose=1, num_members=2, max_epochs=5).fit(series(), fh=[1, 2])
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    labels = [line.split(":")[0] for line in lines]
    assert labels == [
        "fit, member 1/2",
        "fit, member 2/2",
        "fit on all rows, member 1/2",
        "fit on all rows, member 2/2",
    ]
    assert "48 of 48 windows, epoch 3/3, train_loss " in lines[0] and "valid_loss" in lines[0]
    assert "valid_loss" not in lines[-1]


def test_the_bar_of_a_training_counts_windows():
    with in_a_terminal() as terminal:
        tiny(verbose=1).fit(series(), fh=[1, 2])
    assert "16/16" in terminal.getvalue() and "windows/s" in terminal.getvalue()


@pytest.mark.parametrize("verbose", [0, 1])
def test_long_calls_show_how_far_they_are(capsys, impatient, verbose):
    y = series(80)
    forecaster = tiny(verbose=verbose).fit(y[:40], fh=[1, 2])
    capsys.readouterr()
    cv = ExpandingWindowSplitter(fh=[1, 2], initial_window=45, step_length=5)
    few = ExpandingWindowSplitter(fh=[1, 2], initial_window=5, step_length=5)
    forecaster.predict()
    predicted = capsys.readouterr().err
    forecaster.predict([1, 9])
    rolled = capsys.readouterr().err
    forecaster.backtest(y, None, cv)
    tested = capsys.readouterr().err
    forecaster.update_predict(y[40:], few, update_params=False)
    updated = capsys.readouterr().err
    found = [
        "forecast: 1 of 1 batches of windows" in predicted,
        "forecast: 5 of 5 horizons" in rolled,
        "backtest: 7 of 7 windows" in tested and "forecast" not in tested,
        "update_predict: " in updated and "forecast:" not in updated,
    ]
    assert found == [bool(verbose)] * 4
    assert verbose or predicted + rolled + tested + updated == ""
