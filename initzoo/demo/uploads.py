"""Photos of visitors: reads an image file and shrinks it so that a preview takes at most a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage
from initzoo.files import read_image
from initzoo.pairs import opencv

__all__ = ["MAX_PREVIEW_PIXELS", "MAX_UPLOAD_BYTES", "MAX_UPLOAD_PIXELS", "VisitorPhoto", "read_photo"]

Pixels = NDArray[np.uint8]

MAX_UPLOAD_BYTES = 20_000_000
"""Maximum size of an uploaded file."""

MAX_UPLOAD_PIXELS = 50_000_000
"""Maximum number of pixels of an uploaded photo."""

MAX_PREVIEW_PIXELS = 512 * 512
"""Maximum number of pixels of a preview; larger photos are shrunk."""

_ONE_AT_A_TIME = Lock()
"""Held while a photo is decoded: the largest one takes a gigabyte for a second or two."""


@dataclass(frozen=True, eq=False)
class VisitorPhoto:
    """A photo, ready for a preview.

    Args:
        name: name of the file.
        pixels: uint8 RGB, shape `(height, width, 3)`, at most `MAX_PREVIEW_PIXELS`.
        full_size: width and height of the file, pixels.
    """

    name: str
    pixels: Pixels
    full_size: tuple[int, int]

    @property
    def is_shrunk(self) -> bool:
        """Whether the preview is smaller than the photo."""
        return self.full_size != (self.pixels.shape[1], self.pixels.shape[0])


def read_photo(path: Path, *, name: str | None = None) -> VisitorPhoto:
    """Read a visitor's photo and shrink it to the size of a preview.

    Args:
        path: the file.
        name: its name in error messages; by default the file name without its folder.

    Raises:
        InvalidImage: the file is not an image, is damaged, too small or too large.

    Example:
        >>> import tempfile
        >>> from initzoo.files.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "large.png"
        ...     write_image(path, np.zeros((1000, 2000, 3), np.uint8), force=False)
        ...     photo = read_photo(path)
        >>> photo.full_size, photo.pixels.shape
        ((2000, 1000), (362, 724, 3))
    """
    name = name or path.name
    try:
        n_bytes = path.stat().st_size
    except OSError as error:
        raise InvalidImage(f"'{name}' is gone. Upload it again") from error
    if n_bytes == 0:
        raise InvalidImage(f"'{name}' is empty: it has no bytes. Choose another photo")
    if n_bytes > MAX_UPLOAD_BYTES:
        raise InvalidImage(
            f"'{name}' has {n_bytes / 1e6:.0f} MB, at most {MAX_UPLOAD_BYTES // 1_000_000} are taken. "
            "Make it smaller"
        )
    try:
        with _ONE_AT_A_TIME:
            pixels = read_image(path, max_pixels=MAX_UPLOAD_PIXELS)
    except InvalidImage as error:
        # Visitors must not see the path of the uploads folder.
        raise InvalidImage(str(error).replace(str(path), f"'{name}'")) from error
    height, width = pixels.shape[:2]
    return VisitorPhoto(name, _shrink(pixels), (width, height))


def _shrink(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    if height * width <= MAX_PREVIEW_PIXELS:
        return pixels
    scale = (MAX_PREVIEW_PIXELS / (height * width)) ** 0.5
    size = max(8, int(width * scale)), max(8, int(height * scale))
    return np.asarray(opencv().resize(pixels, size, interpolation=opencv().INTER_AREA), np.uint8)
