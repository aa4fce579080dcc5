"""The interface of teachers, and the check of the pairs that they return."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import TeacherError
from initzoo.pairs.folders import Pair

__all__ = ["TEACHER_ID", "Pixels", "Teacher", "edit_checked"]

Pixels = NDArray[np.uint8]

TEACHER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
"""Pattern of ids, which are names of folders in the store."""


class Teacher(ABC):
    """Makes the pairs of one concept from photos.

    Several processes use a teacher at once, so it must be picklable.
    """

    n_variants: int = 1
    """Number of pairs per photo in the store on disk; the teacher gets `seed % n_variants` as its seed.

    0 for a teacher that is as fast as reading from disk: it gets every seed, and no pair is stored.
    """

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
    ) -> tuple[Sequence[Pixels], Sequence[Pixels]]:
        """Make a pair of each photo.

        Args:
            photos: uint8 RGB, shape `(height, width, 3)`; must not be changed.
            seeds: one per photo; the only source of randomness.

        Returns:
            Inputs and targets, one of each per photo. The two images of a pair are uint8 RGB of the same
            shape, and their shorter side is at least that of the photo.

        Raises:
            TeacherError: the teacher failed.
        """

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
) -> list[tuple[Pixels, Pixels]]:
    """Make pairs with a teacher, and check them.

    Returns:
        Input and target of each photo.

    Raises:
        TeacherError: the teacher failed, or its pairs violate the contract of `Teacher.edit`.
    """
    given, wanted = teacher.edit(photos, seeds)
    if not len(given) == len(wanted) == len(photos):
        raise TeacherError(
            f"teacher '{teacher.name}' returned {len(given)} inputs and {len(wanted)} targets "
            f"for {len(photos)} photos. Return one of each per photo"
        )
    pairs = list(zip(given, wanted, strict=True))
    for photo, pair in zip(photos, pairs, strict=True):
        _check_pair(teacher.name, photo, pair)
    return pairs


def _check_pair(name: str, photo: Pixels, pair: tuple[Pixels, Pixels]) -> None:
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
