"""Finding damage: every byte that an index, shard, base, generator or init promises, read and checked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from initzoo.checkpoints.base import BaseConfig, read_base, read_base_config
from initzoo.checkpoints.init import Init
from initzoo.errors import ChecksumMismatch, InitzooError, InvalidInit, InvalidZoo, LayoutMismatch
from initzoo.files.digests import check_seal, is_file, read_file, reported_as
from initzoo.files.tensors import read_header
from initzoo.generator.calibration import CALIBRATION_FILE, Calibration
from initzoo.generator.files import is_generator_config, read_generator_files
from initzoo.zoo.index import Index, IndexRow
from initzoo.zoo.shards import MAX_SHARD_BYTES, ShardHeader, decode_blocks, read_range, read_shard_header

__all__ = ["VerifyReport", "check_row", "read_payload", "verify_file", "verify_zoo"]

_ADVICE = "Get it again."


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, and what is wrong with it.

    Args:
        target: what was looked at, as the user named it.
        kind: `zoo`, `index`, `shard`, `base`, `generator` or `init`.
        n_checkpoints: checkpoints whose weights were read.
        n_files: files that were read.
        n_bytes: bytes in these files.
        problems: one line a problem; empty when all is well.
    """

    target: str
    kind: str
    n_checkpoints: int
    n_files: int
    n_bytes: int
    problems: tuple[str, ...]


def check_row(row: IndexRow, config: BaseConfig) -> None:
    """Check that a row speaks of the recipe, layout and base that its zoo has.

    Raises:
        LayoutMismatch: it speaks of another one.
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


def read_payload(folder: Path, row: IndexRow) -> bytes:
    """Read the bytes of a checkpoint, those and no others, and check their digest.

    Args:
        folder: the zoo's dataset folder.
        row: the checkpoint's row.

    Raises:
        InvalidZoo: the shard cannot be read, or the row points outside of it.
        ChecksumMismatch: the bytes are not those that the row promises.
    """
    data = read_range(folder / row.shard, row.byte_start, row.byte_end)
    found = hashlib.sha256(data).hexdigest()
    if found != row.sha256:
        raise ChecksumMismatch(
            f"shard '{folder / row.shard}', concept '{row.concept_id}': expected sha256 {row.sha256}, "
            f"found {found}. Get the zoo again, or check all of it: initzoo verify"
        )
    return data


def verify_zoo(
    folder: Path, base_folder: Path, target: str, generator_folder: Path | None = None
) -> VerifyReport:
    """Check every file of a zoo against every promise that its index and configs make.

    Args:
        folder: the zoo's dataset folder, with the index and the shards.
        base_folder: the folder of its base.
        target: what to call the zoo in the report.
        generator_folder: the folder of its weight generator; None when it has none.
    """
    problems: list[str] = []
    files = [folder / "index.parquet", base_folder / "config.json", base_folder / "model.safetensors"]
    n_checkpoints = 0
    config = None
    try:
        config = read_base_config(base_folder)
        read_base(base_folder)
    except InitzooError as error:
        problems.append(str(error))
    try:
        rows = Index.open(folder / "index.parquet").rows()
    except InitzooError as error:
        problems.append(str(error))
        rows = []
    by_shard: dict[str, list[IndexRow]] = {}
    for row in rows:
        by_shard.setdefault(row.shard, []).append(row)
    for shard, shard_rows in sorted(by_shard.items()):
        files.append(folder / shard)
        found = _find_shard_problems(folder, shard_rows, config)
        n_checkpoints += len(shard_rows)
        problems += found
    on_disk = {path.relative_to(folder).as_posix() for path in folder.glob("blocks/*") if path.is_file()}
    if by_shard:
        problems += [
            f"'{folder / name}': no row of the index names it." for name in sorted(on_disk - set(by_shard))
        ]
    if generator_folder is not None:
        try:
            files += _check_generator(generator_folder, config)
        except InitzooError as error:
            problems.append(str(error))
    sizes = [path.stat().st_size for path in files if is_file(path)]
    return VerifyReport(target, "zoo", n_checkpoints, len(sizes), sum(sizes), tuple(problems))


def verify_file(path: str | os.PathLike[str]) -> VerifyReport:
    """Check one file: an init, a shard, an index, or the config or weights of a base or weight generator.

    With a file of a base or of a weight generator, all of it is checked.
    """
    kind, n_checkpoints, problems = "file", 0, []
    try:
        kind, n_checkpoints = _check_file(Path(path))
    except InitzooError as error:
        problems.append(str(error))
    n_bytes = Path(path).stat().st_size if is_file(path) else 0
    return VerifyReport(str(path), kind, n_checkpoints, 1, n_bytes, tuple(problems))


def _check_file(path: Path) -> tuple[str, int]:
    """The kind of a sound file, and how many checkpoints it has; any problem is raised."""
    if path.suffix == ".parquet":
        return "index", len(Index.open(path).rows())
    if path.name == CALIBRATION_FILE or (path.name == "config.json" and is_generator_config(path)):
        _check_generator(path.parent, None)
        return "generator", 0
    if path.name == "config.json":
        read_base_config(path.parent)
        return "base", 0
    with reported_as(InvalidInit, f"'{path}'", "Name a zoo, a shard, an init, an index or a base."):
        kind = read_header(path).metadata.get("kind", "")
    if kind == "shard":
        return "shard", _check_shard(path)
    if kind == "base":
        read_base(path.parent)
        return "base", 0
    if kind == "weight_generator":
        _check_generator(path.parent, None)
        return "generator", 0
    Init.load(path)
    return "init", 1


def _check_generator(folder: Path, config: BaseConfig | None) -> list[Path]:
    """The files of a sound weight generator, which is made for that base; any problem is raised."""
    found = read_generator_files(folder)
    if config is not None:
        found.check_made_for(base_sha256=config.base_sha256, layout=config.layout)
    files = [folder / name for name in ("config.json", "model.safetensors")]
    files += [folder / "text" / name for name in ("tokenizer.json", "vectors.safetensors")]
    if is_file(folder / CALIBRATION_FILE):
        Calibration.load(folder, found.words, generator_sha256=found.digest)
        files.append(folder / CALIBRATION_FILE)
    return files


def _check_shard(path: Path) -> int:
    header = read_shard_header(path)
    with reported_as(InvalidZoo, f"shard '{path}'", _ADVICE):
        check_seal(read_file(path, max_bytes=MAX_SHARD_BYTES))
    return len(header.ranges)


def _find_shard_problems(folder: Path, rows: list[IndexRow], config: BaseConfig | None) -> list[str]:
    """Problems of one shard: of the whole file, or of single checkpoints in it."""
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
            _check_checkpoint(folder, row, header, config)
        except InitzooError as error:
            problems.append(str(error))
    if not problems:
        try:
            _check_shard(path)
        except InitzooError as error:
            problems.append(str(error))
    return problems


def _check_checkpoint(folder: Path, row: IndexRow, header: ShardHeader, config: BaseConfig | None) -> None:
    expected, found = (row.byte_start, row.byte_end), header.ranges.get(row.concept_id)
    if found != expected:
        raise InvalidZoo(
            f"shard '{folder / row.shard}', concept '{row.concept_id}': the index has bytes {expected}, "
            f"the header of the shard {found or 'no such concept'}."
        )
    if config is not None:
        check_row(row, config)
    data = read_payload(folder, row)
    if config is not None:
        decode_blocks(data, config.layout, row.concept_id)
