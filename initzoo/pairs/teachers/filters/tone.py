"""Tone: what changes light and dark and leaves hues alone."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from initzoo.pairs.teachers.filters.imaging import (
    blur,
    curve,
    grey,
    look_up,
    mix,
    power,
    saturate,
    screen,
    soft_levels,
    soft_step,
    three,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter


def gamma(image: ndarray, *, exponent: float) -> ndarray:
    return power(image, exponent)


def exposure(image: ndarray, *, stops: float) -> ndarray:
    raised = image * 2.0**stops
    return np.where(raised > 0.8, 1 - 0.2 * np.exp(-(np.maximum(raised, 0.8) - 0.8) / 0.2), raised)


def contrast(image: ndarray, *, factor: float) -> ndarray:
    if factor <= 1:
        return (image - 0.5) * factor + 0.5
    grid = np.linspace(-1, 1, 1024, dtype=np.float32)
    table = 0.5 + 0.5 * np.tanh(grid * factor * 0.9) / np.tanh(factor * 0.9)
    return look_up(image, table.astype(np.float32))


def local_contrast(image: ndarray, *, amount: float, radius: float) -> ndarray:
    light = grey(image)
    return image + amount * (light - blur(light, radius))[..., None]


def fade(image: ndarray, *, strength: float) -> ndarray:
    return mix(image, saturate(image, 0.75) * 0.62 + 0.26, strength)


def matte(image: ndarray, *, strength: float) -> ndarray:
    lifted = curve(image, ((0, 0.14), (0.12, 0.17), (0.35, 0.36), (0.75, 0.78), (1, 0.92)))
    return mix(image, saturate(lifted, 0.85), strength)


def negative(image: ndarray, *, strength: float) -> ndarray:
    return mix(image, 1 - image, strength)


def invert_lightness(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)[..., None]
    return image + strength * (1 - 2 * light)


def solarize(image: ndarray, *, level: float) -> ndarray:
    grid = np.linspace(0, 1, 1024, dtype=np.float32)
    turned = mix(grid, 1 - grid, soft_step(grid, level - 0.08, level + 0.08))
    return look_up(image, (turned * (0.9 / max(level, 1 - level, 0.5))).astype(np.float32))


def posterize(image: ndarray, *, levels: float) -> ndarray:
    return soft_levels(blur(image, 0.002), levels)


def threshold(image: ndarray, *, level: float) -> ndarray:
    light = blur(grey(image), 0.004)
    return three(soft_step(light, level - 0.06, level + 0.06))


def high_key(image: ndarray, *, strength: float) -> ndarray:
    lit = curve(image, ((0, 0.12), (0.25, 0.58), (0.5, 0.86), (1, 1)))
    return mix(image, saturate(lit, 0.85), strength)


def low_key(image: ndarray, *, strength: float) -> ndarray:
    dimmed = curve(image, ((0, 0), (0.35, 0.06), (0.6, 0.25), (0.85, 0.68), (1, 0.95)))
    return mix(image, dimmed, strength)


def shadows(image: ndarray, *, amount: float) -> ndarray:
    light = grey(image)
    weight = (1 - soft_step(light, 0.1, 0.65))[..., None]
    if amount > 0:
        return image + amount * weight * (0.12 + 0.9 * image)
    return image * (1 + amount * weight)


def highlights(image: ndarray, *, amount: float) -> ndarray:
    weight = soft_step(grey(image), 0.35, 0.9)[..., None]
    if amount > 0:
        return mix(image, 1.0, amount * weight * 0.8)
    return image * (1 + 0.6 * amount * weight)


def hdr(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    around = blur(light, 0.018)
    detail = (light - around)[..., None]
    lit = curve(around, ((0, 0.2), (0.3, 0.44), (0.7, 0.6), (1, 0.85)))[..., None]
    colour = (image + 0.04) / (light[..., None] + 0.04)
    return mix(image, saturate(lit * colour, 1.3) + 1.7 * detail, strength)


def noir(image: ndarray, *, strength: float) -> ndarray:
    dark = curve(grey(image), ((0, 0), (0.28, 0.03), (0.5, 0.4), (0.68, 0.85), (1, 1)))
    return mix(image, three(dark), strength)


def equal_light(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    around = blur(light, 0.018)
    return mix(image, np.clip(image / (around[..., None] + 0.08) * 0.5, 0, 1.2), strength)


def glare(image: ndarray, *, strength: float) -> ndarray:
    lights = soft_step(grey(image), 0.55, 0.9)[..., None] * image
    return mix(image, screen(image, blur(lights, 0.018) * 1.2), strength)


_STRENGTH = Parameter(1.0, 0, 1.5)

OPERATORS = (
    Operator("gamma", "tone", gamma, {"exponent": Parameter(0.6, 0.2, 4)},
             "Mid-tones lighter (< 1) or darker."),
    Operator("exposure", "tone", exposure, {"stops": Parameter(0.8, -3, 3)},
             "As if exposed longer or shorter."),
    Operator("contrast", "tone", contrast, {"factor": Parameter(1.8, 0.1, 5)},
             "More (> 1) or less contrast."),
    Operator("local_contrast", "tone", local_contrast,
             {"amount": Parameter(1.2, -1, 4), "radius": Parameter(0.016, 0.002, 0.018)},
             "More contrast between neighbours."),
    Operator("fade", "tone", fade, {"strength": _STRENGTH}, "Washed out, with grey blacks."),
    Operator("matte", "tone", matte, {"strength": _STRENGTH}, "Lifted blacks, held lights."),
    Operator("negative", "tone", negative, {"strength": _STRENGTH}, "Light and dark and hues inverted."),
    Operator("invert_lightness", "tone", invert_lightness, {"strength": _STRENGTH},
             "Light and dark exchanged, hues kept."),
    Operator("solarize", "tone", solarize, {"level": Parameter(0.5, 0.2, 0.8)},
             "Lights turned dark above a level."),
    Operator("posterize", "tone", posterize, {"levels": Parameter(4.0, 2, 10)}, "A few flat levels."),
    Operator("threshold", "tone", threshold, {"level": Parameter(0.45, 0.15, 0.85)},
             "Black and white, no grey."),
    Operator("high_key", "tone", high_key, {"strength": _STRENGTH}, "Bright, almost without shadows."),
    Operator("low_key", "tone", low_key, {"strength": _STRENGTH}, "Dark, a few lights left."),
    Operator("shadows", "tone", shadows, {"amount": Parameter(0.8, -1, 1)}, "Shadows opened or closed."),
    Operator("highlights", "tone", highlights, {"amount": Parameter(-0.8, -1, 1)},
             "Lights raised or held back."),
    Operator("hdr", "tone", hdr, {"strength": _STRENGTH}, "Detail everywhere, deep colours."),
    Operator("noir", "tone", noir, {"strength": _STRENGTH}, "Hard black and white."),
    Operator("equal_light", "tone", equal_light, {"strength": _STRENGTH}, "Even light over the whole scene."),
    Operator("glare", "tone", glare, {"strength": _STRENGTH}, "Lights that spill over."),
)  # fmt: skip
