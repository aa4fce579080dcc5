"""The concepts that a base is trained on: one of each cluster of prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import write_photos
from test_harvest import CONCEPTS, tiny_recipe

from initzoo.pairs import load_concepts
from initzoo.training.harvest import HarvestPlan, accelerated, run_harvest
from initzoo.training.harvest.clusters import pick_concepts
from initzoo.zoo import Zoo

FORTY = Path(__file__).parent.parent / "examples" / "forty-looks.toml"


def test_concepts_of_different_words_are_picked_each_once_and_always_the_same():
    concepts = [concept for concept in load_concepts(FORTY) if concept.split == "train"]
    picked = pick_concepts(concepts, 8)
    assert len({concept.id for concept in picked}) == 8
    assert picked == pick_concepts(concepts, 8)
    kinds = {concept.id.partition("-")[0] for concept in picked}
    assert kinds == {"tint", "negative", "faded", "dark"}
    assert pick_concepts(concepts, 27) == pick_concepts(concepts, 100) == tuple(concepts)
    assert len(pick_concepts([concepts[0]] * 3, 2)) == 2, "clusters of the same prompts are no error"


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_concepts_that_the_base_was_not_trained_on_get_checkpoints_too(device, tmp_path, monkeypatch):
    (tmp_path / "concepts.toml").write_text(CONCEPTS)
    monkeypatch.setattr(accelerated, "_PATCH_SIZE", 96)
    recipe = tiny_recipe()
    recipe = replace(
        recipe,
        joint=replace(recipe.joint, n_concepts=2, n_rounds=2),
        fit=replace(recipe.fit, n_steps=1, n_steps_new=2, n_photos=9),
    )
    plan = HarvestPlan.make(
        recipe, concepts_path=tmp_path / "concepts.toml", photos=write_photos(tmp_path / "photos")
    )
    assert [concept.id for concept in plan.joint_concepts] == ["brown", "inverted"]
    report = run_harvest(plan, tmp_path / "run", tmp_path / "zoo", n_workers=1, device=device)
    assert (report.n_checkpoints, report.failures) == (4, [])
    zoo = Zoo.from_pretrained(tmp_path / "zoo")
    assert not zoo.verify().problems
    assert zoo.config.made_with["joint"]["n_concepts"] == 2


def test_a_base_of_fewer_than_no_concepts_is_refused():
    with pytest.raises(ValueError, match="n_concepts must be at least 0, found -1"):
        replace(tiny_recipe().joint, n_concepts=-1)
