"""What a denoiser learns words from: all wordings of all concepts, drawn with noise."""

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
"""Frequent words that wordings are filled with: most of what people put around what they mean."""

_LEAST_COSINE, _N_NEIGHBOURS = 0.5, 8
"""How near a word must be to a taught one to mean something, and how many such words there are at most."""


class WordSettings(Protocol):
    """The settings of a training that say how wordings are varied; `GeneratorSettings` explains them."""

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
    """All wordings of all concepts as tokens, with vectors for those tokens only.

    Args:
        tokens: int64, shape `(n_wordings, longest)`: rows of `vectors`; 0 where there is none.
        lengths: tokens of each wording, int64.
        first: first wording of each concept; one more at the end.
        vectors: float32, shape `(1 + n_known_tokens + n_fillers, n_word_values)`; row 0 is zero. The last
            rows are those of frequent words that no wording holds and that mean nothing like one that does.
        known_tokens: the tokens of rows 1 and up, as the tokenizer numbers them.
        n_fillers: frequent words.
        settings: how wordings are varied.
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
            InvalidWords: a wording holds no known token.
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
        """Tokens that have a learned vector, in the order of its rows; all known ones, or none."""
        return self.known_tokens if self.settings.learned_words else ()

    @property
    def sizes(self) -> dict[str, int]:
        """Fields of `DenoiserShape` that depend on the wordings."""
        return {"n_word_values": self.vectors.shape[1], "n_learned": len(self.learned_tokens)}

    def draw(self, concepts: NDArray[np.int64], rng: np.random.Generator) -> Context:
        """A random wording of each concept, some tokens or whole wordings left out, with noise on the others.

        Half of the wordings get frequent words that mean nothing here, in a row at their start or
        anywhere: "could you", "please", "somehow". A wording keeps a token at least, unless all of it is
        left out. Noise is as long as `settings.word_noise` times the token's vector. Some tokens go
        without their learned vector, so that the static ones keep their meaning for words that have
        nothing else.
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

    def _filled(
        self, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of wordings and their lengths, with up to `settings.n_fillers` put into half of them."""
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
