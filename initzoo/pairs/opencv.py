"""OpenCV, imported lazily, and the resizing of photos and pairs."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_short_side", "opencv"]


@cache
def opencv() -> ModuleType:
    """OpenCV on one thread. It is imported on first use, since reading a catalog does not need it."""
    import cv2

    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    return cv2


def fit_short_side(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize so that the shorter side is `size` pixels: area averages to shrink, bicubic to enlarge.

    Example:
        >>> fit_short_side(np.zeros((300, 450, 3), np.uint8), 256).shape
        (256, 384, 3)
    """
    height, width = pixels.shape[:2]
    if min(height, width) == size:
        return pixels
    scale = size / min(height, width)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    interpolation = opencv().INTER_AREA if scale < 1 else opencv().INTER_CUBIC
    return np.asarray(opencv().resize(pixels, shape, interpolation=interpolation), np.uint8)
