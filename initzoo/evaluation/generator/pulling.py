"""What `pull` answers to the questions of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import UnknownConcept
from initzoo.evaluation.cases import Question
from initzoo.zoo import Route, TaughtZoo, Zoo

__all__ = ["Pulled", "pull_answers"]

Blocks = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pulled:
    """The answers to the wordings of a question.

    Args:
        blocks: of each wording, shape `(n_wordings, n_blocks, block_size)`.
        concept_ids: the checkpoint for each wording; None for generated weights.
        strengths: the strength that each wording asks for.
    """

    blocks: Blocks
    concept_ids: tuple[str | None, ...]
    strengths: tuple[float, ...]

    def checkpoint_share(self, rank: int | None = None) -> float:
        """The share of the wordings for which a checkpoint is taken; 0 or 1 for the wording of a rank."""
        chosen = self.concept_ids if rank is None else self.concept_ids[rank : rank + 1]
        return sum(concept_id is not None for concept_id in chosen) / len(chosen)


def pull_answers(zoo: Zoo, questions: Sequence[Question], generated: Sequence[Blocks]) -> list[Pulled]:
    """Answer questions as `pull` does: with the checkpoint that `route` names, or with generated weights.

    Words of degree may ask for a checkpoint at another strength, at which `apply` applies it.

    A zoo holds its held-out concepts and finds them by all of their wordings, those for tests among them. Its
    own answer would therefore be the very checkpoint that is asked for, by a lookup of the text. So a
    `TaughtZoo` is asked, which has the train concepts and the training wordings alone, as the baselines
    have: held-out concepts are answered with the checkpoint of another concept or with generated weights,
    and taught concepts by the meaning of a test wording.

    Adapters alone are compared, without the detail that a checkpoint may have: generated weights have none.

    Args:
        zoo: the whole zoo.
        questions: the questions.
        generated: for each question, the blocks that the weight generator makes of its wordings, shape
            `(n_wordings, n_blocks, block_size)`.

    Returns:
        The answers to each question; empty for a zoo without a phrase encoder, whose `pull` finds checkpoints
        by their exact wordings only.

    Raises:
        InvalidWords: words cannot be read.
        ChecksumMismatch, InvalidGenerator, InvalidZoo: the zoo is damaged.
    """
    if zoo.phrases is None:
        return []
    taught = TaughtZoo(zoo)
    answers = []
    for question, own in zip(questions, generated, strict=True):
        routes = [_route(words, taught) for words in question.words]
        concept_ids = tuple(route.concept_id if route else None for route in routes)
        rows = [
            made if concept_id is None else taught.blocks(concept_id)
            for made, concept_id in zip(own, concept_ids, strict=True)
        ]
        strengths = tuple(route.strength if route else 1.0 for route in routes)
        answers.append(Pulled(np.stack(rows), concept_ids, strengths))
    return answers


def _route(words: str, zoo: TaughtZoo) -> Route | None:
    try:
        return zoo.route(words)
    except UnknownConcept:  # the zoo has no weight generator of its own, and the evaluated one answers
        return None
