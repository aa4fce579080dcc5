"""What a file or folder of weights is, in plain values: for `initzoo show FILE`."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from initzoo.checkpoints import Init, read_base_config
from initzoo.errors import InvalidInit, LayoutMismatch
from initzoo.files import IMAGE_SUFFIXES, is_file, read_header, reported_as
from initzoo.generator import is_generator_config, read_generator_files
from initzoo.zoo.index import Index
from initzoo.zoo.shards import read_shard_header
from initzoo.zoo.zoo import Zoo

__all__ = ["describe"]

_ADVICE = (
    "It can show an init, a safetensors file, a folder that save_pretrained wrote, a zoo, or a file of one"
)


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Say what a file or folder of weights is.

    Args:
        path: an init, any other safetensors file with float32 or float16 tensors, a folder that
            `save_pretrained` wrote, a zoo's folder, or a shard, index, base or weight generator.

    Returns:
        Plain JSON values. `kind` is `init`, `network`, `tensors`, `zoo`, `index`, `shard`, `base` or
        `weight generator`; the other keys depend on it.

    Raises:
        InvalidInit, InvalidZoo, InvalidGenerator: the path does not exist, is damaged, or is something else.

    Example:
        >>> from initzoo.pairs import catalog_folder
        >>> describe(catalog_folder())["kind"]
        'zoo'
    """
    path = Path(path)
    if os.path.isdir(path):
        kind, values = _describe_folder(path)
    elif path.suffix == ".parquet":
        kind, values = "index", _describe_rows(Index.open(path))
    elif path.name == "config.json" and is_file(path):
        kind, values = _describe_folder(path.parent)
    else:
        kind, values = _describe_file(path)
    return {"path": str(path), "kind": kind, **values}


def _describe_folder(folder: Path) -> tuple[str, dict[str, Any]]:
    from initzoo.networks import is_network_folder

    if is_file(folder / "dataset" / "index.parquet"):
        return "zoo", _describe_zoo(Zoo.from_pretrained(folder))
    config = folder / "config.json"
    if is_file(config) and is_generator_config(config):
        settings = read_generator_files(folder).config
        names = ("recipe", "kind", "n_train_concepts", "base_sha256")
        labels = ("recipe", "denoiser", "train concepts", "base_sha256")
        return "weight generator", {
            label: settings.get(name) for name, label in zip(names, labels, strict=True)
        }
    if is_network_folder(folder):
        if read_header(folder / "model.safetensors").metadata.get("kind") == "base":
            base = read_base_config(folder)
            layout = base.layout
            return "base", {
                "recipe": base.recipe.name,
                "network": base.recipe.network.kind,
                "sizes": base.recipe.network.sizes,
                "adapter": f"{layout.n_blocks} blocks of {layout.block_size}",
                "base_sha256": base.base_sha256,
                "licence": base.licence,
            }
        return "network", _describe_network(folder)
    raise InvalidInit(f"'{folder}' is a folder that holds neither a network nor a zoo. {_ADVICE}")


def _describe_file(path: Path) -> tuple[str, dict[str, Any]]:
    if not os.path.exists(path):
        raise InvalidInit(f"'{path}' is not there. {_ADVICE}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InvalidInit(f"'{path}' is an image and holds no weights. {_ADVICE}")
    with reported_as(InvalidInit, f"'{path}'", _ADVICE):
        header = read_header(path)
    kind = header.metadata.get("kind", "")
    if kind == "shard":
        shard = read_shard_header(path)
        return "shard", {"checkpoints": len(shard.ranges), "bytes": path.stat().st_size}
    if kind in ("base", "weight_generator"):
        return _describe_folder(path.parent)
    if "seal" in header.metadata:
        return "init", _describe_init(Init.load(path)) | {"bytes": path.stat().st_size}
    try:
        return "network", _describe_network(path)
    except LayoutMismatch:  # of another program
        n_values = sum((entry.end - entry.start) // (2 if entry.dtype == "F16" else 4)
                       for entry in header.tensors.values())  # fmt: skip
        return "tensors", {
            "network": "not one that initzoo knows",
            "tensors": len(header.tensors),
            "weights": n_values,
            "dtypes": sorted({entry.dtype for entry in header.tensors.values()}),
            "first": sorted(header.tensors)[:3],
            "bytes": path.stat().st_size,
        }


def _describe_init(init: Init) -> dict[str, Any]:
    metadata, generation = init.metadata, init.metadata.generation
    values: dict[str, Any] = {
        "concept": metadata.concept,
        "wording": metadata.wording,
        "origin": metadata.origin,
        "weights": f"{init.kind}, {sum(value.size for value in init.weights.values()):,} values",
        "zoo": metadata.zoo,
        "revision": metadata.revision,
        "recipe": metadata.recipe.name,
        "network": metadata.recipe.network.kind,
        "base_sha256": metadata.base_sha256,
        "scores": {name: score for name, score in metadata.scores.items() if score is not None},
        "licence": metadata.licence,
        "source": metadata.source,
    }
    if generation is not None:
        values |= {"seed": generation.seed, "timesteps": generation.n_timesteps}
        values |= {"generated": generation.prospect}
    if metadata.fitting is not None:
        fitting = metadata.fitting
        values |= {"fitted from": fitting.start, "fitted": fitting.prospect, "notes": list(fitting.notes)}
    return values | {"sha256": init.sha256}


def _describe_network(path: Path) -> dict[str, Any]:
    from initzoo.networks import load_network

    network = load_network(path)
    return {
        "network": network.kind,
        "sizes": dict(network.sizes),
        "weights": sum(value.numel() for value in network.state_dict().values()),
    }


def _describe_zoo(zoo: Zoo) -> dict[str, Any]:
    return {
        "zoo": zoo.name,
        "revision": zoo.revision,
        "recipes": list(zoo.recipes),
        "weight generator": "yes" if zoo.has_generator else "none",
        **_describe_rows(zoo.index),
        "licence": zoo.config.licence,
    }


def _describe_rows(index: Index) -> dict[str, Any]:
    splits: Counter[str] = Counter()
    families: Counter[str] = Counter()
    for row in index.each_row():
        splits[row.split] += 1
        families[row.family] += 1
    return {
        "checkpoints": splits.total(),
        "splits": dict(sorted(splits.items())),
        "families": dict(sorted(families.items())),
    }
