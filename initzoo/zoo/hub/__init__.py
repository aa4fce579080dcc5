"""Zoos on the Hugging Face Hub. Only this package imports huggingface_hub, and only on first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
