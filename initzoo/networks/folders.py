"""Networks as folders and files of their own: weights that any safetensors reader opens, and their sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from initzoo.errors import InvalidInit, LayoutMismatch
from initzoo.files.digests import DamagedFile, is_file, read_file, reported_as
from initzoo.files.settings import read_json, read_settings
from initzoo.files.tensors import read_header
from initzoo.networks.known import build_network, recognise
from initzoo.networks.network import CONFIG_FILE, WEIGHTS_FILE, ImageNetwork

__all__ = ["check_weights_digest", "is_network_folder", "load_network"]

_MAX_CONFIG_BYTES = 2**20
_MAX_WEIGHTS_BYTES = 2**32
_ADVICE = "Name a folder that save_pretrained wrote, or a safetensors file of a known network"


@dataclass(frozen=True)
class _Network:
    """Which network a file is of."""

    kind: str
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Config:
    """What `config.json` of a network's folder holds; more is ignored."""

    network: _Network
    weights_sha256: str | None = None


def is_network_folder(path: Path) -> bool:
    """Whether a folder looks like one that `save_pretrained` wrote."""
    return is_file(path / CONFIG_FILE) and is_file(path / WEIGHTS_FILE)


def load_network(path: Path) -> ImageNetwork:
    """Build the network whose weights lie in a folder or a safetensors file, and put them in.

    Args:
        path: a folder that `save_pretrained` wrote, or a safetensors file with the state dict of one of
            `NETWORKS`, float32 or float16.

    Raises:
        InvalidInit: the file cannot be read, or holds NaN or infinite values.
        LayoutMismatch: it holds weights of no known network, or not all of them.
    """
    weights, spec = path, None
    if path.is_dir():
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
                raise DamagedFile("its metadata does not say which network it is of") from error
    if spec is None:
        found = recognise({name: array.shape for name, array in arrays.items()})
        if found is None:
            names = ", ".join(sorted(arrays)[:3])
            raise LayoutMismatch(
                f"'{path}' holds weights of no network that initzoo knows (tensors {names}, ...). {_ADVICE}"
            )
        spec = _Network(*found)
    network = build_network(spec.kind, spec.sizes)
    try:
        network.load_arrays(arrays)
    except LayoutMismatch as error:
        raise LayoutMismatch(f"'{path}', {error} {_ADVICE}") from error
    return network


def check_weights_digest(path: Path) -> None:
    """Check a file of weights against the digest in the `config.json` beside it, if that holds one.

    Raises:
        DamagedFile: a file cannot be read, or the digests differ.
    """
    digest = _read_config(path.parent).weights_sha256
    if digest is not None:
        read_file(path, max_bytes=_MAX_WEIGHTS_BYTES, digest=digest)


def _read_config(folder: Path) -> _Config:
    return read_json(read_file(folder / CONFIG_FILE, max_bytes=_MAX_CONFIG_BYTES), _Config)


def _read_arrays(path: Path) -> tuple[Mapping[str, np.ndarray], str | None]:
    """Float32 tensors of a safetensors file, and what its metadata says of the network."""
    with reported_as(InvalidInit, f"'{path}'", _ADVICE):
        header = read_header(path)
        arrays = {name: value.astype(np.float32) for name, value in load_file(path).items()}
        for name, array in arrays.items():
            n_bad = array.size - int(np.isfinite(array).sum())
            if n_bad:
                raise DamagedFile(f"tensor '{name}': {n_bad} of {array.size} values are NaN or infinite")
    return arrays, header.metadata.get("network")
