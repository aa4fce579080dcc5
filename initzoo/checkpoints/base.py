"""The base of a recipe on disk: the weights that all its checkpoints share.

A base is a folder with `config.json`, which names the recipe, the layout and the digest
of the weights, and `model.safetensors`, which holds for every layer `{layer}.weight` and
`{layer}.bias`, and the `{layer}.A` that all adapters share.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from initzoo.checkpoints.recipe import Layout, Recipe
from initzoo.errors import ChecksumMismatch, InvalidInit, InvalidZoo, LayoutMismatch, OutputError
from initzoo.files.atomic import write_bytes
from initzoo.files.digests import (
    BLANK_SEAL,
    DamagedFile,
    is_file,
    parse_sealed_json,
    read_file,
    reported_as,
    seal,
)
from initzoo.files.tensors import decode_tensors, encode_tensors

__all__ = [
    "Base",
    "BaseConfig",
    "check_weights",
    "read_base",
    "read_base_config",
    "read_recipe",
    "weight_shapes",
    "write_base",
]

_FORMAT_VERSION = 1
_MAX_CONFIG_BYTES = 2**20
MAX_MODEL_BYTES = 2**31
_MAX_WIDTH = 2**14
_MAX_STAGES = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ADVICE = "Get the zoo again."
_UPGRADE = "upgrade: pip install -U initzoo"


@dataclass(frozen=True)
class BaseConfig:
    """What `config.json` says of a base.

    Args:
        recipe: the recipe of the base and its checkpoints.
        base_sha256: digest of `model.safetensors`.
        licence: licence of the weights.
        config_sha256: digest of `config.json` itself.
    """

    recipe: Recipe
    base_sha256: str
    licence: str
    config_sha256: str

    @cached_property
    def layout(self) -> Layout:
        """The layout of the recipe's adapters."""
        return self.recipe.layout


@dataclass(frozen=True, eq=False)
class Base:
    """A base: its config, and float32 weights by name."""

    config: BaseConfig
    weights: dict[str, np.ndarray]


def weight_shapes(recipe: Recipe, *, with_a: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights and biases of a recipe's network, and of every shared A if wanted.

    Example:
        >>> weight_shapes(Recipe(name="starter"), with_a=False)["head.bias"]
        (12,)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in recipe.network.layers:
        kernel = (layer.n_in, layer.kernel, layer.kernel)
        shapes |= {f"{layer.name}.weight": (layer.n_out, *kernel), f"{layer.name}.bias": (layer.n_out,)}
        if with_a:
            shapes[f"{layer.name}.A"] = (layer.rank, *kernel)
    return shapes


def check_weights(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that weights are float32, finite, and exactly those that `shapes` names.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected, or of another shape or dtype.
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
    force: bool = False,
) -> BaseConfig:
    """Write a base into a folder, which is made when it is missing.

    Args:
        folder: where `config.json` and `model.safetensors` go.
        recipe: the recipe that the base was trained with.
        weights: float32 arrays: weight, bias and A of each layer of the recipe's network.
        licence: licence of the weights.
        force: replace files that are there already.

    Returns:
        What `read_base_config` reads from then on.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected, or of another shape or dtype.
        InvalidInit: a value is NaN or infinite.
        OutputError: a file exists already or cannot be written.
    """
    folder = Path(folder)
    check_weights(weights, weight_shapes(recipe, with_a=True))
    layout = recipe.layout
    metadata = {"format_version": str(_FORMAT_VERSION), "kind": "base", "layout_id": layout.id}
    data = encode_tensors(weights, metadata | {"recipe": recipe.name})
    config = {
        "format_version": _FORMAT_VERSION,
        "recipe": recipe.to_dict(),
        "layout": layout.to_dict(),
        "layout_id": layout.id,
        "base_sha256": hashlib.sha256(data).hexdigest(),
        "licence": licence,
        "seal": BLANK_SEAL,
    }
    text = seal(json.dumps(config, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n")
    paths = folder / "model.safetensors", folder / "config.json"
    if not force and (taken := [path for path in paths if is_file(path)]):
        raise OutputError(f"{taken[0]} exists already. Choose another folder, or replace it with force=True")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder '{folder}': {error.strerror or error}.") from error
    for path, content in zip(paths, (data, text), strict=True):
        write_bytes(path, content, force=force)
    return read_base_config(folder)


def read_base_config(folder: str | os.PathLike[str]) -> BaseConfig:
    """Read and check a base's `config.json`, and no weights.

    Raises:
        InvalidZoo: it cannot be read, is damaged, or was made by a newer initzoo.
    """
    path = Path(folder) / "config.json"
    with reported_as(InvalidZoo, f"base config '{path}'", _ADVICE):
        data = read_file(path, max_bytes=_MAX_CONFIG_BYTES)
        values = parse_sealed_json(data, format_version=_FORMAT_VERSION)
        recipe = read_recipe(values.get("recipe"), values.get("layout"))
        digest, licence = values.get("base_sha256"), values.get("licence")
        if values.get("layout_id") != recipe.layout.id:
            raise DamagedFile(f"its layout_id is not {recipe.layout.id}, the id of its layout")
        if not isinstance(digest, str) or not isinstance(licence, str):
            raise DamagedFile("lacks base_sha256 or licence")
    return BaseConfig(recipe, digest, licence, hashlib.sha256(data).hexdigest())


def read_base(folder: str | os.PathLike[str]) -> Base:
    """Read a base and check every byte of it.

    Raises:
        InvalidZoo: a file cannot be read or is damaged.
        ChecksumMismatch: the weights are not those that the config promises.
        LayoutMismatch: a tensor is missing, unexpected, or not of the recipe's shape.
        InvalidInit: a value is NaN or infinite.
    """
    config = read_base_config(folder)
    path = Path(folder) / "model.safetensors"
    with reported_as(InvalidZoo, f"base '{path}'", _ADVICE):
        data = read_file(path, max_bytes=MAX_MODEL_BYTES)
        found = hashlib.sha256(data).hexdigest()
        if found != config.base_sha256:
            raise ChecksumMismatch(
                f"base '{path}': expected sha256 {config.base_sha256}, found {found}. {_ADVICE}"
            )
        _, weights = decode_tensors(data)
    try:
        check_weights(weights, weight_shapes(config.recipe, with_a=True))
    except (LayoutMismatch, InvalidInit) as error:
        raise type(error)(f"base '{path}', {error} {_ADVICE} Or {_UPGRADE}") from error
    return Base(config=config, weights=weights)


def read_recipe(recipe_values: Any, layout_values: Any) -> Recipe:
    """A recipe from plain values of a file, of a size that a machine can hold.

    Args:
        recipe_values: what `Recipe.to_dict` gave.
        layout_values: what `Layout.to_dict` gave for the same recipe.

    Raises:
        DamagedFile: the values are not those of such a recipe, or this version of
            initzoo gives the recipe another layout.
    """
    try:
        recipe = Recipe.from_dict(recipe_values)
        widths = asdict(recipe.network).values()
        is_sound = all(type(n) is int and 0 <= n <= _MAX_WIDTH for n in (*widths, recipe.block_size))
        if not is_sound or recipe.network.n_stages > _MAX_STAGES or not _NAME.fullmatch(recipe.name):
            raise ValueError("a name or size that no recipe has")
        layout = recipe.layout
    except (LayoutMismatch, OverflowError, TypeError, AttributeError, ValueError) as error:
        raise DamagedFile(f"its recipe is not one of this version of initzoo; {_UPGRADE}") from error
    if layout.to_dict() != layout_values:
        raise DamagedFile(
            f"its layout is not {layout.id}, the one of recipe '{recipe.name}' here; {_UPGRADE}"
        )
    return recipe
