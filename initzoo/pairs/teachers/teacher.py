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
"""The form of ids: they name folders of the store."""


class Teacher(ABC):
    """Makes the pairs of one concept: edited photos for a network to learn from.

    A teacher works in several processes at once, so it can be pickled.
    """

    n_variants: int = 1
    """Pairs of one photo that are kept on disk; `pairs.store` folds seeds into so many.

    0 is for a teacher that is as fast as reading from disk: every seed counts and nothing is kept.
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """At most 80 lower-case letters, digits and hyphens; the same id makes the same pairs everywhere."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How messages and `source` columns call the teacher."""

    @property
    @abstractmethod
    def licence(self) -> str:
        """SPDX name or words: what the pairs may be used for, apart from the photos' own licences."""

    @abstractmethod
    def edit(
        self, photos: Sequence[Pixels], seeds: Sequence[int]
    ) -> tuple[Sequence[Pixels], Sequence[Pixels]]:
        """Make a pair of each photo.

        Args:
            photos: uint8 RGB, shape `(height, width, 3)`; left as they are.
            seeds: one a photo; the only source of randomness.

        Returns:
            Inputs and targets, one of each a photo. The two images of a pair are uint8 RGB of one shape;
            their shorter side is at least the photo's.

        Raises:
            TeacherError: the teacher failed.
        """

    def to_json(self) -> Any:
        """The `teacher` column of an index row, as plain JSON values: at least name, id and `n_variants`.

        Code, pairs and paths stay with their owner.
        """
        return {"name": self.name, "id": self.id, "n_variants": self.n_variants}

    def fixed_pairs(self, split: str, side: int) -> tuple[Pair, ...] | None:
        """The pairs of a teacher that brings them and does not look at photos; None for all others.

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
    """Let a teacher edit photos, and check the pairs.

    Returns:
        Input and target of each photo.

    Raises:
        TeacherError: the teacher failed, or its pairs are not as `Teacher.edit` promises.
    """
    given, wanted = teacher.edit(photos, seeds)
    if not len(given) == len(wanted) == len(photos):
        raise TeacherError(
            f"teacher '{teacher.name}' returned {len(given)} inputs and {len(wanted)} targets "
            f"for {len(photos)} photos. Return one of each a photo"
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
            f"teacher '{name}' made {shapes[0]} of a photo of {photo.shape[:2]}; crops would not fit. "
            "Keep the photo's size"
        )
