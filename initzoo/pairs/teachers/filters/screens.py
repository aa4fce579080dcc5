"""Screens: video, displays, print rasters and crafts, whose patterns lie on a grid of the image's pixels.

All patterns have a period of `PERIOD` pixels in both directions, from the upper left corner on: the image
network works on cells of that size, so it can place them, and nothing longer.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from initzoo.pairs.opencv import opencv
from initzoo.pairs.teachers.filters.imaging import (
    blur,
    cells,
    curve,
    gradient_map,
    grey,
    ink_lines,
    mix,
    pixels,
    rgb,
    saturate,
    screen,
    shift,
    soft_levels,
    soft_step,
    tiled,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter

PERIOD = 4

_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.float32)
_DITHER = (_BAYER + 0.5) / 16 - 0.5
_COARSE_DITHER = np.kron(np.array([[0, 2], [3, 1]]), np.ones((2, 2))).astype(np.float32) / 4 - 0.375
_PLACES = np.arange(PERIOD) * (np.pi / 2)
_DOTS = np.outer(np.cos(_PLACES), np.cos(_PLACES)).astype(np.float32)
"""Print dots on two lattices at 45 degrees: 1 in the middle of a dot, -1 in the middle of a gap."""

_HATCH = np.array([1.0, 0.35, 0.0, 0.35], dtype=np.float32)
"""Across a pen stroke: its middle, its sides, and the paper between strokes."""


def _widened(image: ndarray, length: float) -> ndarray:
    """A blur along the rows."""
    return opencv().blur(image, (2 * max(1, round(pixels(image, length) / 2)) + 1, 1))


def vhs(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    colour = shift(_widened(_widened(image - light[..., None], 0.035), 0.035), 0.02, 0)
    soft = _widened(light, 0.008)
    ringing = soft + 0.7 * (soft - shift(_widened(soft, 0.02), 0.008, 0))
    picture = curve(ringing, ((0, 0.15), (0.3, 0.35), (0.7, 0.72), (1, 0.94)))[..., None] + 1.7 * colour
    lines = tiled(np.array([[1.05], [1.0], [0.84], [0.93]], dtype=np.float32), image)[..., None]
    return mix(image, picture * rgb("#f4f2ff") * lines, strength)


def glitch(image: ndarray, *, distance: float) -> ndarray:
    light = blur(grey(image), 0.006)
    loud = saturate(curve(image, ((0, 0), (0.3, 0.2), (0.7, 0.82), (1, 1))), 1.4)
    left, right = shift(loud, -distance, 0), shift(loud, distance, 0)
    split = np.stack([left[..., 0], loud[..., 1], right[..., 2]], axis=2)
    band = soft_step(light, 0.3, 0.36) * (1 - soft_step(light, 0.46, 0.52))
    torn = np.stack([right[..., 0], left[..., 1], left[..., 2]], axis=2)
    broken = mix(split, torn * np.float32(1.1), band)
    rows = tiled(np.array([[0.0], [0.0], [1.0], [1.0]], dtype=np.float32), image)[..., None]
    return broken * (1 - 0.3 * rows) + 0.04 * rgb("#00e5ff")


def crt(image: ndarray, *, strength: float) -> ndarray:
    stripes = np.full((PERIOD, PERIOD, 3), 0.5, dtype=np.float32)
    for place in range(3):
        stripes[:, place, place] = 1.5
    stripes[3] *= 0.45
    bright = np.clip(saturate(curve(image, ((0, 0.03), (0.5, 0.6), (1, 1))), 1.25), 0, 1)
    glowing = screen(bright * 0.9, 0.35 * blur(bright, 0.012))
    phosphor = np.stack([tiled(stripes[..., i], image) for i in range(3)], axis=2)
    return mix(image, glowing * phosphor * 1.5, strength)


def game_boy(image: ndarray, *, softness: float) -> ndarray:
    light = grey(cells(image, 2))
    light = curve(light, ((0, 0), (0.25, 0.24), (0.5, 0.55), (0.8, 0.9), (1, 1)))
    dithered = np.clip(light + tiled(_COARSE_DITHER, image) / 3.2, 0, 1)
    return gradient_map(soft_levels(dithered, 4, softness), ("#0f380f", "#306230", "#8bac0f", "#b6c92b"))


def one_bit(image: ndarray, *, softness: float) -> ndarray:
    light = grey(image)
    sharp = np.clip(light + 0.8 * (light - blur(light, 0.006)), 0, 1)
    dots = soft_step(sharp + 0.9 * tiled(_DITHER, image), 0.5 - softness / 2, 0.5 + softness / 2)
    return mix(rgb("#101014"), rgb("#fafaf6"), dots[..., None])


def pixel_art(image: ndarray, *, levels: float) -> ndarray:
    vivid = saturate(cells(image, PERIOD), 1.45)
    return soft_levels(np.clip((vivid - 0.5) * 1.15 + 0.52, 0, 1), levels, 0.3)


def mosaic(image: ndarray, *, grout: str) -> ndarray:
    tiles = saturate(cells(image, PERIOD), 1.3) * 1.06 + 0.02
    shine = np.array(
        [[1.16, 1.08, 1.0, 0], [1.08, 1.0, 0.92, 0], [1.0, 0.92, 0.82, 0], [0, 0, 0, 0]], dtype=np.float32
    )
    lit = np.clip(tiles * tiled(shine, image)[..., None], 0, 1)
    return mix(rgb(grout), lit, tiled((shine > 0).astype(np.float32), image)[..., None])


def toy_bricks(image: ndarray, *, levels: float) -> ndarray:
    bricks = soft_levels(np.clip(saturate(cells(image, PERIOD), 1.5) * 1.05, 0, 1), levels, 0.5)
    stud = np.array(
        [[1.02, 1.02, 0.98, 0.72], [1.02, 1.42, 1.1, 0.6], [0.98, 1.1, 0.86, 0.52], [0.72, 0.6, 0.52, 0.62]],
        dtype=np.float32,
    )
    return (bricks * 0.95 + 0.05) * tiled(stud, image)[..., None]


def cross_stitch(image: ndarray, *, linen: str) -> ndarray:
    thread = np.clip(saturate(cells(image, PERIOD), 1.7), 0, 1)
    crosses = np.eye(PERIOD, dtype=np.float32)
    weave = np.array([[0.92, 1.0, 0.96, 1.04]], dtype=np.float32)
    over = tiled(crosses * 1.08, image)[..., None]
    under = tiled(crosses[::-1] * 0.86, image)[..., None]
    ground = mix(rgb(linen) * tiled(weave.T @ weave, image)[..., None], thread * 0.7, 0.6)
    return np.where(over > 0, thread * over + 0.05, np.where(under > 0, thread * under, ground))


def newspaper(image: ndarray, *, dots: float) -> ndarray:
    light = grey(image)
    sharp = np.clip(light + 0.7 * (light - blur(light, 0.008)), 0, 1)
    flat = curve(sharp, ((0, 0.1), (0.3, 0.36), (0.7, 0.74), (1, 1)))
    inked = soft_step(flat - dots * tiled(_DOTS, image), 0.2, 0.72)
    return mix(rgb("#34322f"), rgb("#ece3cf"), inked[..., None])


def risograph(image: ndarray, *, first: str, second: str) -> ndarray:
    calm = np.clip(saturate(blur(image, 0.003), 1.3), 0, 1)
    warm = 1 - (0.75 * calm[..., 1] + 0.25 * calm[..., 2])
    cold = shift(1 - (0.8 * calm[..., 0] + 0.2 * calm[..., 1]), 0.004, 0.004)
    one = soft_step(warm + 0.3 * tiled(_DOTS, image), 0.12, 0.92)[..., None]
    two = soft_step(cold + 0.3 * tiled(np.roll(_DOTS, 2, axis=0), image), 0.3, 1.05)[..., None]
    return rgb("#f6f1e4") * mix(1.0, rgb(first), one) * mix(1.0, rgb(second), two)


def cross_hatched(image: ndarray, *, colour: str, paper: str) -> ndarray:
    light = blur(grey(image), 0.004)
    rows, columns = np.indices(image.shape[:2])
    rising, falling = _HATCH[(rows + columns) % PERIOD], _HATCH[(rows - columns) % PERIOD]
    level = _HATCH[(rows + 2) % PERIOD]
    strokes = np.zeros_like(light)
    for hatch, start in ((rising, 0.72), (falling, 0.48), (level, 0.27)):
        strokes = np.maximum(strokes, hatch * (1 - soft_step(light, start - 0.14, start + 0.06)))
    strokes = np.maximum(strokes, 0.85 * (1 - soft_step(light, 0.06, 0.2)))
    lines = 1 - ink_lines(grey(image), 0.005, sharpness=10, level=0.004)
    return mix(rgb(paper), rgb(colour), np.maximum(strokes * 0.9, lines)[..., None])


def _grid(name: str, family: str, apply: object, parameters: dict[str, Parameter], summary: str) -> Operator:
    assert callable(apply)
    return Operator(name, family, apply, parameters, summary, period=PERIOD)


_SOFTNESS = Parameter(0.35, 0.1, 0.8)

OPERATORS = (
    _grid("vhs", "style", vhs, {"strength": Parameter(1.0)}, "A frame of home video tape."),
    _grid("glitch", "structure", glitch, {"distance": Parameter(0.03, 0.008, 0.07)}, "A broken signal."),
    _grid("crt", "style", crt, {"strength": Parameter(1.0)}, "Phosphor stripes of a picture tube."),
    _grid("game_boy", "style", game_boy, {"softness": _SOFTNESS}, "Four greens on a small game's screen."),
    _grid("one_bit", "style", one_bit, {"softness": _SOFTNESS}, "Black and white pixels, dithered."),
    _grid("pixel_art", "style", pixel_art, {"levels": Parameter(5.0, 3, 9)}, "Coarse pixels, few colours."),
    _grid("mosaic", "style", mosaic, {"grout": Parameter("#b9ae9c")}, "Small tiles with grout between."),
    _grid("toy_bricks", "style", toy_bricks, {"levels": Parameter(6.0, 3, 9)}, "Studs of plastic bricks."),
    _grid("cross_stitch", "style", cross_stitch, {"linen": Parameter("#efe6d4")}, "Crosses of thread."),
    _grid("newspaper", "style", newspaper, {"dots": Parameter(0.3, 0.1, 0.5)}, "Grey dots on cheap paper."),
    _grid("risograph", "style", risograph, {"first": Parameter("#ff5aa8"), "second": Parameter("#2a62c8")},
          "Two inks in dots that overprint."),
    _grid("cross_hatched", "style", cross_hatched,
          {"colour": Parameter("#17181f"), "paper": Parameter("#fbf8f0")}, "Pen strokes laid crosswise."),
)  # fmt: skip
