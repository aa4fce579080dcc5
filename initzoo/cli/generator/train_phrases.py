"""`initzoo generator train-phrases`: train a zoo's phrase encoder on the lexicon."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initzoo.cli.options import echo_json, example, force_option, json_option
from initzoo.cli.settings_options import settings_options
from initzoo.training import PhraseSettings
from initzoo.work import StageBars

if TYPE_CHECKING:
    from initzoo.training import PhraseReport

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command(
    "train-phrases",
    epilog=example("initzoo generator train-phrases --encoder catalog/model/phrase_encoder --curve"),
)
@click.option(
    "--encoder",
    type=_PATH,
    required=True,
    help="Folder with encoder.onnx, tokenizer.json and LICENSE of the sentence encoder, "
    "e.g. an earlier result.",
)
@click.option("--out", "-o", type=_PATH, help="Folder of the phrase encoder, e.g. ZOO/model/phrase_encoder.")
@click.option("--lexicon", type=_PATH, help="Folder of the lexicon; by default that of the catalog.")
@click.option(
    "--curve",
    is_flag=True,
    help="Write nothing; train on a quarter, half and all of the lexicon, and print how well the same "
    "held-back phrases are understood.",
)
@click.option(
    "--beside",
    is_flag=True,
    help="Keep the trained parts of the encoder and train one more beside them, for a longer lexicon. "
    "The weight generator need not be trained again.",
)
@click.option("--cache", type=_PATH, help="File (.npz) that keeps the encoded examples for another run.")
@settings_options(PhraseSettings)
@force_option
@json_option
def command(
    encoder: Path,
    out: Path | None,
    lexicon: Path | None,
    curve: bool,
    beside: bool,
    cache: Path | None,
    settings: PhraseSettings,
    force: bool,
    as_json: bool,
) -> None:
    """Train a phrase encoder on the lexicon of a checkout.

    The sentence encoder stays as it is; the part that is trained reads its token states and the letter groups
    of the phrase. A tenth of the phrases of each look is held back. Run `initzoo verify ZOO --accept`
    afterwards. With --beside, the zoo's weight generator goes on with the new encoder, but its calibration
    is removed: run `initzoo generator evaluate` to measure it again.
    """
    from initzoo.training import measure_lexicon, train_phrases

    if (out is None) != curve:
        raise click.ClickException("name the folder to write with --out, or give --curve")
    if curve and beside:
        raise click.ClickException("--curve trains parts alone. Leave out --beside")
    reports = []
    with StageBars() as bars:
        if out is None:
            for report in measure_lexicon(
                encoder, lexicon=lexicon, settings=settings, cache=cache, callback=bars.show
            ):
                reports.append(report)
        else:
            reports.append(
                train_phrases(
                    encoder,
                    out,
                    lexicon=lexicon,
                    settings=settings,
                    beside=beside,
                    force=force,
                    cache=cache,
                    callback=bars.show,
                )
            )
    if as_json:
        echo_json([asdict(report) for report in reports])
        return
    for report in reports:
        click.echo(_line(report))
        for name in report.uncalibrated:
            click.echo(
                f"weight generator '{name}' goes on with it, without its calibration. "
                "Measure that again: initzoo generator evaluate"
            )


def _line(report: PhraseReport) -> str:
    return (
        f"{report.share:.2f} of the lexicon, {report.n_phrases} phrases: of {report.n_held_back} held-back "
        f"phrases {report.first:.3f} right, {report.first_five:.3f} among five; English "
        f"{report.english:.3f}, other letters {report.others:.3f}, misspelt {report.misspelt:.3f}, "
        f"joined {report.joined:.3f}, combinations {report.combined:.3f}; "
        f"likely {report.likely:.3f}, of which right {report.likely_right:.3f}"
    )
