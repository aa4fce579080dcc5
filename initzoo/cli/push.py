"""`initzoo push`: publish a zoo on the Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from initzoo.cli.options import (
    echo_json,
    example,
    json_option,
    readable_size,
)
from initzoo.errors import printable

__all__ = ["command"]

SECTION = "Make your own zoo"


@click.command("push", epilog=example("initzoo push my-zoo me/my-zoo --tag v1"))
@click.argument("folder")
@click.argument("repo", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Create new repos as private.")
@click.option("--tag", help="Tag for the new revision, e.g. v1.")
@click.option("--message", help="Message of the commits.")
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    help="Private key, a PEM file, to sign the zoo with; for pull --require-signature.",
)
@click.option("--dry-run", is_flag=True, help="Upload nothing; list the files and their sizes.")
@json_option
def command(
    folder: str,
    repo: str,
    private: bool,
    tag: str | None,
    message: str | None,
    sign_key: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish a zoo on the Hugging Face Hub.

    The zoo in FOLDER becomes the dataset repo and the model repo ORG/NAME, which are created if they are
    missing. Only changed files are uploaded. Readers see the new zoo after the upload is complete; push again
    to complete an interrupted upload. Log in first: hf auth login. --dry-run also checks the zoo, and needs
    neither a login nor the network.
    """
    from initzoo.zoo import plan_push, push_zoo

    if dry_run:
        files = plan_push(folder, repo, tag=tag, sign_key=sign_key)
        n_bytes = sum(file.n_bytes for file in files)
        if as_json:
            echo_json(
                {"repo": repo, "tag": tag, "state": "dry run", "files": [asdict(file) for file in files]}
            )
            return
        for file in files:
            note = "" if file.is_known else "  (a file that initzoo does not know)"
            click.echo(printable(f"{file.kind:7}  {file.n_bytes:>12}  {file.path}{note}"))
        name = f"  tag {tag}" if tag else ""
        click.echo(
            f"{repo}{name}  {len(files)} files  {readable_size(n_bytes)}  not uploaded (dry run); a push "
            "leaves out those that the repos have already"
        )
        return
    report = push_zoo(folder, repo, private=private, tag=tag, message=message, sign_key=sign_key)
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
