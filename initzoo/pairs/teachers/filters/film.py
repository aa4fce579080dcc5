"""Film: the colours of films, prints and screens, and of seasons and places as photographers grade them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from initzoo.pairs.opencv import opencv
from initzoo.pairs.teachers.filters.imaging import (
    blur,
    curve,
    flatten,
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

_Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Grade:
    """A tone curve of each channel, then a share of the brightness in other colours, then saturation."""

    red: _Curve
    green: _Curve
    blue: _Curve
    tones: tuple[str, ...] = ("#000000", "#ffffff")
    share: float = 0.0
    chroma: float = 1.0
    bloom: float = 0.0


_GRADES = {
    "seventies": _Grade(
        ((0, 0.14), (0.25, 0.33), (0.5, 0.62), (0.8, 0.92), (1, 1)),
        ((0, 0.1), (0.25, 0.28), (0.5, 0.53), (0.8, 0.8), (1, 0.9)),
        ((0, 0.07), (0.25, 0.2), (0.5, 0.38), (0.8, 0.6), (1, 0.7)),
        ("#2b1c10", "#8a6236", "#d9a860", "#fbe6b4"), 0.2, 1.05,
    ),
    "eighties": _Grade(
        ((0, 0.08), (0.25, 0.27), (0.5, 0.6), (0.8, 0.92), (1, 1)),
        ((0, 0.02), (0.25, 0.17), (0.5, 0.45), (0.8, 0.8), (1, 0.95)),
        ((0, 0.14), (0.25, 0.33), (0.5, 0.58), (0.8, 0.83), (1, 0.95)),
        ("#1a0f3c", "#7a3c8e", "#f79ab0", "#fff0e0"), 0.12, 1.4, 0.35,
    ),
    "disposable-camera": _Grade(
        ((0, 0.02), (0.2, 0.12), (0.5, 0.6), (0.75, 0.93), (1, 1)),
        ((0, 0.05), (0.2, 0.18), (0.5, 0.62), (0.75, 0.92), (1, 1)),
        ((0, 0.11), (0.2, 0.2), (0.5, 0.51), (0.75, 0.77), (1, 0.9)),
        chroma=1.3,
    ),
    "vintage": _Grade(
        ((0, 0.12), (0.25, 0.3), (0.5, 0.61), (0.8, 0.91), (1, 1)),
        ((0, 0.14), (0.25, 0.29), (0.5, 0.55), (0.8, 0.82), (1, 0.93)),
        ((0, 0.2), (0.25, 0.3), (0.5, 0.46), (0.8, 0.64), (1, 0.74)),
        ("#1f3a40", "#8a7f5e", "#e0c08a", "#fbeed0"), 0.25, 0.8,
    ),
    "kodachrome": _Grade(
        ((0, 0), (0.2, 0.13), (0.5, 0.56), (0.8, 0.9), (1, 1)),
        ((0, 0), (0.2, 0.12), (0.5, 0.48), (0.8, 0.83), (1, 0.98)),
        ((0, 0.01), (0.2, 0.13), (0.5, 0.45), (0.8, 0.77), (1, 0.93)),
        chroma=1.5,
    ),
    "portrait-film": _Grade(
        ((0, 0.07), (0.25, 0.32), (0.5, 0.62), (0.8, 0.9), (1, 1)),
        ((0, 0.07), (0.25, 0.3), (0.5, 0.58), (0.8, 0.85), (1, 0.97)),
        ((0, 0.09), (0.25, 0.29), (0.5, 0.54), (0.8, 0.79), (1, 0.92)),
        ("#3d342f", "#b08d78", "#f5d3ba", "#fffaf0"), 0.2, 0.95, 0.15,
    ),
    "moody": _Grade(
        ((0, 0.08), (0.3, 0.19), (0.6, 0.5), (1, 0.92)),
        ((0, 0.11), (0.3, 0.21), (0.6, 0.43), (1, 0.82)),
        ((0, 0.14), (0.3, 0.23), (0.6, 0.38), (1, 0.7)),
        ("#0c1d22", "#2f4a4e", "#bd9260", "#f6deb8"), 0.4, 0.95,
    ),
    "dark-academia": _Grade(
        ((0, 0.05), (0.3, 0.22), (0.6, 0.47), (1, 0.87)),
        ((0, 0.04), (0.3, 0.16), (0.6, 0.36), (1, 0.74)),
        ((0, 0.03), (0.3, 0.11), (0.6, 0.24), (1, 0.55)),
        ("#120b06", "#4e3119", "#a8763f", "#eed7a6"), 0.25, 0.9,
    ),
    "horror": _Grade(
        ((0, 0), (0.25, 0.06), (0.5, 0.3), (0.8, 0.68), (1, 0.88)),
        ((0, 0.02), (0.25, 0.11), (0.5, 0.38), (0.8, 0.76), (1, 0.95)),
        ((0, 0.02), (0.25, 0.09), (0.5, 0.31), (0.8, 0.66), (1, 0.84)),
        ("#020604", "#26382c", "#8ea88a", "#eaf3de"), 0.55, 0.35,
    ),
    "gothic": _Grade(
        ((0, 0), (0.3, 0.1), (0.6, 0.38), (0.85, 0.76), (1, 0.97)),
        ((0, 0), (0.3, 0.07), (0.6, 0.31), (0.85, 0.7), (1, 0.95)),
        ((0, 0.03), (0.3, 0.14), (0.6, 0.43), (0.85, 0.8), (1, 1)),
        ("#05030b", "#2c1c40", "#8a7aa6", "#f1edf8"), 0.65, 0.4,
    ),
    "matrix": _Grade(
        ((0, 0), (0.3, 0.1), (0.6, 0.38), (1, 0.82)),
        ((0, 0.02), (0.3, 0.2), (0.6, 0.58), (1, 1)),
        ((0, 0), (0.3, 0.09), (0.6, 0.34), (1, 0.76)),
        ("#000500", "#0c3a1a", "#4fae5c", "#d8ffd8"), 0.6, 0.6,
    ),
    "pastel-film": _Grade(
        ((0, 0.22), (0.25, 0.44), (0.5, 0.71), (0.8, 0.93), (1, 1)),
        ((0, 0.17), (0.25, 0.37), (0.5, 0.62), (0.8, 0.85), (1, 0.95)),
        ((0, 0.22), (0.25, 0.4), (0.5, 0.62), (0.8, 0.82), (1, 0.89)),
        ("#5b4a52", "#d98f86", "#f7c9b0", "#fdf2d6"), 0.15, 1.25,
    ),
    "fairy-tale": _Grade(
        ((0, 0.1), (0.3, 0.35), (0.6, 0.7), (1, 1)),
        ((0, 0.06), (0.3, 0.28), (0.6, 0.62), (1, 0.98)),
        ((0, 0.2), (0.3, 0.45), (0.6, 0.72), (1, 0.98)),
        ("#1c1458", "#9a4ab0", "#7fd8dc", "#fff6e6"), 0.25, 1.35, 0.8,
    ),
    "mars": _Grade(
        ((0, 0.12), (0.3, 0.42), (0.6, 0.76), (1, 1)),
        ((0, 0.05), (0.3, 0.23), (0.6, 0.5), (1, 0.84)),
        ((0, 0.03), (0.3, 0.13), (0.6, 0.32), (1, 0.6)),
        ("#2a0d06", "#9a4320", "#e09a5c", "#ffe2b8"), 0.75, 0.6,
    ),
}  # fmt: skip

_PRINTS = {
    "platinum": ("#2a2724", "#6d6861", "#b5aea3", "#f4efe4"),
    "selenium": ("#0d070c", "#4d3c46", "#a8959a", "#fbf6f2"),
}


def film_grade(image: ndarray, *, grade: str, strength: float) -> ndarray:
    style = _GRADES[grade]
    channels = [
        curve(image[..., place], points) for place, points in enumerate((style.red, style.green, style.blue))
    ]
    toned = np.stack(channels, axis=2)
    if style.share:
        toned = mix(toned, gradient_map(grey(image), style.tones), style.share)
    toned = saturate(toned, style.chroma)
    if style.bloom:
        lights = np.clip(toned, 0, 1) * soft_step(grey(image), 0.45, 0.85)[..., None]
        toned = screen(np.clip(toned, 0, 1), style.bloom * blur(lights, 0.018))
    return mix(image, toned, strength)


def toned_print(image: ndarray, *, process: str, strength: float) -> ndarray:
    return mix(image, gradient_map(power(grey(image), 0.95), _PRINTS[process]), strength)


def hand_tinted(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    print_ = gradient_map(light, ("#38302b", "#7c7268", "#cdc3b2", "#fbf4e2"))
    washes = blur(image - light[..., None], 0.018)
    return mix(image, print_ + 1.15 * washes * soft_step(light, 0.05, 0.5)[..., None], strength)


def tungsten_film(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    cold = curve(image, ((0, 0.02), (0.3, 0.2), (0.6, 0.52), (1, 1))) * rgb("#cdeaf2")
    toned = mix(saturate(cold, 1.1), gradient_map(light, ("#03141a", "#1f5c66", "#a9cfc8", "#fff6e8")), 0.35)
    lights = soft_step(light, 0.6, 0.85)
    halos = np.clip(1.5 * blur(lights, 0.018) * (1 - lights), 0, 1)[..., None] * rgb("#ff3a1c")
    return mix(image, screen(np.clip(toned, 0, 1), halos), strength)


def infrared_print(image: ndarray, *, strength: float) -> ndarray:
    red, green, blue = (image[..., i] for i in range(3))
    calm = blur(image, 0.008)
    redness, greenness, blueness = (calm[..., i] for i in range(3))
    leaves = soft_step(greenness - 0.5 * redness - 0.5 * blueness, 0.0, 0.1)
    sky = soft_step(blueness - redness, 0.04, 0.35)
    light = np.clip(0.6 * red + 0.5 * green - 0.1 * blue, 0, 1) * (1 - 0.75 * sky)
    light = mix(light, np.clip(0.45 + 0.9 * green, 0, 1), leaves)
    glowing = screen(light, 0.45 * blur(light * soft_step(light, 0.5, 0.9), 0.016))
    return mix(image, three(curve(glowing, ((0, 0), (0.3, 0.2), (0.6, 0.68), (1, 1)))), strength)


def _hue_and_chroma(image: ndarray) -> tuple[ndarray, ndarray]:
    """Hue in degrees, and how far the colour is from grey, 0 to 1."""
    clipped = np.clip(image, 0, 1)
    hue = opencv().cvtColor(clipped, opencv().COLOR_RGB2HSV)[..., 0]
    return hue, clipped.max(axis=2) - clipped.min(axis=2)


def _window(hue: ndarray, middle: float, width: float) -> ndarray:
    """1 within half the width of a hue, and soft borders as wide as a quarter of it."""
    distance = np.abs((hue - middle + 180) % 360 - 180)
    return 1 - soft_step(distance, width * 0.5, width * 0.75)


def autumn(image: ndarray, *, strength: float) -> ndarray:
    hue, chroma = _hue_and_chroma(image)
    light = power(grey(image), 0.85)
    leaves = _window(hue, 100, 120) * soft_step(chroma, 0.03, 0.16)
    gold = gradient_map(light, ("#1c0d03", "#9a5a0c", "#f0a21e", "#ffe9a6"))
    red = gradient_map(light, ("#1c0503", "#9a2b0c", "#e8571a", "#ffd9a6"))
    turned = mix(gold, red, soft_step(hue, 70, 130))
    warm = image * rgb("#ffe9c8") * 1.04
    return mix(image, mix(warm, turned, leaves), strength)


def spring(image: ndarray, *, strength: float) -> ndarray:
    hue, chroma = _hue_and_chroma(image)
    light = grey(image)
    leaves = _window(hue, 110, 90) * soft_step(chroma, 0.03, 0.16)
    fresh = gradient_map(power(light, 0.75), ("#16300c", "#5fa82c", "#b4e063", "#f6fcd8"))
    airy = saturate(curve(image, ((0, 0.06), (0.3, 0.4), (0.6, 0.75), (1, 1))), 1.2)
    rosy = mix(airy, rgb("#ffe3ec"), 0.3 * soft_step(light, 0.4, 0.95) * (1 - soft_step(chroma, 0.1, 0.4)))
    return mix(image, mix(rosy, fresh, 0.8 * leaves), strength)


def tropical(image: ndarray, *, strength: float) -> ndarray:
    hue, chroma = _hue_and_chroma(image)
    light = grey(image)
    water = _window(hue, 210, 100) * soft_step(chroma, 0.04, 0.2)
    leaves = _window(hue, 110, 90) * soft_step(chroma, 0.04, 0.2)
    sunny = saturate(curve(image, ((0, 0), (0.25, 0.28), (0.5, 0.62), (1, 1))) * rgb("#fff3da"), 1.45)
    turquoise = gradient_map(light, ("#02303e", "#00a3ad", "#5ee6dc", "#f2fffb"))
    lush = gradient_map(light, ("#02200c", "#129a3a", "#7fdc4a", "#f4ffd0"))
    return mix(image, mix(mix(sunny, turquoise, 0.75 * water), lush, 0.6 * leaves), strength)


def all_pink(image: ndarray, *, strength: float) -> ndarray:
    light = power(grey(image), 0.8)
    pink = gradient_map(light, ("#4a0030", "#e0218a", "#ff8fc8", "#ffe8f4"))
    _, chroma = _hue_and_chroma(image)
    kept = mix(pink, saturate(image, 1.2), 0.5 * soft_step(chroma, 0.12, 0.5))
    lights = kept * soft_step(light, 0.6, 0.95)[..., None]
    return mix(image, screen(np.clip(kept, 0, 1), 0.35 * blur(lights, 0.016)), strength)


def blacklight(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    room = gradient_map(power(light, 1.2), ("#030010", "#24088a", "#6a2cf0", "#b8c4ff"))
    strongest = np.clip(image, 0, 1).max(axis=2)[..., None]
    paint = np.clip(saturate(image / (strongest + 0.08), 2.4), 0, 1) * power(strongest, 0.8)[..., None]
    glowing = soft_step(_hue_and_chroma(image)[1], 0.1, 0.4)[..., None]
    lit = mix(room, paint, glowing)
    return mix(image, screen(lit, 0.7 * blur(paint * glowing, 0.014)), strength)


def silhouette(image: ndarray, *, level: float) -> ndarray:
    light = blur(grey(image), 0.004)
    sky = gradient_map(soft_step(light, level - 0.1, 1.0), ("#c63d12", "#ff9b2e", "#ffd977", "#fffbe2"))
    return mix(rgb("#0b0608"), sky, soft_step(light, level - 0.07, level + 0.07))


def dramatic(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    around = blur(light, 0.018)
    deep = curve(around, ((0, 0.02), (0.3, 0.17), (0.6, 0.5), (0.85, 0.85), (1, 0.95)))
    held = deep + 1.5 * (light - around) + 0.5 * (light - blur(light, 0.005))
    colour = (saturate(image, 0.6) + 0.04) / (light + 0.04)[..., None]
    return mix(image, np.clip(held, 0, 1)[..., None] * colour * rgb("#fdf6ec"), strength)


def grunge(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    rough = light + 1.1 * (light - blur(light, 0.014)) + 1.2 * (light - blur(light, 0.004))
    dirty = gradient_map(np.clip(rough, 0, 1), ("#0c0b07", "#4a4631", "#a79c6a", "#eae3bf"))
    return mix(image, mix(dirty, saturate(image, 0.8) * 0.9, 0.28), strength)


def clean_whites(image: ndarray, *, strength: float) -> ndarray:
    light = grey(image)
    chroma = _hue_and_chroma(image)[1]
    white = soft_step(light, 0.45, 0.78) * (1 - soft_step(chroma, 0.12, 0.34))
    clear = saturate(curve(image, ((0, 0), (0.25, 0.24), (0.5, 0.57), (0.8, 0.93), (1, 1))), 1.12)
    return mix(image, mix(clear, 1.0, 0.92 * white), strength)


def skin_smoothing(image: ndarray, *, strength: float) -> ndarray:
    red, green, blue = (image[..., i] for i in range(3))
    warm = soft_step(red - green, 0.02, 0.1) * (1 - soft_step(red - green, 0.32, 0.45))
    skin = warm * soft_step(green - blue, -0.06, 0.03) * (1 - soft_step(green - blue, 0.24, 0.36))
    smooth = flatten(image, 0.016, 0.25)
    smooth = mix(smooth, blur(image, 0.01), 0.3) * 1.03
    return mix(image, smooth, strength * blur(skin * soft_step(red, 0.2, 0.4), 0.006))


_STRENGTH = Parameter(1.0, 0, 1.5)

OPERATORS = (
    Operator("film_grade", "colour", film_grade,
             {"grade": Parameter("vintage", choices=tuple(_GRADES)), "strength": _STRENGTH},
             "The colours of a film, a decade or a genre."),
    Operator("toned_print", "colour", toned_print,
             {"process": Parameter("platinum", choices=tuple(_PRINTS)), "strength": _STRENGTH},
             "Black and white printed in metals."),
    Operator("hand_tinted", "colour", hand_tinted, {"strength": _STRENGTH},
             "Black and white with thin washes of colour."),
    Operator("tungsten_film", "colour", tungsten_film, {"strength": _STRENGTH},
             "Cold night film with red halos round lights."),
    Operator("infrared_print", "colour", infrared_print, {"strength": _STRENGTH},
             "White leaves under a black sky."),
    Operator("all_pink", "colour", all_pink, {"strength": _STRENGTH}, "A world of hot and pale pink."),
    Operator("silhouette", "tone", silhouette, {"level": Parameter(0.42, 0.2, 0.7)},
             "Black shapes against warm light."),
    Operator("dramatic", "tone", dramatic, {"strength": _STRENGTH},
             "Hard detail, deep shade, drained colours."),
    Operator("grunge", "tone", grunge, {"strength": _STRENGTH}, "Rough detail in dirty tones."),
    Operator("clean_whites", "tone", clean_whites, {"strength": _STRENGTH}, "Pure whites, clear colours."),
    Operator("skin_smoothing", "structure", skin_smoothing, {"strength": Parameter(1.0)},
             "Smooth where colours are those of skin."),
    Operator("autumn", "light", autumn, {"strength": _STRENGTH}, "Greens turned to gold and red."),
    Operator("spring", "light", spring, {"strength": _STRENGTH}, "Fresh greens in airy light."),
    Operator("tropical", "light", tropical, {"strength": _STRENGTH},
             "Turquoise water, lush green, full sun."),
    Operator("blacklight", "light", blacklight, {"strength": _STRENGTH},
             "Colours that glow in ultraviolet light."),
)  # fmt: skip
