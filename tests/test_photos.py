"""Photos come with a split and a licence, at a known size, and vary without ceasing to be photos."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hub_fixtures import own_hub, program, run_program
from hub_server import Repo

from initzoo.errors import InitzooWarning, InvalidImage, InvalidPairs, MissingExtra
from initzoo.files.images import write_image
from initzoo.pairs.photos import PHOTO_SIDE, TEACHING_SIDE, fit_short_side, load_photos, vary_photo

__all__ = ["own_hub"]


def write_photos(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        write_image(folder / name, np.full((16, 24, 3), number, np.uint8), force=False)


def test_bundled_photos_have_a_licence_and_a_source() -> None:
    photos = load_photos(split=None)
    assert len(photos) == 128
    free = ("public domain", "no known copyright restrictions", "CC0-1.0", "CC-BY-", "BSD-3-Clause", "MIT")
    for photo in photos:
        assert photo.licence.startswith(free)
        assert photo.source
        assert photo.pixels.dtype == np.uint8
        assert min(photo.pixels.shape[:2]) <= PHOTO_SIDE


def test_bundled_splits_share_no_photo() -> None:
    train = {photo.name for photo in load_photos(split="train")}
    score = {photo.name for photo in load_photos(split="score")}
    assert {"chelsea", "coffee", "flower", "rocket"} <= score
    assert (len(train), len(score)) == (102, 26)
    assert not train & score


def test_bundled_photos_are_small() -> None:
    catalog = Path(__file__).parent.parent / "catalog"
    for name, limit in (("photos", 3_000_000), ("more_photos", 13_000_000)):
        files = {path.stem for path in (catalog / name).iterdir()}
        assert files == {photo.name for photo in load_photos(catalog / name, split=None)} | {"photos"}
        assert sum(path.stat().st_size for path in (catalog / name).iterdir()) < limit


def test_an_installed_package_has_fourteen_of_the_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").symlink_to(Path(__file__).parent.parent / "catalog" / "photos")
    monkeypatch.setattr("initzoo.pairs.photos.catalog_folder", lambda: tmp_path)
    assert {photo.name for photo in load_photos(split="score")} == {"chelsea", "coffee", "flower", "rocket"}
    assert len(load_photos(split="train")) == 10


def test_a_folder_is_split_by_name_about_one_in_four(tmp_path: Path) -> None:
    names = [f"photo{number}.png" for number in range(60)]
    write_photos(tmp_path, names)
    score = {photo.name for photo in load_photos(tmp_path, split="score")}
    train = {photo.name for photo in load_photos(tmp_path, split="train")}
    assert len(score | train) == 60
    assert not score & train
    assert 6 <= len(score) <= 26


def test_a_photo_keeps_its_split_when_others_come(tmp_path: Path) -> None:
    write_photos(tmp_path / "few", [f"photo{number}.png" for number in range(20)])
    write_photos(tmp_path / "more", [f"photo{number}.png" for number in range(30)])
    few = {photo.name: photo.split for photo in load_photos(tmp_path / "few", split=None)}
    more = {photo.name: photo.split for photo in load_photos(tmp_path / "more", split=None)}
    assert all(more[name] == split for name, split in few.items())


@pytest.mark.parametrize("first", range(12))
def test_two_photos_give_one_of_each_split(tmp_path: Path, first: int) -> None:
    write_photos(tmp_path, [f"{first}.png", f"{first + 1}.png"])
    assert sorted(photo.split for photo in load_photos(tmp_path, split=None)) == ["score", "train"]


def test_one_photo_is_for_training(tmp_path: Path) -> None:
    write_photos(tmp_path, ["only.png"])
    assert load_photos(tmp_path, split="train")[0].name == "only"
    with pytest.raises(InvalidImage, match="no photos of split 'score'"):
        load_photos(tmp_path, split="score")


def test_subfolders_named_as_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", ["a.png", "b.png"])
    write_photos(tmp_path / "score", ["c.png"])
    splits = {photo.name: photo.split for photo in load_photos(tmp_path, split=None)}
    assert splits == {"a": "train", "b": "train", "c": "score"}


def test_files_that_cannot_be_read_are_left_out_with_a_warning(photo_folder: Path) -> None:
    (photo_folder / "notes.txt").write_text("not a photo")
    (photo_folder / "empty.png").write_bytes(b"")
    (photo_folder / ".hidden").write_text("not a photo")
    with pytest.warns(
        InitzooWarning, match=r"2 files of .*: empty\.png, notes\.txt \(not an image"
    ) as caught:
        assert [photo.name for photo in load_photos(photo_folder, split=None)] == ["cat", "cup", "dahlia"]
    assert len(caught) == 1
    (photo_folder / "notes.txt").unlink()
    (photo_folder / "empty.png").unlink()
    whole = (photo_folder / "cat.png").read_bytes()
    (photo_folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(InitzooWarning, match=r"1 file of .*: cut\.png \(the image is damaged or cut off"):
        assert len(load_photos(photo_folder, split=None)) == 3


def test_a_folder_without_a_photo_that_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with (
        pytest.warns(InitzooWarning, match="left out"),
        pytest.raises(InvalidImage, match=r"no photos in .*: 1 file .*empty\.png \(not an image"),
    ):
        load_photos(tmp_path, split=None)


def test_photos_beside_the_folders_of_the_splits_are_not_silently_ignored(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", ["a.png"])
    write_photos(tmp_path, ["b.png"])
    with pytest.warns(InitzooWarning, match=r"b\.png \(beside the folders of the splits\)"):
        assert [photo.name for photo in load_photos(tmp_path, split=None)] == ["a"]


def test_a_photo_that_the_table_names_must_be_there(tmp_path: Path) -> None:
    line = 'name="a"\nfile="a.png"\nsplit="train"\ntitle=""\nauthor=""\nlicence=""\nsource=""'
    (tmp_path / "photos.toml").write_text(f"[[photo]]\n{line}")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InvalidImage, match=r"cannot read .*a\.png"):
        load_photos(tmp_path, split=None)


def test_equal_stems_keep_their_endings_and_equal_names_are_refused(tmp_path: Path) -> None:
    write_photos(tmp_path / "flat", ["a.png", "a.jpg", "b.png"])
    assert [photo.name for photo in load_photos(tmp_path / "flat", split=None)] == ["a.jpg", "a.png", "b"]
    write_photos(tmp_path / "split" / "train", ["a.png"])
    write_photos(tmp_path / "split" / "score", ["a.png"])
    with pytest.raises(InvalidImage, match=r"two photos in .* are named 'a'\. Rename one"):
        load_photos(tmp_path / "split", split=None)


def test_large_photos_are_made_smaller_and_small_ones_kept(tmp_path: Path) -> None:
    write_image(tmp_path / "large.png", np.zeros((800, 1000, 3), np.uint8), force=False)
    write_image(tmp_path / "small.png", np.zeros((80, 100, 3), np.uint8), force=False)
    large, small = load_photos(tmp_path, split=None)
    assert large.pixels.shape == (384, 480, 3)
    assert small.pixels.shape == (80, 100, 3)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("photo = 3", r"expected \[\[photo\]\] tables"),
        ("[[photo", "cannot read"),
        ('[[photo]]\nname = "a"', "photo 0: missing or unknown: author, file"),
        (
            '[[photo]]\nname="a"\nfile="a.png"\nsplit="both"\ntitle=""\nauthor=""\nlicence=""\nsource=""',
            "split 'both'; expected 'train' or 'score'",
        ),
        (
            '[[photo]]\nname="a"\nfile="../a.png"\nsplit="train"\ntitle=""\nauthor=""\nlicence=""\nsource=""',
            "not a plain file name",
        ),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "photos.toml").write_text(table)
    with pytest.raises(InvalidImage, match=words):
        load_photos(tmp_path, split=None)


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match="no folder of photos at"):
        load_photos(tmp_path / "nowhere", split=None)
    with pytest.raises(InvalidImage, match="no photos in"):
        load_photos(tmp_path, split=None)
    with pytest.raises(ValueError, match="split must be"):
        load_photos(split="test")


def test_fit_short_side_averages_areas() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 200
    pixels = np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)
    assert np.unique(fit_short_side(pixels, 32)).tolist() == [100]


def test_vary_photo_is_drawn_from_the_generator_alone() -> None:
    pixels = load_photos(split="score")[0].pixels
    before = pixels.copy()
    first = vary_photo(pixels, np.random.default_rng(3))
    again = vary_photo(pixels, np.random.default_rng(3))
    other = vary_photo(pixels, np.random.default_rng(4))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("shape", [(300, 451), (384, 384), (60, 40), (256, 1200)])
def test_vary_photo_keeps_its_promised_size(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for seed in range(8):
        varied = vary_photo(pixels, np.random.default_rng(seed))
        assert min(varied.shape[:2]) == TEACHING_SIDE
        assert max(varied.shape[:2]) <= TEACHING_SIDE * 3 // 2
        assert varied.dtype == np.uint8
        assert varied.flags.c_contiguous


def test_vary_photo_leaves_no_black_corners() -> None:
    grey = np.full((300, 400, 3), 150, np.uint8)
    for seed in range(20):
        varied = vary_photo(grey, np.random.default_rng(seed))
        assert np.ptp(varied.reshape(-1, 3), axis=0).max() <= 1


def n_colours(photos: list[np.ndarray]) -> int:
    """How many of 512 coarse colours fill more than 1 in 10,000 of the photos' pixels."""
    places = [photo.reshape(-1, 3) // 32 @ np.array([64, 8, 1]) for photo in photos]
    shares = [np.bincount(place, minlength=512) / len(place) for place in places]
    return int((np.mean(shares, axis=0) > 1e-4).sum())


def test_variations_of_a_few_photos_have_nearly_twice_their_colours() -> None:
    pixels = [photo.pixels for photo in load_photos(split="train")][::10]
    varied = [vary_photo(pixels[n % len(pixels)], np.random.default_rng([5, n])) for n in range(60)]
    assert n_colours(varied) >= 1.8 * n_colours(pixels)


# Datasets.


def rows_of(n, **columns):
    from PIL import Image

    images = [np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8) for number in range(n)]
    return {"image": [Image.fromarray(image) for image in images], **columns}, images


def test_photos_are_rows_of_a_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns, images = rows_of(8, words=list("abcdefgh"))
    features = datasets.Features({"image": datasets.Image(), "words": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
    photos = load_photos(tmp_path / "saved", split=None)
    assert [photo.name for photo in photos] == [f"{number:06d}" for number in range(8)]
    assert all(np.array_equal(photo.pixels, image) for photo, image in zip(photos, images, strict=True))
    assert (photos[3].source, photos[3].licence) == ("saved, row 3", "that of the dataset")
    parts = [load_photos(tmp_path / "saved", split=split) for split in ("train", "score")]
    assert sorted(photo.name for part in parts for photo in part) == [photo.name for photo in photos]
    assert all(parts)
    (tmp_path / "parquet").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "parquet" / "train.parquet")
    again = load_photos(tmp_path / "parquet", split="train")
    assert [photo.pixels.tobytes() for photo in again] == [photo.pixels.tobytes() for photo in parts[0]]


def test_of_a_large_dataset_some_rows_are_taken(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    columns, _ = rows_of(9)
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features({"image": datasets.Image()}))
    rows.save_to_disk(str(tmp_path / "saved"))
    monkeypatch.setattr("initzoo.pairs.photos.MAX_DATASET_PHOTOS", 3)
    names = [photo.name for photo in load_photos(tmp_path / "saved", split=None)]
    assert names == ["000000", "000003", "000006"]


def test_a_dataset_without_photos_is_said(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    columns, _ = rows_of(2)
    two = {"a": columns["image"], "b": columns["image"]}
    features = datasets.Features({"a": datasets.Image(), "b": datasets.Image()})
    datasets.Dataset.from_dict(two, features=features).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(InvalidImage, match=r"two has 2 image columns \(a, b\), expected one, or one "):
        load_photos(tmp_path / "two", split=None)
    datasets.Dataset.from_dict({"words": ["a"]}).save_to_disk(str(tmp_path / "words"))
    with pytest.raises(InvalidImage, match=r"has 0 image columns \(none\), .*It has words"):
        load_photos(tmp_path / "words", split=None)
    features = datasets.Features({"image": datasets.Image()})
    broken = datasets.Dataset.from_dict({"image": [{"bytes": b"no", "path": None}] * 3}, features=features)
    broken.save_to_disk(str(tmp_path / "broken"))
    with pytest.raises(InvalidImage, match=r"broken has no photos that can be read, e\.g\. cannot read"):
        load_photos(tmp_path / "broken", split=None)
    # Without this, the library asks a Hub that is not there for twenty seconds.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidPairs, match="dataset me/away cannot be loaded"):
        load_photos(Path("me/away"), split=None)


def test_photos_of_a_dataset_need_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r'photos from a dataset .* pip install "initzoo\[datasets\]"'):
        load_photos(Path("someone/photos"), split=None)


@pytest.mark.long
def test_photos_are_rows_of_a_dataset_on_the_hub(own_hub, tmp_path):
    datasets = pytest.importorskip("datasets")
    columns, _ = rows_of(6)
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features({"image": datasets.Image()}))
    rows.to_parquet(tmp_path / "train.parquet")
    for name, is_gated in (("me/photos", False), ("me/gated", True)):
        repo = own_hub.repos["dataset", name] = Repo("dataset", name, gated=is_gated)
        repo.commit(
            {"data/train-00000-of-00001.parquet": (tmp_path / "train.parquet").read_bytes()}, "photos"
        )
    environment = program(own_hub, tmp_path / "cache")
    command = ["-m", "initzoo", "pairs", "sepia", "--out", str(tmp_path / "pairs"), "--photos"]
    result = run_program(environment, *command, "me/photos", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("sepia  6 pairs")
    assert sorted(path.stem for path in (tmp_path / "pairs" / "A").iterdir())[5] == "000005"
    for name in ("me/gated", "me/absent"):
        result = run_program(environment, *command, name, "--force", cwd=tmp_path)
        assert result.returncode == 1
        assert f"dataset {name} cannot be loaded" in result.stderr
        assert "Traceback" not in result.stderr
