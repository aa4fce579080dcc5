"""Files that the page shows or gives away, kept for a while in a folder that is swept."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.files.atomic import write_bytes

__all__ = ["KeptFiles", "Sweeper"]

_AGE = 60
"""Seconds after which a file that is used again is made young again, so that the sweep spares it."""


class KeptFiles:
    """A folder of files by content: the same bytes are one file, whoever asks for them.

    Args:
        folder: is there already.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = KeptFiles(Path(folder))
        ...     one, other = kept.keep("a.txt", b"hello"), kept.keep("a.txt", b"hello")
        ...     one == other, one.name, one.read_bytes()
        (True, 'a.txt', b'hello')
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._lock = threading.Lock()  # so that no folder is swept away under a file that goes into it

    def keep(self, name: str, data: bytes) -> Path:
        """The place of a file with these bytes.

        Args:
            name: a plain file name, as whoever downloads it will see it.
            data: its bytes.

        Raises:
            OutputError: the disk is full, or the folder is gone.
        """
        folder = self.folder / hashlib.sha256(data).hexdigest()[:32]
        path = folder / name
        try:
            is_young = path.stat().st_mtime > time.time() - _AGE
            if not is_young:
                os.utime(path)
        except OSError:
            with self._lock:
                folder.mkdir(parents=True, exist_ok=True)
                write_bytes(path, data, force=True)
        return path

    def keep_picture(self, name: str, pixels: NDArray[np.uint8]) -> Path:
        """The place of a picture as a PNG file: shown pixel by pixel as it was made.

        Args:
            name: ends with `.png`.
            pixels: uint8 RGB, shape `(height, width, 3)`.
        """
        from PIL import Image

        data = io.BytesIO()
        # Little compression: a visitor waits for it, and the network between is fast enough.
        Image.fromarray(pixels).save(data, "PNG", compress_level=1)
        return self.keep(name, data.getvalue())

    def all_files(self) -> set[Path]:
        """Every file in the folder, whoever put it there."""
        return {Path(place) / name for place, _, names in os.walk(self.folder) for name in names}

    def sweep(self, *, age: float, spared: frozenset[Path] = frozenset()) -> int:
        """Delete what nobody used for a while, and the folders that are empty then.

        Args:
            age: seconds since a file was last used.
            spared: files that stay.

        Returns:
            How many files were deleted.
        """
        oldest, n_deleted = time.time() - age, 0
        for path in self.all_files() - spared:
            with suppress(FileNotFoundError):  # the server deletes files, too
                if path.lstat().st_ctime < oldest:
                    path.unlink()
                    n_deleted += 1
        for folder in [entry.path for entry in os.scandir(self.folder) if entry.is_dir()]:
            # What is not empty, or gone by now, stays as it is.
            with self._lock, suppress(OSError):
                if os.stat(folder).st_mtime < oldest:
                    os.rmdir(folder)
        return n_deleted


class Sweeper:
    """Sweeps a folder now and then, in a thread of its own, of what the server itself forgets.

    The server deletes files that it has shown; uploads that were cut off, photos that were never shown and
    empty folders are left to this one.

    Args:
        kept: the folder; what is in it now stays.
        age: seconds that a file is kept after it was last used.
    """

    def __init__(self, kept: KeptFiles, *, age: float) -> None:
        self._kept, self._age = kept, age
        self._spared = frozenset(kept.all_files())
        self._is_stopped = threading.Event()
        threading.Thread(target=self._run, name="initzoo-sweeper", daemon=True).start()

    def stop(self) -> None:
        """Sweep no more."""
        self._is_stopped.set()

    def _run(self) -> None:
        every = self._age / 10
        while not self._is_stopped.wait(every):
            # Later than the server, which then need not look for what is gone.
            self._kept.sweep(age=self._age + 2 * every, spared=self._spared)
