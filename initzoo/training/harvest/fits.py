"""The fits: one adapter a concept, each trained and scored on its own, by several processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from safetensors.torch import load_file as load_tensors

from initzoo.checkpoints import join_blocks, merge_adapter, split_blocks
from initzoo.errors import HarvestError, InitzooError
from initzoo.files import write_bytes
from initzoo.networks import adapter_to_arrays
from initzoo.pairs import Concept, make_pairs, score_images, scoring_pairs, training_photos
from initzoo.training.harvest.settings import HarvestPlan, RunFolder, read_blocks
from initzoo.training.harvest.updates import TrainingDiverged, fit_adapter
from initzoo.work import Pool, read_json_piece

__all__ = ["run_fits", "run_mean_scores"]

_FLOAT32_EVERY = 8
"""One concept in so many is scored with float32 blocks too, to know what float16 costs."""

_PATCH_SIZE = 192
"""Side, in pixels, of the part of each taught photo that a fit keeps; its crops come from there."""


Files = dict[Path, bytes]
"""Files of a concept in the order in which they are written: not by workers, whose machine may be another."""


def run_fits(
    plan: HarvestPlan, run: RunFolder, *, pool: Pool, callback: Callable[[int, int], None]
) -> list[tuple[str, str]]:
    """Fit and score the adapter of every concept that has none yet in the run folder.

    Args:
        plan: what is harvested.
        run: holds the base; gets a file a concept.
        pool: who works.
        callback: called with concepts done and concepts in all, those done before counted too.

    Returns:
        Concepts that failed, with the reason.

    Raises:
        WorkerDied: a worker died.
    """
    todo = [concept.id for concept in plan.concepts if run.fit_notes(concept.id) is None]
    _run_all(plan, run, _fit_concept, todo, pool=pool, callback=callback)
    failures = []
    for concept in plan.concepts:
        path = run.fits / f"{concept.id}.json"
        notes = json.loads(path.read_bytes())
        if "failure" in notes:
            failures.append((concept.id, str(notes["failure"])))
    return failures


def run_mean_scores(
    plan: HarvestPlan, run: RunFolder, *, pool: Pool, callback: Callable[[int, int], None]
) -> None:
    """Score the mean of the train concepts' adapters on every concept: what knows nothing of the words.

    Args:
        plan: what is harvested.
        run: holds base and fits; gets a file a concept.
        pool: who works.
        callback: called with concepts done and concepts in all.

    Raises:
        HarvestError: every train concept failed.
        WorkerDied: a worker died.
    """
    path = run.mean_adapter
    if read_blocks(path) is None:
        files = [run.fits / f"{concept.id}.safetensors" for concept in plan.train_concepts]
        blocks = [load_file(file)["blocks"] for file in files if file.exists()]
        if not blocks:
            raise HarvestError(f"every train concept failed, e.g. {_first_failure(plan, run)}")
        mean = np.stack(blocks).mean(axis=0, dtype=np.float64).astype(np.float32)
        write_bytes(path, save({"blocks": mean}), force=True)
    scores = {concept.id: run.mean_scores / f"{concept.id}.json" for concept in plan.concepts}
    todo = [concept_id for concept_id, path in scores.items() if read_json_piece(path) is None]
    _run_all(plan, run, _score_mean, todo, pool=pool, callback=callback)


def _run_all(
    plan: HarvestPlan,
    run: RunFolder,
    job: Callable[[_Worker, str], Files],
    todo: Sequence[str],
    *,
    pool: Pool,
    callback: Callable[[int, int], None],
) -> None:
    """Run a job for each concept that is not done."""
    n_done, n_all = len(plan.concepts) - len(todo), len(plan.concepts)
    callback(n_done, n_all)
    for _, files in pool.run(partial(_start_worker, plan, run, job), todo):
        for path, data in files.items():
            write_bytes(path, data, force=True)
        n_done += 1
        callback(n_done, n_all)


def _first_failure(plan: HarvestPlan, run: RunFolder) -> str:
    concept = plan.train_concepts[0]
    return f"{concept.id}: {json.loads((run.fits / f'{concept.id}.json').read_bytes())['failure']}"


class _Worker:
    """What a worker process loads once and uses for all its concepts."""

    def __init__(self, plan: HarvestPlan, run: RunFolder) -> None:
        self.plan, self.run = plan, run
        self.concepts = {concept.id: concept for concept in plan.concepts}
        self.weights = load_file(run.base)
        self.base = plan.recipe.checkpoint.build_base(self.weights).requires_grad_(False)
        self.photos = training_photos(
            plan.load_photos("train"), plan.recipe.fit.n_photos, seed=plan.recipe.seed
        )
        self.starts = load_tensors(run.joint_adapters)
        self.scoring = plan.load_photos("score")
        self.places = {concept.id: place for place, concept in enumerate(plan.concepts)}
        self._mean_edits: dict[bytes, np.ndarray] = {}

    def edit(self, blocks: np.ndarray, photos: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the network with an adapter's blocks on photos, uint8 in and out."""
        recipe = self.plan.recipe
        model = recipe.network.build()
        model.load_arrays(merge_adapter(self.weights, join_blocks(blocks, recipe.layout), recipe.layout))
        return [model.edit(photo) for photo in photos]

    def edit_with_mean(self, photos: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the network with the mean adapter; most concepts show it the same photos, so edits are kept."""
        keys = [hashlib.sha256(photo.tobytes()).digest() for photo in photos]
        missing = [place for place, key in enumerate(keys) if key not in self._mean_edits]
        if missing:
            mean = load_file(self.run.mean_adapter)["blocks"]
            edited = self.edit(mean, [photos[place] for place in missing])
            if len(self._mean_edits) > 64:  # restorations show other pixels each time
                self._mean_edits.clear()
            self._mean_edits |= {keys[place]: image for place, image in zip(missing, edited, strict=True)}
        return [self._mean_edits[key] for key in keys]


def _start_worker(
    plan: HarvestPlan, run: RunFolder, job: Callable[[_Worker, str], Files]
) -> Callable[[str], Files]:
    return partial(job, _Worker(plan, run))


def _fit_concept(worker: _Worker, concept_id: str) -> Files:
    """Fit and score one concept. Whether it went well or not, its JSON file comes last."""
    concept, files = worker.concepts[concept_id], Files()
    try:
        blocks = _trained_blocks(worker, concept)
        stored = blocks.astype(np.float16).astype(np.float32)
        inputs, targets = scoring_pairs(concept.teacher, worker.scoring)
        notes: dict[str, Any] = {
            "untouched": asdict(score_images(inputs, targets)),
            "trained": asdict(score_images(worker.edit(stored, inputs), targets)),
        }
        if worker.places[concept_id] % _FLOAT32_EVERY == 0:
            notes["trained_float32"] = asdict(score_images(worker.edit(blocks, inputs), targets))
    except (InitzooError, TrainingDiverged) as error:
        notes = {"failure": str(error)}
    else:
        files[worker.run.fits / f"{concept_id}.safetensors"] = save({"blocks": blocks})
    return files | {worker.run.fits / f"{concept_id}.json": json.dumps(notes).encode()}


def _trained_blocks(worker: _Worker, concept: Concept) -> NDArray[np.float32]:
    """Train the adapter of a concept, or take the one that an accelerator has left. Returns its blocks."""
    recipe = worker.plan.recipe
    left = read_blocks(worker.run.fits / f"{concept.id}.safetensors")
    if left is not None:
        return left
    start = worker.starts.get(concept.id)
    pairs = make_pairs(
        concept.teacher,
        worker.photos,
        n_pairs=recipe.fit.n_photos,
        patch_size=max(_PATCH_SIZE, recipe.crop_size),
        seed=recipe.seed,
        grid=recipe.crop_grid,
    )
    adapter = fit_adapter(
        worker.base,
        pairs,
        recipe.fit if start is not None else recipe.fit.of_new(),
        crop_size=recipe.crop_size,
        max_gradient=recipe.max_gradient,
        seed=recipe.seed,
        crop_grid=recipe.crop_grid,
        start=start,
    )
    return split_blocks(adapter_to_arrays(adapter, dict(recipe.layout.tensors)), recipe.layout)


def _score_mean(worker: _Worker, concept_id: str) -> Files:
    """Score the mean adapter on one concept."""
    run = worker.run
    notes: dict[str, Any] = {}
    if (run.fits / f"{concept_id}.safetensors").exists():
        inputs, targets = scoring_pairs(worker.concepts[concept_id].teacher, worker.scoring)
        notes = asdict(score_images(worker.edit_with_mean(inputs), targets))
    return {run.mean_scores / f"{concept_id}.json": json.dumps(notes).encode()}
