"""The stages of a harvest on an accelerator: base, adapters and details of all concepts in minutes.

Worker processes make the pairs of all concepts, which then stay on the accelerator. What is trained there
goes into the run folder as the other stages leave it, without scores. The stages that follow measure those.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from initzoo.checkpoints import join_blocks, merge_adapter, split_blocks
from initzoo.errors import HarvestError, InitzooError
from initzoo.files import write_bytes
from initzoo.networks import Adapted, adapter_from_arrays, adapter_to_arrays
from initzoo.pairs import Concept, make_pairs, training_photos
from initzoo.training.harvest.details import choose_details
from initzoo.training.harvest.joint import finish_joint_stage
from initzoo.training.harvest.rounded import encode_rounded
from initzoo.training.harvest.settings import HarvestPlan, RunFolder, read_blocks
from initzoo.training.harvest.together import (
    Crops,
    Material,
    kept_psnr,
    pairs_that_fit,
    stack_adapters,
    train_adapters,
    train_base,
    train_details,
)
from initzoo.training.harvest.updates import rate_at
from initzoo.work import Pool, read_json_piece

__all__ = ["run_accelerated"]

_PATCH_SIZE = 160
"""Side, in pixels, of the part of each taught photo that is kept; crops come from there."""

_KEPT_ASIDE = 18
"""One pair in so many is judged by and not trained on."""

_CONCEPTS_AT_ONCE = 128
"""Concepts whose adapters are trained at once."""

_DETAILS_AT_ONCE = 61
"""Concepts all of whose weights are trained at once: memory for 8 crops of each."""

Progress = Callable[[str, int, int], None]


def run_accelerated(
    plan: HarvestPlan,
    run: RunFolder,
    device: torch.device,
    *,
    pool: Pool,
    callback: Progress,
) -> None:
    """Train what the run folder lacks on one device: the base, all adapters, and the details.

    An accelerator adds numbers in another order each time, so two runs do not give the same bytes. A concept
    whose pairs cannot be made is left to the fits, which note why.

    Args:
        plan: what is harvested.
        run: gets base, adapters and details; scores come later.
        device: where to train.
        pool: makes the pairs.
        callback: called with stage, things done and things in all.

    Raises:
        HarvestError: every concept failed, or the pairs do not fit into the device's memory.
        WorkerDied: a worker died.
    """
    if read_json_piece(run.chosen_details) is not None:  # written last
        return
    training = _Training(plan, run, device)
    training.teach(pool, partial(callback, "pairs"))
    if not run.base.exists():
        training.train_base(partial(callback, "joint"))
    reached = training.train_adapters(partial(callback, "adapters"))
    chosen = choose_details(plan, reached)
    training.train_details(chosen, partial(callback, "weights"))
    write_bytes(run.chosen_details, json.dumps({"chosen": chosen}).encode(), force=True)


class _Training:
    """The pairs of all concepts on a device, and what is trained there."""

    def __init__(self, plan: HarvestPlan, run: RunFolder, device: torch.device) -> None:
        self.plan, self.run, self.device, self.recipe = plan, run, device, plan.recipe
        self.ids = [concept.id for concept in plan.concepts]
        self.failures: dict[str, str] = {}
        self.side = max(_PATCH_SIZE, self.recipe.crop_size)
        n_free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**40
        self.n_pairs = pairs_that_fit(len(self.ids), self.recipe.fit.n_photos, self.side, n_free)
        if self.n_pairs < 2:
            raise HarvestError(
                f"the pairs of {len(self.ids)} concepts do not fit into the memory of {device}. "
                "Harvest fewer at once with --limit"
            )
        n_kept = max(1, self.n_pairs // _KEPT_ASIDE)
        self.material = Material(len(self.ids), self.n_pairs, self.side, n_kept=n_kept, device=device)
        generator = torch.Generator(device=device).manual_seed(self.recipe.seed)
        self.crops = Crops(self.recipe.crop_size, self.recipe.crop_grid, generator)

    def teach(self, pool: Pool, callback: Callable[[int, int], None]) -> None:
        """Make all pairs and put them on the device."""
        make_worker = partial(_Teacher, self.plan, self.n_pairs, self.side)
        for n_done, (concept_id, made) in enumerate(pool.run(make_worker, self.ids), start=1):
            if isinstance(made, str):
                self.failures[concept_id] = made
            else:
                self.material.put(self.ids.index(concept_id), made)
            callback(n_done, len(self.ids))

    def numbers(self, *, seen: bool) -> Tensor:
        """Numbers of the concepts that the joint stage sees, or of those that it does not."""
        joint = {concept.id for concept in self.plan.joint_concepts}
        concepts = [
            number
            for number, concept in enumerate(self.plan.concepts)
            if concept.id not in self.failures and (concept.id in joint) == seen
        ]
        return torch.tensor(concepts, dtype=torch.int64, device=self.device)

    def train_base(self, callback: Callable[[int, int], None]) -> None:
        """The joint stage, from a base drawn at random."""
        recipe, stage = self.recipe, self.recipe.joint
        concepts = self.numbers(seen=True)
        if not len(concepts):
            raise HarvestError(f"every concept failed, e.g. {next(iter(self.failures.values()))}")
        drawn = torch.Generator().manual_seed(recipe.seed)
        base = Adapted(recipe.network.build(), recipe.ranks, generator=drawn).to(self.device)
        adapters = torch.zeros(len(self.ids), base.n_adapter_values, device=self.device)
        train_base(
            base,
            adapters,
            self.material,
            concepts,
            stage,
            self.crops,
            max_gradient=recipe.max_gradient,
            rate_at=lambda update, n_updates: rate_at(update, n_updates, stage),
            callback=lambda done, n_all, loss: callback(done, n_all),
        )
        trained = recipe.checkpoint.build_base(base.to_arrays())
        good = {self.ids[number]: adapters[number].cpu() for number in concepts.tolist()}
        finish_joint_stage(self.plan, self.run, trained, good, self.failures)

    def train_adapters(self, callback: Callable[[int, int], None]) -> dict[str, float]:
        """The fits, many at once: first of the concepts of the joint stage, then of the others.

        Returns:
            PSNR on the pairs kept aside by concept, dB.
        """
        base = self.open_base()
        reached: dict[str, float] = {}
        starts = load_tensors(self.run.joint_adapters)
        for seen in (True, False):
            stage = self.recipe.fit if seen else self.recipe.fit.of_new()
            for numbers in self.numbers(seen=seen).split(_CONCEPTS_AT_ONCE):
                if not len(numbers):  # the split of nothing is one empty part
                    continue
                ids = [self.ids[number] for number in numbers.tolist()]
                if all(read_blocks(self.run.fits / f"{name}.safetensors") is not None for name in ids):
                    trained = torch.stack([self.stored_adapter(name) for name in ids]).to(self.device)
                else:
                    zero = torch.zeros(base.n_adapter_values)
                    adapters = torch.stack([starts.get(name, zero) for name in ids]).to(self.device)
                    trained = train_adapters(
                        base,
                        adapters,
                        self.material,
                        numbers,
                        stage,
                        self.crops,
                        max_gradient=self.recipe.max_gradient,
                    )
                    for name, adapter in zip(ids, trained.cpu(), strict=True):
                        self.keep_adapter(name, adapter)
                psnr = kept_psnr(base.network, stack_adapters(base, trained), self.material, numbers)
                reached |= dict(zip(ids, psnr.tolist(), strict=True))
                callback(len(reached), len(self.ids) - len(self.failures))
        return reached

    def train_details(self, chosen: Sequence[str], callback: Callable[[int, int], None]) -> None:
        """The details, many at once."""
        recipe = self.recipe
        base, arrays = self.open_base(), load_tensors(self.run.base)
        weights = {name: value.numpy() for name, value in arrays.items()}
        places = {name: number for number, name in enumerate(self.ids)}
        network = recipe.network.build().to(self.device)
        for first in range(0, len(chosen), _DETAILS_AT_ONCE):
            ids = chosen[first : first + _DETAILS_AT_ONCE]
            adapters = [self.stored_adapter(name) for name in ids]
            trained = train_details(
                base,
                torch.stack(adapters).to(self.device),
                self.material,
                torch.tensor([places[name] for name in ids], device=self.device),
                recipe.detail,
                self.crops,
                max_gradient=recipe.max_gradient,
            )
            host = {name: value.cpu().numpy() for name, value in trained.items()}
            for place, (concept_id, adapter) in enumerate(zip(ids, adapters, strict=True)):
                tensors = adapter_to_arrays(adapter, dict(recipe.layout.tensors))
                merged = merge_adapter(weights, tensors, recipe.layout)
                whole = {name: value[place] for name, value in host.items()}
                number = torch.tensor([places[concept_id]], device=self.device)
                typical = self.material.kept(number)
                data = encode_rounded(network, whole, merged, recipe.checkpoint, *typical)
                write_bytes(self.run.details / f"{concept_id}.detail", data, force=True)
            callback(first + len(ids), len(chosen))

    def keep_adapter(self, concept_id: str, adapter: Tensor) -> None:
        layout = self.recipe.layout
        blocks = split_blocks(adapter_to_arrays(adapter, dict(layout.tensors)), layout)
        write_bytes(self.run.fits / f"{concept_id}.safetensors", save({"blocks": blocks}), force=True)

    def stored_adapter(self, concept_id: str) -> Tensor:
        """An adapter as a zoo stores it: the detail makes up for what float16 costs, too."""
        blocks = load_file(self.run.fits / f"{concept_id}.safetensors")["blocks"]
        tensors = join_blocks(blocks.astype(np.float16).astype(np.float32), self.recipe.layout)
        return adapter_from_arrays(tensors, dict(self.recipe.layout.tensors))

    def open_base(self) -> Adapted:
        arrays = {name: value.numpy() for name, value in load_tensors(self.run.base).items()}
        return self.recipe.checkpoint.build_base(arrays).requires_grad_(False).to(self.device)


class _Teacher:
    """A worker that makes the pairs of a concept."""

    def __init__(self, plan: HarvestPlan, n_pairs: int, side: int) -> None:
        self.n_pairs, self.side = n_pairs, side
        self.seed, self.grid = plan.recipe.seed, plan.recipe.crop_grid
        self.photos = training_photos(plan.load_photos("train"), n_pairs, seed=self.seed)
        self.concepts = {concept.id: concept for concept in plan.concepts}

    def __call__(self, concept_id: str) -> NDArray[np.uint8] | str:
        """Returns the pairs, `(n_pairs, 2, side, side, 3)`, or why there are none."""
        concept: Concept = self.concepts[concept_id]
        try:
            pairs = make_pairs(
                concept.teacher,
                self.photos,
                n_pairs=self.n_pairs,
                patch_size=self.side,
                seed=self.seed,
                grid=self.grid,
            )
        except InitzooError as error:
            return str(error)
        return np.stack([pairs.inputs, pairs.targets], axis=1)
