"""From small photos to large ones: an edit that was computed at one size is carried up to another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FLAT_CONTRAST",
    "GUIDE_WINDOW",
    "LARGEST_LOOK_SIDE",
    "LOOK_SIDE",
    "look_side",
    "mix",
    "shrink_to_side",
    "upsample_edit",
]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

LOOK_SIDE = 384
"""Shorter side, in pixels, at which large photos are edited; docs/apply-at-size.md has the figures."""

LARGEST_LOOK_SIDE = 512
"""Shorter side, in pixels, up to which looks are made for a photo as it is."""

GUIDE_WINDOW = 5
"""Side, in pixels of the small photo, of the windows in which a photo and its edit are compared."""

FLAT_CONTRAST = 2.5
"""Contrast, in grey levels, under which a window counts as flat."""

_STRIP = 2**20
"""Pixels of the large photo that are computed at a time, so that memory does not grow with the photo."""


def look_side(photo: Pixels) -> int | None:
    """The shorter side at which a look is made for a photo; None for the photo's own size.

    Example:
        >>> look_side(np.zeros((512, 700, 3), np.uint8)) is None
        True
        >>> look_side(np.zeros((3000, 4000, 3), np.uint8))
        384
    """
    return LOOK_SIDE if min(photo.shape[:2]) > LARGEST_LOOK_SIDE else None


def shrink_to_side(photo: Pixels, side: int) -> Pixels:
    """Shrink a photo so that its shorter side is `side` pixels; smaller photos stay as they are.

    Example:
        >>> shrink_to_side(np.zeros((600, 900, 3), np.uint8), 300).shape
        (300, 450, 3)
        >>> shrink_to_side(np.zeros((200, 900, 3), np.uint8), 300).shape
        (200, 900, 3)
    """
    import cv2

    height, width = photo.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return photo
    shape = max(side, round(width * scale)), max(side, round(height * scale))
    return np.asarray(cv2.resize(photo, shape, interpolation=cv2.INTER_AREA), np.uint8)


def mix(photo: Pixels, edited: Pixels, strength: float) -> Pixels:
    """Go from a photo towards its edit: 0 gives the photo, 1 the edit, more goes beyond it.

    Example:
        >>> photo, edited = np.full((1, 1, 3), 100, np.uint8), np.full((1, 1, 3), 200, np.uint8)
        >>> [int(mix(photo, edited, strength)[0, 0, 0]) for strength in (0, 0.5, 1, 1.5)]
        [100, 150, 200, 250]
    """
    import cv2

    if strength == 1:
        return edited
    # It rounds, cuts off at 0 and 255, and makes no copy in float.
    return np.asarray(cv2.addWeighted(edited, strength, photo, 1 - strength, 0), np.uint8)


def upsample_edit(photo: Pixels, small: Pixels, edited: Pixels) -> Pixels:
    """Carry an edit of a small photo up to the large photo, with a guided filter.

    In each window of the small photo, each channel of the edit is taken as a sum of the photo's three
    channels, with a slope each, plus an offset. Slopes and offsets are enlarged and applied to the large
    photo. So detail that only the large photo has stays where the edit keeps detail: all of it after a tint,
    hardly any after a blur. An edit that is grey stays grey.

    Args:
        photo: the large photo, uint8 RGB, shape `(height, width, 3)`.
        small: the same photo, smaller.
        edited: the edit of the small photo, same shape as `small`.

    Returns:
        The edit of the large photo, uint8 RGB of its shape.

    Source:
        He, Sun, Tang, Guided image filtering (2013), with the coefficients enlarged as in He, Sun, Fast
        guided filter (2015), arXiv:1505.00996.

    Example:
        >>> photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        >>> small = shrink_to_side(photo, 32)
        >>> negative = upsample_edit(photo, small, 255 - small)
        >>> int(np.abs((255 - photo).astype(int) - negative).max()) <= 2
        True
    """
    import cv2

    def mean(image: Floats) -> Floats:
        return np.asarray(cv2.blur(image, (GUIDE_WINDOW, GUIDE_WINDOW), borderType=cv2.BORDER_REFLECT))

    before, after = small.astype(np.float32), edited.astype(np.float32)
    before_mean, after_mean = mean(before), mean(after)
    inverse = _inverse_spread(before, before_mean, mean)
    slopes = []
    for channel in range(3):
        wanted, wanted_mean = after[..., channel : channel + 1], after_mean[..., channel : channel + 1]
        shared = mean(before * wanted) - before_mean * wanted_mean
        slopes.append(np.einsum("hwij,hwj->hwi", inverse, shared))
    offsets = after_mean - np.stack([(slope * before_mean).sum(-1) for slope in slopes], axis=-1)
    # Every pixel lies in many windows: their answers are averaged.
    slopes, offsets = [mean(slope) for slope in slopes], mean(offsets)

    height, width = photo.shape[:2]
    result = np.empty_like(photo)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        colours = photo[top:bottom].astype(np.float32)
        strip = _enlarged_rows(offsets, top, bottom, height, width)
        for channel, slope in enumerate(slopes):
            strip[..., channel] += np.einsum(
                "hwc,hwc->hw", _enlarged_rows(slope, top, bottom, height, width), colours
            )
        result[top:bottom] = np.clip(np.rint(strip, out=strip), 0, 255, out=strip)
    return result


def _inverse_spread(image: Floats, centre: Floats, mean: Callable[[Floats], Floats]) -> Floats:
    """The inverse of the covariance of colours in each window, shape `(height, width, 3, 3)`."""
    products = {
        (i, j): mean(image[..., i] * image[..., j]) - centre[..., i] * centre[..., j]
        for i in range(3)
        for j in range(i, 3)
    }
    xx, yy, zz = (products[i, i] + np.float32(FLAT_CONTRAST**2) for i in range(3))
    xy, xz, yz = products[0, 1], products[0, 2], products[1, 2]
    # Of so many small matrices the adjugate is far quicker than a solver.
    first, second, third = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    fourth, fifth, sixth = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    adjugate = np.stack([first, second, third, second, fourth, fifth, third, fifth, sixth], axis=-1)
    determinant = xx * first + xy * second + xz * third
    return np.asarray((adjugate / determinant[..., None]).reshape(*xx.shape, 3, 3), np.float32)


def _enlarged_rows(field: Floats, top: int, bottom: int, height: int, width: int) -> Floats:
    """Rows `top` to `bottom` of a field that is enlarged to `height` x `width`, linear between pixels."""
    import cv2

    n_rows = field.shape[0]
    centres = np.clip((np.arange(top, bottom) + 0.5) * (n_rows / height) - 0.5, 0, n_rows - 1)
    above = centres.astype(int)
    below = np.minimum(above + 1, n_rows - 1)
    share = (centres - above).astype(np.float32)[:, None, None]
    lines = field[above] * (1 - share) + field[below] * share
    return np.asarray(cv2.resize(lines, (width, bottom - top), interpolation=cv2.INTER_LINEAR))
