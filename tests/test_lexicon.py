"""The lexicon of phrases and the phrases kept for a test: whole, and apart from each other."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts import catalog_folder, load_concepts, normalise_words
from initzoo.pairs.concepts.lexicon import LANGUAGES, load_lexicon, load_test_phrases


@pytest.fixture(scope="module")
def lexicon() -> dict[str, dict[str, tuple[str, ...]]]:
    return load_lexicon()


@pytest.fixture(scope="module")
def looks() -> set[str]:
    tables = tomllib.loads((catalog_folder() / "concepts.toml").read_text("utf-8"))["look"]
    return {table["id"] for table in tables}


def english(lexicon: dict[str, dict[str, tuple[str, ...]]]) -> list[dict[str, tuple[str, ...]]]:
    return [phrases for name, phrases in lexicon.items() if name not in LANGUAGES]


def test_every_writer_has_phrases_for_every_look(lexicon, looks):
    # Two restorations, at two strengths each, came after the writers.
    missing = {name: looks - set(phrases) for name, phrases in lexicon.items()}
    assert all(len(names) <= 2 for names in missing.values()), missing
    assert all(set(phrases) <= looks for phrases in lexicon.values())
    assert set(LANGUAGES) < set(lexicon)


def test_a_look_has_at_least_a_hundred_english_phrases(lexicon):
    distinct = defaultdict(set)
    for phrases in english(lexicon):
        for look, listed in phrases.items():
            distinct[look] |= {normalise_words(phrase) for phrase in listed}
    assert min(map(len, distinct.values())) >= 100
    assert sum(map(len, distinct.values())) > 90_000


def test_every_look_has_five_wordings_in_each_other_language(lexicon):
    for language in LANGUAGES:
        assert min(map(len, lexicon[language].values())) >= 5, language


def test_a_phrase_means_one_look(lexicon):
    meanings = defaultdict(set)
    for phrases in english(lexicon):
        for look, listed in phrases.items():
            for phrase in listed:
                meanings[normalise_words(phrase)].add(look)
    assert [phrase for phrase, named in meanings.items() if len(named) > 1] == []


def test_neither_kept_wordings_nor_test_phrases_are_in_the_lexicon(lexicon):
    phrases = {
        normalise_words(one) for part in english(lexicon) for listed in part.values() for one in listed
    }
    kept = {normalise_words(wording) for concept in load_concepts() for wording in concept.test_prompts}
    assert not phrases & kept
    assert not phrases & {normalise_words(phrase.words) for phrase in load_test_phrases()}


def test_test_phrases_name_concepts_of_the_catalog():
    ids, phrases = {concept.id for concept in load_concepts()}, load_test_phrases()
    assert {one for phrase in phrases for one in (phrase.concept, *phrase.also)} <= ids
    assert len({normalise_words(phrase.words) for phrase in phrases}) == len(phrases)
    assert all(("--" in phrase.concept) == (phrase.kind == "combination") for phrase in phrases)


def test_colour_words_are_there_in_every_language(lexicon):
    colours = tomllib.loads((catalog_folder() / "lexicon" / "colours.toml").read_text("utf-8"))
    assert all(set(words) == set(LANGUAGES) for words in colours.values())
    placeholders = {
        name
        for part in lexicon.values()
        for listed in part.values()
        for one in listed
        for name in re.findall(r"{(\w+)}", one)
    }
    assert "colour" in placeholders


@pytest.mark.parametrize("text", ["no colon", "a: b\na: c", "a:", "a: \xff"])
def test_a_wrong_file_is_one_line(text: str, tmp_path: Path):
    (tmp_path / "names.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidConcepts, match=r"names\.txt"):
        load_lexicon(tmp_path)


def test_a_wheel_has_no_lexicon(tmp_path: Path):
    with pytest.raises(InvalidConcepts, match="comes with a checkout of initzoo"):
        load_lexicon(tmp_path / "lexicon")
