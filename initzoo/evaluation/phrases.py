"""The test of words: how often the right checkpoint is taken for phrases that nothing was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from initzoo.pairs import Concept, TestPhrase, normalise_words
from initzoo.zoo import Router, how_sure

__all__ = ["CatalogNames", "PhraseAnswer", "PhraseScore", "answer_phrases", "score_answers"]


@dataclass(frozen=True)
class PhraseAnswer:
    """The answer of a router to a phrase.

    Args:
        phrase: the phrase.
        origin: `exact`, `matched` or `generated`.
        concept_id: the checkpoint, or None for generated weights.
        confidence: of a match.
        nearest: ids of the concepts nearest by meaning.
    """

    phrase: TestPhrase
    origin: str
    concept_id: str | None
    confidence: float | None
    nearest: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether the checkpoint is the one that is meant, or an equally right one."""
        return self.concept_id in (self.phrase.concept, *self.phrase.also)


@dataclass(frozen=True)
class PhraseScore:
    """Shares over phrases of one kind.

    Args:
        kind: `single` or `combination`.
        n_phrases: number of phrases.
        right: share for which the right checkpoint is taken.
        near: share for which the right checkpoint is taken or among the five nearest.
        wrong: share for which another checkpoint is taken.
        generated: share for which weights are generated.
        likely: share for which the answer is called likely, exact ones among them.
        likely_wrong: share for which the answer is called likely, and is wrong.
    """

    kind: str
    n_phrases: int
    right: float
    near: float
    wrong: float
    generated: float
    likely: float
    likely_wrong: float


@dataclass(frozen=True)
class _Row:
    concept_id: str
    prompts: tuple[str, ...]
    family: str


class CatalogNames:
    """The concepts of a catalog as a router reads them, whether or not a zoo has trained them.

    Args:
        concepts: the concepts.
    """

    def __init__(self, concepts: Sequence[Concept]) -> None:
        self.ids = [concept.id for concept in concepts]
        self._rows = {concept.id: _Row(concept.id, concept.prompts, concept.family) for concept in concepts}
        self._owners = {
            normalise_words(wording): concept.id
            for concept in concepts
            for wording in (concept.id, *concept.prompts)
        }

    def row(self, concept_id: str) -> Any:
        """The id, wordings and family of a concept."""
        return self._rows[concept_id]

    def find(self, words: str) -> str | None:
        """The id of the concept that has words as its id or as a wording."""
        return self._owners.get(normalise_words(words))


def answer_phrases(names: CatalogNames, router: Router, phrases: Sequence[TestPhrase]) -> list[PhraseAnswer]:
    """Ask a router for phrases.

    Args:
        names: the concepts.
        router: a router over them.
        phrases: the phrases.
    """
    answers = []
    for phrase in phrases:
        named = names.find(phrase.words)
        route = router.route(phrase.words, n_nearest=5)
        nearest = tuple(match.concept_id for match in route.nearest)
        if named is not None:
            answers.append(PhraseAnswer(phrase, "exact", named, 1.0, nearest))
        else:
            answers.append(PhraseAnswer(phrase, route.origin, route.concept_id, route.confidence, nearest))
    return answers


def score_answers(answers: Sequence[PhraseAnswer]) -> list[PhraseScore]:
    """Score answers by kind of phrase.

    Example:
        >>> phrase = TestPhrase("misty morning", "mist", "single")
        >>> score_answers([PhraseAnswer(phrase, "matched", "fog", 0.9, ("fog", "mist"))])[0].likely_wrong
        1.0
    """
    scores = []
    for kind in dict.fromkeys(answer.phrase.kind for answer in answers):
        chosen = [answer for answer in answers if answer.phrase.kind == kind]
        likely = [
            one for one in chosen if one.confidence is not None and how_sure(one.confidence) == "likely"
        ]

        def share(n: int, total: int = len(chosen)) -> float:
            return round(n / total, 4)

        scores.append(
            PhraseScore(
                kind=kind,
                n_phrases=len(chosen),
                right=share(sum(one.is_right for one in chosen)),
                near=share(
                    sum(
                        one.is_right or bool({one.phrase.concept, *one.phrase.also} & {*one.nearest})
                        for one in chosen
                    )
                ),
                wrong=share(sum(one.concept_id is not None and not one.is_right for one in chosen)),
                generated=share(sum(one.concept_id is None for one in chosen)),
                likely=share(len(likely)),
                likely_wrong=share(sum(not one.is_right for one in likely)),
            )
        )
    return scores
