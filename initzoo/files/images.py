"""Image files in and out: any common file becomes uint8 RGB, and results are written whole."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage, OutputError
from initzoo.files.atomic import write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "MIN_SIDE", "encode_image", "read_image", "to_rgb", "write_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
"""Endings of the files that count as images in a folder."""

MIN_SIDE = 8
"""Pixels that the shorter side of an image has at least."""

MAX_PIXELS = 50_000_000
"""Pixels that an image has at most; checked before anything is decoded."""

# Formats that Pillow decodes by itself; others (EPS, for one) would start another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_WRITE_OPTIONS: dict[str, tuple[str, dict[str, int]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".bmp": ("BMP", {}),
}


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB.

    Grey, palette, CMYK and 16-bit files are converted, transparency is laid on
    white, the EXIF rotation is applied, and an animation gives its first frame.

    Args:
        path: the file.
        max_pixels: a larger image is refused before anything of it is decoded.

    Returns:
        Pixels, uint8, shape `(height, width, 3)`.

    Raises:
        InvalidImage: the file is missing, no image, damaged, smaller than
            `MIN_SIDE` on a side or larger than `max_pixels`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     write_image(path, np.full((8, 16, 3), 128, np.uint8), force=False)
        ...     read_image(path).shape
        (8, 16, 3)
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of sizes that are refused below, and of odd but harmless metadata.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                _check_size(path, image.width, image.height, max_pixels)
                image.load()
                ImageOps.exif_transpose(image, in_place=True)  # else it copies what needs no turning, too
                return to_rgb(path, image)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far more", max_pixels) from error
    except UnidentifiedImageError as error:
        raise InvalidImage(
            f"cannot read {path}: it is not an image of a known kind. Give an 8-bit PNG, JPEG or WebP file"
        ) from error
    except _DECODE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InvalidImage(f"cannot read {path}: {error.strerror}. Check the path") from error
        raise InvalidImage(
            f"cannot read {path}: the image is damaged or cut off ({_one_line(error)}). "
            "Give a whole image file"
        ) from error


def write_image(path: Path, pixels: NDArray[np.uint8], *, force: bool) -> None:
    """Write pixels as an image file, whole or not at all.

    Args:
        path: where the file goes; its ending chooses the format (`.png`, `.jpg`,
            `.jpeg`, `.webp`, `.tif`, `.tiff` or `.bmp`).
        pixels: uint8, shape `(height, width, 3)`, RGB.
        force: replace a file that is there already.

    Raises:
        ValueError: `pixels` is not uint8 of shape `(height, width, 3)`.
        OutputError: the ending is unknown, the file exists and `force` is off, or
            the place cannot be written.

    Example:
        >>> write_image(Path("photo.xyz"), np.zeros((8, 8, 3), np.uint8), force=False)
        Traceback (most recent call last):
            ...
        initzoo.errors.OutputError: cannot write photo.xyz: unknown ending '.xyz'. Use one of .png ...
    """
    path = Path(path)
    write_bytes(path, encode_image(path, pixels), force=force)


def encode_image(path: Path, pixels: NDArray[np.uint8]) -> bytes:
    """The bytes that `write_image` would write to `path`.

    Raises:
        ValueError: `pixels` is not uint8 of shape `(height, width, 3)`.
        OutputError: the ending is unknown, or the format cannot hold the image.

    Example:
        >>> encode_image(Path("photo.png"), np.zeros((8, 8, 3), np.uint8))[1:4]
        b'PNG'
    """
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3), found {pixels.dtype} {pixels.shape}")
    suffix = path.suffix.lower()
    if suffix not in _WRITE_OPTIONS:
        known = " ".join(_WRITE_OPTIONS)
        raise OutputError(f"cannot write {path}: unknown ending '{path.suffix}'. Use one of {known}")
    kind, options = _WRITE_OPTIONS[suffix]
    data = io.BytesIO()
    try:
        Image.fromarray(pixels).save(data, kind, **options)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot write {path}: {kind} does not hold an image of {pixels.shape[1]} x {pixels.shape[0]} "
            f"pixels ({_one_line(error)}). Use .png"
        ) from error
    return data.getvalue()


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise InvalidImage(
            f"{path} is {width} x {height} pixels; expected at least {MIN_SIDE} on each side. "
            "Give a larger image"
        )
    if width * height > max_pixels:
        raise _too_large(path, f"{width} x {height}", max_pixels)


def _too_large(path: Path, found: str, max_pixels: int) -> InvalidImage:
    return InvalidImage(
        f"{path} has too many pixels ({found}); expected at most {max_pixels // 1_000_000} million. "
        "Make it smaller"
    )


def to_rgb(name: str | Path, image: Image) -> NDArray[np.uint8]:
    """A decoded image as 8-bit RGB, in the way of `read_image`.

    Args:
        name: what an error calls it.
        image: of Pillow, in any mode.

    Returns:
        Pixels, uint8, shape `(height, width, 3)`.

    Raises:
        InvalidImage: its pixels are floating-point numbers.

    Example:
        >>> from PIL import Image
        >>> to_rgb("grey", Image.new("L", (16, 8), 200))[0, 0].tolist()
        [200, 200, 200]
    """
    if image.mode == "F":
        raise InvalidImage(
            f"cannot read {name}: its pixels are floating-point numbers. Save it as an 8-bit PNG"
        )
    if image.mode.startswith("I"):
        return _grey_16_to_rgb(np.asarray(image))
    if image.has_transparency_data:
        from PIL import Image as pillow_image

        layered = image.convert("RGBA")
        white = pillow_image.new("RGBA", layered.size, "white")
        image = pillow_image.alpha_composite(white, layered)
    return np.array(image.convert("RGB"))


def _grey_16_to_rgb(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Grey of 16 bits, as 8-bit RGB: 65535 becomes 255."""
    clipped = np.clip(values, 0, 65535).astype(np.int32)
    grey = ((clipped * 255 + 32767) // 65535).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
