"""The lexicon: many phrases for each look, by several writers, and phrases kept for a test of words."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from initzoo.errors import InvalidConcepts
from initzoo.files import DamagedFile, read_file, read_settings, reported_as
from initzoo.pairs.concepts.folder import catalog_folder
from initzoo.pairs.concepts.toml_tables import read_colours, read_toml

__all__ = [
    "LANGUAGES",
    "TestPhrase",
    "load_colours",
    "load_lexicon",
    "load_lexicon_colours",
    "load_opposites",
    "load_test_phrases",
]

LANGUAGES = ("de", "es", "fr", "ja", "zh")
"""Files of wordings in other languages; all other files of the lexicon are in English."""

_MAX_BYTES = 2**24
_ADVICE = "Get initzoo again"


@dataclass(frozen=True)
class TestPhrase:
    """A phrase of the test of words, which nothing may be trained on.

    Args:
        words: the phrase.
        concept: id of the concept that it means.
        kind: `single` for a look, `combination` for several.
        also: ids of concepts that are equally right.
    """

    __test__ = False  # not a class of tests for pytest

    words: str
    concept: str
    kind: str
    also: tuple[str, ...] = ()


def load_lexicon(folder: Path | None = None) -> dict[str, dict[str, tuple[str, ...]]]:
    """Load the phrases of all writers.

    A file has one line per look: its id, a colon, and phrases with `|` between them. Phrases of looks that
    take colours hold their placeholders, e.g. `{colour}`.

    Args:
        folder: the folder of the files; by default that of the catalog.

    Returns:
        Phrases by name of the file, then by id of the look. The same phrase may come from several writers,
        always for the same look.

    Raises:
        InvalidConcepts: a file cannot be read.

    Example:
        >>> load_lexicon()["de"]["pencil-sketch"][0]
        'Bleistiftskizze'
    """
    folder = catalog_folder() / "lexicon" if folder is None else folder
    if not folder.is_dir():
        raise InvalidConcepts(
            f"no lexicon at {folder}. It comes with a checkout of initzoo, not with its wheel"
        )
    lexicon: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in sorted(folder.glob("*.txt")):
        looks: dict[str, tuple[str, ...]] = {}
        with reported_as(InvalidConcepts, f"'{path}'", _ADVICE):
            for number, line in enumerate(_text_of(path).splitlines(), 1):
                look, colon, phrases = line.partition(":")
                if not colon or look in looks or not phrases.strip():
                    raise DamagedFile(f"line {number}: expected one line per look, 'id: phrase | phrase'")
                looks[look] = tuple(phrase.strip() for phrase in phrases.split("|"))
        lexicon[path.stem] = looks
    return lexicon


def load_lexicon_colours(folder: Path | None = None) -> dict[str, dict[str, str]]:
    """Load the names of the catalog's colours in every language of the lexicon.

    Args:
        folder: the folder of the lexicon; by default that of the catalog.

    Returns:
        Names by language, then by English name; `en` has the English names.

    Raises:
        InvalidConcepts: the file cannot be read.

    Example:
        >>> load_lexicon_colours()["de"]["green"]
        'gr\u00fcn'
    """
    path = (catalog_folder() / "lexicon" if folder is None else folder) / "colours.toml"
    with reported_as(InvalidConcepts, f"'{path}'", _ADVICE):
        try:
            names = tomllib.loads(_text_of(path))
        except tomllib.TOMLDecodeError as error:
            raise DamagedFile(f"is not TOML ({error})") from error
        try:
            further = {language: {name: names[name][language] for name in names} for language in LANGUAGES}
        except (KeyError, TypeError) as error:
            raise DamagedFile(
                f"expected a name in each of {', '.join(LANGUAGES)} for every colour"
            ) from error
    return {"en": {name: name for name in names}, **further}


def load_colours() -> dict[str, str]:
    """Load the colours of the catalog: values such as `#118a8a` by English name.

    Raises:
        InvalidConcepts: the catalog cannot be read.

    Example:
        >>> load_colours()["teal"]
        '#118a8a'
    """
    return read_colours(read_toml(catalog_folder() / "concepts.toml"))


def load_opposites(folder: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Load for each restoration the looks that it undoes.

    Args:
        folder: the folder of the lexicon; by default that of the catalog.

    Raises:
        InvalidConcepts: the file cannot be read.

    Example:
        >>> load_opposites()["demosaic"]
        ('mosaic',)
    """
    path = (catalog_folder() / "lexicon" if folder is None else folder) / "opposites.toml"
    tables = read_toml(path)
    for look, others in tables.items():
        if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise InvalidConcepts(f"'{path}': expected a list of looks for '{look}'. {_ADVICE}")
    return {look: tuple(others) for look, others in tables.items()}


def load_test_phrases(path: Path | None = None) -> list[TestPhrase]:
    """Load the phrases of the test of words.

    Args:
        path: the file; by default `test_phrases.toml` of the catalog.

    Raises:
        InvalidConcepts: the file cannot be read.

    Example:
        >>> sorted({phrase.kind for phrase in load_test_phrases()})
        ['combination', 'single']
    """
    path = catalog_folder() / "test_phrases.toml" if path is None else path
    with reported_as(InvalidConcepts, f"'{path}'", _ADVICE):
        try:
            tables = tomllib.loads(_text_of(path)).get("phrase", [])
        except tomllib.TOMLDecodeError as error:
            raise DamagedFile(f"is not TOML ({error})") from error
        return [read_settings(table, TestPhrase) for table in tables]


def _text_of(path: Path) -> str:
    try:
        return read_file(path, max_bytes=_MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFile("is not UTF-8") from error
