"""The weight blocks of a zoo as a Hugging Face dataset, to train models on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from initzoo.errors import InvalidZoo, MissingExtra
from initzoo.zoo.zoo import Zoo

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

__all__ = ["load_blocks"]

_CONCEPTS_AT_ONCE = 256


def load_blocks(
    zoo: Zoo | str, *, split: str | None = None, streaming: bool = False
) -> Dataset | IterableDataset:
    """Load the weight blocks of a zoo as a dataset with one row per block.

    Columns: `concept` (id), `prompt` (plain name), `block_index` (int32, from 0) and `block`
    (float32, `block_size` values).

    Args:
        zoo: an open zoo, or a name that `Zoo.from_pretrained` takes.
        split: load only checkpoints of this split, e.g. `train`.
        streaming: read checkpoints on demand instead of all at once.

    Returns:
        A `datasets.Dataset` in memory, or a `datasets.IterableDataset`.

    Raises:
        InvalidZoo: the zoo is damaged, or has no checkpoint of this split.
        MissingExtra: datasets is not installed.

    Example:
        >>> rows = load_blocks("starter", split="heldout-new")  # doctest: +SKIP
        >>> rows[0]["concept"], rows[0]["block_index"], len(rows[0]["block"])  # doctest: +SKIP
        ('amber', 0, 256)
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(
            'load_blocks needs datasets. Install it with: pip install "initzoo[datasets]"'
        ) from error
    if isinstance(zoo, str):
        zoo = Zoo.from_pretrained(zoo)
    ids = [row.concept_id for row in zoo.index.each_row(split=split)]
    if not ids:
        raise InvalidZoo(
            f"zoo '{zoo.name}' has no checkpoints of split {split!r}. Leave it out, or name another."
        )
    value = datasets.Value
    features = datasets.Features(
        {
            "concept": value("string"),
            "prompt": value("string"),
            "block_index": value("int32"),
            "block": datasets.List(value("float32"), length=zoo.layout.block_size),
        }
    )
    if streaming:
        return datasets.IterableDataset.from_generator(
            _each_block, features=features, gen_kwargs={"zoo": zoo, "concept_ids": ids}
        )
    import pyarrow as pa

    schema = features.arrow_schema
    tables = [
        pa.Table.from_pylist(list(_each_block(zoo, ids[i : i + 64])), schema) for i in range(0, len(ids), 64)
    ]
    return datasets.Dataset(pa.concat_tables(tables))


def _each_block(zoo: Zoo, concept_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    for first in range(0, len(concept_ids), _CONCEPTS_AT_ONCE):
        rows = [zoo.index.row(concept_id) for concept_id in concept_ids[first : first + _CONCEPTS_AT_ONCE]]
        for row, blocks in zip(rows, zoo.blocks_of(rows), strict=True):
            for number, block in enumerate(blocks):
                yield {
                    "concept": row.concept_id,
                    "prompt": row.prompts[0],
                    "block_index": number,
                    "block": block,
                }
