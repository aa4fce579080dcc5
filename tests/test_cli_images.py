"""Commands that read and write images: what they keep, what they leave out, and where they cannot write."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path

import foreign_photos
import numpy as np
import pytest
from cli_running import fail, files, run, succeed
from click.testing import CliRunner
from PIL import Image
from zoo_fixtures import kept_zoo

from initzoo.cli.main import main
from initzoo.files.images import read_image, read_picture, write_image
from initzoo.files.images.colour import srgb_profile
from initzoo.pairs.photos import fit_short_side, load_photos

__all__ = ["kept_zoo"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, kept_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("INITZOO_ZOO", str(kept_zoo))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return fit_short_side(load_photos(split="score")[1].pixels, 64)


def test_apply_gives_the_same_picture_whatever_the_file(photo: np.ndarray) -> None:
    write_image(Path("plain.png"), photo, force=False)
    succeed("apply", "sepia", "plain.png", "-o", "expected.png", "--zoo", "starter")
    expected = read_image(Path("expected.png")).astype(float)
    for number, kind in enumerate(
        (
            "phone, JPEG in Display P3, turned",
            "camera, TIFF of 16 bits in Adobe RGB",
            "browser, AVIF in Display P3",
            "screenshot, PNG in Display P3 with alpha",
        )
    ):
        foreign_photos.WRITERS[kind](photo, Path("photo"))
        succeed("apply", "sepia", "photo", "-o", f"{number}.png", "--zoo", "starter")
        error = ((read_image(Path(f"{number}.png")) - expected) ** 2).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 45, kind


def test_apply_keeps_what_it_can_and_says_the_rest(photo: np.ndarray) -> None:
    image = Image.fromarray(np.rot90(photo).copy())
    alpha = np.rot90(foreign_photos.grey_of(photo)).copy()
    image.putalpha(Image.fromarray(alpha))
    image.save("photo.png", exif=foreign_photos.exif_block(6), dpi=(300, 300))
    result = run("apply", "night", "photo.png", "-o", "out.png")
    assert (result.exit_code, result.stderr) == (0, "out.png does not keep: maker notes\n")
    height, width = photo.shape[:2]
    assert result.stdout == f"night  photo.png  {width}x{height}  -> out.png\n"
    with Image.open("out.png") as written:
        assert written.info["icc_profile"] == srgb_profile()
        assert written.getexif()[0x110] == "Model 5"
        assert written.getexif()[0x112] == 1
        assert round(float(written.info["dpi"][0])) == 300
    picture = read_picture(Path("out.png"))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, foreign_photos.grey_of(photo))
    write_image(Path("plain.png"), photo, force=False)
    succeed("apply", "night", "plain.png", "-o", "plain-out.png")
    assert np.array_equal(picture.colours, read_image(Path("plain-out.png")))
    result = run("apply", "night", "photo.png", "-o", "out.jpg")
    assert result.stderr == "out.jpg does not keep: transparency (laid on white), maker notes\n"


def test_apply_takes_more_pixels_than_training_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("initzoo.files.images.reading.MAX_PIXELS", 1000)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 600)  # Pillow refuses twice as many
    write_image(Path("photo.png"), np.zeros((40, 50, 3), np.uint8), force=False)
    succeed("apply", "night", "photo.png", "-o", "out.png")
    assert Image.MAX_IMAGE_PIXELS == 600
    monkeypatch.setattr("initzoo.files.images.reading._free_memory", lambda: 20_000)
    assert "photo.png is 50 x 40 pixels, which takes 0.0 GB of memory" in fail(
        "apply", "night", "photo.png", "-o", "other.png"
    )


ENDINGS = [".gif", ".ppm", ".pgm", ".heic", ".psd", ".svg", ""]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("command", ["apply", "grid", "finetune"])
def test_an_ending_that_cannot_be_written_is_refused_before_any_work(command: str, ending: str) -> None:
    arguments = {
        "apply": ("apply", "night", "no-such-photo.png", "-o", f"out{ending}"),
        "grid": ("grid", "night", "--photo", "no-such-photo.png", "-o", f"out{ending}"),
        "finetune": (
            *("finetune", "night", "--pairs", "no-such-folder", "-o", "a.safetensors"),
            *("--sheet", f"out{ending}"),
        ),
    }[command]
    assert f"cannot write out{ending}: its name must end with .png or .jpg" in fail(*arguments)


@pytest.mark.parametrize("letter", ["a", "é", "画", "😀"])
def test_names_of_any_script_may_have_255_bytes(letter: str, photo: np.ndarray) -> None:
    write_image(Path("photo.png"), photo, force=False)
    n_letters = (255 - len(".png")) // len(letter.encode())
    succeed("apply", "night", "photo.png", "-o", f"{letter * n_letters}.png")
    assert read_image(Path(f"{letter * n_letters}.png")).shape == photo.shape
    line = fail("apply", "night", "photo.png", "-o", f"{letter * (n_letters + 1)}.png")
    assert "bytes, at most 255 are possible. Choose a shorter one" in line


def test_a_full_disk_is_one_line_that_says_so(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(Path("photo.png"), photo, force=False)

    def fail_to_replace(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fail_to_delete(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", fail_to_replace)
        broken.setattr("pathlib.Path.unlink", fail_to_delete)
        result = run("apply", "night", "photo.png", "-o", "out.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot write out.png: No space left on device" in result.stderr
    assert not Path("out.png").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes no such names")
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_names_that_cannot_be_shown_end_in_no_traceback(encoding: str, photo: np.ndarray) -> None:
    write_image(Path("p.png"), photo, force=False)
    names = [os.fsdecode(b"caf\xe9.png"), unicodedata.normalize("NFD", "é") + "画.png"]
    for name in names:
        os.link("p.png", name)
    for words, code in (
        (["apply", "night", names[0], "-o", "1.png"], 0),
        (["apply", names[0], names[1], "-o", "2.png"], 1),  # the first is no init
        (["pull", "night", "-o", os.fsdecode(b"k\xe9.safetensors"), "--json"], 0),
        (["pull", "night", "-o", "画é.safetensors", "--json"], 0),
        ([names[0]], 2),
    ):
        result = CliRunner(charset=encoding).invoke(main, words)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        assert result.exit_code == code, words
        if "--json" in words:
            assert json.loads(result.stdout_bytes.decode(encoding))
    assert Path("1.png").exists()
    assert len([name for name in files() if name.endswith(".safetensors")]) == 2
