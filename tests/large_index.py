"""An index of as many rows as wanted, made in seconds: sound rows of a zoo that has no shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from initzoo.index.files import ROWS_A_GROUP, arrow_schema, write_index_tables

LOOKS = (
    "sketch",
    "charcoal",
    "watercolour",
    "neon",
    "etching",
    "mosaic",
    "pastel",
    "engraving",
    "poster",
    "fog",
)
TINTS = ("navy", "gold", "teal", "orange", "maroon", "cream", "pink", "green", "indigo", "grey")
FRAMES = (
    "{}", "make it {}", "turn it into {}", "{} please", "paint this as {}", "a photo in {}", "draw it as {}",
    "give it a {} look", "render the picture as {}", "I want {}", "in the style of {}", "{}, all over",
    "{} effect", "apply {}", "as {} as it gets",
)  # fmt: skip
N_TEST_PROMPTS = 3


def name_of(row: int) -> str:
    """The plain name of a row: a look, a tint, and a number in letters and digits."""
    return f"{LOOKS[row % 10]} in {TINTS[row // 10 % 10]} number {row:07d}"


def write_large_index(path: Path, n_rows: int) -> None:
    """Write an index of `n_rows` rows with 15 wordings each."""
    write_index_tables(path, _tables(n_rows), force=True)


def _tables(n_rows: int) -> Iterator[Any]:
    schema = arrow_schema()
    rng = np.random.default_rng(0)
    for first in range(0, n_rows, ROWS_A_GROUP):
        rows = np.arange(first, min(first + ROWS_A_GROUP, n_rows))
        n = len(rows)
        names = pa.array([name_of(row) for row in rows.tolist()])
        wordings = [pc.binary_join_element_wise(*_around(frame, names, n), "") for frame in FRAMES]
        digests = [rng.bytes(32).hex() for _ in range(n)]
        values = {
            "concept_id": [f"look-{row:07d}" for row in rows.tolist()],
            "prompts": _lists(wordings[N_TEST_PROMPTS:], n),
            "test_prompts": _lists(wordings[:N_TEST_PROMPTS], n),
            "byte_start": 8192 + rows * 6656,
            "byte_end": 8192 + (rows + 1) * 6656,
            "sha256": digests,
        }  # fmt: skip
        same = {
            "family": "style", "split": "train", "novelty": "", "teacher": "[]", "recipe": "starter",
            "layout_id": "0" * 16, "base_sha256": "a" * 64, "shard": "blocks/blocks-00000.safetensors",
            "n_blocks": 13, "block_size": 256, "dtype": "F16", "licence": "CC0-1.0", "source": "a test",
        }  # fmt: skip
        arrays = []
        for field in schema:
            if field.name in values:
                value = values[field.name]
                arrays.append(value if isinstance(value, pa.Array) else pa.array(value, type=field.type))
            elif field.name in same:
                arrays.append(pa.repeat(same[field.name], n).cast(field.type))
            else:
                arrays.append(pa.array(rng.uniform(10, 40, n).astype(np.float32)))
        yield pa.table(arrays, schema=schema)


def _around(frame: str, names: pa.Array, n: int) -> list[pa.Array]:
    before, after = frame.split("{}")
    return [pa.repeat(before, n), names, pa.repeat(after, n)]


def _lists(columns: list[pa.Array], n: int) -> pa.Array:
    """One list a row from one array a wording."""
    order = np.arange(len(columns) * n).reshape(len(columns), n).T.ravel()
    flat = pa.concat_arrays(columns).take(pa.array(order))
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * len(columns))
    return pa.ListArray.from_arrays(offsets, flat)
