"""What denoisers are trained to make small: the error of weights, and of what weights do to images."""

from __future__ import annotations

from torch import Tensor

__all__ = ["behaviour_error", "weight_error"]


def weight_error(predicted: Tensor, clean: Tensor, importance: Tensor) -> Tensor:
    """Squared error in weight units, as a share of what knowing only the mean would give.

    Both are residuals from the mean, divided by a scale of each value; the importance of a value is
    its scale squared, so that values which hardly vary over the zoo hardly count.

    Args:
        predicted: shape `(batch, n_blocks, block_size)`.
        clean: same shape.
        importance: scale squared, zero at padding, shape `(n_blocks, block_size)`.

    Returns:
        A scalar: about one when zeros are predicted, zero when all is right.

    Example:
        >>> import torch
        >>> clean = torch.tensor([[[1.0, 2.0]]])
        >>> weight_error(torch.zeros(1, 1, 2), clean, torch.tensor([[3.0, 1.0]]))
        tensor(1.7500)
    """
    squares = (predicted - clean).square() * importance
    return squares.sum() / (len(predicted) * importance.sum())


def behaviour_error(edited: Tensor, targets: Tensor, n_groups: int) -> Tensor:
    """Mean absolute error of images, the mean over concepts.

    Args:
        edited: shape `(n, 3, height, width)`; the images of a concept stand together.
        targets: same shape.
        n_groups: concepts, of equally many images.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> behaviour_error(torch.zeros(4, 3, 8, 8), torch.full((4, 3, 8, 8), 0.5), 2)
        tensor(0.5000)
    """
    errors = (edited - targets).abs().reshape(n_groups, -1).mean(dim=1)  # (n_groups,)
    return errors.mean()
