"""The index file: a sealed parquet table ordered by concept id, of which a query reads only what it needs.

The footer holds a digest of each row group and one of itself; a seal covers the whole file.
A small index is read whole and its seal is checked. Of a large index only the footer and the
row groups that a query needs are read, and each is checked against its digest.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO

import numpy as np

from initzoo.errors import InvalidZoo
from initzoo.files import (
    BLANK_SEAL,
    SEAL_MARK,
    DamagedFile,
    PieceFile,
    check_seal,
    new_file,
    read_file,
    reported_as,
)
from initzoo.zoo.index.pages import MAX_TEXT_BYTES, check_columns, check_pages
from initzoo.zoo.index.rows import (
    ADAPTER_SCORES,
    COLUMN_TYPES,
    OPTIONAL_COLUMNS,
    SCORES,
    IndexRow,
    problem_of,
)
from initzoo.zoo.shards import CONCEPT_ID

__all__ = [
    "ADVICE",
    "ROWS_A_GROUP",
    "IndexTable",
    "arrow_schema",
    "values_of",
    "write_index",
    "write_index_tables",
    "write_sorted_index",
]

ADVICE = "Get the zoo again, or check all of it: initzoo verify"
ROWS_A_GROUP = 2048
"""A larger group would decode more per query, a smaller one would make the footer of a million rows large."""

_FORMAT_VERSION = "1"
_VERSION_KEY = "initzoo_format_version"
_GROUPS_KEY = "initzoo_row_groups"
_FOOTER_MARK = b"initzoo-footer-sha256:"
_N_DIGITS = 64
_MAX_BYTES = 2**33
_MAX_WHOLE_BYTES = 2**29
_MAX_FOOTER_BYTES = 2**26
_MAX_ROWS = 2**22  # the lookup packs a row number and a flag into 24 bits
_WHOLE_UP_TO = 2**22
_MAX_KEPT_COLUMNS = 64
_FREE_TEXT_BYTES = 2**23
_MAX_TEXT_A_BYTE = 24
"""Bytes of text that a byte of the file may stand for: three times those of sound indexes."""

_TAIL_BYTES = 8  # the length of the footer and the magic number PAR1


def write_index(path: str | os.PathLike[str], rows: Iterable[IndexRow], *, force: bool = False) -> None:
    """Write an index ordered by concept id. The same rows give the same bytes.

    Args:
        path: the parquet file; its folder must exist.
        rows: one per checkpoint, in any order.
        force: replace an existing file.

    Raises:
        ValueError: a row has an invalid value, or two rows have the same concept id.
        OutputError: the file exists already or cannot be written.
    """
    write_sorted_index(path, sorted(rows, key=lambda row: row.concept_id), force=force)


def write_sorted_index(
    path: str | os.PathLike[str], rows: Iterable[IndexRow], *, force: bool = False
) -> None:
    """Write an index from rows in the order of their ids, of which few are held in memory at a time.

    Raises:
        ValueError: a row has an invalid value, or is out of order.
        OutputError: as for `write_index`.
    """
    write_index_tables(path, _row_tables(rows), force=force)


def write_index_tables(path: str | os.PathLike[str], tables: Iterable[Any], *, force: bool) -> None:
    """Write an index from arrow tables; each becomes a row group."""
    import pyarrow.parquet as pq

    notes = {_VERSION_KEY: _FORMAT_VERSION, "initzoo_seal": BLANK_SEAL}
    notes |= {"initzoo_footer": _FOOTER_MARK.decode() + "0" * _N_DIGITS}
    with new_file(Path(path), force=force) as file:
        # A plain file object, so that arrow does not close it.
        with pq.ParquetWriter(
            file, arrow_schema(), compression="zstd", write_statistics=["concept_id"]
        ) as writer:
            n_groups = n_text_bytes = 0
            for table in tables:
                writer.write_table(table, row_group_size=max(len(table), 1))
                n_text_bytes += sum(table[name].nbytes for name in table.column_names if _is_text(name))
                n_groups += 1
            writer.add_key_value_metadata(notes | {_GROUPS_KEY: "0" * (_N_DIGITS * n_groups)})
        file.flush()
        if n_text_bytes > 0.9 * _max_text_bytes(file.seek(0, os.SEEK_END)):
            raise ValueError(
                f"the texts of an index have {n_text_bytes / 1e6:.0f} MB and are nearly all alike, "
                "which no reader accepts; give each checkpoint fewer wordings"
            )
        _fill_digests(file, n_groups)


def _is_text(name: str) -> bool:
    return COLUMN_TYPES.get(name) in ("string", "list<string>")


def _max_text_bytes(n_bytes: int) -> int:
    """The largest number of bytes of all texts in an index file of `n_bytes`."""
    return _FREE_TEXT_BYTES + _MAX_TEXT_A_BYTE * n_bytes


def arrow_schema() -> Any:
    """The columns of an index as an arrow schema."""
    import pyarrow as pa

    types = {"list<string>": pa.list_(pa.string()), "float": pa.float32()}
    return pa.schema([(name, types.get(kind) or getattr(pa, kind)()) for name, kind in COLUMN_TYPES.items()])


def _row_tables(rows: Iterable[IndexRow]) -> Iterator[Any]:
    import pyarrow as pa

    schema = arrow_schema()

    def table(chosen: Sequence[IndexRow]) -> Any:
        columns = list(zip(*map(astuple, chosen), strict=True)) or [()] * len(schema)
        arrays = [pa.array(values, type=kind) for values, kind in zip(columns, schema.types, strict=True)]
        return pa.table(arrays, schema=schema)

    waiting: list[IndexRow] = []
    before = ""
    n_rows = 0
    for row in rows:
        if problem := problem_of(row):
            raise ValueError(f"row of concept {row.concept_id[:80]!r}: {problem}")
        if row.concept_id == before:
            raise ValueError(f"two rows have the concept id {before!r}")
        if row.concept_id < before:
            raise ValueError(
                f"row of concept '{row.concept_id}' comes after '{before}': they must be in order"
            )
        before = row.concept_id
        waiting.append(row)
        n_rows += 1
        if len(waiting) == ROWS_A_GROUP:
            yield table(waiting)
            waiting = []
    if waiting or not n_rows:
        yield table(waiting)


def _fill_digests(file: BinaryIO, n_groups: int) -> None:
    """Replace the zeros in the footer by the digests of the row groups, the footer and the whole file.

    Arrow writes the footer, so it cannot hold its own digests at first. It is written with zeros
    of the right length instead. The digests are then filled in from the inside out: those of
    the row groups, that of the footer with its own digits still zero, that of the file.
    """
    import pyarrow.parquet as pq

    file.seek(0)
    metadata = pq.read_metadata(file)
    file.seek(-_TAIL_BYTES, os.SEEK_END)
    footer_start = file.tell() - int.from_bytes(file.read(4), "little")
    bounds = _group_bounds(metadata, footer_start)
    digits = "".join(_digest_of(file, bounds[i], bounds[i + 1]) for i in range(n_groups)).encode()
    file.seek(footer_start)
    footer = file.read()
    if n_groups:
        blank = b"0" * len(digits)
        assert footer.count(_FOOTER_MARK) == footer.count(BLANK_SEAL.encode()) == 1
        start = footer.index(blank, footer.index(_GROUPS_KEY.encode()))
        footer = footer[:start] + digits + footer[start + len(digits) :]
    footer_digest = hashlib.sha256(footer).hexdigest().encode()
    start = footer.index(_FOOTER_MARK) + len(_FOOTER_MARK)
    footer = footer[:start] + footer_digest + footer[start + _N_DIGITS :]
    file.seek(footer_start)
    file.write(footer)
    file.flush()
    whole = _digest_of(file, 0, footer_start + len(footer)).encode()
    file.seek(footer_start + footer.index(SEAL_MARK) + len(SEAL_MARK))
    file.write(whole)


def _group_bounds(metadata: Any, footer_start: int) -> list[int]:
    """Offsets of the row groups' starts and of the last one's end; the first group includes the file's head.

    Raises:
        DamagedFile: the row groups overlap or are out of order.
    """
    starts = []
    for number in range(metadata.num_row_groups):
        column = metadata.row_group(number).column(0)
        first = column.dictionary_page_offset
        starts.append(column.data_page_offset if first is None else min(first, column.data_page_offset))
    bounds = [0, *starts[1:], footer_start]
    if sorted(set(bounds)) != bounds:
        raise DamagedFile("its row groups overlap or are out of order")
    return bounds


def _digest_of(file: BinaryIO, start: int, end: int) -> str:
    digest = hashlib.sha256()
    file.seek(start)
    while start < end:
        data = file.read(min(end - start, 2**20))
        if not data:
            raise DamagedFile(f"ends at byte {start}, expected {end}")
        digest.update(data)
        start += len(data)
    return digest.hexdigest()


class IndexTable:
    """The columns of an index file, by row group. Make one with `IndexTable.open`.

    Args:
        path: the file.
        parquet: an open `pyarrow.parquet.ParquetFile` of checked bytes.
        digest: hex digest that identifies the content of the file.
        read: reads checked bytes from an offset to another.
        open_again: opens the same bytes again; the named columns then stay coded by their dictionaries.
        max_text_bytes: limit of the size of all texts.
    """

    def __init__(
        self,
        path: Path,
        parquet: Any,
        digest: str,
        read: Callable[[int, int], bytes],
        open_again: Callable[[list[str]], Any],
        max_text_bytes: int,
    ) -> None:
        self.path = path
        self._read, self._open = read, open_again
        self._numbers = {
            parquet.metadata.schema.column(number).path.partition(".")[0]: number
            for number in range(parquet.metadata.num_columns)
        }
        self.digest = digest
        self.columns = [name for name in COLUMN_TYPES if name in parquet.schema_arrow.names]
        self.n_groups: int = parquet.metadata.num_row_groups
        self.n_rows: int = parquet.metadata.num_rows
        self._parquet = parquet
        self._max_text_bytes, self._n_text_bytes = max_text_bytes, 0
        self._counted: set[tuple[int, str]] = set()
        self._kept: OrderedDict[tuple[int, str], Any] = OrderedDict()
        self._groups_with_checked_ids: set[int] = set()
        self._lock = RLock()  # arrow's reader has one position for all threads

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, whole_up_to: int = _WHOLE_UP_TO) -> IndexTable:
        """Open an index file and check its seal, or only its footer if the file is large.

        Args:
            path: the index file.
            whole_up_to: a file of up to this many bytes is read whole.

        Raises:
            DamagedFile: the file cannot be read, is damaged, lacks a column or has another format version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        footer, size = _read_footer(Path(path))
        try:
            if size > whole_up_to and _FOOTER_MARK in footer:
                checked = _Checked(Path(path), footer, size)
                check_columns(checked.metadata, footer[:-_TAIL_BYTES], COLUMN_TYPES, size)
                read = checked.read_at

                def open_again(coded: list[str]) -> Any:
                    file = pa.PythonFile(checked, mode="r")
                    return pq.ParquetFile(file, metadata=checked.metadata, read_dictionary=coded)

                parquet = open_again([])
                digest = hashlib.sha256(footer).hexdigest()
            else:
                data = read_file(path, max_bytes=_MAX_WHOLE_BYTES)
                check_seal(data)
                metadata = pq.read_metadata(pa.BufferReader(data))
                start = len(data) - _TAIL_BYTES - int.from_bytes(data[-_TAIL_BYTES:-4], "little")
                check_columns(metadata, data[start:-_TAIL_BYTES], COLUMN_TYPES, size)
                read = partial(_slice, data)

                def open_again(coded: list[str]) -> Any:
                    return pq.ParquetFile(pa.BufferReader(data), read_dictionary=coded)

                parquet = open_again([])
                digest = hashlib.sha256(data).hexdigest()
            version = (parquet.metadata.metadata or {}).get(_VERSION_KEY.encode())
            columns = {field.name: str(field.type) for field in parquet.schema_arrow}
        except DamagedFile:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedFile("is not a parquet table") from error
        _check_table(version, columns, parquet.metadata.num_rows)
        return cls(Path(path), parquet, digest, read, open_again, _max_text_bytes(size))

    def n_rows_of(self, group: int) -> int:
        """Number of rows in a row group."""
        n_rows: int = self._parquet.metadata.row_group(group).num_rows
        return n_rows

    def column(self, group: int, name: str) -> Any:
        """A column of a row group as an arrow array.

        Raises:
            InvalidZoo: the row group is damaged, or a value is missing.
        """
        with self._lock:
            if (group, name) in self._kept:
                self._kept.move_to_end((group, name))
                return self._kept[group, name]
            with reported_as(InvalidZoo, f"index '{self.path}', column '{name}'", ADVICE):
                array = self._decode(group, name)
            self._kept[group, name] = array
            while len(self._kept) > _MAX_KEPT_COLUMNS:
                self._kept.popitem(last=False)
            return array

    def ids(self, group: int) -> Any:
        """The concept ids of a row group as an arrow array, checked to be valid, in order and distinct.

        Raises:
            InvalidZoo: a check fails, or the row group is damaged.
        """
        array = self.column(group, "concept_id")
        if group not in self._groups_with_checked_ids:
            with reported_as(InvalidZoo, f"index '{self.path}'", ADVICE):
                ids = array.to_pylist()
                _check_ids(ids)
                ranges = self.id_ranges()
                if ids and ranges is not None and ranges[group] != (ids[0], ids[-1]):
                    raise DamagedFile("has a footer with other concept ids than its rows")
            self._groups_with_checked_ids.add(group)
        return array

    def id_ranges(self) -> list[tuple[str, str]] | None:
        """The first and last concept id of each row group, or None if the file has no statistics."""
        ranges = []
        for number in range(self.n_groups):
            column = self._parquet.metadata.row_group(number).column(0)
            statistics = column.statistics if column.path_in_schema == "concept_id" else None
            if statistics is None or not statistics.has_min_max:
                return None
            try:
                ends = (statistics.min, statistics.max)
            except (ValueError, ArithmeticError):  # not UTF-8
                return None
            if not all(isinstance(end, str) for end in ends):
                return None
            ranges.append(ends)
        return ranges

    def _decode(self, group: int, name: str) -> Any:
        import pyarrow as pa

        chunk = self._parquet.metadata.row_group(group).column(self._numbers[name])
        # A chunk without rows has no data page, so that its offset is 0.
        first = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0)
        largest = check_pages(chunk, self._read(first, first + chunk.total_compressed_size))
        try:
            if _is_text(name) and largest > MAX_TEXT_BYTES:
                self._check_texts(group, name)
            chunks = self._parquet.read_row_group(group, columns=[name], use_threads=False).column(name)
            array = chunks.combine_chunks()
            array = array.chunk(0) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
            array.validate(full=True)
        except DamagedFile:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedFile("cannot be decoded") from error
        n_rows = self.n_rows_of(group)
        if len(array) != n_rows:
            raise DamagedFile(f"has {len(array)} values for {n_rows} rows")
        if name not in (*SCORES, *ADAPTER_SCORES) and array.null_count:
            raise DamagedFile("has a row without a value")
        if COLUMN_TYPES[name] == "list<string>" and values_of(array).null_count:
            raise DamagedFile("has an empty prompt")
        if _is_text(name) and (group, name) not in self._counted:
            self._counted.add((group, name))
            self._n_text_bytes += array.nbytes
        if self._n_text_bytes > self._max_text_bytes:
            raise DamagedFile(f"brings the texts to more than the limit of {self._max_text_bytes} bytes")
        return array

    def _check_texts(self, group: int, name: str) -> None:
        """Refuse texts that take too much memory: a dictionary holds a long text once for all its rows."""
        path = self._parquet.metadata.schema.column(self._numbers[name]).path
        n_bytes = 0
        for part in self._open([path]).read_row_group(group, columns=[name], use_threads=False)[name].chunks:
            coded = part if COLUMN_TYPES[name] == "string" else part.values
            coded.validate(full=True)
            offsets = np.frombuffer(coded.dictionary.buffers()[1] or b"", np.int32)
            first, n_texts = coded.dictionary.offset, len(coded.dictionary)
            lengths = np.diff(offsets[first : first + n_texts + 1])
            places = np.frombuffer(coded.indices.buffers()[1] or b"", np.int32)
            places = places[coded.indices.offset : coded.indices.offset + len(coded)]
            if n_texts:
                n_bytes += int(lengths[places.clip(0, n_texts - 1)].sum(dtype=np.int64))
        if n_bytes > MAX_TEXT_BYTES:
            raise DamagedFile(f"has texts of {n_bytes} bytes in a row group, the limit is {MAX_TEXT_BYTES}")


def values_of(array: Any) -> Any:
    """The concatenated lists of an arrow list array without nulls.

    `flatten` would load all of arrow's compute functions: a tenth of a second at the first pull.

    Example:
        >>> import pyarrow as pa
        >>> values_of(pa.array([["a"], [], ["b", "c"]])[1:]).to_pylist()
        ['b', 'c']
    """
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return array.values.slice(first, last - first)


def _check_ids(ids: list[str]) -> None:
    for name in ids:
        if not CONCEPT_ID.fullmatch(name):
            raise DamagedFile(f"names {name[:80]!r}, which is not a concept id")
    if len(set(ids)) < len(ids):
        repeated = next(name for name in ids if ids.count(name) > 1)
        raise DamagedFile(f"has two rows for concept '{repeated}'")
    if any(first > second for first, second in pairwise(ids)):
        raise DamagedFile("does not have its rows in the order of concept ids")


def _slice(data: bytes, start: int, end: int) -> bytes:
    if not 0 <= start <= end <= len(data):
        raise DamagedFile("has a column outside its row groups")
    return data[start:end]


class _Checked(io.RawIOBase):
    """A large index file for arrow to read: the footer from memory, row groups verified as they are read."""

    def __init__(self, path: Path, footer: bytes, size: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        check_footer(footer)
        self._footer, self._size, self._position = footer, size, 0
        # Arrow reads the metadata from a footer alone, if the magic number stands before it.
        self.metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + footer))
        digits = (self.metadata.metadata or {}).get(_GROUPS_KEY.encode(), b"").decode("ascii", "replace")
        bounds = _group_bounds(self.metadata, size - len(footer))
        if len(digits) != _N_DIGITS * (len(bounds) - 1) or not re.fullmatch(r"[0-9a-f]*", digits):
            raise DamagedFile("has no digest for each of its row groups")
        starts = range(0, len(digits), _N_DIGITS)
        self._pieces = PieceFile(path, bounds, [bytes.fromhex(digits[i : i + _N_DIGITS]) for i in starts])

    def read(self, size: int = -1) -> bytes:
        """Read verified bytes from the current position."""
        start = self._position
        end = self._size if size < 0 else min(start + size, self._size)
        self._position = max(end, start)
        first = self._size - len(self._footer)
        part = b"" if end <= first else self._footer[max(start - first, 0) : end - first]
        if start >= min(end, first):
            return part
        return self._pieces.read(start, min(end, first)) + part

    def read_at(self, start: int, end: int) -> bytes:
        """Read verified bytes from one offset to another.

        Raises:
            DamagedFile: they lie outside the row groups.
        """
        if not 0 <= start <= end <= self._size - len(self._footer):
            raise DamagedFile("has a column outside its row groups")
        return self._pieces.read(start, end)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = offset + origins[whence]
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True


def _read_footer(path: Path) -> tuple[bytes, int]:
    """The footer of a parquet file, with its length and magic number, and the file's size."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_BYTES:
                raise DamagedFile(f"is larger than the limit of {_MAX_BYTES} bytes")
            file.seek(max(size - _TAIL_BYTES, 0))
            tail = file.read(_TAIL_BYTES)
            length = int.from_bytes(tail[:4], "little") + _TAIL_BYTES
            if not tail.endswith(b"PAR1") or length > min(size, _MAX_FOOTER_BYTES):
                return b"", size
            file.seek(size - length)
            return file.read(length), size
    except (OSError, ValueError) as error:
        if isinstance(error, DamagedFile):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DamagedFile(f"cannot be read ({reason})") from error


def check_footer(footer: bytes) -> None:
    """Check a footer against the digest that it holds.

    Raises:
        DamagedFile: the footer has no digest or seal, or has changed.
    """
    digest = b""
    blank = footer
    for mark in (_FOOTER_MARK, SEAL_MARK):
        start = footer.find(mark) + len(mark)
        if footer.count(mark) != 1 or len(footer) < start + _N_DIGITS:
            raise DamagedFile("has no seal of initzoo: it is cut off, or something else made it")
        digest = digest or footer[start : start + _N_DIGITS]
        blank = blank[:start] + b"0" * _N_DIGITS + blank[start + _N_DIGITS :]
    if hashlib.sha256(blank).hexdigest().encode() != digest:
        raise DamagedFile("its footer does not match the digest in it")


def _check_table(version: bytes | None, columns: dict[str, str], n_rows: int) -> None:
    """Raise DamagedFile unless this is a table that `write_index` could have written."""
    expected = _FORMAT_VERSION
    if version is None:
        raise DamagedFile(f"has no format version, expected {expected!r}: it is not the index of a zoo")
    if version != expected.encode():
        raise DamagedFile(
            f"has format version {version[:20].decode(errors='replace')!r}, this initzoo reads {expected!r}; "
            "upgrade: pip install -U initzoo"
        )
    for name, kind in COLUMN_TYPES.items():
        if name not in columns and name in OPTIONAL_COLUMNS:
            continue
        if name not in columns:
            raise DamagedFile(f"lacks the column '{name}'")
        if re.sub(r"<\w+: ", "<", columns[name]) != kind:
            raise DamagedFile(f"column '{name}': expected {kind}, found {columns[name]}")
    if n_rows > _MAX_ROWS:
        raise DamagedFile(f"has {n_rows} rows, the limit is {_MAX_ROWS}")
