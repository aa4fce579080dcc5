"""The demo: a page that applies a look given in words to the visitor's photo and offers its weights.

Only `page` and `server` need gradio; the other modules take and return plain values.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
