"""Settings as JSON: dataclasses written to and read from files, tolerant of added fields.

Unknown keys are ignored, and keys with a default may be missing. Settings can thus gain a field without
making older or newer files unreadable. A file with a higher `format_version` is refused in one line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np

from initzoo.files.digests import DamagedFile

__all__ = [
    "FORMAT_VERSION",
    "MAX_DEPTH",
    "check_depth",
    "check_least",
    "read_json",
    "read_settings",
    "to_plain",
    "write_json",
]

FORMAT_VERSION = 2
"""Version of every JSON file of initzoo; raised only if an older initzoo would misread a file."""

_UPGRADE = "upgrade: pip install -U initzoo"

MAX_DEPTH = 64
"""Maximum number of levels of lists and objects in a JSON file."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")

T = TypeVar("T")


def read_json(data: bytes, kind: type[T]) -> T:
    """Read a JSON file as a settings dataclass after checking its format version.

    Args:
        data: content of the file.
        kind: a dataclass, or any type that msgspec converts to.

    Raises:
        DamagedFile: the file is not JSON or has another format version, or a value is missing or has
            another type.

    Example:
        >>> read_json(b'{"format_version": 2, "seed": 1, "mood": "new"}', dict[str, Any])["seed"]
        1
        >>> read_json(b'{"format_version": 3}', dict[str, Any])
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: has format version 3, this initzoo reads 2; upgrade: ...
    """
    check_depth(data)
    try:
        values = msgspec.json.decode(data)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise DamagedFile("is not JSON") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    check_version(version)
    return read_settings(values, kind)


def check_depth(data: bytes) -> None:
    """Refuse JSON with more than `MAX_DEPTH` levels, before it is parsed.

    Raises:
        DamagedFile: it has more.

    Example:
        >>> check_depth(b"[" * 900)
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: has more than 64 levels of lists
    """
    # There are no more levels than brackets, and a long text takes a while to read.
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRINGS.sub(b"", data).translate(None, _NO_BRACKETS)
    codes = np.frombuffer(brackets, np.uint8)
    steps = np.where((codes == ord("[")) | (codes == ord("{")), 1, -1)
    if len(steps) and int(np.cumsum(steps).max()) > MAX_DEPTH:
        raise DamagedFile(f"has more than {MAX_DEPTH} levels of lists")


def check_version(version: object) -> None:
    """Check the format version of a file.

    Raises:
        DamagedFile: the file has another format version.
    """
    if str(version) != str(FORMAT_VERSION):
        is_older = str(version).isdecimal() and len(str(version)) < 9 and int(str(version)) < FORMAT_VERSION
        advice = "get a version that was made with initzoo 0.2 or newer" if is_older else _UPGRADE
        raise DamagedFile(
            f"has format version {str(version)[:20]}, this initzoo reads {FORMAT_VERSION}; {advice}"
        )


def read_settings(values: Any, kind: type[T]) -> T:
    """Convert JSON values to a settings dataclass; unknown keys are ignored.

    Args:
        values: output of a JSON parser.
        kind: a dataclass; nested ones, tuples and unions are converted too.

    Raises:
        DamagedFile: a value is missing or has another type; the message names it.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Crop:
        ...     size: int
        ...     seed: int = 0
        >>> read_settings({"size": 64, "newer": True}, Crop)
        Crop(size=64, seed=0)
        >>> read_settings({"size": "large"}, Crop)
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: its settings cannot be read: Expected `int`, ...
    """
    try:
        return msgspec.convert(values, kind)
    except UnicodeError as error:  # half a pair of surrogates, which Python's own reader of JSON lets pass
        raise DamagedFile("its settings cannot be read: a text is not valid Unicode") from error
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        raise DamagedFile(f"its settings cannot be read: {str(error)[:200]}") from error


def check_least(settings: object, *, error: type[Exception] = ValueError, **least: float) -> None:
    """Check that fields of a settings dataclass are finite and not below their minimum.

    Args:
        settings: the dataclass.
        error: class of the error.
        least: minimum per field.

    Raises:
        ValueError, or `error`: a field is below its minimum, NaN or infinite; the message starts with its
            name.

    Example:
        >>> from types import SimpleNamespace
        >>> check_least(SimpleNamespace(n_steps=-1), n_steps=0)
        Traceback (most recent call last):
            ...
        ValueError: n_steps must be at least 0, found -1
    """
    for name, minimum in least.items():
        value = getattr(settings, name)
        if not minimum <= value < math.inf:
            raise error(f"{name} must be at least {minimum}, found {value}")


def to_plain(settings: Any) -> Any:
    """Convert a settings dataclass to JSON values: dicts, lists, strings and numbers."""
    return _without_tuples(msgspec.to_builtins(settings, str_keys=True))


def _without_tuples(values: Any) -> Any:
    """The same values as a JSON parser would return them."""
    if isinstance(values, dict):
        return {name: _without_tuples(value) for name, value in values.items()}
    return [_without_tuples(value) for value in values] if isinstance(values, list | tuple) else values


def write_json(values: Mapping[str, Any]) -> bytes:
    """Encode a JSON file with `format_version`. Equal values give the same bytes.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    plain = to_plain({"format_version": FORMAT_VERSION, **values})
    _refuse_infinite(plain)
    return msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=1) + b"\n"


def _refuse_infinite(values: Any) -> None:
    """Refuse NaN and infinity, which msgspec would write as null."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            _refuse_infinite(value)
    elif isinstance(values, float) and (values != values or values in (float("inf"), float("-inf"))):
        raise ValueError(f"JSON has no number {values}")
