"""The joint stage: base, shared A and one small adapter a concept, trained together by several processes.

Concepts are dealt out to lanes. In an update every lane takes a batch of one of its concepts, and the
base moves along the mean of the lanes' gradients. Each process keeps a base of its own, and changes it in the
same way as all others; the adapters of a lane are with the process that works on it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from initzoo.errors import HarvestError, InitzooError, RefusedPairs
from initzoo.files import write_bytes
from initzoo.networks import Adapted
from initzoo.pairs import Concept, teach, training_photos
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
from initzoo.training.lanes import Board, Snapshots, train_in_lanes
from initzoo.work import Ranks, one_thread, read_piece
from initzoo.zoo import Zoo

__all__ = ["has_base", "run_joint_stage", "take_base"]

_SNAPSHOT_EVERY = 100
"""Updates between two snapshots: about ten seconds."""

_AVERAGED = 100
"""Updates that the losses in the log are averaged over: those of single concepts differ tenfold."""

_FAILURES = "joint-failures.json"
_LOG = "joint.csv"
_LOST = "left out of the joint stage; the reason was lost with a damaged file"

_PHOTOS_A_BATCH = 2
"""Photos that the crops of a batch come from: each must be taught whole, which takes time."""


def take_base(zoo: Zoo, run: RunFolder) -> None:
    """Put the base of a zoo where the joint stage leaves its own, and no adapters to start from."""
    write_bytes(run.path / _FAILURES, b"[]", force=True)
    write_bytes(run.joint_adapters, save({}), force=True)
    mean = torch.from_numpy(zoo.mean_adapter_blocks())
    write_bytes(run.mean_adapter, save({"blocks": mean}), force=True)
    arrays = {name: torch.from_numpy(array) for name, array in zoo.base().items()}
    write_bytes(run.base, save(arrays), force=True)


def has_base(plan: HarvestPlan, run: RunFolder) -> bool:
    """Whether the joint stage is done, or the base of a zoo was taken. Damaged files do not count."""
    pieces = [run.joint_adapters, run.base]
    if plan.zoo is not None:  # otherwise the mean is made of the fits, later
        pieces.append(run.mean_adapter)
    return all(read_piece(path, load_file) is not None for path in pieces)


def run_joint_stage(
    plan: HarvestPlan,
    run: RunFolder,
    *,
    n_workers: int,
    callback: Callable[[int, int], None],
    ranks: Ranks | None = None,
) -> list[tuple[str, str]]:
    """Train base and shared A, or go on where the last run stopped, and write them to the run folder.

    The mean of the adapters is merged into the base, so that a zero adapter is the mean one, and A is
    whitened. Does nothing when the base is there already.

    Args:
        plan: what is harvested; only its `joint_concepts` take part.
        run: where snapshots and the base go.
        n_workers: processes, each on one core; more than the recipe's lanes are not used.
        callback: called in this process with updates done and updates in all, every second or so.
        ranks: the processes of a launch, each of which calls this function and works on an equal share of the
            lanes; `n_workers` does not count then. Each but the first returns nothing.

    Returns:
        Concepts that were left out, with the reason.

    Raises:
        HarvestError: every concept failed.
        TrainingError: the snapshot is damaged.
        WorkerDied: a worker died.
    """
    ranks = ranks or Ranks()
    is_done = torch.tensor(int(ranks.is_first and has_base(plan, run)))
    ranks.send(is_done)
    if not is_done:
        if ranks.is_first:
            run.base.unlink(missing_ok=True)
        n_updates = _count_updates(plan)
        train_in_lanes(
            _JointTraining(plan, run),
            n_workers=n_workers,
            callback=lambda board: callback(int(board.done), n_updates),
            ranks=ranks,
        )
        if ranks.is_first:
            with one_thread():
                _finish(plan, run)
            shutil.rmtree(run.joint, ignore_errors=True)
    return _failures(plan, run) if ranks.is_first else []


def _failures(plan: HarvestPlan, run: RunFolder) -> list[tuple[str, str]]:
    """The concepts that were left out, with the reason."""

    def read(path: Path) -> list[tuple[str, str]]:
        return [(str(concept_id), str(reason)) for concept_id, reason in json.loads(path.read_bytes())]

    path = run.path / _FAILURES
    failures = read_piece(path, read)
    if failures is None:  # the file is damaged; the adapters say who is missing
        made = load_file(run.joint_adapters)
        failures = [(concept.id, _LOST) for concept in plan.joint_concepts if concept.id not in made]
        if plan.zoo is not None:  # nobody was trained
            failures = []
        write_bytes(path, json.dumps(failures).encode(), force=True)
    return failures


@dataclass(frozen=True)
class _JointTraining:
    """The joint stage as a training in lanes."""

    plan: HarvestPlan
    run: RunFolder

    snapshot_every = _SNAPSHOT_EVERY

    @property
    def n_lanes(self) -> int:
        return self.plan.recipe.joint.n_lanes

    @property
    def n_updates(self) -> int:
        return _count_updates(self.plan)

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.run.joint)

    def make_board(self) -> Board:
        n_base = self.plan.recipe.checkpoint.build_base().values.numel()
        # Per lane: the gradient of the base, whether it took part in this update, and its mean loss of late.
        return Board(
            {
                "gradients": torch.zeros(self.n_lanes, n_base),
                "active": torch.zeros(self.n_lanes),
                "losses": torch.zeros(self.n_lanes),
            }
        )

    def restore_board(self, board: Board, folder: Path) -> None:
        """The board holds nothing beyond an update."""

    def make_share(self, board: Board, lanes: range) -> _JointShare:
        return _JointShare(self.plan, board, lanes, self.run.path / _LOG)


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
        concepts = list(plan.joint_concepts[number :: plan.recipe.joint.n_lanes])
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

    def save(self, folder: Path) -> None:
        """Write the lane's part of a snapshot."""
        notes = {"n_updates": json.dumps(self.n_updates), "failures": json.dumps(self.failures)}
        data = save(self.to_tensors(), metadata=notes)
        write_bytes(folder / f"lane-{self.number}.safetensors", data, force=True)

    def restore(self, folder: Path) -> None:
        """Take up the lane's part of a snapshot."""
        with safe_open(folder / f"lane-{self.number}.safetensors", framework="pt") as file:
            notes = {name: json.loads(value) for name, value in file.metadata().items()}
            for name, tensor in self.to_tensors().items():
                tensor.copy_(file.get_tensor(name))
        self.n_updates, self.failures = notes["n_updates"], notes["failures"]

    def to_tensors(self) -> dict[str, Tensor]:
        return {"adapters": self.adapters, "mean": self.state.mean, "square": self.state.square}


def _round_length(plan: HarvestPlan) -> int:
    return math.ceil(len(plan.joint_concepts) / plan.recipe.joint.n_lanes)


def _count_updates(plan: HarvestPlan) -> int:
    return plan.recipe.joint.n_rounds * _round_length(plan)


class _JointShare:
    """A base, and the lanes of one process."""

    def __init__(self, plan: HarvestPlan, board: Board, lanes: range, log: Path) -> None:
        recipe, self.plan, self.board, self.log = plan.recipe, plan, board, log
        self.base = Adapted(
            recipe.network.build(), recipe.ranks, generator=torch.Generator().manual_seed(recipe.seed)
        )
        self.photos = training_photos(plan.load_photos("train"), recipe.joint.n_photos, seed=recipe.seed + 1)
        # A is not whitened yet: while the base changes, its outputs would not stay white, but grow.
        self.state = AdamState.zeros_like(self.base.values)
        self.numbers = lanes
        self.lanes = [_Lane.make(plan, number, self.base.n_adapter_values) for number in lanes]
        self.phases = (self.compute, self.apply)

    def compute(self, update: int) -> None:
        """Train the adapters that are due, and leave the base's gradients on the board."""
        rate = rate_at(update, _count_updates(self.plan), self.plan.recipe.joint)
        for lane in self.lanes:
            _lane_update(self.plan, self.base, lane, self.photos, update, rate, self.board)
        self.board.exchange(self.numbers, "gradients", "active", "losses")

    def apply(self, update: int) -> None:
        """Move the base along the mean of the gradients."""
        stage = self.plan.recipe.joint
        gradient = self.board["gradients"].sum(0) / max(1.0, self.board["active"].sum().item())
        adam_update(
            self.base.values,
            gradient,
            self.state,
            n_updates=update + 1,
            learning_rate=stage.learning_rate * rate_at(update, _count_updates(self.plan), stage),
            betas=stage.betas,
        )

    def save(self, folder: Path) -> None:
        for lane in self.lanes:
            lane.save(folder)
        if any(lane.number == 0 for lane in self.lanes):  # all have the same base
            tensors = {"values": self.base.values, "mean": self.state.mean, "square": self.state.square}
            write_bytes(folder / "base.safetensors", save(tensors), force=True)
            _log_loss(self.log, int(folder.name), self.board["losses"].mean().item())

    def restore(self, folder: Path) -> None:
        _restore(folder, self.base, self.state, self.lanes)


def _log_loss(path: Path, update: int, loss: float) -> None:
    """Append the mean loss to the log, whose later lines are of a run that was killed after them."""
    lines = path.read_text("utf-8").splitlines()[1:] if path.exists() else []
    kept = [line for line in lines if int(line.split(",")[0]) < update]
    text = "\n".join(["update,loss", *kept, f"{update},{loss:.5f}"]) + "\n"
    write_bytes(path, text.encode(), force=True)


def _restore(folder: Path, base: Adapted, state: AdamState, lanes: list[_Lane]) -> None:
    """Put a snapshot's values in place."""
    tensors = load_file(folder / "base.safetensors")
    base.values.copy_(tensors["values"])
    state.mean.copy_(tensors["mean"])
    state.square.copy_(tensors["square"])
    for lane in lanes:
        lane.restore(folder)


def _lane_update(
    plan: HarvestPlan,
    base: Adapted,
    lane: _Lane,
    photos: list[np.ndarray],
    update: int,
    rate: float,
    board: Board,
) -> None:
    """Train one lane's due adapter, and leave the base's gradient where all can read it."""
    recipe, stage = plan.recipe, plan.recipe.joint
    board["active"][lane.number] = 0.0
    board["gradients"][lane.number].zero_()
    due = lane.concept_at(plan, update)
    if due is None:
        return
    concept = lane.concepts[due]
    rng = np.random.default_rng([recipe.seed, 2, update, lane.number])
    try:
        draws = [(int(rng.integers(len(photos))), int(rng.integers(2**31))) for _ in range(_PHOTOS_A_BATCH)]
        shown, seeds = [photos[number] for number, _ in draws], [seed for _, seed in draws]
        pairs = list(teach(concept.teacher, shown, seeds))
        inputs, targets = draw_crops(
            pairs, n_crops=stage.batch_size, crop_size=recipe.crop_size, rng=rng, grid=recipe.crop_grid
        )
        gradient, adapter_gradient, loss = lane_gradient(
            base, lane.adapters[due], inputs, targets, max_gradient=recipe.max_gradient
        )
    except RefusedPairs as error:  # of these few photos; other updates draw others
        if update >= _count_updates(plan) - _round_length(plan) and lane.n_updates[due] == 0:
            lane.failures[concept.id] = f"joint stage, update {update}: {error}"
        return
    except (InitzooError, TrainingDiverged) as error:
        lane.failures[concept.id] = f"joint stage, update {update}: {error}"
        return
    board["gradients"][lane.number] = gradient
    board["active"][lane.number] = 1.0
    board["losses"][lane.number].lerp_(torch.tensor(loss), 1 / min(update + 1, _AVERAGED))
    lane.n_updates[due] += 1
    adam_update(
        lane.adapters[due],
        adapter_gradient,
        AdamState(lane.state.mean[due], lane.state.square[due]),
        n_updates=lane.n_updates[due],
        learning_rate=stage.adapter_learning_rate * rate,
        betas=stage.adapter_betas,
    )


def _typical_inputs(recipe: HarvestRecipe, photos: list[np.ndarray]) -> Tensor:
    """Crops of photos, shape `(96, 3, size, size)`, on which A is whitened."""
    rng = np.random.default_rng([recipe.seed, 3])
    return draw_crops([(photo, photo) for photo in photos], n_crops=96, crop_size=recipe.crop_size, rng=rng)[
        0
    ]


def _finish(plan: HarvestPlan, run: RunFolder) -> None:
    """Fold the mean adapter into the base, whiten A, and write the failures and the base."""
    recipe = plan.recipe
    base, lanes = recipe.checkpoint.build_base(), []
    for number in range(recipe.joint.n_lanes):
        lanes.append(_Lane.make(plan, number, base.n_adapter_values))
    snapshots = Snapshots(run.joint)
    with snapshots.reported():
        _restore(snapshots.at(snapshots.latest), base, AdamState.zeros_like(base.values), lanes)
    good = {
        concept.id: lane.adapters[place]
        for lane in lanes
        for place, concept in enumerate(lane.concepts)
        if concept.id not in lane.failures
    }
    if not good:
        raise HarvestError(f"every concept failed, e.g. {next(iter(lanes[0].failures.values()))}")
    failures = {name: reason for lane in lanes for name, reason in lane.failures.items()}
    finish_joint_stage(plan, run, base, good, failures)


def finish_joint_stage(
    plan: HarvestPlan,
    run: RunFolder,
    base: Adapted,
    adapters: Mapping[str, Tensor],
    failures: Mapping[str, str],
) -> None:
    """Fold the mean adapter into the base, whiten A, and write the failures and the base.

    Args:
        plan: what is harvested.
        run: where they go.
        base: as trained, on the CPU; changed.
        adapters: the adapters of the joint stage by concept, shape `(n_values,)` each.
        failures: concepts that were left out, with the reason.
    """
    recipe, stacked = plan.recipe, torch.stack(list(adapters.values()))
    mean = stacked.mean(0)
    base.fold(mean)
    stacked -= mean
    photos = training_photos(plan.load_photos("train"), recipe.fit.n_photos, seed=recipe.seed)
    base.whiten(_typical_inputs(recipe, photos), stacked)
    # The fits start from these.
    write_bytes(run.joint_adapters, save(dict(zip(adapters, stacked.unbind(), strict=True))), force=True)
    arrays = {name: torch.from_numpy(array) for name, array in base.to_arrays().items()}
    write_bytes(run.path / _FAILURES, json.dumps(sorted(failures.items())).encode(), force=True)
    write_bytes(run.base, save(arrays), force=True)  # last: that it is there says that the stage is done
