"""The zoos on this machine: the bundled one, and those in the cache of the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from initzoo.zoo.hub import HubSettings, cached_zoos
from initzoo.zoo.zoo import BUNDLED_ZOO, Zoo

__all__ = ["LocalZoo", "local_zoos"]


@dataclass(frozen=True)
class LocalZoo:
    """A zoo on this machine.

    Args:
        name: its name for `Zoo.from_pretrained`.
        place: `bundled` with initzoo, or `cached` from the Hub.
        revision: revision of the zoo.
        tags: branches and tags of that revision on the Hub.
        n_bytes: size of its files.
        n_checkpoints_alone: number of cached checkpoints that were fetched without their shard.
    """

    name: str
    place: Literal["bundled", "cached"]
    revision: str
    tags: tuple[str, ...] = ()
    n_bytes: int = 0
    n_checkpoints_alone: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `initzoo zoos --json` prints them."""
        return {
            "zoo": self.name,
            "place": self.place,
            "revision": self.revision,
            "names": list(self.tags),
            "bytes": self.n_bytes,
            "checkpoints_alone": self.n_checkpoints_alone,
        }


def local_zoos() -> list[LocalZoo]:
    """List the bundled zoo, then each revision of a zoo in the cache of the Hub.

    Example:
        >>> local_zoos()[0].name
        'starter'
    """
    bundled = Zoo.from_pretrained(BUNDLED_ZOO)
    n_bytes = sum(path.stat().st_size for path in bundled.folder.glob("*/**/*") if path.is_file())
    cached = [
        LocalZoo(
            name=zoo.repo,
            place="cached",
            revision=zoo.revision,
            tags=zoo.names,
            n_bytes=zoo.n_bytes,
            n_checkpoints_alone=zoo.n_payloads,
        )
        for zoo in cached_zoos(HubSettings())
    ]
    return [LocalZoo(BUNDLED_ZOO, "bundled", bundled.revision, n_bytes=n_bytes), *cached]
