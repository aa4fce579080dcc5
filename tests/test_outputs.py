"""Files and folders are written whole or not at all."""

import os
from pathlib import Path

import pytest

from initzoo.errors import OutputError
from initzoo.files.atomic import check_free, check_free_folder, replace_folder, write_bytes, write_files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_bytes_leaves_nothing_beside(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"1", force=False)
    write_bytes(tmp_path / "a", b"2", force=True)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"2"


def test_write_bytes_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        write_bytes(tmp_path, b"1", force=True)


def test_write_bytes_refuses_a_device() -> None:
    with pytest.raises(OutputError, match="device"):
        write_bytes(Path("/dev/null"), b"1", force=True)


def test_write_bytes_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("1")
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link", b"2", force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "2"


def test_write_bytes_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"1", force=False)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_write_bytes_tells_of_an_unwritable_place() -> None:
    with pytest.raises(
        OutputError, match=r"cannot write /proc/initzoo: .*\. Choose a place that is writable"
    ):
        write_bytes(Path("/proc/initzoo"), b"1", force=False)


def test_write_bytes_tells_of_a_name_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="its name has 300 bytes, at most 255"):
        write_bytes(tmp_path / ("a" * 300), b"1", force=False)
    assert names(tmp_path) == []


def test_replace_folder_takes_the_place_of_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with replace_folder(tmp_path / "out", force=False) as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["a"]


def test_replace_folder_keeps_what_is_there_without_force(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(OutputError, match="not empty"), replace_folder(tmp_path / "out", force=False):
        pass
    with replace_folder(tmp_path / "out", force=True) as folder:
        (folder / "new").write_text("1")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new"]


def test_replace_folder_leaves_all_as_it_was_on_failure(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "out", force=True) as folder:
        (folder / "half").write_text("1")
        raise RuntimeError
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["mine"]


def test_replace_folder_refuses_a_file_and_a_missing_parent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    with (
        pytest.raises(OutputError, match="a file has that name"),
        replace_folder(tmp_path / "file", force=True),
    ):
        pass
    with pytest.raises(OutputError, match="Make it first"), replace_folder(tmp_path / "a" / "b", force=False):
        pass


def test_replace_folder_refuses_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in (".", "..", str(tmp_path)):
        with pytest.raises(OutputError, match="current folder"), replace_folder(Path(place), force=True):
            pass


def test_check_free_says_before_the_work_what_the_write_would_say(tmp_path: Path) -> None:
    (tmp_path / "file.png").write_text("1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    for name, force, said in (
        ("file.png", False, "file.png exists already. Choose another name, or add --force"),
        ("broken", False, "broken exists already"),
        ("folder", True, "it is a folder. Name a file"),
        ("pipe", True, "it is a device or the like"),
        ("missing/file.png", True, "there is no folder .*missing. Make it first"),
    ):
        with pytest.raises(OutputError, match=said):
            check_free(tmp_path / name, force=force)
        with pytest.raises(OutputError, match=said):
            write_bytes(tmp_path / name, b"2", force=force)
    check_free(tmp_path / "file.png", force=True)
    check_free(tmp_path / "new", force=False)
    with pytest.raises(OutputError, match=r"plot.txt: its name must end with .png or .jpg"):
        check_free(tmp_path / "plot.txt", force=True, endings=[".png", ".jpg"])


def test_check_free_looks_at_each_file_of_a_folder(tmp_path: Path) -> None:
    check_free(tmp_path / "new" / "folder", "a", "b", force=False)
    (tmp_path / "b").write_text("1")
    check_free(tmp_path, "a", force=False)
    with pytest.raises(OutputError, match="b exists already"):
        check_free(tmp_path, "a", "b", force=False)
    with pytest.raises(OutputError, match="cannot write into .*b: it is not a folder"):
        check_free(tmp_path / "b", "a", force=True)
    check_free_folder(tmp_path / "new", force=False)
    with pytest.raises(OutputError, match="is not empty"):
        check_free_folder(tmp_path, force=False)


def test_write_files_writes_all_or_none(tmp_path: Path) -> None:
    write_files(tmp_path / "a" / "b", {"c": b"1", "d": b"2"}, force=False)
    assert names(tmp_path / "a" / "b") == ["c", "d"]
    with pytest.raises(OutputError, match="d exists already"):
        write_files(tmp_path / "a" / "b", {"new": b"3", "d": b"4"}, force=False)
    assert names(tmp_path / "a" / "b") == ["c", "d"]
    write_files(tmp_path / "a" / "b", {"d": b"4"}, force=True)
    assert (tmp_path / "a" / "b" / "d").read_bytes() == b"4"
