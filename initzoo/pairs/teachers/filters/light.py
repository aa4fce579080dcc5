"""Light and weather: the same scene at another hour or in other air."""

from __future__ import annotations

from numpy import ndarray

from initzoo.pairs.teachers.filters.imaging import (
    blur,
    curve,
    gradient_map,
    grey,
    mix,
    power,
    rgb,
    saturate,
    screen,
    soft_step,
)
from initzoo.pairs.teachers.filters.operators import Operator, Parameter


def _toned(image: ndarray, colours: tuple[str, ...], share: float) -> ndarray:
    """A share of the photo's brightness in other colours."""
    return mix(image, gradient_map(grey(image), colours), share)


def _bloom(image: ndarray, amount: float, *, start: float = 0.5) -> ndarray:
    """Light that spills out of everything brighter than `start`."""
    lights = image * soft_step(grey(image), start, start + 0.35)[..., None]
    return screen(image, amount * blur(lights, 0.016))


def night(image: ndarray, *, strength: float) -> ndarray:
    dim = curve(image, ((0, 0), (0.4, 0.17), (0.75, 0.45), (1, 0.72)))
    dark = _toned(saturate(dim, 0.55), ("#01030c", "#22386a", "#b9c8ee"), 0.6)
    return mix(image, dark, strength)


def moonlight(image: ndarray, *, strength: float) -> ndarray:
    dim = power(image, 1.5) * 0.85
    silver = _toned(saturate(dim, 0.2), ("#050a18", "#3c5274", "#a9bfd6", "#f4faff"), 0.75)
    return mix(image, _bloom(silver, 0.4), strength)


def dusk(image: ndarray, *, strength: float) -> ndarray:
    dim = power(image, 1.25) * 0.85
    return mix(image, _toned(dim, ("#120b2e", "#533a7b", "#c9738a", "#ffd9a8"), 0.6), strength)


def blue_hour(image: ndarray, *, strength: float) -> ndarray:
    dim = power(image, 1.2) * 0.85
    return mix(
        image, _toned(saturate(dim, 0.7), ("#04102b", "#1d4b8f", "#7ba6dc", "#e6efff"), 0.65), strength
    )


def sunrise(image: ndarray, *, strength: float) -> ndarray:
    lit = screen(image * rgb("#ffd9c9"), rgb("#3a1420"))
    return mix(image, _bloom(_toned(lit, ("#3a1f3f", "#d0708a", "#ffc49b", "#fff4dc"), 0.4), 0.5), strength)


def sunset(image: ndarray, *, strength: float) -> ndarray:
    lit = power(image, 1.1) * rgb("#ffb066")
    return mix(image, _toned(lit, ("#1a0a1f", "#93302f", "#f4792b", "#ffe08a"), 0.5), strength)


def golden_hour(image: ndarray, *, strength: float) -> ndarray:
    lit = power(image, 0.9) * rgb("#ffdd9a") * 1.08
    return mix(image, _bloom(_toned(lit, ("#2a1504", "#b07328", "#ffd98a", "#fff7d6"), 0.35), 0.5), strength)


def fog(image: ndarray, *, strength: float) -> ndarray:
    veiled = mix(saturate(blur(image, 0.006), 0.5), rgb("#d5dade"), 0.68)
    return mix(image, veiled, strength)


def mist(image: ndarray, *, strength: float) -> ndarray:
    soft = screen(saturate(image, 0.75), 0.55 * blur(image, 0.018))
    return mix(image, mix(soft, rgb("#dfe9ec"), 0.3), strength)


def haze(image: ndarray, *, strength: float) -> ndarray:
    return mix(image, mix(saturate(image, 0.8), rgb("#e6cfa8"), 0.55), strength)


def smog(image: ndarray, *, strength: float) -> ndarray:
    return mix(image, mix(saturate(image, 0.45) * 0.8, rgb("#a58f5f"), 0.55), strength)


def overcast(image: ndarray, *, strength: float) -> ndarray:
    flat = (saturate(image, 0.5) - 0.5) * 0.65 + 0.44
    return mix(image, flat * rgb("#e4ecf5"), strength)


def storm(image: ndarray, *, strength: float) -> ndarray:
    dark = curve(image, ((0, 0), (0.3, 0.12), (0.7, 0.42), (1, 0.82)))
    sharp = dark + 0.9 * (grey(dark) - blur(grey(dark), 0.016))[..., None]
    return mix(image, _toned(saturate(sharp, 0.45), ("#05090d", "#43535e", "#d6e0e2"), 0.6), strength)


def underwater(image: ndarray, *, strength: float) -> ndarray:
    sunk = blur(image, 0.004) * rgb("#3fb6c4")
    return mix(image, mix(sunk, rgb("#0a6f8a"), 0.35), strength)


def deep_sea(image: ndarray, *, strength: float) -> ndarray:
    dim = power(blur(image, 0.005), 1.1) * rgb("#2a8fd0")
    return mix(image, _bloom(mix(dim, rgb("#02162e"), 0.22), 0.6, start=0.2), strength)


def candlelight(image: ndarray, *, strength: float) -> ndarray:
    dim = power(image, 1.5) * rgb("#ffa64d")
    return mix(image, _bloom(_toned(dim, ("#0d0301", "#6e2c08", "#e88b2d", "#ffe9ae"), 0.55), 0.5), strength)


def firelight(image: ndarray, *, strength: float) -> ndarray:
    dim = power(image, 1.6) * rgb("#ff6a2e")
    return mix(image, _toned(dim, ("#0a0000", "#7a1405", "#f2541b", "#ffd35c"), 0.65), strength)


def neon_city(image: ndarray, *, strength: float) -> ndarray:
    dark = power(image, 1.35)
    lit = _toned(saturate(dark, 1.2), ("#07021f", "#4a1090", "#e0219a", "#38e8ff"), 0.68)
    return mix(image, _bloom(lit, 0.6), strength)


def snow_light(image: ndarray, *, strength: float) -> ndarray:
    bright = screen(saturate(image, 0.45), 0.42 * rgb("#cfe2ff"))
    return mix(image, _bloom(bright * rgb("#eef5ff"), 0.4, start=0.55), strength)


def aurora(image: ndarray, *, strength: float) -> ndarray:
    dim = power(image, 1.4) * 0.9
    return mix(image, _bloom(_toned(dim, ("#03061c", "#1f3f6b", "#21c48d", "#d7ffd0"), 0.7), 0.45), strength)


def desert_light(image: ndarray, *, strength: float) -> ndarray:
    lit = curve(image, ((0, 0.08), (0.5, 0.62), (1, 1))) * rgb("#ffe2b0")
    return mix(image, _toned(saturate(lit, 0.8), ("#5a3216", "#c98a4e", "#fff2cc"), 0.45), strength)


def darkroom(image: ndarray, *, strength: float) -> ndarray:
    return mix(image, _toned(power(image, 1.2), ("#080000", "#8a0a0a", "#ff4a3d"), 0.92), strength)


def fluorescent(image: ndarray, *, strength: float) -> ndarray:
    lit = curve(image, ((0, 0.04), (0.5, 0.56), (1, 1))) * rgb("#dcffd2")
    return mix(image, saturate(lit, 0.75), strength)


def street_lamp(image: ndarray, *, strength: float) -> ndarray:
    dim = curve(image, ((0, 0), (0.45, 0.2), (1, 0.9)))
    return mix(image, _bloom(_toned(dim, ("#020308", "#5a3d10", "#e6a733", "#fff0b5"), 0.8), 0.4), strength)


def full_sun(image: ndarray, *, strength: float) -> ndarray:
    lit = curve(image, ((0, 0), (0.2, 0.2), (0.5, 0.68), (0.8, 0.95), (1, 1))) * rgb("#fff6dd")
    return mix(image, saturate(lit, 1.3), strength)


def _light(name: str, apply: object, summary: str) -> Operator:
    assert callable(apply)
    return Operator(name, "light", apply, {"strength": Parameter(1.0, 0, 1.5)}, summary)


OPERATORS = (
    _light("night", night, "A dark blue night."),
    _light("moonlight", moonlight, "Silver light of the moon."),
    _light("dusk", dusk, "Violet shade and rosy light after sunset."),
    _light("blue_hour", blue_hour, "The blue of an evening sky."),
    _light("sunrise", sunrise, "Pink first light."),
    _light("sunset", sunset, "Red and orange last light."),
    _light("golden_hour", golden_hour, "Low golden sun."),
    _light("fog", fog, "Thick grey fog."),
    _light("mist", mist, "A thin bright mist."),
    _light("haze", haze, "Dusty summer haze."),
    _light("smog", smog, "Brown city smog."),
    _light("overcast", overcast, "A grey sky's flat light."),
    _light("storm", storm, "Dark and hard before a storm."),
    _light("underwater", underwater, "Seen through sea water."),
    _light("deep_sea", deep_sea, "Far below the surface."),
    _light("candlelight", candlelight, "By the light of candles."),
    _light("firelight", firelight, "By an open fire."),
    _light("neon_city", neon_city, "Neon signs at night."),
    _light("snow_light", snow_light, "White winter light."),
    _light("aurora", aurora, "Under northern lights."),
    _light("desert_light", desert_light, "Sand and hot sun."),
    _light("darkroom", darkroom, "A darkroom's red lamp."),
    _light("fluorescent", fluorescent, "Greenish tube light."),
    _light("street_lamp", street_lamp, "A sodium street lamp."),
    _light("full_sun", full_sun, "Hard noon sun."),
)
