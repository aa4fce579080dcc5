"""The pix2pix objective: an L1 error and the loss of a patch discriminator."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from initzoo.networks import Adam, PatchDiscriminator, initialise_by_the_book

__all__ = ["DISCRIMINATOR_BETAS", "LOSSES", "Adversary", "discriminator_loss", "network_loss"]

DISCRIMINATOR_BETAS = (0.5, 0.999)
"""Betas of Adam for a discriminator."""

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


class Adversary:
    """A patch discriminator that is trained beside a network, step by step.

    Args:
        gan: key of `LOSSES`.
        width: number of filters in its first layer.
        seed: seed of its initial weights.

    Example:
        >>> adversary = Adversary("lsgan", width=4, seed=0)
        >>> photos = torch.zeros(2, 3, 32, 32)
        >>> adversary.learn(photos, photos, photos + 1, learning_rate=2e-4)
        >>> adversary.loss(photos, photos, torch.tensor(0.1), l1_weight=100.0).shape
        torch.Size([])
    """

    def __init__(self, gan: str, *, width: int, seed: int) -> None:
        self.gan = gan
        self._judge = PatchDiscriminator(width)
        initialise_by_the_book(self._judge, torch.Generator().manual_seed(seed))
        self._optimizer = Adam(self._judge.train().parameters(), betas=DISCRIMINATOR_BETAS)

    def learn(self, inputs: Tensor, targets: Tensor, edited: Tensor, *, learning_rate: float) -> None:
        """Take a step of the discriminator on a batch.

        Args:
            inputs: photos, shape `(n, 3, size, size)`, values -1 to 1, sides from 32.
            targets: what a teacher makes of them.
            edited: what the network makes of them.
            learning_rate: learning rate of the step.
        """
        self._judge.requires_grad_(True)
        real, made = self._judge(inputs, targets), self._judge(inputs, edited.detach())
        discriminator_loss(self.gan, real, made).backward()
        self._optimizer.step(learning_rate)
        self._judge.requires_grad_(False)  # the network's step needs gradients through it, not of it

    def loss(self, inputs: Tensor, edited: Tensor, error: Tensor, *, l1_weight: float) -> Tensor:
        """The loss of the network, as `network_loss`."""
        return network_loss(self.gan, self._judge(inputs, edited), error, l1_weight=l1_weight)
