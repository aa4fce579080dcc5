"""The commands of `initzoo`: each parses, calls one public function and prints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
