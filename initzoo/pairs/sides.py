"""Common names of inputs and targets, in folders and in columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["HELD_OUT_SPLITS", "find_sides", "order_columns"]

_SIDES = (
    ("A", "B"),
    ("input", "target"),
    ("inputs", "targets"),
    ("before", "after"),
    ("source", "target"),
    ("original", "edited"),
)
_COLUMN_SIDES = (*_SIDES, ("input", "output"), ("conditioning", "image"))

_PATTERNS = ("{side}/{split}", "{split}/{side}", "{split}{side}", "{split}_{side}", "{side}_{split}")

HELD_OUT_SPLITS = ("val", "validation", "valid", "test")
"""Names of validation splits; the first existing one is used."""


def find_sides(folder: Path, split: str, *, is_plain: bool = False) -> tuple[str, str] | None:
    """Find the folders of inputs and targets, ignoring upper and lower case.

    Args:
        folder: the parent folder.
        split: name of the split, e.g. "train". It can be a prefix or suffix of the names, or a folder.
        is_plain: look for names without the split, e.g. `A` and `B`.

    Returns:
        Their paths relative to the folder, or None.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     for side in ("trainA", "trainB"):
        ...         (Path(name) / side).mkdir()
        ...     find_sides(Path(name), "train")
        ('trainA', 'trainB')
    """
    listed: dict[Path, dict[str, list[str]]] = {}  # each folder is listed once: it may have many files
    for sides in _SIDES:
        for pattern in ("{side}",) if is_plain else _PATTERNS:
            names = [_existing(listed, folder, pattern.format(side=side, split=split)) for side in sides]
            if names[0] is not None and names[1] is not None:
                return names[0], names[1]
    return None


def order_columns(names: Sequence[str]) -> tuple[str, str]:
    """Order two columns as input and target, by common names or else by position.

    Example:
        >>> order_columns(["target_image", "input_image"]), order_columns(["image", "conditioning_image"])
        (('input_image', 'target_image'), ('conditioning_image', 'image'))
        >>> order_columns(["photo", "drawing"])
        ('photo', 'drawing')
    """
    first, second = names
    known = {_plain(name): name for name in names}
    for sides in _COLUMN_SIDES:
        given, wanted = (side.lower() for side in sides)
        if set(known) == {given, wanted}:
            return known[given], known[wanted]
    return first, second


def _plain(name: str) -> str:
    return name.lower().removesuffix("_image").removeprefix("image_")


def _existing(listed: dict[Path, dict[str, list[str]]], folder: Path, path: str) -> str | None:
    """The path of a subfolder as on disk, found by a path in any case; None if there is none."""
    names: list[str] = []
    for part in path.split("/"):
        parent = folder.joinpath(*names)
        if parent not in listed:
            listed[parent] = _subfolders(parent)
        fitting = listed[parent].get(part.lower())
        if not fitting:
            return None
        names.append(part if part in fitting else min(fitting))
    return "/".join(names)


def _subfolders(folder: Path) -> dict[str, list[str]]:
    """Names of subfolders, by their names in lower case."""
    names: dict[str, list[str]] = {}
    if os.path.isdir(folder):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    names.setdefault(entry.name.lower(), []).append(entry.name)
    return names
