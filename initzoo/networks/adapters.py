"""The image network with an adapter beside every layer: what is trained when a zoo is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initzoo.checkpoints.recipe import LayerShape, Layout, NetworkShape
from initzoo.networks.starter import forward_layers

__all__ = ["AdaptedPix2Pix", "adapter_from_arrays", "adapter_to_arrays"]


@dataclass(frozen=True)
class _Slot:
    """Where a tensor lies in a flat vector."""

    start: int
    shape: tuple[int, ...]

    def of(self, values: Tensor) -> Tensor:
        """This tensor in flat values, shape `(..., *shape)`."""
        part = values[..., self.start : self.start + math.prod(self.shape)]
        return part.view(*values.shape[:-1], *self.shape)


class AdaptedPix2Pix(nn.Module):
    """The base of a recipe with shared A: the same network, run with an adapter given at each call.

    A layer computes `W * x + b + B (A * x) + b'`. `W`, `b` and `A`, a convolution shared by all
    concepts, are the base and lie in one flat parameter, `values`. `B` and `b'` of every layer are the
    adapter.

    Args:
        shape: widths of the network.
        generator: where the first weights are drawn from.

    Example:
        >>> base = AdaptedPix2Pix(NetworkShape(), generator=torch.Generator().manual_seed(0))
        >>> base(torch.zeros(2, 3, 64, 64), torch.zeros(base.n_adapter_values)).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(self, shape: NetworkShape, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.shape = shape
        self._layers = {layer.name: layer for layer in shape.layers}
        self._base_slots, n_base = _slots(
            {
                f"{layer.name}.{part}": (count, layer.n_in, layer.kernel, layer.kernel)
                if part != "bias"
                else (layer.n_out,)
                for layer in shape.layers
                for part, count in (("weight", layer.n_out), ("bias", 0), ("A", layer.rank))
            }
        )
        self._adapter_slots, self.n_adapter_values = _slots(
            {
                f"{layer.name}.{part}": (layer.n_out, layer.rank) if part == "B" else (layer.n_out,)
                for layer in shape.layers
                for part in ("B", "bias")
            }
        )
        self.values = nn.Parameter(torch.zeros(n_base))
        with torch.no_grad():
            for layer in shape.layers:
                for part, gain in (("weight", math.sqrt(2) * _first_gain(layer)), ("A", 1.0)):
                    tensor = self._base_slots[f"{layer.name}.{part}"].of(self.values.data)
                    spread = gain / math.sqrt(math.prod(tensor.shape[1:]))
                    tensor.copy_(spread * torch.randn(tensor.shape, generator=generator))
            nn.init.dirac_(self._base_slots["skip.weight"].of(self.values.data))

    def forward(self, images: Tensor, adapters: Tensor) -> Tensor:
        """Edit images with one adapter for all of them, or one for each group of them.

        Args:
            images: shape `(n, 3, height, width)`, values -1 to 1; sides in multiples of 4.
            adapters: flat values in the layout's order, shape `(n_values,)`, or `(n_groups, n_values)`
                where `n` is a multiple of `n_groups` and the images of a group stand together.

        Returns:
            Edited images, same shape.
        """
        if adapters.ndim == 1:
            merged = self._merge(adapters)
            return forward_layers(lambda name, x: self._convolve(name, x, *merged[name]), self.shape, images)
        return forward_layers(lambda name, x: self._convolve_grouped(name, x, adapters), self.shape, images)

    def _merge(self, adapter: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Weight and bias of every layer with one adapter in it: quicker than running A beside W."""
        base, change = _cut(self.values, self._base_slots), _cut(adapter, self._adapter_slots)
        merged = {}
        for name in self._layers:
            weight = base[f"{name}.weight"]
            added = (change[f"{name}.B"] @ base[f"{name}.A"].flatten(1)).view_as(weight)
            merged[name] = (weight + added, base[f"{name}.bias"] + change[f"{name}.bias"])
        return merged

    def _convolve(self, name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        layer = self._layers[name]
        if layer.kernel == 1:  # on one thread torch's own 1 x 1 convolution takes a slow path
            return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, bias, layer.stride, layer.kernel // 2)

    def _convolve_grouped(self, name: str, x: Tensor, adapters: Tensor) -> Tensor:
        """One layer for several adapters at once: A is shared, so only B differs from group to group."""
        layer, n_groups = self._layers[name], len(adapters)
        joined = torch.cat([self.base_tensor(f"{name}.weight"), self.base_tensor(f"{name}.A")])
        both = F.conv2d(x, joined, None, layer.stride, layer.kernel // 2)
        wide, low_rank = both.split([layer.n_out, layer.rank], dim=1)
        bias = self.base_tensor(f"{name}.bias") + self.adapter_tensor(f"{name}.bias", adapters)
        stacked = low_rank.reshape(n_groups, len(x) // n_groups, layer.rank, -1)
        change = (
            self.adapter_tensor(f"{name}.B", adapters)[:, None] @ stacked
        )  # (groups, images, out, pixels)
        return wide + (change + bias[:, None, :, None]).view(wide.shape)

    def base_tensor(self, name: str) -> Tensor:
        """A tensor of the base, e.g. `head.A`: a view of `values`."""
        return self._base_slots[name].of(self.values)

    def adapter_tensor(self, name: str, adapters: Tensor) -> Tensor:
        """A tensor of adapters, e.g. `head.B`: a view of their flat values, leading dimensions kept."""
        return self._adapter_slots[name].of(adapters)

    @torch.no_grad()
    def fold(self, adapter: Tensor) -> None:
        """Merge an adapter into the base, which then gives with a zero adapter what it gave with this one.

        Args:
            adapter: flat values, shape `(n_values,)`.
        """
        for name in self._layers:
            weight, shared = self.base_tensor(f"{name}.weight"), self.base_tensor(f"{name}.A")
            weight += (self.adapter_tensor(f"{name}.B", adapter) @ shared.flatten(1)).view_as(weight)
            bias = self.base_tensor(f"{name}.bias")
            bias += self.adapter_tensor(f"{name}.bias", adapter)

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Turn and scale every A so that its outputs are uncorrelated, with mean square one.

        What a zero adapter gives does not change, nor what adapters can express; but all directions of
        B then matter alike, so that Adam fits them sooner and distances between adapters mean more.
        (Directions that hardly occur are not blown up beyond a thousandth of the mean.)

        Args:
            images: what the network will see, shape `(n, 3, height, width)`.
        """
        merged = self._merge(torch.zeros(self.n_adapter_values))

        def convolve(name: str, x: Tensor) -> Tensor:
            layer, shared = self._layers[name], self.base_tensor(f"{name}.A")
            seen = F.conv2d(x, shared, None, layer.stride, layer.kernel // 2)
            seen = seen.movedim(1, 0).flatten(1).double()  # (rank, all pixels)
            squares = seen @ seen.T / seen.shape[1]
            sizes, directions = torch.linalg.eigh(squares)
            sizes = sizes + 1e-3 * sizes.mean()
            whitening = directions @ torch.diag(sizes.rsqrt()) @ directions.T
            shared.copy_((whitening @ shared.flatten(1).double()).view_as(shared))
            return self._convolve(name, x, *merged[name])

        forward_layers(convolve, self.shape, images)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The base's tensors by the names they have on disk, e.g. `head.weight`, float32."""
        return {
            name: slot.of(self.values).detach().cpu().numpy().copy()
            for name, slot in self._base_slots.items()
        }

    @classmethod
    def from_arrays(cls, shape: NetworkShape, arrays: Mapping[str, np.ndarray]) -> AdaptedPix2Pix:
        """Build the base from what `to_arrays` gave.

        Raises:
            KeyError: a tensor is missing.
        """
        base = cls(shape)
        flat = np.concatenate([arrays[name].ravel() for name in base._base_slots])
        base.values.data.copy_(torch.from_numpy(flat))
        return base


def adapter_to_arrays(adapter: Tensor, layout: Layout) -> dict[str, np.ndarray]:
    """Name the parts of a flat adapter as the layout does.

    Args:
        adapter: shape `(n_values,)`.
        layout: of the recipe.

    Returns:
        float32 arrays by tensor name.
    """
    slots, _ = _slots(dict(layout.tensors))
    return {name: slot.of(adapter.detach()).cpu().float().numpy().copy() for name, slot in slots.items()}


def adapter_from_arrays(arrays: Mapping[str, np.ndarray], layout: Layout) -> Tensor:
    """The flat adapter, shape `(n_values,)`, whose parts are named as the layout names them."""
    return torch.from_numpy(np.concatenate([arrays[name].ravel() for name, _ in layout.tensors]))


def _slots(shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, _Slot], int]:
    """Places of tensors one after another in a flat vector, and its length."""
    slots, start = {}, 0
    for name, shape in shapes.items():
        slots[name] = _Slot(start, tuple(shape))
        start += math.prod(shape)
    return slots, start


def _cut(values: Tensor, slots: Mapping[str, _Slot]) -> dict[str, Tensor]:
    """All tensors of flat values by name, cut at once: gradients of single slices are slow to add up."""
    parts = values.split([math.prod(slot.shape) for slot in slots.values()])
    return {name: part.view(slot.shape) for (name, slot), part in zip(slots.items(), parts, strict=True)}


def _first_gain(layer: LayerShape) -> float:
    """Last layers begin small, so that training starts near the photo that `skip` lets through."""
    if layer.name == "head":
        return 0.1
    return 0.3 if layer.name.endswith("_second") else 1.0
