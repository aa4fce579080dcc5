"""Inits: the weights that fine-tuning starts from, in memory and as one file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from initzoo.bases import MAX_MODEL_BYTES, Base, check_weights, read_recipe, weight_shapes
from initzoo.blocks import check_adapter
from initzoo.errors import ChecksumMismatch, InvalidInit, LayoutMismatch
from initzoo.outputs import write_bytes
from initzoo.recipes import Layout, Recipe
from initzoo.seals import DamagedFile, read_file, reported_as
from initzoo.tensor_files import decode_tensors, encode_tensors

__all__ = ["Init", "InitMetadata", "merge_adapter"]

_FORMAT_VERSION = "1"
_ADVICE = "Pull it again: initzoo pull CONCEPT --force"
_TEXTS = ("concept", "wording", "origin", "zoo", "revision", "base_sha256", "licence", "source")
_KEYS = {*_TEXTS, "format_version", "kind", "recipe", "layout", "scores"}


class TakesWeights(Protocol):
    """An image network of the init's recipe, such as `Pix2Pix`."""

    def load_merged(self, state: dict[str, np.ndarray]) -> object:
        """Load every weight and bias; fail when one is missing, unexpected or misshapen."""


@dataclass(frozen=True)
class InitMetadata:
    """Where an init comes from.

    Args:
        concept: concept id.
        wording: the words that were asked for.
        origin: `exact` when the zoo holds the checkpoint, `generated` when words made it,
            `fine-tuned` when it was trained on since.
        zoo: name of the zoo.
        revision: revision of the zoo, 40 hex digits.
        recipe: the recipe that the weights belong to.
        base_sha256: digest of the base's weights.
        scores: PSNR (dB) and SSIM on scoring photos, by name; None where there is none.
        licence: licence of the weights.
        source: where the concept comes from.
    """

    concept: str
    wording: str
    origin: str
    zoo: str
    revision: str
    recipe: Recipe
    base_sha256: str
    scores: dict[str, float | None]
    licence: str
    source: str

    @cached_property
    def layout(self) -> Layout:
        """The layout of the recipe's adapters."""
        return self.recipe.layout


@dataclass(frozen=True, eq=False)
class Init:
    """Weights to start from.

    Args:
        weights: float32 arrays by name. Merged: weight and bias of every layer of the
            recipe's network. Adapter: exactly the tensors of `metadata.layout`.
        kind: `merged` or `adapter`.
        metadata: where the weights come from.

    Raises:
        InvalidInit: unknown kind or origin, a NaN or an infinite value.
        LayoutMismatch: a tensor is missing, unexpected, or of another shape or dtype.

    Example:
        >>> init = Zoo.from_pretrained("starter").pull("pencil sketch")  # doctest: +SKIP
        >>> init.save("pencil-sketch.safetensors")  # doctest: +SKIP
    """

    weights: dict[str, np.ndarray]
    kind: str
    metadata: InitMetadata

    def __post_init__(self) -> None:
        """Check the weights against the recipe."""
        if self.metadata.origin not in ("exact", "generated", "fine-tuned"):
            raise InvalidInit(
                f"init: origin is {self.metadata.origin[:40]!r}, expected exact, generated or fine-tuned."
            )
        if self.kind not in ("merged", "adapter"):
            raise InvalidInit(f"init: kind is {self.kind[:40]!r}, expected merged or adapter.")
        is_merged = self.kind == "merged"
        shapes = (
            weight_shapes(self.metadata.recipe, with_a=False)
            if is_merged
            else dict(self.metadata.layout.tensors)
        )
        check_weights(self.weights, shapes)

    @property
    def sha256(self) -> str:
        """Digest of the file that `save` writes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The file that `save` writes: a sealed safetensors file, the same for the same init."""
        metadata = {name: getattr(self.metadata, name) for name in _TEXTS}
        metadata |= {"format_version": _FORMAT_VERSION, "kind": self.kind}
        metadata |= {
            "recipe": _to_json(self.metadata.recipe.to_dict()),
            "scores": _to_json(self.metadata.scores),
        }
        metadata |= {"layout": self.metadata.layout.to_json()}
        return encode_tensors(self.weights, metadata)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the init as a safetensors file, whole or not at all.

        Raises:
            OutputError: the file exists and `force` is off, or it cannot be written.
        """
        write_bytes(Path(path), self.to_bytes(), force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Init:
        """Read an init and check every byte of it.

        Raises:
            InvalidInit: the file cannot be read, is no init, or is damaged.
            LayoutMismatch: its tensors are not those of its recipe.
        """
        with reported_as(InvalidInit, f"init '{path}'", _ADVICE):
            metadata, weights = decode_tensors(read_file(path, max_bytes=MAX_MODEL_BYTES))
            if metadata.get("kind") not in ("merged", "adapter"):
                raise DamagedFile("is no init: its header does not say kind 'merged' or 'adapter'")
            if metadata.get("format_version") != _FORMAT_VERSION:
                raise DamagedFile(
                    f"has format version {metadata.get('format_version', '')[:20]!r}, this initzoo reads "
                    f"{_FORMAT_VERSION!r}; upgrade: pip install -U initzoo"
                )
            if set(metadata) != _KEYS:
                odd = sorted(set(metadata) ^ _KEYS)[0]
                raise DamagedFile(f"its metadata has or lacks {odd[:80]!r} against expectation")
            parsed = _parse_metadata(metadata)
        try:
            return cls(weights, metadata["kind"], parsed)
        except (InvalidInit, LayoutMismatch) as error:
            raise type(error)(f"'{path}', {error}") from error

    def merged_with(self, base: Base) -> Init:
        """A merged init from an adapter-only one; a merged one is returned as it is.

        Raises:
            ChecksumMismatch: the adapter was made for another base.
        """
        if self.kind == "merged":
            return self
        if base.config.base_sha256 != self.metadata.base_sha256:
            raise ChecksumMismatch(
                f"init of concept '{self.metadata.concept}': made for the base with sha256 "
                f"{self.metadata.base_sha256}, found {base.config.base_sha256}. "
                f"Name the zoo it came from with --zoo (it says '{self.metadata.zoo}')."
            )
        weights = merge_adapter(base.weights, self.weights, self.metadata.layout)
        return replace(self, weights=weights, kind="merged")

    def apply_to(self, model: TakesWeights) -> None:
        """Load the weights into an image network of the same recipe.

        Raises:
            InvalidInit: this init is adapter-only.
            LayoutMismatch: the network has other tensors.
        """
        if self.kind != "merged":
            raise InvalidInit(
                f"init of concept '{self.metadata.concept}' holds an adapter alone. "
                "Merge it first: zoo.merge(init)"
            )
        model.load_merged(self.weights)


def merge_adapter(
    base: Mapping[str, np.ndarray], adapter: Mapping[str, np.ndarray], layout: Layout
) -> dict[str, np.ndarray]:
    """Add an adapter to a base: weight + B A, bias + bias.

    Computed in float64, so that rounding to float32 hides the differences between machines.

    Args:
        base: the base's weights: weight and bias of each layer, A where the layout has B.
        adapter: exactly the layout's tensors.
        layout: the layout of the adapter.

    Returns:
        Weight and bias of each layer, float32, by name.

    Raises:
        LayoutMismatch: a tensor of the adapter or the base is missing or misshapen.
        InvalidInit: a value of the adapter or of the sum is NaN or infinite.

    Example:
        >>> layout = Layout(tensors=(("head.B", (1, 1)), ("head.bias", (1,))), block_size=2)
        >>> one = np.ones((1, 1, 1, 1), dtype=np.float32)
        >>> base = {"head.weight": one, "head.bias": np.zeros(1, np.float32), "head.A": 2 * one}
        >>> adapter = {"head.B": np.full((1, 1), 3.0), "head.bias": np.ones(1)}
        >>> merge_adapter(base, adapter, layout)
        {'head.weight': array([[[[7.]]]], dtype=float32), 'head.bias': array([1.], dtype=float32)}
    """
    check_adapter(adapter, layout)
    merged = {name: tensor for name, tensor in base.items() if not name.endswith(".A")}
    for name, _ in layout.tensors:
        layer, _, part = name.rpartition(".")
        target = f"{layer}.weight" if part == "B" else f"{layer}.bias"
        change = np.asarray(adapter[name], dtype=np.float64)
        if target not in merged or (part == "B" and f"{layer}.A" not in base):
            raise LayoutMismatch(f"base, layer '{layer}': the adapter changes it, found no such weights.")
        if part == "B":
            a = base[f"{layer}.A"].astype(np.float64)
            change = np.tensordot(change, a, axes=1) if len(a) == change.shape[1] else a
        if change.shape != merged[target].shape:
            raise LayoutMismatch(
                f"base, tensor '{target}': expected shape {change.shape}, found {merged[target].shape}."
            )
        with np.errstate(over="ignore"):
            merged[target] = (merged[target] + change).astype(np.float32)
        if not np.isfinite(merged[target]).all():
            raise InvalidInit(
                f"merged weights, tensor '{target}': found NaN or infinite values. Fit it again."
            )
    return merged


def _parse_metadata(metadata: dict[str, str]) -> InitMetadata:
    try:
        recipe, layout, scores = (json.loads(metadata[name]) for name in ("recipe", "layout", "scores"))
    except (ValueError, RecursionError) as error:
        raise DamagedFile("its recipe, layout or scores are not JSON") from error
    if not isinstance(scores, dict) or not all(
        score is None or isinstance(score, int | float) for score in scores.values()
    ):
        raise DamagedFile("its scores are not numbers by name")
    texts = {name: metadata[name] for name in _TEXTS}
    return InitMetadata(**texts, recipe=read_recipe(recipe, layout), scores=scores)


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
