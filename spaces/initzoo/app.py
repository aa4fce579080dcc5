"""The Space: the page of `initzoo demo`, on the zoo that the variable INITZOO_ZOO names.

`make space` puts a wheel of initzoo beside this file. It is unpacked here and not installed, since a Space
installs its packages before it has the other files.
"""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = next(iter(sorted(Path(__file__).resolve().parent.glob("initzoo-*.whl"))), None)

if __name__ == "__main__":
    if WHEEL is not None:
        folder = tempfile.mkdtemp(prefix="initzoo-package-")
        with zipfile.ZipFile(WHEEL) as archive:
            archive.extractall(folder)
        sys.path.insert(0, folder)

    from initzoo.demo import serve

    serve(
        os.environ.get("INITZOO_ZOO", "starter"),
        host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"),
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        wheel=WHEEL,
    )
