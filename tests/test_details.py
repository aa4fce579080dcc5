"""Details: all weights of a checkpoint, packed beside its adapter, from the shard to the network."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from hub_fixtures import opened, own_hub, pushed, quick_retries
from hub_server import Hub
from zoo_fixtures import TINY_RECIPE, make_zoo, random_adapter, random_base, random_detail, random_weights

from initzoo.checkpoints.blocks import split_blocks
from initzoo.checkpoints.detail import add_detail, decode_detail, encode_detail
from initzoo.checkpoints.init import Init
from initzoo.checkpoints.merge import merge_adapter
from initzoo.checkpoints.rounding import Tolerance
from initzoo.cli.main import main
from initzoo.errors import ChecksumMismatch, InvalidInit, InvalidZoo, LayoutMismatch
from initzoo.files.tensors import encode_tensors
from initzoo.networks import layer_gains, layer_moments
from initzoo.zoo.datasets import load_blocks
from initzoo.zoo.index import Index, write_index, write_index_tables
from initzoo.zoo.index.rows import OPTIONAL_COLUMNS
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.shards import read_shard, read_shard_header, write_shard
from initzoo.zoo.zoo import Zoo

__all__ = ["own_hub", "quick_retries"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def with_a_changed_byte(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


DETAILED = ("pencil-sketch", "watercolour")
PENCIL, WATERCOLOUR = 0, 3
"""Numbers of the two concepts, from which their weights are drawn."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_zoo(tmp_path / "zoo", detailed=DETAILED)


def merged(seed: int) -> dict[str, np.ndarray]:
    return merge_adapter(random_base(TINY_RECIPE), random_adapter(TINY_RECIPE, seed), TINY_RECIPE.layout)


def plain_detail(trained: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> bytes:
    """A detail as zoos before had them."""
    numbers, units = b"", b""
    for name, weight in trained.items():
        change = weight - before[name]
        if change.ndim > 1:
            rows = change.reshape(len(change), -1)
            change = np.abs(rows).max(axis=1) / 127
            units += np.rint(rows / change[:, None]).astype(np.int8).tobytes()
        numbers += change.astype("<f4").tobytes()
    return numbers + units + b"\0" * (len(units) % 2)


def unfinished(parts: bytes) -> bytes:
    """A deflate stream of all parts that has no end."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(parts) + packer.flush(zlib.Z_SYNC_FLUSH)


def packed(scales: list[float], parts: bytes, *, after: bytes = b"") -> bytes:
    """A detail by hand."""
    packer = zlib.compressobj(wbits=-15)
    data = b"d2\xff\xff" + np.array(scales, "<f4").tobytes()
    data += packer.compress(parts) + packer.flush()
    return data + b"\0" * (len(data) % 2) + after


SMALL_RECIPE = replace(
    TINY_RECIPE,
    ranks={},
    layout=replace(TINY_RECIPE.layout, tensors=()),
    weights=(("a", (2, 1, 1, 2)), ("b", (3,))),
)
PARTS = bytes([127, 3, 0, 0, 127, 1, 0, 0]) + bytes([1, 2, 3, 0, 0, 0])
"""Low and high parts of `a`, then of `b`."""


def test_a_detail_without_a_tolerance_is_fine() -> None:
    trained, before = random_weights(TINY_RECIPE, 0), merged(0)
    restored = add_detail(
        before, decode_detail(encode_detail(trained, before, TINY_RECIPE), TINY_RECIPE, "x")
    )
    for name, weight in trained.items():
        step = np.abs(weight - before[name]).max() / 32639
        assert (np.abs(restored[name] - weight) <= 0.5 * step + 1e-5).all(), name


def test_a_detail_has_the_bytes_that_the_format_names() -> None:
    before = {"a": np.zeros((2, 1, 1, 2), np.float32), "b": np.zeros(3, np.float32)}
    after = {
        "a": np.array([[[[32639, 256 + 3]]], [[[0, -1]]]], np.float32),
        "b": np.array([1, -128, 32639], np.float32),
    }
    data = encode_detail(after, before, SMALL_RECIPE)
    assert data[:12] == b"d2\xff\xff" + np.array([1, 1], "<f4").tobytes()
    parts = [127, 3, 0, -1, 127, 1, 0, 0, 1, -128, 127, 0, 0, 127]
    assert zlib.decompressobj(-15).decompress(data[12:]) == np.array(parts, np.int8).tobytes()
    assert len(data) % 2 == 0
    for name, value in decode_detail(data, SMALL_RECIPE, "x").items():
        np.testing.assert_array_equal(value, after[name])


def test_a_detail_of_an_older_zoo_is_read() -> None:
    numbers = np.array([1, 0, 1, 2, 3], "<f4").tobytes()
    detail = decode_detail(numbers + np.array([127, -63, 0, 0], np.int8).tobytes(), SMALL_RECIPE, "x")
    assert detail["a"].ravel().tolist() == [127, -63, 0, 0]
    assert detail["b"].tolist() == [1, 2, 3]


def test_rounding_to_a_tolerance_costs_the_noise_that_it_allows_and_few_bytes() -> None:
    torch.manual_seed(0)
    network = TINY_RECIPE.network.build()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    trained = network.to_arrays()
    before = {name: np.zeros_like(weight) for name, weight in trained.items()}
    with torch.no_grad():
        wanted = network(images)
    moments, gains = layer_moments(network, images), layer_gains(network, images)
    fine = encode_detail(trained, before, TINY_RECIPE)
    sizes = [len(fine)]
    for noise in (1e-6, 1e-4):
        data = encode_detail(trained, before, TINY_RECIPE, tolerance=Tolerance(moments, gains, noise))
        network.load_arrays(add_detail(before, decode_detail(data, TINY_RECIPE, "x")))
        with torch.no_grad():
            assert 0.1 * noise < float((network(images) - wanted).square().mean()) < 3 * noise
        sizes.append(len(data))
    assert sizes[2] < sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (packed([1, 1], PARTS)[:-4], LayoutMismatch, "expected a detail of 14 bytes unpacked, found"),
        (packed([1, 1], b"")[:12] + unfinished(PARTS), InvalidInit, "cut off at its end"),
        (packed([1, 1], PARTS[:-1]), LayoutMismatch, "expected a detail of 14 bytes unpacked, found 13"),
        (packed([1, 1], PARTS + b"\0"), LayoutMismatch, "found more"),
        (packed([1, 1], bytes(10**8)), LayoutMismatch, "found more"),
        (packed([1, 1], PARTS, after=b"\0\0"), InvalidInit, "found bytes after the last value"),
        (packed([1, 1], PARTS, after=b"x"), InvalidInit, "found bytes after the last value"),
        (packed([1, 1], PARTS)[:12] + b"\xff" * 8, InvalidInit, "detail: cannot be unpacked"),
        (packed([1, 1], PARTS)[:8], LayoutMismatch, "expected a detail of 14 bytes unpacked, found 0"),
        (b"d2\xff\xff", LayoutMismatch, "expected a detail of 14 bytes unpacked, found 0"),
        (packed([np.nan, 1], PARTS), InvalidInit, "tensor 'a': found an invalid number"),
        (packed([1, -1], PARTS), InvalidInit, "tensor 'b': found an invalid number"),
        (packed([1, np.inf], PARTS), InvalidInit, "tensor 'b': found an invalid number"),
        (packed([3e38, 1], PARTS), InvalidInit, "tensor 'a': found an invalid number"),
        (packed([1, 1], PARTS[:4] + b"\x80" + PARTS[5:]), InvalidInit, "tensor 'a': found an invalid number"),
    ],
)
def test_a_damaged_detail_is_refused(data: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        decode_detail(data, SMALL_RECIPE, "x")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda data: data[:-2], LayoutMismatch, "expected a detail of"),
        (lambda data: np.array([np.nan], "<f4").tobytes() + data[4:], InvalidInit, "found an invalid number"),
        (lambda data: np.array([-1.0], "<f4").tobytes() + data[4:], InvalidInit, "found an invalid number"),
        (lambda data: data[:-3] + b"\x80" + data[-2:], InvalidInit, "found an invalid number"),
    ],
)
def test_a_damaged_detail_of_an_older_zoo_is_refused(damage, error, message) -> None:  # type: ignore[no-untyped-def]
    data = plain_detail(random_weights(TINY_RECIPE, 0), merged(0))
    decode_detail(data, TINY_RECIPE, "x")
    with pytest.raises(error, match=message):
        decode_detail(damage(data), TINY_RECIPE, "x")


def test_weights_of_another_network_have_no_detail() -> None:
    weights = random_weights(TINY_RECIPE, 0)
    with pytest.raises(LayoutMismatch, match="tensor 'head.bias': expected shape"):
        encode_detail({**weights, "head.bias": np.zeros(1, np.float32)}, merged(0), TINY_RECIPE)
    with pytest.raises(InvalidInit, match="NaN or infinite"):
        encode_detail({**weights, "head.bias": weights["head.bias"] + np.inf}, merged(0), TINY_RECIPE)


def test_a_pull_adds_the_detail_and_an_adapter_comes_without(folder: Path) -> None:
    zoo = Zoo.from_pretrained(folder)
    init = zoo.pull("pencil sketch")
    assert init.metadata.has_detail
    assert init.metadata.scores["psnr"] == 27.5
    for name, weight in random_weights(TINY_RECIPE, PENCIL).items():
        np.testing.assert_allclose(init.weights[name], weight, atol=0.05)
    adapter = zoo.pull("pencil sketch", adapter_only=True)
    assert not adapter.metadata.has_detail
    assert (adapter.metadata.scores["psnr"], adapter.metadata.scores["ssim"]) == (22.25, 0.75)
    for name, values in random_adapter(TINY_RECIPE, PENCIL).items():
        np.testing.assert_array_equal(adapter.weights[name], values)
    assert not zoo.pull("night").metadata.has_detail


def test_an_init_keeps_that_it_has_a_detail(folder: Path, tmp_path: Path) -> None:
    init = Zoo.from_pretrained(folder).pull("pencil sketch")
    init.save(tmp_path / "a.safetensors")
    assert Init.load(tmp_path / "a.safetensors").metadata == init.metadata


def test_a_checkpoint_is_the_network_that_a_pull_gives(folder: Path) -> None:
    zoo = Zoo.from_pretrained(folder)
    pulled = zoo.pull("watercolour").weights
    for name, weight in zoo.checkpoint("watercolour").to_arrays().items():
        np.testing.assert_array_equal(weight, pulled[name])
    for name, weight in zoo.checkpoint("watercolour", with_detail=False).to_arrays().items():
        np.testing.assert_array_equal(weight, merged(WATERCOLOUR)[name])


def test_a_plan_counts_the_detail(folder: Path) -> None:
    zoo = Zoo.from_pretrained(folder)
    row = zoo.find("pencil sketch")
    assert row.detail_bytes == len(random_detail(TINY_RECIPE, PENCIL))
    both, alone = zoo.plan("pencil sketch")[-1], zoo.plan("pencil sketch", adapter_only=True)[-1]
    assert both.n_bytes == row.byte_end - row.byte_start + row.detail_bytes
    assert alone.n_bytes == row.byte_end - row.byte_start


def test_a_shard_with_details_can_be_read_like_any_other(folder: Path) -> None:
    path = folder / "dataset" / "blocks" / "blocks-00000.safetensors"
    header = read_shard_header(path)
    assert set(header.detail_ranges) == set(DETAILED)
    for name, (start, _) in header.detail_ranges.items():
        assert header.ranges[name][1] == start
    blocks = read_shard(path, TINY_RECIPE.layout)
    np.testing.assert_array_equal(
        blocks["watercolour"], split_blocks(random_adapter(TINY_RECIPE, WATERCOLOUR), TINY_RECIPE.layout)
    )


@pytest.mark.parametrize("tensors", ["orphan", "apart", "half"])
def test_a_detail_apart_from_its_blocks_is_refused(tensors: str, tmp_path: Path) -> None:
    blocks, detail = np.zeros((2, 4), np.float16), np.zeros(6, np.uint8)
    cases = {
        "orphan": {"a": blocks, "b.detail": detail},
        "apart": {"a": blocks, "b": blocks, "a.detail": detail},
        "half": {"a": blocks, "a.detail": detail.astype(np.float16)},
    }
    metadata = {"format_version": "1", "kind": "shard", "layout_id": "0" * 16, "recipe": "tiny"}
    path = tmp_path / "a.safetensors"
    path.write_bytes(encode_tensors(cases[tensors], metadata, keep_order=True))
    with pytest.raises(InvalidZoo, match=r"is not a U8 tensor right after the blocks"):
        read_shard_header(path)


def test_one_request_brings_blocks_and_detail(own_hub: Hub, folder: Path, tmp_path: Path) -> None:
    pushed(own_hub, folder)
    zoo = opened(own_hub, tmp_path / "cache", "me/zoo")
    zoo.pull("night")
    own_hub.forget()
    row = zoo.find("pencil sketch")
    init = zoo.pull("pencil sketch")
    (request,) = own_hub.seen
    assert request.n_bytes == row.byte_end - row.byte_start + row.detail_bytes
    assert (
        init.weights["head.bias"].tolist()
        == Zoo.from_pretrained(folder).pull("pencil sketch").weights["head.bias"].tolist()
    )
    own_hub.forget()
    zoo.pull("pencil sketch")
    zoo.pull("pencil sketch", adapter_only=True)
    assert own_hub.seen == []


def test_after_an_adapter_only_the_detail_is_fetched(own_hub: Hub, folder: Path, tmp_path: Path) -> None:
    pushed(own_hub, folder)
    zoo = opened(own_hub, tmp_path / "cache", "me/zoo")
    row = zoo.find("watercolour")
    zoo.pull("watercolour", adapter_only=True)
    assert not zoo.plan("watercolour")[-1].is_cached
    own_hub.forget()
    zoo.pull("watercolour")
    (request,) = own_hub.seen
    assert request.range == f"bytes={row.byte_end}-{row.byte_end + row.detail_bytes - 1}"
    assert zoo.plan("watercolour")[-1].is_cached


def test_a_detail_damaged_in_the_cache_is_fetched_again(own_hub: Hub, folder: Path, tmp_path: Path) -> None:
    pushed(own_hub, folder)
    cache = tmp_path / "cache"
    zoo = opened(own_hub, cache, "me/zoo")
    expected = zoo.pull("watercolour").to_bytes()
    (kept,) = cache.glob("*/payloads/??/*.detail")
    kept.write_bytes(with_a_changed_byte(kept.read_bytes(), 10))
    assert zoo.pull("watercolour").to_bytes() == expected
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == zoo.find("watercolour").detail_sha256


def test_a_changed_byte_of_a_detail_is_found(folder: Path) -> None:
    zoo = Zoo.from_pretrained(folder)
    row = zoo.find("watercolour")
    path = folder / "dataset" / row.shard
    path.write_bytes(with_a_changed_byte(path.read_bytes(), row.byte_end + 5))
    with pytest.raises(ChecksumMismatch, match=r"'watercolour': expected sha256"):
        zoo.pull("watercolour")
    assert zoo.pull("watercolour", adapter_only=True).kind == "adapter"
    problems = zoo.verify().problems
    assert any("'watercolour': expected sha256" in problem for problem in problems), problems


def test_verify_finds_a_row_that_denies_its_detail(tmp_path: Path) -> None:
    folder = make_zoo(
        tmp_path / "zoo",
        detailed=DETAILED,
        change=lambda rows: [replace(row, detail_bytes=0, detail_sha256="") for row in rows],
    )
    problems = Zoo.from_pretrained(folder).verify().problems
    assert sum("the header of the shard" in problem for problem in problems) == 2, problems


def test_an_index_without_the_columns_reads_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_zoo(tmp_path / "zoo")
    path = folder / "dataset" / "index.parquet"
    rows = Index.open(path).rows()
    table = pq.read_table(path).drop_columns(list(OPTIONAL_COLUMNS))
    monkeypatch.setattr("initzoo.zoo.index.files.arrow_schema", lambda: table.schema)
    write_index_tables(path, [table], force=True)
    assert not set(OPTIONAL_COLUMNS) & set(pq.read_schema(path).names)
    refresh_manifest(folder)
    assert Index.open(path).rows() == rows
    assert Zoo.from_pretrained(folder).pull("night").metadata.concept == "night"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"detail_bytes": 4, "detail_sha256": ""}, "detail_sha256 has the invalid value"),
        ({"detail_bytes": 0, "detail_sha256": "0" * 64}, "detail_sha256 has the invalid value"),
        ({"detail_bytes": -4, "detail_sha256": "0" * 64}, "detail_bytes has the invalid value"),
        ({"psnr_adapter": float("nan")}, "psnr_adapter is nan"),
    ],
)
def test_a_wrong_row_is_not_written(values: dict[str, object], message: str, tmp_path: Path) -> None:
    rows = Zoo.from_pretrained(make_zoo(tmp_path / "zoo")).index.rows()
    with pytest.raises(ValueError, match=message):
        write_index(tmp_path / "a.parquet", [replace(rows[0], **values)])


def test_show_and_datasets_know_details(folder: Path) -> None:
    ask = ["show", "pencil sketch", "--zoo", str(folder)]
    result = CliRunner().invoke(main, ask)
    assert "detail of all weights" in result.stdout
    assert "22.25 dB" in result.stdout
    values = json.loads(
        CliRunner().invoke(main, ["show", "pencil sketch", "--zoo", str(folder), "--json"]).stdout
    )
    assert values["detail_bytes"] == len(random_detail(TINY_RECIPE, PENCIL))
    rows = load_blocks(str(folder), streaming=True)
    assert sum(row["concept"] == "pencil-sketch" for row in rows) == TINY_RECIPE.layout.n_blocks


def test_a_shard_refuses_a_detail_without_blocks(tmp_path: Path) -> None:
    blocks = {"a": split_blocks(random_adapter(TINY_RECIPE, 0), TINY_RECIPE.layout)}
    with pytest.raises(ValueError, match="a detail of 'b', which has no blocks"):
        write_shard(tmp_path / "a", blocks, TINY_RECIPE.layout, "tiny", details={"b": b"1234"})
