"""How much each value of an adapter matters: what weights do to images, seen from the weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from initzoo.networks import Adapted
from initzoo.pairs import Photo, varied_photos

__all__ = ["measure_sensitivity"]

_GROUP = 8
"""Adapters that run at once."""


def measure_sensitivity(
    base: Adapted,
    adapters: NDArray[np.float32],
    photos: list[Photo],
    *,
    crop_size: int,
    n_rounds: int = 48,
    seed: int = 0,
) -> NDArray[np.float32]:
    """The mean squared change of a pixel for a change of each value.

    It is estimated with random signs: the gradient of a random sum of pixels has, squared, the mean
    squared derivative as its expectation.

    Args:
        base: network, not changed.
        adapters: flat, shape `(n_concepts, n_values)`; some of them, drawn at random, are looked at.
        photos: what they are shown, varied.
        crop_size: side of the crops, pixels.
        n_rounds: batches of eight adapters and as many crops.
        seed: draws adapters, crops and signs.

    Returns:
        float32, shape `(n_values,)`, 0 or more.

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
