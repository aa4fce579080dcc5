"""How far a request is from what a weight generator was taught; of words, in the space of token vectors."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.generator.request import Request
from initzoo.generator.tokens import TokenVectors

__all__ = ["Novelty", "TaughtWords", "pool_words"]

_TINY = 1e-9
_LITTLE = 0.8
"""Words are too empty below this share of what the emptiest taught wording says."""


def pool_words(vectors: TokenVectors, wordings: Sequence[str]) -> NDArray[np.float32]:
    """One vector for each wording: the mean of its token vectors, at length one.

    Returns:
        float32, shape `(n_wordings, n_values)`; the dot product of two rows is their cosine.

    Raises:
        InvalidWords: a wording is empty, too long, or holds nothing that is known.

    Example:
        >>> vectors = TokenVectors.tiny(["navy", "to", "gold"], n_values=4)
        >>> pooled = pool_words(vectors, ["navy to gold", "gold to navy", "gold"])
        >>> (pooled @ pooled[0]).round(4)[:2]
        array([1., 1.], dtype=float32)
    """
    return _pool([vectors.encode_as_sequence(wording) for wording in wordings], vectors.n_values)


class Novelty(Protocol):
    """Says how far requests are from taught ones."""

    def distance(self, request: Request) -> float:
        """From 0, taught, to 1.

        Raises:
            InvalidWords, InvalidRequest: the request cannot be read.
        """

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values, which the encoder's `read_novelty` reads."""


@dataclass(frozen=True, eq=False)
class TaughtWords:
    """What a zoo's wordings look like: enough to say how far other words are from them.

    Args:
        vectors: token vectors.
        tokens: ids of the tokens that occur in the taught wordings, sorted, int64.
        shares: share of the concepts whose wordings hold each of these tokens, float32, below 1.
        wordings: pooled vectors of some taught wordings times 127, int8, shape `(n_wordings, n_values)`.
        least: words that say less than this say too little.
    """

    vectors: TokenVectors
    tokens: NDArray[np.int64]
    shares: NDArray[np.float32]
    wordings: NDArray[np.int8]
    least: float

    @classmethod
    def from_wordings(
        cls, vectors: TokenVectors, wordings: Sequence[Sequence[str]], *, n_each: int = 3
    ) -> TaughtWords:
        """Take the tokens of all wordings, and the pooled vectors of some of them.

        Args:
            vectors: token vectors.
            wordings: of each concept.
            n_each: how many of a concept's wordings are kept, spread evenly, its first one among them.
        """
        sequences = [[vectors.tokenise(wording) for wording in own] for own in wordings]
        counts = Counter(token for own in sequences for token in {t for one in own for t in one})
        tokens = np.array(sorted(counts), np.int64)
        shares = np.array([counts[token] / (len(sequences) + 1) for token in tokens.tolist()])
        chosen = [sequence for own in sequences for sequence in own[:: -(-len(own) // n_each)]]
        kept = [vectors.vectors_of(sequence) for sequence in chosen]
        pooled = np.rint(127 * _pool(kept, vectors.n_values)).astype(np.int8)
        taught = cls(vectors, tokens, shares.round(4).astype(np.float32), np.unique(pooled, axis=0), 1.0)
        least = min(taught.said_by(sequence) for own in sequences for sequence in own)
        return replace(taught, least=_LITTLE * least)

    def distance(self, request: Request) -> float:
        """How far the words of a request are from the taught ones, from 0, a taught wording, to 1.

        It is the mean of three shares: how unlike the nearest taught wording the words are as a whole;
        how unlike the nearest taught token each of their tokens is; and how much of them is tokens that
        were never taught. In the last two a token counts by the length of its vector, which is small for
        tokens that say little. What says hardly anything, such as "the photo" or "...", is far in any case.

        Raises:
            InvalidWords: the words are empty, too long, or hold nothing that is known.

        Example:
            >>> vectors = TokenVectors.tiny(["navy", "to", "gold", "asdf"], n_values=8)
            >>> taught = TaughtWords.from_wordings(vectors, [["navy to gold"], ["gold"]])
            >>> taught.distance(Request("navy to gold")) < 0.01
            True
            >>> taught.distance(Request("asdf")) > 0.5
            True
        """
        tokens = self.vectors.tokenise(request.words)
        share = float(np.mean(self._parts(tokens)))
        missing = max(0.0, 1 - self.said_by(tokens) / self.least)
        return share + (1 - share) * missing

    def said_by(self, tokens: Sequence[int]) -> float:
        """How much words say: the length of the token vector that says most, above zero.

        A token counts the less, the more concepts have it: "make it look like a photo" tells none of them
        from another.

        Example:
            >>> vectors = TokenVectors.tiny(["a", "photo", "navy", "gold"], n_values=8)
            >>> taught = TaughtWords.from_wordings(vectors, [["a navy photo"], ["a gold photo"]])
            >>> said = [taught.said_by(vectors.tokenise(words)) for words in ("a photo", "navy")]
            >>> said[0] < said[1]
            True
        """
        places = np.searchsorted(self.tokens, tokens).clip(max=len(self.tokens) - 1)
        shares = np.where(self.tokens[places] == tokens, self.shares[places], 0)
        lengths = np.linalg.norm(self.vectors.vectors_of(tokens), axis=1)
        return float(np.max(lengths * (1 - shares) ** 2) + _TINY)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values, without the token vectors."""
        return {
            "taught_tokens": self.tokens.tolist(),
            "taught_shares": [round(share, 4) for share in self.shares.tolist()],
            "n_values": int(self.wordings.shape[1]),
            "least": self.least,
            "taught_wordings": base64.b64encode(self.wordings.tobytes()).decode(),
        }

    @classmethod
    def from_dict(cls, vectors: TokenVectors, values: Mapping[str, Any]) -> TaughtWords:
        """Read what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of taught words.
        """
        wordings = np.frombuffer(base64.b64decode(values["taught_wordings"], validate=True), np.int8)
        wordings = wordings.reshape(-1, int(values["n_values"]))
        tokens = np.array(values["taught_tokens"], np.int64)
        shares = np.array(values["taught_shares"], np.float32)
        taught = cls(vectors, tokens, shares, wordings, float(values["least"]))
        if not len(tokens) or shares.shape != tokens.shape or not len(wordings) or not taught.least > 0:
            raise ValueError("no taught words")
        return taught

    def _parts(self, tokens: Sequence[int]) -> tuple[float, float, float]:
        """The three shares that `distance` is the mean of, each from 0 to 1."""
        vectors = self.vectors
        sequence = vectors.vectors_of(tokens)
        weights = np.linalg.norm(sequence, axis=1) + _TINY
        weights /= weights.sum()
        whole = _pool([sequence], vectors.n_values)[0]
        as_whole = _unlikeness((_unit(self.wordings.astype(np.float32)) @ whole).max())
        units, known = _unit(sequence), _unit(vectors.vectors_of(self.tokens.tolist()))
        nearest: NDArray[np.float32] = np.max(units @ known.T, axis=1)
        each = float(weights @ np.array([_unlikeness(one) for one in nearest]))
        untaught = float(weights[~np.isin(tokens, self.tokens)].sum())
        return as_whole, each, untaught


def _pool(sequences: Sequence[NDArray[np.float32]], n_values: int) -> NDArray[np.float32]:
    means = [sequence.mean(axis=0) for sequence in sequences]
    return _unit(np.array(means, np.float32).reshape(len(means), n_values))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at length one; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, _TINY), np.float32)


def _unlikeness(cosine: float) -> float:
    return float(np.clip(1 - cosine, 0, 1))
