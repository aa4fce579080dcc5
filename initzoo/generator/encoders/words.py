"""The encoder of words: a sequence of token vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initzoo.generator.encoders.encoder import Context, Taught, refuse_pairs
from initzoo.generator.novelty import TaughtWords, pool_words
from initzoo.generator.request import Request
from initzoo.generator.tokens import MAX_TOKENS, TokenVectors

if TYPE_CHECKING:
    from initzoo.generator.encoders.word_lessons import WordLessons, WordSettings
    from initzoo.generator.encoders.word_reader import WordReader
    from initzoo.generator.shape import DenoiserShape

__all__ = ["WordsEncoder"]


class WordsEncoder:
    """Encodes the words of requests and refuses other conditions.

    Args:
        vectors: token vectors.
        shape: sizes of the denoiser, which limit the number of tokens; the general limit by default.
        learned_tokens: tokens with a learned vector in the denoiser, in the order of its rows.

    Example:
        >>> encoder = WordsEncoder(TokenVectors.tiny(["navy", "to", "gold"], n_values=4))
        >>> encoder.encode([Request("navy to gold"), Request("gold")]).vectors.shape
        torch.Size([2, 3, 4])
    """

    reads: ClassVar[tuple[str, ...]] = ("words",)

    def __init__(
        self,
        vectors: TokenVectors,
        *,
        shape: DenoiserShape | None = None,
        learned_tokens: Sequence[int] = (),
    ) -> None:
        self.vectors = vectors
        self.max_tokens = MAX_TOKENS if shape is None else min(MAX_TOKENS, shape.max_tokens)
        self._learned = {token: row for row, token in enumerate(learned_tokens, start=1)}

    @property
    def digest(self) -> str:
        """Digest of the token vectors."""
        return self.vectors.digest

    def check(self, request: Request) -> None:
        """Refuse words that cannot be read, and example pairs.

        Raises:
            InvalidWords: the words are empty, too long, or have no known token.
            InvalidRequest: the request has example pairs.

        Example:
            >>> encoder = WordsEncoder(TokenVectors.tiny(["navy", "to", "gold"], n_values=4))
            >>> encoder.check(Request("navy", pairs=("a pair",)))
            Traceback (most recent call last):
                ...
            initzoo.errors.InvalidRequest: the request has 1 example pair, and this weight generator ...
        """
        self._tokenise(request)

    def arrays(self, requests: Sequence[Request]) -> dict[str, NDArray[Any]]:
        """Encode the words of each request as a sequence of token vectors; fields of a `Context` by name.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """
        sequences = [self._tokenise(request) for request in requests]
        longest = max(len(sequence) for sequence in sequences)
        vectors = np.zeros((len(sequences), longest, self.vectors.n_values), np.float32)
        mask = np.zeros((len(sequences), longest), bool)
        learned = np.zeros((len(sequences), longest), np.int64)
        for row, sequence in enumerate(sequences):
            vectors[row, : len(sequence)] = self.vectors.vectors_of(sequence)
            mask[row, : len(sequence)] = True
            learned[row, : len(sequence)] = [self._learned.get(token, 0) for token in sequence]
        return {"vectors": vectors, "mask": mask, "learned": learned}

    def encode(self, requests: Sequence[Request]) -> Context:
        """Encode the words of each request; see `arrays`.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """
        return Context.of(self.arrays(requests))

    def embed(self, requests: Sequence[Request]) -> NDArray[np.float32]:
        """The mean token vector of each request's words, scaled to unit length.

        Returns:
            float32, shape `(n_requests, n_values)`.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """
        for request in requests:
            refuse_pairs(request)
        return pool_words(self.vectors, [request.words for request in requests])

    def novelty(self, requests: Iterable[Sequence[Request]]) -> TaughtWords:
        """Make the novelty measure of taught requests, given per concept."""
        wordings = [[request.words for request in taught] for taught in requests]
        return TaughtWords.from_wordings(self.vectors, wordings)

    def read_novelty(self, values: Mapping[str, Any]) -> TaughtWords:
        """Read the output of `TaughtWords.to_dict`.

        Raises:
            KeyError, TypeError, ValueError: the values are invalid.
        """
        return TaughtWords.from_dict(self.vectors, values)

    def lessons(self, taught: Taught, settings: WordSettings, *, folder: Path | None = None) -> WordLessons:
        """Make the source of training contexts from all wordings of all concepts.

        Raises:
            InvalidWords: a wording has no known token.
        """
        from initzoo.generator.encoders.word_lessons import WordLessons

        return WordLessons.make(taught.all_prompts, self.vectors, settings)

    @staticmethod
    def reader(shape: DenoiserShape) -> WordReader:
        """The layers of a denoiser that read words."""
        from initzoo.generator.encoders.word_reader import WordReader

        return WordReader(shape)

    def _tokenise(self, request: Request) -> list[int]:
        refuse_pairs(request)
        return self.vectors.tokenise(request.words, max_tokens=self.max_tokens)
