"""What an operator is, which parameters it takes, and what is wrong with a step that asks for others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from initzoo.errors import InvalidConcepts

FAMILIES = ("colour", "tone", "style", "light", "structure", "restoration")
"""The families of operators, and of concepts."""

Value = float | str
"""A parameter's value: a number, a choice's name, or a colour such as `#1b2a49`."""

_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class Parameter:
    """A setting of an operator: a number with limits, one of some choices, or a colour."""

    default: Value
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()

    @property
    def is_colour(self) -> bool:
        """Whether values are colours, written as `#rrggbb`."""
        return isinstance(self.default, str) and not self.choices

    def problem_with(self, value: object) -> str | None:
        """Say what is wrong with a value, or None when it may be used.

        Example:
            >>> Parameter(0.5, 0.0, 1.0).problem_with(2.0)
            'expected a number from 0 to 1, found 2.0'
        """
        if self.choices:
            return (
                None
                if value in self.choices
                else f"expected one of {', '.join(self.choices)}, found {repr(value)[:80]}"
            )
        if self.is_colour:
            fits = isinstance(value, str) and _COLOUR.fullmatch(value) is not None
            return None if fits else f"expected a colour such as '#1b2a49', found {repr(value)[:80]}"
        fits = (
            isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        )
        return (
            None
            if fits
            else f"expected a number from {self.low:g} to {self.high:g}, found {repr(value)[:80]}"
        )


@dataclass(frozen=True)
class Operator:
    """A filter with its parameters.

    An edit's `apply(image, **parameters)` and a restoration's `apply(image, noise, **parameters)`
    take and give float32 images of shape `(height, width, 3)` with values about 0 to 1. A restoration
    operator spoils the input instead of changing the target, and may draw from `noise`. An edit that draws a
    pattern repeats it every `period` pixels, from the upper left corner on.
    """

    name: str
    family: str
    apply: Callable[..., Any] = field(compare=False)
    parameters: Mapping[str, Parameter] = field(compare=False)
    summary: str
    period: int = 1

    @property
    def restoration(self) -> bool:
        """Whether the operator spoils the input, so that the photo is what to get back."""
        return self.family == "restoration"


@dataclass(frozen=True)
class Step:
    """One operator with the parameters that differ from its defaults.

    Example:
        >>> Step("blur", (("radius", 0.01),)).operator
        'blur'
    """

    operator: str
    parameters: tuple[tuple[str, Value], ...] = ()


def closest(word: str, words: list[str]) -> str:
    """Name the word nearest to a misspelt one, or the first of all when none is near.

    Example:
        >>> closest("blurr", ["sepia", "blur"])
        'blur'
    """
    return (get_close_matches(word, words, n=1, cutoff=0.0) or words[:1])[0]


def check_step(step: Step, operators: Mapping[str, Operator]) -> None:
    """Raise if a step asks for what no operator does.

    Raises:
        InvalidConcepts: the operator or a parameter is unknown, or a value is out of range.
    """
    operator = operators.get(step.operator)
    if operator is None:
        near = closest(step.operator, sorted(operators))
        raise InvalidConcepts(f"unknown operator '{step.operator}'; closest is '{near}'")
    for name, value in step.parameters:
        parameter = operator.parameters.get(name)
        if parameter is None:
            known = sorted(operator.parameters)
            hint = f"closest is '{closest(name, known)}'" if known else "it takes none"
            raise InvalidConcepts(f"operator '{step.operator}' has no parameter '{name}'; {hint}")
        problem = parameter.problem_with(value)
        if problem is not None:
            raise InvalidConcepts(f"operator '{step.operator}', parameter '{name}': {problem}")
