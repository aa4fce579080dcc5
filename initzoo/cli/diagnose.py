"""`initzoo diagnose`: check whether an init can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from initzoo.cli.options import (
    echo_if_generated,
    echo_json,
    example,
    force_option,
    json_option,
    zoo_option,
)

if TYPE_CHECKING:
    from initzoo.networks import Diagnosis

__all__ = ["command"]

SECTION = "Measure"

_SIDE = 128
"""Side of the photos that are passed forward, pixels, rounded up to what the network takes."""

_PATH = click.Path(path_type=Path)


@click.command("diagnose", epilog=example("initzoo diagnose zeros he_normal base"))
@click.argument("inits", nargs=-1, metavar="INIT...")
@click.option("--all", "all_of_them", is_flag=True, help="All classical initializations, base and mean.")
@zoo_option
@click.option("--words", default="", help="Words for an edit, for the schemes nearest and generated.")
@click.option("--photos", type=_PATH, help="Folder of photos to pass forward; the bundled ones by default.")
@click.option("--plot", type=_PATH, help="PNG file of a plot, for a single INIT.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
              help="Seed of the weights of an initialization, and of the gradient.")  # fmt: skip
@force_option
@json_option
def command(
    inits: tuple[str, ...],
    all_of_them: bool,
    zoo_name: str,
    words: str,
    photos: Path | None,
    plot: Path | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Check whether an init can be trained, layer by layer.

    Signals and gradients must pass, and units must differ and must not be dead. INIT is a pulled file, any
    safetensors file with weights of the zoo's network, words for an edit, or the name of an initialization
    scheme, such as zeros, he_normal, base or generated.
    """
    from initzoo.evaluation import check_plotting, diagnosis_tables, draw_diagnosis
    from initzoo.files import check_free, write_bytes
    from initzoo.generator import NEED_WORDS, parse_given
    from initzoo.networks import CLASSICAL, diagnose_network, to_images
    from initzoo.pairs import load_photos, middle_squares
    from initzoo.training import WithAdapter, open_start
    from initzoo.zoo import Zoo

    names = (*inits, *((*CLASSICAL, "base", "mean") if all_of_them else ()))
    if not names:
        raise click.UsageError("name an init, e.g. he_normal, or give --all")
    if plot is not None:
        if len(names) > 1:
            raise click.UsageError("--plot goes with a single INIT")
        check_plotting()
        check_free(plot, force=force, endings=[".png"])
    if words and not {*names} & {*NEED_WORDS}:
        raise click.UsageError(f"--words goes with {' and '.join(NEED_WORDS)}")
    zoo = Zoo.from_pretrained(zoo_name)
    given = {name: parse_given(name, is_wording=zoo.holds) for name in names}
    score_photos = load_photos(photos, split="score")
    found: dict[str, Diagnosis] = {}
    for name, one in given.items():
        start = open_start(one, zoo, words=words, seed=seed, warn=False)
        echo_if_generated(start.metadata)
        network = start.network
        assert not isinstance(network, WithAdapter)
        side = network.multiple * -(-_SIDE // network.multiple)
        images = to_images(middle_squares(score_photos, side=side))
        found[name] = diagnose_network(network, images, seed=seed)
    if plot is not None:
        write_bytes(plot, draw_diagnosis(found[names[0]], names[0]), force=force)
    if as_json:
        echo_json({name: diagnosis.to_dict() for name, diagnosis in found.items()})
        return
    for line in diagnosis_tables(found):
        click.echo(line)
    if plot is not None:
        click.echo(f"-> {plot}")
