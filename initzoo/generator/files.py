"""The files of a weight generator, read and verified without torch.

A damaged generator, or one made for another zoo, is thus reported before torch is loaded.
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

from initzoo.checkpoints import Layout
from initzoo.errors import ChecksumMismatch, InvalidGenerator, LayoutMismatch
from initzoo.files import DamagedFile, decode_tensors, read_file, read_json, read_settings, reported_as
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
    """The verified content of a weight generator's folder.

    Args:
        folder: the folder.
        config: the values of `config.json`, not parsed yet.
        tensors: the tensors of `model.safetensors` by name, all finite.
        words: the token vectors of `text/`.
        digest: SHA-256 of `config.json`, which covers all files but the calibration.
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    words: TokenVectors
    digest: str

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of the weight generator, without torch.

        Raises:
            InvalidGenerator: this version of initzoo does not know the encoder.
        """
        with reported_as(InvalidGenerator, f"weight generator '{self.folder / 'config.json'}'", _ADVICE):
            shape = self.config.get("shape")
            name = shape.get("encoder", "words") if isinstance(shape, dict) else "words"
            return encoder_class(name)(self.words)

    def check_made_for(self, *, base_sha256: str, layout: Layout) -> None:
        """Check that the weight generator was made for a base and layout.

        Raises:
            InvalidGenerator: the config does not name its base or layout.
            LayoutMismatch, ChecksumMismatch: it was made for another layout or base.
        """
        with reported_as(InvalidGenerator, f"weight generator '{self.folder / 'config.json'}'", _ADVICE):
            own_layout = read_settings(self.config.get("layout"), Layout)
        own_base = str(self.config.get("base_sha256"))
        check_same_base(own_base=own_base, own_layout=own_layout, base_sha256=base_sha256, layout=layout)


def check_same_base(*, own_base: str, own_layout: Layout, base_sha256: str, layout: Layout) -> None:
    """Check that a weight generator was made for the base and layout of a zoo.

    Args:
        own_base: digest of the base of the weight generator.
        own_layout: layout of the weight generator.
        base_sha256: digest of the zoo's base.
        layout: layout of the zoo.

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
    """Read a weight generator's files and check every byte of them.

    Args:
        folder: holds `config.json`, `model.safetensors` and `text/`.
        digest: expected SHA-256 of `config.json`; not checked by default.

    Raises:
        InvalidGenerator: a file is missing, damaged, or made by another version of initzoo, or a value is
            NaN or infinite.
        ChecksumMismatch: the weights do not match the digest in the config.
    """
    folder = Path(folder)
    config, digest = _read_config(folder / "config.json", digest)
    path = folder / "model.safetensors"
    with reported_as(InvalidGenerator, f"weight generator '{path}'", _ADVICE):
        data = read_file(path, max_bytes=_MAX_MODEL_BYTES)
        actual = hashlib.sha256(data).hexdigest()
        if actual != config["weights_sha256"]:
            raise ChecksumMismatch(
                f"weight generator '{path}': expected sha256 {config['weights_sha256']}, "
                f"found {actual}. {_ADVICE}"
            )
        tensors = decode_tensors(data)[1]
        for name, tensor in tensors.items():
            n_bad = tensor.size - int(np.isfinite(tensor).sum())
            if n_bad:
                raise DamagedFile(f"tensor '{name}': {n_bad} of {tensor.size} values are NaN or infinite")
    words = TokenVectors.from_folder(folder / "text", digest=config["text_sha256"])
    return GeneratorFiles(folder, config, tensors, words, digest)


def is_generator_config(path: str | os.PathLike[str]) -> bool:
    """Whether a `config.json` belongs to a weight generator, valid or not, and not to a base or network."""
    try:
        values = json.loads(read_file(path, max_bytes=_MAX_CONFIG_BYTES))
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "weights_sha256" in values and "network" not in values


def _read_config(path: Path, digest: str | None) -> tuple[dict[str, Any], str]:
    with reported_as(InvalidGenerator, f"weight generator '{path}'", _ADVICE):
        data = read_file(path, max_bytes=_MAX_CONFIG_BYTES, digest=digest)
        values = read_json(data, dict[str, Any])
        for name in ("weights_sha256", "text_sha256"):
            if not isinstance(values.get(name), str):
                raise DamagedFile(f"lacks {name}")
        return values, hashlib.sha256(data).hexdigest()
