"""Conversion of pixels with more than 8 bits to 8 bits, by the range that the file states or uses."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["channel_bits", "grey_levels", "significant_bits", "stated_range", "to_levels"]

Range = tuple[float, float]

_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths of sensors and scanners; without a stated range, the smallest that holds all values is taken."""

_MAX_SHARE_ABOVE = 0.05
"""Maximum share of values above the stated white; with more, the statement is ignored."""

_VALUES_AT_ONCE = 2**20
_MAX_SAMPLE, _SAMPLE_FORMAT, _SMIN_SAMPLE, _SMAX_SAMPLE = 281, 339, 340, 341
_BITS, _DESCRIPTION = 258, 270
_IMAGEJ = re.compile(r"^(min|max)=(-?[\d.]+(?:[eE][-+]?\d+)?)\s*$", re.MULTILINE)


def stated_range(image: Image) -> Range | None:
    """The values of black and white that a TIFF or PFM file states, or None.

    Args:
        image: an open Pillow image.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return None
    low, high = _number(tags, _SMIN_SAMPLE), _number(tags, _SMAX_SAMPLE)
    if high is not None and (low or 0) < high:
        return low or 0.0, high
    high = _number(tags, _MAX_SAMPLE)
    if high is not None and high > 0:
        return 0.0, high  # not MinSampleValue: it is usually the darkest pixel, which need not be black
    description = tags.get(_DESCRIPTION)
    if isinstance(description, str) and description.startswith("ImageJ"):
        limits = dict(_IMAGEJ.findall(description))
        if {"min", "max"} <= limits.keys() and float(limits["min"]) < float(limits["max"]):
            return float(limits["min"]), float(limits["max"])
    bits = _number(tags, _BITS)
    return (0.0, float(2**bits - 1)) if bits in (9, 10, 11, 12, 13, 14, 15) else None


def _number(tags: Any, tag: int) -> float | None:
    """The largest value of a tag; None if it is missing or not a number."""
    try:
        value = tags.get(tag)
        values = np.asarray(value if isinstance(value, tuple) else (value,), float)
    except (TypeError, ValueError, ArithmeticError, LookupError, SyntaxError, struct.error):
        return None
    return float(values.max()) if values.size and np.isfinite(values).all() else None


def significant_bits(data: bytes) -> int | None:
    """Significant bits of the first channel, from the chunk sBIT of a PNG file, or None.

    Args:
        data: the file or its beginning.

    Example:
        >>> significant_bits(b"no PNG") is None
        True
    """
    start = 8
    while data[:4] == b"\x89PNG" and start + 9 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        if kind == b"sBIT" and length:
            return data[start + 8] or None
        if kind == b"IDAT":
            break
        start += 12 + length
    return None


def channel_bits(image: Image) -> int:
    """Bits per channel in the file: 16 where Pillow would keep only the upper 8, otherwise 8.

    Args:
        image: an open Pillow image that is not loaded yet.
    """
    for tile in getattr(image, "tile", ()):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(value, str) and ";16" in value for value in arguments):
            return 16
    return 8


def grey_levels(name: str, image: Image, *, stated: Range | None, bits: int | None) -> NDArray[np.uint8]:
    """Convert grey integers or floating-point numbers to 8 bits.

    Args:
        name: name of the image in errors.
        image: a Pillow image of mode `I` or `F`, or with 16 bits.
        stated: stated values of black and white.
        bits: stated number of significant bits.

    Returns:
        uint8, shape `(height, width)`.

    Raises:
        InvalidImage: the pixels are floating-point numbers and the file states no range.
    """
    values = np.asarray(image)
    if values.dtype.kind == "f":
        if stated is None:
            raise InvalidImage(
                f"cannot read {name}: its pixels are floating-point numbers, and it does not say which of "
                "them are black and white. Save it as an 8-bit PNG"
            )
        return _scale(np.nan_to_num(values, nan=stated[0]), stated)
    tags = getattr(image, "tag_v2", {})
    if values.dtype == np.int32 and _number(tags, _BITS) == 32 and _number(tags, _SAMPLE_FORMAT) in (None, 1):
        values = values.view(np.uint32)  # Pillow has no mode for unsigned 32 bits
    return to_levels(values, stated=stated, bits=bits, is_scaled=image.format == "PPM")


def to_levels(
    values: NDArray[Any], *, stated: Range | None = None, bits: int | None = None, is_scaled: bool = False
) -> NDArray[np.uint8]:
    """Convert integers to 8 bits.

    The range is the stated one. Without one, values from 0 to 65535 get the smallest depth of 8, 10, 12, 14
    and 16 bits that holds them; all other values are scaled from their minimum to their maximum.

    Args:
        values: integers of any type and shape.
        stated: stated values of black and white.
        bits: stated number of significant bits.
        is_scaled: whether the values use all 16 bits.

    Returns:
        uint8 array of the same shape.

    Example:
        >>> to_levels(np.array([0, 2048, 4095], np.uint16)).tolist()
        [0, 128, 255]
        >>> to_levels(np.array([-1000, 0, 1000], np.int16)).tolist()
        [0, 128, 255]
    """
    low, high = int(values.min()), int(values.max())
    if is_scaled:
        return _scale(values, (0, 65535))
    if bits is not None:
        # PNG requires values of fewer bits to be scaled to all 16; some writers do not scale them.
        return _scale(values, (0, 2**bits - 1 if high < 2**bits else 65535))
    if stated is not None and _holds(stated, values):
        return _scale(values, stated)
    if low >= 0 and high <= 65535:
        return _scale(values, (0, next(2**depth - 1 for depth in _DEPTHS if high < 2**depth)))
    return _scale(values, (low, high))


def _holds(stated: Range, values: NDArray[Any]) -> bool:
    """Whether nearly all values are within the stated range; some writers state that of another depth."""
    return bool(np.count_nonzero(values > stated[1]) <= _MAX_SHARE_ABOVE * values.size)


def _scale(values: NDArray[Any], limits: Range) -> NDArray[np.uint8]:
    scaled = np.empty(values.shape, np.uint8)
    n_rows = max(_VALUES_AT_ONCE // max(values[:1].size, 1), 1)
    for first in range(0, len(values), n_rows):  # the numbers in between take nine times as much
        scaled[first : first + n_rows] = _scale_part(values[first : first + n_rows], limits)
    return scaled


def _scale_part(values: NDArray[Any], limits: Range) -> NDArray[np.uint8]:
    low, high = limits
    if (low, high) == (0, 65535):  # integer arithmetic: exact rounding
        return ((np.clip(values, 0, 65535).astype(np.int32) * 255 + 32767) // 65535).astype(np.uint8)
    span = max(high - low, 1e-30)
    scaled = np.subtract(values, low, dtype=np.float64)
    scaled *= 255 / span
    return (np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)
