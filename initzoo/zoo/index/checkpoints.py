"""The index of a zoo: finds its checkpoints by id or by words."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from threading import RLock
from typing import Any

from initzoo.errors import InvalidZoo
from initzoo.files import DamagedFile, reported_as
from initzoo.pairs import alphabets_of, normalise_words
from initzoo.zoo.index.files import ADVICE, IndexTable, write_index
from initzoo.zoo.index.lookup import Lookup, open_lookup
from initzoo.zoo.index.rows import ADAPTER_SCORES, SCORES, IndexRow, Match, problem_of

__all__ = ["Index"]

_MAX_COMPARED = 200  # characters of a query
_LEAST_SIMILARITY = 0.3  # below it, `search` does not list a concept
_MAX_CANDIDATES = 64
_MAX_GROUPS_COMPARED = 12  # row groups decoded per query, a few milliseconds each


class Index:
    """The checkpoints of a zoo, found by id or by words. Make one with `Index.open` or `Index.of`.

    Of a large index only what a query needs is read and decoded. Threads can share an index.
    """

    def __init__(self, table: IndexTable, lookup_folder: Callable[[], Path] | None) -> None:
        """Use an open table; `lookup_folder` returns the folder that keeps the lookup of a large index."""
        self._table = table
        self._lookup_folder = lookup_folder
        self._kept_lookup: Lookup | None = None
        self._lock = RLock()
        self._starts = [0, *accumulate(table.n_rows_of(group) for group in range(table.n_groups))]

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        lookup_folder: Callable[[], Path] | None = None,
        whole_up_to: int | None = None,
    ) -> Index:
        """Open an index file and check its seal, format version and columns.

        A file of a few megabytes is read and checked whole. Of a larger file only the footer is;
        its row groups are checked when they are read.

        Args:
            path: the parquet file.
            lookup_folder: returns the folder that keeps the lookup of a large index. By default
                the lookup is rebuilt in memory each time.
            whole_up_to: a file of up to this many bytes is read whole.

        Raises:
            InvalidZoo: the file cannot be read, is damaged, lacks a column, names a concept
                twice, or was written by a newer initzoo.
        """
        limits = {} if whole_up_to is None else {"whole_up_to": whole_up_to}
        with reported_as(InvalidZoo, f"index '{path}'", ADVICE):
            table = IndexTable.open(path, **limits)
        index = cls(table, lookup_folder)
        index._check_order()
        return index

    @classmethod
    def of(cls, rows: Iterable[IndexRow]) -> Index:
        """Make an index of rows that is held in memory, e.g. of some of the checkpoints of a zoo.

        Raises:
            ValueError: a row has an invalid value, or two rows have the same concept id.
            OutputError: the folder of temporary files cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="initzoo-index-") as folder:
            path = Path(folder) / "index.parquet"
            write_index(path, rows)
            # Read whole, whatever its size: the file is gone when the index is asked.
            return cls.open(path, whole_up_to=path.stat().st_size)

    @property
    def path(self) -> Path:
        """The file."""
        return self._table.path

    @property
    def sha256(self) -> str:
        """A hex digest that identifies the content of the file."""
        return self._table.digest

    def __len__(self) -> int:
        """Number of checkpoints."""
        return self._table.n_rows

    @property
    def ids(self) -> list[str]:
        """All concept ids, in the order of the rows."""
        return [name for group in range(self._table.n_groups) for name in self._table.ids(group).to_pylist()]

    def find(self, words: str) -> IndexRow | None:
        """Find the row that has `words` as its concept id or as a wording. Returns None if no row has them.

        Case, hyphens, underscores, punctuation and extra spaces make no difference.

        Raises:
            InvalidZoo: the row is damaged or has an invalid value.
        """
        wanted = normalise_words(words)
        if not wanted:
            return None
        positions = self._ask(lambda lookup: lookup.rows_called(wanted))
        # An id wins over a wording of another concept. Both are compared in full: hashes can collide.
        for position in positions:
            if normalise_words(self._id(position)) == wanted:
                return self._row(position)
        for position in positions:
            if any(normalise_words(wording) == wanted for wording in self._wordings(position)):
                return self._row(position)
        return None

    def row(self, concept_id: str) -> IndexRow:
        """The row of a concept.

        Raises:
            KeyError: no row has the concept id.
            InvalidZoo: the row is damaged or has an invalid value.
        """
        ranges = self._id_ranges
        group = bisect_right([first for first, _ in ranges], concept_id) - 1
        if group >= 0 and concept_id <= ranges[group][1]:
            ids = self._table.ids(group).to_pylist()
            offset = bisect_left(ids, concept_id)
            if offset < len(ids) and ids[offset] == concept_id:
                return self._row(self._starts[group] + offset)
        raise KeyError(concept_id)

    def rows(self, *, split: str | None = None, family: str | None = None) -> list[IndexRow]:
        """All rows, or those of one split or family, in order.

        Raises:
            InvalidZoo: a row is damaged or has an invalid value.
        """
        return list(self.each_row(split=split, family=family))

    def each_row(self, *, split: str | None = None, family: str | None = None) -> Iterator[IndexRow]:
        """Iterate over the same rows as `rows`, holding one row group in memory at a time.

        Raises:
            InvalidZoo: a row is damaged or has an invalid value.
        """
        for group in range(self._table.n_groups):
            self._table.ids(group)
            columns = {name: self._table.column(group, name).to_pylist() for name in self._table.columns}
            for i in range(self._table.n_rows_of(group)):
                if split in (None, columns["split"][i]) and family in (None, columns["family"][i]):
                    yield self._checked({name: values[i] for name, values in columns.items()})

    @cached_property
    def alphabets(self) -> frozenset[str]:
        """The alphabets of the wordings, named as by `alphabets_of`."""
        return alphabets_of("".join(map(chr, self._ask(lambda lookup: lookup.letters()))))

    def nearest(self, words: str, n: int = 3) -> list[Match]:
        """The `n` concepts whose prompts are spelt most like `words`, nearest first.

        Similarity counts shared letter trigrams, so spelling mistakes and the order of words
        matter little. It ignores meaning. Only the candidates that the lookup ranks highest
        are compared.
        """
        asked_words = normalise_words(words)[:_MAX_COMPARED]
        asked = _letter_groups(asked_words)
        if not asked:
            return []
        named = self._ask(lambda lookup: lookup.rows_called(asked_words))
        like = self._ask(lambda lookup: lookup.rows_like(asked_words, max(_MAX_CANDIDATES, n)))
        groups: set[int] = set()
        matches = []
        for position in dict.fromkeys([*named, *like]):
            groups.add(self._group_of(position))
            if len(groups) > max(_MAX_GROUPS_COMPARED, n):
                break
            matches.append(self._match(asked, position))
        return sorted(matches, key=lambda match: (-match.similarity, match.concept_id))[:n]

    def search(self, words: str, n: int = 10) -> list[Match]:
        """Up to `n` concepts with prompts spelt like `words`, nearest first; may be empty."""
        return [match for match in self.nearest(words, n) if match.similarity >= _LEAST_SIMILARITY]

    def _match(self, asked: list[str], position: int) -> Match:
        """The wording of one row that is most similar to the trigrams of the query."""
        best = Match(self._id(position), "", -1.0)
        for prompt in self._wordings(position):
            letters = normalise_words(prompt)
            n_shared = sum(map(f" {letters} ".__contains__, asked))
            similarity = _similarity(n_shared, len(asked), len(letters))
            if similarity > best.similarity:
                best = Match(best.concept_id, prompt, similarity)
        return best

    def _group_of(self, position: int) -> int:
        return bisect_right(self._starts, position) - 1

    def _value(self, position: int, name: str) -> Any:
        group = self._group_of(position)
        return self._table.column(group, name)[position - self._starts[group]].as_py()

    def _id(self, position: int) -> str:
        name: str = self._value(position, "concept_id")
        return name

    def _wordings(self, position: int) -> list[str]:
        """All wordings of a row, those for tests last."""
        return [*self._value(position, "prompts"), *self._value(position, "test_prompts")]

    def _row(self, position: int) -> IndexRow:
        return self._checked({name: self._value(position, name) for name in self._table.columns})

    def _checked(self, values: dict[str, Any]) -> IndexRow:
        for name in ("prompts", "test_prompts"):
            values[name] = tuple(values[name])
        for name in (*SCORES, *ADAPTER_SCORES):
            if values.get(name) is not None:
                values[name] = round(values[name], 4)
        row = IndexRow(**values)
        if problem := problem_of(row):
            raise InvalidZoo(f"index '{self.path}', concept '{row.concept_id[:80]}': {problem}. {ADVICE}")
        return row

    def _ask(self, query: Callable[[Lookup], list[int]]) -> list[int]:
        """Query the lookup; rebuild it once if its file is damaged."""
        for is_last in (False, True):
            with self._lock:  # one thread builds it, the others wait
                lookup = self._kept_lookup
                if lookup is None:
                    lookup = open_lookup(self._table, self._lookup_folder, again=is_last)
                    self._kept_lookup = lookup
            try:
                result = query(lookup)
            except DamagedFile:
                with self._lock:
                    if self._kept_lookup is lookup:
                        self._kept_lookup = None
                if is_last:
                    raise
                continue
            return result
        raise AssertionError("the last try returns or raises")

    @cached_property
    def _id_ranges(self) -> list[tuple[str, str]]:
        """First and last concept id of each row group that has rows."""
        known = self._table.id_ranges()
        if known is not None:
            return known
        groups = [self._table.ids(group) for group in range(self._table.n_groups)]
        return [(ids[0].as_py(), ids[-1].as_py()) for ids in groups if len(ids)]

    def _check_order(self) -> None:
        """Check the order across row groups. `IndexTable.ids` checks the order within a group."""
        for (_, last), (first, _) in pairwise(self._id_ranges):
            if last >= first:
                with reported_as(InvalidZoo, f"index '{self.path}'", ADVICE):
                    raise DamagedFile(
                        f"has two rows for concept '{first[:80]}'" if last == first else "is not in order"
                    )
        if self._table.n_groups == 1:
            self._table.ids(0)


def _letter_groups(letters: str) -> list[str]:
    """All letter trigrams, with the spaces before, between and after words."""
    return [f" {letters} "[i : i + 3] for i in range(len(letters))]


def _similarity(n_shared: int, n_asked: int, n_prompt: int) -> float:
    """Mean of the share of the query's trigrams that a prompt has, and the Dice coefficient of both.

    The share alone would favour long prompts, Dice alone would punish a prompt for saying more.
    """
    return min(round(n_shared / n_asked / 2 + n_shared / (n_asked + max(n_prompt, 1)), 4), 1.0)
