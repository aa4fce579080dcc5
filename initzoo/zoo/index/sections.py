"""Long arrays, in memory or in a file that is read piece by piece; and how more keys are sorted than fit.

A file of sections has the arrays one after the other, then a JSON text that says where
they are, with the digest of every 64 KiB, then that text's length and digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.files.chunked import PieceFile
from initzoo.files.digests import DamagedFile

__all__ = ["FileSections", "KeySorter", "MemorySections", "Sections", "distinct", "read_sections"]

_PIECE = 2**16
_MAX_TRAILER = 2**28
_N_BUCKETS = 256
_MAX_BUFFERED = 2**20
_VERSION = 1


class LongArray(Protocol):
    """An array of one dimension that is read in slices."""

    def __len__(self) -> int:
        """Number of values."""

    def __getitem__(self, place: slice) -> NDArray[Any]:
        """The values of a slice without a step."""

    def searchsorted(self, key: Any) -> Any:
        """The first place whose value is not below `key`."""


class Sections(Protocol):
    """Takes arrays by name, in parts, one array after the other."""

    def add(self, name: str, parts: Iterable[NDArray[Any]], dtype: type) -> None:
        """Take an array."""


class MemorySections(dict[str, LongArray]):
    """Arrays in memory.

    Example:
        >>> sections = MemorySections()
        >>> sections.add("keys", [np.array([1, 2]), np.array([5])], np.uint64)
        >>> int(sections["keys"].searchsorted(np.uint64(3)))
        2
    """

    def add(self, name: str, parts: Iterable[NDArray[Any]], dtype: type) -> None:
        """Take an array."""
        kept: list[NDArray[Any]] = [np.asarray(part, dtype) for part in parts]
        self[name] = np.concatenate(kept) if kept else np.zeros(0, dtype)


class FileSections:
    """Writes arrays to an open file; `finish` ends it."""

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
        """Write where everything is, and what the file was made for."""
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
        for place in range(0, n_whole, _PIECE):
            self._digests.append(hashlib.sha256(data[place : place + _PIECE]).hexdigest())
        self._file.write(data[:n_whole])
        self._rest = data[n_whole:]


def read_sections(path: Path, made_for: str) -> dict[str, LongArray]:
    """Open the arrays of a file that `FileSections` wrote.

    Raises:
        DamagedFile: there is no such file, it is damaged, or it was made for something else.
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
    values = json.loads(trailer)
    if (values["version"], values["made_for"]) != (_VERSION, made_for):
        raise DamagedFile("was made for something else")
    digests = [bytes.fromhex(values["digests"][i : i + 64]) for i in range(0, len(values["digests"]), 64)]
    bounds = [min(number * _PIECE, size - 40 - length) for number in range(len(digests) + 1)]
    pieces = PieceFile(path, bounds, digests)
    return {
        name: _StoredArray(pieces, start, end, np.dtype(dtype))
        for name, (start, end, dtype) in values["arrays"].items()
    }


class _StoredArray:
    """An array in a file of pieces."""

    def __init__(self, pieces: PieceFile, start: int, end: int, dtype: np.dtype[Any]) -> None:
        self._pieces, self._start, self._dtype = pieces, start, dtype
        self._n = (end - start) // dtype.itemsize

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, place: slice) -> NDArray[Any]:
        first, last, _ = place.indices(self._n)
        width = self._dtype.itemsize
        data = self._pieces.read(self._start + first * width, self._start + max(first, last) * width)
        return np.frombuffer(data, self._dtype)

    def searchsorted(self, key: Any) -> int:
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
    """Keys in order, each once, and a place where each is; `np.unique` hashes, which is slower.

    Example:
        >>> distinct(np.array([7, 2, 7], np.uint64))
        (array([2, 7], dtype=uint64), array([1, 0]))
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_first = _are_first(ordered)
    return ordered[is_first], order[is_first]


def _are_first(ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which keys differ from the one before."""
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return is_first


class KeySorter:
    """Sorts keys, of which few are in memory at a time, and drops repeated ones.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorter = KeySorter(Path(folder))
        ...     sorter.add(np.array([7, 2, 7], np.uint64))
        ...     sorter.add(np.array([1], np.uint64))
        ...     np.concatenate(list(sorter.sorted_parts()))
        array([1, 2, 7], dtype=uint64)
    """

    def __init__(self, folder: Path) -> None:
        """Take a folder for what does not fit into memory; the caller removes it."""
        self._folder = folder
        self._buffered: list[NDArray[np.uint64]] = []
        self._n_buffered = 0
        self._spilled = False

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Take keys: uint64, of any order."""
        self._buffered.append(keys)
        self._n_buffered += len(keys)
        if self._n_buffered > _MAX_BUFFERED:
            self._spill()

    def sorted_parts(self) -> Iterator[NDArray[np.uint64]]:
        """All keys in ascending order, each once, in several arrays."""
        if not self._spilled:
            yield self._taken()
            return
        self._spill()
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

    def _spill(self) -> None:
        """Append what is in memory to files, each for keys of one range."""
        keys = self._taken()
        self._folder.mkdir(exist_ok=True)
        limits = np.arange(_N_BUCKETS, dtype=np.uint64) << np.uint64(64 - (_N_BUCKETS - 1).bit_length())
        bounds = [*keys.searchsorted(limits), len(keys)]
        for number, (first, last) in enumerate(pairwise(bounds)):
            if first < last:
                with (self._folder / f"{number}.keys").open("ab") as file:
                    keys[first:last].tofile(file)
        self._spilled = True
