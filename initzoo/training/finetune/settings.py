"""How a network is fine-tuned: numbers that travel together."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from initzoo.errors import FinetuneError

__all__ = ["GAN_LOSSES", "FinetuneSettings", "rate_at"]

GAN_LOSSES = ("non-saturating", "lsgan", "off")
"""What the discriminator says, and what the network makes of it; `off` leaves the discriminator out."""


@dataclass(frozen=True)
class FinetuneSettings:
    """The pix2pix objective and its schedule.

    Args:
        n_steps: steps of Adam; the learning rate is zero after the last one. 0 leaves the start as it is.
        batch_size: crops in a step.
        crop_size: side of the square crops, pixels, a multiple of 4, at least 32.
        learning_rate: Adam's for the network, at its highest.
        betas: Adam's, for the network.
        n_warmup: steps over which the rate comes up, at most a tenth of all: Adam's first steps are as
            long as its later ones, whatever the gradient, and would shake a good start.
        constant_share: share of the steps before the rate begins to go down; 0.5 by the book.
        gan: one of `GAN_LOSSES`.
        l1_weight: of the mean absolute error beside the discriminator's word.
        discriminator_rate: Adam's for the discriminator, with betas 0.5 and 0.999; it goes down alike.
        discriminator_width: filters of its first layer.
        ema: decay of the running mean of weights, which is then what is kept; 0 for none.
        flip: mirror every other crop.
        bfloat16: compute in bfloat16 where torch's autocast does.
        seed: draws crops and the discriminator's first weights.

    The learning rate was chosen by measuring, on four train concepts. From starts three quarters of the way
    from the zoo's mean to the trained adapter, 29.3 dB on average, 20 steps (80 steps) without a
    discriminator led to 33.6 (35.2) at 5e-4, 32.9 (35.1) at 1e-3, 33.3 (34.7) at 2e-3, 32.1 (34.1) at 4e-3
    and 28.1 (33.0) dB at 8e-3, which destroys what it is given; 40 with one to 33.9 at 5e-4 and at 1e-3 and
    33.2 at 4e-3. `initzoo bench` found 5e-4 best up to 80 steps and 1.5e-3 from 160 on: 1e-3 is in between.

    Raises:
        FinetuneError: a number is out of range.

    Example:
        >>> FinetuneSettings(crop_size=66)
        Traceback (most recent call last):
            ...
        initzoo.errors.FinetuneError: crop_size must be a multiple of 4 from 32 on, found 66.
    """

    n_steps: int = 300
    batch_size: int = 4
    crop_size: int = 64
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    n_warmup: int = 10
    constant_share: float = 0.0
    gan: str = "non-saturating"
    l1_weight: float = 100.0
    discriminator_rate: float = 2e-4
    discriminator_width: int = 64
    ema: float = 0.0
    flip: bool = False
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.gan not in GAN_LOSSES:
            raise FinetuneError(f"gan must be one of {', '.join(GAN_LOSSES)}, found {self.gan!r}.")
        if self.crop_size % 4 or self.crop_size < 32:
            raise FinetuneError(f"crop_size must be a multiple of 4 from 32 on, found {self.crop_size}.")
        if self.n_steps < 0 or self.batch_size < 1 or self.n_warmup < 0:
            raise FinetuneError("n_steps and n_warmup must be at least 0, batch_size at least 1.")
        rates = (self.learning_rate, self.discriminator_rate, self.l1_weight)
        if not all(math.isfinite(rate) and rate > 0 for rate in rates):
            raise FinetuneError("learning rates and l1_weight must be numbers above 0.")
        if not (0 <= self.ema < 1 and 0 <= self.constant_share < 1):
            raise FinetuneError("ema and constant_share must be at least 0 and below 1.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def rate_at(step: int, settings: FinetuneSettings) -> float:
    """What learning rates are multiplied by in a step: up over the warm-up, flat, then straight to zero.

    Args:
        step: from 0.
        settings: of the schedule.

    Example:
        >>> settings = FinetuneSettings(n_steps=100, n_warmup=4, constant_share=0.5)
        >>> [round(rate_at(step, settings), 2) for step in (0, 3, 49, 75, 99)]
        [0.25, 1.0, 1.0, 0.5, 0.02]
    """
    warm = min(1.0, (step + 1) / max(1, min(settings.n_warmup, settings.n_steps // 10)))
    begin = settings.constant_share * settings.n_steps
    return warm * min(1.0, (settings.n_steps - step) / (settings.n_steps - begin))
