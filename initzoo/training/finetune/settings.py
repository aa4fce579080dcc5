"""The settings of fine-tuning."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from initzoo.errors import FinetuneError
from initzoo.files import check_least

__all__ = ["GAN_LOSSES", "FinetuneSettings", "rate_at"]

Optimizer = Literal["auto", "soap", "adam"]
GanLoss = Literal["non-saturating", "lsgan", "off"]

GAN_LOSSES: tuple[GanLoss, ...] = get_args(GanLoss)
"""Adversarial losses; `off` trains without a discriminator."""


@dataclass(frozen=True)
class FinetuneSettings:
    """The pix2pix objective and its schedule.

    Args:
        n_steps: number of steps; the learning rate falls to zero at the last. 0 keeps the start unchanged.
        batch_size: number of crops per step.
        crop_size: side of a crop in pixels, a multiple of 4 from 32 on.
        crop_grid: crops begin at multiples of this many pixels, so that edits on a grid, such as blocks of a
            JPEG or a printed screen, have the same phase in every crop.
        optimizer: optimizer of the weights, `soap` or `adam`; `auto` is SOAP unless a layer has more than
            128 channels, where it would be slow. That of an adapter is Adam.
        learning_rate: maximum learning rate of the weights; by default at most 1e-2 for SOAP and 1e-3 for
            Adam, less for a good start, and for SOAP less in few steps.
        adapter_rate: maximum learning rate of the adapter beside the weights, or of the adapter alone; by
            default at most 8e-3, less for a good start and in fewer than 40 steps.
        betas: betas of the optimizer of the weights; those for the adapter are 0.65 and 0.95.
        n_natural: maximum number of natural-gradient steps on the adapter before the first step; they need no
            learning rate, and end before the first that does not help on crops that it has not seen.
        n_warmup: number of warm-up steps, limited to a tenth of all steps.
        constant_share: share of the steps before the learning rates start to fall; 0.5 in the pix2pix paper.
        gan: loss of the discriminator; off trains without one, which is several times as fast.
        l1_weight: weight of the mean absolute error against the adversarial loss.
        discriminator_rate: maximum learning rate of the discriminator, whose betas are 0.5 and 0.999.
        discriminator_width: number of filters in the first layer of the discriminator.
        ema: decay of a running mean of the weights, which replaces the weights in the result; 0 for none.
        flip: mirror half of the crops, at random.
        bfloat16: compute in bfloat16 where torch's autocast does; faster on hardware that supports it.
        seed: seed of the crops and of the initial weights of the discriminator.

    Without the warm-up, Adam's first steps would damage a good start: they have full length however small the
    gradient is.

    Optimizers and rates were measured on four train concepts with 24 pairs each. From the base, beside an
    adapter at 8e-3, SOAP at 6e-3 and Adam at 1e-3 reached 25.7 and 25.4 dB of oil, 22.3 and 22.1 of comic,
    28.0 and 27.4 of denoise, 44.2 and 44.4 of sepia after 80 steps; 27.0 and 26.7 of oil, 47.8 and 45.6 of
    sepia after 320. From random weights, SOAP at 2e-2 and Adam at its best rate reached 28.4 and 25.7 of oil,
    48.6 and 38.2 of sepia after 320 steps. Rates that suit a start grow with the number of steps: a start of
    44 dB did best at 1e-3 in 10 steps, 3e-3 in 40 and 6e-3 in 160.

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
    crop_grid: int = 8
    optimizer: Optimizer = "auto"
    learning_rate: float | None = None
    adapter_rate: float | None = None
    betas: tuple[float, float] = (0.95, 0.95)
    n_natural: int = 5
    n_warmup: int = 10
    constant_share: float = 0.0
    gan: GanLoss = "off"
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
        if self.optimizer not in get_args(Optimizer):
            known = ", ".join(get_args(Optimizer))
            raise FinetuneError(f"optimizer must be one of {known}, found {self.optimizer!r}.")
        if self.crop_size % 4 or self.crop_size < 32:
            raise FinetuneError(f"crop_size must be a multiple of 4 from 32 on, found {self.crop_size}.")
        least = {
            "n_steps": 0,
            "batch_size": 1,
            "crop_grid": 1,
            "n_natural": 0,
            "n_warmup": 0,
            "discriminator_width": 1,
            "seed": 0,
        }
        check_least(self, error=FinetuneError, **least)
        for name in ("learning_rate", "adapter_rate", "discriminator_rate", "l1_weight"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise FinetuneError(f"{name} must be a number above 0, found {value}.")
        for name in ("ema", "constant_share"):
            if not 0 <= getattr(self, name) < 1:
                raise FinetuneError(f"{name} must be at least 0 and below 1, found {getattr(self, name)}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            shown = ", ".join(map(str, self.betas))
            raise FinetuneError(f"betas must be at least 0 and below 1, found {shown}.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def rate_at(step: int, settings: FinetuneSettings) -> float:
    """The factor of the learning rates in a step: a linear warm-up, constant, then linear to zero.

    Args:
        step: number of the step, from 0.
        settings: the schedule.

    Example:
        >>> settings = FinetuneSettings(n_steps=100, n_warmup=4, constant_share=0.5)
        >>> [round(rate_at(step, settings), 2) for step in (0, 3, 49, 75, 99)]
        [0.25, 1.0, 1.0, 0.5, 0.02]
    """
    warm = min(1.0, (step + 1) / max(1, min(settings.n_warmup, settings.n_steps // 10)))
    begin = settings.constant_share * settings.n_steps
    return warm * min(1.0, (settings.n_steps - step) / (settings.n_steps - begin))
