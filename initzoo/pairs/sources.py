"""Where pairs to fine-tune on come from: folders, aligned images, a dataset, or a teacher and photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage, InvalidPairs, MissingExtra
from initzoo.files.images import decode_image, short_reason, warn_left_out
from initzoo.pairs.concepts import Concept
from initzoo.pairs.folders import LAYOUTS, MAX_HELD_OUT, Pair, PairFile, hold_out, list_pairs, what_is_at
from initzoo.pairs.opencv import fit_short_side
from initzoo.pairs.photos import TEACHING_SIDE, load_photos, varied_photos
from initzoo.pairs.taught import scoring_pairs, teach

__all__ = ["DIRECTIONS", "Pair", "PairSet", "open_pairs", "split_pairs", "teach_pairs"]

Pixels = NDArray[np.uint8]
Callback = Callable[[int], None]

DIRECTIONS = ("AtoB", "BtoA")
"""Which of two images is the input; in aligned images A is the left half."""

_DATASET_FILES = ("*.parquet", "*.arrow", "dataset_info.json", "state.json", "dataset_dict.json")


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
    folder, where = Path(source), str(source)
    if columns is not None and not _is_dataset(folder, where):
        raise InvalidPairs(f"columns are those of a dataset, and {source} is none. Leave them out")
    is_turned = direction == "BtoA"
    listed = list_pairs(folder)
    if listed is not None:
        where = f"{source}, A and B side by side" if listed.is_aligned else where
        left_out: dict[str, str] = {}
        pairs = _finish(_from_files(listed.train, left_out), size, is_turned, callback)
        held_out = _finish(_from_files(listed.held_out, left_out), size, is_turned, None)
        warn_left_out(folder, left_out)
        if pairs and held_out:
            return PairSet(where, tuple(pairs), tuple(held_out))
    elif _is_dataset(folder, where):
        pairs = _finish(_from_dataset(where, columns, split), size, is_turned, callback)
    else:
        raise InvalidPairs(f"no pairs at {source}: {what_is_at(folder)}. {LAYOUTS}")
    return split_pairs(where, pairs)


def split_pairs(source: str, pairs: Sequence[Pair]) -> PairSet:
    """Keep some pairs for validation: the same ones whatever their order.

    Raises:
        InvalidPairs: there are fewer than two.
    """
    return PairSet(source, *hold_out(pairs, source=source))


def teach_pairs(
    concept: Concept,
    photos_folder: Path | None = None,
    *,
    n_varied: int = 96,
    seed: int = 0,
    callback: Callback | None = None,
) -> PairSet:
    """Make pairs with a concept's teacher: varied photos to learn from, others as they are to validate on.

    A teacher that brings its own pairs gives these, and photos are not used.

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
    teacher = concept.teacher
    learnt, scored = teacher.fixed_pairs("train", TEACHING_SIDE), teacher.fixed_pairs("score", TEACHING_SIDE)
    if learnt is not None and scored is not None:
        return PairSet(f"the pairs of {concept.id}", learnt, scored)
    photos, held = load_photos(photos_folder, split="train"), load_photos(photos_folder, split=None)
    held = [photo for photo in held if photo.split == "score"][:MAX_HELD_OUT]
    source = f"the teacher of {concept.id} on {photos_folder or 'the bundled photos'}"
    if not held:
        raise InvalidPairs(
            f"found one photo in {photos_folder}, at least two are needed: one to learn from and one to "
            "validate on. Add photos"
        )
    pairs = []
    taught = teach(teacher, varied_photos(photos, n_varied, seed), range(n_varied))
    for number, (given, wanted) in enumerate(taught):
        pairs.append(Pair(f"{photos[number % len(photos)].name}-{number:05d}", given, wanted))
        if callback is not None:
            callback(number + 1)
    images = zip(*scoring_pairs(teacher, held), strict=True)
    validation = [Pair(photo.name, *images) for photo, images in zip(held, images, strict=True)]
    return PairSet(source, tuple(pairs), tuple(validation))


def _from_files(files: Sequence[PairFile], left_out: dict[str, str]) -> Iterator[Pair]:
    """The pairs that can be read; the reason of others goes into `left_out`."""
    for file in files:
        try:
            yield file.read()
        except InvalidImage as error:
            reasons = [short_reason(path, error) for path in file.paths if str(path) in str(error)]
            left_out[file.name] = reasons[0] if reasons else str(error)


def _finish(pairs: Iterator[Pair], size: int, is_turned: bool, callback: Callback | None) -> list[Pair]:
    """Check pairs, shrink them and turn them round, one after the other."""
    finished = []
    for pair in pairs:
        pair.check()
        images = [
            fit_short_side(image, size) if min(image.shape[:2]) > size else image
            for image in (pair.given, pair.wanted)
        ]
        finished.append(Pair(pair.name, *(images[::-1] if is_turned else images)))
        if callback is not None:
            callback(len(finished))
    return finished


def _is_dataset(folder: Path, source: str) -> bool:
    """Whether `datasets` could load it: a folder of its files, or what looks like an id of the Hub."""
    if folder.is_dir():
        return any(next(folder.rglob(pattern), None) for pattern in _DATASET_FILES)
    is_path = source.startswith((".", "/", "~")) or source.count("/") != 1
    return not is_path and not folder.exists() and all(source.split("/"))


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
    for name in dict.fromkeys(chosen):
        # As the bytes of files: decoded by `datasets`, they have lost their profile and their orientation.
        rows = rows.cast_column(name, datasets.Image(decode=False))
    for number in range(len(rows)):
        row = rows[number]
        name = f"{source}, row {number}"
        yield Pair(f"{number:06d}", *(decode_image(name, _bytes_of(name, row[column])) for column in chosen))


def _bytes_of(name: str, image: Any) -> bytes:
    """The file of a dataset's image, which lies in the row or beside the dataset."""
    if image is None or (image.get("bytes") is None and not image.get("path")):
        raise InvalidPairs(f"dataset {name}: an image is missing. Leave the row out")
    if image.get("bytes") is not None:
        return bytes(image["bytes"])
    try:
        return Path(image["path"]).read_bytes()
    except OSError as error:
        reason = f"{error.strerror}: {image['path']}"
        raise InvalidPairs(
            f"dataset {name}: an image cannot be read ({reason}). Leave the row out"
        ) from error


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
