"""Images of every odd kind arrive as 8-bit RGB or are refused in one line."""

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from initzoo.errors import InvalidImage, OutputError
from initzoo.files.images import encode_image, read_image, read_picture, write_image
from initzoo.files.images.levels import to_levels
from initzoo.files.images.picture import Picture

RAMP = np.linspace(0, 255, 16 * 12, dtype=np.uint8).reshape(12, 16)


def colours() -> np.ndarray:
    return np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def one_line_error(path: Path) -> str:
    with pytest.raises(InvalidImage) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_write_then_read_gives_the_same_pixels(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"image{suffix}", colours(), force=False)
    assert np.array_equal(read_image(tmp_path / f"image{suffix}"), colours())


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_lossy_formats_stay_near(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"image{suffix}", colours(), force=False)
    assert np.abs(read_image(tmp_path / f"image{suffix}").astype(int) - colours()).mean() < 16


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(RAMP[:, :, None], 3, axis=2))


def test_black_and_white_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(RAMP).convert("1").save(tmp_path / "one.png")
    assert set(np.unique(read_image(tmp_path / "one.png"))) == {0, 255}


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    wide = RAMP.astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide).save(tmp_path / "wide.tif")
    expected = np.repeat(RAMP[:, :, None], 3, axis=2)
    assert np.array_equal(read_image(tmp_path / "wide.png"), expected)
    assert np.array_equal(read_image(tmp_path / "wide.tif"), expected)


def test_sixteen_bit_colour_keeps_its_range(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    wide = (colours().astype(">u2") * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", 16, 12, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "wide.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert np.array_equal(read_image(tmp_path / "wide.png"), colours())


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4, :, 3] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    pixels = read_image(tmp_path / "clear.png")
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[7, 0].tolist() == [255, 255, 255]


def test_palette_with_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.eye(8, dtype=np.uint8), 2, axis=1))
    palette = image.convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert set(map(tuple, read_image(tmp_path / "palette.png").reshape(-1, 3))) == {
        (255, 255, 255),
        (0, 0, 255),
    }


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cmyk.tif")
    assert read_image(tmp_path / "cmyk.tif")[0, 0].tolist() == [0, 255, 255]


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(colours())
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(colours(), -1))


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "moving.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an image"),
        (b"just some words, no image", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not an image"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "odd.png").write_bytes(content)
    assert words in one_line_error(tmp_path / "odd.png")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in one_line_error(tmp_path / "nowhere.png")
    assert "directory" in one_line_error(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_off_images_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, kind)
    whole = data.getvalue()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
    one_line_error(tmp_path / "cut")


def test_damaged_images_never_give_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"):
        data = io.BytesIO()
        Image.fromarray(colours()).save(data, kind)
        for _ in range(60):
            damaged = bytearray(data.getvalue())
            for place in rng.integers(0, len(damaged), 4):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                assert read_image(path).dtype == np.uint8
            except InvalidImage as error:
                assert "\n" not in str(error)


def test_one_pixel_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert "1 x 1 pixels; expected at least 8" in one_line_error(tmp_path / "dot.png")


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_huge_images_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    data = io.BytesIO()
    Image.new("1", (8, 8)).save(data, "PNG")
    header = struct.pack(">II", side, side) + data.getvalue()[24:29]
    patched = (
        data.getvalue()[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data.getvalue()[33:]
    )
    (tmp_path / "huge.png").write_bytes(patched)
    assert "at most 50 million" in one_line_error(tmp_path / "huge.png")


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    assert "floating-point" in one_line_error(tmp_path / "float.tif")


def test_write_image_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already.*--force"):
        write_image(path, colours(), force=False)
    assert path.read_text() == "mine"
    write_image(path, colours(), force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["image.png"]


def test_write_image_names_the_known_endings(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"unknown ending '\.xcf'\. Use one of \.png"):
        write_image(tmp_path / "image.xcf", colours(), force=False)


def test_write_image_asks_for_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder .*nowhere"):
        write_image(tmp_path / "nowhere" / "image.png", colours(), force=False)


def test_encode_image_refuses_other_arrays() -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(height, width, 3\)"):
        encode_image(Path("image.png"), np.zeros((8, 8), np.uint8))


def test_encode_image_says_when_a_format_is_too_small() -> None:
    with pytest.raises(OutputError, match="WEBP does not hold an image of 20000 x 8"):
        encode_image(Path("image.webp"), np.zeros((8, 20000, 3), np.uint8))


@pytest.mark.parametrize(
    "read",
    [
        lambda values: to_levels(values),
        lambda values: to_levels(values, bits=16),
        lambda values: Picture(values[..., :3].astype(np.uint8), values[..., 3].astype(np.uint8)).on_white,
    ],
    ids=["12 bits", "16 bits", "transparent"],
)
def test_conversions_take_a_few_bytes_a_pixel(read: Callable[[np.ndarray], np.ndarray]) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (3000, 2000, 4)).astype(np.uint16)
    tracemalloc.start()
    try:
        whole = read(values)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * values.size  # bytes
    finally:
        tracemalloc.stop()
    assert np.array_equal(whole[1500:1502], read(np.concatenate([values[1500:1502], values[-1:]]))[:2])


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_frames_of_a_file_with_very_many_are_not_all_counted(tmp_path: Path, kind: str) -> None:
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, kind)
    file = bytearray(data.getvalue())
    if kind == "GIF":
        file = file[:-1] + b"\x2c\0\0\0\0\x08\0\x08\0\0\x02\x02\x4c\x01\0" * 400_000 + b";"
    else:
        (first,) = struct.unpack("<I", file[4:8])
        page = file[first : first + 2 + 12 * struct.unpack("<H", file[first : first + 2])[0]]
        place = len(file)
        struct.pack_into("<I", file, 4, place)
        for number in range(1, 30_000):
            file += page + struct.pack("<I", place + number * (len(page) + 4))
        file += page + bytes(4)
    (tmp_path / "many").write_bytes(file)
    began = time.process_time()
    assert read_picture(tmp_path / "many").not_kept == ("16 or more further frames",)
    assert time.process_time() - began < 1


def test_few_frames_are_counted_exactly(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 90, 180)]
    for name in ("a.gif", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert read_picture(tmp_path / name).not_kept == ("2 further frames",)
