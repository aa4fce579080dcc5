"""Details: all that a fully trained network has beyond its base and adapter, in few bits.

A detail stands beside the adapter of its checkpoint. It is the difference between the network's weights
after all of them were trained and the weights of base and adapter merged. Its bytes are, one after the other:

    4 bytes    64 32 ff ff
    float32    the scale of every tensor
    deflated   tensor by tensor, the low part of each of its units as int8, then the high parts as int8

Tensors have the order of `Recipe.weights`. A value is its unit, `low + 256 * high`, times the scale. Most
high parts are zeros, which cost next to nothing. A zero byte fills the detail up to an even length, so that
the float16 blocks after it in a shard stay aligned.

Older zoos have details of a plain form, which is read, too: the scale of every output channel of every weight
and all biases as float32, tensor by tensor, then the weights as int8, and the same zero byte.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints.recipe import Recipe
from initzoo.checkpoints.rounding import LARGEST, Tolerance, round_finely, round_with_feedback
from initzoo.errors import InvalidInit, LayoutMismatch

__all__ = ["add_detail", "decode_detail", "encode_detail"]

_MARK = b"d2\xff\xff"
"""What a detail begins with. As a float32 it is NaN, with which no detail of the plain form begins."""

_WINDOW = -15
"""Of zlib: a bare deflate stream, as the index has a digest already."""


def encode_detail(
    trained: Mapping[str, np.ndarray],
    merged: Mapping[str, np.ndarray],
    recipe: Recipe,
    *,
    tolerance: Tolerance | None = None,
) -> bytes:
    """Encode what trained weights have beyond those of base and adapter.

    Args:
        trained: weights and biases of the trained network, by name.
        merged: the same of base and adapter, as `merge_adapter` returns them.
        recipe: the recipe of both.
        tolerance: of the trained network. With it, weights are rounded as coarsely as it allows; without,
            finely, each to the nearest number.

    Raises:
        LayoutMismatch: a tensor is missing or has another shape.
        InvalidInit: a value is NaN or infinite.

    Example:
        >>> from initzoo.checkpoints import NetworkSpec
        >>> recipe = Recipe.of("tiny", NetworkSpec("starter", {"n_detail": 8}), {"detail": 2})
        >>> before = {name: np.zeros(shape, np.float32) for name, shape in recipe.weights}
        >>> after = {name: np.full(shape, 0.5, np.float32) for name, shape in recipe.weights}
        >>> detail = decode_detail(encode_detail(after, before, recipe), recipe, "grey")
        >>> round(float(add_detail(before, detail)["head.weight"].max()), 4)
        0.5
    """
    changes: dict[str, NDArray[np.float64]] = {}
    for name, shape in recipe.weights:
        after, before = _tensor(trained, name, shape), _tensor(merged, name, shape)
        changes[name] = np.asarray(after, np.float64) - before
        if not np.isfinite(changes[name]).all():
            raise InvalidInit(f"detail, tensor '{name}': found NaN or infinite values. Train it again.")
    n_values = sum(change.size for change in changes.values())
    rounded: dict[str, tuple[NDArray[np.int16], np.float32]] = {}
    for name, shape, is_vector in _parts(recipe):
        layer = name.rpartition(".")[0]
        if tolerance is not None and not is_vector and layer in tolerance.moments:
            rows, noise = changes[name].reshape(shape[0], -1), tolerance.noise / n_values
            units, scale, shift = round_with_feedback(
                rows, tolerance.moments[layer], gain=tolerance.gains[layer], noise=noise
            )
            rounded[name] = units, scale
            changes[f"{layer}.bias"] = changes[f"{layer}.bias"] + shift
    for name, change in changes.items():
        if name not in rounded:
            rounded[name] = round_finely(change)
    scales = np.array([rounded[name][1] for name, _ in recipe.weights], "<f4")
    data = _MARK + scales.tobytes() + _deflate([rounded[name][0] for name, _ in recipe.weights])
    return data + b"\0" * (len(data) % 2)


def decode_detail(data: bytes, recipe: Recipe, concept_id: str) -> dict[str, np.ndarray]:
    """Decode a detail: what to add to each tensor of base and adapter merged.

    Args:
        data: the bytes that `encode_detail` returned, or a detail of the plain form.
        recipe: the recipe of the checkpoint.
        concept_id: for messages.

    Returns:
        float32 arrays by name, in the order and shapes of `recipe.weights`.

    Raises:
        LayoutMismatch: the number of bytes or values does not fit the recipe.
        InvalidInit: a value is NaN, infinite or not one that is ever written, or the bytes are damaged.
    """
    if not data.startswith(_MARK):
        return _decode_plain(data, recipe, concept_id)
    n_values, start = sum(math.prod(shape) for _, shape in recipe.weights), len(_MARK)
    end = start + 4 * len(recipe.weights)
    scales = np.frombuffer(data[start:end].ljust(end - start, b"\0"), "<f4").astype(np.float32)
    parts = np.frombuffer(_inflate(data[end:], 2 * n_values, concept_id), np.int8)
    detail, position = {}, 0
    for (name, shape), scale in zip(recipe.weights, scales, strict=True):
        size = math.prod(shape)
        low, high = parts[position : position + 2 * size].reshape(2, size).astype(np.int32)
        position += 2 * size
        with np.errstate(over="ignore", invalid="ignore"):
            units = low + 256 * high
            detail[name] = (units.astype(np.float32) * scale).reshape(shape)
        largest = int(np.abs(units).max(initial=0))
        if not scale >= 0 or largest > LARGEST or not np.isfinite(detail[name]).all():
            raise _invalid_number(concept_id, name)
    return detail


def _deflate(tensors: Sequence[NDArray[np.int16]]) -> bytes:
    """Deflate the low and high parts of tensors, each tensor in blocks of its own, with codes that fit it.

    Runs are all that is looked for: other repetitions in weights are chance, and codes without them are
    shorter. One build of zlib gives the same bytes every time. The digest in the index is that of the stored
    bytes, so another build matters only when a zoo is made.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, _WINDOW, 9, zlib.Z_RLE)
    deflated = []
    for units in tensors:
        low = ((units.astype(np.int32) + 128) % 256 - 128).astype(np.int8)
        high = ((units.astype(np.int32) - low) // 256).astype(np.int8)
        deflated += [packer.compress(low.tobytes() + high.tobytes()), packer.flush(zlib.Z_BLOCK)]
    return b"".join(deflated) + packer.flush()


def _inflate(data: bytes, n_bytes: int, concept_id: str) -> bytes:
    """Inflate a deflate stream, and never more of it than was expected; a zero byte may follow."""
    unpacker = zlib.decompressobj(_WINDOW)
    try:
        # One more than expected, so that the end is found, and so is a longer stream.
        inflated = unpacker.decompress(data, n_bytes + 1)
    except zlib.error as error:
        raise InvalidInit(f"concept '{concept_id}', detail: cannot be unpacked ({error}).") from error
    if len(inflated) == n_bytes and not unpacker.eof:
        raise InvalidInit(f"concept '{concept_id}', detail: cut off at its end.")
    if len(inflated) != n_bytes:
        found = "more" if len(inflated) > n_bytes else len(inflated)
        raise LayoutMismatch(
            f"concept '{concept_id}': expected a detail of {n_bytes} bytes unpacked, found {found}. "
            "Load it with the recipe it was made with."
        )
    rest = unpacker.unused_data
    if rest != b"\0" * ((len(data) - len(rest)) % 2):
        raise InvalidInit(f"concept '{concept_id}', detail: found bytes after the last value.")
    return inflated


def _decode_plain(data: bytes, recipe: Recipe, concept_id: str) -> dict[str, np.ndarray]:
    """Decode a detail of the plain form."""
    n_numbers, n_units = 0, 0
    for _, shape, is_vector in _parts(recipe):
        n_numbers += shape[0]
        n_units += 0 if is_vector else math.prod(shape)
    expected = 4 * n_numbers + n_units + n_units % 2
    if len(data) != expected:
        raise LayoutMismatch(
            f"concept '{concept_id}': expected a detail of {expected} bytes, found {len(data)}. "
            "Load it with the recipe it was made with."
        )
    detail, position = {}, 0
    for name, shape, is_vector in _parts(recipe):
        numbers = np.frombuffer(data, "<f4", shape[0], position).astype(np.float32)
        position += 4 * shape[0]
        if not np.isfinite(numbers).all() or (not is_vector and (numbers < 0).any()):
            raise _invalid_number(concept_id, name)
        detail[name] = numbers
    for name, shape, is_vector in _parts(recipe):
        if is_vector:
            continue
        units = np.frombuffer(data, np.int8, math.prod(shape), position).reshape(shape[0], -1)
        position += math.prod(shape)
        if units.size and int(units.min()) < -127:
            raise _invalid_number(concept_id, name)
        with np.errstate(over="ignore"):
            detail[name] = (units * detail[name][:, None]).reshape(shape)
    if any(data[position:]):
        raise InvalidInit(f"concept '{concept_id}', detail: expected zeros after the last value.")
    return detail


def _invalid_number(concept_id: str, name: str) -> InvalidInit:
    return InvalidInit(f"concept '{concept_id}', detail, tensor '{name}': found an invalid number.")


def add_detail(merged: Mapping[str, np.ndarray], detail: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add a detail to the weights of base and adapter merged.

    Returns:
        float32 arrays by name: the weights of the fully trained network.

    Raises:
        InvalidInit: a sum is not finite.
    """
    with np.errstate(over="ignore"):
        added = {name: (tensor + detail[name]).astype(np.float32) for name, tensor in merged.items()}
    for name, tensor in added.items():
        if not np.isfinite(tensor).all():
            raise InvalidInit(f"detail, tensor '{name}': the sum is NaN or infinite. Get the zoo again.")
    return added


def _parts(recipe: Recipe) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """Name and shape of each tensor of the network, and whether it is a vector."""
    for name, shape in recipe.weights:
        yield name, shape, len(shape) == 1


def _tensor(weights: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    tensor = weights.get(name)
    if tensor is None or tensor.shape != shape:
        found = "none" if tensor is None else f"shape {tensor.shape}"
        raise LayoutMismatch(f"detail, tensor '{name}': expected shape {shape}, found {found}.")
    return tensor
