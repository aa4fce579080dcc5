"""Low-rank adapters beside the layers of any network, attached by hooks.

An adapted layer computes `W * x + b + B (A * x) + b'`. The base holds `W`, `b` and `A`, which all concepts
share; the adapter is `B` and `b'` of every adapted layer. Sharing A makes B unique and weight spaces
comparable: with a free A, `(B R, R^-1 A)` would be the same adapter for every invertible R.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from initzoo.errors import LayoutMismatch
from initzoo.networks.network import ImageNetwork, layers_of

__all__ = ["Adapted", "adapter_from_arrays", "adapter_shapes", "adapter_to_arrays", "default_ranks"]

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Slot:
    """Offset and shape of a tensor in a flat vector."""

    start: int
    shape: tuple[int, ...]

    def of(self, values: Tensor) -> Tensor:
        """View this tensor in flat values, shape `(..., *shape)`."""
        part = values[..., self.start : self.start + math.prod(self.shape)]
        return part.view(*values.shape[:-1], *self.shape)


def adapter_shapes(network: nn.Module, ranks: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of an adapter, in order: B and bias of each adapted layer.

    Args:
        network: the network to adapt.
        ranks: layer name -> rank of its adapter, at least 1.

    Raises:
        LayoutMismatch: the network lacks a layer, or a layer cannot be adapted.

    Example:
        >>> adapter_shapes(nn.Sequential(nn.Conv2d(3, 4, 3)), {"0": 2})
        {'0.B': (4, 2), '0.bias': (4,)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in _adapted_layers(network, ranks).items():
        n_out = layer.weight.shape[0]
        shapes |= {f"{name}.B": (n_out, ranks[name]), f"{name}.bias": (n_out,)}
    return shapes


def default_ranks(network: nn.Module, rank: int = 4) -> dict[str, int]:
    """Ranks that adapt every layer of a network that can have an adapter.

    Convolutions and linear layers need a bias. A batch normalisation gets a change of its scale and shift,
    which is an adapter of rank 1.

    Example:
        >>> first, last = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 3, 1)
        >>> default_ranks(nn.Sequential(first, nn.BatchNorm2d(8), last))
        {'1': 1, '2': 3}
    """
    ranks = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.affine:
            ranks[name] = 1
        is_grouped = isinstance(layer, nn.Conv2d) and layer.groups != 1
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None and not is_grouped:
            ranks[name] = min(rank, layer.weight.shape[0])
    return ranks


def _adapted_layers(
    network: nn.Module, ranks: Mapping[str, int]
) -> dict[str, nn.Conv2d | nn.Linear | nn.BatchNorm2d]:
    layers: dict[str, nn.Conv2d | nn.Linear | nn.BatchNorm2d] = {
        **layers_of(network),
        **{name: one for name, one in network.named_modules() if isinstance(one, nn.BatchNorm2d)},
    }
    for name, rank in ranks.items():
        if name not in layers:
            raise LayoutMismatch(
                f"adapter of layer '{name}': {type(network).__name__} has no Conv2d or Linear of that name."
            )
        layer = layers[name]
        if layer.bias is None or (isinstance(layer, nn.Conv2d) and layer.groups != 1) or rank < 1:
            raise LayoutMismatch(
                f"adapter of layer '{name}': expected a layer with bias and without groups, and a rank of "
                f"at least 1, found {layer} and rank {rank}."
            )
    return {name: layers[name] for name in ranks}


class Adapted(nn.Module):
    """A network with low-rank adapters beside its layers; each call takes the adapters as an argument.

    Args:
        network: the network, not copied; hooks are registered on its layers.
        ranks: rank of the adapter of each adapted layer, in the order of the adapter's values.
        generator: draws initial weights of the network and A. By default the network's weights are kept
            and A is zero.

    Example:
        >>> from initzoo.networks.starter import StarterNet
        >>> base = Adapted(StarterNet(), {"detail": 4, "head": 8}, generator=torch.Generator().manual_seed(0))
        >>> base(torch.zeros(2, 3, 64, 64), torch.zeros(base.n_adapter_values)).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self, network: ImageNetwork, ranks: Mapping[str, int], *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.ranks = dict(ranks)
        self._adapter_slots, self.n_adapter_values = _slots(adapter_shapes(network, ranks))
        layers = _adapted_layers(network, ranks)
        self.shared = nn.ParameterList(
            torch.zeros(ranks[name], *layer.weight.shape[1:]) for name, layer in layers.items()
        )
        self._places = {name: place for place, name in enumerate(layers)}
        self._adapters: Tensor | None = None
        self._values: Tensor | None = None
        if generator is not None:
            self._draw(generator)
        for name, layer in layers.items():
            # A partial of a bound method instead of a closure: a deep copy then calls its own method.
            layer.register_forward_hook(partial(self._add, name))

    def forward(self, images: Tensor, adapters: Tensor) -> Tensor:
        """Edit images with one adapter for all images, or one per group of images.

        Args:
            images: shape `(n, 3, height, width)`, values -1 to 1.
            adapters: flat values in the layout's order, shape `(n_values,)`, or `(n_groups, n_values)`
                where `n` is a multiple of `n_groups` and the images of a group are adjacent.

        Returns:
            Edited images, same shape.
        """
        if adapters.ndim == 1:  # merged weights: one adapter costs no extra convolution
            merged: Tensor = functional_call(self.network, self.merged(adapters), (images,))
            return merged
        with self._using(adapters):
            edited: Tensor = self.network(images)
        return edited

    def merged(self, adapter: Tensor) -> dict[str, Tensor]:
        """Weight and bias of every adapted layer by name, with one adapter merged in."""
        change = _cut(adapter, self._adapter_slots)
        merged = {}
        for name, place in self._places.items():
            layer = self._layer(name)
            added = (change[f"{name}.B"] @ _as_rows(self.shared[place])).view_as(layer.weight)
            merged[f"{name}.weight"] = layer.weight + added
            merged[f"{name}.bias"] = layer.bias + change[f"{name}.bias"]
        return merged

    @contextmanager
    def _using(self, adapters: Tensor) -> Iterator[None]:
        self._adapters = adapters
        try:
            yield
        finally:
            self._adapters = None

    def _add(self, name: str, layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> Tensor | None:
        """Forward hook of a layer: add the output of each group's adapter."""
        if self._adapters is None:
            return None
        adapters, n_groups = self._adapters, len(self._adapters)
        if isinstance(layer, nn.BatchNorm2d):
            return made + self._add_to_scale(name, layer, given[0], adapters)
        # A is shared, so A * x is one convolution for all groups; only the small B differs per group.
        low_rank = self.low_rank(name, given[0])
        b, bias = self.adapter_tensor(f"{name}.B", adapters), self.adapter_tensor(f"{name}.bias", adapters)
        if isinstance(layer, nn.Linear):
            stacked = low_rank.reshape(n_groups, -1, low_rank.shape[-1])  # (groups, tokens, rank)
            change = stacked @ b.transpose(1, 2) + bias[:, None]
            return made + change.view(made.shape)
        stacked = low_rank.reshape(n_groups, len(made) // n_groups, low_rank.shape[1], -1)
        change = b[:, None] @ stacked  # (groups, images, out, pixels)
        return made + (change + bias[:, None, :, None]).view(made.shape)

    def _add_to_scale(self, name: str, layer: nn.BatchNorm2d, x: Tensor, adapters: Tensor) -> Tensor:
        """The output of changes of scale and shift, a group of images at a time."""
        is_batch = layer.training or layer.running_mean is None
        # The running statistics were updated by the layer itself, and must not be twice.
        mean, variance = (None, None) if is_batch else (layer.running_mean, layer.running_var)
        normal = F.batch_norm(x, mean, variance, training=is_batch, eps=layer.eps)
        scale = self.adapter_tensor(f"{name}.B", adapters) @ self.shared[self._places[name]]  # (groups, out)
        shift = self.adapter_tensor(f"{name}.bias", adapters)
        stacked = normal.reshape(len(adapters), -1, *x.shape[1:])  # (groups, images, out, height, width)
        change = stacked * scale[:, None, :, None, None] + shift[:, None, :, None, None]
        return change.view(x.shape)

    def _layer(self, name: str) -> Any:
        return self.network.get_submodule(name)

    def low_rank(self, name: str, given: Tensor) -> Tensor:
        """The output of a layer's A, which its B takes.

        Args:
            name: of an adapted layer.
            given: input of the layer.
        """
        return _apply(self._layer(name), given, self.shared[self._places[name]])

    def adapter_tensor(self, name: str, adapters: Tensor) -> Tensor:
        """View a tensor of adapters, e.g. `head.B`, in their flat values; leading dimensions are kept."""
        return self._adapter_slots[name].of(adapters)

    def named_tensors(self) -> dict[str, nn.Parameter]:
        """The weights, biases and A of the base by their names on disk, e.g. `head.A`, in a fixed order."""
        tensors: dict[str, nn.Parameter] = {}
        for name, place in self._places.items():
            layer = self._layer(name)
            tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
            tensors[f"{name}.A"] = self.shared[place]
        rest = {name: value for name, value in self.network.named_parameters() if name not in tensors}
        return tensors | rest

    @property
    def values(self) -> Tensor:
        """All values of the base in one flat tensor; its parameters become views of it.

        Both share memory, so an optimizer for flat tensors can train the base. CPU only: moving or casting
        the module afterwards breaks the views.
        """
        if self._values is None:
            parameters = list(self.named_tensors().values())
            self._values = torch.cat([parameter.detach().flatten() for parameter in parameters])
            parts = self._values.split([parameter.numel() for parameter in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.data = part.view(parameter.shape)
        return self._values

    @torch.no_grad()
    def fold(self, adapter: Tensor) -> None:
        """Merge an adapter into the base: a zero adapter then has the effect of this one before.

        Args:
            adapter: flat values of the adapter, shape `(n_values,)`.
        """
        merged = self.merged(adapter)
        for name, value in self.network.named_parameters():
            if name in merged:
                value.copy_(merged[name])

    @torch.no_grad()
    def whiten(self, images: Tensor, adapters: Tensor | None = None) -> None:
        """Whiten every A: its outputs on these images become uncorrelated with unit variance.

        The output with a zero adapter and the set of functions that adapters can express stay the same.
        All directions of B then have the same effect on the output, so that Adam fits them faster and
        distances between adapters are meaningful.

        Args:
            images: typical inputs of the network, shape `(n, 3, height, width)`.
            adapters: adapters for the A before, shape `(n_adapters, n_values)`; changed in place to have the
                same effect with the new A.
        """

        def turn(place: int, layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            shared = self.shared[place]
            seen = _apply(layer, given[0], shared)
            seen = seen.flatten(0, -2).T if isinstance(layer, nn.Linear) else seen.movedim(1, 0).flatten(1)
            seen = seen.double()  # (rank, all pixels)
            squares = seen @ seen.T / seen.shape[1]  # second moments, (rank, rank)
            sizes, directions = torch.linalg.eigh(squares)
            # Damped, so that directions which hardly occur are not blown up.
            sizes = sizes + 1e-3 * sizes.mean()
            # The symmetric root (ZCA) is the whitening that changes the outputs least.
            whitening = directions @ torch.diag(sizes.rsqrt()) @ directions.T
            shared.copy_((whitening @ shared.flatten(1).double()).view_as(shared))
            if adapters is not None:  # B A = (B whitening^-1) (whitening A)
                b = self.adapter_tensor(f"{names[place]}.B", adapters)
                b.copy_((b.double() @ torch.linalg.inv(whitening)).float())

        names = list(self._places)
        hooks = [
            self._layer(name).register_forward_hook(partial(turn, place))
            for name, place in self._places.items()
        ]
        try:
            self.network(images)
        finally:
            for hook in hooks:
                hook.remove()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The base's tensors by their names on disk, e.g. `head.weight`, float32."""
        tensors = self.named_tensors() | dict(self.network.named_buffers())
        return {name: value.detach().cpu().float().numpy().copy() for name, value in tensors.items()}

    @torch.no_grad()
    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> Adapted:
        """Load the base's tensors; returns the module itself.

        Raises:
            KeyError: a tensor is missing.
        """
        for name, value in (self.named_tensors() | dict(self.network.named_buffers())).items():
            value.copy_(torch.from_numpy(np.asarray(arrays[name])))
        return self

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> None:
        """Draw initial weights: normal by fan-in with the gain of a ReLU; the last layers small.

        With small last layers the untrained network returns the photo almost unchanged. A linear layer needs
        no gain, since no activation follows that would halve the signal.
        """
        gains = {"end": 0.1, "residual": 0.3, "linear": 1 / math.sqrt(2)}
        for name, place in self._places.items():
            layer = self._layer(name)
            gain = math.sqrt(2) * gains.get(self.network.roles.get(name, ""), 1.0)
            _fill(layer.weight, gain, generator)
            _fill(self.shared[place], 1.0, generator)
            nn.init.zeros_(layer.bias)
        for name, layer in layers_of(self.network).items():  # else two bases of one seed would differ
            if name not in self._places:
                _fill(
                    layer.weight, math.sqrt(2) * gains.get(self.network.roles.get(name, ""), 1.0), generator
                )
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.network.blank()


def _fill(tensor: Tensor, gain: float, generator: torch.Generator) -> None:
    """Draw weights: normal, with a spread by fan-in."""
    spread = gain / math.sqrt(math.prod(tensor.shape[1:]))
    tensor.copy_(spread * torch.randn(tensor.shape, generator=generator))


def _as_rows(shared: Tensor) -> Tensor:
    """A as a matrix, `(rank, values)`; that of a normalisation has one value."""
    return shared.flatten(1) if shared.ndim > 1 else shared[:, None]


def _apply(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The output of a layer with another weight and without bias."""
    if isinstance(layer, nn.Conv2d):
        return layer._conv_forward(x, weight, None)  # respects stride, padding mode and dilation
    return F.linear(x, weight)


def adapter_to_arrays(adapter: Tensor, shapes: Shapes) -> dict[str, np.ndarray]:
    """Split a flat adapter into the tensors of its layout.

    Args:
        adapter: flat values, shape `(n_values,)`.
        shapes: shapes of the layout's tensors by name, in order.

    Returns:
        float32 arrays by tensor name.
    """
    slots, _ = _slots(shapes)
    return {name: slot.of(adapter.detach()).cpu().float().numpy().copy() for name, slot in slots.items()}


def adapter_from_arrays(arrays: Mapping[str, np.ndarray], shapes: Shapes) -> Tensor:
    """Concatenate the tensors of a layout to a flat adapter, shape `(n_values,)`."""
    return torch.from_numpy(np.concatenate([arrays[name].ravel() for name in shapes]))


def _slots(shapes: Shapes) -> tuple[dict[str, _Slot], int]:
    """The slots of tensors in a flat vector, and the vector's length."""
    slots, start = {}, 0
    for name, shape in shapes.items():
        slots[name] = _Slot(start, tuple(shape))
        start += math.prod(shape)
    return slots, start


def _cut(values: Tensor, slots: Mapping[str, _Slot]) -> dict[str, Tensor]:
    """Split flat values into tensors by name, in one operation: gradients of single slices add up slowly."""
    parts = values.split([math.prod(slot.shape) for slot in slots.values()])
    return {name: part.view(slot.shape) for (name, slot), part in zip(slots.items(), parts, strict=True)}
