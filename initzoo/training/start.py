"""The start of a fine-tune: opens inits, files, schemes and words, and makes the resulting init."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from initzoo.checkpoints import (
    Init,
    InitMetadata,
    check_weights,
    merge_adapter,
    name_words,
)
from initzoo.errors import FinetuneError, InvalidInit, LayoutMismatch
from initzoo.files import read_header, reported_as
from initzoo.generator import FROM_ZOO, File, Given, Request, parse_given
from initzoo.networks import (
    WEIGHTS_FILE,
    Adapted,
    ImageNetwork,
    adapter_from_arrays,
    adapter_to_arrays,
)
from initzoo.pairs import Score
from initzoo.training.opening import ADVICE, check_file, init_of, is_plain_file, open_init
from initzoo.zoo import Zoo

__all__ = [
    "Start",
    "WithAdapter",
    "beside_adapter",
    "open_start",
    "shared_of",
    "start_from_init",
]


class WithAdapter(nn.Module):
    """A network with an adapter beside it. Both are trained, or the adapter alone.

    The rows of A span the edits of a zoo, and are whitened. Steps of a given length bring a new edit much
    nearer along them than along all weights, so the adapter is trained with a rate of its own even where
    all weights are trained.

    Args:
        base: the network, on the CPU; trained in place unless `adapter_only` is set.
        adapter: initial flat values of the adapter, shape `(n_values,)`.
        adapter_only: freeze the network.
    """

    def __init__(self, base: Adapted, adapter: Tensor, *, adapter_only: bool) -> None:
        super().__init__()
        base.network.requires_grad_(not adapter_only)
        base.shared.requires_grad_(False)
        self.base = base
        self.adapter = nn.Parameter(adapter.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Edit images, shape `(n, 3, height, width)`, values -1 to 1."""
        edited: Tensor = self.base(images, self.adapter)
        return edited

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """The state dict of the network with the adapter merged in."""
        return {**self.base.network.state_dict(), **self.base.merged(self.adapter)}


@dataclass(frozen=True, eq=False)
class Start:
    """A network to be fine-tuned, with the provenance of its weights.

    Args:
        name: short name of the start.
        network: an image network, or an adapter on a frozen base; trained in place.
        metadata: provenance of the weights.
        base: the zoo's base if an adapter alone is trained; None if all weights are trained.
        shared: the zoo's A by name, e.g. `head.A`, if all weights are trained and the network is one of a zoo
            with adapters; None otherwise.
    """

    name: str
    network: ImageNetwork | WithAdapter
    metadata: InitMetadata
    base: Mapping[str, NDArray[np.float32]] | None = None
    shared: Mapping[str, NDArray[np.float32]] | None = None

    @property
    def digest_parts(self) -> dict[str, str]:
        """The values that identify the start in a run folder."""
        return {"start": self.name, "recipe": self.metadata.recipe.name, "base": self.metadata.base_sha256}

    def trainable(self) -> ImageNetwork | WithAdapter:
        """The network in the coordinates in which it is trained: beside an adapter of zero, if it can be."""
        if self.shared is None:
            return self.network
        assert not isinstance(self.network, WithAdapter)
        return beside_adapter(self.network, self.metadata.recipe.ranks, self.shared)

    def weights_of(self, network: nn.Module) -> dict[str, NDArray[np.float32]]:
        """The trained weights of `network` or `trainable()`, by their names in an init."""
        if isinstance(network, WithAdapter) and self.base is not None:
            return adapter_to_arrays(network.adapter, dict(self.metadata.layout.tensors))
        state = network.merged() if isinstance(network, WithAdapter) else network.state_dict()
        return {name: value.detach().cpu().float().numpy() for name, value in state.items()}

    def editor(self, weights: Mapping[str, NDArray[np.float32]]) -> ImageNetwork:
        """Make a network on the CPU with weights returned by `weights_of`."""
        merged = weights
        if self.base is not None:
            merged = merge_adapter(self.base, weights, self.metadata.layout)
        model = self.metadata.recipe.build()
        model.load_arrays(merged)
        return model

    def to_init(
        self, weights: Mapping[str, NDArray[np.float32]], *, name: str, score: Score, source: str
    ) -> Init:
        """Make the init that results from fine-tuning.

        It gets a new name and no licence, since the owner of the pairs decides on both.

        Args:
            weights: result of `weights_of`.
            name: name of the trained look.
            score: score on the validation pairs.
            source: description of the training.
        """
        scores: dict[str, float | None] = {"psnr": round(score.psnr, 4), "ssim": round(score.ssim, 5)}
        metadata = replace(
            self.metadata,
            concept=name_words(name),
            wording=name,
            origin="fine-tuned",
            scores=scores,
            licence="",
            source=source,
        )
        return Init(dict(weights), "merged" if self.base is None else "adapter", metadata)


def open_start(
    given: Given | str | os.PathLike[str],
    zoo: Zoo,
    *,
    words: str = "",
    adapter_only: bool = False,
    seed: int = 0,
    warn: bool = True,
) -> Start:
    """Open the start of a fine-tune.

    Args:
        given: path of an init, or of a file or folder with weights of the zoo's network; the name of an
            initialization scheme; or words for an edit. Texts are parsed by `parse_given`.
        zoo: the zoo, for its network and for words.
        words: words for the schemes `nearest` and `generated`.
        adapter_only: train the adapter alone; the start must have one.
        seed: seed of the weights of a scheme.
        warn: emit a `UserWarning` if generated weights are far from everything that the zoo knows.

    Raises:
        UnknownConcept: no concept has these words and the zoo has no weight generator.
        UnknownInitialization: the text is a near miss of a scheme's name.
        InvalidInit: the file is missing, damaged, or not an init.
        LayoutMismatch: the file has weights of another network.
        ChecksumMismatch: the file has an adapter for another base.
        FinetuneError: `adapter_only` is set and the start has no adapter.
        InvalidWords, InvalidRequest, InvalidGenerator: as for `Initializer.network` and `Zoo.pull`.

    Example:
        >>> open_start("he_normal", Zoo.from_pretrained("starter")).name
        'he_normal'
    """
    if isinstance(given, str | os.PathLike):
        given = parse_given(given, is_wording=zoo.holds)
    if isinstance(given, File):
        init = _read_init(given.path, zoo)
    else:
        draw = Request(words, seed=seed)
        init = open_init(given, lambda: zoo, draw=draw, adapter_only=adapter_only, warn=warn)
    return start_from_init(init, zoo, adapter_only=adapter_only)


def start_from_init(init: Init, zoo: Zoo, *, adapter_only: bool = False) -> Start:
    """Make the start of a fine-tune from an init.

    Args:
        init: the init.
        zoo: the zoo with the base of an adapter.
        adapter_only: train the adapter alone; the init must be an adapter.

    Raises:
        LayoutMismatch: this version of initzoo does not know the network.
        ChecksumMismatch: the init is an adapter for another base.
        FinetuneError: `adapter_only` is set and the init has no adapter.
    """
    name = init.metadata.concept
    if not adapter_only:
        merged = zoo.merge(init)
        return Start(name, merged.to_network(), merged.metadata, shared=shared_of(merged, zoo))
    if init.kind != "adapter":
        raise FinetuneError(
            f"{name} is merged with its base and has no separate adapter to train. Pull an adapter with "
            "initzoo pull CONCEPT --adapter-only, or leave --adapter-only out"
        )
    zoo.merge(init)  # raises if the adapter was made for another base
    base = zoo.base(init.metadata.recipe.name)
    adapted = init.metadata.recipe.build_base(base)
    adapter = adapter_from_arrays(init.weights, dict(init.metadata.layout.tensors))
    return Start(name, WithAdapter(adapted, adapter, adapter_only=True), init.metadata, base)


def shared_of(init: Init, zoo: Zoo) -> dict[str, NDArray[np.float32]] | None:
    """The A of each adapted layer by name, e.g. `head.A`; None for weights that no base of the zoo was in.

    Args:
        init: a merged init.
        zoo: the zoo.
    """
    recipe = init.metadata.recipe.name
    is_drawn = init.metadata.origin == "scheme" and init.metadata.concept not in FROM_ZOO
    if is_drawn or recipe not in zoo.recipes:
        return None
    if zoo.config_of(recipe).base_sha256 != init.metadata.base_sha256:
        return None
    arrays = zoo.base(recipe)
    shared = {f"{layer}.A": arrays[f"{layer}.A"] for layer in init.metadata.recipe.ranks}
    # Adapters of normalisation layers have no natural gradient here.
    return shared if all(array.ndim > 1 and array.any() for array in shared.values()) else None


@torch.no_grad()
def beside_adapter(
    network: ImageNetwork, ranks: Mapping[str, int], shared: Mapping[str, NDArray[np.float32]]
) -> WithAdapter:
    """Put an adapter of zero beside a network, which stays the same function.

    Args:
        network: the network; trained in place.
        ranks: rank of the adapter of each adapted layer.
        shared: A of each adapted layer by name, e.g. `head.A`.
    """
    adapted = Adapted(network, ranks)
    for name, tensor in adapted.named_tensors().items():
        if name in shared:
            tensor.copy_(torch.from_numpy(shared[name]))
    return WithAdapter(adapted, torch.zeros(adapted.n_adapter_values), adapter_only=False)


def _read_network(path: Path, zoo: Zoo) -> dict[str, NDArray[np.float32]]:
    """Read the weights of the zoo's network from a safetensors file that is not an init.

    Args:
        path: file with the names and shapes of the network's state dict, float32 or float16.
        zoo: the zoo.

    Raises:
        InvalidInit: the file cannot be read, or has NaN or infinite values.
        LayoutMismatch: the file has weights of another network.
    """
    with reported_as(InvalidInit, f"'{path}'", ADVICE):
        read_header(path)
    weights = {name: value.astype(np.float32) for name, value in load_file(path).items()}
    try:
        check_weights(weights, zoo.recipe.weight_shapes)
    except (LayoutMismatch, InvalidInit) as error:
        raise type(error)(f"'{path}' is not of the network of zoo '{zoo.name}': {error} {ADVICE}") from error
    return weights


def _read_init(path: Path, zoo: Zoo) -> Init:
    """Read an init, or make one of plain weights of the zoo's network."""
    check_file(path)
    if not os.path.isdir(path) and not is_plain_file(path):
        return Init.load(path)
    weights = _read_network(path / WEIGHTS_FILE if os.path.isdir(path) else path, zoo)
    return init_of(
        zoo, path.stem, path.stem, weights, origin="fine-tuned", licence="the owner's", source=path.name
    )
