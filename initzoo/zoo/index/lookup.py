"""From words to rows: which concept a wording names, and which ones have words like it.

Made from a checked index, once; for a large one it is kept in a file (see `sections`). It
only proposes rows: the index reads them before it believes that they have the words.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import OutputError
from initzoo.files.atomic import new_file
from initzoo.files.digests import DamagedFile
from initzoo.pairs.concepts import normalise_words
from initzoo.zoo.index.files import IndexTable, values_of
from initzoo.zoo.index.sections import (
    FileSections,
    KeySorter,
    LongArray,
    MemorySections,
    Sections,
    distinct,
    read_sections,
)
from initzoo.zoo.index.word_hashes import HashedTexts, hash_text, hash_texts, letter_groups

__all__ = ["Lookup", "open_lookup"]

_IN_MEMORY_ROWS = 4096
_VALUE_BITS = np.uint64(24)
_VALUES = np.uint64(2**24 - 1)
_IS_WORDING = np.uint64(2**23)
_GROUP_BITS = np.uint64(40)
_MAX_SAME = 16
_MAX_TOKENS = 32
_MAX_VARIANTS = 8
_LEAST_LIKE = 0.45
_MAX_GROUP_WORDS = 50_000
_MAX_POSTINGS = 200_000
_WORDS_AT_ONCE = 2**15


def open_lookup(
    table: IndexTable,
    folder: Callable[[], Path] | None,
    *,
    again: bool = False,
    in_memory_rows: int = _IN_MEMORY_ROWS,
) -> Lookup:
    """The lookup of an index: made in memory for a small one, else kept in a folder.

    Args:
        table: the index.
        folder: gives the folder; asked for a large index only.
        again: make it anew, whatever the folder holds.
        in_memory_rows: rows of an index that counts as small.

    Raises:
        InvalidZoo: the index is damaged or its rows are not in order.
    """
    if table.n_rows <= in_memory_rows or folder is None:
        sections = MemorySections()
        _fill(sections, table, None)
        return Lookup(sections)
    path = folder() / f"{table.digest}.lookup"
    if not again:
        with suppress(DamagedFile):
            return Lookup(read_sections(path, table.digest))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path, force=True) as file:
            stored = FileSections(file)
            _fill(stored, table, path.parent)
            stored.finish(table.digest)
        return Lookup(read_sections(path, table.digest))
    except (OSError, OutputError, DamagedFile):
        # Nowhere to keep it: it is made in memory each time.
        return open_lookup(table, None)


class Lookup:
    """Proposes rows for words. Make one with `open_lookup`."""

    def __init__(self, sections: Mapping[str, LongArray]) -> None:
        self._wordings = sections["wordings"]
        self._words = sections["words"]
        self._starts = sections["starts"]
        self._rows = sections["rows"]
        self._text_starts = sections["text_starts"]
        self._text = sections["text"]
        self._groups = sections["groups"]
        self._sizes = sections["sizes"]
        self._letters = sections["letters"]

    def letters(self) -> list[int]:
        """The code points of all letters in wordings, as they are compared."""
        return [int(code) for code in self._letters[0 : len(self._letters)]]

    def rows_called(self, words: str) -> list[int]:
        """Rows that may have this id, then those that may have it as a wording."""
        key = hash_text(words).texts[0] << _VALUE_BITS
        first = int(self._wordings.searchsorted(key))
        found = self._wordings[first : first + _MAX_SAME]
        found = found[(found & ~_VALUES) == key]
        rows = [int(value & ~_IS_WORDING & _VALUES) for value in found]
        return [row for row in rows if row < len(self._sizes)]

    def rows_like(self, words: str, n: int) -> list[int]:
        """Up to `n` rows, best first, by how many letters of `words` are in words like theirs."""
        n_rows = len(self._sizes)
        scores = np.zeros(n_rows, np.float32)
        found = sorted((self._variants(token) for token in _tokens(words)), key=lambda one: one[0])
        n_read = 0
        for n_postings, n_letters, variants in found:
            if n_read and n_read + n_postings > max(n_rows // 2, _MAX_POSTINGS):
                break
            n_read += n_postings
            own = np.zeros(n_rows, np.float32)
            for likeness, start, end in sorted(variants):
                own[self._rows[start:end]] = likeness * n_letters
            scores += own
        # Among rows with the same words, the one with the fewest others is meant.
        scores -= np.minimum(self._sizes[0:n_rows], 10_000).astype(np.float32) * np.float32(1e-5)
        n = min(n, n_rows)
        best = np.argpartition(-scores, n - 1)[:n] if n else np.zeros(0, np.int64)
        return [int(row) for row in best[np.lexsort((best, -scores[best]))]]

    def _variants(self, token: bytes) -> tuple[int, int, list[tuple[float, int, int]]]:
        """How many rows words like this one have in all, its length, and their likeness and places."""
        like = self._words_like(token)
        places = []
        for place, likeness in like:
            start, end = (int(value) for value in self._starts[place : place + 2])
            places.append((likeness, start, end))
        return sum(end - start for _, start, end in places), len(token), places

    def _words_like(self, token: bytes) -> list[tuple[int, float]]:
        """Words of the vocabulary that share many letter groups with one: place, and likeness to 1."""
        letters = np.frombuffer(token, np.uint8)
        asked = distinct(letter_groups(letters, np.array([0]), np.array([len(token)]))[0])[0]
        lists = []
        for group in asked:
            first, last = (
                int(self._groups.searchsorted(key << _GROUP_BITS)) for key in (group, group + np.uint64(1))
            )
            lists.append((last - first, first, last))
        lists.sort()
        found = [
            (self._groups[first:last] & np.uint64(2**40 - 1)).astype(np.int64)
            for place, (n, first, last) in enumerate(lists)
            if n <= _MAX_GROUP_WORDS or (not place and n <= _MAX_POSTINGS)
        ]
        shared = np.sort(np.concatenate([np.zeros(0, np.int64), *found]))
        firsts = np.flatnonzero(np.diff(shared, prepend=-1))
        places, n_shared = shared[firsts], np.diff(firsts, append=len(shared))
        nearest = np.argsort(-n_shared, kind="stable")[: 8 * _MAX_VARIANTS]
        likeness = {}
        for place, shared in zip(places[nearest].tolist(), n_shared[nearest].tolist(), strict=True):
            start, end = (int(value) for value in self._text_starts[place : place + 2])
            likeness[place] = min(2 * shared / (len(asked) + max(end - start, 1)), 1.0)
        exact = int(self._words.searchsorted(key := hash_text(token.decode()).words[0]))
        if exact < len(self._words) and self._words[exact : exact + 1][0] == key:
            likeness[exact] = 1.01
        best = sorted(likeness.items(), key=lambda item: (-item[1], item[0]))[:_MAX_VARIANTS]
        return [(place, value) for place, value in best if value >= _LEAST_LIKE]


def _fill(sections: Sections, table: IndexTable, folder: Path | None) -> None:
    """Go through all wordings once, then write what was sorted."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lookup-") as spare:
        wordings, words = KeySorter(Path(spare) / "wordings"), KeySorter(Path(spare) / "words")
        vocabulary = _Vocabulary()
        sizes = []
        letters: set[int] = set()
        row = 0
        for group in range(table.n_groups):
            ids = table.ids(group)
            for name in ("concept_id", "prompts", "test_prompts"):
                texts, owners = _flat(ids if name == "concept_id" else table.column(group, name))
                hashed = hash_texts(texts)
                rows = (owners + row).astype(np.uint64)
                kind = np.uint64(0) if name == "concept_id" else _IS_WORDING
                wordings.add((hashed.texts << _VALUE_BITS) | kind | rows)
                if name != "concept_id":
                    words.add((hashed.words << _VALUE_BITS) | rows[hashed.owners])
                    vocabulary.add(hashed)
                    letters |= hashed.code_points()
            lists = [table.column(group, name) for name in ("prompts", "test_prompts")]
            sizes.append(_lengths(lists[0]) + _lengths(lists[1]))
            row += len(ids)
        sections.add("wordings", wordings.sorted_parts(), np.uint64)
        hashes, starts = _write_rows(sections, words)
        sections.add("words", [hashes], np.uint64)
        sections.add("starts", [starts], np.uint64)
        vocabulary.write(sections, KeySorter(Path(spare) / "groups"))
        sections.add("sizes", sizes, np.uint16)
        sections.add("letters", [np.array(sorted(letters))], np.uint32)


def _write_rows(sections: Sections, words: KeySorter) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Write the rows of each word; give the words' hashes, and where their rows start."""
    hashes, starts = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    n_rows = 0

    def rows() -> Iterator[NDArray[Any]]:
        nonlocal n_rows
        for part in words.sorted_parts():
            # A part ends between two words, since it ends between two ranges of their upper bits.
            firsts = np.flatnonzero(np.diff(part >> _VALUE_BITS, prepend=_VALUES << _GROUP_BITS))
            hashes.append(part[firsts] >> _VALUE_BITS)
            starts.append(firsts.astype(np.uint64) + np.uint64(n_rows))
            n_rows += len(part)
            yield part & _VALUES

    sections.add("rows", rows(), np.uint32)
    return np.concatenate(hashes), np.concatenate([*starts, np.array([n_rows], np.uint64)])


class _Vocabulary:
    """The distinct words of an index."""

    def __init__(self) -> None:
        self._seen = np.zeros(0, np.uint64)
        self._hashes: list[NDArray[np.uint64]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._letters: list[NDArray[np.uint8]] = []

    def add(self, hashed: HashedTexts) -> None:
        """Take the words that are new."""
        found, firsts = distinct(hashed.words)
        places = self._seen.searchsorted(found)
        is_new = np.append(self._seen, np.uint64(0))[places] != found
        firsts = firsts[is_new]
        lengths = hashed.ends[firsts] - hashed.starts[firsts]
        self._hashes.append(found[is_new])
        self._lengths.append(lengths)
        self._letters.append(_gather(hashed.letters, hashed.starts[firsts], lengths))
        self._seen = np.sort(np.concatenate((self._seen, found[is_new])))

    def write(self, sections: Sections, groups: KeySorter) -> None:
        """Write the words' letters in the order of their hashes, and which words have which letter groups."""
        hashes = np.concatenate([np.zeros(0, np.uint64), *self._hashes])
        lengths = np.concatenate([np.zeros(0, np.int64), *self._lengths])
        letters = np.concatenate([np.zeros(0, np.uint8), *self._letters])
        order = np.argsort(hashes)
        starts = np.cumsum(lengths) - lengths

        def texts() -> Iterator[NDArray[np.uint8]]:
            for first in range(0, len(order), _WORDS_AT_ONCE):
                own = order[first : first + _WORDS_AT_ONCE]
                text = _gather(letters, starts[own], lengths[own])
                ends = np.cumsum(lengths[own])
                codes, words = letter_groups(text, ends - lengths[own], ends)
                groups.add((codes << _GROUP_BITS) | (words + first).astype(np.uint64))
                yield text

        sections.add("text", texts(), np.uint8)
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths[order])))
        sections.add("text_starts", [bounds], np.uint32)
        sections.add("groups", groups.sorted_parts(), np.uint64)


def _gather(letters: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Any:
    """The letters of several ranges, one after the other."""
    skipped = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return letters[np.arange(int(lengths.sum())) + skipped]


def _flat(array: Any) -> tuple[Any, NDArray[np.int64]]:
    """The texts of a column, and which row each is of."""
    if array.type.num_fields == 0:
        return array, np.arange(len(array))
    return values_of(array), np.repeat(np.arange(len(array)), _lengths(array))


def _lengths(lists: Any) -> NDArray[np.int32]:
    """How many texts each row has; `to_numpy` would do, and import pandas where it is installed."""
    offsets = np.frombuffer(lists.buffers()[1], np.int32)
    return np.diff(offsets[lists.offset : lists.offset + len(lists) + 1])


def _tokens(words: str) -> list[bytes]:
    """The distinct words of a question, normalised."""
    return [token.encode() for token in dict.fromkeys(normalise_words(words).split())][:_MAX_TOKENS]
