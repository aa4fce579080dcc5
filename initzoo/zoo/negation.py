"""Words that ask to be without a look, "no sepia" or "too foggy", and what is left of them: the look."""

from __future__ import annotations

from collections.abc import Sequence

from initzoo.pairs import normalise_words

__all__ = ["asks_for_no_colour", "find_negated"]

_LONGEST = 3
_NEGATING = frozenset({
    # English
    "no", "not", "without", "dont", "don t", "do not", "never", "less", "too", "too much", "too many",
    "far too", "way too", "much too", "way too much", "far too much", "remove", "undo", "get rid of",
    "take out", "take away", "no more", "not any", "none of", "lose", "cancel", "reverse", "revert",
    "minus", "isn t", "shouldn t be", "stop", "reduce", "eliminate", "fix too",
    # German
    "kein", "keine", "keinen", "ohne", "nicht", "nicht so", "nicht zu", "weniger", "zu", "zu viel",
    "entferne",
    # French
    "pas", "pas de", "pas d", "pas trop", "pas si", "sans", "moins", "moins de", "trop", "trop de",
    "enlever", "enlève", "supprimer", "retirer",
    # Spanish
    "sin", "menos", "demasiado", "demasiada", "quitar", "quita", "nada de", "no tan", "eliminar",
})  # fmt: skip
"""Words before a look that ask to be without it."""

_BEFORE = frozenset({"不要", "去除", "去掉", "没有", "别", "减少", "移除", "无", "無"})
_BEHIND = ("なし", "を消す", "を消して", "を除去", "を取り除く", "を減らす", "不要")
"""The same in Chinese and Japanese, which write no spaces."""

_COLOURLESS = frozenset({
    "ohne farbe", "ohne farben", "keine farbe", "keine farben", "farblos",
    "sans couleur", "sans couleurs", "pas de couleur", "pas de couleurs", "aucune couleur",
    "sin color", "sin colores", "nada de color", "ningún color",
    "无颜色", "没有颜色", "不要颜色", "去掉颜色", "无色", "色なし", "カラーなし", "色をなくす", "色を消す",
})  # fmt: skip
"""What asks for no colour in the languages in which the phrase encoder reads it as something else."""

_AROUND = frozenset({
    "a", "an", "the", "any", "it", "its", "it s", "this", "that", "is", "was", "are", "my", "photo",
    "picture", "image", "looks", "look", "looking", "make", "made", "want", "i", "please", "effect",
    "filter", "style", "from", "of", "be", "at", "all", "so", "way", "far", "much", "and", "in", "more",
    "anymore", "gone", "to", "s",
})  # fmt: skip
"""Words beside both that say nothing of a look."""


def find_negated(words: str) -> str:
    """What words ask to be without, in lower case; empty if they do not begin so.

    Example:
        >>> [find_negated(words) for words in ("No sepia, please", "don't make it sepia", "way too foggy")]
        ['sepia', 'sepia', 'foggy']
        >>> find_negated("black and white with no greys")
        ''
    """
    listed = normalise_words(words).split()
    first = _skip(listed, 0)
    if first == len(listed):
        return ""
    for count in range(min(_LONGEST, len(listed) - first), 0, -1):
        if " ".join(listed[first : first + count]) in _NEGATING:
            return _core(listed[first + count :])
    word = "".join(listed[first:])
    for start in _BEFORE:
        if word.startswith(start):
            return word.removeprefix(start)
    return next((word.removesuffix(end) for end in _BEHIND if word.endswith(end)), "")


def asks_for_no_colour(words: str) -> bool:
    """Whether words ask for a picture without colour, in another language than English.

    Example:
        >>> [asks_for_no_colour(words) for words in ("Ohne Farbe", "zu viel Farbe", "色なし")]
        [True, False, True]
    """
    return _core(normalise_words(words).split()) in _COLOURLESS


def _core(listed: Sequence[str]) -> str:
    """Words without those around a look."""
    first, last = _skip(listed, 0), len(listed)
    while last > first and listed[last - 1] in _AROUND:
        last -= 1
    return " ".join(listed[first:last])


def _skip(listed: Sequence[str], first: int) -> int:
    """The place of the first word that says something, from a place on."""
    while first < len(listed) and listed[first] in _AROUND:
        first += 1
    return first
