"""Zoos on the Hub: the right bytes or one clear line, few requests, and none when all is cached."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_fixtures import READ_TOKEN, hub, hub_with_zoos, opened, own_hub, pushed, quick_retries
from hub_server import Fault, Hub
from large_index import make_large_zoo, name_of
from zoo_fixtures import TINY_CONCEPTS, TINY_RECIPE, make_zoo, random_adapter

from initzoo.checkpoints.blocks import split_blocks
from initzoo.errors import (
    AccessDenied,
    ChecksumMismatch,
    HubUnavailable,
    InitzooError,
    InvalidZoo,
    UnknownConcept,
    UnknownZoo,
)
from initzoo.files.digests import BLANK_SEAL, seal
from initzoo.zoo.hub import HubSettings, cached_zoos
from initzoo.zoo.hub.addresses import is_hub_address
from initzoo.zoo.index import Index, IndexRow, write_index
from initzoo.zoo.manifest import MANIFEST_FILE, FileDigest, Manifest
from initzoo.zoo.zoo import Zoo

__all__ = ["hub", "hub_with_zoos", "own_hub", "quick_retries"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def payloads(cache: Path) -> list[Path]:
    """Checkpoints in the cache."""
    return [path for path in cache.glob("*/payloads/??/*") if len(path.name) == 64]


def leftovers(cache: Path) -> list[Path]:
    """Whatever is in the cache and is not what its name says."""
    damaged = [path for path in payloads(cache) if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]
    blobs = [path for path in cache.glob("*/blobs/*") if len(path.name) == 64]
    damaged += [path for path in blobs if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]
    return damaged + list(cache.glob("*/payloads/??/*.part")) + list(cache.glob("*/blobs/*.incomplete"))


def test_every_concept_comes_as_it_was_pushed(hub: Hub, cache: Path) -> None:
    zoo = opened(hub, cache)
    for place, concept in enumerate(TINY_CONCEPTS):
        init = zoo.pull(concept.prompts[-1], adapter_only=True)
        expected = random_adapter(TINY_RECIPE, place)
        for name, values in expected.items():
            np.testing.assert_array_equal(init.weights[name], values)
    assert len(payloads(cache)) == len(TINY_CONCEPTS)
    assert not leftovers(cache)


def test_the_init_names_zoo_and_commit_however_the_revision_was_named(hub: Hub, cache: Path) -> None:
    commit = hub.repo("dataset", "me/tiny").tags["v1"]
    for name, settings in (("me/tiny@v1", {}), ("me/tiny", {"revision": "v1"}), (f"me/tiny@{commit}", {})):
        metadata = opened(hub, cache, name, **settings).pull("night").metadata
        assert (metadata.zoo, metadata.revision) == ("me/tiny", commit)
    assert opened(hub, cache).address == f"me/tiny@{commit}"
    with pytest.raises(ValueError, match="two revisions"):
        opened(hub, cache, "me/tiny@v1", revision="main")


def test_a_pull_fetches_the_bytes_of_one_checkpoint(hub: Hub, cache: Path) -> None:
    zoo = opened(hub, cache)
    zoo.pull("night")
    hub.forget()
    row = zoo.find("pencil sketch")
    zoo.pull("pencil sketch")
    (request,) = hub.seen
    assert request.range == f"bytes={row.byte_start}-{row.byte_end - 1}"
    assert request.n_bytes == row.byte_end - row.byte_start


def test_one_concept_of_thousands_moves_its_own_bytes(own_hub: Hub, cache: Path, tmp_path: Path) -> None:
    folder = make_large_zoo(tmp_path / "zoo", TINY_RECIPE, n_concepts=3_000, n_per_shard=1000)
    pushed(own_hub, folder)
    opened(own_hub, cache, "me/zoo").pull(name_of(1))
    own_hub.forget()
    zoo = opened(own_hub, cache, "me/zoo")
    row = zoo.find(name_of(2777))
    zoo.pull(f"make it {name_of(2777)}")
    assert len(own_hub.seen) == 2, "the revision of main, and the bytes"
    assert own_hub.seen[1].n_bytes == row.byte_end - row.byte_start
    assert sum(one.n_bytes for one in own_hub.seen) <= 1.1 * (row.byte_end - row.byte_start)


def test_what_is_cached_is_pulled_without_a_request(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(hub, cache, "me/tiny@v1").pull("night").to_bytes()
    commit = hub.repo("dataset", "me/tiny").tags["v1"]
    hub.forget()
    monkeypatch.setattr(socket, "socket", None)
    assert opened(hub, cache, f"me/tiny@{commit}").pull("night").to_bytes() == first
    assert opened(hub, cache, "me/tiny@v1", local_files_only=True).pull("night").to_bytes() == first
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert opened(hub, cache, "me/tiny@v1").pull("night").to_bytes() == first
    assert hub.seen == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda hub, cache: opened(hub, cache, "me/tiny@main"),
        lambda hub, cache: opened(hub, cache, "me/tiny@v1").pull("pencil sketch"),
        lambda hub, cache: opened(hub, cache / "empty", "me/tiny@" + "0" * 40).index,
    ],
)
def test_offline_says_what_is_not_cached(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Hub, Path], object]
) -> None:
    opened(hub, cache, "me/tiny@v1").pull("night")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnavailable, match=r"zoo 'me/tiny'.*not in the cache.*initzoo zoos"):
        ask(hub, cache)


def test_without_a_connection_a_branch_is_what_it_was(hub: Hub, cache: Path, quick_retries: None) -> None:
    opened(hub, cache).pull("night")
    hub.faults.append(Fault("status", "resolve/main", times=-1, status=503, method="HEAD"))
    zoo = opened(hub, cache)
    assert zoo.pull("night").metadata.revision == hub.repo("dataset", "me/tiny").commits[-1].oid


def test_a_branch_that_moves_meanwhile_changes_nothing(own_hub: Hub, cache: Path, tmp_path: Path) -> None:
    pushed(own_hub, make_zoo(tmp_path / "one"))
    old = own_hub.repo("dataset", "me/zoo").commits[-1].oid
    zoo = opened(own_hub, cache, "me/zoo")
    pushed(own_hub, make_zoo(tmp_path / "two", concepts=TINY_CONCEPTS[1:]))
    assert zoo.pull("pencil sketch").metadata.revision == old
    assert opened(own_hub, cache, "me/zoo@" + old).pull("night").metadata.revision == old
    with pytest.raises(UnknownConcept, match="no concept 'pencil sketch' in zoo 'me/zoo'"):
        opened(own_hub, cache, "me/zoo").pull("pencil sketch", origin="exact")


@pytest.mark.parametrize(
    "path", ["blocks-00000", "index.parquet", "config.json", "model.safetensors", "zoo.json"]
)
@pytest.mark.parametrize(
    "what", ["cut", "short", "corrupt", "slow", "busy", "failing", "redirect", "no-range"]
)
def test_one_fault_is_overcome(
    hub: Hub, cache: Path, quick_retries: None, monkeypatch: pytest.MonkeyPatch, what: str, path: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    kind = "status" if what in ("busy", "failing") else what
    headers = {"Retry-After": "0"} if what == "busy" else {}
    pattern = f"resolve/.*{path}"
    fault = Fault(kind, pattern, status=429 if what == "busy" else 500, headers=headers, seconds=0.05)
    if what == "redirect" and path != "blocks-00000":
        fault = replace(fault, method="HEAD")  # the client then goes to the other host at once
    hub.faults += [fault]
    if kind == "status" and path != "blocks-00000":
        hub.faults += [replace(fault, method="HEAD")]
    expected = split_blocks(random_adapter(TINY_RECIPE, 0), TINY_RECIPE.layout)
    np.testing.assert_array_equal(opened(hub, cache).blocks("pencil-sketch"), expected)
    assert fault.times == 0
    assert not leftovers(cache)
    np.testing.assert_array_equal(opened(hub, cache).blocks("pencil-sketch"), expected)


@pytest.mark.parametrize(
    ("what", "path", "error", "words"),
    [
        ("corrupt", "blocks-00000", ChecksumMismatch, "'pencil-sketch': expected sha256 .*, found .*, twice"),
        ("corrupt", "index.parquet", ChecksumMismatch, "'index.parquet': expected .* with sha256 .*, found"),
        ("corrupt", "model.safetensors", ChecksumMismatch, "model.safetensors': expected .* with sha256"),
        ("corrupt", "zoo.json", InvalidZoo, "'zoo.json': "),
        ("short", "blocks-00000", HubUnavailable, "answer ended after .* resumes where it stopped"),
        ("short", "index.parquet", HubUnavailable, "Consistency check failed"),
        ("busy", "blocks-00000", HubUnavailable, "too many requests"),
        ("failing", "blocks-00000", HubUnavailable, "the Hub answered 500"),
    ],
)
def test_a_fault_that_stays_is_one_line_and_leaves_nothing_wrong(
    hub: Hub,
    cache: Path,
    quick_retries: None,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    path: str,
    error: type[InitzooError],
    words: str,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    kind = "status" if what in ("busy", "failing") else what
    keep = 0.0 if what == "short" and path == "blocks-00000" else 0.5
    hub.faults += [Fault(kind, path, times=-1, status=429 if what == "busy" else 500, keep=keep)]
    with pytest.raises(error, match=words) as raised:
        opened(hub, cache).pull("pencil sketch")
    assert "\n" not in str(raised.value)
    assert [file for file in leftovers(cache) if file.suffix != ".part" or file.stat().st_size] == []
    hub.forget()
    assert opened(hub, cache).pull("pencil sketch").metadata.concept == "pencil-sketch"


def test_an_interrupted_pull_goes_on_where_it_stopped(
    hub: Hub, cache: Path, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the next process: what is there is on disk."""
    monkeypatch.setattr("initzoo.zoo.hub.client.MAX_RETRIES", 0)
    zoo = opened(hub, cache)
    row = zoo.find("pencil sketch")
    size = row.byte_end - row.byte_start
    hub.faults += [Fault("cut", "blocks-00000", keep=0.5), Fault("cut", "blocks-00000", keep=0.0)]
    with pytest.raises(HubUnavailable, match="resumes where it stopped"):
        zoo.blocks("pencil-sketch")
    hub.forget()
    blocks = opened(hub, cache).blocks("pencil-sketch")
    (request,) = hub.requests("blocks-00000")
    assert request.range == f"bytes={row.byte_start + size // 2}-{row.byte_end - 1}"
    np.testing.assert_array_equal(blocks, split_blocks(random_adapter(TINY_RECIPE, 0), TINY_RECIPE.layout))


def test_damage_in_the_cache_is_fetched_again(hub: Hub, cache: Path) -> None:
    expected = opened(hub, cache).pull("night").to_bytes()
    for path in [*payloads(cache), *(p for p in cache.glob("*/blobs/*"))]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert opened(hub, cache).pull("night").to_bytes() == expected
    assert not leftovers(cache)


def test_a_whole_shard_in_the_cache_serves_its_checkpoints(hub: Hub, cache: Path) -> None:
    zoo = opened(hub, cache)
    ids, blocks = zoo.all_blocks()
    assert len(hub.requests(r"blocks-0000\d", "GET")) == 2
    assert payloads(cache) == []
    hub.forget()
    np.testing.assert_array_equal(opened(hub, cache, zoo.address).blocks(ids[2]), blocks[2])
    assert hub.seen == []


def test_verify_reads_every_byte_and_repairs_the_cache(hub: Hub, cache: Path) -> None:
    zoo = opened(hub, cache, "me/tiny@v1")
    report = zoo.verify()
    assert report.problems == ()
    assert (report.target, report.n_checkpoints) == (zoo.address, len(TINY_CONCEPTS))
    shard = next(cache.glob("datasets--*/snapshots/*/blocks/*1.safetensors")).resolve()
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert opened(hub, cache, zoo.address).verify().problems == ()
    assert len(hub.requests("blocks-00001", "GET")) == 2


def test_a_zoo_goes_to_another_process_by_name(hub: Hub, cache: Path) -> None:
    import pickle

    zoo = opened(hub, cache)
    again = pickle.loads(pickle.dumps(zoo))  # noqa: S301 (our own bytes, as between processes)
    assert (again.revision, again.find("night")) == (zoo.revision, zoo.find("night"))


def test_cached_zoos_are_listed(hub: Hub, cache: Path) -> None:
    assert cached_zoos(HubSettings(cache_dir=cache)) == []
    opened(hub, cache, "me/tiny@v1").pull("night")
    (zoo,) = cached_zoos(HubSettings(cache_dir=cache))
    assert (zoo.repo, zoo.revision, zoo.names) == (
        "me/tiny",
        hub.repo("dataset", "me/tiny").tags["v1"],
        ("v1",),
    )
    assert zoo.n_payloads == 1


def test_the_hubs_own_tools_see_a_sound_cache(hub: Hub, cache: Path) -> None:
    from huggingface_hub import scan_cache_dir

    opened(hub, cache).pull("night")
    found = scan_cache_dir(cache)
    assert found.warnings == []
    assert {repo.repo_type for repo in found.repos} == {"dataset", "model"}


def test_private_and_gated_zoos_say_how_to_log_in(own_hub: Hub, cache: Path, tmp_path: Path) -> None:
    pushed(own_hub, make_zoo(tmp_path / "zoo"), private=True)
    with pytest.raises(AccessDenied, match=r"zoo 'me/zoo'.*private. Log in: hf auth login, or set HF_TOKEN"):
        opened(own_hub, cache, "me/zoo", token=False)
    assert opened(own_hub, cache, "me/zoo", token=READ_TOKEN).pull("night")
    own_hub.repo("dataset", "me/zoo").private = False
    own_hub.repo("dataset", "me/zoo").gated = True
    with pytest.raises(AccessDenied, match="hf auth login"):
        opened(own_hub, cache / "new", "me/zoo", token=False)


def test_unknown_repos_and_revisions_are_named(hub: Hub, cache: Path) -> None:
    with pytest.raises(UnknownZoo, match="zoo 'me/none', revision 'main': the repo does not exist"):
        opened(hub, cache, "me/none", token=READ_TOKEN)
    with pytest.raises(AccessDenied, match="zoo 'me/none'"):
        opened(hub, cache, "me/none", token=False)
    with pytest.raises(UnknownZoo, match="revision 'v9': the repo lacks this revision"):
        opened(hub, cache, "me/tiny@v9")
    with pytest.raises(InitzooError, match="no zoo|lacks this revision|not in the cache"):
        _ = opened(hub, cache, "me/tiny@" + "0" * 40).index


def change_files(
    hub: Hub, kind: str, change: Callable[[dict[str, bytes]], None], repo: str = "me/zoo"
) -> None:
    """Make a commit that somebody else could have made."""
    files = dict(hub.repo(kind, repo).commits[-1].files)
    change(files)
    hub.repo(kind, repo).commit(files, "changed by a test")


def with_index(
    change: Callable[[list[IndexRow]], list[IndexRow]], tmp_path: Path
) -> Callable[[dict[str, bytes]], None]:
    """Change the index as a publisher without scruples would: seal, size and digest are right."""

    def run(files: dict[str, bytes]) -> None:
        path = tmp_path / "index.parquet"
        path.write_bytes(files["index.parquet"])
        write_index(path, change(Index.open(path).rows()), force=True)
        promise(files, "index.parquet", path.read_bytes())

    return run


def promise(files: dict[str, bytes], path: str, data: bytes) -> None:
    """Put a file in a dataset repo, with its digest in the manifest."""
    files[path] = data
    manifest = Manifest.from_bytes(files[MANIFEST_FILE])
    digest = FileDigest(len(data), hashlib.sha256(data).hexdigest())
    files[MANIFEST_FILE] = replace(
        manifest, dataset_files={**manifest.dataset_files, path: digest}
    ).to_bytes()


def edit_manifest(change: Callable[[dict[str, object]], None]) -> Callable[[dict[str, bytes]], None]:
    def run(files: dict[str, bytes]) -> None:
        values = json.loads(files[MANIFEST_FILE])
        change(values)
        files[MANIFEST_FILE] = json.dumps(values).encode()

    return run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files.pop(MANIFEST_FILE), "is not a zoo: it has no zoo.json"),
        (lambda files: files.update({MANIFEST_FILE: b"{}"}), "'zoo.json': has format version None"),
        (edit_manifest(lambda v: v.update(format_version=3)), "format version 3, .* reads 2; upgrade"),
        (edit_manifest(lambda v: v.pop("bases")), "missing required field `bases`"),
        (edit_manifest(lambda v: v.update(model_repo=None)), "'' cannot be a name of a repo"),
        (
            edit_manifest(lambda v: v["dataset_files"].update({"../x": [1, "0" * 64]})),  # type: ignore[attr-defined]
            "'zoo.json': .*'../x' cannot be a path in a zoo",
        ),
        (
            edit_manifest(lambda v: v["model_files"].update({"/etc/passwd": [1, "0" * 64]})),  # type: ignore[attr-defined]
            "'zoo.json': .*'/etc/passwd' cannot be a path in a zoo",
        ),
        (
            edit_manifest(lambda v: v["bases"].update(tiny="base/none")),  # type: ignore[attr-defined]
            "'zoo.json': .*does not list base/none/config.json",
        ),
        (lambda files: files.pop("index.parquet"), "file 'index.parquet': the file does not exist"),
        (
            lambda files: promise(files, "index.parquet", files["index.parquet"][:-1]),
            "index '.*': ",
        ),
    ],
)  # fmt: skip
def test_a_repo_that_is_no_zoo_says_so(
    own_hub: Hub, cache: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    change_files(own_hub, "dataset", change)
    with pytest.raises(InitzooError, match=words) as raised:
        opened(own_hub, cache, "me/zoo").pull("night")
    assert "\n" not in str(raised.value)


def first_row(**changes: object) -> Callable[[list[IndexRow]], list[IndexRow]]:
    return lambda rows: [replace(rows[0], **changes), *rows[1:]]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: first_row(shard="blocks/none.safetensors")(rows),
            "zoo.json does not list 'blocks/none",
        ),
        (
            lambda rows: first_row(byte_start=rows[0].byte_start + 10**6, byte_end=rows[0].byte_end + 10**6)(
                rows
            ),
            "the index points to bytes .* of blocks/.*, which has",
        ),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(
    own_hub: Hub,
    cache: Path,
    tmp_path: Path,
    change: Callable[[list[IndexRow]], list[IndexRow]],
    words: str,
) -> None:
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    change_files(own_hub, "dataset", with_index(change, tmp_path))
    zoo = opened(own_hub, cache, "me/zoo")
    first = zoo.index.ids[0]
    own_hub.forget()
    with pytest.raises(InvalidZoo, match=words):
        zoo.blocks(first)
    assert own_hub.requests("blocks") == []


def unsound_index(files: dict[str, bytes], tmp_path: Path, **columns: list[object]) -> None:
    """An index that no version of initzoo writes."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(files["index.parquet"]))
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        filled = [*values, *table.column(name).to_pylist()[len(values) :]]
        table = table.set_column(
            place, table.schema.field(name), pa.array(filled, table.schema.field(name).type)
        )
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"initzoo_seal": BLANK_SEAL, "initzoo_format_version": "1"})
    promise(files, "index.parquet", seal(sink.getvalue()))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"shard": ["../x.safetensors"]}, "shard has the invalid value '../x.safetensors'"),
        ({"shard": ["/etc/x.safetensors"]}, "shard has the invalid value '/etc/x.safetensors'"),
        ({"concept_id": ["night", "night"]}, "has two rows for concept 'night'"),
        ({"prompts": [["x" * 1_000_000]]}, "a wording has 1000000 characters, the limit is 1000"),
    ],
)
def test_an_unsound_index_is_refused(
    own_hub: Hub, cache: Path, tmp_path: Path, columns: dict[str, list[object]], words: str
) -> None:
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    change_files(own_hub, "dataset", lambda files: unsound_index(files, tmp_path, **columns))
    zoo = opened(own_hub, cache, "me/zoo")
    with pytest.raises(InvalidZoo, match=words) as raised:
        zoo.index.row("gold-to-navy")
    assert len(str(raised.value)) < 800


@pytest.mark.parametrize("words", ["x" * 1_000_000, "../x", "/etc/passwd", "a\nb", "\udcff"])
def test_odd_words_are_an_unknown_concept(hub: Hub, cache: Path, words: str) -> None:
    with pytest.raises(UnknownConcept) as raised:
        opened(hub, cache).pull(words)
    assert len(str(raised.value)) < 800


@pytest.mark.parametrize(
    ("name", "is_address"),
    [
        ("me/zoo", True),
        ("me/zoo@v1.2-beta", True),
        ("me/zoo@refs/pr/1", True),
        ("starter", False),
        ("./me/zoo", False),
        ("/me/zoo", False),
        ("me/zoo/more", False),
        ("me/../zoo", False),
        ("me--you/zoo", False),
        ("", False),
        ("me/zoo@", False),
        ("a" * 97 + "/b", False),
    ],
)
def test_what_can_be_an_address(name: str, is_address: bool) -> None:
    assert is_hub_address(name) == is_address


def test_a_folder_goes_before_a_repo_of_that_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("me").mkdir()
    make_zoo(Path("me/tiny"))
    assert not Zoo.from_pretrained("me/tiny").is_on_hub
    with pytest.raises(ValueError, match="no revision 'v1'; leave it out"):
        Zoo.from_pretrained("me/tiny", revision="v1")
    assert hub.seen == []


def test_only_the_room_of_the_hub_imports_its_client() -> None:
    root = Path(__file__).parent.parent / "initzoo"
    importers = {path for path in root.rglob("*.py") if "import huggingface_hub" in path.read_text("utf-8")}
    importers |= {path for path in root.rglob("*.py") if "from huggingface_hub" in path.read_text("utf-8")}
    assert {path.parent for path in importers} == {root / "zoo" / "hub"}
