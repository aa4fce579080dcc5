"""The image network of the paper's setting: residual stages, and a transformer that sees the whole photo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initzoo.networks.network import ImageNetwork, round_up

__all__ = ["E2ganNet"]

_HEAD_WIDTH = 32
"""Channels of an attention head; narrower networks have one head."""

_MAX_WIDTH = 256
"""107 million weights."""

_MOST_KEYS = 64**2
"""Places that the self-attention sees one by one: those of a photo of 512 x 512 pixels."""


class E2ganNet(ImageNetwork):
    """Down, residual, residual, down, transformer, up, residual, up: E2GAN's stages in its order.

    The residual stages work at a quarter of the resolution, the transformer at an eighth: a photo of 256
    pixels has 32 x 32 places there. Its self-attention has no positions, so a photo may have any size. Of
    larger photos it sees means of neighbouring places, at most 4,096 of them, so that time and memory grow
    with the photo and not with its square. There is no normalisation over a photo or a batch.

    The words of a concept are weights. E2GAN encodes the prompt and attends to its tokens; here these are the
    output of the layer `words`, which every concept adapts as it adapts other layers. A checkpoint thus
    needs no text encoder, is a function of the photo alone and can be exported as such. What words mean is
    learned once, by the weight generator, which makes these tokens with all other weights: for words that no
    training saw, too. They are learned tokens, as in prompt tuning, and not the vectors of an encoder.

    E2GAN's drawings name the stages and their order, but no widths. As in `StarterNet`, and other than there,
    pixels are packed by two at first, details at half resolution pass around the middle, and the last layer
    sees the photo.

    Args:
        width: half of the channels at half resolution and a quarter of those in the middle, from 1.
        n_words: number of tokens.
        n_full: channels at full resolution, which the last layer sees beside the photo.

    Raises:
        ValueError: a size is below 1, or the width is above 256 or neither up to 8 nor a multiple of 8.

    Source:
        E2GAN: Gong et al. (2024), arXiv:2401.06127.

    Example:
        >>> model = E2ganNet(width=16)
        >>> model(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 3, 64, 96])
        >>> sum(parameter.numel() for parameter in model.parameters())
        432396
    """

    kind: ClassVar[str] = "e2gan"
    multiple: int = 8

    def __init__(self, *, width: int = 32, n_words: int = 8, n_full: int = 8) -> None:
        super().__init__()
        if min(width, n_words, n_full) < 1 or width > _MAX_WIDTH or (width > 8 and width % 8):
            raise ValueError(
                f"expected a width from 1 to 8 or a multiple of 8 up to {_MAX_WIDTH}, and n_words and n_full "
                f"from 1, found {width}, {n_words} and {n_full}"
            )
        self.sizes = {"width": width, "n_words": n_words, "n_full": n_full}
        middle = 4 * width
        self.detail = nn.Conv2d(12, 2 * width, 3, padding=1)
        self.down = nn.Conv2d(2 * width, middle, 3, stride=2, padding=1)
        for stage in range(3):
            for half in ("first", "second"):
                self.add_module(f"stage{stage}_{half}", nn.Conv2d(middle, middle, 3, padding=1))
        self.deeper = nn.Conv2d(middle, middle, 3, stride=2, padding=1)
        self.words = nn.Linear(n_words, middle)
        for source in ("photo", "words"):
            for part in ("query", "key", "value", "out"):
                self.add_module(f"{source}_{part}", nn.Linear(middle, middle))
        self.expand = nn.Linear(middle, 4 * middle)
        self.contract = nn.Linear(4 * middle, middle)
        self.up = nn.Conv2d(middle, middle, 3, padding=1)
        self.finer = nn.Conv2d(middle, middle, 3, padding=1)
        self.decoder = nn.Conv2d(middle // 4 + 2 * width, 2 * width, 1)
        self.head = nn.Conv2d(2 * width, 4 * n_full, 3, padding=1)
        self.end = nn.Conv2d(n_full + 3, 3, 3, padding=1)
        self.blank()

    @classmethod
    def guess_sizes(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Infer the sizes from the channels of layers."""
        return {
            "width": shapes["detail.weight"][0] // 2,
            "n_words": shapes["words.weight"][1],
            "n_full": shapes["head.weight"][0] // 4,
        }

    @property
    def roles(self) -> Mapping[str, str]:
        """Ends of stages are added to their input; what an attention reads passes no activation."""
        roles = {"end": "end", "words": "linear", "expand": "branch", "contract": "residual"}
        for stage in range(3):
            roles |= {f"stage{stage}_first": "branch", f"stage{stage}_second": "residual"}
        for source in ("photo", "words"):
            roles |= {f"{source}_{part}": "linear" for part in ("query", "key", "value")}
            roles[f"{source}_out"] = "residual"
        return roles

    @torch.no_grad()
    def blank(self) -> None:
        """Let the photo pass unchanged, beside whatever the other layers add to it."""
        passing = self.end.weight[:, -3:]  # the photo's channels come last
        nn.init.dirac_(passing)
        nn.init.zeros_(self.end.get_parameter("bias"))

    @property
    def reach(self) -> int:
        """Maximum distance over which a pixel has influence, apart from the self-attention."""
        in_cells = 7  # a pixel's place in its cell of eight
        at_half = 2 + 2 + 2  # detail, down (which reads half resolution), head
        at_quarter = 4 * (2 * 3 + 1 + 2)  # stages, deeper (which reads it), up and finer
        return round_up(in_cells + at_half + at_quarter + 1, self.multiple)

    def forward(self, images: Tensor) -> Tensor:
        """Edit a batch of images.

        Args:
            images: shape `(n, 3, height, width)`, values -1 to 1; height and width multiples of 8.

        Returns:
            Edited images of the same shape; values can slightly exceed -1 and 1.

        Raises:
            ValueError: height or width is not a multiple of 8 (`edit` takes any size).
        """
        self.check_images(images)
        images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        packed = F.pixel_unshuffle(images, 2)  # (n, 12, h / 2, w / 2)
        packed = packed.contiguous(memory_format=torch.channels_last)
        detail = F.silu(self.detail(packed))  # (n, 2 width, h / 2, w / 2)
        middle = F.silu(self.down(detail))  # (n, 4 width, h / 4, w / 4)
        middle = self._residual(1, self._residual(0, middle))
        deep = self._transform(F.silu(self.deeper(middle)))  # (n, 4 width, h / 8, w / 8)
        middle = middle + F.silu(self.up(F.interpolate(deep, scale_factor=2.0)))  # (n, 4 width, h / 4, w / 4)
        middle = F.silu(self.finer(self._residual(2, middle)))
        wide = F.pixel_shuffle(middle, 2)  # (n, width, h / 2, w / 2)
        decoded = F.silu(self.decoder(torch.cat([detail, wide], dim=1)))  # (n, 2 width, h / 2, w / 2)
        full = F.silu(F.pixel_shuffle(self.head(decoded), 2))  # (n, n_full, h, w)
        edited = self.end(torch.cat([full, images], dim=1))  # (n, 3, h, w)
        limited = F.hardtanh(edited)
        # A tanh never reaches white, and clipping alone would stop the gradient of clipped values.
        return limited + 0.05 * (edited - limited)

    def _residual(self, stage: int, x: Tensor) -> Tensor:
        change = F.silu(self.get_submodule(f"stage{stage}_first")(x))
        out: Tensor = x + self.get_submodule(f"stage{stage}_second")(change)
        return out

    def _transform(self, x: Tensor) -> Tensor:
        """Self-attention, cross-attention to the words, feed-forward; each adds to its input."""
        n, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # (n, places, channels)
        seen = _normal(tokens)
        tokens = tokens + self._attend("photo", seen, _thinned(seen, height, width))
        # The words are the same for all images but with adapters of several concepts at once.
        one_hot = torch.eye(self.sizes["n_words"], dtype=x.dtype, device=x.device)
        words = _normal(self.words(one_hot.expand(n, -1, -1)))  # (n, n_words, channels)
        tokens = tokens + self._attend("words", _normal(tokens), words)
        tokens = tokens + self.contract(F.silu(self.expand(_normal(tokens))))
        return tokens.transpose(1, 2).reshape(n, channels, height, width)

    def _attend(self, source: str, tokens: Tensor, context: Tensor) -> Tensor:
        """Attention from tokens to a context, each `(n, places, channels)`."""
        n_heads = max(1, tokens.shape[2] // _HEAD_WIDTH)

        def heads(part: str, values: Tensor) -> Tensor:
            made: Tensor = self.get_submodule(f"{source}_{part}")(values)
            return made.unflatten(2, (n_heads, -1)).transpose(1, 2)  # (n, heads, places, channels of a head)

        read = F.scaled_dot_product_attention(
            heads("query", tokens), heads("key", context), heads("value", context)
        )
        out: Tensor = self.get_submodule(f"{source}_out")(read.transpose(1, 2).flatten(2))
        return out


def _normal(tokens: Tensor) -> Tensor:
    """Scale the channels of each token to zero mean and unit variance, without weights."""
    return F.layer_norm(tokens, tokens.shape[2:])


def _thinned(tokens: Tensor, height: int, width: int) -> Tensor:
    """Means of neighbouring tokens, so few that there are at most `_MOST_KEYS`; the tokens of small photos.

    An exported graph, which has to be one for all sizes, keeps all.
    """
    if torch.compiler.is_exporting() or height * width <= _MOST_KEYS:
        return tokens
    side = math.ceil(math.sqrt(height * width / _MOST_KEYS))
    while math.ceil(height / side) * math.ceil(width / side) > _MOST_KEYS:  # the last cells are not full
        side += 1
    grid = tokens.transpose(1, 2).unflatten(2, (height, width))
    return F.avg_pool2d(grid, side, ceil_mode=True, count_include_pad=False).flatten(2).transpose(1, 2)
