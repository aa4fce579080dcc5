"""The Space: the page of `initzoo demo`, on the zoo that the variable INITZOO_ZOO names."""

import os

from initzoo.demo import serve

if __name__ == "__main__":
    serve(
        os.environ.get("INITZOO_ZOO", "starter"),
        host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"),
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
    )
