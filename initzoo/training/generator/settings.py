"""The settings and data of the training of a weight generator."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import Layout, Recipe, join_blocks, split_blocks, value_mask
from initzoo.errors import TrainingError
from initzoo.files import check_least, to_plain
from initzoo.generator import ENCODERS
from initzoo.pairs import TEACHING_SIDE, Concept, Teacher, fit_short_side, load_photos, parse_teacher
from initzoo.training.harvest.recipe import recipe_of_base
from initzoo.zoo import Zoo

if TYPE_CHECKING:
    from initzoo.generator import DenoiserShape

__all__ = ["QUICK_TRAINING", "GeneratorSettings", "Stage", "TrainingData"]

_MAX_BLOCK_SIZE = 2**16  # of a layout
_MAX_WINDOW = 2**16

_N_PROJECTIONS = 256
"""Projections that the blocks of a long layout share: 25 million weights at the default sizes."""

Optimizer = Literal["adamw", "muon"]

Kind = Literal["joint", "unet"]
"""Keys of `DENOISERS`, repeated here because options must not import torch."""


@dataclass(frozen=True)
class Stage:
    """The schedule of one training stage.

    Args:
        n_steps: number of steps; 0 leaves the stage out.
        batch_size: number of concepts per step, a multiple of the lanes.
        learning_rate: learning rate after the warm-up; it falls to zero by a cosine.
        n_warmup: number of warm-up steps.
        n_held: number of steps after which the rate begins to fall, linearly then; 0 for the cosine.
        pure_share: share of a batch that is denoised from pure noise; the rest is from random timesteps.

    Raises:
        ValueError: a number is out of range.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    n_warmup: int = 100
    pure_share: float = 0.5
    n_held: int = 0

    def __post_init__(self) -> None:
        check_least(self, n_steps=0, batch_size=1, n_warmup=0, n_held=0)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be a number above 0, found {self.learning_rate}")
        if self.n_steps and self.n_held > self.n_steps:
            raise ValueError(f"n_held must be at most n_steps, {self.n_steps}, found {self.n_held}")
        if not 0 <= self.pure_share <= 1:
            raise ValueError(f"pure_share must be from 0 to 1, found {self.pure_share}")


@dataclass(frozen=True)
class GeneratorSettings:
    """All settings of a training.

    Args:
        kind: denoiser: joint reads all blocks at once, unet is the paper's UNet on single blocks.
        encoder: encoder of the condition: phrases reads words with a phrase encoder, words as static token
            vectors.
        weights: the first stage, on the error of weights.
        behaviour: the second stage, on the error of images.
        pairs: the third stage, which teaches passes over example pairs; left out by default. Its step sees
            eleven crops of each concept, so it wants an accelerator.
        regressor: predict weights from the condition alone, without noise and timesteps.
        pooled_words: replace the sequence of words by one mean vector.
        train_share: share of the train concepts to train on.
        block_size: number of values per block; blocks of another size are converted.
        width: width of the denoiser, a multiple of 48.
        n_layers: layers of the denoiser over the blocks; the unet has a fixed number.
        window: maximum number of blocks that the denoiser reads at once. It reads an adapter of more blocks
            in overlapping windows.
        n_pair_layers: layers of the denoiser of pairs.
        scale_floor: minimum scale of a value, as a share of the median over all values.
        by_sensitivity: weight the error of each value by its effect on images, besides its variance.
        token_dropout: probability of leaving out a token of a wording.
        words_dropout: probability of leaving out a whole wording.
        word_noise: noise on token vectors, as a share of their length.
        n_fillers: maximum number of frequent, meaningless words to insert into half of the wordings, so that
            the generator learns to ignore phrases like "could you please".
        learned_words: learn a vector for each token of the train wordings besides its static one.
        learned_dropout: probability of leaving out the learned vector of a token, or the reading of a phrase
            as a whole.
        n_crops: number of crops per concept in a step of the second stage.
        crop_size: side of the part of a crop that a step uses, a multiple of 4 pixels. Small parts leave time
            for more concepts.
        whole_share: share of the second stage, at its end, that uses whole crops, since small parts consist
            largely of border.
        medium_share: share of the second stage before that which uses parts of twice the side.
        log_error: minimise the logarithm of each concept's error, as decibels count it, instead of the error.
            Concepts that come out well already are then still improved.
        optimizer: adamw for all weights, or muon for the matrices among them, which learns more in a step.
            Its steps are slow on cores, so it needs an accelerator.
        weight_decay: weight decay of the optimizer.
        max_gradient: maximum norm of gradients, to which they are clipped.
        ema: decay of the running mean of the denoiser's weights, which is the result.
        bfloat16: compute in bfloat16 where torch's autocast does; faster on hardware that supports it.
        n_lanes: number of parts of a batch, each computed by one process.
        seed: seed of all random numbers.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> GeneratorSettings().kind
        'joint'
    """

    kind: Kind = "joint"
    encoder: str = "phrases"
    weights: Stage = field(default_factory=lambda: Stage(2000, 64, 1e-3))
    behaviour: Stage = field(default_factory=lambda: Stage(9000, 64, 8e-4, pure_share=0.875))
    pairs: Stage = field(default_factory=lambda: Stage(0, 64, 1e-3, n_warmup=200, pure_share=0.0))
    regressor: bool = False
    pooled_words: bool = False
    train_share: float = 1.0
    block_size: int = 256
    width: int = 192
    n_layers: int = 3
    window: int = 2048
    n_pair_layers: int = 4
    scale_floor: float = 0.05
    by_sensitivity: bool = True
    token_dropout: float = 0.15
    words_dropout: float = 0.0
    word_noise: float = 0.3
    n_fillers: int = 5
    learned_words: bool = True
    learned_dropout: float = 0.25
    n_crops: int = 1
    crop_size: int = 32
    whole_share: float = 0.1
    medium_share: float = 0.0
    log_error: bool = False
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    max_gradient: float = 1.0
    ema: float = 0.999
    bfloat16: bool = False
    n_lanes: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, found {self.kind!r}")
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(
                f"optimizer must be one of {', '.join(get_args(Optimizer))}, found {self.optimizer!r}"
            )
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, found {self.encoder!r}")
        if self.n_lanes < 1:
            raise ValueError(f"n_lanes must be at least 1, found {self.n_lanes}")
        if any(stage.batch_size % self.n_lanes for stage in (self.weights, self.behaviour)):
            raise ValueError(f"batch sizes must be multiples of the {self.n_lanes} lanes")
        if self.crop_size % 4 or self.crop_size <= 0:
            raise ValueError(f"crop_size must be a multiple of 4, found {self.crop_size}")
        if self.width % 48 or self.width <= 0:
            raise ValueError(f"width must be a multiple of 48, found {self.width}")
        if not 0 < self.train_share <= 1:
            raise ValueError(f"train_share must be above 0 and at most 1, found {self.train_share}")
        if self.block_size > _MAX_BLOCK_SIZE:
            raise ValueError(f"block_size must be at most {_MAX_BLOCK_SIZE}, found {self.block_size}")
        if self.block_size < 1 or (self.kind == "unet" and self.block_size % 32):
            needed = "a multiple of 32 for unet" if self.kind == "unet" else "at least 1"
            raise ValueError(f"block_size must be {needed}, found {self.block_size}")
        for name in ("words_dropout", "learned_dropout", "whole_share", "medium_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, found {getattr(self, name)}")
        for name in ("token_dropout", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, found {getattr(self, name)}")
        check_least(self, n_layers=1, n_pair_layers=1, n_crops=1, n_fillers=0, seed=0)
        if not 4 <= self.window <= _MAX_WINDOW:
            raise ValueError(f"window must be from 4 to {_MAX_WINDOW} blocks, found {self.window}")
        check_least(self, scale_floor=0, word_noise=0, weight_decay=0)
        if not self.max_gradient > 0:
            raise ValueError(f"max_gradient must be above 0, found {self.max_gradient}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    def n_blocks(self, layout: Layout) -> int:
        """Number of blocks of an adapter, in blocks of this size."""
        return replace(layout, block_size=self.block_size).n_blocks

    def shape(self, *, n_blocks: int, **sizes: int) -> DenoiserShape:
        """The sizes of the denoiser.

        Args:
            n_blocks: number of blocks of an adapter.
            sizes: `Lessons.sizes`.
        """
        from initzoo.generator import DenoiserShape

        is_long = n_blocks > self.window
        shares_projections = is_long and self.kind == "joint" and n_blocks > _N_PROJECTIONS
        return DenoiserShape(
            n_blocks=n_blocks,
            block_size=self.block_size,
            width=self.width,
            n_layers=self.n_layers,
            window=self.window if is_long else 0,
            n_projections=_N_PROJECTIONS if shares_projections else 0,
            pooled_words=self.pooled_words,
            encoder=self.encoder,
            **sizes,
        )


QUICK_TRAINING: dict[str, Any] = {
    "width": 48,
    "train_share": 0.1,
    "weights": {"n_steps": 20},
    "behaviour": {"n_steps": 4},
}
"""Settings of `--quick`, which test that everything runs, by field and by field of a stage."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The train concepts with their wordings, teachers and adapters, and the base of the adapters.

    Args:
        concept_ids: ids of the concepts.
        prompts: wordings of each concept, without its test wordings.
        teachers: teacher of each concept.
        blocks: adapters, float32, shape `(n_concepts, n_blocks, block_size)`, in the layout of the recipe.
        recipe: recipe of the zoo.
        base: weights of the base by name, float32: weight, bias and A of each layer.
        base_sha256: digest of the base.
        crop_size: side of the crops on which the adapters were trained, pixels.
        crop_grid: these crops began at multiples of this many pixels.
        practice: concepts without an adapter, for the second stage, which needs none.
        photos: folder of photos for example pairs; the bundled ones by default.
    """

    concept_ids: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    teachers: tuple[Teacher, ...]
    blocks: NDArray[np.float32]
    recipe: Recipe
    base: Mapping[str, NDArray[np.float32]]
    base_sha256: str
    crop_size: int = 64
    crop_grid: int = 1
    practice: tuple[Concept, ...] = ()
    photos: Path | None = None

    @classmethod
    def from_zoo(cls, zoo: Zoo, concepts: Sequence[Concept] = ()) -> TrainingData:
        """Read the train concepts of a zoo.

        Args:
            zoo: the zoo.
            concepts: the concepts of its harvest, for teachers that a zoo cannot contain: folders of pairs
                and Python functions.

        Raises:
            TrainingError: the zoo has fewer than two train concepts.
            ChecksumMismatch, InvalidZoo, LayoutMismatch: the zoo is damaged.
        """
        rows = zoo.index.rows(split="train")
        known = [concept.teacher for concept in concepts]
        if len(rows) < 2:
            raise TrainingError(f"zoo '{zoo.name}' has {len(rows)} train concepts, at least 2 are needed.")
        return cls(
            concept_ids=tuple(row.concept_id for row in rows),
            prompts=tuple(row.prompts for row in rows),
            teachers=tuple(parse_teacher(row.teacher, known) for row in rows),
            blocks=zoo.all_blocks(split="train")[1],
            recipe=zoo.recipe,
            base=zoo.base(),
            base_sha256=zoo.config.base_sha256,
            crop_size=recipe_of_base(zoo.config).crop_size,
            crop_grid=recipe_of_base(zoo.config).crop_grid,
        )

    def with_practice(self, concepts: Sequence[Concept]) -> TrainingData:
        """Add concepts for practice.

        Args:
            concepts: concepts of split `train`. Those with an adapter in the data add their wordings to it;
                the others become practice.
        """
        more = {concept.id: concept.prompts for concept in concepts}
        prompts = zip(self.concept_ids, self.prompts, strict=True)
        known = set(self.concept_ids)
        return replace(
            self,
            prompts=tuple(tuple(dict.fromkeys((*own, *more.get(name, ())))) for name, own in prompts),
            practice=tuple(concept for concept in concepts if concept.id not in known),
        )

    def with_wordings(
        self, wordings: Mapping[str, Sequence[str]], *, n_own: int | None = None
    ) -> TrainingData:
        """Add wordings to concepts and practice.

        Args:
            wordings: further wordings by id of the concept.
            n_own: maximum number of wordings that a concept has already and keeps, evenly spaced; all by
                default.
        """

        def joined(name: str, own: tuple[str, ...]) -> tuple[str, ...]:
            count = len(own) if n_own is None else min(n_own, len(own))
            kept = [own[len(own) * place // count] for place in range(count)]
            return tuple(dict.fromkeys((*kept, *wordings.get(name, ()))))

        pairs = zip(self.concept_ids, self.prompts, strict=True)
        return replace(
            self,
            prompts=tuple(joined(name, own) for name, own in pairs),
            practice=tuple(replace(one, prompts=joined(one.id, one.prompts)) for one in self.practice),
        )

    def take(self, share: float, *, seed: int) -> tuple[TrainingData, TrainingData]:
        """Split off a random share of the concepts. A smaller share is a subset of a larger one.

        Returns:
            The share and the rest, both in the order of the concepts.
        """
        n_taken = max(2, round(share * len(self.concept_ids)))
        order = np.random.default_rng([seed, 0]).permutation(len(self.concept_ids))
        return self._pick(np.sort(order[:n_taken])), self._pick(np.sort(order[n_taken:]))

    def _pick(self, places: NDArray[np.int64]) -> TrainingData:
        return replace(
            self,
            concept_ids=tuple(self.concept_ids[place] for place in places),
            prompts=tuple(self.prompts[place] for place in places),
            teachers=tuple(self.teachers[place] for place in places),
            blocks=self.blocks[places],
        )

    @property
    def all_teachers(self) -> tuple[Teacher, ...]:
        """The teachers of all concepts, then of all practice concepts."""
        return (*self.teachers, *(concept.teacher for concept in self.practice))

    @property
    def all_prompts(self) -> tuple[tuple[str, ...], ...]:
        """The wordings of all concepts, then of all practice concepts."""
        return (*self.prompts, *(concept.prompts for concept in self.practice))

    def example_photos(self) -> list[NDArray[np.uint8]]:
        """Photos of split `train`, of which a teacher can make example pairs.

        Raises:
            InvalidImage: the folder has no photos that can be read.
        """
        photos = load_photos(self.photos, split="train")
        return [fit_short_side(photo.pixels, TEACHING_SIDE) for photo in photos]

    def cut_blocks(self, block_size: int) -> NDArray[np.float32]:
        """Convert the blocks to another block size.

        Returns:
            float32, shape `(n_concepts, n_blocks, block_size)`.
        """
        layout = self.recipe.layout
        if block_size == layout.block_size:
            return self.blocks
        wanted = replace(layout, block_size=block_size)
        return np.stack([split_blocks(join_blocks(blocks, layout), wanted) for blocks in self.blocks])

    @property
    def digest(self) -> str:
        """64 hex digits that change if any of the data changes, except the photos."""
        digest = hashlib.sha256(json.dumps([self.concept_ids, self.prompts, self.base_sha256]).encode())
        digest.update(json.dumps([teacher.to_json() for teacher in self.teachers]).encode())
        if self.practice:
            digest.update(json.dumps([concept.to_json() for concept in self.practice]).encode())
        digest.update(json.dumps(to_plain(self.recipe), sort_keys=True).encode())
        digest.update(np.ascontiguousarray(self.blocks).tobytes())
        return digest.hexdigest()


def normalisation(
    blocks: NDArray[np.float32], mask: NDArray[np.bool_], *, floor: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the mean and scale of each value over the zoo.

    Args:
        blocks: shape `(n_concepts, n_blocks, block_size)`.
        mask: bool, shape `(n_blocks, block_size)`; False at padding.
        floor: minimum scale, as a share of the median scale.

    Returns:
        Mean and scale, float32, shape of `mask`; zero and one at padding.
    """
    mean = blocks.mean(axis=0, dtype=np.float64)
    spread = blocks.std(axis=0, dtype=np.float64)
    least = max(floor * float(np.median(spread[mask])), 1e-6)
    scale = np.where(mask, np.maximum(spread, least), 1.0)
    return np.where(mask, mean, 0).astype(np.float32), scale.astype(np.float32)


def mask_of(recipe: Recipe, block_size: int) -> NDArray[np.bool_]:
    """The mask of values in blocks of a given size; False at padding."""
    return value_mask(replace(recipe.layout, block_size=block_size))


def stage_folder(run: Path, name: str, *parts: object) -> Path:
    """Create the folder of a stage, named by a digest of everything that its result depends on.

    Trainings with different settings can thus share a run folder and their common stages.
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    folder = run / f"{name}-{digest[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the run folder {folder}: {error.strerror}.") from error
    return folder
