"""Zoos on the Hugging Face Hub: the only room that imports huggingface_hub."""

from initzoo.zoo.hub.addresses import HubSettings, is_hub_address, split_address
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
