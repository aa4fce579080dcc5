"""One training stage, in several processes and resumable.

The batch of each step is split into lanes. The weights, the moments and the running mean are flat tensors in
shared memory. Each lane computes the gradient of its part of the batch, then updates its slice of the
weights, so that the optimizer runs in parallel, too.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from initzoo.errors import OutputError, TrainingError
from initzoo.files import make_folder, write_bytes
from initzoo.training.generator.flat import bind_parameters
from initzoo.training.generator.objectives import crop_side
from initzoo.training.generator.resident import ResidentDraws, ResidentStage, run_resident
from initzoo.training.generator.settings import GeneratorSettings, Stage
from initzoo.training.harvest.updates import AdamState, adam_update
from initzoo.training.lanes import Board, Snapshots, train_in_lanes
from initzoo.work import Pool, Ranks

__all__ = ["Objective", "StageJob", "run_stage"]

SNAPSHOT_EVERY = 500
"""Number of steps between snapshots; less than a minute."""

_CPU = torch.device("cpu")

_KEPT = ("values", "moments", "ema", "progress")
"""Names of the tensors in a snapshot."""


class Part(Protocol):
    """One lane's part of the batch of a step."""

    def to(self, device: torch.device) -> Any: ...


class Objective(Protocol):
    """The loss of one lane's part of the batch of a step."""

    def to(self, device: torch.device) -> Any:
        """Move what the loss needs to a device."""

    def draw(self, step: int, lane: int) -> Part:
        """Draw a part, on the CPU."""

    def draw_on(self, device: torch.device) -> ResidentDraws | None:
        """Draws of whole batches on a device that holds all data; None if only a CPU draws contexts."""

    def loss(self, denoiser: nn.Module, part: Any) -> Tensor:
        """The loss of a part on the objective's device."""


@dataclass(frozen=True)
class StageJob:
    """A stage as a training in lanes.

    Args:
        settings: settings of the training.
        stage: the stage to run.
        folder: folder of the snapshots.
        make_denoiser: makes the denoiser; picklable.
        make_objective: makes the objective; picklable.
        start: flat initial weights; by default those of `make_denoiser`.
        n_workers: number of processes. With an accelerator they draw parts ahead, and this process trains.
        device: where to train.
    """

    settings: GeneratorSettings
    stage: Stage
    folder: Path
    make_denoiser: Callable[[], nn.Module]
    make_objective: Callable[[], Objective]
    start: Tensor | None
    n_workers: int
    device: torch.device = _CPU

    @property
    def n_lanes(self) -> int:
        return self.settings.n_lanes

    @property
    def n_updates(self) -> int:
        return self.stage.n_steps

    @property
    def snapshot_every(self) -> int:
        return SNAPSHOT_EVERY

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.folder / "snapshots")

    def make_board(self) -> Board:
        """Make the shared tensors, float32 or as stated.

        `values` are the flat weights. `moments` are Adam's running means of gradients and squared gradients.
        `ema` is the running mean of the weights. `gradients` has one row per lane. `losses` (float64) are the
        losses of all lanes in the last step. `squares` (float64) are the squared norms of all lanes' slices
        of the mean gradient. `progress` (float64) has the number of steps done and the smoothed loss.
        """
        denoiser = self.make_denoiser()
        initial = torch.cat([parameter.detach().flatten() for parameter in denoiser.parameters()])
        values = (initial if self.start is None else self.start).clone()
        n_lanes = self.n_lanes
        tensors = {
            "values": values,
            "moments": torch.zeros(2, len(values)),
            "ema": values.clone(),
            "gradients": torch.zeros(n_lanes, len(values)),
        }
        return Board(
            {name: tensor.to(self.device) for name, tensor in tensors.items()}
            | {
                "losses": torch.zeros(n_lanes, dtype=torch.float64),
                "squares": torch.zeros(n_lanes, dtype=torch.float64),
                "progress": torch.zeros(2, dtype=torch.float64),
            }
        )

    def restore_board(self, board: Board, folder: Path) -> None:
        with safe_open(folder / "state.safetensors", framework="pt") as file:
            for name in _KEPT:
                board[name].copy_(file.get_tensor(name))

    def make_share(self, board: Board, lanes: range) -> _Share:
        return _Share(self, board, lanes)


def rate_at(step: int, stage: Stage) -> float:
    """The learning rate of a step: a linear warm-up, then a cosine to zero, or a line behind held steps.

    Example:
        >>> stage = Stage(n_steps=1000, batch_size=2, learning_rate=1.0, n_warmup=10)
        >>> [round(rate_at(step, stage), 2) for step in (0, 9, 500, 999)]
        [0.1, 1.0, 0.5, 0.0]
        >>> held = Stage(n_steps=1000, batch_size=2, learning_rate=1.0, n_warmup=10, n_held=500)
        >>> [rate_at(step, held) for step in (9, 500, 750, 1000)]
        [1.0, 1.0, 0.5, 0.0]
    """
    warm = min(1.0, (step + 1) / max(1, min(stage.n_warmup, stage.n_steps // 4)))
    if stage.n_held:
        n_falling = max(1, stage.n_steps - stage.n_held)
        fall = min(1.0, (stage.n_steps - step) / n_falling)
    else:
        fall = 0.5 * (1 + math.cos(math.pi * step / stage.n_steps))
    return stage.learning_rate * warm * fall


def run_stage(job: StageJob, *, callback: Callable[[int, float], None], ranks: Ranks | None = None) -> Tensor:
    """Run a stage, or resume it.

    Args:
        job: the stage.
        callback: called about every half second with the number of steps done and the smoothed loss.
        ranks: the processes of a launch, which share each batch; this process alone by default.

    Returns:
        The running mean of the weights, flat.

    Raises:
        TrainingError: the gradient is not finite, or the snapshot is damaged.
        WorkerDied: a process died.
    """
    make_folder(job.snapshots.folder)
    resident = _as_resident(job) if job.device != _CPU else None
    if resident is not None:
        return run_resident(resident, callback=callback, ranks=ranks)
    board = train_in_lanes(
        job,
        n_workers=job.n_workers if job.device == _CPU else 1,
        callback=lambda board: callback(int(board["progress"][0]), float(board["progress"][1])),
        ranks=ranks,
    )
    return board["ema"].cpu()


def _as_resident(job: StageJob) -> ResidentStage | None:
    """The stage with all its data on the accelerator; None if its contexts are drawn on the CPU."""
    objective = job.make_objective().to(job.device)
    draws = objective.draw_on(job.device)
    if draws is None:
        return None
    return ResidentStage(
        settings=job.settings,
        stage=job.stage,
        snapshots=job.snapshots,
        denoiser=job.make_denoiser().to(job.device),
        draws=draws,
        loss=objective.loss,
        rate_at=partial(rate_at, stage=job.stage),
        side_at=partial(crop_side, job.settings),
        start=job.start,
    )


def _draw_ahead(job: StageJob, first: int, lanes: range) -> Iterator[list[Any]]:
    """The parts of some lanes, step by step, drawn by other processes while this one trains."""
    early: dict[int, list[Any]] = {}
    wanted = first
    make_worker = partial(_start_drawing, job, lanes)
    for step, parts in Pool(job.n_workers).run(make_worker, range(first, job.n_updates)):
        early[step] = parts
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _start_drawing(job: StageJob, lanes: range) -> Callable[[int], list[Any]]:
    objective = job.make_objective()
    return lambda step: [objective.draw(step, lane) for lane in lanes]


class _Share:
    """The lanes of one process: their gradients, and their slices of the weights."""

    def __init__(self, job: StageJob, board: Board, lanes: range) -> None:
        self.job, self.board, self.lanes = job, board, lanes
        self.denoiser = job.make_denoiser().to(job.device)
        self.objective = job.make_objective().to(job.device)
        # Processes without shared memory update all weights, each for itself.
        self.slices = lanes if board.ranks.is_alone else range(job.n_lanes)
        self.ahead = _draw_ahead(job, int(board.done), lanes) if job.device != _CPU else None
        self.phases = (self.compute, self.average, self.apply)

    def compute(self, step: int) -> None:
        """Compute the gradient and loss of each lane."""
        device, drawn = self.job.device, None if self.ahead is None else next(self.ahead)
        for number, lane in enumerate(self.lanes):
            part = self.objective.draw(step, lane) if drawn is None else drawn[number].to(device)
            gradient = self.board["gradients"][lane]
            bind_parameters(self.denoiser, self.board["values"], gradient.zero_())
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.job.settings.bfloat16):
                loss = self.objective.loss(self.denoiser, part)
            loss.backward()
            self.board["losses"][lane] = loss.detach()
        self.board.exchange(self.lanes, "gradients", "losses")

    def average(self, step: int) -> None:
        """Average the gradients of all lanes, in the slices of this share."""
        for lane in self.slices:
            _average_slice(self.board, lane)

    def apply(self, step: int) -> None:
        """Update the weights in the slices of this share.

        Raises:
            TrainingError: the gradient is not finite.
        """
        if not math.isfinite(float(self.board["squares"].sum())):
            raise TrainingError(f"the gradient is not finite at step {step}. Try a smaller learning rate.")
        for lane in self.slices:
            _update_slice(self.job, self.board, lane, step)
        if self.slices.start == 0:
            _count_step(self.board, step)

    def save(self, folder: Path) -> None:
        if self.lanes.start == 0:
            data = save({name: self.board[name].cpu() for name in _KEPT})
            write_bytes(folder / "state.safetensors", data, force=True)

    def restore(self, folder: Path) -> None:
        """Do nothing: all of a snapshot is on the board."""


def _slice(board: Board, lane: int) -> slice:
    n_lanes, n_values = board["gradients"].shape
    return slice(n_values * lane // n_lanes, n_values * (lane + 1) // n_lanes)


@torch.no_grad()
def _average_slice(board: Board, lane: int) -> None:
    """Write the mean of all lanes' gradients to the first row, in this lane's slice, and its square norm."""
    part = board["gradients"][:, _slice(board, lane)]
    part[0] = part.mean(dim=0)
    board["squares"][lane] = part[0].double().square().sum()


@torch.no_grad()
def _update_slice(job: StageJob, board: Board, lane: int, step: int) -> None:
    """Take a step of AdamW in this lane's slice, and update the running mean of the weights."""
    settings, place = job.settings, _slice(board, lane)
    rate = rate_at(step, job.stage)
    gradient, values = board["gradients"][0, place], board["values"][place]
    norm = math.sqrt(float(board["squares"].sum()))  # of all slices: every lane clips by the same factor
    gradient *= min(1.0, settings.max_gradient / (norm + 1e-6))
    values *= 1 - rate * settings.weight_decay
    adam_update(
        values,
        gradient,
        AdamState(board["moments"][0, place], board["moments"][1, place]),
        n_updates=step + 1,
        learning_rate=rate,
        betas=(0.9, 0.99),
    )
    decay = min(settings.ema, (1 + step) / (10 + step))
    board["ema"][place].lerp_(values, 1 - decay)


def _count_step(board: Board, step: int) -> None:
    loss = float(board["losses"].mean())
    before = float(board["progress"][1])
    board["progress"][1] = loss if step == 0 else before + (loss - before) * max(0.02, 1 / (step + 1))
    board["progress"][0] = step + 1


class ProgressLog:
    """A log in the run folder, one JSON object per line: stage, step, loss, speed and remaining time.

    Args:
        path: the file; lines are appended.
        every: interval between lines, seconds.
    """

    def __init__(self, path: Path, *, every: float = 30.0) -> None:
        self.path, self.every = path, every
        self._begin: tuple[str, int, float] | None = None
        self._last = -math.inf

    def add(self, stage: str, n_done: int, n_all: int, loss: float) -> None:
        """Write a line if the interval has passed or the stage is done."""
        now = time.monotonic()
        if self._begin is None or self._begin[0] != stage:
            self._begin, self._last = (stage, n_done, now), now
        if now - self._last < self.every and n_done < n_all:
            return
        self._last = now
        rate = (n_done - self._begin[1]) / max(now - self._begin[2], 1e-9)
        line = {
            "stage": stage,
            "step": n_done,
            "n_steps": n_all,
            "loss": round(loss, 6),
            "steps_per_second": round(rate, 3),
            "seconds_left": round((n_all - n_done) / rate, 1) if rate > 0 else None,
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror or error}. Make room there, then run the same "
                "command again"
            ) from error
