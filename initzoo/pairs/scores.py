"""Scores of edited photos against those of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Score", "mean_score", "score_images"]

Pixels = NDArray[np.uint8]

_BEST_PSNR = 60.0
"""Maximum PSNR, dB, so that the mean stays finite if images are equal."""


@dataclass(frozen=True)
class Score:
    """The similarity of images to their targets.

    Args:
        psnr: peak signal-to-noise ratio, dB, at most 60.
        ssim: structural similarity of the luma, at most 1.
    """

    psnr: float
    ssim: float


def score_images(images: Sequence[Pixels], targets: Sequence[Pixels]) -> Score:
    """Compare images with their targets, and average both scores over the images.

    Args:
        images: uint8 RGB, shape `(height, width, 3)` each, sides at least 8 pixels.
        targets: the target of each image, same shape.

    Raises:
        ValueError: the numbers or shapes of images and targets differ, or there are no images.

    Source:
        Wang et al. (2004), doi:10.1109/TIP.2003.819861, as scikit-image computes it.

    Example:
        >>> image = np.full((16, 16, 3), 100, np.uint8)
        >>> score_images([image], [image])
        Score(psnr=60.0, ssim=1.0)
        >>> round(score_images([image], [image + np.uint8(10)]).psnr, 2)
        28.13
    """
    from skimage.metrics import mean_squared_error, structural_similarity  # slow to load

    if not images:
        raise ValueError("there is nothing to score")
    scores = []
    for image, target in zip(images, targets, strict=True):
        if image.shape != target.shape:
            raise ValueError(f"an image of shape {image.shape} cannot be scored against {target.shape}")
        squared = float(mean_squared_error(image, target)) / 255**2
        psnr = min(_BEST_PSNR, -10 * np.log10(max(squared, 1e-12)))
        ssim = structural_similarity(_luma(image), _luma(target), data_range=255)
        scores.append(Score(psnr=float(psnr), ssim=float(ssim)))
    return mean_score(scores)


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of scores.

    Example:
        >>> mean_score([Score(20.0, 0.5), Score(30.0, 0.7)])
        Score(psnr=25.0, ssim=0.6)
    """
    return Score(
        psnr=float(np.mean([score.psnr for score in scores])),
        ssim=float(np.mean([score.ssim for score in scores])),
    )


def _luma(image: Pixels) -> NDArray[np.float32]:
    """Luma of ITU-R BT.601, 0 to 255, float32."""
    weighted: NDArray[np.float32] = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return weighted
