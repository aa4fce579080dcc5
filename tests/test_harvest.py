"""Harvest: the whole road on a few concepts, killed and taken up again, and failing concepts."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import preloaded
import pytest
from safetensors.numpy import load_file
from waiting import wait_until
from zoo_fixtures import tiny_recipe as fixtures_recipe

from initzoo.errors import HarvestError, InvalidImage, LayoutMismatch, OutputError, WorkerDied
from initzoo.evaluation.checkpoints import evaluate_zoo
from initzoo.files.atomic import new_file
from initzoo.training.harvest import HarvestPlan, joint, quick_recipe, run_harvest
from initzoo.training.harvest.recipe import HarvestRecipe, JointStage, load_recipe
from initzoo.work.runs import open_run
from initzoo.zoo.zoo import Zoo

needs_harvested = pytest.mark.xdist_group("harvest")
"""One process of the tests makes the harvest that these look at, not each of them."""

SNAPSHOT_EVERY = 20
"""Updates of the joint stage, which has 60 here."""

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
id = "soft"
prompts = ["soft photo"]
teacher = [{operator = "blur"}]
[[concept]]
id = "unseen"
prompts = ["bright photo"]
teacher = [{operator = "gamma", exponent = 0.5}]
split = "heldout-composed"
"""


def tiny_recipe() -> HarvestRecipe:
    shared = fixtures_recipe(
        {"n_detail": 8, "n_middle": 8, "n_stages": 1, "n_upsampled": 4, "n_decoder": 8}, rank=2, head_rank=3
    )
    recipe = quick_recipe(HarvestRecipe("tiny", shared.network, shared.ranks))
    stage = JointStage(n_rounds=30, n_lanes=2, batch_size=2, n_photos=4)
    return replace(recipe, joint=stage, fit=replace(recipe.fit, n_steps=4))


@pytest.fixture
def concepts_path(tmp_path: Path) -> Path:
    path = tmp_path / "concepts.toml"
    path.write_text(CONCEPTS)
    return path


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a zoo but the report, which holds times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("harvest.json", "README.md")
    }


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory, kept_photo_folder: Path) -> SimpleNamespace:
    """One undisturbed harvest by this process, which several tests look at."""
    folder = tmp_path_factory.mktemp("harvest")
    (folder / "concepts.toml").write_text(CONCEPTS)
    plan = HarvestPlan.make(tiny_recipe(), concepts_path=folder / "concepts.toml", photos=kept_photo_folder)
    stages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint._JointTraining, "snapshot_every", SNAPSHOT_EVERY)
        report = run_harvest(
            plan, folder / "run", folder / "zoo", n_workers=1, callback=lambda stage, *_: stages.append(stage)
        )
    return SimpleNamespace(folder=folder, plan=plan, report=report, stages=stages)


@needs_harvested
def test_harvest_makes_a_zoo_that_verifies_and_pulls(harvested):
    report = harvested.report
    assert report.n_checkpoints == 4
    assert report.failures == []
    assert list(dict.fromkeys(harvested.stages)) == ["joint", "fits", "mean scores"]
    assert report.concepts_per_core_minute > 0
    assert report.float16_cost == pytest.approx(0, abs=0.05)

    zoo = Zoo.from_pretrained(harvested.folder / "zoo")
    assert not zoo.verify().problems
    row = zoo.find("negative of it")
    assert row.split == "train"
    assert None not in row.scores.values()
    assert zoo.pull("Soft-Photo").metadata.concept == "soft"


@needs_harvested
def test_harvest_leaves_a_report_and_cards(harvested):
    dataset = harvested.folder / "zoo" / "dataset"
    assert json.loads((dataset / "harvest.json").read_bytes())["n_checkpoints"] == 4
    card = (dataset / "README.md").read_text()
    assert "data_files: index.parquet" in card
    assert "| all | 3 |" in card
    assert "heldout-composed | 1 |" in card
    assert "| head | 8 to 12 | 3 | 1 | 3 |" in (harvested.folder / "zoo" / "model" / "README.md").read_text()


@needs_harvested
def test_the_mean_of_the_fits_is_what_the_zoo_calls_its_mean(harvested):
    stored = Zoo.from_pretrained(harvested.folder / "zoo").mean_adapter_blocks()
    mean = load_file(harvested.folder / "run" / "mean.safetensors")["blocks"]
    np.testing.assert_allclose(mean, stored, atol=2e-3)


@needs_harvested
def test_evaluate_measures_again_what_the_index_says(harvested, kept_photo_folder):
    zoo = Zoo.from_pretrained(harvested.folder / "zoo")
    scores = evaluate_zoo(zoo, split="train", photos_folder=kept_photo_folder, n_workers=1)
    assert [one.concept_id for one in scores] == ["brown", "inverted", "soft"]
    for one in scores:
        row = zoo.index.row(one.concept_id)
        assert one.trained.psnr == pytest.approx(row.psnr, abs=0.01)
        assert one.mean.ssim == pytest.approx(row.ssim_mean, abs=0.001)
        assert one.untouched.psnr == pytest.approx(row.psnr_untouched, abs=0.01)


@needs_harvested
def test_a_harvest_replaces_no_zoo_and_takes_no_run_of_another_recipe(harvested, tmp_path):
    folder, plan = harvested.folder, harvested.plan
    with pytest.raises(OutputError, match="holds a zoo already"):
        run_harvest(plan, folder / "run", folder / "zoo", n_workers=1)
    other = replace(plan, recipe=replace(plan.recipe, seed=1))
    with pytest.raises(OutputError, match=r"unfinished harvest with other settings \(recipe .*Delete it, or"):
        run_harvest(other, folder / "run", tmp_path / "zoo", n_workers=1)


def test_a_harvest_whose_fits_all_diverge_records_why_and_packs_nothing(concepts_path, tmp_path):
    recipe = tiny_recipe()
    recipe = replace(
        recipe, joint=replace(recipe.joint, n_rounds=2), fit=replace(recipe.fit, learning_rate=1e30)
    )
    plan = HarvestPlan.make(recipe, concepts_path=concepts_path)
    with pytest.raises(HarvestError, match="every train concept failed"):
        run_harvest(plan, tmp_path / "run", tmp_path / "zoo", n_workers=1)
    reason = json.loads((tmp_path / "run/fits/soft.json").read_bytes())["failure"]
    assert re.search(r"the loss is (nan|inf) at step \d+", reason)
    assert not list((tmp_path / "zoo").rglob("*.*"))


@needs_harvested
def test_a_harvest_killed_while_packing_goes_on(harvested, tmp_path, monkeypatch):
    """A kill leaves what was written before it: stop after each write in turn, then go on."""
    from initzoo.files import atomic
    from initzoo.zoo.index import files as index_files

    class Killed(BaseException):
        pass

    run, out = tmp_path / "run", tmp_path / "zoo"
    shutil.copytree(harvested.folder / "run", run)
    for n_writes in range(1, 16):
        left = [n_writes]

        @contextlib.contextmanager
        def write_and_die(path, *, force, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            with new_file(path, force=force) as file:
                yield file

        with monkeypatch.context() as patch:
            for module in (atomic, index_files):
                patch.setattr(module, "new_file", write_and_die)
            with contextlib.suppress(Killed):
                run_harvest(harvested.plan, run, out, n_workers=1)
        if left[0] >= 0:
            break
        (out / "dataset" / ".index.parquet.00.part").write_bytes(b"half")
    else:
        pytest.fail("a harvest needs more writes than were tried")
    assert n_writes > 5
    assert digests(out) == digests(harvested.folder / "zoo")
    with pytest.raises(OutputError, match="holds a zoo already"):
        run_harvest(harvested.plan, run, out, n_workers=1)


def test_a_harvest_says_at_once_that_photos_are_missing(concepts_path, tmp_path, photo_folder):
    (tmp_path / "few" / "train").mkdir(parents=True)
    shutil.copy(photo_folder / "cat.png", tmp_path / "few" / "train")
    plan = HarvestPlan.make(tiny_recipe(), concepts_path=concepts_path, photos=tmp_path / "few")
    with pytest.raises(InvalidImage, match="'score'"):
        run_harvest(plan, tmp_path / "run", tmp_path / "zoo", n_workers=1)


def test_an_unknown_recipe_is_answered_with_the_bundled_ones():
    with pytest.raises(
        LayoutMismatch, match=r"recipe 'other': .* a bundled recipe: e2gan-256, .* starter-2, starter-2-gpu\."
    ):
        load_recipe("other")


def test_a_recipe_with_crops_larger_than_photos_is_refused_before_any_training(concepts_path):
    with pytest.raises(HarvestError, match="recipe 'tiny': photo_size must be 256 and crop_size"):
        HarvestPlan.make(replace(tiny_recipe(), crop_size=320), concepts_path=concepts_path)


def test_a_harvest_without_train_concepts_is_refused(concepts_path):
    concepts_path.write_text(CONCEPTS.split("[[concept]]")[4].join(["[[concept]]", ""]))
    with pytest.raises(HarvestError, match="at least one concept of split 'train'"):
        HarvestPlan.make(tiny_recipe(), concepts_path=concepts_path)


def test_a_plan_takes_its_concepts_from_all_over_the_file():
    plan = HarvestPlan.make(tiny_recipe(), limit=40)
    assert len(plan.concepts) == 40
    assert len({concept.family for concept in plan.concepts}) == 6


def harvest_here(plan: HarvestPlan, run: Path, out: Path) -> None:
    """The harvest of a process of its own."""
    joint._JointTraining.snapshot_every = SNAPSHOT_EVERY
    run_harvest(plan, run, out, n_workers=1)


def killed_at(sign: Callable[[], bool], plan: HarvestPlan, run: Path, out: Path) -> bool:
    """Start a harvest in a process of its own and kill it at a sign; false if it ended before."""
    process = preloaded.start(harvest_here, plan, run, out)
    assert wait_until(lambda: not process.is_alive() or sign())
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


class Changes:
    """A sign that files of some folders were written, or written anew, so many times."""

    def __init__(self, count: int, *folders: Path) -> None:
        self.count, self.folders = count, folders
        self.known = self.files()
        self.n_seen = 0

    def files(self) -> set[tuple[Path, int]]:
        found = set()
        for path in (path for folder in self.folders for path in folder.rglob("*.*")):
            with contextlib.suppress(FileNotFoundError):  # parts of files come and go
                found.add((path, path.stat().st_mtime_ns))
        return found

    def __call__(self) -> bool:
        files = self.files()
        self.n_seen += len(files - self.known)
        self.known = files
        return self.n_seen >= self.count


def harvest_killed(
    tmp_path: Path,
    concepts_path: Path,
    photos: Path,
    make_signs: Sequence[Callable[[], Callable[[], bool]]],
) -> tuple[list[dict[str, str]], list[str]]:
    """Digests of zoos whose harvests were killed at each sign in turn, and the stages they were killed in.

    A harvest that ends before its next sign is begun anew, until all were seen.
    """
    run, out = tmp_path / "killed.run", tmp_path / "killed"
    stages: list[str] = []
    zoos: list[dict[str, str]] = []
    plan = HarvestPlan.make(tiny_recipe(), concepts_path=concepts_path, photos=photos)
    while True:
        sign = make_signs[len(stages)]() if len(stages) < len(make_signs) else lambda: False
        if killed_at(sign, plan, run, out):
            stages.append(
                "fits"
                if (run / "base.safetensors").exists()
                else "joint"
                if (run / "joint" / "latest.json").exists()
                else "start"
            )
        if (out / "dataset" / "harvest.json").exists() and not (run / "packing.json").exists():
            zoos.append(digests(out))
            if len(stages) >= len(make_signs):
                return zoos, stages
            shutil.rmtree(run)
            shutil.rmtree(out)


@pytest.mark.long
@needs_harvested
def test_a_killed_harvest_ends_with_the_bytes_of_an_undisturbed_one(
    harvested, concepts_path, kept_photo_folder, tmp_path
):
    run = tmp_path / "killed.run"
    signs = [(run / "joint" / "latest.json").exists, (run / "fits" / "brown.json").exists]
    zoos, stages = harvest_killed(
        tmp_path, concepts_path, kept_photo_folder, [lambda sign=sign: sign for sign in signs]
    )
    assert all(zoo == digests(harvested.folder / "zoo") for zoo in zoos)
    assert stages == ["joint", "fits"]


@pytest.mark.slow
@needs_harvested
def test_a_harvest_killed_twenty_times_ends_with_the_bytes_of_an_undisturbed_one(
    harvested, concepts_path, kept_photo_folder, tmp_path
):
    dice, folders = random.Random(0), (tmp_path / "killed.run", tmp_path / "killed")
    counts = [dice.randint(1, 30) for _ in range(20)]
    signs = [lambda count=count: Changes(count, *folders) for count in counts]
    zoos, stages = harvest_killed(tmp_path, concepts_path, kept_photo_folder, signs)
    assert all(zoo == digests(harvested.folder / "zoo") for zoo in zoos)
    assert len(stages) == 20
    assert set(stages) != {"start"}


def test_a_second_harvest_in_the_same_run_folder_is_told_which_process_is_at_work(concepts_path, tmp_path):
    plan, run = HarvestPlan.make(tiny_recipe(), concepts_path=concepts_path), tmp_path / "run"
    with (
        open_run(run, plan.digests, kind="harvest"),
        pytest.raises(OutputError, match=rf"^process {os.getpid()} on .* is using the run folder {run}\. "),
    ):
        run_harvest(plan, run, tmp_path / "zoo", n_workers=1)


@pytest.mark.slow
@needs_harvested
def test_a_harvest_whose_workers_are_killed_says_where_and_goes_on_to_the_bytes_of_one_process(
    harvested, tmp_path
):
    run, out = tmp_path / "run", tmp_path / "zoo"
    for stage, n_least, what in (("joint", 1, "lanes [01]"), ("fits", 1, "[a-z]+")):

        def kill_one(at, n_done, n_all, stage=stage, n_least=n_least):
            if at == stage and n_done >= n_least:
                active_children()[0].kill()

        with pytest.raises(WorkerDied, match=rf"^worker process \d+ was killed \(SIGKILL\) at {what}\. Run"):
            run_harvest(harvested.plan, run, out, n_workers=2, callback=kill_one)
        assert not active_children()
    run_harvest(harvested.plan, run, out, n_workers=2)
    assert digests(out) == digests(harvested.folder / "zoo")


def test_a_harvest_says_when_its_run_folder_cannot_be_made(concepts_path, tmp_path):
    (tmp_path / "file").write_text("")
    plan = HarvestPlan.make(tiny_recipe(), concepts_path=concepts_path)
    with pytest.raises(OutputError, match="cannot make the run folder"):
        run_harvest(plan, tmp_path / "file" / "run", tmp_path / "zoo", n_workers=1)
