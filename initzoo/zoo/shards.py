"""Shards: safetensors files that hold the float16 weight blocks of many checkpoints.

A shard has one tensor per checkpoint, named by its concept id, of shape
`(n_blocks, block_size)`. Its header names the recipe and layout of the blocks.
A checkpoint with a detail has a second tensor right after the first, named
`<concept id>.detail`: the bytes of `checkpoints.encode_detail`. All bytes of a
checkpoint are contiguous, so it can be read by one byte range.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from initzoo.checkpoints import Layout, check_blocks
from initzoo.errors import InvalidInit, InvalidZoo, LayoutMismatch
from initzoo.files import (
    DamagedFile,
    check_no_pointer,
    check_seal,
    encode_tensors,
    read_file,
    read_header,
    reported_as,
    write_bytes,
)

__all__ = [
    "CONCEPT_ID",
    "MAX_CHECKPOINTS",
    "Payload",
    "ShardHeader",
    "decode_blocks",
    "read_range",
    "read_shard",
    "read_shard_header",
    "write_shard",
]

CONCEPT_ID = re.compile(r"[a-z0-9]{1,64}(-{1,2}[a-z0-9]{1,64}){0,32}")
MAX_CHECKPOINTS = 4096  # keeps the header, which every reader parses, below a megabyte
MAX_SHARD_BYTES = 2**31
_MAX_CHECKPOINT_BYTES = 2**28
_FORMAT_VERSION = "1"
_DETAIL = ".detail"
_ADVICE = "Get the zoo again, or check all of it: initzoo verify"


@dataclass(frozen=True)
class Payload:
    """Byte range of a checkpoint's blocks in their shard, and their SHA-256.

    The detail, if there is one, takes the `detail_bytes` after `end`.
    """

    start: int
    end: int
    sha256: str
    detail_bytes: int = 0
    detail_sha256: str = ""


@dataclass(frozen=True)
class ShardHeader:
    """The header of a shard.

    Args:
        recipe: name of the recipe.
        layout_id: id of the layout of the blocks.
        n_blocks: blocks of a checkpoint.
        block_size: values of a block.
        ranges: start and end of the blocks of each concept, in bytes.
        detail_ranges: the same of the details, for the concepts that have one.
    """

    recipe: str
    layout_id: str
    n_blocks: int
    block_size: int
    ranges: dict[str, tuple[int, int]]
    detail_ranges: dict[str, tuple[int, int]] = field(default_factory=dict)


def write_shard(
    path: str | os.PathLike[str],
    blocks_by_id: Mapping[str, np.ndarray],
    layout: Layout,
    recipe_name: str,
    *,
    details: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> dict[str, Payload]:
    """Write the blocks of checkpoints as float16. The same blocks give the same bytes.

    Args:
        path: the file; its folder must exist.
        blocks_by_id: concept id -> blocks, shape `(n_blocks, block_size)`; at most 4,096.
        layout: the layout that the blocks were cut by.
        recipe_name: the recipe that they were trained with.
        details: concept id -> bytes of its detail, for the checkpoints that have one.
        force: replace an existing file.

    Returns:
        For each concept id, the byte range and digest that its index row needs.

    Raises:
        LayoutMismatch: blocks have another shape, or their padding is not zero.
        InvalidInit: a value is NaN, infinite or too large for float16.
        OutputError: the file exists already or cannot be written.
        ValueError: there are no checkpoints or too many, or a concept id is invalid.
    """
    if not 1 <= len(blocks_by_id) <= MAX_CHECKPOINTS:
        raise ValueError(f"a shard holds 1 to {MAX_CHECKPOINTS} checkpoints, found {len(blocks_by_id)}")
    details = details or {}
    if orphans := sorted(set(details) - set(blocks_by_id)):
        raise ValueError(f"a detail of '{orphans[0]}', which has no blocks")
    tensors = {}
    for concept_id, blocks in sorted(blocks_by_id.items()):
        if not CONCEPT_ID.fullmatch(concept_id):
            raise ValueError(
                f"a concept id has lower-case letters, digits and hyphens, found {concept_id[:80]!r}"
            )
        tensors[concept_id] = _to_float16(blocks, layout, concept_id)
        if concept_id in details:
            tensors[concept_id + _DETAIL] = np.frombuffer(details[concept_id], np.uint8)
    metadata = {"format_version": _FORMAT_VERSION, "kind": "shard"}
    metadata |= {"layout_id": layout.id, "recipe": recipe_name}
    data = encode_tensors(tensors, metadata, keep_order=True)
    write_bytes(Path(path), data, force=force)
    payloads = {}
    start = len(data) - sum(array.nbytes for array in tensors.values())
    for concept_id in sorted(blocks_by_id):
        end = start + tensors[concept_id].nbytes
        detail = details.get(concept_id, b"")
        payloads[concept_id] = Payload(
            start,
            end,
            sha256=hashlib.sha256(data[start:end]).hexdigest(),
            detail_bytes=len(detail),
            detail_sha256=hashlib.sha256(detail).hexdigest() if detail else "",
        )
        start = end + len(detail)
    return payloads


def read_shard_header(path: str | os.PathLike[str]) -> ShardHeader:
    """Read the header of a shard and none of its blocks.

    Raises:
        InvalidZoo: the file cannot be read, is not a shard or has a damaged header.
    """
    with reported_as(InvalidZoo, f"shard '{path}'", _ADVICE):
        header = read_header(path)
        metadata = header.metadata
        if metadata.get("kind") != "shard":
            raise DamagedFile("is not a shard: its header does not say kind 'shard'")
        if metadata.get("format_version") != _FORMAT_VERSION:
            version = metadata.get("format_version", "")[:20]
            raise DamagedFile(
                f"has format version {version!r}, this initzoo reads {_FORMAT_VERSION!r}; "
                "upgrade: pip install -U initzoo"
            )
        blocks = {name: tensor for name, tensor in header.tensors.items() if not name.endswith(_DETAIL)}
        details = {
            name.removesuffix(_DETAIL): tensor
            for name, tensor in header.tensors.items()
            if name not in blocks
        }
        bad_names = [name for name in blocks if not CONCEPT_ID.fullmatch(name)]
        if bad_names:
            raise DamagedFile(f"holds {bad_names[0]!r}, which is not a concept id")
        shapes = {tensor.shape for tensor in blocks.values()}
        dtypes = {tensor.dtype for tensor in blocks.values()}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or dtypes != {"F16"}:
            raise DamagedFile("expected F16 tensors of one shape (n_blocks, block_size), found others")
        for name, tensor in details.items():
            if name not in blocks or tensor.start != blocks[name].end or tensor.dtype != "U8":
                raise DamagedFile(
                    f"'{name[:80]}{_DETAIL}' is not a U8 tensor right after the blocks of '{name[:80]}'"
                )
    return ShardHeader(
        recipe=metadata.get("recipe", ""),
        layout_id=metadata.get("layout_id", ""),
        n_blocks=shape[0],
        block_size=shape[1],
        ranges={name: (tensor.start, tensor.end) for name, tensor in blocks.items()},
        detail_ranges={name: (tensor.start, tensor.end) for name, tensor in details.items()},
    )


def read_shard(path: str | os.PathLike[str], layout: Layout) -> dict[str, np.ndarray]:
    """Read all checkpoints of a shard: concept id -> blocks, float32.

    Raises:
        InvalidZoo: the file cannot be read, is not a shard, or is damaged.
        LayoutMismatch: its blocks were cut by another layout.
    """
    header = read_shard_header(path)
    if header.layout_id != layout.id:
        raise LayoutMismatch(
            f"shard '{path}': expected layout {layout.id}, found {header.layout_id}. "
            f"It was made with recipe '{header.recipe}'; load it with that recipe."
        )
    with reported_as(InvalidZoo, f"shard '{path}'", _ADVICE):
        data = read_file(path, max_bytes=MAX_SHARD_BYTES)
        check_seal(data)
    return {
        concept_id: decode_blocks(data[start:end], layout, concept_id)
        for concept_id, (start, end) in header.ranges.items()
    }


def read_range(path: str | os.PathLike[str], start: int, end: int) -> bytes:
    """Read bytes `start` to `end` of a file, and no others.

    Raises:
        InvalidZoo: the file cannot be read, or the range lies outside the file.
    """
    with reported_as(InvalidZoo, f"shard '{path}'", _ADVICE):
        if not 0 <= start < end or end - start > _MAX_CHECKPOINT_BYTES:
            raise DamagedFile(f"bytes {start} to {end} are not the range of a checkpoint")
        try:
            # Unbuffered: buffering would read bytes of other checkpoints, too.
            with Path(path).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if end > size:
                    check_no_pointer(file.read(64))
                    raise DamagedFile(f"bytes {start} to {end} go past its end at {size}: it is cut off")
                file.seek(start)
                data = file.read(end - start)
        except OSError as error:
            raise DamagedFile(f"cannot be read ({error.strerror or error})") from error
        if len(data) != end - start:
            raise DamagedFile(f"gave {len(data)} of the {end - start} bytes from {start} on")
    return data


def decode_blocks(data: bytes, layout: Layout, concept_id: str) -> np.ndarray:
    """Decode the float16 bytes of one checkpoint.

    Returns:
        Blocks, float32, shape `(n_blocks, block_size)`, all finite, padding zero.

    Raises:
        LayoutMismatch: the number of values differs, or the padding is not zero.
        InvalidInit: a value is NaN or infinite.

    Example:
        >>> layout = Layout(tensors=(("head.bias", (3,)),), block_size=4)
        >>> decode_blocks(np.array([1, 2, 3, 0], dtype="<f2").tobytes(), layout, "warm")
        array([[1., 2., 3., 0.]], dtype=float32)
    """
    expected = 2 * layout.n_blocks * layout.block_size
    if len(data) != expected:
        raise LayoutMismatch(
            f"concept '{concept_id}': expected {layout.n_blocks} blocks of {layout.block_size} values "
            f"({expected} bytes), found {len(data)} bytes. Load it with the recipe it was made with."
        )
    blocks = np.frombuffer(data, dtype="<f2").astype(np.float32)
    blocks = blocks.reshape(layout.n_blocks, layout.block_size)
    _check(blocks, layout, concept_id)
    return blocks


def _to_float16(blocks: np.ndarray, layout: Layout, concept_id: str) -> np.ndarray:
    _check(blocks, layout, concept_id)
    with np.errstate(over="ignore"):
        halves = blocks.astype("<f2")
    too_large = np.isinf(halves)
    if too_large.any():
        first = int(np.argmax(too_large.any(axis=1)))
        raise InvalidInit(
            f"concept '{concept_id}', block {first}: {np.abs(blocks[first]).max():g} does not fit float16 "
            "(largest is 65504). Fit it again with a lower learning rate."
        )
    return halves


def _check(blocks: np.ndarray, layout: Layout, concept_id: str) -> None:
    try:
        check_blocks(blocks, layout)
    except (LayoutMismatch, InvalidInit) as error:
        raise type(error)(f"concept '{concept_id}', {error}") from error
