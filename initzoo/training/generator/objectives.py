"""What a step of each stage makes small: loss and gradient of one lane's part of a batch.

All that is random comes from the seed, the stage, the step and the lane, never from what was drawn before:
a training that is taken up again draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.generator.denoisers import WordBatch, add_noise, behaviour_error, draw_timesteps, weight_error
from initzoo.generator.tokens import TokenVectors
from initzoo.training.generator.crops import CropPlan, open_crops
from initzoo.training.generator.settings import GeneratorSettings, Stage, TrainingData, mask_of, normalisation

__all__ = ["BehaviourObjective", "WeightObjective", "WordTable"]

_N_FILLERS = 600
"""Frequent words that wordings are filled with: most of what people put around what they mean."""

_LEAST_COSINE, _N_NEIGHBOURS = 0.5, 8
"""How near a word must be to a taught one to mean something, and how many such words there are at most."""

_WHOLE_CROPS_FROM = 0.9
"""Share of the second stage after which crops are seen whole: the border of a small one is much of it."""


@dataclass(frozen=True)
class WordTable:
    """All wordings of all concepts as tokens, with vectors for those tokens only.

    Args:
        tokens: int64, shape `(n_wordings, longest)`: rows of `vectors`; 0 where there is none.
        lengths: tokens of each wording, int64.
        first: first wording of each concept; one more at the end.
        vectors: float32, shape `(1 + n_known_tokens + n_fillers, n_word_values)`; row 0 is zero. The last
            rows are those of frequent words that no wording holds and that mean nothing like one that does.
        known_tokens: the tokens of rows 1 and up, as the tokenizer numbers them.
        n_fillers: frequent words.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first: NDArray[np.int64]
    vectors: Tensor
    known_tokens: tuple[int, ...]
    n_fillers: int

    @classmethod
    def make(cls, prompts: Sequence[Sequence[str]], words: TokenVectors) -> WordTable:
        """Tokenise all wordings.

        Raises:
            InvalidWords: a wording holds no known token.
        """
        sequences = [words.tokenise(prompt) for wordings in prompts for prompt in wordings]
        used = sorted({token for sequence in sequences for token in sequence})
        near = words.neighbours_of(used, least_cosine=_LEAST_COSINE, n_most=_N_NEIGHBOURS)
        telling = [*used, *(token for own in near for token in own)]
        fillers = words.frequent_tokens(_N_FILLERS, without=telling)
        row_of = {token: row + 1 for row, token in enumerate(used)}
        lengths = np.array([len(sequence) for sequence in sequences])
        tokens = np.zeros((len(sequences), int(lengths.max())), np.int64)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence)] = [row_of[token] for token in sequence]
        vectors = np.concatenate(
            [np.zeros((1, words.n_values), np.float32), words.vectors_of([*used, *fillers])]
        )
        first = np.cumsum([0, *(len(wordings) for wordings in prompts)])
        return cls(tokens, lengths, first, torch.from_numpy(vectors), tuple(used), len(fillers))

    def draw(
        self, concepts: NDArray[np.int64], rng: np.random.Generator, settings: GeneratorSettings
    ) -> WordBatch:
        """A random wording of each concept, some tokens or whole wordings left out, with noise on the others.

        Half of the wordings get frequent words that mean nothing here, in a row at their start or
        anywhere: "could you", "please", "somehow". A wording keeps a token at least, unless all of it is
        left out. Noise is as long as `settings.word_noise` times the token's vector. Some tokens go
        without their learned vector, so that the static ones keep their meaning for words that have
        nothing else.
        """
        counts = self.first[concepts + 1] - self.first[concepts]
        rows = self.first[concepts] + (rng.random(len(concepts)) * counts).astype(np.int64)
        tokens, lengths = self._filled(rows, rng, settings.n_fillers)
        present = np.arange(tokens.shape[1]) < lengths[:, None]
        known = present & (rng.random(tokens.shape) >= settings.token_dropout)
        known = np.where(known.any(axis=1, keepdims=True), known, present)
        known &= rng.random((len(rows), 1)) >= settings.words_dropout
        vectors = self.vectors[torch.from_numpy(tokens)]
        if settings.word_noise > 0:
            noise = torch.from_numpy(rng.standard_normal(vectors.shape, dtype=np.float32))
            vectors += settings.word_noise * vectors.square().mean(2, keepdim=True).sqrt() * noise
        if not settings.learned_words:
            return WordBatch(vectors, torch.from_numpy(known))
        is_learned = (rng.random(tokens.shape) >= settings.learned_dropout) & (
            tokens <= len(self.known_tokens)
        )
        learned = np.where(is_learned, tokens, 0)
        return WordBatch(vectors, torch.from_numpy(known), torch.from_numpy(learned))

    def _filled(
        self, rows: NDArray[np.int64], rng: np.random.Generator, most: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of wordings and their lengths, with up to so many fillers put into half of them."""
        lengths = self.lengths[rows]
        n_fillers = self.n_fillers
        if not most or not n_fillers:
            return self.tokens[rows, : int(lengths.max())], lengths
        counts = np.where(rng.random(len(rows)) < 0.5, rng.integers(1, most + 1, size=len(rows)), 0)
        tokens = np.zeros((len(rows), int((lengths + counts).max())), np.int64)
        for place, (row, length, count) in enumerate(zip(rows, lengths, counts, strict=True)):
            own = self.tokens[row, :length]
            more = rng.integers(len(self.vectors) - n_fillers, len(self.vectors), size=count)
            where = 0 if rng.random() < 0.5 else int(rng.integers(length + 1))
            tokens[place, : length + count] = np.concatenate([own[:where], more, own[where:]])
        return tokens, lengths + counts


class _Draws:
    """What both stages draw from: concepts, wordings, noise and timesteps of a lane's part of a batch."""

    def __init__(
        self,
        settings: GeneratorSettings,
        stage: Stage,
        number: int,
        table: WordTable,
        residuals: Tensor,
        *,
        n_practice: int = 0,
    ) -> None:
        self.settings, self.stage, self.number = settings, stage, number
        self.table, self.residuals, self.n_practice = table, residuals, n_practice

    def draw(self, step: int, lane: int) -> _Part:
        settings = self.settings
        n_part = self.stage.batch_size // settings.n_lanes
        shared = np.random.default_rng([settings.seed, self.number, step])
        chosen = self._choose(shared)
        concepts = chosen[lane * n_part : (lane + 1) * n_part]
        rng = np.random.default_rng([settings.seed, self.number, step, lane])
        words = self.table.draw(concepts, rng, settings)
        is_practice = torch.from_numpy(concepts >= len(self.residuals))
        places = torch.from_numpy(np.minimum(concepts, len(self.residuals) - 1))
        clean = self.residuals[places].masked_fill(is_practice[:, None, None], 0)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        timesteps = draw_timesteps(n_part, pure_share=self.stage.pure_share, generator=generator)
        timesteps = timesteps.masked_fill(is_practice, 1.0)  # nothing is known but the words
        noise = torch.randn(clean.shape, generator=generator)
        noised = add_noise(clean, noise, timesteps)
        if settings.regressor:
            noised, timesteps = torch.zeros_like(clean), torch.ones_like(timesteps)
        return _Part(concepts, words, clean, noised, timesteps, rng)

    def _choose(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The concepts of a step, half of them from practice where there is any: lanes get equal shares."""
        n_known, n_all = len(self.residuals), self.stage.batch_size
        n_from_practice = min(n_all // 2, self.n_practice)
        n_from_known = n_all - n_from_practice
        known = rng.choice(n_known, size=n_from_known, replace=n_known < n_from_known)
        if not n_from_practice:
            return known
        others = n_known + rng.choice(self.n_practice, size=n_from_practice, replace=False)
        return rng.permutation(np.concatenate([known, others]))


@dataclass(frozen=True, eq=False)
class _Part:
    """A lane's part of a batch."""

    concepts: NDArray[np.int64]
    words: WordBatch
    clean: Tensor
    noised: Tensor
    timesteps: Tensor
    rng: np.random.Generator


class WeightObjective:
    """The first stage: the error of weights.

    Args:
        data: train concepts.
        settings: of the training.
        table: their wordings.
        sensitivity: how much each value of a flat adapter matters, shape `(n_values,)`; None when all
            matter alike.
    """

    def __init__(
        self,
        data: TrainingData,
        settings: GeneratorSettings,
        table: WordTable,
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
        self._draws = _Draws(settings, settings.weights, 1, table, residuals)

    def loss(self, denoiser: nn.Module, step: int, lane: int) -> Tensor:
        """The loss of a lane's part of the batch of a step."""
        part = self._draws.draw(step, lane)
        predicted = denoiser(part.noised, part.timesteps, part.words)
        return weight_error(predicted, part.clean, self.importance)


class BehaviourObjective:
    """The second stage: the error of images that the network makes with denoised adapters."""

    def __init__(
        self,
        data: TrainingData,
        settings: GeneratorSettings,
        table: WordTable,
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
        self._draws = _Draws(
            settings,
            settings.behaviour,
            2,
            table,
            torch.from_numpy((blocks - mean) / scale),
            n_practice=len(data.practice),
        )
        self._base = data.recipe.build_base(data.base)
        self._base.requires_grad_(False)
        self._crops = open_crops(data.all_teachers, crops, crop_plan)

    def loss(self, denoiser: nn.Module, step: int, lane: int) -> Tensor:
        """The loss of a lane's part of the batch of a step."""
        part = self._draws.draw(step, lane)
        predicted = denoiser(part.noised, part.timesteps, part.words)
        are_whole = step >= _WHOLE_CROPS_FROM * self.settings.behaviour.n_steps
        size = None if are_whole else self.settings.crop_size
        inputs, targets = self._draw_crops(part.concepts, part.rng, size)
        return behaviour_error(
            self._base(inputs, self._adapters(predicted)),
            targets,
            len(part.concepts),
        )

    def _adapters(self, predicted: Tensor) -> Tensor:
        """Flat adapters, shape `(batch, n_values)`, of residuals."""
        blocks = torch.addcmul(self._mean, predicted, self._scale)
        return blocks.flatten(1).index_select(1, self._places)

    def _draw_crops(
        self, concepts: NDArray[np.int64], rng: np.random.Generator, size: int | None
    ) -> tuple[Tensor, Tensor]:
        """Some crops of each concept, or parts of them.

        Returns:
            Inputs and targets, float32, shape `(n_concepts * n_crops, 3, size, size)`, -1 to 1.
        """
        chosen = []
        for concept in concepts:
            crops = self._crops[concept]
            whole = crops.shape[-1]
            side = min(size or whole, whole)
            for place in rng.choice(len(crops), size=self.settings.n_crops, replace=False):
                top, left = rng.integers(whole - side + 1, size=2)
                chosen.append(crops[place, :, :, top : top + side, left : left + side])
        images = torch.from_numpy(np.stack(chosen)).float().mul_(1 / 127.5).sub_(1)
        return images[:, 0], images[:, 1]
