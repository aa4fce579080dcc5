"""Long arrays in memory or in a file, and a sorter for more keys than fit in memory.

The file holds the arrays one after the other, then a JSON trailer, then the trailer's
length and SHA-256. The trailer has the byte range and dtype of each array and the SHA-256
of each 64 KiB piece, so a reader verifies exactly the pieces that it reads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from initzoo.files import DamagedFile, PieceFile, read_settings

__all__ = ["FileSections", "KeySorter", "MemorySections", "Sections", "distinct", "read_sections"]

_PIECE = 2**16  # bytes per digest: a lookup reads a few pieces of a file of many megabytes
_MAX_TRAILER = 2**28
_N_BUCKETS = 256
_MAX_BUFFERED = 2**20  # keys, 8 MiB
_VERSION = 1
_DTYPES = ("<u8", "<u4", "<u2", "|u1")


@dataclass(frozen=True)
class _Trailer:
    """The last part of the file."""

    version: int
    made_for: str
    arrays: dict[str, tuple[int, int, str]]
    digests: str


class LongArray(Protocol):
    """A one-dimensional array that is read in slices."""

    def __len__(self) -> int:
        """Number of values."""

    def __getitem__(self, index: slice) -> NDArray[Any]:
        """The values of a slice without a step."""

    def searchsorted(self, key: Any) -> Any:
        """The first index whose value is at least `key`."""


class Sections(Protocol):
    """Collects named arrays, each given in parts."""

    def add(self, name: str, parts: Iterable[NDArray[Any]], dtype: type) -> None:
        """Add an array, its parts in order."""


class MemorySections(dict[str, LongArray]):
    """Arrays in memory.

    Example:
        >>> sections = MemorySections()
        >>> sections.add("keys", [np.array([1, 2]), np.array([5])], np.uint64)
        >>> int(sections["keys"].searchsorted(np.uint64(3)))
        2
    """

    def add(self, name: str, parts: Iterable[NDArray[Any]], dtype: type) -> None:
        """Add an array, its parts in order."""
        kept: list[NDArray[Any]] = [np.asarray(part, dtype) for part in parts]
        self[name] = np.concatenate(kept) if kept else np.zeros(0, dtype)


class FileSections:
    """Writes arrays to an open file; call `finish` after the last one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int, str]] = {}
        self._digests: list[str] = []
        self._rest = b""
        self._size = 0

    def add(self, name: str, parts: Iterable[NDArray[Any]], dtype: type) -> None:
        """Write an array."""
        start = self._size
        for part in parts:
            self._write(np.ascontiguousarray(part, dtype).tobytes())
        self._places[name] = (start, self._size, np.dtype(dtype).str)

    def finish(self, made_for: str) -> None:
        """Write the trailer.

        Args:
            made_for: identifies the content; `read_sections` must be given the same.
        """
        if self._rest:
            self._digests.append(hashlib.sha256(self._rest).hexdigest())
            self._file.write(self._rest)
        values = {"version": _VERSION, "made_for": made_for, "arrays": self._places}
        trailer = json.dumps(values | {"digests": "".join(self._digests)}).encode()
        self._file.write(trailer + len(trailer).to_bytes(8, "little") + hashlib.sha256(trailer).digest())

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        data = self._rest + data
        n_whole = len(data) // _PIECE * _PIECE
        for start in range(0, n_whole, _PIECE):
            self._digests.append(hashlib.sha256(data[start : start + _PIECE]).hexdigest())
        self._file.write(data[:n_whole])
        self._rest = data[n_whole:]


def read_sections(path: Path, made_for: str) -> dict[str, LongArray]:
    """Open the arrays of a file that `FileSections` wrote.

    Raises:
        DamagedFile: the file does not exist, is damaged, or was made for something else.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(size - 40, 0))
            tail = file.read(40)
            length = int.from_bytes(tail[:8], "little")
            if len(tail) < 40 or length > min(size - 40, _MAX_TRAILER):
                raise DamagedFile("is cut off")
            file.seek(size - 40 - length)
            trailer = file.read(length)
    except OSError as error:
        raise DamagedFile(f"cannot be read ({error.strerror or error})") from error
    if hashlib.sha256(trailer).digest() != tail[8:]:
        raise DamagedFile("its last part does not match its digest")
    try:
        values = read_settings(msgspec.json.decode(trailer), _Trailer)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise DamagedFile("its last part cannot be read") from error
    if (values.version, values.made_for) != (_VERSION, made_for):
        raise DamagedFile("was made for something else")
    n_bytes = size - 40 - length
    if not re.fullmatch(r"([0-9a-f]{64})*", values.digests) or -(-n_bytes // _PIECE) * 64 != len(
        values.digests
    ):
        raise DamagedFile("does not have a digest for each of its pieces")
    digests = [bytes.fromhex(values.digests[i : i + 64]) for i in range(0, len(values.digests), 64)]
    bounds = [min(number * _PIECE, n_bytes) for number in range(len(digests) + 1)]
    for name, (start, end, dtype) in values.arrays.items():
        if dtype not in _DTYPES or not 0 <= start <= end <= n_bytes:
            raise DamagedFile(f"array '{name[:40]}' lies outside of it, or is of an unknown type")
    pieces = PieceFile(path, bounds, digests)
    return {
        name: _StoredArray(pieces, start, end, np.dtype(dtype))
        for name, (start, end, dtype) in values.arrays.items()
    }


class _StoredArray:
    """An array in a file of sections; every read verifies the pieces that it touches."""

    def __init__(self, pieces: PieceFile, start: int, end: int, dtype: np.dtype[Any]) -> None:
        self._pieces, self._start, self._dtype = pieces, start, dtype
        self._n = (end - start) // dtype.itemsize

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: slice) -> NDArray[Any]:
        first, last, _ = index.indices(self._n)
        width = self._dtype.itemsize
        data = self._pieces.read(self._start + first * width, self._start + max(first, last) * width)
        return np.frombuffer(data, self._dtype)

    def searchsorted(self, key: Any) -> int:
        # Bisect down to about one piece, then search that in memory: each read costs a digest.
        low, high = 0, self._n
        width = _PIECE // self._dtype.itemsize
        while high - low > width:
            middle = (low + high) // 2
            if self[middle : middle + 1][0] < key:
                low = middle + 1
            else:
                high = middle
        return low + int(self[low:high].searchsorted(key))


def distinct(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[Any]]:
    """The distinct keys in ascending order and the first index of each.

    `np.unique` uses a hash table for this and is slower.

    Example:
        >>> distinct(np.array([7, 2, 7], np.uint64))
        (array([2, 7], dtype=uint64), array([1, 0]))
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_first = _are_first(ordered)
    return ordered[is_first], order[is_first]


def _are_first(ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Marks the keys that differ from their predecessor."""
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return is_first


class KeySorter:
    """Sorts and deduplicates more keys than fit in memory: a bucket sort by the upper bits, in files.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorter = KeySorter(Path(folder))
        ...     sorter.add(np.array([7, 2, 7], np.uint64))
        ...     sorter.add(np.array([1], np.uint64))
        ...     np.concatenate(list(sorter.sorted_parts()))
        array([1, 2, 7], dtype=uint64)
    """

    def __init__(self, folder: Path | None) -> None:
        """Use `folder` for keys that do not fit in memory; None keeps all there. The caller removes it."""
        self._folder = folder
        self._buffered: list[NDArray[np.uint64]] = []
        self._n_buffered = 0
        self._spilled = False

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Add uint64 keys in any order."""
        self._buffered.append(keys)
        self._n_buffered += len(keys)
        if self._folder is not None and self._n_buffered > _MAX_BUFFERED:
            self._spill(self._folder)

    def sorted_parts(self) -> Iterator[NDArray[np.uint64]]:
        """The distinct keys in ascending order, in several arrays."""
        if self._folder is None or not self._spilled:
            yield self._taken()
            return
        self._spill(self._folder)
        for number in range(_N_BUCKETS):
            path = self._folder / f"{number}.keys"
            if path.exists():
                keys = np.fromfile(path, np.uint64)
                keys.sort()
                yield keys[_are_first(keys)]
                path.unlink()

    def _taken(self) -> NDArray[np.uint64]:
        keys = np.concatenate([np.zeros(0, np.uint64), *self._buffered])
        self._buffered, self._n_buffered = [], 0
        keys.sort()
        return keys[_are_first(keys)]

    def _spill(self, folder: Path) -> None:
        """Append the buffered keys to one file per bucket."""
        keys = self._taken()
        folder.mkdir(exist_ok=True)
        limits = np.arange(_N_BUCKETS, dtype=np.uint64) << np.uint64(64 - (_N_BUCKETS - 1).bit_length())
        bounds = [*keys.searchsorted(limits), len(keys)]
        for number, (first, last) in enumerate(pairwise(bounds)):
            if first < last:
                with (folder / f"{number}.keys").open("ab") as file:
                    keys[first:last].tofile(file)
        self._spilled = True
