"""docs/format.md is complete: a reader written from that page alone reads what `Zoo.pull` reads."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import stranger_reader
from zoo_fixtures import TINY_CONCEPTS, flipped, make_zoo

from initzoo.pairs import catalog_folder
from initzoo.zoo.zoo import Zoo

READER = Path(stranger_reader.__file__)
DETAILED = ("navy-to-gold", "night", "remove-haze")


@pytest.fixture(scope="module")
def detailed_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with several shards, in which some checkpoints have a detail."""
    return make_zoo(tmp_path_factory.mktemp("stranger") / "zoo", detailed=DETAILED)


def check_equal(weights: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(weights) == set(expected)
    for name, tensor in expected.items():
        assert weights[name].dtype == tensor.dtype == np.float32
        # B A may be summed in another order; rounding to float32 hides nearly all of it.
        np.testing.assert_allclose(weights[name], tensor, rtol=1e-6, atol=1e-6)


def test_the_reader_is_short_and_knows_nothing_of_initzoo() -> None:
    text = READER.read_text("utf-8")
    assert len(text.splitlines()) <= 80
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"json", "struct", "hashlib", "zlib", "numpy", "pyarrow"}
    assert "__import__" not in text
    assert "importlib" not in text


@pytest.mark.parametrize("concept_id", [concept.id for concept in TINY_CONCEPTS])
def test_a_stranger_reads_the_weights_that_pull_returns(detailed_zoo: Path, concept_id: str) -> None:
    zoo = Zoo.from_pretrained(detailed_zoo)
    init = zoo.pull(concept_id, origin="exact")
    assert init.metadata.has_detail == (concept_id in DETAILED)
    check_equal(
        stranger_reader.read_weights(stranger_reader.open_zoo(detailed_zoo), concept_id), init.weights
    )


def test_a_stranger_reads_a_checkpoint_of_every_family_and_split_of_the_bundled_zoo() -> None:
    zoo, opened = Zoo.from_pretrained("starter"), stranger_reader.open_zoo(catalog_folder())
    assert set(opened[2]) == set(zoo.index.ids)
    first = {(row.family, row.split, row.has_detail): row.concept_id for row in zoo.index.rows()}
    assert len(first) > 6
    for concept_id in first.values():
        check_equal(
            stranger_reader.read_weights(opened, concept_id), zoo.pull(concept_id, origin="exact").weights
        )


@pytest.mark.parametrize(
    "path",
    [
        "dataset/index.parquet",
        "dataset/blocks/blocks-00000.safetensors",
        "model/base/tiny/config.json",
        "model/base/tiny/model.safetensors",
    ],
)
def test_a_stranger_notices_every_damaged_byte(tmp_path: Path, path: str) -> None:
    folder = make_zoo(tmp_path / "zoo", detailed=DETAILED)
    for damaged in flipped((folder / path).read_bytes(), 5, seed=1):
        (folder / path).write_bytes(damaged)
        with pytest.raises(ValueError, match="wrong digest"):
            stranger_reader.open_zoo(folder)


@pytest.mark.parametrize("part", ["blocks", "detail"])
def test_a_stranger_notices_damage_of_the_bytes_that_it_reads(tmp_path: Path, part: str) -> None:
    folder = make_zoo(tmp_path / "zoo", detailed=DETAILED)
    opened = stranger_reader.open_zoo(folder)
    row = Zoo.from_pretrained(folder).find("night")
    shard = bytearray((folder / "dataset" / row.shard).read_bytes())
    shard[row.byte_start if part == "blocks" else row.byte_end + row.detail_bytes - 1] ^= 1
    (folder / "dataset" / row.shard).write_bytes(shard)
    with pytest.raises(ValueError, match="night: wrong digest"):
        stranger_reader.read_weights(opened, "night")
    stranger_reader.read_weights(opened, "watercolour")
