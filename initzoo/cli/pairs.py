"""`initzoo pairs`: write the pairs of a concept as image folders."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from initzoo.cli.options import (
    echo_json,
    example,
    force_option,
    json_option,
)

__all__ = ["command"]

SECTION = "Make your own zoo"


@click.command("pairs", epilog=example('initzoo pairs "pencil sketch" --out pencil-sketch-pairs'))
@click.argument("words", required=False)
@click.option(
    "--concepts",
    "file",
    type=click.Path(path_type=Path),
    help="TOML file; make pairs of all its concepts, or of WORDS alone.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder or dataset of photos; the bundled ones by default.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--varied",
    "n_varied",
    type=click.IntRange(1, 5000),
    help="Use this number of varied photos instead of the photos themselves.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of variations and noise."
)
@force_option
@json_option
def command(
    words: str | None,
    file: Path | None,
    photos: Path | None,
    out: Path,
    n_varied: int | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write pairs of a concept as image folders.

    Folder A has the inputs, folder B the targets. WORDS is the id or a wording of a concept of the catalog,
    or of --concepts. Each of several concepts gets a folder of its own. The shorter side of the images is 256
    pixels. Pictures that are no good to train on, e.g. black ones of a diffusion model, are left out.
    """
    from tqdm import tqdm

    from initzoo.pairs import find_concept, load_concepts, load_photos, write_pairs

    if words is None and file is None:
        raise click.UsageError("give the words of one concept, or --concepts FILE.toml")
    concepts = load_concepts(file)
    if words is not None:
        concepts = [find_concept(concepts, words)]
    with tqdm(total=len(concepts), unit="concept", file=sys.stderr, disable=None, leave=False) as bar:
        written = write_pairs(
            concepts,
            load_photos(photos, split=None),
            out,
            n_varied=n_varied or 0,
            seed=seed,
            force=force,
            callback=lambda n_done: bar.update(n_done - bar.n),
        )
    folders = [out / concept.id for concept in concepts] if len(concepts) > 1 else [out]
    if as_json:
        listed = [
            {
                "concept": concept.id,
                "inputs": str(folder / "A"),
                "targets": str(folder / "B"),
                "n_pairs": written.n_pairs[concept.id],
                "left_out": written.left_out.get(concept.id, {}),
            }
            for concept, folder in zip(concepts, folders, strict=True)
        ]
        echo_json({"path": str(out), "n_pairs": sum(written.n_pairs.values()), "concepts": listed})
        return
    for concept, folder in zip(concepts, folders, strict=True):
        click.echo(f"{concept.id}  {written.n_pairs[concept.id]} pairs  -> {folder / 'A'} {folder / 'B'}")
        if left_out := written.left_out.get(concept.id):
            counts = Counter(left_out.values()).most_common()
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
            n_all = len(left_out) + written.n_pairs[concept.id]
            click.echo(f"{concept.id}: left out {len(left_out)} of {n_all} pictures: {reasons}", err=True)
