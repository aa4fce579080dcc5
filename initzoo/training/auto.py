"""`AutoNetwork`: opens the network of a concept, file, Hub repo or initialization scheme."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from initzoo.generator import NEED_WORDS, File, Request, Scheme, has_file_ending, parse_given
from initzoo.networks import ImageNetwork, load_network
from initzoo.training.opening import open_init
from initzoo.zoo import BUNDLED_ZOO, HubSettings, Zoo, fetch_network, is_hub_address, split_address

__all__ = ["AutoNetwork"]


class AutoNetwork:
    """Builds the network that fits given weights; see `from_pretrained`.

    Example:
        >>> model = AutoNetwork.from_pretrained("pencil sketch")
        >>> model(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        zoo: str | os.PathLike[str] | Zoo = BUNDLED_ZOO,
        words: str = "",
        seed: int = 0,
        revision: str | None = None,
        token: str | bool | None = None,
        endpoint: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> ImageNetwork:
        """Build a network with the given weights, as a plain `nn.Module`.

        Args:
            source: the id or a wording of a concept; other words, from which the zoo's weight generator makes
                the weights; the path of an init, of a folder written by `save_pretrained`, or of a plain
                safetensors state dict of a known network; `owner/name` of a network on the Hub; or the name
                of an initialization scheme, e.g. `base` or `he_normal`.
            zoo: the zoo: a name, a folder, `owner/name` on the Hub, or an open zoo.
            words: words for the schemes `nearest` and `generated`.
            seed: seed of generated weights and of random schemes.
            revision: branch, tag or commit on the Hub.
            token: access token for the Hub, or False for none.
            endpoint: URL of the Hub; by default HF_ENDPOINT.
            cache_dir: folder of the Hub's cache; by default HF_HUB_CACHE.
            local_files_only: use cached files only and never contact the Hub.
            device: device of the network; the CPU by default.
            dtype: dtype of the weights; float32 by default.

        Raises:
            UnknownConcept: no concept has these words and the zoo has no weight generator.
            InvalidWords: the weight generator cannot read the words.
            InvalidInit: the file is missing, damaged, or has no weights.
            LayoutMismatch: the file has weights of an unknown network.
            ChecksumMismatch: the file has an adapter for another base.
            UnknownZoo, HubUnavailable, InvalidZoo: the zoo cannot be opened.

        Example:
            >>> AutoNetwork.from_pretrained("he_normal", seed=3).reach
            40
        """

        @cache
        def open_zoo() -> Zoo:
            if isinstance(zoo, Zoo):
                return zoo
            return Zoo.from_pretrained(
                zoo,
                revision=revision,
                token=token,
                endpoint=endpoint,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
            )

        given = parse_given(source, is_wording=lambda text: open_zoo().holds(text))
        if words and not (isinstance(given, Scheme) and given.needs_words):
            raise ValueError(f"words go with {' and '.join(NEED_WORDS)}, not with '{source}'")
        if isinstance(given, File) and _is_repo(given.path):
            repo, named = split_address(str(source))
            settings = HubSettings(token, endpoint, cache_dir, local_files_only)
            network = load_network(fetch_network(repo, revision or named, settings))
        else:
            if isinstance(given, Request):
                given = replace(given, seed=seed)
            network = open_init(given, open_zoo, draw=Request(words, seed=seed)).to_network()
        return network.to(device=device, dtype=dtype)


def _is_repo(path: Path) -> bool:
    """Whether a path is a repo on the Hub, and neither a file nor a mistyped name of one."""
    is_local = os.path.exists(path) or os.path.isdir(path.parent)
    return not is_local and is_hub_address(str(path)) and not has_file_ending(path.name)
