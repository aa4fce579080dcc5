"""`initzoo search`, `show`, `apply` and `verify`: what a user does with a zoo, beside `pull`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initzoo.cli.options import echo_json, example, force_option, json_option, match_to_json, readable_size

if TYPE_CHECKING:
    from initzoo.checkpoints.init import Init

__all__ = ["DEFAULT_ZOO", "apply", "search", "show", "verify", "zoo_option"]

DEFAULT_ZOO = "starter"


def zoo_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--zoo`, which falls back to INITZOO_ZOO and then to the zoo that comes with initzoo."""
    return click.option(
        "--zoo",
        "zoo_name",
        envvar="INITZOO_ZOO",
        default=DEFAULT_ZOO,
        show_default=True,
        show_envvar=True,
        metavar="ZOO",
        help="Name or folder of the zoo, or owner/name[@revision] on the Hub.",
    )(function)


@click.command(epilog=example("initzoo search watercolour"))
@click.argument("words", nargs=-1, required=True)
@zoo_option
@click.option(
    "-n", "--n", "n", type=click.IntRange(1, 10_000), default=10, show_default=True, help="At most so many."
)
@json_option
def search(words: tuple[str, ...], zoo_name: str, n: int, as_json: bool) -> None:
    """List the concepts whose wordings look most like WORDS, nearest first."""
    from initzoo.zoo.zoo import Zoo

    zoo = Zoo.from_pretrained(zoo_name)
    text = " ".join(words)
    matches = zoo.index.search(text, n)
    rows = {match.concept_id: zoo.index.row(match.concept_id) for match in matches}
    if as_json:
        results = [
            match_to_json(match) | {"family": row.family, "split": row.split}
            for match, row in zip(matches, rows.values(), strict=True)
        ]
        echo_json({"words": text, "zoo": zoo.name, "revision": zoo.revision, "results": results})
        return
    width = max((len(concept_id) for concept_id in rows), default=0)
    for match, row in zip(matches, rows.values(), strict=True):
        place = f"{row.family:11}  {row.split:16}  {match.similarity:.2f}"
        click.echo(f"{match.concept_id:{width}}  {place}  {match.prompt}")
    if not matches:
        click.echo("nothing in this zoo has words like these. The bundled concepts: initzoo list", err=True)


@click.command(epilog=example('initzoo show "pencil sketch"'))
@click.argument("concept", nargs=-1, required=True)
@zoo_option
@json_option
def show(concept: tuple[str, ...], zoo_name: str, as_json: bool) -> None:
    """Show what the zoo knows of CONCEPT: wordings, teacher, scores, licence, place and size."""
    from initzoo.zoo.zoo import Zoo

    zoo = Zoo.from_pretrained(zoo_name)
    row = zoo.find(" ".join(concept))
    teacher = _parse_teacher(row.teacher)
    if as_json:
        values = asdict(row) | {"teacher": teacher, "bytes": row.byte_end - row.byte_start}
        values = {"concept": values.pop("concept_id"), "zoo": zoo.name, "revision": zoo.revision} | values
        echo_json(values)
        return
    steps = teacher if isinstance(teacher, str) else json.dumps(teacher, ensure_ascii=False)
    size = readable_size(row.byte_end - row.byte_start)
    lines = {
        "concept": row.concept_id,
        "family": row.family,
        "split": row.split + (f" ({row.novelty})" if row.novelty else ""),
        "prompts": "; ".join(row.prompts),
        "kept for tests": "; ".join(row.test_prompts),
        "teacher": steps,
        "PSNR": _readable_score(row.psnr, row.psnr_untouched, row.psnr_mean, "{:.2f} dB"),
        "SSIM": _readable_score(row.ssim, row.ssim_untouched, row.ssim_mean, "{:.3f}"),
        "recipe": f"{row.recipe}, layout {row.layout_id}, base {row.base_sha256[:12]}",
        "weights": f"{row.n_blocks} blocks of {row.block_size}, {size}",
        "place": f"{row.shard}, bytes {row.byte_start} to {row.byte_end}",
        "sha256": row.sha256,
        "licence": row.licence,
        "source": row.source,
    }
    for name, text in lines.items():
        click.echo(f"{name + ':':15} {text}")


@click.command(epilog=example('initzoo apply "pencil sketch" PHOTO.jpg -o OUT.png'))
@click.argument("init")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Image to write.")
@zoo_option
@force_option
def apply(init: str, image: Path, out: Path, zoo_name: str, force: bool) -> None:
    """Edit IMAGE with INIT, which is a pulled file, or words as `initzoo pull` takes them."""
    from initzoo.errors import OutputError
    from initzoo.files.digests import is_file
    from initzoo.files.images import read_image, write_image

    if is_file(out) and not force:  # said before the work, not after it
        raise OutputError(f"{out} exists already. Choose another name, or add --force to replace it")
    pixels = read_image(image)
    ready = _find_init(init, zoo_name)

    from initzoo.networks.starter import Pix2Pix

    write_image(out, Pix2Pix.from_init(ready).edit(pixels), force=force)
    height, width = pixels.shape[:2]
    generation = ready.metadata.generation
    if generation is not None and not is_file(init):
        click.echo(f"no concept of the zoo: generated, {generation.prospect}", err=True)
    click.echo(f"{ready.metadata.concept}  {image}  {width}x{height}  -> {out}")


@click.command(epilog=example("initzoo verify"))
@click.argument("target", required=False)
@zoo_option
@json_option
def verify(target: str | None, zoo_name: str, as_json: bool) -> None:
    """Read every byte of TARGET and report damage: a zoo, or a shard, index, base or init file.

    Without TARGET it is the zoo that --zoo names. Exit code 1 and a line for each problem on damage.
    """
    from initzoo.files.digests import is_file
    from initzoo.zoo.verify import verify_file
    from initzoo.zoo.zoo import Zoo

    target = target or zoo_name
    report = verify_file(target) if is_file(target) else Zoo.from_pretrained(target).verify()
    if as_json:
        echo_json(asdict(report) | {"ok": not report.problems})
    elif not report.problems:
        counts = f"{_count(report.n_checkpoints, 'checkpoint')}  {_count(report.n_files, 'file')}"
        click.echo(f"{report.target}  {report.kind}  {counts}  {readable_size(report.n_bytes)}  all ok")
    else:
        for problem in report.problems:
            click.echo(problem, err=True)
    if report.problems:
        raise click.exceptions.Exit(1)


def _find_init(target: str, zoo_name: str) -> Init:
    """A merged init from a file, or from the zoo when no file has that name."""
    from initzoo.checkpoints.init import Init
    from initzoo.files.digests import is_file
    from initzoo.zoo.zoo import Zoo

    if not is_file(target) and not target.endswith(".safetensors"):
        return Zoo.from_pretrained(zoo_name).pull(target)
    init = Init.load(target)
    return init if init.kind == "merged" else Zoo.from_pretrained(zoo_name).merge(init)


def _parse_teacher(text: str) -> Any:
    """The teacher's steps, or the text as it is when it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _readable_score(score: float | None, untouched: float | None, mean: float | None, form: str) -> str:
    if score is None:
        return "not scored"
    others = {"the photo as it is": untouched, "mean of the zoo": mean}
    known = [f"{name} {form.format(value)}" for name, value in others.items() if value is not None]
    return form.format(score) + (f" ({', '.join(known)})" if known else "")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
