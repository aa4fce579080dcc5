"""Hashes of wordings and words, computed for whole arrow arrays without a Python object per word.

Texts are normalised as `normalise_words` does. The hash of a word is a polynomial of its
bytes modulo 2**64, and the hash of a text is a polynomial of its words' hashes. The upper
40 bits are kept. Hashes can collide, so the caller compares the texts before it trusts a match.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.pairs import normalise_words

__all__ = ["HASH_BITS", "HashedTexts", "hash_text", "hash_texts", "letter_groups"]

# 40 bits leave 24 of a uint64 for a row number: one sorted array holds both (see `lookup`).
HASH_BITS = 40
# Odd, so that they have an inverse modulo 2**64, with their bits well mixed.
_BYTE_BASE = 0x9E3779B97F4A7C15
_WORD_BASE = 0xD1B54A32D192ED03
_SPACE = 32

Numbers = NDArray[np.uint64]


@dataclass(frozen=True)
class HashedTexts:
    """Hashes of texts and of their words.

    Args:
        texts: one hash per text, uint64 below 2**40, shape `(n_texts,)`; 0 for a text without words.
        words: one hash per word, uint64 below 2**40, shape `(n_words,)`.
        owners: index of the text that each word belongs to, int64, shape `(n_words,)`.
        letters: the bytes of all normalised texts, concatenated.
        starts: offset in `letters` of each word's first byte, int64, shape `(n_words,)`.
        ends: offset after each word's last byte.
    """

    texts: Numbers
    words: Numbers
    owners: NDArray[np.int64]
    letters: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def code_points(self) -> set[int]:
        """The Unicode code points that occur in the texts, the space included."""
        counts = np.bincount(self.letters, minlength=256)
        if not counts[128:].any():
            return set(np.flatnonzero(counts).tolist())
        return set(map(ord, set(self.letters.tobytes().decode("utf-8", "ignore"))))


def hash_texts(array: Any) -> HashedTexts:
    """Hash the texts of an arrow string array.

    Example:
        >>> import pyarrow as pa
        >>> hashed = hash_texts(pa.array(["Pencil-Sketch!", "pencil  sketch", "sketch pencil"]))
        >>> hashed.texts[0] == hashed.texts[1], hashed.texts[0] == hashed.texts[2]
        (np.True_, np.False_)
        >>> len(hashed.words)
        6
    """
    data, offsets = _bytes_of(array)
    if len(data) and data.max() >= 128:
        # Case folding beyond ASCII can change the number of bytes, so a byte table cannot do it.
        import pyarrow as pa

        data, offsets = _bytes_of(
            pa.array([normalise_words(text) for text in array.to_pylist()], pa.string())
        )
    return _hash(data, offsets)


def hash_text(text: str) -> HashedTexts:
    """Hash one text as `hash_texts` does, without loading arrow.

    Example:
        >>> hash_text("a b").texts[0] == hash_text("b a").texts[0]
        np.False_
    """
    data = np.frombuffer(normalise_words(text).encode(), np.uint8)
    return _hash(data, np.array([0, len(data)]))


def _hash(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> HashedTexts:
    letters = _byte_table()[data]
    # A word starts at a letter after a space or at the start of its text, and ends likewise.
    # The texts lie side by side in one buffer, so a word must not run on from one into the next.
    is_letter = letters != _SPACE
    is_first = np.zeros(len(letters) + 1, bool)
    is_first[offsets[:-1]] = True
    is_first = is_first[:-1]
    before = np.concatenate(([False], is_letter[:-1])) & ~is_first if len(letters) else is_letter
    starts = np.flatnonzero(is_letter & ~before)
    after = np.concatenate((is_letter[1:] & ~is_first[1:], [False])) if len(letters) else is_letter
    ends = np.flatnonzero(is_letter & ~after) + 1
    owners = np.searchsorted(offsets, starts, side="right").astype(np.int64) - 1
    # Letters count from 1, since a trailing zero would not change a polynomial.
    words = _mix(_polynomials(letters.astype(np.uint64) + np.uint64(1), starts, ends, _BYTE_BASE))
    firsts = np.searchsorted(owners, np.arange(len(offsets)), side="left").astype(np.int64)
    texts = _mix(_polynomials(words, firsts[:-1], firsts[1:], _WORD_BASE))
    # Take the upper bits: bit k of a product depends on the k lower bits of its factors only.
    shift = np.uint64(64 - HASH_BITS)
    texts = np.where(firsts[:-1] == firsts[1:], np.uint64(0), texts >> shift)
    return HashedTexts(texts, words >> shift, owners, letters, starts, ends)


def letter_groups(letters: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Any:
    """The letter trigrams of each word, padded with one space on each side.

    Returns:
        One code per trigram, uint64 below 2**24, and the index of its word, int64.

    Example:
        >>> groups, words = letter_groups(np.frombuffer(b"fog", np.uint8), np.array([0]), np.array([3]))
        >>> [int(group).to_bytes(3, "big") for group in groups]
        [b' fo', b'fog', b'og ']
    """
    lengths = ends - starts
    words = np.repeat(np.arange(len(starts)), lengths)
    positions = np.arange(len(words)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + starts[words]
    values = np.concatenate((letters, np.zeros(1, np.uint8))).astype(np.uint64)
    first = np.where(positions == starts[words], np.uint64(_SPACE), values[positions - 1])
    last = np.where(positions + 1 == ends[words], np.uint64(_SPACE), values[positions + 1])
    return (first << np.uint64(16)) | (values[positions] << np.uint64(8)) | last, words


def _polynomials(values: Numbers, starts: Any, ends: Any, base: int) -> Numbers:
    """Sum of `values[start + i] * base**i` for each range, modulo 2**64.

    One prefix sum serves all ranges: the difference of two prefix sums is the polynomial
    times `base**start`, and an odd base can be divided out modulo 2**64.
    """
    if not len(starts):
        return np.zeros(0, np.uint64)
    # A power of two as length, so that `_powers` caches few tables.
    powers, inverses = _powers(base, 1 << max(len(values), 1).bit_length())
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values * powers[: len(values)])))
    return (sums[ends] - sums[starts]) * inverses[starts]


@cache
def _powers(base: int, n: int) -> tuple[Numbers, Numbers]:
    """The first `n` powers of an odd number and of its inverse, modulo 2**64."""
    both = []
    for number in (base, pow(base, -1, 2**64)):
        factors = np.full(n, number, np.uint64)
        factors[0] = 1
        both.append(np.multiply.accumulate(factors))
    return both[0], both[1]


def _mix(values: Numbers) -> Numbers:
    """Let every input bit reach every output bit: the finalizer of MurmurHash3 (Appleby, public domain)."""
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))


@cache
def _byte_table() -> NDArray[np.uint8]:
    """Maps each UTF-8 byte to its normalised form: itself, a lower-case letter, or a space."""
    ascii_letters = [normalise_words(chr(code)).encode() for code in range(128)]
    return np.array(
        [letter[0] if letter else _SPACE for letter in ascii_letters] + list(range(128, 256)), np.uint8
    )


def _bytes_of(array: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of an arrow string array and the offsets of its texts, one more than there are texts."""
    _, offset_buffer, data_buffer = array.buffers()
    if not len(array) or offset_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    return data[offsets[0] : offsets[-1]], (offsets - offsets[0]).astype(np.int64)
