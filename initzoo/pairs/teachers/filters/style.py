"""Style: what makes a photo look drawn, painted or printed."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from initzoo.pairs.opencv import opencv
from initzoo.pairs.teachers.filters.imaging import (
    blur,
    curve,
    edge_strength,
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
    slopes,
    soft_levels,
    soft_step,
    three,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter


def _dodged(light: ndarray, radius: float) -> ndarray:
    """Paper white where a photo is flat, darker at the dark side of edges: the dodge of a darkroom."""
    return np.clip((light + 0.03) / (blur(light, radius) + 0.03), 0, 1)


def pencil_sketch(image: ndarray, *, darkness: float, radius: float) -> ndarray:
    light = grey(image)
    lines = power(_dodged(light, radius), 2.6 * darkness)
    shading = 0.8 + 0.2 * soft_step(blur(light, 0.006), 0.05, 0.6)
    return three(lines * shading * 0.98)


def coloured_pencil(image: ndarray, *, darkness: float) -> ndarray:
    lines = power(_dodged(grey(image), 0.014), 2.2 * darkness)
    pale = mix(1.0, saturate(blur(image, 0.004), 1.5), 0.55)
    return np.clip(pale, 0, 1) * lines[..., None]


def ink(image: ndarray, *, colour: str, paper: str, radius: float) -> ndarray:
    light = grey(image)
    lines = ink_lines(light, radius, sharpness=14, level=0.004)
    solid = soft_step(blur(light, 0.006), 0.1, 0.2)
    return mix(rgb(colour), rgb(paper), lines * solid)


def charcoal(image: ndarray, *, darkness: float) -> ndarray:
    light = grey(image)
    strokes = 1 - soft_step(edge_strength(light, 0.006), 0.004, 0.07)
    shade = curve(blur(light, 0.012), ((0, 0.1), (0.3, 0.42), (0.55, 0.85), (0.8, 1), (1, 1)))
    return three(power((strokes * 0.85 + 0.15) * shade * 0.96, darkness))


def oil(image: ndarray, *, radius: float) -> ndarray:
    strokes = painted(image, radius)
    return saturate(strokes + 0.7 * (strokes - blur(strokes, 0.006)), 1.25)


def watercolour(image: ndarray, *, wetness: float) -> ndarray:
    washes = painted(image, 0.018)
    rims = soft_step(edge_strength(grey(washes), 0.004), 0.008, 0.1)
    pale = screen(saturate(washes, 1.6), 0.2 + 0.3 * wetness)
    paper = curve(pale, ((0, 0.1), (0.55, 0.6), (0.8, 0.93), (1, 1)))
    return paper * (1 - 0.42 * rims)[..., None]


def gouache(image: ndarray, *, levels: float) -> ndarray:
    strokes = painted(image, 0.02)
    light = grey(strokes)
    flat = soft_levels(light, levels, 0.35)
    return saturate(strokes * ((flat + 0.06) / (light + 0.06))[..., None], 1.15) * 0.94 + 0.04


def cartoon(image: ndarray, *, levels: float, line: float) -> ndarray:
    flat = painted(image, 0.016)
    light = grey(flat)
    stepped = soft_levels(light, levels, 0.3)
    filled = saturate(flat * ((stepped + 0.08) / (light + 0.08))[..., None], 1.5)
    lines = 1 - soft_step(edge_strength(light, 0.004), 0.035, 0.1) * line
    return filled * lines[..., None]


def comic(image: ndarray, *, levels: float) -> ndarray:
    light = grey(image)
    calm = blur(image, 0.006)
    calm_light = grey(calm)
    stepped = soft_levels(calm_light, levels, 0.3)
    flat = saturate(calm * ((stepped + 0.1) / (calm_light + 0.1))[..., None], 2.2)
    lines = ink_lines(light, 0.006, sharpness=14, level=0.006)
    solid = soft_step(blur(light, 0.006), 0.07, 0.16)
    return np.clip(flat * 1.1 + 0.06, 0, 1) * (lines * solid)[..., None]


def pastel(image: ndarray, *, strength: float) -> ndarray:
    soft = painted(blur(image, 0.006), 0.014)
    chalky = screen(saturate(soft, 1.3), 0.35)
    lines = power(_dodged(grey(image), 0.012), 0.9)
    return mix(image, chalky * (0.35 + 0.65 * lines)[..., None], strength)


def crayon(image: ndarray, *, strength: float) -> ndarray:
    waxy = saturate(painted(image, 0.012), 2.2)
    lines = 1 - soft_step(edge_strength(grey(image), 0.006), 0.008, 0.1)
    paper = mix(0.99, np.clip(waxy, 0, 1), 0.35 + 0.5 * (1 - lines))
    return mix(image, paper * (0.72 + 0.28 * lines)[..., None], strength)


def engraving(image: ndarray, *, lines: float, colour: str, paper: str) -> ndarray:
    light = blur(grey(image), 0.01)
    waves = np.cos(2 * np.pi * lines * light)
    inked = soft_step(waves + 2.6 * (light - 0.42), -0.6, 0.6)
    return mix(rgb(colour), rgb(paper), inked)


def woodcut(image: ndarray, *, level: float, colour: str, paper: str) -> ndarray:
    light = grey(image)
    carved = blur(light, 0.006) + 2.2 * (blur(light, 0.004) - blur(light, 0.018))
    return mix(rgb(colour), rgb(paper), soft_step(carved, level - 0.07, level + 0.07))


def screen_print(image: ndarray, *, dark: str, middle: str, light: str) -> ndarray:
    values = blur(grey(image), 0.006)
    low = mix(rgb(dark), rgb(middle), soft_step(values, 0.26, 0.34)[..., None])
    return mix(low, rgb(light), soft_step(values, 0.56, 0.64))


def pop_art(image: ndarray, *, palette: str) -> ndarray:
    colours = {
        "pink": ("#2b0548", "#e5006d", "#ff8fb8", "#ffe14d"),
        "blue": ("#10183f", "#0074d9", "#39cccc", "#fff35c"),
        "orange": ("#3a0d2e", "#ff4e00", "#ffb000", "#b8f2e6"),
        "green": ("#1b1b4b", "#009f6b", "#b6e63e", "#ffd1f0"),
        "campaign": ("#00304a", "#d71a21", "#7096a0", "#fce4a8"),
    }[palette]
    values = soft_levels(blur(grey(image), 0.006), 4, 0.22)
    return gradient_map(values, colours)


def glow(image: ndarray, *, strength: float) -> ndarray:
    bloom = blur(power(image, 1.4), 0.018)
    return mix(image, screen(image * 0.9, bloom * 0.75), strength)


def emboss(image: ndarray, *, depth: float) -> ndarray:
    right, down = slopes(blur(grey(image), 0.004))
    return blur(image, 0.006) * 0.55 + 0.22 - depth * 2.2 * (right + down)[..., None]


def neon_edges(image: ndarray, *, strength: float) -> ndarray:
    lines = soft_step(edge_strength(grey(image), 0.004), 0.01, 0.09)
    strongest = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
    bright = image / (strongest[..., None] + 0.1)
    vivid = np.clip(saturate(bright, 2.2), 0, 1) * lines[..., None]
    halo = blur(vivid, 0.014)
    return mix(image, screen(image * 0.08, screen(vivid, halo * 0.9)), strength)


def neon_sign(image: ndarray, *, colour: str) -> ndarray:
    lines = soft_step(edge_strength(grey(image), 0.005), 0.01, 0.09)
    core = power(lines, 2.0)
    halo = np.maximum(blur(lines, 0.014), lines * 0.6)
    lit = rgb("#07060f") + halo[..., None] * rgb(colour) * 1.1
    return mix(lit, 1.0, core * 0.75)


def chalkboard(image: ndarray, *, board: str) -> ndarray:
    light = grey(image)
    lines = 1 - ink_lines(light, 0.005, sharpness=9, level=0.002)
    dust = 0.16 * blur(light, 0.014)
    return mix(rgb(board) * 0.55, rgb("#f4f1e6"), np.clip(lines * 0.92 + dust, 0, 1))


def blueprint(image: ndarray, *, paper: str) -> ndarray:
    lines = soft_step(edge_strength(grey(image), 0.004), 0.02, 0.09)
    shade = 0.1 * soft_step(blur(grey(image), 0.008), 0.2, 0.9)
    return mix(rgb(paper), rgb("#eef5ff"), np.clip(lines * 0.9 + shade, 0, 1))


def contour_map(image: ndarray, *, lines: float, colour: str) -> ndarray:
    light = blur(grey(image), 0.016)
    places = light * lines
    distance = np.abs(places - np.round(places)) * (1 / lines)
    slope = opencv().magnitude(*slopes(light)) + 0.004
    drawn = 1 - soft_step(distance / slope, 0.45, 1.3)
    ground = gradient_map(light, ("#d8e3cf", "#f3ecd2", "#ffffff"))
    return mix(ground, rgb(colour), drawn * 0.85)


def ink_wash(image: ndarray, *, wetness: float) -> ndarray:
    light = painted(image, 0.014)
    washes = soft_levels(blur(grey(light), 0.004), 5, 0.6)
    washed = curve(washes, ((0, 0.06), (0.25, 0.34), (0.5, 0.7), (1, 0.97)))
    lines = ink_lines(grey(image), 0.007, sharpness=8, level=0.003)
    paper = gradient_map(mix(washed, 1.0, 0.3 * wetness), ("#12141a", "#73777c", "#f6f2e8"))
    return paper * (0.35 + 0.65 * lines)[..., None]


def chrome(image: ndarray, *, waves: float) -> ndarray:
    light = blur(grey(image), 0.01)
    right, down = slopes(light)
    sheen = 0.5 - 0.5 * np.cos(2 * np.pi * waves * light) - 1.5 * (right + down)
    return gradient_map(sheen, ("#161a22", "#6d7a89", "#b9c4cf", "#ffffff"))


def stencil(image: ndarray, *, colour: str, paper: str) -> ndarray:
    light = grow(blur(grey(image), 0.005), 0.004, dark=True)
    return mix(rgb(colour), rgb(paper), soft_step(blur(light, 0.005), 0.26, 0.36))


def fresco(image: ndarray, *, strength: float) -> ndarray:
    plaster = painted(image, 0.016)
    light = grey(plaster)
    lines = ink_lines(grey(image), 0.006, sharpness=6, level=0.003)
    earth = gradient_map(light, ("#3b2a20", "#a07a55", "#e9d9b8"))
    dry = mix(saturate(plaster, 0.9), earth, 0.45) * 0.86 + 0.1
    return mix(image, dry * (0.6 + 0.4 * lines)[..., None], strength)


def scratchboard(image: ndarray, *, density: float) -> ndarray:
    light = grey(image)
    detail = light - blur(light, 0.01)
    scratched = soft_step(detail * 5 * density + soft_step(light, 0.35, 1.0) * 0.6, 0.12, 0.5)
    return three(scratched * 0.96 + 0.02)


_STRENGTH = Parameter(1.0, 0, 1.5)
_INK = {"colour": Parameter("#14141a"), "paper": Parameter("#fbfaf5")}

OPERATORS = (
    Operator("pencil_sketch", "style", pencil_sketch,
             {"darkness": Parameter(1.0, 0.3, 2.5), "radius": Parameter(0.014, 0.004, 0.018)},
             "Graphite on paper."),
    Operator("coloured_pencil", "style", coloured_pencil, {"darkness": Parameter(1.0, 0.3, 2.5)},
             "Pencil lines with pale colours."),
    Operator("ink", "style", ink, {**_INK, "radius": Parameter(0.005, 0.003, 0.01)},
             "Pen lines and solid blacks."),
    Operator("charcoal", "style", charcoal, {"darkness": Parameter(1.0, 0.3, 2.5)}, "Soft black strokes."),
    Operator("oil", "style", oil, {"radius": Parameter(0.02, 0.008, 0.026)}, "Thick strokes of paint."),
    Operator("watercolour", "style", watercolour, {"wetness": Parameter(0.6)}, "Pale washes with dark rims."),
    Operator("gouache", "style", gouache, {"levels": Parameter(6.0, 3, 10)}, "Flat, opaque paint."),
    Operator("cartoon", "style", cartoon, {"levels": Parameter(5.0, 3, 9), "line": Parameter(0.9)},
             "Flat colours with dark lines."),
    Operator("comic", "style", comic, {"levels": Parameter(3.0, 2, 6)}, "Bold print colours and black ink."),
    Operator("pastel", "style", pastel, {"strength": _STRENGTH}, "Chalky pastel drawing."),
    Operator("crayon", "style", crayon, {"strength": _STRENGTH}, "Wax crayon on white paper."),
    Operator("engraving", "style", engraving, {"lines": Parameter(5.0, 2, 8), **_INK},
             "Lines that follow the light, as in an old plate."),
    Operator("woodcut", "style", woodcut, {"level": Parameter(0.42, 0.2, 0.7), **_INK},
             "Carved black and white."),
    Operator("screen_print", "style", screen_print,
             {"dark": Parameter("#1d1e4b"), "middle": Parameter("#e4572e"), "light": Parameter("#ffe8c2")},
             "Three flat inks."),
    Operator("pop_art", "style", pop_art,
             {"palette": Parameter("pink", choices=("pink", "blue", "orange", "green", "campaign"))},
             "Four loud flat colours."),
    Operator("glow", "style", glow, {"strength": _STRENGTH}, "A dreamy bloom over everything."),
    Operator("emboss", "style", emboss, {"depth": Parameter(1.0, 0.3, 2.5)}, "Pressed into coloured paper."),
    Operator("neon_edges", "style", neon_edges, {"strength": _STRENGTH}, "Edges that shine in the dark."),
    Operator("neon_sign", "style", neon_sign, {"colour": Parameter("#ff2bd6")}, "Glass tubes of one colour."),
    Operator("chalkboard", "style", chalkboard, {"board": Parameter("#3f5e50")},
             "White chalk on a dark board."),
    Operator("blueprint", "style", blueprint, {"paper": Parameter("#123f8c")}, "White lines on blue paper."),
    Operator("contour_map", "style", contour_map,
             {"lines": Parameter(6.0, 3, 10), "colour": Parameter("#7a4a21")}, "Lines of equal brightness."),
    Operator("ink_wash", "style", ink_wash, {"wetness": Parameter(0.5)}, "Grey washes with brush lines."),
    Operator("chrome", "style", chrome, {"waves": Parameter(2.0, 1, 4)}, "Polished metal."),
    Operator("stencil", "style", stencil, {**_INK}, "Sprayed through a cut-out."),
    Operator("fresco", "style", fresco, {"strength": _STRENGTH}, "Earth colours on dry plaster."),
    Operator("scratchboard", "style", scratchboard, {"density": Parameter(1.0, 0.4, 2)},
             "White scratches in black."),
)  # fmt: skip
