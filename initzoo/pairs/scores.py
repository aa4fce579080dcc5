"""Scores of edited photos against those of the teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.pairs.opencv import opencv

__all__ = ["Score", "mean_psnr", "mean_score", "measure_mesh", "score_images"]

Pixels = NDArray[np.uint8]

_BEST_PSNR = 60.0
"""Maximum PSNR, dB, so that the mean stays finite if images are equal."""

_WINDOW = 7
_SSIM_C1, _SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""Side of the windows of SSIM in pixels, and its two constants for a range of 255."""


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
        images: uint8 RGB, shape `(height, width, 3)` each, sides at least 7 pixels.
        targets: the target of each image, same shape.

    Raises:
        ValueError: the numbers or shapes of images and targets differ, there are no images, or one is too
            small.

    Source:
        Wang et al. (2004), doi:10.1109/TIP.2003.819861, with windows of 7 x 7 pixels of equal weight and
        unbiased variances, as scikit-image has them by default.

    Example:
        >>> image = np.full((16, 16, 3), 100, np.uint8)
        >>> score_images([image], [image])
        Score(psnr=60.0, ssim=1.0)
        >>> round(score_images([image], [image + np.uint8(10)]).psnr, 2)
        28.13
    """
    matched = _matched(images, targets)
    return mean_score([Score(_psnr(image, target), _ssim(image, target)) for image, target in matched])


def mean_psnr(images: Sequence[Pixels], targets: Sequence[Pixels]) -> float:
    """The mean PSNR of `score_images`, dB, without the SSIM, which takes most of its time.

    Raises:
        ValueError: the numbers or shapes of images and targets differ, there are no images, or one is too
            small.

    Example:
        >>> image = np.full((16, 16, 3), 100, np.uint8)
        >>> round(mean_psnr([image], [image + np.uint8(10)]), 2)
        28.13
    """
    return float(np.mean([_psnr(image, target) for image, target in _matched(images, targets)]))


def _matched(images: Sequence[Pixels], targets: Sequence[Pixels]) -> Iterator[tuple[Pixels, Pixels]]:
    """Images with their targets."""
    if not images:
        raise ValueError("there is nothing to score")
    for image, target in zip(images, targets, strict=True):
        if image.shape != target.shape:
            raise ValueError(f"an image of shape {image.shape} cannot be scored against {target.shape}")
        if min(image.shape[:2]) < _WINDOW:
            raise ValueError(f"an image of shape {image.shape} is too small: its sides need {_WINDOW} pixels")
        yield image, target


def _psnr(image: Pixels, target: Pixels) -> float:
    squared = float(np.mean((image.astype(np.float64) - target) ** 2)) / 255**2
    return float(min(_BEST_PSNR, -10 * np.log10(max(squared, 1e-12))))


def _ssim(image: Pixels, target: Pixels) -> float:
    # scikit-image has the same function, and needs two seconds to load.
    one, other = _luma(image).astype(np.float64), _luma(target).astype(np.float64)
    mean_one, mean_other = _window_means(one), _window_means(other)
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    variance_one = unbiased * (_window_means(one * one) - mean_one * mean_one)
    variance_other = unbiased * (_window_means(other * other) - mean_other * mean_other)
    covariance = unbiased * (_window_means(one * other) - mean_one * mean_other)
    contrast = (2 * covariance + _SSIM_C2) / (variance_one + variance_other + _SSIM_C2)
    luminance = (2 * mean_one * mean_other + _SSIM_C1) / (mean_one**2 + mean_other**2 + _SSIM_C1)
    return float(np.mean(luminance * contrast))


def _window_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of all windows that lie within an image."""
    edge = _WINDOW // 2
    means = opencv().boxFilter(values, -1, (_WINDOW, _WINDOW))
    inner: NDArray[np.float64] = np.asarray(means)[edge:-edge, edge:-edge]
    return inner


def measure_mesh(images: Sequence[Pixels], targets: Sequence[Pixels]) -> float:
    """Measure the pattern that a network with strides leaves in flat areas, in grey levels.

    The error (image minus target, mean of the channels) is averaged for each of the 16 places of a cell of
    4 x 4 pixels, over all flat areas of all targets. Without a mesh, all 16 averages are equal.

    Args:
        images: uint8 RGB, shape `(height, width, 3)` each.
        targets: the target of each image, same shape. An area is flat if the luma of the target spans at most
            4 grey levels within 5 x 5 pixels.

    Returns:
        The standard deviation of the 16 averages; NaN if less than 1,600 pixels are flat.

    Example:
        >>> flat = np.full((64, 64, 3), 100, np.uint8)
        >>> dotted = flat.copy()
        >>> dotted[::4, ::4] += 16
        >>> measure_mesh([flat], [flat]), round(measure_mesh([dotted], [flat]), 2)
        (0.0, 3.87)
    """
    cv2, sums, counts = opencv(), np.zeros(16), np.zeros(16)
    for image, target in zip(images, targets, strict=True):
        luma = _luma(target)
        height, width = luma.shape
        if min(height, width) < 5:
            continue
        window = np.ones((5, 5), np.uint8)
        spans = cv2.dilate(luma, window).astype(float) - cv2.erode(luma, window)
        is_flat = np.zeros((height, width), bool)
        is_flat[2:-2, 2:-2] = spans[2:-2, 2:-2] <= 4
        error = (image.astype(float) - target).mean(-1)
        place = 4 * (np.arange(height)[:, None] % 4) + np.arange(width)[None] % 4
        sums += np.bincount(place[is_flat], error[is_flat], minlength=16)
        counts += np.bincount(place[is_flat], minlength=16)
    if counts.sum() < 1600 or not counts.all():
        return float("nan")
    return float(np.std(sums / counts))


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
