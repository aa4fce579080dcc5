"""Wordings of concepts from the lexicon: phrases for a look, with the colours and degree of a concept."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

from initzoo.generator import names_near
from initzoo.pairs import (
    Part,
    load_colours,
    load_concepts,
    load_lexicon,
    load_lexicon_colours,
    load_new_words,
    load_practice_colours,
    load_test_phrases,
    normalise_words,
    parts_of,
)
from initzoo.training.generator.settings import TrainingData
from initzoo.training.phrases.examples import (
    FRAMES,
    JOINTS,
    SLOT,
    THREE_JOINTS,
    Phrase,
    list_phrases,
    slots_of,
)

__all__ = ["lexicon_wordings", "with_lexicon"]

_DEGREES = {
    "faint": (
        "slightly {0}", "a touch of {0}", "subtle {0}", "{0}, just a little", "faint {0}", "a bit of {0}",
        "a hint of {0}", "{0} but gentle", "mild {0}",
    ),
    "strong": (
        "very {0}", "strong {0}", "heavy {0}", "{0}, a lot", "extremely {0}", "intense {0}",
        "{0} but stronger", "much {0}", "super {0}",
    ),
}  # fmt: skip
_DEGREE_OF = {
    "faint": "faint", "slight": "faint", "delicate": "faint", "fine": "faint", "barely": "faint",
    "strong": "strong", "heavy": "strong", "bold": "strong", "thick": "strong", "extreme": "strong",
}  # fmt: skip
_MOST_LETTERS = 40
"""Longest phrase that is joined with another, or that gets a degree."""

_BY_VALUE, _BY_NEIGHBOUR = 0.15, 0.35
"""Shares of colours that are written as their value, and under a name of the long list that is as near as
nobody sees."""

_NEAR = 4.0  # in CIE Lab


_N_OWN = 24
"""Wordings of the catalog that a concept keeps besides those of the lexicon."""


def with_lexicon(data: TrainingData, folder: Path | None = None, *, seed: int = 0) -> TrainingData:
    """Word the concepts and practice of the catalog by a lexicon, besides the wordings of the catalog.

    No kept wording of a concept, no phrase of the test of words, and no word that tests ask for as a new one
    is among the further wordings.

    Args:
        data: the train concepts of the bundled zoo.
        folder: folder of the lexicon; by default that of the catalog.
        seed: seed of all draws.

    Raises:
        InvalidConcepts: the lexicon is missing.
    """
    phrases = list_phrases(load_lexicon(folder))
    kept = [wording for concept in load_concepts() for wording in concept.test_prompts]
    tested = [phrase.words for phrase in load_test_phrases()]
    wordings = lexicon_wordings(
        (*data.concept_ids, *(concept.id for concept in data.practice)),
        phrases,
        load_colours() | load_practice_colours(),
        load_lexicon_colours(folder),
        avoid={normalise_words(wording) for wording in (*kept, *tested)},
        new_words=load_new_words(),
        seed=seed,
    )
    return data.with_wordings(wordings, n_own=_N_OWN)


def lexicon_wordings(
    concepts: Iterable[str],
    phrases: Sequence[Phrase],
    colours: Mapping[str, str],
    names: Mapping[str, Mapping[str, str]],
    *,
    n_each: int = 96,
    n_joined: int = 16,
    framed: float = 0.2,
    avoid: Collection[str] = (),
    new_words: Collection[str] = (),
    seed: int = 0,
) -> dict[str, tuple[str, ...]]:
    """Word concepts by the phrases of their looks.

    Concepts are recognised by their ids. Those of looks without phrases get none, and so do those whose
    degree has no words here. Colours come by their names in the phrase's language, by names of the long list,
    and as values such as `#118a8a`.

    Args:
        concepts: ids of concepts.
        phrases: phrases of a lexicon.
        colours: values of all colours by their English name.
        names: names of colours by language, then by English name, as `load_lexicon_colours` returns them.
        n_each: maximum number of wordings of a concept of one look.
        n_joined: maximum number of wordings of a concept of several looks.
        framed: share of English wordings that are put into a sentence, such as "make it ...".
        avoid: wordings to leave out, as `normalise_words` writes them.
        new_words: words that no wording may have, because tests ask for them as new ones.
        seed: seed of all draws; each concept has its own, so further concepts change none.

    Returns:
        Wordings by id of the concept.

    Example:
        >>> phrases = [Phrase("misty", "fog", "en"), Phrase("{colour} light", "gel", "en")]
        >>> names = {"en": {"red": "red"}}
        >>> lexicon_wordings(["fog"], phrases, {"red": "#ff0000"}, names, framed=0)["fog"]
        ('misty',)
    """
    by_look: dict[str, list[Phrase]] = {}
    for phrase in phrases:
        by_look.setdefault(phrase.look, []).append(phrase)
    writer = _Writer(colours, names, framed)
    slots = slots_of(phrases)
    found = {}
    for concept_id in concepts:
        parts = parts_of(concept_id, by_look, slots, colours)
        if parts is None or any(part.degree and part.degree not in _DEGREE_OF for part in parts):
            continue
        random = Random(zlib.crc32(f"{seed}|{concept_id}".encode()))
        n_most = n_each if len(parts) == 1 else n_joined
        wordings: dict[str, str] = {}
        for phrase_of in _draws(parts, by_look, slots, random, n_most):
            wording = writer.write(parts, phrase_of, slots, random)
            key = normalise_words(wording)
            if key and key not in avoid and not any(f" {word} " in f" {key} " for word in new_words):
                wordings.setdefault(key, wording)
        found[concept_id] = tuple(wordings.values())
    return found


def _draws(
    parts: Sequence[Part],
    by_look: Mapping[str, Sequence[Phrase]],
    slots: Mapping[str, Sequence[str]],
    random: Random,
    n_most: int,
) -> Iterable[list[Phrase]]:
    """Phrases for all parts, as often as wordings are wanted; different ones as long as there are some."""
    fitting = []
    for part in parts:
        own = [phrase for phrase in by_look[part.look] if _has_slots(phrase, slots.get(part.look, ()))]
        if len(parts) > 1 or part.degree:
            own = [p for p in own if p.language == "en" and len(p.words) <= _MOST_LETTERS]
        if not own:
            return
        fitting.append(random.sample(own, len(own)))
    n_drawn = min(n_most, len(fitting[0])) if len(parts) == 1 and not slots.get(parts[0].look) else n_most
    for number in range(n_drawn):
        yield [own[(number * (place + 1)) % len(own)] for place, own in enumerate(fitting)]


def _has_slots(phrase: Phrase, slots: Sequence[str]) -> bool:
    """Whether a phrase names all colours; a look of paper and ink may leave out the paper."""
    named = {*SLOT.findall(phrase.words)} - {"a", "amount"}
    return named == {*slots} or (bool(named) and {*slots} - named <= {"paper", "board"})


class _Writer:
    """Writes wordings out of phrases."""

    def __init__(
        self, colours: Mapping[str, str], names: Mapping[str, Mapping[str, str]], framed: float
    ) -> None:
        self.colours, self.names, self.framed = colours, names, framed
        self._near: dict[str, list[str]] = {}

    def write(
        self,
        parts: Sequence[Part],
        phrases: Sequence[Phrase],
        slots: Mapping[str, Sequence[str]],
        random: Random,
    ) -> str:
        texts = [
            self._worded(part, phrase, slots.get(part.look, ()), random)
            for part, phrase in zip(parts, phrases, strict=True)
        ]
        language = phrases[0].language
        if len(texts) == 1:
            text = texts[0]
        else:
            random.shuffle(texts)
            text = random.choice(JOINTS if len(texts) == 2 else THREE_JOINTS).format(*texts)
        if language == "en" and random.random() < self.framed:
            text = random.choice(FRAMES).format(text)
        return " ".join(text.split())

    def _worded(self, part: Part, phrase: Phrase, slots: Sequence[str], random: Random) -> str:
        text = phrase.words.replace("{a}", "a").replace("{amount}", "")
        for slot, colour in zip(slots, part.colours, strict=True):
            text = text.replace(f"{{{slot}}}", self._colour(colour, phrase.language, random))
        if part.degree:
            text = random.choice(_DEGREES[_DEGREE_OF[part.degree]]).format(text)
        return text

    def _colour(self, colour: str, language: str, random: Random) -> str:
        """A name of a colour, or its value."""
        draw = random.random()
        if draw < _BY_VALUE:
            return self.colours[colour]
        if draw < _BY_NEIGHBOUR and language == "en":
            near = self._neighbours(colour)
            return random.choice(near) if near else colour
        return self.names.get(language, {}).get(colour, colour if language == "en" else self.colours[colour])

    def _neighbours(self, colour: str) -> list[str]:
        """Names of the long list for colours that look the same."""
        if colour not in self._near:
            self._near[colour] = names_near(self.colours[colour], _NEAR)
        return self._near[colour]
