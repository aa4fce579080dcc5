"""One stage of training, by several processes, from its last snapshot to its end.

Each step's batch is dealt out to lanes. A process works on one lane or more; which one does so changes
nothing, because gradients are added in the order of the lanes. Weights, moments and their running mean
lie flat in shared memory, and each lane updates a slice of them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import BrokenBarrierError
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from initzoo.errors import TrainingError
from initzoo.files.atomic import write_bytes
from initzoo.training.generator.settings import GeneratorSettings, Stage
from initzoo.training.harvest.updates import AdamState, adam_update
from initzoo.work.pool import WORKER_CONTEXT, use_one_core

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

__all__ = ["Objective", "StageJob", "bind_parameters", "count_parameters", "run_stage"]

SNAPSHOT_EVERY = 500
"""Steps between two snapshots: under a minute."""

_POLL_SECONDS = 0.5


class Objective(Protocol):
    """Loss of a lane's part of a step's batch."""

    def loss(self, denoiser: nn.Module, step: int, lane: int) -> Tensor: ...


@dataclass(frozen=True)
class StageJob:
    """What the processes of a stage are told.

    Args:
        settings: of the training.
        stage: of these, the stage that is run.
        folder: where the snapshot is kept.
        make_denoiser: gives the denoiser; picklable.
        make_objective: gives the objective; picklable.
        start: flat weights to start from; None for the denoiser's own.
        n_workers: processes.
    """

    settings: GeneratorSettings
    stage: Stage
    folder: Path
    make_denoiser: Callable[[], nn.Module]
    make_objective: Callable[[], Objective]
    start: Tensor | None
    n_workers: int

    @property
    def snapshot(self) -> Path:
        """File of the last snapshot."""
        return self.folder / "snapshot.safetensors"


def count_parameters(module: nn.Module) -> int:
    """Values in all parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def bind_parameters(module: nn.Module, values: Tensor, gradient: Tensor | None = None) -> None:
    """Let a module's parameters, and their gradients, be views of flat tensors."""
    start = 0
    for parameter in module.parameters():
        end = start + parameter.numel()
        parameter.data = values[start:end].view(parameter.shape)
        if gradient is not None:
            parameter.grad = gradient[start:end].view(parameter.shape)
        start = end


def rate_at(step: int, stage: Stage) -> float:
    """The learning rate of a step: up over the warm-up, then down to zero along a cosine.

    Example:
        >>> stage = Stage(n_steps=1000, batch_size=2, learning_rate=1.0, n_warmup=10)
        >>> [round(rate_at(step, stage), 2) for step in (0, 9, 500, 999)]
        [0.1, 1.0, 0.5, 0.0]
    """
    warm = min(1.0, (step + 1) / max(1, min(stage.n_warmup, stage.n_steps // 4)))
    return stage.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / stage.n_steps))


@dataclass
class _State:
    """What the processes share."""

    values: Tensor
    moments: Tensor
    """Adam's running means of gradients and of their squares, two rows."""
    ema: Tensor
    gradients: Tensor
    """A row a lane."""
    losses: Tensor
    """Of the last step, by lane."""
    squares: Tensor
    """Squared norm of each lane's slice of the mean gradient, float64."""
    progress: Tensor
    """Steps done and their smoothed loss, float64."""
    barrier: Barrier | None

    @classmethod
    def make(cls, job: StageJob) -> _State:
        denoiser = job.make_denoiser()
        own = torch.cat([parameter.detach().flatten() for parameter in denoiser.parameters()])
        values = (own if job.start is None else job.start).clone()
        n_lanes = job.settings.n_lanes
        state = cls(
            values=values,
            moments=torch.zeros(2, len(values)),
            ema=values.clone(),
            gradients=torch.zeros(n_lanes, len(values)),
            losses=torch.zeros(n_lanes, dtype=torch.float64),
            squares=torch.zeros(n_lanes, dtype=torch.float64),
            progress=torch.zeros(2, dtype=torch.float64),
            barrier=None,
        )
        if job.n_workers > 1:
            for tensor in state.tensors:
                tensor.share_memory_()
            state.barrier = WORKER_CONTEXT.Barrier(job.n_workers, timeout=600)
        return state

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (
            self.values,
            self.moments,
            self.ema,
            self.gradients,
            self.losses,
            self.squares,
            self.progress,
        )

    def wait(self) -> None:
        """Until all processes are here."""
        if self.barrier is not None:
            self.barrier.wait()

    def load(self, path: Path) -> None:
        """Take up a snapshot, if there is one.

        Raises:
            TrainingError: it is damaged.
        """
        if not path.exists():
            return
        try:
            with safe_open(path, framework="pt") as file:
                for name in ("values", "moments", "ema", "progress"):
                    getattr(self, name).copy_(file.get_tensor(name))
        except (SafetensorError, RuntimeError) as error:
            raise TrainingError(
                f"the snapshot {path} is damaged. Delete it to start its stage anew."
            ) from error

    def save(self, path: Path) -> None:
        tensors = {name: getattr(self, name) for name in ("values", "moments", "ema", "progress")}
        write_bytes(path, save(tensors), force=True)


def run_stage(job: StageJob, *, callback: Callable[[int, float], None]) -> Tensor:
    """Run a stage to its end, or go on where it was stopped.

    Args:
        job: what to do.
        callback: called with steps done and smoothed loss, every half second or so.

    Returns:
        The running mean of the weights, flat.

    Raises:
        TrainingError: a process died, the loss is no number, or the snapshot is damaged.
    """
    state = _State.make(job)
    state.load(job.snapshot)
    if int(state.progress[0]) < job.stage.n_steps:
        if job.n_workers == 1:
            n_threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                _train(job, state, 0, lambda: callback(int(state.progress[0]), float(state.progress[1])))
            finally:
                torch.set_num_threads(n_threads)
        else:
            _run_workers(job, state, callback)
    callback(int(state.progress[0]), float(state.progress[1]))
    return state.ema


def _run_workers(job: StageJob, state: _State, callback: Callable[[int, float], None]) -> None:
    workers = [
        WORKER_CONTEXT.Process(target=_work, args=(job, state, rank), daemon=True)
        for rank in range(job.n_workers)
    ]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            workers[0].join(timeout=_POLL_SECONDS)
            callback(int(state.progress[0]), float(state.progress[1]))
            if any(worker.exitcode not in (None, 0) for worker in workers):
                break
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    if not math.isfinite(float(state.squares.sum())):
        raise _diverged(state)
    if int(state.progress[0]) < job.stage.n_steps:
        raise TrainingError("a worker of the training died. Run the same command again to go on.")


def _work(job: StageJob, state: _State, rank: int) -> None:
    """What one process does."""
    use_one_core()
    try:
        _train(job, state, rank, lambda: None)
    except (BrokenBarrierError, TrainingError) as error:
        raise SystemExit(1) from error


def _train(job: StageJob, state: _State, rank: int, report: Callable[[], None]) -> None:
    """All steps of one process: its lanes' gradients, then its lanes' slices of the weights."""
    denoiser, objective = job.make_denoiser(), job.make_objective()
    lanes = range(rank, job.settings.n_lanes, job.n_workers)
    last_report = time.monotonic()
    for step in range(int(state.progress[0]), job.stage.n_steps):
        for lane in lanes:
            gradient = state.gradients[lane]
            bind_parameters(denoiser, state.values, gradient.zero_())
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=job.settings.bfloat16):
                loss = objective.loss(denoiser, step, lane)
            loss.backward()
            state.losses[lane] = loss.detach()
        state.wait()
        for lane in lanes:
            _average_slice(state, lane)
        state.wait()
        if not math.isfinite(float(state.squares.sum())):
            raise _diverged(state)
        for lane in lanes:
            _update_slice(job, state, lane, step)
        if rank == 0:
            _count_step(job, state, step)
        state.wait()
        now = time.monotonic()
        if now - last_report > _POLL_SECONDS:
            report()
            last_report = now
        if rank == 0 and ((step + 1) % SNAPSHOT_EVERY == 0 or step + 1 == job.stage.n_steps):
            state.save(job.snapshot)  # the others wait for this process before they change anything


def _diverged(state: _State) -> TrainingError:
    step = int(state.progress[0])
    return TrainingError(f"the gradient is no number at step {step}. Try a smaller learning rate.")


def _slice(state: _State, lane: int) -> slice:
    n_lanes, n_values = state.gradients.shape
    return slice(n_values * lane // n_lanes, n_values * (lane + 1) // n_lanes)


@torch.no_grad()
def _average_slice(state: _State, lane: int) -> None:
    """Put the mean of all lanes' gradients into the first row, in this lane's slice, and measure it."""
    part = state.gradients[:, _slice(state, lane)]
    part[0] = part.mean(dim=0)
    state.squares[lane] = part[0].double().square().sum()


@torch.no_grad()
def _update_slice(job: StageJob, state: _State, lane: int, step: int) -> None:
    """AdamW on this lane's slice, and the running mean of what comes of it."""
    settings, place = job.settings, _slice(state, lane)
    rate = rate_at(step, job.stage)
    gradient, values = state.gradients[0, place], state.values[place]
    norm = math.sqrt(float(state.squares.sum()))
    gradient *= min(1.0, settings.max_gradient / (norm + 1e-6))
    values *= 1 - rate * settings.weight_decay
    adam_update(
        values,
        gradient,
        AdamState(state.moments[0, place], state.moments[1, place]),
        n_updates=step + 1,
        learning_rate=rate,
        betas=(0.9, 0.99),
    )
    decay = min(settings.ema, (1 + step) / (10 + step))
    state.ema[place].lerp_(values, 1 - decay)


def _count_step(job: StageJob, state: _State, step: int) -> None:
    loss = float(state.losses.mean())
    before = float(state.progress[1])
    state.progress[1] = loss if step == 0 else before + (loss - before) * max(0.02, 1 / (step + 1))
    state.progress[0] = step + 1


class ProgressLog:
    """Lines of JSON in the run folder, every so many seconds: stage, step, loss, speed, time left.

    Args:
        path: the file that lines are added to.
        every: seconds between two lines.
    """

    def __init__(self, path: Path, *, every: float = 30.0) -> None:
        self.path, self.every = path, every
        self._begin: tuple[str, int, float] | None = None
        self._last = -math.inf

    def add(self, stage: str, n_done: int, n_all: int, loss: float) -> None:
        """Write a line, if it is time for one or the stage is done."""
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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
