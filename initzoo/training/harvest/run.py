"""Harvest a zoo: train base and adapters of many concepts, and pack them.

The stages follow each other: joint stage, fits, details, scores of the mean adapter, packing. Each leaves its
work in the run folder, so that a harvest may be killed at any moment and go on later; it then ends with
the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from initzoo.errors import HarvestError, TrainingError
from initzoo.files import write_bytes
from initzoo.training.harvest.accelerated import run_accelerated
from initzoo.training.harvest.details import run_details
from initzoo.training.harvest.fits import run_fits, run_mean_scores
from initzoo.training.harvest.joint import has_base, run_joint_stage, take_base
from initzoo.training.harvest.pack import check_free, check_plan, pack_zoo
from initzoo.training.harvest.recipe import QUICK_HARVEST, HarvestRecipe
from initzoo.training.harvest.settings import HarvestPlan, RunFolder
from initzoo.training.harvest.teaching import make_model_pairs
from initzoo.work import Backend, Pool, Ranks, StageClock, describe_machine, open_run
from initzoo.zoo import IndexRow, Zoo, write_cards

__all__ = ["HarvestReport", "help_harvest", "quick_recipe", "run_harvest"]


@dataclass(frozen=True)
class HarvestReport:
    """What came of a harvest.

    Args:
        n_checkpoints: concepts with a checkpoint.
        failures: concept and reason of those without.
        seconds: wall time by stage, interruptions not counted.
        n_workers: processes of the last run.
        concepts_per_core_minute: checkpoints made in a minute by a core, all stages counted.
        float16_cost: mean PSNR that storing as float16 costs, dB, over every eighth concept;
            None if none of these was made.
        machine: processor and versions.
    """

    n_checkpoints: int
    failures: list[tuple[str, str]]
    seconds: dict[str, float]
    n_workers: int
    concepts_per_core_minute: float
    float16_cost: float | None
    machine: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, seconds and rates rounded."""
        return {
            "n_checkpoints": self.n_checkpoints,
            "failures": [list(failure) for failure in self.failures],
            "seconds": {stage: round(seconds, 1) for stage, seconds in self.seconds.items()},
            "n_workers": self.n_workers,
            "concepts_per_core_minute": round(self.concepts_per_core_minute, 2),
            "float16_cost": None if self.float16_cost is None else round(self.float16_cost, 5),
            "machine": self.machine,
        }


Progress = Callable[[str, int, int], None]


def quick_recipe(recipe: HarvestRecipe) -> HarvestRecipe:
    """The same recipe with hardly any training: to see that a harvest works, in a minute."""
    return replace(
        recipe,
        joint=replace(recipe.joint, **QUICK_HARVEST["joint"]),
        fit=replace(recipe.fit, **QUICK_HARVEST["fit"]),
        detail=replace(recipe.detail, **QUICK_HARVEST["detail"]),
    )


def run_harvest(
    plan: HarvestPlan,
    run_folder: Path,
    out: Path,
    *,
    n_workers: int | None = None,
    backend: Backend = "processes",
    address: str | None = None,
    device: torch.device | None = None,
    force: bool = False,
    ranks: Ranks | None = None,
    callback: Progress | None = None,
) -> HarvestReport:
    """Train a zoo and write it to a folder, or go on with a harvest that was interrupted.

    Args:
        plan: recipe, concepts and photos.
        run_folder: where unfinished work is kept; the same one is given to go on.
        out: the zoo's folder: gets `dataset/` and `model/`.
        n_workers: processes, one a core; None for as many as there are cores, here or in the cluster. It
            changes no byte.
        backend: where the workers of fits and scores run: in processes of this machine, or on a ray cluster.
            Those of the joint stage share memory, and so a machine.
        address: address of the cluster; by default that of RAY_ADDRESS, or one that is started here.
        device: an accelerator to train on, where hours become minutes; then two runs do not give the same
            bytes. None for the cores.
        force: replace a zoo that is in `out` already.
        ranks: the processes of a launch, which share the joint stage and must see the run folder. The first
            one calls this function, the others call `help_harvest`. This process alone by default.
        callback: called with stage, things done and things in all.

    Returns:
        What came of it; also written to `dataset/harvest.json`, and into the cards.

    Raises:
        HarvestError: every concept failed, or the recipe or a text of a concept is beyond what a zoo takes.
        TrainingError: several processes were launched, and cannot share the joint stage.
        WorkerDied: a worker, or another process of a launch, died.
        ClusterUnavailable: the Ray cluster does not answer, or has other versions.
        OutputError: `out` holds a zoo already, or cannot be written; or another process is at work in the run
            folder, or it holds another harvest.
    """
    if device is not None and plan.recipe.fit.gan is not None:
        raise HarvestError(
            f"recipe '{plan.recipe.name}' has a discriminator in its fits, which an accelerator does not "
            "train. Leave out --device, or the recipe's fit.gan"
        )
    pool, ranks = Pool.make(n_workers, backend, address), ranks or Ranks()
    run, out = RunFolder(Path(run_folder)), Path(out)
    _check_shares(plan, device, ranks)
    check_plan(plan, out)
    check_free(out, force=force or run.has_begun_packing(out))
    for split in ("train", "score"):  # missing photos are to show now, not after the joint stage
        plan.load_photos(split)
    with open_run(run.path, plan.digests, kind="harvest"):
        run.make_folders()
        ranks.wait()
        return _harvest(plan, run, out, pool, device, ranks, callback)


def help_harvest(
    plan: HarvestPlan, run_folder: Path, ranks: Ranks, *, device: torch.device | None = None
) -> None:
    """Compute this process's share of the joint stage of a harvest, which the first process of a launch runs.

    Raises:
        TrainingError: the processes cannot share the joint stage.
        WorkerDied: another process died.
    """
    _check_shares(plan, device, ranks)
    ranks.wait()
    run = RunFolder(Path(run_folder))
    run_joint_stage(plan, run, n_workers=1, callback=lambda n_done, n_all: None, ranks=ranks)


def _check_shares(plan: HarvestPlan, device: torch.device | None, ranks: Ranks) -> None:
    """Check that processes can share the joint stage.

    Raises:
        TrainingError: they cannot.
    """
    if ranks.is_alone:
        return
    if device is not None:
        raise TrainingError(
            "a harvest with an accelerator is the work of one process. Leave out --device, or start a single "
            "process"
        )
    ranks.share_of(plan.recipe.joint.n_lanes, "the concepts of an update", "--joint-lanes")


def _harvest(
    plan: HarvestPlan,
    run: RunFolder,
    out: Path,
    pool: Pool,
    device: torch.device | None,
    ranks: Ranks,
    callback: Progress | None,
) -> HarvestReport:
    """All stages of a harvest, or what is left of them."""
    clock = StageClock(run.path, pool.n_workers)

    def counting(stage: str) -> Callable[[int, int], None]:
        def on_progress(n_done: int, n_all: int) -> None:
            clock.add(stage)
            if callback is not None:
                callback(stage, n_done, n_all)

        return on_progress

    if plan.zoo is not None and not has_base(plan, run):
        take_base(plan.zoo, run)
    make_model_pairs(plan, run, counting("pairs of models"))
    if device is not None:
        run_accelerated(plan, run, device, pool=pool, callback=lambda stage, *done: counting(stage)(*done))
    joint_failures = run_joint_stage(
        plan, run, n_workers=pool.n_workers, callback=counting("joint"), ranks=ranks
    )
    failures = run_fits(plan, run, pool=pool, callback=counting("fits"))
    if plan.recipe.detail.n_concepts:
        run_details(plan, run, pool=pool, callback=counting("details"))
    run_mean_scores(plan, run, pool=pool, callback=counting("mean scores"))
    write_bytes(run.packing, json.dumps(str(out.resolve())).encode(), force=True)
    rows = pack_zoo(plan, run, out)
    clock.add("packing", save=True)
    report = _report(run, rows, dict(joint_failures) | dict(failures), clock, pool.n_workers)
    data = json.dumps(report.to_dict(), indent=1).encode() + b"\n"
    write_bytes(out / "dataset" / "harvest.json", data, force=True)
    write_cards(Zoo.from_pretrained(out.absolute()))
    run.packing.unlink()
    return report


def _report(
    run: RunFolder,
    rows: list[IndexRow],
    failures: dict[str, str],
    clock: StageClock,
    n_workers: int,
) -> HarvestReport:
    costs = []
    for row in rows:
        path = run.fits / f"{row.concept_id}.json"
        notes = json.loads(path.read_bytes()) if path.exists() else {}  # kept from another zoo
        if "trained_float32" in notes:
            costs.append(notes["trained_float32"]["psnr"] - notes["trained"]["psnr"])
    made = {row.concept_id for row in rows}
    return HarvestReport(
        n_checkpoints=len(rows),
        failures=[(name, failures[name]) for name in sorted(failures) if name not in made],
        seconds=dict(clock.seconds),
        n_workers=n_workers,
        concepts_per_core_minute=60 * len(rows) / max(clock.core_seconds, 1e-9),
        float16_cost=float(np.mean(costs)) if costs else None,
        machine=describe_machine(),
    )
