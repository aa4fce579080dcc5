"""Opens a file, a scheme or words as an init. Only schemes and plain weights load torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import SCORES, Init, InitMetadata, join_blocks
from initzoo.errors import InvalidInit
from initzoo.files import IMAGE_SUFFIXES, read_header, reported_as
from initzoo.generator import FROM_ZOO, SCHEMES, File, Given, Request, Scheme
from initzoo.networks import CONFIG_FILE, WEIGHTS_FILE, is_network_folder
from initzoo.zoo import Zoo

__all__ = ["ADVICE", "check_file", "init_of", "is_plain_file", "open_init"]

ADVICE = 'Give an init of initzoo, e.g. from initzoo pull "pencil sketch", or weights of its network'
_PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle", ".tar")


def open_init(
    given: Given,
    open_zoo: Callable[[], Zoo],
    *,
    draw: Request | None = None,
    adapter_only: bool = False,
    warn: bool = True,
) -> Init:
    """Open the init that a user gave, merged with its base by default.

    Args:
        given: result of `parse_given`. A file can have the weights of any known network.
        open_zoo: returns the zoo; called only if the zoo is needed.
        draw: seed of a scheme, and words for `nearest` and `generated`; seed 0 without words by default.
        adapter_only: do not merge the adapter of a scheme or of words.
        warn: emit a `UserWarning` if generated weights are far from everything that the zoo knows.

    Raises:
        UnknownConcept: no concept has these words and the zoo has no weight generator.
        InvalidInit: the file is missing, damaged, or has no weights.
        LayoutMismatch: the file has weights of an unknown network.
        ChecksumMismatch: the file has an adapter for another base.
        InvalidWords, InvalidRequest, InvalidGenerator: as for `Initializer.network` and `Zoo.pull`.
    """
    match given:
        case File(path):
            check_file(path)
            if os.path.isdir(path) or is_plain_file(path):
                from initzoo.networks import load_network

                network = load_network(path)
                return Init.from_model(network, name=path.stem, licence="the owner's", source=path.name)
            init = Init.load(path)
            return init if init.kind == "merged" else open_zoo().merge(init)
        case Scheme():
            return _initialised(given, open_zoo(), draw or Request(), adapter_only)
        case _:
            return open_zoo().pull(given, adapter_only=adapter_only, warn=warn)


def _initialised(scheme: Scheme, zoo: Zoo, draw: Request, adapter_only: bool) -> Init:
    from initzoo.training.schemes import Initializer

    name, starts = scheme.name, Initializer(zoo)
    is_adapter = adapter_only and name in FROM_ZOO
    if is_adapter:
        weights = join_blocks(starts.adapter(name, draw), zoo.layout)
    else:
        weights = starts.network(name, draw).to_arrays()
    return init_of(
        zoo,
        name,
        draw.words if scheme.needs_words else name,
        weights,
        origin="scheme",
        licence=zoo.config.licence,
        source=SCHEMES[name],
        kind="adapter" if is_adapter else "merged",
    )


def check_file(path: Path) -> None:
    """Refuse files that cannot have weights."""
    if os.path.isdir(path) and not is_network_folder(path):
        raise InvalidInit(f"'{path}' is a folder without {CONFIG_FILE} and {WEIGHTS_FILE}. {ADVICE}")
    if not os.path.exists(path):
        raise InvalidInit(f"'{path}' does not exist. {ADVICE}, or words for an edit, without a slash")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InvalidInit(f"'{path}' is an image and has no weights. {ADVICE}")
    if path.suffix.lower() in _PICKLES:
        raise InvalidInit(
            f"'{path}' is not a safetensors file. Other formats can run code when they are read. Save the "
            f"weights with safetensors.torch.save_file(model.state_dict(), '{path.stem}.safetensors')"
        )


def is_plain_file(path: Path) -> bool:
    """Whether a safetensors file has plain weights instead of an init.

    Raises:
        InvalidInit: it is not a safetensors file.
    """
    with reported_as(InvalidInit, f"'{path}'", ADVICE):
        return "seal" not in read_header(path).metadata


def init_of(
    zoo: Zoo,
    name: str,
    wording: str,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    origin: str,
    licence: str,
    source: str,
    kind: str = "merged",
) -> Init:
    """Make an init of weights without scores."""
    metadata = InitMetadata(
        concept=name,
        wording=wording,
        origin=origin,
        zoo=zoo.name,
        revision=zoo.revision,
        recipe=zoo.recipe,
        base_sha256=zoo.config.base_sha256,
        scores=dict.fromkeys(SCORES),
        licence=licence,
        source=source,
    )
    return Init(dict(weights), kind, metadata)
