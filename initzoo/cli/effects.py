"""`initzoo effects`: measure what checkpoints do, so that pairs find them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from initzoo.cli.options import echo_json, example, json_option, readable_size, workers_option, zoo_option
from initzoo.work import StageBars

__all__ = ["command"]

SECTION = "Make your own zoo"


@click.command("effects", epilog=example("initzoo effects --zoo my-zoo"))
@zoo_option
@click.option(
    "--photos", type=click.Path(path_type=Path), help="Folder of photos to edit; the bundled ones by default."
)
@workers_option
@json_option
def command(zoo_name: str, photos: Path | None, workers: int | None, as_json: bool) -> None:
    """Measure what checkpoints do, so that pairs find them.

    A fit by pull --like then begins with those that do what the pairs show, too. The result is a small file
    beside the base of the zoo. Run it again after checkpoints were added.
    """
    from initzoo.evaluation import measure_effects
    from initzoo.files import write_bytes
    from initzoo.zoo import EFFECTS_FILE, Zoo, refresh_manifest

    zoo = Zoo.from_pretrained(zoo_name)
    path = zoo.folder / "model" / zoo.files.manifest.bases[zoo.recipe.name] / EFFECTS_FILE
    with StageBars(unit=" checkpoints") as bars:
        effects = measure_effects(
            zoo, photos_folder=photos, n_workers=workers, callback=partial(bars.show, "effects")
        )
    content = effects.to_bytes()
    write_bytes(path, content, force=True)
    refresh_manifest(zoo.folder)
    if as_json:
        echo_json(
            {"zoo": zoo.name, "checkpoints": len(effects.ids), "path": str(path), "bytes": len(content)}
        )
        return
    click.echo(f"{zoo.name}  {len(effects.ids)} checkpoints  {readable_size(len(content))}  -> {path}")
