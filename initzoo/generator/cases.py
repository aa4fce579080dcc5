"""The requests of evaluation and calibration: wordings of a concept, with example pairs of its teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.generator.encoders import Encoder
from initzoo.generator.request import Request
from initzoo.pairs import Pair, Teacher, teach

__all__ = ["N_EXAMPLE_PAIRS", "Examples", "make_requests"]

N_EXAMPLE_PAIRS = 4
"""Default number of example pairs per request, for encoders that read pairs."""


@dataclass(frozen=True, eq=False)
class Examples:
    """The photos from which example pairs are made.

    Args:
        photos: photos that no score is measured on, uint8 RGB, shape `(height, width, 3)`.
        n_pairs: number of example pairs per request; 0 for words alone.

    Raises:
        ValueError: pairs are wanted and there are no photos.
    """

    photos: Sequence[NDArray[np.uint8]] = ()
    n_pairs: int = 0

    def __post_init__(self) -> None:
        if self.n_pairs and not self.photos:
            raise ValueError("example pairs need at least one photo")

    def pairs(self, teacher: Teacher) -> tuple[Pair, ...]:
        """The example pairs of a concept: the first photos, edited by its teacher.

        Raises:
            TeacherError: the teacher failed.
        """
        photos = [self.photos[number % len(self.photos)] for number in range(self.n_pairs)]
        taught = teach(teacher, photos, range(self.n_pairs))
        return tuple(Pair(f"example {number}", *images) for number, images in enumerate(taught))


def make_requests(
    encoder: Encoder,
    wordings: Sequence[str],
    open_teacher: Callable[[], Teacher],
    examples: Examples,
    *,
    seed: int = 0,
) -> tuple[Request, ...]:
    """Make the requests for a concept, one per wording, with the conditions that an encoder reads.

    All requests of evaluation and calibration are made here. An encoder that reads example pairs therefore
    gets them without a change elsewhere. All requests of a concept share their pairs.

    Args:
        encoder: the encoder of the weight generator; its `reads` decides between words, pairs or both.
        wordings: wordings of the concept.
        open_teacher: returns the teacher of the concept; called only if pairs are wanted.
        examples: photos and number of the example pairs.
        seed: seed of the noise of generated weights.

    Raises:
        TeacherError: the teacher is not available, or failed.

    Example:
        >>> from initzoo.generator import TokenVectors, WordsEncoder
        >>> from initzoo.pairs import find_concept, load_concepts
        >>> concept = find_concept(load_concepts(), "sepia")
        >>> encoder = WordsEncoder(TokenVectors.tiny(["sepia"], n_values=4))
        >>> make_requests(encoder, concept.prompts[:1], lambda: concept.teacher, Examples())
        (Request(words='sepia photo', pairs=(), seed=0, n_timesteps=1, origin=None, seconds=1.0),)
    """
    pairs = examples.pairs(open_teacher()) if examples.n_pairs and "pairs" in encoder.reads else ()
    return tuple(
        Request(wording if "words" in encoder.reads else "", pairs=pairs, seed=seed) for wording in wordings
    )
