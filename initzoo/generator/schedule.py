"""The noise schedule: variance-preserving, clean weights at timestep 0, pure noise at timestep 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["add_noise", "draw_timesteps", "noise_scale", "signal_scale"]


def signal_scale(timesteps: Tensor) -> Tensor:
    """The factor of the clean weights: 1 at timestep 0, exactly 0 at timestep 1.

    Source:
        The cosine schedule in continuous time, Salimans and Ho (2022), arXiv:2202.00512.

    Example:
        >>> signal_scale(torch.tensor([0.0, 1.0]))
        tensor([1., 0.])
    """
    # cos(pi / 2) is 6e-17 in floating point. Exactly zero at 1 means that sampling starts where
    # training did: at noise that holds no trace of the weights.
    return torch.where(timesteps < 1, torch.cos(timesteps * (math.pi / 2)), 0.0)


def noise_scale(timesteps: Tensor) -> Tensor:
    """The factor of the noise: 0 at timestep 0, 1 at timestep 1.

    Example:
        >>> noise_scale(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    # sin^2 + cos^2 = 1: with weights of unit variance, so are the noised ones at every timestep.
    return torch.sin(timesteps * (math.pi / 2))


def add_noise(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Mix clean weights with noise.

    Args:
        clean: clean weights of about unit variance, shape `(batch, n_blocks, block_size)`.
        noise: standard normal, same shape.
        timesteps: shape `(batch,)`, 0 to 1.

    Returns:
        Noised weights, same shape.
    """
    signal, spread = signal_scale(timesteps), noise_scale(timesteps)
    return signal[:, None, None] * clean + spread[:, None, None] * noise


def draw_timesteps(n_timesteps: int, *, pure_share: float, generator: torch.Generator) -> Tensor:
    """Draw timesteps to train on: a share at pure noise, the others uniform from 0 to 1.

    Pure noise is the only input of one-step sampling, and a uniform draw would hardly ever hit it.

    Args:
        n_timesteps: number of timesteps to draw.
        pure_share: share of them at timestep 1, rounded to a whole number; these come first.
        generator: random generator of the others.

    Returns:
        float32, shape `(n_timesteps,)`.

    Example:
        >>> draw_timesteps(4, pure_share=0.5, generator=torch.Generator().manual_seed(0))[:2]
        tensor([1., 1.])
    """
    timesteps = torch.rand(n_timesteps, generator=generator)
    timesteps[: round(n_timesteps * pure_share)] = 1.0
    return timesteps
