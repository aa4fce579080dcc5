"""The interface of teachers, and the check of the pairs that they return."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import TeacherError
from initzoo.pairs.folders import Pair

__all__ = ["TEACHER_ID", "Pixels", "Refused", "TaughtPair", "Teacher", "edit_checked"]

Pixels = NDArray[np.uint8]
TaughtPair = tuple[Pixels, Pixels]

TEACHER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
"""Pattern of ids, which are names of folders in the store."""


_BLACK = 8
"""Largest value of a picture that counts as black."""


@dataclass(frozen=True)
class Refused:
    """Takes the place of a target that is no good to train on.

    Args:
        reason: what is wrong with it, in a few words, e.g. "black".
    """

    reason: str


class Teacher(ABC):
    """Makes the pairs of one concept from photos.

    Several processes use a teacher at once, so it must be picklable.
    """

    n_variants: int = 1
    """Number of pairs per photo in the store on disk; the teacher gets `seed % n_variants` as its seed.

    0 for a teacher that is as fast as reading from disk: it gets every seed, and no pair is stored.
    """

    batch_size: int = 8
    """Number of photos per call of `edit`, after which their pairs are stored."""

    @property
    @abstractmethod
    def id(self) -> str:
        """At most 80 lower-case letters, digits and hyphens. Equal ids make equal pairs on all machines."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in messages and in `source` columns."""

    @property
    @abstractmethod
    def licence(self) -> str:
        """Licence of the pairs, besides those of the photos: SPDX name, or a description."""

    @abstractmethod
    def edit(
        self, photos: Sequence[Pixels], seeds: Sequence[int]
    ) -> tuple[Sequence[Pixels], Sequence[Pixels | Refused]]:
        """Make a pair of each photo.

        Args:
            photos: uint8 RGB, shape `(height, width, 3)`; must not be changed.
            seeds: one per photo; the only source of randomness.

        Returns:
            Inputs and targets, one of each per photo. The two images of a pair are uint8 RGB of the same
            shape, and their shorter side is at least that of the photo. A target may be `Refused`: the store
            remembers that, and nothing is trained on it.

        Raises:
            TeacherError: the teacher failed.
        """

    @property
    def model_id(self) -> str | None:
        """An id, as `id`, of the large model that the teacher shares with others; None without one.

        One process at a time runs a model, and a harvest makes all its pairs before other work begins.
        """
        return None

    def release(self) -> None:  # noqa: B027 (few teachers have anything to free)
        """Free the memory of the model; the next `edit` loads it again."""

    def to_json(self) -> Any:
        """The `teacher` column of an index row, as JSON values: at least name, id and `n_variants`.

        Code, pairs and paths are not included.
        """
        return {"name": self.name, "id": self.id, "n_variants": self.n_variants}

    def fixed_pairs(self, split: str, side: int) -> tuple[Pair, ...] | None:
        """The pairs of a teacher with pairs of its own, which ignores photos; None for all others.

        Args:
            split: "train" or "score".
            side: shorter side of the images, pixels.
        """
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Teacher) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def edit_checked(
    teacher: Teacher, photos: Sequence[Pixels], seeds: Sequence[int]
) -> list[TaughtPair | Refused]:
    """Make pairs with a teacher, and check them.

    Returns:
        Input and target of each photo, or the reason why it has none. A black target of a teacher whose pairs
        are stored is refused: diffusion models make one in place of a picture that their filter objects to.

    Raises:
        TeacherError: the teacher failed, or its pairs violate the contract of `Teacher.edit`.
    """
    given, wanted = teacher.edit(photos, seeds)
    if not len(given) == len(wanted) == len(photos):
        raise TeacherError(
            f"teacher '{teacher.name}' returned {len(given)} inputs and {len(wanted)} targets "
            f"for {len(photos)} photos. Return one of each per photo"
        )
    pairs: list[TaughtPair | Refused] = []
    for photo, one, other in zip(photos, given, wanted, strict=True):
        if isinstance(other, Refused):
            pairs.append(other)
            continue
        _check_pair(teacher.name, photo, (one, other))
        is_black = teacher.n_variants > 0 and other.max() <= _BLACK < one.max()
        pairs.append(Refused("black") if is_black else (one, other))
    return pairs


def _check_pair(name: str, photo: Pixels, pair: TaughtPair) -> None:
    for image in pair:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
            kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise TeacherError(f"teacher '{name}' returned {kind}, expected a uint8 (height, width, 3) array")
    shapes = [image.shape[:2] for image in pair]
    if shapes[0] != shapes[1]:
        raise TeacherError(
            f"teacher '{name}' returned an input of {shapes[0]} and a target of {shapes[1]}. "
            "Make both the same size"
        )
    if min(shapes[0]) < min(photo.shape[:2]):
        raise TeacherError(
            f"teacher '{name}' returned {shapes[0]} for a photo of {photo.shape[:2]}, which is too small for "
            "crops. Keep the size of the photo"
        )
