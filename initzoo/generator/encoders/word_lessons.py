"""Training contexts of words: wordings of concepts, drawn at random and varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initzoo.generator.encoders.encoder import Context
from initzoo.generator.tokens import TokenVectors

__all__ = ["WordLessons", "WordSettings"]

_N_FILLERS = 600
"""Number of frequent words used as fillers, like those that people put around what they mean."""

_LEAST_COSINE, _N_NEIGHBOURS = 0.5, 8
"""Words count as meaningful, and never as fillers, if they are among so many nearest neighbours of a taught
word with at least this cosine."""


class WordSettings(Protocol):
    """The settings of how wordings are varied in training; see `GeneratorSettings`."""

    @property
    def token_dropout(self) -> float: ...
    @property
    def words_dropout(self) -> float: ...
    @property
    def word_noise(self) -> float: ...
    @property
    def n_fillers(self) -> int: ...
    @property
    def learned_words(self) -> bool: ...
    @property
    def learned_dropout(self) -> float: ...


@dataclass(frozen=True)
class WordLessons:
    """The tokenised wordings of all concepts, and the vectors of their tokens.

    Args:
        tokens: int64, shape `(n_wordings, longest)`: rows of `vectors`; 0 at padding.
        lengths: number of tokens of each wording, int64.
        first: index of the first wording of each concept, and the number of wordings at the end.
        vectors: float32, shape `(1 + n_known_tokens + n_fillers, n_word_values)`; row 0 is zero. The last
            rows are fillers: frequent words that no wording uses and whose meaning is not near any.
        known_tokens: tokenizer ids of the tokens in rows 1 and up.
        n_fillers: number of fillers.
        settings: settings of how wordings are varied.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first: NDArray[np.int64]
    vectors: Tensor
    known_tokens: tuple[int, ...]
    n_fillers: int
    settings: WordSettings

    @classmethod
    def make(
        cls, prompts: Sequence[Sequence[str]], words: TokenVectors, settings: WordSettings
    ) -> WordLessons:
        """Tokenise the wordings of each concept.

        Raises:
            InvalidWords: a wording has no known token.
        """
        sequences = [words.tokenise(prompt) for wordings in prompts for prompt in wordings]
        used = sorted({token for sequence in sequences for token in sequence})
        near = words.neighbours_of(used, least_cosine=_LEAST_COSINE, n_most=_N_NEIGHBOURS)
        meaningful = [*used, *(token for neighbours in near for token in neighbours)]
        fillers = words.frequent_tokens(_N_FILLERS, without=meaningful)
        row_of = {token: row + 1 for row, token in enumerate(used)}
        lengths = np.array([len(sequence) for sequence in sequences])
        tokens = np.zeros((len(sequences), int(lengths.max())), np.int64)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence)] = [row_of[token] for token in sequence]
        vectors = np.concatenate(
            [np.zeros((1, words.n_values), np.float32), words.vectors_of([*used, *fillers])]
        )
        first = np.cumsum([0, *(len(wordings) for wordings in prompts)])
        return cls(tokens, lengths, first, torch.from_numpy(vectors), tuple(used), len(fillers), settings)

    @property
    def learned_tokens(self) -> tuple[int, ...]:
        """Tokens with a learned vector, in the order of its rows: all known tokens, or none."""
        return self.known_tokens if self.settings.learned_words else ()

    @property
    def sizes(self) -> dict[str, int]:
        """Fields of `DenoiserShape` that depend on the wordings."""
        return {"n_word_values": self.vectors.shape[1], "n_learned": len(self.learned_tokens)}

    def draw(self, concepts: NDArray[np.int64], rng: np.random.Generator) -> Context:
        """Draw a random wording of each concept, with tokens dropped, fillers inserted and noise added.

        Half of the wordings get fillers, such as "could you" or "please", in a row at the start or at a
        random position. Tokens are dropped at random, but at least one is kept unless the whole wording is
        dropped. The noise has a length of `settings.word_noise` times that of the token's vector. Learned
        vectors are dropped at random, too, so that static vectors keep their meaning for words without a
        learned one.
        """
        settings = self.settings
        counts = self.first[concepts + 1] - self.first[concepts]
        rows = self.first[concepts] + (rng.random(len(concepts)) * counts).astype(np.int64)
        tokens, lengths = self._filled(rows, rng)
        present = np.arange(tokens.shape[1]) < lengths[:, None]
        mask = present & (rng.random(tokens.shape) >= settings.token_dropout)
        mask = np.where(mask.any(axis=1, keepdims=True), mask, present)
        mask &= rng.random((len(rows), 1)) >= settings.words_dropout
        vectors = self.vectors[torch.from_numpy(tokens)]
        if settings.word_noise > 0:
            noise = torch.from_numpy(rng.standard_normal(vectors.shape, dtype=np.float32))
            vectors += settings.word_noise * vectors.square().mean(2, keepdim=True).sqrt() * noise
        if not settings.learned_words:
            return Context(vectors, torch.from_numpy(mask))
        is_learned = rng.random(tokens.shape) >= settings.learned_dropout
        is_learned &= tokens <= len(self.known_tokens)
        learned = np.where(is_learned, tokens, 0)
        return Context(vectors, torch.from_numpy(mask), torch.from_numpy(learned))

    def on_device(self, device: torch.device) -> None:
        """Draw on the CPU alone: fillers are inserted one wording at a time."""

    def _filled(
        self, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens and lengths of wordings, half of them with up to `settings.n_fillers` fillers inserted."""
        lengths, most = self.lengths[rows], self.settings.n_fillers
        if not most or not self.n_fillers:
            return self.tokens[rows, : int(lengths.max())], lengths
        counts = np.where(rng.random(len(rows)) < 0.5, rng.integers(1, most + 1, size=len(rows)), 0)
        tokens = np.zeros((len(rows), int((lengths + counts).max())), np.int64)
        for index, (row, length, count) in enumerate(zip(rows, lengths, counts, strict=True)):
            wording = self.tokens[row, :length]
            fillers = rng.integers(len(self.vectors) - self.n_fillers, len(self.vectors), size=count)
            where = 0 if rng.random() < 0.5 else int(rng.integers(length + 1))
            tokens[index, : length + count] = np.concatenate([wording[:where], fillers, wording[where:]])
        return tokens, lengths + counts
