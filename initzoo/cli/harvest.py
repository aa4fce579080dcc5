"""`initzoo harvest`: train a zoo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from initzoo.cli.options import (
    accelerator_option,
    backend_option,
    echo_json,
    example,
    force_option,
    json_option,
    workers_option,
)
from initzoo.cli.settings_options import settings_options
from initzoo.errors import LayoutMismatch
from initzoo.training import QUICK_HARVEST, HarvestRecipe, load_recipe, recipe_of_base
from initzoo.work import Backend, StageBars, default_run_folder
from initzoo.zoo import Zoo

__all__ = ["command"]

SECTION = "Make your own zoo"

_PATH = click.Path(path_type=Path)


def _open_recipe(values: dict[str, Any]) -> HarvestRecipe:
    """The recipe that options change: a bundled one or a file, or the one of the zoo that is added to."""
    name, zoo_name = values.pop("recipe_name"), values["zoo_name"]
    if zoo_name is not None:
        context = click.get_current_context()
        if context.get_parameter_source("recipe_name") is not ParameterSource.DEFAULT:
            raise click.UsageError("--recipe and --zoo exclude each other: the zoo has its own recipe.")
        return recipe_of_base(Zoo.from_pretrained(zoo_name).config)
    try:
        return load_recipe(name)
    except OSError as error:  # no file can have such a name
        raise LayoutMismatch(
            f"cannot read the recipe {name[:80]!r}: {error.strerror or error}. Name a TOML file"
        ) from error


@click.command("harvest", epilog=example("initzoo harvest --limit 12 --quick --out my-zoo"))
@click.option(
    "--recipe",
    "recipe_name",
    default="starter-2",
    show_default=True,
    metavar="NAME|FILE",
    help="Bundled recipe, or TOML file of a recipe; options override its settings.",
)
@click.option(
    "--zoo",
    "zoo_name",
    metavar="ZOO",
    help="Extend this zoo: keep its base and checkpoints, and train only the concepts that it lacks.",
)
@click.option("--concepts", type=_PATH, help="Concepts file; the bundled one by default.")
@click.option("--photos", type=_PATH, help="Folder or dataset of photos; the bundled ones by default.")
@click.option("--out", "-o", type=_PATH, required=True, help="Folder of the new zoo.")
@click.option("--run", "run_folder", type=_PATH, help="Folder for unfinished work; OUT.run by default.")
@workers_option
@backend_option
@accelerator_option("Train on this accelerator, many concepts at once. Recipe starter-2-gpu is made for it.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of concepts, spread over the file.")
@settings_options(
    HarvestRecipe,
    default=_open_recipe,
    argument="recipe",
    # Another network, other ranks or a discriminator need a recipe file with its own name.
    skip=["name", "network", "ranks", "photo_size", "fit.gan"],
    quick=QUICK_HARVEST,
)
@force_option
@json_option
def command(
    recipe: HarvestRecipe,
    zoo_name: str | None,
    concepts: Path | None,
    photos: Path | None,
    out: Path,
    run_folder: Path | None,
    workers: int | None,
    backend: Backend,
    address: str | None,
    device_name: str,
    limit: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Train a zoo: base, adapters and index.

    The command can be stopped or killed at any time. Run it again to resume; the result has the same
    bytes, except with an accelerator. Processes of `accelerate launch` share the joint stage.
    """
    from initzoo.training import HarvestPlan, help_harvest, run_harvest
    from initzoo.work import choose_device, open_ranks

    device = choose_device(device_name)
    accelerator = device if device.type != "cpu" else None
    ranks = click.get_current_context().with_resource(open_ranks(device))
    out = Path(os.path.abspath(out))  # "." has no name from which to derive the run folder
    if zoo_name is None:
        plan = HarvestPlan.make(recipe, concepts_path=concepts, photos=photos, limit=limit)
    else:
        zoo = Zoo.from_pretrained(zoo_name)
        plan = HarvestPlan.add_to(zoo, recipe, concepts_path=concepts, photos=photos, limit=limit)
    run_folder = run_folder or default_run_folder(out)
    if not ranks.is_first:
        help_harvest(plan, run_folder, ranks, device=accelerator)
        return
    # Concepts per minute are the usual measure of a harvest.
    style = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}, {remaining} left"
    with StageBars(smoothing=0.05, bar_format=style) as bars:

        def show(stage: str, n_done: int, n_all: int) -> None:
            bars.show(stage, n_done, n_all, rate_unit="updates" if stage == "joint" else "concepts")

        report = run_harvest(
            plan,
            run_folder,
            out,
            n_workers=workers,
            backend=backend,
            address=address,
            device=accelerator,
            force=force,
            ranks=ranks,
            callback=show,
        )
    for concept_id, reason in report.failures:
        click.echo(f"failed: {concept_id}: {reason}", err=True)
    if as_json:
        echo_json(report.to_dict())
        return
    minutes, cost = sum(report.seconds.values()) / 60, report.float16_cost
    click.echo(
        f"{report.n_checkpoints} checkpoints  {len(report.failures)} failed  "
        f"{minutes:.1f} min on {report.n_workers} cores  "
        f"{report.concepts_per_core_minute:.1f} concepts/min/core  "
        f"float16 costs {'an unknown number of' if cost is None else f'{cost:.5f}'} dB  -> {out}"
    )
    click.echo(f"next: initzoo verify {out}", err=True)
