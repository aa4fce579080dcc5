"""Samplers: from pure noise to clean weights, in one timestep or a few."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from initzoo.generator.schedule import noise_scale, signal_scale

__all__ = ["sample"]


def sample(denoise: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, n_timesteps: int) -> Tensor:
    """Denoise step by step along the deterministic path; one step is the denoiser's first guess.

    Args:
        denoise: given noised weights `(batch, n_blocks, block_size)` and timesteps `(batch,)`, returns
            the clean weights that it expects.
        noise: standard normal, shape `(batch, n_blocks, block_size)`.
        n_timesteps: calls of `denoise`, at timesteps evenly from 1 down, at least 1.

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
        left = (noised - signal_scale(now) * clean) / noise_scale(now)
        noised = signal_scale(then) * clean + noise_scale(then) * left
    return clean
