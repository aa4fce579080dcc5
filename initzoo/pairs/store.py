"""Pairs: photos beside what a concept's teacher makes of them, as arrays or as folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidConcepts, OutputError
from initzoo.files.atomic import replace_folder
from initzoo.files.images import write_image
from initzoo.pairs.concepts import Concept
from initzoo.pairs.photos import TEACHING_SIDE, Photo, fit_short_side, vary_photo
from initzoo.pairs.teachers import teach

__all__ = ["Pairs", "make_pairs", "scoring_pairs", "varied_photos", "write_pairs"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Patches of photos and what should become of them.

    Args:
        inputs: what the network is given, uint8, shape `(n_pairs, patch, patch, 3)`.
        targets: what it should make of it, same shape.
    """

    inputs: Pixels
    targets: Pixels


def varied_photos(photos: Sequence[Photo], n_photos: int, seed: int) -> list[Pixels]:
    """Vary photos in turn, the first one, the second one and so on, until there are enough.

    Photo number `i` depends on `seed` and `i` only, not on how many are asked for.

    Returns:
        `n_photos` arrays, uint8, shape `(height, width, 3)`, shorter side `TEACHING_SIDE`.

    Example:
        >>> from initzoo.pairs.photos import load_photos
        >>> few = varied_photos(load_photos(split="score"), 2, seed=0)
        >>> min(few[0].shape[:2])
        256
    """
    return [
        vary_photo(photos[number % len(photos)].pixels, np.random.default_rng([seed, number]))
        for number in range(n_photos)
    ]


def make_pairs(
    concept: Concept, photos: Sequence[Pixels], *, n_pairs: int, patch_size: int, seed: int
) -> Pairs:
    """Make training pairs of a concept: the teacher sees whole photos, a patch is cut after it.

    Pair number `i` takes photo `i`, beginning anew when they run out, and depends on
    `seed`, `i` and the photo only. Random damage of restorations differs in every pair.

    Args:
        concept: its teacher is applied.
        photos: what the teacher is shown, e.g. `varied_photos`; uint8,
            shape `(height, width, 3)`. They serve for many concepts.
        n_pairs: pairs to make.
        patch_size: side of the square patch of each photo, in pixels.
        seed: draws damage and places of patches.

    Raises:
        ValueError: there are no photos, or one is smaller than a patch.
        TeacherError: the teacher failed.

    Example:
        >>> from initzoo.pairs.concepts import find_concept, load_concepts
        >>> concept = find_concept(load_concepts(), "pencil sketch")
        >>> photos = [np.full((64, 80, 3), 128, np.uint8)]
        >>> make_pairs(concept, photos, n_pairs=5, patch_size=32, seed=0).targets.shape
        (5, 32, 32, 3)
    """
    if not photos:
        raise ValueError("make_pairs needs at least one photo")
    shape = (n_pairs, patch_size, patch_size, 3)
    inputs, targets = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    for number in range(n_pairs):
        photo = photos[number % len(photos)]
        height, width = photo.shape[:2]
        if min(height, width) < patch_size:
            raise ValueError(f"a photo of {width} x {height} pixels holds no patch of {patch_size}")
        rng = np.random.default_rng([seed, number, 1])
        given, wanted = teach(concept.teacher, photo, seed=int(rng.integers(2**31)))
        top = int(rng.integers(height - patch_size + 1))
        left = int(rng.integers(width - patch_size + 1))
        place = (slice(top, top + patch_size), slice(left, left + patch_size))
        inputs[number], targets[number] = given[place], wanted[place]
    return Pairs(inputs=inputs, targets=targets)


def scoring_pairs(concept: Concept, photos: Sequence[Photo]) -> tuple[list[Pixels], list[Pixels]]:
    """Make one whole pair of each photo, not varied, at shorter side `TEACHING_SIDE`.

    Returns:
        Inputs and targets, lists of uint8 arrays `(height, width, 3)`, one a photo.

    Raises:
        TeacherError: the teacher failed.

    Example:
        >>> from initzoo.pairs.concepts import find_concept, load_concepts
        >>> from initzoo.pairs.photos import load_photos
        >>> concept = find_concept(load_concepts(), "pencil sketch")
        >>> inputs, targets = scoring_pairs(concept, load_photos(split="score")[:1])
        >>> inputs[0].shape == targets[0].shape
        True
    """
    pairs = [
        teach(concept.teacher, fit_short_side(photo.pixels, TEACHING_SIDE), seed=number)
        for number, photo in enumerate(photos)
    ]
    return [given for given, _ in pairs], [wanted for _, wanted in pairs]


def write_pairs(
    concepts: Sequence[Concept],
    photos: Sequence[Photo],
    out: Path,
    *,
    n_varied: int = 0,
    seed: int = 0,
    force: bool = False,
    callback: Callable[[int], None] | None = None,
) -> int:
    """Write pairs as image folders, whole or not at all.

    One concept gives `out/A` (inputs) and `out/B` (targets) with PNG files of equal
    names; several give such a pair of folders each, under the concept's id.

    Args:
        concepts: their teachers are applied.
        photos: one pair is made of each, at shorter side `TEACHING_SIDE`.
        out: the folder to make; its parent must exist.
        n_varied: varied photos to take in place of the photos themselves; 0 for none.
        seed: draws variations and the damage of restorations.
        force: replace a folder of earlier pairs.
        callback: called after every concept with the number of concepts done.

    Returns:
        Pairs written.

    Raises:
        ValueError: `n_varied` is below 0.
        OutputError: `out` exists and `force` is off, holds something that is no
            pairs, or cannot be written.
        InvalidConcepts: two concepts have one id, or an id that is no folder name.
        TeacherError: a teacher failed.

    Example:
        >>> import tempfile
        >>> from initzoo.pairs.concepts import find_concept, load_concepts
        >>> from initzoo.pairs.photos import load_photos
        >>> concept = find_concept(load_concepts(), "pencil sketch")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     n_pairs = write_pairs([concept], load_photos(split="score")[:1], Path(folder) / "pairs")
        ...     [path.name for path in (Path(folder) / "pairs" / "A").iterdir()]
        ['chelsea.png']
    """
    if n_varied < 0:
        raise ValueError(f"n_varied must be at least 0, found {n_varied}")
    _check_ids(concepts)
    if force and out.is_dir():
        _check_holds_pairs(out)
    shown = _shown_photos(photos, n_varied, seed)
    with replace_folder(out, force=force) as beside:
        for number, concept in enumerate(concepts):
            folder = beside / concept.id if len(concepts) > 1 else beside
            _write_concept(concept, shown, folder, seed)
            if callback is not None:
                callback(number + 1)
    return len(concepts) * len(shown)


def _shown_photos(photos: Sequence[Photo], n_varied: int, seed: int) -> list[tuple[str, Pixels]]:
    """What teachers are shown, with the name of its files."""
    if not n_varied:
        return [(photo.name, fit_short_side(photo.pixels, TEACHING_SIDE)) for photo in photos]
    names = [f"{photos[number % len(photos)].name}-{number:05d}" for number in range(n_varied)]
    return list(zip(names, varied_photos(photos, n_varied, seed), strict=True))


def _write_concept(concept: Concept, shown: list[tuple[str, Pixels]], folder: Path, seed: int) -> None:
    for part in ("A", "B"):
        (folder / part).mkdir(parents=True)
    for number, (name, photo) in enumerate(shown):
        damage = int(np.random.default_rng([seed, number, 2]).integers(2**31))
        given, wanted = teach(concept.teacher, photo, seed=damage)
        write_image(folder / "A" / f"{name}.png", given, force=False)
        write_image(folder / "B" / f"{name}.png", wanted, force=False)


def _check_ids(concepts: Sequence[Concept]) -> None:
    ids = [concept.id for concept in concepts]
    for number, name in enumerate(ids):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InvalidConcepts(
                f"concept {name!r} names no folder. Use letters, digits and hyphens in its id"
            )
        if name in ids[:number]:
            raise InvalidConcepts(f"two concepts have the id '{name}'. Rename one")


def _check_holds_pairs(out: Path) -> None:
    """Replacing deletes all that is in a folder, so it must hold nothing but pairs."""
    for path in out.iterdir():
        is_pairs = path.is_dir() and (path.name in ("A", "B") or (path / "A").is_dir())
        if not is_pairs:
            raise OutputError(
                f"will not replace {out}: it holds {path.name}, which is not pairs. Choose another folder"
            )
