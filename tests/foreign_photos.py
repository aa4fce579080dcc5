"""Photos as phones, cameras, scanners, microscopes and browsers write them, made of one plain photo.

`WRITERS` has a function for each kind, which writes the photo, uint8 RGB, to a path. Kinds whose names begin
with "grey" write its grey version.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms

from initzoo.files.images.colour import ADOBE_RGB, DISPLAY_P3

__all__ = [
    "WRITERS",
    "cmyk_profile",
    "exif_block",
    "grey_of",
    "grey_profile",
    "icc",
    "in_profile",
    "with_chunks",
]

Pixels = np.ndarray

D50 = (0.9642, 1.0, 0.8249)


def icc(space: bytes, tags: dict[bytes, bytes], *, kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """A profile of version 2 with these tags."""
    name = b"test\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in D50),
        **tags,
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">III", 128 + len(table) + len(body), 0, 0x02100000) + kind + space + pcs
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += b"".join(struct.pack(">i", round(v * 65536)) for v in D50)
    return head.ljust(128, b"\0") + table + body


def grey_profile(gamma: float) -> bytes:
    return icc(b"GRAY", {b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))})


def cmyk_profile() -> bytes:
    """Inks that take light away from the primaries of sRGB: cyan its red, black all of it."""
    light = np.linspace(1, 0, 256)
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    inks = ((1 - light) * 65535).round().astype(">u2")
    columns = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    grid = []
    for corner in np.ndindex(2, 2, 2, 2):
        grid.append(columns @ (1 - np.array(corner[:3])) * (1 - corner[3]))
    values = (np.array(grid) * 32768).round().astype(">u2")
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0])
    table += b"".join(struct.pack(">i", round(v * 65536)) for v in np.eye(3).ravel())
    table += struct.pack(">HH", 256, 2) + inks.tobytes() * 4 + values.tobytes()
    table += np.array([0, 65535] * 3, ">u2").tobytes()
    return icc(b"CMYK", {b"A2B0": table, b"A2B1": table}, kind=b"prtr")


def in_profile(photo: Pixels, profile: bytes) -> Image.Image:
    """The same colours in the numbers of another profile."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(
        Image.fromarray(photo), ImageCms.createProfile("sRGB"), target, renderingIntent=1
    )


def grey_of(photo: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(photo).convert("L"))


def exif_block(orientation: int = 1, *, adobe: bool = False) -> bytes:
    """Notes of a camera: with maker notes, and numbers that are no numbers."""
    exif = Image.Exif()
    exif.update({0x10F: "Camera Works", 0x110: "Model 5", 0x112: orientation, 0x132: "2026:05:01 10:00:00"})
    inner = exif.get_ifd(0x8769)
    inner.update(
        {0x829A: 0.008, 0x829D: 2.8, 0x8827: 100, 0x927C: b"maker\0notes", 0x9003: "2026:05:01 10:00:00"}
    )
    if adobe:
        inner[0xA001] = 65535
        inner[0xA005] = {1: "R03", 2: b"0100"}
    return exif.tobytes()


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file with further chunks after its header."""
    new = b""
    for kind, data in chunks:
        new += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + new + png[33:]


def turned(photo: Pixels, orientation: int) -> Pixels:
    """The photo as a camera stores it that says `orientation`."""
    return {1: photo, 3: photo[::-1, ::-1], 6: np.rot90(photo), 8: np.rot90(photo, -1)}[orientation].copy()


def _save(kind: str, **options: Any) -> Callable[[Pixels, Path], None]:
    return lambda photo, path: Image.fromarray(photo).save(path, kind, **options)


_BEST = {"quality": 100, "subsampling": 0}


def _phone_jpeg(photo: Pixels, path: Path) -> None:
    wide = in_profile(turned(photo, 6), DISPLAY_P3)
    wide.save(path, "JPEG", icc_profile=DISPLAY_P3, exif=exif_block(6), **_BEST)


def _phone_heic(photo: Pixels, path: Path) -> None:
    import pillow_heif

    heif = pillow_heif.from_pillow(in_profile(photo, DISPLAY_P3))
    heif.info["icc_profile"] = DISPLAY_P3
    heif.save(path, quality=-1, chroma=444, matrix_coefficients=0)


def _phone_mpo(photo: Pixels, path: Path) -> None:
    second = Image.fromarray(photo).resize((64, 48))
    image = Image.fromarray(turned(photo, 3))
    image.save(path, "MPO", save_all=True, append_images=[second], exif=exif_block(3), **_BEST)


def _camera_adobe_jpeg(photo: Pixels, path: Path) -> None:
    in_profile(photo, ADOBE_RGB).save(path, "JPEG", icc_profile=ADOBE_RGB, exif=exif_block(1), **_BEST)


def _camera_adobe_by_exif(photo: Pixels, path: Path) -> None:
    wide = in_profile(turned(photo, 8), ADOBE_RGB)
    wide.save(path, "JPEG", exif=exif_block(8, adobe=True), **_BEST)


def _camera_tiff_16(photo: Pixels, path: Path) -> None:
    wide = np.asarray(in_profile(photo, ADOBE_RGB)).astype(np.uint16) * 257
    tifffile.imwrite(path, wide, photometric="rgb", iccprofile=ADOBE_RGB)


def _raw_converter_12_bits(photo: Pixels, path: Path) -> None:
    tifffile.imwrite(path, (photo.astype(int) * 4095 // 255).astype(np.uint16), photometric="rgb")


def _editor_png_16(photo: Pixels, path: Path) -> None:
    path.write_bytes(cv2.imencode(".png", photo[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes())


def _scanner_cmyk(photo: Pixels, path: Path) -> None:
    inks = 255 - photo.astype(int)
    black = np.zeros_like(inks[:, :, :1])
    image = Image.frombytes("CMYK", photo.shape[1::-1], np.dstack([inks, black]).astype(np.uint8).tobytes())
    image.save(path, "TIFF", icc_profile=cmyk_profile(), dpi=(600, 600), compression="tiff_lzw")


def _browser_avif(photo: Pixels, path: Path) -> None:
    wide = in_profile(photo, DISPLAY_P3)
    wide.save(path, "AVIF", icc_profile=DISPLAY_P3, quality=100, subsampling="4:4:4")


def _old_mac_png(photo: Pixels, path: Path) -> None:
    light = np.where(photo / 255 <= 0.04045, photo / 255 / 12.92, ((photo / 255 + 0.055) / 1.055) ** 2.4)
    data = io.BytesIO()
    Image.fromarray((light ** (1 / 1.8) * 255).round().astype(np.uint8)).save(data, "PNG")
    path.write_bytes(with_chunks(data.getvalue(), (b"gAMA", struct.pack(">I", 55556))))


def _screenshot_png(photo: Pixels, path: Path) -> None:
    image = in_profile(photo, DISPLAY_P3)
    image.putalpha(255)
    image.save(path, "PNG", icc_profile=DISPLAY_P3, dpi=(144, 144))


def _grey(
    values: Callable[[Pixels], Pixels], kind: str = "TIFF", **options: Any
) -> Callable[[Pixels, Path], None]:
    return lambda photo, path: Image.fromarray(values(grey_of(photo).astype(np.int64))).save(
        path, kind, **options
    )


def _grey_scanner_gamma(photo: Pixels, path: Path) -> None:
    grey = grey_of(photo) / 255
    light = np.where(grey <= 0.04045, grey / 12.92, ((grey + 0.055) / 1.055) ** 2.4)
    image = Image.fromarray((light ** (1 / 1.8) * 255).round().astype(np.uint8))
    image.save(path, "JPEG", icc_profile=grey_profile(1.8), quality=100)


def _grey_microscope_10_bits_png(photo: Pixels, path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray((grey_of(photo).astype(int) * 1023 // 255).astype(np.uint16)).save(data, "PNG")
    path.write_bytes(with_chunks(data.getvalue(), (b"sBIT", b"\x0a")))


def _grey_tomograph(photo: Pixels, path: Path) -> None:
    values = (grey_of(photo).astype(np.int32) * 4000 // 255 - 1000).astype(np.int16)
    tifffile.imwrite(path, values, extratags=[(340, "h", 1, -1000, True), (341, "h", 1, 3000, True)])


def _grey_float(photo: Pixels, path: Path) -> None:
    values = (grey_of(photo) / 255).astype(np.float32)
    tifffile.imwrite(path, values, extratags=[(340, "f", 1, 0.0, True), (341, "f", 1, 1.0, True)])


WRITERS: dict[str, Callable[[Pixels, Path], None]] = {
    "phone, JPEG in Display P3, turned": _phone_jpeg,
    "phone, HEIC in Display P3": _phone_heic,
    "phone, MPO with a second picture, upside down": _phone_mpo,
    "phone, plain JPEG": _save("JPEG", **_BEST),
    "camera, JPEG in Adobe RGB": _camera_adobe_jpeg,
    "camera, JPEG in Adobe RGB by EXIF alone, turned": _camera_adobe_by_exif,
    "camera, TIFF of 16 bits in Adobe RGB": _camera_tiff_16,
    "raw converter, 12 bits in a TIFF of 16": _raw_converter_12_bits,
    "editor, PNG of 16 bits": _editor_png_16,
    "scanner, CMYK TIFF with a profile": _scanner_cmyk,
    "scanner, JPEG 2000": _save("JPEG2000"),
    "browser, AVIF in Display P3": _browser_avif,
    "browser, WebP": _save("WEBP", lossless=True),
    "browser, JFIF with a broken profile": _save("JPEG", icc_profile=b"no profile" * 20, **_BEST),
    "old Mac, PNG of gamma 1.8": _old_mac_png,
    "screenshot, PNG in Display P3 with alpha": _screenshot_png,
    "game, TGA": _save("TGA"),
    "grey scanner, 16 bits": _grey(lambda grey: (grey * 257).astype(np.uint16), dpi=(300, 300)),
    "grey scanner, JPEG with a profile of gamma 1.8": _grey_scanner_gamma,
    "grey microscope, 12 bits in a TIFF of 16": _grey(lambda grey: (grey * 4095 // 255).astype(np.uint16)),
    "grey microscope, 10 bits in a PNG of 16": _grey_microscope_10_bits_png,
    "grey microscope, 14 bits in 32": _grey(lambda grey: (grey * 16383 // 255).astype(np.int32)),
    "grey tomograph, signed": _grey_tomograph,
    "grey simulation, floating-point with its range": _grey_float,
}
