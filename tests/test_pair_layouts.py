"""What people call pairs: folders by many names, metadata files, halves, rows of datasets, many pairs."""

import io
import json
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_pair_sources import NAMES, all_pairs, picture, wanted_of, write_aligned, write_folders

import initzoo.pairs.spilled as spilled
from initzoo.errors import InitzooWarning, InvalidImage, InvalidPairs, OutputError
from initzoo.files.images import write_image
from initzoo.pairs.concepts import find_concept, load_concepts
from initzoo.pairs.folders import list_pairs
from initzoo.pairs.halves import ALIKE_FROM, mean_likeness
from initzoo.pairs.photos import load_photos
from initzoo.pairs.sources import PairSet, open_pairs, split_pairs, teach_pairs
from initzoo.pairs.spilled import SpilledPairs, gather, images_of
from initzoo.pairs.taught import scoring_pairs
from initzoo.pairs.teachers import FolderTeacher


def write_sides(folder, given, wanted, names=NAMES, first=0):
    """Pairs in two folders of any names; the input is a picture, the target its negative."""
    for side in (given, wanted):
        (folder / side).mkdir(parents=True)
    for number, name in enumerate(names, start=first):
        write_image(folder / given / f"{name}.png", picture(number), force=False)
        write_image(folder / wanted / f"{name}.png", wanted_of(picture(number)), force=False)
    return folder


def assert_pairs(found, names=NAMES):
    pairs = all_pairs(found)
    assert sorted(pairs) == sorted(names)
    assert all(np.array_equal(wanted, wanted_of(given)) for given, wanted in pairs.values())
    assert any(np.array_equal(given, picture(0)) for given, _ in pairs.values())


# Which folders are taken for input and target.


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("trainA", "trainB"),
        ("train_A", "train_B"),
        ("A/train", "B/train"),
        ("train/A", "train/B"),
        ("input", "target"),
        ("before", "after"),
        ("Before", "After"),
        ("train/input", "train/target"),
        ("source", "target"),
        ("original", "edited"),
        ("input_train", "target_train"),
    ],
)
def test_two_folders_are_known_by_their_names(tmp_path, given, wanted):
    found = open_pairs(write_sides(tmp_path, given, wanted))
    assert_pairs(found)
    assert found.summary == (
        f"6 pairs, folders {given} and {wanted}, 64 x 48: 5 to train on, 1 to validate on"
    )


@pytest.mark.parametrize(
    "held", [("valA", "valB"), ("test_A", "test_B"), ("A/validation", "B/validation"), ("test/A", "test/B")]
)
def test_pairs_of_another_split_are_held_out(tmp_path, held):
    write_sides(tmp_path, "trainA", "trainB", NAMES[:4])
    write_sides(tmp_path, *held, names=NAMES[4:], first=4)
    found = open_pairs(tmp_path)
    assert [pair.name for pair in found.train] == NAMES[:4]
    assert [pair.name for pair in found.validation] == NAMES[4:]


def test_a_folder_of_pairs_goes_before_images_beside_it(tmp_path):
    write_sides(tmp_path, "input", "target")
    write_image(tmp_path / "overview.png", picture(9), force=False)
    assert_pairs(open_pairs(tmp_path))


def test_the_split_that_is_asked_for_is_taken(tmp_path):
    write_sides(tmp_path, "trainA", "trainB", NAMES[:3])
    write_sides(tmp_path, "testA", "testB", NAMES[3:], first=3)
    assert set(all_pairs(open_pairs(tmp_path, split="test"))) == set(NAMES[3:])
    write_folders(tmp_path / "plain")
    with pytest.raises(InvalidPairs, match="have no splits, and --split test is given"):
        open_pairs(tmp_path / "plain", split="test")


def test_a_side_without_partner_is_named_as_it_is(tmp_path):
    write_sides(tmp_path, "trainA", "trainB")
    (tmp_path / "trainB" / f"{NAMES[2]}.png").unlink()
    with pytest.raises(InvalidPairs, match=r"photo-2\.png of trainA has no partner in trainB \(1 without"):
        open_pairs(tmp_path)


@pytest.mark.parametrize("name", ["Zürich", "が", "Ångström-é", "한글"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_match_however_their_letters_are_composed(tmp_path, name, forms):
    for side, form in zip("AB", forms, strict=True):
        (tmp_path / side).mkdir()
        for number in range(3):
            written = unicodedata.normalize(form, f"{name}-{number}.png")
            write_image(tmp_path / side / written, picture(number), force=False)
    found = all_pairs(open_pairs(tmp_path))
    assert sorted(found) == [unicodedata.normalize("NFC", f"{name}-{number}") for number in range(3)]
    assert all(np.array_equal(given, wanted) for given, wanted in found.values())


def test_two_spellings_of_a_name_on_one_side_are_refused(tmp_path):
    write_folders(tmp_path, ["a"])
    for form in ("NFC", "NFD"):
        write_image(tmp_path / "A" / unicodedata.normalize(form, "ü.png"), picture(1), force=False)
    with pytest.raises(InvalidPairs, match="have the same name"):
        open_pairs(tmp_path)


# Metadata files.


def write_listed(folder, rows, name="metadata.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(6):
        write_image(folder / f"in{number}.png", picture(number), force=True)
        write_image(folder / f"out{number}.png", wanted_of(picture(number)), force=True)
    if name.endswith(".csv"):
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def rows_of(given, wanted, **more):
    return [{given: f"in{number}.png", wanted: f"out{number}.png", **more} for number in range(6)]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
@pytest.mark.parametrize(
    ("given", "wanted", "shown"),
    [
        ("input_file_name", "target_file_name", "input and target"),
        ("file_name", "edited_file_name", "image and edited"),
        ("original_image", "edited_image", "original_image and edited_image"),
        ("conditioning_image", "image", "conditioning_image and image"),
    ],
)
def test_a_metadata_file_says_what_is_a_pair(tmp_path, name, given, wanted, shown):
    found = open_pairs(write_listed(tmp_path, rows_of(given, wanted, text="a look"), name))
    assert_pairs(found, [f"in{number}" for number in range(6)])
    assert found.summary.startswith(f"6 pairs, {shown} of {name}, 64 x 48: 5 to train on")


def test_columns_whose_names_say_so_are_put_in_order(tmp_path):
    found = open_pairs(
        write_listed(tmp_path, [dict(reversed(row.items())) for row in rows_of("input", "target")])
    )
    assert_pairs(found, [f"in{number}" for number in range(6)])
    turned = open_pairs(tmp_path, columns=("target", "input"))
    assert np.array_equal(all_pairs(turned)["out0"][1], picture(0))


def test_of_three_image_columns_two_are_chosen(tmp_path):
    rows = [{**row, "mask_file_name": row["input"]} for row in rows_of("input", "target")]
    write_listed(tmp_path, rows)
    with pytest.raises(InvalidPairs, match=r"has 3 image columns \(input, target, mask\).*--columns"):
        open_pairs(tmp_path)
    assert_pairs(open_pairs(tmp_path, columns=("mask", "target")), [f"in{number}" for number in range(6)])
    with pytest.raises(InvalidPairs, match="no image column 'depth'. Its image columns: input, target, mask"):
        open_pairs(tmp_path, columns=("input", "depth"))


def test_metadata_of_splits(tmp_path):
    write_listed(tmp_path / "train", rows_of("input", "target"))
    write_listed(tmp_path / "validation", rows_of("input", "target")[:2])
    found = open_pairs(tmp_path)
    assert (len(found.train), len(found.validation)) == (6, 2)
    assert FolderTeacher(tmp_path).fixed_pairs("score", 48)[0].given.shape == (48, 64, 3)


def test_metadata_of_captions_alone_leaves_the_other_layouts(tmp_path):
    write_aligned(tmp_path / "set")
    lines = [json.dumps({"file_name": f"{name}.png", "text": "a look"}) for name in NAMES]
    (tmp_path / "set" / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.warns(InitzooWarning, match=r"left out: metadata\.jsonl"):
        found = open_pairs(tmp_path / "set")
    assert_pairs(found)
    assert "A and B side by side" in found.summary


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"input": "in1.png", ', "line 3: not JSON"),
        ('["in1.png", "out1.png"]', "line 3: expected an object"),
        ('{"input": "in1.png"}', "line 3: no path in 'target'"),
        ('{"input": "in1.png", "target": null}', "line 3: no path in 'target'"),
        ('{"input": "in1.png", "target": "missing.png"}', "line 3: there is no file 'missing.png'"),
        ('{"input": "in1.png", "target": "a\\u0000b.png"}', "line 3: there is no file"),
        ('{"input": "in1.png", "target": "' + "x" * 5000 + '.png"}', "line 3: there is no file"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(tmp_path, line, said):
    write_listed(tmp_path, rows_of("input", "target")[:2])
    with (tmp_path / "metadata.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidPairs, match=said) as caught:
        open_pairs(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("named", ["{place}/private.png", "../private.png", "./../private.png", "/dev/zero"])
def test_a_line_names_no_file_outside_of_the_folder(tmp_path, named):
    write_image(tmp_path / "private.png", picture(9), force=False)
    rows = [*rows_of("input", "target"), {"input": "./in1.png", "target": named.format(place=tmp_path)}]
    with pytest.raises(InvalidPairs, match="line 7: there is no file '.*' below its folder"):
        open_pairs(write_listed(tmp_path / "set", rows))


# Halves.


def photos_in(folder, split, cut):
    folder.mkdir()
    for photo in load_photos(split=split):
        pixels = photo.pixels[:, : photo.pixels.shape[1] // 2 * 2]
        write_image(folder / f"{photo.name}.png", cut(pixels), force=False)
    return folder


CUTS = {
    "whole": lambda photo: photo,
    "squares": lambda photo: photo[:256, :256],
    "negative": lambda photo: 255 - photo,
}


@pytest.mark.parametrize(
    ("split", "cut", "below"),
    [
        ("score", "whole", "."),
        ("score", "squares", "train"),
        *(pytest.param(None, cut, below, marks=pytest.mark.long) for cut in CUTS for below in (".", "train")),
    ],
)
def test_photos_are_not_cut_in_halves(tmp_path, split, cut, below):
    folder = photos_in(tmp_path / below if below != "." else tmp_path / "photos", split, CUTS[cut])
    source = tmp_path if below == "train" else folder
    for read in (open_pairs, FolderTeacher, list_pairs):
        with pytest.raises(InvalidPairs, match="left and right halves do not look alike.*folders A and B"):
            read(source)


@pytest.mark.parametrize(
    "words",
    ["contour map", "engraving", "chrome", "negative", "pencil sketch", "deblur", "denoise", "ink"],
)
def test_pairs_of_any_look_are_recognised_by_their_halves(words):
    concept = find_concept(load_concepts(), words)
    photos = load_photos(split="score")[:4]
    alike = mean_likeness(zip(*scoring_pairs(concept.teacher, photos), strict=True))
    assert alike is not None
    assert alike > 2 * ALIKE_FROM


def test_halves_without_edges_are_no_evidence(tmp_path):
    write_aligned(tmp_path / "set", [])
    for number in range(3):
        write_image(
            tmp_path / "set" / f"{number}.png", np.full((48, 96, 3), 40 * number, np.uint8), force=False
        )
    assert len(all_pairs(open_pairs(tmp_path / "set"))) == 3


# Rows of datasets.


def cell(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def bytes_of(number):
    return {"input": cell(picture(number)), "target": cell(wanted_of(picture(number)))}


def write_rows(folder, changes, columns=("input", "target")):
    """A parquet dataset of six rows, of which one is changed."""
    datasets = pytest.importorskip("datasets")
    datasets.config.HF_DATASETS_CACHE = folder.parent / "cache"
    rows = [bytes_of(number) for number in range(6)]
    rows[3] |= changes
    rows = [
        {column: {"bytes": row[column], "path": None} if row[column] else None for column in columns}
        for row in rows
    ]
    features = datasets.Features(dict.fromkeys(columns, datasets.Image()))
    folder.mkdir(exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "train.parquet")
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input": bytes_of(3)["input"][:3000]}, ""),
        ({"target": bytes_of(3)["target"][:40]}, ""),
        ({"target": b"no image at all"}, ""),
        (
            {"input": cell(picture(0, 4, 4)), "target": cell(picture(0, 4, 4))},
            "4 x 4 pixels; expected at least",
        ),
        ({"input": cell(picture(0, 48, 60))}, "60 x 48.*64 x 48"),
        ({"input": None}, "an image is missing"),
    ],
    ids=["cut-off", "head-only", "foreign", "tiny", "sizes", "missing"],
)
def test_a_bad_row_is_one_line_with_its_number(tmp_path, changes, said):
    folder = write_rows(tmp_path / "set", changes)
    with pytest.raises((InvalidPairs, InvalidImage), match=f"set, row 3.*{said}") as caught:
        open_pairs(folder)
    assert "\n" not in str(caught.value)


def test_a_dataset_says_its_columns_and_goes_before_folders(tmp_path):
    folder = write_rows(tmp_path / "set", {}, columns=("target", "input"))
    write_sides(folder, "A", "B", NAMES[:2])
    found = open_pairs(folder)
    assert_pairs(found, [f"{number:06d}" for number in range(6)])
    assert found.summary == ("6 pairs, columns input and target, 64 x 48: 5 to train on, 1 to validate on")
    turned = open_pairs(folder, direction="BtoA")
    assert "columns input and target, from target to input" in turned.summary


def test_a_table_without_images_leaves_the_folders_beside_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    write_folders(tmp_path / "set")
    datasets.Dataset.from_dict({"words": ["a", "b"]}).to_parquet(tmp_path / "set" / "notes.parquet")
    assert_pairs(open_pairs(tmp_path / "set"))


# Many pairs.


def test_many_pairs_are_read_as_needed(tmp_path, monkeypatch):
    few = open_pairs(write_folders(tmp_path / "pairs"))
    monkeypatch.setattr(spilled, "MAX_BYTES_IN_MEMORY", 30_000)  # three of six pairs
    many = open_pairs(tmp_path / "pairs")
    assert isinstance(many.train, SpilledPairs)
    assert isinstance(many.validation, SpilledPairs)
    assert (many.digest, many.summary) == (few.digest, few.summary)
    assert [pair.name for pair in many.train[1:3]] == [pair.name for pair in few.train[1:3]]
    lazily, eagerly = images_of(many.train), images_of(few.train)
    assert len(lazily) == len(eagerly)
    for (one, two), (three, four) in zip(lazily, eagerly, strict=True):
        assert np.array_equal(one, three)
        assert np.array_equal(two, four)
    assert np.array_equal(lazily[-1:][0][0], eagerly[-1][0])
    with pytest.raises(InvalidPairs, match="smaller than the crop of 64"):
        many.check_crops(64)


def test_400_pairs_take_little_memory(tmp_path):
    """Pixels of 315 MB in all, of which Python holds a few at a time."""
    import tracemalloc

    from initzoo.pairs.folders import Pair

    def pairs():
        for number in range(400):
            image = np.full((256, 512, 3), number % 256, np.uint8)
            yield Pair(f"{number:03d}", image, image.copy())

    tracemalloc.start()
    try:
        kept = split_pairs("here", gather(pairs()))
        assert kept.summary == "400 pairs, here, 512 x 256: 384 to train on, 16 to validate on"
        assert len(kept.digest) == 64
        assert tracemalloc.get_traced_memory()[1] < 1.2 * spilled.MAX_BYTES_IN_MEMORY
    finally:
        tracemalloc.stop()


def test_a_teachers_pairs_may_be_many(photo_folder, monkeypatch):
    concept = find_concept(load_concepts(), "negative")
    few = teach_pairs(concept, photo_folder, n_varied=70)
    monkeypatch.setattr(spilled, "MAX_BYTES_IN_MEMORY", 1_000_000)
    many = teach_pairs(concept, photo_folder, n_varied=70)
    assert isinstance(many.train, SpilledPairs)
    assert many.digest == few.digest


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(spilled, "MAX_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    write_folders(tmp_path / "pairs")
    with pytest.raises(OutputError, match="cannot keep pairs in a temporary file: .*TMPDIR"):
        open_pairs(tmp_path / "pairs")


# Crops, and pairs to validate on.


@pytest.mark.parametrize(("crop", "size", "fitting"), [(300, 256, 256), (512, 257, 256), (260, 100, 100)])
def test_a_crop_over_the_size_is_said_as_that(tmp_path, crop, size, fitting):
    for number in range(3):
        for side in "AB":
            (tmp_path / side).mkdir(exist_ok=True)
            write_image(tmp_path / side / f"{number}.png", picture(number, 320, 400), force=False)
    found = open_pairs(tmp_path, size=size)
    said = (
        rf"a crop of {crop} pixels is larger than --size {size},.*--size {crop} or more, or --crop {fitting}$"
    )
    with pytest.raises(InvalidPairs, match=said):
        found.check_crops(crop)


def test_other_pairs_are_validated_on(tmp_path):
    write_folders(tmp_path / "mine")
    write_aligned(tmp_path / "held", ["x", "y", "z"])
    for number, name in enumerate("xyz", start=20):
        both = np.concatenate([picture(number), wanted_of(picture(number))], axis=1)
        write_image(tmp_path / "held" / f"{name}.png", both, force=True)
    found = open_pairs(tmp_path / "mine", validation=tmp_path / "held")
    assert [pair.name for pair in found.train] == NAMES
    assert [pair.name for pair in found.validation] == ["x", "y", "z"]
    held = f"{tmp_path / 'held'}, A and B side by side"
    assert found.summary == (f"9 pairs, folders A and B, 64 x 48: 6 to train on, 3 of {held} to validate on")
    turned = open_pairs(tmp_path / "mine", validation=tmp_path / "held", direction="BtoA")
    assert np.array_equal(turned.validation[0].given, found.validation[0].wanted)


def test_one_pair_is_enough_beside_a_validation_folder(tmp_path):
    write_folders(tmp_path / "mine", ["only"])
    write_sides(tmp_path / "held", "valA", "valB", ["other"], first=7)
    (tmp_path / "held" / "trainA").mkdir()
    (tmp_path / "held" / "trainB").mkdir()
    found = open_pairs(tmp_path / "mine", validation=tmp_path / "held")
    assert ([pair.name for pair in found.train], [pair.name for pair in found.validation]) == (
        ["only"],
        ["other"],
    )


def test_validation_pairs_are_not_learnt_from(tmp_path):
    write_folders(tmp_path / "mine")
    write_sides(tmp_path / "held", "A", "B", ["other name"], first=3)
    with pytest.raises(
        InvalidPairs,
        match="1 of the 1 validation pairs of .*held are also among .*mine, e.g. 'other name'",
    ):
        open_pairs(tmp_path / "mine", validation=tmp_path / "held")
    with pytest.raises(InvalidPairs, match="6 of the 6 validation pairs"):
        open_pairs(tmp_path / "mine", validation=tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidPairs, match="empty: the folder has no images"):
        open_pairs(tmp_path / "mine", validation=tmp_path / "empty")


def test_sides_of_many_lengths_are_said(tmp_path):
    found = open_pairs(write_folders(tmp_path))
    larger = replace(found.train[0], given=picture(0, 96, 80), wanted=picture(0, 96, 80))
    mixed = PairSet("here", (*found.train, larger), found.validation)
    assert mixed.summary == "7 pairs, here, sides of 48 to 96 pixels: 6 to train on, 1 to validate on"
