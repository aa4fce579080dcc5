"""Limits of a parquet file, checked on its footer and the headers of its pages before arrow decodes it.

A few kilobytes of parquet can stand for gigabytes: a page compresses a million equal values into some bytes,
and a footer may say anything. Arrow also aborts the process if a column chunk has another type than the
schema, is encrypted, or counts other levels than the schema has. So types, names and counts are compared
here, and sizes are taken from the headers of the pages, which bound the memory that arrow takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initzoo.files import DamagedFile

__all__ = ["MAX_TEXT_BYTES", "check_columns", "check_pages"]

MAX_TEXT_BYTES = 2**26
"""Maximum size of the texts of a column in a row group, in bytes."""

_MAX_PAGE_BYTES = 2**27
_MAX_CHUNK_VALUES = 2**22
_MAX_GROUPS = 2**16
_MAX_GROUP_ROWS = 2**17
_LEAST_ROW_BYTES = 16  # every row has an id and a SHA-256 of its own, which do not compress
_FREE_BYTES = 2**16
_PHYSICAL = {
    "string": "BYTE_ARRAY",
    "list<string>": "BYTE_ARRAY",
    "int64": "INT64",
    "int32": "INT32",
    "float": "FLOAT",
}
_KINDS = {"BYTE_ARRAY": "string", "INT64": "int64", "INT32": "int32", "FLOAT": "float"}
_MAX_HEADER_BYTES = 2**16
_MAX_DEPTH = 8
_MAX_PARSED_FOOTER = (
    2**18
)  # parsing takes a second per megabyte, and an index of a million rows opens at once


def check_columns(metadata: Any, footer: bytes, kinds: Mapping[str, str], n_bytes: int) -> None:
    """Check the columns and counts in a footer.

    Levels and encryption are checked in footers of up to 256 KB, those of some two hundred thousand rows.

    Args:
        metadata: a `pyarrow.parquet.FileMetaData`.
        footer: the bytes of the footer, without its length and magic number.
        kinds: type of each column by name, as in `COLUMN_TYPES`.
        n_bytes: size of the file.

    Raises:
        DamagedFile: a column is there twice or has another type than its schema, or there are more rows
            than the file has room for.
    """
    n_groups, n_rows = metadata.num_row_groups, metadata.num_rows
    if n_groups > _MAX_GROUPS or n_rows > n_bytes // _LEAST_ROW_BYTES + _FREE_BYTES // _LEAST_ROW_BYTES:
        raise DamagedFile(f"has {n_rows} rows in {n_bytes} bytes, which cannot be an index")
    types = {}
    for number in range(metadata.num_columns):
        column = metadata.schema.column(number)
        name = column.path.partition(".")[0]
        if name in types:
            raise DamagedFile(f"has the column '{name[:80]}' twice")
        types[name] = column.physical_type
        if name in kinds and column.physical_type != _PHYSICAL[kinds[name]]:
            kind = _KINDS.get(column.physical_type, column.physical_type)
            raise DamagedFile(f"column '{name}': expected {kinds[name]}, found {kind}")
    if len(footer) <= _MAX_PARSED_FOOTER:
        _check_chunks(metadata, footer)
    total = 0
    for group in range(n_groups):
        row_group = metadata.row_group(group)
        total += row_group.num_rows
        if not 0 <= row_group.num_rows <= _MAX_GROUP_ROWS or row_group.num_columns != metadata.num_columns:
            raise DamagedFile(
                f"row group {group} has {row_group.num_rows} rows in {row_group.num_columns} columns"
            )
        for number in range(row_group.num_columns):
            chunk, column = row_group.column(number), metadata.schema.column(number)
            if chunk.path_in_schema != column.path or chunk.physical_type != column.physical_type:
                raise DamagedFile(f"column '{column.path[:80]}' has another type than its schema says")
    if total != n_rows:
        raise DamagedFile(f"has {n_rows} rows, its row groups {total}")


def _check_chunks(metadata: Any, footer: bytes) -> None:
    """Refuse the column chunks that arrow ends the process at, before it is asked for one."""
    groups = _read_struct(footer, 0, 0, max_bytes=len(footer))[0].get(4)
    for group in groups if isinstance(groups, list) else ():
        chunks = group.get(1) if isinstance(group, dict) else None
        if not isinstance(chunks, list) or len(chunks) != metadata.num_columns:
            raise DamagedFile("has a damaged footer")
        for number, chunk in enumerate(chunks):
            values = chunk.get(3) if isinstance(chunk, dict) else None
            if not isinstance(values, dict) or chunk.keys() & {8, 9}:
                raise DamagedFile("has a column chunk that is encrypted or damaged")
            column, sizes = metadata.schema.column(number), values.get(16)
            if sizes is None:
                continue
            if not isinstance(sizes, dict) or not (
                (1 not in sizes or column.physical_type == "BYTE_ARRAY")
                and _n_levels(sizes.get(2)) in (0, column.max_repetition_level + 1)
                and _n_levels(sizes.get(3)) in (0, column.max_definition_level + 1)
            ):
                raise DamagedFile(f"column '{column.path[:80]}' counts other levels than its schema has")


def _n_levels(counts: Any) -> int:
    return len(counts) if isinstance(counts, list) else 0 if counts is None else -1


def check_pages(chunk: Any, data: bytes) -> int:
    """Check the sizes in the headers of the pages of a column chunk.

    Args:
        chunk: a `pyarrow.parquet.ColumnChunkMetaData`.
        data: the bytes of the chunk, from its first page on.

    Returns:
        The largest number of bytes that its texts can take: those of its pages, and all of the dictionary
        for each value.

    Raises:
        DamagedFile: a page takes more memory or has more values than the limits allow, or a header is
            damaged.
    """
    position = n_values = n_bytes = dictionary = 0
    while position < len(data):
        header, position = _read_struct(data, position, 0)
        size, n_packed = header.get(2), header.get(3)
        if not isinstance(size, int) or not isinstance(n_packed, int) or size < 0 or n_packed < 0:
            raise DamagedFile("has a damaged page")
        n_bytes += size
        if 7 in header:
            dictionary += size
        for field in (5, 7, 8):  # a data page, a dictionary, a data page of version 2
            if isinstance(page := header.get(field), dict) and isinstance(page.get(1), int):
                n_values += max(page[1], 0)
        position += n_packed
    if n_bytes > _MAX_PAGE_BYTES or n_values > 2 * _MAX_CHUNK_VALUES:
        raise DamagedFile(
            f"has pages of {n_bytes} bytes and {n_values} values, which is more than an index has"
        )
    if chunk.num_values > _MAX_CHUNK_VALUES:
        raise DamagedFile(f"has {chunk.num_values} values in a row group, the limit is {_MAX_CHUNK_VALUES}")
    return n_bytes + n_values * dictionary


# Headers of pages are structs in the compact protocol of Thrift: one byte of a field has its type and the
# difference of its number to that of the field before it; integers are varints.


def _read_struct(
    data: bytes, position: int, depth: int, *, max_bytes: int = _MAX_HEADER_BYTES
) -> tuple[dict[int, Any], int]:
    values: dict[int, Any] = {}
    number, start = 0, position
    while True:
        if position >= len(data) or position - start > max_bytes or depth > _MAX_DEPTH:
            raise DamagedFile("has a damaged page")
        byte = data[position]
        position += 1
        kind, step = byte & 15, byte >> 4
        if kind == 0:
            return values, position
        if step:
            number += step
        else:
            number, position = _read_integer(data, position)
        values[number], position = _read_value(data, position, kind, depth)


def _read_value(data: bytes, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # a truth value, which is in its type
        return kind == 1, position
    if kind == 3:
        return None, position + 1
    if kind in (4, 5, 6):
        return _read_integer(data, position)
    if kind == 7:
        return None, position + 8
    if kind == 8:  # bytes, with their length before them
        length, position = _read_varint(data, position)
        return None, position + length
    if kind in (9, 10):  # a list
        if position >= len(data):
            raise DamagedFile("has a damaged page")
        byte = data[position]
        length, position = (byte >> 4, position + 1) if byte >> 4 < 15 else _read_varint(data, position + 1)
        values = []
        for _ in range(length):
            if position >= len(data):
                raise DamagedFile("has a damaged page")
            value, position = _read_value(data, position, byte & 15, depth)
            values.append(value)
            position += (byte & 15) in (1, 2)
        return values, position
    if kind == 12:
        return _read_struct(data, position, depth + 1)
    raise DamagedFile("has a damaged page")


def _read_integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _read_varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise DamagedFile("has a damaged page")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
