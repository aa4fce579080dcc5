"""The pix2pix objective: an L1 error and the loss of a patch discriminator."""

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
"""Losses of logits against real or not real, averaged over patches, by the name of the GAN."""


def discriminator_loss(gan: str, real: Tensor, edited: Tensor) -> Tensor:
    """The loss of the discriminator, halved so that it does not learn faster than the network.

    Args:
        gan: key of `LOSSES`.
        real: its logits for targets, shape `(n, 1, rows, columns)`.
        edited: its logits for the output of the network, same shape.

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
    """The loss of the network: the adversarial loss and the mean absolute error.

    The adversarial loss is the non-saturating one, whose gradient stays large where the discriminator is
    confident.

    Args:
        gan: key of `LOSSES`.
        judged: logits of the discriminator for the output of the network, shape `(n, 1, rows, columns)`.
        error: mean absolute error of values from -1 to 1, a scalar.
        l1_weight: weight of the error.

    Source:
        Goodfellow et al. (2014), section 3, arXiv:1406.2661; Isola et al. (2017), equation 4.

    Example:
        >>> round(float(network_loss("lsgan", torch.zeros(1, 1, 1, 1), torch.tensor(0.1), l1_weight=100)), 4)
        11.0
    """
    return LOSSES[gan](judged.float(), True) + l1_weight * error
