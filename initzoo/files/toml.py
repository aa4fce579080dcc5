"""TOML files of others, read within limits."""

from __future__ import annotations

import tomllib
from typing import Any

from initzoo.files.digests import DamagedFile
from initzoo.files.settings import MAX_DEPTH

__all__ = ["MAX_TOML_BYTES", "parse_toml"]

MAX_TOML_BYTES = 2**23
"""Maximum size of a TOML file, in bytes."""


def parse_toml(data: bytes) -> dict[str, Any]:
    """Parse the content of a TOML file.

    Raises:
        DamagedFile: it is not TOML in UTF-8, or has numbers of thousands of digits or more than `MAX_DEPTH`
            levels.

    Example:
        >>> parse_toml(b"a = [1, 2]")
        {'a': [1, 2]}
        >>> parse_toml(b"a = " + b"[" * 900)
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: is not TOML: it has more than 64 levels
    """
    if _deepest(data) > MAX_DEPTH:
        raise DamagedFile(f"is not TOML: it has more than {MAX_DEPTH} levels")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise DamagedFile(f"is not TOML: it has more than {MAX_DEPTH} levels") from error
    except ValueError as error:  # also of numbers that are too long, dates and UTF-8
        raise DamagedFile(f"is not TOML: {' '.join(str(error).split())[:150]}") from error
    return values


def _deepest(data: bytes) -> int:
    """The largest number of brackets of one line that are open at once."""
    deepest = depth = 0
    for line in data.splitlines():
        text = line.partition(b"#")[0]
        if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
            continue  # by far most lines
        depth = 0
        for code in text:
            depth += (code in b"[{") - (code in b"]}")
            depth = max(depth, 0)
            deepest = max(deepest, depth)
    return deepest
