"""What networks of the zoo's kind cannot do, and the line that says so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts.folder import catalog_folder
from initzoo.pairs.concepts.toml_tables import check_keys, read_toml, tables_of
from initzoo.pairs.concepts.words import normalise_words

__all__ = ["Limit", "limits_of", "load_limits"]

_SIGNS = {"~": r"(?:\S+ ){0,3}", "^": r"\A", "$": r"\Z"}
_LIST = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Limit:
    """Something that words may ask for and that no checkpoint of the zoo does.

    `line` says why, as the rest of a sentence that begins with the zoo; `pattern` finds it in normalised
    words.
    """

    topic: str
    line: str
    pattern: re.Pattern[str]


def limits_of(words: str, limits: Sequence[Limit] | None = None) -> tuple[Limit, ...]:
    """Find what words ask for that networks of the zoo's kind cannot do.

    Only whole words count; case, hyphens and other signs do not.

    Args:
        words: for an edit.
        limits: to look for; by default those of the bundled catalog.

    Returns:
        One limit for each topic that the words touch, in the order of the catalog; none for a look.

    Example:
        >>> [limit.topic for limit in limits_of("Add a hat, please")]
        ['objects']
        >>> limits_of("pencil sketch")
        ()
    """
    text = f"{normalise_words(words)} "  # so that every word ends with a space, as patterns expect
    return tuple(limit for limit in (_bundled() if limits is None else limits) if limit.pattern.search(text))


def load_limits(path: Path) -> tuple[Limit, ...]:
    """Read the limits of a TOML file, which says in its head how patterns are written.

    Raises:
        InvalidConcepts: the file cannot be read, has an unknown key, or a pattern names an unknown list.
    """
    try:
        tables = read_toml(path)
        check_keys("the file", tables, {"lists", "topic"})
        return tuple(_limit(topic, tables.get("lists", {})) for topic in tables_of(tables, "topic"))
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path}: {error}") from error


@lru_cache(maxsize=1)
def _bundled() -> tuple[Limit, ...]:
    return load_limits(catalog_folder() / "cannot.toml")


def _limit(topic: Mapping[str, object], lists: Mapping[str, Sequence[str]]) -> Limit:
    check_keys("a [[topic]]", topic, {"id", "line", "patterns"})
    name, line, patterns = topic.get("id"), topic.get("line"), topic.get("patterns")
    if (
        not isinstance(name, str)
        or not isinstance(line, str)
        or not isinstance(patterns, list)
        or not patterns
    ):
        raise InvalidConcepts("a [[topic]] needs an id, a line and a list of patterns")
    choices = "|".join(_expression(str(pattern), lists) for pattern in patterns)
    return Limit(name, line, re.compile(rf"(?<!\S)(?:{choices})"))


def _expression(pattern: str, lists: Mapping[str, Sequence[str]]) -> str:
    """A pattern as a regular expression over normalised words.

    Raises:
        InvalidConcepts: it names an unknown list.
    """
    parts = []
    for slot in pattern.split():
        if slot in _SIGNS:
            parts.append(_SIGNS[slot])
            continue
        texts = {normalise_words(text) for choice in slot.split("|") for text in _texts(choice, lists)}
        parts.append(f"(?:{'|'.join(map(re.escape, sorted(texts)))}) ")
    return "".join(parts)


def _texts(choice: str, lists: Mapping[str, Sequence[str]]) -> Sequence[str]:
    named = _LIST.fullmatch(choice)
    if named is None:
        return [choice.replace("_", " ")]
    if named[1] not in lists:
        raise InvalidConcepts(
            f"pattern: no list is called '{named[1]}'; known are {', '.join(sorted(lists))}"
        )
    return lists[named[1]]
