"""Between uint8 pixels and the float tensors that networks compute on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["edit_window", "to_images", "to_pixels"]


def to_images(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels as a batch that networks take.

    Args:
        pixels: uint8 RGB, shape `(n, height, width, 3)`.

    Returns:
        float32, shape `(n, 3, height, width)`, values -1 to 1.

    Example:
        >>> to_images(np.full((1, 2, 2, 3), 255, np.uint8)).max().item()
        1.0
    """
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """A batch of images as pixels, rounded; values beyond -1 and 1 are cut off.

    Args:
        images: shape `(n, 3, height, width)`.

    Returns:
        uint8 RGB, shape `(n, height, width, 3)`.

    Example:
        >>> to_pixels(torch.full((1, 3, 2, 2), 1.3)).max().item()
        255
    """
    values = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return np.ascontiguousarray(values.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


@torch.inference_mode()
def edit_window(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Run a network on one photo whose sides it takes, shape `(height, width, 3)`."""
    parameter = next(network.parameters(), torch.zeros(0))
    images = to_images(pixels[None]).to(device=parameter.device, dtype=parameter.dtype)
    return to_pixels(network(images))[0]
