"""How long a concept is trained: until a doubling of the steps gains little."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initzoo.pairs import Pairs

__all__ = ["Length", "pair_list", "psnr_of", "split_pairs", "train_by_need"]

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

_WARM_UP = 10
"""Steps in which the learning rate of a training by need rises: Adam's first steps are its largest."""

_AVERAGED = 20
"""Steps over which weights are averaged to judge them: single steps are noisier than a gain of 0.3 dB."""


class Length(Protocol):
    """How long a training lasts: the fields that `FitStage` and `DetailStage` share."""

    @property
    def n_steps(self) -> int:
        """Steps before the learning rate falls, at least."""

    @property
    def max_steps(self) -> int:
        """Steps before the learning rate falls, at most; 0 for a fixed length."""

    @property
    def least_gain(self) -> float:
        """Gain of a doubling that asks for another, dB."""

    @property
    def decay_share(self) -> float:
        """Steps of the decay, as a share of those before it."""


def train_by_need(
    take_step: Callable[[int, float], None],
    length: Length,
    *,
    values: Callable[[], Sequence[Tensor]],
    judge: Callable[[Sequence[Tensor]], float],
) -> int:
    """Train until a doubling of the steps gains little, then let the learning rate fall to zero.

    The learning rate is constant until then, so that it need not be known beforehand how long it takes
    (a warm-up, stable, decay schedule). Running means of the values are judged in place of the values.

    Args:
        take_step: takes a step, given its number from 0 and what the learning rate is multiplied by.
        length: when to stop; with `max_steps` of 0 the rate falls from the first to the last of `n_steps`.
        values: returns the trained tensors.
        judge: PSNR with given values on pairs kept aside, dB.

    Returns:
        The number of steps taken.

    Example:
        >>> from initzoo.training.harvest.recipe import FitStage
        >>> rates = []
        >>> train_by_need(lambda step, rate: rates.append(rate), FitStage(n_steps=4, max_steps=0),
        ...               values=list, judge=lambda values: 0.0), rates
        (4, [1.0, 0.75, 0.5, 0.25])
    """
    if not length.max_steps:
        for step in range(length.n_steps):
            take_step(step, 1 - step / length.n_steps)
        return length.n_steps
    averages = [value.detach().clone() for value in values()]
    best, n_done, target = judge(averages), 0, length.n_steps
    while True:
        for step in range(n_done, target):
            take_step(step, min(1.0, (step + 1) / _WARM_UP))
            for average, value in zip(averages, values(), strict=True):
                average.lerp_(value.detach(), max(1 / _AVERAGED, 1 / (step + 1)))
        n_done, reached = target, judge(averages)
        gains = reached - best >= length.least_gain  # False for NaN
        if not gains or 2 * target > length.max_steps:
            break
        best, target = reached, 2 * target
    n_decay = max(1, round(length.decay_share * target))
    for place in range(n_decay):
        take_step(target + place, 1 - (place + 1) / (n_decay + 1))
    return target + n_decay


def split_pairs(pairs: Pairs) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and every eighth to judge by; with fewer than eight pairs the same ones."""
    listed = pair_list(pairs)
    kept = listed[::8] if len(listed) >= 8 else listed
    return [pair for place, pair in enumerate(listed) if place % 8 or len(listed) < 8], kept


@torch.no_grad()
def psnr_of(edit: Callable[[Tensor], Tensor], pairs: Sequence[Pair]) -> float:
    """The mean PSNR of a network on pairs of one size, dB.

    Args:
        edit: the network: images in, images out, values -1 to 1.
        pairs: inputs and targets, uint8, all of one shape.
    """
    errors = []
    for given, wanted in pairs:
        images = torch.from_numpy(np.stack([given, wanted])).permute(0, 3, 1, 2).float() / 127.5 - 1
        errors.append((edit(images[:1]).clamp(-1, 1) - images[1:]).square().mean().item() / 4)
    return float(np.mean([-10 * math.log10(max(error, 1e-6)) for error in errors]))


def pair_list(pairs: Pairs) -> list[Pair]:
    """Inputs and targets, pair by pair."""
    return list(zip(pairs.inputs, pairs.targets, strict=True))
