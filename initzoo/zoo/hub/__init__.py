"""Zoos on the Hugging Face Hub: the only room that imports huggingface_hub, and only once it is needed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from initzoo.zoo.hub.addresses import HubSettings, is_hub_address, split_address

if TYPE_CHECKING:
    from initzoo.zoo.hub.cache import CachedZoo, cached_zoos, lookup_folder
    from initzoo.zoo.hub.files import HubFiles, open_hub_zoo
    from initzoo.zoo.hub.uploads import RepoState, Upload, commit, look_at_repo, set_tag

__all__ = [
    "CachedZoo",
    "HubFiles",
    "HubSettings",
    "RepoState",
    "Upload",
    "cached_zoos",
    "commit",
    "is_hub_address",
    "look_at_repo",
    "lookup_folder",
    "open_hub_zoo",
    "set_tag",
    "split_address",
]

_MODULES = {
    "CachedZoo": "cache",
    "cached_zoos": "cache",
    "lookup_folder": "cache",
    "HubFiles": "files",
    "open_hub_zoo": "files",
    "RepoState": "uploads",
    "Upload": "uploads",
    "commit": "uploads",
    "look_at_repo": "uploads",
    "set_tag": "uploads",
}


def __getattr__(name: str) -> Any:
    """Import what needs the Hub's client when it is first asked for: a zoo in a folder needs none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module 'initzoo.zoo.hub' has no attribute '{name}'")
    return getattr(import_module(f"initzoo.zoo.hub.{_MODULES[name]}"), name)
