"""Shards: the blocks of many checkpoints in one file, read a byte range at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from zoo_fixtures import TINY_RECIPE, cut_off, flipped, outcome, random_adapter

from initzoo.checkpoints.blocks import split_blocks
from initzoo.checkpoints.recipe import Layout
from initzoo.errors import InvalidInit, InvalidZoo, LayoutMismatch, OutputError
from initzoo.files.tensors import encode_tensors
from initzoo.zoo.shards import decode_blocks, read_range, read_shard, read_shard_header, write_shard

LAYOUT = TINY_RECIPE.layout
GOLDEN_LAYOUT = Layout(tensors=(("head.B", (2, 1)), ("head.bias", (2,)), ("tail.bias", (3,))), block_size=4)
GOLDEN_BLOCKS = {
    "warm": np.array([[1, -2, 0.5, 65504], [0.25, 3, -0.125, 0]], dtype=np.float32),
    "pencil-sketch": np.array([[0, 1, 2, 3], [4, 5, 6, 0]], dtype=np.float32),
}
GOLDEN = Path(__file__).parent / "golden" / "shard.safetensors"


def tiny_blocks(n_checkpoints: int) -> dict[str, np.ndarray]:
    return {
        f"concept-{i}": split_blocks(random_adapter(TINY_RECIPE, seed=i), LAYOUT)
        for i in range(n_checkpoints)
    }


def write_tiny(path: Path, n_checkpoints: int = 3) -> dict[str, np.ndarray]:
    blocks = tiny_blocks(n_checkpoints)
    write_shard(path, blocks, LAYOUT, "tiny")
    return blocks


def test_a_shard_has_the_golden_bytes(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.safetensors", GOLDEN_BLOCKS, GOLDEN_LAYOUT, "golden")
    assert (tmp_path / "a.safetensors").read_bytes() == GOLDEN.read_bytes()


def test_the_golden_shard_can_be_read() -> None:
    blocks = read_shard(GOLDEN, GOLDEN_LAYOUT)
    assert {name: values.tolist() for name, values in blocks.items()} == {
        name: values.tolist() for name, values in GOLDEN_BLOCKS.items()
    }


def test_read_shard_restores_the_blocks(tmp_path: Path) -> None:
    blocks = write_tiny(tmp_path / "a.safetensors")
    restored = read_shard(tmp_path / "a.safetensors", LAYOUT)
    assert list(restored) == sorted(blocks)
    for concept_id, expected in blocks.items():
        assert restored[concept_id].dtype == np.float32
        np.testing.assert_array_equal(restored[concept_id], expected)


def test_the_order_of_checkpoints_does_not_change_the_bytes(tmp_path: Path) -> None:
    blocks = write_tiny(tmp_path / "a.safetensors")
    write_shard(tmp_path / "b.safetensors", dict(reversed(blocks.items())), LAYOUT, "tiny")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_payloads_say_where_the_blocks_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    blocks = tiny_blocks(3)
    payloads = write_shard(path, blocks, LAYOUT, "tiny")
    assert read_shard_header(path).ranges == {name: (p.start, p.end) for name, p in payloads.items()}
    for concept_id, payload in payloads.items():
        data = read_range(path, payload.start, payload.end)
        assert hashlib.sha256(data).hexdigest() == payload.sha256
        np.testing.assert_array_equal(decode_blocks(data, LAYOUT, concept_id), blocks[concept_id])


def test_the_header_explains_the_shard(tmp_path: Path) -> None:
    write_tiny(tmp_path / "a.safetensors")
    header = read_shard_header(tmp_path / "a.safetensors")
    assert (header.recipe, header.layout_id) == ("tiny", LAYOUT.id)
    assert (header.n_blocks, header.block_size) == (LAYOUT.n_blocks, LAYOUT.block_size)


def test_float16_costs_at_most_half_a_unit_in_its_last_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    adapter = {name: rng.normal(size=shape) for name, shape in LAYOUT.tensors}
    blocks = split_blocks(adapter, LAYOUT)
    write_shard(tmp_path / "a.safetensors", {"warm": blocks}, LAYOUT, "tiny")
    restored = read_shard(tmp_path / "a.safetensors", LAYOUT)["warm"]
    np.testing.assert_allclose(restored, blocks, rtol=2**-11, atol=2**-25)


def test_a_value_too_large_for_float16_is_named(tmp_path: Path) -> None:
    blocks = {"warm": GOLDEN_BLOCKS["warm"].copy()}
    blocks["warm"][1, 1] = -70_000
    with pytest.raises(InvalidInit, match="concept 'warm', block 1: 70000 does not fit float16"):
        write_shard(tmp_path / "a.safetensors", blocks, GOLDEN_LAYOUT, "golden")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_write_shard_refuses_broken_weights(tmp_path: Path, value: float) -> None:
    blocks = {"warm": np.full((2, 4), value, dtype=np.float32)}
    with pytest.raises(InvalidInit, match="concept 'warm', block 0: found a NaN or infinite value"):
        write_shard(tmp_path / "a.safetensors", blocks, GOLDEN_LAYOUT, "golden")


def test_write_shard_refuses_another_layout(tmp_path: Path) -> None:
    with pytest.raises(LayoutMismatch, match=r"concept 'warm', blocks: expected floats of shape"):
        write_shard(tmp_path / "a.safetensors", {"warm": GOLDEN_BLOCKS["warm"]}, LAYOUT, "tiny")


@pytest.mark.parametrize("concept_id", ["", "Pencil", "pencil sketch", "../x", "-a", "a-", "a" * 129, "a\n"])
def test_write_shard_refuses_ids_that_are_not_plain(tmp_path: Path, concept_id: str) -> None:
    with pytest.raises(ValueError, match="a concept id has lower-case letters"):
        write_shard(tmp_path / "a.safetensors", {concept_id: GOLDEN_BLOCKS["warm"]}, GOLDEN_LAYOUT, "golden")


@pytest.mark.parametrize("n_checkpoints", [0, 4097])
def test_write_shard_refuses_none_and_too_many(tmp_path: Path, n_checkpoints: int) -> None:
    blocks = {f"c-{i}": GOLDEN_BLOCKS["warm"] for i in range(n_checkpoints)}
    with pytest.raises(ValueError, match="a shard holds 1 to 4096 checkpoints"):
        write_shard(tmp_path / "a.safetensors", blocks, GOLDEN_LAYOUT, "golden")


def test_write_shard_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError):
        write_tiny(path)
    assert path.read_bytes() == b"mine"
    write_shard(path, tiny_blocks(1), LAYOUT, "tiny", force=True)
    assert list(read_shard(path, LAYOUT)) == ["concept-0"]


def test_read_range_reads_these_bytes_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(2**34)  # reading all of it would take 16 GB of memory
        file.write(b"0123456789")
    assert read_range(path, 2**34 + 2, 2**34 + 5) == b"234"


@pytest.mark.parametrize(("start", "end"), [(-1, 4), (4, 4), (5, 4), (0, 2**40)])
def test_read_range_refuses_odd_ranges(tmp_path: Path, start: int, end: int) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    with pytest.raises(InvalidZoo, match=f"bytes {start} to {end} are not the range of a checkpoint"):
        read_range(tmp_path / "a", start, end)


def test_read_range_past_the_end_says_that_the_shard_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    with pytest.raises(InvalidZoo, match=r"shard '.*a': bytes 8 to 11 go past its end at 10: it is cut off"):
        read_range(tmp_path / "a", 8, 11)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidZoo, match=r"blocks-7.safetensors': cannot be read \(No such file"):
        read_range(tmp_path / "blocks-7.safetensors", 0, 1)
    with pytest.raises(InvalidZoo, match=r"blocks-7.safetensors': cannot be read \(No such file"):
        read_shard_header(tmp_path / "blocks-7.safetensors")


@pytest.mark.parametrize("n_bytes", [0, 2, 14, 18])
def test_decode_blocks_refuses_another_number_of_bytes(n_bytes: int) -> None:
    with pytest.raises(LayoutMismatch, match=rf"concept 'warm': expected 2 blocks .* found {n_bytes} bytes"):
        decode_blocks(bytes(n_bytes), GOLDEN_LAYOUT, "warm")


def test_decode_blocks_refuses_nan_and_padding_with_values() -> None:
    blocks = GOLDEN_BLOCKS["warm"].astype(np.float16)
    blocks[0, 0] = np.nan
    with pytest.raises(InvalidInit, match="concept 'warm', block 0"):
        decode_blocks(blocks.tobytes(), GOLDEN_LAYOUT, "warm")
    blocks[0, 0], blocks[1, 3] = 0, 1
    with pytest.raises(LayoutMismatch, match="concept 'warm', block 1"):
        decode_blocks(blocks.tobytes(), GOLDEN_LAYOUT, "warm")


def test_read_shard_refuses_another_layout(tmp_path: Path) -> None:
    write_tiny(tmp_path / "a.safetensors")
    with pytest.raises(
        LayoutMismatch, match=rf"expected layout {GOLDEN_LAYOUT.id}, found {LAYOUT.id}.* 'tiny'"
    ):
        read_shard(tmp_path / "a.safetensors", GOLDEN_LAYOUT)


@pytest.mark.parametrize(
    ("metadata", "tensors", "words"),
    [
        ({"kind": "merged"}, {"warm": (2, 4)}, "is not a shard"),
        ({}, {"warm": (2, 4)}, "is not a shard"),
        ({"kind": "shard"}, {"warm": (2, 4)}, "has format version ''"),
        (
            {"kind": "shard", "format_version": "2"},
            {"warm": (2, 4)},
            "version '2', .* pip install -U initzoo",
        ),
        (
            {"kind": "shard", "format_version": "1"},
            {"Warm": (2, 4)},
            "'Warm', which is not a concept id",
        ),
        ({"kind": "shard", "format_version": "1"}, {"warm": (8,)}, "expected F16 tensors of one shape"),
        ({"kind": "shard", "format_version": "1"}, {"warm": (2, 4), "cold": (4, 2)}, "of one shape"),
    ],
)
def test_read_shard_header_says_what_is_odd(
    tmp_path: Path, metadata: dict[str, str], tensors: dict[str, tuple[int, ...]], words: str
) -> None:
    arrays = {name: np.zeros(shape, dtype=np.float16) for name, shape in tensors.items()}
    (tmp_path / "odd.safetensors").write_bytes(encode_tensors(arrays, metadata))
    with pytest.raises(InvalidZoo, match=words):
        read_shard_header(tmp_path / "odd.safetensors")


def test_float32_blocks_are_refused(tmp_path: Path) -> None:
    metadata = {"kind": "shard", "format_version": "1"}
    data = encode_tensors({"warm": np.zeros((2, 4), dtype=np.float32)}, metadata)
    (tmp_path / "odd.safetensors").write_bytes(data)
    with pytest.raises(InvalidZoo, match="expected F16 tensors"):
        read_shard_header(tmp_path / "odd.safetensors")


def test_a_damaged_shard_never_gives_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tiny(path)
    whole = path.read_bytes()
    for damaged in [*flipped(whole, 150, seed=1), *cut_off(whole, 40), whole + b"\0"]:
        path.write_bytes(damaged)
        assert outcome(lambda: read_shard(path, LAYOUT)) in (InvalidZoo, LayoutMismatch)
