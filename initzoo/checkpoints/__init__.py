"""Checkpoints in memory and on disk: recipe, layout, blocks, base and init."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
