"""Concepts: image edits with their words, and the catalog that lists them."""

from initzoo.pairs.concepts.cannot import Limit, limits_of, load_limits
from initzoo.pairs.concepts.concept import (
    HELD_OUT,
    NOVELTIES,
    SPLITS,
    Concept,
    alphabets_of,
    check_concepts,
    closest_concepts,
    family_of,
    find_concept,
    normalise_words,
)
from initzoo.pairs.concepts.files import catalog_folder, load_concepts, load_named_looks
from initzoo.pairs.concepts.lexicon import (
    LANGUAGES,
    TestPhrase,
    load_colours,
    load_lexicon,
    load_lexicon_colours,
    load_opposites,
    load_test_phrases,
)
from initzoo.pairs.concepts.parts import Part, parts_of
from initzoo.pairs.concepts.practice import load_new_words, load_practice, load_practice_colours

__all__ = [
    "HELD_OUT",
    "LANGUAGES",
    "NOVELTIES",
    "SPLITS",
    "Concept",
    "Limit",
    "Part",
    "TestPhrase",
    "alphabets_of",
    "catalog_folder",
    "check_concepts",
    "closest_concepts",
    "family_of",
    "find_concept",
    "limits_of",
    "load_colours",
    "load_concepts",
    "load_lexicon",
    "load_lexicon_colours",
    "load_limits",
    "load_named_looks",
    "load_new_words",
    "load_opposites",
    "load_practice",
    "load_practice_colours",
    "load_test_phrases",
    "normalise_words",
    "parts_of",
]
