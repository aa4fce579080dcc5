"""The store of pairs: each is made once, by whichever process, and damage is noticed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from initzoo.errors import RefusedPairs, TeacherError
from initzoo.files.images import read_image
from initzoo.pairs.folders import list_pairs
from initzoo.pairs.store import CACHE_BYTES, PairStore, default_store, store_folder
from initzoo.pairs.taught import example_pair, make_pairs, scoring_pairs, teach
from initzoo.pairs.teachers import FilterTeacher, Refused, Step, Teacher


class Painter(Teacher):
    """Adds its seed to every value, and counts the photos it was shown."""

    id = "painter-1"
    name = "painter"
    licence = "CC0-1.0"

    def __init__(self, n_variants=1):
        self.n_variants = n_variants
        self.n_edits = 0

    def edit(self, photos, seeds):
        self.n_edits += len(photos)
        return photos, [255 - photo + np.uint8(seed) for photo, seed in zip(photos, seeds, strict=True)]


def photos_of(n, height=40, width=48):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(n)]


def files_of(folder):
    return sorted(Path(folder).glob("*/*.png"))


def equal(some, others):
    return all(
        np.array_equal(a, b)
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_each_pair_is_made_once(tmp_path):
    teacher, photos = Painter(), photos_of(3)
    first = PairStore(tmp_path).teach(teacher, photos, [0, 0, 0])
    again = PairStore(tmp_path).teach(teacher, photos[::-1], [5, 6, 7])
    assert teacher.n_edits == 3
    assert equal(first, again[::-1])
    assert all(np.array_equal(given, photo) for photo, (given, _) in zip(photos, first, strict=True))
    assert all(np.array_equal(wanted, 255 - photo) for photo, (_, wanted) in zip(photos, first, strict=True))


def test_equal_photos_of_one_call_are_taught_once(tmp_path):
    teacher, (photo,) = Painter(), photos_of(1)
    pairs = PairStore(tmp_path).teach(teacher, [photo, photo, photo], [0, 1, 2])
    assert teacher.n_edits == 1
    assert equal(pairs[:2], pairs[1:])


def test_seeds_are_folded_into_the_variants_of_a_teacher(tmp_path):
    teacher, (photo,) = Painter(n_variants=2), photos_of(1)
    pairs = PairStore(tmp_path).teach(teacher, [photo] * 4, [10, 11, 12, 13])
    assert teacher.n_edits == 2
    assert equal(pairs[:2], pairs[2:])
    assert np.array_equal(pairs[1][1], pairs[0][1] + np.uint8(1))


def test_a_photo_of_another_size_is_another_photo(tmp_path):
    teacher, (photo,) = Painter(), photos_of(1)
    PairStore(tmp_path).teach(teacher, [photo, photo.reshape(48, 40, 3)], [0, 0])
    assert teacher.n_edits == 2


def test_a_teachers_folder_is_a_folder_of_pairs(tmp_path):
    teacher, photos = Painter(), photos_of(4)
    PairStore(tmp_path).teach(teacher, photos, [0] * 4)
    listed = list_pairs(tmp_path / teacher.id)
    assert listed is not None
    assert listed.is_aligned
    pairs = [file.read() for file in listed.train]
    assert sorted(pair.given.tobytes() for pair in pairs) == sorted(photo.tobytes() for photo in photos)


def damage_cut_off(path):
    path.write_bytes(path.read_bytes()[:-200])


def damage_bit_flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def damage_empty(path):
    path.write_bytes(b"")


def damage_other_pixels(path):
    """A good PNG file that somebody has painted on: only the digest shows it."""
    from PIL import Image, PngImagePlugin

    with Image.open(path) as image:
        notes = PngImagePlugin.PngInfo()
        notes.add_text("initzoo-sha256", image.info["initzoo-sha256"])
        pixels = np.array(image)
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path, pnginfo=notes)


def damage_other_pair(path):
    """The whole file of another photo: it has a digest, and not the one of this place."""
    other = PairStore(path.parent.parent / "other")
    other.teach(Painter(), photos_of(2)[1:], [0])
    path.write_bytes(files_of(other.folder)[0].read_bytes())


@pytest.mark.parametrize(
    "damage",
    [damage_cut_off, damage_bit_flip, damage_empty, damage_other_pixels, damage_other_pair],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_pair_is_made_anew(tmp_path, damage):
    teacher, photos = Painter(), photos_of(1)
    folder = tmp_path / "store"
    whole = PairStore(folder).teach(teacher, photos, [0])
    (path,) = files_of(folder)
    good = path.read_bytes()
    damage(path)
    assert path.read_bytes() != good
    again = PairStore(folder).teach(teacher, photos, [0])
    assert teacher.n_edits == 2
    assert equal(whole, again)
    assert path.read_bytes() == good


def test_ids_cannot_leave_the_folder(tmp_path):
    teacher = Painter()
    teacher.id = "../outside"
    with pytest.raises(TeacherError, match=r"teacher id '\.\./outside' must be lower-case"):
        PairStore(tmp_path / "store").teach(teacher, photos_of(1), [0])
    assert list(tmp_path.iterdir()) == []


def test_the_pairs_that_nobody_used_for_longest_go_first(tmp_path):
    teacher, photos = Painter(), photos_of(12)
    PairStore(tmp_path).teach(teacher, photos, [0] * 12)
    by_age = files_of(tmp_path)
    for seconds, path in enumerate(by_age):
        os.utime(path, ns=(seconds * 10**9, seconds * 10**9))
    used = next(photo for photo in photos if PairStore(tmp_path)._path_of(teacher, photo, 0) == by_age[0])
    PairStore(tmp_path).teach(teacher, [used], [0])
    limit = sum(path.stat().st_size for path in by_age[6:])
    PairStore(tmp_path, max_bytes=limit).teach(teacher, [np.zeros((40, 48, 3), np.uint8)], [0])
    survivors = [path for path in by_age if path.exists()]
    assert teacher.n_edits == 13
    assert 0.7 * limit < sum(path.stat().st_size for path in files_of(tmp_path)) <= limit
    assert survivors == [by_age[0], *by_age[-len(survivors) + 1 :]]


def test_a_store_without_a_limit_deletes_nothing(tmp_path):
    teacher = Painter()
    for photo in photos_of(5):
        PairStore(tmp_path).teach(teacher, [photo], [0])
    assert len(files_of(tmp_path)) == 5


@pytest.mark.parametrize("blocked", ["folder", "teacher"])
def test_a_folder_that_cannot_be_written_is_said_once_and_pairs_are_made(tmp_path, blocked):
    folder = tmp_path / "store"
    if blocked == "folder":
        folder.write_text("a file")
    else:
        folder.mkdir()
        (folder / "painter-1").write_text("a file")
    store, teacher, photos = PairStore(folder), Painter(), photos_of(2)
    with pytest.warns(UserWarning, match="pairs are not stored and will be made again: cannot") as caught:
        pairs = store.teach(teacher, photos, [0, 0])
    assert len(caught) == 1
    assert equal(pairs, store.teach(teacher, photos, [0, 0]))  # and no second warning, which would fail
    assert teacher.n_edits == 4


def test_a_teacher_that_fails_leaves_nothing(tmp_path):
    class Broken(Painter):
        def edit(self, photos, seeds):
            raise TeacherError("out of paint")

    with pytest.raises(TeacherError, match="out of paint"):
        PairStore(tmp_path).teach(Broken(), photos_of(1), [0])
    assert files_of(tmp_path) == []


WORKER = """
import json, sys
import numpy as np
from initzoo.pairs.store import PairStore
from initzoo.pairs.teachers import FunctionTeacher, load_teacher
from pathlib import Path
folder, log = Path(sys.argv[1]), Path(sys.argv[2])
teacher = load_teacher("slow:edit", folder, settings={"log": str(log)}, licence=None, n_variants=None)
photos = [np.full((16, 16, 3), value, np.uint8) for value in range(12)]
pairs = PairStore(folder / "store").teach(teacher, photos, [0] * 12)
print(json.dumps([int(wanted[0, 0, 0]) for _, wanted in pairs]))
"""

SLOW = """
def edit(photo, seed, log):
    with open(log, "a") as file:
        file.write("one\\n")
    return 255 - photo
"""


def test_processes_that_want_the_same_pairs_make_them_once(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(tmp_path / "log")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    results = [json.loads(worker.communicate()[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert results == [[255 - value for value in range(12)]] * 3
    assert (tmp_path / "log").read_text().count("one") == 12


def test_the_store_is_among_the_assets_of_the_hugging_face_cache(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.delenv("INITZOO_PAIRS", raising=False)
    assert store_folder() == Path(constants.HF_ASSETS_CACHE) / "initzoo" / "pairs"
    assert default_store().max_bytes == CACHE_BYTES
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "huggingface" / "assets" / "initzoo" / "pairs"
    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "mine"))
    assert store_folder() == tmp_path / "mine"
    assert default_store().max_bytes is None
    assert default_store() is default_store()


def test_filters_leave_no_files(monkeypatch, tmp_path):
    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    pairs = list(teach(FilterTeacher((Step("negative"),)), photos_of(2), [0, 1]))
    assert len(pairs) == 2
    assert not (tmp_path / "store").exists()


def test_training_scoring_and_pictures_read_the_same_pairs(monkeypatch, tmp_path):
    from initzoo.pairs.photos import Photo

    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    teacher, pixels = Painter(), photos_of(10)
    photos = [Photo(str(number), one, "score", "CC0-1.0", "made") for number, one in enumerate(pixels)]
    inputs, targets = scoring_pairs(teacher, photos, side=40)
    assert teacher.n_edits == 10
    taught = list(teach(teacher, pixels, range(10)))
    assert equal(taught, zip(inputs, targets, strict=True))
    assert equal([example_pair(teacher, pixels[3], seed=9)], [taught[3]])
    patches = make_pairs(teacher, pixels, n_pairs=20, patch_size=40, seed=1)
    assert patches.inputs.shape == (20, 40, 40, 3)
    assert np.array_equal(patches.targets, 255 - patches.inputs)
    assert teacher.n_edits == 10
    assert read_image(files_of(tmp_path / "store")[0]).shape == (40, 96, 3)


# Pictures that are no good to train on.


class Censored(Painter):
    """Refuses dark photos, and makes black pictures of light ones."""

    id = "censored-1"
    name = "censored"

    def edit(self, photos, seeds):
        self.n_edits += len(photos)
        wanted = []
        for photo in photos:
            mean = photo.mean()
            dark = Refused("unchanged") if mean < 50 else 255 - photo
            wanted.append(np.zeros_like(photo) if mean > 200 else dark)
        return photos, wanted


def levels_of(pairs):
    return [int(wanted[0, 0, 0]) for _, wanted in pairs]


def flat(*values):
    return [np.full((40, 48, 3), value, np.uint8) for value in values]


def test_refused_pictures_are_remembered_and_said(tmp_path):
    teacher, photos = Censored(), flat(20, 100, 220)
    store = PairStore(tmp_path)
    for _ in range(2):
        dark, good, light = store.teach(teacher, photos, [0, 0, 0])
        assert (dark, light) == (Refused("unchanged"), Refused("black"))
        assert int(good[1][0, 0, 0]) == 155
    assert teacher.n_edits == 3
    listed = list_pairs(tmp_path / teacher.id)
    assert len(listed.train) == 1  # it still is a folder of pairs
    (path,) = [path for path in tmp_path.glob("*/*.json") if b"black" in path.read_bytes()]
    path.write_bytes(path.read_bytes().replace(b"black", b"brown"))
    assert store.teach(teacher, photos, [0, 0, 0])[2] == Refused("black")
    assert teacher.n_edits == 4


def test_good_pairs_take_the_place_of_refused_ones(tmp_path):
    teacher, store = Censored(), PairStore(tmp_path)
    photos = flat(20, 100, 220, 230, 110, 21)
    pairs = list(teach(teacher, photos, [0] * 6, store=store))
    assert levels_of(pairs) == [155, 155, 145, 145, 145, 145]
    with pytest.raises(RefusedPairs, match="'censored': all 2 pictures cannot be trained on: black"):
        list(teach(teacher, flat(210, 220), [0, 0], store=store))


def test_scores_leave_refused_pictures_out(tmp_path, monkeypatch):
    from initzoo.pairs.photos import Photo

    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path))
    photos = [
        Photo(str(number), pixels, "score", "CC0-1.0", "made")
        for number, pixels in enumerate(flat(20, 100, 220))
    ]
    inputs, targets = scoring_pairs(Censored(), photos, side=40)
    assert (len(inputs), levels_of(zip(inputs, targets, strict=True))) == (1, [155])
    with pytest.raises(RefusedPairs, match="the only picture cannot be trained on: unchanged"):
        scoring_pairs(Censored(), photos[:1], side=40)


def test_written_pairs_say_what_was_left_out(tmp_path, monkeypatch):
    from initzoo.pairs.concepts import Concept
    from initzoo.pairs.photos import Photo
    from initzoo.pairs.written import write_pairs

    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    photos = [
        Photo(f"photo-{value}", pixels, "train", "CC0-1.0", "made")
        for value, pixels in zip((20, 100, 220), flat(20, 100, 220), strict=True)
    ]
    concept = Concept("censored", "style", "train", "", Censored(), ("censored",), (), "CC0-1.0", "made")
    written = write_pairs([concept], photos, tmp_path / "out")
    assert written.n_pairs == {"censored": 1}
    assert written.left_out == {"censored": {"photo-20": "unchanged", "photo-220": "black"}}
    assert [path.name for path in (tmp_path / "out" / "B").iterdir()] == ["photo-100.png"]
    notes = json.loads((tmp_path / "out" / "pairs.json").read_bytes())
    assert notes["left_out"] == written.left_out["censored"]
    beside = json.loads((tmp_path / "store" / "censored-1.json").read_bytes())
    assert (beside["licence"], beside["teacher"]["name"]) == ("CC0-1.0", "censored")
