"""Run folders: one process at a time, the same work or none, and nothing of a killed one in the way."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import wait_until

from initzoo.errors import OutputError
from initzoo.files.atomic import one_at_a_time
from initzoo.work.runs import StageClock, open_run

HOLD = """
import sys, threading
from pathlib import Path
from initzoo.work.runs import open_run

with open_run(Path(sys.argv[1]), {"seed": 0}, kind="harvest"):
    (Path(sys.argv[1]) / "half").write_text("half of it")
    threading.Event().wait()
"""


@contextmanager
def held(path: Path):
    """A run folder that another process holds, until it is killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], env=environment)
    try:
        half = path / "half"
        assert wait_until(lambda: (half.exists() and half.read_text()) or process.poll() is not None)
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_second_process_is_told_who_holds_the_folder_and_a_killed_one_holds_nothing(tmp_path):
    run = tmp_path / "run"
    with held(run) as process:
        for settings in ({"seed": 0}, {"seed": 1}):
            with (
                pytest.raises(OutputError, match="Wait until it ends, or name another folder") as caught,
                open_run(run, settings, kind="harvest", force=True),
            ):
                pass
            assert re.search(rf"process {process.pid} on .* is using the run folder", str(caught.value))
            assert "\n" not in str(caught.value)
        assert (run / "half").exists()
    with open_run(run, {"seed": 0}, kind="harvest"):
        assert (run / "half").read_text() == "half of it"
        assert json.loads((run / "run.holder.json").read_bytes())["pid"] == os.getpid()


def test_two_threads_of_work_in_one_process_cannot_share_a_folder_either(tmp_path):
    with (
        open_run(tmp_path, {}, kind="harvest"),
        pytest.raises(OutputError, match=f"process {os.getpid()} on"),
        open_run(tmp_path, {}, kind="harvest"),
    ):
        pass
    with open_run(tmp_path, {}, kind="harvest"):
        pass


def test_other_settings_are_named_and_force_starts_anew(tmp_path):
    with open_run(tmp_path, {"seed": 0, "betas": [0.5, 0.9]}, kind="fine-tune", force=False):
        (tmp_path / "part").mkdir()
        (tmp_path / "part" / ".a.1234.part").write_text("cut")
    other = {"seed": 1, "betas": [0.5, 0.99]}
    with (
        pytest.raises(OutputError, match=r"other settings \(betas, seed 0\)\. Add --force"),
        open_run(tmp_path, other, kind="fine-tune", force=False),
    ):
        pass
    with (
        pytest.raises(OutputError, match=r"other settings \(betas, seed 0\)\. Delete it, or name"),
        open_run(tmp_path, other, kind="fine-tune"),
    ):
        pass
    with open_run(tmp_path, {"seed": 0, "betas": [0.5, 0.9]}, kind="fine-tune"):
        assert list((tmp_path / "part").iterdir()) == []
    with open_run(tmp_path, other, kind="fine-tune", force=True):
        assert not (tmp_path / "part").exists()


def test_a_folder_of_other_files_or_other_work_is_left_as_it_is(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with (
        pytest.raises(OutputError, match="exists and is not the run folder of a harvest. Name another"),
        open_run(tmp_path, {}, kind="harvest", force=True),
    ):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["holiday.txt"]
    with open_run(tmp_path / "run", {}, kind="benchmark"):
        pass
    with (
        pytest.raises(OutputError, match="has other work than a harvest of this version"),
        open_run(tmp_path / "run", {}, kind="harvest", force=True),
    ):
        pass


def test_a_lock_is_waited_for_or_not(tmp_path):
    with one_at_a_time(tmp_path / "locks" / "a") as first, one_at_a_time(tmp_path / "locks" / "b") as other:
        assert first
        assert other
        with one_at_a_time(tmp_path / "locks" / "a", wait=False) as second:
            assert not second
    with one_at_a_time(tmp_path / "locks" / "a", wait=False) as third:
        assert third
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot write .* Choose a place that is writable"),
        one_at_a_time(tmp_path / "file" / "a"),
    ):
        pass


def test_times_of_stages_add_up_over_interruptions(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("initzoo.work.runs.time.perf_counter", lambda: now[0])
    for n_workers in (2, 1):
        clock = StageClock(tmp_path, n_workers)
        now[0] += 3
        clock.add("joint", save=True)
        now[0] += 50  # between the two runs
    assert clock.seconds == {"joint": 6.0}
    assert clock.core_seconds == 9.0
