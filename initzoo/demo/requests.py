"""Validation of visitors' requests, which can hold values of any type, before any work is done."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from initzoo.checkpoints import MAX_SEED
from initzoo.errors import InvalidRequest
from initzoo.generator import ORIGINS, Request, check_words

__all__ = [
    "MAX_PAIRS",
    "MAX_WORDS",
    "ORIGIN_CHOICES",
    "STRENGTHS",
    "Look",
    "read_choice",
    "read_count",
    "read_look",
    "read_request",
    "read_seed",
    "read_share",
    "read_text",
    "read_upload",
    "read_uploads",
    "read_words",
]

MAX_PAIRS = 20
"""Maximum number of pairs of a visitor."""

MAX_WORDS = 200
"""Maximum number of characters in the words of a request."""

STRENGTHS = (0.5, 1.0, 1.5)
"""Strengths of an edit that the page offers, in units of what the words ask for; `initzoo apply --strength`
takes any from 0 to 1.5."""

ORIGIN_CHOICES = ("auto", *ORIGINS)
"""Origins that a visitor can choose; `auto` prefers a checkpoint of the zoo."""


def read_request(words: object, origin: object = "auto", seed: object = 0) -> Request:
    """Make a request from unchecked values.

    Args:
        words: concept id, wording, or any other words for an edit.
        origin: `auto`, `exact`, `matched` or `generated`.
        seed: seed of generated weights.

    Raises:
        InvalidRequest: a value has a wrong type or is out of range.
        InvalidWords: the words are empty, or have control or invisible characters.

    Example:
        >>> read_request("  Pencil sketch ", "auto", 3.0)
        Request(words='Pencil sketch', pairs=(), seed=3, n_timesteps=1, origin=None, seconds=1.0)
    """
    chosen = read_choice(origin, "origin", ORIGIN_CHOICES)
    return Request(read_words(words), seed=read_seed(seed), origin=None if chosen == "auto" else chosen)


@dataclass(frozen=True)
class Look:
    """What the page shows: the look of some words, of a visitor's pairs, or a mix of two, at some strength.

    Args:
        request: the look; its words may be empty if there are pairs.
        other: the look mixed with it, or None.
        share: weight of `other`, 0 to 1.
        strength: strength of the edit in units of what the words ask for, one of `STRENGTHS`.
        pairs: keys of kept photos, before and after, that the look is fitted to.
    """

    request: Request
    other: Request | None = None
    share: float = 0.5
    strength: float = 1.0
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The look in words, for a heading."""
        words = self.request.words or "your pairs"
        return words if self.other is None else f"{words} + {self.other.words}"

    @property
    def query(self) -> dict[str, str]:
        """The look as the query of an address, which `read_look` reads."""
        query = {"words": self.request.words} if self.request.words else {}
        if self.pairs:
            query["pairs"] = ",".join(map("-".join, self.pairs))
        if self.other is not None:
            query |= {"with": self.other.words, "share": f"{self.share:g}"}
        return query | ({} if self.strength == 1 else {"strength": f"{self.strength:g}"})


def read_look(query: Mapping[str, str]) -> Look:
    """Read a look from the query of an address.

    Args:
        query: `words`; `with` and `share` for a mix; `strength`; `pairs`, e.g. `KEY-KEY,KEY-KEY`.

    Raises:
        InvalidRequest: a value is missing or out of range.
        InvalidWords: the words are empty, or have control or invisible characters.

    Example:
        >>> look = read_look({"words": "night", "with": "pencil sketch", "share": "0.25"})
        >>> look.share, look.strength, look.query
        (0.25, 1.0, {'words': 'night', 'with': 'pencil sketch', 'share': '0.25'})
    """
    pairs = _read_pairs(query["pairs"]) if query.get("pairs") else ()
    # Pairs need no words.
    words = query.get("words", "")
    request = Request(read_words(words) if words or not pairs else "")
    if pairs and query.get("with"):
        raise InvalidRequest("a look of pairs is not mixed. Leave pairs or with out")
    other = Request(read_words(query["with"], name="with")) if query.get("with") else None
    strength = _decimal(query.get("strength", "1"), "strength")
    if strength not in STRENGTHS:
        choices = ", ".join(f"{strength:g}" for strength in STRENGTHS)
        raise InvalidRequest(f"strength must be one of {choices}; found {_shown(query['strength'])}")
    share = read_share(_decimal(query.get("share", "0.5"), "share"))
    return Look(request, other, share, strength, pairs)


def _read_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Read the keys of photos before and after."""
    parts = text[: 100 * MAX_PAIRS].split(",")
    if len(parts) > MAX_PAIRS:
        raise InvalidRequest(f"at most {MAX_PAIRS} pairs are taken. Send fewer")
    pairs = tuple(part.split("-") for part in parts)
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise InvalidRequest(
            f"pairs must be KEY-KEY,KEY-KEY with keys of uploaded photos, found {_shown(text)}"
        )
    return tuple((before, after) for before, after in pairs)


def _decimal(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidRequest(f"{name} must be a number, found {_shown(text)}") from error


def read_words(value: object, *, name: str = "words") -> str:
    """Read words for an edit and strip the spaces around them.

    Raises:
        InvalidRequest: the value is not text, or too long.
        InvalidWords: it is empty, or has control or invisible characters.

    Example:
        >>> read_words(7)
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: words must be a text, found a number. Say what the photo should ...
    """
    text = read_text(value, name=name)
    return check_words(text)


def read_text(value: object, *, name: str) -> str:
    """Read a text of at most `MAX_WORDS` characters, which may be empty.

    Raises:
        InvalidRequest: the value is not text, or too long.
    """
    if not isinstance(value, str):
        raise InvalidRequest(
            f"{name} must be a text, found {_kind(value)}. "
            'Say what the photo should look like, e.g. "charcoal at dusk"'
        )
    # JSON can hold lone surrogates, which cannot be encoded in a file.
    text = unicodedata.normalize("NFKC", value[: 50 * MAX_WORDS]).encode("utf-8", "replace").decode().strip()
    if len(text) > MAX_WORDS or len(value) > 50 * MAX_WORDS:
        raise InvalidRequest(
            f"{name} have {max(len(text), len(value)):,} letters, at most {MAX_WORDS} are read. "
            'Say it in a few words, e.g. "charcoal at dusk"'
        )
    return text


def read_seed(value: object) -> int:
    """Read a seed. Whole floats are accepted, since a page sends all numbers alike.

    Raises:
        InvalidRequest: the value is not a whole number from 0 to `MAX_SEED`.

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
    """Read a whole number from 1 to `high`.

    Raises:
        InvalidRequest: the value is not such a number.
    """
    return _whole(value, name=name, low=1, high=high)


def read_share(value: object) -> float:
    """Read a share from 0 to 1.

    Raises:
        InvalidRequest: the value is not a number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest(f"share must be a number from 0 to 1, found {_shown(value)}")
    return float(value)


def read_choice(value: object, name: str, choices: tuple[str, ...]) -> str:
    """Read one of several choices.

    Raises:
        InvalidRequest: the value is not one of them.

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
    """Read the path of an uploaded file; None if nothing was uploaded.

    Args:
        value: None, a path, or the dict with a `path` that clients send for a file.
        folder: folder of the uploads; files outside it are refused.

    Raises:
        InvalidRequest: the value does not name an uploaded file.

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


def read_uploads(value: object, folder: Path, *, name: str) -> list[Path]:
    """Read the paths of some uploaded photos.

    Args:
        value: a list of values as for `read_upload`, or one of them.
        folder: folder of the uploads.
        name: the name of the value, for messages.

    Raises:
        InvalidRequest: a value does not name an uploaded file, or there are none or too many.

    Example:
        >>> read_uploads([], Path("uploads"), name="before")
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidRequest: before must be 1 to 20 uploaded photos, found 0
    """
    values = value if isinstance(value, list) else [value]
    n_photos = sum(one is not None for one in values)
    if len(values) > MAX_PAIRS or not n_photos:
        raise InvalidRequest(f"{name} must be 1 to {MAX_PAIRS} uploaded photos, found {n_photos}")
    paths = [read_upload(one, folder) for one in values]
    return [path for path in paths if path is not None]


def _whole(value: object, *, name: str, low: int, high: int) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value, is_whole = int(value), True
    if not is_whole or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, found {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A value for an error message: its repr if it is short and plain, else its kind."""
    if isinstance(value, str) and len(value) <= 80:
        return repr(value.encode("utf-8", "replace").decode())
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**80):
        return repr(value)
    return _kind(value)


def _kind(value: object) -> str:
    kinds = {str: "a long text", bool: "true or false", int: "a number", float: "a number"}
    kinds |= {list: "a list", dict: "an object", type(None): "nothing"}
    return kinds.get(type(value), "something else")
