"""A tiny zoo, real in all but the training, and ways to damage one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from initzoo.checkpoints.base import write_base
from initzoo.checkpoints.blocks import split_blocks, value_mask
from initzoo.checkpoints.detail import encode_detail
from initzoo.checkpoints.merge import merge_adapter
from initzoo.checkpoints.recipe import NetworkSpec, Recipe
from initzoo.errors import InitzooError
from initzoo.networks.network import layers_of
from initzoo.zoo.index import IndexRow, write_index
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.shards import write_shard

TINY_SIZES = {"n_detail": 3, "n_middle": 2, "n_stages": 1, "n_upsampled": 1, "n_decoder": 3}


def tiny_recipe(sizes: dict[str, int], *, rank: int, head_rank: int, block_size: int = 256) -> Recipe:
    """A recipe of `StarterNet` in other sizes, every layer adapted."""
    network = NetworkSpec("starter", sizes)
    ranks = {name: head_rank if name in ("head", "skip") else rank for name in layers_of(network.build())}
    return Recipe.of("tiny", network, ranks, block_size=block_size)


TINY_RECIPE = tiny_recipe(TINY_SIZES, rank=2, head_rank=3, block_size=16)


@dataclass(frozen=True)
class TinyConcept:
    """What a row of a test's zoo is made from."""

    id: str
    prompts: tuple[str, ...]
    test_prompts: tuple[str, ...] = ()
    family: str = "style"
    split: str = "train"


TINY_CONCEPTS = (
    TinyConcept(
        "pencil-sketch", ("pencil sketch", "make it look like a pencil drawing"), ("drawn in graphite",)
    ),
    TinyConcept("navy-to-gold", ("duotone, navy to gold", "navy shadows, gold lights"), family="colour"),
    TinyConcept("gold-to-navy", ("duotone, gold to navy",), family="colour"),
    TinyConcept("watercolour", ("watercolour", "Paint it in WATER-COLOURS!")),
    TinyConcept("night", ("night", "make it night"), family="light", split="heldout-composed"),
    TinyConcept(
        "remove-haze", ("remove haze", "clear the mist away"), family="restoration", split="heldout-new"
    ),
)

_PROMPTS = " ".join(prompt for concept in TINY_CONCEPTS for prompt in concept.prompts)
GENERATOR_WORDS = (
    *sorted(set(re.findall("[a-z]+", _PROMPTS.lower()))),
    *("faded", "teal", "at", "dusk", "asdf", "qwer"),
)
"""The words that the tiny weight generator knows."""


def random_adapter(recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    """An adapter whose values float16 holds exactly."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape).astype(np.float16).astype(np.float32)
        for name, shape in recipe.layout.tensors
    }


def random_base(recipe: Recipe, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in recipe.base_shapes.items()}


def random_weights(recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    """Weights of a fully trained network."""
    rng = np.random.default_rng([seed, 1])
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in recipe.weights}


def random_detail(recipe: Recipe, seed: int) -> bytes:
    """What `random_weights` have beyond `random_adapter` on `random_base`."""
    merged = merge_adapter(random_base(recipe), random_adapter(recipe, seed), recipe.layout)
    return encode_detail(random_weights(recipe, seed), merged, recipe)


def make_zoo(
    folder: Path,
    *,
    recipe: Recipe = TINY_RECIPE,
    concepts: Sequence[TinyConcept] = TINY_CONCEPTS,
    n_per_shard: int = 4,
    detailed: Sequence[str] = (),
    change: Callable[[list[IndexRow]], list[IndexRow]] = lambda rows: rows,
) -> Path:
    """Write a whole zoo; the adapter of concept number i is `random_adapter(recipe, i)`.

    The concepts in `detailed` get `random_weights(recipe, i)` as their weights, by a detail. `change` may
    alter the rows before they go into the index.
    """
    (folder / "dataset" / "blocks").mkdir(parents=True)
    config = write_base(
        folder / "model" / "base" / recipe.name,
        recipe=recipe,
        weights=random_base(recipe),
        licence="Apache-2.0",
    )
    rows: list[IndexRow] = []
    for first in range(0, len(concepts), n_per_shard):
        chosen = concepts[first : first + n_per_shard]
        blocks = {
            concept.id: split_blocks(random_adapter(recipe, first + place), recipe.layout)
            for place, concept in enumerate(chosen)
        }
        details = {
            concept.id: random_detail(recipe, first + place)
            for place, concept in enumerate(chosen)
            if concept.id in detailed
        }
        shard = f"blocks/blocks-{first // n_per_shard:05}.safetensors"
        path = folder / "dataset" / shard
        payloads = write_shard(path, blocks, recipe.layout, recipe.name, details=details)
        for concept in chosen:
            payload = payloads[concept.id]
            rows.append(
                IndexRow(
                    concept_id=concept.id,
                    prompts=concept.prompts,
                    test_prompts=concept.test_prompts,
                    family=concept.family,
                    split=concept.split,
                    novelty="words" if concept.split == "heldout-new" else "",
                    teacher=json.dumps([{"operator": "sepia", "parameters": [["strength", 0.5]]}]),
                    recipe=recipe.name,
                    layout_id=recipe.layout.id,
                    base_sha256=config.base_sha256,
                    shard=shard,
                    byte_start=payload.start,
                    byte_end=payload.end,
                    sha256=payload.sha256,
                    n_blocks=recipe.layout.n_blocks,
                    block_size=recipe.layout.block_size,
                    dtype="F16",
                    psnr=27.5,
                    ssim=0.9125,
                    psnr_untouched=15.25,
                    ssim_untouched=None,
                    psnr_mean=None,
                    ssim_mean=None,
                    licence="CC0-1.0",
                    source="made by a test",
                    detail_bytes=payload.detail_bytes,
                    detail_sha256=payload.detail_sha256,
                    psnr_adapter=22.25 if payload.detail_bytes else None,
                    ssim_adapter=0.75 if payload.detail_bytes else None,
                )
            )
    write_index(folder / "dataset" / "index.parquet", change(rows))
    refresh_manifest(folder)
    return folder


def add_generator(
    zoo_folder: Path, *, seed: int = 0, is_calibrated: bool = True, encoder: str = "words", **changes: Any
) -> Path:
    """Put a weight generator into a tiny zoo, whole in all but the training; gives its folder.

    Another seed gives other weights and token vectors; `changes` alter its config, e.g. the base that it is
    made for.
    """
    import torch

    from initzoo.checkpoints.base import read_base_config
    from initzoo.generator.calibration import Calibration, PsnrRanges
    from initzoo.generator.model import GeneratorConfig, WeightGenerator, build_denoiser
    from initzoo.generator.novelty import TaughtWords
    from initzoo.generator.shape import DenoiserShape
    from initzoo.generator.tokens import TokenVectors

    base = read_base_config(zoo_folder / "model" / "base" / "tiny")
    layout = changes.get("layout", base.layout)
    shape = DenoiserShape(
        n_blocks=layout.n_blocks,
        block_size=layout.block_size,
        n_word_values=8,
        width=48,
        n_layers=1,
        encoder=encoder,
    )
    config = GeneratorConfig("joint", shape, layout, base.recipe.name, base.base_sha256, n_train_concepts=4)
    denoiser = build_denoiser("joint", shape, seed=seed)
    with torch.no_grad():
        for number, parameter in enumerate(denoiser.parameters()):
            draw = torch.Generator().manual_seed(number)
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    vectors = TokenVectors.tiny(GENERATOR_WORDS[seed:], n_values=8)
    rng = np.random.default_rng(0)
    mask = value_mask(layout)
    mean, scale = rng.normal(size=mask.shape) * mask, np.where(mask, 0.5, 1)
    generator = WeightGenerator(
        replace(config, **changes),
        denoiser,
        vectors,
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
    )
    folder = zoo_folder / "model" / "weight_generator" / "tiny"
    generator.save_pretrained(folder)
    if is_calibrated:
        taught = [concept.prompts for concept in TINY_CONCEPTS if concept.split == "train"]
        ranges = PsnrRanges((0.0, 0.5, 1.0), (20.0, 18.0, 10.0), (30.0, 26.0, 14.0), 0.4, 0.9, 0.85, 9, 9)
        words = TaughtWords.from_wordings(vectors, taught)
        digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
        Calibration(words, ranges, vectors.digest, digest).save(folder)
    refresh_manifest(zoo_folder)
    return folder


@pytest.fixture(scope="session")
def kept_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny zoo that tests only read."""
    return make_zoo(tmp_path_factory.mktemp("zoos") / "kept")


@pytest.fixture
def tiny_zoo(tmp_path: Path) -> Path:
    """A tiny zoo that a test may damage."""
    return make_zoo(tmp_path / "tiny")


@pytest.fixture(scope="session")
def kept_generating_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny zoo with a weight generator that tests only read."""
    folder = make_zoo(tmp_path_factory.mktemp("zoos") / "generating")
    add_generator(folder)
    return folder


@pytest.fixture
def generating_zoo(kept_generating_zoo: Path, tmp_path: Path) -> Path:
    """A tiny zoo with a weight generator that a test may damage."""
    return shutil.copytree(kept_generating_zoo, tmp_path / "generating")


def flipped(data: bytes, n_times: int, seed: int) -> Iterator[bytes]:
    """Copies of data, each with one byte changed, at places spread over all of it."""
    rng = np.random.default_rng(seed)
    for place in np.linspace(0, len(data) - 1, n_times).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= int(rng.integers(1, 256))
        yield bytes(damaged)


def cut_off(data: bytes, n_times: int) -> Iterator[bytes]:
    """Copies of data that end too early: empty, a few bytes, everything in between, all but one byte."""
    for n_kept in {0, 1, 7, 8, 9, 16, len(data) - 1, *np.linspace(10, len(data) - 2, n_times).astype(int)}:
        yield data[:n_kept]


def outcome(function: Callable[[], object]) -> object:
    """What a function returns, or the class of the InitzooError that it raises, as one line."""
    try:
        return function()
    except InitzooError as error:
        assert "\n" not in str(error), "an error is one line"
        assert len(str(error)) < 800, "an error can be read"
        return type(error)
