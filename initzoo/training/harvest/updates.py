"""Training of base and adapters: one update of the joint stage, and the fit of one concept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from initzoo.networks import Adapted
from initzoo.pairs import Pairs
from initzoo.training.gan import Adversary
from initzoo.training.harvest.length import pair_list, psnr_of, split_pairs, train_by_need
from initzoo.training.harvest.recipe import DetailStage, FitStage, JointStage

__all__ = [
    "AdamState",
    "TrainingDiverged",
    "adam_update",
    "draw_crops",
    "fit_adapter",
    "fit_detail",
    "lane_gradient",
    "rate_at",
]


class TrainingDiverged(ArithmeticError):
    """A loss or a gradient is no longer a finite number."""


@dataclass(frozen=True)
class AdamState:
    """Adam's running moments of a flat tensor of values.

    Args:
        mean: running mean of gradients, shape of the values.
        square: running mean of their squares, same shape.
    """

    mean: Tensor
    square: Tensor

    @classmethod
    def zeros_like(cls, values: Tensor) -> AdamState:
        """The moments before the first update."""
        return cls(mean=torch.zeros_like(values), square=torch.zeros_like(values))


@torch.no_grad()
def adam_update(
    values: Tensor,
    gradient: Tensor,
    state: AdamState,
    *,
    n_updates: int,
    learning_rate: float,
    betas: tuple[float, float],
) -> None:
    """Take one step of Adam, changing `values` and `state` in place.

    Written out because the joint stage keeps the moments of thousands of adapters as rows of one tensor,
    which it saves and shares between processes; torch's own keeps them in objects of its own.

    Args:
        values: what is trained, any shape.
        gradient: of the loss with respect to `values`, same shape.
        state: moments of `values`.
        n_updates: updates so far, this one counted, at least 1.
        learning_rate: step size.
        betas: decay of the two moments.

    Source:
        Kingma and Ba (2015), algorithm 1, arXiv:1412.6980.

    Example:
        >>> values = torch.tensor([1.0, -1.0])
        >>> adam_update(values, torch.tensor([0.5, -0.1]), AdamState.zeros_like(values),
        ...             n_updates=1, learning_rate=0.25, betas=(0.9, 0.99))
        >>> values
        tensor([ 0.7500, -0.7500])
    """
    first, second = betas
    state.mean.lerp_(gradient, 1 - first)
    state.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
    scale = (state.square / (1 - second**n_updates)).sqrt_().add_(1e-8)
    values.addcdiv_(state.mean, scale, value=-learning_rate / (1 - first**n_updates))


def draw_crops(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    *,
    n_crops: int,
    crop_size: int,
    rng: np.random.Generator,
    grid: int = 1,
) -> tuple[Tensor, Tensor]:
    """Cut crops from random places of random pairs.

    Args:
        pairs: inputs and targets, uint8, shape `(height, width, 3)`, each side at least `crop_size`.
        n_crops: crops to cut.
        crop_size: side of a crop, pixels.
        rng: draws pairs and places.
        grid: crops begin at multiples of this many pixels.

    Returns:
        Inputs and targets, float32, shape `(n_crops, 3, crop_size, crop_size)`, values -1 to 1.
    """
    crops = np.empty((2, n_crops, crop_size, crop_size, 3), np.uint8)
    for number in range(n_crops):
        pair = pairs[int(rng.integers(len(pairs)))]
        height, width = pair[0].shape[:2]
        top, left = (grid * int(rng.integers((length - crop_size) // grid + 1)) for length in (height, width))
        for side, image in enumerate(pair):
            crops[side, number] = image[top : top + crop_size, left : left + crop_size]
    images = torch.from_numpy(crops).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return images[0], images[1]


def rate_at(update: int, n_updates: int, stage: JointStage) -> float:
    """What the joint stage's learning rates are multiplied by: a rise, one, then down to zero at the end.

    Args:
        update: number of the update, from 0.
        n_updates: updates in all.
        stage: settings of the stage.

    Example:
        >>> stage = JointStage(n_warm_up=4, decay_share=0.4)
        >>> [round(rate_at(update, 100, stage), 3) for update in (0, 1, 60, 80, 100)]
        [0.25, 0.5, 1.0, 0.5, 0.0]
    """
    rise = min(1.0, (update + 1) / stage.n_warm_up) if stage.n_warm_up else 1.0
    fall = min(1.0, max(0.0, (1 - update / n_updates) / stage.decay_share)) if stage.decay_share else 1.0
    return rise * fall


def lane_gradient(
    base: Adapted, adapter: Tensor, inputs: Tensor, targets: Tensor, *, max_gradient: float
) -> tuple[Tensor, Tensor, float]:
    """Find how base and one adapter should change for one batch of one concept.

    Args:
        base: network whose tensors are trained.
        adapter: of the concept, shape `(n_values,)`.
        inputs: shape `(n, 3, size, size)`, values -1 to 1.
        targets: same shape.
        max_gradient: a gradient (base and adapter as one) of greater norm is scaled down to it.

    Returns:
        Gradients of the mean absolute error with respect to base and adapter, flat, and the error itself.

    Raises:
        TrainingDiverged: the error or a gradient is not finite.
    """
    trained = adapter.detach().clone().requires_grad_()
    loss = (base(inputs, trained) - targets).abs().mean()
    weights = list(base.named_tensors().values())
    *gradients, adapter_gradient = torch.autograd.grad(loss, [*weights, trained])
    base_gradient = torch.cat([gradient.flatten() for gradient in gradients])
    norm = math.hypot(base_gradient.norm().item(), adapter_gradient.norm().item())
    if not math.isfinite(norm + loss.item()):
        raise TrainingDiverged(f"the loss is {loss.item()}, the gradient's norm {norm}")
    scale = min(1.0, max_gradient / (norm + 1e-6))
    return base_gradient * scale, adapter_gradient * scale, loss.item()


def fit_adapter(
    base: Adapted,
    pairs: Pairs,
    stage: FitStage,
    *,
    crop_size: int,
    max_gradient: float,
    seed: int,
    crop_grid: int = 1,
    start: Tensor | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> Tensor:
    """Train one concept's adapter on the frozen base.

    Args:
        base: the recipe's base; not changed.
        pairs: of the concept; each side at least `crop_size`.
        stage: steps, batch size and rates.
        crop_size: side of the crops, pixels.
        max_gradient: a gradient of greater norm is scaled down to it.
        seed: draws the crops: the same for all concepts, so that all see the same data in the same order.
        crop_grid: crops begin at multiples of this many pixels.
        start: the adapter to start from, shape `(n_values,)`; zero by default.
        callback: called with step (from 0) and loss after each step.

    Returns:
        The adapter, float32, shape `(n_values,)`.

    Raises:
        TrainingDiverged: the loss or a gradient is not finite.
    """
    rng = np.random.default_rng(seed)
    adapter = torch.zeros(base.n_adapter_values) if start is None else start.clone()
    state = AdamState.zeros_like(adapter)
    material, kept = split_pairs(pairs) if stage.max_steps else (pair_list(pairs), [])
    gan = stage.gan
    adversary = Adversary(gan.loss, width=gan.width, seed=seed) if gan is not None else None

    def take_step(step: int, rate: float) -> None:
        inputs, targets = draw_crops(
            material, n_crops=stage.batch_size, crop_size=crop_size, rng=rng, grid=crop_grid
        )
        trained = adapter.clone().requires_grad_()
        edited = base(inputs, trained)
        loss = (edited - targets).abs().mean()
        if gan is not None and adversary is not None:
            adversary.learn(inputs, targets, edited, learning_rate=gan.learning_rate * rate)
            # In units of the error, to whose gradients the learning rate and `max_gradient` are fitted.
            loss = adversary.loss(inputs, edited, loss, l1_weight=gan.l1_weight) / gan.l1_weight
        (gradient,) = torch.autograd.grad(loss, [trained])
        norm = gradient.norm().item()
        if not math.isfinite(norm + loss.item()):
            raise TrainingDiverged(f"the loss is {loss.item()} at step {step}, the gradient's norm {norm}")
        gradient *= min(1.0, max_gradient / (norm + 1e-6))
        adam_update(
            adapter,
            gradient,
            state,
            n_updates=step + 1,
            learning_rate=stage.learning_rate * rate,
            betas=stage.betas,
        )
        if callback is not None:
            callback(step, loss.item())

    train_by_need(
        take_step,
        stage,
        values=lambda: [adapter],
        judge=lambda values: psnr_of(lambda images: base(images, values[0]), kept),
    )
    return adapter


def fit_detail(
    base: Adapted,
    adapter: Tensor,
    pairs: Pairs,
    stage: DetailStage,
    *,
    crop_size: int,
    max_gradient: float,
    seed: int,
    crop_grid: int = 1,
) -> tuple[dict[str, Tensor], int]:
    """Train all weights of one concept's network, from base and adapter.

    Weights and adapter are trained together, each at its own rate: the few directions of the adapter move
    fast, and all others slowly.

    Args:
        base: the recipe's base; not changed.
        adapter: of the concept, shape `(n_values,)`.
        pairs: of the concept; each side at least `crop_size`.
        stage: steps, batch size and rates.
        crop_size, max_gradient, seed, crop_grid: as for `fit_adapter`.

    Returns:
        Weights and biases of the trained network by name, and the number of steps.

    Raises:
        TrainingDiverged: the loss or a gradient is not finite.
    """
    rng = np.random.default_rng(seed)
    network = copy.deepcopy(base).requires_grad_(False)
    weights = [parameter.requires_grad_() for parameter in network.network.parameters()]
    adapter = adapter.clone().requires_grad_()
    optimizer = torch.optim.Adam(
        [
            {"params": weights, "lr": stage.learning_rate, "betas": stage.betas},
            {"params": [adapter], "lr": stage.adapter_learning_rate, "betas": stage.adapter_betas},
        ]
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    material, kept = split_pairs(pairs)

    def take_step(step: int, rate: float) -> None:
        inputs, targets = draw_crops(
            material, n_crops=stage.batch_size, crop_size=crop_size, rng=rng, grid=crop_grid
        )
        loss = (network(inputs, adapter) - targets).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_([*weights, adapter], max_gradient))
        if not math.isfinite(norm + loss.item()):
            raise TrainingDiverged(f"the loss is {loss.item()} at step {step}, the gradient's norm {norm}")
        for group, full in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = full * rate
        optimizer.step()

    def merged() -> dict[str, Tensor]:
        return dict(network.network.named_parameters()) | network.merged(adapter)

    names = list(merged())
    n_steps = train_by_need(
        take_step,
        stage,
        values=lambda: list(merged().values()),
        judge=lambda values: psnr_of(
            lambda images: functional_call(network.network, dict(zip(names, values, strict=True)), (images,)),
            kept,
        ),
    )
    return {name: value.detach().clone() for name, value in merged().items()}, n_steps
