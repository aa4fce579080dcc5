"""Fine-tuning on pairs with the pix2pix objective, from any start; resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initzoo import __version__
from initzoo.checkpoints import Init
from initzoo.errors import FinetuneError
from initzoo.files import check_room, write_bytes
from initzoo.networks import ImageNetwork
from initzoo.pairs import Pair, PairSet, Score, images_of, mean_score, note_on_rest, score_images
from initzoo.training.finetune.settings import FinetuneSettings, rate_at
from initzoo.training.finetune.snapshots import Progress, RunFolder, digest_of
from initzoo.training.finetune.trainer import Trainer
from initzoo.training.finetune.validation import Validated, Validator
from initzoo.training.harvest.updates import TrainingDiverged, draw_crops
from initzoo.training.start import Start
from initzoo.work import CurveLog, CurvePoint, open_run, repeatable

__all__ = ["Example", "Finetuned", "draw_batch", "run_finetune"]

Pixels = NDArray[np.uint8]
Weights = dict[str, NDArray[np.float32]]
Callback = Callable[[int, float, float], None]

SNAPSHOT_SECONDS = 20.0
"""Interval between snapshots, seconds: the work that is lost when a fine-tune is killed."""

_SMOOTHING = 0.02
_N_EXAMPLES = 8


@dataclass(frozen=True, eq=False)
class Example:
    """A validation pair with the edits of the network.

    Args:
        pair: input and target.
        before: edit of the start, uint8 RGB.
        after: edit of the best weights, uint8 RGB.
    """

    pair: Pair
    before: Pixels
    after: Pixels


@dataclass(frozen=True, eq=False)
class Finetuned:
    """The result of a fine-tune.

    Args:
        init: the best weights.
        best_step: step of the best weights; 0 for the start.
        start: score of the start on the validation pairs.
        end: score of the best weights.
        history: step, PSNR (dB) and SSIM of each validation.
        seconds: training time without interruptions.
        examples: some validation pairs with the edits of the start and of the best weights.
        curve: loss, PSNR and learning rate by step.
        n_natural: number of natural-gradient steps before the first step.
        untouched: score of the unedited inputs on the validation pairs.
    """

    init: Init
    best_step: int
    start: Score
    end: Score
    history: list[tuple[int, float, float]]
    seconds: float
    examples: tuple[Example, ...]
    curve: tuple[CurvePoint, ...] = ()
    n_natural: int = 0
    untouched: Score | None = None

    @property
    def note(self) -> str:
        """What the result says of the pairs, if they look like no single edit; empty otherwise."""
        if self.untouched is None or not math.isfinite(self.untouched.psnr):
            return ""
        return note_on_rest(10 ** ((self.untouched.psnr - self.end.psnr) / 10), after="training")

    @property
    def network(self) -> ImageNetwork:
        """A network with the best weights.

        Raises:
            InvalidInit: only an adapter was trained; merge it first: `zoo.merge(result.init)`.
        """
        return self.init.to_network()

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values, without weights and images."""
        return {
            "source": self.init.metadata.source,
            "best_step": self.best_step,
            "start": asdict(self.start),
            "end": asdict(self.end),
            "history": [{"step": step, "psnr": psnr, "ssim": ssim} for step, psnr, ssim in self.history],
            "seconds": round(self.seconds, 1),
            "n_natural": self.n_natural,
            "untouched": None if self.untouched is None else asdict(self.untouched),
        }


def run_finetune(
    start: Start,
    pairs: PairSet,
    settings: FinetuneSettings,
    run_folder: Path,
    *,
    device: torch.device,
    name: str = "",
    n_validations: int = 10,
    force: bool = False,
    callback: Callback | None = None,
) -> Finetuned:
    """Train a network on pairs, and keep the weights with the best score on the validation pairs.

    Unfinished work is kept in the run folder, from which the same call resumes. On a CPU the resumed run ends
    with the same bytes. Delete the folder after the result is written.

    Args:
        start: the start; its network is trained in place.
        pairs: training and validation pairs.
        settings: objective and schedule.
        run_folder: folder for unfinished work.
        device: device to compute on.
        name: name of the look in the resulting init; by default that of the pairs.
        n_validations: number of validations, spread over the steps; the start is validated as well.
        force: delete unfinished work of another fine-tune in the folder.
        callback: called after each step with the number of steps done, smoothed loss and the last PSNR (dB).

    Raises:
        FinetuneError: training diverged, or the snapshot is damaged.
        InvalidPairs: an image is smaller than a crop.
        OutputError: the run folder has other content, another process uses it, or it cannot be written.
    """
    pairs.check_crops(settings.crop_size)
    multiple = getattr(start.network, "multiple", 1)
    if settings.crop_size % multiple:
        raise FinetuneError(
            f"crop_size must be a multiple of {multiple} for this network, found {settings.crop_size}. "
            f"Take {max(settings.crop_size // multiple, 1) * multiple}"
        )
    decisive = {
        "initzoo": __version__,
        "device": device.type,
        "pairs": pairs.digest,
        "weights": digest_of(start.weights_of(start.network)),
        "n_validations": n_validations,
        **start.digest_parts,
        **settings.to_dict(),
    }
    n_bytes = 4 * sum(value.size for value in start.weights_of(start.network).values())
    # At least: a snapshot has the weights and two moments of each, and the result has weights.
    check_room(Path(run_folder), 4 * n_bytes, f"fine-tuning {start.name}", "name another run folder")
    before = start.editor(start.weights_of(start.network))
    run = RunFolder(Path(run_folder))
    with open_run(run.path, decisive, kind="fine-tune", force=force), repeatable(device):
        progress, curve = _run(start, pairs, settings, run, device, n_validations, callback)
    scores = {step: Score(psnr, ssim) for step, psnr, ssim in progress.history}
    best = progress.best_step
    init = start.to_init(
        progress.best_weights,
        name=name or pairs.source,
        score=scores[best],
        source=_source(start, pairs, best),
    )
    after = start.editor(progress.best_weights)
    return Finetuned(
        init=init,
        best_step=best,
        start=scores[0],
        end=scores[best],
        history=progress.history,
        seconds=progress.seconds,
        examples=_examples(pairs.validation, before.edit, after.edit),
        curve=curve,
        n_natural=progress.n_natural,
        untouched=mean_score([score_images([pair.given], [pair.wanted]) for pair in pairs.validation]),
    )


def draw_batch(
    pairs: Sequence[tuple[Pixels, Pixels]], settings: FinetuneSettings, step: int
) -> tuple[Tensor, Tensor]:
    """Draw the crops of one step, which depend on the seed and the step only.

    Args:
        pairs: inputs and targets, uint8, shape `(height, width, 3)`, not smaller than a crop.
        settings: sizes, mirroring and seed.
        step: number of the step, from 0.

    Returns:
        Inputs and targets, float32, shape `(batch_size, 3, crop_size, crop_size)`, values -1 to 1.

    Example:
        >>> photo = np.zeros((64, 80, 3), np.uint8)
        >>> inputs, targets = draw_batch([(photo, 255 - photo)], FinetuneSettings(), step=0)
        >>> inputs.shape, float(targets.min())
        (torch.Size([4, 3, 64, 64]), 1.0)
    """
    rng = np.random.default_rng([settings.seed, step])
    inputs, targets = draw_crops(
        pairs,
        n_crops=settings.batch_size,
        crop_size=settings.crop_size,
        rng=rng,
        grid=settings.crop_grid,
    )
    if settings.flip:
        mirrored = torch.from_numpy(rng.random(settings.batch_size) < 0.5)
        for images in (inputs, targets):
            images[mirrored] = images[mirrored].flip(3)
    return inputs, targets


def _run(
    start: Start,
    pairs: PairSet,
    settings: FinetuneSettings,
    run: RunFolder,
    device: torch.device,
    n_validations: int,
    callback: Callback | None,
) -> tuple[Progress, tuple[CurvePoint, ...]]:
    """Run the remaining steps."""

    def rate(step: int) -> float:
        return trainer.learning_rate * rate_at(step, settings)

    trainer = Trainer(start.trainable(), settings, device)
    images = images_of(pairs.train)
    kept = run.load()
    if kept is not None:
        progress = kept[0]
        try:
            trainer.load_state(kept[1], n_done=progress.n_done)
        except (KeyError, RuntimeError) as error:
            raise FinetuneError(
                f"the snapshot {run.snapshot} is of another version. Delete it to start again"
            ) from error
    else:
        progress = Progress()
    log = CurveLog(run.curve, "steps", n_all=settings.n_steps, n_done=progress.n_done)
    due = {round(settings.n_steps * number / n_validations) for number in range(1, n_validations + 1)}
    with Validator(start, pairs.validation) as validator:

        def keep() -> None:
            """Wait for the validation that goes on, and keep its weights if they are the best so far."""
            validated = validator.result()
            if validated is not None:
                _keep(validated, progress, run, start, pairs)
                log.score(validated.n_done, validated.score.psnr)

        if kept is None:
            validator.begin(0, start.weights_of(trainer.kept))
            if settings.n_steps:
                progress.n_natural = trainer.prepare(images)
            log.add(0, loss=None, learning_rate=rate(0) if settings.n_steps else 0.0, is_scored=True)
            keep()
        began, last_save = time.monotonic() - progress.seconds, time.monotonic()
        try:
            while trainer.n_done < settings.n_steps:
                loss = trainer.step(*draw_batch(images, settings, trainer.n_done))
                # A running mean that is exact for the first steps, where a fixed decay would lag behind.
                weight = max(_SMOOTHING, 1 / (trainer.n_done + 1))
                progress.loss = (
                    loss if trainer.n_done == 1 else progress.loss + weight * (loss - progress.loss)
                )
                progress.n_done = trainer.n_done
                is_due = trainer.n_done in due
                log.add(
                    trainer.n_done,
                    loss=progress.loss,
                    learning_rate=rate(trainer.n_done - 1),
                    is_scored=is_due,
                )
                if is_due:
                    trainer.check_finite()
                    keep()
                    validator.begin(trainer.n_done, start.weights_of(trainer.kept))
                if time.monotonic() - last_save >= SNAPSHOT_SECONDS or trainer.n_done == settings.n_steps:
                    trainer.check_finite()
                    keep()
                    progress.seconds = time.monotonic() - began
                    run.save(progress, trainer.state())
                    last_save = time.monotonic()
                if callback is not None:
                    callback(progress.n_done, progress.loss, progress.history[-1][1])
        except TrainingDiverged as error:
            keep()
            best = {step: psnr for step, psnr, _ in progress.history}[progress.best_step]
            raise FinetuneError(
                f"fine-tuning diverged: {error}. The best weights so far, of step {progress.best_step} with "
                f"{best:.2f} dB, are in {run.best}. Try a --learning-rate below {trainer.learning_rate:g}, "
                "with --force"
            ) from error
    return progress, tuple(log.points)


def _keep(validated: Validated, progress: Progress, run: RunFolder, start: Start, pairs: PairSet) -> None:
    """Add a validation to the history, and keep its weights if they are the best so far."""
    n_done, score = validated.n_done, validated.score
    best = max((psnr for _, psnr, _ in progress.history), default=-math.inf)
    progress.history.append((n_done, score.psnr, score.ssim))
    if score.psnr > best:
        progress.best_step, progress.best_weights = n_done, dict(validated.weights)
        init = start.to_init(
            validated.weights, name=pairs.source, score=score, source=_source(start, pairs, n_done)
        )
        write_bytes(run.best, init.to_bytes(), force=True)


def _source(start: Start, pairs: PairSet, n_steps: int) -> str:
    return f"fine-tuned from {start.name}, {n_steps} steps on {len(pairs.train)} pairs of {pairs.source}"


def _examples(
    pairs: Sequence[Pair], before: Callable[[Pixels], Pixels], after: Callable[[Pixels], Pixels]
) -> tuple[Example, ...]:
    """Some evenly spaced pairs, with the edits before and after training."""
    count = min(_N_EXAMPLES, len(pairs))
    chosen = (pairs[len(pairs) * number // count] for number in range(count))
    return tuple(Example(pair, before(pair.given), after(pair.given)) for pair in chosen)
