"""Training of many concepts at once on an accelerator, which one small network leaves idle.

The weights of many networks are stacked, and every convolution is one grouped convolution over all of them,
as every linear layer is one batch of products:

    images    (images of a concept, concepts x channels in, height, width)
    weights   (concepts x channels out, channels in, kernel)
    result    (images of a concept, concepts x channels out, height, width)

The pairs of all concepts are on the accelerator too, and crops are cut there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.networks import Adapted, ImageNetwork, layers_of
from initzoo.training.harvest.recipe import DetailStage, FitStage, JointStage

__all__ = [
    "Crops",
    "Material",
    "kept_psnr",
    "pairs_that_fit",
    "stack_adapters",
    "train_adapters",
    "train_base",
    "train_details",
    "using_stacked",
]

_JUDGED_AT_ONCE = 8
"""Networks whose pairs kept aside are edited at once."""

_CHECKED_AT = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of the training of details after which networks are judged."""

_COLLAPSE = 1.0
"""A network that lost so much has collapsed, dB."""

_REPORT_EVERY = 100
"""Updates between two reports."""

_WARM_UP = 60
"""Steps in which the rates of details rise."""

Steps = Callable[[int, int], None]


@dataclass(frozen=True)
class Crops:
    """How crops are cut.

    Args:
        size: side of a crop, pixels.
        grid: crops begin at multiples of this many pixels.
        generator: draws pairs and places; on the material's device.
    """

    size: int
    grid: int
    generator: torch.Generator


class Material:
    """The pairs of many concepts on one device.

    Args:
        n_concepts: number of concepts.
        n_pairs: pairs of each.
        side: of a pair, pixels.
        n_kept: the last so many pairs of a concept are judged by and not trained on.
        device: where pairs are kept.

    Example:
        >>> material = Material(2, 3, 8, n_kept=1, device=torch.device("cpu"))
        >>> material.put(1, np.full((3, 2, 8, 8, 3), 255, np.uint8))
        >>> crops = Crops(4, 1, torch.Generator())
        >>> [images.shape for images in material.cut(torch.tensor([1, 0]), 5, crops)]
        [torch.Size([10, 3, 4, 4]), torch.Size([10, 3, 4, 4])]
    """

    def __init__(
        self, n_concepts: int, n_pairs: int, side: int, *, n_kept: int, device: torch.device
    ) -> None:
        shape = (n_concepts, n_pairs, 2, side, side, 3)
        self.pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.n_trained, self.device = n_pairs - n_kept, device

    def put(self, concept: int, pairs: NDArray[np.uint8]) -> None:
        """Take the pairs of a concept, uint8, shape `(n_pairs, 2, side, side, 3)`: inputs and targets."""
        self.pixels[concept].copy_(torch.from_numpy(pairs))

    def cut(self, concepts: Tensor, n_crops: int, crops: Crops) -> tuple[Tensor, Tensor]:
        """Cut crops from random places of random pairs.

        Args:
            concepts: numbers of concepts, int64, shape `(n,)`.
            n_crops: crops of each.
            crops: how they are cut.

        Returns:
            Inputs and targets, float32, shape `(n * n_crops, 3, size, size)`, values -1 to 1; those of a
            concept are adjacent.
        """

        def draw(high: int) -> Tensor:
            shape = (len(concepts), n_crops, 1, 1)
            return torch.randint(high, shape, generator=crops.generator, device=self.device)

        n_places = (self.pixels.shape[3] - crops.size) // crops.grid + 1
        pairs, top, left = draw(self.n_trained), crops.grid * draw(n_places), crops.grid * draw(n_places)
        along = torch.arange(crops.size, device=self.device)
        cut = self.pixels[concepts.view(-1, 1, 1, 1), pairs, :, top + along[:, None], left + along]
        images = cut.flatten(0, 1).permute(3, 0, 4, 1, 2)  # from (n, crops, size, size, 2, 3)
        return _to_images(images[0]), _to_images(images[1])

    def kept(self, concepts: Tensor) -> tuple[Tensor, Tensor]:
        """The whole pairs kept aside: inputs and targets, shape `(n * n_kept, 3, side, side)`."""
        images = self.pixels[concepts, self.n_trained :].flatten(0, 1).permute(1, 0, 4, 2, 3)
        return _to_images(images[0]), _to_images(images[1])


def _to_images(pixels: Tensor) -> Tensor:
    return pixels.contiguous().float() / 127.5 - 1


@contextmanager
def using_stacked(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let every layer of a network use the weights of each image's group.

    Args:
        network: its layers are linear, or convolutions without groups. Images of a group must be adjacent.
        weights: stacked weights and biases by name, shape `(n_groups, ...)`. A layer without any keeps its
            own, for all groups.
    """
    layers = {name: layer for name, layer in layers_of(network).items() if f"{name}.weight" in weights}
    try:
        for name, layer in layers.items():
            compute = _multiply if isinstance(layer, nn.Linear) else partial(_convolve, layer)
            vars(layer)["forward"] = partial(compute, weights[f"{name}.weight"], weights[f"{name}.bias"])
        yield
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)


def _convolve(layer: Any, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    n_groups = len(weight)
    n_images = len(x) // n_groups
    beside = x.reshape(n_groups, n_images, *x.shape[1:]).transpose(0, 1).flatten(1, 2)
    made = F.conv2d(
        beside,
        weight.flatten(0, 1),
        bias.flatten(),
        layer.stride,
        layer.padding,
        layer.dilation,
        n_groups,
    )
    return made.view(n_images, n_groups, -1, *made.shape[2:]).transpose(0, 1).flatten(0, 1)


def _multiply(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    stacked = x.reshape(len(weight), -1, x.shape[-1])  # (groups, tokens of all images, channels)
    return torch.baddbmm(bias[:, None], stacked, weight.transpose(1, 2)).view(*x.shape[:-1], -1)


def stack_adapters(
    base: Adapted, adapters: Tensor, weights: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Merge many adapters: a network's weights and biases for each.

    Args:
        base: the base.
        adapters: flat values, shape `(n_groups, n_values)`.
        weights: stacked weights and biases that adapters are added to; by default those of the base.

    Returns:
        Weights and biases of adapted layers by name, shape `(n_groups, ...)`; and all other of `weights`.
    """
    tensors = base.named_tensors()
    given = tensors if weights is None else weights
    n_out = {name: len(tensors[f"{name}.bias"]) for name in base.ranks}
    sizes = [size for name, rank in base.ranks.items() for size in (n_out[name] * rank, n_out[name])]
    parts = iter(adapters.split(sizes, dim=1))  # slices one by one would add up gradients slowly
    stacked = dict(weights or {})
    for name, rank in base.ranks.items():
        shared = tensors[f"{name}.A"]
        change = next(parts).view(-1, n_out[name], rank) @ shared.flatten(1)
        stacked[f"{name}.weight"] = given[f"{name}.weight"] + change.view(
            *change.shape[:2], *shared.shape[1:]
        )
        stacked[f"{name}.bias"] = given[f"{name}.bias"] + next(parts)
    return stacked


class _RowAdam:
    """Adam for the rows of a tensor, each with its own number of updates.

    Source:
        Kingma and Ba (2015), algorithm 1, arXiv:1412.6980.
    """

    def __init__(self, values: Tensor, learning_rate: float, betas: tuple[float, float]) -> None:
        self.values, self.learning_rate, self.betas = values, learning_rate, betas
        self.mean, self.square = torch.zeros_like(values), torch.zeros_like(values)
        self.n_updates = torch.zeros(len(values), 1, device=values.device)

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float, rows: Tensor | slice = slice(None)) -> None:
        first, second = self.betas
        mean = self.mean[rows].lerp(gradient, 1 - first)
        square = self.square[rows] * second + (1 - second) * gradient.square()
        n_updates = self.n_updates[rows] + 1
        scale = (square / (1 - second**n_updates)).sqrt() + 1e-8
        self.values[rows] -= self.learning_rate * rate * mean / (scale * (1 - first**n_updates))
        self.mean[rows], self.square[rows], self.n_updates[rows] = mean, square, n_updates

    def forget(self, rows: Tensor) -> None:
        for tensor in (self.mean, self.square, self.n_updates):
            tensor[rows] = 0


def _clip_rows(gradients: Sequence[Tensor], max_norm: float) -> None:
    """Scale each row of the gradients, taken together, down to a norm, and to zero if it is not finite."""
    norm = torch.cat(list(gradients), dim=1).norm(dim=1, keepdim=True)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0).nan_to_num(0.0)
    for gradient in gradients:
        gradient.nan_to_num_(0.0, 0.0, 0.0).mul_(scale)


def train_base(
    base: Adapted,
    adapters: Tensor,
    material: Material,
    concepts: Tensor,
    stage: JointStage,
    crops: Crops,
    *,
    max_gradient: float,
    rate_at: Callable[[int, int], float],
    callback: Callable[[int, int, float], None],
) -> None:
    """Train base, shared A and adapters together; all are changed in place.

    Args:
        base: on the material's device.
        adapters: shape `(n_concepts, n_values)`; those of `concepts` are trained.
        material: the pairs.
        concepts: numbers of the concepts that take part, at least one.
        stage: rounds, lanes, batch size and rates.
        crops: how crops are cut.
        max_gradient: gradients of greater norm are scaled down to it.
        rate_at: returns what rates are multiplied by at an update of so many.
        callback: called with updates done, updates in all and the running mean of the loss, now and then.
    """
    n_lanes = min(stage.n_lanes, len(concepts))
    n_updates = max(1, round(stage.n_rounds * len(concepts) / n_lanes))
    parameters = list(base.named_tensors().values())
    optimizer = torch.optim.Adam(parameters, lr=stage.learning_rate, betas=stage.betas)
    rows_adam = _RowAdam(adapters, stage.adapter_learning_rate, stage.adapter_betas)
    order, mean_loss = concepts[:0], torch.zeros((), device=adapters.device)
    for update in range(n_updates):
        if len(order) < n_lanes:
            turn = torch.randperm(len(concepts), generator=crops.generator, device=concepts.device)
            # Those left over come first, and none is twice in an update.
            order = torch.cat([order, concepts[turn][~torch.isin(concepts[turn], order)]])
        due, order = order[:n_lanes], order[n_lanes:]
        inputs, targets = material.cut(due, stage.batch_size, crops)
        rows = adapters[due].requires_grad_()
        with using_stacked(base.network, stack_adapters(base, rows)):
            loss = (base.network(inputs) - targets).abs().mean()
        *gradients, row_gradient = torch.autograd.grad(loss * n_lanes, [*parameters, rows])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient / n_lanes
        torch.nn.utils.clip_grad_norm_(parameters, max_gradient)
        _clip_rows([row_gradient], max_gradient)
        rate = rate_at(update, n_updates)
        optimizer.param_groups[0]["lr"] = stage.learning_rate * rate
        optimizer.step()
        rows_adam.step(row_gradient, rate, due)
        mean_loss.lerp_(loss.detach(), max(1 / _REPORT_EVERY, 1 / (update + 1)))
        if (update + 1) % _REPORT_EVERY == 0 or update + 1 == n_updates:
            callback(update + 1, n_updates, float(mean_loss))


def train_adapters(
    base: Adapted,
    adapters: Tensor,
    material: Material,
    concepts: Tensor,
    stage: FitStage,
    crops: Crops,
    *,
    max_gradient: float,
) -> Tensor:
    """Train adapters on the frozen base.

    Args:
        base: the base; not changed.
        adapters: those to start from, shape `(n, n_values)`; not changed.
        material, crops, max_gradient: as for `train_base`.
        concepts: their numbers, shape `(n,)`.
        stage: steps, batch size and rate, which falls to zero.

    Returns:
        The adapters, shape `(n, n_values)`.
    """
    values = adapters.clone()
    adam = _RowAdam(values, stage.learning_rate, stage.betas)
    for step in range(stage.n_steps):
        inputs, targets = material.cut(concepts, stage.batch_size, crops)
        rows = values.clone().requires_grad_()
        with using_stacked(base.network, stack_adapters(base, rows)):
            loss = (base.network(inputs) - targets).abs().mean()
        (gradient,) = torch.autograd.grad(loss * len(values), [rows])
        _clip_rows([gradient], max_gradient)
        adam.step(gradient, 1 - step / stage.n_steps)
    return values


def train_details(
    base: Adapted,
    adapters: Tensor,
    material: Material,
    concepts: Tensor,
    stage: DetailStage,
    crops: Crops,
    *,
    max_gradient: float,
) -> dict[str, Tensor]:
    """Train all weights of each concept's network, from base and adapter.

    Rates high enough to train fast make some networks collapse. So all are judged on pairs kept aside now and
    then, and a collapsed one goes on from where it was best.

    Args:
        base, adapters, material, concepts, crops, max_gradient: as for `train_adapters`.
        stage: steps, batch size and rates, which fall to zero over `decay_share` of the steps.

    Returns:
        Weights and biases of the best networks by name, shape `(n, ...)`.
    """
    starts = {name: value for name, value in base.named_tensors().items() if not name.endswith(".A")}
    sizes = [start.numel() for start in starts.values()]
    flat = torch.cat([start.detach().flatten() for start in starts.values()]).repeat(len(adapters), 1)
    changes = adapters.clone()
    adam = _RowAdam(flat, stage.learning_rate, stage.betas)
    rows_adam = _RowAdam(changes, stage.adapter_learning_rate, stage.adapter_betas)

    def merge(flat: Tensor, changes: Tensor) -> dict[str, Tensor]:
        parts = zip(starts.items(), flat.split(sizes, dim=1), strict=True)
        weights = {name: part.view(len(part), *start.shape) for (name, start), part in parts}
        return stack_adapters(base, changes, weights)

    n_steps = max(stage.n_steps, stage.max_steps)  # as long as the longest would take: it costs seconds here
    best_flat, best_changes = flat.clone(), changes.clone()
    reached = kept_psnr(base.network, merge(flat, changes), material, concepts)
    checks = {round(share * n_steps) - 1 for share in _CHECKED_AT}
    for step in range(n_steps):
        inputs, targets = material.cut(concepts, stage.batch_size, crops)
        leaves = flat.clone().requires_grad_(), changes.clone().requires_grad_()
        with using_stacked(base.network, merge(*leaves)):
            loss = (base.network(inputs) - targets).abs().mean()
        gradients = torch.autograd.grad(loss * len(flat), leaves)
        _clip_rows(gradients, max_gradient)
        rate = min(1.0, (step + 1) / _WARM_UP, (1 - step / n_steps) / stage.decay_share)
        adam.step(gradients[0], rate)
        rows_adam.step(gradients[1], rate)
        if step in checks:
            now = kept_psnr(base.network, merge(flat, changes), material, concepts)
            better, collapsed = now > reached, ~(now > reached - _COLLAPSE)  # a NaN has collapsed, too
            best_flat[better], best_changes[better] = flat[better], changes[better]
            reached = torch.where(better, now, reached)
            flat[collapsed], changes[collapsed] = best_flat[collapsed], best_changes[collapsed]
            adam.forget(collapsed)
            rows_adam.forget(collapsed)
    return {name: value.detach() for name, value in merge(best_flat, best_changes).items()}


@torch.no_grad()
def kept_psnr(
    network: ImageNetwork, weights: Mapping[str, Tensor], material: Material, concepts: Tensor
) -> Tensor:
    """The mean PSNR of each concept's network on its pairs kept aside, dB, shape `(n,)`."""
    reached = []
    for part in torch.arange(len(concepts), device=concepts.device).split(_JUDGED_AT_ONCE):
        inputs, targets = material.kept(concepts[part])
        with using_stacked(network, {name: value[part] for name, value in weights.items()}):
            made = network(inputs).clamp(-1, 1)
        errors = ((made - targets) / 2).square().flatten(1).mean(1).clamp(min=1e-6)
        reached.append((-10 * errors.log10()).view(len(part), -1).mean(1))
    return torch.cat(reached)


def pairs_that_fit(n_concepts: int, n_pairs: int, side: int, n_free_bytes: int) -> int:
    """How many pairs of each concept fit into so many bytes, at most `n_pairs`.

    Example:
        >>> pairs_that_fit(1000, 144, 160, 80 * 2**30), pairs_that_fit(1000, 144, 160, 10 * 2**30)
        (144, 34)
    """
    a_pair = 2 * 3 * side**2 * n_concepts
    return min(n_pairs, math.floor(n_free_bytes / 2 / a_pair))
