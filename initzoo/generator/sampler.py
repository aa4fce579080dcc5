"""The sampler: from pure noise to clean weights, in one or a few timesteps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from initzoo.generator.schedule import noise_scale, signal_scale

__all__ = ["sample"]


def sample(denoise: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, n_timesteps: int) -> Tensor:
    """Denoise along the deterministic path of DDIM. With one step, the result is the first prediction.

    Args:
        denoise: predicts the clean weights from noised weights `(batch, n_blocks, block_size)` and
            timesteps `(batch,)`.
        noise: standard normal, shape `(batch, n_blocks, block_size)`.
        n_timesteps: number of calls of `denoise`, at least 1; timesteps are evenly spaced from 1 down.

    Returns:
        Clean weights, same shape.

    Raises:
        ValueError: `n_timesteps` is below 1.

    Source:
        DDIM with x0-prediction, Song et al. (2021), equation 12 with sigma 0, arXiv:2010.02502.

    Example:
        >>> sample(lambda noised, timesteps: noised / 2, torch.ones(1, 1, 2), n_timesteps=1)
        tensor([[[0.5000, 0.5000]]])
    """
    if n_timesteps < 1:
        raise ValueError(f"n_timesteps must be at least 1, found {n_timesteps}")
    levels = torch.linspace(1, 0, n_timesteps + 1)
    noised = clean = noise
    for now, then in pairwise(levels):
        clean = denoise(noised, now.expand(len(noise)))
        # The noise that the prediction implies, mixed in again at the next, lower level. At the last
        # level, timestep 0, this returns the prediction itself.
        implied_noise = (noised - signal_scale(now) * clean) / noise_scale(now)
        noised = signal_scale(then) * clean + noise_scale(then) * implied_noise
    return clean
