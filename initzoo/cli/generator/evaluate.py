"""`initzoo generator evaluate`: how good inits from unseen words are, beside every simpler way."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initzoo.cli.options import echo_json, example, force_option, json_option, zoo_option
from initzoo.work.progress import StageBars

if TYPE_CHECKING:
    from initzoo.evaluation.generator import GeneratorEvaluation
    from initzoo.pairs.concepts import Concept

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_OUTPUTS = ("evaluation.json", "grid.png", "scatter.png", "calibration.json")


@click.command("evaluate", epilog=example("initzoo generator evaluate --limit 20 --out evaluation"))
@zoo_option
@click.option("--generator", "folder", type=_PATH, help="Folder of the weight generator; the zoo's own one.")
@click.option(
    "--also",
    multiple=True,
    metavar="NAME=FOLDER",
    help="A further generator to compare, e.g. unet1d=FOLDER; may be given again. "
    "Others are compared with one that is called reference, too.",
)
@click.option(
    "--also-from",
    "earlier",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="evaluation.json of an earlier evaluation: the figures of its further generators are kept.",
)
@click.option("--limit", type=click.IntRange(1), help="Only so many concepts of each split, spread over it.")
@click.option("--train-limit", type=click.IntRange(1), default=100, show_default=True,
              help="Only so many train concepts, which are asked for in unseen wordings.")  # fmt: skip
@click.option(
    "--practice",
    type=_PATH,
    help="Catalog that it practised on: baselines learn its wordings, too. The bundled zoo has its own.",
)
@click.option("--concepts", type=_PATH, help="Concepts of your own (TOML) in place of the zoo's.")
@click.option("--photos", type=_PATH, help="Folder of photos to measure on; the bundled ones by default.")
@click.option("--fit", is_flag=True, help="Train an adapter on each of your concepts, as the ceiling.")
@click.option("--out", "-o", type=_PATH, help=f"Folder for {', '.join(_OUTPUTS)}; made when it is missing.")
@click.option("--calibrate", is_flag=True, help="Write calibration.json into the generator's folder too.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes, one a core; all cores by default.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@force_option
@json_option
def command(
    zoo_name: str,
    folder: Path | None,
    also: tuple[str, ...],
    out: Path | None,
    calibrate: bool,
    force: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Measure a weight generator on words that it never saw, beside the mean, retrieval and regressions.

    With the zoo's own folder model/ as --out, the model's card is written anew, too.
    """
    from dataclasses import replace

    from initzoo.evaluation.generator.merge import check_further, keep_further
    from initzoo.evaluation.report.plots import check_plotting
    from initzoo.zoo.cards import write_model_card
    from initzoo.zoo.folder import FolderFiles
    from initzoo.zoo.zoo import Zoo

    if out:
        check_plotting()
    zoo = Zoo.from_pretrained(zoo_name)
    in_folder = zoo.files.folder if isinstance(zoo.files, FolderFiles) else None
    if calibrate and folder is None and in_folder is None:
        raise click.UsageError(f"zoo '{zoo.name}' is on the Hub and stays as it is; give --generator FOLDER")
    generator = folder or zoo.generator_folder
    targets = [out / name for name in _OUTPUTS] if out else []
    _check_free([*targets, *([generator / "calibration.json"] if calibrate else [])], force)
    folders, earlier = _named_folders(also), _read_report(chosen["earlier"])
    if earlier is not None:  # minutes of measuring should not end at figures that fit nothing
        check_further(earlier, zoo=zoo.name, revision=zoo.revision, names=folders)
    found = _evaluate(zoo, generator, folders, chosen)
    if earlier is not None:
        found = replace(found, report=keep_further(found.report, earlier))
    if out:
        _write(found, out, force=force)
    if calibrate:
        _calibration_of(found).save(generator, force=force)
    if out and in_folder and out.resolve() == (in_folder / "model").resolve():
        write_model_card(zoo)
    if as_json:
        echo_json(found.report)
        return
    for line in _lines(found.report):
        click.echo(line)
    if out:
        click.echo(f"-> {out}")


def _evaluate(
    zoo: Any, folder: Path, also: Mapping[str, Path], chosen: Mapping[str, Any]
) -> GeneratorEvaluation:
    from initzoo.evaluation.generator import (
        EvaluationSettings,
        ask_about_concepts,
        ask_about_zoo,
        evaluate_generator,
    )
    from initzoo.pairs.concepts import load_concepts
    from initzoo.pairs.photos import PhotoSource

    if chosen["concepts"]:
        questions = ask_about_concepts(load_concepts(chosen["concepts"]), limit=chosen["limit"])
    else:
        questions = ask_about_zoo(zoo, limit=chosen["limit"], train_limit=chosen["train_limit"])
    # Photos that an adapter is fitted on do not score it; without a fit all of one's own can.
    split = None if chosen["concepts"] and chosen["photos"] and not chosen["fit"] else "score"
    settings = EvaluationSettings(
        photos=PhotoSource(chosen["photos"], split),
        fit=chosen["fit"],
        n_workers=chosen["workers"] or os.cpu_count() or 1,
        seed=chosen["seed"],
    )
    with StageBars() as bars:
        return evaluate_generator(
            zoo,
            folder,
            questions,
            settings,
            also=also,
            practice=_practice(zoo, folder, chosen["practice"]),
            callback=bars.show,
        )


def _read_report(path: Path | None) -> dict[str, Any] | None:
    import json

    from initzoo.errors import InvalidGenerator

    if path is None:
        return None
    try:
        report = json.loads(path.read_bytes())
        if not isinstance(report["also"], dict) or not isinstance(report["generator"], str):
            raise ValueError("it is no evaluation")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidGenerator(
            f"cannot take figures from {path} ({error}). Name the evaluation.json of another evaluation"
        ) from error
    return dict(report)


def _practice(zoo: Any, folder: Path, catalog: Path | None) -> Sequence[Concept]:
    """What a generator practised on; nothing for one that did not."""
    import json

    from initzoo.pairs.concepts import load_practice
    from initzoo.zoo.zoo import BUNDLED_ZOO

    if catalog is None:
        try:
            training = json.loads((folder / "config.json").read_bytes())["training"]
            did_practise = zoo.name == BUNDLED_ZOO and bool(training.get("n_practice"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ()  # evaluating says what is wrong with it
        if not did_practise:
            return ()
    return load_practice(catalog)


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


def _check_free(paths: list[Path], force: bool) -> None:
    """Minutes of measuring should not end at a file that is there already."""
    from initzoo.errors import OutputError

    for path in paths:
        if path.exists() and not force:
            raise OutputError(f"{path} exists already. Choose another folder, or add --force to replace it")


def _write(found: GeneratorEvaluation, out: Path, *, force: bool) -> None:
    import json

    from initzoo.errors import OutputError
    from initzoo.files.atomic import write_bytes
    from initzoo.files.images import write_image

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out}: {error.strerror}. Name another one") from error
    data = json.dumps(found.report, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    write_bytes(out / "evaluation.json", data, force=force)
    write_image(out / "grid.png", found.grid, force=force)
    write_bytes(out / "scatter.png", found.scatter(), force=force)
    if found.calibration is not None:
        found.calibration.save(out, force=force)


def _calibration_of(found: GeneratorEvaluation) -> Any:
    from initzoo.errors import InvalidZoo

    if found.calibration is None:
        raise InvalidZoo("the zoo has too few held-out concepts to calibrate on, at least 4 are needed.")
    return found.calibration


def _lines(report: Mapping[str, Any]) -> list[str]:
    """The report as tables for people."""
    lines = [
        f"{report['zoo']}  revision {report['revision'][:7]}  generator {report['generator'][:7]}  "
        "PSNR dB with 95% bootstrap intervals over concepts"
    ]
    for split, section in report.items():
        if isinstance(section, dict) and "psnr" in section:
            lines += ["", *_split_lines(split, section)]
    memory, calibration = report["memorisation"], report["calibration"]
    lines.append("")
    if memory:
        nearest = memory["nearest_train"]
        overlap = memory["wrong_pixels"]["overlap_with_nearest"]
        lines.append(
            f"memorisation  median distance to the nearest train adapter {nearest['generated']:.1f}, train "
            f"leave-one-out {memory['train_leave_one_out']:.1f}, ratio {memory['ratio'] or 0:.2f} "
            f"(trained {nearest['trained_heldout']:.1f}, average of 16 {nearest['average_16']:.1f}, "
            f"Gaussian {nearest['gaussian']:.1f})"
        )
        shares = {name: "-" if share is None else f"{share:.2f}" for name, share in overlap.items()}
        lines.append(
            f"wrong pixels  in common with the nearest checkpoint: generated {shares['generated']}, "
            f"a copy of it with as much noise {shares['noisy_copy']}"
        )
    if calibration:
        lines.append(
            f"calibration   {calibration['coverage']:.1%} of {calibration['n_tested']} test wordings inside "
            f"the range; far from a distance of {calibration['far_from']:.2f}"
        )
    lines.append(f"speed         one init in {report['speed']['init_ms']:.1f} ms, warm, one core")
    return lines


def _split_lines(split: str, section: Mapping[str, Any]) -> list[str]:
    gap, ends = section["gap_closed"], section["gap_closed_interval"]
    closed = "" if gap is None else f"  gap closed {gap:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
    lines = [
        f"{split}  {section['n_concepts']} concepts, {section['n_wordings']} wordings{closed}",
        f"  {'method':14} {'PSNR':>6} {'interval':>16} {'10th pct':>9} {'SSIM':>6} {'generated above':>22}",
    ]
    for method, psnr in sorted(section["psnr"].items(), key=lambda item: -item[1]):
        low, high = section["psnr_interval"][method]
        line = (
            f"  {method:14} {psnr:6.2f} [{low:6.2f}, {high:6.2f}] {section['psnr_10th'][method]:9.2f} "
            f"{section['ssim'][method]:6.3f}"
        )
        if method in section.get("difference", {}):
            more = section["difference"][method]
            line += f"  {more['psnr']:+6.2f} [{more['interval'][0]:+6.2f}, {more['interval'][1]:+6.2f}]"
        lines.append(line)
    for key in ("families", "novelty", "wording"):
        if section[key]:
            lines.append(
                f"  {key:14} {'n':>6} {'mean':>7} {'ridge':>7} {'generated':>9} {'trained':>7} {'gap':>6}"
            )
        for name, part in section[key].items():
            columns = [part["psnr"].get(one) for one in ("mean", "kernel_ridge", "generated", "trained")]
            cells = ["-" if value is None else f"{value:.2f}" for value in columns]
            closed = "-" if part["gap_closed"] is None else f"{part['gap_closed']:.3f}"
            lines.append(
                f"  {name:14} {part['n_concepts']:6d} {cells[0]:>7} {cells[1]:>7} {cells[2]:>9} "
                f"{cells[3]:>7} {closed:>6}"
            )
    return lines
