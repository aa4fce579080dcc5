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

_PERCENTAGE = re.compile(r"(?<![\w.#-])(?<!\d,)(\d{1,4}(?:\.\d+)?) ?(?:[%％]|pct\b|percent\b|per cent\b)")
_CLAUSE = re.compile(r"[,;+&、，]|\b(?:and|but)\b")
_MOST = 1.5
_QUANTITIES = frozenset({
    "saturation", "contrast", "brightness", "exposure", "sharpness", "clarity", "colour", "color", "opacity",
    "warmth", "vibrance", "luminosity", "light",
})  # fmt: skip
_SHARE = "a percentage is a share of that look, not of what the photo has"
_STRENGTHS = {"barely": 0.3, "slightly": 0.5, "half": 0.5, "fully": 1.0, "very": 1.4, "extremely": 1.5}
"""Strength of a look at each grade."""

_VARIANTS = {"barely": "faint", "slightly": "faint", "very": "strong", "extremely": "strong"}
"""Kind of the checkpoints that have a grade themselves."""

_WEAK, _STRONG = ("barely", "slightly"), ("very", "extremely")
_NEGATIONS = frozenset({"not", "never", "no", "without"})
"""Grades and words that change the meaning of those beside them: "very subtle", "not too much"."""

_TURNING = frozenset({"any", "wenig", "peu", "poco", "poca"})
"""Words behind one of degree with which it says how little there is: "hardly any contrast" has none."""

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
        is_of_part: whether it stands in one part of several, as in "pencil sketch, slightly sepia".
        note: what of the words may be done otherwise than meant, to be told; empty for nothing.
    """

    strength: float = 1.0
    variant: str = ""
    strength_of_variant: float = 1.0
    furthest: str = ""
    rest: str = ""
    is_percentage: bool = False
    is_of_part: bool = False
    note: str = ""


def find_degree(words: str) -> Degree:
    """Find the words of degree in a phrase: a percentage, or the longest entry of `degrees.toml`.

    Example:
        >>> degree = find_degree("barely foggy")
        >>> degree.strength, degree.variant, degree.furthest, degree.rest
        (0.3, 'faint', 'barely', 'foggy')
        >>> [find_degree(words).strength for words in ("60% foggy", "not too foggy", "fully foggy")]
        [0.6, 0.5, 1.0]
    """
    clauses = [clause for clause in _CLAUSE.split(words) if normalise_words(clause)]
    percentages = set(_PERCENTAGE.findall(words))
    if percentages:
        rest = normalise_words(_PERCENTAGE.sub(" ", words))
        if len(percentages) > 1:  # "sepia 40%, grain 80%": each is of one look only
            return Degree(rest=rest, note="one strength is for all looks, so the percentages are left out")
        strength = min(float(percentages.pop()) / 100, _MOST)
        is_of_part = len(clauses) > 1 and any(
            _PERCENTAGE.search(clause) and normalise_words(_PERCENTAGE.sub(" ", clause)) for clause in clauses
        )
        note = _SHARE if rest in _QUANTITIES and strength < 1 else ""
        return Degree(
            strength,
            strength_of_variant=strength,
            rest=rest,
            is_percentage=True,
            is_of_part=is_of_part,
            note=note,
        )
    listed = _part(normalise_words(words).split())
    found = _find_first(listed)
    if found is None:
        return Degree(rest=normalise_words(words))
    grade, start, stop = found
    is_turned = listed[stop : stop + 1] and listed[stop] in _TURNING
    if is_turned or _differ(clauses):
        return Degree(rest=normalise_words(words))
    beside = _find_first(listed[stop:], at_start=True)
    if grade in _STRONG and beside is not None and beside[0] in _WEAK:  # "very subtle" is subtle
        grade, stop = "barely", stop + beside[2]
    elif grade in _STRONG and listed[start - 1 : start] and listed[start - 1] in _NEGATIONS:
        grade, start = "slightly", start - 1
    return Degree(
        _STRENGTHS[grade],
        _VARIANTS.get(grade, ""),
        _FURTHER.get(grade, 1.0),
        FURTHEST.get(grade, ""),
        rest=" ".join(listed[:start] + listed[stop:]),
        is_of_part=len(clauses) > 1 and any(map(_begins_with_degree, clauses[1:])),
    )


def _differ(clauses: Sequence[str]) -> bool:
    """Whether parts of a phrase begin with degrees of different directions: "a bit faded, very green"."""
    directions = {grade in _STRONG for grade in map(_begins_with_degree, clauses) if grade}
    return len(directions) > 1


def _begins_with_degree(clause: str) -> str:
    """The grade with which a part of a phrase begins, if more follows; empty otherwise."""
    listed = _part(normalise_words(clause).split())
    found = _find_first(listed, at_start=True)
    return "" if found is None or found[2] == len(listed) else found[0]


def _find_first(listed: Sequence[str], *, at_start: bool = False) -> tuple[str, int, int] | None:
    """Grade, begin and end of the longest phrase of degree, the first of those; None without any."""
    grades = _grades()
    for count in range(min(_longest(), len(listed)), 0, -1):
        for place in range(1 if at_start else len(listed) - count + 1):
            grade = grades.get(" ".join(listed[place : place + count]))
            if grade is not None:
                return grade, place, place + count
    return None


def _part(listed: Sequence[str]) -> list[str]:
    """Words with what Chinese and Japanese write in one, a degree and a look, taken apart: 少しセピア."""
    parted: list[str] = []
    for word in listed:
        ends = (one for one in _unspaced() if word.startswith(one) or word.endswith(one))
        phrase = None if word.isascii() else next(ends, None)
        if phrase is None:
            parted.append(word)
        elif word.startswith(phrase):
            parted += [phrase, word.removeprefix(phrase)]
        else:
            parted += [word.removesuffix(phrase), phrase]
    return [word for word in parted if word]


@cache
def degree_phrases(language: str = "en") -> dict[str, list[str]]:
    """The words and phrases of each grade in a language, the most common first.

    Args:
        language: `en`, `de`, `fr`, `es`, `zh` or `ja`. What two languages share is a phrase of the first.

    Example:
        >>> list(degree_phrases())
        ['barely', 'slightly', 'half', 'very', 'extremely', 'fully']
        >>> degree_phrases("de")["slightly"][:2]
        ['leicht', 'ein bisschen']
    """
    return _all_phrases()[language]


@cache
def _all_phrases() -> dict[str, dict[str, list[str]]]:
    return parse_toml(resources.files("initzoo.zoo").joinpath("degrees.toml").read_bytes())


@cache
def _grades() -> dict[str, str]:
    """The grade of each phrase."""
    return {
        phrase: grade
        for grades in _all_phrases().values()
        for grade, phrases in grades.items()
        for phrase in phrases
    }


@cache
def _unspaced() -> list[str]:
    """The phrases of languages without spaces, the longest first."""
    phrases = {
        one for language in ("zh", "ja") for listed in degree_phrases(language).values() for one in listed
    }
    return sorted(phrases, key=lambda one: (-len(one), one))


@cache
def _longest() -> int:
    return max(len(phrase.split()) for phrase in _grades())
