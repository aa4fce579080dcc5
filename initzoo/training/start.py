"""What fine-tuning starts from, and the init that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from initzoo.checkpoints.base import check_weights
from initzoo.checkpoints.blocks import join_blocks
from initzoo.checkpoints.init import Init, InitMetadata, name_words
from initzoo.checkpoints.merge import merge_adapter
from initzoo.errors import FinetuneError, InvalidInit, LayoutMismatch, UnknownConcept
from initzoo.files.digests import is_file, reported_as
from initzoo.files.tensors import read_header
from initzoo.networks.adapters import Adapted, adapter_from_arrays, adapter_to_arrays
from initzoo.networks.network import ImageNetwork
from initzoo.pairs.scores import Score
from initzoo.training.schemes import FROM_ZOO, INITIALIZATIONS, NEED_WORDS, Initializer
from initzoo.zoo.zoo import Zoo

__all__ = [
    "AdapterOnly",
    "Start",
    "is_plain_file",
    "open_init",
    "open_start",
    "read_network",
    "start_from_init",
]

_ADVICE = 'Give an init of initzoo, e.g. from initzoo pull "pencil sketch", or weights of its network'


class AdapterOnly(nn.Module):
    """A base that stays as it is, with an adapter that is trained.

    Args:
        base: frozen from now on.
        adapter: flat values to begin with, shape `(n_values,)`.
    """

    def __init__(self, base: Adapted, adapter: Tensor) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.adapter = nn.Parameter(adapter.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Edit images, shape `(n, 3, height, width)`, values -1 to 1."""
        edited: Tensor = self.base(images, self.adapter)
        return edited


@dataclass(frozen=True, eq=False)
class Start:
    """A network to be fine-tuned, and what its weights are called.

    Args:
        name: what it is, in words.
        network: is trained in place: an image network, or an adapter on a frozen base.
        metadata: where the weights come from.
        base: the zoo's base, which an adapter is added to; None when all weights are trained.
    """

    name: str
    network: ImageNetwork | AdapterOnly
    metadata: InitMetadata
    base: Mapping[str, NDArray[np.float32]] | None = None

    @property
    def digest_parts(self) -> dict[str, str]:
        """What tells one start from another."""
        return {"start": self.name, "recipe": self.metadata.recipe.name, "base": self.metadata.base_sha256}

    def weights_of(self, network: nn.Module) -> dict[str, NDArray[np.float32]]:
        """The trained weights of a network like this start's, by the names that an init has."""
        if isinstance(network, AdapterOnly):
            return adapter_to_arrays(network.adapter, dict(self.metadata.layout.tensors))
        return {name: value.detach().cpu().float().numpy() for name, value in network.state_dict().items()}

    def editor(self, weights: Mapping[str, NDArray[np.float32]]) -> ImageNetwork:
        """A network on the CPU that edits photos with weights that `weights_of` gave."""
        merged = weights
        if self.base is not None:
            merged = merge_adapter(self.base, weights, self.metadata.layout)
        model = self.metadata.recipe.network.build()
        model.load_arrays(merged)
        return model

    def to_init(
        self, weights: Mapping[str, NDArray[np.float32]], *, name: str, score: Score, source: str
    ) -> Init:
        """The init that fine-tuning ends with.

        It is named anew and has no licence: whoever trained it on pairs of their own decides on both.

        Args:
            weights: as `weights_of` gave them.
            name: of the look that was trained.
            score: on the validation pairs.
            source: what it was fine-tuned on.
        """
        scores: dict[str, float | None] = {"psnr": round(score.psnr, 4), "ssim": round(score.ssim, 5)}
        told = replace(
            self.metadata,
            concept=name_words(name),
            wording=name,
            origin="fine-tuned",
            scores=scores,
            licence="",
            source=source,
        )
        return Init(dict(weights), "merged" if self.base is None else "adapter", told)


def open_start(target: str, zoo: Zoo, *, words: str = "", adapter_only: bool = False, seed: int = 0) -> Start:
    """Make ready what `target` names.

    Args:
        target: path of an init, or of a safetensors file with the weights of the zoo's network; the name
            of an initialization; or words for an edit.
        zoo: where words are looked up, and whose network it is.
        words: what the edit should look like, for the initializations `nearest` and `generated`.
        adapter_only: train the adapter alone; the target must have one.
        seed: draws the weights of an initialization.

    Raises:
        UnknownConcept: no concept has these words and the zoo has no weight generator, or they are almost
            the name of an initialization.
        InvalidInit: the file is damaged, no init, or not there.
        LayoutMismatch: it holds weights of another network.
        ChecksumMismatch: it holds an adapter for another base.
        FinetuneError: it has no adapter, and the adapter alone should be trained.
        InvalidWords, InvalidGenerator: as for `Initializer.network`.

    Example:
        >>> open_start("he_normal", Zoo.from_pretrained("starter")).name
        'he_normal'
    """
    init = open_init(target, zoo, words=words, adapter_only=adapter_only, seed=seed)
    return start_from_init(init, zoo, adapter_only=adapter_only, label=target)


def open_init(target: str, zoo: Zoo, *, words: str = "", adapter_only: bool = False, seed: int = 0) -> Init:
    """The init that `target` names, an adapter alone where `adapter_only` asks for one that can be had.

    Args, Raises:
        As for `open_start`.
    """
    if is_file(target) or target.endswith(".safetensors"):
        return _read_init(Path(target), zoo)
    if target in INITIALIZATIONS:
        return _initialised(target, zoo, words, adapter_only, seed)
    _check_path(target, zoo)
    _check_words(target, zoo)
    return zoo.pull(target, adapter_only=adapter_only)


def start_from_init(init: Init, zoo: Zoo, *, adapter_only: bool = False, label: str = "the init") -> Start:
    """Make an init ready to be trained.

    Args:
        init: the weights.
        zoo: has the base that an adapter belongs to.
        adapter_only: train the adapter alone; the init must be one.
        label: the init's name in errors.

    Raises:
        LayoutMismatch: this version of initzoo does not know the network.
        ChecksumMismatch: it is an adapter for another base.
        FinetuneError: it has no adapter, and the adapter alone should be trained.
    """
    name = init.metadata.concept
    if not adapter_only:
        merged = zoo.merge(init)
        return Start(name, merged.to_network(), merged.metadata)
    if init.kind != "adapter":
        raise FinetuneError(
            f"{label} holds all weights in one, without an adapter to train alone. Pull one with "
            "initzoo pull CONCEPT --adapter-only, or leave --adapter-only out"
        )
    zoo.merge(init)  # an adapter for another base is refused here
    base = zoo.base()
    adapted = zoo.recipe.build_base(base)
    adapter = adapter_from_arrays(init.weights, dict(init.metadata.layout.tensors))
    return Start(name, AdapterOnly(adapted, adapter), init.metadata, base)


def _initialised(name: str, zoo: Zoo, words: str, adapter_only: bool, seed: int) -> Init:
    starts = Initializer(zoo)
    if adapter_only and name in FROM_ZOO:
        weights = join_blocks(starts.adapter(name, words=words, seed=seed), zoo.layout)
    else:
        state = starts.network(name, words=words, seed=seed).state_dict()
        weights = {key: value.numpy() for key, value in state.items()}
        adapter_only = False
    wording = words if name in NEED_WORDS else name
    licence, source = zoo.config.licence, INITIALIZATIONS[name]
    kind = "adapter" if adapter_only else "merged"
    return _init_of(zoo, name, wording, weights, licence=licence, source=source, kind=kind)


def _check_path(target: str, zoo: Zoo) -> None:
    """A slip in a path should not make weights from its letters."""
    path = Path(target)
    is_below = "/" in target and path.parent.is_dir()
    is_file_name = bool(get_close_matches(path.suffix, [".safetensors"], n=1, cutoff=0.7))
    if (is_below or is_file_name or path.is_dir()) and zoo.index.find(target) is None:
        found = "is a folder" if path.is_dir() else "is not there"
        raise InvalidInit(f"'{target}' {found}. {_ADVICE}")


def _check_words(target: str, zoo: Zoo) -> None:
    """A slip in a name like he_normal should not make weights from the word."""
    close = get_close_matches(target, INITIALIZATIONS, n=1, cutoff=0.8)
    if close and zoo.index.find(target) is None:
        raise UnknownConcept(
            f"no initialization and no concept '{target}' in zoo '{zoo.name}'. Did you mean {close[0]}?"
        )


def read_network(path: Path, zoo: Zoo) -> dict[str, NDArray[np.float32]]:
    """Weights of the zoo's network from a safetensors file that need not be an init.

    Args:
        path: names and shapes as in `StarterNet.state_dict()`, float32 or float16.
        zoo: whose network it is.

    Raises:
        InvalidInit: the file cannot be read, or holds NaN or infinite values.
        LayoutMismatch: it holds weights of another network.
    """
    with reported_as(InvalidInit, f"'{path}'", _ADVICE):
        read_header(path)
    weights = {name: value.astype(np.float32) for name, value in load_file(path).items()}
    try:
        check_weights(weights, zoo.recipe.weight_shapes)
    except (LayoutMismatch, InvalidInit) as error:
        raise type(error)(f"'{path}' is not of the network of zoo '{zoo.name}': {error} {_ADVICE}") from error
    return weights


def is_plain_file(path: Path) -> bool:
    """Whether a file is a safetensors file with weights that is no init.

    Raises:
        InvalidInit: it is no safetensors file at all.
    """
    with reported_as(InvalidInit, f"'{path}'", _ADVICE):
        return "seal" not in read_header(path).metadata


def _read_init(path: Path, zoo: Zoo) -> Init:
    if not is_plain_file(path):
        return Init.load(path)
    weights = read_network(path, zoo)
    return _init_of(zoo, path.stem, path.stem, weights, licence="the owner's", source=path.name)


def _init_of(
    zoo: Zoo,
    name: str,
    wording: str,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    licence: str,
    source: str,
    kind: str = "merged",
) -> Init:
    """Weights that no zoo promised anything about, as an init."""
    metadata = InitMetadata(
        concept=name,
        wording=wording,
        origin="fine-tuned",
        zoo=zoo.name,
        revision=zoo.revision,
        recipe=zoo.recipe,
        base_sha256=zoo.config.base_sha256,
        scores={},
        licence=licence,
        source=source,
    )
    return Init(dict(weights), kind, metadata)
