"""A training stage on an accelerator, in whose memory all its data lies.

A batch takes an accelerator a few milliseconds, and a CPU much longer to draw. The crops, the encoded
wordings and the adapters of all concepts are therefore moved there once, and batches are drawn there as well.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from initzoo.errors import TrainingError
from initzoo.files import write_bytes
from initzoo.generator import Context, add_noise, draw_window
from initzoo.training.generator.flat import bind_parameters
from initzoo.training.generator.muon import MatrixSteps
from initzoo.training.generator.settings import GeneratorSettings, Stage
from initzoo.training.lanes import Snapshots
from initzoo.work import Ranks

__all__ = ["ResidentDraws", "ResidentPart", "ResidentStage", "run_resident"]

SNAPSHOT_SECONDS = 60.0

_STEPS_AHEAD = 20
"""Steps that are handed to the accelerator before its loss is asked for, which waits for them."""

_ON_CORES = 2**34
"""Bytes that crops may take half of where the cores stand in for an accelerator."""

_BETAS = (0.9, 0.99)


@dataclass(frozen=True, eq=False)
class ResidentPart:
    """A batch on the accelerator.

    Args:
        concepts: int64, shape `(batch,)`.
        context: what the denoiser reads.
        clean: residuals, shape `(batch, n_blocks, block_size)`; zero for practice.
        noised: the same with noise.
        timesteps: shape `(batch,)`.
        crops: inputs and targets, uint8, shape `(batch * n_crops, 2, 3, size, size)`; None in the first
            stage.
        first: the first block of the window that the batch shows; None for all blocks.
    """

    concepts: Tensor
    context: Context
    clean: Tensor
    noised: Tensor
    timesteps: Tensor
    crops: Tensor | None = None
    first: int | None = None

    def take(self, rows: range) -> ResidentPart:
        """Some rows of the batch, which follow each other."""
        place = slice(rows.start, rows.stop)
        n_crops = 0 if self.crops is None else len(self.crops) // len(self.concepts)
        return replace(
            self,
            concepts=self.concepts[place],
            context=self.context.take(rows),
            clean=self.clean[place],
            noised=self.noised[place],
            timesteps=self.timesteps[place],
            crops=None if self.crops is None else self.crops[rows.start * n_crops : rows.stop * n_crops],
        )


class ResidentDraws:
    """Draws batches of a stage on a device.

    Concepts are drawn with replacement, and half of the batch is practice where there is some.

    Args:
        stage: the stage.
        settings: settings of the training.
        draw_context: draws a context for each of some concepts, as `PhraseLessonsOnDevice.draw`.
        residuals: those of the zoo's concepts, shape `(n_concepts, n_blocks, block_size)`, on the device.
        n_practice: number of practice concepts, which follow those of the zoo.
        crops: crops of all concepts, each uint8 of shape `(n_crops, 2, 3, size, size)`; None in the first
            stage.
        grid: parts of crops begin at multiples of this many pixels.
        window: blocks of the window that a batch shows; 0 for all blocks.
    """

    def __init__(
        self,
        stage: Stage,
        settings: GeneratorSettings,
        draw_context: Callable[[Tensor], Context],
        residuals: Tensor,
        *,
        n_practice: int = 0,
        crops: Sequence[NDArray[np.uint8]] | None = None,
        grid: int = 1,
        window: int = 0,
    ) -> None:
        self.settings, self.stage, self.draw_context = settings, stage, draw_context
        self.window = window
        self.residuals, self.n_practice, self.grid = residuals, n_practice, grid
        self.crops: Tensor | None = None
        if crops is not None:
            self.crops = torch.empty(
                (len(crops), *crops[0].shape), dtype=torch.uint8, device=residuals.device
            )
            for row, own in enumerate(crops):
                self.crops[row] = torch.from_numpy(np.array(own))

    def for_stage(self, stage: Stage, settings: GeneratorSettings) -> ResidentDraws:
        """Draws of another stage from the same memory."""
        other = copy.copy(self)
        other.stage, other.settings = stage, settings
        return other

    def draw(self, side: int | None = None) -> ResidentPart:
        """Draw a batch, with parts of crops of this side, pixels; with whole crops by default."""
        device, n_all = self.residuals.device, self.stage.batch_size
        n_known = len(self.residuals)
        known = torch.randint(n_known, (n_all,), device=device)
        concepts = known
        is_practice = torch.arange(n_all, device=device) < (n_all // 2 if self.n_practice else 0)
        if self.n_practice:
            others = n_known + torch.randint(self.n_practice, (n_all,), device=device)
            concepts = torch.where(is_practice, others, known)
        residuals, first = self.residuals, None
        if self.window:
            first = draw_window(residuals.shape[1], self.window, lambda n: int(torch.randint(n, ())))
            residuals = residuals[:, first : first + self.window]
        clean = torch.where(is_practice[:, None, None], 0.0, residuals[known])
        timesteps = torch.rand(n_all, device=device)
        # Practice concepts have no adapter to add noise to, so they start from pure noise.
        is_pure = is_practice | (torch.rand(n_all, device=device) < self.stage.pure_share)
        timesteps = torch.where(is_pure, 1.0, timesteps)
        noised = add_noise(clean, torch.randn_like(clean), timesteps)
        if self.settings.regressor:
            noised, timesteps = torch.zeros_like(clean), torch.ones_like(timesteps)
        crops = None if self.crops is None else self._draw_crops(concepts, side)
        return ResidentPart(
            concepts, self.draw_context(concepts), clean, noised, timesteps, crops, first=first
        )

    def _draw_crops(self, concepts: Tensor, size: int | None) -> Tensor:
        """Draw some crops of each concept, or parts of crops; those of a concept are adjacent."""
        assert self.crops is not None
        n_crops, whole, device = self.crops.shape[1], self.crops.shape[-1], concepts.device
        rows = concepts.repeat_interleave(self.settings.n_crops)
        places = torch.randint(n_crops, (len(rows),), device=device)
        if size is None or size >= whole:
            return self.crops[rows, places]
        corners = self.grid * torch.randint((whole - size) // self.grid + 1, (2, len(rows)), device=device)
        down, across = corners[:, :, None] + torch.arange(size, device=device)  # each (n, size)
        found = self.crops[
            rows[:, None, None], places[:, None, None], :, :, down[:, :, None], across[:, None, :]
        ]
        return found.permute(0, 3, 4, 1, 2)  # (n, size, size, 2, 3) before


def _crops_that_fit(crops: Sequence[NDArray[np.uint8]], device: torch.device) -> int:
    """The number of crops of each concept for which half of the free memory is enough.

    Raises:
        TrainingError: there is no room for one.
    """
    n_free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _ON_CORES
    n_kept = min(len(crops[0]), n_free // 2 // (len(crops) * crops[0][0].nbytes))
    if not n_kept:
        raise TrainingError(f"the crops of {len(crops)} concepts do not fit into the memory of {device}.")
    return n_kept


@dataclass(frozen=True)
class ResidentStage:
    """A stage on an accelerator.

    Args:
        settings: settings of the training.
        stage: its schedule.
        snapshots: snapshots of the training, in the format of the stages in lanes.
        denoiser: the denoiser, on the device.
        draws: draws batches.
        loss: the loss of the denoiser on a batch.
        rate_at: the learning rate of a step.
        side_at: side of the parts of crops that a step uses, pixels; None for whole crops.
        start: flat initial weights; by default those of the denoiser.
    """

    settings: GeneratorSettings
    stage: Stage
    snapshots: Snapshots
    denoiser: nn.Module
    draws: ResidentDraws
    loss: Callable[[nn.Module, ResidentPart], Tensor]
    rate_at: Callable[[int], float]
    side_at: Callable[[int], int | None]
    start: Tensor | None = None


def run_resident(
    stage: ResidentStage, *, callback: Callable[[int, float], None], ranks: Ranks | None = None
) -> Tensor:
    """Run a stage on an accelerator, or resume it.

    Args:
        stage: the stage.
        callback: called now and then with the number of steps done and the smoothed loss.
        ranks: the processes of a launch, each with an accelerator. All draw the same batch, and each computes
            the gradient of an equal share of it. This process alone by default.

    Returns:
        The running mean of the weights, flat, on the CPU.

    Raises:
        TrainingError: the loss is not finite, the snapshot is damaged, or a batch cannot be shared evenly.
        WorkerDied: another process ended.
    """
    ranks = ranks or Ranks()
    training = _Training(stage, ranks)
    n_done, n_all = training.restore(), stage.stage.n_steps
    device = training.values.device
    torch.manual_seed(stage.settings.seed * 1_000_003 + n_done)  # a resumed training draws other batches
    steps: dict[int | None, _Captured] = {}
    last = time.monotonic()
    callback(n_done, training.smoothed_loss)
    while n_done < n_all:
        side = stage.side_at(n_done)
        training.plan_step(n_done)
        if side not in steps:
            steps.clear()  # frees what the graph of another side holds
            steps[side] = _Captured(training, side)
        steps[side]()
        n_done += 1
        if n_done % _STEPS_AHEAD == 0 or n_done == n_all:
            loss = training.smoothed_loss
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is not finite at step {n_done}. Try a smaller learning rate.")
            callback(n_done, loss)
            if ranks.is_first and (time.monotonic() - last > SNAPSHOT_SECONDS or n_done == n_all):
                training.save(n_done)
                last = time.monotonic()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return training.ema.cpu()


class _Training:
    """The weights, their moments and their running mean, flat and on the device, and one step."""

    def __init__(self, stage: ResidentStage, ranks: Ranks) -> None:
        self.stage, self.ranks = stage, ranks
        self.share = ranks.share_of(stage.stage.batch_size, "the concepts of a batch", "its size")
        parameters = list(stage.denoiser.parameters())
        device = parameters[0].device
        initial = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self.values = (initial if stage.start is None else stage.start.to(device)).clone()
        self.moments = torch.zeros(2, len(self.values), device=device)
        self.ema, self.gradient = self.values.clone(), torch.zeros_like(self.values)
        self.loss = torch.zeros((), device=device)
        # What depends on the number of the step lies on the device, since a captured step takes no numbers.
        self.numbers = torch.ones(5, device=device)
        bind_parameters(stage.denoiser, self.values, self.gradient)
        self.matrices = MatrixSteps.of(stage.denoiser) if stage.settings.optimizer == "muon" else None

    @property
    def _kept(self) -> dict[str, Tensor]:
        """The tensors of a snapshot by name, but for its progress."""
        momentum = {} if self.matrices is None else {"momentum": self.matrices.momentum}
        return {"values": self.values, "moments": self.moments, "ema": self.ema} | momentum

    @property
    def smoothed_loss(self) -> float:
        """Waits for all steps that were handed to the device."""
        return float(self.loss)

    def plan_step(self, step: int) -> None:
        """Set the learning rate, the corrections of both moments, and the decays of both running means."""
        first, second = _BETAS
        numbers = (
            self.stage.rate_at(step),
            1 - first ** (step + 1),
            1 - second ** (step + 1),
            1 - min(self.stage.settings.ema, (1 + step) / (10 + step)),
            max(0.02, 1 / (step + 1)),
        )
        self.numbers.copy_(torch.tensor(numbers, dtype=torch.float32), non_blocking=True)

    def step(self, side: int | None) -> None:
        """Draw a batch with parts of crops of a side, and take a step."""
        settings, stage = self.stage.settings, self.stage
        part = stage.draws.draw(side)
        if not self.ranks.is_alone:
            part = part.take(self.share)
        self.gradient.zero_()
        device = self.values.device.type
        with torch.autocast(device, torch.bfloat16, enabled=settings.bfloat16, cache_enabled=False):
            loss = stage.loss(stage.denoiser, part)
        loss.backward()
        with torch.no_grad():
            mean = loss.detach()
            self.ranks.average(self.gradient, mean)
            self._update(mean)

    def _update(self, loss: Tensor) -> None:
        rate, first, second, mean, smoothing = self.numbers.unbind()
        settings, gradient = self.stage.settings, self.gradient
        self.values *= 1 - rate * settings.weight_decay
        if self.matrices is not None:  # AdamW then has the other weights alone
            self.matrices.take(self.values, gradient, rate)
        gradient *= (settings.max_gradient / (gradient.norm() + 1e-6)).clamp_max(1.0)
        self.moments[0].lerp_(gradient, 1 - _BETAS[0])
        self.moments[1].mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        scale = (self.moments[1] / second).sqrt_().add_(1e-8)
        self.values -= rate / first * self.moments[0] / scale
        self.ema += mean * (self.values - self.ema)
        self.loss += smoothing * (loss.float() - self.loss)

    def save(self, n_done: int) -> None:
        snapshots = self.stage.snapshots
        progress = torch.tensor([n_done, self.smoothed_loss], dtype=torch.float64)
        tensors = {**self._kept, "progress": progress}
        data = save({name: tensor.cpu() for name, tensor in tensors.items()})
        write_bytes(snapshots.make(n_done) / "state.safetensors", data, force=True)
        snapshots.commit(n_done)

    def restore(self) -> int:
        """Take up the last snapshot, if there is one; returns the number of steps done."""
        n_done = torch.tensor(self._read_snapshot() if self.ranks.is_first else 0)
        self.ranks.send(n_done, *self._kept.values(), self.loss)
        return int(n_done)

    def _read_snapshot(self) -> int:
        snapshots = self.stage.snapshots
        n_done = snapshots.latest
        if not n_done:
            return 0
        with (
            snapshots.reported(),
            safe_open(snapshots.at(n_done) / "state.safetensors", framework="pt") as file,
        ):
            for name, tensor in self._kept.items():
                tensor.copy_(file.get_tensor(name))
            self.loss.fill_(float(file.get_tensor("progress")[1]))
        return n_done


class _Captured:
    """A step as a CUDA graph, which launches some thousand small kernels at once; elsewhere a plain step."""

    _N_PLAIN = 3
    """Plain steps before the capture, in which libraries choose their methods and take their memory."""

    def __init__(self, training: _Training, side: int | None) -> None:
        self.training, self.side = training, side
        self._graph: torch.cuda.CUDAGraph | None = None
        self._n_plain = 0
        # A graph would read the same window in every step.
        is_long = training.stage.draws.residuals.shape[1] > training.stage.settings.window
        # Nor does it hold what processes tell each other.
        is_captured = training.values.is_cuda and training.ranks.is_alone and not is_long
        self._stream = torch.cuda.Stream() if is_captured else None

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        elif self._stream is None:
            self.training.step(self.side)
        elif self._n_plain < self._N_PLAIN:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self.training.step(self.side)
            torch.cuda.current_stream().wait_stream(self._stream)
            self._n_plain += 1
        else:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.training.step(self.side)
            graph.replay()  # a capture computes nothing
            self._graph = graph
