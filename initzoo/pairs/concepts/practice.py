"""Practice: what else than its concepts can be learnt from the looks of a catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts.compositions import (
    candidates_of,
    catalog_presets,
    joined_id,
    joined_presets,
    wordings_of,
)
from initzoo.pairs.concepts.concept import Concept, family_of
from initzoo.pairs.concepts.files import concepts_in
from initzoo.pairs.concepts.folder import catalog_folder
from initzoo.pairs.concepts.looks import Preset, further_phrases
from initzoo.pairs.concepts.toml_tables import (
    check_keys,
    read_colours,
    read_data,
    read_toml,
    seed_of,
    tables_in,
    tables_of,
)
from initzoo.pairs.concepts.wordings import Draw, draws
from initzoo.pairs.teachers import FilterTeacher

_N_ALIKE = 9
"""Colours about as light as another that one is drawn from."""


def load_practice(
    path: Path | None = None, *, n_compositions: int = 6000, n_wordings: int = 64
) -> list[Concept]:
    """What else can be learnt from the looks of a catalog that expands, without any checkpoint.

    These are its train concepts with more wordings, and further compositions of the same train looks:
    none that the catalog lists, in whatever split, none that it drops, and no wording that is kept for tests.
    A file `practice.toml` beside the catalog may add phrases to its train looks, as `[look.ID]` with the keys
    of a look: what people may call it besides. Its `[colours]` are further ones: a look of one colour comes
    in all of them, and each set of colours once more with one of them in the place of one about as light.

    Args:
        path: of the catalog; None for the bundled one.
        n_compositions: further compositions, about; spread over the rules as the train concepts are.
        n_wordings: of each, at most.

    Returns:
        Concepts of split `train` without test wordings; none for a plain list of concepts.

    Raises:
        InvalidConcepts: as for `load_concepts`, of either file.

    Example:
        >>> more = load_practice(n_compositions=20, n_wordings=5)
        >>> {concept.split for concept in more}
        {'train'}
    """
    path = catalog_folder() / "concepts.toml" if path is None else path
    try:
        data = read_data(path)
        tables, concepts = tables_in(data), concepts_in(data, path.parent)
        if not tables.get("look"):
            return []
        further = _read_further(path.with_name("practice.toml"), tables)
        return _practice(tables, concepts, further, n_compositions, n_wordings)
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path}: {error}") from error


def load_practice_colours(path: Path | None = None) -> dict[str, str]:
    """Load the colours that practice has besides those of the catalog: values by name.

    Args:
        path: of the catalog; None for the bundled one.

    Raises:
        InvalidConcepts: as for `load_practice`.

    Example:
        >>> load_practice_colours()["scarlet"]
        '#d9221c'
    """
    path = catalog_folder() / "concepts.toml" if path is None else path
    return dict(_read_further(path.with_name("practice.toml"), read_toml(path)).colours)


def load_new_words(path: Path | None = None) -> frozenset[str]:
    """Load the words that no training may see, since tests ask for them as new ones.

    Args:
        path: of the catalog; None for the bundled one.

    Raises:
        InvalidConcepts: the catalog cannot be read.

    Example:
        >>> {"crimson", "barely", "northern lights"} <= load_new_words()
        True
    """
    tables = read_toml(catalog_folder() / "concepts.toml" if path is None else path)
    degrees = tables.get("degrees", {}).values()
    named = (word for table in (*tables_of(tables, "look"), *degrees) for word in table.get("new", ()))
    return frozenset((*tables.get("new", {}).get("colours", ()), *named))


@dataclass(frozen=True)
class _Further:
    """What a file adds for practice: phrases by look, and colours by name."""

    phrases: Mapping[str, Mapping[str, Sequence[str]]]
    colours: Mapping[str, str]


def _read_further(path: Path, tables: Mapping[str, Any]) -> _Further:
    """What a file adds for practice; nothing if there is no such file."""
    if not path.is_file():
        return _Further({}, {})
    looks = {look["id"]: look for look in tables_of(tables, "look") if look.get("split", "train") == "train"}
    try:
        found = read_toml(path)
        check_keys("the file", found, {"look", "colours"})
        added = found.get("look", {})
        if not isinstance(added, dict):
            raise InvalidConcepts("write [look.ID] and phrases under it")
        unknown = [name for name in added if name not in looks]
        if unknown:
            raise InvalidConcepts(f"'{unknown[0]}' is no look of split train of the catalog")
        colours = read_colours(found)
        known = [name for name in colours if name in tables.get("colours", {})]
        if known:
            raise InvalidConcepts(f"colour '{known[0]}' is one of the catalog's already")
        phrases = {name: further_phrases(looks[name], own) for name, own in added.items()}
        return _Further(phrases, colours)
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path.name}: {error}") from error


def _practice(
    tables: Mapping[str, Any],
    concepts: Sequence[Concept],
    further: _Further,
    n_compositions: int,
    n_wordings: int,
) -> list[Concept]:
    """Train concepts with more wordings, looks in further colours, then further compositions."""
    presets = catalog_presets(tables, tables.get("colours", {}), further.phrases)
    presets += _in_further_colours(tables, presets, further)
    seed, rules = seed_of(tables), tables_of(tables, "composition")
    listed = {concept.id: concept for concept in concepts}
    joined = [parts for parts, split, _ in joined_presets(tables, presets) if split == "train"]
    n_listed = sum(rule["train"] for rule in rules)
    seen = {*listed, *tables.get("drop", ())}
    for rule in rules:
        count = round(n_compositions * rule["train"] / n_listed)
        for name, parts in candidates_of(rule, presets, seed, seen)[:count]:
            seen.add(name)
            joined.append(parts)
    wordings = wordings_of(tables)
    wordings.take(wording for concept in concepts for wording in (*concept.prompts, *concept.test_prompts))
    found = []
    for parts in joined:
        name = joined_id(parts)
        known = listed[name].prompts if name in listed else ()
        more = wordings.more(name, [part.taught for part in parts], n_wordings - len(known))
        steps = tuple(step for part in parts for step in part.steps)
        if known or more:
            family = family_of(steps)
            found.append(
                Concept(name, family, "train", "", FilterTeacher(steps), (*known, *more), (), "", "")
            )
    return found


def _in_further_colours(
    tables: Mapping[str, Any], presets: Sequence[Preset], further: _Further
) -> Iterator[Preset]:
    """The train looks in colours that no concept has; they are in no group, so rules compose as before."""
    if not further.colours:
        return
    every = {**tables.get("colours", {}), **further.colours}
    known = {preset.id for preset in presets}
    for look in tables_of(tables, "look"):
        if look.get("split", "train") != "train" or not {"each", "sets"} & set(look):
            continue
        plain = {key: value for key, value in look.items() if not key.startswith("new_")}
        draw = draws(tables.get("seed", 0), look["id"], "colours")
        plain["each"] = {slot: list(further.colours) for slot in look.get("each", {})}
        plain["sets"] = [
            _with_other_colour(own, every, further.colours, draw) for own in look.get("sets", ())
        ]
        for preset in catalog_presets({**tables, "look": [plain]}, every, further.phrases):
            if preset.id not in known:
                known.add(preset.id)
                yield replace(preset, groups=())


def _with_other_colour(
    colours: Mapping[str, str], values: Mapping[str, str], further: Mapping[str, str], draw: Draw
) -> dict[str, str]:
    """A set with one colour exchanged for a further one of about the same lightness: its contrast stays."""
    slot = list(colours)[int(draw() * len(colours))]
    here = _lightness(values[colours[slot]])
    alike = sorted(further, key=lambda name: (abs(_lightness(further[name]) - here), name))[:_N_ALIKE]
    return {**colours, slot: alike[int(draw() * len(alike))]}


def _lightness(colour: str) -> float:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue
