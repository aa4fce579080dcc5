"""Finds the rows that a wording names, and the rows whose wordings share words with it.

The lookup is built once from a verified index; that of a large index is kept in a file
(see `sections`). It has three parts, all sorted arrays that are searched by bisection:

1. exact: hash of each id and wording -> row;
2. inverted index: hash of each word -> its rows;
3. vocabulary: letter trigram -> words that contain it, to match misspelt words.

Hashes can collide, so the lookup only proposes rows; the index reads their wordings before
it returns one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidZoo, OutputError
from initzoo.files import DamagedFile, new_file, reported_as
from initzoo.pairs import normalise_words
from initzoo.zoo.index.files import ADVICE, IndexTable, values_of
from initzoo.zoo.index.rows import MAX_WORDINGS
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

_IN_MEMORY_ROWS = 256  # with the 1,551 rows of the bundled zoo, building takes a sixth of an exact pull
# An entry packs a 40-bit hash above a 24-bit value, so that sorting entries sorts by hash.
# An index has at most 2**22 rows: bit 23 of the value is free to mark wordings, which puts
# the row that has the words as its id before those that have them as a wording.
_VALUE_BITS = np.uint64(24)
_VALUES = np.uint64(2**24 - 1)
_IS_WORDING = np.uint64(2**23)
_GROUP_BITS = np.uint64(40)  # an entry of `groups`: a 24-bit trigram above a 40-bit word number
_MAX_SAME = 16  # rows read for one hash
_MAX_TOKENS = 32  # words of a query
_MAX_VARIANTS = 8  # words of the vocabulary tried for one word of a query
_LEAST_LIKE = 0.45  # Dice coefficient of trigrams; below it, two words look unrelated
_MAX_GROUP_WORDS = 50_000  # a trigram of more words than this narrows nothing down
_MAX_POSTINGS = 200_000  # bounds the rows scored in a query over a large index
_WORDS_AT_ONCE = 2**15
_LETTERS_AT_ONCE = 2**22

_ARRAYS: dict[str, type[np.generic]] = {
    "wordings": np.uint64,
    "words": np.uint64,
    "starts": np.uint64,
    "rows": np.uint32,
    "text_starts": np.uint32,
    "text": np.uint8,
    "groups": np.uint64,
    "sizes": np.uint16,
    "letters": np.uint32,
}
"""The arrays of a lookup and their types."""


def open_lookup(
    table: IndexTable,
    folder: Callable[[], Path] | None,
    *,
    again: bool = False,
    in_memory_rows: int = _IN_MEMORY_ROWS,
) -> Lookup:
    """Open the lookup of an index: built in memory for a small index, else read from a folder.

    A lookup that the folder lacks, or holds damaged, is built and kept there.

    Args:
        table: the index.
        folder: returns the folder; called for a large index only.
        again: rebuild the lookup, whatever the folder holds.
        in_memory_rows: an index of up to this many rows is small.

    Raises:
        InvalidZoo: the index is damaged or its rows are not in order.
    """
    if table.n_rows <= in_memory_rows or folder is None:
        return _in_memory(table, is_small=table.n_rows <= in_memory_rows)
    path = folder() / f"{table.digest}.lookup"
    if not again:
        with suppress(DamagedFile):
            return Lookup(read_sections(path, table.digest))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path, force=True) as file:
            stored = FileSections(file)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lookup-") as spare:
                _fill(stored, table, Path(spare))
            stored.finish(table.digest)
        return Lookup(read_sections(path, table.digest))
    except (OSError, OutputError, DamagedFile):
        # The folder cannot be written, so the lookup is built in memory each time.
        return open_lookup(table, None)


class Lookup:
    """Proposes rows for words. Make one with `open_lookup`."""

    def __init__(self, sections: Mapping[str, LongArray]) -> None:
        for name, kind in _ARRAYS.items():
            if name not in sections:
                raise DamagedFile(f"has no array '{name}'")
            if (found := sections[name][0:0].dtype) != kind:
                raise DamagedFile(f"array '{name}': expected {np.dtype(kind)}, found {found}")
        if not len(sections["starts"]) == len(sections["text_starts"]) == len(sections["words"]) + 1:
            raise DamagedFile("has arrays of lengths that do not fit each other")
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
        """The code points of all letters in the normalised wordings."""
        return [int(code) for code in self._letters[0 : len(self._letters)]]

    def rows_called(self, words: str) -> list[int]:
        """Rows that may have these words as their id, then rows that may have them as a wording."""
        key = hash_text(words).texts[0] << _VALUE_BITS
        first = int(self._wordings.searchsorted(key))
        entries = self._wordings[first : first + _MAX_SAME]
        entries = entries[(entries & ~_VALUES) == key]
        rows = [int(entry & ~_IS_WORDING & _VALUES) for entry in entries]
        return [row for row in rows if row < len(self._sizes)]

    def rows_like(self, words: str, n: int) -> list[int]:
        """Up to `n` rows, best first.

        A row scores, for each word of the query, the word's length times the likeness of the
        row's most similar word.
        """
        n_rows = len(self._sizes)
        scores = np.zeros(n_rows, np.float32)
        variants_of_words = sorted(
            (self._variants(token) for token in _tokens(words)), key=lambda entry: entry[0]
        )
        n_read = 0
        # Rare words first: they tell most about a row, and "the" of a million rows is then skipped.
        for n_postings, n_letters, variants in variants_of_words:
            if n_read and n_read + n_postings > max(n_rows // 2, _MAX_POSTINGS):
                break
            n_read += n_postings
            word_scores = np.zeros(n_rows, np.float32)
            # In ascending order of likeness, so that a row keeps its most similar variant.
            for likeness, start, end in sorted(variants):
                rows = self._rows[start:end]
                word_scores[rows[rows < n_rows]] = likeness * n_letters
            scores += word_scores
        # Ties go to the row with the fewest wordings: the more a row has, the less each says of it.
        scores -= np.minimum(self._sizes[0:n_rows], 10_000).astype(np.float32) * np.float32(1e-5)
        n = min(n, n_rows)
        best = np.argpartition(-scores, n - 1)[:n] if n else np.zeros(0, np.int64)
        return [int(row) for row in best[np.lexsort((best, -scores[best]))]]

    def _variants(self, token: bytes) -> tuple[int, int, list[tuple[float, int, int]]]:
        """Postings of all similar words, length of the token, and (likeness, start, end) per word."""
        postings = []
        for word, likeness in self._words_like(token):
            start, end = (int(value) for value in self._starts[word : word + 2])
            postings.append((likeness, start, end))
        return sum(end - start for _, start, end in postings), len(token), postings

    def _words_like(self, token: bytes) -> list[tuple[int, float]]:
        """The words of the vocabulary most like a token: (word number, likeness), best first.

        Likeness is the Dice coefficient of their trigrams: twice the number shared over the
        sum of both numbers.
        """
        letters = np.frombuffer(token, np.uint8)
        asked = distinct(letter_groups(letters, np.array([0]), np.array([len(token)]))[0])[0]
        lists = []
        for group in asked:
            first, last = (
                int(self._groups.searchsorted(key << _GROUP_BITS)) for key in (group, group + np.uint64(1))
            )
            lists.append((last - first, first, last))
        # Rarest first: that one is read even if it is common, so that short words find candidates too.
        lists.sort()
        sharing = [
            (self._groups[first:last] & np.uint64(2**40 - 1)).astype(np.int64)
            for rank, (n, first, last) in enumerate(lists)
            if n <= _MAX_GROUP_WORDS or (rank == 0 and n <= _MAX_POSTINGS)
        ]
        # Run lengths of the sorted word numbers are the numbers of shared trigrams.
        shared = np.sort(np.concatenate([np.zeros(0, np.int64), *sharing]))
        shared = shared[shared < len(self._words)]
        firsts = np.flatnonzero(np.diff(shared, prepend=-1))
        candidates, n_shared = shared[firsts], np.diff(firsts, append=len(shared))
        nearest = np.argsort(-n_shared, kind="stable")[: 8 * _MAX_VARIANTS]
        likeness = {}
        for word, shared in zip(candidates[nearest].tolist(), n_shared[nearest].tolist(), strict=True):
            start, end = (int(value) for value in self._text_starts[word : word + 2])
            likeness[word] = min(2 * shared / (len(asked) + max(end - start, 1)), 1.0)
        exact = int(self._words.searchsorted(key := hash_text(token.decode()).words[0]))
        if exact < len(self._words) and self._words[exact : exact + 1][0] == key:
            # Above 1, since another word can have the same set of trigrams.
            likeness[exact] = 1.01
        best = sorted(likeness.items(), key=lambda item: (-item[1], item[0]))[:_MAX_VARIANTS]
        return [(word, value) for word, value in best if value >= _LEAST_LIKE]


def _in_memory(table: IndexTable, *, is_small: bool) -> Lookup:
    """Build a lookup that is not kept, sorting a large one in temporary files if there is room for them."""
    if not is_small:
        with suppress(OSError), tempfile.TemporaryDirectory(prefix="initzoo-") as spare:
            sections = MemorySections()
            _fill(sections, table, Path(spare))
            return Lookup(sections)
    sections = MemorySections()
    _fill(sections, table, None)
    return Lookup(sections)


def _fill(sections: Sections, table: IndexTable, spare: Path | None) -> None:
    """Build all arrays in one pass over the wordings, sorting in files below `spare`; None for in memory."""
    wordings, words, groups = (KeySorter(spare and spare / name) for name in ("wordings", "words", "groups"))
    vocabulary = _Vocabulary()
    sizes = []
    letters: set[int] = set()
    row = 0
    for group in range(table.n_groups):
        ids = table.ids(group)
        for name in ("concept_id", "prompts", "test_prompts"):
            texts, owners = _flat(ids if name == "concept_id" else table.column(group, name))
            kind = np.uint64(0) if name == "concept_id" else _IS_WORDING
            for first, last in _parts(texts):
                hashed = hash_texts(texts[first:last])
                rows = (owners[first:last] + row).astype(np.uint64)
                wordings.add((hashed.texts << _VALUE_BITS) | kind | rows)
                if name != "concept_id":
                    words.add((hashed.words << _VALUE_BITS) | rows[hashed.owners])
                    vocabulary.add(hashed)
                    letters |= hashed.code_points()
        lists = [table.column(group, name) for name in ("prompts", "test_prompts")]
        sizes.append(_lengths(lists[0]) + _lengths(lists[1]))
        if (most := int(sizes[-1].max(initial=0))) > MAX_WORDINGS:
            with reported_as(InvalidZoo, f"index '{table.path}'", ADVICE):
                raise DamagedFile(f"a row has {most} wordings, the limit is {MAX_WORDINGS}")
        row += len(ids)
    sections.add("wordings", wordings.sorted_parts(), _ARRAYS["wordings"])
    hashes, starts = _write_rows(sections, words)
    sections.add("words", [hashes], _ARRAYS["words"])
    sections.add("starts", [starts], _ARRAYS["starts"])
    vocabulary.write(sections, groups)
    sections.add("sizes", sizes, _ARRAYS["sizes"])
    sections.add("letters", [np.array(sorted(letters))], _ARRAYS["letters"])


def _parts(texts: Any) -> Iterator[tuple[int, int]]:
    """Ranges of texts of a few megabytes each: hashing takes fifty times as much as the texts."""
    offsets = np.frombuffer(texts.buffers()[1] or b"", np.int32)[texts.offset :][: len(texts) + 1]
    first = 0
    while first < len(texts):
        last = int(np.searchsorted(offsets, int(offsets[first]) + _LETTERS_AT_ONCE, side="right")) - 1
        yield first, (last := max(last, first + 1))
        first = last


def _write_rows(sections: Sections, words: KeySorter) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Write the rows of each word; return the words' hashes and the offsets of their rows."""
    hashes, starts = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    n_rows = 0

    def rows() -> Iterator[NDArray[Any]]:
        nonlocal n_rows
        for part in words.sorted_parts():
            # The sorter splits by upper bits, so all rows of a word are in one part.
            firsts = np.flatnonzero(np.diff(part >> _VALUE_BITS, prepend=_VALUES << _GROUP_BITS))
            hashes.append(part[firsts] >> _VALUE_BITS)
            starts.append(firsts.astype(np.uint64) + np.uint64(n_rows))
            n_rows += len(part)
            yield part & _VALUES

    sections.add("rows", rows(), _ARRAYS["rows"])
    return np.concatenate(hashes), np.concatenate([*starts, np.array([n_rows], np.uint64)])


class _Vocabulary:
    """The distinct words of an index."""

    def __init__(self) -> None:
        self._seen = np.zeros(0, np.uint64)
        self._hashes: list[NDArray[np.uint64]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._letters: list[NDArray[np.uint8]] = []

    def add(self, hashed: HashedTexts) -> None:
        """Add the words that are new."""
        hashes, firsts = distinct(hashed.words)
        is_new = np.append(self._seen, np.uint64(0))[self._seen.searchsorted(hashes)] != hashes
        firsts = firsts[is_new]
        lengths = hashed.ends[firsts] - hashed.starts[firsts]
        self._hashes.append(hashes[is_new])
        self._lengths.append(lengths)
        self._letters.append(_gather(hashed.letters, hashed.starts[firsts], lengths))
        self._seen = np.sort(np.concatenate((self._seen, hashes[is_new])))

    def write(self, sections: Sections, groups: KeySorter) -> None:
        """Write the words' letters in the order of their hashes, and the inverted index of their trigrams."""
        hashes = np.concatenate([np.zeros(0, np.uint64), *self._hashes])
        lengths = np.concatenate([np.zeros(0, np.int64), *self._lengths])
        letters = np.concatenate([np.zeros(0, np.uint8), *self._letters])
        order = np.argsort(hashes)
        starts = np.cumsum(lengths) - lengths

        def texts() -> Iterator[NDArray[np.uint8]]:
            for first in range(0, len(order), _WORDS_AT_ONCE):
                part = order[first : first + _WORDS_AT_ONCE]
                text = _gather(letters, starts[part], lengths[part])
                ends = np.cumsum(lengths[part])
                codes, words = letter_groups(text, ends - lengths[part], ends)
                groups.add((codes << _GROUP_BITS) | (words + first).astype(np.uint64))
                yield text

        sections.add("text", texts(), _ARRAYS["text"])
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths[order])))
        sections.add("text_starts", [bounds], _ARRAYS["text_starts"])
        sections.add("groups", groups.sorted_parts(), _ARRAYS["groups"])


def _gather(letters: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Any:
    """The letters of several ranges, concatenated."""
    skipped = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return letters[np.arange(int(lengths.sum())) + skipped]


def _flat(array: Any) -> tuple[Any, NDArray[np.int64]]:
    """The texts of a column and the row of each."""
    if array.type.num_fields == 0:
        return array, np.arange(len(array))
    return values_of(array), np.repeat(np.arange(len(array)), _lengths(array))


def _lengths(lists: Any) -> NDArray[np.int32]:
    """Number of texts per row. `to_numpy` would import pandas where it is installed."""
    offsets = np.frombuffer(lists.buffers()[1], np.int32)
    return np.diff(offsets[lists.offset : lists.offset + len(lists) + 1])


def _tokens(words: str) -> list[bytes]:
    """The distinct normalised words of a query."""
    return [token.encode() for token in dict.fromkeys(normalise_words(words).split())][:_MAX_TOKENS]
