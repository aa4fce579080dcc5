"""Teachers as an index row names them: a zoo carries filters, and only the names of all others."""

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
    """The teacher that an index row's `teacher` holds as JSON.

    A row never makes initzoo run code or open a folder, as the zoo may be somebody else's.

    Args:
        text: steps of filters, or the name of another teacher.
        known: teachers of one's own, e.g. those of a concepts file; one of the same id is taken.

    Returns:
        Filters, one of `known`, or an `AbsentTeacher`.

    Raises:
        InvalidZoo: the text names no teacher.

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
    """A teacher that a zoo names and does not hold; pairs that it made may still be in the store.

    Args:
        row: its JSON in the index.

    Raises:
        ValueError: name, id or number of variants is missing or of another kind.
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
        """As the row has it."""
        return str(self._row["id"])

    @property
    def name(self) -> str:
        """As the row has it, without characters that a terminal would obey."""
        return "".join(letter for letter in self._row["name"][:80] if letter.isprintable())

    @property
    def licence(self) -> str:
        """Not known here: the row's own column says it."""
        return "unknown"

    def edit(self, photos: Sequence[Pixels], seeds: Sequence[int]) -> NoReturn:
        """Refuse.

        Raises:
            TeacherError: always.
        """
        raise TeacherError(
            f"the zoo names the teacher '{self.name}' and does not hold it. "
            "Give the concepts file that it was harvested with: --concepts FILE"
        )

    def to_json(self) -> dict[str, Any]:
        """As the row has it."""
        return dict(self._row)
