"""`Recipe`, the frozen settings of a family of checkpoints, and `Layout`, the order of their weights."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from initzoo.networks import Adapted, ImageNetwork

__all__ = ["Layout", "NetworkSpec", "Recipe"]

_MAX_BLOCK_SIZE = 2**16
_MAX_AXES = 8
_MAX_TENSORS = 2**14
_MAX_VALUES = 2**28
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Layout:
    """Names, shapes, order and block size of the weights of one adapter.

    A layer is the part of a tensor's name before its last dot. The values of one
    layer fill whole blocks, padded with zeros: no block holds values of two layers.

    Args:
        tensors: (name, shape) of every tensor, in order; the tensors of a layer are adjacent.
        block_size: values per block.

    Raises:
        ValueError: the block size is below 1, a name is repeated, a shape is empty, or the
            tensors of a layer are not adjacent.

    Example:
        >>> layout = Layout(tensors=(("head.B", (3, 2)), ("head.bias", (3,))), block_size=4)
        >>> layout.n_values, layout.n_blocks
        (9, 3)
    """

    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    block_size: int = 256

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, found {self.block_size}")
        names = [name for name, _ in self.tensors]
        if len(set(names)) != len(names):
            raise ValueError("a layout must not repeat the name of a tensor")
        if any(not 1 <= len(shape) <= _MAX_AXES or min(shape) < 1 for _, shape in self.tensors):
            raise ValueError(f"every tensor of a layout must have a shape of 1 to {_MAX_AXES} positive sizes")
        if self.block_size > _MAX_BLOCK_SIZE or len(names) > _MAX_TENSORS:
            raise ValueError(
                f"a layout has at most {_MAX_TENSORS} tensors and blocks of {_MAX_BLOCK_SIZE} values"
            )
        layers = [name.rpartition(".")[0] for name in names]
        changes = sum(a != b for a, b in itertools.pairwise(layers)) + bool(layers)
        if changes != len(set(layers)):
            raise ValueError("the tensors of a layer must be adjacent")
        if self.n_blocks * self.block_size > _MAX_VALUES:
            raise ValueError(f"a layout has at most {_MAX_VALUES} values")

    @cached_property
    def layers(self) -> dict[str, tuple[tuple[str, tuple[int, ...]], ...]]:
        """The tensors of each layer, in order: layer name -> ((tensor name, shape), ...)."""
        layers: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        for name, shape in self.tensors:
            layers.setdefault(name.rpartition(".")[0], []).append((name, shape))
        return {layer: tuple(tensors) for layer, tensors in layers.items()}

    @cached_property
    def n_values(self) -> int:
        """Number of values in one adapter, without padding."""
        return sum(math.prod(shape) for _, shape in self.tensors)

    @cached_property
    def n_blocks(self) -> int:
        """Number of blocks of one adapter."""
        return sum(
            -(-sum(math.prod(shape) for _, shape in tensors) // self.block_size)
            for tensors in self.layers.values()
        )

    @cached_property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of the layout as JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The layout as canonical JSON (sorted keys, no spaces)."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    def to_dict(self) -> dict[str, Any]:
        """The layout as plain lists and numbers."""
        return {
            "block_size": self.block_size,
            "tensors": [[name, list(shape)] for name, shape in self.tensors],
        }


@dataclass(frozen=True)
class NetworkSpec:
    """The kind and sizes of a network, from which it can be built.

    Args:
        kind: a key of `initzoo.networks.NETWORKS`.
        sizes: keyword arguments of the network's class.
    """

    kind: str
    sizes: dict[str, int] = field(default_factory=dict)

    def build(self) -> ImageNetwork:
        """Build the network with its default initial weights. Loads torch.

        Raises:
            LayoutMismatch: this version of initzoo does not know the network or one of its sizes.
        """
        from initzoo.networks import build_network

        return build_network(self.kind, self.sizes)


@dataclass(frozen=True)
class Recipe:
    """The network, adapters and layout that all checkpoints of one family share.

    A recipe holds all that is needed to read and merge weights, their shapes included, so that neither
    needs torch. How the family was trained is a note in the base's config that no reader depends on.

    Args:
        name: name of the recipe: letters, digits, dots, hyphens and underscores, at most 64.
        network: the image network.
        ranks: rank of the adapter of each adapted layer, in the order of the layout.
        layout: layout of an adapter: B and bias of every adapted layer.
        weights: (name, shape) of every tensor of the network.

    Raises:
        ValueError: the name is not valid, or ranks, layout and weights are inconsistent.

    Example:
        >>> recipe = Recipe.of("tiny", NetworkSpec("starter", {"n_detail": 8}), {"detail": 2, "head": 3})
        >>> recipe.layout.tensors[0], dict(recipe.weights)["detail.weight"]
        (('detail.B', (8, 2)), (8, 12, 3, 3))
    """

    name: str
    network: NetworkSpec
    ranks: dict[str, int]
    layout: Layout
    weights: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a recipe cannot have the name {self.name[:80]!r}")
        shapes = dict(self.weights)
        if any(not 0 <= size < 2**40 for shape in shapes.values() for size in shape):
            raise ValueError("a tensor of the network has an invalid size")
        if any(len(shape) > _MAX_AXES for shape in shapes.values()):
            raise ValueError(f"a tensor of the network has more than {_MAX_AXES} axes")
        if set(self.ranks) != set(self.layout.layers):
            raise ValueError("its ranks and its layout name different layers")
        # The keys of a JSON object have no order, so the layout gives it.
        object.__setattr__(self, "ranks", {layer: self.ranks[layer] for layer in self.layout.layers})
        expected: list[tuple[str, tuple[int, ...]]] = []
        for layer, rank in self.ranks.items():
            weight, bias = shapes.get(f"{layer}.weight"), shapes.get(f"{layer}.bias")
            if rank < 1 or not weight or bias != weight[:1]:
                raise ValueError(f"layer '{layer}' cannot have an adapter of rank {rank}")
            expected += [(f"{layer}.B", (weight[0], rank)), (f"{layer}.bias", weight[:1])]
        if tuple(expected) != self.layout.tensors:
            raise ValueError("its layout does not follow from its ranks and weights")

    @classmethod
    def of(
        cls, name: str, network: NetworkSpec, ranks: Mapping[str, int], *, block_size: int = 256
    ) -> Recipe:
        """Make the recipe of a network with adapters of the given ranks. Loads torch.

        Raises:
            LayoutMismatch: the network is unknown, or lacks a layer that a rank names.
            ValueError: the name is not valid, or the block size is below 1.
        """
        from initzoo.networks import adapter_shapes

        model = network.build()
        layout = Layout(tuple(adapter_shapes(model, ranks).items()), block_size)
        weights = tuple((key, tuple(value.shape)) for key, value in model.state_dict().items())
        return cls(name, network, dict(ranks), layout, weights)

    @cached_property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the network's tensors by name."""
        return dict(self.weights)

    @cached_property
    def base_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the base's tensors by name: those of the network, and A of every adapted layer."""
        shared = {
            f"{layer}.A": (rank, *self.weight_shapes[f"{layer}.weight"][1:])
            for layer, rank in self.ranks.items()
        }
        return self.weight_shapes | shared

    def build(self) -> ImageNetwork:
        """Build the network with its default initial weights. Loads torch.

        Raises:
            LayoutMismatch: this version of initzoo does not know the network, or it has other tensors than
                `weights`; it takes no memory then.
        """
        from initzoo.networks import build_network

        return build_network(self.network.kind, self.network.sizes, shapes=self.weight_shapes)

    def check_network(self) -> None:
        """Check that the network has the tensors of `weights`, without building it. Loads torch.

        Raises:
            LayoutMismatch: `build` would refuse it.
        """
        from initzoo.networks import check_network

        check_network(self.network.kind, self.network.sizes, shapes=self.weight_shapes)

    def build_base(self, arrays: Mapping[str, np.ndarray] | None = None) -> Adapted:
        """Build the network with adapters beside its layers, for training. Loads torch.

        Args:
            arrays: weights, biases and A by name, as in a base; by default the network's initial weights.

        Raises:
            LayoutMismatch: this version of initzoo does not know the network.
        """
        from initzoo.networks import Adapted

        base = Adapted(self.build(), self.ranks)
        return base if arrays is None else base.load_arrays(arrays)
