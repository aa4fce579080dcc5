"""`initzoo bench`: compare the time that each start needs to reach a quality."""

from __future__ import annotations

from pathlib import Path

import click

from initzoo.cli.options import echo_json, example, force_option, json_option, zoo_option
from initzoo.cli.settings_options import settings_options
from initzoo.evaluation import QUICK_BENCHMARK, BenchmarkSettings
from initzoo.work import StageBars, default_run_folder

__all__ = ["command"]

SECTION = "Measure"

_PATH = click.Path(path_type=Path)
_NAMES = {
    "n_concepts": "--n-concepts",
    "n_tuning": "--n-tuning",
    "n_photos": "--n-photos",
    "photos.folder": "--photos",
    "crop_size": "--crop",
    "batch_size": "--batch",
    "resampling.n_resamples": "--resamples",
    "resampling.level": "--level",
}


@click.command(
    "bench", epilog=example("initzoo bench --quick --methods pix2pix_book,scratch_best,base --out bench")
)
@zoo_option
@click.option("--out", "-o", type=_PATH, required=True, help="Folder of the report and its plots.")
@click.option("--run", "run_folder", type=_PATH, help="Folder for unfinished work; OUT.run by default.")
@click.option("--concepts", type=_PATH, help="Concepts of your own (TOML) to measure on.")
@settings_options(BenchmarkSettings, names=_NAMES, skip=["photos.split"], quick=QUICK_BENCHMARK)
@force_option
@json_option
def command(
    zoo_name: str,
    out: Path,
    run_folder: Path | None,
    concepts: Path | None,
    settings: BenchmarkSettings,
    force: bool,
    as_json: bool,
) -> None:
    """Compare the time that each start needs to reach good quality.

    Good quality is measured from the best result of any method. Each method runs every schedule length at its
    own best learning rate, on held-out concepts. The command can be stopped or killed at any time; run it
    again to resume.
    """
    from initzoo.evaluation import (
        BENCHMARK_FILES,
        ask_about_concepts,
        benchmark_tables,
        check_plotting,
        run_benchmark,
        write_benchmark,
    )
    from initzoo.files import check_free
    from initzoo.pairs import load_concepts
    from initzoo.zoo import Zoo

    check_plotting()
    check_free(out, *BENCHMARK_FILES, force=force)
    questions = None
    if concepts is not None:
        questions = ask_about_concepts(load_concepts(concepts), limit=settings.n_concepts)
    with StageBars(unit="run", smoothing=0.02) as bars:
        found = run_benchmark(
            Zoo.from_pretrained(zoo_name),
            settings,
            run_folder or default_run_folder(out),
            concepts=questions,
            force=force,
            callback=bars.show,
        )
    write_benchmark(found.report, out, force=force)
    if as_json:
        echo_json(found.report)
        return
    for line in benchmark_tables(found.report):
        click.echo(line)
    click.echo(f"-> {out}")
