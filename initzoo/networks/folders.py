"""Networks on disk: plain safetensors weights, with the kind and sizes of the network beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from initzoo.errors import InvalidInit, LayoutMismatch
from initzoo.files import DamagedFile, read_file, read_header, read_json, read_settings, reported_as
from initzoo.networks.folder_names import CONFIG_FILE, WEIGHTS_FILE
from initzoo.networks.known import build_network, check_network, recognise
from initzoo.networks.network import ImageNetwork

__all__ = ["check_weights_digest", "load_network"]

_MAX_CONFIG_BYTES = 2**20
_MAX_WEIGHTS_BYTES = 2**32
_ADVICE = "Name a folder that save_pretrained wrote, or a safetensors file of a known network"


@dataclass(frozen=True)
class _Network:
    """The kind and sizes of a network in a file."""

    kind: str
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Config:
    """The fields of a network's `config.json`; unknown keys are ignored."""

    network: _Network
    weights_sha256: str | None = None


def load_network(path: Path) -> ImageNetwork:
    """Build the network of a folder or safetensors file and load its weights.

    Args:
        path: a folder that `save_pretrained` wrote, or a safetensors file with the state dict of one of
            `NETWORKS`, float32 or float16.

    Raises:
        InvalidInit: the file cannot be read, or holds NaN or infinite values.
        LayoutMismatch: the network is unknown, or tensors are missing.
    """
    weights, spec = path, None
    if os.path.isdir(path):
        weights = path / WEIGHTS_FILE
        with reported_as(InvalidInit, f"'{path / CONFIG_FILE}'", _ADVICE):
            spec = _read_config(path).network
        with reported_as(InvalidInit, f"'{weights}'", _ADVICE):
            check_weights_digest(weights)
    arrays, note = _read_arrays(weights)
    if spec is None and note is not None:
        with reported_as(InvalidInit, f"'{path}'", _ADVICE):
            try:
                spec = read_settings(json.loads(note), _Network)
            except (ValueError, RecursionError) as error:
                raise DamagedFile("its metadata does not name its network") from error
    if spec is None:
        try:
            recognised = recognise({name: array.shape for name, array in arrays.items()})
        except LayoutMismatch as error:
            raise LayoutMismatch(f"'{path}' holds {error}") from error
        if recognised is None:
            names = ", ".join(sorted(arrays)[:3])
            raise LayoutMismatch(
                f"'{path}' holds weights of an unknown network (tensors {names}, ...). {_ADVICE}"
            )
        spec = _Network(*recognised)
    check_network(spec.kind, spec.sizes)
    try:
        shapes = {name: array.shape for name, array in arrays.items()}
        network = build_network(spec.kind, spec.sizes, shapes=shapes)
        network.load_arrays(arrays)
    except LayoutMismatch as error:
        raise LayoutMismatch(f"'{path}', {error} {_ADVICE}") from error
    return network


def check_weights_digest(path: Path) -> None:
    """Check a weights file against the digest in the `config.json` beside it, if that has one.

    Raises:
        DamagedFile: a file cannot be read, or the digests differ.
    """
    digest = _read_config(path.parent).weights_sha256
    if digest is not None:
        read_file(path, max_bytes=_MAX_WEIGHTS_BYTES, digest=digest)


def _read_config(folder: Path) -> _Config:
    return read_json(read_file(folder / CONFIG_FILE, max_bytes=_MAX_CONFIG_BYTES), _Config)


def _read_arrays(path: Path) -> tuple[Mapping[str, np.ndarray], str | None]:
    """The tensors of a safetensors file as float32, and its metadata on the network."""
    with reported_as(InvalidInit, f"'{path}'", _ADVICE):
        header = read_header(path)
        arrays = {name: value.astype(np.float32) for name, value in load_file(path).items()}
        for name, array in arrays.items():
            n_bad = array.size - int(np.isfinite(array).sum())
            if n_bad:
                raise DamagedFile(f"tensor '{name}': {n_bad} of {array.size} values are NaN or infinite")
    return arrays, header.metadata.get("network")
