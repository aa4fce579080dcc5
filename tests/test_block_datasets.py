"""Weight blocks as a data set, in memory and streamed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from zoo_fixtures import TINY_CONCEPTS, TINY_RECIPE, kept_zoo

from initzoo.errors import InvalidZoo
from initzoo.zoo.datasets import load_blocks
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo"]

N_BLOCKS = TINY_RECIPE.layout.n_blocks


@pytest.fixture(autouse=True)
def datasets() -> ModuleType:
    """Imported late: it takes two seconds."""
    module: ModuleType = pytest.importorskip("datasets")
    return module


def test_a_row_is_a_block_of_a_concept(kept_zoo: Path, datasets: ModuleType) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    rows = load_blocks(zoo)
    assert isinstance(rows, datasets.Dataset)
    assert rows.column_names == ["concept", "prompt", "block_index", "block"]
    assert len(rows) == N_BLOCKS * len(TINY_CONCEPTS)
    own = [row for row in rows if row["concept"] == "night"]
    assert [row["block_index"] for row in own] == list(range(N_BLOCKS))
    assert own[0]["prompt"] == "night"
    np.testing.assert_array_equal(np.array([row["block"] for row in own], np.float32), zoo.blocks("night"))


def test_streamed_rows_are_the_same_and_a_split_can_be_chosen(kept_zoo: Path, datasets: ModuleType) -> None:
    streamed = load_blocks(str(kept_zoo), split="heldout-new", streaming=True)
    assert isinstance(streamed, datasets.IterableDataset)
    assert list(streamed) == list(load_blocks(str(kept_zoo), split="heldout-new"))
    assert {row["concept"] for row in streamed} == {"remove-haze"}


def test_an_unknown_split_is_one_line(kept_zoo: Path) -> None:
    with pytest.raises(InvalidZoo, match="zoo 'kept' has no checkpoints of split 'tests'"):
        load_blocks(str(kept_zoo), split="tests")
