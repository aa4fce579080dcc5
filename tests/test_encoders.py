"""Another kind of condition is another encoder: one for example pairs, made here, needs no other code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo_fixtures import TINY_RECIPE, add_generator, make_zoo

from initzoo.errors import InvalidGenerator, InvalidRequest
from initzoo.generator.calibration import Calibration, PsnrRanges
from initzoo.generator.encoders import ENCODERS, Context, Taught, WordsEncoder
from initzoo.generator.layers import DenoiserShape
from initzoo.generator.model import WeightGenerator, build_denoiser
from initzoo.generator.request import Request
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs.sources import Pair
from initzoo.training.generator import Stage
from initzoo.training.generator.objectives import WeightObjective
from initzoo.training.generator.settings import GeneratorSettings, TrainingData
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo


@dataclass(frozen=True, eq=False)
class ColourNovelty:
    """How far a change of colour is from the mean of taught ones."""

    mean: np.ndarray

    def distance(self, request: Request) -> float:
        return float(np.clip(np.abs(colours_of(request).mean(axis=0) - self.mean).max(), 0, 1))

    def to_dict(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist()}


@dataclass(frozen=True)
class ColourLessons:
    """The colours that the letters of each concept's first wording stand for: enough to train on."""

    colours: np.ndarray
    learned_tokens: tuple[int, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        return {"n_word_values": 3}

    def draw(self, concepts: np.ndarray, rng: np.random.Generator) -> Context:
        vectors = torch.from_numpy(self.colours[concepts][:, None])
        return Context(vectors, torch.ones(len(concepts), 1, dtype=torch.bool))


class ColourReader(nn.Module):
    """A linear layer on each token."""

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.project = nn.Linear(3, shape.width)

    def forward(self, context: Context) -> tuple[Tensor, Tensor]:
        bias = torch.zeros(context.mask.shape).masked_fill(~context.mask, -1e4)
        return self.project(context.vectors), bias[:, None, None]


def colours_of(request: Request) -> np.ndarray:
    """The mean change of colour of each pair."""
    changes = [pair.wanted.astype(np.float32) - pair.given for pair in request.pairs]
    return np.array([change.mean(axis=(0, 1)) / 255 for change in changes], np.float32)


class PairsEncoder:
    """Reads example pairs alone: a token a pair."""

    def __init__(
        self, vectors: TokenVectors, *, shape: Any = None, learned_tokens: Sequence[int] = ()
    ) -> None:
        self.digest = vectors.digest

    def check(self, request: Request) -> None:
        if request.words or not request.pairs:
            raise InvalidRequest("give example pairs, and no words")

    def encode(self, requests: Sequence[Request]) -> Context:
        longest = max(len(request.pairs) for request in requests)
        vectors, mask = torch.zeros(len(requests), longest, 3), torch.zeros(len(requests), longest).bool()
        for row, request in enumerate(requests):
            vectors[row, : len(request.pairs)] = torch.from_numpy(colours_of(request))
            mask[row, : len(request.pairs)] = True
        return Context(vectors, mask)

    def embed(self, requests: Sequence[Request]) -> np.ndarray:
        means = np.array([colours_of(request).mean(axis=0) for request in requests])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def novelty(self, requests: Sequence[Sequence[Request]]) -> ColourNovelty:
        colours = [colours_of(request) for taught in requests for request in taught]
        return ColourNovelty(np.concatenate(colours).mean(axis=0))

    def read_novelty(self, values: Mapping[str, Any]) -> ColourNovelty:
        return ColourNovelty(np.array(values["mean"]))

    def lessons(self, taught: Taught, settings: Any) -> ColourLessons:
        letters = [[ord(letter) / 255 for letter in prompts[0][:3]] for prompts in taught.all_prompts]
        return ColourLessons(np.array(letters, np.float32))

    @staticmethod
    def reader(shape: DenoiserShape) -> nn.Module:
        return ColourReader(shape)


@pytest.fixture
def zoo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny zoo whose weight generator reads pairs, and is calibrated for them."""
    monkeypatch.setitem(ENCODERS, "pairs", PairsEncoder)
    folder = make_zoo(tmp_path / "zoo", change=lambda rows: [replace(row, teacher="[]") for row in rows])
    generator_folder = add_generator(folder, is_calibrated=False, encoder="pairs")
    generator = WeightGenerator.from_pretrained(generator_folder)
    ranges = PsnrRanges((0.0, 0.5, 1.0), (20.0, 18.0, 10.0), (30.0, 26.0, 14.0), 0.4, 0.9, 0.85, 9, 9)
    novelty = generator.encoder.novelty([[Request(pairs=(pair_of(10, 20, 30),))]])
    digest = hashlib.sha256((generator_folder / "config.json").read_bytes()).hexdigest()
    Calibration(novelty, ranges, generator.encoder.digest, digest).save(generator_folder)
    refresh_manifest(folder)
    return folder


def pair_of(*change: int) -> Pair:
    """Black, and the colour that it becomes."""
    black = np.zeros((8, 8, 3), np.uint8)
    return Pair("one", black, black + np.array(change, np.uint8))


def test_a_generator_that_reads_pairs_is_pulled_from_with_pairs(zoo_folder: Path) -> None:
    zoo = Zoo.from_pretrained(zoo_folder)
    request = Request(pairs=(pair_of(20, 20, 30), pair_of(0, 20, 30)), seed=3)
    init = zoo.pull(request)
    assert (init.metadata.concept, init.metadata.wording) == ("from-pairs", "")
    assert init.metadata.generation is not None
    assert (init.metadata.generation.seed, init.metadata.generation.distance) == (3, 0.0)
    expected = zoo.generator.generate(request)
    assert expected.shape == (TINY_RECIPE.layout.n_blocks, TINY_RECIPE.layout.block_size)
    assert zoo.pull(replace(request, origin="generated")).to_bytes() == init.to_bytes()
    assert zoo.pull(Request(pairs=(pair_of(20, 20, 90),), seed=3), warn=False).sha256 != init.sha256
    assert zoo.pull("night").metadata.origin == "exact"
    assert zoo.verify().problems == ()
    with pytest.raises(InvalidRequest, match="give example pairs, and no words"):
        zoo.pull("faded teal")
    with pytest.warns(UserWarning, match="are generated, far from everything"):
        zoo.pull(Request(pairs=(pair_of(255, 0, 0),)))


def test_both_denoisers_train_on_what_an_encoder_draws(zoo_folder: Path) -> None:
    data = TrainingData.from_zoo(Zoo.from_pretrained(zoo_folder))
    for kind, block_size in (("joint", 16), ("unet", 32)):
        settings = GeneratorSettings(
            kind=kind,
            encoder="pairs",
            weights=Stage(4, 4, 1e-3),
            behaviour=Stage(0, 4, 1e-3),
            block_size=block_size,
            width=48,
        )
        vectors = TokenVectors.tiny(["navy"], n_values=8)
        lessons = ENCODERS["pairs"](vectors).lessons(data, settings)
        objective = WeightObjective(data, settings, lessons)
        n_blocks = objective.importance.shape[0]
        denoiser = build_denoiser(kind, settings.shape(n_blocks=n_blocks, **lessons.sizes), seed=0)
        loss = objective.loss(denoiser, 0, 0)
        loss.backward()
        assert loss.item() == pytest.approx(1.0, rel=0.9)


def test_an_unknown_encoder_is_refused_before_torch_reads_weights(
    zoo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ENCODERS, "pairs")
    said = "names the encoder 'pairs', known are words"
    with pytest.raises(InvalidGenerator, match=said):
        Zoo.from_pretrained(zoo_folder).pull("faded teal")
    with pytest.raises(InvalidGenerator, match=said):
        WeightGenerator.from_pretrained(zoo_folder / "model" / "weight_generator" / "tiny")
    with pytest.raises(ValueError, match="encoder must be one of words, found 'pairs'"):
        GeneratorSettings(encoder="pairs")
    assert list(ENCODERS) == ["words"]
    assert ENCODERS["words"] is WordsEncoder
