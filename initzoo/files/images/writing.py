"""Writes image files in sRGB with its profile, atomically."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import OutputError
from initzoo.files.atomic import write_bytes
from initzoo.files.images.colour import srgb_profile
from initzoo.files.images.formats import WRITERS
from initzoo.files.images.picture import Picture

__all__ = ["encode_image", "encode_picture", "losses", "write_image", "write_picture"]

_HOLD_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF")
_HOLD_EXIF = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF")
_HOLD_DPI = ("PNG", "JPEG", "TIFF", "BMP")


def write_image(path: Path, pixels: NDArray[np.uint8], *, force: bool) -> None:
    """Write pixels as an image file with the profile of sRGB, atomically.

    Args:
        path: path of the file; its ending, one of `WRITABLE_SUFFIXES`, chooses the format.
        pixels: uint8 RGB, shape `(height, width, 3)`.
        force: replace an existing file.

    Raises:
        ValueError: `pixels` is not uint8 of shape `(height, width, 3)`.
        OutputError: the ending is unknown, the file exists and `force` is False, or the file cannot be
            written.

    Example:
        >>> write_image(Path("photo.xyz"), np.zeros((8, 8, 3), np.uint8), force=False)
        Traceback (most recent call last):
            ...
        initzoo.errors.OutputError: cannot write photo.xyz: unknown ending '.xyz'. Use one of .png ...
    """
    write_picture(path, Picture(pixels), force=force)


def encode_image(path: Path, pixels: NDArray[np.uint8]) -> bytes:
    """The bytes that `write_image` would write to `path`.

    Raises:
        ValueError: `pixels` is not uint8 of shape `(height, width, 3)`.
        OutputError: the ending is unknown, or the format cannot hold the image.

    Example:
        >>> encode_image(Path("photo.png"), np.zeros((8, 8, 3), np.uint8))[1:4]
        b'PNG'
    """
    return encode_picture(path, Picture(pixels))


def write_picture(path: Path, picture: Picture, *, force: bool) -> None:
    """Write a picture with its transparency, EXIF and resolution, as far as the format can hold them.

    Args:
        path: path of the file; its ending, one of `WRITABLE_SUFFIXES`, chooses the format.
        picture: the picture; `losses` lists the parts that the format cannot hold.
        force: replace an existing file.

    Raises:
        ValueError, OutputError: as for `write_image`.
    """
    path = Path(path)
    write_bytes(path, encode_picture(path, picture), force=force)


def losses(path: Path, picture: Picture) -> list[str]:
    """List the parts of a picture, and of the file it was read from, that a file at `path` does not keep.

    Raises:
        OutputError: the ending is unknown.

    Example:
        >>> clear = Picture(np.zeros((8, 8, 3), np.uint8), alpha=np.zeros((8, 8), np.uint8))
        >>> losses(Path("photo.jpg"), clear), losses(Path("photo.png"), clear)
        (['transparency (laid on white)'], [])
    """
    kind, _ = _writer(path)
    lost = list(picture.not_kept)
    if picture.alpha is not None and kind not in _HOLD_ALPHA:
        lost.insert(0, "transparency (laid on white)")
    if picture.exif and kind not in _HOLD_EXIF:
        lost.append("EXIF")
    if picture.dpi and kind not in _HOLD_DPI:
        lost.append("the resolution")
    return lost


def encode_picture(path: Path, picture: Picture) -> bytes:
    """The bytes that `write_picture` would write to `path`.

    Raises:
        ValueError, OutputError: as for `encode_image`.
    """
    from PIL import Image

    pixels = picture.colours
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3), found {pixels.dtype} {pixels.shape}")
    kind, options = _writer(path)
    options = {**options, "icc_profile": srgb_profile()}
    if picture.exif and kind in _HOLD_EXIF:
        options["exif"] = picture.exif
    if picture.dpi and kind in _HOLD_DPI:
        options["dpi"] = picture.dpi
    if picture.alpha is not None:
        pixels = np.dstack([pixels, picture.alpha]) if kind in _HOLD_ALPHA else picture.on_white
    data = io.BytesIO()
    try:
        Image.fromarray(pixels).save(data, kind, **options)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OutputError(
            f"cannot write {path}: {kind} does not hold an image of {pixels.shape[1]} x {pixels.shape[0]} "
            f"pixels ({reason}). Use .png"
        ) from error
    return data.getvalue()


def _writer(path: Path) -> tuple[str, dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        known = " ".join(WRITERS)
        raise OutputError(f"cannot write {path}: unknown ending '{path.suffix}'. Use one of {known}")
    return WRITERS[suffix]
