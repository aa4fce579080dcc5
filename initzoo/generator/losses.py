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


def behaviour_error(edited: Tensor, targets: Tensor, n_groups: int) -> Tensor:
    """Mean absolute error of images, averaged over concepts.

    Weight error and image error differ: weights that images hardly depend on may be wrong. This loss
    trains the denoiser through the image network, on the pixels that users see.

    Args:
        edited: edited images, shape `(n, 3, height, width)`; those of a concept are adjacent.
        targets: target images, same shape.
        n_groups: number of concepts; each has the same number of images.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> behaviour_error(torch.zeros(4, 3, 8, 8), torch.full((4, 3, 8, 8), 0.5), 2)
        tensor(0.5000)
    """
    errors = (edited - targets).abs().reshape(n_groups, -1).mean(dim=1)  # (n_groups,)
    return errors.mean()
