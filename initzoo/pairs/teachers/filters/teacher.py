"""The teacher of the bundled catalog: filters, one after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy import ndarray

from initzoo.errors import TeacherError
from initzoo.pairs.opencv import opencv
from initzoo.pairs.teachers.filters import (
    colour,
    crafts,
    film,
    light,
    restoration,
    screens,
    structure,
    style,
    tone,
)
from initzoo.pairs.teachers.filters.operators import Operator, Step, check_step
from initzoo.pairs.teachers.teacher import Pixels, Teacher

__all__ = ["OPERATORS", "FilterTeacher"]

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for family in (colour, film, tone, style, crafts, screens, light, structure, restoration)
    for operator in family.OPERATORS
}
"""Every operator by its name."""

_VERSION = 1
"""Part of every id: goes up when a filter gives other pixels than before."""


@dataclass(frozen=True)
class FilterTeacher(Teacher):
    """Applies filters in order.

    Edits change the target and leave the input. Restorations change the input and leave the target.

    Args:
        steps: the operators with their parameters.

    Example:
        >>> teacher = FilterTeacher((Step("negative"),))
        >>> given, wanted = teacher.edit([np.full((8, 8, 3), 200, np.uint8)], [0])
        >>> int(given[0][0, 0, 0]), int(wanted[0][0, 0, 0])
        (200, 55)
    """

    steps: tuple[Step, ...]

    n_variants = 0  # a filter takes milliseconds: reading a pair from disk takes as long

    @cached_property
    def id(self) -> str:
        """A digest of the steps and of the filters' version."""
        text = json.dumps([_VERSION, self.to_json()])
        return f"filters-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    @property
    def name(self) -> str:
        """The operators' names."""
        return " + ".join(step.operator for step in self.steps)

    @property
    def licence(self) -> str:
        """Of initzoo itself, whose filters these are."""
        return "Apache-2.0"

    def edit(self, photos: Sequence[Pixels], seeds: Sequence[int]) -> tuple[list[Pixels], list[Pixels]]:
        """Apply the steps to each photo; noise is drawn from the photo's seed.

        Raises:
            InvalidConcepts: a step has an unknown operator or parameter, or a value out of range.
            TeacherError: a photo is not a uint8 RGB image, or an operator returned no image.
        """
        given, wanted = [], []
        for photo, seed in zip(photos, seeds, strict=True):
            pair = _apply(self.steps, photo, seed)
            given.append(pair[0])
            wanted.append(pair[1])
        return given, wanted

    def to_json(self) -> list[dict[str, Any]]:
        """The steps, each with operator and parameters."""
        return [asdict(step) for step in self.steps]


def _apply(steps: tuple[Step, ...], photo: ndarray, seed: int) -> tuple[ndarray, ndarray]:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise TeacherError(f"a photo must be uint8 (height, width, 3), found {photo.dtype} {photo.shape}")
    given = wanted = image = photo.astype(np.float32) * np.float32(1 / 255)
    for number, step in enumerate(steps):
        operator, parameters = _prepare(step)
        if operator.restoration:
            noise = np.random.default_rng([seed, number])
            given = _checked(operator, operator.apply(given, noise, **parameters), given)
        else:
            wanted = _checked(operator, operator.apply(wanted, **parameters), wanted)
    return (
        photo.copy() if given is image else _to_bytes(given),
        photo.copy() if wanted is image else _to_bytes(wanted),
    )


@lru_cache(maxsize=4096)
def _prepare(step: Step) -> tuple[Operator, dict[str, float | str]]:
    check_step(step, OPERATORS)
    operator = OPERATORS[step.operator]
    defaults = {name: parameter.default for name, parameter in operator.parameters.items()}
    return operator, defaults | dict(step.parameters)


def _checked(operator: Operator, result: object, image: ndarray) -> ndarray:
    """The result clipped to 0 and 1, if it is an image like the one that went in."""
    if not isinstance(result, np.ndarray) or result.shape != image.shape:
        found = getattr(result, "shape", type(result).__name__)
        raise TeacherError(f"operator '{operator.name}' gave {found} for an image of shape {image.shape}")
    if not np.isfinite(result).all():
        raise TeacherError(f"operator '{operator.name}' gave values that are not numbers")
    return np.clip(result, 0, 1).astype(np.float32, copy=False)


def _to_bytes(image: ndarray) -> ndarray:
    return opencv().convertScaleAbs(image, alpha=255)
