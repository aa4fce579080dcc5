"""What fine-tuning starts from, and the init that it becomes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from initzoo.checkpoints import (
    SCORES,
    Init,
    InitMetadata,
    check_weights,
    join_blocks,
    merge_adapter,
    name_words,
)
from initzoo.errors import FinetuneError, InvalidInit, LayoutMismatch
from initzoo.files import IMAGE_SUFFIXES, read_header, reported_as
from initzoo.generator import FROM_ZOO, SCHEMES, File, Given, Request, Scheme, parse_given
from initzoo.networks import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Adapted,
    ImageNetwork,
    adapter_from_arrays,
    adapter_to_arrays,
    is_network_folder,
    load_network,
)
from initzoo.pairs import Score
from initzoo.training.schemes import Initializer
from initzoo.zoo import Zoo

__all__ = ["AdapterOnly", "Start", "open_init", "open_start", "start_from_init"]

_ADVICE = 'Give an init of initzoo, e.g. from initzoo pull "pencil sketch", or weights of its network'
_PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle", ".tar")


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


def open_start(
    given: Given | str | os.PathLike[str],
    zoo: Zoo,
    *,
    words: str = "",
    adapter_only: bool = False,
    seed: int = 0,
    warn: bool = True,
) -> Start:
    """Make ready what a user gave.

    Args:
        given: path of an init, or of a file or folder with the weights of the zoo's network; the name of an
            initialization scheme; or words for an edit. Texts are parsed by `parse_given`.
        zoo: where words are looked up, and whose network it is.
        words: what the edit should look like, for the schemes `nearest` and `generated`.
        adapter_only: train the adapter alone; what is given must have one.
        seed: draws the weights of a scheme.
        warn: give a `UserWarning` when generated weights are far from everything that the zoo knows.

    Raises:
        UnknownConcept: no concept has these words and the zoo has no weight generator.
        UnknownInitialization: it is almost the name of a scheme.
        InvalidInit: the file is damaged, no init, or not there.
        LayoutMismatch: it holds weights of another network.
        ChecksumMismatch: it holds an adapter for another base.
        FinetuneError: it has no adapter, and the adapter alone should be trained.
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
    """Make an init ready to be trained.

    Args:
        init: the weights.
        zoo: has the base that an adapter belongs to.
        adapter_only: train the adapter alone; the init must be one.

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
            f"{name} holds all weights in one, without an adapter to train alone. Pull one with "
            "initzoo pull CONCEPT --adapter-only, or leave --adapter-only out"
        )
    zoo.merge(init)  # an adapter for another base is refused here
    base = zoo.base()
    adapted = zoo.recipe.build_base(base)
    adapter = adapter_from_arrays(init.weights, dict(init.metadata.layout.tensors))
    return Start(name, AdapterOnly(adapted, adapter), init.metadata, base)


def open_init(
    given: Given,
    open_zoo: Callable[[], Zoo],
    *,
    draw: Request | None = None,
    adapter_only: bool = False,
    warn: bool = True,
) -> Init:
    """The init that a user gave, merged where not said otherwise.

    Args:
        given: as `parse_given` gives it. A file may hold the weights of any known network.
        open_zoo: gives the zoo; only called where one is needed.
        draw: seed of a scheme, and words for `nearest` and `generated`; None for seed 0 and no words.
        adapter_only: leave the adapter alone, where what is given has one besides the base.
        warn: give a `UserWarning` when generated weights are far from everything that the zoo knows.

    Raises:
        UnknownConcept: no concept has these words and the zoo has no weight generator.
        InvalidInit: the file is damaged, holds no weights, or is not there.
        LayoutMismatch: it holds weights of no known network.
        ChecksumMismatch: it holds an adapter for another base.
        InvalidWords, InvalidRequest, InvalidGenerator: as for `Initializer.network` and `Zoo.pull`.
    """
    match given:
        case File(path):
            _check_file(path)
            if os.path.isdir(path) or _is_plain_file(path):
                network = load_network(path)
                return Init.from_model(network, name=path.stem, licence="the owner's", source=path.name)
            init = Init.load(path)
            return init if init.kind == "merged" else open_zoo().merge(init)
        case Scheme():
            return _initialised(given, open_zoo(), draw or Request(), adapter_only)
        case _:
            return open_zoo().pull(given, adapter_only=adapter_only, warn=warn)


def _initialised(scheme: Scheme, zoo: Zoo, draw: Request, adapter_only: bool) -> Init:
    name, starts = scheme.name, Initializer(zoo)
    is_adapter = adapter_only and name in FROM_ZOO
    if is_adapter:
        weights = join_blocks(starts.adapter(name, draw), zoo.layout)
    else:
        weights = starts.network(name, draw).to_arrays()
    return _init_of(
        zoo,
        name,
        draw.words if scheme.needs_words else name,
        weights,
        origin="scheme",
        licence=zoo.config.licence,
        source=SCHEMES[name],
        kind="adapter" if is_adapter else "merged",
    )


def _check_file(path: Path) -> None:
    """Refuse in plain words what cannot hold weights."""
    if os.path.isdir(path) and not is_network_folder(path):
        raise InvalidInit(f"'{path}' is a folder without {CONFIG_FILE} and {WEIGHTS_FILE}. {_ADVICE}")
    if not os.path.exists(path):
        raise InvalidInit(f"'{path}' is not there. {_ADVICE}, or words for an edit, without a slash")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InvalidInit(f"'{path}' is an image and holds no weights. {_ADVICE}")
    if path.suffix.lower() in _PICKLES:
        raise InvalidInit(
            f"'{path}' is not a safetensors file, and other files can run code when they are read. Save the "
            f"weights with safetensors.torch.save_file(model.state_dict(), '{path.stem}.safetensors')"
        )


def _read_network(path: Path, zoo: Zoo) -> dict[str, NDArray[np.float32]]:
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


def _is_plain_file(path: Path) -> bool:
    """Whether a file is a safetensors file with weights that is no init.

    Raises:
        InvalidInit: it is no safetensors file at all.
    """
    with reported_as(InvalidInit, f"'{path}'", _ADVICE):
        return "seal" not in read_header(path).metadata


def _read_init(path: Path, zoo: Zoo) -> Init:
    """An init from a file, or from plain weights of the zoo's own network."""
    _check_file(path)
    if not os.path.isdir(path) and not _is_plain_file(path):
        return Init.load(path)
    weights = _read_network(path / WEIGHTS_FILE if os.path.isdir(path) else path, zoo)
    return _init_of(
        zoo, path.stem, path.stem, weights, origin="fine-tuned", licence="the owner's", source=path.name
    )


def _init_of(
    zoo: Zoo,
    name: str,
    wording: str,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    origin: str,
    licence: str,
    source: str,
    kind: str = "merged",
) -> Init:
    """Weights that no zoo promised anything about, as an init."""
    metadata = InitMetadata(
        concept=name,
        wording=wording,
        origin=origin,
        zoo=zoo.name,
        revision=zoo.revision,
        recipe=zoo.recipe,
        base_sha256=zoo.config.base_sha256,
        scores=dict.fromkeys(SCORES),
        licence=licence,
        source=source,
    )
    return Init(dict(weights), kind, metadata)
