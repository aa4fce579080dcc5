"""`initzoo demo` and `initzoo thumbnails`: the page on this machine, and the small pictures it shows."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from initzoo.cli.options import echo_json, example, force_option, json_option, readable_size
from initzoo.cli.using import zoo_option

__all__ = ["demo", "thumbnails"]


@click.command(epilog=example("initzoo demo --port 7861"))
@zoo_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7860,
    show_default=True,
    help="Port to listen at; 0 takes a free one.",
)
def demo(zoo_name: str, host: str, port: int) -> None:
    """Serve a page on this machine: type a look, see it on a photo, take the weights home.

    It is the page of the Space. Stop it with Ctrl-C.
    """
    from initzoo.demo import serve

    serve(zoo_name, host=host, port=port, say=lambda line: click.echo(line, err=True))


@click.command(epilog=example("initzoo thumbnails -o my-thumbnails"))
@zoo_option
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder to write; the zoo's own by default, where the demo looks.",
)
@force_option
@json_option
def thumbnails(zoo_name: str, out: Path | None, force: bool, as_json: bool) -> None:
    """Draw a small picture of each checkpoint, so that the demo need not."""
    from tqdm import tqdm

    from initzoo.demo.thumbnails import make_thumbnails, thumbnail_folder
    from initzoo.zoo.zoo import Zoo

    zoo = Zoo.from_pretrained(zoo_name)
    folder = out or thumbnail_folder(zoo)
    if out is None and zoo.is_on_hub:
        folder.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(desc="thumbnails", unit=" concepts", file=sys.stderr, disable=None) as bar:

        def show(n_done: int, n_all: int) -> None:
            bar.total = n_all
            bar.update(n_done - bar.n)

        n_bytes = make_thumbnails(zoo, folder, force=force, callback=show)
    if as_json:
        result = {"zoo": zoo.name, "revision": zoo.revision, "folder": str(folder), "bytes": n_bytes}
        echo_json(result | {"concepts": len(zoo.index)})
        return
    click.echo(f"{zoo.name}  {len(zoo.index)} thumbnails  {readable_size(n_bytes)}  -> {folder}")
