"""The image networks that checkpoints are made for."""

from initzoo.networks.starter import Pix2Pix

__all__ = ["Pix2Pix"]
