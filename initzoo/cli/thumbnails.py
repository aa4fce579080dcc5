"""`initzoo thumbnails`: draw the thumbnails of the demo page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from initzoo.cli.options import (
    echo_json,
    example,
    force_option,
    json_option,
    readable_size,
    zoo_option,
)
from initzoo.work import StageBars

__all__ = ["command"]

SECTION = "Make your own zoo"


@click.command("thumbnails", epilog=example("initzoo thumbnails -o my-thumbnails"))
@zoo_option
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder to write; by default the folder of the zoo, which the page reads.",
)
@force_option
@json_option
def command(zoo_name: str, out: Path | None, force: bool, as_json: bool) -> None:
    """Draw the thumbnails of checkpoints for the demo page."""
    from initzoo.demo import make_thumbnails, thumbnail_folder
    from initzoo.zoo import Zoo

    zoo = Zoo.from_pretrained(zoo_name)
    folder = out or thumbnail_folder(zoo)
    if out is None and zoo.is_on_hub:
        folder.parent.mkdir(parents=True, exist_ok=True)
    with StageBars(unit=" concepts") as bars:
        n_bytes = make_thumbnails(zoo, folder, force=force, callback=partial(bars.show, "thumbnails"))
    if as_json:
        result = {"zoo": zoo.name, "revision": zoo.revision, "folder": str(folder), "bytes": n_bytes}
        echo_json(result | {"concepts": len(zoo.index)})
        return
    click.echo(f"{zoo.name}  {len(zoo.index)} thumbnails  {readable_size(n_bytes)}  -> {folder}")
