"""Full and read-only disks, no folder for temporary files: the right result, or one line on what to do."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from hub_fixtures import hub, hub_with_zoos, opened, program
from hub_server import TOKEN, Hub
from zoo_fixtures import generating_zoo, kept_generating_zoo, kept_zoo, tiny_zoo

from initzoo.errors import OutputError
from initzoo.files import temporary_folder, write_bytes
from initzoo.zoo.index.files import IndexTable
from initzoo.zoo.index.lookup import open_lookup
from initzoo.zoo.zoo import Zoo

__all__ = ["generating_zoo", "hub", "hub_with_zoos", "kept_generating_zoo", "kept_zoo", "tiny_zoo"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

ROOT = Path(__file__).parent.parent
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def no_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that is read-only: no folder takes temporary files."""

    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


def test_search_needs_no_folder_for_temporary_files(kept_zoo: Path, no_temporary: None) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    assert zoo.search("pencil", 1)[0].concept_id == "pencil-sketch"
    assert zoo.find("night").concept_id == "night"


@pytest.mark.parametrize("n_in_memory", [0, 10**6])
def test_a_large_index_is_searched_without_any_folder(
    kept_zoo: Path, tmp_path: Path, no_temporary: None, monkeypatch: pytest.MonkeyPatch, n_in_memory: int
) -> None:
    monkeypatch.setattr("initzoo.zoo.index.sections._MAX_BUFFERED", 1)
    table = IndexTable.open(kept_zoo / "dataset" / "index.parquet")
    (tmp_path / "file").write_text("no folder can be made below this")
    lookup = open_lookup(table, lambda: tmp_path / "file" / "lookups", in_memory_rows=n_in_memory)
    assert lookup.rows_called("pencil sketch")


def test_two_versions_of_initzoo_share_a_cache(
    kept_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookup of the other one is made again, and read by neither."""
    table = IndexTable.open(kept_zoo / "dataset" / "index.parquet")
    for version in (1, 2, 1, 2):
        monkeypatch.setattr("initzoo.zoo.index.sections._VERSION", version)
        lookup = open_lookup(table, lambda: tmp_path, in_memory_rows=0)
        assert lookup.rows_called("pencil sketch")


def test_the_encoder_of_a_zoo_is_tried_without_a_file(no_temporary: None) -> None:
    pytest.importorskip("onnx")
    from hostile_readers import tiny_graph

    from initzoo.generator.phrases import graphs

    graphs._problem_of.cache_clear()
    graphs.check_graph(tiny_graph(11), max_tokens=3, n_ids=11)


def test_what_needs_temporary_files_says_so_in_one_line(no_temporary: None) -> None:
    with (
        pytest.raises(
            OutputError, match=r"cannot make a temporary folder: No usable.* Set TMPDIR to a folder"
        ),
        temporary_folder(),
    ):
        raise AssertionError("there is none")


def test_a_full_temporary_folder_is_one_line() -> None:
    with pytest.raises(OutputError, match="No space left on device. Set TMPDIR"), temporary_folder():
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_apart_from_a_read_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device. Make room, or choose another place"):
        write_bytes(tmp_path / "a.txt", b"a", force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["index.parquet", "blocks"])
def test_a_file_without_room_in_the_cache_is_not_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    zoo = opened(hub, tmp_path / "cache")
    assert zoo.files.manifest
    if what == "blocks":
        zoo.pull("pencil sketch", adapter_only=True)
        hub.seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 10**6 - 9, 9))
        with pytest.raises(
            OutputError, match=f"{what}.*: [0-9,]+ bytes are needed, .* has room for 9. Make room"
        ):
            zoo.pull("night", adapter_only=True)
    assert hub.requests(what, "GET") == []
    assert zoo.pull("night", adapter_only=True)


def limited() -> None:
    """Let the process write 4 KB into a file, as if a disk were full then."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("pull", "pencil sketch", "-o", "a.safetensors"), "cannot write a.safetensors: File too large"),
        (("pull", "night", "--zoo", "me/tiny"), "cannot write to the cache"),
        (("pairs", "sepia", "--out", "pairs"), "File too large. Make room, or choose another place"),
    ],
)
def test_a_command_on_a_full_disk_ends_with_one_line(
    hub: Hub, tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    (tmp_path / "run").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "initzoo", *words],
        env=program(hub, tmp_path / "cache", HF_TOKEN=TOKEN, INITZOO_PAIRS=str(tmp_path / "pairs")),
        cwd=tmp_path / "run",
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert line in done.stderr
    assert list((tmp_path / "run").iterdir()) == []


def test_nothing_is_reported_and_nothing_is_left_at_home(tmp_path: Path) -> None:
    """onnxruntime reports what it runs, and numbers the machine, unless it is told not to."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-m", "initzoo", "pull", "--generate", "rusty teal"],
        env=variables | {"HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rusty-teal.safetensors"]


def test_a_user_may_want_the_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    from initzoo.work import onnx_runtime

    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    onnx_runtime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    onnx_runtime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


def may_mount() -> bool:
    """Whether this process may make small file systems, as `make disks` does."""
    if sys.platform != "linux" or os.getuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.long
@pytest.mark.skipif(not may_mount(), reason="wants root, to mount file systems")
def test_some_of_the_disks_of_make_disks(tmp_path: Path) -> None:
    cases = ["no room in the cache", "a system that is read-only", "a read-only home"]
    command = [sys.executable, ROOT / "tests" / "disk_run.py", "--commands", "search", "pull from a Hub"]
    done = subprocess.run(
        [*command, "--cases", *cases], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("| 2 |") == len(cases)
