"""Shared parts of commands: option decorators, the example at the end of a help text, and output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from initzoo.checkpoints import InitMetadata
    from initzoo.zoo import Match

from initzoo.errors import printable

__all__ = [
    "DEFAULT_ZOO",
    "accelerator_option",
    "backend_option",
    "device_option",
    "echo_fitting",
    "echo_if_generated",
    "echo_json",
    "echo_limits",
    "echo_notes",
    "echo_pair_notes",
    "example",
    "force_option",
    "json_option",
    "match_to_json",
    "readable_size",
    "workers_option",
    "zoo_option",
]

DEFAULT_ZOO = "starter"


def example(command: str) -> str:
    """Format the example at the end of a command's help, for `epilog=`.

    Example:
        >>> example("initzoo list --json").splitlines()[-1]
        '  initzoo list --json'
    """
    return f"\b\nExample:\n  {command}"


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")(
        function
    )


def force_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--force` as the argument `force`."""
    return click.option("--force", is_flag=True, help="Replace existing files.")(function)


def zoo_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--zoo`, which defaults to INITZOO_ZOO and then to the bundled zoo."""
    return click.option(
        "--zoo",
        "zoo_name",
        envvar="INITZOO_ZOO",
        default=DEFAULT_ZOO,
        show_default=True,
        show_envvar=True,
        metavar="ZOO",
        help="Name or folder of the zoo, or owner/name[@revision] on the Hub.",
    )(function)


def _device_option(default: str, note: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--device",
        "device_name",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default=default,
        show_default=True,
        help=note,
    )


def device_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--device`, which takes a GPU by default."""
    return _device_option("auto", "Device to compute on; auto takes a GPU if one is available.")(function)


def accelerator_option(note: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--device` of a training that gives the same bytes on the cores, its default, and only there."""
    return _device_option("cpu", note)


def workers_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--workers`."""
    return click.option(
        "--workers", type=click.IntRange(1, 256), help="Number of worker processes; one per core by default."
    )(function)


def echo_if_generated(metadata: InitMetadata) -> None:
    """Print on standard error that weights were generated, with their distance and predicted PSNR."""
    if metadata.origin == "generated" and metadata.generation is not None:
        given = "words" if metadata.wording else "example pairs"
        line = f"{metadata.concept}: generated from {given}, {metadata.generation.prospect}"
        click.echo(line, err=True)
        echo_limits(metadata.wording)


def echo_fitting(metadata: InitMetadata) -> None:
    """Print on standard error what a fit began with, how well it does, and what is odd about the pairs."""
    if metadata.fitting is not None:
        fitting = metadata.fitting
        click.echo(
            f"start: {fitting.start}, chosen from {fitting.n_candidates} by the pairs: {fitting.prospect}",
            err=True,
        )
        echo_notes(metadata)


def echo_notes(metadata: InitMetadata) -> None:
    """Say on standard error, a line each, what is odd about the pairs that weights were fitted to."""
    echo_pair_notes(metadata.fitting.notes if metadata.fitting else ())


def echo_pair_notes(notes: Iterable[str]) -> None:
    """Say on standard error, a line each, what is odd about pairs."""
    for note in notes:
        click.echo(f"warning: example pairs: {note}", err=True)


def echo_limits(words: str) -> None:
    """Say on standard error, in one line, which of what the words ask for no checkpoint does."""
    from initzoo.pairs import limits_of

    if limits := limits_of(words):
        click.echo(f"warning: the zoo {'; '.join(limit.line for limit in limits)}", err=True)


def backend_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--backend` and `--address`."""

    @wraps(function)
    def with_checked_address(**values: Any) -> Any:
        if values["address"] is not None and values["backend"] != "ray":
            raise click.UsageError("--address goes with --backend ray. Add it, or leave out --address.")
        return function(**values)

    address = click.option(
        "--address",
        metavar="HOST:PORT",
        help="Address of the Ray cluster; by default that of RAY_ADDRESS, or one that is started here.",
    )
    return click.option(
        "--backend",
        type=click.Choice(["processes", "ray"]),
        default="processes",
        show_default=True,
        help="Where workers run: in processes on this machine, or on a Ray cluster.",
    )(address(with_checked_address))


def echo_json(result: object) -> None:
    """Print a result as JSON on standard output."""
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    if any(printable(line) != line for line in text.split("\n")):  # a direction mark, for instance
        text = json.dumps(result, indent=2, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # not UTF-8, or not in the encoding of the terminal
        text = json.dumps(result, indent=2, allow_nan=False)
    click.echo(text)


def match_to_json(match: Match) -> dict[str, Any]:
    """A match of a search, as JSON values."""
    return {"concept": match.concept_id, "prompt": match.prompt, "similarity": match.similarity}


def readable_size(n_bytes: int) -> str:
    """Format a number of bytes with a decimal unit.

    Example:
        >>> readable_size(315_080)
        '315.1 KB'
    """
    for unit, size in (("MB", 1e6), ("KB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"
