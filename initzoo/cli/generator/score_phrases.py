"""`initzoo generator score-phrases`: measure how often phrases get the right checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from initzoo.cli.options import echo_json, example, json_option, workers_option, zoo_option
from initzoo.work import StageBars

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("score-phrases", epilog=example("initzoo generator score-phrases --wrong"))
@zoo_option
@click.option(
    "--phrases", "path", type=_PATH, help="File of phrases (TOML); by default those of the catalog."
)
@click.option("--wrong", "list_wrong", is_flag=True, help="Also list the phrases that are answered wrongly.")
@click.option(
    "--pictures",
    "with_pictures",
    is_flag=True,
    help="Also measure the pictures: the share of the way from the mean adapter to the checkpoint meant.",
)
@click.option("--photos", type=_PATH, help="Folder of photos for --pictures; the bundled ones by default.")
@workers_option
@json_option
def command(
    zoo_name: str,
    path: Path | None,
    list_wrong: bool,
    with_pictures: bool,
    photos: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Measure how often the right checkpoint is taken for the phrases of the test of words.

    All concepts of the catalog count, whether or not the zoo has trained them. The phrases come with a
    checkout of initzoo. Nothing is trained on them.
    """
    from initzoo.errors import InvalidZoo
    from initzoo.evaluation import CatalogNames, answer_phrases, measure_phrases, score_answers
    from initzoo.pairs import PhotoSource, load_concepts, load_test_phrases
    from initzoo.work import Pool
    from initzoo.zoo import Router, Zoo

    zoo = Zoo.from_pretrained(zoo_name)
    if zoo.phrases is None:
        raise InvalidZoo(
            f"zoo '{zoo.name}' has no phrase encoder. Train one: initzoo generator train-phrases -h"
        )
    names, phrases = CatalogNames(load_concepts()), load_test_phrases(path)
    answers = answer_phrases(names, Router(names, zoo.phrases), phrases)
    scores = score_answers(answers)
    wrong = [answer for answer in answers if answer.concept_id is not None and not answer.is_right]
    pictures = []
    if with_pictures:
        with StageBars() as bars:
            pictures = measure_phrases(
                zoo,
                phrases,
                PhotoSource(photos),
                pool=Pool.make(workers or 0, "processes"),
                callback=lambda n_done, n_all: bars.show("measure", n_done, n_all),
            )
    if as_json:
        echo_json(
            {
                "scores": [asdict(score) for score in scores],
                "pictures": [asdict(one) for one in pictures],
                "wrong": [
                    {"words": one.phrase.words, "concept": one.phrase.concept, "taken": one.concept_id,
                     "confidence": one.confidence}
                    for one in wrong
                ],
            }
        )  # fmt: skip
        return
    for score in scores:
        click.echo(
            f"{score.kind:11}  {score.n_phrases} phrases  right {score.right:.3f}  near {score.near:.3f}  "
            f"wrong {score.wrong:.3f}  generated {score.generated:.3f}  likely {score.likely:.3f}  "
            f"likely and wrong {score.likely_wrong:.3f}"
        )
    for picture in pictures:
        low, high = picture.interval
        click.echo(
            f"{picture.kind:11}  {picture.n_phrases} phrases  {picture.answer:8}  {picture.psnr:.2f} dB  "
            f"gap closed {picture.gap_closed:.2f} [{low:.2f}, {high:.2f}]  "
            f"mean adapter {picture.mean:.2f}  checkpoint {picture.trained:.2f}"
        )
    for one in wrong if list_wrong else ():
        click.echo(
            f"{one.phrase.words!r}: wanted {one.phrase.concept}, took {one.concept_id} ({one.confidence})"
        )
