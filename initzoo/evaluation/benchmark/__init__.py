"""A benchmark of starts: how long each takes to reach the quality that the best of all reaches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
