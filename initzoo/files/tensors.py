"""Safetensors files, read strictly and written deterministically.

The safetensors package accepts names such as `../../etc/x`, repeated keys and empty files, and
writes metadata in random order. initzoo reads and writes a subset of the format that any
safetensors reader opens: float16, float32 or uint8 tensors with plain names, without gaps,
and a seal (see `digests`) in the metadata.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from initzoo.files.digests import BLANK_SEAL, DamagedFile, check_no_pointer, check_seal, seal

__all__ = ["Header", "TensorEntry", "decode_tensors", "encode_tensors", "read_header"]

_MAX_HEADER_BYTES = 8 * 2**20
_MAX_DIMENSIONS = 8
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}(\.[A-Za-z0-9_-]{1,128}){0,64}")
_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
}


@dataclass(frozen=True)
class TensorEntry:
    """Dtype, shape and byte range of a tensor; `start` and `end` are offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file."""

    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]


def encode_tensors(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], *, keep_order: bool = False
) -> bytes:
    """Encode a sealed safetensors file. Equal tensors and metadata give the same bytes.

    Args:
        tensors: float16, float32 or uint8 arrays, by name.
        metadata: metadata of the file; the key `seal` is added.
        keep_order: write the tensors in the order of `tensors` instead of that of their names.

    Raises:
        ValueError: there are no tensors, a name is not plain, or a dtype is not supported.

    Example:
        >>> data = encode_tensors({"head.bias": np.zeros(2, dtype=np.float32)}, {"kind": "merged"})
        >>> decode_tensors(data)[1]
        {'head.bias': array([0., 0.], dtype=float32)}
    """
    if not tensors:
        raise ValueError("there are no tensors to write")
    codes = {dtype: code for code, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted({**metadata, "seal": BLANK_SEAL}.items()))}
    payloads = []
    position = 0
    for name in tensors if keep_order else sorted(tensors):
        array = tensors[name]
        if not _NAME.fullmatch(name) or array.dtype not in codes or not array.size:
            raise ValueError(f"cannot write tensor {name!r} of {array.dtype} and shape {array.shape}")
        payloads.append(np.ascontiguousarray(array).tobytes())
        header[name] = {
            "dtype": codes[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + len(payloads[-1])],
        }
        position += len(payloads[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the tensors, as the format recommends
    return seal(struct.pack("<Q", len(text)) + text + b"".join(payloads))


def decode_tensors(data: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Decode the metadata, without the seal, and the tensors of a sealed file.

    Raises:
        DamagedFile: the bytes have changed since they were sealed, or break a rule of `read_header`.
    """
    check_seal(data)
    header = _parse_header(data[8 : 8 + _header_size(data[:8], len(data))], len(data))
    metadata = {name: text for name, text in header.metadata.items() if name != "seal"}
    return metadata, {
        name: np.frombuffer(data[entry.start : entry.end], dtype=_DTYPES[entry.dtype])
        .reshape(entry.shape)
        .copy()
        for name, entry in header.tensors.items()
    }


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read and check the header of a file, without its tensors.

    Raises:
        DamagedFile: the file cannot be read, the header is too long or not JSON, a name is not
            plain or is repeated, an entry has unknown fields, another dtype or a wrong size, or
            tensors overlap, leave gaps or exceed the file.
    """
    try:
        with Path(path).open("rb") as file:
            n_file_bytes = os.fstat(file.fileno()).st_size
            beginning = file.read(64)
            check_no_pointer(beginning)
            size = _header_size(beginning[:8], n_file_bytes)
            file.seek(8)
            text = file.read(size)
    except (OSError, ValueError) as error:
        if isinstance(error, DamagedFile):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DamagedFile(f"cannot be read ({reason})") from error
    if len(text) < size:
        raise DamagedFile("ends inside its header")
    return _parse_header(text, n_file_bytes)


def _header_size(prefix: bytes, n_file_bytes: int) -> int:
    if len(prefix) < 8:
        raise DamagedFile(f"is not a safetensors file: it has {n_file_bytes} bytes")
    size = int(struct.unpack("<Q", prefix)[0])
    if not 2 <= size <= min(_MAX_HEADER_BYTES, n_file_bytes - 8):
        raise DamagedFile(f"is not a whole safetensors file: {n_file_bytes} bytes with a header of {size}")
    return size


def _parse_header(text: bytes, n_file_bytes: int) -> Header:
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repeats)
    except DamagedFile:
        raise
    except (ValueError, RecursionError) as error:
        raise DamagedFile("its header is not JSON") from error
    if not isinstance(values, dict):
        raise DamagedFile("its header is not a JSON object")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(note, str) for note in metadata.values()):
        raise DamagedFile("its metadata is not a map of strings")
    if not values:
        raise DamagedFile("holds no tensors")
    first = 8 + len(text)
    tensors = {name: _parse_entry(name, entry, first) for name, entry in values.items()}
    position = first
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].start):
        if tensor.start != position:
            raise DamagedFile(f"tensor '{name}' starts at byte {tensor.start}, expected {position}")
        position = tensor.end
    if position != n_file_bytes:
        raise DamagedFile(f"its tensors end at byte {position}, the file at {n_file_bytes}")
    return Header(metadata=metadata, tensors=tensors)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise DamagedFile("its header has a repeated key")
    return values


def _parse_entry(name: str, entry: Any, first: int) -> TensorEntry:
    if not _NAME.fullmatch(name):
        raise DamagedFile(f"has a tensor with the unsafe name {name[:80]!r}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise DamagedFile(f"tensor '{name}' has a malformed header entry")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise DamagedFile(f"tensor '{name}' has dtype {str(dtype)[:20]!r}, expected F16, F32 or U8")
    if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS or 0 in shape:
        raise DamagedFile(f"tensor '{name}' has a malformed shape")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise DamagedFile(f"tensor '{name}' has malformed offsets")
    expected = math.prod(shape) * _DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != expected:
        raise DamagedFile(f"tensor '{name}' has {offsets[1] - offsets[0]} bytes, its shape needs {expected}")
    return TensorEntry(dtype=dtype, shape=tuple(shape), start=first + offsets[0], end=first + offsets[1])


def _are_counts(values: Any) -> bool:
    """Whether `values` is a list of non-negative integers below 2**48."""
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**48 for n in values)
