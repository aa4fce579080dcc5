"""The details: all weights of the looks that need it, trained from base and adapter by several processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from initzoo.checkpoints import (
    add_detail,
    decode_detail,
    encode_detail,
    join_blocks,
    merge_adapter,
)
from initzoo.errors import InitzooError
from initzoo.files import write_bytes
from initzoo.networks import adapter_from_arrays
from initzoo.pairs import make_pairs, score_images, scoring_pairs, training_photos
from initzoo.training.harvest.settings import HarvestPlan, RunFolder
from initzoo.training.harvest.updates import TrainingDiverged, fit_detail
from initzoo.work import Pool, read_json_piece, read_piece

__all__ = ["run_details"]

_PATCH_SIZE = 192
"""Side, in pixels, of the part of each taught photo that a training keeps; its crops come from there."""

_LEAST_GAIN = 0.1
"""A detail that gains less on the scoring photos is not kept, dB."""


def run_details(
    plan: HarvestPlan, run: RunFolder, *, pool: Pool, callback: Callable[[int, int], None]
) -> None:
    """Train and score the details that the run folder lacks.

    Args:
        plan: what is harvested.
        run: holds base and fits; gets a file per concept with the bytes of its detail, and one with scores.
        pool: who works.
        callback: called with concepts done and concepts in all, those done before counted too.

    Raises:
        WorkerDied: a worker died.
    """
    chosen = _choose(plan, run)
    todo = [concept_id for concept_id in chosen if not _is_done(plan, run, concept_id)]
    n_done = len(chosen) - len(todo)
    callback(n_done, len(chosen))
    for _ in pool.run(partial(_start_worker, plan, run), todo):
        n_done += 1
        callback(n_done, len(chosen))


def _is_done(plan: HarvestPlan, run: RunFolder, concept_id: str) -> bool:
    """Whether a concept has its detail, or notes on why it has none. Damaged files are removed."""
    path = run.details / f"{concept_id}.json"
    notes = read_json_piece(path)
    if notes is None or "trained" not in notes:
        return notes is not None
    fit = run.fit_notes(concept_id) or {}
    is_kept = notes["trained"]["psnr"] >= fit["trained"]["psnr"] + _LEAST_GAIN
    detail = run.details / f"{concept_id}.detail"
    recipe = plan.recipe.checkpoint
    if (
        is_kept
        and read_piece(detail, lambda file: decode_detail(file.read_bytes(), recipe, concept_id)) is None
    ):
        path.unlink(missing_ok=True)
        return False
    return True


def _choose(plan: HarvestPlan, run: RunFolder) -> list[str]:
    """The concepts that get a detail: single looks that their adapter makes worst."""
    stage = plan.recipe.detail
    reached = {}
    for concept in plan.concepts:
        if "--" not in concept.id:  # two hyphens join the parts of a composition
            notes = json.loads((run.fits / f"{concept.id}.json").read_bytes())
            if "trained" in notes and notes["trained"]["psnr"] < stage.max_psnr:
                reached[concept.id] = notes["trained"]["psnr"]
    return sorted(reached, key=lambda concept_id: (reached[concept_id], concept_id))[: stage.n_concepts]


class _Worker:
    """What a worker process loads once and uses for all its concepts."""

    def __init__(self, plan: HarvestPlan, run: RunFolder) -> None:
        recipe = plan.recipe
        self.plan, self.run = plan, run
        self.concepts = {concept.id: concept for concept in plan.concepts}
        self.weights = load_file(run.base)
        self.base = recipe.checkpoint.build_base(self.weights).requires_grad_(False)
        self.photos = training_photos(plan.load_photos("train"), recipe.detail.n_photos, seed=recipe.seed)
        self.scoring = plan.load_photos("score")

    def __call__(self, concept_id: str) -> None:
        """Train, score and write one detail; its JSON file comes last, whether it is kept or not."""
        concept, recipe = self.concepts[concept_id], self.plan.recipe
        place = self.run.details / concept_id
        notes: dict[str, Any] = {}
        try:
            pairs = make_pairs(
                concept.teacher,
                self.photos,
                n_pairs=len(self.photos),
                patch_size=max(_PATCH_SIZE, recipe.crop_size),
                seed=recipe.seed,
            )
            blocks = load_file(self.run.fits / f"{concept_id}.safetensors")["blocks"]
            # As it is stored: the detail makes up for what float16 costs, too.
            adapter = join_blocks(blocks.astype(np.float16).astype(np.float32), recipe.layout)
            trained, n_steps = fit_detail(
                self.base,
                adapter_from_arrays(adapter, dict(recipe.layout.tensors)),
                pairs,
                recipe.detail,
                crop_size=recipe.crop_size,
                max_gradient=recipe.max_gradient,
                seed=recipe.seed,
                crop_grid=recipe.crop_grid,
            )
            merged = merge_adapter(self.weights, adapter, recipe.layout)
            data = encode_detail(
                {name: value.numpy() for name, value in trained.items()}, merged, recipe.checkpoint
            )
            network = recipe.network.build()
            network.load_arrays(add_detail(merged, decode_detail(data, recipe.checkpoint, concept_id)))
            inputs, targets = scoring_pairs(concept.teacher, self.scoring)
            with torch.inference_mode():
                score = score_images([network.edit(photo) for photo in inputs], targets)
        except (InitzooError, TrainingDiverged) as error:
            notes = {"failure": str(error)}
        else:
            notes = {"trained": asdict(score), "n_steps": n_steps}
            alone = json.loads((self.run.fits / f"{concept_id}.json").read_bytes())["trained"]
            if score.psnr >= alone["psnr"] + _LEAST_GAIN:
                write_bytes(place.with_name(f"{concept_id}.detail"), data, force=True)
        write_bytes(place.with_name(f"{concept_id}.json"), json.dumps(notes).encode(), force=True)


def _start_worker(plan: HarvestPlan, run: RunFolder) -> Callable[[str], None]:
    return _Worker(plan, run)
