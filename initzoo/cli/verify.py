"""`initzoo verify`: check a zoo or a file for damage."""

from __future__ import annotations

from dataclasses import asdict

import click

from initzoo.cli.options import (
    echo_json,
    example,
    json_option,
    readable_size,
    zoo_option,
)
from initzoo.errors import printable

__all__ = ["command"]

SECTION = "Use"


@click.command("verify", epilog=example("initzoo verify"))
@click.argument("target", required=False)
@zoo_option
@click.option(
    "--accept",
    is_flag=True,
    help="First accept all changes: rewrite dataset/zoo.json from the files of a zoo in a folder.",
)
@json_option
def command(target: str | None, zoo_name: str, accept: bool, as_json: bool) -> None:
    """Check every byte of a zoo or a file for damage.

    TARGET is a zoo or a shard, index, base or init file; the default is the zoo of --zoo. Each problem is
    printed on one line, and the exit code is then 1.
    """
    from initzoo.files import is_file
    from initzoo.zoo import Zoo, refresh_manifest, verify_file

    target = target or zoo_name
    if accept:
        refresh_manifest(Zoo.from_pretrained(target).folder)
    report = verify_file(target) if is_file(target) else Zoo.from_pretrained(target).verify()
    if as_json:
        echo_json(asdict(report) | {"ok": not report.problems})
    elif not report.problems:
        counts = f"{_count(report.n_checkpoints, 'checkpoint')}  {_count(report.n_files, 'file')}"
        click.echo(
            f"{printable(report.target)}  {report.kind}  {counts}  {readable_size(report.n_bytes)}  all ok"
        )
    else:
        for problem in report.problems:
            click.echo(printable(problem), err=True)
    if report.problems:
        raise click.exceptions.Exit(1)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
