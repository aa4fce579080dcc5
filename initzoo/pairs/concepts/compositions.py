"""How a catalog's looks are composed: each alone, and what its rules join."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import product
from typing import Any

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts.looks import Preset, Vocabulary, presets_of
from initzoo.pairs.concepts.toml_tables import check_keys, seed_of, tables_of
from initzoo.pairs.concepts.wordings import Templates, Wordings

_COMPOSITION_KEYS = {"join", "train", "heldout"}
_N_PARTS = {"one": 1, "two": 2, "three": 3}
_MAX_ID = 64
_MAX_JOINED = 8
_MAX_CANDIDATES = 2_000_000


def catalog_presets(
    tables: Mapping[str, Any],
    colours: Mapping[str, str],
    further: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> list[Preset]:
    """All presets of a catalog's looks, those of `drop` left out; `further` adds phrases by look."""
    vocabulary = Vocabulary(
        colours, tuple(tables.get("new", {}).get("colours", ())), tables.get("degrees", {})
    )
    dropped = set(tables.get("drop", ()))
    more = further or {}
    found = [
        preset
        for look in tables_of(tables, "look")
        for preset in presets_of(look, vocabulary, more.get(look.get("id", "")))
    ]
    return [preset for preset in found if preset.id not in dropped]


def wordings_of(tables: Mapping[str, Any]) -> Wordings:
    templates = {
        _N_PARTS[name]: Templates(tuple(lists["train"]), tuple(lists["test"]))
        for name, lists in tables.get("templates", {}).items()
    }
    return Wordings(seed_of(tables), templates)


def joined_presets(
    tables: Mapping[str, Any], presets: Sequence[Preset]
) -> list[tuple[tuple[Preset, ...], str, str]]:
    """The parts, split and novelty of every concept: each preset alone, then what the rules compose."""
    joined: list[tuple[tuple[Preset, ...], str, str]] = [
        ((preset,), preset.split, preset.novelty) for preset in presets
    ]
    seen: set[str] = set(tables.get("drop", ()))
    for rule in tables_of(tables, "composition"):
        composed = _compose(rule, presets, seed_of(tables), seen)
        joined += [(parts, split, "") for parts, split in composed]
    return joined


def joined_id(parts: Sequence[Preset]) -> str:
    return "--".join(part.id for part in parts)


def _compose(
    rule: Mapping[str, Any], presets: Sequence[Preset], seed: int, seen: set[str]
) -> Iterator[tuple[tuple[Preset, ...], str]]:
    """A rule's combinations: as many as it asks for, chosen by hash, the last of them held out."""
    check_keys("a [[composition]]", rule, _COMPOSITION_KEYS)
    candidates = candidates_of(rule, presets, seed, seen)
    wanted = rule["train"] + rule["heldout"]
    if len(candidates) < wanted:
        raise InvalidConcepts(f"the composition {rule['join']} has {len(candidates)} members, not {wanted}")
    for place, (name, parts) in enumerate(candidates[:wanted]):
        seen.add(name)
        yield parts, "train" if place < rule["train"] else "heldout-composed"


def candidates_of(
    rule: Mapping[str, Any], presets: Sequence[Preset], seed: int, seen: set[str]
) -> list[tuple[str, tuple[Preset, ...]]]:
    """All combinations of a rule that were not seen yet, with their ids, in the order of a hash."""
    if not isinstance(rule["join"], list) or not 1 <= len(rule["join"]) <= _MAX_JOINED:
        raise InvalidConcepts(f"a composition joins 1 to {_MAX_JOINED} groups")
    members = [[preset for preset in presets if group in preset.groups] for group in rule["join"]]
    for group, found in zip(rule["join"], members, strict=True):
        if not found:
            raise InvalidConcepts(f"a composition joins group '{group}', which no look is in")
    n_all = math.prod(map(len, members))
    if n_all > _MAX_CANDIDATES:
        raise InvalidConcepts(
            f"the composition {rule['join']} has {n_all} members, at most {_MAX_CANDIDATES} are composed"
        )
    named = ((joined_id(parts), parts) for parts in product(*members) if _fit(parts))
    ordered = sorted(
        (blake2b(f"{seed}|{name}".encode()).digest(), name, parts)
        for name, parts in named
        if name not in seen and len(name) <= _MAX_ID
    )
    return [(name, parts) for _, name, parts in ordered]


def _fit(parts: Sequence[Preset]) -> bool:
    """Whether no operator is in two of the parts."""
    operators = [step.operator for part in parts for step in part.steps]
    return len(set(operators)) == len(operators)
