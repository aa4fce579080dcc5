"""The networks of pix2pix as published: U-Net, ResNet and the PatchGAN discriminator.

Tensors are named as in the authors' public code (`pytorch-CycleGAN-and-pix2pix`), so that a state dict of
one fits the other. `initialise_by_the_book` initializes them as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from initzoo.networks.network import ImageNetwork, round_up

__all__ = ["NORMS", "PatchDiscriminator", "ResNet", "UNet", "initialise_by_the_book"]

NORMS = ("none", "batch", "instance")
"""The normalisations of the authors' code; sizes hold their position."""

_BATCH, _INSTANCE = NORMS.index("batch"), NORMS.index("instance")
_SLOPE = 0.2
_MOST_CHANNELS = 8
"""Maximum number of channels, in multiples of the width."""


class UNet(ImageNetwork):
    """The U-Net of pix2pix; with eight halvings and width 64 it is `unet_256`.

    The authors test in training mode, in which batch normalisation uses the statistics of the one image and
    dropout is active. In evaluation mode, and in `edit`, the running statistics are used, without dropout.

    Args:
        n_halvings: number of halvings of the resolution, at least 5; sides of images must be multiples of
            2 to this power.
        width: filters of the first layer, `ngf` in the authors' code.
        norm: position of the normalisation in `NORMS`. Convolutions have a bias with instance normalisation.
        dropout: percentage of values dropped in the narrow stages.

    Raises:
        ValueError: `n_halvings` is below 5, or another size is out of range.

    Source:
        Isola, Zhu, Zhou, Efros (2017), section 6.1.1, arXiv:1611.07004.

    Example:
        >>> model = UNet(n_halvings=6, width=4)
        >>> model(torch.zeros(1, 3, 64, 128)).shape
        torch.Size([1, 3, 64, 128])
    """

    kind: ClassVar[str] = "pix2pix-unet"
    hidden_sizes: ClassVar[tuple[str, ...]] = ("dropout",)

    def __init__(
        self, n_halvings: int = 8, width: int = 64, *, norm: int = _BATCH, dropout: int = 50
    ) -> None:
        super().__init__()
        if not 5 <= n_halvings <= 12:
            raise ValueError(f"a U-Net has at least 5 halvings and at most 12, found {n_halvings}")
        _check_sizes(width, norm, dropout)
        self.sizes = {"n_halvings": n_halvings, "width": width, "norm": norm, "dropout": dropout}
        self.multiple = 2**n_halvings
        widths = [width * min(2**level, _MOST_CHANNELS) for level in range(n_halvings)]
        inner: nn.Module | None = None
        for level in range(n_halvings - 1, 0, -1):
            # Dropout is in the stages with the maximum number of channels on both sides.
            is_narrow = 4 <= level < n_halvings - 1
            inner = _UNetStage(widths[level - 1], widths[level], inner, norm, dropout if is_narrow else 0)
        assert inner is not None
        self.model = _OutermostStage(widths[0], inner, norm)

    @property
    def reach(self) -> int:
        """Maximum distance over which a pixel has influence, apart from normalisation."""
        # Down: 1 more pixel at each resolution before the last, 1.5 each on average; up: 1 at each.
        down = sum(1.5 * 2**level for level in range(self.sizes["n_halvings"]))
        up = sum(2**level for level in range(1, self.sizes["n_halvings"] + 1))
        return round_up(int(down + up), self.multiple)

    @property
    def halo(self) -> int:
        """0: it was trained on whole pictures, whose borders it knows, and sees all of a picture at once."""
        return 0

    @classmethod
    def guess_sizes(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Infer sizes from shapes; the dropout has its default."""
        inside, n_halvings = "model.model.1.model", 2
        while f"{inside}.3.model.1.weight" in shapes:
            inside, n_halvings = f"{inside}.3.model", n_halvings + 1
        return {
            "n_halvings": n_halvings,
            "width": shapes["model.model.0.weight"][0],
            "norm": _norm_of(shapes, scale="model.model.1.model.2.weight", bias="model.model.0.bias"),
        }

    def forward(self, images: Tensor) -> Tensor:
        """Edit images, shape `(n, 3, height, width)`, values -1 to 1."""
        edited: Tensor = self.model(images)
        return edited


class _OutermostStage(nn.Module):
    """The outermost stage: three channels in and out, without normalisation and skip."""

    def __init__(self, width: int, inner: nn.Module, norm: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1, bias=norm == _INSTANCE),
            inner,
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class _UNetStage(nn.Module):
    """Halve the resolution, apply the inner stages, double it, and concatenate the input."""

    def __init__(
        self, n_outside: int, n_inside: int, inner: nn.Module | None, norm: int, dropout: int
    ) -> None:
        super().__init__()
        has_bias = norm == _INSTANCE
        halve = nn.Conv2d(n_outside, n_inside, 4, 2, 1, bias=has_bias)
        if inner is None:
            down: list[nn.Module] = [nn.LeakyReLU(_SLOPE), halve]
            n_back = n_inside
        else:
            down = [nn.LeakyReLU(_SLOPE), halve, _norm_layer(norm, n_inside), inner]
            n_back = 2 * n_inside
        double = nn.ConvTranspose2d(n_back, n_outside, 4, 2, 1, bias=has_bias)
        up = [nn.ReLU(), double, _norm_layer(norm, n_outside)]
        self.model = nn.Sequential(*down, *up, *([nn.Dropout(dropout / 100)] if dropout else []))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], dim=1)


class ResNet(ImageNetwork):
    """The ResNet of the authors' public code, `resnet_9blocks` by default, with instance normalisation.

    Args:
        n_stages: residual stages in the middle, at a quarter of the resolution.
        width: filters of the first layer, `ngf` in the authors' code.
        norm: position of the normalisation in `NORMS`. Convolutions have a bias with instance normalisation.
        dropout: percentage of values dropped in the residual stages; above 0 a layer stands there, which
            moves the names of the layers behind it.

    Raises:
        ValueError: a size is out of range.

    Source:
        Johnson, Alahi, Fei-Fei (2016), arXiv:1603.08155, as Zhu et al. (2017), section 7, arXiv:1703.10593.

    Example:
        >>> ResNet(n_stages=1, width=4)(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 3, 32, 48])
    """

    kind: ClassVar[str] = "pix2pix-resnet"

    def __init__(
        self, n_stages: int = 9, width: int = 64, *, norm: int = _INSTANCE, dropout: int = 0
    ) -> None:
        super().__init__()
        _check_sizes(width, norm, dropout)
        self.sizes = {"n_stages": n_stages, "width": width, "norm": norm, "dropout": dropout}
        self.multiple = 4
        has_bias = norm == _INSTANCE
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7, bias=has_bias)]
        layers += [_norm_layer(norm, width), nn.ReLU()]
        for n_in in (width, 2 * width):
            layers += [nn.Conv2d(n_in, 2 * n_in, 3, 2, 1, bias=has_bias)]
            layers += [_norm_layer(norm, 2 * n_in), nn.ReLU()]
        layers += [_ResNetStage(4 * width, norm, dropout) for _ in range(n_stages)]
        for n_in in (4 * width, 2 * width):
            n_out = n_in // 2
            layers += [nn.ConvTranspose2d(n_in, n_out, 3, 2, 1, output_padding=1, bias=has_bias)]
            layers += [_norm_layer(norm, n_out), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    @property
    def reach(self) -> int:
        """Maximum distance over which a pixel has influence, apart from normalisation."""
        return round_up(3 + 1 + 2 + 2 * 4 * self.sizes["n_stages"] + 4 + 2 + 3, self.multiple)

    @property
    def halo(self) -> int:
        """0: it mirrors borders itself, and instance normalisation sees all of a picture at once."""
        return 0

    @classmethod
    def guess_sizes(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Infer sizes from shapes."""
        n_stages = 0
        while f"model.{10 + n_stages}.conv_block.1.weight" in shapes:
            n_stages += 1
        has_dropout = "model.10.conv_block.6.weight" in shapes and (
            len(shapes["model.10.conv_block.6.weight"]) == 4
        )
        return {
            "n_stages": n_stages,
            "width": shapes["model.1.weight"][0],
            "norm": _norm_of(shapes, scale="model.2.weight", bias="model.1.bias"),
            "dropout": 50 if has_dropout else 0,
        }

    def forward(self, images: Tensor) -> Tensor:
        """Edit images, shape `(n, 3, height, width)`, values -1 to 1, sides in multiples of 4."""
        edited: Tensor = self.model(images)
        return edited


class _ResNetStage(nn.Module):
    def __init__(self, width: int, norm: int, dropout: int) -> None:
        super().__init__()
        has_bias = norm == _INSTANCE
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=has_bias),
            _norm_layer(norm, width),
            nn.ReLU(),
            *([nn.Dropout(dropout / 100)] if dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=has_bias),
            _norm_layer(norm, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv_block(x)
        return x + change


def _norm_layer(norm: int, width: int) -> nn.Module:
    """A normalisation; without one, a layer that keeps the numbers of those behind it."""
    if norm == _BATCH:
        return nn.BatchNorm2d(width)
    return nn.InstanceNorm2d(width) if norm == _INSTANCE else nn.Identity()


def _norm_of(shapes: Mapping[str, tuple[int, ...]], *, scale: str, bias: str) -> int:
    """The normalisation: that of batches has weights, with that of images convolutions have biases."""
    if scale in shapes:
        return _BATCH
    return _INSTANCE if bias in shapes else NORMS.index("none")


def _check_sizes(width: int, norm: int, dropout: int) -> None:
    if width < 1 or not 0 <= norm < len(NORMS) or not 0 <= dropout <= 100:
        raise ValueError(
            f"expected a width from 1, a norm from 0 to {len(NORMS) - 1} and a dropout from 0 to 100, "
            f"found {width}, {norm} and {dropout}"
        )


class PatchDiscriminator(nn.Module):
    """The PatchGAN of pix2pix: a logit for each patch of 70 x 70 pixels, positive for real ones.

    Args:
        width: filters of the first layer, `ndf` in the authors' code.

    Source:
        Isola, Zhu, Zhou, Efros (2017), section 6.1.2, arXiv:1611.07004.

    Example:
        >>> photo = torch.zeros(1, 3, 64, 64)
        >>> PatchDiscriminator(width=4)(photo, photo).shape
        torch.Size([1, 1, 6, 6])
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for n_in, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [nn.Conv2d(n_in, 2 * n_in, 4, stride, 1, bias=False)]
            layers += [nn.BatchNorm2d(2 * n_in), nn.LeakyReLU(_SLOPE)]
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, photos: Tensor, edited: Tensor) -> Tensor:
        """Judge edited photos, given the photos: each `(n, 3, height, width)`, values -1 to 1, sides from 32.

        Returns:
            Logits, shape `(n, 1, height / 8 - 2, width / 8 - 2)`; positive for real.
        """
        logits: Tensor = self.model(torch.cat([photos, edited], dim=1))
        return logits


@torch.no_grad()
def initialise_by_the_book(module: nn.Module, generator: torch.Generator) -> None:
    """Initialize a network as in pix2pix: normal with standard deviation 0.02.

    Scales of normalisation layers are drawn around 1; biases are 0.

    Args:
        module: the network; changed in place.
        generator: random generator of the weights.

    Source:
        Isola, Zhu, Zhou, Efros (2017), section 6.2, arXiv:1611.07004.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02, generator=generator)
            nn.init.zeros_(layer.bias)
