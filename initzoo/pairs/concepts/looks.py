"""The catalog's looks: one idea each, which becomes a preset for every strength and colour it comes in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts.wordings import Phrases
from initzoo.pairs.concepts.words import normalise_words
from initzoo.pairs.teachers import OPERATORS, Step, check_step

_KIND_KEYS = {"noun": "nouns", "adjective": "adjectives", "verb": "verbs", "tail": "tails"}
_LOOK_KEYS = {
    "id", "operator", "teacher", "parameters", "levels", "each", "sets", "new_levels", "new_each", "new_sets",
    "groups", "split", "novelty", "new", "extras", *_KIND_KEYS.values(),
}  # fmt: skip


_SAY_NOTHING = frozenset({
    "a", "an", "all", "and", "are", "as", "at", "by", "for", "from", "give", "image",
    "in", "into", "is", "it", "its", "let", "like", "look", "make", "of", "on", "photo",
    "picture", "put", "so", "that", "the", "them", "they", "this", "to", "turn", "with",
})  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A look at one strength and in one set of colours, with its phrases."""

    id: str
    look: str
    steps: tuple[Step, ...]
    taught: Phrases
    kept: Phrases
    groups: tuple[str, ...]
    split: str
    novelty: str
    new_words: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The catalog's colours by name, those that are new, and the words of its degrees."""

    colours: Mapping[str, str]
    new_colours: tuple[str, ...]
    degrees: Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class _Variant:
    degree: str
    values: Mapping[str, Any]
    novelty: str


def presets_of(
    look: Mapping[str, Any], vocabulary: Vocabulary, further: Mapping[str, Sequence[str]] | None = None
) -> Iterator[Preset]:
    """Give a look's presets: for every strength, or for every set of colours.

    Args:
        look: a table of the catalog.
        vocabulary: of the catalog.
        further: phrases to teach besides the look's own, as `further_phrases` checks them.

    Raises:
        InvalidConcepts: the look has an unknown key, degree, colour, operator or parameter.
    """
    name = look.get("id", "")
    unknown = sorted(set(look) - _LOOK_KEYS)
    if unknown:
        raise InvalidConcepts(
            f"look '{name}': unknown key '{unknown[0]}'; known are {', '.join(sorted(_LOOK_KEYS))}"
        )
    for variant in _variants(look):
        yield _preset(name, look, variant, vocabulary, further or {})


def further_phrases(look: Mapping[str, Any], phrases: Mapping[str, Any]) -> dict[str, list[str]]:
    """Check phrases that somebody adds to a look, and leave out what the look has or keeps for tests.

    A phrase with all words of one that is kept is left out too, be they in another order or among others:
    it would give the test away.

    Args:
        look: a table of the catalog, with split `train`.
        phrases: lists by the keys of a look's phrases.

    Raises:
        InvalidConcepts: a key is not that of a kind of phrases, or a phrase lacks one of the look's slots.

    Example:
        >>> look = {"id": "glow", "nouns": ["glow", "shine", "shimmer"]}
        >>> further_phrases(look, {"nouns": ["gleam", "photo with a shimmer", "shine"]})
        {'nouns': ['gleam']}
    """
    slots = [f"{{{slot}}}" for slot in _slots(look)]
    kept = [_telling(texts[-1]) for texts in map(look.get, _KIND_KEYS.values()) if texts and len(texts) >= 3]
    found: dict[str, list[str]] = {}
    for key, texts in phrases.items():
        if key not in _KIND_KEYS.values() or not isinstance(texts, list):
            raise InvalidConcepts(f"look '{look['id']}': '{key}' is no list of phrases of a look")
        lacking = [text for text in texts if any(slot not in text for slot in slots)]
        if lacking:
            raise InvalidConcepts(f"look '{look['id']}': '{lacking[0]}' lacks one of {', '.join(slots)}")
        found[key] = [
            text for text in texts
            if text not in look.get(key, ()) and not any(words <= _telling(text) for words in kept)
        ]  # fmt: skip
    return found


def _slots(look: Mapping[str, Any]) -> list[str]:
    return [*look.get("each", ()), *(look["sets"][0] if look.get("sets") else ())]


def _telling(text: str) -> frozenset[str]:
    """The words of a phrase that say something, its slots among them."""
    return frozenset(normalise_words(text).split()) - _SAY_NOTHING or frozenset([text])


def _variants(look: Mapping[str, Any]) -> Iterator[_Variant]:
    """The strengths and sets of colours that a look comes in; those of `new_` keys are held out."""
    for prefix, held in (("", False), ("new_", True)):
        for degree, values in look.get(f"{prefix}levels", {}).items():
            yield _Variant(degree, values, "strength" if held else "")
        for slot, names in look.get(f"{prefix}each", {}).items():
            yield from (_Variant("plain", {slot: colour}, "colour" if held else "") for colour in names)
        for values in look.get(f"{prefix}sets", ()):
            yield _Variant("plain", values, "colour" if held else "")
    if not {"levels", "each", "sets"} & set(look):
        yield _Variant("plain", {}, "")


def _preset(
    name: str,
    look: Mapping[str, Any],
    variant: _Variant,
    vocabulary: Vocabulary,
    further: Mapping[str, Sequence[str]],
) -> Preset:
    words = {slot: value for slot, value in variant.values.items() if isinstance(value, str)}
    suffix = [word.replace(" ", "-") for word in words.values()]
    if variant.degree != "plain":
        suffix.append(variant.degree)
    split = "heldout-new" if variant.novelty else look.get("split", "train")
    degree = _degree(name, variant.degree, vocabulary)
    taught, kept = _phrases(look, degree, words, further)
    new_words = [word for word in words.values() if word in vocabulary.new_colours]
    return Preset(
        id="-".join([name, *suffix]),
        look=name,
        steps=_steps(name, look, variant.values, vocabulary),
        taught=taught,
        kept=kept,
        groups=tuple(look.get("groups", ())) if split == "train" and variant.degree == "plain" else (),
        split=split,
        novelty=variant.novelty or look.get("novelty", ""),
        new_words=(*look.get("new", ()), *new_words, *degree.get("new", ())),
    )


def _degree(name: str, degree: str, vocabulary: Vocabulary) -> Mapping[str, Sequence[str]]:
    if degree == "plain":
        return {}
    if degree not in vocabulary.degrees:
        raise InvalidConcepts(
            f"look '{name}': unknown degree '{degree}'; known are {', '.join(vocabulary.degrees)}"
        )
    return vocabulary.degrees[degree]


def _steps(
    name: str, look: Mapping[str, Any], values: Mapping[str, Any], vocabulary: Vocabulary
) -> tuple[Step, ...]:
    given = look.get("teacher")
    if given is None:
        given = [{"operator": look.get("operator", ""), **look.get("parameters", {}), **values}]
    try:
        return tuple(read_step(table, vocabulary.colours) for table in given)
    except InvalidConcepts as error:
        raise InvalidConcepts(f"look '{name}': {error}") from error


def read_step(table: Mapping[str, Any], colours: Mapping[str, str]) -> Step:
    """Read one step of a teacher; colours may be named if the file names them.

    Raises:
        InvalidConcepts: an operator or parameter is unknown, or a value is out of range.
    """
    operator = table.get("operator")
    if not isinstance(operator, str):
        raise InvalidConcepts(
            "a teacher's step needs 'operator', e.g. {operator = \"sepia\", strength = 0.8}"
        )
    known = OPERATORS[operator].parameters if operator in OPERATORS else {}
    values = []
    for key, value in table.items():
        if key == "operator":
            continue
        if key in known and known[key].is_colour and isinstance(value, str):
            value = colours.get(value, value)
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            value = float(value)
        values.append((key, value))
    step = Step(operator, tuple(values))
    check_step(step, OPERATORS)
    return step


def _phrases(
    look: Mapping[str, Any],
    degree: Mapping[str, Sequence[str]],
    words: Mapping[str, str],
    further: Mapping[str, Sequence[str]],
) -> tuple[Phrases, Phrases]:
    """A preset's phrases: those to teach, and those to keep for tests."""
    taught: dict[str, tuple[str, ...]] = {}
    kept: dict[str, tuple[str, ...]] = {}
    for kind, key in _KIND_KEYS.items():
        phrases = list(look.get(key, ()))
        held = [phrases.pop()] if len(phrases) >= 3 else []
        phrases += further.get(key, ())
        if kind == "noun" and degree and "noun" not in degree:
            adjectives = [*look["adjectives"][:2], *further.get("adjectives", ())]
            taught[kind] = tuple(_graded_nouns(phrases, adjectives, degree, words))
            kept[kind] = tuple(_graded_nouns(held, look["adjectives"][2:], degree, words))
        else:
            taught[kind] = tuple(text for phrase in phrases for text in _said(phrase, kind, degree, words))
            kept[kind] = tuple(text for phrase in held for text in _said(phrase, kind, degree, words))
    if not degree:
        taught["extra"] = tuple(look.get("extras", ()))
    return taught, kept


def _graded_nouns(
    nouns: Sequence[str],
    adjectives: Sequence[str],
    degree: Mapping[str, Sequence[str]],
    words: Mapping[str, str],
) -> Iterator[str]:
    """Nouns for a degree that says how much: "slightly foggy scene", as "slightly scene" says nothing."""
    for noun in nouns:
        if any(noun.startswith(f"{adjective} ") for adjective in adjectives):
            yield from _said(noun, "adjective", degree, words)
    for adjective in adjectives:
        yield from (f"{graded} photo" for graded in _said(adjective, "adjective", degree, words))
    for noun in nouns:
        if "{amount}" in noun:
            yield from _said(noun, "noun", degree, words)


def _said(
    phrase: str, kind: str, degree: Mapping[str, Sequence[str]], words: Mapping[str, str]
) -> Iterator[str]:
    """A phrase with its slots filled and its degree said, in every way the degree knows."""
    for slot, word in words.items():
        phrase = phrase.replace("{" + slot + "}", word)
    if "{amount}" in phrase:
        for amount in degree.get("amount", ("",)):
            yield phrase.replace("{amount}", amount).replace("  ", " ")
    else:
        for pattern in degree.get(kind, ("{}",)):
            yield pattern.replace("{}", phrase)
