"""Places that cannot be written, full disks and long names: the clear error, and nothing half-written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_running import fail, succeed

import initzoo.files.atomic as atomic
from initzoo.errors import OutputError
from initzoo.files.atomic import (
    check_free,
    check_free_folder,
    new_file,
    one_at_a_time,
    replace_folder,
    shorten_name,
    write_bytes,
)
from initzoo.work.runs import default_run_folder, open_run

SCRIPTS = {
    "latin": "x",
    "accents": "é",
    "accents apart": "e\u0301",
    "cyrillic": "ж",
    "devanagari": "की",
    "chinese": "素",
    "emoji": "🎨",
    "family": "👩‍👩‍👧",
    "arabic": "ش",
    "old": "𓀀",
}


def named(letter: str, n_bytes: int, ending: str) -> str:
    """A name of exactly so many bytes that is mostly this letter."""
    room = n_bytes - len(os.fsencode(ending))
    count = room // len(os.fsencode(letter))
    return letter * count + "a" * (room - count * len(os.fsencode(letter))) + ending


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_of_255_bytes_are_written_in_every_script(script: str, tmp_path: Path) -> None:
    name = named(SCRIPTS[script], 255, ".bin")
    write_bytes(tmp_path / name, b"1", force=False)
    write_bytes(tmp_path / name, b"2", force=True)
    assert (tmp_path / name).read_bytes() == b"2"
    with replace_folder(tmp_path / f"{name[:-4]}.dir", force=False) as folder:
        (folder / "a").write_bytes(b"1")
    assert len(names(tmp_path)) == 2
    longer = tmp_path / named(SCRIPTS[script], 256, ".bin")
    for write in (
        lambda: write_bytes(longer, b"1", force=False),
        lambda: check_free_folder(longer, force=False),
        lambda: check_free(tmp_path, longer.name, force=True),
    ):
        with pytest.raises(OutputError, match="its name has 256 bytes, at most 255 are possible. Choose a s"):
            write()
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("script", SCRIPTS)
def test_run_folders_beside_long_names_can_be_made(script: str, tmp_path: Path) -> None:
    out, other = (
        tmp_path / named(SCRIPTS[script], 255, ending) for ending in (".safetensors", ".SAFETENSORS")
    )
    assert default_run_folder(out) != default_run_folder(other)
    with open_run(default_run_folder(out), {"seed": 0}, kind="fine-tune"):
        write_bytes(default_run_folder(out) / "half", b"1", force=False)
    assert default_run_folder(tmp_path / "mine") == tmp_path / "mine.run"
    assert default_run_folder(Path(".")).name == f"{Path.cwd().name}.run"
    assert default_run_folder(Path("/")) == Path("/initzoo.run")


def test_windows_counts_letters_and_not_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_IS_WINDOWS", True)
    check_free(tmp_path / ("素" * 251 + ".png"), force=False)
    with pytest.raises(OutputError, match="its name has 256 letters, at most 255"):
        check_free(tmp_path / ("🎨" * 126 + ".png"), force=False)


def test_names_are_shortened_between_letters() -> None:
    for letter in SCRIPTS.values():
        for n_bytes in range(40):
            short = shorten_name(letter * 60, n_bytes)
            assert (letter * 60).startswith(short)
            assert n_bytes - 4 < len(short.encode()) <= n_bytes
    assert shorten_name(os.fsdecode(b"a\xff.png"), 9) == "a.png"


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_write_long_names(
    script: str, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    succeed("pull", "pencil sketch", "-o", named(SCRIPTS[script], 255, ".safetensors"))
    line = fail("pull", "pencil sketch", "-o", named(SCRIPTS[script], 256, ".safetensors"))
    assert "its name has 256 bytes" in line


def test_an_image_with_a_long_name_is_edited_into_a_folder(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    long, bare = named("素", 255, ".webp"), named("ж", 255, "")
    shutil.copy(photo_folder / "dahlia.webp", photo_folder / long)
    succeed("apply", "pencil sketch", photo_folder / long, photo_folder / "cat.png", "-o", "edited")
    assert names(Path("edited")) == sorted(["cat.png", long])
    shutil.copy(photo_folder / "cat.png", photo_folder / bare)  # the result gets .png behind its name
    line = fail("apply", "pencil sketch", photo_folder / bare, photo_folder / "cat.png", "-o", "other")
    assert "its name has 259 bytes, at most 255 are possible" in line


# Places.


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
@pytest.mark.parametrize("place", ["/proc", "/proc/self", "/proc/self/fd", "/sys"])
def test_the_error_is_that_of_the_place_and_not_of_the_clean_up(place: str) -> None:
    writes: list[Callable[[], None]] = [
        lambda: write_bytes(Path(place, "a.png"), b"1", force=True),
        lambda: replace_folder(Path(place, "a"), force=True).__enter__() and None,
        lambda: new_file(Path(place, "a.png"), force=True).__enter__() and None,
        lambda: one_at_a_time(Path(place, "b", "a.lock")).__enter__() and None,
        lambda: open_run(Path(place, "a.run"), {}, kind="fine-tune").__enter__(),
    ]
    for write in writes:
        with pytest.raises(OutputError, match="cannot (write|make)") as caught:
            write()
        assert ".part" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_place_that_is_read_only_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "old")
    for check in (
        lambda: check_free(tmp_path / "old" / "a.png", force=False),
        lambda: check_free(tmp_path / "old" / "new" / "folder", "a.png", force=False),
        lambda: check_free_folder(tmp_path / "old" / "zoo", force=False),
    ):
        with pytest.raises(OutputError, match="old is read-only. Choose a place that is writable"):
            check()
    check_free(tmp_path / "a.png", force=False)


def test_a_folder_below_a_file_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    with pytest.raises(OutputError, match="there is no folder .*file. Make it first"):
        check_free(tmp_path / "file" / "new" / "folder", "a.png", force=False)


def mounted(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell that mounts file systems, where nobody else sees them."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    run = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, cwd=place)
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("this user may not mount")
    return run


COMMANDS = (
    ["pull", "pencil sketch", "-o", "there/a.safetensors"],
    ["apply", "pencil sketch", "photo.png", "-o", "there/a.png"],
    ["apply", "pencil sketch", "photo.png", "photo.jpg", "-o", "there/new"],
    ["grid", "pencil sketch", "-o", "there/a.png"],
    ["export", "pencil sketch", "--format", "pth", "-o", "there/a.pth"],
    ["pairs", "pencil sketch", "--photos", "photos", "--out", "there/pairs"],
    ["thumbnails", "-o", "there/thumbnails"],
    ["finetune", "pencil sketch", "--pairs", "pairs", "-o", "there/a.safetensors"],
    ["finetune", "pencil sketch", "--pairs", "pairs", "-o", "a.safetensors", "--sheet", "there/a.png"],
    ["harvest", "--limit", "2", "--quick", "--out", "there/zoo"],
    ["bench", "--quick", "--out", "there/bench"],
    ["generator", "train", "--quick", "--out", "there/generator"],
    ["diagnose", "base", "--plot", "there/a.png"],
)
ALL_OF_THEM = """
import json, os, sys
from click.testing import CliRunner
from initzoo.cli.main import main

for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, words)
    print(json.dumps([result.exit_code, result.stdout, result.stderr, sorted(os.listdir("there"))]))
"""


@pytest.mark.long
def test_read_only_places_are_one_line_in_every_command(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    shutil.copy(photo_folder / "cat.png", tmp_path / "photo.png")
    shutil.copy(photo_folder / "cup.jpg", tmp_path / "photo.jpg")
    for side in "AB":
        shutil.copytree(photo_folder, tmp_path / "pairs" / side)
    (tmp_path / "run.py").write_text(ALL_OF_THEM)
    # In one process, and with the tests' photos instead of all that come with initzoo.
    calls = shlex.quote(json.dumps(COMMANDS))
    script = f"""mount -t tmpfs tmpfs there && mount -o remount,ro there || exit 77
{sys.executable} run.py {calls}"""
    result = mounted(script, tmp_path)
    results = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(results) == len(COMMANDS), result.stderr
    for words, (code, shown, said, there) in zip(COMMANDS, results, strict=True):
        assert (code, shown, there) == (1, "", []), words
        assert said.startswith("Error: cannot "), (words, said)
        assert said.count("\n") == 1, (words, said)
        assert "read-only" in said.lower(), (words, said)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".part", ".run"))]


def test_full_places_are_one_line_and_what_was_there_stays(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    shutil.copy(photo_folder / "cat.png", tmp_path / "photo.png")
    commands = (
        ["pull", "pencil sketch", "-o", "there/a.safetensors", "--force"],
        ["apply", "pencil sketch", "photo.png", "-o", "there/a.bmp", "--force"],
        ["export", "pencil sketch", "--format", "pth", "-o", "there/a.pth", "--force"],
        ["pairs", "pencil sketch", "--photos", str(photo_folder), "--out", "there/pairs"],
    )
    (tmp_path / "run.py").write_text(ALL_OF_THEM)
    script = f"""mount -t tmpfs -o size=64k tmpfs there || exit 77
for name in a.safetensors a.bmp a.pth; do echo mine > there/$name; done
head -c 30000 /dev/zero > there/zeros
{sys.executable} run.py {shlex.quote(json.dumps(commands))}
cat there/a.safetensors there/a.bmp there/a.pth
"""
    result = mounted(script, tmp_path)
    *lines, first, second, third = result.stdout.splitlines()
    assert [first, second, third] == ["mine"] * 3, result.stderr
    results = [json.loads(line) for line in lines]
    assert len(results) == len(commands), result.stderr
    for words, (code, shown, said, there) in zip(commands, results, strict=True):
        assert (code, shown, said.count("\n")) == (1, "", 1), words
        assert said.startswith("Error: "), words
        assert "No space left on device. Make room, or choose another place" in said
        assert there == ["a.bmp", "a.pth", "a.safetensors", "zeros"], words
