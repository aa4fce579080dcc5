"""The sensitivity of images to each value of an adapter."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from initzoo.networks import Adapted
from initzoo.pairs import Photo, varied_photos

__all__ = ["measure_sensitivity"]

_GROUP = 8
"""Number of adapters per batch."""


def measure_sensitivity(
    base: Adapted,
    adapters: NDArray[np.float32],
    photos: list[Photo],
    *,
    crop_size: int,
    n_rounds: int = 48,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Estimate the mean squared derivative of pixels by each value.

    The estimate uses random signs: the squared gradient of a sum of pixels with random signs has the mean
    squared derivative as its expectation.

    Args:
        base: the network; not changed.
        adapters: flat adapters, shape `(n_concepts, n_values)`, of which random ones are used.
        photos: photos for the network, which are varied.
        crop_size: side of the crops, pixels.
        n_rounds: number of batches of eight adapters and crops.
        seed: seed of adapters, crops and signs.

    Returns:
        float32, shape `(n_values,)`, not negative.

    Source:
        The diagonal of the Gauss-Newton matrix; the estimate is Hutchinson's (1990).
    """
    rng = np.random.default_rng([seed, 5])
    shown = varied_photos(photos, 16, seed=seed)
    total = torch.zeros(adapters.shape[1], dtype=torch.float64)
    for _ in range(n_rounds):
        crops = np.stack(
            [_draw_crop(shown[int(rng.integers(len(shown)))], crop_size, rng) for _ in range(_GROUP)]
        )
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        chosen = torch.from_numpy(adapters[rng.integers(len(adapters), size=_GROUP)]).requires_grad_()
        signs = torch.from_numpy(rng.choice(np.array([-1, 1], np.float32), size=images.shape))
        edited = base(images, chosen)
        (gradient,) = torch.autograd.grad((edited * signs).sum(), [chosen])
        total += gradient.double().square().sum(0) / images[0].numel()
    return (total / (n_rounds * _GROUP)).float().numpy()


def _draw_crop(photo: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    top, left = (int(rng.integers(length - size + 1)) for length in photo.shape[:2])
    return photo[top : top + size, left : left + size]
