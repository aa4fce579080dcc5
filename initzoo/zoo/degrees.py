"""Words of degree: how much of a look a phrase asks for, and what is left of the phrase without them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from initzoo.files import parse_toml
from initzoo.pairs import normalise_words

__all__ = ["FURTHEST", "Degree", "degree_phrases", "find_degree"]

_PERCENTAGE = re.compile(r"(?<![\w.,#-])(\d{1,4}(?:\.\d+)?) ?(?:[%％]|pct\b|percent\b|per cent\b)")
_LEAST, _MOST = 0.05, 1.5
_STRENGTHS = {"barely": 0.3, "slightly": 0.5, "half": 0.5, "fully": 1.0, "very": 1.4, "extremely": 1.5}
"""Strength of a look at each grade."""

_VARIANTS = {"barely": "faint", "slightly": "faint", "very": "strong", "extremely": "strong"}
"""Kind of the checkpoints that have a grade themselves."""

_WEAK, _STRONG = ("barely", "slightly"), ("very", "extremely")
_NEGATIONS = frozenset({"not", "never", "no", "without", "less"})
"""Grades and words that change the meaning of those beside them: "very subtle", "not too much"."""

FURTHEST = {"barely": "barely", "extremely": "extreme"}
"""Degree of the checkpoints that have the grade itself, beyond those of the variant."""

_FURTHER = {"barely": 0.6, "extremely": 1.4}
"""Strength of a checkpoint of the variant: grades beyond it take another step of its size."""


@dataclass(frozen=True)
class Degree:
    """How much of a look words ask for.

    Args:
        strength: strength of the look, 1 as it is.
        variant: `faint` or `strong`, the kind of checkpoint that has the degree itself; empty for none.
        strength_of_variant: strength of such a checkpoint.
        furthest: degree of a checkpoint that needs no strength, beyond the variant; empty for none.
        rest: the words without those of degree, in lower case and without punctuation.
        is_percentage: whether it is a percentage, which the weight generator does not read.
    """

    strength: float = 1.0
    variant: str = ""
    strength_of_variant: float = 1.0
    furthest: str = ""
    rest: str = ""
    is_percentage: bool = False


def find_degree(words: str) -> Degree:
    """Find the words of degree in a phrase: a percentage, or the longest entry of `degrees.toml`.

    Example:
        >>> degree = find_degree("barely foggy")
        >>> degree.strength, degree.variant, degree.furthest, degree.rest
        (0.3, 'faint', 'barely', 'foggy')
        >>> [find_degree(words).strength for words in ("60% foggy", "not too foggy", "fully foggy")]
        [0.6, 0.5, 1.0]
    """
    percentage = _PERCENTAGE.search(words)
    if percentage:
        strength = min(max(float(percentage[1]) / 100, _LEAST), _MOST)
        rest = normalise_words(words.replace(percentage[0], " "))
        return Degree(strength, strength_of_variant=strength, rest=rest, is_percentage=True)
    listed = normalise_words(words).split()
    found = _find_first(listed)
    if found is None:
        return Degree(rest=" ".join(listed))
    grade, start, stop = found
    if listed[stop : stop + 1] == ["any"]:  # "hardly any contrast" has none
        return Degree(rest=" ".join(listed))
    beside = _find_first(listed[stop:], at_start=True)
    if grade in _STRONG and beside is not None and beside[0] in _WEAK:  # "very subtle" is subtle
        grade, stop = "barely", stop + beside[2]
    elif grade in _STRONG and listed[start - 1 : start] and listed[start - 1] in _NEGATIONS:
        grade, start = "slightly", start - 1
    elif grade in _STRONG and listed[stop : stop + 1] == ["less"]:
        grade, stop = "slightly", stop + 1
    return Degree(
        _STRENGTHS[grade],
        _VARIANTS.get(grade, ""),
        _FURTHER.get(grade, 1.0),
        FURTHEST.get(grade, ""),
        rest=" ".join(listed[:start] + listed[stop:]),
    )


def _find_first(listed: Sequence[str], *, at_start: bool = False) -> tuple[str, int, int] | None:
    """Grade, begin and end of the longest phrase of degree, the first of those; None without any."""
    grades = _grades()
    for count in range(min(_longest(), len(listed)), 0, -1):
        for place in range(1 if at_start else len(listed) - count + 1):
            grade = grades.get(" ".join(listed[place : place + count]))
            if grade is not None:
                return grade, place, place + count
    return None


@cache
def degree_phrases() -> dict[str, list[str]]:
    """The words and phrases of each grade, the most common first.

    Example:
        >>> list(degree_phrases())
        ['barely', 'slightly', 'half', 'very', 'extremely', 'fully']
    """
    return parse_toml(resources.files("initzoo.zoo").joinpath("degrees.toml").read_bytes())


@cache
def _grades() -> dict[str, str]:
    """The grade of each phrase."""
    return {phrase: grade for grade, phrases in degree_phrases().items() for phrase in phrases}


@cache
def _longest() -> int:
    return max(len(phrase.split()) for phrase in _grades())
