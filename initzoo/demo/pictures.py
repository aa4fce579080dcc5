"""Pictures of looks as encoded files: whole ones, small ones, and the photos themselves."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from initzoo.pairs import fit_short_side

__all__ = ["FORMATS", "SMALL_SIDE", "PictureCache", "encode", "make_small"]

Pixels = NDArray[np.uint8]

FORMATS = {"webp": "image/webp", "png": "image/png"}
"""Formats of pictures: a small one to look at, and a lossless one to take home."""

SMALL_SIDE = 128
"""Shorter side of a small picture, pixels."""


def encode(pixels: Pixels, kind: str) -> bytes:
    """Encode a picture.

    Args:
        pixels: uint8 RGB, shape `(height, width, 3)`.
        kind: one of `FORMATS`.

    Example:
        >>> encode(np.zeros((8, 8, 3), np.uint8), "png")[:4]
        b'\\x89PNG'
    """
    from PIL import Image

    data = io.BytesIO()
    # Little effort: a visitor waits for it.
    options = {"compress_level": 1} if kind == "png" else {"quality": 86, "method": 2}
    Image.fromarray(pixels).save(data, kind.upper(), **options)
    return data.getvalue()


def make_small(pixels: Pixels) -> Pixels:
    """Shrink a photo to a small picture; small photos stay as they are.

    Example:
        >>> make_small(np.zeros((256, 512, 3), np.uint8)).shape
        (128, 256, 3)
    """
    return fit_short_side(pixels, SMALL_SIDE) if min(pixels.shape[:2]) > SMALL_SIDE else pixels


class PictureCache:
    """Keeps the pictures that were encoded last. Threads that want the same picture make it once.

    Args:
        max_bytes: bytes to keep.

    Example:
        >>> cache = PictureCache(10)
        >>> [cache.get(key, lambda: b"12345678") for key in ("a", "a", "b")], len(cache)
        ([b'12345678', b'12345678', b'12345678'], 1)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._n_bytes = max_bytes, 0
        self._made: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, Lock] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the picture of a key; `make` makes it if it is not there."""
        with self._lock:
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._made:
                    self._made.move_to_end(key)
                    return self._made[key]
            try:
                data = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                self._n_bytes += len(data) - len(self._made.pop(key, b""))
                self._made[key] = data
                while self._n_bytes > self._max_bytes and len(self._made) > 1:
                    self._n_bytes -= len(self._made.popitem(last=False)[1])
            return data
