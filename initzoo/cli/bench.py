"""`initzoo bench`: how long each start takes to good quality, one beside the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initzoo.cli.options import echo_json, example, force_option, json_option, zoo_option
from initzoo.work.progress import StageBars

if TYPE_CHECKING:
    from initzoo.evaluation.benchmark import Benchmark, BenchmarkSettings

__all__ = ["command"]

SECTION = "Measure"

_PATH = click.Path(path_type=Path)
_OUTPUTS = ("bench.json", "curves.png", "ratios.png")


class _Numbers(click.ParamType):
    """Numbers with commas between them."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind
        self.name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return tuple(self.kind(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"expected numbers with commas between them, found {value!r}", param, ctx)


@click.command(
    "bench", epilog=example("initzoo bench --quick --methods pix2pix_book,scratch_best,base --out bench")
)
@zoo_option
@click.option("--out", "-o", type=_PATH, required=True, help=f"Folder for {', '.join(_OUTPUTS)}.")
@click.option("--run", "run_folder", type=_PATH, help="Folder for unfinished work; OUT.run by default.")
@click.option(
    "--quick", is_flag=True, help="Hardly any work, but where you say otherwise: to see that all runs."
)
@click.option("--methods", help="Some of the methods, with commas between them; all by default.")
@click.option("--n-concepts", type=click.IntRange(1), help="Held-out concepts to measure on.")
@click.option("--n-tuning", type=click.IntRange(1), help="Held-out concepts to choose learning rates on.")
@click.option("--lengths", type=_Numbers(int), help="Steps of the schedules, from 0.")
@click.option("--classical-lengths", type=_Numbers(int), help="Of these, where classical starts compete.")
@click.option("--rates", type=_Numbers(float), help="Learning rates to choose from.")
@click.option("--unet-rates", type=_Numbers(float), help="The same for the U-Net.")
@click.option("--crop", "crop_size", type=click.Choice(["32", "64", "128", "256"]),
              help="Side of a crop, pixels: 64 on a CPU, 256 on a GPU.")  # fmt: skip
@click.option("--batch", "batch_size", type=click.IntRange(1), help="Crops in a step of the zoo's network.")
@click.option(
    "--unet-width",
    type=click.IntRange(1),
    help="Filters of the first layers of pix2pix: 32 on a CPU, 64 on a GPU.",
)
@click.option("--concepts", type=_PATH, help="Concepts of your own (TOML) to measure on.")
@click.option("--photos", type=_PATH, help="Folder of photos; the bundled ones by default.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
              help="cuda runs the 256-pixel tier by the book.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), help="Processes, one a core; all cores by default.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
              help="Of weights, photos and crops.")  # fmt: skip
@force_option
@json_option
def command(
    zoo_name: str, out: Path, run_folder: Path | None, force: bool, as_json: bool, **chosen: Any
) -> None:
    """Measure how long each start takes to the quality that the best of all reaches.

    Each method runs every length of schedule at its own best learning rate, on held-out concepts. It may be
    stopped, or killed, at any moment; the same command goes on.
    """
    from initzoo.evaluation.benchmark import run_benchmark
    from initzoo.evaluation.cases import ask_about_concepts
    from initzoo.evaluation.report.plots import check_plotting
    from initzoo.pairs.concepts import load_concepts
    from initzoo.zoo.zoo import Zoo

    check_plotting()
    _check_free(out, force)
    settings = _settings(chosen)
    concepts = None
    if chosen["concepts"] is not None:
        concepts = ask_about_concepts(load_concepts(chosen["concepts"]), limit=chosen["n_concepts"])
    with StageBars(unit="run", smoothing=0.02) as bars:
        found = run_benchmark(
            Zoo.from_pretrained(zoo_name),
            settings,
            run_folder or out.with_name(out.name + ".run"),
            concepts=concepts,
            force=force,
            callback=bars.show,
        )
    _write(found, out, force=force)
    if as_json:
        echo_json(found.report)
        return
    from initzoo.evaluation.benchmark.figures import tables

    for line in tables(found.report):
        click.echo(line)
    click.echo(f"-> {out}")


def _settings(chosen: dict[str, Any]) -> BenchmarkSettings:
    from initzoo.evaluation.benchmark import QUICK, BenchmarkSettings
    from initzoo.pairs.photos import PhotoSource

    is_gpu = chosen["device"] == "cuda"
    given = {
        "methods": chosen["methods"] and tuple(part.strip() for part in chosen["methods"].split(",")),
        "crop_size": int(chosen["crop_size"] or (256 if is_gpu else 64)),
        "photos": PhotoSource(chosen["photos"]),
        "n_workers": 1 if is_gpu else chosen["workers"] or os.cpu_count() or 1,
        "device": chosen["device"],
        "seed": chosen["seed"],
    }
    for name in (
        "n_concepts",
        "n_tuning",
        "lengths",
        "classical_lengths",
        "rates",
        "unet_rates",
        "batch_size",
        "unet_width",
    ):
        given[name] = chosen[name]
    usual = {"unet_width": 64 if is_gpu else 32} | (QUICK if chosen["quick"] else {})
    return BenchmarkSettings(**usual | {name: value for name, value in given.items() if value is not None})


def _check_free(out: Path, force: bool) -> None:
    """Hours of running should not end at a file that is there already."""
    from initzoo.errors import OutputError

    for path in (out / name for name in _OUTPUTS):
        if path.exists() and not force:
            raise OutputError(f"{path} exists already. Choose another folder, or add --force to replace it")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"cannot make {out}: there is no folder {out.parent}. Make it first")


def _write(found: Benchmark, out: Path, *, force: bool) -> None:
    import json

    from initzoo.errors import OutputError
    from initzoo.evaluation.benchmark.figures import draw_curves, draw_ratios
    from initzoo.files.atomic import write_bytes

    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out}: {error.strerror}. Name another one") from error
    data = json.dumps(found.report, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    write_bytes(out / "bench.json", data, force=force)
    write_bytes(out / "curves.png", draw_curves(found.report), force=force)
    if found.report["ratio"]:
        write_bytes(out / "ratios.png", draw_ratios(found.report), force=force)
    else:  # the picture of an earlier one would contradict the rest
        (out / "ratios.png").unlink(missing_ok=True)
