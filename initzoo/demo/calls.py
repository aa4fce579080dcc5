"""The endpoints for programs: their parameters, and the check of a call before it waits for anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initzoo.checkpoints import MAX_SEED
from initzoo.demo.requests import (
    MAX_PAIRS,
    MAX_WORDS,
    ORIGIN_CHOICES,
    read_choice,
    read_count,
    read_seed,
    read_text,
    read_upload,
    read_uploads,
    read_words,
)
from initzoo.demo.service import FORMS
from initzoo.errors import InvalidRequest

__all__ = ["ENDPOINTS", "MAX_FOUND", "Parameter", "UnknownEndpoint", "check_call", "complete_call"]

MAX_FOUND = 50
"""Maximum number of results of a search."""

_FILE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "properties": {"path": {"type": "string"}, "url": {"type": "string"}}},
        {"type": "null"},
    ]
}


class UnknownEndpoint(InvalidRequest):
    """No endpoint has the name."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of an endpoint.

    Args:
        name: its name.
        schema: its type, as a JSON schema.
        description: a sentence.
        example: a value that works.
        check: refuses other values; called with the value and the folder of uploads.
        is_required: whether a call must give it.
        default: the value otherwise.
    """

    name: str
    schema: dict[str, Any]
    description: str
    example: Any
    check: Callable[[object, Path], object]
    is_required: bool = False
    default: Any = None


_WORDS = Parameter(
    "words",
    {"type": "string", "maxLength": MAX_WORDS},
    "Concept id, wording, or any words for an edit.",
    "charcoal at dusk",
    lambda value, _: read_words(value),
    is_required=True,
)
_PHOTO = Parameter(
    "photo",
    _FILE_SCHEMA,
    "An uploaded photo, as handle_file(PATH) of gradio_client sends it; nothing for an example photo.",
    None,
    read_upload,
)
_SEED = Parameter(
    "seed",
    {"type": "integer", "minimum": 0, "maximum": MAX_SEED},
    "Seed of generated weights; checkpoints of the zoo do not depend on it.",
    0,
    lambda value, _: read_seed(value),
    default=0,
)
_ORIGIN = Parameter(
    "origin",
    {"type": "string", "enum": list(ORIGIN_CHOICES)},
    "auto takes the checkpoint that the words name or mean, and generates weights otherwise; exact, matched "
    "and generated take one of these.",
    "auto",
    lambda value, _: read_choice(value, "origin", ORIGIN_CHOICES),
    default="auto",
)
_FORM = Parameter(
    "form",
    {"type": "string", "enum": list(FORMS)},
    "merged for all weights of the network, adapter for the small file that initzoo merges into the base.",
    FORMS[0],
    lambda value, _: read_choice(value, "form", FORMS),
    default=FORMS[0],
)
_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_FOUND},
    "Number of results.",
    3,
    lambda value, _: read_count(value, name="limit", high=MAX_FOUND),
    default=10,
)


def _photos(name: str, description: str) -> Parameter:
    """The photos of one side of pairs."""
    schema = {"type": "array", "items": _FILE_SCHEMA["anyOf"][0], "minItems": 1, "maxItems": MAX_PAIRS}
    example = [{"path": f"/path/on/the/server/{name}.jpg"}]
    return Parameter(
        name,
        schema,
        description,
        example,
        lambda value, folder: read_uploads(value, folder, name=name),
        is_required=True,
    )


_BEFORE = _photos(
    "before", "Uploaded photos before an edit, each as handle_file(PATH) of gradio_client sends it."
)
_AFTER = _photos("after", "The same photos after the edit, in the same order.")
_NAME = Parameter(
    "words",
    _WORDS.schema,
    "Words for the edit, whose weights compete, too; may be empty.",
    "sepia",
    lambda value, _: read_text(value, name="words"),
    default="",
)

ENDPOINTS: dict[str, tuple[Parameter, ...]] = {
    "generate": (_WORDS, _PHOTO, _SEED, _ORIGIN),
    "search": (_WORDS, _LIMIT),
    "download": (_WORDS, _SEED, _ORIGIN, _FORM),
    "fit": (_BEFORE, _AFTER, _NAME, _PHOTO),
}
"""The endpoints and their parameters, in the order of a call."""


def complete_call(name: str, values: object) -> list[Any]:
    """Check the number of values of a call and append the defaults of those that are missing.

    Args:
        name: name of the endpoint, without a slash.
        values: a list of values in the order of the parameters, or an object with their names.

    Raises:
        UnknownEndpoint: there is no such endpoint.
        InvalidRequest: there are too many or too few values, or a name is unknown.

    Example:
        >>> complete_call("search", ["sketch"])
        ['sketch', 10]
        >>> complete_call("search", ["sketch", 3, 4])
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: /search takes 1 to 2 values (words, limit), found 3
    """
    if name not in ENDPOINTS:
        known = ", ".join(f"/{endpoint}" for endpoint in ENDPOINTS)
        raise UnknownEndpoint(f"no endpoint '/{name[:80]}'; there are {known}")
    parameters = ENDPOINTS[name]
    names = [parameter.name for parameter in parameters]
    n_required = sum(parameter.is_required for parameter in parameters)
    if isinstance(values, dict):
        if unknown := sorted(str(key) for key in values.keys() - set(names)):
            raise InvalidRequest(f"/{name} has no parameter '{unknown[0][:80]}'; it takes {', '.join(names)}")
        if missing := [one.name for one in parameters if one.is_required and one.name not in values]:
            raise InvalidRequest(f"/{name} needs a value for '{missing[0]}'")
        return [values.get(parameter.name, parameter.default) for parameter in parameters]
    if not isinstance(values, list):
        raise InvalidRequest(f'/{name} takes its values as a list: {{"data": ["charcoal at dusk"]}}')
    if not n_required <= len(values) <= len(parameters):
        takes = f"{n_required} to {len(parameters)} values ({', '.join(names)})"
        raise InvalidRequest(f"/{name} takes {takes}, found {len(values)}")
    return [*values, *(parameter.default for parameter in parameters[len(values) :])]


def check_call(name: str, values: object, folder: Path) -> list[Any]:
    """Complete a call and check the type of every value.

    Args:
        name, values: as for `complete_call`.
        folder: folder of the uploads.

    Raises:
        UnknownEndpoint, InvalidRequest, InvalidWords: in one line that names the value and what is expected.

    Example:
        >>> check_call("generate", ["sketch", None, "seven"], Path("uploads"))
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: seed must be a whole number from 0 to ..., found 'seven'
    """
    values = complete_call(name, values)
    for parameter, value in zip(ENDPOINTS[name], values, strict=True):
        parameter.check(value, folder)
    return values
