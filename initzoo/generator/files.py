"""The files of a weight generator, read and checked byte by byte.

Torch is not needed for it: whether a generator is whole, and made for a zoo, is known before torch is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from initzoo.checkpoints.recipe import Layout
from initzoo.errors import ChecksumMismatch, InvalidGenerator, LayoutMismatch
from initzoo.files.digests import DamagedFile, read_file, reported_as
from initzoo.files.settings import read_json, read_settings
from initzoo.files.tensors import decode_tensors
from initzoo.generator.encoders import Encoder, encoder_class
from initzoo.generator.tokens import TokenVectors

__all__ = [
    "GeneratorFiles",
    "check_same_base",
    "is_generator_config",
    "read_generator_files",
]

_MAX_CONFIG_BYTES = 2**20
_MAX_MODEL_BYTES = 2**30
_ADVICE = "Get the weight generator again."


@dataclass(frozen=True, eq=False)
class GeneratorFiles:
    """What a weight generator's folder holds, whole and with the digests that it promises.

    Args:
        folder: where it was read from.
        config: the values of `config.json`, which are still to be made sense of.
        tensors: of `model.safetensors`, by name; finite.
        words: token vectors, from `text/`.
        digest: of `config.json`, 64 hex digits: they change when anything but the calibration does.
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    words: TokenVectors
    digest: str

    @cached_property
    def encoder(self) -> Encoder:
        """Reads requests as the weight generator will, without torch.

        Raises:
            InvalidGenerator: the config names an encoder that this version of initzoo does not know.
        """
        with reported_as(InvalidGenerator, f"weight generator '{self.folder / 'config.json'}'", _ADVICE):
            shape = self.config.get("shape")
            name = shape.get("encoder", "words") if isinstance(shape, dict) else "words"
            return encoder_class(name)(self.words)

    def check_made_for(self, *, base_sha256: str, layout: Layout) -> None:
        """Check that its adapters belong to a base.

        Raises:
            InvalidGenerator: the config does not say what it is made for.
            LayoutMismatch, ChecksumMismatch: it is made for another layout or base.
        """
        with reported_as(InvalidGenerator, f"weight generator '{self.folder / 'config.json'}'", _ADVICE):
            own = read_settings(self.config.get("layout"), Layout)
        found = str(self.config.get("base_sha256"))
        check_same_base(own_base=found, own_layout=own, base_sha256=base_sha256, layout=layout)


def check_same_base(*, own_base: str, own_layout: Layout, base_sha256: str, layout: Layout) -> None:
    """Check that what a weight generator is made for is what a zoo has.

    Args:
        own_base: digest of the base that it is made for.
        own_layout: the layout that it is made for.
        base_sha256: digest of the zoo's base.
        layout: the zoo's.

    Raises:
        LayoutMismatch: the layouts differ.
        ChecksumMismatch: the bases differ.
    """
    if layout.id != own_layout.id:
        raise LayoutMismatch(
            f"weight generator: the zoo has layout {layout.id}, it was made for {own_layout.id}. "
            "Take the weight generator of this zoo."
        )
    if base_sha256 != own_base:
        raise ChecksumMismatch(
            f"weight generator: the zoo's base has sha256 {base_sha256}, it was made for "
            f"{own_base[:80]}. Take the weight generator of this zoo."
        )


def read_generator_files(folder: str | os.PathLike[str], *, digest: str | None = None) -> GeneratorFiles:
    """Read a weight generator's files, and check every byte of them.

    Args:
        folder: holds `config.json`, `model.safetensors` and `text/`.
        digest: SHA-256 that `config.json` must have, where it is known.

    Raises:
        InvalidGenerator: a file is missing, damaged, or made by another version of initzoo, or a value is
            NaN or infinite.
        ChecksumMismatch: the weights are not those that the config promises.
    """
    folder = Path(folder)
    config, digest = _read_config(folder / "config.json", digest)
    path = folder / "model.safetensors"
    with reported_as(InvalidGenerator, f"weight generator '{path}'", _ADVICE):
        data = read_file(path, max_bytes=_MAX_MODEL_BYTES)
        found = hashlib.sha256(data).hexdigest()
        if found != config["weights_sha256"]:
            raise ChecksumMismatch(
                f"weight generator '{path}': expected sha256 {config['weights_sha256']}, "
                f"found {found}. {_ADVICE}"
            )
        tensors = decode_tensors(data)[1]
        for name, tensor in tensors.items():
            n_bad = tensor.size - int(np.isfinite(tensor).sum())
            if n_bad:
                raise DamagedFile(f"tensor '{name}': {n_bad} of {tensor.size} values are NaN or infinite")
    words = TokenVectors.from_folder(folder / "text", digest=config["text_sha256"])
    return GeneratorFiles(folder, config, tensors, words, digest)


def is_generator_config(path: str | os.PathLike[str]) -> bool:
    """Whether a `config.json`, sound or not, is a weight generator's and not a base's."""
    try:
        values = json.loads(read_file(path, max_bytes=_MAX_CONFIG_BYTES))
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "weights_sha256" in values


def _read_config(path: Path, digest: str | None) -> tuple[dict[str, Any], str]:
    with reported_as(InvalidGenerator, f"weight generator '{path}'", _ADVICE):
        data = read_file(path, max_bytes=_MAX_CONFIG_BYTES, digest=digest)
        values = read_json(data, dict[str, Any])
        for name in ("weights_sha256", "text_sha256"):
            if not isinstance(values.get(name), str):
                raise DamagedFile(f"lacks {name}")
        return values, hashlib.sha256(data).hexdigest()
