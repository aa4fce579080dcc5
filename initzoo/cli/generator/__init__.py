"""`initzoo generator`: a group with one command per file of this folder."""

from __future__ import annotations

import click

from initzoo.cli.frame import LazyGroup
from initzoo.cli.options import example

__all__ = ["command"]

SECTION = "Make your own zoo"


@click.group(
    "generator",
    cls=LazyGroup,
    package=__package__,
    epilog=example("initzoo generator train --quick --out my-generator"),
)
def command() -> None:
    """Train and evaluate a weight generator."""
