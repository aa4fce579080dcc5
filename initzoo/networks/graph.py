"""Image networks as graphs in onnxruntime, which loads in a fraction of torch's time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import LayoutMismatch
from initzoo.files import DamagedFile
from initzoo.networks.editing import edit_photo
from initzoo.work import open_graph

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["GraphNetwork"]

_IMAGES = "images"
_MOST_PIXELS = 2**12


class GraphNetwork:
    """An image network as an ONNX graph that takes its weights as inputs, so that any checkpoint runs in it.

    The graph's metadata name `multiple` and `halo` of the network. It runs on one thread.

    Args:
        graph: the ONNX file.
        weights: the weights by name, float32.

    Raises:
        DamagedFile: the graph cannot be read.
        LayoutMismatch: the graph takes other weights.
    """

    def __init__(self, graph: bytes, weights: Mapping[str, NDArray[np.float32]]) -> None:
        try:
            self._session = open_graph(graph)
            described = self._session.get_modelmeta().custom_metadata_map
            self.multiple, self.halo = (_size(described, name) for name in ("multiple", "halo"))
        except Exception as error:  # the library raises private exceptions
            reason = " ".join(str(error).split())[:100]
            raise DamagedFile(f"the graph of the network cannot be read ({reason})") from error
        expected = {one.name: tuple(one.shape) for one in self._session.get_inputs() if one.name != _IMAGES}
        for name in sorted({*expected, *weights}):
            found = weights[name].shape if name in weights else None
            if expected.get(name) != found:
                raise LayoutMismatch(
                    f"tensor '{name}': the network expects {expected.get(name)}, found {found}."
                )
        self._weights = {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}

    def edit(
        self,
        photo: NDArray[np.uint8] | Image | str | os.PathLike[str],
        *,
        side: int | None = None,
        strength: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Edit one photo of any size; see `ImageNetwork.edit`."""
        return edit_photo(
            self._run, photo, side=side, strength=strength, multiple=self.multiple, halo=self.halo
        )

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        images = pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(127.5) - np.float32(1)
        edited = self._session.run(None, {_IMAGES: images} | self._weights)[0][0]
        values = (np.clip(edited, -1, 1) + np.float32(1)) * np.float32(127.5)
        return np.ascontiguousarray(np.rint(values).astype(np.uint8).transpose(1, 2, 0))


def _size(described: Mapping[str, Any], name: str) -> int:
    size = int(described[name])
    if not 1 <= size <= _MOST_PIXELS:
        raise ValueError(f"its {name} is {size}")
    return size
