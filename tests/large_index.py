"""Indexes of as many rows as wanted, made in seconds, and whole zoos of many random checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from zoo_fixtures import random_base

from initzoo.checkpoints.base import write_base
from initzoo.checkpoints.blocks import value_mask
from initzoo.checkpoints.recipe import Recipe
from initzoo.zoo.index import SCORES, IndexRow, write_index
from initzoo.zoo.index.files import ROWS_A_GROUP, arrow_schema, write_index_tables
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.shards import write_shard

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
            elif pa.types.is_floating(field.type):
                arrays.append(pa.array(rng.uniform(10, 40, n).astype(np.float32)))
            else:  # columns of details, which these checkpoints do not have
                blank = "" if pa.types.is_string(field.type) else 0
                arrays.append(pa.repeat(blank, n).cast(field.type))
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


def make_large_zoo(folder: Path, recipe: Recipe, *, n_concepts: int, n_per_shard: int) -> Path:
    """A zoo of many random checkpoints in large shards."""
    (folder / "dataset" / "blocks").mkdir(parents=True)
    config = write_base(
        folder / "model" / "base" / recipe.name, recipe=recipe, weights=random_base(recipe), licence="CC0-1.0"
    )
    layout, rng = recipe.layout, np.random.default_rng(0)
    rows = []
    for number, first in enumerate(range(0, n_concepts, n_per_shard)):
        names = [f"look-{row:07d}" for row in range(first, min(first + n_per_shard, n_concepts))]
        values = rng.normal(size=(len(names), layout.n_blocks, layout.block_size)).astype(np.float16)
        blocks = {
            name: np.where(value_mask(layout), own, 0).astype(np.float32)
            for name, own in zip(names, values, strict=True)
        }
        shard = f"blocks/blocks-{number:05d}.safetensors"
        payloads = write_shard(folder / "dataset" / shard, blocks, layout, recipe.name)
        for place, name in enumerate(names, start=first):
            payload = payloads[name]
            rows.append(
                IndexRow(
                    concept_id=name,
                    prompts=(name_of(place), f"make it {name_of(place)}"),
                    test_prompts=(),
                    family="style",
                    split="train",
                    novelty="",
                    teacher="[]",
                    recipe=recipe.name,
                    layout_id=layout.id,
                    base_sha256=config.base_sha256,
                    shard=shard,
                    byte_start=payload.start,
                    byte_end=payload.end,
                    sha256=payload.sha256,
                    n_blocks=layout.n_blocks,
                    block_size=layout.block_size,
                    dtype="F16",
                    licence="CC0-1.0",
                    source="made by a test",
                    **dict.fromkeys(SCORES),
                )
            )
    write_index(folder / "dataset" / "index.parquet", rows)
    refresh_manifest(folder)
    return folder
