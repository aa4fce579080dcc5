"""`initzoo list`: the concepts of the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from initzoo.cli.options import (
    echo_json,
    example,
    json_option,
)
from initzoo.zoo.labels import SPLITS

if TYPE_CHECKING:
    from initzoo.pairs.concepts import Concept

__all__ = ["command"]

SECTION = "Use"


@click.command("list", epilog=example("initzoo list --family style --split train"))
@click.option("--family", help="Only concepts of this family, e.g. style or restoration.")
@click.option("--split", type=click.Choice(tuple(SPLITS)), help="Only concepts of this split.")
@json_option
def command(family: str | None, split: str | None, as_json: bool) -> None:
    """List the concepts of the bundled catalog.

    A line has the id, family, split and first wording of a concept.
    """
    from initzoo.pairs.concepts import load_concepts

    concepts = load_concepts()
    families = sorted({concept.family for concept in concepts})
    if family is not None and family not in families:
        raise click.BadParameter(
            f"no family '{family}'; the families are {', '.join(families)}", param_hint="--family"
        )
    chosen = [
        concept for concept in concepts if family in (None, concept.family) and split in (None, concept.split)
    ]
    if as_json:
        echo_json([_listed(concept) for concept in chosen])
        return
    id_width = max((len(concept.id) for concept in chosen), default=0)
    for concept in chosen:
        click.echo(f"{concept.id:{id_width}}  {concept.family:11}  {concept.split:16}  {concept.prompts[0]}")


def _listed(concept: Concept) -> dict[str, object]:
    return {
        "concept": concept.id,
        "family": concept.family,
        "split": concept.split,
        "novelty": concept.novelty,
        "prompts": list(concept.prompts),
        "test_prompts": list(concept.test_prompts),
        "licence": concept.licence,
        "source": concept.source,
    }
