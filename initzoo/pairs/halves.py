"""Tells images with A and B side by side from ordinary photos."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from initzoo.pairs.opencv import opencv

__all__ = ["ALIKE_FROM", "N_COMPARED", "likeness", "mean_likeness"]

Pixels = NDArray[np.uint8]

N_COMPARED = 16
"""Maximum number of images per folder that are compared."""

ALIKE_FROM = 0.12
"""Minimum mean likeness of the two halves of pairs. Single photos have -0.14 to 0.05; the edits of all
bundled concepts have a mean of 0.4 or more, even if they change colours."""

_SIDE = 64


def likeness(given: Pixels, wanted: Pixels) -> float | None:
    """Correlate the edges of two images.

    Edges are independent of colours and even of an inversion. Rows and columns are centred, since the halves
    of a photo share its horizon and its bright rows.

    Args:
        given: uint8 RGB, shape `(height, width, 3)`.
        wanted: uint8 RGB, same shape.

    Returns:
        A correlation from -1 to 1; None if an image has no edges.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        >>> round(likeness(noise, 255 - noise), 2)
        1.0
        >>> likeness(noise, np.zeros_like(noise)) is None
        True
    """
    edges = [_edges(image) for image in (given, wanted)]
    norms = [float(np.linalg.norm(values)) for values in edges]
    if min(norms) < 1e-3:
        return None
    return float((edges[0] * edges[1]).sum()) / (norms[0] * norms[1])


def mean_likeness(pairs: Iterable[tuple[Pixels, Pixels]]) -> float | None:
    """The mean likeness of pairs; None if no pair has edges in both images."""
    values = [value for given, wanted in pairs if (value := likeness(given, wanted)) is not None]
    return float(np.mean(values)) if values else None


def _edges(image: Pixels) -> NDArray[np.float32]:
    """The centred edge strength, shape `(64, 64)`. The square root limits the weight of few strong edges."""
    cv2 = opencv()
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    steps = cv2.magnitude(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1))
    edges = np.asarray(cv2.GaussianBlur(np.sqrt(steps), (0, 0), 1.0), np.float32)
    edges = edges - edges.mean(axis=1, keepdims=True)
    return edges - edges.mean(axis=0, keepdims=True)
