"""Adapters as weight blocks: slices of equal length, each from one layer.

The tensors of a layer are flattened and concatenated in the layout's order, then cut into
blocks; the last block of a layer is padded with zeros. A block thus never mixes two layers,
so a denoiser can treat block i as the same part of the network in every checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from initzoo.checkpoints.recipe import Layout
from initzoo.errors import InvalidInit, LayoutMismatch

__all__ = ["check_adapter", "check_blocks", "join_blocks", "split_blocks", "value_mask"]


def split_blocks(adapter: Mapping[str, np.ndarray], layout: Layout) -> np.ndarray:
    """Cut an adapter into weight blocks.

    Args:
        adapter: exactly the layout's tensors, by name.
        layout: the layout of the adapter.

    Returns:
        Blocks, float32, shape `(n_blocks, block_size)`, padded with zeros.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected, or has another shape or dtype.
        InvalidInit: a value is NaN or infinite.

    Example:
        >>> layout = Layout(tensors=(("head.B", (3, 1)), ("tail.bias", (2,))), block_size=4)
        >>> adapter = {"head.B": np.array([[1.0], [2.0], [3.0]]), "tail.bias": np.array([4.0, 5.0])}
        >>> split_blocks(adapter, layout)
        array([[1., 2., 3., 0.],
               [4., 5., 0., 0.]], dtype=float32)
    """
    check_adapter(adapter, layout)
    blocks = np.zeros(layout.n_blocks * layout.block_size, dtype=np.float32)
    for name, shape, start in _offsets(layout):
        blocks[start : start + math.prod(shape)] = np.asarray(adapter[name]).ravel()
    return blocks.reshape(layout.n_blocks, layout.block_size)


def join_blocks(blocks: np.ndarray, layout: Layout) -> dict[str, np.ndarray]:
    """Join weight blocks into an adapter: the inverse of `split_blocks`.

    Args:
        blocks: shape `(n_blocks, block_size)`, zero outside `value_mask(layout)`.
        layout: the layout that the blocks were cut by.

    Returns:
        The adapter: float32 arrays by name, in the layout's order.

    Raises:
        LayoutMismatch: the shape or dtype differs, or the padding is not zero.
        InvalidInit: a value is NaN or infinite.

    Example:
        >>> layout = Layout(tensors=(("head.bias", (3,)),), block_size=4)
        >>> join_blocks(np.array([[1.0, 2.0, 3.0, 0.0]]), layout)
        {'head.bias': array([1., 2., 3.], dtype=float32)}
    """
    check_blocks(blocks, layout)
    values = blocks.astype(np.float32).ravel()
    return {
        name: values[start : start + math.prod(shape)].reshape(shape).copy()
        for name, shape, start in _offsets(layout)
    }


def value_mask(layout: Layout) -> np.ndarray:
    """The mask of the values in the blocks: bool, shape `(n_blocks, block_size)`; padding is False.

    Example:
        >>> value_mask(Layout(tensors=(("head.bias", (3,)),), block_size=2))
        array([[ True,  True],
               [ True, False]])
    """
    mask = np.zeros(layout.n_blocks * layout.block_size, dtype=bool)
    for _, shape, start in _offsets(layout):
        mask[start : start + math.prod(shape)] = True
    return mask.reshape(layout.n_blocks, layout.block_size)


def check_blocks(blocks: np.ndarray, layout: Layout) -> None:
    """Check that blocks have the layout's shape, finite values, and zeros as padding.

    Raises:
        LayoutMismatch: the shape or dtype differs, or the padding is not zero.
        InvalidInit: a value is NaN or infinite.
    """
    expected = (layout.n_blocks, layout.block_size)
    if blocks.shape != expected or blocks.dtype.kind != "f":
        raise LayoutMismatch(
            f"blocks: expected floats of shape {expected}, found {blocks.dtype} of shape {blocks.shape}. "
            "Use the layout that they were cut by."
        )
    with np.errstate(over="ignore"):
        values = blocks.astype(np.float32, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        n_bad, first = int((~finite).sum()), int(np.argmin(finite.all(axis=1)))
        raise InvalidInit(
            f"block {first}: found a NaN or infinite value, {n_bad} in all. Make the blocks again."
        )
    padding = (values != 0) & ~value_mask(layout)
    if padding.any():
        first = int(np.argmax(padding.any(axis=1)))
        raise LayoutMismatch(
            f"block {first}: expected zeros after the last value of its layer, found other values. "
            "Use the layout that it was cut by, or multiply by value_mask(layout)."
        )


def check_adapter(adapter: Mapping[str, np.ndarray], layout: Layout) -> None:
    """Check that an adapter has exactly the layout's tensors and finite values.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected, or has another shape or dtype.
        InvalidInit: a value is NaN or infinite.
    """
    for name, shape in layout.tensors:
        if name not in adapter:
            raise LayoutMismatch(f"adapter, tensor '{name}': expected shape {shape}, found no such tensor.")
        tensor = np.asarray(adapter[name])
        if tensor.shape != shape or tensor.dtype.kind != "f":
            raise LayoutMismatch(
                f"adapter, tensor '{name}': expected floats of shape {shape}, "
                f"found {tensor.dtype} of shape {tensor.shape}."
            )
        with np.errstate(over="ignore"):
            n_bad = int((~np.isfinite(tensor.astype(np.float32))).sum())
        if n_bad:
            raise InvalidInit(
                f"adapter, tensor '{name}': {n_bad} of {tensor.size} values are NaN or infinite. "
                "Fit or pull it again."
            )
    unexpected = sorted(set(adapter) - {name for name, _ in layout.tensors})
    if unexpected:
        raise LayoutMismatch(f"adapter, tensor '{unexpected[0]}': the layout {layout.id} has no such tensor.")


def _offsets(layout: Layout) -> list[tuple[str, tuple[int, ...], int]]:
    """Name, shape, and offset in the flattened blocks of every tensor."""
    offsets = []
    position = 0
    for tensors in layout.layers.values():
        for name, shape in tensors:
            offsets.append((name, shape, position))
            position += math.prod(shape)
        position += -position % layout.block_size  # pad to a whole block
    return offsets
