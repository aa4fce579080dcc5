"""Rows of datasets, from the Hub or a folder, by the library `datasets`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidPairs, MissingExtra
from initzoo.files import is_file

__all__ = ["bytes_of", "is_dataset", "open_rows", "undecoded"]

_DATASET_ENDINGS = (".parquet", ".arrow")
_DATASET_FILES = {"dataset_info.json", "state.json", "dataset_dict.json"}


def is_dataset(folder: Path, source: str) -> bool:
    """Whether `datasets` can load the source: a folder of its files, or text that looks like a Hub id."""
    if os.path.isdir(folder):
        for _, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]  # caches of other programs
            if any(name in _DATASET_FILES or name.lower().endswith(_DATASET_ENDINGS) for name in files):
                return True
        return False
    is_path = source.startswith((".", "/", "~")) or source.count("/") != 1
    return not is_path and not os.path.exists(folder) and all(source.split("/"))


def open_rows(source: str, split: str, *, what: str = "pairs") -> tuple[Any, list[str]]:
    """The rows of a dataset, and the names of its image columns.

    Raises:
        MissingExtra: `datasets` is not installed; `what` is what it is needed for.
        InvalidPairs: the dataset cannot be loaded, or has no such split.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(
            f'{what} from a dataset need datasets. Install it with: pip install "initzoo[datasets]"'
        ) from error
    rows = _load_dataset(datasets, source, split)
    return rows, [name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)]


def undecoded(rows: Any, columns: Sequence[str]) -> Any:
    """The rows with these columns alone, whose images are bytes or paths.

    `datasets` would drop the colour profile and the orientation, and stumble over damaged images in columns
    that do not matter.
    """
    import datasets

    rows = rows.select_columns(list(dict.fromkeys(columns)))
    for column in dict.fromkeys(columns):
        rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def bytes_of(name: str, image: Any) -> bytes:
    """The bytes of an image, from the row or from a file beside the dataset."""
    if image is None or (image.get("bytes") is None and not image.get("path")):
        raise InvalidPairs(f"dataset {name}: an image is missing. Leave the row out")
    if image.get("bytes") is not None:
        return bytes(image["bytes"])
    try:
        return Path(image["path"]).read_bytes()
    except OSError as error:
        reason = f"{error.strerror}: {image['path']}"
        raise InvalidPairs(
            f"dataset {name}: an image cannot be read ({reason}). Leave the row out"
        ) from error


def _load_dataset(datasets: Any, source: str, split: str) -> Any:
    """Load the rows of one split, from a folder of `save_to_disk` or by `load_dataset`."""
    folder = Path(source)
    try:
        if is_file(folder / "dataset_dict.json"):
            parts = datasets.load_from_disk(source)
            if split not in parts:
                raise InvalidPairs(
                    f"dataset {source} has no split {split!r}. Take one of: {', '.join(parts)}, with --split"
                )
            return parts[split]
        if is_file(folder / "state.json"):
            return datasets.load_from_disk(source)
        return datasets.load_dataset(source, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidPairs(
            f"dataset {source} cannot be loaded: {reason}. Check name and connection"
        ) from error
