"""Fine-tune a network on pairs: the pix2pix objective, from any start, killed and taken up again at will."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
