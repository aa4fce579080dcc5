"""`initzoo export`: write an init as a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from initzoo.cli.options import example, force_option, zoo_option
from initzoo.export import FORMATS

if TYPE_CHECKING:
    from initzoo.zoo import Zoo

__all__ = ["command"]

SECTION = "Use"


@click.command("export", epilog=example('initzoo export "pencil sketch" --format pth -o pencil.pth'))
@click.argument("init")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    default="safetensors",
    show_default=True,
    help="safetensors and pth are plain state dicts; peft, onnx and program are folders with a README.",
)
@click.option("--fp16", is_flag=True, help="ONNX in float16; the loss is measured and printed.")
@click.option("--int8", is_flag=True, help="ONNX with int8 weights; the loss is measured and printed.")
@click.option(
    "--full-size",
    is_flag=True,
    help="ONNX that edits large photos at full size; by default at the look's size, as initzoo apply does.",
)
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File or folder to write.")
@zoo_option
@force_option
def command(
    init: str,
    format_name: str,
    fp16: bool,
    int8: bool,
    full_size: bool,
    out: Path,
    zoo_name: str,
    force: bool,
) -> None:
    """Write an init in a format for other tools.

    INIT is a pulled file, words for an edit, or the name of an initialization scheme.
    """
    from initzoo.checkpoints import Init
    from initzoo.export import PrecisionLoss, export
    from initzoo.generator import File, Request, parse_given
    from initzoo.training import open_init
    from initzoo.zoo import Zoo

    if fp16 and int8:
        raise click.UsageError("give one of --fp16 and --int8")
    precision = "float16" if fp16 else "int8" if int8 else "float32"
    chosen = FORMATS[format_name]
    chosen.check_options(precision=precision, full_size=full_size)
    chosen.check_free(out, force=force)
    zoo = Zoo.from_pretrained(zoo_name)
    given = parse_given(init, is_wording=zoo.holds)
    if chosen.needs_base and isinstance(given, File):
        ready = Init.load(given.path)
    else:
        ready = open_init(given, lambda: zoo, adapter_only=chosen.needs_base, warn=False)
    if chosen.needs_base and isinstance(given, Request) and _has_detail(zoo, ready.metadata.concept):
        click.echo(
            f"note: {format_name} holds the adapter alone, without the detail of this checkpoint", err=True
        )
    losses: list[PrecisionLoss] = []
    export(
        ready,
        out,
        format=format_name,
        zoo=zoo,
        force=force,
        precision=precision,
        full_size=full_size,
        callback=losses.append,
    )
    click.echo(f"{ready.metadata.concept}  {format_name}  -> {out}")
    for loss in losses:
        click.echo(str(loss))


def _has_detail(zoo: Zoo, concept_id: str) -> bool:
    row = zoo.index.find(concept_id)
    return row is not None and row.has_detail
