"""Reading concepts from TOML: the catalog, which expands, and a user's plain list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts.compositions import catalog_presets, joined_id, joined_presets, wordings_of
from initzoo.pairs.concepts.concept import NOVELTIES, SPLITS, Concept, check_concepts, family_of
from initzoo.pairs.concepts.looks import read_step
from initzoo.pairs.concepts.toml_tables import check_keys, read_colours, read_toml, tables_of

_FILE_KEYS = {
    "licence", "source", "seed", "colours", "new", "degrees", "templates", "drop", "look",
    "composition", "concept",
}  # fmt: skip
_CONCEPT_KEYS = {"id", "prompts", "test_prompts", "teacher", "licence", "source", "split", "novelty"}


def catalog_folder() -> Path:
    """The bundled catalog: beside the package in a source checkout, inside it once installed."""
    package = Path(__file__).resolve().parents[2]
    beside = package.parent / "catalog"
    return beside if (beside / "concepts.toml").is_file() else package / "catalog"


def load_concepts(path: Path | None = None) -> list[Concept]:
    """Read all concepts of a TOML file, or of the bundled catalog.

    A plain file lists `[[concept]]` tables with `id`, `prompts` and `teacher`; `test_prompts`, `split`,
    `licence` and `source` are optional. The catalog also expands looks and compositions.

    Raises:
        InvalidConcepts: the file cannot be read, or says something that is not known or not allowed.

    Example:
        >>> concepts = load_concepts()
        >>> sorted({concept.split for concept in concepts})
        ['heldout-composed', 'heldout-new', 'train']
    """
    path = catalog_folder() / "concepts.toml" if path is None else path
    try:
        return concepts_of(read_toml(path))
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path}: {error}") from error


def concepts_of(tables: Mapping[str, Any]) -> list[Concept]:
    check_keys("the file", tables, _FILE_KEYS)
    licence, source = tables.get("licence", "unknown"), tables.get("source", "a concepts file")
    colours = read_colours(tables)
    concepts = [_plain(table, licence, source, colours) for table in tables_of(tables, "concept")]
    if tables.get("look"):
        try:
            concepts += _expanded(tables, licence, source, colours)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InvalidConcepts(
                f"a [[look]], [[composition]] or [templates] is not as the catalog has them: {error!r}"
            ) from error
    if not concepts:
        raise InvalidConcepts("has no [[concept]]; add one with id, prompts and teacher")
    check_concepts(concepts)
    return concepts


def _plain(table: Mapping[str, Any], licence: str, source: str, colours: Mapping[str, str]) -> Concept:
    """A concept that is written out in full."""
    name = table.get("id")
    if not isinstance(name, str):
        raise InvalidConcepts("a [[concept]] has no id; give it one such as 'my-look'")
    place = f"concept '{name}'"
    check_keys(place, table, _CONCEPT_KEYS)
    split, novelty = table.get("split", "train"), table.get("novelty", "")
    if split not in SPLITS or novelty not in NOVELTIES:
        raise InvalidConcepts(
            f"{place}: split must be one of {', '.join(SPLITS)}, novelty one of {NOVELTIES[1:]}"
        )
    teacher = table.get("teacher")
    if not isinstance(teacher, list) or not teacher or not all(isinstance(step, dict) for step in teacher):
        raise InvalidConcepts(f'{place}: teacher must be a list of steps, e.g. [{{operator = "sepia"}}]')
    try:
        steps = tuple(read_step(step, colours) for step in teacher)
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{place}: {error}") from error
    return Concept(
        id=name,
        family=family_of(steps),
        split=split,
        novelty=novelty,
        teacher=steps,
        prompts=_words(place, table, "prompts"),
        test_prompts=_words(place, table, "test_prompts"),
        licence=str(table.get("licence", licence)),
        source=str(table.get("source", source)),
    )


def _words(place: str, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(wording, str) for wording in found):
        raise InvalidConcepts(f"{place}: {key} must be a list of wordings in quotes")
    return tuple(found)


def _expanded(
    tables: Mapping[str, Any], licence: str, source: str, colours: Mapping[str, str]
) -> list[Concept]:
    """The concepts of all looks, then those of all compositions."""
    presets = catalog_presets(tables, colours)
    wordings = wordings_of(tables)
    concepts = []
    for parts, split, novelty in joined_presets(tables, presets):
        name = joined_id(parts)
        prompts, tests = wordings.choose(
            name, taught=[part.taught for part in parts], kept=[part.kept for part in parts]
        )
        steps = tuple(step for part in parts for step in part.steps)
        concepts.append(
            Concept(name, family_of(steps), split, novelty, steps, prompts, tests, licence, source)
        )
    return concepts
