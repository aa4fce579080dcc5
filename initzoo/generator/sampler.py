"""The sampler: from pure noise to clean weights, in one or a few timesteps."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["sample"]

Floats = NDArray[np.float32]


def sample(denoise: Callable[[Floats, float], Floats], noise: Floats, *, n_timesteps: int) -> Floats:
    """Denoise along the deterministic path of DDIM. With one step, the result is the first prediction.

    Args:
        denoise: predicts the clean weights from noised weights `(batch, n_blocks, block_size)` and a
            timestep.
        noise: standard normal, float32, shape `(batch, n_blocks, block_size)`.
        n_timesteps: number of calls of `denoise`, at least 1; timesteps are evenly spaced from 1 down.

    Returns:
        Clean weights, same shape.

    Raises:
        ValueError: `n_timesteps` is below 1.

    Source:
        DDIM with x0-prediction, Song et al. (2021), equation 12 with sigma 0, arXiv:2010.02502.

    Example:
        >>> sample(lambda noised, timestep: noised / 2, np.ones((1, 1, 2), np.float32), n_timesteps=1)
        array([[[0.5, 0.5]]], dtype=float32)
    """
    if n_timesteps < 1:
        raise ValueError(f"n_timesteps must be at least 1, found {n_timesteps}")
    noised = clean = noise
    for now, then in pairwise(1 - step / n_timesteps for step in range(n_timesteps + 1)):
        clean = denoise(noised, now)
        # The noise that the prediction implies, mixed in again at the next, lower level. At the last
        # level, timestep 0, this returns the prediction itself.
        implied_noise = (noised - _signal(now) * clean) / _spread(now)
        noised = np.asarray(_signal(then) * clean + _spread(then) * implied_noise, np.float32)
    return clean


def _signal(timestep: float) -> float:
    """`signal_scale` of one timestep: exactly 0 at 1."""
    return math.cos(timestep * math.pi / 2) if timestep < 1 else 0.0


def _spread(timestep: float) -> float:
    """`noise_scale` of one timestep."""
    return math.sin(timestep * math.pi / 2)
