"""What a concept is, how its words are compared, and how it is found by them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from typing import Any

from initzoo.errors import InvalidConcepts, UnknownConcept
from initzoo.pairs.concepts.words import normalise_words
from initzoo.pairs.teachers import FAMILIES, OPERATORS, Step, Teacher

_DOMINANCE = ("restoration", "style", "structure", "light", "tone", "colour")
_SLUG = re.compile(r"[a-z0-9]+(?:-{1,2}[a-z0-9]+)*")  # as shards take it


@dataclass(frozen=True)
class Concept:
    """An image edit with its words.

    `prompts` are the wordings that training may use, the plain name first; `test_prompts` are kept for
    tests. `teacher` makes its pairs.
    """

    id: str
    family: str
    split: str
    novelty: str
    teacher: Teacher
    prompts: tuple[str, ...]
    test_prompts: tuple[str, ...]
    licence: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"teacher": self.teacher.to_json()}


def family_of(steps: Sequence[Step]) -> str:
    """The family of the step that says most about the result.

    Example:
        >>> family_of((Step("pencil_sketch"), Step("fog")))
        'style'
    """
    families = {OPERATORS[step.operator].family for step in steps}
    assert set(_DOMINANCE) == set(FAMILIES)
    return next(family for family in _DOMINANCE if family in families)


def check_concepts(concepts: Iterable[Concept]) -> None:
    """Raise unless ids are usable and every wording names exactly one concept.

    Raises:
        InvalidConcepts: an id is no slug or is taken, a concept has no wording, or two share one.
    """
    owners: dict[str, str] = {}
    ids: set[str] = set()
    for concept in concepts:
        if not _SLUG.fullmatch(concept.id) or len(concept.id) > 64:
            raise InvalidConcepts(
                f"concept id '{concept.id}' must be lower-case letters, digits and hyphens, at most 64"
            )
        if concept.id in ids:
            raise InvalidConcepts(f"concept id '{concept.id}' is used twice; rename one")
        ids.add(concept.id)
        if not concept.prompts:
            raise InvalidConcepts(f"concept '{concept.id}' has no prompts; give it at least one")
        for wording in (concept.id, *concept.prompts, *concept.test_prompts):
            key = normalise_words(wording)
            owner = owners.setdefault(key, concept.id)
            if not key:
                raise InvalidConcepts(f"concept '{concept.id}': the wording '{wording}' has no words")
            if owner != concept.id:
                raise InvalidConcepts(f"'{wording}' names both '{owner}' and '{concept.id}'; change one")
        repeated = set(map(normalise_words, concept.prompts)) & set(
            map(normalise_words, concept.test_prompts)
        )
        if repeated:
            raise InvalidConcepts(
                f"concept '{concept.id}': '{min(repeated)}' is both a prompt and a test prompt; keep one"
            )


def find_concept(concepts: Sequence[Concept], words: str) -> Concept:
    """Find a concept by its id or any of its wordings, whatever the case, hyphens or spaces.

    Raises:
        UnknownConcept: nothing is called so; the message names the three closest.
    """
    key = normalise_words(words)
    for concept in concepts:
        if key == normalise_words(concept.id):
            return concept
    for concept in concepts:
        if any(key == normalise_words(wording) for wording in concept.prompts + concept.test_prompts):
            return concept
    names = ", ".join(f"'{concept.prompts[0]}'" for concept in closest_concepts(concepts, words))
    raise UnknownConcept(f"no concept '{words}' in the catalog; closest are {names}. List all: initzoo list")


def closest_concepts(concepts: Sequence[Concept], words: str, n: int = 3) -> list[Concept]:
    """The `n` concepts with the most similarly spelt wordings, nearest first."""
    matcher = SequenceMatcher(b=normalise_words(words), autojunk=False)
    best: list[tuple[float, int]] = []
    for place, concept in enumerate(concepts):
        score = 0.0
        for wording in concept.prompts:
            matcher.set_seq1(normalise_words(wording))
            floor = max(score, best[-1][0] if len(best) >= n else 0.0)
            if matcher.real_quick_ratio() > floor and matcher.quick_ratio() > floor:
                score = max(score, matcher.ratio())
        best = sorted([*best, (score, place)], key=lambda pair: (-pair[0], pair[1]))[:n]
    return [concepts[place] for _, place in best]
