"""`initzoo pull`: write a checkpoint of the zoo, or generated weights, as a file."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initzoo.cli.options import (
    DEFAULT_ZOO,
    echo_json,
    echo_limits,
    echo_notes,
    example,
    force_option,
    json_option,
    match_to_json,
    readable_size,
    zoo_option,
)
from initzoo.errors import printable

if TYPE_CHECKING:
    from initzoo.checkpoints import Generation, Init
    from initzoo.generator import Request, Scheme
    from initzoo.pairs import Pair
    from initzoo.zoo import PlannedFile, Zoo

__all__ = ["command"]

SECTION = "Use"

_MAX_CANDIDATES = 100


@click.command("pull", epilog=example('initzoo pull "pencil sketch"'))
@click.argument("words", nargs=-1)
@zoo_option
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="File to write; by default named after the words."
)
@click.option("--adapter-only", is_flag=True, help="Write the adapter without merging it into the base.")
@click.option(
    "--like",
    metavar="PAIRS",
    help="Fit weights to example pairs of the edit, one or more, given as finetune --pairs takes them. "
    "Words are a help then, and may be left out.",
)
@click.option(
    "--direction",
    type=click.Choice(["AtoB", "BtoA"]),
    default="AtoB",
    show_default=True,
    help="Direction of the pairs of --like: from A to B, or from B to A.",
)
@click.option(
    "--seconds",
    type=float,
    default=1.0,
    show_default=True,
    help="Work of a fit with --like, in seconds of one core. It is counted with a table of costs, not timed.",
)
@click.option("--exact", is_flag=True, help="Pull a checkpoint of the zoo, or fail.")
@click.option(
    "--match", is_flag=True, help="Pull the checkpoint nearest by meaning, even if the words hardly mean it."
)
@click.option("--generate", is_flag=True, help="Generate weights even if the zoo has a checkpoint.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of a generated init; other seeds give slightly different inits.",
)
@click.option(
    "--candidates",
    type=int,
    metavar="N",
    help="Generate N inits with the seeds from --seed on, one per file.",
)
@click.option(
    "--timesteps", type=int, default=1, show_default=True, help="Denoising steps of a generated init."
)
@click.option(
    "--require-signature",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Refuse a zoo that is not signed with this public key, a PEM file.",
)
@click.option("--dry-run", is_flag=True, help="Do not write; for a zoo on the Hub, list the bytes to fetch.")
@force_option
@json_option
def command(
    words: tuple[str, ...],
    zoo_name: str,
    out: Path | None,
    adapter_only: bool,
    like: str | None,
    direction: str,
    seconds: float,
    exact: bool,
    match: bool,
    generate: bool,
    seed: int,
    candidates: int | None,
    timesteps: int,
    require_signature: Path | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write a checkpoint, or weights made from words or pairs.

    The id or any wording of a concept gives the zoo's checkpoint, one word misspelt or not. Other words that
    mean one checkpoint give it too, and the command says how sure that is: likely, maybe, or a guess. For all
    others the zoo's weight generator makes an init, and the command prints the distance of the words from
    those of the zoo and the predicted PSNR. Words for an edit that no checkpoint makes, such
    as adding objects, get a warning. With --like, what the zoo has and generates competes on your pairs, and
    the best is fitted to them; some pairs are held back to say how well it does. The name of an
    initialization scheme, such as base or he_normal, gives its weights; with --exact, --match or --generate,
    every name counts as words.
    """
    from initzoo.zoo import Zoo

    if not words and like is None:
        raise click.UsageError("Missing argument 'WORDS...'.")
    if like is None and (direction != "AtoB" or seconds != 1.0):
        raise click.UsageError("--direction and --seconds go with --like PAIRS")
    if out is not None and out.suffix.lower() not in ("", ".safetensors"):
        raise click.ClickException(f"cannot write {out}: its name must end with .safetensors")
    if like is not None:
        from initzoo.work import keep_freed_memory

        keep_freed_memory()
    text = " ".join(words)
    requests = _requests(
        text,
        pairs=_example_pairs(like, direction),
        seconds=seconds,
        generate=generate,
        exact=exact,
        match=match,
        seed=seed,
        candidates=candidates,
        timesteps=timesteps,
    )
    zoo = Zoo.from_pretrained(zoo_name, require_signature=require_signature)
    scheme = _scheme(text, requests[0], zoo)
    if scheme is not None:
        _refuse_for_scheme(scheme, requests[0], candidates, is_plan=dry_run and zoo.is_on_hub)
        inits = [_draw(scheme, zoo, requests[0], adapter_only=adapter_only)]
    elif dry_run and zoo.is_on_hub:
        _echo_plan(zoo, text, zoo.plan(requests[0], adapter_only=adapter_only), as_json=as_json)
        return
    else:
        inits = _pull(zoo, requests, is_candidate=candidates is not None, adapter_only=adapter_only)
    files = {
        _place(init, request, out, is_candidate=candidates is not None): init.to_bytes()
        for init, request in zip(inits, requests, strict=True)
    }
    states = _write_all(files, inits, force=force, dry_run=dry_run)
    if as_json:
        results = [
            _result(zoo, text, init, path, data, state)
            for init, (path, data), state in zip(inits, files.items(), states, strict=True)
        ]
        echo_json(results[0] if candidates is None else {"candidates": results})
        return
    for init, (path, data), state in zip(inits, files.items(), states, strict=True):
        click.echo(printable(_line(zoo, init, path, len(data), state)))
    for init in inits:
        echo_notes(init.metadata)
    strength = 1.0
    if inits[0].metadata.origin in ("matched", "generated") and text:
        strength = _echo_choice(zoo, text, _answered(zoo, requests[0], inits[0]), inits[0])
    zoo_part = f" --zoo {shlex.quote(zoo_name)}" if adapter_only and zoo_name != DEFAULT_ZOO else ""
    first = shlex.quote(str(next(iter(files))))
    zoo_part += "" if strength == 1 else f" --strength {strength:g}"  # what words of degree ask for
    click.echo(f"next: initzoo apply {first} PHOTO.jpg -o OUT.png{zoo_part}", err=True)


def _answered(zoo: Zoo, request: Request, init: Init) -> Request:
    """The request that an init answers: candidates are generated even if a checkpoint is what words mean."""
    if init.metadata.origin == "generated" and zoo.route(request).origin != "generated":
        return replace(request, origin="generated")
    return request


def _echo_choice(zoo: Zoo, text: str, request: Request, init: Init) -> float:
    """Say why these weights were taken and what else is near. Returns the strength that the words ask for."""
    echo_limits(text)
    zoo_part = "" if zoo.name == DEFAULT_ZOO else f" --zoo {shlex.quote(zoo.address)}"
    route = zoo.route(request)
    nearest = [one.concept_id for one in zoo.search(text, 4) if one.concept_id != init.metadata.concept][:3]
    if route.origin == "matched":
        click.echo(
            f"{route.sureness}: {route.reason}; also near: {', '.join(nearest) or 'nothing'}", err=True
        )
        other = [f"initzoo pull {nearest[0]}{zoo_part}"] if nearest else []
        if zoo.has_generator:
            # Words that start with a hyphen would be parsed as an option.
            words = (
                f"{zoo_part} -- {shlex.quote(text)}" if text[:1] == "-" else f" {shlex.quote(text)}{zoo_part}"
            )
            other.append(f"initzoo pull --generate{words}")
        if other:
            click.echo(f"or: {'  or  '.join(other)}", err=True)
        return route.strength
    if request.origin is None and zoo.router is not None:
        click.echo(f"generated: {route.reason}", err=True)
    click.echo(f"nearest in the zoo: {', '.join(nearest) or 'nothing like it'}", err=True)
    return route.strength


def _example_pairs(like: str | None, direction: str) -> tuple[Pair, ...]:
    if like is None:
        return ()
    from initzoo.pairs import read_examples

    return read_examples(like, direction=direction)


def _requests(
    words: str,
    *,
    pairs: tuple[Pair, ...],
    seconds: float,
    generate: bool,
    exact: bool,
    match: bool,
    seed: int,
    candidates: int | None,
    timesteps: int,
) -> list[Request]:
    """One request per init. Invalid and conflicting options are reported in one line."""
    from initzoo.generator import Request

    chosen = [name for name, is_given in (("--exact", exact), ("--match", match)) if is_given]
    chosen += ["--generate"] * generate + ["--candidates"] * (candidates is not None)
    if len(chosen) > 1 and chosen != ["--generate", "--candidates"]:
        raise click.ClickException(f"{chosen[0]} and {chosen[1]} exclude each other. Leave one of them out")
    if candidates is not None and not 1 <= candidates <= _MAX_CANDIDATES:
        raise click.ClickException(
            f"--candidates must be from 1 to {_MAX_CANDIDATES}, found {candidates}. See: initzoo pull -h"
        )
    origin = "generated" if generate else "matched" if match else "exact" if exact else None
    try:
        return [
            Request(words, pairs, seed=one, n_timesteps=timesteps, origin=origin, seconds=seconds)
            for one in range(seed, seed + (candidates or 1))
        ]
    except ValueError as error:
        raise click.ClickException(f"{error}. See: initzoo pull -h") from error


def _scheme(words: str, request: Request, zoo: Zoo) -> Scheme | None:
    """The initialization scheme of this name, or None for words. Files are refused."""
    from initzoo.errors import InvalidWords
    from initzoo.generator import File, Scheme, parse_given

    if request.origin is not None or request.pairs:  # --exact, --generate and --like go with words
        return None
    given = parse_given(words, is_wording=zoo.holds)
    if isinstance(given, File):
        if os.path.exists(given.path):
            path, kind = shlex.quote(str(given.path)), "folder" if os.path.isdir(given.path) else "file"
            raise InvalidWords(
                f"'{given.path}' is a {kind}, and pull takes words. Use it: "
                f"initzoo apply {path} PHOTO.jpg -o OUT.png"
            )
        raise InvalidWords(
            f"'{given.path}' looks like a path, and there is no such file. Words for an edit have no slashes "
            "or file endings; to use these as words, add --generate"
        )
    return given if isinstance(given, Scheme) else None


def _refuse_for_scheme(scheme: Scheme, request: Request, candidates: int | None, *, is_plan: bool) -> None:
    """Refuse options without effect, which the user would otherwise rely on."""
    idle = {
        "--candidates": candidates is not None,
        "--timesteps": request.n_timesteps != 1,
        "--dry-run": is_plan,
    }
    for option in (option for option, is_given in idle.items() if is_given):
        raise click.ClickException(f"{option} goes with words, and {scheme.name} is an initialization scheme")
    if scheme.needs_words:
        raise click.ClickException(
            f"{scheme.name} is an initialization scheme that needs words. Give the words alone, e.g. "
            'initzoo pull "faded teal"'
        )


def _draw(scheme: Scheme, zoo: Zoo, request: Request, *, adapter_only: bool) -> Init:
    from initzoo.training import open_init

    init = open_init(scheme, lambda: zoo, draw=replace(request, words=""), adapter_only=adapter_only)
    if adapter_only and init.kind != "adapter":
        raise click.ClickException(f"{scheme.name} has no adapter. Leave --adapter-only out")
    return init


def _pull(zoo: Zoo, requests: list[Request], *, is_candidate: bool, adapter_only: bool) -> list[Init]:
    """Pull one init per request, all before the first is written."""
    inits: list[Init] = []
    for request in requests:
        if is_candidate and zoo.route(request).origin == "matched":  # only generated weights differ by seed
            request = replace(request, origin="generated")
        init = zoo.pull(request, adapter_only=adapter_only, warn=False)
        if is_candidate and init.metadata.origin == "exact":
            raise click.ClickException(
                f"zoo '{zoo.name}' has a checkpoint of concept '{init.metadata.concept}' and no candidates. "
                "Generate candidates with --generate"
            )
        inits.append(init)
    return inits


def _place(init: Init, request: Request, out: Path | None, *, is_candidate: bool) -> Path:
    """The file of an init; its name has the seed if several inits could have the same name."""
    is_drawn = init.metadata.origin in ("generated", "fitted", "scheme")
    tail = f"-seed{request.seed}" if is_candidate or (is_drawn and out is None and request.seed) else ""
    if out is None:
        return Path(f"{init.metadata.concept}{tail}.safetensors")
    return out.with_name(f"{out.stem}{tail}{out.suffix}") if tail and out.name else out


def _is_close(path: Path, init: Init) -> bool:
    """Whether a file holds the same generated init within the rounding of machines."""
    from initzoo.checkpoints import Init
    from initzoo.errors import InitzooError

    try:
        return init.metadata.origin == "generated" and Init.load(path).is_close(init)
    except InitzooError:
        return False


def _write_all(files: dict[Path, bytes], inits: list[Init], *, force: bool, dry_run: bool) -> list[str]:
    """Write files. If one of them must not be replaced, none is written."""
    passes = [True, False] if len(files) > 1 and not dry_run else [dry_run]
    for is_dry in passes:
        states = [
            _write(path, data, init, force=force, dry_run=is_dry)
            for (path, data), init in zip(files.items(), inits, strict=True)
        ]
    return states


def _write(path: Path, data: bytes, init: Init, *, force: bool, dry_run: bool) -> str:
    """Write a file unless it has this content already, and return its state in words.

    Weights that another machine has generated may differ in their last digits; they are kept unless `force`.
    """
    from initzoo.checkpoints import SAME_WITHIN
    from initzoo.files import DamagedFile, check_free, is_file, read_file, write_bytes

    try:
        if is_file(path) and read_file(path, max_bytes=len(data)) == data:
            return "up to date"
    except DamagedFile:
        pass  # larger or unreadable: write_bytes decides
    if not force and is_file(path) and _is_close(path, init):
        return f"up to date within {SAME_WITHIN:g}"
    if dry_run:
        check_free(path, force=force)
        return "dry run"
    write_bytes(path, data, force=force)
    return "written"


def _line(zoo: Zoo, init: Init, path: Path, n_bytes: int, state: str) -> str:
    """The result as one line."""
    metadata, generation = init.metadata, init.metadata.generation
    note = "" if state == "written" else f" ({state})"
    known = "sha256 ok" if metadata.origin in ("exact", "matched") else metadata.source
    if generation is not None:
        steps = f"  {generation.n_timesteps} timesteps" if generation.n_timesteps > 1 else ""
        known = f"seed {generation.seed}{steps}  {generation.prospect}"
    if metadata.fitting is not None:
        known = f"from {metadata.fitting.start}: {metadata.fitting.prospect}"
    return (
        f"{metadata.concept}  {zoo.name}  revision {zoo.revision[:7]}  {metadata.origin}  "
        f"{metadata.layout.n_blocks} blocks  {readable_size(n_bytes)}  {known}  -> {path}{note}"
    )


def _result(zoo: Zoo, text: str, init: Init, path: Path, data: bytes, state: str) -> dict[str, Any]:
    """The result as JSON values; None for unknown values."""
    metadata = init.metadata
    # An exact pull needs no phrase encoder, so none is loaded for it.
    nearest = zoo.index.nearest if metadata.origin == "exact" else zoo.nearest
    row = zoo.index.row(metadata.concept) if metadata.origin in ("exact", "matched") else None
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
        "fitting": metadata.fitting.to_dict() if metadata.fitting else None,
        "path": str(path),
        "state": state,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **_route_to_dict(zoo, text, metadata.origin),
        "nearest": [match_to_json(match) for match in nearest(text)] if text else [],
        "cannot": _limits(text) if metadata.origin in ("matched", "generated", "fitted") else [],
    }


def _route_to_dict(zoo: Zoo, text: str, origin: str) -> dict[str, Any]:
    """How sure a match is, why it or generated weights were taken, and at which strength to apply them; None
    for what words did not decide."""
    route = None
    if text and origin == "matched":
        route = zoo.route(text, origin="matched")
    elif text and origin == "generated":
        route = zoo.route(text)
    if route is not None and route.origin != origin:  # the origin was forced
        route = None
    return {
        "strength": route.strength if route else None,
        "confidence": route.confidence if route else None,
        "sureness": route.sureness if route else None,
        "reason": route.reason if route else None,
    }


def _limits(words: str) -> list[str]:
    from initzoo.pairs import limits_of

    return [limit.line for limit in limits_of(words)]


def _generation_to_dict(generation: Generation | None) -> dict[str, Any]:
    if generation is not None:
        return generation.to_dict()
    from initzoo.checkpoints import Generation

    return dict.fromkeys(Generation.__dataclass_fields__)


def _echo_plan(zoo: Zoo, words: str, plan: list[PlannedFile], *, as_json: bool) -> None:
    """Print the files and bytes that a pull from the Hub would fetch."""
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
        click.echo(printable(f"{state:6}  {file.n_bytes:>12}  {file.repo}  {file.path}"))
    click.echo(f"{words}  {zoo.name}  revision {zoo.revision[:7]}  {n_bytes} bytes to fetch (dry run)")
