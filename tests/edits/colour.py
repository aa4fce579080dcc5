"""Colour and smoothing for the edits. Images are float32 RGB, shape `(height, width, 3)`, values 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFilter

from initzoo.pairs import opencv

__all__ = [
    "blur",
    "colour",
    "colour_table",
    "from_linear",
    "from_pixels",
    "luma",
    "ramp",
    "through_table",
    "to_linear",
    "to_pixels",
]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

cv2 = opencv()

_TABLE_SIZE = 25


def from_pixels(photo: Pixels) -> Floats:
    """Values 0 to 1."""
    return photo.astype(np.float32) / 255


def to_pixels(image: Floats) -> Pixels:
    """Rounded and clipped to uint8."""
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def to_linear(image: Floats) -> Floats:
    """Light from sRGB values: blur and glow add up as light does."""
    return np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4).astype(np.float32)


def from_linear(light: Floats) -> Floats:
    """The sRGB values of light, clipped to 0 to 1."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def luma(image: Floats) -> Floats:
    """Brightness, shape `(height, width)`."""
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def colour(hex_digits: str) -> Floats:
    """The colour of "#rrggbb", shape `(3,)`."""
    return np.array(ImageColor.getrgb(hex_digits), np.float32) / 255


def ramp(values: Floats, low: float, high: float) -> Floats:
    """A smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blur(image: Floats, sigma: float, radius: int) -> Floats:
    """A Gaussian blur that is cut off at `radius`, so that its reach is exact."""
    side = 2 * radius + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)


def colour_table(anchors: Sequence[tuple[str, str]], *, power: float = 2.0) -> ImageFilter.Color3DLUT:
    """A table of all colours that moves anchor colours where they should go, and others as their neighbours.

    Args:
        anchors: pairs of "#rrggbb", each a colour and its result.
        power: how fast an anchor loses influence with distance; larger keeps each anchor to its surroundings.

    Source:
        Shepard (1968), doi:10.1145/800186.810616: interpolation weighted by inverse distance.
    """
    before = np.stack([colour(a) for a, _ in anchors])
    shift = np.stack([colour(b) for _, b in anchors]) - before
    axis = np.linspace(0, 1, _TABLE_SIZE, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red varies fastest, as Pillow expects
    nodes = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    squared = ((nodes[:, None] - before) ** 2).sum(axis=-1) + 2e-3  # (nodes, anchors)
    weights = squared**-power
    moved = nodes + (weights @ shift) / weights.sum(axis=1, keepdims=True)
    return ImageFilter.Color3DLUT(_TABLE_SIZE, np.clip(moved, 0, 1).ravel().tolist())


def through_table(photo: Pixels, table: ImageFilter.Color3DLUT) -> Pixels:
    """Look every pixel up, with linear interpolation between the entries."""
    return np.asarray(Image.fromarray(photo).filter(table))
