"""The joint stage: base, shared A and one small adapter a concept, trained together by several processes.

Concepts are dealt out to lanes. In an update every lane takes a batch of one of its concepts, and the
base moves along the mean of the lanes' gradients. A process works on one lane or more; which one does
so changes nothing, because gradients are added in the order of the lanes. So the result does not depend
on the number of processes, nor on where the stage was stopped and taken up again.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import BrokenBarrierError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from initzoo.errors import HarvestError, InitzooError
from initzoo.files.atomic import write_bytes
from initzoo.networks.adapters import Adapted
from initzoo.pairs.concepts import Concept
from initzoo.pairs.photos import varied_photos
from initzoo.pairs.taught import teach
from initzoo.training.harvest.recipe import HarvestRecipe
from initzoo.training.harvest.settings import HarvestPlan, RunFolder
from initzoo.training.harvest.updates import (
    AdamState,
    TrainingDiverged,
    adam_update,
    draw_crops,
    lane_gradient,
    rate_at,
)
from initzoo.work.pool import WORKER_CONTEXT, use_one_core

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

__all__ = ["run_joint_stage"]

_SNAPSHOT_EVERY = 100
"""Updates between two snapshots: about ten seconds."""

_FAILURES = "joint-failures.json"

_PHOTOS_A_BATCH = 2
"""Photos that the crops of a batch come from: each must be taught whole, which takes time."""


def run_joint_stage(
    plan: HarvestPlan, run: RunFolder, *, n_workers: int, callback: Callable[[int, int], None]
) -> list[tuple[str, str]]:
    """Train base and shared A, or go on where the last run stopped, and write them to the run folder.

    The mean of the adapters is merged into the base, so that a zero adapter is the mean one, and A is
    whitened. Does nothing when the base is there already.

    Args:
        plan: what is harvested; only concepts of split `train` take part.
        run: where snapshots and the base go.
        n_workers: processes, each on one core; more than the recipe's lanes are not used.
        callback: called in this process with updates done and updates in all, every second or so.

    Returns:
        Concepts that were left out, with the reason.

    Raises:
        HarvestError: a worker died.
    """
    if not run.base.exists():
        recipe = plan.recipe
        n_workers = min(n_workers, recipe.joint.n_lanes)
        shared = _Shared.make(recipe, n_workers)
        shared.done.fill_(_last_snapshot(run))
        workers = [
            WORKER_CONTEXT.Process(target=_work, args=(plan, run, shared, rank, n_workers), daemon=True)
            for rank in range(n_workers)
        ]
        for worker in workers:
            worker.start()
        n_updates = _count_updates(plan)
        try:
            while any(worker.is_alive() for worker in workers):
                workers[0].join(timeout=1.0)
                callback(int(shared.done.item()), n_updates)
                if any(worker.exitcode not in (None, 0) for worker in workers):
                    raise HarvestError(
                        "a worker of the joint stage died. Run the same command again to go on."
                    )
        finally:
            for worker in workers:
                worker.kill()
        if any(worker.exitcode != 0 for worker in workers):
            raise HarvestError("a worker of the joint stage died. Run the same command again to go on.")
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums are added in another order by several threads
        try:
            _finish(plan, run)
        finally:
            torch.set_num_threads(n_threads)
        shutil.rmtree(run.joint, ignore_errors=True)
    failures = json.loads((run.path / _FAILURES).read_bytes())
    return [(concept_id, reason) for concept_id, reason in failures]


@dataclass
class _Shared:
    """What the processes share: tensors in shared memory, and a barrier."""

    gradients: Tensor
    """Of the base, a row a lane."""
    active: Tensor
    """Whether a lane took part in this update."""
    done: Tensor
    """Updates done."""
    barrier: Barrier

    @classmethod
    def make(cls, recipe: HarvestRecipe, n_workers: int) -> _Shared:
        n_base = recipe.checkpoint.build_base().values.numel()
        return cls(
            gradients=torch.zeros(recipe.joint.n_lanes, n_base).share_memory_(),
            active=torch.zeros(recipe.joint.n_lanes).share_memory_(),
            done=torch.zeros(1, dtype=torch.int64).share_memory_(),
            barrier=WORKER_CONTEXT.Barrier(n_workers, timeout=600),
        )


@dataclass
class _Lane:
    """The concepts of one lane with their adapters."""

    number: int
    concepts: list[Concept]
    adapters: Tensor
    state: AdamState
    n_updates: list[int]
    failures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, plan: HarvestPlan, number: int, n_values: int) -> _Lane:
        concepts = list(plan.train_concepts[number :: plan.recipe.joint.n_lanes])
        adapters = torch.zeros(len(concepts), n_values)
        return cls(number, concepts, adapters, AdamState.zeros_like(adapters), [0] * len(concepts))

    def concept_at(self, plan: HarvestPlan, update: int) -> int | None:
        """Which concept is due, or None in an update for which the lane has none left or it failed."""
        turn, place = divmod(update, _round_length(plan))
        if place >= len(self.concepts):
            return None
        order = np.random.default_rng([plan.recipe.seed, 1, turn, self.number]).permutation(
            len(self.concepts)
        )
        due = int(order[place])
        return None if self.concepts[due].id in self.failures else due

    def to_tensors(self) -> dict[str, Tensor]:
        return {"adapters": self.adapters, "mean": self.state.mean, "square": self.state.square}


def _round_length(plan: HarvestPlan) -> int:
    return math.ceil(len(plan.train_concepts) / plan.recipe.joint.n_lanes)


def _count_updates(plan: HarvestPlan) -> int:
    return plan.recipe.joint.n_rounds * _round_length(plan)


def _work(plan: HarvestPlan, run: RunFolder, shared: _Shared, rank: int, n_workers: int) -> None:
    """What one process does: its lanes' share of every update, from the last snapshot to the end."""
    use_one_core()
    recipe, stage = plan.recipe, plan.recipe.joint
    base = Adapted(recipe.network.build(), recipe.ranks, generator=torch.Generator().manual_seed(recipe.seed))
    state = AdamState.zeros_like(base.values)
    lanes = [
        _Lane.make(plan, number, base.n_adapter_values) for number in range(rank, stage.n_lanes, n_workers)
    ]
    first = _load_snapshot(run, base, state, lanes)
    photos = varied_photos(plan.load_photos("train"), stage.n_photos, seed=recipe.seed + 1)
    n_updates = _count_updates(plan)
    try:
        for update in range(first, n_updates):
            rate = rate_at(update / n_updates, stage)
            for lane in lanes:
                _lane_update(plan, base, lane, photos, update, rate, shared)
            shared.barrier.wait()
            gradient = shared.gradients.sum(0) / max(1.0, shared.active.sum().item())
            adam_update(
                base.values,
                gradient,
                state,
                n_updates=update + 1,
                learning_rate=stage.learning_rate * rate,
                betas=stage.betas,
            )
            shared.barrier.wait()  # nobody overwrites gradients that another still reads
            if rank == 0:
                shared.done.fill_(update + 1)
            if (update + 1) % _SNAPSHOT_EVERY == 0 or update + 1 == n_updates:
                _save_snapshot(run, update + 1, base, state, lanes, rank, shared)
    except BrokenBarrierError as error:
        raise SystemExit(1) from error


def _lane_update(
    plan: HarvestPlan,
    base: Adapted,
    lane: _Lane,
    photos: list[np.ndarray],
    update: int,
    rate: float,
    shared: _Shared,
) -> None:
    """Train one lane's due adapter, and leave the base's gradient where all can read it."""
    recipe, stage = plan.recipe, plan.recipe.joint
    shared.active[lane.number] = 0.0
    shared.gradients[lane.number].zero_()
    due = lane.concept_at(plan, update)
    if due is None:
        return
    concept = lane.concepts[due]
    rng = np.random.default_rng([recipe.seed, 2, update, lane.number])
    try:
        draws = [(int(rng.integers(len(photos))), int(rng.integers(2**31))) for _ in range(_PHOTOS_A_BATCH)]
        shown, seeds = [photos[number] for number, _ in draws], [seed for _, seed in draws]
        pairs = list(teach(concept.teacher, shown, seeds))
        inputs, targets = draw_crops(pairs, n_crops=stage.batch_size, crop_size=recipe.crop_size, rng=rng)
        gradient, adapter_gradient, _ = lane_gradient(
            base, lane.adapters[due], inputs, targets, max_gradient=recipe.max_gradient
        )
    except (InitzooError, TrainingDiverged) as error:
        lane.failures[concept.id] = f"joint stage, update {update}: {error}"
        return
    shared.gradients[lane.number] = gradient
    shared.active[lane.number] = 1.0
    lane.n_updates[due] += 1
    adam_update(
        lane.adapters[due],
        adapter_gradient,
        AdamState(lane.state.mean[due], lane.state.square[due]),
        n_updates=lane.n_updates[due],
        learning_rate=stage.adapter_learning_rate * rate,
        betas=stage.adapter_betas,
    )


def _save_snapshot(
    run: RunFolder,
    update: int,
    base: Adapted,
    state: AdamState,
    lanes: list[_Lane],
    rank: int,
    shared: _Shared,
) -> None:
    """Write this process's part; the snapshot counts once all parts are there and `latest.json` names it."""
    folder = run.joint / f"{update:07d}"
    folder.mkdir(exist_ok=True)
    for lane in lanes:
        notes = {"n_updates": json.dumps(lane.n_updates), "failures": json.dumps(lane.failures)}
        path = folder / f"lane-{lane.number}.safetensors"
        write_bytes(path, save(lane.to_tensors(), metadata=notes), force=True)
    if rank == 0:
        tensors = {"values": base.values, "mean": state.mean, "square": state.square}
        write_bytes(folder / "base.safetensors", save(tensors), force=True)
    shared.barrier.wait()
    if rank == 0:
        write_bytes(run.joint / "latest.json", json.dumps({"update": update}).encode(), force=True)
        for older in run.joint.iterdir():
            if older.is_dir() and older != folder:
                shutil.rmtree(older, ignore_errors=True)


def _load_snapshot(run: RunFolder, base: Adapted, state: AdamState, lanes: list[_Lane]) -> int:
    """Put the last snapshot's values in place, if there is one; returns the updates it had seen."""
    update = _last_snapshot(run)
    if update == 0:
        return 0
    folder = run.joint / f"{update:07d}"
    tensors = load_file(folder / "base.safetensors")
    base.values.copy_(tensors["values"])
    state.mean.copy_(tensors["mean"])
    state.square.copy_(tensors["square"])
    for lane in lanes:
        tensors, notes = _read_lane(run, update, lane.number)
        lane.adapters.copy_(tensors["adapters"])
        lane.state.mean.copy_(tensors["mean"])
        lane.state.square.copy_(tensors["square"])
        lane.n_updates, lane.failures = notes["n_updates"], notes["failures"]
    return update


def _last_snapshot(run: RunFolder) -> int:
    """Updates that the last whole snapshot had seen, 0 when there is none."""
    latest = run.joint / "latest.json"
    return int(json.loads(latest.read_bytes())["update"]) if latest.exists() else 0


def _read_lane(run: RunFolder, update: int, number: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import safe_open

    path = run.joint / f"{update:07d}" / f"lane-{number}.safetensors"
    with safe_open(path, framework="pt") as file:
        notes = {name: json.loads(value) for name, value in file.metadata().items()}
        return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118 (not a dict)


def _finish(plan: HarvestPlan, run: RunFolder) -> None:
    """Fold the mean adapter into the base, whiten A, and write the failures and the base."""
    recipe = plan.recipe
    base, lanes = recipe.checkpoint.build_base(), []
    for number in range(recipe.joint.n_lanes):
        lanes.append(_Lane.make(plan, number, base.n_adapter_values))
    _load_snapshot(run, base, AdamState.zeros_like(base.values), lanes)
    good = [
        lane.adapters[place]
        for lane in lanes
        for place, concept in enumerate(lane.concepts)
        if concept.id not in lane.failures
    ]
    if not good:
        raise HarvestError(f"every concept failed, e.g. {next(iter(lanes[0].failures.values()))}")
    base.fold(torch.stack(good).mean(0))
    photos = varied_photos(plan.load_photos("train"), recipe.fit.n_photos, seed=recipe.seed)
    rng = np.random.default_rng([recipe.seed, 3])
    images, _ = draw_crops(
        [(photo, photo) for photo in photos], n_crops=96, crop_size=recipe.crop_size, rng=rng
    )
    base.whiten(images)
    arrays = {name: torch.from_numpy(array) for name, array in base.to_arrays().items()}
    failures = sorted(failure for lane in lanes for failure in lane.failures.items())
    write_bytes(run.path / _FAILURES, json.dumps(failures).encode(), force=True)
    write_bytes(run.base, save(arrays), force=True)  # last: that it is there says that the stage is done
