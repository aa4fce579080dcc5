"""`initzoo zoos`: the zoos that need no download."""

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
    """List the zoos that need no download: the one that comes with initzoo, and those in the Hub's cache."""
    from initzoo.zoo.hub import HubSettings, cached_zoos
    from initzoo.zoo.zoo import BUNDLED_ZOO, Zoo

    bundled = Zoo.from_pretrained(BUNDLED_ZOO)
    n_bytes = sum(path.stat().st_size for path in bundled.folder.glob("*/**/*") if path.is_file())
    found = [
        {
            "zoo": BUNDLED_ZOO,
            "place": "bundled",
            "revision": bundled.revision,
            "names": [],
            "bytes": n_bytes,
            "checkpoints_alone": 0,
        }
    ]
    found += [
        {
            "zoo": zoo.repo,
            "place": "cached",
            "revision": zoo.revision,
            "names": list(zoo.names),
            "bytes": zoo.n_bytes,
            "checkpoints_alone": zoo.n_payloads,
        }
        for zoo in cached_zoos(HubSettings())
    ]
    if as_json:
        echo_json(found)
        return
    width = max(len(str(one["zoo"])) for one in found)
    for one in found:
        names = f"  ({', '.join(one['names'])})" if isinstance(one["names"], list) and one["names"] else ""
        click.echo(
            f"{one['zoo']:{width}}  {one['place']:7}  revision {str(one['revision'])[:7]}{names}  "
            f"{one['bytes']} bytes  {one['checkpoints_alone']} checkpoints alone"
        )
