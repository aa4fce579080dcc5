"""The image networks that checkpoints are made for."""

from initzoo.networks.pix2pix import Pix2Pix

__all__ = ["Pix2Pix"]
