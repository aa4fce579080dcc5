"""Second moments of the inputs of a network's layers, and how much their outputs matter."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.networks.network import layers_of

__all__ = ["layer_gains", "layer_moments"]

_MAX_COLUMNS = 40_000
"""Places that a layer is looked at; more change the moments little."""


@torch.no_grad()
def layer_moments(network: nn.Module, images: Tensor) -> dict[str, NDArray[np.float64]]:
    """Measure the second moments of what each layer's weights are multiplied by.

    Args:
        network: any network; layers with groups are left out.
        images: typical inputs, in the network's shape.

    Returns:
        By layer, shape `(n_in + 1, n_in + 1)`: the mean of `v v^T`, where `v` is what a row of weights meets
        at a place, in the order of the weights, and a constant 1 at the end.

    Example:
        >>> moments = layer_moments(nn.Sequential(nn.Conv2d(1, 2, 1)), torch.full((1, 1, 4, 4), 3.0))
        >>> moments["0"].tolist()
        [[9.0, 3.0], [3.0, 1.0]]
    """
    moments: dict[str, NDArray[np.float64]] = {}

    def look(name: str, layer: Any, given: tuple[Tensor, ...]) -> None:
        columns = _columns(layer, given[0])
        step = -(-columns.shape[1] // _MAX_COLUMNS)
        columns = columns[:, ::step]
        with_one = torch.cat([columns, torch.ones_like(columns[:1])]).double()
        moments[name] = (with_one @ with_one.T / columns.shape[1]).cpu().numpy()

    hooks = [
        layer.register_forward_pre_hook(partial(look, name))
        for name, layer in layers_of(network).items()
        if getattr(layer, "groups", 1) == 1
    ]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


def layer_gains(network: nn.Module, images: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Measure how much noise in the output of each layer reaches the output of the network.

    Args:
        network: any network.
        images: typical inputs, in the network's shape. They are run one by one.
        seed: of the random signs by which the output is probed.

    Returns:
        By layer: the mean square of the change of the network's output, as a multiple of the variance of
        small independent changes of every value that the layer puts out.

    Source:
        Hutchinson (1990), doi:10.1080/03610919008812866: random signs give the sum of squares of a Jacobian.

    Example:
        >>> layer_gains(nn.Sequential(nn.Conv2d(1, 2, 1), nn.PixelShuffle(1)), torch.zeros(1, 1, 4, 4))
        {'0': 1.0}
    """
    layers = layers_of(network)
    gains = dict.fromkeys(layers, 0.0)
    outputs: list[tuple[str, Tensor]] = []
    drawn = torch.Generator().manual_seed(seed)

    def look(name: str, layer: Any, given: Any, output: Tensor) -> None:
        outputs.append((name, output))

    hooks = [layer.register_forward_hook(partial(look, name)) for name, layer in layers.items()]
    try:
        for image in images:
            outputs.clear()
            # Gradients reach every layer through the image, also in a network that is frozen.
            with torch.enable_grad():
                edited = network(image[None].detach().requires_grad_())
            signs = torch.randint(0, 2, edited.shape, generator=drawn).to(edited) * 2 - 1
            puts_out = [output for _, output in outputs]
            slopes = torch.autograd.grad(edited, puts_out, signs, allow_unused=True, materialize_grads=True)
            for (name, _), slope in zip(outputs, slopes, strict=True):
                gains[name] += float(slope.double().square().sum()) / edited.numel() / len(images)
    finally:
        for hook in hooks:
            hook.remove()
    return gains


def _columns(layer: Any, x: Tensor) -> Tensor:
    """What a row of weights meets at each place, shape `(n_in, n_places)`."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2).T
    columns = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return columns.transpose(0, 1).flatten(1)
