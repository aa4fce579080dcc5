"""The benchmark of starts: the training time that each needs to reach a target quality."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
