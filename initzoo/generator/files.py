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
from initzoo.generator.encoders import Encoder, PhrasesEncoder, TextModel, encoder_class
from initzoo.generator.folder_names import PHRASE_FOLDER
from initzoo.generator.packed import unpack_weights
from initzoo.generator.phrases import PhraseEncoder
from initzoo.generator.runners import GRAPH_FILE
from initzoo.generator.tokens import TokenVectors

__all__ = [
    "MAX_GENERATOR_BYTES",
    "PAIRS_FILE",
    "GeneratorFiles",
    "check_same_base",
    "generator_digest",
    "is_generator_config",
    "phrase_folder_beside",
    "read_generator_files",
    "read_text",
]

_MAX_CONFIG_BYTES = 2**20
MAX_GENERATOR_BYTES = 2**30
_MAX_GRAPH_BYTES = 2**23

PAIRS_FILE = "pairs.safetensors"
"""File of the denoiser of pairs in a weight generator's folder."""

_ADVICE = "Get the weight generator again."


@dataclass(frozen=True, eq=False)
class GeneratorFiles:
    """The verified content of a weight generator's folder.

    Args:
        folder: the folder.
        config: the values of `config.json`, not parsed yet.
        tensors: the tensors of `model.safetensors` by name, all finite.
        text: the text model that its encoder reads words with.
        graph: the denoiser as an ONNX graph, or None if the folder has none.
        digest: SHA-256 of `config.json`, which covers all files but the calibration.
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    text: TextModel
    digest: str
    graph: bytes | None = None

    def pair_weights(self) -> dict[str, np.ndarray]:
        """Read and check the weights of the denoiser of pairs, which only requests with pairs need.

        Raises:
            InvalidGenerator: the file is missing or damaged.
            ChecksumMismatch: the weights do not match the digest in the config.
        """
        return _read_weights(self.folder / PAIRS_FILE, str(self.config.get("pairs_sha256")))

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of the weight generator, without torch.

        Raises:
            InvalidGenerator: this version of initzoo does not know the encoder.
        """
        with reported_as(InvalidGenerator, f"weight generator '{self.folder / 'config.json'}'", _ADVICE):
            return encoder_class(_encoder_name(self.config))(self.text)

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


def read_generator_files(
    folder: str | os.PathLike[str], *, digest: str | None = None, phrases: PhraseEncoder | None = None
) -> GeneratorFiles:
    """Read a weight generator's files and check every byte of them.

    A weight generator that reads phrases shares the phrase encoder of its zoo. Outside of a zoo its folder
    has one in `text/`.

    Args:
        folder: holds `config.json`, `model.safetensors` and `text/`.
        digest: expected SHA-256 of `config.json`; not checked by default.
        phrases: the phrase encoder of the zoo; by default it is read from `text/`, or from the zoo around the
            folder.

    Raises:
        InvalidGenerator: a file is missing, damaged, or made by another version of initzoo, or a value is
            NaN or infinite.
        ChecksumMismatch: the weights do not match the digest in the config.
    """
    folder = Path(folder)
    config, digest = _read_config(folder / "config.json", digest)
    tensors = _read_weights(folder / "model.safetensors", config["weights_sha256"])
    graph = _read_graph(folder, config)
    return GeneratorFiles(folder, config, tensors, _read_text(folder, config, phrases), digest, graph)


def generator_digest(folder: str | os.PathLike[str]) -> str:
    """The SHA-256 of a weight generator's `config.json`, which covers all its files but the calibration.

    Raises:
        InvalidGenerator: the file is missing or damaged.
    """
    return _read_config(Path(folder) / "config.json", None)[1]


def phrase_folder_beside(folder: Path) -> Path:
    """The folder of the phrase encoder in a zoo, from that of a weight generator in it."""
    return folder.absolute().parent.parent / PHRASE_FOLDER


def read_text(folder: Path, encoder: str, *, digest: str | None = None) -> TextModel:
    """Read the folder of a text model.

    Args:
        folder: its folder.
        encoder: key in `ENCODERS` of the encoder that reads with it.
        digest: expected digest; not checked by default.

    Raises:
        InvalidGenerator: a file is missing or damaged, or the digest differs.
    """
    kind = PhraseEncoder if encoder_class(encoder) is PhrasesEncoder else TokenVectors
    return kind.from_folder(folder, digest=digest)


def _read_weights(path: Path, expected: str) -> dict[str, np.ndarray]:
    """Read a file of weights.

    Raises:
        InvalidGenerator: the file is missing or damaged, or a value is NaN or infinite.
        ChecksumMismatch: its digest is not the expected one.
    """
    with reported_as(InvalidGenerator, f"weight generator '{path}'", _ADVICE):
        data = read_file(path, max_bytes=MAX_GENERATOR_BYTES)
        _check_digest(path, data, expected)
        tensors = unpack_weights(decode_tensors(data)[1])
        for name, tensor in tensors.items():
            n_bad = tensor.size - int(np.isfinite(tensor).sum())
            if n_bad:
                raise DamagedFile(f"tensor '{name}': {n_bad} of {tensor.size} values are NaN or infinite")
    return tensors


def _read_graph(folder: Path, config: dict[str, Any]) -> bytes | None:
    """The graph of the denoiser, if the config names one.

    Raises:
        ChecksumMismatch: the graph does not match the digest in the config.
        InvalidGenerator: it is missing.
    """
    expected = config.get("graph_sha256")
    if expected is None:
        return None
    path = folder / GRAPH_FILE
    with reported_as(InvalidGenerator, f"weight generator '{path}'", _ADVICE):
        data = read_file(path, max_bytes=_MAX_GRAPH_BYTES)
    _check_digest(path, data, expected)
    return data


def _check_digest(path: Path, data: bytes, expected: object) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ChecksumMismatch(
            f"weight generator '{path}': expected sha256 {str(expected)[:80]}, found {actual}. {_ADVICE}"
        )


def _encoder_name(config: dict[str, Any]) -> str:
    shape = config.get("shape")
    return str(shape.get("encoder", "words")) if isinstance(shape, dict) else "words"


def _read_text(folder: Path, config: dict[str, Any], phrases: PhraseEncoder | None) -> TextModel:
    digest = config["text_sha256"]
    if phrases is not None and phrases.digest == digest:
        return phrases
    with reported_as(InvalidGenerator, f"weight generator '{folder / 'config.json'}'", _ADVICE):
        encoder = _encoder_name(config)
        is_shared = encoder_class(encoder) is PhrasesEncoder and not (folder / "text").is_dir()
    return read_text(phrase_folder_beside(folder) if is_shared else folder / "text", encoder, digest=digest)


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
