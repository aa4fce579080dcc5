"""Evaluation of checkpoints and of the weight generator, and the benchmark of starts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
