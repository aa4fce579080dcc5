"""The weight generator: a diffusion model that generates the weight blocks of an adapter from a request.

On disk it is a folder of three parts: `config.json`, with its base, layout and the digests of the other
files; `model.safetensors`, with the denoiser and the mean and scale of the train adapters; and `text/`, the
token vectors.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import Layout, join_blocks, split_blocks, value_mask
from initzoo.errors import InvalidGenerator, LayoutMismatch, OutputError
from initzoo.files import (
    DamagedFile,
    encode_tensors,
    read_settings,
    replace_folder,
    reported_as,
    to_plain,
    write_bytes,
    write_json,
)
from initzoo.generator.encoders import TextModel, encoder_class
from initzoo.generator.files import (
    PAIRS_FILE,
    GeneratorFiles,
    check_same_base,
    phrase_folder_beside,
    read_generator_files,
)
from initzoo.generator.packed import pack_weights
from initzoo.generator.request import Request, RequestOptions, as_request
from initzoo.generator.runners import GRAPH_FILE, GraphRunner, Runner, TorchRunner
from initzoo.generator.sampler import sample
from initzoo.generator.shape import DenoiserShape
from initzoo.generator.trust import is_bundled_graph

if TYPE_CHECKING:
    from torch import Tensor, nn

    from initzoo.generator.passes import PairPasses

__all__ = ["GeneratorConfig", "WeightGenerator", "build_denoiser"]

_MAX_LAYERS = 64
_MAX_BLOCKS = 2**20
"""Blocks of a denoiser that reads them in windows; another one reads at most 2**16."""

_LEAST_WINDOW = 4
_MAY_BE_ZERO = ("n_learned", "n_phrase_values", "n_colour_values", "window", "n_projections")
DENOISER_KINDS = ("joint", "unet")
"""The keys of `DENOISERS`, which torch's import would delay."""

_DRAWING = Lock()  # the random state of torch is one for all threads
_ADVICE = "Get the weight generator again."
_NORMALISATION = ("mean", "scale")


@dataclass(frozen=True)
class GeneratorConfig:
    """The config of a weight generator.

    Args:
        kind: key of the denoiser in `DENOISERS`.
        shape: sizes of the denoiser.
        layout: layout of the generated adapters, that of the recipe.
        recipe: name of the recipe.
        base_sha256: digest of the base of the adapters.
        n_train_concepts: number of train concepts.
        is_regressor: whether it was trained without noise and takes none.
        licence: licence of the weights.
        text: origin and licence of the token vectors.
        learned_tokens: tokens with a learned vector in the denoiser, in the order of its rows.
        training: settings and figures of the training, as JSON values.
        pairs: sizes of the denoiser of pairs; None for a generator that reads words alone.
    """

    kind: str
    shape: DenoiserShape
    layout: Layout
    recipe: str
    base_sha256: str
    n_train_concepts: int = 0
    is_regressor: bool = False
    licence: str = "Apache-2.0"
    text: Mapping[str, str] = field(default_factory=dict)
    learned_tokens: tuple[int, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    pairs: DenoiserShape | None = None

    def __post_init__(self) -> None:
        """Refuse unreasonable sizes before memory is allocated for them."""
        for shape in (self.shape, self.pairs or self.shape):
            if not _is_sound(shape):
                raise ValueError("the sizes of the denoiser are invalid")
            if shape.n_blocks != self.own_layout.n_blocks:
                raise ValueError("the sizes of the denoiser are invalid: its blocks do not fit its layout")
        if self.pairs is not None and self.pairs.block_size != self.shape.block_size:
            raise ValueError("the denoiser of pairs has other blocks than that of words")
        if len({*self.learned_tokens}) != self.shape.n_learned or min(self.learned_tokens, default=0) < 0:
            raise ValueError("the learned tokens do not fit the denoiser")

    @cached_property
    def own_layout(self) -> Layout:
        """The layout of the denoiser's blocks: the same values, possibly with another block size."""
        return replace(self.layout, block_size=self.shape.block_size)


def _is_sound(shape: DenoiserShape) -> bool:
    sizes = {name: size for name, size in asdict(shape).items() if type(size) is int}
    least = dict.fromkeys(sizes, 1) | dict.fromkeys(_MAY_BE_ZERO, 0)
    most = dict.fromkeys(sizes, 2**16) | ({"n_blocks": _MAX_BLOCKS} if shape.window else {})
    is_sound = all(least[name] <= size <= most[name] for name, size in sizes.items())
    return (
        is_sound
        and (shape.window == 0 or _LEAST_WINDOW <= shape.window < shape.n_blocks)
        and shape.n_projections <= (shape.n_blocks if shape.window else 0)
        and max(shape.n_layers, shape.n_word_layers) <= _MAX_LAYERS
        and not shape.width % shape.n_heads
    )


def build_denoiser(kind: str, shape: DenoiserShape, *, seed: int) -> nn.Module:
    """Build a denoiser with initial weights that depend on `seed` only."""
    import torch

    from initzoo.generator.denoisers import DENOISERS

    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DENOISERS[kind](shape)


class WeightGenerator:
    """Generates weight blocks from requests. Open one with `WeightGenerator.from_pretrained`.

    A request gives the same bytes on one machine, whatever the number of threads and the other requests of a
    call. Threads can share a generator.

    The weights of the denoiser are rounded to float16, so that a generator gives the same results before and
    after saving. On disk those that a training rounded to eight bits take half of that.

    Args:
        config: the config.
        denoiser: result of `build_denoiser`, whose parameters are rounded in place, or a runner.
        text: the text model that the encoder reads words with.
        mean: mean of the train adapters, float32, blocks of `config.own_layout`.
        scale: divisor of the residuals, float32, same shape, positive; 1 at padding.
        graph: the denoiser as an ONNX file for `GraphRunner`, with which it runs without torch.
        pair_weights: reads the weights of the denoiser of pairs, float16 by name, for a config that has one.

    Example:
        >>> generator = WeightGenerator.from_pretrained("weight_generator")  # doctest: +SKIP
        >>> generator.generate("faded teal charcoal at dusk").shape  # doctest: +SKIP
        (12, 256)
    """

    def __init__(
        self,
        config: GeneratorConfig,
        denoiser: nn.Module | Runner,
        text: TextModel,
        *,
        mean: NDArray[np.float32],
        scale: NDArray[np.float32],
        graph: bytes | None = None,
        pair_weights: Callable[[], Mapping[str, NDArray[np.float16]]] | None = None,
    ) -> None:
        self.config = config
        self._pair_weights = pair_weights
        self.text = text
        self.mean, self.scale = mean, scale
        self._mask = value_mask(config.own_layout)
        self.encoder = encoder_class(config.shape.encoder)(
            text, shape=config.shape, learned_tokens=config.learned_tokens
        )
        for name, array in zip(_NORMALISATION, (mean, scale), strict=True):
            if array.shape != self._mask.shape or array.dtype != np.float32 or not np.isfinite(array).all():
                raise LayoutMismatch(
                    f"{name}: expected finite float32 of shape {self._mask.shape}, "
                    f"found {array.dtype} of shape {array.shape}"
                )
        runner: Any = TorchRunner(denoiser) if hasattr(denoiser, "state_dict") else denoiser  # type: ignore[arg-type]
        self.graph = graph
        self._runner: Runner = GraphRunner(graph, runner.weights()) if graph is not None else runner

    @property
    def layout(self) -> Layout:
        """The layout of the generated blocks, that of the recipe."""
        return self.config.layout

    def check_made_for(self, *, base_sha256: str, layout: Layout) -> None:
        """Check that the generator was made for a base and layout.

        Args:
            base_sha256: digest of the base's weights.
            layout: layout of the base's recipe.

        Raises:
            LayoutMismatch: it was made for another layout.
            ChecksumMismatch: it was made for another base.
        """
        check_same_base(
            own_base=self.config.base_sha256, own_layout=self.layout, base_sha256=base_sha256, layout=layout
        )

    def generate(self, request: Request | str, **options: Unpack[RequestOptions]) -> NDArray[np.float32]:
        """Generate the weight blocks of an adapter.

        Args:
            request: a request, or its words: a description of the edit in plain English.
            options: fields of the `Request` if `request` is a string: `seed`, `n_timesteps`.

        Returns:
            Blocks of `layout`, float32, shape `(n_blocks, block_size)`.

        Raises:
            InvalidWords: the words are empty, too long, or have no known token.
            InvalidRequest: the request has a condition that the weight generator does not read.
            TypeError: seed or timesteps are not integers.
            ValueError: they are out of range, or the origin is `exact`.

        Example:
            >>> from initzoo import Zoo
            >>> generator = Zoo.from_pretrained("starter").generator
            >>> generator.generate("faded teal charcoal at dusk", seed=3).shape == (
            ...     generator.layout.n_blocks,
            ...     generator.layout.block_size,
            ... )
            True
        """
        blocks: NDArray[np.float32] = self.generate_many([as_request(request, **options)])[0]
        return blocks

    def generate_many(
        self, requests: Sequence[Request | str], **options: Unpack[RequestOptions]
    ) -> NDArray[np.float32]:
        """Generate adapters for several requests. Requests with the same seed start from the same noise.

        Args:
            requests: requests, or their words.
            options: fields of the `Request` for all requests that are strings.

        Returns:
            Blocks, float32, shape `(n_requests, n_blocks, block_size)`.

        Raises:
            InvalidWords, InvalidRequest, TypeError, ValueError: as for `generate`; `requests` must not be a
                string.
        """
        if isinstance(requests, str):
            raise TypeError("expected several requests, found a text; generate() takes a single one")
        asked = [as_request(request, **options) for request in requests]
        for request in asked:
            if request.origin == "exact":
                raise ValueError("origin 'exact' asks for a checkpoint, and a weight generator holds none")
            self.encoder.check(request)
        blocks = np.zeros((len(asked), self.layout.n_blocks, self.layout.block_size), np.float32)
        # One by one and in one thread: sums of floats depend on the size of the batch and on how threads
        # share them, and the same request must give the same bytes in any company.
        for row, request in enumerate(asked):
            blocks[row] = self._denoise(request)
        return blocks

    def _denoise(self, request: Request) -> NDArray[np.float32]:
        """Blocks of `layout`, shape `(n_blocks, block_size)`."""
        context = self.encoder.arrays([request])
        noise = np.random.default_rng(request.seed).standard_normal((1, *self._mask.shape), dtype=np.float32)
        n_timesteps = request.n_timesteps
        if self.config.is_regressor:
            noise, n_timesteps = np.zeros_like(noise), 1

        def denoise(noised: NDArray[np.float32], timestep: float) -> NDArray[np.float32]:
            return self._runner(noised, timestep, context)

        # The denoiser works on residuals from the mean adapter, in units of `scale`.
        residuals = sample(denoise, noise, n_timesteps=n_timesteps)[0]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            blocks = np.where(self._mask, self.mean + residuals * self.scale, np.float32(0)).astype(
                np.float32
            )
        if not np.isfinite(blocks).all():
            raise InvalidGenerator(
                "weight generator: it makes weights that are NaN or infinite of these words. "
                "Get the weight generator again, or use other words."
            )
        if self.config.own_layout == self.layout:
            return blocks
        return split_blocks(join_blocks(blocks, self.config.own_layout), self.layout)

    @property
    def reads_pairs(self) -> bool:
        """Whether it has a denoiser of pairs."""
        return self.config.pairs is not None and self._pair_weights is not None

    def pair_passes(self, words: str = "") -> PairPasses:
        """The passes that refine adapters by example pairs, and by words where there are some. Loads torch.

        Raises:
            InvalidGenerator: the weight generator reads words alone, or its file is damaged.
            InvalidWords: the words cannot be read.
        """
        from initzoo.generator.passes import PairPasses, build_pair_denoiser

        if self.config.pairs is None or self._pair_weights is None:
            raise InvalidGenerator("the weight generator reads words alone")
        with reported_as(InvalidGenerator, "weight generator 'pairs.safetensors'", _ADVICE):
            denoiser = build_pair_denoiser(self.config.pairs, self._pair_weights())
        return PairPasses(
            denoiser,
            self.encoder.arrays([Request(words)]) if words else None,
            mean=self.mean,
            scale=self.scale,
            mask=self._mask,
            licence=self.config.licence,
        )

    def flat_weights(self) -> Tensor:
        """A copy of all parameters of the denoiser, concatenated, float32, shape `(n_parameters,)`."""
        import torch

        module = build_denoiser(self.config.kind, self.config.shape, seed=0)
        named = self.named_weights()
        return torch.cat([named[name].flatten() for name, _ in module.named_parameters()])

    def named_weights(self) -> dict[str, Tensor]:
        """A copy of each parameter of the denoiser by name, float32."""
        import torch

        return {name: torch.from_numpy(value).float() for name, value in self._runner.weights().items()}

    def with_graph(self, graph: bytes) -> WeightGenerator:
        """The same generator, which runs as a graph; see `GraphRunner`.

        Raises:
            DamagedFile: the graph cannot be read, or takes other weights.
        """
        return WeightGenerator(
            self.config,
            self._runner,
            self.text,
            mean=self.mean,
            scale=self.scale,
            graph=graph,
            pair_weights=self._pair_weights,
        )

    def with_pairs(self, shape: DenoiserShape, weights: Mapping[str, NDArray[np.float16]]) -> WeightGenerator:
        """The same generator with a denoiser of pairs."""
        config = replace(self.config, pairs=shape)
        given = dict(weights)
        return WeightGenerator(
            config,
            self._runner,
            self.text,
            mean=self.mean,
            scale=self.scale,
            graph=self.graph,
            pair_weights=lambda: given,
        )

    def save_pretrained(self, folder: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the generator as a folder, atomically. Equal generators give the same bytes.

        Raises:
            OutputError: the folder is not empty and `force` is False, or it cannot be written.
        """
        state = {f"denoiser.{name}": value for name, value in pack_weights(self._runner.weights()).items()}
        metadata = {"format_version": "1", "kind": "weight_generator"}
        data = encode_tensors(state | {"mean": self.mean, "scale": self.scale}, metadata)
        digests = {"weights_sha256": hashlib.sha256(data).hexdigest(), "text_sha256": self.text.digest}
        if self.graph is not None:
            digests["graph_sha256"] = hashlib.sha256(self.graph).hexdigest()
        pairs = None
        if self._pair_weights is not None:
            pairs = encode_tensors(pack_weights(self._pair_weights()), metadata)
            digests["pairs_sha256"] = hashlib.sha256(pairs).hexdigest()
        text = write_json(to_plain(self.config) | {"layout": self.layout.to_dict()} | digests)
        _make_parent(Path(folder))
        with replace_folder(Path(folder), force=force) as new:
            write_bytes(new / "config.json", text, force=False)
            write_bytes(new / "model.safetensors", data, force=False)
            if self.graph is not None:
                write_bytes(new / GRAPH_FILE, self.graph, force=False)
            if pairs is not None:
                write_bytes(new / PAIRS_FILE, pairs, force=False)
            if _has_phrases(Path(folder), self.text.digest):
                return
            try:
                (new / "text").mkdir()
            except OSError as error:
                raise OutputError(f"cannot make the folder '{new / 'text'}': {error.strerror}.") from error
            for name, content in self.text.to_files().items():
                write_bytes(new / "text" / name, content, force=False)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> WeightGenerator:
        """Read a weight generator and check every byte of it.

        Args:
            folder: folder with `config.json`, `model.safetensors` and `text/`.

        Raises:
            InvalidGenerator: a file is missing, damaged, or made by another version of initzoo.
            ChecksumMismatch: the weights do not match the digest in the config.
        """
        return cls.from_files(read_generator_files(folder))

    @classmethod
    def from_files(cls, files: GeneratorFiles) -> WeightGenerator:
        """Build a weight generator from files that were read already.

        Raises:
            InvalidGenerator: the files do not fit each other or this version of initzoo.
        """
        with reported_as(InvalidGenerator, f"weight generator '{files.folder / 'config.json'}'", _ADVICE):
            config = read_settings(files.config, GeneratorConfig)
            if config.kind not in DENOISER_KINDS:
                raise DamagedFile(
                    f"names the denoiser {config.kind[:40]!r}, known are {', '.join(DENOISER_KINDS)}"
                )
            encoder_class(config.shape.encoder)
        with reported_as(
            InvalidGenerator, f"weight generator '{files.folder / 'model.safetensors'}'", _ADVICE
        ):
            runner: Runner
            if files.graph is not None and is_bundled_graph(files.graph):
                runner = _open_graph(files.graph, files.tensors, config)
            else:
                runner = _build(files.tensors, config)
        with reported_as(InvalidGenerator, f"text model of '{files.folder}'", _ADVICE):
            if files.text.n_values != config.shape.n_word_values:
                raise DamagedFile(
                    f"have {files.text.n_values} values a token, "
                    f"the denoiser expects {config.shape.n_word_values}"
                )
        mean, scale = (files.tensors[name] for name in _NORMALISATION)
        pair_weights = files.pair_weights if config.pairs is not None else None
        generator = cls(config, runner, files.text, mean=mean, scale=scale, pair_weights=pair_weights)
        generator.graph = files.graph
        return generator


def _has_phrases(folder: Path, digest: str) -> bool:
    """Whether the zoo around a weight generator's folder has the phrase encoder of a digest."""
    config = phrase_folder_beside(folder) / "config.json"
    return config.is_file() and hashlib.sha256(config.read_bytes()).hexdigest() == digest


def _make_parent(folder: Path) -> None:
    """Create the folder `weight_generator` of a zoo that has none yet."""
    parent = folder.absolute().parent
    try:
        if parent.name == "weight_generator":
            parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {parent}: {error.strerror}.") from error


def _open_graph(graph: bytes, tensors: Mapping[str, np.ndarray], config: GeneratorConfig) -> GraphRunner:
    """The denoiser as a graph; the graph says which weights it takes."""
    prefix = "denoiser."
    weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    _check_tensors({name: value.shape for name, value in weights.items()}, tensors, config)
    return GraphRunner(graph, weights)


def _build(tensors: Mapping[str, np.ndarray], config: GeneratorConfig) -> TorchRunner:
    """The denoiser as a torch module."""
    import torch

    from initzoo.generator.denoisers import DENOISERS

    with torch.device("meta"):  # checks shapes without allocating memory
        expected = DENOISERS[config.kind](config.shape).state_dict()
    _check_tensors({name: tuple(value.shape) for name, value in expected.items()}, tensors, config)
    denoiser = build_denoiser(config.kind, config.shape, seed=0)
    state = {name: torch.from_numpy(tensors[f"denoiser.{name}"]).float() for name in expected}
    denoiser.load_state_dict(state, strict=True)
    return TorchRunner(denoiser)


def _check_tensors(
    state: Mapping[str, tuple[int, ...]], tensors: Mapping[str, np.ndarray], config: GeneratorConfig
) -> None:
    """Check that tensors have exactly the names and shapes of a denoiser, and that `scale` is positive."""
    blocks = (config.shape.n_blocks, config.shape.block_size)
    expected: dict[str, tuple[tuple[int, ...], Any]] = {
        f"denoiser.{name}": (shape, np.float16) for name, shape in state.items()
    }
    expected |= dict.fromkeys(_NORMALISATION, (blocks, np.float32))
    for name in sorted(set(expected) | set(tensors)):
        if name not in tensors:
            raise DamagedFile(f"tensor '{name}': expected shape {expected[name][0]}, found no such tensor")
        if name not in expected:
            raise DamagedFile(f"tensor '{name}': a {config.kind} denoiser has no such tensor")
        shape, dtype = expected[name]
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise DamagedFile(
                f"tensor '{name}': expected {np.dtype(dtype)} {shape}, found {tensor.dtype} {tensor.shape}"
            )
    if tensors["scale"].min() <= 0:
        raise DamagedFile("tensor 'scale': expected values above zero")
