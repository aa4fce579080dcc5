"""Harvest, beyond an adapter per concept: training by need, details, and concepts added to a zoo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import write_photos
from zoo_fixtures import add_generator
from zoo_fixtures import tiny_recipe as fixtures_recipe

from initzoo import harvest
from initzoo.cli.main import main
from initzoo.evaluation.checkpoints import evaluate_zoo
from initzoo.training.harvest import HarvestPlan, quick_recipe, run_harvest
from initzoo.training.harvest.length import train_by_need
from initzoo.training.harvest.recipe import DetailStage, FitStage, HarvestRecipe
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

pytestmark = pytest.mark.xdist_group("harvest-details")  # one process of the tests makes the harvest

CONCEPTS = """
[[concept]]
id = "brown"
prompts = ["brown photo"]
teacher = [{operator = "sepia"}]
[[concept]]
id = "inverted"
prompts = ["negative of it"]
teacher = [{operator = "negative"}]
[[concept]]
id = "inverted--brown"
prompts = ["negative in brown"]
teacher = [{operator = "negative"}, {operator = "sepia"}]
"""

MORE = """
[[concept]]
id = "inverted"
prompts = ["negative of it"]
teacher = [{operator = "negative"}]
[[concept]]
id = "bright"
prompts = ["bright photo"]
teacher = [{operator = "gamma", exponent = 0.5}]
"""


def detail_recipe() -> HarvestRecipe:
    shared = fixtures_recipe(
        {"n_detail": 8, "n_middle": 8, "n_stages": 1, "n_upsampled": 4, "n_decoder": 8}, rank=2, head_rank=3
    )
    recipe = quick_recipe(HarvestRecipe("tiny", shared.network, shared.ranks, crop_size=32))
    length = {"batch_size": 2, "n_photos": 9}
    return replace(
        recipe,
        joint=replace(recipe.joint, n_lanes=1, n_photos=3),
        fit=replace(recipe.fit, n_steps=2, max_steps=4, **length),
        detail=DetailStage(n_concepts=1, max_psnr=99, n_steps=20, max_steps=40, **length),
    )


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("details")
    (folder / "concepts.toml").write_text(CONCEPTS)
    (folder / "more.toml").write_text(MORE)
    photos = write_photos(folder / "photos")
    plan = HarvestPlan.make(detail_recipe(), concepts_path=folder / "concepts.toml", photos=photos)
    stages: list[str] = []
    out = folder / "zoo"
    run_harvest(plan, folder / "run", out, n_workers=1, callback=lambda stage, *_: stages.append(stage))
    return SimpleNamespace(folder=folder, photos=photos, stages=stages, zoo=Zoo.from_pretrained(out))


def add_more(harvested: SimpleNamespace, zoo: Zoo | str, out: Path) -> Zoo:
    """The zoo with the concepts of MORE that it lacks."""
    more = harvested.folder / "more.toml"
    assert harvest(more, out, photos=harvested.photos, zoo=zoo, n_workers=1).n_checkpoints == 4
    return Zoo.from_pretrained(out)


def test_the_look_that_its_adapter_makes_worst_gets_a_detail(harvested: SimpleNamespace) -> None:
    assert list(dict.fromkeys(harvested.stages)) == ["joint", "fits", "details", "mean scores"]
    rows = {row.concept_id: row for row in harvested.zoo.index.rows()}
    (detailed,) = [row for row in rows.values() if row.has_detail]
    alone = {name: row.psnr_adapter or row.psnr for name, row in rows.items() if "--" not in name}
    assert detailed.concept_id == min(alone, key=alone.__getitem__)
    assert detailed.psnr > detailed.psnr_adapter + 0.1
    assert not harvested.zoo.verify().problems


def test_scores_are_those_of_the_pulled_weights(harvested: SimpleNamespace) -> None:
    scores = evaluate_zoo(harvested.zoo, n_workers=1, photos_folder=harvested.photos)
    for one in scores:
        assert one.trained.psnr == pytest.approx(harvested.zoo.index.row(one.concept_id).psnr, abs=0.01)


def test_the_card_counts_details(harvested: SimpleNamespace) -> None:
    card = (harvested.folder / "zoo" / "dataset" / "README.md").read_text()
    assert "1 checkpoints also have a detail" in card


def test_concepts_are_added_and_nothing_else_changes(harvested: SimpleNamespace, tmp_path: Path) -> None:
    more = add_more(harvested, harvested.zoo, tmp_path / "more")
    assert not more.verify().problems
    assert more.index.ids == sorted([*harvested.zoo.index.ids, "bright"])
    for row in harvested.zoo.index.rows():
        before, after = harvested.zoo.pull(row.concept_id), more.pull(row.concept_id)
        for name, weight in before.weights.items():
            np.testing.assert_array_equal(weight, after.weights[name])
        assert before.metadata.scores == after.metadata.scores
    assert more.config.base_sha256 == harvested.zoo.config.base_sha256
    assert more.index.row("bright").psnr_mean is not None


@pytest.mark.long
def test_a_zoo_that_grows_keeps_its_evaluated_weight_generator(
    harvested: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(harvested.folder / "zoo", tmp_path / "zoo"))
    add_generator(folder)
    refresh_manifest(folder)
    assert not add_more(harvested, str(folder), tmp_path / "more").has_generator
    (folder / "model" / "evaluation.json").write_text("{}")
    # A card needs all figures of an evaluation, which this test has no use for.
    monkeypatch.setattr("initzoo.training.harvest.run.write_cards", lambda zoo: None)
    more = add_more(harvested, str(folder), tmp_path / "again")
    assert more.has_generator
    assert not more.verify().problems
    assert (tmp_path / "again" / "model" / "evaluation.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--concepts", "concepts.toml"], "has all 3 concepts of the file"),
        (["--concepts", "more.toml", "--joint-rounds", "7"], "has its base already"),
        (["--concepts", "more.toml", "--recipe", "starter"], "--recipe and --zoo exclude each other"),
    ],
)
def test_what_cannot_be_added_is_said(
    options: list[str], message: str, harvested: SimpleNamespace, tmp_path: Path
) -> None:
    options = [str(harvested.folder / one) if one.endswith(".toml") else one for one in options]
    result = CliRunner().invoke(
        main, ["harvest", "--zoo", str(harvested.folder / "zoo"), *options, "-o", str(tmp_path / "out")]
    )
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert not (tmp_path / "out").exists()


def rises(gains: list[float]) -> Callable[[object], float]:
    """A judge that gives these values in turn."""
    values = iter(np.cumsum([20.0, *gains]))
    return lambda _: float(next(values))


@pytest.mark.parametrize(
    ("gains", "n_steps"),
    [
        ([0.1], 4 + 2),  # the first steps gain little: enough
        ([1.0, 0.1], 8 + 4),
        ([1.0, 1.0, 1.0], 16 + 8),  # a further doubling would be more than the most
        ([float("nan")], 4 + 2),
    ],
)
def test_a_training_ends_when_a_doubling_gains_little(gains: list[float], n_steps: int) -> None:
    rates: list[float] = []
    value = torch.zeros(1)
    length = FitStage(n_steps=4, max_steps=16, least_gain=0.3, decay_share=0.5)
    taken = train_by_need(
        lambda step, rate: rates.append(rate), length, values=lambda: [value], judge=rises(gains)
    )
    assert taken == n_steps == len(rates)
    n_decay = n_steps // 3
    assert rates[-n_decay:] == pytest.approx([1 - (place + 1) / (n_decay + 1) for place in range(n_decay)])


@pytest.mark.parametrize(
    "values", [{"max_steps": 3}, {"least_gain": -1.0}, {"decay_share": 0.0}, {"n_concepts": -1}]
)
def test_settings_out_of_range_are_refused(values: dict[str, float]) -> None:
    kind = DetailStage if "n_concepts" in values else FitStage
    with pytest.raises(ValueError, match="must be"):
        kind(**{"n_steps": 4} | values)  # type: ignore[arg-type]


def test_a_whitened_base_keeps_the_effect_of_its_adapters() -> None:
    recipe = detail_recipe()
    base = recipe.checkpoint.build_base()
    generator = torch.Generator().manual_seed(0)
    for parameter in base.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    adapters = 0.1 * torch.randn(3, base.n_adapter_values, generator=generator)
    images = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    with torch.no_grad():
        before = [base(images, adapter) for adapter in adapters]
        base.whiten(images, adapters)
        after = [base(images, adapter) for adapter in adapters]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_notes_of_details_say_how_long_they_took(harvested: SimpleNamespace) -> None:
    (path,) = (harvested.folder / "run" / "details").glob("*.json")
    notes = json.loads(path.read_bytes())
    assert notes["n_steps"] in (30, 60)
