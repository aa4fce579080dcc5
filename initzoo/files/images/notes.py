"""The metadata of an image file: orientation, camera, dates, resolution."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

__all__ = [
    "METADATA_ERRORS",
    "directory",
    "kept_exif",
    "orientation_of",
    "other_notes",
    "resolution_of",
    "turn",
]

METADATA_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(RuntimeError, AssertionError, struct.error),
)
"""Errors that Pillow raises for damaged metadata."""

_MOST_FRAMES = 16
_UNCOUNTED = ("GIF", "TIFF")
"""Formats that do not say how many frames a file has."""

_ORIENTATION, _EXIF, _GPS, _INTEROPERABILITY, _THUMBNAIL = 0x0112, 0x8769, 0x8825, 0xA005, 1
_MAKER_NOTES = 0x927C

_KEPT_MAIN = frozenset((270, 271, 272, 305, 306, 315, 316, 33432, *range(40091, 40096)))
_KEPT_GPS = frozenset(range(32))
_KEPT_EXIF = frozenset(
    (
        *(33434, 33437, 34850, 34855, 34864, 36867, 36868, 36880, 36881, 36882, *range(37377, 37387)),
        *(37396, 37510, 37520, 37521, 37522, *range(41985, 41997), *range(42032, 42038)),
    )
)
# Tags that describe how the file stores pixels; a new file has its own.
_STRUCTURE = frozenset(
    (
        *(254, 255, *range(256, 267), 273, *range(277, 285), 296, 297, 301, *range(317, 347), 347, 512, 513),
        *(514, *range(529, 533), 34665, 34853, 34675, 700, 33723, 34377, 40965, 50341, 59932, _ORIENTATION),
        *(36864, 37121, 37122, 40960, 40961, 40962, 40963, 42240),
    )
)


def directory(image: Image, number: int | None = None) -> dict[int, Any]:
    """The tags of the EXIF block, or of a directory in it; empty if it is damaged.

    Args:
        image: an open Pillow image.
        number: tag that points to the directory; None for the main one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif = image.getexif()
            return dict(exif.items() if number is None else exif.get_ifd(number).items())
        except METADATA_ERRORS:
            return {}


def orientation_of(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if it is missing or invalid."""
    if image.format == "TIFF":
        return 1  # Pillow applies the orientation of TIFF files itself
    value = directory(image).get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn(image: Image, orientation: int) -> Image:
    """Apply an EXIF orientation, so that the image is upright.

    Example:
        >>> from PIL import Image
        >>> turn(Image.new("L", (16, 8)), 6).size
        (8, 16)
    """
    from PIL.Image import Transpose

    method = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if method is None else image.transpose(method)


def resolution_of(image: Image) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical; None if they are missing or invalid."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except METADATA_ERRORS:
        return None
    return (across, down) if all(math.isfinite(v) and 1 <= v < 1e6 for v in (across, down)) else None


def kept_exif(image: Image) -> tuple[bytes, int]:
    """A new EXIF block with the tags that stay true of an edited image, and the number of dropped tags.

    Camera, exposure, dates, author and position are kept. Each tag is tested alone, since one damaged value
    would make the whole block unreadable. The orientation is 1 and the colour space sRGB.

    Args:
        image: an open Pillow image.
    """
    from PIL.Image import Exif

    fresh, n_lost = Exif(), 0
    for number, allowed in ((None, _KEPT_MAIN), (_EXIF, _KEPT_EXIF), (_GPS, _KEPT_GPS)):
        kept: dict[int, Any] = {}
        for tag, value in directory(image, number).items():
            if tag in allowed and _is_writable(number, tag, value):
                kept[tag] = value
            elif tag not in _STRUCTURE and tag not in (_MAKER_NOTES, _INTEROPERABILITY):
                n_lost += 1
        if kept:
            _directory_of(fresh, number).update(kept)
    if not (len(fresh) or any(fresh.get_ifd(number) for number in (_EXIF, _GPS))):
        return b"", n_lost
    fresh[_ORIENTATION] = 1
    fresh.get_ifd(_EXIF).update({0x9000: b"0232", 0xA001: 1})  # version 2.32, colours in sRGB
    return fresh.tobytes(), n_lost


def _is_writable(number: int | None, tag: int, value: Any) -> bool:
    """Whether Pillow can write the tag and read it back; it changes some damaged values."""
    from PIL.Image import Exif

    block, again = Exif(), Exif()
    try:
        _directory_of(block, number)[tag] = value
        again.load(block.tobytes())
        return tag in _directory_of(again, number)
    except METADATA_ERRORS:
        return False


def _directory_of(block: Exif, number: int | None) -> MutableMapping[int, Any]:
    return block if number is None else block.get_ifd(number)


def other_notes(image: Image) -> list[str]:
    """Names of the metadata that an edited image does not keep.

    Args:
        image: an open Pillow image.
    """
    info = image.info
    texts = set(getattr(image, "text", None) or ())
    n_frames = _count_frames(image)
    parts = {
        "maker notes": _MAKER_NOTES in directory(image, _EXIF),
        "the thumbnail inside": bool(directory(image, _THUMBNAIL)),
        "XMP": "xmp" in info or "XML:com.adobe.xmp" in info,
        "IPTC": "photoshop" in info,
        "the comment": bool(info.get("comment")),
        "texts": bool(texts - {"XML:com.adobe.xmp"}),
        f"{n_frames - 1} further frame{'s' if n_frames > 2 else ''}": 1 < n_frames <= _MOST_FRAMES,
        f"{_MOST_FRAMES} or more further frames": n_frames > _MOST_FRAMES,
    }
    return [part for part, is_there in parts.items() if is_there]


def _count_frames(image: Image) -> int:
    """The number of frames; of many in a file that does not state it, `_MOST_FRAMES` and one."""
    try:
        if image.format not in _UNCOUNTED:
            return int(getattr(image, "n_frames", 1))
        # Pillow would walk through all of them, in a TIFF file for each one through those before it.
        opened: Any = image
        for number in range(1, _MOST_FRAMES + 1):
            try:
                opened._seek(number, False) if image.format == "GIF" else image.seek(number)
            except EOFError:
                return number
        return _MOST_FRAMES + 1
    except METADATA_ERRORS:
        return 1
