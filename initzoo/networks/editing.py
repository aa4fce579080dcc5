"""Editing of photos of any size with a network that takes windows of them. Does not load torch."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from initzoo.files import MIN_SIDE, decode_image, read_image
from initzoo.networks.upsampling import mix, shrink_to_side, upsample_edit

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_STRENGTH", "edit_in_tiles", "edit_photo"]

Pixels = NDArray[np.uint8]

MAX_STRENGTH = 1.5
"""How far `edit_photo` goes beyond the look at most."""

_TILE = 1024
"""Larger photos are edited in squares of this side, so that memory does not grow with the photo."""


def edit_photo(
    run: Callable[[Pixels], Pixels],
    photo: NDArray[np.uint8] | Image | str | os.PathLike[str],
    *,
    side: int | None,
    strength: float,
    multiple: int,
    halo: int,
) -> Pixels:
    """Edit one photo of any size; see `ImageNetwork.edit`.

    Args:
        run: the network: uint8 RGB to uint8 RGB of the same shape, whose sides are multiples of `multiple`.
        photo: uint8 RGB pixels, a Pillow image, or the path of an image file.
        side: the shorter side at which larger photos are edited; None for their own size.
        strength: 0 to 1.5.
        multiple: sides of windows are multiples of it.
        halo: pixels of mirror image around a photo, a multiple of `multiple`.

    Raises:
        ValueError: `photo` is an array but not a uint8 RGB image, `side` is less than 8, or `strength` is not
            from 0 to 1.5.
        InvalidImage: the file or Pillow image cannot be read.

    Example:
        >>> photo = np.zeros((9, 12, 3), np.uint8)
        >>> edited = edit_photo(
        ...     lambda window: 255 - window, photo, side=None, strength=0.5, multiple=4, halo=4
        ... )
        >>> edited.shape
        (9, 12, 3)
    """
    if not 0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"expected a strength from 0 to {MAX_STRENGTH}, found {strength}")
    if side is not None and side < MIN_SIDE:
        raise ValueError(f"expected a side of at least {MIN_SIDE} pixels, found {side}")
    pixels = _to_pixels(photo)
    _check_photo(pixels)
    small = pixels if side is None else shrink_to_side(pixels, side)
    edited = edit_in_tiles(run, small, multiple=multiple, reach=halo)
    if small is not pixels:
        edited = upsample_edit(pixels, small, edited)
    return mix(pixels, edited, strength)


def edit_in_tiles(run: Callable[[Pixels], Pixels], pixels: Pixels, *, multiple: int, reach: int) -> Pixels:
    """Edit one photo of any size with a network, tile by tile.

    Args:
        run: the network: uint8 RGB to uint8 RGB of the same shape.
        pixels: uint8 RGB, shape `(height, width, 3)`.
        multiple: sides of the windows are multiples of it.
        reach: how far a pixel's influence goes, pixels, a multiple of `multiple`.

    Returns:
        The edited photo, uint8 RGB of the same shape.

    Raises:
        ValueError: `pixels` is not a uint8 RGB image.

    Example:
        >>> photo = np.zeros((5, 7, 3), np.uint8)
        >>> edit_in_tiles(lambda window: 255 - window, photo, multiple=4, reach=8).shape
        (5, 7, 3)
    """
    _check_photo(pixels)
    height, width = pixels.shape[:2]
    result = np.empty_like(pixels)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            bottom, right = min(top + _TILE, height), min(left + _TILE, width)
            # A tile starts on a multiple, with a halo as wide as the network sees: no seams.
            start_y, start_x = max(top - reach, 0), max(left - reach, 0)
            window = pixels[start_y : bottom + reach, start_x : right + reach]
            # Beyond the photo lies its mirror image, as far as the network sees: networks pad their layers
            # with zeros, and the frame that these draw falls into the part that is cut off.
            sides = (
                _mirrored(top - reach, bottom + reach, height, multiple),
                _mirrored(left - reach, right + reach, width, multiple),
            )
            edited = run(np.pad(window, (*sides, (0, 0)), mode="reflect"))
            result[top:bottom, left:right] = edited[
                reach : reach + bottom - top, reach : reach + right - left
            ]
    return result


def _mirrored(start: int, stop: int, length: int, multiple: int) -> tuple[int, int]:
    """Pixels that a tile from `start` to `stop` lacks on either side of a photo, up to the next multiple."""
    return max(-start, 0), max(stop - length, 0) + (start - stop) % multiple


def _check_photo(pixels: Pixels) -> None:
    """Check that pixels are one photo.

    Raises:
        ValueError: they are not uint8 RGB.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3), found {pixels.dtype} {pixels.shape}")


def _to_pixels(photo: NDArray[np.uint8] | Image | str | os.PathLike[str]) -> Pixels:
    if isinstance(photo, np.ndarray):
        return photo
    if isinstance(photo, str | os.PathLike):
        return read_image(Path(photo))
    from PIL import ImageOps

    # As a file, so that colours, depths and transparency are read as those of any file.
    buffer = io.BytesIO()
    ImageOps.exif_transpose(photo).save(buffer, "TIFF", icc_profile=photo.info.get("icc_profile"))
    return decode_image("the image", buffer.getvalue())
