"""Pairs as image files in folders: recognised layouts, and validation pairs."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage, InvalidPairs
from initzoo.files import MIN_SIDE, ImageFolder, describe_left_out, list_images, read_image, warn_left_out
from initzoo.pairs.halves import ALIKE_FROM, N_COMPARED, mean_likeness
from initzoo.pairs.metadata import find_metadata, read_metadata
from initzoo.pairs.sides import HELD_OUT_SPLITS, find_sides

__all__ = [
    "LAYOUTS",
    "MAX_HELD_OUT",
    "Pair",
    "PairFile",
    "PairFolder",
    "hold_out",
    "list_pairs",
    "what_is_at",
]

Pixels = NDArray[np.uint8]

MAX_HELD_OUT = 16
"""Maximum number of validation pairs."""

LAYOUTS = (
    "Name a folder with A and B in it, a folder of images that hold both side by side, or a dataset "
    "with two image columns"
)
"""The sources of pairs, as errors list them."""

_HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Pair:
    """An input image and its target.

    Args:
        name: name of the files or the row.
        given: input of the network, uint8 RGB, shape `(height, width, 3)`.
        wanted: target of the network, same shape.
    """

    name: str
    given: Pixels
    wanted: Pixels

    def check(self) -> None:
        """Check the sizes of both images.

        Raises:
            InvalidPairs: the sizes differ, or a side is shorter than `MIN_SIDE`.
        """
        height, width = self.given.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise InvalidPairs(
                f"pair '{self.name}' is {width} x {height} pixels; expected at least {MIN_SIDE} on each "
                "side. Give larger images"
            )
        if self.given.shape != self.wanted.shape:
            sizes = [f"{image.shape[1]} x {image.shape[0]}" for image in (self.given, self.wanted)]
            raise InvalidPairs(
                f"pair '{self.name}': A is {sizes[0]} pixels, B is {sizes[1]}. Make both the same size"
            )


@dataclass(frozen=True)
class PairFile:
    """The files of a pair.

    Args:
        name: name of the files, without ending.
        paths: paths of input and target, or of the one image with both side by side.
    """

    name: str
    paths: tuple[Path, ...]

    def read(self) -> Pair:
        """Read both images.

        Raises:
            InvalidImage: a file cannot be read as an image.
            InvalidPairs: the image cannot be halved, or input and target differ in size.
        """
        images = [read_image(path) for path in self.paths]
        if len(images) == 1:
            width = images[0].shape[1]
            if width % 2 or width < 16:
                raise InvalidPairs(
                    f"{self.paths[0]} is {width} pixels wide and cannot be halved into A and B. {LAYOUTS}"
                )
            images = [images[0][:, : width // 2].copy(), images[0][:, width // 2 :].copy()]
        pair = Pair(self.name, *images)
        pair.check()
        return pair


@dataclass(frozen=True)
class PairFolder:
    """The pairs of a folder, before they are read.

    Args:
        train: training pairs, sorted by name.
        held_out: validation pairs of the folder itself; often none.
        is_aligned: whether A and B are side by side in one image.
        sides: names of input and target.
        layout: description of the layout.
    """

    train: tuple[PairFile, ...]
    held_out: tuple[PairFile, ...]
    is_aligned: bool
    sides: tuple[str, str] = ("A", "B")
    layout: str = "A and B side by side"


def list_pairs(
    folder: Path, *, columns: tuple[str, str] | None = None, split: str = "train"
) -> PairFolder | None:
    """Find the pairs of a folder.

    The layouts are tried in this order: a metadata file; two folders with files of equal names, `A` and `B`,
    `input` and `target` or `before` and `after`, also per split (`trainA`, `train_A`, `A/train`, `train/A`);
    images with A and B side by side, as in pix2pix, also in a subfolder `train`. Pairs in `val`, `validation`
    or `test` are for validation. Files that cannot be read as images are left out with a warning, as are
    their partners.

    Args:
        folder: the folder.
        columns: columns of input and target in the metadata file.
        split: split of the training pairs, if the folder has splits.

    Returns:
        The pairs, or None if the folder has none of these layouts.

    Raises:
        InvalidPairs: files of A and B do not match, two files have the same name, a line of the metadata file
            is invalid, the halves of images do not look alike, or `split` is given and there are no splits.
    """
    if not os.path.isdir(folder):
        return None
    listed = _listed(folder, columns, split)
    if listed is not None or columns is not None:
        return listed
    if (listed := _in_two_folders(folder, split)) is not None:
        return listed
    if images := _aligned(folder):
        _refuse_split(folder, split)
        _check_halves(folder, images)
        return PairFolder(images, (), is_aligned=True)
    if (folder / split).is_dir() and (images := _aligned(folder / split)):
        _check_halves(folder / split, images)
        held_out = next((folder / name for name in _held_out_names(split) if (folder / name).is_dir()), None)
        return PairFolder(images, _aligned(held_out)[:MAX_HELD_OUT] if held_out else (), is_aligned=True)
    return None


def _check_halves(folder: Path, files: Sequence[PairFile]) -> None:
    """Check that the halves of images look alike, as those of A and B side by side.

    Some of the images are compared. Unreadable images are ignored here and reported when they are read.

    Raises:
        InvalidPairs: the images look like photos.
    """
    count = min(N_COMPARED, len(files))
    pairs = []
    for number in range(count):
        try:
            pair = files[len(files) * number // count].read()
        except (InvalidImage, InvalidPairs):
            continue
        pairs.append((pair.given, pair.wanted))
    alike = mean_likeness(pairs)
    if alike is not None and alike < ALIKE_FROM:
        raise InvalidPairs(
            f"the images in {folder} do not have A and B side by side: their left and right halves do not "
            f"look alike. {LAYOUTS}; if they are pairs nevertheless, cut them into folders A and B"
        )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


NamedPair = TypeVar("NamedPair", bound=_Named)


def hold_out(
    pairs: Sequence[NamedPair], *, source: str
) -> tuple[tuple[NamedPair, ...], tuple[NamedPair, ...]]:
    """Split off about one pair in five for validation, at most 16, independent of the order.

    Args:
        pairs: objects with a name.
        source: description of their source.

    Returns:
        Training pairs and validation pairs.

    Raises:
        InvalidPairs: there are fewer than two pairs.

    Example:
        >>> files = [PairFile(name, ()) for name in ("one", "two", "three")]
        >>> train, held = hold_out(files, source="a folder")
        >>> [file.name for file in train], [file.name for file in held]
        (['one', 'three'], ['two'])
    """
    if len(pairs) < 2:
        count = "one pair" if pairs else "no pairs"
        raise InvalidPairs(
            f"found {count} at {source}, at least two are needed: one to train and one to validate on. "
            "Add pairs"
        )
    n_held = min(MAX_HELD_OUT, max(1, round(_HELD_OUT_SHARE * len(pairs))))
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(pair.name.encode("utf-8", "replace")).digest())
    held = {id(pair) for pair in ranked[:n_held]}
    return (
        tuple(pair for pair in pairs if id(pair) not in held),
        tuple(pair for pair in pairs if id(pair) in held),
    )


def what_is_at(folder: Path) -> str:
    """Explain why a path is not a folder of pairs.

    Example:
        >>> what_is_at(Path("no-such-folder"))
        'there is no such folder'
    """
    if os.path.isdir(folder):
        left_out = list_images(folder).left_out
        return "the folder has no images" + (f" ({describe_left_out(folder, left_out)})" if left_out else "")
    return "it is a file" if os.path.exists(folder) else "there is no such folder"


def _held_out_names(split: str) -> list[str]:
    return [name for name in HELD_OUT_SPLITS if name != split]


def _refuse_split(folder: Path, split: str) -> None:
    if split != "train":
        raise InvalidPairs(
            f"the pairs in {folder} have no splits, and --split {split} is given. Leave it out"
        )


def _listed(folder: Path, columns: tuple[str, str] | None, split: str) -> PairFolder | None:
    """The pairs of a metadata file, in the folder or in the subfolder of its split."""
    path = find_metadata(folder) or find_metadata(folder / split)
    if path is None or (listing := read_metadata(path, columns)) is None:
        return None
    held_out: tuple[PairFile, ...] = ()
    if path.parent == folder:
        _refuse_split(folder, split)
    else:
        paths = (find_metadata(folder / name) for name in _held_out_names(split))
        if held_path := next((path for path in paths if path is not None), None):
            held = read_metadata(held_path, listing.columns)
            held_out = tuple(PairFile(*row) for row in held.rows) if held is not None else ()
    return PairFolder(
        tuple(PairFile(*row) for row in listing.rows),
        held_out[:MAX_HELD_OUT],
        is_aligned=False,
        sides=listing.columns,
        layout=f"{listing.columns[0]} and {listing.columns[1]} of {path.relative_to(folder)}",
    )


def _in_two_folders(folder: Path, split: str) -> PairFolder | None:
    sides = find_sides(folder, split, is_plain=True)
    of_split = find_sides(folder, split)
    if of_split is not None and (
        sides is None or not any(list_images(folder / side).images for side in sides)
    ):
        sides = of_split
    elif sides is not None:
        _refuse_split(folder, split)
    if sides is None:
        if (folder / "A").is_dir() or (folder / "B").is_dir():
            sides = ("A", "B")  # one of them is missing: _matched reports it
        else:
            return None
    found = (find_sides(folder, name) for name in _held_out_names(split))
    held_sides = next((held for held in found if held is not None), None)
    return PairFolder(
        _matched(folder, sides),
        _matched(folder, held_sides)[:MAX_HELD_OUT] if held_sides else (),
        is_aligned=False,
        sides=sides,
        layout=f"folders {sides[0]} and {sides[1]}",
    )


def _by_name(listed: ImageFolder) -> dict[str, Path]:
    """Image files of a folder by name without ending.

    Raises:
        InvalidPairs: two names differ in their ending only.
    """
    files: dict[str, Path] = {}
    for path in listed.images:
        name = _name_of(path)
        if name in files:
            raise InvalidPairs(f"{path} and {files[name].name} have the same name. Rename one")
        files[name] = path
    return files


def _name_of(path: Path) -> str:
    """The name of a file without ending, in NFC: macOS decomposes umlauts, Linux usually does not."""
    return unicodedata.normalize("NFC", path.stem)


def _aligned(folder: Path) -> tuple[PairFile, ...]:
    listed = list_images(folder)
    files = _by_name(listed)
    if files:
        warn_left_out(folder, listed.left_out)
    return tuple(PairFile(name, (path,)) for name, path in files.items())


def _matched(folder: Path, names: tuple[str, str]) -> tuple[PairFile, ...]:
    sides = [folder / name for name in names]
    for side, name in zip(sides, names, strict=True):
        if not side.is_dir():
            raise InvalidPairs(f"{folder} has no folder {name}. {LAYOUTS}")
    listed = [list_images(side) for side in sides]
    for side, found in zip(sides, listed, strict=True):
        if not found.images and any(path.is_dir() for path in side.iterdir()):
            raise InvalidPairs(
                f"{side} has subfolders and no images. Put the images directly into {names[0]} and {names[1]}"
            )
    inputs, targets = (_by_name(found) for found in listed)
    _leave_out_partners(folder, listed, inputs, targets)
    first, second = names
    for here, there, side_name, other in ((inputs, targets, first, second), (targets, inputs, second, first)):
        unmatched = sorted(set(here) - set(there))
        if unmatched:
            raise InvalidPairs(
                f"{folder}: {here[unmatched[0]].name} of {side_name} has no partner in {other} "
                f"({len(unmatched)} without; {first} has {len(inputs)} images, {second} {len(targets)}). "
                "Give both the same name"
            )
    return tuple(PairFile(name, (path, targets[name])) for name, path in inputs.items())


def _leave_out_partners(
    folder: Path, listed: list[ImageFolder], inputs: dict[str, Path], targets: dict[str, Path]
) -> None:
    """Leave out the partners of unreadable files, and warn about all files that are left out."""
    left_out = {f"{side.path.name}/{name}": why for side in listed for name, why in side.left_out.items()}
    for side, partners in zip(listed, (targets, inputs), strict=True):
        for unreadable in side.left_out:
            name = _name_of(Path(unreadable))
            if name in partners and name not in (inputs if partners is targets else targets):
                path = partners.pop(name)
                left_out[f"{path.parent.name}/{path.name}"] = "its partner cannot be read"
    warn_left_out(folder, left_out)
