"""`initzoo search`: find the concepts nearest to some words."""

from __future__ import annotations

import click

from initzoo.cli.options import (
    echo_json,
    echo_limits,
    example,
    json_option,
    match_to_json,
    zoo_option,
)
from initzoo.errors import printable

__all__ = ["command"]

SECTION = "Use"


@click.command("search", epilog=example("initzoo search watercolour"))
@click.argument("words", nargs=-1, required=True)
@zoo_option
@click.option(
    "-n",
    "--n",
    "n",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Maximum number of concepts.",
)
@json_option
def command(words: tuple[str, ...], zoo_name: str, n: int, as_json: bool) -> None:
    """List the concepts nearest to some words by meaning.

    The one that pull would take comes first. A zoo without a phrase encoder compares letters instead.
    Restorations and the looks that they undo, e.g. deblur and blur, are never listed together.
    Says so if the words ask for what no checkpoint does, such as adding objects.
    """
    from initzoo.pairs import limits_of
    from initzoo.zoo import Zoo

    zoo = Zoo.from_pretrained(zoo_name)
    text = " ".join(words)
    matches = zoo.search(text, n)
    rows = {match.concept_id: zoo.index.row(match.concept_id) for match in matches}
    if as_json:
        results = [
            match_to_json(match) | {"family": row.family, "split": row.split}
            for match, row in zip(matches, rows.values(), strict=True)
        ]
        cannot = [] if zoo.holds(text) else [limit.line for limit in limits_of(text)]
        where = {"words": text, "zoo": zoo.name, "revision": zoo.revision}
        echo_json(where | {"results": results, "cannot": cannot})
        return
    width = max((len(concept_id) for concept_id in rows), default=0)
    for match, row in zip(matches, rows.values(), strict=True):
        summary = f"{row.family:11}  {row.split:16}  {match.similarity:.2f}"
        click.echo(printable(f"{match.concept_id:{width}}  {summary}  {match.prompt}"))
    if not matches:
        click.echo("no concept of this zoo has similar words. The bundled ones: initzoo list", err=True)
    if not zoo.holds(text):
        echo_limits(text)
