"""Blocks grouped in other ways hold the same weights, and a weight generator can be trained on each."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ablation_run import (
    REFERENCE,
    VARIANTS,
    Clock,
    Regrouped,
    blocks_of,
    distinct,
    recipe_of,
    regroup,
    sections_of,
    table,
    to_zoo,
)
from zoo_fixtures import TINY_RECIPE, make_zoo, random_adapter

from initzoo.checkpoints import split_blocks
from initzoo.evaluation import EvaluationSettings
from initzoo.evaluation.generator.measuring import Measured
from initzoo.generator.tokens import TokenVectors
from initzoo.networks import adapter_from_arrays
from initzoo.pairs import Score
from initzoo.training import CropPlan, GeneratorSettings, TrainingData, train_generator
from initzoo.training.generator import Stage
from initzoo.zoo import Zoo

VOCABULARY = (
    "pencil sketch make it look like a drawing duotone navy to gold shadows watercolour paint in water"
)
TINY_VARIANTS = ("layer-16", "layer-8", "flat-16", "kind-16", "channel-16", "random-32")


def tiny(variant):
    return recipe_of(variant, TINY_RECIPE)[0]


@pytest.mark.parametrize("variant", TINY_VARIANTS)
def test_each_value_is_in_one_block_and_comes_back(variant):
    places = blocks_of(variant, TINY_RECIPE)
    assert sorted(places[places >= 0]) == list(range(TINY_RECIPE.layout.n_values))
    blocks = split_blocks(random_adapter(TINY_RECIPE, seed=1), TINY_RECIPE.layout)
    own = tiny(variant)
    regrouped = own.from_zoo(blocks) if isinstance(own, Regrouped) else blocks
    assert np.array_equal(to_zoo(regrouped, own), blocks)


def test_a_block_of_the_channel_grouping_has_the_same_channel_of_all_layers():
    values = split_blocks(random_adapter(TINY_RECIPE, seed=1), TINY_RECIPE.layout)
    adapter = random_adapter(TINY_RECIPE, seed=1)
    names = [name for name, _ in TINY_RECIPE.layout.tensors]
    first = np.concatenate([adapter[name][0].ravel() for name in names])
    assert np.array_equal(tiny("channel-16").from_zoo(values).ravel()[: len(first)], first)


def test_the_kind_grouping_ends_with_the_biases():
    values = split_blocks(random_adapter(TINY_RECIPE, seed=1), TINY_RECIPE.layout)
    adapter = random_adapter(TINY_RECIPE, seed=1)
    biases = np.concatenate([value for name, value in adapter.items() if name.endswith(".bias")])
    flat = tiny("kind-16").from_zoo(values).ravel()[: TINY_RECIPE.layout.n_values]
    assert np.array_equal(flat[-len(biases) :], biases)


@pytest.mark.parametrize("variant", ["flat-16", "channel-16", "random-16"])
def test_the_network_edits_alike_with_regrouped_values(variant):
    torch.manual_seed(0)
    base = TINY_RECIPE.build_base()
    for value in base.parameters():
        torch.nn.init.normal_(value, std=0.2)
    adapter = random_adapter(TINY_RECIPE, seed=2)
    blocks = split_blocks(adapter, TINY_RECIPE.layout)
    own = tiny(variant)
    images = torch.rand(2, 3, 16, 16)
    values = adapter_from_arrays(adapter, dict(TINY_RECIPE.layout.tensors))
    flat = torch.from_numpy(own.from_zoo(blocks).ravel()[: len(values)])
    regrouped = own.build_base(base.to_arrays())
    assert torch.equal(regrouped(images, flat), base(images, values))
    both = torch.stack([flat, 2 * flat])
    assert torch.equal(regrouped(images, both), base(images, torch.stack([values, 2 * values])))


def test_layers_of_the_bundled_zoo_fill_whole_blocks_so_that_flat_ones_are_the_same():
    recipe = Zoo.from_pretrained("starter").recipe
    sizes = ("layer-128", "layer-256", "layer-512", "flat-128", "flat-256", "flat-512", "channel-256")
    same = distinct(sizes, recipe)
    assert [same[f"flat-{size}"] for size in (128, 256, 512)] == ["layer-128", "layer-256", "layer-512"]
    assert same["channel-256"] == "channel-256"
    assert REFERENCE in VARIANTS


def with_teachers(rows):
    return [replace(row, teacher='[{"operator": "negative", "parameters": []}]') for row in rows]


@pytest.mark.parametrize("variant", ["layer-8", "flat-32", "channel-16"])
def test_each_variant_trains_by_both_stages_and_gives_blocks_of_the_zoo(variant, tmp_path, photo_folder):
    zoo = Zoo.from_pretrained(make_zoo(tmp_path / "zoo", change=with_teachers))
    data, size = regroup(TrainingData.from_zoo(zoo), variant)
    words = TokenVectors.tiny(VOCABULARY.split(), n_values=8)
    settings = GeneratorSettings(
        encoder="words", weights=Stage(0, 4, 1e-3), behaviour=Stage(0, 2, 1e-3), by_sensitivity=False,
        block_size=size, width=48, n_lanes=1, n_fillers=0,
    )  # fmt: skip
    plan = CropPlan(photos=photo_folder, n_varied=2, n_photos=2, crops_per_photo=2, crop_size=32)
    untrained = train_generator(data, words, settings, tmp_path / "run", n_workers=1, crop_plan=plan)
    own = recipe_of(variant, zoo.recipe)[0]
    blocks = zoo.all_blocks(split="train")[1]
    np.testing.assert_allclose(to_zoo(untrained.generate("watercolour"), own), blocks.mean(0), atol=1e-5)
    settings = replace(settings, weights=Stage(3, 4, 1e-3), behaviour=Stage(2, 2, 1e-3), by_sensitivity=True)
    trained = train_generator(data, words, settings, tmp_path / "run", n_workers=1, crop_plan=plan)
    zoo.network(to_zoo(trained.generate("watercolour"), own))
    assert trained.config.shape.block_size == size


def test_times_add_up_over_runs(tmp_path):
    for _ in range(2):
        clock = Clock(tmp_path / "times.json", "layer-8")
        sum(range(200_000))
        clock.add("weights")
        clock.save()
    [seconds] = json.loads((tmp_path / "times.json").read_text())["layer-8"].values()
    assert seconds > 0
    assert seconds == clock.own["weights"]


def test_the_table_says_how_far_a_variant_is_from_the_reference():
    scores = [{REFERENCE: 20.0, "channel-256": 21.0, "mean": 10.0, "trained": 30.0}] * 2
    asked = SimpleNamespace(split="heldout-new")
    measured = [
        (asked, Measured(0, {name: [Score(psnr, 0.9)] for name, psnr in one.items()})) for one in scores
    ]
    variants = {
        name: {"n_blocks": 27, "n_weights": 1000, "minutes": 2} for name in (REFERENCE, "channel-256")
    }
    splits = sections_of(measured, list(variants), EvaluationSettings())
    lines = list(table({"variants": variants, "splits": splits, "alike": {"flat-256": REFERENCE}}))
    assert lines[2] == f"| {REFERENCE} | 27 | 1,000 | 2.0 | 20.00 | 0.500 [0.500, 0.500] |  |"
    assert lines[3].endswith("| 21.00 | 0.550 [0.550, 0.550] | +1.00 [+1.00, +1.00] |")
    assert "flat-256 has the same blocks as layer-256" in lines[4]
