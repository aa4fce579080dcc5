"""The edits that no training saw are local, the same everywhere in a photo, and strong enough to learn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from edits import EDITS, REACH, SCORE_PHOTOS, TRAIN_PHOTOS, edit_photos, make_edit_pairs
from edits import __main__ as command
from edits.colour import blur, from_pixels, luma
from PIL import Image

from initzoo.errors import InvalidImage
from initzoo.pairs import Photo, fit_short_side, load_photos, open_pairs

ROOT = Path(__file__).parent.parent

each_edit = pytest.mark.parametrize("name", EDITS)


class FixedField:
    """Stands for a random generator whose noise belongs to places of the photo, so that both can be moved."""

    def __init__(self, field: np.ndarray) -> None:
        self.field = field

    def standard_normal(self, shape: tuple[int, int, int], dtype: Any) -> np.ndarray:
        return np.ascontiguousarray(self.field[..., : shape[2]], dtype=dtype).reshape(shape)


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    """Colour photos with dark and bright parts, shorter side 128 pixels."""
    chosen = ("astronaut", "china", "coffee", "flower")
    shown = [photo for photo in load_photos(split=None) if photo.name in chosen]
    return [
        Photo(photo.name, fit_short_side(photo.pixels, 128), photo.split, photo.licence, photo.source)
        for photo in shown
    ]


@pytest.fixture(scope="module")
def photo(photos: list[Photo]) -> np.ndarray:
    """A photo of dark, bright and coloured parts, 128 x 160 pixels."""
    pixels = next(photo.pixels for photo in photos if photo.name == "coffee")
    return np.ascontiguousarray(pixels[:128, :160])


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((128, 160, 3))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(((one.astype(float) - other) ** 2).mean() / 255**2))


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of how much is going on where, whatever the colours and tones."""
    slopes = []
    for image in (one, other):
        grey = blur(luma(from_pixels(image)), 1.5, 5)
        slope = np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))
        slopes.append(blur(slope, 2.0, 6).ravel())
    return float(np.corrcoef(slopes)[0, 1])


def test_there_are_twelve_looks_and_four_restorations_with_three_wordings_each() -> None:
    kinds = [edit.kind for edit in EDITS.values()]
    assert (kinds.count("look"), kinds.count("restoration"), len(kinds)) == (12, 4, 16)
    wordings = [words for edit in EDITS.values() for words in edit.words]
    assert len(set(wordings)) == 48
    assert all(wordings)


def test_no_photo_is_both_trained_and_scored_on() -> None:
    assert (len(TRAIN_PHOTOS), len(SCORE_PHOTOS)) == (10, 12)
    assert len({*TRAIN_PHOTOS, *SCORE_PHOTOS}) == 22


@each_edit
def test_an_edit_gives_a_pair_of_the_photos_size_and_leaves_the_photo_alone(
    name: str, photo: np.ndarray
) -> None:
    before = photo.copy()
    given, wanted = EDITS[name](photo, np.random.default_rng(0))
    for image in (given, wanted):
        assert (image.shape, image.dtype) == (photo.shape, np.uint8)
    clean = given if EDITS[name].kind == "look" else wanted
    np.testing.assert_array_equal(clean, before)
    np.testing.assert_array_equal(photo, before)


@each_edit
def test_pairs_are_the_same_whenever_they_are_made(name: str, photos: list[Photo]) -> None:
    first, second = photos[:2]
    once = make_edit_pairs(name, [first, second])
    again = make_edit_pairs(name, [second, first])[::-1]  # what was made before does not matter
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.given, other.given)
        np.testing.assert_array_equal(one.wanted, other.wanted)


@each_edit
def test_a_moved_photo_gives_the_moved_result(name: str, photo: np.ndarray, field: np.ndarray) -> None:
    down, right = 3 * EDITS[name].grid, 5 * EDITS[name].grid
    whole = EDITS[name](photo, FixedField(field))
    moved = EDITS[name](np.ascontiguousarray(photo[down:, right:]), FixedField(field[down:, right:]))
    inner = slice(REACH, -REACH), slice(REACH, -REACH)  # borders are mirrored, each at its own place
    for one, other in zip(whole, moved, strict=True):
        difference = np.abs(one[down:, right:][inner].astype(int) - other[inner])
        assert difference.max() <= 1  # a sum may be rounded in another order


@each_edit
def test_a_mirrored_photo_gives_the_mirrored_result(name: str, photo: np.ndarray, field: np.ndarray) -> None:
    """Fine-tuning mirrors half of its crops."""
    straight = EDITS[name](photo, FixedField(field))
    mirrored = EDITS[name](np.ascontiguousarray(photo[:, ::-1]), FixedField(field[:, ::-1]))
    for one, other in zip(straight, mirrored, strict=True):
        assert np.abs(one[:, ::-1].astype(int) - other).max() <= 1


@each_edit
def test_a_pixel_has_no_influence_beyond_the_reach(name: str, photo: np.ndarray, field: np.ndarray) -> None:
    """All that is farther away than the reach from a small window is replaced at once."""
    inner = slice(56, 72), slice(72, 88)
    kept = slice(56 - REACH, 72 + REACH), slice(72 - REACH, 88 + REACH)
    other = 255 - photo[::-1]
    other[kept] = photo[kept]
    for one, two in zip(
        EDITS[name](photo, FixedField(field)), EDITS[name](other, FixedField(field)), strict=True
    ):
        np.testing.assert_array_equal(one[inner], two[inner])


@each_edit
def test_one_changed_pixel_changes_nothing_far_away(name: str, photo: np.ndarray, field: np.ndarray) -> None:
    changed = photo.copy()
    changed[64, 80] = 255 - changed[64, 80]
    y, x = np.mgrid[:128, :160]
    far = np.maximum(abs(y - 64), abs(x - 80)) > REACH
    results = list(
        zip(EDITS[name](photo, FixedField(field)), EDITS[name](changed, FixedField(field)), strict=True)
    )
    assert all(np.any(one != two) for one, two in results)
    for one, two in results:
        np.testing.assert_array_equal(one[far], two[far])


@each_edit
def test_an_edit_changes_the_photos_and_keeps_them_recognisable(name: str, photos: list[Photo]) -> None:
    pairs = make_edit_pairs(name, photos)
    assert np.mean([psnr(pair.given, pair.wanted) for pair in pairs]) < 30
    assert np.mean([likeness(pair.given, pair.wanted) for pair in pairs]) > 0.5


def test_no_two_edits_are_alike(photo: np.ndarray) -> None:
    changed = {}
    for name, edit in EDITS.items():
        given, wanted = edit(photo, np.random.default_rng(0))
        changed[name] = wanted if edit.kind == "look" else given
    names = list(changed)
    alike = [
        (one, other)
        for number, one in enumerate(names)
        for other in names[:number]
        if psnr(changed[one], changed[other]) > 27
    ]
    assert alike == []


def test_a_folder_without_the_photos_is_refused_by_name(photo_folder: Path) -> None:
    with pytest.raises(InvalidImage, match="no photo 'gcompris-erase-kitten' .* 21 others of 22"):
        edit_photos(photo_folder)


@pytest.fixture
def score_folder(photos: list[Photo], tmp_path: Path) -> Path:
    """A folder whose photos have the names of the score photos."""
    folder = tmp_path / "photos" / "score"
    folder.mkdir(parents=True)
    for number, name in enumerate((*TRAIN_PHOTOS, *SCORE_PHOTOS)):
        pixels = photos[number % len(photos)].pixels
        Image.fromarray(pixels[number:, number:][:72, :72]).save(folder / f"{name}.png")
    return folder.parent


def test_the_command_writes_pairs_that_can_be_trained_on(
    score_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = {name: EDITS[name] for name in ("cross-hatch", "remove-row-banding")}
    monkeypatch.setattr(command, "EDITS", two)
    monkeypatch.setattr("edits.TEACHING_SIDE", 72)
    out = tmp_path / "out"
    assert command.main(["--photos", str(score_folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"2 edits -> {out}\n"
    assert {path.name for path in out.iterdir()} == {*two, "edits.json", "sheet.png"}
    described = json.loads((out / "edits.json").read_text())
    assert described["cross-hatch"] == {"words": list(two["cross-hatch"].words), "kind": "look", "grid": 4}
    pairs = open_pairs(out / "cross-hatch" / "train", validation=out / "cross-hatch" / "score")
    assert (len(pairs.train), len(pairs.validation)) == (10, 12)
    assert {pair.name for pair in pairs.train} == set(TRAIN_PHOTOS)
    train, _ = edit_photos(score_folder)
    expected = {pair.name: pair.wanted for pair in make_edit_pairs("cross-hatch", train)}
    for pair in pairs.train:
        np.testing.assert_array_equal(pair.wanted, expected[pair.name])


def test_the_command_refuses_a_full_folder_in_one_line(
    score_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--photos", str(score_folder), "--out", str(score_folder)]) == 1
    error = capsys.readouterr().err
    assert str(score_folder) in error
    assert error.count("\n") == 1


def test_the_command_runs_from_the_repository() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.edits", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split("\n")[0][:32]) == (0, "usage: python -m tests.edits [-h")
