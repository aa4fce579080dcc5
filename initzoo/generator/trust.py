"""Which graphs run: an ONNX graph is a program, so those of other people's zoos are not run."""

from __future__ import annotations

import hashlib
import json
from functools import cache

from initzoo.pairs import catalog_folder

__all__ = ["is_bundled_graph"]


def is_bundled_graph(data: bytes) -> bool:
    """Whether a graph is one that comes with initzoo.

    A graph can loop and ask for any memory, and onnxruntime does what it says. A zoo of others therefore runs
    in torch, whose modules are of this package.

    Example:
        >>> is_bundled_graph(b"a graph of somebody else")
        False
    """
    return hashlib.sha256(data).hexdigest() in _digests()


@cache
def _digests() -> frozenset[str]:
    """The digests of all graphs of the bundled zoo."""
    try:
        manifest = json.loads((catalog_folder() / "dataset" / "zoo.json").read_bytes())
        files = manifest["model_files"].items()
        return frozenset(digest for path, (_, digest) in files if path.endswith(".onnx"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()
