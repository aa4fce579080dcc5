"""Colour: what changes hues and saturation and leaves forms alone."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from initzoo.pairs.opencv import opencv
from initzoo.pairs.teachers.filters.imaging import (
    curve,
    gradient_map,
    grey,
    mix,
    power,
    rgb,
    saturate,
    screen,
    soft_step,
    three,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter

_PALETTES = {
    "thermal": ("#05010f", "#3b0f70", "#b5367a", "#f9632f", "#ffd23f", "#fffbe0"),
    "rainbow": ("#2b0a6b", "#1f5fd6", "#17b890", "#c9e84a", "#ff9a3c", "#d7263d"),
    "ocean": ("#020a1c", "#0b3c6f", "#1487a8", "#5fd0c5", "#eafbf0"),
    "forest": ("#06140b", "#1c4a2a", "#5b8c3a", "#c3cf6a", "#fbf7d8"),
    "plasma": ("#0d0887", "#7e03a8", "#cc4778", "#f89540", "#f0f921"),
    "candy": ("#3a0ca3", "#f72585", "#ffafcc", "#bde0fe", "#ffffff"),
    "lava": ("#000000", "#4a0404", "#c81d11", "#ff7b00", "#fff3b0"),
    "ice": ("#03045e", "#0077b6", "#48cae4", "#caf0f8", "#ffffff"),
    "night-vision": ("#000600", "#053d12", "#16a34a", "#a7f3a0", "#f3fff0"),
    "dawn": ("#1b1035", "#5c3b78", "#d46a84", "#f7b58a", "#fff3d6"),
}


def tint(image: ndarray, *, colour: str, strength: float) -> ndarray:
    return mix(image, gradient_map(grey(image), ("#000000", colour, "#ffffff")), strength)


def gel(image: ndarray, *, colour: str, strength: float) -> ndarray:
    return image * (1 - strength + strength * rgb(colour))


def colour_veil(image: ndarray, *, colour: str, strength: float) -> ndarray:
    return mix(image, rgb(colour), strength)


def duotone(image: ndarray, *, dark: str, light: str) -> ndarray:
    return gradient_map(soft_step(grey(image), -0.05, 1.05), (dark, light))


def tritone(image: ndarray, *, dark: str, middle: str, light: str) -> ndarray:
    return gradient_map(grey(image), (dark, middle, light))


def split_tone(image: ndarray, *, shadows: str, highlights: str, strength: float) -> ndarray:
    light = grey(image)
    toned = gradient_map(light, ("#000000", shadows, highlights, "#ffffff"))
    return mix(image, toned, strength * 0.75)


def sepia(image: ndarray, *, strength: float) -> ndarray:
    toned = gradient_map(power(grey(image), 0.9), ("#150b04", "#70502e", "#c9a26c", "#fbeed2"))
    return mix(image, toned, strength)


def cyanotype(image: ndarray, *, strength: float) -> ndarray:
    toned = gradient_map(grey(image), ("#041530", "#14508c", "#7fb2d6", "#f4f8f2"))
    return mix(image, toned, strength)


def temperature(image: ndarray, *, amount: float) -> ndarray:
    gains = np.array([1 + 0.3 * amount, 1 + 0.03 * amount, 1 - 0.38 * amount], dtype=np.float32)
    return image * gains


def green_magenta(image: ndarray, *, amount: float) -> ndarray:
    gains = np.array([1 + 0.16 * amount, 1 - 0.25 * amount, 1 + 0.16 * amount], dtype=np.float32)
    return image * gains


def hue_turn(image: ndarray, *, degrees: float) -> ndarray:
    cv2 = opencv()
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    cosine, sine = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    first, second = lab[..., 1].copy(), lab[..., 2].copy()
    lab[..., 1] = cosine * first - sine * second
    lab[..., 2] = sine * first + cosine * second
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def saturation(image: ndarray, *, factor: float) -> ndarray:
    return saturate(image, factor)


def vibrance(image: ndarray, *, amount: float) -> ndarray:
    red, green, blue = (image[..., i] for i in range(3))
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    light = grey(image)[..., None]
    return light + (image - light) * (1 + amount * (1 - chroma)[..., None])


def channel_swap(image: ndarray, *, order: str) -> ndarray:
    return np.ascontiguousarray(image[..., ["rgb".index(letter) for letter in order]])


def heat_map(image: ndarray, *, palette: str) -> ndarray:
    return gradient_map(grey(image), _PALETTES[palette])


def cross_process(image: ndarray, *, strength: float) -> ndarray:
    red = curve(image[..., 0], ((0, 0), (0.25, 0.15), (0.75, 0.88), (1, 1)))
    green = curve(image[..., 1], ((0, 0), (0.25, 0.24), (0.75, 0.86), (1, 1)))
    blue = curve(image[..., 2], ((0, 0.2), (0.5, 0.48), (1, 0.72)))
    return mix(image, np.stack([red, green, blue], axis=2), strength)


def bleach_bypass(image: ndarray, *, strength: float) -> ndarray:
    light = three(grey(image))
    overlay = np.where(light < 0.5, 2 * image * light, 1 - 2 * (1 - image) * (1 - light))
    return mix(image, saturate(overlay, 0.6), strength)


def technicolor(image: ndarray, *, strength: float) -> ndarray:
    red, green, blue = (image[..., i] for i in range(3))
    strips = np.stack(
        [
            red * (1 - 0.35 * (green + blue) / 2 + 0.35 * red),
            green * (1 - 0.35 * (red + blue) / 2 + 0.35 * green),
            blue * (1 - 0.35 * (red + green) / 2 + 0.35 * blue),
        ],
        axis=2,
    )
    return mix(image, saturate(strips * 1.12, 1.55), strength)


def greyscale(image: ndarray, *, filter: str) -> ndarray:
    weights = {
        "none": (0.299, 0.587, 0.114),
        "red": (0.9, 0.15, -0.05),
        "green": (0.1, 0.85, 0.05),
        "blue": (0.0, 0.15, 0.85),
    }[filter]
    return three(image @ np.array(weights, dtype=np.float32))


def colour_pop(image: ndarray, *, hue: float, width: float) -> ndarray:
    hsv = opencv().cvtColor(np.clip(image, 0, 1), opencv().COLOR_RGB2HSV)
    distance = np.abs((hsv[..., 0] - hue + 180) % 360 - 180)
    kept = (1 - soft_step(distance, width * 0.6, width * 1.4)) * soft_step(hsv[..., 1], 0.15, 0.35)
    return mix(three(grey(image)), saturate(image, 1.25), kept)


def teal_orange(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    toned = gradient_map(light, ("#00141c", "#0f5a66", "#d98e52", "#fff1da"))
    warmth = soft_step(image[..., 0] - image[..., 2], -0.2, 0.3)
    pushed = mix(image * rgb("#7fd6dd"), image * rgb("#ffd2a0") * 1.12, warmth)
    return mix(image, mix(pushed, toned, 0.4), strength)


def aerochrome(image: ndarray, *, strength: float) -> ndarray:
    red, green, blue = (image[..., i] for i in range(3))
    leafy = soft_step(green - np.maximum(red, blue) * 0.9, -0.02, 0.12)
    mixed = np.stack([green * 1.1, 0.55 * red + 0.2 * blue, 0.85 * blue], axis=2)
    pink = np.stack([green * 1.5, green * 0.35, green * 0.75], axis=2)
    return mix(image, mix(mixed, pink, leafy), strength)


def instant_film(image: ndarray, *, strength: float) -> ndarray:
    red = curve(image[..., 0], ((0, 0.1), (0.5, 0.58), (1, 0.97)))
    green = curve(image[..., 1], ((0, 0.09), (0.5, 0.53), (1, 0.93)))
    blue = curve(image[..., 2], ((0, 0.17), (0.5, 0.49), (1, 0.78)))
    return mix(image, saturate(np.stack([red, green, blue], axis=2), 0.85), strength)


def pastel_colours(image: ndarray, *, strength: float) -> ndarray:
    return mix(image, screen(saturate(image, 1.1), 0.42), strength)


def two_strip(image: ndarray, *, strength: float) -> ndarray:
    red = image[..., 0]
    cyan = 0.5 * (image[..., 1] + image[..., 2])
    return mix(image, np.stack([red, cyan * 0.92 + 0.04, cyan * 0.9 + 0.06], axis=2), strength)


_STRENGTH = Parameter(1.0, 0, 1.5)

OPERATORS = (
    Operator("tint", "colour", tint, {"colour": Parameter("#3a6ea5"), "strength": _STRENGTH},
             "Shades of one colour, from black to white."),
    Operator("gel", "colour", gel, {"colour": Parameter("#ff5533"), "strength": Parameter(0.8)},
             "Seen through coloured glass."),
    Operator("colour_veil", "colour", colour_veil,
             {"colour": Parameter("#88aadd"), "strength": Parameter(0.4, 0, 0.7)},
             "A flat layer of colour on top."),
    Operator("duotone", "colour", duotone, {"dark": Parameter("#14213d"), "light": Parameter("#fca311")},
             "Two inks: one for shadows, one for lights."),
    Operator("tritone", "colour", tritone,
             {"dark": Parameter("#14213d"), "middle": Parameter("#c1666b"), "light": Parameter("#fff3d6")},
             "Three inks for shadows, mid-tones and lights."),
    Operator("split_tone", "colour", split_tone,
             {"shadows": Parameter("#1d3557"), "highlights": Parameter("#f4a261"),
              "strength": Parameter(0.6)},
             "One colour in the shadows and another in the lights, over the photo's own."),
    Operator("sepia", "colour", sepia, {"strength": _STRENGTH}, "The brown of old prints."),
    Operator("cyanotype", "colour", cyanotype, {"strength": _STRENGTH}, "Prussian blue prints."),
    Operator("temperature", "colour", temperature, {"amount": Parameter(0.6, -1, 1)},
             "Warmer or cooler light."),
    Operator("green_magenta", "colour", green_magenta, {"amount": Parameter(0.6, -1.5, 1.5)},
             "Towards magenta, or towards green when negative."),
    Operator("hue_turn", "colour", hue_turn, {"degrees": Parameter(90.0, -180, 180)},
             "All hues turned alike."),
    Operator("saturation", "colour", saturation, {"factor": Parameter(1.6, 0, 4)},
             "Stronger or weaker colours."),
    Operator("vibrance", "colour", vibrance, {"amount": Parameter(0.8, -1, 3)},
             "Stronger colours where they are weak."),
    Operator("channel_swap", "colour", channel_swap,
             {"order": Parameter("bgr", choices=("bgr", "grb", "rbg", "gbr", "brg"))}, "Channels exchanged."),
    Operator("heat_map", "colour", heat_map, {"palette": Parameter("thermal", choices=tuple(_PALETTES))},
             "False colours for brightness."),
    Operator("cross_process", "colour", cross_process, {"strength": _STRENGTH},
             "Slide film in the wrong bath."),
    Operator("bleach_bypass", "colour", bleach_bypass, {"strength": _STRENGTH}, "Silver left in the film."),
    Operator("technicolor", "colour", technicolor, {"strength": _STRENGTH}, "Three-strip film colours."),
    Operator("two_strip", "colour", two_strip, {"strength": _STRENGTH}, "Early film's red and cyan."),
    Operator("greyscale", "colour", greyscale,
             {"filter": Parameter("none", choices=("none", "red", "green", "blue"))},
             "Black and white, through a filter if wanted."),
    Operator("colour_pop", "colour", colour_pop,
             {"hue": Parameter(0.0, 0, 360), "width": Parameter(25.0, 5, 60)},
             "One hue stays, the rest turns grey."),
    Operator("teal_orange", "colour", teal_orange, {"strength": _STRENGTH}, "The cinema's teal and orange."),
    Operator("aerochrome", "colour", aerochrome, {"strength": _STRENGTH}, "Infrared film: leaves turn pink."),
    Operator("instant_film", "colour", instant_film, {"strength": _STRENGTH}, "Creamy instant film."),
    Operator("pastel_colours", "colour", pastel_colours, {"strength": _STRENGTH}, "Light, milky colours."),
)  # fmt: skip
