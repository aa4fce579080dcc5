"""`initzoo push` and `initzoo zoos`: zoos on the Hub, and which ones are here already."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from initzoo.cli.options import echo_json, example, json_option

if TYPE_CHECKING:
    from initzoo.zoo.folder import PlannedFile
    from initzoo.zoo.zoo import Zoo

__all__ = ["echo_plan", "push", "zoos"]


@click.command(epilog=example("initzoo push my-zoo me/my-zoo --tag v1"))
@click.argument("folder")
@click.argument("repo", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Make new repos private.")
@click.option("--tag", help="Name to give the new revision, e.g. v1.")
@click.option("--message", help="Message of the commits.")
@json_option
def push(folder: str, repo: str, private: bool, tag: str | None, message: str | None, as_json: bool) -> None:
    """Publish the zoo in FOLDER on the Hub, as the dataset repo and the model repo ORG/NAME.

    Both repos are made if they are missing. Only what changed is uploaded, readers see the new zoo when all
    of it is there, and a push that was interrupted is completed by another. Log in first: hf auth login.
    """
    from initzoo.zoo.publish import push_zoo

    report = push_zoo(folder, repo, private=private, tag=tag, message=message)
    if as_json:
        echo_json(asdict(report))
        return
    name = f"  tag {report.tag}" if report.tag else ""
    click.echo(
        f"{report.repo}  revision {report.revision[:7]}{name}  uploaded {report.n_uploaded} files, "
        f"{report.n_bytes} bytes  unchanged {report.n_unchanged}  removed {report.n_removed}"
    )
    pinned = f"{report.repo}@{report.tag or report.revision}"
    click.echo(f"next: initzoo verify {pinned}", err=True)


@click.command(epilog=example("initzoo zoos"))
@json_option
def zoos(as_json: bool) -> None:
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


def echo_plan(zoo: Zoo, words: str, plan: list[PlannedFile], *, as_json: bool) -> None:
    """Say what a pull from the Hub would fetch, in bytes."""
    n_bytes = sum(file.n_bytes for file in plan if not file.is_cached)
    if as_json:
        files = [
            {"repo": file.repo, "path": file.path, "bytes": file.n_bytes, "cached": file.is_cached}
            for file in plan
        ]
        where = {"words": words, "zoo": zoo.name, "revision": zoo.revision, "state": "dry run"}
        echo_json(where | {"files": files, "bytes_to_fetch": n_bytes})
        return
    for file in plan:
        state = "cached" if file.is_cached else "fetch"
        click.echo(f"{state:6}  {file.n_bytes:>12}  {file.repo}  {file.path}")
    click.echo(f"{words}  {zoo.name}  revision {zoo.revision[:7]}  {n_bytes} bytes to fetch (dry run)")
