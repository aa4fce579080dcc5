"""`initzoo demo`: serve the demo page on this machine."""

from __future__ import annotations

import click

from initzoo.cli.options import (
    example,
    zoo_option,
)

__all__ = ["command"]

SECTION = "Use"


@click.command("demo", epilog=example("initzoo demo --port 7861"))
@zoo_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7860,
    show_default=True,
    help="Port to listen on; 0 for any free port.",
)
@click.option("--mcp", is_flag=True, help="Serve the endpoints as tools of the Model Context Protocol, too.")
def command(zoo_name: str, host: str, port: int, mcp: bool) -> None:
    """Serve the demo page on this machine.

    Type a look, see it on a photo, and download the weights. It is the page of the Space. Stop it with
    Ctrl-C.
    """
    from initzoo.demo import serve

    serve(zoo_name, host=host, port=port, mcp=mcp, say=lambda line: click.echo(line, err=True))
