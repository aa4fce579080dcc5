"""Pairs that would need too much memory: kept in a temporary file and read one by one."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, overload

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import OutputError
from initzoo.pairs.folders import Pair

__all__ = ["MAX_BYTES_IN_MEMORY", "Entry", "SpilledPairs", "gather", "images_of", "sizes_of"]

Pixels = NDArray[np.uint8]

MAX_BYTES_IN_MEMORY = 64_000_000
"""Maximum size of the pixels of pairs in memory, bytes. Larger sets go to a temporary file."""


@dataclass(frozen=True)
class Entry:
    """The position of the pixels of a pair in the file: the input, then the target."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def n_bytes(self) -> int:
        """Size of one image, bytes."""
        return int(np.prod(self.shape))


class _PixelFile:
    """A temporary file of pixels, deleted when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end = 0
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="initzoo-pairs-")  # noqa: SIM115
        except OSError as error:
            raise self._no_room(error) from error
        weakref.finalize(self, self._file.close)

    def append(self, pair: Pair) -> Entry:
        entry = Entry(pair.name, pair.given.shape, self._end)
        try:
            for image in (pair.given, pair.wanted):
                self._file.write(np.ascontiguousarray(image).data)
            self._file.flush()  # reports a full disk now, not during training
        except OSError as error:
            raise self._no_room(error) from error
        self._end += 2 * entry.n_bytes
        return entry

    def read(self, entry: Entry) -> Pair:
        with self._lock:  # seek and read are two calls; Windows has no pread()
            self._file.seek(entry.offset)
            data = bytearray(2 * entry.n_bytes)
            self._file.readinto(data)  # type: ignore[attr-defined]
        images = np.frombuffer(data, np.uint8).reshape(2, *entry.shape)
        return Pair(entry.name, images[0], images[1])

    def _no_room(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot keep pairs in a temporary file: {error.strerror or error}. "
            "Set TMPDIR to a folder with room"
        )


class SpilledPairs(Sequence[Pair]):
    """Pairs in a temporary file. Each access reads the pair again."""

    def __init__(self, file: _PixelFile, entries: Sequence[Entry]) -> None:
        self._file, self._entries = file, tuple(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> SpilledPairs: ...

    def __getitem__(self, index: int | slice) -> Pair | SpilledPairs:
        if isinstance(index, slice):
            return SpilledPairs(self._file, self._entries[index])
        return self._file.read(self._entries[index])

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Name, shape and offset of each pair."""
        return self._entries

    def sizes(self) -> Iterator[tuple[str, int, int]]:
        """Name, height and width of each pair, without reading pixels."""
        return ((entry.name, entry.shape[0], entry.shape[1]) for entry in self._entries)

    def chosen(self, entries: Sequence[Entry]) -> SpilledPairs:
        """A subset of the pairs."""
        return SpilledPairs(self._file, entries)


def gather(pairs: Iterable[Pair], *, max_bytes: int | None = None) -> tuple[Pair, ...] | SpilledPairs:
    """Collect pairs in memory, or in a temporary file if they are too large.

    Args:
        pairs: the pairs; iterated over once.
        max_bytes: maximum size of the pixels in memory; `MAX_BYTES_IN_MEMORY` by default.

    Raises:
        OutputError: the temporary file cannot be written.

    Example:
        >>> image = np.zeros((64, 64, 3), np.uint8)
        >>> gather([Pair("a", image, image)], max_bytes=100)[0].given.shape
        (64, 64, 3)
    """
    limit = MAX_BYTES_IN_MEMORY if max_bytes is None else max_bytes
    kept: list[Pair] = []
    n_bytes = 0
    file: _PixelFile | None = None
    entries: list[Entry] = []
    for pair in pairs:
        if file is not None:
            entries.append(file.append(pair))
            continue
        kept.append(pair)
        n_bytes += pair.given.nbytes + pair.wanted.nbytes
        if n_bytes > limit:
            file = _PixelFile()
            entries = [file.append(early) for early in kept]
            kept.clear()
    return tuple(kept) if file is None else SpilledPairs(file, entries)


def sizes_of(pairs: Sequence[Pair]) -> Iterator[tuple[str, int, int]]:
    """Name, height and width of each pair.

    Example:
        >>> list(sizes_of([Pair("a", np.zeros((8, 16, 3), np.uint8), np.zeros((8, 16, 3), np.uint8))]))
        [('a', 8, 16)]
    """
    if isinstance(pairs, SpilledPairs):
        return pairs.sizes()
    return ((pair.name, *pair.given.shape[:2]) for pair in pairs)


class _Images(Sequence[tuple[Pixels, Pixels]]):
    """Inputs and targets of pairs in a temporary file."""

    def __init__(self, pairs: SpilledPairs) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]: ...

    @overload
    def __getitem__(self, index: slice) -> _Images: ...

    def __getitem__(self, index: int | slice) -> tuple[Pixels, Pixels] | _Images:
        if isinstance(index, slice):
            return _Images(self._pairs[index])
        pair = self._pairs[index]
        return pair.given, pair.wanted


def images_of(pairs: Sequence[Pair]) -> Sequence[tuple[Pixels, Pixels]]:
    """Inputs and targets of pairs, without names. Pairs in a temporary file are read on access.

    Example:
        >>> image = np.zeros((8, 16, 3), np.uint8)
        >>> [wanted.shape for _, wanted in images_of([Pair("a", image, image)])]
        [(8, 16, 3)]
    """
    if isinstance(pairs, SpilledPairs):
        return _Images(pairs)
    return [(pair.given, pair.wanted) for pair in pairs]
