"""Diffusion over weight blocks: schedule, denoisers, samplers and losses, which meet through tensors."""

from __future__ import annotations

from initzoo.generator.denoisers.joint import JointDenoiser
from initzoo.generator.denoisers.layers import DenoiserShape, WordBatch
from initzoo.generator.denoisers.unet import UNetDenoiser
from initzoo.generator.losses import behaviour_error, weight_error
from initzoo.generator.sampler import sample
from initzoo.generator.schedule import add_noise, draw_timesteps, noise_scale, signal_scale

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
