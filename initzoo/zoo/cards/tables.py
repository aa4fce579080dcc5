"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["markdown_table"]


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
