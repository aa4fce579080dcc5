"""`initzoo evaluate`: measure the quality of the checkpoints of a zoo."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from initzoo.cli.options import (
    backend_option,
    echo_json,
    example,
    json_option,
    workers_option,
    zoo_option,
)
from initzoo.work import Backend, StageBars
from initzoo.zoo import SCORED, SPLITS

__all__ = ["command"]

SECTION = "Measure"


@click.command("evaluate", epilog=example("initzoo evaluate --split train --limit 60"))
@zoo_option
@click.option("--split", help=f"Only this split: {', '.join(SPLITS)}.")
@click.option(
    "--photos", type=click.Path(path_type=Path), help="Folder of photos; the bundled ones by default."
)
@click.option(
    "--concepts",
    type=click.Path(path_type=Path),
    help="Concepts file of the zoo, for teachers that a zoo cannot contain.",
)
@click.option("--stored", is_flag=True, help="Print the scores in the index instead of measuring.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of checkpoints, spread over the zoo.")
@workers_option
@backend_option
@json_option
def command(
    zoo_name: str,
    split: str | None,
    photos: Path | None,
    concepts: Path | None,
    stored: bool,
    limit: int | None,
    workers: int | None,
    backend: Backend,
    as_json: bool,
) -> None:
    """Measure the checkpoints of a zoo on scoring photos.

    The untouched photo and the mean adapter are measured for comparison.
    """
    from initzoo.evaluation import evaluate_zoo, family_table, stored_scores
    from initzoo.pairs import load_concepts
    from initzoo.zoo import Zoo

    if stored and (photos or concepts or limit):
        raise click.UsageError("--stored does not measure, so leave out --photos, --concepts and --limit")
    zoo = Zoo.from_pretrained(zoo_name)
    if stored:
        scores = stored_scores(zoo, split=split)
    else:
        with StageBars(unit=" concepts") as bars:
            scores = evaluate_zoo(
                zoo,
                split=split,
                photos_folder=photos,
                teachers=[concept.teacher for concept in load_concepts(concepts)] if concepts else (),
                limit=limit,
                n_workers=workers,
                backend=backend,
                callback=partial(bars.show, "evaluate"),
            )
    table = family_table(scores)
    if as_json:
        families = [asdict(row) for row in table]
        echo_json({"zoo": zoo.name, "revision": zoo.revision, "split": split, "families": families})
        return
    click.echo(
        f"{zoo.name}  revision {zoo.revision[:7]}  split {split or 'any'}  PSNR dB (SSIM) on scoring photos"
    )
    heads = "  ".join(f"{label.short:>13}" for label in SCORED.values())
    click.echo(f"{'family':12} {'n':>5}  {heads}  {'10th pct':>8}")
    for row in table:
        cells = "  ".join(
            f"{one.psnr:5.2f} ({one.ssim:.3f})" for one in (row.untouched, row.mean, row.trained)
        )
        click.echo(f"{row.family:12} {row.n_concepts:5d}  {cells}  {row.lowest_tenth:8.2f}")
