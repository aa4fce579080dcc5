"""Teachers: what makes an edited photo from a photo, so that a network can learn to do it.

`OPERATORS` holds all filters by name; `teach` applies a list of steps. OpenCV is loaded when the
first filter runs, not on import.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
from numpy import ndarray

from initzoo.errors import InvalidZoo, TeacherError
from initzoo.pairs.teachers.filters import colour, light, restoration, structure, style, tone
from initzoo.pairs.teachers.filters.imaging import opencv
from initzoo.pairs.teachers.filters.operators import FAMILIES, Operator, Parameter, Step, check_step

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for family in (colour, tone, style, light, structure, restoration)
    for operator in family.OPERATORS
}
"""Every operator by its name."""

__all__ = ["FAMILIES", "OPERATORS", "Operator", "Parameter", "Step", "check_step", "parse_teacher", "teach"]


def teach(steps: tuple[Step, ...], photo: ndarray, *, seed: int) -> tuple[ndarray, ndarray]:
    """Make a pair of a photo: what the network sees, and what it should make of it.

    Edits change the target, in order. Restorations change the input, in order, and leave the target.

    Args:
        steps: the operators with their parameters.
        photo: uint8 RGB, shape `(height, width, 3)`.
        seed: what random noise is drawn from; the same seed gives the same bytes.

    Returns:
        Input and target, both uint8 with the photo's shape.

    Raises:
        InvalidConcepts: a step has an unknown operator or parameter, or a value out of range.
        TeacherError: `photo` is not a uint8 RGB image, or an operator gave something else than an image.

    Example:
        >>> photo = np.full((8, 8, 3), 200, dtype=np.uint8)
        >>> given, wanted = teach((Step("negative"),), photo, seed=0)
        >>> int(given[0, 0, 0]), int(wanted[0, 0, 0])
        (200, 55)
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise TeacherError(f"a photo must be uint8 (height, width, 3), found {photo.dtype} {photo.shape}")
    given = wanted = image = photo.astype(np.float32) * np.float32(1 / 255)
    for place, step in enumerate(steps):
        operator, parameters = _prepare(step)
        if operator.restoration:
            noise = np.random.default_rng([seed, place])
            given = _checked(operator, operator.apply(given, noise, **parameters), given)
        else:
            wanted = _checked(operator, operator.apply(wanted, **parameters), wanted)
    return (
        photo.copy() if given is image else _to_bytes(given),
        photo.copy() if wanted is image else _to_bytes(wanted),
    )


def parse_teacher(text: str) -> tuple[Step, ...]:
    """The steps that an index row's `teacher` holds as JSON.

    Raises:
        InvalidZoo: the text is no list of steps.

    Example:
        >>> parse_teacher('[{"operator": "sepia", "parameters": [["strength", 0.5]]}]')
        (Step(operator='sepia', parameters=(('strength', 0.5),)),)
    """
    try:
        return tuple(
            Step(step["operator"], tuple((name, value) for name, value in step["parameters"]))
            for step in json.loads(text)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidZoo(f"a teacher of the index is not a list of steps: {text[:80]!r}.") from error


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
