"""Sources of pairs for fine-tuning: folders, aligned images, datasets, or a teacher and photos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage, InvalidPairs, RefusedPairs
from initzoo.files import decode_image, short_reason, warn_left_out
from initzoo.pairs.concepts import Concept
from initzoo.pairs.dataset_rows import bytes_of, is_dataset, open_rows, undecoded
from initzoo.pairs.examples import choose_examples
from initzoo.pairs.folders import LAYOUTS, MAX_HELD_OUT, Pair, PairFile, hold_out, list_pairs, what_is_at
from initzoo.pairs.metadata import find_metadata
from initzoo.pairs.opencv import fit_short_side
from initzoo.pairs.photos import TEACHING_SIDE, Photo, load_photos, vary_photo
from initzoo.pairs.sides import order_columns
from initzoo.pairs.spilled import SpilledPairs, gather, sizes_of
from initzoo.pairs.taught import teach, teach_each
from initzoo.pairs.teachers import Refused, TaughtPair, Teacher

__all__ = [
    "DIRECTIONS",
    "Pair",
    "PairSet",
    "check_crop_size",
    "open_pairs",
    "read_examples",
    "split_pairs",
    "teach_pairs",
]

Pixels = NDArray[np.uint8]
Callback = Callable[[int], None]

DIRECTIONS = ("AtoB", "BtoA")
"""Directions of training: AtoB takes A as the input. In aligned images A is the left half."""

_CHUNK = 64
"""Number of photos varied at a time for a teacher, a multiple of its batch."""


@dataclass(frozen=True, eq=False)
class PairSet:
    """Training pairs and validation pairs.

    Args:
        source: description of the source.
        train: training pairs, at least one.
        validation: validation pairs, at least one, none of which is in `train`.
        layout: description of the layout.
        size: shorter side to which larger images were shrunk; None if none was.
        validation_source: description of another source of the validation pairs.
    """

    source: str
    train: Sequence[Pair]
    validation: Sequence[Pair]
    layout: str = ""
    size: int | None = None
    validation_source: str = ""

    @property
    def digest(self) -> str:
        """64 hex digits that change if any pixel or name changes."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation):
            digest.update(f"{len(part)} ".encode())
            for pair in part:
                digest.update(f"{pair.name} {pair.given.shape} ".encode("utf-8", "replace"))
                for image in (pair.given, pair.wanted):
                    digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    @property
    def summary(self) -> str:
        """The number, layout and sizes of the pairs, in one line.

        Example:
            >>> image = np.zeros((64, 80, 3), np.uint8)
            >>> pairs = [Pair(name, image, image) for name in "abc"]
            >>> split_pairs("my-pairs", pairs, layout="folders A and B").summary
            '3 pairs, folders A and B, 80 x 64: 2 to train on, 1 to validate on'
        """
        sides = {
            (width, height) for part in (self.train, self.validation) for _, height, width in sizes_of(part)
        }
        lengths = [length for size in sides for length in size]
        sizes = f"sides of {min(lengths)} to {max(lengths)} pixels"
        if len(sides) == 1:
            sizes = "{} x {}".format(*min(sides))
        n_train, n_validation = len(self.train), len(self.validation)
        validated = f"{n_validation} of {self.validation_source}" if self.validation_source else n_validation
        return (
            f"{n_train + n_validation} pairs, {self.layout or self.source}, {sizes}: "
            f"{n_train} to train on, {validated} to validate on"
        )

    def check_crops(self, crop_size: int) -> None:
        """Check that no training image is smaller than a crop.

        Raises:
            InvalidPairs: an image is smaller than a crop.
        """
        if self.size is not None:
            check_crop_size(crop_size, self.size)
        for name, height, width in sizes_of(self.train):
            if min(height, width) < crop_size:
                fitting = min(height, width) // 4 * 4
                advice = f", or take --crop {fitting}" if fitting >= 32 else ""
                raise InvalidPairs(
                    f"pair '{name}' is {width} x {height} pixels, smaller than the crop of {crop_size}. "
                    f"Give larger images{advice}"
                )


def check_crop_size(crop_size: int, size: int) -> None:
    """Check that images shrunk to `size` are not smaller than a crop.

    Raises:
        InvalidPairs: they are smaller.

    Example:
        >>> check_crop_size(300, 256)
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidPairs: a crop of 300 pixels is larger than --size 256, to which ...
    """
    if crop_size > size:
        fitting = size // 4 * 4
        raise InvalidPairs(
            f"a crop of {crop_size} pixels is larger than --size {size}, to which larger images are shrunk "
            f"before crops are cut. Take --size {crop_size} or more, or --crop {fitting}"
        )


def open_pairs(
    source: str | Path,
    *,
    size: int = 256,
    direction: str = "AtoB",
    columns: tuple[str, str] | None = None,
    split: str = "train",
    validation: str | Path | None = None,
    callback: Callback | None = None,
) -> PairSet:
    """Read pairs from a folder or a dataset.

    A source is one of the following; the first that fits is used. A folder that `datasets` can load, or with
    a metadata file of pairs. A folder with subfolders `A` and `B` (or `input` and `target`, `before` and
    `after`, `trainA` and `trainB`) and files of equal names. A folder of images with A and B side by side, as
    in pix2pix, also in subfolders `train` and `val` or `test`. The id of a dataset on the Hub. About one pair
    in five, at most 16, is held out for validation, chosen by name, unless the source has validation pairs.

    Pairs of more than 64 MB are kept in a temporary file and read on access.

    Args:
        source: path of a folder, or id of a dataset.
        size: shorter side to which larger images are shrunk, pixels.
        direction: one of `DIRECTIONS`.
        columns: columns of input and target in a dataset or metadata file; by default its two image columns,
            ordered by names such as `input` and `target`, else by position.
        split: split of a dataset, or of a folder with splits.
        validation: another source, whose pairs are all for validation; then all pairs of `source` are for
            training.
        callback: called with the number of pairs read.

    Raises:
        InvalidPairs: the source does not exist, its pairs do not match, there are fewer than two pairs, or
            pairs of `validation` are also training pairs.
        InvalidImage: a file cannot be read as an image.
        MissingExtra: the source is a dataset, and `datasets` is not installed.
        OutputError: the temporary file cannot be written.
        ValueError: the direction is unknown.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, found {direction!r}")
    found = _read(str(source), size, direction, columns, split, callback)
    if validation is not None:
        held = _read(str(validation), size, direction, columns, split, None)
        if not found.pairs or not (held.held_out or held.pairs):
            raise InvalidPairs(f"found no pairs at {validation if found.pairs else source}. Add pairs")
        pairs = PairSet(found.where, found.pairs, held.held_out or held.pairs, found.layout, size, held.where)
        _check_disjoint(pairs)
        return pairs
    if found.pairs and found.held_out:
        return PairSet(found.where, found.pairs, found.held_out, found.layout, size)
    return replace(split_pairs(found.where, found.pairs, layout=found.layout), size=size)


def read_examples(source: str | Path, *, size: int = 256, direction: str = "AtoB") -> tuple[Pair, ...]:
    """Read example pairs of an edit, one at least. Of many, `MAX_EXAMPLES` are read, evenly spaced.

    Args:
        source: path of a folder, or id of a dataset, as for `open_pairs`; its validation pairs count, too.
        size: shorter side to which larger images are shrunk, pixels.
        direction: one of `DIRECTIONS`.

    Raises:
        InvalidPairs: the source does not exist, has no pairs, or its pairs do not match.
        InvalidImage, MissingExtra, ValueError: as for `open_pairs`.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, found {direction!r}")
    found = _read(str(source), size, direction, None, "train", None, is_sample=True)
    pairs = (*found.pairs, *found.held_out)
    if not pairs:
        raise InvalidPairs(f"found no pairs at {source}. Add at least one")
    return tuple(pairs[number] for number in choose_examples(len(pairs)))


def split_pairs(source: str, pairs: Sequence[Pair], *, layout: str = "") -> PairSet:
    """Split off some pairs for validation, independent of their order.

    Raises:
        InvalidPairs: there are fewer than two pairs.
    """
    if isinstance(pairs, SpilledPairs):
        train, held = hold_out(pairs.entries, source=source)
        return PairSet(source, pairs.chosen(train), pairs.chosen(held), layout)
    return PairSet(source, *hold_out(pairs, source=source), layout)


def teach_pairs(
    concept: Concept,
    photos_folder: Path | None = None,
    *,
    n_varied: int = 96,
    seed: int = 0,
    callback: Callback | None = None,
) -> PairSet:
    """Make pairs with the teacher of a concept: variations of train photos, and unchanged scoring photos.

    If the teacher has pairs of its own, these are used without photos.

    Args:
        concept: the concept.
        photos_folder: folder for `load_photos`; the bundled photos by default.
        n_varied: number of variations of the photos of split `train`.
        seed: seed of the variations and of the damage in restorations.
        callback: called with the number of pairs made.

    Raises:
        InvalidImage: there are no photos, or a photo cannot be read.
        InvalidPairs: there is only one photo.
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
            f"found one photo in {photos_folder}, at least two are needed: one to train and one to validate "
            "on. Add photos"
        )

    def pairs() -> Iterator[Pair]:
        for number, (given, wanted) in enumerate(_taught(teacher, photos, n_varied, seed)):
            yield Pair(f"{photos[number % len(photos)].name}-{number:05d}", given, wanted)
            if callback is not None:
                callback(number + 1)

    shown = [fit_short_side(photo.pixels, TEACHING_SIDE) for photo in held]
    taught = teach_each(teacher, shown, range(len(shown)))
    validation = [
        Pair(photo.name, *pair)
        for photo, pair in zip(held, taught, strict=True)
        if not isinstance(pair, Refused)
    ]
    if not validation:
        raise RefusedPairs(
            f"the teacher of {concept.id} made no good picture of the {len(held)} photos to validate "
            "on. Give other photos"
        )
    return PairSet(source, gather(pairs()), tuple(validation))


def _taught(teacher: Teacher, photos: Sequence[Photo], n_varied: int, seed: int) -> Iterator[TaughtPair]:
    """Iterate over pairs of varied photos, a few at a time in memory."""
    for first in range(0, n_varied, _CHUNK):
        numbers = range(first, min(first + _CHUNK, n_varied))
        varied = [
            vary_photo(photos[number % len(photos)].pixels, np.random.default_rng([seed, number]))
            for number in numbers
        ]
        yield from teach(teacher, varied, numbers)


@dataclass(frozen=True, eq=False)
class _Source:
    """The pairs of a source, before the split. Most sources have no `held_out` pairs."""

    where: str
    layout: str
    pairs: Sequence[Pair]
    held_out: Sequence[Pair] = ()


def _read(
    source: str,
    size: int,
    direction: str,
    columns: tuple[str, str] | None,
    split: str,
    callback: Callback | None,
    *,
    is_sample: bool = False,
) -> _Source:
    """The pairs of a source; with `is_sample`, a few of them, so that the others need not be decoded."""
    folder, is_turned = Path(source), direction == "BtoA"

    def layout(words: str, sides: tuple[str, str]) -> str:
        return f"{words}, from {sides[1]} to {sides[0]}" if is_turned else words

    has_listing = find_metadata(folder) is not None or find_metadata(folder / split) is not None
    if not has_listing and is_dataset(folder, source):
        rows, images = open_rows(source, split)
        # A folder of images may also have a table without images.
        if (
            len(images) == 2
            or columns is not None
            or not os.path.isdir(folder)
            or list_pairs(folder, split=split) is None
        ):
            chosen = _choose_columns(source, rows, images, columns)
            numbers = choose_examples(len(rows)) if is_sample else range(len(rows))
            pairs = _finish(_from_rows(source, rows, chosen, numbers), size, is_turned, callback)
            return _Source(source, layout(f"columns {chosen[0]} and {chosen[1]}", chosen), pairs)
    listed = list_pairs(folder, columns=columns, split=split)
    if listed is None and columns is not None:
        raise InvalidPairs(
            f"{source} is not a dataset and has no metadata file, so it has no columns. Leave them out"
        )
    if listed is None:
        raise InvalidPairs(f"no pairs at {source}: {what_is_at(folder)}. {LAYOUTS}")
    left_out: dict[str, str] = {}
    train, held = listed.train, listed.held_out
    if is_sample:
        train, held = (tuple(part[number] for number in choose_examples(len(part))) for part in (train, held))
    pairs = _finish(_from_files(train, left_out), size, is_turned, callback)
    held_out = _finish(_from_files(held, left_out), size, is_turned, None)
    warn_left_out(folder, left_out)
    return _Source(
        f"{source}, A and B side by side" if listed.is_aligned else source,
        layout(listed.layout, listed.sides),
        pairs,
        held_out,
    )


def _check_disjoint(pairs: PairSet) -> None:
    """Check by pixels that no validation pair is also a training pair under another name."""
    learnt = {_pixel_digest(pair) for pair in pairs.train}
    shared = [pair.name for pair in pairs.validation if _pixel_digest(pair) in learnt]
    if shared:
        raise InvalidPairs(
            f"{len(shared)} of the {len(pairs.validation)} validation pairs of {pairs.validation_source} are "
            f"also among those of {pairs.source}, e.g. '{shared[0]}', so a score on them has no meaning. "
            "Remove them from one source"
        )


def _pixel_digest(pair: Pair) -> bytes:
    digest = hashlib.sha256(np.ascontiguousarray(pair.given).data)
    digest.update(np.ascontiguousarray(pair.wanted).data)
    return digest.digest()


def _from_files(files: Sequence[PairFile], left_out: dict[str, str]) -> Iterator[Pair]:
    """Iterate over the readable pairs; put the reasons for others into `left_out`."""
    for file in files:
        try:
            yield file.read()
        except InvalidImage as error:
            reasons = [short_reason(path, error) for path in file.paths if str(path) in str(error)]
            left_out[file.name] = reasons[0] if reasons else str(error)


def _finish(
    pairs: Iterator[Pair], size: int, is_turned: bool, callback: Callback | None
) -> tuple[Pair, ...] | SpilledPairs:
    """Check pairs, shrink them, and swap input and target if `is_turned`."""

    def finished() -> Iterator[Pair]:
        for number, pair in enumerate(pairs, start=1):
            pair.check()
            images = [
                fit_short_side(image, size) if min(image.shape[:2]) > size else image
                for image in (pair.given, pair.wanted)
            ]
            yield Pair(pair.name, *(images[::-1] if is_turned else images))
            if callback is not None:
                callback(number)

    return gather(finished())


def _choose_columns(
    source: str, rows: Any, images: list[str], columns: tuple[str, str] | None
) -> tuple[str, str]:
    known = ", ".join(images) or "none"
    if columns is None:
        if len(images) != 2:
            raise InvalidPairs(
                f"dataset {source} has {len(images)} image columns ({known}), expected two. "
                f"Name two with --columns INPUT TARGET; it has {', '.join(rows.features)}"
            )
        return order_columns(images)
    for name in columns:
        if name not in images:
            raise InvalidPairs(f"dataset {source} has no image column {name!r}. Its image columns: {known}")
    return columns


def _from_rows(source: str, rows: Any, chosen: tuple[str, str], numbers: Sequence[int]) -> Iterator[Pair]:
    rows = undecoded(rows, chosen)
    for number in numbers:
        row = rows[number]
        name = f"{source}, row {number}"
        images = [decode_image(name, bytes_of(source, name, row[column])) for column in chosen]
        if images[0].shape != images[1].shape:
            sizes = [
                f"{column} is {image.shape[1]} x {image.shape[0]} pixels"
                for column, image in zip(chosen, images, strict=True)
            ]
            raise InvalidPairs(f"dataset {name}: {', '.join(sizes)}. Make both the same size")
        yield Pair(f"{number:06d}", *images)
