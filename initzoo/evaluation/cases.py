"""The cases of an evaluation: concepts, the words to request them by, and their trained adapters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidZoo
from initzoo.generator import N_EXAMPLE_PAIRS, Encoder, Examples, Request, make_requests
from initzoo.pairs import (
    HELD_OUT,
    TEACHING_SIDE,
    Concept,
    PhotoSource,
    Teacher,
    fit_short_side,
    load_photos,
    parse_teacher,
)
from initzoo.zoo import Zoo

__all__ = [
    "ASKED_SPLITS",
    "OWN_CONCEPTS",
    "UNSEEN_WORDINGS",
    "Question",
    "ask_about_concepts",
    "ask_about_zoo",
    "load_examples",
    "start_request",
]

UNSEEN_WORDINGS = "train-unseen-wordings"
OWN_CONCEPTS = "own-concepts"
ASKED_SPLITS = (*HELD_OUT, UNSEEN_WORDINGS)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Question:
    """A concept and the wordings by which it is requested.

    Args:
        concept_id: id of the concept.
        title: its plain name.
        split: one of `ASKED_SPLITS`, or `OWN_CONCEPTS`.
        family: family of the concept.
        novelty: what is new in it, for `heldout-new`.
        teacher: teacher that makes its pairs.
        words: wordings; scores are averaged over them.
        trained: blocks of the adapter trained on it, float32, shape `(n_blocks, block_size)`, or None.
    """

    concept_id: str
    title: str
    split: str
    family: str
    novelty: str
    teacher: Teacher
    words: tuple[str, ...]
    trained: NDArray[np.float32] | None

    @classmethod
    def about(cls, zoo: Zoo, concept_id: str, words: Sequence[str], *, split: str | None = None) -> Question:
        """Ask about a concept that a zoo holds.

        Args:
            zoo: the zoo.
            concept_id: id of the concept.
            words: wordings.
            split: that of the question; by default that of the concept.

        Raises:
            UnknownConcept: the zoo does not hold it.
            ChecksumMismatch, InvalidZoo: the zoo is damaged.
        """
        row = zoo.index.row(concept_id)
        return cls(
            concept_id=row.concept_id,
            title=row.prompts[0],
            split=split or row.split,
            family=row.family,
            novelty=row.novelty,
            teacher=parse_teacher(row.teacher),
            words=tuple(words),
            trained=zoo.blocks(row.concept_id),
        )

    def requests(self, encoder: Encoder, examples: Examples, *, seed: int = 0) -> tuple[Request, ...]:
        """One request per wording, with the conditions that an encoder reads; see `make_requests`."""
        return make_requests(encoder, self.words, lambda: self.teacher, examples, seed=seed)


def ask_about_zoo(zoo: Zoo, *, limit: int | None = None, train_limit: int | None = None) -> list[Question]:
    """Make questions of a zoo's held-out concepts, and of train concepts in wordings unseen in training.

    A held-out concept is requested by its plain name and one test wording, a train concept by one test
    wording. Which test wording is taken cycles with the index of the concept.

    Args:
        zoo: the zoo.
        limit: maximum number of concepts per split, spread evenly over it.
        train_limit: maximum number of train concepts.

    Raises:
        InvalidZoo: the zoo has no such concepts, or is damaged.
    """
    questions = []
    for split in ASKED_SPLITS:
        is_train = split == UNSEEN_WORDINGS
        rows = zoo.index.rows(split="train" if is_train else split)
        rows = [row for row in rows if row.test_prompts or not is_train]
        limits = [n for n in (limit, train_limit if is_train else None) if n is not None]
        for number, row in enumerate(_spread(rows, min(limits, default=None))):
            test = row.test_prompts[number % len(row.test_prompts)] if row.test_prompts else None
            words = tuple(wording for wording in (None if is_train else row.prompts[0], test) if wording)
            questions.append(Question.about(zoo, row.concept_id, words, split=split))
    if not questions:
        raise InvalidZoo(f"zoo '{zoo.name}' has no held-out concepts and no test wordings to evaluate.")
    return questions


def ask_about_concepts(concepts: Sequence[Concept], *, limit: int | None = None) -> list[Question]:
    """Make questions of your own concepts, by plain name and by the first test wording, if any."""
    return [
        Question(
            concept_id=concept.id,
            title=concept.prompts[0],
            split=OWN_CONCEPTS,
            family=concept.family,
            novelty="",
            teacher=concept.teacher,
            words=(concept.prompts[0], *concept.test_prompts[:1]),
            trained=None,
        )
        for concept in _spread(concepts, limit)
    ]


def load_examples(
    encoders: Iterable[Encoder], photos: PhotoSource, n_pairs: int = N_EXAMPLE_PAIRS
) -> Examples:
    """Load the photos of example pairs if an encoder reads pairs.

    Args:
        encoders: the encoders of all weight generators that are asked.
        photos: the photos that scores are measured on. Examples are made of the train photos of their folder,
            or of the bundled ones if scores are measured on the whole folder.
        n_pairs: number of example pairs per request.

    Raises:
        InvalidImage: the folder has no train photos.
    """
    if not n_pairs or not any("pairs" in encoder.reads for encoder in encoders):
        return Examples()
    shown = load_photos(photos.folder if photos.split == "score" else None, split="train")
    return Examples([fit_short_side(photo.pixels, TEACHING_SIDE) for photo in shown], n_pairs)


def start_request(zoo: Zoo, question: Question, start: str, photos: PhotoSource, *, seed: int) -> Request:
    """Make the request for the first weights of a training on a question's concept.

    Args:
        zoo: the zoo.
        question: the concept.
        start: name of an initialization scheme.
        photos: the photos that scores are measured on.
        seed: seed of the draw.
    """
    if start != "generated":  # all other schemes are looked up by words, if they need any condition
        return Request(question.words[0], seed=seed)
    return question.requests(zoo.encoder, load_examples([zoo.encoder], photos), seed=seed)[0]


def _spread(items: Sequence[T], limit: int | None) -> list[T]:
    """All items, or `limit` of them, evenly spaced."""
    count = len(items) if limit is None else min(limit, len(items))
    return [items[len(items) * i // count] for i in range(count)]
