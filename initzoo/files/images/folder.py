"""The images of a folder, by their content, and a word on the files that are left out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from initzoo.errors import InitzooWarning
from initzoo.files.images.reading import identify

__all__ = ["ImageFolder", "describe_left_out", "list_images", "warn_left_out"]

_N_NAMED = 3


@dataclass(frozen=True)
class ImageFolder:
    """Files of a folder.

    Args:
        path: of the folder.
        images: in the order of their names.
        left_out: why each other file is no image that can be read, by its name.
    """

    path: Path
    images: tuple[Path, ...]
    left_out: dict[str, str]


def list_images(folder: Path) -> ImageFolder:
    """Find the images of a folder, whatever the endings of their names say.

    Hidden files and folders inside are passed over.

    Args:
        folder: that exists.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "notes.txt").write_text("words")
        ...     list_images(Path(folder)).left_out
        {'notes.txt': 'not an image of a known kind'}
    """
    images, left_out = [], {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        reason = identify(path) if path.is_file() else "not a file"
        if reason is None:
            images.append(path)
        else:
            left_out[path.name] = reason
    return ImageFolder(folder, tuple(images), left_out)


def describe_left_out(folder: Path, left_out: Mapping[str, str]) -> str:
    """Say in one line which files of a folder are left out, and why.

    Args:
        folder: of the files.
        left_out: reason by name of the file.

    Example:
        >>> describe_left_out(Path("photos"), {"a.txt": "not an image", "b.txt": "not an image"})
        '2 files of photos are left out: a.txt, b.txt (not an image)'
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name)
    parts = []
    for reason, names in by_reason.items():
        shown = ", ".join(names[:_N_NAMED])
        further = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
        parts.append(f"{shown}{further} ({reason})")
    count = "1 file" if len(left_out) == 1 else f"{len(left_out)} files"
    verb = "is" if len(left_out) == 1 else "are"
    return f"{count} of {folder} {verb} left out: {'; '.join(parts)}"


def warn_left_out(folder: str | os.PathLike[str], left_out: Mapping[str, str]) -> None:
    """Warn of files that are left out; nothing happens if there are none.

    Args:
        folder: of the files.
        left_out: reason by name of the file.
    """
    if left_out:
        # One place for all callers, so that a process says the same thing once.
        warnings.warn(describe_left_out(Path(folder), left_out), InitzooWarning, stacklevel=1)
