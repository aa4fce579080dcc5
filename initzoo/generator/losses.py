"""The losses of denoisers: the error of weights, and the error of the images that weights make."""

from __future__ import annotations

from torch import Tensor

__all__ = ["behaviour_error", "weight_error"]


def weight_error(predicted: Tensor, clean: Tensor, importance: Tensor) -> Tensor:
    """Squared error in weight units, relative to the error of predicting the mean adapter.

    Both inputs are residuals from the mean adapter, divided by the scale of each value. The importance of
    a value is its squared scale, so that values which hardly vary over the zoo hardly count. Without it,
    a plain z-score would let them drown the few values that matter in noise.

    Args:
        predicted: predicted residuals, shape `(batch, n_blocks, block_size)`.
        clean: true residuals, same shape.
        importance: squared scale, zero at padding, shape `(n_blocks, block_size)`.

    Returns:
        A scalar: about 1 if `predicted` is zero, 0 if it is exact.

    Example:
        >>> import torch
        >>> clean = torch.tensor([[[1.0, 2.0]]])
        >>> weight_error(torch.zeros(1, 1, 2), clean, torch.tensor([[3.0, 1.0]]))
        tensor(1.7500)
    """
    squares = (predicted - clean).square() * importance
    return squares.sum() / (len(predicted) * importance.sum())


_FLOOR = 0.008
"""Added to errors before their logarithm: one grey level, below which nothing is to be gained."""

_LOG_SCALE = 0.1
"""Factor of the logarithms, whose gradients are then about as large as those of errors."""


def behaviour_error(edited: Tensor, targets: Tensor, n_groups: int, *, in_logs: bool = False) -> Tensor:
    """Mean absolute error of images, averaged over concepts.

    Weight error and image error differ: weights that images hardly depend on may be wrong. This loss
    trains the denoiser through the image network, on the pixels that users see.

    Args:
        edited: edited images, shape `(n, 3, height, width)`; those of a concept are adjacent.
        targets: target images, same shape.
        n_groups: number of concepts; each has the same number of images.
        in_logs: average a tenth of the natural logarithm of each concept's error instead. The error itself is
            mostly that of the concepts which come out worst. PSNR counts ratios, and so do logarithms.

    Returns:
        A scalar; negative for logarithms of small errors.

    Example:
        >>> import torch
        >>> behaviour_error(torch.zeros(4, 3, 8, 8), torch.full((4, 3, 8, 8), 0.5), 2)
        tensor(0.5000)
    """
    errors = (edited - targets).abs().reshape(n_groups, -1).mean(dim=1)  # (n_groups,)
    return _LOG_SCALE * (errors + _FLOOR).log().mean() if in_logs else errors.mean()
