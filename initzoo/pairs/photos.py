"""Photos for teachers, bundled, from a folder or a dataset: loading, splits, sizes and random variations."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage, InvalidPairs
from initzoo.files import (
    MAX_TOML_BYTES,
    DamagedFile,
    ImageFolder,
    decode_image,
    describe_left_out,
    is_file,
    is_plain_name,
    list_images,
    parse_toml,
    path_within,
    read_file,
    read_image,
    short_reason,
    warn_left_out,
)
from initzoo.pairs.concepts import catalog_folder
from initzoo.pairs.dataset_rows import bytes_of, is_dataset, open_rows, undecoded
from initzoo.pairs.opencv import fit_short_side, opencv

__all__ = [
    "PHOTO_SIDE",
    "TEACHING_SIDE",
    "Photo",
    "PhotoSource",
    "fit_short_side",
    "load_photos",
    "middle_squares",
    "training_photos",
    "varied_photos",
    "vary_photo",
]

Pixels = NDArray[np.uint8]

PHOTO_SIDE = 384
"""Shorter side to which larger photos are shrunk, pixels."""

TEACHING_SIDE = 256
"""Shorter side of the photos that teachers edit, pixels."""

MAX_DATASET_PHOTOS = 512
"""Maximum number of photos from a dataset; of more, so many are taken, evenly spaced."""

_MAX_ASPECT = 32
_PHOTO_COLUMNS = ("image", "photo", "img", "input", "original_image", "before")
_SPLITS = ("train", "score")
_PHOTO_KEYS = {"name", "file", "split", "title", "author", "licence", "source"}


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo with its licence and source.

    Args:
        name: name, unique within its folder.
        pixels: uint8 RGB, shape `(height, width, 3)`, shorter side at most `PHOTO_SIDE`.
        split: "train" for training, or "score" for scores only.
        licence: SPDX name, or a description.
        source: origin of the photo.
    """

    name: str
    pixels: Pixels
    split: str
    licence: str
    source: str


def load_photos(folder: Path | None = None, *, split: str | None) -> list[Photo]:
    """Load the bundled photos, or those of a folder or a dataset, sorted by name.

    The bundled photos are those of `catalog/photos` and, in a checkout, of `catalog/more_photos`. A wheel has
    10 of the 102 photos to train on, and 4 of the 26 for scores.

    Splits of a folder come from its `photos.toml`, else from its subfolders `train` and `score`, else from a
    hash of the names: about one photo in four is for scores, and two photos or more give both splits. Files
    that cannot be read as images are left out with a warning, unless `photos.toml` names them.

    A folder that `datasets` can load, or the id of a dataset on the Hub, gives the images of its split
    `train`, at most `MAX_DATASET_PHOTOS`, in splits by a hash as above. The whole split is downloaded.

    Args:
        folder: a folder of images or of a dataset, or the id of a dataset; the bundled photos by default.
        split: "train", "score", or None for all photos.

    Raises:
        ValueError: `split` has another value.
        InvalidImage: the folder is missing or has no readable photo of the split, or `photos.toml` or a photo
            that it names is invalid.
        InvalidPairs: a dataset cannot be loaded.
        MissingExtra: it is a dataset, and `datasets` is not installed.

    Example:
        >>> {photo.split for photo in load_photos(split="score")}
        {'score'}
    """
    if split not in (None, *_SPLITS):
        raise ValueError(f"split must be 'train', 'score' or None, found {split!r}")
    if folder is not None:
        return _load_folder(Path(folder), split)
    photos = _load_folder(catalog_folder() / "photos", split)
    more = catalog_folder() / "more_photos"
    if more.is_dir():
        photos += _load_folder(more, split)
    return sorted(photos, key=lambda photo: photo.name)


@dataclass(frozen=True)
class PhotoSource:
    """A folder and split of photos.

    Args:
        folder: folder of photos; the bundled ones by default.
        split: split of the photos; None for all photos.
    """

    folder: Path | None = None
    split: str | None = "score"

    def load(self) -> list[Photo]:
        """Load the photos by `load_photos`.

        Raises:
            InvalidImage: as for `load_photos`.
        """
        return load_photos(self.folder, split=self.split)


def vary_photo(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Make a random variation of a photo: mirrored, rotated, cropped and recoloured.

    Most grey photos get a random gradient from a dark to a light colour.

    Args:
        pixels: uint8, shape `(height, width, 3)`.
        rng: random generator; the same state gives the same variation.

    Returns:
        uint8, shape `(height, width, 3)`, shorter side `TEACHING_SIDE`, longer side at most 1.5 times that.

    Example:
        >>> photo = load_photos(split="score")[0]
        >>> min(vary_photo(photo.pixels, np.random.default_rng(0)).shape[:2])
        256
    """
    return _recolour(_move(pixels, rng), rng)


def varied_photos(photos: Sequence[Photo], n_photos: int, seed: int) -> list[Pixels]:
    """Make `n_photos` variations, cycling through the photos.

    Variation `i` depends on the photos, `seed` and `i` only, not on `n_photos`.

    Returns:
        `n_photos` arrays, uint8, shape `(height, width, 3)`, shorter side `TEACHING_SIDE`.

    Example:
        >>> few = varied_photos(load_photos(split="score"), 2, seed=0)
        >>> min(few[0].shape[:2])
        256
    """
    return [
        vary_photo(photos[number % len(photos)].pixels, np.random.default_rng([seed, number]))
        for number in range(n_photos)
    ]


def training_photos(photos: Sequence[Photo], n_photos: int, seed: int) -> list[Pixels]:
    """Make `n_photos` training photos: each photo unchanged, in random order, then variations.

    Photo `i` depends on the photos, `seed` and `i` only, not on `n_photos`.

    Returns:
        `n_photos` uint8 arrays, shape `(height, width, 3)`, shorter side `TEACHING_SIDE`, longer side at most
        1.5 times that.

    Example:
        >>> few = training_photos(load_photos(split="train"), 2, seed=0)
        >>> min(few[0].shape[:2])
        256
    """
    order = np.random.default_rng(seed).permutation(len(photos))
    chosen = []
    for number in range(n_photos):
        turn, place = divmod(number, len(photos))
        pixels, rng = photos[order[place]].pixels, np.random.default_rng([seed, number])
        chosen.append(
            vary_photo(pixels, rng) if turn else _cut_long_side(fit_short_side(pixels, TEACHING_SIDE), rng)
        )
    return chosen


# Loading.


def _load_folder(folder: Path, split: str | None) -> list[Photo]:
    if _is_dataset(folder):
        return _load_rows(folder, split)
    if not os.path.isdir(folder):  # also if the system refuses the name
        raise InvalidImage(
            f"no folder of photos at {folder}. Name a folder that holds images, or a dataset such as org/name"
        )
    left_out: dict[str, str] = {}
    has_table = is_file(folder / "photos.toml")
    if has_table:
        entries = _entries_of_table(folder)
    elif any((folder / name).is_dir() for name in _SPLITS):
        entries = []
        for name in _SPLITS:
            if (folder / name).is_dir():
                listed = list_images(folder / name)
                entries += _entries_of_files(listed, name)
                left_out |= {f"{name}/{file}": reason for file, reason in listed.left_out.items()}
        beside = list_images(folder)
        left_out |= beside.left_out
        left_out |= dict.fromkeys((path.name for path in beside.images), "beside the folders of the splits")
    else:
        listed = list_images(folder)
        entries, left_out = _split_by_name(_entries_of_files(listed, "")), listed.left_out
    _check_names(folder, entries)
    warn_left_out(folder, left_out)
    photos, unreadable = [], {}
    for entry in sorted(entries, key=lambda entry: entry["name"]):
        if split in (None, entry["split"]):
            try:
                photos.append(_load(folder, entry))
            except InvalidImage as error:
                if has_table:
                    raise
                unreadable[entry["file"]] = short_reason(folder / entry["file"], error)
    if not photos:
        wanted = "photos" if split is None else f"photos of split '{split}'"
        left_out |= unreadable
        why = f": {describe_left_out(folder, left_out)}" if left_out else ""
        raise InvalidImage(f"no {wanted} in {folder}{why}. Add images, e.g. PNG, JPEG, WebP, AVIF or TIFF")
    warn_left_out(folder, unreadable)
    return photos


def _is_dataset(folder: Path) -> bool:
    """Whether photos are rows of a dataset. A folder that has images itself is a folder of images."""
    if not os.path.isdir(folder):
        return is_dataset(folder, folder.as_posix())
    has_splits = any((folder / name).is_dir() for name in _SPLITS)
    if is_file(folder / "photos.toml") or has_splits or list_images(folder).images:
        return False
    return is_dataset(folder, str(folder))


def _load_rows(folder: Path, split: str | None) -> list[Photo]:
    """The photos of a dataset."""
    source = str(folder) if os.path.isdir(folder) else folder.as_posix()
    rows, columns = open_rows(source, "train", what="photos")
    column = columns[0] if len(columns) == 1 else next(filter(columns.__contains__, _PHOTO_COLUMNS), None)
    if column is None:
        raise InvalidImage(
            f"dataset {source} has {len(columns)} image columns ({', '.join(columns) or 'none'}), expected "
            f"one, or one named {', '.join(_PHOTO_COLUMNS)}. It has {', '.join(rows.features)}"
        )
    n_photos = min(len(rows), MAX_DATASET_PHOTOS)
    licence = " ".join(str(rows.info.license or "that of the dataset").split())[:80]
    name = folder.name if os.path.isdir(folder) else source
    entries = [
        {
            "name": f"{number:06d}",
            "file": f"row {number}",
            "row": str(number),
            "licence": licence,
            "source": f"{name}, row {number}",
        }
        for number in (len(rows) * place // n_photos for place in range(n_photos))
    ]
    rows = undecoded(rows, [column])
    photos, unreadable = [], {}
    for entry in sorted(_split_by_name(entries), key=lambda entry: entry["name"]):
        if split in (None, entry["split"]):
            place = f"{source}, row {entry['row']}"
            try:
                pixels = decode_image(place, bytes_of(source, place, rows[int(entry["row"])][column]))
                photos.append(_photo(place, pixels, entry))
            except (InvalidImage, InvalidPairs) as error:
                unreadable[entry["file"]] = str(error)
    if not photos:
        why = f", e.g. {next(iter(unreadable.values()))}" if unreadable else ""
        wanted = "photos" if split is None else f"photos of split '{split}'"
        raise InvalidImage(f"dataset {source} has no {wanted} that can be read{why}. Name another one")
    warn_left_out(folder, unreadable)
    return photos


def _entries_of_table(folder: Path) -> list[dict[str, str]]:
    table = folder / "photos.toml"
    try:
        photos = parse_toml(read_file(table, max_bytes=MAX_TOML_BYTES))["photo"]
    except (DamagedFile, KeyError) as error:
        raise InvalidImage(f"cannot read {table}: it {error}. Expected [[photo]] tables") from error
    if not isinstance(photos, list) or not all(isinstance(photo, dict) for photo in photos):
        raise InvalidImage(f"cannot read {table}: expected [[photo]] tables")
    for number, photo in enumerate(photos):
        keys = set(photo)
        if keys != _PHOTO_KEYS or not all(isinstance(value, str) for value in photo.values()):
            unexpected = ", ".join(sorted(keys ^ _PHOTO_KEYS)) or "a value that is not text"
            raise InvalidImage(f"{table}, photo {number}: missing or unknown: {unexpected[:80]}. Correct it")
        if photo["split"] not in _SPLITS:
            raise InvalidImage(
                f"{table}, photo {photo['name'][:80]!r}: split {photo['split'][:80]!r}; expected 'train' or "
                "'score'"
            )
        for key in ("name", "file"):
            if not is_plain_name(photo[key]):
                raise InvalidImage(
                    f"{table}, photo {photo['name'][:80]!r}: {key} {photo[key][:80]!r} is not a plain file "
                    "name. Use letters, digits and hyphens"
                )
    return photos


def _entries_of_files(listed: ImageFolder, split: str) -> list[dict[str, str]]:
    stems = Counter(path.stem for path in listed.images)
    inside = "" if split == "" else f"{split}/"
    return [
        {
            "name": path.stem if stems[path.stem] == 1 else path.name,
            "file": inside + path.name,
            "split": split,
            "licence": "the owner's",
            "source": f"{listed.path.name}/{path.name}",
        }
        for path in listed.images
    ]


def _split_by_name(entries: list[dict[str, str]]) -> list[dict[str, str]]:
    """Assign about one photo in four to scores, by a hash, so that other photos do not change its split."""
    ranks = {
        entry["name"]: hashlib.sha256(entry["name"].encode("utf-8", "surrogateescape")).digest()
        for entry in entries
    }
    for entry in entries:
        entry["split"] = "score" if ranks[entry["name"]][0] < 64 else "train"
    if len(entries) == 1:
        entries[0]["split"] = "train"
    elif entries and len({entry["split"] for entry in entries}) == 1:
        by_rank = sorted(entries, key=lambda entry: ranks[entry["name"]])
        by_rank[0]["split"] = "score"
        by_rank[-1]["split"] = "train"
    return entries


def _check_names(folder: Path, entries: list[dict[str, str]]) -> None:
    counts = Counter(entry["name"] for entry in entries)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise InvalidImage(f"two photos in {folder} are named '{repeated[0][:80]}'. Rename one")


def _load(folder: Path, entry: dict[str, str]) -> Photo:
    pixels = read_image(path_within(folder, entry["file"]))
    return _photo(str(folder / entry["file"]), pixels, entry)


def _photo(place: str, pixels: Pixels, entry: dict[str, str]) -> Photo:
    """A photo of its largest size; `place` is where it was read, for errors."""
    if max(pixels.shape[:2]) > _MAX_ASPECT * min(pixels.shape[:2]):
        raise InvalidImage(
            f"{place} is {pixels.shape[1]} x {pixels.shape[0]} pixels; a photo is at most "
            f"{_MAX_ASPECT} times as long as wide. Crop it"
        )
    if min(pixels.shape[:2]) > PHOTO_SIDE:
        pixels = fit_short_side(pixels, PHOTO_SIDE)
    return Photo(
        name=entry["name"],
        pixels=pixels,
        split=entry["split"],
        licence=entry["licence"],
        source=entry["source"],
    )


# Variations.


def _move(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Scale, rotate, crop and mirror. Borders are reflected, so that no corner is black."""
    cv2 = opencv()
    largest = max(TEACHING_SIDE, min(PHOTO_SIDE, *pixels.shape[:2]))
    pixels = fit_short_side(pixels, int(rng.integers(TEACHING_SIDE, largest + 1)))
    if rng.random() < 0.5:
        height, width = pixels.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-12, 12), 1.0)
        pixels = np.asarray(
            cv2.warpAffine(
                pixels, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
            ),
            np.uint8,
        )
    pixels = _cut_long_side(pixels, rng)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    quarter_turns = int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1)))
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


def _cut_long_side(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Crop to a shorter side of `TEACHING_SIDE` and a longer side of at most 1.5 times that."""
    height, width = pixels.shape[:2]
    side = TEACHING_SIDE
    long_side = min(max(height, width), side * 3 // 2)
    cut_height, cut_width = (side, long_side) if height <= width else (long_side, side)
    top = int(rng.integers(0, height - cut_height + 1))
    left = int(rng.integers(0, width - cut_width + 1))
    return np.ascontiguousarray(pixels[top : top + cut_height, left : left + cut_width])


def _recolour(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    if _is_grey(pixels) and rng.random() < 0.8:
        pixels = _colour_grey(pixels, rng)
    values = pixels.astype(np.float32) / 255
    values = opencv().pow(values, float(2 ** rng.uniform(-0.6, 0.6)))
    contrast = float(rng.uniform(0.7, 1.3))
    middle = float(values.mean())
    values = (values - middle) * contrast + middle * float(2 ** rng.uniform(-0.4, 0.4))
    values = opencv().transform(values, _colour_matrix(rng))
    return np.asarray(np.clip(values * 255 + 0.5, 0, 255), np.uint8)


def _is_grey(pixels: Pixels) -> bool:
    low, high = pixels.min(axis=2), pixels.max(axis=2)
    return float((high - low).mean()) < 2


def _colour_grey(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Map black to a dark colour, white to a light colour, and grey to a third colour."""
    dark = rng.uniform(0.0, 0.35, 3)
    light = rng.uniform(0.65, 1.0, 3)
    middle = np.clip((dark + light) / 2 + rng.uniform(-0.25, 0.25, 3), 0, 1)
    levels = np.linspace(0, 1, 256)
    scale = np.stack(
        [np.interp(levels, (0, 0.5, 1), (dark[c], middle[c], light[c])) for c in range(3)], axis=1
    )
    table = (scale * 255 + 0.5).astype(np.uint8)[None]
    return np.asarray(opencv().LUT(pixels, table), np.uint8)


def _colour_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random 3 x 3 matrix that rotates hues about the grey axis, saturates, and scales channels.

    One photo in three gets any hue; the others keep about their own, so that most objects have natural
    colours.
    """
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 1 / 3 else rng.normal(0, 0.2)
    saturation = rng.uniform(0.5, 1.7) if rng.random() < 0.93 else 0.0
    gains = np.exp(rng.normal(0, 0.12 if rng.random() < 0.6 else 0.0, 3))
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cos, sin = saturation * np.cos(angle), saturation * np.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.diag(gains) @ np.linalg.inv(to_yiq) @ turn @ to_yiq


def middle_squares(photos: Sequence[Photo], *, side: int = 128, n_images: int = 4) -> NDArray[np.uint8]:
    """The centre squares of the first photos, resized to one side.

    Args:
        photos: the photos.
        side: side of the squares, pixels.
        n_images: maximum number of squares.

    Returns:
        uint8 RGB, shape `(n, side, side, 3)`.

    Example:
        >>> middle_squares(load_photos(split="score"), side=64).shape
        (4, 64, 64, 3)
    """
    squares = []
    for photo in photos[:n_images]:
        pixels = fit_short_side(photo.pixels, side)
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        squares.append(pixels[top : top + side, left : left + side])
    return np.stack(squares)
