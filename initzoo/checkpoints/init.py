"""Inits: the weights that fine-tuning starts from, in memory and as one file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from initzoo.checkpoints.base import MAX_MODEL_BYTES, Base, check_weights
from initzoo.checkpoints.merge import merge_adapter
from initzoo.checkpoints.recipe import Layout, NetworkSpec, Recipe
from initzoo.errors import ChecksumMismatch, InvalidInit, LayoutMismatch
from initzoo.files import (
    FORMAT_VERSION,
    DamagedFile,
    check_version,
    decode_tensors,
    encode_tensors,
    is_reserved_name,
    read_file,
    read_settings,
    reported_as,
    to_plain,
    write_bytes,
)
from initzoo.pairs import normalise_words

if TYPE_CHECKING:
    from initzoo.networks import ImageNetwork

__all__ = [
    "MAX_SEED",
    "SAME_WITHIN",
    "SCORES",
    "Fitting",
    "Generation",
    "Init",
    "InitMetadata",
    "check_draw",
    "name_words",
    "to_psnr",
]

MAX_SEED = 2**63 - 1
MAX_TIMESTEPS = 1000

_MAX_NAME = 60
_MAX_SCORE = 1e30
_ROUNDING = 0.02  # of predicted distances and decibels, which are stored rounded
_ORIGINS = ("exact", "matched", "generated", "fitted", "fine-tuned", "blended", "scheme")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ADVICE = "Pull it again: initzoo pull WORDS --force"
_TEXTS = ("concept", "wording", "origin", "zoo", "revision", "base_sha256", "licence", "source")


SAME_WITHIN = 1e-5
"""Generated weights of two machines are the same if no value differs by more than this share of its tensor's
largest absolute value: machines add floats in different orders."""


class TakesWeights(Protocol):
    """An image network of the init's recipe, such as `StarterNet`."""

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> object:
        """Load every weight and bias; fail if one is missing, unexpected or misshapen."""


def check_draw(*, seed: int, n_timesteps: int) -> None:
    """Check the seed and the number of timesteps of a generation.

    Raises:
        TypeError: one of them is not an integer.
        ValueError: one of them is out of range.

    Example:
        >>> check_draw(seed=0, n_timesteps=0)
        Traceback (most recent call last):
            ...
        ValueError: n_timesteps must be from 1 to 1000, found 0
    """
    for name, value in (("seed", seed), ("n_timesteps", n_timesteps)):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an integer, found {value!r}")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be from 0 to {MAX_SEED}, found {seed}")
    if not 1 <= n_timesteps <= MAX_TIMESTEPS:
        raise ValueError(f"n_timesteps must be from 1 to {MAX_TIMESTEPS}, found {n_timesteps}")


def name_words(words: str) -> str:
    """Make a short name from words that is safe as a file name: lower-case letters, digits and hyphens.

    Example:
        >>> name_words("Déjà-vu, faded TEAL!"), name_words("../.."), name_words("Con")
        ('deja-vu-faded-teal', 'words', 'con-look')
    """
    plain = unicodedata.normalize("NFKD", normalise_words(words)).encode("ascii", "ignore").decode()
    name = "-".join(re.findall("[a-z0-9]+", plain.lower()))[:_MAX_NAME].rstrip("-") or "words"
    return f"{name}-look" if is_reserved_name(name) else name  # Windows has no files named con or aux


SCORES = ("psnr", "ssim", "psnr_untouched", "ssim_untouched", "psnr_mean", "ssim_mean")


@dataclass(frozen=True)
class Generation:
    """How an init was generated, and which quality was predicted for it.

    Together with the `wording` of `InitMetadata` it suffices to generate the init again.

    Args:
        seed: seed of the noise.
        n_timesteps: number of denoising steps.
        generator_sha256: digest of the weight generator's `config.json`.
        distance: distance of the words to the taught wordings, 0 to 1. None if the generator is not
            calibrated; then the next two are None as well.
        expected_psnr: predicted range of the PSNR in dB, for one denoising step.
        is_far: whether the words are farther from the taught wordings than nearly all unseen wordings
            of taught concepts.

    Raises:
        ValueError: a number is out of range, or only some of the predictions are given.
    """

    seed: int
    n_timesteps: int
    generator_sha256: str
    distance: float | None = None
    expected_psnr: tuple[float, float] | None = None
    is_far: bool | None = None

    def __post_init__(self) -> None:
        check_draw(seed=self.seed, n_timesteps=self.n_timesteps)
        expected = (self.distance, self.expected_psnr, self.is_far)
        if len({value is None for value in expected}) != 1:
            raise ValueError("distance, expected_psnr and is_far must be given together")
        if not _DIGEST.fullmatch(self.generator_sha256):
            raise ValueError(f"generator_sha256 must be 64 hex digits, found {self.generator_sha256[:80]!r}")
        if self.distance is not None and not 0 <= self.distance <= 1:
            raise ValueError(f"distance must be from 0 to 1, found {self.distance}")
        if self.expected_psnr is not None and not all(map(math.isfinite, self.expected_psnr)):
            raise ValueError(f"expected_psnr must be finite, found {self.expected_psnr}")

    @property
    def prospect(self) -> str:
        """The distance and the predicted PSNR, in plain words.

        Example:
            >>> Generation(0, 1, "a" * 64, distance=0.1, expected_psnr=(21.3, 28.9), is_far=False).prospect
            'near what the zoo knows, expected 21 to 29 dB'
        """
        if self.expected_psnr is None:
            return "not calibrated: its quality cannot be predicted"
        low, high = self.expected_psnr
        how_far = "far from everything" if self.is_far else "near what"
        of_one = "" if self.n_timesteps == 1 else f" of 1 timestep, unknown of {self.n_timesteps}"
        return f"{how_far} the zoo knows, expected {round(low)} to {round(high)} dB{of_one}"

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON values."""
        values: dict[str, Any] = to_plain(self)
        return values


@dataclass(frozen=True)
class Fitting:
    """How an init was fitted to example pairs, and how well it does on what was held back from the steps.

    Losses are mean squared errors of values from 0 to 1, on pairs that were held back; for a single pair,
    on a part of it that was.

    Args:
        start: the candidate that the steps began from, e.g. `checkpoint sepia`.
        n_candidates: number of candidates that were compared.
        seed: draws crops, and the noise of generated candidates.
        seconds: the work, in seconds of one core as the cost table counts them.
        n_steps: steps from the candidate to the init.
        n_pairs: number of pairs that steps were taken on.
        n_held_back: number of pairs held back; 0 if a part of the only pair was.
        loss_untouched: loss of the unedited images.
        loss_before: loss of the candidate.
        loss_after: loss of the init.
        pairs_sha256: digest of the pairs.
        notes: what is odd about the pairs, or about how well an edit fits them; each a clause.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> Fitting("base", 9, 0, 1.0, 20, 6, 2, 0.04, 0.04, 0.001, "a" * 64).prospect
        '14.0 dB before, 30.0 dB after 20 steps on 6 pairs, measured on 2 others'
    """

    start: str
    n_candidates: int
    seed: int
    seconds: float
    n_steps: int
    n_pairs: int
    n_held_back: int
    loss_untouched: float
    loss_before: float
    loss_after: float
    pairs_sha256: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_draw(seed=self.seed, n_timesteps=1)
        losses = (self.loss_untouched, self.loss_before, self.loss_after, self.seconds)
        if not all(math.isfinite(loss) and loss >= 0 for loss in losses):
            raise ValueError("losses and seconds must be finite and not negative")
        if min(self.n_candidates, self.n_pairs) < 1 or min(self.n_steps, self.n_held_back) < 0:
            raise ValueError("a number of candidates, pairs or steps is out of range")
        if not _DIGEST.fullmatch(self.pairs_sha256):
            raise ValueError(f"pairs_sha256 must be 64 hex digits, found {self.pairs_sha256[:80]!r}")

    @property
    def prospect(self) -> str:
        """The quality before and after on what was held back, in plain words."""
        before, after = (f"{to_psnr(loss):.1f} dB" for loss in (self.loss_before, self.loss_after))
        steps = f"{self.n_steps} {'step' if self.n_steps == 1 else 'steps'}"
        if self.n_held_back:
            others = "another" if self.n_held_back == 1 else f"{self.n_held_back} others"
            pairs = f"{self.n_pairs} {'pair' if self.n_pairs == 1 else 'pairs'}, measured on {others}"
        else:
            pairs = "a part of the pair, measured on the rest"
        return f"{before} before, {after} after {steps} on {pairs}"

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON values."""
        values: dict[str, Any] = to_plain(self)
        return values


def to_psnr(loss: float) -> float:
    """The PSNR of a mean squared error of values from 0 to 1, dB, at most 60.

    Example:
        >>> to_psnr(0.01), to_psnr(0.0)
        (20.0, 60.0)
    """
    return -10 * math.log10(max(loss, 1e-6))


@dataclass(frozen=True)
class InitMetadata:
    """The provenance of an init.

    Args:
        concept: concept id; for a generated init a short name made from its words.
        wording: the requested words.
        origin: `exact` for the checkpoint that the words name, `matched` for the one that they
            mean, `generated` for output of the weight generator,
            `fitted` for one fitted to example pairs, `fine-tuned` after further training, `blended` for
            a blend of two inits, `scheme` for an initialization scheme such as `he_normal` or `mean`.
        zoo: name of the zoo.
        revision: revision of the zoo, 40 hex digits.
        recipe: the recipe that the weights belong to.
        base_sha256: digest of the base's weights.
        scores: PSNR (dB) and SSIM on scoring photos, by name; None for a score that was not measured.
        licence: licence of the weights.
        source: origin of the concept or weights, in a sentence.
        generation: how the weights were generated, also for an init fine-tuned from them; else None.
        has_detail: whether the weights are more than base and adapter: those of a checkpoint with its detail,
            or fitted to pairs as a whole.
        fitting: how the weights were fitted to pairs, also for an init fine-tuned from them; else None.
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
    generation: Generation | None = None
    has_detail: bool = False
    fitting: Fitting | None = None

    @cached_property
    def layout(self) -> Layout:
        """The layout of the recipe's adapters."""
        return self.recipe.layout


@dataclass(frozen=True, eq=False)
class Init:
    """Initial weights for fine-tuning, with their provenance.

    Args:
        weights: float32 arrays by name. Merged: weight and bias of every layer of the
            recipe's network. Adapter: exactly the tensors of `metadata.layout`.
        kind: `merged` or `adapter`.
        metadata: provenance of the weights.

    Raises:
        InvalidInit: the kind or origin is unknown, a value is NaN or infinite, or `generation` or `fitting`
            is missing for a generated or fitted init or given for another.
        LayoutMismatch: a tensor is missing, unexpected, or has another shape or dtype.

    Example:
        >>> init = Zoo.from_pretrained("starter").pull("pencil sketch")  # doctest: +SKIP
        >>> init.save("pencil-sketch.safetensors")  # doctest: +SKIP
    """

    weights: dict[str, np.ndarray]
    kind: str
    metadata: InitMetadata

    def __post_init__(self) -> None:
        """Check the weights against the recipe."""
        if self.metadata.origin not in _ORIGINS:
            raise InvalidInit(
                f"init: origin is {self.metadata.origin[:40]!r}, expected one of {', '.join(_ORIGINS)}."
            )
        for field, made in (("generation", "generated"), ("fitting", "fitted")):
            is_made = self.metadata.origin == made
            is_given = getattr(self.metadata, field) is not None
            if is_made != is_given and self.metadata.origin != "fine-tuned":
                raise InvalidInit(
                    f"init: `{field}` must be given for origin '{made}', and only for it or 'fine-tuned'."
                )
        if self.kind not in ("merged", "adapter"):
            raise InvalidInit(f"init: kind is {self.kind[:40]!r}, expected merged or adapter.")
        recipe = self.metadata.recipe
        check_weights(
            self.weights, recipe.weight_shapes if self.kind == "merged" else dict(recipe.layout.tensors)
        )

    def __repr__(self) -> str:
        metadata = self.metadata
        return f"Init({metadata.concept!r}, {metadata.origin}, {self.kind}, recipe {metadata.recipe.name!r})"

    @classmethod
    def from_model(
        cls, model: ImageNetwork, *, name: str, start: Init | None = None, licence: str = "", source: str = ""
    ) -> Init:
        """Make an init from the weights of a network, for instance after your own training loop.

        Args:
            model: one of initzoo's networks, on any device.
            name: name of the look that the network makes.
            start: the init that training started from, if any; the new init takes over its recipe and zoo.
            licence: licence of the new weights; empty to claim none.
            source: how the weights were made.

        Raises:
            LayoutMismatch: the model does not have the network of `start`.
            InvalidInit: a weight is NaN or infinite.

        Example:
            >>> from initzoo.networks.starter import StarterNet
            >>> Init.from_model(StarterNet(n_detail=8), name="my look")
            Init('my-look', fine-tuned, merged, recipe 'starter')
        """
        if start is None:
            spec = NetworkSpec(model.kind, dict(model.sizes))
            recipe, zoo, revision, base_sha256 = Recipe.of(model.kind, spec, {}), "", "", ""
        else:
            old = start.metadata
            recipe, zoo, revision, base_sha256 = old.recipe, old.zoo, old.revision, old.base_sha256
        metadata = InitMetadata(
            concept=name_words(name),
            wording=name,
            origin="fine-tuned",
            zoo=zoo,
            revision=revision,
            recipe=recipe,
            base_sha256=base_sha256,
            scores={},
            licence=licence,
            source=source or ("" if start is None else f"trained from {start.metadata.concept}"),
        )
        return cls(model.to_arrays(), "merged", metadata)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes. Equal inits give the same bytes."""
        metadata = {name: getattr(self.metadata, name) for name in _TEXTS}
        metadata |= {"format_version": str(FORMAT_VERSION), "kind": self.kind}
        recipe = to_plain(self.metadata.recipe)
        metadata |= {"layout": _to_json(recipe.pop("layout")), "recipe": _to_json(recipe)}
        metadata |= {"scores": _to_json(self.metadata.scores)}
        if self.metadata.has_detail:
            metadata |= {"has_detail": "true"}
        if self.metadata.generation is not None:
            metadata |= {"generation": _to_json(self.metadata.generation)}
        if self.metadata.fitting is not None:
            metadata |= {"fitting": _to_json(self.metadata.fitting)}
        return encode_tensors(self.weights, metadata)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the init as a safetensors file, atomically.

        Raises:
            OutputError: the file exists and `force` is False, or it cannot be written.
        """
        write_bytes(Path(path), self.to_bytes(), force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Init:
        """Read an init and check every byte of it.

        Raises:
            InvalidInit: the file cannot be read, is not an init, or is damaged.
            LayoutMismatch: its tensors do not fit its recipe.
        """
        with reported_as(InvalidInit, f"init '{path}'", _ADVICE):
            metadata, weights = decode_tensors(read_file(path, max_bytes=MAX_MODEL_BYTES))
            if metadata.get("kind") not in ("merged", "adapter"):
                raise DamagedFile("is not an init: its header does not say kind 'merged' or 'adapter'")
            check_version(metadata.get("format_version", ""))
            parsed = _parse_metadata(metadata)
        try:
            return cls(weights, metadata["kind"], parsed)
        except (InvalidInit, LayoutMismatch) as error:
            raise type(error)(f"'{path}', {error}") from error

    def is_close(self, other: Init) -> bool:
        """Whether another init is the same within the rounding of machines: `SAME_WITHIN`.

        Both must have the same provenance, but for rounding in the predicted quality.

        Example:
            >>> from initzoo import Zoo
            >>> init = Zoo.from_pretrained("starter").pull("sepia")
            >>> init.is_close(init)
            True
        """
        mine, theirs = self.metadata, other.metadata
        if self.kind != other.kind or self.weights.keys() != other.weights.keys():
            return False
        if mine.generation is not None and theirs.generation is not None:
            first, second = _prediction(mine.generation), _prediction(theirs.generation)
            if len(first) != len(second) or not np.allclose(first, second, rtol=0, atol=_ROUNDING):
                return False
            mine = replace(mine, generation=_without_prediction(mine.generation))
            theirs = replace(theirs, generation=_without_prediction(theirs.generation))
        if mine != theirs:
            return False
        return all(
            value.shape == other.weights[name].shape
            and float(np.abs(value - other.weights[name]).max()) <= SAME_WITHIN * float(np.abs(value).max())
            for name, value in self.weights.items()
        )

    def merged_with(self, base: Base) -> Init:
        """Merge an adapter-only init into its base. Returns a merged init unchanged.

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

    def to_network(self) -> ImageNetwork:
        """Build the network of the init's recipe with the init's weights. Loads torch.

        Raises:
            InvalidInit: this init is adapter-only.
            LayoutMismatch: this version of initzoo does not know the network.
        """
        try:
            network = self.metadata.recipe.build()
        except LayoutMismatch as error:
            raise LayoutMismatch(
                f"init of concept '{self.metadata.concept}': {error} Get its file again."
            ) from error
        self.apply_to(network)
        return network

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
        model.load_arrays(self.weights)


def _prediction(generation: Generation) -> list[float]:
    """The numbers of the predicted quality; none if it is not known."""
    numbers = (generation.distance, *(generation.expected_psnr or ()))
    return [number for number in numbers if number is not None]


def _without_prediction(generation: Generation) -> Generation:
    return replace(generation, distance=None, expected_psnr=None, is_far=None)


def _parse_metadata(metadata: Mapping[str, str]) -> InitMetadata:
    """Parse the header of an init; unknown keys are ignored."""
    try:
        values = {name: json.loads(metadata[name]) for name in ("recipe", "layout", "scores")}
        if "has_detail" in metadata:
            values["has_detail"] = json.loads(metadata["has_detail"])
        for field in ("generation", "fitting"):
            if metadata.get(field):
                values[field] = json.loads(metadata[field])
    except KeyError as error:
        raise DamagedFile(f"its header lacks {error}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise DamagedFile("its recipe, layout, scores, generation or fitting are not JSON") from error
    if isinstance(values["recipe"], dict):
        values["recipe"] |= {"layout": values.pop("layout")}
    scores = values["scores"]
    if isinstance(scores, dict) and not all(  # `read_settings` names what is no number at all
        -_MAX_SCORE < score < _MAX_SCORE for score in scores.values() if isinstance(score, int | float)
    ):
        raise DamagedFile("its scores are not finite numbers")
    texts = {name: text for name, text in metadata.items() if name in _TEXTS}
    return read_settings(texts | values, InitMetadata)


def _to_json(values: Any) -> str:
    return json.dumps(to_plain(values), sort_keys=True, separators=(",", ":"), allow_nan=False)
