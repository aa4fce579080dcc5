"""Between photos and what networks compute on: uint8 pixels, float tensors, and tiles of large photos."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["check_photo", "edit_in_tiles", "to_images", "to_pixels"]

_TILE = 1024
"""Larger photos are edited in squares of this side, so that memory does not grow with the photo."""


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


def check_photo(pixels: NDArray[np.uint8]) -> None:
    """Check that pixels are one photo.

    Raises:
        ValueError: they are not uint8 RGB.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3), found {pixels.dtype} {pixels.shape}")


@torch.inference_mode()
def edit_in_tiles(
    network: nn.Module, pixels: NDArray[np.uint8], *, multiple: int, reach: int
) -> NDArray[np.uint8]:
    """Edit one photo of any size with a network, tile by tile.

    Args:
        network: takes and gives images of shape `(n, 3, height, width)`, values -1 to 1.
        pixels: uint8 RGB, shape `(height, width, 3)`.
        multiple: the network wants sides that are multiples of it.
        reach: how far a pixel's influence goes, pixels, a multiple of `multiple`.

    Returns:
        The edited photo, uint8 RGB of the same shape.

    Raises:
        ValueError: `pixels` is not a uint8 RGB image.

    Example:
        >>> photo = np.zeros((5, 7, 3), np.uint8)
        >>> edit_in_tiles(nn.Identity(), photo, multiple=4, reach=8).shape
        (5, 7, 3)
    """
    check_photo(pixels)
    height, width = pixels.shape[:2]
    result = np.empty_like(pixels)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            bottom, right = min(top + _TILE, height), min(left + _TILE, width)
            # A tile starts on a multiple, with a halo as wide as the network sees: no seams.
            start_y, start_x = max(top - reach, 0), max(left - reach, 0)
            window = pixels[start_y : bottom + reach, start_x : right + reach]
            # Beyond the photo lies its mirror image, as far as the network sees: networks pad their layers
            # with zeros, and the frame that these draw falls into the part that is cut off.
            sides = (
                _mirrored(top - reach, bottom + reach, height, multiple),
                _mirrored(left - reach, right + reach, width, multiple),
            )
            edited = _edit_window(network, np.pad(window, (*sides, (0, 0)), mode="reflect"))
            result[top:bottom, left:right] = edited[
                reach : reach + bottom - top, reach : reach + right - left
            ]
    return result


def _mirrored(start: int, stop: int, length: int, multiple: int) -> tuple[int, int]:
    """Pixels that a tile from `start` to `stop` lacks on either side of a photo, up to the next multiple."""
    return max(-start, 0), max(stop - length, 0) + (start - stop) % multiple


def _edit_window(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    parameter = next(network.parameters(), torch.zeros(0))
    images = to_images(pixels[None]).to(device=parameter.device, dtype=parameter.dtype)
    return to_pixels(network(images))[0]
