"""Scores of edited photos: equal to those of scikit-image, and errors for what cannot be scored."""

import math

import numpy as np
import pytest
from skimage.data import chelsea
from skimage.metrics import mean_squared_error, structural_similarity

from initzoo.pairs import mean_psnr, score_images


@pytest.mark.parametrize("noise", [0.5, 8.0, 80.0])
def test_scores_are_those_of_scikit_image(noise: float) -> None:
    photo = chelsea()[:120, :171]
    rng = np.random.default_rng(0)
    edited = np.clip(photo + rng.normal(scale=noise, size=photo.shape), 0, 255).astype(np.uint8)
    score = score_images([edited], [photo])

    def luma(image: np.ndarray) -> np.ndarray:
        return (image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).astype(float)

    assert score.ssim == pytest.approx(
        structural_similarity(luma(edited), luma(photo), data_range=255), abs=1e-9
    )
    squared = mean_squared_error(edited, photo) / 255**2
    assert score.psnr == pytest.approx(-10 * math.log10(squared), abs=1e-9)
    assert mean_psnr([edited], [photo]) == score.psnr


def test_the_smallest_image_has_one_window() -> None:
    image = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)
    assert score_images([image], [image]).ssim == 1.0
    with pytest.raises(ValueError, match=r"\(6, 9, 3\) is too small"):
        score_images([image[:6]], [image[:6]])


def test_images_must_match() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="nothing to score"):
        score_images([], [])
    with pytest.raises(ValueError, match=r"\(16, 16, 3\) cannot be scored against \(16, 12, 3\)"):
        mean_psnr([image], [image[:, :12]])
