"""`initzoo list`: the concepts of the catalog, or of a zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from initzoo.cli.options import (
    DEFAULT_ZOO,
    echo_json,
    example,
    json_option,
    zoo_option,
)
from initzoo.errors import printable
from initzoo.zoo import SPLITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from initzoo.pairs import Concept
    from initzoo.zoo import IndexRow

__all__ = ["command"]

SECTION = "Use"


@click.command("list", epilog=example("initzoo list --family style --split train"))
@click.option("--family", help="Only concepts of this family, e.g. style or restoration.")
@click.option("--split", type=click.Choice(tuple(SPLITS)), help="Only concepts of this split.")
@zoo_option
@json_option
def command(family: str | None, split: str | None, zoo_name: str, as_json: bool) -> None:
    """List the concepts of the bundled catalog, or of a zoo.

    Each line has the id, family, split and first wording of a concept.
    """
    concepts = _concepts_of(zoo_name)
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
    id_width = max((len(_id_of(concept)) for concept in chosen), default=0)
    for concept in chosen:
        line = f"{_id_of(concept):{id_width}}  {concept.family:11}  {concept.split:16}  {concept.prompts[0]}"
        click.echo(printable(line))


def _concepts_of(zoo_name: str) -> Sequence[Concept | IndexRow]:
    """The concepts of the catalog, from which the bundled zoo was made, or the index of another zoo."""
    if zoo_name == DEFAULT_ZOO:
        from initzoo.pairs import load_concepts

        return load_concepts()
    from initzoo.zoo import Zoo

    return Zoo.from_pretrained(zoo_name).index.rows()


def _id_of(concept: Concept | IndexRow) -> str:
    return concept.id if hasattr(concept, "id") else concept.concept_id


def _listed(concept: Concept | IndexRow) -> dict[str, object]:
    return {
        "concept": _id_of(concept),
        "family": concept.family,
        "split": concept.split,
        "novelty": concept.novelty,
        "prompts": list(concept.prompts),
        "test_prompts": list(concept.test_prompts),
        "licence": concept.licence,
        "source": concept.source,
    }
