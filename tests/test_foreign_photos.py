"""Whatever writes a photo, it is read as the plain sRGB PNG of the same photo."""

from __future__ import annotations

import io
import struct
import sys
import warnings
from pathlib import Path

import foreign_photos
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from initzoo.demo.uploads import read_photo
from initzoo.errors import InvalidImage
from initzoo.files.images import list_images, losses, read_image, read_picture, write_image, write_picture
from initzoo.files.images.colour import ADOBE_RGB, matrix_profile, srgb_profile
from initzoo.files.images.notes import turn
from initzoo.pairs.photos import fit_short_side, load_photos


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(((one.astype(float) - other) ** 2).mean(), 1e-9)))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    pixels = next(photo.pixels for photo in load_photos(split="score") if photo.name == "coffee")
    return fit_short_side(pixels, 128)


@pytest.mark.parametrize("kind", foreign_photos.WRITERS)
def test_a_photo_is_read_as_its_plain_png(kind: str, photo: np.ndarray, tmp_path: Path) -> None:
    if "HEIC" in kind:
        pytest.importorskip("pillow_heif")
    path = tmp_path / "photo"  # without an ending: the content decides
    foreign_photos.WRITERS[kind](photo, path)
    plain = photo
    if kind.startswith("grey"):
        plain = np.repeat(foreign_photos.grey_of(photo)[:, :, None], 3, axis=2)
    write_image(tmp_path / "plain.png", plain, force=False)
    expected = read_image(tmp_path / "plain.png")
    assert np.array_equal(expected, plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, picture = read_image(path), read_picture(path)
    assert pixels.shape == expected.shape
    assert psnr(pixels, expected) > 45
    assert np.array_equal(picture.on_white, pixels)


def test_there_are_more_than_twenty_kinds() -> None:
    assert len(foreign_photos.WRITERS) > 20


# Colour.


def test_adobe_rgb_has_the_colorants_of_its_specification() -> None:
    """The figures of Adobe RGB (1998) 2005-05, annex B, for white D50."""
    for tag, xyz in (
        (b"rXYZ", (0.60974, 0.31111, 0.01947)),
        (b"gXYZ", (0.20528, 0.62567, 0.06087)),
        (b"bXYZ", (0.14919, 0.06322, 0.74457)),
    ):
        start = struct.unpack_from(">I", ADOBE_RGB, ADOBE_RGB.index(tag) + 4)[0] + 8
        assert np.allclose(np.array(struct.unpack_from(">3i", ADOBE_RGB, start)) / 65536, xyz, atol=2e-4)


@pytest.mark.parametrize(
    "profile",
    [
        srgb_profile(),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"",
        b"no profile at all" * 9,
        ADOBE_RGB[:300],
        ADOBE_RGB[:40] + bytes(len(ADOBE_RGB) - 40),
        foreign_photos.grey_profile(1.8),
        foreign_photos.cmyk_profile(),
    ],
    ids=["ours", "sRGB of littlecms", "empty", "words", "cut off", "zeros", "of grey", "of inks"],
)
def test_srgb_and_profiles_that_do_not_fit_change_no_pixel(
    profile: bytes, photo: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(read_image(tmp_path / "a.png"), photo)


def test_a_colour_profile_in_a_grey_picture_is_applied(photo: np.ndarray, tmp_path: Path) -> None:
    grey = foreign_photos.grey_of(photo)
    linear = matrix_profile(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), (0.3127, 0.3290), 1.0)
    Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=linear)
    middle = read_image(tmp_path / "a.png")[grey == 128]
    assert np.abs(middle.astype(int) - 188).max() <= 1  # half of the light


def test_palettes_and_transparency_are_converted_too(photo: np.ndarray, tmp_path: Path) -> None:
    wide = foreign_photos.in_profile(photo, ADOBE_RGB).quantize(128)
    wide.save(tmp_path / "palette.png", icc_profile=ADOBE_RGB)
    plain = wide.convert("RGB")
    plain.save(tmp_path / "plain.png", icc_profile=ADOBE_RGB)
    assert np.array_equal(read_image(tmp_path / "palette.png"), read_image(tmp_path / "plain.png"))
    plain.putalpha(100)
    plain.save(tmp_path / "clear.png", icc_profile=ADOBE_RGB)
    clear = read_picture(tmp_path / "clear.png")
    assert np.array_equal(clear.colours, read_image(tmp_path / "plain.png"))
    assert clear.alpha is not None
    assert (clear.alpha == 100).all()


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", struct.pack(">I", 45455))],
        [(b"gAMA", struct.pack(">I", 55556)), (b"sRGB", b"\0")],
        [(b"gAMA", bytes(4))],
        [(b"cHRM", bytes(32))],
        [(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))],
    ],
    ids=["usual", "sRGB says otherwise", "zero", "zeros", "sRGB in numbers"],
)  # fmt: skip
def test_usual_and_damaged_gamma_changes_no_pixel(chunks: list, photo: np.ndarray, tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(photo).save(data, "PNG")
    (tmp_path / "a.png").write_bytes(foreign_photos.with_chunks(data.getvalue(), *chunks))
    assert np.array_equal(read_image(tmp_path / "a.png"), photo)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".jfif", ".webp", ".avif", ".tif"])
def test_what_is_written_has_the_profile_of_srgb(ending: str, photo: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / f"a{ending}", photo, force=False)
    with Image.open(tmp_path / f"a{ending}") as image:
        assert image.info["icc_profile"] == srgb_profile()
    ours = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert "sRGB" in ImageCms.getProfileDescription(ours)


# Integer greys.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 511, 1023], np.uint16), [0, 127, 255]),
        (np.array([0, 8192, 16383], np.uint16), [0, 128, 255]),
        (np.array([0, 200, 255], np.uint16), [0, 200, 255]),
        (np.array([0, 32896, 65535], np.uint16), [0, 128, 255]),
        (np.array([-2000, 0, 2000], np.int16), [0, 128, 255]),
        (np.array([0, 1_000_000, 2_000_000], np.int32), [0, 128, 255]),
        (np.array([0, 2**31, 2**32 - 1], np.uint32), [0, 128, 255]),
        (np.array([-5, -5, -5], np.int16), [0, 0, 0]),
    ],
    ids=["10 bits", "14 bits", "8 bits", "16 bits", "signed", "32 bits", "unsigned 32 bits", "one value"],
)
def test_greys_without_a_stated_range(values: np.ndarray, expected: list[int], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.repeat(np.tile(values, 3)[None], 9, axis=0))
    assert read_image(tmp_path / "a.tif")[0, :3, 0].tolist() == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"extratags": [(281, "H", 1, 4000, True)]}, [0, 64, 128]),
        ({"extratags": [(340, "H", 1, 1000, True), (341, "H", 1, 3000, True)]}, [0, 0, 128]),
        ({"imagej": True, "metadata": {"min": 0.0, "max": 8000.0}}, [0, 32, 64]),
        ({"extratags": [(281, "H", 1, 100, True)]}, [0, 62, 125]),
    ],
    ids=["MaxSampleValue", "SMinSampleValue", "ImageJ", "a false statement"],
)
def test_greys_with_a_stated_range(options: dict, expected: list[int], tmp_path: Path) -> None:
    row = np.tile(np.array([0, 1000, 2000], np.uint16), 3)
    tifffile.imwrite(tmp_path / "a.tif", np.repeat(row[None], 9, axis=0), **options)
    assert read_image(tmp_path / "a.tif")[0, :3, 0].tolist() == expected


def test_significant_bits_of_a_png_that_is_spread_change_nothing(tmp_path: Path) -> None:
    grey = np.tile(np.arange(16, dtype=np.uint16) << 12, (9, 1))
    data = io.BytesIO()
    Image.fromarray(grey).save(data, "PNG")
    (tmp_path / "a.png").write_bytes(foreign_photos.with_chunks(data.getvalue(), (b"sBIT", b"\x04")))
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [
        (v * 255 + 32767) // 65535 for v in grey[0].tolist()
    ]


def test_floating_point_is_scaled_by_its_stated_range_only(tmp_path: Path) -> None:
    values = np.tile(np.array([0, 0.5, np.nan, 2], np.float32), (9, 3))
    tifffile.imwrite(tmp_path / "bare.tif", values)
    with pytest.raises(InvalidImage, match="floating-point numbers, and it does not say which"):
        read_image(tmp_path / "bare.tif")
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(341, "f", 1, 2.0, True)])
    assert read_image(tmp_path / "a.tif")[0, :4, 0].tolist() == [0, 64, 0, 255]


# EXIF.


def exif_of(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of entries as (tag, type, count, value), whatever they say."""
    block, data = b"II*\0" + struct.pack("<IH", 8, len(entries)), b""
    first = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        if len(value) <= 4:
            block += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        else:
            block += struct.pack("<HHII", tag, kind, count, first + len(data))
            data += value
    return b"Exif\0\0" + block + bytes(4) + data


TURNED = (0x112, 3, 1, b"\6\0")
STRANGE_TAGS = {
    "rational -1/0": (0x11A, 10, 1, struct.pack("<ii", -1, 0)),
    "rational 0/0": (0x829A, 5, 1, bytes(8)),
    "text for a number": (0x128, 2, 6, b"inches"),
    "negative width": (0x100, 9, 1, struct.pack("<i", -7)),
    "unknown type": (0x9999, 77, 3, b"abc"),
    "pointer to nowhere": (0x8769, 4, 1, struct.pack("<I", 999_999)),
    "pointer to itself": (0x8769, 4, 1, struct.pack("<I", 8)),
    "text that is not UTF-8": (0x10F, 2, 6, b"caf\xe9\xff\0"),
    "number for a text": (0x110, 3, 1, b"\7\0"),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("tag", STRANGE_TAGS)
def test_strange_tags_neither_stop_nor_follow_a_photo(
    tag: str, kind: str, photo: np.ndarray, tmp_path: Path
) -> None:
    block = exif_of(TURNED, STRANGE_TAGS[tag])
    Image.fromarray(np.rot90(photo).copy()).save(tmp_path / "a", kind, exif=block, quality=100, lossless=True)
    picture = read_picture(tmp_path / "a")
    assert psnr(picture.colours, photo) > 35
    write_picture(tmp_path / "b.jpg", picture, force=False)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif().get(0x112, 1) == 1
    assert psnr(read_image(tmp_path / "b.jpg"), photo) > 35


@pytest.mark.parametrize("value", [0, 9, 4711])
def test_an_orientation_that_does_not_exist_turns_nothing(
    value: int, photo: np.ndarray, tmp_path: Path
) -> None:
    block = exif_of((0x112, 3, 1, struct.pack("<H", value)))
    Image.fromarray(photo).save(tmp_path / "a.png", exif=block)
    assert np.array_equal(read_image(tmp_path / "a.png"), photo)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_applied_once(orientation: int, kind: str, tmp_path: Path) -> None:
    corner = np.full((24, 32, 3), 255, np.uint8)
    corner[:8, :16] = (200, 0, 0)  # at the upper left, lying
    upright = Image.fromarray(corner)
    back = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x112] = orientation
    turn(upright, back).save(tmp_path / "a", kind, exif=exif, quality=100, lossless=True)
    assert np.abs(read_image(tmp_path / "a").astype(int) - corner).mean() < 8


# What `apply` keeps.


def test_a_picture_keeps_camera_dates_resolution_and_alpha(photo: np.ndarray, tmp_path: Path) -> None:
    image = Image.fromarray(np.rot90(photo).copy())
    image.putalpha(Image.fromarray(np.rot90(foreign_photos.grey_of(photo)).copy()))
    image.save(tmp_path / "a.png", exif=foreign_photos.exif_block(6), dpi=(300, 300))
    picture = read_picture(tmp_path / "a.png")
    assert picture.not_kept == ("maker notes",)
    for ending in (".png", ".webp", ".tif", ".avif"):
        out = tmp_path / f"b{ending}"
        write_picture(out, picture, force=False)
        again = read_picture(out)
        assert again.alpha is not None
        assert np.abs(again.alpha.astype(int) - foreign_photos.grey_of(photo)).mean() < 2
        with Image.open(out) as written:
            exif = written.getexif()
            assert (exif[0x10F], exif.get(0x112, 1)) == ("Camera Works", 1)
            assert exif.get_ifd(0x8769)[0x9003] == "2026:05:01 10:00:00"
            assert 0x927C not in exif.get_ifd(0x8769)
    assert losses(tmp_path / "b.png", picture) == ["maker notes"]
    assert losses(tmp_path / "b.webp", picture) == ["maker notes", "the resolution"]
    assert losses(tmp_path / "b.bmp", picture) == ["transparency (laid on white)", "maker notes", "EXIF"]
    for ending in (".png", ".jpg", ".tif", ".bmp"):
        write_picture(tmp_path / f"c{ending}", picture, force=False)
        with Image.open(tmp_path / f"c{ending}") as written:
            assert np.allclose([float(v) for v in written.info["dpi"]], 300, atol=0.5)


def test_a_picture_names_all_that_it_does_not_keep(photo: np.ndarray, tmp_path: Path) -> None:
    frames = [Image.fromarray(photo), Image.fromarray(255 - photo)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True, xmp=b"<x/>")
    picture = read_picture(tmp_path / "a.webp")
    assert picture.not_kept == ("XMP", "1 further frame")
    assert np.array_equal(picture.colours, photo)
    Image.fromarray(photo).save(tmp_path / "a.jpg", comment=b"seen", icc_profile=b"broken" * 30)
    assert read_picture(tmp_path / "a.jpg").not_kept == ("the comment", "a colour profile that does not fit")


# Formats.


def test_the_page_reads_the_same_photos(photo: np.ndarray, tmp_path: Path) -> None:
    for kind in ("phone, JPEG in Display P3, turned", "browser, AVIF in Display P3", "scanner, JPEG 2000"):
        foreign_photos.WRITERS[kind](photo, tmp_path / "upload")
        visitor = read_photo(tmp_path / "upload")
        assert visitor.full_size == (photo.shape[1], photo.shape[0])
        assert psnr(visitor.pixels, photo) > 45


def test_heic_without_its_package_names_it(
    photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(3) + b"\x18ftypheic" + bytes(60))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        InvalidImage, match=r'needs pillow-heif\. Install it with: pip install "initzoo\[heif\]"'
    ):
        read_image(tmp_path / "a.jpg")
    assert list_images(tmp_path).left_out == {"a.jpg": "a HEIC photo, which needs pillow-heif"}


@pytest.mark.parametrize("kind", ["QOI", "PCX", "SGI", "DDS", "ICO", "PPM", "TGA", "BMP", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("ending", [".jpg", ".foreign", ""])
def test_the_content_counts_and_not_the_ending(kind: str, ending: str, tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), (200, 120, 40), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{ending}", kind)
    assert np.abs(read_image(tmp_path / f"a{ending}").astype(int) - pixels).max() < 9
    assert [path.name for path in list_images(tmp_path).images] == [f"a{ending}"]


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "TGA", "QOI", "PCX", "SGI", "DDS", "ICO"])
def test_damaged_files_of_any_format_never_give_another_error(kind: str, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "damaged"
    data = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(data, kind)
    for _ in range(30):
        damaged = bytearray(data.getvalue())
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).dtype == np.uint8
        except InvalidImage as error:
            assert "\n" not in str(error)


# Pointers of Git LFS.


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a"])
def test_pointers_of_git_lfs_among_photos_name_git_lfs(name: str, tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    for read in (read_image, read_picture):
        with pytest.raises(
            InvalidImage, match="it is a pointer of Git LFS and not the file itself; .*git lfs"
        ):
            read(tmp_path / name)
    write_image(tmp_path / "sound.png", photo, force=False)
    assert "git lfs pull" in list_images(tmp_path).left_out[name]
    with pytest.warns(UserWarning, match=rf"{name} \(a pointer of Git LFS .*git lfs pull\)"):
        assert len(load_photos(tmp_path, split=None)) == 1


def test_a_folder_of_pointers_alone_names_git_lfs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    with pytest.warns(UserWarning, match="git lfs"), pytest.raises(InvalidImage, match="git lfs pull"):
        load_photos(tmp_path, split="train")
