"""What is frozen for a family of checkpoints: the `Recipe` and the `Layout` of its weights."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from initzoo.errors import LayoutMismatch

__all__ = ["FitStage", "JointStage", "LayerShape", "Layout", "NetworkShape", "Recipe"]


@dataclass(frozen=True)
class Layout:
    """Names, shapes, order and block size of the weights of one adapter.

    A layer is the part of a tensor's name before its last dot. The values of one
    layer fill whole blocks, padded with zeros: no block holds values of two layers.

    Args:
        tensors: (name, shape) of every tensor, in order; the tensors of a layer
            stand next to each other.
        block_size: values in a block.

    Raises:
        ValueError: the block size is below 1, a name comes twice, a shape is empty,
            or a layer's tensors do not stand together.

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
            raise ValueError("a layout names every tensor once")
        if any(not shape or min(shape) < 1 for _, shape in self.tensors):
            raise ValueError("every tensor of a layout has a shape of positive sizes")
        layers = [name.rpartition(".")[0] for name in names]
        changes = sum(a != b for a, b in itertools.pairwise(layers)) + bool(layers)
        if changes != len(set(layers)):
            raise ValueError("the tensors of a layer must stand next to each other")

    @cached_property
    def layers(self) -> dict[str, tuple[tuple[str, tuple[int, ...]], ...]]:
        """The tensors of each layer, in order: layer name -> ((tensor name, shape), ...)."""
        layers: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        for name, shape in self.tensors:
            layers.setdefault(name.rpartition(".")[0], []).append((name, shape))
        return {layer: tuple(tensors) for layer, tensors in layers.items()}

    @cached_property
    def n_values(self) -> int:
        """Values in one adapter, padding not counted."""
        return sum(math.prod(shape) for _, shape in self.tensors)

    @cached_property
    def n_blocks(self) -> int:
        """Blocks that one adapter fills."""
        return sum(
            -(-sum(math.prod(shape) for _, shape in tensors) // self.block_size)
            for tensors in self.layers.values()
        )

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits that change when anything of the layout changes."""
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

    @classmethod
    def from_dict(cls, values: Any) -> Layout:
        """Read what `to_dict` wrote.

        Raises:
            LayoutMismatch: the values are not those of a layout.
        """
        try:
            tensors = tuple((str(name), tuple(int(n) for n in shape)) for name, shape in values["tensors"])
            return cls(tensors=tensors, block_size=int(values["block_size"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise LayoutMismatch(f"not a layout: {error}") from error


@dataclass(frozen=True)
class LayerShape:
    """One convolution of the image network.

    Args:
        name: prefix of its tensors' names.
        n_in: input channels.
        n_out: output channels.
        kernel: height and width of the kernel, pixels of its input.
        stride: step of the kernel, pixels of its input.
        rank: rank of its adapter, at least 1.
    """

    name: str
    n_in: int
    n_out: int
    kernel: int
    stride: int
    rank: int


@dataclass(frozen=True)
class NetworkShape:
    """Widths of the image network, from which all its layers follow.

    Most channels stand at half resolution, where four of them see as much detail as one at full
    resolution does, for less time: edges and other line work need them. The middle, at a quarter of
    the resolution, only has to see far, and can be narrow. The photo itself goes to the end through a
    linear layer, `skip`, which each concept adapts: noise can be taken out of it, and colours turned.

    Args:
        n_detail: channels of the first convolution, at half resolution.
        n_middle: channels at a quarter of the resolution.
        n_stages: residual stages of two convolutions in the middle.
        n_upsampled: channels that come back from the middle to half resolution.
        n_decoder: channels of the convolution before the last, at half resolution.
        rank: rank of the adapter of every layer but the last.
        head_rank: rank of the adapters of the two layers whose sum is the edited photo, `head` and `skip`.
    """

    n_detail: int = 64
    n_middle: int = 32
    n_stages: int = 2
    n_upsampled: int = 16
    n_decoder: int = 64
    rank: int = 7
    head_rank: int = 20

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """All convolutions in the order in which an image passes them."""
        detail, middle, rank = self.n_detail, self.n_middle, self.rank
        stages = [
            LayerShape(f"stage{place}_{half}", middle, middle, 3, 1, rank)
            for place in range(self.n_stages)
            for half in ("first", "second")
        ]
        return (
            LayerShape("detail", 12, detail, 3, 1, rank),
            LayerShape("down", detail, middle, 3, 2, rank),
            *stages,
            LayerShape("up", middle, 4 * self.n_upsampled, 1, 1, rank),
            LayerShape("decoder", detail + self.n_upsampled, self.n_decoder, 1, 1, rank),
            LayerShape("head", self.n_decoder, 12, 3, 1, self.head_rank),
            LayerShape("skip", 12, 12, 3, 1, self.head_rank),
        )

    @property
    def reach(self) -> int:
        """How far a pixel's influence goes at most, in pixels: a multiple of 4.

        Example:
            >>> NetworkShape(n_stages=2).reach
            28
        """
        radius, scale = 6, 2  # where a pixel lies in its cell of four, on the way in and on the way out
        for layer in self.layers:
            if layer.name == "skip":  # beside all others, not after them
                continue
            radius += scale * (layer.kernel // 2)
            scale = {"down": 4, "up": 2}.get(layer.name, scale)
        return 4 * math.ceil(radius / 4)


@dataclass(frozen=True)
class JointStage:
    """How base, shared A and one small adapter a concept are trained together.

    Each round visits every concept once, in a new order. An update takes `n_lanes` concepts, a batch
    each, and steps the base along the mean of their gradients.

    Args:
        n_rounds: visits to each concept.
        n_lanes: concepts in an update.
        batch_size: crops of a concept in an update.
        learning_rate: Adam's for base and A.
        betas: Adam's for base and A.
        adapter_learning_rate: Adam's for the adapters.
        adapter_betas: Adam's for the adapters.
        decay_share: share of the rounds, at the end, over which both rates go down to zero.
        n_photos: varied photos that crops are taken from.
    """

    n_rounds: int = 15
    n_lanes: int = 4
    batch_size: int = 8
    learning_rate: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.99)
    adapter_learning_rate: float = 1e-2
    adapter_betas: tuple[float, float] = (0.8, 0.95)
    decay_share: float = 0.4
    n_photos: int = 192


@dataclass(frozen=True)
class FitStage:
    """How the adapter of one concept is trained on the frozen base, from zero.

    Args:
        n_steps: Adam steps; the learning rate goes down to zero over them.
        batch_size: crops in a step.
        learning_rate: Adam's at the first step.
        betas: Adam's.
        n_photos: varied photos that crops are taken from.
    """

    n_steps: int = 72
    batch_size: int = 8
    learning_rate: float = 1e-2
    betas: tuple[float, float] = (0.8, 0.95)
    n_photos: int = 24


@dataclass(frozen=True)
class Recipe:
    """The frozen settings of one family of checkpoints.

    Args:
        name: what the family is called.
        network: widths of the image network.
        joint: the stage that makes base and shared A.
        fit: the stage that makes each concept's adapter.
        photo_size: short side of photos when a teacher sees them, pixels: `photos.TEACHING_SIDE`.
        crop_size: side of the square crops that are trained on, pixels.
        block_size: values in a block.
        max_gradient: gradients of greater norm are scaled down to it.
        seed: where all randomness of training starts.

    Example:
        >>> recipe = Recipe(name="starter")
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    name: str
    network: NetworkShape = field(default_factory=NetworkShape)
    joint: JointStage = field(default_factory=JointStage)
    fit: FitStage = field(default_factory=FitStage)
    photo_size: int = 256
    crop_size: int = 64
    block_size: int = 256
    max_gradient: float = 1.0
    seed: int = 0

    @cached_property
    def layout(self) -> Layout:
        """The layout of this recipe's adapters: B and bias of every layer."""
        tensors: list[tuple[str, tuple[int, ...]]] = []
        for layer in self.network.layers:
            tensors += [
                (f"{layer.name}.B", (layer.n_out, layer.rank)),
                (f"{layer.name}.bias", (layer.n_out,)),
            ]
        return Layout(tensors=tuple(tensors), block_size=self.block_size)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        result: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return result

    @classmethod
    def from_dict(cls, values: Any) -> Recipe:
        """Read what `to_dict` wrote.

        Raises:
            LayoutMismatch: a setting is missing, unknown or of the wrong kind.
        """
        try:
            parts = dict(values)
            parts["network"] = _read_settings(NetworkShape, parts["network"])
            parts["joint"] = _read_settings(JointStage, parts["joint"])
            parts["fit"] = _read_settings(FitStage, parts["fit"])
            recipe: Recipe = _read_settings(cls, parts)
        except (KeyError, TypeError, ValueError) as error:
            raise LayoutMismatch(f"not a recipe of this version of initzoo: {error}") from error
        return recipe


def _read_settings(kind: Any, values: dict[str, Any]) -> Any:
    """Build a settings dataclass from JSON values, whose lists are tuples here."""
    missing = {entry.name for entry in fields(kind)} - set(values)
    if missing:
        raise ValueError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )
