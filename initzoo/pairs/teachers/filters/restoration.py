"""Restoration: what spoils the input, so that the photo itself is the target.

An operator is named by the repair that it teaches, and its function is what happened to the photo.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from initzoo.pairs.opencv import opencv
from initzoo.pairs.teachers.filters.imaging import (
    blur,
    curve,
    gradient_map,
    grey,
    grow,
    look_up,
    mix,
    pixels,
    power,
    rgb,
    saturate,
    screen,
    soft_levels,
    three,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter

Noise = np.random.Generator


def denoise(image: ndarray, noise: Noise, *, level: float) -> ndarray:
    return image + level * noise.standard_normal(image.shape, dtype=np.float32)


def remove_grain(image: ndarray, noise: Noise, *, level: float) -> ndarray:
    grains = blur(noise.standard_normal(image.shape[:2], dtype=np.float32), 0.003)
    return image + level * 2.2 * grains[..., None]


def remove_colour_noise(image: ndarray, noise: Noise, *, level: float) -> ndarray:
    specks = noise.standard_normal(image.shape, dtype=np.float32)
    return image + level * (specks - grey(specks)[..., None])


def deblur(image: ndarray, noise: Noise, *, radius: float) -> ndarray:
    return blur(image, radius)


def deblur_motion(image: ndarray, noise: Noise, *, length: float) -> ndarray:
    size = 2 * max(1, round(pixels(image, length) / 2)) + 1
    return opencv().blur(image, (size, 1))


_CHROMA = {"quarter": 0x221111, "full": 0x111111}
"""Sampling factors of JPEG's colour planes: at half the resolution in both directions, or all of it."""


def remove_jpeg(image: ndarray, noise: Noise, *, quality: float, chroma: str) -> ndarray:
    cv2 = opencv()
    pixel_bytes = cv2.cvtColor((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, round(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _CHROMA[chroma]]
    _, coded = cv2.imencode(".jpg", pixel_bytes, options)
    return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.float32) / 255


def colourise(image: ndarray, noise: Noise, *, contrast: float) -> ndarray:
    return three((grey(image) - 0.5) * contrast + 0.5)


def colourise_sepia(image: ndarray, noise: Noise, *, strength: float) -> ndarray:
    return mix(image, gradient_map(grey(image), ("#1a0f07", "#70502e", "#c9a26c", "#f6e7c8")), strength)


def brighten_dark(image: ndarray, noise: Noise, *, darkness: float) -> ndarray:
    return power(image, 1 + 0.6 * darkness) * (1 - 0.75 * darkness)


def fix_overexposure(image: ndarray, noise: Noise, *, stops: float) -> ndarray:
    return 1 - np.exp(-image * 2.0**stops * 1.35)


def add_contrast(image: ndarray, noise: Noise, *, loss: float) -> ndarray:
    return (image - 0.5) * (1 - loss) + 0.5


def soften_contrast(image: ndarray, noise: Noise, *, excess: float) -> ndarray:
    grid = np.linspace(-1, 1, 1024, dtype=np.float32)
    return look_up(image, (0.5 + 0.5 * np.tanh(grid * excess) / np.tanh(excess)).astype(np.float32))


def dehaze(image: ndarray, noise: Noise, *, density: float) -> ndarray:
    return mix(image, rgb("#d9dfe4"), density)


def remove_cast(image: ndarray, noise: Noise, *, colour: str, strength: float) -> ndarray:
    gains = rgb(colour) / rgb(colour).mean()
    return image * (1 - strength + strength * np.minimum(gains, 1.6))


def descreen(image: ndarray, noise: Noise, *, period: float, strength: float) -> ndarray:
    rows, columns = np.indices(image.shape[:2], dtype=np.float32)
    wave = 2 * np.pi / max(2.2, pixels(image, period))
    dots = np.cos((rows + columns) * 0.7071 * wave) * np.cos((rows - columns) * 0.7071 * wave)
    printed = 1 / (1 + np.exp(-8 * (image - 0.5 + 0.32 * dots[..., None])))
    return mix(image, printed, strength)


def undither(image: ndarray, noise: Noise, *, levels: float) -> ndarray:
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.float32)
    tiles = np.tile((bayer + 0.5) / 16, (image.shape[0] // 4 + 1, image.shape[1] // 4 + 1))
    screen_values = tiles[: image.shape[0], : image.shape[1], None]
    return np.floor(image * (levels - 1) + screen_values) / (levels - 1)


def remove_banding(image: ndarray, noise: Noise, *, levels: float) -> ndarray:
    return soft_levels(image, levels, 0.02)


def restore_fade(image: ndarray, noise: Noise, *, strength: float) -> ndarray:
    aged = saturate(image, 0.45) * rgb("#e8cfae") * 0.62 + 0.27
    return mix(image, aged, strength)


def upscale(image: ndarray, noise: Noise, *, factor: float, method: str) -> ndarray:
    cv2 = opencv()
    size = (image.shape[1], image.shape[0])
    small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
    enlarging = cv2.INTER_CUBIC if method == "cubic" else cv2.INTER_LINEAR
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), size, interpolation=enlarging)


def unpixelate(image: ndarray, noise: Noise, *, factor: float) -> ndarray:
    cv2 = opencv()
    size = (image.shape[1], image.shape[0])
    small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
    return cv2.resize(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA), size, interpolation=cv2.INTER_NEAREST
    )


def despeckle(image: ndarray, noise: Noise, *, density: float) -> ndarray:
    draws = noise.random(image.shape[:2], dtype=np.float32)[..., None]
    return np.where(draws < density / 2, 0, np.where(draws > 1 - density / 2, 1, image)).astype(np.float32)


def remove_dust(image: ndarray, noise: Noise, *, density: float) -> ndarray:
    draws = noise.random(image.shape[:2], dtype=np.float32)
    spots = grow(np.where(draws < density / 20, np.float32(1), np.float32(0)), 0.006, dark=False)
    return mix(image, rgb("#f4f0e6"), blur(spots, 0.003))


def remove_scratches(image: ndarray, noise: Noise, *, density: float) -> ndarray:
    columns = np.less(noise.random(image.shape[1]), density / 10).astype(np.float32)
    breaks = noise.random((image.shape[0] // 32 + 1, image.shape[1])) < 0.7
    held = np.repeat(breaks, 32, axis=0)[: image.shape[0]]
    return mix(image, rgb("#efece4"), (columns[None] * held * 0.85).astype(np.float32))


def remove_scan_lines(image: ndarray, noise: Noise, *, strength: float) -> ndarray:
    rows = np.ones(image.shape[0], dtype=np.float32)
    rows[1::2] = 1 - strength
    return image * rows[:, None, None]


def deinterlace(image: ndarray, noise: Noise, *, distance: float) -> ndarray:
    combed = image.copy()
    combed[1::2] = np.roll(image, max(1, round(pixels(image, distance))), axis=1)[1::2]
    return combed


def demosaic(image: ndarray, noise: Noise, *, strength: float) -> ndarray:
    mask = np.zeros_like(image)
    mask[0::2, 0::2, 0] = mask[0::2, 1::2, 1] = mask[1::2, 0::2, 1] = mask[1::2, 1::2, 2] = 1
    return image * (1 - strength + strength * mask)


def develop_negative(image: ndarray, noise: Noise, *, mask: float) -> ndarray:
    film = mix(rgb("#ffffff"), rgb("#e8935a"), np.full((1, 1), mask, dtype=np.float32))
    return (1 - image) * film


def calm_colours(image: ndarray, noise: Noise, *, factor: float) -> ndarray:
    return saturate(image, factor)


def revive_colours(image: ndarray, noise: Noise, *, loss: float) -> ndarray:
    return saturate(image, 1 - loss)


def remove_halos(image: ndarray, noise: Noise, *, amount: float) -> ndarray:
    return image + amount * (image - blur(image, 0.008))


def join_colours(image: ndarray, noise: Noise, *, distance: float) -> ndarray:
    places = max(1, round(pixels(image, distance)))
    split = image.copy()
    split[..., 0] = np.roll(image[..., 0], places, axis=1)
    split[..., 2] = np.roll(image[..., 2], -places, axis=1)
    return split


def remove_glare(image: ndarray, noise: Noise, *, strength: float) -> ndarray:
    return screen(image, strength * (0.25 + 0.5 * blur(image, 0.018)))


def lift_backlight(image: ndarray, noise: Noise, *, strength: float) -> ndarray:
    return mix(image, curve(image, ((0, 0), (0.3, 0.06), (0.6, 0.3), (0.9, 0.86), (1, 1))), strength)


def restore_night(image: ndarray, noise: Noise, *, level: float) -> ndarray:
    dim = image * 0.3 * rgb("#dfe6ff")
    return dim + level * noise.standard_normal(image.shape, dtype=np.float32)


def descreen_lines(image: ndarray, noise: Noise, *, period: float, strength: float) -> ndarray:
    rows = np.arange(image.shape[0], dtype=np.float32)
    wave = np.cos(2 * np.pi * rows / max(2.5, pixels(image, period)))
    return image + strength * 0.5 * wave[:, None, None]


_OPERATOR_TABLE = (
    ("denoise", denoise, {"level": Parameter(0.1, 0.02, 0.35)}, "Takes out random noise."),
    ("remove_grain", remove_grain, {"level": Parameter(0.1, 0.02, 0.3)}, "Takes out film grain."),
    ("remove_colour_noise", remove_colour_noise, {"level": Parameter(0.15, 0.03, 0.4)},
     "Takes out coloured noise."),
    ("deblur", deblur, {"radius": Parameter(0.006, 0.002, 0.014)}, "Makes an out-of-focus photo sharp."),
    ("deblur_motion", deblur_motion, {"length": Parameter(0.025, 0.01, 0.06)}, "Takes out camera shake."),
    ("remove_jpeg", remove_jpeg,
     {"quality": Parameter(12.0, 3, 60), "chroma": Parameter("quarter", choices=tuple(_CHROMA))},
     "Takes out JPEG blocks."),
    ("colourise", colourise, {"contrast": Parameter(1.0, 0.4, 1.2)}, "Gives colours to black and white."),
    ("colourise_sepia", colourise_sepia, {"strength": Parameter(1.0, 0.5, 1)},
     "Gives colours to a sepia print."),
    ("brighten_dark", brighten_dark, {"darkness": Parameter(0.7, 0.2, 1)},
     "Brightens an underexposed photo."),
    ("fix_overexposure", fix_overexposure, {"stops": Parameter(1.0, 0.3, 2)},
     "Darkens an overexposed photo."),
    ("add_contrast", add_contrast, {"loss": Parameter(0.6, 0.2, 0.85)},
     "Gives a flat photo its contrast back."),
    ("soften_contrast", soften_contrast, {"excess": Parameter(2.0, 1, 3)}, "Softens a harsh photo."),
    ("dehaze", dehaze, {"density": Parameter(0.55, 0.2, 0.85)}, "Takes out haze."),
    ("remove_cast", remove_cast, {"colour": Parameter("#ffb066"), "strength": Parameter(0.8)},
     "Takes out a cast."),
    ("descreen", descreen, {"period": Parameter(0.016, 0.01, 0.024), "strength": Parameter(0.8)},
     "Takes out print dots."),
    ("descreen_lines", descreen_lines, {"period": Parameter(0.016, 0.01, 0.03), "strength": Parameter(0.5)},
     "Takes out dark stripes."),
    ("undither", undither, {"levels": Parameter(2.0, 2, 6)}, "Smooths dithered colours."),
    ("remove_banding", remove_banding, {"levels": Parameter(5.0, 3, 12)}, "Smooths colour steps."),
    ("restore_fade", restore_fade, {"strength": Parameter(1.0, 0.3, 1)}, "Restores faded prints."),
    ("upscale", upscale,
     {"factor": Parameter(2.0, 1.5, 5), "method": Parameter("cubic", choices=("cubic", "linear"))},
     "Sharpens an enlarged small photo."),
    ("unpixelate", unpixelate, {"factor": Parameter(3.0, 2, 6)}, "Smooths and sharpens coarse pixels."),
    ("despeckle", despeckle, {"density": Parameter(0.08, 0.01, 0.4)}, "Takes out black and white specks."),
    ("remove_dust", remove_dust, {"density": Parameter(0.1, 0.02, 0.4)}, "Takes out dust spots."),
    ("remove_scratches", remove_scratches, {"density": Parameter(0.5, 0.1, 2)}, "Takes out film scratches."),
    ("remove_scan_lines", remove_scan_lines, {"strength": Parameter(0.5, 0.2, 1)}, "Takes out screen lines."),
    ("deinterlace", deinterlace, {"distance": Parameter(0.012, 0.004, 0.03)},
     "Joins the fields of old video."),
    ("demosaic", demosaic, {"strength": Parameter(1.0, 0.5, 1)}, "Fills a sensor's colour mosaic."),
    ("develop_negative", develop_negative, {"mask": Parameter(0.0)}, "Turns a film negative into a photo."),
    ("calm_colours", calm_colours, {"factor": Parameter(2.0, 1.3, 4)}, "Calms oversaturated colours."),
    ("revive_colours", revive_colours, {"loss": Parameter(0.65, 0.3, 0.9)}, "Revives dull colours."),
    ("remove_halos", remove_halos, {"amount": Parameter(2.0, 0.5, 5)}, "Undoes oversharpening."),
    ("join_colours", join_colours, {"distance": Parameter(0.01, 0.004, 0.03)}, "Takes out colour fringes."),
    ("remove_glare", remove_glare, {"strength": Parameter(0.7, 0.3, 1)}, "Takes out stray light."),
    ("lift_backlight", lift_backlight, {"strength": Parameter(1.0, 0.3, 1)},
     "Opens shadows against the light."),
    ("restore_night", restore_night, {"level": Parameter(0.04, 0.01, 0.12)},
     "Cleans a dark, noisy night photo."),
)  # fmt: skip

OPERATORS = tuple(
    Operator(name, "restoration", apply, parameters, summary)
    for name, apply, parameters, summary in _OPERATOR_TABLE
)
