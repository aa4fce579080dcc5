"""Files that the page shows or gives away, kept for a while in a folder that is swept."""

from __future__ import annotations

import hashlib
import io
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.outputs import write_bytes

__all__ = ["KeptFiles"]

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
