"""Reading concepts from TOML: the catalog, which expands, and a user's plain list."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

from initzoo.concepts.concept import NOVELTIES, SPLITS, Concept, check_concepts, family_of
from initzoo.concepts.looks import Preset, Vocabulary, further_phrases, presets_of, read_step
from initzoo.concepts.wordings import Draw, Templates, Wordings, draws
from initzoo.errors import InvalidConcepts

_FILE_KEYS = {
    "licence", "source", "seed", "colours", "new", "degrees", "templates", "drop", "look",
    "composition", "concept",
}  # fmt: skip
_CONCEPT_KEYS = {"id", "prompts", "test_prompts", "teacher", "licence", "source", "split", "novelty"}
_COMPOSITION_KEYS = {"join", "train", "heldout"}
_N_PARTS = {"one": 1, "two": 2, "three": 3}
_MAX_ID = 64
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def catalog_folder() -> Path:
    """The bundled catalog: beside the package in a source checkout, inside it once installed."""
    package = Path(__file__).resolve().parents[1]
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
        return _concepts(_read_toml(path))
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path}: {error}") from error


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
        tables = _read_toml(path)
        concepts = _concepts(tables)
        if not tables.get("look"):
            return []
        further = _read_further(path.with_name("practice.toml"), tables)
        return _practice(tables, concepts, further, n_compositions, n_wordings)
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path}: {error}") from error


@dataclass(frozen=True)
class _Further:
    """What a file adds for practice: phrases by look, and colours by name."""

    phrases: Mapping[str, Mapping[str, Sequence[str]]]
    colours: Mapping[str, str]


def _read_further(path: Path, tables: Mapping[str, Any]) -> _Further:
    """What a file adds for practice; nothing if there is no such file."""
    if not path.is_file():
        return _Further({}, {})
    looks = {look["id"]: look for look in _tables(tables, "look") if look.get("split", "train") == "train"}
    try:
        found = _read_toml(path)
        _check_keys("the file", found, {"look", "colours"})
        added = found.get("look", {})
        if not isinstance(added, dict):
            raise InvalidConcepts("write [look.ID] and phrases under it")
        unknown = [name for name in added if name not in looks]
        if unknown:
            raise InvalidConcepts(f"'{unknown[0]}' is no look of split train of the catalog")
        colours = _colours(found)
        known = [name for name in colours if name in tables.get("colours", {})]
        if known:
            raise InvalidConcepts(f"colour '{known[0]}' is one of the catalog's already")
        phrases = {name: further_phrases(looks[name], own) for name, own in added.items()}
        return _Further(phrases, colours)
    except InvalidConcepts as error:
        raise InvalidConcepts(f"{path.name}: {error}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConcepts(f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConcepts(f"is not TOML: {' '.join(str(error).split())}") from error


def _concepts(tables: Mapping[str, Any]) -> list[Concept]:
    _check_keys("the file", tables, _FILE_KEYS)
    licence, source = tables.get("licence", "unknown"), tables.get("source", "a concepts file")
    colours = _colours(tables)
    concepts = [_plain(table, licence, source, colours) for table in _tables(tables, "concept")]
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


def _colours(tables: Mapping[str, Any]) -> dict[str, str]:
    colours = tables.get("colours", {})
    if not isinstance(colours, dict):
        raise InvalidConcepts("'colours' must be a table of names and colours; write [colours]")
    for name, value in colours.items():
        if not isinstance(value, str) or not _COLOUR.fullmatch(value):
            raise InvalidConcepts(f"colour '{name}': expected a colour such as '#1b2a49', found {value!r}")
    return colours


def _tables(tables: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = tables.get(key, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise InvalidConcepts(f"'{key}' must be a list of tables; write [[{key}]]")
    return found


def _check_keys(place: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise InvalidConcepts(
            f"{place} has an unknown key '{unknown[0]}'; known are {', '.join(sorted(known))}"
        )


def _plain(table: Mapping[str, Any], licence: str, source: str, colours: Mapping[str, str]) -> Concept:
    """A concept that is written out in full."""
    name = table.get("id")
    if not isinstance(name, str):
        raise InvalidConcepts("a [[concept]] has no id; give it one such as 'my-look'")
    place = f"concept '{name}'"
    _check_keys(place, table, _CONCEPT_KEYS)
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
    wordings = _wordings(tables)
    concepts = []
    for parts, split, novelty in _joined(tables, presets):
        name = _joined_id(parts)
        prompts, tests = wordings.choose(
            name, taught=[part.taught for part in parts], kept=[part.kept for part in parts]
        )
        steps = tuple(step for part in parts for step in part.steps)
        concepts.append(
            Concept(name, family_of(steps), split, novelty, steps, prompts, tests, licence, source)
        )
    return concepts


def _wordings(tables: Mapping[str, Any]) -> Wordings:
    templates = {
        _N_PARTS[name]: Templates(tuple(lists["train"]), tuple(lists["test"]))
        for name, lists in tables.get("templates", {}).items()
    }
    return Wordings(int(tables.get("seed", 0)), templates)


def _joined(
    tables: Mapping[str, Any], presets: Sequence[Preset]
) -> list[tuple[tuple[Preset, ...], str, str]]:
    """The parts, split and novelty of every concept: each preset alone, then what the rules compose."""
    joined: list[tuple[tuple[Preset, ...], str, str]] = [
        ((preset,), preset.split, preset.novelty) for preset in presets
    ]
    seen: set[str] = set(tables.get("drop", ()))
    for rule in _tables(tables, "composition"):
        composed = _compose(rule, presets, int(tables.get("seed", 0)), seen)
        joined += [(parts, split, "") for parts, split in composed]
    return joined


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
    seed, rules = int(tables.get("seed", 0)), _tables(tables, "composition")
    listed = {concept.id: concept for concept in concepts}
    joined = [parts for parts, split, _ in _joined(tables, presets) if split == "train"]
    n_listed = sum(rule["train"] for rule in rules)
    seen = {*listed, *tables.get("drop", ())}
    for rule in rules:
        count = round(n_compositions * rule["train"] / n_listed)
        for name, parts in _candidates(rule, presets, seed, seen)[:count]:
            seen.add(name)
            joined.append(parts)
    wordings = _wordings(tables)
    wordings.take(wording for concept in concepts for wording in (*concept.prompts, *concept.test_prompts))
    found = []
    for parts in joined:
        name = _joined_id(parts)
        known = listed[name].prompts if name in listed else ()
        more = wordings.more(name, [part.taught for part in parts], n_wordings - len(known))
        steps = tuple(step for part in parts for step in part.steps)
        if known or more:
            family = family_of(steps)
            found.append(Concept(name, family, "train", "", steps, (*known, *more), (), "", ""))
    return found


def _in_further_colours(
    tables: Mapping[str, Any], presets: Sequence[Preset], further: _Further
) -> Iterator[Preset]:
    """The train looks in colours that no concept has; they are in no group, so rules compose as before."""
    if not further.colours:
        return
    every = {**tables.get("colours", {}), **further.colours}
    known = {preset.id for preset in presets}
    for look in _tables(tables, "look"):
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


_N_ALIKE = 9
"""Colours about as light as another that one is drawn from."""


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
        for look in _tables(tables, "look")
        for preset in presets_of(look, vocabulary, more.get(look.get("id", "")))
    ]
    return [preset for preset in found if preset.id not in dropped]


def _joined_id(parts: Sequence[Preset]) -> str:
    return "--".join(part.id for part in parts)


def _compose(
    rule: Mapping[str, Any], presets: Sequence[Preset], seed: int, seen: set[str]
) -> Iterator[tuple[tuple[Preset, ...], str]]:
    """A rule's combinations: as many as it asks for, chosen by hash, the last of them held out."""
    _check_keys("a [[composition]]", rule, _COMPOSITION_KEYS)
    candidates = _candidates(rule, presets, seed, seen)
    wanted = rule["train"] + rule["heldout"]
    if len(candidates) < wanted:
        raise InvalidConcepts(f"the composition {rule['join']} has {len(candidates)} members, not {wanted}")
    for place, (name, parts) in enumerate(candidates[:wanted]):
        seen.add(name)
        yield parts, "train" if place < rule["train"] else "heldout-composed"


def _candidates(
    rule: Mapping[str, Any], presets: Sequence[Preset], seed: int, seen: set[str]
) -> list[tuple[str, tuple[Preset, ...]]]:
    """All combinations of a rule that were not seen yet, with their ids, in the order of a hash."""
    members = [[preset for preset in presets if group in preset.groups] for group in rule["join"]]
    for group, found in zip(rule["join"], members, strict=True):
        if not found:
            raise InvalidConcepts(f"a composition joins group '{group}', which no look is in")
    named = ((_joined_id(parts), parts) for parts in product(*members) if _fit(parts))
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
