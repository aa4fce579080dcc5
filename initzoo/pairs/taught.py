"""Pairs made by teachers: patches for training, and whole photos for scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import RefusedPairs
from initzoo.pairs.opencv import fit_short_side
from initzoo.pairs.photos import TEACHING_SIDE, Photo
from initzoo.pairs.store import PairStore, default_store
from initzoo.pairs.teachers import Refused, TaughtPair, Teacher, edit_checked

__all__ = ["Pairs", "example_pair", "make_pairs", "scoring_pairs", "teach", "teach_each"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Patches of photos and their targets.

    Args:
        inputs: inputs of the network, uint8, shape `(n_pairs, patch, patch, 3)`.
        targets: targets of the network, same shape.
    """

    inputs: Pixels
    targets: Pixels


def teach(
    teacher: Teacher, photos: Sequence[Pixels], seeds: Sequence[int], *, store: PairStore | None = None
) -> Iterator[TaughtPair]:
    """Make a pair of each photo. The pairs of slow teachers are stored on disk and read from there.

    A pair that is no good to train on is replaced by the next good one, or by the last of all.

    Args:
        teacher: makes the pairs; those of filters are not stored.
        photos: uint8 RGB, shape `(height, width, 3)`.
        seeds: one per photo.
        store: the store of pairs; `default_store()` by default.

    Yields:
        Input and target of each photo, in order.

    Raises:
        RefusedPairs: no pair is good to train on.
        TeacherError: the teacher failed.

    Example:
        >>> from initzoo.pairs.teachers import FilterTeacher, Step
        >>> photo = np.full((8, 8, 3), 200, np.uint8)
        >>> [(given, wanted)] = teach(FilterTeacher((Step("negative"),)), [photo], [0])
        >>> int(given[0, 0, 0]), int(wanted[0, 0, 0])
        (200, 55)
    """
    last: TaughtPair | None = None
    n_waiting, reason = 0, ""
    for pair in teach_each(teacher, photos, seeds, store=store):
        if isinstance(pair, Refused):
            n_waiting, reason = n_waiting + 1, pair.reason
        else:
            yield from [pair] * (n_waiting + 1)
            last, n_waiting = pair, 0
    if n_waiting and last is None:
        raise RefusedPairs(_all_refused(teacher, n_waiting, reason))
    if last is not None:
        yield from [last] * n_waiting


def _all_refused(teacher: Teacher, n_pairs: int, reason: str) -> str:
    which = "the only picture" if n_pairs == 1 else f"all {n_pairs} pictures"
    return (
        f"teacher '{teacher.name}': {which} cannot be trained on: {reason}. Give other photos, or another "
        "prompt or strength"
    )


def teach_each(
    teacher: Teacher, photos: Sequence[Pixels], seeds: Sequence[int], *, store: PairStore | None = None
) -> Iterator[TaughtPair | Refused]:
    """Make a pair of each photo, as `teach` does, and say which ones are no good to train on.

    Yields:
        Input and target of each photo, in order, or the reason why it has none.

    Raises:
        TeacherError: the teacher failed.
    """
    for first in range(0, len(photos), teacher.batch_size):
        batch = slice(first, first + teacher.batch_size)
        if teacher.n_variants == 0:
            yield from edit_checked(teacher, photos[batch], seeds[batch])
        else:
            yield from (store or default_store()).teach(teacher, photos[batch], seeds[batch])


def make_pairs(
    teacher: Teacher, photos: Sequence[Pixels], *, n_pairs: int, patch_size: int, seed: int, grid: int = 1
) -> Pairs:
    """Make training pairs: the teacher edits whole photos, then one patch is cut from each pair.

    Pair `i` is made of photo `i`, modulo the number of photos, and depends on `seed`, `i` and the photo only.
    The random damage of restorations differs between pairs.

    Args:
        teacher: makes the pairs.
        photos: photos for the teacher, e.g. `varied_photos`; uint8, shape `(height, width, 3)`.
        n_pairs: number of pairs.
        patch_size: side of the square patches, pixels.
        seed: seed of the damage and of the positions of patches.

    Raises:
        ValueError: there are no photos, or one is smaller than a patch.
        TeacherError: the teacher failed.

    Example:
        >>> from initzoo.pairs.concepts import find_concept, load_concepts
        >>> concept = find_concept(load_concepts(), "pencil sketch")
        >>> photos = [np.full((64, 80, 3), 128, np.uint8)]
        >>> make_pairs(concept.teacher, photos, n_pairs=5, patch_size=32, seed=0).targets.shape
        (5, 32, 32, 3)
    """
    if not photos:
        raise ValueError("make_pairs needs at least one photo")
    shown = [photos[number % len(photos)] for number in range(n_pairs)]
    for photo in shown:
        height, width = photo.shape[:2]
        if min(height, width) < patch_size:
            raise ValueError(f"a photo of {width} x {height} pixels is smaller than a patch of {patch_size}")
    shape = (n_pairs, patch_size, patch_size, 3)
    inputs, targets = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    draws = [np.random.default_rng([seed, number, 1]) for number in range(n_pairs)]
    taught = teach(teacher, shown, [int(rng.integers(2**31)) for rng in draws])
    for number, (rng, (given, wanted)) in enumerate(zip(draws, taught, strict=True)):
        height, width = given.shape[:2]
        top, left = (
            grid * int(rng.integers((length - patch_size) // grid + 1)) for length in (height, width)
        )
        patch = (slice(top, top + patch_size), slice(left, left + patch_size))
        inputs[number], targets[number] = given[patch], wanted[patch]
    return Pairs(inputs=inputs, targets=targets)


def scoring_pairs(
    teacher: Teacher, photos: Sequence[Photo], *, side: int = TEACHING_SIDE
) -> tuple[list[Pixels], list[Pixels]]:
    """Make one whole pair of each photo, or take the scoring pairs of a teacher with pairs of its own.

    Args:
        teacher: makes the pairs.
        photos: photos for the teacher; they are not varied.
        side: shorter side of the pairs, pixels.

    Returns:
        Inputs and targets, lists of uint8 arrays `(height, width, 3)`. Photos whose pair is no good are left
        out.

    Raises:
        RefusedPairs: no pair is good.
        TeacherError: the teacher failed.

    Example:
        >>> from initzoo.pairs.concepts import find_concept, load_concepts
        >>> from initzoo.pairs.photos import load_photos
        >>> concept = find_concept(load_concepts(), "pencil sketch")
        >>> inputs, targets = scoring_pairs(concept.teacher, load_photos(split="score")[:1])
        >>> inputs[0].shape == targets[0].shape
        True
    """
    fixed_pairs = teacher.fixed_pairs("score", side)
    if fixed_pairs is not None:
        return [pair.given for pair in fixed_pairs], [pair.wanted for pair in fixed_pairs]
    shown = [fit_short_side(photo.pixels, side) for photo in photos]
    taught = list(teach_each(teacher, shown, range(len(shown))))
    pairs = [pair for pair in taught if not isinstance(pair, Refused)]
    refused = [pair for pair in taught if isinstance(pair, Refused)]
    if refused and not pairs:
        raise RefusedPairs(_all_refused(teacher, len(refused), refused[-1].reason))
    return [given for given, _ in pairs], [wanted for _, wanted in pairs]


def example_pair(teacher: Teacher, photo: Pixels, *, seed: int) -> TaughtPair:
    """Make one whole pair to show, or take a scoring pair of a teacher with pairs of its own.

    Args:
        teacher: makes the pair.
        photo: photo for the teacher; uint8, shape `(height, width, 3)`.
        seed: seed of the damage in restorations, or the index of the teacher's own pair.

    Raises:
        TeacherError: the teacher failed.
    """
    fixed_pairs = teacher.fixed_pairs("score", min(photo.shape[:2]))
    if fixed_pairs is not None:
        pair = fixed_pairs[seed % len(fixed_pairs)]
        return pair.given, pair.wanted
    [taught] = teach(teacher, [photo], [seed])
    return taught
