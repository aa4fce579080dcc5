"""Details of trained networks, rounded as coarsely as pairs allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initzoo.checkpoints import Recipe, Tolerance, add_detail, decode_detail, encode_detail
from initzoo.networks import ImageNetwork, layer_gains, layer_moments

__all__ = ["encode_rounded"]

_NOISE_SHARES = (0.0125, 0.003, 0.0008)
"""Noise of rounding as a share of the mean squared error that is left after training: 0.05 dB, and less."""

_MOST_LOSS = 0.05
"""A detail that loses more on the pairs, dB, is rounded again for less noise."""

_LEAST_ERROR = 4e-6
"""Errors below this, 60 dB, are taken for this: pictures have 8 bits."""


def encode_rounded(
    network: ImageNetwork,
    trained: Mapping[str, NDArray[np.float32]],
    merged: Mapping[str, NDArray[np.float32]],
    recipe: Recipe,
    inputs: Tensor,
    targets: Tensor,
) -> bytes:
    """Encode the detail of a trained network in as few bytes as pairs allow.

    Args:
        network: of the recipe; it is left with the rounded weights.
        trained: the trained weights.
        merged: the weights of base and adapter.
        recipe: the recipe of both.
        inputs, targets: typical pairs, shape `(n, 3, height, width)`, values from -1 to 1.
    """
    network.load_arrays(trained)
    errors = _errors(network, inputs, targets)
    moments, gains = layer_moments(network, inputs), layer_gains(network, inputs)
    for share in _NOISE_SHARES:
        noise = share * max(float(errors.mean()), _LEAST_ERROR)
        data = encode_detail(trained, merged, recipe, tolerance=Tolerance(moments, gains, noise))
        network.load_arrays(add_detail(merged, decode_detail(data, recipe, recipe.name)))
        loss = 10 * (_errors(network, inputs, targets) / errors).log10().mean()
        if float(loss) <= _MOST_LOSS:
            break
    return data


@torch.no_grad()
def _errors(network: ImageNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error of each picture."""
    errors = (network(inputs) - targets).square().flatten(1).mean(1)
    return errors.clamp(min=_LEAST_ERROR)
