"""Rows of datasets, from the Hub or a folder, by the library `datasets`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidPairs, MissingExtra
from initzoo.files import DamagedFile, is_file, path_within, read_file

__all__ = ["bytes_of", "is_dataset", "open_rows", "undecoded"]

_DATASET_ENDINGS = (".parquet", ".arrow")
_MAX_IMAGE_BYTES = 2**29
_MAX_LIST_BYTES = 2**24
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


def bytes_of(source: str, name: str, image: Any) -> bytes:
    """The bytes of an image, from the row or from a file of the dataset.

    A row of a dataset of somebody else can name any path of this machine.

    Args:
        source: folder or id of the dataset.
        name: name of the row in errors.
        image: the value of the row.

    Raises:
        InvalidPairs: there is no image, or its path is none of a plain file of the dataset.
    """
    if image is None or (image.get("bytes") is None and not image.get("path")):
        raise InvalidPairs(f"dataset {name}: an image is missing. Leave the row out")
    if image.get("bytes") is not None:
        return bytes(image["bytes"])
    path = str(image["path"])
    if not any(_is_within(path, folder) for folder in _folders_of(source)):
        raise InvalidPairs(
            f"dataset {name}: the image {path[:80]!r} is not a file of the dataset. Put it into the folder"
        )
    try:
        return read_file(path, max_bytes=_MAX_IMAGE_BYTES)
    except DamagedFile as error:
        raise InvalidPairs(f"dataset {name}: an image {error}: {path[:80]}. Leave the row out") from error


def _folders_of(source: str) -> list[str]:
    """The folders that hold files of a dataset: its own, or what is kept of the Hub."""
    if os.path.isdir(source):
        return [source]
    import datasets

    hub = os.environ.get("HF_HUB_CACHE") or os.path.join(datasets.config.HF_CACHE_HOME, "hub")
    kept = os.path.join(hub, f"datasets--{source.replace('/', '--')}")
    return [kept, str(datasets.config.DOWNLOADED_DATASETS_PATH)]


def _is_within(path: str, folder: str) -> bool:
    """Whether a path leads below a folder. Links there are followed, as everywhere in a folder of images."""
    try:
        # Both ways, since the path may have been resolved and the folder be a link.
        return any(
            os.path.commonpath([place, whole]) == whole
            for place, whole in (
                (os.path.abspath(path), os.path.abspath(folder)),
                (os.path.realpath(path), os.path.realpath(folder)),
            )
        )
    except ValueError:  # another drive, or a name that cannot be
        return False


def _check_lists(folder: Path) -> None:
    """Check that the lists of files in a folder of `save_to_disk` name files of the folder.

    Raises:
        DamagedFile: one names another file.
    """
    splits = (
        _listed(folder / "dataset_dict.json", "splits") if is_file(folder / "dataset_dict.json") else [""]
    )
    for split in splits:
        part = path_within(folder, str(split)) if split else folder
        for entry in _listed(part / "state.json", "_data_files"):
            path_within(part, str(entry.get("filename")) if isinstance(entry, dict) else "")


def _listed(path: Path, key: str) -> list[Any]:
    try:
        listed = json.loads(read_file(path, max_bytes=_MAX_LIST_BYTES))[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFile(f"{path.name} is damaged") from error
    if not isinstance(listed, list):
        raise DamagedFile(f"{path.name} is damaged")
    return listed


def _check_builder(datasets: Any, source: str) -> None:
    """Check that a dataset reads its own files only: its README can name others.

    Raises:
        DamagedFile: it names another file.
    """
    files = getattr(datasets.load_dataset_builder(source).config, "data_files", None) or {}
    folders = [*_folders_of(source), str(datasets.config.HF_DATASETS_CACHE)]
    for path in (str(one) for part in dict(files).values() for one in part):
        if "://" in path and not os.path.isdir(source):
            continue  # on the Hub
        if not any(_is_within(path, folder) for folder in folders):
            raise DamagedFile(f"it names {path[:80]!r}, which is not in its folder")


def _load_dataset(datasets: Any, source: str, split: str) -> Any:
    """Load the rows of one split, from a folder of `save_to_disk` or by `load_dataset`."""
    folder = Path(source)
    try:
        is_saved = is_file(folder / "dataset_dict.json") or is_file(folder / "state.json")
        if is_saved:
            _check_lists(folder)
        if is_file(folder / "dataset_dict.json"):
            parts = datasets.load_from_disk(source)
            if split not in parts:
                raise InvalidPairs(
                    f"dataset {source} has no split {split!r}. Take one of: {', '.join(parts)}, with --split"
                )
            return parts[split]
        if is_file(folder / "state.json"):
            return datasets.load_from_disk(source)
        _check_builder(datasets, source)
        return datasets.load_dataset(source, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidPairs(
            f"dataset {source} cannot be loaded: {reason}. Check name and connection"
        ) from error
