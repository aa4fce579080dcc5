"""Conversion of colours to sRGB: ICC profiles, the gamma of PNG files, and Adobe RGB named in EXIF."""

from __future__ import annotations

import io
import struct
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ADOBE_RGB", "DISPLAY_P3", "matrix_profile", "profile_of", "srgb_profile", "to_srgb"]

XY = tuple[float, float]

_D65: XY = (0.3127, 0.3290)
_D50 = (0.9642, 1.0, 0.8249)
_SRGB_PRIMARIES: tuple[XY, XY, XY] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_SRGB_PNG_GAMMA = 0.45455
# The Bradford cone responses, with which ICC profiles adapt white to D50.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_LIKE_SRGB = 2
"""A profile that differs from sRGB by at most this many levels of 255 counts as sRGB."""


def matrix_profile(primaries: tuple[XY, XY, XY], white: XY, gamma: float) -> bytes:
    """Make an ICC profile (version 2) of three primaries and a gamma.

    Args:
        primaries: CIE x and y of red, green and blue.
        white: CIE x and y of white.
        gamma: exponent from channel values to light.

    Raises:
        ValueError: the primaries are invalid.

    Source:
        ICC.1:2001-04, sections 6.1 (header), 6.3.1.2 (three-component matrix-based profiles) and 6.5.

    Example:
        >>> matrix_profile(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), (0.3127, 0.3290), 2.2)[36:40]
        b'acsp'
    """
    if min(y for _, y in (*primaries, white)) <= 0 or not 0.1 < gamma < 10:
        raise ValueError(f"no profile has primaries {primaries}, white {white} and gamma {gamma}")
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
    light = np.array([white[0] / white[1], 1.0, (1 - white[0] - white[1]) / white[1]])
    try:
        columns = columns * np.linalg.solve(columns, light)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"no profile has primaries {primaries}") from error
    cones = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ light)
    columns = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ columns
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    title = b"RGB\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(title)) + title + bytes(78),
        b"cprt": b"text" + bytes(4) + b"public domain\0",
        b"wtpt": _xyz(_D50),
        **{tag: _xyz(column) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    version, date = 0x02100000, (2000, 1, 1, 0, 0, 0)
    header = struct.pack(">III", 128 + len(table) + len(data), 0, version) + b"mntrRGB XYZ "
    header += struct.pack(">6H", *date) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + table + data


def _xyz(values: Any) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


ADOBE_RGB = matrix_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), _D65, 563 / 256)
"""Profile of Adobe RGB (1998), which cameras name in EXIF without embedding it."""

DISPLAY_P3 = matrix_profile(((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), _D65, 2.2)
"""Profile with the primaries of Display P3 and a plain gamma instead of the curve of sRGB."""


@cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB. Its bytes never change."""
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # The library writes the current time into bytes 24 to 35, which would change every written image.
    return data[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + data[36:]


def profile_of(image: Image, exif: dict[int, Any], interoperability: dict[int, Any]) -> bytes | None:
    """The ICC profile of a file's colours, embedded or implied; None for sRGB.

    Args:
        image: an open Pillow image.
        exif: tags of its Exif directory.
        interoperability: tags of its interoperability directory.
    """
    enclosed = image.info.get("icc_profile")
    if isinstance(enclosed, bytes) and enclosed:
        return enclosed
    if image.format == "PNG" and "srgb" not in image.info:
        implied = _profile_of_png(image.info)
        if implied is not None:
            return implied
    if interoperability.get(1) in ("R03", b"R03", "R03\0", b"R03\0") or exif.get(0xA001) == 2:
        return ADOBE_RGB
    return None


def _profile_of_png(info: dict[Any, Any]) -> bytes | None:
    """The profile that the chunks gAMA and cHRM describe; None if it is sRGB."""
    encoded, chromaticity = info.get("gamma", _SRGB_PNG_GAMMA), info.get("chromaticity")
    white, primaries = _D65, _SRGB_PRIMARIES
    if chromaticity is not None and len(chromaticity) == 8:
        white, *rest = zip(chromaticity[::2], chromaticity[1::2], strict=True)
        primaries = (rest[0], rest[1], rest[2])
    same = np.allclose([white, *primaries], [_D65, *_SRGB_PRIMARIES], atol=0.005)
    if same and abs(encoded - _SRGB_PNG_GAMMA) < 0.02:
        return None
    try:
        return matrix_profile(primaries, white, 1 / encoded)
    except (ValueError, ZeroDivisionError):
        return None  # do not refuse a sound image because of damaged metadata


def to_srgb(image: Image, profile: bytes | None) -> tuple[Image, bool]:
    """Convert colours to sRGB.

    A profile that is broken or made for another kind of image is ignored, as browsers do. A profile that
    differs from sRGB in name only leaves every pixel unchanged.

    Args:
        image: a Pillow image without transparency.
        profile: ICC profile of its colours; None for sRGB.

    Returns:
        The image in mode RGB, and whether the profile could be used.

    Example:
        >>> from PIL import Image
        >>> wide = Image.new("RGB", (8, 8), (0, 255, 0))
        >>> to_srgb(wide, srgb_profile())[0].getpixel((0, 0))
        (0, 255, 0)
    """
    if profile is None or profile == srgb_profile():
        return image.convert("RGB"), True
    mode = _MODES.get(profile[16:20])
    if mode == "RGB" and image.mode != "CMYK":
        image = image.convert("RGB")
    if mode != image.mode:
        return image.convert("RGB"), False
    is_sound, transform = _transform(profile, mode)
    return (image.convert("RGB") if transform is None else transform.apply(image)), is_sound


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> tuple[bool, Any]:
    """Whether a profile is valid, and its transform to sRGB; None if it is sRGB."""
    from PIL import Image, ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False, None
    if mode == "CMYK":
        return True, transform
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
    else:
        levels = np.linspace(0, 255, 18).astype(np.uint8)
        probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    plain = Image.fromarray(probe)
    change = np.asarray(transform.apply(plain), int) - np.asarray(plain.convert("RGB"), int)
    return True, None if np.abs(change).max() <= _LIKE_SRGB else transform
