"""`initzoo grid`: draw a grid of photos edited by checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

from initzoo.cli.options import (
    example,
    force_option,
    zoo_option,
)

__all__ = ["command"]

SECTION = "Measure"


@click.command("grid", epilog=example('initzoo grid "pencil sketch" "sepia" --photo chelsea -o grid.png'))
@click.argument("concepts", nargs=-1, required=True)
@zoo_option
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Image to write.")
@click.option(
    "--photo",
    "names",
    multiple=True,
    help="Name of a bundled scoring photo, or an image file; repeat it to use several in turn.",
)
@click.option("--columns", type=click.IntRange(1, 6), default=1, show_default=True, help="Concepts per row.")
@click.option(
    "--side", type=click.IntRange(32, 1024), default=192, show_default=True, help="Side of an image, pixels."
)
@force_option
def command(
    concepts: tuple[str, ...],
    zoo_name: str,
    out: Path,
    names: tuple[str, ...],
    columns: int,
    side: int,
    force: bool,
) -> None:
    """Draw the edits of checkpoints beside those of their teachers.

    Each concept has a row with a photo, the edit of the teacher, and the edit of the checkpoint.
    """
    from initzoo.evaluation import concept_grid
    from initzoo.files import WRITABLE_SUFFIXES, check_free, write_image
    from initzoo.zoo import Zoo

    check_free(out, force=force, endings=WRITABLE_SUFFIXES)
    zoo = Zoo.from_pretrained(zoo_name)
    picture = concept_grid(zoo, concepts, names, n_columns=columns, side=side)
    write_image(out, picture, force=force)
    click.echo(f"{len(concepts)} concepts  {picture.shape[1]}x{picture.shape[0]}  -> {out}")
