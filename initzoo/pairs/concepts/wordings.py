"""How the catalog's phrases become natural wordings.

Everything here is drawn from a seed and the concept's id, so the same catalog always gives
the same wordings, and a new concept does not change the others'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts.words import normalise_words

KINDS = ("noun", "adjective", "verb", "tail")
"""The grammatical kinds of phrases, as templates name them."""

N_PROMPTS = 12
N_TEST_PROMPTS = 3
MIN_PROMPTS = 8
MIN_TEST_PROMPTS = 2

Phrases = Mapping[str, tuple[str, ...]]
"""Phrases by kind; `extra` holds whole wordings."""

_PLACE = re.compile(r"\{(noun|adjective|verb|tail)(\d?)\}")
_BEFORE_VOWEL = re.compile(r"\{a\} (?=[aeiouAEIO]|[FHLMNRSX][A-Z]|x-)")


@dataclass(frozen=True)
class Templates:
    """Sentences with places for phrases: those that training may use, and those kept for tests."""

    train: tuple[str, ...]
    test: tuple[str, ...]


Draw = Callable[[], float]


def draws(*keys: object) -> Draw:
    """Numbers from 0 to 1 that look random and are the same everywhere for the same keys."""
    return Random("|".join(map(str, keys))).random


def with_article(text: str) -> str:
    """Write `{a}` as a or an.

    Example:
        >>> with_article("as {a} orange tint")
        'as an orange tint'
    """
    if "{a}" in text:
        text = _BEFORE_VOWEL.sub("an ", text).replace("{a}", "a")
    return " ".join(text.split())


class Wordings:
    """Gives every concept its wordings, and no wording to two concepts."""

    def __init__(self, seed: int, templates: Mapping[int, Templates]) -> None:
        self._seed = seed
        self._templates = templates
        self._taken: set[str] = set()

    def choose(
        self, key: str, *, taught: Sequence[Phrases], kept: Sequence[Phrases]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Choose a concept's prompts and test prompts.

        Args:
            key: the concept's id.
            taught: the phrases of each of its parts that training may use.
            kept: the phrases of each part that only tests may use.

        Raises:
            InvalidConcepts: the phrases give too few wordings that are free.
        """
        templates = self._templates[len(taught)]
        draw = draws(self._seed, key)
        if len(taught) == 1:
            prompts = _one(draw, templates.train, taught[0])
            tests = _tests_of_one(draw, templates, taught[0], kept[0])
        else:
            prompts = _joined(draw, templates.train, taught)
            tests = _joined(
                draw, templates.test, [_preferred(*part) for part in zip(kept, taught, strict=True)]
            )
        chosen = self._take(prompts, N_PROMPTS, avoid=())
        kept_back = self._take(tests, N_TEST_PROMPTS, avoid=chosen)
        if len(chosen) < MIN_PROMPTS or len(kept_back) < MIN_TEST_PROMPTS:
            raise InvalidConcepts(
                f"'{key}' has {len(chosen)} prompts and {len(kept_back)} test prompts that no other concept "
                f"uses; it needs {MIN_PROMPTS} and {MIN_TEST_PROMPTS}: give it more phrases"
            )
        return chosen, kept_back

    def take(self, wordings: Iterable[str]) -> None:
        """Keep these wordings from being given to any concept."""
        self._taken.update(normalise_words(wording) for wording in wordings)

    def more(self, key: str, taught: Sequence[Phrases], limit: int) -> tuple[str, ...]:
        """Further wordings that training may use, from the same phrases and sentences: so many at most."""
        draw = draws(self._seed, key, "more")
        sentences = self._templates[len(taught)].train
        found = _one(draw, sentences, taught[0]) if len(taught) == 1 else _joined(draw, sentences, taught)
        return self._take(found, limit, avoid=()) if limit > 0 else ()

    def _take(self, candidates: Iterator[str], limit: int, avoid: Sequence[str]) -> tuple[str, ...]:
        """The first free candidates; none that has just the same words as one to avoid."""
        found: list[str] = []
        same_words = {_bag(normalise_words(wording)) for wording in avoid}
        for candidate in candidates:
            key = normalise_words(candidate)
            if key in self._taken or (same_words and _bag(key) in same_words):
                continue
            self._taken.add(key)
            found.append(candidate)
            if len(found) == limit:
                break
        return tuple(found)


def _bag(words: str) -> tuple[str, ...]:
    return tuple(sorted(words.split()))


def _preferred(kept: Phrases, taught: Phrases) -> Phrases:
    """Of each kind the phrases kept for tests, or the taught ones where none is kept."""
    return {kind: kept.get(kind) or taught.get(kind, ()) for kind in KINDS}


def _one(draw: Draw, sentences: tuple[str, ...], phrases: Phrases) -> Iterator[str]:
    """Wordings of a single look: its name, every phrase once, then again in other sentences."""
    yield with_article(phrases["noun"][0])
    uses = [(draw(), kind, phrase) for kind in KINDS for phrase in phrases.get(kind, ())]
    for turn in range(4):
        for start, kind, phrase in sorted(uses):
            yield from _in_sentence(sentences, kind, phrase, start, turn)
        if turn == 0:
            yield from phrases.get("extra", ())


def _tests_of_one(draw: Draw, templates: Templates, taught: Phrases, kept: Phrases) -> Iterator[str]:
    """Test wordings: a kept phrase, another, then a taught phrase in a sentence kept for tests."""
    unseen = sorted((draw(), kind, phrase) for kind in KINDS for phrase in kept.get(kind, ()))
    known = sorted((draw(), kind, phrase) for kind in KINDS for phrase in taught.get(kind, ()))
    for turn in range(4):
        for start, kind, phrase in unseen[:2]:
            yield from _in_sentence(templates.test + templates.train, kind, phrase, start, turn)
        for start, kind, phrase in known[2 * turn : 2 * turn + 2]:
            yield from _in_sentence(templates.test, kind, phrase, start, turn)


def _in_sentence(
    sentences: tuple[str, ...], kind: str, phrase: str, start: float, turn: int
) -> Iterator[str]:
    """A phrase in a sentence for its kind, another each turn, while there are others."""
    fitting = _sentences_for(sentences, kind)
    if turn < len(fitting):
        sentence = fitting[(int(start * 997) + turn) % len(fitting)]
        yield with_article(sentence.replace("{" + kind + "}", phrase))


def _joined(draw: Draw, sentences: tuple[str, ...], parts: Sequence[Phrases]) -> Iterator[str]:
    """Wordings of several looks together: each sentence in turn, with phrases that vary."""
    usable = [
        (sentence, places)
        for sentence, places in _with_places(sentences)
        if all(parts[part].get(kind) for _, kind, part in places)
    ]
    order = sorted((draw() if place else -1.0, place) for place in range(len(usable)))
    starts: dict[int, list[float]] = {}
    for turn in range(5):
        for _, place in order:
            text, places = usable[place]
            if place not in starts:
                starts[place] = [draw() if place else 0.0 for _ in places]
            for start, (slot, kind, part) in zip(starts[place], places, strict=True):
                choices = parts[part][kind]
                text = text.replace(slot, choices[(int(start * len(choices)) + turn) % len(choices)])
            yield with_article(text)


@cache
def _sentences_for(sentences: tuple[str, ...], kind: str) -> tuple[str, ...]:
    return tuple(sentence for sentence in sentences if "{" + kind + "}" in sentence)


@cache
def _with_places(sentences: tuple[str, ...]) -> tuple[tuple[str, tuple[tuple[str, str, int], ...]], ...]:
    """Each sentence with its places: their text, kind, and which part fills them."""
    return tuple(
        (sentence, tuple((found[0], found[1], int(found[2]) - 1) for found in _PLACE.finditer(sentence)))
        for sentence in sentences
    )
