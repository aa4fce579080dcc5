"""Blocks: adapters cut into equal slices and put together again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from zoo_fixtures import TINY_RECIPE, random_adapter

from initzoo.checkpoints.blocks import check_adapter, check_blocks, join_blocks, split_blocks, value_mask
from initzoo.checkpoints.recipe import Layout, Recipe
from initzoo.errors import InvalidInit, LayoutMismatch
from initzoo.zoo.zoo import Zoo

LAYOUT = Layout(
    tensors=(("head.B", (3, 2)), ("head.bias", (3,)), ("tail.B", (2, 2)), ("tail.bias", (2,))), block_size=4
)


def numbered_adapter() -> dict[str, np.ndarray]:
    """The values 1, 2, 3, ... in the layout's order."""
    values = iter(range(1, 100))
    return {
        name: np.array([next(values) for _ in range(math.prod(shape))], dtype=np.float32).reshape(shape)
        for name, shape in LAYOUT.tensors
    }


def slow_split(adapter: dict[str, np.ndarray], layout: Layout) -> list[list[float]]:
    """The obvious version: a list of values a layer, filled up with zeros, cut into slices."""
    blocks = []
    for tensors in layout.layers.values():
        values = [float(value) for name, _ in tensors for value in adapter[name].ravel()]
        values += [0.0] * (-len(values) % layout.block_size)
        blocks += [values[i : i + layout.block_size] for i in range(0, len(values), layout.block_size)]
    return blocks


def test_no_block_holds_values_of_two_layers() -> None:
    expected = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 0, 0], [10, 11, 12, 13], [14, 15, 0, 0]]
    assert split_blocks(numbered_adapter(), LAYOUT).tolist() == expected


@pytest.mark.parametrize("block_size", [1, 2, 7, 16, 256, 10_000])
def test_split_blocks_agrees_with_the_obvious_version(block_size: int) -> None:
    layout = Layout(tensors=TINY_RECIPE.layout.tensors, block_size=block_size)
    adapter = random_adapter(TINY_RECIPE, seed=block_size)
    blocks = split_blocks(adapter, layout)
    assert blocks.dtype == np.float32
    assert blocks.shape == (layout.n_blocks, block_size)
    assert blocks.tolist() == slow_split(adapter, layout)


@pytest.mark.parametrize("recipe", [TINY_RECIPE, Zoo.from_pretrained("starter").recipe])
def test_join_blocks_restores_the_adapter(recipe: Recipe) -> None:
    adapter = random_adapter(recipe, seed=1)
    restored = join_blocks(split_blocks(adapter, recipe.layout), recipe.layout)
    assert list(restored) == [name for name, _ in recipe.layout.tensors]
    for name, tensor in adapter.items():
        assert restored[name].dtype == np.float32
        np.testing.assert_array_equal(restored[name], tensor)


def test_joined_tensors_do_not_share_memory_with_the_blocks() -> None:
    blocks = split_blocks(numbered_adapter(), LAYOUT)
    join_blocks(blocks, LAYOUT)["head.B"][:] = 99
    assert split_blocks(numbered_adapter(), LAYOUT).tolist() == blocks.tolist()


def test_value_mask_counts_every_value_once() -> None:
    mask = value_mask(LAYOUT)
    assert mask.sum() == LAYOUT.n_values
    assert split_blocks(numbered_adapter(), LAYOUT)[mask].tolist() == list(range(1, 16))


def test_other_float_sizes_are_taken() -> None:
    adapter = {name: tensor.astype(np.float64) for name, tensor in numbered_adapter().items()}
    assert split_blocks(adapter, LAYOUT).dtype == np.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head.B": None}, r"tensor 'head.B': expected shape \(3, 2\), found no such tensor"),
        ({"nose.B": np.zeros(3)}, r"tensor 'nose.B': the layout [0-9a-f]{16} has no such tensor"),
        (
            {"head.B": np.zeros((2, 3))},
            r"'head.B': expected floats of shape \(3, 2\), found float64 of shape \(2, 3\)",
        ),
        ({"tail.bias": np.zeros(2, dtype=np.int64)}, r"'tail.bias': expected floats .* found int64"),
        ({"tail.bias": np.zeros(2, dtype=complex)}, r"'tail.bias': expected floats .* found complex128"),
    ],
)
def test_split_blocks_names_the_tensor_that_does_not_fit(change: dict[str, np.ndarray], words: str) -> None:
    adapter = {**numbered_adapter(), **change}
    adapter = {name: tensor for name, tensor in adapter.items() if tensor is not None}
    with pytest.raises(LayoutMismatch, match=words):
        split_blocks(adapter, LAYOUT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_split_blocks_refuses_what_float32_cannot_hold(value: float) -> None:
    adapter = numbered_adapter() | {"tail.bias": np.array([0.0, value])}
    with pytest.raises(InvalidInit, match="tensor 'tail.bias': 1 of 2 values are NaN or infinite"):
        split_blocks(adapter, LAYOUT)


@pytest.mark.parametrize("shape", [(5, 3), (4, 4), (6, 4), (20,), (5, 4, 1), (0, 4)])
def test_join_blocks_refuses_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(LayoutMismatch, match=r"expected floats of shape \(5, 4\), found float32 of shape"):
        join_blocks(np.zeros(shape, dtype=np.float32), LAYOUT)


def test_join_blocks_refuses_whole_numbers() -> None:
    with pytest.raises(LayoutMismatch, match="found int64"):
        join_blocks(np.zeros((5, 4), dtype=np.int64), LAYOUT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e200])
def test_join_blocks_names_the_block_that_is_not_finite(value: float) -> None:
    blocks = split_blocks(numbered_adapter(), LAYOUT).astype(np.float64)
    blocks[3, 1] = value
    with pytest.raises(InvalidInit, match="block 3: found a NaN or infinite value, 1 in all"):
        join_blocks(blocks, LAYOUT)


def test_join_blocks_refuses_values_in_the_padding() -> None:
    blocks = split_blocks(numbered_adapter(), LAYOUT)
    blocks[2, 3] = 1e-9
    with pytest.raises(LayoutMismatch, match="block 2: expected zeros after the last value of its layer"):
        join_blocks(blocks, LAYOUT)
    check_blocks(blocks * value_mask(LAYOUT), LAYOUT)


def test_check_adapter_takes_a_whole_adapter() -> None:
    check_adapter(numbered_adapter(), LAYOUT)
