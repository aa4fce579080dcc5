"""The demo: a page that applies a look given in words to the visitor's photo and offers its weights.

Only `page` and `server` need gradio; the other modules take and return plain values.
"""

from initzoo.demo.server import check_gradio, serve

__all__ = ["check_gradio", "serve"]
