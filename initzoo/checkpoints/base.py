"""The base of a recipe on disk: the weights that all its checkpoints share.

A base is a folder of two files. `config.json` names the recipe, the layout and the digest of
the weights. `model.safetensors` holds `{layer}.weight` and `{layer}.bias` of every layer, and
`{layer}.A`, which all adapters share, of every adapted layer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from initzoo.checkpoints.recipe import Layout, NetworkSpec, Recipe
from initzoo.errors import ChecksumMismatch, InvalidInit, InvalidZoo, LayoutMismatch
from initzoo.files import (
    DamagedFile,
    decode_tensors,
    encode_tensors,
    read_file,
    read_json,
    reported_as,
    write_files,
    write_json,
)

__all__ = [
    "Base",
    "BaseConfig",
    "check_weights",
    "read_base",
    "read_base_config",
    "write_base",
]

_MAX_CONFIG_BYTES = 2**20
MAX_MODEL_BYTES = 2**31
_ADVICE = "Get the zoo again."
_UPGRADE = "upgrade: pip install -U initzoo"


@dataclass(frozen=True)
class BaseConfig:
    """The config of a base.

    Args:
        recipe: the recipe of the base and its checkpoints.
        base_sha256: digest of `model.safetensors`.
        licence: licence of the weights.
        config_sha256: digest of `config.json` itself.
        made_with: notes on how the base was trained.
    """

    recipe: Recipe
    base_sha256: str
    licence: str
    config_sha256: str
    made_with: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        """The layout of the recipe's adapters."""
        return self.recipe.layout


@dataclass(frozen=True, eq=False)
class Base:
    """A base: its config, and float32 weights by name."""

    config: BaseConfig
    weights: dict[str, np.ndarray]


def check_weights(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that weights are finite float32 arrays with exactly the names and shapes of `shapes`.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected, or has another shape or dtype.
        InvalidInit: a value is NaN or infinite.

    Example:
        >>> check_weights({"head.bias": np.zeros(3, dtype=np.float32)}, {"head.bias": (12,)})
        Traceback (most recent call last):
            ...
        initzoo.errors.LayoutMismatch: tensor 'head.bias': expected float32 (12,), found float32 (3,).
    """
    for name, shape in shapes.items():
        if name not in weights:
            raise LayoutMismatch(f"tensor '{name}': expected shape {shape}, found no such tensor.")
        tensor = weights[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise LayoutMismatch(
                f"tensor '{name}': expected float32 {shape}, found {tensor.dtype} {tensor.shape}."
            )
        n_bad = tensor.size - int(np.isfinite(tensor).sum())
        if n_bad:
            raise InvalidInit(f"tensor '{name}': {n_bad} of {tensor.size} values are NaN or infinite.")
    unexpected = sorted(set(weights) - set(shapes))
    if unexpected:
        raise LayoutMismatch(f"tensor '{unexpected[0]}': expected no such tensor.")


def write_base(
    folder: str | os.PathLike[str],
    *,
    recipe: Recipe,
    weights: Mapping[str, np.ndarray],
    licence: str,
    made_with: Mapping[str, Any] | None = None,
    force: bool = False,
) -> BaseConfig:
    """Write a base into a folder; a missing folder is created.

    Args:
        folder: the folder for `config.json` and `model.safetensors`.
        recipe: the recipe of the base and its checkpoints.
        weights: float32 arrays by name: the tensors of the recipe's network, and A of each adapted layer.
        licence: licence of the weights.
        made_with: notes on how the base was trained, as JSON values; ignored when the base is read.
        force: replace existing files.

    Returns:
        The config of the written base.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected, or has another shape or dtype.
        InvalidInit: a value is NaN or infinite.
        OutputError: a file exists already or cannot be written.
    """
    folder = Path(folder)
    check_weights(weights, recipe.base_shapes)
    metadata = {"format_version": "1", "kind": "base", "layout_id": recipe.layout.id}
    data = encode_tensors(weights, metadata | {"recipe": recipe.name})
    text = write_json(
        {
            "recipe": recipe.name,
            "network": recipe.network,
            "ranks": recipe.ranks,
            "block_size": recipe.layout.block_size,
            "layout": recipe.layout.to_dict(),
            "layout_id": recipe.layout.id,
            "weights": recipe.weights,
            "base_sha256": hashlib.sha256(data).hexdigest(),
            "licence": licence,
            "made_with": dict(made_with or {}),
        }
    )
    write_files(folder, {"model.safetensors": data, "config.json": text}, force=force)
    return read_base_config(folder)


@dataclass(frozen=True)
class _ConfigFile:
    """The fields of `config.json` that reading needs; unknown keys are ignored."""

    recipe: str
    network: NetworkSpec
    ranks: dict[str, int]
    layout: Layout
    weights: tuple[tuple[str, tuple[int, ...]], ...]
    base_sha256: str
    licence: str
    made_with: dict[str, Any] = field(default_factory=dict)


def read_base_config(folder: str | os.PathLike[str], *, digest: str | None = None) -> BaseConfig:
    """Read and check the `config.json` of a base, without its weights.

    Args:
        folder: folder of the base.
        digest: expected SHA-256 of the file; not checked by default.

    Raises:
        InvalidZoo: the file cannot be read, is damaged, or was written by a newer initzoo.
    """
    path = Path(folder) / "config.json"
    with reported_as(InvalidZoo, f"base config '{path}'", _ADVICE):
        data = read_file(path, max_bytes=_MAX_CONFIG_BYTES, digest=digest)
        values = read_json(data, _ConfigFile)
        try:
            recipe = Recipe(values.recipe, values.network, values.ranks, values.layout, values.weights)
        except ValueError as error:
            raise DamagedFile(f"its recipe does not fit together: {error}") from error
    return BaseConfig(
        recipe=recipe,
        base_sha256=values.base_sha256,
        licence=values.licence,
        config_sha256=hashlib.sha256(data).hexdigest(),
        made_with=values.made_with,
    )


def read_base(folder: str | os.PathLike[str], *, digest: str | None = None) -> Base:
    """Read a base and check every byte of it.

    Args:
        folder: folder of the base.
        digest: expected SHA-256 of its `config.json`; not checked by default.

    Raises:
        InvalidZoo: a file cannot be read or is damaged.
        ChecksumMismatch: the weights do not match the digest in the config.
        LayoutMismatch: a tensor is missing, unexpected, or has another shape than in the recipe.
        InvalidInit: a value is NaN or infinite.
    """
    config = read_base_config(folder, digest=digest)
    path = Path(folder) / "model.safetensors"
    with reported_as(InvalidZoo, f"base '{path}'", _ADVICE):
        data = read_file(path, max_bytes=MAX_MODEL_BYTES)
        digest_of_weights = hashlib.sha256(data).hexdigest()
        if digest_of_weights != config.base_sha256:
            raise ChecksumMismatch(
                f"base '{path}': expected sha256 {config.base_sha256}, found {digest_of_weights}. {_ADVICE}"
            )
        _, weights = decode_tensors(data)
    try:
        check_weights(weights, config.recipe.base_shapes)
    except (LayoutMismatch, InvalidInit) as error:
        raise type(error)(f"base '{path}', {error} {_ADVICE} Or {_UPGRADE}") from error
    return Base(config=config, weights=weights)
