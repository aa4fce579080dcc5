"""Looks: functions from a photo to the edited photo, both uint8 RGB, shape `(height, width, 3)`.

All work on small neighbourhoods, the same everywhere, and none measures the photo as a whole. Sizes are for a
shorter side of 256 pixels.
"""

from __future__ import annotations

import numpy as np

from .colour import (
    Floats,
    Pixels,
    blur,
    colour,
    colour_table,
    cv2,
    from_linear,
    from_pixels,
    luma,
    ramp,
    through_table,
    to_linear,
    to_pixels,
)

__all__ = [
    "blue_for_warm",
    "cross_hatch",
    "disc_bokeh",
    "expired_film",
    "film_halation",
    "indigo_glow",
    "infrared_film",
    "ink_drawing",
    "local_tone_mapping",
    "slide_film",
    "two_ink_print",
    "wet_wash",
]

_SLIDE = colour_table(
    [
        ("#000000", "#000000"),
        ("#303030", "#1a1412"),
        ("#606060", "#585048"),
        ("#a0a0a0", "#b4a894"),
        ("#d8d8d8", "#f4e8d0"),
        ("#ffffff", "#fffaf0"),
        ("#6fa8dc", "#2c7ecb"),
        ("#24457c", "#0c2e6e"),
        ("#b03030", "#dc1414"),
        ("#4c7a34", "#2a6a1c"),
        ("#a8b870", "#a8b03c"),
        ("#e0c050", "#ffc414"),
        ("#d8a888", "#f0ac74"),
    ]
)
_INFRARED = colour_table(
    [
        ("#000000", "#080410"),
        ("#404040", "#383440"),
        ("#808080", "#807880"),
        ("#c0c0c0", "#c8c0c0"),
        ("#ffffff", "#fff8f2"),
        ("#202020", "#1c1a20"),
        ("#30241c", "#2c262c"),
        ("#4c5058", "#484850"),
        ("#6c5646", "#74645a"),
        ("#a08468", "#b0a084"),
        ("#1a3010", "#541030"),
        ("#2d5a1e", "#a8183f"),
        ("#5c8a35", "#e4406c"),
        ("#9ab860", "#ff8ca8"),
        ("#46461e", "#842040"),
        ("#6c6834", "#b8405c"),
        ("#5a9ad8", "#2f8fb0"),
        ("#1e4e8c", "#10405c"),
        ("#b8d8f0", "#a8dce4"),
        ("#c03020", "#c89c20"),
        ("#e07a2c", "#e8c854"),
        ("#ff9018", "#ffd464"),
        ("#ffc040", "#fff0b0"),
        ("#d8a888", "#ecd0a8"),
        ("#7850a0", "#4474b4"),
    ],
    power=3.0,
)
_EXPIRED = colour_table(
    [
        ("#000000", "#30203c"),
        ("#404040", "#544658"),
        ("#808080", "#949080"),
        ("#c0c0c0", "#d8cca0"),
        ("#ffffff", "#f6ecc0"),
        ("#4c7a34", "#767640"),
        ("#4080c0", "#648e98"),
        ("#24457c", "#484c74"),
        ("#b03030", "#bc5c50"),
        ("#e0c050", "#e4c070"),
        ("#d8a888", "#dcb090"),
    ]
)


def slide_film(photo: Pixels) -> Pixels:
    """A colour table: deep blacks, strong reds and blues, warm whites."""
    return through_table(photo, _SLIDE)


def infrared_film(photo: Pixels) -> Pixels:
    """A colour table: foliage crimson, reds yellow, skies teal, as false-colour infrared film shows them."""
    return through_table(photo, _INFRARED)


def expired_film(photo: Pixels) -> Pixels:
    """A colour table: purple lifted blacks, yellow whites, tired greens."""
    return through_table(photo, _EXPIRED)


def film_halation(photo: Pixels) -> Pixels:
    """Highlights bleed red and orange into what is around them, as light that the film's back reflects."""
    light = to_linear(from_pixels(photo))
    brightness = luma(light)
    strong = ramp(brightness, 0.25, 0.7)
    near = np.maximum(blur(strong, 2.5, 7) - 0.6 * strong, 0)
    far = np.maximum(blur(strong, 6.0, 18) - 0.4 * strong, 0)
    glow = near[..., None] * np.array([0.75, 0.1, 0.01], np.float32)
    glow = glow + far[..., None] * np.array([0.45, 0.1, 0.02], np.float32)
    return to_pixels(from_linear(1 - (1 - light) * np.exp(-glow)))


def ink_drawing(photo: Pixels) -> Pixels:
    """Blue-black ink on cream paper.

    Source:
        Winnemöller et al. (2012), doi:10.1016/j.cag.2012.03.004: extended difference of Gaussians.
    """
    grey = luma(from_pixels(photo))
    fine, coarse = blur(grey, 0.9, 4), blur(grey, 1.6 * 0.9, 6)
    sharpened = fine + 14 * (fine - coarse)
    white = np.where(sharpened >= 0.5, 1, 1 + np.tanh(4 * (sharpened - 0.5))).astype(np.float32)
    return to_pixels(_between(colour("#181c30"), colour("#f6efdf"), white))


def local_tone_mapping(photo: Pixels) -> Pixels:
    """Coarse contrast shrinks by 0.6 and fine contrast nearly doubles, about a fixed middle grey.

    Source:
        He et al. (2010), doi:10.1007/978-3-642-15549-9_1: the guided filter that splits coarse from fine.
    """
    light = to_linear(from_pixels(photo))
    brightness = np.maximum(luma(light), 2e-3)
    stops = np.log2(brightness)
    coarse = _guided(stops, radius=8, epsilon=0.5)
    middle = np.float32(np.log2(0.3))
    mapped = middle + 0.6 * (coarse - middle) + 1.9 * (stops - coarse)
    ratio = np.power(np.maximum(light, 1e-4) / brightness[..., None], 0.85)
    return to_pixels(from_linear(ratio * np.exp2(mapped)[..., None]))


def disc_bokeh(photo: Pixels) -> Pixels:
    """Out of focus: every point becomes a disc, and highlights shine as bright discs."""
    light = to_linear(from_pixels(photo))
    scene = light / (1.06 - light)  # what was clipped at white was brighter
    y, x = np.mgrid[-5:6, -5:6]
    disc = np.clip(5.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    spread = cv2.filter2D(scene, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
    return to_pixels(from_linear(1.06 * spread / (1 + spread)))


def wet_wash(photo: Pixels) -> Pixels:
    """Flat washes of thin, clear colour; pigment gathers in darker rims at their edges."""
    flat = photo
    for side in (5, 5):
        flat = cv2.medianBlur(flat, side)
    wash = from_pixels(flat)
    grey = luma(wash)[..., None]
    wash = np.clip(grey + 1.35 * (wash - grey), 0, 1)
    wash = 1 - 0.78 * (1 - wash) ** 1.15  # paper shines through
    soft = blur(luma(from_pixels(flat)), 1.0, 3)
    slope = np.hypot(cv2.Sobel(soft, -1, 1, 0, ksize=3), cv2.Sobel(soft, -1, 0, 1, ksize=3))
    rim = ramp(slope, 0.05, 0.7)[..., None]
    return to_pixels(wash ** (1 + 0.75 * rim))


def cross_hatch(photo: Pixels) -> Pixels:
    """Sepia lines on a grid of four pixels: level lines in middle tones, crossed diagonals in dark ones.

    The pattern is the same in a mirror.
    """
    dark = 1 - blur(luma(from_pixels(photo)), 0.8, 3)
    height, width = dark.shape
    y, x = np.mgrid[:height, :width] % 4
    level, crossed = y == 1, (x == y) | (x + y == 3)
    ink = np.maximum(level * ramp(dark, 0.1, 0.5), crossed * ramp(dark, 0.4, 0.8))
    ink = np.maximum(ink, 0.9 * ramp(dark, 0.7, 1.0))
    return to_pixels(_between(colour("#f4ead6"), colour("#3c2415"), 0.92 * ink.astype(np.float32)))


def two_ink_print(photo: Pixels) -> Pixels:
    """Pink and teal spot inks on paper, printed over each other; the pink plate sits two pixels low."""
    soft = blur(from_pixels(photo), 0.7, 2)
    teal_plate = ramp(1 - (0.8 * soft[..., 0] + 0.2 * soft[..., 1]), 0.12, 0.9)
    pink_plate = ramp(1 - (0.6 * soft[..., 1] + 0.4 * soft[..., 2]), 0.12, 0.9)
    pink_plate = np.concatenate([pink_plate[2:0:-1], pink_plate[:-2]])  # two rows down
    sheet = colour("#f4eede") * np.ones_like(soft)
    for plate, ink in ((pink_plate, "#ff4fa8"), (teal_plate, "#067a86")):
        sheet = sheet * (1 - 0.95 * plate[..., None] * (1 - colour(ink)))
    return to_pixels(sheet)


def blue_for_warm(photo: Pixels) -> Pixels:
    """Reds, oranges and yellows become blues and violets of the same lightness; other colours stay."""
    lab = cv2.cvtColor(from_pixels(photo), cv2.COLOR_RGB2Lab)
    hue = np.arctan2(lab[..., 2], lab[..., 1])
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    distance = np.abs((hue - np.deg2rad(55) + np.pi) % (2 * np.pi) - np.pi)  # hues are a circle
    warm = 1 - ramp(distance, np.deg2rad(40), np.deg2rad(62))
    warm = warm * ramp(chroma, 2, 12)
    turn = np.deg2rad(215)
    turned = np.stack([chroma * np.cos(hue + turn), chroma * np.sin(hue + turn)], axis=-1)
    lab[..., 1:] = _between(lab[..., 1:], turned, warm)
    return to_pixels(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))


def indigo_glow(photo: Pixels) -> Pixels:
    """A soft glow over the whole photo, and shadows that fade to indigo."""
    image = from_pixels(photo)
    veil = blur(image, 5.5, 17)
    glowing = 1 - (1 - image) * (1 - 0.55 * veil**1.3)
    shadow = (1 - ramp(luma(image), 0.0, 0.55)) * 0.75
    return to_pixels(_between(glowing, colour("#3a2f7a") + 0.35 * glowing, shadow))


def _between(start: Floats, end: Floats, share: Floats) -> Floats:
    """From `start` to `end` by a share per pixel, shape `(height, width)`."""
    return start + share[..., None] * (end - start)


def _guided(values: Floats, *, radius: int, epsilon: float) -> Floats:
    """The guided filter of an image by itself: smooth where it varies less than `epsilon`, and edges stay."""
    side = 2 * radius + 1

    def mean(image: Floats) -> Floats:
        return cv2.blur(image, (side, side), borderType=cv2.BORDER_REFLECT_101)

    average = mean(values)
    variance = np.maximum(mean(values * values) - average * average, 0)
    slope = variance / (variance + epsilon)
    return mean(slope) * values + mean(average * (1 - slope))
