"""The runs of a benchmark, spread over processes; the outcome of each is a file in the run folder."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.errors import BenchmarkError
from initzoo.evaluation.benchmark.settings import FITTED, ZOO_STARTS, BenchmarkSettings
from initzoo.evaluation.cases import Question, start_request
from initzoo.files import write_bytes
from initzoo.generator import NEED_WORDS, Request, generator_digest
from initzoo.networks import UNet, initialise_by_the_book
from initzoo.pairs import TEACHING_SIDE, Pair, load_photos, mean_psnr, scoring_pairs, teach, varied_photos
from initzoo.training import Initializer, Trainer, TrainingDiverged, beside_adapter, draw_batch
from initzoo.work import choose_device, read_piece, repeatable
from initzoo.zoo import Zoo, ZooFiles, find_candidates

__all__ = ["Job", "Outcome", "edit_in_tiles", "run_jobs", "training_pairs", "zoo_start"]

Pixels = NDArray[np.uint8]

_N_SHOWN = 8
"""Training pairs that a fitted start sees."""


@dataclass(frozen=True)
class Job:
    """One training run.

    Args:
        question: index of the concept's question.
        concept_id: id of the concept.
        method: method, which decides network, objective and schedule.
        start: name of the initialization; empty for the U-Net, which is initialized as in its paper.
        n_steps: length of the schedule.
        rate: peak learning rate; 0 for a schedule without steps.
    """

    question: int
    concept_id: str
    method: str
    start: str
    n_steps: int
    rate: float


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Args:
        psnr: mean PSNR over the scoring photos, dB; None if the run diverged.
        seconds: time of all steps: CPU seconds of one core, or wall time on a GPU.
        start_seconds: time to make the initial weights and for what precedes the first step, without loading
            zoo and weight generator.
    """

    psnr: float | None
    seconds: float
    start_seconds: float


class _OutcomeFiles:
    """Paths of the outcomes of runs. A path holds all that identifies a run within its folder."""

    def __init__(self, run_folder: Path, questions: Sequence[Question], files: ZooFiles) -> None:
        self._folder, self._files = run_folder, files
        self._asked = [
            f"{question.concept_id}-{_short_digest(question.teacher.id, question.words[0])}"
            for question in questions
        ]

    def of(self, job: Job) -> Path:
        """The path of a run's outcome."""
        kind = job.start or job.method
        if kind in (*NEED_WORDS, FITTED):
            kind += f"-{self._generator}"
        name = f"{kind}-{job.n_steps}-{job.rate:g}.json"
        return self._folder / "runs" / self._asked[job.question] / name

    @cached_property
    def _generator(self) -> str:
        return generator_digest(self._files.generator_folder(self._files.manifest.recipe))[:8]


def _short_digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def training_pairs(question: Question, settings: BenchmarkSettings) -> list[tuple[Pixels, Pixels]]:
    """The pairs of a concept that all methods train on: varied photos and the teacher's edits of them."""
    photos = varied_photos(
        load_photos(settings.photos.folder, split="train"), settings.n_photos, settings.seed
    )
    return list(teach(question.teacher, photos, range(len(photos))))


def zoo_start(
    starts: Initializer,
    name: str,
    question: Question,
    pairs: Sequence[tuple[Pixels, Pixels]],
    settings: BenchmarkSettings,
) -> nn.Module:
    """Make the network of a start that has a base, in the coordinates in which it is trained.

    A zoo with adapters trains one beside all weights, as fine-tuning does.

    Args:
        starts: makes the starts; keeps what it loads.
        name: one of `ZOO_STARTS`.
        question: the concept.
        pairs: its training pairs, of which a fitted start sees eight.
        settings: settings of the benchmark.
    """
    zoo = starts.zoo
    if name == FITTED:
        shown = [pairs[len(pairs) * i // _N_SHOWN] for i in range(min(_N_SHOWN, len(pairs)))]
        asked = tuple(Pair(str(number), given, wanted) for number, (given, wanted) in enumerate(shown))
        request = Request(question.words[0], asked, seed=settings.seed)
        # The checkpoints of held-out concepts would answer for themselves.
        network = zoo.fit(request, find_candidates(zoo, request, split="train")).to_network()
    else:
        request = start_request(zoo, question, name, settings.photos, seed=settings.seed)
        network = starts.network(name, request)
    if not zoo.can_fit:
        return network
    arrays = zoo.base()
    return beside_adapter(
        network, zoo.recipe.ranks, {f"{one}.A": arrays[f"{one}.A"] for one in zoo.recipe.ranks}
    )


@torch.inference_mode()
def edit_in_tiles(network: nn.Module, pixels: Pixels, *, tile: int, one_by_one: bool = False) -> Pixels:
    """Edit an image in square tiles of the size of training crops.

    A network trained on crops of one size need not work on another, so all networks are measured on tiles.

    Args:
        network: takes images `(n, 3, tile, tile)`, values -1 to 1; its training mode is not changed.
        pixels: uint8, shape `(height, width, 3)`, sides in multiples of `tile`.
        tile: side of a tile, pixels.
        one_by_one: edit one tile at a time, for networks that use batch statistics.

    Returns:
        The edited image, uint8, same shape.

    Example:
        >>> edit_in_tiles(nn.Identity(), np.full((64, 32, 3), 7, np.uint8), tile=32)[0, 0].tolist()
        [7, 7, 7]
    """
    height, width = pixels.shape[:2]
    rows, columns = height // tile, width // tile
    squares = pixels.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    images = (
        torch.from_numpy(np.ascontiguousarray(squares)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    )
    edited = torch.cat([network(part) for part in images.split(1 if one_by_one else 32)])
    values = ((edited.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    made = values.permute(0, 2, 3, 1).cpu().numpy().reshape(rows, columns, tile, tile, 3)
    return np.ascontiguousarray(made.swapaxes(1, 2).reshape(height, width, 3))


def run_jobs(
    zoo: Zoo,
    questions: Sequence[Question],
    jobs: Sequence[Job],
    settings: BenchmarkSettings,
    run_folder: Path,
    *,
    callback: Callable[[int, int], None] | None = None,
) -> dict[Job, Outcome]:
    """Do all runs whose outcome is not in the run folder yet.

    Args:
        zoo: provides the starts.
        questions: the concepts that jobs refer to by index.
        jobs: the runs, in the order of execution.
        settings: settings of the benchmark.
        run_folder: keeps the outcomes.
        callback: called with the steps done, including those of earlier calls, and the total.

    Raises:
        BenchmarkError: an outcome is damaged.
        WorkerDied: a process died.
        TeacherError, InvalidGenerator, InvalidWords: a run could not start.
    """
    paths = _OutcomeFiles(run_folder, questions, zoo.files)
    for folder in {paths.of(job).parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    todo = [job for job in jobs if read_piece(paths.of(job), _read) is None]
    n_all = sum(job.n_steps + 1 for job in jobs)
    n_done = n_all - sum(job.n_steps + 1 for job in todo)
    make_worker = partial(_start_worker, zoo.files, tuple(questions), settings)
    for job, outcome in settings.make_pool().run(make_worker, todo, name_of=_name_of):
        write_bytes(paths.of(job), json.dumps(asdict(outcome)).encode(), force=True)
        n_done += job.n_steps + 1
        if callback is not None:
            callback(n_done, n_all)
    return {job: _read(paths.of(job)) for job in jobs}


def _read(path: Path) -> Outcome:
    try:
        return Outcome(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise  # not run yet
    except (OSError, ValueError, TypeError) as error:
        raise BenchmarkError(
            f"the outcome {path} is damaged. Delete it, and run the same command again"
        ) from error


def _name_of(job: Job) -> str:
    return f"{job.method}, {job.n_steps} steps on {job.concept_id}"


def _start_worker(
    files: ZooFiles, questions: tuple[Question, ...], settings: BenchmarkSettings
) -> Callable[[Job], Outcome]:
    return _Worker(files, questions, settings).work


class _Worker:
    """The state of a process: what it loads once, and the pairs of its current concept."""

    def __init__(self, files: ZooFiles, questions: Sequence[Question], settings: BenchmarkSettings) -> None:
        self.questions, self.settings = questions, settings
        self.device = choose_device(settings.device)
        self.starts = Initializer(Zoo(files))
        self._scored = settings.photos.load()
        self._warm: set[str] = set()
        self._fitted: tuple[int, nn.Module, float] | None = None
        self._pairs: tuple[int, list[tuple[Pixels, Pixels]], list[tuple[Pixels, Pixels]]] | None = None

    def work(self, job: Job) -> Outcome:
        """Train and score."""
        with repeatable(self.device):
            return self._work(job)

    def _work(self, job: Job) -> Outcome:
        learnt, scored = self._pairs_of(job.question)
        kind = job.start or job.method
        if kind not in self._warm:  # a first run would be charged for loading and compiling
            self._train(job, learnt, n_steps=2)
            self._warm.add(kind)
            self._fitted = None
        network, seconds, start_seconds = self._train(job, learnt, n_steps=job.n_steps)
        psnr = None if network is None else self._score(network, job, scored)
        return Outcome(psnr, seconds, start_seconds)

    def _pairs_of(self, question: int) -> tuple[list[tuple[Pixels, Pixels]], list[tuple[Pixels, Pixels]]]:
        if self._pairs is None or self._pairs[0] != question:
            teacher, tile = self.questions[question].teacher, self.settings.crop_size
            learnt = training_pairs(self.questions[question], self.settings)
            scored = scoring_pairs(teacher, self._scored, side=max(TEACHING_SIDE, tile))
            whole = [(_whole(a, tile), _whole(b, tile)) for a, b in zip(*scored, strict=True)]
            self._pairs = question, learnt, whole
        return self._pairs[1], self._pairs[2]

    def _train(
        self, job: Job, pairs: Sequence[tuple[Pixels, Pixels]], *, n_steps: int
    ) -> tuple[nn.Module | None, float, float]:
        """The trained network, or None if it diverged; seconds of its steps, and of its initial weights."""
        settings = self.settings.schedule(job.method, n_steps, job.rate or self.settings.grid(job.method)[0])
        network, start_seconds = self._start(job, pairs)
        begin = self._now() - start_seconds
        trainer = Trainer(network, settings, self.device)
        if n_steps:  # natural-gradient steps, of a zoo's starts
            trainer.prepare(pairs)
        began = self._now()
        try:
            for step in range(n_steps):
                trainer.step(*draw_batch(pairs, settings, step))
        except TrainingDiverged:
            return None, self._now() - began, began - begin
        return network, self._now() - began, began - begin

    def _start(self, job: Job, pairs: Sequence[tuple[Pixels, Pixels]]) -> tuple[nn.Module, float]:
        """The network with its initial weights, and the seconds that they took."""
        if job.start == FITTED and self._fitted is not None and self._fitted[0] == job.question:
            return copy.deepcopy(self._fitted[1]), self._fitted[2]  # the same bytes, a second sooner
        begin = self._now()
        network = self._initialised(job, pairs)
        seconds = self._now() - begin
        if job.start == FITTED:
            self._fitted = job.question, copy.deepcopy(network), seconds
        return network, seconds

    def _initialised(self, job: Job, pairs: Sequence[tuple[Pixels, Pixels]]) -> nn.Module:
        if job.start in ZOO_STARTS:
            question = self.questions[job.question]
            return zoo_start(self.starts, job.start, question, pairs, self.settings)
        if not self.settings.is_unet(job.method):
            return self.starts.network(job.start, Request(seed=self.settings.seed))
        network = UNet(self.settings.n_halvings, self.settings.unet_width)
        initialise_by_the_book(network, torch.Generator().manual_seed(self.settings.seed))
        return network

    def _score(self, network: nn.Module, job: Job, pairs: Sequence[tuple[Pixels, Pixels]]) -> float | None:
        is_unet = self.settings.is_unet(job.method)
        # pix2pix tests in training mode: batch norm uses the statistics of the one image. Its dropout is
        # turned off, since the noise would only lower its scores.
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.eval()
        edited = [
            edit_in_tiles(network, given, tile=self.settings.crop_size, one_by_one=is_unet)
            for given, _ in pairs
        ]
        psnr = mean_psnr(edited, [wanted for _, wanted in pairs])
        is_sound = all(bool(_finite(value)) for value in network.state_dict().values())
        return psnr if is_sound and math.isfinite(psnr) else None

    def _now(self) -> float:
        """CPU seconds of this process, which other processes do not affect; wall time on a GPU."""
        if self.device.type == "cpu":
            return time.process_time()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _finite(value: Tensor) -> Tensor:
    return value.isfinite().all()


def _whole(pixels: Pixels, tile: int) -> Pixels:
    """The upper left part with sides in multiples of `tile`."""
    height, width = (length // tile * tile for length in pixels.shape[:2])
    return pixels[:height, :width]
