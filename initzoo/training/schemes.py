"""Initializations by name: the classical ones, and those that a zoo gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.checkpoints.recipe import NetworkShape
from initzoo.errors import InvalidGenerator, InvalidWords, UnknownInitialization
from initzoo.files.digests import is_file
from initzoo.generator.baselines import NearestPredictor, TaughtAdapters
from initzoo.generator.model import WeightGenerator
from initzoo.generator.tokens import TokenVectors
from initzoo.networks.adapters import AdaptedPix2Pix
from initzoo.networks.starter import Pix2Pix, network_of
from initzoo.zoo.zoo import Zoo

__all__ = [
    "CLASSICAL",
    "FROM_ZOO",
    "INITIALIZATIONS",
    "NEED_WORDS",
    "Initializer",
    "check_initialization",
    "initialise",
]

INITIALIZATIONS = {
    "zeros": "all weights zero",
    "constant": "all weights 0.02",
    "uniform": "uniform from -0.05 to 0.05",
    "normal": "normal with standard deviation 0.02, as pix2pix does (Isola et al. 2017)",
    "truncated_normal": "the same, cut off at two standard deviations",
    "xavier_uniform": "uniform, by fan-in and fan-out (Glorot, Bengio 2010)",
    "xavier_normal": "normal, by fan-in and fan-out (Glorot, Bengio 2010)",
    "he_uniform": "uniform, by fan-in, gain of a ReLU (He et al. 2015)",
    "he_normal": "normal, by fan-in, gain of a ReLU (He et al. 2015)",
    "orthogonal": "orthogonal rows (Saxe et al. 2014)",
    "dirac": "every layer passes its first channels on (torch.nn.init.dirac_)",
    "eye": "identity where a layer is a plain matrix, PyTorch's default elsewhere",
    "sparse": "normal with standard deviation 0.1, nine in ten weights of a unit zero (Martens 2010)",
    "pytorch": "PyTorch's default of a convolution",
    "he_residual": "He normal, last layers small: what the zoo's own base was trained from",
    "base": "the zoo's base with an adapter of zeros",
    "mean": "the base with the mean of the zoo's train adapters",
    "nearest": "the train checkpoint whose wording is nearest to the words",
    "generated": "what the zoo's weight generator makes of the words",
}
"""What each initialization is, by name."""

FROM_ZOO = ("base", "mean", "nearest", "generated")
"""Those that need a zoo; the last two need words as well."""

CLASSICAL = tuple(name for name in INITIALIZATIONS if name not in FROM_ZOO)
"""Those that need nothing but the network."""

NEED_WORDS = ("nearest", "generated")
"""Those of `FROM_ZOO` that depend on the words, through the vectors that the weight generator ships."""

_SIZE = 0.02

_FILLS: dict[str, Callable[[Tensor], object]] = {
    "zeros": nn.init.zeros_,
    "constant": lambda weight: nn.init.constant_(weight, _SIZE),
    "uniform": lambda weight: nn.init.uniform_(weight, -0.05, 0.05),
    "normal": lambda weight: nn.init.normal_(weight, 0.0, _SIZE),
    "truncated_normal": lambda weight: nn.init.trunc_normal_(weight, 0.0, _SIZE, -2 * _SIZE, 2 * _SIZE),
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "dirac": nn.init.dirac_,
    # In torch's sense a unit is a column.
    "sparse": lambda weight: nn.init.sparse_(weight.flatten(1).T, sparsity=0.9, std=0.1),
}


def check_initialization(name: str) -> None:
    """Make sure that there is an initialization of that name.

    Raises:
        UnknownInitialization: there is none; the message lists all.
    """
    if name not in INITIALIZATIONS:
        known = ", ".join(INITIALIZATIONS)
        raise UnknownInitialization(f"no initialization {name[:60]!r}. Take one of: {known}")


@torch.no_grad()
def initialise(module: nn.Module, name: str, *, seed: int) -> None:
    """Give all convolutions of a network first weights of a classical kind; biases are zero.

    PyTorch's default draws its biases too. Normalisation layers are left as they are.

    Args:
        module: changed in place, on the CPU.
        name: one of `CLASSICAL`, but `he_residual`, which is for one network only.
        seed: draws the weights.

    Raises:
        UnknownInitialization: it is none of these.

    Example:
        >>> layer = nn.Conv2d(2, 4, 3)
        >>> initialise(layer, "constant", seed=0)
        >>> layer.weight.unique().tolist() == [layer.weight[0, 0, 0, 0].item()], layer.bias.tolist()
        (True, [0.0, 0.0, 0.0, 0.0])
    """
    if name not in CLASSICAL or name == "he_residual":
        raise UnknownInitialization(f"{name!r} is no classical initialization of any network.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in module.modules():
            if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                continue
            if name in _FILLS:
                _FILLS[name](layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            else:
                layer.reset_parameters()
                if name == "eye" and layer.kernel_size == (1, 1):
                    nn.init.eye_(layer.weight.flatten(1))


def _check_needed(name: str, words: str) -> None:
    if name in NEED_WORDS and not words.strip():
        raise InvalidWords(f"initialization '{name}' needs words, e.g. --words \"faded teal\"")


class Initializer:
    """Makes networks of one zoo's recipe, with first weights of any kind; what it loads, it keeps.

    Args:
        zoo: gives the recipe, and the weights of `FROM_ZOO`.

    Example:
        >>> model = Initializer(Zoo.from_pretrained("starter")).network("orthogonal", seed=0)
        >>> model(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo

    def network(self, name: str, *, words: str = "", seed: int = 0) -> Pix2Pix:
        """A network with first weights of a kind.

        The photo's own way to the end, `skip`, is part of this network as shortcuts are of a ResNet: it
        lets the photo through under each classical kind, of which none would be better off without it.

        Args:
            name: one of `INITIALIZATIONS`.
            words: what the edit should look like, for `nearest` and `generated`.
            seed: draws the weights.

        Raises:
            UnknownInitialization: there is none of that name.
            InvalidWords: it needs words, and there are none, or they cannot be read.
            InvalidGenerator: it needs the zoo's weight generator, and there is none, or it is damaged.
            InvalidZoo, ChecksumMismatch: the zoo is damaged.
        """
        check_initialization(name)
        if name in FROM_ZOO:
            return network_of(self.zoo, self.adapter(name, words=words, seed=seed))
        return self._classical(name, seed)

    def adapter(self, name: str, *, words: str = "", seed: int = 0) -> NDArray[np.float32]:
        """The adapter that makes the base a network with first weights of a kind.

        Args:
            name: one of `FROM_ZOO`.
            words: as for `network`.
            seed: of the noise that `generated` is denoised from.

        Returns:
            Blocks, float32, shape `(n_blocks, block_size)`.

        Raises:
            UnknownInitialization: it is none of these.
            InvalidWords, InvalidGenerator, InvalidZoo, ChecksumMismatch: as for `network`.
        """
        adapters: dict[str, Callable[[], NDArray[np.float32]]] = {
            "base": lambda: np.zeros((self.zoo.layout.n_blocks, self.zoo.layout.block_size), np.float32),
            "mean": lambda: self._mean,
            "nearest": lambda: NearestPredictor(self._taught).predict([words])[0],
            "generated": lambda: self._generator.generate(words, seed=seed),
        }
        if name not in adapters:
            raise UnknownInitialization(f"{name!r} has no adapter. Take one of: {', '.join(adapters)}")
        _check_needed(name, words)
        return adapters[name]()

    def _classical(self, name: str, seed: int) -> Pix2Pix:
        if name == "he_residual":
            generator = torch.Generator().manual_seed(seed)
            return self._from_base(AdaptedPix2Pix(self._shape, generator=generator).to_arrays())
        model = Pix2Pix(self._shape)
        initialise(model, name, seed=seed)
        skip = model.get_submodule("skip")
        nn.init.dirac_(skip.get_parameter("weight"))
        nn.init.zeros_(skip.get_parameter("bias"))
        return model

    def _from_base(self, weights: Mapping[str, NDArray[np.float32]]) -> Pix2Pix:
        model = Pix2Pix(self._shape)
        model.load_merged({name: array for name, array in weights.items() if not name.endswith(".A")})
        return model

    @property
    def _shape(self) -> NetworkShape:
        return self.zoo.recipe.network

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        return self.zoo.mean_adapter_blocks()

    @cached_property
    def _generator(self) -> WeightGenerator:
        generator = WeightGenerator.from_pretrained(self._generator_folder("generated", "config.json"))
        generator.check_made_for(base_sha256=self.zoo.config.base_sha256, layout=self.zoo.layout)
        return generator

    @cached_property
    def _taught(self) -> TaughtAdapters:
        folder = self._generator_folder("nearest", "text/tokenizer.json")
        return self.zoo.taught_adapters(TokenVectors.from_folder(folder / "text"))

    def _generator_folder(self, name: str, needed: str) -> Path:
        folder = self.zoo.generator_folder
        if not is_file(folder / needed):
            raise InvalidGenerator(
                f"initialization '{name}' needs the weight generator of zoo '{self.zoo.name}', and there is "
                f"none in {folder}. Train one: initzoo generator train --out {folder}; or take another one"
            )
        return folder
