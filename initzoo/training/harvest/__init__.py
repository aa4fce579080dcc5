"""Harvest a zoo: train base and adapters of many concepts, and pack them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
