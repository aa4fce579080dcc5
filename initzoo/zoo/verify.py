"""Verification: reads every byte of a zoo or of one file and checks it against the recorded digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from initzoo.checkpoints import (
    Base,
    BaseConfig,
    Init,
    Recipe,
    decode_detail,
    join_blocks,
    merge_adapter,
    read_base,
    read_base_config,
)
from initzoo.errors import ChecksumMismatch, InitzooError, InvalidInit, InvalidZoo, LayoutMismatch
from initzoo.files import check_seal, is_file, path_within, read_file, read_header, reported_as
from initzoo.zoo.index import Index, IndexRow
from initzoo.zoo.manifest import FileDigest, Manifest
from initzoo.zoo.shards import MAX_SHARD_BYTES, ShardHeader, decode_blocks, read_range, read_shard_header

__all__ = ["VerifyReport", "check_row", "read_payload", "verify_file", "verify_zoo"]

_ADVICE = "Get it again."
_MAX_SAFE = 1e15
"""Weights up to this size stay finite when an adapter is merged: B is float16, and A one of these weights."""


@dataclass(frozen=True)
class VerifyReport:
    """The result of a verification.

    Args:
        target: the zoo or file, as the user named it.
        kind: `zoo`, `index`, `shard`, `base`, `generator` or `init`.
        n_checkpoints: number of checkpoints whose weights were read.
        n_files: number of files read.
        n_bytes: total size of these files.
        problems: one line per problem; empty if there are none.
    """

    target: str
    kind: str
    n_checkpoints: int
    n_files: int
    n_bytes: int
    problems: tuple[str, ...]


def check_row(row: IndexRow, config: BaseConfig) -> None:
    """Check that a row has the recipe, layout and base of its zoo.

    Raises:
        LayoutMismatch: a value differs.
    """
    layout = config.layout
    pairs = {
        "recipe": (config.recipe.name, row.recipe),
        "layout": (layout.id, row.layout_id),
        "base sha256": (config.base_sha256, row.base_sha256),
        "blocks": ((layout.n_blocks, layout.block_size), (row.n_blocks, row.block_size)),
    }
    for name, (expected, found) in pairs.items():
        if expected != found:
            raise LayoutMismatch(
                f"concept '{row.concept_id}', {name}: the zoo's base has {expected}, "
                f"the index says {found}. Get the zoo again."
            )


def read_payload(folder: Path, row: IndexRow, *, with_detail: bool = False) -> bytes:
    """Read exactly the bytes of a checkpoint and check their digests.

    Args:
        folder: the zoo's dataset folder.
        row: the checkpoint's row.
        with_detail: append the bytes of its detail, if it has one.

    Raises:
        InvalidZoo: the shard cannot be read, or the row points outside it.
        ChecksumMismatch: the bytes do not match the digest of the row.
    """
    parts = row.parts(with_detail=with_detail)
    with reported_as(InvalidZoo, f"concept '{row.concept_id}'", "Get the zoo again."):
        path = path_within(folder, row.shard)
    data = read_range(path, parts[0].start, parts[-1].end)
    for part in parts:
        digest = hashlib.sha256(data[part.start - parts[0].start : part.end - parts[0].start]).hexdigest()
        if digest != part.sha256:
            raise ChecksumMismatch(
                f"shard '{folder / row.shard}', concept '{row.concept_id}': expected sha256 {part.sha256}, "
                f"found {digest}. Get the zoo again, or check all of it: initzoo verify"
            )
    return data


def verify_zoo(dataset: Path, model: Path, manifest: Manifest, target: str) -> VerifyReport:
    """Check every file of a zoo against its manifest, index and configs.

    Args:
        dataset: the folder with the index and the shards.
        model: the folder with bases and weight generators.
        manifest: lists all files with their digests.
        target: name of the zoo in the report.
    """
    from initzoo.generator import PHRASE_FOLDER, PhraseEncoder

    files = {dataset / path: file for path, file in manifest.dataset_files.items()}
    files |= {model / path: file for path, file in manifest.model_files.items()}
    problems: list[str] = []
    configs: dict[str, BaseConfig] = {}
    large: dict[str, Base] = {}
    for recipe, folder in manifest.bases.items():
        try:
            digest = manifest.model_files[f"{folder}/config.json"].sha256
            configs[recipe] = read_base_config(model / folder, digest=digest)
            _check_network(f"base config '{model / folder / 'config.json'}'", configs[recipe].recipe)
            base = read_base(model / folder)
            largest = max((float(np.abs(value).max()) for value in base.weights.values()), default=0.0)
            if largest > _MAX_SAFE:
                large[recipe] = base
        except InitzooError as error:
            problems.append(str(error))
    rows, by_shard = _rows_of(dataset, problems)
    for _, shard_rows in sorted(by_shard.items()):
        problems += _find_shard_problems(dataset, shard_rows, configs, manifest, large)
    on_disk = {path.relative_to(dataset).as_posix() for path in dataset.glob("blocks/*") if path.is_file()}
    if by_shard:
        problems += [
            f"'{dataset / name}': no row of the index names it." for name in sorted(on_disk - set(by_shard))
        ]
    for recipe, folder in manifest.generators.items():
        try:
            digests = {
                path.removeprefix(f"{folder}/"): file.sha256 for path, file in manifest.model_files.items()
            }
            _check_generator(model / folder, configs.get(recipe), digests)
        except InitzooError as error:
            problems.append(str(error))
    if f"{PHRASE_FOLDER}/config.json" in manifest.model_files:
        try:
            digest = manifest.model_files[f"{PHRASE_FOLDER}/config.json"].sha256
            PhraseEncoder.from_folder(model / PHRASE_FOLDER, digest=digest)
        except InitzooError as error:
            problems.append(str(error))
    # A reader's own message says more than a digest mismatch, so a file that has one is not reported twice.
    known = "\n".join(problems)
    folders = (*manifest.bases.values(), *manifest.generators.values(), PHRASE_FOLDER)
    parts = [model / folder for folder in folders]
    damaged = [part for part in parts if str(part) in known]
    for path, file in files.items():
        is_known = f"'{path}'" in known or any(path.is_relative_to(part) for part in damaged)
        if not is_known and (problem := _problem_of(path, file)):
            problems.append(problem)
    sizes = [path.stat().st_size for path in files if is_file(path)]
    return VerifyReport(target, "zoo", len(rows), len(sizes), sum(sizes), tuple(dict.fromkeys(problems)))


def _problem_of(path: Path, expected: FileDigest) -> str | None:
    """The problem with a file that the manifest lists, or None."""
    if not is_file(path):
        return f"'{path}': zoo.json lists it, and it is missing. {_ADVICE}"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"'{path}': cannot be read ({error.strerror}). {_ADVICE}"
    if digest != expected.sha256:
        return f"'{path}': expected sha256 {expected.sha256}, found {digest}. {_ADVICE}"
    return None


def _rows_of(dataset: Path, problems: list[str]) -> tuple[list[IndexRow], dict[str, list[IndexRow]]]:
    """The rows of the index, all and by shard. Appends to `problems` if the index cannot be read."""
    try:
        rows = Index.open(dataset / "index.parquet").rows()
    except InitzooError as error:
        problems.append(str(error))
        return [], {}
    by_shard: dict[str, list[IndexRow]] = {}
    for row in rows:
        by_shard.setdefault(row.shard, []).append(row)
    return rows, by_shard


def verify_file(path: str | os.PathLike[str]) -> VerifyReport:
    """Check one file: an init, a shard, an index, or the config or weights of a base or weight generator.

    A file of a base or weight generator stands for the whole base or weight generator.
    """
    kind, n_checkpoints, problems = "file", 0, []
    try:
        kind, n_checkpoints = _check_file(Path(path))
    except InitzooError as error:
        problems.append(str(error))
    n_bytes = Path(path).stat().st_size if is_file(path) else 0
    return VerifyReport(str(path), kind, n_checkpoints, 1, n_bytes, tuple(problems))


def _check_file(path: Path) -> tuple[str, int]:
    """The kind of a file and its number of checkpoints. Raises the first problem."""
    if path.suffix == ".parquet":
        return "index", len(Index.open(path).rows())
    from initzoo.generator import CALIBRATION_FILE, is_generator_config

    if path.name == CALIBRATION_FILE or (path.name == "config.json" and is_generator_config(path)):
        _check_generator(path.parent, None)
        return "generator", 0
    if path.name == "config.json":
        _check_network(f"base config '{path}'", read_base_config(path.parent).recipe)
        return "base", 0
    with reported_as(InvalidInit, f"'{path}'", "Name a zoo, a shard, an init, an index or a base."):
        kind = read_header(path).metadata.get("kind", "")
    if kind == "shard":
        return "shard", _check_shard(path)
    if kind == "base":
        _check_network(f"base '{path}'", read_base(path.parent).config.recipe)
        return "base", 0
    if kind == "weight_generator":
        _check_generator(path.parent, None)
        return "generator", 0
    _check_network(f"'{path}'", Init.load(path).metadata.recipe)
    return "init", 1


def _check_network(what: str, recipe: Recipe) -> None:
    """Check that the network of a recipe has the tensors that the recipe lists."""
    try:
        recipe.check_network()
    except LayoutMismatch as error:
        raise LayoutMismatch(f"{what}, recipe '{recipe.name}': {error} {_ADVICE}") from error


def _check_generator(
    folder: Path, config: BaseConfig | None, digests: Mapping[str, str] | None = None
) -> None:
    """Read a weight generator and compare it with a base and with digests. Raises the first problem."""
    from initzoo.generator import CALIBRATION_FILE, Calibration, WeightGenerator, read_generator_files

    digests = digests or {}
    files = read_generator_files(folder, digest=digests.get("config.json"))
    if config is not None:
        files.check_made_for(base_sha256=config.base_sha256, layout=config.layout)
    generator = WeightGenerator.from_files(files)
    if generator.reads_pairs:
        generator.pair_passes()
    if is_file(folder / CALIBRATION_FILE):
        digest = digests.get(CALIBRATION_FILE)
        Calibration.load(folder, files.encoder, generator_sha256=files.digest, digest=digest)


def _check_shard(path: Path) -> int:
    header = read_shard_header(path)
    with reported_as(InvalidZoo, f"shard '{path}'", _ADVICE):
        check_seal(read_file(path, max_bytes=MAX_SHARD_BYTES))
    return len(header.ranges)


def _find_shard_problems(
    folder: Path,
    rows: list[IndexRow],
    configs: Mapping[str, BaseConfig],
    manifest: Manifest,
    large: Mapping[str, Base],
) -> list[str]:
    """The problems of one shard, of the file as a whole or of single checkpoints."""
    path = folder / rows[0].shard
    try:
        header = read_shard_header(path)
    except InitzooError as error:
        return [str(error)]
    problems = []
    listed = {row.concept_id for row in rows}
    problems += [
        f"shard '{path}': the index has no row for '{name}'." for name in sorted(set(header.ranges) - listed)
    ]
    for row in rows:
        try:
            if row.recipe not in manifest.bases:
                raise InvalidZoo(f"concept '{row.concept_id}': recipe '{row.recipe}' has no base in the zoo.")
            _check_checkpoint(folder, row, header, configs.get(row.recipe), large.get(row.recipe))
        except InitzooError as error:
            problems.append(str(error))
    if not problems:
        try:
            _check_shard(path)
        except InitzooError as error:
            problems.append(str(error))
    return problems


def _check_checkpoint(
    folder: Path, row: IndexRow, header: ShardHeader, config: BaseConfig | None, large: Base | None
) -> None:
    blocks, *details = row.parts(with_detail=True)
    expected = [(blocks.start, blocks.end), *((detail.start, detail.end) for detail in details)]
    found = [
        ranges[row.concept_id] for ranges in (header.ranges, header.detail_ranges) if row.concept_id in ranges
    ]
    if found != expected:
        raise InvalidZoo(
            f"shard '{folder / row.shard}', concept '{row.concept_id}': the index has bytes "
            f"{_to_text(expected)}, the header of the shard {_to_text(found) or 'no such concept'}."
        )
    if config is not None:
        check_row(row, config)
    data = read_payload(folder, row, with_detail=True)
    if config is not None:
        n_bytes = row.byte_end - row.byte_start
        blocks_of_row = decode_blocks(data[:n_bytes], config.layout, row.concept_id)
        if large is not None:  # of other bases no sum can be too large for float32
            merge_adapter(large.weights, join_blocks(blocks_of_row, config.layout), config.layout)
        if details:
            decode_detail(data[n_bytes:], config.recipe, row.concept_id)


def _to_text(ranges: list[tuple[int, int]]) -> str:
    return ", ".join(f"{start} to {end}" for start, end in ranges)
