"""`initzoo import`: weights from elsewhere as a checkpoint of a zoo."""

from __future__ import annotations

from pathlib import Path

import click

from initzoo.cli.options import echo_json, example, json_option

__all__ = ["command"]

SECTION = "Make your own zoo"


@click.command(
    "import", epilog=example('initzoo import latest_net_G.pth --concept "horse to zebra" --out my-zoo')
)
@click.argument("source_path", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.option("--concept", required=True, metavar="WORDS", help="Words for the edit.")
@click.option("--licence", default="", help="Licence of the weights; push needs one.")
@click.option("--source", default="", help="Where the weights come from; by default the name of the file.")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), required=True, help="Zoo to add to, or a new folder."
)
@json_option
def command(source_path: Path, concept: str, licence: str, source: str, out: Path, as_json: bool) -> None:
    """Import weights from elsewhere into your zoo.

    FILE is a generator of the pix2pix and CycleGAN code, e.g. latest_net_G.pth (train_opt.txt beside it is
    read), or a safetensors state dict of a known network; FOLDER holds one, or a PEFT adapter. A pickle is
    read in a process of its own that runs none of its code.
    """
    from initzoo.zoo import import_checkpoint

    report = import_checkpoint(source_path, out, concept=concept, licence=licence, source=source)
    if as_json:
        echo_json(report.to_dict())
        return
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(
        f"{report.concept}  {report.recipe}  {report.network}  {report.n_weights:,} weights  "
        f"sha256 {report.source_sha256[:12]}  -> {out}"
    )
    click.echo(f"next: initzoo apply {report.concept} PHOTO --zoo {out} -o edited.png", err=True)
