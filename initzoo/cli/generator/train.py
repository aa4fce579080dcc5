"""`initzoo generator train`: a weight generator for a zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from initzoo.cli.options import echo_json, example, force_option, json_option
from initzoo.work.progress import StageBars

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("train", epilog=example("initzoo generator train --quick --out my-generator"))
@click.option("--zoo", default="starter", envvar="INITZOO_ZOO", show_default=True, help="Zoo to learn from.")
@click.option(
    "--text", type=_PATH, help="Folder of token vectors; those of the bundled generator by default."
)
@click.option("--out", "-o", type=_PATH, required=True, help="Folder of the new weight generator.")
@click.option("--start", type=_PATH, help="Go on from this weight generator, with the second stage alone.")
@click.option("--run", "run_folder", type=_PATH, help="Folder for unfinished work; OUT.run by default.")
@click.option("--photos", type=_PATH, help="Folder of photos; the bundled ones by default.")
@click.option(
    "--practice",
    type=_PATH,
    help="Catalog whose train looks are composed further; the bundled zoo has its own.",
)
@click.option("--no-practice", is_flag=True, help="Learn from the zoo's concepts and wordings alone.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes, one a core; all cores by default.")
@click.option("--quick", is_flag=True, help="Train hardly at all: to see that everything works.")
@click.option(
    "--kind",
    type=click.Choice(["joint", "unet"]),
    default="joint",
    show_default=True,
    help="All blocks at once, or the paper's UNet on each block alone.",
)
@click.option("--regressor", is_flag=True, help="No noise and no timestep: words in, weights out.")
@click.option("--pooled-words", is_flag=True, help="One mean vector in place of the words' sequence.")
@click.option("--static-words", is_flag=True, help="No learned vectors for the words of train wordings.")
@click.option("--no-behaviour", is_flag=True, help="Leave out the second stage.")
@click.option(
    "--train-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the train concepts to learn from.",
)
@click.option(
    "--block-size",
    type=click.Choice(["128", "256", "512"]),
    default="256",
    show_default=True,
    help="Values in a block; the zoo's are cut anew when it differs.",
)
@click.option("--weight-steps", type=click.IntRange(1), help="Steps of the first stage.")
@click.option("--weight-batch", type=click.IntRange(2), help="Concepts in a step of the first stage.")
@click.option("--weight-rate", type=click.FloatRange(0, min_open=True), help="Its learning rate.")
@click.option("--behaviour-steps", type=click.IntRange(1), help="Steps of the second stage.")
@click.option("--behaviour-batch", type=click.IntRange(2), help="Concepts in a step of the second stage.")
@click.option("--behaviour-rate", type=click.FloatRange(0, min_open=True), help="Its learning rate.")
@click.option("--crops", "n_crops", type=click.IntRange(1, 48), help="Crops of a concept in such a step.")
@click.option("--crop-size", type=click.IntRange(8, 64), help="Side of the parts of crops that it sees.")
@click.option(
    "--by-sensitivity/--by-variance",
    default=None,
    help="Weigh each weight's error by what it does to images, too, or by how much it varies only.",
)
@click.option(
    "--token-dropout", type=click.FloatRange(0, 1, max_open=True), help="How often a token is left out."
)
@click.option("--words-dropout", type=click.FloatRange(0, 1, max_open=True), help="How often all words are.")
@click.option("--word-noise", type=click.FloatRange(0), help="Noise on token vectors, as a share of them.")
@click.option("--width", type=click.IntRange(48), help="Width of the denoiser, a multiple of 48.")
@click.option("--bfloat16", is_flag=True, help="Compute in bfloat16, on machines that are quicker with it.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@force_option
@json_option
def command(
    zoo: str,
    text: Path | None,
    out: Path,
    start: Path | None,
    run_folder: Path | None,
    photos: Path | None,
    workers: int | None,
    force: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Train a weight generator on a zoo: first on weights, then on what they do to images.

    It may be stopped, or killed, at any moment; the same command goes on, and ends with the same bytes.
    """
    import time
    from dataclasses import replace

    from initzoo.generator.model import WeightGenerator
    from initzoo.generator.tokens import TokenVectors
    from initzoo.pairs.concepts import load_practice
    from initzoo.training.generator import CropPlan, TrainingData, quick_crops, train_generator
    from initzoo.zoo.zoo import BUNDLED_ZOO, Zoo

    practice, no_practice = chosen.pop("practice"), chosen.pop("no_practice") or chosen["quick"]
    crops = quick_crops() if chosen["quick"] else CropPlan()
    settings = _settings(chosen)
    opened = Zoo.from_pretrained(zoo)
    data = TrainingData.from_zoo(opened)
    if not no_practice and (practice or opened.name == BUNDLED_ZOO):
        data = data.with_practice(load_practice(practice))
    words = TokenVectors.from_folder(text or opened.generator_folder / "text")
    _check_free(out, force)
    begin = time.perf_counter()
    with StageBars(smoothing=0.02) as bars:

        def show(stage: str, n_done: int, n_all: int, loss: float) -> None:
            bars.show(stage, n_done, n_all, note="" if stage == "crops" else f"loss {loss:.4f}")

        result = train_generator(
            data,
            words,
            settings,
            run_folder or out.with_name(out.name + ".run"),
            n_workers=workers,
            crop_plan=replace(crops, photos=photos, crop_size=opened.recipe.crop_size),
            start=WeightGenerator.from_pretrained(start) if start else None,
            callback=show,
        )
    result.save_pretrained(out, force=force)
    seconds = time.perf_counter() - begin
    config = result.config
    if as_json:
        echo_json({"out": str(out), "seconds": round(seconds, 1), "config": config.to_dict()})
        return
    n_steps = [config.training[stage]["n_steps"] for stage in ("weights", "behaviour")]
    click.echo(
        f"{config.kind}  {config.n_train_concepts} concepts  {' + '.join(map(str, n_steps))} steps  "
        f"{seconds / 60:.1f} min  -> {out}"
    )


def _settings(chosen: dict[str, Any]) -> Any:
    """Settings of a training from options; those not given keep their defaults."""
    from dataclasses import replace

    from initzoo.errors import TrainingError
    from initzoo.training.generator import GeneratorSettings, quick_settings

    default = GeneratorSettings()
    stages = {}
    for name, option in (("weights", "weight"), ("behaviour", "behaviour")):
        options = {"n_steps": "steps", "batch_size": "batch", "learning_rate": "rate"}
        given = {field: chosen.pop(f"{option}_{ending}") for field, ending in options.items()}
        given = {field: value for field, value in given.items() if value is not None}
        stages[name] = replace(getattr(default, name), **given)
    if chosen.pop("no_behaviour"):
        stages["behaviour"] = replace(stages["behaviour"], n_steps=0)
    quick = chosen.pop("quick")
    chosen["block_size"] = int(chosen["block_size"])
    chosen["learned_words"] = not chosen.pop("static_words")
    given = {name: value for name, value in chosen.items() if value is not None}
    try:
        settings = replace(default, **stages, **given)
    except ValueError as error:
        raise TrainingError(f"{error}. See: initzoo generator train --help") from error
    return quick_settings(settings) if quick else settings


def _check_free(out: Path, force: bool) -> None:
    """Hours of training should not end at a folder that is taken."""
    from initzoo.errors import OutputError

    if out.exists() and not (force or (out.is_dir() and not any(out.iterdir()))):
        raise OutputError(f"{out} is there already. Choose another folder, or add --force to replace it")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"cannot write {out}: there is no folder {out.parent}. Make it first")
