"""Weights to start from: a checkpoint zoo for image-to-image models.

>>> from initzoo import Zoo
>>> Zoo.from_pretrained("starter").pull("pencil sketch").metadata.concept
'pencil-sketch'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initzoo.checkpoints.blend import blend_inits
    from initzoo.checkpoints.init import Init
    from initzoo.checkpoints.recipe import Layout, Recipe
    from initzoo.errors import InitzooError
    from initzoo.generator.model import WeightGenerator
    from initzoo.generator.request import Request
    from initzoo.training.auto import AutoNetwork
    from initzoo.zoo.datasets import load_blocks
    from initzoo.zoo.zoo import Zoo

__version__ = "0.1.0"

__all__ = [
    "AutoNetwork",
    "Init",
    "InitzooError",
    "Layout",
    "Recipe",
    "Request",
    "WeightGenerator",
    "Zoo",
    "__version__",
    "blend_inits",
    "load_blocks",
]

_PLACES = {
    "AutoNetwork": "initzoo.training.auto",
    "blend_inits": "initzoo.checkpoints.blend",
    "load_blocks": "initzoo.zoo.datasets",
    "Init": "initzoo.checkpoints.init",
    "InitzooError": "initzoo.errors",
    "Layout": "initzoo.checkpoints.recipe",
    "Recipe": "initzoo.checkpoints.recipe",
    "Request": "initzoo.generator.request",
    "WeightGenerator": "initzoo.generator.model",
    "Zoo": "initzoo.zoo.zoo",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch alone takes seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module 'initzoo' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)
