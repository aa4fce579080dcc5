"""Denoisers: predict clean weight blocks from noised ones, a timestep and a context."""

from __future__ import annotations

from initzoo.generator.denoisers.joint import JointDenoiser
from initzoo.generator.denoisers.pairs import PairDenoiser, PairView
from initzoo.generator.denoisers.unet import UNetDenoiser

__all__ = ["DENOISERS", "JointDenoiser", "PairDenoiser", "PairView", "UNetDenoiser"]

DENOISERS = {"joint": JointDenoiser, "unet": UNetDenoiser}
"""The denoisers by their names in config files."""
