"""Details: all that a fully trained network has beyond its base and adapter, as eight-bit numbers.

A detail stands beside the adapter of its checkpoint. It is the difference between the network's weights
after all of them were trained and the weights of base and adapter merged. Its bytes are, one after the other:

    float32   the scale of every output channel of every weight, then all biases, tensor by tensor
    int8      the weights in units of their channel's scale, tensor by tensor

Tensors have the order of `Recipe.weights`. A zero byte fills the detail up to an even length, so that the
float16 blocks after it in a shard stay aligned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from initzoo.checkpoints.recipe import Recipe
from initzoo.checkpoints.rounding import STEPS, round_nearest, round_with_feedback
from initzoo.errors import InvalidInit, LayoutMismatch

__all__ = ["add_detail", "decode_detail", "detail_size", "encode_detail"]


def detail_size(recipe: Recipe) -> int:
    """Number of bytes of a detail.

    Example:
        >>> from initzoo.checkpoints import NetworkSpec
        >>> detail_size(Recipe.of("tiny", NetworkSpec("starter", {"n_detail": 8}), {"detail": 2}))
        54384
    """
    n_numbers, n_bytes = 0, 0
    for _, shape in recipe.weights:
        n_numbers += shape[0] if len(shape) > 1 else math.prod(shape)
        n_bytes += math.prod(shape) if len(shape) > 1 else 0
    return 4 * n_numbers + n_bytes + n_bytes % 2


def encode_detail(
    trained: Mapping[str, np.ndarray],
    merged: Mapping[str, np.ndarray],
    recipe: Recipe,
    *,
    moments: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """Encode what trained weights have beyond those of base and adapter.

    Args:
        trained: weights and biases of the trained network, by name.
        merged: the same of base and adapter, as `merge_adapter` returns them.
        recipe: the recipe of both.
        moments: of the inputs of layers, by `layer_moments` of the trained network. With them, weights are
            rounded so that outputs change least; without, each to the nearest number.

    Raises:
        LayoutMismatch: a tensor is missing or has another shape.
        InvalidInit: a value is NaN or infinite.

    Example:
        >>> from initzoo.checkpoints import NetworkSpec
        >>> recipe = Recipe.of("tiny", NetworkSpec("starter", {"n_detail": 8}), {"detail": 2})
        >>> before = {name: np.zeros(shape, np.float32) for name, shape in recipe.weights}
        >>> after = {name: np.full(shape, 0.5, np.float32) for name, shape in recipe.weights}
        >>> detail = decode_detail(encode_detail(after, before, recipe), recipe, "grey")
        >>> float(add_detail(before, detail)["head.weight"].max())
        0.5
    """
    changes: dict[str, np.ndarray] = {}
    rounded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, shape in recipe.weights:
        after, before = _tensor(trained, name, shape), _tensor(merged, name, shape)
        changes[name] = np.asarray(after, np.float64) - before
        if not np.isfinite(changes[name]).all():
            raise InvalidInit(f"detail, tensor '{name}': found NaN or infinite values. Train it again.")
    for name, shape in recipe.weights:
        if len(shape) > 1:
            rows, layer = changes[name].reshape(shape[0], -1), name.rpartition(".")[0]
            if moments is not None and layer in moments:
                units, scales, shift = round_with_feedback(rows, moments[layer])
                rounded[name] = units, scales
                changes[f"{layer}.bias"] = changes[f"{layer}.bias"] + shift
            else:
                rounded[name] = round_nearest(rows)
    numbers = [
        rounded[name][1] if name in rounded else changes[name].astype("<f4") for name, _ in recipe.weights
    ]
    data = b"".join(array.tobytes() for array in (*numbers, *(units for units, _ in rounded.values())))
    return data + b"\0" * (len(data) % 2)


def decode_detail(data: bytes, recipe: Recipe, concept_id: str) -> dict[str, np.ndarray]:
    """Decode a detail: what to add to each tensor of base and adapter merged.

    Args:
        data: the bytes that `encode_detail` returned.
        recipe: the recipe of the checkpoint.
        concept_id: for messages.

    Returns:
        float32 arrays by name, in the order and shapes of `recipe.weights`.

    Raises:
        LayoutMismatch: the number of bytes does not fit the recipe.
        InvalidInit: a value is NaN, infinite or not one that is ever written.
    """
    expected = detail_size(recipe)
    if len(data) != expected:
        raise LayoutMismatch(
            f"concept '{concept_id}': expected a detail of {expected} bytes, found {len(data)}. "
            "Load it with the recipe it was made with."
        )
    detail, position = {}, 0
    for name, shape, is_vector in _parts(recipe):
        n_numbers = shape[0] if not is_vector else math.prod(shape)
        numbers = np.frombuffer(data, "<f4", n_numbers, position).astype(np.float32)
        position += 4 * n_numbers
        if not np.isfinite(numbers).all() or (not is_vector and (numbers < 0).any()):
            raise InvalidInit(f"concept '{concept_id}', detail, tensor '{name}': found an invalid number.")
        detail[name] = numbers
    for name, shape, is_vector in _parts(recipe):
        if is_vector:
            detail[name] = detail[name].reshape(shape)
            continue
        units = np.frombuffer(data, np.int8, math.prod(shape), position).reshape(shape[0], -1)
        position += math.prod(shape)
        if units.size and int(units.min()) < -STEPS:
            raise InvalidInit(f"concept '{concept_id}', detail, tensor '{name}': found an invalid number.")
        detail[name] = (units * detail[name][:, None]).reshape(shape)
    if any(data[position:]):
        raise InvalidInit(f"concept '{concept_id}', detail: expected zeros after the last value.")
    return detail


def add_detail(merged: Mapping[str, np.ndarray], detail: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add a detail to the weights of base and adapter merged.

    Returns:
        float32 arrays by name: the weights of the fully trained network.

    Raises:
        InvalidInit: a sum is not finite.
    """
    with np.errstate(over="ignore"):
        added = {name: (tensor + detail[name]).astype(np.float32) for name, tensor in merged.items()}
    for name, tensor in added.items():
        if not np.isfinite(tensor).all():
            raise InvalidInit(f"detail, tensor '{name}': the sum is NaN or infinite. Get the zoo again.")
    return added


def _parts(recipe: Recipe) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """Name and shape of each tensor of the network, and whether it is a vector."""
    for name, shape in recipe.weights:
        yield name, shape, len(shape) == 1


def _tensor(weights: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    tensor = weights.get(name)
    if tensor is None or tensor.shape != shape:
        found = "none" if tensor is None else f"shape {tensor.shape}"
        raise LayoutMismatch(f"detail, tensor '{name}': expected shape {shape}, found {found}.")
    return tensor
