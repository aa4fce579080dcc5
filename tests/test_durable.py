"""Power cuts and kills: files are flushed before they are renamed, and the same command ends well."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cli_running import run
from safetensors.numpy import load_file, save

from initzoo.errors import OutputError
from initzoo.files import check_free, replace_folder, write_bytes, write_files, written_together
from initzoo.training.harvest.settings import read_blocks
from initzoo.work import StageClock, open_run, read_json_piece, read_piece, remove_run


class Killed(BaseException):
    """As a kill would: nothing of the program may catch it."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order of flushes and renames."""
    made: list[str] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def flush(descriptor: int) -> None:
        made.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", lambda *names: (made.append("rename"), replace(*names)))
    monkeypatch.setattr(os, "rename", lambda *names: (made.append("rename"), rename(*names)))
    return made


def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, calls: list[str]
) -> None:
    write_bytes(tmp_path / "a.txt", b"a", force=False)
    assert calls[0].startswith("flush .a.txt.")
    assert calls[1:] == ["rename", f"flush {tmp_path.name}"]


def test_a_folder_is_flushed_with_all_its_files_before_it_is_renamed(
    tmp_path: Path, calls: list[str]
) -> None:
    with replace_folder(tmp_path / "b", force=False) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "c.txt").write_bytes(b"c")
    assert "flush c.txt" in calls[: calls.index("rename")]
    assert "flush inner" in calls[: calls.index("rename")]
    assert calls[-1] == f"flush {tmp_path.name}"


@pytest.mark.parametrize("n_written", [0, 1, 2, 3])
def test_files_of_one_result_survive_a_kill_between_any_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    files = {"a.txt": b"a", "b.txt": b"b", "c.txt": b"c"}
    replace, left = os.replace, [n_written]

    def killed(source: str, target: str) -> None:
        if Path(target).suffix == ".txt":
            if not left[0]:
                raise Killed
            left[0] -= 1
        replace(source, target)

    unlink = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(  # a kill leaves the notes
            Path,
            "unlink",
            lambda path, **options: None if path.suffix == ".unfinished" else unlink(path, **options),
        )
        if n_written < 3:
            with pytest.raises(Killed):
                write_files(tmp_path, files, force=False)
        else:
            write_files(tmp_path, files, force=False)
    check_free(tmp_path, *files, force=False)
    write_files(tmp_path, files, force=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    with pytest.raises(OutputError, match="exists already"):
        write_files(tmp_path, files, force=False)


def test_a_file_that_changed_after_the_kill_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with written_together({path: b"a"}, force=False):
        check_free(path, force=False)
        path.write_bytes(b"mine")
        with pytest.raises(OutputError, match="exists already"):
            check_free(path, force=False)


FINETUNE = (
    *("finetune", "pencil_sketch", "--teacher", "charcoal", "--gan", "off", "--steps", "2", "--varied", "4"),
    *("--crop", "32", "--batch", "1", "--validations", "1", "-o"),
)


@pytest.mark.parametrize(
    "ending",
    [".safetensors", *(pytest.param(one, marks=pytest.mark.long) for one in (".png", ".csv", "run"))],
)
def test_a_fine_tune_that_is_killed_between_its_files_is_run_again(
    tmp_path: Path, kept_photo_folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    import initzoo.work
    import initzoo.work.runs
    from initzoo.files import atomic

    work = initzoo.work

    out, write, unlink = tmp_path / "f.safetensors", atomic.write_bytes, Path.unlink

    def write_and_die(path: Path, data: bytes, *, force: bool) -> None:
        write(path, data, force=force)
        if path.suffix == ending:
            raise Killed

    def die(path: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_bytes", write_and_die)
        if ending == "run":
            patch.setattr(work.runs, "remove_run", die)
            patch.setitem(work.__dict__, "remove_run", die)
        patch.setattr(
            Path,
            "unlink",
            lambda path, **options: None if path.suffix == ".unfinished" else unlink(path, **options),
        )
        with pytest.raises(Killed):
            run(*FINETUNE, out, "--photos", kept_photo_folder)
    result = run(*FINETUNE, out, "--photos", kept_photo_folder)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.curve.csv", "f.png", "f.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_cut_piece_of_a_run_folder_is_none_and_is_removed(tmp_path: Path, share: float) -> None:
    pieces = {
        "notes.json": (json.dumps({"psnr": 20.5}).encode(), read_json_piece),
        "fit.safetensors": (save({"blocks": np.ones((2, 4), np.float32)}), read_blocks),
        "crops.npy": (b"", lambda path: read_piece(path, lambda file: np.load(file, mmap_mode="r"))),
        "base.safetensors": (
            save({"a": np.ones(9, np.float32)}), lambda path: read_piece(path, load_file)
        ),
    }  # fmt: skip
    np.save(tmp_path / "crops.npy", np.zeros((8, 8), np.uint8))
    pieces["crops.npy"] = ((tmp_path / "crops.npy").read_bytes(), pieces["crops.npy"][1])
    for name, (data, read) in pieces.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert read(path) is not None
        path.write_bytes(data[: int(len(data) * share)])
        assert read(path) is None, name
        assert not path.exists()
        assert read(path) is None  # missing


@pytest.mark.parametrize("n_kept", [0, 10])
def test_a_run_folder_whose_claim_was_cut_is_used_again(tmp_path: Path, n_kept: int) -> None:
    settings = {"seed": 0}
    with open_run(tmp_path, settings, kind="harvest"):
        whole = (tmp_path / "run.json").read_bytes()
    (tmp_path / "run.json").write_bytes(whole[:n_kept])
    with open_run(tmp_path, settings, kind="harvest"):
        assert (tmp_path / "run.json").read_bytes() == whole


def test_times_that_were_cut_start_at_zero(tmp_path: Path) -> None:
    (tmp_path / "seconds.json").write_bytes(b"")
    assert StageClock(tmp_path, 1).seconds == {}


def test_a_run_folder_is_gone_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder = tmp_path / "a.run"
    run_folder.mkdir()
    (run_folder / "run.json").write_text("{}")

    def die(path: Path, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", die)
        with pytest.raises(Killed):
            remove_run(run_folder)
    assert not run_folder.exists()


@pytest.mark.parametrize(
    "kept",
    [
        {"seconds": 5},
        {"seconds": {"fits": "x"}, "core_seconds": 1.0},
        {"seconds": {"fits": 1.0}, "core_seconds": "x"},
        {"seconds": {"fits": float("nan")}, "core_seconds": 1.0},
        {"seconds": {"fits": -1.0}, "core_seconds": 1.0},
        {},
    ],
)
def test_times_that_are_none_start_at_zero(tmp_path: Path, kept: dict[str, object]) -> None:
    (tmp_path / "seconds.json").write_text(json.dumps(kept))
    clock = StageClock(tmp_path, 1)
    clock.add("fits", save=True)
    assert 0 <= clock.seconds["fits"] < 1


def test_an_array_whose_head_is_damaged_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "crops.npy"
    np.save(path, np.zeros((8, 8), np.uint8))
    data = path.read_bytes()
    for head in (
        b"{'descr': '|u1', (((\n",
        b"{'a'",
        b"\\\n",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999,), }",
    ):
        path.write_bytes(data[:10] + head + data[10 + len(head) :])
        assert read_piece(path, lambda file: np.load(file, allow_pickle=False)) is None
        assert not path.exists()
