"""The recipe of a harvest: which network and adapters are trained, and how."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from initzoo.checkpoints import BaseConfig, Layout, NetworkSpec, Recipe
from initzoo.errors import InvalidZoo, LayoutMismatch
from initzoo.files import DamagedFile, is_file, parse_toml, read_file, read_settings, reported_as, to_plain

__all__ = [
    "QUICK_HARVEST",
    "DetailStage",
    "FitGan",
    "FitStage",
    "HarvestRecipe",
    "JointStage",
    "load_recipe",
    "recipe_of_base",
]

_MAX_BYTES = 2**20

_LEAST_JUDGED = 32
"""Smallest side of a crop that a discriminator can judge, pixels."""


@dataclass(frozen=True)
class JointStage:
    """How base, shared A and one small adapter a concept are trained together.

    Each round visits every concept once, in a new order. An update takes `n_lanes` concepts, a batch
    each, and steps the base along the mean of their gradients.

    Args:
        n_rounds: number of visits to each concept.
        n_lanes: concepts in an update.
        batch_size: crops of a concept in an update.
        learning_rate: learning rate of base and A.
        betas: betas of Adam for base and A.
        adapter_learning_rate: learning rate of the adapters.
        adapter_betas: betas of Adam for the adapters.
        n_warm_up: number of updates, at the beginning, over which both learning rates rise.
        decay_share: share of the rounds, at the end, over which both learning rates fall to zero.
        n_photos: number of photos that crops are taken from.
        n_concepts: number of train concepts that take part, those nearest to the centres of as many clusters
            of prompts; 0 for all. The others are fitted like held-out ones, from the mean adapter.

    Raises:
        ValueError: a number is out of range.
    """

    n_rounds: int = 15
    n_lanes: int = 4
    batch_size: int = 8
    learning_rate: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.99)
    adapter_learning_rate: float = 1e-2
    adapter_betas: tuple[float, float] = (0.8, 0.95)
    n_warm_up: int = 0
    decay_share: float = 0.4
    n_photos: int = 192
    n_concepts: int = 0

    def __post_init__(self) -> None:
        _check_counts(self, "n_rounds", "n_lanes", "batch_size", "n_photos")
        _check_rates(self, "learning_rate", "adapter_learning_rate")
        _check_betas(self, "betas", "adapter_betas")
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"decay_share must be from 0 to 1, found {self.decay_share}")
        for name in ("n_warm_up", "n_concepts"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, found {getattr(self, name)}")


@dataclass(frozen=True)
class FitGan:
    """A discriminator beside the error of a fit, as in pix2pix.

    Args:
        loss: adversarial loss.
        l1_weight: weight of the mean absolute error against the adversarial loss.
        learning_rate: learning rate of the discriminator in the first step; it falls as that of the adapter.
        width: number of filters in its first layer; 64 in pix2pix.

    Raises:
        ValueError: a number is out of range.
    """

    loss: Literal["non-saturating", "lsgan"] = "non-saturating"
    l1_weight: float = 100.0
    learning_rate: float = 2e-4
    width: int = 64

    def __post_init__(self) -> None:
        _check_counts(self, "width")
        _check_rates(self, "l1_weight", "learning_rate")


@dataclass(frozen=True)
class FitStage:
    """How the adapter of one concept is trained on the frozen base, from the adapter of the joint stage.

    A concept that the joint stage did not see starts from the mean adapter, which is zero, and may take more
    steps at another rate.

    Args:
        n_steps: steps of Adam before the learning rate falls.
        max_steps: with more than `n_steps`, a concept is trained for as long as it needs: the steps are
            doubled until a doubling gains less than `least_gain`, at most up to `max_steps`.
        least_gain: PSNR on training photos kept aside that a doubling must gain to be followed by another,
            dB.
        decay_share: steps in which the learning rate falls to zero afterwards, as a share of those before;
            with `max_steps` of 0 it falls over all `n_steps`, and there are no further ones.
        batch_size: crops in a step.
        learning_rate: learning rate of the first step.
        betas: betas of Adam.
        n_photos: number of photos that crops are taken from.
        n_steps_new: steps of a concept that the joint stage did not see; 0 for `n_steps`.
        learning_rate_new: its learning rate; 0 for `learning_rate`.
        gan: a discriminator of each concept, which judges patches of 70 pixels; None for the error alone.
            Training on an accelerator knows none.

    Raises:
        ValueError: a number is out of range.
    """

    n_steps: int = 72
    max_steps: int = 0
    least_gain: float = 0.3
    decay_share: float = 0.5
    batch_size: int = 8
    learning_rate: float = 1e-2
    betas: tuple[float, float] = (0.8, 0.95)
    n_photos: int = 24
    n_steps_new: int = 0
    learning_rate_new: float = 0.0
    gan: FitGan | None = None

    def __post_init__(self) -> None:
        _check_counts(self, "n_steps", "batch_size", "n_photos")
        _check_rates(self, "learning_rate", "decay_share")
        _check_betas(self, "betas")
        _check_length(self)
        if self.n_steps_new < 0:
            raise ValueError(f"n_steps_new must be at least 0, found {self.n_steps_new}")
        if not 0 <= self.learning_rate_new < math.inf:
            raise ValueError(f"learning_rate_new must be at least 0, found {self.learning_rate_new}")

    def of_new(self) -> FitStage:
        """The settings for a concept that the joint stage did not see.

        Example:
            >>> FitStage(n_steps=80, n_steps_new=300).of_new().n_steps
            300
        """
        return replace(
            self,
            n_steps=self.n_steps_new or self.n_steps,
            learning_rate=self.learning_rate_new or self.learning_rate,
        )


@dataclass(frozen=True)
class DetailStage:
    """How all weights of a concept are trained, from base and adapter, where an adapter is too little.

    Args:
        n_concepts: number of concepts that get a detail, 0 for none: single looks, those with the lowest PSNR
            first.
        max_psnr: a concept whose adapter alone reaches this PSNR gets none, dB.
        n_steps: steps of Adam before the learning rates fall, at least.
        max_steps: the steps are doubled until a doubling gains less than `least_gain`, at most up to
            `max_steps`; 0 for `n_steps` over which the rates fall.
        least_gain: PSNR on training photos kept aside that a doubling must gain to be followed by another,
            dB.
        decay_share: steps in which the rates fall to zero afterwards, as a share of those before.
        batch_size: crops in a step.
        learning_rate: learning rate of the weights.
        betas: betas of Adam for the weights.
        adapter_learning_rate: learning rate of the adapter, which is trained too, as part of the detail.
        adapter_betas: betas of Adam for the adapter.
        n_photos: number of photos that crops are taken from.

    Raises:
        ValueError: a number is out of range.
    """

    n_concepts: int = 0
    max_psnr: float = 36.0
    n_steps: int = 200
    max_steps: int = 800
    least_gain: float = 0.3
    decay_share: float = 0.5
    batch_size: int = 8
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    adapter_learning_rate: float = 8e-3
    adapter_betas: tuple[float, float] = (0.8, 0.95)
    n_photos: int = 206

    def __post_init__(self) -> None:
        _check_counts(self, "n_steps", "batch_size", "n_photos")
        _check_rates(self, "learning_rate", "adapter_learning_rate", "decay_share")
        _check_betas(self, "betas", "adapter_betas")
        _check_length(self)
        if self.n_concepts < 0:
            raise ValueError(f"n_concepts must be at least 0, found {self.n_concepts}")


QUICK_HARVEST: dict[str, Any] = {
    "joint": {"n_rounds": 2, "n_photos": 16},
    "fit": {"n_steps": 8, "max_steps": 0, "n_photos": 4},
    "detail": {"n_concepts": 0},
}
"""Settings of the stages with hardly any training: to see that a harvest works, in a minute."""


@dataclass(frozen=True)
class HarvestRecipe:
    """The frozen settings of one family of checkpoints: what they are, and how they are trained.

    Args:
        name: name of the family.
        network: the image network.
        ranks: rank of the adapter of each layer that has one, in the order of the adapter's values.
        joint: the stage that makes base and shared A.
        fit: the stage that makes each concept's adapter.
        detail: the stage that trains all weights of some concepts.
        photo_size: shorter side of photos when a teacher sees them, pixels: `photos.TEACHING_SIDE`.
        crop_size: side of the square crops to train on, pixels.
        crop_grid: crops begin at multiples of this many pixels, so that edits on a grid, such as blocks of
            JPEG, are at the same place in every crop.
        block_size: values in a block.
        max_gradient: norm that gradients are clipped to.
        seed: seed of everything random in training.

    Raises:
        ValueError: a number is out of range.
    """

    name: str
    network: NetworkSpec
    ranks: dict[str, int]
    joint: JointStage = field(default_factory=JointStage)
    fit: FitStage = field(default_factory=FitStage)
    detail: DetailStage = field(default_factory=DetailStage)
    photo_size: int = 256
    crop_size: int = 64
    crop_grid: int = 1
    block_size: int = 256
    max_gradient: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_counts(self, "crop_size", "crop_grid", "block_size")
        _check_rates(self, "max_gradient")
        if self.fit.gan is not None and self.crop_size < _LEAST_JUDGED:
            raise ValueError(
                f"crop_size must be at least {_LEAST_JUDGED} with fit.gan, found {self.crop_size}"
            )
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, found {self.seed}")

    @cached_property
    def checkpoint(self) -> Recipe:
        """What the checkpoints of this recipe share, as a zoo keeps it. Loads torch.

        Raises:
            LayoutMismatch: there is no such network, or it has no layer that a rank names.
        """
        return Recipe.of(self.name, self.network, self.ranks, block_size=self.block_size)

    @property
    def layout(self) -> Layout:
        """The layout of an adapter's weights."""
        return self.checkpoint.layout

    @property
    def made_with(self) -> dict[str, Any]:
        """How checkpoints are trained, as a zoo notes it: plain JSON values."""
        shared = ("name", "network", "ranks", "block_size")
        return {name: value for name, value in to_plain(self).items() if name not in shared}

    @property
    def digest(self) -> str:
        """Sixty-four hex digits that change when any setting changes."""
        return hashlib.sha256(json.dumps(to_plain(self), sort_keys=True).encode()).hexdigest()


def load_recipe(name: str | os.PathLike[str] = "starter-2") -> HarvestRecipe:
    """Read a recipe from a TOML file, or one that comes with initzoo by its name.

    Args:
        name: path of a file, or the name of a bundled recipe.

    Raises:
        LayoutMismatch: there is no such recipe, the file cannot be read, or a setting is missing, of the
            wrong kind or unknown.

    Example:
        >>> load_recipe("starter-2").layout.n_blocks
        27
    """
    folder = files("initzoo.training.harvest") / "recipes"
    bundled = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())
    path = Path(name)
    if not is_file(path) and str(name) in bundled:
        path = Path(str(folder / f"{name}.toml"))
    advice = f"Name a TOML file, or a bundled recipe: {', '.join(bundled)}."
    with reported_as(LayoutMismatch, f"recipe '{name}'", advice):
        data = read_file(path, max_bytes=_MAX_BYTES)
        values = parse_toml(data)
        recipe = read_settings(values, HarvestRecipe)
        _refuse_unknown(values, to_plain(recipe), "")
    return recipe


def recipe_of_base(config: BaseConfig) -> HarvestRecipe:
    """How a zoo's checkpoints were trained, as its base notes it; defaults where it notes nothing.

    Raises:
        InvalidZoo: the notes are not those of a harvest.
    """
    recipe = config.recipe
    shared = {"name": recipe.name, "network": recipe.network, "ranks": recipe.ranks}
    values = to_plain(dict(config.made_with) | shared | {"block_size": recipe.layout.block_size})
    with reported_as(InvalidZoo, f"base '{recipe.name}', made_with", "Get the zoo again."):
        return read_settings(values, HarvestRecipe)


def _check_counts(settings: object, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} must be at least 1, found {getattr(settings, name)}")


def _check_rates(settings: object, *names: str) -> None:
    for name in names:
        if not 0 < getattr(settings, name) < math.inf:
            raise ValueError(f"{name} must be a number above 0, found {getattr(settings, name)}")


def _check_length(stage: FitStage | DetailStage) -> None:
    if stage.max_steps and stage.max_steps < stage.n_steps:
        raise ValueError(f"max_steps must be 0 or at least n_steps, found {stage.max_steps}")
    if not stage.least_gain >= 0:
        raise ValueError(f"least_gain must be at least 0, found {stage.least_gain}")


def _check_betas(settings: object, *names: str) -> None:
    for name in names:
        if not all(0 <= beta < 1 for beta in getattr(settings, name)):
            shown = ", ".join(map(str, getattr(settings, name)))
            raise ValueError(f"{name} must be at least 0 and below 1, found {shown}")


def _refuse_unknown(values: dict[str, Any], known: dict[str, Any], where: str) -> None:
    """A misspelt setting in a file that a person wrote would be ignored in silence."""
    for name, value in values.items():
        if name not in known:
            raise DamagedFile(f"has the unknown setting '{where}{name}'")
        if isinstance(value, dict) and isinstance(known[name], dict):
            _refuse_unknown(value, known[name], f"{where}{name}.")
