"""The image network `Pix2Pix`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initzoo.checkpoints.blocks import join_blocks
from initzoo.checkpoints.init import Init, merge_adapter
from initzoo.checkpoints.recipe import NetworkShape
from initzoo.errors import LayoutMismatch
from initzoo.zoo.zoo import Zoo

__all__ = ["Pix2Pix", "forward_layers", "network_of"]

_TILE = 1024
"""Larger images are edited in squares of this side, so that memory does not grow with the image."""

Convolve = Callable[[str, Tensor], Tensor]


def forward_layers(convolve: Convolve, shape: NetworkShape, images: Tensor) -> Tensor:
    """Pass images through the stages; `convolve` applies the layer of a name to its input."""
    packed = F.pixel_unshuffle(images, 2)  # (n, 12, h / 2, w / 2)
    packed = packed.contiguous(memory_format=torch.channels_last)  # the faster order on a CPU
    detail = F.silu(convolve("detail", packed))  # (n, n_detail, h / 2, w / 2)
    middle = F.silu(convolve("down", detail))  # (n, n_middle, h / 4, w / 4)
    for place in range(shape.n_stages):
        change = F.silu(convolve(f"stage{place}_first", middle))
        middle = middle + convolve(f"stage{place}_second", change)
    wide = F.silu(F.pixel_shuffle(convolve("up", middle), 2))  # (n, n_upsampled, h / 2, w / 2)
    decoded = F.silu(convolve("decoder", torch.cat([detail, wide], dim=1)))  # (n, n_decoder, h / 2, w / 2)
    edited = F.pixel_shuffle(convolve("skip", packed) + convolve("head", decoded), 2)  # (n, 3, h, w)
    limited = F.hardtanh(edited)
    # A tanh never reaches white; a hard limit alone would stop the gradient of what lies outside.
    return limited + 0.05 * (edited - limited)


class Pix2Pix(nn.Module):
    """A small fully convolutional network that turns a photo into an edited photo.

    It works on images of any size from 8 pixels a side, has no normalisation layers and therefore no
    running statistics, and sees `shape.reach` pixels around each pixel.

    Args:
        shape: widths of the network.

    Example:
        >>> model = Pix2Pix(NetworkShape())
        >>> model(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 3, 64, 96])
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        for layer in shape.layers:
            convolution = nn.Conv2d(
                layer.n_in, layer.n_out, layer.kernel, layer.stride, padding=layer.kernel // 2
            )
            if layer.name == "skip":  # so that training starts near the untouched photo
                nn.init.dirac_(convolution.weight)
                nn.init.zeros_(convolution.get_parameter("bias"))
            self.add_module(layer.name, convolution)

    @classmethod
    def from_pretrained(cls, words: str | Path, *, zoo: str | Path | Zoo = "starter") -> Pix2Pix:
        """Get the network with the weights of a concept or of words, ready to use or to fine-tune.

        Args:
            words: a concept's id or one of its wordings; other words, from which the zoo's weight generator
                makes the weights; or the path of an init file (`.safetensors`).
            zoo: the zoo to look in: a name, a folder, or an open zoo.

        Raises:
            UnknownConcept: the zoo holds no such concept, and has no weight generator.
            InvalidWords: the weight generator can make nothing of the words.
            InvalidGenerator: the weight generator is damaged.
            InvalidInit: the file is no init, or is damaged.
            ChecksumMismatch: the file holds an adapter for another base than the zoo's.

        Example:
            >>> model = Pix2Pix.from_pretrained("pencil sketch")  # doctest: +SKIP
        """
        path = Path(words)
        init = Init.load(path) if path.suffix == ".safetensors" else None
        if init is None or init.kind == "adapter":
            open_zoo = zoo if isinstance(zoo, Zoo) else Zoo.from_pretrained(zoo)
            init = open_zoo.pull(str(words)) if init is None else open_zoo.merge(init)
        return cls.from_init(init)

    @classmethod
    def from_init(cls, init: Init) -> Pix2Pix:
        """Build the network that an init was made for, and put its weights in.

        Raises:
            InvalidInit: the init holds an adapter only.
            LayoutMismatch: it holds weights of another network.
        """
        model = cls(init.metadata.recipe.network)
        init.apply_to(model)
        return model

    def load_merged(self, state: Mapping[str, np.ndarray]) -> None:
        """Put weights in, strictly: exactly this network's names and shapes.

        Raises:
            LayoutMismatch: a tensor is missing, unexpected or of another shape.
        """
        own = self.state_dict()
        for name in sorted(set(own) | set(state)):
            expected = tuple(own[name].shape) if name in own else None
            found = state[name].shape if name in state else None
            if expected != found:
                raise LayoutMismatch(f"tensor '{name}': the network expects {expected}, found {found}.")
        self.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})

    def forward(self, images: Tensor) -> Tensor:
        """Edit a batch of images.

        Args:
            images: shape `(n, 3, height, width)`, values -1 to 1; height and width multiples of 4.

        Returns:
            Edited images of the same shape; values may pass -1 and 1 a little.

        Raises:
            ValueError: height or width is no multiple of 4 (`edit` takes any size).
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % 4 or images.shape[3] % 4:
            raise ValueError(
                f"expected images (n, 3, height, width), sides in multiples of 4, found {tuple(images.shape)}"
            )
        return forward_layers(lambda name, x: self.get_submodule(name)(x), self.shape, images)

    @torch.inference_mode()
    def edit(self, pixels: np.ndarray) -> np.ndarray:
        """Edit one photo of any size.

        Args:
            pixels: uint8 RGB, shape `(height, width, 3)`.

        Returns:
            The edited photo, uint8 RGB of the same shape.

        Raises:
            ValueError: `pixels` is not a uint8 RGB image.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"expected uint8 (height, width, 3), found {pixels.dtype} {pixels.shape}")
        height, width = pixels.shape[:2]
        result = np.empty_like(pixels)
        halo = self.shape.reach
        for top in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                bottom, right = min(top + _TILE, height), min(left + _TILE, width)
                # Tiles start on multiples of 4 with a halo as wide as the network sees: no seams.
                start_y, start_x = max(top - halo, 0), max(left - halo, 0)
                window = pixels[start_y : bottom + halo, start_x : right + halo]
                edited = self._edit_window(window)
                result[top:bottom, left:right] = edited[
                    top - start_y : bottom - start_y, left - start_x : right - start_x
                ]
        return result

    def _edit_window(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -height % 4), (0, -width % 4), (0, 0)), mode="edge")
        device = next(self.parameters()).device
        images = torch.from_numpy(padded).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
        edited = (self(images)[0].clamp(-1, 1) + 1) * 127.5
        rounded = edited.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(rounded[:height, :width])


def network_of(zoo: Zoo, blocks: np.ndarray) -> Pix2Pix:
    """The zoo's network with an adapter merged into it.

    Args:
        zoo: has recipe and base.
        blocks: of the adapter, float32, shape `(n_blocks, block_size)`.

    Raises:
        LayoutMismatch: the blocks are not of the zoo's layout.
        InvalidInit: a value is NaN or infinite.
        ChecksumMismatch, InvalidZoo: the zoo is damaged.
    """
    model = Pix2Pix(zoo.recipe.network)
    model.load_merged(merge_adapter(zoo.base(), join_blocks(blocks, zoo.layout), zoo.layout))
    return model
