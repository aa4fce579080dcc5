"""The `teacher` of a concept in TOML: filters, a folder of pairs, a Python function, or a diffusion model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidConcepts, InvalidPairs, TeacherError
from initzoo.pairs.concepts.looks import read_step
from initzoo.pairs.teachers import (
    OPERATORS,
    DiffusionTeacher,
    FilterTeacher,
    FolderTeacher,
    Teacher,
    load_teacher,
)

__all__ = ["read_teacher"]

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_FORMS = (
    'a list of steps, e.g. [{operator = "sepia"}], a folder of pairs, e.g. "my-pairs/", '
    'a Python function, "module:function", or a model, {model = "timbrooks/instruct-pix2pix", prompt = "..."}'
)
_MAX_VARIANTS = 10_000
_MODEL_KEYS = {"model", "prompt", "revision", "side", "batch", "variants"}


def read_teacher(
    value: object,
    *,
    folder: Path,
    colours: Mapping[str, str],
    licence: object = None,
    diffusion: Mapping[str, Any] | None = None,
    prompt: str = "",
) -> Teacher:
    """Read a teacher.

    Args:
        value: a list of steps; a string, which is a folder or `module:function`; a table with `function`,
            maybe `variants`, and further arguments of the function; or a table with `model` or `prompt`, and
            further arguments of the model's pipeline.
        folder: of the concepts file; other folders and modules are looked for from there.
        colours: names that steps may use, besides those of CSS such as `navy`.
        licence: of the pairs; None if the file does not say it.
        diffusion: what all tables of models in the file share; with it, a concept needs no teacher.
        prompt: of a model, where its table says none.

    Raises:
        InvalidConcepts: it is none of these, or the folder or function is not as it should be.
    """
    licence = None if licence is None else str(licence)
    try:
        if isinstance(value, list) and value and all(isinstance(step, dict) for step in value):
            return FilterTeacher(tuple(read_step(step, {**_css_colours(), **colours}) for step in value))
        if isinstance(value, str) and _FUNCTION.fullmatch(value):
            return load_teacher(value, folder, settings={}, licence=licence, n_variants=None)
        if isinstance(value, str) and value:
            return _read_folder(value, folder, licence)
        if isinstance(value, dict) and isinstance(value.get("function"), str):
            return _read_function(value, folder, licence)
        if value is None and diffusion is not None:
            value = {}
        if isinstance(value, dict) and (diffusion is not None or value.keys() & {"model", "prompt"}):
            return _read_model({"prompt": prompt, **(diffusion or {}), **value}, folder, licence)
    except (InvalidPairs, TeacherError) as error:
        raise InvalidConcepts(f"teacher: {error}") from error
    raise InvalidConcepts(f"teacher must be {_FORMS}")


@cache
def _css_colours() -> dict[str, str]:
    """The colours of CSS by name, as `#rrggbb`."""
    from PIL import ImageColor

    return {name: "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(name)[:3]) for name in ImageColor.colormap}


def _read_folder(value: str, folder: Path, licence: str | None) -> FolderTeacher:
    if value in OPERATORS:
        raise InvalidConcepts(f'teacher: a filter is a step of a list; write [{{operator = "{value}"}}]')
    try:
        path = folder / Path(value).expanduser()
        is_folder = path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # a name that is too long, or of no user
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidConcepts(f"teacher '{value}': no folder can have this name ({reason})") from error
    if not is_folder:
        raise InvalidConcepts(f"teacher '{value}': there is no folder {path}. A teacher is {_FORMS}")
    return FolderTeacher(path, licence=licence or "unknown")


def _read_function(table: dict[str, Any], folder: Path, licence: str | None) -> Teacher:
    settings = {key: value for key, value in table.items() if key not in ("function", "variants")}
    name, n_variants = table["function"], table.get("variants")
    if not _FUNCTION.fullmatch(name):
        raise InvalidConcepts(f"teacher: function must be written module:function, found '{name}'")
    is_whole = isinstance(n_variants, int) and not isinstance(n_variants, bool)
    if n_variants is not None and not (is_whole and 0 <= n_variants <= _MAX_VARIANTS):
        raise InvalidConcepts(
            f"teacher: variants must be a whole number from 0 to {_MAX_VARIANTS}, found "
            f"{repr(n_variants)[:80]}"
        )
    return load_teacher(name, folder, settings=settings, licence=licence, n_variants=n_variants)


def _read_model(table: dict[str, Any], folder: Path, licence: str | None) -> DiffusionTeacher:
    model = table.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidConcepts(
            'teacher: a prompt needs a model; write model = "timbrooks/instruct-pix2pix" beside it, or once '
            "in [diffusion]"
        )
    for key in ("prompt", "revision"):
        if not isinstance(table.get(key, ""), str):
            raise InvalidConcepts(f"teacher: {key} must be text, found {repr(table[key])[:80]}")
    for key, value in table.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if key in ("side", "batch", "variants") and not (is_whole and 1 <= value <= _MAX_VARIANTS):
            raise InvalidConcepts(
                f"teacher: {key} must be a whole number from 1 to {_MAX_VARIANTS}, found {repr(value)[:80]}"
            )
        if not isinstance(value, str | int | float | bool):
            raise InvalidConcepts(f"teacher: '{key[:80]}' must be text or a number, found {repr(value)[:80]}")
    path = folder / Path(model).expanduser()
    return DiffusionTeacher(
        path if path.is_dir() else model,
        table["prompt"],
        revision=table.get("revision"),
        side=table.get("side", 512),
        n_variants=table.get("variants", 1),
        batch_size=table.get("batch", 8),
        arguments={key: value for key, value in table.items() if key not in _MODEL_KEYS},
        licence=licence,
    )
