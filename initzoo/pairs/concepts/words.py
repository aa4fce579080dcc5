"""How words are compared, and how concepts are split. Loads no teachers, so that a pull starts fast."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

__all__ = ["HELD_OUT", "NOVELTIES", "SPLITS", "alphabets_of", "normalise_words"]

HELD_OUT = ("heldout-composed", "heldout-new")
SPLITS = ("train", *HELD_OUT)
"""Taught; a new combination of taught parts; or something that no taught concept has."""

NOVELTIES = ("", "word", "strength", "colour", "operator")
"""What is new in a concept of split `heldout-new`; empty for the others."""


class _Letters(dict[int, str]):
    """For `str.translate`: letters and digits stay, all else is a space."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if chr(code).isalnum() else " "
        return self[code]


_LETTERS = _Letters()


@lru_cache(maxsize=1 << 17)
def normalise_words(text: str) -> str:
    """Reduce a wording to what it is compared by: lower case, single spaces, no punctuation.

    Example:
        >>> normalise_words("  Teal-and_Orange,  please! ")
        'teal and orange please'
    """
    return " ".join(text.casefold().translate(_LETTERS).split())


def alphabets_of(text: str) -> frozenset[str]:
    """The alphabets of the letters in a text, by the names that Unicode has for them.

    Example:
        >>> sorted(alphabets_of("2 crèmes, карандаш"))
        ['CYRILLIC', 'LATIN']
    """
    letters = {letter for letter in unicodedata.normalize("NFKC", text) if letter.isalpha()}
    return frozenset(unicodedata.name(letter, "?").split()[0] for letter in letters)
