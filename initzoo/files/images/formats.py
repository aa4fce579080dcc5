"""Formats of image files that can be read, whatever their ending, and that can be written."""

from __future__ import annotations

from typing import Any

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "WRITABLE_SUFFIXES", "WRITERS", "is_heif", "register_heif"]

FORMATS = (
    # Common formats first: Pillow imports the rest only if none of these fits.
    *("PNG", "JPEG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "HEIF"),
    *("QOI", "PSD", "ICO", "CUR", "ICNS", "DDS", "SGI", "SUN", "PCX", "DCX", "XBM", "XPM", "MSP"),
    *("BLP", "FTEX", "GBR", "FLI", "PCD", "PIXAR", "FITS", "XVTHUMB"),
    "TGA",  # last: it has no signature, so other formats may look like it
)
"""Pillow names of the formats that are read. Others run external programs (EPS, WMF) or have no decoder."""

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff"),
    *(".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".tga", ".qoi", ".psd", ".ico"),
)
"""Common endings of image files. Reading depends on the content, not on the ending."""

_JPEG: tuple[str, dict[str, Any]] = ("JPEG", {"quality": 95, "subsampling": 0})
WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jpe": _JPEG,
    ".jfif": _JPEG,
    ".webp": ("WEBP", {"quality": 95}),
    ".avif": ("AVIF", {"quality": 90, "subsampling": "4:4:4"}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".bmp": ("BMP", {}),
}
"""Pillow format and its options, by ending."""

WRITABLE_SUFFIXES = tuple(WRITERS)
"""Endings of the image files that can be written."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")


def is_heif(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a HEIC or HEIF photo.

    Example:
        >>> is_heif(bytes(3) + b" ftypheic"), is_heif(bytes(3) + b" ftypavif")
        (True, False)
    """
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def register_heif() -> bool:
    """Register the HEIC reader with Pillow.

    Returns:
        False if pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
