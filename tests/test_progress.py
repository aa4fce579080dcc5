"""Progress: bars for a terminal, a line per tenth of each stage elsewhere."""

import io
import sys

import pytest

from initzoo.work.progress import StageBars


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("initzoo.work.progress.time.monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_per_tenth_of_a_stage(capsys, clock):
    with StageBars(unit="step") as bars:
        for n_done in range(201):
            bars.show("joint", n_done, 200, rate_unit="updates")
            clock[0] += 0.5
        for n_done in range(4):
            bars.show("fits", n_done, 3, note="loss 0.1")
            clock[0] += 60
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 + 3
    assert lines[0] == "joint: 20 of 200 (10%), 120.0 updates/min, 1:30 left"
    assert lines[9] == "joint: 200 of 200 (100%), 120.0 updates/min"
    assert [line.split(",")[0] for line in lines[10:]] == [
        "fits: 1 of 3 (33%)",
        "fits: 2 of 3 (66%)",
        "fits: 3 of 3 (100%)",
    ]
    assert "loss 0.1" in lines[10]


def test_a_stage_of_a_few_seconds_is_one_line(capsys, clock):
    with StageBars() as bars:
        for n_done in range(101):
            bars.show("joint", n_done, 100)
            clock[0] += 0.04
        bars.show("cut short", 0, 4)
        bars.show("cut short", 1, 4)
        bars.show("cut short", 2, 4)
        for n_done in range(3):
            bars.show("slow to begin", n_done, 20)
            clock[0] += 3
        bars.show("left early", 0, 2)
        bars.show("left early", 1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "joint: 100 of 100 (100%)",
        "cut short: 2 of 4 (50%)",
        "slow to begin: 2 of 20 (10%)",
        "left early: 1 of 2 (50%)",
    ]


def test_an_error_within_seconds_stands_alone(capsys, clock):
    with pytest.raises(ZeroDivisionError), StageBars() as bars:
        bars.show("joint", 0, 2)
        bars.show("joint", 1, 2)
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_work_of_an_earlier_run_counts_for_no_speed(capsys, clock):
    with StageBars() as bars:
        bars.show("fits", 60, 100)
        clock[0] += 60
        bars.show("fits", 70, 100)
    assert capsys.readouterr().err == "fits: 70 of 100 (70%), 3:00 left\n"


def test_a_stage_that_is_done_already_is_one_line(capsys):
    with StageBars() as bars:
        bars.show("joint", 5, 5)
        bars.show("joint", 5, 5)
        bars.show("nothing to do", 0, 0)
    assert capsys.readouterr().err == "joint: 5 of 5 (100%)\n"


def test_a_terminal_has_bars_and_no_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with StageBars(unit="step", mininterval=0) as bars:
        for n_done in range(1, 11):
            bars.show("joint", n_done, 10, note="loss 0.1")
    assert "10/10" in terminal.getvalue()
    assert "of 10" not in terminal.getvalue()
