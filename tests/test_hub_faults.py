"""A Hub that waits, drips, never ends, lies about sizes or leads in circles: the right bytes or one line."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_fixtures import (
    TOKEN,
    hub,
    hub_with_zoos,
    opened,
    own_hub,
    program,
    pushed,
    quick_retries,
    run_program,
)
from hub_server import Fault, Hub
from zoo_fixtures import TINY_CONCEPTS, TINY_RECIPE, make_zoo, random_adapter

from initzoo.checkpoints.blocks import split_blocks
from initzoo.errors import ChecksumMismatch, HubUnavailable, OutputError
from initzoo.zoo.hub import connections

__all__ = ["hub", "hub_with_zoos", "own_hub", "quick_retries"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FILES = ("zoo.json", "index.parquet", "model.safetensors", "blocks-0000")
EXPECTED = split_blocks(random_adapter(TINY_RECIPE, 0), TINY_RECIPE.layout)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def pull(hub: Hub, cache: Path) -> None:
    """Pull, which reads all kinds of files, and compare the weights."""
    zoo = opened(hub, cache)
    zoo.pull("pencil sketch")
    np.testing.assert_array_equal(zoo.blocks("pencil-sketch"), EXPECTED)


def refused(hub: Hub, cache: Path, words: str, error: type[Exception] = HubUnavailable) -> None:
    """A pull ends with one line, and a sound Hub gives the right bytes into the same cache afterwards."""
    with pytest.raises(error, match=words) as raised:
        pull(hub, cache)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) <= 300
    hub.forget()
    pull(hub, cache)


def cached_bytes(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("fault", [Fault("status", "", status=500), Fault("status", "", status=429)])
def test_small_files_are_tried_as_often_as_payloads(
    hub: Hub, cache: Path, slept: list[float], file: str, fault: Fault
) -> None:
    hub.faults.append(replace(fault, path=f"resolve/.*{file}", times=2))
    pull(hub, cache)
    assert hub.faults[0].times == 0
    assert 0 < sum(slept) < 10


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "100000"}),
        (503, {"Retry-After": "100000"}),
        (429, {"Retry-After": "9" * 5000}),
        (429, {"RateLimit": '"api";r=0;t=100000'}),
    ],
)
def test_a_wait_of_hours_is_told_and_not_waited_for(
    hub: Hub, cache: Path, slept: list[float], file: str, status: int, headers: dict[str, str]
) -> None:
    hub.faults.append(Fault("status", f"resolve/.*{file}", times=-1, status=status, headers=headers))
    refused(
        hub, cache, f"the Hub answered {status} and asks to wait (100000|9+) seconds. Try again after that"
    )
    assert sum(slept) < 60


def test_short_waits_are_a_minute_at_most_together(hub: Hub, cache: Path, slept: list[float]) -> None:
    headers = {"Retry-After": "25"}
    hub.faults.append(Fault("status", "index.parquet", times=-1, status=429, headers=headers))
    refused(hub, cache, "asks to wait 25 seconds")
    assert slept == [26.0, 26.0]


@pytest.mark.parametrize("file", FILES)
def test_no_more_is_read_than_was_announced(
    hub: Hub, cache: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr("initzoo.zoo.hub.files.MAX_MANIFEST_BYTES", 2**20)
    hub.faults.append(Fault("endless", f"resolve/.*{file}", times=-1))
    error = ChecksumMismatch if file == "blocks-0000" else HubUnavailable
    refused(hub, cache, "expected at most [0-9,]+ bytes, the Hub sends more|expected sha256", error)
    assert cached_bytes(cache) < 2**20
    assert max(one.n_bytes for one in hub.seen) < 2**20


@pytest.mark.parametrize("file", FILES)
def test_packed_answers_are_unpacked_and_bombs_are_not(
    hub: Hub, cache: Path, slept: list[float], file: str
) -> None:
    hub.faults.append(Fault("gzip", f"resolve/.*{file}", times=-1))
    pull(hub, cache / "first")
    hub.faults[0].what = "bomb"
    error = ChecksumMismatch if file == "blocks-0000" else HubUnavailable
    refused(hub, cache, "expected at most [0-9,]+ bytes, the Hub sends more|expected sha256", error)
    assert cached_bytes(cache) < 2**20


@pytest.mark.parametrize("file", FILES[:3])
def test_a_file_that_is_announced_too_large_is_not_fetched(
    hub: Hub, cache: Path, slept: list[float], file: str
) -> None:
    pattern = f"resolve/.*{file}"
    hub.faults += [Fault("huge", pattern, times=-1), Fault("huge", pattern, times=-1, method="HEAD")]
    opened(hub, cache)
    hub.seen.clear()
    with pytest.raises(HubUnavailable, match="expected at most .* bytes, the Hub announces 1000000000000000"):
        pull(hub, cache)
    assert hub.requests(pattern, "GET") == []


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_redirects_in_a_circle_are_one_line(
    hub: Hub, cache: Path, slept: list[float], file: str, method: str
) -> None:
    if method == "HEAD" and file == "blocks-0000":
        pytest.skip("payloads are fetched without a question before")
    hub.faults.append(Fault("circle", f"resolve/[0-9a-f]{{40}}/.*{file}", times=-1, method=method))
    refused(hub, cache, "redirects")


@pytest.mark.parametrize("file", FILES)
def test_a_line_that_drips_is_given_up(
    hub: Hub, cache: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr(connections, "_SPAN", 0.3)
    hub.faults.append(Fault("drip", f"resolve/.*{file}", times=-1, seconds=0.01))
    refused(hub, cache, "the Hub sends less than 8 KB a second. Try again later")


def test_a_range_that_is_another_one_is_refused(hub: Hub, cache: Path, slept: list[float]) -> None:
    hub.faults.append(Fault("wrong-range", "blocks-0000", times=-1))
    refused(hub, cache, "asked for bytes from [0-9]+ on, got 'bytes ")


@pytest.mark.parametrize("kind", ["other zoo", "old index"])
def test_an_index_that_is_swapped_after_the_manifest_is_refused(
    own_hub: Hub, cache: Path, tmp_path: Path, slept: list[float], kind: str
) -> None:
    """The commit stays the same: only a server without scruples does this."""
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    other = make_zoo(tmp_path / "other", concepts=TINY_CONCEPTS[:3]) if kind == "other zoo" else None
    files = own_hub.repo("dataset", "me/zoo").commits[-1].files
    zoo = opened(own_hub, cache, "me/zoo")
    assert zoo.files.manifest.dataset_files
    whole = files["index.parquet"]
    swapped = (other / "dataset" / "index.parquet").read_bytes() if other else whole[:-9] + b"x" * 9
    files["index.parquet"] = swapped
    with pytest.raises(ChecksumMismatch, match="'index.parquet': expected .* with sha256"):
        zoo.pull("night")
    files["index.parquet"] = whole
    assert opened(own_hub, cache, "me/zoo").pull("night")


def test_no_room_in_the_cache_is_one_line(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import huggingface_hub.file_download

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.file_download, "http_get", full)
        with pytest.raises(OutputError, match="cannot write to the cache.*No space left.*HF_HUB_CACHE"):
            pull(hub, cache)
    pull(hub, cache)


@pytest.mark.parametrize(
    ("faults", "line"),
    [
        (
            [Fault("status", "index.parquet", times=1), Fault("cut", "model.safetensors")],
            "next: initzoo apply",
        ),
        (
            [Fault("status", "index.parquet", times=-1, headers={"Retry-After": "99"})],
            "asks to wait 99 seconds",
        ),
    ],
)
def test_the_client_prints_no_lines_of_its_own(
    hub: Hub, cache: Path, tmp_path: Path, faults: list[Fault], line: str
) -> None:
    hub.faults += [replace(fault) for fault in faults]
    done = run_program(
        program(hub, cache, HF_TOKEN=TOKEN),
        "-m",
        "initzoo",
        "pull",
        "night",
        "--zoo",
        "me/tiny",
        cwd=tmp_path,
    )
    assert done.stderr.count("\n") == 1, done.stderr
    assert line in done.stderr
