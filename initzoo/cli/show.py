"""`initzoo show`: print the index row of a concept, or describe a file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from initzoo.cli.options import (
    echo_json,
    example,
    json_option,
    readable_size,
    zoo_option,
)
from initzoo.errors import printable
from initzoo.zoo import SCORED

__all__ = ["command"]

SECTION = "Use"


@click.command("show", epilog=example('initzoo show "pencil sketch"'))
@click.argument("concept", nargs=-1, required=True, metavar="CONCEPT|FILE")
@zoo_option
@json_option
def command(concept: tuple[str, ...], zoo_name: str, as_json: bool) -> None:
    """Show what the zoo knows of a concept, or describe a file.

    CONCEPT is an id or a wording; its wordings, teacher, scores, licence and size are shown. FILE is an init,
    another safetensors file, a folder with a network, or a zoo.
    """
    from initzoo.errors import UnknownInitialization
    from initzoo.generator import File, parse_given
    from initzoo.pairs import parse_teacher
    from initzoo.zoo import Zoo, describe

    text = " ".join(concept)
    try:
        given = parse_given(text, is_wording=lambda words: Zoo.from_pretrained(zoo_name).holds(words))
    except UnknownInitialization:
        given = None  # words that are nearly the name of a scheme, which has no row
    if isinstance(given, File):
        values = describe(given.path)
        if as_json:
            echo_json(values)
            return
        for name, value in values.items():
            click.echo(f"{name + ':':17} {printable(_readable(value))}")
        return
    zoo = Zoo.from_pretrained(zoo_name)
    row = zoo.find(text)
    teacher = parse_teacher(row.teacher).to_json()
    if as_json:
        values = asdict(row) | {"teacher": teacher, "bytes": row.byte_end - row.byte_start + row.detail_bytes}
        values = {"concept": values.pop("concept_id"), "zoo": zoo.name, "revision": zoo.revision} | values
        echo_json(values)
        return
    size = readable_size(row.byte_end - row.byte_start)
    detail = f"; detail of all weights, {readable_size(row.detail_bytes)}" if row.has_detail else ""
    lines = {
        "concept": row.concept_id,
        "family": row.family,
        "split": row.split + (f" ({row.novelty})" if row.novelty else ""),
        "prompts": "; ".join(row.prompts),
        "kept for tests": "; ".join(row.test_prompts),
        "teacher": json.dumps(teacher, ensure_ascii=False),
        "PSNR": _readable_score(row.psnr, row.psnr_untouched, row.psnr_mean, "{:.2f} dB"),
        **({"adapter alone": f"{row.psnr_adapter:.2f} dB"} if row.psnr_adapter is not None else {}),
        "SSIM": _readable_score(row.ssim, row.ssim_untouched, row.ssim_mean, "{:.3f}"),
        "recipe": f"{row.recipe}, layout {row.layout_id}, base {row.base_sha256[:12]}",
        "weights": f"{row.n_blocks} blocks of {row.block_size}, {size}{detail}",
        "place": f"{row.shard}, bytes {row.byte_start} to {row.byte_end}",
        "sha256": row.sha256,
        "licence": row.licence,
        "source": row.source,
    }
    for name, text in lines.items():
        click.echo(f"{name + ':':15} {printable(text)}")


def _readable(value: Any) -> str:
    """A value of a description, for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_readable(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value in (None, "") else str(value)


def _readable_score(score: float | None, untouched: float | None, mean: float | None, form: str) -> str:
    if score is None:
        return "not scored"
    others = {SCORED["untouched"].long: untouched, SCORED["mean"].long: mean}
    known = [f"{name} {form.format(value)}" for name, value in others.items() if value is not None]
    return form.format(score) + (f" ({', '.join(known)})" if known else "")
