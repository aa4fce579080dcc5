"""Pairs: photos, and the edits that the teachers of concepts make of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
