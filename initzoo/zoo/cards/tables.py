"""Markdown tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from initzoo.errors import printable

__all__ = ["inert", "inert_code", "inert_tag", "inert_values", "markdown_table"]


_MARKUP = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|[\\`*\[\]<>|!#&$~]|(?<=\w)[:.](?=[/\w])")


def inert(text: str) -> str:
    """A text of somebody else for Markdown: one line, without links, images, HTML, tables and code.

    Every character with a meaning becomes the number of the character, which Markdown and HTML show as it is.

    Example:
        >>> inert("<b>|"), inert("CC0-1.0"), inert("http://a.b")
        ('&#60;b&#62;&#124;', 'CC0-1.0', 'http&#58;//a&#46;b')
    """
    return _MARKUP.sub(
        lambda match: match[0] if _is_number(match) else f"&#{ord(match[0])};", printable(text)
    )


def _is_number(match: re.Match[str]) -> bool:
    """Whether a dot stands between digits, as in a version."""
    text, place = match.string, match.start()
    return match[0] == "." and text[place - 1].isdigit() and text[place + 1].isdigit()


def inert_values(values: Any) -> Any:
    """JSON values of somebody else with every text in them as `inert` has it, names too.

    Example:
        >>> inert_values({"a|": ["<b>", 1.5, None]})
        {'a&#124;': ['&#60;b&#62;', 1.5, None]}
    """
    if isinstance(values, str):
        return inert(values)
    if isinstance(values, dict):
        return {inert(str(name)): inert_values(value) for name, value in values.items()}
    return [inert_values(value) for value in values] if isinstance(values, list | tuple) else values


def inert_code(text: str) -> str:
    """A text of somebody else for a string within a block of code: one line, without quotes and fences.

    Example:
        >>> inert_code('a"; rm -rf `x` $HOME')
        'a; rm -rf x HOME'
    """
    return re.sub(r"[\"'`$\\!]", "", printable(text))


def inert_tag(text: str) -> str:
    """A text of somebody else as a value of the front matter; `other` if it is not a plain word.

    Example:
        >>> inert_tag("Apache-2.0"), inert_tag("a: [b]")
        ('apache-2.0', 'other')
    """
    return text.lower() if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}", text) else "other"


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table.

    Example:
        >>> print(markdown_table(["split", "concepts"], [["train", "12"]]))
        | split | concepts |
        | --- | --- |
        | train | 12 |
    """
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
