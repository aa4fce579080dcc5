"""What several commands share: options as decorators, the example that ends a help text, JSON out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

__all__ = ["echo_json", "example", "force_option", "json_option"]


def example(command: str) -> str:
    """The end of a command's help, for `epilog=`: an example that works as it stands.

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
    return click.option("--force", is_flag=True, help="Replace what is there already.")(function)


def echo_json(result: object) -> None:
    """Print a result of plain lists, dicts, texts and numbers on standard output."""
    click.echo(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
