"""Initializations by name: the classical ones, and those that a zoo gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from initzoo.errors import InvalidWords, UnknownInitialization
from initzoo.generator.baselines import NearestPredictor, TaughtAdapters
from initzoo.generator.encoders import WordsEncoder
from initzoo.generator.request import Request
from initzoo.generator.tokens import TokenVectors
from initzoo.networks.adapters import Adapted
from initzoo.networks.network import ImageNetwork
from initzoo.networks.schemes import CLASSICAL, initialise
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

_DESCRIPTIONS = {
    "base": "the zoo's base with an adapter of zeros",
    "mean": "the base with the mean of the zoo's train adapters",
    "nearest": "the train checkpoint whose wording is nearest to the words",
    "generated": "what the zoo's weight generator makes of the words",
}

FROM_ZOO = tuple(_DESCRIPTIONS)
"""Starts that a zoo gives; the last two need words as well."""

INITIALIZATIONS = {**CLASSICAL, **_DESCRIPTIONS}
"""What each initialization is, by name."""

NEED_WORDS = ("nearest", "generated")
"""Those of `FROM_ZOO` that depend on the words, through the vectors that the weight generator ships."""


def check_initialization(name: str) -> None:
    """Make sure that there is an initialization of that name.

    Raises:
        UnknownInitialization: there is none; the message lists all.
    """
    if name not in INITIALIZATIONS:
        known = ", ".join(INITIALIZATIONS)
        raise UnknownInitialization(f"no initialization {name[:60]!r}. Take one of: {known}")


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

    def network(self, name: str, *, words: str = "", seed: int = 0) -> ImageNetwork:
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
            return self.zoo.network(self.adapter(name, words=words, seed=seed))
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
            "nearest": lambda: NearestPredictor(self._taught).predict([Request(words)])[0],
            "generated": lambda: self.zoo.generator.generate(Request(words, seed=seed)),
        }
        if name not in adapters:
            raise UnknownInitialization(f"{name!r} has no adapter. Take one of: {', '.join(adapters)}")
        _check_needed(name, words)
        return adapters[name]()

    def _classical(self, name: str, seed: int) -> ImageNetwork:
        recipe = self.zoo.recipe
        network = recipe.network.build()
        if name == "he_residual":
            # As a harvest draws its base: shared A takes part, though nothing of it remains.
            Adapted(network, recipe.ranks, generator=torch.Generator().manual_seed(seed))
            return self._plain(network)
        initialise(network, name, seed=seed)
        network.blank()
        return network

    def _plain(self, network: ImageNetwork) -> ImageNetwork:
        """The same network without the hooks of adapters."""
        plain = self.zoo.recipe.network.build()
        plain.load_state_dict(network.state_dict())
        return plain

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        return self.zoo.mean_adapter_blocks()

    @cached_property
    def _taught(self) -> TaughtAdapters:
        vectors = TokenVectors.from_folder(self.zoo.generator_folder / "text")
        return self.zoo.taught_adapters(WordsEncoder(vectors))
