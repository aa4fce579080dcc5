"""The demo: a page where words become a look on one's own photo, and a file to take home.

Only `page` and `server` need gradio: the rest answers in plain values, and knows no page.
"""

from initzoo.demo.server import check_gradio, serve

__all__ = ["check_gradio", "serve"]
