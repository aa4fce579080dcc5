"""Pairs as image files in folders: how they lie there, and which of them are for validation."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidPairs
from initzoo.files.images import ImageFolder, describe_left_out, list_images, read_image, warn_left_out

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
"""Pairs that are kept for validation at most."""

LAYOUTS = (
    "Name a folder with A and B in it, a folder of images that hold both side by side, or a dataset "
    "with two image columns"
)
"""The sources of pairs, as errors list them."""

_HELD_OUT_SHARE = 0.2


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

    def check(self) -> None:
        """Make sure that both images have one size.

        Raises:
            InvalidPairs: they do not.
        """
        if self.given.shape != self.wanted.shape:
            sizes = [f"{image.shape[1]} x {image.shape[0]}" for image in (self.given, self.wanted)]
            raise InvalidPairs(
                f"pair '{self.name}': A is {sizes[0]} pixels, B is {sizes[1]}. Make both the same size"
            )


@dataclass(frozen=True)
class PairFile:
    """Where a pair lies.

    Args:
        name: of the files, without ending.
        paths: of input and target, or of the one image that holds both side by side.
    """

    name: str
    paths: tuple[Path, ...]

    def read(self) -> Pair:
        """Read both images.

        Raises:
            InvalidImage: a file is no good image.
            InvalidPairs: the image cannot be halved, or input and target differ in size.
        """
        images = [read_image(path) for path in self.paths]
        if len(images) == 1:
            width = images[0].shape[1]
            if width % 2 or width < 16:
                raise InvalidPairs(
                    f"{self.paths[0]} is {width} pixels wide and cannot be halved; "
                    f"A and B stand side by side. {LAYOUTS}"
                )
            images = [images[0][:, : width // 2].copy(), images[0][:, width // 2 :].copy()]
        pair = Pair(self.name, *images)
        pair.check()
        return pair


@dataclass(frozen=True)
class PairFolder:
    """The pairs of a folder, found and not yet read.

    Args:
        train: in the order of their names.
        held_out: those that the folder itself keeps for validation; often none.
        is_aligned: whether A and B stand side by side in one image.
    """

    train: tuple[PairFile, ...]
    held_out: tuple[PairFile, ...]
    is_aligned: bool


def list_pairs(folder: Path) -> PairFolder | None:
    """Find the pairs of a folder.

    It may have `A` and `B` in it, whose files have equal names, or images that hold A and B side by side,
    as pix2pix has them, perhaps below `train` and `val` (or `test`). Files that are no images are left out
    with a warning; if one is half of a pair, so is the other half.

    Returns:
        None if the folder has none of these layouts.

    Raises:
        InvalidPairs: files of A and B do not match, or two have one name.
    """
    if (folder / "A").is_dir() or (folder / "B").is_dir():
        return PairFolder(_matched(folder), (), is_aligned=False)
    if not folder.is_dir():
        return None
    if images := _aligned(folder):
        return PairFolder(images, (), is_aligned=True)
    if (folder / "train").is_dir() and (images := _aligned(folder / "train")):
        held_out = next((folder / name for name in ("val", "test") if (folder / name).is_dir()), None)
        return PairFolder(images, _aligned(held_out)[:MAX_HELD_OUT] if held_out else (), is_aligned=True)
    return None


class _Named(Protocol):
    @property
    def name(self) -> str: ...


NamedPair = TypeVar("NamedPair", bound=_Named)


def hold_out(
    pairs: Sequence[NamedPair], *, source: str
) -> tuple[tuple[NamedPair, ...], tuple[NamedPair, ...]]:
    """Keep about one pair in five for validation, at most 16: the same ones whatever their order.

    Args:
        pairs: anything with a name.
        source: where they come from, in words.

    Returns:
        Pairs to learn from, and pairs to validate on.

    Raises:
        InvalidPairs: there are fewer than two.

    Example:
        >>> files = [PairFile(name, ()) for name in ("one", "two", "three")]
        >>> train, held = hold_out(files, source="a folder")
        >>> [file.name for file in train], [file.name for file in held]
        (['one', 'three'], ['two'])
    """
    if len(pairs) < 2:
        count = "one pair" if pairs else "no pairs"
        raise InvalidPairs(
            f"found {count} at {source}, at least two are needed: one to learn from and one to validate on. "
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
    """Say why a folder is not one of pairs.

    Example:
        >>> what_is_at(Path("no-such-folder"))
        'there is no such folder'
    """
    if folder.is_dir():
        left_out = list_images(folder).left_out
        return "the folder holds no images" + (
            f" ({describe_left_out(folder, left_out)})" if left_out else ""
        )
    return "it is a file" if folder.exists() else "there is no such folder"


def _by_name(listed: ImageFolder) -> dict[str, Path]:
    """Image files of a folder by their names without ending, in order.

    Raises:
        InvalidPairs: two differ in their ending only.
    """
    files: dict[str, Path] = {}
    for path in listed.images:
        name = _name_of(path)
        if name in files:
            raise InvalidPairs(f"{path} and {files[name].name} have one name. Rename one")
        files[name] = path
    return files


def _name_of(path: Path) -> str:
    """A file's name without ending; composed, as a Mac writes an umlaut in another way than Linux does."""
    return unicodedata.normalize("NFC", path.stem)


def _aligned(folder: Path) -> tuple[PairFile, ...]:
    listed = list_images(folder)
    files = _by_name(listed)
    if files:
        warn_left_out(folder, listed.left_out)
    return tuple(PairFile(name, (path,)) for name, path in files.items())


def _matched(folder: Path) -> tuple[PairFile, ...]:
    sides = [folder / name for name in ("A", "B")]
    for side in sides:
        if not side.is_dir():
            raise InvalidPairs(f"{folder} has no folder {side.name}. {LAYOUTS}")
    listed = [list_images(side) for side in sides]
    for side, found in zip(sides, listed, strict=True):
        if not found.images and any(path.is_dir() for path in side.iterdir()):
            raise InvalidPairs(
                f"{side} has folders in it and no images. Put the images into A and B themselves"
            )
    inputs, targets = (_by_name(found) for found in listed)
    _leave_out_partners(folder, listed, inputs, targets)
    for here, there, side_name, other in ((inputs, targets, "A", "B"), (targets, inputs, "B", "A")):
        lonely = sorted(set(here) - set(there))
        if lonely:
            raise InvalidPairs(
                f"{folder}: {here[lonely[0]].name} of {side_name} has no partner in {other} "
                f"({len(lonely)} without; A has {len(inputs)} images, B {len(targets)}). Give both one name"
            )
    return tuple(PairFile(name, (path, targets[name])) for name, path in inputs.items())


def _leave_out_partners(
    folder: Path, listed: list[ImageFolder], inputs: dict[str, Path], targets: dict[str, Path]
) -> None:
    """Leave out what has a partner that cannot be read, and warn of all that is left out."""
    left_out = {f"{side.path.name}/{name}": why for side in listed for name, why in side.left_out.items()}
    for side, partners in zip(listed, (targets, inputs), strict=True):
        for unreadable in side.left_out:
            name = _name_of(Path(unreadable))
            if name in partners and name not in (inputs if partners is targets else targets):
                path = partners.pop(name)
                left_out[f"{path.parent.name}/{path.name}"] = "its partner cannot be read"
    warn_left_out(folder, left_out)
