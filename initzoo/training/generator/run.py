"""Training of a weight generator in two stages: on the error of weights, then on the error of images.

Both stages keep their work in the run folder. A killed training can be resumed and gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initzoo.errors import TrainingError
from initzoo.files import make_folder, write_bytes
from initzoo.generator import (
    ENCODERS,
    MAX_GENERATOR_BYTES,
    DenoiserShape,
    GeneratorConfig,
    Lessons,
    PairDenoiser,
    TextModel,
    WeightGenerator,
    build_denoiser,
)
from initzoo.pairs import load_photos
from initzoo.training.generator.crops import CropPlan, make_crops
from initzoo.training.generator.flat import bind_parameters, round_parameters
from initzoo.training.generator.loop import ProgressLog, StageJob, rate_at, run_stage
from initzoo.training.generator.objectives import BehaviourObjective, WeightObjective
from initzoo.training.generator.passes import stage_of_passes
from initzoo.training.generator.resident import run_resident
from initzoo.training.generator.sensitivity import measure_sensitivity
from initzoo.training.generator.settings import (
    GeneratorSettings,
    TrainingData,
    mask_of,
    normalisation,
    stage_folder,
)
from initzoo.work import Backend, CurveLog, CurvePoint, Pool, Ranks, encode_curve, open_run, read_piece

__all__ = ["CURVE_FILE", "train_generator"]

Progress = Callable[[str, int, int, float], None]

CURVE_FILE = "curve.csv"
"""File in the run folder with the loss and learning rate of both stages by step, once they are done."""

_LEARNED = "words.learned"
"""The denoiser's vectors of single tokens."""

_LAYERS = ("between.", "to_words.", "forwards.")
_LAST = ("out", "second")
"""The parts of a denoiser's layers whose result is added to the tokens."""

_SENTENCES = {"encoder": "sentence-transformers/all-MiniLM-L6-v2", "licence": "Apache-2.0"}
_LATER = (
    "behaviour", "pairs", "n_pair_layers", "n_crops", "crop_size", "whole_share", "medium_share", "log_error",
)  # fmt: skip
"""Settings that the first stage does not depend on."""

TEXT_SOURCES = {
    "words": _SENTENCES | {"made_with": "model2vec"},
    "phrases": _SENTENCES | {"made_with": "initzoo generator train-phrases"},
}
"""Origin and licence of the text model of each encoder."""


@dataclass(frozen=True)
class _Plan:
    """The arguments of a training."""

    data: TrainingData
    settings: GeneratorSettings
    text: TextModel
    run: Path
    crop_plan: CropPlan
    n_workers: int
    device: torch.device
    backend: Backend
    address: str | None
    log: ProgressLog
    callback: Progress
    ranks: Ranks
    curve: list[CurvePoint] = field(default_factory=list)

    def report(self, stage: str, n_all: int) -> Callable[[int, float], None]:
        """Make the callback of a stage, which gets the number of steps done and the loss."""

        def on_progress(n_done: int, loss: float) -> None:
            if self.ranks.is_first:
                self.log.add(stage, n_done, n_all, loss)
                self.callback(stage, n_done, n_all, loss)

        return on_progress

    def train_stage(self, job: StageJob, name: str) -> Tensor:
        """Run a stage to its end, and keep its curve."""
        n_all, path = job.stage.n_steps, job.folder / CURVE_FILE
        report = self.report(name, n_all)
        log: CurveLog | None = None

        def on_progress(n_done: int, loss: float) -> None:
            nonlocal log
            if not self.ranks.is_first:
                return
            if log is None:  # only now it is known where the stage goes on
                log = CurveLog(path, name, n_all=n_all, n_done=n_done)
            if n_done:
                log.add(n_done, loss=loss, learning_rate=rate_at(n_done - 1, job.stage))
            report(n_done, loss)

        weights = run_stage(job, callback=on_progress, ranks=self.ranks)
        if self.ranks.is_first:
            done = log or CurveLog(path, name, n_all=n_all, n_done=n_all)
            self.curve.extend(done.points)
        return weights


def train_generator(
    data: TrainingData,
    text: TextModel,
    settings: GeneratorSettings,
    run_folder: Path,
    *,
    n_workers: int | None = None,
    backend: Backend = "processes",
    address: str | None = None,
    crop_plan: CropPlan | None = None,
    start: WeightGenerator | None = None,
    transfer: WeightGenerator | None = None,
    device: torch.device | None = None,
    ranks: Ranks | None = None,
    callback: Progress | None = None,
) -> WeightGenerator:
    """Train a weight generator, or resume an interrupted training.

    Args:
        data: the train concepts of a zoo.
        text: the text model that the encoder reads words with.
        settings: settings of the training.
        run_folder: folder for unfinished work, crops, `log.jsonl` and `curve.csv`. Trainings with different
            settings can use the same folder; they share crops and equal first stages.
        n_workers: number of processes, one core each, at most one per lane; one per core by default. It does
            not change the result.
        backend: where the workers that make crops run: in processes on this machine, or on a Ray cluster. The
            workers that train share memory and therefore a machine.
        address: address of the cluster; by default that of RAY_ADDRESS, or one that is started here.
        crop_plan: crops of the second stage; by default crops of the bundled photos.
        start: a weight generator to train further by the second stage alone; both stages by default.
        transfer: a weight generator of another zoo, from which the first stage takes over what does not
            depend on the blocks: how words are read, and the layers that all blocks share.
        device: an accelerator to train on, whose results differ in their last digits from run to run; the
            cores by default. The workers then draw batches ahead.
        ranks: the processes of a launch, each of which calls this function with the same arguments and
            computes an equal share of each batch; this process alone by default. All must see the run folder.
            The first one alone writes to it and calls back. On cores the result has the same bytes for any
            number of processes.
        callback: called with the stage, the number of items done, their total, and the loss.

    Returns:
        The weight generator.

    Raises:
        TrainingError: the run folder cannot be used, the loss is not finite, a concept has fewer crops than a
            step uses, `start` has other sizes, words or concepts than this training, or a batch cannot be
            shared evenly by the processes of a launch.
        WorkerDied: a worker, or another process of a launch, died.
        OutputError: the run folder has other content, another process uses it, or it cannot be written.
        InvalidImage: there are no photos.
        InvalidWords: a wording of a concept has no known token.
        MissingExtra: the backend is `ray`, which is not installed.
        ClusterUnavailable: the Ray cluster does not answer, or has other versions.
    """
    Pool.make(1, backend, address)  # reports a missing backend now, not after the first stage
    run_folder, ranks = Path(run_folder), ranks or Ranks()
    _check_shares(settings, device, ranks)
    crop_plan = crop_plan or CropPlan(crop_size=data.crop_size, grid=data.crop_grid)
    if settings.pairs.n_steps and settings.encoder != "phrases":
        raise TrainingError(f"passes over pairs need --encoder phrases, not {settings.encoder}")
    if settings.pairs.n_steps and settings.n_blocks(data.recipe.layout) > settings.window:
        raise TrainingError(
            f"passes over pairs read all blocks of an adapter at once, at most {settings.window} of them. "
            "Leave out --pairs-steps, or set a larger --window or --block-size"
        )
    if settings.optimizer == "muon":
        _check_muon(settings, device)
    if settings.n_crops > crop_plan.n_crops:
        raise TrainingError(
            f"a step cannot use {settings.n_crops} crops of a concept: each has {crop_plan.n_crops}. "
            "Set a smaller --crops"
        )
    # Trainings with different settings share a run folder: each stage has a subfolder named by a digest.
    with open_run(run_folder, {}, kind="generator training") if ranks.is_first else nullcontext():
        ranks.wait()
        return _train(
            data,
            text,
            settings,
            run_folder,
            n_workers=n_workers or os.cpu_count() or 1,
            backend=backend,
            address=address,
            crop_plan=crop_plan,
            start=start,
            transfer=transfer,
            device=device or torch.device("cpu"),
            ranks=ranks,
            callback=callback or (lambda *_: None),
        )


def _check_muon(settings: GeneratorSettings, device: torch.device | None) -> None:
    """Check that the training runs where Muon does.

    Raises:
        TrainingError: it does not.
    """
    if device in (None, torch.device("cpu")):
        raise TrainingError(
            "--optimizer muon needs an accelerator, since its steps are slow on cores. Name one with "
            "--device, or leave it out"
        )
    if settings.encoder != "phrases":
        raise TrainingError("--optimizer muon needs --encoder phrases, whose data lies on the accelerator")


def _check_shares(settings: GeneratorSettings, device: torch.device | None, ranks: Ranks) -> None:
    """Check that processes can share each batch.

    Raises:
        TrainingError: they cannot.
    """
    if ranks.is_alone:
        return
    if settings.pairs.n_steps:
        raise TrainingError(
            "passes over pairs are taught by one process. Leave out --pairs-steps, or start a single process"
        )
    if device in (None, torch.device("cpu")):
        ranks.share_of(settings.n_lanes, "the lanes", "--lanes")
    for name, stage in (("weight", settings.weights), ("behaviour", settings.behaviour)):
        ranks.share_of(stage.batch_size, "the concepts of a batch", f"--{name}-batch")


def _train(
    data: TrainingData,
    text: TextModel,
    settings: GeneratorSettings,
    run_folder: Path,
    *,
    n_workers: int,
    backend: Backend,
    address: str | None,
    crop_plan: CropPlan,
    start: WeightGenerator | None,
    transfer: WeightGenerator | None,
    device: torch.device,
    ranks: Ranks,
    callback: Progress,
) -> WeightGenerator:
    """Run both stages, or the rest of them."""
    kept = data.take(settings.train_share, seed=settings.seed)[0] if settings.train_share < 1 else data
    kept = replace(kept, photos=crop_plan.photos)
    plan = _Plan(
        data=kept,
        settings=settings,
        text=text,
        run=run_folder,
        crop_plan=crop_plan,
        n_workers=min(n_workers, settings.n_lanes) if device.type == "cpu" else n_workers,
        device=device,
        backend=backend,
        address=address,
        log=ProgressLog(run_folder / "log.jsonl"),
        callback=callback,
        ranks=ranks,
    )
    with ranks.first_goes_first():  # it writes the encoded wordings
        lessons = ENCODERS[settings.encoder](text).lessons(kept, settings, folder=run_folder)
    shape = settings.shape(n_blocks=settings.n_blocks(data.recipe.layout), **lessons.sizes)
    make_denoiser = partial(build_denoiser, settings.kind, shape, seed=settings.seed)
    config = _config(plan, shape, lessons, start, transfer)
    with torch.device("meta"):  # without memory for it
        n_weights = sum(value.numel() for value in build_denoiser(settings.kind, shape, seed=0).parameters())
    if 2 * n_weights > MAX_GENERATOR_BYTES - 2**20:  # float16, and the header
        raise TrainingError(
            f"a denoiser of {n_weights:,} weights is larger than a reader accepts. Set a smaller --width"
        )
    if start is None:
        weights = _train_on_weights(plan, lessons, make_denoiser, transfer)
    else:
        _check_start(start, plan, shape, lessons)
        weights = start.flat_weights()
    if settings.behaviour.n_steps:
        weights = _train_on_behaviour(plan, lessons, make_denoiser, weights)
    if ranks.is_first:
        write_bytes(run_folder / CURVE_FILE, encode_curve(plan.curve), force=True)
    result = _finish(plan, config, make_denoiser(), weights)
    return _train_on_pairs(plan, lessons, result) if settings.pairs.n_steps else result


def _check_start(start: WeightGenerator, plan: _Plan, shape: DenoiserShape, lessons: Lessons) -> None:
    """Check that a start has the sizes, base, token vectors and taught words of this training."""
    found = (start.config.kind, start.config.shape, start.config.learned_tokens, start.config.base_sha256)
    wanted = (plan.settings.kind, shape, lessons.learned_tokens, plan.data.base_sha256)
    if found != wanted or start.text.digest != plan.text.digest:
        raise TrainingError(
            "the weight generator of --start has another base, other sizes or words than this training. "
            "Train from the beginning, without --start."
        )


def _take_over(
    denoiser: torch.nn.Module, other: WeightGenerator, encoder: str, learned_tokens: Sequence[int]
) -> Tensor:
    """The initial weights of a denoiser, those of another one where names and shapes agree.

    Learned vectors of tokens go by token, since another zoo has other wordings. Layers that the other one
    lacks change nothing at first.

    Returns:
        Flat weights, in the order of the denoiser's parameters.
    """
    found = other.named_weights()
    if other.config.shape.encoder != encoder:  # it reads words in another way
        found = {name: value for name, value in found.items() if not name.startswith("words.")}
    places = {token: place for place, token in enumerate(other.config.learned_tokens)}
    with torch.no_grad():
        for name, value in denoiser.named_parameters():
            if name == _LEARNED and name in found and value.shape[1:] == found[name].shape[1:]:
                for place, token in enumerate(learned_tokens):
                    if token in places:
                        value[place] = found[name][places[token]]
            elif name in found and found[name].shape == value.shape:
                value.copy_(found[name])
            elif name not in found and name.startswith(_LAYERS) and name.rpartition(".")[0].endswith(_LAST):
                value.zero_()
    return torch.cat([value.detach().flatten() for value in denoiser.parameters()])


def _train_on_weights(
    plan: _Plan, lessons: Lessons, make_denoiser: Callable[[], Any], transfer: WeightGenerator | None
) -> Tensor:
    settings, start, begun = plan.settings, None, list[str]()
    if transfer is not None:
        is_alike = transfer.config.shape.encoder == settings.encoder
        if is_alike and transfer.text.digest != plan.text.digest:
            raise TrainingError(
                "the weight generator of --transfer has another text model. Name its own with --text"
            )
        start = _take_over(make_denoiser(), transfer, settings.encoder, lessons.learned_tokens)
        begun = [hashlib.sha256(start.numpy().tobytes()).hexdigest()]
    folder = stage_folder(plan.run, "weights", *_weights_parts(plan), *begun)
    with plan.ranks.first_goes_first():
        sensitivity = _sensitivity(plan, folder)
    job = StageJob(
        settings=settings,
        stage=settings.weights,
        folder=folder,
        make_denoiser=make_denoiser,
        make_objective=partial(WeightObjective, plan.data, settings, lessons, sensitivity=sensitivity),
        start=start,
        n_workers=plan.n_workers,
        device=plan.device,
    )
    return plan.train_stage(job, "weights")


def _sensitivity(plan: _Plan, folder: Path) -> NDArray[np.float32] | None:
    """The sensitivity of each value, measured once; None if the settings do not use it."""
    if not plan.settings.by_sensitivity:
        return None
    data, path = plan.data, folder / "sensitivity.npy"
    kept: NDArray[np.float32] | None = read_piece(path, lambda path: np.load(path, allow_pickle=False))
    if kept is None:
        base = data.recipe.build_base(data.base).requires_grad_(False)
        layout = data.recipe.layout
        kept = measure_sensitivity(
            base,
            data.blocks[:, mask_of(data.recipe, layout.block_size)],
            load_photos(plan.crop_plan.photos, split="train"),
            crop_size=plan.crop_plan.crop_size,
            seed=plan.settings.seed,
        )
        buffer = io.BytesIO()
        np.save(buffer, kept, allow_pickle=False)
        write_bytes(path, buffer.getvalue(), force=True)
    return kept


def _train_on_pairs(plan: _Plan, lessons: Lessons, result: WeightGenerator) -> WeightGenerator:
    """Teach passes over example pairs, which start from what the trained generator makes of words.

    Raises:
        TrainingError: the loss is not finite.
    """
    settings, device = plan.settings, plan.device
    crops, names = _make_crops(plan)
    objective = BehaviourObjective(plan.data, settings, lessons, crops=crops, crop_plan=plan.crop_plan)
    draws = objective.to(device).draw_on(device)
    assert draws is not None  # checked before the first stage
    words = result.flat_weights()
    shape = replace(result.config.shape, n_layers=settings.n_pair_layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        denoiser = PairDenoiser(shape)
    begun = hashlib.sha256(words.numpy().tobytes()).hexdigest()
    folder = stage_folder(plan.run, "pairs", settings.to_dict(), plan.data.digest, names, begun)
    make_folder(folder / "snapshots")
    weights = run_resident(
        stage_of_passes(
            settings,
            objective,
            draws,
            folder=folder,
            words=_frozen(build_denoiser(result.config.kind, result.config.shape, seed=0), words).to(device),
            denoiser=denoiser.to(device),
        ),
        callback=plan.report("pairs", settings.pairs.n_steps),
    )
    bind_parameters(denoiser.cpu(), weights)
    round_parameters(denoiser)
    return result.with_pairs(
        shape, {name: value.half().numpy() for name, value in denoiser.state_dict().items()}
    )


def _frozen(denoiser: torch.nn.Module, weights: Tensor) -> torch.nn.Module:
    bind_parameters(denoiser, weights)
    return denoiser.requires_grad_(False)


def _make_crops(plan: _Plan) -> tuple[Path, list[str]]:
    """Make the crops of all concepts; returns their folder and the name of each concept's file."""
    crops = plan.run / "crops"

    def on_crops(n_done: int, n_all: int) -> None:
        plan.report("crops", n_all)(n_done, 0.0)

    pool = Pool(plan.n_workers, plan.backend, plan.address)
    with plan.ranks.first_goes_first():
        make_crops(plan.data.all_teachers, crops, plan.crop_plan, pool=pool, callback=on_crops)
    return crops, [plan.crop_plan.name_of(teacher) for teacher in plan.data.all_teachers]


def _train_on_behaviour(
    plan: _Plan, lessons: Lessons, make_denoiser: Callable[[], Any], start: Tensor
) -> Tensor:
    settings = plan.settings
    crops, names = _make_crops(plan)
    begun = hashlib.sha256(start.numpy().tobytes()).hexdigest()
    folder = stage_folder(plan.run, "behaviour", settings.to_dict(), *_weights_parts(plan), names, begun)
    job = StageJob(
        settings=settings,
        stage=settings.behaviour,
        folder=folder,
        make_denoiser=make_denoiser,
        make_objective=partial(
            BehaviourObjective, plan.data, settings, lessons, crops=crops, crop_plan=plan.crop_plan
        ),
        start=start,
        n_workers=plan.n_workers,
        device=plan.device,
    )
    return plan.train_stage(job, "behaviour")


def _weights_parts(plan: _Plan) -> tuple[object, ...]:
    """Everything that the first stage depends on, without the settings of the second stage."""
    settings = plan.settings.to_dict()
    for name in _LATER:
        del settings[name]
    shown: list[object] = []
    if plan.settings.by_sensitivity:
        shown = [plan.crop_plan.photos_digest, plan.crop_plan.crop_size]
    elif "pairs" in ENCODERS[plan.settings.encoder].reads:
        shown = [plan.crop_plan.photos_digest]
    return settings, plan.data.digest, plan.text.digest, shown


def _config(
    plan: _Plan,
    shape: DenoiserShape,
    lessons: Lessons,
    start: WeightGenerator | None,
    transfer: WeightGenerator | None,
) -> GeneratorConfig:
    settings, data = plan.settings, plan.data
    training: dict[str, Any] = settings.to_dict() | {
        "n_wordings": sum(len(prompts) for prompts in data.all_prompts),
        "n_practice": len(data.practice),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    if start is not None:  # the other training did the first stage
        training["weights"]["n_steps"] = 0
        training["start"] = dict(start.config.training)
    elif transfer is not None:
        training["transfer"] = {"base_sha256": transfer.config.base_sha256} | dict(transfer.config.training)
    try:
        return GeneratorConfig(
            kind=settings.kind,
            shape=shape,
            layout=data.recipe.layout,
            recipe=data.recipe.name,
            base_sha256=data.base_sha256,
            n_train_concepts=len(data.concept_ids),
            is_regressor=settings.regressor,
            text=TEXT_SOURCES[settings.encoder],
            learned_tokens=lessons.learned_tokens,
            training=training,
        )
    except ValueError as error:
        raise TrainingError(f"{error}. Set another --width or --block-size") from error


def _finish(
    plan: _Plan, config: GeneratorConfig, denoiser: torch.nn.Module, weights: Tensor
) -> WeightGenerator:
    settings, data = plan.settings, plan.data
    bind_parameters(denoiser, weights.clone())
    round_parameters(denoiser)
    mean, scale = normalisation(
        data.cut_blocks(settings.block_size),
        mask_of(data.recipe, settings.block_size),
        floor=settings.scale_floor,
    )
    return WeightGenerator(config, denoiser, plan.text, mean=mean, scale=scale)
