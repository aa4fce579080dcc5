"""Training many concepts at once: it computes what training one by one does, and a harvest can use it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_photos
from test_harvest_details import CONCEPTS, detail_recipe
from zoo_fixtures import tiny_recipe

from initzoo.errors import HarvestError
from initzoo.networks import Adapted, layer_moments
from initzoo.pairs import load_concepts, load_named_looks
from initzoo.training.harvest import HarvestPlan, accelerated, run_harvest
from initzoo.training.harvest.recipe import DetailStage, FitStage, JointStage
from initzoo.training.harvest.together import (
    Crops,
    Material,
    kept_psnr,
    stack_adapters,
    train_adapters,
    train_base,
    train_details,
    using_stacked,
)
from initzoo.zoo import Zoo

CPU = torch.device("cpu")


def tiny_base() -> Adapted:
    shared = tiny_recipe(
        {"n_detail": 8, "n_middle": 8, "n_stages": 1, "n_upsampled": 4, "n_decoder": 8}, rank=2, head_rank=3
    )
    return Adapted(shared.network.build(), shared.ranks, generator=torch.Generator().manual_seed(1))


def random_adapters(base: Adapted, n: int) -> torch.Tensor:
    return 0.1 * torch.randn(n, base.n_adapter_values, generator=torch.Generator().manual_seed(2))


def tinted_material() -> Material:
    """Two concepts: to red and to blue."""
    material = Material(2, 8, 32, n_kept=2, device=CPU)
    rng = np.random.default_rng(0)
    for concept, channel in enumerate((0, 2)):
        pairs = rng.integers(40, 200, (8, 2, 32, 32, 3)).astype(np.uint8)
        pairs[:, 1] = pairs[:, 0] // 2
        pairs[:, 1, ..., channel] = 220
        material.put(concept, pairs)
    return material


def crops() -> Crops:
    return Crops(16, 4, torch.Generator().manual_seed(0))


def test_stacked_networks_edit_as_each_adapter_alone_does():
    base, images = tiny_base(), torch.rand(6, 3, 32, 40, generator=torch.Generator().manual_seed(3)) * 2 - 1
    adapters = random_adapters(base, 3)
    with torch.no_grad(), using_stacked(base.network, stack_adapters(base, adapters)):
        together = base.network(images)
    with torch.no_grad():
        alone = torch.cat([base(images[2 * place : 2 * place + 2], adapters[place]) for place in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_networks_are_themselves_again_afterwards():
    base, images = tiny_base(), torch.zeros(1, 3, 16, 16)
    before = base.network(images)
    with (
        pytest.raises(ZeroDivisionError),
        using_stacked(base.network, stack_adapters(base, random_adapters(base, 1))),
    ):
        raise ZeroDivisionError
    torch.testing.assert_close(base.network(images), before)


def test_crops_are_of_the_same_place_of_one_pair_and_begin_on_the_grid():
    material = Material(1, 3, 32, n_kept=1, device=CPU)
    rows, columns = np.mgrid[:32, :32]
    pairs = np.stack([np.stack([rows, columns, np.full_like(rows, 10 * number)], -1) for number in range(3)])
    pairs = np.stack([pairs, pairs + 100], axis=1).astype(np.uint8)
    material.put(0, pairs)
    inputs, targets = material.cut(torch.tensor([0]), 50, crops())
    pixels = ((inputs + 1) * 127.5).round().int()
    assert set(pixels[:, 0, 0, 0].tolist()) == set(pixels[:, 1, 0, 0].tolist()) == {0, 4, 8, 12, 16}
    assert set(pixels[:, 2].unique().tolist()) == {0, 10}  # the last pair is kept aside
    torch.testing.assert_close(targets - inputs, torch.full_like(inputs, 100 / 127.5))


def test_base_adapters_and_details_learn():
    base, material, both = tiny_base(), tinted_material(), torch.tensor([0, 1])
    adapters = torch.zeros(2, base.n_adapter_values)

    def reached(weights: dict[str, torch.Tensor]) -> float:
        return float(kept_psnr(base.network, weights, material, both).mean())

    untrained = reached(stack_adapters(base, adapters))
    losses: list[float] = []
    stage = JointStage(n_rounds=60, n_lanes=2, batch_size=2)
    train_base(
        base, adapters, material, both, stage, crops(), max_gradient=1.0,
        rate_at=lambda update, n: 1 - update / n, callback=lambda done, n, loss: losses.append(loss),
    )  # fmt: skip
    joint = reached(stack_adapters(base, adapters))
    base.requires_grad_(False)
    fit = FitStage(n_steps=40, batch_size=2)
    fitted = train_adapters(base, adapters, material, both, fit, crops(), max_gradient=1.0)
    alone = reached(stack_adapters(base, fitted))
    stage_of_details = DetailStage(n_steps=60, max_steps=0, batch_size=2)
    details = train_details(base, fitted, material, both, stage_of_details, crops(), max_gradient=1.0)
    assert untrained + 3 < joint < alone < reached(details)
    assert losses


def test_a_training_that_collapses_ends_no_worse_than_it_began():
    base, material, both = tiny_base(), tinted_material(), torch.tensor([0, 1])
    adapters = random_adapters(base, 2)
    before = kept_psnr(base.network, stack_adapters(base, adapters), material, both)
    wild = DetailStage(n_steps=20, max_steps=0, batch_size=1, learning_rate=1e6, adapter_learning_rate=1e6)
    trained = train_details(base, adapters, material, both, wild, crops(), max_gradient=1.0)
    assert (kept_psnr(base.network, trained, material, both) >= before - 1e-3).all()


def test_a_harvest_can_train_on_an_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "concepts.toml").write_text(CONCEPTS)
    monkeypatch.setattr(accelerated, "_PATCH_SIZE", 64)
    monkeypatch.setattr(accelerated, "_CONCEPTS_AT_ONCE", 2)
    plan = HarvestPlan.make(
        detail_recipe(), concepts_path=tmp_path / "concepts.toml", photos=write_photos(tmp_path / "photos")
    )
    stages: list[str] = []
    report = run_harvest(
        plan,
        tmp_path / "run",
        tmp_path / "zoo",
        n_workers=1,
        device=CPU,
        callback=lambda stage, *_: stages.append(stage),
    )
    assert list(dict.fromkeys(stages)) == [
        "pairs",
        "joint",
        "adapters",
        "weights",
        "fits",
        "details",
        "mean scores",
    ]
    assert (report.n_checkpoints, report.failures) == (3, [])
    zoo = Zoo.from_pretrained(tmp_path / "zoo")
    assert not zoo.verify().problems
    assert all(None not in row.scores.values() for row in zoo.index.rows())


@pytest.mark.long
def test_a_harvest_killed_before_its_details_goes_on_with_them_on_the_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "concepts.toml").write_text(CONCEPTS)
    monkeypatch.setattr(accelerated, "_PATCH_SIZE", 64)
    plan = HarvestPlan.make(
        detail_recipe(), concepts_path=tmp_path / "concepts.toml", photos=write_photos(tmp_path / "photos")
    )

    def harvest() -> None:
        run_harvest(plan, tmp_path / "run", tmp_path / "zoo", n_workers=1, device=CPU)

    with monkeypatch.context() as patch:
        patch.setattr(accelerated, "train_details", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            harvest()
    fits = {path.name: path.read_bytes() for path in (tmp_path / "run" / "fits").glob("*.safetensors")}
    assert len(fits) == 3
    calls: list[int] = []
    train = accelerated.train_details
    monkeypatch.setattr(
        accelerated, "train_details", lambda *given, **named: (calls.append(1), train(*given, **named))[1]
    )
    monkeypatch.setattr(accelerated, "train_adapters", lambda *_, **__: 1 / 0)  # they are there
    harvest()
    assert calls == [1]
    assert {name: (tmp_path / "run" / "fits" / name).read_bytes() for name in fits} == fits


def test_the_looks_that_people_name_are_concepts_of_the_catalog():
    named = load_named_looks()
    assert len(named) == len(set(named)) == 242
    assert set(named) <= {concept.id for concept in load_concepts()}


def test_pairs_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "concepts.toml").write_text(CONCEPTS)
    monkeypatch.setattr(accelerated, "pairs_that_fit", lambda *_: 1)
    plan = HarvestPlan.make(
        detail_recipe(), concepts_path=tmp_path / "concepts.toml", photos=write_photos(tmp_path / "photos")
    )
    with pytest.raises(HarvestError, match="3 concepts do not fit into the memory of cpu. Harvest fewer"):
        run_harvest(plan, tmp_path / "run", tmp_path / "zoo", n_workers=1, device=CPU)


def test_moments_are_those_of_what_weights_meet():
    layer = torch.nn.Conv2d(2, 1, 3, stride=2, padding=1)
    images = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    moments = layer_moments(torch.nn.Sequential(layer), images)["0"]
    outputs = layer(images).detach().double()
    row = torch.cat([layer.weight.detach().flatten(), layer.bias.detach()]).double().numpy()
    assert row @ moments @ row == pytest.approx(float(outputs.square().mean()), rel=1e-5)
    assert row @ moments[:, -1] == pytest.approx(float(outputs.mean()), rel=1e-5)
