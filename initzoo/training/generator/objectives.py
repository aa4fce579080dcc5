"""The losses of both stages, for one lane's part of a batch.

Random numbers depend on the seed, the stage, the step and the lane only, not on earlier draws. A resumed
training therefore draws the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.generator import (
    Context,
    Lessons,
    add_noise,
    behaviour_error,
    draw_timesteps,
    draw_window,
    weight_error,
)
from initzoo.training.generator.crops import CropPlan, open_crops
from initzoo.training.generator.resident import ResidentDraws, ResidentPart
from initzoo.training.generator.settings import GeneratorSettings, Stage, TrainingData, mask_of, normalisation

__all__ = ["BehaviourObjective", "Part", "WeightObjective", "crop_side"]


class _Draws:
    """Draws the concepts, contexts, noise and timesteps of one lane's part of a batch."""

    def __init__(
        self,
        settings: GeneratorSettings,
        stage: Stage,
        number: int,
        lessons: Lessons,
        residuals: Tensor,
        *,
        n_practice: int = 0,
        window: int = 0,
    ) -> None:
        self.settings, self.stage, self.number = settings, stage, number
        self.lessons, self.residuals, self.n_practice = lessons, residuals, n_practice
        self.window = window

    def draw(self, step: int, lane: int) -> Part:
        settings = self.settings
        n_part = self.stage.batch_size // settings.n_lanes
        shared = np.random.default_rng([settings.seed, self.number, step])
        chosen = self._choose(shared)
        concepts = chosen[lane * n_part : (lane + 1) * n_part]
        rng = np.random.default_rng([settings.seed, self.number, step, lane])
        context = self.lessons.draw(concepts, rng)
        is_practice = torch.from_numpy(concepts >= len(self.residuals))
        places = torch.from_numpy(np.minimum(concepts, len(self.residuals) - 1))
        residuals, first = self.residuals, None
        if self.window:  # all blocks of a batch would take gigabytes
            first = draw_window(residuals.shape[1], self.window, lambda n: int(rng.integers(n)))
            residuals = residuals[:, first : first + self.window]
        clean = residuals[places].masked_fill(is_practice[:, None, None], 0)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        timesteps = draw_timesteps(n_part, pure_share=self.stage.pure_share, generator=generator)
        # Practice concepts have no adapter to add noise to, so they start from pure noise.
        timesteps = timesteps.masked_fill(is_practice, 1.0)
        noise = torch.randn(clean.shape, generator=generator)
        noised = add_noise(clean, noise, timesteps)
        if settings.regressor:
            noised, timesteps = torch.zeros_like(clean), torch.ones_like(timesteps)
        return Part(concepts, context, clean, noised, timesteps, rng, first=first)

    def _choose(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The concepts of a step, up to half from practice; permuted, so that lanes get equal shares."""
        n_known, n_all = len(self.residuals), self.stage.batch_size
        n_from_practice = min(n_all // 2, self.n_practice)
        n_from_known = n_all - n_from_practice
        known = rng.choice(n_known, size=n_from_known, replace=n_known < n_from_known)
        if not n_from_practice:
            return known
        others = n_known + rng.choice(self.n_practice, size=n_from_practice, replace=False)
        return rng.permutation(np.concatenate([known, others]))


@dataclass(frozen=True, eq=False)
class Part:
    """A lane's part of a batch."""

    concepts: NDArray[np.int64]
    context: Context
    clean: Tensor
    noised: Tensor
    timesteps: Tensor
    rng: np.random.Generator
    crops: Tensor | None = None
    """Inputs and targets, uint8, shape `(n, 2, 3, size, size)`; None in the first stage."""
    first: int | None = None
    """The first block of the window that the part shows; None for all blocks."""

    def to(self, device: torch.device) -> Part:
        moved = {name: getattr(self, name).to(device) for name in ("context", "clean", "noised", "timesteps")}
        return replace(self, crops=None if self.crops is None else self.crops.to(device), **moved)


def crop_side(settings: GeneratorSettings, step: int) -> int | None:
    """Side of the parts of crops that a step of the second stage uses, pixels; None for whole crops.

    Example:
        >>> settings = GeneratorSettings(behaviour=Stage(100, 2, 1e-3), medium_share=0.4)
        >>> [crop_side(settings, step) for step in (49, 50, 89, 90)]
        [32, 64, 64, None]
    """
    n_steps = settings.behaviour.n_steps
    n_small = n_steps - int(settings.whole_share * n_steps) - int(settings.medium_share * n_steps)
    if step < n_small:
        return settings.crop_size
    return None if step >= n_steps - int(settings.whole_share * n_steps) else 2 * settings.crop_size


class WeightObjective:
    """The first stage: the error of weights.

    Args:
        data: the train concepts.
        settings: settings of the training.
        lessons: source of contexts.
        sensitivity: weight of each value of a flat adapter, shape `(n_values,)`; equal weights by default.
    """

    def __init__(
        self,
        data: TrainingData,
        settings: GeneratorSettings,
        lessons: Lessons,
        *,
        sensitivity: NDArray[np.float32] | None = None,
    ) -> None:
        mask = mask_of(data.recipe, settings.block_size)
        blocks = data.cut_blocks(settings.block_size)
        mean, scale = normalisation(blocks, mask, floor=settings.scale_floor)
        residuals = torch.from_numpy((blocks - mean) / scale)
        importance = np.where(mask, scale, 0).astype(np.float32) ** 2
        if sensitivity is not None:
            importance[mask] *= sensitivity
        self.importance = torch.from_numpy(importance)
        self._lessons, self._settings, self._residuals = lessons, settings, residuals
        self._window = settings.window if len(mask) > settings.window else 0
        self._draws = _Draws(settings, settings.weights, 1, lessons, residuals, window=self._window)

    def to(self, device: torch.device) -> WeightObjective:
        """Move what the loss needs to a device; returns the objective itself."""
        self.importance = self.importance.to(device)
        return self

    def draw(self, step: int, lane: int) -> Part:
        """Draw one lane's part of the batch of a step, on the CPU."""
        return self._draws.draw(step, lane)

    def draw_on(self, device: torch.device) -> ResidentDraws | None:
        """Draws of whole batches on a device; None if only a CPU draws contexts."""
        lessons = self._lessons.on_device(device)
        if lessons is None:
            return None
        settings = self._settings
        return ResidentDraws(
            settings.weights, settings, lessons.draw, self._residuals.to(device), window=self._window
        )

    def loss(self, denoiser: nn.Module, part: Part | ResidentPart) -> Tensor:
        """The loss of a part."""
        if part.first is None:
            predicted = denoiser(part.noised, part.timesteps, part.context)
            return weight_error(predicted, part.clean, self.importance)
        predicted = denoiser(part.noised, part.timesteps, part.context, first=part.first)
        own = self.importance[part.first : part.first + self._window]
        # Relative to the mean over all windows, so that a window counts as its blocks do in the whole.
        share = own.sum() / self.importance.sum() * (len(self.importance) / self._window)
        return weight_error(predicted, part.clean, own) * share


class BehaviourObjective:
    """The second stage: the error of the images that the network makes with denoised adapters."""

    def __init__(
        self,
        data: TrainingData,
        settings: GeneratorSettings,
        lessons: Lessons,
        *,
        crops: Path,
        crop_plan: CropPlan,
    ) -> None:
        mask = mask_of(data.recipe, settings.block_size)
        blocks = data.cut_blocks(settings.block_size)
        mean, scale = normalisation(blocks, mask, floor=settings.scale_floor)
        self.settings = settings
        self._mean, self._scale = torch.from_numpy(mean), torch.from_numpy(scale)
        self._places = torch.from_numpy(np.flatnonzero(mask))
        self._lessons, self._n_practice = lessons, len(data.practice)
        self._residuals = torch.from_numpy((blocks - mean) / scale)
        self._draws = _Draws(
            settings, settings.behaviour, 2, lessons, self._residuals, n_practice=self._n_practice
        )
        self.base = data.recipe.build_base(data.base)
        self.base.requires_grad_(False)
        self.crops, self.grid = open_crops(data.all_teachers, crops, crop_plan), crop_plan.grid

    def to(self, device: torch.device) -> BehaviourObjective:
        """Move what the loss needs to a device; returns the objective itself."""
        self._mean, self._scale, self._places = (
            value.to(device) for value in (self._mean, self._scale, self._places)
        )
        self.base.to(device)
        return self

    def draw(self, step: int, lane: int) -> Part:
        """Draw one lane's part of the batch of a step, on the CPU."""
        part = self._draws.draw(step, lane)
        side = crop_side(self.settings, step)
        return replace(part, crops=self._draw_crops(part.concepts, part.rng, side))

    def draw_on(self, device: torch.device) -> ResidentDraws | None:
        """Draws of whole batches on a device; None if only a CPU draws contexts."""
        lessons = self._lessons.on_device(device)
        if lessons is None:
            return None
        return ResidentDraws(
            self.settings.behaviour,
            self.settings,
            lessons.draw,
            self._residuals.to(device),
            n_practice=self._n_practice,
            crops=self.crops,
            grid=self.grid,
        )

    def loss(self, denoiser: nn.Module, part: Part | ResidentPart) -> Tensor:
        """The loss of a part."""
        assert part.crops is not None
        predicted = denoiser(part.noised, part.timesteps, part.context)
        images = part.crops.float().mul_(1 / 127.5).sub_(1)
        edited = self.base(images[:, 0], self.to_adapters(predicted))
        return behaviour_error(edited, images[:, 1], len(part.concepts), in_logs=self.settings.log_error)

    def to_adapters(self, predicted: Tensor) -> Tensor:
        """Convert residuals to flat adapters, shape `(batch, n_values)`."""
        blocks = torch.addcmul(self._mean, predicted, self._scale)
        return blocks.flatten(1).index_select(1, self._places)

    def _draw_crops(self, concepts: NDArray[np.int64], rng: np.random.Generator, size: int | None) -> Tensor:
        """Draw some crops of each concept, or parts of crops.

        Returns:
            Inputs and targets, uint8, shape `(n_concepts * n_crops, 2, 3, size, size)`.
        """
        chosen = []
        for concept in concepts:
            crops = self.crops[concept]
            whole = crops.shape[-1]
            side = min(size or whole, whole)
            for place in rng.choice(len(crops), size=self.settings.n_crops, replace=False):
                top, left = self.grid * rng.integers((whole - side) // self.grid + 1, size=2)
                chosen.append(crops[place, :, :, top : top + side, left : left + side])
        return torch.from_numpy(np.stack(chosen))
