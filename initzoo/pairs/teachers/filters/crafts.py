"""Crafts: drawings, prints and materials beside those of `style`."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from initzoo.pairs.teachers.filters.imaging import (
    blur,
    curve,
    cycle_map,
    edge_strength,
    flatten,
    gradient_map,
    grey,
    grow,
    ink_lines,
    mix,
    painted,
    power,
    rgb,
    saturate,
    screen,
    shift,
    slopes,
    soft_levels,
    soft_step,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter

_LOUD = ("#ff0a78", "#ff7a00", "#ffe600", "#12c24a", "#00a8ff", "#6a00ff")
_FOIL = ("#ffc2ee", "#c8b6ff", "#a9dcff", "#b2ffe9", "#f8ffc4", "#ffdcc2")
_SHEETS = ("#1c2446", "#2b5876", "#4e9aa0", "#f2a65a", "#fbe3b5")


def _drawn_lines(image: ndarray, radius: float, level: float) -> ndarray:
    """Ink lines, 0 for ink, along contours and not along fine texture."""
    return ink_lines(grey(flatten(image, 0.012, 0.25)), radius, sharpness=14, level=level)


def anime(image: ndarray, *, line: float) -> ndarray:
    flat = painted(flatten(image, 0.012, 0.2), 0.01)
    light = grey(flat)
    stepped = soft_levels(curve(light, ((0, 0.08), (0.3, 0.44), (0.6, 0.78), (1, 1))), 6, 0.35)
    filled = saturate(flat * ((stepped + 0.06) / (light + 0.06))[..., None], 1.55)
    shade = np.clip(mix(filled, filled * rgb("#c9c2ff") * 1.06, 1 - soft_step(light, 0.15, 0.6)), 0, 1)
    inked = line * (1 - _drawn_lines(image, 0.0036, 0.006))
    drawn = mix(shade, rgb("#2a1d2e"), inked[..., None])
    return screen(drawn, 0.25 * blur(drawn * soft_step(light, 0.6, 0.95)[..., None], 0.014))


def ukiyo_e(image: ndarray, *, strength: float) -> ndarray:
    flat = painted(image, 0.016)
    light = grey(flat)
    stepped = soft_levels(light, 5, 0.3)
    printed = gradient_map(stepped, ("#1b2430", "#56685e", "#a3a486", "#e6d5aa", "#f6ecd4"))
    vermilion = gradient_map(stepped, ("#3a1512", "#a83a24", "#d9683c", "#ecc08a", "#f6ecd4"))
    indigo = gradient_map(stepped, ("#0f1f4a", "#234a8a", "#4f86b8", "#a3c6d4", "#f2ecd8"))
    redness = flat[..., 0] - flat[..., 2]
    printed = mix(printed, vermilion, 0.85 * soft_step(redness, 0.08, 0.3))
    printed = mix(printed, indigo, 0.95 * soft_step(-redness, 0.02, 0.18))
    return mix(image, mix(rgb("#1a1c26"), printed, _drawn_lines(image, 0.005, 0.004)[..., None]), strength)


def line_and_wash(image: ndarray, *, wetness: float) -> ndarray:
    washes = painted(image, 0.016)
    pale = np.clip(screen(saturate(washes, 2.2), 0.2 + 0.35 * wetness), 0, 1)
    paper = curve(pale, ((0, 0.25), (0.5, 0.62), (0.8, 0.95), (1, 1)))
    return mix(rgb("#22242c"), paper, _drawn_lines(image, 0.0042, 0.004)[..., None])


def stained_glass(image: ndarray, *, lead: float) -> ndarray:
    panes = painted(image, 0.018)
    light = grey(panes)
    stepped = soft_levels(blur(light, 0.006), 5, 0.3)
    glass = np.clip(saturate(panes * ((stepped + 0.12) / (light + 0.08))[..., None] * 1.1, 3.0), 0, 1)
    lit = screen(glass * 0.95, 0.35 * blur(glass, 0.012))
    seams = soft_step(edge_strength(stepped, 0.004), 0.03 / lead, 0.09 / lead)
    return mix(lit, rgb("#0c0b10"), blur(grow(seams, 0.004, dark=False), 0.003)[..., None])


def paper_cut(image: ndarray, *, depth: float) -> ndarray:
    light = blur(grey(image), 0.012)
    picture = np.broadcast_to(rgb(_SHEETS[0]), image.shape)
    for number, colour in enumerate(_SHEETS[1:]):
        start = 0.2 + 0.17 * number
        sheet = soft_step(light, start - 0.02, start + 0.02)
        shade = blur(shift(sheet, 0.012, 0.016), 0.008)
        picture = picture * (1 - 0.55 * depth * shade)[..., None]
        picture = mix(picture, rgb(colour), sheet[..., None])
    return picture


def kraft_paper(image: ndarray, *, paper: str) -> ndarray:
    light = grey(image)
    dodged = np.clip((light + 0.03) / (blur(light, 0.014) + 0.03), 0, 1)
    shade = curve(blur(light, 0.008), ((0, 0.35), (0.3, 0.75), (0.5, 1), (1, 1)))
    dark = power(dodged, 3.0) * shade
    chalk = soft_step(light + 1.2 * (light - blur(light, 0.01)), 0.6, 1.0)
    return mix(mix(rgb("#2a1a10"), rgb(paper), dark[..., None]), rgb("#fdf8ec"), 0.85 * chalk[..., None])


def tattoo(image: ndarray, *, skin: str) -> ndarray:
    light = grey(image)
    lines = ink_lines(light, 0.0062, sharpness=14, level=0.008)
    solid = soft_step(blur(light, 0.008), 0.1, 0.2)
    shading = 0.5 + 0.5 * soft_step(blur(light, 0.014), 0.1, 0.5)
    return mix(rgb("#1b232b"), rgb(skin), (lines * solid * shading)[..., None])


def psychedelic(image: ndarray, *, turns: float) -> ndarray:
    light = blur(grey(image), 0.008)
    lines = ink_lines(grey(image), 0.006, sharpness=12, level=0.006)
    return mix(rgb("#1a0033"), cycle_map(light * turns, _LOUD), lines[..., None])


def holographic(image: ndarray, *, turns: float) -> ndarray:
    light = grey(image)
    right, down = slopes(blur(light, 0.008))
    foil = cycle_map(blur(light, 0.006) * turns + 1.5 * (right - down), _FOIL)
    shine = 0.75 + 0.4 * light - 2.2 * (right + down)
    return foil * np.clip(shine, 0.25, 1.25)[..., None]


def bronze(image: ndarray, *, depth: float) -> ndarray:
    light = grey(image)
    right, down = slopes(blur(light, 0.005))
    sheen = 0.46 - 0.44 * np.cos(np.pi * blur(light, 0.006)) - 2.6 * depth * (right + down)
    detail = light - blur(light, 0.008)
    return gradient_map(sheen * 0.85 + 0.6 * detail, ("#0e0703", "#4a2610", "#a3662a", "#e8b76c", "#fff3d6"))


OPERATORS = (
    Operator("anime", "style", anime, {"line": Parameter(0.85)}, "Flat clear colours, thin lines."),
    Operator("ukiyo_e", "style", ukiyo_e, {"strength": Parameter(1.0)}, "Indigo and vermilion from wood."),
    Operator("line_and_wash", "style", line_and_wash, {"wetness": Parameter(0.4)},
             "Pale washes under pen lines."),
    Operator("stained_glass", "style", stained_glass, {"lead": Parameter(1.0, 0.5, 2)},
             "Glowing glass between lead lines."),
    Operator("paper_cut", "style", paper_cut, {"depth": Parameter(1.0)},
             "Sheets of paper, one on the other."),
    Operator("kraft_paper", "style", kraft_paper, {"paper": Parameter("#b98d5c")},
             "Pencil and white chalk on brown paper."),
    Operator("tattoo", "style", tattoo, {"skin": Parameter("#eac2a0")}, "Bold lines and shading on skin."),
    Operator("psychedelic", "style", psychedelic, {"turns": Parameter(2.0, 1, 4)},
             "Loud colours that cycle."),
    Operator("holographic", "style", holographic, {"turns": Parameter(2.0, 1, 4)},
             "Rainbow-coloured foil."),
    Operator("bronze", "style", bronze, {"depth": Parameter(1.0, 0.3, 2)}, "Cast in warm metal."),
)  # fmt: skip
