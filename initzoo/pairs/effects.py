"""What an edit does to photos, in a few numbers, so that a zoo can be searched for looks that do the same.

Two thirds of the numbers say where colours go: a quadratic map is fitted to shrunken pairs, and read at a few
colours that photos have. The rest compares fine, middle and coarse detail before and after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from initzoo.pairs.opencv import opencv

__all__ = ["EFFECT_WEIGHTS", "effect_of"]

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]

_GREYS = (0.08, 0.25, 0.42, 0.58, 0.75, 0.92)
_COLOURS = (
    (0.7, 0.3, 0.3), (0.3, 0.6, 0.3), (0.3, 0.35, 0.7), (0.7, 0.6, 0.3), (0.35, 0.6, 0.65), (0.6, 0.35, 0.6),
    (0.85, 0.75, 0.65), (0.25, 0.2, 0.15), (0.55, 0.65, 0.8),
)  # fmt: skip
"""Greys, and colours such as those of photos, at which the map of colours is read."""

_SHORT_SIDE, _DETAIL_SIDE, _N_BANDS = 96, 96, 3
"""Shorter side to which pairs are shrunk, in cells of four pixels, to whose means the map is fitted; side of
the middle of a pair in which detail is compared; and bands of detail, each of half the resolution of the one
before."""

_RIDGE = 0.02
_RIDGES = (1e-3, 0.02, 0.02, 0.02, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05)
"""Ridge of each coefficient of the map, towards that of no change, as a share of the cells."""

_N_READ = len(_GREYS) + len(_COLOURS)
_N_OTHERS = 1 + 3 * _N_BANDS + 3

EFFECT_WEIGHTS: NDArray[np.float32] = np.repeat(
    np.array([1 / (3 * _N_READ), 0.5 / _N_OTHERS], np.float32), [3 * _N_READ, _N_OTHERS]
)
"""Weights of the numbers in a distance: of 48 train looks of the starter zoo, shown by eight pairs of other
photos, 44 were the nearest of 1,551, and 46 among the nearest four."""


def effect_of(pairs: Sequence[tuple[Pixels, Pixels]]) -> NDArray[np.float32]:
    """Describe an edit.

    Args:
        pairs: photos before and after it, uint8 RGB, shape `(height, width, 3)`, at least 32 pixels on each
            side; all are of one edit.

    Returns:
        float32, of the shape of `EFFECT_WEIGHTS`. Each number has a unit of its own: compare them in units of
        their spread over many edits.

    Example:
        >>> photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        >>> dark, darker = (effect_of([(photo, np.uint8(photo * share))]) for share in (0.5, 0.4))
        >>> other = effect_of([(photo, 255 - photo)])
        >>> bool(np.abs(dark - darker).sum() < 0.5 * np.abs(dark - other).sum())
        True
    """
    before, after = (np.concatenate([_cells(pair[side]) for pair in pairs]) for side in (0, 1))
    described = _basis(before)
    unchanged = np.zeros((described.shape[1], 3))
    unchanged[1:4] = np.eye(3)
    ridge = np.diag(_RIDGES) * _RIDGE * len(before)
    change = described.T @ (after - described @ unchanged)
    colour_map = unchanged + np.linalg.solve(described.T @ described + ridge, change)
    read_at = np.array([(grey,) * 3 for grey in _GREYS] + list(_COLOURS))
    colours = (_basis(read_at) @ colour_map).clip(-0.2, 1.2)
    left = np.sqrt(np.square(after - described @ colour_map).mean())
    detail = np.mean([_detail(*map(_middle, pair)) for pair in pairs], axis=0)
    return np.concatenate([colours.ravel(), [4 * left], detail]).astype(np.float32)


def _cells(image: Pixels) -> Values:
    """The mean colours of the cells of an image, values 0 to 1."""
    scale = _SHORT_SIDE / min(image.shape[:2])
    rows, columns = (max(8, round(length * scale) // 8 * 2) for length in image.shape[:2])
    small = opencv().resize(image, (columns, rows), interpolation=opencv().INTER_AREA)
    return np.asarray(small, np.float64).reshape(-1, 3) / 255


def _basis(colours: Values) -> Values:
    """The terms of a quadratic map of colours, shape `(n, 10)`."""
    red, green, blue = colours.T
    squares = (red * red, green * green, blue * blue, red * green, red * blue, green * blue)
    return np.stack([np.ones_like(red), red, green, blue, *squares], axis=1)


def _middle(image: Pixels) -> NDArray[np.float32]:
    """The middle of an image, values 0 to 1."""
    half = min(_DETAIL_SIDE, *image.shape[:2]) // 2
    row, column = (length // 2 for length in image.shape[:2])
    middle = image[row - half : row + half, column - half : column + half]
    return np.asarray(middle, np.float32) / np.float32(255)


def _detail(before: NDArray[np.float32], after: NDArray[np.float32]) -> list[float]:
    """What happens to detail: how much of it is left in each band, whether it is the same, whether it is now
    brighter or darker; colourfulness; shares of white and black."""
    cv2, values = opencv(), []
    greys = [image @ np.array([0.3, 0.59, 0.11], np.float32) for image in (before, after)]
    for _ in range(_N_BANDS):
        soft = [cv2.GaussianBlur(grey, (0, 0), 1.0) for grey in greys]
        old, new = (grey - blurred for grey, blurred in zip(greys, soft, strict=True))
        old_energy, new_energy = (float(np.square(band).mean()) + 1e-5 for band in (old, new))
        both = np.sqrt(old_energy * new_energy)
        values += [
            0.25 * float(np.log(new_energy / old_energy)),
            float((old * new).mean() / both),
            float((np.abs(old) * new).mean() / both),
        ]
        greys = [cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for one in soft]
    colourful = [float((one - one.mean(axis=2, keepdims=True)).std()) + 0.02 for one in (before, after)]
    white, black = float((after.min(axis=2) > 0.97).mean()), float((after.max(axis=2) < 0.05).mean())
    return [*values, 0.3 * float(np.log(colourful[1] / colourful[0])), white, black]
