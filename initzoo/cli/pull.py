"""`initzoo pull`: a checkpoint of the zoo, or weights generated from words, as a file."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initzoo.cli.options import (
    DEFAULT_ZOO,
    echo_json,
    example,
    force_option,
    json_option,
    match_to_json,
    readable_size,
    zoo_option,
)

if TYPE_CHECKING:
    from initzoo.checkpoints.init import Generation, Init
    from initzoo.zoo.folder import PlannedFile
    from initzoo.zoo.zoo import Zoo

__all__ = ["command"]

SECTION = "Use"

_MAX_CANDIDATES = 100


@dataclass(frozen=True)
class _Request:
    """Which inits are wanted."""

    generate: bool
    exact: bool
    seed: int
    candidates: int | None
    timesteps: int

    def check(self) -> None:
        """Say in one line what is out of range or does not go together."""
        from initzoo.checkpoints.init import check_draw

        if self.exact and (self.generate or self.candidates is not None):
            other = "--generate" if self.generate else "--candidates"
            raise click.ClickException(f"--exact and {other} exclude each other. Leave one of them out")
        if self.candidates is not None and not 1 <= self.candidates <= _MAX_CANDIDATES:
            raise click.ClickException(
                f"--candidates must be from 1 to {_MAX_CANDIDATES}, found {self.candidates}. "
                "See: initzoo pull -h"
            )
        try:
            for seed in (self.seeds[0], self.seeds[-1]):
                check_draw(seed=seed, n_timesteps=self.timesteps)
        except ValueError as error:
            raise click.ClickException(f"{error}. See: initzoo pull -h") from error

    @property
    def origin(self) -> str | None:
        """As `Zoo.pull` takes it."""
        return "generated" if self.generate else "exact" if self.exact else None

    @property
    def seeds(self) -> range:
        """The seed of each init."""
        return range(self.seed, self.seed + (self.candidates or 1))


@click.command("pull", epilog=example('initzoo pull "pencil sketch"'))
@click.argument("words", nargs=-1, required=True)
@zoo_option
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="File to write; named after the words by default."
)
@click.option(
    "--adapter-only", is_flag=True, help="Write the adapter alone, without merging it into the base."
)
@click.option("--exact", is_flag=True, help="Take a checkpoint of the zoo, or fail.")
@click.option("--generate", is_flag=True, help="Generate even when the zoo holds a checkpoint.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of a generated init; another seed gives a slightly different one.",
)
@click.option(
    "--candidates",
    type=int,
    metavar="N",
    help="Generate N slightly different inits, one a file, with N seeds from --seed on.",
)
@click.option(
    "--timesteps", type=int, default=1, show_default=True, help="Denoising steps of a generated init."
)
@click.option("--dry-run", is_flag=True, help="Write nothing; for a zoo on the Hub, list the bytes to fetch.")
@force_option
@json_option
def command(
    words: tuple[str, ...],
    zoo_name: str,
    out: Path | None,
    adapter_only: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
    **request: Any,
) -> None:
    """Write the init that words name, or one generated from them.

    An id or any wording of a concept gives the zoo's checkpoint. For other words the zoo's weight generator
    makes an init; the command then says how far the words are from those of the zoo, and which PSNR to
    expect.
    """
    from initzoo.zoo.zoo import Zoo

    wanted = _Request(**request)
    wanted.check()
    text = " ".join(words)
    zoo = Zoo.from_pretrained(zoo_name)
    if dry_run and zoo.is_on_hub:
        _echo_plan(
            zoo, text, zoo.plan(text, adapter_only=adapter_only, origin=wanted.origin), as_json=as_json
        )
        return
    inits = _pull(zoo, text, wanted, adapter_only=adapter_only)
    files = {_place(init, out, is_candidate=wanted.candidates is not None): init.to_bytes() for init in inits}
    states = _write_all(files, force=force, dry_run=dry_run)
    if as_json:
        results = [
            _result(zoo, text, init, path, data, state)
            for init, (path, data), state in zip(inits, files.items(), states, strict=True)
        ]
        echo_json(results[0] if wanted.candidates is None else {"candidates": results})
        return
    for init, (path, data), state in zip(inits, files.items(), states, strict=True):
        click.echo(_line(zoo, init, path, len(data), state))
    if inits[0].metadata.origin == "generated":
        nearest = [match.concept_id for match in zoo.index.search(text, 3)]
        click.echo(f"nearest in the zoo: {', '.join(nearest) or 'nothing like it'}", err=True)
    zoo_part = f" --zoo {shlex.quote(zoo_name)}" if adapter_only and zoo_name != DEFAULT_ZOO else ""
    first = shlex.quote(str(next(iter(files))))
    click.echo(f"next: initzoo apply {first} PHOTO.jpg -o OUT.png{zoo_part}", err=True)


def _pull(zoo: Zoo, text: str, wanted: _Request, *, adapter_only: bool) -> list[Init]:
    """An init for each seed, all of them before any is written."""
    inits: list[Init] = []
    for seed in wanted.seeds:
        init = zoo.pull(
            text,
            adapter_only=adapter_only,
            origin=wanted.origin,
            seed=seed,
            n_timesteps=wanted.timesteps,
        )
        if wanted.candidates is not None and init.metadata.origin == "exact":
            raise click.ClickException(
                f"zoo '{zoo.name}' holds one checkpoint of concept '{init.metadata.concept}', there are no "
                "candidates of it. Generate some with --generate"
            )
        inits.append(init)
    return inits


def _place(init: Init, out: Path | None, *, is_candidate: bool) -> Path:
    """The file of an init: as it was asked for, with the seed where several could have one name."""
    generation = init.metadata.generation
    tail = ""
    if generation is not None and (is_candidate or (out is None and generation.seed)):
        tail = f"-seed{generation.seed}"
    if out is None:
        return Path(f"{init.metadata.concept}{tail}.safetensors")
    return out.with_name(f"{out.stem}{tail}{out.suffix}") if tail and out.name else out


def _write_all(files: dict[Path, bytes], *, force: bool, dry_run: bool) -> list[str]:
    """Write files; when one of several is in the way, none of them."""
    passes = [True, False] if len(files) > 1 and not dry_run else [dry_run]
    for is_dry in passes:
        states = [_write(path, data, force=force, dry_run=is_dry) for path, data in files.items()]
    return states


def _write(path: Path, data: bytes, *, force: bool, dry_run: bool) -> str:
    """Write a file unless it holds these bytes already; what was done, in words."""
    from initzoo.files.atomic import check_free, write_bytes
    from initzoo.files.digests import DamagedFile, is_file, read_file

    try:
        if is_file(path) and read_file(path, max_bytes=len(data)) == data:
            return "up to date"
    except DamagedFile:
        pass  # another file, or one that cannot be read: write_bytes decides
    if dry_run:
        check_free(path, force=force)
        return "dry run"
    write_bytes(path, data, force=force)
    return "written"


def _line(zoo: Zoo, init: Init, path: Path, n_bytes: int, state: str) -> str:
    """What was pulled, for people."""
    metadata, generation = init.metadata, init.metadata.generation
    note = "" if state == "written" else f" ({state})"
    known = "sha256 ok"
    if generation is not None:
        steps = f"  {generation.n_timesteps} timesteps" if generation.n_timesteps > 1 else ""
        known = f"seed {generation.seed}{steps}  {generation.prospect}"
    return (
        f"{metadata.concept}  {zoo.name}  revision {zoo.revision[:7]}  {metadata.origin}  "
        f"{metadata.layout.n_blocks} blocks  {readable_size(n_bytes)}  {known}  -> {path}{note}"
    )


def _result(zoo: Zoo, text: str, init: Init, path: Path, data: bytes, state: str) -> dict[str, Any]:
    """The same for machines, with all that is known; None where something is not."""
    metadata = init.metadata
    row = zoo.index.row(metadata.concept) if metadata.origin == "exact" else None
    return {
        "concept": metadata.concept,
        "wording": metadata.wording,
        "origin": metadata.origin,
        "zoo": metadata.zoo,
        "revision": metadata.revision,
        "kind": init.kind,
        "family": row.family if row else None,
        "split": row.split if row else None,
        "recipe": metadata.recipe.name,
        "layout": metadata.layout.id,
        "base_sha256": metadata.base_sha256,
        "n_blocks": metadata.layout.n_blocks,
        "block_size": metadata.layout.block_size,
        **metadata.scores,
        "licence": metadata.licence,
        "source": metadata.source,
        **_generation_to_dict(metadata.generation),
        "path": str(path),
        "state": state,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "nearest": [match_to_json(match) for match in zoo.index.nearest(text)],
    }


def _generation_to_dict(generation: Generation | None) -> dict[str, Any]:
    if generation is not None:
        return generation.to_dict()
    from initzoo.checkpoints.init import Generation

    return dict.fromkeys(Generation.__dataclass_fields__)


def _echo_plan(zoo: Zoo, words: str, plan: list[PlannedFile], *, as_json: bool) -> None:
    """Say what a pull from the Hub would fetch, in bytes."""
    n_bytes = sum(file.n_bytes for file in plan if not file.is_cached)
    if as_json:
        files = [
            {"repo": file.repo, "path": file.path, "bytes": file.n_bytes, "cached": file.is_cached}
            for file in plan
        ]
        where = {"words": words, "zoo": zoo.name, "revision": zoo.revision, "state": "dry run"}
        echo_json(where | {"files": files, "bytes_to_fetch": n_bytes})
        return
    for file in plan:
        state = "cached" if file.is_cached else "fetch"
        click.echo(f"{state:6}  {file.n_bytes:>12}  {file.repo}  {file.path}")
    click.echo(f"{words}  {zoo.name}  revision {zoo.revision[:7]}  {n_bytes} bytes to fetch (dry run)")
