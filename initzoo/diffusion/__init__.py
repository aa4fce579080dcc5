"""Diffusion over weight blocks: schedule, denoisers, samplers and losses, which meet through tensors."""

from __future__ import annotations

from initzoo.diffusion.joint import JointDenoiser
from initzoo.diffusion.layers import DenoiserShape, WordBatch
from initzoo.diffusion.losses import behaviour_error, weight_error
from initzoo.diffusion.samplers import sample
from initzoo.diffusion.schedule import add_noise, draw_timesteps, noise_scale, signal_scale
from initzoo.diffusion.unet import UNetDenoiser

__all__ = [
    "DENOISERS",
    "DenoiserShape",
    "JointDenoiser",
    "UNetDenoiser",
    "WordBatch",
    "add_noise",
    "behaviour_error",
    "draw_timesteps",
    "noise_scale",
    "sample",
    "signal_scale",
    "weight_error",
]

DENOISERS = {"joint": JointDenoiser, "unet": UNetDenoiser}
"""The denoisers by the names that config files know them by."""
