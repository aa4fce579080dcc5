"""Files that the page shows or offers for download, kept for a limited time."""

from __future__ import annotations

import hmac
import io
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.files import write_bytes

__all__ = ["KeptFiles", "Sweeper"]

_AGE = 60
"""Seconds after which another use of a file renews its time stamp, so that the sweep spares it."""


class KeptFiles:
    """A content-addressed folder of files: equal bytes are stored once.

    Args:
        folder: an existing folder.
        max_bytes: most bytes of all files together; the longest unused ones make room.
        max_age: seconds after which a file is not spared any longer, however often it is used.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = KeptFiles(Path(folder))
        ...     one, other = kept.keep("a.txt", b"hello"), kept.keep("a.txt", b"hello")
        ...     one == other, one.name, one.read_bytes()
        (True, 'a.txt', b'hello')
    """

    def __init__(self, folder: Path, *, max_bytes: int = 2 * 10**9, max_age: float = 6 * 3600) -> None:
        self._max_bytes, self._max_age = max_bytes, max_age
        self.folder = Path(os.path.realpath(folder))
        self._key = secrets.token_bytes(32)
        self._first_kept: dict[Path, float] = {}
        self._n_kept = 0
        self._lock = threading.Lock()  # keeps the sweep from removing a folder that a file is written to

    def keep(self, name: str, data: bytes) -> Path:
        """Store a file and return its path.

        Args:
            name: name of the file, as a download shows it.
            data: content of the file.

        Raises:
            OutputError: the disk is full, or the folder was deleted.
        """
        # Keyed: who has a photo cannot find out whether somebody else has sent it.
        folder = self.folder / hmac.digest(self._key, data, "sha256").hex()[:32]
        path = folder / name
        if not self.touch(path):
            with self._lock:
                folder.mkdir(parents=True, exist_ok=True)
                write_bytes(path, data, force=True)
                self._first_kept[path] = time.time()
                self._n_kept += len(data)
            if self._n_kept > self._max_bytes:
                self._make_room(path)
        return path

    def touch(self, path: Path) -> bool:
        """Note that a file was used, so that the sweep spares it; returns whether the file exists.

        A file that was kept for `max_age` is noted no more, so that nothing stays for ever.
        """
        try:
            now = time.time()
            is_young = path.stat().st_mtime > now - _AGE
            if not is_young and now - self._first_kept.get(path, now) < self._max_age:
                os.utime(path)
        except OSError:
            return False
        return True

    def _make_room(self, newest: Path) -> None:
        """Delete the files that were not used for the longest time, until half of the room is free."""
        with self._lock:
            found = []
            for path in list(self._first_kept):
                with suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
            self._n_kept = sum(size for _, size, _ in found)
            for _, size, path in sorted(found):
                if self._n_kept <= self._max_bytes / 2:
                    break
                if path == newest:
                    continue
                with suppress(FileNotFoundError):
                    path.unlink()
                self._n_kept -= size
                self._first_kept.pop(path, None)

    def keep_picture(self, name: str, pixels: NDArray[np.uint8]) -> Path:
        """Store a picture losslessly as a PNG file and return its path.

        Args:
            name: name of the file, ending in `.png`.
            pixels: uint8 RGB, shape `(height, width, 3)`.
        """
        from PIL import Image

        data = io.BytesIO()
        # Low compression is fast, and a visitor waits for it.
        Image.fromarray(pixels).save(data, "PNG", compress_level=1)
        return self.keep(name, data.getvalue())

    def all_files(self) -> set[Path]:
        """All files in the folder, also those of the server."""
        return {Path(folder) / name for folder, _, names in os.walk(self.folder) for name in names}

    def sweep(self, *, age: float, spared: frozenset[Path] = frozenset()) -> int:
        """Delete files that were not used for a while, then empty folders.

        Args:
            age: minimum seconds since the last use of a file to delete.
            spared: files that are never deleted.

        Returns:
            The number of deleted files.
        """
        oldest, n_deleted = time.time() - age, 0
        for path in self.all_files() - spared:
            with suppress(FileNotFoundError):  # the server deletes files, too
                if path.lstat().st_ctime < oldest:
                    path.unlink()
                    self._first_kept.pop(path, None)
                    n_deleted += 1
        for folder in [entry.path for entry in os.scandir(self.folder) if entry.is_dir()]:
            # Skips folders that are not empty or are gone already.
            with self._lock, suppress(OSError):
                if os.stat(folder).st_mtime < oldest:
                    os.rmdir(folder)
        return n_deleted


class Sweeper:
    """Sweeps a folder regularly in a background thread.

    The server itself deletes files that it has shown. Truncated uploads, photos that were never shown and
    empty folders are left to this class.

    Args:
        kept: the folder; files that it holds already are spared.
        age: seconds to keep a file after its last use.
    """

    def __init__(self, kept: KeptFiles, *, age: float) -> None:
        self._kept, self._age = kept, age
        self._spared = frozenset(kept.all_files())
        self._is_stopped = threading.Event()
        threading.Thread(target=self._run, name="initzoo-sweeper", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread."""
        self._is_stopped.set()

    def _run(self) -> None:
        every = self._age / 10
        while not self._is_stopped.wait(every):
            # Later than the server, so that it does not look for files that are gone.
            self._kept.sweep(age=self._age + 2 * every, spared=self._spared)
