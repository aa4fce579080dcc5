"""`initzoo evaluate`: measure the quality of the checkpoints of a zoo."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from initzoo.evaluation import FitScores
    from initzoo.zoo import Zoo

__all__ = ["command"]

SECTION = "Measure"


@click.command("evaluate", epilog=example("initzoo evaluate --split train --limit 60"))
@zoo_option
@click.option("--split", help=f"Only this split: {', '.join(SPLITS)}.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder or dataset of photos; the bundled ones by default.",
)
@click.option(
    "--concepts",
    type=click.Path(path_type=Path),
    help="Concepts file of the zoo, for teachers that a zoo cannot contain.",
)
@click.option("--stored", is_flag=True, help="Print the scores in the index instead of measuring.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of checkpoints, spread over the zoo.")
@click.option(
    "--like",
    "n_pairs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Evaluate pull --like instead: fit to N example pairs of each held-out concept.",
)
@click.option(
    "--seconds",
    type=float,
    default=1.0,
    show_default=True,
    help="Work of each fit with --like, in seconds of one core, counted and not timed.",
)
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
    n_pairs: int | None,
    seconds: float,
    workers: int | None,
    backend: Backend,
    address: str | None,
    as_json: bool,
) -> None:
    """Measure the checkpoints of a zoo on scoring photos.

    The untouched photo and the mean adapter are measured for comparison. Mesh is the strongest pattern that a
    checkpoint of the family leaves in flat areas, in grey levels. With --like N, fits to example pairs are
    measured instead, on at most --limit held-out concepts of each split: from the base, from the zoo, and
    from the zoo with words. The share of the gap is that from the mean adapter to the trained one.
    """
    from initzoo.evaluation import evaluate_zoo, family_table, stored_scores
    from initzoo.pairs import load_concepts
    from initzoo.zoo import Zoo

    if stored and (photos or concepts or limit):
        raise click.UsageError("--stored does not measure, so leave out --photos, --concepts and --limit")
    if n_pairs is None and seconds != 1.0:
        raise click.UsageError("--seconds goes with --like N")
    if n_pairs is not None and (stored or concepts):
        raise click.UsageError(
            "--like fits to pairs of the zoo's teachers, so leave out --stored and --concepts"
        )
    zoo = Zoo.from_pretrained(zoo_name)
    if n_pairs is not None:
        fits = _measure_fits(zoo, n_pairs, seconds, split, photos, limit, workers, backend, address)
        _echo_fits(zoo, fits, n_pairs, seconds, as_json=as_json)
        return
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
                address=address,
                callback=partial(bars.show, "evaluate"),
            )
    table = family_table(scores)
    if as_json:
        echo_json(
            {
                "zoo": zoo.name,
                "revision": zoo.revision,
                "split": split,
                "families": [asdict(row) for row in table],
                "concepts": [asdict(one) for one in scores],
            }
        )
        return
    click.echo(
        f"{zoo.name}  revision {zoo.revision[:7]}  split {split or 'any'}  PSNR dB (SSIM) on scoring photos"
    )
    heads = "  ".join(f"{label.short:>13}" for label in SCORED.values())
    mesh = "" if stored else f"  {'mesh':>5}"
    click.echo(f"{'family':12} {'n':>5}  {heads}  {'10th pct':>8}{mesh}")
    for row in table:
        cells = "  ".join(
            f"{one.psnr:5.2f} ({one.ssim:.3f})" for one in (row.untouched, row.mean, row.trained)
        )
        if not stored:
            mesh = f"  {row.highest_mesh:5.2f}" if row.highest_mesh is not None else f"  {'-':>5}"
        click.echo(f"{row.family:12} {row.n_concepts:5d}  {cells}  {row.lowest_tenth:8.2f}{mesh}")


def _measure_fits(
    zoo: Zoo,
    n_pairs: int,
    seconds: float,
    split: str | None,
    photos: Path | None,
    limit: int | None,
    workers: int | None,
    backend: Backend,
    address: str | None,
) -> list[FitScores]:
    from initzoo.errors import InvalidZoo
    from initzoo.evaluation import ask_about_zoo, evaluate_fits
    from initzoo.generator import Request
    from initzoo.pairs import HELD_OUT, PhotoSource

    try:
        Request(seconds=seconds)
    except ValueError as error:
        raise click.ClickException(f"{error}. See: initzoo evaluate -h") from error
    wanted = HELD_OUT if split is None else (split,)
    questions = [one for one in ask_about_zoo(zoo, limit=limit, train_limit=1) if one.split in wanted]
    questions = [one for one in questions if one.split in HELD_OUT]
    if not questions:
        raise InvalidZoo(
            f"zoo '{zoo.name}' has no held-out concepts of split {split!r}. Fits are measured on "
            f"{' and '.join(HELD_OUT)}"
        )
    with StageBars(unit=" concepts") as bars:
        return evaluate_fits(
            zoo,
            questions,
            n_pairs=n_pairs,
            seconds=seconds,
            photos=PhotoSource(photos),
            n_workers=workers,
            backend=backend,
            address=address,
            callback=partial(bars.show, "evaluate"),
        )


def _echo_fits(zoo: Zoo, fits: list[FitScores], n_pairs: int, seconds: float, *, as_json: bool) -> None:
    from initzoo.evaluation import fit_table

    table = fit_table(fits)
    if as_json:
        settings = {"zoo": zoo.name, "revision": zoo.revision, "n_pairs": n_pairs, "seconds": seconds}
        splits, concepts = ([asdict(one) for one in rows] for rows in (table, fits))
        echo_json(settings | {"splits": splits, "concepts": concepts})
        return
    click.echo(
        f"{zoo.name}  revision {zoo.revision[:7]}  {n_pairs} example pairs, {seconds:g} seconds of one core  "
        "PSNR dB (share of the gap) on scoring photos"
    )
    heads = ("mean", "base, fitted", "passes", "with words", "fitted", "with words", "trained")
    click.echo(f"{'split':17} {'n':>4}  {'  '.join(f'{head:>13}' for head in heads)}")
    for row in table:
        cells = [
            f"{row.psnr[name]:.2f}" + (f" ({row.gap_closed[name]:.2f})" if name in row.gap_closed else "")
            for name in row.psnr
        ]
        click.echo(f"{row.split:17} {row.n_concepts:4d}  {'  '.join(f'{cell:>13}' for cell in cells)}")
