"""The noise schedule: variance-preserving, from clean weights at timestep 0 to pure noise at 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["add_noise", "draw_timesteps", "noise_scale", "signal_scale"]


def signal_scale(timesteps: Tensor) -> Tensor:
    """What clean weights are multiplied by: one at timestep 0, exactly zero at 1.

    Source:
        The cosine schedule in continuous time, Salimans and Ho (2022), arXiv:2202.00512.

    Example:
        >>> signal_scale(torch.tensor([0.0, 1.0]))
        tensor([1., 0.])
    """
    return torch.where(timesteps < 1, torch.cos(timesteps * (math.pi / 2)), 0.0)


def noise_scale(timesteps: Tensor) -> Tensor:
    """What noise is multiplied by: zero at timestep 0, one at 1.

    Example:
        >>> noise_scale(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    return torch.sin(timesteps * (math.pi / 2))


def add_noise(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Mix clean weights with noise.

    Args:
        clean: shape `(batch, n_blocks, block_size)`, of about unit variance.
        noise: standard normal, same shape.
        timesteps: shape `(batch,)`, 0 to 1.

    Returns:
        Noised weights, same shape.
    """
    signal, spread = signal_scale(timesteps), noise_scale(timesteps)
    return signal[:, None, None] * clean + spread[:, None, None] * noise


def draw_timesteps(n_timesteps: int, *, pure_share: float, generator: torch.Generator) -> Tensor:
    """Draw timesteps to train on: a share at pure noise, the others evenly from 0 to 1.

    Args:
        n_timesteps: how many.
        pure_share: the share at timestep 1, rounded to whole draws, which stand first.
        generator: where the others are drawn from.

    Returns:
        float32, shape `(n_timesteps,)`.

    Example:
        >>> draw_timesteps(4, pure_share=0.5, generator=torch.Generator().manual_seed(0))[:2]
        tensor([1., 1.])
    """
    timesteps = torch.rand(n_timesteps, generator=generator)
    timesteps[: round(n_timesteps * pure_share)] = 1.0
    return timesteps
