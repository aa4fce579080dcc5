"""`initzoo generator distil-words`: make token vectors from a sentence encoder."""

from __future__ import annotations

from pathlib import Path

import click

from initzoo.cli.options import (
    echo_json,
    example,
    json_option,
)

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command(
    "distil-words",
    epilog=example("initzoo generator distil-words --encoder all-MiniLM-L6-v2 --out text"),
)
@click.option("--encoder", type=_PATH, required=True, help="Folder of the sentence encoder.")
@click.option("--out", "-o", type=_PATH, required=True, help="Folder of the token vectors.")
@click.option("--extra-words", type=_PATH, help="File of further words, one per line, that get a vector.")
@click.option("--values", "n_values", type=click.IntRange(8, 384), default=176, show_default=True)
@json_option
def command(encoder: Path, out: Path, extra_words: Path | None, n_values: int, as_json: bool) -> None:
    """Make token vectors from a sentence encoder.

    A weight generator reads words by these vectors, without the encoder.
    """
    from initzoo.generator import distil_words as distil
    from initzoo.generator import read_extra_words

    extra = read_extra_words(extra_words) if extra_words else ()
    n_tokens = distil(encoder, out, extra_words=extra, n_values=n_values)
    if as_json:
        echo_json({"out": str(out), "n_tokens": n_tokens, "n_values": n_values})
        return
    click.echo(f"{n_tokens} tokens of {n_values} values  -> {out}")
