"""Single networks on the Hub: published as a model repo, and fetched from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from initzoo.checkpoints import Init
from initzoo.errors import InvalidInit, PublishRefused
from initzoo.files import temporary_folder
from initzoo.networks import check_weights_digest
from initzoo.zoo.cards.tables import inert, inert_tag
from initzoo.zoo.hub import HubSettings, Upload, commit, is_hub_address, look_at_repo

if TYPE_CHECKING:
    from initzoo.networks import ImageNetwork

__all__ = ["fetch_network", "push_to_hub"]

_FILES = {"config.json": 2**20, "model.safetensors": 2**32}
"""The files of a network, and the most bytes that they may have."""

_CARD = """---
library_name: initzoo
pipeline_tag: image-to-image
{licence}---

# {repo}

An image-to-image network of {n_weights:,} weights: `{kind}` of initzoo{sizes}.
{facts}
```python
from initzoo import AutoNetwork

model = AutoNetwork.from_pretrained("{repo}")   # an nn.Module
edited = model.edit(photo)                      # uint8 RGB, any size
```
"""


def push_to_hub(
    model: ImageNetwork | Init,
    repo: str,
    *,
    licence: str = "",
    source: str = "",
    private: bool = False,
    message: str = "Publish a network with initzoo",
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Publish the weights of a network as a model repo, in one commit.

    Args:
        model: a network, or a merged init.
        repo: `owner/name`; created if it is missing.
        licence: identifier of the weights' licence, e.g. `apache-2.0`; by default that of the init.
        source: a sentence on how the weights were made, for the card; by default that of the init.
        private: create the repo as a private one.
        message: message of the commit.
        token: access token with write permission; by default HF_TOKEN or the token of `hf auth login`.
        endpoint: URL of the Hub; by default HF_ENDPOINT.

    Returns:
        The revision, 40 hex digits.

    Raises:
        PublishRefused: the name of the repo is invalid, `private` is given and the repo is public, or
            somebody else published meanwhile.
        InvalidInit: the init holds an adapter only.
        AccessDenied, HubUnavailable: the Hub refuses the upload or does not answer.

    Example:
        >>> push_to_hub(model, "me/film-halation", licence="apache-2.0")  # doctest: +SKIP
        '0c5a1b...'
    """
    if not is_hub_address(repo) or "@" in repo:
        raise PublishRefused(f"{repo[:200]!r} is not the name of a repo. Write owner/name")
    network, facts = model, []
    if isinstance(network, Init):
        metadata = network.metadata
        licence, source = licence or metadata.licence, source or metadata.source
        facts.append(f"- look: {inert(metadata.wording or metadata.concept)}")
        zoo = f", zoo {inert(metadata.zoo)} at revision {inert(metadata.revision[:12])}"
        facts.append(f"- origin: {inert(metadata.origin)}{zoo if metadata.zoo else ''}")
        network = network.to_network()
    if source:
        facts.append(f"- source: {inert(source)}")
    card = _CARD.format(
        licence=f"license: {inert_tag(licence)}\n" if licence else "",
        repo=repo,
        n_weights=sum(value.numel() for value in network.state_dict().values()),
        kind=network.kind,
        sizes="".join(f", {name} {size}" for name, size in network.sizes.items()),
        facts="".join(f"\n{fact}" for fact in facts) + ("\n" if facts else ""),
    )
    settings = HubSettings(token=token, endpoint=endpoint)
    state = look_at_repo(settings, "model", repo, private=private)
    with temporary_folder() as folder:
        network.save_pretrained(folder)
        files: dict[str, Path | bytes] = {name: folder / name for name in _FILES}
        upload = Upload.between(state, files | {"README.md": card.encode()}, ())
        return commit(settings, state, upload, message)


def fetch_network(repo: str, revision: str | None, settings: HubSettings) -> Path:
    """Return the cached folder of a network that `push_to_hub` published; fetch what is missing.

    Args:
        repo: model repo, `owner/name`.
        revision: branch, tag or commit; `main` by default.
        settings: connection to the Hub.

    Raises:
        UnknownZoo, AccessDenied, HubUnavailable: the repo does not exist or cannot be read.
        InvalidInit: the repo does not hold a network.
    """
    from initzoo.zoo.hub.client import MissingFile, download, resolve_revision

    commit_id = resolve_revision(settings, "model", repo, revision)
    try:
        paths = [
            download(
                settings, "model", repo, commit_id, name, max_bytes=limit, check=_check, checks_cached=True
            )
            for name, limit in _FILES.items()
        ]
    except MissingFile as error:
        raise InvalidInit(
            f"'{repo}' holds no network: it has no {error}. Name a repo that push_to_hub wrote, or a file"
        ) from error
    return paths[0].parent


def _check(path: Path) -> None:
    """Check weights against the digest in the config beside them."""
    if path.name == "model.safetensors":
        check_weights_digest(path)
