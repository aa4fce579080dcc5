"""Checkpoints from elsewhere as checkpoints of a zoo.

The weights of a whole network become the base of a recipe, and the checkpoint an adapter of zeros on it: so
they keep every bit, where a detail would round them, and the zoo's format stays as it is.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from initzoo import __version__
from initzoo.checkpoints import BaseConfig, NetworkSpec, Recipe, name_words, split_blocks, write_base
from initzoo.errors import InvalidRequest, LayoutMismatch, OutputError
from initzoo.files import check_free_folder, is_file, make_folder, one_at_a_time, replace_folder, to_plain
from initzoo.generator import SCHEMES
from initzoo.zoo.importing.sources import Incoming, read_incoming
from initzoo.zoo.index import IndexRow, write_index
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.shards import Payload, write_shard
from initzoo.zoo.zoo import Zoo

__all__ = ["ImportReport", "import_checkpoint"]

_MAX_CONCEPT = 200
_MAX_TEXT = 1000
_SEED = 0


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    Args:
        concept: id of the concept in the zoo.
        recipe: name of the recipe.
        network: the network in a few words.
        source_sha256: SHA-256 of the imported file.
        base_sha256: SHA-256 of the base that holds its weights.
        n_weights: number of values of the network.
        notes: what was changed on the way in, a line each.
        options: options of its training that were found beside it.
    """

    concept: str
    recipe: str
    network: str
    source_sha256: str
    base_sha256: str
    n_weights: int
    notes: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        values: dict[str, Any] = to_plain(self)
        return values


def import_checkpoint(
    path: str | os.PathLike[str],
    zoo: str | os.PathLike[str],
    *,
    concept: str,
    licence: str = "",
    source: str = "",
) -> ImportReport:
    """Import a checkpoint from elsewhere into a zoo of one's own. Loads torch.

    Args:
        path: a generator of pix2pix's public code, e.g. `latest_net_G.pth`, with its `train_opt.txt` or
            `test_opt.txt` beside it if there is one; a safetensors state dict of a known network; or a
            folder with one of them, or with a PEFT adapter.
        zoo: folder of the zoo; a new one is made if it is missing.
        concept: words for the edit, e.g. "horse to zebra".
        licence: licence of the weights; `initzoo push` needs one.
        source: where they come from; by default the name of the file.

    Raises:
        InvalidInit: the file is missing, damaged, holds more than weights, or is something else.
        LayoutMismatch: its network is unknown, or contradicts the options beside it; the message names the
            first tensor that does not fit.
        InvalidRequest: the words are empty, too long or the name of a scheme, the zoo has them already, or
            licence or source is no short line.
        OutputError: the zoo cannot be written.

    Example:
        >>> import_checkpoint("latest_net_G.pth", "my-zoo", concept="day to night")  # doctest: +SKIP
        ImportReport(concept='day-to-night', recipe='pix2pix-unet256', ...)
    """
    concept, folder = " ".join(concept.split()), Path(zoo)
    if not concept or len(concept) > _MAX_CONCEPT or not concept.isprintable():
        raise InvalidRequest(
            f"a concept is words for an edit, 1 to {_MAX_CONCEPT} characters, found {concept[:80]!r}. "
            'Name it, e.g. --concept "horse to zebra"'
        )
    if concept in SCHEMES:
        raise InvalidRequest(
            f"{concept!r} is the name of an initialization scheme, which commands would take it for. Give "
            f'other words, e.g. --concept "{concept} look"'
        )
    for name, text in (("licence", licence), ("source", source)):
        if len(text) > _MAX_TEXT or not text.isprintable():
            raise InvalidRequest(
                f"a {name} is one line of at most {_MAX_TEXT} characters, found {text[:80]!r}"
            )
    is_new = not is_file(folder / "dataset" / "index.parquet")
    if not is_new:
        _check_unknown(Zoo.from_pretrained(folder), concept)
    elif os.path.lexists(folder) and (not os.path.isdir(folder) or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not a zoo. Name the folder of a zoo, or a new one")
    if is_new:
        check_free_folder(folder, force=False)
    incoming = read_incoming(path)
    source = source or f"imported from {incoming.file_name}"
    if not is_new:
        with one_at_a_time(folder / "dataset" / ".import"):
            return _add(folder, incoming, concept, licence, source)
    with replace_folder(folder, force=False) as part:
        return _add(part, incoming, concept, licence, source)


def _check_unknown(zoo: Zoo, concept: str) -> None:
    if zoo.holds(concept):
        raise InvalidRequest(
            f"zoo '{zoo.name}' has a concept {concept!r} already. Give other words, or another zoo"
        )


def _add(folder: Path, incoming: Incoming, concept: str, licence: str, source: str) -> ImportReport:
    """Write base, shard, index and manifest, the index last but one; on an error nothing new is left."""
    is_new = not is_file(folder / "dataset" / "index.parquet")
    zoo = None if is_new else Zoo.from_pretrained(folder)
    if zoo is not None:
        _check_unknown(zoo, concept)  # again: another process may have imported them meanwhile
    rows = [] if zoo is None else zoo.index.rows()
    concept_id = _free_id(zoo, concept)
    recipe = _recipe_of(incoming, _free_name(folder, incoming.name))
    base_folder = folder / "model" / "base" / recipe.name
    shard = f"blocks/imported-{concept_id}.safetensors"
    make_folder(base_folder.parent)
    make_folder(folder / "dataset" / "blocks")
    with _removed_on_error(base_folder, folder / "dataset" / shard):
        config, payload = _write_weights(
            incoming, recipe, base_folder, folder / "dataset" / shard, concept_id, licence
        )
        row = _row_of(incoming, recipe, config, shard, payload, concept_id, concept)
        values = {"licence": licence, "source": source}
        write_index(
            folder / "dataset" / "index.parquet",
            [*rows, IndexRow(**{**row, **values})],
            force=True,
        )
    refresh_manifest(folder, recipe=recipe.name if zoo is None else zoo.recipe.name)
    return ImportReport(
        concept=concept_id,
        recipe=recipe.name,
        network=incoming.summary,
        source_sha256=incoming.sha256,
        base_sha256=config.base_sha256,
        n_weights=sum(math.prod(shape) for _, shape in recipe.weights),
        notes=incoming.notes,
        options=incoming.options,
    )


def _free_id(zoo: Zoo | None, concept: str) -> str:
    """An id for the concept, with a number if another has it: words in other scripts give no letters."""
    number, base = 1, name_words(concept)
    free = base
    while zoo is not None and zoo.holds(free):
        number += 1
        free = f"{base}-{number}"
    return free


def _free_name(folder: Path, name: str) -> str:
    """The name of a recipe, with a number if the zoo has a base of that name: a base holds one network."""
    number, free = 1, name
    while os.path.lexists(folder / "model" / "base" / free):
        number += 1
        free = f"{name}-{number}"
    return free


def _recipe_of(incoming: Incoming, name: str) -> Recipe:
    from initzoo.networks import default_ranks

    network = incoming.network
    ranks = {
        tensor.removesuffix(".A"): len(array)
        for tensor, array in incoming.adapter.items()
        if tensor.endswith(".A")
    } or default_ranks(network)
    if not ranks:
        raise LayoutMismatch(
            f"'{incoming.file}' holds {incoming.summary}: no layer of it has a bias or a normalisation that "
            "an adapter could change, and a zoo holds adapters. Use it as it is, or export another norm"
        )
    try:
        return Recipe.of(name, NetworkSpec(network.kind, dict(network.sizes)), ranks)
    except (LayoutMismatch, ValueError) as error:
        raise LayoutMismatch(f"'{incoming.file}' cannot have a recipe: {error}") from error


def _write_weights(
    incoming: Incoming, recipe: Recipe, base_folder: Path, shard: Path, concept_id: str, licence: str
) -> tuple[BaseConfig, Payload]:
    draw = np.random.default_rng(_SEED)
    base = {name: array.astype(np.float32) for name, array in incoming.network.to_arrays().items()}
    adapter: dict[str, np.ndarray] = {}
    for layer in recipe.ranks:
        name, shape = f"{layer}.A", recipe.base_shapes[f"{layer}.A"]
        if incoming.adapter:
            base[name] = incoming.adapter[name]
            adapter |= {f"{layer}.{part}": incoming.adapter[f"{layer}.{part}"] for part in ("B", "bias")}
        elif len(shape) == 1:  # the scale of a normalisation: B is then the change of the scale itself
            base[name] = np.ones(shape, np.float32)
        else:
            spread = 1 / math.sqrt(math.prod(shape[1:]))
            base[name] = (spread * draw.standard_normal(shape)).astype(np.float32)
    if not adapter:
        adapter = {name: np.zeros(shape, np.float32) for name, shape in recipe.layout.tensors}
    made_with = {
        "imported": {
            "file": incoming.file_name,
            "sha256": incoming.sha256,
            "network": incoming.summary,
            "options": incoming.options,
            "notes": list(incoming.notes),
            "initzoo": __version__,
        }
    }
    config = write_base(base_folder, recipe=recipe, weights=base, licence=licence, made_with=made_with)
    blocks = {concept_id: split_blocks(adapter, recipe.layout)}
    return config, write_shard(shard, blocks, recipe.layout, recipe.name)[concept_id]


def _row_of(
    incoming: Incoming,
    recipe: Recipe,
    config: BaseConfig,
    shard: str,
    payload: Payload,
    concept_id: str,
    concept: str,
) -> dict[str, Any]:
    """The values of its row but licence and source. It has no scores: nobody knows its pairs."""
    return {
        "concept_id": concept_id,
        "prompts": (concept,),
        "test_prompts": (),
        "family": "imported",
        "split": "train",
        "novelty": "",
        "teacher": json.dumps(
            {"name": "imported weights", "id": f"imported-{incoming.sha256[:16]}", "n_variants": 0}
        ),
        "recipe": recipe.name,
        "layout_id": recipe.layout.id,
        "base_sha256": config.base_sha256,
        "shard": shard,
        "byte_start": payload.start,
        "byte_end": payload.end,
        "sha256": payload.sha256,
        "n_blocks": recipe.layout.n_blocks,
        "block_size": recipe.layout.block_size,
        "dtype": "F16",
        **dict.fromkeys(("psnr", "ssim", "psnr_untouched", "ssim_untouched", "psnr_mean", "ssim_mean")),
    }


@contextmanager
def _removed_on_error(*paths: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        raise
