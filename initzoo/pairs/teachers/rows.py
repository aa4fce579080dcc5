"""Teachers in index rows: a zoo contains filters, and of other teachers only the names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from initzoo.errors import InvalidZoo, TeacherError
from initzoo.pairs.teachers.filters.operators import Step
from initzoo.pairs.teachers.filters.teacher import FilterTeacher
from initzoo.pairs.teachers.teacher import TEACHER_ID, Pixels, Teacher

__all__ = ["AbsentTeacher", "parse_teacher"]

_MAX_VARIANTS = 10_000


def parse_teacher(text: str, known: Iterable[Teacher] = ()) -> Teacher:
    """Parse the column `teacher` of an index row.

    Since a zoo may be from an untrusted source, a row never runs code and never opens a folder.

    Args:
        text: JSON: steps of filters, or the name and id of another teacher.
        known: own teachers, e.g. of a concepts file, which are matched by id.

    Returns:
        Filters, one of `known`, or an `AbsentTeacher`.

    Raises:
        InvalidZoo: the text is invalid.

    Example:
        >>> parse_teacher('[{"operator": "sepia", "parameters": [["strength", 0.5]]}]').steps
        (Step(operator='sepia', parameters=(('strength', 0.5),)),)
    """
    try:
        values = json.loads(text)
        if isinstance(values, dict):
            absent = AbsentTeacher(values)
            return next((teacher for teacher in known if teacher.id == absent.id), absent)
        return FilterTeacher(
            tuple(
                Step(step["operator"], tuple((name, value) for name, value in step["parameters"]))
                for step in values
            )
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidZoo(f"a teacher of the index is not a list of steps: {text[:80]!r}.") from error


class AbsentTeacher(Teacher):
    """A teacher that a zoo names but does not contain. The store may still have pairs that it made.

    Args:
        row: its JSON values in the index.

    Raises:
        ValueError: name, id or number of variants is missing or invalid.
    """

    def __init__(self, row: dict[str, Any]) -> None:
        name, number = row.get("name"), row.get("n_variants")
        if not isinstance(name, str) or not TEACHER_ID.fullmatch(str(row.get("id"))):
            raise ValueError("a teacher needs a name and an id")
        if not isinstance(number, int) or not 0 <= number <= _MAX_VARIANTS:
            raise ValueError("a teacher needs a number of variants")
        self._row, self.n_variants = row, number

    @property
    def id(self) -> str:
        """The id in the row."""
        return str(self._row["id"])

    @property
    def name(self) -> str:
        """The name in the row, without control characters."""
        return "".join(letter for letter in self._row["name"][:80] if letter.isprintable())

    @property
    def licence(self) -> str:
        """Unknown; see the column `licence` of the row."""
        return "unknown"

    def edit(self, photos: Sequence[Pixels], seeds: Sequence[int]) -> NoReturn:
        """Refuse.

        Raises:
            TeacherError: always.
        """
        raise TeacherError(
            f"the zoo names the teacher '{self.name}' and does not contain it. "
            "Give the concepts file of its harvest: --concepts FILE"
        )

    def to_json(self) -> dict[str, Any]:
        """The values of the row."""
        return dict(self._row)
