"""The details: all weights of the looks that need it, trained from base and adapter by several processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from initzoo.checkpoints import (
    add_detail,
    decode_detail,
    join_blocks,
    merge_adapter,
)
from initzoo.errors import InitzooError
from initzoo.files import write_bytes
from initzoo.networks import adapter_from_arrays, to_images
from initzoo.pairs import Concept, make_pairs, score_images, scoring_pairs, training_photos
from initzoo.training.harvest.recipe import DetailStage
from initzoo.training.harvest.rounded import encode_rounded
from initzoo.training.harvest.settings import HarvestPlan, RunFolder
from initzoo.training.harvest.updates import TrainingDiverged, fit_detail
from initzoo.work import Pool, read_json_piece, read_piece

__all__ = ["choose_details", "run_details"]

_PATCH_SIZE = 192
"""Side, in pixels, of the part of each taught photo that a training keeps; its crops come from there."""

_N_TYPICAL = 16
"""Patches on which a network is looked at before its weights are rounded."""

_LEAST_GAIN = 0.1
"""A detail that gains less on the scoring photos is not kept, dB."""


Files = dict[Path, bytes | None]
"""Files of a concept in the order in which they are written; None for one to remove."""


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
    chosen = _chosen(plan, run)
    todo = [concept_id for concept_id in chosen if not _is_done(plan, run, concept_id)]
    n_done = len(chosen) - len(todo)
    callback(n_done, len(chosen))
    for _, files in pool.run(partial(_start_worker, plan, run), todo):
        for path, data in files.items():
            if data is None:
                path.unlink(missing_ok=True)
            else:
                write_bytes(path, data, force=True)
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


def choose_details(plan: HarvestPlan, reached: Mapping[str, float]) -> list[str]:
    """The concepts that get a detail: single looks, first those that people name, then the worst.

    Args:
        plan: what is harvested.
        reached: PSNR that each concept's adapter reaches, dB.
    """
    stage = plan.recipe.detail
    named = {concept_id: place for place, concept_id in enumerate(plan.named_looks)}
    able = [
        concept_id
        for concept_id, psnr in reached.items()
        if "--" not in concept_id and psnr < stage.max_psnr  # two hyphens join the parts of a composition
    ]

    def rank(concept_id: str) -> tuple[int, float, str]:
        return named.get(concept_id, len(named)), reached[concept_id], concept_id

    return sorted(able, key=rank)[: stage.n_concepts]


def _chosen(plan: HarvestPlan, run: RunFolder) -> list[str]:
    """The concepts that get a detail, as they were chosen when the first was trained."""
    notes = read_json_piece(run.chosen_details)
    if notes is None:
        fits = {concept.id: run.fit_notes(concept.id) or {} for concept in plan.concepts}
        reached = {name: fit["trained"]["psnr"] for name, fit in fits.items() if "trained" in fit}
        notes = {"chosen": choose_details(plan, reached)}
        write_bytes(run.chosen_details, json.dumps(notes).encode(), force=True)
    return list(notes["chosen"])


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

    def left_detail(self, concept_id: str) -> bytes | None:
        """The detail that an accelerator has left, or a training before it was scored."""
        recipe = self.plan.recipe.checkpoint

        def read(path: Path) -> bytes:
            data = path.read_bytes()
            decode_detail(data, recipe, concept_id)
            return data

        return read_piece(self.run.details / f"{concept_id}.detail", read)

    def train(
        self,
        concept: Concept,
        adapter: Mapping[str, NDArray[np.float32]],
        merged: Mapping[str, NDArray[np.float32]],
    ) -> tuple[bytes, int]:
        """Train all weights of a concept. Returns its detail and the number of steps."""
        recipe = self.plan.recipe
        pairs = make_pairs(
            concept.teacher,
            self.photos,
            n_pairs=len(self.photos),
            patch_size=max(_PATCH_SIZE, recipe.crop_size),
            seed=recipe.seed,
            grid=recipe.crop_grid,
        )
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
        arrays = {name: value.numpy() for name, value in trained.items()}
        network = recipe.network.build()
        chosen = slice(None, None, -(-len(pairs.inputs) // _N_TYPICAL))
        typical = to_images(pairs.inputs[chosen]), to_images(pairs.targets[chosen])
        return encode_rounded(network, arrays, merged, recipe.checkpoint, *typical), n_steps

    def __call__(self, concept_id: str) -> Files:
        """Train and score one detail; its JSON file comes last, whether it is kept or not."""
        concept, recipe = self.concepts[concept_id], self.plan.recipe
        notes: dict[str, Any] = {}
        files = Files()
        try:
            blocks = load_file(self.run.fits / f"{concept_id}.safetensors")["blocks"]
            # As it is stored: the detail makes up for what float16 costs, too.
            adapter = join_blocks(blocks.astype(np.float16).astype(np.float32), recipe.layout)
            merged = merge_adapter(self.weights, adapter, recipe.layout)
            data, n_steps = self.left_detail(concept_id), _steps_of_accelerated(recipe.detail)
            if data is None:
                data, n_steps = self.train(concept, adapter, merged)
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
            is_kept = score.psnr >= alone["psnr"] + _LEAST_GAIN
            files[self.run.details / f"{concept_id}.detail"] = data if is_kept else None
        return files | {self.run.details / f"{concept_id}.json": json.dumps(notes).encode()}


def _steps_of_accelerated(stage: DetailStage) -> int:
    """Steps of a detail that an accelerator trained: it takes no other number."""
    return max(stage.n_steps, stage.max_steps)


def _start_worker(plan: HarvestPlan, run: RunFolder) -> Callable[[str], Files]:
    return _Worker(plan, run)
