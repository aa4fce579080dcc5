"""Processes of `accelerate launch`: equal to a single one, killed or not, and what they say of failures."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_running import fail
from safetensors.numpy import load_file
from test_harvest import CONCEPTS, digests
from zoo_fixtures import make_zoo

from initzoo.errors import TrainingError, WorkerDied
from initzoo.generator.tokens import TokenVectors
from initzoo.work import Ranks, ranks

pytest.importorskip("accelerate")
pytestmark = pytest.mark.xdist_group("ranks")  # two processes at a time are enough

ROOT = Path(__file__).parent.parent
TEACHER = '[{"operator": "negative", "parameters": []}]'
LAUNCH = (
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)
STEPS = ("--weight-steps", "12", "--behaviour-steps", "10", "--weight-batch", "4", "--behaviour-batch", "2")


def run(*arguments: str | Path, is_launched: bool, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in one process, or in two."""
    command = [sys.executable, *(LAUNCH if is_launched else ()), ROOT / "tests" / "launched.py", *arguments]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    inherited = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250)


def check_killed(result: subprocess.CompletedProcess[str]) -> None:
    """The first process says that another one ended, unless the launcher ends it before."""
    lost = "Error: process 0 of 2 lost the others: one of them ended. Run the same command again to resume"
    assert errors_of(result) in ([lost], [])
    assert "exitcode  : 9 " in result.stderr


def errors_of(result: subprocess.CompletedProcess[str]) -> list[str]:
    """What initzoo said, and not the launcher."""
    assert result.returncode
    return [line for line in result.stderr.splitlines() if line.startswith("Error: ")]


def losses(path: Path) -> list[tuple[str, str, str, str]]:
    """Stage, step, loss and rate of each row of a curve."""
    with path.open() as file:
        return [
            (row["stage"], row["step"], row["loss"], row["learning_rate"]) for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a zoo and token vectors."""
    folder = tmp_path_factory.mktemp("ranks")
    make_zoo(folder / "zoo", change=lambda rows: [replace(row, teacher=TEACHER) for row in rows])
    (folder / "text").mkdir()
    text = TokenVectors.tiny(["pencil", "sketch", "duotone", "navy", "to", "gold"], n_values=8)
    for name, content in text.to_files().items():
        (folder / "text" / name).write_bytes(content)
    return folder


def train(
    folder: Path, out: str, *options: str, is_launched: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = ["generator", "train", "--zoo", folder / "zoo", "--quick", "--block-size", "16", *STEPS]
    command += ["--by-variance", "--workers", "1", "--out", folder / out, *options]
    return run(*command, is_launched=is_launched, **environment)


def words(folder: Path) -> tuple[str, ...]:
    return "--encoder", "words", "--text", str(folder / "text")


@pytest.mark.long
def test_two_processes_train_the_same_generator_killed_or_not(folder: Path) -> None:
    result = train(folder, "one", *words(folder), is_launched=False)
    assert result.returncode == 0, result.stderr
    killed = train(folder, "two", *words(folder), KILLED_AT="1:6")
    check_killed(killed)
    assert killed.stderr.count("weights: 12 of 12") == 1  # the first process alone prints
    assert not (folder / "two").exists()
    result = train(folder, "two", *words(folder))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    for name in ("model.safetensors", "config.json"):
        assert (folder / "two" / name).read_bytes() == (folder / "one" / name).read_bytes()
    one, two = (losses(folder / f"{out}.curve.csv") for out in ("one", "two"))
    assert one == two
    assert len(one) == 22


@pytest.mark.long
def test_accelerators_share_the_batch_that_one_would_draw(folder: Path) -> None:
    """Cores stand in for them. Sums of another order differ in their last digits."""
    for out, is_launched in (("alone", False), ("shared", True)):
        result = train(folder, out, "--lanes", "1", is_launched=is_launched, AS_ACCELERATOR="1")
        assert result.returncode == 0, result.stderr
    one, other = (losses(folder / f"{out}.curve.csv") for out in ("alone", "shared"))
    assert len(one) == 22
    assert [row[:2] for row in other] == [row[:2] for row in one]
    found, expected = (np.array([float(row[2]) for row in rows]) for rows in (other, one))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    weights = [load_file(folder / out / "model.safetensors") for out in ("alone", "shared")]
    for name, value in weights[0].items():
        if value.dtype != np.uint8:
            np.testing.assert_allclose(weights[1][name], value, atol=2e-3, err_msg=name)


@pytest.mark.long
def test_what_processes_cannot_share_is_one_line_of_the_first(folder: Path) -> None:
    result = train(folder, "none", *words(folder), "--lanes", "1")
    assert errors_of(result) == [
        "Error: 2 processes cannot share the lanes evenly: found 1. Set --lanes to a multiple of 2"
    ]
    assert not (folder / "none").exists()


@pytest.mark.long
def test_two_processes_harvest_the_same_zoo_killed_or_not(tmp_path: Path, photo_folder: Path) -> None:
    (tmp_path / "concepts.toml").write_text(CONCEPTS)

    def harvest(
        out: str, *, is_launched: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = ["harvest", "--concepts", tmp_path / "concepts.toml", "--photos", photo_folder, "--quick"]
        command += ["--joint-lanes", "2", "--joint-rounds", "5", "--fit-steps", "2", "--fit-steps-new", "2"]
        command += ["--workers", "1", "--out", tmp_path / out]
        return run(*command, is_launched=is_launched, **environment)

    result = harvest("one", is_launched=False)
    assert result.returncode == 0, result.stderr
    check_killed(harvest("two", KILLED_AT="1:6"))
    result = harvest("two")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("checkpoints") == 1
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


# Without a launch.


def launch(monkeypatch: pytest.MonkeyPatch, rank: int = 0) -> None:
    """The environment of a process that was launched, with nobody to meet."""
    for name, value in {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "localhost",
    }.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("command", [("generator", "train"), ("harvest", "--quick")])
def test_accelerate_is_asked_for_where_it_is_missing(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launch(monkeypatch)
    monkeypatch.setattr(ranks, "find_spec", lambda name: None)
    assert (
        fail(*command, "--out", tmp_path / "new")
        == 'several processes need accelerate. Install it with: pip install "initzoo[accelerate]"'
    )
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_meets_nobody_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launch(monkeypatch)
    monkeypatch.setenv("MASTER_PORT", "none")
    line = fail("generator", "train", "--out", tmp_path / "new")
    assert line.startswith("the 2 processes do not find each other: ")
    assert line.endswith(". Start them with accelerate launch")


def test_shares_are_equal_and_follow_each_other() -> None:
    assert [list(Ranks(rank, 3).share_of(6, "the lanes", "--lanes")) for rank in range(3)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    with pytest.raises(
        TrainingError, match="3 processes cannot share the lanes evenly: found 4. Set --lanes"
    ):
        Ranks(0, 3).share_of(4, "the lanes", "--lanes")


def test_a_lost_connection_is_a_dead_worker() -> None:
    def lost() -> None:
        raise RuntimeError("Connection closed by peer")

    with pytest.raises(WorkerDied, match="process 1 of 2 lost the others"):
        Ranks(1, 2)._call(lost)
