"""`initzoo export`: write an init as a file for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from initzoo.cli.options import example, force_option, zoo_option
from initzoo.export import FORMATS

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
    help="Format of the file: safetensors and pth are plain state dicts.",
)
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write.")
@zoo_option
@force_option
def command(init: str, format_name: str, out: Path, zoo_name: str, force: bool) -> None:
    """Write an init in a format for other tools.

    INIT is a pulled file, words for an edit, or the name of an initialization scheme.
    """
    from initzoo.export import export
    from initzoo.files import check_free
    from initzoo.generator import parse_given
    from initzoo.training import open_init
    from initzoo.zoo import Zoo

    check_free(out, force=force)
    zoo = Zoo.from_pretrained(zoo_name)
    ready = open_init(parse_given(init, is_wording=zoo.holds), lambda: zoo, warn=False)
    export(ready, out, format=format_name, force=force)
    click.echo(f"{ready.metadata.concept}  {format_name}  -> {out}")
