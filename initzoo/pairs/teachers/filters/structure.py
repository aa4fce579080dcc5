"""Structure: what changes edges and detail."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from initzoo.pairs.opencv import opencv
from initzoo.pairs.teachers.filters import imaging
from initzoo.pairs.teachers.filters.imaging import (
    blur,
    curve,
    edge_strength,
    grey,
    grow,
    mix,
    pixels,
    rgb,
    screen,
    shift,
    slopes,
    soft_step,
    three,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter


def edges(image: ndarray, *, colour: str, radius: float) -> ndarray:
    lines = soft_step(edge_strength(grey(image), radius), 0.007, 0.12)
    return mix(rgb("#030303"), rgb(colour), lines)


def outline(image: ndarray, *, colour: str, radius: float) -> ndarray:
    lines = soft_step(edge_strength(grey(image), radius), 0.014, 0.12)
    return mix(rgb("#ffffff"), rgb(colour), lines)


def colour_edges(image: ndarray, *, strength: float) -> ndarray:
    smooth = blur(image, 0.004)
    channels = [edge_strength(np.ascontiguousarray(smooth[..., i]), 0.0) for i in range(3)]
    return mix(image, np.clip(np.stack(channels, axis=2) * 6, 0, 1), strength)


def drawn_outline(image: ndarray, *, colour: str, radius: float) -> ndarray:
    lines = soft_step(edge_strength(grey(image), radius), 0.035, 0.15)
    return mix(image, rgb(colour), lines)


def soften(image: ndarray, *, radius: float) -> ndarray:
    return blur(image, radius)


def motion_blur(image: ndarray, *, length: float, direction: str) -> ndarray:
    reach = max(1, round(pixels(image, length) / 2))
    size = 2 * reach + 1
    cv2 = opencv()
    if direction in ("across", "down"):
        return cv2.blur(image, (size, 1) if direction == "across" else (1, size))
    kernel = np.eye(size, dtype=np.float32) / size
    return cv2.filter2D(image, -1, kernel if direction == "falling" else kernel[::-1].copy())


def sharpen(image: ndarray, *, amount: float, radius: float) -> ndarray:
    return image + amount * (image - blur(image, radius))


def relief(image: ndarray, *, depth: float, colour: str) -> ndarray:
    right, down = slopes(blur(grey(image), 0.005))
    lit = np.clip(0.6 - depth * 3.6 * (right + down), 0, 1)
    return curve(lit, ((0, 0.06), (0.6, 0.72), (1, 1)))[..., None] * rgb(colour)


def soft_focus(image: ndarray, *, strength: float) -> ndarray:
    return mix(image, mix(image, blur(image, 0.018), 0.65) * 1.04, strength)


def thicken(image: ndarray, *, radius: float) -> ndarray:
    return blur(grow(image, radius, dark=True), 0.003)


def thin(image: ndarray, *, radius: float) -> ndarray:
    return blur(grow(image, radius, dark=False), 0.003)


def smooth(image: ndarray, *, radius: float) -> ndarray:
    return imaging.median(image, radius)


def flatten(image: ndarray, *, tolerance: float) -> ndarray:
    return imaging.flatten(image, 0.016, tolerance)


def high_pass(image: ndarray, *, radius: float, gain: float) -> ndarray:
    return 0.5 + gain * (image - blur(image, radius))


def line_relief(image: ndarray, *, radius: float, gain: float) -> ndarray:
    light = grey(image)
    return three(0.5 + gain * (blur(light, radius * 0.5) - blur(light, radius)))


def thick_edges(image: ndarray, *, radius: float) -> ndarray:
    calm = blur(image, 0.004)
    return np.clip((grow(calm, radius, dark=False) - grow(calm, radius, dark=True)) * 1.6, 0, 1)


def normal_map(image: ndarray, *, depth: float) -> ndarray:
    right, down = slopes(blur(grey(image), 0.008))
    normals = np.stack([-right * depth * 14, down * depth * 14, np.ones_like(right)], axis=2)
    return 0.5 + 0.5 * normals / np.sqrt((normals * normals).sum(axis=2, keepdims=True))


def edge_direction(image: ndarray, *, strength: float) -> ndarray:
    right, down = slopes(blur(grey(image), 0.006))
    length = opencv().magnitude(right, down)
    turn = np.stack([right, -0.5 * right + 0.87 * down, -0.5 * right - 0.87 * down], axis=2)
    shine = soft_step(length, 0.01, 0.12)[..., None]
    return mix(image, (0.5 + 0.5 * turn / (length[..., None] + 1e-3)) * shine, strength)


def ghost(image: ndarray, *, distance: float) -> ndarray:
    return mix(shift(image, distance / 2, 0), shift(image, -distance / 2, 0), 0.5)


def colour_split(image: ndarray, *, distance: float) -> ndarray:
    left, right = shift(image, -distance / 2, 0), shift(image, distance / 2, 0)
    return np.stack([left[..., 0], image[..., 1], right[..., 2]], axis=2)


def anaglyph(image: ndarray, *, distance: float) -> ndarray:
    light = grey(image)
    left, right = shift(light, -distance / 2, 0), shift(light, distance / 2, 0)
    return np.stack([left, right, right], axis=2)


def halo(image: ndarray, *, amount: float) -> ndarray:
    lines = soft_step(edge_strength(grey(image), 0.006), 0.02, 0.14)
    return screen(image, amount * blur(lines, 0.014)[..., None])


def frosted(image: ndarray, *, radius: float) -> ndarray:
    return mix(blur(imaging.median(image, radius), 0.006), rgb("#e8f0f4"), 0.22)


def ridges(image: ndarray, *, gain: float) -> ndarray:
    light = grey(image)
    bump = blur(light, 0.006) - blur(light, 0.014)
    return mix(rgb("#1a1a22"), rgb("#f5ecd8"), soft_step(bump * gain * 8, -0.5, 0.5))


_RADIUS = Parameter(0.006, 0.002, 0.016)

OPERATORS = (
    Operator("edges", "structure", edges, {"colour": Parameter("#ffffff"), "radius": _RADIUS},
             "Light edges on black."),
    Operator("outline", "structure", outline, {"colour": Parameter("#111111"), "radius": _RADIUS},
             "Dark edges on white."),
    Operator("colour_edges", "structure", colour_edges, {"strength": Parameter(1.0)},
             "Coloured edges on black."),
    Operator("drawn_outline", "structure", drawn_outline, {"colour": Parameter("#101018"), "radius": _RADIUS},
             "The photo with its edges traced."),
    Operator("blur", "structure", soften, {"radius": Parameter(0.01, 0.002, 0.018)}, "Out of focus."),
    Operator("motion_blur", "structure", motion_blur,
             {"length": Parameter(0.05, 0.008, 0.08),
              "direction": Parameter("across", choices=("across", "down", "falling", "rising"))},
             "The camera moved."),
    Operator("sharpen", "structure", sharpen,
             {"amount": Parameter(1.5, 0.2, 6), "radius": Parameter(0.006, 0.002, 0.018)}, "Crisper detail."),
    Operator("relief", "structure", relief,
             {"depth": Parameter(1.0, 0.3, 2.5), "colour": Parameter("#e9e4da")},
             "Carved in stone or plaster."),
    Operator("soft_focus", "structure", soft_focus, {"strength": Parameter(1.0)}, "Sharp and soft at once."),
    Operator("thicken", "structure", thicken, {"radius": Parameter(0.01, 0.004, 0.024)}, "Dark parts grow."),
    Operator("thin", "structure", thin, {"radius": Parameter(0.01, 0.004, 0.024)}, "Light parts grow."),
    Operator("smooth", "structure", smooth, {"radius": Parameter(0.012, 0.004, 0.024)},
             "Small detail taken out."),
    Operator("flatten", "structure", flatten, {"tolerance": Parameter(0.2, 0.05, 0.5)},
             "Flat areas, kept edges."),
    Operator("high_pass", "structure", high_pass,
             {"radius": Parameter(0.012, 0.003, 0.018), "gain": Parameter(1.5, 0.5, 4)},
             "Only fine detail on grey."),
    Operator("line_relief", "structure", line_relief,
             {"radius": Parameter(0.012, 0.004, 0.018), "gain": Parameter(5.0, 1, 12)},
             "Grey lines on grey."),
    Operator("thick_edges", "structure", thick_edges, {"radius": Parameter(0.008, 0.004, 0.016)},
             "Broad bright contours on black."),
    Operator("normal_map", "structure", normal_map, {"depth": Parameter(1.0, 0.2, 3)},
             "Slopes as the colours of a normal map."),
    Operator("edge_direction", "structure", edge_direction, {"strength": Parameter(1.0)},
             "Edges coloured by their direction."),
    Operator("ghost", "structure", ghost, {"distance": Parameter(0.04, 0.01, 0.07)}, "Seen double."),
    Operator("colour_split", "structure", colour_split, {"distance": Parameter(0.03, 0.008, 0.07)},
             "Red and blue pulled apart."),
    Operator("anaglyph", "structure", anaglyph, {"distance": Parameter(0.03, 0.008, 0.07)},
             "Red and cyan, for 3D glasses."),
    Operator("halo", "structure", halo, {"amount": Parameter(0.8, 0.2, 1.2)}, "Light around all contours."),
    Operator("frosted", "structure", frosted, {"radius": Parameter(0.016, 0.004, 0.024)},
             "Behind frosted glass."),
    Operator("ridges", "structure", ridges, {"gain": Parameter(1.0, 0.3, 3)}, "Bright ridges in the dark."),
)  # fmt: skip
