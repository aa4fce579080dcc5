"""Training examples of the phrase encoder: phrases of the lexicon with the looks that each asks for."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random

from initzoo.pairs import LANGUAGES, Concept, normalise_words, parts_of

__all__ = [
    "FRAMES",
    "JOINTS",
    "SLOT",
    "THREE_JOINTS",
    "Example",
    "Phrase",
    "combined_examples",
    "list_phrases",
    "make_examples",
    "own_colours",
    "place_of",
    "slots_of",
    "split_phrases",
]

SLOT = re.compile(r"\{(\w+)\}")
_WITHOUT_COLOUR = ("amount",)  # a word of degree, which may be left out
_SLOT_ORDER = ("shadows", "highlights", "colour", "dark", "middle", "light", "paper", "board")
JOINTS = (
    "{0}, {1}",
    "{0} and {1}",
    "{0} with {1}",
    "{0} plus {1}",
    "{0} + {1}",
    "{0} but {1}",
    "{1}: {0}",
    "{0} {1}",
)
THREE_JOINTS = ("{0}, {1} and {2}", "{0} with {1}, {2}", "{0} {1} {2}", "{2}, {0}, {1}", "{0}, {1}, {2}")
FRAMES = (
    "make it {0}", "{0} photo", "turn this into {0}", "{0} style", "{0} effect", "{0} look",
    "give it a {0} look", "please make my photo {0}", "i want {0}", "like {0}", "{0} filter", "as {0}",
    "{0} please", "can you do {0}", "make my pic look like {0}", "more {0}", "apply {0}", "{0} vibe",
    "{0} aesthetic", "the {0} one",
)  # fmt: skip
_REQUESTS = (
    "add a {0}", "remove the {0}", "replace the {0} with a {1}", "put a {0} next to the {1}",
    "a photo of a {0}", "delete {0}", "swap the {0} for {1}", "draw a {0}", "what is a {0}", "{0} {1}",
    "the {0} of the {1}", "{0}", "show me {0} and {1}", "how do i {0} a {1}", "{0} {1} {2}",
)  # fmt: skip


@dataclass(frozen=True)
class Phrase:
    """A phrase of the lexicon; phrases of looks that take colours hold their placeholders."""

    words: str
    look: str
    language: str


@dataclass(frozen=True)
class Example:
    """Words and the looks that they ask for; none for words that ask for no look.

    Args:
        words: the words.
        looks: ids of the looks.
        kind: `phrase` for one of the lexicon, `framed` for one in a sentence, `misspelt`, `joined` for
            several, `combined` for a wording of a concept of several looks, `without` for words that ask for
            no look.
        place: the largest `place_of` of its phrases; the examples below a place are those of a smaller
            lexicon.
    """

    words: str
    looks: tuple[str, ...]
    kind: str
    place: float = 0.0


def list_phrases(lexicon: Mapping[str, Mapping[str, Sequence[str]]]) -> list[Phrase]:
    """List the distinct phrases of a lexicon. A phrase of several writers counts once.

    Example:
        >>> list_phrases({"names": {"fog": ["foggy", "Foggy"]}, "de": {"fog": ["neblig"]}})
        [Phrase(words='foggy', look='fog', language='en'), Phrase(words='neblig', look='fog', language='de')]
    """
    phrases: dict[tuple[str, str], Phrase] = {}
    for writer, looks in lexicon.items():
        language = writer if writer in LANGUAGES else "en"
        for look, texts in looks.items():
            for text in texts:
                phrases.setdefault((look, normalise_words(text)), Phrase(text, look, language))
    return list(phrases.values())


def split_phrases(
    phrases: Sequence[Phrase], *, share: float = 1.0, kept: float = 0.1
) -> tuple[list[Phrase], list[Phrase]]:
    """Split phrases into those to train on and those kept for validation.

    The place of a phrase depends on its own letters alone, so a longer lexicon moves no phrase to the other
    side.

    Args:
        phrases: of a lexicon.
        share: the share of the training phrases to return.
        kept: the share of the phrases of each look to keep.

    Example:
        >>> phrases = [Phrase(f"foggy {i}", "fog", "en") for i in range(1000)]
        >>> train, kept = split_phrases(phrases, share=0.5)
        >>> len(train), len(kept)
        (488, 92)
    """
    train, validation = [], []
    for phrase in phrases:
        place = place_of(phrase, kept=kept)
        if place < 0:
            validation.append(phrase)
        elif place < share:
            train.append(phrase)
    return train, validation


def place_of(phrase: Phrase, *, kept: float = 0.1) -> float:
    """The place of a phrase among those to train on, 0 to 1; below 0 if it is kept for validation."""
    return (zlib.crc32(normalise_words(phrase.words).encode()) / 2**32 - kept) / (1 - kept)


def make_examples(
    phrases: Sequence[Phrase],
    *,
    colours: Mapping[str, Mapping[str, str]],
    vocabulary: Sequence[str] = (),
    seed: int = 0,
    n_colours: int = 3,
    n_framed: int = 0,
    n_misspelt: int = 0,
    n_joined: int = 0,
    n_without: int = 0,
) -> list[Example]:
    """Make examples: every phrase, phrases in sentences, misspelt ones, several joined, and words without a
    look.

    Args:
        phrases: phrases of the lexicon.
        colours: names of colours by language, then by English name.
        vocabulary: words of the language, for examples without a look.
        seed: seed of all draws.
        n_colours: number of draws of colours for each phrase with placeholders.
        n_framed, n_misspelt, n_joined, n_without: number of examples of each further kind.
    """
    random = Random(seed)
    examples: dict[str, Example] = {}

    def add(words: str, parts: Sequence[Phrase], kind: str) -> None:
        words = " ".join(words.split())
        looks, place = tuple(part.look for part in parts), max(map(place_of, parts), default=0.0)
        examples.setdefault(normalise_words(words), Example(words, looks, kind, place))

    for phrase in phrases:
        for _ in range(n_colours if SLOT.search(phrase.words) else 1):
            add(_fill(phrase, colours, random), [phrase], "phrase")
    english = [phrase for phrase in phrases if phrase.language == "en"]
    for _ in range(n_framed):
        phrase = random.choice(english)
        add(random.choice(FRAMES).format(_fill(phrase, colours, random)), [phrase], "framed")
    for _ in range(n_misspelt):
        phrase = random.choice(english)
        add(_misspell(_fill(phrase, colours, random), random), [phrase], "misspelt")
    short = [phrase for phrase in english if len(phrase.words) <= 32]
    for _ in range(n_joined):
        parts = random.sample(short, min(3 if random.random() < 0.25 else 2, len(short)))
        if len({part.look for part in parts}) == len(parts) > 1:
            pattern = random.choice(THREE_JOINTS if len(parts) == 3 else JOINTS)
            add(pattern.format(*(_fill(part, colours, random) for part in parts)), parts, "joined")
    for _ in range(n_without if vocabulary else 0):
        add(random.choice(_REQUESTS).format(*random.sample(vocabulary, 3)), [], "without")
    return list(examples.values())


def combined_examples(
    concepts: Iterable[Concept],
    *,
    looks: Collection[str],
    slots: Mapping[str, Sequence[str]],
    colours: Collection[str],
) -> list[Example]:
    """The wordings of train concepts of several looks: how people name two looks at once, in one sentence.

    Args:
        concepts: of a catalog; its held-out ones and their wordings are left out.
        looks: ids of the looks of the lexicon.
        slots: names of the slots of each look that takes colours.
        colours: names of all colours.

    Example:
        >>> from initzoo.pairs import load_concepts
        >>> found = combined_examples(load_concepts(), looks={"ink", "street-lamp"}, slots={}, colours=())
        >>> found[0].words, found[0].looks
        ('street-lit pen and ink drawing', ('ink', 'street-lamp'))
    """
    examples: dict[str, Example] = {}
    for concept in concepts:
        parts = parts_of(concept.id, looks, slots, colours) if concept.split == "train" else None
        if parts is not None and len({part.look for part in parts}) > 1:
            named = tuple(part.look for part in parts)
            for words in concept.prompts:
                place = place_of(Phrase(words, named[0], "en"))
                examples.setdefault(normalise_words(words), Example(words, named, "combined", place))
    return list(examples.values())


def slots_of(phrases: Sequence[Phrase]) -> dict[str, tuple[str, ...]]:
    """The names of the slots of each look that takes colours, in the order in which ids of concepts have
    them.

    Example:
        >>> slots_of([Phrase("{colour} ink on {paper}", "ink-colour", "en"), Phrase("foggy", "fog", "en")])
        {'ink-colour': ('colour', 'paper')}
    """
    slots: dict[str, tuple[str, ...]] = {}
    for phrase in phrases:
        names = {name for name in SLOT.findall(phrase.words) if name != "a"}
        if names:
            slots[phrase.look] = tuple(
                name for name in _SLOT_ORDER if name in {*slots.get(phrase.look, ()), *names}
            )
    return slots


def own_colours(phrases: Sequence[Phrase], colours: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The plain colours that phrases of each look name, if at least two of them do.

    Args:
        phrases: phrases of the lexicon.
        colours: plain names of colours with their values.

    Example:
        >>> phrases = [Phrase("blue hour", "dusk", "en"), Phrase("so blue", "dusk", "en")]
        >>> own_colours(phrases, {"blue": "#2766d1"})
        {'dusk': ('#2766d1',)}
    """
    named: Counter[tuple[str, str]] = Counter()
    for phrase in phrases:
        text = f" {normalise_words(phrase.words)} "
        named.update({(phrase.look, value) for name, value in colours.items() if f" {name} " in text})
    kept = sorted(pair for pair, n_phrases in named.items() if n_phrases >= 2)
    return {
        look: tuple(value for _, value in pairs) for look, pairs in groupby(kept, key=lambda pair: pair[0])
    }


def _fill(phrase: Phrase, colours: Mapping[str, Mapping[str, str]], random: Random) -> str:
    """Put different colours into the placeholders of a phrase; `{a}` is an article."""
    names = colours[phrase.language]
    slots = list(dict.fromkeys(slot for slot in SLOT.findall(phrase.words) if slot != "a"))
    chosen = dict(zip(slots, random.sample(sorted(names), len(slots)), strict=True))
    text = phrase.words
    for slot, colour in chosen.items():
        text = text.replace(f"{{{slot}}}", "" if slot in _WITHOUT_COLOUR else names[colour])
    return text.replace("{a}", "a")


def _misspell(text: str, random: Random) -> str:
    """Change one letter: leave it out, double it, swap it with the next one, or put another in its place."""
    places = [i for i, letter in enumerate(text) if letter.isalpha()]
    if len(places) < 4:
        return text
    i = random.choice(places[1:])
    other = random.choice("abcdefghijklmnopqrstuvwxyz")
    changed = (text[i] * 2, "", text[i + 1 : i + 2] + text[i], other)[random.randrange(4)]
    is_swap = len(changed) == 2 and changed[0] != changed[1]
    return text[:i] + changed + text[i + (2 if is_swap else 1) :]
