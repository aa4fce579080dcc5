"""The pix2pix objective: an L1 error, and what a discriminator makes of patches."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LOSSES", "discriminator_loss", "network_loss"]

PerPatch = Callable[[Tensor, bool], Tensor]


def _cross_entropy(logits: Tensor, is_real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))


def _squared(logits: Tensor, is_real: bool) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, float(is_real)))


LOSSES: dict[str, PerPatch] = {"non-saturating": _cross_entropy, "lsgan": _squared}
"""How far the discriminator's word is from real or not real, averaged over patches, by the GAN's name."""


def discriminator_loss(gan: str, real: Tensor, edited: Tensor) -> Tensor:
    """What the discriminator minimises: halved, so that it does not run ahead of the network.

    Args:
        gan: a name of `LOSSES`.
        real: its logits for targets, shape `(n, 1, rows, columns)`.
        edited: its logits for what the network made, same shape.

    Returns:
        A scalar.

    Source:
        Isola et al. (2017), equation 1 and section 3.3, arXiv:1611.07004; `lsgan` is Mao et al. (2017),
        equation 2 with labels 0 and 1, arXiv:1611.04076.

    Example:
        >>> unsure = torch.zeros(1, 1, 2, 2)
        >>> round(float(discriminator_loss("non-saturating", unsure, unsure)), 4)
        0.6931
    """
    per_patch = LOSSES[gan]
    return 0.5 * (per_patch(real.float(), True) + per_patch(edited.float(), False))


def network_loss(gan: str, judged: Tensor, error: Tensor, *, l1_weight: float) -> Tensor:
    """What the network minimises: to pass for real, and the mean absolute error.

    The first part is the non-saturating one: it pushes where the discriminator is sure of itself.

    Args:
        gan: a name of `LOSSES`.
        judged: the discriminator's logits for what the network made, shape `(n, 1, rows, columns)`.
        error: mean absolute error, a scalar, of values from -1 to 1.
        l1_weight: of the error.

    Source:
        Goodfellow et al. (2014), section 3, arXiv:1406.2661; Isola et al. (2017), equation 4.

    Example:
        >>> round(float(network_loss("lsgan", torch.zeros(1, 1, 1, 1), torch.tensor(0.1), l1_weight=100)), 4)
        11.0
    """
    return LOSSES[gan](judged.float(), True) + l1_weight * error
