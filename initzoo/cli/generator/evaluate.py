"""`initzoo generator evaluate`: measure a weight generator beside simpler methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from initzoo.cli.options import echo_json, example, force_option, json_option, zoo_option
from initzoo.cli.settings_options import settings_options
from initzoo.evaluation import EvaluationSettings
from initzoo.work import StageBars

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_NAMES = {
    "photos.folder": "--photos",
    "resampling.n_resamples": "--resamples",
    "resampling.level": "--level",
}


@click.command("evaluate", epilog=example("initzoo generator evaluate --limit 20 --out evaluation"))
@zoo_option
@click.option(
    "--generator", "folder", type=_PATH, help="Folder of the weight generator; by default that of the zoo."
)
@click.option(
    "--also",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Another generator to compare with, e.g. unet1d=FOLDER; can be repeated. If one has the name "
    "reference, all others are also compared with it.",
)
@click.option(
    "--also-from",
    "earlier_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="evaluation.json of an earlier evaluation, whose figures of other generators are kept.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Maximum number of concepts per split, spread over the split."
)
@click.option("--train-limit", type=click.IntRange(1), default=100, show_default=True,
              help="Maximum number of train concepts, requested in unseen wordings.")  # fmt: skip
@click.option(
    "--practice",
    type=_PATH,
    help="Catalog on which the generator was trained besides the zoo; the baselines use its wordings. "
    "The bundled zoo has its own.",
)
@click.option("--concepts", type=_PATH, help="Concepts of your own (TOML) instead of those of the zoo.")
@settings_options(EvaluationSettings, names=_NAMES, skip=["photos.split"])
@click.option("--out", "-o", type=_PATH, help="Folder for the report, pictures and calibration.")
@click.option("--calibrate", is_flag=True, help="Also write calibration.json into the generator's folder.")
@force_option
@json_option
def command(
    zoo_name: str,
    folder: Path | None,
    also: tuple[str, ...],
    earlier_path: Path | None,
    limit: int | None,
    train_limit: int,
    practice: Path | None,
    concepts: Path | None,
    settings: EvaluationSettings,
    out: Path | None,
    calibrate: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Evaluate a weight generator on unseen words.

    The mean adapter, retrieval, regressions and the answer of pull, from the train concepts alone, are
    measured for comparison. If --out is the folder model/ of the zoo, the model card is updated as well.
    """
    from initzoo.errors import InvalidZoo
    from initzoo.evaluation import (
        OUTPUTS,
        ask_about_concepts,
        ask_about_zoo,
        check_further,
        check_plotting,
        evaluate_generator,
        evaluation_tables,
        keep_further,
        read_evaluation,
    )
    from initzoo.files import check_free
    from initzoo.pairs import load_concepts, load_practice
    from initzoo.zoo import FolderFiles, Zoo, refresh_around, write_model_card

    if out:
        check_plotting()
        check_free(out, *OUTPUTS, force=force)
    zoo = Zoo.from_pretrained(zoo_name)
    zoo_folder = zoo.files.folder if isinstance(zoo.files, FolderFiles) else None
    if calibrate and folder is None and zoo_folder is None:
        raise click.UsageError(f"zoo '{zoo.name}' is on the Hub and read-only; give --generator FOLDER")
    generator = folder or zoo.generator_folder
    if calibrate:
        check_free(generator, "calibration.json", force=force)
    folders = _named_folders(also)
    earlier = read_evaluation(earlier_path) if earlier_path else None
    if earlier is not None:  # checked before minutes of measuring
        check_further(earlier, zoo=zoo.name, revision=zoo.revision, names=folders)
    if concepts is not None:
        questions = ask_about_concepts(load_concepts(concepts), limit=limit)
        if settings.photos.folder is not None and not settings.fit:
            # No adapter is fitted on these photos, so all of them can be used for scores.
            settings = replace(settings, photos=replace(settings.photos, split=None))
    else:
        questions = ask_about_zoo(zoo, limit=limit, train_limit=train_limit)
    with StageBars() as bars:
        evaluation = evaluate_generator(
            zoo,
            generator,
            questions,
            settings,
            also=folders,
            practice=load_practice(practice) if practice else None,
            callback=bars.show,
        )
    if earlier is not None:
        evaluation = replace(evaluation, report=keep_further(evaluation.report, earlier))
    if out:
        evaluation.save(out, force=force)
    if calibrate:
        if evaluation.calibration is None:
            raise InvalidZoo("the zoo has too few held-out concepts to calibrate; at least 4 are needed.")
        evaluation.calibration.save(generator, force=force)
        refresh_around(generator)
    if out and zoo_folder and out.resolve() == (zoo_folder / "model").resolve():
        write_model_card(zoo)
    if as_json:
        echo_json(evaluation.report)
        return
    for line in evaluation_tables(evaluation.report):
        click.echo(line)
    if out:
        click.echo(f"-> {out}")


def _named_folders(also: tuple[str, ...]) -> dict[str, Path]:
    folders = {}
    for entry in also:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise click.BadParameter(f"expected NAME=FOLDER, found {entry!r}", param_hint="--also")
        if name in folders:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--also")
        folders[name] = Path(folder)
    return folders
