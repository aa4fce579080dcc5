"""`initzoo generator train`: train a weight generator on a zoo."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initzoo.cli.options import (
    accelerator_option,
    backend_option,
    echo_json,
    example,
    force_option,
    json_option,
    workers_option,
    zoo_option,
)
from initzoo.cli.settings_options import settings_options
from initzoo.training import QUICK_TRAINING, GeneratorSettings
from initzoo.work import Backend, StageBars, default_run_folder

if TYPE_CHECKING:
    from initzoo.zoo import Zoo

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_NAMES = {
    "learned_words": "--learned-words/--static-words",
    "by_sensitivity": "--by-sensitivity/--by-variance",
    "weights": "weight",
    "weights.batch_size": "--weight-batch",
    "weights.learning_rate": "--weight-rate",
    "behaviour.batch_size": "--behaviour-batch",
    "behaviour.learning_rate": "--behaviour-rate",
    "pairs.batch_size": "--pairs-batch",
    "pairs.learning_rate": "--pairs-rate",
}


@click.command("train", epilog=example("initzoo generator train --quick --out my-generator"))
@zoo_option
@click.option(
    "--text",
    type=_PATH,
    help="Folder of a phrase encoder, or of token vectors for --encoder words; by default that of the zoo, "
    "else the bundled one.",
)
@click.option(
    "--lexicon",
    type=_PATH,
    help="Folder of a lexicon, whose phrases word the concepts besides; the bundled zoo has its own.",
)
@click.option("--out", "-o", type=_PATH, required=True, help="Folder of the new weight generator.")
@click.option(
    "--curve",
    type=_PATH,
    help="CSV file of loss and learning rate; OUT with .curve.csv by default.",
)
@click.option("--start", type=_PATH, help="Weight generator to train further, by the second stage alone.")
@click.option(
    "--transfer",
    type=_PATH,
    help="Weight generator of another zoo, from which to take over how words are read.",
)
@click.option("--run", "run_folder", type=_PATH, help="Folder for unfinished work; OUT.run by default.")
@click.option("--photos", type=_PATH, help="Folder or dataset of photos; the bundled ones by default.")
@click.option(
    "--concepts", type=_PATH, help="Concepts file of the zoo, for teachers that a zoo cannot contain."
)
@click.option(
    "--practice",
    type=_PATH,
    help="Catalog of further concepts for the second stage; the bundled zoo has its own.",
)
@click.option(
    "--compositions",
    type=click.IntRange(min=0),
    default=6000,
    show_default=True,
    help="About how many compositions of its looks practice has.",
)
@click.option("--no-practice", is_flag=True, help="Train on the concepts and wordings of the zoo alone.")
@workers_option
@backend_option
@accelerator_option("Train on this accelerator, in whose memory all data has to fit. --lanes 1 suits it.")
@click.option(
    "--graph",
    "with_graph",
    is_flag=True,
    help="Also write denoiser.onnx, with which the weight generator of the bundled zoo runs without torch. "
    "Needs the extra onnx.",
)
@click.option("--no-behaviour", is_flag=True, help="Leave out the second stage.")
@settings_options(GeneratorSettings, names=_NAMES, skip=["pairs.pure_share"], quick=QUICK_TRAINING)
@force_option
@json_option
def command(
    zoo_name: str,
    text: Path | None,
    lexicon: Path | None,
    out: Path,
    curve: Path | None,
    start: Path | None,
    transfer: Path | None,
    run_folder: Path | None,
    photos: Path | None,
    concepts: Path | None,
    practice: Path | None,
    compositions: int,
    no_practice: bool,
    workers: int | None,
    backend: Backend,
    address: str | None,
    device_name: str,
    with_graph: bool,
    no_behaviour: bool,
    settings: GeneratorSettings,
    quick: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Train a weight generator on a zoo.

    The first stage minimises the error of weights, the second that of images. A third teaches passes over
    example pairs, if --pairs-steps asks for it. The command can be stopped or killed at any time. Run it
    again to resume; the result has the same bytes, except with an accelerator. Several machines or
    accelerators share the work under `accelerate launch`.
    """
    from initzoo.files import check_free, check_free_folder, read_file, to_plain, write_bytes
    from initzoo.generator import WeightGenerator, read_text
    from initzoo.pairs import load_concepts, load_practice
    from initzoo.training import (
        CURVE_FILE,
        CropPlan,
        TrainingData,
        add_graph,
        need_onnx,
        quick_crops,
        refuse_windows,
        train_generator,
        with_lexicon,
    )
    from initzoo.work import choose_device, open_ranks
    from initzoo.zoo import BUNDLED_ZOO, Zoo, refresh_around

    device = choose_device(device_name)
    ranks = click.get_current_context().with_resource(open_ranks(device))
    if with_graph:
        need_onnx()
    if no_behaviour:
        settings = replace(settings, behaviour=replace(settings.behaviour, n_steps=0))
    curve = curve or out.with_name(out.name + ".curve.csv")
    if ranks.is_first:
        check_free_folder(out, force=force)
        check_free(curve, force=force, endings=[".csv"])
    run_folder = run_folder or default_run_folder(out)
    zoo = Zoo.from_pretrained(zoo_name)
    data = TrainingData.from_zoo(zoo, load_concepts(concepts) if concepts else ())
    if not (no_practice or quick) and (practice or zoo.name == BUNDLED_ZOO):
        data = data.with_practice(load_practice(practice, n_compositions=compositions))
        if settings.encoder == "phrases":
            data = with_lexicon(data, lexicon, seed=settings.seed)
    if with_graph:
        refuse_windows(settings.n_blocks(data.recipe.layout), settings.window)
    crop_plan = replace(
        quick_crops() if quick else CropPlan(),
        photos=photos,
        crop_size=data.crop_size,
        grid=data.crop_grid,
    )
    begin = time.perf_counter()
    with StageBars(smoothing=0.02) as bars:

        def show(stage: str, n_done: int, n_all: int, loss: float) -> None:
            bars.show(stage, n_done, n_all, note="" if stage == "crops" else f"loss {loss:.4f}")

        result = train_generator(
            data,
            read_text(text or _text_folder(zoo, settings.encoder), settings.encoder),
            settings,
            run_folder,
            n_workers=workers,
            backend=backend,
            address=address,
            crop_plan=crop_plan,
            start=WeightGenerator.from_pretrained(start) if start else None,
            transfer=WeightGenerator.from_pretrained(transfer) if transfer else None,
            device=ranks.device or device,
            ranks=ranks,
            callback=show,
        )
    if not ranks.is_first:
        return
    if with_graph:
        result = add_graph(result)
    result.save_pretrained(out, force=force)
    write_bytes(curve, read_file(run_folder / CURVE_FILE, max_bytes=2**24), force=force)
    refresh_around(out)
    seconds = time.perf_counter() - begin
    config = result.config
    if as_json:
        echo_json(
            {"out": str(out), "curve": str(curve), "seconds": round(seconds, 1), "config": to_plain(config)}
        )
        return
    n_steps = [config.training[stage]["n_steps"] for stage in ("weights", "behaviour")]
    if config.pairs is not None:
        n_steps.append(config.training["pairs"]["n_steps"])
    click.echo(
        f"{config.kind}  {config.n_train_concepts} concepts  {' + '.join(map(str, n_steps))} steps  "
        f"{seconds / 60:.1f} min  -> {out} {curve}"
    )


def _text_folder(zoo: Zoo, encoder: str) -> Path:
    """The text model of the zoo for an encoder, or that of the bundled zoo if the zoo has none.

    Raises:
        InvalidGenerator: neither has one.
    """
    from initzoo.errors import InvalidGenerator
    from initzoo.zoo import BUNDLED_ZOO, Zoo

    for source in (zoo, Zoo.from_pretrained(BUNDLED_ZOO)):
        folder = source.files.phrase_folder() if encoder == "phrases" else None
        if encoder != "phrases" and source.has_generator:
            folder = source.generator_folder / "text"
        if folder is not None and folder.is_dir():
            return folder
    raise InvalidGenerator(f"no text model for the encoder '{encoder}'. Name its folder with --text")
