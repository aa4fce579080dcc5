"""Damage that a restoration repairs: functions from a photo and a random generator to the damaged photo.

The generator draws one field of standard normal values as large as the photo, or nothing, so that no pixel
changes the noise of another.
"""

from __future__ import annotations

import numpy as np

from .colour import Pixels, blur, cv2, from_linear, from_pixels, luma, ramp, to_linear, to_pixels

__all__ = ["blotch", "fringe", "oversharpen", "stripe"]

_STRIPES = np.array([0.085, -0.035, 0.03, -0.08], np.float32)
"""Error of the four rows of a period."""


def fringe(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Purple seams where dark borders on bright, as fast lenses draw them."""
    light = to_linear(from_pixels(photo))
    brightness = luma(light)
    bright = ramp(brightness, 0.25, 0.75)
    spill = np.maximum(blur(bright, 2.2, 7) - bright, 0)  # nothing where all is equally bright
    seam = spill[..., None] * np.array([0.75, -0.05, 1.4], np.float32)
    return to_pixels(from_linear(light + seam))


def blotch(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Coloured blotches of unchanged brightness, stronger in the dark: chroma noise of a dim room."""
    height, width = photo.shape[:2]
    drawn = rng.standard_normal((height, width, 2), dtype=np.float32)
    grains = 0.55 * drawn + 5.5 * blur(drawn, 1.6, 5)  # single pixels, and blotches about four wide
    image = cv2.cvtColor(from_pixels(photo), cv2.COLOR_RGB2YCrCb)
    amount = 0.018 + 0.036 * (1 - image[..., 0])
    image[..., 1:] += amount[..., None] * grains
    return to_pixels(cv2.cvtColor(image, cv2.COLOR_YCrCb2RGB))


def stripe(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Rows that a sensor reads too bright and too dark in turn, by a period of four, with a little grain."""
    height, width = photo.shape[:2]
    image = from_pixels(photo)
    offset = _STRIPES[np.arange(height) % 4][:, None] * (1.1 - 0.6 * luma(image))
    grain = 0.012 * rng.standard_normal((height, width, 3), dtype=np.float32)
    return to_pixels(image + offset[..., None] * np.array([1.0, 0.8, 1.1], np.float32) + grain)


def oversharpen(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Pale and dark halos along all edges, and clipped detail: a sharpening filter set too high."""
    image = from_pixels(photo)
    return to_pixels(image + 1.9 * (image - blur(image, 1.8, 6)))
