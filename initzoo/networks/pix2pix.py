"""The networks of pix2pix as published: U-Net, ResNet and the PatchGAN discriminator.

Tensors are named as in the authors' public code (`pytorch-CycleGAN-and-pix2pix`), so that a state dict of
one fits the other. `initialise_by_the_book` initializes them as in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PatchDiscriminator", "ResNet", "UNet", "initialise_by_the_book"]

_SLOPE = 0.2
_MOST_CHANNELS = 8
"""Maximum number of channels, in multiples of the width."""


class UNet(nn.Module):
    """The U-Net of pix2pix; with eight halvings and width 64 it is `unet_256`.

    Batch normalisation uses the statistics of the current batch at test time, too, so keep the module in
    training mode. `dropout` is then active as well, unless it is 0.

    Args:
        n_halvings: number of halvings of the resolution, at least 5; sides of images must be multiples of
            2 to this power.
        width: filters of the first layer, `ngf` in the authors' code.
        dropout: share of values dropped in the narrow stages.

    Raises:
        ValueError: `n_halvings` is below 5.

    Source:
        Isola, Zhu, Zhou, Efros (2017), section 6.1.1, arXiv:1611.07004.

    Example:
        >>> model = UNet(n_halvings=6, width=4)
        >>> model(torch.zeros(1, 3, 64, 128)).shape
        torch.Size([1, 3, 64, 128])
    """

    def __init__(self, n_halvings: int = 8, width: int = 64, *, dropout: float = 0.5) -> None:
        super().__init__()
        if n_halvings < 5:
            raise ValueError(f"a U-Net has at least 5 halvings, found {n_halvings}")
        widths = [width * min(2**level, _MOST_CHANNELS) for level in range(n_halvings)]
        inner: nn.Module | None = None
        for level in range(n_halvings - 1, 0, -1):
            # Dropout is in the stages with the maximum number of channels on both sides.
            is_narrow = 4 <= level < n_halvings - 1
            inner = _UNetStage(widths[level - 1], widths[level], inner, dropout if is_narrow else 0.0)
        assert inner is not None
        self.model = _OutermostStage(widths[0], inner)

    def forward(self, images: Tensor) -> Tensor:
        """Edit images, shape `(n, 3, height, width)`, values -1 to 1."""
        edited: Tensor = self.model(images)
        return edited


class _OutermostStage(nn.Module):
    """The outermost stage: three channels in and out, without normalisation and skip."""

    def __init__(self, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1, bias=False),
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

    def __init__(self, n_outside: int, n_inside: int, inner: nn.Module | None, dropout: float) -> None:
        super().__init__()
        halve = nn.Conv2d(n_outside, n_inside, 4, 2, 1, bias=False)
        if inner is None:
            down: list[nn.Module] = [nn.LeakyReLU(_SLOPE), halve]
            n_back = n_inside
        else:
            down = [nn.LeakyReLU(_SLOPE), halve, nn.BatchNorm2d(n_inside), inner]
            n_back = 2 * n_inside
        double = nn.ConvTranspose2d(n_back, n_outside, 4, 2, 1, bias=False)
        up = [nn.ReLU(), double, nn.BatchNorm2d(n_outside)]
        self.model = nn.Sequential(*down, *up, *([nn.Dropout(dropout)] if dropout else []))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], dim=1)


class ResNet(nn.Module):
    """The ResNet of the authors' public code, `resnet_9blocks` by default, with instance normalisation.

    Args:
        n_stages: residual stages in the middle, at a quarter of the resolution.
        width: filters of the first layer, `ngf` in the authors' code.

    Source:
        Johnson, Alahi, Fei-Fei (2016), arXiv:1603.08155, as Zhu et al. (2017), section 7, arXiv:1703.10593.

    Example:
        >>> ResNet(n_stages=1, width=4)(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 3, 32, 48])
    """

    def __init__(self, n_stages: int = 9, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7)]
        layers += [nn.InstanceNorm2d(width), nn.ReLU()]
        for n_in in (width, 2 * width):
            layers += [nn.Conv2d(n_in, 2 * n_in, 3, 2, 1), nn.InstanceNorm2d(2 * n_in), nn.ReLU()]
        layers += [_ResNetStage(4 * width) for _ in range(n_stages)]
        for n_in in (4 * width, 2 * width):
            n_out = n_in // 2
            double = nn.ConvTranspose2d(n_in, n_out, 3, 2, 1, output_padding=1)
            layers += [double, nn.InstanceNorm2d(n_out), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Edit images, shape `(n, 3, height, width)`, values -1 to 1, sides in multiples of 4."""
        edited: Tensor = self.model(images)
        return edited


class _ResNetStage(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv_block(x)
        return x + change


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
