"""`initzoo finetune`: train an init further, on pairs of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from initzoo.cli.options import device_option, echo_json, example, force_option, json_option, zoo_option

if TYPE_CHECKING:
    from initzoo.training.finetune import Finetuned, PairSet
    from initzoo.training.start import Start

__all__ = ["command"]

SECTION = "Use"

_PATH = click.Path(path_type=Path)


@click.command(
    "finetune",
    epilog=example('initzoo finetune "pencil sketch" --teacher charcoal --steps 100 -o charcoal.safetensors'),
)
@click.argument("init")
@click.option(
    "--pairs",
    "source",
    metavar="SOURCE",
    help="Folder with A and B in it, folder of aligned images, or a dataset.",
)
@click.option("--teacher", metavar="CONCEPT", help="Make the pairs with this concept's teacher instead.")
@click.option("--photos", type=_PATH, help="Photos for --teacher; the bundled ones by default.")
@click.option("--concepts", type=_PATH, help="Concepts of your own (TOML), for --teacher.")
@click.option("--out", "-o", type=_PATH, required=True, help="The init to write, a .safetensors file.")
@click.option("--sheet", type=_PATH, help="Contact sheet to write; OUT with .png by default.")
@click.option("--run", "run_folder", type=_PATH, help="Folder for unfinished work; OUT.run by default.")
@zoo_option
@click.option("--words", default="", help="What the edit should look like, if INIT is nearest or generated.")
@click.option("--adapter-only", is_flag=True, help="Train the adapter alone; all weights by default.")
@click.option("--steps", type=click.IntRange(0), default=300, show_default=True,
              help="Steps; the learning rate is zero after the last.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Crops in a step.")
@click.option(
    "--crop", type=click.IntRange(32), default=64, show_default=True, help="Side of a crop, pixels."
)
@click.option("--size", type=click.IntRange(32), default=256, show_default=True,
              help="Images are shrunk to this shorter side first.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Highest learning rate.")
@click.option("--gan", type=click.Choice(["non-saturating", "lsgan", "off"]), default="non-saturating",
              show_default=True, help="The discriminator's loss; off is far quicker on a CPU.")  # fmt: skip
@click.option("--l1-weight", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True,
              help="Of the mean absolute error beside it.")  # fmt: skip
@click.option("--ema", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
              help="Keep a running mean of weights with this decay; 0 for none.")  # fmt: skip
@click.option("--flip", is_flag=True, help="Mirror every other crop.")
@click.option("--bfloat16", is_flag=True, help="Compute in bfloat16, on machines that are quicker with it.")
@device_option
@click.option("--direction", type=click.Choice(["AtoB", "BtoA"]), default="AtoB", show_default=True,
              help="Which image of a pair is the input.")  # fmt: skip
@click.option("--columns", nargs=2, metavar="INPUT TARGET", help="Image columns of a dataset.")
@click.option("--split", default="train", show_default=True, help="Split of a dataset.")
@click.option("--varied", type=click.IntRange(1, 5000), default=96, show_default=True,
              help="Varied photos to make for --teacher.")  # fmt: skip
@click.option("--validations", type=click.IntRange(1), default=10, show_default=True,
              help="How often to validate; the best weights are kept.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
              help="Draws crops, photos and the discriminator's first weights.")  # fmt: skip
@force_option
@json_option
def command(
    init: str,
    out: Path,
    sheet: Path | None,
    run_folder: Path | None,
    force: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Train INIT further on pairs, and keep the weights that do best on pairs it does not learn from.

    INIT is a pulled file, words for an edit, or the name of an initialization. Without --adapter-only all
    weights are trained. It may be stopped, or killed, at any moment; the same command
    goes on.
    """
    from tqdm import tqdm

    from initzoo.evaluation.report.grids import draw_examples
    from initzoo.files.atomic import write_bytes
    from initzoo.files.images import encode_image
    from initzoo.training.finetune import finetune as run_finetune
    from initzoo.work.devices import choose_device

    _check_options(init, chosen)
    sheet = sheet or out.with_suffix(".png")
    _check_outputs(out, sheet, force)
    settings = _settings(chosen)
    device = choose_device(chosen["device_name"])
    start = _open_start(init, chosen)
    pairs = _open_pairs(chosen)
    folder = run_folder or out.with_name(out.name + ".run")
    with tqdm(total=settings.n_steps, unit="step", file=sys.stderr, disable=None, smoothing=0.05) as bar:

        def show(n_done: int, loss: float, psnr: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4f}, PSNR {psnr:.2f} dB", refresh=False)
            bar.update(n_done - bar.n)

        result = run_finetune(
            start,
            pairs,
            settings,
            folder,
            device=device,
            n_validations=chosen["validations"],
            force=force,
            callback=show,
        )
    picture = encode_image(sheet, draw_examples(result.examples))
    result.init.save(out, force=force)
    write_bytes(sheet, picture, force=force)
    _remove(folder)
    if as_json:
        echo_json(_to_json(result, pairs, out, sheet) | {"device": str(device)})
        return
    click.echo(
        f"{start.name}  {len(pairs.train)} + {len(pairs.validation)} pairs of {pairs.source}  "
        f"{settings.n_steps} steps  "
        f"{result.start.psnr:.2f} -> {result.end.psnr:.2f} dB (step {result.best_step})  "
        f"{result.seconds:.0f} s  -> {out} {sheet}"
    )
    if settings.n_steps and result.best_step == 0:
        click.echo("no step was better than the start. Try a smaller --learning-rate", err=True)


def _check_options(init: str, chosen: dict[str, Any]) -> None:
    """What would have no effect is refused: someone counts on it."""
    context = click.get_current_context()

    def refuse(names: tuple[str, ...], what: str) -> None:
        for name in names:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} goes with {what}")

    if (chosen["source"] is None) == (chosen["teacher"] is None):
        raise click.UsageError("give --pairs SOURCE, or --teacher CONCEPT")
    if chosen["teacher"] is None:
        refuse(("photos", "concepts", "varied"), "--teacher")
    else:
        refuse(("size", "direction", "columns", "split"), "--pairs")
    if init not in ("nearest", "generated"):
        refuse(("words",), "the initializations nearest and generated")


def _open_start(init: str, chosen: dict[str, Any]) -> Start:
    from initzoo.training.start import open_start
    from initzoo.zoo.zoo import Zoo

    zoo = Zoo.from_pretrained(chosen["zoo_name"])
    start = open_start(
        init, zoo, words=chosen["words"], adapter_only=chosen["adapter_only"], seed=chosen["seed"]
    )
    if start.metadata.generation is not None and start.metadata.origin == "generated":
        click.echo(f"{start.name}: generated from words, {start.metadata.generation.prospect}", err=True)
    return start


def _settings(chosen: dict[str, Any]) -> Any:
    from initzoo.training.finetune import FinetuneSettings

    rate = chosen["learning_rate"]
    return FinetuneSettings(
        n_steps=chosen["steps"],
        batch_size=chosen["batch"],
        crop_size=chosen["crop"],
        gan=chosen["gan"],
        l1_weight=chosen["l1_weight"],
        ema=chosen["ema"],
        flip=chosen["flip"],
        bfloat16=chosen["bfloat16"],
        seed=chosen["seed"],
        **({} if rate is None else {"learning_rate": rate}),
    )


def _open_pairs(chosen: dict[str, Any]) -> PairSet:
    from tqdm import tqdm

    from initzoo.pairs.concepts import find_concept, load_concepts
    from initzoo.training.finetune import open_pairs, teach_pairs

    with tqdm(desc="pairs", unit="pair", file=sys.stderr, disable=None, leave=False) as bar:

        def show(n_done: int) -> None:
            bar.update(n_done - bar.n)

        if chosen["teacher"] is not None:
            concept = find_concept(load_concepts(chosen["concepts"]), chosen["teacher"])
            return teach_pairs(
                concept, chosen["photos"], n_varied=chosen["varied"], seed=chosen["seed"], callback=show
            )
        return open_pairs(
            chosen["source"],
            size=chosen["size"],
            direction=chosen["direction"],
            columns=chosen["columns"] or None,
            split=chosen["split"],
            callback=show,
        )


def _check_outputs(out: Path, sheet: Path, force: bool) -> None:
    """Minutes of training should not end at a file that is there already, or at a name that cannot be."""
    from initzoo.errors import OutputError
    from initzoo.files.images import IMAGE_SUFFIXES

    if out.suffix != ".safetensors":
        raise OutputError(f"cannot write {out}: expected a name that ends with .safetensors")
    if sheet.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(
            f"cannot write {sheet}: expected the name of an image, e.g. {out.with_suffix('.png')}"
        )
    for path in (out, sheet):
        if path.exists() and not force:
            raise OutputError(f"{path} exists already. Choose another name, or add --force to replace it")
        if not path.absolute().parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {path.parent}. Make it first")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _to_json(result: Finetuned, pairs: PairSet, out: Path, sheet: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "init": str(out),
        "sheet": str(sheet),
        "source": result.init.metadata.source,
        "n_train": len(pairs.train),
        "n_validation": len(pairs.validation),
        "best_step": result.best_step,
        "start": asdict(result.start),
        "end": asdict(result.end),
        "history": [{"step": step, "psnr": psnr, "ssim": ssim} for step, psnr, ssim in result.history],
        "seconds": round(result.seconds, 1),
    }
