"""Novelty: the distance of a request from the wordings that a weight generator was taught."""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.generator.colours import find_colours
from initzoo.generator.phrases import PhraseEncoder
from initzoo.generator.request import Request
from initzoo.generator.tokens import TokenVectors, check_words
from initzoo.pairs import normalise_words

__all__ = ["Novelty", "TaughtPhrases", "TaughtWords", "embed_phrases", "pool_words"]

_TINY = 1e-9
_EMBEDDED_TOGETHER = 64
_MOST_BYTES = 2**26
"""As many bytes of taught wordings are inflated: 170,000 of them."""

_LITTLE = 0.8
"""Words count as empty if they carry less than this share of the least informative taught wording."""


def pool_words(vectors: TokenVectors, wordings: Sequence[str]) -> NDArray[np.float32]:
    """Embed each wording as the mean of its token vectors, scaled to unit length.

    Returns:
        float32, shape `(n_wordings, n_values)`; the dot product of two rows is their cosine.

    Raises:
        InvalidWords: a wording is empty, too long, or has no known token.

    Example:
        >>> vectors = TokenVectors.tiny(["navy", "to", "gold"], n_values=4)
        >>> pooled = pool_words(vectors, ["navy to gold", "gold to navy", "gold"])
        >>> (pooled @ pooled[0]).round(4)[:2]
        array([1., 1.], dtype=float32)
    """
    return _pool([vectors.encode_as_sequence(wording) for wording in wordings], vectors.n_values)


def embed_phrases(text: PhraseEncoder, wordings: Sequence[str]) -> NDArray[np.float32]:
    """Embed each wording as the vector of a phrase encoder, scaled to unit length.

    Several are encoded together, which is five times as fast and changes their vectors a little: int8
    activations share one scale.

    Returns:
        float32, shape `(n_wordings, n_values)`; the dot product of two rows is their cosine.

    Raises:
        InvalidWords: a wording cannot be read.
    """
    words = [check_words(wording) for wording in wordings]
    vectors = []
    for start in range(0, len(words), _EMBEDDED_TOGETHER):
        part = words[start : start + _EMBEDDED_TOGETHER]
        states = text.states.encode(part)
        vectors += [text.run_head(own, wording)[0] for own, wording in zip(states, part, strict=True)]
    return _unit(np.array(vectors, np.float32).reshape(len(vectors), text.config.shape.n_values))


class Novelty(Protocol):
    """Measures the distance of requests from taught ones."""

    def distance(self, request: Request) -> float:
        """The distance, from 0 for a taught request to 1.

        Raises:
            InvalidWords, InvalidRequest: the request cannot be read.
        """

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON values; the encoder's `read_novelty` reads it."""


@dataclass(frozen=True, eq=False)
class TaughtWords:
    """A summary of the taught wordings from which the distance of other words is computed.

    Args:
        vectors: token vectors.
        tokens: ids of the tokens that occur in the taught wordings, sorted, int64.
        shares: share of concepts that use each of these tokens, float32, below 1.
        wordings: pooled vectors of some taught wordings times 127, int8, shape `(n_wordings, n_values)`.
        least: words whose `said_by` is below this carry too little information.
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
        """Collect the tokens of all wordings and the pooled vectors of some of them.

        Args:
            vectors: token vectors.
            wordings: the wordings of each concept.
            n_each: number of wordings to keep per concept, evenly spaced from the first one.
        """
        sequences = [[vectors.tokenise(wording) for wording in per_concept] for per_concept in wordings]
        # Count concepts, not occurrences: a token that many concepts use tells them apart less.
        counts = Counter(token for per_concept in sequences for token in {t for s in per_concept for t in s})
        tokens = np.array(sorted(counts), np.int64)
        shares = np.array([counts[token] / (len(sequences) + 1) for token in tokens.tolist()])
        chosen = [
            sequence
            for per_concept in sequences
            for sequence in per_concept[:: -(-len(per_concept) // n_each)]
        ]
        kept = [vectors.vectors_of(sequence) for sequence in chosen]
        pooled = np.rint(127 * _pool(kept, vectors.n_values)).astype(np.int8)
        taught = cls(vectors, tokens, shares.round(4).astype(np.float32), np.unique(pooled, axis=0), 1.0)
        least = min(taught.said_by(sequence) for per_concept in sequences for sequence in per_concept)
        return replace(taught, least=_LITTLE * least)

    def distance(self, request: Request) -> float:
        """The distance of a request's words from the taught wordings, from 0 for a taught one to 1.

        It is the mean of three distances, each from 0 to 1: of the whole words from the nearest taught
        wording, of each token from the nearest taught token, and the share of tokens that were never
        taught. The last two weight a token by the length of its vector, which is small for tokens of
        little meaning. Words that carry hardly any information, such as "the photo", are always far.

        Raises:
            InvalidWords: the words are empty, too long, or have no known token.

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
        """The information in words: that of their most informative token, above zero.

        The information of a token is the length of its vector, reduced the more concepts use it:
        "make it look like a photo" does not distinguish any of them.

        Example:
            >>> vectors = TokenVectors.tiny(["a", "photo", "navy", "gold"], n_values=8)
            >>> taught = TaughtWords.from_wordings(vectors, [["a navy photo"], ["a gold photo"]])
            >>> said = [taught.said_by(vectors.tokenise(words)) for words in ("a photo", "navy")]
            >>> said[0] < said[1]
            True
        """
        indices = np.searchsorted(self.tokens, tokens).clip(max=len(self.tokens) - 1)
        shares = np.where(self.tokens[indices] == tokens, self.shares[indices], 0)
        lengths = np.linalg.norm(self.vectors.vectors_of(tokens), axis=1)
        return float(np.max(lengths * (1 - shares) ** 2) + _TINY)

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON values, without the token vectors."""
        return {
            "taught_tokens": self.tokens.tolist(),
            "taught_shares": [round(share, 4) for share in self.shares.tolist()],
            "n_values": int(self.wordings.shape[1]),
            "least": self.least,
            "taught_wordings": base64.b64encode(self.wordings.tobytes()).decode(),
        }

    @classmethod
    def from_dict(cls, vectors: TokenVectors, values: Mapping[str, Any]) -> TaughtWords:
        """Read the output of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: the values are invalid.
        """
        wordings = np.frombuffer(base64.b64decode(values["taught_wordings"], validate=True), np.int8)
        wordings = wordings.reshape(-1, int(values["n_values"]))
        tokens = np.array(values["taught_tokens"], np.int64)
        with np.errstate(over="ignore"):  # of numbers beyond float32, which are refused below
            shares = np.array(values["taught_shares"], np.float32)
        taught = cls(vectors, tokens, shares, wordings, float(values["least"]))
        if wordings.shape[1] != vectors.n_values or tokens.ndim != 1 or not np.isfinite(taught.least):
            raise ValueError("its taught words have other sizes than the token vectors")
        if len(tokens) and not (
            tokens[0] >= 0 and (np.diff(tokens) > 0).all() and tokens[-1] < len(vectors.values)
        ):
            raise ValueError("its taught tokens are not in order, or not among those of the tokenizer")
        if not ((shares >= 0) & (shares < 1)).all():
            raise ValueError("the share of a taught token must be from 0 to 1")
        if not len(tokens) or shares.shape != tokens.shape or not len(wordings) or not taught.least > 0:
            raise ValueError("no taught words")
        return taught

    def _parts(self, tokens: Sequence[int]) -> tuple[float, float, float]:
        """The three distances that `distance` averages, each from 0 to 1."""
        vectors = self.vectors
        sequence = vectors.vectors_of(tokens)
        weights = np.linalg.norm(sequence, axis=1) + _TINY
        weights /= weights.sum()
        whole = _pool([sequence], vectors.n_values)[0]
        as_whole = _cosine_distance((_unit(self.wordings.astype(np.float32)) @ whole).max())
        units, known = _unit(sequence), _unit(vectors.vectors_of(self.tokens.tolist()))
        nearest: NDArray[np.float32] = np.max(units @ known.T, axis=1)
        each = float(weights @ np.array([_cosine_distance(cosine) for cosine in nearest]))
        untaught = float(weights[~np.isin(tokens, self.tokens)].sum())
        return as_whole, each, untaught


@dataclass(frozen=True, eq=False)
class TaughtPhrases:
    """Vectors of taught wordings, from which the distance of other words is computed.

    Args:
        text: the phrase encoder.
        wordings: unit vectors of some taught wordings times 127, int8, shape `(n_wordings, n_values)`.
    """

    text: PhraseEncoder
    wordings: NDArray[np.int8]

    @classmethod
    def from_wordings(
        cls, text: PhraseEncoder, wordings: Sequence[Sequence[str]], *, n_each: int = 2
    ) -> TaughtPhrases:
        """Keep the vectors of some wordings.

        Args:
            text: the phrase encoder.
            wordings: the wordings of each concept.
            n_each: number of wordings to keep per concept, evenly spaced from the first one.
        """
        chosen = [wording for own in wordings for wording in own[:: -(-len(own) // n_each) or 1]]
        most = _MOST_BYTES // text.config.shape.n_values  # as many are read again
        chosen = chosen[:: -(-len(chosen) // most) or 1]
        vectors = np.rint(127 * embed_phrases(text, chosen)).astype(np.int8)
        return cls(text, np.unique(vectors, axis=0))

    def distance(self, request: Request) -> float:
        """The distance of a request's words from the taught wordings, from 0 for a taught one to 1.

        It is the mean of three distances, each from 0 to 1: of the phrase's vector from that of the nearest
        taught wording, the share that the phrase encoder gives to no look, and the share of looks beyond the
        first three, since nobody asks for more of them at once. Words of Latin letters none of which the
        tokenizer has as a whole word, such as "qqq xzw", are at distance 1, unless they name
        a colour.

        Raises:
            InvalidWords: the words are empty, too long, or have control or invisible characters.
        """
        words = normalise_words(check_words(request.words)).split()
        is_unknown = all(word.isascii() and not self.text.states.is_word(word) for word in words)
        if is_unknown and not find_colours(request.words, self.text.config.colours):
            return 1.0
        reading = self.text.read(request.words)
        unit = _unit(reading.vector[None])[0]
        as_whole = _cosine_distance(float((_unit(self.wordings.astype(np.float32)) @ unit).max()))
        spread = 1 - reading.none - sum(sorted(reading.looks.values())[-3:])
        return float(np.mean([as_whole, reading.none, min(max(spread, 0.0), 1.0)]))

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON values, without the phrase encoder."""
        return {
            "n_values": int(self.wordings.shape[1]),
            "taught_wordings": base64.b64encode(zlib.compress(self.wordings.tobytes(), 9)).decode(),
            "deflated": True,
        }

    @classmethod
    def from_dict(cls, text: PhraseEncoder, values: Mapping[str, Any]) -> TaughtPhrases:
        """Read the output of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: the values are invalid.
        """
        data = base64.b64decode(values["taught_wordings"], validate=True)
        if values.get("deflated", False):  # calibrations of 0.1 are not
            data = _inflate(data)
        wordings = np.frombuffer(data, np.int8)
        wordings = wordings.reshape(-1, int(values["n_values"]))
        if wordings.shape[1] != text.config.shape.n_values or not len(wordings):
            raise ValueError("its taught words have other sizes than the vectors of the phrase encoder")
        return cls(text, wordings)


def _inflate(data: bytes) -> bytes:
    """Inflate what `zlib.compress` returned, and never more than can be meant."""
    unpacker = zlib.decompressobj()
    try:
        inflated = unpacker.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError("its taught words cannot be unpacked") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("its taught words are cut off, or too many")
    return inflated


def _pool(sequences: Sequence[NDArray[np.float32]], n_values: int) -> NDArray[np.float32]:
    means = [sequence.mean(axis=0) for sequence in sequences]
    return _unit(np.array(means, np.float32).reshape(len(means), n_values))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to unit length; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, _TINY), np.float32)


def _cosine_distance(cosine: float) -> float:
    return float(np.clip(1 - cosine, 0, 1))
