"""Denoisers: given noised weight blocks, a timestep and a context, they predict the clean blocks."""

from __future__ import annotations

from initzoo.generator.denoisers.joint import JointDenoiser
from initzoo.generator.denoisers.unet import UNetDenoiser
from initzoo.generator.layers import DenoiserShape

__all__ = ["DENOISERS", "DenoiserShape", "JointDenoiser", "UNetDenoiser"]

DENOISERS = {"joint": JointDenoiser, "unet": UNetDenoiser}
"""The denoisers by the names that config files know them by."""
