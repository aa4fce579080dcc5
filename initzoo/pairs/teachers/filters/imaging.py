"""The image processing that operators are made of: thin, named steps over OpenCV and NumPy.

Images are float32 with values about 0 to 1, RGB `(height, width, 3)` or one channel `(height, width)`.
Radii are fractions of the shorter side, so that a look does not depend on the photo's size. Nothing here
looks further than a few times its radius, and nothing uses statistics of the whole photo.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy import ndarray

from initzoo.pairs.opencv import opencv

_LUT_SIZE = 1024
_STRIP = 48


@cache
def rgb(colour: str) -> ndarray:
    """The three values, 0 to 1, of a colour written `#rrggbb`.

    Example:
        >>> rgb("#ff0033").tolist()
        [1.0, 0.0, 0.20000000298023224]
    """
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], dtype=np.float32)
    values.setflags(write=False)
    return values


def pixels(image: ndarray, radius: float) -> float:
    """A radius in pixels, from a fraction of the shorter side."""
    return radius * min(image.shape[:2])


def grey(image: ndarray) -> ndarray:
    """Luminance, one channel."""
    return opencv().cvtColor(np.ascontiguousarray(image), opencv().COLOR_RGB2GRAY)


def three(values: ndarray) -> ndarray:
    """One channel as an RGB image."""
    return np.repeat(values[..., None], 3, axis=2)


def mix(first: ndarray | float, second: ndarray | float, share: float | ndarray) -> ndarray:
    """`first` with a share, 0 to 1, of `second`; a one-channel share counts for all three channels."""
    if isinstance(share, np.ndarray) and share.ndim == 2 and {np.ndim(first), np.ndim(second)} & {1, 3}:
        share = share[..., None]
    return np.asarray(first + (second - first) * share)


def screen(first: ndarray, second: ndarray | float) -> ndarray:
    """Add light to light without passing white."""
    return 1 - (1 - first) * (1 - second)


def soft_step(values: ndarray, low: float, high: float) -> ndarray:
    """A smooth step: 0 up to `low`, 1 from `high`.

    Example:
        >>> soft_step(np.array([0.0, 0.5, 1.0]), 0.0, 1.0).tolist()
        [0.0, 0.5, 1.0]
    """
    position = np.clip((values - low) / (high - low), 0, 1)
    return position * position * (3 - 2 * position)


def curve(values: ndarray, points: tuple[tuple[float, float], ...]) -> ndarray:
    """A tone curve through points (from, to), straight between them."""
    starts, ends = zip(*points, strict=True)
    table = np.interp(np.linspace(0, 1, _LUT_SIZE), starts, ends).astype(np.float32)
    return look_up(values, table)


def power(values: ndarray, exponent: float) -> ndarray:
    """Values 0 to 1 raised to a power."""
    return opencv().pow(np.clip(values, 0, 1), exponent)


def look_up(values: ndarray, table: ndarray) -> ndarray:
    """Values 0 to 1 through a table that is as fine as the eye."""
    places = (np.clip(values, 0, 1) * np.float32(len(table) - 1) + np.float32(0.5)).astype(np.intp)
    return np.take(table, places, axis=0, mode="clip")


def gradient_map(values: ndarray, colours: tuple[str, ...]) -> ndarray:
    """One channel as colours: the first for 0, the last for 1, evenly spread and mixed between."""
    return look_up(values, _gradient_table(colours))


def cycle_map(values: ndarray, colours: tuple[str, ...]) -> ndarray:
    """One channel as colours that come round again: the first for every whole number."""
    return gradient_map(values - np.floor(values), (*colours, colours[0]))


@cache
def _gradient_table(colours: tuple[str, ...]) -> ndarray:
    anchors = np.linspace(0, 1, len(colours))
    grid = np.linspace(0, 1, _LUT_SIZE)
    channels = [np.interp(grid, anchors, [rgb(colour)[i] for colour in colours]) for i in range(3)]
    return np.stack(channels, axis=1).astype(np.float32)


def soft_levels(values: ndarray, levels: float, softness: float = 0.25) -> ndarray:
    """Values 0 to 1 in flat levels, with smooth steps that take a share `softness` of a level."""
    grid = np.linspace(0, 1, _LUT_SIZE, dtype=np.float32) * (levels - 1)
    whole = np.floor(grid)
    table = (whole + soft_step(grid - whole, 0.5 - softness / 2, 0.5 + softness / 2)) / (levels - 1)
    return look_up(values, np.clip(table, 0, 1).astype(np.float32))


def blur(image: ndarray, radius: float) -> ndarray:
    """Gaussian blur; `radius` is its standard deviation. Looks 2.5 radii far."""
    sigma = pixels(image, radius)
    if sigma < 0.2:
        return image
    size = 2 * int(np.ceil(2.5 * sigma)) + 1
    return opencv().GaussianBlur(image, (size, size), sigma)


def median(image: ndarray, radius: float) -> ndarray:
    """The middle of each neighbourhood, each channel for itself, in 8 bits."""
    size = 2 * max(1, round(pixels(image, radius))) + 1
    rounded = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return opencv().medianBlur(rounded, size).astype(np.float32) / 255


def flatten(image: ndarray, radius: float, tolerance: float) -> ndarray:
    """Bilateral filter: smooth areas, keep edges larger than `tolerance`."""
    size = 2 * max(1, round(pixels(image, radius))) + 1
    return opencv().bilateralFilter(np.clip(image, 0, 1), size, tolerance, size / 2)


def grow(image: ndarray, radius: float, *, dark: bool) -> ndarray:
    """Let dark (or light) parts grow by a radius, round."""
    size = 2 * max(1, round(pixels(image, radius))) + 1
    disc = opencv().getStructuringElement(opencv().MORPH_ELLIPSE, (size, size))
    return opencv().erode(image, disc) if dark else opencv().dilate(image, disc)


def slopes(values: ndarray) -> tuple[ndarray, ndarray]:
    """How fast values rise to the right and downwards, in values a 1/256 of the shorter side."""
    scale = min(values.shape[:2]) / 256 / 32
    cv2 = opencv()
    return (
        cv2.Scharr(values, cv2.CV_32F, 1, 0, scale=scale),
        cv2.Scharr(values, cv2.CV_32F, 0, 1, scale=scale),
    )


def edge_strength(values: ndarray, radius: float) -> ndarray:
    """Length of the slope after a blur, about 0 to 0.3 for photos; wide blurs count more, as they flatten."""
    return opencv().magnitude(*slopes(blur(values, radius))) * np.float32(1 + 60 * radius)


def ink_lines(values: ndarray, radius: float, sharpness: float = 12.0, level: float = 0.0) -> ndarray:
    """Drawn lines, 0 for ink and 1 for paper: an extended difference of Gaussians with a soft threshold.

    Source:
        Winnemoeller et al., XDoG (2012), equations 1 and 5.
    """
    narrow, wide = blur(values, radius), blur(values, 1.6 * radius)
    difference = narrow - 0.98 * wide - level
    return np.clip(1 + np.tanh(np.minimum(difference, 0) * sharpness * 4), 0, 1)


def painted(image: ndarray, radius: float) -> ndarray:
    """Flat, brush-like patches: the smooth Kuwahara filter over four squares beside each pixel.

    Works in strips, which stay in the processor's cache and are twice as fast.

    Source:
        Papari et al., Artistic edge and corner enhancing smoothing (2007), with square sectors.
    """
    reach = max(1, round(pixels(image, radius)))
    height = image.shape[0]
    strips = []
    for top in range(0, height, _STRIP):
        first, last = max(top - reach, 0), min(top + _STRIP + reach, height)
        strip = _painted_strip(np.ascontiguousarray(image[first:last]), reach)
        strips.append(strip[top - first : top - first + _STRIP])
    return np.concatenate(strips)[:height]


def _painted_strip(image: ndarray, reach: int) -> ndarray:
    cv2 = opencv()
    light = grey(image)
    layers = cv2.merge([image, light * light])
    total = np.zeros_like(layers)
    weights = np.full_like(light, 1e-6)
    for anchor in ((0, 0), (reach, 0), (0, reach), (reach, reach)):
        means = cv2.blur(layers, (reach + 1, reach + 1), anchor=anchor)
        middle = cv2.cvtColor(means, cv2.COLOR_RGBA2GRAY)
        spread = np.maximum(cv2.extractChannel(means, 3) - middle * middle, 0) + np.float32(4e-4)
        weight = cv2.divide(1.0, spread * spread * spread)
        weights += weight
        cv2.accumulateProduct(means, cv2.merge([weight] * 4), total)
    return np.ascontiguousarray(cv2.divide(total, cv2.merge([weights] * 4))[..., :3])


def saturate(image: ndarray, factor: float) -> ndarray:
    """Move colours away from grey (`factor` > 1) or towards it."""
    light = grey(image)[..., None]
    return light + (image - light) * factor


def shift(image: ndarray, right: float, down: float) -> ndarray:
    """The image moved by fractions of the shorter side, its borders mirrored."""
    move = np.array([[1, 0, pixels(image, right)], [0, 1, pixels(image, down)]], dtype=np.float32)
    cv2 = opencv()
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def cells(image: ndarray, period: int) -> ndarray:
    """The mean of every square cell of a grid, over the whole cell."""
    height, width = image.shape[:2]
    down, right = -height % period, -width % period
    padded = np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // period, padded.shape[1] // period
    means = padded.reshape(rows, period, columns, period, 3).mean(axis=(1, 3))
    return means.repeat(period, axis=0).repeat(period, axis=1)[:height, :width]


def tiled(pattern: ndarray, image: ndarray) -> ndarray:
    """A small pattern, one channel, repeated over the size of an image from its upper left corner."""
    rows, columns = np.indices(image.shape[:2])
    return pattern[rows % pattern.shape[0], columns % pattern.shape[1]]
