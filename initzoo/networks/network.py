"""The base class of image networks: properties that each must define, and shared methods."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn

from initzoo.errors import LayoutMismatch
from initzoo.files import write_files, write_json
from initzoo.networks.editing import edit_photo
from initzoo.networks.folder_names import CONFIG_FILE, WEIGHTS_FILE
from initzoo.networks.tiles import edit_window

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ROLES", "ImageNetwork", "layers_of", "round_up"]

ROLES = {
    "end": "its output is a summand of the edited photo",
    "photo": "an end that passes the photo itself",
    "residual": "its output is added to the input of its stage",
    "branch": "it is inside of such a stage, and the signal also passes around it",
    "linear": "its output is passed on without an activation, e.g. to an attention or a normalisation",
}
"""The roles of layers, with their descriptions. A layer without a role is followed by an activation."""


_MAX_SIZE = 2**14
_COUNTS, _MAX_STAGES = ("n_stages", "n_halvings"), 2**8
"""Sizes that say how often a part is repeated: each is modules to build."""

_MAX_VALUES = 2**29
"""As many float32 values as a base's file can have."""


class ImageNetwork(nn.Module):
    """A fully convolutional network from photos to edited photos of the same size.

    A network is one file with one such class and a line in `NETWORKS`. It takes its sizes as keyword
    integers and keeps them in `sizes`, from which the same network can be built again.

    Attributes:
        kind: name of the class in files.
        multiple: sides of images must be multiples of it.
        sizes: keyword arguments of the class that build this network.
        hidden_sizes: names of the sizes that no tensor's shape depends on, such as a number of heads. A
            state dict without a config cannot be loaded as such a network.
        roles: roles of special layers, by name, from `ROLES`.
    """

    kind: ClassVar[str] = ""
    multiple: int = 1
    hidden_sizes: ClassVar[tuple[str, ...]] = ()
    sizes: dict[str, int]

    @property
    def roles(self) -> Mapping[str, str]:
        """Roles of layers by name, from `ROLES`; layers without one are followed by an activation."""
        return {}

    @property
    def reach(self) -> int:
        """Maximum distance over which a pixel has influence, rounded up to `multiple`."""
        raise NotImplementedError  # each network defines it

    @property
    def halo(self) -> int:
        """Pixels of mirror image that `edit` adds around a photo, a multiple of `multiple`."""
        return self.reach

    @classmethod
    def sizes_of(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int] | None:
        """The sizes of a network of this class with tensors of these names and shapes, or None.

        A class can override `guess_sizes` to infer sizes from shapes; otherwise only its default sizes are
        recognised. `hidden_sizes` have their defaults in the result.
        """
        try:
            planned = cls.plan(cls.guess_sizes(shapes))
        except (KeyError, IndexError, LayoutMismatch):
            return None
        actual = {name: tuple(value.shape) for name, value in planned.state_dict().items()}
        return planned.sizes if actual == dict(shapes) else None

    @classmethod
    def plan(cls, sizes: Mapping[str, int]) -> ImageNetwork:
        """Build a network whose tensors have shapes and no values, which takes hardly any memory and time.

        Raises:
            LayoutMismatch: the class cannot have these sizes, or the network would be too large.
        """
        for name, size in sizes.items():
            largest = _MAX_STAGES if name in _COUNTS else _MAX_SIZE
            if type(size) is not int or not 0 <= size <= largest:
                raise LayoutMismatch(
                    f"network '{cls.kind}': {name[:80]} must be from 0 to {largest}, found {repr(size)[:80]}."
                )
        try:
            with torch.device("meta"):
                network = cls(**sizes)
        except (RuntimeError, ValueError) as error:  # raised by torch for a size of zero
            raise LayoutMismatch(
                f"network '{cls.kind}' cannot have the sizes {dict(sizes)}: {error}"
            ) from error
        n_values = sum(value.numel() for value in network.state_dict().values())
        if n_values > _MAX_VALUES:
            raise LayoutMismatch(
                f"network '{cls.kind}' with the sizes {dict(sizes)} has {n_values:,} weights, "
                f"at most {_MAX_VALUES:,} are read."
            )
        return network

    @classmethod
    def guess_sizes(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Infer sizes from shapes, unchecked; a missing tensor may raise KeyError."""
        return {}

    def blank(self) -> None:
        """Set the weights of `photo` layers to the identity, so that they pass the photo unchanged."""
        for name, role in self.roles.items():
            if role == "photo":
                layer = self.get_submodule(name)
                nn.init.dirac_(layer.get_parameter("weight"))
                nn.init.zeros_(layer.get_parameter("bias"))

    def check_images(self, images: Tensor) -> None:
        """Check that images can be edited.

        Raises:
            ValueError: the images are not an RGB batch, or a side is not a multiple of `multiple`.
        """
        is_batch = images.ndim == 4 and images.shape[1] == 3
        if not is_batch or images.shape[2] % self.multiple or images.shape[3] % self.multiple:
            raise ValueError(
                f"expected images (n, 3, height, width), sides in multiples of {self.multiple}, "
                f"found {tuple(images.shape)}"
            )

    def edit(
        self,
        photo: NDArray[np.uint8] | Image | str | os.PathLike[str],
        *,
        side: int | None = None,
        strength: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Edit one photo of any size, in evaluation mode: with running statistics and without dropout.

        Args:
            photo: uint8 RGB pixels, shape `(height, width, 3)`, a Pillow image, or the path of an image file.
            side: the size that the look is made for. A photo whose shorter side is longer is edited with a
                shorter side of `side` pixels, and the edit is carried up to the photo's own size: see
                `upsample_edit`. None to edit every photo at its own size.
            strength: 0 for the photo as it is, 1 for the look, up to 1.5 for more of it.

        Returns:
            The edited photo, uint8 RGB, shape `(height, width, 3)`.

        Raises:
            ValueError: `photo` is an array but not a uint8 RGB image, `side` is less than 8, or `strength`
                is not from 0 to 1.5.
            InvalidImage: the file or Pillow image cannot be read.

        Example:
            >>> from initzoo.networks.starter import StarterNet
            >>> photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
            >>> StarterNet().half().edit(photo, side=64, strength=0.5).shape
            (120, 160, 3)
        """
        run = partial(edit_window, self)
        with _evaluating(self):
            return edit_photo(
                run, photo, side=side, strength=strength, multiple=self.multiple, halo=self.halo
            )

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load weights with exactly this network's names and shapes.

        Raises:
            LayoutMismatch: a tensor is missing, unexpected or has another shape.
        """
        self.check_shapes({name: array.shape for name, array in arrays.items()})
        self.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Check that these are exactly the names and shapes of this network's tensors.

        Raises:
            LayoutMismatch: a tensor is missing, unexpected or has another shape.
        """
        state = self.state_dict()
        for name in sorted(set(state) | set(shapes)):
            expected = tuple(state[name].shape) if name in state else None
            if expected != shapes.get(name):
                raise LayoutMismatch(
                    f"tensor '{name[:80]}': the network expects {expected}, found {shapes.get(name)}."
                )

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights by name, as float32 copies."""
        return {
            name: value.detach().cpu().float().numpy().copy() for name, value in self.state_dict().items()
        }

    def save_pretrained(self, folder: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write `model.safetensors` and `config.json`, which `AutoNetwork` reads.

        Args:
            folder: the folder; created if it is missing.
            force: replace existing files.

        Returns:
            The folder.

        Raises:
            OutputError: a file exists and `force` is False, or it cannot be written.
        """
        folder, spec = Path(folder), {"kind": self.kind, "sizes": self.sizes}
        # The weights file is often passed on without its folder, so its metadata name the network, too.
        data = save(self.to_arrays(), metadata={"network": json.dumps(spec, sort_keys=True)})
        digest = hashlib.sha256(data).hexdigest()
        files = {WEIGHTS_FILE: data, CONFIG_FILE: write_json({"network": spec, "weights_sha256": digest})}
        write_files(folder, files, force=force)
        return folder


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its layers back into the mode that it had."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def layers_of(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that can have adapters, by name, in the order of definition.

    Example:
        >>> list(layers_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2))))
        ['0', '2']
    """
    return {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }


def round_up(pixels: int, multiple: int) -> int:
    """Round up to a multiple.

    Example:
        >>> round_up(26, 4)
        28
    """
    return multiple * math.ceil(pixels / multiple)
