"""From a finished run folder to a zoo: base, shards and index."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from initzoo.checkpoints import write_base
from initzoo.errors import HarvestError, OutputError
from initzoo.files import check_room, make_folder, replace_folder, write_bytes
from initzoo.pairs import Concept
from initzoo.training.harvest.recipe import HarvestRecipe
from initzoo.training.harvest.settings import HarvestPlan, RunFolder
from initzoo.zoo import (
    MAX_SHARD_BYTES,
    IndexRow,
    Payload,
    check_plain,
    decode_blocks,
    problem_of,
    refresh_manifest,
    write_index,
    write_shard,
)

__all__ = ["check_free", "check_plan", "pack_zoo"]

WEIGHTS_LICENCE = "Apache-2.0"
_CHECKPOINTS_A_SHARD = 512
_EVALUATION = "evaluation.json"
_NO_SCORES = {"psnr": 0.0, "ssim": 0.0}


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
    kept = _kept_rows(plan)
    index_path = out / "dataset" / "index.parquet"
    index_path.unlink(missing_ok=True)
    for leftover in [*out.glob("dataset/.*.part"), *out.glob("dataset/.*.old")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    base_sha256 = _write_model(plan, run, out / "model")
    rows, names = [], sorted([*by_id, *kept])
    with replace_folder(out / "dataset" / "blocks", force=True) as folder:
        for number, (blocks, details) in enumerate(_shards(names, plan, run, kept)):
            shard = f"blocks/blocks-{number:05d}.safetensors"
            path = folder / Path(shard).name
            payloads = write_shard(path, blocks, layout, recipe.name, details=details)
            for name, payload in sorted(payloads.items()):
                if name in kept:
                    rows.append(_moved(kept[name], shard, payload))
                else:
                    rows.append(_make_row(by_id[name], run, recipe, base_sha256, shard, payload))
    write_index(index_path, rows)
    refresh_manifest(out, recipe=recipe.name)
    return rows


def _shards(
    names: Sequence[str], plan: HarvestPlan, run: RunFolder, kept: Mapping[str, IndexRow]
) -> Iterator[tuple[dict[str, NDArray[np.float32]], dict[str, bytes]]]:
    """Blocks and details of the checkpoints of each shard: as many as a reader takes of one."""
    blocks: dict[str, NDArray[np.float32]] = {}
    details: dict[str, bytes] = {}
    n_bytes = 0
    for name in names:
        values, detail = _weights_of(name, plan, run, kept)
        size = 2 * values.size + len(detail)
        if blocks and (len(blocks) == _CHECKPOINTS_A_SHARD or n_bytes + size > MAX_SHARD_BYTES - 2**20):
            yield blocks, details
            blocks, details, n_bytes = {}, {}, 0
        blocks[name] = values
        n_bytes += size
        if detail:
            details[name] = detail
    yield blocks, details


def _write_model(plan: HarvestPlan, run: RunFolder, model: Path) -> str:
    """Write the base, or copy those of the zoo that is added to. Returns the digest of the base."""
    recipe = plan.recipe
    folder = model / "base" / recipe.name
    if plan.zoo is None:
        config = write_base(
            folder,
            recipe=recipe.checkpoint,
            weights=load_file(run.base),
            licence=WEIGHTS_LICENCE,
            made_with=recipe.made_with,
            force=True,
        )
        return config.base_sha256
    copies = {folder: plan.zoo.files.base_folder(recipe.name)}
    # The card describes a weight generator by its evaluation, which a zoo on the Hub leaves there.
    evaluation = None if plan.zoo.is_on_hub else plan.zoo.folder / "model" / _EVALUATION
    if evaluation is not None and evaluation.exists() and plan.zoo.has_generator:
        copies[model / "weight_generator" / recipe.name] = plan.zoo.generator_folder
        write_bytes(model / _EVALUATION, evaluation.read_bytes(), force=True)
    for target, source in copies.items():
        make_folder(target.parent)
        with replace_folder(target, force=True) as part:
            shutil.copytree(source, part, dirs_exist_ok=True)
    return plan.zoo.config.base_sha256


def _kept_rows(plan: HarvestPlan) -> dict[str, IndexRow]:
    """The rows of the zoo that is added to, by concept id.

    Raises:
        HarvestError: it holds checkpoints of another recipe.
    """
    if plan.zoo is None:
        return {}
    rows = plan.zoo.index.rows()
    foreign = next((row for row in rows if row.recipe != plan.recipe.name), None)
    if foreign is not None:
        raise HarvestError(
            f"zoo '{plan.zoo.name}' also holds checkpoints of recipe '{foreign.recipe}', e.g. "
            f"'{foreign.concept_id}'. Add to a zoo of one recipe"
        )
    return {row.concept_id: row for row in rows}


def _weights_of(
    concept_id: str, plan: HarvestPlan, run: RunFolder, kept: Mapping[str, IndexRow]
) -> tuple[NDArray[np.float32], bytes]:
    """The blocks of a checkpoint and the bytes of its detail, which may be none."""
    if plan.zoo is not None and concept_id in kept:
        row = kept[concept_id]
        data, n_bytes = plan.zoo.files.payload(row, with_detail=True), row.byte_end - row.byte_start
        return decode_blocks(data[:n_bytes], plan.recipe.layout, concept_id), data[n_bytes:]
    blocks = load_file(run.fits / f"{concept_id}.safetensors")["blocks"]
    path = run.details / f"{concept_id}.detail"
    return blocks, path.read_bytes() if path.exists() else b""


def _moved(row: IndexRow, shard: str, payload: Payload) -> IndexRow:
    """The row of a checkpoint that went unchanged into another shard."""
    return replace(row, shard=shard, byte_start=payload.start, byte_end=payload.end)


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
    for folder in (
        "dataset",
        "model",
    ):  # other files may lie there, and a zoo with a link among them is refused
        check_plain(out / folder)


def check_plan(plan: HarvestPlan, out: Path) -> None:
    """Raise if the zoo of a plan could not be written or read: before hours of training, not after.

    Raises:
        HarvestError: the recipe, or a wording, licence or the like, is beyond what a zoo takes; or the zoo
            that is added to has another recipe as well.
        OutputError: the disk has no room for the zoo.
    """
    try:
        recipe = plan.recipe.checkpoint
    except ValueError as error:
        raise HarvestError(f"recipe '{plan.recipe.name}': {error}. Change the recipe") from error
    n_values = recipe.layout.n_blocks * recipe.layout.block_size
    payload = Payload(0, 2 * n_values, sha256="0" * 64)
    unknown = {"trained": _NO_SCORES, "untouched": _NO_SCORES}
    for concept in plan.concepts:
        row = _row(concept, plan.recipe, "0" * 64, "blocks/0.safetensors", payload, unknown, _NO_SCORES)
        if problem := problem_of(row):
            raise HarvestError(f"concept '{concept.id}': {problem}. Change the concepts file")
    _kept_rows(plan)
    n_weights = sum(math.prod(shape) for _, shape in recipe.weights)
    # Fits are kept as float32 and written as float16; the base is kept and written.
    n_bytes = 6 * n_values * len(plan.concepts) + 8 * n_weights
    check_room(out, n_bytes, f"a zoo of {len(plan.concepts):,} concepts", "harvest fewer with --limit")


def _make_row(
    concept: Concept, run: RunFolder, recipe: HarvestRecipe, base_sha256: str, shard: str, payload: Payload
) -> IndexRow:
    """What the index says of a checkpoint that has been written to a shard."""
    notes = json.loads((run.fits / f"{concept.id}.json").read_bytes())
    mean = json.loads((run.mean_scores / f"{concept.id}.json").read_bytes())
    adapter = trained = notes["trained"]
    if payload.detail_bytes:
        trained = json.loads((run.details / f"{concept.id}.json").read_bytes())["trained"]
    row = _row(concept, recipe, base_sha256, shard, payload, notes | {"trained": trained}, mean)
    if not payload.detail_bytes:
        return row
    return replace(row, psnr_adapter=adapter["psnr"], ssim_adapter=adapter["ssim"])


def _row(
    concept: Concept,
    recipe: HarvestRecipe,
    base_sha256: str,
    shard: str,
    payload: Payload,
    notes: Mapping[str, Any],
    mean: Mapping[str, float],
) -> IndexRow:
    trained = notes["trained"]
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
        psnr=trained["psnr"],
        ssim=trained["ssim"],
        psnr_untouched=notes["untouched"]["psnr"],
        ssim_untouched=notes["untouched"]["ssim"],
        psnr_mean=mean["psnr"],
        ssim_mean=mean["ssim"],
        licence=concept.licence,
        source=concept.source,
        detail_bytes=payload.detail_bytes,
        detail_sha256=payload.detail_sha256,
    )
