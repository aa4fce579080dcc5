"""Large files read in pieces, each verified against its digest before it is used.

Files are not memory-mapped: a mapped file that shrinks kills the process, and its content can
change between check and use. Here the bytes in memory are both checked and used.
"""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from initzoo.files.digests import DamagedFile

__all__ = ["PieceFile"]

_MAX_KEPT_BYTES = 2**24


class PieceFile:
    """A file whose pieces have known digests. Keeps the last 16 MiB of pieces in memory.

    Args:
        path: the file.
        bounds: offsets of the pieces in bytes, ascending, then the end of the last one.
        digests: SHA-256 of each piece, 32 bytes.

    Raises:
        DamagedFile: the file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = file.write(b"onetwo"), file.flush()
        ...     digests = [hashlib.sha256(text).digest() for text in (b"one", b"two")]
        ...     PieceFile(file.name, [0, 3, 6], digests).read(2, 5)
        b'etw'
    """

    def __init__(self, path: str | os.PathLike[str], bounds: Sequence[int], digests: Sequence[bytes]) -> None:
        self.path = Path(path)
        self._bounds, self._digests = bounds, digests
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._n_kept_bytes = 0
        self._lock = threading.Lock()
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise DamagedFile(f"cannot be read ({error.strerror or error})") from error

    def __del__(self) -> None:
        """Close the file."""
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def read(self, start: int, end: int) -> bytes:
        """Read bytes `start` to `end`, all verified.

        Raises:
            DamagedFile: a piece cannot be read or does not match its digest.
            ValueError: the range lies outside the pieces.
        """
        if not self._bounds[0] <= start <= end <= self._bounds[-1]:
            raise ValueError(f"bytes {start} to {end} lie outside of {self._bounds[0]} to {self._bounds[-1]}")
        number = max(bisect_right(self._bounds, start) - 1, 0)
        parts = []
        while start < end:
            first, last = self._bounds[number], self._bounds[number + 1]
            parts.append(self._piece(number)[start - first : end - first])
            start, number = last, number + 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _piece(self, number: int) -> bytes:
        with self._lock:  # one position in the file, and one memory, for all threads
            return self._read_piece(number)

    def _read_piece(self, number: int) -> bytes:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        start, end = self._bounds[number], self._bounds[number + 1]
        try:
            self._file.seek(start)  # Windows has no pread
            data = self._file.read(end - start)
        except OSError as error:
            raise DamagedFile(f"cannot be read ({error.strerror or error})") from error
        if hashlib.sha256(data).digest() != self._digests[number]:
            raise DamagedFile(f"its bytes {start} to {end} do not match their digest")
        self._kept[number] = data
        self._n_kept_bytes += len(data)
        while self._n_kept_bytes > _MAX_KEPT_BYTES and len(self._kept) > 1:
            self._n_kept_bytes -= len(self._kept.popitem(last=False)[1])
        return data
