"""Train a weight generator in two stages: on the error of weights, then on the error of images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
