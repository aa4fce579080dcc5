"""Zoos on the Hugging Face Hub: the only room that imports huggingface_hub, and not before it is needed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
