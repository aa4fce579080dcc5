"""Reads metadata files of pairs, with one row per pair and the paths of its images, as `datasets` does."""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidPairs
from initzoo.files import IMAGE_SUFFIXES, DamagedFile, is_file, path_within
from initzoo.pairs.sides import order_columns

__all__ = ["Listing", "find_metadata", "read_metadata"]

_NAMES = ("metadata.jsonl", "metadata.csv")
_FILE_KEY, _FILE_ENDING = "file_name", "_file_name"


@dataclass(frozen=True)
class Listing:
    """The pairs of a metadata file.

    Args:
        path: path of the metadata file.
        columns: names of the columns of input and target.
        rows: name of each pair, and the paths of its input and target.
    """

    path: Path
    columns: tuple[str, str]
    rows: tuple[tuple[str, tuple[Path, Path]], ...]


def find_metadata(folder: Path) -> Path | None:
    """The metadata file of a folder, or None.

    Example:
        >>> find_metadata(Path("no-such-folder")) is None
        True
    """
    return next((folder / name for name in _NAMES if is_file(folder / name)), None)


def read_metadata(path: Path, columns: tuple[str, str] | None = None) -> Listing | None:
    """Read the pairs of a metadata file.

    A column is an image column if its name is `file_name` or ends with `_file_name`, or if it has paths of
    images. As in `datasets`, `file_name` is named `image`, and the ending `_file_name` is removed.

    Args:
        path: path of a `.jsonl` or `.csv` file; paths in it are relative to its folder.
        columns: names of the columns of input and target; by default the two image columns.

    Returns:
        The pairs; None if the file has fewer than two image columns and `columns` is not given.

    Raises:
        InvalidPairs: a line cannot be read, one of its images does not exist, or the columns are ambiguous.
    """
    rows = list(_read_csv(path) if path.suffix == ".csv" else _read_jsonl(path))
    found = _image_columns(rows[0][1]) if rows else {}
    known = ", ".join(found) or "none"
    if columns is None:
        if len(found) < 2:
            return None
        if len(found) > 2:
            raise InvalidPairs(
                f"{path} has {len(found)} image columns ({known}), expected two. "
                "Name two with --columns INPUT TARGET"
            )
        chosen = order_columns(list(found))
    else:
        keys = {key: name for name, key in found.items()}
        for name in columns:
            if name not in found and name not in keys:
                raise InvalidPairs(f"{path} has no image column {name!r}. Its image columns: {known}")
        chosen = (keys.get(columns[0], columns[0]), keys.get(columns[1], columns[1]))
    taken: set[str] = set()
    listed = []
    for number, row in rows:
        paths = [_path_of(path, number, row, found[name]) for name in chosen]
        name = unicodedata.normalize("NFC", os.path.splitext(row[found[chosen[0]]])[0])
        name = name if name not in taken else f"{name}-{number}"  # an input can have several targets
        taken.add(name)
        listed.append((name, (paths[0], paths[1])))
    return Listing(path, chosen, tuple(listed))


def _image_columns(row: Mapping[str, Any]) -> dict[str, str]:
    """The names of image columns as in `datasets`, and their keys in the file."""
    columns = {}
    for key, value in row.items():
        if key == _FILE_KEY:
            columns["image"] = key
        elif key.endswith(_FILE_ENDING):
            columns[key.removesuffix(_FILE_ENDING)] = key
        elif isinstance(value, str) and Path(value).suffix.lower() in IMAGE_SUFFIXES:
            columns[key] = key
    return columns


def _path_of(path: Path, number: int, row: Mapping[str, Any], key: str) -> Path:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidPairs(f"{path}, line {number}: no path in {key!r}. Complete the line or leave it out")
    # macOS decomposes letters such as umlauts, and the program that wrote the line may not have.
    for written in (value, unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value)):
        try:
            # A file of somebody else can name any path of this machine.
            found = path_within(path.parent, "/".join(part for part in written.split("/") if part != "."))
        except DamagedFile:
            break
        if is_file(found):
            return found
    raise InvalidPairs(
        f"{path}, line {number}: there is no file {value[:80]!r} below its folder. "
        "Correct the line or leave it out"
    )


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidPairs(f"{path}, line {number}: not JSON. Correct the line") from error
        if not isinstance(row, dict):
            raise InvalidPairs(f"{path}, line {number}: expected an object such as {{...}}. Correct the line")
        yield number, row


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(_text_of(path).splitlines(keepends=True), strict=True)
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key is not None}
    except csv.Error as error:
        raise InvalidPairs(f"{path}, line {reader.line_num}: {error}. Correct the line") from error


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidPairs(f"cannot read {path}: {error.strerror}. Check the file") from error
    except UnicodeDecodeError as error:
        raise InvalidPairs(f"cannot read {path}: it is not UTF-8. Save it as UTF-8") from error
