"""Sealed safetensors files: the same bytes every time, and nothing odd accepted."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_fixtures import cut_off, flipped

from initzoo.files.digests import BLANK_SEAL, DamagedFile, check_seal, read_file, seal
from initzoo.files.tensors import decode_tensors, encode_tensors, read_header

TENSORS = {
    "tail.bias": np.array([1.5, -2.0], dtype=np.float32),
    "head.B": np.arange(6, dtype=np.float32).reshape(3, 2),
}


def raw_file(header: Any, n_data_bytes: int = 8) -> bytes:
    """A file as someone else might write it: any header, and some bytes of data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(n_data_bytes)


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def test_decode_restores_what_encode_wrote() -> None:
    metadata, tensors = decode_tensors(encode_tensors(TENSORS, {"kind": "test", "words": "naïve → ok"}))
    assert metadata == {"kind": "test", "words": "naïve → ok"}
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], tensor)
        tensors[name][...] = 0  # what is read can be written to


def test_bytes_do_not_depend_on_the_order_of_keys() -> None:
    metadata = {"kind": "test", "a": "b"}
    backwards = dict(reversed(TENSORS.items())), dict(reversed(metadata.items()))
    assert encode_tensors(TENSORS, metadata) == encode_tensors(*backwards)


def test_the_safetensors_package_reads_the_same_tensors() -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    loaded = safetensors.load(encode_tensors(TENSORS, {"kind": "test"}))
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }


def test_transposed_arrays_are_written_in_their_own_order() -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3).T
    _, tensors = decode_tensors(encode_tensors({"a": array}, {}))
    np.testing.assert_array_equal(tensors["a"], array)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"../x": np.zeros(1, dtype=np.float32)},
        {"a": np.zeros(1, dtype=np.float64)},
        {"a": np.zeros(0, dtype=np.float32)},
    ],
)
def test_encode_refuses_what_decode_would_refuse(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"cannot write tensor|no tensors"):
        encode_tensors(tensors, {})


def test_any_changed_byte_is_noticed() -> None:
    data = encode_tensors(TENSORS, {"kind": "test"})
    for damaged in flipped(data, len(data), seed=0):
        with pytest.raises(DamagedFile):
            decode_tensors(damaged)


def test_any_missing_end_is_noticed() -> None:
    for damaged in cut_off(encode_tensors(TENSORS, {"kind": "test"}), 50):
        with pytest.raises(DamagedFile):
            decode_tensors(damaged)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not a safetensors file: it has 0 bytes"),
        (b"\x02\x00\x00", "is not a safetensors file: it has 3 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "with a header of 9223372036854775808"),
        (struct.pack("<Q", 100) + b"{}", "is not a whole safetensors file: 10 bytes with a header of 100"),
        (struct.pack("<Q", 9 * 2**20) + bytes(9 * 2**20), "is not a whole safetensors file"),
        (raw_file(b"PK\x03\x04 not JSON"), "its header is not JSON"),
        (raw_file(b"\xff\xfe{}"), "its header is not JSON"),
        (raw_file(b"[" * 100_000), "its header is not JSON"),
        (raw_file(b'{"a":' + b"9" * 5000 + b"}"), "its header is not JSON"),
        (raw_file([]), "its header is not a JSON object"),
        (raw_file({}), "holds no tensors"),
        (raw_file({"__metadata__": {"a": 1}, "a": entry()}), "its metadata is not a map of strings"),
        (raw_file({"__metadata__": [], "a": entry()}), "its metadata is not a map of strings"),
        (raw_file(b'{"a":{},"a":{}}'), "its header has a repeated key"),
        (raw_file({"../../etc/x": entry()}), "the unsafe name '../../etc/x'"),
        (raw_file({"": entry()}), "the unsafe name ''"),
        (raw_file({"a\nb": entry()}), r"the unsafe name 'a\\nb'"),
        (raw_file({"a": []}), "tensor 'a' has a malformed header entry"),
        (raw_file({"a": entry(extra=1)}), "tensor 'a' has a malformed header entry"),
        (raw_file({"a": entry(dtype="BF16")}), "dtype 'BF16', expected F16, F32 or U8"),
        (raw_file({"a": entry(dtype=["F32"])}), "expected F16, F32 or U8"),
        (raw_file({"a": entry(shape=2)}), "malformed shape"),
        (raw_file({"a": entry(shape=[])}), "has 8 bytes, its shape needs 4"),
        (raw_file({"a": entry(shape=[0])}), "malformed shape"),
        (raw_file({"a": entry(shape=[True, 2])}), "malformed shape"),
        (raw_file({"a": entry(shape=[2.0])}), "malformed shape"),
        (raw_file({"a": entry(shape=[1] * 100)}), "malformed shape"),
        (raw_file({"a": entry(shape=[2**60])}), "malformed shape"),
        (raw_file({"a": entry(data_offsets=[-8, 0])}), "malformed offsets"),
        (raw_file({"a": entry(data_offsets=[0])}), "malformed offsets"),
        (raw_file({"a": entry(data_offsets=[8, 0])}), "has -8 bytes, its shape needs 8"),
        (raw_file({"a": entry(data_offsets=[0, 4])}), "has 4 bytes, its shape needs 8"),
        (raw_file({"a": entry(), "b": entry()}, 16), "starts at byte .*, expected"),
        (raw_file({"a": entry(), "b": entry(data_offsets=[9, 17])}, 17), "starts at byte .*, expected"),
        (raw_file({"a": entry()}, 9), "its tensors end at byte .*, the file at"),
        (raw_file({"a": entry()}, 7), "its tensors end at byte .*, the file at"),
    ],
)
def test_read_header_says_what_is_wrong(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=words):
        read_header(path)


def test_a_file_without_a_seal_is_refused() -> None:
    with pytest.raises(DamagedFile, match="has no seal"):
        decode_tensors(raw_file({"a": entry()}))


@pytest.mark.parametrize("data", [b"", b"no seal", BLANK_SEAL.encode() * 2])
def test_seal_wants_one_place_for_the_digest(data: bytes) -> None:
    with pytest.raises(ValueError, match="exactly once"):
        seal(data)


def test_check_seal_refuses_a_second_seal() -> None:
    with pytest.raises(DamagedFile):
        check_seal(seal(BLANK_SEAL.encode()) * 2)


@pytest.mark.parametrize("read", [read_header, lambda path: read_file(path, max_bytes=10)])
def test_what_cannot_be_read_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(DamagedFile, match=r"cannot be read \(No such file or directory\)"):
        read(tmp_path / "missing")
    with pytest.raises(DamagedFile, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(DamagedFile, match="cannot be read"):
        read(Path("nu\0ll"))


def test_read_file_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(DamagedFile, match="is larger than the limit of 10 bytes"):
        read_file(tmp_path / "large", max_bytes=10)
