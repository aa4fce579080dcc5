"""The server's folder of visitors' files, and the removal of those that killed servers left behind."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["VisitorFolder", "remove_leftovers"]

_PREFIX = "initzoo-demo-"
_LOCK = ".lock"


class VisitorFolder:
    """A new temporary folder, locked as long as this process lives.

    The system releases the lock even if the process is killed. That tells the next server that nobody
    uses the folder any more.

    Args:
        parent: folder of the folder; by default the folder for temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        # Beside the folder, which is emptied regularly.
        self._lock = FileLock(self.path.with_name(self.path.name + _LOCK))
        self._lock.acquire(timeout=10)

    def remove(self) -> None:
        """Delete the folder with all files in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


def remove_leftovers(parent: Path | None = None) -> int:
    """Remove the folders of servers that were killed.

    Args:
        parent: folder in which `VisitorFolder` makes folders.

    Returns:
        The number of removed folders.

    Example:
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = VisitorFolder(Path(parent))
        ...     remove_leftovers(Path(parent)), folder.path.exists()
        (0, True)
    """
    n_removed = 0
    for lock_path in (parent or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*{_LOCK}"):
        lock = FileLock(lock_path)
        with suppress(Timeout, OSError):  # in use, or of another user
            lock.acquire(timeout=0)
            folder = lock_path.with_name(lock_path.name.removesuffix(_LOCK))
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
                n_removed += 1
            lock.release()
            lock_path.unlink(missing_ok=True)
    return n_removed
