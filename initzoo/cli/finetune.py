"""`initzoo finetune`: train an init further on your own pairs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from initzoo.cli.options import (
    device_option,
    echo_fitting,
    echo_if_generated,
    echo_json,
    echo_pair_notes,
    example,
    force_option,
    json_option,
    zoo_option,
)
from initzoo.cli.settings_options import settings_options
from initzoo.training import FinetuneSettings
from initzoo.work import StageBars

__all__ = ["command"]

SECTION = "Use"

_PATH = click.Path(path_type=Path)

_AUTO = "auto"
"""The value of INIT that lets the pairs choose the start."""


@click.command(
    "finetune",
    epilog=example('initzoo finetune "pencil sketch" --teacher charcoal --steps 100 -o charcoal.safetensors'),
)
@click.argument("init", default=_AUTO)
@click.option(
    "--start", metavar="INIT", help="The same as INIT: base, mean, a name, words or a file; or auto."
)
@click.option(
    "--pairs",
    "source",
    metavar="SOURCE",
    help="Folder with subfolders A and B, folder of images with A and B side by side, or a dataset.",
)
@click.option(
    "--validation",
    metavar="SOURCE",
    help="Pairs to validate on, from a source as for --pairs; by default, about one in five of --pairs.",
)
@click.option("--teacher", metavar="CONCEPT", help="Make the pairs with the teacher of this concept instead.")
@click.option(
    "--photos", type=_PATH, help="Folder of photos for --teacher, or dataset; the bundled ones by default."
)
@click.option("--concepts", type=_PATH, help="Concepts of your own (TOML), for --teacher.")
@click.option("--out", "-o", type=_PATH, required=True, help="Init to write, a .safetensors file.")
@click.option("--sheet", type=_PATH, help="Contact sheet to write; OUT with .png by default.")
@click.option(
    "--curve",
    type=_PATH,
    help="CSV of loss, PSNR and learning rate to write; OUT with .curve.csv by default.",
)
@click.option("--run", "run_folder", type=_PATH, help="Folder for unfinished work; OUT.run by default.")
@zoo_option
@click.option("--words", default="", help="Words for an edit, without INIT or if it is nearest or generated.")
@click.option("--adapter-only", is_flag=True, help="Train the adapter alone; by default, all weights.")
@settings_options(FinetuneSettings, names={"batch_size": "--batch", "crop_size": "--crop"})
@device_option
@click.option("--size", type=click.IntRange(32), default=256, show_default=True,
              help="Shorter side to which larger images are shrunk first, pixels.")  # fmt: skip
@click.option("--direction", type=click.Choice(["AtoB", "BtoA"]), default="AtoB", show_default=True,
              help="Which image of a pair is the input.")  # fmt: skip
@click.option(
    "--columns", nargs=2, metavar="INPUT TARGET", help="Image columns of the dataset or metadata file."
)
@click.option(
    "--split", default="train", show_default=True, help="Split of the dataset, or of a folder with splits."
)
@click.option("--varied", type=click.IntRange(1, 5000), default=96, show_default=True,
              help="Number of varied photos to make for --teacher.")  # fmt: skip
@click.option("--validations", type=click.IntRange(1), default=10, show_default=True,
              help="Number of validations; the best weights are kept.")  # fmt: skip
@force_option
@json_option
def command(
    init: str,
    start: str | None,
    source: str | None,
    validation: str | None,
    teacher: str | None,
    photos: Path | None,
    concepts: Path | None,
    out: Path,
    sheet: Path | None,
    curve: Path | None,
    run_folder: Path | None,
    zoo_name: str,
    words: str,
    adapter_only: bool,
    settings: FinetuneSettings,
    device_name: str,
    size: int,
    direction: str,
    columns: tuple[str, str] | None,
    split: str,
    varied: int,
    validations: int,
    force: bool,
    as_json: bool,
) -> None:
    """Train an init further on your own pairs.

    INIT is a pulled file, words for an edit, or the name of an initialization scheme, such as base or mean.
    Without it, or with auto, the pairs choose among what the zoo has, which is fitted to them for a tenth of
    the time of the training. The result has the weights with the best score on the validation pairs. The
    command can be stopped or killed at any time; run it again to resume.
    """
    from tqdm import tqdm

    from initzoo.evaluation import draw_examples
    from initzoo.files import WRITABLE_SUFFIXES, check_free, encode_image, written_together
    from initzoo.pairs import (
        check_crop_size,
        check_edited,
        choose_examples,
        find_concept,
        load_concepts,
        notes_on_examples,
        open_pairs,
        teach_pairs,
    )
    from initzoo.training import choose_start, open_start, run_finetune
    from initzoo.work import (
        choose_device,
        default_run_folder,
        encode_curve,
        keep_freed_memory,
        remove_run,
    )
    from initzoo.zoo import Zoo

    if start is not None:
        if init != _AUTO:
            raise click.UsageError(
                f"INIT {init} and --start {start} exclude each other. Leave one of them out"
            )
        init = start
    _refuse_idle_options(init, source, teacher)
    check_free(out, force=force, endings=[".safetensors"])
    sheet, curve = sheet or out.with_suffix(".png"), curve or out.with_suffix(".curve.csv")
    check_free(sheet, force=force, endings=WRITABLE_SUFFIXES)
    check_free(curve, force=force, endings=[".csv"])
    if source is not None:
        check_crop_size(settings.crop_size, size)
    keep_freed_memory()
    device = choose_device(device_name)
    zoo = Zoo.from_pretrained(zoo_name)
    opened = None
    if init != _AUTO:
        opened = open_start(init, zoo, words=words, adapter_only=adapter_only, seed=settings.seed, warn=False)
        echo_if_generated(opened.metadata)
    with tqdm(desc="pairs", unit="pair", file=sys.stderr, disable=None, leave=False) as bar:

        def count(n_done: int) -> None:
            bar.update(n_done - bar.n)

        if teacher is not None:
            concept = find_concept(load_concepts(concepts), teacher)
            pairs = teach_pairs(concept, photos, n_varied=varied, seed=settings.seed, callback=count)
        else:
            assert source is not None
            pairs = open_pairs(
                source,
                size=size,
                direction=direction,
                columns=columns or None,
                split=split,
                validation=validation,
                callback=count,
            )
    pairs.check_crops(settings.crop_size)
    if source is not None:
        check_edited(pairs.train)
    click.echo(pairs.summary, err=True)
    if opened is None:
        opened = choose_start(pairs, zoo, settings, words=words, adapter_only=adapter_only, warn=False)
        echo_fitting(opened.metadata)
    elif source is not None:
        some = [pairs.train[number] for number in choose_examples(len(pairs.train))]
        echo_pair_notes(notes_on_examples(some))
    run_folder = run_folder or default_run_folder(out)
    with StageBars(unit="step", smoothing=0.05) as bars:

        def show(n_done: int, loss: float, psnr: float) -> None:
            bars.show("steps", n_done, settings.n_steps, note=f"loss {loss:.4f}, PSNR {psnr:.2f} dB")

        result = run_finetune(
            opened,
            pairs,
            settings,
            run_folder,
            device=device,
            name=out.stem,
            n_validations=validations,
            force=force,
            callback=show,
        )
    picture = encode_image(sheet, draw_examples(result.examples))
    contents = {out: result.init.to_bytes(), sheet: picture, curve: encode_curve(result.curve)}
    with written_together(contents, force=force):
        remove_run(run_folder)
    if as_json:
        sizes = {"n_train": len(pairs.train), "n_validation": len(pairs.validation)}
        files = {"init": str(out), "sheet": str(sheet), "curve": str(curve)}
        echo_json({**files, **sizes, **result.to_dict(), "device": str(device)})
        return
    natural = f"{result.n_natural} natural + " if result.n_natural else ""
    click.echo(
        f"{opened.name}  {len(pairs.train)} + {len(pairs.validation)} pairs of {pairs.source}  "
        f"{natural}{settings.n_steps} steps  "
        f"{result.start.psnr:.2f} -> {result.end.psnr:.2f} dB (step {result.best_step})  "
        f"{result.seconds:.0f} s  -> {out} {sheet} {curve}"
    )
    if result.note and settings.n_steps:
        echo_pair_notes([result.note])
    elif settings.n_steps and result.best_step == 0:
        click.echo(
            "no step was better than the start. Try more --steps, or a smaller --learning-rate", err=True
        )


def _refuse_idle_options(init: str, source: str | None, teacher: str | None) -> None:
    """Refuse options without effect, which the user would otherwise rely on."""
    context = click.get_current_context()

    def refuse(*names: str, goes_with: str) -> None:
        for name in names:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} goes with {goes_with}")

    if (source is None) == (teacher is None):
        raise click.UsageError("give --pairs SOURCE, or --teacher CONCEPT")
    if teacher is None:
        refuse("photos", "concepts", "varied", goes_with="--teacher")
    else:
        refuse("size", "direction", "columns", "split", "validation", goes_with="--pairs")
    if init not in (_AUTO, "nearest", "generated"):
        refuse("words", goes_with="the initializations nearest and generated, and with no INIT")
