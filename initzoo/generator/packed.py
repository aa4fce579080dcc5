"""Weights of denoisers as eight-bit numbers, half as large on disk as float16.

A matrix becomes whole numbers from -127 to 127, and a scale for each of its outputs. Scales have four
significant bits, so that a number times its scale is exact in float16: what was rounded once is packed and
unpacked without another error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.files import DamagedFile

__all__ = ["pack_weights", "round_weight", "unpack_weights"]

_STEPS = 127
_ZERO = 128
"""The byte that stands for 0, since files hold unsigned bytes."""

_LEAST_VALUES = 4096
"""Smaller tensors stay float16: they are biases and norms, which count more than they weigh."""

_SCALE = ".scale"


def round_weight(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round a weight to values that are packed without error; small tensors to float16.

    Args:
        value: a matrix, outputs first, or a stack of matrices with their outputs last.

    Example:
        >>> value = np.linspace(-1, 1, 8192, dtype=np.float32).reshape(64, 128)
        >>> rounded = round_weight(value)
        >>> bool(np.abs(rounded - value).max() < 0.005), bool((round_weight(rounded) == rounded).all())
        (True, True)
    """
    if not _is_packed(value):
        return value.astype(np.float16).astype(np.float32)
    units, scale = _units_of(value.astype(np.float32))
    return (units * scale).astype(np.float32)


def pack_weights(weights: Mapping[str, NDArray[np.float16]]) -> dict[str, NDArray[Any]]:
    """Pack all weights that are eight-bit numbers times a scale, and leave the others as they are.

    Returns:
        Packed weights as uint8 with their scales, float16, under the same name with `.scale`.
    """
    packed: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        packed[name] = value
        if not _is_packed(value):
            continue
        units, scale = _units_of(value.astype(np.float32))
        if np.array_equal((units * scale).astype(np.float16), value):
            packed[name] = (units + _ZERO).astype(np.uint8)
            packed[name + _SCALE] = scale.astype(np.float16)
    return packed


def unpack_weights(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Unpack what `pack_weights` packed; other tensors stay as they are.

    Raises:
        DamagedFile: a scale does not fit its weight, or is not a number that is ever written.

    Example:
        >>> value = round_weight(np.linspace(-1, 1, 8192, dtype=np.float32).reshape(64, 128))
        >>> packed = pack_weights({"first": value.astype(np.float16)})
        >>> packed["first"].dtype, bool((unpack_weights(packed)["first"] == value).all())
        (dtype('uint8'), True)
    """
    unpacked: dict[str, NDArray[Any]] = {}
    for name, value in tensors.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in tensors:
            continue
        unpacked[name] = value
        scale = tensors.get(name + _SCALE)
        if scale is None:
            continue
        fits = value.ndim in (2, 3) and scale.shape == (*value.shape[:1], 1, *value.shape[2:])
        if not fits or value.dtype != np.uint8 or scale.dtype != np.float16:
            raise DamagedFile(f"tensor '{name}': its scale has another shape or dtype")
        if not (np.isfinite(scale).all() and (scale > 0).all() and value.all()):
            raise DamagedFile(f"tensor '{name}': a number that is never written")
        units = value.astype(np.float32) - _ZERO
        unpacked[name] = (units * scale.astype(np.float32)).astype(np.float16)
    return unpacked


def _is_packed(value: NDArray[Any]) -> bool:
    return value.ndim in (2, 3) and value.size >= _LEAST_VALUES


def _units_of(value: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Whole numbers and scales, of which the weight is the product if it was rounded before."""
    scale = _rounded_up(np.abs(value).max(axis=1, keepdims=True) / _STEPS)
    units = np.rint(value / scale)
    # The greatest number may have become less than 127, and its scale then seems to be the next smaller one.
    larger = _rounded_up(scale * np.float32(1.01))
    other = np.rint(value / larger)
    is_larger = (other * larger == value).all(axis=1, keepdims=True)
    is_larger &= ~(units * scale == value).all(axis=1, keepdims=True)
    return np.where(is_larger, other, units), np.where(is_larger, larger, scale)


def _rounded_up(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round up to four significant bits, to a number that float16 can hold."""
    mantissa, exponent = np.frexp(np.maximum(scale, np.float32(2**-14)))
    rounded: NDArray[np.float32] = np.ldexp(np.ceil(mantissa * 16) / 16, exponent).astype(np.float32)
    return rounded
