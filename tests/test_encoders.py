"""Another kind of condition is another encoder: one for example pairs, made here, needs no other code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from zoo_fixtures import TINY_RECIPE, TinyConcept, add_generator, make_zoo

from initzoo.cli.main import main
from initzoo.errors import InvalidGenerator, InvalidRequest
from initzoo.evaluation.bootstrap import Resampling
from initzoo.evaluation.cases import ask_about_zoo
from initzoo.evaluation.generator import EvaluationSettings, evaluate_generator
from initzoo.evaluation.generator.run import GeneratorEvaluation
from initzoo.generator.calibration import Calibration, PsnrRanges
from initzoo.generator.cases import Examples
from initzoo.generator.encoders import ENCODERS, Context, Taught, WordsEncoder
from initzoo.generator.model import WeightGenerator, build_denoiser
from initzoo.generator.request import Request
from initzoo.generator.shape import DenoiserShape
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs.concepts import load_concepts
from initzoo.pairs.photos import TEACHING_SIDE, PhotoSource, load_photos
from initzoo.pairs.sources import Pair
from initzoo.pairs.written import write_pairs
from initzoo.training.generator import Stage
from initzoo.training.generator.objectives import WeightObjective
from initzoo.training.generator.settings import GeneratorSettings, TrainingData
from initzoo.zoo.candidates import find_candidates
from initzoo.zoo.index import IndexRow
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

    def on_device(self, device: torch.device) -> None:
        """None: drawn on the CPU."""


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

    reads = ("pairs",)

    def __init__(
        self, vectors: TokenVectors, *, shape: Any = None, learned_tokens: Sequence[int] = ()
    ) -> None:
        self.digest = vectors.digest

    def check(self, request: Request) -> None:
        if request.words or not request.pairs:
            raise InvalidRequest("give example pairs, and no words")

    def encode(self, requests: Sequence[Request]) -> Context:
        return Context.of(self.arrays(requests))

    def arrays(self, requests: Sequence[Request]) -> dict[str, np.ndarray]:
        longest = max(len(request.pairs) for request in requests)
        vectors = np.zeros((len(requests), longest, 3), np.float32)
        mask = np.zeros((len(requests), longest), bool)
        for row, request in enumerate(requests):
            vectors[row, : len(request.pairs)] = colours_of(request)
            mask[row, : len(request.pairs)] = True
        return {"vectors": vectors, "mask": mask}

    def embed(self, requests: Sequence[Request]) -> np.ndarray:
        means = np.array([colours_of(request).mean(axis=0) for request in requests])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def novelty(self, requests: Iterable[Sequence[Request]]) -> ColourNovelty:
        colours = [colours_of(request) for taught in requests for request in taught]
        return ColourNovelty(np.concatenate(colours).mean(axis=0))

    def read_novelty(self, values: Mapping[str, Any]) -> ColourNovelty:
        return ColourNovelty(np.array(values["mean"]))

    def lessons(self, taught: Taught, settings: Any, *, folder: Path | None = None) -> ColourLessons:
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
    request = Request(pairs=(pair_of(20, 20, 30), pair_of(0, 20, 30)), seed=3, origin="generated")
    init = zoo.pull(request)
    assert (init.metadata.concept, init.metadata.wording) == ("from-pairs", "")
    assert init.metadata.generation is not None
    assert (init.metadata.generation.seed, init.metadata.generation.distance) == (3, 0.0)
    expected = zoo.generator.generate(request)
    assert expected.shape == (TINY_RECIPE.layout.n_blocks, TINY_RECIPE.layout.block_size)
    other = replace(request, pairs=(pair_of(20, 20, 90),))
    assert zoo.pull(other, warn=False).sha256 != init.sha256
    assert zoo.pull("night").metadata.origin == "exact"
    assert zoo.verify().problems == ()
    with pytest.raises(InvalidRequest, match="give example pairs, and no words"):
        zoo.pull("faded teal")
    with pytest.warns(UserWarning, match=r"weights for 1 example pair are generated, far from .* of 1\)$"):
        zoo.pull(Request(pairs=(pair_of(255, 0, 0),), origin="generated"))
    made = [one.name for one in find_candidates(zoo, request) if one.name.startswith("generated")]
    assert made == [f"generated from 2 example pairs, seed {seed}" for seed in (3, 4, 5)]
    fitted = zoo.pull(replace(request, words="faded teal", origin=None, seconds=0.02), warn=False)
    assert fitted.metadata.fitting.n_candidates >= 2 + len(made) + len(zoo.index)


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
        loss = objective.loss(denoiser, objective.draw(0, 0))
        loss.backward()
        assert loss.item() == pytest.approx(1.0, rel=0.9)


@pytest.fixture
def asked_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """A tiny zoo with a teacher per concept and a weight generator of pairs."""
    monkeypatch.setitem(ENCODERS, "pairs", PairsEncoder)
    concepts = [
        *(TinyConcept(f"taught-{name}", (f"taught {name}",)) for name in "abcd"),
        *(TinyConcept(f"new-{name}", (f"new {name}",), split="heldout-new") for name in "ab"),
        *(TinyConcept(f"mixed-{name}", (f"mixed {name}",), split="heldout-composed") for name in "ab"),
    ]
    teachers = ('[{"operator": "negative", "parameters": []}]', '[{"operator": "sepia", "parameters": []}]')

    def teachable(rows: list[IndexRow]) -> list[IndexRow]:
        return [replace(row, teacher=teachers[number % 2]) for number, row in enumerate(rows)]

    folder = make_zoo(tmp_path / "asked", concepts=concepts, change=teachable)
    add_generator(folder, is_calibrated=False, encoder="pairs")
    return Zoo.from_pretrained(folder)


def evaluated_with(zoo: Zoo, photos: Path, **changes: Any) -> GeneratorEvaluation:
    settings = EvaluationSettings(
        photos=PhotoSource(photos),
        n_overlap=1,
        n_pictures=1,
        n_workers=1,
        resampling=Resampling(n_resamples=20),
        **changes,
    )
    return evaluate_generator(zoo, zoo.generator_folder, ask_about_zoo(zoo), settings)


def test_evaluation_and_calibration_give_example_pairs_to_an_encoder_that_reads_them(
    asked_zoo: Zoo, kept_photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[Request] = []
    encode, novelty = PairsEncoder.encode, PairsEncoder.novelty

    def keep_encoded(self: PairsEncoder, requests: Sequence[Request]) -> Context:
        encoded.extend(requests)
        return encode(self, requests)

    def keep_taught(self: PairsEncoder, requests: Iterable[Sequence[Request]]) -> ColourNovelty:
        taught.extend(requests)
        return novelty(self, taught)

    taught: list[Sequence[Request]] = []
    monkeypatch.setattr(PairsEncoder, "encode", keep_encoded)
    monkeypatch.setattr(PairsEncoder, "novelty", keep_taught)
    evaluation = evaluated_with(asked_zoo, kept_photo_folder, n_pairs=2)
    assert evaluation.report["n_example_pairs"] == 2
    assert evaluation.calibration is not None
    assert len(taught) == 4, "calibration is taught every train concept"
    for request in [*encoded, *(one for requests in taught for one in requests)]:
        assert (request.words, len(request.pairs)) == ("", 2)
    scored = [photo.pixels for photo in load_photos(kept_photo_folder, split="score")]
    for given, wanted in ((pair.given, pair.wanted) for [request] in taught[:1] for pair in request.pairs):
        np.testing.assert_array_equal(wanted, 255 - given)  # the first teacher
        assert not any(np.array_equal(given, photo) for photo in scored)


def test_a_generator_of_words_beside_one_of_pairs_is_asked_in_words(
    asked_zoo: Zoo, kept_photo_folder: Path, tmp_path: Path
) -> None:
    (question,) = ask_about_zoo(asked_zoo, limit=1)[:1]
    photos = [photo.pixels for photo in load_photos(kept_photo_folder, split="train")]
    examples = Examples(photos, 3)
    vectors = TokenVectors.tiny(["new", "mixed"], n_values=8)
    (in_words,) = question.requests(WordsEncoder(vectors), examples)
    (in_pairs,) = question.requests(PairsEncoder(vectors), examples, seed=4)
    assert in_words == Request(question.words[0])
    assert (in_pairs.words, in_pairs.seed, len(in_pairs.pairs)) == ("", 4, 3)
    assert in_pairs.conditions == "3 example pairs"
    with pytest.raises(ValueError, match="example pairs need at least one photo"):
        Examples((), 3)


def test_lessons_can_see_photos_of_the_training(asked_zoo: Zoo, kept_photo_folder: Path) -> None:
    data = replace(TrainingData.from_zoo(asked_zoo), photos=kept_photo_folder)
    shown = data.example_photos()
    assert len(shown) == len(load_photos(kept_photo_folder, split="train"))
    assert {min(photo.shape[:2]) for photo in shown} == {TEACHING_SIDE}
    assert replace(data, photos=None).digest == data.digest


def test_pull_like_gives_pairs_to_the_weight_generator(
    zoo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(load_concepts()[:1], load_photos(split="score")[::3], tmp_path / "mine")
    like = ["--like", str(tmp_path / "mine"), "--generate"]
    result = CliRunner().invoke(main, ["pull", *like, "--zoo", str(zoo_folder), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["concept"], found["origin"], found["wording"]) == ("from-pairs", "generated", "")
    assert found["source"].startswith("made from 9 example pairs by the weight generator")
    refused = CliRunner().invoke(main, ["pull", "teal", *like])
    assert refused.exit_code == 1
    assert "has 9 example pairs, and this weight generator reads words alone" in refused.stderr
    assert CliRunner().invoke(main, ["pull"]).exit_code == 2


def test_an_unknown_encoder_is_refused_before_torch_reads_weights(
    zoo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ENCODERS, "pairs")
    said = "names the encoder 'pairs', known are words, phrases"
    with pytest.raises(InvalidGenerator, match=said):
        Zoo.from_pretrained(zoo_folder).pull("faded teal")
    with pytest.raises(InvalidGenerator, match=said):
        WeightGenerator.from_pretrained(zoo_folder / "model" / "weight_generator" / "tiny")
    with pytest.raises(ValueError, match="encoder must be one of words, phrases, found 'pairs'"):
        GeneratorSettings(encoder="pairs")
    assert list(ENCODERS) == ["words", "phrases"]
    assert ENCODERS["words"] is WordsEncoder
