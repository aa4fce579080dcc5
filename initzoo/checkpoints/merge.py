"""Merging: adds an adapter to a base, which gives the weights of a plain network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from initzoo.checkpoints.blocks import check_adapter
from initzoo.checkpoints.recipe import Layout
from initzoo.errors import InvalidInit, LayoutMismatch

__all__ = ["merge_adapter"]


def merge_adapter(
    base: Mapping[str, np.ndarray], adapter: Mapping[str, np.ndarray], layout: Layout
) -> dict[str, np.ndarray]:
    """Add an adapter to a base: `weight + B A`, `bias + bias`.

    Source:
        LoRA, Hu et al. (2021), arXiv:2106.09685, without its factor alpha / r.

    Args:
        base: weights of the base: weight and bias of each layer, and A of each adapted layer.
        adapter: exactly the layout's tensors.
        layout: the layout of the adapter.

    Returns:
        Weight and bias of each layer, float32, by name.

    Raises:
        LayoutMismatch: a tensor of the adapter or of the base is missing or misshapen.
        InvalidInit: a value of the adapter or of the sum is NaN or infinite.

    Example:
        >>> layout = Layout(tensors=(("head.B", (1, 1)), ("head.bias", (1,))), block_size=2)
        >>> one = np.ones((1, 1, 1, 1), dtype=np.float32)
        >>> base = {"head.weight": one, "head.bias": np.zeros(1, np.float32), "head.A": 2 * one}
        >>> adapter = {"head.B": np.full((1, 1), 3.0), "head.bias": np.ones(1)}
        >>> merge_adapter(base, adapter, layout)
        {'head.weight': array([[[[7.]]]], dtype=float32), 'head.bias': array([1.], dtype=float32)}
    """
    check_adapter(adapter, layout)
    merged = {name: tensor for name, tensor in base.items() if not name.endswith(".A")}
    for name, _ in layout.tensors:
        layer, _, part = name.rpartition(".")
        target = f"{layer}.weight" if part == "B" else f"{layer}.bias"
        # In float64: machines add in different orders, and rounding to float32 hides the differences.
        change = np.asarray(adapter[name], dtype=np.float64)
        if target not in merged or (part == "B" and f"{layer}.A" not in base):
            raise LayoutMismatch(f"base, layer '{layer}': the adapter changes it, found no such weights.")
        if part == "B":
            # (out, rank) x (rank, in, kernel, kernel) -> (out, in, kernel, kernel). If the ranks differ,
            # the shape of A is reported below.
            a = base[f"{layer}.A"].astype(np.float64)
            change = np.tensordot(change, a, axes=1) if len(a) == change.shape[1] else a
        if change.shape != merged[target].shape:
            raise LayoutMismatch(
                f"base, tensor '{target}': expected shape {change.shape}, found {merged[target].shape}."
            )
        with np.errstate(over="ignore"):
            merged[target] = (merged[target] + change).astype(np.float32)
        if not np.isfinite(merged[target]).all():
            raise InvalidInit(
                f"merged weights, tensor '{target}': found NaN or infinite values. Fit it again."
            )
    return merged
