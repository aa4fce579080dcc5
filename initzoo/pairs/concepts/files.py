"""Reading concepts from TOML: the catalog, which expands, and a user's plain list."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts.compositions import catalog_presets, joined_id, joined_presets, wordings_of
from initzoo.pairs.concepts.concept import Concept, check_concepts, family_of
from initzoo.pairs.concepts.folder import catalog_folder
from initzoo.pairs.concepts.released import released_concepts
from initzoo.pairs.concepts.teachers import read_teacher
from initzoo.pairs.concepts.toml_tables import (
    check_keys,
    read_colours,
    read_data,
    read_toml,
    tables_in,
    tables_of,
)
from initzoo.pairs.concepts.words import NOVELTIES, SPLITS
from initzoo.pairs.teachers import FAMILIES, FilterTeacher

_FILE_KEYS = {
    "licence", "source", "seed", "colours", "new", "degrees", "templates", "drop", "look",
    "composition", "concept", "diffusion", "released",
}  # fmt: skip
_CONCEPT_KEYS = {
    "id", "prompts", "test_prompts", "teacher", "family", "licence", "source", "split", "novelty",
}  # fmt: skip

_LICENCE, _SOURCE = "unknown", "a concepts file"
"""Of a concept that filters teach, in a file that does not say them."""

_FAMILY = "style"
"""Of a concept that another teacher teaches, if it does not say one."""


def load_concepts(path: Path | None = None) -> list[Concept]:
    """Read all concepts of a TOML file, or of the bundled catalog.

    A plain file lists `[[concept]]` tables with `id`, `prompts` and `teacher`; `test_prompts`, `family`,
    `split`, `licence` and `source` are optional. The catalog also expands looks and compositions.

    A teacher is a list of filters, a folder of pairs (`"my-pairs/"`), a Python function
    (`"module:function"`) or a diffusion model (`{model = "timbrooks/instruct-pix2pix", prompt = "..."}`).
    Folders and modules are looked for beside the file. Reading a file that names a function runs its module.
    A table `[diffusion]` has what the models of all concepts share; then a concept without a teacher has its
    first prompt edited in. `released` names a download of the authors' prompts and pairs.

    Raises:
        InvalidConcepts: the file cannot be read, or says something that is not known or not allowed.

    Example:
        >>> concepts = load_concepts()
        >>> sorted({concept.split for concept in concepts})
        ['heldout-composed', 'heldout-new', 'train']
    """
    path = catalog_folder() / "concepts.toml" if path is None else path
    try:
        return concepts_in(read_data(path), path.parent)
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path}: {error}") from error


def load_named_looks() -> tuple[str, ...]:
    """Ids of the bundled concepts that people name, the most named first.

    Example:
        >>> load_named_looks()[:2]
        ('cartoon', 'comic')
    """
    return tuple(read_toml(catalog_folder() / "named_looks.toml")["looks"])


def concepts_in(data: bytes, folder: Path) -> list[Concept]:
    """The concepts of a file's content; `folder` is the file's. A catalog is expanded once per process."""
    expanded = _catalog_in(data)
    return concepts_of(tables_in(data), folder) if expanded is None else list(expanded)


@lru_cache(maxsize=4)
def _catalog_in(data: bytes) -> tuple[Concept, ...] | None:
    """The concepts of a catalog, which takes a second; None for a file with concepts that are written out.

    Those may name folders and functions beside the file, whose content is not in `data`.
    """
    tables = tables_in(data)
    if not tables.get("look") or "concept" in tables:
        return None
    return tuple(concepts_of(tables, Path()))


def concepts_of(tables: Mapping[str, Any], folder: Path) -> list[Concept]:
    """The concepts of a file's tables; `folder` is the file's."""
    check_keys("the file", tables, _FILE_KEYS)
    colours = read_colours(tables)
    if not isinstance(tables.get("diffusion", {}), dict):
        raise InvalidConcepts("'diffusion' must be a table with model and settings; write [diffusion]")
    concepts = [_plain(table, tables, colours, folder) for table in tables_of(tables, "concept")]
    if "released" in tables:
        concepts += _released(tables, folder)
    if tables.get("look"):
        try:
            concepts += _expanded(tables, colours)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InvalidConcepts(
                f"a [[look]], [[composition]] or [templates] is not as the catalog has them: {error!r}"
            ) from error
    if not concepts:
        raise InvalidConcepts("has no [[concept]]; add one with id, prompts and teacher")
    check_concepts(concepts)
    return concepts


def _plain(
    table: Mapping[str, Any], tables: Mapping[str, Any], colours: Mapping[str, str], folder: Path
) -> Concept:
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
    family = table.get("family")
    if family is not None and family not in FAMILIES:
        raise InvalidConcepts(
            f"{place}: family must be one of {', '.join(FAMILIES)}, found {repr(family)[:80]}"
        )
    named = {key: table.get(key, tables.get(key)) for key in ("licence", "source")}
    prompts = _words(place, table, "prompts")
    try:
        teacher = read_teacher(
            table.get("teacher"),
            folder=folder,
            colours=colours,
            licence=named["licence"],
            diffusion=tables.get("diffusion"),
            prompt=prompts[0] if prompts else "",
        )
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{place}: {error}") from error
    default = (_FAMILY, teacher.licence, teacher.name)
    if isinstance(teacher, FilterTeacher):
        default = (family_of(teacher.steps), _LICENCE, _SOURCE)
    return Concept(
        id=name,
        family=family or default[0],
        split=split,
        novelty=novelty,
        teacher=teacher,
        prompts=prompts,
        test_prompts=_words(place, table, "test_prompts"),
        licence=str(default[1] if named["licence"] is None else named["licence"]),
        source=str(default[2] if named["source"] is None else named["source"]),
    )


def _released(tables: Mapping[str, Any], folder: Path) -> list[Concept]:
    """The concepts of the prompts and pairs that the authors released."""
    named = tables["released"]
    if not isinstance(named, str) or not named:
        raise InvalidConcepts(
            "'released' must be the path of a folder in quotes; write \"denoised-weights/\""
        )
    licence, source = (str(tables[key]) if key in tables else None for key in ("licence", "source"))
    return released_concepts(
        folder / Path(named).expanduser(),
        diffusion=tables.get("diffusion"),
        licence=licence,
        source=source,
    )


def _words(place: str, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(wording, str) for wording in found):
        raise InvalidConcepts(f"{place}: {key} must be a list of wordings in quotes")
    return tuple(found)


def _expanded(tables: Mapping[str, Any], colours: Mapping[str, str]) -> list[Concept]:
    """The concepts of all looks, then those of all compositions."""
    licence, source = tables.get("licence", _LICENCE), tables.get("source", _SOURCE)
    presets = catalog_presets(tables, colours)
    wordings = wordings_of(tables)
    concepts = []
    for parts, split, novelty in joined_presets(tables, presets):
        name = joined_id(parts)
        prompts, tests = wordings.choose(
            name, taught=[part.taught for part in parts], kept=[part.kept for part in parts]
        )
        steps = tuple(step for part in parts for step in part.steps)
        teacher = FilterTeacher(steps)
        concepts.append(
            Concept(name, family_of(steps), split, novelty, teacher, prompts, tests, licence, source)
        )
    return concepts
