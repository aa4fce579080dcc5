"""Training curves: a CSV beside the result, whole after an interruption."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from cli_running import fail, succeed
from conftest import ROOT
from zoo_fixtures import kept_zoo

from initzoo.errors import OutputError
from initzoo.files import write_image
from initzoo.training.calls import finetune
from initzoo.training.finetune import FinetuneSettings
from initzoo.work import CurveLog, CurvePoint, encode_curve
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo"]

COLUMNS = ["stage", "step", "loss", "psnr", "learning_rate", "seconds"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return list(reader)


def log_at(path: Path, n_all: int, n_done: int = 0) -> CurveLog:
    return CurveLog(path, "steps", n_all=n_all, n_done=n_done)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for side, name in ((side, name) for side in "AB" for name in "abcdef"):
        (tmp_path / "pairs" / side).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        write_image(
            tmp_path / "pairs" / side / f"{name}.png", pixels if side == "A" else 255 - pixels, force=False
        )
    return tmp_path / "pairs"


def test_a_log_keeps_some_five_hundred_points_the_last_and_all_that_are_scored(tmp_path: Path) -> None:
    log = log_at(tmp_path / "curve.csv", 100_000)
    for step in range(1, 100_001):
        log.add(step, loss=1 / step, learning_rate=1e-3, is_scored=step in (7, 99_999))
    steps = [int(row["step"]) for row in rows_of(log.path)]
    assert 400 < len(steps) < 600
    assert {7, 99_999, 100_000} <= {*steps}
    assert steps == sorted(set(steps))
    assert encode_curve(log.points) == log.path.read_bytes()


def test_a_point_that_is_scored_later_is_kept_and_gets_its_psnr(tmp_path: Path) -> None:
    log = log_at(tmp_path / "curve.csv", 100_000)
    for step in range(1, 1001):
        log.add(step, loss=0.5, learning_rate=1e-3, is_scored=step == 7)
    log.score(7, 21.23456)
    rows = {int(row["step"]): row["psnr"] for row in rows_of(log.path)}
    assert rows[7] == "21.2346"
    assert {psnr for step, psnr in rows.items() if step != 7} == {""}
    assert encode_curve(log.points) == log.path.read_bytes()


@pytest.mark.parametrize("cut", [0, 1, 4, 9, 15, 30])
def test_a_log_that_was_cut_off_goes_on_behind_the_last_whole_row(cut: int, tmp_path: Path) -> None:
    log = log_at(tmp_path / "curve.csv", 10)
    for step in range(1, 8):
        log.add(step, loss=0.5, learning_rate=1e-3)
    log.path.write_bytes(log.path.read_bytes()[: -cut or None])
    resumed = log_at(log.path, 10, n_done=5)
    assert all(point.step <= 5 for point in resumed.points)
    for step in range(6, 11):
        resumed.add(step, loss=0.25, learning_rate=1e-3)
    rows = rows_of(log.path)
    assert [int(row["step"]) for row in rows] == [*range(1, 11)] or cut >= 30
    assert [row["loss"] for row in rows[-5:]] == ["0.25"] * 5


@pytest.mark.parametrize("found", [b"", b"words", b"\xff\xfe", b"a,b\n1,2\n", b"\n\n\n", b'"'])
def test_a_file_that_is_no_curve_is_begun_anew(found: bytes, tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_bytes(found)
    log = log_at(tmp_path / "curve.csv", 10, n_done=3)
    log.add(4, loss=0.5, learning_rate=1e-3)
    assert [row["step"] for row in rows_of(log.path)] == ["4"]


def test_time_adds_up_over_interruptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("initzoo.work.curves.time.monotonic", lambda: now[0])
    log = log_at(tmp_path / "curve.csv", 10)
    now[0] += 7
    log.add(1, loss=0.5, learning_rate=1e-3)
    now[0] += 1000
    resumed = log_at(log.path, 10, n_done=1)
    now[0] += 3
    resumed.add(2, loss=0.5, learning_rate=1e-3)
    assert [point.seconds for point in resumed.points] == [7.0, 10.0]


def test_a_place_that_is_full_is_one_line(tmp_path: Path) -> None:
    log = log_at(tmp_path / "curve.csv", 10)
    log.path = Path("/dev/full") if Path("/dev/full").exists() else tmp_path
    with pytest.raises(OutputError, match="cannot write .* Make room there, then run the same command again"):
        log.add(1, loss=0.5, learning_rate=1e-3)
    with pytest.raises(OutputError, match="cannot write"):
        log_at(Path("/proc/curve.csv"), 10)


def test_finetune_writes_its_curve_beside_the_result(
    pairs: Path, kept_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["finetune", "pencil sketch", "--pairs", pairs, "--zoo", kept_zoo, "--crop", 32, "--gan", "off"]
    words += ["--steps", 4, "--validations", 2]
    values = json.loads(succeed(*words, "-o", "mine.safetensors", "--json"))
    assert values["curve"] == "mine.curve.csv"
    rows = rows_of(Path("mine.curve.csv"))
    assert [(row["stage"], row["step"]) for row in rows] == [("steps", str(step)) for step in range(5)]
    assert (rows[0]["loss"], float(rows[0]["psnr"])) == ("", round(values["history"][0]["psnr"], 4))
    measured = {int(row["step"]): float(row["psnr"]) for row in rows if row["psnr"]}
    assert measured == {one["step"]: pytest.approx(one["psnr"], abs=1e-4) for one in values["history"]}
    assert all(float(row["loss"]) > 0 for row in rows[1:])
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    Path("mine.safetensors").unlink()
    assert "mine.curve.csv exists already" in fail(*words, "-o", "mine.safetensors", "--sheet", "new.png")
    assert "must end with .csv" in fail(*words, "-o", "new.safetensors", "--curve", "curve.txt")
    assert succeed(*words, "-o", "new.safetensors", "--curve", "other.csv").endswith("new.png other.csv\n")


def test_a_fine_tune_that_was_killed_has_the_curve_of_one_that_was_not(
    pairs: Path, kept_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("initzoo.training.finetune.run.SNAPSHOT_SECONDS", 0.0)
    settings = FinetuneSettings(n_steps=6, gan="off", crop_size=32)
    zoo = Zoo.from_pretrained(kept_zoo)

    def stop_at_four(n_done: int, *_: float) -> None:
        if n_done == 4:
            raise KeyboardInterrupt

    def tune(**options: object) -> list[tuple[object, ...]]:
        result = finetune(pairs, start="base", zoo=zoo, settings=settings, **options)  # type: ignore[arg-type]
        return [(point.step, point.loss, point.psnr, point.learning_rate) for point in result.curve]

    whole = tune()
    with pytest.raises(KeyboardInterrupt):
        tune(run_folder=tmp_path / "run", callback=stop_at_four)
    assert tune(run_folder=tmp_path / "run") == whole
    assert [point[0] for point in whole] == [*range(7)]
    assert whole[-1][3] < whole[1][3]  # the rate falls


def test_points_are_rounded_and_missing_values_are_empty() -> None:
    text = encode_curve([CurvePoint("weights", 3, None, None, 1e-3, 0.5)]).decode()
    assert text.splitlines() == [",".join(COLUMNS), "weights,3,,,0.001,0.5"]


def test_readme_names_the_curve() -> None:
    assert ".curve.csv" in (ROOT / "README.md").read_text("utf-8")
