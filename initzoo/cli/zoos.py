"""`initzoo zoos`: list the zoos on this machine."""

from __future__ import annotations

import click

from initzoo.cli.options import (
    echo_json,
    example,
    json_option,
)

__all__ = ["command"]

SECTION = "Use"


@click.command("zoos", epilog=example("initzoo zoos"))
@json_option
def command(as_json: bool) -> None:
    """List the zoos on this machine.

    These are the bundled zoo and those in the Hub cache.
    """
    from initzoo.zoo import local_zoos

    zoos = local_zoos()
    if as_json:
        echo_json([zoo.to_dict() for zoo in zoos])
        return
    width = max(len(zoo.name) for zoo in zoos)
    for zoo in zoos:
        tags = f"  ({', '.join(zoo.tags)})" if zoo.tags else ""
        click.echo(
            f"{zoo.name:{width}}  {zoo.place:7}  revision {zoo.revision[:7]}{tags}  "
            f"{zoo.n_bytes} bytes  {zoo.n_checkpoints_alone} checkpoints alone"
        )
