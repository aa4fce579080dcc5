"""From a finished run folder to a zoo: base, shards and index."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from safetensors.numpy import load_file

from initzoo.checkpoints import write_base
from initzoo.errors import HarvestError, OutputError
from initzoo.files import replace_folder
from initzoo.pairs import Concept
from initzoo.training.harvest.recipe import HarvestRecipe
from initzoo.training.harvest.settings import HarvestPlan, RunFolder
from initzoo.zoo import IndexRow, Payload, refresh_manifest, write_index, write_shard

__all__ = ["check_free", "pack_zoo"]

WEIGHTS_LICENCE = "Apache-2.0"
_CHECKPOINTS_A_SHARD = 512


def pack_zoo(plan: HarvestPlan, run: RunFolder, out: Path) -> list[IndexRow]:
    """Write `dataset/index.parquet`, `dataset/blocks/` and `model/base/<recipe>/` into a folder.

    The same run gives the same bytes. Concepts that failed have no row. What was there is replaced: the
    index goes first and comes last, so that a folder on the way is plainly no zoo.

    Args:
        plan: what was harvested.
        run: holds base, fits and scores.
        out: the zoo's folder, as `check_free` leaves it; other files in it are left alone.

    Returns:
        The rows of the index.

    Raises:
        HarvestError: no concept has a checkpoint.
        OutputError: it cannot be written.
    """
    recipe, layout = plan.recipe, plan.recipe.layout
    concepts = [concept for concept in plan.concepts if (run.fits / f"{concept.id}.safetensors").exists()]
    by_id = {concept.id: concept for concept in concepts}
    if not concepts:
        raise HarvestError("no concept has a checkpoint, so there is nothing to pack.")
    index_path = out / "dataset" / "index.parquet"
    index_path.unlink(missing_ok=True)
    for leftover in [*out.glob("dataset/.*.part"), *out.glob("dataset/.*.old")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    config = write_base(
        out / "model" / "base" / recipe.name,
        recipe=recipe.checkpoint,
        weights=load_file(run.base),
        licence=WEIGHTS_LICENCE,
        made_with=recipe.made_with,
        force=True,
    )
    rows = []
    with replace_folder(out / "dataset" / "blocks", force=True) as folder:
        for number, first in enumerate(range(0, len(concepts), _CHECKPOINTS_A_SHARD)):
            blocks = {
                concept.id: load_file(run.fits / f"{concept.id}.safetensors")["blocks"]
                for concept in concepts[first : first + _CHECKPOINTS_A_SHARD]
            }
            name = f"blocks-{number:05d}.safetensors"
            payloads = write_shard(folder / name, blocks, layout, recipe.name)
            rows += [
                _make_row(by_id[concept_id], run, recipe, config.base_sha256, f"blocks/{name}", payload)
                for concept_id, payload in sorted(payloads.items())
            ]
    write_index(index_path, rows)
    refresh_manifest(out, recipe=recipe.name)
    return rows


def check_free(out: Path, *, force: bool) -> None:
    """Make a zoo's folder, or raise if none may be written there: before hours of training, not after.

    Raises:
        OutputError: the folder holds a zoo, or part of one, and `force` is off, or it is not writable.
    """
    places = ("dataset/index.parquet", "dataset/blocks", "model/base")
    if not force and any(os.path.lexists(out / place) for place in places):
        raise OutputError(f"{out} holds a zoo already. Choose another folder, or add --force to replace it")
    try:
        for folder in ("dataset", "model"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out}: {error.strerror}. Choose another") from error
    if not os.access(out / "dataset", os.W_OK):
        raise OutputError(f"cannot write to {out / 'dataset'}. Choose a place that is writable")


def _make_row(
    concept: Concept, run: RunFolder, recipe: HarvestRecipe, base_sha256: str, shard: str, payload: Payload
) -> IndexRow:
    """What the index says of a checkpoint that has been written to a shard."""
    notes = json.loads((run.fits / f"{concept.id}.json").read_bytes())
    mean = json.loads((run.mean_scores / f"{concept.id}.json").read_bytes())
    return IndexRow(
        concept_id=concept.id,
        prompts=concept.prompts,
        test_prompts=concept.test_prompts,
        family=concept.family,
        split=concept.split,
        novelty=concept.novelty,
        teacher=json.dumps(concept.teacher.to_json()),
        recipe=recipe.name,
        layout_id=recipe.layout.id,
        base_sha256=base_sha256,
        shard=shard,
        byte_start=payload.start,
        byte_end=payload.end,
        sha256=payload.sha256,
        n_blocks=recipe.layout.n_blocks,
        block_size=recipe.layout.block_size,
        dtype="F16",
        psnr=notes["trained"]["psnr"],
        ssim=notes["trained"]["ssim"],
        psnr_untouched=notes["untouched"]["psnr"],
        ssim_untouched=notes["untouched"]["ssim"],
        psnr_mean=mean["psnr"],
        ssim_mean=mean["ssim"],
        licence=concept.licence,
        source=concept.source,
    )
