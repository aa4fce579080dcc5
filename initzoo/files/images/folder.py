"""Lists the images of a folder by content, and describes the files that are left out."""

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
    """The image files of a folder.

    Args:
        path: path of the folder.
        images: image files, sorted by name.
        left_out: reason why each other file cannot be read as an image, by name.
    """

    path: Path
    images: tuple[Path, ...]
    left_out: dict[str, str]


def list_images(folder: Path) -> ImageFolder:
    """List the images of a folder by content; endings of names do not matter.

    Hidden files and subfolders are ignored.

    Args:
        folder: an existing folder.

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
    """Describe in one line which files of a folder are left out, and why.

    Args:
        folder: folder of the files.
        left_out: reason per file name.

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
    """Warn about files that are left out, if there are any.

    Args:
        folder: folder of the files.
        left_out: reason per file name.
    """
    if left_out:
        # Python shows a warning once per source line: all callers share this one.
        warnings.warn(describe_left_out(Path(folder), left_out), InitzooWarning, stacklevel=1)
