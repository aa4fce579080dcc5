"""`initzoo apply`: an edit of an image, with an init."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import click

from initzoo.cli.options import example, force_option, zoo_option

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

    INIT is a pulled file, any safetensors file or folder with weights of a known network, words as
    `initzoo pull` takes them, or the name of an initialization scheme. IMAGE may be of any size that the
    memory holds. Transparency, EXIF and resolution are kept, orientation and colour profile are applied; a
    line on standard error names what OUT does not keep.
    """
    from initzoo.files.atomic import check_free
    from initzoo.files.images import WRITABLE_SUFFIXES, losses, read_picture, write_picture
    from initzoo.generator.given import parse_given
    from initzoo.generator.request import Request
    from initzoo.zoo.zoo import Zoo

    check_free(out, force=force, endings=WRITABLE_SUFFIXES)
    picture = read_picture(image, max_pixels=None)
    open_zoo = cache(lambda: Zoo.from_pretrained(zoo_name))
    given = parse_given(init, is_wording=lambda text: open_zoo().holds(text))

    from initzoo.training.start import open_init

    ready = open_init(given, open_zoo, warn=False)
    edited = replace(picture, colours=ready.to_network().edit(picture.colours))
    write_picture(out, edited, force=force)
    height, width = edited.colours.shape[:2]
    if lost := losses(out, edited):
        click.echo(f"{out} does not keep: {', '.join(lost)}", err=True)
    generation = ready.metadata.generation
    if generation is not None and isinstance(given, Request):
        click.echo(f"no concept of the zoo: generated, {generation.prospect}", err=True)
    click.echo(f"{ready.metadata.concept}  {image}  {width}x{height}  -> {out}")
