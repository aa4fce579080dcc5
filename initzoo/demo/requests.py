"""What a visitor asks for, checked before any work is done: values come from anywhere, of any type."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from initzoo.checkpoints.init import MAX_SEED
from initzoo.errors import InvalidRequest
from initzoo.generator.request import ORIGINS, Request
from initzoo.generator.tokens import check_words

__all__ = [
    "MAX_WORDS",
    "read_choice",
    "read_count",
    "read_request",
    "read_seed",
    "read_share",
    "read_text",
    "read_upload",
    "read_words",
    "request_to_json",
]

MAX_WORDS = 200
"""Letters that the words of a request may have."""

_CHOICES = ("auto", *ORIGINS)
"""What visitors may ask for: `auto` takes the zoo's checkpoint where there is one."""


def read_request(words: object, origin: object = "auto", seed: object = 0) -> Request:
    """A request from values that may be anything.

    Args:
        words: concept id, wording, or any other words for an edit.
        origin: `auto`, `exact` or `generated`.
        seed: of generated weights.

    Raises:
        InvalidRequest: one of them is of a wrong type or out of range.
        InvalidWords: the words are empty or hold control or invisible characters.

    Example:
        >>> read_request("  Pencil sketch ", "auto", 3.0)
        Request(words='Pencil sketch', pairs=(), seed=3, n_timesteps=1, origin=None)
    """
    chosen = read_choice(origin, "origin", _CHOICES)
    return Request(read_words(words), seed=read_seed(seed), origin=None if chosen == "auto" else chosen)


def request_to_json(request: Request) -> dict[str, str | int]:
    """What `read_request` reads, as plain JSON values."""
    return {"words": request.words, "origin": request.origin or "auto", "seed": request.seed}


def read_words(value: object, *, name: str = "words") -> str:
    """Words for an edit, stripped of space around them.

    Raises:
        InvalidRequest: the value is no text, or too long.
        InvalidWords: it is empty or holds control or invisible characters.

    Example:
        >>> read_words(7)
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: words must be a text, found a number. Say what the photo should ...
    """
    text = read_text(value, name=name)
    return check_words(text)


def read_text(value: object, *, name: str) -> str:
    """A text of at most `MAX_WORDS` letters, maybe empty.

    Raises:
        InvalidRequest: the value is no text, or too long.
    """
    if not isinstance(value, str):
        raise InvalidRequest(
            f"{name} must be a text, found {_kind(value)}. "
            'Say what the photo should look like, e.g. "charcoal at dusk"'
        )
    # Lone surrogates can come in JSON and go into no file.
    text = unicodedata.normalize("NFKC", value[: 50 * MAX_WORDS]).encode("utf-8", "replace").decode().strip()
    if len(text) > MAX_WORDS or len(value) > 50 * MAX_WORDS:
        raise InvalidRequest(
            f"{name} have {max(len(text), len(value)):,} letters, at most {MAX_WORDS} are read. "
            'Say it in a few words, e.g. "charcoal at dusk"'
        )
    return text


def read_seed(value: object) -> int:
    """A seed; whole floats count, because a page sends all numbers alike.

    Raises:
        InvalidRequest: the value is no whole number from 0 to `MAX_SEED`.

    Example:
        >>> read_seed(3.0)
        3
        >>> read_seed(2**70)
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: seed must be a whole number from 0 to 9223372036854775807, found ...
    """
    return _whole(value, name="seed", low=0, high=MAX_SEED)


def read_count(value: object, *, name: str, high: int) -> int:
    """A whole number from 1 to `high`.

    Raises:
        InvalidRequest: the value is something else.
    """
    return _whole(value, name=name, low=1, high=high)


def read_share(value: object) -> float:
    """A share, from 0 to 1.

    Raises:
        InvalidRequest: the value is no number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest(f"share must be a number from 0 to 1, found {_shown(value)}")
    return float(value)


def read_choice(value: object, name: str, choices: tuple[str, ...]) -> str:
    """One of some words.

    Raises:
        InvalidRequest: the value is none of them.

    Example:
        >>> read_choice("../../etc/passwd", "form", ("merged", "adapter"))
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: form must be one of merged, adapter; found '../../etc/passwd'
    """
    if not isinstance(value, str) or value not in choices:
        raise InvalidRequest(f"{name} must be one of {', '.join(choices)}; found {_shown(value)}")
    return value


def read_upload(value: object, folder: Path) -> Path | None:
    """The file that a visitor uploaded, or None for none.

    Args:
        value: None, a path, or the dict with a `path` that clients send for a file.
        folder: where uploads are kept; a file anywhere else is none of the visitor's.

    Raises:
        InvalidRequest: the value names no uploaded file.

    Example:
        >>> read_upload({"path": "../../etc/passwd"}, Path("uploads"))
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: photo must be an uploaded image file, found '../../etc/passwd'. ...
    """
    if value is None:
        return None
    named = value.get("path") if isinstance(value, dict) else value
    advice = "Upload one first: handle_file(PATH) of gradio_client does"
    if not isinstance(named, str) or not named or "\0" in named or len(named) > 4096:
        raise InvalidRequest(f"photo must be an uploaded image file, found {_shown(named)}. {advice}")
    path, inside = Path(os.path.realpath(folder / named)), Path(os.path.realpath(folder))
    if not path.is_relative_to(inside) or path == inside or path.is_dir():
        raise InvalidRequest(f"photo must be an uploaded image file, found {_shown(named)}. {advice}")
    if not path.is_file():
        raise InvalidRequest("the photo is not here any more: photos are kept for an hour. Choose it again")
    return path


def _whole(value: object, *, name: str, low: int, high: int) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value, is_whole = int(value), True
    if not is_whole or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, found {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A value in an error: itself while it is short and plain, else what kind of thing it is."""
    if isinstance(value, str) and len(value) <= 80:
        return repr(value.encode("utf-8", "replace").decode())
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**80):
        return repr(value)
    return _kind(value)


def _kind(value: object) -> str:
    kinds = {str: "a long text", bool: "true or false", int: "a number", float: "a number"}
    kinds |= {list: "a list", dict: "an object", type(None): "nothing"}
    return kinds.get(type(value), "something else")
