"""`initzoo apply`: an edit of an image, with an init."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from initzoo.cli.options import (
    example,
    force_option,
    zoo_option,
)

if TYPE_CHECKING:
    from initzoo.checkpoints.init import Init

__all__ = ["command"]

SECTION = "Use"


@click.command("apply", epilog=example('initzoo apply "pencil sketch" PHOTO.jpg -o OUT.png'))
@click.argument("init")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Image to write.")
@zoo_option
@force_option
def command(init: str, image: Path, out: Path, zoo_name: str, force: bool) -> None:
    """Edit an image with an init.

    INIT is a pulled file, or words as `initzoo pull` takes them.
    """
    from initzoo.files.atomic import check_free
    from initzoo.files.digests import is_file
    from initzoo.files.images import read_image, write_image

    check_free(out, force=force)
    pixels = read_image(image)
    ready = _find_init(init, zoo_name)

    write_image(out, ready.to_network().edit(pixels), force=force)
    height, width = pixels.shape[:2]
    generation = ready.metadata.generation
    if generation is not None and not is_file(init):
        click.echo(f"no concept of the zoo: generated, {generation.prospect}", err=True)
    click.echo(f"{ready.metadata.concept}  {image}  {width}x{height}  -> {out}")


def _find_init(target: str, zoo_name: str) -> Init:
    """A merged init from a file, or from the zoo when no file has that name."""
    from initzoo.checkpoints.init import Init
    from initzoo.files.digests import is_file
    from initzoo.zoo.zoo import Zoo

    if not is_file(target) and not target.endswith(".safetensors"):
        return Zoo.from_pretrained(zoo_name).pull(target)
    init = Init.load(target)
    return init if init.kind == "merged" else Zoo.from_pretrained(zoo_name).merge(init)
