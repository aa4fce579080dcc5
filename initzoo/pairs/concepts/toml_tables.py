"""TOML files as tables: reading them, and saying what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidConcepts
from initzoo.files import MAX_TOML_BYTES, DamagedFile, parse_toml, read_file

_COLOUR = re.compile(r"#[0-9a-f]{6}")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file, or `InvalidConcepts` with the reason why it cannot be read."""
    return tables_in(read_data(path))


def read_data(path: Path) -> bytes:
    """The content of a file, or `InvalidConcepts` with the reason why it cannot be read."""
    try:
        return read_file(path, max_bytes=MAX_TOML_BYTES)
    except DamagedFile as error:
        raise InvalidConcepts(str(error)) from error


def tables_in(data: bytes) -> dict[str, Any]:
    """The tables of a file's content, or `InvalidConcepts` with the reason why it is no TOML."""
    try:
        return parse_toml(data)
    except DamagedFile as error:
        raise InvalidConcepts(str(error)) from error


def tables_of(tables: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    """The tables of a list such as `[[look]]`; none if it is not there."""
    found = tables.get(key, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise InvalidConcepts(f"'{key}' must be a list of tables; write [[{key}]]")
    return found


def read_colours(tables: Mapping[str, Any]) -> dict[str, str]:
    """The table `[colours]`, checked: names and values such as `#1b2a49`."""
    colours = tables.get("colours", {})
    if not isinstance(colours, dict):
        raise InvalidConcepts("'colours' must be a table of names and colours; write [colours]")
    for name, value in colours.items():
        if not isinstance(value, str) or not _COLOUR.fullmatch(value):
            raise InvalidConcepts(
                f"colour '{name[:80]}': expected a colour such as '#1b2a49', found {repr(value)[:80]}"
            )
    return colours


def seed_of(tables: Mapping[str, Any]) -> int:
    """The key `seed`, checked; 0 if it is not there."""
    seed = tables.get("seed", 0)
    if type(seed) is not int:
        raise InvalidConcepts(f"'seed' must be a whole number, found {repr(seed)[:80]}")
    return seed


def check_keys(place: str, table: Mapping[str, Any], known: set[str]) -> None:
    """Refuse a table with a key that is not known: it may be a slip of one that is."""
    unknown = sorted(set(table) - known)
    if unknown:
        raise InvalidConcepts(
            f"{place} has an unknown key '{unknown[0]}'; known are {', '.join(sorted(known))}"
        )
