"""Letter groups of a phrase as numbers: they recognise misspelt words, names, and other languages."""

from __future__ import annotations

import zlib
from itertools import pairwise

from initzoo.pairs import normalise_words

__all__ = ["hash_grams"]

_LETTERS = (3, 4, 5)
_MAX_LETTERS = 200


def hash_grams(words: str, n_buckets: int) -> list[int]:
    """Hash the words of a phrase, its pairs of words, and the letter groups of each word.

    Words of letters beyond Latin, Greek and Cyrillic, which few spaces part, give groups of one to three
    letters.

    Args:
        words: a phrase.
        n_buckets: the numbers are below it.

    Returns:
        Numbers, most often different ones for different groups.

    Example:
        >>> shared = set(hash_grams("pencil", 10_000)) & set(hash_grams("pencll", 10_000))
        >>> len(shared), len(hash_grams("pencil", 10_000))
        (6, 16)
    """
    parts = normalise_words(words)[:_MAX_LETTERS].split()
    grams = [f"={part}" for part in parts]
    grams += [f"={first}={second}" for first, second in pairwise(parts)]
    for part in parts:
        is_dense = max(part) > "\u2fff"
        letters = part if is_dense else f"<{part}>"
        for size in (1, 2, 3) if is_dense else _LETTERS:
            grams += [letters[i : i + size] for i in range(len(letters) - size + 1)]
    return [zlib.crc32(gram.encode("utf-8", "replace")) % n_buckets for gram in grams]
