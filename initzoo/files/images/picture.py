"""A picture as it comes out of a file, with all that a result can keep of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Picture"]


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels in sRGB, upright, and the notes of the file that are still true of an edited picture.

    Args:
        colours: uint8 RGB, shape `(height, width, 3)`, not mixed with any background.
        alpha: uint8, shape `(height, width)`, 255 is opaque; None if the file has no transparency.
        exif: camera, exposure, dates, place and author, as an EXIF block; empty if there are none.
        dpi: pixels an inch, across and down.
        not_kept: parts of the file that are not in here, in words.

    Example:
        >>> clear = Picture(np.zeros((8, 8, 3), np.uint8), alpha=np.zeros((8, 8), np.uint8))
        >>> clear.on_white[0, 0].tolist()
        [255, 255, 255]
    """

    colours: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    not_kept: tuple[str, ...] = ()

    @property
    def on_white(self) -> NDArray[np.uint8]:
        """The colours laid on white, uint8 RGB, shape `(height, width, 3)`."""
        if self.alpha is None:
            return self.colours
        from PIL import Image

        layered = Image.fromarray(np.dstack([self.colours, self.alpha]))
        white = Image.new("RGBA", layered.size, "white")
        return np.array(Image.alpha_composite(white, layered).convert("RGB"))
