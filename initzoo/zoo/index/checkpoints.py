"""The checkpoints of a zoo, found by id or by words."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidZoo
from initzoo.files.digests import DamagedFile, reported_as
from initzoo.pairs.concepts import alphabets_of, normalise_words
from initzoo.zoo.index.files import ADVICE, IndexTable
from initzoo.zoo.index.lookup import Lookup, open_lookup
from initzoo.zoo.index.rows import COLUMN_TYPES, SCORES, IndexRow, Match, problem_of

__all__ = ["Index"]

_MAX_COMPARED = 200
_LEAST_SIMILARITY = 0.3
_MAX_CANDIDATES = 64
_MAX_GROUPS_COMPARED = 12


class Index:
    """The checkpoints of a zoo, found by id or by words. Make one with `Index.open`.

    Of a large index only what a question needs is read and decoded.
    """

    def __init__(self, table: IndexTable, lookup_folder: Callable[[], Path] | None) -> None:
        """Take an open table, and where a lookup of many wordings may be kept."""
        self._table = table
        self._lookup_folder = lookup_folder
        self._kept_lookup: Lookup | None = None
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

        A file of a few megabytes is read and checked whole. Of a larger one only the footer
        is; its other bytes are checked when they are read.

        Args:
            path: the parquet file.
            lookup_folder: gives the folder to keep what is worked out once to find words among
                many rows; without it, it is worked out again each time.
            whole_up_to: bytes that a file may have to be read whole.

        Raises:
            InvalidZoo: the file cannot be read, is damaged, lacks a column, names a concept
                twice, or was made by a newer initzoo.
        """
        limits = {} if whole_up_to is None else {"whole_up_to": whole_up_to}
        with reported_as(InvalidZoo, f"index '{path}'", ADVICE):
            table = IndexTable.open(path, **limits)
        index = cls(table, lookup_folder)
        index._check_order()
        return index

    @property
    def path(self) -> Path:
        """The file."""
        return self._table.path

    @property
    def sha256(self) -> str:
        """A hex digest that stands for the whole file."""
        return self._table.digest

    def __len__(self) -> int:
        """Number of checkpoints."""
        return self._table.n_rows

    @property
    def ids(self) -> list[str]:
        """All concept ids, in the order of the rows."""
        return [name for group in range(self._table.n_groups) for name in self._table.ids(group).to_pylist()]

    def find(self, words: str) -> IndexRow | None:
        """The row that `words` name, by concept id or by any wording, or None.

        Case, hyphens, underscores, punctuation and extra spaces make no difference.

        Raises:
            InvalidZoo: the row is not sound.
        """
        wanted = normalise_words(words)
        if not wanted:
            return None
        places = self._ask(lambda lookup: lookup.rows_called(wanted))
        for place in places:
            if normalise_words(self._id(place)) == wanted:
                return self._row(place)
        for place in places:
            if any(normalise_words(wording) == wanted for wording in self._wordings(place)):
                return self._row(place)
        return None

    def row(self, concept_id: str) -> IndexRow:
        """The row of a concept.

        Raises:
            KeyError: there is no such concept id.
            InvalidZoo: the row is not sound.
        """
        ranges = self._id_ranges
        group = bisect_right([first for first, _ in ranges], concept_id) - 1
        if group >= 0 and concept_id <= ranges[group][1]:
            ids = self._table.ids(group).to_pylist()
            place = bisect_left(ids, concept_id)
            if place < len(ids) and ids[place] == concept_id:
                return self._row(self._starts[group] + place)
        raise KeyError(concept_id)

    def rows(self, *, split: str | None = None, family: str | None = None) -> list[IndexRow]:
        """All rows, or those of one split or family, in order.

        Raises:
            InvalidZoo: a row is not sound.
        """
        return list(self.each_row(split=split, family=family))

    def each_row(self, *, split: str | None = None, family: str | None = None) -> Iterator[IndexRow]:
        """The same as `rows`, one after the other: of a million, few are held at a time.

        Raises:
            InvalidZoo: a row is not sound.
        """
        for group in range(self._table.n_groups):
            self._table.ids(group)
            columns = {name: self._table.column(group, name).to_pylist() for name in COLUMN_TYPES}
            for place in range(self._table.n_rows_of(group)):
                if split in (None, columns["split"][place]) and family in (None, columns["family"][place]):
                    yield self._checked({name: values[place] for name, values in columns.items()})

    @cached_property
    def alphabets(self) -> frozenset[str]:
        """The alphabets that the wordings are written in, as `alphabets_of` names them."""
        return alphabets_of("".join(map(chr, self._ask(lambda lookup: lookup.letters()))))

    def nearest(self, words: str, n: int = 3) -> list[Match]:
        """The `n` concepts whose prompts look most like `words`, nearest first.

        Likeness counts groups of three letters that both have, so neither a spelling
        mistake nor another order of the words matters much. It knows nothing of meaning.
        Compared are the concepts with the most letters in words like the asked ones.
        """
        asked_words = normalise_words(words)[:_MAX_COMPARED]
        asked = _letter_groups(asked_words)
        if not asked:
            return []
        named = self._ask(lambda lookup: lookup.rows_called(asked_words))
        like = self._ask(lambda lookup: lookup.rows_like(asked_words, max(_MAX_CANDIDATES, n)))
        groups: set[int] = set()
        matches = []
        for place in dict.fromkeys([*named, *like]):
            groups.add(self._group_of(place))
            if len(groups) > max(_MAX_GROUPS_COMPARED, n):
                break
            matches.append(self._match(asked, place))
        return sorted(matches, key=lambda match: (-match.similarity, match.concept_id))[:n]

    def search(self, words: str, n: int = 10) -> list[Match]:
        """Up to `n` concepts with prompts like `words`, nearest first; none if none is like them."""
        return [match for match in self.nearest(words, n) if match.similarity >= _LEAST_SIMILARITY]

    def _match(self, asked: list[str], place: int) -> Match:
        """The wording of one row that is most like the asked letter groups."""
        best = Match(self._id(place), "", -1.0)
        for prompt in self._wordings(place):
            letters = normalise_words(prompt)
            n_shared = sum(map(f" {letters} ".__contains__, asked))
            similarity = _similarity(n_shared, len(asked), len(letters))
            if similarity > best.similarity:
                best = Match(best.concept_id, prompt, similarity)
        return best

    def _group_of(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _value(self, place: int, name: str) -> Any:
        group = self._group_of(place)
        return self._table.column(group, name)[place - self._starts[group]].as_py()

    def _id(self, place: int) -> str:
        name: str = self._value(place, "concept_id")
        return name

    def _wordings(self, place: int) -> list[str]:
        """All wordings of a row, those for tests last."""
        return [*self._value(place, "prompts"), *self._value(place, "test_prompts")]

    def _row(self, place: int) -> IndexRow:
        return self._checked({name: self._value(place, name) for name in COLUMN_TYPES})

    def _checked(self, values: dict[str, Any]) -> IndexRow:
        for name in ("prompts", "test_prompts"):
            values[name] = tuple(values[name])
        for name in SCORES:
            values[name] = None if values[name] is None else round(values[name], 4)
        row = IndexRow(**values)
        if problem := problem_of(row):
            raise InvalidZoo(f"index '{self.path}', concept '{row.concept_id[:80]}': {problem}. {ADVICE}")
        return row

    def _ask(self, question: Callable[[Lookup], list[int]]) -> list[int]:
        """Ask the lookup; if what was kept of it is damaged, make it again."""
        for is_last in (False, True):
            if self._kept_lookup is None:
                self._kept_lookup = open_lookup(self._table, self._lookup_folder, again=is_last)
            try:
                places = question(self._kept_lookup)
            except DamagedFile:
                self._kept_lookup = None
                if is_last:
                    raise
                continue
            return places
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
        """Check that row groups follow each other; inside, `IndexTable.ids` checks when it reads."""
        for (_, last), (first, _) in pairwise(self._id_ranges):
            if last >= first:
                with reported_as(InvalidZoo, f"index '{self.path}'", ADVICE):
                    raise DamagedFile(
                        f"has two rows for concept '{first[:80]}'" if last == first else "is not in order"
                    )
        if self._table.n_groups == 1:
            self._table.ids(0)


def _letter_groups(letters: str) -> list[str]:
    """Every three letters in a row, counting the spaces before, between and after words."""
    return [f" {letters} "[i : i + 3] for i in range(len(letters))]


def _similarity(n_shared: int, n_asked: int, n_found: int) -> float:
    """Mean of two shares, both 0 to 1: the asked groups that were found, and Dice's of both sides."""
    return min(round(n_shared / n_asked / 2 + n_shared / (n_asked + max(n_found, 1)), 4), 1.0)
