"""An image with the metadata of its file that an edited image can keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Picture"]

_PIXELS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Picture:
    """Upright pixels in sRGB, with the metadata that stays true of an edited image.

    Args:
        colours: uint8 RGB, shape `(height, width, 3)`, not blended with a background.
        alpha: uint8, shape `(height, width)`, 255 for opaque; None if the file has no transparency.
        exif: EXIF block with camera, exposure, dates, place and author; empty if there are none.
        dpi: pixels per inch, horizontal and vertical.
        not_kept: names of the parts of the file that are missing here.

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
        """The colours blended with white, uint8 RGB, shape `(height, width, 3)`."""
        if self.alpha is None:
            return self.colours
        from PIL import Image

        blended = np.empty_like(self.colours)
        n_rows = max(_PIXELS_AT_ONCE // self.colours.shape[1], 1)
        for first in range(0, len(blended), n_rows):  # the layers take six times as much
            part = slice(first, first + n_rows)
            layered = Image.fromarray(np.dstack([self.colours[part], self.alpha[part]]))
            white = Image.new("RGBA", layered.size, "white")
            blended[part] = np.asarray(Image.alpha_composite(white, layered).convert("RGB"))
        return blended
