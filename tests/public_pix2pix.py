"""pix2pix's generators stated once more, as formulas over named tensors: nothing is taken from initzoo.

Names and shapes are those of public `.pth` files; what is computed follows Isola et al. (2017), section 6.1,
and Zhu et al. (2017), section 7. Layers are functions of the tensors here, where initzoo has modules.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DISCRIMINATOR = {"model.0.weight": (4, 6, 4, 4), "model.0.bias": (4,), "model.2.weight": (8, 4, 4, 4)}


def _put(root: nn.Module, name: str, tensor: Tensor) -> None:
    """Hang a tensor into a tree of empty modules, at the path that its name spells."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]
    if last in ("running_mean", "running_var", "num_batches_tracked"):
        root.register_buffer(last, tensor)
    else:
        root.register_parameter(last, nn.Parameter(tensor))


class _Formulas(nn.Module):
    """What both networks are made of."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.norm_kind = norm

    def add(self, name: str, shape: tuple[int, ...], *, bias: bool | None = None) -> None:
        """A convolution; by default it has a bias if no normalisation with a shift follows."""
        _put(self, f"{name}.weight", 0.2 * torch.randn(shape))
        if bias if bias is not None else self.norm_kind == "instance":
            n_out = shape[1] if self.is_up(name) else shape[0]
            _put(self, f"{name}.bias", 0.2 * torch.randn(n_out))

    def is_up(self, name: str) -> bool:
        return name in self.ups

    def add_norm(self, name: str, width: int) -> None:
        if self.norm_kind == "batch":
            _put(self, f"{name}.weight", 1 + 0.2 * torch.randn(width))
            _put(self, f"{name}.bias", 0.2 * torch.randn(width))
            _put(self, f"{name}.running_mean", 0.2 * torch.randn(width))
            _put(self, f"{name}.running_var", 0.5 + torch.rand(width))
            _put(self, f"{name}.num_batches_tracked", torch.tensor(12345))

    def tensors(self, name: str) -> tuple[Tensor, Tensor | None]:
        module = self.get_submodule(name)
        return module.weight, getattr(module, "bias", None)

    def norm(self, name: str, x: Tensor) -> Tensor:
        if self.norm_kind == "none":
            return x
        if self.norm_kind == "instance":
            mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
            return (x - mean) / (variance + 1e-5).sqrt()
        one = self.get_submodule(name)
        mean, variance = (value[:, None, None] for value in (one.running_mean, one.running_var))
        normal = (x - mean) / (variance + 1e-5).sqrt()
        return one.weight[:, None, None] * normal + one.bias[:, None, None]


class PublicUNet(_Formulas):
    """`UnetGenerator`: as many halvings as `n`, from `ngf` to at most eight times as many channels."""

    def __init__(self, n: int, ngf: int, norm: str = "batch") -> None:
        super().__init__(norm)
        self.paths = ["model.model", *("model.model.1.model" + ".3.model" * i for i in range(n - 1))]
        self.widths = [ngf * min(2**i, 8) for i in range(n)]
        self.ups = {f"{path}.5" for path in self.paths[1:-1]} | {f"{self.paths[-1]}.3", "model.model.3"}
        self._grow(0)

    def _grow(self, level: int) -> None:
        """Name the tensors of a stage, outside in, as the public code registers them."""
        path, width, is_last = self.paths[level], self.widths[level], level == len(self.paths) - 1
        outside = self.widths[level - 1] if level else 3
        self.add(f"{path}.{0 if level == 0 else 1}", (width, outside, 4, 4))
        if level and not is_last:
            self.add_norm(f"{path}.2", width)
        if not is_last:
            self._grow(level + 1)
        if level == 0:
            self.add(f"{path}.3", (2 * width, 3, 4, 4), bias=True)
            return
        self.add(f"{path}.{3 if is_last else 5}", (width if is_last else 2 * width, outside, 4, 4))
        self.add_norm(f"{path}.{4 if is_last else 6}", outside)

    def forward(self, x: Tensor) -> Tensor:
        return self._stage(0, x)

    def _stage(self, level: int, x: Tensor) -> Tensor:
        path, is_last = self.paths[level], level == len(self.paths) - 1
        if level == 0:
            inner = self._stage(1, F.conv2d(x, *self.tensors(f"{path}.0"), stride=2, padding=1))
            return F.conv_transpose2d(F.relu(inner), *self.tensors(f"{path}.3"), stride=2, padding=1).tanh()
        x = F.leaky_relu(x, 0.2)  # in place in the public code: the skip passes it, too
        inner = F.conv2d(x, *self.tensors(f"{path}.1"), stride=2, padding=1)
        if not is_last:
            inner = self._stage(level + 1, self.norm(f"{path}.2", inner))
        up, norm = (3, 4) if is_last else (5, 6)
        raised = F.conv_transpose2d(F.relu(inner), *self.tensors(f"{path}.{up}"), stride=2, padding=1)
        return torch.cat([x, self.norm(f"{path}.{norm}", raised)], 1)


class PublicResNet(_Formulas):
    """`ResnetGenerator` with `n` blocks; a dropout layer moves the second half of each block by one."""

    def __init__(self, n: int, ngf: int, norm: str = "instance", *, dropout: bool = False) -> None:
        super().__init__(norm)
        self.n, self.second = n, 6 if dropout else 5
        first = 10 + n
        self.ups = {f"model.{first}", f"model.{first + 3}"}
        self.convs = ["model.1", "model.4", "model.7"]
        for name, shape in zip(
            self.convs, ((ngf, 3, 7, 7), (2 * ngf, ngf, 3, 3), (4 * ngf, 2 * ngf, 3, 3)), strict=True
        ):
            self.add(name, shape)
            self.add_norm(f"model.{int(name.split('.')[1]) + 1}", shape[0])
        for i in range(10, first):
            for place in (1, self.second):
                self.add(f"model.{i}.conv_block.{place}", (4 * ngf, 4 * ngf, 3, 3))
                self.add_norm(f"model.{i}.conv_block.{place + 1}", 4 * ngf)
        for i, width in ((first, 2 * ngf), (first + 3, ngf)):
            self.add(f"model.{i}", (2 * width, width, 3, 3))
            self.add_norm(f"model.{i + 1}", width)
        self.add(f"model.{first + 7}", (3, ngf, 7, 7), bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(F.pad(x, (3,) * 4, "reflect"), *self.tensors("model.1"))
        x = F.relu(self.norm("model.2", x))
        for i in (4, 7):
            x = F.conv2d(x, *self.tensors(f"model.{i}"), stride=2, padding=1)
            x = F.relu(self.norm(f"model.{i + 1}", x))
        for i in range(10, 10 + self.n):
            change = x
            for place in (1, self.second):
                name = f"model.{i}.conv_block"
                change = F.conv2d(F.pad(change, (1,) * 4, "reflect"), *self.tensors(f"{name}.{place}"))
                change = self.norm(f"{name}.{place + 1}", change)
                change = F.relu(change) if place == 1 else change
            x = x + change
        for i in (10 + self.n, 13 + self.n):
            weight, bias = self.tensors(f"model.{i}")
            x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
            x = F.relu(self.norm(f"model.{i + 1}", x))
        last = F.conv2d(F.pad(x, (3,) * 4, "reflect"), *self.tensors(f"model.{17 + self.n}"))
        return last.tanh()
