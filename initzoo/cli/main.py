"""The frame of the command line: finds commands, loads them late, reports failures in one line."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from initzoo import __version__
from initzoo.cli.options import example
from initzoo.errors import InitzooError

__all__ = ["COMMANDS", "LazyGroup", "main"]

COMMANDS = {
    "pull": "initzoo.cli.pulling:pull",
    "search": "initzoo.cli.using:search",
    "show": "initzoo.cli.using:show",
    "apply": "initzoo.cli.using:apply",
    "finetune": "initzoo.cli.finetune:finetune",
    "diagnose": "initzoo.cli.diagnose:diagnose",
    "verify": "initzoo.cli.using:verify",
    "list": "initzoo.cli.pairs:list_concepts",
    "pairs": "initzoo.cli.pairs:pairs",
    "harvest": "initzoo.cli.harvest:harvest",
    "generator": "initzoo.cli.generator:generator",
    "push": "initzoo.cli.publishing:push",
    "zoos": "initzoo.cli.publishing:zoos",
    "evaluate": "initzoo.cli.evaluate:evaluate",
    "grid": "initzoo.cli.evaluate:grid",
    "bench": "initzoo.cli.bench:bench",
    "demo": "initzoo.cli.demo:demo",
    "thumbnails": "initzoo.cli.demo:thumbnails",
}
"""Where each command is: name -> "module:attribute", in the order of `initzoo --help`."""

_INTERRUPTED = 130  # what shells give for Ctrl-C


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for.

    Failures that initzoo reports on purpose become one line on standard error and
    exit code 1; Ctrl-C gives exit code 130. Anything else is a bug and keeps its traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn failures into exit codes."""
        try:
            return super().invoke(ctx)
        except InitzooError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            click.echo("Interrupted.", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example('initzoo pull "pencil sketch"'),
)
@click.version_option(__version__, prog_name="initzoo")
def main() -> None:
    """Start an image-to-image model from weights that already know most of the answer."""
