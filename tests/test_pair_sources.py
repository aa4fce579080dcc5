"""Pair sources: each layout gives the same pairs, and what does not match is named."""

import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from foreign_photos import WRITERS

from initzoo.errors import InitzooWarning, InvalidImage, InvalidPairs, MissingExtra
from initzoo.files.images import encode_image, write_image
from initzoo.pairs.concepts import find_concept, load_concepts
from initzoo.pairs.photos import fit_short_side, load_photos
from initzoo.pairs.sources import Pair, open_pairs, split_pairs, teach_pairs

NAMES = [f"photo-{number}" for number in range(6)]


def picture(seed, height=48, width=64):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def wanted_of(image):
    return 255 - image


def write_folders(folder, names=NAMES):
    for side in ("A", "B"):
        (folder / side).mkdir(parents=True)
    for number, name in enumerate(names):
        write_image(folder / "A" / f"{name}.png", picture(number), force=False)
        write_image(folder / "B" / f"{name}.bmp", wanted_of(picture(number)), force=False)
    return folder


def write_aligned(folder, names=NAMES):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        both = np.concatenate([picture(number), wanted_of(picture(number))], axis=1)
        write_image(folder / f"{name}.png", both, force=False)
    return folder


def all_pairs(found):
    return {pair.name: (pair.given, pair.wanted) for pair in (*found.train, *found.validation)}


def test_folders_and_aligned_images_hold_the_same_pairs(tmp_path):
    folders = open_pairs(write_folders(tmp_path / "folders"))
    aligned = open_pairs(write_aligned(tmp_path / "aligned"))
    for found in (folders, aligned):
        pairs = all_pairs(found)
        assert sorted(pairs) == NAMES
        for number, name in enumerate(NAMES):
            assert np.array_equal(pairs[name][0], picture(number))
            assert np.array_equal(pairs[name][1], wanted_of(picture(number)))
    assert len(folders.validation) == 1
    assert folders.digest == aligned.digest


def test_direction_turns_pairs_round(tmp_path):
    folder = write_aligned(tmp_path / "aligned")
    forth, back = all_pairs(open_pairs(folder)), all_pairs(open_pairs(folder, direction="BtoA"))
    assert all(np.array_equal(forth[name][0], back[name][1]) for name in NAMES)
    with pytest.raises(ValueError, match="direction must be one of AtoB, BtoA"):
        open_pairs(folder, direction="both")


@pytest.mark.parametrize("held", ["val", "test"])
def test_pairs_of_their_own_are_validated_on(tmp_path, held):
    write_aligned(tmp_path / "facades" / "train", NAMES[:4])
    write_aligned(tmp_path / "facades" / held, NAMES[4:])
    found = open_pairs(tmp_path / "facades")
    assert [pair.name for pair in found.train] == NAMES[:4]
    assert [pair.name for pair in found.validation] == NAMES[4:]


def test_the_same_pairs_are_kept_whatever_their_order():
    image = picture(0)
    pairs = [Pair(f"{number}", image, image) for number in range(30)]
    kept = {pair.name for pair in split_pairs("here", pairs).validation}
    assert len(kept) == 6
    assert {pair.name for pair in split_pairs("here", pairs[::-1]).validation} == kept
    many = [Pair(f"{number}", image, image) for number in range(200)]
    assert len(split_pairs("here", many).validation) == 16


def test_large_images_are_shrunk_and_small_ones_left(tmp_path):
    for side in ("A", "B"):
        (tmp_path / side).mkdir()
        write_image(tmp_path / side / "large.png", picture(0, 200, 300), force=False)
        write_image(tmp_path / side / "small.png", picture(1, 40, 40), force=False)
    pairs = all_pairs(open_pairs(tmp_path, size=100))
    assert pairs["large"][0].shape == (100, 150, 3)
    assert pairs["small"][0].shape == (40, 40, 3)


def test_grey_targets_become_rgb(tmp_path):
    from PIL import Image

    write_folders(tmp_path, NAMES[:2])
    for path in (tmp_path / "B").iterdir():
        Image.open(path).convert("L").save(path.with_suffix(".png"))
        path.unlink()
    given, wanted = all_pairs(open_pairs(tmp_path))[NAMES[0]]
    assert wanted.shape == given.shape
    assert (wanted[..., 0] == wanted[..., 1]).all()


def test_what_does_not_match_is_named(tmp_path):
    write_folders(tmp_path, NAMES[:3])
    (tmp_path / "B" / f"{NAMES[1]}.bmp").rename(tmp_path / "B" / "other.bmp")
    with pytest.raises(InvalidPairs, match=r"photo-1\.png of A has no partner in B \(1 without; A has 3"):
        open_pairs(tmp_path)
    (tmp_path / "A" / f"{NAMES[1]}.png").unlink()
    with pytest.raises(InvalidPairs, match=r"other\.bmp of B has no partner in A"):
        open_pairs(tmp_path)
    (tmp_path / "B" / "other.bmp").unlink()
    write_image(tmp_path / "B" / f"{NAMES[2]}.bmp", picture(2, 48, 60), force=True)
    with pytest.raises(InvalidPairs, match="pair 'photo-2': A is 64 x 48 pixels, B is 60 x 48"):
        open_pairs(tmp_path)
    write_image(tmp_path / "A" / f"{NAMES[2]}.jpg", picture(2), force=True)
    with pytest.raises(InvalidPairs, match="have the same name"):
        open_pairs(tmp_path)


def test_too_few_pairs_are_refused(tmp_path):
    write_folders(tmp_path / "none", [])
    write_folders(tmp_path / "one", NAMES[:1])
    with pytest.raises(InvalidPairs, match="found no pairs at .*at least two"):
        open_pairs(tmp_path / "none")
    with pytest.raises(InvalidPairs, match="found one pair at .*at least two"):
        open_pairs(tmp_path / "one")


def test_images_smaller_than_a_crop_are_named(tmp_path):
    found = open_pairs(write_folders(tmp_path))
    found.check_crops(48)
    with pytest.raises(InvalidPairs, match=r"is 64 x 48 pixels, smaller than the crop of 64\..*--crop 48"):
        found.check_crops(64)


def test_places_without_pairs_are_told_what_pairs_look_like(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "A").mkdir(parents=True)
    write_image(tmp_path / "odd.png", picture(0, 16, 33), force=False)
    for place, said in (
        (tmp_path / "missing", "there is no such folder"),
        (tmp_path / "empty", "has no images"),
        (tmp_path / "odd.png", "it is a file"),
        (tmp_path / "half", "has no folder B"),
        (tmp_path, "33 pixels wide and cannot be halved"),
    ):
        with pytest.raises(InvalidPairs, match=f"{said}.*Name a folder with A and B"):
            open_pairs(place)
    write_aligned(tmp_path / "bad", NAMES[:2])
    (tmp_path / "bad" / "photo-0.png").write_bytes(b"no image")
    with (
        pytest.warns(InitzooWarning, match=r"photo-0\.png \(not an image"),
        pytest.raises(InvalidPairs, match="found one pair"),
    ):
        open_pairs(tmp_path / "bad")


def test_pairs_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    write_folders(tmp_path)
    (tmp_path / "A" / "photo-1.png").write_bytes(b"no image")
    (tmp_path / "B" / "list.csv").write_text("a,b")
    with pytest.warns(InitzooWarning) as caught:
        assert sorted(all_pairs(open_pairs(tmp_path))) == [name for name in NAMES if name != "photo-1"]
    (said,) = [str(warning.message) for warning in caught]
    assert "3 files of" in said
    assert "A/photo-1.png, B/list.csv (not an image of a known kind)" in said
    assert "B/photo-1.bmp (its partner cannot be read)" in said
    (tmp_path / "A" / "photo-1.png").unlink()
    (tmp_path / "B" / "photo-1.bmp").unlink()
    (tmp_path / "B" / "list.csv").unlink()
    whole = (tmp_path / "A" / "photo-2.png").read_bytes()
    (tmp_path / "A" / "photo-2.png").write_bytes(whole[:-2000])
    with pytest.warns(InitzooWarning, match=r"1 file of .*: photo-2 \(the image is damaged"):
        assert len(all_pairs(open_pairs(tmp_path))) == 4


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        *(("JPEG", "jfif"), ("AVIF", "avif"), ("MPO", "mpo"), ("TGA", "tga"), ("JPEG2000", "jp2")),
        *(("JPEG", "jpe"), ("PNG", "jpg"), ("WEBP", "")),
    ],
)
def test_pairs_are_found_by_their_content(tmp_path, kind, ending):
    from PIL import Image

    for side in ("A", "B"):
        (tmp_path / side).mkdir()
        for number in range(3):
            path = tmp_path / side / (f"{number}.{ending}" if ending else f"{number}")
            Image.fromarray(picture(number)).save(path, kind)
    assert sorted(all_pairs(open_pairs(tmp_path))) == ["0", "1", "2"]


@pytest.mark.parametrize("name", ["Zürich", "crème brûlée", "한국어", "Å", "пейзаж й"])
def test_composed_and_decomposed_names_match(tmp_path, name):
    for side, form in (("A", "NFC"), ("B", "NFD")):
        (tmp_path / side).mkdir()
        for number in range(2):
            file = unicodedata.normalize(form, f"{name}-{number}.png")
            write_image(tmp_path / side / file, picture(number), force=False)
    assert sorted(all_pairs(open_pairs(tmp_path))) == [
        unicodedata.normalize("NFC", f"{name}-{n}") for n in (0, 1)
    ]


def test_rows_of_a_dataset_are_read_as_files_are(tmp_path):
    datasets = pytest.importorskip("datasets")
    photo = np.asarray(fit_short_side(load_photos(split="score")[1].pixels, 64))
    rows = {"input": [], "target": []}
    kinds = [
        "phone, JPEG in Display P3, turned",
        "camera, JPEG in Adobe RGB by EXIF alone, turned",
        "raw converter, 12 bits in a TIFF of 16",
    ]
    for number, kind in enumerate(kinds):
        WRITERS[kind](photo, tmp_path / f"{number}")
        rows["input"].append({"bytes": (tmp_path / f"{number}").read_bytes(), "path": None})
        rows["target"].append({"bytes": None, "path": str(tmp_path / f"{number}")})
    features = datasets.Features({"input": datasets.Image(), "target": datasets.Image()})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    for given, wanted in all_pairs(open_pairs(tmp_path / "saved")).values():
        assert np.abs(given.astype(int) - photo).mean() < 1.5
        assert np.array_equal(given, wanted)
    rows["input"][1]["bytes"] = rows["input"][1]["bytes"][:300]
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "cut"))
    with pytest.raises(InvalidImage, match=r"cannot read .*cut, row 1: the image is damaged"):
        open_pairs(tmp_path / "cut")


def write_table(folder, paths):
    """A dataset as on the Hub, one parquet file, whose rows have a path and no bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"input": datasets.Image(), "target": datasets.Image()})
    images = [{"bytes": None, "path": str(path)} for path in paths]
    schema = features.arrow_schema
    table = pa.table({field.name: pa.array(images, field.type) for field in schema}, schema=schema)
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "train.parquet")
    return folder


@pytest.mark.parametrize("kind", ["absolute", "upwards", "relative", "device"])
def test_rows_of_a_dataset_read_no_files_outside_of_its_folder(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "private.png", picture(1), force=False)
    path = {
        "absolute": tmp_path / "private.png",
        "upwards": tmp_path / "set" / ".." / "private.png",
        "relative": "private.png",
        "device": "/dev/zero",
    }[kind]
    with pytest.raises(InvalidPairs, match=r"row 0: the image .* is not a file of the dataset. Put it into"):
        open_pairs(write_table(tmp_path / "set", [path, path]))
    with pytest.raises(InvalidImage, match="is not a file of the dataset"):
        load_photos(tmp_path / "set", split=None)


def test_rows_of_a_dataset_read_plain_files_of_its_folder(tmp_path):
    folder = write_table(tmp_path / "set", [tmp_path / "set" / "own.png"] * 2)
    write_image(folder / "own.png", picture(1), force=False)
    assert np.array_equal(all_pairs(open_pairs(folder))["000000"][0], picture(1))
    (folder / "own.png").unlink()
    os.mkfifo(folder / "own.png")
    with pytest.raises(InvalidPairs, match=r"row 0: an image cannot be read \(it is a device or the like"):
        open_pairs(folder)


@pytest.mark.parametrize("kind", ["README.md", "state.json", "dataset_dict.json"])
def test_a_dataset_reads_no_tables_outside_of_its_folder(tmp_path, kind):
    datasets = pytest.importorskip("datasets")
    columns = {name: [{"bytes": encode_image(Path("a.png"), picture(1)), "path": None}] * 2 for name in "ab"}
    rows = datasets.Dataset.from_dict(columns, datasets.Features(dict.fromkeys("ab", datasets.Image())))
    rows.save_to_disk(str(tmp_path / "private"))
    rows.to_parquet(str(tmp_path / "private" / "p.parquet"))
    folder = tmp_path / "set"
    if kind == "README.md":
        folder.mkdir()
        shutil.copy(tmp_path / "private" / "p.parquet", folder)
        (folder / kind).write_text(
            f"---\nconfigs:\n- config_name: default\n  data_files: {tmp_path}/private/*.parquet\n---\n"
        )
    elif kind == "state.json":
        rows.save_to_disk(str(folder))
        state = json.loads((folder / kind).read_bytes())
        state["_data_files"] = [{"filename": f"../private/{one['filename']}"} for one in state["_data_files"]]
        (folder / kind).write_text(json.dumps(state))
    else:
        folder.mkdir()
        (folder / kind).write_text(json.dumps({"splits": ["../private"]}))
    with pytest.raises(InvalidPairs, match="cannot be loaded: .*(not in its folder|unsafe as a path)"):
        open_pairs(folder)


def test_datasets_give_their_two_image_columns(tmp_path):
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    columns = {
        "input": [Image.fromarray(picture(number)) for number in range(3)],
        "target": [Image.fromarray(wanted_of(picture(number))) for number in range(3)],
        "words": ["a", "b", "c"],
    }
    features = datasets.Features(
        {"input": datasets.Image(), "target": datasets.Image(), "words": datasets.Value("string")}
    )
    rows = datasets.Dataset.from_dict(columns, features=features)
    rows.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "splits"))
    for source in ("saved", "splits"):
        pairs = all_pairs(open_pairs(tmp_path / source))
        assert np.array_equal(pairs["000001"][1], wanted_of(picture(1)))
    turned = all_pairs(open_pairs(tmp_path / "saved", columns=("target", "input")))
    assert np.array_equal(turned["000001"][0], wanted_of(picture(1)))
    with pytest.raises(InvalidPairs, match="no image column 'words'. Its image columns: input, target"):
        open_pairs(tmp_path / "saved", columns=("input", "words"))
    with pytest.raises(InvalidPairs, match="has no split 'test'. Take one of: train"):
        open_pairs(tmp_path / "splits", split="test")
    rows.remove_columns("target").save_to_disk(str(tmp_path / "single"))
    with pytest.raises(InvalidPairs, match=r"has 1 image columns \(input\), expected two"):
        open_pairs(tmp_path / "single")


def test_datasets_need_their_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r'pip install "initzoo\[datasets\]"'):
        open_pairs("someone/pairs")


def test_a_teacher_makes_pairs_of_photos(photo_folder):
    concept = find_concept(load_concepts(), "negative")
    found = teach_pairs(concept, photo_folder, n_varied=5)
    assert len(found.train) == 5
    assert {pair.name.rpartition("-")[0] for pair in found.train}.isdisjoint(
        pair.name for pair in found.validation
    )
    assert all(min(pair.given.shape[:2]) == 256 for pair in found.train)
    again = teach_pairs(concept, photo_folder, n_varied=5)
    assert again.digest == found.digest
    for path in sorted(photo_folder.glob("*.*"))[1:]:
        path.unlink()
    with pytest.raises(InvalidPairs, match="found one photo in"):
        teach_pairs(concept, photo_folder)
