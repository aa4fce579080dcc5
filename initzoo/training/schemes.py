"""Initialization schemes by name: classical ones, and those of a zoo."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from initzoo.errors import InvalidWords, UnknownInitialization
from initzoo.generator import (
    FROM_ZOO,
    SCHEMES,
    NearestPredictor,
    Request,
    Scheme,
    TaughtAdapters,
)
from initzoo.networks import Adapted, ImageNetwork, initialise
from initzoo.zoo import Zoo

__all__ = ["Initializer", "check_initialization"]


def check_initialization(name: str) -> None:
    """Check that an initialization scheme of a name exists.

    Raises:
        UnknownInitialization: it does not exist; the message lists all schemes.
    """
    if name not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise UnknownInitialization(f"no initialization {name[:60]!r}. Take one of: {known}")


class Initializer:
    """Makes networks of a zoo's recipe with initial weights of any scheme. Caches what it loads.

    Args:
        zoo: the zoo, for its recipe and for the schemes in `FROM_ZOO`.

    Example:
        >>> model = Initializer(Zoo.from_pretrained("starter")).network("orthogonal")
        >>> model(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo

    def network(self, name: str, request: Request | None = None) -> ImageNetwork:
        """Make a network with the initial weights of a scheme.

        The path of the photo to the output belongs to the network, like the shortcuts of a ResNet. It passes
        the photo unchanged under all classical schemes, which would be worse without it.

        Args:
            name: one of `SCHEMES`.
            request: the seed of the weights, and the words or pairs for `nearest` and `generated`; seed 0
                without words by default.

        Raises:
            UnknownInitialization: the scheme does not exist.
            InvalidWords: the scheme needs words, and they are missing or cannot be read.
            InvalidRequest: the request has example pairs, and words alone are read.
            InvalidGenerator: the scheme needs the zoo's weight generator, which is missing or damaged.
            InvalidZoo, ChecksumMismatch: the zoo is damaged.
        """
        check_initialization(name)
        if name in FROM_ZOO:
            return self.zoo.network(self.adapter(name, request))
        return self._classical(name, (request or Request()).seed)

    def adapter(self, name: str, request: Request | None = None) -> NDArray[np.float32]:
        """Make the adapter of a scheme, to be merged into the base.

        Args:
            name: one of `FROM_ZOO`.
            request: as for `network`.

        Returns:
            Blocks, float32, shape `(n_blocks, block_size)`.

        Raises:
            UnknownInitialization: the scheme is not one of these.
            InvalidWords, InvalidRequest, InvalidGenerator, InvalidZoo, ChecksumMismatch: as for `network`.
        """
        asked = request or Request()
        adapters: dict[str, Callable[[], NDArray[np.float32]]] = {
            "base": lambda: np.zeros((self.zoo.layout.n_blocks, self.zoo.layout.block_size), np.float32),
            "mean": lambda: self._mean,
            "nearest": lambda: NearestPredictor(self._taught).predict([asked])[0],
            "generated": lambda: self.zoo.generator.generate(asked),
        }
        if name not in adapters:
            raise UnknownInitialization(f"{name!r} has no adapter. Take one of: {', '.join(adapters)}")
        has_condition = asked.words.strip() or (name == "generated" and asked.pairs)
        if Scheme(name).needs_words and not has_condition:
            raise InvalidWords(f"initialization '{name}' needs words, e.g. --words \"faded teal\"")
        return adapters[name]()

    def _classical(self, name: str, seed: int) -> ImageNetwork:
        recipe = self.zoo.recipe
        network = recipe.build()
        if name == "he_residual":
            # Drawn as in a harvest. The draws of the shared A advance the random state of later layers.
            Adapted(network, recipe.ranks, generator=torch.Generator().manual_seed(seed))
            return self._plain(network)
        initialise(network, name, seed=seed)
        network.blank()
        return network

    def _plain(self, network: ImageNetwork) -> ImageNetwork:
        """Copy a network without the hooks of adapters."""
        plain = self.zoo.recipe.build()
        plain.load_state_dict(network.state_dict())
        return plain

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        return self.zoo.mean_adapter_blocks()

    @cached_property
    def _taught(self) -> TaughtAdapters:
        return self.zoo.taught_adapters(self.zoo.encoder)
