"""The image network of the starter zoo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initzoo.networks.network import ImageNetwork, round_up

__all__ = ["StarterNet"]


class StarterNet(ImageNetwork):
    """A small fully convolutional network from a photo to an edited photo.

    It has no normalisation layers and therefore no running statistics. Most channels are at half resolution,
    where four of them hold as much detail as one at full resolution, for less time; edges and other line
    work need them. The middle, at a quarter of the resolution, provides the receptive field and can be
    narrow. A linear layer, `skip`, passes the photo to the output. Each concept adapts it, for example to
    remove noise or to rotate colours.

    Args:
        n_detail: channels of the first convolution, at half resolution.
        n_middle: channels at a quarter of the resolution.
        n_stages: residual stages of two convolutions in the middle.
        n_upsampled: channels upsampled from the middle to half resolution.
        n_decoder: channels of the last convolution but one, at half resolution.
        n_full: channels at full resolution, for a network with `end`: a last convolution that sees them and
            the photo, in place of `skip`. It draws finer lines, and without the mesh that pixel shuffle alone
            leaves in flat areas. The last stage of such a network has a dilation of 2, to see further at no
            cost. 0 for a network that ends at half resolution.

    Example:
        >>> model = StarterNet()
        >>> model(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 3, 64, 96])
        >>> model.reach, StarterNet(n_full=8).reach
        (28, 40)
    """

    kind: ClassVar[str] = "starter"
    multiple: int = 4

    def __init__(
        self,
        *,
        n_detail: int = 64,
        n_middle: int = 32,
        n_stages: int = 2,
        n_upsampled: int = 16,
        n_decoder: int = 64,
        n_full: int = 0,
    ) -> None:
        super().__init__()
        self.sizes = {
            "n_detail": n_detail,
            "n_middle": n_middle,
            "n_stages": n_stages,
            "n_upsampled": n_upsampled,
            "n_decoder": n_decoder,
        }
        if n_full:
            self.sizes["n_full"] = n_full
        self.detail = nn.Conv2d(12, n_detail, 3, padding=1)
        self.down = nn.Conv2d(n_detail, n_middle, 3, stride=2, padding=1)
        for stage in range(n_stages):
            spacing = 2 if n_full and stage == n_stages - 1 else 1
            for half in ("first", "second"):
                layer = nn.Conv2d(n_middle, n_middle, 3, padding=spacing, dilation=spacing)
                self.add_module(f"stage{stage}_{half}", layer)
        self.up = nn.Conv2d(n_middle, 4 * n_upsampled, 1)
        self.decoder = nn.Conv2d(n_detail + n_upsampled, n_decoder, 1)
        self.head = nn.Conv2d(n_decoder, 4 * n_full if n_full else 12, 3, padding=1)
        if n_full:
            self.end = nn.Conv2d(n_full + 3, 3, 3, padding=1)
        else:
            self.skip = nn.Conv2d(12, 12, 3, padding=1)
        self.blank()

    @classmethod
    def guess_sizes(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Infer the sizes from the output channels of layers."""
        return {
            "n_detail": shapes["detail.weight"][0],
            "n_middle": shapes["down.weight"][0],
            "n_stages": sum(name.endswith("_first.weight") for name in shapes),
            "n_upsampled": shapes["up.weight"][0] // 4,
            "n_decoder": shapes["decoder.weight"][0],
            "n_full": shapes["head.weight"][0] // 4 if "end.weight" in shapes else 0,
        }

    @property
    def roles(self) -> Mapping[str, str]:
        """Head and skip are summed to the edited photo; the end of a stage is added to its input."""
        stages: dict[str, str] = {}
        for stage in range(self.sizes["n_stages"]):
            stages |= {f"stage{stage}_first": "branch", f"stage{stage}_second": "residual"}
        return stages | ({"end": "end"} if self.n_full else {"head": "end", "skip": "photo"})

    @property
    def n_full(self) -> int:
        """Channels at full resolution; 0 if the network ends at half resolution."""
        return self.sizes.get("n_full", 0)

    @torch.no_grad()
    def blank(self) -> None:
        """Let the photo pass unchanged, beside whatever the other layers add to it."""
        super().blank()
        if self.n_full:
            passing = self.end.weight[:, -3:]  # the photo's channels come last
            nn.init.dirac_(passing)
            nn.init.zeros_(self.end.get_parameter("bias"))

    @property
    def reach(self) -> int:
        """Maximum distance over which a pixel has influence, pixels."""
        in_cells = 6  # a pixel's place in its cell of four, on the way in and on the way out
        at_half = 2 + 2 + 2  # detail, down (which reads half resolution), head
        in_stages = 4 * 2 * (self.sizes["n_stages"] + bool(self.n_full))  # the dilated stage counts twice
        at_full = bool(self.n_full)
        return round_up(in_cells + at_half + in_stages + at_full, self.multiple)

    def forward(self, images: Tensor) -> Tensor:
        """Edit a batch of images.

        Args:
            images: shape `(n, 3, height, width)`, values -1 to 1; height and width multiples of 4.

        Returns:
            Edited images of the same shape; values can slightly exceed -1 and 1.

        Raises:
            ValueError: height or width is not a multiple of 4 (`edit` takes any size).
        """
        self.check_images(images)
        images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        packed = F.pixel_unshuffle(images, 2)  # (n, 12, h / 2, w / 2)
        packed = packed.contiguous(memory_format=torch.channels_last)
        detail = F.silu(self.detail(packed))  # (n, n_detail, h / 2, w / 2)
        middle = F.silu(self.down(detail))  # (n, n_middle, h / 4, w / 4)
        for stage in range(self.sizes["n_stages"]):
            change = F.silu(self.get_submodule(f"stage{stage}_first")(middle))
            middle = middle + self.get_submodule(f"stage{stage}_second")(change)
        wide = F.silu(F.pixel_shuffle(self.up(middle), 2))  # (n, n_upsampled, h / 2, w / 2)
        decoded = F.silu(self.decoder(torch.cat([detail, wide], dim=1)))  # (n, n_decoder, h / 2, w / 2)
        if self.n_full:
            full = F.silu(F.pixel_shuffle(self.head(decoded), 2))  # (n, n_full, h, w)
            edited = self.end(torch.cat([full, images], dim=1))  # (n, 3, h, w)
        else:
            edited = F.pixel_shuffle(self.skip(packed) + self.head(decoded), 2)
        limited = F.hardtanh(edited)
        # A tanh never reaches white, and clipping alone would stop the gradient of clipped values.
        return limited + 0.05 * (edited - limited)
