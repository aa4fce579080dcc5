"""Weights to start from: a checkpoint zoo for image-to-image models.

>>> from initzoo import Zoo
>>> Zoo.from_pretrained("starter").pull("pencil sketch").metadata.concept
'pencil-sketch'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initzoo.blends import blend_inits
    from initzoo.block_datasets import load_blocks
    from initzoo.errors import InitzooError
    from initzoo.inits import Init
    from initzoo.networks.pix2pix import Pix2Pix
    from initzoo.recipes import Layout, Recipe
    from initzoo.weight_generator import WeightGenerator
    from initzoo.zoo import Zoo

__version__ = "0.1.0"

__all__ = [
    "Init",
    "InitzooError",
    "Layout",
    "Pix2Pix",
    "Recipe",
    "WeightGenerator",
    "Zoo",
    "__version__",
    "blend_inits",
    "load_blocks",
]

_PLACES = {
    "blend_inits": "initzoo.blends",
    "load_blocks": "initzoo.block_datasets",
    "Init": "initzoo.inits",
    "InitzooError": "initzoo.errors",
    "Layout": "initzoo.recipes",
    "Pix2Pix": "initzoo.networks.pix2pix",
    "Recipe": "initzoo.recipes",
    "WeightGenerator": "initzoo.weight_generator",
    "Zoo": "initzoo.zoo",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch alone takes seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module 'initzoo' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)
