"""Where pairs to fine-tune on come from: folders, aligned images, a dataset, or a teacher and photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidPairs, MissingExtra
from initzoo.files.images import IMAGE_SUFFIXES, read_image, to_rgb
from initzoo.pairs.concepts import Concept
from initzoo.pairs.photos import fit_short_side, load_photos
from initzoo.pairs.store import scoring_pairs, varied_photos
from initzoo.pairs.teachers import teach

__all__ = ["DIRECTIONS", "Pair", "PairSet", "open_pairs", "split_pairs", "teach_pairs"]

Pixels = NDArray[np.uint8]
Callback = Callable[[int], None]

DIRECTIONS = ("AtoB", "BtoA")
"""Which of two images is the input; in aligned images A is the left half."""

_MAX_VALIDATION = 16
_VALIDATION_SHARE = 0.2
_DATASET_FILES = ("*.parquet", "*.arrow", "dataset_info.json", "state.json", "dataset_dict.json")
_LAYOUTS = (
    "Name a folder with A and B in it, a folder of images that hold both side by side, or a dataset "
    "with two image columns"
)


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and what should become of it.

    Args:
        name: of the files, or of the row.
        given: what the network is shown, uint8 RGB, shape `(height, width, 3)`.
        wanted: what it should make of it, same shape.
    """

    name: str
    given: Pixels
    wanted: Pixels


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs to learn from, and others to validate on.

    Args:
        source: where they come from, in words.
        train: at least one.
        validation: at least one; none of them is in `train`.
    """

    source: str
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]

    @property
    def digest(self) -> str:
        """Sixty-four hex digits that change when any pixel or name does."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation):
            digest.update(f"{len(part)} ".encode())
            for pair in part:
                digest.update(f"{pair.name} {pair.given.shape} ".encode("utf-8", "replace"))
                digest.update(pair.given.tobytes() + pair.wanted.tobytes())
        return digest.hexdigest()

    def check_crops(self, crop_size: int) -> None:
        """Make sure that every training image holds a crop.

        Raises:
            InvalidPairs: one does not.
        """
        for pair in self.train:
            height, width = pair.given.shape[:2]
            if min(height, width) < crop_size:
                fitting = min(height, width) // 4 * 4
                advice = f", or take --crop {fitting}" if fitting >= 32 else ""
                raise InvalidPairs(
                    f"pair '{pair.name}' is {width} x {height} pixels, smaller than the crop of {crop_size}. "
                    f"Give larger images{advice}"
                )


def open_pairs(
    source: str | Path,
    *,
    size: int = 256,
    direction: str = "AtoB",
    columns: tuple[str, str] | None = None,
    split: str = "train",
    callback: Callback | None = None,
) -> PairSet:
    """Read pairs from whatever `source` is.

    It may be a folder with `A` and `B` in it, whose files have equal names; a folder of images that hold A
    and B side by side, as pix2pix has them, perhaps below `train` and `val` (or `test`); a folder that
    `datasets` can load; or the id of a dataset on the Hub. About one pair in five, at most 16, is kept for
    validation, chosen by name, unless the source has pairs for that.

    Args:
        source: a path or an id.
        size: larger images are shrunk to this shorter side, pixels.
        direction: one of `DIRECTIONS`.
        columns: input and target of a dataset; without it, its two image columns in their order.
        split: of a dataset.
        callback: called with the number of pairs read.

    Raises:
        InvalidPairs: there is no such source, its pairs do not match, or there are fewer than two.
        InvalidImage: a file is no good image.
        MissingExtra: it is a dataset, and `datasets` is not installed.
        ValueError: there is no such direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, found {direction!r}")
    folder, told = Path(source), str(source)
    read: Iterator[Pair]
    validation: Iterator[Pair] = iter(())
    if columns is not None and not _is_dataset(folder, told):
        raise InvalidPairs(f"columns are those of a dataset, and {source} is none. Leave them out")
    if (folder / "A").is_dir() or (folder / "B").is_dir():
        read = _from_folders(folder)
    elif folder.is_dir() and _images_in(folder):
        read, told = _from_aligned(folder), f"{source}, A and B side by side"
    elif (folder / "train").is_dir() and _images_in(folder / "train"):
        read, told = _from_aligned(folder / "train"), f"{source}, A and B side by side"
        held = next((folder / name for name in ("val", "test") if (folder / name).is_dir()), None)
        validation = iter(()) if held is None else _from_aligned(held)
    elif _is_dataset(folder, str(source)):
        read = _from_dataset(str(source), columns, split)
    else:
        raise InvalidPairs(f"no pairs at {source}: {_found_there(folder)}. {_LAYOUTS}")
    is_turned = direction == "BtoA"
    pairs = _finish(read, size, is_turned, callback)
    held_pairs = _finish(validation, size, is_turned, None)[:_MAX_VALIDATION]
    if held_pairs and pairs:
        return PairSet(told, tuple(pairs), tuple(held_pairs))
    return split_pairs(told, pairs)


def split_pairs(source: str, pairs: Sequence[Pair]) -> PairSet:
    """Keep some pairs for validation: the same ones whatever their order.

    Raises:
        InvalidPairs: there are fewer than two.
    """
    if len(pairs) < 2:
        found = "one pair" if pairs else "no pairs"
        raise InvalidPairs(
            f"found {found} at {source}, at least two are needed: one to learn from and one to validate on. "
            "Add pairs"
        )
    count = min(_MAX_VALIDATION, max(1, round(_VALIDATION_SHARE * len(pairs))))
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(pair.name.encode("utf-8", "replace")).digest())
    held = {id(pair) for pair in ranked[:count]}
    return PairSet(
        source,
        tuple(pair for pair in pairs if id(pair) not in held),
        tuple(pair for pair in pairs if id(pair) in held),
    )


def teach_pairs(
    concept: Concept,
    photos_folder: Path | None = None,
    *,
    n_varied: int = 96,
    seed: int = 0,
    callback: Callback | None = None,
) -> PairSet:
    """Make pairs with a concept's teacher: varied photos to learn from, others as they are to validate on.

    Args:
        concept: its teacher is applied.
        photos_folder: as `load_photos` reads it; None for the bundled photos.
        n_varied: varied photos to make of those of split `train`.
        seed: draws variations and the damage of restorations.
        callback: called with the number of pairs made.

    Raises:
        InvalidImage: there are no photos, or one is no good image.
        InvalidPairs: there is one photo only.
        TeacherError: the teacher failed.
    """
    photos, held = load_photos(photos_folder, split="train"), load_photos(photos_folder, split=None)
    held = [photo for photo in held if photo.split == "score"][:_MAX_VALIDATION]
    source = f"the teacher of {concept.id} on {photos_folder or 'the bundled photos'}"
    if not held:
        raise InvalidPairs(
            f"found one photo in {photos_folder}, at least two are needed: one to learn from and one to "
            "validate on. Add photos"
        )
    pairs = []
    for number, photo in enumerate(varied_photos(photos, n_varied, seed)):
        given, wanted = teach(concept.teacher, photo, seed=number)
        pairs.append(Pair(f"{photos[number % len(photos)].name}-{number:05d}", given, wanted))
        if callback is not None:
            callback(number + 1)
    images = zip(*scoring_pairs(concept, held), strict=True)
    validation = [Pair(photo.name, *images) for photo, images in zip(held, images, strict=True)]
    return PairSet(source, tuple(pairs), tuple(validation))


def _finish(pairs: Iterator[Pair], size: int, is_turned: bool, callback: Callback | None) -> list[Pair]:
    """Check pairs, shrink them and turn them round, one after the other."""
    finished = []
    for pair in pairs:
        if pair.given.shape != pair.wanted.shape:
            sizes = [f"{image.shape[1]} x {image.shape[0]}" for image in (pair.given, pair.wanted)]
            raise InvalidPairs(
                f"pair '{pair.name}': A is {sizes[0]} pixels, B is {sizes[1]}. Make both the same size"
            )
        images = [
            fit_short_side(image, size) if min(image.shape[:2]) > size else image
            for image in (pair.given, pair.wanted)
        ]
        finished.append(Pair(pair.name, *(images[::-1] if is_turned else images)))
        if callback is not None:
            callback(len(finished))
    return finished


def _images_in(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their names without ending, in order.

    Raises:
        InvalidPairs: two differ in their ending only.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file():
            if path.stem in files:
                raise InvalidPairs(f"{path} and {files[path.stem].name} have one name. Rename one")
            files[path.stem] = path
    return files


def _from_folders(folder: Path) -> Iterator[Pair]:
    sides = [folder / name for name in ("A", "B")]
    for side in sides:
        if not side.is_dir():
            raise InvalidPairs(f"{folder} has no folder {side.name}. {_LAYOUTS}")
        if not _images_in(side) and any(path.is_dir() for path in side.iterdir()):
            raise InvalidPairs(
                f"{side} has folders in it and no images. Put the images into A and B themselves"
            )
    inputs, targets = (_images_in(side) for side in sides)
    for here, there, own, other in ((inputs, targets, "A", "B"), (targets, inputs, "B", "A")):
        lonely = sorted(set(here) - set(there))
        if lonely:
            raise InvalidPairs(
                f"{folder}: {here[lonely[0]].name} of {own} has no partner in {other} "
                f"({len(lonely)} without; A has {len(inputs)} images, B {len(targets)}). Give both one name"
            )
    for name, path in inputs.items():
        yield Pair(name, read_image(path), read_image(targets[name]))


def _from_aligned(folder: Path) -> Iterator[Pair]:
    for name, path in _images_in(folder).items():
        both = read_image(path)
        width = both.shape[1]
        if width % 2 or width < 16:
            raise InvalidPairs(
                f"{path} is {width} pixels wide and cannot be halved; A and B stand side by side. {_LAYOUTS}"
            )
        yield Pair(name, both[:, : width // 2].copy(), both[:, width // 2 :].copy())


def _is_dataset(folder: Path, source: str) -> bool:
    """Whether `datasets` could load it: a folder of its files, or what looks like an id of the Hub."""
    if folder.is_dir():
        return any(next(folder.rglob(pattern), None) for pattern in _DATASET_FILES)
    is_path = source.startswith((".", "/", "~")) or source.count("/") != 1
    return not is_path and not folder.exists() and all(source.split("/"))


def _found_there(folder: Path) -> str:
    if folder.is_dir():
        return "the folder holds no images"
    return "it is a file" if folder.exists() else "there is no such folder"


def _from_dataset(source: str, columns: tuple[str, str] | None, split: str) -> Iterator[Pair]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(
            'pairs from a dataset need datasets. Install it with: pip install "initzoo[datasets]"'
        ) from error
    rows = _load_dataset(datasets, source, split)
    images = [name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    known = ", ".join(images) or "none"
    if columns is None and len(images) != 2:
        raise InvalidPairs(
            f"dataset {source} has {len(images)} image columns ({known}), expected two. "
            f"Name two with --columns INPUT TARGET; it has {', '.join(rows.features)}"
        )
    chosen = columns or (images[0], images[1])
    for name in chosen:
        if name not in images:
            raise InvalidPairs(f"dataset {source} has no image column {name!r}. Its image columns: {known}")
    for number in range(len(rows)):
        row = rows[number]
        name = f"row {number}"
        pair = [row[column] for column in chosen]
        if any(image is None for image in pair):
            raise InvalidPairs(f"dataset {source}, {name}: an image is missing. Leave the row out")
        yield Pair(f"{number:06d}", *(to_rgb(f"{source}, {name}", image) for image in pair))


def _load_dataset(datasets: Any, source: str, split: str) -> Any:
    """The rows of one split: of what `save_to_disk` wrote, or of anything that `load_dataset` takes."""
    folder = Path(source)
    try:
        if (folder / "dataset_dict.json").is_file():
            parts = datasets.load_from_disk(source)
            if split not in parts:
                raise InvalidPairs(
                    f"dataset {source} has no split {split!r}. Take one of: {', '.join(parts)}, with --split"
                )
            return parts[split]
        if (folder / "state.json").is_file():
            return datasets.load_from_disk(source)
        return datasets.load_dataset(source, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidPairs(
            f"dataset {source} cannot be loaded: {reason}. Check name and connection"
        ) from error
