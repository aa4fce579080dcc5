"""Names that come from files or servers: they become paths here, and nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

from initzoo.files.digests import DamagedFile

__all__ = ["is_plain_name", "list_files", "path_within"]

_MAX_NAME_BYTES = 255
_MAX_PARTS = 32
_FORBIDDEN = re.compile(r"[/\\:\x00-\x1f\x7f-\x9f]" if os.name == "nt" else r"[/\\\x00-\x1f\x7f-\x9f]")


def is_plain_name(name: str) -> bool:
    """Whether a name can be that of one file in a folder.

    Path separators and control characters are refused, and so are the names of the folder itself and of its
    parent. Bytes that are not UTF-8, which Python reads as surrogates, are allowed.

    Example:
        >>> is_plain_name("chelsea.png"), is_plain_name("../chelsea.png"), is_plain_name("..")
        (True, False, False)
    """
    if not name or name in (".", "..") or _FORBIDDEN.search(name):
        return False
    return len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME_BYTES


def path_within(folder: Path, name: str) -> Path:
    """Join a folder and a relative name with `/`, which a file or a server has given.

    Args:
        folder: the folder.
        name: plain names (see `is_plain_name`), joined by `/`.

    Raises:
        DamagedFile: the path would leave the folder, or a part of it is not a plain name.

    Example:
        >>> path_within(Path("zoo"), "blocks/a.safetensors").as_posix()
        'zoo/blocks/a.safetensors'
        >>> path_within(Path("zoo"), "../a.safetensors")
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: the name '../a.safetensors' is unsafe as a path
    """
    parts = name.split("/")
    if len(parts) > _MAX_PARTS or not all(map(is_plain_name, parts)):
        raise DamagedFile(f"the name {name[:80]!r} is unsafe as a path")
    return folder.joinpath(*parts)


def list_files(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """List the plain files below a folder, and what else is there. Links are not followed.

    Args:
        folder: the folder; it may be missing, or be a link itself.

    Returns:
        The plain files, sorted; and what each path is that is neither a plain file nor a folder, e.g. a link.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     (Path(name) / "link").symlink_to("/etc/hosts")
        ...     [(path.name, kind) for path, kind in list_files(Path(name))[1].items()]
        [('link', 'a link')]
    """
    files, others = [], {}
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listed:
                entries = list(listed)
        except FileNotFoundError:
            continue
        except OSError as error:
            others[Path(error.filename)] = f"not readable ({error.strerror})"
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() or getattr(path, "is_junction", bool)():
                others[path] = "a link"
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif entry.is_file(follow_symlinks=False):
                files.append(path)
            else:
                others[path] = "a device or the like"
    return sorted(files), dict(sorted(others.items()))
