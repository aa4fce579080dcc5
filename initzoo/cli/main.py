"""The command `initzoo`: a group with one command per file of this folder."""

from __future__ import annotations

import click

from initzoo import __version__
from initzoo.cli.frame import LazyGroup
from initzoo.cli.options import example

__all__ = ["main"]


@click.group(
    cls=LazyGroup,
    package=__package__,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example('initzoo pull "pencil sketch"'),
)
@click.version_option(__version__, prog_name="initzoo")
def main() -> None:
    """Start an image-to-image model from weights that already know most of the answer."""
